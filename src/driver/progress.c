// SPDX-License-Identifier: Apache-2.0
//
// The progress bar of the commands. It rewrites its own line and leaves nothing
// behind.

#include "driver/progress.h"

#include <stdio.h>
#include <time.h>
#include <unistd.h>

enum { BAR_COLUMNS = 30 };

double ibx_driver_seconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

void ibx_progress_show(ibx_progress *progress, const char *step, double done) {
  double now = ibx_driver_seconds();
  if (progress->start == 0.0) progress->start = now;
  if (now - progress->start < 1.0 || !isatty(STDERR_FILENO)) return;
  int filled = (int)(done * (double)BAR_COLUMNS);
  fputs("\r[", stderr);
  for (int i = 0; i < BAR_COLUMNS; i++) {
    fputc(i < filled ? '#' : '.', stderr);
  }
  fprintf(stderr, "] %-24.24s", step);
  fflush(stderr);
  progress->shown = true;
}

void ibx_progress_end(ibx_progress *progress) {
  if (progress->shown) fputs("\r\033[K", stderr);
  *progress = (ibx_progress){0};
}

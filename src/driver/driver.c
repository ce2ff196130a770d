// SPDX-License-Identifier: Apache-2.0
//
// What the commands share: the table of commands and the messages that all of
// them print the same way.

#include "driver/driver.h"

#include "driver/review.h"

#include <jansson.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const ibx_command commands[] = {
#define IBX_COMMAND(name, operands, job, example)                              \
  {#name, operands, job, example, ibx_cmd_##name},
#include "driver/commands.def"
};

const ibx_command *ibx_command_get(size_t index) {
  return index < IBX_COUNT_OF(commands) ? &commands[index] : NULL;
}

const ibx_command *ibx_command_find(const char *name) {
  for (size_t i = 0; i < IBX_COUNT_OF(commands); i++) {
    if (strcmp(commands[i].name, name) == 0) return &commands[i];
  }
  return NULL;
}

void ibx_driver_print_usage(FILE *out) {
  fprintf(out, "usage: imbrex COMMAND ...\n"
               "compiles ONNX models for a Trainium-style accelerator and "
               "runs them on its simulator\n\n");
  for (size_t i = 0; i < IBX_COUNT_OF(commands); i++) {
    fprintf(out, "  %-10s %s\n", commands[i].name, commands[i].job);
  }
  fprintf(out, "\nimbrex COMMAND --help tells a command's options\n");
}

int ibx_driver_fail(const ibx_error *err) {
  fprintf(stderr, "imbrex: %s\n", err->message);
  return ibx_status_exit_code(err->status);
}

int ibx_driver_print_json(struct json_t *root) {
  char *text = json_dumps(root, JSON_INDENT(2) | JSON_REAL_PRECISION(12));
  json_decref(root);
  if (text == NULL) {
    fprintf(stderr, "imbrex: no JSON can be made: memory is short\n");
    return ibx_status_exit_code(IBX_OUT_OF_MEMORY);
  }
  puts(text);
  free(text);
  return 0;
}

int ibx_driver_finish(int exit_code) {
  // A full disk or a closed pipe shows itself only when the buffer is written.
  bool written = fflush(stdout) == 0 && !ferror(stdout);
  if (written || exit_code != 0) return exit_code;
  fprintf(stderr, "imbrex: standard output: %s\n", strerror(errno));
  return ibx_status_exit_code(IBX_IO_ERROR);
}

void ibx_driver_print_diagnostic(void *user, const ibx_diagnostic *d) {
  (void)user;
  fprintf(stderr, "%s[%s]: ", ibx_review_severity(d->severity), d->code);
  if (d->op[0] != 0) {
    fprintf(stderr, "%s (%s): ", d->node[0] != 0 ? d->node : "unnamed", d->op);
  } else if (d->node[0] != 0) {
    fprintf(stderr, "%s: ", d->node);
  }
  fprintf(stderr, "%s%s%s\n", d->message, d->remedy[0] != 0 ? "; " : "",
          d->remedy);
}

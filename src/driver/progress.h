// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_PROGRESS_H
#define IBX_PROGRESS_H

/// \file
/// A bar on standard error: only where that is a terminal, and only for work
/// that lasts over a second.

#include "imbrex/base.h"

/// Zero at first.
typedef struct ibx_progress {
  double start; ///< seconds of the monotonic clock, 0 before the first step
  bool shown;
} ibx_progress;

/// Work is `done` (0 to 1) and goes on with `step`.
void ibx_progress_show(ibx_progress *progress, const char *step, double done);

/// Removes the bar.
void ibx_progress_end(ibx_progress *progress);

/// Seconds of the monotonic clock.
double ibx_driver_seconds(void);

#endif

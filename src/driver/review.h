// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_REVIEW_H
#define IBX_REVIEW_H

/// \file
/// Diagnostics of one model, collected and printed in four formats. Only
/// standard output is written.

#include "imbrex/compiler.h"

struct json_t;

/// "error", "warning", "note".
const char *ibx_review_severity(ibx_severity severity);
/// A diagnostic in the JSON of the interface; the caller owns it.
struct json_t *ibx_diagnostic_json(const ibx_diagnostic *diagnostic);

/// Zero but for `model` at first.
typedef struct ibx_review {
  const char *model; ///< path, as the user gave it
  ibx_diagnostic *items;
  size_t count;
  size_t error_count, warning_count, note_count;
  double bound_us; ///< 0: not known
  uint64_t host_segments;
  bool is_short; ///< memory ran out: some are missing
} ibx_review;

/// Copies a diagnostic with its texts.
void ibx_review_add(ibx_review *review, const ibx_diagnostic *diagnostic);
/// The same as an ibx_diagnostic_fn; `review` is the user.
void ibx_review_collect(void *review, const ibx_diagnostic *diagnostic);
void ibx_review_fini(ibx_review *review);

/// The exit code of printing: 0, or that of OUT_OF_MEMORY where findings are
/// missing, which it says on standard error.
int ibx_review_end(const ibx_review *review);

/// Each returns the exit code of printing: 0, or that of OUT_OF_MEMORY.
int ibx_review_print_text(const ibx_review *review);
int ibx_review_print_json(const ibx_review *review);
int ibx_review_print_sarif(const ibx_review *review);
int ibx_review_print_junit(const ibx_review *review);

#endif

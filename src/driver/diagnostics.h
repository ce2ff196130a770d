// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_DIAGNOSTICS_H
#define IBX_DIAGNOSTICS_H

/// \file
/// Findings about a model on their way to the user: text to standard error, or
/// collected for JSON.

#include "imbrex/compiler.h"

struct json_t;

/// Zero at first. With `list`, findings are collected there, else printed.
typedef struct ibx_findings {
  struct json_t *list;
  size_t errors, warnings;
} ibx_findings;

/// An ibx_diagnostic_fn with the ibx_findings as its user.
void ibx_findings_add(void *findings, const ibx_diagnostic *diagnostic);

#endif

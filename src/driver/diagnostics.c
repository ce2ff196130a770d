// SPDX-License-Identifier: Apache-2.0
//
// Findings about a model: counted, and printed or collected as JSON.

#include "driver/diagnostics.h"

#include "driver/driver.h"

#include <jansson.h>

static json_t *to_json(const ibx_diagnostic *d) {
  static const char *const severities[] = {"error", "warning", "note"};
  return json_pack("{s:s, s:s, s:s, s:s, s:s, s:I, s:s, s:s, s:s}", "severity",
                   severities[d->severity], "code", d->code, "node", d->node,
                   "op", d->op, "domain", d->domain, "version",
                   (json_int_t)d->version, "attribute", d->attribute, "message",
                   d->message, "remedy", d->remedy);
}

void ibx_findings_add(void *user, const ibx_diagnostic *diagnostic) {
  ibx_findings *findings = user;
  findings->errors += diagnostic->severity == IBX_SEVERITY_ERROR;
  findings->warnings += diagnostic->severity == IBX_SEVERITY_WARNING;
  if (findings->list) {
    json_array_append_new(findings->list, to_json(diagnostic));
  } else {
    ibx_driver_print_diagnostic(NULL, diagnostic);
  }
}

// SPDX-License-Identifier: Apache-2.0
//
// imbrex errors: prints the catalogue of diagnostics.

#include "driver/driver.h"
#include "driver/review.h"
#include "support/diag.h"

#include <jansson.h>

static void print_text(void) {
  const ibx_diag_info *row;
  for (size_t i = 0; (row = ibx_diag_get(i)) != NULL; i++) {
    printf("%s  %-8s %s\n", row->name, ibx_review_severity(row->severity),
           row->sentence);
  }
}

static int print_json(void) {
  json_t *rows = json_array();
  const ibx_diag_info *row;
  for (size_t i = 0; (row = ibx_diag_get(i)) != NULL; i++) {
    json_array_append_new(
        rows,
        json_pack("{s:s, s:s, s:s, s:s}", "code", row->name, "severity",
                  ibx_review_severity(row->severity), "status",
                  ibx_status_name(row->status), "meaning", row->sentence));
  }
  return ibx_driver_print_json(json_pack("{s:o}", "errors", rows));
}

int ibx_cmd_errors(int argc, char **argv) {
  bool json = false;
  const ibx_option rows[] = {
      {"json", 0, IBX_OPTION_FLAG, &json, NULL, "prints JSON"},
  };
  ibx_options options = {
      .command = "errors", .rows = rows, .row_count = IBX_COUNT_OF(rows)};
  int exit_code = 0;
  if (!ibx_options_parse(&options, argc, argv, &exit_code)) return exit_code;
  if (json) {
    exit_code = print_json();
  } else {
    print_text();
  }
  ibx_options_fini(&options);
  return exit_code;
}

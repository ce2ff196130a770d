// SPDX-License-Identifier: Apache-2.0
//
// imbrex isa: prints the instructions as text or JSON, or all tables of the
// machine as the Markdown that is docs/isa.md.

#include "driver/driver.h"
#include "driver/isa_doc.h"

#include <jansson.h>

static json_t *limits_json(const char *scope) {
  json_t *rules = json_array();
  const char *rule;
  for (size_t i = 0; (rule = ibx_isa_limit(scope, i)) != NULL; i++) {
    json_array_append_new(rules, json_string(rule));
  }
  return rules;
}

static json_t *slots_json(const ibx_isa_row *row) {
  json_t *slots = json_array();
  for (size_t i = 0; i < IBX_COUNT_OF(row->slots); i++) {
    json_array_append_new(slots, json_string(row->slots[i]));
  }
  return slots;
}

static int print_json(void) {
  json_t *rows = json_array();
  const ibx_isa_row *row;
  for (size_t i = 0; (row = ibx_isa_row_get(i)) != NULL; i++) {
    json_array_append_new(
        rows,
        json_pack("{s:s, s:i, s:s, s:s, s:s, s:o, s:s, s:o, s:s, s:s}", "name",
                  row->name, "opcode", (int)row->opcode, "format", row->format,
                  "engines", row->engines, "targets", row->targets, "slots",
                  slots_json(row), "semantics", row->sentence, "limits",
                  limits_json(row->name), "cost",
                  ibx_isa_cost_formula(row->cost), "source", row->source));
  }
  return ibx_driver_print_json(json_pack("{s:o}", "instructions", rows));
}

int ibx_cmd_isa(int argc, char **argv) {
  bool json = false;
  int format = 0;
  const ibx_option rows[] = {
      {"format", 0, IBX_OPTION_CHOICE, &format, "text|md",
       "text of the instructions, or all tables as Markdown (text)"},
      {"json", 0, IBX_OPTION_FLAG, &json, NULL, "prints JSON"},
  };
  ibx_options options = {
      .command = "isa", .rows = rows, .row_count = IBX_COUNT_OF(rows)};
  int exit_code = 0;
  if (!ibx_options_parse(&options, argc, argv, &exit_code)) return exit_code;
  if (json) {
    exit_code = print_json();
  } else if (format == 1) {
    ibx_isa_print_md(stdout);
  } else {
    ibx_isa_print_text(stdout);
  }
  ibx_options_fini(&options);
  return exit_code;
}

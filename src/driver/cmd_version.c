// SPDX-License-Identifier: Apache-2.0
//
// imbrex version: prints the version and the targets.

#include "driver/driver.h"
#include "imbrex/imbrex.h"

#include <jansson.h>
#include <stdio.h>

static const ibx_target targets[] = {
#define IBX_TARGET(name, number, sentence) IBX_TARGET_##name,
#include "imbrex/machine.def"
};

static void print_text(void) {
  printf("imbrex %s\n", IBX_VERSION);
  for (size_t i = 0; i < IBX_COUNT_OF(targets); i++) {
    const ibx_machine *machine = ibx_machine_get(targets[i]);
    printf("target %s: %s\n", machine->name, machine->sentence);
  }
}

static int print_json(void) {
  json_t *names = json_array();
  for (size_t i = 0; i < IBX_COUNT_OF(targets); i++) {
    json_array_append_new(names,
                          json_string(ibx_machine_get(targets[i])->name));
  }
  json_t *root =
      json_pack("{s:s, s:o}", "version", IBX_VERSION, "targets", names);
  return ibx_driver_print_json(root);
}

int ibx_cmd_version(int argc, char **argv) {
  bool json = false;
  const ibx_option rows[] = {
      {"json", 0, IBX_OPTION_FLAG, &json, NULL, "prints JSON"},
  };
  ibx_options options = {
      .command = "version", .rows = rows, .row_count = IBX_COUNT_OF(rows)};
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

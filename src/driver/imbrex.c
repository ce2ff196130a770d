// SPDX-License-Identifier: Apache-2.0
//
// The program `imbrex`: finds the command that argv[1] names in commands.def
// and runs it. The exit code is the command's; 2 when there is no such command.

#include "imbrex/imbrex.h"
#include "driver/driver.h"

#include <stdio.h>
#include <string.h>

int main(int argc, char **argv) {
  if (argc < 2) {
    ibx_driver_print_usage(stderr);
    return 2;
  }
  const char *name = argv[1];
  if (strcmp(name, "--help") == 0 || strcmp(name, "help") == 0) {
    ibx_driver_print_usage(stdout);
    return ibx_driver_finish(0);
  }
  if (strcmp(name, "--version") == 0) name = "version";
  const ibx_command *command = ibx_command_find(name);
  if (command == NULL) {
    fprintf(stderr, "imbrex: unknown command '%s'; see imbrex --help\n", name);
    return 2;
  }
  return ibx_driver_finish(command->run(argc - 1, argv + 1));
}

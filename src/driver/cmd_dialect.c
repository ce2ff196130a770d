// SPDX-License-Identifier: Apache-2.0
//
// imbrex dialect: prints the dialect as the IRDL that `mlir-opt --irdl-file=`
// reads, or as the Markdown that is docs/dialect.md.

#include "driver/driver.h"
#include "ir/ir.h"

int ibx_cmd_dialect(int argc, char **argv) {
  int format = 0;
  const ibx_option rows[] = {
      {"format", 0, IBX_OPTION_CHOICE, &format, "irdl|md",
       "IRDL for mlir-opt, or Markdown (irdl)"},
  };
  ibx_options options = {
      .command = "dialect", .rows = rows, .row_count = IBX_COUNT_OF(rows)};
  int exit_code = 0;
  if (!ibx_options_parse(&options, argc, argv, &exit_code)) return exit_code;
  ibx_arena arena = {.last = NULL};
  const char *text =
      format == 0 ? ibx_ir_dialect_text(&arena) : ibx_ir_dialect_md(&arena);
  fputs(text, stdout);
  ibx_arena_reset(&arena);
  ibx_options_fini(&options);
  return exit_code;
}

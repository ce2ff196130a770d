// SPDX-License-Identifier: Apache-2.0
//
// imbrex asm: assembles a text to a program file. The program is opened again
// before it is kept, so that every instruction has passed the machine's checks.

#include "driver/driver.h"
#include "driver/input.h"
#include "driver/output.h"
#include "imbrex/asm.h"
#include "imbrex/blob.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

// NAME=V, where V is an integer of base 10 or 0x. `name` belongs to the caller.
static bool read_define(const char *argument, char **name, int64_t *value) {
  const char *equal = strchr(argument, '=');
  if (!equal || equal == argument || equal[1] == 0) return false;
  char *end = NULL;
  errno = 0;
  long long number = strtoll(equal + 1, &end, 0);
  if (errno != 0 || *end != 0) return false;
  size_t len = (size_t)(equal - argument);
  *name = malloc(len + 1);
  if (!*name) return false;
  memcpy(*name, argument, len);
  (*name)[len] = 0;
  *value = number;
  return true;
}

static ibx_status check(const ibx_blob *program, ibx_error *err) {
  ibx_program *opened = NULL;
  IBX_TRY(ibx_program_open_memory(ibx_blob_get(program), &opened, err));
  ibx_program_close(opened);
  return IBX_OK;
}

static ibx_status write_program(const ibx_asm_program *assembled,
                                const char *path, ibx_error *err) {
  ibx_blob bytes = {0};
  ibx_output output = {0};
  ibx_status status = ibx_program_write(ibx_asm_get(assembled), ibx_blob_write,
                                        &bytes, NULL, NULL, err);
  if (status == IBX_OK) status = check(&bytes, err);
  if (status == IBX_OK) status = ibx_output_open(path, &output, err);
  if (status == IBX_OK) {
    ibx_span span = ibx_blob_get(&bytes);
    // A short write shows itself when the file is committed.
    (void)ibx_output_write(&output, span.data, span.size);
    status = ibx_output_commit(&output, err);
  }
  ibx_blob_fini(&bytes);
  return status;
}

static const char *base_name(const char *path) {
  const char *slash = strrchr(path, '/');
  return slash ? slash + 1 : path;
}

static ibx_status assemble(const char *source, const char *target,
                           const ibx_asm_define *defines, size_t define_count,
                           ibx_error *err) {
  ibx_blob text = {0};
  ibx_asm_program *assembled = NULL;
  ibx_status status = ibx_input_read(source, &text, err);
  if (status == IBX_OK) {
    ibx_span span = ibx_blob_get(&text);
    ibx_str str = {.data = (const char *)span.data, .len = span.size};
    status = ibx_asm_parse(str, base_name(source), defines, define_count,
                           &assembled, err);
  }
  if (status == IBX_OK) status = write_program(assembled, target, err);
  ibx_asm_destroy(assembled);
  ibx_blob_fini(&text);
  return status;
}

static int run(const char *source, const char *target,
               const ibx_option_list *list) {
  ibx_asm_define *defines = calloc(list->count + 1, sizeof(*defines));
  char **names = calloc(list->count + 1, sizeof(*names));
  ibx_error err = {0};
  int exit_code = 0;
  if (!defines || !names) {
    exit_code = ibx_status_exit_code(
        IBX_FAIL(&err, OUT_OF_MEMORY, "no memory for the symbols"));
  }
  for (size_t i = 0; i < list->count && exit_code == 0; i++) {
    if (!read_define(list->items[i], &names[i], &defines[i].value)) {
      exit_code =
          ibx_options_wrong("asm", "-D: '%s' is no NAME=V", list->items[i]);
    }
    defines[i].name = names[i];
  }
  if (exit_code == 0 &&
      assemble(source, target, defines, list->count, &err) != IBX_OK) {
    exit_code = ibx_driver_fail(&err);
  }
  for (size_t i = 0; names && i < list->count; i++) {
    free(names[i]);
  }
  free(names);
  free(defines);
  return exit_code;
}

int ibx_cmd_asm(int argc, char **argv) {
  const char *target = NULL;
  ibx_option_list defines = {0};
  const ibx_option rows[] = {
      {"output", 'o', IBX_OPTION_TEXT, &target, "OUT.ibx",
       "program file to write"},
      {NULL, 'D', IBX_OPTION_LIST, &defines, "NAME=V",
       "value of a symbol, instead of that of its .equ"},
  };
  ibx_options options = {.command = "asm",
                         .rows = rows,
                         .row_count = IBX_COUNT_OF(rows),
                         .min_operands = 1,
                         .max_operands = 1};
  int exit_code = 0;
  if (!ibx_options_parse(&options, argc, argv, &exit_code)) return exit_code;
  exit_code = target ? run(options.operands.items[0], target, &defines)
                     : ibx_options_wrong("asm", "missing option -o OUT.ibx");
  ibx_options_fini(&options);
  return exit_code;
}

// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_DRIVER_H
#define IBX_DRIVER_H

/// \file
/// What the commands share: their prototypes, the options of every command
/// that compiles, and the way from a file name to a program. Only this folder
/// prints.

#include "driver/files.h"
#include "driver/options.h"
#include "imbrex/blob.h"
#include "imbrex/compiler.h"
#include "imbrex/program.h"

#include <stdio.h>

#define IBX_COMMAND(name, operands, job, example)                              \
  int ibx_cmd_##name(int argc, char **argv);
#include "driver/commands.def"

/// One row of commands.def.
typedef struct ibx_command {
  const char *name;
  const char *operands;
  const char *job;
  const char *example;
  int (*run)(int argc, char **argv);
} ibx_command;

/// Lends the row of that name; NULL when there is none.
const ibx_command *ibx_command_find(const char *name);
/// Lends the row at `index`; NULL past the last.
const ibx_command *ibx_command_get(size_t index);

/// Values of the options that every compiling command accepts. Start with
/// IBX_COMPILE_ARGS_DEFAULT and put IBX_COMPILE_ARGS_ROWS(args) in the option
/// table of the command.
typedef struct ibx_compile_args {
  const char *target;
  int auto_cast;      ///< position in none|matmul|all
  int auto_cast_type; ///< position in bf16|fp16|fp8
  uint64_t level;
  bool no_host;
  ibx_option_list dims;         ///< NAME=V[,V...]
  ibx_option_list input_shapes; ///< NAME=2x3x4
  ibx_option_list lengths;      ///< NAME=N or NAME=none
  ibx_option_list constants;    ///< NAME=FILE
  ibx_option_list states;       ///< PAST=PRESENT
} ibx_compile_args;

#define IBX_COMPILE_ARGS_DEFAULT {.target = "ibx3", .level = 2}

// clang-format off
#define IBX_COMPILE_ARGS_ROWS(args)                                            \
  {"target", 0, IBX_OPTION_TEXT, &(args).target, "ibx2|ibx3|ibx4",             \
   "machine to compile for (ibx3)"},                                           \
  {"auto-cast", 0, IBX_OPTION_CHOICE, &(args).auto_cast, "none|matmul|all",    \
   "what may compute below the graph's precision (none)"},                     \
  {"auto-cast-type", 0, IBX_OPTION_CHOICE, &(args).auto_cast_type,             \
   "bf16|fp16|fp8", "the precision of --auto-cast (bf16)"},                    \
  {NULL, 'O', IBX_OPTION_UINT, &(args).level, "0|1|2",                         \
   "0: as the model says, 1: fused, 2: searches for a schedule (2)"},                                                  \
  {"no-host", 0, IBX_OPTION_FLAG, &(args).no_host, NULL,                       \
   "refuse rather than fall back to the host"},                                \
  {"dim", 0, IBX_OPTION_LIST, &(args).dims, "NAME=V[,V...]",                   \
   "value of a symbolic dimension; several make several entries"},             \
  {"input-shape", 0, IBX_OPTION_LIST, &(args).input_shapes, "NAME=2x3x4",      \
   "shape of an input; NAME[0]=2x3 of a tensor in a sequence"},                \
  {"length", 0, IBX_OPTION_LIST, &(args).lengths, "NAME=N|none",               \
   "how many tensors an input sequence holds, or that an optional is absent"}, \
  {"constant", 0, IBX_OPTION_LIST, &(args).constants, "NAME=FILE",             \
   "value of an input (.npy or ONNX .pb): it is compiled in, and no input "    \
   "any more"},                                                                \
  {"state", 0, IBX_OPTION_LIST, &(args).states, "PAST=PRESENT",                \
   "an input and an output that are one buffer, kept between runs"}

/// The option that picks one entry: a `const char *`, NULL at first.
#define IBX_ENTRY_ROW(name)                                                    \
  {"entry", 0, IBX_OPTION_TEXT, &(name), "NAME",                               \
   "entry of a program with several (the first)"}
// clang-format on

/// Compile options made from arguments: `options` borrows from the rest.
typedef struct ibx_compile_request {
  ibx_compile_options options;
  ibx_dim_choice *dims;
  ibx_input_shape *input_shapes;
  ibx_input_length *input_lengths;
  ibx_input_value *input_values;
  ibx_array *arrays; ///< what the input values point to
  ibx_state_pair *states;
  void *memory; ///< what the names and values above point to
} ibx_compile_request;

/// Turns arguments into options, checked. Fails with INVALID_ARGUMENT and the
/// argument at fault. On success ibx_compile_request_fini() frees the request;
/// on failure there is nothing to free.
IBX_NODISCARD ibx_status ibx_compile_request_init(const ibx_compile_args *args,
                                                  ibx_compile_request *out,
                                                  ibx_error *err);
void ibx_compile_request_fini(ibx_compile_request *request);

/// The value `array`, which stays where it is, of the input of that name.
ibx_input_value ibx_input_value_of(const char *name, const ibx_array *array);

/// A program and the memory that it lies in when it was compiled here.
typedef struct ibx_loaded {
  ibx_program *program;
  ibx_blob blob;
  bool compiled; ///< from a model, in this process
} ibx_loaded;

/// Opens a program, or compiles a model to memory, by what the file begins
/// with. Diagnostics of the compiler go to standard error, or to
/// `request->options.on_diagnostic` when that is set. On success
/// ibx_loaded_fini() ends `*out`; on failure there is nothing to free.
IBX_NODISCARD ibx_status
ibx_driver_load_or_compile(const char *path, const ibx_compile_request *request,
                           ibx_loaded *out, ibx_error *err);
void ibx_loaded_fini(ibx_loaded *loaded);

/// The same with options that are still arguments; fails also as
/// ibx_compile_request_init().
IBX_NODISCARD ibx_status ibx_driver_open(const char *path,
                                         const ibx_compile_args *args,
                                         ibx_loaded *out, ibx_error *err);

/// Lends the entry of that name, or the first where `name` is NULL. Fails with
/// NOT_FOUND.
IBX_NODISCARD ibx_status ibx_driver_find_entry(const ibx_program *program,
                                               const char *name,
                                               const ibx_entry **out,
                                               ibx_error *err);

/// The device where no option names one: IMBREX_DEVICE, or the simulator.
const char *ibx_driver_device(void);

/// Prints a diagnostic to standard error: "error: NODE (Op): message; remedy".
void ibx_driver_print_diagnostic(void *user, const ibx_diagnostic *diagnostic);

/// Prints "imbrex: message" to standard error; returns the exit code of its
/// status.
int ibx_driver_fail(const ibx_error *err);

/// Prints `root`, indented, to standard output and drops the reference. NULL,
/// what Jansson gives when memory is short, is reported. Returns the exit code.
struct json_t;
int ibx_driver_print_json(struct json_t *root);

/// Prints the list of commands.
void ibx_driver_print_usage(FILE *out);

/// Writes what standard output still holds. Returns `exit_code`, or that of
/// IO_ERROR where writing fails.
int ibx_driver_finish(int exit_code);

#endif

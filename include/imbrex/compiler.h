// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_COMPILER_H
#define IBX_COMPILER_H

/// \file
/// The compiler: an ONNX model in a file or in memory becomes a program. A
/// compiler is not thread-safe; several may work at once. Nothing is printed:
/// what there is to say of a model goes to a callback.

#include "imbrex/dtype.h"
#include "imbrex/program.h"
#include "imbrex/status.h"

IBX_C_BEGIN

typedef enum ibx_auto_cast {
  IBX_AUTO_CAST_NONE,   ///< never below the graph's own dtype
  IBX_AUTO_CAST_MATMUL, ///< operands of contractions
  IBX_AUTO_CAST_ALL     ///< every float tensor
} ibx_auto_cast;

typedef enum ibx_severity {
  IBX_SEVERITY_ERROR,   ///< the model does not compile
  IBX_SEVERITY_WARNING, ///< it compiles, slower or less exact than one hopes
  IBX_SEVERITY_NOTE
} ibx_severity;

/// One finding about a model, lent for the time of the callback. Texts that do
/// not apply are "".
typedef struct ibx_diagnostic {
  ibx_severity severity;
  const char *code;      ///< stable: "IBX1203"
  const char *node;      ///< name of the ONNX node
  const char *op;        ///< its operator
  const char *domain;    ///< of the operator, "" is ai.onnx
  int64_t version;       ///< opset version in force, 0 where none
  const char *attribute; ///< attribute, input or output at fault
  const char *input;     ///< of the model: what would help to know of it
  size_t input_index;    ///< its place among the inputs without initialiser
  bool wants_shape;      ///< of `input` its shape, else its value
  bool wants_length;     ///< with wants_shape: first how many tensors it holds
  const char *message;   ///< what is wrong, with the value and the limit
  const char *remedy;    ///< what to do about it
} ibx_diagnostic;

typedef void (*ibx_diagnostic_fn)(void *user, const ibx_diagnostic *diagnostic);

/// Called between steps of the work with its name and share done (0 to 1).
/// Returning false stops the compilation with CANCELLED.
typedef bool (*ibx_progress_fn)(void *user, const char *step, double done);

/// Receives text that was asked for (print_after), piece by piece.
typedef void (*ibx_text_fn)(void *user, const char *text, size_t len);

/// Values of one symbolic dimension; the entries of the program are all
/// combinations of all choices.
typedef struct ibx_dim_choice {
  const char *name;
  const uint64_t *values;
  size_t value_count;
} ibx_dim_choice;

typedef struct ibx_input_shape {
  const char *name;
  uint64_t shape[IBX_MAX_RANK];
  size_t rank;
} ibx_input_shape;

/// What an input of the type of a sequence or an optional holds in every run:
/// how many tensors. They are inputs of the program, called NAME[0], NAME[1]
/// and so on, that of an optional tensor NAME.
typedef struct ibx_input_length {
  const char *name;
  uint64_t count; ///< of an optional tensor 0 or 1
  bool is_absent; ///< an optional that has no element; `count` is 0
} ibx_input_length;

/// What an input is in every run: the program is made for this value and does
/// not take the input any more. Elements are dense and row-major; of texts,
/// `data` is an ibx_host_tensor.
typedef struct ibx_input_value {
  const char *name;
  ibx_dtype dtype;
  uint64_t shape[IBX_MAX_RANK];
  size_t rank;
  const void *data;
} ibx_input_value;

/// An input and an output of the graph that are one buffer, kept between runs.
typedef struct ibx_state_pair {
  const char *past;
  const char *present;
} ibx_state_pair;

typedef enum ibx_emit {
  IBX_EMIT_PROGRAM, ///< the program file
  IBX_EMIT_MLIR,    ///< the IR after the last pass, as text
  IBX_EMIT_ASM      ///< the disassembly of the program, as text
} ibx_emit;

/// What one pass cost; see `on_pass`.
typedef struct ibx_pass_stats {
  const char *name;
  double seconds;
  uint64_t ops_before, ops_after;
} ibx_pass_stats;

typedef void (*ibx_pass_fn)(void *user, const ibx_pass_stats *stats);

/// Set by ibx_compile_options_init(), then changed at will. Everything is
/// borrowed until the compiler is destroyed.
typedef struct ibx_compile_options {
  const char *target; ///< "ibx2", "ibx3", "ibx4"
  ibx_auto_cast auto_cast;
  ibx_dtype auto_cast_type; ///< BF16, F16 or F8E4M3FN
  unsigned level;           ///< of optimisation, 0 to 2
  bool no_host;             ///< refuse a host segment rather than make one

  const ibx_dim_choice *dims;
  const ibx_input_shape *input_shapes;
  const ibx_input_value *input_values;
  const ibx_input_length *input_lengths;
  const ibx_state_pair *states;
  size_t dim_count, input_shape_count, input_value_count, input_length_count,
      state_count;
  /// Tensors of the main graph that are the program's outputs in place of the
  /// model's: inputs, initialisers or results of nodes, each once. NULL: the
  /// model's own.
  const char *const *outputs;
  size_t output_count;

  ibx_emit emit;
  const char *passes; ///< "a,b": run these instead of the pipeline, or NULL
  const char *print_after; ///< "a,b": give the IR after these passes, or NULL
  const char *stop_after;  ///< a pass, or NULL

  ibx_diagnostic_fn on_diagnostic; ///< each may be NULL
  ibx_progress_fn on_progress;
  ibx_text_fn on_text;
  ibx_pass_fn on_pass;
  void *user; ///< first argument of the four above
} ibx_compile_options;

/// Sets the defaults: ibx3, no cast (bf16 when asked for), level 2.
IBX_API void ibx_compile_options_init(ibx_compile_options *options);

/// Facts of the compilation that ended last.
typedef struct ibx_compile_stats {
  uint64_t nodes;         ///< of the ONNX graph, functions inlined
  uint64_t host_nodes;    ///< of them on the host
  uint64_t host_segments; ///< most of an entry: how often it leaves the device
  uint64_t gpsimd_calls;  ///< most nodes of an entry that call the library
  uint64_t fused_groups;
  uint64_t program_bytes; ///< all but weights
  ibx_bounds bounds;      ///< of the entry that is bound to take longest
} ibx_compile_stats;

/// Opaque. Made by ibx_compiler_create(), ended by ibx_compiler_destroy().
typedef struct ibx_compiler ibx_compiler;

/// On success the caller owns `*out_compiler`. Fails with INVALID_ARGUMENT (an
/// unknown target, a level past 2), OUT_OF_MEMORY.
IBX_API IBX_NODISCARD ibx_status
ibx_compiler_create(const ibx_compile_options *options,
                    ibx_compiler **out_compiler, ibx_error *err);

/// Accepts NULL.
IBX_API void ibx_compiler_destroy(ibx_compiler *compiler);

/// Compiles the model at `path` and gives the program (or what `emit` asks for)
/// to `write`, weights straight from the mapped model. External data are opened
/// beneath the model's folder only. Nothing is written unless all of the model
/// compiles. Every problem of the model goes to the callback; the status and
/// `*err` tell the first one. Fails with INVALID_MODEL, UNSUPPORTED,
/// OUT_OF_CAPACITY, CANCELLED, NOT_FOUND, IO_ERROR.
IBX_API IBX_NODISCARD ibx_status ibx_compile_file(ibx_compiler *compiler,
                                                  const char *path,
                                                  ibx_write_fn write,
                                                  void *write_user,
                                                  ibx_error *err);

/// The same for a model in memory, which may have no external data. `name`
/// stands for the file name in the program.
IBX_API IBX_NODISCARD ibx_status
ibx_compile_memory(ibx_compiler *compiler, ibx_span model, const char *name,
                   ibx_write_fn write, void *write_user, ibx_error *err);

/// Reports everything that would stop or slow the model, without compiling: as
/// ibx_compile_file() up to the point where code would be made.
IBX_API IBX_NODISCARD ibx_status ibx_compiler_check_file(ibx_compiler *compiler,
                                                         const char *path,
                                                         ibx_error *err);

IBX_API ibx_compile_stats ibx_compiler_stats(const ibx_compiler *compiler);

IBX_C_END
#endif

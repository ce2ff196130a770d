// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_HOST_TENSOR_H
#define IBX_HOST_TENSOR_H

/// \file
/// Tensors of the host: texts, and numbers whose extents only a run tells; and
/// the calls that compute with them. A tensor is used by one thread at a time.

#include "imbrex/program.h"

IBX_C_BEGIN

/// A tensor of any element type. Start with IBX_HOST_TENSOR_INIT; end with
/// ibx_host_tensor_fini(). Numbers lie row-major in `data`. Of texts, text i is
/// `data` from offsets[i] up to offsets[i + 1]: bytes, UTF-8 by custom, without
/// an end mark. `rooms` are the library's: 0 where memory is borrowed.
typedef struct ibx_host_tensor {
  ibx_dtype dtype;
  size_t rank;
  uint64_t shape[IBX_MAX_RANK];
  uint8_t *data;
  uint64_t *offsets; ///< of texts: one more than there are; else NULL
  size_t data_bytes;
  size_t text_count; ///< texts that were added since the last reset
  size_t data_room, offset_room;
  const struct ibx_allocator *allocator; ///< NULL: malloc
} ibx_host_tensor;

#define IBX_HOST_TENSOR_INIT {.dtype = IBX_DTYPE_NONE}

/// Frees what the tensor owns; it may be used again.
IBX_API void ibx_host_tensor_fini(ibx_host_tensor *tensor);

/// Product of the extents.
IBX_API uint64_t ibx_host_tensor_count(const ibx_host_tensor *tensor);

/// Gives the tensor a type and memory of its own: zeroed numbers, or no texts
/// yet, which ibx_host_tensor_add_text() adds in row-major order. Memory that it
/// had is used again. Fails with INVALID_ARGUMENT (no such dtype or rank),
/// OUT_OF_CAPACITY (the bytes do not fit), OUT_OF_MEMORY; the tensor then has no
/// elements.
IBX_API IBX_NODISCARD ibx_status ibx_host_tensor_reset(ibx_host_tensor *tensor,
                                                       ibx_dtype dtype,
                                                       const uint64_t *shape,
                                                       size_t rank,
                                                       ibx_error *err);

/// Copies `len` bytes as the next text. Fails with INVALID_ARGUMENT when the
/// tensor has all of its texts, or is not one of texts, OUT_OF_MEMORY.
IBX_API IBX_NODISCARD ibx_status ibx_host_tensor_add_text(
    ibx_host_tensor *tensor, const char *bytes, size_t len, ibx_error *err);

/// Copies `len` bytes behind the text that was added last. Fails as
/// ibx_host_tensor_add_text(), or when there is none.
IBX_API IBX_NODISCARD ibx_status ibx_host_tensor_grow_text(
    ibx_host_tensor *tensor, const char *bytes, size_t len, ibx_error *err);

/// Resets to texts of that shape and copies them; each ends with a zero byte.
IBX_API IBX_NODISCARD ibx_status ibx_host_tensor_set_texts(
    ibx_host_tensor *tensor, const uint64_t *shape, size_t rank,
    const char *const *texts, ibx_error *err);

/// Lends text `index`, empty where it was not added.
IBX_API ibx_str ibx_host_tensor_text(const ibx_host_tensor *tensor,
                                     uint64_t index);

/// Makes `to` a copy of `from` with memory of its own. Fails as
/// ibx_host_tensor_reset().
IBX_API IBX_NODISCARD ibx_status ibx_host_tensor_copy(
    ibx_host_tensor *to, const ibx_host_tensor *from, ibx_error *err);

/// Puts `row` behind the rows of `list`, whose elements are not texts. Fails with
/// MISMATCH unless it has the dtype and shape of one, and as
/// ibx_host_tensor_reset().
IBX_API IBX_NODISCARD ibx_status ibx_host_tensor_append(
    ibx_host_tensor *list, const ibx_host_tensor *row, ibx_error *err);

/// Makes `tensor` borrow elements that lie as in a program file: numbers, or of
/// texts the offsets, 8 bytes each, and the bytes behind them. Fails with
/// MISMATCH unless `bytes` are exactly that; it then borrows nothing.
IBX_API IBX_NODISCARD ibx_status ibx_host_tensor_borrow(
    ibx_host_tensor *tensor, ibx_dtype dtype, const uint64_t *shape,
    size_t rank, ibx_span bytes, ibx_error *err);

// --- calls -------------------------------------------------------------------

/// What a row does beside calling a function.
typedef enum ibx_host_flow {
  IBX_HOST_FLOW_none, ///< nothing: it is a call
#define IBX_HOST_FLOW(name, sentence, instead) IBX_HOST_FLOW_##name,
#include "imbrex/host_calls.def"
} ibx_host_flow;

/// One row of host_calls.def.
typedef struct ibx_host_call_info {
  const char *name;
  const char *sentence;
  const char *instead;    ///< what a model can do to stay on the device
  const char *signature;  ///< "T, O, I, R, R"; empty of a flow
  void (*function)(void); ///< NULL of a flow
  ibx_host_flow flow;
} ibx_host_call_info;

/// Lends call `index`; NULL past the last.
IBX_API const ibx_host_call_info *ibx_host_call_get(size_t index);
/// Lends the row of that name, a flow's too; NULL when there is none.
IBX_API const ibx_host_call_info *ibx_host_call_find(const char *name);

/// How many of each kind a signature has.
typedef struct ibx_host_arity {
  size_t least; ///< operands, those that may be left out included
  bool has_list;
  size_t ints, results;
} ibx_host_arity;

/// Reads a signature: letters of host_calls.def; blanks and commas between them
/// count for nothing. False when it is none: another letter, another order, no
/// result, or more than IBX_HOST_MOST_PARAMETERS.
enum { IBX_HOST_MOST_PARAMETERS = 16 };
IBX_API bool ibx_host_signature_read(const char *signature,
                                     ibx_host_arity *out);

/// What a call gets. NULL stands for an operand that is left out.
typedef struct ibx_host_args {
  const ibx_host_tensor *const *operands;
  const int64_t *ints;
  ibx_host_tensor *const *results;
  size_t operand_count, int_count, result_count;
} ibx_host_args;

/// Calls `function` with parameters as `signature` says. Fails with
/// INVALID_ARGUMENT when the arguments are not those of the signature, and as
/// the function does: MISMATCH where tensors do not fit together or a text is
/// no number, UNSUPPORTED, OUT_OF_MEMORY. Results are then of no use.
IBX_API IBX_NODISCARD ibx_status ibx_host_call_run(const char *signature,
                                                   void (*function)(void),
                                                   const ibx_host_args *args,
                                                   ibx_error *err);

IBX_C_END
#endif

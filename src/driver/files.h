// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_FILES_H
#define IBX_FILES_H

/// \file
/// Tensors in files: NumPy's .npy, read and written, and ONNX's TensorProto,
/// read. Elements lie row-major.

#include "imbrex/runtime.h"

/// Zero at first; ended by ibx_array_fini().
typedef struct ibx_array {
  uint8_t *data; ///< owned
  size_t bytes;
  uint64_t shape[IBX_MAX_RANK];
  size_t rank;
  ibx_dtype dtype;
  ibx_host_tensor texts; ///< of dtype STRING the elements; `data` is NULL
  bool is_void; ///< elements of a type that NumPy lacks; dtype has their bytes
} ibx_array;

/// Reads a .npy file or a TensorProto, whichever it is; "-" is standard input.
/// On failure there is nothing to free. Fails with NOT_FOUND, IO_ERROR,
/// MISMATCH (the contents are no such file, or of a dtype that we do not have),
/// OUT_OF_MEMORY.
IBX_NODISCARD ibx_status ibx_array_read(const char *path, ibx_array *out,
                                        ibx_error *err);

/// Tensors of a sequence or an optional in a file.
typedef struct ibx_arrays {
  ibx_array *items; ///< owned
  size_t count;
  bool is_absent; ///< an optional that has no element
} ibx_arrays;

/// Reads a file with ONNX's SequenceProto or OptionalProto of tensors or of a
/// sequence of tensors. On failure there is nothing to free, on success
/// ibx_arrays_fini() frees it. Fails as ibx_array_read().
IBX_NODISCARD ibx_status ibx_arrays_read(const char *path, ibx_arrays *out,
                                         ibx_error *err);
void ibx_arrays_fini(ibx_arrays *arrays);

/// Writes a .npy file, whole or not at all; "-" is standard output. A dtype
/// that NumPy does not have is written as fp32 (bf16, fp8), or as the integer that
/// carries it (i4 as i8). Fails with
/// IO_ERROR, OUT_OF_MEMORY.
IBX_NODISCARD ibx_status ibx_array_write(const ibx_array *array,
                                         const char *path, ibx_error *err);

/// What a run gave, in place of what the array had; `tensor` is emptied.
void ibx_array_take(ibx_array *array, ibx_host_tensor *tensor);

/// Whether a tensor is bound by an ibx_host_tensor: it has texts, or extents that
/// only a run tells.
bool ibx_array_is_open(const ibx_tensor_decl *tensor);

/// Copies type and elements. On failure there is nothing to free. Fails with
/// OUT_OF_MEMORY.
IBX_NODISCARD ibx_status ibx_array_copy(const ibx_array *from, ibx_array *out,
                                        ibx_error *err);

/// Allocates zeroed elements of a tensor's type; texts are empty, and an extent
/// that only a run tells is 0. Fails with OUT_OF_MEMORY.
IBX_NODISCARD ibx_status ibx_array_make(const ibx_tensor_decl *tensor,
                                        ibx_array *out, ibx_error *err);

/// The binding of tensor `index`: of texts by the array's own tensor.
ibx_binding ibx_array_bind(ibx_array *array, size_t index);

/// Makes an array of a file one of `dtype`, where NumPy does not have that: what
/// was written without a type, fp32, or the integers that carry it (i8 for i4).
/// Leaves it as it is where it is none of them.
IBX_NODISCARD ibx_status ibx_array_adapt(ibx_array *array, ibx_dtype dtype,
                                         ibx_error *err);

/// Fails with MISMATCH and both types when the array is not what the tensor
/// takes.
IBX_NODISCARD ibx_status ibx_array_check(const ibx_array *array,
                                         const ibx_tensor_decl *tensor,
                                         ibx_error *err);

void ibx_array_fini(ibx_array *array);

/// Cuts the arrays of all outputs of a run, in their order, to the extents that
/// the run found. Fails as ibx_run_output_shape().
IBX_NODISCARD ibx_status ibx_arrays_cut(const ibx_entry *entry,
                                        const ibx_run *run, ibx_array *outputs,
                                        ibx_error *err);

/// Number of elements.
uint64_t ibx_array_count(const ibx_array *array);

/// Reads from memory: the bytes of a .npy file, which begin with its magic
/// number, or of a TensorProto. `name` stands in messages.
IBX_NODISCARD ibx_status ibx_npy_parse(ibx_span bytes, const char *name,
                                       ibx_array *out, ibx_error *err);
IBX_NODISCARD ibx_status ibx_proto_parse(ibx_span bytes, const char *name,
                                         ibx_array *out, ibx_error *err);
IBX_NODISCARD ibx_status ibx_arrays_parse(ibx_span bytes, const char *name,
                                          ibx_arrays *out, ibx_error *err);
bool ibx_npy_is(ibx_span bytes);

/// Allocates `array->data` for the array's dtype and shape, zeroed. Fails with
/// OUT_OF_MEMORY.
IBX_NODISCARD ibx_status ibx_array_alloc(ibx_array *array, const char *name,
                                         ibx_error *err);

/// "f32[1,3]".
enum { IBX_TYPE_CHARS = 160 };
void ibx_array_type_text(ibx_dtype dtype, const uint64_t *shape, size_t rank,
                         char text[IBX_TYPE_CHARS]);

#endif

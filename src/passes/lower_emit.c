// SPDX-License-Identifier: Apache-2.0
//
// Buffers and instructions of the function under construction. Comes in: sizes
// and decoded instructions. Goes out: rows of the tile function, each with the
// source node that is being lowered. Addresses are left to place.

#include "passes/lower.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

// A failure that is the model's, not ours. Its words end with the remedy, behind
// the last semicolon.
static void tell(const ibx_lower *lower, const ibx_node_decl *source,
                 const char *text) {
  bool is_size = lower->status == IBX_OUT_OF_CAPACITY;
  const char *remedy = is_size
                           ? "use smaller tensors, or a part of the model"
                           : "replace the node by operators that `imbrex ops` "
                             "lists";
  char message[IBX_ERROR_MESSAGE_BYTES];
  snprintf(message, sizeof message, "%s", text);
  char *end = strrchr(message, ';');
  if (end) {
    *end = 0;
    remedy = end + strspn(end + 1, " ") + 1;
  }
  ibx_diag_add(lower->ctx->diag,
               is_size ? IBX_DIAG_PROGRAM_TOO_LARGE : IBX_DIAG_NO_INSTRUCTION,
               (ibx_diag_at){.node = source->name, .op = source->op}, remedy,
               "%s", message);
}

bool ibx_lower_fail(ibx_lower *lower, ibx_status status, const char *format,
                    ...) {
  if (lower->status != IBX_OK) return false;
  lower->status = status;
  char text[IBX_ERROR_MESSAGE_BYTES];
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof(text), format, args);
  va_end(args);
  static const ibx_node_decl port = {.name = "output", .op = "output"};
  const ibx_node_decl *source =
      lower->source == IBX_NO_NODE
          ? &port
          : &lower->ctx->tables->sources[lower->source];
  ibx_error_set(lower->err, status, __FILE__, __LINE__, "node %s (%s): %s",
                source->name, source->op, text);
  if (lower->ctx->diag && status != IBX_INTERNAL) tell(lower, source, text);
  return false;
}

// Of these alike become one in the end (codegen/share.h); as many would already
// take a compilation of ten GB.
enum { MOST_BUFFERS = 1 << 22 };

uint32_t ibx_lower_add_buffer(ibx_lower *lower, ibx_buffer_decl buffer) {
  if (lower->func->buffer_count >= MOST_BUFFERS) {
    ibx_lower_fail(lower, IBX_OUT_OF_CAPACITY,
                   "the program needs more than %d buffers", MOST_BUFFERS);
    return 0;
  }
  return ibx_tile_add_buffer(lower->func, buffer);
}

ibx_view ibx_lower_scratch(ibx_lower *lower, const ibx_type *type,
                           const char *name) {
  int64_t bytes = 0;
  ibx_type_bytes(type, &bytes);
  const ibx_buffer_decl scratch = {.place = {.space = IBX_SPACE_HBM,
                                             .partitions = 1,
                                             .bytes = (uint64_t)bytes},
                                   .name = name,
                                   .kind = IBX_BUFFER_SCRATCH};
  return ibx_view_linear(type, ibx_lower_add_buffer(lower, scratch));
}

uint32_t ibx_lower_buffer(ibx_lower *lower, ibx_space space, int32_t partitions,
                          int64_t bytes_per_partition, const char *name) {
  int64_t bytes = (bytes_per_partition + 63) / 64 * 64;
  ibx_buffer_decl buffer = {
      .place = {.space = space,
                .partitions = (uint16_t)partitions,
                .bytes = (uint64_t)bytes},
      .name = name,
      .kind = IBX_BUFFER_SCRATCH,
  };
  return ibx_lower_add_buffer(lower, buffer);
}

bool ibx_lower_tensor(ibx_lower *lower, const ibx_type *type,
                      const ibx_layout *layout, const char *name,
                      ibx_view *out_view) {
  int32_t partitions;
  int64_t elements;
  if (!ibx_view_make(type, layout, out_view, &partitions, &elements)) {
    return false;
  }
  int64_t bytes = elements * (int64_t)ibx_dtype_bytes(type->dtype);
  out_view->buffer =
      ibx_lower_buffer(lower, IBX_SPACE_SBUF, partitions, bytes, name);
  return lower->status == IBX_OK;
}

bool ibx_lower_bank(ibx_lower *lower, const ibx_type *type, uint8_t row_dim,
                    ibx_view *out_view) {
  ibx_layout layout = {.dims = {row_dim}, .count = 1};
  int32_t partitions;
  int64_t elements;
  if (type->dims[row_dim] > IBX_PARTITIONS ||
      !ibx_view_make(type, &layout, out_view, &partitions, &elements)) {
    return false;
  }
  int64_t bytes = elements * (int64_t)ibx_dtype_bytes(type->dtype);
  if (bytes > lower->machine->psum_bank_bytes) return false;
  out_view->buffer = ibx_lower_buffer(lower, IBX_SPACE_PSUM, partitions,
                                      lower->machine->psum_bank_bytes, "bank");
  return lower->status == IBX_OK;
}

// Some 100 bytes each, here and in the program.
enum { MOST_INSTRUCTIONS = 1 << 22 };

bool ibx_lower_emit(ibx_lower *lower, const ibx_insn *insn, ibx_engine engine,
                    bool glued) {
  if (lower->status != IBX_OK) return false;
  if (lower->func->op_count >= MOST_INSTRUCTIONS) {
    return ibx_lower_fail(lower, IBX_OUT_OF_CAPACITY,
                          "the program needs more than %d instructions",
                          MOST_INSTRUCTIONS);
  }
  const ibx_tile_op op = {
      .insn = *insn, .engine = engine, .glued = glued, .source = lower->source};
  ibx_tile_add_op(lower->func, &op);
  return true;
}

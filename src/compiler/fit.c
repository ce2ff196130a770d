// SPDX-License-Identifier: Apache-2.0
//
// What a program can hold. Comes in: functions with their buffers, then the bytes
// of the weight section. Goes out: whether a core's HBM can hold both, where the
// one to blame is who reads the largest constant, and whether the buffers have
// numbers.

#include "compiler/fit.h"

#include "codegen/share.h"

#include <inttypes.h>

static bool is_constant(const ibx_tile_func *func, uint32_t buffer) {
  return buffer != IBX_NO_BUFFER &&
         func->buffers[buffer].kind == IBX_BUFFER_WEIGHT;
}

static void add_constant(ibx_fit *fit, const ibx_buffer_decl *buffer,
                         uint32_t source) {
  if (buffer->place.bytes <= fit->constant_bytes) return;
  fit->constant_bytes = buffer->place.bytes;
  fit->constant = buffer->name;
  fit->source = source;
}

void ibx_fit_add(ibx_fit *fit, const ibx_tile_func *func) {
  uint64_t bytes = 0;
  for (size_t b = 0; b < func->buffer_count; b++) {
    const ibx_buffer_decl *buffer = &func->buffers[b];
    bool is_tensor = buffer->place.space == IBX_SPACE_HBM &&
                     buffer->kind != IBX_BUFFER_WEIGHT;
    if (is_tensor) bytes += buffer->place.bytes;
  }
  if (bytes > fit->tensor_bytes) fit->tensor_bytes = bytes;
  for (size_t i = 0; i < func->op_count; i++) {
    for (size_t slot = 0; slot < IBX_OPERANDS; slot++) {
      uint32_t buffer = func->briefs[i].buffer[slot];
      if (!is_constant(func, buffer)) continue;
      add_constant(fit, &func->buffers[buffer], func->ops[i]->source);
    }
  }
}

ibx_status ibx_fit_check(const ibx_fit *fit, const ibx_machine *machine,
                         uint64_t weight_bytes, const ibx_tables *tables,
                         ibx_diag_sink *sink, ibx_error *err) {
  uint64_t limit = (uint64_t)machine->hbm_mib << 20, all;
  bool is_known = ibx_add_size(weight_bytes, fit->tensor_bytes, &all);
  if (is_known && all <= limit) return IBX_OK;
  bool has_node = fit->source < tables->source_count;
  ibx_diag_at at = {.node = has_node ? tables->sources[fit->source].name : "",
                    .op = has_node ? tables->sources[fit->source].op : "",
                    .attribute = fit->constant};
  return ibx_diag_fail(
      sink, IBX_DIAG_WEIGHTS_TOO_LARGE, at, err,
      "use --auto-cast all, quantised weights, or a part of the model on each "
      "of several cores",
      "constants of %" PRIu64 " bytes, of which this node reads the largest, "
      "%" PRIu64 ", do not fit beside tensors of %" PRIu64 " into the %" PRIu64
      " bytes of HBM that one core of %s has",
      weight_bytes, fit->constant_bytes, fit->tensor_bytes, limit,
      machine->name);
}

ibx_status ibx_fit_buffers(const ibx_tile_func *func, const ibx_tables *tables,
                           ibx_arena *scratch, ibx_diag_sink *sink,
                           ibx_error *err) {
  if (func->buffer_count <= IBX_MAX_BUFFERS) return IBX_OK;
  ibx_share share = ibx_share_make(func->buffers, func->buffer_count, scratch);
  if (share.count <= IBX_MAX_BUFFERS) return IBX_OK;
  size_t over = 0;
  while (share.number[over] != IBX_MAX_BUFFERS)
    over++;
  uint32_t op = func->lives[over].first;
  uint32_t source = op < func->op_count ? func->ops[op]->source : IBX_NO_NODE;
  bool has_node = source < tables->source_count;
  ibx_diag_at at = {.node = has_node ? tables->sources[source].name : "",
                    .op = has_node ? tables->sources[source].op : ""};
  return ibx_diag_fail(sink, IBX_DIAG_PROGRAM_TOO_LARGE, at, err,
                       "use smaller tensors, or a part of the model",
                       "the program needs more than %d buffers",
                       IBX_MAX_BUFFERS);
}

// SPDX-License-Identifier: Apache-2.0
//
// Outputs whose extents the data decide. In: a run that is complete. Out: the
// shape that an output has, and its elements without what lies between the valid
// ones. Holds: no extent is believed that exceeds the declared one.

#include "core/session.h"

#include <inttypes.h>
#include <string.h>

static const ibx_binding *find_output(const ibx_entry *entry,
                                      const ibx_run *run, size_t index) {
  const char *name = entry->outputs[index].name;
  for (size_t i = 0; i < run->output_count; i++) {
    const ibx_binding *binding = &run->outputs[i];
    bool found = binding->name ? strcmp(binding->name, name) == 0
                               : binding->index == index;
    if (found) return binding;
  }
  return NULL;
}

static ibx_status read_extent(const ibx_entry *entry, const ibx_run *run,
                              const ibx_extent_decl *extent, uint64_t *out,
                              ibx_error *err) {
  const ibx_tensor_decl *tensor = &entry->outputs[extent->output];
  const ibx_tensor_decl *source = &entry->outputs[extent->source];
  const ibx_binding *binding = find_output(entry, run, extent->source);
  int64_t value = -1;
  if (!binding || binding->size_bytes != sizeof value) {
    return IBX_FAIL(err, INVALID_ARGUMENT,
                    "output '%s', which holds an extent of '%s', is not bound",
                    source->name, tensor->name);
  }
  memcpy(&value, binding->data, sizeof value);
  *out = (uint64_t)value;
  if (value >= 0 && *out <= tensor->shape[extent->dim]) return IBX_OK;
  return IBX_FAIL(err, DEVICE_ERROR,
                  "output '%s' has extent %" PRId64 ", the most is %" PRIu64,
                  tensor->name, value, tensor->shape[extent->dim]);
}

ibx_status ibx_run_output_shape(const ibx_entry *entry, const ibx_run *run,
                                size_t index, uint64_t shape[IBX_MAX_RANK],
                                ibx_error *err) {
  if (index >= entry->output_count) {
    return IBX_FAIL(err, INVALID_ARGUMENT, "the entry has no output %zu",
                    index);
  }
  memcpy(shape, entry->outputs[index].shape, IBX_MAX_RANK * sizeof *shape);
  for (size_t i = 0; i < entry->extent_count; i++) {
    const ibx_extent_decl *extent = &entry->extents[i];
    if (extent->output != index) continue;
    IBX_TRY(read_extent(entry, run, extent, &shape[extent->dim], err));
  }
  return IBX_OK;
}

uint64_t ibx_tensor_pack(const ibx_tensor_decl *tensor,
                         const uint64_t shape[IBX_MAX_RANK], void *data) {
  uint64_t row = ibx_dtype_bytes((ibx_dtype)tensor->dtype), rows = 1, bytes;
  size_t rank = tensor->rank;
  uint64_t at[IBX_MAX_RANK] = {0}, step[IBX_MAX_RANK];
  for (size_t d = rank; d-- > 0;) {
    step[d] = d + 1 == rank ? row : step[d + 1] * tensor->shape[d + 1];
  }
  if (rank != 0) row *= shape[rank - 1];
  for (size_t d = 0; d + 1 < rank; d++)
    rows *= shape[d];
  bytes = rows * row;
  uint8_t *to = data;
  // Each row moves towards the start, so none is overwritten before it moved.
  for (uint64_t r = 0; r < rows && row != 0; r++) {
    uint64_t from = 0;
    for (size_t d = 0; d + 1 < rank; d++)
      from += at[d] * step[d];
    memmove(to, (const uint8_t *)data + from, row);
    to += row;
    for (size_t d = rank; d-- > 1;) {
      if (++at[d - 1] < shape[d - 1]) break;
      at[d - 1] = 0;
    }
  }
  return bytes;
}

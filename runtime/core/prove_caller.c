// SPDX-License-Identifier: Apache-2.0
//
// Inputs, outputs and state in HBM are the caller's memory, bound at run time.
// Comes in: the buffers of an entry. Goes out: a refusal when another buffer
// shares an address with one of them; scratch may share with scratch.

#include "core/prove_internal.h"

#include <stdlib.h>

static int compare_offsets(const void *a, const void *b) {
  const ibx_buffer_decl *x = *(const ibx_buffer_decl *const *)a;
  const ibx_buffer_decl *y = *(const ibx_buffer_decl *const *)b;
  if (x->place.offset != y->place.offset) {
    return x->place.offset < y->place.offset ? -1 : 1;
  }
  return x < y ? -1 : x > y;
}

static ibx_status check_apart(const ibx_buffer_decl **sorted, size_t count,
                              ibx_error *err) {
  const ibx_buffer_decl *reach = NULL;  // ends last so far
  const ibx_buffer_decl *shared = NULL; // ends last of those of the caller
  for (size_t i = 0; i < count; i++) {
    const ibx_buffer_decl *b = sorted[i];
    bool is_shared = b->kind != IBX_BUFFER_SCRATCH;
    const ibx_buffer_decl *other = is_shared ? reach : shared;
    if (other && other->place.offset + other->place.bytes > b->place.offset) {
      return IBX_FAIL(err, UNPROVEN,
                      "buffers %.40s and %.40s share addresses, and one "
                      "belongs to the caller",
                      other->name, b->name);
    }
    uint64_t end = b->place.offset + b->place.bytes;
    if (!reach || end > reach->place.offset + reach->place.bytes) reach = b;
    if (is_shared) shared = b;
  }
  return IBX_OK;
}

ibx_status ibx_prove_caller_buffers(const ibx_entry *entry, ibx_pool *pool,
                                    ibx_error *err) {
  size_t count = 0;
  const ibx_buffer_decl **sorted =
      IBX_POOL_ARRAY(pool, entry->buffer_count, const ibx_buffer_decl *);
  if (!sorted) {
    return IBX_FAIL(err, OUT_OF_MEMORY, "no memory for the prover");
  }
  for (size_t i = 0; i < entry->buffer_count; i++) {
    const ibx_buffer_decl *b = &entry->buffers[i];
    if (b->place.space != IBX_SPACE_HBM || b->kind == IBX_BUFFER_WEIGHT ||
        b->place.bytes == 0) {
      continue;
    }
    sorted[count++] = b;
  }
  qsort(sorted, count, sizeof(const ibx_buffer_decl *), compare_offsets);
  return check_apart(sorted, count, err);
}

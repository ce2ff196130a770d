// SPDX-License-Identifier: Apache-2.0
//
// Extents: numbers that a program loads from memory, given by the caller. In:
// an entry, names and values. Out: for each register_load what it loads, and a
// copy of the entry in which those numbers are constants. A name is that of the
// buffer which is read, with or without an offset, or that of a tensor which a
// DMA copies there.

#include "extent.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool is_load(const ibx_insn *insn) {
  return insn->opcode == IBX_OP_register_load;
}

static size_t count_loads(const ibx_stream *stream) {
  size_t count = 0;
  for (size_t i = 0; i < stream->count; i++) {
    count += is_load(&stream->insns[i]);
  }
  return count;
}

// --- names ----------------------------------------------------------------------

static bool names_tensor(const ibx_entry *entry, const char *name,
                         uint32_t buffer) {
  for (size_t i = 0; i < entry->input_count; i++) {
    const ibx_tensor_decl *tensor = &entry->inputs[i];
    if (tensor->buffer != buffer || !tensor->name) continue;
    if (strcmp(tensor->name, name) == 0) return true;
  }
  return false;
}

static bool is_copy(const ibx_entry *entry, const ibx_insn *insn) {
  return insn->opcode == IBX_OP_dma_copy &&
         insn->operand[0].buffer < entry->buffer_count &&
         insn->operand[1].buffer < entry->buffer_count;
}

// Marks the buffers that get a copy of the tensor.
static void mark_copies(const ibx_entry *entry, const char *name,
                        bool *is_copied) {
  memset(is_copied, 0, entry->buffer_count * sizeof(*is_copied));
  for (int e = 0; e < IBX_ENGINE_COUNT; e++) {
    const ibx_stream *stream = &entry->streams[e];
    for (size_t i = 0; i < stream->count; i++) {
      const ibx_insn *insn = &stream->insns[i];
      if (!is_copy(entry, insn)) continue;
      if (!names_tensor(entry, name, insn->operand[1].buffer)) continue;
      is_copied[insn->operand[0].buffer] = true;
    }
  }
}

// "length" or, with the offset of the operand, "length[4]".
static bool names_operand(const ibx_entry *entry, const char *name,
                          const ibx_operand *operand) {
  const char *buffer = entry->buffers[operand->buffer].name;
  size_t len = buffer ? strlen(buffer) : 0;
  if (len == 0 || strncmp(name, buffer, len) != 0) return false;
  if (name[len] == '\0') return true;
  char offset[32];
  snprintf(offset, sizeof(offset), "[%" PRIu64 "]", operand->offset);
  return strcmp(name + len, offset) == 0;
}

// --- finding --------------------------------------------------------------------

typedef struct finder {
  const ibx_entry *entry;
  bool *is_copied; ///< of each buffer, for the extent at hand
  uint32_t **counts;
  ibx_error *err;
} finder;

static ibx_status give(const finder *f, const ibx_sim_extent *extent,
                       const ibx_insn *insn, uint32_t *count) {
  if (extent->value > insn->count) {
    return IBX_FAIL(f->err, INVALID_ARGUMENT,
                    "extent %s is %u, the program allows %u at most",
                    extent->name, extent->value, insn->count);
  }
  *count = extent->value;
  return IBX_OK;
}

static ibx_status find_one(const finder *f, const ibx_sim_extent *extent) {
  bool is_found = false;
  if (!extent->name) {
    return IBX_FAIL(f->err, INVALID_ARGUMENT, "an extent has no name");
  }
  mark_copies(f->entry, extent->name, f->is_copied);
  for (int e = 0; e < IBX_ENGINE_COUNT; e++) {
    const ibx_stream *stream = &f->entry->streams[e];
    for (size_t i = 0; f->counts[e] && i < stream->count; i++) {
      const ibx_insn *insn = &stream->insns[i];
      const ibx_operand *source = &insn->operand[1];
      if (!is_load(insn) || source->buffer >= f->entry->buffer_count) continue;
      if (!f->is_copied[source->buffer] &&
          !names_operand(f->entry, extent->name, source)) {
        continue;
      }
      is_found = true;
      IBX_TRY(give(f, extent, insn, &f->counts[e][i]));
    }
  }
  if (is_found) return IBX_OK;
  return IBX_FAIL(f->err, NOT_FOUND,
                  "no register is loaded from '%s'; an extent names the buffer "
                  "that register_load reads, or a tensor copied there",
                  extent->name);
}

static bool init_counts(const ibx_entry *entry, uint32_t **counts) {
  for (int e = 0; e < IBX_ENGINE_COUNT; e++) {
    const ibx_stream *stream = &entry->streams[e];
    if (count_loads(stream) == 0) continue;
    counts[e] = calloc(stream->count, sizeof(*counts[e]));
    if (!counts[e]) return false;
    for (size_t i = 0; i < stream->count; i++) {
      counts[e][i] = stream->insns[i].count;
    }
  }
  return true;
}

ibx_status ibx_extents_find(const ibx_entry *entry,
                            const ibx_sim_extent *extents, size_t extent_count,
                            uint32_t *counts[IBX_ENGINE_COUNT],
                            ibx_error *err) {
  memset(counts, 0, IBX_ENGINE_COUNT * sizeof(*counts));
  bool *is_copied = calloc(entry->buffer_count + 1, sizeof(*is_copied));
  if (!is_copied) return IBX_FAIL(err, OUT_OF_MEMORY, "no memory for extents");
  ibx_status status = IBX_OK;
  if (!init_counts(entry, counts)) {
    status = IBX_FAIL(err, OUT_OF_MEMORY, "no memory for extents");
  }
  finder f = {
      .entry = entry, .is_copied = is_copied, .counts = counts, .err = err};
  for (size_t i = 0; i < extent_count && status == IBX_OK; i++) {
    status = find_one(&f, &extents[i]);
  }
  free(is_copied);
  return status;
}

void ibx_extents_free(uint32_t *counts[IBX_ENGINE_COUNT]) {
  for (int e = 0; e < IBX_ENGINE_COUNT; e++) {
    free(counts[e]);
  }
}

// --- fixing ---------------------------------------------------------------------

// What is loaded stays, with its wait and its signal; its value comes behind.
static bool fix_stream(const ibx_stream *from, const uint32_t *counts,
                       ibx_stream *to) {
  size_t count = from->count + count_loads(from);
  *to = (ibx_stream){.insns = calloc(count, sizeof(*to->insns)),
                     .nodes = calloc(count, sizeof(*to->nodes))};
  if (!to->insns || !to->nodes) return false;
  for (size_t i = 0; i < from->count; i++) {
    uint32_t node = from->nodes ? from->nodes[i] : IBX_NO_NODE;
    to->nodes[to->count] = node;
    to->insns[to->count++] = from->insns[i];
    if (!is_load(&from->insns[i])) continue;
    ibx_insn value = ibx_insn_make(IBX_OP_register_move);
    value.reg[0] = from->insns[i].reg[0];
    value.count = counts[i];
    to->nodes[to->count] = node;
    to->insns[to->count++] = value;
  }
  return true;
}

static ibx_entry *fix_entry(const ibx_entry *entry, uint32_t **counts) {
  ibx_entry *fixed = malloc(sizeof(*fixed));
  if (!fixed) return NULL;
  *fixed = *entry;
  bool has_memory = true;
  for (int e = 0; e < IBX_ENGINE_COUNT; e++) {
    fixed->streams[e] = (ibx_stream){0};
    const ibx_stream *stream = &entry->streams[e];
    if (stream->count == 0) continue;
    has_memory =
        has_memory && fix_stream(stream, counts[e], &fixed->streams[e]);
  }
  if (has_memory) return fixed;
  ibx_sim_free_fixed(fixed);
  return NULL;
}

ibx_status ibx_sim_fix_extents(const ibx_entry *entry,
                               const ibx_sim_extent *extents,
                               size_t extent_count, ibx_entry **out_entry,
                               ibx_error *err) {
  *out_entry = NULL;
  uint32_t *counts[IBX_ENGINE_COUNT];
  ibx_status status =
      ibx_extents_find(entry, extents, extent_count, counts, err);
  bool has_loads = false;
  for (int e = 0; e < IBX_ENGINE_COUNT; e++) {
    has_loads = has_loads || counts[e] != NULL;
  }
  if (status == IBX_OK && has_loads) {
    *out_entry = fix_entry(entry, counts);
    if (!*out_entry) {
      status = IBX_FAIL(err, OUT_OF_MEMORY, "no memory for a fixed entry");
    }
  }
  ibx_extents_free(counts);
  return status;
}

void ibx_sim_free_fixed(ibx_entry *entry) {
  if (!entry) return;
  for (int e = 0; e < IBX_ENGINE_COUNT; e++) {
    free(entry->streams[e].insns);
    free(entry->streams[e].nodes);
  }
  free(entry);
}

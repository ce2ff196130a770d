// SPDX-License-Identifier: Apache-2.0
//
// The shadow of memory. Comes in: regions that instructions touch, with what
// their agents know. Goes out: a finding, or nothing. What holds: any two
// accesses that were accepted and share a byte, one of them a write, are
// ordered; every byte read was written, last through the buffer that it is read
// through.
//
// Each buffer keeps its accesses as records (prove_record.c) and what is written
// as bits (prove_bits.c). Buffers that share an address and are in use at the
// same time know each other as neighbours.

#include "core/prove_internal.h"

#include <stdlib.h>
#include <string.h>

enum { FIRST_NEIGHBOURS = 8 };

// --- rows --------------------------------------------------------------------

static bool is_tracked(const ibx_shadow_buffer *buffer) {
  return buffer->decl->kind == IBX_BUFFER_SCRATCH ||
         buffer->decl->kind == IBX_BUFFER_OUTPUT;
}

static bool split_row(ibx_shadow_buffer *buffer, size_t index,
                      const uint64_t inside[2]) {
  ibx_row *rows = realloc(buffer->rows, (buffer->row_count + 1) * sizeof *rows);
  if (!rows) return false;
  buffer->rows = rows;
  ibx_row *row = &rows[index];
  ibx_row other = {.mask = {inside[0], inside[1]}};
  if (!ibx_bits_copy(&row->written, &other.written)) return false;
  if (!ibx_bits_copy(&row->matmul, &other.matmul)) {
    ibx_bits_fini(&other.written);
    return false;
  }
  row->mask[0] &= ~inside[0];
  row->mask[1] &= ~inside[1];
  rows[buffer->row_count++] = other;
  return true;
}

// Splits rows until each lies inside or outside of the mask.
static bool split_rows(ibx_shadow_buffer *buffer, const uint64_t mask[2]) {
  size_t count = buffer->row_count;
  for (size_t i = 0; i < count; i++) {
    const uint64_t *row = buffer->rows[i].mask;
    uint64_t inside[2] = {row[0] & mask[0], row[1] & mask[1]};
    bool is_apart = (inside[0] | inside[1]) == 0;
    bool is_whole = inside[0] == row[0] && inside[1] == row[1];
    if (is_apart || is_whole) continue;
    if (!split_row(buffer, i, inside)) return false;
  }
  return true;
}

static bool is_in(const ibx_row *row, const uint64_t mask[2]) {
  return ((row->mask[0] & mask[0]) | (row->mask[1] & mask[1])) != 0;
}

static ibx_finding test_written(const ibx_shadow_buffer *buffer,
                                const ibx_region *region) {
  for (size_t i = 0; i < buffer->row_count; i++) {
    const ibx_row *row = &buffer->rows[i];
    if (!is_in(row, region->mask)) continue;
    if (!ibx_bits_test(&row->written, region, buffer->extent.lo)) {
      return IBX_FINDING_UNWRITTEN;
    }
  }
  return IBX_FINDING_NONE;
}

static ibx_finding mark_written(ibx_shadow_buffer *buffer,
                                const ibx_region *region) {
  if (!split_rows(buffer, region->mask)) return IBX_FINDING_OUT_OF_MEMORY;
  for (size_t i = 0; i < buffer->row_count; i++) {
    ibx_row *row = &buffer->rows[i];
    if (is_in(row, region->mask) &&
        !ibx_bits_set(&row->written, region, buffer->extent.lo)) {
      return IBX_FINDING_OUT_OF_MEMORY;
    }
  }
  return IBX_FINDING_NONE;
}

// Another buffer took these bytes.
static ibx_finding mark_lost(ibx_shadow_buffer *buffer,
                             const ibx_region *region) {
  if (!is_tracked(buffer)) return IBX_FINDING_NONE;
  if (!split_rows(buffer, region->mask)) return IBX_FINDING_OUT_OF_MEMORY;
  for (size_t i = 0; i < buffer->row_count; i++) {
    ibx_row *row = &buffer->rows[i];
    if (!is_in(row, region->mask)) continue;
    if (!ibx_bits_clear(&row->written, region, buffer->extent.lo) ||
        !ibx_bits_clear(&row->matmul, region, buffer->extent.lo)) {
      return IBX_FINDING_OUT_OF_MEMORY;
    }
  }
  return IBX_FINDING_NONE;
}

bool ibx_shadow_is_complete(const ibx_shadow_buffer *buffer) {
  for (size_t i = 0; i < buffer->row_count; i++) {
    if (buffer->rows[i].written.set != buffer->rows[i].written.size) {
      return false;
    }
  }
  return true;
}

// --- neighbours --------------------------------------------------------------

static bool touches(const ibx_region *a, const ibx_region *b) {
  return a->lo < b->hi && b->lo < a->hi &&
         ((a->mask[0] & b->mask[0]) | (a->mask[1] & b->mask[1])) != 0;
}

static bool add_neighbour(ibx_shadow_buffer *buffer, uint32_t other) {
  if (buffer->neighbour_count == buffer->neighbour_capacity) {
    size_t capacity = buffer->neighbour_capacity
                          ? buffer->neighbour_capacity * 2
                          : FIRST_NEIGHBOURS;
    uint32_t *list =
        realloc(buffer->neighbours, capacity * sizeof *buffer->neighbours);
    if (!list) return false;
    buffer->neighbours = list;
    buffer->neighbour_capacity = capacity;
  }
  buffer->neighbours[buffer->neighbour_count++] = other;
  return true;
}

// Nothing to come touches the buffer, and everybody knows what did.
static bool is_over(const ibx_shadow *shadow, const ibx_shadow_buffer *buffer) {
  return buffer->remaining == 0 &&
         ibx_records_are_known(&buffer->reads, &shadow->known) &&
         ibx_records_are_known(&buffer->writes, &shadow->known);
}

static void retire(ibx_shadow *shadow, ibx_shadow_buffer *buffer) {
  if (!buffer->is_active) return;
  buffer->is_active = false;
  ibx_records_free(shadow->order, &buffer->reads);
  ibx_records_free(shadow->order, &buffer->writes);
}

// Finds the buffers in use that share an address with this one.
static bool activate(ibx_shadow *shadow, uint32_t index) {
  ibx_shadow_buffer *buffer = &shadow->buffers[index];
  size_t kept = 0;
  for (size_t i = 0; i < shadow->active_count; i++) {
    uint32_t other_index = shadow->active[i];
    ibx_shadow_buffer *other = &shadow->buffers[other_index];
    if (is_over(shadow, other)) retire(shadow, other);
    if (!other->is_active) continue;
    shadow->active[kept++] = other_index;
    if (other->decl->place.space != buffer->decl->place.space ||
        !touches(&other->extent, &buffer->extent)) {
      continue;
    }
    if (!add_neighbour(buffer, other_index) || !add_neighbour(other, index)) {
      return false;
    }
  }
  shadow->active[kept] = index;
  shadow->active_count = kept + 1;
  buffer->is_active = true;
  return true;
}

// --- accesses ----------------------------------------------------------------

static ibx_finding report_race(const ibx_record *record, size_t buffer,
                               bool is_write, ibx_conflict *out) {
  *out = (ibx_conflict){.buffer = (uint32_t)buffer,
                        .insn = record->insn,
                        .engine = record->engine,
                        .is_write = is_write};
  return IBX_FINDING_RACE;
}

// Against what `buffer` has seen, where the access may go through another one.
static ibx_finding check_races(ibx_shadow *shadow, size_t buffer,
                               const ibx_access *access,
                               const ibx_region *region, ibx_conflict *out) {
  const ibx_shadow_buffer *seen = &shadow->buffers[buffer];
  const ibx_record *other =
      ibx_records_find_race(shadow, &seen->writes, access->clock, region);
  if (other) return report_race(other, buffer, true, out);
  if (!access->is_write) return IBX_FINDING_NONE;
  other = ibx_records_find_race(shadow, &seen->reads, access->clock, region);
  return other ? report_race(other, buffer, false, out) : IBX_FINDING_NONE;
}

static ibx_finding check_neighbours(ibx_shadow *shadow,
                                    const ibx_access *access,
                                    const ibx_region *region,
                                    ibx_conflict *out) {
  ibx_shadow_buffer *buffer = &shadow->buffers[access->buffer];
  size_t kept = 0;
  ibx_finding finding = IBX_FINDING_NONE;
  for (size_t i = 0; i < buffer->neighbour_count; i++) {
    uint32_t index = buffer->neighbours[i];
    ibx_shadow_buffer *other = &shadow->buffers[index];
    if (is_over(shadow, other)) retire(shadow, other);
    if (!other->is_active) continue;
    buffer->neighbours[kept++] = index;
    if (finding != IBX_FINDING_NONE || !touches(&other->extent, region)) {
      continue;
    }
    finding = check_races(shadow, index, access, region, out);
    if (finding == IBX_FINDING_NONE && access->is_write &&
        other->remaining > 0) {
      finding = mark_lost(other, region);
    }
  }
  buffer->neighbour_count = kept;
  return finding;
}

// Every row of the buffer may step over every run, and over the words of bits.
static ibx_finding count_work(ibx_shadow *shadow,
                              const ibx_shadow_buffer *buffer,
                              const ibx_region *region) {
  uint64_t runs = ibx_region_runs(region);
  uint64_t words = (region->hi - region->lo) / 64;
  uint64_t rows = buffer->row_count + 1;
  if (runs > shadow->most_work || shadow->work > shadow->most_work) {
    return IBX_FINDING_TOO_LONG;
  }
  shadow->work += rows * (runs + words / 8) + buffer->neighbour_count;
  return IBX_FINDING_NONE;
}

static void note_dma(const ibx_shadow *shadow, const ibx_access *access,
                     ibx_record_list *list) {
  if (access->agent != IBX_AGENT_DMA) return;
  ibx_dma_record *dma = &shadow->order->dmas[access->time];
  for (size_t i = 0; i < dma->touch_count; i++) {
    if (dma->touches[i] == access->buffer &&
        dma->touch_writes[i] == access->is_write) {
      return;
    }
  }
  dma->touches[dma->touch_count] = access->buffer;
  dma->touch_writes[dma->touch_count] = access->is_write;
  dma->touch_count++;
  list->pending++;
}

static ibx_finding do_read(ibx_shadow *shadow, ibx_shadow_buffer *buffer,
                           const ibx_access *access, const ibx_region *region) {
  if (is_tracked(buffer)) {
    ibx_finding finding = test_written(buffer, region);
    if (finding != IBX_FINDING_NONE) return finding;
  }
  if (buffer->decl->place.space == IBX_SPACE_PSUM) {
    ibx_finding finding = ibx_psum_read(buffer, access, region, &shadow->work);
    if (finding != IBX_FINDING_NONE) return finding;
  }
  // The write that follows stands for both.
  if (access->is_combined) return IBX_FINDING_NONE;
  if (!ibx_records_add(shadow, &buffer->reads, access, region)) {
    return IBX_FINDING_OUT_OF_MEMORY;
  }
  note_dma(shadow, access, &buffer->reads);
  return IBX_FINDING_NONE;
}

static ibx_finding do_write(ibx_shadow *shadow, ibx_shadow_buffer *buffer,
                            const ibx_access *access,
                            const ibx_region *region) {
  if (is_tracked(buffer)) {
    ibx_finding finding = mark_written(buffer, region);
    if (finding != IBX_FINDING_NONE) return finding;
  }
  if (buffer->decl->place.space == IBX_SPACE_PSUM) {
    ibx_finding finding = ibx_psum_write(buffer, access, region, &shadow->work);
    if (finding != IBX_FINDING_NONE) return finding;
  }
  // It is ordered after all that it covers, so whoever is ordered after it is
  // ordered after them.
  if (ibx_region_covers(region, &buffer->extent)) {
    ibx_records_clear(shadow->order, &buffer->reads);
    ibx_records_clear(shadow->order, &buffer->writes);
  }
  if (!ibx_records_add(shadow, &buffer->writes, access, region)) {
    return IBX_FINDING_OUT_OF_MEMORY;
  }
  note_dma(shadow, access, &buffer->writes);
  return IBX_FINDING_NONE;
}

ibx_finding ibx_shadow_access(ibx_shadow *shadow, const ibx_access *access,
                              const ibx_region *region, ibx_conflict *out) {
  ibx_shadow_buffer *buffer = &shadow->buffers[access->buffer];
  ibx_finding finding = count_work(shadow, buffer, region);
  if (finding != IBX_FINDING_NONE) return finding;
  bool is_constant = buffer->decl->kind == IBX_BUFFER_WEIGHT ||
                     buffer->decl->kind == IBX_BUFFER_INPUT;
  if (is_constant) {
    return access->is_write ? IBX_FINDING_READ_ONLY : IBX_FINDING_NONE;
  }
  if (!buffer->is_active && !activate(shadow, access->buffer)) {
    return IBX_FINDING_OUT_OF_MEMORY;
  }
  finding = check_races(shadow, access->buffer, access, region, out);
  if (finding == IBX_FINDING_NONE) {
    finding = check_neighbours(shadow, access, region, out);
  }
  if (finding != IBX_FINDING_NONE) return finding;
  return access->is_write ? do_write(shadow, buffer, access, region)
                          : do_read(shadow, buffer, access, region);
}

void ibx_shadow_dma_done(ibx_shadow *shadow, uint32_t index) {
  const ibx_dma_record *dma = &shadow->order->dmas[index];
  for (size_t i = 0; i < dma->touch_count; i++) {
    ibx_shadow_buffer *buffer = &shadow->buffers[dma->touches[i]];
    ibx_record_list *list =
        dma->touch_writes[i] ? &buffer->writes : &buffer->reads;
    list->pending--;
    if (list->last[dma->waiter] < dma->wait_time) {
      list->last[dma->waiter] = dma->wait_time;
    }
  }
}

// --- life --------------------------------------------------------------------

static bool init_rows(ibx_shadow_buffer *buffer) {
  if (!is_tracked(buffer)) return true;
  buffer->rows = calloc(1, sizeof *buffer->rows);
  if (!buffer->rows) return false;
  buffer->row_count = 1;
  buffer->rows->mask[0] = buffer->extent.mask[0];
  buffer->rows->mask[1] = buffer->extent.mask[1];
  buffer->rows->written.size = buffer->decl->place.bytes;
  if (buffer->decl->place.space == IBX_SPACE_PSUM) {
    buffer->rows->matmul.size = buffer->decl->place.bytes;
  }
  return true;
}

ibx_status ibx_shadow_init(ibx_shadow *shadow, const ibx_entry *entry,
                           ibx_order *order, ibx_pool *pool, ibx_error *err) {
  *shadow = (ibx_shadow){.order = order};
  shadow->buffers =
      IBX_POOL_ARRAY(pool, entry->buffer_count, ibx_shadow_buffer);
  shadow->active = IBX_POOL_ARRAY(pool, entry->buffer_count, uint32_t);
  if (!shadow->buffers || !shadow->active) {
    return IBX_FAIL(err, OUT_OF_MEMORY, "no memory for the prover");
  }
  shadow->buffer_count = entry->buffer_count;
  for (size_t i = 0; i < entry->buffer_count; i++) {
    ibx_shadow_buffer *buffer = &shadow->buffers[i];
    buffer->decl = &entry->buffers[i];
    buffer->extent = ibx_region_of_place(&buffer->decl->place);
    if (!init_rows(buffer)) {
      return IBX_FAIL(err, OUT_OF_MEMORY, "no memory for the prover");
    }
  }
  return IBX_OK;
}

void ibx_shadow_fini(ibx_shadow *shadow) {
  for (size_t i = 0; i < shadow->buffer_count; i++) {
    ibx_shadow_buffer *buffer = &shadow->buffers[i];
    for (size_t r = 0; r < buffer->row_count; r++) {
      ibx_bits_fini(&buffer->rows[r].written);
      ibx_bits_fini(&buffer->rows[r].matmul);
    }
    free(buffer->rows);
    free(buffer->groups);
    free(buffer->neighbours);
    free(buffer->reads.items);
    free(buffer->writes.items);
  }
  *shadow = (ibx_shadow){.order = NULL};
}

// SPDX-License-Identifier: Apache-2.0
//
// Operands of engine instructions. In: an operand and the loop registers. Out:
// a view whose every element lies inside its buffer; after that, reading and
// writing rows cannot fail. Rows are read and written through memcpy, so that
// no alignment is asked for.

#include "sim/view.h"

#include "sim/strided.h"

#include <stdlib.h>
#include <string.h>

ibx_sim_shape ibx_sim_shape_of(const ibx_insn *insn) {
  return (ibx_sim_shape){.num = {insn->num[2], insn->num[3], insn->num[4]},
                         .partitions = insn->partitions};
}

ibx_sim_shape ibx_sim_outer_shape(const ibx_insn *insn, size_t *out_group) {
  ibx_sim_shape outer = ibx_sim_shape_of(insn);
  *out_group = 1;
  for (size_t d = 0; d < 3; d++) {
    if (insn->operand[0].step[d + 2] != 0) continue;
    *out_group *= outer.num[d];
    outer.num[d] = 1;
  }
  return outer;
}

size_t ibx_sim_array_row(const ibx_exec *x, unsigned slot) {
  const ibx_operand *operand = &x->insn->operand[slot];
  return (size_t)x->sim->places[operand->buffer].partition + operand->partition;
}

// Merges dimensions that follow each other in memory, so that most views are a
// single run, and drops those of one element.
static void merge(const uint32_t *num, const ptrdiff_t *step,
                  ibx_sim_view *view) {
  size_t at = 2;
  view->num[0] = view->num[1] = view->num[2] = 1;
  view->step[0] = view->step[1] = 0;
  view->step[2] = (ptrdiff_t)view->element_bytes;
  for (size_t d = 3; d-- > 0;) {
    if (num[d] == 1) continue;
    if (view->num[at] == 1) {
      view->num[at] = num[d];
      view->step[at] = step[d];
    } else if (step[d] == view->step[at] * (ptrdiff_t)view->num[at]) {
      view->num[at] *= num[d];
    } else {
      at--;
      view->num[at] = num[d];
      view->step[at] = step[d];
    }
  }
  view->dense = view->num[1] == 1 && view->num[0] == 1 &&
                view->step[2] == (ptrdiff_t)view->element_bytes;
}

// Bytes by which the loop registers move an operand. Far outside of every
// buffer, it is cut off before it overflows.
static int64_t loop_offset(const ibx_operand *operand,
                           const ibx_sim_sequencer *seq) {
  const int64_t limit = INT64_C(1) << 60;
  int64_t sum = 0;
  for (size_t r = 0; r < IBX_LOOP_REGISTERS; r++) {
    if (operand->loop_step[r] == 0) continue;
    int64_t trip = (int64_t)seq->loop_reg[r];
    if (trip > INT64_C(1) << 28) return limit;
    sum += operand->loop_step[r] * trip;
  }
  return sum;
}

ibx_status ibx_sim_place(const ibx_exec *x, unsigned slot, uint32_t *out) {
  *out = 0;
  if (!ibx_insn_is_indexed(x->insn, slot)) return IBX_OK;
  *out = x->seq->reg[x->insn->index_register - 1];
  if (*out < x->insn->count) return IBX_OK;
  return IBX_EXEC_FAIL(x, "register %u is %lu, operand %u has %lu places",
                       x->insn->index_register - 1u, (unsigned long)*out, slot,
                       (unsigned long)x->insn->count);
}

// Bytes by which a register moves an operand.
static ibx_status index_offset(const ibx_exec *x, unsigned slot, size_t bytes,
                               int64_t *out) {
  uint32_t place;
  IBX_TRY(ibx_sim_place(x, slot, &place));
  // Far outside of every buffer, it is cut off before it overflows.
  int64_t most = INT64_C(1) << 28;
  int64_t step = x->insn->operand[slot].step[0] * (int64_t)bytes;
  *out = step * (place < most ? (int64_t)place : most);
  return IBX_OK;
}

static bool count_elements(const uint32_t *num, uint32_t most, size_t *out) {
  uint64_t product = 1;
  for (size_t d = 0; d < 3; d++) {
    product *= num[d] == 0 || num[d] > most ? most + 1u : num[d];
    if (product > most) return false;
  }
  *out = (size_t)product;
  return true;
}

static ibx_status fail_range(const ibx_exec *x, unsigned slot, int64_t from,
                             int64_t to) {
  const ibx_operand *operand = &x->insn->operand[slot];
  const ibx_buffer_decl *buffer = &x->sim->entry->buffers[operand->buffer];
  return IBX_EXEC_FAIL(
      x,
      "operand %u touches bytes %lld to %lld, from partition %u on, of buffer "
      "'%s', which has %u partitions of %llu bytes",
      slot, (long long)from, (long long)to, operand->partition, buffer->name,
      buffer->place.partitions, (unsigned long long)buffer->place.bytes);
}

// The buffer of an operand that an engine reaches, or NULL. What the caller
// only lends, which may be mapped read-only, is not written.
static const ibx_buffer_place *find_place(const ibx_exec *x, unsigned slot) {
  uint32_t buffer = x->insn->operand[slot].buffer;
  if (buffer >= x->sim->entry->buffer_count) return NULL;
  const ibx_buffer_place *place = &x->sim->places[buffer];
  if (place->space != IBX_SPACE_HBM) return place;
  ibx_buffer_kind kind = x->sim->entry->buffers[buffer].kind;
  bool is_lent = kind == IBX_BUFFER_INPUT || kind == IBX_BUFFER_WEIGHT;
  ibx_slot_kind access = ibx_insn_get(x->insn->opcode)->slot[slot];
  if (!ibx_insn_is_call(x->insn->opcode)) return NULL;
  return is_lent && ibx_slot_writes(access) ? NULL : place;
}

static ibx_status view_make(const ibx_exec *x, unsigned slot,
                            ibx_sim_shape shape, ibx_dtype dtype,
                            ibx_sim_view *out) {
  const ibx_operand *operand = &x->insn->operand[slot];
  const ibx_buffer_place *place = find_place(x, slot);
  size_t bytes = ibx_dtype_bytes(dtype);
  bool is_hbm = place != NULL && place->space == IBX_SPACE_HBM;
  if (place == NULL || bytes == 0 || shape.partitions == 0 ||
      !count_elements(shape.num, is_hbm ? IBX_SIM_HBM_ROW : IBX_SIM_ROW,
                      &out->elements)) {
    return IBX_EXEC_FAIL(x, "operand %u is no tensor within reach", slot);
  }
  ptrdiff_t step[3];
  int64_t low = 0, high = (int64_t)bytes;
  for (size_t d = 0; d < 3; d++) {
    step[d] = (ptrdiff_t)operand->step[d + 2] * (ptrdiff_t)bytes;
    int64_t reach = step[d] * (int64_t)(shape.num[d] - 1);
    *(reach < 0 ? &low : &high) += reach;
  }
  int64_t offset;
  IBX_TRY(index_offset(x, slot, bytes, &offset));
  offset += loop_offset(operand, x->seq);
  offset += operand->offset > (uint64_t)1 << 60 ? INT64_C(1) << 60
                                                : (int64_t)operand->offset;
  uint32_t last = (uint32_t)operand->partition + shape.partitions;
  if (last > place->partitions || offset + low < 0 ||
      (uint64_t)(offset + high) > place->bytes) {
    return fail_range(x, slot, offset + low, offset + high);
  }
  out->partition_bytes = x->sim->partition_bytes[place->space];
  out->base = x->sim->bases[operand->buffer] +
              operand->partition * out->partition_bytes + offset;
  out->partitions = shape.partitions;
  out->low = (ptrdiff_t)low;
  out->high = (ptrdiff_t)high;
  out->dtype = dtype;
  out->element_bytes = bytes;
  out->rounder = ibx_rounder_make(x, slot);
  merge(shape.num, step, out);
  return IBX_OK;
}

ibx_status ibx_sim_view_make(const ibx_exec *x, unsigned slot,
                             ibx_sim_shape shape, ibx_sim_view *out) {
  ibx_dtype dtype = (ibx_dtype)x->insn->operand[slot].dtype;
  return view_make(x, slot, shape, dtype, out);
}

ibx_status ibx_sim_view_open(const ibx_exec *x, unsigned slot,
                             ibx_sim_view *out) {
  const ibx_insn_info *info = ibx_insn_get(x->insn->opcode);
  ibx_operand_shape space = ibx_insn_shape(x->insn, slot);
  ibx_sim_shape shape = {.num = {space.num[2], space.num[3], space.num[4]},
                         .partitions = space.partitions};
  shape.partitions += (space.groups - 1) * space.group_step;
  ibx_dtype dtype = (ibx_dtype)x->insn->operand[slot].dtype;
  if (ibx_slot_is_scalar(info->slot[slot])) dtype = IBX_DTYPE_F32;
  return view_make(x, slot, shape, dtype, out);
}

ibx_status ibx_sim_view_make_column(const ibx_exec *x, unsigned slot,
                                    uint32_t partitions, ibx_sim_view *out) {
  ibx_sim_shape shape = {.num = {1, 1, 1}, .partitions = partitions};
  return view_make(x, slot, shape, IBX_DTYPE_F32, out);
}

// Where a view begins and ends: partitions as multiples of their distance, and
// bytes within. Both views must lie in the memory that begins at `memory`.
typedef struct extent {
  size_t partition, byte_low, byte_high;
} extent;

static extent extent_of(const ibx_sim_view *view, const uint8_t *memory) {
  size_t first = (size_t)(view->base - memory);
  size_t byte = first % view->partition_bytes;
  return (extent){.partition = first / view->partition_bytes,
                  .byte_low = (size_t)((ptrdiff_t)byte + view->low),
                  .byte_high = (size_t)((ptrdiff_t)byte + view->high)};
}

static bool is_same(const ibx_sim_view *a, const ibx_sim_view *b) {
  return a->base == b->base && a->element_bytes == b->element_bytes &&
         memcmp(a->num, b->num, sizeof(a->num)) == 0 &&
         memcmp(a->step, b->step, sizeof(a->step)) == 0;
}

// Each view in one memory of its own has another distance of partitions, or
// another block; blocks are far apart.
static bool overlaps(const ibx_sim *sim, const ibx_sim_view *a,
                     const ibx_sim_view *b) {
  for (int space = IBX_SPACE_SBUF; space <= IBX_SPACE_PSUM; space++) {
    const uint8_t *memory = sim->memory[space];
    const uint8_t *end = memory + sim->memory_bytes[space];
    if (a->base < memory || a->base >= end) continue;
    if (b->base < memory || b->base >= end) return false;
    extent ea = extent_of(a, memory), eb = extent_of(b, memory);
    return ea.partition < eb.partition + b->partitions &&
           eb.partition < ea.partition + a->partitions &&
           ea.byte_low < eb.byte_high && eb.byte_low < ea.byte_high;
  }
  return false;
}

// Whether no two elements of a row coincide: each dimension, from the one with
// the smallest steps on, walks over all that the ones before it cover.
static bool is_distinct(const ibx_sim_view *view) {
  bool done[3] = {false};
  size_t covered = view->element_bytes;
  for (size_t round = 0; round < 3; round++) {
    size_t best = 3, least = SIZE_MAX;
    for (size_t d = 0; d < 3; d++) {
      ptrdiff_t step = view->step[d];
      size_t size = (size_t)(step < 0 ? -step : step);
      if (done[d] || size > least) continue;
      best = d;
      least = size;
    }
    done[best] = true;
    if (view->num[best] == 1) continue;
    if (least < covered) return false;
    covered += least * (view->num[best] - 1);
  }
  return true;
}

ibx_status ibx_sim_view_separate(const ibx_exec *x, const ibx_sim_view *dst,
                                 unsigned shadow, ibx_sim_view *src) {
  bool in_step = is_same(dst, src) && is_distinct(dst);
  if (in_step || !overlaps(x->sim, dst, src)) return IBX_OK;
  ibx_sim_shadow *room = &x->sim->shadow[shadow];
  size_t row = (size_t)(src->high - src->low);
  size_t size = row * src->partitions;
  if (size > room->size) {
    uint8_t *data = realloc(room->data, size);
    if (data == NULL) {
      return IBX_FAIL(x->err, OUT_OF_MEMORY, "no memory for %zu bytes", size);
    }
    *room = (ibx_sim_shadow){.data = data, .size = size};
  }
  for (size_t p = 0; p < src->partitions; p++) {
    memcpy(room->data + p * row,
           src->base + p * src->partition_bytes + src->low, row);
  }
  src->base = room->data - src->low;
  src->partition_bytes = row;
  return IBX_OK;
}

// A run of a row: the elements that the innermost dimension can give.
typedef struct run {
  uint8_t *at;
  size_t n;
} run;

static run run_at(const ibx_sim_view *view, size_t partition, size_t start,
                  size_t n) {
  size_t column = start % view->num[2];
  size_t row = start / view->num[2];
  size_t left = view->num[2] - column;
  uint8_t *at = view->base + partition * view->partition_bytes +
                (ptrdiff_t)column * view->step[2] +
                (ptrdiff_t)(row % view->num[1]) * view->step[1] +
                (ptrdiff_t)(row / view->num[1]) * view->step[0];
  return (run){.at = at, .n = left < n ? left : n};
}

void ibx_sim_view_fetch_raw(const ibx_sim_view *view, size_t partition,
                            size_t start, size_t n, uint8_t *out) {
  while (n != 0) {
    run from = run_at(view, partition, start, n);
    ibx_sim_strided_copy(view->element_bytes, from.at, view->step[2], out,
                         (ptrdiff_t)view->element_bytes, from.n);
    out += from.n * view->element_bytes;
    start += from.n;
    n -= from.n;
  }
}

void ibx_sim_view_store_raw(const ibx_sim_view *view, size_t partition,
                            size_t start, size_t n, const uint8_t *values) {
  while (n != 0) {
    run to = run_at(view, partition, start, n);
    ibx_sim_strided_copy(view->element_bytes, values,
                         (ptrdiff_t)view->element_bytes, to.at, view->step[2],
                         to.n);
    values += to.n * view->element_bytes;
    start += to.n;
    n -= to.n;
  }
}

enum { BLOCK = 512 };

const float *ibx_sim_view_fetch(const ibx_sim_view *view, size_t partition,
                                size_t start, size_t n, float *scratch) {
  if (view->dense) {
    const float *row = ibx_sim_view_row(view, partition, start);
    if (row != NULL) return row;
    const void *at = view->base + partition * view->partition_bytes +
                     start * view->element_bytes;
    ibx_dtype_load_f32(view->dtype, at, scratch, n);
    return scratch;
  }
  if (view->dtype == IBX_DTYPE_F32) {
    ibx_sim_view_fetch_raw(view, partition, start, n, (uint8_t *)scratch);
    return scratch;
  }
  uint8_t raw[BLOCK * 8];
  for (size_t i = 0; i < n; i += BLOCK) {
    size_t count = n - i < BLOCK ? n - i : BLOCK;
    ibx_sim_view_fetch_raw(view, partition, start + i, count, raw);
    ibx_dtype_load_f32(view->dtype, raw, scratch + i, count);
  }
  return scratch;
}

float *ibx_sim_view_row(const ibx_sim_view *view, size_t partition,
                        size_t start) {
  void *at = view->base + partition * view->partition_bytes +
             start * view->element_bytes;
  bool aligned = (uintptr_t)at % _Alignof(float) == 0;
  bool values = view->dense && view->dtype == IBX_DTYPE_F32;
  return values && aligned ? at : NULL;
}

void ibx_sim_view_store(const ibx_sim_view *view, size_t partition,
                        size_t start, size_t n, const float *values) {
  if (view->dense) {
    uint8_t *at = view->base + partition * view->partition_bytes +
                  start * view->element_bytes;
    ibx_dtype_store_f32(view->dtype, values, at, n);
    return;
  }
  if (view->dtype == IBX_DTYPE_F32) {
    ibx_sim_view_store_raw(view, partition, start, n, (const uint8_t *)values);
    return;
  }
  uint8_t raw[BLOCK * 8];
  for (size_t i = 0; i < n; i += BLOCK) {
    size_t count = n - i < BLOCK ? n - i : BLOCK;
    ibx_dtype_store_f32(view->dtype, values + i, raw, count);
    ibx_sim_view_store_raw(view, partition, start + i, count, raw);
  }
}

static uint32_t extend(const uint8_t *raw, size_t bytes, bool has_sign) {
  uint32_t value = 0;
  memcpy(&value, raw, bytes); // little endian, as the machine
  uint32_t sign = UINT32_C(1) << (8 * bytes - 1);
  return has_sign && (value & sign) ? value | (0u - sign) : value;
}

void ibx_sim_view_fetch_bits(const ibx_sim_view *view, size_t partition,
                             size_t n, uint32_t *out) {
  size_t bytes = view->element_bytes > 4 ? 4 : view->element_bytes;
  if (view->element_bytes == 4) {
    ibx_sim_view_fetch_raw(view, partition, 0, n, (uint8_t *)out);
    return;
  }
  bool has_sign = ibx_dtype_get(view->dtype)->kind == IBX_DTYPE_KIND_SINT;
  uint8_t raw[BLOCK * 8];
  for (size_t i = 0; i < n; i += BLOCK) {
    size_t count = n - i < BLOCK ? n - i : BLOCK;
    ibx_sim_view_fetch_raw(view, partition, i, count, raw);
    for (size_t j = 0; j < count; j++) {
      out[i + j] = extend(raw + j * view->element_bytes, bytes, has_sign);
    }
  }
}

void ibx_sim_view_store_bits(const ibx_sim_view *view, size_t partition,
                             size_t n, const uint32_t *values) {
  if (view->element_bytes == 4) {
    ibx_sim_view_store_raw(view, partition, 0, n, (const uint8_t *)values);
    return;
  }
  uint8_t raw[BLOCK * 8] = {0};
  size_t bytes = view->element_bytes > 4 ? 4 : view->element_bytes;
  for (size_t i = 0; i < n; i += BLOCK) {
    size_t count = n - i < BLOCK ? n - i : BLOCK;
    for (size_t j = 0; j < count; j++) {
      memcpy(raw + j * view->element_bytes, &values[i + j], bytes);
    }
    ibx_sim_view_store_raw(view, partition, i, count, raw);
  }
}

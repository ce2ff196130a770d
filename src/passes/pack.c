// SPDX-License-Identifier: Apache-2.0
//
// Packing constants: comes in a constant in the mapped model and the view that
// the program wants of it; goes out a row of the weight section in that order
// and dtype. Rows are compared by what they are made of and made when they are
// written. The inner loop converts runs; it is what compiling a large model
// spends most of its time on.

#include "passes/pack.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { RUN = 512 };

typedef struct pack_state {
  uint8_t *out;
  const uint8_t *in;
  int64_t elements; // of one partition
  ibx_dtype to, from;
  ptrdiff_t to_bytes, from_bytes; // of an element
} pack_state;

// Copies elements at constant distances, in bytes.
static void stride(uint8_t *dst, ptrdiff_t dst_step, const uint8_t *src,
                   ptrdiff_t src_step, ptrdiff_t bytes, int64_t count) {
  switch (bytes) { // a size that the compiler knows
  case 1:
    for (int64_t i = 0; i < count; i++)
      dst[i * dst_step] = src[i * src_step];
    break;
  case 2:
    for (int64_t i = 0; i < count; i++)
      memcpy(dst + i * dst_step, src + i * src_step, 2);
    break;
  case 4:
    for (int64_t i = 0; i < count; i++)
      memcpy(dst + i * dst_step, src + i * src_step, 4);
    break;
  default:
    for (int64_t i = 0; i < count; i++)
      memcpy(dst + i * dst_step, src + i * src_step, (size_t)bytes);
    break;
  }
}

// A finite number stays finite in a narrower type: masks are written as the
// largest fp32, and as infinity they would turn a masked row into NaN.
static void keep_finite(ibx_dtype to, const float *src, uint8_t *dst,
                        int64_t count) {
  if (to != IBX_DTYPE_BF16 && to != IBX_DTYPE_F16) return;
  const uint16_t infinity = to == IBX_DTYPE_BF16 ? 0x7f80 : 0x7c00;
  for (int64_t i = 0; i < count; i++) {
    uint16_t bits;
    memcpy(&bits, dst + 2 * i, sizeof bits);
    if ((bits & 0x7fff) != infinity || isinf(src[i])) continue;
    bits--;
    memcpy(dst + 2 * i, &bits, sizeof bits);
  }
}

static void convert(const pack_state *state, const void *src, uint8_t *dst,
                    int64_t count) {
  if (state->from == state->to) {
    memcpy(dst, src, (size_t)(count * state->to_bytes));
    return;
  }
  float run[RUN];
  if (state->from == IBX_DTYPE_F32 && ((uintptr_t)src & 3) == 0) {
    ibx_dtype_store_f32(state->to, src, dst, (size_t)count);
    keep_finite(state->to, src, dst, count);
    return;
  }
  for (int64_t i = 0; i < count; i += RUN) {
    size_t part = (size_t)(count - i < RUN ? count - i : RUN);
    uint8_t *at = dst + i * state->to_bytes;
    ibx_dtype_load_f32(state->from,
                       (const uint8_t *)src + i * state->from_bytes, run, part);
    ibx_dtype_store_f32(state->to, run, at, part);
    keep_finite(state->to, run, at, (int64_t)part);
  }
}

// One run of the innermost axis, whose elements may lie apart on both sides.
static void copy_run(const pack_state *state, const ibx_axis *axis, int64_t to,
                     int64_t from) {
  int64_t to_step = axis->step[0] + axis->pstep[0] * state->elements;
  const uint8_t *src = state->in + from * state->from_bytes;
  uint8_t *dst = state->out + to * state->to_bytes;
  ptrdiff_t src_step = axis->step[1] * state->from_bytes,
            dst_step = to_step * state->to_bytes;
  if (to_step == 1 && axis->step[1] == 1) {
    convert(state, src, dst, axis->size);
    return;
  }
  if (state->from == state->to) {
    stride(dst, dst_step, src, src_step, state->to_bytes, axis->size);
    return;
  }
  uint64_t run[RUN], converted[RUN];
  for (int64_t i = 0; i < axis->size; i += RUN) {
    int64_t part = axis->size - i < RUN ? axis->size - i : RUN;
    stride((uint8_t *)run, state->from_bytes, src + i * src_step, src_step,
           state->from_bytes, part);
    convert(state, run, (uint8_t *)converted, part);
    stride(dst + i * dst_step, dst_step, (const uint8_t *)converted,
           state->to_bytes, state->to_bytes, part);
  }
}

static void copy_axes(const pack_state *state, const ibx_rect *rect,
                      size_t level, int64_t to, int64_t from) {
  const ibx_axis *axis = &rect->axis[level];
  if (level + 1 == rect->axis_count) {
    copy_run(state, axis, to, from);
    return;
  }
  for (int64_t i = 0; i < axis->size; i++) {
    copy_axes(state, rect, level + 1, to, from);
    to += axis->step[0] + axis->pstep[0] * state->elements;
    from += axis->step[1];
  }
}

static int compare_to(const void *a, const void *b) {
  const ibx_axis *x = a, *y = b;
  if ((x->pstep[0] != 0) != (y->pstep[0] != 0)) return x->pstep[0] ? -1 : 1;
  if (x->pstep[0] != y->pstep[0]) return y->pstep[0] - x->pstep[0];
  return x->step[0] < y->step[0] ? 1 : x->step[0] > y->step[0] ? -1 : 0;
}

static bool copy_rect(void *user, const ibx_rect *whole) {
  const pack_state *state = user;
  ibx_rect rect = *whole;
  qsort(rect.axis, rect.axis_count, sizeof(ibx_axis), compare_to);
  ibx_rect_merge(&rect);
  if (rect.axis_count == 0) {
    rect.axis[0] = (ibx_axis){.size = 1};
    rect.axis_count = 1;
  }
  copy_axes(state, &rect, 0,
            rect.offset[0] + rect.partition[0] * state->elements,
            rect.offset[1]);
  return true;
}

// ---- Rows

static ibx_pack *new_row(ibx_packs *packs, ibx_arena *arena) {
  if (packs->count == packs->room) {
    size_t room = packs->room ? packs->room * 2 : 64;
    ibx_pack *rows = IBX_ARENA_ARRAY(arena, room, ibx_pack);
    if (packs->count)
      memcpy(rows, packs->rows, packs->count * sizeof(ibx_pack));
    packs->rows = rows;
    packs->room = room;
  }
  return &packs->rows[packs->count++];
}

// Bytes of a row before the section is aligned.
static uint64_t bytes_of(const ibx_pack *pack) {
  int64_t rest = pack->partitions - pack->full;
  return (uint64_t)(pack->elements * pack->full + pack->kept * rest) *
         ibx_dtype_bytes(pack->to.dtype);
}

// Gives the newest row its size.
static void measure(ibx_packs *packs, ibx_pack *pack) {
  packs->bytes -= pack->size;
  pack->size = (bytes_of(pack) + 63) / 64 * 64;
  packs->bytes += pack->size;
}

bool ibx_pack_add(ibx_packs *packs, ibx_arena *arena, const ibx_view *to,
                  int32_t partitions, int64_t elements,
                  const ibx_pack_source *from, size_t *out_row) {
  const ibx_view *views[] = {to, &from->view};
  if (!ibx_view_refines(views, 2)) return false;
  *out_row = packs->count;
  ibx_pack *row = new_row(packs, arena);
  *row = (ibx_pack){.offset = packs->bytes,
                    .from = *from,
                    .to = *to,
                    .partitions = partitions,
                    .full = partitions,
                    .elements = elements,
                    .kept = elements};
  measure(packs, row);
  return true;
}

void ibx_pack_trim(ibx_packs *packs, size_t row, int32_t full, int64_t kept) {
  ibx_pack *pack = &packs->rows[row];
  pack->full = full;
  pack->kept = kept;
  measure(packs, pack);
}

void ibx_packs_rewind(ibx_packs *packs, size_t count) {
  while (packs->count > count)
    packs->bytes -= packs->rows[--packs->count].size;
}

// ---- Sharing

static ibx_pack_digest *find_digest(const ibx_packs *packs,
                                    const ibx_pack_source *from) {
  uint64_t key[] = {(uint64_t)(uintptr_t)from->data, from->bytes};
  size_t mask = packs->digest_room - 1, at = XXH3_64bits(key, sizeof key);
  for (;; at++) {
    ibx_pack_digest *row = &packs->digests[at & mask];
    if (!row->data || (row->data == from->data && row->bytes == from->bytes)) {
      return row;
    }
  }
}

static void grow_digests(ibx_packs *packs, ibx_arena *arena) {
  ibx_packs old = *packs;
  packs->digest_room = old.digest_room ? old.digest_room * 2 : 256;
  packs->digests = IBX_ARENA_ARRAY(arena, packs->digest_room, ibx_pack_digest);
  for (size_t i = 0; i < old.digest_room; i++) {
    const ibx_pack_digest *row = &old.digests[i];
    ibx_pack_source from = {.data = row->data, .bytes = row->bytes};
    if (row->data) *find_digest(packs, &from) = *row;
  }
}

static uint64_t source_digest(ibx_packs *packs, ibx_arena *arena,
                              const ibx_pack_source *from) {
  if (packs->unread) return (uint64_t)(uintptr_t)from->data;
  if (packs->digest_count * 2 >= packs->digest_room) grow_digests(packs, arena);
  ibx_pack_digest *row = find_digest(packs, from);
  if (!row->data) {
    *row = (ibx_pack_digest){.data = from->data,
                             .bytes = from->bytes,
                             .digest = XXH3_64bits(from->data, from->bytes)};
    packs->digest_count++;
  }
  return row->digest;
}

enum { VIEW_WORDS = 4 + IBX_MAX_RANK * (2 + 3 * IBX_ATOMS) };

// What counts of a view, as numbers.
static size_t view_words(const ibx_view *view, int64_t *out) {
  size_t count = 0;
  out[count++] = view->offset;
  out[count++] = view->partition;
  out[count++] = view->dtype;
  out[count++] = view->rank;
  for (uint8_t d = 0; d < view->rank; d++) {
    const ibx_dim *dim = &view->dim[d];
    out[count++] = dim->size;
    out[count++] = dim->count;
    for (uint8_t a = 0; a < dim->count; a++) {
      out[count++] = dim->atom[a].size;
      out[count++] = dim->atom[a].step;
      out[count++] = dim->atom[a].pstep;
    }
  }
  return count;
}

enum { RECIPE_WORDS = 4 + 2 * VIEW_WORDS };

static size_t recipe_words(const ibx_pack *pack, int64_t *out) {
  size_t count = 0;
  out[count++] = pack->partitions;
  out[count++] = pack->full;
  out[count++] = pack->elements;
  out[count++] = pack->kept;
  count += view_words(&pack->from.view, out + count);
  return count + view_words(&pack->to, out + count);
}

static bool same_bytes(const ibx_pack *a, const ibx_pack *b) {
  int64_t own[RECIPE_WORDS], other[RECIPE_WORDS];
  if (a->digest != b->digest || a->from.bytes != b->from.bytes) return false;
  size_t count = recipe_words(a, own);
  if (recipe_words(b, other) != count) return false;
  if (memcmp(own, other, count * sizeof(int64_t)) != 0) return false;
  return a->from.data == b->from.data ||
         memcmp(a->from.data, b->from.data, a->from.bytes) == 0;
}

size_t ibx_pack_share(ibx_packs *packs, ibx_arena *arena, size_t row) {
  ibx_pack *newest = &packs->rows[row];
  int64_t words[RECIPE_WORDS + 1];
  size_t count = recipe_words(newest, words);
  words[count++] = (int64_t)source_digest(packs, arena, &newest->from);
  newest->digest = XXH3_64bits(words, count * sizeof(int64_t));
  for (size_t i = 0; i < row; i++) {
    if (!same_bytes(&packs->rows[i], newest)) continue;
    ibx_packs_rewind(packs, row);
    return i;
  }
  return row;
}

// ---- Bytes

// The elements that are left of partitions that lose some move together.
static void trim(const ibx_pack *pack, uint8_t *all) {
  size_t bytes = ibx_dtype_bytes(pack->to.dtype);
  size_t run = (size_t)pack->kept * bytes,
         pitch = (size_t)pack->elements * bytes;
  uint8_t *from = all + (size_t)pack->full * pitch, *to = from;
  for (int32_t p = pack->full; p < pack->partitions; p++) {
    memmove(to, from, run);
    to += run;
    from += pitch;
  }
}

void ibx_pack_fill(const ibx_pack *pack, ibx_arena *scratch, uint8_t *out) {
  bool trimmed = pack->full < pack->partitions && pack->kept < pack->elements;
  ibx_pack whole = *pack;
  whole.full = pack->partitions;
  uint8_t *all =
      trimmed ? ibx_arena_alloc(scratch, (size_t)bytes_of(&whole)) : out;
  pack_state state = {.out = all,
                      .in = pack->from.data,
                      .elements = pack->elements,
                      .to = pack->to.dtype,
                      .from = pack->from.view.dtype,
                      .to_bytes = (ptrdiff_t)ibx_dtype_bytes(pack->to.dtype),
                      .from_bytes =
                          (ptrdiff_t)ibx_dtype_bytes(pack->from.view.dtype)};
  const ibx_view *views[] = {&pack->to, &pack->from.view};
  memset(out, 0, (size_t)pack->size);
  ibx_view_rects(views, 2, copy_rect, &state);
  if (!trimmed) return;
  trim(pack, all);
  memcpy(out, all, (size_t)bytes_of(pack));
}

// SPDX-License-Identifier: Apache-2.0
//
// Packing constants: comes in a constant in the mapped model and the view that
// the program wants of it; goes out a row of the weight section in that order
// and dtype. The inner loop converts runs; it is what compiling a large model
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

static ibx_pack *new_row(ibx_packs *packs, ibx_arena *arena, uint64_t bytes) {
  if (packs->count == packs->room) {
    size_t room = packs->room ? packs->room * 2 : 64;
    ibx_pack *rows = IBX_ARENA_ARRAY(arena, room, ibx_pack);
    if (packs->count)
      memcpy(rows, packs->rows, packs->count * sizeof(ibx_pack));
    packs->rows = rows;
    packs->room = room;
  }
  ibx_pack *row = &packs->rows[packs->count++];
  *row = (ibx_pack){.size = (bytes + 63) / 64 * 64, .offset = packs->bytes};
  packs->bytes += row->size;
  return row;
}

bool ibx_pack_add(ibx_packs *packs, ibx_arena *arena, const ibx_view *dst,
                  int32_t partitions, int64_t elements, const ibx_view *src,
                  const void *data, size_t *out_row) {
  const ibx_view *views[] = {dst, src};
  if (!ibx_view_refines(views, 2)) return false;
  uint64_t bytes =
      (uint64_t)partitions * (uint64_t)elements * ibx_dtype_bytes(dst->dtype);
  *out_row = packs->count;
  ibx_pack *row = new_row(packs, arena, bytes);
  uint8_t *out = ibx_arena_alloc(arena, row->size);
  row->data = out;
  pack_state state = {.out = out,
                      .in = data,
                      .elements = elements,
                      .to = dst->dtype,
                      .from = src->dtype,
                      .to_bytes = (ptrdiff_t)ibx_dtype_bytes(dst->dtype),
                      .from_bytes = (ptrdiff_t)ibx_dtype_bytes(src->dtype)};
  return ibx_view_rects(views, 2, copy_rect, &state);
}

void ibx_pack_trim(ibx_packs *packs, size_t row, int32_t full, int32_t rest,
                   int64_t elements, int64_t kept, size_t element_bytes) {
  if (rest == 0 || kept == elements) return;
  ibx_pack *pack = &packs->rows[row];
  size_t run = (size_t)kept * element_bytes,
         pitch = (size_t)elements * element_bytes;
  uint8_t *to = pack->data + (size_t)full * pitch;
  const uint8_t *from = to;
  for (int32_t i = 0; i < rest; i++) {
    memmove(to, from, run);
    to += run;
    from += pitch;
  }
  uint64_t size = ((uint64_t)(to - pack->data) + 63) / 64 * 64;
  memset(to, 0, (size_t)(size - (uint64_t)(to - pack->data)));
  packs->bytes -= pack->size - size;
  pack->size = size;
}

size_t ibx_pack_share(ibx_packs *packs, size_t row) {
  ibx_pack *newest = &packs->rows[row];
  newest->digest = XXH3_64bits(newest->data, (size_t)newest->size);
  for (size_t i = 0; i < row; i++) {
    const ibx_pack *other = &packs->rows[i];
    if (other->digest != newest->digest || other->size != newest->size ||
        memcmp(other->data, newest->data, (size_t)newest->size) != 0) {
      continue;
    }
    packs->bytes -= newest->size;
    packs->count--;
    return i;
  }
  return row;
}

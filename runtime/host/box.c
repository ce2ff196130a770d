// SPDX-License-Identifier: Apache-2.0
//
// Copies a box of elements between two strided places. Comes in: extents and
// steps; neither place overlaps the other. Every view but reshape is one or
// more of these copies. A box is first simplified (extents of 1 dropped,
// neighbours that both sides walk as one merged), then its innermost two
// dimensions are done by the plainest loop that fits.

#include "host/host.h"

#include <string.h>

// Of a transposition: 32 rows of 32 elements on both sides stay in the
// first-level cache, and each line of either side is used up while it is there.
enum { TILE = 32 };

void ibx_host_steps(const ibx_type *type, ptrdiff_t steps[IBX_MAX_RANK]) {
  ptrdiff_t step = 1;
  for (size_t i = type->rank; i-- > 0;) {
    steps[i] = step;
    step *= (ptrdiff_t)type->dims[i];
  }
}

static bool merges(const ibx_host_box *box, size_t outer, size_t inner) {
  ptrdiff_t extent = (ptrdiff_t)box->extents[inner];
  return box->dst_steps[outer] == box->dst_steps[inner] * extent &&
         box->src_steps[outer] == box->src_steps[inner] * extent;
}

static ibx_host_box simplify(const ibx_host_box *box) {
  ibx_host_box out = {.element_bytes = box->element_bytes};
  for (size_t i = 0; i < box->rank; i++) {
    if (box->extents[i] == 1) continue;
    size_t at = out.rank++;
    out.extents[at] = box->extents[i];
    out.dst_steps[at] = box->dst_steps[i];
    out.src_steps[at] = box->src_steps[i];
    if (at > 0 && merges(&out, at - 1, at)) {
      out.extents[at - 1] *= out.extents[at];
      out.dst_steps[at - 1] = out.dst_steps[at];
      out.src_steps[at - 1] = out.src_steps[at];
      out.rank--;
    }
  }
  return out;
}

static void swap_dims(ibx_host_box *box, size_t a, size_t b) {
  size_t extent = box->extents[a];
  ptrdiff_t dst_step = box->dst_steps[a], src_step = box->src_steps[a];
  box->extents[a] = box->extents[b];
  box->dst_steps[a] = box->dst_steps[b];
  box->src_steps[a] = box->src_steps[b];
  box->extents[b] = extent;
  box->dst_steps[b] = dst_step;
  box->src_steps[b] = src_step;
}

// Puts the dimension in which the source is contiguous next to the innermost
// one, so that both are walked in tiles together.
static void pair_up(ibx_host_box *box) {
  size_t last = box->rank - 1;
  if (box->src_steps[last] == 1) return;
  for (size_t i = 0; i < last; i++) {
    if (box->src_steps[i] == 1) {
      swap_dims(box, i, last - 1);
      return;
    }
  }
}

// One row or one tile: `rows` x `columns` elements; steps in bytes.
typedef struct patch {
  size_t rows, columns;
  ptrdiff_t dst_row, dst_column, src_row, src_column;
} patch;

#define PATCH_LOOP(type)                                                       \
  for (size_t i = 0; i < p.rows; i++) {                                        \
    char *to = dst + (ptrdiff_t)i * p.dst_row;                                 \
    const char *from = src + (ptrdiff_t)i * p.src_row;                         \
    for (size_t j = 0; j < p.columns; j++) {                                   \
      type element;                                                            \
      memcpy(&element, from, sizeof element);                                  \
      memcpy(to, &element, sizeof element);                                    \
      to += p.dst_column;                                                      \
      from += p.src_column;                                                    \
    }                                                                          \
  }

static void copy_patch(size_t bytes, patch p, char *dst, const char *src) {
  switch (bytes) {
  case 1: PATCH_LOOP(uint8_t); return;
  case 2: PATCH_LOOP(uint16_t); return;
  case 4: PATCH_LOOP(uint32_t); return;
  default: PATCH_LOOP(uint64_t); return;
  }
}

static void copy_tiles(size_t bytes, patch p, char *dst, const char *src) {
  for (size_t i = 0; i < p.rows; i += TILE) {
    for (size_t j = 0; j < p.columns; j += TILE) {
      patch tile = p;
      tile.rows = p.rows - i < TILE ? p.rows - i : TILE;
      tile.columns = p.columns - j < TILE ? p.columns - j : TILE;
      copy_patch(bytes, tile,
                 dst + (ptrdiff_t)i * p.dst_row + (ptrdiff_t)j * p.dst_column,
                 src + (ptrdiff_t)i * p.src_row + (ptrdiff_t)j * p.src_column);
    }
  }
}

static void copy_plane(size_t bytes, patch p, char *dst, const char *src) {
  ptrdiff_t unit = (ptrdiff_t)bytes;
  if (p.dst_column == unit && p.src_column == unit) {
    for (size_t i = 0; i < p.rows; i++) {
      memcpy(dst + (ptrdiff_t)i * p.dst_row, src + (ptrdiff_t)i * p.src_row,
             p.columns * bytes);
    }
  } else if (p.src_row == unit && p.rows > 1) {
    copy_tiles(bytes, p, dst, src);
  } else {
    copy_patch(bytes, p, dst, src);
  }
}

// The innermost two dimensions as a plane.
static patch make_patch(const ibx_host_box *box) {
  ptrdiff_t unit = (ptrdiff_t)box->element_bytes;
  size_t last = box->rank - 1;
  patch p = {.rows = 1,
             .columns = box->extents[last],
             .dst_column = box->dst_steps[last] * unit,
             .src_column = box->src_steps[last] * unit};
  if (box->rank > 1) {
    p.rows = box->extents[last - 1];
    p.dst_row = box->dst_steps[last - 1] * unit;
    p.src_row = box->src_steps[last - 1] * unit;
  }
  return p;
}

void ibx_host_copy(const ibx_host_box *given, void *dst, const void *src) {
  for (size_t i = 0; i < given->rank; i++) {
    if (given->extents[i] == 0) return;
  }
  ibx_host_box box = simplify(given);
  if (box.rank == 0) {
    memcpy(dst, src, box.element_bytes);
    return;
  }
  pair_up(&box);
  patch plane = make_patch(&box);
  ptrdiff_t unit = (ptrdiff_t)box.element_bytes;
  size_t outer = box.rank > 2 ? box.rank - 2 : 0;
  size_t index[IBX_MAX_RANK] = {0};
  ptrdiff_t to = 0, from = 0;
  for (;;) {
    copy_plane(box.element_bytes, plane, (char *)dst + to * unit,
               (const char *)src + from * unit);
    size_t dim = outer;
    for (; dim > 0; dim--) {
      to += box.dst_steps[dim - 1];
      from += box.src_steps[dim - 1];
      if (++index[dim - 1] < box.extents[dim - 1]) break;
      to -= box.dst_steps[dim - 1] * (ptrdiff_t)box.extents[dim - 1];
      from -= box.src_steps[dim - 1] * (ptrdiff_t)box.extents[dim - 1];
      index[dim - 1] = 0;
    }
    if (dim == 0) return;
  }
}

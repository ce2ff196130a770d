// SPDX-License-Identifier: Apache-2.0
//
// Kernels of the GpSimd library that look at the whole row of a partition:
// sums, indices, orders. At most IBX_SIM_ROW elements, which is what the
// scratches hold.

#include "sim/call.h"

// --- sums -----------------------------------------------------------------------

ibx_status ibx_kernel_CUMULATIVE_SUM(const ibx_library_call *c, size_t p) {
  uint64_t sum = 0;
  for (size_t i = 0; i < c->view[1].elements; i++) {
    sum += (uint64_t)ibx_load_integer(&c->view[1], p, i);
    ibx_store_integer(&c->view[0], p, i, (int64_t)sum);
  }
  return IBX_OK;
}

ibx_status ibx_kernel_SUM_BEFORE(const ibx_library_call *c, size_t p) {
  uint64_t sum = 0;
  for (size_t i = 0; i < c->view[1].elements; i++) {
    ibx_store_integer(&c->view[0], p, i, (int64_t)sum);
    sum += (uint64_t)ibx_load_integer(&c->view[1], p, i);
  }
  return IBX_OK;
}

// --- indices --------------------------------------------------------------------

// Index j of operand 2 in a row of n elements.
static ibx_status read_index(const ibx_library_call *c, size_t p, size_t j,
                             size_t n, size_t *out) {
  int64_t index = ibx_load_integer(&c->view[2], p, j);
  int64_t place = index < 0 ? index + (int64_t)n : index;
  if (place < 0 || place >= (int64_t)n) {
    return IBX_EXEC_FAIL(c->x, "index %lld in partition %zu is outside of %zu",
                         (long long)index, p, n);
  }
  *out = (size_t)place;
  return IBX_OK;
}

ibx_status ibx_kernel_GATHER(const ibx_library_call *c, size_t p) {
  for (size_t j = 0; j < c->k; j++) {
    size_t from = 0;
    IBX_TRY(read_index(c, p, j, c->view[1].elements, &from));
    ibx_copy_element(&c->view[0], p, j, &c->view[1], from);
  }
  return IBX_OK;
}

ibx_status ibx_kernel_SCATTER(const ibx_library_call *c, size_t p) {
  for (size_t i = 0; i < c->view[1].elements; i++) {
    ibx_copy_element(&c->view[0], p, i, &c->view[1], i);
  }
  for (size_t j = 0; j < c->k; j++) {
    size_t to = 0;
    IBX_TRY(read_index(c, p, j, c->view[1].elements, &to));
    ibx_copy_element(&c->view[0], p, to, &c->view[3], j);
  }
  return IBX_OK;
}

ibx_status ibx_kernel_NONZERO(const ibx_library_call *c, size_t p) {
  size_t found = 0;
  for (size_t i = 0; i < c->view[1].elements; i++) {
    if (ibx_is_zero(&c->view[1], p, i)) continue;
    if (found < c->k) ibx_store_integer(&c->view[0], p, found, (int64_t)i);
    found++;
  }
  for (size_t j = found; j < c->k; j++) {
    ibx_store_integer(&c->view[0], p, j, -1);
  }
  ibx_store_integer(&c->view[2], p, 0, (int64_t)found);
  return IBX_OK;
}

// --- order ----------------------------------------------------------------------

// Merges from[low..middle) and from[middle..high); of equal elements the first
// comes first.
static void merge(const ibx_sim_view *view, size_t p, int direction,
                  const uint32_t *from, uint32_t *to, size_t low, size_t middle,
                  size_t high) {
  size_t a = low, b = middle;
  for (size_t i = low; i < high; i++) {
    bool second = a == middle;
    if (!second && b < high) {
      int order = ibx_compare_elements(view, from[b], view, from[a], p);
      second = order * direction < 0;
    }
    to[i] = second ? from[b++] : from[a++];
  }
}

static size_t least(size_t a, size_t b) { return a < b ? a : b; }

// The elements' numbers in ascending (direction 1) or descending (-1) order.
static const uint32_t *sort(const ibx_library_call *c, unsigned slot, size_t p,
                            int direction) {
  const ibx_sim_view *view = &c->view[slot];
  uint32_t *from = c->x->sim->scratch[0]->u32;
  uint32_t *to = c->x->sim->scratch[1]->u32;
  size_t n = view->elements;
  for (size_t i = 0; i < n; i++) {
    from[i] = (uint32_t)i;
  }
  for (size_t width = 1; width < n; width *= 2) {
    for (size_t low = 0; low < n; low += 2 * width) {
      merge(view, p, direction, from, to, low, least(low + width, n),
            least(low + 2 * width, n));
    }
    uint32_t *swap = from;
    from = to;
    to = swap;
  }
  return from;
}

// The first `count` elements of the order, and where they stood.
static ibx_status store_order(const ibx_library_call *c, size_t p,
                              int direction, size_t count) {
  const uint32_t *order = sort(c, 1, p, direction);
  for (size_t j = 0; j < count; j++) {
    ibx_copy_element(&c->view[0], p, j, &c->view[1], order[j]);
  }
  for (size_t j = 0; j < count; j++) {
    ibx_store_integer(&c->view[2], p, j, order[j]);
  }
  return IBX_OK;
}

ibx_status ibx_kernel_SORT_ASCENDING(const ibx_library_call *c, size_t p) {
  return store_order(c, p, 1, c->view[1].elements);
}

ibx_status ibx_kernel_SORT_DESCENDING(const ibx_library_call *c, size_t p) {
  return store_order(c, p, -1, c->view[1].elements);
}

ibx_status ibx_kernel_TOP(const ibx_library_call *c, size_t p) {
  return store_order(c, p, -1, c->k);
}

ibx_status ibx_kernel_BOTTOM(const ibx_library_call *c, size_t p) {
  return store_order(c, p, 1, c->k);
}

ibx_status ibx_kernel_UNIQUE(const ibx_library_call *c, size_t p) {
  const ibx_sim_view *src = &c->view[1];
  const uint32_t *order = sort(c, 1, p, 1);
  size_t found = 0;
  for (size_t i = 0; i < src->elements; i++) {
    bool is_new = i == 0 || ibx_compare_elements(src, order[i - 1], src,
                                                 order[i], p) != 0;
    if (!is_new) continue;
    if (found < c->k) ibx_copy_element(&c->view[0], p, found, src, order[i]);
    found++;
  }
  for (size_t j = found; j < c->k; j++) {
    ibx_store_integer(&c->view[0], p, j, 0); // of every type the bits of 0
  }
  ibx_store_integer(&c->view[2], p, 0, (int64_t)found);
  return IBX_OK;
}

// --- boxes ----------------------------------------------------------------------

typedef struct box {
  float low[2], high[2];
} box;

static box load_box(const ibx_library_call *c, size_t p, size_t j) {
  box b;
  for (size_t d = 0; d < 2; d++) {
    float x = ibx_load(&c->view[1], p, 4 * j + d);
    float y = ibx_load(&c->view[1], p, 4 * j + d + 2);
    b.low[d] = x < y ? x : y;
    b.high[d] = x < y ? y : x;
  }
  return b;
}

static float area_of(const box *b) {
  return (b->high[0] - b->low[0]) * (b->high[1] - b->low[1]);
}

// Area of the intersection by that of the union; 0 where there is none.
static float overlap(const box *a, const box *b) {
  box common;
  for (size_t d = 0; d < 2; d++) {
    common.low[d] = a->low[d] > b->low[d] ? a->low[d] : b->low[d];
    common.high[d] = a->high[d] < b->high[d] ? a->high[d] : b->high[d];
    if (!(common.low[d] < common.high[d])) return 0.0f;
  }
  float shared = area_of(&common);
  return shared / (area_of(a) + area_of(b) - shared);
}

static bool is_suppressed(const ibx_library_call *c, size_t p, uint32_t j,
                          const uint32_t *chosen, size_t count) {
  box candidate = load_box(c, p, j);
  for (size_t i = 0; i < count; i++) {
    box other = load_box(c, p, chosen[i]);
    if (overlap(&candidate, &other) > c->x->insn->imm[0]) return true;
  }
  return false;
}

ibx_status ibx_kernel_SUPPRESS(const ibx_library_call *c, size_t p) {
  const ibx_sim_view *scores = &c->view[2];
  const uint32_t *order = sort(c, 2, p, -1);
  uint32_t *chosen = c->x->sim->scratch[2]->u32;
  size_t count = 0;
  for (size_t i = 0; i < scores->elements && count < c->k; i++) {
    bool is_candidate = ibx_load(scores, p, order[i]) > c->x->insn->imm[1];
    if (!is_candidate || is_suppressed(c, p, order[i], chosen, count)) continue;
    chosen[count++] = order[i];
  }
  for (size_t j = 0; j < c->k; j++) {
    ibx_store_integer(&c->view[0], p, j, j < count ? (int64_t)chosen[j] : -1);
  }
  return IBX_OK;
}

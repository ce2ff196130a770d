// SPDX-License-Identifier: Apache-2.0
//
// GpSimd instructions that look elements up or search for them, as element.h
// says. A core of GpSimd has 16 partitions; element j of such a group is element
// j / 16 of its partition j mod 16.

#include "sim/element.h"

enum { CORE = 16 };

static ibx_status check_index(const ibx_exec *x, size_t p, uint64_t index,
                              uint64_t end) {
  if (index < end) return IBX_OK;
  return IBX_EXEC_FAIL(x, "index %llu in partition %zu is not below %llu",
                       (unsigned long long)index, p, (unsigned long long)end);
}

// Index j of the group that partition p belongs to.
static uint32_t local_index(const ibx_sim_view *index, size_t p, size_t j) {
  return ibx_load_bits(index, p / CORE * CORE + j % CORE, j / CORE);
}

// dst[p, e * j + t] = src[p, index j + t]
ibx_status ibx_exec_local_gather(const ibx_exec *x) {
  ibx_sim_view dst, src, index;
  IBX_TRY(ibx_open_read(x, 1, &src));
  IBX_TRY(ibx_open_read(x, 2, &index));
  IBX_TRY(ibx_open_write(x, 0, &dst));
  size_t e = x->insn->columns, count = x->insn->count;
  for (size_t p = 0; p < dst.partitions; p++) {
    for (size_t j = 0; j < count; j++) {
      IBX_TRY(
          check_index(x, p, local_index(&index, p, j) + e - 1, src.elements));
    }
  }
  for (size_t p = 0; p < dst.partitions; p++) {
    for (size_t i = 0; i < e * count; i++) {
      size_t from = local_index(&index, p, i / e) + i % e;
      ibx_copy_element(&dst, p, i, &src, from);
    }
  }
  return IBX_OK;
}

// dst[p, j] = src[p, index[p, j]]
ibx_status ibx_exec_nc_n_gather(const ibx_exec *x) {
  ibx_sim_view dst, src, index;
  IBX_TRY(ibx_open_read(x, 1, &src));
  IBX_TRY(ibx_open_read(x, 2, &index));
  IBX_TRY(ibx_open_write(x, 0, &dst));
  for (size_t p = 0; p < dst.partitions; p++) {
    for (size_t j = 0; j < dst.elements; j++) {
      IBX_TRY(check_index(x, p, ibx_load_bits(&index, p, j), src.elements));
    }
  }
  for (size_t p = 0; p < dst.partitions; p++) {
    for (size_t j = 0; j < dst.elements; j++) {
      ibx_copy_element(&dst, p, j, &src, ibx_load_bits(&index, p, j));
    }
  }
  return IBX_OK;
}

static bool is_zero(const ibx_sim_view *src, size_t p, size_t i) {
  return ibx_holds_floats(src) ? ibx_load(src, p, i) == 0.0f
                               : ibx_load_bits(src, p, i) == 0;
}

static bool is_equal(const ibx_sim_view *src, size_t i, size_t j) {
  return ibx_holds_floats(src)
             ? ibx_load(src, 0, i) == ibx_load(src, 0, j)
             : ibx_load_bits(src, 0, i) == ibx_load_bits(src, 0, j);
}

ibx_status ibx_exec_sequence_bounds(const ibx_exec *x) {
  ibx_sim_view dst, src;
  IBX_TRY(ibx_open_read(x, 1, &src));
  IBX_TRY(ibx_open_write(x, 0, &dst));
  size_t n = src.elements, first = 0, end = 0;
  for (size_t j = 0; j < n; j++) {
    if (j >= end) {
      first = end;
      while (end == first || (end < n && is_equal(&src, first, end))) {
        end++;
      }
    }
    bool is_padding = is_zero(&src, 0, j);
    ibx_store(&dst, 0, j, is_padding ? (float)n : (float)first);
    ibx_store(&dst, 0, n + j, is_padding ? -1.0f : (float)end);
  }
  return IBX_OK;
}

ibx_status ibx_exec_nonzero_with_count(const ibx_exec *x) {
  ibx_sim_view dst, src;
  IBX_TRY(ibx_open_read(x, 1, &src));
  IBX_TRY(ibx_open_write(x, 0, &dst));
  uint32_t offset = (uint32_t)x->insn->pattern[0];
  uint32_t padding = (uint32_t)x->insn->pattern[1];
  for (size_t p = 0; p < dst.partitions; p += CORE) {
    uint32_t found = 0;
    for (size_t j = 0; j < src.elements; j++) {
      if (is_zero(&src, p, j)) continue;
      ibx_store_bits(&dst, p, found++, offset + (uint32_t)j);
    }
    for (size_t j = found; j < src.elements; j++) {
      ibx_store_bits(&dst, p, j, padding);
    }
    ibx_store_bits(&dst, p, src.elements, found);
  }
  return IBX_OK;
}

// --- topk -------------------------------------------------------------------------

// Whether element a of the group at partition p comes before element b.
static bool comes_before(const ibx_sim_view *src, size_t p, uint32_t a,
                         uint32_t b) {
  float x = ibx_load(src, p + a % CORE, a / CORE);
  float y = ibx_load(src, p + b % CORE, b / CORE);
  if (x != x || y != y) { // NaN is the largest
    bool both = x != x && y != y;
    return both ? a > b : y != y;
  }
  return x < y || (x == y && a > b);
}

// Sorts by merging, so that no order of the data takes long.
static uint32_t *sort_group(const ibx_exec *x, const ibx_sim_view *src,
                            size_t p, uint32_t n) {
  uint32_t *from = x->sim->scratch[0]->u32, *to = x->sim->scratch[1]->u32;
  for (uint32_t i = 0; i < n; i++) {
    from[i] = i;
  }
  for (uint32_t width = 1; width < n; width *= 2) {
    for (uint32_t low = 0; low < n; low += 2 * width) {
      uint32_t middle = n - low < width ? n : low + width;
      uint32_t high = n - low < 2 * width ? n : low + 2 * width;
      uint32_t a = low, b = middle;
      for (uint32_t i = low; i < high; i++) {
        bool second =
            a == middle || (b < high && comes_before(src, p, from[b], from[a]));
        to[i] = second ? from[b++] : from[a++];
      }
    }
    uint32_t *swap = from;
    from = to;
    to = swap;
  }
  return from;
}

// One group: its values, then where they stood.
static void topk_group(const ibx_exec *x, const ibx_sim_view *src,
                       const ibx_sim_view *values, const ibx_sim_view *places,
                       size_t p) {
  uint32_t n = (uint32_t)x->insn->pattern[0], k = x->insn->count;
  uint32_t room = (uint32_t)values->elements * CORE;
  const uint32_t *order = sort_group(x, src, p, n) + (n - k);
  for (uint32_t j = 0; j < room; j++) {
    uint32_t bits = 0;
    if (j < k) bits = ibx_load_bits(src, p + order[j] % CORE, order[j] / CORE);
    ibx_store_bits(values, p + j % CORE, j / CORE, bits);
  }
  for (uint32_t j = 0; j < room; j++) {
    ibx_store_bits(places, p + j % CORE, j / CORE, j < k ? order[j] : 0);
  }
}

ibx_status ibx_exec_topk(const ibx_exec *x) {
  ibx_sim_view values, src, places;
  IBX_TRY(ibx_open_read(x, 1, &src));
  IBX_TRY(ibx_open_write(x, 0, &values));
  IBX_TRY(ibx_open_write(x, 2, &places));
  for (size_t p = 0; p < src.partitions; p += CORE) {
    topk_group(x, &src, &values, &places, p);
  }
  return IBX_OK;
}

// SPDX-License-Identifier: Apache-2.0
//
// Searches for eight values in each partition, as element.h says. Values are
// compared in fp32; a NaN equals nothing.

#include "sim/element.h"

enum { VALUES = 8, MOST_ELEMENTS = 16384 };

/// The elements of a partition and which of them a value took.
typedef struct search {
  const float *row;
  size_t count;
  bool is_taken[MOST_ELEMENTS];
} search;

// Stands for an element where none is equal.
static const uint32_t missing = UINT32_MAX;

static void load_row(const ibx_exec *x, const ibx_sim_view *data, size_t p,
                     search *s) {
  float *row = x->sim->scratch[0]->f32;
  for (size_t i = 0; i < data->elements; i++) {
    row[i] = ibx_load(data, p, i);
  }
  *s = (search){.row = row, .count = data->elements};
}

// Takes the first element that equals `value`.
static uint32_t take(search *s, float value) {
  for (size_t i = 0; i < s->count; i++) {
    if (s->row[i] != value || s->is_taken[i]) continue;
    s->is_taken[i] = true;
    return (uint32_t)i;
  }
  return missing;
}

static bool is_before(float a, float b) { return a > b || (a == a && b != b); }

// Keeps the eight first in descending order, of equal ones the earlier first.
ibx_status ibx_exec_max8(const ibx_exec *x) {
  ibx_sim_view dst, src;
  IBX_TRY(ibx_open_read(x, 1, &src));
  IBX_TRY(ibx_open_write(x, 0, &dst));
  for (size_t p = 0; p < dst.partitions; p++) {
    float best[VALUES + 1];
    size_t count = 0;
    for (size_t i = 0; i < src.elements; i++) {
      float value = ibx_load(&src, p, i);
      size_t at = count;
      for (; at > 0 && is_before(value, best[at - 1]); at--) {
        best[at] = best[at - 1];
      }
      best[at] = value;
      if (count < VALUES) count++;
    }
    for (size_t i = 0; i < VALUES; i++) {
      ibx_store(&dst, p, i, best[i]);
    }
  }
  return IBX_OK;
}

ibx_status ibx_exec_nc_find_index8(const ibx_exec *x) {
  ibx_sim_view dst, data, values;
  IBX_TRY(ibx_open_read(x, 1, &data));
  IBX_TRY(ibx_open_read(x, 2, &values));
  IBX_TRY(ibx_open_write(x, 0, &dst));
  for (size_t p = 0; p < dst.partitions; p++) {
    search s;
    load_row(x, &data, p, &s);
    for (size_t i = 0; i < VALUES; i++) {
      ibx_store_bits(&dst, p, i, take(&s, ibx_load(&values, p, i)));
    }
  }
  return IBX_OK;
}

// The last value takes first. `indices` may be NULL.
static void match_replace(const ibx_exec *x, const ibx_sim_view *dst,
                          const ibx_sim_view *data, const ibx_sim_view *values,
                          const ibx_sim_view *indices, size_t p) {
  search s;
  load_row(x, data, p, &s);
  uint32_t found[VALUES];
  for (size_t i = VALUES; i-- > 0;) {
    found[i] = take(&s, ibx_load(values, p, i));
  }
  for (size_t i = 0; i < dst->elements; i++) {
    ibx_store(dst, p, i, s.is_taken[i] ? x->insn->imm[0] : s.row[i]);
  }
  for (size_t i = 0; indices && i < VALUES; i++) {
    ibx_store_bits(indices, p, i, found[i]);
  }
}

ibx_status ibx_exec_nc_match_replace8(const ibx_exec *x) {
  ibx_sim_view dst, data, values;
  IBX_TRY(ibx_open_read(x, 1, &data));
  IBX_TRY(ibx_open_read(x, 2, &values));
  IBX_TRY(ibx_open_write(x, 0, &dst));
  for (size_t p = 0; p < dst.partitions; p++) {
    match_replace(x, &dst, &data, &values, NULL, p);
  }
  return IBX_OK;
}

ibx_status ibx_exec_nc_match_replace8_index(const ibx_exec *x) {
  ibx_sim_view dst, data, values, indices;
  IBX_TRY(ibx_open_read(x, 1, &data));
  IBX_TRY(ibx_open_read(x, 2, &values));
  IBX_TRY(ibx_open_write(x, 0, &dst));
  IBX_TRY(ibx_open_write(x, 3, &indices));
  for (size_t p = 0; p < dst.partitions; p++) {
    match_replace(x, &dst, &data, &values, &indices, p);
  }
  return IBX_OK;
}

// Partition i of each 32 from partition shuffle[i] of the same 32.
static ibx_status shuffle(const ibx_exec *x) {
  ibx_sim_view dst, src;
  IBX_TRY(ibx_open_read(x, 1, &src));
  IBX_TRY(ibx_open_write(x, 0, &dst));
  for (size_t p = 0; p < dst.partitions; p++) {
    size_t within = p % IBX_QUADRANT;
    if (x->insn->shuffle[within] == IBX_SHUFFLE_LEAVE) continue;
    size_t from = p - within + x->insn->shuffle[within];
    for (size_t i = 0; i < dst.elements; i++) {
      ibx_store_bits(&dst, p, i, ibx_load_bits(&src, from, i));
    }
  }
  return IBX_OK;
}

ibx_status ibx_exec_nc_stream_shuffle(const ibx_exec *x) { return shuffle(x); }

ibx_status ibx_exec_nc_stream_shuffle_partial(const ibx_exec *x) {
  return shuffle(x);
}

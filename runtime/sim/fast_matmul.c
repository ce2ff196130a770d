// SPDX-License-Identifier: Apache-2.0
//
// The tensor engine, tile by tile. In: operands in SBUF, the array's contents.
// Out: what exec_matmul.c says, to the bit (gemm.h).

#include "sim/gemm.h"
#include "sim/rows.h"
#include "sim/view.h"

#include <string.h>

enum { AHEAD = 8, LINE = 64 };

// Rows are partitions apart, which no processor foresees.
static void prefetch_row(const ibx_sim_view *view, size_t p) {
  if (!view->dense || p >= view->partitions) return;
  const uint8_t *row = view->base + p * view->partition_bytes;
  for (ptrdiff_t i = 0; i < view->high; i += LINE) {
    IBX_PREFETCH(row + i);
  }
}

// Modes are rare: what they do stands in the specification alone.
ibx_status ibx_fast_load_stationary(const ibx_exec *x) {
  if (x->insn->mode != 0) return ibx_exec_load_stationary(x);
  ibx_sim_view src;
  IBX_TRY(ibx_sim_view_open(x, 1, &src));
  float *to = x->sim->array + ibx_sim_array_row(x, 1) * IBX_ARRAY_STEP;
  for (size_t p = 0; p < src.partitions; p++, to += IBX_ARRAY_STEP) {
    prefetch_row(&src, p + AHEAD);
    const float *row =
        ibx_sim_view_fetch(&src, p, 0, src.elements, x->sim->scratch[0]->f32);
    memcpy(to, row, src.elements * sizeof(*to));
  }
  return IBX_OK;
}

// The moving tile as rows of fp32: in place, or gathered into scratch.
static void fetch_moving(const ibx_exec *x, const ibx_sim_view *src,
                         ibx_gemm *g) {
  float *scratch = x->sim->scratch[0]->f32;
  size_t n = src->elements;
  const float *first = ibx_sim_view_fetch(src, 0, 0, n, scratch);
  g->b = first;
  if (first != scratch) {
    g->b_step = src->partition_bytes / sizeof(float);
    return;
  }
  g->b_step = n;
  for (size_t p = 1; p < src->partitions; p++) {
    float *to = scratch + p * n;
    const float *row = ibx_sim_view_fetch(src, p, 0, n, to);
    if (row != to) memcpy(to, row, n * sizeof(*to));
  }
}

// Sums go straight to PSUM where it holds them as fp32 rows, and through
// scratch otherwise: PSUM is read, added to in fp32 and converted back.
static void multiply(const ibx_exec *x, const ibx_sim_view *dst, ibx_gemm *g) {
  bool accumulate = (x->insn->flags & IBX_FLAG_ACCUMULATE) != 0;
  const float *probe =
      ibx_sim_view_fetch(dst, 0, 0, g->n, x->sim->scratch[1]->f32);
  if (probe != x->sim->scratch[1]->f32) {
    void *first = dst->base;
    g->c = first;
    g->c_step = dst->partition_bytes / sizeof(float);
    g->accumulate = accumulate;
    ibx_gemm_run(g);
    return;
  }
  g->c = x->sim->scratch[1]->f32;
  g->c_step = g->n;
  ibx_gemm_run(g);
  for (size_t p = 0; p < dst->partitions; p++) {
    float *sums = g->c + p * g->c_step;
    if (accumulate) {
      const float *old =
          ibx_sim_view_fetch(dst, p, 0, g->n, x->sim->scratch[2]->f32);
      for (size_t i = 0; i < g->n; i++) {
        sums[i] = old[i] + sums[i];
      }
    }
    ibx_sim_row_quiet(sums, g->n);
    ibx_sim_view_store(dst, p, 0, g->n, sums);
  }
}

ibx_status ibx_fast_multiply_moving(const ibx_exec *x) {
  if (x->insn->mode != 0) return ibx_exec_multiply_moving(x);
  ibx_sim_view src, dst;
  IBX_TRY(ibx_sim_view_open(x, 1, &src));
  IBX_TRY(ibx_sim_view_open(x, 0, &dst));
  ibx_gemm gemm = {.a =
                       x->sim->array + ibx_sim_array_row(x, 1) * IBX_ARRAY_STEP,
                   .room = x->sim->scratch[3]->f32,
                   .k = src.partitions,
                   .m = dst.partitions,
                   .n = src.elements};
  fetch_moving(x, &src, &gemm);
  multiply(x, &dst, &gemm);
  return IBX_OK;
}

// dst[f][p] = src[p][f] of at most 128 x 128 elements of one type.
static ibx_status transpose(const ibx_exec *x) {
  ibx_sim_view src, dst;
  IBX_TRY(ibx_sim_view_open(x, 1, &src));
  IBX_TRY(ibx_sim_view_open(x, 0, &dst));
  uint32_t *tile = x->sim->scratch[0]->u32;
  uint32_t *row = x->sim->scratch[1]->u32;
  for (size_t p = 0; p < src.partitions; p++) {
    ibx_sim_view_fetch_bits(&src, p, src.elements, row);
    for (size_t f = 0; f < src.elements; f++) {
      tile[f * src.partitions + p] = row[f];
    }
  }
  for (size_t f = 0; f < dst.partitions; f++) {
    ibx_sim_view_store_bits(&dst, f, dst.elements, tile + f * src.partitions);
  }
  return IBX_OK;
}

// On ibx2 floats that are not finite, or minus zero, come out changed.
static bool is_plain(const ibx_exec *x) {
  ibx_sim_view src;
  if (ibx_sim_view_make(x, 1, ibx_sim_shape_of(x->insn), &src) != IBX_OK) {
    return false;
  }
  float *room = x->sim->scratch[0]->f32;
  for (size_t p = 0; p < src.partitions; p++) {
    const float *row = ibx_sim_view_fetch(&src, p, 0, src.elements, room);
    for (size_t i = 0; i < src.elements; i++) {
      uint32_t bits;
      memcpy(&bits, &row[i], sizeof bits);
      bool is_special = (bits & 0x7f800000) == 0x7f800000 || bits == 0x80000000;
      if (is_special) return false;
    }
  }
  return true;
}

ibx_status ibx_fast_nc_transpose(const ibx_exec *x) {
  bool is_product = x->sim->machine->target == IBX_TARGET_ibx2;
  return is_product && !is_plain(x) ? ibx_exec_nc_transpose(x) : transpose(x);
}

ibx_status ibx_fast_vector_transpose(const ibx_exec *x) { return transpose(x); }

// SPDX-License-Identifier: Apache-2.0
//
// Elementwise instructions. In: an instruction and what computes a row. Out:
// every row computed and stored. Holds: the instruction reads all of its
// operands before it writes any result, whatever overlaps.

#include "sim/map.h"

#include "sim/element.h"
#include "sim/rows.h"

enum { CHUNK = 1024 }; // values of three rows and a temporary fit in L1

typedef struct operands {
  ibx_sim_view dst, src[2], reduced;
  size_t sources;
  bool reduces;
  bool apart; ///< no source lies where the destination does
  float scalar[2][IBX_PARTITIONS];
} operands;

// The immediate stands in `out` already.
static ibx_status read_scalar(const ibx_exec *x, unsigned slot, float *out) {
  uint32_t partitions = x->insn->partitions;
  if (x->insn->operand[slot].buffer == IBX_NO_BUFFER) return IBX_OK;
  ibx_sim_view column;
  IBX_TRY(ibx_sim_view_make_column(x, slot, partitions, &column));
  for (uint32_t p = 0; p < partitions; p++) {
    ibx_sim_view_fetch_raw(&column, p, 0, 1, (uint8_t *)&out[p]);
  }
  return IBX_OK;
}

// Resolves slots 2 and 3, whose meaning isa.def gives.
static ibx_status resolve_rest(const ibx_exec *x, const ibx_insn_info *info,
                               operands *o) {
  bool binary = info->format == IBX_FORMAT_binary;
  for (unsigned slot = 2; slot < IBX_OPERANDS; slot++) {
    unsigned number = binary ? 0 : slot - 2;
    switch (info->slot[slot]) {
    case IBX_SLOT_READ:
      IBX_TRY(ibx_sim_view_make(x, slot, ibx_sim_shape_of(x->insn),
                                &o->src[o->sources++]));
      break;
    case IBX_SLOT_SCALAR_READ:
      IBX_TRY(read_scalar(x, slot, o->scalar[number]));
      break;
    case IBX_SLOT_SCALAR_WRITE:
      IBX_TRY(
          ibx_sim_view_make_column(x, slot, x->insn->partitions, &o->reduced));
      o->reduces = true;
      break;
    default: break;
    }
  }
  return IBX_OK;
}

static ibx_status resolve(const ibx_exec *x, operands *o) {
  const ibx_insn_info *info = ibx_insn_get(x->insn->opcode);
  ibx_sim_shape shape = ibx_sim_shape_of(x->insn);
  if (shape.partitions > IBX_PARTITIONS) {
    return IBX_EXEC_FAIL(x, "%u partitions", shape.partitions);
  }
  IBX_TRY(ibx_sim_view_make(x, 0, shape, &o->dst));
  o->sources = 0;
  o->reduces = false;
  if (info->slot[1] == IBX_SLOT_READ) {
    IBX_TRY(ibx_sim_view_make(x, 1, shape, &o->src[o->sources++]));
  }
  for (unsigned i = 0; i < 2; i++) {
    for (size_t p = 0; p < shape.partitions; p++) {
      o->scalar[i][p] = x->insn->imm[i];
    }
  }
  IBX_TRY(resolve_rest(x, info, o));
  o->apart = true;
  for (unsigned i = 0; i < o->sources; i++) {
    IBX_TRY(ibx_sim_view_separate(x, &o->dst, i, &o->src[i]));
    o->apart = o->apart && o->src[i].base != o->dst.base;
  }
  return IBX_OK;
}

static void map_partition(const ibx_exec *x, const operands *o, size_t p,
                          size_t chunk, ibx_sim_row_fn fn, float *reduced) {
  ibx_sim_row row = {.insn = x->insn,
                     .s = {o->scalar[0][p], o->scalar[1][p]},
                     .temp = x->sim->scratch[3]->f32,
                     .reduced = x->insn->imm[0]};
  for (size_t start = 0; start < o->dst.elements; start += chunk) {
    size_t left = o->dst.elements - start;
    row.n = left < chunk ? left : chunk;
    if (o->sources > 0) {
      row.a = ibx_sim_view_fetch(&o->src[0], p, start, row.n,
                                 x->sim->scratch[0]->f32);
    }
    if (o->sources > 1) {
      row.b = ibx_sim_view_fetch(&o->src[1], p, start, row.n,
                                 x->sim->scratch[1]->f32);
    }
    float *in_place = o->apart ? ibx_sim_view_row(&o->dst, p, start) : NULL;
    row.out = in_place != NULL ? in_place : x->sim->scratch[2]->f32;
    fn(&row);
    ibx_sim_row_quiet(row.out, row.n);
    if (in_place == NULL) {
      ibx_sim_view_store(&o->dst, p, start, row.n, row.out);
    }
  }
  *reduced = row.reduced;
}

ibx_status ibx_sim_map(const ibx_exec *x, ibx_sim_row_fn fn) {
  operands o;
  IBX_TRY(resolve(x, &o));
  float reduced[IBX_PARTITIONS];
  size_t chunk = o.reduces ? IBX_SIM_ROW : CHUNK;
  for (size_t p = 0; p < o.dst.partitions; p++) {
    map_partition(x, &o, p, chunk, fn, &reduced[p]);
  }
  ibx_sim_row_quiet(reduced, o.dst.partitions);
  for (size_t p = 0; o.reduces && p < o.dst.partitions; p++) {
    ibx_sim_view_store(&o.reduced, p, 0, 1, &reduced[p]);
  }
  return IBX_OK;
}

ibx_status ibx_sim_map_bits(const ibx_exec *x, ibx_sim_bits_row_fn fn) {
  operands o = {.sources = 0};
  IBX_TRY(resolve(x, &o));
  uint32_t *a = x->sim->scratch[0]->u32;
  uint32_t *b = x->sim->scratch[1]->u32;
  ibx_sim_bits_row row = {.insn = x->insn,
                          .a = a,
                          .b = b,
                          .out = x->sim->scratch[2]->u32,
                          .width = (unsigned)(8 * o.src[0].element_bytes),
                          .is_signed = ibx_is_signed(&o.src[0]),
                          .n = o.dst.elements};
  if (o.sources > 1) row.is_signed &= ibx_is_signed(&o.src[1]);
  for (size_t p = 0; p < o.dst.partitions; p++) {
    ibx_sim_view_fetch_bits(&o.src[0], p, row.n, a);
    if (o.sources > 1) ibx_sim_view_fetch_bits(&o.src[1], p, row.n, b);
    row.s[0] = ibx_scalar_bits(o.scalar[0][p]);
    row.s[1] = ibx_scalar_bits(o.scalar[1][p]);
    fn(&row);
    ibx_sim_view_store_bits(&o.dst, p, row.n, row.out);
  }
  return IBX_OK;
}

// SPDX-License-Identifier: Apache-2.0
//
// Instructions in which cores meet. In: what each core brought, packed in
// iteration order. Out: the destination of one core, element by element, as
// isa.def says: bit for bit, or reduced in fp32 in ascending order of ranks and
// rounded once. meeting.c brings the parts together.

#include "sim/arith.h"
#include "sim/state.h"

#include <math.h>
#include <string.h>

#define IBX_COLLECTIVE(name, kind)                                             \
  ibx_status ibx_exec_##name(const ibx_exec *x) { return ibx_sim_join(x); }
#include "imbrex/isa.def"

ibx_status ibx_exec_rank_id(const ibx_exec *x) {
  x->seq->reg[x->insn->reg[0]] = x->sim->meetings.rank;
  return IBX_OK;
}

/// One core's share of a collective.
typedef struct share {
  const uint8_t *const *parts;
  uint64_t elements; ///< of dst
  size_t bytes;      ///< of one
  ibx_collective kind;
  ibx_dtype dtype;
  uint32_t rank, cores, rotation;
  uint8_t op;
  const ibx_rounder *rounder;
} share;

static bool reduces(const share *s) {
  return s->kind == IBX_COLLECTIVE_ALL_REDUCE ||
         s->kind == IBX_COLLECTIVE_REDUCE_SCATTER;
}

// Where element `e` of dst comes from: a core, and an element of its source. Of a
// reduction it is that element of every core.
static uint64_t source_of(const share *s, uint64_t e, uint32_t *core) {
  uint64_t part = s->elements / s->cores;
  *core = 0;
  switch (s->kind) {
  case IBX_COLLECTIVE_NONE:
  case IBX_COLLECTIVE_BARRIER:
  case IBX_COLLECTIVE_ALL_REDUCE: return e;
  case IBX_COLLECTIVE_REDUCE_SCATTER: return s->rank * s->elements + e;
  case IBX_COLLECTIVE_EXCHANGE: *core = s->rank ^ 1u; return e;
  case IBX_COLLECTIVE_PERMUTE:
    *core = (s->rank + s->cores - s->rotation) % s->cores;
    return e;
  case IBX_COLLECTIVE_ALL_GATHER: *core = (uint32_t)(e / part); return e % part;
  case IBX_COLLECTIVE_ALL_TO_ALL:
    *core = (uint32_t)(e / part);
    return s->rank * part + e % part;
  }
  return e;
}

// Element `e` of dst.
static void reduce(const share *s, uint64_t e, uint64_t source, uint8_t *dst) {
  float sum = 0.0f, value;
  for (uint32_t r = 0; r < s->cores; r++) {
    ibx_dtype_load_f32(s->dtype, s->parts[r] + source * s->bytes, &value, 1);
    sum = r == 0 ? value : ibx_arith_one(s->op, sum, value);
  }
  float known = sum != sum ? NAN : sum;
  known = ibx_round(s->rounder, s->dtype, 0, e, known);
  ibx_dtype_store_f32(s->dtype, &known, dst, 1);
}

static void make_element(const share *s, uint64_t e, uint8_t *dst) {
  uint32_t core;
  uint64_t source = source_of(s, e, &core);
  if (reduces(s)) {
    reduce(s, e, source, dst);
  } else {
    memcpy(dst, s->parts[core] + source * s->bytes, s->bytes);
  }
}

void ibx_sim_combine(const ibx_sim_pending *pending, uint32_t rank,
                     uint32_t cores, const uint8_t *const *parts) {
  const ibx_insn *insn = pending->insn;
  ibx_operand_shape shape = ibx_insn_shape(insn, 0);
  share s = {.parts = parts,
             .elements = 1,
             .kind = ibx_insn_collective(insn->opcode),
             .dtype = (ibx_dtype)insn->operand[0].dtype,
             .rank = rank,
             .cores = cores,
             .rotation = insn->count,
             .op = insn->op[0],
             .rounder = &pending->rounder};
  s.bytes = ibx_dtype_bytes(s.dtype);
  for (size_t d = 0; d < IBX_DIMS; d++) {
    s.elements *= shape.num[d];
  }
  for (uint64_t e = 0; e < s.elements; e++) {
    uint8_t *dst = pending->dst;
    uint64_t left = e;
    for (size_t d = IBX_DIMS; d-- > 0; left /= shape.num[d]) {
      dst += (ptrdiff_t)(left % shape.num[d]) * pending->dst_step[d];
    }
    make_element(&s, e, dst);
  }
}

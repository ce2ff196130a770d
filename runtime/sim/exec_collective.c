// SPDX-License-Identifier: Apache-2.0
//
// Instructions in which cores meet. In: what each core of a group brought, packed
// in iteration order, behind its metadata where counts are data. Out: the
// destination of one core, element by element, as isa.def says: bit for bit, or
// reduced in fp32, in ascending order of ranks, and rounded once. meeting.c brings
// the parts together.

#include "sim/arith.h"
#include "sim/view.h"

#include <math.h>
#include <string.h>

#define IBX_COLLECTIVE(name, kind)                                             \
  ibx_status ibx_exec_##name(const ibx_exec *x) { return ibx_sim_join(x); }
#include "imbrex/isa.def"

ibx_status ibx_exec_rank_id(const ibx_exec *x) {
  const ibx_sim_meetings *m = &x->sim->meetings;
  ibx_core_group group = ibx_insn_group(x->insn, m->cores, m->rank);
  x->seq->reg[x->insn->reg[0]] = ibx_core_group_below(&group, x->insn->count);
  return IBX_OK;
}

// --- metadata --------------------------------------------------------------------

static bool is_counted(ibx_collective kind) {
  return kind == IBX_COLLECTIVE_ALL_GATHER_V ||
         kind == IBX_COLLECTIVE_ALL_TO_ALL_V;
}

size_t ibx_sim_metadata_words(const ibx_insn *insn) {
  bool has_words = is_counted(ibx_insn_collective(insn->opcode));
  return has_words ? 2 * (size_t)insn->num[0] : 0;
}

static uint64_t count_elements(const ibx_operand_shape *shape, size_t first) {
  uint64_t elements = 1;
  for (size_t d = first; d < IBX_DIMS; d++) {
    elements *= shape->num[d];
  }
  return elements;
}

// What goes to one rank lies in src, and in its place in dst.
static ibx_status check_counts(const ibx_exec *x, uint32_t rank, uint32_t count,
                               uint32_t first) {
  ibx_operand_shape dst = ibx_insn_shape(x->insn, 0);
  ibx_operand_shape src = ibx_insn_shape(x->insn, 1);
  uint64_t room = count_elements(&dst, 1), there = count_elements(&src, 0);
  if (count > room) {
    return IBX_EXEC_FAIL(x, "%u elements for rank %u, which has room for %llu",
                         count, rank, (unsigned long long)room);
  }
  if (first <= there && count <= there - first) return IBX_OK;
  return IBX_EXEC_FAIL(x, "%u elements from %u on for rank %u; there are %llu",
                       count, first, rank, (unsigned long long)there);
}

ibx_status ibx_sim_read_metadata(const ibx_exec *x, uint32_t *words) {
  size_t count = ibx_sim_metadata_words(x->insn);
  ibx_sim_view view;
  if (count == 0) return IBX_OK;
  IBX_TRY(ibx_sim_view_open(x, 2, &view));
  for (size_t i = 0; i < count; i++) {
    ibx_sim_view_fetch_raw(&view, i, 0, 1, (uint8_t *)&words[i]);
  }
  bool is_gather =
      ibx_insn_collective(x->insn->opcode) == IBX_COLLECTIVE_ALL_GATHER_V;
  uint32_t ranks = x->insn->num[0];
  for (uint32_t r = 0; r < (is_gather ? 1 : ranks); r++) {
    IBX_TRY(check_counts(x, r, words[r], words[ranks + r]));
  }
  return IBX_OK;
}

// --- one core's share --------------------------------------------------------------

typedef struct share {
  const uint8_t *const *parts;
  uint64_t elements; ///< of dst
  size_t bytes;      ///< of one
  size_t head;       ///< bytes of metadata
  ibx_collective kind;
  ibx_dtype dtype;
  const ibx_core_group *group;
  uint32_t rotation;
  uint8_t op;
  const ibx_rounder *rounder;
} share;

static bool reduces(const share *s) {
  return s->kind == IBX_COLLECTIVE_ALL_REDUCE ||
         s->kind == IBX_COLLECTIVE_REDUCE_SCATTER ||
         s->kind == IBX_COLLECTIVE_PERMUTE_REDUCE;
}

// What core `core` sends to this one begins with element `*out_first` of its
// source; returns how much.
static uint32_t sent_by(const share *s, uint32_t core, uint32_t *out_first) {
  const uint32_t *words = (const uint32_t *)(const void *)s->parts[core];
  uint32_t to = s->kind == IBX_COLLECTIVE_ALL_GATHER_V ? 0 : s->group->rank;
  *out_first = words[s->group->cores + to];
  return words[to];
}

// Where element `e` of dst comes from: a core, and an element of its source.
// False where nothing comes.
static bool source_of(const share *s, uint64_t e, uint32_t *core,
                      uint64_t *source) {
  uint64_t part = s->elements / s->group->cores;
  uint32_t first;
  *core = (uint32_t)(e / part);
  *source = e % part;
  switch (s->kind) {
  case IBX_COLLECTIVE_ALL_TO_ALL: *source += s->group->rank * part; return true;
  case IBX_COLLECTIVE_ALL_GATHER: return true;
  case IBX_COLLECTIVE_ALL_GATHER_V:
  case IBX_COLLECTIVE_ALL_TO_ALL_V:
    if (*source >= sent_by(s, *core, &first)) return false;
    *source += first;
    return true;
  case IBX_COLLECTIVE_EXCHANGE: *core = s->group->rank ^ 1u; break;
  case IBX_COLLECTIVE_PERMUTE:
    *core = ibx_core_group_below(s->group, s->rotation);
    break;
  default: break; // the others reduce
  }
  *source = e;
  return true;
}

// The values that element `e` of dst is reduced from.
typedef struct terms {
  uint32_t count;
  uint32_t core, core_step;
  uint64_t source, source_step; ///< elements
} terms;

static terms terms_of(const share *s, uint64_t e) {
  if (s->kind == IBX_COLLECTIVE_PERMUTE_REDUCE) {
    return (terms){.count = 2,
                   .core = ibx_core_group_below(s->group, s->rotation),
                   .source = e,
                   .source_step = s->elements};
  }
  bool scatters = s->kind == IBX_COLLECTIVE_REDUCE_SCATTER;
  return (terms){.count = s->group->cores,
                 .core_step = 1,
                 .source = e + (scatters ? s->group->rank * s->elements : 0)};
}

static void reduce(const share *s, uint64_t e, uint8_t *dst) {
  terms t = terms_of(s, e);
  float sum = 0.0f, value;
  for (uint32_t i = 0; i < t.count; i++) {
    const uint8_t *part = s->parts[t.core + i * t.core_step];
    uint64_t source = t.source + i * t.source_step;
    ibx_dtype_load_f32(s->dtype, part + source * s->bytes, &value, 1);
    sum = i == 0 ? value : ibx_arith_one(s->op, sum, value);
  }
  float known = sum != sum ? NAN : sum;
  known = ibx_round(s->rounder, s->dtype, 0, e, known);
  ibx_dtype_store_f32(s->dtype, &known, dst, 1);
}

static void make_element(const share *s, uint64_t e, uint8_t *dst) {
  uint32_t core;
  uint64_t source;
  if (reduces(s)) {
    reduce(s, e, dst);
  } else if (source_of(s, e, &core, &source)) {
    memcpy(dst, s->parts[core] + s->head + source * s->bytes, s->bytes);
  }
}

static void tell_received(const ibx_sim_pending *pending, const share *s) {
  if (!is_counted(s->kind)) return;
  for (uint32_t r = 0; r < s->group->cores; r++) {
    uint32_t first, count = sent_by(s, r, &first);
    memcpy(pending->received + r * pending->partition_bytes, &count,
           sizeof(count));
  }
}

void ibx_sim_combine(const ibx_sim_pending *pending,
                     const uint8_t *const *parts) {
  const ibx_insn *insn = pending->insn;
  ibx_operand_shape shape = ibx_insn_shape(insn, 0);
  share s = {.parts = parts,
             .elements = count_elements(&shape, 0),
             .head = ibx_sim_metadata_words(insn) * sizeof(uint32_t),
             .kind = ibx_insn_collective(insn->opcode),
             .dtype = (ibx_dtype)insn->operand[0].dtype,
             .group = &pending->group,
             .rotation = insn->count,
             .op = insn->op[0],
             .rounder = &pending->rounder};
  s.bytes = ibx_dtype_bytes(s.dtype);
  for (uint64_t e = 0; e < s.elements; e++) {
    uint8_t *dst = pending->dst;
    uint64_t left = e;
    for (size_t d = IBX_DIMS; d-- > 0; left /= shape.num[d]) {
      dst += (ptrdiff_t)(left % shape.num[d]) * pending->dst_step[d];
    }
    make_element(&s, e, dst);
  }
  tell_received(pending, &s);
}

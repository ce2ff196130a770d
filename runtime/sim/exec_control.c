// SPDX-License-Identifier: Apache-2.0
//
// Control instructions. In: the engine's registers and loops; `pc` already
// stands behind the instruction. Out: the same, moved on. Holds: a loop runs at
// most as often as the program says, and its register is 0 outside of it.

#include "sim/view.h"

// Waiting and signalling is done for every instruction alike.
ibx_status ibx_exec_semaphore(const ibx_exec *x) {
  (void)x;
  return IBX_OK;
}

ibx_status ibx_exec_loop(const ibx_exec *x) {
  const ibx_insn *insn = x->insn;
  ibx_sim_sequencer *seq = x->seq;
  uint32_t trips = insn->count;
  if (insn->reg[1] != IBX_NO_REGISTER) {
    uint32_t lower = seq->reg[insn->reg[1]];
    if (lower < trips) trips = lower;
  }
  size_t start = seq->pc - 1;
  if (trips == 0) {
    seq->pc = (size_t)x->sim->partner[x->engine][start] + 1;
    return IBX_OK;
  }
  seq->loop_reg[insn->reg[0]] = 0;
  seq->loops[seq->depth++] =
      (ibx_sim_loop){.start = start, .trips = trips, .reg = insn->reg[0]};
  return IBX_OK;
}

ibx_status ibx_exec_loop_end(const ibx_exec *x) {
  ibx_sim_sequencer *seq = x->seq;
  ibx_sim_loop *loop = &seq->loops[seq->depth - 1];
  uint32_t *counter = &seq->loop_reg[loop->reg];
  if (--loop->trips != 0) {
    ++*counter;
    seq->pc = loop->start + 1;
    return IBX_OK;
  }
  *counter = 0;
  seq->depth--;
  return IBX_OK;
}

ibx_status ibx_exec_register_move(const ibx_exec *x) {
  x->seq->reg[x->insn->reg[0]] = x->insn->count;
  return IBX_OK;
}

ibx_status ibx_exec_register_load(const ibx_exec *x) {
  ibx_sim_view src;
  uint32_t value;
  IBX_TRY(ibx_sim_view_make_column(x, 1, 1, &src));
  ibx_sim_view_fetch_raw(&src, 0, 0, 1, (uint8_t *)&value);
  if (value > x->insn->count) {
    return IBX_EXEC_FAIL(x, "the value %u exceeds its limit of %u", value,
                         x->insn->count);
  }
  x->seq->reg[x->insn->reg[0]] = value;
  return IBX_OK;
}

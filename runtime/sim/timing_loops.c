// SPDX-License-Identifier: Apache-2.0
//
// Which loop ends where. In: the instructions of one stream, planned one by one.
// Holds afterwards: every loop has its end and every end its loop, registers
// exist, and the number of executed instructions has a bound.

#include "timing_plan.h"

#include <stdlib.h>

static ibx_status check_registers(const ibx_planner *p,
                                  const ibx_timed_insn *timed) {
  switch (timed->kind) {
  case IBX_TIMED_LOOP:
    if (timed->reg[0] >= IBX_LOOP_REGISTERS) {
      return ibx_plan_refuse(p, "a loop needs a loop register, r0 to r3");
    }
    if (timed->reg[1] == IBX_NO_REGISTER) return IBX_OK;
    if (timed->reg[1] >= IBX_REGISTERS) break;
    return IBX_OK;
  case IBX_TIMED_REGISTER:
    if (timed->reg[0] >= IBX_REGISTERS) break;
    return IBX_OK;
  default: return IBX_OK;
  }
  return ibx_plan_refuse(p, "no such register");
}

typedef struct open_loop {
  size_t index;
  uint64_t body; ///< instructions executed in one trip
} open_loop;

// Walks the stream with a stack of open loops; its caller owns the stack.
static ibx_status match_loops(ibx_planner *p, open_loop *stack) {
  const ibx_stream *stream = &p->entry->streams[p->engine];
  ibx_timed_insn *timed = p->plan->insns[p->engine];
  size_t depth = 0;
  uint64_t executed = 0;
  for (p->index = 0; p->index < stream->count; p->index++) {
    IBX_TRY(check_registers(p, &timed[p->index]));
    executed++;
    if (timed[p->index].kind == IBX_TIMED_LOOP) {
      stack[depth++] = (open_loop){.index = p->index, .body = executed};
      executed = 0;
      if (depth > p->plan->loop_depth[p->engine]) {
        p->plan->loop_depth[p->engine] = depth;
      }
    } else if (timed[p->index].kind == IBX_TIMED_LOOP_END) {
      if (depth == 0) return ibx_plan_refuse(p, "ends no loop");
      open_loop *loop = &stack[--depth];
      timed[p->index].other = (uint32_t)loop->index;
      timed[loop->index].other = (uint32_t)p->index;
      executed = ibx_plan_mul(executed, timed[loop->index].count);
      executed += loop->body;
    }
    if (executed > p->most_executed) {
      return ibx_plan_refuse(
          p, "more instructions would run than are allowed; lower the trip "
             "counts");
    }
  }
  if (depth == 0) return IBX_OK;
  p->index = stack[depth - 1].index;
  return ibx_plan_refuse(p, "the loop has no loop_end");
}

ibx_status ibx_plan_loops(ibx_planner *p) {
  open_loop *stack = calloc(p->loop_count + 1, sizeof(*stack));
  if (!stack) {
    return IBX_FAIL(p->err, OUT_OF_MEMORY, "no memory for %zu loops",
                    p->loop_count);
  }
  ibx_status status = match_loops(p, stack);
  free(stack);
  return status;
}

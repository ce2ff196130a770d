// SPDX-License-Identifier: Apache-2.0
//
// Meetings of cores. In: an instruction that a core comes to. Out: its source
// where the other cores find it, and, when all have come, its destination.
// Holds: under the mutex of the peers a core's numbers are whole; a part is not
// changed between its join and the last take.

#include "sim/meeting.h"

#include "sim/state.h"

#include <stdlib.h>
#include <string.h>

static void lock(const ibx_sim_meetings *m) {
  if (m->mutex != NULL) pthread_mutex_lock(m->mutex);
}

static void unlock(const ibx_sim_meetings *m) {
  if (m->mutex != NULL) pthread_mutex_unlock(m->mutex);
}

static ibx_sim_part *part_of(ibx_sim_meetings *m, unsigned engine,
                             uint64_t number) {
  return &m->parts[engine][number % IBX_SIM_PARTS];
}

// The source in iteration order, without gaps.
static void pack(const ibx_dma_plan *plan, const ibx_operand_shape *shape,
                 uint64_t elements, size_t bytes, uint8_t *out) {
  for (uint64_t e = 0; e < elements; e++) {
    const uint8_t *src = plan->src;
    uint64_t left = e;
    for (size_t d = IBX_DIMS; d-- > 0; left /= shape->num[d]) {
      src += (ptrdiff_t)(left % shape->num[d]) * plan->src_step[d];
    }
    memcpy(out + e * bytes, src, bytes);
  }
}

static ibx_status copy_source(const ibx_exec *x, const ibx_dma_plan *plan,
                              uint8_t **out) {
  ibx_operand_shape shape = ibx_insn_shape(x->insn, 1);
  uint64_t elements = 1, size;
  size_t bytes = ibx_dtype_bytes(plan->src_dtype);
  for (size_t d = 0; d < IBX_DIMS; d++) {
    elements *= shape.num[d];
  }
  *out = ibx_mul_size(elements, bytes, &size) && size < SIZE_MAX
             ? malloc((size_t)size)
             : NULL;
  if (*out == NULL) {
    return IBX_FAIL(x->err, OUT_OF_MEMORY, "no memory for %llu elements",
                    (unsigned long long)elements);
  }
  pack(plan, &shape, elements, bytes, *out);
  return IBX_OK;
}

// Another core that has come to another instruction as its meeting of the same
// number, or NULL.
static const ibx_sim_part *find_stray(const ibx_sim_meetings *m,
                                      unsigned engine, uint64_t number,
                                      uint32_t insn) {
  for (uint32_t r = 0; r < m->cores; r++) {
    ibx_sim_meetings *peer = &m->peers[r]->meetings;
    if (peer == m || peer->joined[engine] <= number) continue;
    const ibx_sim_part *part = part_of(peer, engine, number);
    if (part->insn != insn) return part;
  }
  return NULL;
}

static void add_pending(ibx_sim_meetings *m, const ibx_exec *x,
                        const ibx_dma_plan *plan, uint64_t number) {
  ibx_sim_pending *pending = &m->pending[m->count++];
  *pending = (ibx_sim_pending){.number = number,
                               .insn = x->insn,
                               .engine = (uint8_t)x->engine,
                               .dst = plan->dst,
                               .rounder = plan->rounder};
  memcpy(pending->dst_step, plan->dst_step, sizeof(pending->dst_step));
}

ibx_status ibx_sim_join(const ibx_exec *x) {
  ibx_sim_meetings *m = &x->sim->meetings;
  unsigned engine = (unsigned)x->engine;
  uint32_t insn = (uint32_t)(x->seq->pc - 1);
  bool is_barrier =
      ibx_insn_collective(x->insn->opcode) == IBX_COLLECTIVE_BARRIER;
  ibx_dma_plan plan = {.dst = NULL};
  uint8_t *data = NULL;
  if (!is_barrier) {
    IBX_TRY(ibx_dma_plan_make(x, &plan));
    IBX_TRY(copy_source(x, &plan, &data));
  }
  lock(m);
  uint64_t number = m->joined[engine];
  const ibx_sim_part *stray = find_stray(m, engine, number, insn);
  uint32_t other = stray != NULL ? stray->insn : insn;
  if (stray == NULL) {
    *part_of(m, engine, number) = (ibx_sim_part){.data = data, .insn = insn};
    m->joined[engine]++;
  }
  unlock(m);
  if (stray != NULL) {
    free(data);
    return IBX_EXEC_FAIL(x, "core %u meets at instruction %u, another at %u",
                         m->rank, insn, other);
  }
  m->open[engine]++;
  m->in_barrier[engine] = is_barrier;
  add_pending(m, x, &plan, number);
  return IBX_OK;
}

bool ibx_sim_is_complete(const ibx_sim_meetings *m, size_t pending) {
  const ibx_sim_pending *p = &m->pending[pending];
  for (uint32_t r = 0; r < m->cores; r++) {
    if (m->peers[r]->meetings.joined[p->engine] <= p->number) return false;
  }
  return true;
}

// Frees what this core was the last to need.
static void let_go(const ibx_sim_meetings *m, const ibx_sim_pending *p) {
  for (uint32_t r = 0; r < m->cores; r++) {
    ibx_sim_part *part = part_of(&m->peers[r]->meetings, p->engine, p->number);
    if (++part->taken < m->cores) continue;
    free(part->data);
    part->data = NULL;
  }
}

void ibx_sim_take(ibx_sim *sim, size_t pending) {
  ibx_sim_meetings *m = &sim->meetings;
  ibx_sim_pending p = m->pending[pending];
  const uint8_t *parts[IBX_SIM_CORES];
  lock(m);
  for (uint32_t r = 0; r < m->cores; r++) {
    parts[r] = part_of(&m->peers[r]->meetings, p.engine, p.number)->data;
  }
  unlock(m);
  if (p.dst != NULL) ibx_sim_combine(&p, m->rank, m->cores, parts);
  lock(m);
  let_go(m, &p);
  unlock(m);
  m->count--;
  memmove(&m->pending[pending], &m->pending[pending + 1],
          (m->count - pending) * sizeof(p));
  m->open[p.engine]--;
  m->in_barrier[p.engine] = false;
  sim->semaphores[p.insn->signal_semaphore] += p.insn->signal_value;
}

void ibx_sim_leave(ibx_sim_meetings *m) {
  for (size_t e = 0; e < IBX_ENGINE_COUNT; e++) {
    for (size_t i = 0; i < IBX_SIM_PARTS; i++) {
      free(m->parts[e][i].data);
      m->parts[e][i] = (ibx_sim_part){.data = NULL};
    }
    m->joined[e] = 0;
    m->open[e] = 0;
    m->in_barrier[e] = false;
  }
  m->count = 0;
  m->batch = 0;
  m->picked = IBX_SIM_NOT_PICKED;
}

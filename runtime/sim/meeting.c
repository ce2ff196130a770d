// SPDX-License-Identifier: Apache-2.0
//
// Meetings of cores. In: an instruction that a core comes to. Out: its source
// where the other cores find it, and, when its group has come, its destination.
// Holds: under the mutex of the peers a core's numbers are whole; a part is not
// changed between its join and the last take.

#include "sim/meeting.h"

#include "sim/state.h"
#include "sim/view.h"

#include <stdlib.h>
#include <string.h>

static void lock(const ibx_sim_meetings *m) {
  if (m->mutex != NULL) pthread_mutex_lock(m->mutex);
}

static void unlock(const ibx_sim_meetings *m) {
  if (m->mutex != NULL) pthread_mutex_unlock(m->mutex);
}

// All forms that groups of so many cores have, counted up to this one.
static uint8_t form_of(const ibx_core_group *group, uint32_t cores) {
  uint8_t form = 0;
  for (uint32_t size = 1; size <= cores; size++) {
    uint32_t strides = size == 1 ? 1 : cores / size;
    for (uint32_t stride = 1; stride <= strides; stride++) {
      if (cores % (size * stride) != 0) continue;
      if (size == group->cores && stride == group->stride) return form;
      form++;
    }
  }
  return form;
}

static ibx_sim_part *part_of(ibx_sim_meetings *m, const ibx_sim_pending *p) {
  return &m->parts[p->form][p->engine][p->number % IBX_SIM_PARTS];
}

static ibx_sim_meetings *member(const ibx_sim_meetings *m,
                                const ibx_core_group *group, uint32_t index) {
  return &m->peers[group->first + index * group->stride]->meetings;
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

// What this core brings: metadata, then the source.
static ibx_status copy_source(const ibx_exec *x, const ibx_dma_plan *plan,
                              uint8_t **out) {
  ibx_operand_shape shape = ibx_insn_shape(x->insn, 1);
  uint64_t elements = 1, size;
  size_t bytes = ibx_dtype_bytes(plan->src_dtype);
  size_t head = ibx_sim_metadata_words(x->insn) * sizeof(uint32_t);
  for (size_t d = 0; d < IBX_DIMS; d++) {
    elements *= shape.num[d];
  }
  uint8_t *data = ibx_mul_size(elements, bytes, &size) && size < SIZE_MAX - head
                      ? malloc(head + (size_t)size)
                      : NULL;
  if (data == NULL) {
    return IBX_FAIL(x->err, OUT_OF_MEMORY, "no memory for %llu elements",
                    (unsigned long long)elements);
  }
  ibx_status status = ibx_sim_read_metadata(x, (uint32_t *)(void *)data);
  if (status != IBX_OK) {
    free(data);
    return status;
  }
  pack(plan, &shape, elements, bytes, data + head);
  *out = data;
  return IBX_OK;
}

// Where the metadata of `x` tell what was received.
static void set_received(const ibx_exec *x, ibx_sim_pending *p) {
  size_t words = ibx_sim_metadata_words(x->insn);
  ibx_sim_view view;
  if (words == 0) return;
  // copy_source() has read it.
  if (ibx_sim_view_open(x, 2, &view) != IBX_OK) return;
  p->received = view.base + words * view.partition_bytes;
  p->partition_bytes = view.partition_bytes;
}

// Another core that has come to another instruction as its meeting of the same
// number, or NULL.
static const ibx_sim_part *find_stray(const ibx_sim_meetings *m,
                                      const ibx_sim_pending *p, uint32_t insn) {
  for (uint32_t i = 0; i < p->group.cores; i++) {
    ibx_sim_meetings *peer = member(m, &p->group, i);
    if (peer == m || peer->joined[p->form][p->engine] <= p->number) continue;
    const ibx_sim_part *part = part_of(peer, p);
    if (part->insn != insn) return part;
  }
  return NULL;
}

static ibx_sim_pending make_pending(const ibx_sim_meetings *m,
                                    const ibx_exec *x,
                                    const ibx_dma_plan *plan) {
  ibx_sim_pending p = {.insn = x->insn,
                       .group = ibx_insn_group(x->insn, m->cores, m->rank),
                       .engine = (uint8_t)x->engine,
                       .dst = plan->dst,
                       .rounder = plan->rounder};
  p.form = form_of(&p.group, m->cores);
  p.number = m->joined[p.form][p.engine];
  memcpy(p.dst_step, plan->dst_step, sizeof(p.dst_step));
  set_received(x, &p);
  return p;
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
  ibx_sim_pending pending = make_pending(m, x, &plan);
  lock(m);
  const ibx_sim_part *stray = find_stray(m, &pending, insn);
  uint32_t other = stray != NULL ? stray->insn : insn;
  if (stray == NULL) {
    *part_of(m, &pending) = (ibx_sim_part){.data = data, .insn = insn};
    m->joined[pending.form][engine]++;
  }
  unlock(m);
  if (stray != NULL) {
    free(data);
    return IBX_EXEC_FAIL(x, "core %u meets at instruction %u, another at %u",
                         m->rank, insn, other);
  }
  m->open[engine]++;
  m->in_barrier[engine] = is_barrier;
  m->pending[m->count++] = pending;
  return IBX_OK;
}

bool ibx_sim_is_complete(const ibx_sim_meetings *m, size_t pending) {
  const ibx_sim_pending *p = &m->pending[pending];
  for (uint32_t i = 0; i < p->group.cores; i++) {
    const ibx_sim_meetings *peer = member(m, &p->group, i);
    if (peer->joined[p->form][p->engine] <= p->number) return false;
  }
  return true;
}

// Frees what this core was the last to need.
static void let_go(const ibx_sim_meetings *m, const ibx_sim_pending *p) {
  for (uint32_t i = 0; i < p->group.cores; i++) {
    ibx_sim_part *part = part_of(member(m, &p->group, i), p);
    if (++part->taken < p->group.cores) continue;
    free(part->data);
    part->data = NULL;
  }
}

void ibx_sim_take(ibx_sim *sim, size_t pending) {
  ibx_sim_meetings *m = &sim->meetings;
  ibx_sim_pending p = m->pending[pending];
  const uint8_t *parts[IBX_SIM_CORES];
  lock(m);
  for (uint32_t i = 0; i < p.group.cores; i++) {
    parts[i] = part_of(member(m, &p.group, i), &p)->data;
  }
  unlock(m);
  if (p.dst != NULL) ibx_sim_combine(&p, parts);
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
    for (size_t f = 0; f < IBX_SIM_FORMS; f++) {
      for (size_t i = 0; i < IBX_SIM_PARTS; i++) {
        free(m->parts[f][e][i].data);
        m->parts[f][e][i] = (ibx_sim_part){.data = NULL};
      }
      m->joined[f][e] = 0;
    }
    m->open[e] = 0;
    m->in_barrier[e] = false;
  }
  m->count = 0;
  m->batch = 0;
  m->picked = IBX_SIM_NOT_PICKED;
}

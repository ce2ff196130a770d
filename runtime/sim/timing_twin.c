// SPDX-License-Identifier: Apache-2.0
//
// Twins: instructions that differ in nothing but the addresses of their operands
// and their semaphores. In: two instructions, the first of them planned. Out: whether the second costs the same. Everything that is not known
// to be without influence counts, so that a member of ibx_insn that is added one
// day makes no twins of what it tells apart.

#include "timing_plan.h"

#include <string.h>

// Members of ibx_insn before and behind waits and signals, which do not count.
static const size_t shape_start = offsetof(ibx_insn, num);
static const size_t shape_end = offsetof(ibx_insn, wait_value);
static const size_t rest_start = offsetof(ibx_insn, opcode);
static_assert(offsetof(ibx_insn, wait_semaphore) < offsetof(ibx_insn, opcode) &&
                  offsetof(ibx_insn, signal_semaphore) <
                      offsetof(ibx_insn, opcode) &&
                  offsetof(ibx_insn, signal_value) < offsetof(ibx_insn, opcode),
              "waits and signals stand before the opcode");

static bool is_equal(const ibx_insn *a, const ibx_insn *b, size_t start,
                     size_t end) {
  return memcmp((const char *)a + start, (const char *)b + start,
                end - start) == 0;
}

// Where a buffer lies is without influence, in which memory is not.
static bool are_twins(const ibx_planner *p, const ibx_operand *a,
                      const ibx_operand *b) {
  bool is_absent = a->buffer == IBX_NO_BUFFER || b->buffer == IBX_NO_BUFFER;
  if (is_absent) return a->buffer == b->buffer;
  size_t count = p->entry->buffer_count;
  if (a->buffer >= count || b->buffer >= count) return false;
  const ibx_buffer_place *at = &p->places[a->buffer];
  const ibx_buffer_place *bt = &p->places[b->buffer];
  return at->space == bt->space &&
         at->partition + a->partition == bt->partition + b->partition &&
         a->dtype == b->dtype &&
         memcmp(a->step, b->step, sizeof(a->step)) == 0 &&
         memcmp(a->partition_step, b->partition_step,
                sizeof(a->partition_step)) == 0;
}

// What programs vary most: opening, middle and end of an accumulation group,
// sizes at the edge of a tensor, queues in turn.
size_t ibx_plan_twin_place(const ibx_insn *insn) {
  uint32_t sum = insn->opcode * UINT32_C(0x9e3779b1);
  sum ^= (insn->flags + 256u * insn->queue) * UINT32_C(0x85ebca6b);
  for (size_t d = 0; d < IBX_DIMS; d++) {
    sum = (sum ^ insn->num[d]) * UINT32_C(0xc2b2ae35);
  }
  sum ^= (insn->partitions + 256u * insn->columns) * UINT32_C(0x27d4eb2f);
  return (sum ^ sum >> 15) * UINT32_C(0x9e3779b1) >> 24;
}

bool ibx_plan_is_twin(const ibx_planner *p, const ibx_insn *planned,
                      const ibx_insn *insn) {
  if (!is_equal(planned, insn, shape_start, shape_end)) return false;
  if (!is_equal(planned, insn, rest_start, sizeof(*insn))) return false;
  for (size_t i = 0; i < IBX_OPERANDS; i++) {
    if (!are_twins(p, &planned->operand[i], &insn->operand[i])) return false;
  }
  return true;
}

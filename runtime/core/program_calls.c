// SPDX-License-Identifier: Apache-2.0
//
// What an entry does outside of the engines' own instructions. Comes in: a
// checked program. Goes out: how often it leaves the device, which nodes call
// the library of GpSimd, and how long a call takes.

#include "core/program_internal.h"

size_t ibx_entry_host_segments(const ibx_entry *entry) {
  size_t count = 0;
  for (size_t i = 0; entry->steps && i < entry->steps->step_count; i++) {
    const ibx_step *steps = entry->steps->steps;
    count += steps[i].call && (i == 0 || !steps[i - 1].call);
  }
  return count;
}

uint64_t ibx_library_call_ps(const ibx_machine *machine,
                             const ibx_buffer_decl *buffers,
                             const ibx_insn *call) {
  ibx_buffer_place places[IBX_OPERANDS] = {{0}};
  ibx_insn insn = *call;
  for (uint16_t slot = 0; slot < IBX_OPERANDS; slot++) {
    uint32_t buffer = call->operand[slot].buffer;
    if (buffer == IBX_NO_BUFFER) continue;
    places[slot] = buffers[buffer].place;
    insn.operand[slot].buffer = slot;
  }
  ibx_insn_cost cost =
      ibx_insn_cost_get(machine, IBX_ENGINE_GPSIMD, &insn, places);
  return ibx_machine_cycles_to_ps(machine, IBX_ENGINE_GPSIMD,
                                  cost.issue_cycles);
}

// Calls of one node mostly stand together, so looking back finds them at once.
static size_t count_library_nodes(const ibx_stream *stream) {
  size_t count = 0;
  for (size_t i = 0; i < stream->count; i++) {
    bool is_new = ibx_insn_is_call(stream->insns[i].opcode);
    for (size_t j = i; is_new && stream->nodes && j-- > 0;) {
      is_new = !ibx_insn_is_call(stream->insns[j].opcode) ||
               stream->nodes[j] != stream->nodes[i];
    }
    count += is_new;
  }
  return count;
}

size_t ibx_entry_library_nodes(const ibx_program_data *program,
                               const ibx_entry *entry) {
  size_t count = count_library_nodes(&entry->streams[IBX_ENGINE_GPSIMD]);
  for (size_t i = 0; entry->steps && i < entry->steps->step_count; i++) {
    const ibx_step *step = &entry->steps->steps[i];
    if (step->call) continue;
    const ibx_entry *segment = &program->entries[step->segment];
    count += count_library_nodes(&segment->streams[IBX_ENGINE_GPSIMD]);
  }
  return count;
}

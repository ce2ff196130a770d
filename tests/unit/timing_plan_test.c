// SPDX-License-Identifier: Apache-2.0
//
// An instruction is planned the same whether one like it stands before it or
// not: for every opcode, every field of its format is changed, and the changed
// instruction is planned alone and behind the one that it was made from.

#include "sim/timing.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

enum { BUFFERS = 8, VALUES = 8 };

static ibx_buffer_decl buffers[BUFFERS];

static void init_buffers(void) {
  const ibx_space spaces[] = {IBX_SPACE_SBUF, IBX_SPACE_PSUM, IBX_SPACE_HBM};
  for (size_t i = 0; i < BUFFERS; i++) {
    buffers[i] = (ibx_buffer_decl){
        .place = {.space = spaces[i % 3],
                  .partition = (uint8_t)(i < 5 || i % 3 == 2 ? 0 : 32),
                  .partitions = 96,
                  .offset = 2048 * i,
                  .bytes = 65536},
        .name = "b"};
  }
}

typedef struct planned {
  ibx_status status;
  ibx_timed_insn timed;
  ibx_timed_box boxes[IBX_OPERANDS];
  ibx_timed_transfer transfer;
  uint64_t piece_ps[16];
} planned;

// Plans one or two instructions; what becomes of the last.
static planned plan(const ibx_machine *machine, ibx_engine engine,
                    ibx_insn *insns, size_t count) {
  ibx_entry entry = {
      .name = "main", .buffers = buffers, .buffer_count = BUFFERS};
  entry.streams[engine] = (ibx_stream){.insns = insns, .count = count};
  ibx_timing_plan made;
  planned out;
  memset(&out, 0, sizeof(out));
  out.status = ibx_timing_plan_init(machine, &entry, 0, &made, NULL);
  if (out.status == IBX_OK) {
    out.timed = made.insns[engine][count - 1];
    for (size_t b = 0; b < out.timed.box_count; b++) {
      const ibx_timed_box *box = &made.boxes[out.timed.first_box + b];
      out.boxes[b].low = box->low;
      out.boxes[b].high = box->high;
      out.boxes[b].first = box->first;
      out.boxes[b].last = box->last;
      out.boxes[b].space = box->space;
      out.boxes[b].slot = box->slot;
      out.boxes[b].written = box->written;
    }
    if (out.timed.kind == IBX_TIMED_DMA) {
      const ibx_timed_transfer *t = &made.transfers[out.timed.other];
      out.transfer.read_bytes = t->read_bytes;
      out.transfer.write_bytes = t->write_bytes;
      out.transfer.ring_bytes = t->ring_bytes;
      out.transfer.piece_count = t->piece_count;
      memcpy(out.piece_ps, made.piece_ps + t->first_piece,
             t->piece_count * sizeof(*out.piece_ps));
    }
    // Indices depend on what stands before.
    out.timed.first_box = 0;
    out.timed.other = 0;
  }
  ibx_timing_plan_fini(&made);
  return out;
}

static void assert_same(const planned *alone, const planned *behind,
                        const ibx_insn_info *info, const char *field) {
  bool same = alone->status == behind->status;
  const ibx_timed_insn *a = &alone->timed, *b = &behind->timed;
  same = same && a->issue_ps == b->issue_ps && a->result_ps == b->result_ps &&
         a->busy_ps == b->busy_ps && a->count == b->count &&
         a->wait_value == b->wait_value && a->signal_value == b->signal_value &&
         a->wait_semaphore == b->wait_semaphore &&
         a->signal_semaphore == b->signal_semaphore &&
         a->box_count == b->box_count && a->kind == b->kind &&
         a->words == b->words && a->table == b->table && a->rows == b->rows &&
         a->banks == b->banks && a->spaces == b->spaces &&
         a->reg[0] == b->reg[0] && a->reg[1] == b->reg[1] &&
         a->queue == b->queue && a->is_made == b->is_made &&
         a->is_looped == b->is_looped;
  same =
      same && memcmp(alone->boxes, behind->boxes, sizeof(alone->boxes)) == 0 &&
      memcmp(&alone->transfer, &behind->transfer, sizeof(alone->transfer)) ==
          0 &&
      memcmp(alone->piece_ps, behind->piece_ps, sizeof(alone->piece_ps)) == 0;
  if (!same) fail_msg("%s: %s is planned as its twin", info->name, field);
}

// Operands that a plan accepts; the checker is not asked.
static ibx_insn make_insn(uint8_t opcode, const ibx_insn_info *info,
                          size_t variant) {
  ibx_insn insn = ibx_insn_make((ibx_opcode)opcode);
  bool is_dma = info->format == IBX_FORMAT_dma;
  for (size_t i = 0; i < IBX_OPERANDS; i++) {
    if (info->slot[i] == IBX_SLOT_NONE) continue;
    ibx_operand *operand = &insn.operand[i];
    operand->buffer = (uint16_t)((i + variant) % (is_dma ? 3 : 2));
    operand->offset = 64 * i;
    if (!ibx_slot_is_scalar(info->slot[i])) operand->dtype = IBX_DTYPE_F32;
    operand->step[IBX_DIMS - 1] = 1;
  }
  insn.partitions = 64;
  insn.columns = 64;
  insn.count = 7;
  insn.num[IBX_DIMS - 1] = 96;
  insn.num[IBX_DIMS - 2] = 3;
  insn.reg[0] = 1;
  return insn;
}

static void put(ibx_insn *insn, const ibx_field_info *field, uint64_t value) {
  memcpy((char *)insn + field->member_offset, &value, field->member_bytes);
}

static void try_field(const ibx_machine *machine, ibx_engine engine,
                      const ibx_insn *base, const ibx_insn_info *info,
                      const ibx_field_info *field) {
  if (strcmp(field->name, "opcode") == 0) return;
  const uint64_t values[VALUES] = {0, 1, 2, 3, 5, 33, 0x3f800000, 250};
  for (size_t i = 0; i < VALUES; i++) {
    if (field->width < 64 && values[i] >> field->width != 0) continue;
    ibx_insn pair[] = {*base, *base};
    put(&pair[1], field, values[i]);
    // A space of nothing, which the checker refuses, is not asked for.
    bool is_count = strncmp(field->name, "num[", 4) == 0;
    if (is_count && values[i] == 0) continue;
    ibx_insn changed = pair[1];
    planned alone = plan(machine, engine, &changed, 1);
    planned behind = plan(machine, engine, pair, 2);
    assert_same(&alone, &behind, info, field->name);
  }
}

static void try_opcode(const ibx_machine *machine, uint8_t opcode) {
  const ibx_insn_info *info = ibx_insn_get(opcode);
  if (!info || info->kind == IBX_KIND_LOOP) return; // has no end here
  if (info->kind == IBX_KIND_LOOP_END) return;
  const ibx_format formats[] = {info->format, IBX_FORMAT_looped};
  for (size_t variant = 0; variant < 3; variant++) {
    ibx_insn base = make_insn(opcode, info, variant);
    for (int e = 0; e < IBX_ENGINE_COUNT; e++) {
      if (!(info->engines >> e & 1)) continue;
      for (size_t f = 0; f < 2; f++) {
        size_t count;
        const ibx_field_info *fields = ibx_format_fields(formats[f], &count);
        if (f == 1) base.flags |= IBX_FLAG_LOOPED;
        for (size_t i = 0; i < count; i++) {
          try_field(machine, (ibx_engine)e, &base, info, &fields[i]);
        }
      }
    }
  }
}

static void every_field_counts_or_moves_addresses(void **state) {
  (void)state;
  init_buffers();
  const char *targets[] = {"ibx2", "ibx3", "ibx4"};
  for (size_t t = 0; t < 3; t++) {
    const ibx_machine *machine = ibx_machine_find(targets[t]);
    for (unsigned opcode = 0; opcode < 256; opcode++) {
      try_opcode(machine, (uint8_t)opcode);
    }
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_field_counts_or_moves_addresses),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

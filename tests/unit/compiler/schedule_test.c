// SPDX-License-Identifier: Apache-2.0
//
// Scheduling and synchronisation on random programs over small memories with
// much reuse. An oracle that shares nothing with the code lists every byte that
// each instruction touches and every order that the semaphores imply: steps
// that touch a byte must be ordered as in the program, and no wait between
// engines may be spared. The prover and the simulator must agree.

#include "codegen/mir.h"
#include "codegen/share.h"
#include "imbrex/prove.h"
#include "imbrex/sim.h"
#include "support/arena.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
  SBUF_ROW = 1024, ///< bytes of a partition that are used
  BANK_ROW = 256,
  BANKS = 4,
  PSUM_ROW = BANK_ROW * BANKS,
  HBM_BYTES = 8192,
  HBM_ALL = 4 * HBM_BYTES,
  SPACE_BITS = IBX_PARTITIONS * 1024, ///< of each of the three memories
  WORDS = 3 * SPACE_BITS / 64,
  BLOCK_WORDS = 64,
  MOST_BUFFERS = 64,
  MOST_STEPS = 1000
};

enum { INPUT, OUTPUT, SPILL_A, SPILL_B, FIRST_BANK };
enum { FIRST_TILE = FIRST_BANK + BANKS };

typedef struct touched {
  uint64_t reads[WORDS], writes[WORDS];
  bool blocks[WORDS / BLOCK_WORDS]; ///< that have any bit
} touched;

typedef struct bench {
  uint64_t random;
  const ibx_machine *machine;
  ibx_buffer_decl buffers[MOST_BUFFERS];
  ibx_buffer_place places[MOST_BUFFERS];
  size_t buffer_count;
  ibx_mir_step steps[MOST_STEPS];
  size_t step_count;
  touched *touched;              ///< of each step
  uint8_t owner[3 * SPACE_BITS]; ///< last buffer written there, plus 1
  bool is_streaming; ///< no DMA moves what an engine of the core made
  bool moves_most;   ///< most steps are DMAs
  ibx_arena arena;
  ibx_tensor_decl tensors[2];
  ibx_node_decl nodes[MOST_STEPS];
  ibx_entry entry;
  ibx_program_data program;
} bench;

static uint32_t below(bench *b, uint32_t limit) {
  b->random ^= b->random << 13;
  b->random ^= b->random >> 7;
  b->random ^= b->random << 17;
  return (uint32_t)(b->random >> 33) % limit;
}

// --- the bytes that an operand touches, one by one -------------------------------

static size_t bit_of(const bench *b, uint32_t buffer, int64_t partition,
                     int64_t offset) {
  const ibx_buffer_place *place = &b->places[buffer];
  int64_t p = partition + place->partition;
  int64_t at = offset + (int64_t)place->offset;
  assert_true(offset >= 0 && (uint64_t)offset < place->bytes);
  assert_true(p >= 0 && p < IBX_PARTITIONS);
  if (place->space == IBX_SPACE_HBM) return 2 * SPACE_BITS + (size_t)at;
  if (place->space == IBX_SPACE_SBUF) {
    return (size_t)(p * SBUF_ROW + at);
  }
  return SPACE_BITS + (size_t)(p * PSUM_ROW + at / 2048 * BANK_ROW + at % 2048);
}

typedef void (*visit_fn)(void *user, size_t bit);

static void visit_element(const bench *b, const ibx_operand *o, int64_t p,
                          int64_t offset, size_t bytes, visit_fn visit,
                          void *user) {
  for (size_t i = 0; i < bytes; i++) {
    visit(user, bit_of(b, o->buffer, p, offset + (int64_t)i));
  }
}

static void visit_space(const bench *b, const ibx_insn *insn, size_t slot,
                        uint32_t partitions, visit_fn visit, void *user) {
  const ibx_operand *o = &insn->operand[slot];
  size_t bytes = ibx_dtype_bytes((ibx_dtype)o->dtype);
  uint32_t i[IBX_DIMS] = {0};
  for (;;) {
    int64_t p = o->partition, offset = (int64_t)o->offset;
    for (size_t d = 0; d < IBX_DIMS; d++) {
      p += (int64_t)o->partition_step[d] * i[d];
      offset += (int64_t)o->step[d] * i[d] * (int64_t)bytes;
    }
    for (uint32_t q = 0; q < partitions; q++) {
      visit_element(b, o, p + q, offset, bytes, visit, user);
    }
    size_t d = IBX_DIMS;
    while (d-- > 0 && ++i[d] == insn->num[d])
      i[d] = 0;
    if (d == SIZE_MAX) return;
  }
}

static void visit_operand(const bench *b, const ibx_insn *insn, size_t slot,
                          visit_fn visit, void *user) {
  const ibx_insn_info *info = ibx_insn_get(insn->opcode);
  const ibx_operand *o = &insn->operand[slot];
  if (info->slot[slot] == IBX_SLOT_NONE || o->buffer == IBX_NO_BUFFER) return;
  if (info->slot[slot] == IBX_SLOT_SCALAR_READ) {
    for (uint32_t q = 0; q < insn->partitions; q++) {
      visit_element(b, o, o->partition + q, (int64_t)o->offset, 4, visit, user);
    }
    return;
  }
  bool is_product = insn->opcode == IBX_OP_multiply_moving && slot == 0;
  bool is_dma = info->format == IBX_FORMAT_dma;
  visit_space(b, insn, slot,
              is_dma       ? 1
              : is_product ? insn->columns
                           : insn->partitions,
              visit, user);
}

static bool is_written(const ibx_insn *insn, size_t slot) {
  ibx_slot_kind kind = ibx_insn_get(insn->opcode)->slot[slot];
  return kind == IBX_SLOT_WRITE || kind == IBX_SLOT_READ_WRITE;
}

static bool is_read(const ibx_insn *insn, size_t slot) {
  ibx_slot_kind kind = ibx_insn_get(insn->opcode)->slot[slot];
  return kind != IBX_SLOT_NONE && kind != IBX_SLOT_WRITE;
}

static void set_bit(void *user, size_t bit) {
  uint64_t *words = user;
  words[bit / 64] |= UINT64_C(1) << (bit % 64);
}

typedef struct owner_check {
  const bench *b;
  uint8_t owner;
  bool is_owned;
} owner_check;

static void check_owner(void *user, size_t bit) {
  owner_check *c = user;
  c->is_owned = c->is_owned && c->b->owner[bit] == c->owner;
}

static bool reads_what_was_written(const bench *b, const ibx_insn *insn) {
  for (size_t i = 0; i < IBX_OPERANDS; i++) {
    if (!is_read(insn, i) || insn->operand[i].buffer == IBX_NO_BUFFER) continue;
    owner_check c = {.b = b,
                     .owner = (uint8_t)(insn->operand[i].buffer + 1),
                     .is_owned = true};
    visit_operand(b, insn, i, check_owner, &c);
    if (!c.is_owned) return false;
  }
  return true;
}

typedef struct owner_set {
  bench *b;
  uint8_t owner;
} owner_set;

static void set_owner(void *user, size_t bit) {
  owner_set *s = user;
  s->b->owner[bit] = s->owner;
}

// --- random programs -----------------------------------------------------------

static uint32_t add_buffer(bench *b, ibx_buffer_kind kind, ibx_space space,
                           uint64_t offset, uint64_t bytes) {
  assert_true(b->buffer_count < MOST_BUFFERS);
  uint16_t at = (uint16_t)b->buffer_count++;
  b->places[at] = (ibx_buffer_place){
      .space = space,
      .partitions = space == IBX_SPACE_HBM ? 1 : IBX_PARTITIONS,
      .offset = offset,
      .bytes = bytes};
  b->buffers[at] =
      (ibx_buffer_decl){.place = b->places[at],
                        .name = ibx_arena_format(&b->arena, "buffer%u", at),
                        .kind = kind};
  return at;
}

static bench *bench_create(ibx_target target, uint64_t seed) {
  bench *b = calloc(1, sizeof(*b));
  assert_non_null(b);
  b->touched = calloc(MOST_STEPS, sizeof(*b->touched));
  assert_non_null(b->touched);
  b->random = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
  b->machine = ibx_machine_get(target);
  add_buffer(b, IBX_BUFFER_INPUT, IBX_SPACE_HBM, 0, HBM_BYTES);
  add_buffer(b, IBX_BUFFER_OUTPUT, IBX_SPACE_HBM, HBM_BYTES, HBM_BYTES);
  // Two spills that share one half of their bytes.
  add_buffer(b, IBX_BUFFER_SCRATCH, IBX_SPACE_HBM, 2 * HBM_BYTES, HBM_BYTES);
  add_buffer(b, IBX_BUFFER_SCRATCH, IBX_SPACE_HBM, 2 * HBM_BYTES + 4096,
             HBM_BYTES);
  for (uint64_t i = 0; i < BANKS; i++) {
    add_buffer(b, IBX_BUFFER_SCRATCH, IBX_SPACE_PSUM, 2048 * i, BANK_ROW);
  }
  size_t tiles = 4 + below(b, 12);
  for (size_t i = 0; i < tiles; i++) {
    uint64_t bytes = 64u << below(b, 3);
    uint64_t offset = 32 * below(b, (uint32_t)((SBUF_ROW - bytes) / 32 + 1));
    add_buffer(b, IBX_BUFFER_SCRATCH, IBX_SPACE_SBUF, offset, bytes);
  }
  memset(b->owner + 2 * SPACE_BITS, INPUT + 1, HBM_BYTES);
  return b;
}

static void bench_destroy(bench *b) {
  ibx_arena_reset(&b->arena);
  free(b->touched);
  free(b);
}

// The part of a tile that an instruction works on.
typedef struct part {
  uint32_t buffer;
  uint8_t partition;
  uint8_t partitions;
  uint64_t offset;
  int32_t step;
  uint32_t n;
} part;

static void pick_partitions(bench *b, part *p) {
  static const uint8_t counts[] = {128, 128, 64, 32};
  p->partitions = counts[below(b, 4)];
  p->partition = (uint8_t)(p->partitions * below(b, 128u / p->partitions));
}

// Elements of `bytes`; every second one at times, so that tiles interleave.
static void pick_bytes(bench *b, part *p, uint32_t bytes, uint32_t most) {
  uint32_t room = (uint32_t)b->places[p->buffer].bytes / bytes;
  p->step = below(b, 3) == 0 ? 2 : 1;
  uint32_t first = below(b, 3) == 0 ? below(b, room / 2) : 0;
  if (p->step == 2) first = below(b, 2);
  p->offset = (uint64_t)first * bytes;
  p->n = (room - first + (uint32_t)p->step - 1) / (uint32_t)p->step;
  if (below(b, 3) == 0) p->n = 1 + below(b, p->n);
  if (p->n > most) p->n = most;
}

static part pick_tile(bench *b, uint32_t bytes) {
  uint32_t tiles = (uint32_t)b->buffer_count - FIRST_TILE;
  part p = {.buffer = (uint16_t)(FIRST_TILE + below(b, tiles))};
  pick_partitions(b, &p);
  pick_bytes(b, &p, bytes, 128);
  return p;
}

// Another tile with as many partitions and elements, or fewer elements.
static part pick_like(bench *b, part *like, uint32_t bytes) {
  part p = pick_tile(b, bytes);
  p.partitions = like->partitions;
  p.partition = (uint8_t)(p.partitions * below(b, 128u / p.partitions));
  if (p.n > like->n) p.n = like->n;
  like->n = p.n;
  return p;
}

static void set_operand(ibx_insn *insn, size_t slot, const part *p,
                        ibx_dtype dtype) {
  ibx_operand *o = &insn->operand[slot];
  o->buffer = p->buffer;
  o->partition = p->partition;
  o->offset = p->offset;
  o->dtype = (uint8_t)dtype;
  o->step[4] = p->step;
}

static ibx_mir_step make_step(const ibx_insn *insn, ibx_engine engine) {
  ibx_mir_step step = {.variant_count = 1};
  step.variant[0].insn = *insn;
  step.variant[0].engine = engine;
  step.is_dma = ibx_insn_get(insn->opcode)->format == IBX_FORMAT_dma;
  return step;
}

static void add_variant(bench *b, ibx_mir_step *step, const ibx_insn *insn,
                        ibx_engine engine) {
  if (below(b, 3) == 0) return;
  step->variant[step->variant_count].insn = *insn;
  step->variant[step->variant_count++].engine = engine;
}

static bool touch(const bench *b, const ibx_insn *insn, touched *t) {
  memset(t, 0, sizeof(*t));
  bool overlaps = false;
  for (size_t i = 0; i < IBX_OPERANDS; i++) {
    if (is_read(insn, i)) visit_operand(b, insn, i, set_bit, t->reads);
    if (is_written(insn, i)) visit_operand(b, insn, i, set_bit, t->writes);
  }
  for (size_t i = 0; i < WORDS; i++) {
    if (t->reads[i] | t->writes[i]) t->blocks[i / BLOCK_WORDS] = true;
    overlaps = overlaps || (t->reads[i] & t->writes[i]);
  }
  return !overlaps;
}

// Adds the step when it is valid here: what it reads was written through the
// same buffer, and its pieces do not depend on each other.
static bool add_step(bench *b, const ibx_mir_step *step) {
  assert_true(b->step_count < MOST_STEPS);
  const ibx_insn *insn = &step->variant[0].insn;
  if (!reads_what_was_written(b, insn)) return false;
  if (!touch(b, insn, &b->touched[b->step_count])) return false;
  for (size_t i = 0; i < IBX_OPERANDS; i++) {
    if (!is_written(insn, i)) continue;
    owner_set s = {.b = b, .owner = (uint8_t)(insn->operand[i].buffer + 1)};
    visit_operand(b, insn, i, set_owner, &s);
  }
  b->steps[b->step_count] = *step;
  b->steps[b->step_count].node = (uint32_t)b->step_count;
  b->step_count++;
  return true;
}

static void add_memset(bench *b) {
  part dst = pick_tile(b, 4);
  ibx_insn insn = ibx_insn_make(IBX_OP_memset);
  set_operand(&insn, 0, &dst, IBX_DTYPE_F32);
  insn.partitions = dst.partitions;
  insn.num[4] = dst.n;
  insn.imm[0] = (float)below(b, 100);
  ibx_mir_step step = make_step(&insn, IBX_ENGINE_VECTOR);
  add_variant(b, &step, &insn, IBX_ENGINE_GPSIMD);
  add_step(b, &step);
}

static void add_copy(bench *b) {
  part dst = pick_tile(b, 4);
  part src = pick_like(b, &dst, 4);
  ibx_insn insn = ibx_insn_make(IBX_OP_tensor_copy);
  set_operand(&insn, 0, &dst, IBX_DTYPE_F32);
  set_operand(&insn, 1, &src, IBX_DTYPE_F32);
  insn.partitions = dst.partitions;
  insn.num[4] = dst.n;
  ibx_mir_step step = make_step(&insn, IBX_ENGINE_VECTOR);
  add_variant(b, &step, &insn, IBX_ENGINE_SCALAR);
  add_variant(b, &step, &insn, IBX_ENGINE_GPSIMD);
  add_step(b, &step);
}

static void add_sum(bench *b) {
  part dst = pick_tile(b, 4);
  part left = pick_like(b, &dst, 4);
  part right = pick_like(b, &left, 4);
  ibx_insn insn = ibx_insn_make(IBX_OP_tensor_tensor);
  set_operand(&insn, 0, &dst, IBX_DTYPE_F32);
  set_operand(&insn, 1, &left, IBX_DTYPE_F32);
  set_operand(&insn, 2, &right, IBX_DTYPE_F32);
  insn.op[0] = IBX_ALU_ADD;
  insn.partitions = dst.partitions;
  insn.num[4] = right.n;
  ibx_mir_step step = make_step(&insn, IBX_ENGINE_VECTOR);
  add_step(b, &step);
}

static void add_activation(bench *b) {
  static const uint8_t functions[] = {IBX_ACT_RELU, IBX_ACT_EXP, IBX_ACT_GELU,
                                      IBX_ACT_COPY};
  part dst = pick_tile(b, 4);
  part src = pick_like(b, &dst, 4);
  part bias = pick_like(b, &src, 4);
  if (below(b, 2)) {
    src = (part){.buffer = (uint16_t)(FIRST_BANK + below(b, BANKS)),
                 .partition = dst.partition,
                 .partitions = dst.partitions,
                 .step = 1,
                 .n = bias.n};
    if (src.n > 32) src.n = 32;
  }
  ibx_insn insn = ibx_insn_make(IBX_OP_activation);
  set_operand(&insn, 0, &dst, IBX_DTYPE_F32);
  set_operand(&insn, 1, &src, IBX_DTYPE_F32);
  insn.imm[1] = 1.0f;
  if (below(b, 2)) {
    set_operand(&insn, 2, &bias, IBX_DTYPE_NONE);
    insn.operand[2].step[4] = 0;
  }
  insn.op[0] = functions[below(b, 4)];
  insn.partitions = dst.partitions;
  insn.num[4] = src.n < bias.n ? src.n : bias.n;
  ibx_mir_step step = make_step(&insn, IBX_ENGINE_SCALAR);
  add_step(b, &step);
}

static void set_dma_operand(ibx_insn *insn, size_t slot, const part *p,
                            bool is_hbm) {
  set_operand(insn, slot, p, IBX_DTYPE_F32);
  if (is_hbm) {
    insn->operand[slot].step[3] = (int32_t)p->n * p->step;
  } else {
    insn->operand[slot].partition_step[3] = 1;
  }
}

static part pick_hbm(bench *b, uint32_t buffer, const part *like) {
  uint32_t most = like->partitions * like->n * 2 * 4;
  part p = {.buffer = buffer, .n = like->n, .step = 1};
  if (below(b, 4) == 0) p.step = 2;
  p.offset = most < HBM_BYTES ? 4 * below(b, (HBM_BYTES - most) / 4) : 0;
  if (most > HBM_BYTES) p.step = 1;
  return p;
}

static void add_dma(bench *b) {
  part dst = pick_tile(b, 4);
  if (dst.n > 16) dst.n = 16;
  part src = pick_like(b, &dst, 4);
  uint32_t kind = b->is_streaming ? 2 * below(b, 2) : below(b, 5);
  ibx_insn insn = ibx_insn_make(IBX_OP_dma_copy);
  bool from_hbm = kind <= 1, to_hbm = kind == 2 || kind == 3;
  uint16_t spill = (uint16_t)(SPILL_A + below(b, 2));
  if (from_hbm) src = pick_hbm(b, kind == 0 ? INPUT : spill, &dst);
  if (to_hbm) dst = pick_hbm(b, kind == 2 ? OUTPUT : spill, &src);
  set_dma_operand(&insn, 0, &dst, to_hbm);
  set_dma_operand(&insn, 1, &src, from_hbm);
  insn.partitions = 1;
  insn.num[3] = to_hbm ? src.partitions : dst.partitions;
  insn.num[4] = to_hbm ? src.n : dst.n;
  ibx_mir_step step = make_step(&insn, IBX_ENGINE_SYNC);
  add_step(b, &step);
}

// One matmul of a group; both are valid or none is added.
static bool add_product(bench *b, const part *stationary, const part *moving,
                        const part *bank, unsigned flags) {
  ibx_insn load = ibx_insn_make(IBX_OP_load_stationary);
  set_operand(&load, 1, stationary, IBX_DTYPE_BF16);
  load.partitions = stationary->partitions;
  load.columns = (uint8_t)stationary->n;
  load.num[4] = stationary->n;
  ibx_insn multiply = ibx_insn_make(IBX_OP_multiply_moving);
  set_operand(&multiply, 0, bank, IBX_DTYPE_F32);
  set_operand(&multiply, 1, moving, IBX_DTYPE_BF16);
  multiply.partitions = moving->partitions;
  multiply.columns = (uint8_t)stationary->n;
  multiply.num[4] = moving->n;
  multiply.flags = (uint8_t)flags;
  if (!reads_what_was_written(b, &load) ||
      !reads_what_was_written(b, &multiply)) {
    return false;
  }
  ibx_mir_step step = make_step(&load, IBX_ENGINE_TENSOR);
  step.glued = true;
  add_step(b, &step);
  step = make_step(&multiply, IBX_ENGINE_TENSOR);
  return add_step(b, &step);
}

static void add_matmul(bench *b) {
  part stationary = pick_tile(b, 2);
  stationary.n = stationary.n > 64 ? 128 : stationary.n > 32 ? 64 : 32;
  if (stationary.n * 2 * (uint32_t)stationary.step + stationary.offset >
      b->places[stationary.buffer].bytes) {
    return;
  }
  part moving = pick_like(b, &stationary, 2);
  stationary.n = stationary.n > 32 ? stationary.n : 32;
  if (stationary.n != 32 && stationary.n != 64 && stationary.n != 128) {
    stationary.n = 32;
  }
  moving.partition = stationary.partition;
  if (moving.n > 32) moving.n = 32;
  part bank = {.buffer = (uint16_t)(FIRST_BANK + below(b, BANKS)),
               .step = 1,
               .offset = below(b, 2) * 128,
               .n = moving.n};
  bool is_long = below(b, 2);
  if (!add_product(b, &stationary, &moving, &bank,
                   is_long ? 0 : IBX_FLAG_GROUP_END)) {
    return;
  }
  if (is_long) {
    bool is_added = add_product(b, &stationary, &moving, &bank,
                                IBX_FLAG_ACCUMULATE | IBX_FLAG_GROUP_END);
    assert_true(is_added);
  }
}

// Every byte of an output has to be written.
static void add_output(bench *b) {
  part all = {.buffer = OUTPUT, .step = 1, .n = HBM_BYTES / 4};
  ibx_insn insn = ibx_insn_make(IBX_OP_dma_copy);
  set_operand(&insn, 0, &all, IBX_DTYPE_F32);
  all.buffer = INPUT;
  set_operand(&insn, 1, &all, IBX_DTYPE_F32);
  insn.num[4] = all.n;
  ibx_mir_step step = make_step(&insn, IBX_ENGINE_SYNC);
  bool is_added = add_step(b, &step);
  assert_true(is_added);
}

static void make_steps(bench *b, size_t count) {
  add_output(b);
  while (b->step_count < count) {
    switch (below(b, b->moves_most ? 30 : 10)) {
    case 0: add_memset(b); break;
    case 1:
    case 2: add_copy(b); break;
    case 3: add_sum(b); break;
    case 4:
    case 5: add_activation(b); break;
    case 6:
    case 7: add_matmul(b); break;
    default: add_dma(b); break;
    }
  }
  for (size_t i = 0; i < b->step_count; i++) {
    ibx_error err = {0};
    ibx_insn insn = b->steps[i].variant[0].insn;
    ibx_status status =
        ibx_insn_check(b->machine, b->steps[i].variant[0].engine, &insn,
                       b->places, b->buffer_count, &err);
    if (status != IBX_OK) print_message("step %zu: %s\n", i, err.message);
    assert_int_equal(status, IBX_OK);
  }
}

static void finish_entry(bench *b, ibx_entry *entry) {
  for (uint16_t i = 0; i < 2; i++) {
    b->tensors[i] = (ibx_tensor_decl){.name = i == INPUT ? "x" : "y",
                                      .shape = {HBM_BYTES / 4},
                                      .buffer = i,
                                      .rank = 1,
                                      .dtype = IBX_DTYPE_F32};
  }
  entry->name = "test";
  entry->inputs = &b->tensors[INPUT];
  entry->outputs = &b->tensors[OUTPUT];
  entry->input_count = entry->output_count = 1;
  entry->buffers = b->buffers;
  entry->buffer_count = b->buffer_count;
}

static void schedule(bench *b) {
  ibx_mir mir = {.machine = b->machine,
                 .steps = b->steps,
                 .step_count = b->step_count,
                 .buffers = b->buffers,
                 .buffer_count = b->buffer_count};
  ibx_error err = {0};
  ibx_status status =
      ibx_codegen_schedule(&mir, &b->arena, b->entry.streams, &err);
  if (status != IBX_OK) print_message("%s\n", err.message);
  assert_int_equal(status, IBX_OK);
  finish_entry(b, &b->entry);
  for (size_t i = 0; i < b->step_count; i++) {
    b->nodes[i] = (ibx_node_decl){.name = "step", .op = "test"};
  }
  b->program = (ibx_program_data){.machine = b->machine,
                                  .nodes = b->nodes,
                                  .node_count = b->step_count,
                                  .model = "test",
                                  .options = "",
                                  .entries = &b->entry,
                                  .entry_count = 1};
}

// --- the oracle of order ---------------------------------------------------------

// Events: each instruction is one, each DMA's completion another.
typedef struct event {
  uint64_t *before; ///< bits of the events that are complete when it starts
  size_t done;      ///< event of its completion: itself or the DMA's
  size_t step;      ///< SIZE_MAX: none
} event;

typedef struct pending {
  size_t event;
  uint32_t value;
  bool is_dma;
} pending;

typedef struct history {
  const bench *b;
  event *events;
  size_t count, words;
  pending *queues[IBX_SEMAPHORES];
  size_t first[IBX_SEMAPHORES], last[IBX_SEMAPHORES];
  size_t last_wait[IBX_SEMAPHORES]; ///< event + 1
  // The wait that is left out.
  int skip_engine;
  size_t skip_insn;
  bool skipped_pair; ///< it takes signals of an engine, not of DMAs
  bool is_sound;
} history;

static bool has_bit(const uint64_t *words, size_t bit) {
  return words[bit / 64] >> (bit % 64) & 1;
}

static void follow(history *h, event *e, size_t other) {
  set_bit(e->before, other);
  const uint64_t *before = h->events[other].before;
  for (size_t i = 0; i < h->words; i++) {
    e->before[i] |= before[i];
  }
}

static size_t signalled(const history *h, unsigned s) {
  size_t sum = 0;
  for (size_t i = h->first[s]; i < h->last[s]; i++) {
    sum += h->queues[s][i].value;
  }
  return sum;
}

static void wait_for(history *h, event *e, const ibx_insn *insn, bool skips) {
  unsigned s = insn->wait_semaphore;
  size_t left = insn->wait_value;
  bool is_dma = h->queues[s][h->first[s]].is_dma;
  if (is_dma && signalled(h, s) != left) h->is_sound = false;
  while (left > 0) {
    pending *p = &h->queues[s][h->first[s]];
    // A wait takes signals whole.
    if (p->value > left) {
      h->is_sound = false;
      return;
    }
    left -= p->value;
    if (!skips) follow(h, e, p->event);
    h->first[s]++;
  }
  if (skips) h->skipped_pair = !is_dma;
  h->last_wait[s] = (size_t)(e - h->events) + 1;
}

static void signal(history *h, size_t at, const ibx_insn *insn) {
  unsigned s = insn->signal_semaphore;
  event *e = &h->events[at];
  bool is_dma = ibx_insn_get(insn->opcode)->format == IBX_FORMAT_dma;
  bool continues = h->first[s] < h->last[s] && !is_dma;
  // Else the last wait might take it.
  if (h->last_wait[s] != 0 && !continues && is_dma &&
      h->last_wait[s] - 1 != at && !has_bit(e->before, h->last_wait[s] - 1)) {
    h->is_sound = false;
  }
  h->queues[s][h->last[s]++] = (pending){
      .event = e->done, .value = insn->signal_value, .is_dma = is_dma};
}

static void add_event(history *h, int engine, size_t index, size_t previous) {
  const ibx_stream *stream = &h->b->entry.streams[engine];
  const ibx_insn *insn = &stream->insns[index];
  size_t at = h->count++;
  event *e = &h->events[at];
  e->done = at;
  e->step = insn->opcode == IBX_OP_semaphore ? SIZE_MAX : stream->nodes[index];
  if (previous != SIZE_MAX) follow(h, e, previous);
  bool skips = h->skip_engine == engine && h->skip_insn == index;
  if (insn->wait_value) wait_for(h, e, insn, skips);
  if (ibx_insn_get(insn->opcode)->format == IBX_FORMAT_dma) {
    size_t done = h->count++;
    follow(h, &h->events[done], at);
    h->events[done].step = SIZE_MAX;
    h->events[done].done = done;
    e->done = done;
  }
  if (insn->signal_value) signal(h, at, insn);
}

static history *history_create(const bench *b, int skip_engine,
                               size_t skip_insn) {
  size_t insns = 0;
  for (int e = 0; e < IBX_ENGINE_COUNT; e++) {
    insns += b->entry.streams[e].count;
  }
  history *h = calloc(1, sizeof(*h));
  assert_non_null(h);
  *h = (history){.b = b,
                 .words = (2 * insns + 63) / 64,
                 .skip_engine = skip_engine,
                 .skip_insn = skip_insn,
                 .is_sound = true};
  h->events = calloc(2 * insns + 1, sizeof(*h->events));
  assert_non_null(h->events);
  for (size_t i = 0; i < 2 * insns; i++) {
    h->events[i].before = calloc(h->words, sizeof(uint64_t));
    assert_non_null(h->events[i].before);
  }
  for (size_t s = 0; s < IBX_SEMAPHORES; s++) {
    h->queues[s] = calloc(insns + 1, sizeof(pending));
    assert_non_null(h->queues[s]);
  }
  return h;
}

static void history_destroy(history *h) {
  size_t insns = 0;
  for (int e = 0; e < IBX_ENGINE_COUNT; e++) {
    insns += h->b->entry.streams[e].count;
  }
  for (size_t i = 0; i < 2 * insns; i++) {
    free(h->events[i].before);
  }
  for (size_t s = 0; s < IBX_SEMAPHORES; s++) {
    free(h->queues[s]);
  }
  free(h->events);
  free(h);
}

// Runs the streams in some legal order; false on a deadlock or when semaphores
// do not end at 0.
static bool run_history(history *h) {
  const ibx_stream *streams = h->b->entry.streams;
  size_t at[IBX_ENGINE_COUNT] = {0};
  size_t previous[IBX_ENGINE_COUNT];
  for (int e = 0; e < IBX_ENGINE_COUNT; e++) {
    previous[e] = SIZE_MAX;
  }
  bool moved = true;
  while (moved) {
    moved = false;
    for (int e = 0; e < IBX_ENGINE_COUNT; e++) {
      if (at[e] == streams[e].count) continue;
      const ibx_insn *insn = &streams[e].insns[at[e]];
      if (signalled(h, insn->wait_semaphore) < insn->wait_value) continue;
      size_t added = h->count;
      add_event(h, e, at[e]++, previous[e]);
      previous[e] = added;
      moved = true;
    }
  }
  for (int e = 0; e < IBX_ENGINE_COUNT; e++) {
    if (at[e] != streams[e].count) return false;
  }
  for (unsigned s = 0; s < IBX_SEMAPHORES; s++) {
    if (signalled(h, s) != 0) return false;
  }
  return true;
}

static bool conflicts(const touched *a, const touched *b) {
  for (size_t i = 0; i < WORDS; i++) {
    if (i % BLOCK_WORDS == 0 &&
        !(a->blocks[i / BLOCK_WORDS] && b->blocks[i / BLOCK_WORDS])) {
      i += BLOCK_WORDS - 1;
      continue;
    }
    if ((a->writes[i] & (b->reads[i] | b->writes[i])) ||
        (a->reads[i] & b->writes[i])) {
      return true;
    }
  }
  return false;
}

// Every pair of steps that touch a byte, as bits: earlier * steps + later.
static uint64_t *find_conflicts(const bench *b) {
  uint64_t *bits = calloc((b->step_count * b->step_count + 63) / 64, 8);
  assert_non_null(bits);
  for (size_t i = 0; i < b->step_count; i++) {
    for (size_t j = i + 1; j < b->step_count; j++) {
      if (conflicts(&b->touched[i], &b->touched[j])) {
        set_bit(bits, i * b->step_count + j);
      }
    }
  }
  return bits;
}

static bool keeps_order(const history *h, const uint64_t *conflict_bits) {
  size_t steps = h->b->step_count;
  size_t event_of[MOST_STEPS];
  for (size_t i = 0; i < h->count; i++) {
    if (h->events[i].step != SIZE_MAX) event_of[h->events[i].step] = i;
  }
  for (size_t i = 0; i < steps; i++) {
    size_t done = h->events[event_of[i]].done;
    for (size_t j = i + 1; j < steps; j++) {
      if (has_bit(conflict_bits, i * steps + j) &&
          !has_bit(h->events[event_of[j]].before, done)) {
        return false;
      }
    }
  }
  return true;
}

// --- what is tested --------------------------------------------------------------

static void check_streams_hold_each_step_once(const bench *b) {
  size_t seen[MOST_STEPS] = {0};
  for (int e = 0; e < IBX_ENGINE_COUNT; e++) {
    const ibx_stream *stream = &b->entry.streams[e];
    size_t previous = SIZE_MAX;
    for (size_t i = 0; i < stream->count; i++) {
      if (stream->insns[i].opcode == IBX_OP_semaphore) continue;
      size_t step = stream->nodes[i];
      assert_true(step < b->step_count);
      seen[step]++;
      if (previous != SIZE_MAX && b->steps[previous].glued) {
        assert_int_equal(step, previous + 1);
      }
      previous = step;
      ibx_error err = {0};
      ibx_status status =
          ibx_insn_check(b->machine, (ibx_engine)e, &stream->insns[i],
                         b->places, b->buffer_count, &err);
      if (status != IBX_OK) print_message("%s\n", err.message);
      assert_int_equal(status, IBX_OK);
    }
  }
  for (size_t i = 0; i < b->step_count; i++) {
    assert_int_equal(seen[i], 1);
  }
}

static void prove(const bench *b) {
  ibx_error err = {0};
  ibx_status status = ibx_prove_entry(&b->program, &b->entry, NULL, &err);
  if (status != IBX_OK) print_message("%s\n", err.message);
  assert_int_equal(status, IBX_OK);
}

static void random_programs_keep_every_conflict_in_order(void **state) {
  (void)state;
  static const ibx_target targets[] = {IBX_TARGET_ibx2, IBX_TARGET_ibx3,
                                       IBX_TARGET_ibx4};
  for (uint64_t seed = 1; seed <= 40; seed++) {
    bench *b = bench_create(targets[seed % 3], seed);
    make_steps(b, 40 + seed % 3 * 50);
    schedule(b);
    check_streams_hold_each_step_once(b);
    uint64_t *bits = find_conflicts(b);
    history *h = history_create(b, -1, 0);
    assert_true(run_history(h));
    assert_true(h->is_sound);
    assert_true(keeps_order(h, bits));
    history_destroy(h);
    free(bits);
    bench_destroy(b);
  }
}

// Leaves out what one wait tells (its signals are still taken): some conflict
// must lose its order. Waits for DMAs are needed to end at 0.
static size_t count_spare_waits(const bench *b, const uint64_t *bits) {
  size_t spare = 0;
  for (int e = 0; e < IBX_ENGINE_COUNT; e++) {
    for (size_t i = 0; i < b->entry.streams[e].count; i++) {
      if (b->entry.streams[e].insns[i].wait_value == 0) continue;
      history *h = history_create(b, e, i);
      assert_true(run_history(h));
      if (h->skipped_pair && keeps_order(h, bits)) spare++;
      history_destroy(h);
    }
  }
  return spare;
}

static void no_wait_between_engines_is_spare(void **state) {
  (void)state;
  for (uint64_t seed = 100; seed < 112; seed++) {
    bench *b = bench_create(IBX_TARGET_ibx3, seed);
    // Otherwise some loads wait for others only to leave the queues free.
    b->is_streaming = true;
    make_steps(b, 50);
    schedule(b);
    uint64_t *bits = find_conflicts(b);
    assert_int_equal(count_spare_waits(b, bits), 0);
    free(bits);
    bench_destroy(b);
  }
}

static void random_programs_are_proved(void **state) {
  (void)state;
  for (uint64_t seed = 200; seed < 240; seed++) {
    bench *b = bench_create(IBX_TARGET_ibx3, seed);
    make_steps(b, 40 + seed % 4 * 80);
    schedule(b);
    prove(b);
    bench_destroy(b);
  }
}

// There are fewer semaphores than DMAs, and engines run far ahead of others.
static void semaphores_of_dmas_are_reused_in_order(void **state) {
  (void)state;
  for (uint64_t seed = 500; seed < 506; seed++) {
    bench *b = bench_create(IBX_TARGET_ibx3, seed);
    b->moves_most = true;
    make_steps(b, MOST_STEPS);
    schedule(b);
    prove(b);
    bench_destroy(b);
  }
}

// --- the simulator -----------------------------------------------------------------

// Each step waits for all before it: a `semaphore` after each on its engine
// hands on to the next.
static void serialise(bench *b, ibx_stream streams[IBX_ENGINE_COUNT]) {
  int previous = -1;
  for (int e = 0; e < IBX_ENGINE_COUNT; e++) {
    streams[e] = (ibx_stream){
        .insns = IBX_ARENA_ARRAY(&b->arena, 3 * MOST_STEPS, ibx_insn),
        .nodes = IBX_ARENA_ARRAY(&b->arena, 3 * MOST_STEPS, uint32_t)};
  }
  for (size_t i = 0; i < b->step_count; i++) {
    const ibx_mir_step *step = &b->steps[i];
    int engine = (int)step->variant[0].engine;
    ibx_stream *stream = &streams[engine];
    if (previous >= 0 && previous != engine) {
      ibx_stream *from = &streams[previous];
      ibx_insn *tell = &from->insns[from->count++];
      *tell = ibx_insn_make(IBX_OP_semaphore);
      tell->signal_semaphore = (uint8_t)(previous * 5 + engine);
      tell->signal_value = 1;
    }
    ibx_insn *insn = &stream->insns[stream->count++];
    *insn = step->variant[0].insn;
    if (previous >= 0 && previous != engine) {
      insn->wait_semaphore = (uint8_t)(previous * 5 + engine);
      insn->wait_value = 1;
    }
    if (step->is_dma) {
      insn->signal_semaphore = 100;
      insn->signal_value =
          (uint16_t)ibx_dma_split(b->machine, insn, b->places, NULL);
      ibx_insn *wait = &stream->insns[stream->count++];
      *wait = ibx_insn_make(IBX_OP_semaphore);
      wait->wait_semaphore = 100;
      wait->wait_value = insn->signal_value;
    }
    previous = engine;
  }
}

static void fill_input(float *input) {
  for (size_t i = 0; i < HBM_BYTES / 4; i++) {
    input[i] = (float)((i * 37) % 101) / 32.0f - 1.0f;
  }
}

static void simulate(const bench *b, const ibx_entry *entry,
                     ibx_sim_order order, uint64_t seed, float *output) {
  static float input[HBM_BYTES / 4];
  uint8_t *hbm[MOST_BUFFERS] = {(uint8_t *)input, (uint8_t *)output};
  ibx_sim_memory memory = {.hbm = hbm};
  ibx_sim_options options = {.order = order, .seed = seed};
  ibx_sim *sim = NULL;
  ibx_error err = {0};
  fill_input(input);
  memset(output, 0, HBM_BYTES);
  assert_int_equal(ibx_sim_create(&b->program, entry, &sim, &err), IBX_OK);
  ibx_status status = ibx_sim_run(sim, &options, &memory, &err);
  if (status != IBX_OK) print_message("%s\n", err.message);
  assert_int_equal(status, IBX_OK);
  ibx_sim_destroy(sim);
}

static void every_order_gives_the_bytes_of_the_program_order(void **state) {
  (void)state;
  static float expected[HBM_BYTES / 4], output[HBM_BYTES / 4];
  for (uint64_t seed = 300; seed < 320; seed++) {
    bench *b = bench_create(IBX_TARGET_ibx3, seed);
    make_steps(b, 100);
    schedule(b);
    ibx_entry serial = {0};
    finish_entry(b, &serial);
    serialise(b, serial.streams);
    simulate(b, &serial, IBX_SIM_ORDER_PROGRAM, 0, expected);
    simulate(b, &b->entry, IBX_SIM_ORDER_PROGRAM, 0, output);
    assert_memory_equal(output, expected, HBM_BYTES);
    simulate(b, &b->entry, IBX_SIM_ORDER_ADVERSARIAL, 0, output);
    assert_memory_equal(output, expected, HBM_BYTES);
    for (uint64_t order = 1; order <= 5; order++) {
      simulate(b, &b->entry, IBX_SIM_ORDER_RANDOM, order, output);
      assert_memory_equal(output, expected, HBM_BYTES);
    }
    bench_destroy(b);
  }
}

// --- buffers that are alike ------------------------------------------------------

enum { COPIES = 70000 };

// Declares each scratch buffer anew again and again; each instruction uses one of
// the copies.
static void spread_buffers(bench *b) {
  ibx_entry *entry = &b->entry;
  size_t scratch = b->buffer_count - SPILL_A;
  ibx_buffer_decl *buffers =
      IBX_ARENA_ARRAY(&b->arena, b->buffer_count + COPIES, ibx_buffer_decl);
  memcpy(buffers, b->buffers, b->buffer_count * sizeof(*buffers));
  for (size_t i = 0; i < COPIES; i++)
    buffers[b->buffer_count + i] = b->buffers[SPILL_A + i % scratch];
  for (int e = 0; e < IBX_ENGINE_COUNT; e++) {
    for (size_t i = 0; i < entry->streams[e].count; i++) {
      for (size_t s = 0; s < IBX_OPERANDS; s++) {
        uint32_t *buffer = &entry->streams[e].insns[i].operand[s].buffer;
        if (*buffer == IBX_NO_BUFFER || *buffer < SPILL_A) continue;
        size_t copy = below(b, COPIES / (uint32_t)scratch);
        *buffer =
            (uint32_t)(b->buffer_count + copy * scratch + *buffer) - SPILL_A;
      }
    }
  }
  entry->buffers = buffers;
  entry->buffer_count = b->buffer_count + COPIES;
}

static bool drop_bytes(void *user, const void *data, size_t size) {
  (void)user, (void)data, (void)size;
  return true;
}

static void buffers_that_are_alike_become_one(void **state) {
  (void)state;
  static float expected[HBM_BYTES / 4], output[HBM_BYTES / 4];
  for (uint64_t seed = 600; seed < 606; seed++) {
    bench *b = bench_create(IBX_TARGET_ibx3, seed);
    ibx_error err = {0};
    make_steps(b, 100);
    schedule(b);
    simulate(b, &b->entry, IBX_SIM_ORDER_PROGRAM, 0, expected);
    spread_buffers(b);
    assert_int_equal(
        ibx_program_write(&b->program, drop_bytes, NULL, NULL, NULL, &err),
        IBX_INVALID_PROGRAM);
    size_t count = ibx_share_make(b->buffers, b->buffer_count, &b->arena).count;
    ibx_share_apply(&b->entry, &b->arena);
    assert_int_equal(b->entry.buffer_count, count);
    prove(b);
    assert_int_equal(
        ibx_program_write(&b->program, drop_bytes, NULL, NULL, NULL, &err),
        IBX_OK);
    for (uint64_t order = 0; order < 3; order++) {
      simulate(b, &b->entry, IBX_SIM_ORDER_RANDOM, order, output);
      assert_memory_equal(output, expected, HBM_BYTES);
    }
    bench_destroy(b);
  }
}

// Ports, state and weights keep their numbers' order, and what differs in
// anything stays apart.
static void what_differs_is_not_one(void **state) {
  (void)state;
  ibx_arena arena = {0};
  const ibx_buffer_place place = {
      .space = IBX_SPACE_SBUF, .partitions = 64, .offset = 128, .bytes = 256};
  ibx_buffer_decl buffers[10];
  for (size_t i = 0; i < IBX_COUNT_OF(buffers); i++)
    buffers[i] = (ibx_buffer_decl){.place = place, .name = "tile"};
  buffers[1].place.space = IBX_SPACE_PSUM;
  buffers[2].place.partition = 32;
  buffers[3].place.partitions = 32;
  buffers[4].place.offset = 256;
  buffers[5].place.bytes = 128;
  buffers[6].name = "other";
  buffers[7].kind = buffers[8].kind = IBX_BUFFER_WEIGHT;
  ibx_share share = ibx_share_make(buffers, IBX_COUNT_OF(buffers), &arena);
  assert_int_equal(share.count, 9);
  for (uint32_t i = 0; i < 9; i++)
    assert_int_equal(share.number[i], i);
  assert_int_equal(share.number[9], 0);
  ibx_arena_reset(&arena);
}

static void two_runs_give_the_same_streams(void **state) {
  (void)state;
  bench *b = bench_create(IBX_TARGET_ibx3, 400);
  make_steps(b, 300);
  schedule(b);
  ibx_entry first = b->entry;
  schedule(b);
  for (int e = 0; e < IBX_ENGINE_COUNT; e++) {
    assert_int_equal(first.streams[e].count, b->entry.streams[e].count);
    for (size_t i = 0; i < first.streams[e].count; i++) {
      uint8_t one[IBX_INSN_MAX_WORDS * IBX_WORD_BYTES];
      uint8_t two[IBX_INSN_MAX_WORDS * IBX_WORD_BYTES];
      memset(one, 0, sizeof(one));
      memset(two, 0, sizeof(two));
      const ibx_insn *left = &first.streams[e].insns[i];
      const ibx_insn *right = &b->entry.streams[e].insns[i];
      assert_int_equal(ibx_insn_encode(left, one, NULL), IBX_OK);
      assert_int_equal(ibx_insn_encode(right, two, NULL), IBX_OK);
      assert_memory_equal(one, two, sizeof(one));
    }
  }
  bench_destroy(b);
}

// --- many DMAs -------------------------------------------------------------------

// A column of 32 partitions.
static part cell(uint32_t buffer, size_t index) {
  return (part){.buffer = buffer,
                .partition = (uint8_t)(index % 4 * 32),
                .partitions = 32,
                .offset = index / 4 * 4,
                .step = 1,
                .n = 1};
}

static void add_load(bench *b, uint32_t buffer, size_t index) {
  part dst = cell(buffer, index);
  part src = {.buffer = INPUT, .offset = index % 64 * 4, .step = 1, .n = 1};
  ibx_insn insn = ibx_insn_make(IBX_OP_dma_copy);
  set_dma_operand(&insn, 0, &dst, false);
  set_dma_operand(&insn, 1, &src, true);
  insn.num[3] = dst.partitions;
  ibx_mir_step step = make_step(&insn, IBX_ENGINE_SYNC);
  bool is_added = add_step(b, &step);
  assert_true(is_added);
}

static void add_user(bench *b, uint32_t to, size_t at, uint32_t from,
                     size_t index) {
  part dst = cell(to, at), src = cell(from, index);
  ibx_insn insn = ibx_insn_make(IBX_OP_tensor_copy);
  set_operand(&insn, 0, &dst, IBX_DTYPE_F32);
  set_operand(&insn, 1, &src, IBX_DTYPE_F32);
  insn.partitions = 32;
  ibx_mir_step step = make_step(&insn, IBX_ENGINE_VECTOR);
  add_variant(b, &step, &insn, IBX_ENGINE_SCALAR);
  bool is_added = add_step(b, &step);
  assert_true(is_added);
}

// Far more loads in flight than semaphores, used in another order.
static void loads_may_exceed_the_semaphores(void **state) {
  (void)state;
  for (uint64_t seed = 500; seed < 506; seed++) {
    bench *b = bench_create(IBX_TARGET_ibx3, seed);
    add_output(b);
    uint64_t bytes = 512;
    uint32_t loaded =
        add_buffer(b, IBX_BUFFER_SCRATCH, IBX_SPACE_SBUF, 0, bytes);
    uint32_t used =
        add_buffer(b, IBX_BUFFER_SCRATCH, IBX_SPACE_SBUF, 512, bytes);
    size_t loads = 300;
    for (size_t i = 0; i < loads; i++) {
      add_load(b, loaded, i);
    }
    for (size_t i = 0; i < 90; i++) {
      add_user(b, used, i, loaded, seed % 2 ? loads - 1 - i : i * 97 % loads);
    }
    schedule(b);
    prove(b);
    bench_destroy(b);
  }
}

static ibx_status try_schedule(bench *b, ibx_error *err) {
  ibx_mir mir = {.machine = b->machine,
                 .steps = b->steps,
                 .step_count = b->step_count,
                 .buffers = b->buffers,
                 .buffer_count = b->buffer_count};
  return ibx_codegen_schedule(&mir, &b->arena, b->entry.streams, err);
}

// Random numbers come in an order, and a register moves addresses: neither is
// seen in what the steps touch.
static void what_footprints_do_not_show_is_refused(void **state) {
  (void)state;
  for (int moves = 0; moves < 2; moves++) {
    bench *b = bench_create(IBX_TARGET_ibx3, 511);
    add_memset(b);
    ibx_mir_step *step = &b->steps[b->step_count - 1];
    step->variant_count = 1;
    ibx_error err = {0};
    assert_int_equal(try_schedule(b, &err), IBX_OK);
    if (moves) {
      step->variant[0].insn.index_register = 1;
    } else {
      step->variant[0].insn.opcode = IBX_OP_rng;
    }
    assert_int_equal(try_schedule(b, &err), IBX_INTERNAL);
    assert_non_null(strstr(err.message, moves ? "register" : "generator"));
    bench_destroy(b);
  }
}

// One step needs more loads than there are semaphores.
static void one_step_may_need_hundreds_of_loads(void **state) {
  (void)state;
  bench *b = bench_create(IBX_TARGET_ibx3, 510);
  add_output(b);
  uint32_t loaded = add_buffer(b, IBX_BUFFER_SCRATCH, IBX_SPACE_SBUF, 0, 512);
  for (size_t i = 0; i < 352; i++) {
    add_load(b, loaded, i);
  }
  part all = {.buffer = loaded, .partitions = 128, .step = 1, .n = 88};
  ibx_insn insn = ibx_insn_make(IBX_OP_tensor_copy);
  uint32_t sum = add_buffer(b, IBX_BUFFER_SCRATCH, IBX_SPACE_SBUF, 512, 512);
  set_operand(&insn, 1, &all, IBX_DTYPE_F32);
  all.buffer = sum;
  set_operand(&insn, 0, &all, IBX_DTYPE_F32);
  insn.partitions = 128;
  insn.num[4] = all.n;
  ibx_mir_step step = make_step(&insn, IBX_ENGINE_VECTOR);
  bool is_added = add_step(b, &step);
  assert_true(is_added);
  schedule(b);
  prove(b);
  bench_destroy(b);
}

// --- time ------------------------------------------------------------------------

// Loads, works on and stores one tile after the other, in two buffers each.
static void add_pipeline(bench *b, size_t tiles, uint32_t n) {
  uint32_t in[2], out[2];
  for (uint64_t i = 0; i < 2; i++) {
    in[i] = add_buffer(b, IBX_BUFFER_SCRATCH, IBX_SPACE_SBUF, i * 16, 16);
    out[i] = add_buffer(b, IBX_BUFFER_SCRATCH, IBX_SPACE_SBUF, 64 + i * 16, 16);
  }
  for (size_t i = 0; i < tiles; i++) {
    part x = {.buffer = in[i % 2], .partitions = 128, .step = 1, .n = n};
    part y = {.buffer = out[i % 2], .partitions = 128, .step = 1, .n = n};
    part hbm = {.buffer = INPUT, .step = 1, .n = n};
    ibx_insn insn = ibx_insn_make(IBX_OP_dma_copy);
    set_dma_operand(&insn, 0, &x, false);
    set_dma_operand(&insn, 1, &hbm, true);
    insn.num[3] = 128;
    insn.num[4] = n;
    ibx_mir_step step = make_step(&insn, IBX_ENGINE_SYNC);
    add_step(b, &step);
    insn = ibx_insn_make(IBX_OP_reciprocal);
    set_operand(&insn, 0, &y, IBX_DTYPE_F32);
    set_operand(&insn, 1, &x, IBX_DTYPE_F32);
    insn.partitions = 128;
    insn.num[4] = n;
    step = make_step(&insn, IBX_ENGINE_VECTOR);
    add_step(b, &step);
    insn = ibx_insn_make(IBX_OP_dma_copy);
    hbm.buffer = OUTPUT;
    hbm.offset = i * 128 * n * 4 % HBM_BYTES;
    set_dma_operand(&insn, 0, &hbm, true);
    set_dma_operand(&insn, 1, &y, false);
    insn.num[3] = 128;
    insn.num[4] = n;
    step = make_step(&insn, IBX_ENGINE_SYNC);
    add_step(b, &step);
  }
}

static uint64_t simulated_ps(const bench *b) {
  ibx_sim_time time;
  ibx_error err = {0};
  ibx_status status =
      ibx_sim_time_entry(&b->program, &b->entry, NULL, NULL, &time, &err);
  if (status != IBX_OK) print_message("%s\n", err.message);
  assert_int_equal(status, IBX_OK);
  return time.total_ps;
}

// With two buffers a side, a tile takes as long as the longest way around a
// loop of dependences over two tiles, here load, wait, work, signal.
static void a_pipeline_overlaps_loads_work_and_stores(void **state) {
  (void)state;
  enum { TILES = 60 };
  bench *b = bench_create(IBX_TARGET_ibx3, 600);
  add_output(b);
  add_pipeline(b, TILES, 4);
  schedule(b);
  prove(b);
  const ibx_machine *m = b->machine;
  uint64_t signal_ps =
      ibx_machine_cycles_to_ps(m, IBX_ENGINE_VECTOR, m->semaphore_cycles);
  uint64_t work_ps = ibx_machine_cycles_to_ps(
      m, IBX_ENGINE_VECTOR, m->min_interval + m->vector_latency);
  uint64_t around_ps =
      m->dma_startup_ps + m->dma_completion_ps + work_ps + signal_ps;
  uint64_t bound_ps = around_ps * (TILES - 2) / 2;
  uint64_t one_by_one_ps =
      TILES * (2 * m->dma_startup_ps + m->dma_completion_ps + work_ps);
  uint64_t total_ps = simulated_ps(b);
  assert_in_range(total_ps, bound_ps, bound_ps + bound_ps / 4);
  assert_true(total_ps < one_by_one_ps / 2);
  bench_destroy(b);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(random_programs_keep_every_conflict_in_order),
      cmocka_unit_test(no_wait_between_engines_is_spare),
      cmocka_unit_test(random_programs_are_proved),
      cmocka_unit_test(buffers_that_are_alike_become_one),
      cmocka_unit_test(what_differs_is_not_one),
      cmocka_unit_test(semaphores_of_dmas_are_reused_in_order),
      cmocka_unit_test(every_order_gives_the_bytes_of_the_program_order),
      cmocka_unit_test(two_runs_give_the_same_streams),
      cmocka_unit_test(loads_may_exceed_the_semaphores),
      cmocka_unit_test(what_footprints_do_not_show_is_refused),
      cmocka_unit_test(one_step_may_need_hundreds_of_loads),
      cmocka_unit_test(a_pipeline_overlaps_loads_work_and_stores),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

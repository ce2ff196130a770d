// SPDX-License-Identifier: Apache-2.0
//
// Programs to mutate. A program of a row fills its scratch on Vector, executes
// a few random legal instances of the row on one engine, perhaps in a loop, and
// stores a buffer through Sync; most of them can be proved.

#include "seeds.h"

#include "random.h"
#include "support/steps_world.h"
#include "support/tiny.h"

enum {
  TRIES = 4000,
  CORES = 2,
  ATTEMPTS = 8,
  LENGTH = 3,
  ROW_BYTES = 512,
  STORED_BYTES = 64
};
enum { FILLED = 1, DONE, MOVED, STORED }; // semaphores

typedef struct world {
  tiny t;
  uint32_t x, y, state, weight, chip[4], psum;
  ibx_buffer_place places[TINY_BUFFERS];
  uint8_t weights[4096];
} world;

// --- one instruction ---------------------------------------------------------

static uint32_t pick(uint64_t *random, const uint32_t *values, size_t count) {
  return values[fuzz_below(random, count)];
}
#define PICK(random, ...)                                                      \
  pick(random, (const uint32_t[]){__VA_ARGS__},                                \
       IBX_COUNT_OF(((const uint32_t[]){__VA_ARGS__})))

static void pick_operators(uint64_t *random, ibx_insn *insn) {
  for (size_t i = 0; i < IBX_OPERATORS; i++) {
    ibx_operator_kind kind = ibx_insn_operator(insn->opcode, i);
    if (kind == IBX_OPERATOR_NONE) continue;
    insn->op[i] = (uint8_t)fuzz_below(random, 32);
    if (!ibx_operator_name(kind, insn->op[i])) insn->op[i] = 0;
  }
  uint8_t reduces = ibx_insn_reduces(insn->opcode);
  insn->reduce = (uint8_t)fuzz_below(random, IBX_REDUCE_COUNT);
  if (!(reduces >> insn->reduce & 1)) insn->reduce = 0;
  uint8_t mode = (uint8_t)fuzz_below(random, 4);
  if (ibx_mode_name(insn->opcode, mode)) insn->mode = mode;
  for (unsigned bit = 1; bit < 256; bit *= 2) {
    if ((ibx_insn_flags(insn->opcode) & bit) && fuzz_one_in(random, 4)) {
      insn->flags |= (uint8_t)bit;
    }
  }
}

static void pick_space(uint64_t *random, ibx_insn *insn) {
  ibx_format format = ibx_insn_get(insn->opcode)->format;
  bool is_dma = format == IBX_FORMAT_dma;
  if (format == IBX_FORMAT_control) return;
  if (is_dma) {
    insn->num[0] = PICK(random, 1, 4, 16, 128);
    insn->num[3] = PICK(random, 1, 1, 4, 16);
  } else {
    insn->partitions = (uint8_t)PICK(random, 1, 4, 16, 32, 64, 128);
    insn->num[3] = PICK(random, 1, 1, 1, 2);
    insn->num[2] = PICK(random, 1, 1, 1, 2);
  }
  insn->num[4] = PICK(random, 1, 2, 4, 6, 8, 16, 24, 32, 64);
  if (format == IBX_FORMAT_matmul || format == IBX_FORMAT_wide) {
    insn->columns = (uint8_t)(fuzz_one_in(random, 2)
                                  ? insn->num[2] * insn->num[3] * insn->num[4]
                                  : PICK(random, 1, 32, 64, 128));
  }
}

static void pick_members(uint64_t *random, ibx_insn *insn) {
  static const float values[] = {0, 1, -1, 2, 0.5f, 128};
  ibx_format format = ibx_insn_get(insn->opcode)->format;
  for (size_t i = 0; i < IBX_IMMEDIATES; i++) {
    insn->imm[i] = values[fuzz_below(random, IBX_COUNT_OF(values))];
  }
  insn->count = PICK(random, 0, 1, 2, 4, 64);
  if (format == IBX_FORMAT_dma) {
    insn->queue = (uint8_t)fuzz_below(random, 16);
    insn->dge = (uint8_t)fuzz_below(random, IBX_DGE_COUNT);
  }
  for (size_t i = 0; i < IBX_QUADRANT && format == IBX_FORMAT_shuffle; i++) {
    insn->shuffle[i] = (uint8_t)fuzz_below(random, IBX_QUADRANT);
  }
  for (size_t i = 0; i < 3 && format == IBX_FORMAT_wide; i++) {
    insn->pattern[i] = (int32_t)fuzz_below(random, 5) - 2;
  }
  if (format == IBX_FORMAT_wide) {
    // What a row does not use is 0.
    for (size_t i = 0; i < 3; i++) {
      if (fuzz_one_in(random, 2)) insn->imm[i] = insn->imm[i + 1] = 0;
      if (fuzz_one_in(random, 2)) insn->pattern[i] = 0;
    }
    if (fuzz_one_in(random, 2)) insn->columns = 0;
    if (fuzz_one_in(random, 2)) insn->count = 0;
  }
  if (format == IBX_FORMAT_control || format == IBX_FORMAT_indexed) {
    insn->reg[0] = (uint8_t)fuzz_below(random, 8);
    insn->reg[1] = IBX_NO_REGISTER;
  }
}

// Rows one behind the other; partitions by themselves, or by a DMA's steps.
static void pick_steps(uint64_t *random, const ibx_buffer_place *place,
                       const ibx_insn *insn, size_t slot,
                       ibx_operand *operand) {
  ibx_operand_shape shape = ibx_insn_shape(insn, slot);
  bool is_dma = ibx_insn_get(insn->opcode)->format == IBX_FORMAT_dma;
  int32_t step = 1;
  for (size_t d = IBX_DIMS; d-- > (is_dma ? 0u : 2u);) {
    bool walks = is_dma && d == 0 && place->space != IBX_SPACE_HBM;
    operand->step[d] = walks ? 0 : step;
    if (walks) operand->partition_step[d] = 1;
    step *= (int32_t)shape.num[d] & 0xfff;
  }
  ibx_collective kind = ibx_insn_collective(insn->opcode);
  if ((insn->opcode == IBX_OP_dma_compute && slot == 0) ||
      (kind == IBX_COLLECTIVE_REDUCE_SCATTER && slot == 0) ||
      (kind == IBX_COLLECTIVE_PERMUTE_REDUCE && slot == 0) ||
      (kind == IBX_COLLECTIVE_ALL_GATHER && slot == 1) ||
      (kind == IBX_COLLECTIVE_ALL_GATHER_V && slot == 1)) {
    operand->step[0] = operand->partition_step[0] = 0;
  }
  if (is_dma && fuzz_one_in(random, 4)) { // a transposition
    operand->step[3] = 1;
    operand->step[4] = (int32_t)insn->num[3];
  }
  if (fuzz_one_in(random, 8)) operand->step[4] = (int32_t)PICK(random, 0, 2);
}

// What few types would hit by chance.
static uint8_t pick_dtype(uint64_t *random, const ibx_insn *insn, size_t slot,
                          uint8_t dtype) {
  if (ibx_slot_is_packed(insn->opcode, slot)) {
    return slot == 2
               ? IBX_DTYPE_F8E8M0
               : (uint8_t)PICK(random, IBX_DTYPE_F8E5M2X4, IBX_DTYPE_F8E4M3FNX4,
                               IBX_DTYPE_F4E2M1FNX4);
  }
  bool is_dma = ibx_insn_get(insn->opcode)->format == IBX_FORMAT_dma;
  if (is_dma && slot == 2) return IBX_DTYPE_U32; // an index tensor
  return fuzz_one_in(random, 4) ? (uint8_t)fuzz_below(random, IBX_DTYPE_COUNT)
                                : dtype;
}

// A kernel that belongs to the instruction.
static uint8_t pick_call(uint64_t *random, uint8_t opcode) {
  static const uint8_t calls[][2] = {
#define IBX_CALL(name, number, insn, ...) {number, IBX_OP_##insn},
#include "imbrex/gpsimd_calls.def"
  };
  size_t i = fuzz_below(random, IBX_COUNT_OF(calls));
  while (calls[i][1] != opcode) {
    i = (i + 1) % IBX_COUNT_OF(calls);
  }
  return calls[i][0];
}

enum {
  TYPES_SAME = IBX_DTYPE_I32,
  TYPES_ANY = IBX_DTYPE_I32,
  TYPES_VALUE = IBX_DTYPE_I32,
  TYPES_NUMBER = IBX_DTYPE_I32,
  TYPES_INTEGER = IBX_DTYPE_I32,
  TYPES_INDEX = IBX_DTYPE_I32,
  TYPES_LOGICAL = IBX_DTYPE_BOOL,
  TYPES_F32 = IBX_DTYPE_F32
};

static uint8_t call_dtype(const ibx_insn *insn, size_t slot) {
  switch (insn->op[0] * IBX_OPERANDS + slot) {
#define IBX_CALL_OPERAND(name, slot, elements, types)                          \
  case IBX_CALL_##name *IBX_OPERANDS + (slot): return TYPES_##types;
#include "imbrex/gpsimd_calls.def"
  default: return IBX_DTYPE_NONE;
  }
}

// The element types of their operands.
static uint8_t pick_special_dtype(const ibx_insn *insn, size_t slot,
                                  uint8_t dtype) {
  switch (insn->opcode) {
  case IBX_OP_local_gather: return slot == 2 ? IBX_DTYPE_U16 : dtype;
  case IBX_OP_nc_n_gather: return slot == 2 ? IBX_DTYPE_U32 : dtype;
  case IBX_OP_nonzero_with_count: return slot == 0 ? IBX_DTYPE_I32 : dtype;
  case IBX_OP_topk: return slot == 2 ? IBX_DTYPE_U32 : IBX_DTYPE_BF16;
  case IBX_OP_rand_set_state: return IBX_DTYPE_U32;
  default: break;
  }
  return dtype;
}

static void pick_operand(uint64_t *random, const ibx_buffer_place *places,
                         size_t place_count, uint8_t dtype, size_t slot,
                         ibx_insn *insn) {
  ibx_slot_kind kind = ibx_insn_get(insn->opcode)->slot[slot];
  ibx_operand *operand = &insn->operand[slot];
  *operand = (ibx_operand){.buffer = IBX_NO_BUFFER};
  if (kind == IBX_SLOT_NONE) return;
  bool needs_tensor = insn->opcode == IBX_OP_range_select;
  if (ibx_slot_is_scalar(kind) && !needs_tensor && fuzz_one_in(random, 2)) {
    return;
  }
  operand->buffer = (uint32_t)fuzz_below(random, place_count);
  operand->offset = PICK(random, 0, 0, 0, 4, 64);
  operand->partition = (uint8_t)PICK(random, 0, 0, 0, 32, 64);
  if (ibx_slot_is_scalar(kind)) return;
  dtype = pick_special_dtype(insn, slot, dtype);
  operand->dtype = ibx_insn_is_call(insn->opcode)
                       ? call_dtype(insn, slot)
                       : pick_dtype(random, insn, slot, dtype);
  ibx_format format = ibx_insn_get(insn->opcode)->format;
  bool is_index = format == IBX_FORMAT_dma && slot == 2;
  if (is_index || format == IBX_FORMAT_control) return;
  pick_steps(random, &places[operand->buffer], insn, slot, operand);
}

// Rows whose limits chance alone would hardly meet; isa.def tells them.
static void pick_special(uint64_t *random, ibx_insn *insn) {
  switch (insn->opcode) {
  case IBX_OP_activate2:
    insn->op[0] = (uint8_t)PICK(random, IBX_ALU_BYPASS, IBX_ALU_MULTIPLY);
    insn->op[1] = (uint8_t)PICK(random, IBX_ALU_BYPASS, IBX_ALU_ADD);
    insn->op[3] = insn->reduce ? IBX_ALU_ADD : IBX_ALU_BYPASS;
    insn->imm[2] = 0;
    break;
  case IBX_OP_affine_select:
    insn->op[0] = (uint8_t)PICK(random, IBX_ALU_EQUAL, IBX_ALU_LESS);
    break;
  case IBX_OP_local_gather:
    insn->imm[0] = 0;
    insn->columns = (uint8_t)PICK(random, 1, 2, 4);
    insn->count = PICK(random, 16, 32);
    break;
  case IBX_OP_nc_n_gather:
    insn->imm[0] = 0;
    insn->count = PICK(random, 1, 8, 16);
    break;
  case IBX_OP_sequence_bounds: insn->partitions = 1; break;
  case IBX_OP_topk:
    insn->pattern[0] = (int32_t)PICK(random, 8, 16, 60);
    insn->count = PICK(random, 1, 4, 8);
    break;
  case IBX_OP_range_select:
    insn->op[0] = (uint8_t)PICK(random, IBX_ALU_GREATER, IBX_ALU_EQUAL);
    insn->op[1] = (uint8_t)PICK(random, IBX_ALU_LESS, IBX_ALU_EQUAL);
    insn->imm[1] = 0;
    break;
  case IBX_OP_tensor_copy_dynamic:
    insn->index_register = (uint8_t)fuzz_below(random, 8);
    insn->index_slot = (uint8_t)fuzz_below(random, 2);
    insn->count = PICK(random, 1, 2, 4);
    break;
  case IBX_OP_rank_id:
    insn->count = 0; // one core is a group, too
    insn->group = (uint8_t)PICK(random, 0, 1);
    break;
  case IBX_OP_rand_set_state:
    insn->num[2] = insn->num[3] = 1;
    insn->num[4] = PICK(random, 6, 24);
    break;
  default: break;
  }
  if (ibx_insn_collective(insn->opcode) != IBX_COLLECTIVE_NONE) {
    insn->num[0] = CORES;
    insn->count = PICK(random, 0, 0, 1);
    insn->group = (uint8_t)PICK(random, 0, 0, 2);
    if (insn->group != 0) insn->stride = (uint8_t)PICK(random, 0, 1);
  }
  if (!ibx_insn_is_call(insn->opcode)) return;
  insn->op[0] = pick_call(random, insn->opcode);
  insn->columns = 0;
  insn->count = PICK(random, 0, 0, 1, 4);
  for (size_t i = 0; i < 3; i++) {
    insn->pattern[i] = 0;
    insn->imm[i] = insn->imm[i + 1] = 0;
  }
}

// Only members that the format has can be encoded.
static void keep_members(ibx_insn *insn) {
  ibx_insn kept = ibx_insn_make((ibx_opcode)insn->opcode);
  size_t count;
  const ibx_field_info *fields =
      ibx_format_fields(ibx_insn_get(insn->opcode)->format, &count);
  for (size_t i = 0; i < count; i++) {
    memcpy((char *)&kept + fields[i].member_offset,
           (const char *)insn + fields[i].member_offset,
           fields[i].member_bytes);
  }
  *insn = kept;
}

bool seeds_random_insn(uint64_t *random, const ibx_machine *machine,
                       ibx_engine engine, const ibx_buffer_place *places,
                       size_t place_count, ibx_insn *insn) {
  ibx_opcode opcode = (ibx_opcode)insn->opcode;
  for (int i = 0; i < TRIES; i++) {
    *insn = ibx_insn_make(opcode);
    uint8_t dtype = (uint8_t)fuzz_below(random, IBX_DTYPE_COUNT);
    if (fuzz_one_in(random, 2)) dtype = IBX_DTYPE_F32;
    pick_operators(random, insn);
    pick_space(random, insn);
    pick_members(random, insn);
    pick_special(random, insn);
    for (size_t s = 0; s < IBX_OPERANDS; s++) {
      pick_operand(random, places, place_count, dtype, s, insn);
    }
    keep_members(insn);
    uint8_t bytes[IBX_INSN_MAX_WORDS * IBX_WORD_BYTES];
    if (ibx_insn_check(machine, engine, insn, places, place_count, NULL) ==
            IBX_OK &&
        ibx_insn_encode(insn, bytes, NULL) == IBX_OK) {
      return true;
    }
  }
  return false;
}

// --- one program -------------------------------------------------------------

// Each core has its own of what it writes.
static void split(tiny *t, uint32_t buffer, ibx_tensor_decl *tensor) {
  t->buffers[buffer].is_split = true;
  tensor->shape[0] *= CORES;
}

static void make_world(world *w, const ibx_machine *machine, bool is_chip) {
  static const char *const names[] = {"a", "b", "c", "d"};
  tiny *t = &w->t;
  tiny_init(t);
  t->program.machine = machine;
  for (uint32_t i = 0; i < 4; i++) {
    w->chip[i] = tiny_sbuf(t, names[i], i * (uint64_t)ROW_BYTES, ROW_BYTES);
  }
  w->psum = tiny_psum(t, "p", 0, 2048);
  w->x = tiny_hbm(t, "x", IBX_BUFFER_INPUT, 0, 8192);
  w->y =
      tiny_hbm(t, "y", IBX_BUFFER_OUTPUT, 8192, STORED_BYTES * IBX_PARTITIONS);
  w->state = tiny_hbm(t, "s", IBX_BUFFER_STATE, 1 << 16, 8192);
  w->weight = tiny_hbm(t, "w", IBX_BUFFER_WEIGHT, 0, sizeof w->weights);
  for (size_t i = 0; i < sizeof w->weights; i++) {
    w->weights[i] = (uint8_t)(i * 7 & 0x3f);
  }
  t->program.weights = (ibx_span){w->weights, sizeof w->weights};
  if (is_chip) {
    t->entry.cores = CORES;
    split(t, w->y, &t->outputs[0]);
    split(t, w->state, &t->inputs[1]);
    t->outputs[1].shape[0] *= CORES;
  }
  for (size_t i = 0; i < t->entry.buffer_count; i++) {
    w->places[i] = t->buffers[i].place;
  }
}

static void fill_scratch(world *w, ibx_engine engine) {
  tiny *t = &w->t;
  for (size_t i = 0; i < 4; i++) {
    tiny_zero(t, IBX_ENGINE_VECTOR, w->chip[i], 0, ROW_BYTES / 4);
  }
  tiny_zero(t, IBX_ENGINE_VECTOR, w->psum, 0, 512);
  if (engine == IBX_ENGINE_VECTOR) return;
  tiny_signal(tiny_semaphore(t, IBX_ENGINE_VECTOR), FILLED, 1);
  tiny_wait(tiny_semaphore(t, engine), FILLED, 1);
}

static void store(world *w, ibx_engine engine) {
  tiny *t = &w->t;
  tiny_signal(tiny_semaphore(t, engine), DONE, 1);
  tiny_wait(tiny_semaphore(t, IBX_ENGINE_SYNC), DONE, 1);
  ibx_insn *dma = tiny_dma(t, IBX_ENGINE_SYNC, w->y, 0, w->chip[1], 0,
                           IBX_PARTITIONS, STORED_BYTES);
  tiny_signal_dma(t, dma, STORED);
  tiny_wait(tiny_semaphore(t, IBX_ENGINE_SYNC), STORED, dma->signal_value);
}

// Its DMAs are awaited at once.
static bool add_random(world *w, uint64_t *random, ibx_opcode opcode,
                       ibx_engine engine) {
  tiny *t = &w->t;
  ibx_insn insn = {.opcode = (uint8_t)opcode};
  if (!seeds_random_insn(random, t->program.machine, engine, w->places,
                         t->entry.buffer_count, &insn)) {
    return false;
  }
  ibx_insn *added = tiny_add(t, engine, insn);
  if (ibx_insn_get(insn.opcode)->format != IBX_FORMAT_dma) return true;
  tiny_signal_dma(t, added, MOVED);
  tiny_wait(tiny_semaphore(t, engine), MOVED, added->signal_value);
  return true;
}

static bool is_loop(ibx_opcode opcode) {
  return opcode == IBX_OP_loop || opcode == IBX_OP_loop_end;
}

static bool make_row(world *w, uint64_t *random, ibx_opcode opcode,
                     ibx_engine engine) {
  bool is_product =
      opcode == IBX_OP_multiply_moving || opcode == IBX_OP_multiply_moving_mx;
  bool loops = is_loop(opcode) || fuzz_one_in(random, 3);
  fill_scratch(w, engine);
  ibx_insn loop = ibx_insn_make(IBX_OP_loop);
  loop.count = 1 + (uint32_t)fuzz_below(random, 4);
  loop.reg[0] = 0;
  loop.reg[1] = IBX_NO_REGISTER;
  if (loops) tiny_add(&w->t, engine, loop);
  if (is_product &&
      !add_random(w, random,
                  opcode == IBX_OP_multiply_moving ? IBX_OP_load_stationary
                                                   : IBX_OP_load_stationary_mx,
                  engine)) {
    return false;
  }
  size_t length = is_loop(opcode) ? 0 : 1 + fuzz_below(random, LENGTH);
  for (size_t i = 0; i < length; i++) {
    if (!add_random(w, random, opcode, engine)) return false;
  }
  if (loops) tiny_add(&w->t, engine, ibx_insn_make(IBX_OP_loop_end));
  store(w, engine);
  return true;
}

// --- the corpus ---------------------------------------------------------------

bool seeds_add_blob(seeds *s, ibx_blob blob) {
  if (s->count == s->room) {
    size_t room = s->room * 2 + 64;
    ibx_blob *files = realloc(s->files, room * sizeof *files);
    if (!files) return false;
    s->files = files;
    s->room = room;
  }
  s->files[s->count++] = blob;
  return true;
}

bool seeds_add_program(seeds *s, const ibx_program_data *data, ibx_error *err) {
  ibx_blob blob = {0};
  if (ibx_program_write(data, ibx_blob_write, &blob, NULL, NULL, err) !=
          IBX_OK ||
      !seeds_add_blob(s, blob)) {
    ibx_blob_fini(&blob);
    return false;
  }
  return true;
}

static bool add_row(seeds *s, world *w, ibx_target target, ibx_opcode opcode) {
  const ibx_insn_info *info = ibx_insn_get((uint8_t)opcode);
  for (int e = 0; e < IBX_ENGINE_COUNT; e++) {
    if (!(info->engines >> e & 1)) continue;
    uint64_t random = fuzz_start((uint64_t)opcode * 8 + (uint64_t)e, target);
    // A row may be legal on this engine for few operands only.
    for (int i = 0; i < ATTEMPTS; i++) {
      make_world(w, ibx_machine_get(target),
                 ibx_insn_collective((uint8_t)opcode) != IBX_COLLECTIVE_NONE);
      if (!make_row(w, &random, opcode, (ibx_engine)e)) continue;
      if (!seeds_add_program(s, &w->t.program, NULL)) return false;
      s->rows[opcode] |= (uint8_t)(1u << target);
      break;
    }
  }
  return true;
}

bool seeds_add_rows(seeds *s) {
  world *w = malloc(sizeof *w);
  bool fine = w != NULL;
  for (int target = 0; target <= UINT8_MAX && fine; target++) {
    if (!ibx_machine_get((ibx_target)target)) continue;
    for (unsigned opcode = 0; opcode <= UINT8_MAX && fine; opcode++) {
      const ibx_insn_info *info = ibx_insn_get((uint8_t)opcode);
      if (!info || !(info->targets >> target & 1)) continue;
      fine = add_row(s, w, (ibx_target)target, (ibx_opcode)opcode);
    }
  }
  free(w);
  return fine;
}

size_t seeds_print_missing(const seeds *s) {
  size_t missing = 0;
  for (unsigned opcode = 0; opcode <= UINT8_MAX; opcode++) {
    const ibx_insn_info *info = ibx_insn_get((uint8_t)opcode);
    if (!info || info->targets == s->rows[opcode]) continue;
    printf("no program of %s on all targets\n", info->name);
    missing++;
  }
  return missing;
}

ibx_blob seeds_read(const char *path) {
  ibx_blob blob = {0};
  char part[4096];
  FILE *file = fopen(path, "rb");
  size_t size;
  while (file && (size = fread(part, 1, sizeof part, file)) > 0) {
    if (!ibx_blob_write(&blob, part, size)) break;
  }
  if (file) fclose(file);
  return blob;
}

bool seeds_add_path(seeds *s, const char *path, const ibx_asm_define *defines,
                    size_t define_count, ibx_error *err) {
  ibx_blob blob = seeds_read(path);
  size_t len = strlen(path);
  if (!blob.data) return false;
  if (len < 2 || strcmp(path + len - 2, ".s") != 0)
    return seeds_add_blob(s, blob);
  const char *name = strrchr(path, '/');
  ibx_asm_program *program = NULL;
  ibx_str text = {(const char *)blob.data, blob.size};
  bool fine = ibx_asm_parse(text, name ? name + 1 : path, defines, define_count,
                            &program, err) == IBX_OK &&
              seeds_add_program(s, ibx_asm_get(program), err);
  ibx_asm_destroy(program);
  ibx_blob_fini(&blob);
  return fine;
}

void seeds_fini(seeds *s) {
  for (size_t i = 0; i < s->count; i++) {
    ibx_blob_fini(&s->files[i]);
  }
  free(s->files);
  *s = (seeds){0};
}

bool seeds_add_steps(seeds *s) {
  static steps_world w;
  ibx_error err = {.message = ""};
  steps_world_init(&w);
  return seeds_add_program(s, &w.program, &err);
}

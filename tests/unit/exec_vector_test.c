// SPDX-License-Identifier: Apache-2.0
//
// Vector's accumulators, generators, statistics and searches against an
// interpreter of their sentences in isa.def: it finds every element by its
// address, knows nothing of views, and keeps accumulators and generators of its
// own. Random programs of random instructions run both ways, and all memories
// must be equal byte for byte.

#include "sim/state.h"

#include "imbrex/asm.h"
#include "support/sim_world.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

enum { TRIES = 300, LENGTH = 6, SBUF_BYTES = 2048 };
enum { B_PSUM, B_SBUF, B_SBUF2, B_SBUF3, B_COUNT };

#define V IBX_ENGINE_VECTOR
#define G IBX_ENGINE_GPSIMD

typedef struct bench {
  world w;
  ibx_sim *sim;
  uint64_t random;
  ibx_engine engine;
  uint8_t *before[IBX_SPACE_COUNT], *after[IBX_SPACE_COUNT];
  float sum[IBX_PARTITIONS]; // accumulators
  uint32_t state[IBX_PARTITIONS][24];
} bench;

static uint32_t below(bench *b, uint32_t limit) {
  return world_below(&b->random, limit);
}

static void *checked(void *memory) {
  assert_non_null(memory);
  return memory;
}

static bench *bench_create(ibx_target target, ibx_engine engine,
                           uint64_t seed) {
  bench *b = checked(calloc(1, sizeof(*b)));
  b->random = seed;
  b->engine = engine;
  world_init(&b->w, target);
  world_chip(&b->w, IBX_SPACE_PSUM, 0, WORLD_PSUM_BYTES);
  for (uint64_t i = 0; i < 3; i++) {
    world_chip(&b->w, IBX_SPACE_SBUF, i * SBUF_BYTES, SBUF_BYTES);
  }
  return b;
}

static void bench_destroy(bench *b) {
  ibx_sim_destroy(b->sim);
  for (size_t i = 0; i < IBX_SPACE_COUNT; i++) {
    free(b->before[i]);
    free(b->after[i]);
  }
  free(b);
}

// --- elements by their address ------------------------------------------------

static uint32_t count_of(const ibx_insn *insn) {
  return insn->num[2] * insn->num[3] * insn->num[4];
}

static bool has_own_shape(const ibx_insn *insn, size_t slot) {
  switch (insn->opcode) {
  case IBX_OP_read_accumulator:
  case IBX_OP_bn_stats:
  case IBX_OP_bn_aggr:
  case IBX_OP_max8: return slot == 0;
  case IBX_OP_nc_find_index8: return slot != 1;
  case IBX_OP_nc_match_replace8:
  case IBX_OP_nc_match_replace8_index: return slot > 1;
  default: return false;
  }
}

static uint8_t *address(const bench *b, uint8_t *const memory[],
                        const ibx_insn *insn, size_t slot, uint32_t p,
                        uint32_t i) {
  const ibx_operand *o = &insn->operand[slot];
  const ibx_buffer_place *place = &b->w.buffers[o->buffer].place;
  ibx_dtype dtype = o->dtype ? (ibx_dtype)o->dtype : IBX_DTYPE_F32;
  uint32_t at[3] = {i / insn->num[4] / insn->num[3],
                    i / insn->num[4] % insn->num[3], i % insn->num[4]};
  if (has_own_shape(insn, slot)) at[0] = at[1] = 0, at[2] = i;
  int64_t step = 0;
  for (size_t d = 0; d < 3; d++) {
    step += (int64_t)o->step[d + 2] * at[d];
  }
  int64_t byte = (int64_t)(place->offset + o->offset) +
                 step * (int64_t)ibx_dtype_bytes(dtype);
  return memory[place->space] +
         (place->partition + o->partition + p) *
             b->sim->partition_bytes[place->space] +
         (size_t)byte;
}

static float get(const bench *b, const ibx_insn *insn, size_t slot, uint32_t p,
                 uint32_t i) {
  ibx_dtype dtype = (ibx_dtype)insn->operand[slot].dtype;
  float value;
  ibx_dtype_load_f32(dtype ? dtype : IBX_DTYPE_F32,
                     address(b, b->before, insn, slot, p, i), &value, 1);
  return value;
}

static float get_scalar(const bench *b, const ibx_insn *insn, size_t slot,
                        uint32_t p, float immediate) {
  if (insn->operand[slot].buffer == IBX_NO_BUFFER) return immediate;
  return get(b, insn, slot, p, 0);
}

static void put(const bench *b, const ibx_insn *insn, uint32_t p, uint32_t i,
                float value) {
  if (value != value) value = NAN; // the rule of sim/element.h
  ibx_dtype_store_f32((ibx_dtype)insn->operand[0].dtype, &value,
                      address(b, b->after, insn, 0, p, i), 1);
}

static void put_bits(const bench *b, const ibx_insn *insn, size_t slot,
                     uint32_t p, uint32_t i, uint32_t bits) {
  size_t bytes = ibx_dtype_bytes((ibx_dtype)insn->operand[slot].dtype);
  memcpy(address(b, b->after, insn, slot, p, i), &bits, bytes);
}

// --- the interpreter ----------------------------------------------------------

static float alu(uint8_t op, float a, float b) {
  switch ((ibx_alu)op) {
  case IBX_ALU_ADD: return a + b;
  case IBX_ALU_SUBTRACT: return a - b;
  case IBX_ALU_MULTIPLY: return a * b;
  case IBX_ALU_MAX: return isnan(a) || isnan(b) ? NAN : a > b ? a : b;
  case IBX_ALU_MIN: return isnan(a) || isnan(b) ? NAN : a < b ? a : b;
  case IBX_ALU_EQUAL: return a == b;
  case IBX_ALU_GREATER: return a > b;
  case IBX_ALU_GREATER_EQUAL: return a >= b;
  case IBX_ALU_LESS: return a < b;
  case IBX_ALU_LESS_EQUAL: return a <= b;
  case IBX_ALU_ABS: return copysignf(a, 1);
  case IBX_ALU_SQUARE: return a * a;
  case IBX_ALU_RELU: return isnan(a) || a > 0 ? a : 0;
  case IBX_ALU_RSQRT: return (float)(1 / sqrt((double)a));
  case IBX_ALU_RECIPROCAL: return 1 / a;
  default: fail_msg("operator %u is not used here", op); return 0;
  }
}

// The order that arith.h states.
static float fold(uint8_t op, const float *values, uint32_t n) {
  float lane[16] = {0};
  for (uint32_t i = 0; i < n; i++) {
    lane[i % 16] = i < 16 ? values[i] : alu(op, lane[i % 16], values[i]);
  }
  for (uint32_t j = 1; j < 16 && j < n; j++) {
    lane[0] = alu(op, lane[0], lane[j]);
  }
  return lane[0];
}

static uint32_t lane_of(const bench *b, const ibx_insn *insn, size_t slot,
                        uint32_t p) {
  const ibx_operand *o = &insn->operand[slot];
  return b->w.buffers[o->buffer].place.partition + o->partition + p;
}

static void accumulate(bench *b, const ibx_insn *insn, uint32_t p, uint8_t op,
                       float row, float start) {
  float *sum = &b->sum[lane_of(b, insn, 0, p)];
  if (insn->reduce == IBX_REDUCE_RESET) {
    *sum = op == IBX_ALU_MAX ? -INFINITY : 0;
  } else if (insn->reduce == IBX_REDUCE_RESET_REDUCE) {
    *sum = row;
  } else if (insn->reduce == IBX_REDUCE_REDUCE) {
    *sum = alu(op, *sum, row);
  } else if (insn->reduce == IBX_REDUCE_LOAD_REDUCE) {
    *sum = alu(op, start, row);
  }
}

static float first_of(uint8_t op) {
  switch (op) {
  case IBX_ALU_MULTIPLY: return 1;
  case IBX_ALU_MAX: return -INFINITY;
  case IBX_ALU_MIN: return INFINITY;
  default: return 0;
  }
}

static void do_cumulative(bench *b, const ibx_insn *insn, uint32_t p) {
  float *sum = &b->sum[lane_of(b, insn, 0, p)];
  float s = get_scalar(b, insn, 2, p, insn->imm[0]);
  if (insn->reduce == IBX_REDUCE_RESET_REDUCE) *sum = first_of(insn->op[1]);
  if (insn->reduce == IBX_REDUCE_LOAD_REDUCE) {
    *sum = get_scalar(b, insn, 3, p, insn->imm[1]);
  }
  for (uint32_t i = 0; i < count_of(insn); i++) {
    float x = get(b, insn, 1, p, i);
    x = insn->flags & IBX_FLAG_REVERSE0 ? alu(insn->op[0], s, x)
                                        : alu(insn->op[0], x, s);
    *sum = alu(insn->op[1], x, *sum);
    put(b, insn, p, i, *sum);
  }
}

static bool is_predicate(const bench *b, const ibx_insn *insn, uint32_t p,
                         uint32_t i) {
  bool is_set = get(b, insn, 2, p, i) != 0;
  return is_set != ((insn->flags & IBX_FLAG_REVERSE0) != 0);
}

static float row_value(const bench *b, const ibx_insn *insn, uint32_t p,
                       uint32_t i) {
  float x = get(b, insn, 1, p, i), at = insn->imm[0] + (float)i;
  switch (insn->opcode) {
  case IBX_OP_tensor_scalar_reduce:
    return alu(insn->op[0], x, get_scalar(b, insn, 2, p, insn->imm[0]));
  case IBX_OP_range_select:
    if (alu(insn->op[0], at, get(b, insn, 2, p, 0)) == 0)
      return -0x1.fffffep127f;
    return alu(insn->op[1], at, get(b, insn, 3, p, 0)) != 0 ? x
                                                            : -0x1.fffffep127f;
  case IBX_OP_select_reduce:
    if (is_predicate(b, insn, p, i)) return x;
    return get_scalar(b, insn, 3, p, insn->imm[0]);
  default: // exponential
    x -= get_scalar(b, insn, 2, p, insn->imm[0]);
    return (float)exp((double)x);
  }
}

static void do_row(bench *b, const ibx_insn *insn, uint32_t p, uint8_t op) {
  uint32_t n = count_of(insn);
  float *row = checked(calloc(n, sizeof(*row)));
  float start = insn->imm[1];
  for (uint32_t i = 0; i < n; i++) {
    row[i] = row_value(b, insn, p, i);
    put(b, insn, p, i, row[i]);
  }
  if (insn->opcode == IBX_OP_exponential) {
    start = get_scalar(b, insn, 3, p, start);
  }
  float result = fold(op, row, n);
  accumulate(b, insn, p, op, result, start);
  if (insn->opcode == IBX_OP_tensor_scalar_reduce) {
    if (insn->reduce != IBX_REDUCE_IDLE) {
      result = b->sum[lane_of(b, insn, 0, p)];
    }
    if (isnan(result)) result = NAN;
    memcpy(address(b, b->after, insn, 3, p, 0), &result, sizeof(result));
  }
  free(row);
}

typedef struct ranked {
  float value;
  uint32_t i;
} ranked;

// The earlier one of equals first, NaN last.
static int descending(const void *a, const void *b) {
  const ranked *x = a, *y = b;
  int nans = isnan(x->value) - isnan(y->value);
  if (nans != 0) return nans;
  int order = (x->value < y->value) - (x->value > y->value);
  return order != 0 ? order : (x->i > y->i) - (x->i < y->i);
}

static void do_max8(bench *b, const ibx_insn *insn, uint32_t p) {
  uint32_t n = count_of(insn);
  ranked *row = checked(calloc(n, sizeof(*row)));
  for (uint32_t i = 0; i < n; i++) {
    row[i] = (ranked){.value = get(b, insn, 1, p, i), .i = i};
  }
  qsort(row, n, sizeof(*row), descending);
  for (uint32_t i = 0; i < 8; i++) {
    put(b, insn, p, i, row[i].value);
  }
  free(row);
}

// The place of value j: of equal values, those that come before it have the
// first places.
static uint32_t place_of(const bench *b, const ibx_insn *insn, uint32_t p,
                         int j, int from, int step) {
  float value = get(b, insn, 2, p, (uint32_t)j);
  unsigned rank = 0;
  for (int k = from; k != j; k += step) {
    rank += get(b, insn, 2, p, (uint32_t)k) == value;
  }
  for (uint32_t i = 0; i < count_of(insn); i++) {
    if (get(b, insn, 1, p, i) == value && rank-- == 0) return i;
  }
  return UINT32_MAX;
}

static void do_match(bench *b, const ibx_insn *insn, uint32_t p) {
  for (uint32_t i = 0; i < count_of(insn); i++) {
    put(b, insn, p, i, get(b, insn, 1, p, i));
  }
  for (int j = 0; j < 8; j++) {
    uint32_t at = place_of(b, insn, p, j, 7, -1);
    if (at != UINT32_MAX) put(b, insn, p, at, insn->imm[0]);
  }
  if (insn->opcode != IBX_OP_nc_match_replace8_index) return;
  for (int j = 0; j < 8; j++) {
    put_bits(b, insn, 3, p, (uint32_t)j, place_of(b, insn, p, j, 7, -1));
  }
}

static void do_shuffle(bench *b, const ibx_insn *insn, uint32_t p) {
  uint8_t from = insn->shuffle[p % 32];
  size_t bytes = ibx_dtype_bytes((ibx_dtype)insn->operand[0].dtype);
  if (from == 255) return;
  for (uint32_t i = 0; i < count_of(insn); i++) {
    memcpy(address(b, b->after, insn, 0, p, i),
           address(b, b->before, insn, 1, p / 32 * 32 + from, i), bytes);
  }
}

// Marsaglia's words by their names.
static uint32_t xorwow(uint32_t *s) {
  uint32_t x = s[0], v = s[4];
  uint32_t t = x ^ (x >> 2);
  memmove(s, s + 1, 4 * sizeof(*s));
  s[4] = (v ^ (v << 4)) ^ (t ^ (t << 1));
  s[5] += 362437;
  return s[5] + s[4];
}

static uint32_t draw(bench *b, const ibx_insn *insn, uint32_t p, uint32_t i) {
  uint32_t *state = b->state[lane_of(b, insn, 0, p)];
  return xorwow(b->engine == V ? state + 6 * (i % 4) : state);
}

static void do_random(bench *b, const ibx_insn *insn, uint32_t p) {
  size_t bytes = ibx_dtype_bytes((ibx_dtype)insn->operand[0].dtype);
  for (uint32_t i = 0; i < count_of(insn); i++) {
    uint32_t bits = draw(b, insn, p, i);
    float u = ldexpf((float)(bits >> 8), -24);
    if (insn->opcode == IBX_OP_rng) {
      put_bits(b, insn, 0, p, i, bits);
    } else if (insn->opcode == IBX_OP_dropout) {
      uint8_t *to = address(b, b->after, insn, 0, p, i);
      memcpy(to, address(b, b->before, insn, 1, p, i), bytes);
      if (u < get_scalar(b, insn, 2, p, insn->imm[0])) memset(to, 0, bytes);
    } else {
      float min = get_scalar(b, insn, 2, p, insn->imm[0]);
      float max = get_scalar(b, insn, 3, p, insn->imm[1]);
      put(b, insn, p, i, min + (max - min) * u);
    }
  }
}

static void do_state(bench *b, const ibx_insn *insn, uint32_t p) {
  for (uint32_t i = 0; i < count_of(insn); i++) {
    if (insn->opcode == IBX_OP_rand_set_state) {
      memcpy(&b->state[lane_of(b, insn, 1, p)][i],
             address(b, b->before, insn, 1, p, i), 4);
    } else {
      put_bits(b, insn, 0, p, i, b->state[lane_of(b, insn, 0, p)][i]);
    }
  }
}

static void interpret_partition(bench *b, const ibx_insn *insn, uint32_t p) {
  switch (insn->opcode) {
  case IBX_OP_read_accumulator:
    put(b, insn, p, 0, b->sum[lane_of(b, insn, 0, p)]);
    break;
  case IBX_OP_tensor_scalar_cumulative: do_cumulative(b, insn, p); break;
  case IBX_OP_tensor_scalar_reduce: do_row(b, insn, p, insn->op[1]); break;
  case IBX_OP_range_select:
  case IBX_OP_select_reduce: do_row(b, insn, p, IBX_ALU_MAX); break;
  case IBX_OP_exponential: do_row(b, insn, p, IBX_ALU_ADD); break;
  case IBX_OP_max8: do_max8(b, insn, p); break;
  case IBX_OP_nc_find_index8:
    for (int j = 0; j < 8; j++) {
      put_bits(b, insn, 0, p, (uint32_t)j, place_of(b, insn, p, j, 0, 1));
    }
    break;
  case IBX_OP_nc_match_replace8:
  case IBX_OP_nc_match_replace8_index: do_match(b, insn, p); break;
  case IBX_OP_nc_stream_shuffle:
  case IBX_OP_nc_stream_shuffle_partial: do_shuffle(b, insn, p); break;
  case IBX_OP_rand_set_state:
  case IBX_OP_rand_get_state: do_state(b, insn, p); break;
  default: do_random(b, insn, p); break;
  }
}

// What was written before is what is read now.
static void interpret(bench *b, const ibx_insn *insn) {
  for (size_t s = 0; s < IBX_SPACE_COUNT; s++) {
    memcpy(b->before[s], b->after[s], (size_t)b->sim->memory_bytes[s]);
  }
  for (uint32_t p = 0; p < insn->partitions; p++) {
    interpret_partition(b, insn, p);
  }
}

// --- random instructions ------------------------------------------------------

static const ibx_dtype dtypes[] = {
    IBX_DTYPE_F32,    IBX_DTYPE_BF16, IBX_DTYPE_F16, IBX_DTYPE_F8E4M3,
    IBX_DTYPE_F8E5M2, IBX_DTYPE_TF32, IBX_DTYPE_I8,  IBX_DTYPE_U8,
    IBX_DTYPE_I16,    IBX_DTYPE_U16,  IBX_DTYPE_I32, IBX_DTYPE_U32,
    IBX_DTYPE_BOOL};

static const uint8_t starts[] = {0, 0, 0, 32, 64, 96};

// Steps of three kinds, then an offset that keeps all elements in the buffer.
static bool place_tensor(bench *b, ibx_insn *insn, size_t slot) {
  ibx_operand *o = &insn->operand[slot];
  bool is_own = has_own_shape(insn, slot);
  o->buffer = (uint16_t)(below(b, 4) == 0 ? B_PSUM : B_SBUF + below(b, 3));
  if (b->engine == G && o->buffer == B_PSUM) o->buffer = B_SBUF;
  if (o->dtype == IBX_DTYPE_NONE) {
    o->dtype = (uint8_t)dtypes[below(b, IBX_COUNT_OF(dtypes))];
  }
  o->partition = starts[below(b, IBX_COUNT_OF(starts))];
  int64_t low = 0, high = 0, packed = 1;
  unsigned kind = below(b, 3);
  for (size_t d = IBX_DIMS; d-- > 2;) {
    uint32_t num = !is_own ? insn->num[d] : d == 4 ? 8 : 1;
    o->step[d] = (int32_t)packed;
    packed *= num;
    if (kind == 1) packed += below(b, 3);
    if (kind == 2 && slot != 0) o->step[d] = (int32_t)below(b, 9) - 4;
    int64_t reach = o->step[d] * (int64_t)(num - 1);
    *(reach < 0 ? &low : &high) += reach;
  }
  size_t bytes = ibx_dtype_bytes((ibx_dtype)o->dtype);
  int64_t room = SBUF_BYTES / (int64_t)bytes - (high - low + 1);
  if (room < 0) return false;
  o->offset = (uint64_t)((int64_t)below(b, (uint32_t)room + 1) - low) * bytes;
  return true;
}

static void place_scalar(bench *b, ibx_insn *insn, size_t slot) {
  ibx_operand *o = &insn->operand[slot];
  ibx_slot_kind kind = ibx_insn_get(insn->opcode)->slot[slot];
  if (kind == IBX_SLOT_SCALAR_READ && below(b, 2)) return;
  o->buffer = (uint16_t)(B_SBUF + below(b, 3));
  o->partition = starts[below(b, IBX_COUNT_OF(starts))];
  o->offset = 4 * below(b, SBUF_BYTES / 4);
}

static void choose_operators(bench *b, ibx_insn *insn) {
  static const uint8_t sums[] = {IBX_ALU_ADD, IBX_ALU_MAX, IBX_ALU_MIN,
                                 IBX_ALU_MULTIPLY, IBX_ALU_SUBTRACT};
  static const uint8_t comparisons[] = {IBX_ALU_EQUAL, IBX_ALU_LESS,
                                        IBX_ALU_LESS_EQUAL, IBX_ALU_GREATER,
                                        IBX_ALU_GREATER_EQUAL};
  bool is_range = insn->opcode == IBX_OP_range_select;
  bool is_sum = insn->opcode == IBX_OP_tensor_scalar_cumulative ||
                insn->opcode == IBX_OP_tensor_scalar_reduce;
  for (size_t i = 0; i < 2; i++) {
    uint8_t op = sums[below(b, IBX_COUNT_OF(sums))];
    if (is_range) op = comparisons[below(b, IBX_COUNT_OF(comparisons))];
    if (is_range || is_sum) insn->op[i] = op;
  }
  if (is_sum && below(b, 3) == 0) {
    insn->op[0] = (uint8_t)(IBX_ALU_ABS + below(b, 5));
    insn->imm[0] = 0;
  }
  if (is_range) insn->imm[0] = (float)below(b, 9) - 4;
}

static void choose_dtypes(bench *b, ibx_insn *insn) {
  static const uint8_t integers[] = {IBX_DTYPE_I8,  IBX_DTYPE_U8,
                                     IBX_DTYPE_I16, IBX_DTYPE_U16,
                                     IBX_DTYPE_I32, IBX_DTYPE_U32};
  uint8_t any = (uint8_t)dtypes[below(b, IBX_COUNT_OF(dtypes))];
  uint8_t index = below(b, 2) ? IBX_DTYPE_U16 : IBX_DTYPE_U32;
  switch (insn->opcode) {
  case IBX_OP_nc_find_index8: insn->operand[0].dtype = index; break;
  case IBX_OP_nc_match_replace8_index: insn->operand[3].dtype = index; break;
  case IBX_OP_nc_stream_shuffle:
  case IBX_OP_nc_stream_shuffle_partial:
  case IBX_OP_dropout:
    insn->operand[0].dtype = insn->operand[1].dtype = any;
    break;
  case IBX_OP_rng: insn->operand[0].dtype = integers[below(b, 6)]; break;
  case IBX_OP_rand_set_state: insn->operand[1].dtype = IBX_DTYPE_U32; break;
  case IBX_OP_rand_get_state: insn->operand[0].dtype = IBX_DTYPE_U32; break;
  default: break;
  }
}

static void choose_shape(bench *b, ibx_insn *insn) {
  static const uint8_t partitions[] = {1, 3, 16, 32, 33, 64, 96, 128};
  insn->partitions = partitions[below(b, IBX_COUNT_OF(partitions))];
  insn->num[4] = 1 + below(b, below(b, 2) ? 8 : 40);
  if (below(b, 2)) insn->num[3] = 1 + below(b, 5);
  if (below(b, 3) == 0) insn->num[2] = 1 + below(b, 3);
  if (insn->opcode == IBX_OP_read_accumulator) {
    insn->num[2] = insn->num[3] = insn->num[4] = 1;
  }
  if (insn->opcode == IBX_OP_rand_set_state ||
      insn->opcode == IBX_OP_rand_get_state) {
    insn->num[2] = insn->num[3] = 1;
    insn->num[4] = b->engine == V ? 24 : 6;
  }
}

static ibx_insn random_insn(bench *b, ibx_opcode opcode) {
  ibx_insn insn = ibx_insn_make(opcode);
  choose_shape(b, &insn);
  insn.imm[0] = world_float(&b->random, 2);
  insn.imm[1] = world_float(&b->random, 2);
  insn.reduce = (uint8_t)below(b, IBX_REDUCE_COUNT);
  bool is_load = insn.reduce == IBX_REDUCE_LOAD_REDUCE;
  if (!is_load && opcode != IBX_OP_rand2) insn.imm[1] = 0;
  if (ibx_insn_reduces((uint8_t)opcode) == 0) insn.reduce = 0;
  if (opcode == IBX_OP_dropout) insn.imm[0] = fabsf(insn.imm[0]) / 2;
  if (opcode == IBX_OP_tensor_scalar_cumulative ||
      opcode == IBX_OP_select_reduce) {
    insn.flags = (uint8_t)(below(b, 2) * IBX_FLAG_REVERSE0);
  }
  for (size_t i = 0; i < 32; i++) {
    if (ibx_insn_get((uint8_t)opcode)->format != IBX_FORMAT_shuffle) break;
    bool leaves =
        opcode == IBX_OP_nc_stream_shuffle_partial && below(b, 3) == 0;
    insn.shuffle[i] = (uint8_t)(leaves ? 255 : below(b, 32));
  }
  choose_operators(b, &insn);
  choose_dtypes(b, &insn);
  return insn;
}

static bool is_legal(const bench *b, const ibx_insn *insn) {
  ibx_buffer_place places[B_COUNT];
  for (size_t i = 0; i < B_COUNT; i++) {
    places[i] = b->w.buffers[i].place;
  }
  return ibx_insn_check(b->w.program.machine, b->engine, insn, places, B_COUNT,
                        NULL) == IBX_OK;
}

static ibx_insn legal_insn(bench *b, ibx_opcode opcode) {
  for (int i = 0; i < 5000; i++) {
    ibx_insn insn = random_insn(b, opcode);
    const ibx_insn_info *info = ibx_insn_get((uint8_t)opcode);
    bool fits = true;
    for (size_t slot = 0; slot < IBX_OPERANDS && fits; slot++) {
      if (ibx_slot_is_tensor(info->slot[slot])) {
        fits = place_tensor(b, &insn, slot);
      } else if (info->slot[slot] != IBX_SLOT_NONE) {
        place_scalar(b, &insn, slot);
      }
    }
    if (fits && is_legal(b, &insn)) return insn;
  }
  fail_msg("no legal %s", ibx_insn_get((uint8_t)opcode)->name);
  return ibx_insn_make(opcode);
}

// --- programs -----------------------------------------------------------------

// Small numbers as fp32, so that equal ones abound; read as another type they
// are any bits.
static void fill(bench *b) {
  for (size_t s = IBX_SPACE_SBUF; s <= IBX_SPACE_PSUM; s++) {
    float *at = (float *)(void *)b->sim->memory[s];
    for (size_t i = 0; i < b->sim->memory_bytes[s] / sizeof(*at); i++) {
      at[i] = below(b, 3) ? (float)below(b, 9) - 4 : world_float(&b->random, 9);
      if (below(b, 200) == 0) at[i] = NAN;
    }
  }
}

static void start(bench *b, const ibx_insn *insns, size_t count) {
  ibx_sim_destroy(b->sim);
  b->w.entry.streams[b->engine].count = 0;
  for (size_t i = 0; i < count; i++) {
    world_add(&b->w, b->engine, insns[i]);
  }
  if (ibx_sim_create(&b->w.program, &b->w.entry, &b->sim, &b->w.err)) {
    fail_msg("%s", b->w.err.message);
  }
  fill(b);
  for (size_t s = 0; s < IBX_SPACE_COUNT; s++) {
    size_t size = (size_t)b->sim->memory_bytes[s];
    b->before[s] = checked(realloc(b->before[s], size + 1));
    b->after[s] = checked(realloc(b->after[s], size + 1));
    memcpy(b->after[s], b->sim->memory[s], size);
  }
}

static void run(bench *b) {
  ibx_sim_options options = {.order = IBX_SIM_ORDER_PROGRAM,
                             .specification = below(b, 2) == 0};
  ibx_sim_memory memory = {.hbm = b->w.hbm};
  if (ibx_sim_run(b->sim, &options, &memory, &b->w.err) != IBX_OK) {
    fail_msg("%s", b->w.err.message);
  }
}

static void expect_same(const bench *b, const ibx_insn *insns, size_t count) {
  for (size_t s = 0; s < IBX_SPACE_COUNT; s++) {
    size_t size = (size_t)b->sim->memory_bytes[s], at = 0;
    if (memcmp(b->sim->memory[s], b->after[s], size) == 0) continue;
    while (b->sim->memory[s][at] == b->after[s][at])
      at++;
    for (size_t i = 0; i < count; i++) {
      char text[1024];
      ibx_disasm_insn(&b->w.entry, &insns[i], text, sizeof(text));
      print_message("%s\n", text);
    }
    fail_msg("%s differs first in partition %zu, byte %zu",
             ibx_space_name((ibx_space)s), at / b->sim->partition_bytes[s],
             at % b->sim->partition_bytes[s]);
  }
}

// Programs of LENGTH instructions, each one of `opcodes`.
static void compare(ibx_target target, ibx_engine engine,
                    const ibx_opcode *opcodes, size_t count) {
  bench *b = bench_create(target, engine, 77 + (uint64_t)target);
  for (int t = 0; t < TRIES; t++) {
    ibx_insn insns[LENGTH];
    for (size_t i = 0; i < LENGTH; i++) {
      insns[i] = legal_insn(b, opcodes[below(b, (uint32_t)count)]);
    }
    start(b, insns, LENGTH);
    run(b);
    memset(b->sum, 0, sizeof(b->sum));
    for (size_t i = 0; i < LENGTH; i++) {
      interpret(b, &insns[i]);
    }
    expect_same(b, insns, LENGTH);
  }
  bench_destroy(b);
}

static void accumulators_go_through_several_instructions(void **state) {
  (void)state;
  const ibx_opcode opcodes[] = {
      IBX_OP_read_accumulator,     IBX_OP_read_accumulator,
      IBX_OP_range_select,         IBX_OP_select_reduce,
      IBX_OP_tensor_scalar_reduce, IBX_OP_tensor_scalar_cumulative,
      IBX_OP_exponential};
  compare(IBX_TARGET_ibx4, V, opcodes, IBX_COUNT_OF(opcodes));
}

static void searches_find_what_their_sentences_say(void **state) {
  (void)state;
  const ibx_opcode opcodes[] = {IBX_OP_max8, IBX_OP_nc_find_index8,
                                IBX_OP_nc_match_replace8,
                                IBX_OP_nc_match_replace8_index};
  compare(IBX_TARGET_ibx2, V, opcodes, IBX_COUNT_OF(opcodes));
}

static void shuffles_move_bits_within_32_partitions(void **state) {
  (void)state;
  const ibx_opcode opcodes[] = {IBX_OP_nc_stream_shuffle,
                                IBX_OP_nc_stream_shuffle_partial};
  compare(IBX_TARGET_ibx3, V, opcodes, IBX_COUNT_OF(opcodes));
}

// --- random numbers -----------------------------------------------------------

// The states come from memory first, for all partitions.
static void random_programs(ibx_target target, ibx_engine engine,
                            const ibx_opcode *opcodes, size_t count) {
  bench *b = bench_create(target, engine, 5 + (uint64_t)target);
  for (int t = 0; t < TRIES; t++) {
    ibx_insn insns[LENGTH];
    do {
      insns[0] = legal_insn(b, IBX_OP_rand_set_state);
    } while (insns[0].partitions != 128);
    for (size_t i = 1; i < LENGTH; i++) {
      insns[i] = legal_insn(b, opcodes[below(b, (uint32_t)count)]);
    }
    start(b, insns, LENGTH);
    run(b);
    for (size_t i = 0; i < LENGTH; i++) {
      interpret(b, &insns[i]);
    }
    expect_same(b, insns, LENGTH);
  }
  bench_destroy(b);
}

static void random_numbers_follow_from_the_state(void **state) {
  (void)state;
  const ibx_opcode vector[] = {IBX_OP_rng, IBX_OP_rand2, IBX_OP_dropout,
                               IBX_OP_rand_get_state, IBX_OP_rand_set_state};
  random_programs(IBX_TARGET_ibx4, V, vector, IBX_COUNT_OF(vector));
  const ibx_opcode gpsimd[] = {IBX_OP_rng, IBX_OP_rand_get_state,
                               IBX_OP_rand_set_state};
  random_programs(IBX_TARGET_ibx3, G, gpsimd, IBX_COUNT_OF(gpsimd));
}

static ibx_operand words_at(uint64_t offset) {
  return (ibx_operand){.buffer = B_SBUF,
                       .offset = offset,
                       .dtype = IBX_DTYPE_U32,
                       .step = {[4] = 1}};
}

static uint32_t *words(bench *b, size_t p, size_t byte) {
  uint8_t *row = b->sim->memory[IBX_SPACE_SBUF] +
                 p * b->sim->partition_bytes[IBX_SPACE_SBUF];
  return (uint32_t *)(void *)(row + byte);
}

// The first numbers of Marsaglia's own state, from his paper's recurrence.
static void the_published_state_gives_the_published_numbers(void **state) {
  (void)state;
  const uint32_t first[] = {123456789, 362436069, 521288629,
                            88675123,  5783321,   6615241};
  const uint32_t numbers[] = {246875399, 3690007200, 1264581005, 3906711041,
                              1866187943};
  bench *b = bench_create(IBX_TARGET_ibx3, G, 1);
  ibx_insn insns[] = {ibx_insn_make(IBX_OP_rand_set_state),
                      ibx_insn_make(IBX_OP_rng)};
  insns[0].operand[1] = words_at(0);
  insns[0].num[4] = 6;
  insns[1].operand[0] = words_at(64);
  insns[1].num[4] = IBX_COUNT_OF(numbers);
  start(b, insns, 2);
  memcpy(words(b, 0, 0), first, sizeof(first));
  run(b);
  assert_memory_equal(words(b, 0, 64), numbers, sizeof(numbers));
  bench_destroy(b);
}

// Two runs with seeds; numbers at bytes 64 and 128 of each partition.
static void run_seeds(bench *b, uint32_t seed0, uint32_t seed1) {
  ibx_insn insns[4];
  for (size_t i = 0; i < 4; i += 2) {
    insns[i] = ibx_insn_make(IBX_OP_set_rng_seed);
    insns[i].operand[1] = words_at(i * 2);
    insns[i + 1] = ibx_insn_make(IBX_OP_rng);
    insns[i + 1].partitions = 128;
    insns[i + 1].num[4] = 16;
    insns[i + 1].operand[0] = words_at(64 + i * 32);
  }
  start(b, insns, 4);
  *words(b, 0, 0) = seed0;
  *words(b, 0, 4) = seed1;
  run(b);
}

static void seeds_repeat_and_differ(void **state) {
  (void)state;
  bench *b = bench_create(IBX_TARGET_ibx2, V, 1);
  run_seeds(b, 7, 7);
  assert_memory_equal(words(b, 5, 64), words(b, 5, 128), 64);
  assert_memory_not_equal(words(b, 5, 64), words(b, 6, 64), 64);
  uint32_t kept = *words(b, 5, 64);
  run_seeds(b, 8, 7);
  assert_int_equal(*words(b, 5, 128), kept);
  assert_int_not_equal(*words(b, 5, 64), kept);
  bench_destroy(b);
}

// 128 x 2000 numbers: mean 1/2, a quarter of them dropped, each within 1 %.
static void numbers_are_uniform(void **state) {
  (void)state;
  enum { N = 250 };
  bench *b = bench_create(IBX_TARGET_ibx4, V, 1);
  ibx_insn insns[] = {ibx_insn_make(IBX_OP_rand2),
                      ibx_insn_make(IBX_OP_dropout)};
  for (size_t i = 0; i < 2; i++) {
    insns[i].partitions = 128;
    insns[i].num[4] = N;
    insns[i].operand[0] = words_at(i * 1024);
    insns[i].operand[0].dtype = IBX_DTYPE_F32;
  }
  insns[0].imm[1] = 1.0f;
  insns[1].operand[1] = insns[0].operand[0];
  insns[1].imm[0] = 0.25f;
  start(b, insns, 2);
  run(b);
  double sum = 0, dropped = 0;
  for (size_t p = 0; p < 128; p++) {
    for (size_t i = 0; i < N; i++) {
      float value;
      memcpy(&value, words(b, p, i * 4), 4);
      assert_true(value >= 0 && value < 1);
      sum += (double)value;
      dropped += *words(b, p, 1024 + i * 4) == 0;
    }
  }
  assert_true(fabs(sum / (128 * N) - 0.5) < 0.01);
  assert_true(fabs(dropped / (128 * N) - 0.25) < 0.01);
  bench_destroy(b);
}

// --- statistics ---------------------------------------------------------------

static void expect_near(float got, double wanted) {
  if (fabs((double)got - wanted) <= 1e-5 * (1 + fabs(wanted))) return;
  fail_msg("%g instead of %g", (double)got, wanted);
}

static void moments(const bench *b, const ibx_insn *insn, uint32_t p,
                    uint32_t first, uint32_t step, double out[3]) {
  out[0] = out[1] = out[2] = 0;
  for (uint32_t i = first; i < count_of(insn); i += step) {
    out[0]++;
    out[1] += (double)get(b, insn, 1, p, i);
  }
  out[1] /= out[0] > 0 ? out[0] : 1;
  for (uint32_t i = first; i < count_of(insn); i += step) {
    out[2] += pow((double)get(b, insn, 1, p, i) - out[1], 2);
  }
}

static float result(const bench *b, const ibx_insn *insn, uint32_t p,
                    uint32_t i) {
  float value;
  memcpy(&value, address(b, b->sim->memory, insn, 0, p, i), 4);
  return value;
}

// bn_stats of two tiles of one row, and bn_aggr of both: what one sum gives.
static void statistics_are_those_of_all_elements(void **state) {
  (void)state;
  bench *b = bench_create(IBX_TARGET_ibx2, V, 9);
  for (int t = 0; t < TRIES; t++) {
    uint32_t n = 1 + below(b, 200), cut = 1 + below(b, n);
    ibx_insn all = ibx_insn_make(IBX_OP_bn_stats);
    all.partitions = (uint8_t)(1 + below(b, 128));
    all.num[4] = n;
    all.operand[1] = words_at(0);
    all.operand[1].dtype = IBX_DTYPE_F32;
    all.operand[0] = all.operand[1];
    all.operand[0].buffer = B_PSUM;
    ibx_insn tile[2] = {all, all}, sum = all;
    tile[0].num[4] = cut;
    tile[1].num[4] = n - cut ? n - cut : 1;
    tile[1].operand[1].offset = (n - cut ? cut : 0) * 4;
    tile[1].operand[0].offset = 24;
    sum.opcode = IBX_OP_bn_aggr;
    sum.num[4] = n - cut ? 12 : 6;
    sum.operand[1] = tile[0].operand[0];
    sum.operand[0].offset = 96;
    ibx_insn insns[] = {tile[0], tile[1], sum};
    start(b, insns, 3);
    uint8_t *values = b->after[IBX_SPACE_SBUF];
    for (size_t i = 0; i < b->sim->memory_bytes[IBX_SPACE_SBUF]; i += 4) {
      float value = world_float(&b->random, 3) + 10; // no NaN
      memcpy(values + i, &value, 4);
      memcpy(b->sim->memory[IBX_SPACE_SBUF] + i, &value, 4);
    }
    memcpy(b->before[IBX_SPACE_SBUF], values,
           (size_t)b->sim->memory_bytes[IBX_SPACE_SBUF]);
    run(b);
    for (uint32_t p = 0; p < all.partitions; p++) {
      for (uint32_t k = 0; k < 2; k++) {
        double wanted[3];
        moments(b, &tile[0], p, k, 2, wanted);
        for (uint32_t i = 0; i < 3; i++) {
          expect_near(result(b, &tile[0], p, 3 * k + i), wanted[i]);
        }
      }
      double wanted[3];
      moments(b, &all, p, 0, 1, wanted);
      expect_near(result(b, &sum, p, 0), wanted[1]);
      expect_near(result(b, &sum, p, 1), wanted[2] / wanted[0]);
    }
  }
  bench_destroy(b);
}

// --- unary operators ----------------------------------------------------------

static void unary_operators_see_one_side(void **state) {
  (void)state;
  const float values[] = {-4, -0.0f, 0, 0.25f, 3, -INFINITY, NAN};
  for (uint8_t op = IBX_ALU_ABS; op <= IBX_ALU_RECIPROCAL; op++) {
    for (int specification = 0; specification < 2; specification++) {
      bench *b = bench_create(IBX_TARGET_ibx2, V, 1);
      ibx_insn insn = ibx_insn_make(IBX_OP_tensor_scalar);
      insn.num[4] = IBX_COUNT_OF(values);
      insn.op[0] = op;
      insn.operand[1] = insn.operand[0] = words_at(0);
      insn.operand[0].dtype = insn.operand[1].dtype = IBX_DTYPE_F32;
      start(b, &insn, 1);
      memcpy(words(b, 0, 0), values, sizeof(values));
      ibx_sim_options options = {.specification = specification == 1};
      ibx_sim_memory memory = {.hbm = b->w.hbm};
      assert_int_equal(ibx_sim_run(b->sim, &options, &memory, &b->w.err),
                       IBX_OK);
      for (size_t i = 0; i < IBX_COUNT_OF(values); i++) {
        float got, wanted = alu(op, values[i], 99);
        memcpy(&got, words(b, 0, 4 * i), 4);
        assert_true(got == wanted || (isnan(got) && isnan(wanted)));
      }
      bench_destroy(b);
    }
  }
}

static void invert_turns_every_bit(void **state) {
  (void)state;
  bench *b = bench_create(IBX_TARGET_ibx2, V, 1);
  ibx_insn insn = ibx_insn_make(IBX_OP_tensor_scalar);
  insn.num[4] = 2;
  insn.op[0] = IBX_ALU_INVERT;
  insn.operand[0] = insn.operand[1] = words_at(0);
  insn.operand[0].dtype = insn.operand[1].dtype = IBX_DTYPE_I16;
  start(b, &insn, 1);
  *words(b, 0, 0) = 0x00ff1234;
  run(b);
  assert_int_equal(*words(b, 0, 0), 0xff00edcb);
  bench_destroy(b);
}

// --- MX types -----------------------------------------------------------------

// The code whose value is nearest, of two the even one.
static uint8_t nearest_code(ibx_dtype dtype, double value) {
  int best = 0;
  double distance = INFINITY;
  for (int code = 0; code < 256; code++) {
    uint8_t byte = (uint8_t)code;
    float known;
    ibx_dtype_load_f32(dtype, &byte, &known, 1);
    if (!isfinite(known) || (signbit(known) != 0) != (signbit(value) != 0)) {
      continue;
    }
    double here = fabs((double)known - value);
    if (here < distance || (here == distance && code % 2 == 0)) best = code;
    if (here < distance) distance = here;
  }
  return (uint8_t)best;
}

// 8 partitions x 4 elements of one scale.
static void expect_group(bench *b, const ibx_insn *insn, uint32_t p,
                         uint32_t i) {
  bool is_e5m2 = insn->operand[0].dtype == IBX_DTYPE_F8E5M2X4;
  ibx_dtype dtype = is_e5m2 ? IBX_DTYPE_F8E5M2 : IBX_DTYPE_F8E4M3FN;
  ibx_insn flat = *insn; // src is a row of 4N
  flat.num[4] *= 4;
  double most = 0;
  bool is_nan = false;
  for (uint32_t k = 0; k < 32; k++) {
    double value = (double)get(b, &flat, 1, p + k / 4, 4 * i + k % 4);
    is_nan = is_nan || !isfinite(value);
    most = fmax(most, fabs(value));
  }
  int power = -127;
  if (most > 0 && !is_nan) {
    power = (int)floor(log2(most)) - (is_e5m2 ? 14 : 7);
  }
  if (power < -127) power = -127;
  put_bits(b, insn, 2, p / 32 * 32 + p % 32 / 8, i,
           is_nan ? 255 : (uint32_t)(power + 127));
  for (uint32_t k = 0; k < 32; k++) {
    double value = (double)get(b, &flat, 1, p + k / 4, 4 * i + k % 4);
    uint8_t code = is_nan ? (is_e5m2 ? 0x7e : 0x7f)
                          : nearest_code(dtype, ldexp(value, -power));
    address(b, b->after, insn, 0, p + k / 4, i)[k % 4] = code;
  }
}

// Numbers of all sizes in groups of alike ones, with zeros and NaNs.
static void fill_sizes(bench *b, const ibx_insn *insn) {
  ibx_insn flat = *insn;
  flat.num[4] *= 4;
  bool is_f16 = insn->operand[1].dtype == IBX_DTYPE_F16;
  for (uint32_t i = 0; i < flat.num[4]; i++) {
    for (uint32_t p = 0; p < insn->partitions; p++) {
      int size = (int)(i / 4 * 37 + p / 8 * 11) % (is_f16 ? 38 : 250);
      float value =
          ldexpf(world_float(&b->random, 1), size - (is_f16 ? 22 : 130));
      if (i / 4 % 5 == 4) value = 0;
      if (below(b, 2000) == 0) value = below(b, 2) ? NAN : INFINITY;
      ibx_dtype_store_f32((ibx_dtype)insn->operand[1].dtype, &value,
                          address(b, b->sim->memory, &flat, 1, p, i), 1);
    }
  }
}

static void groups_are_scaled_to_mx_types(void **state) {
  (void)state;
  static const uint8_t tiles[] = {32, 64, 96, 128};
  bench *b = bench_create(IBX_TARGET_ibx4, V, 21);
  for (int t = 0; t < TRIES / 3; t++) {
    ibx_insn insn = ibx_insn_make(IBX_OP_quantize_mx);
    insn.partitions = tiles[below(b, 4)];
    insn.num[4] = 1 + below(b, 20);
    for (uint16_t slot = 0; slot < 3; slot++) {
      insn.operand[slot] = words_at(4 * below(b, 100));
      insn.operand[slot].buffer = (uint16_t)(B_SBUF + slot);
      insn.operand[slot].step[4] = 1 + (int32_t)below(b, 3);
    }
    insn.operand[0].dtype =
        below(b, 2) ? IBX_DTYPE_F8E5M2X4 : IBX_DTYPE_F8E4M3FNX4;
    insn.operand[1].dtype = below(b, 2) ? IBX_DTYPE_F16 : IBX_DTYPE_BF16;
    insn.operand[2].dtype = IBX_DTYPE_F8E8M0;
    insn.operand[2].partition = (uint8_t)(4 * below(b, 4));
    start(b, &insn, 1);
    fill_sizes(b, &insn);
    size_t size = (size_t)b->sim->memory_bytes[IBX_SPACE_SBUF];
    memcpy(b->before[IBX_SPACE_SBUF], b->sim->memory[IBX_SPACE_SBUF], size);
    memcpy(b->after[IBX_SPACE_SBUF], b->sim->memory[IBX_SPACE_SBUF], size);
    run(b);
    for (uint32_t p = 0; p < insn.partitions; p += 8) {
      for (uint32_t i = 0; i < insn.num[4]; i++) {
        expect_group(b, &insn, p, i);
      }
    }
    expect_same(b, &insn, 1);
  }
  bench_destroy(b);
}

// --- dynamic copies -----------------------------------------------------------

// Row 2 of a table, by a register, from it or to it; row 3 is none of the three.
static void a_register_picks_the_row(void **state) {
  (void)state;
  for (uint32_t row = 2; row < 4; row++) {
    for (uint8_t slot = 0; slot < 2; slot++) {
      bench *b = bench_create(IBX_TARGET_ibx3, V, 3);
      ibx_insn insns[] = {ibx_insn_make(IBX_OP_register_move),
                          ibx_insn_make(IBX_OP_tensor_copy_dynamic)};
      insns[0].reg[0] = 5;
      insns[0].count = row;
      ibx_insn *copy = &insns[1];
      copy->partitions = 128;
      copy->num[4] = 7;
      copy->index_register = 6;
      copy->index_slot = slot;
      copy->count = 3;
      copy->operand[0] = words_at(4);
      copy->operand[1] = words_at(1024);
      copy->operand[slot].step[0] = 10;
      start(b, insns, 2);
      ibx_sim_options options = {.order = IBX_SIM_ORDER_PROGRAM};
      ibx_sim_memory memory = {.hbm = b->w.hbm};
      ibx_status status = ibx_sim_run(b->sim, &options, &memory, &b->w.err);
      if (row == 3) {
        assert_int_equal(status, IBX_DEVICE_ERROR);
        assert_non_null(strstr(b->w.err.message, "has 3 places"));
      } else {
        ibx_insn plain = *copy;
        plain.opcode = IBX_OP_rng; // so that shapes are those of the space
        plain.operand[slot].offset += 20 * 4;
        for (uint32_t p = 0; p < 128; p++) {
          for (uint32_t i = 0; i < 7; i++) {
            memcpy(address(b, b->after, &plain, 0, p, i),
                   b->sim->memory[IBX_SPACE_SBUF] +
                       (address(b, b->after, &plain, 1, p, i) -
                        b->after[IBX_SPACE_SBUF]),
                   4);
          }
        }
        expect_same(b, insns, 2);
      }
      bench_destroy(b);
    }
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(accumulators_go_through_several_instructions),
      cmocka_unit_test(searches_find_what_their_sentences_say),
      cmocka_unit_test(shuffles_move_bits_within_32_partitions),
      cmocka_unit_test(random_numbers_follow_from_the_state),
      cmocka_unit_test(the_published_state_gives_the_published_numbers),
      cmocka_unit_test(seeds_repeat_and_differ),
      cmocka_unit_test(numbers_are_uniform),
      cmocka_unit_test(statistics_are_those_of_all_elements),
      cmocka_unit_test(groups_are_scaled_to_mx_types),
      cmocka_unit_test(a_register_picks_the_row),
      cmocka_unit_test(unary_operators_see_one_side),
      cmocka_unit_test(invert_turns_every_bit),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

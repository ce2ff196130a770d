// SPDX-License-Identifier: Apache-2.0
//
// Every instruction of the simulator against an interpreter that knows nothing
// of its rows, views and plans: random operands, steps, partitions and types
// that ibx_insn_check() lets pass, one element after the other.

#include "sim/state.h"

#include "support/sim_world.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

enum { TRIES = 60, SBUF_BYTES = 2048, HBM_BYTES = 65536 };

// Buffers of the world: each has room for every operand.
enum { B_PSUM, B_SBUF, B_SBUF2, B_SBUF3, B_HBM_IN, B_HBM_OUT, B_COUNT };

typedef struct bench {
  world w;
  ibx_sim *sim;
  uint64_t random;
  uint8_t *before[IBX_SPACE_COUNT]; // memories before the instruction
  uint8_t *after[IBX_SPACE_COUNT];  // as the interpreter leaves them
  uint8_t in[HBM_BYTES], out[HBM_BYTES], out_after[HBM_BYTES];
} bench;

static uint32_t below(bench *b, uint32_t limit) {
  return world_below(&b->random, limit);
}

static void *checked(void *memory) {
  assert_non_null(memory);
  return memory;
}

static bench *bench_create(ibx_target target, uint64_t seed) {
  bench *b = checked(calloc(1, sizeof(*b)));
  b->random = seed;
  world_init(&b->w, target);
  world_chip(&b->w, IBX_SPACE_PSUM, 0, WORLD_PSUM_BYTES);
  for (uint64_t i = 0; i < 3; i++) {
    world_chip(&b->w, IBX_SPACE_SBUF, i * SBUF_BYTES, SBUF_BYTES);
  }
  world_hbm(&b->w, IBX_BUFFER_INPUT, b->in, HBM_BYTES);
  world_hbm(&b->w, IBX_BUFFER_OUTPUT, b->out, HBM_BYTES);
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

typedef struct spot {
  uint32_t partition; // relative to the operand's first
  uint32_t i[IBX_DIMS];
} spot;

static uint8_t *hbm_of(bench *b, uint32_t buffer, bool after) {
  if (buffer == B_HBM_IN) return b->in;
  return after ? b->out_after : b->out;
}

// Address by the sentence in isa.h, in the memory before or after.
static uint8_t *address(bench *b, const ibx_insn *insn, size_t slot, spot at,
                        size_t bytes, bool after) {
  const ibx_operand *o = &insn->operand[slot];
  const ibx_buffer_place *place = &b->w.buffers[o->buffer].place;
  int64_t partition = o->partition + at.partition;
  int64_t offset = (int64_t)o->offset;
  for (size_t d = 0; d < IBX_DIMS; d++) {
    offset += (int64_t)o->step[d] * at.i[d] * (int64_t)bytes;
    partition += (int64_t)o->partition_step[d] * at.i[d];
  }
  if (place->space == IBX_SPACE_HBM) {
    return hbm_of(b, o->buffer, after) + offset;
  }
  uint8_t *memory = after ? b->after[place->space] : b->before[place->space];
  return memory +
         (uint64_t)(place->partition + partition) *
             b->sim->partition_bytes[place->space] +
         place->offset + (uint64_t)offset;
}

static float read_value(bench *b, const ibx_insn *insn, size_t slot, spot at) {
  ibx_dtype dtype = (ibx_dtype)insn->operand[slot].dtype;
  if (dtype == IBX_DTYPE_NONE) dtype = IBX_DTYPE_F32;
  float value;
  ibx_dtype_load_f32(dtype,
                     address(b, insn, slot, at, ibx_dtype_bytes(dtype), false),
                     &value, 1);
  return value;
}

static void write_value(bench *b, const ibx_insn *insn, size_t slot, spot at,
                        float value) {
  ibx_dtype dtype = (ibx_dtype)insn->operand[slot].dtype;
  if (dtype == IBX_DTYPE_NONE) dtype = IBX_DTYPE_F32;
  if (value != value) value = NAN; // the rule of sim/element.h
  ibx_dtype_store_f32(dtype, &value,
                      address(b, insn, slot, at, ibx_dtype_bytes(dtype), true),
                      1);
}

static int64_t read_integer(bench *b, const ibx_insn *insn, size_t slot,
                            spot at) {
  ibx_dtype dtype = (ibx_dtype)insn->operand[slot].dtype;
  const uint8_t *p = address(b, insn, slot, at, ibx_dtype_bytes(dtype), false);
  switch (dtype) {
  case IBX_DTYPE_I8: return (int8_t)*p;
  case IBX_DTYPE_U8:
  case IBX_DTYPE_BOOL: return *p;
  case IBX_DTYPE_I16: return *(const int16_t *)(const void *)p;
  case IBX_DTYPE_U16: return *(const uint16_t *)(const void *)p;
  case IBX_DTYPE_I32: return *(const int32_t *)(const void *)p;
  default: return *(const uint32_t *)(const void *)p;
  }
}

static void write_integer(bench *b, const ibx_insn *insn, size_t slot, spot at,
                          uint64_t value) {
  size_t bytes = ibx_dtype_bytes((ibx_dtype)insn->operand[slot].dtype);
  memcpy(address(b, insn, slot, at, bytes, true), &value, bytes);
}

// Scalar of slot 2 or 3, or the immediate.
static float read_scalar(bench *b, const ibx_insn *insn, size_t slot,
                         uint32_t partition, float immediate) {
  if (insn->operand[slot].buffer == IBX_NO_BUFFER) return immediate;
  return read_value(b, insn, slot, (spot){.partition = partition});
}

static float alu(uint8_t op, float a, float b) {
  switch ((ibx_alu)op) {
  case IBX_ALU_BYPASS: return a;
  case IBX_ALU_ADD: return a + b;
  case IBX_ALU_SUBTRACT: return a - b;
  case IBX_ALU_MULTIPLY: return a * b;
  case IBX_ALU_MAX: return isnan(a) || isnan(b) ? NAN : a > b ? a : b;
  case IBX_ALU_MIN: return isnan(a) || isnan(b) ? NAN : a < b ? a : b;
  case IBX_ALU_EQUAL: return a == b;
  case IBX_ALU_NOT_EQUAL: return a != b;
  case IBX_ALU_GREATER: return a > b;
  case IBX_ALU_GREATER_EQUAL: return a >= b;
  case IBX_ALU_LESS: return a < b;
  case IBX_ALU_LESS_EQUAL: return a <= b;
  case IBX_ALU_LOGICAL_AND: return a != 0 && b != 0;
  case IBX_ALU_LOGICAL_OR: return a != 0 || b != 0;
  case IBX_ALU_LOGICAL_XOR: return (a != 0) != (b != 0);
  case IBX_ALU_POWER: return powf(a, b);
  case IBX_ALU_ABS_MAX: return fabsf(a) > fabsf(b) ? fabsf(a) : fabsf(b);
  case IBX_ALU_ABS_MIN: return fabsf(a) < fabsf(b) ? fabsf(a) : fabsf(b);
  default: fail_msg("operator %u is none of arithmetic", op); return 0;
  }
}

static uint32_t bit_alu(uint8_t op, uint32_t a, uint32_t b, unsigned width) {
  uint64_t mask = (UINT64_C(1) << width) - 1;
  uint64_t x = a & mask, y = b;
  switch ((ibx_alu)op) {
  case IBX_ALU_BYPASS: return a;
  case IBX_ALU_BITWISE_AND: return a & b;
  case IBX_ALU_BITWISE_OR: return a | b;
  case IBX_ALU_BITWISE_XOR: return a ^ b;
  case IBX_ALU_SHIFT_LEFT: return y >= width ? 0 : (uint32_t)(x << y & mask);
  case IBX_ALU_SHIFT_RIGHT: return y >= width ? 0 : (uint32_t)(x >> y);
  default: fail_msg("operator %u is none of bits", op); return 0;
  }
}

// The order that rows.h states.
static float fold(uint8_t op, const float *values, size_t n) {
  float lane[16] = {0};
  for (size_t i = 0; i < n; i++) {
    lane[i % 16] = i < 16 ? values[i] : alu(op, lane[i % 16], values[i]);
  }
  for (size_t j = 1; j < 16 && j < n; j++) {
    lane[0] = alu(op, lane[0], lane[j]);
  }
  return lane[0];
}

static double sigmoid(double x) { return 1 / (1 + exp(-x)); }

static double softplus(double x) {
  return (x > 0 ? x : 0) + log1p(exp(-fabs(x)));
}

static double act(uint8_t op, double x, double slope) {
  const double pi = 3.14159265358979323846;
  double cubic = x + 0.044715 * x * x * x, d = pi - fabs(x);
  switch ((ibx_act)op) {
  case IBX_ACT_COPY: return x;
  case IBX_ACT_RELU: return x > 0 ? x : 0;
  case IBX_ACT_SQUARE: return x * x;
  case IBX_ACT_ABS: return fabs(x);
  case IBX_ACT_SIGN: return (x > 0) - (x < 0);
  case IBX_ACT_PRELU: return x > 0 ? x : x * slope;
  case IBX_ACT_EXP: return exp(x);
  case IBX_ACT_SIGMOID: return sigmoid(x);
  case IBX_ACT_SILU: return x * sigmoid(x);
  case IBX_ACT_TANH: return tanh(x);
  case IBX_ACT_SOFTPLUS: return softplus(x);
  case IBX_ACT_MISH: return x * tanh(softplus(x));
  case IBX_ACT_ERF: return erf(x);
  case IBX_ACT_GELU: return x * (1 + erf(x / sqrt(2))) / 2;
  case IBX_ACT_GELU_TANH: return x * (1 + tanh(sqrt(2 / pi) * cubic)) / 2;
  case IBX_ACT_LOG: return log(x);
  case IBX_ACT_SQRT: return sqrt(x);
  case IBX_ACT_RSQRT: return 1 / sqrt(x);
  case IBX_ACT_RECIPROCAL: return 1 / x;
  case IBX_ACT_SIN:
    return d >= 0 ? sin(x) : copysign(1, x) * (d - d * d * d / 6);
  case IBX_ACT_ARCTAN: return atan(x);
  case IBX_ACT_GELU_DX:
    return (1 + erf(x / sqrt(2))) / 2 + x * exp(-x * x / 2) / sqrt(2 * pi);
  case IBX_ACT_GELU_SIGMOID: return x * sigmoid(1.702 * x);
  case IBX_ACT_GELU_SIGMOID_DX:
    return sigmoid(1.702 * x) +
           1.702 * x * sigmoid(1.702 * x) * sigmoid(-1.702 * x);
  case IBX_ACT_SILU_DX: return sigmoid(x) + x * sigmoid(x) * sigmoid(-x);
  case IBX_ACT_ERF_DX: return 2 / sqrt(pi) * exp(-x * x);
  case IBX_ACT_COUNT: break;
  }
  fail_msg("function %u is unknown", op);
  return 0;
}

static spot spot_at(const ibx_insn *insn, uint32_t partition, uint32_t n) {
  spot at = {.partition = partition};
  for (size_t d = IBX_DIMS; d-- > 0;) {
    at.i[d] = n % insn->num[d];
    n /= insn->num[d];
  }
  return at;
}

static uint32_t element_count(const ibx_insn *insn) {
  uint32_t n = 1;
  for (size_t d = 0; d < IBX_DIMS; d++) {
    n *= insn->num[d];
  }
  return n;
}

static float compute(bench *b, const ibx_insn *insn, spot at, float *running) {
  float x = 0, y = 0, s[2];
  uint32_t p = at.partition;
  bool binary = ibx_insn_get(insn->opcode)->format == IBX_FORMAT_binary;
  s[0] = read_scalar(b, insn, 2, p, insn->imm[0]);
  s[1] = 0;
  if (binary) s[0] = read_scalar(b, insn, 3, p, insn->imm[0]);
  if (insn->operand[1].buffer != IBX_NO_BUFFER) x = read_value(b, insn, 1, at);
  if (binary) y = read_value(b, insn, 2, at);
  switch (insn->opcode) {
  case IBX_OP_tensor_copy: return x;
  case IBX_OP_memset: return insn->imm[0];
  case IBX_OP_reciprocal: return 1.0f / x;
  case IBX_OP_tensor_tensor: return alu(insn->op[0], x, y);
  case IBX_OP_scalar_tensor_tensor:
    return alu(insn->op[1], alu(insn->op[0], x, s[0]), y);
  case IBX_OP_tensor_scalar_reduce: return alu(insn->op[0], x, s[0]);
  case IBX_OP_tensor_scan:
    *running = alu(insn->op[1], alu(insn->op[0], x, *running), y);
    return *running;
  case IBX_OP_tensor_scalar:
    s[1] = read_scalar(b, insn, 3, p, insn->imm[1]);
    x = insn->flags & IBX_FLAG_REVERSE0 ? alu(insn->op[0], s[0], x)
                                        : alu(insn->op[0], x, s[0]);
    if (insn->op[1] == IBX_ALU_BYPASS) return x;
    return insn->flags & IBX_FLAG_REVERSE1 ? alu(insn->op[1], s[1], x)
                                           : alu(insn->op[1], x, s[1]);
  default: fail_msg("instruction %u is not elementwise", insn->opcode);
  }
  return 0;
}

static void interpret_elements(bench *b, const ibx_insn *insn) {
  uint32_t n = element_count(insn);
  float *row = checked(calloc(n, sizeof(*row)));
  for (uint32_t p = 0; p < insn->partitions; p++) {
    bool scans = insn->opcode == IBX_OP_tensor_scan;
    float running = scans ? read_scalar(b, insn, 3, p, insn->imm[0]) : 0.0f;
    for (uint32_t i = 0; i < n; i++) {
      row[i] = compute(b, insn, spot_at(insn, p, i), &running);
      write_value(b, insn, 0, spot_at(insn, p, i), row[i]);
    }
    if (insn->opcode == IBX_OP_tensor_scalar_reduce) {
      write_value(b, insn, 3, (spot){.partition = p},
                  fold(insn->op[1], row, n));
    }
  }
  free(row);
}

static bool is_exact(const ibx_insn *insn) {
  return insn->operand[0].dtype == insn->operand[1].dtype;
}

static void interpret_copy(bench *b, const ibx_insn *insn) {
  size_t bytes = ibx_dtype_bytes((ibx_dtype)insn->operand[0].dtype);
  for (uint32_t p = 0; p < insn->partitions; p++) {
    for (uint32_t i = 0; i < element_count(insn); i++) {
      spot at = spot_at(insn, p, i);
      memcpy(address(b, insn, 0, at, bytes, true),
             address(b, insn, 1, at, bytes, false), bytes);
    }
  }
}

static void interpret_bits(bench *b, const ibx_insn *insn) {
  unsigned width =
      (unsigned)(8 * ibx_dtype_bytes((ibx_dtype)insn->operand[1].dtype));
  for (uint32_t p = 0; p < insn->partitions; p++) {
    for (uint32_t i = 0; i < element_count(insn); i++) {
      spot at = spot_at(insn, p, i);
      uint32_t x = (uint32_t)read_integer(b, insn, 1, at);
      uint32_t y = insn->opcode == IBX_OP_tensor_tensor
                       ? (uint32_t)read_integer(b, insn, 2, at)
                       : (uint32_t)(int64_t)insn->imm[0];
      bool reverse = (insn->flags & IBX_FLAG_REVERSE0) != 0;
      x = reverse ? bit_alu(insn->op[0], y, x, width)
                  : bit_alu(insn->op[0], x, y, width);
      if (insn->opcode == IBX_OP_tensor_scalar &&
          insn->op[1] != IBX_ALU_BYPASS) {
        y = (uint32_t)(int64_t)insn->imm[1];
        reverse = (insn->flags & IBX_FLAG_REVERSE1) != 0;
        x = reverse ? bit_alu(insn->op[1], y, x, width)
                    : bit_alu(insn->op[1], x, y, width);
      }
      write_integer(b, insn, 0, at, x);
    }
  }
}

static void interpret_select(bench *b, const ibx_insn *insn) {
  size_t bytes = ibx_dtype_bytes((ibx_dtype)insn->operand[0].dtype);
  for (uint32_t p = 0; p < insn->partitions; p++) {
    for (uint32_t i = 0; i < element_count(insn); i++) {
      spot at = spot_at(insn, p, i);
      if (read_integer(b, insn, 2, at) == 0) continue;
      memcpy(address(b, insn, 0, at, bytes, true),
             address(b, insn, 1, at, bytes, false), bytes);
    }
  }
}

static void interpret_reduce(bench *b, const ibx_insn *insn) {
  uint32_t group = 1, n = element_count(insn);
  for (size_t d = 2; d < IBX_DIMS; d++) {
    if (insn->operand[0].step[d] == 0) group *= insn->num[d];
  }
  float *values = checked(calloc(group, sizeof(*values)));
  for (uint32_t p = 0; p < insn->partitions; p++) {
    for (uint32_t i = 0; i < n; i += group) {
      for (uint32_t j = 0; j < group; j++) {
        values[j] = read_value(b, insn, 1, spot_at(insn, p, i + j));
      }
      float result = fold(insn->op[0], values, group);
      if (insn->flags & IBX_FLAG_NEGATE) result = -result;
      write_value(b, insn, 0, spot_at(insn, p, i), result);
    }
  }
  free(values);
}

static void interpret_partition_reduce(bench *b, const ibx_insn *insn) {
  for (uint32_t i = 0; i < element_count(insn); i++) {
    float result = read_value(b, insn, 1, spot_at(insn, 0, i));
    for (uint32_t p = 1; p < insn->partitions; p++) {
      result =
          alu(insn->op[0], result, read_value(b, insn, 1, spot_at(insn, p, i)));
    }
    write_value(b, insn, 0, spot_at(insn, 0, i), result);
  }
}

static void interpret_transpose(bench *b, const ibx_insn *insn) {
  size_t bytes = ibx_dtype_bytes((ibx_dtype)insn->operand[0].dtype);
  for (uint32_t p = 0; p < insn->partitions; p++) {
    for (uint32_t i = 0; i < element_count(insn); i++) {
      spot to = {.partition = i, .i = {[4] = p}};
      memcpy(address(b, insn, 0, to, bytes, true),
             address(b, insn, 1, spot_at(insn, p, i), bytes, false), bytes);
    }
  }
}

static void interpret_iota(bench *b, const ibx_insn *insn) {
  bool whole = insn->operand[0].dtype == IBX_DTYPE_I32 ||
               insn->operand[0].dtype == IBX_DTYPE_U32;
  for (uint32_t p = 0; p < insn->partitions; p++) {
    for (uint32_t i = 0; i < element_count(insn); i++) {
      int64_t value = (int64_t)insn->imm[0] + (int64_t)insn->imm[1] * p + i;
      spot at = spot_at(insn, p, i);
      if (whole) {
        write_integer(b, insn, 0, at, (uint32_t)value);
      } else {
        write_value(b, insn, 0, at, (float)(int32_t)value);
      }
    }
  }
}

static void interpret_dma(bench *b, const ibx_insn *insn) {
  ibx_dtype to = (ibx_dtype)insn->operand[0].dtype;
  ibx_dtype from = (ibx_dtype)insn->operand[1].dtype;
  for (uint32_t i = 0; i < element_count(insn); i++) {
    spot at = spot_at(insn, 0, i), source = at;
    if (insn->opcode == IBX_OP_dma_gather) {
      spot row = {.partition = at.i[0]};
      source.i[0] = (uint32_t)read_integer(b, insn, 2, row);
    }
    uint8_t *dst = address(b, insn, 0, at, ibx_dtype_bytes(to), true);
    uint8_t *src = address(b, insn, 1, source, ibx_dtype_bytes(from), false);
    float value;
    if (to == from) {
      memcpy(dst, src, ibx_dtype_bytes(to));
    } else {
      ibx_dtype_load_f32(from, src, &value, 1);
      ibx_dtype_store_f32(to, &value, dst, 1);
    }
  }
}

static const ibx_dtype chip_dtypes[] = {
    IBX_DTYPE_F32,    IBX_DTYPE_BF16, IBX_DTYPE_F16, IBX_DTYPE_F8E4M3,
    IBX_DTYPE_F8E5M2, IBX_DTYPE_I8,   IBX_DTYPE_U8,  IBX_DTYPE_I16,
    IBX_DTYPE_U16,    IBX_DTYPE_I32,  IBX_DTYPE_U32, IBX_DTYPE_BOOL};

static uint8_t pick_dtype(bench *b) {
  if (below(b, 2) == 0) return IBX_DTYPE_F32;
  return (uint8_t)chip_dtypes[below(b, IBX_COUNT_OF(chip_dtypes))];
}

static uint32_t pick_buffer(bench *b) {
  return (uint16_t)(below(b, 3) == 0 ? B_PSUM : B_SBUF + below(b, 2));
}

// Places an operand so that all its elements lie in its buffer: steps first,
// then the offset that the lowest and the highest element allow.
static bool place_operand(bench *b, ibx_insn *insn, size_t slot, size_t bytes) {
  ibx_operand *o = &insn->operand[slot];
  int64_t low = 0, high = 0;
  for (size_t d = 0; d < IBX_DIMS; d++) {
    int64_t reach = (int64_t)o->step[d] * (insn->num[d] - 1);
    *(reach < 0 ? &low : &high) += reach;
  }
  int64_t room = (int64_t)(b->w.buffers[o->buffer].place.bytes / bytes);
  int64_t free_elements = room - (high - low + 1);
  if (free_elements < 0) return false;
  int64_t first = below(b, (uint32_t)free_elements + 1) - low;
  o->offset = (uint64_t)first * bytes;
  return true;
}

static const uint8_t starts[] = {0, 0, 0, 32, 64, 96};

// A tensor on chip with steps of three kinds: packed, packed with gaps, any.
static bool random_tensor(bench *b, ibx_insn *insn, size_t slot) {
  ibx_operand *o = &insn->operand[slot];
  o->buffer = pick_buffer(b);
  o->dtype = pick_dtype(b);
  o->partition = starts[below(b, IBX_COUNT_OF(starts))];
  int32_t packed = 1;
  unsigned kind = below(b, 3);
  for (size_t d = IBX_DIMS; d-- > 2;) {
    o->step[d] = packed;
    packed *= (int32_t)insn->num[d];
    if (kind == 1) packed += (int32_t)below(b, 3);
    // Any step, but one that does not write an element twice.
    if (kind == 2 && slot != 0) o->step[d] = (int32_t)below(b, 9) - 4;
  }
  // Two sources in one buffer hold numbers of one type.
  bool shares = slot == 2 && o->buffer == insn->operand[1].buffer;
  if (shares) o->dtype = insn->operand[1].dtype;
  return place_operand(b, insn, slot, ibx_dtype_bytes((ibx_dtype)o->dtype));
}

static bool random_scalar(bench *b, ibx_insn *insn, size_t slot) {
  ibx_operand *o = &insn->operand[slot];
  bool is_read = ibx_insn_get(insn->opcode)->slot[slot] == IBX_SLOT_SCALAR_READ;
  if (is_read && below(b, 2) == 0) return true;
  // A buffer of its own: its numbers are fp32, and no order is stated for
  // scalars that the destination overwrites.
  o->buffer = B_SBUF3;
  o->partition = starts[below(b, IBX_COUNT_OF(starts))];
  o->offset = 4 * below(b, SBUF_BYTES / 4);
  return true;
}

static bool random_operands(bench *b, ibx_insn *insn) {
  const ibx_insn_info *info = ibx_insn_get(insn->opcode);
  for (size_t slot = 0; slot < IBX_OPERANDS; slot++) {
    bool done = true;
    switch (info->slot[slot]) {
    case IBX_SLOT_NONE: break;
    case IBX_SLOT_SCALAR_READ:
    case IBX_SLOT_SCALAR_WRITE: done = random_scalar(b, insn, slot); break;
    default: done = random_tensor(b, insn, slot); break;
    }
    if (!done) return false;
  }
  return true;
}

static ibx_insn random_insn(bench *b, ibx_opcode opcode) {
  static const uint8_t partitions[] = {1, 3, 16, 32, 33, 64, 100, 128};
  ibx_insn insn = ibx_insn_make(opcode);
  insn.partitions = partitions[below(b, IBX_COUNT_OF(partitions))];
  insn.num[4] = 1 + below(b, below(b, 2) ? 8 : 40);
  if (below(b, 2)) insn.num[3] = 1 + below(b, 5);
  if (below(b, 3) == 0) insn.num[2] = 1 + below(b, 4);
  insn.imm[0] = world_float(&b->random, 4);
  insn.imm[1] = world_float(&b->random, 4);
  insn.columns = (uint8_t)(1 + below(b, 128));
  return insn;
}

// Numbers that every type holds, small integers among them.
static void fill_operand(bench *b, const ibx_insn *insn, size_t slot) {
  const ibx_operand *o = &insn->operand[slot];
  const ibx_buffer_place *place = &b->w.buffers[o->buffer].place;
  ibx_dtype dtype =
      o->dtype == IBX_DTYPE_NONE ? IBX_DTYPE_F32 : (ibx_dtype)o->dtype;
  size_t bytes = ibx_dtype_bytes(dtype);
  uint8_t *memory = b->sim->memory[place->space];
  for (uint32_t p = 0; p < IBX_PARTITIONS; p++) {
    uint8_t *row =
        memory + p * b->sim->partition_bytes[place->space] + place->offset;
    for (size_t i = 0; i + bytes <= place->bytes; i += bytes) {
      float value =
          below(b, 2) ? world_float(&b->random, 9) : (float)below(b, 7) - 3.0f;
      ibx_dtype_store_f32(dtype, &value, row + i, 1);
    }
  }
}

// The destination first: where a source shares its buffer, the source counts.
static void fill_memories(bench *b, const ibx_insn *insn) {
  for (size_t slot = 0; slot < IBX_OPERANDS; slot++) {
    uint32_t buffer = insn->operand[slot].buffer;
    if (buffer != IBX_NO_BUFFER && buffer <= B_SBUF3) {
      fill_operand(b, insn, slot);
    }
  }
}

static void copy_memories(bench *b) {
  for (size_t i = 0; i < IBX_SPACE_COUNT; i++) {
    size_t size = (size_t)b->sim->memory_bytes[i];
    free(b->before[i]);
    free(b->after[i]);
    b->before[i] = checked(malloc(size + 1));
    b->after[i] = checked(malloc(size + 1));
    memcpy(b->before[i], b->sim->memory[i], size);
    memcpy(b->after[i], b->sim->memory[i], size);
  }
  memcpy(b->out_after, b->out, sizeof(b->out));
}

static bool is_legal(const bench *b, ibx_engine engine, const ibx_insn *insn) {
  ibx_buffer_place places[B_COUNT];
  for (size_t i = 0; i < B_COUNT; i++) {
    places[i] = b->w.buffers[i].place;
  }
  return ibx_insn_check(b->w.program.machine, engine, insn, places, B_COUNT,
                        NULL) == IBX_OK;
}

// Makes a simulator of the one instruction with its memories filled.
static void prepare(bench *b, ibx_engine engine, ibx_insn insn) {
  ibx_sim_destroy(b->sim);
  for (int e = 0; e < IBX_ENGINE_COUNT; e++) {
    b->w.entry.streams[e].count = 0;
  }
  world_add(&b->w, engine, insn);
  if (ibx_sim_create(&b->w.program, &b->w.entry, &b->sim, &b->w.err) !=
      IBX_OK) {
    fail_msg("%s", b->w.err.message);
  }
  fill_memories(b, &insn);
}

// As specified, or fast.
static void run(bench *b) {
  ibx_sim_options options = {.order = IBX_SIM_ORDER_PROGRAM,
                             .specification = below(b, 2) == 0};
  ibx_sim_memory memory = {.hbm = b->w.hbm};
  if (ibx_sim_run(b->sim, &options, &memory, &b->w.err) != IBX_OK) {
    fail_msg("%s", b->w.err.message);
  }
}

static void expect_same(const bench *b) {
  for (size_t i = 0; i < IBX_SPACE_COUNT; i++) {
    size_t size = (size_t)b->sim->memory_bytes[i];
    if (memcmp(b->sim->memory[i], b->after[i], size) == 0) continue;
    size_t at = 0;
    while (b->sim->memory[i][at] == b->after[i][at])
      at++;
    fail_msg("%s differs first in partition %zu, byte %zu",
             ibx_space_name((ibx_space)i), at / b->sim->partition_bytes[i],
             at % b->sim->partition_bytes[i]);
  }
  assert_memory_equal(b->out, b->out_after, sizeof(b->out));
}

typedef void (*interpret_fn)(bench *b, const ibx_insn *insn);

// Runs one instruction both ways and compares all memories byte for byte.
static void compare(bench *b, ibx_engine engine, ibx_insn insn,
                    interpret_fn interpret) {
  prepare(b, engine, insn);
  copy_memories(b);
  run(b);
  interpret(b, &insn);
  expect_same(b);
}

// Operators that make no NaN out of the numbers of fill_operand(), whose
// payload nobody states.
static uint8_t pick_alu(bench *b, ibx_opcode opcode) {
  for (;;) {
    uint8_t op = (uint8_t)below(b, IBX_ALU_BITWISE_AND);
    bool grows = op == IBX_ALU_MULTIPLY && opcode == IBX_OP_tensor_scan;
    bool nan = op == IBX_ALU_POWER && opcode != IBX_OP_tensor_tensor;
    if (!grows && !nan) return op;
  }
}

static void elementwise(ibx_engine engine, ibx_opcode opcode,
                        interpret_fn interpret) {
  bench *b = bench_create(IBX_TARGET_ibx3, 1000 + opcode);
  const ibx_insn_info *info = ibx_insn_get((uint8_t)opcode);
  int done = 0;
  for (int i = 0; i < 100 * TRIES && done < TRIES; i++) {
    ibx_insn insn = random_insn(b, opcode);
    insn.op[0] = pick_alu(b, opcode);
    insn.op[1] = pick_alu(b, opcode);
    if (opcode == IBX_OP_tensor_tensor) insn.op[1] = 0;
    if (opcode == IBX_OP_tensor_scalar_reduce) insn.imm[1] = 0;
    if (info->slot[1] == IBX_SLOT_NONE || opcode == IBX_OP_reciprocal ||
        opcode == IBX_OP_tensor_copy) {
      insn.op[0] = insn.op[1] = 0;
    }
    if (opcode == IBX_OP_tensor_scalar) {
      insn.flags = (uint8_t)(below(b, 4) * IBX_FLAG_REVERSE0);
    }
    if (!random_operands(b, &insn) || !is_legal(b, engine, &insn)) continue;
    bool exact = interpret == interpret_copy;
    if (opcode == IBX_OP_tensor_copy && exact != is_exact(&insn)) continue;
    compare(b, engine, insn, interpret);
    done++;
  }
  assert_int_equal(done, TRIES);
  bench_destroy(b);
}

static void tensor_copy_keeps_bits_of_equal_dtypes(void **state) {
  (void)state;
  elementwise(IBX_ENGINE_VECTOR, IBX_OP_tensor_copy, interpret_copy);
}

static void tensor_copy_converts(void **state) {
  (void)state;
  elementwise(IBX_ENGINE_GPSIMD, IBX_OP_tensor_copy, interpret_elements);
}

static void tensor_scalar_applies_both_operators(void **state) {
  (void)state;
  elementwise(IBX_ENGINE_VECTOR, IBX_OP_tensor_scalar, interpret_elements);
}

static void tensor_tensor_applies_its_operator(void **state) {
  (void)state;
  elementwise(IBX_ENGINE_VECTOR, IBX_OP_tensor_tensor, interpret_elements);
}

static void scalar_tensor_tensor_chains(void **state) {
  (void)state;
  elementwise(IBX_ENGINE_VECTOR, IBX_OP_scalar_tensor_tensor,
              interpret_elements);
}

static void tensor_scalar_reduce_folds_before_converting(void **state) {
  (void)state;
  elementwise(IBX_ENGINE_VECTOR, IBX_OP_tensor_scalar_reduce,
              interpret_elements);
}

static void tensor_scan_carries_along_the_row(void **state) {
  (void)state;
  elementwise(IBX_ENGINE_VECTOR, IBX_OP_tensor_scan, interpret_elements);
}

static void reciprocal_divides(void **state) {
  (void)state;
  elementwise(IBX_ENGINE_VECTOR, IBX_OP_reciprocal, interpret_elements);
}

static void memset_fills(void **state) {
  (void)state;
  elementwise(IBX_ENGINE_VECTOR, IBX_OP_memset, interpret_elements);
}

static void set_dtypes(ibx_insn *insn, uint8_t dtype) {
  for (size_t slot = 0; slot < IBX_OPERANDS; slot++) {
    if (insn->operand[slot].dtype != IBX_DTYPE_NONE) {
      insn->operand[slot].dtype = dtype;
    }
  }
}

static void bits(ibx_opcode opcode) {
  static const uint8_t dtypes[] = {IBX_DTYPE_I8,  IBX_DTYPE_U8,  IBX_DTYPE_I16,
                                   IBX_DTYPE_U16, IBX_DTYPE_I32, IBX_DTYPE_U32};
  bench *b = bench_create(IBX_TARGET_ibx3, 77);
  int done = 0;
  for (int i = 0; i < 100 * TRIES && done < TRIES; i++) {
    ibx_insn insn = random_insn(b, opcode);
    insn.op[0] = (uint8_t)(IBX_ALU_BITWISE_AND + below(b, 5));
    insn.imm[0] = (float)below(b, 20) - 4.0f;
    insn.imm[1] = (float)below(b, 20) - 4.0f;
    if (opcode == IBX_OP_tensor_scalar) {
      insn.flags = (uint8_t)(below(b, 4) * IBX_FLAG_REVERSE0);
      if (below(b, 2))
        insn.op[1] = (uint8_t)(IBX_ALU_BITWISE_AND + below(b, 5));
    }
    if (!random_operands(b, &insn)) continue;
    set_dtypes(&insn, dtypes[below(b, IBX_COUNT_OF(dtypes))]);
    for (size_t slot = 0; slot < IBX_OPERANDS; slot++) {
      ibx_operand *o = &insn.operand[slot];
      if (o->buffer == IBX_NO_BUFFER || o->dtype == IBX_DTYPE_NONE) continue;
      o->offset = 0;
      for (size_t d = 2; d < IBX_DIMS; d++) {
        if (o->step[d] < 0) o->step[d] = -o->step[d];
      }
      insn.num[2] = 1;
    }
    if (!is_legal(b, IBX_ENGINE_VECTOR, &insn)) continue;
    compare(b, IBX_ENGINE_VECTOR, insn, interpret_bits);
    done++;
  }
  assert_int_equal(done, TRIES);
  bench_destroy(b);
}

static void bit_operators_work_on_integers_as_they_are(void **state) {
  (void)state;
  bits(IBX_OP_tensor_scalar);
  bits(IBX_OP_tensor_tensor);
}

static void interpret_wrapping(bench *b, const ibx_insn *insn) {
  for (uint32_t p = 0; p < insn->partitions; p++) {
    for (uint32_t i = 0; i < element_count(insn); i++) {
      spot at = spot_at(insn, p, i);
      int64_t x = read_integer(b, insn, 1, at),
              y = read_integer(b, insn, 2, at);
      int64_t r = insn->op[0] == IBX_ALU_ADD        ? x + y
                  : insn->op[0] == IBX_ALU_SUBTRACT ? x - y
                  : insn->op[0] == IBX_ALU_MULTIPLY
                      ? (int64_t)((uint64_t)x * (uint64_t)y)
                  : insn->op[0] == IBX_ALU_MAX ? (x > y ? x : y)
                                               : x < y;
      write_integer(b, insn, 0, at, (uint64_t)r);
    }
  }
}

static void gpsimd_adds_int32_exactly_and_wraps(void **state) {
  static const uint8_t ops[] = {IBX_ALU_ADD, IBX_ALU_SUBTRACT, IBX_ALU_MULTIPLY,
                                IBX_ALU_MAX, IBX_ALU_LESS};
  (void)state;
  bench *b = bench_create(IBX_TARGET_ibx3, 5);
  for (size_t i = 0; i < TRIES; i++) {
    ibx_insn insn = ibx_insn_make(IBX_OP_tensor_tensor);
    insn.partitions = 2;
    insn.num[4] = 64;
    insn.op[0] = ops[i % IBX_COUNT_OF(ops)];
    for (uint16_t slot = 0; slot < 3; slot++) {
      insn.operand[slot].buffer = (uint16_t)(B_SBUF + slot);
      insn.operand[slot].dtype = i % 2 ? IBX_DTYPE_I32 : IBX_DTYPE_U32;
      insn.operand[slot].step[4] = 1;
    }
    prepare(b, IBX_ENGINE_GPSIMD, insn);
    uint8_t *memory = b->sim->memory[IBX_SPACE_SBUF];
    for (size_t p = 0; p < 2; p++) {
      uint8_t *row = memory + p * b->sim->partition_bytes[IBX_SPACE_SBUF];
      for (size_t j = 0; j < 3 * SBUF_BYTES; j++) {
        row[j] = (uint8_t)below(b, 256);
      }
    }
    copy_memories(b);
    run(b);
    interpret_wrapping(b, &insn);
    expect_same(b);
  }
  bench_destroy(b);
}

static void select_leaves_what_is_not_chosen(void **state) {
  (void)state;
  bench *b = bench_create(IBX_TARGET_ibx3, 6);
  int done = 0;
  for (int i = 0; i < 500 * TRIES && done < TRIES; i++) {
    ibx_insn insn = random_insn(b, IBX_OP_select);
    if (!random_operands(b, &insn)) continue;
    insn.operand[2].dtype = below(b, 2) ? IBX_DTYPE_U8 : IBX_DTYPE_I32;
    if (!place_operand(b, &insn, 2,
                       ibx_dtype_bytes((ibx_dtype)insn.operand[2].dtype)) ||
        !is_legal(b, IBX_ENGINE_VECTOR, &insn)) {
      continue;
    }
    compare(b, IBX_ENGINE_VECTOR, insn, interpret_select);
    done++;
  }
  assert_int_equal(done, TRIES);
  bench_destroy(b);
}

static void tensor_reduce_folds_in_the_stated_order(void **state) {
  static const uint8_t ops[] = {IBX_ALU_ADD, IBX_ALU_MULTIPLY, IBX_ALU_MAX,
                                IBX_ALU_MIN, IBX_ALU_LOGICAL_OR};
  (void)state;
  bench *b = bench_create(IBX_TARGET_ibx3, 7);
  int done = 0;
  for (int i = 0; i < 100 * TRIES && done < TRIES; i++) {
    ibx_insn insn = random_insn(b, IBX_OP_tensor_reduce);
    insn.op[0] = ops[below(b, IBX_COUNT_OF(ops))];
    insn.flags = below(b, 2) ? IBX_FLAG_NEGATE : 0;
    insn.num[4] = 1 + below(b, 70);
    if (!random_operands(b, &insn)) continue;
    ibx_operand *dst = &insn.operand[0];
    uint32_t kept = 2 + below(b, 4);
    for (uint32_t d = 2; d < IBX_DIMS; d++) {
      dst->step[d] = d < kept;
    }
    if (kept >= 4) dst->step[2] = (int32_t)insn.num[3];
    if (kept == 5) {
      dst->step[3] = (int32_t)insn.num[4];
      dst->step[2] = (int32_t)(insn.num[3] * insn.num[4]);
    }
    if (!place_operand(b, &insn, 0, ibx_dtype_bytes((ibx_dtype)dst->dtype)) ||
        !is_legal(b, IBX_ENGINE_VECTOR, &insn)) {
      continue;
    }
    compare(b, IBX_ENGINE_VECTOR, insn, interpret_reduce);
    done++;
  }
  assert_int_equal(done, TRIES);
  bench_destroy(b);
}

static void partition_reduce_folds_ascending_partitions(void **state) {
  (void)state;
  bench *b = bench_create(IBX_TARGET_ibx3, 8);
  int done = 0;
  for (int i = 0; i < 100 * TRIES && done < TRIES; i++) {
    ibx_insn insn = random_insn(b, IBX_OP_partition_reduce);
    insn.op[0] = below(b, 2) ? IBX_ALU_ADD : IBX_ALU_MAX;
    if (!random_operands(b, &insn)) continue;
    if (insn.operand[0].buffer == insn.operand[1].buffer ||
        !is_legal(b, IBX_ENGINE_GPSIMD, &insn)) {
      continue;
    }
    compare(b, IBX_ENGINE_GPSIMD, insn, interpret_partition_reduce);
    done++;
  }
  assert_int_equal(done, TRIES);
  bench_destroy(b);
}

static void transposes(ibx_engine engine, ibx_opcode opcode, uint32_t most) {
  static const uint8_t dtypes[] = {IBX_DTYPE_F32, IBX_DTYPE_BF16,
                                   IBX_DTYPE_I32};
  bench *b = bench_create(IBX_TARGET_ibx3, opcode);
  for (int i = 0; i < TRIES; i++) {
    ibx_insn insn = ibx_insn_make(opcode);
    bool tensor = engine == IBX_ENGINE_TENSOR;
    uint32_t columns = 1 + below(b, most);
    insn.partitions = (uint8_t)(1 + below(b, most));
    insn.num[4] = columns;
    insn.columns = tensor ? (uint8_t)columns : 0;
    insn.operand[0].buffer = tensor ? B_PSUM : B_SBUF;
    insn.operand[1].buffer = B_SBUF2;
    insn.operand[0].step[4] = (int32_t)(1 + below(b, 2));
    insn.operand[1].step[4] = (int32_t)(1 + below(b, 3));
    uint8_t dtype = dtypes[below(b, IBX_COUNT_OF(dtypes))];
    insn.operand[0].dtype = insn.operand[1].dtype = dtype;
    compare(b, engine, insn, interpret_transpose);
  }
  bench_destroy(b);
}

static void transposes_keep_bits(void **state) {
  (void)state;
  transposes(IBX_ENGINE_TENSOR, IBX_OP_nc_transpose, 128);
  transposes(IBX_ENGINE_VECTOR, IBX_OP_vector_transpose, 32);
}

static void iota_counts(void **state) {
  (void)state;
  bench *b = bench_create(IBX_TARGET_ibx3, 9);
  int done = 0;
  for (int i = 0; i < 100 * TRIES && done < TRIES; i++) {
    ibx_insn insn = random_insn(b, IBX_OP_iota);
    insn.imm[0] = (float)below(b, 2000000) - 1000000.0f;
    insn.imm[1] = (float)below(b, 2000) - 1000.0f;
    if (!random_operands(b, &insn) || !is_legal(b, IBX_ENGINE_GPSIMD, &insn)) {
      continue;
    }
    compare(b, IBX_ENGINE_GPSIMD, insn, interpret_iota);
    done++;
  }
  assert_int_equal(done, TRIES);
  bench_destroy(b);
}

// Values that the exact function gives for the fp32 argument, and how far from
// it the result may be.
static void expect_activation(bench *b, const ibx_insn *insn) {
  size_t n = element_count(insn);
  for (uint32_t p = 0; p < insn->partitions; p++) {
    double sum = 0, size = 0;
    bool reduces = insn->opcode == IBX_OP_activation_reduce;
    for (uint32_t i = 0; i < n; i++) {
      spot at = spot_at(insn, p, i);
      float bias = read_scalar(b, insn, 2, p, insn->imm[0]);
      float scale =
          reduces ? insn->imm[1] : read_scalar(b, insn, 3, p, insn->imm[1]);
      bool slope = insn->op[0] == IBX_ACT_PRELU;
      if (slope && (reduces || insn->operand[3].buffer == IBX_NO_BUFFER)) {
        scale = 1;
      }
      float x = read_value(b, insn, 1, at) * scale + bias;
      double want = act(insn->op[0], x, insn->imm[1]);
      float got;
      memcpy(&got, address(b, insn, 0, at, 4, true), 4);
      sum += want;
      size += fabs(want);
      if (isnan(want)) {
        assert_true(isnan(got));
        continue;
      }
      double limit = 5e-7 * (fabs(want) + fmin(fabs((double)x), 1));
      if (fabs(got - want) > limit && !(isinf(got) && got == (float)want)) {
        fail_msg("%s(%a) is %a, expected %a", ibx_act_name(insn->op[0]),
                 (double)x, (double)got, want);
      }
    }
    if (!reduces || isnan(sum) || isinf(sum)) continue;
    float got;
    memcpy(&got, address(b, insn, 3, (spot){.partition = p}, 4, true), 4);
    assert_true(fabs(got - sum) <= 2e-6 * size + 5e-7 * (double)n);
  }
}

static void activations(ibx_opcode opcode) {
  bench *b = bench_create(IBX_TARGET_ibx3, 10);
  int done = 0;
  for (int i = 0; i < 100 * TRIES && done < 2 * TRIES; i++) {
    ibx_insn insn = random_insn(b, opcode);
    insn.op[0] = (uint8_t)below(b, IBX_ACT_COUNT);
    if (!random_operands(b, &insn)) continue;
    insn.operand[0].dtype = IBX_DTYPE_F32;
    if (!place_operand(b, &insn, 0, 4) ||
        !is_legal(b, IBX_ENGINE_SCALAR, &insn)) {
      continue;
    }
    insn.operand[0].buffer = B_SBUF;
    insn.operand[1].buffer = B_SBUF2;
    prepare(b, IBX_ENGINE_SCALAR, insn);
    copy_memories(b);
    run(b);
    for (size_t s = 0; s < IBX_SPACE_COUNT; s++) {
      memcpy(b->after[s], b->sim->memory[s], (size_t)b->sim->memory_bytes[s]);
    }
    expect_activation(b, &insn);
    done++;
  }
  assert_int_equal(done, 2 * TRIES);
  bench_destroy(b);
}

static void activations_are_close_to_the_exact_function(void **state) {
  (void)state;
  activations(IBX_OP_activation);
  activations(IBX_OP_activation_reduce);
}

// A tile of the array: the stationary operand in one SBUF buffer, the moving
// one in another, the sums in PSUM.
static void expect_product(bench *b, const ibx_insn *load,
                           const ibx_insn *mul) {
  uint32_t n = element_count(mul);
  for (uint32_t m = 0; m < mul->columns; m++) {
    for (uint32_t i = 0; i < n; i++) {
      float sum = 0;
      for (uint32_t k = 0; k < mul->partitions; k++) {
        float x = read_value(b, load, 1, spot_at(load, k, m));
        float y = read_value(b, mul, 1, spot_at(mul, k, i));
        sum = fmaf(x, y, sum);
      }
      spot at = spot_at(mul, m, i);
      if (mul->flags & IBX_FLAG_ACCUMULATE) {
        sum += read_value(b, mul, 0, at);
      }
      write_value(b, mul, 0, at, sum);
    }
  }
}

static void matmul(ibx_target target) {
  static const uint8_t dtypes[] = {IBX_DTYPE_F32, IBX_DTYPE_BF16, IBX_DTYPE_F16,
                                   IBX_DTYPE_F8E5M2};
  bench *b = bench_create(target, 11 + (uint64_t)target);
  for (int i = 0; i < 60; i++) {
    ibx_insn load = ibx_insn_make(IBX_OP_load_stationary);
    ibx_insn mul = ibx_insn_make(IBX_OP_multiply_moving);
    uint8_t start = (uint8_t)(64 * below(b, 2));
    load.partitions = mul.partitions =
        (uint8_t)(1 + below(b, start ? 64 : 128));
    load.columns = mul.columns = (uint8_t)(1 + below(b, 128));
    load.num[4] = load.columns;
    mul.num[4] = 1 + below(b, 40);
    mul.num[3] = 1 + below(b, 3);
    load.operand[1] = (ibx_operand){.buffer = B_SBUF,
                                    .partition = start,
                                    .dtype = dtypes[below(b, 4)],
                                    .step = {[4] = 1 + (int)below(b, 2)}};
    mul.operand[1] =
        (ibx_operand){.buffer = B_SBUF2,
                      .partition = start,
                      .dtype = dtypes[below(b, 4)],
                      .step = {[3] = (int)(mul.num[4] + below(b, 3)), [4] = 1}};
    mul.operand[0] = (ibx_operand){.buffer = B_PSUM,
                                   .dtype = IBX_DTYPE_F32,
                                   .step = {[3] = (int)mul.num[4], [4] = 1}};
    if (target == IBX_TARGET_ibx4 && below(b, 2)) {
      mul.operand[0].dtype = IBX_DTYPE_BF16;
    }
    mul.flags = below(b, 2) ? IBX_FLAG_ACCUMULATE : 0;
    ibx_sim_destroy(b->sim);
    b->sim = NULL;
    for (int e = 0; e < IBX_ENGINE_COUNT; e++) {
      b->w.entry.streams[e].count = 0;
    }
    world_add(&b->w, IBX_ENGINE_TENSOR, load);
    world_add(&b->w, IBX_ENGINE_TENSOR, mul);
    if (ibx_sim_create(&b->w.program, &b->w.entry, &b->sim, &b->w.err)) {
      fail_msg("%s", b->w.err.message);
    }
    fill_operand(b, &load, 1);
    fill_operand(b, &mul, 1);
    fill_operand(b, &mul, 0);
    copy_memories(b);
    run(b);
    expect_product(b, &load, &mul);
    expect_same(b);
  }
  bench_destroy(b);
}

static void products_are_chains_of_fused_multiply_adds(void **state) {
  (void)state;
  matmul(IBX_TARGET_ibx2);
  matmul(IBX_TARGET_ibx4);
}

// Both sides in SBUF or HBM; on SBUF one dimension may walk the partitions.
static bool random_dma_side(bench *b, ibx_insn *insn, size_t slot,
                            uint8_t dtype) {
  ibx_operand *o = &insn->operand[slot];
  o->dtype = dtype;
  bool hbm = below(b, 2) == 0;
  o->buffer = hbm ? (slot == 0 ? B_HBM_OUT : B_HBM_IN)
                  : (uint16_t)(slot == 0 ? B_SBUF : B_SBUF2);
  size_t walks = hbm ? IBX_DIMS : below(b, IBX_DIMS);
  int32_t packed = 1;
  for (size_t d = IBX_DIMS; d-- > 0;) {
    if (d == walks) {
      o->partition_step[d] = 1;
      continue;
    }
    o->step[d] = packed;
    packed *= (int32_t)insn->num[d] + (int32_t)below(b, 2);
    if (slot == 1 && below(b, 4) == 0) o->step[d] = (int32_t)below(b, 5) - 2;
  }
  o->partition = hbm ? 0 : (uint8_t)below(b, 64);
  return place_operand(b, insn, slot, ibx_dtype_bytes((ibx_dtype)dtype));
}

static void fill_hbm(bench *b, uint8_t dtype) {
  size_t bytes = ibx_dtype_bytes((ibx_dtype)dtype);
  for (size_t i = 0; i + bytes <= HBM_BYTES; i += bytes) {
    float value = world_float(&b->random, 20);
    ibx_dtype_store_f32((ibx_dtype)dtype, &value, b->in + i, 1);
    ibx_dtype_store_f32((ibx_dtype)dtype, &value, b->out + i, 1);
  }
}

static void dma_moves_every_element(void **state) {
  static const uint8_t wide[] = {IBX_DTYPE_I64, IBX_DTYPE_F64, IBX_DTYPE_U64};
  (void)state;
  bench *b = bench_create(IBX_TARGET_ibx3, 12);
  int done = 0;
  for (int i = 0; i < 100 * TRIES && done < 2 * TRIES; i++) {
    ibx_insn insn = ibx_insn_make(IBX_OP_dma_copy);
    for (size_t d = 0; d < IBX_DIMS; d++) {
      insn.num[d] = 1 + below(b, 6);
    }
    uint8_t from = pick_dtype(b), to = below(b, 2) ? from : pick_dtype(b);
    if (below(b, 8) == 0) from = to = wide[below(b, 3)];
    if (!random_dma_side(b, &insn, 0, to) ||
        !random_dma_side(b, &insn, 1, from) ||
        !is_legal(b, IBX_ENGINE_SYNC, &insn)) {
      continue;
    }
    fill_hbm(b, from);
    compare(b, IBX_ENGINE_SYNC, insn, interpret_dma);
    done++;
  }
  assert_int_equal(done, 2 * TRIES);
  bench_destroy(b);
}

static ibx_insn gather_insn(bench *b, uint32_t rows) {
  ibx_insn insn = ibx_insn_make(IBX_OP_dma_gather);
  insn.dge = IBX_DGE_SOFTWARE;
  insn.count = 40;
  insn.num[0] = rows;
  insn.num[4] = 24;
  insn.operand[0] = (ibx_operand){.buffer = B_SBUF,
                                  .dtype = IBX_DTYPE_F32,
                                  .partition_step = {[0] = 1},
                                  .step = {[4] = 1}};
  insn.operand[1] =
      (ibx_operand){.buffer = B_HBM_IN,
                    .dtype = below(b, 2) ? IBX_DTYPE_F32 : IBX_DTYPE_BF16,
                    .step = {[0] = 24, [4] = 1}};
  insn.operand[2] = (ibx_operand){.buffer = B_SBUF2, .dtype = IBX_DTYPE_U32};
  return insn;
}

static void fill_indices(bench *b, uint32_t rows, uint32_t limit) {
  for (uint32_t p = 0; p < rows; p++) {
    uint32_t row = below(b, limit);
    memcpy(b->sim->memory[IBX_SPACE_SBUF] +
               p * b->sim->partition_bytes[IBX_SPACE_SBUF] + SBUF_BYTES,
           &row, sizeof(row));
  }
}

static void gather_takes_the_indexed_rows(void **state) {
  (void)state;
  bench *b = bench_create(IBX_TARGET_ibx3, 13);
  for (int i = 0; i < TRIES; i++) {
    uint32_t rows = 1 + below(b, 128);
    ibx_insn insn = gather_insn(b, rows);
    fill_hbm(b, insn.operand[1].dtype);
    prepare(b, IBX_ENGINE_GPSIMD, insn);
    fill_indices(b, rows, 40);
    copy_memories(b);
    run(b);
    interpret_dma(b, &insn);
    expect_same(b);
  }
  bench_destroy(b);
}

static void gather_refuses_an_index_beyond_the_table(void **state) {
  (void)state;
  bench *b = bench_create(IBX_TARGET_ibx3, 14);
  prepare(b, IBX_ENGINE_GPSIMD, gather_insn(b, 3));
  uint32_t row = 40;
  memcpy(b->sim->memory[IBX_SPACE_SBUF] + SBUF_BYTES, &row, sizeof(row));
  ibx_sim_options options = {.order = IBX_SIM_ORDER_PROGRAM};
  ibx_sim_memory memory = {.hbm = b->w.hbm};
  assert_int_equal(ibx_sim_run(b->sim, &options, &memory, &b->w.err),
                   IBX_DEVICE_ERROR);
  assert_non_null(strstr(b->w.err.message, "index 40"));
  bench_destroy(b);
}

// Random fields everywhere: refused or run, but never out of bounds (this test
// means most under the address sanitizer).
static void damaged_operands_are_refused_or_harmless(void **state) {
  static const ibx_opcode opcodes[] = {
      IBX_OP_tensor_copy,   IBX_OP_tensor_scalar,  IBX_OP_tensor_tensor,
      IBX_OP_tensor_reduce, IBX_OP_activation,     IBX_OP_dma_copy,
      IBX_OP_nc_transpose,  IBX_OP_load_stationary};
  (void)state;
  bench *b = bench_create(IBX_TARGET_ibx3, 15);
  int refused = 0, ran = 0;
  for (int i = 0; i < 4000; i++) {
    ibx_opcode opcode = opcodes[below(b, IBX_COUNT_OF(opcodes))];
    ibx_engine engine =
        opcode == IBX_OP_activation ? IBX_ENGINE_SCALAR
        : opcode == IBX_OP_nc_transpose || opcode == IBX_OP_load_stationary
            ? IBX_ENGINE_TENSOR
            : IBX_ENGINE_VECTOR;
    ibx_insn insn = random_insn(b, opcode);
    if (opcode == IBX_OP_dma_copy) insn.partitions = 0;
    if (opcode != IBX_OP_dma_copy) random_operands(b, &insn);
    for (size_t slot = 0; slot < 2; slot++) {
      ibx_operand *o = &insn.operand[slot];
      if (opcode == IBX_OP_dma_copy) {
        o->buffer = (uint16_t)(slot == 0 ? B_HBM_OUT : B_SBUF);
        o->dtype = IBX_DTYPE_F32;
        insn.num[below(b, 5)] = 1 + below(b, 5000);
        o->step[below(b, 5)] = (int32_t)world_random(&b->random);
        o->partition_step[below(b, 5)] = (int8_t)(slot ? below(b, 256) : 0);
      }
      if (below(b, 3) == 0)
        o->offset = world_random(&b->random) >> below(b, 40);
      if (below(b, 3) == 0) o->step[2 + below(b, 3)] = (int16_t)below(b, 65536);
      if (below(b, 3) == 0) o->partition = (uint8_t)below(b, 128);
    }
    ibx_sim_destroy(b->sim);
    b->sim = NULL;
    for (int e = 0; e < IBX_ENGINE_COUNT; e++) {
      b->w.entry.streams[e].count = 0;
    }
    world_add(&b->w, engine, insn);
    ibx_sim_options options = {.order = IBX_SIM_ORDER_PROGRAM};
    ibx_sim_memory memory = {.hbm = b->w.hbm};
    ibx_status status =
        ibx_sim_create(&b->w.program, &b->w.entry, &b->sim, &b->w.err);
    if (status == IBX_OK) {
      status = ibx_sim_run(b->sim, &options, &memory, &b->w.err);
    }
    refused += status != IBX_OK;
    ran += status == IBX_OK;
  }
  assert_true(refused > 100);
  assert_true(ran > 100);
  bench_destroy(b);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(tensor_copy_keeps_bits_of_equal_dtypes),
      cmocka_unit_test(tensor_copy_converts),
      cmocka_unit_test(tensor_scalar_applies_both_operators),
      cmocka_unit_test(tensor_tensor_applies_its_operator),
      cmocka_unit_test(scalar_tensor_tensor_chains),
      cmocka_unit_test(tensor_scalar_reduce_folds_before_converting),
      cmocka_unit_test(tensor_scan_carries_along_the_row),
      cmocka_unit_test(reciprocal_divides),
      cmocka_unit_test(memset_fills),
      cmocka_unit_test(bit_operators_work_on_integers_as_they_are),
      cmocka_unit_test(gpsimd_adds_int32_exactly_and_wraps),
      cmocka_unit_test(select_leaves_what_is_not_chosen),
      cmocka_unit_test(tensor_reduce_folds_in_the_stated_order),
      cmocka_unit_test(partition_reduce_folds_ascending_partitions),
      cmocka_unit_test(transposes_keep_bits),
      cmocka_unit_test(iota_counts),
      cmocka_unit_test(activations_are_close_to_the_exact_function),
      cmocka_unit_test(products_are_chains_of_fused_multiply_adds),
      cmocka_unit_test(dma_moves_every_element),
      cmocka_unit_test(gather_takes_the_indexed_rows),
      cmocka_unit_test(gather_refuses_an_index_beyond_the_table),
      cmocka_unit_test(damaged_operands_are_refused_or_harmless),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

// SPDX-License-Identifier: Apache-2.0
//
// Every kernel of the GpSimd library against its sentence, on SBUF and on HBM:
// random spaces, steps and types, all bytes of the memories compared. The
// oracle knows numbers as long double, which holds every element exactly.

#include "support/exec_bench.h"

#define G IBX_ENGINE_GPSIMD

enum { TRIES = 40, MOST = 70 };

static const ibx_dtype integers[] = {IBX_DTYPE_I64, IBX_DTYPE_U64,
                                     IBX_DTYPE_I32, IBX_DTYPE_U32,
                                     IBX_DTYPE_I16, IBX_DTYPE_U8};
static const ibx_dtype values[] = {
    IBX_DTYPE_F32, IBX_DTYPE_I64, IBX_DTYPE_U64,  IBX_DTYPE_BF16,
    IBX_DTYPE_I32, IBX_DTYPE_U32, IBX_DTYPE_F16,  IBX_DTYPE_I8,
    IBX_DTYPE_U8,  IBX_DTYPE_I16, IBX_DTYPE_BOOL, IBX_DTYPE_F8E5M2};

// Those and all others of one value.
static const ibx_dtype single[] = {
    IBX_DTYPE_F32,        IBX_DTYPE_I64,        IBX_DTYPE_U64,
    IBX_DTYPE_BF16,       IBX_DTYPE_I32,        IBX_DTYPE_U32,
    IBX_DTYPE_F16,        IBX_DTYPE_I8,         IBX_DTYPE_U8,
    IBX_DTYPE_BOOL,       IBX_DTYPE_F8E5M2,     IBX_DTYPE_F8E4M3FN,
    IBX_DTYPE_F8E4M3FNUZ, IBX_DTYPE_F8E5M2FNUZ, IBX_DTYPE_F6E2M3FN,
    IBX_DTYPE_F6E3M2FN,   IBX_DTYPE_F4E2M1FN,   IBX_DTYPE_F8E8M0,
    IBX_DTYPE_I4,         IBX_DTYPE_U4,         IBX_DTYPE_I2,
    IBX_DTYPE_U2,         IBX_DTYPE_F64};
static const ibx_dtype floats[] = {IBX_DTYPE_F32, IBX_DTYPE_F64, IBX_DTYPE_BF16,
                                   IBX_DTYPE_F16, IBX_DTYPE_F8E5M2};

static ibx_dtype pick(bench *b, const ibx_dtype *list, size_t count) {
  return list[bench_below(b, (uint32_t)count)];
}

#define PICK(b, list) pick(b, list, IBX_COUNT_OF(list))

static bool is_float(ibx_dtype dtype) {
  return ibx_dtype_get(dtype)->kind == IBX_DTYPE_KIND_FLOAT;
}

static ibx_insn make(ibx_opcode opcode, ibx_call_number call) {
  ibx_insn insn = ibx_insn_make(opcode);
  insn.op[0] = (uint8_t)call;
  return insn;
}

// The number of an element; NaN is a NaN.
static long double number(const uint8_t *at, ibx_dtype dtype) {
  double wide;
  if (dtype == IBX_DTYPE_F64) {
    memcpy(&wide, at, sizeof wide);
    return (long double)wide;
  }
  if (is_float(dtype)) return (long double)bench_float(at, dtype);
  int64_t value = bench_integer(at, dtype);
  return dtype == IBX_DTYPE_U64 ? (long double)(uint64_t)value
                                : (long double)value;
}

// NaN is greater than every number and equal to NaN.
static int compare(long double x, long double y) {
  if (x != x || y != y) return (x != x) - (y != y);
  return (x > y) - (x < y);
}

// Numbers of which many are equal, some extreme, and NaN and both zeros.
static void put_any(bench *b, uint8_t *at, ibx_dtype dtype) {
  double wide = ((double)bench_below(b, 9) - 4) / 2;
  if (dtype == IBX_DTYPE_F64) {
    memcpy(at, &wide, sizeof wide);
    return;
  }
  static const float odd[] = {0.0f, -0.0f, 1.5f, -2.0f, NAN, INFINITY};
  static const int64_t whole[] = {0, -1, 1, INT64_MIN, INT64_MAX, 1 << 20};
  bool extreme = bench_below(b, 4) == 0;
  if (is_float(dtype)) {
    float value = (float)bench_below(b, 9) - 4;
    bench_put_float(at, dtype, extreme ? odd[bench_below(b, 6)] : value);
  } else {
    int64_t value = (int64_t)bench_below(b, 9) - 4;
    if (dtype == IBX_DTYPE_BOOL) value = bench_below(b, 2);
    if (extreme && dtype != IBX_DTYPE_BOOL) value = whole[bench_below(b, 6)];
    bench_put_integer(at, dtype,
                      (int64_t)ibx_dtype_wrap(dtype, (uint64_t)value));
  }
}

static void fill(bench *b, const ibx_insn *insn, size_t slot) {
  ibx_dtype dtype = (ibx_dtype)insn->operand[slot].dtype;
  for (uint32_t p = 0; p < insn->partitions; p++) {
    for (uint32_t n = 0; n < bench_elements(insn); n++) {
      put_any(b, bench_element(b, BENCH_NOW, insn, slot, p, n), dtype);
    }
  }
}

static void expect_legal(const bench *b, const ibx_insn *insn) {
  ibx_error err = {0};
  if (!bench_is_legal(b, G, insn, &err)) fail_msg("%s", err.message);
}

// Half of the calls work on HBM, as far as one partition goes.
static void maybe_in_hbm(bench *b, ibx_insn *insn) {
  if (bench_below(b, 2)) return;
  insn->partitions = 1;
}

static bool place(bench *b, ibx_insn *insn, size_t slot, ibx_dtype dtype,
                  uint32_t row) {
  bool writes = ibx_slot_writes(ibx_insn_get(insn->opcode)->slot[slot]);
  bool hbm = insn->partitions == 1 && bench_below(b, 2);
  uint32_t buffer = (uint32_t)(hbm ? writes ? BENCH_OUT : BENCH_IN : slot);
  // Two operands in one buffer of HBM may share bytes of different types.
  for (size_t i = 0; i < slot; i++) {
    if (insn->operand[i].buffer == buffer) buffer = (uint16_t)slot;
  }
  const uint32_t along[3] = {1, 1, row};
  return bench_place(b, insn, slot, buffer, dtype,
                     row == 0 ? &insn->num[2] : along, false);
}

// --- single elements ------------------------------------------------------------

__extension__ typedef __int128 wide;
__extension__ typedef unsigned __int128 unsigned_wide;

static wide floor_mod(wide a, wide c) {
  wide rest = a % c;
  return rest != 0 && (rest < 0) != (c < 0) ? rest + c : rest;
}

static wide arithmetic(uint8_t call, wide a, wide c) {
  switch ((ibx_call_number)call) {
  case IBX_CALL_ADD: return a + c;
  case IBX_CALL_SUBTRACT: return a - c;
  case IBX_CALL_MULTIPLY: return (wide)((unsigned_wide)a * (unsigned_wide)c);
  case IBX_CALL_DIVIDE: return c == 0 ? 0 : a / c;
  case IBX_CALL_REMAINDER: return c == 0 ? a : a % c;
  default: return c == 0 ? a : floor_mod(a, c);
  }
}

static wide exact(const uint8_t *at, ibx_dtype dtype) {
  int64_t value = bench_integer(at, dtype);
  return dtype == IBX_DTYPE_U64 ? (wide)(uint64_t)value : (wide)value;
}

static void integer_kernels_wrap_and_never_trap(void **state) {
  (void)state;
  bench *b = bench_create(IBX_TARGET_ibx2, 1);
  for (int done = 0; done < 6 * TRIES;) {
    ibx_insn insn =
        make(IBX_OP_gpsimd_call2, (ibx_call_number)(IBX_CALL_ADD + done % 6));
    ibx_dtype dtype = PICK(b, integers);
    bench_space(b, &insn, MOST);
    maybe_in_hbm(b, &insn);
    if (!place(b, &insn, 0, dtype, 0) || !place(b, &insn, 1, dtype, 0) ||
        !place(b, &insn, 2, dtype, 0)) {
      continue;
    }
    expect_legal(b, &insn);
    bench_load(b, G, insn);
    fill(b, &insn, 1);
    fill(b, &insn, 2);
    bench_run(b);
    for (uint32_t p = 0; p < insn.partitions; p++) {
      for (uint32_t n = 0; n < bench_elements(&insn); n++) {
        wide x = exact(bench_element(b, BENCH_BEFORE, &insn, 1, p, n), dtype);
        wide y = exact(bench_element(b, BENCH_BEFORE, &insn, 2, p, n), dtype);
        bench_put_integer(bench_element(b, BENCH_AFTER, &insn, 0, p, n), dtype,
                          (int64_t)(uint64_t)arithmetic(insn.op[0], x, y));
      }
    }
    bench_expect(b);
    done++;
  }
  bench_destroy(b);
}

static double real_arithmetic(uint8_t call, double a, double c) {
  double rest = fmod(a, c);
  switch ((ibx_call_number)call) {
  case IBX_CALL_ADD: return a + c;
  case IBX_CALL_SUBTRACT: return a - c;
  case IBX_CALL_MULTIPLY: return a * c;
  case IBX_CALL_DIVIDE: return a / c;
  case IBX_CALL_REMAINDER: return rest;
  default: break;
  }
  if (rest == 0) return copysign(0.0, c);
  return (rest < 0) == (c < 0) ? rest : rest + c;
}

// Operands of few bits, so that every result but a quotient is exact, and a
// quotient in double far from where two roundings differ.
static void float_kernels_round_once(void **state) {
  (void)state;
  bench *b = bench_create(IBX_TARGET_ibx3, 13);
  for (int done = 0; done < 6 * TRIES;) {
    ibx_insn insn =
        make(IBX_OP_gpsimd_call2, (ibx_call_number)(IBX_CALL_ADD + done % 6));
    ibx_dtype dtype = PICK(b, floats);
    bench_space(b, &insn, MOST);
    maybe_in_hbm(b, &insn);
    if (!place(b, &insn, 0, dtype, 0) || !place(b, &insn, 1, dtype, 0) ||
        !place(b, &insn, 2, dtype, 0)) {
      continue;
    }
    expect_legal(b, &insn);
    bench_load(b, G, insn);
    fill(b, &insn, 1);
    fill(b, &insn, 2);
    bench_run(b);
    for (uint32_t p = 0; p < insn.partitions; p++) {
      for (uint32_t n = 0; n < bench_elements(&insn); n++) {
        double x = (double)number(
            bench_element(b, BENCH_BEFORE, &insn, 1, p, n), dtype);
        double y = (double)number(
            bench_element(b, BENCH_BEFORE, &insn, 2, p, n), dtype);
        double result = real_arithmetic(insn.op[0], x, y);
        uint8_t *at = bench_element(b, BENCH_AFTER, &insn, 0, p, n);
        if (dtype == IBX_DTYPE_F64) {
          memcpy(at, &result, sizeof result);
        } else {
          bench_put_float(at, dtype, (float)result);
        }
      }
    }
    bench_expect(b);
    done++;
  }
  bench_destroy(b);
}

static void comparing_kernels_order_every_type(void **state) {
  (void)state;
  bench *b = bench_create(IBX_TARGET_ibx3, 2);
  for (int done = 0; done < 4 * TRIES;) {
    ibx_insn insn = make(IBX_OP_gpsimd_call2,
                         (ibx_call_number)(IBX_CALL_MAXIMUM + done % 4));
    ibx_dtype dtype = PICK(b, values), to = dtype;
    bool logical = insn.op[0] == IBX_CALL_EQUAL || insn.op[0] == IBX_CALL_LESS;
    if (logical) to = done % 3 ? IBX_DTYPE_BOOL : IBX_DTYPE_U8;
    bench_space(b, &insn, MOST);
    maybe_in_hbm(b, &insn);
    if (!place(b, &insn, 0, to, 0) || !place(b, &insn, 1, dtype, 0) ||
        !place(b, &insn, 2, dtype, 0)) {
      continue;
    }
    expect_legal(b, &insn);
    bench_load(b, G, insn);
    fill(b, &insn, 1);
    fill(b, &insn, 2);
    bench_run(b);
    for (uint32_t p = 0; p < insn.partitions; p++) {
      for (uint32_t n = 0; n < bench_elements(&insn); n++) {
        const uint8_t *x = bench_element(b, BENCH_BEFORE, &insn, 1, p, n);
        const uint8_t *y = bench_element(b, BENCH_BEFORE, &insn, 2, p, n);
        uint8_t *dst = bench_element(b, BENCH_AFTER, &insn, 0, p, n);
        int order = compare(number(x, dtype), number(y, dtype));
        switch ((ibx_call_number)insn.op[0]) {
        case IBX_CALL_EQUAL: *dst = order == 0; break;
        case IBX_CALL_LESS: *dst = order < 0; break;
        case IBX_CALL_MAXIMUM:
          memcpy(dst, order < 0 ? y : x, ibx_dtype_bytes(dtype));
          break;
        default: memcpy(dst, order > 0 ? y : x, ibx_dtype_bytes(dtype)); break;
        }
      }
    }
    bench_expect(b);
    done++;
  }
  bench_destroy(b);
}

static void select_takes_either_bit_for_bit(void **state) {
  (void)state;
  bench *b = bench_create(IBX_TARGET_ibx3, 3);
  for (int done = 0; done < TRIES;) {
    ibx_insn insn = make(IBX_OP_gpsimd_call3, IBX_CALL_SELECT);
    ibx_dtype dtype = PICK(b, values);
    bench_space(b, &insn, MOST);
    maybe_in_hbm(b, &insn);
    if (!place(b, &insn, 0, dtype, 0) || !place(b, &insn, 1, dtype, 0) ||
        !place(b, &insn, 2, dtype, 0) ||
        !place(b, &insn, 3, done % 2 ? IBX_DTYPE_U8 : IBX_DTYPE_BOOL, 0)) {
      continue;
    }
    expect_legal(b, &insn);
    bench_load(b, G, insn);
    fill(b, &insn, 3);
    bench_run(b);
    for (uint32_t p = 0; p < insn.partitions; p++) {
      for (uint32_t n = 0; n < bench_elements(&insn); n++) {
        bool first = *bench_element(b, BENCH_BEFORE, &insn, 3, p, n) != 0;
        memcpy(bench_element(b, BENCH_AFTER, &insn, 0, p, n),
               bench_element(b, BENCH_BEFORE, &insn, first ? 1 : 2, p, n),
               ibx_dtype_bytes(dtype));
      }
    }
    bench_expect(b);
    done++;
  }
  bench_destroy(b);
}

// What each integer type holds.
static void limits_of(ibx_dtype dtype, long double *low, long double *high) {
  unsigned bits = ibx_dtype_get(dtype)->bits;
  bool has_sign = ibx_dtype_get(dtype)->kind == IBX_DTYPE_KIND_SINT;
  // Below a byte the low bits of 32 remain.
  if (ibx_dtype_get(dtype)->width < 8) {
    has_sign = true;
    bits = 32;
  }
  *low = has_sign ? -ldexpl(1, (int)bits - 1) : 0;
  *high = ldexpl(1, (int)bits - has_sign) - 1;
}

// In fp32 first it would be halfway between two numbers of 3 bits of mantissa.
static const double past_tie = 1.0625 + 0x1p-40;

static bool has_three_bits(ibx_dtype dtype) {
  return dtype == IBX_DTYPE_F8E4M3FN || dtype == IBX_DTYPE_F8E4M3FNUZ ||
         dtype == IBX_DTYPE_F6E2M3FN;
}

static void convert_one(const uint8_t *src, ibx_dtype from, uint8_t *dst,
                        ibx_dtype to) {
  long double value = number(src, from), low, high;
  if (from == to) {
    memcpy(dst, src, ibx_dtype_bytes(to));
  } else if (to == IBX_DTYPE_BOOL) {
    *dst = value != 0;
  } else if (to == IBX_DTYPE_F64) {
    double real = (double)value;
    memcpy(dst, &real, sizeof real);
  } else if (has_three_bits(to) && value == (long double)past_tie) {
    bench_put_float(dst, to, 1.125f);
  } else if (is_float(to)) {
    bench_put_float(dst, to, (float)value);
  } else if (!is_float(from)) {
    uint64_t bits = (uint64_t)bench_integer(src, from);
    bench_put_integer(dst, to, (int64_t)ibx_dtype_wrap(to, bits));
  } else {
    limits_of(to, &low, &high);
    value = value != value ? 0 : truncl(value);
    value = value < low ? low : value > high ? high : value;
    uint64_t bits = value < 0 ? (uint64_t)(int64_t)value : (uint64_t)value;
    bench_put_integer(dst, to, (int64_t)ibx_dtype_wrap(to, bits));
  }
}

static void convert_knows_every_pair_of_types(void **state) {
  (void)state;
  bench *b = bench_create(IBX_TARGET_ibx3, 4);
  size_t count = IBX_COUNT_OF(single);
  for (size_t done = 0; done < count * count;) {
    ibx_insn insn = make(IBX_OP_gpsimd_call1, IBX_CALL_CONVERT);
    ibx_dtype from = single[done % count], to = single[done / count % count];
    bench_space(b, &insn, MOST);
    maybe_in_hbm(b, &insn);
    if (!place(b, &insn, 0, to, 0) || !place(b, &insn, 1, from, 0)) continue;
    expect_legal(b, &insn);
    bench_load(b, G, insn);
    fill(b, &insn, 1);
    uint8_t *first = bench_element(b, BENCH_NOW, &insn, 1, 0, 0);
    if (from == IBX_DTYPE_F32) bench_put_float(first, from, -1.75e19f);
    if (from == IBX_DTYPE_F64) memcpy(first, &past_tie, sizeof past_tie);
    bench_run(b);
    for (uint32_t p = 0; p < insn.partitions; p++) {
      for (uint32_t n = 0; n < bench_elements(&insn); n++) {
        convert_one(bench_element(b, BENCH_BEFORE, &insn, 1, p, n), from,
                    bench_element(b, BENCH_AFTER, &insn, 0, p, n), to);
      }
    }
    bench_expect(b);
    done++;
  }
  bench_destroy(b);
}

// --- rows -----------------------------------------------------------------------

static void sums_run_along_the_row(void **state) {
  (void)state;
  bench *b = bench_create(IBX_TARGET_ibx2, 5);
  for (int done = 0; done < 2 * TRIES;) {
    bool before = done % 2;
    ibx_insn insn = make(IBX_OP_gpsimd_call1, before ? IBX_CALL_SUM_BEFORE
                                                     : IBX_CALL_CUMULATIVE_SUM);
    ibx_dtype dtype = PICK(b, integers);
    bench_space(b, &insn, MOST);
    maybe_in_hbm(b, &insn);
    if (!place(b, &insn, 0, dtype, 0) || !place(b, &insn, 1, dtype, 0))
      continue;
    expect_legal(b, &insn);
    bench_load(b, G, insn);
    fill(b, &insn, 1);
    bench_run(b);
    for (uint32_t p = 0; p < insn.partitions; p++) {
      for (uint32_t n = 0; n < bench_elements(&insn); n++) {
        wide sum = 0;
        for (uint32_t i = 0; i < n + !before; i++) {
          sum += exact(bench_element(b, BENCH_BEFORE, &insn, 1, p, i), dtype);
        }
        bench_put_integer(bench_element(b, BENCH_AFTER, &insn, 0, p, n), dtype,
                          (int64_t)(uint64_t)sum);
      }
    }
    bench_expect(b);
    done++;
  }
  bench_destroy(b);
}

// A sum from the end is one with negative steps.
static void a_reverse_sum_is_a_negative_step(void **state) {
  (void)state;
  bench *b = bench_create(IBX_TARGET_ibx2, 6);
  ibx_insn insn = make(IBX_OP_gpsimd_call1, IBX_CALL_CUMULATIVE_SUM);
  insn.num[4] = 5;
  for (uint16_t slot = 0; slot < 2; slot++) {
    insn.operand[slot] = (ibx_operand){.buffer = slot,
                                       .offset = 4 * sizeof(int64_t),
                                       .dtype = IBX_DTYPE_I64,
                                       .step = {[4] = -1}};
  }
  expect_legal(b, &insn);
  bench_load(b, G, insn);
  for (uint32_t n = 0; n < 5; n++) {
    bench_put_integer(bench_element(b, BENCH_NOW, &insn, 1, 0, n),
                      IBX_DTYPE_I64, (int64_t)1 << (8 * (4 - n)));
  }
  bench_run(b);
  const int64_t results[] = {0x101010101, 0x101010100, 0x101010000, 0x101000000,
                             0x100000000};
  for (uint32_t n = 0; n < 5; n++) {
    bench_put_integer(bench_element(b, BENCH_AFTER, &insn, 0, 0, 4 - n),
                      IBX_DTYPE_I64, results[n]);
  }
  bench_expect(b);
  bench_destroy(b);
}

static void gather_and_scatter_follow_indices(void **state) {
  (void)state;
  bench *b = bench_create(IBX_TARGET_ibx3, 7);
  for (int done = 0; done < 4 * TRIES;) {
    bool scatters = done % 2;
    ibx_insn insn = scatters ? make(IBX_OP_gpsimd_call3, IBX_CALL_SCATTER)
                             : make(IBX_OP_gpsimd_call2, IBX_CALL_GATHER);
    ibx_dtype dtype = PICK(b, values);
    ibx_dtype index = done % 4 < 2 ? IBX_DTYPE_I32 : IBX_DTYPE_I64;
    bench_space(b, &insn, MOST);
    maybe_in_hbm(b, &insn);
    insn.count = 1 + bench_below(b, MOST);
    int64_t n = bench_elements(&insn);
    if (!place(b, &insn, 0, dtype, scatters ? 0 : insn.count) ||
        !place(b, &insn, 1, dtype, 0) ||
        !place(b, &insn, 2, index, insn.count) ||
        (scatters && !place(b, &insn, 3, dtype, insn.count))) {
      continue;
    }
    expect_legal(b, &insn);
    bench_load(b, G, insn);
    for (uint32_t p = 0; p < insn.partitions; p++) {
      for (uint32_t j = 0; j < insn.count; j++) {
        bench_put_integer(bench_row(b, BENCH_NOW, &insn, 2, p, j), index,
                          (int64_t)bench_below(b, (uint32_t)(2 * n)) - n);
      }
    }
    bench_run(b);
    for (uint32_t p = 0; p < insn.partitions; p++) {
      for (uint32_t i = 0; scatters && i < n; i++) {
        memcpy(bench_element(b, BENCH_AFTER, &insn, 0, p, i),
               bench_element(b, BENCH_BEFORE, &insn, 1, p, i),
               ibx_dtype_bytes(dtype));
      }
      for (uint32_t j = 0; j < insn.count; j++) {
        int64_t at =
            bench_integer(bench_row(b, BENCH_BEFORE, &insn, 2, p, j), index);
        uint32_t place_of = (uint32_t)(at < 0 ? at + n : at);
        const uint8_t *from =
            scatters ? bench_row(b, BENCH_BEFORE, &insn, 3, p, j)
                     : bench_element(b, BENCH_BEFORE, &insn, 1, p, place_of);
        uint8_t *to = scatters
                          ? bench_element(b, BENCH_AFTER, &insn, 0, p, place_of)
                          : bench_row(b, BENCH_AFTER, &insn, 0, p, j);
        memcpy(to, from, ibx_dtype_bytes(dtype));
      }
    }
    bench_expect(b);
    done++;
  }
  bench_destroy(b);
}

static void an_index_outside_of_the_row_is_an_error(void **state) {
  (void)state;
  for (int64_t i = 0; i < 3; i++) {
    const int64_t indices[] = {-11, 10, INT64_MIN};
    bench *b = bench_create(IBX_TARGET_ibx3, 8);
    ibx_insn insn = make(IBX_OP_gpsimd_call2, IBX_CALL_GATHER);
    insn.num[4] = 10;
    insn.count = 1;
    for (uint16_t slot = 0; slot < 3; slot++) {
      insn.operand[slot] = (ibx_operand){
          .buffer = slot, .dtype = IBX_DTYPE_I64, .step = {[4] = 1}};
    }
    bench_load(b, G, insn);
    bench_put_integer(bench_row(b, BENCH_NOW, &insn, 2, 0, 0), IBX_DTYPE_I64,
                      indices[i]);
    assert_int_equal(bench_try(b), IBX_DEVICE_ERROR);
    assert_non_null(strstr(b->w.err.message, "is outside of 10"));
    bench_destroy(b);
  }
}

typedef struct ranked {
  long double value;
  uint32_t place;
} ranked;

static int ascending(const void *a, const void *b) {
  const ranked *x = a, *y = b;
  int order = compare(x->value, y->value);
  return order ? order : x->place > y->place ? 1 : -1;
}

static int descending(const void *a, const void *b) {
  const ranked *x = a, *y = b;
  int order = compare(y->value, x->value);
  return order ? order : x->place > y->place ? 1 : -1;
}

static uint32_t rank(bench *b, const ibx_insn *insn, uint32_t p, bool down,
                     ranked *out) {
  ibx_dtype dtype = (ibx_dtype)insn->operand[1].dtype;
  uint32_t n = bench_elements(insn);
  for (uint32_t i = 0; i < n; i++) {
    out[i] = (ranked){
        number(bench_element(b, BENCH_BEFORE, insn, 1, p, i), dtype), i};
  }
  qsort(out, n, sizeof(*out), down ? descending : ascending);
  return n;
}

static void sorts_are_stable_and_say_where_from(void **state) {
  (void)state;
  bench *b = bench_create(IBX_TARGET_ibx3, 9);
  for (int done = 0; done < 8 * TRIES;) {
    ibx_insn insn = make(IBX_OP_gpsimd_call_pair,
                         (ibx_call_number)(IBX_CALL_SORT_ASCENDING + done % 4));
    bool down =
        insn.op[0] == IBX_CALL_SORT_DESCENDING || insn.op[0] == IBX_CALL_TOP;
    ibx_dtype dtype = PICK(b, values);
    ibx_dtype index = done % 8 < 4 ? IBX_DTYPE_I32 : IBX_DTYPE_I64;
    bench_space(b, &insn, MOST);
    maybe_in_hbm(b, &insn);
    uint32_t k = 0;
    if (insn.op[0] >= IBX_CALL_TOP) {
      k = insn.count = 1 + bench_below(b, bench_elements(&insn));
    }
    if (!place(b, &insn, 0, dtype, k) || !place(b, &insn, 1, dtype, 0) ||
        !place(b, &insn, 2, index, k)) {
      continue;
    }
    expect_legal(b, &insn);
    bench_load(b, G, insn);
    fill(b, &insn, 1);
    bench_run(b);
    for (uint32_t p = 0; p < insn.partitions; p++) {
      ranked all[MOST];
      uint32_t n = rank(b, &insn, p, down, all);
      for (uint32_t j = 0; j < (k ? k : n); j++) {
        uint8_t *value = k ? bench_row(b, BENCH_AFTER, &insn, 0, p, j)
                           : bench_element(b, BENCH_AFTER, &insn, 0, p, j);
        uint8_t *place_of = k ? bench_row(b, BENCH_AFTER, &insn, 2, p, j)
                              : bench_element(b, BENCH_AFTER, &insn, 2, p, j);
        memcpy(value, bench_element(b, BENCH_BEFORE, &insn, 1, p, all[j].place),
               ibx_dtype_bytes(dtype));
        bench_put_integer(place_of, index, all[j].place);
      }
    }
    bench_expect(b);
    done++;
  }
  bench_destroy(b);
}

static void nonzero_and_unique_count_beyond_their_room(void **state) {
  (void)state;
  bench *b = bench_create(IBX_TARGET_ibx3, 10);
  size_t cut = 0, padded = 0;
  for (int done = 0; done < 4 * TRIES;) {
    bool unique = done % 2;
    ibx_insn insn = make(IBX_OP_gpsimd_call_pair,
                         unique ? IBX_CALL_UNIQUE : IBX_CALL_NONZERO);
    ibx_dtype dtype = PICK(b, values);
    ibx_dtype index = done % 4 < 2 ? IBX_DTYPE_I32 : IBX_DTYPE_I64;
    bench_space(b, &insn, MOST);
    maybe_in_hbm(b, &insn);
    insn.count = 1 + bench_below(b, bench_elements(&insn));
    if (!place(b, &insn, 0, unique ? dtype : index, insn.count) ||
        !place(b, &insn, 1, dtype, 0) || !place(b, &insn, 2, index, 1)) {
      continue;
    }
    expect_legal(b, &insn);
    bench_load(b, G, insn);
    fill(b, &insn, 1);
    bench_run(b);
    for (uint32_t p = 0; p < insn.partitions; p++) {
      ranked all[MOST];
      uint32_t n = bench_elements(&insn), found = 0;
      if (unique) rank(b, &insn, p, false, all);
      for (uint32_t i = 0; i < n; i++) {
        const uint8_t *at = bench_element(b, BENCH_BEFORE, &insn, 1, p, i);
        if (unique) {
          at = bench_element(b, BENCH_BEFORE, &insn, 1, p, all[i].place);
          if (i && compare(all[i - 1].value, all[i].value) == 0) continue;
        } else if (number(at, dtype) == 0) {
          continue;
        }
        uint8_t *to = bench_row(b, BENCH_AFTER, &insn, 0, p, found);
        if (found++ >= insn.count) continue;
        if (unique) memcpy(to, at, ibx_dtype_bytes(dtype));
        if (!unique) bench_put_integer(to, index, i);
      }
      *(found > insn.count ? &cut : &padded) += 1;
      for (uint32_t j = found; j < insn.count; j++) {
        uint8_t *to = bench_row(b, BENCH_AFTER, &insn, 0, p, j);
        bench_put_integer(to, unique ? dtype : index, unique ? 0 : -1);
      }
      bench_put_integer(bench_row(b, BENCH_AFTER, &insn, 2, p, 0), index,
                        found);
    }
    bench_expect(b);
    done++;
  }
  assert_true(cut > 100 && padded > 100);
  bench_destroy(b);
}

// --- boxes ----------------------------------------------------------------------

// Corners of boxes on a grid of eighths, so that areas are exact.
static double overlap(const float *a, const float *c) {
  double area[2] = {1, 1}, common = 1;
  for (size_t d = 0; d < 2; d++) {
    double low[2] = {fmin(a[d], a[d + 2]), fmin(c[d], c[d + 2])};
    double high[2] = {fmax(a[d], a[d + 2]), fmax(c[d], c[d + 2])};
    area[0] *= high[0] - low[0];
    area[1] *= high[1] - low[1];
    common *= fmax(0, fmin(high[0], high[1]) - fmax(low[0], low[1]));
  }
  return common == 0 ? 0 : common / (area[0] + area[1] - common);
}

static void suppress_keeps_the_best_boxes_apart(void **state) {
  (void)state;
  enum { BOXES = 24 };
  bench *b = bench_create(IBX_TARGET_ibx3, 11);
  size_t dropped = 0;
  for (int done = 0; done < 2 * TRIES;) {
    ibx_insn insn = make(IBX_OP_gpsimd_call2, IBX_CALL_SUPPRESS);
    bench_space(b, &insn, BOXES);
    maybe_in_hbm(b, &insn);
    uint32_t n = bench_elements(&insn);
    insn.count = 1 + bench_below(b, n);
    insn.imm[0] = 0.125f * (float)bench_below(b, 8) + 0.01f;
    insn.imm[1] = 0.125f * (float)bench_below(b, 4);
    ibx_dtype index = done % 2 ? IBX_DTYPE_I32 : IBX_DTYPE_I64;
    if (!place(b, &insn, 0, index, insn.count) ||
        !place(b, &insn, 1, IBX_DTYPE_F32, 4 * n) ||
        !place(b, &insn, 2, IBX_DTYPE_F32, 0)) {
      continue;
    }
    expect_legal(b, &insn);
    bench_load(b, G, insn);
    for (uint32_t p = 0; p < insn.partitions; p++) {
      for (uint32_t i = 0; i < 4 * n; i++) {
        bench_put_float(bench_row(b, BENCH_NOW, &insn, 1, p, i), IBX_DTYPE_F32,
                        0.125f * (float)bench_below(b, 17));
      }
      for (uint32_t i = 0; i < n; i++) {
        float score = 0.125f * (float)bench_below(b, 9);
        if (bench_below(b, 20) == 0) score = NAN;
        bench_put_float(bench_element(b, BENCH_NOW, &insn, 2, p, i),
                        IBX_DTYPE_F32, score);
      }
    }
    bench_run(b);
    for (uint32_t p = 0; p < insn.partitions; p++) {
      float box[BOXES][4], score[BOXES];
      uint32_t chosen[BOXES], count = 0;
      bool used[BOXES] = {false};
      for (uint32_t i = 0; i < n; i++) {
        for (uint32_t c = 0; c < 4; c++) {
          box[i][c] =
              bench_float(bench_row(b, BENCH_BEFORE, &insn, 1, p, 4 * i + c),
                          IBX_DTYPE_F32);
        }
        score[i] = bench_float(bench_element(b, BENCH_BEFORE, &insn, 2, p, i),
                               IBX_DTYPE_F32);
      }
      while (count <
             insn.count) { // the best of those left, the first of equals
        uint32_t best = n;
        for (uint32_t i = 0; i < n; i++) {
          if (used[i] || !(score[i] > insn.imm[1])) continue;
          if (best == n || score[i] > score[best]) best = i;
        }
        if (best == n) break;
        used[best] = true;
        bool apart = true;
        for (uint32_t c = 0; c < count; c++) {
          apart &= overlap(box[best], box[chosen[c]]) <= (double)insn.imm[0];
        }
        if (apart) chosen[count++] = best;
        dropped += !apart;
      }
      for (uint32_t j = 0; j < insn.count; j++) {
        bench_put_integer(bench_row(b, BENCH_AFTER, &insn, 0, p, j), index,
                          j < count ? (int64_t)chosen[j] : -1);
      }
    }
    bench_expect(b);
    done++;
  }
  assert_true(dropped > 100);
  bench_destroy(b);
}

// --- the caller's memory --------------------------------------------------------

static void what_the_caller_lends_is_not_written(void **state) {
  (void)state;
  bench *b = bench_create(IBX_TARGET_ibx3, 12);
  ibx_insn insn = make(IBX_OP_gpsimd_call1, IBX_CALL_CONVERT);
  insn.num[4] = 10;
  for (size_t slot = 0; slot < 2; slot++) {
    insn.operand[slot] = (ibx_operand){
        .buffer = BENCH_IN, .dtype = IBX_DTYPE_F32, .step = {[4] = 1}};
  }
  bench_load(b, G, insn);
  assert_int_equal(bench_try(b), IBX_DEVICE_ERROR);
  assert_non_null(strstr(b->w.err.message, "within reach"));
  insn.operand[0].buffer = BENCH_OUT;
  insn.operand[0].offset = BENCH_HBM_BYTES - 36;
  bench_load(b, G, insn);
  assert_int_equal(bench_try(b), IBX_DEVICE_ERROR);
  assert_non_null(strstr(b->w.err.message, "touches bytes 8156 to 8196"));
  bench_destroy(b);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(integer_kernels_wrap_and_never_trap),
      cmocka_unit_test(float_kernels_round_once),
      cmocka_unit_test(comparing_kernels_order_every_type),
      cmocka_unit_test(select_takes_either_bit_for_bit),
      cmocka_unit_test(convert_knows_every_pair_of_types),
      cmocka_unit_test(sums_run_along_the_row),
      cmocka_unit_test(a_reverse_sum_is_a_negative_step),
      cmocka_unit_test(gather_and_scatter_follow_indices),
      cmocka_unit_test(an_index_outside_of_the_row_is_an_error),
      cmocka_unit_test(sorts_are_stable_and_say_where_from),
      cmocka_unit_test(nonzero_and_unique_count_beyond_their_room),
      cmocka_unit_test(suppress_keeps_the_best_boxes_apart),
      cmocka_unit_test(what_the_caller_lends_is_not_written),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

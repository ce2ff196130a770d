// SPDX-License-Identifier: Apache-2.0
//
// Fast versions of instructions against the functions that specify them: for
// every IBX_FAST row random instances that ibx_insn_check() lets pass, on random
// memories. Both leave the same bytes everywhere, activations within their
// bound. `fast_exec_test 10000` runs that many instances of each, `fast_exec_test
// 10000 select` of one.

#include "sim/accumulator.h"
#include "sim/arith.h"
#include "sim/element.h"

#include "support/random_insn.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

enum {
  SBUF_BYTES = 18432, ///< a row that is longer than the pieces of fast versions
  HBM_BYTES = 65536,
  ARRAY_BYTES =
      IBX_ARRAY_PLANES * IBX_ARRAY * IBX_ARRAY_STEP * (int)sizeof(float),
  MOST_TRIES = 100000 ///< for one legal instance
};

static size_t instances = 60;
static const char *only = "";

/// One machine: what an instruction may change.
typedef struct side {
  ibx_sim *sim;
  ibx_sim_sequencer seq;
  uint8_t *hbm; ///< of the output
} side;

typedef struct bench {
  world w;
  side fast, spec;
  uint8_t *input;
  ibx_buffer_place places[WORLD_BUFFERS];
  uint64_t random;
  ibx_insn insn;
  ibx_engine engine;
} bench;

static void *checked(void *memory) {
  assert_non_null(memory);
  return memory;
}

static void add_chip(bench *b, ibx_space space, ibx_buffer_place place) {
  place.space = space;
  world_buffer(&b->w, IBX_BUFFER_SCRATCH, place);
}

// Buffers that cover all, that lie on others, that begin anywhere.
static void add_buffers(bench *b) {
  uint64_t bytes = SBUF_BYTES;
  world_chip(&b->w, IBX_SPACE_PSUM, 0, WORLD_PSUM_BYTES);
  world_chip(&b->w, IBX_SPACE_SBUF, 0, bytes);
  world_chip(&b->w, IBX_SPACE_SBUF, 0, bytes);
  world_chip(&b->w, IBX_SPACE_SBUF, 6, bytes - 6);
  add_chip(b, IBX_SPACE_SBUF,
           (ibx_buffer_place){
               .partition = 32, .partitions = 64, .offset = 20, .bytes = 5000});
  world_hbm(&b->w, IBX_BUFFER_INPUT, b->input, HBM_BYTES);
  world_hbm(&b->w, IBX_BUFFER_OUTPUT, b->fast.hbm, HBM_BYTES);
  for (size_t i = 0; i < b->w.entry.buffer_count; i++) {
    b->places[i] = b->w.buffers[i].place;
  }
}

static void side_create(bench *b, side *s) {
  if (ibx_sim_create(&b->w.program, &b->w.entry, &s->sim, &b->w.err) !=
      IBX_OK) {
    fail_msg("%s", b->w.err.message);
  }
  for (size_t i = 0; i < b->w.entry.buffer_count; i++) {
    if (b->w.buffers[i].kind == IBX_BUFFER_INPUT) s->sim->bases[i] = b->input;
    if (b->w.buffers[i].kind == IBX_BUFFER_OUTPUT) s->sim->bases[i] = s->hbm;
  }
}

static bench *bench_create(ibx_target target, uint64_t seed) {
  bench *b = checked(calloc(1, sizeof(*b)));
  b->random = seed;
  world_init(&b->w, target);
  b->w.machine.sbuf_bytes = SBUF_BYTES;
  b->input = checked(malloc(HBM_BYTES));
  b->fast.hbm = checked(calloc(1, HBM_BYTES));
  b->spec.hbm = checked(calloc(1, HBM_BYTES));
  add_buffers(b);
  side_create(b, &b->fast);
  side_create(b, &b->spec);
  b->spec.sim->specification = true;
  return b;
}

static void bench_destroy(bench *b) {
  ibx_sim_destroy(b->fast.sim);
  ibx_sim_destroy(b->spec.sim);
  free(b->fast.hbm);
  free(b->spec.hbm);
  free(b->input);
  free(b);
}

static ibx_exec exec_of(bench *b, side *s) {
  return (ibx_exec){.sim = s->sim,
                    .insn = &b->insn,
                    .seq = &s->seq,
                    .engine = b->engine,
                    .err = &b->w.err};
}

// --- memories ---

static void fill_words(bench *b, uint8_t *to, size_t bytes) {
  ibx_dtype dtype = (ibx_dtype)(1 + world_below(&b->random, 6));
  bool tame = world_below(&b->random, 2) != 0;
  size_t step = ibx_dtype_bytes(dtype);
  for (size_t i = 0; i + step <= bytes; i += step) {
    uint64_t bits = random_element(&b->random, dtype, tame);
    memcpy(to + i, &bits, step);
  }
}

static void copy_memories(bench *b) {
  for (size_t i = 0; i < IBX_SPACE_COUNT; i++) {
    memcpy(b->spec.sim->memory[i], b->fast.sim->memory[i],
           (size_t)b->fast.sim->memory_bytes[i]);
  }
  memcpy(b->spec.sim->array, b->fast.sim->array, ARRAY_BYTES);
  memcpy(b->spec.sim->accumulator, b->fast.sim->accumulator,
         sizeof(b->spec.sim->accumulator));
  memcpy(b->spec.sim->generator, b->fast.sim->generator,
         sizeof(b->spec.sim->generator));
  memcpy(b->spec.hbm, b->fast.hbm, HBM_BYTES);
}

static void fill_memories(bench *b) {
  for (int space = IBX_SPACE_SBUF; space <= IBX_SPACE_PSUM; space++) {
    size_t row = b->fast.sim->partition_bytes[space];
    for (size_t p = 0; p < IBX_PARTITIONS; p++) {
      fill_words(b, b->fast.sim->memory[space] + p * row, row);
    }
  }
  void *array = b->fast.sim->array;
  fill_words(b, array, ARRAY_BYTES);
  for (size_t i = 0; i < HBM_BYTES; i += 1024) {
    fill_words(b, b->input + i, 1024);
    fill_words(b, b->fast.hbm + i, 1024);
  }
  copy_memories(b);
}

// Fresh elements of its dtype where an engine instruction reads, in both.
static void fill_sources(bench *b) {
  const ibx_insn_info *info = ibx_insn_get(b->insn.opcode);
  ibx_exec x = exec_of(b, &b->fast), y = exec_of(b, &b->spec);
  if (info->kind == IBX_KIND_DMA) return;
  for (unsigned slot = 0; slot < IBX_OPERANDS; slot++) {
    ibx_sim_view a, c;
    bool absent = b->insn.operand[slot].buffer == IBX_NO_BUFFER;
    if (absent || !ibx_slot_reads(info->slot[slot])) continue;
    if (ibx_sim_view_open(&x, slot, &a) != IBX_OK) continue;
    if (ibx_sim_view_open(&y, slot, &c) != IBX_OK) continue;
    bool tame = world_below(&b->random, 2) != 0;
    for (size_t p = 0; p < a.partitions; p++) {
      for (size_t i = 0; i < a.elements; i++) {
        uint32_t bits = (uint32_t)random_element(&b->random, a.dtype, tame);
        ibx_store_bits(&a, p, i, bits);
        ibx_store_bits(&c, p, i, bits);
      }
    }
  }
}

// The indices of a gather: mostly below the count.
static void fill_indices(bench *b) {
  const ibx_operand *o = &b->insn.operand[2];
  if (b->insn.opcode != IBX_OP_dma_gather) return;
  uint32_t limit = b->insn.count + (world_below(&b->random, 16) == 0);
  ibx_exec x = exec_of(b, &b->fast), y = exec_of(b, &b->spec);
  ibx_sim_view a, c;
  if (ibx_sim_view_make_column(&x, 2, b->insn.num[0], &a) != IBX_OK) return;
  if (ibx_sim_view_make_column(&y, 2, b->insn.num[0], &c) != IBX_OK) return;
  for (size_t p = 0; o->buffer != IBX_NO_BUFFER && p < a.partitions; p++) {
    uint32_t row = world_below(&b->random, limit);
    ibx_store_bits(&a, p, 0, row);
    ibx_store_bits(&c, p, 0, row);
  }
}

// --- instances ---

static bool is_activation(const ibx_insn *insn) {
  return ibx_insn_operator(insn->opcode, 0) == IBX_OPERATOR_ACT;
}

// What an operand may touch: partitions, and bytes of each.
typedef struct box {
  int64_t low[2], high[2];
} box;

static box box_of(const bench *b, size_t slot) {
  const ibx_operand *o = &b->insn.operand[slot];
  const ibx_buffer_place *place = &b->places[o->buffer];
  ibx_operand_shape shape = ibx_insn_shape(&b->insn, slot);
  bool is_scalar = o->dtype == IBX_DTYPE_NONE;
  int64_t bytes =
      (int64_t)ibx_dtype_bytes(is_scalar ? IBX_DTYPE_F32 : (ibx_dtype)o->dtype);
  int64_t first[2] = {place->partition + o->partition,
                      (int64_t)(place->offset + o->offset)};
  for (size_t r = 0; r < IBX_LOOP_REGISTERS; r++) {
    first[1] += (int64_t)o->loop_step[r] * b->fast.seq.loop_reg[r];
  }
  box out = {.low = {first[0], first[1]},
             .high = {first[0] + shape.partitions - 1, first[1] + bytes - 1}};
  for (size_t d = 0; d < IBX_DIMS; d++) {
    int64_t last = (int64_t)shape.num[d] - 1;
    int64_t walk[2] = {o->partition_step[d] * last, o->step[d] * bytes * last};
    for (size_t k = 0; k < 2; k++) {
      *(walk[k] < 0 ? &out.low[k] : &out.high[k]) += walk[k];
    }
  }
  return out;
}

static bool slots_meet(const bench *b, size_t one, size_t other) {
  const ibx_operand *o = b->insn.operand;
  if (b->places[o[one].buffer].space != b->places[o[other].buffer].space) {
    return false;
  }
  box x = box_of(b, one), y = box_of(b, other);
  for (size_t k = 0; k < 2; k++) {
    if (x.low[k] > y.high[k] || y.low[k] > x.high[k]) return false;
  }
  return true;
}

// Nothing is specified of a DMA whose sides overlap. What is compared within
// bounds must not be overwritten.
static bool is_comparable(const bench *b, const ibx_insn_info *info) {
  if (info->kind == IBX_KIND_DMA) return !slots_meet(b, 0, 1);
  bool sums = info->slot[3] == IBX_SLOT_SCALAR_WRITE;
  return !is_activation(&b->insn) || !sums || !slots_meet(b, 0, 3);
}

static bool is_usable(bench *b) {
  const ibx_insn_info *info = ibx_insn_get(b->insn.opcode);
  if (!(info->engines >> b->engine & 1)) return false;
  if (ibx_insn_check(&b->w.machine, b->engine, &b->insn, b->places,
                     b->w.entry.buffer_count, NULL) != IBX_OK) {
    return false;
  }
  return is_comparable(b, info);
}

static void next_instance(bench *b, uint8_t opcode) {
  for (size_t r = 0; r < IBX_LOOP_REGISTERS; r++) {
    b->fast.seq.loop_reg[r] = world_below(&b->random, 4);
    b->spec.seq.loop_reg[r] = b->fast.seq.loop_reg[r];
  }
  for (size_t i = 0; i < MOST_TRIES; i++) {
    b->engine = (ibx_engine)world_below(&b->random, IBX_ENGINE_COUNT);
    b->insn = random_insn(&b->random, &b->w, opcode);
    if (is_usable(b)) return;
  }
  fail_msg("%s: no legal instance found", ibx_insn_get(opcode)->name);
}

// --- running ---

// A DMA also in pieces, as the orders other than the program's run it.
static ibx_status run_fast(bench *b) {
  ibx_exec x = exec_of(b, &b->fast);
  bool is_dma = ibx_insn_get(b->insn.opcode)->kind == IBX_KIND_DMA;
  if (!is_dma || world_below(&b->random, 2)) return ibx_sim_execute(&x);
  ibx_dma_plan plan;
  IBX_TRY(ibx_dma_plan_make(&x, &plan));
  for (uint64_t done = 0; done < plan.elements;) {
    uint64_t n = 1 + world_below(&b->random, (uint32_t)plan.elements);
    if (n > plan.elements - done) n = plan.elements - done;
    ibx_dma_plan_run_fast(&plan, done, n);
    done += n;
  }
  return IBX_OK;
}

static void describe(const bench *b, char *out, size_t size) {
  const ibx_insn *insn = &b->insn;
  int n = snprintf(out, size, "%s on %s of %s: op %u %u flags %u p %u",
                   ibx_insn_get(insn->opcode)->name, ibx_engine_name(b->engine),
                   b->w.machine.name, insn->op[0], insn->op[1], insn->flags,
                   insn->partitions);
  for (size_t s = 0; s < IBX_OPERANDS; s++) {
    const ibx_operand *o = &insn->operand[s];
    if (o->buffer == IBX_NO_BUFFER) continue;
    n +=
        snprintf(out + n, size - (size_t)n, "; %zu: b%u+%llu @%u %s (%d %d %d)",
                 s, o->buffer, (unsigned long long)o->offset, o->partition,
                 ibx_dtype_get((ibx_dtype)o->dtype)->name, o->step[2],
                 o->step[3], o->step[4]);
  }
  snprintf(out + n, size - (size_t)n, "; num %u %u %u imm %a %a", insn->num[2],
           insn->num[3], insn->num[4], (double)insn->imm[0],
           (double)insn->imm[1]);
}

static void expect_equal(const bench *b, const char *what, const void *fast,
                         const void *spec, size_t size, size_t row) {
  const uint8_t *a = fast, *c = spec;
  if (memcmp(a, c, size) == 0) return;
  char text[1024];
  size_t at = 0;
  while (a[at] == c[at])
    at++;
  describe(b, text, sizeof(text));
  fail_msg("%s: %s differs at row %zu, byte %zu: %02x, specified %02x", text,
           what, at / row, at % row, a[at], c[at]);
}

static void expect_same_memories(const bench *b) {
  const ibx_sim *fast = b->fast.sim, *spec = b->spec.sim;
  for (int i = IBX_SPACE_SBUF; i <= IBX_SPACE_PSUM; i++) {
    expect_equal(b, ibx_space_name((ibx_space)i), fast->memory[i],
                 spec->memory[i], (size_t)fast->memory_bytes[i],
                 fast->partition_bytes[i]);
  }
  expect_equal(b, "hbm", b->fast.hbm, b->spec.hbm, HBM_BYTES, HBM_BYTES);
  expect_equal(b, "the array", fast->array, spec->array, ARRAY_BYTES,
               IBX_ARRAY_STEP * sizeof(float));
  expect_equal(b, "an accumulator", fast->accumulator, spec->accumulator,
               sizeof(spec->accumulator), sizeof(spec->accumulator[0]));
  expect_equal(b, "a generator", fast->generator, spec->generator,
               sizeof(spec->generator), sizeof(spec->generator[0]));
}

// --- activations ---

// What the function is applied to, of every element; NULL of others.
static float *arguments(bench *b) {
  ibx_exec x = exec_of(b, &b->spec);
  bool has_scale =
      ibx_insn_get(b->insn.opcode)->slot[3] == IBX_SLOT_SCALAR_READ;
  float one = b->insn.op[0] == IBX_ACT_PRELU ? 1.0f : b->insn.imm[1];
  ibx_sim_view src, bias, scale;
  if (ibx_open_read(&x, 1, &src) != IBX_OK ||
      ibx_open_scalar(&x, 2, b->insn.imm[0], &bias) != IBX_OK) {
    return NULL;
  }
  bool fails = has_scale && ibx_open_scalar(&x, 3, one, &scale) != IBX_OK;
  if (fails) return NULL;
  float *out = checked(calloc(src.partitions * src.elements, sizeof(*out)));
  for (size_t p = 0; p < src.partitions; p++) {
    for (size_t i = 0; i < src.elements; i++) {
      float s = has_scale ? ibx_load(&scale, p, 0) : one;
      float product = ibx_load(&src, p, i) * s;
      out[p * src.elements + i] = product + ibx_load(&bias, p, 0);
    }
  }
  return out;
}

static float converted(ibx_dtype dtype, double value) {
  uint64_t bits = 0;
  float rounded = (float)value, out;
  ibx_dtype_store_f32(dtype, &rounded, &bits, 1);
  ibx_dtype_load_f32(dtype, &bits, &out, 1);
  return out;
}

static void expect_close(const bench *b, ibx_dtype dtype, float have,
                         double exact, double bound, double x) {
  float low = converted(dtype, exact - bound);
  float high = converted(dtype, exact + bound);
  bool is_fine = have >= low && have <= high;
  if (exact != exact || isinf(exact)) {
    float want = converted(dtype, exact);
    is_fine = have == want || (have != have && want != want);
  }
  bool either = dtype == IBX_DTYPE_BOOL && fabs(exact) <= bound;
  if (is_fine || either) return;
  char text[1024];
  describe(b, text, sizeof(text));
  fail_msg("%s: %s of which %a is %a, allowed %a to %a", text,
           ibx_act_name(b->insn.op[0]), x, (double)have, (double)low,
           (double)high);
}

// Elements that later ones overwrite are not looked at: from the last one back.
static void expect_close_rows(bench *b, const float *x, uint8_t act) {
  ibx_exec fast = exec_of(b, &b->fast), spec = exec_of(b, &b->spec);
  ibx_sim_view a, c;
  static uint8_t taken[SBUF_BYTES];
  assert_int_equal(ibx_sim_view_open(&fast, 0, &a), IBX_OK);
  assert_int_equal(ibx_sim_view_open(&spec, 0, &c), IBX_OK);
  for (size_t p = 0; p < a.partitions; p++) {
    memset(taken, 0, sizeof(taken));
    for (size_t i = a.elements; i-- > 0;) {
      ptrdiff_t at = -a.low + (ptrdiff_t)(i % a.num[2]) * a.step[2] +
                     (ptrdiff_t)(i / a.num[2] % a.num[1]) * a.step[1] +
                     (ptrdiff_t)(i / a.num[2] / a.num[1]) * a.step[0];
      bool first = memchr(taken + at, 1, a.element_bytes) == NULL;
      memset(taken + at, 1, a.element_bytes);
      double slope = (double)b->insn.imm[1];
      double value = (double)x[p * a.elements + i];
      if (first) {
        expect_close(b, a.dtype, ibx_load(&a, p, i),
                     ibx_act_exact(act, value, slope),
                     ibx_act_bound(act, value, slope), value);
      }
    }
    for (size_t i = 0; i < a.elements; i++) {
      ibx_store_bits(&c, p, i, ibx_load_bits(&a, p, i));
    }
  }
}

// The sum of a partition: each term may be off by its bound, each addition
// rounds.
static void expect_close_sums(bench *b, const float *x, size_t n) {
  ibx_exec fast = exec_of(b, &b->fast), spec = exec_of(b, &b->spec);
  ibx_sim_view a, c;
  assert_int_equal(ibx_sim_view_open(&fast, 3, &a), IBX_OK);
  assert_int_equal(ibx_sim_view_open(&spec, 3, &c), IBX_OK);
  double slope = (double)b->insn.imm[1];
  for (size_t p = 0; p < a.partitions; p++) {
    double sum = 0, bound = 0, size = 0;
    for (size_t i = 0; i < n; i++) {
      double value = (double)x[p * n + i];
      double exact = ibx_act_exact(b->insn.op[0], value, slope);
      sum += exact;
      size += fabs(exact);
      bound += ibx_act_bound(b->insn.op[0], value, slope);
    }
    bound += size * (double)(n + 16) * 0x1p-24;
    float have = ibx_load(&a, p, 0), want = ibx_load(&c, p, 0);
    if (size < 0x1p126) {
      expect_close(b, IBX_DTYPE_F32, have, sum, bound, sum);
    } else if (size == INFINITY || size != size) {
      assert_true(isnan(have) == isnan(want) && isinf(have) == isinf(want));
    }
    ibx_store_bits(&c, p, 0, ibx_load_bits(&a, p, 0));
    // The accumulators hold the sums, too.
    uint32_t stored = ibx_load_bits(&a, p, 0);
    assert_memory_equal(ibx_accumulator(&fast, p), &stored, sizeof(stored));
    *ibx_accumulator(&spec, p) = *ibx_accumulator(&fast, p);
  }
}

// --- tests ---

// Whether the instance ran; one that leaves its buffers is refused by both.
static bool compare_instance(bench *b) {
  fill_sources(b);
  fill_indices(b);
  ibx_exec x = exec_of(b, &b->spec);
  float *args = is_activation(&b->insn) ? arguments(b) : NULL;
  ibx_status spec = ibx_sim_execute(&x);
  ibx_status fast = run_fast(b);
  assert_int_equal(fast, spec);
  if (args != NULL && fast == IBX_OK) {
    size_t n = (size_t)b->insn.num[2] * b->insn.num[3] * b->insn.num[4];
    bool sums = ibx_insn_get(b->insn.opcode)->slot[3] == IBX_SLOT_SCALAR_WRITE;
    if (sums) expect_close_sums(b, args, n);
    expect_close_rows(b, args, b->insn.op[0]);
  }
  free(args);
  expect_same_memories(b);
  return fast == IBX_OK;
}

// As many that run as are asked for.
static void compare_opcode(bench *b, uint8_t opcode, size_t most) {
  size_t refused = 0;
  for (size_t ran = 0; ran < most;) {
    if ((ran + refused) % 100 == 0) fill_memories(b);
    next_instance(b, opcode);
    if (compare_instance(b)) {
      ran++;
    } else {
      refused++;
    }
    assert_true(refused < 40 * most);
  }
}

static void fast_versions_leave_the_specified_bytes(void **state) {
  (void)state;
  size_t compared = 0;
  for (unsigned target = IBX_TARGET_ibx2; target <= IBX_TARGET_ibx4; target++) {
    bench *b = bench_create((ibx_target)target, 17 + target);
    for (unsigned opcode = 0; opcode <= UINT8_MAX; opcode++) {
      const ibx_insn_info *info = ibx_insn_get((uint8_t)opcode);
      if (ibx_sim_find_fast((uint8_t)opcode) == NULL) continue;
      if (!(info->targets >> target & 1)) continue;
      if (*only != 0 && strcmp(only, info->name) != 0) continue;
      compare_opcode(b, (uint8_t)opcode, (instances + 2) / 3);
      compared++;
    }
    bench_destroy(b);
  }
  assert_true(compared > 0);
}

int main(int argc, char **argv) {
  if (argc > 1) instances = (size_t)strtoul(argv[1], NULL, 10);
  if (argc > 2) only = argv[2];
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(fast_versions_leave_the_specified_bytes),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

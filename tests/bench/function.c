// SPDX-License-Identifier: Apache-2.0
//
// How fast the simulator computes, as ratios within one run.
//
//   function                    elementwise chains against plain C loops
//   function LIBRARY [THREADS]  and a 2048-cube fp32 product against one sgemm
//                               of LIBRARY (an OpenBLAS, numpy's for example)
//
// The product loads tiles of 128 x 128 and moves tiles of 128 x 512 from SBUF,
// summing in PSUM; its DMAs and the evacuation of PSUM count too. A ratio above
// 1 means that the simulator is the faster. Each figure is the best of ROUNDS.

#include "imbrex/sim.h"

#include <dlfcn.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
  ROUNDS = 25,
  CUBE = 2048,
  TILE = 128,
  MOVING = 512,
  MOST_BUFFERS = 8,
  MOST_INSNS = 8192
};

typedef struct program {
  ibx_buffer_decl buffers[MOST_BUFFERS];
  uint8_t *hbm[MOST_BUFFERS];
  ibx_insn insns[IBX_ENGINE_COUNT][MOST_INSNS];
  ibx_entry entry;
  ibx_program_data data;
  uint64_t hbm_end;
} program;

static _Noreturn void stop(const char *what) {
  fprintf(stderr, "function: %s\n", what);
  exit(1);
}

static void *allocate(size_t bytes) {
  void *memory = aligned_alloc(4096, (bytes + 4095) / 4096 * 4096);
  if (memory == NULL) stop("no memory");
  memset(memory, 0, bytes);
  return memory;
}

static int threads = 1;

// With one thread the processor's time: other programs may be running.
static double now(void) {
  struct timespec t;
  clock_gettime(threads == 1 ? CLOCK_PROCESS_CPUTIME_ID : CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static program *program_create(void) {
  program *p = allocate(sizeof(*p));
  p->entry.name = "main";
  p->entry.buffers = p->buffers;
  p->data = (ibx_program_data){.machine = ibx_machine_get(IBX_TARGET_ibx3),
                               .entries = &p->entry,
                               .entry_count = 1,
                               .model = "",
                               .options = ""};
  for (int e = 0; e < IBX_ENGINE_COUNT; e++) {
    p->entry.streams[e].insns = p->insns[e];
  }
  return p;
}

static uint32_t add_chip(program *p, ibx_space space, uint64_t offset,
                         uint64_t bytes) {
  size_t index = p->entry.buffer_count++;
  p->buffers[index] = (ibx_buffer_decl){.name = "tile",
                                        .kind = IBX_BUFFER_SCRATCH,
                                        .place = {.space = space,
                                                  .partitions = IBX_PARTITIONS,
                                                  .offset = offset,
                                                  .bytes = bytes}};
  return (uint32_t)index;
}

static uint32_t add_hbm(program *p, ibx_buffer_kind kind, void *memory,
                        uint64_t bytes) {
  size_t index = p->entry.buffer_count++;
  p->buffers[index] = (ibx_buffer_decl){.name = "matrix",
                                        .kind = kind,
                                        .place = {.space = IBX_SPACE_HBM,
                                                  .partitions = 1,
                                                  .offset = p->hbm_end,
                                                  .bytes = bytes}};
  p->hbm[index] = memory;
  p->hbm_end += bytes;
  return (uint32_t)index;
}

static ibx_insn *add(program *p, ibx_engine engine, ibx_insn insn) {
  size_t index = p->entry.streams[engine].count++;
  if (index == MOST_INSNS) stop("too many instructions");
  p->insns[engine][index] = insn;
  return &p->insns[engine][index];
}

static void add_wait(program *p, ibx_engine engine, uint8_t semaphore,
                     uint16_t value) {
  ibx_insn *insn = add(p, engine, ibx_insn_make(IBX_OP_semaphore));
  insn->wait_semaphore = semaphore;
  insn->wait_value = value;
}

static void add_signal(program *p, ibx_engine engine, uint8_t semaphore) {
  ibx_insn *insn = add(p, engine, ibx_insn_make(IBX_OP_semaphore));
  insn->signal_semaphore = semaphore;
  insn->signal_value = 1;
}

static ibx_sim *sim_create(const program *p) {
  ibx_error err;
  ibx_sim *sim = NULL;
  if (ibx_sim_create(&p->data, &p->entry, &sim, &err) != IBX_OK) {
    stop(err.message);
  }
  return sim;
}

static double time_run(const program *p, ibx_sim *sim) {
  ibx_error err;
  ibx_sim_options options = {.order = IBX_SIM_ORDER_PROGRAM};
  ibx_sim_memory memory = {.hbm = (uint8_t **)p->hbm};
  double start = now();
  if (ibx_sim_run(sim, &options, &memory, &err) != IBX_OK) stop(err.message);
  return now() - start;
}

static double time_program(const program *p) {
  ibx_sim *sim = sim_create(p);
  double best = INFINITY;
  for (int round = 0; round < ROUNDS; round++) {
    best = fmin(best, time_run(p, sim));
  }
  ibx_sim_destroy(sim);
  return best;
}

// --- the product ---

enum { LOADED, FREE, DONE, DRAINED = DONE + 2, COPIED = DRAINED + 2, STORED };

typedef struct product {
  uint32_t a, b, c;       ///< HBM: [K][M], [K][N], [M][N]
  uint32_t lhs, rhs, res; ///< SBUF: all of a, 512 columns of b, two tiles of c
  uint32_t acc;           ///< PSUM: two banks
} product;

static uint16_t pieces_of(const program *p, const ibx_insn *insn) {
  ibx_buffer_place places[MOST_BUFFERS];
  for (size_t i = 0; i < p->entry.buffer_count; i++) {
    places[i] = p->buffers[i].place;
  }
  return (uint16_t)ibx_dma_split(p->data.machine, insn, places, NULL);
}

// 16 tiles of K of `columns` columns from an HBM matrix with rows of CUBE.
static uint16_t add_load(program *p, uint32_t dst, uint32_t src, size_t first,
                         uint32_t columns) {
  ibx_insn insn = ibx_insn_make(IBX_OP_dma_copy);
  insn.num[2] = CUBE / TILE;
  insn.num[3] = TILE;
  insn.num[4] = columns;
  insn.operand[0] = (ibx_operand){.buffer = dst,
                                  .dtype = IBX_DTYPE_F32,
                                  .step = {[2] = (int32_t)columns, [4] = 1},
                                  .partition_step = {[3] = 1}};
  insn.operand[1] =
      (ibx_operand){.buffer = src,
                    .dtype = IBX_DTYPE_F32,
                    .offset = 4 * first,
                    .step = {[2] = TILE * CUBE, [3] = CUBE, [4] = 1}};
  insn.signal_semaphore = LOADED;
  insn.signal_value = pieces_of(p, &insn);
  add(p, IBX_ENGINE_SYNC, insn);
  return insn.signal_value;
}

static void add_tile(program *p, const product *x, size_t m, size_t k) {
  ibx_insn load = ibx_insn_make(IBX_OP_load_stationary);
  load.partitions = load.columns = TILE;
  load.num[4] = TILE;
  load.operand[1] = (ibx_operand){.buffer = x->lhs,
                                  .dtype = IBX_DTYPE_F32,
                                  .offset = 4 * (k * CUBE + m * TILE),
                                  .step = {[4] = 1}};
  add(p, IBX_ENGINE_TENSOR, load);
  ibx_insn move = ibx_insn_make(IBX_OP_multiply_moving);
  move.partitions = move.columns = TILE;
  move.num[4] = MOVING;
  move.operand[0] = (ibx_operand){.buffer = x->acc,
                                  .dtype = IBX_DTYPE_F32,
                                  .offset = 4 * (m % 2 * MOVING),
                                  .step = {[4] = 1}};
  move.operand[1] = (ibx_operand){.buffer = x->rhs,
                                  .dtype = IBX_DTYPE_F32,
                                  .offset = 4 * (k * MOVING),
                                  .step = {[4] = 1}};
  if (k != 0) move.flags |= IBX_FLAG_ACCUMULATE;
  if (k == CUBE / TILE - 1) {
    move.flags |= IBX_FLAG_GROUP_END;
    move.signal_semaphore = (uint8_t)(DONE + m % 2);
    move.signal_value = 1;
  }
  add(p, IBX_ENGINE_TENSOR, move);
}

// A finished bank goes through SBUF to its tile of c.
static void add_store(program *p, const product *x, size_t m, size_t n) {
  ibx_insn copy = ibx_insn_make(IBX_OP_tensor_copy);
  uint64_t half = 4 * (m % 2 * MOVING);
  copy.partitions = TILE;
  copy.num[4] = MOVING;
  copy.operand[0] = (ibx_operand){.buffer = x->res,
                                  .dtype = IBX_DTYPE_F32,
                                  .offset = half,
                                  .step = {[4] = 1}};
  copy.operand[1] = copy.operand[0];
  copy.operand[1].buffer = x->acc;
  copy.wait_semaphore = (uint8_t)(DONE + m % 2);
  copy.wait_value = 1;
  copy.signal_semaphore = (uint8_t)(DRAINED + m % 2);
  copy.signal_value = 1;
  add(p, IBX_ENGINE_VECTOR, copy);
  ibx_insn store = ibx_insn_make(IBX_OP_dma_copy);
  store.num[3] = TILE;
  store.num[4] = MOVING;
  store.operand[0] = (ibx_operand){.buffer = x->c,
                                   .dtype = IBX_DTYPE_F32,
                                   .offset = 4 * (m * TILE * CUBE + n * MOVING),
                                   .step = {[3] = CUBE, [4] = 1}};
  store.operand[1] = (ibx_operand){.buffer = x->res,
                                   .dtype = IBX_DTYPE_F32,
                                   .offset = half,
                                   .step = {[4] = 1},
                                   .partition_step = {[3] = 1}};
  store.signal_semaphore = STORED;
  store.signal_value = pieces_of(p, &store);
  add(p, IBX_ENGINE_VECTOR, store);
  add_wait(p, IBX_ENGINE_VECTOR, STORED, store.signal_value);
}

static void add_product(program *p, const product *x) {
  uint16_t pieces = add_load(p, x->lhs, x->a, 0, CUBE);
  add_wait(p, IBX_ENGINE_TENSOR, LOADED, pieces);
  add_signal(p, IBX_ENGINE_TENSOR, FREE);
  for (uint8_t i = 0; i < 2; i++) {
    add_signal(p, IBX_ENGINE_VECTOR, (uint8_t)(DRAINED + i));
  }
  for (size_t n = 0; n < CUBE / MOVING; n++) {
    add_wait(p, IBX_ENGINE_SYNC, FREE, 1);
    pieces = add_load(p, x->rhs, x->b, n * MOVING, MOVING);
    add_wait(p, IBX_ENGINE_TENSOR, LOADED, pieces);
    for (size_t m = 0; m < CUBE / TILE; m++) {
      add_wait(p, IBX_ENGINE_TENSOR, (uint8_t)(DRAINED + m % 2), 1);
      for (size_t k = 0; k < CUBE / TILE; k++) {
        add_tile(p, x, m, k);
      }
      add_store(p, x, m, n);
    }
    add_signal(p, IBX_ENGINE_TENSOR, FREE);
  }
}

static program *product_create(float *a, float *b, float *c) {
  const uint64_t bytes = (uint64_t)CUBE * CUBE * 4;
  program *p = program_create();
  product x = {.a = add_hbm(p, IBX_BUFFER_INPUT, a, bytes),
               .b = add_hbm(p, IBX_BUFFER_INPUT, b, bytes),
               .c = add_hbm(p, IBX_BUFFER_OUTPUT, c, bytes),
               .lhs = add_chip(p, IBX_SPACE_SBUF, 0, 4 * CUBE * CUBE / TILE),
               .rhs = add_chip(p, IBX_SPACE_SBUF, 4 * CUBE * CUBE / TILE,
                               4 * CUBE / TILE * MOVING),
               .res = add_chip(p, IBX_SPACE_SBUF,
                               4 * CUBE / TILE * (CUBE + MOVING), 8 * MOVING),
               .acc = add_chip(p, IBX_SPACE_PSUM, 0, 8 * MOVING)};
  add_product(p, &x);
  return p;
}

/// cblas_sgemm, with indices of 32 or of 64 bits.
typedef void (*sgemm32)(int, int, int, int, int, int, float, const float *, int,
                        const float *, int, float, float *, int);
typedef void (*sgemm64)(int, int, int, int64_t, int64_t, int64_t, float,
                        const float *, int64_t, const float *, int64_t, float,
                        float *, int64_t);

enum { ROW_MAJOR = 101, NO_TRANSPOSE = 111, TRANSPOSE = 112 };

static void *find(void *library, const char *const *names) {
  for (; *names != NULL; names++) {
    void *symbol = dlsym(library, *names);
    if (symbol != NULL) return symbol;
  }
  return NULL;
}

typedef struct blas {
  sgemm64 wide; ///< or NULL
  sgemm32 narrow;
} blas;

static blas blas_open(const char *path) {
  static const char *const names64[] = {"scipy_cblas_sgemm64_",
                                        "cblas_sgemm64_", NULL};
  static const char *const names32[] = {"cblas_sgemm", NULL};
  static const char *const threads_names[] = {
      "scipy_openblas_set_num_threads64_", "openblas_set_num_threads64_",
      "openblas_set_num_threads", NULL};
  void *library = dlopen(path, RTLD_NOW);
  if (library == NULL) stop(dlerror());
  void *wide = find(library, names64), *narrow = find(library, names32);
  void *set_threads = find(library, threads_names);
  if (wide == NULL && narrow == NULL) stop("the library has no cblas_sgemm");
  void (*set)(int);
  blas out;
  memcpy(&set, &set_threads, sizeof(set));
  memcpy(&out.wide, &wide, sizeof(out.wide));
  memcpy(&out.narrow, &narrow, sizeof(out.narrow));
  if (set_threads != NULL) set(threads);
  return out;
}

static double time_blas(const blas *x, const float *a, const float *b,
                        float *c) {
  double start = now();
  if (x->wide != NULL) {
    x->wide(ROW_MAJOR, TRANSPOSE, NO_TRANSPOSE, CUBE, CUBE, CUBE, 1.0f, a, CUBE,
            b, CUBE, 0.0f, c, CUBE);
  } else {
    x->narrow(ROW_MAJOR, TRANSPOSE, NO_TRANSPOSE, CUBE, CUBE, CUBE, 1.0f, a,
              CUBE, b, CUBE, 0.0f, c, CUBE);
  }
  return now() - start;
}

static float *random_matrix(uint32_t seed) {
  size_t count = (size_t)CUBE * CUBE;
  float *matrix = allocate(count * sizeof(*matrix));
  for (size_t i = 0; i < count; i++) {
    seed = seed * 1664525 + 1013904223;
    matrix[i] = (float)(seed >> 8) * 0x1p-23f - 1.0f;
  }
  return matrix;
}

static void bench_product(const char *library) {
  float *a = random_matrix(1), *b = random_matrix(2);
  float *ours = random_matrix(3), *theirs = random_matrix(4);
  program *p = product_create(a, b, ours);
  ibx_sim *sim = sim_create(p);
  blas other = blas_open(library);
  double simulator = INFINITY, sgemm = INFINITY;
  for (int round = 0; round < ROUNDS; round++) { // in turn, as machines vary
    simulator = fmin(simulator, time_run(p, sim));
    sgemm = fmin(sgemm, time_blas(&other, a, b, theirs));
  }
  double worst = 0, gflop = 2e-9 * CUBE * CUBE * CUBE;
  for (size_t i = 0; i < (size_t)CUBE * CUBE; i++) {
    worst = fmax(worst, fabs((double)(ours[i] - theirs[i])));
  }
  if (!(worst < 0.01)) stop("the products differ");
  printf("product f32 %d^3, %d threads: simulator %.1f ms (%.1f GFLOPS), sgemm "
         "%.1f ms (%.1f), ratio %.2f\n",
         CUBE, threads, 1e3 * simulator, gflop / simulator, 1e3 * sgemm,
         gflop / sgemm, sgemm / simulator);
  ibx_sim_destroy(sim);
  free(p);
  free(a);
  free(b);
  free(ours);
  free(theirs);
}

// --- chains ---

/// One chain over `n` elements: t = relu(x * 0.75 + 0.5), t = t * 1.25 - 0.25,
/// y = t + x, each of these an instruction of the simulator.
typedef void (*chain_fn)(const void *restrict x, void *restrict y, size_t n);

static inline float chain_one(float x) {
  float t = x * 0.75f + 0.5f;
  t = t < 0.0f ? 0.0f : t;
  t = t * 1.25f - 0.25f;
  return t + x;
}

static void chain_f32(const void *restrict x, void *restrict y, size_t n) {
  const float *restrict from = x;
  float *restrict to = y;
  for (size_t i = 0; i < n; i++) {
    to[i] = chain_one(from[i]);
  }
}

static inline float from_bf16(uint16_t code) {
  uint32_t bits = (uint32_t)code << 16;
  float value;
  memcpy(&value, &bits, sizeof(value));
  return value;
}

static inline uint16_t to_bf16(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof(bits));
  return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

static inline float round_bf16(float value) {
  return from_bf16(to_bf16(value));
}

static void chain_bf16(const void *restrict x, void *restrict y, size_t n) {
  const uint16_t *restrict from = x;
  uint16_t *restrict to = y;
  for (size_t i = 0; i < n; i++) {
    float value = from_bf16(from[i]);
    float t = value * 0.75f + 0.5f;
    t = round_bf16(t < 0.0f ? 0.0f : t);
    t = round_bf16(t * 1.25f - 0.25f);
    to[i] = to_bf16(t + value);
  }
}

/// The same as three loops, one an instruction, each over all elements.
static void step_f32(int step, const void *restrict x, const void *restrict t,
                     void *restrict y, size_t n) {
  const float *restrict a = x, *restrict b = t;
  float *restrict to = y;
  switch (step) {
  case 0:
    for (size_t i = 0; i < n; i++) {
      float v = a[i] * 0.75f + 0.5f;
      to[i] = v < 0.0f ? 0.0f : v;
    }
    break;
  case 1:
    for (size_t i = 0; i < n; i++) {
      to[i] = b[i] * 1.25f - 0.25f;
    }
    break;
  default:
    for (size_t i = 0; i < n; i++) {
      to[i] = b[i] + a[i];
    }
    break;
  }
}

static void step_bf16(int step, const void *restrict x, const void *restrict t,
                      void *restrict y, size_t n) {
  const uint16_t *restrict a = x, *restrict b = t;
  uint16_t *restrict to = y;
  switch (step) {
  case 0:
    for (size_t i = 0; i < n; i++) {
      float v = from_bf16(a[i]) * 0.75f + 0.5f;
      to[i] = to_bf16(v < 0.0f ? 0.0f : v);
    }
    break;
  case 1:
    for (size_t i = 0; i < n; i++) {
      to[i] = to_bf16(from_bf16(b[i]) * 1.25f - 0.25f);
    }
    break;
  default:
    for (size_t i = 0; i < n; i++) {
      to[i] = to_bf16(from_bf16(b[i]) + from_bf16(a[i]));
    }
    break;
  }
}

enum { CHAIN_BYTES = 1 << 24, CHAIN_TILES = 32 };

static ibx_insn unary(ibx_opcode opcode, ibx_dtype dtype, uint32_t src,
                      uint32_t dst, uint64_t offset, uint32_t n) {
  ibx_insn insn = ibx_insn_make(opcode);
  insn.partitions = IBX_PARTITIONS;
  insn.num[4] = n;
  insn.operand[0] = insn.operand[1] = (ibx_operand){.buffer = dst,
                                                    .dtype = (uint8_t)dtype,
                                                    .offset = offset,
                                                    .step = {[4] = 1}};
  insn.operand[1].buffer = src;
  return insn;
}

// 16 MiB in SBUF, tile by tile; the engines pass each tile on.
static double time_chain(ibx_dtype dtype) {
  program *p = program_create();
  uint64_t row = CHAIN_BYTES / IBX_PARTITIONS;
  uint64_t tile = row / CHAIN_TILES;
  uint32_t n = (uint32_t)(tile / ibx_dtype_bytes(dtype));
  uint32_t x = add_chip(p, IBX_SPACE_SBUF, 0, row);
  uint32_t y = add_chip(p, IBX_SPACE_SBUF, row, tile * 2);
  for (size_t i = 0; i < CHAIN_TILES; i++) {
    uint64_t at = i * tile, half = i % 2 * tile;
    ibx_insn act = unary(IBX_OP_activation, dtype, x, y, at, n);
    act.operand[0].offset = half;
    act.op[0] = IBX_ACT_RELU;
    act.imm[0] = 0.5f;
    act.imm[1] = 0.75f;
    act.signal_semaphore = 0;
    act.signal_value = 1;
    add(p, IBX_ENGINE_SCALAR, act);
    add_wait(p, IBX_ENGINE_SCALAR, 1, 1);
    ibx_insn scale = unary(IBX_OP_tensor_scalar, dtype, y, y, half, n);
    scale.op[0] = IBX_ALU_MULTIPLY;
    scale.op[1] = IBX_ALU_SUBTRACT;
    scale.imm[0] = 1.25f;
    scale.imm[1] = 0.25f;
    scale.wait_value = 1;
    add(p, IBX_ENGINE_VECTOR, scale);
    ibx_insn sum = unary(IBX_OP_tensor_tensor, dtype, y, x, at, n);
    sum.operand[1].offset = half;
    sum.operand[2] = sum.operand[0];
    sum.op[0] = IBX_ALU_ADD;
    sum.signal_semaphore = 1;
    sum.signal_value = 1;
    add(p, IBX_ENGINE_VECTOR, sum);
  }
  double seconds = time_program(p);
  free(p);
  return seconds;
}

typedef void (*step_fn)(int step, const void *restrict x,
                        const void *restrict t, void *restrict y, size_t n);

static double time_steps(step_fn step, size_t bytes, size_t n) {
  uint8_t *x = allocate(bytes), *t = allocate(bytes), *y = allocate(bytes);
  double best = INFINITY;
  for (int round = 0; round < ROUNDS; round++) {
    double start = now();
    step(0, x, t, y, n);
    step(1, x, y, t, n);
    step(2, x, t, y, n);
    double seconds = now() - start;
    if (seconds < best) best = seconds;
  }
  free(x);
  free(t);
  free(y);
  return best;
}

static double time_fused(chain_fn chain, size_t bytes, size_t n) {
  uint8_t *x = allocate(bytes), *y = allocate(bytes);
  double best = INFINITY;
  for (int round = 0; round < ROUNDS; round++) {
    double start = now();
    chain(x, y, n);
    double seconds = now() - start;
    if (seconds < best) best = seconds;
  }
  free(x);
  free(y);
  return best;
}

static void bench_chain(ibx_dtype dtype) {
  bool wide = dtype == IBX_DTYPE_F32;
  size_t n = CHAIN_BYTES / ibx_dtype_bytes(dtype);
  double simulator = time_chain(dtype);
  double loops = time_steps(wide ? step_f32 : step_bf16, CHAIN_BYTES, n);
  double fused = time_fused(wide ? chain_f32 : chain_bf16, CHAIN_BYTES, n);
  printf("chain %s 16 MiB: simulator %.2f ms, three loops %.2f ms, ratio %.2f; "
         "one loop %.2f ms, ratio %.2f\n",
         ibx_dtype_get(dtype)->name, 1e3 * simulator, 1e3 * loops,
         loops / simulator, 1e3 * fused, fused / simulator);
}

int main(int argc, char **argv) {
  if (argc > 2) threads = atoi(argv[2]);
  if (argc > 1) bench_product(argv[1]);
  bench_chain(IBX_DTYPE_F32);
  bench_chain(IBX_DTYPE_BF16);
  return 0;
}

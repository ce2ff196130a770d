// SPDX-License-Identifier: Apache-2.0
//
// What surrounds several cores: the program file, the checker, the prover, the
// runtime, time, and the kernel that multiplies on several cores.

#include "core/program_format.h"
#include "imbrex/blob.h"
#include "imbrex/runtime.h"
#include "support/cores.h"
#include "support/reseal.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KERNEL IBX_SOURCE_DIR "/examples/kernels/all_reduce_matmul.s"

// y[r] = the sum of x over the cores, plus w; s counts the runs.
static const char small[] =
    ".target ibx3\n.entry main\n.cores 4\n"
    ".input w f32[1, 64]\n.input x f32[4, 64] split\n"
    ".state s f32[8, 32] split\n.output y f32[4, 64] split\n"
    ".buffer sum hbm bytes=256\n"
    ".engine sync\n"
    "all_reduce sum:f32, x:f32 size(64) op0=add dge=static signal s0+1\n"
    "dma_copy y:f32, w:f32 size(64) dge=static signal s1+1\n"
    "semaphore wait s1>=1\n"
    "dma_accumulate y:f32, sum:f32 size(64) dge=static wait s0>=1 signal s2+1\n"
    "dma_accumulate s:f32, x:f32 size(64) dge=static signal s3+1\n"
    "semaphore wait s2>=1\n"
    "semaphore wait s3>=1\n";

// --- file --------------------------------------------------------------------------

static ibx_blob write_program(const cores_program *p) {
  ibx_blob blob = {0};
  ibx_error err = {0};
  if (ibx_program_write(p->data, ibx_blob_write, &blob, NULL, NULL, &err) !=
      IBX_OK) {
    fail_msg("%s", err.message);
  }
  return blob;
}

static void a_program_file_keeps_its_cores(void **state) {
  (void)state;
  cores_program p;
  cores_make(&p, "%s", small);
  ibx_blob blob = write_program(&p), text = {0};
  ibx_program *program = NULL;
  assert_int_equal(ibx_program_open_memory(ibx_blob_get(&blob), &program, NULL),
                   IBX_OK);
  const ibx_entry *entry = ibx_program_find_entry(program, NULL);
  assert_int_equal(entry->cores, 4);
  const bool splits[] = {false, true, true, true, false};
  for (size_t i = 0; i < IBX_COUNT_OF(splits); i++) {
    assert_int_equal(entry->buffers[i].is_split, splits[i]);
  }
  assert_int_equal(entry->buffers[1].place.bytes, 256);
  assert_int_equal(ibx_buffer_bytes(entry, &entry->buffers[1]), 1024);
  // And as text, which assembles to the same bytes.
  assert_int_equal(
      ibx_disasm_program(ibx_program_get(program), ibx_blob_write, &text, NULL),
      IBX_OK);
  cores_program again;
  cores_make(&again, "%.*s", (int)text.size, (const char *)text.data);
  ibx_blob second = write_program(&again);
  assert_int_equal(second.size, blob.size);
  assert_memory_equal(second.data, blob.data, blob.size);
  ibx_blob_fini(&second);
  cores_fini(&again);
  ibx_program_close(program);
  ibx_blob_fini(&text);
  ibx_blob_fini(&blob);
  cores_fini(&p);
}

// Section CORES stands before the weights, in the last row but one.
static ibx_status open_with(uint32_t at, uint32_t value) {
  cores_program p;
  cores_make(&p, "%s", small);
  ibx_blob blob = write_program(&p);
  uint64_t rows = ibx_get_le(blob.data + 12, 4);
  uint8_t *row =
      blob.data + IBX_HEADER_BYTES + (rows - 2) * IBX_SECTION_ROW_BYTES;
  assert_int_equal(ibx_get_le(row, 4), IBX_SECTION_CORES);
  ibx_put_le(blob.data + ibx_get_le(row + 8, 8) + at, value, 4);
  reseal(blob.data, blob.size);
  ibx_program *program = NULL;
  ibx_status status =
      ibx_program_open_memory(ibx_blob_get(&blob), &program, NULL);
  ibx_program_close(program);
  ibx_blob_fini(&blob);
  cores_fini(&p);
  return status;
}

static void a_wrong_section_is_refused(void **state) {
  (void)state;
  assert_int_equal(open_with(0, 4), IBX_OK);
  const struct {
    uint32_t at, value;
  } wrong[] = {
      {0, 0},          // one core: the tensors do not fill their buffers
      {0, 3},          // 4 rows do not divide
      {0, 9},          // more than a chip has
      {0, UINT32_MAX}, // far more
      {4, 2},          // bytes are left
      {4, 4},          // bytes are missing
      {4, UINT32_MAX}, {8, 2}, // named twice
      {8, 4},                  // scratch
      {8, 99},                 // no such buffer
  };
  for (size_t i = 0; i < IBX_COUNT_OF(wrong); i++) {
    assert_int_equal(open_with(wrong[i].at, wrong[i].value),
                     IBX_INVALID_PROGRAM);
  }
}

// --- checker and prover ------------------------------------------------------------

#define HEAD(cores) ".target ibx3\n.entry main\n.cores " cores "\n"

static void refuse(const char *text, const char *words) {
  cores_program p;
  cores_make(&p, "%s", text);
  cores_refuse(&p, words);
  cores_fini(&p);
}

static void entries_fit_their_cores(void **state) {
  (void)state;
  refuse(HEAD("9"), "entry main has 9 cores, a chip of ibx3 8");
  refuse(".target ibx2\n.entry main\n.cores 4\n", "a chip of ibx2 2");
  refuse(HEAD("2") ".output y f32[2, 64]\n", "declare it split");
  refuse(HEAD("2") ".buffer a sbuf split bytes=4\n", "is not the caller's");
  refuse(HEAD("2") ".buffer b hbm input split bytes=6\n"
                   ".input x i32[3] in b\n",
         "does not divide into 2 cores");
  refuse(HEAD("4") ".buffer a hbm bytes=64\n.buffer b hbm bytes=64\n"
                   ".engine sync\n"
                   "all_to_all a:f32, b:f32 size(2, 1, 1, 1, 8) dge=static\n",
         "num[0] is 2, the entry has 4 cores");
  refuse(HEAD("3") ".buffer a sbuf bytes=64\n.buffer b sbuf bytes=64\n"
                   ".engine sync\n"
                   "sendrecv a:f32, b:f32 size(8) dge=static\n",
         "pairs of cores exchange tiles");
  refuse(HEAD("2") ".buffer a hbm bytes=64\n.buffer b hbm bytes=64\n"
                   ".engine sync\n"
                   "collective_permute a:f32, b:f32 size(8) count=2 "
                   "dge=static\n",
         "count is 2, the entry has 2 cores");
}

static void entries_fit_their_groups(void **state) {
  (void)state;
  refuse(HEAD("6") ".engine sync\ncore_barrier group=4\n",
         "6 cores, which groups of 4, 1 apart, do not divide");
  refuse(HEAD("4") ".engine sync\ncore_barrier group=2 stride=4\n",
         "4 cores, which groups of 2, 4 apart, do not divide");
  refuse(HEAD("4") ".engine sync\ncore_barrier group=255 stride=255\n",
         "do not divide");
  refuse(HEAD("4") ".engine sync\nrank_id r8 count=2 group=2\n",
         "count is 2, the group has 2 cores");
  refuse(HEAD("4") ".engine sync\nrank_id r8 count=4\n",
         "count is 4, the entry has 4 cores");
  refuse(HEAD("4") ".buffer a hbm bytes=128\n.buffer b hbm bytes=128\n"
                   ".engine sync\n"
                   "all_to_all a:f32, b:f32 size(4, 1, 1, 1, 8) group=2 "
                   "dge=static\n",
         "num[0] is 4, the group has 2 cores");
  refuse(HEAD("6") ".buffer a sbuf bytes=64\n.buffer b sbuf bytes=64\n"
                   ".engine sync\n"
                   "sendrecv a:f32, b:f32 size(8) group=3 dge=static\n",
         "pairs of cores exchange tiles");
  refuse(HEAD("4") ".buffer a hbm bytes=64\n.buffer b hbm bytes=64\n"
                   ".engine sync\n"
                   "collective_permute_reduce a:f32 step(0, 0, 0, 0, 1), b:f32 "
                   "size(2, 1, 1, 1, 8) op0=add count=2 group=2 stride=2 "
                   "dge=static\n",
         "count is 2, the group has 2 cores");
  refuse(HEAD("2") ".buffer a hbm bytes=64\n.buffer b hbm bytes=32\n"
                   ".buffer m sbuf partitions=12 bytes=4\n.engine sync\n"
                   "all_gather_v a:f32, b:f32 step(0, 0, 0, 0, 1), m:u32 "
                   "size(4, 1, 1, 1, 4) dge=static\n",
         "num[0] is 4, the entry has 2 cores");
}

// The metadata, six words of two cores, are loaded, used and stored.
#define COUNTED(y, meet, store)                                                \
  HEAD("2")                                                                    \
  ".input x f32[2, 8] split\n.input meta u32[12] split\n" y                    \
  ".output after u32[12] split\n.buffer m sbuf partitions=6 bytes=4\n"         \
  ".engine sync\n"                                                             \
  "dma_copy m:u32 pstep(1, 0), meta:u32 step(1, 1) size(6, 1) dge=static "     \
  "signal s0+6\n"                                                              \
  "all_gather_v y:f32, x:f32 step(0, 0, 0, 0, 1), m:u32 "                      \
  "size(2, 1, 1, 1, 8) dge=static signal s1+1 " meet                           \
  "\ndma_copy after:u32 step(1, 1), m:u32 pstep(1, 0) size(6, 1) dge=static "  \
  "signal s2+6 " store "\nsemaphore wait s2>=6\n"

static void metadata_are_memory(void **state) {
  (void)state;
  cores_program p;
  cores_make(&p, "%s",
             COUNTED(".state y f32[4, 8] split\n", "wait s0>=6", "wait s1>=1"));
  cores_prove(&p);
  cores_fini(&p);
  // What no data reach keeps what it holds, so it holds something.
  refuse(COUNTED(".output y f32[4, 8] split\n", "wait s0>=6", "wait s1>=1"),
         "y");
  // They are read before they have come.
  refuse(COUNTED(".state y f32[4, 8] split\n", "", "wait s1>=1"), "m");
  // What came is read before it is told.
  refuse(COUNTED(".state y f32[4, 8] split\n", "wait s0>=6", ""), "m");
}

static void a_collective_is_a_dma_to_the_prover(void **state) {
  (void)state;
  // The result is read before it is there.
  refuse(HEAD("2") ".input x f32[2, 64] split\n.output y f32[2, 64] split\n"
                   ".buffer a hbm bytes=256\n.engine sync\n"
                   "all_reduce a:f32, x:f32 size(64) op0=add dge=static\n"
                   "dma_copy y:f32, a:f32 size(64) dge=static\n",
         "sync 1 dma_copy");
  // Both sides are one memory.
  refuse(HEAD("2") ".state s f32[2, 64] split\n.engine sync\n"
                   "all_reduce s:f32, s:f32 size(64) op0=add dge=static\n",
         "s");
}

static void trips_that_data_decide_hold_no_meeting(void **state) {
  (void)state;
  refuse(HEAD("2") ".input n u32[2] split\n"
                   ".buffer a sbuf partitions=1 bytes=4\n.engine sync\n"
                   "dma_copy a:u32, n:u32 size(1) dge=static signal s0+1\n"
                   "register_load a:u32 r8 count=3 wait s0>=1\n"
                   "loop r0 r8 count=3\ncore_barrier\nloop_end\n",
         "only constant trips can be proved");
  refuse(HEAD("2") ".engine sync\nrank_id r8\nloop r0 r8 count=3\n"
                   "core_barrier\nloop_end\n",
         "core 1 comes to other meetings than core 0");
  // As many meetings, but on one core this one waits for the other one, which on
  // the other core waits for this one.
  refuse(HEAD("2") ".engine sync\nrank_id r8\ncore_barrier\n"
                   ".engine scalar\ncore_barrier\n",
         "unordered with the meeting before on");
}

// --- runtime -----------------------------------------------------------------------

static ibx_status try_session(const ibx_program *program, const char *uri,
                              ibx_error *err) {
  ibx_device *device = NULL;
  ibx_session *session = NULL;
  IBX_TRY(ibx_device_open(uri, NULL, &device, err));
  ibx_status status = ibx_session_create(device, program, NULL, &session, err);
  ibx_session_destroy(session);
  ibx_device_close(device);
  return status;
}

static void a_device_needs_the_cores(void **state) {
  (void)state;
  cores_program p;
  cores_make(&p, "%s", small);
  ibx_blob blob = write_program(&p);
  ibx_program *program = NULL;
  assert_int_equal(ibx_program_open_memory(ibx_blob_get(&blob), &program, NULL),
                   IBX_OK);
  ibx_error err = {0};
  assert_int_equal(try_session(program, "sim:", &err), IBX_MISMATCH);
  assert_non_null(strstr(err.message, "needs 4 cores, the device has 1"));
  assert_non_null(strstr(err.message, "sim:ibx3?cores=4"));
  assert_int_equal(try_session(program, "sim:?cores=3", &err), IBX_MISMATCH);
  assert_int_equal(try_session(program, "sim:ibx3?cores=4", &err), IBX_OK);
  assert_int_equal(try_session(program, "sim:?cores=8&threads=1", &err),
                   IBX_OK);
  const char *wrong[] = {"sim:ibx2?cores=4", "sim:?cores=0", "sim:?cores=9",
                         "sim:?cores=x", "sim:?threads=0"};
  for (size_t i = 0; i < IBX_COUNT_OF(wrong); i++) {
    assert_int_equal(try_session(program, wrong[i], &err),
                     IBX_INVALID_ARGUMENT);
  }
  ibx_program_close(program);
  ibx_blob_fini(&blob);
  cores_fini(&p);
}

static void a_session_splits_what_it_is_given(void **state) {
  (void)state;
  cores_program p;
  cores_make(&p, "%s", small);
  ibx_blob blob = write_program(&p);
  ibx_program *program = NULL;
  ibx_device *device = NULL;
  ibx_session *session = NULL;
  assert_int_equal(ibx_program_open_memory(ibx_blob_get(&blob), &program, NULL),
                   IBX_OK);
  assert_int_equal(ibx_device_open("sim:ibx3?cores=4", NULL, &device, NULL),
                   IBX_OK);
  assert_int_equal(ibx_device_query(device).cores, 4);
  assert_int_equal(ibx_session_create(device, program, NULL, &session, NULL),
                   IBX_OK);
  float w[64], x[4][64], y[4][64], s[4][64];
  for (unsigned i = 0; i < 64; i++) {
    w[i] = (float)i;
    for (unsigned r = 0; r < 4; r++) {
      x[r][i] = (float)(r + 1) * 0.5f;
    }
  }
  const ibx_binding inputs[] = {
      {.name = "w", .data = w, .size_bytes = sizeof w},
      {.name = "x", .data = x, .size_bytes = sizeof x}};
  const ibx_binding outputs[] = {
      {.name = "y", .data = y, .size_bytes = sizeof y}};
  const ibx_run run = {inputs, outputs, 2, 1};
  for (unsigned i = 0; i < 3; i++) {
    assert_int_equal(ibx_session_run(session, &run, NULL), IBX_OK);
  }
  assert_int_equal(ibx_session_read_state(session, "s", s, sizeof s, NULL),
                   IBX_OK);
  for (unsigned r = 0; r < 4; r++) {
    assert_true(y[r][9] == 9.0f + 5.0f);
    assert_true(s[r][9] == 3.0f * x[r][9]);
  }
  ibx_session_destroy(session);
  ibx_device_close(device);
  ibx_program_close(program);
  ibx_blob_fini(&blob);
  cores_fini(&p);
}

// --- time --------------------------------------------------------------------------

static uint64_t time_of(const cores_program *p) {
  ibx_sim_time time;
  ibx_error err = {0};
  if (ibx_sim_time_entry(p->data, p->entry, NULL, NULL, &time, &err) !=
      IBX_OK) {
    fail_msg("%s", err.message);
  }
  return time.total_ps;
}

static uint64_t time_collective(const char *insn, unsigned cores, unsigned rows,
                                unsigned columns) {
  cores_program p;
  cores_make(&p,
             ".target ibx3\n.entry main\n.cores %u\n"
             ".buffer a hbm bytes=%u\n.buffer b hbm bytes=%u\n"
             ".buffer m sbuf bytes=4\n"
             ".engine sync\n%s size(%u, 1, 1, 1, %u) dge=static\n",
             cores, rows * columns * 4, rows * columns * 4, insn, rows,
             columns);
  uint64_t time_ps = time_of(&p);
  cores_fini(&p);
  return time_ps;
}

static void a_ring_takes_its_hops_and_its_bytes(void **state) {
  (void)state;
  const ibx_machine *machine = ibx_machine_get(IBX_TARGET_ibx3);
  enum { COLUMNS = 1 << 20 };
  for (uint64_t n = 2; n <= 8; n *= 2) {
    uint64_t gather =
        time_collective("all_gather a:f32, b:f32 step(0, 0, 0, 0, 1)",
                        (unsigned)n, (unsigned)n, COLUMNS);
    ibx_machine share = ibx_machine_share(machine, (uint32_t)n);
    uint64_t rate = (uint64_t)share.dma_mb_per_s * share.dma_engines;
    uint64_t part_ps = UINT64_C(4) * COLUMNS * 1000000 / rate;
    assert_int_equal(gather, (n - 1) * (machine->collective_hop_ps + part_ps));
    uint64_t reduce = time_collective("all_reduce a:f32, b:f32 op0=add",
                                      (unsigned)n, (unsigned)n, COLUMNS);
    assert_int_equal(reduce, gather + (n - 1) * (machine->collective_hop_ps +
                                                 part_ps * 100 / 50));
  }
  // Small ones are all hops; one core has none.
  assert_true(time_collective("all_to_all a:f32, b:f32", 8, 8, 1) <
              8 * (uint64_t)machine->collective_hop_ps);
  assert_int_equal(time_collective("all_to_all a:f32, b:f32", 1, 1, 1),
                   machine->dma_startup_ps);
}

// ibx3: eight cores ask for more than HBM has, four do not.
static void a_group_takes_what_a_chip_of_its_size_takes(void **state) {
  (void)state;
  static const char *const insns[] = {
      "all_gather a:f32, b:f32 step(0, 0, 0, 0, 1)",
      "all_reduce a:f32, b:f32 op0=add",
      "reduce_scatter a:f32 step(0, 0, 0, 0, 1), b:f32 op0=max",
      "all_to_all a:f32, b:f32",
      "collective_permute a:f32, b:f32 count=1",
      "collective_permute_reduce a:f32 step(0, 0, 0, 0, 1), b:f32 op0=add"};
  enum { COLUMNS = 1 << 18 };
  for (size_t i = 0; i < IBX_COUNT_OF(insns); i++) {
    // Four cores do not wait for HBM, so a core has all of its DMA engines.
    uint64_t alone = time_collective(insns[i], 2, 2, COLUMNS);
    char group[128];
    snprintf(group, sizeof group, "%s group=2", insns[i]);
    assert_int_equal(time_collective(group, 4, 2, COLUMNS), alone);
    snprintf(group, sizeof group, "%s group=2 stride=2", insns[i]);
    assert_int_equal(time_collective(group, 4, 2, COLUMNS), alone);
  }
}

// However much the data send; and a step that adds is half as fast.
static void the_space_is_what_takes_time(void **state) {
  (void)state;
  const ibx_machine *machine = ibx_machine_get(IBX_TARGET_ibx3);
  enum { COLUMNS = 1 << 20 };
  ibx_machine share = ibx_machine_share(machine, 4);
  uint64_t rate = (uint64_t)share.dma_mb_per_s * share.dma_engines;
  uint64_t part_ps = UINT64_C(4) * COLUMNS * 1000000 / rate;
  uint64_t ring_ps = 3 * (machine->collective_hop_ps + part_ps);
  assert_int_equal(
      time_collective("all_gather_v a:f32, b:f32 step(0, 0, 0, 0, 1), m:u32", 4,
                      4, COLUMNS),
      ring_ps);
  assert_int_equal(
      time_collective("all_to_all_v a:f32, b:f32, m:u32", 4, 4, COLUMNS),
      ring_ps);
  assert_int_equal(
      time_collective("collective_permute_reduce a:f32 step(0, 0, 0, 0, 1), "
                      "b:f32 op0=add count=3",
                      4, 2, COLUMNS),
      machine->collective_hop_ps +
          part_ps * 100 / machine->dma_accumulate_percent);
}

// A core of a group of two goes once through what one of four may go thrice.
static void a_rank_in_a_group_is_small(void **state) {
  (void)state;
  uint64_t time_ps[2];
  for (unsigned i = 0; i < 2; i++) {
    cores_program p;
    cores_make(&p,
               ".target ibx3\n.entry main\n.cores 4\n"
               ".buffer a sbuf bytes=4\n.engine vector\n"
               "rank_id r9 group=%u count=1\n"
               "loop r0 r9 count=4\nmemset a:f32 p=128 imm0=1\nloop_end\n",
               i == 0 ? 2 : 4);
    cores_prove(&p);
    time_ps[i] = time_of(&p);
    cores_fini(&p);
  }
  assert_true(time_ps[0] * 2 < time_ps[1]);
}

static void cores_share_the_bandwidth_of_hbm(void **state) {
  (void)state;
  uint64_t time_ps[9] = {0};
  for (unsigned n = 1; n <= 8; n *= 2) {
    cores_program p;
    cores_make(&p,
               ".target ibx3\n.entry main\n.cores %u\n"
               ".input x f32[%u, 1048576] split\n.buffer a sbuf bytes=32768\n"
               ".engine sync\n"
               "dma_copy a:f32 step(0, 1) pstep(1, 0), x:f32 "
               "size(128, 8192) dge=static\n",
               n, n);
    time_ps[n] = time_of(&p);
    cores_fini(&p);
  }
  assert_int_equal(time_ps[1], time_ps[2]);
  assert_int_equal(time_ps[1], time_ps[4]);
  double ratio = (double)time_ps[8] / (double)time_ps[1];
  assert_true(ratio > 1.01 && ratio < 1.02);
  const ibx_machine *machine = ibx_machine_get(IBX_TARGET_ibx2);
  assert_int_equal(ibx_machine_share(machine, 2).dma_mb_per_s,
                   machine->dma_mb_per_s);
}

// --- the kernel --------------------------------------------------------------------

enum { M = 128, N = 64, K = 512 };

static void run_kernel(int64_t cores, int64_t all, float *out) {
  const ibx_asm_define defines[] = {
      {"CORES", cores}, {"ALL", all}, {"M", M}, {"N", N}, {"K", K}};
  cores_program p;
  cores_make_file(&p, KERNEL, defines, IBX_COUNT_OF(defines));
  cores_prove(&p);
  static float a[K][M], b[K][N];
  for (unsigned k = 0; k < K; k++) {
    for (unsigned i = 0; i < M; i++) {
      a[k][i] = (float)((k * 7 + i * 3) % 17) - 8.0f;
    }
    for (unsigned i = 0; i < N; i++) {
      b[k][i] = (float)((k * 5 + i) % 13) - 6.0f;
    }
  }
  const cores_tensor tensors[] = {{"lhsT", a}, {"rhs", b}, {"out", out}};
  const ibx_sim_options options = {.order = IBX_SIM_ORDER_RANDOM,
                                   .poison = true};
  ibx_error err = {0};
  if (cores_run(&p, &options, tensors, 3, &err) != IBX_OK) {
    fail_msg("%s", err.message);
  }
  cores_fini(&p);
}

// Whole numbers, so every order of the sums gives the same.
static void the_kernel_computes_what_one_core_computes(void **state) {
  (void)state;
  static float one[M][N], split[M][N], all[4][M][N];
  run_kernel(1, 0, &one[0][0]);
  assert_true(one[0][0] != 0.0f || one[1][1] != 0.0f);
  for (int64_t cores = 2; cores <= 4; cores *= 2) {
    run_kernel(cores, 0, &split[0][0]);
    assert_memory_equal(split, one, sizeof one);
    run_kernel(cores, 1, &all[0][0][0]);
    for (int64_t r = 0; r < cores; r++) {
      assert_memory_equal(all[r], one, sizeof one);
    }
  }
}

static void the_kernel_gains_from_cores(void **state) {
  (void)state;
  uint64_t time_ps[5] = {0};
  for (int64_t cores = 1; cores <= 4; cores *= 4) {
    const ibx_asm_define defines[] = {{"CORES", cores}, {"K", 4096}};
    cores_program p;
    cores_make_file(&p, KERNEL, defines, IBX_COUNT_OF(defines));
    time_ps[cores] = time_of(&p);
    cores_fini(&p);
  }
  assert_true(time_ps[4] * 2 < time_ps[1]);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_program_file_keeps_its_cores),
      cmocka_unit_test(a_wrong_section_is_refused),
      cmocka_unit_test(entries_fit_their_cores),
      cmocka_unit_test(entries_fit_their_groups),
      cmocka_unit_test(metadata_are_memory),
      cmocka_unit_test(a_collective_is_a_dma_to_the_prover),
      cmocka_unit_test(trips_that_data_decide_hold_no_meeting),
      cmocka_unit_test(a_device_needs_the_cores),
      cmocka_unit_test(a_session_splits_what_it_is_given),
      cmocka_unit_test(a_ring_takes_its_hops_and_its_bytes),
      cmocka_unit_test(a_group_takes_what_a_chip_of_its_size_takes),
      cmocka_unit_test(the_space_is_what_takes_time),
      cmocka_unit_test(a_rank_in_a_group_is_small),
      cmocka_unit_test(cores_share_the_bandwidth_of_hbm),
      cmocka_unit_test(the_kernel_computes_what_one_core_computes),
      cmocka_unit_test(the_kernel_gains_from_cores),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

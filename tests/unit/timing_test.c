// SPDX-License-Identifier: Apache-2.0
//
// The rules of the time simulator, one by one, on programs of a few lines. What
// is expected is computed from machine.def, so that a new fact changes both
// sides.

#include "imbrex/asm.h"
#include "imbrex/sim.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

static const char head[] = ".entry main\n"
                           ".buffer x hbm input bytes=1073741824\n"
                           ".buffer a sbuf bytes=65536\n"
                           ".buffer b sbuf bytes=65536\n"
                           ".buffer acc psum bytes=16384\n";

typedef struct outcome {
  ibx_status status;
  ibx_error err;
  ibx_sim_time time;
  const ibx_machine *machine;
} outcome;

static outcome run_with(const char *target, const char *body,
                        ibx_sim_event_fn on_event, void *user) {
  char text[8192];
  outcome o = {0};
  ibx_asm_program *program = NULL;
  int len =
      snprintf(text, sizeof(text), ".target %s\n%s%s", target, head, body);
  assert_true(len > 0 && (size_t)len < sizeof(text));
  ibx_str str = {.data = text, .len = (size_t)len};
  if (ibx_asm_parse(str, "t.s", NULL, 0, &program, &o.err) != IBX_OK) {
    fail_msg("%s", o.err.message);
  }
  const ibx_program_data *data = ibx_asm_get(program);
  o.machine = data->machine;
  o.status = ibx_sim_time_entry(data, &data->entries[0], on_event, user,
                                &o.time, &o.err);
  ibx_asm_destroy(program);
  return o;
}

static outcome run(const char *body) {
  outcome o = run_with("ibx3", body, NULL, NULL);
  if (o.status != IBX_OK) fail_msg("%s", o.err.message);
  return o;
}

static uint64_t total(const char *body) { return run(body).time.total_ps; }

static const ibx_machine *ibx3(void) { return ibx_machine_find("ibx3"); }

static uint64_t cycles(ibx_engine engine, uint64_t count) {
  return ibx_machine_cycles_to_ps(ibx3(), engine, count);
}

static void assert_near(uint64_t a, uint64_t b) {
  // Cycles are rounded up to picoseconds one instruction at a time.
  uint64_t apart = a > b ? a - b : b - a;
  if (apart > 200) {
    fail_msg("%llu ps, expected %llu ps", (unsigned long long)a,
             (unsigned long long)b);
  }
}

// --- one engine ------------------------------------------------------------------

static void independent_instructions_follow_at_the_issue_interval(void **s) {
  (void)s;
  uint64_t time = total(".engine vector\n"
                        ".repeat i, 10\n"
                        "tensor_copy a[i*2048]:f32, b:f32 p=128 size(512)\n"
                        ".endrepeat\n");
  assert_near(time,
              cycles(IBX_ENGINE_VECTOR, 10 * 512 + ibx3()->vector_latency));
}

static void short_instructions_take_the_least_interval(void **s) {
  (void)s;
  uint64_t time = total(".engine vector\n"
                        ".repeat i, 10\n"
                        "tensor_copy a[i*4]:f32, b:f32 p=128 size(1)\n"
                        ".endrepeat\n");
  assert_near(time, cycles(IBX_ENGINE_VECTOR, 9 * ibx3()->min_interval + 1 +
                                                  ibx3()->vector_latency));
}

static void a_dependent_instruction_waits_for_the_result(void **s) {
  (void)s;
  uint64_t time = total(".engine vector\n"
                        ".repeat i, 10\n"
                        "tensor_copy a:f32, a:f32 p=128 size(1)\n"
                        ".endrepeat\n");
  assert_near(time,
              cycles(IBX_ENGINE_VECTOR, 10 * (1 + ibx3()->vector_latency)));
}

static void neighbours_do_not_depend_on_each_other(void **s) {
  (void)s;
  // Half of the bytes overlap with those before: dependent. None: not.
  const char *format = ".engine vector\n"
                       "tensor_copy a:f32, b:f32 p=128 size(64)\n"
                       "tensor_copy b[4096]:f32, a[%d]:f32 p=128 size(64)\n";
  char near[256], far[256];
  snprintf(near, sizeof(near), format, 128);
  snprintf(far, sizeof(far), format, 256);
  assert_near(total(near),
              cycles(IBX_ENGINE_VECTOR, 2 * (64 + ibx3()->vector_latency)));
  assert_near(total(far),
              cycles(IBX_ENGINE_VECTOR, 64 + 64 + ibx3()->vector_latency));
}

static void other_partitions_do_not_depend_on_each_other(void **s) {
  (void)s;
  uint64_t time = total(".engine vector\n"
                        "tensor_copy a:f32, b:f32 p=64 size(64)\n"
                        "tensor_copy b@64:f32, a@64:f32 p=64 size(64)\n");
  assert_near(time, cycles(IBX_ENGINE_VECTOR, 128 + ibx3()->vector_latency));
}

static void dependence_follows_loop_registers(void **s) {
  (void)s;
  // Each trip reads what the trip before wrote, or what nobody wrote.
  const char *format = ".engine vector\n"
                       "loop r0 count=16\n"
                       "tensor_copy a[%d + r0*4]:f32, a[r0*4]:f32 p=128\n"
                       "loop_end\n";
  char chain[256], apart[256];
  snprintf(chain, sizeof(chain), format, 4);
  snprintf(apart, sizeof(apart), format, 4096);
  // The branch hides part of the latency; what is left of it is waited for.
  assert_true(ibx3()->min_interval + ibx3()->loop_cycles >
              ibx3()->vector_latency + 1);
  assert_int_equal(total(chain), total(apart));
  const char *tight = ".engine scalar\n"
                      "loop r0 count=16\n"
                      "tensor_copy a[%d + r0*4]:f32, a[r0*4]:f32 p=128\n"
                      "loop_end\n";
  snprintf(chain, sizeof(chain), tight, 4);
  snprintf(apart, sizeof(apart), tight, 4096);
  assert_true(total(chain) >
              total(apart) + cycles(IBX_ENGINE_SCALAR, 15 * 200));
}

static void scalar_adds_its_own_dependence(void **s) {
  (void)s;
  const ibx_machine *m = ibx3();
  uint64_t time = total(".engine scalar\n"
                        "activation a:f32, a:f32 op0=copy p=128 size(1)\n"
                        "activation a:f32, a:f32 op0=copy p=128 size(1)\n");
  assert_near(time, cycles(IBX_ENGINE_SCALAR,
                           2 * (1 + m->scalar_latency) + m->scalar_dependent));
}

static void a_table_is_loaded_once(void **s) {
  (void)s;
  const char *format =
      ".engine scalar\n"
      "activation a:f32, b:f32 op0=%s p=128 size(512)\n"
      "activation a[4096]:f32, b:f32 op0=%s p=128 size(512)\n"
      "activation a[8192]:f32, b:f32 op0=relu p=128 size(512)\n";
  char none[400], one[400], two[400];
  snprintf(none, sizeof(none), format, "copy", "copy");
  snprintf(one, sizeof(one), format, "exp", "tanh");
  snprintf(two, sizeof(two), format, "exp", "gelu");
  uint64_t load = ibx3()->table_load_ps;
  assert_int_equal(total(one), total(none) + load);
  assert_int_equal(total(two), total(none) + 2 * load);
}

// --- semaphores -------------------------------------------------------------------

static void a_signal_travels(void **s) {
  (void)s;
  const ibx_machine *m = ibx3();
  uint64_t time =
      total(".engine vector\n"
            "tensor_copy a:f32, b:f32 p=128 size(512) signal s1+1\n"
            ".engine scalar\n"
            "tensor_copy b:f32, a:f32 p=128 size(512) wait s1>=1\n");
  assert_near(time, cycles(IBX_ENGINE_VECTOR, 512 + m->vector_latency) +
                        cycles(IBX_ENGINE_SCALAR,
                               m->semaphore_cycles + 512 + m->scalar_latency));
}

static void a_signal_that_is_there_costs_nothing(void **s) {
  (void)s;
  const char *format = ".engine vector\n"
                       "semaphore signal s1+1\n"
                       ".engine scalar\n"
                       ".repeat i, 10\n"
                       "tensor_copy b[i*4096]:f32, a:f32 p=128 size(512)\n"
                       ".endrepeat\n"
                       "tensor_copy b[40960]:f32, a:f32 p=128 size(512) %s\n";
  char with[512], without[512];
  snprintf(with, sizeof(with), format, "wait s1>=1");
  snprintf(without, sizeof(without), format, "");
  assert_int_equal(total(with), total(without));
}

static void a_wait_consumes(void **s) {
  (void)s;
  outcome o = run_with("ibx3",
                       ".engine vector\n"
                       "semaphore signal s7+3\n"
                       "semaphore wait s7>=2\n"
                       "semaphore wait s7>=2\n",
                       NULL, NULL);
  assert_int_equal(o.status, IBX_DEVICE_ERROR);
  assert_non_null(strstr(o.err.message, "vector waits for s7>=2 (it has 1)"));
}

static void a_deadlock_names_all_who_wait(void **s) {
  (void)s;
  outcome o = run_with("ibx3",
                       ".engine vector\n"
                       "semaphore wait s1>=1\n"
                       "semaphore signal s2+1\n"
                       ".engine sync\n"
                       "semaphore wait s2>=5\n"
                       "semaphore signal s1+1\n",
                       NULL, NULL);
  assert_int_equal(o.status, IBX_DEVICE_ERROR);
  assert_non_null(strstr(o.err.message, "vector waits for s1>=1"));
  assert_non_null(strstr(o.err.message, "sync waits for s2>=5"));
}

static void the_earliest_rise_counts_whoever_comes_first(void **s) {
  (void)s;
  // Both engines signal; the later instruction in the text is the earlier in
  // time.
  uint64_t time =
      total(".engine vector\n"
            "tensor_copy a:f32, b:f32 p=128 size(8192) signal s1+1\n"
            ".engine gpsimd\n"
            "semaphore signal s1+1\n"
            ".engine scalar\n"
            "tensor_copy b:f32, a[40000]:f32 p=128 size(16) wait s1>=1\n");
  uint64_t slow = cycles(IBX_ENGINE_VECTOR, 8192 + ibx3()->vector_latency);
  assert_near(time, slow); // Scalar is done long before
}

static void a_signal_means_that_all_before_it_is_done(void **s) {
  (void)s;
  const ibx_machine *m = ibx3();
  uint64_t time =
      total(".engine scalar\n"
            "tensor_copy a:f32, b:f32 p=128 size(512)\n"
            "semaphore signal s1+1\n"
            ".engine vector\n"
            "tensor_copy b:f32, a:f32 p=128 size(512) wait s1>=1\n");
  assert_near(time, cycles(IBX_ENGINE_SCALAR, 512 + m->scalar_latency) +
                        cycles(IBX_ENGINE_VECTOR,
                               m->semaphore_cycles + 512 + m->vector_latency));
}

// --- DMA --------------------------------------------------------------------------

// Time that 8 rows of `bytes` occupy one of 16 engines.
static uint64_t eight_rows(uint64_t bytes) {
  ibx_dma_piece piece = {.descriptors = 8, .bytes = 8 * bytes};
  uint64_t ring = 8 * ibx3()->ring_descriptor_bytes;
  return ibx_dma_piece_ps(ibx3(), &piece) +
         ring * 1000000 / ibx3()->dma_mb_per_s;
}

static void a_small_dma_takes_its_start_up(void **s) {
  (void)s;
  outcome o = run(".engine sync\n"
                  "dma_copy a:f32 pstep(1, 0), x:f32 size(128, 8)\n");
  assert_int_equal(o.time.total_ps, ibx3()->dma_startup_ps);
  assert_int_equal(o.time.dma_active_ps, ibx3()->dma_startup_ps);
  assert_int_equal(o.time.hbm_read_bytes, 128 * 8 * 4);
  assert_int_equal(o.time.hbm_write_bytes, 0);
}

// A library call moves what lies in HBM itself: it counts where it is, and its
// time is that of its cost.
static void a_library_call_moves_its_own_bytes(void **s) {
  (void)s;
  const char *text = ".buffer y hbm output bytes=65536\n"
                     ".engine gpsimd\n"
                     "gpsimd_call2 y:u8, x:i32, x:i32 size(100) op0=less\n";
  outcome o = run(text);
  assert_int_equal(o.time.hbm_read_bytes, 2 * 100 * 4);
  assert_int_equal(o.time.hbm_write_bytes, 100);
  assert_int_equal(o.time.dma_count, 0);
  uint64_t moved = ibx3()->dma_startup_ps;
  assert_true(o.time.total_ps > moved);
  assert_true(o.time.total_ps < moved + cycles(IBX_ENGINE_GPSIMD, 400));
  // What does not matter to its cost does not change it either: the data.
  o = run(".buffer y hbm output bytes=65536\n"
          ".engine gpsimd\n"
          "gpsimd_call2 y:u8, x:i32, x:i32 size(100) op0=equal\n");
  assert_int_equal(o.time.total_ps, total(text));
}

static void a_large_dma_takes_its_bytes(void **s) {
  (void)s;
  outcome o = run(".engine sync\n"
                  "dma_copy a:f32 pstep(1, 0), x:f32 size(128, 4096)\n");
  assert_int_equal(o.time.total_ps, eight_rows(16384));
  assert_int_equal(o.time.dma_busy_ps, eight_rows(16384));
}

static void start_up_overlaps_with_other_dmas(void **s) {
  (void)s;
  outcome o = run(".engine sync\n"
                  ".repeat i, 10\n"
                  "dma_copy a:f32 pstep(1, 0), x:f32 size(128, 4096)\n"
                  ".endrepeat\n");
  assert_near(o.time.total_ps, 10 * eight_rows(16384));
}

static void an_issuer_pays_for_hardware_descriptors(void **s) {
  (void)s;
  outcome o =
      run(".engine sync\n"
          ".repeat i, 10\n"
          "dma_copy a:f32 pstep(1, 0), x:f32 dge=hardware size(128, 8)\n"
          ".endrepeat\n");
  assert_near(o.time.total_ps,
              10 * (uint64_t)ibx3()->dge_hw_ps + ibx3()->dma_startup_ps);
  assert_near(o.time.busy_ps[IBX_ENGINE_SYNC],
              10 * (uint64_t)ibx3()->dge_hw_ps);
}

static void software_descriptors_cost_gpsimd_each(void **s) {
  (void)s;
  outcome o =
      run(".engine gpsimd\n"
          "dma_copy a:f32 pstep(1, 0), x:f32 dge=software size(128, 8)\n");
  uint64_t issue =
      cycles(IBX_ENGINE_GPSIMD,
             ibx3()->dge_sw_cycles + 128 * ibx3()->dge_sw_descriptor);
  assert_near(o.time.total_ps, issue + ibx3()->dma_startup_ps);
}

static void a_waiter_sees_a_dma_later(void **s) {
  (void)s;
  const ibx_machine *m = ibx3();
  uint64_t time =
      total(".engine sync\n"
            "dma_copy a:f32 pstep(1, 0), x:f32 size(128, 8) signal s1+16\n"
            ".engine vector\n"
            "tensor_copy b:f32, a:f32 p=128 size(64) wait s1>=16\n");
  assert_near(time, m->dma_startup_ps + m->dma_completion_ps +
                        cycles(IBX_ENGINE_VECTOR, 64 + m->vector_latency));
}

static void pieces_signal_one_by_one(void **s) {
  (void)s;
  // 17 rows: the first engine has two of them and signals last.
  const char *format =
      ".engine sync\n"
      "dma_copy a:f32 pstep(1, 0), x:f32 size(17, 8192) signal s1+16\n"
      ".engine vector\n"
      "semaphore wait s1>=%d signal s2+1\n"
      "tensor_copy b:f32, b[4096]:f32 p=128 size(8192) \n";
  char most[400], all[400];
  snprintf(most, sizeof(most), format, 15);
  snprintf(all, sizeof(all), format, 16);
  ibx_dma_piece row = {.descriptors = 1, .bytes = 32768};
  assert_near(total(all) - total(most),
              ibx_dma_piece_ps(ibx3(), &row) +
                  (uint64_t)ibx3()->ring_descriptor_bytes * 1000000 /
                      ibx3()->dma_mb_per_s);
}

static void few_pieces_rotate_over_the_engines(void **s) {
  (void)s;
  // 16 DMAs of one piece each run side by side.
  uint64_t one = total(".engine sync\n"
                       "dma_copy a:f32, x:f32 size(64)\n");
  uint64_t many = total(".engine sync\n"
                        ".repeat i, 16\n"
                        "dma_copy a[i*256]:f32, x:f32 size(64)\n"
                        ".endrepeat\n");
  assert_near(many, one + 15 * cycles(IBX_ENGINE_SYNC, ibx3()->control_cycles));
}

static void keep_sync_start(void *user, const ibx_sim_event *event) {
  if (event->agent == IBX_ENGINE_SYNC) *(uint64_t *)user = event->start_ps;
}

static void a_full_queue_stops_its_issuer(void **s) {
  (void)s;
  const char *format = ".engine sync\n"
                       ".repeat i, %d\n"
                       "dma_copy a:f32 pstep(1, 0), x:f32 size(128, 16384)\n"
                       ".endrepeat\n"
                       ".repeat i, %d\n"
                       "dma_copy a:f32 pstep(1, 0), x:f32 queue=1 "
                       "size(128, 16384)\n"
                       ".endrepeat\n"
                       "semaphore\n";
  char fits[400], full[400];
  int most = (int)ibx3()->dma_in_flight;
  uint64_t start = 0;
  snprintf(fits, sizeof(fits), format, most, 1);
  snprintf(full, sizeof(full), format, most + 1, 0);
  run_with("ibx3", fits, keep_sync_start, &start);
  assert_true(start < eight_rows(65536));
  run_with("ibx3", full, keep_sync_start, &start);
  assert_true(start > eight_rows(65536));
  assert_true(start < 2 * eight_rows(65536));
}

static void descriptors_in_rings_are_fetched(void **s) {
  (void)s;
  outcome o = run(".engine sync\n"
                  "dma_copy a:f32 pstep(1, 0), x:f32 size(128, 8)\n");
  assert_int_equal(o.time.fetch_bytes,
                   2 * IBX_WORD_BYTES + 128 * ibx3()->ring_descriptor_bytes);
  o = run(".engine sync\n"
          "dma_copy a:f32 pstep(1, 0), x:f32 dge=hardware size(128, 8)\n");
  assert_int_equal(o.time.fetch_bytes, 2 * IBX_WORD_BYTES);
}

static void stores_count_as_writes(void **s) {
  (void)s;
  outcome o = run(".buffer y hbm output bytes=65536\n"
                  ".engine sync\n"
                  "dma_copy y:f32, a:f32 pstep(1, 0) size(128, 8)\n"
                  "dma_copy y:bf16, x:f32 size(128, 8)\n");
  assert_int_equal(o.time.hbm_write_bytes, 128 * 8 * (4 + 2));
  assert_int_equal(o.time.hbm_read_bytes, 128 * 8 * 4);
  assert_int_equal(o.time.dma_count, 2);
}

// --- loops and fetch ----------------------------------------------------------------

static void a_taken_loop_end_costs(void **s) {
  (void)s;
  const ibx_machine *m = ibx3();
  outcome o = run(".engine vector\n"
                  "loop r0 count=10\n"
                  "tensor_copy a[r0*4096]:f32, b:f32 p=128 size(512)\n"
                  "loop_end\n");
  assert_near(o.time.total_ps,
              cycles(IBX_ENGINE_VECTOR, m->control_cycles + 10 * 512 +
                                            9 * m->loop_cycles +
                                            m->vector_latency));
  assert_int_equal(o.time.instructions, 1 + 2 * 10);
  assert_int_equal(o.time.fetch_bytes, IBX_WORD_BYTES * (1 + 10 * (2 + 1)));
}

static void loops_nest_and_registers_lower_trips(void **s) {
  (void)s;
  outcome o = run(".engine vector\n"
                  "register_move r5 count=3\n"
                  "loop r0 count=4\n"
                  "loop r1 r5 count=100\n"
                  "tensor_copy a:f32, b:f32 p=128 size(512)\n"
                  "loop_end\n"
                  "loop_end\n");
  assert_int_equal(o.time.instructions, 1 + 1 + 4 * (1 + 3 * 2 + 1));
}

static void a_loop_of_no_trips_is_skipped(void **s) {
  (void)s;
  outcome o = run(".engine vector\n"
                  "register_move r5 count=0\n"
                  "loop r1 r5 count=100\n"
                  "loop r2 count=10\n"
                  "tensor_copy a:f32, b:f32 p=128 size(512)\n"
                  "loop_end\n"
                  "loop_end\n"
                  "tensor_copy a:f32, b:f32 p=128 size(512)\n");
  assert_int_equal(o.time.instructions, 3);
}

static void unmatched_loops_are_refused(void **s) {
  (void)s;
  outcome o = run_with("ibx3", ".engine vector\nloop r0 count=2\n", NULL, NULL);
  assert_int_equal(o.status, IBX_INVALID_PROGRAM);
  o = run_with("ibx3", ".engine vector\nloop_end\n", NULL, NULL);
  assert_int_equal(o.status, IBX_INVALID_PROGRAM);
}

static void absurd_trip_counts_are_refused(void **s) {
  (void)s;
  outcome o = run_with("ibx3",
                       ".engine vector\n"
                       "loop r0 count=4000000000\n"
                       "loop r1 count=4000000000\n"
                       "semaphore\n"
                       "loop_end\n"
                       "loop_end\n",
                       NULL, NULL);
  assert_int_equal(o.status, IBX_INVALID_PROGRAM);
}

static void instructions_share_the_dma_engines(void **s) {
  (void)s;
  // 64 KiB of instructions take their place in front of the data.
  outcome o = run(".engine vector\n"
                  "loop r0 count=1024\n"
                  "semaphore\n"
                  "loop_end\n");
  uint64_t halves = 2049 * IBX_WORD_BYTES / (ibx3()->fetch_bytes / 2);
  ibx_dma_piece half = {.descriptors = 1, .bytes = ibx3()->fetch_bytes / 2};
  assert_int_equal(o.time.fetch_bytes, 2049 * IBX_WORD_BYTES);
  assert_near(o.time.dma_busy_ps,
              halves * ibx_dma_piece_ps(ibx3(), &half) / ibx3()->dma_engines);
}

// --- tensor engine -------------------------------------------------------------------

#define LOAD "load_stationary a:bf16 p=128 size(128) columns=128\n"

static uint64_t warm_up(void) {
  // Half of the time of the ramp is lost.
  return ibx3()->ramp_ps / 2;
}

static void a_load_hides_behind_the_product_before_it(void **s) {
  (void)s;
  const ibx_machine *m = ibx3();
  uint64_t time =
      total(".engine tensor\n"
            ".repeat i, 40\n" LOAD
            "multiply_moving acc:f32, b:bf16 p=128 size(512) columns=128\n"
            ".endrepeat\n");
  uint64_t load = 128 / m->load_stationary_rate;
  assert_near(time,
              cycles(IBX_ENGINE_TENSOR, load + 40 * 512 + m->tensor_latency) +
                  warm_up());
}

static void a_second_load_does_not_hide(void **s) {
  (void)s;
  const char *format =
      ".engine tensor\n"
      ".repeat i, %d\n" LOAD LOAD
      "multiply_moving acc:f32, b:bf16 p=128 size(512) columns=128\n"
      ".endrepeat\n";
  char few[400], many[400];
  snprintf(few, sizeof(few), format, 40);
  snprintf(many, sizeof(many), format, 140);
  uint64_t load = 128 / ibx3()->load_stationary_rate;
  uint64_t hundred = cycles(IBX_ENGINE_TENSOR, 100 * (512 + load));
  assert_near(total(many) - total(few), hundred);
}

static void the_array_ramps_up(void **s) {
  (void)s;
  const char *format =
      ".engine tensor\n"
      ".repeat i, %d\n"
      "multiply_moving acc:f32, b:bf16 p=128 size(512) columns=128\n"
      ".endrepeat\n";
  char few[256], many[256];
  snprintf(few, sizeof(few), format, 2);
  snprintf(many, sizeof(many), format, 100);
  uint64_t latency = cycles(IBX_ENGINE_TENSOR, ibx3()->tensor_latency);
  uint64_t product = cycles(IBX_ENGINE_TENSOR, 512);
  assert_near(total(few), 2 * 2 * product + latency);
  assert_near(total(many), 100 * product + warm_up() + latency);
  outcome v2 = run_with("ibx2", few, NULL, NULL);
  assert_near(v2.time.total_ps,
              ibx_machine_cycles_to_ps(v2.machine, IBX_ENGINE_TENSOR,
                                       2 * 512 + v2.machine->tensor_latency));
}

static void the_ramp_comes_back_after_a_pause(void **s) {
  (void)s;
  const char *format =
      ".engine tensor\n"
      ".repeat i, 100\n"
      "multiply_moving acc:f32, b:bf16 p=128 size(512) columns=128\n"
      ".endrepeat\n"
      ".repeat i, %d\n"
      "semaphore\n"
      ".endrepeat\n"
      ".repeat i, 100\n"
      "multiply_moving acc:f32, b:bf16 p=128 size(512) columns=128\n"
      ".endrepeat\n";
  char brief[600], lasting[600];
  uint64_t pause = cycles(IBX_ENGINE_TENSOR, ibx3()->control_cycles);
  unsigned half = (unsigned)(ibx3()->ramp_ps / 2 / pause);
  snprintf(brief, sizeof(brief), format, half - 1);
  snprintf(lasting, sizeof(lasting), format, half + 1);
  assert_near(total(lasting) - total(brief), 2 * pause + warm_up());
}

static void use_above_one_half_stays_warm(void **s) {
  (void)s;
  // 512 cycles of work, 448 of pause; the same with more pause than work.
  const char *format =
      ".engine tensor\n"
      ".repeat i, 30\n"
      "multiply_moving acc:f32, b:bf16 p=128 size(512) columns=128\n"
      ".endrepeat\n"
      ".repeat i, 100\n"
      "multiply_moving acc:f32, b:bf16 p=128 size(512) columns=128\n"
      ".repeat j, %d\n"
      "semaphore\n"
      ".endrepeat\n"
      ".endrepeat\n";
  char above[600], below[600];
  snprintf(above, sizeof(above), format, 7);
  snprintf(below, sizeof(below), format, 9);
  uint64_t pause = cycles(IBX_ENGINE_TENSOR, ibx3()->control_cycles);
  uint64_t product = cycles(IBX_ENGINE_TENSOR, 512);
  uint64_t latency = cycles(IBX_ENGINE_TENSOR, ibx3()->tensor_latency);
  // The last pause is not waited for.
  uint64_t base = 130 * product + warm_up() + latency;
  assert_true(total(above) < base + 99 * 7 * pause + pause);
  assert_true(total(below) > base + 99 * 9 * pause + warm_up() / 2);
}

static void row_groups_stream_side_by_side(void **s) {
  (void)s;
  const char *format =
      ".engine tensor\n"
      ".repeat i, 100\n"
      ".repeat g, 4\n"
      "multiply_moving acc[g*2048]:f32, b@%s:bf16 p=32 size(512) columns=32\n"
      ".endrepeat\n"
      ".endrepeat\n";
  char same[400], four[400];
  snprintf(same, sizeof(same), format, "(0*g)");
  snprintf(four, sizeof(four), format, "(32*g)");
  uint64_t product = cycles(IBX_ENGINE_TENSOR, 512);
  uint64_t slack = cycles(IBX_ENGINE_TENSOR, 4 * 64 + 128) + 2 * warm_up();
  assert_true(total(same) >= 400 * product);
  assert_true(total(four) >= 100 * product);
  assert_true(total(four) <= 100 * product + slack);
  // Two groups on v2.
  snprintf(four, sizeof(four), format, "(64*(g%2))");
  outcome v2 = run_with("ibx2", four, NULL, NULL);
  uint64_t product2 =
      ibx_machine_cycles_to_ps(v2.machine, IBX_ENGINE_TENSOR, 512);
  assert_true(v2.time.total_ps >= 199 * product2);
  assert_true(v2.time.total_ps <= 205 * product2);
}

static void busy_time_is_no_more_than_time(void **s) {
  (void)s;
  outcome o = run(".engine tensor\n"
                  ".repeat i, 100\n"
                  ".repeat g, 4\n"
                  "load_stationary a@(32*g):bf16 p=32 size(32) columns=32\n"
                  "multiply_moving acc[g*2048]:f32, b@(32*g):bf16 p=32 "
                  "size(512) columns=32\n"
                  ".endrepeat\n"
                  ".endrepeat\n");
  assert_true(o.time.busy_ps[IBX_ENGINE_TENSOR] <= o.time.total_ps);
  assert_true(o.time.busy_ps[IBX_ENGINE_TENSOR] * 10 > o.time.total_ps * 8);
}

// --- banks and ports ------------------------------------------------------------------

static void a_bank_serves_one_side_at_a_time(void **s) {
  (void)s;
  const char *format =
      ".engine tensor\n"
      ".repeat i, 64\n"
      "multiply_moving acc:f32, b:bf16 p=128 size(512) columns=128\n"
      ".endrepeat\n"
      ".engine vector\n"
      ".repeat i, 16\n"
      "tensor_copy a[i*2048]:f32, acc[%d]:f32 p=128 size(512)\n"
      ".endrepeat\n";
  char same[500], other[500];
  snprintf(same, sizeof(same), format, 0);
  snprintf(other, sizeof(other), format, 2048);
  uint64_t tensor = 64 * cycles(IBX_ENGINE_TENSOR, 512);
  uint64_t vector = 16 * cycles(IBX_ENGINE_VECTOR, 512);
  assert_true(total(same) >= tensor + vector);
  assert_true(total(other) < tensor + vector);
}

static void v2_engines_share_ports(void **s) {
  (void)s;
  const char *psum = ".engine vector\n"
                     ".repeat i, 16\n"
                     "tensor_copy a[i*2048]:f32, acc:f32 p=128 size(512)\n"
                     ".endrepeat\n"
                     ".engine scalar\n"
                     ".repeat i, 16\n"
                     "activation b[i*2048]:f32, acc[2048]:f32 p=128 size(512)\n"
                     ".endrepeat\n";
  const char *sbuf = ".engine vector\n"
                     ".repeat i, 16\n"
                     "tensor_copy a[i*2048]:f32, b:f32 p=128 size(512)\n"
                     ".endrepeat\n"
                     ".engine gpsimd\n"
                     ".repeat i, 16\n"
                     "memset b[i*2048]:f32 p=128 size(512)\n"
                     ".endrepeat\n";
  const ibx_machine *m = ibx_machine_find("ibx2");
  uint64_t vector = ibx_machine_cycles_to_ps(m, IBX_ENGINE_VECTOR, 512);
  uint64_t scalar = ibx_machine_cycles_to_ps(m, IBX_ENGINE_SCALAR, 512);
  uint64_t gpsimd =
      ibx_machine_cycles_to_ps(m, IBX_ENGINE_GPSIMD, 512 + m->gpsimd_start);
  outcome o = run_with("ibx2", psum, NULL, NULL);
  assert_true(o.time.total_ps >= 16 * (vector + scalar));
  o = run_with("ibx2", sbuf, NULL, NULL);
  assert_true(o.time.total_ps >= 16 * (vector + gpsimd));
  uint64_t vector3 = cycles(IBX_ENGINE_VECTOR, 512);
  assert_true(total(psum) < 17 * vector3);
  assert_true(total(sbuf) <
              17 * cycles(IBX_ENGINE_GPSIMD, 512 + 150) + vector3);
}

// --- events and robustness -------------------------------------------------------------

typedef struct event_log {
  uint64_t last_ps, count, pieces, last_end_ps;
  bool is_sorted;
} event_log;

static void log_event(void *user, const ibx_sim_event *event) {
  event_log *log = user;
  log->is_sorted = log->is_sorted && event->start_ps >= log->last_ps &&
                   event->end_ps >= event->start_ps;
  log->last_ps = event->start_ps;
  if (event->end_ps > log->last_end_ps) log->last_end_ps = event->end_ps;
  log->pieces += event->agent >= IBX_ENGINE_COUNT;
  log->count++;
}

static void events_come_in_order_of_start(void **s) {
  (void)s;
  event_log log = {.is_sorted = true};
  outcome o = run_with("ibx3",
                       ".engine sync\n"
                       "loop r0 count=20\n"
                       "dma_copy a:f32 pstep(1, 0), x:f32 size(128, 4096)\n"
                       "loop_end\n"
                       ".engine vector\n"
                       "loop r0 count=100\n"
                       "tensor_copy a:f32, b:f32 p=128 size(64)\n"
                       "loop_end\n",
                       log_event, &log);
  assert_int_equal(o.status, IBX_OK);
  assert_true(log.is_sorted);
  assert_int_equal(log.pieces, 20 * 16);
  assert_int_equal(log.count, o.time.instructions + 20 * 16);
  assert_true(log.last_end_ps <= o.time.total_ps);
}

typedef struct dma_log {
  uint64_t issued, pieces[20], done_ps, signal_ps;
  bool is_ordered;
} dma_log;

static void log_dma(void *user, const ibx_sim_event *event) {
  dma_log *log = user;
  if (event->issuer != IBX_ENGINE_SYNC) return;
  log->is_ordered = log->is_ordered && event->done_ps >= event->end_ps;
  if (event->agent >= IBX_ENGINE_COUNT) {
    assert_true(event->dma < log->issued);
    log->pieces[event->dma]++;
    log->done_ps = event->done_ps;
    log->signal_ps = event->signal_ps;
  } else if (event->index == 1) {
    assert_int_equal(event->dma, log->issued++);
    assert_int_equal(event->signal_ps, 0);
  }
}

static void pieces_tell_their_dma(void **s) {
  (void)s;
  dma_log log = {.is_ordered = true};
  outcome o = run_with("ibx3",
                       ".engine sync\n"
                       "loop r0 count=20\n"
                       "dma_copy a:f32 pstep(1, 0), x:f32 size(5, 100) "
                       "signal s1+5\n"
                       "loop_end\n",
                       log_dma, &log);
  assert_int_equal(o.status, IBX_OK);
  assert_true(log.is_ordered);
  assert_int_equal(log.issued, 20);
  for (size_t i = 0; i < 20; i++) {
    assert_int_equal(log.pieces[i], 5);
  }
  // Nothing else runs at the end: the last piece is the end of the run.
  assert_int_equal(log.done_ps, o.time.total_ps);
  assert_int_equal(log.signal_ps, log.done_ps + o.machine->dma_completion_ps);
}

static void a_million_trips_need_no_memory(void **s) {
  (void)s;
  // The signaller never waits: what has risen is one number.
  outcome o = run(".engine vector\n"
                  "loop r0 count=1000000\n"
                  "semaphore signal s1+1\n"
                  "loop_end\n"
                  ".engine scalar\n"
                  "loop r0 count=1000000\n"
                  "semaphore wait s1>=1\n"
                  "loop_end\n");
  assert_int_equal(o.time.instructions, 4000002);
}

static void the_same_text_takes_the_same_time(void **s) {
  (void)s;
  const char *body = ".engine sync\n"
                     "loop r0 count=50\n"
                     "dma_copy a:f32 pstep(1, 0), x:f32 size(5, 300) "
                     "signal s1+5\n"
                     "loop_end\n"
                     ".engine vector\n"
                     "loop r0 count=50\n"
                     "tensor_copy a:f32, b:f32 p=128 size(64) wait s1>=5\n"
                     "loop_end\n";
  assert_int_equal(total(body), total(body));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(independent_instructions_follow_at_the_issue_interval),
      cmocka_unit_test(short_instructions_take_the_least_interval),
      cmocka_unit_test(a_dependent_instruction_waits_for_the_result),
      cmocka_unit_test(neighbours_do_not_depend_on_each_other),
      cmocka_unit_test(other_partitions_do_not_depend_on_each_other),
      cmocka_unit_test(dependence_follows_loop_registers),
      cmocka_unit_test(scalar_adds_its_own_dependence),
      cmocka_unit_test(a_table_is_loaded_once),
      cmocka_unit_test(a_signal_travels),
      cmocka_unit_test(a_signal_that_is_there_costs_nothing),
      cmocka_unit_test(a_wait_consumes),
      cmocka_unit_test(a_deadlock_names_all_who_wait),
      cmocka_unit_test(the_earliest_rise_counts_whoever_comes_first),
      cmocka_unit_test(a_signal_means_that_all_before_it_is_done),
      cmocka_unit_test(a_small_dma_takes_its_start_up),
      cmocka_unit_test(a_library_call_moves_its_own_bytes),
      cmocka_unit_test(a_large_dma_takes_its_bytes),
      cmocka_unit_test(start_up_overlaps_with_other_dmas),
      cmocka_unit_test(an_issuer_pays_for_hardware_descriptors),
      cmocka_unit_test(software_descriptors_cost_gpsimd_each),
      cmocka_unit_test(a_waiter_sees_a_dma_later),
      cmocka_unit_test(pieces_signal_one_by_one),
      cmocka_unit_test(few_pieces_rotate_over_the_engines),
      cmocka_unit_test(a_full_queue_stops_its_issuer),
      cmocka_unit_test(descriptors_in_rings_are_fetched),
      cmocka_unit_test(stores_count_as_writes),
      cmocka_unit_test(a_taken_loop_end_costs),
      cmocka_unit_test(loops_nest_and_registers_lower_trips),
      cmocka_unit_test(a_loop_of_no_trips_is_skipped),
      cmocka_unit_test(unmatched_loops_are_refused),
      cmocka_unit_test(absurd_trip_counts_are_refused),
      cmocka_unit_test(instructions_share_the_dma_engines),
      cmocka_unit_test(a_load_hides_behind_the_product_before_it),
      cmocka_unit_test(a_second_load_does_not_hide),
      cmocka_unit_test(the_array_ramps_up),
      cmocka_unit_test(the_ramp_comes_back_after_a_pause),
      cmocka_unit_test(use_above_one_half_stays_warm),
      cmocka_unit_test(row_groups_stream_side_by_side),
      cmocka_unit_test(busy_time_is_no_more_than_time),
      cmocka_unit_test(a_bank_serves_one_side_at_a_time),
      cmocka_unit_test(v2_engines_share_ports),
      cmocka_unit_test(events_come_in_order_of_start),
      cmocka_unit_test(pieces_tell_their_dma),
      cmocka_unit_test(a_million_trips_need_no_memory),
      cmocka_unit_test(the_same_text_takes_the_same_time),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

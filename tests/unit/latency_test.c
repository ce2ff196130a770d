// SPDX-License-Identifier: Apache-2.0
//
// The published latencies (hardware.md, section 4.1) against the events of
// programs of a few lines, each within ten per cent. What is expected stands
// here as it was published and not as a row of machine.def, so that a row that
// no longer agrees with its source is found.

#include "imbrex/asm.h"
#include "imbrex/sim.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

enum { MAX_EVENTS = 64 };

typedef struct run {
  ibx_sim_event events[MAX_EVENTS];
  size_t count;
  ibx_sim_time time;
} run;

static void keep_event(void *user, const ibx_sim_event *event) {
  run *r = user;
  assert_true(r->count < MAX_EVENTS);
  r->events[r->count++] = *event;
}

static run run_text(const char *target, const char *body) {
  static const char format[] = ".target %s\n"
                               ".entry main\n"
                               ".buffer x hbm input bytes=1048576\n"
                               ".buffer a sbuf bytes=32768\n"
                               ".buffer b sbuf bytes=32768\n"
                               ".buffer c sbuf bytes=32768\n"
                               "%s";
  char text[2048];
  int len = snprintf(text, sizeof(text), format, target, body);
  assert_true(len > 0 && (size_t)len < sizeof(text));
  ibx_str str = {.data = text, .len = (size_t)len};
  ibx_asm_program *program = NULL;
  ibx_error err = {0};
  run r = {0};
  if (ibx_asm_parse(str, "t.s", NULL, 0, &program, &err) != IBX_OK) {
    fail_msg("%s", err.message);
  }
  const ibx_program_data *data = ibx_asm_get(program);
  if (ibx_sim_time_entry(data, data->entries, keep_event, &r, &r.time, &err) !=
      IBX_OK) {
    fail_msg("%s", err.message);
  }
  ibx_asm_destroy(program);
  return r;
}

// Event of instruction `index` of `agent`, an engine.
static const ibx_sim_event *event_of(const run *r, ibx_engine agent,
                                     uint32_t index) {
  for (size_t i = 0; i < r->count; i++) {
    const ibx_sim_event *event = &r->events[i];
    if (event->agent == agent && event->index == index) return event;
  }
  fail_msg("%s has no event %u", ibx_engine_name(agent), index);
  return NULL;
}

// The last moment at which any DMA engine works.
static uint64_t dma_end(const run *r) {
  uint64_t end_ps = 0;
  for (size_t i = 0; i < r->count; i++) {
    const ibx_sim_event *event = &r->events[i];
    if (event->agent < IBX_ENGINE_COUNT) continue;
    if (event->end_ps > end_ps) end_ps = event->end_ps;
  }
  assert_true(end_ps > 0);
  return end_ps;
}

static void assert_published(const char *what, uint64_t ps, double ns) {
  double ours = (double)ps / 1e3;
  print_message("%-44s %8.1f ns, published %8.1f ns, %+5.1f %%\n", what, ours,
                ns, 100.0 * (ours / ns - 1.0));
  assert_true(ours >= 0.9 * ns && ours <= 1.1 * ns);
}

static double cycles_ns(double cycles, double mhz) {
  return cycles / mhz * 1e3;
}

static uint64_t gap(const run *r, ibx_engine engine, uint32_t from,
                    uint32_t to) {
  return event_of(r, engine, to)->start_ps -
         event_of(r, engine, from)->start_ps;
}

// --- Scalar ---------------------------------------------------------------------

static void activate_takes_159_ns_on_ibx2(void **state) {
  (void)state;
  run r = run_text("ibx2", ".engine scalar\n"
                           "activation a:f32, b:f32 op0=copy p=128 size(1)\n");
  assert_published("ibx2 activate, one element, latency", r.time.total_ps, 159);
}

static void dependent_activates_follow_at_189_ns_on_ibx2(void **state) {
  (void)state;
  run r = run_text("ibx2", ".engine scalar\n"
                           ".repeat i, 3\n"
                           "activation a:f32, a:f32 op0=copy p=128 size(1)\n"
                           ".endrepeat\n");
  assert_published("ibx2 activate, dependent interval",
                   gap(&r, IBX_ENGINE_SCALAR, 0, 1), 189);
  assert_published("ibx2 activate, the next one",
                   gap(&r, IBX_ENGINE_SCALAR, 1, 2), 189);
}

static void an_activate_on_ibx3_takes_300_ns_and_its_elements(void **state) {
  (void)state;
  run r =
      run_text("ibx3", ".engine scalar\n"
                       "activation a:f32, b:f32 op0=copy p=128 size(2048)\n");
  assert_published("ibx3 activate, 2048 elements, latency", r.time.total_ps,
                   300 + cycles_ns(2048, 1200));
}

static uint64_t span(const run *r, ibx_engine engine, uint32_t index) {
  const ibx_sim_event *event = event_of(r, engine, index);
  return event->end_ps - event->start_ps;
}

static void a_table_loads_in_1280_ns(void **state) {
  (void)state;
  run r = run_text("ibx3", ".engine scalar\n"
                           "activation a:f32, b:f32 op0=exp p=128 size(512)\n"
                           "activation c:f32, b:f32 op0=exp p=128 size(512)\n");
  uint64_t first = span(&r, IBX_ENGINE_SCALAR, 0);
  uint64_t second = span(&r, IBX_ENGINE_SCALAR, 1);
  assert_published("activation table load", first - second, 1280);
}

static void reading_the_accumulators_takes_64_cycles(void **state) {
  (void)state;
  run s =
      run_text("ibx2", ".engine scalar\n"
                       "activation a:f32, b:f32 op0=copy p=128 size(512)\n"
                       "activation_reduce c:f32, b:f32, -, a[4096] op0=copy "
                       "p=128 size(512)\n");
  assert_published("ibx2 accumulator read on Scalar",
                   span(&s, IBX_ENGINE_SCALAR, 1) -
                       span(&s, IBX_ENGINE_SCALAR, 0),
                   cycles_ns(64, 1400));
  run v = run_text("ibx3",
                   ".engine vector\n"
                   "tensor_scalar a:f32, b:f32 op0=add imm0=1 p=128 size(512)\n"
                   "tensor_scalar_reduce c:f32, b:f32, -, a[4096] op0=add "
                   "op1=add imm0=1 p=128 size(512)\n");
  assert_published("ibx3 accumulator read on Vector",
                   span(&v, IBX_ENGINE_VECTOR, 1) -
                       span(&v, IBX_ENGINE_VECTOR, 0),
                   cycles_ns(64, 960));
}

// --- the others -----------------------------------------------------------------

static void instructions_follow_at_64_cycles(void **state) {
  (void)state;
  const struct {
    ibx_engine engine;
    const char *text;
    double mhz;
  } rows[] = {
      {IBX_ENGINE_VECTOR, "tensor_copy a[i*64]:f32, b:f32 p=128 size(1)", 960},
      {IBX_ENGINE_SCALAR,
       "activation a[i*64]:f32, b:f32 op0=copy p=128 size(1)", 1200},
      {IBX_ENGINE_TENSOR,
       "multiply_moving acc[i*4]:f32, b:bf16 p=128 columns=128 size(1)", 2400}};
  for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
    char body[512];
    snprintf(body, sizeof(body),
             ".buffer acc psum bytes=2048\n"
             ".engine %s\n.repeat i, 2\n%s\n.endrepeat\n",
             ibx_engine_name(rows[i].engine), rows[i].text);
    run r = run_text("ibx3", body);
    // The array is cold for the first 3 us and takes twice the time.
    double cold = rows[i].engine == IBX_ENGINE_TENSOR ? 2 : 1;
    assert_published(ibx_engine_name(rows[i].engine),
                     gap(&r, rows[i].engine, 0, 1),
                     cold * cycles_ns(64, rows[i].mhz));
  }
}

static void a_dependent_vector_instruction_has_100_cycles(void **state) {
  (void)state;
  run r = run_text("ibx3", ".engine vector\n"
                           ".repeat i, 2\n"
                           "tensor_copy a:f32, a:f32 p=128 size(1)\n"
                           ".endrepeat\n");
  assert_published("ibx3 Vector, dependent interval",
                   gap(&r, IBX_ENGINE_VECTOR, 0, 1), cycles_ns(100, 960));
}

static void gpsimd_starts_in_150_cycles(void **state) {
  (void)state;
  run r = run_text("ibx3", ".engine gpsimd\n"
                           ".repeat i, 2\n"
                           "tensor_copy a[i*64]:f32, b:f32 p=128 size(1)\n"
                           ".endrepeat\n");
  assert_published("ibx3 GpSimd, start", gap(&r, IBX_ENGINE_GPSIMD, 0, 1),
                   cycles_ns(150, 1200));
}

// --- DMA ------------------------------------------------------------------------

// Vector makes room, Sync sees it and triggers a load, Scalar waits for it.
static const char load[] =
    ".engine vector\n"
    "tensor_copy a:f32, b:f32 p=128 size(64) signal s0+1\n"
    ".engine sync\n"
    "dma_copy c:f32 pstep(1, 0), x:f32 size(128, 8) wait s0>=1 signal s1+16\n"
    ".engine scalar\n"
    "activation b:f32, c:f32 op0=copy p=128 size(8) wait s1>=16\n";

// From what is complete on one engine to the start of what needs the load.
static void a_dependent_load_costs_1300_ns(void **state) {
  (void)state;
  const char *targets[] = {"ibx2", "ibx3"};
  const double result_cycles = 64 + 100;
  const double mhz[] = {1120, 960};
  for (size_t i = 0; i < 2; i++) {
    run r = run_text(targets[i], load);
    uint64_t start_ps = event_of(&r, IBX_ENGINE_SCALAR, 0)->start_ps;
    double before_ns = cycles_ns(result_cycles, mhz[i]);
    assert_published(targets[i], start_ps - (uint64_t)(before_ns * 1e3), 1300);
  }
}

// The start-up is from 0.75 to 1.0 us, the way to the waiter is 0.3 us.
static void its_parts_are_start_up_and_completion(void **state) {
  (void)state;
  run r = run_text("ibx3", load);
  uint64_t trigger_ps = event_of(&r, IBX_ENGINE_SYNC, 0)->start_ps;
  uint64_t start_ps = event_of(&r, IBX_ENGINE_SCALAR, 0)->start_ps;
  assert_published("trigger to the start of the dependent",
                   start_ps - trigger_ps, 875 + 300);
  const char *large =
      ".engine sync\n"
      "dma_copy c:f32 pstep(1, 0), x:f32 size(128, 1024) signal s1+16\n"
      ".engine scalar\n"
      "activation b:f32, c:f32 op0=copy p=128 size(8) wait s1>=16\n";
  run l = run_text("ibx3", large);
  uint64_t end_ps = dma_end(&l);
  assert_true(end_ps > 1000000); // its bytes, not its start-up, are the time
  assert_published("end of a DMA to the start of the dependent",
                   event_of(&l, IBX_ENGINE_SCALAR, 0)->start_ps - end_ps, 300);
}

static void hardware_descriptors_take_600_ns(void **state) {
  (void)state;
  run r = run_text(
      "ibx3", ".engine sync\n"
              ".repeat i, 2\n"
              "dma_copy a:f32 pstep(1, 0), x:f32 size(128, 8) dge=hardware\n"
              ".endrepeat\n");
  assert_published("hardware descriptor generation",
                   gap(&r, IBX_ENGINE_SYNC, 0, 1), 600);
}

// One run of 16 pieces, one an engine.
static void one_dma_engine_takes_its_bytes(void **state) {
  (void)state;
  const struct {
    unsigned kib;
    double ns;
  } rows[] = {{2, 97}, {32, 1416}};
  for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
    char body[256];
    snprintf(body, sizeof(body),
             ".buffer y hbm bytes=524288\n"
             ".engine sync\n"
             "dma_copy y:f32, x:f32 size(%u) dge=hardware\n",
             rows[i].kib * 1024 / 4 * 16);
    run r = run_text("ibx3", body);
    assert_int_equal(r.count, 17);
    const ibx_sim_event *piece = &r.events[16];
    assert_published("a piece on one DMA engine",
                     piece->end_ps - piece->start_ps, rows[i].ns);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(activate_takes_159_ns_on_ibx2),
      cmocka_unit_test(dependent_activates_follow_at_189_ns_on_ibx2),
      cmocka_unit_test(an_activate_on_ibx3_takes_300_ns_and_its_elements),
      cmocka_unit_test(a_table_loads_in_1280_ns),
      cmocka_unit_test(reading_the_accumulators_takes_64_cycles),
      cmocka_unit_test(instructions_follow_at_64_cycles),
      cmocka_unit_test(a_dependent_vector_instruction_has_100_cycles),
      cmocka_unit_test(gpsimd_starts_in_150_cycles),
      cmocka_unit_test(a_dependent_load_costs_1300_ns),
      cmocka_unit_test(its_parts_are_start_up_and_completion),
      cmocka_unit_test(hardware_descriptors_take_600_ns),
      cmocka_unit_test(one_dma_engine_takes_its_bytes),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

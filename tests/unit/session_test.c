// SPDX-License-Identifier: Apache-2.0
//
// Devices, buffers, sessions and fences on a small program: y = 2 x and, in
// place, n = n + 1.

#include "imbrex/imbrex.h"

#include "support/sim_world.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

enum { ELEMENTS = 64, RUNS = 20 };

typedef struct model {
  world w;
  ibx_tensor_decl inputs[2], outputs[2];
  ibx_blob blob;
  ibx_program *program;
  ibx_device *device;
  ibx_session *session;
  ibx_error err;
} model;

static ibx_tensor_decl tensor_of(const char *name, uint32_t buffer) {
  return (ibx_tensor_decl){.name = name,
                           .shape = {ELEMENTS},
                           .buffer = buffer,
                           .rank = 1,
                           .dtype = IBX_DTYPE_F32};
}

static ibx_operand row_operand(uint32_t buffer) {
  return (ibx_operand){
      .buffer = buffer, .dtype = IBX_DTYPE_F32, .step = {[4] = 1}};
}

static ibx_insn copy(uint32_t dst, uint32_t src) {
  ibx_insn insn = ibx_insn_make(IBX_OP_dma_copy);
  insn.num[4] = ELEMENTS;
  insn.operand[0] = row_operand(dst);
  insn.operand[1] = row_operand(src);
  return insn;
}

static ibx_insn with_scalar(uint32_t dst, uint32_t src, ibx_alu alu,
                            float scalar) {
  ibx_insn insn = ibx_insn_make(IBX_OP_tensor_scalar);
  insn.partitions = 1;
  insn.num[4] = ELEMENTS;
  insn.op[0] = (uint8_t)alu;
  insn.imm[0] = scalar;
  insn.operand[0] = row_operand(dst);
  insn.operand[1] = row_operand(src);
  return insn;
}

// Loads `src`, computes on it and stores it to `dst`; one semaphore a step.
static void add_chain(world *w, uint32_t dst, uint32_t src, uint64_t offset,
                      uint8_t semaphore, ibx_alu alu) {
  uint32_t a = world_chip(w, IBX_SPACE_SBUF, offset, 4 * ELEMENTS);
  uint32_t b =
      world_chip(w, IBX_SPACE_SBUF, offset + 4 * ELEMENTS, 4 * ELEMENTS);
  ibx_insn load = copy(a, src), store = copy(dst, b);
  ibx_buffer_place places[WORLD_BUFFERS];
  for (size_t i = 0; i < w->entry.buffer_count; i++) {
    places[i] = w->buffers[i].place;
  }
  uint16_t pieces =
      (uint16_t)ibx_dma_split(w->program.machine, &load, places, NULL);
  uint8_t computed = (uint8_t)(semaphore + 1);
  ibx_insn compute = with_scalar(b, a, alu, alu == IBX_ALU_ADD ? 1 : 2);
  world_add(w, IBX_ENGINE_SYNC, world_signal(load, semaphore, pieces));
  compute = world_wait(compute, semaphore, pieces);
  world_add(w, IBX_ENGINE_VECTOR, world_signal(compute, computed, 1));
  store.wait_semaphore = computed;
  store.wait_value = 1;
  world_add(w, IBX_ENGINE_SYNC, store);
}

static void describe(model *m) {
  world *w = &m->w;
  world_init(w, IBX_TARGET_ibx3);
  w->program.machine = ibx_machine_get(IBX_TARGET_ibx3);
  uint32_t x = world_hbm(w, IBX_BUFFER_INPUT, NULL, 4 * ELEMENTS);
  uint32_t n = world_hbm(w, IBX_BUFFER_STATE, NULL, 4 * ELEMENTS);
  uint32_t y = world_hbm(w, IBX_BUFFER_OUTPUT, NULL, 4 * ELEMENTS);
  m->inputs[0] = tensor_of("x", x);
  m->inputs[1] = tensor_of("n", n);
  m->outputs[0] = tensor_of("y", y);
  m->outputs[1] = tensor_of("n_next", n);
  w->entry.inputs = m->inputs;
  w->entry.outputs = m->outputs;
  w->entry.input_count = w->entry.output_count = 2;
  add_chain(w, y, x, 0, 1, IBX_ALU_MULTIPLY);
  add_chain(w, n, n, 1024, 3, IBX_ALU_ADD);
}

static model *model_create(const char *uri) {
  model *m = calloc(1, sizeof(*m));
  assert_non_null(m);
  describe(m);
  if (ibx_program_write(&m->w.program, ibx_blob_write, &m->blob, NULL, NULL,
                        &m->err) ||
      ibx_program_open_memory(ibx_blob_get(&m->blob), &m->program, &m->err) ||
      ibx_device_open(uri, NULL, &m->device, &m->err) ||
      ibx_session_create(m->device, m->program, NULL, &m->session, &m->err)) {
    fail_msg("%s", m->err.message);
  }
  return m;
}

static void model_destroy(model *m) {
  ibx_session_destroy(m->session);
  ibx_device_close(m->device);
  ibx_program_close(m->program);
  ibx_blob_fini(&m->blob);
  free(m);
}

typedef struct tensors {
  float x[ELEMENTS], y[ELEMENTS], n[ELEMENTS];
  ibx_binding in, out[2];
  ibx_run run;
} tensors;

static void tensors_init(tensors *t, float first) {
  memset(t, 0, sizeof(*t));
  for (int i = 0; i < ELEMENTS; i++) {
    t->x[i] = first + (float)i;
  }
  t->in = (ibx_binding){.name = "x", .data = t->x, .size_bytes = sizeof(t->x)};
  t->out[0] =
      (ibx_binding){.name = "y", .data = t->y, .size_bytes = sizeof(t->y)};
  t->out[1] =
      (ibx_binding){.index = 1, .data = t->n, .size_bytes = sizeof(t->n)};
  t->run = (ibx_run){
      .inputs = &t->in, .input_count = 1, .outputs = t->out, .output_count = 2};
}

static void expect_result(const tensors *t, float runs_before) {
  for (int i = 0; i < ELEMENTS; i++) {
    assert_true(t->y[i] == 2 * t->x[i]);
    assert_true(t->n[i] == runs_before + 1);
  }
}

static void run_gives_outputs_and_keeps_state(void **state) {
  static const char *const uris[] = {"sim:", "sim:?order=random&seed=5",
                                     "sim:ibx3?order=adversarial"};
  (void)state;
  for (size_t i = 0; i < IBX_COUNT_OF(uris); i++) {
    model *m = model_create(uris[i]);
    for (int run = 0; run < 3; run++) {
      tensors t;
      tensors_init(&t, (float)run);
      if (ibx_session_run(m->session, &t.run, &m->err)) {
        fail_msg("%s", m->err.message);
      }
      expect_result(&t, (float)run);
    }
    model_destroy(m);
  }
}

static void state_is_read_written_and_bound(void **state) {
  (void)state;
  model *m = model_create("sim:");
  float values[ELEMENTS];
  for (int i = 0; i < ELEMENTS; i++) {
    values[i] = 7;
  }
  assert_int_equal(
      ibx_session_write_state(m->session, "n", values, sizeof(values), &m->err),
      IBX_OK);
  tensors t;
  tensors_init(&t, 0);
  assert_int_equal(ibx_session_run(m->session, &t.run, &m->err), IBX_OK);
  expect_result(&t, 7);
  ibx_binding both[2] = {
      t.in, {.name = "n", .data = values, .size_bytes = sizeof(values)}};
  t.run.inputs = both;
  t.run.input_count = 2;
  assert_int_equal(ibx_session_run(m->session, &t.run, &m->err), IBX_OK);
  expect_result(&t, 7);
  assert_int_equal(
      ibx_session_read_state(m->session, "n", values, sizeof(values), &m->err),
      IBX_OK);
  assert_true(values[0] == 8);
  assert_int_equal(
      ibx_session_read_state(m->session, "x", values, sizeof(values), &m->err),
      IBX_INVALID_ARGUMENT);
  model_destroy(m);
}

static void wrong_bindings_are_refused_and_harmless(void **state) {
  (void)state;
  model *m = model_create("sim:");
  tensors t;
  tensors_init(&t, 1);
  t.in.size_bytes--;
  assert_int_equal(ibx_session_run(m->session, &t.run, &m->err), IBX_MISMATCH);
  tensors_init(&t, 1);
  t.in.name = "z";
  assert_int_equal(ibx_session_run(m->session, &t.run, &m->err),
                   IBX_INVALID_ARGUMENT);
  tensors_init(&t, 1);
  t.run.input_count = 0;
  assert_int_equal(ibx_session_run(m->session, &t.run, &m->err),
                   IBX_INVALID_ARGUMENT);
  tensors_init(&t, 1);
  // A state that was bound beside something wrong stays as it was.
  float n[ELEMENTS] = {5};
  ibx_binding state_and_nobody[2] = {
      {.name = "n", .data = n, .size_bytes = sizeof(n)}, t.in};
  state_and_nobody[1].name = "nobody";
  t.run.inputs = state_and_nobody;
  t.run.input_count = 2;
  assert_int_equal(ibx_session_run(m->session, &t.run, &m->err),
                   IBX_INVALID_ARGUMENT);
  tensors_init(&t, 1);
  ibx_binding twice[2] = {t.in, t.in};
  t.run.inputs = twice;
  t.run.input_count = 2;
  assert_int_equal(ibx_session_run(m->session, &t.run, &m->err),
                   IBX_INVALID_ARGUMENT);
  tensors_init(&t, 1);
  assert_int_equal(ibx_session_run(m->session, &t.run, NULL), IBX_OK);
  expect_result(&t, 0);
  model_destroy(m);
}

static void outputs_may_be_left_out(void **state) {
  (void)state;
  model *m = model_create("sim:");
  tensors t;
  tensors_init(&t, 1);
  t.run.output_count = 0;
  assert_int_equal(ibx_session_run(m->session, &t.run, &m->err), IBX_OK);
  t.run.output_count = 2;
  assert_int_equal(ibx_session_run(m->session, &t.run, &m->err), IBX_OK);
  expect_result(&t, 1);
  model_destroy(m);
}

static void enqueued_runs_keep_their_order(void **state) {
  (void)state;
  model *m = model_create("sim:");
  static tensors t[RUNS];
  ibx_fence *fences[RUNS];
  for (int i = 0; i < RUNS; i++) {
    tensors_init(&t[i], (float)i);
    assert_int_equal(ibx_fence_create(m->device, &fences[i], &m->err), IBX_OK);
    assert_true(ibx_fence_query(fences[i]));
    assert_int_equal(
        ibx_session_enqueue(m->session, &t[i].run, fences[i], &m->err), IBX_OK);
  }
  tensors last;
  tensors_init(&last, 100);
  assert_int_equal(ibx_session_run(m->session, &last.run, &m->err), IBX_OK);
  expect_result(&last, RUNS);
  for (int i = 0; i < RUNS; i++) {
    assert_int_equal(ibx_fence_wait(fences[i], &m->err), IBX_OK);
    expect_result(&t[i], (float)i);
    ibx_fence_destroy(fences[i]);
  }
  model_destroy(m);
}

static void fence_gives_the_error_of_its_run(void **state) {
  (void)state;
  model *m = model_create("sim:");
  tensors t;
  tensors_init(&t, 1);
  t.in.name = "nobody";
  ibx_fence *fence = NULL;
  assert_int_equal(ibx_fence_create(m->device, &fence, &m->err), IBX_OK);
  assert_int_equal(ibx_session_enqueue(m->session, &t.run, fence, &m->err),
                   IBX_OK);
  assert_int_equal(ibx_fence_wait(fence, &m->err), IBX_INVALID_ARGUMENT);
  assert_non_null(strstr(m->err.message, "nobody"));
  ibx_fence_destroy(fence);
  model_destroy(m);
}

typedef struct caller {
  model *m;
  pthread_t thread;
  tensors t;
  float sum; // of the counts that the thread saw
  bool failed;
} caller;

static void *call(void *user) {
  caller *c = user;
  for (int i = 0; i < RUNS; i++) {
    tensors_init(&c->t, (float)i);
    c->failed |= ibx_session_run(c->m->session, &c->t.run, NULL) != IBX_OK;
    c->failed |= c->t.y[3] != 2 * c->t.x[3];
    c->sum += c->t.n[0];
  }
  return NULL;
}

// Every run sees its own count, so the sum over all threads is fixed.
static void many_threads_share_a_session(void **state) {
  (void)state;
  model *m = model_create("sim:");
  static caller callers[4];
  float sum = 0;
  for (int i = 0; i < 4; i++) {
    callers[i] = (caller){.m = m};
    assert_int_equal(
        pthread_create(&callers[i].thread, NULL, call, &callers[i]), 0);
  }
  for (int i = 0; i < 4; i++) {
    pthread_join(callers[i].thread, NULL);
    assert_false(callers[i].failed);
    sum += callers[i].sum;
  }
  assert_true(sum == (float)(4 * RUNS * (4 * RUNS + 1) / 2));
  model_destroy(m);
}

static void session_ends_with_runs_enqueued(void **state) {
  (void)state;
  model *m = model_create("sim:");
  static tensors t;
  tensors_init(&t, 3);
  ibx_fence *fence = NULL;
  assert_int_equal(ibx_fence_create(m->device, &fence, &m->err), IBX_OK);
  assert_int_equal(ibx_session_enqueue(m->session, &t.run, fence, &m->err),
                   IBX_OK);
  ibx_session_destroy(m->session);
  m->session = NULL;
  assert_true(ibx_fence_query(fence));
  expect_result(&t, 0);
  ibx_fence_destroy(fence);
  model_destroy(m);
}

static void profile_times_the_entry(void **state) {
  (void)state;
  model *m = model_create("sim:");
  ibx_sim_time time;
  assert_int_equal(ibx_session_profile(m->session, NULL, NULL, &time, &m->err),
                   IBX_OK);
  assert_true(time.total_ps > 0);
  assert_int_equal(time.dma_count, 4);
  model_destroy(m);
}

static void unproved_programs_do_not_run(void **state) {
  (void)state;
  model *m = calloc(1, sizeof(*m));
  assert_non_null(m);
  describe(m);
  m->w.insns[IBX_ENGINE_VECTOR][0].wait_value = 0; // reads before the load
  ibx_session *session = NULL;
  assert_int_equal(ibx_program_write(&m->w.program, ibx_blob_write, &m->blob,
                                     NULL, NULL, &m->err),
                   IBX_OK);
  assert_int_equal(
      ibx_program_open_memory(ibx_blob_get(&m->blob), &m->program, &m->err),
      IBX_OK);
  assert_int_equal(ibx_device_open("sim:", NULL, &m->device, &m->err), IBX_OK);
  assert_int_equal(
      ibx_session_create(m->device, m->program, NULL, &session, &m->err),
      IBX_UNPROVEN);
  assert_null(session);
  assert_int_equal(
      ibx_session_create(m->device, m->program, "other", &session, &m->err),
      IBX_NOT_FOUND);
  model_destroy(m);
}

static void uris_are_checked(void **state) {
  static const struct {
    const char *uri;
    ibx_status status;
  } cases[] = {
      {"sim:", IBX_OK},
      {"sim:ibx2?seed=1", IBX_OK},
      {"sim:?order=random&seed=18446744073709551615&poison=1", IBX_OK},
      {"sim", IBX_INVALID_ARGUMENT},
      {"", IBX_INVALID_ARGUMENT},
      {"sim:ibx9", IBX_INVALID_ARGUMENT},
      {"sim:?order=fast", IBX_INVALID_ARGUMENT},
      {"sim:?exec=spec&order=random", IBX_OK},
      {"sim:?exec=fast", IBX_OK},
      {"sim:?exec=slow", IBX_INVALID_ARGUMENT},
      {"sim:?rounding=stochastic&seed=4", IBX_OK},
      {"sim:?rounding=nearest", IBX_OK},
      {"sim:?rounding=up", IBX_INVALID_ARGUMENT},
      {"sim:?seed=", IBX_INVALID_ARGUMENT},
      {"sim:?seed=18446744073709551616", IBX_INVALID_ARGUMENT},
      {"sim:?cores", IBX_INVALID_ARGUMENT},
      {"driver:", IBX_INVALID_ARGUMENT},
      {"driver:/no/such/file.so", IBX_NOT_FOUND},
      {"driver:libm.so.6", IBX_NOT_FOUND},
      {"driver:" IBX_BUILD_DIR "/lib/test_driver_later.so", IBX_UNSUPPORTED},
      {"driver:" IBX_BUILD_DIR "/lib/test_driver_layout.so", IBX_UNSUPPORTED},
      {"driver:" IBX_BUILD_DIR "/lib/test_driver_hole.so", IBX_UNSUPPORTED},
      {"driver:" IBX_BUILD_DIR "/lib/test_driver.so?seed=x",
       IBX_INVALID_ARGUMENT},
  };
  (void)state;
  for (size_t i = 0; i < IBX_COUNT_OF(cases); i++) {
    ibx_device *device = NULL;
    ibx_error err = {0};
    assert_int_equal(ibx_device_open(cases[i].uri, NULL, &device, &err),
                     cases[i].status);
    assert_true((device != NULL) == (cases[i].status == IBX_OK));
    ibx_device_close(device);
  }
}

static void sessions_want_the_right_target(void **state) {
  (void)state;
  model *m = model_create("sim:");
  ibx_device *device = NULL;
  ibx_session *session = NULL;
  assert_int_equal(ibx_device_open("sim:ibx2", NULL, &device, &m->err), IBX_OK);
  assert_string_equal(ibx_device_query(device).target, "ibx2");
  assert_int_equal(
      ibx_session_create(device, m->program, NULL, &session, &m->err),
      IBX_MISMATCH);
  ibx_device_close(device);
  model_destroy(m);
}

static void driver_libraries_are_devices(void **state) {
  (void)state;
  model *m =
      model_create("driver:" IBX_BUILD_DIR "/lib/test_driver.so?poison=1");
  assert_string_equal(ibx_device_query(m->device).name, "module");
  tensors t;
  tensors_init(&t, 4);
  assert_int_equal(ibx_session_run(m->session, &t.run, &m->err), IBX_OK);
  expect_result(&t, 0);
  model_destroy(m);
}

// A table that ends before `time`, and one that goes on behind ours.
static void tables_may_be_shorter_or_longer(void **state) {
  (void)state;
  ibx_sim_time time;
  model *m = model_create("driver:" IBX_BUILD_DIR "/lib/test_driver_older.so");
  tensors t;
  tensors_init(&t, 4);
  assert_int_equal(ibx_session_run(m->session, &t.run, &m->err), IBX_OK);
  expect_result(&t, 0);
  assert_int_equal(ibx_session_profile(m->session, NULL, NULL, &time, &m->err),
                   IBX_UNSUPPORTED);
  model_destroy(m);
  m = model_create("driver:" IBX_BUILD_DIR "/lib/test_driver_newer.so");
  assert_int_equal(ibx_session_profile(m->session, NULL, NULL, &time, &m->err),
                   IBX_OK);
  model_destroy(m);
}

static unsigned closed;

static void count_close(void *handle) { closed += *(unsigned *)handle; }

static void tables_of_the_caller_are_devices(void **state) {
  ibx_device_table table = *ibx_sim_device_table();
  ibx_device *device = NULL;
  ibx_error err = {0};
  unsigned handle = 1;
  (void)state;
  table.close = count_close;
  assert_int_equal(ibx_device_wrap(&table, &handle, NULL, &device, &err),
                   IBX_OK);
  ibx_device_close(device);
  assert_int_equal(closed, 1);
  table.load = NULL; // a hole: the handle stays open
  assert_int_equal(ibx_device_wrap(&table, &handle, NULL, &device, &err),
                   IBX_UNSUPPORTED);
  assert_null(device);
  assert_int_equal(closed, 1);
}

static void buffers_own_or_borrow(void **state) {
  (void)state;
  model *m = model_create("sim:");
  ibx_buffer *own = NULL, *wrapped = NULL;
  size_t size = 0;
  float memory[ELEMENTS];
  assert_int_equal(ibx_buffer_create(m->device, 100, &own, &m->err), IBX_OK);
  uint8_t *bytes = ibx_buffer_map(own, &size);
  assert_int_equal(size, 100);
  assert_true((uintptr_t)bytes % 64 == 0);
  for (size_t i = 0; i < size; i++) {
    assert_int_equal(bytes[i], 0);
  }
  assert_int_equal(
      ibx_buffer_wrap(m->device, memory, sizeof(memory), &wrapped, &m->err),
      IBX_OK);
  assert_ptr_equal(ibx_buffer_map(wrapped, NULL), memory);
  ibx_buffer_destroy(wrapped);
  ibx_buffer_destroy(own);
  assert_int_equal(ibx_buffer_create(m->device, 0, &own, &m->err),
                   IBX_INVALID_ARGUMENT);
  assert_null(own);
  model_destroy(m);
}

// Fails the allocation number `left`; counts what is not given back.
typedef struct failing {
  size_t left, live;
} failing;

static void *fail_alloc(void *user, size_t size) {
  failing *f = user;
  if (f->left-- == 0) {
    f->left = SIZE_MAX;
    return NULL;
  }
  void *memory = aligned_alloc(64, (size + 64) / 64 * 64);
  f->live += memory != NULL;
  return memory;
}

static void fail_free(void *user, void *memory) {
  failing *f = user;
  f->live -= memory != NULL;
  free(memory);
}

static void every_allocation_may_fail(void **state) {
  (void)state;
  model *m = model_create("sim:");
  bool succeeded = false;
  for (size_t n = 0; n < 100 && !succeeded; n++) {
    failing f = {.left = n};
    ibx_allocator allocator = {fail_alloc, fail_free, &f};
    ibx_device *device = NULL;
    ibx_session *session = NULL;
    ibx_fence *fence = NULL;
    tensors t;
    tensors_init(&t, 1);
    ibx_status status = ibx_device_open("sim:", &allocator, &device, NULL);
    if (!status) {
      status = ibx_session_create(device, m->program, NULL, &session, NULL);
    }
    if (!status) status = ibx_fence_create(device, &fence, NULL);
    if (!status) status = ibx_session_run(session, &t.run, NULL);
    succeeded = status == IBX_OK && f.left != SIZE_MAX;
    assert_true(succeeded || status == IBX_OUT_OF_MEMORY);
    ibx_fence_destroy(fence);
    ibx_session_destroy(session);
    ibx_device_close(device);
    assert_int_equal(f.live, 0);
  }
  assert_true(succeeded);
  model_destroy(m);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(run_gives_outputs_and_keeps_state),
      cmocka_unit_test(state_is_read_written_and_bound),
      cmocka_unit_test(wrong_bindings_are_refused_and_harmless),
      cmocka_unit_test(outputs_may_be_left_out),
      cmocka_unit_test(enqueued_runs_keep_their_order),
      cmocka_unit_test(fence_gives_the_error_of_its_run),
      cmocka_unit_test(many_threads_share_a_session),
      cmocka_unit_test(session_ends_with_runs_enqueued),
      cmocka_unit_test(profile_times_the_entry),
      cmocka_unit_test(unproved_programs_do_not_run),
      cmocka_unit_test(uris_are_checked),
      cmocka_unit_test(sessions_want_the_right_target),
      cmocka_unit_test(driver_libraries_are_devices),
      cmocka_unit_test(tables_may_be_shorter_or_longer),
      cmocka_unit_test(tables_of_the_caller_are_devices),
      cmocka_unit_test(buffers_own_or_borrow),
      cmocka_unit_test(every_allocation_may_fail),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

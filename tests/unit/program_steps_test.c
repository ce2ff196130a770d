// SPDX-License-Identifier: Apache-2.0
//
// Entries with steps: their file is read as it was written, damage that has
// right digests is refused or harmless, and a session runs them. Texts go in and
// out through the C API.

#include "core/program_format.h"
#include "imbrex/imbrex.h"
#include "support/reseal.h"
#include "support/steps_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static ibx_blob write_world(const steps_world *w) {
  ibx_blob blob = {0};
  ibx_error err = {0};
  if (ibx_program_write(&w->program, ibx_blob_write, &blob, NULL, NULL, &err) !=
      IBX_OK) {
    fail_msg("%s", err.message);
  }
  return blob;
}

static ibx_program *open_world(const ibx_blob *blob) {
  ibx_program *program = NULL;
  ibx_error err = {0};
  if (ibx_program_open_memory(ibx_blob_get(blob), &program, &err) != IBX_OK) {
    fail_msg("%s", err.message);
  }
  return program;
}

// --- the file ----------------------------------------------------------------

static void what_is_written_is_read(void **state) {
  (void)state;
  static steps_world w;
  steps_world_init(&w);
  ibx_blob blob = write_world(&w), again = {0};
  assert_int_equal(ibx_get_le(blob.data + 8, 2), IBX_FORMAT_MAJOR_STEPS);
  ibx_program *program = open_world(&blob);
  const ibx_program_data *data = ibx_program_get(program);
  assert_int_equal(data->entry_count, 2);
  const ibx_entry *entry = ibx_program_find_entry(program, NULL);
  assert_string_equal(entry->name, "main");
  assert_true(data->entries[1].is_segment);
  assert_int_equal(entry->steps->step_count, STEPS_COUNT);
  assert_int_equal(ibx_entry_host_segments(entry), 2);
  assert_int_equal(entry->inputs[0].dtype, IBX_DTYPE_STRING);
  assert_int_equal(entry->outputs[1].rank, 2);
  assert_true(entry->outputs[1].shape[1] == IBX_ANY_EXTENT);
  assert_int_equal(ibx_prove_entry(data, entry, NULL, NULL), IBX_OK);
  assert_int_equal(
      ibx_program_write(data, ibx_blob_write, &again, NULL, NULL, NULL),
      IBX_OK);
  assert_int_equal(again.size, blob.size);
  assert_memory_equal(again.data, blob.data, blob.size);
  ibx_program_close(program);
  ibx_blob_fini(&again);
  ibx_blob_fini(&blob);
}

// A file of version 1 knows no steps: the section has no meaning there.
static void version_1_has_no_steps(void **state) {
  (void)state;
  static steps_world w;
  steps_world_init(&w);
  ibx_blob blob = write_world(&w);
  ibx_put_le(blob.data + 8, IBX_FORMAT_MAJOR, 2);
  reseal(blob.data, blob.size);
  ibx_program *program = open_world(&blob);
  assert_null(ibx_program_find_entry(program, NULL)->steps);
  ibx_program_close(program);
  ibx_put_le(blob.data + 8, 3, 2);
  reseal(blob.data, blob.size);
  assert_int_equal(ibx_program_open_memory(ibx_blob_get(&blob), &program, NULL),
                   IBX_INVALID_PROGRAM);
  ibx_blob_fini(&blob);
}

static ibx_status open_status(const steps_world *w) {
  ibx_blob blob = {0};
  ibx_program *program = NULL;
  ibx_error err = {0};
  ibx_status status =
      ibx_program_write(&w->program, ibx_blob_write, &blob, NULL, NULL, &err);
  if (status == IBX_OK) {
    status = ibx_program_open_memory(ibx_blob_get(&blob), &program, &err);
  }
  assert_true((status == IBX_OK) == (err.message[0] == 0));
  ibx_program_close(program);
  ibx_blob_fini(&blob);
  return status;
}

typedef void (*spoil_fn)(steps_world *w);

static void reads_before(steps_world *w) { w->operands[2][0] = 6; }
static void reads_beyond(steps_world *w) { w->operands[3][1] = STEPS_VALUES; }
static void leaves_segment_out(steps_world *w) {
  w->operands[1][0] = IBX_NO_NODE;
}
static void makes_twice(steps_world *w) { w->results[4][0] = 5; }
static void makes_constant(steps_world *w) { w->results[4][0] = 4; }
static void makes_input(steps_world *w) { w->results[4][0] = 0; }
static void has_no_call(steps_world *w) { w->list[2].call = "number_to_gold"; }
static void has_other_signature(steps_world *w) {
  w->list[2].signature = "T, T, R";
}
static void has_too_many_ints(steps_world *w) { w->list[2].int_count = 1; }
static void runs_no_entry(steps_world *w) { w->list[1].segment = 2; }
static void runs_itself(steps_world *w) { w->list[1].segment = 0; }
static void runs_no_segment(steps_world *w) {
  w->entries[1].is_segment = false;
}
static void has_other_tensors(steps_world *w) { w->values[1].shape[0] = 5; }
static void has_other_dtype(steps_world *w) {
  w->values[2].dtype = IBX_DTYPE_I8;
}
static void has_no_dtype(steps_world *w) { w->values[3].dtype = 200; }
static void has_too_high_rank(steps_world *w) { w->values[3].rank = 9; }
static void is_too_large(steps_world *w) {
  w->values[3].rank = 2;
  w->values[3].shape[0] = w->values[3].shape[1] = UINT64_C(1) << 40;
}
static void has_short_constant(steps_world *w) { w->values[7].data.size = 8; }
static void has_wrong_offsets(steps_world *w) { w->text[1] = 2; }
static void has_open_constant(steps_world *w) {
  w->values[7].shape[0] = IBX_ANY_EXTENT;
}
static void gives_nothing(steps_world *w) {
  w->output_values[0] = STEPS_VALUES;
}
static void has_node_beyond(steps_world *w) { w->list[0].node = 7; }
static void has_one_name_twice(steps_world *w) {
  w->outputs[1].name = "joined";
}

static void wrong_steps_are_refused(void **state) {
  (void)state;
  static const spoil_fn spoils[] = {
      reads_before,      reads_beyond,        leaves_segment_out,
      makes_twice,       makes_constant,      makes_input,
      has_no_call,       has_other_signature, has_too_many_ints,
      runs_no_entry,     runs_itself,         runs_no_segment,
      has_other_tensors, has_other_dtype,     has_no_dtype,
      has_too_high_rank, is_too_large,        has_short_constant,
      has_wrong_offsets, has_open_constant,   gives_nothing,
      has_node_beyond,   has_one_name_twice};
  static steps_world w;
  steps_world_init(&w);
  assert_int_equal(open_status(&w), IBX_OK);
  for (size_t i = 0; i < IBX_COUNT_OF(spoils); i++) {
    steps_world_init(&w);
    spoils[i](&w);
    if (open_status(&w) == IBX_INVALID_PROGRAM) continue;
    fail_msg("case %zu is not refused", i);
  }
}

// --- runs --------------------------------------------------------------------

typedef struct runner {
  ibx_blob blob;
  ibx_program *program;
  ibx_device *device;
  ibx_session *session;
  ibx_host_tensor words, joined, parts;
  int64_t counts[STEPS_WORDS];
  uint8_t copied[STEPS_WORDS];
  ibx_binding inputs[1], outputs[4];
  ibx_run run;
} runner;

static void runner_init(runner *r, const char *device) {
  static steps_world w;
  ibx_error err = {0};
  steps_world_init(&w);
  *r = (runner){.blob = write_world(&w)};
  r->program = open_world(&r->blob);
  assert_int_equal(ibx_device_open(device, NULL, &r->device, NULL), IBX_OK);
  if (ibx_session_create(r->device, r->program, NULL, &r->session, &err) !=
      IBX_OK) {
    fail_msg("%s", err.message);
  }
  r->inputs[0] = (ibx_binding){.name = "words", .tensor = &r->words};
  r->outputs[0] = (ibx_binding){.name = "joined", .tensor = &r->joined};
  r->outputs[1] = (ibx_binding){.name = "parts", .tensor = &r->parts};
  r->outputs[2] = (ibx_binding){
      .name = "counts", .data = r->counts, .size_bytes = sizeof r->counts};
  r->outputs[3] = (ibx_binding){
      .name = "copied", .data = r->copied, .size_bytes = sizeof r->copied};
  r->run = (ibx_run){.inputs = r->inputs,
                     .outputs = r->outputs,
                     .input_count = 1,
                     .output_count = 4};
}

static void runner_fini(runner *r) {
  ibx_session_destroy(r->session);
  ibx_device_close(r->device);
  ibx_program_close(r->program);
  ibx_blob_fini(&r->blob);
  ibx_host_tensor_fini(&r->words);
  ibx_host_tensor_fini(&r->joined);
  ibx_host_tensor_fini(&r->parts);
}

static void give(runner *r, const char *const words[STEPS_WORDS]) {
  const uint64_t count = STEPS_WORDS;
  assert_int_equal(ibx_host_tensor_set_texts(&r->words, &count, 1, words, NULL),
                   IBX_OK);
}

static void expect_text(const ibx_host_tensor *tensor, uint64_t index,
                        const char *wanted) {
  ibx_str text = ibx_host_tensor_text(tensor, index);
  assert_int_equal(text.len, strlen(wanted));
  assert_memory_equal(text.data, wanted, text.len);
}

static void texts_go_in_and_out(void **state) {
  (void)state;
  runner r;
  runner_init(&r, "sim:");
  give(&r, (const char *const[]){"1", "20", " 3 ", "255"});
  assert_int_equal(ibx_session_run(r.session, &r.run, NULL), IBX_OK);
  assert_int_equal(r.joined.rank, 1);
  assert_int_equal(r.joined.shape[0], 2);
  expect_text(&r.joined, 0, "255=255");
  expect_text(&r.joined, 1, "1=1");
  assert_int_equal(r.parts.shape[1], 1);
  expect_text(&r.parts, 2, "3");
  assert_int_equal(r.counts[2], 1);
  assert_memory_equal(r.copied, "\x01\x14\x03\xff", STEPS_WORDS);
  // Again, with other texts, through a fence.
  ibx_fence *fence = NULL;
  give(&r, (const char *const[]){"9", "8", "7", "6"});
  assert_int_equal(ibx_fence_create(r.device, &fence, NULL), IBX_OK);
  assert_int_equal(ibx_session_enqueue(r.session, &r.run, fence, NULL), IBX_OK);
  assert_int_equal(ibx_fence_wait(fence, NULL), IBX_OK);
  expect_text(&r.joined, 0, "6=6");
  ibx_fence_destroy(fence);
  runner_fini(&r);
}

static void data_that_do_not_fit_are_refused(void **state) {
  (void)state;
  runner r;
  ibx_error err = {0};
  runner_init(&r, "sim:?order=random&seed=3");
  give(&r, (const char *const[]){"1", "2", "three", "4"});
  assert_int_equal(ibx_session_run(r.session, &r.run, &err), IBX_MISMATCH);
  assert_non_null(strstr(err.message, "three"));
  // A tensor of another shape, one that lacks texts, and none.
  const uint64_t three = 3, four = STEPS_WORDS;
  assert_int_equal(
      ibx_host_tensor_reset(&r.words, IBX_DTYPE_STRING, &three, 1, NULL),
      IBX_OK);
  assert_int_equal(ibx_session_run(r.session, &r.run, &err), IBX_MISMATCH);
  assert_int_equal(
      ibx_host_tensor_reset(&r.words, IBX_DTYPE_STRING, &four, 1, NULL),
      IBX_OK);
  assert_int_equal(ibx_session_run(r.session, &r.run, &err), IBX_MISMATCH);
  r.inputs[0].tensor = NULL;
  assert_int_equal(ibx_session_run(r.session, &r.run, &err),
                   IBX_INVALID_ARGUMENT);
  r.inputs[0].tensor = &r.words;
  give(&r, (const char *const[]){"1", "2", "3", "4"});
  r.outputs[0].tensor = NULL;
  assert_int_equal(ibx_session_run(r.session, &r.run, &err),
                   IBX_INVALID_ARGUMENT);
  r.outputs[0].tensor = &r.joined;
  r.outputs[3].size_bytes = 1;
  assert_int_equal(ibx_session_run(r.session, &r.run, &err), IBX_MISMATCH);
  r.run.input_count = 0;
  assert_int_equal(ibx_session_run(r.session, &r.run, &err),
                   IBX_INVALID_ARGUMENT);
  r.run.input_count = 1;
  r.run.output_count = 1; // the others may be left out
  assert_int_equal(ibx_session_run(r.session, &r.run, &err), IBX_OK);
  ibx_sim_time time;
  assert_int_equal(ibx_session_profile(r.session, NULL, NULL, &time, NULL),
                   IBX_OK);
  assert_true(time.total_ps > 0);
  assert_int_equal(
      ibx_session_read_state(r.session, "words", r.copied, 1, NULL),
      IBX_INVALID_ARGUMENT);
  runner_fini(&r);
}

// --- loops -------------------------------------------------------------------

// x [2] i32 is put together with itself `count` times, while `go` says so:
//   loop count go x -> trip, y      reshape y shape -> z
//   next go z y -> last, list       reshape last shape -> out
enum {
  LOOP_COUNT,
  LOOP_GO,
  LOOP_X,
  LOOP_SHAPE,
  LOOP_TRIP,
  LOOP_Y,
  LOOP_Z,
  LOOP_LAST,
  LOOP_LIST,
  LOOP_OUT,
  LOOP_VALUES
};

typedef struct loop_world {
  tiny t;
  ibx_program_data program;
  ibx_entry entry;
  ibx_steps steps;
  ibx_step_value values[LOOP_VALUES];
  ibx_step list[4];
  uint32_t operands[4][3], results[4][2];
  ibx_tensor_decl inputs[3], outputs[2];
  uint32_t input_values[3], output_values[2];
  int64_t shape;
} loop_world;

static void loop_step(loop_world *w, size_t i, const char *call,
                      const uint32_t *operands, size_t operand_count,
                      const uint32_t *results, size_t result_count) {
  memcpy(w->operands[i], operands, operand_count * sizeof *operands);
  memcpy(w->results[i], results, result_count * sizeof *results);
  w->list[i] = (ibx_step){.call = call,
                          .signature = ibx_host_call_find(call)->signature,
                          .node = IBX_NO_NODE,
                          .operands = w->operands[i],
                          .results = w->results[i],
                          .operand_count = operand_count,
                          .result_count = result_count};
}

static void loop_world_init(loop_world *w) {
  static const char *const names[] = {"count", "go", "x"};
  memset(w, 0, sizeof *w);
  tiny_init(&w->t);
  w->shape = 2;
  for (size_t v = 0; v < LOOP_VALUES; v++) {
    w->values[v] =
        (ibx_step_value){.shape = {2}, .rank = 1, .dtype = IBX_DTYPE_I32};
  }
  w->values[LOOP_COUNT] = (ibx_step_value){.dtype = IBX_DTYPE_I64};
  w->values[LOOP_TRIP] = w->values[LOOP_COUNT];
  w->values[LOOP_GO] = (ibx_step_value){.dtype = IBX_DTYPE_BOOL};
  w->values[LOOP_SHAPE] =
      (ibx_step_value){.shape = {1},
                       .rank = 1,
                       .dtype = IBX_DTYPE_I64,
                       .is_constant = true,
                       .data = {(const uint8_t *)&w->shape, 8}};
  w->values[LOOP_LIST].rank = 2;
  w->values[LOOP_LIST].shape[0] = IBX_ANY_EXTENT;
  w->values[LOOP_LIST].shape[1] = 2;
  loop_step(w, 0, "loop", (uint32_t[]){LOOP_COUNT, LOOP_GO, LOOP_X}, 3,
            (uint32_t[]){LOOP_TRIP, LOOP_Y}, 2);
  loop_step(w, 1, "reshape", (uint32_t[]){LOOP_Y, LOOP_SHAPE}, 2,
            (uint32_t[]){LOOP_Z}, 1);
  loop_step(w, 2, "next", (uint32_t[]){LOOP_GO, LOOP_Z, LOOP_Y}, 3,
            (uint32_t[]){LOOP_LAST, LOOP_LIST}, 2);
  loop_step(w, 3, "reshape", (uint32_t[]){LOOP_LAST, LOOP_SHAPE}, 2,
            (uint32_t[]){LOOP_OUT}, 1);
  for (uint32_t i = 0; i < 3; i++) {
    w->inputs[i] = (ibx_tensor_decl){.name = names[i]};
    w->input_values[i] = i;
  }
  w->outputs[0] = (ibx_tensor_decl){.name = "out"};
  w->outputs[1] = (ibx_tensor_decl){.name = "list"};
  w->output_values[0] = LOOP_OUT;
  w->output_values[1] = LOOP_LIST;
  w->steps = (ibx_steps){.values = w->values,
                         .inputs = w->input_values,
                         .outputs = w->output_values,
                         .steps = w->list,
                         .value_count = LOOP_VALUES,
                         .step_count = 4};
  w->entry = (ibx_entry){.name = "main",
                         .inputs = w->inputs,
                         .outputs = w->outputs,
                         .input_count = 3,
                         .output_count = 2,
                         .bounds = w->t.entry.bounds,
                         .steps = &w->steps};
  w->program = w->t.program;
  w->program.entries = &w->entry;
  w->program.entry_count = 1;
}

static ibx_status open_loop(const loop_world *w, ibx_blob *blob,
                            ibx_program **out) {
  *blob = (ibx_blob){0};
  *out = NULL;
  ibx_status status =
      ibx_program_write(&w->program, ibx_blob_write, blob, NULL, NULL, NULL);
  if (status != IBX_OK) return status;
  return ibx_program_open_memory(ibx_blob_get(blob), out, NULL);
}

typedef void (*spoil_loop_fn)(loop_world *w);

static void does_not_end(loop_world *w) { w->steps.step_count = 2; }
static void does_not_begin(loop_world *w) { w->list[0] = w->list[1]; }
static void reads_behind(loop_world *w) { w->operands[3][0] = LOOP_Z; }
static void gives_behind(loop_world *w) { w->output_values[0] = LOOP_Y; }
static void counts_in_words(loop_world *w) {
  w->values[LOOP_COUNT].dtype = IBX_DTYPE_I32;
}
static void counts_several(loop_world *w) {
  w->values[LOOP_COUNT].rank = 1;
  w->values[LOOP_COUNT].shape[0] = 2;
}
static void asks_a_number(loop_world *w) {
  w->values[LOOP_GO].dtype = IBX_DTYPE_I32;
}
static void has_wide_trip(loop_world *w) {
  w->values[LOOP_TRIP].dtype = IBX_DTYPE_I32;
}
static void carries_another(loop_world *w) {
  w->values[LOOP_Y].dtype = IBX_DTYPE_F32;
}
static void gives_another(loop_world *w) { w->values[LOOP_Z].shape[0] = 3; }
static void lists_another(loop_world *w) { w->values[LOOP_LIST].shape[1] = 3; }
static void lists_texts(loop_world *w) {
  w->values[LOOP_LIST].dtype = IBX_DTYPE_STRING;
}
static void lacks_an_initial(loop_world *w) { w->list[0].operand_count = 2; }
static void lacks_a_row(loop_world *w) { w->operands[2][2] = IBX_NO_NODE; }
static void lacks_results(loop_world *w) { w->list[2].result_count = 1; }
static void has_numbers(loop_world *w) { w->list[0].segment = 1; }

static void wrong_loops_are_refused(void **state) {
  (void)state;
  static const spoil_loop_fn spoils[] = {
      does_not_end,     does_not_begin, reads_behind,  gives_behind,
      counts_in_words,  counts_several, asks_a_number, has_wide_trip,
      carries_another,  gives_another,  lists_another, lists_texts,
      lacks_an_initial, lacks_a_row,    lacks_results, has_numbers};
  static loop_world w;
  for (size_t i = 0; i < IBX_COUNT_OF(spoils); i++) {
    ibx_blob blob;
    ibx_program *program;
    loop_world_init(&w);
    spoils[i](&w);
    ibx_status status = open_loop(&w, &blob, &program);
    if (status != IBX_INVALID_PROGRAM)
      fail_msg("case %zu gives %d", i, (int)status);
    ibx_blob_fini(&blob);
  }
}

static void run_loop(ibx_session *session, int64_t count, bool go,
                     uint64_t trips) {
  int32_t x[2] = {7, -9}, out[2] = {0};
  ibx_host_tensor list = IBX_HOST_TENSOR_INIT;
  ibx_error err = {0};
  uint8_t may_go = go;
  ibx_binding inputs[] = {
      {.name = "count", .data = &count, .size_bytes = sizeof count},
      {.name = "go", .data = &may_go, .size_bytes = 1},
      {.name = "x", .data = x, .size_bytes = sizeof x}};
  ibx_binding outputs[] = {
      {.name = "out", .data = out, .size_bytes = sizeof out},
      {.name = "list", .tensor = &list}};
  const ibx_run run = {.inputs = inputs,
                       .outputs = outputs,
                       .input_count = 3,
                       .output_count = 2};
  if (ibx_session_run(session, &run, &err) != IBX_OK)
    fail_msg("%s", err.message);
  assert_memory_equal(out, x, sizeof x);
  assert_int_equal(list.rank, 2);
  assert_int_equal(list.shape[0], trips);
  assert_int_equal(list.shape[1], 2);
  for (uint64_t i = 0; i < trips; i++)
    assert_memory_equal(list.data + i * sizeof x, x, sizeof x);
  ibx_host_tensor_fini(&list);
}

static void loops_make_their_trips(void **state) {
  (void)state;
  static loop_world w;
  ibx_blob blob;
  ibx_program *program;
  ibx_device *device = NULL;
  ibx_session *session = NULL;
  loop_world_init(&w);
  assert_int_equal(open_loop(&w, &blob, &program), IBX_OK);
  assert_int_equal(ibx_device_open("sim:", NULL, &device, NULL), IBX_OK);
  assert_int_equal(ibx_session_create(device, program, NULL, &session, NULL),
                   IBX_OK);
  run_loop(session, 3, true, 3);
  run_loop(session, 0, true, 0);
  run_loop(session, -1, true, 0);
  run_loop(session, 1, true, 1);
  run_loop(session, 5, false, 0);
  run_loop(session, 100, true, 100);
  ibx_session_destroy(session);
  ibx_device_close(device);
  ibx_program_close(program);
  ibx_blob_fini(&blob);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(what_is_written_is_read),
      cmocka_unit_test(version_1_has_no_steps),
      cmocka_unit_test(wrong_steps_are_refused),
      cmocka_unit_test(texts_go_in_and_out),
      cmocka_unit_test(data_that_do_not_fit_are_refused),
      cmocka_unit_test(wrong_loops_are_refused),
      cmocka_unit_test(loops_make_their_trips),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

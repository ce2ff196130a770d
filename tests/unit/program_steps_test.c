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

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(what_is_written_is_read),
      cmocka_unit_test(version_1_has_no_steps),
      cmocka_unit_test(wrong_steps_are_refused),
      cmocka_unit_test(texts_go_in_and_out),
      cmocka_unit_test(data_that_do_not_fit_are_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

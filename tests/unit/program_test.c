// SPDX-License-Identifier: Apache-2.0
//
// Program files: what is written is read, the same program gives the same
// bytes, and damage of any kind is refused: every byte flipped, every length,
// garbage, and files whose digests are right but whose contents are not.

#include "core/program_format.h"
#include "imbrex/blob.h"
#include "support/reseal.h"
#include "support/tiny.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const uint8_t weight_bytes[300] = {3, 1, 4, 1, 5, 9, [299] = 7};

static uint64_t next_random(uint64_t *state) {
  *state = *state * UINT64_C(6364136223846793005) + 1442695040888963407;
  return *state >> 33;
}

// A pipe with weights, a loop, all formats, and a state buffer.
static void make_rich(tiny_pipe *p) {
  tiny_pipe_init(p);
  tiny *t = &p->t;
  t->program.weights = (ibx_span){weight_bytes, sizeof weight_bytes};
  tiny_hbm(t, "w", IBX_BUFFER_WEIGHT, 64, 128);
  tiny_hbm(t, "cache", IBX_BUFFER_STATE, 1 << 20, 4096);
  uint32_t acc = tiny_psum(t, "acc", 2048, 2048);
  tiny_stationary(t, tiny_sbuf(t, "k", 4096, 512));
  tiny_multiply(t, acc, 0, p->b, 64, IBX_FLAG_GROUP_END);
  ibx_insn loop = ibx_insn_make(IBX_OP_loop);
  loop.reg[0] = 2;
  loop.count = 5;
  tiny_add(t, IBX_ENGINE_SCALAR, loop);
  ibx_insn *copy = tiny_copy(t, IBX_ENGINE_SCALAR, p->b, 0, p->a, 0, 8);
  copy->flags |= IBX_FLAG_LOOPED;
  copy->operand[0].loop_step[2] = 32;
  tiny_add(t, IBX_ENGINE_SCALAR, ibx_insn_make(IBX_OP_loop_end));
}

static ibx_blob write_blob(const ibx_program_data *program) {
  ibx_blob blob = {0};
  ibx_error err = {.message = ""};
  ibx_status status =
      ibx_program_write(program, ibx_blob_write, &blob, NULL, NULL, &err);
  if (status != IBX_OK) fail_msg("%s", err.message);
  return blob;
}

static ibx_status try_open(ibx_span bytes) {
  ibx_program *program = NULL;
  ibx_error err = {.message = ""};
  ibx_status status = ibx_program_open_memory(bytes, &program, &err);
  if (status == IBX_OK) {
    assert_non_null(program);
  } else {
    assert_null(program);
    assert_true(strlen(err.message) > 0);
  }
  ibx_program_close(program);
  return status;
}

static void same_insns(const ibx_stream *a, const ibx_stream *b) {
  assert_int_equal(a->count, b->count);
  for (size_t i = 0; i < a->count; i++) {
    uint8_t left[IBX_INSN_MAX_WORDS * IBX_WORD_BYTES];
    uint8_t right[IBX_INSN_MAX_WORDS * IBX_WORD_BYTES];
    size_t words = ibx_insn_words(&a->insns[i]);
    assert_int_equal(words, ibx_insn_words(&b->insns[i]));
    assert_int_equal(ibx_insn_encode(&a->insns[i], left, NULL), IBX_OK);
    assert_int_equal(ibx_insn_encode(&b->insns[i], right, NULL), IBX_OK);
    assert_memory_equal(left, right, words * IBX_WORD_BYTES);
    assert_int_equal(a->nodes[i], b->nodes[i]);
  }
}

static void same_tensors(const ibx_tensor_decl *a, const ibx_tensor_decl *b,
                         size_t count) {
  for (size_t i = 0; i < count; i++) {
    assert_string_equal(a[i].name, b[i].name);
    assert_memory_equal(a[i].shape, b[i].shape, sizeof a[i].shape);
    assert_int_equal(a[i].buffer, b[i].buffer);
    assert_int_equal(a[i].rank, b[i].rank);
    assert_int_equal(a[i].dtype, b[i].dtype);
  }
}

static void same_entry(const ibx_entry *a, const ibx_entry *b) {
  assert_string_equal(a->name, b->name);
  assert_memory_equal(&a->bounds, &b->bounds, sizeof a->bounds);
  assert_int_equal(a->input_count, b->input_count);
  assert_int_equal(a->output_count, b->output_count);
  assert_int_equal(a->buffer_count, b->buffer_count);
  same_tensors(a->inputs, b->inputs, a->input_count);
  same_tensors(a->outputs, b->outputs, a->output_count);
  for (size_t i = 0; i < a->buffer_count; i++) {
    assert_string_equal(a->buffers[i].name, b->buffers[i].name);
    assert_int_equal(a->buffers[i].kind, b->buffers[i].kind);
    const ibx_buffer_place *x = &a->buffers[i].place;
    const ibx_buffer_place *y = &b->buffers[i].place;
    assert_int_equal(x->space, y->space);
    assert_int_equal(x->partition, y->partition);
    assert_int_equal(x->partitions, y->partitions);
    assert_int_equal(x->offset, y->offset);
    assert_int_equal(x->bytes, y->bytes);
  }
  for (size_t e = 0; e < IBX_ENGINE_COUNT; e++) {
    same_insns(&a->streams[e], &b->streams[e]);
  }
}

static void what_is_written_is_read(void **state) {
  (void)state;
  tiny_pipe p;
  make_rich(&p);
  ibx_blob blob = write_blob(&p.t.program);
  ibx_program *program;
  ibx_error err;
  if (ibx_program_open_memory(ibx_blob_get(&blob), &program, &err) != IBX_OK) {
    fail_msg("%s", err.message);
  }
  const ibx_program_data *data = ibx_program_get(program);
  assert_ptr_equal(data->machine, p.t.program.machine);
  assert_string_equal(data->model, "tiny");
  assert_string_equal(data->options, "--auto-cast none");
  assert_int_equal(data->node_count, 2);
  assert_string_equal(data->nodes[1].name, "/second");
  assert_string_equal(data->nodes[1].op, "MatMul");
  assert_int_equal(data->entry_count, 1);
  same_entry(&p.t.entry, &data->entries[0]);
  assert_int_equal(data->weights.size, sizeof weight_bytes);
  assert_memory_equal(data->weights.data, weight_bytes, sizeof weight_bytes);
  assert_int_equal((uintptr_t)data->weights.data % 64, 0);
  assert_int_equal(data->code_bytes, blob.size - sizeof weight_bytes);
  assert_ptr_equal(ibx_program_find_entry(program, NULL), &data->entries[0]);
  assert_ptr_equal(ibx_program_find_entry(program, "main"), &data->entries[0]);
  assert_null(ibx_program_find_entry(program, "other"));

  ibx_blob again = write_blob(data);
  assert_int_equal(again.size, blob.size);
  assert_memory_equal(again.data, blob.data, blob.size);
  ibx_blob_fini(&again);
  ibx_program_close(program);
  ibx_blob_fini(&blob);
}

static void several_entries_share_weights_and_texts(void **state) {
  (void)state;
  tiny_pipe p;
  tiny_pipe q;
  make_rich(&p);
  tiny_pipe_init(&q);
  ibx_entry entries[2] = {p.t.entry, q.t.entry};
  entries[1].name = "second";
  p.t.program.entries = entries;
  p.t.program.entry_count = 2;
  ibx_blob blob = write_blob(&p.t.program);
  ibx_program *program;
  assert_int_equal(ibx_program_open_memory(ibx_blob_get(&blob), &program, NULL),
                   IBX_OK);
  const ibx_entry *second = ibx_program_find_entry(program, "second");
  assert_non_null(second);
  same_entry(second, &entries[1]);
  ibx_program_close(program);
  ibx_blob_fini(&blob);

  entries[1].name = "main";
  blob = write_blob(&p.t.program);
  assert_int_equal(try_open(ibx_blob_get(&blob)), IBX_INVALID_PROGRAM);
  ibx_blob_fini(&blob);
}

// --- writing -----------------------------------------------------------------

static bool write_in_drops(void *user, ibx_write_fn write, void *sink) {
  const ibx_span *weights = user;
  for (size_t i = 0; i < weights->size; i += 7) {
    size_t left = weights->size - i;
    if (!write(sink, weights->data + i, left < 7 ? left : 7)) return false;
  }
  return true;
}

static bool write_nothing(void *user, ibx_write_fn write, void *sink) {
  (void)user;
  (void)write;
  (void)sink;
  return true;
}

static bool write_too_much(void *user, ibx_write_fn write, void *sink) {
  return write_in_drops(user, write, sink) && write(sink, "x", 1);
}

static bool cannot_read(void *user, ibx_write_fn write, void *sink) {
  (void)user;
  (void)write;
  (void)sink;
  return false;
}

static void weights_may_come_from_a_callback(void **state) {
  (void)state;
  tiny_pipe p;
  make_rich(&p);
  ibx_blob whole = write_blob(&p.t.program);
  ibx_span weights = p.t.program.weights;
  p.t.program.weights.data = NULL;
  ibx_blob drops = {0};
  assert_int_equal(ibx_program_write(&p.t.program, ibx_blob_write, &drops,
                                     write_in_drops, &weights, NULL),
                   IBX_OK);
  assert_int_equal(drops.size, whole.size);
  assert_memory_equal(drops.data, whole.data, whole.size);
  ibx_blob bad = {0};
  assert_int_equal(ibx_program_write(&p.t.program, ibx_blob_write, &bad,
                                     write_nothing, &weights, NULL),
                   IBX_INTERNAL);
  assert_int_equal(ibx_program_write(&p.t.program, ibx_blob_write, &bad,
                                     write_too_much, &weights, NULL),
                   IBX_INTERNAL);
  assert_int_equal(ibx_program_write(&p.t.program, ibx_blob_write, &bad,
                                     cannot_read, &weights, NULL),
                   IBX_IO_ERROR);
  ibx_blob_fini(&bad);
  ibx_blob_fini(&drops);
  ibx_blob_fini(&whole);
}

typedef struct full_sink {
  size_t left;
} full_sink;

static bool write_until_full(void *user, const void *data, size_t size) {
  full_sink *sink = user;
  (void)data;
  if (size > sink->left) return false;
  sink->left -= size;
  return true;
}

static void a_full_sink_is_reported_wherever_it_fills(void **state) {
  (void)state;
  tiny_pipe p;
  make_rich(&p);
  ibx_blob whole = write_blob(&p.t.program);
  for (size_t room = 0; room < whole.size; room++) {
    full_sink sink = {room};
    assert_int_equal(ibx_program_write(&p.t.program, write_until_full, &sink,
                                       NULL, NULL, NULL),
                     IBX_IO_ERROR);
  }
  ibx_blob_fini(&whole);
}

static void a_field_that_does_not_fit_is_refused(void **state) {
  (void)state;
  tiny_pipe p;
  make_rich(&p);
  p.copy->operand[0].offset = UINT64_C(1) << 40;
  ibx_blob blob = {0};
  assert_int_equal(
      ibx_program_write(&p.t.program, ibx_blob_write, &blob, NULL, NULL, NULL),
      IBX_INVALID_PROGRAM);
  assert_int_equal(blob.size, 0);
  ibx_blob_fini(&blob);
}

// Assembly text could not tell it.
static void a_bound_of_64_bits_is_refused(void **state) {
  (void)state;
  tiny_pipe p;
  make_rich(&p);
  const uint64_t values[] = {INT64_MAX, (uint64_t)INT64_MAX + 1};
  for (size_t i = 0; i < IBX_COUNT_OF(values); i++) {
    p.t.entry.bounds.hbm_ps = values[i];
    ibx_blob blob = write_blob(&p.t.program);
    assert_int_equal(try_open(ibx_blob_get(&blob)),
                     i == 0 ? IBX_OK : IBX_INVALID_PROGRAM);
    ibx_blob_fini(&blob);
  }
}

// --- damage ------------------------------------------------------------------

static void every_flipped_byte_is_refused(void **state) {
  (void)state;
  tiny_pipe p;
  make_rich(&p);
  ibx_blob blob = write_blob(&p.t.program);
  assert_int_equal(try_open(ibx_blob_get(&blob)), IBX_OK);
  for (size_t i = 0; i < blob.size; i++) {
    for (unsigned bit = 0; bit < 8; bit += 7) {
      blob.data[i] ^= (uint8_t)(1u << bit);
      ibx_status status = try_open(ibx_blob_get(&blob));
      if (status != IBX_INVALID_PROGRAM) {
        fail_msg("byte %zu, bit %u: %s", i, bit, ibx_status_name(status));
      }
      blob.data[i] ^= (uint8_t)(1u << bit);
    }
  }
  ibx_blob_fini(&blob);
}

static void every_other_length_is_refused(void **state) {
  (void)state;
  tiny_pipe p;
  make_rich(&p);
  ibx_blob blob = write_blob(&p.t.program);
  for (size_t size = 0; size < blob.size; size++) {
    // A copy of its own, so that a read past the end is seen.
    uint8_t *cut = aligned_alloc(64, (size + 63) / 64 * 64 + 64);
    assert_non_null(cut);
    memcpy(cut, blob.data, size);
    assert_int_equal(try_open((ibx_span){cut, size}), IBX_INVALID_PROGRAM);
    free(cut);
  }
  uint8_t zeros[64] = {0};
  assert_true(ibx_blob_write(&blob, zeros, sizeof zeros));
  assert_int_equal(try_open(ibx_blob_get(&blob)), IBX_INVALID_PROGRAM);
  ibx_blob_fini(&blob);
}

static void garbage_is_refused(void **state) {
  (void)state;
  uint64_t random = 1;
  for (size_t round = 0; round < 300; round++) {
    size_t size = (size_t)(next_random(&random) % 1000);
    uint8_t *bytes = aligned_alloc(64, 1024);
    assert_non_null(bytes);
    for (size_t i = 0; i < 1024; i++) {
      bytes[i] = (uint8_t)next_random(&random);
    }
    if (round % 2 == 0) memcpy(bytes, IBX_PROGRAM_MAGIC, 8);
    assert_int_equal(try_open((ibx_span){bytes, size}), IBX_INVALID_PROGRAM);
    free(bytes);
  }
}

// Nothing may crash; what opens is consistent, which the sanitizers check by
// writing it again.
static void open_and_write_again(ibx_span bytes, size_t *accepted) {
  ibx_program *program = NULL;
  if (ibx_program_open_memory(bytes, &program, NULL) != IBX_OK) return;
  (*accepted)++;
  ibx_blob again = write_blob(ibx_program_get(program));
  assert_true(again.size > 0);
  ibx_blob_fini(&again);
  ibx_program_close(program);
}

static void resealed_damage_never_crashes(void **state) {
  (void)state;
  tiny_pipe p;
  make_rich(&p);
  ibx_blob blob = write_blob(&p.t.program);
  ibx_blob copy = {0};
  assert_true(ibx_blob_reserve(&copy, blob.size));
  uint64_t random = 42;
  size_t accepted = 0;
  for (size_t round = 0; round < 20000; round++) {
    copy.size = 0;
    assert_true(ibx_blob_write(&copy, blob.data, blob.size));
    size_t changes = 1 + (size_t)(next_random(&random) % 3);
    for (size_t i = 0; i < changes; i++) {
      // Not the count of sections and the file's size: reseal believes them.
      size_t at = 64 + (size_t)(next_random(&random) % (blob.size - 128));
      copy.data[at] =
          next_random(&random) % 4 == 0 ? 0xff : (uint8_t)next_random(&random);
    }
    reseal(copy.data, copy.size);
    open_and_write_again(ibx_blob_get(&copy), &accepted);
  }
  // Names, bounds and immediates may take any value.
  assert_true(accepted > 100);
  assert_true(accepted < 15000);
  ibx_blob_fini(&copy);
  ibx_blob_fini(&blob);
}

static void unknown_sections_are_skipped_but_digested(void **state) {
  (void)state;
  tiny_pipe p;
  make_rich(&p);
  ibx_blob blob = write_blob(&p.t.program);
  // The debug section under another number: optional, and unknown.
  uint8_t *row = blob.data + IBX_HEADER_BYTES + 5 * IBX_SECTION_ROW_BYTES;
  assert_int_equal(ibx_get_le(row, 4), IBX_SECTION_DEBUG);
  ibx_put_le(row, 99, 4);
  reseal(blob.data, blob.size);
  ibx_program *program;
  assert_int_equal(ibx_program_open_memory(ibx_blob_get(&blob), &program, NULL),
                   IBX_OK);
  const ibx_entry *entry = ibx_program_find_entry(program, NULL);
  assert_int_equal(entry->streams[IBX_ENGINE_VECTOR].nodes[0], IBX_NO_NODE);
  ibx_program_close(program);
  uint64_t offset = ibx_get_le(row + 8, 8);
  blob.data[offset] ^= 1;
  assert_int_equal(try_open(ibx_blob_get(&blob)), IBX_INVALID_PROGRAM);
  ibx_blob_fini(&blob);
}

static void missing_and_repeated_sections_are_refused(void **state) {
  (void)state;
  const size_t sections = IBX_SECTION_WEIGHTS; // no optional ones but debug
  for (size_t i = 0; i < sections; i++) {
    tiny_pipe p;
    make_rich(&p);
    ibx_blob blob = write_blob(&p.t.program);
    uint8_t *row = blob.data + IBX_HEADER_BYTES + i * IBX_SECTION_ROW_BYTES;
    uint64_t id = ibx_get_le(row, 4);
    ibx_put_le(row, 99, 4);
    reseal(blob.data, blob.size);
    assert_int_equal(try_open(ibx_blob_get(&blob)),
                     id == IBX_SECTION_DEBUG ? IBX_OK : IBX_INVALID_PROGRAM);
    ibx_put_le(row, id == 1 ? 2 : 1, 4);
    reseal(blob.data, blob.size);
    assert_int_equal(try_open(ibx_blob_get(&blob)), IBX_INVALID_PROGRAM);
    ibx_blob_fini(&blob);
  }
}

// --- contents ----------------------------------------------------------------

static void refuse(const tiny *t) {
  ibx_blob blob = write_blob(&t->program);
  assert_int_equal(try_open(ibx_blob_get(&blob)), IBX_INVALID_PROGRAM);
  ibx_blob_fini(&blob);
}

static void buffers_lie_in_their_memories(void **state) {
  (void)state;
  const ibx_machine *machine = ibx_machine_get(IBX_TARGET_ibx3);
  tiny_pipe p;
  make_rich(&p);
  p.t.buffers[p.a].place.offset = machine->sbuf_bytes - TINY_ROW + 4;
  refuse(&p.t);
  make_rich(&p);
  p.t.buffers[p.a].place.bytes = UINT64_MAX;
  refuse(&p.t);
  make_rich(&p);
  p.t.buffers[p.a].place.partition = 1;
  refuse(&p.t);
  make_rich(&p);
  p.t.buffers[p.y].place.offset = UINT64_MAX - 10;
  refuse(&p.t);
  make_rich(&p);
  p.t.buffers[4].place.offset = 200; // w: the weights have 300 bytes
  refuse(&p.t);
  make_rich(&p);
  p.t.buffers[6].place.bytes = machine->psum_bytes; // acc starts at 2048
  refuse(&p.t);
}

static void tensors_fill_their_buffers(void **state) {
  (void)state;
  tiny_pipe p;
  make_rich(&p);
  p.t.inputs[0].shape[0]--;
  refuse(&p.t);
  make_rich(&p);
  p.t.inputs[0].rank = 2;
  p.t.inputs[0].shape[1] = UINT64_MAX;
  refuse(&p.t);
  make_rich(&p);
  p.t.inputs[0].buffer = p.y;
  refuse(&p.t);
  make_rich(&p);
  p.t.inputs[0].buffer = 1000;
  refuse(&p.t);
  make_rich(&p);
  p.t.outputs[0].dtype = IBX_DTYPE_NONE;
  refuse(&p.t);
  make_rich(&p);
  p.t.entry.output_count = 1; // the state is an input only
  refuse(&p.t);
  make_rich(&p);
  p.t.inputs[1].name = p.t.inputs[0].name;
  refuse(&p.t);
}

static void instructions_are_checked_with_their_nodes(void **state) {
  (void)state;
  tiny_pipe p;
  make_rich(&p);
  p.copy->operand[1].buffer = 31;
  refuse(&p.t);
  make_rich(&p);
  p.copy->partitions = 129;
  refuse(&p.t);
  make_rich(&p);
  p.t.nodes[IBX_ENGINE_VECTOR][0] = 2;
  refuse(&p.t);
  make_rich(&p);
  p.t.nodes[IBX_ENGINE_VECTOR][0] = IBX_NO_NODE;
  ibx_blob blob = write_blob(&p.t.program);
  assert_int_equal(try_open(ibx_blob_get(&blob)), IBX_OK);
  ibx_blob_fini(&blob);
}

// --- files -------------------------------------------------------------------

static void files_open_like_memory(void **state) {
  (void)state;
  char path[] = "program_test_XXXXXX";
  int file = mkstemp(path);
  assert_true(file >= 0);
  tiny_pipe p;
  make_rich(&p);
  ibx_blob blob = write_blob(&p.t.program);
  assert_int_equal(write(file, blob.data, blob.size), (ssize_t)blob.size);
  close(file);
  ibx_program *from_file;
  ibx_program *from_memory;
  ibx_status status = ibx_program_open_file(path, &from_file, NULL);
  unlink(path);
  assert_int_equal(status, IBX_OK);
  assert_int_equal(
      ibx_program_open_memory(ibx_blob_get(&blob), &from_memory, NULL), IBX_OK);
  assert_int_equal(ibx_program_digest(from_file),
                   ibx_program_digest(from_memory));
  same_entry(ibx_program_find_entry(from_file, NULL),
             ibx_program_find_entry(from_memory, NULL));
  ibx_program_close(from_file);
  ibx_program_close(from_memory);
  ibx_program_close(NULL);
  ibx_error err;
  assert_int_equal(ibx_program_open_file("no/such/file", &from_file, &err),
                   IBX_NOT_FOUND);
  assert_int_equal(ibx_program_open_file(".", &from_file, &err), IBX_IO_ERROR);
  assert_null(from_file);
  ibx_blob_fini(&blob);
}

static void the_digest_tells_programs_apart(void **state) {
  (void)state;
  tiny_pipe p;
  uint64_t digests[3];
  for (size_t i = 0; i < 3; i++) {
    make_rich(&p);
    if (i == 1) p.copy->imm[0] = 1;
    if (i == 2) p.t.program.weights.size--;
    ibx_blob blob = write_blob(&p.t.program);
    ibx_program *program;
    assert_int_equal(
        ibx_program_open_memory(ibx_blob_get(&blob), &program, NULL), IBX_OK);
    digests[i] = ibx_program_digest(program);
    ibx_program_close(program);
    ibx_blob_fini(&blob);
  }
  assert_true(digests[0] != digests[1]);
  assert_true(digests[0] != digests[2]);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(what_is_written_is_read),
      cmocka_unit_test(several_entries_share_weights_and_texts),
      cmocka_unit_test(weights_may_come_from_a_callback),
      cmocka_unit_test(a_full_sink_is_reported_wherever_it_fills),
      cmocka_unit_test(a_field_that_does_not_fit_is_refused),
      cmocka_unit_test(a_bound_of_64_bits_is_refused),
      cmocka_unit_test(every_flipped_byte_is_refused),
      cmocka_unit_test(every_other_length_is_refused),
      cmocka_unit_test(garbage_is_refused),
      cmocka_unit_test(resealed_damage_never_crashes),
      cmocka_unit_test(unknown_sections_are_skipped_but_digested),
      cmocka_unit_test(missing_and_repeated_sections_are_refused),
      cmocka_unit_test(buffers_lie_in_their_memories),
      cmocka_unit_test(tensors_fill_their_buffers),
      cmocka_unit_test(instructions_are_checked_with_their_nodes),
      cmocka_unit_test(files_open_like_memory),
      cmocka_unit_test(the_digest_tells_programs_apart),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

// SPDX-License-Identifier: Apache-2.0
//
// Ports and extents: the program file keeps them, a reader refuses those that
// contradict the tensors, and outputs are cut to what a run found.

#include "core/program_format.h"
#include "imbrex/blob.h"
#include "imbrex/runtime.h"
#include "support/reseal.h"
#include "support/tiny.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <string.h>

// x of two tensors, maybe absent; y of 3 x 4 numbers at most, how many in n.
typedef struct world {
  tiny t;
  ibx_port_decl in[2], out[2];
  ibx_extent_decl extents[2];
} world;

static void init(world *w) {
  memset(w, 0, sizeof *w);
  tiny_init(&w->t);
  tiny_hbm(&w->t, "x[0]", IBX_BUFFER_INPUT, 0, 64);
  tiny_hbm(&w->t, "x[1]", IBX_BUFFER_INPUT, 64, 64);
  tiny_hbm(&w->t, "y", IBX_BUFFER_OUTPUT, 128, 48);
  tiny_hbm(&w->t, "n", IBX_BUFFER_OUTPUT, 192, 8);
  w->t.outputs[0].shape[0] = 3;
  w->t.outputs[0].shape[1] = 4;
  w->t.outputs[0].rank = 2;
  w->t.outputs[0].dtype = IBX_DTYPE_F32;
  w->t.outputs[1].shape[0] = 0;
  w->t.outputs[1].rank = 0;
  w->t.outputs[1].dtype = IBX_DTYPE_I64;
  w->in[0] = (ibx_port_decl){"x", IBX_PORT_SEQUENCE, 0, 2, false};
  w->in[1] = (ibx_port_decl){"maybe", IBX_PORT_OPTIONAL, 2, 0, true};
  w->out[0] = (ibx_port_decl){"y", IBX_PORT_TENSOR, 0, 1, false};
  w->extents[0] = (ibx_extent_decl){.output = 0, .dim = 1, .source = 1};
  w->t.entry.has_ports = true;
  w->t.entry.input_ports = w->in;
  w->t.entry.output_ports = w->out;
  w->t.entry.extents = w->extents;
  w->t.entry.input_port_count = 2;
  w->t.entry.output_port_count = 1;
  w->t.entry.extent_count = 1;
}

static ibx_blob write_blob(const world *w) {
  ibx_blob blob = {0};
  assert_int_equal(
      ibx_program_write(&w->t.program, ibx_blob_write, &blob, NULL, NULL, NULL),
      IBX_OK);
  return blob;
}

static void a_program_file_keeps_its_ports(void **state) {
  (void)state;
  world w;
  init(&w);
  ibx_blob blob = write_blob(&w);
  ibx_program *program = NULL;
  assert_int_equal(ibx_program_open_memory(ibx_blob_get(&blob), &program, NULL),
                   IBX_OK);
  assert_int_equal(ibx_get_le(blob.data + 10, 2), IBX_FORMAT_MINOR_PORTS);
  const ibx_entry *entry = ibx_program_find_entry(program, NULL);
  assert_int_equal(ibx_entry_port_count(entry, false), 2);
  assert_int_equal(ibx_entry_port_count(entry, true), 1);
  ibx_port_decl port = ibx_entry_port(entry, false, 0);
  assert_string_equal(port.name, "x");
  assert_int_equal(port.kind, IBX_PORT_SEQUENCE);
  assert_int_equal(port.count, 2);
  port = ibx_entry_port(entry, false, 1);
  assert_true(port.is_absent);
  assert_int_equal(port.first, 2);
  assert_int_equal(entry->extent_count, 1);
  assert_memory_equal(entry->extents, w.extents, sizeof w.extents[0]);
  ibx_program_close(program);
  ibx_blob_fini(&blob);
}

static void without_ports_each_tensor_is_one(void **state) {
  (void)state;
  world w;
  init(&w);
  w.t.entry.has_ports = false;
  ibx_blob blob = write_blob(&w);
  ibx_program *program = NULL;
  assert_int_equal(ibx_program_open_memory(ibx_blob_get(&blob), &program, NULL),
                   IBX_OK);
  assert_int_equal(ibx_get_le(blob.data + 10, 2), 0);
  const ibx_entry *entry = ibx_program_find_entry(program, NULL);
  assert_int_equal(ibx_entry_port_count(entry, true), 2);
  ibx_port_decl port = ibx_entry_port(entry, true, 1);
  assert_string_equal(port.name, "n");
  assert_int_equal(port.kind, IBX_PORT_TENSOR);
  assert_int_equal(port.first, 1);
  ibx_program_close(program);
  ibx_blob_fini(&blob);
}

static void refuse(const world *w) {
  ibx_blob blob = write_blob(w);
  ibx_program *program = NULL;
  assert_int_equal(ibx_program_open_memory(ibx_blob_get(&blob), &program, NULL),
                   IBX_INVALID_PROGRAM);
  ibx_blob_fini(&blob);
}

static void ports_must_divide_the_tensors(void **state) {
  (void)state;
  world w;
#define WRONG(change)                                                          \
  init(&w);                                                                    \
  change;                                                                      \
  refuse(&w)
  WRONG(w.in[0].count = 3);
  WRONG(w.in[0].count = UINT32_MAX);
  WRONG(w.in[0].first = 1);
  WRONG(w.in[0].kind = IBX_PORT_TENSOR);
  WRONG(w.in[0].kind = IBX_PORT_OPTIONAL);
  WRONG(w.in[0].kind = IBX_PORT_KIND_COUNT);
  WRONG(w.in[0].is_absent = true);
  WRONG(w.in[1].is_absent = false);
  WRONG(w.t.entry.input_port_count = 0);
  WRONG(w.extents[0].output = 1);
  WRONG(w.extents[0].output = 9);
  WRONG(w.extents[0].dim = 2);
  WRONG(w.extents[0].source = 0);
  WRONG(w.extents[0].source = 2);
  WRONG(w.t.outputs[1].dtype = IBX_DTYPE_U64);
  WRONG(w.out[1] = ((ibx_port_decl){"n", IBX_PORT_TENSOR, 1, 1, false});
        w.t.entry.output_port_count = 2);
#undef WRONG
}

// Damage of the section's numbers: counts that do not fit, bytes that must be 0.
static void a_wrong_section_is_refused(void **state) {
  (void)state;
  const struct {
    uint32_t at, value;
  } wrong[] = {{0, 2},           {0, 0},           {4, 3},
               {4, UINT32_MAX},  {8, UINT32_MAX},  {12, 2},
               {12, UINT32_MAX}, {16, UINT32_MAX}, {28, 2 << 8}};
  for (size_t i = 0; i < IBX_COUNT_OF(wrong); i++) {
    world w;
    init(&w);
    ibx_blob blob = write_blob(&w);
    uint64_t rows = ibx_get_le(blob.data + 12, 4);
    uint8_t *row =
        blob.data + IBX_HEADER_BYTES + (rows - 2) * IBX_SECTION_ROW_BYTES;
    assert_int_equal(ibx_get_le(row, 4), IBX_SECTION_PORTS);
    ibx_put_le(blob.data + ibx_get_le(row + 8, 8) + wrong[i].at, wrong[i].value,
               4);
    reseal(blob.data, blob.size);
    ibx_program *program = NULL;
    assert_int_equal(
        ibx_program_open_memory(ibx_blob_get(&blob), &program, NULL),
        IBX_INVALID_PROGRAM);
    ibx_blob_fini(&blob);
  }
}

static void outputs_are_cut_to_what_was_found(void **state) {
  (void)state;
  world w;
  init(&w);
  float y[3][4] = {{1, 2, -1, -1}, {3, 4, -1, -1}, {5, 6, -1, -1}};
  int64_t n = 2;
  ibx_binding outputs[] = {{.name = "n", .data = &n, .size_bytes = sizeof n},
                           {.index = 0, .data = y, .size_bytes = sizeof y}};
  ibx_run run = {.outputs = outputs, .output_count = 2};
  uint64_t shape[IBX_MAX_RANK];
  assert_int_equal(ibx_run_output_shape(&w.t.entry, &run, 0, shape, NULL),
                   IBX_OK);
  assert_int_equal(shape[0], 3);
  assert_int_equal(shape[1], 2);
  assert_int_equal(ibx_tensor_pack(&w.t.outputs[0], shape, y), 6 * 4);
  const float *packed = y[0];
  for (int i = 0; i < 6; i++)
    assert_true(packed[i] == (float)(i + 1));
  n = 0;
  assert_int_equal(ibx_run_output_shape(&w.t.entry, &run, 0, shape, NULL),
                   IBX_OK);
  assert_int_equal(ibx_tensor_pack(&w.t.outputs[0], shape, y), 0);
  const int64_t impossible[] = {5, -1, INT64_MIN};
  for (size_t i = 0; i < IBX_COUNT_OF(impossible); i++) {
    n = impossible[i];
    assert_int_equal(ibx_run_output_shape(&w.t.entry, &run, 0, shape, NULL),
                     IBX_DEVICE_ERROR);
  }
  run.output_count = 0;
  assert_int_equal(ibx_run_output_shape(&w.t.entry, &run, 0, shape, NULL),
                   IBX_INVALID_ARGUMENT);
  assert_int_equal(ibx_run_output_shape(&w.t.entry, &run, 7, shape, NULL),
                   IBX_INVALID_ARGUMENT);
}

// Any rank, and extents that are 0: element i of the shape is i.
static void packing_keeps_the_order(void **state) {
  (void)state;
  ibx_tensor_decl tensor = {.shape = {3, 2, 4}, .dtype = IBX_DTYPE_U8};
  for (uint64_t code = 0; code < 4 * 3 * 5 * 4; code++) {
    uint64_t shape[IBX_MAX_RANK] = {code % 4, code / 4 % 3, code / 12 % 5};
    tensor.rank = (uint8_t)(code / 60);
    uint8_t data[24] = {0}, count = 0;
    uint64_t most[3] = {1, 1, 1}, real[3] = {1, 1, 1};
    for (size_t d = 0; d < tensor.rank; d++) {
      most[d] = tensor.shape[d];
      real[d] = shape[d];
    }
    for (uint64_t i = 0; i < real[0]; i++) {
      for (uint64_t j = 0; j < real[1]; j++) {
        for (uint64_t k = 0; k < real[2]; k++)
          data[(i * most[1] + j) * most[2] + k] = count++;
      }
    }
    assert_int_equal(ibx_tensor_pack(&tensor, shape, data), count);
    for (uint8_t i = 0; i < count; i++)
      assert_int_equal(data[i], i);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_program_file_keeps_its_ports),
      cmocka_unit_test(without_ports_each_tensor_is_one),
      cmocka_unit_test(ports_must_divide_the_tensors),
      cmocka_unit_test(a_wrong_section_is_refused),
      cmocka_unit_test(outputs_are_cut_to_what_was_found),
      cmocka_unit_test(packing_keeps_the_order),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

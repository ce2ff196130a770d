// SPDX-License-Identifier: Apache-2.0
//
// What a core's HBM holds: the constants of all entries beside the tensors of
// the largest one. Sizes past it name who reads the largest constant.

#include "compiler/fit.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { GIB = 1 << 30 };

static void add_buffer(ibx_tile_func *func, ibx_buffer_kind kind,
                       const char *name, uint64_t bytes) {
  ibx_tile_add_buffer(func, (ibx_buffer_decl){.place = {.space = IBX_SPACE_HBM,
                                                        .partitions = 1,
                                                        .bytes = bytes},
                                              .name = name,
                                              .kind = kind});
}

static void add_load(ibx_tile_func *func, uint32_t from, uint32_t source) {
  ibx_insn insn = ibx_insn_make(IBX_OP_dma_copy);
  insn.operand[0].buffer = 0;
  insn.operand[1].buffer = from;
  ibx_tile_add_op(func, &(ibx_tile_op){.insn = insn, .source = source});
}

// One tensor of 1 GiB, constants of 2 and 3 that two nodes read.
static ibx_fit make_fit(ibx_arena *arena) {
  ibx_fit fit = {0};
  ibx_tile_func func = {.arena = arena, .name = "main"};
  add_buffer(&func, IBX_BUFFER_INPUT, "x", GIB);
  add_buffer(&func, IBX_BUFFER_WEIGHT, "w", 2 * (uint64_t)GIB);
  add_buffer(&func, IBX_BUFFER_WEIGHT, "v", 3 * (uint64_t)GIB);
  add_load(&func, 1, 0);
  add_load(&func, 2, 1);
  ibx_fit_add(&fit, &func);
  ibx_tile_func small = {.arena = arena, .name = "small"};
  add_buffer(&small, IBX_BUFFER_OUTPUT, "y", 64);
  ibx_fit_add(&fit, &small);
  return fit;
}

static void what_fits_is_fine(void **state) {
  (void)state;
  ibx_arena arena = {0};
  ibx_error err;
  ibx_diag_sink sink = {.arena = &arena};
  ibx_tables tables = {0};
  const ibx_machine *machine = ibx_machine_find("ibx3");
  uint64_t limit = (uint64_t)machine->hbm_mib << 20;
  ibx_fit fit = make_fit(&arena);
  assert_int_equal(fit.tensor_bytes, GIB);
  assert_int_equal(
      ibx_fit_check(&fit, machine, limit - GIB, &tables, &sink, &err), IBX_OK);
  assert_int_equal(sink.count, 0);
  assert_int_equal(
      ibx_fit_check(&fit, machine, limit - GIB + 1, &tables, &sink, &err),
      IBX_OUT_OF_CAPACITY);
  assert_int_equal(
      ibx_fit_check(&fit, machine, UINT64_MAX, &tables, &sink, &err),
      IBX_OUT_OF_CAPACITY);
  ibx_arena_reset(&arena);
}

static void who_reads_the_largest_constant_is_named(void **state) {
  (void)state;
  ibx_arena arena = {0};
  ibx_error err;
  ibx_diag_sink sink = {.arena = &arena};
  ibx_tables tables = {0};
  ibx_tables_add_source(&tables, &arena, "first", "MatMul");
  ibx_tables_add_source(&tables, &arena, "second", "Gemm");
  ibx_fit fit = make_fit(&arena);
  assert_int_equal(ibx_fit_check(&fit, ibx_machine_find("ibx3"),
                                 UINT64_C(64) * GIB, &tables, &sink, &err),
                   IBX_OUT_OF_CAPACITY);
  assert_int_equal(sink.error_count, 1);
  assert_string_equal(sink.items[0].code, "IBX4006");
  assert_string_equal(sink.items[0].node, "second");
  assert_string_equal(sink.items[0].op, "Gemm");
  assert_string_equal(sink.items[0].attribute, "v");
  assert_true(sink.items[0].remedy[0] != 0);
  ibx_arena_reset(&arena);
}

// A tile of PSUM at one of `places` offsets, and who makes it.
static void add_tile(ibx_tile_func *func, uint32_t index, uint32_t places) {
  uint32_t buffer = ibx_tile_add_buffer(
      func, (ibx_buffer_decl){.place = {.space = IBX_SPACE_PSUM,
                                        .partitions = 128,
                                        .offset = index % places * UINT64_C(64),
                                        .bytes = 64},
                              .name = "bank"});
  ibx_insn insn = ibx_insn_make(IBX_OP_memset);
  insn.operand[0].buffer = buffer;
  ibx_tile_add_op(func, &(ibx_tile_op){.insn = insn, .source = index == 65535});
}

static ibx_status fit_tiles(uint32_t count, uint32_t places,
                            ibx_diag_sink *sink) {
  ibx_tables tables = {0};
  ibx_tables_add_source(&tables, sink->arena, "first", "MatMul");
  ibx_tables_add_source(&tables, sink->arena, "second", "Gemm");
  ibx_tile_func func = {.arena = sink->arena, .name = "main"};
  for (uint32_t i = 0; i < count; i++)
    add_tile(&func, i, places);
  ibx_error err;
  return ibx_fit_buffers(&func, &tables, sink->arena, sink, &err);
}

static void buffers_that_are_alike_count_once(void **state) {
  (void)state;
  ibx_arena arena = {0};
  ibx_diag_sink sink = {.arena = &arena};
  assert_int_equal(fit_tiles(65535, 65535, &sink), IBX_OK);
  assert_int_equal(fit_tiles(200000, 8, &sink), IBX_OK);
  assert_int_equal(fit_tiles(200000, 65535, &sink), IBX_OK);
  assert_int_equal(sink.count, 0);
  assert_int_equal(fit_tiles(65536, 65536, &sink), IBX_OUT_OF_CAPACITY);
  assert_string_equal(sink.items[0].code, "IBX4009");
  assert_string_equal(sink.items[0].node, "second");
  ibx_arena_reset(&arena);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(what_fits_is_fine),
      cmocka_unit_test(who_reads_the_largest_constant_is_named),
      cmocka_unit_test(buffers_that_are_alike_count_once),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

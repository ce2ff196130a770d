// SPDX-License-Identifier: Apache-2.0
//
// The frame of the passes: lists of names, levels, printing, stopping,
// cancelling, and that MLIR holds the unit afterwards. What single passes do is
// shown by tests/lit/passes.

#include "passes/pass.h"
#include "support/graphs.h"

typedef struct world {
  ibx_arena arena, scratch;
  ibx_tables tables;
  ibx_ir *ir;
  ibx_unit unit;
  ibx_error err;
  ibx_pass_ctx ctx;
  // What the callbacks saw.
  size_t passes, texts, steps;
  uint64_t ops_after;
  bool stops;
} world;

static void on_pass(void *user, const ibx_pass_stats *stats) {
  world *w = user;
  w->passes++;
  w->ops_after = stats->ops_after;
  assert_true(stats->seconds >= 0);
}

static void on_text(void *user, const char *text, size_t len) {
  world *w = user;
  w->texts++;
  assert_int_equal(strlen(text), len);
  assert_non_null(strstr(text, "// after opt_dce\nmodule {"));
}

static bool on_progress(void *user, const char *step, double done) {
  world *w = user;
  w->steps++;
  assert_non_null(ibx_pass_find(step, strlen(step)));
  assert_true(done >= 0 && done < 1);
  return !w->stops;
}

static world *make_world(void) {
  uint64_t seed = 5;
  world *w = calloc(1, sizeof *w);
  assert_non_null(w);
  w->ir = ibx_ir_create();
  w->unit.graph = random_graph(&seed, &w->arena, &w->tables, 500);
  w->ctx = (ibx_pass_ctx){.machine = ibx_machine_find("ibx3"),
                          .options = {.level = 2},
                          .tables = &w->tables,
                          .arena = &w->arena,
                          .scratch = &w->scratch,
                          .err = &w->err};
  return w;
}

static void end(world *w) {
  ibx_ir_destroy(w->ir);
  ibx_arena_reset(&w->scratch);
  ibx_arena_reset(&w->arena);
  free(w);
}

static ibx_pipeline_options options_of(world *w, const char *passes) {
  return (ibx_pipeline_options){.passes = passes,
                                .on_text = on_text,
                                .on_progress = on_progress,
                                .on_pass = on_pass,
                                .user = w};
}

static void rows_are_found_by_name(void **state) {
  (void)state;
  const ibx_pass_info *pass;
  ibx_pass_kind level = IBX_PASS_KIND_GRAPH;
  for (size_t i = 0; (pass = ibx_pass_get(i)) != NULL; i++) {
    assert_ptr_equal(ibx_pass_find(pass->name, strlen(pass->name)), pass);
    assert_true(pass->sentence[0] != 0);
    assert_int_equal(pass->graph != NULL, pass->kind == IBX_PASS_KIND_GRAPH);
    assert_int_equal(pass->lower != NULL, pass->kind == IBX_PASS_KIND_LOWER);
    assert_int_equal(pass->tiles != NULL, pass->kind == IBX_PASS_KIND_TILES);
    // The table's own order is legal: kinds ascend.
    assert_true(pass->kind >= level);
    level = pass->kind;
  }
  assert_null(ibx_pass_find("opt_dc", 6));
}

static void lists_are_checked(void **state) {
  (void)state;
  ibx_error err = {.status = IBX_OK};
  ibx_pipeline_options options = {.passes = NULL};
  assert_int_equal(ibx_pipeline_check(&options, &err), IBX_OK);
  options.passes = "opt_dce,,opt_dce,";
  assert_int_equal(ibx_pipeline_check(&options, &err), IBX_OK);
  options.passes = "opt_dce,frobnicate";
  assert_int_equal(ibx_pipeline_check(&options, &err), IBX_INVALID_ARGUMENT);
  assert_non_null(strstr(err.message, "'frobnicate'"));
  options = (ibx_pipeline_options){.print_after = "x"};
  assert_int_equal(ibx_pipeline_check(&options, &err), IBX_INVALID_ARGUMENT);
  options = (ibx_pipeline_options){.stop_after = "opt_dce2"};
  assert_int_equal(ibx_pipeline_check(&options, &err), IBX_INVALID_ARGUMENT);
  options = (ibx_pipeline_options){.passes = "opt_dce,place"};
  assert_int_equal(ibx_pipeline_check(&options, &err), IBX_INVALID_ARGUMENT);
  assert_non_null(strstr(err.message, "'place' works at level 2"));
}

static void mlir_holds_the_unit_afterwards(void **state) {
  (void)state;
  for (int verify = 0; verify < 2; verify++) {
    world *w = make_world();
    ibx_pipeline_options options = options_of(w, "opt_dce,opt_dce");
    options.verify = verify != 0;
    options.print_after = "opt_dce";
    assert_int_equal(ibx_pipeline_run(&w->ctx, &options, w->ir, &w->unit),
                     IBX_OK);
    assert_int_equal(w->passes, 2);
    assert_int_equal(w->texts, 2);
    assert_int_equal(w->steps, 2);
    assert_int_equal(w->ops_after, w->unit.graph.node_count);
    ibx_graph back;
    assert_int_equal(ibx_graph_read(w->ir, w->unit.graph.name, &w->tables,
                                    &w->arena, &back, &w->err),
                     IBX_OK);
    assert_graphs_equal(&w->unit.graph, &back);
    end(w);
  }
}

static void an_empty_list_changes_nothing(void **state) {
  (void)state;
  world *w = make_world();
  size_t nodes = w->unit.graph.node_count;
  ibx_pipeline_options options = options_of(w, "");
  assert_int_equal(ibx_pipeline_run(&w->ctx, &options, w->ir, &w->unit),
                   IBX_OK);
  assert_int_equal(w->passes, 0);
  assert_int_equal(w->unit.graph.node_count, nodes);
  end(w);
}

static void it_stops_where_told(void **state) {
  (void)state;
  world *w = make_world();
  ibx_pipeline_options options = options_of(w, NULL);
  options.stop_after = ibx_pass_get(0)->name;
  assert_int_equal(ibx_pipeline_run(&w->ctx, &options, w->ir, &w->unit),
                   IBX_OK);
  assert_int_equal(w->passes, 1);
  assert_false(w->unit.is_tiles);
  w->stops = true;
  assert_int_equal(ibx_pipeline_run(&w->ctx, &options, w->ir, &w->unit),
                   IBX_CANCELLED);
  assert_int_equal(w->passes, 1);
  end(w);
}

static void a_pass_of_the_other_level_is_refused(void **state) {
  (void)state;
  world *w = make_world();
  ibx_pipeline_options options = options_of(w, "opt_dce");
  w->unit.is_tiles = true;
  assert_int_equal(ibx_pipeline_run(&w->ctx, &options, w->ir, &w->unit),
                   IBX_INVALID_ARGUMENT);
  assert_int_equal(w->passes, 0);
  end(w);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(rows_are_found_by_name),
      cmocka_unit_test(lists_are_checked),
      cmocka_unit_test(mlir_holds_the_unit_afterwards),
      cmocka_unit_test(an_empty_list_changes_nothing),
      cmocka_unit_test(it_stops_where_told),
      cmocka_unit_test(a_pass_of_the_other_level_is_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

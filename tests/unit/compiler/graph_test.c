// SPDX-License-Identifier: Apache-2.0
//
// Graphs as flat arrays: uses, compaction, and what the checker refuses.

#include "ir/context.h"
#include "support/graphs.h"

enum { ROUNDS = 60, TRIES = 1500 };

typedef struct world {
  ibx_arena arena;
  ibx_tables tables;
} world;

static void end(world *w) { ibx_arena_reset(&w->arena); }

static void uses_are_those_of_a_search(void **state) {
  (void)state;
  uint64_t seed = 1;
  for (int round = 0; round < ROUNDS; round++) {
    world w = {.arena = {.last = NULL}};
    ibx_graph graph = random_graph(&seed, &w.arena, &w.tables, TRIES);
    ibx_uses uses = ibx_graph_uses(&graph, &w.arena);
    for (uint32_t v = 0; v < graph.value_count; v++) {
      uint32_t next = uses.first[v];
      for (uint32_t i = 0; i < graph.node_count; i++) {
        for (size_t k = 0; k < graph.nodes[i].operand_count; k++) {
          if (graph.nodes[i].operand[k] != v) continue;
          assert_int_equal(uses.users[next++], i);
        }
      }
      assert_int_equal(next, uses.first[v + 1]);
      bool is_output = false;
      for (size_t i = 0; i < graph.output_count; i++) {
        is_output |= graph.outputs[i].value == v;
      }
      assert_int_equal(uses.is_output[v], is_output);
    }
    end(&w);
  }
}

// A text of what a value computes, with the row of its node.
static const char *meaning(const ibx_graph *graph, uint32_t value,
                           ibx_arena *arena, int depth) {
  uint32_t index = graph->values[value].node;
  if (index == IBX_NO_VALUE) {
    return ibx_arena_format(arena, "in%u", graph->values[value].input);
  }
  const ibx_node *node = &graph->nodes[index];
  const char *text =
      ibx_arena_format(arena, "%s:%u:%lld(", ibx_tensor_op_get(node->op)->name,
                       node->source, (long long)node->params.weight);
  for (size_t i = 0; i < node->operand_count && depth > 0; i++) {
    text = ibx_arena_format(arena, "%s%s,", text,
                            meaning(graph, node->operand[i], arena, depth - 1));
  }
  return text;
}

static void compaction_keeps_what_outputs_mean(void **state) {
  (void)state;
  uint64_t seed = 2;
  for (int round = 0; round < ROUNDS; round++) {
    world w = {.arena = {.last = NULL}};
    ibx_error err = {.status = IBX_OK};
    ibx_graph graph = random_graph(&seed, &w.arena, &w.tables, TRIES);
    size_t before = graph.node_count;
    const char *meanings[4];
    for (size_t i = 0; i < graph.output_count; i++) {
      meanings[i] = meaning(&graph, graph.outputs[i].value, &w.arena, 4);
    }
    ibx_graph_compact(&graph);
    assert_int_equal(ibx_graph_check(&graph, &err), IBX_OK);
    assert_true(graph.node_count <= before);
    for (size_t i = 0; i < graph.output_count; i++) {
      assert_string_equal(meaning(&graph, graph.outputs[i].value, &w.arena, 4),
                          meanings[i]);
    }
    // All that is left is needed, in canonical numbers.
    ibx_uses uses = ibx_graph_uses(&graph, &w.arena);
    for (uint32_t i = 0; i < graph.node_count; i++) {
      uint32_t value = graph.nodes[i].result;
      assert_int_equal(value, graph.input_count + i);
      assert_true(uses.first[value] < uses.first[value + 1] ||
                  uses.is_output[value]);
    }
    ibx_graph once = graph;
    once.nodes = IBX_ARENA_ARRAY(&w.arena, graph.node_count, ibx_node);
    once.values = IBX_ARENA_ARRAY(&w.arena, graph.value_count, ibx_value);
    memcpy(once.nodes, graph.nodes, graph.node_count * sizeof *once.nodes);
    memcpy(once.values, graph.values, graph.value_count * sizeof *once.values);
    ibx_graph_compact(&graph);
    assert_graphs_equal(&once, &graph);
    end(&w);
  }
}

// What a pass does: appends a node and makes earlier ones read it.
static void compaction_restores_program_order(void **state) {
  (void)state;
  uint64_t seed = 3;
  for (int round = 0; round < ROUNDS; round++) {
    world w = {.arena = {.last = NULL}};
    ibx_error err = {.status = IBX_OK};
    ibx_graph graph = random_graph(&seed, &w.arena, &w.tables, TRIES);
    for (int change = 0; change < 10; change++) {
      uint32_t old = (uint32_t)random_below(&seed, graph.value_count), new;
      size_t nodes = graph.node_count;
      ibx_type type = graph.values[old].type;
      ibx_params params = {.shape.len = type.rank};
      memcpy(params.shape.at, type.dims, sizeof type.dims);
      assert_int_equal(ibx_graph_add(&graph, IBX_TENSOR_reshape, &params, &old,
                                     1, 0, &new, &err),
                       IBX_OK);
      for (size_t i = 0; i < nodes; i++) {
        for (size_t k = 0; k < graph.nodes[i].operand_count; k++) {
          if (graph.nodes[i].operand[k] == old) graph.nodes[i].operand[k] = new;
        }
      }
    }
    ibx_graph_compact(&graph);
    if (ibx_graph_check(&graph, &err) != IBX_OK) fail_msg("%s", err.message);
    end(&w);
  }
}

static void compaction_ends_on_a_cycle(void **state) {
  (void)state;
  world w = {.arena = {.last = NULL}};
  ibx_error err = {.status = IBX_OK};
  uint32_t source = ibx_tables_add_source(&w.tables, &w.arena, "n", "Relu");
  ibx_type type = {.dtype = IBX_DTYPE_F32};
  ibx_graph graph = {.arena = &w.arena, .tables = &w.tables, .name = "f"};
  ibx_port port = {.name = "x", .type = type, .state = -1};
  ibx_port out = port;
  port.value = ibx_graph_add_input(&graph, type, 0);
  ibx_params params = {.axis = 0};
  uint32_t a = 0, b = 0;
  assert_int_equal(ibx_graph_add(&graph, IBX_TENSOR_relu, &params, &port.value,
                                 1, source, &a, &err),
                   IBX_OK);
  assert_int_equal(
      ibx_graph_add(&graph, IBX_TENSOR_exp, &params, &a, 1, source, &b, &err),
      IBX_OK);
  graph.nodes[0].operand[0] = b;
  out.value = b;
  graph.inputs = &port;
  graph.outputs = &out;
  graph.input_count = graph.output_count = 1;
  ibx_graph_compact(&graph);
  assert_int_equal(ibx_graph_check(&graph, &err), IBX_INTERNAL);
  assert_non_null(strstr(err.message, "is not made before"));
  end(&w);
}

static void a_failed_addition_adds_nothing(void **state) {
  (void)state;
  uint64_t seed = 4;
  world w = {.arena = {.last = NULL}};
  ibx_error err = {.status = IBX_OK};
  ibx_graph graph = random_graph(&seed, &w.arena, &w.tables, 50);
  size_t nodes = graph.node_count, values = graph.value_count;
  ibx_params params = {.axis = 0};
  uint32_t operands[9] = {0}, value;
  assert_int_equal(ibx_graph_add(&graph, IBX_TENSOR_concat, &params, operands,
                                 9, 0, &value, &err),
                   IBX_MISMATCH);
  operands[0] = (uint32_t)values;
  assert_int_equal(ibx_graph_add(&graph, IBX_TENSOR_relu, &params, operands, 1,
                                 0, &value, &err),
                   IBX_INTERNAL);
  assert_int_equal(graph.node_count, nodes);
  assert_int_equal(graph.value_count, values);
  end(&w);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(uses_are_those_of_a_search),
      cmocka_unit_test(compaction_keeps_what_outputs_mean),
      cmocka_unit_test(compaction_restores_program_order),
      cmocka_unit_test(compaction_ends_on_a_cycle),
      cmocka_unit_test(a_failed_addition_adds_nothing),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_TEST_GRAPHS_H
#define IBX_TEST_GRAPHS_H

/// \file
/// Random graphs and their equality. Operations, parameters and operands are
/// drawn at random; what inference accepts stays.

#include "ir/ir.h"
#include "support/tensors.h"

static inline const char *random_word(uint64_t *seed, ibx_arena *arena) {
  static const char letters[] = "abz09_./:-\"\\ \xc3\xa4";
  char word[12];
  size_t len = random_below(seed, sizeof word);
  for (size_t i = 0; i < len; i++) {
    word[i] = letters[random_below(seed, sizeof letters - 3)];
  }
  return ibx_arena_text(arena, word, len);
}

static inline void random_param(uint64_t *seed, const ibx_param_info *param,
                                const ibx_type *like, ibx_params *out) {
  void *at = (char *)out + param->offset;
  switch (param->kind) {
  case IBX_PARAM_KIND_INT:
    *(int64_t *)at = (int64_t)random_below(seed, 2);
    return;
  case IBX_PARAM_KIND_FLOAT:
    *(float *)at = (float)random_real(seed, -3, 3);
    return;
  case IBX_PARAM_KIND_DTYPE:
    *(ibx_dtype *)at = (ibx_dtype)(1 + random_below(seed, IBX_DTYPE_BOOL));
    return;
  case IBX_PARAM_KIND_INTS: break;
  }
  ibx_ints *list = at;
  list->len = like->rank;
  if (random_below(seed, 4) == 0) list->len = (uint8_t)random_below(seed, 4);
  bool is_like = random_below(seed, 2) == 0;
  for (size_t i = 0; i < list->len; i++) {
    list->at[i] = is_like && i < like->rank ? like->dims[i]
                                            : (int64_t)random_below(seed, 4);
  }
}

static inline void add_random_constant(uint64_t *seed, ibx_graph *graph) {
  ibx_dtype dtype = (ibx_dtype)(1 + random_below(seed, IBX_DTYPE_BOOL));
  ibx_type type = random_type(seed, dtype, 0, 4, 3);
  int64_t bytes;
  assert_true(ibx_type_bytes(&type, &bytes));
  uint8_t *data = ibx_arena_alloc(graph->arena, (size_t)bytes);
  for (int64_t i = 0; i < bytes; i++) {
    uint8_t byte = (uint8_t)(next_random(seed) >> 13 & 0xff);
    data[i] = dtype == IBX_DTYPE_BOOL ? byte & 1 : byte;
  }
  ibx_weight weight = {.type = type, .data = data};
  if (random_below(seed, 2)) weight.name = random_word(seed, graph->arena);
  uint32_t row = ibx_tables_add_weight(graph->tables, graph->arena, weight);
  uint32_t value = ibx_graph_add_constant(
      graph, row, (uint32_t)random_below(seed, graph->tables->source_count));
  if (dtype != IBX_DTYPE_F32 || random_below(seed, 2)) return;
  // A constant may be narrower than its row.
  graph->values[value].type.dtype = IBX_DTYPE_BF16;
  graph->nodes[graph->node_count - 1].params.dtype = IBX_DTYPE_BF16;
}

static inline void decide(uint64_t *seed, ibx_graph *graph) {
  ibx_decisions *decided = &graph->nodes[graph->node_count - 1].decided;
  const char **texts[] = {&decided->layout, &decided->tile, &decided->engine,
                          &decided->place};
  for (size_t i = 0; i < IBX_COUNT_OF(texts); i++) {
    if (random_below(seed, 3)) continue;
    *texts[i] = random_word(seed, graph->arena);
  }
  if (random_below(seed, 2)) decided->group = (int64_t)random_below(seed, 9);
}

/// Tries one operation; most tries fail.
static inline void try_random_node(uint64_t *seed, ibx_graph *graph) {
  ibx_tensor_op op =
      (ibx_tensor_op)(1 + random_below(seed, IBX_TENSOR_OP_COUNT - 1));
  const ibx_tensor_op_info *info = ibx_tensor_op_get(op);
  uint32_t operands[8], value;
  size_t count =
      info->least + random_below(seed, (size_t)(info->most - info->least) + 1);
  for (size_t i = 0; i < count; i++) {
    operands[i] = (uint32_t)random_below(seed, graph->value_count);
    if (i > 0 && random_below(seed, 2)) operands[i] = operands[0];
  }
  ibx_params params = {.axis = 0};
  const ibx_type *like = &graph->values[operands[0]].type;
  for (size_t i = 0; ibx_param_get(i); i++) {
    random_param(seed, ibx_param_get(i), like, &params);
  }
  uint32_t source = (uint32_t)random_below(seed, graph->tables->source_count);
  if (ibx_graph_add(graph, op, &params, operands, count, source, &value,
                    NULL) != IBX_OK) {
    return;
  }
  // Extents that multiply without end are of no use.
  if (count_of(&graph->values[value].type) > 4096) {
    graph->node_count--;
    graph->value_count--;
    return;
  }
  decide(seed, graph);
}

static inline void random_ports(uint64_t *seed, ibx_graph *graph) {
  graph->output_count = 1 + random_below(seed, 4);
  graph->outputs = IBX_ARENA_ARRAY(graph->arena, graph->output_count, ibx_port);
  for (size_t i = 0; i < graph->output_count; i++) {
    uint32_t value = (uint32_t)(graph->value_count - 1 -
                                random_below(seed, graph->value_count));
    graph->outputs[i] = (ibx_port){.name = random_word(seed, graph->arena),
                                   .value = value,
                                   .type = graph->values[value].type,
                                   .state = -1};
  }
  if (graph->input_count > 0 && random_below(seed, 2)) {
    size_t past = random_below(seed, graph->input_count);
    size_t present = random_below(seed, graph->output_count);
    graph->inputs[past].state = (int32_t)present;
    graph->outputs[present].state = (int32_t)past;
    graph->inputs[past].type.dtype = IBX_DTYPE_I64;
  }
}

static inline ibx_graph random_graph(uint64_t *seed, ibx_arena *arena,
                                     ibx_tables *tables, size_t tries) {
  ibx_graph graph = {.arena = arena,
                     .tables = tables,
                     .name = random_below(seed, 2) ? "main" : "x \"y\""};
  for (size_t i = 0; i < 5; i++) {
    ibx_tables_add_source(tables, arena, random_word(seed, arena),
                          i % 2 ? "MatMul" : "Add");
  }
  graph.input_count = random_below(seed, 4);
  graph.inputs = IBX_ARENA_ARRAY(arena, graph.input_count, ibx_port);
  for (size_t i = 0; i < graph.input_count; i++) {
    ibx_dtype dtype = (ibx_dtype)(1 + random_below(seed, IBX_DTYPE_BOOL));
    ibx_type type = random_type(seed, dtype, 0, 4, 4);
    graph.inputs[i] =
        (ibx_port){.name = random_word(seed, arena),
                   .value = ibx_graph_add_input(&graph, type, (uint32_t)i),
                   .type = type,
                   .state = -1};
  }
  add_random_constant(seed, &graph);
  for (size_t i = 0; i < tries; i++) {
    if (random_below(seed, 40) == 0) add_random_constant(seed, &graph);
    try_random_node(seed, &graph);
  }
  random_ports(seed, &graph);
  return graph;
}

// --- equality ---

static inline void assert_texts_equal(const char *a, const char *b) {
  assert_int_equal(a != NULL, b != NULL);
  if (a) assert_string_equal(a, b);
}

static inline void assert_types_equal(const ibx_type *a, const ibx_type *b) {
  assert_int_equal(a->rank, b->rank);
  assert_int_equal(a->dtype, b->dtype);
  for (size_t i = 0; i < a->rank; i++) {
    assert_int_equal(a->dims[i], b->dims[i]);
  }
}

static inline void assert_param_equal(const ibx_param_info *param,
                                      const ibx_params *a,
                                      const ibx_params *b) {
  const void *x = (const char *)a + param->offset;
  const void *y = (const char *)b + param->offset;
  switch (param->kind) {
  case IBX_PARAM_KIND_INT: assert_memory_equal(x, y, sizeof(int64_t)); return;
  case IBX_PARAM_KIND_FLOAT: assert_memory_equal(x, y, sizeof(float)); return;
  case IBX_PARAM_KIND_DTYPE:
    assert_int_equal(*(const ibx_dtype *)x, *(const ibx_dtype *)y);
    return;
  case IBX_PARAM_KIND_INTS: break;
  }
  const ibx_ints *p = x, *q = y;
  assert_int_equal(p->len, q->len);
  for (size_t i = 0; i < p->len; i++)
    assert_int_equal(p->at[i], q->at[i]);
}

static inline void assert_nodes_equal(const ibx_node *a, const ibx_node *b) {
  assert_int_equal(a->op, b->op);
  assert_int_equal(a->operand_count, b->operand_count);
  assert_int_equal(a->result, b->result);
  assert_int_equal(a->source, b->source);
  for (size_t i = 0; i < a->operand_count; i++) {
    assert_int_equal(a->operand[i], b->operand[i]);
  }
  for (size_t i = 0; ibx_param_get(i); i++) {
    if (!ibx_tensor_op_has_param(a->op, i)) continue;
    assert_param_equal(ibx_param_get(i), &a->params, &b->params);
  }
  assert_texts_equal(a->decided.layout, b->decided.layout);
  assert_texts_equal(a->decided.tile, b->decided.tile);
  assert_texts_equal(a->decided.engine, b->decided.engine);
  assert_texts_equal(a->decided.place, b->decided.place);
  assert_int_equal(a->decided.group, b->decided.group);
}

static inline void assert_ports_equal(const ibx_port *a, const ibx_port *b,
                                      size_t count) {
  for (size_t i = 0; i < count; i++) {
    assert_string_equal(a[i].name, b[i].name);
    assert_int_equal(a[i].value, b[i].value);
    assert_int_equal(a[i].state, b[i].state);
    assert_types_equal(&a[i].type, &b[i].type);
  }
}

static inline void assert_graphs_equal(const ibx_graph *a, const ibx_graph *b) {
  assert_string_equal(a->name, b->name);
  assert_int_equal(a->node_count, b->node_count);
  assert_int_equal(a->value_count, b->value_count);
  assert_int_equal(a->input_count, b->input_count);
  assert_int_equal(a->output_count, b->output_count);
  for (size_t i = 0; i < a->node_count; i++) {
    assert_nodes_equal(&a->nodes[i], &b->nodes[i]);
  }
  for (size_t i = 0; i < a->value_count; i++) {
    assert_types_equal(&a->values[i].type, &b->values[i].type);
    assert_int_equal(a->values[i].node, b->values[i].node);
    assert_int_equal(a->values[i].input, b->values[i].input);
  }
  assert_ports_equal(a->inputs, b->inputs, a->input_count);
  assert_ports_equal(a->outputs, b->outputs, a->output_count);
}

#endif

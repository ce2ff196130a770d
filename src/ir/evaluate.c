// SPDX-License-Identifier: Apache-2.0
//
// Runs a graph node by node. Comes in: a graph and its inputs. Goes out: its
// outputs, in the caller's arena. Holds afterwards: everything else is freed;
// constants were read where they lie.

#include "ir/evaluate.h"

#include <stdlib.h>
#include <string.h>

typedef struct evaluator {
  const ibx_graph *graph;
  ibx_tensor *values; // of each value; data NULL while there are none
  uint32_t *users;    // of each value: how many reads are still to come
  bool *is_owned;     // of each value: its data were allocated here
} evaluator;

static bool same_type(const ibx_type *a, const ibx_type *b) {
  bool same = a->rank == b->rank && a->dtype == b->dtype;
  for (uint8_t i = 0; same && i < a->rank; i++)
    same = a->dims[i] == b->dims[i];
  return same;
}

// Allocates at least one byte, so that NULL always means exhaustion.
static void *allocate(size_t count, size_t size) {
  return calloc(count == 0 ? 1 : count, size);
}

// Operands are only read, although a tensor's data are not const.
static void *lend(const void *data) {
  union {
    const void *from;
    void *to;
  } pointer = {.from = data};
  return pointer.to;
}

static void drop(evaluator *e, uint32_t value) {
  if (!e->is_owned[value]) return;
  free(e->values[value].data);
  e->is_owned[value] = false;
}

static ibx_status prepare(evaluator *e, const ibx_tensor *inputs,
                          ibx_error *err) {
  const ibx_graph *graph = e->graph;
  for (size_t n = 0; n < graph->node_count; n++) {
    const ibx_node *node = &graph->nodes[n];
    for (uint32_t i = 0; i < node->operand_count; i++) {
      e->users[node->operand[i]]++;
    }
  }
  for (size_t i = 0; i < graph->output_count; i++) {
    e->users[graph->outputs[i].value]++;
  }
  for (size_t i = 0; i < graph->input_count; i++) {
    uint32_t value = graph->inputs[i].value;
    if (!same_type(&graph->values[value].type, &inputs[i].type)) {
      return IBX_FAIL(err, MISMATCH, "input '%s' has another type or shape",
                      graph->inputs[i].name);
    }
    e->values[value] = inputs[i];
  }
  return IBX_OK;
}

static ibx_status make_result(evaluator *e, const ibx_node *node,
                              ibx_error *err) {
  ibx_tensor *result = &e->values[node->result];
  int64_t bytes = 0;
  result->type = e->graph->values[node->result].type;
  if (ibx_type_bytes(&result->type, &bytes)) {
    result->data = allocate((size_t)bytes, 1);
  }
  if (!result->data) {
    return IBX_FAIL(err, OUT_OF_MEMORY, "no memory for a tensor");
  }
  e->is_owned[node->result] = true;
  return IBX_OK;
}

static ibx_status run_node(evaluator *e, const ibx_node *node, ibx_error *err) {
  const ibx_weight *weight = ibx_graph_constant(e->graph, node->result);
  if (weight) {
    e->values[node->result] =
        (ibx_tensor){.type = weight->type, .data = lend(weight->data)};
    return IBX_OK;
  }
  ibx_tensor operands[IBX_NODE_OPERANDS];
  for (uint32_t i = 0; i < node->operand_count; i++) {
    operands[i] = e->values[node->operand[i]];
  }
  IBX_TRY(make_result(e, node, err));
  ibx_error inner = {0};
  ibx_status status =
      ibx_tensor_eval(node->op, &node->params, operands, node->operand_count,
                      &e->values[node->result], &inner);
  if (status == IBX_OK) return IBX_OK;
  return ibx_error_set(err, status, __FILE__, __LINE__, "%s: %.180s",
                       e->graph->tables->sources[node->source].name,
                       inner.message);
}

static ibx_status run_nodes(evaluator *e, ibx_eval_fn on_node, void *user,
                            ibx_error *err) {
  const ibx_graph *graph = e->graph;
  for (uint32_t n = 0; n < graph->node_count; n++) {
    const ibx_node *node = &graph->nodes[n];
    IBX_TRY(run_node(e, node, err));
    if (on_node && !on_node(user, graph, n, &e->values[node->result])) {
      return IBX_FAIL(err, CANCELLED, "the evaluation was stopped");
    }
    for (uint32_t i = 0; i < node->operand_count; i++) {
      if (--e->users[node->operand[i]] == 0) drop(e, node->operand[i]);
    }
    if (e->users[node->result] == 0) drop(e, node->result);
  }
  return IBX_OK;
}

static void copy_outputs(const evaluator *e, ibx_tensor *outputs,
                         ibx_arena *arena) {
  for (size_t i = 0; i < e->graph->output_count; i++) {
    const ibx_tensor *value = &e->values[e->graph->outputs[i].value];
    int64_t bytes = 0;
    outputs[i].type = value->type;
    if (!ibx_type_bytes(&value->type, &bytes)) continue; // was computed: fits
    outputs[i].data = ibx_arena_alloc(arena, (size_t)bytes);
    if (bytes != 0) memcpy(outputs[i].data, value->data, (size_t)bytes);
  }
}

ibx_status ibx_graph_eval(const ibx_graph *graph, const ibx_tensor *inputs,
                          ibx_tensor *outputs, ibx_arena *arena,
                          ibx_eval_fn on_node, void *user, ibx_error *err) {
  evaluator e = {.graph = graph};
  ibx_status status = IBX_OK;
  e.values = allocate(graph->value_count, sizeof(*e.values));
  e.users = allocate(graph->value_count, sizeof(*e.users));
  e.is_owned = allocate(graph->value_count, sizeof(*e.is_owned));
  if (!e.values || !e.users || !e.is_owned) {
    status = IBX_FAIL(err, OUT_OF_MEMORY, "no memory for an evaluation");
    goto done;
  }
  status = prepare(&e, inputs, err);
  if (status == IBX_OK) status = run_nodes(&e, on_node, user, err);
  if (status == IBX_OK) copy_outputs(&e, outputs, arena);
done:
  for (size_t i = 0; e.is_owned && e.values && i < graph->value_count; i++) {
    drop(&e, (uint32_t)i);
  }
  free(e.values);
  free(e.users);
  free(e.is_owned);
  return status;
}

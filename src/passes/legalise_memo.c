// SPDX-License-Identifier: Apache-2.0
//
// What legalise has found out of products of integers, for its next run on the
// same model: bounds are taken of the graph as it was imported, and the program is
// made of the optimised one. Comes in: a contraction. Goes out: a key of all that
// its parts depend on, and the parts that were noted under it.

#include "passes/legalise.h"

#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

enum { KEY_DEPTH = 8 }; // operations between a value and its constants

static uint64_t mix(uint64_t key, const void *data, size_t bytes) {
  return XXH3_64bits_withSeed(data, bytes, key);
}

// A constant is the one that is stored at its address.
static uint64_t mix_value(const ibx_graph *graph, uint32_t value, int depth,
                          uint64_t key) {
  const ibx_weight *weight = ibx_graph_constant(graph, value);
  const ibx_node *node = ibx_graph_maker(graph, value);
  const ibx_type *type = &graph->values[value].type;
  key = mix(key, type->dims, type->rank * sizeof(*type->dims));
  key = mix(key, &type->dtype, sizeof(type->dtype));
  if (weight) return mix(key, &weight->data, sizeof(weight->data));
  if (!node || depth == 0) return mix(key, &value, sizeof(value));
  key = mix(key, &node->op, sizeof(node->op));
  key = mix(key, &node->params, sizeof(node->params));
  for (uint32_t i = 0; i < node->operand_count; i++)
    key = mix_value(graph, node->operand[i], depth - 1, key);
  return key;
}

uint64_t ibx_parts_key(const ibx_graph *graph, const ibx_node *node,
                       uint8_t axis, const ibx_range *ranges) {
  double sizes[] = {ibx_range_magnitude(ranges[node->operand[0]]),
                    ibx_range_magnitude(ranges[node->operand[1]])};
  int64_t form[] = {node->op, axis, node->params.groups};
  uint64_t key = mix(mix(0, form, sizeof form), sizes, sizeof sizes);
  return mix_value(graph, node->operand[1], KEY_DEPTH, key);
}

// The products of a model come in the same order each time.
const ibx_parts *ibx_parts_recall(ibx_parts_memo *memo, uint64_t key) {
  for (size_t i = 0; memo && i < memo->count; i++) {
    size_t at = (memo->next + i) % memo->count;
    if (memo->key[at] != key) continue;
    memo->next = at + 1;
    return memo->parts[at];
  }
  return NULL;
}

void ibx_parts_note(ibx_parts_memo *memo, uint64_t key,
                    const ibx_parts *parts) {
  if (!memo || memo->count == IBX_PARTS_NOTED) return;
  ibx_parts *copy = IBX_ARENA_NEW(memo->arena, ibx_parts);
  *copy = *parts;
  memo->key[memo->count] = key;
  memo->parts[memo->count++] = copy;
}

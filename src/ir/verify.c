// SPDX-License-Identifier: Apache-2.0
//
// The relations of the IR that IRDL cannot express. Comes in: the flat form of
// a function, from a pass or from text. After success: every operand is a value
// that was made before, every result has the type that inference gives, and at
// level 2 every access lies inside of its buffer.

#include "ir/context.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

// --- level 1 ---

typedef struct place {
  const char *function;
  const char *node; ///< "conv1 (Conv)"
  const char *op;
  ibx_error *err;
} place;

#define FAIL(at, ...) fail((at), __LINE__, __VA_ARGS__)

static ibx_status fail(const place *at, int line, const char *format, ...)
    IBX_PRINTF(3, 4);

static ibx_status fail(const place *at, int line, const char *format, ...) {
  char reason[IBX_ERROR_MESSAGE_BYTES];
  va_list args;
  va_start(args, format);
  vsnprintf(reason, sizeof reason, format, args);
  va_end(args);
  return ibx_error_set(at->err, IBX_INTERNAL, __FILE__, line,
                       "@%s: %s of node '%s': %s", at->function, at->op,
                       at->node, reason);
}

static const char *source_name(const ibx_tables *tables, uint32_t source) {
  return source < tables->source_count ? tables->sources[source].name : "";
}

// The values that exist before node `index`: inputs and earlier results.
static bool is_ready(const ibx_graph *graph, uint32_t value, size_t index) {
  if (value >= graph->value_count) return false;
  uint32_t node = graph->values[value].node;
  return node == IBX_NO_VALUE ? graph->values[value].input < graph->input_count
                              : node < index;
}

static bool is_float(ibx_dtype dtype) {
  const ibx_dtype_info *info = ibx_dtype_get(dtype);
  return info && info->kind == IBX_DTYPE_KIND_FLOAT;
}

// --auto-cast gives a constant a narrower type than its row: the row's data are
// converted when they are packed, once for all of their users.
static bool types_fit(const ibx_type *row, const ibx_type *value) {
  ibx_type same = *row;
  if (is_float(row->dtype) && is_float(value->dtype)) same.dtype = value->dtype;
  return ibx_types_equal(&same, value);
}

static ibx_status check_constant(const ibx_graph *graph, const ibx_node *node,
                                 const place *at) {
  int64_t row = node->params.weight;
  if (row < 0 || (uint64_t)row >= graph->tables->weight_count) {
    return FAIL(at, "weight %" PRId64 " is no row of the %zu", row,
                graph->tables->weight_count);
  }
  if (!types_fit(&graph->tables->weights[row].type,
                 &graph->values[node->result].type)) {
    return FAIL(at, "weight %" PRId64 " has another type", row);
  }
  return IBX_OK;
}

static ibx_status check_node(const ibx_graph *graph, size_t index,
                             const place *at) {
  const ibx_node *node = &graph->nodes[index];
  ibx_type types[IBX_NODE_OPERANDS], type;
  if (node->operand_count > IBX_NODE_OPERANDS) {
    return FAIL(at, "%u operands", node->operand_count);
  }
  for (size_t i = 0; i < node->operand_count; i++) {
    if (!is_ready(graph, node->operand[i], index)) {
      return FAIL(at, "operand %zu is not made before", i);
    }
    types[i] = graph->values[node->operand[i]].type;
  }
  if (node->result >= graph->value_count ||
      graph->values[node->result].node != index) {
    return FAIL(at, "its result is the value of another");
  }
  ibx_error why = {.status = IBX_OK};
  if (ibx_tensor_infer(node->op, &node->params, types, node->operand_count,
                       &type, &why) != IBX_OK) {
    return FAIL(at, "%s", why.message);
  }
  if (!ibx_types_equal(&type, &graph->values[node->result].type)) {
    return FAIL(at, "its result has another type than inference gives");
  }
  if (node->op != IBX_TENSOR_constant) return IBX_OK;
  return check_constant(graph, node, at);
}

static ibx_status check_ports(const ibx_graph *graph, const ibx_port *ports,
                              size_t count, const ibx_port *others,
                              size_t other_count, ibx_error *err) {
  for (size_t i = 0; i < count; i++) {
    if (!is_ready(graph, ports[i].value, graph->node_count)) {
      return IBX_FAIL(err, INTERNAL, "@%s: port '%s' has no value", graph->name,
                      ports[i].name);
    }
    int32_t state = ports[i].state;
    if (state < 0) continue;
    if ((size_t)state >= other_count || others[state].state != (int32_t)i) {
      return IBX_FAIL(err, INTERNAL,
                      "@%s: the state of port '%s' has no counterpart",
                      graph->name, ports[i].name);
    }
  }
  return IBX_OK;
}

ibx_status ibx_graph_check(const ibx_graph *graph, ibx_error *err) {
  for (size_t i = 0; i < graph->input_count; i++) {
    uint32_t value = graph->inputs[i].value;
    if (value >= graph->value_count ||
        graph->values[value].node != IBX_NO_VALUE ||
        graph->values[value].input != i) {
      return IBX_FAIL(err, INTERNAL, "@%s: input %zu has no value", graph->name,
                      i);
    }
  }
  for (size_t i = 0; i < graph->node_count; i++) {
    const ibx_node *node = &graph->nodes[i];
    const ibx_tensor_op_info *info = ibx_tensor_op_get(node->op);
    place at = {.function = graph->name,
                .node = source_name(graph->tables, node->source),
                .op = info ? info->name : "no operation",
                .err = err};
    IBX_TRY(check_node(graph, i, &at));
  }
  IBX_TRY(check_ports(graph, graph->inputs, graph->input_count, graph->outputs,
                      graph->output_count, err));
  return check_ports(graph, graph->outputs, graph->output_count, graph->inputs,
                     graph->input_count, err);
}

// --- level 2: what an operand touches ---

// Of its buffer: bytes low .. high - 1 of partitions first .. last - 1.
typedef struct reach {
  int64_t low, high;
  int64_t first, last;
} reach;

static void walk(reach *r, uint32_t count, int64_t byte_step,
                 int64_t partition_step) {
  int64_t steps = count == 0 ? 0 : (int64_t)count - 1;
  int64_t bytes = byte_step * steps, partitions = partition_step * steps;
  if (bytes < 0) r->low += bytes;
  if (bytes > 0) r->high += bytes;
  if (partitions < 0) r->first += partitions;
  if (partitions > 0) r->last += partitions;
}

static reach reach_of(const ibx_insn *insn, size_t slot) {
  const ibx_operand *operand = &insn->operand[slot];
  ibx_operand_shape shape = ibx_insn_shape(insn, slot);
  int64_t bytes = (int64_t)ibx_dtype_bytes((ibx_dtype)operand->dtype);
  if (bytes == 0) bytes = sizeof(float); // [P,1] operands
  reach r = {.low = (int64_t)operand->offset,
             .high = (int64_t)operand->offset + bytes,
             .first = operand->partition,
             .last = operand->partition + 1};
  walk(&r, shape.partitions, 0, 1);
  walk(&r, shape.groups, 0, shape.group_step);
  for (size_t d = 0; d < IBX_DIMS; d++) {
    walk(&r, shape.num[d], operand->step[d] * bytes,
         operand->partition_step[d]);
  }
  return r;
}

// --- level 2: checks ---

static ibx_status check_extent(const ibx_insn *insn, size_t slot,
                               const ibx_buffer_decl *buffer, const place *at) {
  // Offsets and steps have 40 and 32 bits, counts 32: with a limit on the
  // offset and each product, no sum below leaves 64 bits.
  if (insn->operand[slot].offset > INT64_MAX / 2) {
    return FAIL(at, "operand %zu has an absurd offset", slot);
  }
  for (size_t d = 0; d < IBX_DIMS; d++) {
    uint64_t product, count = insn->num[d];
    int64_t step = insn->operand[slot].step[d];
    if (count == 0) return FAIL(at, "num[%zu] is 0", d);
    if (d == 0 && insn->count > count) count = insn->count; // of a gather
    if (!ibx_mul_size(count, (uint64_t)(step < 0 ? -step : step), &product) ||
        product > INT64_MAX / 128) {
      return FAIL(at, "operand %zu walks too far", slot);
    }
  }
  reach r = reach_of(insn, slot);
  const ibx_buffer_place *extent = &buffer->place;
  const char *name = buffer->name ? buffer->name : "";
  if (r.low < 0 || (uint64_t)r.high > extent->bytes) {
    return FAIL(at,
                "operand %zu touches bytes %" PRId64 " to %" PRId64
                " of buffer '%s', which has %" PRIu64,
                slot, r.low, r.high - 1, name, extent->bytes);
  }
  bool has_partitions = extent->space != IBX_SPACE_HBM;
  int64_t partitions = has_partitions ? extent->partitions : 1;
  if (r.first < 0 || r.last > partitions) {
    return FAIL(at,
                "operand %zu touches partitions %" PRId64 " to %" PRId64
                " of buffer '%s', which has %" PRId64,
                slot, r.first, r.last - 1, name, partitions);
  }
  return IBX_OK;
}

static ibx_status check_operand(const ibx_tile_func *func, const ibx_insn *insn,
                                const ibx_insn_info *info, size_t slot,
                                const place *at) {
  uint32_t buffer = insn->operand[slot].buffer;
  ibx_slot_kind kind = info->slot[slot];
  bool may_miss = kind == IBX_SLOT_NONE || kind == IBX_SLOT_SCALAR_READ ||
                  kind == IBX_SLOT_SCALAR_WRITE;
  if (buffer == IBX_NO_BUFFER) {
    return may_miss ? IBX_OK : FAIL(at, "operand %zu is missing", slot);
  }
  if (kind == IBX_SLOT_NONE) return FAIL(at, "it has no operand %zu", slot);
  if (buffer >= func->buffer_count) {
    return FAIL(at, "operand %zu is in no buffer", slot);
  }
  return check_extent(insn, slot, &func->buffers[buffer], at);
}

static ibx_status check_op(const ibx_tile_func *func, const ibx_tile_op *op,
                           const ibx_tables *tables, ibx_error *err) {
  const ibx_insn_info *info = ibx_insn_get(op->insn.opcode);
  place at = {.function = func->name,
              .node = source_name(tables, op->source),
              .op = info ? info->name : "no instruction",
              .err = err};
  if (!info) return FAIL(&at, "opcode %u", op->insn.opcode);
  if (op->engine >= IBX_ENGINE_COUNT || !(info->engines >> op->engine & 1)) {
    return FAIL(&at, "engine %d does not run it", (int)op->engine);
  }
  bool is_synced = op->insn.wait_value != 0 || op->insn.signal_value != 0;
  if (is_synced || (op->insn.flags & IBX_FLAG_LOOPED)) {
    return FAIL(&at, "semaphores and loops are code generation's");
  }
  if (op->insn.op[0] >= IBX_ALU_COUNT || op->insn.op[1] >= IBX_ALU_COUNT) {
    return FAIL(&at, "op %u, %u is no operator", op->insn.op[0],
                op->insn.op[1]);
  }
  for (size_t slot = 0; slot < IBX_OPERANDS; slot++) {
    IBX_TRY(check_operand(func, &op->insn, info, slot, &at));
  }
  return IBX_OK;
}

static ibx_status check_buffer(const ibx_tile_func *func, size_t index,
                               ibx_error *err) {
  const ibx_buffer_decl *buffer = &func->buffers[index];
  unsigned partitions = buffer->place.partitions;
  bool is_ok = buffer->place.space < IBX_SPACE_COUNT &&
               buffer->kind < IBX_BUFFER_KIND_COUNT &&
               buffer->place.bytes <= INT64_MAX &&
               buffer->place.offset <= INT64_MAX;
  if (buffer->place.space != IBX_SPACE_HBM) {
    is_ok = is_ok && partitions >= 1 &&
            partitions + buffer->place.partition <= IBX_PARTITIONS;
  }
  if (is_ok) return IBX_OK;
  return IBX_FAIL(err, INTERNAL, "@%s: buffer %zu ('%s') has no legal extent",
                  func->name, index, buffer->name ? buffer->name : "");
}

static ibx_status check_decls(const ibx_tile_func *func,
                              const ibx_tensor_decl *decls, size_t count,
                              ibx_error *err) {
  for (size_t i = 0; i < count; i++) {
    if (decls[i].buffer < func->buffer_count && decls[i].rank <= IBX_MAX_RANK &&
        ibx_dtype_bytes((ibx_dtype)decls[i].dtype) != 0) {
      continue;
    }
    return IBX_FAIL(err, INTERNAL,
                    "@%s: tensor '%s' has no legal buffer or type", func->name,
                    decls[i].name);
  }
  return IBX_OK;
}

ibx_status ibx_tiles_check(const ibx_tile_func *func, const ibx_tables *tables,
                           ibx_error *err) {
  for (size_t i = 0; i < func->buffer_count; i++) {
    IBX_TRY(check_buffer(func, i, err));
  }
  IBX_TRY(check_decls(func, func->inputs, func->input_count, err));
  IBX_TRY(check_decls(func, func->outputs, func->output_count, err));
  for (size_t i = 0; i < func->op_count; i++) {
    const ibx_tile_op op = ibx_tile_at(func, i);
    IBX_TRY(check_op(func, &op, tables, err));
  }
  return IBX_OK;
}

// --- the module ---

static ibx_status check_function(ibx_ir *ir, MlirOperation func,
                                 ibx_arena *scratch, ibx_error *err) {
  // Made from the IR alone, so that it is checked for itself.
  const char *name = NULL;
  ibx_tables tables = {.weights = NULL};
  ibx_graph graph;
  ibx_tile_func tiles;
  if (!ibx_ir_read_text(func, "sym_name", scratch, &name)) {
    return IBX_FAIL(err, INTERNAL, "the module holds more than functions");
  }
  ibx_ir_scan(ir, func, false, &tables, scratch);
  if (ibx_ir_is_tiles(func)) {
    IBX_TRY(ibx_tiles_read(ir, name, &tables, scratch, &tiles, err));
    return ibx_tiles_check(&tiles, &tables, err);
  }
  IBX_TRY(ibx_graph_read(ir, name, &tables, scratch, &graph, err));
  return ibx_graph_check(&graph, err);
}

ibx_status ibx_ir_verify(ibx_ir *ir, ibx_error *err) {
  if (!mlirOperationVerify(mlirModuleGetOperation(ir->module))) {
    return ibx_ir_fail(ir, "the IR does not verify", err);
  }
  ibx_arena scratch = {.last = NULL};
  ibx_status status = IBX_OK;
  MlirOperation op = mlirBlockGetFirstOperation(mlirModuleGetBody(ir->module));
  for (; status == IBX_OK && !mlirOperationIsNull(op);
       op = mlirOperationGetNextInBlock(op)) {
    status = check_function(ir, op, &scratch, err);
  }
  ibx_arena_reset(&scratch);
  return status;
}

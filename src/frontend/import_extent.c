// SPDX-License-Identifier: Apache-2.0
//
// Extents that depend on the data. Comes in: a scalar that says how much of a
// dimension is valid. Goes out: notes beside values of the graph, whose types
// have the most that each extent can be. Holds afterwards: what lies behind a
// real extent has no meaning and is never mixed with what lies before it;
// integers that are made of real extents have a least and a largest value.

#include "frontend/import.h"

#include <string.h>

static void make_room(ibx_import *import, ibx_val value) {
  size_t old = import->extent_room, room = old == 0 ? 256 : old;
  while (room <= value)
    room *= 2;
  if (room == old) return;
  ibx_extents **larger = IBX_ARENA_ARRAY(&import->scratch, room, ibx_extents *);
  if (old != 0) memcpy(larger, import->extents, old * sizeof(*larger));
  import->extents = larger;
  import->extent_room = room;
}

// Lends the notes of a value, NULL when there are none.
static ibx_extents *find(const ibx_import *import, ibx_val value) {
  if (ibx_is_bundle(value)) return NULL;
  return value < import->extent_room ? import->extents[value] : NULL;
}

static ibx_extents *make(ibx_import *import, ibx_val value) {
  make_room(import, value);
  if (!import->extents[value]) {
    ibx_extents *notes = IBX_ARENA_NEW(&import->scratch, ibx_extents);
    memset(notes, 0xff, sizeof(*notes)); // IBX_NO_VALUE everywhere
    import->extents[value] = notes;
  }
  return import->extents[value];
}

ibx_val ibx_extent(const ibx_call *call, ibx_val value, int64_t dim) {
  const ibx_extents *notes = find(call->import, value);
  if (!notes || dim < 0 || dim >= IBX_MAX_RANK) return IBX_NO_VALUE;
  return notes->real[dim];
}

ibx_val ibx_import_extent(const ibx_import *import, ibx_val value,
                          int64_t dim) {
  const ibx_extents *notes = find(import, value);
  return notes ? notes->real[dim] : IBX_NO_VALUE;
}

bool ibx_has_extent(const ibx_call *call, ibx_val value) {
  const ibx_extents *notes = find(call->import, value);
  for (size_t i = 0; notes && i < IBX_MAX_RANK; i++) {
    if (notes->real[i] != IBX_NO_VALUE) return true;
  }
  return false;
}

bool ibx_is_bounded(const ibx_call *call, ibx_val value) {
  const ibx_extents *notes = find(call->import, value);
  return notes && notes->low != IBX_NO_VALUE;
}

void ibx_note_extent(ibx_call *call, ibx_val value, int64_t dim,
                     ibx_val extent) {
  if (call->failed || ibx_extent(call, value, dim) == extent) return;
  make(call->import, value)->real[dim] = extent;
}

// The value under another number, for notes of its own.
static ibx_val alias(ibx_call *call, ibx_val value) {
  ibx_params params = {.shape = ibx_shape_of(call, value)};
  ibx_val copy = ibx_emit_static(call, IBX_TENSOR_reshape, &params, &value, 1);
  const ibx_extents *notes = find(call->import, value);
  if (notes && !call->failed) *make(call->import, copy) = *notes;
  return copy;
}

ibx_val ibx_set_extent(ibx_call *call, ibx_val value, int64_t dim,
                       ibx_val extent) {
  if (call->failed || ibx_extent(call, value, dim) == extent) return value;
  const ibx_tensor *known =
      extent == IBX_NO_VALUE ? NULL : ibx_force(call->import, extent);
  ibx_val copy = alias(call, value);
  ibx_note_extent(call, copy, dim, known ? IBX_NO_VALUE : extent);
  if (!known || call->failed) return copy;
  int64_t count = ibx_tensor_int(known, 0);
  bool fits = count >= 0 && count <= ibx_dim(call, value, dim);
  if (!ibx_call_expect(call, fits, "extent", "is not one of the dimension")) {
    return value;
  }
  return ibx_emit_slice(call, copy, dim, 0, count, 1);
}

ibx_val ibx_emit_whole(ibx_call *call, ibx_val value) {
  for (int64_t d = 0; d < ibx_rank(call, value); d++)
    value = ibx_set_extent(call, value, d, IBX_NO_VALUE);
  return value;
}

ibx_val ibx_take_extents(ibx_call *call, ibx_val value, int64_t to,
                         ibx_val from, int64_t first, int64_t count) {
  for (int64_t d = 0; d < count; d++) {
    ibx_val extent = ibx_extent(call, from, first + d);
    if (extent == IBX_NO_VALUE) continue;
    value = ibx_set_extent(call, value, to + d, extent);
  }
  return value;
}

ibx_val ibx_emit_units(ibx_call *call, ibx_val x, ibx_ints shape,
                       const int8_t *from) {
  ibx_params params = {.shape = shape};
  ibx_val y = ibx_emit_static(call, IBX_TENSOR_reshape, &params, &x, 1);
  for (uint8_t d = 0; d < shape.len && !call->failed; d++) {
    if (from[d] < 0) continue;
    ibx_note_extent(call, y, d, ibx_extent(call, x, from[d]));
  }
  const ibx_extents *notes = find(call->import, x);
  if (!call->failed && notes && notes->low != IBX_NO_VALUE) {
    ibx_set_bounds(
        call, y,
        ibx_emit_static(call, IBX_TENSOR_reshape, &params, &notes->low, 1),
        ibx_emit_static(call, IBX_TENSOR_reshape, &params, &notes->high, 1));
  }
  return y;
}

void ibx_set_bounds(ibx_call *call, ibx_val value, ibx_val low, ibx_val high) {
  if (call->failed || ibx_is_known(call, value)) return;
  ibx_extents *notes = make(call->import, value);
  notes->low = low;
  notes->high = high;
}

// --- arithmetic ----------------------------------------------------------------

ibx_val ibx_emit_long(ibx_call *call, int64_t number) {
  return ibx_emit_longs(call, (ibx_ints){0}, &number);
}

ibx_val ibx_extent_or_dim(ibx_call *call, ibx_val value, int64_t dim) {
  ibx_val extent = ibx_extent(call, value, dim);
  return extent != IBX_NO_VALUE
             ? extent
             : ibx_emit_long(call, ibx_dim(call, value, dim));
}

ibx_val ibx_emit_count(ibx_call *call, ibx_val flags) {
  int64_t extent = ibx_elements(ibx_type_of(call, flags));
  ibx_val ones = ibx_emit_cast(call, flags, IBX_DTYPE_F32);
  ones = ibx_emit_reshape(call, ones, IBX_INTS(extent));
  ibx_val sum =
      ibx_emit_reduce(call, IBX_TENSOR_reduce_sum, ones, IBX_INTS(0), false);
  ibx_val count = ibx_emit_cast(call, sum, IBX_DTYPE_I64);
  ibx_set_bounds(call, count, ibx_emit_long(call, 0),
                 ibx_emit_long(call, extent));
  return count;
}

// --- masks -----------------------------------------------------------------------

// A mask serves every value with that extent.
typedef struct ibx_mask {
  ibx_val extent, mask;
  int64_t bound;
  struct ibx_mask *next;
} ibx_mask;

// [bound]: whether position i lies before the extent.
static ibx_val line_mask(ibx_call *call, ibx_val extent, int64_t bound) {
  ibx_import *import = call->import;
  for (ibx_mask *m = import->masks; m; m = m->next) {
    if (m->extent == extent && m->bound == bound) return m->mask;
  }
  ibx_val line = ibx_emit_iota(call, bound);
  ibx_mask *made = IBX_ARENA_NEW(&import->scratch, ibx_mask);
  *made = (ibx_mask){.extent = extent, .bound = bound, .next = import->masks};
  made->mask = ibx_emit_binary(call, IBX_TENSOR_less, line, extent);
  if (!call->failed) import->masks = made;
  return made->mask;
}

ibx_val ibx_emit_masked(ibx_call *call, ibx_val x, int64_t dim, ibx_val fill) {
  ibx_val extent = ibx_extent(call, x, dim);
  if (extent == IBX_NO_VALUE || call->failed) return x;
  ibx_val mask = line_mask(call, extent, ibx_dim(call, x, dim));
  mask = ibx_emit_along(call, mask, dim, ibx_rank(call, x));
  ibx_ints shape = ibx_shape_of(call, x);
  ibx_val operands[] = {ibx_emit_broadcast(call, mask, shape), x,
                        ibx_emit_broadcast(call, fill, shape)};
  ibx_val masked = ibx_emit_static(call, IBX_TENSOR_select, NULL, operands, 3);
  for (int64_t d = 0; d < shape.len && !call->failed; d++) {
    if (d != dim) ibx_note_extent(call, masked, d, ibx_extent(call, x, d));
  }
  return masked;
}

ibx_val ibx_emit_all_masked(ibx_call *call, ibx_val x, ibx_val fill) {
  for (int64_t d = 0; d < ibx_rank(call, x); d++)
    x = ibx_emit_masked(call, x, d, fill);
  return x;
}

// --- integers that are made of extents ------------------------------------------

const ibx_tensor *ibx_bound_in(ibx_call *call, size_t index, const char *name,
                               const ibx_tensor **out_low) {
  ibx_val value = ibx_in(call, index);
  if (value == IBX_NO_VALUE || !ibx_is_bounded(call, value)) {
    return *out_low = ibx_const_in(call, index, name);
  }
  const ibx_extents *notes = find(call->import, value);
  *out_low = ibx_force(call->import, notes->low);
  const ibx_tensor *high = ibx_force(call->import, notes->high);
  return *out_low ? high : NULL;
}

static const ibx_node *maker(const ibx_call *call, ibx_val value) {
  const ibx_graph *graph = &call->import->graph;
  uint32_t node = graph->values[value].node;
  return node == IBX_NO_VALUE ? NULL : &graph->nodes[node];
}

// The operand of a concat in which an element stands.
static ibx_val find_part(const ibx_call *call, const ibx_node *node,
                         int64_t *index) {
  for (uint32_t i = 0; i < node->operand_count; i++) {
    int64_t extent = ibx_elements(ibx_type_of(call, node->operand[i]));
    if (*index < extent) return node->operand[i];
    *index -= extent;
  }
  return IBX_NO_VALUE;
}

// The operand from which a gather takes an element.
static ibx_val find_picked(const ibx_call *call, const ibx_node *node,
                           int64_t *index) {
  const ibx_tensor *indices = ibx_force(call->import, node->operand[1]);
  if (!indices || ibx_rank(call, node->operand[0]) != 1) return IBX_NO_VALUE;
  int64_t at = ibx_tensor_int(indices, (size_t)*index);
  *index = at < 0 ? at + ibx_dim(call, node->operand[0], 0) : at;
  return node->operand[0];
}

// One step back from an element of integers to where it came from.
static ibx_val step_back(const ibx_call *call, ibx_val value, int64_t *index) {
  const ibx_node *node = maker(call, value);
  if (!node || ibx_has_extent(call, value)) return IBX_NO_VALUE;
  switch (node->op) {
  case IBX_TENSOR_reshape: return node->operand[0];
  case IBX_TENSOR_cast:
    return ibx_is_float(ibx_dtype_of(call, node->operand[0]))
               ? IBX_NO_VALUE
               : node->operand[0];
  case IBX_TENSOR_slice:
    if (node->params.starts.len != 1) return IBX_NO_VALUE;
    *index = node->params.starts.at[0] + *index * node->params.steps.at[0];
    return node->operand[0];
  case IBX_TENSOR_broadcast:
    if (ibx_elements(ibx_type_of(call, node->operand[0])) != 1) {
      return IBX_NO_VALUE;
    }
    *index = 0;
    return node->operand[0];
  case IBX_TENSOR_concat:
    return ibx_rank(call, value) == 1 ? find_part(call, node, index)
                                      : IBX_NO_VALUE;
  case IBX_TENSOR_gather: return find_picked(call, node, index);
  default: return IBX_NO_VALUE;
  }
}

ibx_val ibx_emit_element(ibx_call *call, ibx_val value, int64_t index) {
  ibx_val before = value, scalar = IBX_NO_VALUE;
  int64_t at = index;
  while (before != IBX_NO_VALUE && ibx_is_bounded(call, before)) {
    const ibx_type *type = ibx_type_of(call, before);
    // Of several of one element the first that was made.
    if (type->rank == 0 && type->dtype == IBX_DTYPE_I64) scalar = before;
    before = step_back(call, before, &at);
  }
  if (scalar != IBX_NO_VALUE) return scalar;
  int64_t count = ibx_elements(ibx_type_of(call, value));
  value = ibx_emit_reshape(call, value, IBX_INTS(count));
  value = ibx_emit_slice(call, value, 0, index, 1, 1);
  value = ibx_emit_reshape(call, value, (ibx_ints){0});
  return ibx_emit_cast(call, value, IBX_DTYPE_I64);
}

// One end of what a scalar can be; `absent` where nothing is known.
static int64_t end_of(ibx_call *call, ibx_val value, bool high,
                      int64_t absent) {
  const ibx_extents *notes = find(call->import, value);
  if (notes && notes->low != IBX_NO_VALUE) {
    value = high ? notes->high : notes->low;
  }
  const ibx_tensor *tensor = ibx_force(call->import, value);
  return tensor && ibx_elements(&tensor->type) == 1 ? ibx_tensor_int(tensor, 0)
                                                    : absent;
}

int64_t ibx_least(ibx_call *call, ibx_val value) {
  return end_of(call, value, false, INT64_MIN);
}

int64_t ibx_most(ibx_call *call, ibx_val value) {
  return end_of(call, value, true, INT64_MAX);
}

ibx_val ibx_emit_steps(ibx_call *call, ibx_val extent, int64_t start,
                       int64_t step, int64_t most) {
  ibx_val left = extent;
  bool below = ibx_most(call, extent) > most;
  bool negative = ibx_least(call, extent) < start;
  if (start == 0 && step == 1 && !below && !negative) return extent;
  if (start != 0) {
    left =
        ibx_emit_binary(call, IBX_TENSOR_sub, left, ibx_emit_long(call, start));
  }
  left = ibx_emit_binary(call, IBX_TENSOR_max, left, ibx_emit_long(call, 0));
  if (step != 1) {
    left = ibx_emit_binary(call, IBX_TENSOR_add, left,
                           ibx_emit_long(call, step - 1));
    left =
        ibx_emit_binary(call, IBX_TENSOR_div, left, ibx_emit_long(call, step));
  }
  return ibx_emit_binary(call, IBX_TENSOR_min, left, ibx_emit_long(call, most));
}

bool ibx_bounded_dims(ibx_call *call, size_t index, const char *name,
                      ibx_bounded *out) {
  const ibx_tensor *low, *high = ibx_bound_in(call, index, name, &low);
  if (!high) return false;
  size_t count = (size_t)ibx_elements(&high->type);
  if (count > IBX_MAX_RANK) {
    ibx_const_dims(call, index, name); // reports it
    call->failed = true;
    return false;
  }
  *out = (ibx_bounded){.most.len = (uint8_t)count};
  for (size_t i = 0; i < count; i++) {
    out->most.at[i] = ibx_tensor_int(high, i);
    out->real[i] = IBX_NO_VALUE;
    if (ibx_tensor_int(low, i) == out->most.at[i]) continue;
    out->real[i] = ibx_emit_element(call, ibx_in(call, index), (int64_t)i);
    out->any = true;
  }
  return !call->failed;
}

// --- which operators know of extents ----------------------------------------------

// Their importers ask for extents only where those are fixed, or through what is
// above; all else they leave to the operations that they emit.
static const char *const AWARE[] = {"Abs",
                                    "Acos",
                                    "Acosh",
                                    "Add",
                                    "And",
                                    "ArgMax",
                                    "ArgMin",
                                    "Asin",
                                    "Asinh",
                                    "Atan",
                                    "Atanh",
                                    "Attention",
                                    "AveragePool",
                                    "BatchNormalization",
                                    "BitCast",
                                    "BitShift",
                                    "BitwiseAnd",
                                    "BitwiseNot",
                                    "BitwiseOr",
                                    "BitwiseXor",
                                    "Cast",
                                    "CastLike",
                                    "Ceil",
                                    "Celu",
                                    "Clip",
                                    "Compress",
                                    "Concat",
                                    "ConstantOfShape",
                                    "Conv",
                                    "ConvInteger",
                                    "ConvTranspose",
                                    "Cos",
                                    "Cosh",
                                    "CumProd",
                                    "CumSum",
                                    "DepthToSpace",
                                    "DequantizeLinear",
                                    "Div",
                                    "Dropout",
                                    "DynamicQuantizeLinear",
                                    "Einsum",
                                    "Elu",
                                    "Equal",
                                    "Erf",
                                    "Exp",
                                    "Expand",
                                    "EyeLike",
                                    "Flatten",
                                    "Floor",
                                    "Gather",
                                    "GatherElements",
                                    "GatherND",
                                    "Gelu",
                                    "Gemm",
                                    "GlobalAveragePool",
                                    "GlobalLpPool",
                                    "GlobalMaxPool",
                                    "Greater",
                                    "GreaterOrEqual",
                                    "GridSample",
                                    "GroupNormalization",
                                    "HardSigmoid",
                                    "HardSwish",
                                    "Hardmax",
                                    "Identity",
                                    "If",
                                    "InstanceNormalization",
                                    "IsInf",
                                    "IsNaN",
                                    "LRN",
                                    "LayerNormalization",
                                    "LeakyRelu",
                                    "Less",
                                    "LessOrEqual",
                                    "Log",
                                    "LogSoftmax",
                                    "Loop",
                                    "LpNormalization",
                                    "LpPool",
                                    "MatMul",
                                    "MatMulInteger",
                                    "Max",
                                    "MaxPool",
                                    "MaxRoiPool",
                                    "Mean",
                                    "MeanVarianceNormalization",
                                    "Min",
                                    "Mish",
                                    "Mod",
                                    "Mul",
                                    "Neg",
                                    "NonMaxSuppression",
                                    "NonZero",
                                    "Not",
                                    "OneHot",
                                    "Optional",
                                    "OptionalGetElement",
                                    "OptionalHasElement",
                                    "Or",
                                    "PRelu",
                                    "Pad",
                                    "Pow",
                                    "QLinearConv",
                                    "QLinearMatMul",
                                    "QuantizeLinear",
                                    "RMSNormalization",
                                    "Range",
                                    "Reciprocal",
                                    "ReduceL1",
                                    "ReduceL2",
                                    "ReduceLogSum",
                                    "ReduceLogSumExp",
                                    "ReduceMax",
                                    "ReduceMean",
                                    "ReduceMin",
                                    "ReduceProd",
                                    "ReduceSum",
                                    "ReduceSumSquare",
                                    "Relu",
                                    "Reshape",
                                    "Resize",
                                    "ReverseSequence",
                                    "RoiAlign",
                                    "RotaryEmbedding",
                                    "Round",
                                    "Scan",
                                    "Scatter",
                                    "ScatterElements",
                                    "ScatterND",
                                    "Selu",
                                    "SequenceConstruct",
                                    "SequenceInsert",
                                    "Shape",
                                    "Shrink",
                                    "Sigmoid",
                                    "Sign",
                                    "SimplifiedLayerNormalization",
                                    "Sin",
                                    "Sinh",
                                    "Size",
                                    "Slice",
                                    "Softmax",
                                    "Softplus",
                                    "Softsign",
                                    "SpaceToDepth",
                                    "Split",
                                    "Sqrt",
                                    "Squeeze",
                                    "Sub",
                                    "Sum",
                                    "SwiGLU",
                                    "Swish",
                                    "Tan",
                                    "Tanh",
                                    "ThresholdedRelu",
                                    "Tile",
                                    "TopK",
                                    "Transpose",
                                    "Trilu",
                                    "Unique",
                                    "Unsqueeze",
                                    "Upsample",
                                    "Where",
                                    "Xor"};

static bool is_listed(const char *const *list, size_t count, const char *name) {
  for (size_t i = 0; i < count; i++) {
    if (strcmp(list[i], name) == 0) return true;
  }
  return false;
}

bool ibx_check_extents(ibx_call *call) {
  if (call->at.domain[0] == 0 &&
      is_listed(AWARE, IBX_COUNT_OF(AWARE), call->at.op)) {
    return true;
  }
  for (size_t i = 0; i < call->in_count; i++) {
    if (!ibx_has_in(call, i)) continue;
    if (ibx_is_bundle(call->in[i])) continue;
    if (!ibx_has_extent(call, call->in[i])) continue;
    ibx_refuse_extent(call, call->proto->input[i]);
    return false;
  }
  return true;
}

void ibx_refuse_extent(ibx_call *call, const char *name) {
  ibx_call_fail(call, IBX_DIAG_UNSUPPORTED_FORM, name,
                "pick a fixed number of elements before the node, as TopK does",
                "%s of a tensor whose extent depends on the data, which is not "
                "supported here",
                call->at.op);
}

// SPDX-License-Identifier: Apache-2.0
//
// Imports Gradient of ai.onnx.preview.training. Comes in the names of a tensor y
// and of tensors x that it was computed from, in the same graph. Goes out dy/dx,
// summed over the elements of y: the chain rule, backwards over the tensor
// operations that lie between them, each by the formula of its derivative.

#include "frontend/import.h"
#include "frontend/import_ops.h"

#include <math.h>

static const double pi = 3.14159265358979323846;

typedef struct gradient {
  ibx_call *call;
  bool *depends;    ///< of each value that was there: on some x
  ibx_val *adjoint; ///< of each: dy/dvalue, or IBX_NO_VALUE
  uint32_t count;   ///< of values
  size_t nodes;     ///< that were there
} gradient;

static ibx_val mul(gradient *g, ibx_val a, ibx_val b) {
  return ibx_emit_binary(g->call, IBX_TENSOR_mul, a, b);
}

static ibx_val unary(gradient *g, ibx_tensor_op op, ibx_val x) {
  return ibx_emit_unary(g->call, op, x);
}

static ibx_val affine(gradient *g, ibx_val x, double alpha, double beta) {
  return ibx_emit_affine(g->call, x, alpha, beta);
}

static void add_to(gradient *g, ibx_val value, ibx_val part) {
  if (value >= g->count || !g->depends[value]) return;
  ibx_val *sum = &g->adjoint[value];
  *sum = *sum == IBX_NO_VALUE
             ? part
             : ibx_emit_binary(g->call, IBX_TENSOR_add, *sum, part);
}

// What selects the elements at which a condition holds.
static ibx_val where(gradient *g, ibx_tensor_op op, ibx_val a, ibx_val b,
                     ibx_val yes) {
  return ibx_emit_select(g->call, ibx_emit_binary(g->call, op, a, b), yes,
                         ibx_emit_like(g->call, yes, 0));
}

// A number in the shape of x.
static ibx_val filled(gradient *g, ibx_val x, double number) {
  return ibx_emit_broadcast(g->call, ibx_emit_like(g->call, x, number),
                            ibx_shape_of(g->call, x));
}

// 1 where x is positive, else `other`, which has the shape of x.
static ibx_val one_above_zero(gradient *g, ibx_val x, ibx_val other) {
  ibx_val above = ibx_emit_binary(g->call, IBX_TENSOR_less,
                                  ibx_emit_like(g->call, x, 0), x);
  return ibx_emit_select(g->call, above, filled(g, x, 1), other);
}

// ---- One operand: the derivative at x, where y = f(x); IBX_NO_VALUE: none is known

// exp(-(x * scale)^2) * factor
static ibx_val bell(gradient *g, ibx_val x, double scale, double factor) {
  ibx_val power = affine(g, mul(g, x, x), -scale * scale, 0);
  return affine(g, unary(g, IBX_TENSOR_exp, power), factor, 0);
}

// The normal distribution up to x, and x times its density.
static ibx_val gelu_slope(gradient *g, ibx_val x) {
  ibx_val below = unary(g, IBX_TENSOR_erf, affine(g, x, sqrt(0.5), 0));
  below = affine(g, below, 0.5, 0.5);
  ibx_val density = bell(g, x, sqrt(0.5), 1 / sqrt(2 * pi));
  return ibx_emit_binary(g->call, IBX_TENSOR_add, below, mul(g, x, density));
}

// With t = tanh(u(x)): (1 + t) / 2 + x (1 - t^2) u'(x) / 2.
static ibx_val gelu_tanh_slope(gradient *g, ibx_val x) {
  const double k = sqrt(2 / pi), c = 0.044715;
  ibx_val square = mul(g, x, x);
  ibx_val t = mul(g, x, affine(g, square, k * c, k));
  t = unary(g, IBX_TENSOR_tanh, t);
  ibx_val inner = affine(g, square, 1.5 * k * c, 0.5 * k);
  inner = mul(g, mul(g, x, inner), affine(g, mul(g, t, t), -1, 1));
  return ibx_emit_binary(g->call, IBX_TENSOR_add, affine(g, t, 0.5, 0.5),
                         inner);
}

// s + y (1 - s), s = sigmoid(x)
static ibx_val silu_slope(gradient *g, ibx_val x, ibx_val y) {
  ibx_val s = unary(g, IBX_TENSOR_sigmoid, x);
  return ibx_emit_binary(g->call, IBX_TENSOR_add, s,
                         mul(g, y, affine(g, s, -1, 1)));
}

// t + x sigmoid(x) (1 - t^2), t = tanh(softplus(x))
static ibx_val mish_slope(gradient *g, ibx_val x) {
  ibx_val t = unary(g, IBX_TENSOR_tanh, unary(g, IBX_TENSOR_softplus, x));
  ibx_val rest = mul(g, mul(g, x, unary(g, IBX_TENSOR_sigmoid, x)),
                     affine(g, mul(g, t, t), -1, 1));
  return ibx_emit_binary(g->call, IBX_TENSOR_add, t, rest);
}

static ibx_val slope(gradient *g, const ibx_node *node) {
  ibx_val x = node->operand[0], y = node->result;
  switch (node->op) {
  case IBX_TENSOR_neg: return ibx_emit_like(g->call, x, -1);
  case IBX_TENSOR_affine: return ibx_emit_like(g->call, x, node->params.alpha);
  case IBX_TENSOR_exp: return y;
  case IBX_TENSOR_log: return unary(g, IBX_TENSOR_reciprocal, x);
  case IBX_TENSOR_sqrt:
    return affine(g, unary(g, IBX_TENSOR_reciprocal, y), 0.5, 0);
  case IBX_TENSOR_rsqrt: return affine(g, mul(g, y, mul(g, y, y)), -0.5, 0);
  case IBX_TENSOR_reciprocal: return affine(g, mul(g, y, y), -1, 0);
  case IBX_TENSOR_tanh: return affine(g, mul(g, y, y), -1, 1);
  case IBX_TENSOR_sigmoid: return mul(g, y, affine(g, y, -1, 1));
  case IBX_TENSOR_softplus: return unary(g, IBX_TENSOR_sigmoid, x);
  case IBX_TENSOR_sin: return unary(g, IBX_TENSOR_cos, x);
  case IBX_TENSOR_cos: return affine(g, unary(g, IBX_TENSOR_sin, x), -1, 0);
  case IBX_TENSOR_abs: return unary(g, IBX_TENSOR_sign, x);
  case IBX_TENSOR_relu: return one_above_zero(g, x, filled(g, x, 0));
  case IBX_TENSOR_leaky_relu:
    return one_above_zero(g, x, filled(g, x, node->params.alpha));
  case IBX_TENSOR_elu:
    return one_above_zero(g, x, affine(g, y, 1, node->params.alpha));
  case IBX_TENSOR_clip:
    return where(g, IBX_TENSOR_equal, x, y, filled(g, x, 1));
  case IBX_TENSOR_erf: return bell(g, x, 1, 2 / sqrt(pi));
  case IBX_TENSOR_gelu: return gelu_slope(g, x);
  case IBX_TENSOR_gelu_tanh: return gelu_tanh_slope(g, x);
  case IBX_TENSOR_silu: return silu_slope(g, x, y);
  case IBX_TENSOR_mish: return mish_slope(g, x);
  case IBX_TENSOR_floor:
  case IBX_TENSOR_ceil:
  case IBX_TENSOR_round:
  case IBX_TENSOR_sign: return ibx_emit_like(g->call, x, 0);
  default: return IBX_NO_VALUE;
  }
}

// ---- Shapes

// Sums what was spread.
static ibx_val sum_to(gradient *g, ibx_val dy, ibx_ints shape) {
  ibx_ints axes = {0};
  for (uint8_t d = 0; d < shape.len; d++) {
    if (shape.at[d] != ibx_dim(g->call, dy, d)) axes.at[axes.len++] = d;
  }
  if (axes.len == 0) return dy;
  return ibx_emit_reduce(g->call, IBX_TENSOR_reduce_sum, dy, axes, true);
}

// Spreads what was summed.
static ibx_val spread(gradient *g, const ibx_node *node, ibx_val dy) {
  ibx_ints shape = ibx_shape_of(g->call, node->operand[0]), kept = shape;
  double count = 1;
  for (uint8_t i = 0; i < node->params.axes.len; i++) {
    count *= (double)shape.at[node->params.axes.at[i]];
    kept.at[node->params.axes.at[i]] = 1;
  }
  dy = ibx_emit_broadcast(g->call, ibx_emit_reshape(g->call, dy, kept), shape);
  return node->op == IBX_TENSOR_reduce_mean ? affine(g, dy, 1 / count, 0) : dy;
}

// Of a largest or smallest element; those that are equal share.
static ibx_val share(gradient *g, const ibx_node *node, ibx_val dy) {
  ibx_val x = node->operand[0];
  ibx_ints shape = ibx_shape_of(g->call, x), kept = shape;
  for (uint8_t i = 0; i < node->params.axes.len; i++)
    kept.at[node->params.axes.at[i]] = 1;
  ibx_val y = ibx_emit_reshape(g->call, node->result, kept);
  y = ibx_emit_broadcast(g->call, y, shape);
  ibx_val ones = where(g, IBX_TENSOR_equal, x, y, filled(g, x, 1));
  ibx_val count = ibx_emit_reduce(g->call, IBX_TENSOR_reduce_sum, ones,
                                  node->params.axes, true);
  dy = ibx_emit_binary(g->call, IBX_TENSOR_div,
                       ibx_emit_reshape(g->call, dy, kept), count);
  return mul(g, ones, ibx_emit_broadcast(g->call, dy, shape));
}

static ibx_ints inverse(ibx_ints perm) {
  ibx_ints result = {.len = perm.len};
  for (uint8_t d = 0; d < perm.len; d++)
    result.at[perm.at[d]] = d;
  return result;
}

// Zeros around a slice in steps of 1.
static ibx_val unslice(gradient *g, const ibx_node *node, ibx_val dy) {
  ibx_ints whole = ibx_shape_of(g->call, node->operand[0]);
  ibx_ints high = {.len = whole.len};
  for (uint8_t d = 0; d < whole.len; d++) {
    if (node->params.steps.at[d] != 1) return IBX_NO_VALUE;
    high.at[d] =
        whole.at[d] - node->params.starts.at[d] - node->params.shape.at[d];
  }
  return ibx_emit_pad(g->call, dy, node->params.starts, high, 0.0f);
}

static void split(gradient *g, const ibx_node *node, ibx_val dy) {
  int64_t axis = node->params.axis, start = 0;
  for (uint32_t i = 0; i < node->operand_count; i++) {
    int64_t size = ibx_dim(g->call, node->operand[i], axis);
    add_to(g, node->operand[i],
           ibx_emit_slice(g->call, dy, axis, start, size, 1));
    start += size;
  }
}

// ---- Operations

static ibx_val swap_last(gradient *g, ibx_val x) {
  int64_t rank = ibx_rank(g->call, x);
  return ibx_emit_swap(g->call, x, rank - 2, rank - 1);
}

static ibx_val softmax_back(gradient *g, const ibx_node *node, ibx_val dy) {
  ibx_val y = node->result, part = mul(g, dy, y);
  ibx_val sum = ibx_emit_reduce(g->call, IBX_TENSOR_reduce_sum, part,
                                IBX_INTS(node->params.axis), true);
  return mul(g, y, ibx_emit_binary(g->call, IBX_TENSOR_sub, dy, sum));
}

static bool back_of_two(gradient *g, const ibx_node *node, ibx_val dy) {
  ibx_val a = node->operand[0], b = node->operand[1], y = node->result;
  ibx_val ratio;
  switch (node->op) {
  case IBX_TENSOR_add:
    add_to(g, a, dy);
    add_to(g, b, dy);
    return true;
  case IBX_TENSOR_sub:
    add_to(g, a, dy);
    add_to(g, b, unary(g, IBX_TENSOR_neg, dy));
    return true;
  case IBX_TENSOR_mul:
    add_to(g, a, mul(g, dy, b));
    add_to(g, b, mul(g, dy, a));
    return true;
  case IBX_TENSOR_div:
    ratio = ibx_emit_binary(g->call, IBX_TENSOR_div, dy, b);
    add_to(g, a, ratio);
    add_to(g, b, unary(g, IBX_TENSOR_neg, mul(g, ratio, y)));
    return true;
  case IBX_TENSOR_max:
  case IBX_TENSOR_min: // a where both are equal
    ratio = where(g, IBX_TENSOR_equal, a, y, dy);
    add_to(g, a, ratio);
    add_to(g, b, ibx_emit_binary(g->call, IBX_TENSOR_sub, dy, ratio));
    return true;
  case IBX_TENSOR_matmul:
    add_to(g, a, ibx_emit_matmul(g->call, dy, swap_last(g, b)));
    add_to(g, b, ibx_emit_matmul(g->call, swap_last(g, a), dy));
    return true;
  default: return false;
  }
}

// Adds what dy/dresult means for the operands; false when no formula is known.
static bool back(gradient *g, const ibx_node *node, ibx_val dy) {
  ibx_val x = node->operand[0], part = IBX_NO_VALUE;
  ibx_ints shape = ibx_shape_of(g->call, x);
  switch (node->op) {
  case IBX_TENSOR_reshape: part = ibx_emit_reshape(g->call, dy, shape); break;
  case IBX_TENSOR_transpose:
    part = ibx_emit_transpose(g->call, dy, inverse(node->params.perm));
    break;
  case IBX_TENSOR_broadcast: part = sum_to(g, dy, shape); break;
  case IBX_TENSOR_slice: part = unslice(g, node, dy); break;
  case IBX_TENSOR_cast:
    part = ibx_emit_cast(g->call, dy, ibx_dtype_of(g->call, x));
    break;
  case IBX_TENSOR_reduce_sum:
  case IBX_TENSOR_reduce_mean: part = spread(g, node, dy); break;
  case IBX_TENSOR_reduce_max:
  case IBX_TENSOR_reduce_min: part = share(g, node, dy); break;
  case IBX_TENSOR_softmax: part = softmax_back(g, node, dy); break;
  case IBX_TENSOR_concat: split(g, node, dy); return true;
  case IBX_TENSOR_select:
    add_to(g, node->operand[1],
           ibx_emit_select(g->call, x, dy, ibx_emit_like(g->call, dy, 0)));
    add_to(g, node->operand[2],
           ibx_emit_select(g->call, x, ibx_emit_like(g->call, dy, 0), dy));
    return true;
  default:
    if (back_of_two(g, node, dy)) return true;
    part = slope(g, node);
    if (part != IBX_NO_VALUE) part = mul(g, dy, part);
  }
  if (part == IBX_NO_VALUE) return false;
  add_to(g, x, part);
  return true;
}

static void mark_dependence(gradient *g) {
  const ibx_graph *graph = &g->call->import->graph;
  for (size_t n = 0; n < graph->node_count; n++) {
    const ibx_node *node = &graph->nodes[n];
    for (uint32_t i = 0; i < node->operand_count; i++) {
      if (g->depends[node->operand[i]]) g->depends[node->result] = true;
    }
  }
}

static void walk_back(gradient *g) {
  ibx_call *call = g->call;
  for (size_t n = g->nodes; n-- > 0 && !call->failed;) {
    const ibx_node node = call->import->graph.nodes[n]; // emitting moves them
    ibx_val dy = g->adjoint[node.result];
    if (dy == IBX_NO_VALUE || node.operand_count == 0) continue;
    if (back(g, &node, dy)) continue;
    ibx_call_refuse(call, "y", "the derivative of the operation %s",
                    ibx_tensor_op_get(node.op)->name);
  }
}

static ibx_val read_name(ibx_call *call, const ProtobufCBinaryData *name) {
  const char *text = ibx_arena_text(&call->import->scratch,
                                    (const char *)name->data, name->len);
  return ibx_import_read(call->import, call->frame, text, call->at);
}

void ibx_import_op_gradient(ibx_call *call) {
  const Onnx__AttributeProto *xs = IBX_ATTR(call, "xs", STRINGS);
  const char *target = ibx_attr_text(call, "y", "");
  ibx_attr_ignore(call, "zs"); // what stays as it is
  if (!ibx_call_expect(call,
                       xs && xs->n_strings <= call->in_count &&
                           call->out_count <= xs->n_strings,
                       "xs", "names other tensors than inputs and outputs")) {
    return;
  }
  ibx_val y = ibx_import_read(call->import, call->frame, target, call->at);
  if (y == IBX_NO_VALUE) return;
  uint32_t count = (uint32_t)call->import->graph.value_count;
  gradient g = {.call = call,
                .count = count,
                .nodes = call->import->graph.node_count,
                .depends = IBX_ARENA_ARRAY(&call->import->scratch, count, bool),
                .adjoint =
                    IBX_ARENA_ARRAY(&call->import->scratch, count, ibx_val)};
  for (uint32_t v = 0; v < count; v++)
    g.adjoint[v] = IBX_NO_VALUE;
  for (size_t i = 0; i < xs->n_strings; i++) {
    ibx_val x = read_name(call, &xs->strings[i]);
    if (x == IBX_NO_VALUE) return;
    if (x != ibx_in(call, i)) {
      ibx_call_refuse(call, "xs",
                      "an input that is not the tensor which xs names");
      return;
    }
    g.depends[x] = true;
  }
  mark_dependence(&g);
  if (g.depends[y]) {
    g.adjoint[y] = ibx_emit_broadcast(call, ibx_emit_like(call, y, 1),
                                      ibx_shape_of(call, y));
  }
  walk_back(&g);
  for (size_t i = 0; i < call->out_count && !call->failed; i++) {
    ibx_val x = ibx_in(call, i);
    ibx_val none = ibx_emit_broadcast(call, ibx_emit_like(call, x, 0),
                                      ibx_shape_of(call, x));
    ibx_out(call, i, g.adjoint[x] == IBX_NO_VALUE ? none : g.adjoint[x]);
  }
}

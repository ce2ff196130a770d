// SPDX-License-Identifier: Apache-2.0
//
// Imports FlexAttention of ai.onnx.preview. Comes in: queries, keys and values
// [B, heads, S, D], and graphs that change the scores and the probabilities.
// Goes out:
//
//   prob_mod(softmax(score_mod(Q K^T * scale))) V
//
// with the bodies of the graphs in place. The queries of a group that shares
// keys are one longer sequence for the products.

#include "frontend/import.h"
#include "frontend/import_ops.h"

#include <math.h>
#include <string.h>

// The value behind the graph of an attribute, or itself where there is none.
static ibx_val modify(ibx_call *call, const char *name, ibx_val x) {
  const Onnx__GraphProto *graph = ibx_attr_graph(call, name);
  ibx_val out = x;
  if (!graph || call->failed) return x;
  if (!ibx_call_expect(call, graph->n_input == 1 && graph->n_output == 1, name,
                       "needs one input and one output")) {
    return x;
  }
  const ibx_type before = *ibx_type_of(call, x);
  ibx_body_ports ports = {.in = &x, .out = &out, .in_count = 1, .out_count = 1};
  ibx_import_body(
      call, graph, ports,
      ibx_arena_format(call->import->arena, "%s/%s/", call->at.node, name));
  if (call->failed) return x;
  const ibx_type *after = ibx_type_of(call, out);
  bool same =
      after->rank == before.rank && after->dtype == before.dtype &&
      memcmp(after->dims, before.dims, before.rank * sizeof(*before.dims)) == 0;
  ibx_call_expect(call, same, name, "gives another type or shape");
  return out;
}

static ibx_dtype read_precision(ibx_call *call, ibx_dtype dtype) {
  int64_t number = ibx_attr_int(call, "softmax_precision", 0);
  if (number == 0) return dtype == IBX_DTYPE_F64 ? dtype : IBX_DTYPE_F32;
  dtype = number > 0 && number < 256 ? ibx_dtype_from_onnx((int)number)
                                     : IBX_DTYPE_NONE;
  if (!ibx_is_float(dtype)) {
    ibx_call_refuse(call, "softmax_precision", "ONNX data type %lld",
                    (long long)number);
  }
  return dtype;
}

static bool heads_fit(ibx_call *call, ibx_ints q, ibx_ints k, ibx_ints v) {
  bool fits = q.len == 4 && k.len == 4 && v.len == 4 && k.at[1] >= 1 &&
              q.at[1] % k.at[1] == 0 && v.at[1] == k.at[1] &&
              q.at[0] == k.at[0] && q.at[0] == v.at[0] && q.at[3] >= 1;
  return ibx_call_expect(call, fits, "Q", "does not fit keys and values");
}

void ibx_import_op_flex_attention(ibx_call *call) {
  ibx_val query = ibx_in(call, 0), keys = ibx_in(call, 1);
  ibx_ints q = ibx_shape_of(call, query), k = ibx_shape_of(call, keys);
  ibx_ints v = ibx_shape_of(call, ibx_in(call, 2));
  ibx_dtype dtype = ibx_dtype_of(call, query);
  ibx_dtype precise = read_precision(call, dtype);
  if (call->failed || !heads_fit(call, q, k, v)) return;
  double absent = 1 / sqrt((double)q.at[3]);
  double scale = (double)ibx_attr_float(call, "scale", (float)absent);
  int64_t rows = q.at[1] / k.at[1] * q.at[2];
  query =
      ibx_emit_reshape(call, query, IBX_INTS(q.at[0], k.at[1], rows, q.at[3]));
  ibx_val scores =
      ibx_emit_matmul(call, query, ibx_emit_swap(call, keys, 2, 3));
  scores =
      ibx_emit_cast(call, ibx_emit_affine(call, scores, scale, 0), precise);
  scores = ibx_emit_reshape(call, scores,
                            IBX_INTS(q.at[0], q.at[1], q.at[2], k.at[2]));
  scores = modify(call, "score_mod", scores);
  if (call->failed) return;
  ibx_val weights = modify(call, "prob_mod", ibx_emit_softmax(call, scores, 3));
  weights = ibx_emit_cast(call, weights, dtype);
  weights = ibx_emit_reshape(call, weights,
                             IBX_INTS(q.at[0], k.at[1], rows, k.at[2]));
  ibx_val y = ibx_emit_matmul(call, weights, ibx_in(call, 2));
  ibx_out(
      call, 0,
      ibx_emit_reshape(call, y, IBX_INTS(q.at[0], q.at[1], q.at[2], v.at[3])));
}

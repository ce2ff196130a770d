// SPDX-License-Identifier: Apache-2.0
//
// Imports If, and chooses between values for it and for Loop. Comes in: a
// condition. Goes out: the branch that a constant takes; of a condition that the
// data decide both branches, and of each two results the one that counts. Holds
// afterwards: results of different extents are as long as the longer one, with
// the extent of the one that counts.

#include "frontend/import.h"
#include "frontend/import_ops.h"

static int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

// Either of two extents, and the constants between which it lies.
static ibx_val choose_extent(ibx_call *call, ibx_val flag, ibx_val a,
                             ibx_val b) {
  ibx_val operands[] = {flag, a, b};
  ibx_val chosen = ibx_emit_static(call, IBX_TENSOR_select, NULL, operands, 3);
  int64_t low_a = ibx_least(call, a), low_b = ibx_least(call, b);
  ibx_set_bounds(
      call, chosen, ibx_emit_long(call, low_a < low_b ? low_a : low_b),
      ibx_emit_long(call, larger(ibx_most(call, a), ibx_most(call, b))));
  return chosen;
}

// As long as `shape`, which is at least as long, with zeros.
static ibx_val lengthen(ibx_call *call, ibx_val x, ibx_ints shape) {
  ibx_ints low = ibx_fill_ints(shape.len, 0), high = low;
  bool grows = false;
  for (uint8_t d = 0; d < shape.len; d++) {
    high.at[d] = shape.at[d] - ibx_dim(call, x, d);
    grows |= high.at[d] != 0;
  }
  ibx_params params = {.low = low, .high = high};
  return grows ? ibx_emit_static(call, IBX_TENSOR_pad, &params, &x, 1) : x;
}

static ibx_val choose_tensor(ibx_call *call, ibx_val flag, ibx_val a,
                             ibx_val b) {
  ibx_ints shape = ibx_shape_of(call, a), other = ibx_shape_of(call, b);
  bool fits =
      shape.len == other.len && ibx_dtype_of(call, a) == ibx_dtype_of(call, b);
  if (!ibx_call_expect(call, fits, "branches",
                       "give tensors of different ranks or types, and which "
                       "of them counts is known only while the model runs")) {
    return a;
  }
  for (uint8_t d = 0; d < shape.len; d++)
    shape.at[d] = larger(shape.at[d], other.at[d]);
  ibx_val operands[] = {ibx_emit_broadcast(call, flag, shape),
                        lengthen(call, a, shape), lengthen(call, b, shape)};
  ibx_val y = ibx_emit_static(call, IBX_TENSOR_select, NULL, operands, 3);
  for (uint8_t d = 0; d < shape.len && !call->failed; d++) {
    ibx_val of_a = ibx_extent(call, a, d), of_b = ibx_extent(call, b, d);
    bool same = of_a == of_b && ibx_dim(call, a, d) == ibx_dim(call, b, d);
    if (same && of_a != IBX_NO_VALUE) ibx_note_extent(call, y, d, of_a);
    if (same) continue;
    ibx_note_extent(call, y, d,
                    choose_extent(call, flag, ibx_extent_or_dim(call, a, d),
                                  ibx_extent_or_dim(call, b, d)));
  }
  return y;
}

static ibx_val choose_bundle(ibx_call *call, ibx_val flag, ibx_val a,
                             ibx_val b) {
  const ibx_bundle *x = ibx_bundle_of(call->import, a);
  const ibx_bundle *y = ibx_bundle_of(call->import, b);
  bool fits =
      x && y && x->is_optional == y->is_optional && x->count == y->count;
  if (!ibx_call_expect(call, fits, "branches",
                       "give sequences of different lengths, and which of "
                       "them counts is known only while the model runs")) {
    return a;
  }
  ibx_bundle of_a = *x, of_b = *y;
  ibx_val *items = IBX_ARENA_ARRAY(&call->import->scratch, of_a.count, ibx_val);
  for (size_t i = 0; i < of_a.count; i++)
    items[i] = ibx_emit_choice(call, flag, of_a.items[i], of_b.items[i]);
  of_a.items = items;
  return ibx_make_bundle(call->import, of_a);
}

ibx_val ibx_emit_choice(ibx_call *call, ibx_val flag, ibx_val a, ibx_val b) {
  if (a == b || call->failed) return a;
  return ibx_is_bundle(a) || ibx_is_bundle(b) ? choose_bundle(call, flag, a, b)
                                              : choose_tensor(call, flag, a, b);
}

void ibx_ask_constant(ibx_call *call, size_t index, const char *name) {
  call->failed = false;
  ibx_const_in(call, index, name);
  call->failed = true;
}

// --- If ------------------------------------------------------------------------

// A branch whose outputs go to `out`, as many as the node has.
static void import_branch(ibx_call *call, const char *name, ibx_val *out) {
  const Onnx__GraphProto *graph = ibx_attr_graph(call, name);
  if (call->failed) return;
  if (!graph) {
    ibx_call_fail(call, IBX_DIAG_MISSING_ATTRIBUTE, name, "add both branches",
                  "If needs both branches");
  } else if (ibx_call_expect(call, graph->n_output == call->out_count, name,
                             "has another number of outputs than the node")) {
    ibx_import_branch(call, graph, out);
  }
}

// A condition that is computed: both branches are, and one result is taken.
// Operations of the standard change nothing but their outputs.
static void import_both(ibx_call *call, ibx_val flag) {
  size_t count = call->out_count;
  ibx_val *yes = IBX_ARENA_ARRAY(&call->import->scratch, count, ibx_val);
  ibx_val *no = IBX_ARENA_ARRAY(&call->import->scratch, count, ibx_val);
  import_branch(call, "then_branch", yes);
  import_branch(call, "else_branch", no);
  for (size_t i = 0; i < count && !call->failed; i++) {
    if (!ibx_wants_out(call, i)) continue;
    ibx_out(call, i, ibx_emit_choice(call, flag, yes[i], no[i]));
  }
  if (call->failed) return;
  ibx_diag_slow(call->import->sink, IBX_DIAG_COMPUTES_ALL, call->at,
                "give the input that decides with --constant, and make a "
                "program for each of its values",
                "only the run tells which branch counts: both are computed");
}

void ibx_import_op_if(ibx_call *call) {
  ibx_val condition = ibx_in(call, 0);
  if (condition == IBX_NO_VALUE ||
      !ibx_call_expect(call, ibx_elements(ibx_type_of(call, condition)) == 1,
                       "cond", "needs one element")) {
    call->failed = true;
    return;
  }
  const ibx_tensor *known = ibx_force(call->import, condition);
  if (!known) {
    import_both(call, ibx_emit_reshape(call, condition, (ibx_ints){0}));
    // A constant would need one of the branches only.
    if (call->failed) ibx_ask_constant(call, 0, "cond");
    return;
  }
  bool is_yes = ibx_tensor_number(known, 0) != 0;
  import_branch(call, is_yes ? "then_branch" : "else_branch", call->out);
  // The other one is of no interest.
  ibx_attr_ignore(call, is_yes ? "else_branch" : "then_branch");
}

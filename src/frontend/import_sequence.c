// SPDX-License-Identifier: Apache-2.0
//
// Imports operators on sequences and optionals. Comes in: bundles, and tensors
// for their items. Goes out: other bundles, items of them, or constants that
// tell of them; no operation of the graph but where tensors are cut and joined.
// Holds afterwards: every position and number of items was known here.

#include "frontend/import.h"
#include "frontend/import_ops.h"

#include <inttypes.h>
#include <string.h>

enum { MOST_ITEMS = 1024 };

// Input `index`, which is a sequence; an empty one where it is not and the call
// has failed.
static ibx_bundle sequence_in(ibx_call *call, size_t index, const char *name) {
  ibx_val value = ibx_in(call, index);
  const ibx_bundle *bundle = ibx_bundle_of(call->import, value);
  if (bundle && !bundle->is_optional) return *bundle;
  ibx_call_fail(call, IBX_DIAG_OPERAND_TYPE, name,
                bundle ? "take its element with OptionalGetElement"
                       : "make a sequence of it with SequenceConstruct",
                "%s needs a sequence, '%s' is of type %s", call->at.op, name,
                ibx_value_kind(call->import, value));
  return (ibx_bundle){0};
}

static ibx_val *make_items(ibx_call *call, size_t count) {
  return IBX_ARENA_ARRAY(&call->import->scratch, count, ibx_val);
}

static bool expect_few(ibx_call *call, int64_t count, const char *name) {
  if (count <= MOST_ITEMS) return true;
  ibx_call_refuse(call, name, "a sequence of more than %d tensors", MOST_ITEMS);
  return false;
}

static void out_sequence(ibx_call *call, size_t index, ibx_dtype dtype,
                         const ibx_val *items, size_t count) {
  if (call->failed || !expect_few(call, (int64_t)count, NULL)) return;
  ibx_bundle bundle = {.dtype = dtype, .items = items, .count = count};
  ibx_out(call, index, ibx_make_bundle(call->import, bundle));
}

static bool expect_dtype(ibx_call *call, ibx_dtype wanted, ibx_val item) {
  ibx_dtype dtype = ibx_dtype_of(call, item);
  if (wanted == IBX_DTYPE_NONE || dtype == wanted) return true;
  ibx_call_fail(call, IBX_DIAG_OPERAND_TYPE, NULL,
                "convert the tensor with Cast before the node",
                "a tensor of %s does not go into a sequence of %s",
                ibx_dtype_get(dtype)->name, ibx_dtype_get(wanted)->name);
  return false;
}

// A position that must be known and at most `end`; negative ones count from the
// length.
static size_t read_position(ibx_call *call, size_t index, size_t length,
                            size_t end) {
  if (!ibx_expect_tensor(call, ibx_in(call, index), "position")) return 0;
  int64_t at = ibx_const_int(call, index, "position");
  if (call->failed) return 0;
  int64_t place = at < 0 && at >= -(int64_t)length ? at + (int64_t)length : at;
  if (place >= 0 && (uint64_t)place <= end) return (size_t)place;
  ibx_call_fail(call, IBX_DIAG_ATTRIBUTE_VALUE, "position",
                "use a position that the sequence has",
                "position %" PRId64 " does not exist in a sequence of length "
                "%zu",
                at, length);
  return 0;
}

// --- sequences ---------------------------------------------------------------

void ibx_import_op_sequence_construct(ibx_call *call) {
  ibx_val *items = make_items(call, call->in_count);
  ibx_dtype dtype = ibx_dtype_of(call, ibx_in(call, 0));
  for (size_t i = 0; i < call->in_count; i++) {
    items[i] = ibx_in(call, i);
    if (!ibx_call_expect(call, ibx_has_in(call, i), "inputs", "lack one") ||
        !expect_dtype(call, dtype, items[i])) {
      return;
    }
  }
  out_sequence(call, 0, dtype, items, call->in_count);
}

void ibx_import_op_sequence_empty(ibx_call *call) {
  int64_t number = ibx_attr_int(call, "dtype", 1);
  ibx_dtype dtype = ibx_dtype_from_onnx((int)number);
  if (dtype == IBX_DTYPE_NONE) {
    ibx_call_refuse(call, "dtype", "ONNX data type %" PRId64, number);
    return;
  }
  out_sequence(call, 0, dtype, NULL, 0);
}

void ibx_import_op_sequence_length(ibx_call *call) {
  int64_t count = (int64_t)sequence_in(call, 0, "input_sequence").count;
  ibx_out(call, 0, ibx_emit_longs(call, (ibx_ints){0}, &count));
}

// The element at a position that the data decide: one of all.
static void pick_item(ibx_call *call, const ibx_bundle *sequence) {
  ibx_val at = ibx_in(call, 1), found = sequence->items[0];
  if (!ibx_call_expect(call, ibx_elements(ibx_type_of(call, at)) == 1,
                       "position", "needs one element")) {
    return;
  }
  at = ibx_emit_cast(call, at, IBX_DTYPE_I64);
  at = ibx_emit_reshape(call, at, (ibx_ints){0});
  for (size_t i = 1; i < sequence->count && !call->failed; i++) {
    int64_t back = (int64_t)i - (int64_t)sequence->count;
    ibx_val here = ibx_emit_binary(call, IBX_TENSOR_equal, at,
                                   ibx_emit_long(call, (int64_t)i));
    ibx_val behind =
        ibx_emit_binary(call, IBX_TENSOR_equal, at, ibx_emit_long(call, back));
    found = ibx_emit_choice(call,
                            ibx_emit_binary(call, IBX_TENSOR_or, here, behind),
                            sequence->items[i], found);
  }
  if (call->failed) ibx_ask_constant(call, 1, "position");
  if (!call->failed) ibx_out(call, 0, found);
}

void ibx_import_op_sequence_at(ibx_call *call) {
  ibx_bundle sequence = sequence_in(call, 0, "input_sequence");
  if (call->failed) return;
  if (!ibx_call_expect(call, sequence.count != 0, "input_sequence",
                       "has no element")) {
    return;
  }
  if (ibx_has_in(call, 1) && !ibx_is_bundle(ibx_in(call, 1)) &&
      !ibx_is_known(call, ibx_in(call, 1))) {
    pick_item(call, &sequence);
    return;
  }
  size_t at = read_position(call, 1, sequence.count, sequence.count - 1);
  if (!call->failed) ibx_out(call, 0, sequence.items[at]);
}

void ibx_import_op_sequence_insert(ibx_call *call) {
  ibx_bundle sequence = sequence_in(call, 0, "input_sequence");
  ibx_val added = ibx_in(call, 1);
  size_t count = sequence.count, at = count;
  if (call->failed || !ibx_expect_tensor(call, added, "tensor") ||
      !expect_dtype(call, sequence.dtype, added)) {
    return;
  }
  if (ibx_has_in(call, 2)) at = read_position(call, 2, count, count);
  if (call->failed) return;
  ibx_val *items = make_items(call, count + 1);
  for (size_t i = 0; i <= count; i++) {
    items[i] = i == at ? added : sequence.items[i - (i > at)];
  }
  out_sequence(call, 0, ibx_dtype_of(call, added), items, count + 1);
}

void ibx_import_op_sequence_erase(ibx_call *call) {
  ibx_bundle sequence = sequence_in(call, 0, "input_sequence");
  size_t count = sequence.count;
  if (call->failed) return;
  if (!ibx_call_expect(call, count != 0, "input_sequence", "has no element")) {
    return;
  }
  size_t at = count - 1;
  if (ibx_has_in(call, 1)) at = read_position(call, 1, count, count - 1);
  if (call->failed) return;
  ibx_val *items = make_items(call, count - 1);
  for (size_t i = 0; i + 1 < count; i++)
    items[i] = sequence.items[i + (i >= at)];
  out_sequence(call, 0, sequence.dtype, items, count - 1);
}

// --- cutting and joining -----------------------------------------------------

static ibx_val widen(ibx_call *call, ibx_val x, int64_t axis) {
  ibx_ints shape = ibx_shape_of(call, x), wide = {0};
  for (uint8_t i = 0; i <= shape.len; i++) {
    if (i == axis) wide.at[wide.len++] = 1;
    if (i < shape.len) wide.at[wide.len++] = shape.at[i];
  }
  return ibx_emit_reshape(call, x, wide);
}

void ibx_import_op_concat_from_sequence(ibx_call *call) {
  ibx_bundle sequence = sequence_in(call, 0, "input_sequence");
  bool is_new = ibx_attr_flag(call, "new_axis", false);
  if (!ibx_has_attr(call, "axis")) {
    ibx_call_fail(call, IBX_DIAG_MISSING_ATTRIBUTE, "axis", "add the axis",
                  "ConcatFromSequence needs an axis");
  }
  int64_t axis = ibx_attr_int(call, "axis", 0);
  if (call->failed) return;
  if (!ibx_call_expect(call, sequence.count != 0, "input_sequence",
                       "has no element to join")) {
    return;
  }
  int64_t rank = ibx_rank(call, sequence.items[0]) + is_new;
  if (rank > IBX_MAX_RANK) {
    ibx_call_fail(call, IBX_DIAG_UNSUPPORTED_RANK, NULL,
                  "use tensors of at most 7 dimensions",
                  "tensors of %d dimensions cannot be stacked", IBX_MAX_RANK);
    return;
  }
  axis = ibx_axis(call, axis, rank);
  ibx_val *parts = make_items(call, sequence.count);
  for (size_t i = 0; i < sequence.count && !call->failed; i++) {
    parts[i] = sequence.items[i];
    bool fits = ibx_rank(call, parts[i]) + is_new == rank;
    ibx_call_expect(call, fits, "input_sequence", "differ in rank");
    if (is_new && fits) parts[i] = widen(call, parts[i], axis);
  }
  if (call->failed) return;
  ibx_out(call, 0, ibx_emit_concat(call, parts, sequence.count, axis));
}

// Sizes of the parts: given one by one, or one size of which the last part may
// fall short.
static ibx_list read_sizes(ibx_call *call, int64_t extent) {
  if (!ibx_expect_tensor(call, ibx_in(call, 1), "split")) return (ibx_list){0};
  const ibx_tensor *given = ibx_const_in(call, 1, "split");
  if (!given) return (ibx_list){0};
  ibx_list sizes = ibx_const_ints(call, 1, "split");
  if (given->type.rank != 0) return sizes;
  int64_t size = sizes.at[0];
  if (!ibx_call_expect(call, size > 0, "split", "is not positive")) {
    return (ibx_list){0};
  }
  int64_t count = extent / size + (extent % size != 0);
  if (!expect_few(call, count, "split")) return (ibx_list){0};
  sizes.len = (size_t)count;
  sizes.at = IBX_ARENA_ARRAY(&call->import->scratch, sizes.len, int64_t);
  for (int64_t i = 0; i < count; i++) {
    int64_t left = extent - i * size;
    sizes.at[i] = left < size ? left : size;
  }
  return sizes;
}

static void split_by(ibx_call *call, int64_t axis, ibx_list sizes) {
  ibx_val x = ibx_in(call, 0), *items = make_items(call, sizes.len);
  int64_t start = 0, extent = ibx_dim(call, x, axis);
  for (size_t i = 0; i < sizes.len; i++) {
    bool fits = sizes.at[i] >= 0 && sizes.at[i] <= extent - start;
    if (!ibx_call_expect(call, fits, "split", "does not fit the extent")) {
      return;
    }
    items[i] = ibx_emit_slice(call, x, axis, start, sizes.at[i], 1);
    start += sizes.at[i];
  }
  if (!ibx_call_expect(call, start == extent, "split",
                       "does not add up to the extent")) {
    return;
  }
  out_sequence(call, 0, ibx_dtype_of(call, x), items, sizes.len);
}

void ibx_import_op_split_to_sequence(ibx_call *call) {
  ibx_val x = ibx_in(call, 0);
  bool keeps = ibx_attr_flag(call, "keepdims", true);
  int64_t axis =
      ibx_axis(call, ibx_attr_int(call, "axis", 0), ibx_rank(call, x));
  if (call->failed) return;
  int64_t extent = ibx_dim(call, x, axis);
  if (ibx_has_in(call, 1)) { // then the parts keep the axis in any case
    ibx_list sizes = read_sizes(call, extent);
    if (!call->failed && expect_few(call, (int64_t)sizes.len, "split")) {
      split_by(call, axis, sizes);
    }
    return;
  }
  if (!expect_few(call, extent, "axis")) return;
  ibx_val *items = make_items(call, (size_t)extent);
  for (int64_t i = 0; i < extent; i++) {
    items[i] = keeps ? ibx_emit_slice(call, x, axis, i, 1, 1)
                     : ibx_emit_at(call, x, axis, i);
  }
  out_sequence(call, 0, ibx_dtype_of(call, x), items, (size_t)extent);
}

// --- a graph for each element ------------------------------------------------

// The declared element type of a body's output, for sequences without elements.
static ibx_dtype declared_dtype(const Onnx__ValueInfoProto *info) {
  const Onnx__TypeProto *type = info->type;
  bool is_tensor =
      type && type->value_case == ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE;
  return is_tensor ? ibx_dtype_from_onnx(type->tensor_type->elem_type)
                   : IBX_DTYPE_NONE;
}

// Elements at `trip` of the sequences, and the tensors as they are.
static bool read_trip(ibx_call *call, size_t trip, size_t trips, ibx_val *in) {
  for (size_t i = 0; i < call->in_count; i++) {
    const ibx_bundle *bundle = ibx_bundle_of(call->import, ibx_in(call, i));
    in[i] = ibx_in(call, i);
    if (!bundle) continue;
    bool fits = !bundle->is_optional && bundle->count == trips;
    if (!ibx_call_expect(call, fits, "additional_inputs",
                         "have another length than the first sequence")) {
      return false;
    }
    in[i] = bundle->items[trip];
  }
  return true;
}

static const Onnx__GraphProto *read_body(ibx_call *call) {
  const Onnx__GraphProto *body = ibx_attr_graph(call, "body");
  if (call->failed) return NULL;
  if (!body) {
    ibx_call_fail(call, IBX_DIAG_MISSING_ATTRIBUTE, "body", "add the body",
                  "SequenceMap needs a body");
    return NULL;
  }
  bool fits =
      body->n_input == call->in_count && body->n_output == call->out_count;
  ibx_call_expect(call, fits, "body",
                  "has another number of inputs or outputs than the node");
  return call->failed ? NULL : body;
}

void ibx_import_op_sequence_map(ibx_call *call) {
  ibx_arena *scratch = &call->import->scratch;
  size_t trips = sequence_in(call, 0, "input_sequence").count;
  const Onnx__GraphProto *body = read_body(call);
  if (!body || !expect_few(call, (int64_t)trips, "input_sequence")) return;
  ibx_val *in = make_items(call, call->in_count);
  ibx_val *out = make_items(call, call->out_count);
  ibx_val **made = IBX_ARENA_ARRAY(scratch, call->out_count, ibx_val *);
  for (size_t i = 0; i < call->out_count; i++)
    made[i] = make_items(call, trips);
  const char *prefix =
      ibx_arena_format(call->import->arena, "%s/", call->at.node);
  for (size_t t = 0; t < trips; t++) {
    if (!read_trip(call, t, trips, in)) return;
    ibx_body_ports ports = {.in = in,
                            .out = out,
                            .in_count = call->in_count,
                            .out_count = call->out_count};
    ibx_import_body(call, body, ports,
                    ibx_import_trip(call->import, prefix, t));
    for (size_t i = 0; i < call->out_count; i++)
      made[i][t] = out[i];
    if (call->failed) return;
  }
  for (size_t i = 0; i < call->out_count; i++) {
    ibx_dtype dtype = trips == 0 ? declared_dtype(body->output[i])
                                 : ibx_dtype_of(call, made[i][0]);
    out_sequence(call, i, dtype, made[i], trips);
  }
}

// --- optionals ---------------------------------------------------------------

void ibx_import_op_optional(ibx_call *call) {
  ibx_attr_ignore(call, "type"); // the type of an element that is not there
  ibx_bundle bundle = {.is_optional = true};
  if (ibx_has_in(call, 0)) {
    ibx_val value = ibx_in(call, 0);
    const ibx_bundle *element = ibx_bundle_of(call->import, value);
    if (element && element->is_optional) {
      ibx_call_refuse(call, "input", "an optional of an optional");
      return;
    }
    ibx_val *items = make_items(call, 1);
    items[0] = value;
    bundle.items = items;
    bundle.count = 1;
    bundle.dtype = element ? element->dtype : ibx_dtype_of(call, value);
  }
  ibx_out(call, 0, ibx_make_bundle(call->import, bundle));
}

// Since opset 18 a tensor or a sequence counts as an optional that has it.
void ibx_import_op_optional_has_element(ibx_call *call) {
  bool has = ibx_has_in(call, 0);
  const ibx_bundle *bundle =
      has ? ibx_bundle_of(call->import, ibx_in(call, 0)) : NULL;
  if (bundle && bundle->is_optional) has = bundle->count != 0;
  ibx_out(call, 0, ibx_emit_scalar(call, IBX_DTYPE_BOOL, has));
}

void ibx_import_op_optional_get_element(ibx_call *call) {
  ibx_val value = ibx_in(call, 0);
  const ibx_bundle *bundle = ibx_bundle_of(call->import, value);
  if (bundle && bundle->is_optional) {
    if (!ibx_call_expect(call, bundle->count != 0, "input",
                         "is an optional without an element")) {
      return;
    }
    value = bundle->items[0];
  }
  ibx_out(call, 0, value);
}

// SPDX-License-Identifier: Apache-2.0
//
// Imports operators on texts. Comes in: a call. Goes out: calls on the host.
// What only moves texts goes by a detour: the importer moves the numbers of the
// elements, on the device or here, and the host takes the texts by these
// numbers. So every operator that moves elements moves texts as well.

#include "frontend/import.h"
#include "frontend/import_ops.h"

#include <string.h>

static void host_one(ibx_call *call, const char *name, const ibx_val *operands,
                     size_t operand_count, const int64_t *ints,
                     size_t int_count, ibx_type result) {
  ibx_val out;
  ibx_host_use use = {.call = name,
                      .operands = operands,
                      .ints = ints,
                      .results = &result,
                      .operand_count = operand_count,
                      .int_count = int_count,
                      .result_count = 1};
  ibx_emit_host(call, &use, &out);
  if (!call->failed) ibx_out(call, 0, out);
}

// The shape of both, broadcast; open where it depends on an open extent.
static ibx_ints common_shape(ibx_call *call, ibx_ints a, ibx_ints b) {
  ibx_ints wide = a.len >= b.len ? a : b, thin = a.len >= b.len ? b : a;
  for (uint8_t i = 0; i < thin.len; i++) {
    int64_t *extent = &wide.at[wide.len - thin.len + i];
    if (thin.at[i] == IBX_OPEN_EXTENT && *extent <= 1) *extent = thin.at[i];
    if (*extent == IBX_OPEN_EXTENT && thin.at[i] != 1) {
      *extent = thin.at[i];
    } else if (thin.at[i] != IBX_OPEN_EXTENT && *extent != IBX_OPEN_EXTENT) {
      ibx_ints one =
          ibx_broadcast_shape(call, IBX_INTS(*extent), IBX_INTS(thin.at[i]));
      *extent = one.at[0];
    }
  }
  return wide;
}

static void import_pair(ibx_call *call, const char *name, ibx_dtype dtype) {
  ibx_val operands[] = {ibx_in(call, 0), ibx_in(call, 1)};
  bool are_texts =
      ibx_is_text(call, operands[0]) && ibx_is_text(call, operands[1]);
  if (!are_texts) {
    ibx_call_fail(call, IBX_DIAG_OPERAND_TYPE, call->proto->input[1],
                  "give both inputs the same element type",
                  "one input has texts, the other has not");
    return;
  }
  ibx_ints shape = common_shape(call, ibx_shape_of(call, operands[0]),
                                ibx_shape_of(call, operands[1]));
  host_one(call, name, operands, 2, NULL, 0, ibx_make_type(dtype, shape));
}

void ibx_import_text_equal(ibx_call *call) {
  import_pair(call, "text_equal", IBX_DTYPE_BOOL);
}

void ibx_import_op_string_concat(ibx_call *call) {
  import_pair(call, "text_concat", IBX_DTYPE_STRING);
}

void ibx_import_text_cast(ibx_call *call, ibx_dtype dtype) {
  ibx_val x = ibx_in(call, 0);
  ibx_type type = ibx_make_type(dtype, ibx_shape_of(call, x));
  int64_t number = dtype;
  if (!ibx_is_text(call, x)) {
    host_one(call, "number_to_text", &x, 1, NULL, 0, type);
  } else if (dtype == IBX_DTYPE_STRING) {
    ibx_out(call, 0, x);
  } else {
    host_one(call, "text_to_number", &x, 1, &number, 1, type);
  }
}

void ibx_import_op_regex_full_match(ibx_call *call) {
  const char *pattern = ibx_attr_text(call, "pattern", "");
  ibx_val x = ibx_in(call, 0);
  ibx_val operands[] = {x, ibx_emit_text(call, pattern, strlen(pattern))};
  // A pattern that the host refuses is refused here, before any text comes.
  uint64_t zero = 0;
  ibx_host_tensor nothing = {.dtype = IBX_DTYPE_STRING, .rank = 1};
  nothing.offsets = &zero;
  ibx_val trial[] = {ibx_import_texts(call->import, &nothing), operands[1]};
  ibx_emit_host_value(call, "text_match", trial, 2,
                      ibx_make_type(IBX_DTYPE_BOOL, IBX_INTS(0)));
  host_one(call, "text_match", operands, 2, NULL, 0,
           ibx_make_type(IBX_DTYPE_BOOL, ibx_shape_of(call, x)));
}

void ibx_import_op_string_split(ibx_call *call) {
  const char *delimiter = ibx_attr_text(call, "delimiter", "");
  int64_t most = ibx_attr_int(call, "maxsplit", -1);
  ibx_val x = ibx_in(call, 0), out[2];
  ibx_ints shape = ibx_shape_of(call, x), wide = shape;
  if (shape.len == IBX_MAX_RANK) {
    ibx_call_refuse(call, NULL, "the result has more than 8 dimensions");
    return;
  }
  wide.at[wide.len++] = IBX_OPEN_EXTENT;
  ibx_val operands[] = {x, ibx_emit_text(call, delimiter, strlen(delimiter))};
  ibx_type types[] = {ibx_make_type(IBX_DTYPE_STRING, wide),
                      ibx_make_type(IBX_DTYPE_I64, shape)};
  ibx_host_use use = {.call = "text_split",
                      .operands = operands,
                      .ints = &most,
                      .results = types,
                      .operand_count = 2,
                      .int_count = 1,
                      .result_count = 2};
  ibx_emit_host(call, &use, out);
  if (call->failed) return;
  ibx_out(call, 0, out[0]);
  ibx_out(call, 1, out[1]);
}

// The position of a text in a list that NULL ends; -1 when it is not there.
static int64_t choose(const char *const *list, const char *text) {
  for (int64_t i = 0; list[i]; i++) {
    if (strcmp(list[i], text) == 0) return i;
  }
  return -1;
}

static int64_t attr_choice(ibx_call *call, const char *name,
                           const char *const *list, const char *absent) {
  const char *text = ibx_attr_text(call, name, absent);
  int64_t found = choose(list, text);
  if (found < 0) {
    ibx_call_fail(call, IBX_DIAG_ATTRIBUTE_VALUE, name,
                  "use a value that the operator declares",
                  "'%s' is no value of '%s'", text, name);
  }
  return found < 0 ? 0 : found;
}

void ibx_import_op_string_normalizer(ibx_call *call) {
  static const char *const actions[] = {"NONE", "LOWER", "UPPER", NULL};
  int64_t ints[] = {attr_choice(call, "case_change_action", actions, "NONE"),
                    ibx_attr_flag(call, "is_case_sensitive", false)};
  ibx_attr_ignore(call, "locale");
  ibx_val x = ibx_in(call, 0);
  ibx_val operands[] = {x, ibx_attr_texts(call, "stopwords", IBX_NO_VALUE)};
  ibx_ints shape = ibx_shape_of(call, x);
  bool is_row = shape.len == 1 || (shape.len == 2 && shape.at[0] == 1);
  if (!ibx_call_expect(call, is_row, "X", "needs the shape [C] or [1, C]")) {
    return;
  }
  shape.at[shape.len - 1] = IBX_OPEN_EXTENT;
  // Without stop words nothing goes, but for what is not there at all.
  int64_t extent = ibx_dim(call, x, -1);
  if (operands[1] == IBX_NO_VALUE && extent != IBX_OPEN_EXTENT) {
    shape.at[shape.len - 1] = extent == 0 ? 1 : extent;
  }
  host_one(call, "text_normalize", operands, 2, ints, 2,
           ibx_make_type(IBX_DTYPE_STRING, shape));
}

// --- tokens ------------------------------------------------------------------

// The expressions as one that matches where one of them does.
static const char *join_patterns(ibx_call *call,
                                 const Onnx__AttributeProto *list) {
  const char *joined = "";
  for (size_t i = 0; i < list->n_strings; i++) {
    joined = ibx_arena_format(&call->import->scratch, "%s%s(?:%.*s)", joined,
                              i == 0 ? "" : "|", (int)list->strings[i].len,
                              (const char *)list->strings[i].data);
  }
  return joined;
}

void ibx_import_op_tokenizer(ibx_call *call) {
  enum { MATCHES, BETWEEN, CHARACTERS };
  const Onnx__AttributeProto *separators =
      IBX_ATTR(call, "separators", STRINGS);
  const char *pattern = ibx_attr_text(call, "tokenexp", "");
  const char *pad = ibx_attr_text(call, "pad_value", "");
  int64_t ints[] = {MATCHES, ibx_attr_flag(call, "mark", false),
                    ibx_attr_int(call, "mincharnum", 1)};
  if (separators && separators->n_strings != 0) {
    bool is_empty =
        separators->n_strings == 1 && separators->strings[0].len == 0;
    ints[0] = is_empty ? CHARACTERS : BETWEEN;
    pattern = join_patterns(call, separators);
  }
  ibx_val x = ibx_in(call, 0);
  ibx_ints shape = ibx_shape_of(call, x);
  if (!ibx_call_expect(call, shape.len < IBX_MAX_RANK, "X",
                       "has 8 dimensions, the result would have 9")) {
    return;
  }
  shape.at[shape.len++] = IBX_OPEN_EXTENT;
  ibx_val operands[] = {x, ibx_emit_text(call, pattern, strlen(pattern)),
                        ibx_emit_text(call, pad, strlen(pad))};
  host_one(call, "text_tokens", operands, 3, ints, 3,
           ibx_make_type(IBX_DTYPE_STRING, shape));
}

// --- moving ------------------------------------------------------------------

/// The tensors of texts of a call, put one after another.
typedef struct parts {
  ibx_val *values;
  size_t count;
  int64_t elements;
} parts;

// The numbers of the elements of a part, in its shape.
static ibx_val number_part(ibx_call *call, parts *p, ibx_val value) {
  ibx_ints shape = ibx_shape_of(call, value);
  int64_t count = ibx_elements(ibx_type_of(call, value));
  if (!ibx_call_expect_room(call, count)) return value;
  int64_t *at = ibx_arena_array(call->import->arena, (size_t)count, sizeof *at);
  for (int64_t i = 0; i < count; i++)
    at[i] = p->elements + i;
  p->values[++p->count] = value;
  p->elements += count;
  return ibx_emit_constant(call, ibx_make_type(IBX_DTYPE_I64, shape), at);
}

ibx_val ibx_emit_text_reshape(ibx_call *call, ibx_val x, ibx_ints shape) {
  ibx_val operands[] = {x, ibx_emit_longs(call, IBX_INTS(shape.len), shape.at)};
  return ibx_emit_host_value(call, "reshape", operands, 2,
                             ibx_make_type(IBX_DTYPE_STRING, shape));
}

// The product of some extents; open where one of them is.
static int64_t product(ibx_ints shape, int64_t first, int64_t last) {
  int64_t value = 1;
  for (int64_t i = first; i < last; i++) {
    if (shape.at[i] == IBX_OPEN_EXTENT) return IBX_OPEN_EXTENT;
    if (!ibx_mul_extent(value, shape.at[i], &value)) return 0;
  }
  return value;
}

// Texts whose extents only the run tells go to another shape, of which it tells
// one: as Flatten or Reshape says.
static void view_open(ibx_call *call) {
  ibx_val x = ibx_in(call, 0);
  ibx_ints shape = ibx_shape_of(call, x), wanted = {0};
  if (call->row->import == ibx_import_op_flatten) {
    int64_t axis = ibx_attr_int(call, "axis", 1);
    axis = axis == shape.len ? axis : ibx_axis(call, axis, shape.len);
    wanted = IBX_INTS(product(shape, 0, axis), product(shape, axis, shape.len));
  } else {
    bool keeps_zero = ibx_attr_flag(call, "allowzero", false);
    wanted = ibx_const_dims(call, 1, "shape");
    for (uint8_t i = 0; i < wanted.len && !keeps_zero; i++) {
      if (wanted.at[i] == 0 && i < shape.len) wanted.at[i] = shape.at[i];
    }
  }
  size_t open = 0;
  for (uint8_t i = 0; i < wanted.len; i++)
    open += wanted.at[i] == IBX_OPEN_EXTENT;
  if (open > 1) {
    ibx_call_refuse(call, NULL,
                    "a shape in which the run tells more than one extent");
  }
  if (!call->failed) ibx_out(call, 0, ibx_emit_text_reshape(call, x, wanted));
}

// The numbers become texts.
static ibx_val take_texts(ibx_call *call, const parts *p, ibx_val numbers) {
  ibx_type type = ibx_make_type(IBX_DTYPE_STRING, ibx_shape_of(call, numbers));
  p->values[0] = numbers;
  return ibx_emit_host_value(call, "take", p->values, p->count + 1, type);
}

// A tensor, or the items of a sequence, by numbers: [count] of them at most.
static ibx_val number_value(ibx_call *call, parts *p, ibx_val value) {
  const ibx_bundle *found = ibx_bundle_of(call->import, value);
  if (!found) return number_part(call, p, value);
  ibx_bundle bundle = *found;
  ibx_val *items =
      IBX_ARENA_ARRAY(&call->import->scratch, bundle.count, ibx_val);
  for (size_t i = 0; i < bundle.count && !call->failed; i++) {
    ibx_val item = bundle.items[i];
    if (ibx_is_open(ibx_type_of(call, item))) {
      ibx_call_refuse(call, "input_sequence",
                      "texts of extents that only the run tells");
      return value;
    }
    items[i] = number_part(call, p, item);
  }
  bundle.items = items;
  bundle.dtype = IBX_DTYPE_I64;
  return call->failed ? value : ibx_make_bundle(call->import, bundle);
}

static ibx_val take_value(ibx_call *call, const parts *p, ibx_val value) {
  const ibx_bundle *found = ibx_bundle_of(call->import, value);
  if (!found) return take_texts(call, p, value);
  ibx_bundle bundle = *found;
  ibx_val *items =
      IBX_ARENA_ARRAY(&call->import->scratch, bundle.count, ibx_val);
  for (size_t i = 0; i < bundle.count && !call->failed; i++)
    items[i] = take_texts(call, p, bundle.items[i]);
  bundle.items = items;
  bundle.dtype = IBX_DTYPE_STRING;
  return call->failed ? value : ibx_make_bundle(call->import, bundle);
}

ibx_val ibx_emit_text_choice(ibx_call *call, ibx_val flag, ibx_val a,
                             ibx_val b) {
  ibx_ints of_a = ibx_shape_of(call, a), of_b = ibx_shape_of(call, b);
  bool fits = ibx_is_text(call, a) && ibx_is_text(call, b) &&
              !ibx_is_open(ibx_type_of(call, a)) && of_a.len == of_b.len;
  for (uint8_t i = 0; fits && i < of_a.len; i++)
    fits = of_a.at[i] == of_b.at[i];
  if (!ibx_call_expect(call, fits, "branches",
                       "give texts beside numbers or of another shape, and "
                       "which of them counts is known only while the model "
                       "runs")) {
    return a;
  }
  ibx_val values[3];
  parts p = {.values = values};
  ibx_val first = number_part(call, &p, a), second = number_part(call, &p, b);
  return take_texts(call, &p, ibx_emit_select(call, flag, first, second));
}

// How many tensors of texts an input is.
static size_t count_texts(const ibx_call *call, size_t index) {
  if (!ibx_has_in(call, index)) return 0;
  const ibx_bundle *bundle = ibx_bundle_of(call->import, call->in[index]);
  if (!bundle) return ibx_is_text(call, call->in[index]);
  return bundle->dtype == IBX_DTYPE_STRING ? bundle->count : 0;
}

void ibx_import_moved_texts(ibx_call *call) {
  if (!ibx_is_bundle(ibx_in(call, 0)) && ibx_is_text(call, ibx_in(call, 0)) &&
      ibx_is_open(ibx_type_of(call, ibx_in(call, 0)))) {
    view_open(call);
    return;
  }
  size_t texts = 0;
  for (size_t i = 0; i < call->in_count; i++)
    texts += count_texts(call, i);
  parts p = {.values =
                 IBX_ARENA_ARRAY(&call->import->scratch, texts + 1, ibx_val)};
  for (size_t i = 0; i < call->in_count && !call->failed; i++) {
    if (count_texts(call, i) == 0) continue;
    call->in[i] = number_value(call, &p, call->in[i]);
  }
  if (call->failed) return;
  call->row->import(call);
  for (size_t i = 0; i < call->out_count && !call->failed; i++) {
    if (call->out[i] == IBX_NO_VALUE) continue;
    ibx_val taken = take_value(call, &p, call->out[i]);
    if (!call->failed) call->out[i] = taken;
  }
}

// --- images ------------------------------------------------------------------

void ibx_import_op_image_decoder(ibx_call *call) {
  static const char *const formats[] = {"Grayscale", "RGB", "BGR", NULL};
  int64_t format = attr_choice(call, "pixel_format", formats, "RGB");
  ibx_val x = ibx_in(call, 0);
  if (!ibx_call_expect(call, ibx_rank(call, x) == 1, "encoded_stream",
                       "needs 1 dimension")) {
    return;
  }
  // A file that cannot be read gives no channels at all.
  host_one(call, "decode_image", &x, 1, &format, 1,
           ibx_make_type(IBX_DTYPE_U8, ibx_fill_ints(3, IBX_OPEN_EXTENT)));
}

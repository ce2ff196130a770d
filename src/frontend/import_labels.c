// SPDX-License-Identifier: Apache-2.0
//
// Imports lookups by key: labels, categories and n-grams. Comes in: a call whose
// attributes are lists. Goes out: a call on the host, with the lists as
// constants. Numbers that become numbers stay on the device where the table is
// small: a comparison with all keys, and a gather.

#include "frontend/import.h"
#include "frontend/import_ops.h"
#include "frontend/import_trees.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

// --- lists of attributes -----------------------------------------------------

static ibx_val vector_of(ibx_call *call, ibx_dtype dtype, const void *from,
                         size_t count) {
  size_t size = ibx_dtype_bytes(dtype);
  void *data = ibx_arena_array(call->import->arena, count, size);
  if (count != 0) memcpy(data, from, count * size);
  ibx_type type = {.dims = {(int64_t)count}, .rank = 1, .dtype = dtype};
  return ibx_emit_constant(call, type, data);
}

static ibx_val tensor_attr(ibx_call *call, const char *name) {
  const Onnx__AttributeProto *found = IBX_ATTR(call, name, TENSOR);
  ibx_import *import = call->import;
  ibx_val texts = IBX_NO_VALUE;
  ibx_weight weight;
  if (!found || !found->t) return IBX_NO_VALUE;
  if (ibx_is_text_tensor(found->t)) {
    call->failed |= !ibx_import_text_tensor(import, found->t, call->at, &texts);
    return texts;
  }
  if (!ibx_model_weight(import->model, found->t, call->at.node, call->at,
                        import->sink, import->arena, &weight)) {
    call->failed = true;
    return IBX_NO_VALUE;
  }
  return ibx_import_constant(import, weight, call->source);
}

// The list "keys" or "values", in whichever of its four forms it is there.
static ibx_val list_attr(ibx_call *call, const char *what) {
  char name[32];
  ibx_val found = IBX_NO_VALUE;
  snprintf(name, sizeof name, "%s_strings", what);
  found = ibx_attr_texts(call, name, IBX_NO_VALUE);
  snprintf(name, sizeof name, "%s_int64s", what);
  const Onnx__AttributeProto *ints = IBX_ATTR(call, name, INTS);
  if (ints) found = vector_of(call, IBX_DTYPE_I64, ints->ints, ints->n_ints);
  snprintf(name, sizeof name, "%s_floats", what);
  const Onnx__AttributeProto *floats = IBX_ATTR(call, name, FLOATS);
  if (floats) {
    found = vector_of(call, IBX_DTYPE_F32, floats->floats, floats->n_floats);
  }
  snprintf(name, sizeof name, "%s_tensor", what);
  ibx_val tensor = tensor_attr(call, name);
  if (tensor != IBX_NO_VALUE) found = tensor;
  if (found == IBX_NO_VALUE) {
    ibx_call_fail(call, IBX_DIAG_MISSING_ATTRIBUTE, what, "add the attribute",
                  "%s needs a list of %s", call->at.op, what);
  }
  return found;
}

// What a key that is not there gives.
static ibx_val default_of(ibx_call *call, ibx_dtype dtype) {
  const char *text = ibx_attr_text(call, "default_string", "_Unused");
  double number = (double)ibx_attr_any_float(call, "default_float", -0.0f);
  int64_t integer = ibx_attr_int(call, "default_int64", -1);
  ibx_val tensor = tensor_attr(call, "default_tensor");
  if (tensor != IBX_NO_VALUE) return tensor;
  if (dtype == IBX_DTYPE_STRING) {
    return ibx_emit_text(call, text, strlen(text));
  }
  if (ibx_is_float(dtype)) return ibx_emit_scalar(call, dtype, number);
  return ibx_emit_cast(call, ibx_emit_longs(call, (ibx_ints){0}, &integer),
                       dtype);
}

// --- numbers to numbers ------------------------------------------------------

enum { MOST_COMPARISONS = 1 << 20 };

// Whether x equals each key, in a last dimension of its own. A key that is NaN
// equals every NaN.
static ibx_val equal_keys(ibx_call *call, ibx_val x, ibx_val keys) {
  const ibx_tensor *known = ibx_force(call->import, keys);
  ibx_ints shape = ibx_shape_of(call, x);
  shape.at[shape.len++] = 1;
  x = ibx_emit_reshape(call, x, shape);
  ibx_val equal = ibx_emit_binary(call, IBX_TENSOR_equal, x, keys);
  size_t count = known ? (size_t)ibx_elements(&known->type) : 0;
  uint8_t *is_nan = ibx_arena_alloc(call->import->arena, count);
  bool has_nan = false;
  for (size_t i = 0; i < count && ibx_is_float(known->type.dtype); i++) {
    bool key = isnan(ibx_tensor_number(known, i));
    is_nan[i] = key;
    has_nan |= key;
  }
  if (!has_nan) return equal;
  ibx_type type = ibx_make_type(IBX_DTYPE_BOOL, IBX_INTS((int64_t)count));
  ibx_val nans = ibx_emit_binary(call, IBX_TENSOR_and,
                                 ibx_emit_unary(call, IBX_TENSOR_is_nan, x),
                                 ibx_emit_constant(call, type, is_nan));
  return ibx_emit_binary(call, IBX_TENSOR_or, equal, nans);
}

// The place of the last equal key, counted from 1; 0 where there is none.
static ibx_val last_match(ibx_call *call, ibx_val equal, int64_t keys) {
  int32_t *places =
      ibx_arena_array(call->import->arena, (size_t)keys, sizeof *places);
  for (int64_t i = 0; i < keys; i++)
    places[i] = (int32_t)(i + 1);
  ibx_type type = ibx_make_type(IBX_DTYPE_I32, IBX_INTS(keys));
  ibx_val numbers = ibx_emit_binary(call, IBX_TENSOR_mul,
                                    ibx_emit_cast(call, equal, IBX_DTYPE_I32),
                                    ibx_emit_constant(call, type, places));
  int64_t last = ibx_rank(call, numbers) - 1;
  return ibx_emit_reduce(call, IBX_TENSOR_reduce_max, numbers, IBX_INTS(last),
                         false);
}

// Whether constant integers are such that the device, which has 32 bits, holds.
static bool are_narrow(ibx_call *call, ibx_val value) {
  const ibx_tensor *tensor = ibx_force(call->import, value);
  bool is_wide_type = ibx_dtype_bytes(ibx_dtype_of(call, value)) == 8;
  if (!is_wide_type) return true;
  size_t count = tensor ? (size_t)ibx_elements(&tensor->type) : 0;
  for (size_t i = 0; i < count; i++) {
    int64_t number = ibx_tensor_int(tensor, i);
    if (number < INT32_MIN || number > INT32_MAX) return false;
  }
  return tensor && !ibx_is_float(tensor->type.dtype);
}

// Integers of 64 bits are compared on the host, where all of them count.
static bool suits_device(ibx_call *call, ibx_val x, ibx_val keys,
                         ibx_val values, ibx_val absent) {
  ibx_dtype dtype = ibx_dtype_of(call, x);
  int64_t work;
  bool is_wide = dtype == IBX_DTYPE_I64 || dtype == IBX_DTYPE_U64 ||
                 dtype == IBX_DTYPE_F64;
  return !is_wide && dtype != IBX_DTYPE_STRING &&
         dtype == ibx_dtype_of(call, keys) &&
         ibx_dtype_of(call, values) != IBX_DTYPE_STRING &&
         are_narrow(call, values) && are_narrow(call, absent) &&
         !ibx_is_open(ibx_type_of(call, x)) &&
         ibx_rank(call, x) < IBX_MAX_RANK && ibx_dim(call, keys, 0) != 0 &&
         ibx_mul_extent(ibx_elements(ibx_type_of(call, x)),
                        ibx_dim(call, keys, 0), &work) &&
         work <= MOST_COMPARISONS;
}

static ibx_val encode_on_host(ibx_call *call, ibx_val x, ibx_val keys,
                              ibx_val values, ibx_val absent) {
  ibx_val operands[] = {x, keys, values, absent};
  ibx_type type =
      ibx_make_type(ibx_dtype_of(call, values), ibx_shape_of(call, x));
  return ibx_emit_host_value(call, "label_encode", operands, 4, type);
}

static void encode(ibx_call *call, ibx_val keys, ibx_val values,
                   ibx_val absent) {
  ibx_val x = ibx_in(call, 0);
  if (call->failed) return;
  bool fits = ibx_rank(call, keys) == 1 && ibx_rank(call, values) == 1 &&
              ibx_dim(call, keys, 0) == ibx_dim(call, values, 0) &&
              ibx_elements(ibx_type_of(call, absent)) == 1 &&
              ibx_dtype_of(call, absent) == ibx_dtype_of(call, values);
  if (!ibx_call_expect(call, fits, "keys",
                       "needs as many keys as values, and one default of the "
                       "type of the values")) {
    return;
  }
  if (ibx_dtype_of(call, keys) != ibx_dtype_of(call, x)) {
    ibx_call_fail(call, IBX_DIAG_OPERAND_TYPE, call->proto->input[0],
                  "give the keys the element type of the input",
                  "the input is %s, the keys are %s",
                  ibx_dtype_get(ibx_dtype_of(call, x))->name,
                  ibx_dtype_get(ibx_dtype_of(call, keys))->name);
    return;
  }
  if (suits_device(call, x, keys, values, absent)) {
    ibx_val equal = equal_keys(call, x, keys);
    ibx_val place = last_match(call, equal, ibx_dim(call, keys, 0));
    ibx_val table[] = {ibx_emit_reshape(call, absent, IBX_INTS(1)), values};
    ibx_out(
        call, 0,
        ibx_emit_gather(call, ibx_emit_concat(call, table, 2, 0), place, 0));
    return;
  }
  ibx_out(call, 0, encode_on_host(call, x, keys, values, absent));
}

ibx_val ibx_emit_named(ibx_call *call, ibx_val number, ibx_val names) {
  if (are_narrow(call, names)) return ibx_emit_gather(call, names, number, 0);
  ibx_val keys = ibx_emit_iota(call, ibx_dim(call, names, 0));
  return encode_on_host(call, number, keys, names,
                        ibx_emit_slice(call, names, 0, 0, 1, 1));
}

void ibx_import_op_label_encoder(ibx_call *call) {
  ibx_val keys = list_attr(call, "keys");
  ibx_val values = list_attr(call, "values");
  if (call->failed) return;
  encode(call, keys, values, default_of(call, ibx_dtype_of(call, values)));
}

// Texts become numbers and numbers texts, by two lists of one length.
static void encode_between(ibx_call *call, ibx_val texts, ibx_val numbers) {
  bool to_numbers = ibx_is_text(call, ibx_in(call, 0));
  ibx_val values = to_numbers ? numbers : texts;
  ibx_val x = ibx_in(call, 0);
  if (!to_numbers) call->in[0] = x = ibx_emit_cast(call, x, IBX_DTYPE_I64);
  encode(call, to_numbers ? texts : numbers, values,
         default_of(call, ibx_dtype_of(call, values)));
}

void ibx_import_op_category_mapper(ibx_call *call) {
  ibx_val texts = ibx_attr_texts(call, "cats_strings", IBX_NO_VALUE);
  const Onnx__AttributeProto *ints = IBX_ATTR(call, "cats_int64s", INTS);
  if (texts == IBX_NO_VALUE || !ints) {
    ibx_call_fail(call, IBX_DIAG_MISSING_ATTRIBUTE, "cats_strings",
                  "add both lists",
                  "CategoryMapper needs cats_strings and cats_int64s");
    return;
  }
  encode_between(call, texts,
                 vector_of(call, IBX_DTYPE_I64, ints->ints, ints->n_ints));
}

// The first form numbers its classes from 0.
void ibx_import_op_label_encoder_1(ibx_call *call) {
  ibx_val texts = ibx_attr_texts(call, "classes_strings", IBX_NO_VALUE);
  if (texts == IBX_NO_VALUE) {
    ibx_call_fail(call, IBX_DIAG_MISSING_ATTRIBUTE, "classes_strings",
                  "add the list", "LabelEncoder needs classes_strings");
    return;
  }
  encode_between(call, texts, ibx_emit_iota(call, ibx_dim(call, texts, 0)));
}

// --- n-grams -----------------------------------------------------------------

static ibx_val ints_attr(ibx_call *call, const char *name,
                         const int64_t **out_at, size_t *out_len) {
  const Onnx__AttributeProto *found = IBX_ATTR(call, name, INTS);
  *out_len = found ? found->n_ints : 0;
  *out_at = found ? found->ints : NULL;
  if (found) return vector_of(call, IBX_DTYPE_I64, found->ints, found->n_ints);
  ibx_call_fail(call, IBX_DIAG_MISSING_ATTRIBUTE, name, "add the attribute",
                "%s needs %s", call->at.op, name);
  return IBX_NO_VALUE;
}

static ibx_val pool_of(ibx_call *call) {
  ibx_val texts = ibx_attr_texts(call, "pool_strings", IBX_NO_VALUE);
  const Onnx__AttributeProto *ints = IBX_ATTR(call, "pool_int64s", INTS);
  bool is_text = ibx_is_text(call, ibx_in(call, 0));
  if (is_text ? texts != IBX_NO_VALUE : ints != NULL) {
    return is_text ? texts
                   : vector_of(call, IBX_DTYPE_I64, ints->ints, ints->n_ints);
  }
  ibx_call_fail(call, IBX_DIAG_MISSING_ATTRIBUTE,
                is_text ? "pool_strings" : "pool_int64s",
                "give the pool the element type of the input",
                "TfIdfVectorizer has no pool of the input's type");
  return IBX_NO_VALUE;
}

static int64_t mode_of(ibx_call *call) {
  const char *mode = ibx_attr_text(call, "mode", "");
  if (strcmp(mode, "TF") == 0) return 0;
  if (strcmp(mode, "IDF") == 0) return 1;
  if (strcmp(mode, "TFIDF") == 0) return 2;
  ibx_call_fail(call, IBX_DIAG_ATTRIBUTE_VALUE, "mode", "use TF, IDF or TFIDF",
                "'%s' is no mode", mode);
  return 0;
}

// Columns of the result; 0 where the list is empty or has a negative number.
static int64_t column_count(const int64_t *columns, size_t count) {
  int64_t most = -1;
  for (size_t i = 0; i < count; i++) {
    if (columns[i] < 0 || columns[i] > (1 << 28)) return 0;
    if (columns[i] > most) most = columns[i];
  }
  return most + 1;
}

void ibx_import_op_tfidf_vectorizer(ibx_call *call) {
  const int64_t *at;
  size_t count;
  ibx_val x = ibx_in(call, 0), out;
  ibx_val starts = ints_attr(call, "ngram_counts", &at, &count);
  ibx_val columns = ints_attr(call, "ngram_indexes", &at, &count);
  const Onnx__AttributeProto *weights = IBX_ATTR(call, "weights", FLOATS);
  ibx_val operands[] = {x, pool_of(call), starts, columns, IBX_NO_VALUE};
  if (weights) {
    operands[4] =
        vector_of(call, IBX_DTYPE_F32, weights->floats, weights->n_floats);
  }
  int64_t ints[] = {mode_of(call), ibx_attr_int(call, "min_gram_length", 1),
                    ibx_attr_int(call, "max_gram_length", 1),
                    ibx_attr_int(call, "max_skip_count", 0),
                    column_count(at, count)};
  ibx_ints shape = ibx_shape_of(call, x);
  if (!ibx_call_expect(call, shape.len <= 2, "X", "needs 1 or 2 dimensions") ||
      !ibx_call_expect(call, ints[4] > 0, "ngram_indexes",
                       "is empty, or has a column that no result can have")) {
    return;
  }
  ibx_ints wanted =
      shape.len == 2 ? IBX_INTS(shape.at[0], ints[4]) : IBX_INTS(ints[4]);
  ibx_type type = ibx_make_type(IBX_DTYPE_F32, wanted);
  ibx_host_use use = {.call = "tfidf",
                      .operands = operands,
                      .ints = ints,
                      .results = &type,
                      .operand_count = 5,
                      .int_count = 5,
                      .result_count = 1};
  ibx_emit_host(call, &use, &out);
  if (!call->failed) ibx_out(call, 0, out);
}

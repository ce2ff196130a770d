// SPDX-License-Identifier: Apache-2.0
//
// Shape inference. Comes in: an operation, its parameters and the types of its
// operands, all of them unchecked. Goes out: the type of the result. After
// success the kernels need to check nothing but the values of indices.

#include "host/host.h"

#include <math.h>
#include <string.h>

// One inference under way.
typedef struct infer {
  ibx_tensor_op op;
  const char *name;
  const ibx_params *params;
  const ibx_type *in;
  size_t count;
  ibx_type *out;
  ibx_error *err;
} infer;

#define MISMATCH(ctx, ...) IBX_FAIL((ctx)->err, MISMATCH, __VA_ARGS__)

// --- dtypes ------------------------------------------------------------------

enum { FLOATS = 1, INTS = 2, BOOLS = 4, NUMBERS = FLOATS | INTS, ANY = 7 };

static unsigned accepted_dtypes(ibx_tensor_op op) {
  switch (op) {
  case IBX_TENSOR_not:
  case IBX_TENSOR_and:
  case IBX_TENSOR_or:
  case IBX_TENSOR_xor: return BOOLS;
  case IBX_TENSOR_wrap:
  case IBX_TENSOR_bit_and:
  case IBX_TENSOR_bit_or:
  case IBX_TENSOR_bit_xor:
  case IBX_TENSOR_shift_left:
  case IBX_TENSOR_shift_right: return INTS;
  case IBX_TENSOR_int_add:
  case IBX_TENSOR_int_sub:
  case IBX_TENSOR_int_mul:
  case IBX_TENSOR_int_div:
  case IBX_TENSOR_int_max:
  case IBX_TENSOR_int_min:
  case IBX_TENSOR_neg:
  case IBX_TENSOR_abs:
  case IBX_TENSOR_sign:
  case IBX_TENSOR_floor:
  case IBX_TENSOR_ceil:
  case IBX_TENSOR_round:
  case IBX_TENSOR_relu:
  case IBX_TENSOR_clip:
  case IBX_TENSOR_affine:
  case IBX_TENSOR_add:
  case IBX_TENSOR_sub:
  case IBX_TENSOR_mul:
  case IBX_TENSOR_div:
  case IBX_TENSOR_mod:
  case IBX_TENSOR_fmod:
  case IBX_TENSOR_pow:
  case IBX_TENSOR_less:
  case IBX_TENSOR_less_equal:
  case IBX_TENSOR_cumsum:
  case IBX_TENSOR_reduce_sum:
  case IBX_TENSOR_reduce_mean:
  case IBX_TENSOR_reduce_prod:
  case IBX_TENSOR_matmul:
  case IBX_TENSOR_conv:
  case IBX_TENSOR_conv_transpose:
  case IBX_TENSOR_max_pool: return NUMBERS;
  case IBX_TENSOR_cast:
  case IBX_TENSOR_encode:
  case IBX_TENSOR_decode:
  case IBX_TENSOR_max:
  case IBX_TENSOR_min:
  case IBX_TENSOR_equal:
  case IBX_TENSOR_argmax:
  case IBX_TENSOR_top:
  case IBX_TENSOR_top_index:
  case IBX_TENSOR_nonzero:
  case IBX_TENSOR_reduce_max:
  case IBX_TENSOR_reduce_min:
  case IBX_TENSOR_select:
  case IBX_TENSOR_gather: return ANY;
  default: break;
  }
  return ibx_tensor_op_get(op)->klass == IBX_KLASS_VIEW ? ANY : FLOATS;
}

static unsigned dtype_group(ibx_dtype dtype) {
  switch (ibx_dtype_get(dtype)->kind) {
  case IBX_DTYPE_KIND_FLOAT: return FLOATS;
  case IBX_DTYPE_KIND_BOOL: return BOOLS;
  case IBX_DTYPE_KIND_PACKED:
  case IBX_DTYPE_KIND_TEXT: return 0;
  case IBX_DTYPE_KIND_SINT:
  case IBX_DTYPE_KIND_UINT: break;
  }
  return INTS;
}

static const char *group_names(unsigned groups) {
  static const char *const names[] = {
      "nothing", "floating dtypes",          "integers",          "numbers",
      "bool",    "floating dtypes and bool", "integers and bool", "any dtype"};
  return names[groups & ANY];
}

static ibx_status check_dtype(const infer *c, size_t index, unsigned groups) {
  ibx_dtype dtype = c->in[index].dtype;
  if (dtype_group(dtype) & groups) return IBX_OK;
  return MISMATCH(c, "%s takes %s; operand %zu is %s", c->name,
                  group_names(groups), index, ibx_dtype_get(dtype)->name);
}

// --- checks that many operations share ---------------------------------------

static ibx_status check_type(const infer *c, const char *what, size_t index,
                             const ibx_type *type) {
  int64_t bytes;
  if (type->rank > IBX_MAX_RANK) {
    return IBX_FAIL(c->err, UNSUPPORTED,
                    "%s: %s %zu has rank %u; at most %d is supported", c->name,
                    what, index, type->rank, IBX_MAX_RANK);
  }
  const ibx_dtype_info *dtype = ibx_dtype_get(type->dtype);
  if (!dtype || dtype->bits == 0) {
    return MISMATCH(c, "%s: %s %zu has no element type", c->name, what, index);
  }
  for (size_t i = 0; i < type->rank; i++) {
    if (type->dims[i] < 0) {
      return MISMATCH(c, "%s: %s %zu has extent %lld in dimension %zu", c->name,
                      what, index, (long long)type->dims[i], i);
    }
  }
  if (!ibx_type_bytes(type, &bytes)) {
    return IBX_FAIL(c->err, OUT_OF_CAPACITY,
                    "%s: the bytes of %s %zu do not fit in 63 bits", c->name,
                    what, index);
  }
  return IBX_OK;
}

static ibx_status check_same(const infer *c, size_t first, size_t second) {
  char a[IBX_TYPE_TEXT_BYTES], b[IBX_TYPE_TEXT_BYTES];
  if (ibx_type_equal(&c->in[first], &c->in[second])) return IBX_OK;
  return MISMATCH(c, "%s: operand %zu is %s, operand %zu is %s", c->name,
                  second, ibx_type_text(&c->in[second], b), first,
                  ibx_type_text(&c->in[first], a));
}

static ibx_status check_same_dtype(const infer *c, size_t first,
                                   size_t second) {
  if (c->in[first].dtype == c->in[second].dtype) return IBX_OK;
  return MISMATCH(c, "%s: operand %zu is %s, operand %zu is %s", c->name,
                  second, ibx_dtype_get(c->in[second].dtype)->name, first,
                  ibx_dtype_get(c->in[first].dtype)->name);
}

static ibx_status check_axis(const infer *c) {
  int64_t axis = c->params->axis;
  if (axis >= 0 && axis < c->in[0].rank) return IBX_OK;
  return MISMATCH(c, "%s: axis %lld is outside of the %u dimensions", c->name,
                  (long long)axis, c->in[0].rank);
}

static ibx_status check_flag(const infer *c, const char *param, int64_t value) {
  if (value == 0 || value == 1) return IBX_OK;
  return MISMATCH(c, "%s: %s is %lld; it is 0 or 1", c->name, param,
                  (long long)value);
}

static ibx_status check_len(const infer *c, const char *param,
                            const ibx_ints *list, size_t len) {
  if (list->len == len) return IBX_OK;
  return MISMATCH(c, "%s: %s has %u values; there are %zu dimensions", c->name,
                  param, list->len, len);
}

// As check_len, and every value is at least `least`.
static ibx_status check_list(const infer *c, const char *param,
                             const ibx_ints *list, size_t len, int64_t least) {
  IBX_TRY(check_len(c, param, list, len));
  for (size_t i = 0; i < len; i++) {
    if (list->at[i] < least) {
      return MISMATCH(c, "%s: %s[%zu] is %lld; at least %lld is needed",
                      c->name, param, i, (long long)list->at[i],
                      (long long)least);
    }
  }
  return IBX_OK;
}

static ibx_status add_extents(const infer *c, int64_t a, int64_t b,
                              int64_t *out) {
  uint64_t sum;
  if (ibx_add_size((uint64_t)a, (uint64_t)b, &sum) && sum <= INT64_MAX) {
    *out = (int64_t)sum;
    return IBX_OK;
  }
  return IBX_FAIL(c->err, OUT_OF_CAPACITY,
                  "%s: an extent does not fit in 63 bits", c->name);
}

static ibx_status mul_extents(const infer *c, int64_t a, int64_t b,
                              int64_t *out) {
  uint64_t product;
  if (ibx_mul_size((uint64_t)a, (uint64_t)b, &product) &&
      product <= INT64_MAX) {
    *out = (int64_t)product;
    return IBX_OK;
  }
  return IBX_FAIL(c->err, OUT_OF_CAPACITY,
                  "%s: an extent does not fit in 63 bits", c->name);
}

static void set_shape(ibx_type *type, const ibx_ints *shape) {
  type->rank = shape->len;
  memcpy(type->dims, shape->at, sizeof type->dims);
}

// --- constant and elementwise ------------------------------------------------

static ibx_status infer_constant(const infer *c) {
  IBX_TRY(check_list(c, "shape", &c->params->shape, c->params->shape.len, 0));
  set_shape(c->out, &c->params->shape);
  c->out->dtype = c->params->dtype;
  return IBX_OK;
}

// Integers are computed exactly, so the constants have to be whole.
static ibx_status check_constants(const infer *c) {
  float alpha = c->params->alpha, beta = c->params->beta;
  if (c->op == IBX_TENSOR_clip && !(alpha <= beta)) {
    return MISMATCH(c, "clip: alpha %g is not below beta %g", (double)alpha,
                    (double)beta);
  }
  if (c->op != IBX_TENSOR_affine || ibx_dtype_is_float(c->in[0].dtype)) {
    return IBX_OK;
  }
  if (floorf(alpha) == alpha && floorf(beta) == beta &&
      fabsf(alpha) < 0x1p63f && fabsf(beta) < 0x1p63f) {
    return IBX_OK;
  }
  return MISMATCH(c, "affine: alpha %g and beta %g of integers must be whole",
                  (double)alpha, (double)beta);
}

static ibx_status infer_unary(const infer *c) {
  *c->out = c->in[0];
  if (c->op == IBX_TENSOR_cast) c->out->dtype = c->params->dtype;
  if (c->op == IBX_TENSOR_is_nan) c->out->dtype = IBX_DTYPE_BOOL;
  return check_constants(c);
}

static ibx_status infer_wrap(const infer *c) {
  *c->out = c->in[0];
  c->out->dtype = c->params->dtype;
  ibx_dtype dtype = c->params->dtype;
  if (dtype > IBX_DTYPE_NONE && dtype < IBX_DTYPE_COUNT &&
      dtype_group(dtype) == INTS) {
    return IBX_OK;
  }
  return MISMATCH(c, "wrap gives an integer dtype");
}

static bool has_values(ibx_dtype dtype) {
  return dtype > IBX_DTYPE_NONE && dtype < IBX_DTYPE_COUNT &&
         dtype_group(dtype) != 0;
}

static ibx_status infer_encode(const infer *c) {
  ibx_dtype code = c->params->code;
  *c->out = c->in[0];
  c->out->dtype = ibx_dtype_carrier(code);
  if (has_values(code)) return IBX_OK;
  return MISMATCH(c, "encode: the code has no values");
}

static ibx_status infer_decode(const infer *c) {
  ibx_dtype code = c->params->code, have = c->in[0].dtype;
  *c->out = c->in[0];
  c->out->dtype = c->params->dtype;
  if (!has_values(code) || !has_values(c->params->dtype)) {
    return MISMATCH(c, "decode: the code or the dtype has no values");
  }
  if (ibx_dtype_carrier(code) == have) return IBX_OK;
  return MISMATCH(c, "decode: %s is carried by %s; operand 0 is %s",
                  ibx_dtype_get(code)->name,
                  ibx_dtype_get(ibx_dtype_carrier(code))->name,
                  ibx_dtype_get(have)->name);
}

static ibx_status infer_binary(const infer *c) {
  IBX_TRY(check_same(c, 0, 1));
  *c->out = c->in[0];
  return IBX_OK;
}

static ibx_status infer_compare(const infer *c) {
  IBX_TRY(check_same(c, 0, 1));
  *c->out = c->in[0];
  c->out->dtype = IBX_DTYPE_BOOL;
  return IBX_OK;
}

static ibx_status infer_select(const infer *c) {
  if (c->in[0].dtype != IBX_DTYPE_BOOL) {
    return MISMATCH(c, "select: operand 0 is %s; it is bool",
                    ibx_dtype_get(c->in[0].dtype)->name);
  }
  IBX_TRY(check_same(c, 1, 2));
  *c->out = c->in[1];
  ibx_type as_bool = c->in[1];
  as_bool.dtype = IBX_DTYPE_BOOL;
  if (ibx_type_equal(&as_bool, &c->in[0])) return IBX_OK;
  char a[IBX_TYPE_TEXT_BYTES], b[IBX_TYPE_TEXT_BYTES];
  return MISMATCH(c, "select: operand 0 is %s, operand 1 is %s",
                  ibx_type_text(&c->in[0], a), ibx_type_text(&c->in[1], b));
}

// --- views -------------------------------------------------------------------

static ibx_status infer_reshape(const infer *c) {
  const ibx_ints *shape = &c->params->shape;
  char text[IBX_TYPE_TEXT_BYTES], wanted_text[IBX_TYPE_TEXT_BYTES];
  IBX_TRY(check_list(c, "shape", shape, shape->len, 0));
  c->out->dtype = c->in[0].dtype;
  set_shape(c->out, shape);
  int64_t have = 0, want = 0;
  if (ibx_type_elements(&c->in[0], &have) && ibx_type_elements(c->out, &want) &&
      have == want) {
    return IBX_OK;
  }
  return MISMATCH(c, "reshape: %s has other elements than %s",
                  ibx_type_text(&c->in[0], text),
                  ibx_type_text(c->out, wanted_text));
}

static ibx_status infer_bitcast(const infer *c) {
  ibx_dtype dtype = c->params->dtype;
  *c->out = c->in[0];
  c->out->dtype = dtype;
  bool fits =
      dtype > IBX_DTYPE_NONE && dtype < IBX_DTYPE_COUNT &&
      ibx_dtype_get(dtype)->width == ibx_dtype_get(c->in[0].dtype)->width;
  if (fits) return IBX_OK;
  return MISMATCH(c, "bitcast: %s has another width than the dtype wanted",
                  ibx_dtype_get(c->in[0].dtype)->name);
}

static ibx_status infer_transpose(const infer *c) {
  const ibx_ints *perm = &c->params->perm;
  bool seen[IBX_MAX_RANK] = {false};
  IBX_TRY(check_list(c, "perm", perm, c->in[0].rank, 0));
  *c->out = c->in[0];
  for (size_t i = 0; i < perm->len; i++) {
    int64_t from = perm->at[i];
    if (from < 0 || from >= perm->len || seen[from]) {
      return MISMATCH(c, "transpose: perm[%zu] = %lld makes no permutation", i,
                      (long long)from);
    }
    seen[from] = true;
    c->out->dims[i] = c->in[0].dims[from];
  }
  return IBX_OK;
}

// Whether start + i * step lies in 0 .. extent - 1 for each i below count.
static bool slice_fits(int64_t start, int64_t step, int64_t count,
                       int64_t extent) {
  if (count == 0) return true;
  if (start < 0 || start >= extent) return false;
  if (count == 1) return true;
  if (step == 0 || step == INT64_MIN) return false;
  int64_t room = step > 0 ? extent - 1 - start : start;
  int64_t distance = step > 0 ? step : -step;
  return count - 1 <= room / distance;
}

static ibx_status infer_slice(const infer *c) {
  const ibx_params *p = c->params;
  size_t rank = c->in[0].rank;
  IBX_TRY(check_len(c, "starts", &p->starts, rank));
  IBX_TRY(check_len(c, "steps", &p->steps, rank));
  IBX_TRY(check_list(c, "shape", &p->shape, rank, 0));
  for (size_t i = 0; i < rank; i++) {
    if (!slice_fits(p->starts.at[i], p->steps.at[i], p->shape.at[i],
                    c->in[0].dims[i])) {
      return MISMATCH(c,
                      "slice: %lld elements from %lld in steps of %lld leave "
                      "the %lld of dimension %zu",
                      (long long)p->shape.at[i], (long long)p->starts.at[i],
                      (long long)p->steps.at[i], (long long)c->in[0].dims[i],
                      i);
    }
  }
  c->out->dtype = c->in[0].dtype;
  set_shape(c->out, &p->shape);
  return IBX_OK;
}

static ibx_status infer_broadcast(const infer *c) {
  const ibx_ints *shape = &c->params->shape;
  IBX_TRY(check_list(c, "shape", shape, c->in[0].rank, 0));
  for (size_t i = 0; i < shape->len; i++) {
    int64_t extent = c->in[0].dims[i];
    if (extent != 1 && extent != shape->at[i]) {
      return MISMATCH(c,
                      "broadcast: dimension %zu has %lld elements and cannot "
                      "become %lld",
                      i, (long long)extent, (long long)shape->at[i]);
    }
  }
  c->out->dtype = c->in[0].dtype;
  set_shape(c->out, shape);
  return IBX_OK;
}

static ibx_status infer_pad(const infer *c) {
  const ibx_params *p = c->params;
  size_t rank = c->in[0].rank;
  IBX_TRY(check_list(c, "low", &p->low, rank, 0));
  IBX_TRY(check_list(c, "high", &p->high, rank, 0));
  *c->out = c->in[0];
  for (size_t i = 0; i < rank; i++) {
    int64_t *extent = &c->out->dims[i];
    IBX_TRY(add_extents(c, *extent, p->low.at[i], extent));
    IBX_TRY(add_extents(c, *extent, p->high.at[i], extent));
  }
  return IBX_OK;
}

static ibx_status infer_concat(const infer *c) {
  IBX_TRY(check_axis(c));
  size_t axis = (size_t)c->params->axis;
  *c->out = c->in[0];
  for (size_t i = 1; i < c->count; i++) {
    ibx_type other = c->in[i];
    int64_t extent = other.rank > axis ? other.dims[axis] : 0;
    if (other.rank > axis) other.dims[axis] = c->in[0].dims[axis];
    if (!ibx_type_equal(&other, &c->in[0])) {
      char a[IBX_TYPE_TEXT_BYTES], b[IBX_TYPE_TEXT_BYTES];
      return MISMATCH(c,
                      "concat: operand %zu is %s, operand 0 is %s; only "
                      "dimension %zu may differ",
                      i, ibx_type_text(&c->in[i], a),
                      ibx_type_text(&c->in[0], b), axis);
    }
    IBX_TRY(add_extents(c, c->out->dims[axis], extent, &c->out->dims[axis]));
  }
  return IBX_OK;
}

// --- along one dimension, and reductions -------------------------------------

static ibx_status infer_gather(const infer *c) {
  const ibx_type *data = &c->in[0], *indices = &c->in[1];
  IBX_TRY(check_axis(c));
  IBX_TRY(check_dtype(c, 1, INTS));
  size_t axis = (size_t)c->params->axis;
  size_t rank = data->rank - 1u + indices->rank;
  if (rank > IBX_MAX_RANK) {
    return IBX_FAIL(c->err, UNSUPPORTED,
                    "gather: the result has rank %zu; at most %d is supported",
                    rank, IBX_MAX_RANK);
  }
  c->out->dtype = data->dtype;
  c->out->rank = 0;
  for (size_t i = 0; i < data->rank; i++) {
    if (i != axis) {
      c->out->dims[c->out->rank++] = data->dims[i];
      continue;
    }
    for (size_t j = 0; j < indices->rank; j++) {
      c->out->dims[c->out->rank++] = indices->dims[j];
    }
  }
  return IBX_OK;
}

static ibx_status infer_cumsum(const infer *c) {
  IBX_TRY(check_axis(c));
  IBX_TRY(check_flag(c, "exclusive", c->params->exclusive));
  IBX_TRY(check_flag(c, "reverse", c->params->reverse));
  *c->out = c->in[0];
  return IBX_OK;
}

// Drops the dimensions whose bit is set, or leaves them with extent 1.
static void drop_dims(const infer *c, unsigned dropped, bool keep) {
  c->out->dtype = c->in[0].dtype;
  c->out->rank = 0;
  for (size_t i = 0; i < c->in[0].rank; i++) {
    bool is_dropped = (dropped >> i & 1) != 0;
    if (is_dropped && !keep) continue;
    c->out->dims[c->out->rank++] = is_dropped ? 1 : c->in[0].dims[i];
  }
}

static ibx_status infer_argmax(const infer *c) {
  IBX_TRY(check_axis(c));
  IBX_TRY(check_flag(c, "keepdims", c->params->keepdims));
  if (c->in[0].dims[c->params->axis] == 0) {
    return MISMATCH(c, "argmax: dimension %lld has no element",
                    (long long)c->params->axis);
  }
  drop_dims(c, 1u << c->params->axis, c->params->keepdims != 0);
  c->out->dtype = IBX_DTYPE_I64;
  return IBX_OK;
}

static ibx_status infer_top(const infer *c) {
  IBX_TRY(check_axis(c));
  IBX_TRY(check_flag(c, "largest", c->params->largest));
  int64_t count = c->params->count, extent = c->in[0].dims[c->params->axis];
  if (count < 0 || count > extent) {
    return MISMATCH(c, "%s: %lld elements of %lld", c->name, (long long)count,
                    (long long)extent);
  }
  *c->out = c->in[0];
  c->out->dims[c->params->axis] = count;
  if (c->op == IBX_TENSOR_top) return IBX_OK;
  c->out->dtype = c->params->dtype;
  if (c->out->dtype == IBX_DTYPE_I32 || c->out->dtype == IBX_DTYPE_I64) {
    return IBX_OK;
  }
  return MISMATCH(c, "top_index gives i32 or i64");
}

static ibx_status infer_reduce(const infer *c) {
  const ibx_ints *axes = &c->params->axes;
  unsigned reduced = 0;
  IBX_TRY(check_flag(c, "keepdims", c->params->keepdims));
  if (axes->len > c->in[0].rank) {
    return check_len(c, "axes", axes, c->in[0].rank);
  }
  for (size_t i = 0; i < axes->len; i++) {
    int64_t axis = axes->at[i];
    if (axis < 0 || axis >= c->in[0].rank ||
        (i > 0 && axis <= axes->at[i - 1])) {
      return MISMATCH(c, "%s: axes[%zu] is %lld; axes ascend and lie below %u",
                      c->name, i, (long long)axis, c->in[0].rank);
    }
    reduced |= 1u << axis;
  }
  drop_dims(c, reduced, c->params->keepdims != 0);
  return IBX_OK;
}

// --- contractions ------------------------------------------------------------

static ibx_status infer_nonzero(const infer *c) {
  IBX_TRY(check_axis(c));
  int64_t count = c->params->count, extent = c->in[0].dims[c->params->axis];
  if (count < 0 || count > extent) {
    return MISMATCH(c, "nonzero: %lld positions of %lld", (long long)count,
                    (long long)extent);
  }
  *c->out = c->in[0];
  c->out->dims[c->params->axis] = count;
  c->out->dtype = c->params->dtype;
  if (c->out->dtype == IBX_DTYPE_I32 || c->out->dtype == IBX_DTYPE_I64) {
    return IBX_OK;
  }
  return MISMATCH(c, "nonzero gives i32 or i64");
}

static ibx_status infer_suppress(const infer *c) {
  const ibx_type *boxes = &c->in[0], *scores = &c->in[1];
  bool fits = boxes->rank == scores->rank && boxes->rank != 0 &&
              boxes->dtype == IBX_DTYPE_F32 && scores->dtype == IBX_DTYPE_F32;
  for (uint8_t d = 0; fits && d < boxes->rank; d++) {
    bool last = d + 1 == boxes->rank;
    int64_t extent = scores->dims[d];
    fits =
        extent <= INT32_MAX && boxes->dims[d] == (last ? 4 * extent : extent);
  }
  if (!fits) {
    return MISMATCH(c, "suppress: f32 boxes have 4 numbers for each score");
  }
  int64_t count = c->params->count, extent = scores->dims[scores->rank - 1];
  if (count < 0 || count > extent) {
    return MISMATCH(c, "suppress: %lld boxes of %lld", (long long)count,
                    (long long)extent);
  }
  *c->out = *scores;
  c->out->dims[scores->rank - 1] = count;
  c->out->dtype = IBX_DTYPE_I32;
  return IBX_OK;
}

static ibx_status infer_matmul(const infer *c) {
  const ibx_type *a = &c->in[0], *b = &c->in[1];
  char a_text[IBX_TYPE_TEXT_BYTES], b_text[IBX_TYPE_TEXT_BYTES];
  IBX_TRY(check_same_dtype(c, 0, 1));
  bool fits = a->rank >= 2 && a->rank == b->rank &&
              a->dims[a->rank - 1] == b->dims[b->rank - 2];
  for (size_t i = 0; fits && i + 2 < a->rank; i++) {
    fits = a->dims[i] == b->dims[i];
  }
  if (!fits) {
    return MISMATCH(c, "matmul: %s and %s do not fit together",
                    ibx_type_text(a, a_text), ibx_type_text(b, b_text));
  }
  *c->out = *a;
  c->out->dims[a->rank - 1] = b->dims[b->rank - 1];
  return IBX_OK;
}

// The window params of `spatial` dimensions.
static ibx_status check_window(const infer *c, size_t spatial) {
  const ibx_params *p = c->params;
  IBX_TRY(check_list(c, "strides", &p->strides, spatial, 1));
  IBX_TRY(check_list(c, "low", &p->low, spatial, 0));
  IBX_TRY(check_list(c, "high", &p->high, spatial, 0));
  bool is_dense = c->op == IBX_TENSOR_avg_pool && p->dilations.len == 0;
  if (is_dense) return IBX_OK;
  return check_list(c, "dilations", &p->dilations, spatial, 1);
}

// The elements that a window of `taps` spans: (taps - 1) * dilation + 1.
static ibx_status window_span(const infer *c, size_t dim, int64_t taps,
                              int64_t *out) {
  const ibx_ints *dilations = &c->params->dilations;
  int64_t dilation = dilations->len > dim ? dilations->at[dim] : 1;
  IBX_TRY(mul_extents(c, taps - 1, dilation, out));
  return add_extents(c, *out, 1, out);
}

// The windows that fit in dimension `dim` of the spatial ones.
static ibx_status count_windows(const infer *c, size_t dim, int64_t extent,
                                int64_t taps, int64_t *out) {
  int64_t span = 0, padded = 0;
  IBX_TRY(window_span(c, dim, taps, &span));
  IBX_TRY(add_extents(c, extent, c->params->low.at[dim], &padded));
  IBX_TRY(add_extents(c, padded, c->params->high.at[dim], &padded));
  if (padded < span) {
    return MISMATCH(c,
                    "%s: a window of %lld elements does not fit in the %lld "
                    "of spatial dimension %zu",
                    c->name, (long long)span, (long long)padded, dim);
  }
  *out = (padded - span) / c->params->strides.at[dim] + 1;
  return IBX_OK;
}

// What conv and conv_transpose share: ranks, groups, window.
static ibx_status check_convolution(const infer *c) {
  const ibx_type *x = &c->in[0], *w = &c->in[1];
  char x_text[IBX_TYPE_TEXT_BYTES], w_text[IBX_TYPE_TEXT_BYTES];
  int64_t groups = c->params->groups;
  IBX_TRY(check_same_dtype(c, 0, 1));
  if (x->rank < 3 || x->rank != w->rank) {
    return MISMATCH(c, "%s: %s and %s need equal ranks from 3 on", c->name,
                    ibx_type_text(x, x_text), ibx_type_text(w, w_text));
  }
  for (size_t i = 2; i < w->rank; i++) {
    if (w->dims[i] < 1) {
      return MISMATCH(c, "%s: the window %s is empty", c->name,
                      ibx_type_text(w, w_text));
    }
  }
  if (groups < 1 || x->dims[1] % groups != 0 || w->dims[0] % groups != 0) {
    return MISMATCH(c, "%s: %lld groups do not divide the channels of %s, %s",
                    c->name, (long long)groups, ibx_type_text(x, x_text),
                    ibx_type_text(w, w_text));
  }
  return check_window(c, x->rank - 2u);
}

static ibx_status infer_conv(const infer *c) {
  IBX_TRY(check_convolution(c));
  const ibx_type *x = &c->in[0], *w = &c->in[1];
  if (w->dims[1] != x->dims[1] / c->params->groups) {
    return MISMATCH(c,
                    "conv: w has %lld input channels; x has %lld in each of "
                    "%lld groups",
                    (long long)w->dims[1],
                    (long long)(x->dims[1] / c->params->groups),
                    (long long)c->params->groups);
  }
  *c->out = *x;
  c->out->dims[1] = w->dims[0];
  for (size_t i = 2; i < x->rank; i++) {
    IBX_TRY(count_windows(c, i - 2, x->dims[i], w->dims[i], &c->out->dims[i]));
  }
  return IBX_OK;
}

static ibx_status infer_conv_transpose(const infer *c) {
  IBX_TRY(check_convolution(c));
  const ibx_type *x = &c->in[0], *w = &c->in[1];
  const ibx_ints *shape = &c->params->shape;
  int64_t channels = 0, span = 0;
  IBX_TRY(check_list(c, "shape", shape, x->rank, 0));
  IBX_TRY(mul_extents(c, w->dims[1], c->params->groups, &channels));
  if (w->dims[0] != x->dims[1]) {
    return MISMATCH(c, "conv_transpose: w has %lld input channels, x has %lld",
                    (long long)w->dims[0], (long long)x->dims[1]);
  }
  if (shape->at[0] != x->dims[0] || shape->at[1] != channels) {
    return MISMATCH(c,
                    "conv_transpose: shape begins with %lld, %lld; batch and "
                    "channels are %lld, %lld",
                    (long long)shape->at[0], (long long)shape->at[1],
                    (long long)x->dims[0], (long long)channels);
  }
  for (size_t i = 0; i + 2 < x->rank; i++) {
    // The kernel adds these up without further checks.
    IBX_TRY(window_span(c, i, w->dims[i + 2], &span));
    IBX_TRY(add_extents(c, span, c->params->low.at[i], &span));
    int64_t reach = 0;
    IBX_TRY(mul_extents(c, x->dims[i + 2], c->params->strides.at[i], &reach));
    IBX_TRY(add_extents(c, reach, span, &reach));
  }
  c->out->dtype = x->dtype;
  set_shape(c->out, shape);
  return IBX_OK;
}

// A pooling window costs time for each of its elements, in the padding, too,
// which no memory pays for: this is the area of an 8192 x 8192 image.
enum { MOST_TAPS = 1 << 26 };

static ibx_status infer_pool(const infer *c) {
  const ibx_type *x = &c->in[0];
  if (x->rank < 3) {
    return MISMATCH(c, "%s: the operand has rank %u; at least 3 is needed",
                    c->name, x->rank);
  }
  size_t spatial = x->rank - 2u;
  IBX_TRY(check_list(c, "kernel", &c->params->kernel, spatial, 1));
  IBX_TRY(check_window(c, spatial));
  if (c->op == IBX_TENSOR_avg_pool) {
    IBX_TRY(check_flag(c, "exclude_pad", c->params->exclude_pad));
  }
  *c->out = *x;
  int64_t taps = 1;
  for (size_t i = 0; i < spatial; i++) {
    int64_t extent = c->params->kernel.at[i];
    IBX_TRY(mul_extents(c, taps, extent, &taps));
    if (taps > MOST_TAPS) {
      return IBX_FAIL(c->err, OUT_OF_CAPACITY,
                      "%s: the window has more than %d elements", c->name,
                      MOST_TAPS);
    }
    IBX_TRY(count_windows(c, i, x->dims[i + 2], extent, &c->out->dims[i + 2]));
  }
  return IBX_OK;
}

// --- composites --------------------------------------------------------------

static ibx_status infer_softmax(const infer *c) {
  IBX_TRY(check_axis(c));
  *c->out = c->in[0];
  return IBX_OK;
}

static ibx_status infer_norm(const infer *c) {
  IBX_TRY(check_axis(c));
  size_t axis = (size_t)c->params->axis;
  ibx_type part = {.rank = (uint8_t)(c->in[0].rank - axis),
                   .dtype = c->in[0].dtype};
  for (size_t i = 0; i < part.rank; i++) {
    part.dims[i] = c->in[0].dims[axis + i];
  }
  for (size_t i = 1; i < c->count; i++) {
    if (ibx_type_equal(&c->in[i], &part)) continue;
    char a[IBX_TYPE_TEXT_BYTES], b[IBX_TYPE_TEXT_BYTES];
    return MISMATCH(c, "%s: operand %zu is %s; the normalised part is %s",
                    c->name, i, ibx_type_text(&c->in[i], a),
                    ibx_type_text(&part, b));
  }
  *c->out = c->in[0];
  return IBX_OK;
}

// --- dispatch ----------------------------------------------------------------

static ibx_status infer_other(const infer *c) {
  switch (c->op) {
  case IBX_TENSOR_constant: return infer_constant(c);
  case IBX_TENSOR_select: return infer_select(c);
  case IBX_TENSOR_wrap: return infer_wrap(c);
  case IBX_TENSOR_encode: return infer_encode(c);
  case IBX_TENSOR_decode: return infer_decode(c);
  case IBX_TENSOR_reshape: return infer_reshape(c);
  case IBX_TENSOR_bitcast: return infer_bitcast(c);
  case IBX_TENSOR_transpose: return infer_transpose(c);
  case IBX_TENSOR_slice: return infer_slice(c);
  case IBX_TENSOR_broadcast: return infer_broadcast(c);
  case IBX_TENSOR_pad: return infer_pad(c);
  case IBX_TENSOR_concat: return infer_concat(c);
  case IBX_TENSOR_gather: return infer_gather(c);
  case IBX_TENSOR_cumsum: return infer_cumsum(c);
  case IBX_TENSOR_argmax: return infer_argmax(c);
  case IBX_TENSOR_top:
  case IBX_TENSOR_top_index: return infer_top(c);
  case IBX_TENSOR_nonzero: return infer_nonzero(c);
  case IBX_TENSOR_suppress: return infer_suppress(c);
  case IBX_TENSOR_matmul: return infer_matmul(c);
  case IBX_TENSOR_conv: return infer_conv(c);
  case IBX_TENSOR_conv_transpose: return infer_conv_transpose(c);
  case IBX_TENSOR_max_pool:
  case IBX_TENSOR_avg_pool: return infer_pool(c);
  case IBX_TENSOR_softmax: return infer_softmax(c);
  case IBX_TENSOR_layer_norm:
  case IBX_TENSOR_rms_norm: return infer_norm(c);
  default: break;
  }
  return IBX_FAIL(c->err, INTERNAL, "%s has no inference", c->name);
}

static ibx_status infer_class(const infer *c, ibx_op_klass klass) {
  switch (klass) {
  case IBX_KLASS_UNARY: return infer_unary(c);
  case IBX_KLASS_BINARY:
  case IBX_KLASS_INTEGER: return infer_binary(c);
  case IBX_KLASS_COMPARE: return infer_compare(c);
  case IBX_KLASS_REDUCE: return infer_reduce(c);
  case IBX_KLASS_VIEW:
  case IBX_KLASS_CONTRACT:
  case IBX_KLASS_COMPOSITE:
  case IBX_KLASS_OTHER: break;
  }
  return infer_other(c);
}

// A list that claims more values than it has room for.
static ibx_status check_params(const infer *c) {
  for (size_t i = 0; ibx_param_get(i); i++) {
    const ibx_param_info *param = ibx_param_get(i);
    if (param->kind != IBX_PARAM_KIND_INTS) continue;
    ibx_ints list;
    memcpy(&list, (const char *)c->params + param->offset, sizeof list);
    if (list.len > IBX_MAX_RANK) {
      return IBX_FAIL(c->err, UNSUPPORTED,
                      "%s: %s has %u values; at most %d are supported", c->name,
                      param->name, list.len, IBX_MAX_RANK);
    }
  }
  return IBX_OK;
}

// Texts are the host's: no operation of tensors has them.
static ibx_status refuse_text(const infer *c, const ibx_type *type) {
  if (type->dtype != IBX_DTYPE_STRING) return IBX_OK;
  return MISMATCH(c, "%s has no texts among its operands or results", c->name);
}

static ibx_status check_operands(const infer *c,
                                 const ibx_tensor_op_info *info) {
  if (c->count < info->least || c->count > info->most) {
    return MISMATCH(c, "%s has %zu operands; it takes %u to %u", c->name,
                    c->count, info->least, info->most);
  }
  for (size_t i = 0; i < c->count; i++) {
    IBX_TRY(check_type(c, "operand", i, &c->in[i]));
    IBX_TRY(refuse_text(c, &c->in[i]));
  }
  if (c->count == 0) return IBX_OK;
  return check_dtype(c, 0, accepted_dtypes(c->op));
}

ibx_status ibx_tensor_infer(ibx_tensor_op op, const ibx_params *params,
                            const ibx_type *operands, size_t operand_count,
                            ibx_type *out_type, ibx_error *err) {
  const ibx_tensor_op_info *info = ibx_tensor_op_get(op);
  if (!info) return IBX_FAIL(err, INVALID_ARGUMENT, "no tensor op %d", (int)op);
  ibx_type out = {.rank = 0};
  infer c = {.op = op,
             .name = info->name,
             .params = params,
             .in = operands,
             .count = operand_count,
             .out = &out,
             .err = err};
  IBX_TRY(check_params(&c));
  IBX_TRY(check_operands(&c, info));
  IBX_TRY(infer_class(&c, info->klass));
  IBX_TRY(check_type(&c, "result", 0, &out));
  IBX_TRY(refuse_text(&c, &out));
  *out_type = (ibx_type){.rank = out.rank, .dtype = out.dtype};
  memcpy(out_type->dims, out.dims, out.rank * sizeof out.dims[0]);
  return IBX_OK;
}

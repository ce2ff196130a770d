// SPDX-License-Identifier: Apache-2.0
//
// Imports tables of embeddings of com.microsoft: EmbedLayerNormalization, also
// quantised, and GatherBlockQuantized. Comes in: tables, and indices of rows. Goes
// out: gathers; rows of few bits are gathered as they are and dequantised behind
// that.

#include "frontend/import_ms_attention.h"
#include "frontend/import_ms_quant.h"
#include "frontend/import_ops.h"
#include "frontend/import_quant.h"

// --- EmbedLayerNormalization -------------------------------------------------

// The inputs 0 to 7 are those of both operators.
enum {
  IDS,
  SEGMENT_IDS,
  WORDS,
  PLACES,
  SEGMENTS,
  GAMMA,
  BETA,
  MASK,
  PLACE_IDS
};

static bool is_table(ibx_call *call, size_t index, int64_t width) {
  ibx_val x = ibx_in(call, index);
  return ibx_rank(call, x) == 2 && ibx_dim(call, x, 1) == width;
}

static bool fits_ids(ibx_call *call, ibx_val x, bool may_be_one) {
  ibx_val ids = ibx_in(call, IDS);
  if (x == IBX_NO_VALUE) return true;
  return ibx_rank(call, x) == 2 &&
         ibx_dim(call, x, 1) == ibx_dim(call, ids, 1) &&
         (ibx_dim(call, x, 0) == ibx_dim(call, ids, 0) ||
          (may_be_one && ibx_dim(call, x, 0) == 1));
}

// `places` has the rows of the table of places, or is IBX_NO_VALUE: row i for word i.
static bool embedding_fits(ibx_call *call, ibx_val places) {
  static const struct {
    size_t index;
    const char *name;
  } needed[] = {{WORDS, "word_embedding"},
                {PLACES, "position_embedding"},
                {GAMMA, "gamma"},
                {BETA, "beta"}};
  for (size_t i = 0; i < IBX_COUNT_OF(needed); i++)
    ibx_ms_need_input(call, needed[i].index, needed[i].name);
  if (call->failed) return false;
  ibx_val ids = ibx_in(call, IDS);
  int64_t length = ibx_dim(call, ids, 1);
  int64_t width = ibx_dim(call, ibx_in(call, WORDS), 1);
  bool fits =
      ibx_rank(call, ids) == 2 && is_table(call, WORDS, width) &&
      is_table(call, PLACES, width) &&
      ibx_has_in(call, SEGMENT_IDS) == ibx_has_in(call, SEGMENTS) &&
      (!ibx_has_in(call, SEGMENTS) || is_table(call, SEGMENTS, width)) &&
      fits_ids(call, ibx_in(call, SEGMENT_IDS), false) &&
      fits_ids(call, ibx_in(call, MASK), false) && fits_ids(call, places, true);
  for (size_t i = GAMMA; fits && i <= BETA; i++)
    fits = ibx_rank(call, ibx_in(call, i)) == 1 &&
           ibx_dim(call, ibx_in(call, i), 0) == width;
  fits = fits && (places != IBX_NO_VALUE ||
                  length <= ibx_dim(call, ibx_in(call, PLACES), 0));
  return ibx_call_expect(call, fits, "input_ids",
                         "does not fit the tables of embeddings");
}

// How many elements of each row of the mask are 1, or 0 where there is none.
static ibx_val count_words(ibx_call *call) {
  ibx_val mask = ibx_in(call, MASK);
  if (mask == IBX_NO_VALUE) {
    ibx_val none = ibx_emit_scalar(call, IBX_DTYPE_I32, 0);
    return ibx_emit_broadcast(call, none,
                              IBX_INTS(ibx_dim(call, ibx_in(call, IDS), 0)));
  }
  ibx_val one = ibx_emit_binary(call, IBX_TENSOR_equal, mask,
                                ibx_emit_like(call, mask, 1));
  return ibx_emit_reduce(call, IBX_TENSOR_reduce_sum,
                         ibx_emit_cast(call, one, IBX_DTYPE_I32), IBX_INTS(1),
                         false);
}

// Input `index` as floating numbers: all of it, or the rows that `ids` names.
static ibx_val read_rows(ibx_call *call, size_t index, ibx_val ids,
                         bool is_quantised) {
  enum { SCALE = 6, ZERO = 11 }; // inputs behind the one that they belong to
  ibx_val x = ibx_in(call, index);
  if (ids != IBX_NO_VALUE) x = ibx_emit_gather(call, x, ids, 0);
  if (!is_quantised) return x;
  ibx_factor f = ibx_read_factor(call, index + SCALE, index + ZERO,
                                 call->proto->input[index]);
  return ibx_emit_dequantise(call, x, f.scale, f.zero, 0, 0);
}

// Stores the outputs 0 and 1. Returns the sum of the embeddings.
static ibx_val embed(ibx_call *call, ibx_val places, bool is_quantised) {
  ibx_val ids = ibx_in(call, IDS);
  float epsilon = ibx_attr_float(call, "epsilon", 1e-12f);
  if (places == IBX_NO_VALUE) {
    places = ibx_emit_iota(call, ibx_dim(call, ids, 1));
  }
  ibx_val sum = ibx_emit_binary(call, IBX_TENSOR_add,
                                read_rows(call, WORDS, ids, is_quantised),
                                read_rows(call, PLACES, places, is_quantised));
  if (ibx_has_in(call, SEGMENT_IDS)) {
    ibx_val segment =
        read_rows(call, SEGMENTS, ibx_in(call, SEGMENT_IDS), is_quantised);
    sum = ibx_emit_binary(call, IBX_TENSOR_add, sum, segment);
  }
  ibx_out(call, 0,
          ibx_emit_norm(call, IBX_TENSOR_layer_norm, sum,
                        read_rows(call, GAMMA, IBX_NO_VALUE, is_quantised),
                        read_rows(call, BETA, IBX_NO_VALUE, is_quantised), 2,
                        epsilon));
  if (ibx_wants_out(call, 1)) ibx_out(call, 1, count_words(call));
  return sum;
}

void ibx_import_op_embed_layer_normalization(ibx_call *call) {
  ibx_val places = ibx_in(call, PLACE_IDS);
  ibx_attr_ignore(call, "mask_index_type");
  if (!embedding_fits(call, places)) return;
  ibx_out(call, 2, embed(call, places, false));
}

// Each table has one scale and one zero point.
void ibx_import_op_qembed_layer_normalization(ibx_call *call) {
  if (!embedding_fits(call, IBX_NO_VALUE)) return;
  for (size_t i = WORDS; i <= BETA; i++) {
    if (ibx_has_in(call, i) && !ibx_expect_integers(call, ibx_in(call, i)))
      return;
  }
  embed(call, IBX_NO_VALUE, true);
}

// --- GatherBlockQuantized ----------------------------------------------------

typedef struct quantised_table {
  ibx_val data, scale, zero;
  int64_t gather_axis, axis, block; // of the data
  int64_t bits;                     // of the data where they are in bytes
} quantised_table;

// A constant of bytes, which are dense elements along the last dimension.
static ibx_val unpack(ibx_call *call, size_t index, const char *name,
                      int64_t bits) {
  ibx_dtype dtype = bits == 2 ? IBX_DTYPE_U2 : IBX_DTYPE_U4;
  if (bits == 8) return ibx_in(call, index);
  const ibx_tensor *packed = ibx_const_in(call, index, name);
  if (!packed) return IBX_NO_VALUE;
  ibx_type type = packed->type;
  int64_t all = ibx_elements(&type), factor = 8 / bits;
  bool fits = type.rank >= 1 && all <= IBX_MOST_ELEMENTS / factor;
  if (!ibx_call_expect(call, fits, name, "is too large")) return IBX_NO_VALUE;
  uint8_t *data = ibx_arena_alloc(call->import->arena, (size_t)(all * factor));
  ibx_dtype_from_dense(dtype, packed->data, data, (size_t)(all * factor));
  type.dims[type.rank - 1] *= factor;
  type.dtype = dtype;
  return ibx_emit_constant(call, type, data);
}

static ibx_val read_zeros(ibx_call *call, const quantised_table *t,
                          bool is_packed) {
  if (!ibx_has_in(call, 3)) {
    double middle = is_packed ? (double)(1 << (t->bits - 1)) : 0;
    return ibx_emit_scalar(call, IBX_DTYPE_F32, middle);
  }
  ibx_val zero = ibx_in(call, 3);
  if (is_packed) zero = unpack(call, 3, "zero_points", t->bits);
  if (call->failed) return zero;
  ibx_ints own = ibx_shape_of(call, zero), want = ibx_shape_of(call, t->scale);
  bool fits = own.len == want.len;
  for (uint8_t i = 0; fits && i < own.len; i++) {
    bool last = is_packed && i == own.len - 1;
    fits = last ? own.at[i] >= want.at[i] : own.at[i] == want.at[i];
  }
  if (!ibx_call_expect(call, fits, "zero_points", "do not fit the scales")) {
    return zero;
  }
  int64_t last = own.len - 1;
  return last < 0 ? zero
                  : ibx_emit_slice(call, zero, last, 0, want.at[last], 1);
}

// Factors of a table fit it, where the axis has one for each block. With floating
// elements those of other axes may have one for all.
static bool factors_fit(ibx_call *call, const quantised_table *t,
                        bool is_float) {
  int64_t rank = ibx_rank(call, t->data);
  bool fits = ibx_rank(call, t->scale) == rank;
  for (int64_t i = 0; fits && i < rank; i++) {
    int64_t extent = ibx_dim(call, t->data, i),
            own = ibx_dim(call, t->scale, i);
    bool is_one = is_float && i != t->axis && own == 1;
    if (i == t->axis) extent = (extent + t->block - 1) / t->block;
    fits = own == extent || is_one;
  }
  return ibx_call_expect(call, fits, "scales",
                         "do not fit data and block_size") &&
         ibx_call_expect(call, !is_float || !ibx_has_in(call, 3), "zero_points",
                         "are for tables of integers");
}

static bool read_table(ibx_call *call, quantised_table *t) {
  ibx_dtype dtype = ibx_dtype_of(call, ibx_in(call, 0));
  bool is_packed = dtype == IBX_DTYPE_U8;
  bool is_float = ibx_is_float(dtype) && ibx_dtype_get(dtype)->width <= 8;
  t->bits = ibx_attr_int(call, "bits", 4);
  t->block = ibx_attr_int(call, "block_size", 128);
  int64_t gather_axis = ibx_attr_int(call, "gather_axis", 0);
  int64_t axis = ibx_attr_int(call, "quantize_axis", 1);
  bool known = is_float ||
               ((t->bits == 2 || t->bits == 4 || t->bits == 8) &&
                (is_packed || dtype == IBX_DTYPE_U4 || dtype == IBX_DTYPE_I4));
  if (!known || t->block < (is_float ? 0 : 1)) {
    ibx_call_fail(call, IBX_DIAG_UNSUPPORTED_FORM, "data",
                  "quantise to integers of 2, 4 or 8 bits or to floating types "
                  "of 8 or 4, in blocks",
                  "a table of %s with bits = %lld", ibx_dtype_get(dtype)->name,
                  (long long)t->bits);
    return false;
  }
  t->data = is_packed ? unpack(call, 0, "data", t->bits) : ibx_in(call, 0);
  t->scale = ibx_in(call, 2);
  if (call->failed) return false;
  int64_t rank = ibx_rank(call, t->data);
  t->gather_axis = ibx_axis(call, gather_axis, rank);
  t->axis = ibx_axis(call, axis, rank);
  if (call->failed) return false;
  int64_t extent = ibx_dim(call, t->data, t->axis);
  if (t->block == 0) t->block = extent > 0 ? extent : 1;
  if (!factors_fit(call, t, is_float)) return false;
  t->zero = is_float ? IBX_NO_VALUE : read_zeros(call, t, is_packed);
  return !call->failed;
}

// Factors of the rows that the indices name; one for all rows stays that.
static ibx_val pick_factors(ibx_call *call, const quantised_table *t, ibx_val x,
                            ibx_val indices) {
  ibx_ints shape = ibx_shape_of(call, x), apart = {0};
  if (call->failed) return x; // the gathered data may have too large a rank
  if (shape.at[t->gather_axis] != 1) {
    return ibx_emit_gather(call, x, indices, t->gather_axis);
  }
  size_t units = (size_t)ibx_rank(call, indices);
  for (uint8_t i = 0; i < shape.len; i++) {
    for (size_t j = 0; i == t->gather_axis && j < units; j++)
      apart.at[apart.len++] = 1;
    if (i != t->gather_axis) apart.at[apart.len++] = shape.at[i];
  }
  return ibx_emit_reshape(call, x, apart);
}

void ibx_import_op_gather_block_quantized(ibx_call *call) {
  quantised_table t = {0};
  if (!read_table(call, &t)) return;
  ibx_val indices = ibx_emit_cast(call, ibx_in(call, 1), IBX_DTYPE_I64);
  indices = ibx_emit_from_start(call, indices, t.data, t.gather_axis);
  int64_t axis = t.axis;
  bool apart = t.axis != t.gather_axis;
  if (apart) {
    t.data = ibx_emit_gather(call, t.data, indices, t.gather_axis);
    t.scale = pick_factors(call, &t, t.scale, indices);
    if (t.zero != IBX_NO_VALUE && ibx_rank(call, t.zero) > 0) {
      t.zero = ibx_emit_gather(call, t.zero, indices, t.gather_axis);
    }
    if (axis > t.gather_axis) axis += ibx_rank(call, indices) - 1;
  }
  if (call->failed) return;
  ibx_ints wide = ibx_shape_of(call, t.data);
  wide.at[axis] = ibx_dim(call, t.scale, axis);
  t.scale = ibx_emit_broadcast(call, t.scale, wide);
  ibx_val y = ibx_emit_dequantise(call, t.data, t.scale, t.zero, axis, t.block);
  if (!apart) y = ibx_emit_gather(call, y, indices, t.gather_axis);
  ibx_out(call, 0, ibx_emit_cast(call, y, ibx_dtype_of(call, t.scale)));
}

// SPDX-License-Identifier: Apache-2.0
//
// Imports PagedAttention of com.microsoft. Comes in: the new tokens of all requests
// one after the other, a cache of blocks that all share, and a table of which
// blocks are whose. Goes out:
//
//   cache    rows of new keys and values, written to the slots of their tokens
//   keys     | blocks of request 0 | blocks of request 1 | ...     gathered
//   tokens   see the keys of their own request up to themselves
//
// so one attention serves all requests; where there are several, most of its scores
// are hidden. Nothing of the table, of lengths or slots need be constant.

#include "frontend/import_ms_attention.h"
#include "frontend/import_ms_gqa.h"
#include "frontend/import_ops.h"
#include "frontend/import_scatter.h"

#include <math.h>
#include <string.h>

enum {
  KEY_CACHE = 3,
  VALUE_CACHE,
  ENDS, // of requests, 0 before the first
  PAST,
  TABLE,
  COSINE,
  SLOTS = 10,
  QUERY_NORM = 12,
  KEY_SCALE = 14,
  VALUE_SCALE
};

typedef struct paged {
  ibx_group_query g;      // of one element, whose rows are all tokens
  int64_t requests, each; // blocks of a request
  int64_t blocks, block;  // of the cache; rows of one
  ibx_val request;        // of each token, i64 [T]
  ibx_val position;       // in its request, i64 [T]
  ibx_val count;          // keys of its request, i64 [T]
  ibx_val is_token;       // others are padding, bools [T]
} paged;

static void refuse_forms(ibx_call *call) {
  static const struct {
    const char *name, *absent;
  } forms[] = {{"k_quant_type", "NONE"},
               {"v_quant_type", "NONE"},
               {"k_cache_dtype", ""},
               {"v_cache_dtype", ""},
               {"kv_cache_layout", "SEPARATE"}};
  for (size_t i = 0; i < IBX_COUNT_OF(forms); i++) {
    const char *text = ibx_attr_text(call, forms[i].name, forms[i].absent);
    bool floats = strcmp(text, "float16") == 0 || strcmp(text, "bfloat16") == 0;
    if (strcmp(text, forms[i].absent) == 0 || floats) continue;
    ibx_call_fail(call, IBX_DIAG_UNSUPPORTED_FORM, forms[i].name,
                  "export with caches of floats for keys and for values",
                  "%s = '%s'", forms[i].name, text);
  }
  ibx_attr_ignore(call, "v_head_size"); // of the other layout
  ibx_ms_refuse_input(call, KEY_SCALE, "k_scale",
                      "export with a cache of floats");
  ibx_ms_refuse_input(call, VALUE_SCALE, "v_scale",
                      "export with a cache of floats");
}

// --- operands ----------------------------------------------------------------

static ibx_val whole_numbers(ibx_call *call, size_t index) {
  return ibx_emit_cast(call, ibx_in(call, index), IBX_DTYPE_I64);
}

static ibx_val with_batch(ibx_call *call, ibx_val x) {
  if (x == IBX_NO_VALUE) return x;
  ibx_ints s = ibx_shape_of(call, x);
  if (!ibx_call_expect(call, s.len == 2, "query",
                       "key and value need [tokens, heads * D]")) {
    return x;
  }
  return ibx_emit_reshape(call, x, IBX_INTS(1, s.at[0], s.at[1]));
}

static bool read_qkv(ibx_call *call, paged *p) {
  ibx_val parts[3];
  for (size_t i = 0; i < 3; i++)
    parts[i] = with_batch(call, ibx_in(call, i));
  return !call->failed &&
         ibx_gq_read_qkv(call, &p->g, parts[0], parts[1], parts[2]);
}

static bool caches_fit(ibx_call *call, paged *p) {
  ibx_ints k = ibx_shape_of(call, ibx_in(call, KEY_CACHE));
  bool fits = k.len == 4 && k.at[0] >= 1 && k.at[1] >= 1 &&
              k.at[2] == p->g.kv_heads && k.at[3] == p->g.depth &&
              k.at[0] <= IBX_MOST_ELEMENTS / k.at[1];
  for (size_t i = KEY_CACHE; fits && i <= VALUE_CACHE; i++) {
    ibx_ints s = ibx_shape_of(call, ibx_in(call, i));
    fits = s.len == 4 && memcmp(s.at, k.at, 4 * sizeof(*s.at)) == 0 &&
           ibx_dtype_of(call, ibx_in(call, i)) == ibx_dtype_of(call, p->g.q);
  }
  p->blocks = k.at[0];
  p->block = k.at[1];
  return ibx_call_expect(call, fits, "key_cache",
                         "and value_cache need [blocks, rows, kv_num_heads, D] "
                         "in the type of the query");
}

static bool table_fits(ibx_call *call, paged *p) {
  ibx_ints t = ibx_shape_of(call, ibx_in(call, TABLE)), sizes = IBX_INTS(0, 0);
  sizes.at[0] = ibx_rank(call, ibx_in(call, ENDS)) == 1
                    ? ibx_dim(call, ibx_in(call, ENDS), 0)
                    : -1;
  sizes.at[1] = ibx_rank(call, ibx_in(call, PAST)) == 1
                    ? ibx_dim(call, ibx_in(call, PAST), 0)
                    : -1;
  bool fits = t.len == 2 && t.at[0] >= 1 && t.at[1] >= 1 &&
              sizes.at[0] == t.at[0] + 1 && sizes.at[1] == t.at[0] &&
              t.at[0] <= IBX_MOST_ELEMENTS / t.at[1] &&
              t.at[0] * t.at[1] <= IBX_MOST_ELEMENTS / p->block;
  p->requests = t.at[0];
  p->each = t.at[1];
  if (!ibx_call_expect(call, fits, "block_table",
                       "needs [B, blocks], cumulative_sequence_length [B + 1] "
                       "and past_seqlens [B]")) {
    return false;
  }
  ibx_val slots = ibx_in(call, SLOTS);
  return ibx_call_expect(
      call,
      slots == IBX_NO_VALUE ||
          (ibx_rank(call, slots) == 1 && ibx_dim(call, slots, 0) == p->g.rows),
      "slot_mapping", "needs a number for each token");
}

// --- tokens ------------------------------------------------------------------

// Element `request` of each token, of numbers [B].
static ibx_val of_request(ibx_call *call, const paged *p, ibx_val numbers) {
  return ibx_emit_gather(call, numbers, p->request, 0);
}

// A request that has no new tokens begins where the next one does.
static void find_requests(ibx_call *call, paged *p) {
  ibx_val ends = whole_numbers(call, ENDS);
  ibx_val token = ibx_emit_iota(call, p->g.rows);
  ibx_val line = ibx_emit_along(call, token, 0, 2);
  p->request =
      ibx_emit_broadcast(call, ibx_emit_long(call, 0), IBX_INTS(p->g.rows));
  if (p->requests > 1) {
    ibx_val inner = ibx_emit_slice(call, ends, 0, 1, p->requests - 1, 1);
    ibx_val begun = ibx_emit_binary(call, IBX_TENSOR_less_equal,
                                    ibx_emit_along(call, inner, 1, 2), line);
    begun = ibx_emit_cast(call, begun, IBX_DTYPE_I32);
    p->request = ibx_emit_cast(
        call,
        ibx_emit_reduce(call, IBX_TENSOR_reduce_sum, begun, IBX_INTS(1), false),
        IBX_DTYPE_I64);
  }
  ibx_val past = whole_numbers(call, PAST);
  ibx_val start = ibx_emit_slice(call, ends, 0, 0, p->requests, 1);
  ibx_val end = ibx_emit_slice(call, ends, 0, 1, p->requests, 1);
  ibx_val first = ibx_emit_binary(call, IBX_TENSOR_sub, past, start);
  p->position =
      ibx_emit_binary(call, IBX_TENSOR_add, token, of_request(call, p, first));
  p->count =
      of_request(call, p, ibx_emit_binary(call, IBX_TENSOR_add, first, end));
  p->is_token =
      ibx_emit_binary(call, IBX_TENSOR_less, token,
                      ibx_emit_slice(call, ends, 0, p->requests, 1, 1));
  p->position =
      ibx_emit_select(call, p->is_token, p->position, ibx_emit_long(call, 0));
}

// --- the cache ---------------------------------------------------------------

// Rows of the cache that tokens are written to: none for -1.
static ibx_val find_slots(ibx_call *call, const paged *p) {
  ibx_val slots, size = ibx_emit_long(call, p->block);
  if (ibx_has_in(call, SLOTS)) {
    slots = whole_numbers(call, SLOTS);
  } else {
    ibx_val nth = ibx_emit_binary(call, IBX_TENSOR_int_div, p->position, size);
    ibx_val rest =
        ibx_emit_binary(call, IBX_TENSOR_sub, p->position,
                        ibx_emit_binary(call, IBX_TENSOR_mul, nth, size));
    ibx_val fits = ibx_emit_binary(call, IBX_TENSOR_less, nth,
                                   ibx_emit_long(call, p->each));
    nth = ibx_emit_binary(call, IBX_TENSOR_min, nth,
                          ibx_emit_long(call, p->each - 1));
    nth = ibx_emit_binary(call, IBX_TENSOR_max, nth, ibx_emit_long(call, 0));
    ibx_val at =
        ibx_emit_binary(call, IBX_TENSOR_add, nth,
                        ibx_emit_binary(call, IBX_TENSOR_mul, p->request,
                                        ibx_emit_long(call, p->each)));
    ibx_val table = ibx_emit_reshape(call, whole_numbers(call, TABLE),
                                     IBX_INTS(p->requests * p->each));
    slots = ibx_emit_binary(call, IBX_TENSOR_mul,
                            ibx_emit_gather(call, table, at, 0), size);
    slots = ibx_emit_binary(call, IBX_TENSOR_add, slots, rest);
    slots = ibx_emit_select(call, fits, slots, ibx_emit_long(call, -1));
  }
  return ibx_emit_select(call, p->is_token, slots, ibx_emit_long(call, -1));
}

// The cache of input `index` with rows x [1, T, kv_heads, D].
static ibx_val write_rows(ibx_call *call, const paged *p, size_t index,
                          ibx_val slots, ibx_val x) {
  static const ibx_scatter replaces = {.op = IBX_TENSOR_constant};
  ibx_val cache = ibx_in(call, index);
  ibx_ints shape = ibx_shape_of(call, cache);
  int64_t width = p->g.kv_heads * p->g.depth;
  cache =
      ibx_emit_reshape(call, cache, IBX_INTS(1, p->blocks * p->block, width));
  x = ibx_emit_reshape(call, x, IBX_INTS(1, p->g.rows, width));
  slots = ibx_emit_reshape(call, slots, IBX_INTS(1, p->g.rows));
  cache = ibx_emit_scatter(call, &replaces, cache, slots, x);
  return ibx_emit_reshape(call, cache, shape);
}

// Keys or values of all requests, [1, kv_heads, B * rows, D]. What the table has
// behind the blocks of a request is hidden, whatever it is.
static ibx_val read_rows(ibx_call *call, const paged *p, ibx_val cache) {
  ibx_val table = ibx_emit_reshape(call, whole_numbers(call, TABLE),
                                   IBX_INTS(p->requests * p->each));
  table = ibx_emit_binary(call, IBX_TENSOR_max, table, ibx_emit_long(call, 0));
  table = ibx_emit_binary(call, IBX_TENSOR_min, table,
                          ibx_emit_long(call, p->blocks - 1));
  ibx_val x = ibx_emit_gather(call, cache, table, 0);
  x = ibx_emit_reshape(
      call, x,
      IBX_INTS(1, p->requests * p->each * p->block, p->g.kv_heads, p->g.depth));
  return ibx_emit_transpose(call, x, IBX_INTS(0, 2, 1, 3));
}

// --- what tokens see ---------------------------------------------------------

static ibx_val emit_bias(ibx_call *call, const paged *p) {
  bool causal = ibx_attr_flag(call, "is_causal", true);
  int64_t window = ibx_attr_int(call, "local_window_size", -1);
  int64_t rows = p->each * p->block, tokens = p->g.rows;
  ibx_val key = ibx_emit_along(call, ibx_emit_iota(call, rows), 2, 3);
  ibx_val position = ibx_emit_along(call, p->position, 0, 3);
  ibx_val seen =
      causal ? ibx_emit_binary(call, IBX_TENSOR_less_equal, key, position)
             : ibx_emit_binary(call, IBX_TENSOR_less, key,
                               ibx_emit_along(call, p->count, 0, 3));
  if (window > 0) {
    ibx_val before = ibx_emit_binary(call, IBX_TENSOR_sub, position,
                                     ibx_emit_long(call, window));
    seen = ibx_emit_binary(call, IBX_TENSOR_and, seen,
                           ibx_emit_binary(call, IBX_TENSOR_less, before, key));
  }
  if (p->requests > 1) {
    ibx_val own = ibx_emit_binary(
        call, IBX_TENSOR_equal, ibx_emit_along(call, p->request, 0, 3),
        ibx_emit_along(call, ibx_emit_iota(call, p->requests), 1, 3));
    seen = ibx_emit_binary(call, IBX_TENSOR_and, seen, own);
  }
  seen =
      ibx_emit_reshape(call, seen, IBX_INTS(1, 1, tokens, p->requests * rows));
  return ibx_emit_select(call, seen, ibx_emit_like(call, p->g.q, 0),
                         ibx_emit_like(call, p->g.q, -HUGE_VAL));
}

// --- the operator ------------------------------------------------------------

static void rotate(ibx_call *call, paged *p) {
  bool rotates = ibx_attr_flag(call, "do_rotary", false);
  int64_t start = ibx_attr_int(call, "rotary_offset", 0);
  ibx_attr_ignore(call, "rotary_interleaved"); // of what is not rotated
  ibx_gq_normalise(call, &p->g, QUERY_NORM);
  if (!rotates || call->failed) return;
  ibx_val positions =
      ibx_emit_reshape(call, p->position, IBX_INTS(1, p->g.rows));
  ibx_gq_rotate(call, &p->g, COSINE, positions, start);
}

void ibx_import_op_paged_attention(ibx_call *call) {
  paged p = {0};
  ibx_group_query *g = &p.g;
  refuse_forms(call);
  static const char *const needed[] = {"key_cache", "value_cache",
                                       "cumulative_sequence_length",
                                       "past_seqlens", "block_table"};
  for (size_t i = 0; i < IBX_COUNT_OF(needed); i++)
    ibx_ms_need_input(call, KEY_CACHE + i, needed[i]);
  if (call->failed || !read_qkv(call, &p) || !caches_fit(call, &p) ||
      !table_fits(call, &p)) {
    return;
  }
  find_requests(call, &p);
  rotate(call, &p);
  if (call->failed) return;
  ibx_val slots = find_slots(call, &p);
  ibx_val keys = write_rows(call, &p, KEY_CACHE, slots, g->k);
  ibx_val values = write_rows(call, &p, VALUE_CACHE, slots, g->v);
  ibx_out(call, 1, keys);
  ibx_out(call, 2, values);
  ibx_attention a = {.q = ibx_emit_transpose(call, g->q, IBX_INTS(0, 2, 1, 3)),
                     .k = read_rows(call, &p, keys),
                     .v = read_rows(call, &p, values),
                     .bias = emit_bias(call, &p),
                     .sink = IBX_NO_VALUE,
                     .softcap = (double)ibx_attr_float(call, "softcap", 0)};
  a.scale = ibx_ms_read_scale(call, a.q);
  ibx_gq_add_sink(call, g, &a);
  if (call->failed) return;
  ibx_val stages[IBX_ATTENTION_STAGES];
  ibx_val y = ibx_emit_attention(call, &a, stages);
  y = ibx_emit_merge_heads(call, y);
  ibx_out(call, 0,
          ibx_emit_reshape(call, y, IBX_INTS(g->rows, g->heads * g->depth)));
}

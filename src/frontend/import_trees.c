// SPDX-License-Identifier: Apache-2.0
//
// Imports ensembles of decision trees. Comes in: lists of nodes, in the form of
// each operator. Goes out: tensor operations that walk all trees at once, one
// level a round: the node at which each row stands in each tree is an index
// into tables of features, thresholds and successors.
//
//   at    [N, T]   where row n stands in tree t; first the roots
//   value [N, T]   = x[n, feature[at]]
//   at             = value <= threshold[at] ? yes[at] : no[at]      depth times
//   votes [N, T, K] = votes_of[at], then summed over the trees
//
// All kinds of comparison become three: NaN, which compares as false, is sent
// where it belongs by a flag. Leaves follow themselves.

#include "frontend/import_trees.h"

#include <math.h>
#include <string.h>

enum { MOST_TREE_NODES = 1 << 20, MOST_DEPTH = 4096 };

// --- the tables --------------------------------------------------------------

static void *arena_copy_grown(ibx_arena *arena, const void *old, size_t count,
                              size_t room, size_t size) {
  void *memory = ibx_arena_array(arena, room, size);
  if (count != 0) memcpy(memory, old, count * size);
  return memory;
}

uint32_t ibx_forest_add(ibx_forest *forest, ibx_tree_node node) {
  if (forest->count == forest->room) {
    size_t room = forest->room == 0 ? 64 : forest->room * 2;
    forest->nodes = arena_copy_grown(forest->arena, forest->nodes,
                                     forest->count, room, sizeof(node));
    forest->room = room;
  }
  forest->nodes[forest->count] = node;
  return (uint32_t)forest->count++;
}

void ibx_forest_compare(ibx_tree_node *node, ibx_tree_mode mode,
                        bool missing_is_yes) {
  // x >= s is not x < s, but for NaN; so are > and <=, != and =.
  bool is_negated =
      mode == IBX_TREE_GTE || mode == IBX_TREE_GT || mode == IBX_TREE_NEQ;
  node->missing_is_yes = missing_is_yes;
  if (is_negated) {
    uint32_t yes = node->yes;
    node->yes = node->no;
    node->no = yes;
    node->missing_is_yes = !missing_is_yes;
    if (mode == IBX_TREE_NEQ) node->missing_is_yes = false; // NaN != s
  }
  node->mode = mode == IBX_TREE_GTE   ? IBX_TREE_LT
               : mode == IBX_TREE_GT  ? IBX_TREE_LEQ
               : mode == IBX_TREE_NEQ ? IBX_TREE_EQ
                                      : mode;
}

// --- checks ------------------------------------------------------------------

// The longest way from a root. False when a node does not exist, or the nodes
// stand in a circle.
typedef struct walk {
  const ibx_forest *forest;
  int32_t *height; ///< of each node; 0: not known, -1: on the way
  uint32_t *stack;
} walk;

// A node is met first to push its successors, and again when these are done.
static bool visit(walk *w, uint32_t root) {
  size_t depth = 0;
  w->stack[depth++] = root;
  while (depth > 0) {
    uint32_t at = w->stack[depth - 1];
    if (at >= w->forest->count) return false;
    const ibx_tree_node *node = &w->forest->nodes[at];
    if (node->is_leaf) w->height[at] = 1;
    if (w->height[at] > 0) {
      depth--;
      continue;
    }
    uint32_t next[] = {node->yes, node->no};
    w->height[at] = -1;
    size_t pushed = 0;
    int32_t highest = 0;
    for (size_t i = 0; i < 2; i++) {
      if (next[i] >= w->forest->count || w->height[next[i]] < 0) return false;
      if (w->height[next[i]] > highest) highest = w->height[next[i]];
      if (w->height[next[i]] > 0) continue;
      w->stack[depth++] = next[i];
      pushed++;
    }
    if (pushed != 0) continue;
    w->height[at] = highest + 1;
    depth--;
  }
  return true;
}

static bool measure(ibx_call *call, const ibx_forest *forest,
                    int32_t *out_depth) {
  walk w = {.forest = forest,
            .height = IBX_ARENA_ARRAY(&call->import->scratch, forest->count + 1,
                                      int32_t),
            .stack = IBX_ARENA_ARRAY(&call->import->scratch,
                                     forest->count * 2 + 4, uint32_t)};
  *out_depth = 0;
  for (size_t t = 0; t < forest->tree_count; t++) {
    uint32_t root = forest->roots[t];
    if (root >= forest->count || !visit(&w, root)) return false;
    if (w.height[root] - 1 > *out_depth) *out_depth = w.height[root] - 1;
  }
  return true;
}

static bool check(ibx_call *call, const ibx_forest *forest, int64_t features,
                  int32_t *out_depth) {
  bool is_whole = measure(call, forest, out_depth);
  bool fits = true;
  for (size_t i = 0; i < forest->count; i++) {
    const ibx_tree_node *node = &forest->nodes[i];
    fits &= node->is_leaf || (node->feature >= 0 && node->feature < features);
  }
  if (!is_whole || !fits) {
    ibx_call_fail(call, IBX_DIAG_ATTRIBUTE_VALUE, "nodes",
                  "correct the lists where the model is made",
                  is_whole ? "a node looks at a feature that the input lacks"
                           : "the nodes are no trees: one is missing, or they "
                             "stand in a circle");
    return false;
  }
  if (*out_depth > MOST_DEPTH || forest->count > MOST_TREE_NODES) {
    ibx_call_refuse(call, NULL, "trees of depth %d with %zu nodes in all",
                    (int)*out_depth, forest->count);
    return false;
  }
  return true;
}

// --- tables as constants -----------------------------------------------------

static ibx_val int_table(ibx_call *call, const ibx_forest *forest,
                         int32_t (*get)(const ibx_tree_node *node,
                                        uint32_t at)) {
  int32_t *at = ibx_arena_array(call->import->arena, forest->count, sizeof *at);
  for (uint32_t i = 0; i < forest->count; i++)
    at[i] = get(&forest->nodes[i], i);
  ibx_ints shape = IBX_INTS((int64_t)forest->count);
  return ibx_emit_constant(call, ibx_make_type(IBX_DTYPE_I32, shape), at);
}

static int32_t get_feature(const ibx_tree_node *node, uint32_t at) {
  (void)at;
  return node->is_leaf ? 0 : (int32_t)node->feature;
}

static int32_t get_yes(const ibx_tree_node *node, uint32_t at) {
  return (int32_t)(node->is_leaf ? at : node->yes);
}

static int32_t get_no(const ibx_tree_node *node, uint32_t at) {
  return (int32_t)(node->is_leaf ? at : node->no);
}

static ibx_val flag_table(ibx_call *call, const ibx_forest *forest,
                          bool (*get)(const ibx_tree_node *node)) {
  uint8_t *at = ibx_arena_alloc(call->import->arena, forest->count);
  for (size_t i = 0; i < forest->count; i++)
    at[i] = get(&forest->nodes[i]);
  ibx_ints shape = IBX_INTS((int64_t)forest->count);
  return ibx_emit_constant(call, ibx_make_type(IBX_DTYPE_BOOL, shape), at);
}

static bool sends_missing_to_yes(const ibx_tree_node *node) {
  return !node->is_leaf && node->missing_is_yes;
}

static bool is_strict(const ibx_tree_node *node) {
  return !node->is_leaf && node->mode == IBX_TREE_LT;
}

static bool is_at_most(const ibx_tree_node *node) {
  return !node->is_leaf && node->mode == IBX_TREE_LEQ;
}

static bool is_equal(const ibx_tree_node *node) {
  return !node->is_leaf && node->mode == IBX_TREE_EQ;
}

static bool has_any(const ibx_forest *forest,
                    bool (*get)(const ibx_tree_node *node)) {
  for (size_t i = 0; i < forest->count; i++) {
    if (get(&forest->nodes[i])) return true;
  }
  return false;
}

static ibx_val numbers(ibx_call *call, ibx_dtype dtype, ibx_ints shape,
                       const double *from) {
  ibx_type type = ibx_make_type(dtype, shape);
  size_t count = (size_t)ibx_elements(&type);
  if (dtype == IBX_DTYPE_F64) return ibx_emit_constant(call, type, from);
  float *at = ibx_arena_array(call->import->arena, count, sizeof *at);
  for (size_t i = 0; i < count; i++)
    at[i] = (float)from[i];
  return ibx_emit_constant(call, ibx_make_type(IBX_DTYPE_F32, shape), at);
}

static ibx_val threshold_table(ibx_call *call, const ibx_forest *forest,
                               ibx_dtype dtype) {
  double *at = ibx_arena_array(call->import->arena, forest->count, sizeof *at);
  for (size_t i = 0; i < forest->count; i++)
    at[i] = forest->nodes[i].threshold;
  return numbers(call, dtype, IBX_INTS((int64_t)forest->count), at);
}

// --- walking -----------------------------------------------------------------

/// What all rounds read.
typedef struct rounds {
  ibx_call *call;
  const ibx_forest *forest;
  ibx_val x;   ///< all features of all rows, one after another
  ibx_val row; ///< [N, T]: where the features of the row begin
  ibx_val feature, threshold, yes, no, missing, strict, equal;
  bool has_missing, has_strict, has_equal, has_le;
} rounds;

static ibx_val look_up(const rounds *r, ibx_val table, ibx_val at) {
  return ibx_emit_gather(r->call, table, at, 0);
}

static ibx_val or_in(const rounds *r, ibx_val sum, ibx_val kind, ibx_val fits) {
  ibx_call *call = r->call;
  if (kind != IBX_NO_VALUE) {
    fits = ibx_emit_binary(call, IBX_TENSOR_and, kind, fits);
  }
  return sum == IBX_NO_VALUE ? fits
                             : ibx_emit_binary(call, IBX_TENSOR_or, sum, fits);
}

// Whether each row goes to `yes`: by the comparison of its node.
static ibx_val decide(const rounds *r, ibx_val value, ibx_val at) {
  ibx_call *call = r->call;
  ibx_val threshold = look_up(r, r->threshold, at), sum = IBX_NO_VALUE;
  size_t kinds = (size_t)r->has_le + r->has_strict + r->has_equal;
  bool is_mixed = kinds > 1;
  ibx_val strict = IBX_NO_VALUE, equal = IBX_NO_VALUE, rest = IBX_NO_VALUE;
  if (is_mixed && r->has_strict) strict = look_up(r, r->strict, at);
  if (is_mixed && r->has_equal) equal = look_up(r, r->equal, at);
  if (r->has_strict) {
    sum = or_in(r, sum, strict,
                ibx_emit_binary(call, IBX_TENSOR_less, value, threshold));
  }
  if (r->has_equal) {
    sum = or_in(r, sum, equal,
                ibx_emit_binary(call, IBX_TENSOR_equal, value, threshold));
  }
  if (!r->has_le) return sum;
  if (is_mixed) {
    rest = strict == IBX_NO_VALUE ? equal : strict;
    if (strict != IBX_NO_VALUE && equal != IBX_NO_VALUE) {
      rest = ibx_emit_binary(call, IBX_TENSOR_or, strict, equal);
    }
    rest = ibx_emit_unary(call, IBX_TENSOR_not, rest);
  }
  return or_in(r, sum, rest,
               ibx_emit_binary(call, IBX_TENSOR_less_equal, value, threshold));
}

static ibx_val step(const rounds *r, ibx_val at) {
  ibx_call *call = r->call;
  ibx_val place =
      ibx_emit_binary(call, IBX_TENSOR_add, r->row, look_up(r, r->feature, at));
  ibx_val value = look_up(r, r->x, place);
  ibx_val decided = decide(r, value, at);
  if (r->has_missing) {
    ibx_val is_missing = ibx_emit_unary(call, IBX_TENSOR_is_nan, value);
    decided = or_in(r, decided, look_up(r, r->missing, at), is_missing);
  }
  return ibx_emit_select(call, decided, look_up(r, r->yes, at),
                         look_up(r, r->no, at));
}

static rounds make_rounds(ibx_call *call, const ibx_forest *forest, ibx_val x) {
  int64_t n = ibx_dim(call, x, 0), f = ibx_dim(call, x, 1);
  int64_t trees = (int64_t)forest->tree_count;
  rounds r = {.call = call,
              .forest = forest,
              .has_missing = has_any(forest, sends_missing_to_yes),
              .has_strict = has_any(forest, is_strict),
              .has_equal = has_any(forest, is_equal)};
  int32_t *row = ibx_arena_array(call->import->arena, (size_t)n, sizeof *row);
  for (int64_t i = 0; i < n; i++)
    row[i] = (int32_t)(i * f);
  r.row = ibx_emit_broadcast(
      call,
      ibx_emit_constant(call, ibx_make_type(IBX_DTYPE_I32, IBX_INTS(n, 1)),
                        row),
      IBX_INTS(n, trees));
  r.has_le = has_any(forest, is_at_most) || !(r.has_strict || r.has_equal);
  r.x = ibx_emit_reshape(call, x, IBX_INTS(n * f));
  r.feature = int_table(call, forest, get_feature);
  r.yes = int_table(call, forest, get_yes);
  r.no = int_table(call, forest, get_no);
  r.threshold = threshold_table(call, forest, ibx_dtype_of(call, x));
  r.missing = flag_table(call, forest, sends_missing_to_yes);
  r.strict = flag_table(call, forest, is_strict);
  r.equal = flag_table(call, forest, is_equal);
  return r;
}

ibx_val ibx_forest_walk(ibx_call *call, const ibx_forest *forest, ibx_val x) {
  int32_t depth = 0, *roots;
  int64_t n = ibx_dim(call, x, 0), trees = (int64_t)forest->tree_count, work;
  if (call->failed || !check(call, forest, ibx_dim(call, x, 1), &depth)) {
    return x;
  }
  if (!ibx_mul_extent(n, trees, &work) || !ibx_call_expect_room(call, work)) {
    return x;
  }
  roots =
      ibx_arena_array(call->import->arena, forest->tree_count, sizeof *roots);
  for (size_t t = 0; t < forest->tree_count; t++)
    roots[t] = (int32_t)forest->roots[t];
  rounds r = make_rounds(call, forest, x);
  ibx_type type = ibx_make_type(IBX_DTYPE_I32, IBX_INTS(1, trees));
  ibx_val at = ibx_emit_broadcast(call, ibx_emit_constant(call, type, roots),
                                  IBX_INTS(n, trees));
  for (int32_t i = 0; i < depth && !call->failed; i++)
    at = step(&r, at);
  return at;
}

// --- votes -------------------------------------------------------------------

// The sum of a node's votes for each target, in rows; `is_there` tells which
// have one.
static double *sum_votes(ibx_call *call, const ibx_forest *forest,
                         int64_t targets, double absent, bool *is_there) {
  size_t count = forest->count * (size_t)targets;
  double *at = ibx_arena_array(call->import->arena, count, sizeof *at);
  for (size_t v = 0; v < forest->vote_count; v++) {
    const ibx_tree_vote *vote = &forest->votes[v];
    size_t place = (size_t)vote->node * (size_t)targets + (size_t)vote->target;
    at[place] += vote->weight;
    is_there[place] = true;
  }
  for (size_t i = 0; i < count; i++) {
    if (!is_there[i]) at[i] = absent;
  }
  return at;
}

static bool check_votes(ibx_call *call, const ibx_forest *forest,
                        int64_t targets) {
  bool fits = targets > 0 && targets <= 1 << 20;
  for (size_t v = 0; v < forest->vote_count && fits; v++) {
    const ibx_tree_vote *vote = &forest->votes[v];
    fits = vote->target >= 0 && vote->target < targets &&
           vote->node < forest->count;
  }
  int64_t room;
  fits = fits && ibx_mul_extent((int64_t)forest->count, targets, &room) &&
         ibx_call_expect_room(call, room);
  if (fits || call->failed) return fits;
  ibx_call_fail(call, IBX_DIAG_ATTRIBUTE_VALUE, "target_ids",
                "correct the lists where the model is made",
                "a vote is for a target, or of a node, that does not exist");
  return false;
}

// Votes that are not there count for nothing: also where the least is sought,
// and where no tree votes the result is 0.
static ibx_val least_or_most(ibx_call *call, ibx_tensor_op op, ibx_val votes,
                             double absent) {
  ibx_val best = ibx_emit_reduce(call, op, votes, IBX_INTS(1), false);
  ibx_val none = ibx_emit_binary(call, IBX_TENSOR_equal, best,
                                 ibx_emit_like(call, best, absent));
  return ibx_emit_select(call, none, ibx_emit_like(call, best, 0), best);
}

ibx_val ibx_forest_sum(ibx_call *call, const ibx_forest *forest, ibx_val at,
                       ibx_dtype dtype, int64_t targets,
                       ibx_tree_sum aggregate) {
  if (call->failed || !check_votes(call, forest, targets)) return at;
  double limit =
      dtype == IBX_DTYPE_F64 ? 1.7976931348623157e308 : 3.4028234663852886e38;
  double absent = aggregate == IBX_TREE_MIN   ? limit
                  : aggregate == IBX_TREE_MAX ? -limit
                                              : 0;
  bool *is_there = IBX_ARENA_ARRAY(&call->import->scratch,
                                   forest->count * (size_t)targets, bool);
  double *table = sum_votes(call, forest, targets, absent, is_there);
  ibx_val votes = ibx_emit_gather(
      call,
      numbers(call, dtype, IBX_INTS((int64_t)forest->count, targets), table),
      at, 0);
  if (aggregate == IBX_TREE_MIN) {
    return least_or_most(call, IBX_TENSOR_reduce_min, votes, absent);
  }
  if (aggregate == IBX_TREE_MAX) {
    return least_or_most(call, IBX_TENSOR_reduce_max, votes, absent);
  }
  ibx_val sum =
      ibx_emit_reduce(call, IBX_TENSOR_reduce_sum, votes, IBX_INTS(1), false);
  if (aggregate == IBX_TREE_SUM) return sum;
  ibx_val trees = ibx_emit_like(call, sum, (double)forest->tree_count);
  return ibx_emit_binary(call, IBX_TENSOR_div, sum, trees);
}

// SPDX-License-Identifier: Apache-2.0
//
// The operators that are ensembles of trees. Comes in: their attributes, lists
// that run side by side. Goes out: a forest, which import_trees.c walks, and what
// is made of its votes: sums, scores, labels.

#include "frontend/import_ops.h"
#include "frontend/import_trees.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static void fail_lists(ibx_call *call, const char *name) {
  ibx_call_fail(call, IBX_DIAG_ATTRIBUTE_VALUE, name,
                "correct the lists where the model is made",
                "the lists of the trees are not of one length, or name a node "
                "that does not exist (%s)",
                name);
}

// The opposite of a comparison, which it becomes, holds of NaN as little.
static void check_threshold(ibx_call *call, const char *name,
                            double threshold) {
  if (!isnan(threshold)) return;
  ibx_call_fail(call, IBX_DIAG_ATTRIBUTE_VALUE, name,
                "train the trees on numbers, or drop the node",
                "a threshold of the trees is no number (%s)", name);
}

static const int64_t *longs(ibx_call *call, const char *name, size_t wanted) {
  size_t len;
  const int64_t *at = ibx_attr_longs(call, name, &len);
  if (len != wanted) fail_lists(call, name);
  return at;
}

static double *doubles(ibx_call *call, const char *list, const char *tensor,
                       size_t wanted) {
  size_t len;
  double *at = ibx_attr_numbers(call, list, tensor, &len);
  if (len != wanted) fail_lists(call, list ? list : tensor);
  return at;
}

// --- TreeEnsemble --------------------------------------------------------------

/// Its lists: of interior nodes, then of leaves.
typedef struct ensemble {
  ibx_call *call;
  size_t node_count, leaf_count;
  const int64_t *features, *yes, *no, *yes_is_leaf, *no_is_leaf, *missing;
  double *modes, *splits, *members;
  size_t member_count, next_member;
} ensemble;

static uint32_t successor(ensemble *e, int64_t at, bool is_leaf) {
  int64_t limit = (int64_t)(is_leaf ? e->leaf_count : e->node_count);
  if (at < 0 || at >= limit) {
    fail_lists(e->call, "nodes_truenodeids");
    return 0;
  }
  return (uint32_t)at + (is_leaf ? (uint32_t)e->node_count : 0);
}

// One comparison for each member of the set, up to the NaN that ends it: each
// that is not equal asks the next.
static void add_members(ensemble *e, ibx_forest *forest, uint32_t at) {
  ibx_tree_node node = forest->nodes[at];
  uint32_t yes = node.yes, no = node.no, place = at;
  bool is_first = true;
  node.threshold = (double)NAN; // an empty set has nobody
  node.mode = IBX_TREE_EQ;
  while (e->next_member < e->member_count &&
         !isnan(e->members[e->next_member])) {
    ibx_tree_node member = node;
    member.threshold = e->members[e->next_member++];
    member.yes = yes;
    member.no = no;
    member.missing_is_yes = is_first && node.missing_is_yes;
    if (is_first) {
      forest->nodes[at] = member;
    } else {
      uint32_t added = ibx_forest_add(forest, member);
      forest->nodes[place].no = added;
      place = added;
    }
    is_first = false;
  }
  e->next_member++;
  if (is_first) forest->nodes[at] = node;
}

static void add_ensemble_node(ensemble *e, ibx_forest *forest, size_t i) {
  enum { MEMBER = 6 };
  ibx_tree_node node = {.feature = e->features[i],
                        .threshold = e->splits[i],
                        .yes = successor(e, e->yes[i], e->yes_is_leaf[i] != 0),
                        .no = successor(e, e->no[i], e->no_is_leaf[i] != 0)};
  bool missing = e->missing && e->missing[i] != 0;
  int mode = e->modes[i] >= 0 && e->modes[i] <= MEMBER ? (int)e->modes[i] : -1;
  if (mode < 0) fail_lists(e->call, "nodes_modes");
  if (mode >= 0 && mode < MEMBER) {
    check_threshold(e->call, "nodes_splits", e->splits[i]);
    ibx_forest_compare(&node, (ibx_tree_mode)mode, missing);
  }
  if (mode == MEMBER) node.missing_is_yes = missing;
  forest->nodes[i] = node;
}

static void read_ensemble(ensemble *e) {
  ibx_call *call = e->call;
  size_t n;
  e->features = ibx_attr_longs(call, "nodes_featureids", &n);
  e->node_count = n;
  e->yes = longs(call, "nodes_truenodeids", n);
  e->no = longs(call, "nodes_falsenodeids", n);
  e->yes_is_leaf = longs(call, "nodes_trueleafs", n);
  e->no_is_leaf = longs(call, "nodes_falseleafs", n);
  e->modes = doubles(call, NULL, "nodes_modes", n);
  e->splits = doubles(call, NULL, "nodes_splits", n);
  if (ibx_has_attr(call, "nodes_missing_value_tracks_true")) {
    e->missing = longs(call, "nodes_missing_value_tracks_true", n);
  }
  if (ibx_has_attr(call, "membership_values")) {
    e->members =
        ibx_attr_numbers(call, NULL, "membership_values", &e->member_count);
  }
  ibx_attr_ignore(call, "nodes_hitrates");
}

static void add_leaves(ensemble *e, ibx_forest *forest) {
  ibx_call *call = e->call;
  const int64_t *targets =
      ibx_attr_longs(call, "leaf_targetids", &e->leaf_count);
  double *weights = doubles(call, NULL, "leaf_weights", e->leaf_count);
  forest->votes = IBX_ARENA_ARRAY(forest->arena, e->leaf_count, ibx_tree_vote);
  if (call->failed) return;
  for (size_t i = 0; i < e->node_count; i++)
    ibx_forest_add(forest, (ibx_tree_node){.is_leaf = true}); // filled below
  for (size_t i = 0; i < e->leaf_count; i++) {
    uint32_t node = ibx_forest_add(forest, (ibx_tree_node){.is_leaf = true});
    forest->votes[forest->vote_count++] = (ibx_tree_vote){
        .node = node, .target = targets[i], .weight = weights[i]};
  }
}

static void add_roots(ensemble *e, ibx_forest *forest) {
  const int64_t *roots =
      ibx_attr_longs(e->call, "tree_roots", &forest->tree_count);
  forest->roots = IBX_ARENA_ARRAY(forest->arena, forest->tree_count, uint32_t);
  for (size_t t = 0; t < forest->tree_count; t++)
    forest->roots[t] = successor(e, roots[t], false);
}

void ibx_import_op_tree_ensemble(ibx_call *call) {
  ibx_val x = ibx_rows_in(call);
  ibx_dtype dtype = ibx_dtype_of(call, x);
  // Thresholds and votes of 16 bits are compared and summed as fp32.
  if (dtype != IBX_DTYPE_F64) x = ibx_emit_cast(call, x, IBX_DTYPE_F32);
  ibx_forest forest = {.arena = &call->import->scratch};
  ensemble e = {.call = call};
  int64_t aggregate = ibx_attr_int(call, "aggregate_function", IBX_TREE_SUM);
  int64_t post = ibx_attr_int(call, "post_transform", 0);
  int64_t targets = ibx_attr_int(call, "n_targets", 1);
  read_ensemble(&e);
  add_leaves(&e, &forest);
  if (call->failed) return;
  for (size_t i = 0; i < e.node_count; i++)
    add_ensemble_node(&e, &forest, i);
  for (size_t i = 0; i < e.node_count; i++) {
    if (e.modes[i] == 6.0) add_members(&e, &forest, (uint32_t)i);
  }
  add_roots(&e, &forest);
  bool is_known = aggregate >= IBX_TREE_AVERAGE && aggregate <= IBX_TREE_MAX;
  if (!ibx_call_expect(call, is_known, "aggregate_function",
                       "is not between 0 and 3")) {
    return;
  }
  ibx_val at = ibx_forest_walk(call, &forest, x);
  ibx_val sum = ibx_forest_sum(call, &forest, at, ibx_dtype_of(call, x),
                               targets, (ibx_tree_sum)aggregate);
  sum = ibx_emit_post_transform(call, sum, post);
  ibx_out(call, 0, ibx_emit_cast(call, sum, dtype));
}

// --- the older operators ---------------------------------------------------------

/// A node by its tree and number.
typedef struct node_key {
  int64_t tree, node;
  uint32_t place;
} node_key;

static int compare_keys(const void *a, const void *b) {
  const node_key *x = a, *y = b;
  if (x->tree != y->tree) return x->tree < y->tree ? -1 : 1;
  if (x->node != y->node) return x->node < y->node ? -1 : 1;
  return 0;
}

typedef struct old_trees {
  ibx_call *call;
  node_key *keys; ///< sorted
  size_t count;
  bool *is_child;
} old_trees;

static uint32_t find_node(old_trees *t, int64_t tree, int64_t node,
                          const char *list) {
  node_key key = {.tree = tree, .node = node};
  node_key *found = t->count == 0 ? NULL
                                  : bsearch(&key, t->keys, t->count, sizeof key,
                                            compare_keys);
  if (!found) fail_lists(t->call, list);
  return found ? found->place : 0;
}

static int mode_of(const ProtobufCBinaryData *text) {
  static const char *const names[] = {"BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE",
                                      "BRANCH_GT",  "BRANCH_EQ", "BRANCH_NEQ",
                                      "LEAF"};
  for (size_t i = 0; i < IBX_COUNT_OF(names); i++) {
    if (text->len == strlen(names[i]) &&
        memcmp(text->data, names[i], text->len) == 0) {
      return (int)i;
    }
  }
  return -1;
}

static void add_old_node(old_trees *t, ibx_forest *forest, size_t i,
                         const ProtobufCBinaryData *mode_text,
                         const int64_t *const lists[4], double threshold,
                         bool missing) {
  enum { LEAF = 6 };
  int mode = mode_of(mode_text);
  ibx_tree_node node = {
      .is_leaf = mode == LEAF, .feature = lists[1][i], .threshold = threshold};
  if (mode < 0) fail_lists(t->call, "nodes_modes");
  if (mode >= 0 && mode < LEAF) {
    node.yes = find_node(t, lists[0][i], lists[2][i], "nodes_truenodeids");
    node.no = find_node(t, lists[0][i], lists[3][i], "nodes_falsenodeids");
    t->is_child[node.yes] = t->is_child[node.no] = true;
    check_threshold(t->call, "nodes_values", threshold);
    ibx_forest_compare(&node, (ibx_tree_mode)mode, missing);
  }
  forest->nodes[i] = node;
}

// The first node of each tree that is nobody's successor.
static void add_old_roots(const old_trees *t, ibx_forest *forest) {
  forest->roots = IBX_ARENA_ARRAY(forest->arena, t->count, uint32_t);
  const node_key *keys = t->keys;
  for (size_t start = 0, end; start < t->count; start = end) {
    uint32_t root = UINT32_MAX;
    for (end = start; end < t->count && keys[end].tree == keys[start].tree;
         end++) {
      uint32_t place = keys[end].place;
      if (!t->is_child[place] && place < root) root = place;
    }
    if (root == UINT32_MAX) {
      fail_lists(t->call, "nodes_truenodeids");
      root = keys[start].place;
    }
    forest->roots[forest->tree_count++] = root;
  }
}

static void read_old_nodes(old_trees *t, ibx_forest *forest) {
  ibx_call *call = t->call;
  size_t n;
  const int64_t *trees = ibx_attr_longs(call, "nodes_treeids", &n);
  const int64_t *ids = longs(call, "nodes_nodeids", n);
  const int64_t *lists[] = {trees, longs(call, "nodes_featureids", n),
                            longs(call, "nodes_truenodeids", n),
                            longs(call, "nodes_falsenodeids", n)};
  double *values = doubles(call, "nodes_values", "nodes_values_as_tensor", n);
  const Onnx__AttributeProto *modes = IBX_ATTR(call, "nodes_modes", STRINGS);
  const int64_t *missing = NULL;
  ibx_attr_ignore(call, "nodes_hitrates nodes_hitrates_as_tensor");
  if (ibx_has_attr(call, "nodes_missing_value_tracks_true")) {
    missing = longs(call, "nodes_missing_value_tracks_true", n);
  }
  if (!modes || modes->n_strings != n) fail_lists(call, "nodes_modes");
  if (call->failed) return;
  t->count = n;
  t->keys = IBX_ARENA_ARRAY(&call->import->scratch, n, node_key);
  t->is_child = IBX_ARENA_ARRAY(&call->import->scratch, n, bool);
  for (size_t i = 0; i < n; i++) {
    t->keys[i] = (node_key){trees[i], ids[i], (uint32_t)i};
    ibx_forest_add(forest, (ibx_tree_node){.is_leaf = true});
  }
  if (n != 0) qsort(t->keys, n, sizeof *t->keys, compare_keys);
  for (size_t i = 0; i < n; i++) {
    add_old_node(t, forest, i, &modes->strings[i], lists, values[i],
                 missing && missing[i] != 0);
  }
  add_old_roots(t, forest);
}

/// The names of the lists of votes.
typedef struct vote_names {
  const char *trees, *nodes, *targets, *weights, *weight_tensor;
} vote_names;

static void read_old_votes(old_trees *t, ibx_forest *forest,
                           const vote_names *names) {
  ibx_call *call = t->call;
  size_t n;
  const int64_t *trees = ibx_attr_longs(call, names->trees, &n);
  const int64_t *nodes = longs(call, names->nodes, n);
  const int64_t *targets = longs(call, names->targets, n);
  double *weights = doubles(call, names->weights, names->weight_tensor, n);
  if (call->failed) return;
  forest->votes = IBX_ARENA_ARRAY(forest->arena, n, ibx_tree_vote);
  for (size_t i = 0; i < n; i++) {
    forest->votes[forest->vote_count++] =
        (ibx_tree_vote){.node = find_node(t, trees[i], nodes[i], names->nodes),
                        .target = targets[i],
                        .weight = weights[i]};
  }
}

// Adds the attribute's numbers, one for all targets or one for each.
static ibx_val add_base(ibx_call *call, ibx_val sum) {
  size_t len;
  double *base =
      ibx_attr_numbers(call, "base_values", "base_values_as_tensor", &len);
  if (len == 0) return sum;
  if (len != 1 && (int64_t)len != ibx_dim(call, sum, -1)) {
    fail_lists(call, "base_values");
    return sum;
  }
  float *at = ibx_arena_array(call->import->arena, len, sizeof *at);
  for (size_t i = 0; i < len; i++)
    at[i] = (float)base[i];
  ibx_type type = ibx_make_type(IBX_DTYPE_F32, IBX_INTS((int64_t)len));
  return ibx_emit_binary(call, IBX_TENSOR_add, sum,
                         ibx_emit_constant(call, type, at));
}

void ibx_import_op_tree_ensemble_regressor(ibx_call *call) {
  static const vote_names names = {"target_treeids", "target_nodeids",
                                   "target_ids", "target_weights",
                                   "target_weights_as_tensor"};
  static const char *const sums[] = {"AVERAGE", "SUM", "MIN", "MAX"};
  const char *wanted = ibx_attr_text(call, "aggregate_function", "SUM");
  int64_t post = ibx_attr_post_transform(call);
  int64_t targets = ibx_attr_int(call, "n_targets", 1), aggregate = -1;
  ibx_val x = ibx_rows_in(call);
  ibx_forest forest = {.arena = &call->import->scratch};
  old_trees t = {.call = call};
  for (int i = 0; i < 4; i++) {
    if (strcmp(sums[i], wanted) == 0) aggregate = i;
  }
  read_old_nodes(&t, &forest);
  if (!call->failed) read_old_votes(&t, &forest, &names);
  if (call->failed ||
      !ibx_call_expect(call, aggregate >= 0, "aggregate_function",
                       "is none of AVERAGE, SUM, MIN, MAX")) {
    return;
  }
  ibx_val at = ibx_forest_walk(call, &forest, x);
  ibx_val sum = ibx_forest_sum(call, &forest, at, IBX_DTYPE_F32, targets,
                               (ibx_tree_sum)aggregate);
  ibx_out(call, 0, ibx_emit_post_transform(call, add_base(call, sum), post));
}

// --- classifiers -----------------------------------------------------------------

// Whether all votes are for one class: of two, the other is what is left.
static bool votes_for_one(const ibx_forest *forest) {
  for (size_t v = 1; v < forest->vote_count; v++) {
    if (forest->votes[v].target != forest->votes[0].target) return false;
  }
  return forest->vote_count != 0;
}

static bool has_negative(const ibx_forest *forest) {
  for (size_t v = 0; v < forest->vote_count; v++) {
    if (forest->votes[v].weight < 0) return true;
  }
  return false;
}

// Scores of two classes from one: a probability p gives 1 - p and p, any other
// score s gives -s and s, and LOGISTIC makes probabilities of these; with their
// labels.
static void classify_one(ibx_call *call, ibx_val score, bool is_probability,
                         int64_t post, ibx_val *out_scores,
                         ibx_val *out_number) {
  enum { LOGISTIC = 2 };
  ibx_val edge = ibx_emit_like(call, score, is_probability ? 0.5 : 0);
  ibx_val is_second = ibx_emit_binary(call, IBX_TENSOR_less, edge, score);
  *out_number =
      ibx_emit_reshape(call, ibx_emit_cast(call, is_second, IBX_DTYPE_I64),
                       IBX_INTS(ibx_dim(call, score, 0)));
  bool is_share = is_probability && post != LOGISTIC;
  ibx_val other = ibx_emit_affine(call, score, -1, is_share ? 1 : 0);
  ibx_val both[] = {other, score};
  *out_scores = ibx_emit_concat(call, both, 2, 1);
  if (post == LOGISTIC) {
    *out_scores = ibx_emit_unary(call, IBX_TENSOR_sigmoid, *out_scores);
  }
}

void ibx_import_op_tree_ensemble_classifier(ibx_call *call) {
  static const vote_names names = {"class_treeids", "class_nodeids",
                                   "class_ids", "class_weights",
                                   "class_weights_as_tensor"};
  static const char *const texts = "classlabels_strings";
  static const char *const ints = "classlabels_int64s";
  int64_t post = ibx_attr_post_transform(call);
  ibx_val x = ibx_rows_in(call), scores, number;
  ibx_forest forest = {.arena = &call->import->scratch};
  old_trees t = {.call = call};
  read_old_nodes(&t, &forest);
  if (!call->failed) read_old_votes(&t, &forest, &names);
  int64_t classes = ibx_label_count(call, texts, ints);
  if (call->failed) return;
  ibx_val at = ibx_forest_walk(call, &forest, x);
  bool is_one = classes == 2 && votes_for_one(&forest);
  for (size_t v = 0; is_one && v < forest.vote_count; v++)
    forest.votes[v].target = 0;
  ibx_val sum =
      add_base(call, ibx_forest_sum(call, &forest, at, IBX_DTYPE_F32,
                                    is_one ? 1 : classes, IBX_TREE_SUM));
  if (is_one) {
    classify_one(call, sum, !has_negative(&forest), post, &scores, &number);
  } else {
    number = ibx_emit_best(call, sum);
    scores = ibx_emit_post_transform(call, sum, post);
  }
  ibx_out(call, 0, ibx_emit_labels(call, texts, ints, number));
  ibx_out(call, 1, scores);
}

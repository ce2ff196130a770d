// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_IMPORT_TREES_H
#define IBX_IMPORT_TREES_H

/// \file
/// Ensembles of decision trees as all their operators have them.

#include "frontend/import.h"

typedef enum ibx_tree_mode {
  IBX_TREE_LEQ,
  IBX_TREE_LT,
  IBX_TREE_GTE,
  IBX_TREE_GT,
  IBX_TREE_EQ,
  IBX_TREE_NEQ
} ibx_tree_mode;

/// Nodes may be shared: they make no circle.
typedef struct ibx_tree_node {
  bool is_leaf;
  bool missing_is_yes; ///< NaN goes to `yes`
  ibx_tree_mode mode;  ///< LEQ, LT or EQ
  int64_t feature;
  double threshold;
  uint32_t yes, no; ///< nodes
} ibx_tree_node;

typedef struct ibx_tree_vote {
  uint32_t node;
  int64_t target;
  double weight;
} ibx_tree_vote;

typedef struct ibx_forest {
  ibx_arena *arena; ///< of the lists
  ibx_tree_node *nodes;
  uint32_t *roots;
  ibx_tree_vote *votes;
  size_t count, room, tree_count, vote_count;
} ibx_forest;

/// Appends a node; returns its number.
uint32_t ibx_forest_add(ibx_forest *forest, ibx_tree_node node);
/// Sets mode and flag, and exchanges `yes` and `no` where `mode` is the opposite
/// of one that a node may have.
void ibx_forest_compare(ibx_tree_node *node, ibx_tree_mode mode,
                        bool missing_is_yes);

/// i32 [N, T]: the leaf that each row of `x`, [N, F], reaches in each tree.
ibx_val ibx_forest_walk(ibx_call *call, const ibx_forest *forest, ibx_val x);

typedef enum ibx_tree_sum {
  IBX_TREE_AVERAGE,
  IBX_TREE_SUM,
  IBX_TREE_MIN,
  IBX_TREE_MAX
} ibx_tree_sum;
/// [N, targets]: the votes of the leaves `at`, together.
ibx_val ibx_forest_sum(ibx_call *call, const ibx_forest *forest, ibx_val at,
                       ibx_dtype dtype, int64_t targets,
                       ibx_tree_sum aggregate);

// --- what classic models share (import_classic.c) ------------------------------

/// The attribute `post_transform` applied to scores [N, C]; `mode` as ONNX numbers
/// them: NONE, SOFTMAX, LOGISTIC, SOFTMAX_ZERO, PROBIT.
ibx_val ibx_emit_post_transform(ibx_call *call, ibx_val scores, int64_t mode);
int64_t ibx_attr_post_transform(ibx_call *call);
/// The numbers of an attribute: a list of floats, or a tensor under `tensor`.
/// Lends scratch.
double *ibx_attr_numbers(ibx_call *call, const char *list, const char *tensor,
                         size_t *out_len);
/// Lends an attribute of integers of any length.
const int64_t *ibx_attr_longs(ibx_call *call, const char *name,
                              size_t *out_len);
/// The labels of a classifier by number, i64 [N]: its attribute of texts or of
/// integers.
ibx_val ibx_emit_labels(ibx_call *call, const char *texts, const char *ints,
                        ibx_val number);
/// The element of `names`, constant integers, at each number.
ibx_val ibx_emit_named(ibx_call *call, ibx_val number, ibx_val names);
/// How many labels there are; 0 with a diagnostic where none are given.
int64_t ibx_label_count(ibx_call *call, const char *texts, const char *ints);
/// [N, C]: how probable each class is, from how probable the first of each pair
/// of classes is, [N, C * (C - 1) / 2] (import_couple.c).
ibx_val ibx_emit_coupled(ibx_call *call, ibx_val pairs, int64_t classes);
/// [N, C] of the first input: a vector is one row.
ibx_val ibx_rows_in(ibx_call *call);
/// i64 [N]: the first largest of each row.
ibx_val ibx_emit_best(ibx_call *call, ibx_val scores);

#endif

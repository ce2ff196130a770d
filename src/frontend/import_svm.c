// SPDX-License-Identifier: Apache-2.0
//
// Imports support vector machines. Comes in: vectors, their coefficients, and a
// kernel. Goes out: the kernel of every row with every vector, by a product or
// by differences, and sums of them. A classifier decides between each pair of
// classes; who wins most pairs is the class, whatever the probabilities say.

#include "frontend/import_ops.h"
#include "frontend/import_trees.h"

#include <string.h>

enum { MOST_DIFFERENCES = 1 << 22 };

typedef struct machine {
  ibx_call *call;
  ibx_val x; ///< [N, F]
  double *vectors, *coefficients, *rho, *kernel;
  size_t vector_len, coefficient_count, rho_count;
  int64_t features, vector_count;
  const char *kind;
  double gamma, offset, degree;
} machine;

static bool read_machine(machine *m) {
  ibx_call *call = m->call;
  size_t len;
  m->x = ibx_emit_cast(call, ibx_rows_in(call), IBX_DTYPE_F32);
  m->features = ibx_dim(call, m->x, 1);
  m->vectors = ibx_attr_numbers(call, "support_vectors", NULL, &m->vector_len);
  m->coefficients =
      ibx_attr_numbers(call, "coefficients", NULL, &m->coefficient_count);
  m->rho = ibx_attr_numbers(call, "rho", NULL, &m->rho_count);
  m->kernel = ibx_attr_numbers(call, "kernel_params", NULL, &len);
  m->kind = ibx_attr_text(call, "kernel_type", "LINEAR");
  if (len >= 3) {
    m->gamma = m->kernel[0];
    m->offset = m->kernel[1];
    m->degree = m->kernel[2];
  }
  bool fits = m->features > 0 && m->vector_len % (size_t)m->features == 0 &&
              m->rho_count != 0;
  m->vector_count = m->features > 0 ? (int64_t)m->vector_len / m->features : 0;
  return ibx_call_expect(call, fits, "support_vectors",
                         "needs whole vectors, and rho a number");
}

// |x - v|^2: from the differences, where they are few, for it is exact; else
// from products.
static ibx_val squared_distance(const machine *m, ibx_val vectors) {
  ibx_call *call = m->call;
  int64_t n = ibx_dim(call, m->x, 0), work;
  if (ibx_mul_extent(n, m->vector_count, &work) &&
      ibx_mul_extent(work, m->features, &work) && work <= MOST_DIFFERENCES) {
    ibx_val apart = ibx_emit_binary(
        call, IBX_TENSOR_sub,
        ibx_emit_reshape(call, m->x, IBX_INTS(n, 1, m->features)),
        ibx_emit_reshape(call, vectors,
                         IBX_INTS(1, m->vector_count, m->features)));
    apart = ibx_emit_binary(call, IBX_TENSOR_mul, apart, apart);
    return ibx_emit_reduce(call, IBX_TENSOR_reduce_sum, apart, IBX_INTS(2),
                           false);
  }
  ibx_val xx = ibx_emit_binary(call, IBX_TENSOR_mul, m->x, m->x);
  ibx_val vv = ibx_emit_binary(call, IBX_TENSOR_mul, vectors, vectors);
  xx = ibx_emit_reduce(call, IBX_TENSOR_reduce_sum, xx, IBX_INTS(1), true);
  vv = ibx_emit_reduce(call, IBX_TENSOR_reduce_sum, vv, IBX_INTS(1), false);
  ibx_val xv = ibx_emit_matmul(call, m->x, ibx_emit_swap(call, vectors, 0, 1));
  return ibx_emit_binary(call, IBX_TENSOR_add, ibx_emit_affine(call, xv, -2, 0),
                         ibx_emit_binary(call, IBX_TENSOR_add, xx, vv));
}

// [N, V]: the kernel of each row with each vector.
static ibx_val kernels(const machine *m) {
  ibx_call *call = m->call;
  ibx_val vectors =
      ibx_emit_floats(call, IBX_INTS(m->vector_count, m->features), m->vectors);
  if (strcmp(m->kind, "RBF") == 0) {
    ibx_val distance = squared_distance(m, vectors);
    return ibx_emit_unary(call, IBX_TENSOR_exp,
                          ibx_emit_affine(call, distance, -m->gamma, 0));
  }
  ibx_val dot = ibx_emit_matmul(call, m->x, ibx_emit_swap(call, vectors, 0, 1));
  if (strcmp(m->kind, "LINEAR") == 0) return dot;
  ibx_val scaled = ibx_emit_affine(call, dot, m->gamma, m->offset);
  if (strcmp(m->kind, "SIGMOID") == 0) {
    return ibx_emit_unary(call, IBX_TENSOR_tanh, scaled);
  }
  if (!ibx_call_expect(call, strcmp(m->kind, "POLY") == 0, "kernel_type",
                       "is none of LINEAR, POLY, RBF, SIGMOID")) {
    return dot;
  }
  return ibx_emit_binary(call, IBX_TENSOR_pow, scaled,
                         ibx_emit_like(call, scaled, m->degree));
}

void ibx_import_op_svm_regressor(ibx_call *call) {
  machine m = {.call = call};
  int64_t post = ibx_attr_post_transform(call);
  bool one_class = ibx_attr_int(call, "one_class", 0) != 0;
  int64_t supports = ibx_attr_int(call, "n_supports", 0);
  if (!read_machine(&m)) return;
  int64_t terms = supports > 0 ? m.vector_count : m.features;
  bool fits = (int64_t)m.coefficient_count == terms &&
              (supports <= 0 || supports == m.vector_count);
  if (!ibx_call_expect(call, fits, "coefficients",
                       "needs a number for each vector, or for each feature "
                       "where there are none")) {
    return;
  }
  ibx_val w = ibx_emit_floats(call, IBX_INTS(terms, 1), m.coefficients);
  ibx_val sum = ibx_emit_matmul(call, supports > 0 ? kernels(&m) : m.x, w);
  sum = ibx_emit_affine(call, sum, 1, m.rho[0]);
  if (one_class) {
    ibx_val above = ibx_emit_binary(call, IBX_TENSOR_less,
                                    ibx_emit_like(call, sum, 0), sum);
    sum = ibx_emit_select(call, above, ibx_emit_like(call, sum, 1),
                          ibx_emit_like(call, sum, -1));
  }
  ibx_out(call, 0, ibx_emit_post_transform(call, sum, post));
}

// --- classes -----------------------------------------------------------------

/// The pairs of classes, in the order of scores: 0 and 1, 0 and 2, ..., 1 and 2.
typedef struct pairs {
  const int64_t *sizes; ///< vectors of each class
  int64_t classes, count;
} pairs;

// Column p of the result holds the coefficients with which the vectors of the
// two classes of pair p decide between them.
static double *pair_weights(const machine *m, const pairs *p) {
  double *at =
      ibx_arena_array(&m->call->import->scratch,
                      (size_t)(m->vector_count * p->count), sizeof *at);
  int64_t pair = 0, first_i = 0;
  for (int64_t i = 0; i < p->classes; i++) {
    int64_t first_j = first_i + p->sizes[i];
    for (int64_t j = i + 1; j < p->classes; j++, pair++) {
      for (int64_t v = 0; v < p->sizes[i]; v++) {
        at[(first_i + v) * p->count + pair] =
            m->coefficients[(j - 1) * m->vector_count + first_i + v];
      }
      for (int64_t v = 0; v < p->sizes[j]; v++) {
        at[(first_j + v) * p->count + pair] =
            m->coefficients[i * m->vector_count + first_j + v];
      }
      first_j += p->sizes[j];
    }
    first_i += p->sizes[i];
  }
  return at;
}

static bool check_pairs(const machine *m, const pairs *p, size_t size_count) {
  int64_t vectors = 0;
  bool fits =
      (int64_t)size_count == p->classes && (int64_t)m->rho_count == p->count &&
      (int64_t)m->coefficient_count == (p->classes - 1) * m->vector_count;
  for (size_t i = 0; i < size_count && fits; i++) {
    fits = p->sizes[i] >= 0 && p->sizes[i] <= m->vector_count;
    vectors += fits ? p->sizes[i] : 0;
  }
  return ibx_call_expect(m->call, fits && vectors == m->vector_count,
                         "vectors_per_class",
                         "does not divide the vectors among the classes, or "
                         "rho and coefficients are not those of their pairs");
}

// How often each class wins its pairs: i64 [N], the first with most.
static ibx_val vote(const machine *m, const pairs *p, ibx_val scores) {
  ibx_call *call = m->call;
  size_t count = (size_t)(p->count * p->classes);
  double *wins = ibx_arena_array(&call->import->scratch, count, sizeof *wins);
  double *losses =
      ibx_arena_array(&call->import->scratch, count, sizeof *losses);
  int64_t pair = 0;
  for (int64_t i = 0; i < p->classes; i++) {
    for (int64_t j = i + 1; j < p->classes; j++, pair++) {
      wins[pair * p->classes + i] = 1;
      losses[pair * p->classes + j] = 1;
    }
  }
  ibx_ints shape = IBX_INTS(p->count, p->classes);
  ibx_val is_won = ibx_emit_binary(call, IBX_TENSOR_less,
                                   ibx_emit_like(call, scores, 0), scores);
  ibx_val won = ibx_emit_cast(call, is_won, IBX_DTYPE_F32);
  ibx_val lost = ibx_emit_affine(call, won, -1, 1);
  ibx_val votes = ibx_emit_binary(
      call, IBX_TENSOR_add,
      ibx_emit_matmul(call, won, ibx_emit_floats(call, shape, wins)),
      ibx_emit_matmul(call, lost, ibx_emit_floats(call, shape, losses)));
  return ibx_emit_best(call, votes);
}

// A sigmoid of each pair's score says how probable its first class is: from
// these follows how probable each class is.
static ibx_val probabilities(const machine *m, const pairs *p, ibx_val scores) {
  enum { MOST_CLASSES = 64 };
  ibx_call *call = m->call;
  const double least = (double)1e-7f, most = (double)(1 - 1e-7f);
  size_t a_count, b_count;
  double *a = ibx_attr_numbers(call, "prob_a", NULL, &a_count);
  double *b = ibx_attr_numbers(call, "prob_b", NULL, &b_count);
  bool fits = (int64_t)a_count == p->count && (int64_t)b_count == p->count;
  if (!ibx_call_expect(call, fits, "prob_a",
                       "and prob_b need a number for each pair of classes")) {
    return scores;
  }
  if (p->classes > MOST_CLASSES) {
    ibx_call_refuse(call, "prob_a", "probabilities of more than %d classes",
                    MOST_CLASSES);
    return scores;
  }
  ibx_ints shape = IBX_INTS(p->count);
  ibx_val line =
      ibx_emit_binary(call, IBX_TENSOR_add,
                      ibx_emit_binary(call, IBX_TENSOR_mul, scores,
                                      ibx_emit_floats(call, shape, a)),
                      ibx_emit_floats(call, shape, b));
  ibx_val first = ibx_emit_unary(call, IBX_TENSOR_sigmoid,
                                 ibx_emit_affine(call, line, -1, 0));
  first = ibx_emit_clip(call, first, (float)least, (float)most);
  return ibx_emit_coupled(call, first, p->classes);
}

void ibx_import_op_svm_classifier(ibx_call *call) {
  static const char *const texts = "classlabels_strings";
  static const char *const ints = "classlabels_ints";
  machine m = {.call = call};
  pairs p = {.classes = ibx_label_count(call, texts, ints)};
  size_t size_count;
  int64_t post = ibx_attr_post_transform(call);
  p.sizes = ibx_attr_longs(call, "vectors_per_class", &size_count);
  p.count = p.classes * (p.classes - 1) / 2;
  ibx_attr_ignore(call, "prob_b"); // nothing without prob_a
  if (call->failed || !read_machine(&m)) return;
  if (!ibx_call_expect(
          call, p.classes >= 2 && p.classes <= 1024 && m.vector_count > 0,
          "classlabels_ints", "needs 2 to 1024 classes, and support vectors") ||
      !check_pairs(&m, &p, size_count)) {
    return;
  }
  ibx_val w = ibx_emit_floats(call, IBX_INTS(m.vector_count, p.count),
                              pair_weights(&m, &p));
  ibx_val scores = ibx_emit_binary(
      call, IBX_TENSOR_add, ibx_emit_matmul(call, kernels(&m), w),
      ibx_emit_floats(call, IBX_INTS(p.count), m.rho));
  ibx_val number = vote(&m, &p, scores);
  if (ibx_has_attr(call, "prob_a")) {
    scores = probabilities(&m, &p, scores);
  } else if (p.classes ==
             2) { // one score behind its opposite, as ONNX Runtime has it
    ibx_val both[] = {ibx_emit_affine(call, scores, -1, 0), scores};
    scores = ibx_emit_concat(call, both, 2, 1);
  }
  ibx_out(call, 0, ibx_emit_labels(call, texts, ints, number));
  ibx_out(call, 1, ibx_emit_post_transform(call, scores, post));
}

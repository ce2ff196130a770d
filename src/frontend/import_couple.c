// SPDX-License-Identifier: Apache-2.0
//
// Probabilities of classes from those of their pairs. Comes in: for each row and
// each pair of classes i < j how probable i is where it is i or j. Goes out: how
// probable each class is: the p that minimises the sum of (r_ji p_i - r_ij p_j)^2
// (Wu, Lin and Weng, "Probability estimates for multi-class classification by
// pairwise coupling", 2004, method 2), found as LIBSVM and ONNX Runtime do. They
// stop where no class is off by more than a limit, and differ from the minimum by
// that much: so a row stops here too.

#include "frontend/import_ops.h"
#include "frontend/import_trees.h"

// Random and adversarial pairs of 2 to 20 classes end after 4 passes at most.
enum { PASSES = 6 };

// What a pass reads and changes, for all rows at once.
typedef struct coupling {
  ibx_call *call;
  int64_t classes;
  ibx_val q;         // [N, C, C]
  ibx_val p, qp;     // [N, C]: the estimate, and q times it
  ibx_val pqp, done; // [N, 1]
} coupling;

static ibx_val binary(const coupling *c, ibx_tensor_op op, ibx_val a,
                      ibx_val b) {
  return ibx_emit_binary(c->call, op, a, b);
}

// r_ij at row i and column j, 0 where they are the same: [N, C, C].
static ibx_val square_of(const coupling *c, ibx_val pairs) {
  ibx_call *call = c->call;
  int64_t rows = ibx_dim(call, pairs, 0), count = ibx_dim(call, pairs, 1);
  int64_t *at = ibx_arena_array(&call->import->scratch,
                                (size_t)(c->classes * c->classes), sizeof *at);
  int64_t pair = 0;
  for (int64_t i = 0; i < c->classes; i++) {
    at[i * c->classes + i] = 2 * count;
    for (int64_t j = i + 1; j < c->classes; j++, pair++) {
      at[i * c->classes + j] = pair;
      at[j * c->classes + i] = count + pair;
    }
  }
  ibx_val zeros = ibx_emit_broadcast(call, ibx_emit_like(call, pairs, 0),
                                     IBX_INTS(rows, 1));
  ibx_val all[] = {pairs, ibx_emit_affine(call, pairs, -1, 1), zeros};
  ibx_val index = ibx_emit_longs(call, IBX_INTS(c->classes * c->classes), at);
  ibx_val flat =
      ibx_emit_gather(call, ibx_emit_concat(call, all, 3, 1), index, 1);
  return ibx_emit_reshape(call, flat, IBX_INTS(rows, c->classes, c->classes));
}

// -r_ji r_ij, and on the diagonal the squares of a column together.
static ibx_val quadratic_of(const coupling *c, ibx_val r) {
  ibx_call *call = c->call;
  ibx_val squares = binary(c, IBX_TENSOR_mul, r, r);
  squares =
      ibx_emit_reduce(call, IBX_TENSOR_reduce_sum, squares, IBX_INTS(1), true);
  ibx_val other = binary(c, IBX_TENSOR_mul, ibx_emit_swap(call, r, 1, 2), r);
  ibx_val line = ibx_emit_iota(call, c->classes);
  ibx_val same = binary(c, IBX_TENSOR_equal, ibx_emit_along(call, line, 1, 3),
                        ibx_emit_along(call, line, 2, 3));
  return ibx_emit_select(call, same, squares,
                         ibx_emit_affine(call, other, -1, 0));
}

// The products of the estimate, and whether it is good enough.
static void look_at(coupling *c) {
  ibx_call *call = c->call;
  ibx_val row = ibx_emit_reshape(
      call, c->p, IBX_INTS(ibx_dim(call, c->p, 0), 1, c->classes));
  c->qp =
      ibx_emit_reduce(call, IBX_TENSOR_reduce_sum,
                      binary(c, IBX_TENSOR_mul, c->q, row), IBX_INTS(2), false);
  c->pqp = ibx_emit_reduce(call, IBX_TENSOR_reduce_sum,
                           binary(c, IBX_TENSOR_mul, c->p, c->qp), IBX_INTS(1),
                           true);
  ibx_val off = ibx_emit_unary(call, IBX_TENSOR_abs,
                               binary(c, IBX_TENSOR_sub, c->qp, c->pqp));
  off = ibx_emit_reduce(call, IBX_TENSOR_reduce_max, off, IBX_INTS(1), true);
  ibx_val fine = binary(c, IBX_TENSOR_less, off,
                        ibx_emit_like(call, off, 0.005 / (double)c->classes));
  c->done =
      c->done == IBX_NO_VALUE ? fine : binary(c, IBX_TENSOR_or, c->done, fine);
}

// Moves the estimate of one class to where it is best, and makes the sum 1 again.
static void move_class(coupling *c, int64_t t) {
  ibx_call *call = c->call;
  int64_t rows = ibx_dim(call, c->p, 0);
  double *hot =
      ibx_arena_array(&call->import->scratch, (size_t)c->classes, sizeof *hot);
  hot[t] = 1;
  ibx_val column = ibx_emit_reshape(
      call, ibx_emit_slice(call, c->q, 1, t, 1, 1), IBX_INTS(rows, c->classes));
  ibx_val own = ibx_emit_slice(call, column, 1, t, 1, 1);
  ibx_val now = ibx_emit_slice(call, c->qp, 1, t, 1, 1);
  ibx_val step =
      binary(c, IBX_TENSOR_div, binary(c, IBX_TENSOR_sub, c->pqp, now), own);
  ibx_val sum = ibx_emit_affine(call, step, 1, 1);
  ibx_val added = binary(c, IBX_TENSOR_mul, step,
                         ibx_emit_floats(call, IBX_INTS(1, c->classes), hot));
  c->p = binary(c, IBX_TENSOR_div, binary(c, IBX_TENSOR_add, c->p, added), sum);
  ibx_val more = binary(c, IBX_TENSOR_add, binary(c, IBX_TENSOR_mul, step, own),
                        ibx_emit_affine(call, now, 2, 0));
  c->pqp =
      binary(c, IBX_TENSOR_add, c->pqp, binary(c, IBX_TENSOR_mul, step, more));
  c->pqp =
      binary(c, IBX_TENSOR_div, c->pqp, binary(c, IBX_TENSOR_mul, sum, sum));
  c->qp = binary(
      c, IBX_TENSOR_div,
      binary(c, IBX_TENSOR_add, c->qp, binary(c, IBX_TENSOR_mul, step, column)),
      sum);
}

ibx_val ibx_emit_coupled(ibx_call *call, ibx_val pairs, int64_t classes) {
  coupling c = {.call = call, .classes = classes, .done = IBX_NO_VALUE};
  c.q = quadratic_of(&c, square_of(&c, pairs));
  c.p =
      ibx_emit_broadcast(call, ibx_emit_like(call, pairs, 1 / (double)classes),
                         IBX_INTS(ibx_dim(call, pairs, 0), classes));
  for (int pass = 0; pass < PASSES && !call->failed; pass++) {
    look_at(&c);
    ibx_val before = c.p;
    for (int64_t t = 0; t < classes && !call->failed; t++)
      move_class(&c, t);
    c.p = ibx_emit_select(call, c.done, before, c.p);
  }
  return c.p;
}

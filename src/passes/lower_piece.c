// SPDX-License-Identifier: Apache-2.0
//
// Pieces: comes in several views of one shape; goes out a sequence of pieces
// that together cover it, each within the limits of one engine instruction:
// three free dimensions, 16-bit counts and steps, a legal range of partitions.

#include "passes/lower.h"

#include <stdlib.h>
#include <string.h>

enum { FREE_DIMS = 3, MAX_NUM = 65535, MAX_STEP = 32767 };

typedef struct piece_walk {
  const ibx_view *const *views;
  size_t count;
  int64_t most;
  ibx_piece_fn visit;
  void *user;
  ibx_axis loop[IBX_AXES]; // outside of the instruction, outermost first
  size_t loop_count;
  ibx_axis inside[FREE_DIMS];
  size_t inside_count;
  int32_t partitions;
} piece_walk;

bool ibx_partitions_are_legal(int64_t start, int64_t count) {
  if (count > IBX_PARTITIONS) return false;
  if (count > 64) return start == 0;
  if (count > 32) return start % 64 == 0;
  return start % 32 == 0;
}

static bool is_legal_piece(const piece_walk *walk, const ibx_piece *piece) {
  for (size_t v = 0; v < walk->count; v++) {
    if (!ibx_partitions_are_legal(piece->partition[v], piece->partitions))
      return false;
  }
  return true;
}

// Visits the piece, cut into legal ranges of partitions.
static bool visit_partitions(const piece_walk *walk, const ibx_piece *piece) {
  ibx_piece part = *piece;
  for (int32_t done = 0; done < piece->partitions; done += part.partitions) {
    for (size_t v = 0; v < walk->count; v++) {
      part.partition[v] = piece->partition[v] + done;
    }
    part.partitions = piece->partitions - done;
    while (!is_legal_piece(walk, &part)) {
      if (part.partitions <= 32) return false;
      part.partitions = part.partitions > 64 ? 64 : 32;
    }
    if (walk->visit && !walk->visit(walk->user, &part)) return false;
  }
  return true;
}

// Walks the loops outside of the instruction.
static bool visit_loops(const piece_walk *walk, size_t level,
                        ibx_piece *piece) {
  if (level == walk->loop_count) return visit_partitions(walk, piece);
  const ibx_axis *axis = &walk->loop[level];
  ibx_piece inner = *piece;
  for (int64_t i = 0; i < axis->size; i++) {
    if (!visit_loops(walk, level + 1, &inner)) return false;
    for (size_t v = 0; v < walk->count; v++) {
      inner.offset[v] += axis->step[v];
      inner.partition[v] += axis->pstep[v];
    }
    if (!walk->visit && i == 1) break; // asking: all iterations are alike
  }
  return true;
}

static int compare_step(const void *a, const void *b) {
  const ibx_axis *x = a, *y = b;
  int64_t sx = x->step[0] ? llabs(x->step[0]) : 0;
  int64_t sy = y->step[0] ? llabs(y->step[0]) : 0;
  if (sx != sy) return sx > sy ? -1 : 1;
  for (size_t v = 1; v < IBX_VIEWS; v++) {
    if (x->step[v] != y->step[v]) {
      return llabs(x->step[v]) > llabs(y->step[v]) ? -1 : 1;
    }
  }
  return 0;
}

static bool steps_fit(const ibx_axis *axis, size_t count) {
  for (size_t v = 0; v < count; v++) {
    if (llabs(axis->step[v]) > MAX_STEP) return false;
  }
  return true;
}

// Splits axis `size` so that the inner part is at most `limit`: exact divisors
// only, so that all pieces are alike; the caller loops over the outer part. Of
// each pair of divisors one is at most the root.
static int64_t largest_divisor(int64_t size, int64_t limit) {
  if (size <= limit) return size;
  if (limit < 1) return 1;
  int64_t outer = (size + limit - 1) / limit, root = 1;
  for (; outer <= size / outer; outer++) {
    if (size % outer == 0) return size / outer;
  }
  while (root < limit && root + 1 <= size / (root + 1))
    root++;
  for (int64_t d = root; d > 1; d--) {
    if (size % d == 0) return d;
  }
  return 1;
}

static void push_loop(piece_walk *walk, ibx_axis axis) {
  if (axis.size > 1) walk->loop[walk->loop_count++] = axis;
}

static ibx_axis outer_part(const ibx_axis *axis, int64_t inner) {
  ibx_axis outer = *axis;
  outer.size = axis->size / inner;
  for (size_t v = 0; v < IBX_VIEWS; v++)
    outer.step[v] *= inner;
  return outer;
}

// Chooses which free axes run inside of the instruction, from the innermost on.
static bool place_free(piece_walk *walk, ibx_rect *rect) {
  qsort(rect->axis, rect->axis_count, sizeof(ibx_axis), compare_step);
  ibx_rect_merge(rect);
  int64_t elements = 1;
  size_t inside = 0;
  ibx_axis reversed[FREE_DIMS];
  bool open = true;
  ibx_axis outside[2 * IBX_AXES];
  size_t outside_count = 0;
  for (int i = rect->axis_count - 1; i >= 0; i--) {
    ibx_axis axis = rect->axis[i];
    int64_t room = walk->most / elements;
    if (room > MAX_NUM) room = MAX_NUM;
    if (!open || inside == FREE_DIMS || room <= 1 ||
        !steps_fit(&axis, walk->count)) {
      outside[outside_count++] = axis;
      open = open && steps_fit(&axis, walk->count);
      continue;
    }
    int64_t part = largest_divisor(axis.size, room);
    // A prime extent is better walked whole than element by element.
    if (part * 4 < room && axis.size * elements <= MAX_NUM) part = axis.size;
    if (part < axis.size) {
      outside[outside_count++] = outer_part(&axis, part);
      axis.size = part;
    }
    if (axis.size > 1) reversed[inside++] = axis;
    elements *= part;
  }
  if (walk->loop_count + outside_count > IBX_AXES) return false;
  for (size_t i = outside_count; i > 0; i--)
    push_loop(walk, outside[i - 1]);
  for (size_t i = 0; i < inside; i++)
    walk->inside[i] = reversed[inside - 1 - i];
  walk->inside_count = inside;
  return true;
}

static int compare_pstep(const void *a, const void *b) {
  const ibx_axis *x = a, *y = b;
  return x->pstep[0] - y->pstep[0];
}

// Takes the partition axes out of the rectangle; those that do not continue the
// run of partitions become loops.
static bool place_partitions(piece_walk *walk, ibx_rect *rect) {
  ibx_axis on[IBX_AXES];
  size_t on_count = 0, kept = 0;
  for (size_t i = 0; i < rect->axis_count; i++) {
    const ibx_axis *axis = &rect->axis[i];
    bool lead = axis->pstep[0] != 0;
    for (size_t v = 0; v < walk->count; v++) {
      if ((axis->pstep[v] != 0) != lead) return false;
      if (axis->pstep[v] != 0 && axis->step[v] != 0) return false;
      if (axis->pstep[v] != axis->pstep[0]) return false;
    }
    if (lead)
      on[on_count++] = *axis;
    else
      rect->axis[kept++] = *axis;
  }
  rect->axis_count = (uint8_t)kept;
  qsort(on, on_count, sizeof(ibx_axis), compare_pstep);
  walk->partitions = 1;
  for (size_t i = 0; i < on_count; i++) {
    if (on[i].pstep[0] == walk->partitions) {
      walk->partitions *= (int32_t)on[i].size;
    } else {
      push_loop(walk, on[i]);
    }
  }
  return walk->partitions <= IBX_PARTITIONS;
}

static bool visit_rect(void *user, const ibx_rect *whole) {
  piece_walk *walk = user;
  ibx_rect rect; // as much of it as there is
  rect.axis_count = whole->axis_count;
  rect.view_count = whole->view_count;
  memcpy(rect.axis, whole->axis, whole->axis_count * sizeof(ibx_axis));
  walk->loop_count = 0;
  if (!place_partitions(walk, &rect) || !place_free(walk, &rect)) return false;
  ibx_piece piece = {.partitions = walk->partitions, .num = {1, 1, 1}};
  size_t first = FREE_DIMS - walk->inside_count;
  for (size_t v = 0; v < walk->count; v++) {
    piece.offset[v] = whole->offset[v];
    piece.partition[v] = whole->partition[v];
    for (size_t i = 0; i < walk->inside_count; i++) {
      piece.step[v][first + i] = (int32_t)walk->inside[i].step[v];
    }
  }
  for (size_t i = 0; i < walk->inside_count; i++) {
    piece.num[first + i] = (uint32_t)walk->inside[i].size;
  }
  return visit_loops(walk, 0, &piece);
}

bool ibx_view_pieces(const ibx_view *const *views, size_t count, int64_t most,
                     ibx_piece_fn visit, void *user) {
  piece_walk walk = {.views = views,
                     .count = count,
                     .most = most,
                     .visit = visit,
                     .user = user};
  return ibx_view_rects(views, count, visit_rect, &walk);
}

void ibx_piece_operand(ibx_insn *insn, size_t slot, const ibx_view *view,
                       const ibx_piece *piece, size_t index) {
  ibx_operand *operand = &insn->operand[slot];
  operand->buffer = view->buffer;
  operand->dtype = (uint8_t)view->dtype;
  operand->partition = (uint8_t)piece->partition[index];
  operand->offset =
      (uint64_t)piece->offset[index] * ibx_dtype_bytes(view->dtype);
  for (size_t i = 0; i < FREE_DIMS; i++) {
    operand->step[IBX_DIMS - FREE_DIMS + i] = piece->step[index][i];
  }
}

void ibx_piece_shape(ibx_insn *insn, const ibx_piece *piece) {
  insn->partitions = (uint8_t)piece->partitions;
  for (size_t i = 0; i < FREE_DIMS; i++) {
    insn->num[IBX_DIMS - FREE_DIMS + i] = piece->num[i];
  }
}

bool ibx_view_is_column(const ibx_view *view) {
  for (uint8_t d = 0; d < view->rank; d++) {
    for (uint8_t a = 0; a < view->dim[d].count; a++) {
      if (view->dim[d].atom[a].size > 1 && view->dim[d].atom[a].step != 0) {
        return false;
      }
    }
  }
  return true;
}

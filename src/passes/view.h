// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_VIEW_H
#define IBX_VIEW_H

/// \file
/// Where the elements of a tensor lie, as an algebra: a view maps each logical
/// dimension onto atoms, and each atom walks partitions or bytes. Reshape,
/// transpose, slice and broadcast are computations on views; only what no view
/// can express moves data.
///
///   768 features on 128 partitions:   {6, step 512} {128, pstep 1}
///   the same, seen as 12 heads x 64:  {6, step 512} {2, pstep 64}  {64, pstep 1}
///
/// An index into a dimension is split over its atoms, outermost first. All but
/// the outermost atom are exact; the outermost may be partial, which is how 197
/// tokens lie on two tiles of 128 partitions.

#include "imbrex/tensor.h"

enum { IBX_ATOMS = 5, IBX_VIEWS = 6, IBX_AXES = 20 };

typedef struct ibx_atom {
  int64_t size;
  int64_t step;  ///< elements in the free dimension (or in HBM)
  int32_t pstep; ///< partitions
} ibx_atom;

typedef struct ibx_dim {
  ibx_atom atom[IBX_ATOMS];
  int64_t size; ///< at most the product of the atoms
  uint8_t count;
} ibx_dim;

typedef struct ibx_view {
  ibx_dim dim[IBX_MAX_RANK];
  int64_t offset; ///< elements
  int32_t partition;
  uint32_t buffer;
  ibx_dtype dtype;
  uint8_t rank;
} ibx_view;

/// A row-major view of `type` in one buffer without partitions (HBM).
ibx_view ibx_view_linear(const ibx_type *type, uint32_t buffer);

/// The first (`word` 0) or second words of elements of 64 bits, as I32.
ibx_view ibx_view_words(const ibx_view *view, unsigned word);

/// Which dimensions of a tensor lie on the partitions: flattened in the given
/// order, cut in tiles of `limit` partitions. The others, then the tiles, lie behind each other
/// in the free dimension, row-major.
typedef struct ibx_layout {
  uint8_t dims[IBX_MAX_RANK];
  uint8_t count; ///< 0: everything on one partition
  uint8_t limit; ///< 128 (also written 0), 64 or 32
} ibx_layout;

/// The view of a tensor laid out that way from offset 0 on, the partitions that
/// it takes and the elements in each. False when the flattened dimensions do not
/// split into tiles (an inner extent neither fits in 128 nor divides them).
bool ibx_view_make(const ibx_type *type, const ibx_layout *layout,
                   ibx_view *out_view, int32_t *out_partitions,
                   int64_t *out_elements);

/// The effect of a VIEW operation on a view; false when no view expresses it.
bool ibx_view_reshape(const ibx_view *view, const ibx_ints *shape,
                      ibx_view *out);
void ibx_view_transpose(const ibx_view *view, const ibx_ints *perm,
                        ibx_view *out);
bool ibx_view_slice(const ibx_view *view, const int64_t *starts,
                    const int64_t *sizes, const int64_t *steps, ibx_view *out);
/// Whether indices of the dimension lie on different partitions.
bool ibx_dim_on_partitions(const ibx_dim *dim);

/// The most elements, up to `limit`, that a slice of the dimension from `start`
/// on may have.
int64_t ibx_dim_span(const ibx_dim *dim, int64_t start, int64_t limit);
void ibx_view_broadcast(const ibx_view *view, const ibx_ints *shape,
                        ibx_view *out);
/// Drops dimension `dim` at index `index`.
bool ibx_view_at(const ibx_view *view, uint8_t dim, int64_t index,
                 ibx_view *out);

/// One axis of a rectangular piece of several views of one shape.
typedef struct ibx_axis {
  int64_t size;
  int64_t step[IBX_VIEWS];
  int32_t pstep[IBX_VIEWS];
  uint8_t dim;
} ibx_axis;

/// A piece in which all views are rectangular: axes, outermost first.
typedef struct ibx_rect {
  ibx_axis axis[IBX_AXES];
  int64_t offset[IBX_VIEWS];
  int32_t partition[IBX_VIEWS];
  uint8_t axis_count, view_count;
} ibx_rect;

/// Calls `visit` for each rectangle of the common refinement of `count` views of
/// one shape. False when they have none, or `visit` returns false. Views with
/// different psteps are the visitor's business.
bool ibx_view_rects(const ibx_view *const *views, size_t count,
                    bool (*visit)(void *user, const ibx_rect *rect),
                    void *user);

/// Whether the views of one shape have a common refinement.
bool ibx_view_refines(const ibx_view *const *views, size_t count);

/// Joins neighbouring axes that all views walk as one, drops those of size 1.
void ibx_rect_merge(ibx_rect *rect);

#endif

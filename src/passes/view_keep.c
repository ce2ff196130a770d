// SPDX-License-Identifier: Apache-2.0
//
// Comes in: a view. Goes out: a kept one, a fifth as large, and from that the
// view again, equal in all dimensions and atoms that it has.

#include "passes/view_keep.h"

enum { OF_DIM = 2, OF_ATOM = 3 }; // words

const ibx_kept_view *ibx_view_keep(const ibx_view *view, ibx_arena *arena) {
  size_t words = 0;
  for (uint8_t d = 0; d < view->rank; d++)
    words += OF_DIM + (size_t)view->dim[d].count * OF_ATOM;
  ibx_kept_view *kept =
      ibx_arena_alloc_raw(arena, sizeof(*kept) + words * sizeof(int64_t));
  *kept = (ibx_kept_view){.offset = view->offset,
                          .buffer = view->buffer,
                          .partition = (int16_t)view->partition,
                          .dtype = (uint8_t)view->dtype,
                          .rank = view->rank};
  int64_t *word = kept->words;
  for (uint8_t d = 0; d < view->rank; d++) {
    const ibx_dim *dim = &view->dim[d];
    *word++ = dim->size;
    *word++ = dim->count;
    for (uint8_t a = 0; a < dim->count; a++) {
      *word++ = dim->atom[a].size;
      *word++ = dim->atom[a].step;
      *word++ = dim->atom[a].pstep;
    }
  }
  return kept;
}

void ibx_view_take(const ibx_kept_view *kept, ibx_view *out) {
  const int64_t *word = kept->words;
  *out = (ibx_view){.offset = kept->offset,
                    .partition = kept->partition,
                    .buffer = kept->buffer,
                    .dtype = (ibx_dtype)kept->dtype,
                    .rank = kept->rank};
  for (uint8_t d = 0; d < kept->rank; d++) {
    ibx_dim *dim = &out->dim[d];
    dim->size = *word++;
    dim->count = (uint8_t)*word++;
    for (uint8_t a = 0; a < dim->count; a++, word += OF_ATOM) {
      dim->atom[a] = (ibx_atom){
          .size = word[0], .step = word[1], .pstep = (int32_t)word[2]};
    }
  }
}

bool ibx_view_has_dims(const ibx_view *view, const ibx_kept_view *kept) {
  const int64_t *word = kept->words;
  if (view->rank != kept->rank) return false;
  for (uint8_t d = 0; d < view->rank; d++) {
    const ibx_dim *dim = &view->dim[d];
    if (dim->size != word[0] || dim->count != word[1]) return false;
    word += OF_DIM;
    for (uint8_t a = 0; a < dim->count; a++, word += OF_ATOM) {
      const ibx_atom *atom = &dim->atom[a];
      if (atom->size != word[0] || atom->step != word[1] ||
          atom->pstep != word[2]) {
        return false;
      }
    }
  }
  return true;
}

// SPDX-License-Identifier: Apache-2.0
//
// Views against brute force: whatever chain of operations made a view, element
// i of the tensor has the address that moving the elements themselves gives;
// rectangles and pieces cover each element once; packed constants are where
// the view says.

#include "passes/lower.h"
#include "passes/pack.h"
#include "support/tensors.h"

enum { ROUNDS = 4000, MOST = 4096, PITCH = 1 << 20 };

// The address of each element, row-major: partition * PITCH + offset.
typedef struct place_list {
  ibx_type type;
  int64_t at[MOST];
} place_list;

static int64_t address(const ibx_view *view, const int64_t *index) {
  int64_t offset = view->offset, partition = view->partition;
  for (uint8_t d = 0; d < view->rank; d++) {
    const ibx_dim *dim = &view->dim[d];
    int64_t left = index[d];
    for (int a = dim->count - 1; a >= 0; a--) {
      int64_t at = a == 0 ? left : left % dim->atom[a].size;
      if (a != 0) left /= dim->atom[a].size;
      offset += at * dim->atom[a].step;
      partition += at * dim->atom[a].pstep;
    }
  }
  return partition * PITCH + offset;
}

static void places_of(const ibx_view *view, place_list *out) {
  out->type = (ibx_type){.rank = view->rank, .dtype = view->dtype};
  for (uint8_t d = 0; d < view->rank; d++) {
    out->type.dims[d] = view->dim[d].size;
  }
  for (size_t i = 0; i < count_of(&out->type); i++) {
    int64_t index[IBX_MAX_RANK];
    split_index(&out->type, i, index);
    out->at[i] = address(view, index);
  }
}

static void assert_same_places(const ibx_view *view, const place_list *want) {
  static place_list have;
  places_of(view, &have);
  assert_int_equal(have.type.rank, want->type.rank);
  for (uint8_t d = 0; d < have.type.rank; d++) {
    assert_int_equal(have.type.dims[d], want->type.dims[d]);
  }
  for (size_t i = 0; i < count_of(&have.type); i++) {
    assert_int_equal(have.at[i], want->at[i]);
  }
}

static ibx_type small_type(uint64_t *seed, int64_t most) {
  static const int64_t EXTENTS[] = {1, 2, 3, 4, 5, 6, 8, 12, 32, 64, 130, 200};
  ibx_type type = {.dtype = IBX_DTYPE_F32};
  type.rank = (uint8_t)random_below(seed, 5);
  for (uint8_t d = 0; d < type.rank; d++) {
    int64_t size = EXTENTS[random_below(seed, IBX_COUNT_OF(EXTENTS))];
    type.dims[d] = size <= most ? size : 1;
    most /= type.dims[d];
  }
  return type;
}

static ibx_layout random_layout(uint64_t *seed, uint8_t rank) {
  static const uint8_t LIMITS[] = {0, 128, 64, 32};
  ibx_layout layout = {.limit = LIMITS[random_below(seed, 4)]};
  for (uint8_t d = 0; d < rank; d++) {
    if (random_below(seed, 3) == 0) layout.dims[layout.count++] = d;
  }
  return layout;
}

// A view of a new tensor: in HBM, or in a layout.
static ibx_view random_view(uint64_t *seed, const ibx_type *type) {
  ibx_view view;
  int32_t partitions;
  int64_t elements;
  ibx_layout layout = random_layout(seed, type->rank);
  if (random_below(seed, 3) == 0 ||
      !ibx_view_make(type, &layout, &view, &partitions, &elements)) {
    return ibx_view_linear(type, 0);
  }
  return view;
}

// --- layouts ---

static void layouts_are_one_to_one(void **state) {
  (void)state;
  uint64_t seed = 11;
  static place_list places;
  for (int round = 0; round < ROUNDS; round++) {
    ibx_type type = small_type(&seed, MOST);
    ibx_layout layout = random_layout(&seed, type.rank);
    ibx_view view;
    int32_t partitions;
    int64_t elements;
    if (!ibx_view_make(&type, &layout, &view, &partitions, &elements)) continue;
    int32_t limit = layout.limit ? layout.limit : IBX_PARTITIONS;
    assert_in_range(partitions, 1, limit);
    places_of(&view, &places);
    size_t room = (size_t)partitions * (size_t)elements;
    bool *taken = calloc(room, 1);
    assert_non_null(taken);
    for (size_t i = 0; i < count_of(&type); i++) {
      int64_t partition = places.at[i] / PITCH, offset = places.at[i] % PITCH;
      assert_true(partition < partitions && offset < elements);
      size_t at = (size_t)(partition * elements + offset);
      assert_false(taken[at]);
      taken[at] = true;
    }
    free(taken);
  }
}

// --- operations ---

static bool reshape(uint64_t *seed, ibx_view *view, place_list *places) {
  ibx_ints shape = {.len = (uint8_t)(1 + random_below(seed, 4))};
  int64_t left = (int64_t)count_of(&places->type);
  if (left == 1 && random_below(seed, 2)) shape.len = 0;
  for (uint8_t d = 0; d + 1 < shape.len; d++) {
    int64_t part = (int64_t)(1 + random_below(seed, 16));
    while (left % part != 0)
      part--;
    shape.at[d] = part;
    left /= part;
  }
  if (shape.len) shape.at[shape.len - 1] = left;
  if (!ibx_view_reshape(view, &shape, view)) return false;
  places->type.rank = shape.len;
  memcpy(places->type.dims, shape.at, sizeof(shape.at));
  return true;
}

// Rearranges the places: element i of the result is element from(i).
static void rearrange(place_list *places, const ibx_type *type,
                      const ibx_ints *perm, const int64_t *starts,
                      const int64_t *steps) {
  static place_list old;
  old = *places;
  places->type = *type;
  for (size_t i = 0; i < count_of(type); i++) {
    int64_t to[IBX_MAX_RANK], from[IBX_MAX_RANK];
    split_index(type, i, to);
    for (uint8_t d = 0; d < type->rank; d++) {
      from[perm ? perm->at[d] : d] =
          (starts ? starts[d] : 0) + to[d] * (steps ? steps[d] : 1);
    }
    places->at[i] = old.at[join_index(&old.type, from)];
  }
}

static bool transpose(uint64_t *seed, ibx_view *view, place_list *places) {
  ibx_ints perm = {.len = view->rank};
  ibx_type type = places->type;
  for (uint8_t d = 0; d < view->rank; d++) {
    uint8_t at = (uint8_t)random_below(seed, d + 1u);
    perm.at[d] = perm.at[at];
    perm.at[at] = d;
  }
  for (uint8_t d = 0; d < view->rank; d++) {
    type.dims[d] = places->type.dims[perm.at[d]];
  }
  ibx_view_transpose(view, &perm, view);
  rearrange(places, &type, &perm, NULL, NULL);
  return true;
}

static bool slice(uint64_t *seed, ibx_view *view, place_list *places) {
  int64_t starts[IBX_MAX_RANK] = {0}, sizes[IBX_MAX_RANK], steps[IBX_MAX_RANK];
  ibx_type type = places->type;
  for (uint8_t d = 0; d < view->rank; d++) {
    int64_t size = type.dims[d], kind = (int64_t)random_below(seed, 5);
    bool from_start = kind < 2 || kind == 4;
    steps[d] = kind == 3 ? (int64_t)(1 + random_below(seed, 3)) : 1;
    starts[d] = from_start ? 0 : (int64_t)random_below(seed, (size_t)size);
    sizes[d] = (size - starts[d] + steps[d] - 1) / steps[d];
    if (kind == 2) {
      // Up to where the dimension can be cut, that a slice must accept.
      int64_t span = ibx_dim_span(&view->dim[d], starts[d], sizes[d]);
      assert_in_range(span, 1, sizes[d]);
      sizes[d] = span;
    }
    if (kind >= 3) // an end inside of an atom leaves a part of it
      sizes[d] = (int64_t)(1 + random_below(seed, (size_t)sizes[d]));
    type.dims[d] = sizes[d];
  }
  ibx_view result;
  if (!ibx_view_slice(view, starts, sizes, steps, &result)) {
    // Steps, or ends inside of an atom: never a span.
    bool may_refuse = false;
    for (uint8_t d = 0; d < view->rank; d++) {
      int64_t span = ibx_dim_span(&view->dim[d], starts[d], sizes[d]);
      may_refuse = may_refuse || steps[d] != 1 || span != sizes[d];
    }
    assert_true(may_refuse);
    return false;
  }
  *view = result;
  rearrange(places, &type, NULL, starts, steps);
  return true;
}

static bool at_index(uint64_t *seed, ibx_view *view, place_list *places) {
  if (view->rank == 0) return false;
  uint8_t dim = (uint8_t)random_below(seed, view->rank);
  int64_t starts[IBX_MAX_RANK] = {0};
  ibx_type type = places->type;
  starts[dim] = (int64_t)random_below(seed, (size_t)type.dims[dim]);
  if (!ibx_view_at(view, dim, starts[dim], view)) return false;
  type.dims[dim] = 1;
  rearrange(places, &type, NULL, starts, NULL);
  memmove(&places->type.dims[dim], &places->type.dims[dim + 1],
          (size_t)(type.rank - dim - 1) * sizeof(int64_t));
  places->type.rank--;
  return true;
}

static bool broadcast(uint64_t *seed, ibx_view *view, place_list *places) {
  ibx_ints shape = {.len = view->rank};
  ibx_type type = places->type;
  int64_t room = MOST / (int64_t)count_of(&type), steps[IBX_MAX_RANK];
  for (uint8_t d = 0; d < view->rank; d++) {
    steps[d] = 1;
    if (type.dims[d] == 1 && room > 1) {
      type.dims[d] = (int64_t)(1 + random_below(seed, 6));
      if (type.dims[d] > room) type.dims[d] = 1;
      room /= type.dims[d];
      steps[d] = 0;
    }
    shape.at[d] = type.dims[d];
  }
  ibx_view_broadcast(view, &shape, view);
  rearrange(places, &type, NULL, NULL, steps);
  return true;
}

static bool (*const OPERATIONS[])(uint64_t *, ibx_view *, place_list *) = {
    reshape, reshape, transpose, slice, at_index, broadcast};

static void chain(uint64_t *seed, ibx_view *view, place_list *places) {
  size_t steps = 1 + random_below(seed, 6);
  for (size_t i = 0; i < steps; i++) {
    if (OPERATIONS[random_below(seed, IBX_COUNT_OF(OPERATIONS))](seed, view,
                                                                 places)) {
      assert_same_places(view, places);
    }
  }
}

static void operations_keep_the_elements(void **state) {
  (void)state;
  uint64_t seed = 12;
  static place_list places;
  for (int round = 0; round < ROUNDS; round++) {
    ibx_type type = small_type(&seed, MOST);
    ibx_view view = random_view(&seed, &type);
    places_of(&view, &places);
    chain(&seed, &view, &places);
  }
}

static void a_row_takes_any_shape(void **state) {
  (void)state;
  uint64_t seed = 13;
  static place_list places;
  for (int round = 0; round < ROUNDS; round++) {
    ibx_type type = small_type(&seed, MOST);
    ibx_view view = ibx_view_linear(&type, 0);
    places_of(&view, &places);
    assert_true(reshape(&seed, &view, &places));
    assert_same_places(&view, &places);
  }
}

// The beginning of permuted dimensions that became one, which may end inside of
// them, in another shape.
static void beginnings_take_other_shapes(void **state) {
  (void)state;
  uint64_t seed = 18;
  static place_list places;
  size_t taken = 0;
  for (int round = 0; round < ROUNDS; round++) {
    ibx_type type = {.rank = 3, .dtype = IBX_DTYPE_F32};
    for (uint8_t d = 0; d < 3; d++)
      type.dims[d] = (int64_t)(2 + random_below(&seed, 4));
    ibx_view view = ibx_view_linear(&type, 0);
    places_of(&view, &places);
    transpose(&seed, &view, &places);
    ibx_ints row = {.at = {(int64_t)count_of(&type)}, .len = 1};
    if (!ibx_view_reshape(&view, &row, &view)) continue;
    int64_t start = 0,
            size = (int64_t)(1 + random_below(&seed, count_of(&type)));
    if (!ibx_view_slice(&view, &start, &size, NULL, &view)) continue;
    places.type = (ibx_type){.dims = {size}, .rank = 1, .dtype = type.dtype};
    assert_same_places(&view, &places);
    taken += reshape(&seed, &view, &places);
    assert_same_places(&view, &places);
  }
  assert_true(taken > ROUNDS / 8);
}

// --- rectangles and pieces ---

typedef struct cover {
  const place_list *places[2]; // sorted pairs are compared
  int64_t pair[MOST][2];
  size_t count;
  int64_t most;
} cover;

static void add_pair(cover *c, int64_t a, int64_t b) {
  assert_true(c->count < MOST);
  c->pair[c->count][0] = a;
  c->pair[c->count++][1] = b;
}

static void walk_axes(cover *c, const ibx_rect *rect, size_t level, int64_t a,
                      int64_t b) {
  if (level == rect->axis_count) {
    add_pair(c, a, b);
    return;
  }
  const ibx_axis *axis = &rect->axis[level];
  for (int64_t i = 0; i < axis->size; i++) {
    walk_axes(c, rect, level + 1,
              a + i * (axis->step[0] + axis->pstep[0] * PITCH),
              b + i * (axis->step[1] + axis->pstep[1] * PITCH));
  }
}

static bool on_rect(void *user, const ibx_rect *rect) {
  ibx_rect merged = *rect;
  ibx_rect_merge(&merged); // must walk the same elements
  assert_true(merged.axis_count <= rect->axis_count);
  walk_axes(user, &merged, 0, rect->offset[0] + rect->partition[0] * PITCH,
            rect->offset[1] + rect->partition[1] * PITCH);
  return true;
}

static bool on_piece(void *user, const ibx_piece *piece) {
  cover *c = user;
  int64_t elements = 1;
  for (size_t i = 0; i < 3; i++) {
    assert_in_range(piece->num[i], 1, 65535);
    elements *= piece->num[i];
  }
  assert_true(elements <= c->most || elements <= 65535);
  assert_in_range(piece->partitions, 1, IBX_PARTITIONS);
  for (size_t v = 0; v < 2; v++) {
    int32_t first = piece->partition[v], count = piece->partitions;
    assert_true(first >= 0 && first + count <= IBX_PARTITIONS);
    assert_true(count > 64   ? first == 0
                : count > 32 ? first % 64 == 0
                             : first % 32 == 0);
    for (size_t i = 0; i < 3; i++) {
      assert_true(piece->step[v][i] >= -32767 && piece->step[v][i] <= 32767);
    }
  }
  for (int32_t p = 0; p < piece->partitions; p++) {
    for (int64_t i = 0; i < elements; i++) {
      int64_t z = i % piece->num[2], y = i / piece->num[2] % piece->num[1];
      int64_t x = i / piece->num[2] / piece->num[1], at[2];
      for (size_t v = 0; v < 2; v++) {
        at[v] = (piece->partition[v] + p) * (int64_t)PITCH + piece->offset[v] +
                x * piece->step[v][0] + y * piece->step[v][1] +
                z * piece->step[v][2];
      }
      add_pair(c, at[0], at[1]);
    }
  }
  return true;
}

static int compare_pairs(const void *a, const void *b) {
  const int64_t *x = a, *y = b;
  if (x[0] != y[0]) return x[0] < y[0] ? -1 : 1;
  return x[1] < y[1] ? -1 : x[1] > y[1];
}

static void assert_covered(cover *c, const place_list *a, const place_list *b) {
  static int64_t want[MOST][2];
  size_t count = count_of(&a->type);
  assert_int_equal(c->count, count);
  for (size_t i = 0; i < count; i++) {
    want[i][0] = a->at[i];
    want[i][1] = b->at[i];
  }
  qsort(want, count, sizeof(want[0]), compare_pairs);
  qsort(c->pair, count, sizeof(c->pair[0]), compare_pairs);
  assert_memory_equal(c->pair, want, count * sizeof(want[0]));
}

// Two views of one shape: the second a new tensor's.
static bool random_pair(uint64_t *seed, ibx_view *a, ibx_view *b,
                        place_list *places) {
  ibx_type type = small_type(seed, MOST);
  *a = random_view(seed, &type);
  places_of(a, &places[0]);
  if (random_below(seed, 2)) chain(seed, a, &places[0]);
  if (count_of(&places[0].type) == 0) return false;
  *b = random_view(seed, &places[0].type);
  places_of(b, &places[1]);
  return true;
}

static void rectangles_cover_once(void **state) {
  (void)state;
  uint64_t seed = 14;
  static place_list places[2];
  static cover c;
  int covered = 0;
  for (int round = 0; round < ROUNDS; round++) {
    ibx_view a, b;
    if (!random_pair(&seed, &a, &b, places)) continue;
    const ibx_view *views[] = {&a, &b};
    c.count = 0;
    bool refines = ibx_view_refines(views, 2);
    assert_int_equal(ibx_view_rects(views, 2, on_rect, &c), refines);
    if (!refines) continue;
    assert_covered(&c, &places[0], &places[1]);
    covered++;
  }
  assert_true(covered > ROUNDS / 2);
}

static void pieces_cover_once(void **state) {
  (void)state;
  uint64_t seed = 15;
  static place_list places[2];
  static cover c;
  int covered = 0;
  for (int round = 0; round < ROUNDS; round++) {
    ibx_view a, b;
    if (!random_pair(&seed, &a, &b, places)) continue;
    if (random_below(&seed, 2)) b = a, places[1] = places[0];
    const ibx_view *views[] = {&a, &b};
    c.count = 0;
    c.most = (int64_t)(1 + random_below(&seed, 600));
    bool would = ibx_view_pieces(views, 2, c.most, NULL, NULL);
    bool does = ibx_view_pieces(views, 2, c.most, on_piece, &c);
    if (would) assert_true(does);
    if (!does) continue;
    assert_covered(&c, &places[0], &places[1]);
    covered++;
  }
  assert_true(covered > ROUNDS / 4);
}

// --- packs ---

static uint8_t *filled(ibx_arena *arena, const ibx_pack *pack) {
  uint8_t *bytes = ibx_arena_alloc(arena, (size_t)pack->size);
  ibx_pack_fill(pack, arena, bytes);
  return bytes;
}

static void packed_elements_are_where_the_view_says(void **state) {
  (void)state;
  uint64_t seed = 16;
  static place_list from, to;
  int packed = 0;
  for (int round = 0; round < ROUNDS / 4; round++) {
    ibx_arena arena = {0};
    ibx_packs packs = {0};
    ibx_type type = small_type(&seed, MOST);
    ibx_view src = ibx_view_linear(&type, 0), dst;
    ibx_tensor data = random_tensor(&seed, type, -100, 100);
    places_of(&src, &from);
    chain(&seed, &src, &from);
    ibx_layout layout = random_layout(&seed, from.type.rank);
    int32_t partitions;
    int64_t elements;
    size_t row;
    from.type.dtype = random_below(&seed, 2) ? IBX_DTYPE_F32 : IBX_DTYPE_BF16;
    if (ibx_view_make(&from.type, &layout, &dst, &partitions, &elements) &&
        ibx_pack_add(&packs, &arena, &dst, partitions, elements,
                     &(ibx_pack_source){.view = src, .data = data.data},
                     &row)) {
      uint8_t *bytes_of_row = filled(&arena, &packs.rows[row]);
      size_t bytes = ibx_dtype_bytes(dst.dtype);
      places_of(&dst, &to);
      for (size_t i = 0; i < count_of(&to.type); i++) {
        int64_t at = to.at[i] / PITCH * elements + to.at[i] % PITCH;
        float value = (float)real_at(&data, (size_t)from.at[i]), got;
        ibx_dtype_load_f32(dst.dtype, bytes_of_row + (size_t)at * bytes, &got,
                           1);
        uint8_t rounded[4];
        ibx_dtype_store_f32(dst.dtype, &value, rounded, 1);
        ibx_dtype_load_f32(dst.dtype, rounded, &value, 1);
        assert_true(got == value);
      }
      packed++;
    }
    free_tensor(&data);
    ibx_arena_reset(&arena);
  }
  assert_true(packed > ROUNDS / 16);
}

static void trimmed_rows_keep_the_rest(void **state) {
  (void)state;
  uint64_t seed = 17;
  for (int round = 0; round < 500; round++) {
    ibx_arena arena = {0};
    ibx_packs packs = {0};
    int32_t partitions = (int32_t)(1 + random_below(&seed, 128)), full;
    int64_t elements = (int64_t)(1 + random_below(&seed, 12)), kept;
    ibx_type type = {
        .dims = {partitions, elements}, .rank = 2, .dtype = IBX_DTYPE_F32};
    ibx_layout layout = {.dims = {0}, .count = 1};
    ibx_view src = ibx_view_linear(&type, 0), dst;
    ibx_tensor data = random_tensor(&seed, type, -100, 100);
    int32_t got;
    int64_t wide;
    size_t row;
    full = (int32_t)random_below(&seed, (size_t)partitions + 1);
    kept = (int64_t)random_below(&seed, (size_t)elements + 1);
    assert_true(ibx_view_make(&type, &layout, &dst, &got, &wide));
    assert_true(ibx_pack_add(&packs, &arena, &dst, partitions, elements,
                             &(ibx_pack_source){.view = src, .data = data.data},
                             &row));
    ibx_pack_trim(&packs, row, full, kept);
    const ibx_pack *pack = &packs.rows[row];
    const uint8_t *bytes = filled(&arena, pack);
    uint64_t at = 0;
    for (int32_t p = 0; p < partitions; p++) {
      int64_t count = p < full ? elements : kept;
      assert_memory_equal(bytes + at, element_of(&data, (size_t)(p * elements)),
                          (size_t)count * 4);
      at += (uint64_t)count * 4;
    }
    assert_int_equal(pack->size, (at + 63) / 64 * 64);
    assert_int_equal(packs.bytes, pack->size);
    free_tensor(&data);
    ibx_arena_reset(&arena);
  }
}

// Rows are the same when what they are made of is: the same elements, read from
// the same or from another place, in the same order.
static void rows_of_the_same_bytes_are_shared(void **state) {
  (void)state;
  ibx_arena arena = {0};
  ibx_packs packs = {0};
  ibx_type type = {.dims = {4, 6}, .rank = 2, .dtype = IBX_DTYPE_F32};
  static const float A[24] = {1, 2, 3}, B[24] = {1, 2, 3}, C[24] = {1, 2, 4};
  const float *data[] = {A, B, C, A, A};
  ibx_view view = ibx_view_linear(&type, 0), dst = view, other = view;
  other.dim[0].atom[0].step = 1;
  other.dim[1].atom[0].step = 4;
  size_t rows[5];
  for (size_t i = 0; i < 5; i++) {
    ibx_pack_source from = {.view = view, .data = data[i], .bytes = sizeof A};
    const ibx_view *to = i == 3 ? &other : &dst;
    assert_true(ibx_pack_add(&packs, &arena, to, 1, 24, &from, &rows[i]));
    if (i == 4) ibx_pack_trim(&packs, rows[i], 0, 23);
    rows[i] = ibx_pack_share(&packs, &arena, rows[i]);
  }
  assert_int_equal(rows[1], rows[0]);
  assert_int_not_equal(rows[2], rows[0]);
  assert_int_not_equal(rows[3], rows[0]);
  assert_int_not_equal(rows[4], rows[0]);
  assert_int_equal(packs.count, 4);
  assert_int_equal(packs.bytes, 4 * 128);
  ibx_packs_rewind(&packs, 1);
  assert_int_equal(packs.bytes, 128);
  ibx_arena_reset(&arena);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(rows_of_the_same_bytes_are_shared),
      cmocka_unit_test(layouts_are_one_to_one),
      cmocka_unit_test(operations_keep_the_elements),
      cmocka_unit_test(a_row_takes_any_shape),
      cmocka_unit_test(beginnings_take_other_shapes),
      cmocka_unit_test(rectangles_cover_once),
      cmocka_unit_test(pieces_cover_once),
      cmocka_unit_test(packed_elements_are_where_the_view_says),
      cmocka_unit_test(trimmed_rows_keep_the_rest),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

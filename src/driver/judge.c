// SPDX-License-Identifier: Apache-2.0
//
// Judges rows that are beyond tolerance. In: a comparison with its values. Out:
// marks of inheritance. Holds: a node that cannot be judged counts as at fault.

#include "driver/judge.h"

#include "driver/part.h"

#include <string.h>

typedef struct judging {
  const ibx_compare_setup *setup;
  ibx_parts parts;
  bool *kept;
  ibx_arena arena, writes;
} judging;

static bool same_shape(const ibx_array *a, const ibx_array *b) {
  bool same = a->dtype == b->dtype && a->rank == b->rank;
  for (size_t d = 0; same && d < a->rank; d++)
    same = a->shape[d] == b->shape[d];
  return same;
}

// What the reference makes of the operands of the program, against its result.
static bool agrees_alone(const ibx_comparison *alone, const ibx_compared *row,
                         const ibx_compare_value *value) {
  for (size_t i = 0; i < alone->value_count; i++) {
    const ibx_compare_value *other = &alone->values[i];
    if (strcmp(other->name, row->value) != 0) continue;
    if (!same_shape(&other->array, &value->got)) return false;
    ibx_difference difference =
        ibx_difference_find(&value->got, &other->array, &row->limits);
    return difference.bad == 0;
  }
  return false;
}

static bool is_inherited(judging *j, const ibx_compared *row) {
  uint32_t node;
  size_t count = 0;
  const ibx_compare_value *value = ibx_parts_value(&j->parts, row->value);
  if (row->failed || !value || !value->is_compared ||
      !ibx_parts_maker(&j->parts, row->value, &node)) {
    return false;
  }
  memset(j->kept, 0, j->parts.count * sizeof *j->kept);
  j->kept[node] = true;
  ibx_parts_close(&j->parts, j->kept);
  for (size_t n = 0; n < j->parts.count; n++)
    count += j->kept[n];
  if (count != 1) return false; // its operands have no value of their own
  ibx_part part =
      ibx_part_make(&j->parts, j->kept, row->value, true, &j->writes);
  ibx_compile_options options = ibx_part_options(j->setup->options);
  const ibx_compare_setup setup = {
      .memory = part.model,
      .options = &options,
      .device = j->setup->device,
      .inputs = {.values = part.arrays, .value_count = part.input_count},
      .rtol = j->setup->rtol,
      .atol = j->setup->atol,
      .is_quiet = true,
      .judges_nothing = true};
  ibx_comparison alone;
  ibx_error err;
  bool agrees = false;
  if (ibx_compare(&setup, &alone, &err) == IBX_OK) {
    agrees = agrees_alone(&alone, row, value);
    ibx_comparison_fini(&alone);
  }
  ibx_arena_rewind(&j->writes);
  return agrees;
}

void ibx_judge(const ibx_compare_setup *setup, ibx_comparison *comparison) {
  judging j = {.setup = setup};
  ibx_parts_init(&j.parts, comparison, &j.arena);
  j.kept = IBX_ARENA_ARRAY(&j.arena, j.parts.count, bool);
  for (size_t i = 0; i < comparison->row_count; i++) {
    ibx_compared *row = &comparison->rows[i];
    if (row->is_whole || !ibx_compared_is_bad(row)) continue;
    row->is_inherited = is_inherited(&j, row);
    if (!row->is_inherited) break;
  }
  ibx_arena_reset(&j.arena);
  ibx_arena_reset(&j.writes);
}

// SPDX-License-Identifier: Apache-2.0
//
// The reducer. In: a comparison that failed. Out: the smallest part of the model
// that was found to fail in the same way. Holds: what is given back was compared
// exactly as it is.
//
//   1. the node that makes the wrong value, alone
//   2. more and more of what it depends on, until that fails
//   3. less and less of this: halves, quarters, at last single nodes go, as long
//      as what is left still fails
//   4. if a value before the wrong one is wrong as well where it is an output
//      itself, which values inside of fused operations never are, 3 with this
//
// What a part reads and does not make is an input of it, or a constant where it
// depends on no input of the model. Inputs are first made up, as those of any
// model; only a fault that does not show then is given the values of the run.

#include "driver/reduce.h"

#include "driver/part.h"

#include <stdlib.h>
#include <string.h>

typedef struct reducer {
  const ibx_compare_setup *setup;
  ibx_parts parts;
  const ibx_cut_node *nodes;
  size_t count;
  const char *target; ///< the wrong value
  size_t last;        ///< the node that makes it
  bool *kept;         ///< of each node: in the smallest part so far
  bool *trial;
  bool with_values; ///< inputs have the values of the run
  size_t attempts;
  ibx_arena arena;  ///< of the reduction
  ibx_arena writes; ///< of one part
} reducer;

static size_t count_kept(const reducer *r, const bool *kept) {
  size_t count = 0;
  for (size_t n = 0; n < r->count; n++)
    count += kept[n];
  return count;
}

// --- one part ------------------------------------------------------------------

static bool is_wrong(const ibx_comparison *comparison, const char *target) {
  for (size_t i = 0; i < comparison->row_count; i++) {
    const ibx_compared *row = &comparison->rows[i];
    if (ibx_compared_is_bad(row) && strcmp(row->value, target) == 0) {
      return true;
    }
  }
  return false;
}

// Whether the part of `trial` fails as the model does. What does not compile or
// run on its own tells nothing.
static bool fails(reducer *r, bool with_values) {
  ibx_part p = ibx_part_make(&r->parts, r->trial, r->target, false, &r->writes);
  ibx_compile_options options = ibx_part_options(r->setup->options);
  ibx_compare_setup setup = {.memory = p.model,
                             .options = &options,
                             .device = r->setup->device,
                             .inputs = {.seed = r->setup->inputs.seed},
                             .rtol = r->setup->rtol,
                             .atol = r->setup->atol,
                             .is_quiet = true};
  if (with_values) {
    setup.inputs.values = p.arrays;
    setup.inputs.value_count = p.input_count;
  }
  ibx_comparison comparison;
  ibx_error err;
  bool wrong = false;
  r->attempts++;
  if (ibx_compare(&setup, &comparison, &err) == IBX_OK) {
    wrong = is_wrong(&comparison, r->target);
    ibx_comparison_fini(&comparison);
  }
  ibx_arena_rewind(&r->writes);
  return wrong;
}

// --- growing and shrinking -----------------------------------------------------

// Adds everything that is at most `steps` nodes before the last one.
static void grow(const reducer *r, size_t steps) {
  size_t *distance = calloc(r->count + 1, sizeof *distance); // plus 1, or 0
  memset(r->trial, 0, r->count * sizeof *r->trial);
  r->trial[r->last] = true;
  if (distance) distance[r->last] = 1;
  for (size_t n = r->last + 1; distance && n-- > 0;) {
    if (distance[n] == 0) continue;
    r->trial[n] = true;
    for (size_t i = 0; i < r->nodes[n].read_count; i++) {
      uint32_t maker;
      if (!ibx_parts_maker(&r->parts, r->nodes[n].reads[i], &maker)) continue;
      size_t here = distance[n] + 1;
      bool is_nearer = distance[maker] == 0 || here < distance[maker];
      if (here <= steps + 1 && is_nearer) distance[maker] = here;
    }
  }
  free(distance);
  ibx_parts_close(&r->parts, r->trial);
}

static bool keep_trial(reducer *r) {
  memcpy(r->kept, r->trial, r->count * sizeof *r->kept);
  return true;
}

static bool find_failing(reducer *r) {
  size_t before = 0;
  for (size_t steps = 0;; steps = steps == 0 ? 1 : 2 * steps) {
    grow(r, steps);
    size_t now = count_kept(r, r->trial);
    if (now == before && steps > r->count) return false;
    if (now == before) continue;
    before = now;
    for (int with_values = 0; with_values < 2; with_values++) {
      r->with_values = with_values != 0;
      if (fails(r, r->with_values)) return keep_trial(r);
    }
  }
}

// Nodes that nothing leads from to the last one do nothing.
static void drop_useless(const reducer *r, bool *kept) {
  bool *used = calloc(r->count + 1, sizeof *used);
  if (!used) return; // more nodes than needed are no fault
  used[r->last] = true;
  for (size_t n = r->last + 1; n-- > 0;) {
    for (size_t i = 0; used[n] && i < r->nodes[n].read_count; i++) {
      uint32_t maker;
      if (ibx_parts_maker(&r->parts, r->nodes[n].reads[i], &maker) &&
          kept[maker]) {
        used[maker] = true;
      }
    }
  }
  memcpy(kept, used, r->count * sizeof *kept);
  free(used);
}

// Takes `size` kept nodes out, from the `first` kept one on, but for the last.
static void take_out(const reducer *r, size_t first, size_t size) {
  size_t index = 0;
  for (size_t n = 0; n < r->count; n++) {
    r->trial[n] = r->kept[n];
    if (!r->kept[n] || n == r->last) continue;
    if (index >= first && index < first + size) r->trial[n] = false;
    index++;
  }
  ibx_parts_close(&r->parts, r->trial);
  drop_useless(r, r->trial);
}

static bool try_without(reducer *r, size_t first, size_t size) {
  size_t before = count_kept(r, r->kept);
  take_out(r, first, size);
  if (count_kept(r, r->trial) >= before) return false;
  return fails(r, r->with_values) && keep_trial(r);
}

static void shrink(reducer *r) {
  size_t size = count_kept(r, r->kept) / 2;
  while (size != 0) {
    bool changed = false;
    for (size_t first = 0; first + 1 < count_kept(r, r->kept);) {
      bool went = try_without(r, first, size);
      changed |= went;
      if (!went) first += size; // else others have moved to its place
    }
    if (!changed || size > 1) size /= 2;
  }
}

// Parts that end at an earlier node of what is left. True when one fails.
static bool end_earlier(reducer *r) {
  const char *target = r->target;
  size_t last = r->last;
  for (size_t n = 0; n < last; n++) {
    for (size_t i = 0; r->kept[n] && i < r->nodes[n].make_count; i++) {
      if (!ibx_parts_can_cut(&r->parts, r->nodes[n].makes[i])) continue;
      r->target = r->nodes[n].makes[i];
      r->last = n;
      memcpy(r->trial, r->kept, r->count * sizeof *r->trial);
      drop_useless(r, r->trial);
      if (fails(r, r->with_values)) return keep_trial(r);
    }
  }
  r->target = target;
  r->last = last;
  return false;
}

// --- the result ----------------------------------------------------------------

static void add_inputs(const ibx_part *p, ibx_reduced *out) {
  ibx_arena *arena = &out->arena;
  out->input_names = IBX_ARENA_ARRAY(arena, p->input_count, const char *);
  out->input_files = IBX_ARENA_ARRAY(arena, p->input_count, ibx_span);
  for (size_t i = 0; i < p->input_count; i++) {
    ibx_cut_tensor tensor =
        ibx_part_tensor(p->inputs[i].name, p->arrays[i].array, true);
    out->input_names[i] =
        ibx_arena_text(arena, tensor.name, strlen(tensor.name));
    out->input_files[i] = ibx_cut_write_tensor(&tensor, arena);
  }
  out->input_count = p->input_count;
}

static void give(reducer *r, ibx_reduced *out) {
  memcpy(r->trial, r->kept, r->count * sizeof *r->trial);
  ibx_part p = ibx_part_make(&r->parts, r->trial, r->target, false, &r->writes);
  uint8_t *bytes = ibx_arena_alloc(&out->arena, p.model.size);
  memcpy(bytes, p.model.data, p.model.size);
  out->model = (ibx_span){.data = bytes, .size = p.model.size};
  out->target = ibx_arena_text(&out->arena, r->target, strlen(r->target));
  out->nodes = count_kept(r, r->kept);
  out->attempts = r->attempts;
  if (r->with_values) add_inputs(&p, out);
}

static ibx_status reduce(reducer *r, ibx_reduced *out, ibx_error *err) {
  uint32_t last;
  r->kept = IBX_ARENA_ARRAY(&r->arena, r->count, bool);
  r->trial = IBX_ARENA_ARRAY(&r->arena, r->count, bool);
  if (!ibx_parts_maker(&r->parts, r->target, &last) ||
      !ibx_parts_can_cut(&r->parts, r->target)) {
    return IBX_FAIL(
        err, NOT_FOUND,
        "nothing to reduce: '%.80s' is not a tensor of numbers that "
        "a node makes and the reference has",
        r->target);
  }
  r->last = last;
  if (!find_failing(r)) {
    return IBX_FAIL(err, NOT_FOUND,
                    "no part of the model fails at '%.80s' as the model does",
                    r->target);
  }
  shrink(r);
  if (end_earlier(r)) shrink(r);
  give(r, out);
  return IBX_OK;
}

ibx_status ibx_reduce_model(const ibx_compare_setup *setup,
                            const ibx_comparison *comparison,
                            const ibx_compared *first, ibx_reduced *out,
                            ibx_error *err) {
  *out = (ibx_reduced){0};
  reducer r = {.setup = setup, .target = first->value};
  ibx_parts_init(&r.parts, comparison, &r.arena);
  r.nodes = r.parts.nodes;
  r.count = r.parts.count;
  ibx_status status = reduce(&r, out, err);
  ibx_arena_reset(&r.arena);
  ibx_arena_reset(&r.writes);
  return status;
}

void ibx_reduced_fini(ibx_reduced *reduced) {
  ibx_arena_reset(&reduced->arena);
  *reduced = (ibx_reduced){0};
}

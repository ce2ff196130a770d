// SPDX-License-Identifier: Apache-2.0
//
// Parts of a model. In: a comparison, and which nodes. Out: an ONNX file, and
// the arrays that are its inputs. Holds: the model's own constants stay what they
// are.

#include "driver/part.h"

#include "driver/probe.h"

#include <string.h>

void ibx_parts_init(ibx_parts *parts, const ibx_comparison *from,
                    ibx_arena *arena) {
  *parts = (ibx_parts){
      .from = from, .makers = {.arena = arena}, .values = {.arena = arena}};
  parts->nodes = ibx_cut_nodes(from->cut, &parts->count);
  for (size_t n = 0; n < parts->count; n++) {
    for (size_t i = 0; i < parts->nodes[n].make_count; i++)
      ibx_map_put(&parts->makers, parts->nodes[n].makes[i], (uint32_t)n);
  }
  for (size_t i = 0; i < from->value_count; i++)
    ibx_map_put(&parts->values, from->values[i].name, (uint32_t)i);
}

bool ibx_parts_maker(const ibx_parts *parts, const char *name, uint32_t *out) {
  return ibx_map_find(&parts->makers, name, out);
}

const ibx_compare_value *ibx_parts_value(const ibx_parts *parts,
                                         const char *name) {
  uint32_t index;
  if (!ibx_map_find(&parts->values, name, &index)) return NULL;
  return &parts->from->values[index];
}

bool ibx_parts_can_cut(const ibx_parts *parts, const char *name) {
  const ibx_compare_value *value = ibx_parts_value(parts, name);
  return value && value->array.dtype != IBX_DTYPE_STRING;
}

// Nodes stand behind what they read, so one pass from the end finds all.
void ibx_parts_close(const ibx_parts *parts, bool *kept) {
  for (size_t n = parts->count; n-- > 0;) {
    for (size_t i = 0; kept[n] && i < parts->nodes[n].read_count; i++) {
      uint32_t maker;
      const char *name = parts->nodes[n].reads[i];
      if (ibx_parts_maker(parts, name, &maker) &&
          !ibx_parts_can_cut(parts, name)) {
        kept[maker] = true;
      }
    }
  }
}

ibx_cut_tensor ibx_part_tensor(const char *name, const ibx_array *array,
                               bool has_data) {
  ibx_cut_tensor tensor = {.name = name,
                           .dtype = array->dtype,
                           .rank = array->rank,
                           .data = has_data ? array->data : NULL};
  memcpy(tensor.shape, array->shape, sizeof tensor.shape);
  return tensor;
}

static void add_read(const ibx_parts *parts, const bool *kept, ibx_part *p,
                     const char *name, bool as_computed) {
  uint32_t maker;
  const ibx_compare_value *value = ibx_parts_value(parts, name);
  if (ibx_parts_maker(parts, name, &maker) && kept[maker]) return;
  if (!value || ibx_cut_is_initializer(parts->from->cut, name, NULL)) return;
  if (value->is_constant) {
    p->constants[p->constant_count++] =
        ibx_part_tensor(name, &value->array, true);
    return;
  }
  const ibx_array *array =
      as_computed && value->is_compared ? &value->got : &value->array;
  p->arrays[p->input_count] = (ibx_named_array){.name = name, .array = array};
  p->inputs[p->input_count++] = ibx_part_tensor(name, array, false);
}

static size_t count_reads(const ibx_parts *parts, const bool *kept) {
  size_t reads = 0;
  for (size_t n = 0; n < parts->count; n++)
    reads += kept[n] ? parts->nodes[n].read_count : 0;
  return reads;
}

ibx_part ibx_part_make(const ibx_parts *parts, const bool *kept,
                       const char *target, bool as_computed, ibx_arena *arena) {
  ibx_part p = {.output = {.name = target}};
  size_t reads = count_reads(parts, kept);
  ibx_map seen = {.arena = arena};
  p.inputs = IBX_ARENA_ARRAY(arena, reads, ibx_cut_tensor);
  p.constants = IBX_ARENA_ARRAY(arena, reads, ibx_cut_tensor);
  p.arrays = IBX_ARENA_ARRAY(arena, reads, ibx_named_array);
  for (size_t n = 0; n < parts->count; n++) {
    for (size_t i = 0; kept[n] && i < parts->nodes[n].read_count; i++) {
      const char *name = parts->nodes[n].reads[i];
      if (!ibx_map_put(&seen, name, 0)) continue;
      add_read(parts, kept, &p, name, as_computed);
    }
  }
  const ibx_compare_value *value = ibx_parts_value(parts, target);
  if (value) p.output = ibx_part_tensor(target, &value->array, false);
  const ibx_cut_part cut = {.kept = kept,
                            .inputs = p.inputs,
                            .input_count = p.input_count,
                            .initializers = p.constants,
                            .initializer_count = p.constant_count,
                            .outputs = &p.output,
                            .output_count = 1};
  p.model = ibx_cut_write(parts->from->cut, &cut, arena);
  return p;
}

ibx_compile_options ibx_part_options(const ibx_compile_options *whole) {
  ibx_compile_options options = *whole;
  options.dim_count = options.input_shape_count = 0;
  options.input_value_count = options.input_length_count = 0;
  options.state_count = 0;
  options.on_diagnostic = ibx_say_nothing;
  return options;
}

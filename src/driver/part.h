// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_PART_H
#define IBX_PART_H

/// \file
/// Parts of a model that was compared, as models: what a part reads and does not
/// make is an input of it, with the value of the comparison, or a constant where
/// it depends on no input of the model.

#include "driver/compare.h"
#include "support/map.h"

/// Names of a comparison. Ended by ibx_arena_reset() of the arena.
typedef struct ibx_parts {
  const ibx_comparison *from;
  const ibx_cut_node *nodes;
  size_t count;
  ibx_map makers; ///< names to nodes
  ibx_map values; ///< names to values
} ibx_parts;

void ibx_parts_init(ibx_parts *parts, const ibx_comparison *from,
                    ibx_arena *arena);

/// The node that makes a value; false where none does.
bool ibx_parts_maker(const ibx_parts *parts, const char *name, uint32_t *out);
/// NULL where the comparison has none.
const ibx_compare_value *ibx_parts_value(const ibx_parts *parts,
                                         const char *name);

/// Whether a part can have it as an input: texts, sequences and optionals have
/// no form in which it could.
bool ibx_parts_can_cut(const ibx_parts *parts, const char *name);
/// Adds the makers of what cannot be an input.
void ibx_parts_close(const ibx_parts *parts, bool *kept);

typedef struct ibx_part {
  ibx_cut_tensor *inputs, *constants;
  ibx_named_array *arrays; ///< of the inputs
  size_t input_count, constant_count;
  ibx_cut_tensor output;
  ibx_span model; ///< the ONNX file
} ibx_part;

/// Makes the part of these nodes that gives `target`. Its inputs have the values
/// of the reference, or those of the program where `as_computed`.
ibx_part ibx_part_make(const ibx_parts *parts, const bool *kept,
                       const char *target, bool as_computed, ibx_arena *arena);

/// What the user says of inputs holds for the whole model: a part has inputs of
/// known types, and no states. Diagnostics go nowhere.
ibx_compile_options ibx_part_options(const ibx_compile_options *whole);

ibx_cut_tensor ibx_part_tensor(const char *name, const ibx_array *array,
                               bool has_data);

#endif

// SPDX-License-Identifier: Apache-2.0
//
// Outputs of the model. Comes in: what ONNX declares, and the values that the
// nodes made. Goes out: ports; of a sequence or an optional one for each tensor
// in it. Holds afterwards: no two outputs have the same name, and declared types
// are those that the graph computes.

#include "frontend/import_ports.h"

#include <string.h>

// A model's declared output shape is a comment: exporters leave stale ones.
static void compare_shape(const ibx_declared *p, const ibx_type *computed,
                          const bool *is_open) {
  if (!p->shape) return;
  bool same = p->shape->n_dim == computed->rank;
  for (size_t i = 0; same && i < computed->rank; i++) {
    if (is_open[i]) continue;
    const Onnx__TensorShapeProto__Dimension *dim = p->shape->dim[i];
    same = dim->value_case !=
               ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE ||
           dim->dim_value == -1 || dim->dim_value == computed->dims[i];
  }
  if (same) return;
  ibx_diag_add(p->import->sink, IBX_DIAG_OUTPUT_SHAPE,
               ibx_declared_at(p, "output"),
               "correct the declared shape of the output",
               "the declared shape is not the computed one, which is used");
}

// Two ports of one name could not be told apart: items have names that the
// model may have given to another output.
static bool is_new_name(const ibx_import *import, const ibx_declared *p,
                        const ibx_port *ports, size_t count) {
  for (size_t i = 0; i < count; i++) {
    if (strcmp(ports[i].name, p->name) != 0) continue;
    ibx_diag_add(import->sink, IBX_DIAG_DUPLICATE_NAME,
                 ibx_declared_at(p, "output"),
                 "rename the output or the sequence",
                 "two outputs of the program would be called '%s'", p->name);
    return false;
  }
  return true;
}

static void add_output(ibx_import *import, const ibx_declared *p,
                       ibx_val value) {
  ibx_graph *graph = &import->graph;
  size_t count = graph->output_count;
  if (!is_new_name(import, p, graph->outputs, count)) return;
  ibx_port *larger = IBX_ARENA_ARRAY(import->arena, count + 1, ibx_port);
  if (count != 0) memcpy(larger, graph->outputs, count * sizeof(*larger));
  larger[graph->output_count++] = (ibx_port){
      .name = ibx_arena_text(import->arena, p->name, strlen(p->name)),
      .value = value,
      .type = graph->values[value].type,
      .state = -1};
  graph->outputs = larger;
}

// The output beside the others that holds an extent; several may share one.
static uint32_t extent_output(ibx_import *import, const char *name, size_t dim,
                              ibx_val extent) {
  ibx_graph *graph = &import->graph;
  for (size_t i = import->port_outputs; i < graph->output_count; i++) {
    if (graph->outputs[i].value == extent) return (uint32_t)i;
  }
  ibx_declared hidden = {
      .import = import,
      .name = ibx_arena_format(import->arena, "%s.extent%zu", name, dim)};
  uint32_t index = (uint32_t)graph->output_count;
  add_output(import, &hidden, extent);
  return index;
}

static void add_extents(ibx_import *import, size_t output) {
  const ibx_port port = import->graph.outputs[output];
  ibx_import_stats *stats = &import->stats;
  for (uint8_t d = 0; d < port.type.rank; d++) {
    ibx_val extent = ibx_import_extent(import, port.value, d);
    if (extent == IBX_NO_VALUE) continue;
    ibx_extent_decl *larger = IBX_ARENA_ARRAY(
        import->arena, stats->extent_count + 1, ibx_extent_decl);
    if (stats->extent_count != 0) {
      memcpy(larger, stats->extents, stats->extent_count * sizeof(*larger));
    }
    larger[stats->extent_count++] = (ibx_extent_decl){
        .output = (uint32_t)output,
        .dim = d,
        .source = extent_output(import, port.name, d, extent)};
    stats->extents = larger;
  }
}

void ibx_import_output_extents(ibx_import *import) {
  import->port_outputs = import->graph.output_count;
  for (size_t i = 0; i < import->port_outputs; i++)
    add_extents(import, i);
}

static bool same_dtype(const ibx_declared *p, ibx_dtype computed) {
  if (p->type.dtype == computed || computed == IBX_DTYPE_NONE) return true;
  ibx_diag_add(
      p->import->sink, IBX_DIAG_OUTPUT_MISMATCH, ibx_declared_at(p, "output"),
      "correct the declared type, or add a Cast",
      "the output is declared as %s, the graph computes %s",
      ibx_dtype_get(p->type.dtype)->name, ibx_dtype_get(computed)->name);
  return false;
}

static ibx_port_kind kind_of(const ibx_import *import, ibx_val value) {
  const ibx_bundle *bundle = ibx_bundle_of(import, value);
  if (!bundle) return IBX_PORT_TENSOR;
  if (!bundle->is_optional) return IBX_PORT_SEQUENCE;
  bool holds_sequence = bundle->count != 0 && ibx_is_bundle(bundle->items[0]);
  return holds_sequence ? IBX_PORT_OPTIONAL_SEQUENCE : IBX_PORT_OPTIONAL;
}

// A tensor, a sequence or an optional of the declared kind, or of any where none
// is declared. An optional without element may be of either kind.
static bool check_kind(const ibx_declared *p, ibx_val value, bool typed,
                       ibx_port_kind *kind) {
  ibx_port_kind computed = kind_of(p->import, value);
  const ibx_bundle *bundle = ibx_bundle_of(p->import, value);
  bool same = !typed || computed == *kind ||
              (bundle && bundle->count == 0 && computed == IBX_PORT_OPTIONAL &&
               *kind == IBX_PORT_OPTIONAL_SEQUENCE);
  if (!typed) *kind = computed;
  if (same) return true;
  ibx_diag_add(p->import->sink, IBX_DIAG_OUTPUT_MISMATCH,
               ibx_declared_at(p, "output"), "correct the declared type",
               "the graph computes a value of type %s, which is not the "
               "declared type",
               ibx_value_kind(p->import, value));
  return false;
}

static void import_items(ibx_declared *p, ibx_val value, ibx_port_kind kind) {
  ibx_import *import = p->import;
  const ibx_bundle *bundle = ibx_bundle_of(import, value);
  bool is_absent = bundle->is_optional && bundle->count == 0;
  if (kind == IBX_PORT_OPTIONAL_SEQUENCE && !is_absent) {
    bundle = ibx_bundle_of(import, bundle->items[0]);
  }
  const char *name = p->name;
  for (size_t i = 0; i < bundle->count; i++) {
    p->name = ibx_port_item_name(import, name, kind, i);
    add_output(import, p, bundle->items[i]);
  }
  p->name = name;
}

void ibx_import_output(ibx_import *import, const ibx_frame *frame,
                       const Onnx__ValueInfoProto *info, size_t index) {
  ibx_declared p = {.import = import,
                    .name = ibx_onnx_text(info->name),
                    .first = (uint32_t)import->graph.output_count};
  if (!ibx_declared_has_name(import, p.name, "output", index)) return;
  ibx_val value =
      ibx_import_read(import, frame, p.name, ibx_declared_at(&p, "output"));
  if (value == IBX_NO_VALUE) return;
  // The type may be absent: then it is what the graph computes.
  bool typed =
      info->type && info->type->value_case != ONNX__TYPE_PROTO__VALUE__NOT_SET;
  ibx_port_kind kind;
  const Onnx__TypeProto *element = ibx_declared_element(info->type, &kind);
  if (element && element->value_case == ONNX__TYPE_PROTO__VALUE_MAP_TYPE &&
      ibx_is_map(import, value)) {
    typed = false;
  }
  if (typed && !ibx_declared_read(&p, element, "output")) return;
  if (!check_kind(&p, value, typed, &kind)) return;
  const ibx_bundle *bundle = ibx_bundle_of(import, value);
  ibx_dtype dtype =
      bundle ? bundle->dtype : import->graph.values[value].type.dtype;
  if (typed && !same_dtype(&p, dtype)) return;
  if (bundle) {
    import_items(&p, value, kind);
  } else {
    const ibx_type type = import->graph.values[value].type;
    bool is_open[IBX_MAX_RANK];
    for (uint8_t d = 0; d < type.rank; d++)
      is_open[d] = type.dims[d] == IBX_OPEN_EXTENT ||
                   ibx_import_extent(import, value, d) != IBX_NO_VALUE;
    compare_shape(&p, &type, is_open);
    add_output(import, &p, value);
  }
  ibx_port_decl decl = {.name = p.name,
                        .kind = kind,
                        .first = p.first,
                        .count = (uint32_t)import->graph.output_count - p.first,
                        .is_absent = bundle && bundle->is_optional &&
                                     bundle->count == 0};
  ibx_port_add(import, &import->stats.output_ports,
               &import->stats.output_port_count, decl);
}

// SPDX-License-Identifier: Apache-2.0
//
// Compares a model with the reference kernels. In: a model, options, a device,
// inputs. Out: a row for each value that a node makes, in an order in which the
// nodes can run, and one for each output of the whole program. Holds: constants,
// and second names of a value, have no row, for no instruction makes them.

#include "driver/compare.h"

#include "driver/driver.h"
#include "driver/judge.h"
#include "driver/probe.h"
#include "driver/progress.h"
#include "support/map.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

// Outputs of one program: more would only take memory.
#define MOST_BATCH_BYTES (UINT64_C(256) << 20)

/// A value that a node makes.
typedef struct tap {
  const char *name;
  const ibx_cut_node *node;
  uint64_t bytes; ///< of its tensors
  const char
      *same_as; ///< an input or value that it is another name of, or NULL
  bool is_constant;
} tap;

typedef struct comparing {
  const ibx_compare_setup *setup;
  ibx_comparison *out;
  ibx_model *model;
  ibx_diag_sink sink;
  tap *taps; ///< of all values
  size_t tap_count;
  ibx_map makers; ///< names of values to their taps
  tap **chosen;   ///< those that are compared
  size_t chosen_count;
  ibx_progress progress;
  ibx_error *err;
} comparing;

// --- results -------------------------------------------------------------------

// Grows a list in the arena by one element of `size` bytes; lends its place.
static void *grow(ibx_arena *arena, void **list, size_t *count, size_t *room,
                  size_t size) {
  if (*count == *room) {
    *room = *room == 0 ? 64 : 2 * *room;
    void *larger = ibx_arena_array(arena, *room, size);
    if (*count != 0) memcpy(larger, *list, *count * size);
    *list = larger;
  }
  return (char *)*list + size * (*count)++;
}

static ibx_compared *add_row(ibx_comparison *out) {
  void *list = out->rows;
  ibx_compared *row = grow(&out->arena, &list, &out->row_count, &out->row_room,
                           sizeof *out->rows);
  out->rows = list;
  return row;
}

static const char *keep_text(ibx_comparison *out, const char *text) {
  return ibx_arena_text(&out->arena, text, strlen(text));
}

static ibx_status keep_value(ibx_comparison *out, const char *name,
                             const ibx_array *array, bool is_constant,
                             ibx_error *err) {
  void *list = out->values;
  ibx_compare_value *value = grow(&out->arena, &list, &out->value_count,
                                  &out->value_room, sizeof *out->values);
  out->values = list;
  *value = (ibx_compare_value){.name = keep_text(out, name),
                               .is_constant = is_constant};
  return ibx_array_copy(array, &value->array, err);
}

bool ibx_compared_is_bad(const ibx_compared *row) {
  return row->failed || (row->difference.bad != 0 && !row->is_inherited);
}

const ibx_compared *ibx_comparison_first(const ibx_comparison *comparison) {
  for (size_t i = 0; i < comparison->row_count; i++) {
    if (ibx_compared_is_bad(&comparison->rows[i])) return &comparison->rows[i];
  }
  return NULL;
}

void ibx_comparison_fini(ibx_comparison *comparison) {
  for (size_t i = 0; i < comparison->value_count; i++) {
    ibx_array_fini(&comparison->values[i].array);
    ibx_array_fini(&comparison->values[i].got);
  }
  ibx_cut_close(comparison->cut);
  ibx_arena_reset(&comparison->arena);
  *comparison = (ibx_comparison){0};
}

// --- rows ----------------------------------------------------------------------

static tap *find_tap(const comparing *c, const char *name) {
  uint32_t index;
  return ibx_map_find(&c->makers, name, &index) ? &c->taps[index] : NULL;
}

static ibx_compared *start_row(comparing *c, const char *value, bool is_whole,
                               const tap *maker) {
  ibx_compared *row = add_row(c->out);
  *row = (ibx_compared){.value = keep_text(c->out, value),
                        .node = maker ? maker->node->name : "",
                        .op = maker ? maker->node->op : "",
                        .reason = "",
                        .is_whole = is_whole};
  return row;
}

static bool is_float(ibx_dtype dtype) {
  const ibx_dtype_info *info = ibx_dtype_get(dtype);
  return info && info->kind == IBX_DTYPE_KIND_FLOAT;
}

// Whether a node reads a floating value. Those that it reads are known by now:
// inputs, and what earlier nodes made.
static bool reads_floats(const comparing *c, const tap *maker) {
  for (size_t i = 0; maker && i < maker->node->read_count; i++) {
    const char *name = maker->node->reads[i];
    ibx_dtype dtype = IBX_DTYPE_NONE;
    (void)ibx_cut_is_initializer(c->out->cut, name, &dtype);
    for (size_t v = 0; v < c->out->value_count; v++) {
      const ibx_compare_value *value = &c->out->values[v];
      if (strcmp(value->name, name) == 0) dtype = value->array.dtype;
    }
    if (is_float(dtype)) return true;
  }
  return false;
}

static ibx_limits limits_of(const comparing *c, ibx_dtype dtype,
                            const tap *maker) {
  const ibx_compare_setup *setup = c->setup;
  bool casts = setup->options->auto_cast != IBX_AUTO_CAST_NONE;
  ibx_limits limits = ibx_limits_of(
      dtype, casts ? setup->options->auto_cast_type : IBX_DTYPE_NONE,
      is_float(dtype) || reads_floats(c, maker));
  if (!isnan(setup->rtol)) limits.rtol = setup->rtol;
  if (!isnan(setup->atol)) limits.atol = setup->atol;
  return limits;
}

static bool same_shape(const ibx_array *a, const ibx_array *b) {
  bool same = a->dtype == b->dtype && a->rank == b->rank;
  for (size_t d = 0; same && d < a->rank; d++)
    same = a->shape[d] == b->shape[d];
  return same;
}

static ibx_status add_tensor(comparing *c, const ibx_probe *p, size_t output,
                             const tap *maker, ibx_error *err) {
  size_t at = p->entry->input_count + output;
  const ibx_array *got = &p->machine.arrays[at], *want = &p->kernels.arrays[at];
  const char *name = p->entry->outputs[output].name;
  ibx_compared *row = start_row(c, name, p->is_whole, maker);
  row->dtype = want->dtype;
  row->rank = want->rank;
  memcpy(row->shape, want->shape, sizeof row->shape);
  row->limits = limits_of(c, want->dtype, maker);
  row->failed = !same_shape(got, want);
  if (row->failed) {
    char other[IBX_TYPE_CHARS];
    ibx_array_type_text(got->dtype, got->shape, got->rank, other);
    row->reason =
        ibx_arena_format(&c->out->arena, "the program gives %s", other);
  } else {
    row->difference = ibx_difference_find(got, want, &row->limits);
  }
  if (p->is_whole) return IBX_OK;
  IBX_TRY(keep_value(c->out, name, want, maker && maker->is_constant, err));
  ibx_compare_value *value = &c->out->values[c->out->value_count - 1];
  value->is_compared = true;
  return ibx_array_copy(got, &value->got, err);
}

// Every tensor of the ports; extents have decided the shapes already.
static ibx_status add_tensors(comparing *c, const ibx_probe *p,
                              ibx_error *err) {
  for (size_t i = 0; i < ibx_entry_port_count(p->entry, true); i++) {
    ibx_port_decl port = ibx_entry_port(p->entry, true, i);
    const tap *maker = find_tap(c, port.name);
    for (uint32_t t = 0; t < port.count; t++)
      IBX_TRY(add_tensor(c, p, port.first + t, maker, err));
  }
  return IBX_OK;
}

// An input that was compiled in; of texts the reducer has no use.
static ibx_status keep_given(comparing *c, const ibx_input_value *given,
                             ibx_error *err) {
  union {
    const void *from;
    uint8_t *to;
  } data = {.from = given->data}; // copied, not changed
  if (given->dtype == IBX_DTYPE_STRING) return IBX_OK;
  ibx_array array = {
      .dtype = given->dtype, .rank = given->rank, .data = data.to};
  memcpy(array.shape, given->shape, sizeof array.shape);
  array.bytes =
      (size_t)(ibx_array_count(&array) * ibx_dtype_bytes(given->dtype));
  return keep_value(c->out, given->name, &array, true, err);
}

static ibx_status keep_inputs(comparing *c, const ibx_probe *p,
                              ibx_error *err) {
  if (!p->is_whole) return IBX_OK;
  for (size_t i = 0; i < p->options.input_value_count; i++)
    IBX_TRY(keep_given(c, &p->options.input_values[i], err));
  for (size_t i = 0; i < p->entry->input_count; i++) {
    IBX_TRY(keep_value(c->out, p->entry->inputs[i].name, &p->kernels.arrays[i],
                       false, err));
  }
  return IBX_OK;
}

// What stops a program may be one of its outputs alone.
static bool may_be_one(const ibx_probe *p, ibx_status status) {
  return !p->inputs_at_fault &&
         (status == IBX_UNSUPPORTED || status == IBX_OUT_OF_CAPACITY ||
          status == IBX_UNPROVEN || status == IBX_DEVICE_ERROR);
}

static ibx_status compare_taps(comparing *c, size_t first, size_t count);

// Halves of what does not run as one; at last a row that says why.
static ibx_status divide(comparing *c, size_t first, size_t count,
                         ibx_status status, const ibx_error *why) {
  if (count > 1) {
    IBX_TRY(compare_taps(c, first, count / 2));
    return compare_taps(c, first + count / 2, count - count / 2);
  }
  const tap *t = c->chosen[first];
  ibx_compared *row = start_row(c, t->name, false, t);
  row->reason = keep_text(c->out, why->message);
  row->failed = status == IBX_DEVICE_ERROR || status == IBX_UNPROVEN;
  return IBX_OK;
}

static ibx_status compare_taps(comparing *c, size_t first, size_t count) {
  ibx_error why = {0};
  ibx_probe p = {
      .setup = c->setup, .model = c->model, .options = *c->setup->options};
  const char **names = calloc(count, sizeof *names);
  if (!names) return IBX_FAIL(c->err, OUT_OF_MEMORY, "no memory for names");
  for (size_t i = 0; i < count; i++)
    names[i] = c->chosen[first + i]->name;
  p.options.outputs = names;
  p.options.output_count = count;
  p.options.state_count = 0; // a state is an input here, and a value
  p.options.on_diagnostic = ibx_say_nothing;
  ibx_status status = ibx_probe_run(&p, &why);
  bool divides = status != IBX_OK && may_be_one(&p, status);
  if (status == IBX_OK) status = add_tensors(c, &p, &why);
  ibx_probe_fini(&p);
  free(names);
  if (divides) return divide(c, first, count, status, &why);
  if (status != IBX_OK && c->err) *c->err = why;
  return status;
}

static ibx_status compare_batches(comparing *c) {
  size_t first = 0;
  while (first < c->chosen_count) {
    uint64_t bytes = 0;
    size_t count = 0;
    while (first + count < c->chosen_count &&
           (count == 0 ||
            bytes + c->chosen[first + count]->bytes <= MOST_BATCH_BYTES)) {
      bytes += c->chosen[first + count++]->bytes;
    }
    if (!c->setup->is_quiet) {
      ibx_progress_show(&c->progress, "comparing values",
                        (double)first / (double)c->chosen_count);
    }
    IBX_TRY(compare_taps(c, first, count));
    first += count;
  }
  return IBX_OK;
}

// --- taps ----------------------------------------------------------------------

static void add_tap(comparing *c, const ibx_cut_node *node, const char *name) {
  ibx_map_put(&c->makers, name, (uint32_t)c->tap_count);
  c->taps[c->tap_count++] = (tap){.name = name, .node = node};
}

static void list_taps(comparing *c) {
  size_t count, values = 0;
  const ibx_cut_node *nodes = ibx_cut_nodes(c->out->cut, &count);
  for (size_t n = 0; n < count; n++)
    values += nodes[n].make_count;
  c->makers = (ibx_map){.arena = &c->out->arena};
  c->taps = IBX_ARENA_ARRAY(&c->out->arena, values, tap);
  for (size_t n = 0; n < count; n++) {
    for (size_t i = 0; i < nodes[n].make_count; i++)
      add_tap(c, &nodes[n], nodes[n].makes[i]);
  }
}

// Which values of a graph depend on its inputs.
static bool *find_variable(const ibx_graph *graph, ibx_arena *arena) {
  bool *is_variable = IBX_ARENA_ARRAY(arena, graph->value_count, bool);
  for (size_t i = 0; i < graph->input_count; i++)
    is_variable[graph->inputs[i].value] = true;
  for (size_t n = 0; n < graph->node_count; n++) {
    const ibx_node *node = &graph->nodes[n];
    for (uint32_t i = 0; i < node->operand_count; i++)
      is_variable[node->result] |= is_variable[node->operand[i]];
  }
  return is_variable;
}

static ibx_status keep_constant(comparing *c, const char *name,
                                const ibx_weight *weight) {
  ibx_array array = {.dtype = weight->type.dtype, .rank = weight->type.rank};
  int64_t bytes = 0;
  union {
    const void *from;
    uint8_t *to;
  } data = {.from = weight->data}; // copied, not changed
  if (!ibx_type_bytes(&weight->type, &bytes)) return IBX_OK;
  for (size_t d = 0; d < array.rank; d++)
    array.shape[d] = (uint64_t)weight->type.dims[d];
  array.data = data.to;
  array.bytes = (size_t)bytes;
  return keep_value(c->out, name, &array, true, c->err);
}

// What the graph of all values tells of them.
typedef struct facts {
  const ibx_graph *graph;
  const bool *is_variable; ///< of each value: it depends on an input
  const char **names;      ///< of each value: its last name so far, or NULL
} facts;

// Looks at one tensor of a tap, which is worth a row unless it is a constant or a
// further name of a value.
static ibx_status note_tensor(comparing *c, const facts *f, tap *t,
                              const ibx_port_decl *port, uint32_t value,
                              bool *is_needed) {
  int64_t bytes = 0;
  const ibx_weight *weight = ibx_graph_constant(f->graph, value);
  bool is_tensor = port->kind == IBX_PORT_TENSOR;
  if (ibx_type_bytes(&f->graph->values[value].type, &bytes)) {
    t->bytes += (uint64_t)bytes;
  }
  t->is_constant &= !f->is_variable[value];
  if (weight) return is_tensor ? keep_constant(c, t->name, weight) : IBX_OK;
  *is_needed |= !f->names[value];
  if (!is_tensor) return IBX_OK;
  if (f->names[value]) t->same_as = f->names[value];
  f->names[value] = t->name;
  return IBX_OK;
}

// Chooses what some instruction makes.
static ibx_status choose_taps(comparing *c, const ibx_reference *r) {
  const ibx_graph *graph = &r->graph;
  ibx_arena *arena = &c->out->arena;
  facts f = {.graph = graph,
             .is_variable = find_variable(graph, arena),
             .names = IBX_ARENA_ARRAY(arena, graph->value_count, const char *)};
  for (size_t i = 0; i < graph->input_count; i++)
    f.names[graph->inputs[i].value] = keep_text(c->out, graph->inputs[i].name);
  for (size_t i = 0; i < r->facts.output_port_count; i++) {
    const ibx_port_decl *port = &r->facts.output_ports[i];
    tap *t = find_tap(c, port->name);
    bool is_needed = false;
    if (!t || port->count == 0) continue;
    t->is_constant = true;
    for (uint32_t k = 0; k < port->count; k++) {
      uint32_t value = graph->outputs[port->first + k].value;
      IBX_TRY(note_tensor(c, &f, t, port, value, &is_needed));
    }
    if (is_needed) c->chosen[c->chosen_count++] = t;
  }
  return IBX_OK;
}

// Values under their other names.
static ibx_status keep_same(comparing *c) {
  ibx_map values = {.arena = &c->out->arena};
  for (size_t i = 0; i < c->out->value_count; i++)
    ibx_map_put(&values, c->out->values[i].name, (uint32_t)i);
  for (size_t i = 0; i < c->tap_count; i++) {
    uint32_t index;
    const tap *t = &c->taps[i];
    if (!t->same_as || !ibx_map_find(&values, t->same_as, &index)) continue;
    const ibx_compare_value first = c->out->values[index];
    ibx_map_put(&values, t->name, (uint32_t)c->out->value_count);
    IBX_TRY(keep_value(c->out, t->name, &first.array, t->is_constant, c->err));
    if (!first.is_compared) continue;
    ibx_compare_value *value = &c->out->values[c->out->value_count - 1];
    value->is_compared = true;
    IBX_TRY(ibx_array_copy(&first.got, &value->got, c->err));
  }
  return IBX_OK;
}

// All values at once, imported only: which of them are worth a row.
static ibx_status prepare_taps(comparing *c) {
  if (c->tap_count == 0) return IBX_OK;
  ibx_compile_options options = *c->setup->options;
  const char **names =
      IBX_ARENA_ARRAY(&c->out->arena, c->tap_count, const char *);
  for (size_t i = 0; i < c->tap_count; i++)
    names[i] = c->taps[i].name;
  options.outputs = names;
  options.output_count = c->tap_count;
  options.state_count = 0;
  options.on_diagnostic = ibx_say_nothing;
  ibx_reference r;
  IBX_TRY(ibx_reference_init(c->model, &options, &r, c->err));
  ibx_status status = IBX_OK;
  c->chosen = IBX_ARENA_ARRAY(&c->out->arena, c->tap_count, tap *);
  if (!r.partition) {
    status = choose_taps(c, &r);
  } else { // steps tell nothing of constants: every value is compared
    for (size_t i = 0; i < c->tap_count; i++)
      c->chosen[c->chosen_count++] = &c->taps[i];
  }
  ibx_reference_fini(&r);
  return status;
}

// --- all -----------------------------------------------------------------------

// The program as `imbrex compile` makes it runs first, for what is wrong with the
// model itself is told there; its rows come last, when all values are known.
static ibx_status compare_all(comparing *c, ibx_probe *whole) {
  IBX_TRY(ibx_probe_run(whole, c->err));
  IBX_TRY(keep_inputs(c, whole, c->err));
  IBX_TRY(prepare_taps(c));
  IBX_TRY(compare_batches(c));
  IBX_TRY(keep_same(c));
  return add_tensors(c, whole, c->err);
}

static ibx_status compare_model(comparing *c) {
  const ibx_compare_setup *setup = c->setup;
  IBX_TRY(
      ibx_cut_open(setup->path, setup->memory, &c->sink, &c->out->cut, c->err));
  IBX_TRY(
      setup->path
          ? ibx_model_open_file(setup->path, &c->sink, &c->model, c->err)
          : ibx_model_open_memory(setup->memory, &c->sink, &c->model, c->err));
  list_taps(c);
  ibx_probe whole = {.setup = setup,
                     .model = c->model,
                     .is_whole = true,
                     .options = *setup->options};
  ibx_status status = compare_all(c, &whole);
  ibx_probe_fini(&whole);
  if (status != IBX_OK) return status;
  if (!setup->judges_nothing) ibx_judge(setup, c->out);
  return IBX_OK;
}

ibx_status ibx_compare(const ibx_compare_setup *setup, ibx_comparison *out,
                       ibx_error *err) {
  *out = (ibx_comparison){0};
  comparing c = {.setup = setup,
                 .out = out,
                 .sink = {.arena = &out->arena,
                          .forward = setup->options->on_diagnostic,
                          .user = setup->options->user},
                 .err = err};
  ibx_status status = compare_model(&c);
  if (!setup->is_quiet) ibx_progress_end(&c.progress);
  ibx_model_close(c.model);
  if (status != IBX_OK) ibx_comparison_fini(out);
  return status;
}

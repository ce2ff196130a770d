// SPDX-License-Identifier: Apache-2.0
//
// Cuts an imported model into steps. Comes in: a graph, and calls on the host
// between its nodes. Goes out: steps in which the model leaves the device as
// seldom as can be, a graph for each device step, and the values between them.
//
//   device 1        a b        calls and nodes take turns: each is put into the
//   host            c d        first turn of its kind that comes after all that
//   device 2        e f g      it reads. Whichever side begins, there are no
//                              fewer turns; the one with fewer on the host wins
//
// What depends on constants only belongs to no turn: it is made again wherever
// it is read. A loop of steps begins and ends in turns of its own: what stands
// before it in the model comes before, what stands behind comes after.

#include "frontend/import.h"

#include <string.h>

enum { ANY_TURN = -1, NOT_NEEDED = -2, NO_STEP = UINT32_MAX };

typedef struct partition {
  ibx_import *import;
  ibx_arena *scratch;
  int32_t *node_turn;   ///< of each node of the graph
  int32_t *call_turn;   ///< of each call
  int32_t *made;        ///< of each value: the turn that makes it
  uint32_t *step_value; ///< of each value of the graph, or NO_STEP
  bool *is_read;        ///< of each value: by another turn, or as an output
  bool device_first;
  int32_t first, last; ///< turn that the next node may be in; in use so far
  ibx_partition *out;
  size_t value_room;
} partition;

bool ibx_import_needs_host(const ibx_import *import) {
  const ibx_graph *graph = &import->graph;
  bool needs = import->host_count != 0;
  for (size_t i = 0; i < graph->input_count; i++)
    needs |= graph->inputs[i].type.dtype == IBX_DTYPE_STRING;
  for (size_t i = 0; i < graph->output_count; i++)
    needs |= graph->outputs[i].type.dtype == IBX_DTYPE_STRING;
  return needs;
}

// --- what is needed ----------------------------------------------------------

// Marks a call, behind all that may read its results. A loop is needed where its
// end is: `ends` has those of the loops around.
static void mark_call(const partition *p, size_t index, bool *needed,
                      bool *ends, size_t *depth) {
  const ibx_host_node *host = &p->import->host_nodes[index];
  bool is_needed = false;
  for (size_t i = 0; i < host->result_count; i++)
    is_needed |= needed[host->results[i]];
  if (host->call->flow == IBX_HOST_FLOW_next) ends[(*depth)++] = is_needed;
  if (host->call->flow == IBX_HOST_FLOW_loop) is_needed = ends[--*depth];
  p->call_turn[index] = is_needed ? 0 : NOT_NEEDED;
  for (size_t i = 0; is_needed && i < host->operand_count; i++) {
    if (host->operands[i] != IBX_NO_VALUE) needed[host->operands[i]] = true;
  }
}

static void mark_needed(const partition *p) {
  const ibx_import *import = p->import;
  const ibx_graph *graph = &import->graph;
  bool *needed = IBX_ARENA_ARRAY(p->scratch, graph->value_count, bool);
  for (size_t i = 0; i < graph->output_count; i++)
    needed[graph->outputs[i].value] = true;
  bool *ends = IBX_ARENA_ARRAY(p->scratch, import->host_count, bool);
  size_t call = import->host_count, depth = 0;
  for (size_t n = graph->node_count + 1; n-- > 0;) {
    for (; call > 0 && import->host_nodes[call - 1].after >= n; call--)
      mark_call(p, call - 1, needed, ends, &depth);
    if (n == 0) break;
    const ibx_node *node = &graph->nodes[n - 1];
    bool is_needed = needed[node->result];
    p->node_turn[n - 1] = is_needed ? 0 : NOT_NEEDED;
    for (size_t i = 0; is_needed && i < node->operand_count; i++)
      needed[node->operand[i]] = true;
  }
}

// --- turns -------------------------------------------------------------------

// The first turn of the device (or the host) that is not before `turn`.
static int32_t next_turn(const partition *p, int32_t turn, bool on_device) {
  bool is_device = (turn % 2 == 0) == p->device_first;
  return is_device == on_device ? turn : turn + 1;
}

static int32_t note_turn(partition *p, int32_t turn) {
  if (turn > p->last) p->last = turn;
  return turn;
}

static void place_node(partition *p, size_t n) {
  const ibx_node *node = &p->import->graph.nodes[n];
  if (p->node_turn[n] == NOT_NEEDED) return;
  int32_t turn = ANY_TURN;
  bool is_free = true;
  for (size_t i = 0; i < node->operand_count; i++) {
    ibx_val value = node->operand[i];
    is_free &= p->import->known[value];
    if (p->made[value] > turn) turn = p->made[value];
  }
  if (turn < p->first) turn = p->first;
  turn = is_free ? ANY_TURN : note_turn(p, next_turn(p, turn, true));
  p->node_turn[n] = turn;
  p->made[node->result] = turn;
}

static void place_call(partition *p, size_t index) {
  const ibx_host_node *host = &p->import->host_nodes[index];
  if (p->call_turn[index] == NOT_NEEDED) return;
  bool is_flow = host->call->flow != IBX_HOST_FLOW_none;
  int32_t turn = is_flow ? p->last : p->first;
  for (size_t i = 0; i < host->operand_count; i++) {
    ibx_val value = host->operands[i];
    if (value != IBX_NO_VALUE && p->made[value] > turn) turn = p->made[value];
  }
  turn = note_turn(p, next_turn(p, turn, false));
  if (is_flow) p->first = turn;
  p->call_turn[index] = turn;
  for (size_t i = 0; i < host->result_count; i++)
    p->made[host->results[i]] = turn;
}

// Gives every node and call its turn; returns the last one.
static int32_t place_all(partition *p, bool device_first) {
  const ibx_import *import = p->import;
  const ibx_graph *graph = &import->graph;
  size_t call = 0;
  p->device_first = device_first;
  p->first = p->last = 0;
  for (size_t v = 0; v < graph->value_count; v++)
    p->made[v] = ANY_TURN;
  for (size_t n = 0; n <= graph->node_count; n++) {
    for (; call < import->host_count && import->host_nodes[call].after <= n;
         call++)
      place_call(p, call);
    if (n < graph->node_count) place_node(p, n);
  }
  return p->last;
}

static bool has_call(const partition *p, int32_t turn) {
  for (size_t i = 0; i < p->import->host_count; i++) {
    if (p->call_turn[i] == turn) return true;
  }
  return false;
}

static bool has_node(const partition *p, int32_t turn) {
  for (size_t n = 0; n < p->import->graph.node_count; n++) {
    if (p->node_turn[n] == turn) return true;
  }
  return false;
}

// Turns in use: those of the host weigh more than those of the device.
static size_t weigh(const partition *p, int32_t last) {
  size_t weight = 0;
  for (int32_t turn = 0; turn <= last; turn++)
    weight += (has_call(p, turn) ? 1000u : 0u) + (has_node(p, turn) ? 1u : 0u);
  return weight;
}

static int32_t choose_turns(partition *p) {
  size_t host_first = weigh(p, place_all(p, false));
  size_t device_first = weigh(p, place_all(p, true));
  return place_all(p, device_first < host_first);
}

// --- values between steps ----------------------------------------------------

static ibx_step_value value_of_type(const ibx_type *type) {
  ibx_step_value value = {.rank = type->rank, .dtype = (uint8_t)type->dtype};
  for (uint8_t d = 0; d < type->rank; d++) {
    value.shape[d] = type->dims[d] == IBX_OPEN_EXTENT ? IBX_ANY_EXTENT
                                                      : (uint64_t)type->dims[d];
  }
  return value;
}

static ibx_span bytes_of_texts(partition *p, const ibx_host_tensor *texts) {
  size_t head = (texts->text_count + 1) * sizeof(uint64_t);
  uint8_t *bytes = ibx_arena_alloc(p->import->arena, head + texts->data_bytes);
  memcpy(bytes, texts->offsets, head);
  if (texts->data_bytes != 0) {
    memcpy(bytes + head, texts->data, texts->data_bytes);
  }
  return (ibx_span){.data = bytes, .size = head + texts->data_bytes};
}

// A constant's elements, kept as long as the result.
static bool read_constant(partition *p, ibx_val value, ibx_span *out) {
  ibx_import *import = p->import;
  if (import->texts[value]) {
    *out = bytes_of_texts(p, import->texts[value]);
    return true;
  }
  const ibx_tensor *tensor =
      import->known[value] ? ibx_force(import, value) : NULL;
  int64_t size;
  if (!tensor || !ibx_type_bytes(&tensor->type, &size)) return false;
  uint8_t *bytes = ibx_arena_alloc(import->arena, (size_t)size);
  if (size != 0) memcpy(bytes, tensor->data, (size_t)size);
  *out = (ibx_span){.data = bytes, .size = (size_t)size};
  return true;
}

static uint32_t add_step_value(partition *p, ibx_step_value value) {
  ibx_steps *steps = &p->out->steps;
  if (steps->value_count == p->value_room) {
    size_t room = p->value_room ? p->value_room * 2 : 32;
    ibx_step_value *values =
        IBX_ARENA_ARRAY(p->import->arena, room, ibx_step_value);
    if (steps->value_count != 0) {
      memcpy(values, steps->values, steps->value_count * sizeof *values);
    }
    steps->values = values;
    p->value_room = room;
  }
  steps->values[steps->value_count] = value;
  return (uint32_t)steps->value_count++;
}

// The value between steps that a value of the graph is. A constant is one
// wherever steps read it.
static uint32_t step_value(partition *p, ibx_val value) {
  ibx_import *import = p->import;
  if (p->step_value[value] != NO_STEP) return p->step_value[value];
  const ibx_value *of = &import->graph.values[value];
  ibx_step_value made = value_of_type(&of->type);
  bool is_constant = import->texts[value] || import->known[value];
  if (is_constant && !read_constant(p, value, &made.data)) {
    ibx_diag_add(import->sink, IBX_DIAG_TOO_LARGE,
                 (ibx_diag_at){.node = "the model"}, "use smaller constants",
                 "a constant that the host reads cannot be computed while "
                 "compiling");
  }
  made.is_constant = is_constant;
  return p->step_value[value] = add_step_value(p, made);
}

// --- device steps ------------------------------------------------------------

/// The graph of one turn while its nodes are copied.
typedef struct segment {
  ibx_graph graph;
  uint32_t *number; ///< of each value of the whole graph, or IBX_NO_VALUE
  uint32_t *operands, *results; ///< values between steps
  size_t operand_count, result_count;
} segment;

static const char *port_name(partition *p, uint32_t value) {
  return ibx_arena_format(p->import->arena, "v%u", value);
}

static ibx_port make_port(partition *p, ibx_val value, uint32_t number) {
  return (ibx_port){.name = port_name(p, step_value(p, value)),
                    .value = number,
                    .type = p->import->graph.values[value].type,
                    .state = -1};
}

static void add_input(partition *p, segment *s, ibx_val value) {
  if (s->number[value] != IBX_NO_VALUE) return;
  uint32_t index = (uint32_t)s->graph.input_count++;
  s->number[value] = ibx_graph_add_input(
      &s->graph, p->import->graph.values[value].type, index);
  s->graph.inputs[index] = make_port(p, value, s->number[value]);
  s->operands[s->operand_count++] = step_value(p, value);
}

// Copies a node whose operands were copied.
static void copy_node(partition *p, segment *s, const ibx_node *node) {
  uint32_t operands[IBX_NODE_OPERANDS];
  ibx_error err = {0};
  if (node->op == IBX_TENSOR_constant) {
    s->number[node->result] = ibx_graph_add_constant(
        &s->graph, (uint32_t)node->params.weight, node->source);
    return;
  }
  for (uint32_t i = 0; i < node->operand_count; i++)
    operands[i] = s->number[node->operand[i]];
  ibx_status status = ibx_graph_add(&s->graph, node->op, &node->params,
                                    operands, node->operand_count, node->source,
                                    &s->number[node->result], &err);
  if (status == IBX_OK) return;
  ibx_diag_add(p->import->sink, IBX_DIAG_OPERAND_SHAPE,
               (ibx_diag_at){.node = "the model"}, "report this model", "%s",
               err.message);
}

// The nodes of a turn, and those that belong to none and that these need.
static bool *mark_turn(const partition *p, int32_t turn) {
  const ibx_graph *graph = &p->import->graph;
  bool *needed = IBX_ARENA_ARRAY(p->scratch, graph->node_count, bool);
  for (size_t n = graph->node_count; n-- > 0;) {
    const ibx_node *node = &graph->nodes[n];
    needed[n] |= p->node_turn[n] == turn;
    for (size_t i = 0; needed[n] && i < node->operand_count; i++) {
      ibx_val value = node->operand[i];
      if (p->import->known[value]) needed[graph->values[value].node] = true;
    }
  }
  return needed;
}

static void fill_segment(partition *p, segment *s, int32_t turn) {
  const ibx_graph *graph = &p->import->graph;
  const bool *needed = mark_turn(p, turn);
  for (size_t n = 0; n < graph->node_count; n++) {
    const ibx_node *node = &graph->nodes[n];
    if (!needed[n]) continue;
    for (size_t i = 0; i < node->operand_count; i++) {
      ibx_val value = node->operand[i];
      bool is_ours = p->made[value] == turn || p->import->known[value];
      if (!is_ours) add_input(p, s, value);
    }
    if (s->number[node->result] == IBX_NO_VALUE) copy_node(p, s, node);
  }
}

static void add_outputs(partition *p, segment *s, int32_t turn) {
  const ibx_graph *graph = &p->import->graph;
  for (size_t n = 0; n < graph->node_count; n++) {
    ibx_val value = graph->nodes[n].result;
    if (p->node_turn[n] != turn || !p->is_read[value]) continue;
    s->graph.outputs[s->graph.output_count++] =
        make_port(p, value, s->number[value]);
    s->results[s->result_count++] = step_value(p, value);
  }
}

static void add_step(partition *p, ibx_step step) {
  ibx_steps *steps = &p->out->steps;
  steps->steps[steps->step_count++] = step;
}

static void make_segment(partition *p, int32_t turn) {
  ibx_import *import = p->import;
  size_t values = import->graph.value_count;
  size_t index = p->out->segment_count;
  segment s = {.graph = {.arena = import->arena,
                         .tables = import->tables,
                         .name = ibx_arena_format(import->arena, "%s/%zu",
                                                  import->graph.name, index)},
               .number = IBX_ARENA_ARRAY(p->scratch, values, uint32_t),
               .operands = IBX_ARENA_ARRAY(import->arena, values, uint32_t),
               .results = IBX_ARENA_ARRAY(import->arena, values, uint32_t)};
  s.graph.inputs = IBX_ARENA_ARRAY(import->arena, values, ibx_port);
  s.graph.outputs = IBX_ARENA_ARRAY(import->arena, values, ibx_port);
  for (size_t v = 0; v < values; v++)
    s.number[v] = IBX_NO_VALUE;
  fill_segment(p, &s, turn);
  add_outputs(p, &s, turn);
  ibx_graph_compact(&s.graph);
  p->out->segments[p->out->segment_count++] = s.graph;
  add_step(p, (ibx_step){.signature = "",
                         .segment = (uint32_t)index,
                         .node = IBX_NO_NODE,
                         .operands = s.operands,
                         .results = s.results,
                         .operand_count = s.operand_count,
                         .result_count = s.result_count});
}

// --- host steps --------------------------------------------------------------

// Once for each node.
static void refuse_host(const partition *p, const ibx_host_node *host) {
  for (const ibx_host_node *other = p->import->host_nodes; other < host;
       other++) {
    if (other->source == host->source) return;
  }
  const ibx_node_decl *source = &p->import->tables->sources[host->source];
  ibx_diag_add(p->import->sink, IBX_DIAG_NEEDS_HOST,
               (ibx_diag_at){.node = source->name, .op = source->op},
               host->call->flow
                   ? host->call->instead
                   : "compile without --no-host, or do this before the model",
               "the node runs on the host (%s), which is not allowed",
               host->call->name);
}

static void make_call(partition *p, const ibx_host_node *host) {
  ibx_arena *arena = p->import->arena;
  ibx_step step = {
      .call = host->call->name,
      .signature = host->call->signature,
      .node = host->source,
      .operands = IBX_ARENA_ARRAY(arena, host->operand_count, uint32_t),
      .results = IBX_ARENA_ARRAY(arena, host->result_count, uint32_t),
      .ints = host->ints,
      .operand_count = host->operand_count,
      .result_count = host->result_count,
      .int_count = host->int_count};
  if (p->import->options->no_host) refuse_host(p, host);
  for (size_t i = 0; i < host->operand_count; i++) {
    ibx_val value = host->operands[i];
    step.operands[i] =
        value == IBX_NO_VALUE ? IBX_NO_NODE : step_value(p, value);
  }
  for (size_t i = 0; i < host->result_count; i++)
    step.results[i] = step_value(p, host->results[i]);
  add_step(p, step);
}

static void count_host_nodes(partition *p) {
  const ibx_import *import = p->import;
  for (size_t i = 0; i < import->host_count; i++) {
    bool is_new = p->call_turn[i] != NOT_NEEDED;
    for (size_t j = 0; j < i; j++) {
      is_new &= p->call_turn[j] == NOT_NEEDED ||
                import->host_nodes[j].source != import->host_nodes[i].source;
    }
    p->import->stats.host_nodes += is_new;
  }
}

// --- all ---------------------------------------------------------------------

// Values that a turn reads and does not make, and those of outputs.
static void mark_read(partition *p) {
  const ibx_import *import = p->import;
  const ibx_graph *graph = &import->graph;
  for (size_t i = 0; i < graph->output_count; i++)
    p->is_read[graph->outputs[i].value] = true;
  for (size_t i = 0; i < import->host_count; i++) {
    const ibx_host_node *host = &import->host_nodes[i];
    if (p->call_turn[i] == NOT_NEEDED) continue;
    for (size_t j = 0; j < host->operand_count; j++) {
      if (host->operands[j] != IBX_NO_VALUE)
        p->is_read[host->operands[j]] = true;
    }
  }
  for (size_t n = 0; n < graph->node_count; n++) {
    const ibx_node *node = &graph->nodes[n];
    if (p->node_turn[n] < 0) continue;
    for (size_t i = 0; i < node->operand_count; i++) {
      ibx_val value = node->operand[i];
      if (p->made[value] != p->node_turn[n]) p->is_read[value] = true;
    }
  }
}

static void make_ports(partition *p) {
  ibx_import *import = p->import;
  const ibx_graph *graph = &import->graph;
  ibx_partition *out = p->out;
  out->inputs = graph->inputs;
  out->outputs = graph->outputs;
  out->input_count = graph->input_count;
  out->output_count = graph->output_count;
  out->steps.inputs =
      IBX_ARENA_ARRAY(import->arena, graph->input_count, uint32_t);
  out->steps.outputs =
      IBX_ARENA_ARRAY(import->arena, graph->output_count, uint32_t);
  for (size_t i = 0; i < graph->input_count; i++)
    out->steps.inputs[i] = step_value(p, graph->inputs[i].value);
}

static void make_steps(partition *p, int32_t last) {
  ibx_import *import = p->import;
  ibx_partition *out = p->out;
  out->segments = IBX_ARENA_ARRAY(import->arena, (size_t)last + 1, ibx_graph);
  out->steps.steps = IBX_ARENA_ARRAY(
      import->arena, import->host_count + (size_t)last + 1, ibx_step);
  for (int32_t turn = 0; turn <= last; turn++) {
    for (size_t i = 0; i < import->host_count; i++) {
      if (p->call_turn[i] == turn) make_call(p, &import->host_nodes[i]);
    }
    if (has_node(p, turn)) make_segment(p, turn);
  }
  for (size_t i = 0; i < import->graph.output_count; i++) {
    out->steps.outputs[i] = step_value(p, import->graph.outputs[i].value);
  }
}

static void refuse_state(ibx_import *import) {
  if (import->options->state_count == 0) return;
  ibx_diag_add(
      import->sink, IBX_DIAG_STATE_OPTION,
      (ibx_diag_at){.node = import->options->states[0].past, .op = "input"},
      "leave --state out and pass the tensor in each run",
      "a model that needs the host keeps no state");
}

void ibx_import_partition(ibx_import *import, ibx_partition *out) {
  const ibx_graph *graph = &import->graph;
  ibx_arena *scratch = &import->scratch;
  size_t values = graph->value_count;
  ibx_import_make_room(import);
  partition p = {
      .import = import,
      .scratch = scratch,
      .node_turn = IBX_ARENA_ARRAY(scratch, graph->node_count, int32_t),
      .call_turn = IBX_ARENA_ARRAY(scratch, import->host_count, int32_t),
      .made = IBX_ARENA_ARRAY(scratch, values, int32_t),
      .step_value = IBX_ARENA_ARRAY(scratch, values, uint32_t),
      .is_read = IBX_ARENA_ARRAY(scratch, values, bool),
      .out = out};
  for (size_t v = 0; v < values; v++)
    p.step_value[v] = NO_STEP;
  refuse_state(import);
  mark_needed(&p);
  int32_t last = choose_turns(&p);
  mark_read(&p);
  count_host_nodes(&p);
  make_ports(&p);
  make_steps(&p, last);
}

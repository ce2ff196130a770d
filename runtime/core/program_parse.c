// SPDX-License-Identifier: Apache-2.0
//
// Sections to tables. Comes in: the sections of a program, digested but
// otherwise not trusted. Goes out: the tables of ibx_program_data, in the
// program's pool; texts and weights stay in the file. Every count was compared
// with the bytes that it needs before anything was allocated for it.

#include "core/program_internal.h"

#include <inttypes.h>

/// Reads forward through one section. A read past the end gives zeros and is
/// remembered.
typedef struct cursor {
  const uint8_t *at;
  size_t left;
  bool is_past_end;
} cursor;

static uint64_t take(cursor *c, size_t bytes) {
  if (c->left < bytes) {
    c->is_past_end = true;
    return 0;
  }
  uint64_t value = ibx_get_le(c->at, bytes);
  c->at += bytes;
  c->left -= bytes;
  return value;
}

typedef struct parser {
  ibx_program *program;
  const ibx_sections *sections;
  cursor entries;
  cursor debug;
  ibx_error *err;
} parser;

static ibx_status no_memory(const parser *p) {
  return IBX_FAIL(p->err, OUT_OF_MEMORY, "no memory for the program's tables");
}

static ibx_status take_string(const parser *p, cursor *c, const char **out) {
  ibx_span strings = p->sections->at[IBX_SECTION_STRINGS];
  uint64_t offset = take(c, 4);
  if (offset >= strings.size || strings.data[strings.size - 1] != 0) {
    return IBX_FAIL(p->err, INVALID_PROGRAM,
                    "text at %" PRIu64 " is outside of the %zu bytes of texts",
                    offset, strings.size);
  }
  *out = (const char *)strings.data + offset;
  return IBX_OK;
}

static ibx_status take_zero(const parser *p, cursor *c, size_t bytes) {
  if (take(c, bytes) == 0) return IBX_OK;
  return IBX_FAIL(p->err, INVALID_PROGRAM, "a reserved field is not zero");
}

static ibx_status parse_target(parser *p) {
  ibx_span section = p->sections->at[IBX_SECTION_TARGET];
  cursor c = {section.data, section.size, false};
  uint64_t target = take(&c, 4);
  ibx_program_data *data = &p->program->data;
  data->machine = ibx_machine_get((ibx_target)target);
  if (section.size != IBX_TARGET_RECORD_BYTES || !data->machine) {
    return IBX_FAIL(p->err, INVALID_PROGRAM,
                    "target %" PRIu64 " is unknown to this version", target);
  }
  IBX_TRY(take_string(p, &c, &data->model));
  IBX_TRY(take_string(p, &c, &data->options));
  return take_zero(p, &c, 4);
}

static ibx_status parse_nodes(parser *p) {
  ibx_span section = p->sections->at[IBX_SECTION_NODES];
  cursor c = {section.data, section.size, false};
  ibx_program_data *data = &p->program->data;
  if (section.size % IBX_NODE_RECORD_BYTES != 0) {
    return IBX_FAIL(p->err, INVALID_PROGRAM, "the node table is cut short");
  }
  data->node_count = section.size / IBX_NODE_RECORD_BYTES;
  data->nodes =
      IBX_POOL_ARRAY(&p->program->pool, data->node_count, ibx_node_decl);
  if (!data->nodes) return no_memory(p);
  for (size_t i = 0; i < data->node_count; i++) {
    IBX_TRY(take_string(p, &c, &data->nodes[i].name));
    IBX_TRY(take_string(p, &c, &data->nodes[i].op));
  }
  return IBX_OK;
}

// --- entries -----------------------------------------------------------------

static ibx_status parse_tensors(parser *p, size_t count,
                                ibx_tensor_decl **out) {
  cursor *c = &p->entries;
  *out = IBX_POOL_ARRAY(&p->program->pool, count, ibx_tensor_decl);
  if (!*out) return no_memory(p);
  for (size_t i = 0; i < count; i++) {
    ibx_tensor_decl *tensor = &(*out)[i];
    IBX_TRY(take_string(p, c, &tensor->name));
    tensor->buffer = (uint32_t)take(c, 2);
    tensor->rank = (uint8_t)take(c, 1);
    tensor->dtype = (uint8_t)take(c, 1);
    for (size_t d = 0; d < IBX_MAX_RANK; d++) {
      tensor->shape[d] = take(c, 8);
    }
  }
  return IBX_OK;
}

static ibx_status parse_buffer(parser *p, ibx_buffer_decl *buffer) {
  cursor *c = &p->entries;
  IBX_TRY(take_string(p, c, &buffer->name));
  buffer->kind = (ibx_buffer_kind)take(c, 1);
  buffer->place.space = (ibx_space)take(c, 1);
  buffer->place.partitions = (uint16_t)take(c, 2);
  buffer->place.partition = (uint8_t)take(c, 1);
  IBX_TRY(take_zero(p, c, 7));
  buffer->place.offset = take(c, 8);
  buffer->place.bytes = take(c, 8);
  return IBX_OK;
}

static ibx_status parse_insns(parser *p, ibx_span code, ibx_stream *stream) {
  for (size_t i = 0; i < stream->count; i++) {
    size_t words;
    IBX_TRY(ibx_insn_decode(code, &stream->insns[i], &words, p->err));
    code.data += words * IBX_WORD_BYTES;
    code.size -= words * IBX_WORD_BYTES;
    stream->nodes[i] = p->debug.at ? (uint32_t)take(&p->debug, 4) : IBX_NO_NODE;
  }
  if (code.size == 0) return IBX_OK;
  return IBX_FAIL(p->err, INVALID_PROGRAM,
                  "a stream has %zu bytes after its last instruction",
                  code.size);
}

static ibx_status parse_stream(parser *p, ibx_stream *stream) {
  cursor *c = &p->entries;
  ibx_span code = p->sections->at[IBX_SECTION_STREAMS];
  uint64_t offset = take(c, 8);
  uint64_t size = take(c, 8);
  uint64_t count = take(c, 4);
  IBX_TRY(take_zero(p, c, 4));
  if (offset > code.size || size > code.size - offset ||
      count > size / IBX_WORD_BYTES) {
    return IBX_FAIL(p->err, INVALID_PROGRAM,
                    "stream of %" PRIu64 " instructions in %" PRIu64
                    " bytes at %" PRIu64 " is outside of the %zu bytes of code",
                    count, size, offset, code.size);
  }
  stream->count = (size_t)count;
  stream->insns = IBX_POOL_ARRAY(&p->program->pool, stream->count, ibx_insn);
  stream->nodes = IBX_POOL_ARRAY(&p->program->pool, stream->count, uint32_t);
  if (!stream->insns || !stream->nodes) return no_memory(p);
  return parse_insns(p, (ibx_span){code.data + offset, (size_t)size}, stream);
}

static ibx_status take_counts(parser *p, ibx_entry *entry) {
  cursor *c = &p->entries;
  entry->input_count = (size_t)take(c, 4);
  entry->output_count = (size_t)take(c, 4);
  entry->buffer_count = (size_t)take(c, 4);
  if (entry->buffer_count > IBX_MAX_BUFFERS) {
    return IBX_FAIL(p->err, INVALID_PROGRAM,
                    "entry %s has %zu buffers, the limit is %d", entry->name,
                    entry->buffer_count, IBX_MAX_BUFFERS);
  }
  // Counts of 32 bits times small records fit in 64.
  uint64_t tensors = (uint64_t)entry->input_count + entry->output_count;
  if (tensors * IBX_TENSOR_RECORD_BYTES +
          (uint64_t)entry->buffer_count * IBX_BUFFER_RECORD_BYTES >
      c->left) {
    return IBX_FAIL(p->err, INVALID_PROGRAM,
                    "entry %s: %zu inputs, %zu outputs, %zu buffers do not fit "
                    "in the %zu bytes that are left",
                    entry->name, entry->input_count, entry->output_count,
                    entry->buffer_count, c->left);
  }
  return IBX_OK;
}

static ibx_status parse_entry(parser *p, ibx_entry *entry) {
  cursor *c = &p->entries;
  IBX_TRY(take_string(p, c, &entry->name));
  IBX_TRY(take_counts(p, entry));
  entry->bounds.flops = take(c, 8);
  entry->bounds.tensor_ps = take(c, 8);
  entry->bounds.hbm_min_bytes = take(c, 8);
  entry->bounds.hbm_ps = take(c, 8);
  entry->bounds.engine_ps = take(c, 8);
  for (size_t e = 0; e < IBX_ENGINE_COUNT; e++) {
    IBX_TRY(parse_stream(p, &entry->streams[e]));
  }
  IBX_TRY(parse_tensors(p, entry->input_count, &entry->inputs));
  IBX_TRY(parse_tensors(p, entry->output_count, &entry->outputs));
  entry->buffers =
      IBX_POOL_ARRAY(&p->program->pool, entry->buffer_count, ibx_buffer_decl);
  if (!entry->buffers) return no_memory(p);
  for (size_t i = 0; i < entry->buffer_count; i++) {
    IBX_TRY(parse_buffer(p, &entry->buffers[i]));
  }
  return IBX_OK;
}

// --- cores -------------------------------------------------------------------

static ibx_status parse_split(parser *p, cursor *c, ibx_entry *entry) {
  uint64_t buffer = take(c, 4);
  if (buffer >= entry->buffer_count || entry->buffers[buffer].is_split) {
    return IBX_FAIL(p->err, INVALID_PROGRAM,
                    "entry %s: split buffer %" PRIu64
                    " is named twice, or not below %zu",
                    entry->name, buffer, entry->buffer_count);
  }
  entry->buffers[buffer].is_split = true;
  return IBX_OK;
}

static ibx_status parse_cores(parser *p) {
  ibx_program_data *data = &p->program->data;
  ibx_span section = p->sections->at[IBX_SECTION_CORES];
  if (!section.data) return IBX_OK;
  cursor c = {section.data, section.size, false};
  for (size_t i = 0; i < data->entry_count; i++) {
    ibx_entry *entry = &data->entries[i];
    entry->cores = (uint32_t)take(&c, 4);
    uint64_t count = take(&c, 4);
    for (uint64_t b = 0; b < count && !c.is_past_end; b++) {
      IBX_TRY(parse_split(p, &c, entry));
    }
  }
  if (!c.is_past_end && c.left == 0) return IBX_OK;
  return IBX_FAIL(p->err, INVALID_PROGRAM,
                  "the cores do not fill their section exactly");
}

// --- ports -------------------------------------------------------------------

static ibx_status parse_port_list(parser *p, cursor *c, size_t count,
                                  ibx_port_decl **out) {
  *out = IBX_POOL_ARRAY(&p->program->pool, count, ibx_port_decl);
  if (!*out) return no_memory(p);
  for (size_t i = 0; i < count; i++) {
    ibx_port_decl *port = &(*out)[i];
    IBX_TRY(take_string(p, c, &port->name));
    port->first = (uint32_t)take(c, 4);
    port->count = (uint32_t)take(c, 4);
    port->kind = (ibx_port_kind)take(c, 1);
    uint64_t absent = take(c, 1);
    IBX_TRY(take_zero(p, c, 2));
    port->is_absent = absent == 1;
    if (absent > 1) {
      return IBX_FAIL(p->err, INVALID_PROGRAM, "port %s is absent %" PRIu64,
                      port->name, absent);
    }
  }
  return IBX_OK;
}

static ibx_status parse_entry_ports(parser *p, cursor *c, ibx_entry *entry) {
  uint64_t has_ports = take(c, 4);
  entry->has_ports = has_ports == 1;
  if (has_ports > 1) {
    return IBX_FAIL(p->err, INVALID_PROGRAM,
                    "entry %s: %" PRIu64 " is no number of lists of ports",
                    entry->name, has_ports);
  }
  if (!entry->has_ports) return IBX_OK;
  entry->input_port_count = (size_t)take(c, 4);
  entry->output_port_count = (size_t)take(c, 4);
  entry->extent_count = (size_t)take(c, 4);
  uint64_t ports = (uint64_t)entry->input_port_count + entry->output_port_count;
  if (ports * IBX_PORT_RECORD_BYTES +
          (uint64_t)entry->extent_count * IBX_EXTENT_RECORD_BYTES >
      c->left) {
    return IBX_FAIL(p->err, INVALID_PROGRAM,
                    "entry %s: %" PRIu64 " ports and %zu extents do not fit in "
                    "the %zu bytes that are left",
                    entry->name, ports, entry->extent_count, c->left);
  }
  IBX_TRY(parse_port_list(p, c, entry->input_port_count, &entry->input_ports));
  IBX_TRY(
      parse_port_list(p, c, entry->output_port_count, &entry->output_ports));
  entry->extents =
      IBX_POOL_ARRAY(&p->program->pool, entry->extent_count, ibx_extent_decl);
  if (!entry->extents) return no_memory(p);
  for (size_t i = 0; i < entry->extent_count; i++) {
    entry->extents[i].output = (uint32_t)take(c, 4);
    entry->extents[i].dim = (uint32_t)take(c, 4);
    entry->extents[i].source = (uint32_t)take(c, 4);
  }
  return IBX_OK;
}

static ibx_status parse_ports(parser *p) {
  ibx_program_data *data = &p->program->data;
  ibx_span section = p->sections->at[IBX_SECTION_PORTS];
  if (!section.data) return IBX_OK;
  cursor c = {section.data, section.size, false};
  for (size_t i = 0; i < data->entry_count; i++) {
    IBX_TRY(parse_entry_ports(p, &c, &data->entries[i]));
  }
  if (!c.is_past_end && c.left == 0) return IBX_OK;
  return IBX_FAIL(p->err, INVALID_PROGRAM,
                  "the ports do not fill their section exactly");
}

// --- steps -------------------------------------------------------------------

static uint32_t *take_list(parser *p, cursor *c, size_t count) {
  uint32_t *list = IBX_POOL_ARRAY(&p->program->pool, count, uint32_t);
  for (size_t i = 0; list && i < count; i++)
    list[i] = (uint32_t)take(c, 4);
  return list;
}

static ibx_status parse_step_ports(parser *p, cursor *c, size_t count,
                                   ibx_tensor_decl **out_tensors,
                                   uint32_t **out_values) {
  *out_tensors = IBX_POOL_ARRAY(&p->program->pool, count, ibx_tensor_decl);
  *out_values = IBX_POOL_ARRAY(&p->program->pool, count, uint32_t);
  if (!*out_tensors || !*out_values) return no_memory(p);
  for (size_t i = 0; i < count; i++) {
    IBX_TRY(take_string(p, c, &(*out_tensors)[i].name));
    (*out_values)[i] = (uint32_t)take(c, 4);
  }
  return IBX_OK;
}

static ibx_status parse_value(parser *p, cursor *c, ibx_step_value *value) {
  ibx_span constants = p->sections->at[IBX_SECTION_CONSTANTS];
  value->rank = (uint8_t)take(c, 1);
  value->dtype = (uint8_t)take(c, 1);
  uint64_t flags = take(c, 1);
  IBX_TRY(take_zero(p, c, 5));
  for (size_t d = 0; d < IBX_MAX_RANK; d++)
    value->shape[d] = take(c, 8);
  uint64_t offset = take(c, 8), size = take(c, 8);
  value->is_constant = flags == 1;
  bool is_inside = offset <= constants.size && size <= constants.size - offset;
  if (flags > 1 || !is_inside || (flags == 0 && (offset | size) != 0)) {
    return IBX_FAIL(p->err, INVALID_PROGRAM,
                    "a value has %" PRIu64 " bytes at %" PRIu64
                    " of %zu bytes of constants",
                    size, offset, constants.size);
  }
  if (value->is_constant) {
    value->data = (ibx_span){constants.data + offset, (size_t)size};
  }
  return IBX_OK;
}

static ibx_status parse_step(parser *p, cursor *c, ibx_step *step) {
  IBX_TRY(take_string(p, c, &step->call));
  IBX_TRY(take_string(p, c, &step->signature));
  if (step->call[0] == 0) step->call = NULL;
  step->segment = (uint32_t)take(c, 4);
  step->node = (uint32_t)take(c, 4);
  step->operand_count = (size_t)take(c, 4);
  step->result_count = (size_t)take(c, 4);
  step->int_count = (size_t)take(c, 4);
  // Counts of 32 bits times 8 fit in 64.
  uint64_t values = (uint64_t)step->operand_count + step->result_count;
  if (values * 4 + (uint64_t)step->int_count * 8 > c->left) {
    return IBX_FAIL(p->err, INVALID_PROGRAM,
                    "a step of %zu operands, %zu results and %zu integers does "
                    "not fit in the %zu bytes that are left",
                    step->operand_count, step->result_count, step->int_count,
                    c->left);
  }
  step->operands = take_list(p, c, step->operand_count);
  step->results = take_list(p, c, step->result_count);
  step->ints = IBX_POOL_ARRAY(&p->program->pool, step->int_count, int64_t);
  if (!step->operands || !step->results || !step->ints) return no_memory(p);
  for (size_t i = 0; i < step->int_count; i++)
    step->ints[i] = (int64_t)take(c, 8);
  return IBX_OK;
}

static ibx_status take_step_counts(parser *p, cursor *c, ibx_entry *entry,
                                   ibx_steps *steps) {
  uint64_t ports =
      (uint64_t)entry->input_count + entry->output_count + entry->buffer_count;
  for (size_t e = 0; e < IBX_ENGINE_COUNT; e++)
    ports += entry->streams[e].count;
  entry->input_count = (size_t)take(c, 4);
  entry->output_count = (size_t)take(c, 4);
  steps->value_count = (size_t)take(c, 4);
  steps->step_count = (size_t)take(c, 4);
  uint64_t bytes = ((uint64_t)entry->input_count + entry->output_count) *
                       IBX_STEP_PORT_RECORD_BYTES +
                   (uint64_t)steps->value_count * IBX_VALUE_RECORD_BYTES +
                   (uint64_t)steps->step_count * IBX_STEP_RECORD_BYTES;
  if (ports == 0 && bytes <= c->left) return IBX_OK;
  return IBX_FAIL(p->err, INVALID_PROGRAM,
                  "entry %s: %zu steps on %zu values do not fit in the %zu "
                  "bytes that are left, or the entry has code of its own",
                  entry->name, steps->step_count, steps->value_count, c->left);
}

static ibx_status parse_plan(parser *p, cursor *c, ibx_entry *entry) {
  ibx_pool *pool = &p->program->pool;
  ibx_steps *steps = IBX_POOL_ARRAY(pool, 1, ibx_steps);
  if (!steps) return no_memory(p);
  IBX_TRY(take_step_counts(p, c, entry, steps));
  IBX_TRY(parse_step_ports(p, c, entry->input_count, &entry->inputs,
                           &steps->inputs));
  IBX_TRY(parse_step_ports(p, c, entry->output_count, &entry->outputs,
                           &steps->outputs));
  steps->values = IBX_POOL_ARRAY(pool, steps->value_count, ibx_step_value);
  steps->steps = IBX_POOL_ARRAY(pool, steps->step_count, ibx_step);
  if (!steps->values || !steps->steps) return no_memory(p);
  for (size_t i = 0; i < steps->value_count; i++)
    IBX_TRY(parse_value(p, c, &steps->values[i]));
  for (size_t i = 0; i < steps->step_count; i++)
    IBX_TRY(parse_step(p, c, &steps->steps[i]));
  entry->steps = steps;
  return IBX_OK;
}

static ibx_status parse_steps(parser *p) {
  ibx_program_data *data = &p->program->data;
  ibx_span section = p->sections->at[IBX_SECTION_STEPS];
  if (!section.data) return IBX_OK;
  cursor c = {section.data, section.size, false};
  for (size_t i = 0; i < data->entry_count; i++) {
    uint64_t kind = take(&c, 4);
    data->entries[i].is_segment = kind == IBX_ENTRY_SEGMENT;
    if (kind == IBX_ENTRY_STEPS) IBX_TRY(parse_plan(p, &c, &data->entries[i]));
    if (kind <= IBX_ENTRY_STEPS) continue;
    return IBX_FAIL(p->err, INVALID_PROGRAM,
                    "entry %s is of kind %" PRIu64 ", which this version does "
                    "not know",
                    data->entries[i].name, kind);
  }
  if (!c.is_past_end && c.left == 0) return IBX_OK;
  return IBX_FAIL(p->err, INVALID_PROGRAM,
                  "the steps do not fill their section exactly");
}

static ibx_status parse_entries(parser *p) {
  ibx_program_data *data = &p->program->data;
  ibx_span section = p->sections->at[IBX_SECTION_ENTRIES];
  ibx_span debug = p->sections->at[IBX_SECTION_DEBUG];
  p->entries = (cursor){section.data, section.size, false};
  p->debug = (cursor){debug.data, debug.size, false};
  data->entry_count = (size_t)take(&p->entries, 4);
  IBX_TRY(take_zero(p, &p->entries, 4));
  if (data->entry_count > p->entries.left / IBX_ENTRY_RECORD_BYTES) {
    return IBX_FAIL(p->err, INVALID_PROGRAM,
                    "%zu entries do not fit in %zu bytes", data->entry_count,
                    p->entries.left);
  }
  data->entries =
      IBX_POOL_ARRAY(&p->program->pool, data->entry_count, ibx_entry);
  if (!data->entries) return no_memory(p);
  for (size_t i = 0; i < data->entry_count; i++) {
    IBX_TRY(parse_entry(p, &data->entries[i]));
  }
  if (p->entries.is_past_end || p->entries.left > 0 || p->debug.is_past_end ||
      p->debug.left > 0) {
    return IBX_FAIL(p->err, INVALID_PROGRAM,
                    "the entries do not fill their sections exactly");
  }
  return IBX_OK;
}

ibx_status ibx_program_parse(ibx_program *program, const ibx_sections *sections,
                             ibx_error *err) {
  parser p = {.program = program, .sections = sections, .err = err};
  for (size_t id = 1; id < IBX_SECTION_ID_COUNT; id++) {
    bool is_required = id <= IBX_SECTION_STREAMS || id == IBX_SECTION_WEIGHTS;
    if (sections->at[id].data || !is_required) continue;
    return IBX_FAIL(err, INVALID_PROGRAM, "section %zu is missing", id);
  }
  program->data.weights = sections->at[IBX_SECTION_WEIGHTS];
  IBX_TRY(parse_target(&p));
  IBX_TRY(parse_nodes(&p));
  IBX_TRY(parse_entries(&p));
  IBX_TRY(parse_cores(&p));
  IBX_TRY(parse_ports(&p));
  return parse_steps(&p);
}

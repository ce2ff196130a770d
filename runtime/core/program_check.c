// SPDX-License-Identifier: Apache-2.0
//
// Checks a parsed program against itself and its machine. Comes in: tables
// whose references are still any number. Goes out: buffers lie in the machine's
// memories, weight buffers in the weight section, tensors fill their buffers,
// and every instruction is legal on its own. What instructions do to each other
// is the prover's.

#include "core/program_internal.h"

#include <inttypes.h>
#include <string.h>

enum { MAX_ENTRIES = 4096, MAX_TENSORS = 4096 };

typedef struct checker {
  const ibx_program_data *program;
  const ibx_entry *entry;
  ibx_error *err;
} checker;

// --- buffers -----------------------------------------------------------------

static uint64_t space_bytes(const checker *c, ibx_space space) {
  const ibx_machine *machine = c->program->machine;
  switch (space) {
  case IBX_SPACE_SBUF: return machine->sbuf_bytes;
  case IBX_SPACE_PSUM: return machine->psum_bytes;
  default: break;
  }
  // The weights lie in the core's share as well.
  uint64_t share = (uint64_t)machine->hbm_mib << 20;
  uint64_t weights = c->program->weights.size;
  return weights > share ? 0 : share - weights;
}

static ibx_status check_partitions(const checker *c,
                                   const ibx_buffer_decl *buffer) {
  const ibx_buffer_place *place = &buffer->place;
  bool is_hbm = place->space == IBX_SPACE_HBM;
  unsigned end = (unsigned)place->partition + place->partitions;
  if (is_hbm ? place->partition == 0 && place->partitions == 1
             : place->partitions > 0 && end <= IBX_PARTITIONS) {
    return IBX_OK;
  }
  return IBX_FAIL(c->err, INVALID_PROGRAM,
                  "entry %s: buffer %s has partitions %u to %u of %s",
                  c->entry->name, buffer->name, place->partition, end,
                  ibx_space_name(place->space));
}

static ibx_status check_buffer(const checker *c,
                               const ibx_buffer_decl *buffer) {
  const ibx_buffer_place *place = &buffer->place;
  if (buffer->kind >= IBX_BUFFER_KIND_COUNT ||
      place->space >= IBX_SPACE_COUNT ||
      (buffer->kind != IBX_BUFFER_SCRATCH && place->space != IBX_SPACE_HBM)) {
    return IBX_FAIL(c->err, INVALID_PROGRAM,
                    "entry %s: buffer %s has kind %u in space %u",
                    c->entry->name, buffer->name, (unsigned)buffer->kind,
                    (unsigned)place->space);
  }
  IBX_TRY(check_partitions(c, buffer));
  bool is_weight = buffer->kind == IBX_BUFFER_WEIGHT;
  uint64_t limit =
      is_weight ? c->program->weights.size : space_bytes(c, place->space);
  uint64_t end;
  if (ibx_add_size(place->offset, place->bytes, &end) && end <= limit) {
    return IBX_OK;
  }
  return IBX_FAIL(
      c->err, INVALID_PROGRAM,
      "entry %s: buffer %s has %" PRIu64 " bytes at %" PRIu64 " of the %" PRIu64
      " bytes of %s",
      c->entry->name, buffer->name, place->bytes, place->offset, limit,
      is_weight ? "the weight section" : ibx_space_name(place->space));
}

// --- cores -------------------------------------------------------------------

static ibx_status check_split(const checker *c, const ibx_buffer_decl *buffer) {
  uint32_t cores = ibx_entry_cores(c->entry);
  bool is_callers = buffer->kind == IBX_BUFFER_INPUT ||
                    buffer->kind == IBX_BUFFER_OUTPUT ||
                    buffer->kind == IBX_BUFFER_STATE;
  if (buffer->is_split && !is_callers) {
    return IBX_FAIL(c->err, INVALID_PROGRAM,
                    "entry %s: buffer %s is not the caller's, only his are "
                    "split between cores",
                    c->entry->name, buffer->name);
  }
  uint64_t bytes;
  if (!ibx_mul_size(buffer->place.bytes, cores, &bytes)) {
    return IBX_FAIL(c->err, INVALID_PROGRAM,
                    "entry %s: buffer %s of %" PRIu32
                    " cores has more than 2^64 bytes",
                    c->entry->name, buffer->name, cores);
  }
  if (cores == 1 || !is_callers || buffer->is_split ||
      buffer->kind == IBX_BUFFER_INPUT) {
    return IBX_OK;
  }
  return IBX_FAIL(c->err, INVALID_PROGRAM,
                  "entry %s: all %" PRIu32 " cores write buffer %s; declare "
                  "it split",
                  c->entry->name, cores, buffer->name);
}

static ibx_status check_cores(const checker *c) {
  uint32_t cores = ibx_entry_cores(c->entry);
  uint32_t most = c->program->machine->chip_cores;
  if (cores > most) {
    return IBX_FAIL(c->err, INVALID_PROGRAM,
                    "entry %s has %" PRIu32 " cores, a chip of %s %" PRIu32,
                    c->entry->name, cores, c->program->machine->name, most);
  }
  for (size_t i = 0; i < c->entry->buffer_count; i++) {
    IBX_TRY(check_split(c, &c->entry->buffers[i]));
  }
  return IBX_OK;
}

// --- tensors -----------------------------------------------------------------

static bool tensor_bytes(const ibx_tensor_decl *tensor, uint64_t *out) {
  *out = ibx_dtype_bytes((ibx_dtype)tensor->dtype);
  if (*out == 0 || tensor->rank > IBX_MAX_RANK) return false;
  for (size_t d = 0; d < tensor->rank; d++) {
    if (!ibx_mul_size(*out, tensor->shape[d], out)) return false;
  }
  for (size_t d = tensor->rank; d < IBX_MAX_RANK; d++) {
    if (tensor->shape[d] != 0) return false;
  }
  return true;
}

static ibx_status check_tensor(const checker *c, const ibx_tensor_decl *tensor,
                               ibx_buffer_kind kind) {
  const ibx_entry *entry = c->entry;
  uint64_t bytes;
  if (!tensor_bytes(tensor, &bytes)) {
    return IBX_FAIL(c->err, INVALID_PROGRAM,
                    "entry %s: tensor %s has no valid shape or dtype",
                    entry->name, tensor->name);
  }
  if (tensor->buffer >= entry->buffer_count) {
    return IBX_FAIL(c->err, INVALID_PROGRAM,
                    "entry %s: tensor %s lies in buffer %u of %zu", entry->name,
                    tensor->name, tensor->buffer, entry->buffer_count);
  }
  const ibx_buffer_decl *buffer = &entry->buffers[tensor->buffer];
  if ((buffer->kind != kind && buffer->kind != IBX_BUFFER_STATE) ||
      ibx_buffer_bytes(entry, buffer) != bytes) {
    return IBX_FAIL(c->err, INVALID_PROGRAM,
                    "entry %s: tensor %s has %" PRIu64
                    " bytes, its buffer %s has %" PRIu64 " and kind %u",
                    entry->name, tensor->name, bytes, buffer->name,
                    ibx_buffer_bytes(entry, buffer), (unsigned)buffer->kind);
  }
  uint32_t cores = ibx_entry_cores(entry);
  if (buffer->is_split && cores > 1 &&
      (tensor->rank == 0 || tensor->shape[0] % cores != 0)) {
    return IBX_FAIL(c->err, INVALID_PROGRAM,
                    "entry %s: the first dimension of tensor %s does not "
                    "divide into %" PRIu32 " cores",
                    entry->name, tensor->name, cores);
  }
  return IBX_OK;
}

// The caller finds tensors by name.
static ibx_status check_names(const checker *c, const ibx_tensor_decl *tensors,
                              size_t count) {
  for (size_t i = 0; i < count; i++) {
    for (size_t j = 0; j < i; j++) {
      if (strcmp(tensors[i].name, tensors[j].name) != 0) continue;
      return IBX_FAIL(c->err, INVALID_PROGRAM,
                      "entry %s: two tensors are named %s", c->entry->name,
                      tensors[i].name);
    }
  }
  return IBX_OK;
}

static bool has_buffer(const ibx_tensor_decl *tensors, size_t count,
                       size_t buffer) {
  for (size_t i = 0; i < count; i++) {
    if (tensors[i].buffer == buffer) return true;
  }
  return false;
}

// A buffer that the caller fills or reads needs a tensor to reach it by.
static ibx_status check_reachable(const checker *c) {
  const ibx_entry *entry = c->entry;
  for (size_t i = 0; i < entry->buffer_count; i++) {
    ibx_buffer_kind kind = entry->buffers[i].kind;
    bool is_in = kind == IBX_BUFFER_INPUT || kind == IBX_BUFFER_STATE;
    bool is_out = kind == IBX_BUFFER_OUTPUT || kind == IBX_BUFFER_STATE;
    if ((!is_in || has_buffer(entry->inputs, entry->input_count, i)) &&
        (!is_out || has_buffer(entry->outputs, entry->output_count, i))) {
      continue;
    }
    return IBX_FAIL(c->err, INVALID_PROGRAM,
                    "entry %s: no tensor lies in buffer %s", entry->name,
                    entry->buffers[i].name);
  }
  return IBX_OK;
}

static ibx_status check_tensors(const checker *c) {
  const ibx_entry *entry = c->entry;
  if (entry->input_count > MAX_TENSORS || entry->output_count > MAX_TENSORS) {
    return IBX_FAIL(c->err, INVALID_PROGRAM,
                    "entry %s: %zu inputs and %zu outputs, the limit is %d",
                    entry->name, entry->input_count, entry->output_count,
                    MAX_TENSORS);
  }
  for (size_t i = 0; i < entry->input_count; i++) {
    IBX_TRY(check_tensor(c, &entry->inputs[i], IBX_BUFFER_INPUT));
  }
  for (size_t i = 0; i < entry->output_count; i++) {
    IBX_TRY(check_tensor(c, &entry->outputs[i], IBX_BUFFER_OUTPUT));
  }
  IBX_TRY(check_names(c, entry->inputs, entry->input_count));
  IBX_TRY(check_names(c, entry->outputs, entry->output_count));
  return check_reachable(c);
}

// --- ports -------------------------------------------------------------------

static bool is_port(const ibx_port_decl *port) {
  if (port->kind == IBX_PORT_TENSOR) return port->count == 1;
  if (port->kind == IBX_PORT_OPTIONAL) {
    return port->count == !port->is_absent;
  }
  bool may_be_absent = port->kind == IBX_PORT_OPTIONAL_SEQUENCE;
  return port->kind < IBX_PORT_KIND_COUNT &&
         (!port->is_absent || (may_be_absent && port->count == 0));
}

// Ports divide the tensors among them, in order; what is left over at the end
// belongs to none.
static ibx_status check_port_list(const checker *c, const ibx_port_decl *ports,
                                  size_t count, size_t tensors,
                                  size_t *out_used) {
  size_t used = 0;
  for (size_t i = 0; i < count; i++) {
    const ibx_port_decl *port = &ports[i];
    if (is_port(port) && port->first == used && port->count <= tensors - used) {
      used += port->count;
      continue;
    }
    return IBX_FAIL(c->err, INVALID_PROGRAM,
                    "entry %s: port %s of kind %u has %" PRIu32
                    " tensors from %" PRIu32 ", %zu of %zu were left",
                    c->entry->name, port->name, (unsigned)port->kind,
                    port->count, port->first, tensors - used, tensors);
  }
  *out_used = used;
  return IBX_OK;
}

static bool is_extent(const ibx_entry *entry, const ibx_extent_decl *extent,
                      size_t used) {
  if (extent->output >= used || extent->source < used ||
      extent->source >= entry->output_count ||
      extent->dim >= entry->outputs[extent->output].rank) {
    return false;
  }
  const ibx_tensor_decl *source = &entry->outputs[extent->source];
  return source->rank == 0 && source->dtype == IBX_DTYPE_I64;
}

static ibx_status check_ports(const checker *c) {
  const ibx_entry *entry = c->entry;
  size_t inputs = 0, outputs = 0;
  if (!entry->has_ports) return IBX_OK;
  IBX_TRY(check_port_list(c, entry->input_ports, entry->input_port_count,
                          entry->input_count, &inputs));
  IBX_TRY(check_port_list(c, entry->output_ports, entry->output_port_count,
                          entry->output_count, &outputs));
  if (inputs != entry->input_count) {
    return IBX_FAIL(c->err, INVALID_PROGRAM,
                    "entry %s: %zu of %zu inputs belong to no port",
                    entry->name, entry->input_count - inputs,
                    entry->input_count);
  }
  for (size_t i = 0; i < entry->extent_count; i++) {
    if (is_extent(entry, &entry->extents[i], outputs)) continue;
    return IBX_FAIL(c->err, INVALID_PROGRAM,
                    "entry %s: extent %zu is not that of a dimension, or not "
                    "in an integer of no port",
                    entry->name, i);
  }
  return IBX_OK;
}

// Assembly text has numbers of 63 bits.
static ibx_status check_bounds(const checker *c) {
  const ibx_bounds *bounds = &c->entry->bounds;
  const uint64_t values[] = {bounds->flops, bounds->tensor_ps,
                             bounds->hbm_min_bytes, bounds->hbm_ps,
                             bounds->engine_ps};
  for (size_t i = 0; i < IBX_COUNT_OF(values); i++) {
    if (values[i] <= INT64_MAX) continue;
    return IBX_FAIL(c->err, INVALID_PROGRAM,
                    "entry %s: bound %zu is %" PRIu64 ", the limit is 2^63 - 1",
                    c->entry->name, i, values[i]);
  }
  return IBX_OK;
}

// --- instructions ------------------------------------------------------------

static ibx_status check_stream(const checker *c, ibx_engine engine,
                               const ibx_buffer_place *places) {
  const ibx_stream *stream = &c->entry->streams[engine];
  for (size_t i = 0; i < stream->count; i++) {
    ibx_error why;
    ibx_status status =
        ibx_insn_check(c->program->machine, engine, &stream->insns[i], places,
                       c->entry->buffer_count, &why);
    if (status == IBX_OK) {
      status = ibx_insn_check_cores(&stream->insns[i],
                                    ibx_entry_cores(c->entry), &why);
    }
    if (status != IBX_OK) {
      return IBX_FAIL(c->err, INVALID_PROGRAM, "entry %s: %s %zu: %s",
                      c->entry->name, ibx_engine_name(engine), i, why.message);
    }
    if (stream->nodes && stream->nodes[i] != IBX_NO_NODE &&
        stream->nodes[i] >= c->program->node_count) {
      return IBX_FAIL(c->err, INVALID_PROGRAM,
                      "entry %s: %s %zu: node %" PRIu32 " of %zu",
                      c->entry->name, ibx_engine_name(engine), i,
                      stream->nodes[i], c->program->node_count);
    }
  }
  return IBX_OK;
}

ibx_buffer_place *ibx_entry_places(const ibx_entry *entry, ibx_pool *pool) {
  ibx_buffer_place *places =
      IBX_POOL_ARRAY(pool, entry->buffer_count, ibx_buffer_place);
  if (!places) return NULL;
  for (size_t i = 0; i < entry->buffer_count; i++) {
    places[i] = entry->buffers[i].place;
  }
  return places;
}

static ibx_status check_streams(const checker *c) {
  ibx_pool pool = {0};
  ibx_status status = IBX_OK;
  const ibx_buffer_place *places = ibx_entry_places(c->entry, &pool);
  if (!places) {
    status = IBX_FAIL(c->err, OUT_OF_MEMORY, "no memory to check a program");
  }
  for (int e = 0; e < IBX_ENGINE_COUNT && status == IBX_OK; e++) {
    status = check_stream(c, (ibx_engine)e, places);
  }
  ibx_pool_fini(&pool);
  return status;
}

ibx_status ibx_entry_check(const ibx_program_data *program,
                           const ibx_entry *entry, ibx_error *err) {
  const checker whole = {program, entry, err};
  const checker *c = &whole;
  if (entry->steps) {
    IBX_TRY(ibx_steps_check(program, entry, err));
    return check_ports(c);
  }
  for (size_t i = 0; i < c->entry->buffer_count; i++) {
    IBX_TRY(check_buffer(c, &c->entry->buffers[i]));
  }
  IBX_TRY(check_cores(c));
  IBX_TRY(check_tensors(c));
  IBX_TRY(check_ports(c));
  IBX_TRY(check_bounds(c));
  return check_streams(c);
}

ibx_status ibx_program_check(const ibx_program_data *program, ibx_error *err) {
  if (program->entry_count > MAX_ENTRIES) {
    return IBX_FAIL(err, INVALID_PROGRAM,
                    "program has %zu entries, the limit is %d",
                    program->entry_count, MAX_ENTRIES);
  }
  for (size_t i = 0; i < program->entry_count; i++) {
    for (size_t j = 0; j < i; j++) {
      if (strcmp(program->entries[i].name, program->entries[j].name) != 0) {
        continue;
      }
      return IBX_FAIL(err, INVALID_PROGRAM, "two entries are named %s",
                      program->entries[i].name);
    }
    IBX_TRY(ibx_entry_check(program, &program->entries[i], err));
  }
  return IBX_OK;
}

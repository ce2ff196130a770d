// SPDX-License-Identifier: Apache-2.0
//
// Writes a program file. Comes in: a program and a sink. Goes out: one forward
// pass of bytes, so a pipe will do. All sections but the weights are made in
// memory first; the weights pass through, and their digest follows them in the
// trailer. The same program gives the same bytes.

#include "core/program_format.h"
#include "imbrex/blob.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/// Texts that stand in the string section already, by hash.
typedef struct string_table {
  uint32_t *slots; ///< offset + 1, 0 is free
  size_t slot_count, used;
} string_table;

typedef struct writer {
  const ibx_program_data *program;
  ibx_blob section[IBX_SECTION_ID_COUNT];
  string_table strings;
  bool is_out_of_memory;
  bool is_too_large;
  bool has_cores; ///< section CORES is written
  bool has_ports; ///< section PORTS is written
  bool has_steps; ///< sections STEPS and CONSTANTS are written
} writer;

// Failures are sticky: one check after all sections stands for every put.
static void put(writer *w, ibx_section_id id, uint64_t value, size_t bytes) {
  uint8_t le[8];
  ibx_put_le(le, value, bytes);
  if (!ibx_blob_write(&w->section[id], le, bytes)) w->is_out_of_memory = true;
}

static void put_count(writer *w, ibx_section_id id, size_t count,
                      size_t bytes) {
  if (count > (bytes == 2 ? UINT16_MAX : UINT32_MAX)) w->is_too_large = true;
  put(w, id, count, bytes);
}

// --- strings -----------------------------------------------------------------

static uint32_t *find_slot(const writer *w, const char *text) {
  const string_table *table = &w->strings;
  const char *base = (const char *)w->section[IBX_SECTION_STRINGS].data;
  size_t mask = table->slot_count - 1;
  size_t at = (size_t)ibx_digest_bytes(text, strlen(text)) & mask;
  while (table->slots[at] != 0 &&
         strcmp(base + table->slots[at] - 1, text) != 0) {
    at = (at + 1) & mask;
  }
  return &table->slots[at];
}

static bool grow_strings(writer *w) {
  string_table old = w->strings;
  size_t count = old.slot_count ? old.slot_count * 2 : 256;
  uint32_t *slots = calloc(count, sizeof *slots);
  if (!slots) return false;
  w->strings =
      (string_table){.slots = slots, .slot_count = count, .used = old.used};
  const char *base = (const char *)w->section[IBX_SECTION_STRINGS].data;
  for (size_t i = 0; i < old.slot_count; i++) {
    if (old.slots[i] == 0) continue;
    *find_slot(w, base + old.slots[i] - 1) = old.slots[i];
  }
  free(old.slots);
  return true;
}

static void put_string(writer *w, ibx_section_id id, const char *text) {
  if (!text) text = "";
  if (w->strings.used * 2 >= w->strings.slot_count && !grow_strings(w)) {
    w->is_out_of_memory = true;
    return;
  }
  ibx_blob *strings = &w->section[IBX_SECTION_STRINGS];
  uint32_t *slot = find_slot(w, text);
  if (*slot == 0) {
    size_t offset = strings->size;
    if (offset >= UINT32_MAX) w->is_too_large = true;
    if (!ibx_blob_write(strings, text, strlen(text) + 1)) {
      w->is_out_of_memory = true;
      return;
    }
    *slot = (uint32_t)offset + 1;
    w->strings.used++;
  }
  put(w, id, *slot - 1, 4);
}

// --- sections ----------------------------------------------------------------

static void make_target(writer *w) {
  put(w, IBX_SECTION_TARGET, w->program->machine->target, 4);
  put_string(w, IBX_SECTION_TARGET, w->program->model);
  put_string(w, IBX_SECTION_TARGET, w->program->options);
  put(w, IBX_SECTION_TARGET, 0, 4);
}

static void make_nodes(writer *w) {
  for (size_t i = 0; i < w->program->node_count; i++) {
    put_string(w, IBX_SECTION_NODES, w->program->nodes[i].name);
    put_string(w, IBX_SECTION_NODES, w->program->nodes[i].op);
  }
}

static ibx_status make_stream(writer *w, const ibx_stream *stream,
                              ibx_error *err) {
  for (size_t i = 0; i < stream->count; i++) {
    uint8_t words[IBX_INSN_MAX_WORDS * IBX_WORD_BYTES];
    IBX_TRY(ibx_insn_encode(&stream->insns[i], words, err));
    size_t bytes = ibx_insn_words(&stream->insns[i]) * IBX_WORD_BYTES;
    if (!ibx_blob_write(&w->section[IBX_SECTION_STREAMS], words, bytes)) {
      return IBX_FAIL(err, OUT_OF_MEMORY,
                      "no memory for an instruction stream");
    }
    put(w, IBX_SECTION_DEBUG, stream->nodes ? stream->nodes[i] : IBX_NO_NODE,
        4);
  }
  return IBX_OK;
}

static void make_tensor(writer *w, const ibx_tensor_decl *tensor) {
  put_string(w, IBX_SECTION_ENTRIES, tensor->name);
  put_count(w, IBX_SECTION_ENTRIES, tensor->buffer, 2);
  put(w, IBX_SECTION_ENTRIES, tensor->rank, 1);
  put(w, IBX_SECTION_ENTRIES, tensor->dtype, 1);
  for (size_t d = 0; d < IBX_MAX_RANK; d++) {
    put(w, IBX_SECTION_ENTRIES, d < tensor->rank ? tensor->shape[d] : 0, 8);
  }
}

static void make_buffer(writer *w, const ibx_buffer_decl *buffer) {
  put_string(w, IBX_SECTION_ENTRIES, buffer->name);
  put(w, IBX_SECTION_ENTRIES, buffer->kind, 1);
  put(w, IBX_SECTION_ENTRIES, buffer->place.space, 1);
  put(w, IBX_SECTION_ENTRIES, buffer->place.partitions, 2);
  put(w, IBX_SECTION_ENTRIES, buffer->place.partition, 1);
  put(w, IBX_SECTION_ENTRIES, 0, 7);
  put(w, IBX_SECTION_ENTRIES, buffer->place.offset, 8);
  put(w, IBX_SECTION_ENTRIES, buffer->place.bytes, 8);
}

static void make_bounds(writer *w, const ibx_bounds *bounds) {
  put(w, IBX_SECTION_ENTRIES, bounds->flops, 8);
  put(w, IBX_SECTION_ENTRIES, bounds->tensor_ps, 8);
  put(w, IBX_SECTION_ENTRIES, bounds->hbm_min_bytes, 8);
  put(w, IBX_SECTION_ENTRIES, bounds->hbm_ps, 8);
  put(w, IBX_SECTION_ENTRIES, bounds->engine_ps, 8);
}

static ibx_status make_entry(writer *w, const ibx_entry *entry,
                             ibx_error *err) {
  put_string(w, IBX_SECTION_ENTRIES, entry->name);
  // The tensors of steps stand with them.
  size_t input_count = entry->steps ? 0 : entry->input_count;
  size_t output_count = entry->steps ? 0 : entry->output_count;
  put_count(w, IBX_SECTION_ENTRIES, input_count, 4);
  put_count(w, IBX_SECTION_ENTRIES, output_count, 4);
  if (entry->buffer_count > IBX_MAX_BUFFERS) {
    return IBX_FAIL(err, INVALID_PROGRAM,
                    "entry %s has %zu buffers, the limit is %d", entry->name,
                    entry->buffer_count, IBX_MAX_BUFFERS);
  }
  put(w, IBX_SECTION_ENTRIES, entry->buffer_count, 4);
  make_bounds(w, &entry->bounds);
  for (size_t e = 0; e < IBX_ENGINE_COUNT; e++) {
    size_t start = w->section[IBX_SECTION_STREAMS].size;
    IBX_TRY(make_stream(w, &entry->streams[e], err));
    put(w, IBX_SECTION_ENTRIES, start, 8);
    put(w, IBX_SECTION_ENTRIES, w->section[IBX_SECTION_STREAMS].size - start,
        8);
    put_count(w, IBX_SECTION_ENTRIES, entry->streams[e].count, 4);
    put(w, IBX_SECTION_ENTRIES, 0, 4);
  }
  for (size_t i = 0; i < input_count; i++) {
    make_tensor(w, &entry->inputs[i]);
  }
  for (size_t i = 0; i < output_count; i++) {
    make_tensor(w, &entry->outputs[i]);
  }
  for (size_t i = 0; i < entry->buffer_count; i++) {
    make_buffer(w, &entry->buffers[i]);
  }
  return IBX_OK;
}

static bool has_cores(const ibx_program_data *program) {
  for (size_t i = 0; i < program->entry_count; i++) {
    const ibx_entry *entry = &program->entries[i];
    if (entry->cores > 1) return true;
    for (size_t b = 0; b < entry->buffer_count; b++) {
      if (entry->buffers[b].is_split) return true;
    }
  }
  return false;
}

static void make_cores(writer *w, const ibx_entry *entry) {
  size_t split_count = 0;
  for (size_t b = 0; b < entry->buffer_count; b++) {
    split_count += entry->buffers[b].is_split;
  }
  put(w, IBX_SECTION_CORES, ibx_entry_cores(entry), 4);
  put_count(w, IBX_SECTION_CORES, split_count, 4);
  for (size_t b = 0; b < entry->buffer_count; b++) {
    if (entry->buffers[b].is_split) put(w, IBX_SECTION_CORES, b, 4);
  }
}

static bool has_ports(const ibx_program_data *program) {
  for (size_t i = 0; i < program->entry_count; i++) {
    if (program->entries[i].has_ports) return true;
  }
  return false;
}

static void make_port(writer *w, const ibx_port_decl *port) {
  put_string(w, IBX_SECTION_PORTS, port->name);
  put(w, IBX_SECTION_PORTS, port->first, 4);
  put(w, IBX_SECTION_PORTS, port->count, 4);
  put(w, IBX_SECTION_PORTS, port->kind, 1);
  put(w, IBX_SECTION_PORTS, port->is_absent, 1);
  put(w, IBX_SECTION_PORTS, 0, 2);
}

static void make_ports(writer *w, const ibx_entry *entry) {
  put(w, IBX_SECTION_PORTS, entry->has_ports, 4);
  if (!entry->has_ports) return;
  put_count(w, IBX_SECTION_PORTS, entry->input_port_count, 4);
  put_count(w, IBX_SECTION_PORTS, entry->output_port_count, 4);
  put_count(w, IBX_SECTION_PORTS, entry->extent_count, 4);
  for (size_t i = 0; i < entry->input_port_count; i++)
    make_port(w, &entry->input_ports[i]);
  for (size_t i = 0; i < entry->output_port_count; i++)
    make_port(w, &entry->output_ports[i]);
  for (size_t i = 0; i < entry->extent_count; i++) {
    put(w, IBX_SECTION_PORTS, entry->extents[i].output, 4);
    put(w, IBX_SECTION_PORTS, entry->extents[i].dim, 4);
    put(w, IBX_SECTION_PORTS, entry->extents[i].source, 4);
  }
}

// --- steps -------------------------------------------------------------------

static bool has_steps(const ibx_program_data *program) {
  for (size_t i = 0; i < program->entry_count; i++) {
    const ibx_entry *entry = &program->entries[i];
    if (entry->steps || entry->is_segment) return true;
  }
  return false;
}

static void make_step_ports(writer *w, const ibx_tensor_decl *tensors,
                            const uint32_t *values, size_t count) {
  for (size_t i = 0; i < count; i++) {
    put_string(w, IBX_SECTION_STEPS, tensors[i].name);
    put(w, IBX_SECTION_STEPS, values[i], 4);
  }
}

// Constants start at multiples of 8: offsets of texts are read in place.
static void make_constant(writer *w, const ibx_step_value *value) {
  ibx_blob *constants = &w->section[IBX_SECTION_CONSTANTS];
  put(w, IBX_SECTION_CONSTANTS, 0, (8 - constants->size % 8) % 8);
  put(w, IBX_SECTION_STEPS, constants->size, 8);
  put(w, IBX_SECTION_STEPS, value->data.size, 8);
  if (value->data.size != 0 &&
      !ibx_blob_write(constants, value->data.data, value->data.size)) {
    w->is_out_of_memory = true;
  }
}

static void make_value(writer *w, const ibx_step_value *value) {
  put(w, IBX_SECTION_STEPS, value->rank, 1);
  put(w, IBX_SECTION_STEPS, value->dtype, 1);
  put(w, IBX_SECTION_STEPS, value->is_constant, 1);
  put(w, IBX_SECTION_STEPS, 0, 5);
  for (size_t d = 0; d < IBX_MAX_RANK; d++) {
    put(w, IBX_SECTION_STEPS, d < value->rank ? value->shape[d] : 0, 8);
  }
  if (value->is_constant) {
    make_constant(w, value);
  } else {
    put(w, IBX_SECTION_STEPS, 0, 8);
    put(w, IBX_SECTION_STEPS, 0, 8);
  }
}

static void make_step(writer *w, const ibx_step *step) {
  put_string(w, IBX_SECTION_STEPS, step->call);
  put_string(w, IBX_SECTION_STEPS, step->signature);
  put(w, IBX_SECTION_STEPS, step->segment, 4);
  put(w, IBX_SECTION_STEPS, step->node, 4);
  put_count(w, IBX_SECTION_STEPS, step->operand_count, 4);
  put_count(w, IBX_SECTION_STEPS, step->result_count, 4);
  put_count(w, IBX_SECTION_STEPS, step->int_count, 4);
  for (size_t i = 0; i < step->operand_count; i++)
    put(w, IBX_SECTION_STEPS, step->operands[i], 4);
  for (size_t i = 0; i < step->result_count; i++)
    put(w, IBX_SECTION_STEPS, step->results[i], 4);
  for (size_t i = 0; i < step->int_count; i++)
    put(w, IBX_SECTION_STEPS, (uint64_t)step->ints[i], 8);
}

static void make_steps(writer *w, const ibx_entry *entry) {
  const ibx_steps *steps = entry->steps;
  uint64_t kind = steps               ? IBX_ENTRY_STEPS
                  : entry->is_segment ? IBX_ENTRY_SEGMENT
                                      : IBX_ENTRY_DEVICE;
  put(w, IBX_SECTION_STEPS, kind, 4);
  if (!steps) return;
  put_count(w, IBX_SECTION_STEPS, entry->input_count, 4);
  put_count(w, IBX_SECTION_STEPS, entry->output_count, 4);
  put_count(w, IBX_SECTION_STEPS, steps->value_count, 4);
  put_count(w, IBX_SECTION_STEPS, steps->step_count, 4);
  make_step_ports(w, entry->inputs, steps->inputs, entry->input_count);
  make_step_ports(w, entry->outputs, steps->outputs, entry->output_count);
  for (size_t i = 0; i < steps->value_count; i++)
    make_value(w, &steps->values[i]);
  for (size_t i = 0; i < steps->step_count; i++)
    make_step(w, &steps->steps[i]);
}

static ibx_status make_sections(writer *w, ibx_error *err) {
  make_target(w);
  make_nodes(w);
  put_count(w, IBX_SECTION_ENTRIES, w->program->entry_count, 4);
  put(w, IBX_SECTION_ENTRIES, 0, 4);
  for (size_t i = 0; i < w->program->entry_count; i++) {
    IBX_TRY(make_entry(w, &w->program->entries[i], err));
  }
  for (size_t i = 0; w->has_cores && i < w->program->entry_count; i++) {
    make_cores(w, &w->program->entries[i]);
  }
  for (size_t i = 0; w->has_ports && i < w->program->entry_count; i++) {
    make_ports(w, &w->program->entries[i]);
  }
  for (size_t i = 0; w->has_steps && i < w->program->entry_count; i++) {
    make_steps(w, &w->program->entries[i]);
  }
  if (w->is_out_of_memory) {
    return IBX_FAIL(err, OUT_OF_MEMORY, "no memory for the program's sections");
  }
  if (w->is_too_large) {
    return IBX_FAIL(err, INVALID_PROGRAM,
                    "a table of the program has more rows than its count of "
                    "32 bits can say");
  }
  return IBX_OK;
}

// --- file --------------------------------------------------------------------

static uint64_t align_up(uint64_t size) {
  return (size + IBX_SECTION_ALIGN - 1) / IBX_SECTION_ALIGN * IBX_SECTION_ALIGN;
}

static uint64_t section_size(const writer *w, size_t id) {
  return id == IBX_SECTION_WEIGHTS ? w->program->weights.size
                                   : w->section[id].size;
}

// In the order of the file: the weights are last, optional ones before them.
static const ibx_section_id file_order[] = {
    IBX_SECTION_TARGET,    IBX_SECTION_STRINGS, IBX_SECTION_NODES,
    IBX_SECTION_ENTRIES,   IBX_SECTION_STREAMS, IBX_SECTION_DEBUG,
    IBX_SECTION_CORES,     IBX_SECTION_PORTS,   IBX_SECTION_STEPS,
    IBX_SECTION_CONSTANTS, IBX_SECTION_WEIGHTS};

enum {
  SECTIONS = IBX_COUNT_OF(file_order),
  MOST_FRONT_BYTES =
      IBX_HEADER_BYTES + SECTIONS * IBX_SECTION_ROW_BYTES + IBX_SECTION_ALIGN
};

static bool is_written(const writer *w, ibx_section_id id) {
  if (id == IBX_SECTION_CORES) return w->has_cores;
  if (id == IBX_SECTION_PORTS) return w->has_ports;
  bool is_steps = id == IBX_SECTION_STEPS || id == IBX_SECTION_CONSTANTS;
  return !is_steps || w->has_steps;
}

static size_t section_count(const writer *w) {
  size_t count = 0;
  for (size_t i = 0; i < SECTIONS; i++)
    count += is_written(w, file_order[i]);
  return count;
}

// Bytes of header and section table.
static size_t front_bytes(const writer *w) {
  uint64_t table = align_up(section_count(w) * IBX_SECTION_ROW_BYTES);
  return IBX_HEADER_BYTES + (size_t)table;
}

// Header and section table. The digest covers all of both but itself.
static uint64_t make_front(const writer *w, uint8_t front[MOST_FRONT_BYTES]) {
  memset(front, 0, MOST_FRONT_BYTES);
  uint64_t offset = front_bytes(w);
  uint8_t *row = front + IBX_HEADER_BYTES;
  for (size_t i = 0; i < SECTIONS; i++) {
    ibx_section_id id = file_order[i];
    if (!is_written(w, id)) continue;
    bool is_weights = id == IBX_SECTION_WEIGHTS;
    uint64_t size = section_size(w, id);
    ibx_put_le(row, id, 4);
    ibx_put_le(row + 4, is_weights ? IBX_SECTION_TRAILER_DIGEST : 0, 4);
    ibx_put_le(row + 8, offset, 8);
    ibx_put_le(row + 16, size, 8);
    if (!is_weights) {
      ibx_put_le(row + 24, ibx_digest_bytes(w->section[id].data, size), 8);
    }
    offset += align_up(size);
    row += IBX_SECTION_ROW_BYTES;
  }
  memcpy(front, IBX_PROGRAM_MAGIC, IBX_PROGRAM_MAGIC_BYTES);
  ibx_put_le(front + 8,
             w->has_steps ? IBX_FORMAT_MAJOR_STEPS : IBX_FORMAT_MAJOR, 2);
  // The oldest version that has all that is written.
  uint64_t minor = w->has_ports   ? IBX_FORMAT_MINOR_PORTS
                   : w->has_cores ? IBX_FORMAT_MINOR_CORES
                                  : 0;
  ibx_put_le(front + 10, w->has_steps ? 0 : minor, 2);
  ibx_put_le(front + 12, section_count(w), 4);
  ibx_put_le(front + 16, offset + IBX_TRAILER_BYTES, 8);
  uint64_t digest = ibx_digest_bytes(front, front_bytes(w));
  ibx_put_le(front + IBX_HEADER_DIGEST_AT, digest, 8);
  return digest;
}

/// Counts and digests the weights on their way to the sink.
typedef struct weight_tap {
  ibx_write_fn write;
  void *user;
  ibx_digest_state *digest;
  uint64_t left;
  bool is_over, is_sink_broken;
} weight_tap;

static bool tap_write(void *user, const void *data, size_t size) {
  weight_tap *tap = user;
  if (size > tap->left) {
    tap->is_over = true;
    return false;
  }
  tap->left -= size;
  ibx_digest_add(tap->digest, data, size);
  if (tap->write(tap->user, data, size)) return true;
  tap->is_sink_broken = true;
  return false;
}

static ibx_status pass_weights(const writer *w, weight_tap *tap,
                               bool (*weight_write)(void *, ibx_write_fn,
                                                    void *),
                               void *weight_user, ibx_error *err) {
  const ibx_span weights = w->program->weights;
  bool is_done = weight_write ? weight_write(weight_user, tap_write, tap)
                              : tap_write(tap, weights.data, weights.size);
  if (tap->is_over || (is_done && tap->left > 0)) {
    return IBX_FAIL(err, INTERNAL,
                    "the weights are not the %zu bytes that were announced",
                    weights.size);
  }
  if (is_done) return IBX_OK;
  return IBX_FAIL(err, IO_ERROR, "the weights cannot be %s",
                  tap->is_sink_broken ? "written" : "read");
}

static bool write_padding(uint64_t size, ibx_write_fn write, void *user) {
  static const uint8_t zeros[IBX_SECTION_ALIGN];
  size_t padding = (size_t)(align_up(size) - size);
  return padding == 0 || write(user, zeros, padding);
}

static bool write_front(const writer *w, const uint8_t *front,
                        ibx_write_fn write, void *user) {
  if (!write(user, front, front_bytes(w))) return false;
  for (size_t i = 0; i < SECTIONS; i++) {
    const ibx_blob *section = &w->section[file_order[i]];
    if (section->size == 0) continue;
    if (!write(user, section->data, section->size)) return false;
    if (!write_padding(section->size, write, user)) return false;
  }
  return true;
}

static bool write_trailer(uint64_t header_digest, uint64_t weight_digest,
                          ibx_write_fn write, void *user) {
  uint8_t trailer[IBX_TRAILER_BYTES] = {0};
  memcpy(trailer, IBX_TRAILER_MAGIC, 8);
  ibx_put_le(trailer + 8, weight_digest, 8);
  ibx_put_le(trailer + 16, ibx_digest_file(header_digest, weight_digest), 8);
  return write(user, trailer, sizeof trailer);
}

ibx_status ibx_program_write(
    const ibx_program_data *program, ibx_write_fn write, void *user,
    bool (*weight_write)(void *weight_user, ibx_write_fn write, void *user),
    void *weight_user, ibx_error *err) {
  writer w = {.program = program,
              .has_cores = has_cores(program),
              .has_ports = has_ports(program),
              .has_steps = has_steps(program)};
  weight_tap tap = {.write = write,
                    .user = user,
                    .digest = ibx_digest_create(),
                    .left = program->weights.size};
  uint8_t front[MOST_FRONT_BYTES];
  uint64_t header_digest;
  ibx_status status = IBX_OK;
  if (!tap.digest) {
    status = IBX_FAIL(err, OUT_OF_MEMORY, "no memory to digest the weights");
    goto done;
  }
  status = make_sections(&w, err);
  if (status != IBX_OK) goto done;
  header_digest = make_front(&w, front);
  if (!write_front(&w, front, write, user)) {
    status = IBX_FAIL(err, IO_ERROR, "the program cannot be written");
    goto done;
  }
  status = pass_weights(&w, &tap, weight_write, weight_user, err);
  if (status != IBX_OK) goto done;
  if (!write_padding(program->weights.size, write, user) ||
      !write_trailer(header_digest, ibx_digest_get(tap.digest), write, user)) {
    status = IBX_FAIL(err, IO_ERROR, "the program cannot be written");
  }
done:
  ibx_digest_destroy(tap.digest);
  for (size_t id = 0; id < IBX_SECTION_ID_COUNT; id++) {
    ibx_blob_fini(&w.section[id]);
  }
  free(w.strings.slots);
  return status;
}

// SPDX-License-Identifier: Apache-2.0
//
// imbrex dump: what is in a program file: its sections, entries and sizes; with
// --memory the buffers by address; with --asm the instructions as text that
// assembles to the same program again.

#include "driver/driver.h"
#include "imbrex/asm.h"

#include <jansson.h>

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

typedef struct dump_args {
  bool assembly, memory, json;
} dump_args;

static const char *kind_name(ibx_buffer_kind kind) {
  switch (kind) {
  case IBX_BUFFER_INPUT: return "input";
  case IBX_BUFFER_OUTPUT: return "output";
  case IBX_BUFFER_STATE: return "state";
  case IBX_BUFFER_WEIGHT: return "weight";
  default: return "scratch";
  }
}

static const char *dtype_name(uint8_t dtype) {
  const ibx_dtype_info *info = ibx_dtype_get((ibx_dtype)dtype);
  return info ? info->name : "?";
}

// --- buffers by address ------------------------------------------------------

static int compare_places(const void *a, const void *b) {
  const ibx_buffer_decl *x = *(const ibx_buffer_decl *const *)a;
  const ibx_buffer_decl *y = *(const ibx_buffer_decl *const *)b;
  bool x_weight = x->kind == IBX_BUFFER_WEIGHT;
  bool y_weight = y->kind == IBX_BUFFER_WEIGHT;
  if (x->place.space != y->place.space) {
    return x->place.space < y->place.space ? -1 : 1;
  }
  if (x_weight != y_weight) return x_weight - y_weight;
  if (x->place.offset != y->place.offset) {
    return x->place.offset < y->place.offset ? -1 : 1;
  }
  if (x->place.partition != y->place.partition) {
    return x->place.partition < y->place.partition ? -1 : 1;
  }
  return x < y ? -1 : x > y;
}

// The caller frees the array; NULL when memory is short.
static const ibx_buffer_decl **sort_buffers(const ibx_entry *entry) {
  const ibx_buffer_decl **sorted =
      calloc(entry->buffer_count + 1, sizeof(*sorted));
  if (!sorted) return NULL;
  for (size_t i = 0; i < entry->buffer_count; i++) {
    sorted[i] = &entry->buffers[i];
  }
  qsort(sorted, entry->buffer_count, sizeof(*sorted), compare_places);
  return sorted;
}

static ibx_status no_memory(ibx_error *err) {
  return IBX_FAIL(err, OUT_OF_MEMORY, "no memory for the memory map");
}

static ibx_status print_memory(const ibx_entry *entry, ibx_error *err) {
  const ibx_buffer_decl **sorted = sort_buffers(entry);
  if (!sorted) return no_memory(err);
  printf("memory of %s\n", entry->name);
  printf("  %-8s %12s %12s %-9s %-8s %s\n", "space", "offset", "bytes", "parts",
         "kind", "buffer");
  for (size_t i = 0; i < entry->buffer_count; i++) {
    const ibx_buffer_place *place = &sorted[i]->place;
    bool is_weight = sorted[i]->kind == IBX_BUFFER_WEIGHT;
    char partitions[16] = "-";
    if (place->space != IBX_SPACE_HBM) {
      snprintf(partitions, sizeof(partitions), "%u..%u", place->partition,
               place->partition + place->partitions - 1u);
    }
    printf("  %-8s %12" PRIu64 " %12" PRIu64 " %-9s %-8s %s\n",
           is_weight ? "weights" : ibx_space_name(place->space), place->offset,
           place->bytes, partitions, kind_name(sorted[i]->kind),
           sorted[i]->name);
  }
  free(sorted);
  return IBX_OK;
}

static ibx_status memory_json(const ibx_entry *entry, json_t *out,
                              ibx_error *err) {
  const ibx_buffer_decl **sorted = sort_buffers(entry);
  if (!sorted) return no_memory(err);
  json_t *buffers = json_array();
  for (size_t i = 0; i < entry->buffer_count; i++) {
    const ibx_buffer_place *place = &sorted[i]->place;
    json_array_append_new(
        buffers,
        json_pack("{s:s, s:s, s:s, s:I, s:I, s:i, s:i}", "name",
                  sorted[i]->name, "kind", kind_name(sorted[i]->kind), "space",
                  ibx_space_name(place->space), "offset",
                  (json_int_t)place->offset, "bytes", (json_int_t)place->bytes,
                  "partition", (int)place->partition, "partitions",
                  (int)place->partitions));
  }
  json_object_set_new(out, "memory", buffers);
  free(sorted);
  return IBX_OK;
}

// --- summary -----------------------------------------------------------------

// NULL of an entry with steps.
static const ibx_buffer_decl *buffer_of(const ibx_entry *entry,
                                        const ibx_tensor_decl *tensor) {
  return entry->steps ? NULL : &entry->buffers[tensor->buffer];
}

static void print_tensor(const char *label, const ibx_tensor_decl *tensor,
                         const ibx_entry *entry) {
  const ibx_buffer_decl *buffer = buffer_of(entry, tensor);
  bool is_state = buffer && buffer->kind == IBX_BUFFER_STATE;
  char type[IBX_TYPE_CHARS];
  ibx_array_type_text((ibx_dtype)tensor->dtype, tensor->shape, tensor->rank,
                      type);
  printf("  %-6s %s %s%s\n", is_state ? "state" : label, tensor->name, type,
         buffer && buffer->is_split ? " split" : "");
}

static void print_values(const char *lead, const uint32_t *values,
                         size_t count) {
  printf("%s", lead);
  for (size_t i = 0; i < count; i++) {
    if (values[i] == IBX_NO_NODE) {
      printf(" -");
    } else {
      printf(" v%" PRIu32, values[i]);
    }
  }
}

static void print_steps(const ibx_program_data *data, const ibx_entry *entry) {
  printf("  steps  %zu, %zu segments on the host\n", entry->steps->step_count,
         ibx_entry_host_segments(entry));
  for (size_t i = 0; i < entry->steps->step_count; i++) {
    const ibx_step *step = &entry->steps->steps[i];
    printf("    %s %s", step->call ? "host" : "device",
           step->call ? step->call : data->entries[step->segment].name);
    print_values("", step->operands, step->operand_count);
    print_values(" ->", step->results, step->result_count);
    if (step->node < data->node_count) {
      printf("  of %s (%s)", data->nodes[step->node].name,
             data->nodes[step->node].op);
    }
    printf("\n");
  }
}

static const char *port_kind_name(ibx_port_kind kind) {
  static const char *const names[] = {"tensor", "sequence", "optional",
                                      "optional sequence"};
  return names[kind];
}

// Ports that are more than tensors.
static void print_ports(const ibx_entry *entry, bool is_output) {
  for (size_t i = 0; i < ibx_entry_port_count(entry, is_output); i++) {
    ibx_port_decl port = ibx_entry_port(entry, is_output, i);
    if (port.kind == IBX_PORT_TENSOR) continue;
    printf("  %-6s %s %s", is_output ? "gives" : "takes",
           port_kind_name(port.kind), port.name);
    if (port.is_absent) printf(" without element\n");
    if (!port.is_absent) printf(" of %" PRIu32 "\n", port.count);
  }
}

static void print_extents(const ibx_entry *entry) {
  for (size_t i = 0; i < entry->extent_count; i++) {
    const ibx_extent_decl *extent = &entry->extents[i];
    printf("  extent %s dimension %" PRIu32 " is in %s\n",
           entry->outputs[extent->output].name, extent->dim,
           entry->outputs[extent->source].name);
  }
}

static void print_entry(const ibx_program_data *data, const ibx_entry *entry) {
  printf("%s %s\n", entry->is_segment ? "segment" : "entry", entry->name);
  if (entry->cores > 1) printf("  cores  %" PRIu32 "\n", entry->cores);
  for (size_t i = 0; i < entry->input_count; i++) {
    print_tensor("input", &entry->inputs[i], entry);
  }
  for (size_t i = 0; i < entry->output_count; i++) {
    print_tensor("output", &entry->outputs[i], entry);
  }
  print_ports(entry, false);
  print_ports(entry, true);
  print_extents(entry);
  if (entry->steps) {
    print_steps(data, entry);
    return;
  }
  printf("  buffers %zu, instructions", entry->buffer_count);
  for (size_t e = 0; e < IBX_ENGINE_COUNT; e++) {
    printf("%s %s %zu", e > 0 ? "," : "", ibx_engine_name((ibx_engine)e),
           entry->streams[e].count);
  }
  printf("\n");
}

static void print_summary(const ibx_program *program) {
  const ibx_program_data *data = ibx_program_get(program);
  printf("model   %s\ntarget  %s\noptions %s\n", data->model,
         data->machine->name, data->options);
  printf("digest  %016" PRIx64 "\n", ibx_program_digest(program));
  printf("bytes   %" PRIu64 " program, %zu weights\n", data->code_bytes,
         data->weights.size);
  printf("nodes   %zu\n", data->node_count);
  printf("sections\n");
  ibx_section_info section;
  for (size_t i = 0; ibx_program_section(program, i, &section); i++) {
    printf("  %2" PRIu32 " %-8s at %10" PRIu64 " %10" PRIu64 " bytes\n",
           section.id, section.name, section.offset, section.size);
  }
  for (size_t i = 0; i < data->entry_count; i++) {
    print_entry(data, &data->entries[i]);
  }
}

static json_t *tensors_json(const ibx_tensor_decl *tensors, size_t count,
                            const ibx_entry *entry) {
  json_t *list = json_array();
  for (size_t i = 0; i < count; i++) {
    json_t *shape = json_array();
    for (size_t d = 0; d < tensors[i].rank; d++) {
      uint64_t extent = tensors[i].shape[d];
      json_array_append_new(shape, extent == IBX_ANY_EXTENT
                                       ? json_null()
                                       : json_integer((json_int_t)extent));
    }
    const ibx_buffer_decl *buffer = buffer_of(entry, &tensors[i]);
    uint64_t bytes = buffer ? ibx_buffer_bytes(entry, buffer) : 0;
    json_array_append_new(
        list, json_pack("{s:s, s:s, s:o, s:I, s:b, s:b}", "name",
                        tensors[i].name, "dtype", dtype_name(tensors[i].dtype),
                        "shape", shape, "bytes", (json_int_t)bytes, "state",
                        buffer && buffer->kind == IBX_BUFFER_STATE, "split",
                        (int)(buffer && buffer->is_split)));
  }
  return list;
}

static json_t *ports_json(const ibx_entry *entry, bool is_output) {
  json_t *list = json_array();
  for (size_t i = 0; i < ibx_entry_port_count(entry, is_output); i++) {
    ibx_port_decl port = ibx_entry_port(entry, is_output, i);
    json_array_append_new(
        list,
        json_pack("{s:s, s:s, s:I, s:I, s:b}", "name", port.name, "kind",
                  port_kind_name(port.kind), "first", (json_int_t)port.first,
                  "tensors", (json_int_t)port.count, "absent", port.is_absent));
  }
  return list;
}

static json_t *extents_json(const ibx_entry *entry) {
  json_t *list = json_array();
  for (size_t i = 0; i < entry->extent_count; i++) {
    const ibx_extent_decl *extent = &entry->extents[i];
    json_array_append_new(list, json_pack("{s:s, s:I, s:s}", "output",
                                          entry->outputs[extent->output].name,
                                          "dimension", (json_int_t)extent->dim,
                                          "source",
                                          entry->outputs[extent->source].name));
  }
  return list;
}

static json_t *entry_json(const ibx_entry *entry) {
  json_t *instructions = json_object();
  for (size_t e = 0; e < IBX_ENGINE_COUNT; e++) {
    json_object_set_new(instructions, ibx_engine_name((ibx_engine)e),
                        json_integer((json_int_t)entry->streams[e].count));
  }
  return json_pack(
      "{s:s, s:b, s:I, s:I, s:o, s:o, s:o, s:o, s:o, s:I, s:o}", "name",
      entry->name, "segment", (int)entry->is_segment, "host_segments",
      (json_int_t)ibx_entry_host_segments(entry), "cores",
      (json_int_t)ibx_entry_cores(entry), "inputs",
      tensors_json(entry->inputs, entry->input_count, entry), "outputs",
      tensors_json(entry->outputs, entry->output_count, entry), "takes",
      ports_json(entry, false), "gives", ports_json(entry, true), "extents",
      extents_json(entry), "buffers", (json_int_t)entry->buffer_count,
      "instructions", instructions);
}

static json_t *sections_json(const ibx_program *program) {
  json_t *sections = json_array();
  ibx_section_info section;
  for (size_t i = 0; ibx_program_section(program, i, &section); i++) {
    char digest[17];
    snprintf(digest, sizeof(digest), "%016" PRIx64, section.digest);
    json_array_append_new(
        sections,
        json_pack("{s:i, s:s, s:I, s:I, s:s}", "id", (int)section.id, "name",
                  section.name, "offset", (json_int_t)section.offset, "bytes",
                  (json_int_t)section.size, "digest", digest));
  }
  return sections;
}

// --- command -----------------------------------------------------------------

static bool write_stdout(void *user, const void *data, size_t size) {
  (void)user;
  return fwrite(data, 1, size, stdout) == size;
}

static ibx_status add_assembly(const ibx_program_data *data, json_t *root,
                               ibx_error *err) {
  ibx_blob text = {0};
  ibx_status status = ibx_disasm_program(data, ibx_blob_write, &text, err);
  if (status == IBX_OK) {
    ibx_span span = ibx_blob_get(&text);
    json_object_set_new(root, "assembly",
                        json_stringn((const char *)span.data, span.size));
  }
  ibx_blob_fini(&text);
  return status;
}

static ibx_status dump_json(const ibx_program *program, const dump_args *args,
                            int *out_exit, ibx_error *err) {
  const ibx_program_data *data = ibx_program_get(program);
  char digest[17];
  snprintf(digest, sizeof(digest), "%016" PRIx64, ibx_program_digest(program));
  json_t *entries = json_array();
  ibx_status status = IBX_OK;
  for (size_t i = 0; i < data->entry_count && status == IBX_OK; i++) {
    json_t *entry = entry_json(&data->entries[i]);
    if (args->memory) status = memory_json(&data->entries[i], entry, err);
    json_array_append_new(entries, entry);
  }
  json_t *root = json_pack(
      "{s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:o, s:o}", "model", data->model,
      "target", data->machine->name, "options", data->options, "digest", digest,
      "program_bytes", (json_int_t)data->code_bytes, "weight_bytes",
      (json_int_t)data->weights.size, "nodes", (json_int_t)data->node_count,
      "sections", sections_json(program), "entries", entries);
  if (status == IBX_OK && args->assembly) {
    status = add_assembly(data, root, err);
  }
  if (status != IBX_OK) {
    json_decref(root);
    return status;
  }
  *out_exit = ibx_driver_print_json(root);
  return IBX_OK;
}

static ibx_status dump_text(const ibx_program *program, const dump_args *args,
                            ibx_error *err) {
  const ibx_program_data *data = ibx_program_get(program);
  if (!args->assembly && !args->memory) print_summary(program);
  for (size_t i = 0; i < data->entry_count && args->memory; i++) {
    IBX_TRY(print_memory(&data->entries[i], err));
  }
  if (!args->assembly) return IBX_OK;
  return ibx_disasm_program(data, write_stdout, NULL, err);
}

static int dump(void *user, const char *path) {
  const dump_args *args = user;
  ibx_program *program = NULL;
  ibx_error err = {0};
  int exit_code = 0;
  ibx_status status = ibx_program_open_file(path, &program, &err);
  if (status == IBX_OK) {
    status = args->json ? dump_json(program, args, &exit_code, &err)
                        : dump_text(program, args, &err);
  }
  ibx_program_close(program);
  return status == IBX_OK ? exit_code : ibx_driver_fail(&err);
}

int ibx_cmd_dump(int argc, char **argv) {
  dump_args args = {0};
  const ibx_option rows[] = {
      {"asm", 0, IBX_OPTION_FLAG, &args.assembly, NULL,
       "prints the instructions, as text that assembles again"},
      {"memory", 0, IBX_OPTION_FLAG, &args.memory, NULL,
       "prints the buffers by address"},
      {"json", 0, IBX_OPTION_FLAG, &args.json, NULL, "prints JSON"},
  };
  return ibx_options_run_on_file("dump", rows, IBX_COUNT_OF(rows), argc, argv,
                                 dump, &args);
}

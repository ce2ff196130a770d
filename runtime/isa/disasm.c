// SPDX-License-Identifier: Apache-2.0
//
// Program to assembly text. In: a program, its names of any length. Out: text
// that assembles to the same program, line by line through a sink.

#include "disasm_text.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

typedef struct printer {
  ibx_write_fn write;
  void *user;
  ibx_error *err;
  char *line;
  size_t line_size;
} printer;

typedef void (*add_fn)(ibx_text *t, const void *what);

static ibx_status print(printer *p, add_fn fill, const void *what) {
  ibx_text t = {.out = p->line, .size = p->line_size};
  fill(&t, what);
  ibx_text_add(&t, "\n");
  if (t.len >= p->line_size) {
    // Names have any length: once more, with room for all.
    char *line = realloc(p->line, t.len + 1);
    if (!line) return IBX_FAIL(p->err, OUT_OF_MEMORY, "no memory for a line");
    p->line = line;
    p->line_size = t.len + 1;
    t = (ibx_text){.out = p->line, .size = p->line_size};
    fill(&t, what);
    ibx_text_add(&t, "\n");
  }
  if (p->write(p->user, p->line, t.len)) return IBX_OK;
  return IBX_FAIL(p->err, IO_ERROR, "the disassembly cannot be written");
}

static void add_head(ibx_text *t, const void *what) {
  const ibx_program_data *program = what;
  ibx_text_add(t, ".target %s\n.model ", program->machine->name);
  ibx_text_add_string(t, program->model);
  ibx_text_add(t, "\n.options ");
  ibx_text_add_string(t, program->options);
  ibx_text_add(t, "\n.at none");
}

static void add_node(ibx_text *t, const void *what) {
  const ibx_node_decl *node = what;
  ibx_text_add(t, ".node ");
  ibx_text_add_string(t, node->name);
  ibx_text_add(t, " ");
  ibx_text_add_string(t, node->op);
}

static void add_entry_head(ibx_text *t, const void *what) {
  const ibx_entry *entry = what;
  const ibx_bounds *b = &entry->bounds;
  ibx_text_add(t, "\n.entry ");
  ibx_text_add_string(t, entry->name);
  ibx_text_add(
      t,
      "\n.bounds flops=%" PRIu64 " tensor_ps=%" PRIu64 " hbm_min_bytes=%" PRIu64
      " hbm_ps=%" PRIu64 " engine_ps=%" PRIu64,
      b->flops, b->tensor_ps, b->hbm_min_bytes, b->hbm_ps, b->engine_ps);
  if (entry->cores > 1) ibx_text_add(t, "\n.cores %" PRIu32, entry->cores);
}

static void add_buffer_decl(ibx_text *t, const void *what) {
  static const char *const kinds[] = {
      [IBX_BUFFER_SCRATCH] = "scratch", [IBX_BUFFER_INPUT] = "input",
      [IBX_BUFFER_OUTPUT] = "output",   [IBX_BUFFER_STATE] = "state",
      [IBX_BUFFER_WEIGHT] = "weight",
  };
  const ibx_buffer_decl *buffer = what;
  const ibx_buffer_place *place = &buffer->place;
  ibx_text_add(t, ".buffer ");
  ibx_text_add_string(t, buffer->name);
  ibx_text_add(t, " %s %s%s", ibx_space_name(place->space), kinds[buffer->kind],
               buffer->is_split ? " split" : "");
  if (place->space != IBX_SPACE_HBM || place->partition != 0 ||
      place->partitions != 1) {
    ibx_text_add(t, " partition=%u partitions=%u", place->partition,
                 place->partitions);
  }
  ibx_text_add(t, " offset=%" PRIu64 " bytes=%" PRIu64, place->offset,
               place->bytes);
}

typedef struct tensor_line {
  const char *directive;
  const ibx_tensor_decl *tensor;
} tensor_line;

static void add_tensor(ibx_text *t, const void *what) {
  const tensor_line *line = what;
  const ibx_dtype_info *dtype = ibx_dtype_get((ibx_dtype)line->tensor->dtype);
  ibx_text_add(t, ".%s ", line->directive);
  ibx_text_add_string(t, line->tensor->name);
  ibx_text_add(t, " %s[", dtype ? dtype->name : "none");
  for (size_t d = 0; d < line->tensor->rank; d++) {
    ibx_text_add(t, "%s%" PRIu64, d == 0 ? "" : ", ", line->tensor->shape[d]);
  }
  ibx_text_add(t, "] in %%%u", line->tensor->buffer);
}

static void add_engine(ibx_text *t, const void *what) {
  ibx_text_add(t, "\n.engine %s", (const char *)what);
}

static void add_at(ibx_text *t, const void *what) {
  uint32_t node = *(const uint32_t *)what;
  if (node == IBX_NO_NODE) {
    ibx_text_add(t, ".at none");
  } else {
    ibx_text_add(t, ".at %" PRIu32, node);
  }
}

typedef struct insn_line {
  const ibx_naming *names;
  const ibx_insn *insn;
} insn_line;

static void add_insn_line(ibx_text *t, const void *what) {
  const insn_line *line = what;
  ibx_text_add(t, "  ");
  ibx_text_add_insn(t, line->names, line->insn);
}

static ibx_status print_stream(printer *p, const ibx_naming *names,
                               ibx_engine engine, uint32_t *node) {
  const ibx_stream *stream = &names->entry->streams[engine];
  if (stream->count == 0) return IBX_OK;
  IBX_TRY(print(p, add_engine, ibx_engine_name(engine)));
  for (size_t i = 0; i < stream->count; i++) {
    uint32_t at = stream->nodes ? stream->nodes[i] : IBX_NO_NODE;
    if (at != *node) IBX_TRY(print(p, add_at, &at));
    *node = at;
    insn_line line = {.names = names, .insn = &stream->insns[i]};
    IBX_TRY(print(p, add_insn_line, &line));
  }
  return IBX_OK;
}

typedef struct named {
  const char *name;
  size_t index;
} named;

static int compare_names(const void *a, const void *b) {
  return strcmp(((const named *)a)->name, ((const named *)b)->name);
}

// Equal names stand side by side once sorted.
static void mark_names(const ibx_entry *entry, named *sorted, bool *is_named) {
  for (size_t i = 0; i < entry->buffer_count; i++) {
    const char *name = entry->buffers[i].name;
    sorted[i] = (named){.name = name ? name : "", .index = i};
  }
  qsort(sorted, entry->buffer_count, sizeof(*sorted), compare_names);
  for (size_t i = 0; i < entry->buffer_count; i++) {
    bool is_twin = (i > 0 && compare_names(&sorted[i], &sorted[i - 1]) == 0) ||
                   (i + 1 < entry->buffer_count &&
                    compare_names(&sorted[i], &sorted[i + 1]) == 0);
    is_named[sorted[i].index] = !is_twin && ibx_asm_is_bare(sorted[i].name);
  }
}

static ibx_status print_tensors(printer *p, const char *directive,
                                const ibx_tensor_decl *tensors, size_t count) {
  for (size_t i = 0; i < count; i++) {
    tensor_line line = {.directive = directive, .tensor = &tensors[i]};
    IBX_TRY(print(p, add_tensor, &line));
  }
  return IBX_OK;
}

static ibx_status print_entry(printer *p, const ibx_naming *names,
                              uint32_t *node) {
  const ibx_entry *entry = names->entry;
  IBX_TRY(print(p, add_entry_head, entry));
  for (size_t i = 0; i < entry->buffer_count; i++) {
    IBX_TRY(print(p, add_buffer_decl, &entry->buffers[i]));
  }
  IBX_TRY(print_tensors(p, "input", entry->inputs, entry->input_count));
  IBX_TRY(print_tensors(p, "output", entry->outputs, entry->output_count));
  for (int e = 0; e < IBX_ENGINE_COUNT; e++) {
    IBX_TRY(print_stream(p, names, (ibx_engine)e, node));
  }
  return IBX_OK;
}

static ibx_status print_named_entry(printer *p, const ibx_entry *entry,
                                    uint32_t *node) {
  named *sorted = calloc(entry->buffer_count + 1, sizeof(*sorted));
  bool *is_named = calloc(entry->buffer_count + 1, sizeof(*is_named));
  ibx_status status;
  if (sorted && is_named) {
    mark_names(entry, sorted, is_named);
    ibx_naming names = {.entry = entry, .is_named = is_named};
    status = print_entry(p, &names, node);
  } else {
    status = IBX_FAIL(p->err, OUT_OF_MEMORY, "no memory for names");
  }
  free(sorted);
  free(is_named);
  return status;
}

enum { HEX_LINE = 32 };

static void add_hex(ibx_text *t, const void *what) {
  const ibx_span *bytes = what;
  ibx_text_add(t, ".hex \"");
  for (size_t i = 0; i < bytes->size; i++) {
    ibx_text_add(t, "%02x", bytes->data[i]);
  }
  ibx_text_add(t, "\"");
}

static void add_zero(ibx_text *t, const void *what) {
  ibx_text_add(t, ".zero %zu", *(const size_t *)what);
}

static void add_weights(ibx_text *t, const void *what) {
  (void)what;
  ibx_text_add(t, "\n.weights");
}

static ibx_status print_weights(printer *p, ibx_span weights) {
  if (weights.size == 0) return IBX_OK;
  IBX_TRY(print(p, add_weights, NULL));
  if (!weights.data) return print(p, add_zero, &weights.size);
  for (size_t at = 0; at < weights.size;) {
    size_t zeros = 0;
    while (at + zeros < weights.size && weights.data[at + zeros] == 0) {
      zeros++;
    }
    if (zeros >= HEX_LINE || at + zeros == weights.size) {
      IBX_TRY(print(p, add_zero, &zeros));
      at += zeros;
      continue;
    }
    size_t size = weights.size - at < HEX_LINE ? weights.size - at : HEX_LINE;
    ibx_span line = {.data = weights.data + at, .size = size};
    IBX_TRY(print(p, add_hex, &line));
    at += size;
  }
  return IBX_OK;
}

static ibx_status print_program(printer *p, const ibx_program_data *program) {
  uint32_t node = IBX_NO_NODE;
  IBX_TRY(print(p, add_head, program));
  for (size_t i = 0; i < program->node_count; i++) {
    IBX_TRY(print(p, add_node, &program->nodes[i]));
  }
  IBX_TRY(print_weights(p, program->weights));
  for (size_t i = 0; i < program->entry_count; i++) {
    if (program->entries[i].steps) continue; // its segments follow
    IBX_TRY(print_named_entry(p, &program->entries[i], &node));
  }
  return IBX_OK;
}

ibx_status ibx_disasm_program(const ibx_program_data *program,
                              ibx_write_fn write, void *user, ibx_error *err) {
  printer p = {.write = write, .user = user, .err = err};
  ibx_status status = print_program(&p, program);
  free(p.line);
  return status;
}

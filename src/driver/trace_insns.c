// SPDX-License-Identifier: Apache-2.0
//
// What the trace tells of an instruction: its name, the source node, its text.
// In: a program whose names are any bytes. Out: pieces of JSON, each made when
// its instruction is first met, so that a loop costs one disassembly.

#include "driver/json_text.h"
#include "driver/trace_parts.h"
#include "imbrex/asm.h"

#include <stdlib.h>
#include <string.h>

ibx_status ibx_trace_insns_init(const ibx_program_data *program,
                                const ibx_entry *entry, ibx_trace_insns *insns,
                                ibx_error *err) {
  *insns = (ibx_trace_insns){.program = program, .entry = entry};
  insns->places = calloc(entry->buffer_count + 1, sizeof(*insns->places));
  insns->pieces = calloc(program->machine->dma_engines, sizeof(*insns->pieces));
  bool has_memory = insns->places && insns->pieces;
  for (size_t e = 0; e < IBX_ENGINE_COUNT; e++) {
    insns->rows[e] =
        calloc(entry->streams[e].count + 1, sizeof(*insns->rows[e]));
    if (!insns->rows[e]) has_memory = false;
  }
  if (!has_memory) {
    return IBX_FAIL(err, OUT_OF_MEMORY, "no memory for the instructions");
  }
  for (size_t i = 0; i < entry->buffer_count; i++) {
    insns->places[i] = entry->buffers[i].place;
  }
  return IBX_OK;
}

void ibx_trace_insns_fini(ibx_trace_insns *insns) {
  for (size_t e = 0; e < IBX_ENGINE_COUNT; e++) {
    size_t count = insns->rows[e] ? insns->entry->streams[e].count : 0;
    for (size_t i = 0; i < count; i++) {
      free(insns->rows[e][i].text);
      free(insns->rows[e][i].head);
    }
    free(insns->rows[e]);
  }
  free(insns->places);
  free(insns->pieces);
  *insns = (ibx_trace_insns){0};
}

// The caller frees the text; NULL when memory is short.
static char *disassemble(const ibx_entry *entry, const ibx_insn *insn) {
  size_t size = ibx_disasm_insn(entry, insn, NULL, 0) + 1;
  char *text = malloc(size);
  if (text) ibx_disasm_insn(entry, insn, text, size);
  return text;
}

static const char *or_empty(const char *text) { return text ? text : ""; }

// "conv1 (Conv)"; the caller frees it; NULL when memory is short.
static char *category(const ibx_node_decl *node) {
  if (!node) return strdup("no node");
  const char *name = or_empty(node->name), *op = or_empty(node->op);
  size_t size = strlen(name) + strlen(op) + sizeof(" ()");
  char *text = malloc(size);
  if (text) snprintf(text, size, "%s (%s)", name, op);
  return text;
}

static const ibx_node_decl *node_of(const ibx_trace_insns *insns,
                                    ibx_engine engine, size_t index) {
  uint32_t node = insns->entry->streams[engine].nodes[index];
  if (node >= insns->program->node_count) return NULL;
  return &insns->program->nodes[node];
}

static bool make_head(ibx_trace_insn *row, const char *name,
                      const ibx_node_decl *node) {
  char *cat = category(node);
  size_t size = 0;
  FILE *out = cat ? open_memstream(&row->head, &size) : NULL;
  if (!out) {
    free(cat);
    return false;
  }
  fputs("\"name\":", out);
  ibx_json_text_write(out, name);
  fputs(",\"cat\":", out);
  ibx_json_text_write(out, cat);
  free(cat);
  return fclose(out) == 0;
}

// The text has numbers where several buffers have one name.
static void write_operands(FILE *out, const ibx_entry *entry,
                           const ibx_insn *insn) {
  const char *comma = "";
  fputs(",\"operands\":[", out);
  for (size_t i = 0; i < IBX_OPERANDS; i++) {
    uint32_t buffer = insn->operand[i].buffer;
    if (buffer >= entry->buffer_count) continue;
    fputs(comma, out);
    ibx_json_text_write(out, entry->buffers[buffer].name);
    comma = ",";
  }
  fputc(']', out);
}

static bool make_text(ibx_trace_insn *row, const ibx_entry *entry,
                      const ibx_insn *insn, size_t index,
                      const ibx_node_decl *node) {
  char *text = disassemble(entry, insn);
  size_t size = 0;
  FILE *out = text ? open_memstream(&row->text, &size) : NULL;
  if (!out) {
    free(text);
    return false;
  }
  fprintf(out, "%s,\"args\":{", row->head);
  if (node) {
    fputs("\"node\":", out);
    ibx_json_text_write(out, node->name);
    fputs(",\"op\":", out);
    ibx_json_text_write(out, node->op);
    fputc(',', out);
  }
  fprintf(out, "\"index\":%zu,\"text\":", index);
  ibx_json_text_write(out, text);
  free(text);
  write_operands(out, entry, insn);
  return fclose(out) == 0;
}

static void count_pieces(ibx_trace_insns *insns, ibx_trace_insn *row,
                         const ibx_insn *insn) {
  size_t count = ibx_dma_split(insns->program->machine, insn, insns->places,
                               insns->pieces);
  for (size_t i = 0; i < count; i++) {
    row->bytes += insns->pieces[i].bytes;
  }
  row->pieces = (uint32_t)count;
}

const ibx_trace_insn *ibx_trace_insns_get(ibx_trace_insns *insns,
                                          ibx_engine engine, size_t index) {
  ibx_trace_insn *row = &insns->rows[engine][index];
  if (row->text) return row;
  const ibx_insn *insn = &insns->entry->streams[engine].insns[index];
  const ibx_insn_info *info = ibx_insn_get(insn->opcode);
  const ibx_node_decl *node = node_of(insns, engine, index);
  if (!row->head && !make_head(row, info->name, node)) return NULL;
  if (!make_text(row, insns->entry, insn, index, node)) return NULL;
  if (info->kind == IBX_KIND_DMA) count_pieces(insns, row, insn);
  return row;
}

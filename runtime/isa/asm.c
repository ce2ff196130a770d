// SPDX-License-Identifier: Apache-2.0
//
// The assembler: text to a program. In: text, not trusted, and symbols from
// outside. Out: everything of program.h, in memory that the caller owns. Lines
// are read one after the other; a repetition reads its lines again with
// another value of its counter. The first failure stops the reading, and it
// tells line, column and remedy.

#include "asm_parse.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Repetitions read this many lines at most, so that none runs away.
static const uint64_t max_lines = UINT64_C(1) << 22;
enum { MAX_REPEATS = 16 };

// --- lines ------------------------------------------------------------------------

static void read_block(ibx_asm_parser *p, bool is_repeat);

static void skip_line(ibx_asm_parser *p) {
  while (p->status == IBX_OK && !ibx_asm_at_line_end(p)) {
    ibx_asm_advance(p);
  }
  if (p->token.kind == IBX_TOKEN_LINE) ibx_asm_advance(p);
}

// Moves behind the `.endrepeat` of a repetition that is not read at all.
static void skip_repeat(ibx_asm_parser *p) {
  unsigned open = 1;
  while (p->status == IBX_OK && p->token.kind != IBX_TOKEN_END) {
    bool is_directive = p->token.kind == IBX_TOKEN_DIRECTIVE;
    if (is_directive && ibx_asm_same(p->token.text, "repeat")) open++;
    if (is_directive && ibx_asm_same(p->token.text, "endrepeat")) open--;
    if (open == 0) return;
    skip_line(p);
  }
}

// .repeat NAME, COUNT ... .endrepeat
void ibx_asm_read_repeat(ibx_asm_parser *p) {
  ibx_token at = p->token;
  ibx_token name = ibx_asm_read_symbol_name(p);
  ibx_asm_expect_punct(p, ",");
  int64_t count = ibx_asm_read_range(p, 0, INT32_MAX, "the count");
  if (!ibx_asm_at_line_end(p))
    ibx_asm_fail(p, &p->token, "expected the line's end");
  if (++p->depth > MAX_REPEATS) {
    ibx_asm_fail(p, &at, "repetitions nested more than %d deep", MAX_REPEATS);
  }
  ibx_asm_parser body = *p;
  for (int64_t i = 0; i < count && p->status == IBX_OK; i++) {
    ibx_asm_set_symbol(p, &name, name.text, IBX_SYMBOL_NUMBER, i);
    p->lexer = body.lexer;
    p->token = body.token;
    read_block(p, true);
  }
  if (count == 0) skip_repeat(p);
  if (p->token.kind != IBX_TOKEN_DIRECTIVE) {
    ibx_asm_fail(p, &at, "the repetition has no .endrepeat");
  }
  p->depth--;
  ibx_asm_advance(p);
}

// "file.s:12" is the node of the instructions of line 12, however often a
// repetition reads it.
static void make_line_node(ibx_asm_parser *p) {
  unsigned line = p->token.line;
  if (p->origin != IBX_ORIGIN_LINE) return;
  while (p->line_room <= line) {
    if (!ibx_asm_grow(p, &p->line_nodes, &p->line_room, p->line_room,
                      sizeof(*p->line_nodes))) {
      return;
    }
  }
  if (p->line_nodes[line] == 0) {
    size_t size = strlen(p->name) + 16;
    char *name = ibx_asm_keep_bytes(p, size);
    const char *op = ibx_asm_keep_text(p, &p->token);
    if (!name || !op) return;
    snprintf(name, size, "%s:%u", p->name, line);
    p->line_nodes[line] = ibx_asm_add_node(p, name, op) + 1;
  }
  p->node = p->line_nodes[line] - 1;
}

static void read_line(ibx_asm_parser *p) {
  if (p->token.kind == IBX_TOKEN_DIRECTIVE) {
    ibx_asm_read_directive(p);
  } else if (p->token.kind == IBX_TOKEN_NAME) {
    make_line_node(p);
    ibx_asm_read_insn(p);
  } else if (!ibx_asm_at_line_end(p)) {
    ibx_asm_fail(p, &p->token, "expected a directive or an instruction");
  }
  if (!ibx_asm_at_line_end(p)) {
    ibx_asm_fail(p, &p->token, "expected the end of the line");
  }
  if (p->token.kind == IBX_TOKEN_LINE) ibx_asm_advance(p);
}

// Reads to the end, or up to the `.endrepeat` of the repetition.
static void read_block(ibx_asm_parser *p, bool is_repeat) {
  while (p->status == IBX_OK && p->token.kind != IBX_TOKEN_END) {
    bool is_end = p->token.kind == IBX_TOKEN_DIRECTIVE &&
                  ibx_asm_same(p->token.text, "endrepeat");
    if (is_end && is_repeat) return;
    if (is_end) {
      ibx_asm_fail(p, &p->token, ".endrepeat ends no repetition");
    } else if (is_repeat && p->lines_left-- == 0) {
      ibx_asm_fail(p, &p->token, "repetitions give more than 2^22 lines");
    } else {
      read_line(p);
    }
  }
}

// --- the whole program ---------------------------------------------------------------

static void add_defines(ibx_asm_parser *p, const ibx_asm_define *defines,
                        size_t count) {
  ibx_token nowhere = {.line = 0};
  for (size_t i = 0; i < count && p->status == IBX_OK; i++) {
    ibx_str name = {.data = defines[i].name, .len = strlen(defines[i].name)};
    ibx_asm_set_symbol(p, &nowhere, name, IBX_SYMBOL_NUMBER, defines[i].value);
    if (p->status == IBX_OK) p->symbols[p->symbol_count - 1].is_fixed = true;
  }
}

static void check_nodes(ibx_asm_parser *p, const ibx_entry *entry) {
  for (int e = 0; e < IBX_ENGINE_COUNT; e++) {
    for (size_t i = 0; i < entry->streams[e].count; i++) {
      uint32_t node = entry->streams[e].nodes[i];
      if (node == IBX_NO_NODE || node < p->program->data.node_count) continue;
      ibx_asm_fail(p, &p->token,
                   ".at %" PRIu32 " names a node that no .node "
                   "declares",
                   node);
      return;
    }
  }
}

static void finish(ibx_asm_parser *p) {
  ibx_asm_program *program = p->program;
  ibx_program_data *data = &program->data;
  if (program->entry_count == 0) {
    ibx_asm_fail(p, &p->token, "the program has no entry; add .entry NAME");
  }
  if (p->status != IBX_OK) return;
  data->entries = calloc(program->entry_count, sizeof(*data->entries));
  if (!data->entries) {
    ibx_asm_no_memory(p);
    return;
  }
  for (size_t i = 0; i < program->entry_count; i++) {
    data->entries[i] = program->entries[i].decl;
    check_nodes(p, &data->entries[i]);
  }
  data->entry_count = program->entry_count;
  data->weights =
      (ibx_span){.data = program->weights, .size = program->weight_count};
  if (!data->options) data->options = "";
}

static void parse(ibx_asm_parser *p, const ibx_asm_define *defines,
                  size_t define_count) {
  ibx_token name = {.text = {.data = p->name, .len = strlen(p->name)}};
  p->program->data.machine = ibx_machine_find("ibx3");
  p->program->data.model = ibx_asm_keep_text(p, &name);
  add_defines(p, defines, define_count);
  if (p->status == IBX_OK) ibx_asm_advance(p);
  read_block(p, false);
  finish(p);
}

ibx_status ibx_asm_parse(ibx_str text, const char *name,
                         const ibx_asm_define *defines, size_t define_count,
                         ibx_asm_program **out_program, ibx_error *err) {
  *out_program = NULL;
  ibx_asm_program *program = calloc(1, sizeof(*program));
  if (!program) return IBX_FAIL(err, OUT_OF_MEMORY, "no memory to assemble");
  ibx_asm_parser p = {.program = program,
                      .name = name,
                      .lexer = {.text = text, .line = 1},
                      .err = err,
                      .engine = -1,
                      .node = IBX_NO_NODE,
                      .lines_left = max_lines};
  parse(&p, defines, define_count);
  free(p.symbols);
  free(p.line_nodes);
  if (p.status != IBX_OK) {
    ibx_asm_destroy(program);
    return p.status;
  }
  *out_program = program;
  return IBX_OK;
}

const ibx_program_data *ibx_asm_get(const ibx_asm_program *program) {
  return &program->data;
}

static void free_entry(const ibx_entry *entry) {
  free(entry->inputs);
  free(entry->outputs);
  free(entry->buffers);
  for (int e = 0; e < IBX_ENGINE_COUNT; e++) {
    free(entry->streams[e].insns);
    free(entry->streams[e].nodes);
  }
}

void ibx_asm_destroy(ibx_asm_program *program) {
  if (!program) return;
  for (size_t i = 0; i < program->entry_count; i++) {
    free_entry(&program->entries[i].decl);
  }
  free(program->entries);
  free(program->data.entries);
  free(program->data.nodes);
  free(program->weights);
  while (program->texts) {
    ibx_asm_block *before = program->texts->before;
    free(program->texts);
    program->texts = before;
  }
  free(program);
}

// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_ASM_PARSE_H
#define IBX_ASM_PARSE_H

/// \file
/// The state of the assembler, shared by its parts: asm_state.c has failures,
/// tokens and names, asm_expr.c reads expressions, asm_buffer.c buffers,
/// asm_directive.c the other directives, asm_insn.c instructions, and asm.c the
/// lines.

#include "asm_lex.h"
#include "imbrex/asm.h"

/// An integer that is affine in the loop registers. Plain integers have no
/// coefficients.
typedef struct ibx_asm_value {
  int64_t constant;
  int64_t loop[IBX_LOOP_REGISTERS];
} ibx_asm_value;

typedef enum ibx_symbol_kind {
  IBX_SYMBOL_NUMBER,
  IBX_SYMBOL_SEMAPHORE,
  IBX_SYMBOL_REGISTER
} ibx_symbol_kind;

typedef struct ibx_symbol {
  ibx_str name;
  int64_t value;
  ibx_symbol_kind kind;
  bool is_fixed; ///< set from outside
} ibx_symbol;

/// An entry while it grows: its arrays are those of `decl`.
typedef struct ibx_asm_entry {
  ibx_entry decl;
  size_t input_room, output_room, buffer_room;
  size_t insn_room[IBX_ENGINE_COUNT], node_room[IBX_ENGINE_COUNT];
  uint64_t next_offset[IBX_SPACE_COUNT]; ///< behind the last buffer
} ibx_asm_entry;

typedef struct ibx_asm_block {
  struct ibx_asm_block *before;
} ibx_asm_block;

struct ibx_asm_program {
  ibx_program_data data; ///< `entries` is made when all is read
  ibx_asm_entry *entries;
  size_t entry_count, entry_room;
  size_t node_room;
  uint8_t *weights;
  size_t weight_count, weight_room;
  ibx_asm_block *texts; ///< names
};

/// Whose node the next instruction gets.
typedef enum ibx_asm_origin {
  IBX_ORIGIN_LINE, ///< that of its source line
  IBX_ORIGIN_NONE,
  IBX_ORIGIN_NODE ///< the one that `.at` named
} ibx_asm_origin;

typedef struct ibx_asm_parser {
  ibx_asm_program *program;
  ibx_asm_entry *entry; ///< the open one, or NULL
  const char *name;
  ibx_lexer lexer;
  ibx_token token; ///< the one that is read next
  ibx_symbol *symbols;
  size_t symbol_count, symbol_room;
  ibx_error *err;
  ibx_status status; ///< of the first failure; nothing is read after it
  int engine;        ///< of `.engine`, or -1
  ibx_asm_origin origin;
  uint32_t node;
  uint32_t *line_nodes; ///< node of each line, plus 1; 0: none yet
  size_t line_room;
  unsigned next_semaphore;
  unsigned depth; ///< of parentheses and repetitions
  uint64_t lines_left;
} ibx_asm_parser;

/// Records the first failure, at `token`; later ones are dropped.
void ibx_asm_fail(ibx_asm_parser *p, const ibx_token *token, const char *format,
                  ...) IBX_PRINTF(3, 4);
void ibx_asm_no_memory(ibx_asm_parser *p);

/// Moves to the next token.
void ibx_asm_advance(ibx_asm_parser *p);
bool ibx_asm_is_punct(const ibx_asm_parser *p, const char *text);
/// Takes the punctuation when it is next.
bool ibx_asm_take_punct(ibx_asm_parser *p, const char *text);
/// Takes it, or fails.
bool ibx_asm_expect_punct(ibx_asm_parser *p, const char *text);
/// Whether the next token is that name; ibx_asm_take_name() takes it.
bool ibx_asm_is_name(const ibx_asm_parser *p, const char *text);
bool ibx_asm_take_name(ibx_asm_parser *p, const char *text);
bool ibx_asm_same(ibx_str a, const char *text);

bool ibx_asm_at_line_end(const ibx_asm_parser *p);

/// Memory that lives as long as the program. NULL after a failure.
char *ibx_asm_keep_bytes(ibx_asm_parser *p, size_t size);
/// -1 when it is none.
int ibx_asm_hex_digit(char c);

/// Sets a symbol; fails when the name already means something of another kind.
/// `at` is where a failure is told.
void ibx_asm_set_symbol(ibx_asm_parser *p, const ibx_token *at, ibx_str name,
                        ibx_symbol_kind kind, int64_t value);
/// Reads a name that a symbol can have.
ibx_token ibx_asm_read_symbol_name(ibx_asm_parser *p);
/// Lends the symbol; NULL when there is none.
ibx_symbol *ibx_asm_find_symbol(const ibx_asm_parser *p, ibx_str name);

// Expressions. All fail with a message and give 0 then.

ibx_asm_value ibx_asm_read_affine(ibx_asm_parser *p);
int64_t ibx_asm_read_integer(ibx_asm_parser *p);
/// Of at least `least` and at most `most`; `what` names it in the message.
int64_t ibx_asm_read_range(ibx_asm_parser *p, int64_t least, int64_t most,
                           const char *what);
/// fp32: a number, an integer expression, inf, or bits(N).
float ibx_asm_read_float(ibx_asm_parser *p);
/// A semaphore: s3, a name, or a name with an index.
uint8_t ibx_asm_read_semaphore(ibx_asm_parser *p);
/// `value` from min to max of a list in parentheses, right-aligned in `out`.
void ibx_asm_read_list(ibx_asm_parser *p, int64_t least, int64_t most,
                       int64_t out[IBX_DIMS], int64_t fill, const char *what);

/// Copies a name, without its escapes where it was a string. NULL after a
/// failure.
const char *ibx_asm_keep_text(ibx_asm_parser *p, const ibx_token *token);
/// Reads a name or a string.
const char *ibx_asm_read_name(ibx_asm_parser *p, const char *what);
/// Index of a buffer of the open entry by name, %index or -.
uint32_t ibx_asm_read_buffer(ibx_asm_parser *p);
/// A dtype by its name.
uint8_t ibx_asm_read_dtype(ibx_asm_parser *p);

/// Makes room for one more element in a growing array. False after a failure.
bool ibx_asm_grow(ibx_asm_parser *p, void *array, size_t *room, size_t count,
                  size_t element_bytes);

// Directives: each reads what stands behind its name.

void ibx_asm_read_directive(ibx_asm_parser *p);
void ibx_asm_read_repeat(ibx_asm_parser *p);
void ibx_asm_read_buffer_decl(ibx_asm_parser *p);
void ibx_asm_read_input(ibx_asm_parser *p);
void ibx_asm_read_output(ibx_asm_parser *p);
void ibx_asm_read_state(ibx_asm_parser *p);

/// Adds a source node; returns its number.
uint32_t ibx_asm_add_node(ibx_asm_parser *p, const char *name, const char *op);

/// Reads an instruction up to the end of its line and adds it to the stream of
/// the open engine.
void ibx_asm_read_insn(ibx_asm_parser *p);

#endif

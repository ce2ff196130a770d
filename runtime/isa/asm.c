// SPDX-License-Identifier: Apache-2.0
//
// The assembler: text to a program. In: text, not trusted, and symbols from
// outside. Out: everything of program.h, in memory that the caller owns. Lines
// are read one after the other; a repetition reads its lines again with
// another value of its counter. The first failure stops the reading, and it
// tells line, column and remedy.

#include "asm_parse.h"
#include "asm_text.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Repetitions read this many lines at most, so that none runs away.
static const uint64_t max_lines = UINT64_C(1) << 22;
enum { MAX_REPEATS = 16 };

// --- failures and memory ----------------------------------------------------------

void ibx_asm_fail(ibx_asm_parser *p, const ibx_token *token, const char *format,
                  ...) {
  char message[IBX_ERROR_MESSAGE_BYTES];
  if (p->status != IBX_OK) return;
  // A character that makes no token is the cause of all that follows.
  if (token->kind == IBX_TOKEN_WRONG) {
    snprintf(message, sizeof(message), "%.*s", (int)token->text.len,
             token->text.data);
  } else {
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof(message), format, args);
    va_end(args);
  }
  p->status = IBX_FAIL(p->err, INVALID_PROGRAM, "%s:%u:%u: %s", p->name,
                       token->line, token->column, message);
}

void ibx_asm_no_memory(ibx_asm_parser *p) {
  if (p->status != IBX_OK) return;
  p->status =
      IBX_FAIL(p->err, OUT_OF_MEMORY, "%s: no memory to assemble it", p->name);
}

bool ibx_asm_grow(ibx_asm_parser *p, void *array, size_t *room, size_t count,
                  size_t element_bytes) {
  if (count < *room) return true;
  size_t more = *room < 8 ? 8 : 2 * *room;
  void *old;
  memcpy(&old, array, sizeof(old));
  void *new = more > SIZE_MAX / element_bytes
                  ? NULL
                  : realloc(old, more * element_bytes);
  if (!new) {
    ibx_asm_no_memory(p);
    return false;
  }
  memset((char *)new + *room *element_bytes, 0, (more - *room) * element_bytes);
  memcpy(array, &new, sizeof(new));
  *room = more;
  return true;
}

static char *keep_bytes(ibx_asm_parser *p, size_t size) {
  ibx_asm_block *block = malloc(sizeof(*block) + size);
  if (!block) {
    ibx_asm_no_memory(p);
    return NULL;
  }
  block->before = p->program->texts;
  p->program->texts = block;
  return (char *)(block + 1);
}

// --- tokens -----------------------------------------------------------------------

void ibx_asm_advance(ibx_asm_parser *p) {
  p->token = ibx_lexer_next(&p->lexer);
  if (p->token.kind == IBX_TOKEN_WRONG) ibx_asm_fail(p, &p->token, "%s", "");
}

bool ibx_asm_same(ibx_str a, const char *text) {
  return strlen(text) == a.len && memcmp(a.data, text, a.len) == 0;
}

bool ibx_asm_is_punct(const ibx_asm_parser *p, const char *text) {
  return p->token.kind == IBX_TOKEN_PUNCT && ibx_asm_same(p->token.text, text);
}

bool ibx_asm_take_punct(ibx_asm_parser *p, const char *text) {
  if (p->status != IBX_OK || !ibx_asm_is_punct(p, text)) return false;
  ibx_asm_advance(p);
  return true;
}

bool ibx_asm_expect_punct(ibx_asm_parser *p, const char *text) {
  if (ibx_asm_take_punct(p, text)) return true;
  ibx_asm_fail(p, &p->token, "expected '%s'", text);
  return false;
}

bool ibx_asm_is_name(const ibx_asm_parser *p, const char *text) {
  return p->token.kind == IBX_TOKEN_NAME && ibx_asm_same(p->token.text, text);
}

bool ibx_asm_take_name(ibx_asm_parser *p, const char *text) {
  if (p->status != IBX_OK || !ibx_asm_is_name(p, text)) return false;
  ibx_asm_advance(p);
  return true;
}

static bool at_line_end(const ibx_asm_parser *p) {
  return p->token.kind == IBX_TOKEN_LINE || p->token.kind == IBX_TOKEN_END;
}

// --- names ------------------------------------------------------------------------

static int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

// Reads the escape behind a backslash at `*at`; -1 when there is none such.
static int unescape(const char *text, size_t len, size_t *at) {
  char c = text[(*at)++];
  if (c == '"' || c == '\\') return (unsigned char)c;
  if (c == 'n') return '\n';
  if (c == 't') return '\t';
  if (c != 'x' || len - *at < 2) return -1;
  int high = hex_digit(text[*at]);
  int low = hex_digit(text[*at + 1]);
  *at += 2;
  return high < 0 || low < 0 || (high == 0 && low == 0) ? -1 : high * 16 + low;
}

const char *ibx_asm_keep_text(ibx_asm_parser *p, const ibx_token *token) {
  const char *text = token->text.data;
  size_t len = token->text.len;
  size_t used = 0;
  char *copy = keep_bytes(p, len + 1);
  if (!copy) return NULL;
  for (size_t at = 0; at < len;) {
    int byte = (unsigned char)text[at];
    if (token->kind == IBX_TOKEN_STRING && byte == '\\' && at + 1 < len) {
      at++;
      byte = unescape(text, len, &at);
    } else {
      at++;
    }
    if (byte <= 0) {
      ibx_asm_fail(p, token,
                   "wrong escape in the string; there are \\\" \\\\ "
                   "\\n \\t and \\x01 to \\xff");
      return NULL;
    }
    copy[used++] = (char)byte;
  }
  copy[used] = 0;
  return copy;
}

const char *ibx_asm_read_name(ibx_asm_parser *p, const char *what) {
  ibx_token token = p->token;
  if (token.kind != IBX_TOKEN_NAME && token.kind != IBX_TOKEN_STRING) {
    ibx_asm_fail(p, &token, "expected %s", what);
    return NULL;
  }
  ibx_asm_advance(p);
  return ibx_asm_keep_text(p, &token);
}

ibx_symbol *ibx_asm_find_symbol(const ibx_asm_parser *p, ibx_str name) {
  for (size_t i = p->symbol_count; i-- > 0;) {
    ibx_symbol *symbol = &p->symbols[i];
    if (symbol->name.len == name.len &&
        memcmp(symbol->name.data, name.data, name.len) == 0) {
      return symbol;
    }
  }
  return NULL;
}

static void set_symbol(ibx_asm_parser *p, const ibx_token *at, ibx_str name,
                       ibx_symbol_kind kind, int64_t value) {
  ibx_symbol *symbol = ibx_asm_find_symbol(p, name);
  if (symbol && symbol->is_fixed && kind == IBX_SYMBOL_NUMBER) return;
  if (symbol && symbol->kind != kind) {
    ibx_asm_fail(p, at,
                 "'%.*s' already names something else; take another "
                 "name",
                 (int)name.len, name.data);
    return;
  }
  if (symbol) {
    symbol->value = value;
    return;
  }
  if (!ibx_asm_grow(p, &p->symbols, &p->symbol_room, p->symbol_count,
                    sizeof(*p->symbols))) {
    return;
  }
  p->symbols[p->symbol_count++] =
      (ibx_symbol){.name = name, .value = value, .kind = kind};
}

// A name that a symbol can have.
static ibx_token read_symbol_name(ibx_asm_parser *p) {
  ibx_token token = p->token;
  if (token.kind != IBX_TOKEN_NAME) {
    ibx_asm_fail(p, &token, "expected a name");
  } else if (ibx_asm_is_reserved(token.text.data, token.text.len)) {
    ibx_asm_fail(p, &token,
                 "'%.*s' is a word of the language; take another "
                 "name",
                 (int)token.text.len, token.text.data);
  }
  ibx_asm_advance(p);
  return token;
}

// --- buffers ----------------------------------------------------------------------

static int find_buffer(const ibx_asm_parser *p, const char *name) {
  // The last of two buffers with one name; disassembly uses %index there.
  for (size_t i = p->entry->decl.buffer_count; i-- > 0;) {
    if (strcmp(p->entry->decl.buffers[i].name, name) == 0) return (int)i;
  }
  return -1;
}

static uint16_t read_buffer_index(ibx_asm_parser *p) {
  ibx_token at = p->token;
  if (at.kind != IBX_TOKEN_INTEGER || at.value < 0 ||
      (uint64_t)at.value >= p->entry->decl.buffer_count) {
    ibx_asm_fail(p, &at, "no such buffer; the entry has %zu",
                 p->entry->decl.buffer_count);
    return IBX_NO_BUFFER;
  }
  ibx_asm_advance(p);
  return (uint16_t)at.value;
}

uint16_t ibx_asm_read_buffer(ibx_asm_parser *p) {
  ibx_token at = p->token;
  if (ibx_asm_take_punct(p, "-")) return IBX_NO_BUFFER;
  if (ibx_asm_take_punct(p, "%")) return read_buffer_index(p);
  if (at.kind == IBX_TOKEN_NAME) {
    // The common case, without a copy of the name.
    const ibx_buffer_decl *buffers = p->entry->decl.buffers;
    for (size_t i = p->entry->decl.buffer_count; i-- > 0;) {
      if (!ibx_asm_same(at.text, buffers[i].name)) continue;
      ibx_asm_advance(p);
      return (uint16_t)i;
    }
  } else if (at.kind == IBX_TOKEN_STRING) {
    const char *name = ibx_asm_read_name(p, "a buffer");
    int index = name ? find_buffer(p, name) : -1;
    if (index >= 0) return (uint16_t)index;
  }
  ibx_asm_fail(p, &at, "'%.*s' is no buffer; declare it with .buffer",
               (int)(at.text.len < 60 ? at.text.len : 60), at.text.data);
  return IBX_NO_BUFFER;
}

uint8_t ibx_asm_read_dtype(ibx_asm_parser *p) {
  ibx_token at = p->token;
  if (at.kind == IBX_TOKEN_INTEGER) {
    return (uint8_t)ibx_asm_read_range(p, 0, UINT8_MAX, "the element type");
  }
  for (int i = 0; i < IBX_DTYPE_COUNT && at.kind == IBX_TOKEN_NAME; i++) {
    const ibx_dtype_info *info = ibx_dtype_get((ibx_dtype)i);
    if (!info || !ibx_asm_same(at.text, info->name)) continue;
    ibx_asm_advance(p);
    return (uint8_t)i;
  }
  ibx_asm_fail(p, &at, "expected an element type, such as f32 or bf16");
  return IBX_DTYPE_NONE;
}

static int read_choice(ibx_asm_parser *p, const char *const *names,
                       size_t count) {
  for (size_t i = 0; i < count; i++) {
    if (ibx_asm_take_name(p, names[i])) return (int)i;
  }
  return -1;
}

static uint64_t align_up(uint64_t value, uint64_t step) {
  return value > UINT64_MAX - step ? value : (value + step - 1) / step * step;
}

static bool read_place_word(ibx_asm_parser *p, ibx_buffer_place *place,
                            bool *has_offset) {
  if (ibx_asm_take_name(p, "partition")) {
    ibx_asm_expect_punct(p, "=");
    place->partition =
        (uint8_t)ibx_asm_read_range(p, 0, UINT8_MAX, "the first partition");
  } else if (ibx_asm_take_name(p, "partitions")) {
    ibx_asm_expect_punct(p, "=");
    place->partitions =
        (uint16_t)ibx_asm_read_range(p, 0, UINT16_MAX, "partitions");
  } else if (ibx_asm_take_name(p, "offset")) {
    ibx_asm_expect_punct(p, "=");
    place->offset = (uint64_t)ibx_asm_read_range(p, 0, INT64_MAX, "the offset");
    *has_offset = true;
  } else if (ibx_asm_take_name(p, "bytes")) {
    ibx_asm_expect_punct(p, "=");
    place->bytes = (uint64_t)ibx_asm_read_range(p, 0, INT64_MAX, "the size");
  } else {
    return false;
  }
  return true;
}

// Buffers without an offset stand one behind the other, PSUM on whole banks.
static void place_buffer(ibx_asm_parser *p, ibx_buffer_decl *buffer,
                         bool has_offset) {
  ibx_buffer_place *place = &buffer->place;
  if (buffer->kind == IBX_BUFFER_WEIGHT) return;
  uint64_t *next = &p->entry->next_offset[place->space];
  uint64_t step = place->space == IBX_SPACE_PSUM
                      ? p->program->data.machine->psum_bank_bytes
                      : IBX_WORD_BYTES;
  if (!has_offset) place->offset = align_up(*next, step);
  uint64_t end;
  if (!ibx_add_size(place->offset, place->bytes, &end)) end = UINT64_MAX;
  if (end > *next) *next = end;
}

static int add_buffer(ibx_asm_parser *p, const ibx_buffer_decl *buffer) {
  ibx_entry *entry = &p->entry->decl;
  if (entry->buffer_count >= IBX_NO_BUFFER) {
    ibx_asm_fail(p, &p->token, "more than %d buffers", IBX_NO_BUFFER - 1);
    return -1;
  }
  if (!ibx_asm_grow(p, &entry->buffers, &p->entry->buffer_room,
                    entry->buffer_count, sizeof(*entry->buffers))) {
    return -1;
  }
  entry->buffers[entry->buffer_count] = *buffer;
  return (int)entry->buffer_count++;
}

// .buffer NAME SPACE [KIND] [partition= partitions= offset= bytes=]
static void read_buffer_decl(ibx_asm_parser *p) {
  static const char *const spaces[] = {"hbm", "sbuf", "psum"};
  static const char *const kinds[] = {"scratch", "input", "output", "state",
                                      "weight"};
  ibx_token at = p->token;
  ibx_buffer_decl buffer = {.name = ibx_asm_read_name(p, "a buffer name")};
  int space = read_choice(p, spaces, IBX_COUNT_OF(spaces));
  int kind = read_choice(p, kinds, IBX_COUNT_OF(kinds));
  bool has_offset = false;
  if (space < 0) ibx_asm_fail(p, &p->token, "expected hbm, sbuf or psum");
  if (p->status != IBX_OK) return;
  buffer.place.space = (ibx_space)space;
  buffer.place.partitions = space == IBX_SPACE_HBM ? 1 : IBX_PARTITIONS;
  buffer.kind = kind < 0 ? IBX_BUFFER_SCRATCH : (ibx_buffer_kind)kind;
  while (read_place_word(p, &buffer.place, &has_offset)) {
    continue;
  }
  if (buffer.place.bytes == 0) {
    ibx_asm_fail(p, &at, "buffer '%s' has no size; give bytes=", buffer.name);
  }
  if (p->status != IBX_OK) return;
  place_buffer(p, &buffer, has_offset);
  add_buffer(p, &buffer);
}

// --- tensors ----------------------------------------------------------------------

static void read_shape(ibx_asm_parser *p, ibx_tensor_decl *tensor) {
  tensor->dtype = ibx_asm_read_dtype(p);
  ibx_asm_expect_punct(p, "[");
  if (ibx_asm_take_punct(p, "]")) return;
  do {
    if (tensor->rank == IBX_MAX_RANK) {
      ibx_asm_fail(p, &p->token, "more than %d dimensions", IBX_MAX_RANK);
      return;
    }
    tensor->shape[tensor->rank++] =
        (uint64_t)ibx_asm_read_range(p, 0, INT64_MAX, "a dimension");
  } while (p->status == IBX_OK && ibx_asm_take_punct(p, ","));
  ibx_asm_expect_punct(p, "]");
}

static uint64_t tensor_bytes(ibx_asm_parser *p, const ibx_token *at,
                             const ibx_tensor_decl *tensor) {
  uint64_t bytes = ibx_dtype_bytes((ibx_dtype)tensor->dtype);
  for (size_t d = 0; d < tensor->rank; d++) {
    if (!ibx_mul_size(bytes, tensor->shape[d], &bytes)) {
      ibx_asm_fail(p, at, "the tensor has more than 2^64 bytes");
      return 0;
    }
  }
  return bytes;
}

static void add_tensor(ibx_asm_parser *p, ibx_tensor_decl **tensors,
                       size_t *room, size_t *count,
                       const ibx_tensor_decl *tensor) {
  if (!ibx_asm_grow(p, tensors, room, *count, sizeof(**tensors))) return;
  (*tensors)[(*count)++] = *tensor;
}

// .input|.output|.state NAME dtype[shape] [in BUFFER]; without a buffer it gets
// one of its own name.
static void read_tensor(ibx_asm_parser *p, ibx_buffer_kind kind) {
  ibx_token at = p->token;
  ibx_tensor_decl tensor = {.name = ibx_asm_read_name(p, "a tensor name")};
  read_shape(p, &tensor);
  uint64_t bytes = tensor_bytes(p, &at, &tensor);
  if (p->status != IBX_OK) return;
  if (ibx_asm_take_name(p, "in")) {
    tensor.buffer = ibx_asm_read_buffer(p);
  } else {
    ibx_buffer_decl buffer = {.name = tensor.name, .kind = kind};
    buffer.place = (ibx_buffer_place){
        .space = IBX_SPACE_HBM, .partitions = 1, .bytes = bytes};
    place_buffer(p, &buffer, false);
    tensor.buffer = (uint16_t)add_buffer(p, &buffer);
  }
  ibx_entry *entry = &p->entry->decl;
  if (p->status == IBX_OK && kind != IBX_BUFFER_OUTPUT) {
    add_tensor(p, &entry->inputs, &p->entry->input_room, &entry->input_count,
               &tensor);
  }
  if (p->status == IBX_OK && kind != IBX_BUFFER_INPUT) {
    add_tensor(p, &entry->outputs, &p->entry->output_room, &entry->output_count,
               &tensor);
  }
}

static void read_input(ibx_asm_parser *p) { read_tensor(p, IBX_BUFFER_INPUT); }
static void read_output(ibx_asm_parser *p) {
  read_tensor(p, IBX_BUFFER_OUTPUT);
}
static void read_state(ibx_asm_parser *p) { read_tensor(p, IBX_BUFFER_STATE); }

// --- weights ----------------------------------------------------------------------

static uint8_t *add_weight_bytes(ibx_asm_parser *p, size_t size) {
  ibx_asm_program *program = p->program;
  while (program->weight_room - program->weight_count < size) {
    if (!ibx_asm_grow(p, &program->weights, &program->weight_room,
                      program->weight_room, 1)) {
      return NULL;
    }
  }
  uint8_t *bytes = program->weights + program->weight_count;
  program->weight_count += size;
  return bytes;
}

// .hex "00ff": bytes.
static void read_hex(ibx_asm_parser *p) {
  ibx_token at = p->token;
  if (at.kind != IBX_TOKEN_STRING || at.text.len % 2 != 0) {
    ibx_asm_fail(p, &at, "expected pairs of hexadecimal digits in quotes");
    return;
  }
  ibx_asm_advance(p);
  uint8_t *bytes = add_weight_bytes(p, at.text.len / 2);
  for (size_t i = 0; bytes && i < at.text.len; i += 2) {
    int high = hex_digit(at.text.data[i]);
    int low = hex_digit(at.text.data[i + 1]);
    if (high < 0 || low < 0) {
      ibx_asm_fail(p, &at, "digit pair %zu is not hexadecimal", i / 2);
      return;
    }
    bytes[i / 2] = (uint8_t)(high * 16 + low);
  }
}

// .zero N: bytes of zero.
static void read_zero(ibx_asm_parser *p) {
  int64_t size = ibx_asm_read_range(p, 0, INT64_C(1) << 32, "the size");
  if (p->status == IBX_OK) add_weight_bytes(p, (size_t)size);
}

static void store_whole(uint8_t *bytes, size_t size, int64_t value) {
  for (size_t i = 0; i < size; i++) {
    bytes[i] = (uint8_t)((uint64_t)value >> 8 * i);
  }
}

static void read_element(ibx_asm_parser *p, ibx_dtype dtype) {
  const ibx_dtype_info *info = ibx_dtype_get(dtype);
  bool is_float = info->kind == IBX_DTYPE_KIND_FLOAT && dtype != IBX_DTYPE_F64;
  float number = is_float ? ibx_asm_read_float(p) : 0.0f;
  int64_t whole = is_float ? 0 : ibx_asm_read_integer(p);
  size_t size = info->bits / 8;
  uint8_t *bytes = p->status == IBX_OK ? add_weight_bytes(p, size) : NULL;
  if (!bytes) return;
  if (is_float) {
    ibx_dtype_store_f32(dtype, &number, bytes, 1);
  } else {
    store_whole(bytes, size, whole);
  }
}

// .data dtype VALUE, VALUE, ...: elements.
static void read_data(ibx_asm_parser *p) {
  ibx_token at = p->token;
  ibx_dtype dtype = (ibx_dtype)ibx_asm_read_dtype(p);
  if (ibx_dtype_bytes(dtype) == 0 || dtype == IBX_DTYPE_F64) {
    ibx_asm_fail(p, &at, "no data of this type; use .hex");
  }
  do {
    if (p->status == IBX_OK) read_element(p, dtype);
  } while (p->status == IBX_OK && ibx_asm_take_punct(p, ","));
}

// --- the other directives ----------------------------------------------------------

static void read_target(ibx_asm_parser *p) {
  ibx_token at = p->token;
  const char *name = ibx_asm_read_name(p, "ibx2, ibx3 or ibx4");
  const ibx_machine *machine = ibx_machine_find(name ? name : "");
  if (!machine) {
    ibx_asm_fail(p, &at, "no such target; there are ibx2, ibx3 and ibx4");
  } else {
    p->program->data.machine = machine;
  }
}

static void read_model(ibx_asm_parser *p) {
  p->program->data.model = ibx_asm_read_name(p, "the model's name");
}

static void read_options(ibx_asm_parser *p) {
  p->program->data.options = ibx_asm_read_name(p, "the options in quotes");
}

// .equ NAME = VALUE
static void read_equ(ibx_asm_parser *p) {
  ibx_token name = read_symbol_name(p);
  ibx_asm_expect_punct(p, "=");
  int64_t value = ibx_asm_read_integer(p);
  if (p->status == IBX_OK) {
    set_symbol(p, &name, name.text, IBX_SYMBOL_NUMBER, value);
  }
}

// .require VALUE "what must hold"
static void read_require(ibx_asm_parser *p) {
  ibx_token at = p->token;
  int64_t value = ibx_asm_read_integer(p);
  const char *text = ibx_asm_read_name(p, "the reason in quotes");
  if (value == 0 && text) ibx_asm_fail(p, &at, "%s", text);
}

// .semaphore NAME [FIRST], or NAME[COUNT]
static void read_semaphore_decl(ibx_asm_parser *p) {
  ibx_token name = read_symbol_name(p);
  int64_t count = 1;
  if (ibx_asm_take_punct(p, "[")) {
    count = ibx_asm_read_range(p, 1, IBX_SEMAPHORES, "the count");
    ibx_asm_expect_punct(p, "]");
  }
  int64_t first = p->next_semaphore;
  if (!at_line_end(p)) {
    first = ibx_asm_read_range(p, 0, IBX_SEMAPHORES - 1, "the semaphore");
  }
  if (p->status != IBX_OK) return;
  if (first + count > IBX_SEMAPHORES) {
    ibx_asm_fail(p, &name, "the core has %d semaphores, this needs %lld",
                 IBX_SEMAPHORES, (long long)(first + count));
    return;
  }
  set_symbol(p, &name, name.text, IBX_SYMBOL_SEMAPHORE, first);
  p->next_semaphore = (unsigned)(first + count);
}

// .register NAME NUMBER
static void read_register_decl(ibx_asm_parser *p) {
  ibx_token name = read_symbol_name(p);
  int64_t value = ibx_asm_read_range(p, 0, IBX_REGISTERS - 1, "the register");
  if (p->status == IBX_OK) {
    set_symbol(p, &name, name.text, IBX_SYMBOL_REGISTER, value);
  }
}

static uint32_t add_node(ibx_asm_parser *p, const char *name, const char *op) {
  ibx_program_data *data = &p->program->data;
  if (p->status != IBX_OK ||
      !ibx_asm_grow(p, &data->nodes, &p->program->node_room, data->node_count,
                    sizeof(*data->nodes))) {
    return IBX_NO_NODE;
  }
  data->nodes[data->node_count] = (ibx_node_decl){.name = name, .op = op};
  return (uint32_t)data->node_count++;
}

// .node "NAME" "OP"
static void read_node(ibx_asm_parser *p) {
  const char *name = ibx_asm_read_name(p, "the node's name");
  const char *op = ibx_asm_read_name(p, "the node's operator");
  add_node(p, name, op);
}

// .at NUMBER | none
static void read_at(ibx_asm_parser *p) {
  p->origin = IBX_ORIGIN_NONE;
  p->node = IBX_NO_NODE;
  if (ibx_asm_take_name(p, "none")) return;
  p->origin = IBX_ORIGIN_NODE;
  p->node = (uint32_t)ibx_asm_read_range(p, 0, UINT32_MAX - 1, "the node");
}

static void read_entry(ibx_asm_parser *p) {
  ibx_asm_program *program = p->program;
  const char *name = ibx_asm_read_name(p, "the entry's name");
  if (!name || !ibx_asm_grow(p, &program->entries, &program->entry_room,
                             program->entry_count, sizeof(*program->entries))) {
    return;
  }
  p->entry = &program->entries[program->entry_count++];
  *p->entry = (ibx_asm_entry){.decl.name = name};
  p->engine = -1;
  p->next_semaphore = 0;
}

static void read_engine(ibx_asm_parser *p) {
  for (int e = 0; e < IBX_ENGINE_COUNT; e++) {
    if (!ibx_asm_take_name(p, ibx_engine_name((ibx_engine)e))) continue;
    p->engine = e;
    return;
  }
  ibx_asm_fail(p, &p->token, "expected tensor, vector, scalar, gpsimd or sync");
}

// .bounds flops= tensor_ps= hbm_min_bytes= hbm_ps= engine_ps=
static void read_bounds(ibx_asm_parser *p) {
  ibx_bounds *bounds = &p->entry->decl.bounds;
  const struct {
    const char *name;
    uint64_t *out;
  } rows[] = {{"flops", &bounds->flops},
              {"tensor_ps", &bounds->tensor_ps},
              {"hbm_min_bytes", &bounds->hbm_min_bytes},
              {"hbm_ps", &bounds->hbm_ps},
              {"engine_ps", &bounds->engine_ps}};
  while (p->status == IBX_OK && !at_line_end(p)) {
    size_t i = 0;
    while (i < IBX_COUNT_OF(rows) && !ibx_asm_take_name(p, rows[i].name)) {
      i++;
    }
    if (i == IBX_COUNT_OF(rows)) {
      ibx_asm_fail(p, &p->token,
                   "expected flops=, tensor_ps=, hbm_min_bytes=, "
                   "hbm_ps= or engine_ps=");
      return;
    }
    ibx_asm_expect_punct(p, "=");
    *rows[i].out = (uint64_t)ibx_asm_read_range(p, 0, INT64_MAX, rows[i].name);
  }
}

// --- lines ------------------------------------------------------------------------

static void read_block(ibx_asm_parser *p, bool is_repeat);

static void skip_line(ibx_asm_parser *p) {
  while (p->status == IBX_OK && !at_line_end(p)) {
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
static void read_repeat(ibx_asm_parser *p) {
  ibx_token at = p->token;
  ibx_token name = read_symbol_name(p);
  ibx_asm_expect_punct(p, ",");
  int64_t count = ibx_asm_read_range(p, 0, INT32_MAX, "the count");
  if (!at_line_end(p)) ibx_asm_fail(p, &p->token, "expected the line's end");
  if (++p->depth > MAX_REPEATS) {
    ibx_asm_fail(p, &at, "repetitions nested more than %d deep", MAX_REPEATS);
  }
  ibx_asm_parser body = *p;
  for (int64_t i = 0; i < count && p->status == IBX_OK; i++) {
    set_symbol(p, &name, name.text, IBX_SYMBOL_NUMBER, i);
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

typedef struct directive {
  const char *name;
  void (*read)(ibx_asm_parser *p);
  bool in_entry;
} directive;

static const directive directives[] = {
    {"target", read_target, false},
    {"model", read_model, false},
    {"options", read_options, false},
    {"equ", read_equ, false},
    {"require", read_require, false},
    {"repeat", read_repeat, false},
    {"semaphore", read_semaphore_decl, false},
    {"register", read_register_decl, false},
    {"node", read_node, false},
    {"at", read_at, false},
    {"hex", read_hex, false},
    {"zero", read_zero, false},
    {"data", read_data, false},
    {"entry", read_entry, false},
    {"bounds", read_bounds, true},
    {"buffer", read_buffer_decl, true},
    {"input", read_input, true},
    {"output", read_output, true},
    {"state", read_state, true},
    {"engine", read_engine, true},
};

static void read_directive(ibx_asm_parser *p) {
  ibx_token at = p->token;
  ibx_asm_advance(p);
  // A heading for readers; data directives add to the weights anywhere.
  if (ibx_asm_same(at.text, "weights")) return;
  for (size_t i = 0; i < IBX_COUNT_OF(directives); i++) {
    if (!ibx_asm_same(at.text, directives[i].name)) continue;
    if (directives[i].in_entry && !p->entry) {
      ibx_asm_fail(p, &at, ".%s stands in an entry; open one with .entry NAME",
                   directives[i].name);
    } else {
      directives[i].read(p);
    }
    return;
  }
  ibx_asm_fail(p, &at, "'.%.*s' is no directive",
               (int)(at.text.len < 40 ? at.text.len : 40), at.text.data);
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
    char *name = keep_bytes(p, size);
    const char *op = ibx_asm_keep_text(p, &p->token);
    if (!name || !op) return;
    snprintf(name, size, "%s:%u", p->name, line);
    p->line_nodes[line] = add_node(p, name, op) + 1;
  }
  p->node = p->line_nodes[line] - 1;
}

static void read_line(ibx_asm_parser *p) {
  if (p->token.kind == IBX_TOKEN_DIRECTIVE) {
    read_directive(p);
  } else if (p->token.kind == IBX_TOKEN_NAME) {
    make_line_node(p);
    ibx_asm_read_insn(p);
  } else if (!at_line_end(p)) {
    ibx_asm_fail(p, &p->token, "expected a directive or an instruction");
  }
  if (!at_line_end(p)) {
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
    set_symbol(p, &nowhere, name, IBX_SYMBOL_NUMBER, defines[i].value);
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

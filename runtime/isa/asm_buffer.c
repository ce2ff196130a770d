// SPDX-License-Identifier: Apache-2.0
//
// Buffers and tensors of an entry: their directives, and how an operand names
// a buffer. Buffers without an offset are placed here.

#include "asm_parse.h"

#include <string.h>

// --- buffers ----------------------------------------------------------------------

static int find_buffer(const ibx_asm_parser *p, const char *name) {
  // The last of two buffers with one name; disassembly uses %index there.
  for (size_t i = p->entry->decl.buffer_count; i-- > 0;) {
    if (strcmp(p->entry->decl.buffers[i].name, name) == 0) return (int)i;
  }
  return -1;
}

static uint32_t read_buffer_index(ibx_asm_parser *p) {
  ibx_token at = p->token;
  if (at.kind != IBX_TOKEN_INTEGER || at.value < 0 ||
      (uint64_t)at.value >= p->entry->decl.buffer_count) {
    ibx_asm_fail(p, &at, "no such buffer; the entry has %zu",
                 p->entry->decl.buffer_count);
    return IBX_NO_BUFFER;
  }
  ibx_asm_advance(p);
  return (uint32_t)at.value;
}

uint32_t ibx_asm_read_buffer(ibx_asm_parser *p) {
  ibx_token at = p->token;
  if (ibx_asm_take_punct(p, "-")) return IBX_NO_BUFFER;
  if (ibx_asm_take_punct(p, "%")) return read_buffer_index(p);
  if (at.kind == IBX_TOKEN_NAME) {
    // The common case, without a copy of the name.
    const ibx_buffer_decl *buffers = p->entry->decl.buffers;
    for (size_t i = p->entry->decl.buffer_count; i-- > 0;) {
      if (!ibx_asm_same(at.text, buffers[i].name)) continue;
      ibx_asm_advance(p);
      return (uint32_t)i;
    }
  } else if (at.kind == IBX_TOKEN_STRING) {
    const char *name = ibx_asm_read_name(p, "a buffer");
    int index = name ? find_buffer(p, name) : -1;
    if (index >= 0) return (uint32_t)index;
  }
  ibx_asm_fail(p, &at, "'%.*s' is no buffer; declare it with .buffer",
               (int)(at.text.len < 60 ? at.text.len : 60), at.text.data);
  return IBX_NO_BUFFER;
}

uint8_t ibx_asm_read_dtype(ibx_asm_parser *p) {
  ibx_token at = p->token;
  for (int i = 0; i < IBX_DTYPE_COUNT && at.kind == IBX_TOKEN_NAME; i++) {
    const ibx_dtype_info *info = ibx_dtype_get((ibx_dtype)i);
    if (!info || !ibx_asm_same(at.text, info->name)) continue;
    ibx_asm_advance(p);
    return (uint8_t)i;
  }
  // A symbol holds the number, so that one text serves several types.
  const ibx_symbol *symbol =
      at.kind == IBX_TOKEN_NAME ? ibx_asm_find_symbol(p, at.text) : NULL;
  bool is_symbol = symbol && symbol->kind == IBX_SYMBOL_NUMBER;
  if (at.kind == IBX_TOKEN_INTEGER || is_symbol) {
    return (uint8_t)ibx_asm_read_range(p, 0, UINT8_MAX, "the element type");
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

/// What a line says of a buffer's place.
typedef struct place_words {
  bool has_offset, has_bytes;
} place_words;

static bool read_place_word(ibx_asm_parser *p, ibx_buffer_place *place,
                            place_words *words) {
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
    words->has_offset = true;
  } else if (ibx_asm_take_name(p, "bytes")) {
    ibx_asm_expect_punct(p, "=");
    place->bytes = (uint64_t)ibx_asm_read_range(p, 0, INT64_MAX, "the size");
    words->has_bytes = true;
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
  if (entry->buffer_count >= IBX_MAX_BUFFERS) {
    ibx_asm_fail(p, &p->token, "more than %d buffers", IBX_MAX_BUFFERS);
    return -1;
  }
  if (!ibx_asm_grow(p, &entry->buffers, &p->entry->buffer_room,
                    entry->buffer_count, sizeof(*entry->buffers))) {
    return -1;
  }
  entry->buffers[entry->buffer_count] = *buffer;
  return (int)entry->buffer_count++;
}

// .buffer NAME SPACE [KIND] [split] [partition= partitions= offset= bytes=]
void ibx_asm_read_buffer_decl(ibx_asm_parser *p) {
  static const char *const spaces[] = {"hbm", "sbuf", "psum"};
  static const char *const kinds[] = {"scratch", "input", "output", "state",
                                      "weight"};
  ibx_token at = p->token;
  ibx_buffer_decl buffer = {.name = ibx_asm_read_name(p, "a buffer name")};
  int space = read_choice(p, spaces, IBX_COUNT_OF(spaces));
  int kind = read_choice(p, kinds, IBX_COUNT_OF(kinds));
  place_words words = {false, false};
  if (space < 0) ibx_asm_fail(p, &p->token, "expected hbm, sbuf or psum");
  if (p->status != IBX_OK) return;
  buffer.place.space = (ibx_space)space;
  buffer.place.partitions = space == IBX_SPACE_HBM ? 1 : IBX_PARTITIONS;
  buffer.kind = kind < 0 ? IBX_BUFFER_SCRATCH : (ibx_buffer_kind)kind;
  buffer.is_split = ibx_asm_take_name(p, "split");
  while (read_place_word(p, &buffer.place, &words)) {
    continue;
  }
  if (!words.has_bytes) {
    ibx_asm_fail(p, &at, "buffer '%s' has no size; give bytes=", buffer.name);
  }
  if (p->status != IBX_OK) return;
  place_buffer(p, &buffer, words.has_offset);
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

// The part that each core has of a split tensor.
static uint64_t part_bytes(ibx_asm_parser *p, const ibx_token *at,
                           const ibx_tensor_decl *tensor, uint64_t bytes) {
  uint32_t cores = ibx_entry_cores(&p->entry->decl);
  if (cores == 1) return bytes;
  if (tensor->rank == 0 || tensor->shape[0] % cores != 0) {
    ibx_asm_fail(p, at, "the first dimension does not divide into %u cores",
                 (unsigned)cores);
    return 0;
  }
  return bytes / cores;
}

// .input|.output|.state NAME dtype[shape] [split | in BUFFER]; without a buffer
// it gets one of its own name, of which each core has a part.
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
    buffer.is_split = ibx_asm_take_name(p, "split");
    if (buffer.is_split) bytes = part_bytes(p, &at, &tensor, bytes);
    buffer.place = (ibx_buffer_place){
        .space = IBX_SPACE_HBM, .partitions = 1, .bytes = bytes};
    place_buffer(p, &buffer, false);
    tensor.buffer = (uint32_t)add_buffer(p, &buffer);
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

void ibx_asm_read_input(ibx_asm_parser *p) { read_tensor(p, IBX_BUFFER_INPUT); }
void ibx_asm_read_output(ibx_asm_parser *p) {
  read_tensor(p, IBX_BUFFER_OUTPUT);
}
void ibx_asm_read_state(ibx_asm_parser *p) { read_tensor(p, IBX_BUFFER_STATE); }

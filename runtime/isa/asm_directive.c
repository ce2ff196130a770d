// SPDX-License-Identifier: Apache-2.0
//
// Directives: a table of them, and those that are small. In: the tokens behind
// the directive's name. Each reads its own line.

#include "asm_parse.h"
#include "asm_text.h"

#include <stdlib.h>
#include <string.h>

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
    int high = ibx_asm_hex_digit(at.text.data[i]);
    int low = ibx_asm_hex_digit(at.text.data[i + 1]);
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

// A symbol holds the number, so that one text serves several machines.
static const ibx_machine *read_machine(ibx_asm_parser *p) {
  bool is_name = p->token.kind == IBX_TOKEN_NAME;
  const ibx_symbol *symbol =
      is_name ? ibx_asm_find_symbol(p, p->token.text) : NULL;
  if (symbol && symbol->kind == IBX_SYMBOL_NUMBER) {
    return ibx_machine_get(
        (ibx_target)ibx_asm_read_range(p, 0, UINT8_MAX, "the target"));
  }
  const char *name = ibx_asm_read_name(p, "ibx2, ibx3 or ibx4");
  return ibx_machine_find(name ? name : "");
}

static void read_target(ibx_asm_parser *p) {
  ibx_token at = p->token;
  const ibx_machine *machine = read_machine(p);
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
  ibx_token name = ibx_asm_read_symbol_name(p);
  ibx_asm_expect_punct(p, "=");
  int64_t value = ibx_asm_read_integer(p);
  if (p->status == IBX_OK) {
    ibx_asm_set_symbol(p, &name, name.text, IBX_SYMBOL_NUMBER, value);
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
  ibx_token name = ibx_asm_read_symbol_name(p);
  int64_t count = 1;
  if (ibx_asm_take_punct(p, "[")) {
    count = ibx_asm_read_range(p, 1, IBX_SEMAPHORES, "the count");
    ibx_asm_expect_punct(p, "]");
  }
  int64_t first = p->next_semaphore;
  if (!ibx_asm_at_line_end(p)) {
    first = ibx_asm_read_range(p, 0, IBX_SEMAPHORES - 1, "the semaphore");
  }
  if (p->status != IBX_OK) return;
  if (first + count > IBX_SEMAPHORES) {
    ibx_asm_fail(p, &name, "the core has %d semaphores, this needs %lld",
                 IBX_SEMAPHORES, (long long)(first + count));
    return;
  }
  ibx_asm_set_symbol(p, &name, name.text, IBX_SYMBOL_SEMAPHORE, first);
  p->next_semaphore = (unsigned)(first + count);
}

// .register NAME NUMBER
static void read_register_decl(ibx_asm_parser *p) {
  ibx_token name = ibx_asm_read_symbol_name(p);
  int64_t value = ibx_asm_read_range(p, 0, IBX_REGISTERS - 1, "the register");
  if (p->status == IBX_OK) {
    ibx_asm_set_symbol(p, &name, name.text, IBX_SYMBOL_REGISTER, value);
  }
}

uint32_t ibx_asm_add_node(ibx_asm_parser *p, const char *name, const char *op) {
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
  ibx_asm_add_node(p, name, op);
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

// .cores N: before the tensors that they split.
static void read_cores(ibx_asm_parser *p) {
  ibx_token at = p->token;
  int64_t cores = ibx_asm_read_range(p, 1, UINT16_MAX, "the number of cores");
  if (p->status != IBX_OK) return;
  if (p->entry->decl.buffer_count > 0) {
    ibx_asm_fail(p, &at, ".cores stands before the buffers of its entry");
    return;
  }
  p->entry->decl.cores = (uint32_t)cores;
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
  while (p->status == IBX_OK && !ibx_asm_at_line_end(p)) {
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

// --- the table ------------------------------------------------------------------

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
    {"repeat", ibx_asm_read_repeat, false},
    {"semaphore", read_semaphore_decl, false},
    {"register", read_register_decl, false},
    {"node", read_node, false},
    {"at", read_at, false},
    {"hex", read_hex, false},
    {"zero", read_zero, false},
    {"data", read_data, false},
    {"entry", read_entry, false},
    {"bounds", read_bounds, true},
    {"cores", read_cores, true},
    {"buffer", ibx_asm_read_buffer_decl, true},
    {"input", ibx_asm_read_input, true},
    {"output", ibx_asm_read_output, true},
    {"state", ibx_asm_read_state, true},
    {"engine", read_engine, true},
};

void ibx_asm_read_directive(ibx_asm_parser *p) {
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

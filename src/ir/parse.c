// SPDX-License-Identifier: Apache-2.0
//
// The module as text. Comes in: text of either level. Goes out: a module that
// verifies, and rows of the tables for what its ops refer to. The other way
// round, text with a location for each op.

#include "ir/context.h"

#include "support/page.h"

#include <string.h>

enum {
  MOST_DEPTH = 128,       ///< of brackets; MLIR's parser recurses
  MOST_WEIGHTS = 1 << 20, ///< rows that text may ask for
  MOST_ZEROS = 1 << 28    ///< bytes of a constant without data
};

// --- tables from ops ---

// The type of a constant's row: that of the data it shows, which may be wider
// than the constant (--auto-cast narrows a constant and leaves its row), else
// the constant's own.
static ibx_type row_type(const ibx_ir *ir, MlirAttribute data, ibx_type type) {
  ibx_type have;
  if (mlirAttributeIsNull(data) || !mlirAttributeIsADenseElements(data) ||
      !ibx_ir_read_type(ir, mlirAttributeGetType(data), &have) ||
      have.rank != type.rank ||
      memcmp(have.dims, type.dims, type.rank * sizeof type.dims[0]) != 0) {
    return type;
  }
  // Bools are shown as bytes.
  if (type.dtype != IBX_DTYPE_BOOL) type.dtype = have.dtype;
  return type;
}

static void read_data(const ibx_ir *ir, MlirAttribute data,
                      const ibx_type *type, size_t bytes, void *out) {
  ibx_type have;
  if (mlirAttributeIsNull(data) || !mlirAttributeIsADenseElements(data) ||
      !ibx_ir_read_type(ir, mlirAttributeGetType(data), &have)) {
    return;
  }
  ibx_dtype wanted = type->dtype == IBX_DTYPE_BOOL ? IBX_DTYPE_U8 : type->dtype;
  int64_t have_bytes = 0;
  if (have.dtype != wanted || !ibx_type_bytes(&have, &have_bytes) ||
      (size_t)have_bytes != bytes) {
    return;
  }
  const char *from = mlirDenseElementsAttrGetRawData(data);
  size_t element = ibx_dtype_bytes(type->dtype);
  size_t step = mlirDenseElementsAttrIsSplat(data) ? 0 : element;
  for (size_t i = 0; i < bytes / element; i++) {
    memcpy((char *)out + i * element, from + i * step, element);
  }
}

static void scan_constant(ibx_ir *ir, MlirOperation op, bool with_data,
                          ibx_tables *tables, ibx_arena *arena) {
  int64_t row, bytes;
  ibx_weight weight = {.name = NULL};
  MlirType result = mlirValueGetType(mlirOperationGetResult(op, 0));
  MlirAttribute data = mlirOperationGetAttributeByName(op, ibx_ref("data"));
  if (!ibx_ir_read_integer(op, "weight", &row) || row < 0 ||
      row >= MOST_WEIGHTS || !ibx_ir_read_type(ir, result, &weight.type)) {
    return; // reading the function says what is wrong
  }
  weight.type = row_type(ir, data, weight.type);
  if (!ibx_type_bytes(&weight.type, &bytes)) return;
  while (tables->weight_count <= (size_t)row) {
    ibx_tables_add_weight(tables, arena, (ibx_weight){.name = NULL});
  }
  if (tables->weights[row].type.dtype != IBX_DTYPE_NONE) return;
  bool is_named = ibx_ir_read_text(op, "name", arena, &weight.name);
  (void)is_named;
  if (with_data && bytes <= MOST_ZEROS) {
    void *room = ibx_arena_alloc(arena, (size_t)bytes);
    read_data(ir, data, &weight.type, (size_t)bytes, room);
    weight.data = room;
  }
  tables->weights[row] = weight;
}

void ibx_ir_scan(ibx_ir *ir, MlirOperation func, bool with_data,
                 ibx_tables *tables, ibx_arena *arena) {
  MlirBlock body = ibx_ir_body(func);
  if (mlirBlockIsNull(body)) return;
  for (MlirOperation op = mlirBlockGetFirstOperation(body);
       !mlirOperationIsNull(op); op = mlirOperationGetNextInBlock(op)) {
    uint32_t row = ibx_ir_add_source(op, tables, arena);
    (void)row;
    ibx_kind kind = ibx_ir_kind(ir, op);
    if (kind.klass == IBX_KIND_TENSOR && kind.number == IBX_TENSOR_constant &&
        mlirOperationGetNumResults(op) == 1) {
      scan_constant(ir, op, with_data, tables, arena);
    }
  }
}

// --- text ---

// The deepest nesting of brackets, strings included: a bound is all we need.
static size_t depth_of(ibx_span text) {
  size_t depth = 0, most = 0;
  for (size_t i = 0; i < text.size; i++) {
    char c = (char)text.data[i];
    if (c == '(' || c == '[' || c == '{' || c == '<') depth++;
    if (depth > most) most = depth;
    bool is_arrow = c == '>' && i > 0 && text.data[i - 1] == '-';
    bool closes = c == ')' || c == ']' || c == '}' || (c == '>' && !is_arrow);
    if (closes && depth > 0) depth--;
  }
  return most;
}

ibx_status ibx_ir_parse(ibx_ir *ir, ibx_span text, ibx_tables *tables,
                        ibx_arena *arena, ibx_error *err) {
  if (depth_of(text) > MOST_DEPTH) {
    return IBX_FAIL(err, INVALID_ARGUMENT,
                    "the text nests brackets more than %d deep", MOST_DEPTH);
  }
  // MLIR's parser needs a terminating 0.
  const char *copy = ibx_arena_text(arena, (const char *)text.data, text.size);
  MlirModule module =
      mlirModuleCreateParse(ir->context, mlirStringRefCreate(copy, text.size));
  if (mlirModuleIsNull(module)) {
    ibx_status failed = ibx_ir_fail(ir, "the text does not parse", err);
    (void)failed;
    if (err) err->status = IBX_INVALID_ARGUMENT;
    return IBX_INVALID_ARGUMENT;
  }
  mlirModuleDestroy(ir->module);
  ir->module = module;
  MlirOperation op = mlirBlockGetFirstOperation(mlirModuleGetBody(module));
  for (; !mlirOperationIsNull(op); op = mlirOperationGetNextInBlock(op)) {
    ibx_ir_scan(ir, op, true, tables, arena);
  }
  return ibx_ir_verify(ir, err);
}

static void add_piece(MlirStringRef piece, void *user) {
  ibx_page_add(user, piece.data, piece.length);
}

char *ibx_ir_print(ibx_ir *ir, ibx_arena *arena) {
  ibx_page text = {.arena = arena};
  MlirOpPrintingFlags flags = mlirOpPrintingFlagsCreate();
  mlirOpPrintingFlagsUseLocalScope(flags);
  mlirOpPrintingFlagsEnableDebugInfo(flags, true, false);
  mlirOperationPrintWithFlags(mlirModuleGetOperation(ir->module), flags,
                              add_piece, &text);
  mlirOpPrintingFlagsDestroy(flags);
  ibx_page_add(&text, "\n", 1);
  return text.data;
}

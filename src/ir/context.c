// SPDX-License-Identifier: Apache-2.0
//
// The MLIR context of a compilation. Comes in: nothing. Goes out: a context
// with the ibx dialect loaded, an empty module, and tables that map MLIR's
// unique pointers to our numbers. Threads are off: a compilation has one. What
// MLIR has to say is caught, so that nothing is printed.

#include "ir/context.h"

#include "mlir-c/Diagnostics.h"
#include "mlir-c/Dialect/Func.h"
#include "mlir-c/Dialect/IRDL.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

MlirStringRef ibx_ref(const char *text) {
  return mlirStringRefCreate(text, strlen(text));
}

const char *ibx_ref_copy(MlirStringRef ref, ibx_arena *arena) {
  return ibx_arena_text(arena, ref.data, ref.length);
}

// --- diagnostics ---

typedef struct words {
  char *text;
  size_t len, room;
} words;

static void add_words(MlirStringRef piece, void *user) {
  words *w = user;
  for (size_t i = 0; i < piece.length && w->len + 1 < w->room; i++) {
    char c = piece.data[i];
    w->text[w->len++] = c == '\n' ? ' ' : c;
  }
  w->text[w->len] = 0;
}

// Keeps the first error; the ones after it are its consequences.
static MlirLogicalResult keep_words(MlirDiagnostic diagnostic, void *user) {
  ibx_ir *ir = user;
  if (ir->message[0] == 0 &&
      mlirDiagnosticGetSeverity(diagnostic) == MlirDiagnosticError) {
    words w = {.text = ir->message, .room = sizeof ir->message};
    mlirDiagnosticPrint(diagnostic, add_words, &w);
    MlirLocation location = mlirDiagnosticGetLocation(diagnostic);
    if (!mlirLocationIsAName(location) &&
        !mlirLocationIsAFileLineColRange(location)) {
      return mlirLogicalResultSuccess();
    }
    add_words(ibx_ref(" at "), &w);
    mlirLocationPrint(location, add_words, &w);
  }
  return mlirLogicalResultSuccess();
}

ibx_status ibx_ir_fail(ibx_ir *ir, const char *what, ibx_error *err) {
  ibx_status status =
      IBX_FAIL(err, INTERNAL, "%s: %s", what,
               ir->message[0] ? ir->message : "MLIR gives no reason");
  ir->message[0] = 0;
  return status;
}

// --- what MLIR makes unique ---

MlirIdentifier ibx_ir_identifier(ibx_ir *ir, const char *name) {
  return mlirIdentifierGet(ir->context, ibx_ref(name));
}

MlirNamedAttribute ibx_ir_named(ibx_ir *ir, const char *name,
                                MlirAttribute value) {
  return mlirNamedAttributeGet(ibx_ir_identifier(ir, name), value);
}

MlirAttribute ibx_ir_string(ibx_ir *ir, const char *text) {
  return mlirStringAttrGet(ir->context, ibx_ref(text));
}

MlirAttribute ibx_ir_integer(ibx_ir *ir, int64_t value) {
  return mlirIntegerAttrGet(ir->elements[IBX_DTYPE_I64], value);
}

MlirAttribute ibx_ir_float(ibx_ir *ir, float value) {
  return mlirFloatAttrDoubleGet(ir->context, ir->elements[IBX_DTYPE_F32],
                                (double)value);
}

static int compare_kinds(const void *a, const void *b) {
  const ibx_kind *x = a, *y = b;
  return ((uintptr_t)x->name > (uintptr_t)y->name) -
         ((uintptr_t)x->name < (uintptr_t)y->name);
}

// The order follows addresses, but only searches see it.
ibx_kind ibx_ir_kind(const ibx_ir *ir, MlirOperation op) {
  ibx_kind key = {.name = mlirOperationGetName(op).ptr};
  const ibx_kind *row = bsearch(&key, ir->kinds, ir->kind_count,
                                sizeof *ir->kinds, compare_kinds);
  return row ? *row : (ibx_kind){.klass = IBX_KIND_UNKNOWN};
}

static void add_kind(ibx_ir *ir, MlirStringRef name, ibx_kind_class klass,
                     unsigned number) {
  ir->kinds[ir->kind_count++] =
      (ibx_kind){.name = mlirIdentifierGet(ir->context, name).ptr,
                 .klass = klass,
                 .number = number};
}

static void make_kinds(ibx_ir *ir) {
  for (unsigned op = 0; op < IBX_TENSOR_OP_COUNT; op++) {
    const char *name = ibx_tensor_op_get((ibx_tensor_op)op)->name;
    ir->tensor_names[op] =
        ibx_ref(ibx_arena_format(&ir->arena, "ibx.%s", name));
    add_kind(ir, ir->tensor_names[op], IBX_KIND_TENSOR, op);
  }
  for (unsigned opcode = 0; opcode < IBX_OPCODES; opcode++) {
    const ibx_insn_info *info = ibx_insn_get((uint8_t)opcode);
    if (!info) continue;
    ir->insn_names[opcode] =
        ibx_ref(ibx_arena_format(&ir->arena, "ibx.isa_%s", info->name));
    add_kind(ir, ir->insn_names[opcode], IBX_KIND_INSN, opcode);
  }
  add_kind(ir, ibx_ref("ibx.buffer"), IBX_KIND_BUFFER, 0);
  add_kind(ir, ibx_ref("func.return"), IBX_KIND_RETURN, 0);
  qsort(ir->kinds, ir->kind_count, sizeof *ir->kinds, compare_kinds);
}

static void make_caches(ibx_ir *ir) {
  for (int dtype = 1; dtype < IBX_DTYPE_COUNT; dtype++) {
    ir->elements[dtype] = mlirTypeParseGet(
        ir->context, ibx_ref(ibx_dtype_get((ibx_dtype)dtype)->mlir));
  }
  for (int space = 0; space < IBX_SPACE_COUNT; space++) {
    const char *name = ibx_space_name((ibx_space)space);
    ir->spaces[space] = mlirAttributeParseGet(
        ir->context, ibx_ref(ibx_arena_format(&ir->arena, "#ibx.%s", name)));
  }
  for (size_t i = 0; ibx_param_get(i); i++) {
    ir->params[i] = ibx_ir_identifier(ir, ibx_param_get(i)->name);
  }
  make_kinds(ir);
}

static void load_dialect(ibx_ir *ir) {
  const char *text = ibx_ir_dialect_text(&ir->arena);
  MlirModule module = mlirModuleCreateParse(ir->context, ibx_ref(text));
  if (mlirModuleIsNull(module)) return;
  MlirLogicalResult loaded = mlirLoadIRDLDialects(module);
  (void)loaded; // A dialect that is not there makes every later check fail.
  mlirModuleDestroy(module);
}

enum {
#define IBX_PARAM(name, kind, sentence) PARAM_##name,
#include "imbrex/tensor_ops.def"
  PARAM_COUNT
};
_Static_assert((int)PARAM_COUNT <= (int)IBX_IR_PARAMS,
               "IBX_IR_PARAMS counts them all");

ibx_ir *ibx_ir_create(void) {
  ibx_arena arena = {.last = NULL};
  ibx_ir *ir = IBX_ARENA_NEW(&arena, ibx_ir);
  ir->arena = arena;
  ir->context = mlirContextCreateWithThreading(false);
  mlirContextAttachDiagnosticHandler(ir->context, keep_words, ir, NULL);
  mlirDialectHandleLoadDialect(mlirGetDialectHandle__irdl__(), ir->context);
  mlirDialectHandleLoadDialect(mlirGetDialectHandle__func__(), ir->context);
  load_dialect(ir);
  make_caches(ir);
  ir->module = mlirModuleCreateEmpty(mlirLocationUnknownGet(ir->context));
  return ir;
}

void ibx_ir_destroy(ibx_ir *ir) {
  if (!ir) return;
  mlirModuleDestroy(ir->module);
  mlirContextDestroy(ir->context);
  // The struct itself lies in its arena.
  ibx_arena arena = ir->arena;
  ibx_arena_reset(&arena);
}

// --- types and attributes ---

MlirType ibx_ir_tensor_type(ibx_ir *ir, const ibx_type *type) {
  return mlirRankedTensorTypeGet(type->rank, type->dims,
                                 ir->elements[type->dtype],
                                 mlirAttributeGetNull());
}

ibx_dtype ibx_ir_read_dtype(const ibx_ir *ir, MlirType element) {
  for (int dtype = 1; dtype < IBX_DTYPE_COUNT; dtype++) {
    ibx_dtype_kind kind = ibx_dtype_get((ibx_dtype)dtype)->kind;
    if (kind == IBX_DTYPE_KIND_PACKED) continue; // not of tensors
    if (mlirTypeEqual(ir->elements[dtype], element)) return (ibx_dtype)dtype;
  }
  return IBX_DTYPE_NONE;
}

bool ibx_ir_read_type(const ibx_ir *ir, MlirType type, ibx_type *out) {
  if (!mlirTypeIsARankedTensor(type)) return false;
  int64_t rank = mlirShapedTypeGetRank(type);
  if (rank > IBX_MAX_RANK) return false;
  *out = (ibx_type){.rank = (uint8_t)rank};
  for (intptr_t i = 0; i < rank; i++) {
    if (mlirShapedTypeIsDynamicDim(type, i)) return false;
    out->dims[i] = mlirShapedTypeGetDimSize(type, i);
  }
  out->dtype = ibx_ir_read_dtype(ir, mlirShapedTypeGetElementType(type));
  return out->dtype != IBX_DTYPE_NONE;
}

bool ibx_ir_read_extent(const ibx_ir *ir, MlirType type,
                        ibx_buffer_place *out) {
  if (!mlirTypeIsAMemRef(type) || !mlirShapedTypeHasStaticShape(type) ||
      !mlirTypeEqual(mlirShapedTypeGetElementType(type),
                     ir->elements[IBX_DTYPE_I8])) {
    return false;
  }
  MlirAttribute memory = mlirMemRefTypeGetMemorySpace(type);
  int space = 0;
  while (space < IBX_SPACE_COUNT &&
         !mlirAttributeEqual(ir->spaces[space], memory)) {
    space++;
  }
  bool is_flat = space == IBX_SPACE_HBM;
  if (space == IBX_SPACE_COUNT ||
      mlirShapedTypeGetRank(type) != (is_flat ? 1 : 2)) {
    return false;
  }
  int64_t partitions = is_flat ? 1 : mlirShapedTypeGetDimSize(type, 0);
  if (partitions > IBX_PARTITIONS) return false;
  *out = (ibx_buffer_place){
      .space = (ibx_space)space,
      .partitions = (uint16_t)partitions,
      .bytes = (uint64_t)mlirShapedTypeGetDimSize(type, is_flat ? 0 : 1)};
  return true;
}

bool ibx_ir_read_integer(MlirOperation op, const char *name, int64_t *out) {
  MlirAttribute value = mlirOperationGetAttributeByName(op, ibx_ref(name));
  if (mlirAttributeIsNull(value) || !mlirAttributeIsAInteger(value)) {
    return false;
  }
  *out = mlirIntegerAttrGetValueInt(value);
  return true;
}

bool ibx_ir_read_text(MlirOperation op, const char *name, ibx_arena *arena,
                      const char **out) {
  MlirAttribute value = mlirOperationGetAttributeByName(op, ibx_ref(name));
  if (mlirAttributeIsNull(value) || !mlirAttributeIsAString(value)) {
    return false;
  }
  *out = ibx_ref_copy(mlirStringAttrGetValue(value), arena);
  return true;
}

// --- functions ---

MlirOperation ibx_ir_find(ibx_ir *ir, const char *name) {
  MlirBlock body = mlirModuleGetBody(ir->module);
  MlirOperation op = mlirBlockGetFirstOperation(body);
  MlirStringRef wanted = ibx_ref(name), key = ibx_ref("sym_name");
  while (!mlirOperationIsNull(op)) {
    MlirAttribute symbol = mlirOperationGetAttributeByName(op, key);
    if (!mlirAttributeIsNull(symbol) && mlirAttributeIsAString(symbol) &&
        mlirStringRefEqual(mlirStringAttrGetValue(symbol), wanted)) {
      return op;
    }
    op = mlirOperationGetNextInBlock(op);
  }
  return op;
}

const char *ibx_ir_function(ibx_ir *ir, size_t index, ibx_arena *arena,
                            bool *out_is_tiles) {
  MlirOperation op = mlirBlockGetFirstOperation(mlirModuleGetBody(ir->module));
  while (!mlirOperationIsNull(op) && index-- > 0) {
    op = mlirOperationGetNextInBlock(op);
  }
  const char *name = NULL;
  if (mlirOperationIsNull(op)) return NULL;
  *out_is_tiles = ibx_ir_is_tiles(op);
  return ibx_ir_read_text(op, "sym_name", arena, &name) ? name : NULL;
}

MlirBlock ibx_ir_body(MlirOperation func) {
  MlirBlock none = {.ptr = NULL};
  if (mlirOperationGetNumRegions(func) != 1) return none;
  return mlirRegionGetFirstBlock(mlirOperationGetRegion(func, 0));
}

bool ibx_ir_is_tiles(MlirOperation func) {
  int64_t level;
  return ibx_ir_read_integer(func, "ibx.level", &level) && level == 2;
}

void ibx_ir_replace(ibx_ir *ir, const char *name, MlirOperation func) {
  MlirBlock body = mlirModuleGetBody(ir->module);
  MlirOperation old = ibx_ir_find(ir, name);
  if (mlirOperationIsNull(old)) {
    mlirBlockAppendOwnedOperation(body, func);
    return;
  }
  mlirBlockInsertOwnedOperationAfter(body, old, func);
  mlirOperationDestroy(old);
}

MlirOperation ibx_ir_func(ibx_ir *ir, const char *name, MlirType type,
                          MlirBlock body, const MlirNamedAttribute *attributes,
                          size_t attribute_count) {
  MlirRegion region = mlirRegionCreate();
  mlirRegionAppendOwnedBlock(region, body);
  MlirOperationState state = mlirOperationStateGet(
      ibx_ref("func.func"), mlirLocationUnknownGet(ir->context));
  MlirNamedAttribute own[] = {
      ibx_ir_named(ir, "sym_name", ibx_ir_string(ir, name)),
      ibx_ir_named(ir, "function_type", mlirTypeAttrGet(type))};
  mlirOperationStateAddAttributes(&state, IBX_COUNT_OF(own), own);
  mlirOperationStateAddAttributes(&state, (intptr_t)attribute_count,
                                  attributes);
  mlirOperationStateAddOwnedRegions(&state, 1, &region);
  return mlirOperationCreate(&state);
}

void ibx_ir_return(ibx_ir *ir, MlirBlock body, const MlirValue *values,
                   size_t count) {
  MlirOperationState state = mlirOperationStateGet(
      ibx_ref("func.return"), mlirLocationUnknownGet(ir->context));
  mlirOperationStateAddOperands(&state, (intptr_t)count, values);
  mlirBlockAppendOwnedOperation(body, mlirOperationCreate(&state));
}

// --- numbers of pointers ---

void ibx_numbers_init(ibx_numbers *numbers, size_t most, ibx_arena *arena) {
  size_t size = 16;
  while (size < most * 2)
    size *= 2;
  *numbers = (ibx_numbers){.keys = IBX_ARENA_ARRAY(arena, size, const void *),
                           .values = IBX_ARENA_ARRAY(arena, size, uint32_t),
                           .mask = size - 1};
}

// Heap addresses are multiples of 8 at least.
static size_t slot_of(const ibx_numbers *numbers, const void *key) {
  uint64_t hash = (uint64_t)((uintptr_t)key >> 3) * 0x9e3779b97f4a7c15u;
  size_t slot = (size_t)(hash >> 20) & numbers->mask;
  while (numbers->keys[slot] && numbers->keys[slot] != key) {
    slot = (slot + 1) & numbers->mask;
  }
  return slot;
}

void ibx_numbers_set(ibx_numbers *numbers, const void *key, uint32_t value) {
  size_t slot = slot_of(numbers, key);
  numbers->keys[slot] = key;
  numbers->values[slot] = value;
}

uint32_t ibx_numbers_get(const ibx_numbers *numbers, const void *key) {
  size_t slot = slot_of(numbers, key);
  return numbers->keys[slot] ? numbers->values[slot] : UINT32_MAX;
}

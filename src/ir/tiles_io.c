// SPDX-License-Identifier: Apache-2.0
//
// Between a tile function and its function in MLIR; the two directions are
// inverses. The fields of an instruction become attributes by the tables of
// isa.def (see fields.c), so that this file knows no instruction; a group of
// fields that is as ibx_insn_make() makes it is left out.
//
//   func.func @main() attributes {ibx.level = 2, ibx.inputs = [...], ...} {
//     %0 = "ibx.buffer"() {kind = "scratch", name = "x", offset = 0,
//                          partition = 0} : () -> memref<128x256xi8, #ibx.sbuf>
//     "ibx.isa_memset"(%0) {engine = "vector", num = array<i64: 1, 1, 64>,
//                           operand0 = array<i64: 0, 0, 1, 0, 0, 1>, ...}
//         : (memref<128x256xi8, #ibx.sbuf>) -> ()
//
// Functions have tens of thousands of ops: attributes, types and locations are
// looked up once and shared.

#include "ir/context.h"

#include <string.h>

enum { MOST_ATTRIBUTES = IBX_IR_GROUPS + 4, MASKS = 1 << IBX_OPERANDS };

static const char *const kind_names[IBX_BUFFER_KIND_COUNT] = {
    "scratch", "input", "output", "state", "weight"};

// What both directions look up once.
typedef struct shared {
  ibx_field_groups groups[IBX_FORMAT_COUNT];
  ibx_insn defaults[IBX_OPCODES];
  MlirAttribute engines[IBX_ENGINE_COUNT];
  MlirAttribute alus[IBX_ALU_COUNT];
  MlirAttribute acts[IBX_ACT_COUNT];
  MlirAttribute calls[IBX_CALL_COUNT];
  MlirIdentifier engine, glued, segments;
} shared;

static void make_shared(ibx_ir *ir, ibx_arena *arena, shared *out) {
  for (int format = 0; format < IBX_FORMAT_COUNT; format++) {
    ibx_field_groups *groups = &out->groups[format];
    ibx_field_groups_make((ibx_format)format, arena, groups);
    for (size_t i = 0; i < groups->count; i++) {
      groups->at[i].identifier = ibx_ir_identifier(ir, groups->at[i].name);
    }
  }
  for (unsigned opcode = 0; opcode < IBX_OPCODES; opcode++) {
    if (!ibx_insn_get((uint8_t)opcode)) continue;
    out->defaults[opcode] = ibx_insn_make((ibx_opcode)opcode);
  }
  for (int i = 0; i < IBX_ENGINE_COUNT; i++) {
    out->engines[i] = ibx_ir_string(ir, ibx_engine_name((ibx_engine)i));
  }
  for (int i = 0; i < IBX_ALU_COUNT; i++) {
    out->alus[i] = ibx_ir_string(ir, ibx_alu_name((uint8_t)i));
  }
  for (int i = 0; i < IBX_ACT_COUNT; i++) {
    out->acts[i] = ibx_ir_string(ir, ibx_act_name((uint8_t)i));
  }
  for (int i = 0; i < IBX_CALL_COUNT; i++) {
    out->calls[i] = ibx_ir_string(ir, ibx_call_name((uint8_t)i));
  }
  out->engine = ibx_ir_identifier(ir, "engine");
  out->glued = ibx_ir_identifier(ir, "glued");
  out->segments = ibx_ir_identifier(ir, "operandSegmentSizes");
}

// The names of the operators that op[index] may have.
static const MlirAttribute *operators(const shared *s, unsigned opcode,
                                      size_t index, size_t *out_count) {
  switch (ibx_insn_operator((uint8_t)opcode, index)) {
  case IBX_OPERATOR_ACT: *out_count = IBX_ACT_COUNT; return s->acts;
  case IBX_OPERATOR_CALL: *out_count = IBX_CALL_COUNT; return s->calls;
  default: *out_count = IBX_ALU_COUNT; return s->alus;
  }
}

// --- fields ---

static int64_t get_field(const ibx_insn *insn, const ibx_field_info *field) {
  const char *at = (const char *)insn + field->member_offset;
  bool is_signed = field->kind == IBX_FIELD_SINT;
  switch (field->member_bytes) {
  case 1: return is_signed ? *(const int8_t *)at : *(const uint8_t *)at;
  case 2: {
    uint16_t bits;
    memcpy(&bits, at, sizeof bits);
    return is_signed ? (int64_t)(int16_t)bits : (int64_t)bits;
  }
  case 4: {
    uint32_t bits;
    memcpy(&bits, at, sizeof bits);
    return is_signed ? (int64_t)(int32_t)bits : (int64_t)bits;
  }
  default: break;
  }
  int64_t bits;
  memcpy(&bits, at, sizeof bits);
  return bits;
}

// False when the value does not fit into the member.
static bool set_field(ibx_insn *insn, const ibx_field_info *field,
                      int64_t value) {
  char *at = (char *)insn + field->member_offset;
  switch (field->member_bytes) {
  case 1: {
    uint8_t bits = (uint8_t)((uint64_t)value & 0xff);
    memcpy(at, &bits, sizeof bits);
    break;
  }
  case 2: {
    uint16_t bits = (uint16_t)((uint64_t)value & 0xffff);
    memcpy(at, &bits, sizeof bits);
    break;
  }
  case 4: {
    uint32_t bits = (uint32_t)((uint64_t)value & 0xffffffff);
    memcpy(at, &bits, sizeof bits);
    break;
  }
  default: memcpy(at, &value, sizeof value); break;
  }
  return get_field(insn, field) == value;
}

static float get_float(const ibx_insn *insn, const ibx_field_info *field) {
  float value;
  memcpy(&value, (const char *)insn + field->member_offset, sizeof value);
  return value;
}

static void set_float(ibx_insn *insn, const ibx_field_info *field,
                      float value) {
  memcpy((char *)insn + field->member_offset, &value, sizeof value);
}

static bool is_default(const ibx_insn *insn, const ibx_insn *other,
                       const ibx_field_group *group) {
  for (size_t i = 0; i < group->count; i++) {
    const ibx_field_info *field = &group->fields[i];
    if (memcmp((const char *)insn + field->member_offset,
               (const char *)other + field->member_offset,
               field->member_bytes) != 0) {
      return false;
    }
  }
  return true;
}

// --- writing ---

typedef struct writer {
  ibx_ir *ir;
  const ibx_tile_func *func;
  ibx_arena *scratch;
  shared s;
  MlirValue *buffers;
  MlirBlock body;
  ibx_locations locations;
  MlirAttribute segments[MASKS]; ///< by the slots that are there
  MlirAttribute unit;
} writer;

static MlirAttribute write_operators(const writer *w, const ibx_insn *insn,
                                     const ibx_field_group *group) {
  MlirAttribute names[IBX_IR_GROUP_FIELDS];
  for (size_t i = 0; i < group->count; i++) {
    size_t count;
    const MlirAttribute *known = operators(&w->s, insn->opcode, i, &count);
    names[i] = known[get_field(insn, &group->fields[i])];
  }
  return mlirArrayAttrGet(w->ir->context, (intptr_t)group->count, names);
}

static MlirAttribute write_group(const writer *w, const ibx_insn *insn,
                                 const ibx_field_group *group) {
  int64_t integers[IBX_IR_GROUP_FIELDS];
  float floats[IBX_IR_GROUP_FIELDS];
  switch (group->kind) {
  case IBX_GROUP_SCALAR:
    return ibx_ir_integer(w->ir, get_field(insn, &group->fields[0]));
  case IBX_GROUP_OPERATORS: return write_operators(w, insn, group);
  case IBX_GROUP_FLOATS:
    for (size_t i = 0; i < group->count; i++) {
      floats[i] = get_float(insn, &group->fields[i]);
    }
    return mlirDenseF32ArrayGet(w->ir->context, (intptr_t)group->count, floats);
  case IBX_GROUP_INTEGERS: break;
  }
  for (size_t i = 0; i < group->count; i++) {
    integers[i] = get_field(insn, &group->fields[i]);
  }
  return mlirDenseI64ArrayGet(w->ir->context, (intptr_t)group->count, integers);
}

static MlirAttribute segments_of(writer *w, unsigned mask) {
  MlirAttribute *cached = &w->segments[mask];
  if (cached->ptr) return *cached;
  int32_t sizes[IBX_OPERANDS];
  for (size_t i = 0; i < IBX_OPERANDS; i++)
    sizes[i] = (int32_t)(mask >> i & 1);
  *cached = mlirDenseI32ArrayGet(w->ir->context, IBX_OPERANDS, sizes);
  return *cached;
}

static intptr_t write_attributes(writer *w, const ibx_tile_op *op,
                                 unsigned mask, MlirNamedAttribute *out) {
  const ibx_insn *insn = &op->insn;
  const ibx_field_groups *groups =
      &w->s.groups[ibx_insn_get(insn->opcode)->format];
  intptr_t count = 0;
  out[count++] = mlirNamedAttributeGet(w->s.engine, w->s.engines[op->engine]);
  out[count++] = mlirNamedAttributeGet(w->s.segments, segments_of(w, mask));
  if (op->glued) out[count++] = mlirNamedAttributeGet(w->s.glued, w->unit);
  for (size_t i = 0; i < groups->count; i++) {
    const ibx_field_group *group = &groups->at[i];
    if (is_default(insn, &w->s.defaults[insn->opcode], group)) continue;
    out[count++] =
        mlirNamedAttributeGet(group->identifier, write_group(w, insn, group));
  }
  return count;
}

static void write_op(writer *w, const ibx_tile_op *op) {
  MlirOperationState state =
      mlirOperationStateGet(w->ir->insn_names[op->insn.opcode],
                            ibx_locations_get(&w->locations, op->source));
  MlirValue operands[IBX_OPERANDS];
  intptr_t operand_count = 0;
  unsigned mask = 0;
  for (size_t i = 0; i < IBX_OPERANDS; i++) {
    uint32_t buffer = op->insn.operand[i].buffer;
    if (buffer == IBX_NO_BUFFER) continue;
    mask |= 1u << i;
    operands[operand_count++] = w->buffers[buffer];
  }
  MlirNamedAttribute attributes[MOST_ATTRIBUTES];
  intptr_t count = write_attributes(w, op, mask, attributes);
  mlirOperationStateAddOperands(&state, operand_count, operands);
  mlirOperationStateAddAttributes(&state, count, attributes);
  mlirBlockAppendOwnedOperation(w->body, mlirOperationCreate(&state));
}

static MlirType buffer_type(ibx_ir *ir, const ibx_buffer_place *place) {
  int64_t shape[] = {place->partitions, (int64_t)place->bytes};
  bool is_flat = place->space == IBX_SPACE_HBM;
  return mlirMemRefTypeContiguousGet(ir->elements[IBX_DTYPE_I8],
                                     is_flat ? 1 : 2, shape + is_flat,
                                     ir->spaces[place->space]);
}

static void write_buffer(writer *w, size_t index) {
  ibx_ir *ir = w->ir;
  const ibx_buffer_decl *buffer = &w->func->buffers[index];
  MlirNamedAttribute attributes[4];
  intptr_t count = 0;
  attributes[count++] =
      ibx_ir_named(ir, "kind", ibx_ir_string(ir, kind_names[buffer->kind]));
  attributes[count++] = ibx_ir_named(
      ir, "partition", ibx_ir_integer(ir, buffer->place.partition));
  attributes[count++] = ibx_ir_named(
      ir, "offset", ibx_ir_integer(ir, (int64_t)buffer->place.offset));
  if (buffer->name) {
    attributes[count++] =
        ibx_ir_named(ir, "name", ibx_ir_string(ir, buffer->name));
  }
  MlirOperationState state =
      mlirOperationStateGet(ibx_ref("ibx.buffer"), w->locations.unknown);
  MlirType type = buffer_type(ir, &buffer->place);
  mlirOperationStateAddAttributes(&state, count, attributes);
  mlirOperationStateAddResults(&state, 1, &type);
  MlirOperation op = mlirOperationCreate(&state);
  mlirBlockAppendOwnedOperation(w->body, op);
  w->buffers[index] = mlirOperationGetResult(op, 0);
}

static MlirAttribute write_decl(const writer *w, const ibx_tensor_decl *decl) {
  ibx_ir *ir = w->ir;
  ibx_type type = {.rank = decl->rank, .dtype = (ibx_dtype)decl->dtype};
  for (size_t i = 0; i < decl->rank; i++) {
    type.dims[i] = (int64_t)decl->shape[i];
  }
  MlirNamedAttribute list[] = {
      ibx_ir_named(ir, "buffer", ibx_ir_integer(ir, decl->buffer)),
      ibx_ir_named(ir, "name", ibx_ir_string(ir, decl->name)),
      ibx_ir_named(ir, "type", mlirTypeAttrGet(ibx_ir_tensor_type(ir, &type)))};
  return mlirDictionaryAttrGet(ir->context, IBX_COUNT_OF(list), list);
}

static MlirAttribute write_decls(const writer *w, const ibx_tensor_decl *decls,
                                 size_t count) {
  MlirAttribute *list = IBX_ARENA_ARRAY(w->scratch, count, MlirAttribute);
  for (size_t i = 0; i < count; i++)
    list[i] = write_decl(w, &decls[i]);
  return mlirArrayAttrGet(w->ir->context, (intptr_t)count, list);
}

static void write_function(writer *w) {
  ibx_ir *ir = w->ir;
  const ibx_tile_func *func = w->func;
  w->body = mlirBlockCreate(0, NULL, NULL);
  for (size_t i = 0; i < func->buffer_count; i++)
    write_buffer(w, i);
  for (size_t i = 0; i < func->op_count; i++) {
    const ibx_tile_op op = ibx_tile_at(func, i);
    write_op(w, &op);
  }
  ibx_ir_return(ir, w->body, NULL, 0);
  MlirNamedAttribute list[] = {
      ibx_ir_named(ir, "ibx.level", ibx_ir_integer(ir, 2)),
      ibx_ir_named(ir, "ibx.inputs",
                   write_decls(w, func->inputs, func->input_count)),
      ibx_ir_named(ir, "ibx.outputs",
                   write_decls(w, func->outputs, func->output_count))};
  MlirType type = mlirFunctionTypeGet(ir->context, 0, NULL, 0, NULL);
  ibx_ir_replace(
      ir, func->name,
      ibx_ir_func(ir, func->name, type, w->body, list, IBX_COUNT_OF(list)));
}

ibx_status ibx_tiles_write(ibx_ir *ir, const ibx_tile_func *func,
                           const ibx_tables *tables, ibx_error *err) {
  IBX_TRY(ibx_tiles_check(func, tables, err));
  ibx_arena scratch = {.last = NULL};
  writer *w = IBX_ARENA_NEW(&scratch, writer);
  w->ir = ir;
  w->func = func;
  w->scratch = &scratch;
  w->buffers = IBX_ARENA_ARRAY(&scratch, func->buffer_count, MlirValue);
  w->unit = mlirUnitAttrGet(ir->context);
  make_shared(ir, &scratch, &w->s);
  ibx_locations_init(&w->locations, ir, tables, &scratch);
  write_function(w);
  ibx_arena_reset(&scratch);
  return IBX_OK;
}

// --- reading ---

typedef struct reader {
  ibx_ir *ir;
  ibx_tile_func *func;
  const ibx_tables *tables;
  ibx_arena *arena;
  shared s;
  ibx_numbers numbers; ///< buffer of each op
  ibx_error *err;
} reader;

static ibx_status fail_at(const reader *r, MlirOperation op,
                          const char *reason) {
  MlirStringRef name = mlirIdentifierStr(mlirOperationGetName(op));
  return IBX_FAIL(r->err, INTERNAL, "@%s: %.*s: %s", r->func->name,
                  (int)name.length, name.data, reason);
}

static ibx_status read_buffer(reader *r, MlirOperation op) {
  ibx_buffer_decl buffer = {.name = NULL};
  int64_t partition = 0, offset = 0;
  const char *kind = NULL;
  bool is_named = ibx_ir_read_text(op, "name", r->arena, &buffer.name);
  (void)is_named;
  if (mlirOperationGetNumResults(op) != 1 ||
      !ibx_ir_read_text(op, "kind", r->arena, &kind) ||
      !ibx_ir_read_integer(op, "partition", &partition) ||
      !ibx_ir_read_integer(op, "offset", &offset) || offset < 0 ||
      partition < 0 || partition >= IBX_PARTITIONS) {
    return fail_at(r, op, "no legal kind, partition or offset");
  }
  buffer.kind = IBX_BUFFER_KIND_COUNT;
  for (int i = 0; i < IBX_BUFFER_KIND_COUNT; i++) {
    if (strcmp(kind, kind_names[i]) == 0) buffer.kind = (ibx_buffer_kind)i;
  }
  if (buffer.kind == IBX_BUFFER_KIND_COUNT) {
    return fail_at(r, op, "'kind' is none of those that exist");
  }
  MlirType type = mlirValueGetType(mlirOperationGetResult(op, 0));
  if (!ibx_ir_read_extent(r->ir, type, &buffer.place)) {
    return fail_at(r, op, "the result is no static memref of bytes");
  }
  buffer.place.partition = (uint8_t)partition;
  buffer.place.offset = (uint64_t)offset;
  if (r->func->buffer_count >= IBX_NO_BUFFER) {
    return fail_at(r, op, "too many buffers");
  }
  ibx_numbers_set(&r->numbers, op.ptr, ibx_tile_add_buffer(r->func, buffer));
  return IBX_OK;
}

static bool read_operators(const reader *r, MlirAttribute value,
                           const ibx_field_group *group, ibx_insn *insn) {
  if (!mlirAttributeIsAArray(value) ||
      mlirArrayAttrGetNumElements(value) != (intptr_t)group->count) {
    return false;
  }
  for (size_t i = 0; i < group->count; i++) {
    size_t count, at = 0;
    const MlirAttribute *known = operators(&r->s, insn->opcode, i, &count);
    MlirAttribute name = mlirArrayAttrGetElement(value, (intptr_t)i);
    while (at < count && !mlirAttributeEqual(known[at], name))
      at++;
    if (at == count) return false;
    if (!set_field(insn, &group->fields[i], (int64_t)at)) return false;
  }
  return true;
}

static bool read_group(const reader *r, MlirAttribute value,
                       const ibx_field_group *group, ibx_insn *insn) {
  if (group->kind == IBX_GROUP_SCALAR) {
    return mlirAttributeIsAInteger(value) &&
           set_field(insn, &group->fields[0],
                     mlirIntegerAttrGetValueInt(value));
  }
  if (group->kind == IBX_GROUP_OPERATORS) {
    return read_operators(r, value, group, insn);
  }
  bool is_float = group->kind == IBX_GROUP_FLOATS;
  bool is_right = is_float ? mlirAttributeIsADenseF32Array(value)
                           : mlirAttributeIsADenseI64Array(value);
  if (!is_right ||
      mlirDenseArrayGetNumElements(value) != (intptr_t)group->count) {
    return false;
  }
  for (size_t i = 0; i < group->count; i++) {
    if (is_float) {
      set_float(insn, &group->fields[i],
                mlirDenseF32ArrayGetElement(value, (intptr_t)i));
    } else if (!set_field(insn, &group->fields[i],
                          mlirDenseI64ArrayGetElement(value, (intptr_t)i))) {
      return false;
    }
  }
  return true;
}

static ibx_status read_fields(const reader *r, MlirOperation op,
                              ibx_insn *insn) {
  const ibx_field_groups *groups =
      &r->s.groups[ibx_insn_get(insn->opcode)->format];
  for (size_t i = 0; i < groups->count; i++) {
    const ibx_field_group *group = &groups->at[i];
    MlirAttribute value = mlirOperationGetAttributeByName(
        op, mlirIdentifierStr(group->identifier));
    if (mlirAttributeIsNull(value)) continue; // as ibx_insn_make() has it
    if (read_group(r, value, group, insn)) continue;
    MlirStringRef name = mlirIdentifierStr(mlirOperationGetName(op));
    return IBX_FAIL(r->err, INTERNAL,
                    "@%s: %.*s: attribute '%s' has not %zu values that fit",
                    r->func->name, (int)name.length, name.data, group->name,
                    group->count);
  }
  return IBX_OK;
}

// Which slots are there, from operandSegmentSizes.
static ibx_status read_operands(const reader *r, MlirOperation op,
                                ibx_insn *insn) {
  MlirAttribute sizes =
      mlirOperationGetAttributeByName(op, mlirIdentifierStr(r->s.segments));
  if (mlirAttributeIsNull(sizes) || !mlirAttributeIsADenseI32Array(sizes) ||
      mlirDenseArrayGetNumElements(sizes) != IBX_OPERANDS) {
    return fail_at(r, op, "no operandSegmentSizes of 4");
  }
  intptr_t next = 0, count = mlirOperationGetNumOperands(op);
  for (intptr_t slot = 0; slot < IBX_OPERANDS; slot++) {
    if (mlirDenseI32ArrayGetElement(sizes, slot) != 1) continue;
    if (next == count) return fail_at(r, op, "fewer operands than segments");
    MlirValue value = mlirOperationGetOperand(op, next++);
    uint32_t buffer = UINT32_MAX;
    if (mlirValueIsAOpResult(value)) {
      buffer = ibx_numbers_get(&r->numbers, mlirOpResultGetOwner(value).ptr);
    }
    if (buffer == UINT32_MAX) return fail_at(r, op, "operand is no buffer");
    insn->operand[slot].buffer = buffer;
  }
  return IBX_OK;
}

static ibx_status read_op(reader *r, MlirOperation op, unsigned opcode) {
  ibx_tile_op out = {.insn = r->s.defaults[opcode],
                     .engine = IBX_ENGINE_COUNT,
                     .source = ibx_ir_read_source(op, r->tables)};
  MlirAttribute engine =
      mlirOperationGetAttributeByName(op, mlirIdentifierStr(r->s.engine));
  MlirAttribute glued =
      mlirOperationGetAttributeByName(op, mlirIdentifierStr(r->s.glued));
  out.glued = !mlirAttributeIsNull(glued);
  for (int i = 0; i < IBX_ENGINE_COUNT; i++) {
    if (mlirAttributeEqual(r->s.engines[i], engine)) {
      out.engine = (ibx_engine)i;
    }
  }
  if (out.engine == IBX_ENGINE_COUNT) return fail_at(r, op, "no such engine");
  IBX_TRY(read_operands(r, op, &out.insn));
  IBX_TRY(read_fields(r, op, &out.insn));
  ibx_tile_add_op(r->func, &out);
  return IBX_OK;
}

static MlirAttribute element_of(MlirAttribute dictionary, const char *name) {
  return mlirDictionaryAttrGetElementByName(dictionary, ibx_ref(name));
}

static bool read_decl(const reader *r, MlirAttribute from,
                      ibx_tensor_decl *out) {
  if (!mlirAttributeIsADictionary(from)) return false;
  MlirAttribute name = element_of(from, "name");
  MlirAttribute type = element_of(from, "type");
  MlirAttribute buffer = element_of(from, "buffer");
  ibx_type shape;
  if (mlirAttributeIsNull(name) || !mlirAttributeIsAString(name) ||
      mlirAttributeIsNull(type) || !mlirAttributeIsAType(type) ||
      mlirAttributeIsNull(buffer) || !mlirAttributeIsAInteger(buffer) ||
      !ibx_ir_read_type(r->ir, mlirTypeAttrGetValue(type), &shape)) {
    return false;
  }
  int64_t index = mlirIntegerAttrGetValueInt(buffer);
  if (index < 0 || index >= IBX_NO_BUFFER) return false;
  *out = (ibx_tensor_decl){
      .name = ibx_ref_copy(mlirStringAttrGetValue(name), r->arena),
      .buffer = (uint32_t)index,
      .rank = shape.rank,
      .dtype = (uint8_t)shape.dtype};
  for (size_t i = 0; i < shape.rank; i++) {
    out->shape[i] = (uint64_t)shape.dims[i];
  }
  return true;
}

static ibx_status read_decls(const reader *r, MlirOperation func,
                             const char *name, ibx_tensor_decl **out_decls,
                             size_t *out_count) {
  MlirAttribute list = mlirOperationGetAttributeByName(func, ibx_ref(name));
  if (mlirAttributeIsNull(list)) return IBX_OK;
  if (!mlirAttributeIsAArray(list)) {
    return fail_at(r, func, "inputs and outputs are arrays");
  }
  *out_count = (size_t)mlirArrayAttrGetNumElements(list);
  *out_decls = IBX_ARENA_ARRAY(r->arena, *out_count, ibx_tensor_decl);
  for (size_t i = 0; i < *out_count; i++) {
    if (!read_decl(r, mlirArrayAttrGetElement(list, (intptr_t)i),
                   &(*out_decls)[i])) {
      return fail_at(r, func, "a tensor needs name, type and buffer");
    }
  }
  return IBX_OK;
}

static ibx_status read_body(reader *r, MlirOperation func, MlirBlock body) {
  size_t count = 0;
  MlirOperation op = mlirBlockGetFirstOperation(body);
  for (; !mlirOperationIsNull(op); op = mlirOperationGetNextInBlock(op)) {
    count++;
  }
  ibx_numbers_init(&r->numbers, count, r->arena);
  ibx_tile_reserve(r->func, count);
  IBX_TRY(read_decls(r, func, "ibx.inputs", &r->func->inputs,
                     &r->func->input_count));
  IBX_TRY(read_decls(r, func, "ibx.outputs", &r->func->outputs,
                     &r->func->output_count));
  op = mlirBlockGetFirstOperation(body);
  for (; !mlirOperationIsNull(op); op = mlirOperationGetNextInBlock(op)) {
    ibx_kind kind = ibx_ir_kind(r->ir, op);
    if (kind.klass == IBX_KIND_RETURN) return IBX_OK;
    if (kind.klass == IBX_KIND_BUFFER) {
      IBX_TRY(read_buffer(r, op));
    } else if (kind.klass == IBX_KIND_INSN) {
      IBX_TRY(read_op(r, op, kind.number));
    } else {
      return fail_at(r, op, "is no operation of level 2");
    }
  }
  return fail_at(r, func, "has no return");
}

ibx_status ibx_tiles_read(ibx_ir *ir, const char *name,
                          const ibx_tables *tables, ibx_arena *arena,
                          ibx_tile_func *out_func, ibx_error *err) {
  MlirOperation func = ibx_ir_find(ir, name);
  MlirBlock body = {.ptr = NULL};
  if (!mlirOperationIsNull(func)) body = ibx_ir_body(func);
  if (mlirBlockIsNull(body)) {
    return IBX_FAIL(err, INTERNAL, "the module has no function @%s", name);
  }
  *out_func = (ibx_tile_func){
      .arena = arena, .name = ibx_arena_text(arena, name, strlen(name))};
  reader *r = IBX_ARENA_NEW(arena, reader);
  r->ir = ir;
  r->func = out_func;
  r->tables = tables;
  r->arena = arena;
  r->err = err;
  make_shared(ir, arena, &r->s);
  return read_body(r, func, body);
}

// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_CONTEXT_H
#define IBX_CONTEXT_H

/// \file
/// The inside of an ibx_ir: the MLIR context with what would be slow to look up
/// for each op. Private to src/ir.

#include "ir/ir.h"

#include "mlir-c/BuiltinAttributes.h"
#include "mlir-c/BuiltinTypes.h"
#include "mlir-c/IR.h"

enum {
  IBX_OPCODES = 256,
  IBX_IR_PARAMS = 32, ///< room for the rows of the parameter table
  IBX_IR_KINDS = IBX_TENSOR_OP_COUNT + IBX_OPCODES + 2
};

typedef enum ibx_kind_class {
  IBX_KIND_UNKNOWN,
  IBX_KIND_TENSOR, ///< number: ibx_tensor_op
  IBX_KIND_INSN,   ///< number: opcode
  IBX_KIND_BUFFER,
  IBX_KIND_RETURN
} ibx_kind_class;

/// What an op is.
typedef struct ibx_kind {
  const void *name; ///< MLIR's unique pointer for the op's name
  ibx_kind_class klass;
  unsigned number;
} ibx_kind;

enum { IBX_IR_GROUPS = 20, IBX_IR_GROUP_FIELDS = 32 };

/// Fields of an instruction format that are one attribute: all of operand 0
/// (but its buffer), all of `num`, `partitions` alone.
typedef enum ibx_group_kind {
  IBX_GROUP_SCALAR,   ///< i64
  IBX_GROUP_INTEGERS, ///< array<i64: ...>
  IBX_GROUP_FLOATS,   ///< array<f32: ...>
  IBX_GROUP_OPERATORS ///< ["add", "bypass"]
} ibx_group_kind;

typedef struct ibx_field_group {
  const char *name;
  MlirIdentifier identifier;
  ibx_group_kind kind;
  size_t count;
  ibx_field_info fields[IBX_IR_GROUP_FIELDS];
} ibx_field_group;

typedef struct ibx_field_groups {
  ibx_field_group at[IBX_IR_GROUPS];
  size_t count;
} ibx_field_groups;

/// The groups of a format, in the order of its fields; the text of the names
/// goes to `arena`.
void ibx_field_groups_make(ibx_format format, ibx_arena *arena,
                           ibx_field_groups *out);

struct ibx_ir {
  MlirContext context;
  MlirModule module;
  ibx_arena arena; ///< of what lives as long as the context

  MlirType elements[IBX_DTYPE_COUNT];
  MlirAttribute spaces[IBX_SPACE_COUNT];
  MlirStringRef tensor_names[IBX_TENSOR_OP_COUNT]; ///< "ibx.add"
  MlirStringRef insn_names[IBX_OPCODES];           ///< "ibx.isa_iota"
  MlirIdentifier params[IBX_IR_PARAMS];
  ibx_kind kinds[IBX_IR_KINDS]; ///< ascending by name
  size_t kind_count;

  char message[IBX_ERROR_MESSAGE_BYTES]; ///< first words of MLIR, or ""
};

MlirStringRef ibx_ref(const char *text);
/// Copies into the arena, terminated.
const char *ibx_ref_copy(MlirStringRef ref, ibx_arena *arena);

MlirIdentifier ibx_ir_identifier(ibx_ir *ir, const char *name);
MlirNamedAttribute ibx_ir_named(ibx_ir *ir, const char *name,
                                MlirAttribute value);
MlirAttribute ibx_ir_string(ibx_ir *ir, const char *text);
MlirAttribute ibx_ir_integer(ibx_ir *ir, int64_t value); ///< i64
MlirAttribute ibx_ir_float(ibx_ir *ir, float value);     ///< f32

/// Kind of an op.
ibx_kind ibx_ir_kind(const ibx_ir *ir, MlirOperation op);

MlirType ibx_ir_tensor_type(ibx_ir *ir, const ibx_type *type);
/// False when it is no static ranked tensor of a dtype of the table.
bool ibx_ir_read_type(const ibx_ir *ir, MlirType type, ibx_type *out);
/// NONE when it is not in the table.
ibx_dtype ibx_ir_read_dtype(const ibx_ir *ir, MlirType element);

/// Space, partitions and bytes of a buffer; false when it is no static memref
/// of bytes in one of the memories.
bool ibx_ir_read_extent(const ibx_ir *ir, MlirType type, ibx_buffer_place *out);

/// Attributes of an op by name. Each is false when the op has none of that name
/// and kind.
bool ibx_ir_read_integer(MlirOperation op, const char *name, int64_t *out);
bool ibx_ir_read_text(MlirOperation op, const char *name, ibx_arena *arena,
                      const char **out);

/// Locations: a source row is written as loc("name"("op"("onnx":row:0))).
typedef struct ibx_locations {
  ibx_ir *ir;
  const ibx_tables *tables;
  MlirLocation *cache; ///< null where not made yet
  MlirLocation unknown;
} ibx_locations;
void ibx_locations_init(ibx_locations *locations, ibx_ir *ir,
                        const ibx_tables *tables, ibx_arena *arena);
MlirLocation ibx_locations_get(ibx_locations *locations, uint32_t source);
/// The row of an op's location, or IBX_NO_NODE when it has none in the table.
uint32_t ibx_ir_read_source(MlirOperation op, const ibx_tables *tables);
/// The same, but adds rows to the table as far as needed.
uint32_t ibx_ir_add_source(MlirOperation op, ibx_tables *tables,
                           ibx_arena *arena);

/// Adds the rows that the ops of a function refer to: sources, and weights with
/// their types; with their data (0 where the text has none) where `with_data`.
void ibx_ir_scan(ibx_ir *ir, MlirOperation func, bool with_data,
                 ibx_tables *tables, ibx_arena *arena);

/// The function of that name; null when there is none.
MlirOperation ibx_ir_find(ibx_ir *ir, const char *name);
/// The body of a function with one block; null when it is none.
MlirBlock ibx_ir_body(MlirOperation func);
/// Whether a function is of level 2.
bool ibx_ir_is_tiles(MlirOperation func);
/// Puts `func` into the module in place of the one of that name.
void ibx_ir_replace(ibx_ir *ir, const char *name, MlirOperation func);
/// A function with that body block, which it takes, and these attributes.
MlirOperation ibx_ir_func(ibx_ir *ir, const char *name, MlirType type,
                          MlirBlock body, const MlirNamedAttribute *attributes,
                          size_t attribute_count);
/// Appends func.return.
void ibx_ir_return(ibx_ir *ir, MlirBlock body, const MlirValue *values,
                   size_t count);

/// Fails with INTERNAL, "what: MLIR's words", and forgets the words.
ibx_status ibx_ir_fail(ibx_ir *ir, const char *what, ibx_error *err);

/// A map from pointers to numbers, in an arena.
typedef struct ibx_numbers {
  const void **keys;
  uint32_t *values;
  size_t mask;
} ibx_numbers;
void ibx_numbers_init(ibx_numbers *numbers, size_t most, ibx_arena *arena);
void ibx_numbers_set(ibx_numbers *numbers, const void *key, uint32_t value);
/// UINT32_MAX when there is none.
uint32_t ibx_numbers_get(const ibx_numbers *numbers, const void *key);

/// Relations of one function; verify.c.
ibx_status ibx_graph_check(const ibx_graph *graph, ibx_error *err);
ibx_status ibx_tiles_check(const ibx_tile_func *func, const ibx_tables *tables,
                           ibx_error *err);

#endif

// SPDX-License-Identifier: Apache-2.0
//
// Locations. Comes in: a row of the source table. Goes out, and back again:
//
//   loc("conv1"("Conv"("onnx":12:0)))      row 12 is node conv1, operator Conv
//
// There is one location for a row, however many ops have come from it: MLIR
// keeps every location until its context dies.

#include "ir/context.h"

#include <string.h>

static const char file_name[] = "onnx";

void ibx_locations_init(ibx_locations *locations, ibx_ir *ir,
                        const ibx_tables *tables, ibx_arena *arena) {
  *locations = (ibx_locations){
      .ir = ir,
      .tables = tables,
      .cache = IBX_ARENA_ARRAY(arena, tables->source_count, MlirLocation),
      .unknown = mlirLocationUnknownGet(ir->context)};
}

MlirLocation ibx_locations_get(ibx_locations *locations, uint32_t source) {
  if (source >= locations->tables->source_count) return locations->unknown;
  MlirLocation *cached = &locations->cache[source];
  if (cached->ptr) return *cached;
  MlirContext context = locations->ir->context;
  const ibx_node_decl *row = &locations->tables->sources[source];
  MlirLocation place =
      mlirLocationFileLineColGet(context, ibx_ref(file_name), source, 0);
  MlirLocation op = mlirLocationNameGet(context, ibx_ref(row->op), place);
  *cached = mlirLocationNameGet(context, ibx_ref(row->name), op);
  return *cached;
}

// Takes a location of ours apart; false when it is not one.
static bool take_apart(MlirLocation location, MlirStringRef *name,
                       MlirStringRef *op, uint32_t *row) {
  if (!mlirLocationIsAName(location)) return false;
  MlirLocation child = mlirLocationNameGetChildLoc(location);
  if (!mlirLocationIsAName(child)) return false;
  MlirLocation place = mlirLocationNameGetChildLoc(child);
  if (!mlirLocationIsAFileLineColRange(place)) return false;
  *name = mlirIdentifierStr(mlirLocationNameGetName(location));
  *op = mlirIdentifierStr(mlirLocationNameGetName(child));
  *row = (uint32_t)mlirLocationFileLineColRangeGetStartLine(place);
  return true;
}

uint32_t ibx_ir_read_source(MlirOperation op, const ibx_tables *tables) {
  MlirStringRef name, type;
  uint32_t row;
  if (!take_apart(mlirOperationGetLocation(op), &name, &type, &row)) {
    return IBX_NO_NODE;
  }
  return row < tables->source_count ? row : IBX_NO_NODE;
}

enum { MOST_NEW_ROWS = 1 << 20 };

uint32_t ibx_ir_add_source(MlirOperation op, ibx_tables *tables,
                           ibx_arena *arena) {
  MlirStringRef name, type;
  uint32_t row;
  if (!take_apart(mlirOperationGetLocation(op), &name, &type, &row) ||
      row >= MOST_NEW_ROWS) {
    return IBX_NO_NODE;
  }
  if (row < tables->source_count && tables->sources[row].op[0] != 0) {
    return row;
  }
  while (tables->source_count <= row) {
    ibx_tables_add_source(tables, arena, "", "");
  }
  tables->sources[row] = (ibx_node_decl){.name = ibx_ref_copy(name, arena),
                                         .op = ibx_ref_copy(type, arena)};
  return row;
}

// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_DIAG_H
#define IBX_DIAG_H

/// \file
/// Diagnostics about a model: codes from diag.def, and a sink that collects all
/// of them. Texts are copied, with what is not printable UTF-8 replaced by '?',
/// so that they can go to a terminal or into JSON as they are.

#include "imbrex/compiler.h"
#include "support/arena.h"
#include "support/map.h"

typedef enum ibx_diag_code {
#define IBX_DIAG(name, number, severity, status, sentence)                     \
  IBX_DIAG_##name = (number),
#include "support/diag.def"
} ibx_diag_code;

typedef struct ibx_diag_info {
  ibx_diag_code code;
  const char *name; ///< "IBX3001"
  const char *sentence;
  ibx_severity severity;
  ibx_status status;
} ibx_diag_info;

/// Lends row `index` of the catalogue; NULL past the last.
const ibx_diag_info *ibx_diag_get(size_t index);

/// Where something is wrong. Texts that do not apply may be NULL.
typedef struct ibx_diag_at {
  const char *node, *op, *domain, *attribute, *input;
  size_t input_index; ///< of `input`, see ibx_diagnostic
  bool wants_shape, wants_length;
  int64_t version;
} ibx_diag_at;

/// Zero but for the arena at first. Collects and, when `forward` is set, hands
/// on what it collects.
typedef struct ibx_diag_sink {
  ibx_arena *arena;
  ibx_diagnostic_fn forward;
  void *user;

  ibx_diagnostic *items;
  size_t count, room;
  size_t error_count;
  ibx_status status; ///< of the first error, OK without one
  bool tells_slow;   ///< somebody wants to know what slows the model
  ibx_map told;      ///< of that, by code and node
} ibx_diag_sink;

/// Adds one diagnostic. Past a thousand, one note says that more was found, and
/// only the first error still comes.
void ibx_diag_add(ibx_diag_sink *sink, ibx_diag_code code, ibx_diag_at at,
                  const char *remedy, const char *format, ...) IBX_PRINTF(5, 6);

/// Adds an error, fills `*err` with it and returns the code's status. Accepts no
/// sink: then `*err` tells all.
ibx_status ibx_diag_fail(ibx_diag_sink *sink, ibx_diag_code code,
                         ibx_diag_at at, ibx_error *err, const char *remedy,
                         const char *format, ...) IBX_PRINTF(6, 7);

/// The same as ibx_diag_add() for what slows a node: once for each node and code, and only where
/// the sink wants it. Accepts no sink.
void ibx_diag_slow(ibx_diag_sink *sink, ibx_diag_code code, ibx_diag_at at,
                   const char *remedy, const char *format, ...)
    IBX_PRINTF(5, 6);

/// Whether ibx_diag_slow() has said this of the node.
bool ibx_diag_has(const ibx_diag_sink *sink, ibx_diag_code code,
                  const char *node);

/// The name without the numbers of trips, which stand in brackets, so that a node
/// of a loop is one: "loop/[17]/add" gives "loop/[]/add".
const char *ibx_diag_node_key(ibx_arena *arena, const char *node);

/// Returns OK when there is no error, else fills `*err` from the first one and
/// returns its status.
IBX_NODISCARD ibx_status ibx_diag_status(const ibx_diag_sink *sink,
                                         ibx_error *err);

#endif

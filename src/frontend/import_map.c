// SPDX-License-Identifier: Apache-2.0
//
// Imports ZipMap. Comes in: scores [N, C] and the names of the C classes. Goes
// out: the scores, for the program has no maps: what ONNX has as a list of N maps
// is a tensor with a column for each class, and a warning says in which order.

#include "frontend/import.h"
#include "frontend/import_ops.h"
#include "frontend/import_trees.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

bool ibx_is_map(const ibx_import *import, ibx_val value) {
  for (size_t i = 0; i < import->map_count; i++) {
    if (import->maps[i] == value) return true;
  }
  return false;
}

static void note_map(ibx_import *import, ibx_val value) {
  ibx_val *larger =
      IBX_ARENA_ARRAY(&import->scratch, import->map_count + 1, ibx_val);
  for (size_t i = 0; i < import->map_count; i++)
    larger[i] = import->maps[i];
  larger[import->map_count++] = value;
  import->maps = larger;
}

// The first names, as far as a line has room.
static const char *list_names(ibx_call *call, const char *texts,
                              const char *ints) {
  enum { ROOM = 96, MOST_NAME = 32 };
  const Onnx__AttributeProto *text = ibx_attr(call, texts);
  bool is_text = text && text->n_strings != 0;
  size_t count, used = 0;
  const int64_t *numbers = ibx_attr_longs(call, ints, &count);
  if (is_text) count = text->n_strings;
  char line[ROOM + MOST_NAME + 8] = "";
  for (size_t i = 0; i < count; i++) {
    const char *comma = i == 0 ? "" : ", ";
    if (used > ROOM) {
      snprintf(line + used, sizeof line - used, "%s...", comma);
      break;
    }
    int added = is_text
                    ? snprintf(line + used, sizeof line - used, "%s%.*s", comma,
                               (int)(text->strings[i].len < MOST_NAME
                                         ? text->strings[i].len
                                         : MOST_NAME),
                               (const char *)text->strings[i].data)
                    : snprintf(line + used, sizeof line - used, "%s%" PRId64,
                               comma, numbers[i]);
    used += added > 0 ? (size_t)added : 0;
  }
  return ibx_arena_format(&call->import->scratch, "%s", line);
}

void ibx_import_op_zip_map(ibx_call *call) {
  static const char *const texts = "classlabels_strings";
  static const char *const ints = "classlabels_int64s";
  ibx_val x = ibx_in(call, 0);
  int64_t rank = ibx_rank(call, x);
  int64_t classes = ibx_label_count(call, texts, ints);
  if (call->failed) return;
  bool fits = (rank == 1 || rank == 2) && ibx_dim(call, x, rank - 1) == classes;
  if (!ibx_call_expect(call, fits, "X",
                       "needs a column for each of the class labels")) {
    return;
  }
  ibx_params params = {.shape = rank == 2 ? ibx_shape_of(call, x)
                                          : IBX_INTS(1, classes)};
  ibx_val scores = ibx_emit_op(call, IBX_TENSOR_reshape, &params, &x, 1);
  if (call->failed) return;
  note_map(call->import, scores);
  ibx_out(call, 0, scores);
  ibx_diag_add(
      call->import->sink, IBX_DIAG_MAP_AS_TENSOR, call->at,
      "export without ZipMap, which scikit-learn's converter does with "
      "the option zipmap = False",
      "the maps from class to score are a tensor with a row for each "
      "map and a column for each class, in the order %s",
      list_names(call, texts, ints));
}

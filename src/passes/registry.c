// SPDX-License-Identifier: Apache-2.0
//
// The passes by index and by name, from passes.def.

#include "passes/pass.h"

#include <string.h>

static const ibx_pass_info passes[] = {
#define FIELD_GRAPH graph
#define FIELD_LOWER lower
#define FIELD_TILES tiles
#define IBX_PASS(pass_name, pass_kind, pass_sentence)                          \
  {.name = #pass_name,                                                         \
   .sentence = (pass_sentence),                                                \
   .kind = IBX_PASS_KIND_##pass_kind,                                          \
   .FIELD_##pass_kind = ibx_pass_##pass_name},
#include "passes/passes.def"
};

const ibx_pass_info *ibx_pass_get(size_t index) {
  return index < IBX_COUNT_OF(passes) ? &passes[index] : NULL;
}

const ibx_pass_info *ibx_pass_find(const char *name, size_t len) {
  for (size_t i = 0; i < IBX_COUNT_OF(passes); i++) {
    const char *row = passes[i].name;
    if (strlen(row) == len && memcmp(row, name, len) == 0) return &passes[i];
  }
  return NULL;
}

// SPDX-License-Identifier: Apache-2.0
//
// Layouts as text: "1", "1,3", "2 limit 64", "" for none.

#include "passes/lower.h"

#include <stdlib.h>

const char *ibx_layout_text(const ibx_layout *layout, ibx_arena *arena) {
  const char *text = "";
  for (uint8_t i = 0; i < layout->count; i++) {
    text = ibx_arena_format(arena, "%s%s%u", text, i ? "," : "",
                            (unsigned)layout->dims[i]);
  }
  if (layout->limit == 0 || layout->limit == IBX_PARTITIONS) return text;
  return ibx_arena_format(arena, "%s limit %u", text, (unsigned)layout->limit);
}

ibx_layout ibx_layout_parse(const char *text) {
  ibx_layout layout = {.count = 0};
  while (text && *text >= '0' && *text <= '9' && layout.count < IBX_MAX_RANK) {
    char *end;
    layout.dims[layout.count++] = (uint8_t)strtoul(text, &end, 10);
    text = *end == ',' ? end + 1 : end;
  }
  if (text && *text == ' ') layout.limit = (uint8_t)strtoul(text + 7, NULL, 10);
  return layout;
}

ibx_layout ibx_lower_layout(const ibx_lower *lower, const ibx_node *node) {
  (void)lower;
  return ibx_layout_parse(node->decided.layout);
}

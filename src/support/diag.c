// SPDX-License-Identifier: Apache-2.0
//
// Collects diagnostics. Comes in: a code, a place, a remedy and a message. Goes
// out: an entry of the sink whose texts live in its arena. Holds afterwards:
// every text is printable UTF-8, and the status is that of the first error.

#include "support/diag.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { MOST = 1000, TEXT_BYTES = 600 };

static const ibx_diag_info infos[] = {
#define IBX_DIAG(row, number, row_severity, row_status, row_sentence)          \
  {.code = IBX_DIAG_##row,                                                     \
   .name = "IBX" #number,                                                      \
   .sentence = (row_sentence),                                                 \
   .severity = IBX_SEVERITY_##row_severity,                                    \
   .status = IBX_##row_status},
#include "support/diag.def"
};

const ibx_diag_info *ibx_diag_get(size_t index) {
  return index < IBX_COUNT_OF(infos) ? &infos[index] : NULL;
}

static const ibx_diag_info *find(ibx_diag_code code) {
  for (size_t i = 0; i < IBX_COUNT_OF(infos); i++) {
    if (infos[i].code == code) return &infos[i];
  }
  return &infos[0];
}

// Bytes of the UTF-8 sequence at `text`, 0 when it is none or a control
// character. Overlong forms, surrogates and values past 0x10ffff are none.
static size_t sequence_bytes(const uint8_t *text) {
  if (text[0] < 0x80) return text[0] >= 0x20 && text[0] != 0x7f ? 1 : 0;
  size_t bytes = text[0] >= 0xf0 ? 4 : text[0] >= 0xe0 ? 3 : 2;
  if (text[0] < 0xc2 || text[0] > 0xf4) return 0;
  uint32_t value = text[0] & (0xffu >> (bytes + 1));
  for (size_t i = 1; i < bytes; i++) {
    if ((text[i] & 0xc0) != 0x80) return 0;
    value = value << 6 | (text[i] & 0x3fu);
  }
  static const uint32_t least[5] = {0, 0, 0x80, 0x800, 0x10000};
  if (value < least[bytes] || value > 0x10ffff) return 0;
  return value >= 0xd800 && value <= 0xdfff ? 0 : bytes;
}

// Copies at most TEXT_BYTES; a longer text loses its end.
static const char *clean(ibx_arena *arena, const char *text) {
  if (!text || text[0] == 0) return "";
  size_t len = strnlen(text, TEXT_BYTES);
  char *copy = ibx_arena_text(arena, text, len);
  for (size_t i = 0; i < len;) {
    size_t bytes = sequence_bytes((const uint8_t *)copy + i);
    if (bytes == 0) copy[i] = '?';
    i += bytes == 0 ? 1 : bytes;
  }
  return copy;
}

static void append(ibx_diag_sink *sink, ibx_diagnostic item) {
  if (sink->count == sink->room) {
    size_t room = sink->room == 0 ? 16 : 2 * sink->room;
    ibx_diagnostic *items = IBX_ARENA_ARRAY(sink->arena, room, ibx_diagnostic);
    if (sink->count != 0) {
      memcpy(items, sink->items, sink->count * sizeof(*items));
    }
    sink->items = items;
    sink->room = room;
  }
  sink->items[sink->count++] = item;
  if (sink->forward) sink->forward(sink->user, &sink->items[sink->count - 1]);
}

static void append_too_many(ibx_diag_sink *sink) {
  const ibx_diag_info *info = find(IBX_DIAG_TOO_MANY);
  append(sink, (ibx_diagnostic){.severity = info->severity,
                                .code = info->name,
                                .node = "",
                                .op = "",
                                .domain = "",
                                .attribute = "",
                                .input = "",
                                .message = "more was found than is shown",
                                .remedy = "repair the first problems first"});
}

// The first error always gets a place: the status is told by it.
static bool has_room(ibx_diag_sink *sink, const ibx_diag_info *info) {
  bool is_error = info->severity == IBX_SEVERITY_ERROR;
  bool is_first = is_error && sink->error_count++ == 0;
  if (is_first) sink->status = info->status;
  if (sink->count == MOST) append_too_many(sink);
  return sink->count < MOST || is_first;
}

static void add(ibx_diag_sink *sink, ibx_diag_code code, ibx_diag_at at,
                const char *remedy, const char *format, va_list args) {
  const ibx_diag_info *info = find(code);
  if (!has_room(sink, info)) return;
  char message[TEXT_BYTES];
  vsnprintf(message, sizeof(message), format, args);
  ibx_arena *arena = sink->arena;
  append(sink, (ibx_diagnostic){.severity = info->severity,
                                .code = info->name,
                                .node = clean(arena, at.node),
                                .op = clean(arena, at.op),
                                .domain = clean(arena, at.domain),
                                .version = at.version,
                                .attribute = clean(arena, at.attribute),
                                .input = clean(arena, at.input),
                                .input_index = at.input_index,
                                .wants_shape = at.wants_shape,
                                .wants_length = at.wants_length,
                                .message = clean(arena, message),
                                .remedy = clean(arena, remedy)});
}

void ibx_diag_add(ibx_diag_sink *sink, ibx_diag_code code, ibx_diag_at at,
                  const char *remedy, const char *format, ...) {
  va_list args;
  va_start(args, format);
  add(sink, code, at, remedy, format, args);
  va_end(args);
}

ibx_status ibx_diag_fail(ibx_diag_sink *sink, ibx_diag_code code,
                         ibx_diag_at at, ibx_error *err, const char *remedy,
                         const char *format, ...) {
  char message[TEXT_BYTES];
  va_list args;
  va_start(args, format);
  vsnprintf(message, sizeof(message), format, args);
  va_end(args);
  if (sink) ibx_diag_add(sink, code, at, remedy, "%s", message);
  return ibx_error_set(err, find(code)->status, __FILE__, __LINE__,
                       "node %.60s (%.20s): %s; %s", at.node ? at.node : "",
                       at.op ? at.op : "", message, remedy);
}

// Digits of the number of a trip at `text`, 0 where there is none.
static size_t trip_digits(const char *text) {
  size_t digits = *text == '[' ? strspn(text + 1, "0123456789") : 0;
  return digits != 0 && strncmp(text + 1 + digits, "]/", 2) == 0 ? digits : 0;
}

const char *ibx_diag_node_key(ibx_arena *arena, const char *node) {
  char *key = ibx_arena_text(arena, node, strlen(node)), *end = key;
  for (const char *at = node; *at != 0; at++) {
    size_t digits = at == node || at[-1] == '/' ? trip_digits(at) : 0;
    *end++ = *at;
    at += digits;
  }
  *end = 0;
  return key;
}

static const char *told_key(ibx_arena *arena, ibx_diag_code code,
                            const char *node) {
  return ibx_arena_format(arena, "%d %s", (int)code,
                          ibx_diag_node_key(arena, node ? node : ""));
}

void ibx_diag_slow(ibx_diag_sink *sink, ibx_diag_code code, ibx_diag_at at,
                   const char *remedy, const char *format, ...) {
  if (!sink || !sink->tells_slow) return;
  sink->told.arena = sink->arena;
  if (!ibx_map_put(&sink->told, told_key(sink->arena, code, at.node), 0)) {
    return;
  }
  va_list args;
  va_start(args, format);
  add(sink, code, at, remedy, format, args);
  va_end(args);
}

bool ibx_diag_has(const ibx_diag_sink *sink, ibx_diag_code code,
                  const char *node) {
  uint32_t unused;
  return ibx_map_find(&sink->told, told_key(sink->arena, code, node), &unused);
}

ibx_status ibx_diag_status(const ibx_diag_sink *sink, ibx_error *err) {
  if (sink->error_count == 0) return IBX_OK;
  const ibx_diagnostic *first = sink->items;
  while (first->severity != IBX_SEVERITY_ERROR)
    first++;
  if (first->node[0] == 0) {
    return ibx_error_set(err, sink->status, __FILE__, __LINE__, "%s",
                         first->message);
  }
  return ibx_error_set(err, sink->status, __FILE__, __LINE__, "%s (%s): %s",
                       first->node, first->op, first->message);
}

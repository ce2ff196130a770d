// SPDX-License-Identifier: Apache-2.0
//
// A driver library that runs programs as a faulty compiler would have made them:
// "?swap=MAX:MIN" has one operator where the program has another, in every
// instruction, and "?second=MAX:MIN" only where it is the second of two, as a
// fused operation has it. Names are those of assembly; what stands behind '&'
// goes to the simulator, which does everything else.

#include "imbrex/driver.h"

#include <stdlib.h>
#include <string.h>

enum { NAME_CHARS = 32 };

typedef struct device {
  void *sim;
  char from[NAME_CHARS], to[NAME_CHARS];
  bool second_only;
} device;

typedef struct executable {
  void *sim;
  ibx_entry entry; ///< a copy whose streams are wrong
} executable;

static const ibx_device_table *sim(void) { return ibx_sim_device_table(); }

static bool read_name(const char **at, char end, char out[NAME_CHARS]) {
  size_t len = strcspn(*at, ":&");
  if (len == 0 || len >= NAME_CHARS) return false;
  memcpy(out, *at, len);
  out[len] = 0;
  *at += len;
  return end == 0 ? **at == 0 || **at == '&' : **at == end;
}

static bool read_options(const char **rest, device *d) {
  const char *at = *rest;
  if (strncmp(at, "?swap=", 6) == 0) {
    at += 6;
  } else if (strncmp(at, "?second=", 8) == 0) {
    at += 8;
    d->second_only = true;
  } else {
    return false;
  }
  if (!read_name(&at, ':', d->from)) return false;
  at++;
  if (!read_name(&at, 0, d->to)) return false;
  *rest = at;
  return true;
}

static ibx_status wrong_open(const char *rest, const ibx_allocator *allocator,
                             void **out_device, ibx_error *err) {
  char options[256] = "?";
  device *d = calloc(1, sizeof *d);
  *out_device = NULL;
  if (!d) return IBX_FAIL(err, OUT_OF_MEMORY, "no memory");
  if (!read_options(&rest, d)) {
    free(d);
    return IBX_FAIL(err, INVALID_ARGUMENT, "'%s' is no ?swap=A:B", rest);
  }
  if (*rest == '&') rest++;
  strncat(options, rest, sizeof(options) - 2);
  ibx_status status = sim()->open(options, allocator, &d->sim, err);
  if (status != IBX_OK) {
    free(d);
    return status;
  }
  *out_device = d;
  return IBX_OK;
}

static void wrong_close(void *handle) {
  device *d = handle;
  sim()->close(d->sim);
  free(d);
}

static ibx_device_info wrong_query(void *handle) {
  const device *d = handle;
  return sim()->query(d->sim);
}

static void falsify(const device *d, ibx_insn *insn) {
  for (size_t i = d->second_only ? 1 : 0; i < IBX_OPERATORS; i++) {
    ibx_operator_kind kind = ibx_insn_operator(insn->opcode, i);
    const char *name = ibx_operator_name(kind, insn->op[i]);
    if (kind == IBX_OPERATOR_NONE || !name || strcmp(name, d->from) != 0) {
      continue;
    }
    for (unsigned to = 0; to < UINT8_MAX; to++) {
      const char *other = ibx_operator_name(kind, (uint8_t)to);
      if (!other) break;
      if (strcmp(other, d->to) == 0) insn->op[i] = (uint8_t)to;
    }
  }
}

static void free_streams(executable *x) {
  for (size_t e = 0; e < IBX_ENGINE_COUNT; e++)
    free(x->entry.streams[e].insns);
  free(x);
}

static executable *copy_entry(const device *d, const ibx_entry *entry) {
  executable *x = calloc(1, sizeof *x);
  if (!x) return NULL;
  x->entry = *entry;
  for (size_t e = 0; e < IBX_ENGINE_COUNT; e++)
    x->entry.streams[e].insns = NULL;
  for (size_t e = 0; e < IBX_ENGINE_COUNT; e++) {
    const ibx_stream *from = &entry->streams[e];
    ibx_stream *to = &x->entry.streams[e];
    to->insns = calloc(from->count + 1, sizeof *to->insns);
    if (!to->insns) {
      free_streams(x);
      return NULL;
    }
    for (size_t i = 0; i < from->count; i++) {
      to->insns[i] = from->insns[i];
      falsify(d, &to->insns[i]);
    }
  }
  return x;
}

static ibx_status wrong_load(void *handle, const ibx_device_program *program,
                             void **out_executable, ibx_error *err) {
  device *d = handle;
  *out_executable = NULL;
  executable *x = copy_entry(d, program->entry);
  if (!x) return IBX_FAIL(err, OUT_OF_MEMORY, "no memory");
  ibx_device_program wrong = *program;
  wrong.entry = &x->entry;
  ibx_status status = sim()->load(d->sim, &wrong, &x->sim, err);
  if (status != IBX_OK) {
    free_streams(x);
    return status;
  }
  *out_executable = x;
  return IBX_OK;
}

static void wrong_unload(void *handle) {
  executable *x = handle;
  sim()->unload(x->sim);
  free_streams(x);
}

static ibx_status wrong_run(void *handle, uint8_t *const *memory,
                            ibx_error *err) {
  executable *x = handle;
  return sim()->run(x->sim, memory, err);
}

const ibx_device_table *ibx_driver_get_table(uint32_t version);

IBX_API const ibx_device_table *ibx_driver_get_table(uint32_t version) {
  static const ibx_device_table table = {
      .version = IBX_DEVICE_TABLE_VERSION,
      .size_bytes = sizeof(ibx_device_table),
      .layout = IBX_DEVICE_LAYOUT,
      .open = wrong_open,
      .close = wrong_close,
      .query = wrong_query,
      .load = wrong_load,
      .unload = wrong_unload,
      .run = wrong_run,
  };
  return version == IBX_DEVICE_TABLE_VERSION ? &table : NULL;
}

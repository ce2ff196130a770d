// SPDX-License-Identifier: Apache-2.0
//
// Entries of several cores. In: text. Out: programs, proofs and runs.

#include "support/cores.h"
#include "imbrex/prove.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TEXT_BYTES = 65536 };

static void assemble(cores_program *p, ibx_str text, const char *name,
                     const ibx_asm_define *defines, size_t count) {
  ibx_error err = {0};
  if (ibx_asm_parse(text, name, defines, count, &p->assembled, &err) !=
      IBX_OK) {
    fail_msg("%s", err.message);
  }
  p->data = ibx_asm_get(p->assembled);
  p->entry = p->data->entries;
  p->chip = NULL;
}

void cores_make(cores_program *p, const char *format, ...) {
  static char text[TEXT_BYTES];
  va_list args;
  va_start(args, format);
  int len = vsnprintf(text, sizeof text, format, args);
  va_end(args);
  assert_in_range(len, 1, sizeof text - 1);
  assemble(p, (ibx_str){text, (size_t)len}, "test.s", NULL, 0);
}

void cores_make_file(cores_program *p, const char *path,
                     const ibx_asm_define *defines, size_t count) {
  static char text[TEXT_BYTES];
  FILE *in = fopen(path, "rb");
  assert_non_null(in);
  size_t len = fread(text, 1, sizeof text, in);
  fclose(in);
  assemble(p, (ibx_str){text, len}, "file.s", defines, count);
}

void cores_fini(cores_program *p) {
  ibx_sim_chip_destroy(p->chip);
  ibx_asm_destroy(p->assembled);
}

void cores_prove(const cores_program *p) {
  ibx_error err = {0};
  if (ibx_prove_entry(p->data, p->entry, NULL, &err) != IBX_OK) {
    fail_msg("%s", err.message);
  }
}

void cores_refuse(const cores_program *p, const char *words) {
  ibx_error err = {0};
  assert_int_not_equal(ibx_prove_entry(p->data, p->entry, NULL, &err), IBX_OK);
  if (!strstr(err.message, words)) {
    fail_msg("\"%s\" lacks \"%s\"", err.message, words);
  }
}

ibx_status cores_run(cores_program *p, const ibx_sim_options *options,
                     const cores_tensor *tensors, size_t count,
                     ibx_error *err) {
  uint8_t *hbm[64] = {NULL};
  assert_in_range(p->entry->buffer_count, 0, IBX_COUNT_OF(hbm));
  for (size_t i = 0; i < p->entry->buffer_count; i++) {
    for (size_t t = 0; t < count; t++) {
      if (strcmp(tensors[t].name, p->entry->buffers[i].name) == 0) {
        hbm[i] = tensors[t].data;
      }
    }
  }
  const ibx_sim_memory memory = {.hbm = hbm};
  if (!p->chip) {
    IBX_TRY(ibx_sim_chip_create(p->data, p->entry, &p->chip, err));
  }
  return ibx_sim_chip_run(p->chip, options, &memory, err);
}

// SPDX-License-Identifier: Apache-2.0
//
// round_trip FILE[,NAME=VALUE...]...: programs through everything that reads and writes them.
// Each file, .s or .ibx, is read and written, and its disassembly is assembled;
// both must give the bytes that it started from. Symbols stand behind the name
// of an assembly file, as imbrex asm takes them with -D.

#include "fuzz/seeds.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_DEFINES = 16, NAME_BYTES = 32 };

typedef struct defines {
  ibx_asm_define items[MOST_DEFINES];
  char names[MOST_DEFINES][NAME_BYTES];
  size_t count;
} defines;

static bool fail(const char *path, const char *what, const ibx_error *err) {
  printf("%s: %s: %s\n", path, what, err ? err->message : "");
  return false;
}

static bool is_same(const ibx_blob *a, const ibx_blob *b) {
  return a->size == b->size && memcmp(a->data, b->data, a->size) == 0;
}

static bool rewrite(const char *path, const ibx_blob *file,
                    const ibx_program_data *data, const char *what) {
  ibx_blob again = {0};
  ibx_error err = {.message = "other bytes"};
  bool fine = ibx_program_write(data, ibx_blob_write, &again, NULL, NULL,
                                &err) == IBX_OK &&
              is_same(file, &again);
  ibx_blob_fini(&again);
  return fine || fail(path, what, &err);
}

static bool reassemble(const char *path, const ibx_blob *file,
                       const ibx_program_data *data) {
  ibx_blob text = {0};
  ibx_error err = {.message = ""};
  ibx_asm_program *program = NULL;
  ibx_status status = ibx_disasm_program(data, ibx_blob_write, &text, &err);
  if (status == IBX_OK) {
    ibx_str str = {(const char *)text.data, text.size};
    status = ibx_asm_parse(str, "again.s", NULL, 0, &program, &err);
  }
  bool fine = status == IBX_OK
                  ? rewrite(path, file, ibx_asm_get(program), "assembled again")
                  : fail(path, "its text", &err);
  ibx_asm_destroy(program);
  ibx_blob_fini(&text);
  return fine;
}

static bool check_file(const char *path, const ibx_blob *file) {
  ibx_program *program = NULL;
  ibx_error err = {.message = ""};
  if (ibx_program_open_memory(ibx_blob_get(file), &program, &err) != IBX_OK) {
    return fail(path, "cannot be read", &err);
  }
  const ibx_program_data *data = ibx_program_get(program);
  bool fine = rewrite(path, file, data, "written again") &&
              reassemble(path, file, data);
  ibx_program_close(program);
  return fine;
}

// "FILE,NAME=VALUE,NAME=VALUE": cuts the path off. False where it is none.
static bool split(char *argument, defines *out) {
  out->count = 0;
  char *at = strchr(argument, ',');
  for (; at && out->count < MOST_DEFINES; at = strchr(at, ',')) {
    char *name = out->names[out->count];
    int64_t value;
    *at++ = 0;
    if (sscanf(at, "%31[A-Za-z0-9_]=%" SCNi64, name, &value) != 2) return false;
    out->items[out->count++] = (ibx_asm_define){.name = name, .value = value};
  }
  return at == NULL;
}

static bool check_size(const char *path, const defines *sizes) {
  seeds corpus = {0};
  ibx_error err = {.message = "no such file"};
  bool fine = seeds_add_path(&corpus, path, sizes->items, sizes->count, &err)
                  ? check_file(path, &corpus.files[0])
                  : fail(path, "cannot be made", &err);
  seeds_fini(&corpus);
  return fine;
}

int main(int argc, char **argv) {
  static defines sizes;
  unsigned passed = 0, failed = 0;
  for (int i = 1; i < argc; i++) {
    bool fine = split(argv[i], &sizes) ? check_size(argv[i], &sizes)
                                       : fail(argv[i], "no NAME=VALUE", NULL);
    fine ? passed++ : failed++;
  }
  printf("%u passed, %u failed\n", passed, failed);
  return failed == 0 && passed > 0 ? 0 : 1;
}

// SPDX-License-Identifier: Apache-2.0
//
// libFuzzer: any bytes as a program file. The first byte tells whether the
// digests are made right first, or the fuzzer would never see behind them. What
// opens is proved and written again; nothing may crash, leak or hang.
//
//   cmake -B build/fuzz -DCMAKE_C_COMPILER=clang-22
//         -DIMBREX_SANITIZE=fuzzer-no-link,address,undefined
//   cmake --build build/fuzz --target program_fuzz
//   build/fuzz/bin/program_fuzz CORPUS_DIR

#include "imbrex/blob.h"
#include "imbrex/prove.h"
#include "support/reseal.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

// Long loops are legal and slow; the fuzzer has better things to do.
static bool is_short(const ibx_entry *entry) {
  for (size_t e = 0; e < IBX_ENGINE_COUNT; e++) {
    for (size_t i = 0; i < entry->streams[e].count; i++) {
      const ibx_insn *insn = &entry->streams[e].insns[i];
      if (insn->opcode == IBX_OP_loop && insn->count > 8) return false;
    }
  }
  return true;
}

static void use(const ibx_program *program) {
  const ibx_program_data *data = ibx_program_get(program);
  for (size_t i = 0; i < data->entry_count; i++) {
    ibx_error err;
    if (!is_short(&data->entries[i])) continue;
    if (ibx_prove_entry(data, &data->entries[i], NULL, &err) != IBX_OK &&
        strlen(err.message) == 0) {
      abort();
    }
  }
  ibx_blob blob = {0};
  if (ibx_program_write(data, ibx_blob_write, &blob, NULL, NULL, NULL) !=
      IBX_OK) {
    abort();
  }
  ibx_blob_fini(&blob);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size < 1) return 0;
  size_t length = size - 1;
  uint8_t *bytes = aligned_alloc(64, (length + 64) / 64 * 64);
  if (!bytes) return 0;
  memcpy(bytes, data + 1, length);
  if (data[0] & 1) reseal(bytes, length);
  ibx_program *program = NULL;
  ibx_span span = {.data = bytes, .size = length};
  if (ibx_program_open_memory(span, &program, NULL) == IBX_OK) use(program);
  ibx_program_close(program);
  free(bytes);
  return 0;
}

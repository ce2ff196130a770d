// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_FUZZ_SEEDS_H
#define IBX_FUZZ_SEEDS_H

/// \file
/// What is mutated: correct program files. Some are made here, one for each
/// instruction, target and engine that isa.def has; others come from assembly
/// or from files.

#include "imbrex/asm.h"
#include "imbrex/blob.h"

typedef struct seeds {
  ibx_blob *files;
  size_t count, room;
  uint8_t rows[UINT8_MAX + 1]; ///< opcodes of the rows: bit per target
} seeds;

/// Fields that `ibx_insn_check()` accepts, at random; `insn->opcode` is set.
/// False where a thousand tries found none.
bool seeds_random_insn(uint64_t *random, const ibx_machine *machine,
                       ibx_engine engine, const ibx_buffer_place *places,
                       size_t place_count, ibx_insn *insn);

/// Takes a file of the corpus, which then belongs to it; false when memory is
/// short.
bool seeds_add_blob(seeds *s, ibx_blob blob);
/// A program for every row, target and engine; false when memory is short.
bool seeds_add_rows(seeds *s);
/// A program with steps on the host; false when memory is short.
bool seeds_add_steps(seeds *s);
/// Prints the rows that have none, for a target that has them; their number.
size_t seeds_print_missing(const seeds *s);
/// An assembly file, `.s`, or a program file.
bool seeds_add_path(seeds *s, const char *path, const ibx_asm_define *defines,
                    size_t define_count, ibx_error *err);
bool seeds_add_program(seeds *s, const ibx_program_data *data, ibx_error *err);
void seeds_fini(seeds *s);

/// The bytes of a file; `data` is NULL where it cannot be read.
ibx_blob seeds_read(const char *path);

#endif

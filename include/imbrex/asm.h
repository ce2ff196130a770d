// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_ASM_H
#define IBX_ASM_H

/// \file
/// The assembly language: text to program and back. Names come from isa.def.
/// Disassembly of a program assembles to the same bytes. docs/assembly.md
/// teaches the language.

#include "imbrex/program.h"

IBX_C_BEGIN

/// A symbol set from outside; it overrides the `.equ` of the same name.
typedef struct ibx_asm_define {
  const char *name;
  int64_t value;
} ibx_asm_define;

/// An assembled program and the memory that it lies in.
typedef struct ibx_asm_program ibx_asm_program;

/// Assembles `text`; `name` stands in messages and, without `.model`, in the
/// program, so it has no folders. On success the caller owns `*out_program`;
/// on failure it is NULL. Fails with INVALID_PROGRAM and
/// "name:line:column: what is wrong; remedy", or OUT_OF_MEMORY. Instructions
/// are as well formed as the encoder needs; ibx_program_write() and
/// ibx_prove_entry() check the rest.
IBX_API IBX_NODISCARD ibx_status ibx_asm_parse(ibx_str text, const char *name,
                                               const ibx_asm_define *defines,
                                               size_t define_count,
                                               ibx_asm_program **out_program,
                                               ibx_error *err);

/// Lends the program; it lives until ibx_asm_destroy().
IBX_API const ibx_program_data *ibx_asm_get(const ibx_asm_program *program);

/// Accepts NULL.
IBX_API void ibx_asm_destroy(ibx_asm_program *program);

/// Writes one instruction as text, without a line end, to `out` of `size`
/// bytes, always terminated, cut where it does not fit. Returns the length of
/// the whole text, as snprintf() does. `entry` names the buffers; when NULL
/// they are %0, %1, ...
IBX_API size_t ibx_disasm_insn(const ibx_entry *entry, const ibx_insn *insn,
                               char *out, size_t size);

/// Room for the text of any instruction whose buffer names are short; a cut
/// text has been told by the returned length.
enum { IBX_DISASM_INSN_BYTES = 2048 };

/// Writes the whole program as text through the sink, weights included.
/// Fails with IO_ERROR when the sink fails, OUT_OF_MEMORY.
IBX_API IBX_NODISCARD ibx_status
ibx_disasm_program(const ibx_program_data *program, ibx_write_fn write,
                   void *user, ibx_error *err);

IBX_C_END
#endif

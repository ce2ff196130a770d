// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_ASM_TEXT_H
#define IBX_ASM_TEXT_H

/// \file
/// What assembler and disassembler share: the words of the language and access
/// to members by the field table.

#include "imbrex/isa.h"

/// Words that a bare name cannot be.
bool ibx_asm_is_reserved(const char *name, size_t len);

/// The bit of a flag, or 0 when no flag has the name.
uint8_t ibx_asm_find_flag(const char *name, size_t len);

/// A member that has a short word instead of its spelling in isa.def.
typedef struct ibx_asm_word {
  const char *word;   ///< "op0"
  const char *member; ///< "op[0]"
} ibx_asm_word;

/// Lends the members that are written `word=value`, and their number.
const ibx_asm_word *ibx_asm_words(size_t *out_count);

/// Lends the field of a format by its member; NULL when there is none.
const ibx_field_info *ibx_asm_find_field(ibx_format format, const char *member,
                                         size_t len);

/// The member's bits; a signed member is sign-extended.
int64_t ibx_asm_get_member(const ibx_insn *insn, const ibx_field_info *field);
/// Stores the value, or returns false when it does not fit the member. FLOAT
/// takes the bits.
bool ibx_asm_set_member(ibx_insn *insn, const ibx_field_info *field,
                        int64_t value);

/// The name of value `value` of `member`, as "add" of op[0]; NULL when it has
/// none.
const char *ibx_asm_value_name(const ibx_insn *insn, const char *member,
                               int64_t value);
/// The inverse; -1 when there is none.
int ibx_asm_find_value(const ibx_insn *insn, const char *member,
                       const char *name, size_t len);

/// The steps that operand `slot` has when none are written: contiguous over the
/// dimensions that do not walk partitions, 0 in those that do, and everywhere
/// where the format has no steps or the operand no buffer. False where a step does not fit.
bool ibx_asm_default_steps(const ibx_insn *insn, size_t slot,
                           int32_t steps[IBX_DIMS]);

/// Text of the shortest kind that reads back as the same number.
void ibx_asm_print_float(float value, char *out, size_t size);
/// Reads a decimal number, whatever the locale.
bool ibx_asm_read_number(const char *text, size_t len, double *out);

#endif

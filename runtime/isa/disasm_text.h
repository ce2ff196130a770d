// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_DISASM_TEXT_H
#define IBX_DISASM_TEXT_H

/// \file
/// Pieces of assembly text, appended to bounded memory.

#include "imbrex/asm.h"

typedef struct ibx_text {
  char *out;
  size_t size, len; ///< len of the whole text, also past the size
} ibx_text;

/// Which buffers a bare name identifies. Made once for a program; for a single
/// instruction `is_named` is NULL and the entry is searched.
typedef struct ibx_naming {
  const ibx_entry *entry;
  const bool *is_named;
} ibx_naming;

void ibx_text_add(ibx_text *t, const char *format, ...) IBX_PRINTF(2, 3);
/// In quotes, with escapes; NULL is empty.
void ibx_text_add_string(ibx_text *t, const char *name);
void ibx_text_add_insn(ibx_text *t, const ibx_naming *names,
                       const ibx_insn *insn);
/// Whether the assembler reads the name without quotes.
bool ibx_asm_is_bare(const char *name);

#endif

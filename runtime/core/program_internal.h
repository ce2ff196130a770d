// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_CORE_PROGRAM_INTERNAL_H
#define IBX_CORE_PROGRAM_INTERNAL_H

/// \file
/// The three steps of opening a program: map and digest (program_read.c),
/// sections to tables (program_parse.c), tables against the machine
/// (program_check.c).

#include "core/pool.h"
#include "core/program_format.h"

struct ibx_program {
  ibx_program_data data;
  ibx_pool pool;
  void *mapping; ///< NULL when the bytes belong to the caller
  size_t mapping_size;
  uint64_t digest;
  ibx_span bytes; ///< the whole file
};

/// The sections that this version knows; `data` is NULL where one is missing.
typedef struct ibx_sections {
  ibx_span at[IBX_SECTION_ID_COUNT];
} ibx_sections;

/// Fills `program->data` from the sections, all counts and references into
/// them checked. Fails with INVALID_PROGRAM, OUT_OF_MEMORY.
IBX_NODISCARD ibx_status ibx_program_parse(ibx_program *program,
                                           const ibx_sections *sections,
                                           ibx_error *err);

/// Checks tables against each other and the machine, and every instruction on
/// its own. Fails with INVALID_PROGRAM, OUT_OF_CAPACITY, OUT_OF_MEMORY.
IBX_NODISCARD ibx_status ibx_program_check(const ibx_program_data *program,
                                           ibx_error *err);

/// The same for one entry, which need not come from a file.
IBX_NODISCARD ibx_status ibx_entry_check(const ibx_program_data *program,
                                         const ibx_entry *entry,
                                         ibx_error *err);

/// The same for an entry with steps: every value is made once and before it is
/// read, calls have the signature of their row, and device steps run segments
/// with the tensors that those declare. Gives the tensors their types.
IBX_NODISCARD ibx_status ibx_steps_check(const ibx_program_data *program,
                                         const ibx_entry *entry,
                                         ibx_error *err);

/// Lends the places of an entry's buffers as one array from `pool`; NULL when
/// memory is short.
ibx_buffer_place *ibx_entry_places(const ibx_entry *entry, ibx_pool *pool);

#endif

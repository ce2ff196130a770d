// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_DRIVER_EXTENTS_H
#define IBX_DRIVER_EXTENTS_H

/// \file
/// The option --extent NAME=V: what the user knows of a number that a program
/// reads from memory.

#include "driver/options.h"
#include "imbrex/prove.h"
#include "imbrex/sim.h"

/// The option itself: an ibx_option_list.
// clang-format off
#define IBX_EXTENT_ROW(list)                                                   \
  {"extent", 0, IBX_OPTION_LIST, &(list), "NAME=V",                            \
   "value of a loop limit that the program loads from NAME, a buffer or an "   \
   "input, instead of the most that it allows"}
// clang-format on

/// Zero at first. Owns its names.
typedef struct ibx_extent_list {
  ibx_sim_extent *items;
  size_t count;
} ibx_extent_list;

/// Reads every NAME=V of `given`. Returns 0, or an exit code after printing
/// what is wrong. ibx_extent_list_fini() is due in either case.
IBX_NODISCARD int ibx_extent_list_read(const char *command,
                                       const ibx_option_list *given,
                                       ibx_extent_list *out);
void ibx_extent_list_fini(ibx_extent_list *list);

/// Proves what is timed at these extents: the prover itself follows no number
/// from memory. `out_proof` may be NULL. Fails as ibx_sim_fix_extents() and
/// ibx_prove_entry().
IBX_NODISCARD ibx_status ibx_extent_list_prove(const ibx_extent_list *list,
                                               const ibx_program_data *program,
                                               const ibx_entry *entry,
                                               ibx_proof *out_proof,
                                               ibx_error *err);

#endif

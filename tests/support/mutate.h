// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_TEST_MUTATE_H
#define IBX_TEST_MUTATE_H

/// \file
/// Breaks programs on purpose. A mutation is one seeded change of a correct
/// entry; the prover should refuse it, and what it accepts must give the bytes
/// of the unchanged entry in every order.

#include "imbrex/program.h"

typedef enum mutate_kind {
  MUTATE_WAIT,    ///< a wait dropped or lowered
  MUTATE_SIGNAL,  ///< a signal dropped
  MUTATE_ACCESS,  ///< an access that leaves its buffer
  MUTATE_OVERLAP, ///< a live buffer moved onto another one
  MUTATE_EDGE,    ///< a wait and its signal dropped together
  MUTATE_KIND_COUNT
} mutate_kind;

typedef struct mutate_counts {
  uint64_t rejected;
  uint64_t accepted_equal;     ///< the same bytes in every order that was tried
  uint64_t accepted_different; ///< a bug of the prover
  uint64_t accepted_untried;   ///< beyond the number of samples
  uint64_t impossible;         ///< the entry has no place for this mutation
} mutate_counts;

typedef struct mutate_options {
  uint64_t seed;
  uint64_t count;   ///< mutations of each kind
  uint64_t samples; ///< accepted mutations to run, of all kinds together
  uint64_t orders;  ///< random orders of each, beside the adversarial ones
} mutate_options;

typedef struct mutate_report {
  mutate_counts kinds[MUTATE_KIND_COUNT];
  char first_bug[256]; ///< "" where there is none
} mutate_report;

/// "wait", "signal", "access", "overlap", "edge".
const char *mutate_kind_name(mutate_kind kind);

/// Adds the results of one entry, which the prover must accept as it is, to
/// `*report`. Fails with UNPROVEN when it does not, with what the simulator
/// says when the entry does not run, or OUT_OF_MEMORY.
IBX_NODISCARD ibx_status mutate_entry(const ibx_program_data *program,
                                      const ibx_entry *entry,
                                      const mutate_options *options,
                                      mutate_report *report, ibx_error *err);

/// Whether `changed` gives the bytes that `entry` gives in program order, under
/// the adversarial and `orders` random orders; OK, MISMATCH, or what the
/// simulator says. Both have the same tensors and buffers of the caller.
IBX_NODISCARD ibx_status mutate_compare(const ibx_program_data *program,
                                        const ibx_entry *entry,
                                        const ibx_entry *changed,
                                        uint64_t orders, ibx_error *err);

#endif

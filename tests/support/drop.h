// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_TEST_DROP_H
#define IBX_TEST_DROP_H

/// \file
/// Kernels without one of their waits: which orders of execution show it?

#include "support/kernel.h"

/// What became of one dropped wait. An order shows it by other bytes, an error
/// or a deadlock.
typedef struct drop_result {
  ibx_engine engine;
  size_t index; ///< of the instruction in the engine's stream
  bool is_refused;
  ibx_error why;        ///< the prover's reason
  unsigned adversaries; ///< a bit for each adversarial order that shows it
  uint64_t random;      ///< random orders that show it
} drop_result;

typedef struct drop_options {
  bool stops;      ///< at the first adversarial order that shows a drop
  uint64_t most;   ///< waits to drop, spread evenly over all of them
  uint64_t random; ///< random orders for each, of seeds from 1
} drop_options;

typedef void (*drop_fn)(void *user, const drop_result *result);

/// Drops waits of the entry, which the prover must accept as it is, one at a
/// time, and calls `found` for each. The kernel has memory, and is as before
/// afterwards. Fails as the prover or the simulator do with the whole kernel,
/// or with OUT_OF_MEMORY.
ibx_status drop_waits(kernel *k, const drop_options *options, drop_fn found,
                      void *user, ibx_error *err);

#endif

// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_SIM_ORDER_H
#define IBX_SIM_ORDER_H

/// \file
/// The single steps of a run, for the strategies that choose among them.

#include "sim/state.h"

/// The engine's next instruction; NULL behind its last one.
const ibx_insn *ibx_sim_next(const ibx_sim *sim, ibx_engine engine);

/// Whether the semaphore that `insn` waits for is too low.
bool ibx_sim_waits(const ibx_sim *sim, const ibx_insn *insn);

/// Whether the engine can take its next step.
bool ibx_sim_is_ready(const ibx_sim *sim, ibx_engine engine);

/// Takes it. Fails with DEVICE_ERROR as ibx_sim_run().
ibx_status ibx_sim_step(ibx_sim *sim, ibx_engine engine, ibx_error *err);

/// Carries out the piece at index `at` of those under way; the last piece takes
/// its place.
void ibx_sim_run_piece(ibx_sim *sim, size_t at);

/// Runs everything in the adversarial order that `sim->random` numbers, until
/// nothing can go on.
ibx_status ibx_sim_run_adversary(ibx_sim *sim, ibx_error *err);

#endif

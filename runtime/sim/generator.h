// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_SIM_GENERATOR_H
#define IBX_SIM_GENERATOR_H

/// \file
/// The generators of random numbers: XORWOW (Marsaglia, Xorshift RNGs, 2003),
/// one for each partition on GpSimd and four on Vector, as the size of their
/// documented state says. Element i of a partition takes the next number of
/// its generator i mod 4, or of the only one [C]. A run starts as after seed
/// 0 [C].

#include "sim/state.h"

/// Words of state of each partition: 24 on Vector, 6 on GpSimd.
size_t ibx_generator_words(ibx_engine engine);

/// Seeds every partition. The seed is spread over the words by the finaliser of
/// MurmurHash3, each with a number of its own [C].
void ibx_generator_seed(ibx_sim *sim, ibx_engine engine, uint32_t seed);

/// Lends the state of partition `p` of the instruction, which is that of the
/// partition of operand `slot`.
uint32_t *ibx_generator_state(const ibx_exec *x, unsigned slot, size_t p);

/// 32 random bits for element `i`, in ascending order, of partition `p` of dst.
uint32_t ibx_generator_next(const ibx_exec *x, size_t p, size_t i);

/// The same as a number from 0 to below 1: the upper 24 bits.
float ibx_generator_uniform(const ibx_exec *x, size_t p, size_t i);

#endif

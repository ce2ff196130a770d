// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_SIM_ROUNDING_H
#define IBX_SIM_ROUNDING_H

/// \file
/// How an instruction rounds what it stores as a narrower floating type: to
/// nearest even, or stochastically, by bits of a counter-based generator: Philox
/// 4x32-10 (Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1,
/// 2, 3", 2011). Its key is the seed and its counter names the stored element,
/// so that the bits do not depend on when it is stored:
///
///   word  3, 2   number of the instruction among those its engine executed
///   word  1      element / 2^32 (16 bits), partition (8), engine (4), slot (4)
///   word  0      element modulo 2^32
///
/// The machine's own generator is not published: this one is our choice [C]. So
/// is that the cores of a chip have the same bits: what they compute alike stays
/// alike, and a reduction over cores is the same on all of them.

#include "imbrex/dtype.h"

typedef struct ibx_rounder {
  bool is_stochastic; ///< else the conversion itself rounds to nearest even
  uint8_t operand;    ///< engine and slot, the low byte of word 1
  uint64_t seed;
  uint64_t number; ///< of the instruction
} ibx_rounder;

struct ibx_exec;
/// How the instruction of `x` rounds what it stores in operand `slot`.
ibx_rounder ibx_rounder_make(const struct ibx_exec *x, unsigned slot);

/// The number to convert to `dtype` instead of `value`, for element `i` of
/// partition `p` of the operand.
float ibx_round(const ibx_rounder *rounder, ibx_dtype dtype, size_t p,
                uint64_t i, float value);

/// Ten rounds of Philox 4x32 on `counter`, in place.
void ibx_philox(uint32_t counter[4], const uint32_t key[2]);

#endif

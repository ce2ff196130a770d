// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_SIM_BITS_H
#define IBX_SIM_BITS_H

/// \file
/// ALU operators on integers: the BITS operators of Vector and GpSimd, and the
/// wrapping 32-bit arithmetic of GpSimd.

#include "imbrex/isa.h"

/// a op b of a BITS operator; `width` is the number of bits of a.
uint32_t ibx_sim_bits_one(uint8_t alu, uint32_t a, uint32_t b, unsigned width);

/// a op b of any operator on 32-bit integers; sums, products and powers wrap.
/// A negative power is 0 but for bases 1 and -1.
uint32_t ibx_sim_integer_one(uint8_t alu, uint32_t a, uint32_t b,
                             bool is_signed);

#endif

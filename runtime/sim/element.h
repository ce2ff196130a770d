// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_SIM_ELEMENT_H
#define IBX_SIM_ELEMENT_H

/// \file
/// The words in which instructions are specified. An ibx_exec_ function opens
/// its operands, which checks every address, and then computes element by
/// element in plain C; nothing after the opening can fail:
///
///   // dst = src0 * s + src1
///   ibx_status ibx_exec_example(const ibx_exec *x) {
///     ibx_sim_view dst, a, b, s;
///     IBX_TRY(ibx_open_read(x, 1, &a));
///     IBX_TRY(ibx_open_read(x, 2, &b));
///     IBX_TRY(ibx_open_scalar(x, 3, x->insn->imm[0], &s));
///     IBX_TRY(ibx_open_write(x, 0, &dst));
///     for (size_t p = 0; p < dst.partitions; p++) {
///       for (size_t i = 0; i < dst.elements; i++) {
///         float product = ibx_load(&a, p, i) * ibx_load(&s, p, 0);
///         ibx_store(&dst, p, i, product + ibx_load(&b, p, i));
///       }
///     }
///     return IBX_OK;
///   }
///
/// Rules that hold for every instruction:
///   - It reads all of its operands before it writes any: opening one to read
///     copies its elements, so that operands may overlap in any way. What is
///     read and written is opened twice.
///   - The space that an operand walks is that of ibx_insn_shape(): the
///     instruction's own, or what an IBX_SHAPE row says.
///   - Where written elements coincide, the last one in iteration order stays
///     (partitions ascending, then elements; slot 0 before a [P,1] result).
///   - Arithmetic is fp32, each operation rounded to nearest even. Elements are
///     converted when loaded (exactly, but for 32-bit integers) and stored
///     (dtype.h: rounded to nearest even, integers saturated). In a run with
///     stochastic rounding floating types below fp32 are rounded by rounding.h;
///     integers and packed types stay as they are.
///   - A NaN that ibx_store() receives is stored as the one quiet NaN 0x7fc00000
///     of fp32, converted: sign and payload of operands do not live on [C].
///     What moves bit for bit (ibx_load_bits, ibx_store_bits) keeps them.
///
/// Operators of one element are in arith.h and bits.h, sizes in state.h. Room
/// for values of a whole partition or tile is in x->sim->scratch.

#include "sim/view.h"

/// Opens operand `slot` for reading. Fails with DEVICE_ERROR when an element
/// lies outside of its buffer, OUT_OF_MEMORY.
ibx_status ibx_open_read(const ibx_exec *x, unsigned slot, ibx_sim_view *out);

/// Opens operand `slot` for writing; fails as above.
ibx_status ibx_open_write(const ibx_exec *x, unsigned slot, ibx_sim_view *out);

/// Opens a [P,1] operand (slot s) for reading, or where it is absent the
/// immediate instead of it. Its elements are number 0 of each partition.
ibx_status ibx_open_scalar(const ibx_exec *x, unsigned slot, float immediate,
                           ibx_sim_view *out);

/// Element `i` in iteration order of partition `p`, as fp32.
float ibx_load(const ibx_sim_view *view, size_t p, size_t i);
void ibx_store(const ibx_sim_view *view, size_t p, size_t i, float value);

/// The element's bits, of signed integers extended to 32 with their sign.
uint32_t ibx_load_bits(const ibx_sim_view *view, size_t p, size_t i);
/// Stores the low bits.
void ibx_store_bits(const ibx_sim_view *view, size_t p, size_t i,
                    uint32_t bits);

/// The element as an integer of 64 bits, of unsigned ones the same bits. The
/// elements are integers or truth values.
int64_t ibx_load_integer(const ibx_sim_view *view, size_t p, size_t i);
/// Stores the low bits; of a truth value whether it is not 0.
void ibx_store_integer(const ibx_sim_view *view, size_t p, size_t i,
                       int64_t value);

/// dst[j] = src[i], bit for bit; the elements have one type.
void ibx_copy_element(const ibx_sim_view *dst, size_t p, size_t j,
                      const ibx_sim_view *src, size_t i);

/// Whether the elements are floats.
bool ibx_holds_floats(const ibx_sim_view *view);
/// Whether the elements are integers of 32 bits, signed or not.
bool ibx_is_int32(const ibx_sim_view *view);
bool ibx_is_signed(const ibx_sim_view *view);

/// The integer that a scalar operand means: rounded to nearest even, cut to
/// -2^31 .. 2^32 - 1, as its 32 bits.
uint32_t ibx_scalar_bits(float value);

#endif

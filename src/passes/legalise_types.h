// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_LEGALISE_TYPES_H
#define IBX_LEGALISE_TYPES_H

/// \file
/// What the parts of the pass legalise_types share.

#include "passes/rewrite.h"

typedef struct ibx_types_pass {
  ibx_rewrite rewrite;
  uint32_t *bits, *real; ///< new values of an old one, or IBX_NO_VALUE
  bool *has_bits;        ///< of a 64-bit value: they are there without `encode`
  bool *wants_bits, *wants_real; ///< of a 64-bit value: by a user
  size_t doubles;                ///< operations on f64
  const ibx_node *first_double;
} ibx_types_pass;

/// The dtype of an old value, and of a new one (NONE: of no value).
ibx_dtype ibx_types_dtype(const ibx_types_pass *t, uint32_t old);
ibx_dtype ibx_types_new_dtype(const ibx_types_pass *t, uint32_t value);

/// Whether it has 64 bits; is one byte that no engine of the target computes with;
/// is an integer.
bool ibx_types_is_wide(ibx_dtype dtype);
bool ibx_types_is_carried(const ibx_pass_ctx *ctx, ibx_dtype dtype);
bool ibx_types_is_whole(ibx_dtype dtype);

/// The new values of an old one, made when first asked for: its bits, and what is
/// computed with.
uint32_t ibx_types_bits(ibx_types_pass *t, uint32_t old);
uint32_t ibx_types_real(ibx_types_pass *t, uint32_t old);
/// Whether both are one, as the machine has the type.
bool ibx_types_is_plain(const ibx_types_pass *t, uint32_t old);

/// Lends the node of a constant, else NULL.
const ibx_node *ibx_types_constant(const ibx_types_pass *t, uint32_t old);

/// New nodes. `cast_to` gives the value itself where it has the dtype.
uint32_t ibx_types_add(ibx_types_pass *t, ibx_tensor_op op,
                       const ibx_params *params, uint32_t operand);
uint32_t ibx_types_cast_to(ibx_types_pass *t, uint32_t value, ibx_dtype dtype);
uint32_t ibx_types_encode(ibx_types_pass *t, uint32_t value, ibx_dtype code);
uint32_t ibx_types_decode(ibx_types_pass *t, uint32_t value, ibx_dtype code,
                          ibx_dtype dtype);

/// Rewrites of conversions.
void ibx_types_cast(ibx_types_pass *t, const ibx_node *node);
void ibx_types_bitcast_small(ibx_types_pass *t, const ibx_node *node);
void ibx_types_bitcast_wide(ibx_types_pass *t, const ibx_node *node);

/// Whether a node only moves elements, and whether operand `i` is what it moves.
bool ibx_types_only_moves(const ibx_node *node);
bool ibx_types_is_moved(const ibx_node *node, uint32_t i);
/// Whether it is a bitcast from f64 or to it.
bool ibx_types_casts_bits(const ibx_types_pass *t, const ibx_node *node);
/// Whether the library does it on f64, and as which operation.
bool ibx_types_is_exact(const ibx_types_pass *t, const ibx_node *node,
                        ibx_tensor_op *out);

/// Fill the flags of the 64-bit values of the old graph.
void ibx_types_find_bits(ibx_types_pass *t);
void ibx_types_find_wants(ibx_types_pass *t);

#endif

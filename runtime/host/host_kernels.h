// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_HOST_KERNELS_H
#define IBX_HOST_KERNELS_H

/// \file
/// The functions of host_calls.def, and what they share. A function trusts no
/// operand: programs come from files. It resets its results itself; they are
/// none of its operands. `err` may be NULL.

#include "imbrex/host.h"

#define T const ibx_host_tensor *
#define O const ibx_host_tensor *
#define L const ibx_host_tensor *const *, size_t
#define I int64_t
#define R ibx_host_tensor *
#define IBX_HOST_CALL(name, sentence, instead, ...)                            \
  ibx_status ibx_host_##name(__VA_ARGS__, ibx_error *);
#include "imbrex/host_calls.def"
#undef T
#undef O
#undef L
#undef I
#undef R

/// The address as one that may be written to, though nobody does.
static inline void *ibx_host_lend(const void *data) {
  union {
    const void *from;
    void *to;
  } pointer = {.from = data};
  return pointer.to;
}

/// Fails with MISMATCH unless the tensor has texts (numbers).
IBX_NODISCARD ibx_status ibx_host_need_text(const ibx_host_tensor *tensor,
                                            const char *what, ibx_error *err);
IBX_NODISCARD ibx_status ibx_host_need_number(const ibx_host_tensor *tensor,
                                              const char *what, ibx_error *err);
/// Fails with MISMATCH unless it has elements of that dtype.
IBX_NODISCARD ibx_status ibx_host_need_dtype(const ibx_host_tensor *tensor,
                                             ibx_dtype dtype, const char *what,
                                             ibx_error *err);

/// Whether two texts are the same.
bool ibx_host_same_text(ibx_str a, ibx_str b);

/// Two operands broadcast to one shape, walked in row-major order.
typedef struct ibx_host_pair {
  size_t rank;
  uint64_t shape[IBX_MAX_RANK];
  uint64_t steps[2][IBX_MAX_RANK];
  uint64_t at[IBX_MAX_RANK];
  uint64_t index[2]; ///< elements of the operands that meet here
} ibx_host_pair;
/// Fails with MISMATCH when the shapes do not fit together.
IBX_NODISCARD ibx_status ibx_host_pair_init(ibx_host_pair *pair,
                                            const ibx_host_tensor *a,
                                            const ibx_host_tensor *b,
                                            ibx_error *err);
void ibx_host_pair_next(ibx_host_pair *pair);

#endif

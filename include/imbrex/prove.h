// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_PROVE_H
#define IBX_PROVE_H

/// \file
/// The verifier: shows, from the encoded program alone, that every access lies
/// in its declared buffer, that no two agents touch the same bytes unordered,
/// that every read sees bytes written for its own buffer, that every wait is
/// satisfiable and that loops end. Trusts neither compiler nor assembler.

#include "imbrex/program.h"

IBX_C_BEGIN

typedef struct ibx_proof {
  uint64_t instructions; ///< executed, loops expanded
  uint64_t accesses;
  uint32_t semaphores_used;
  uint32_t psum_peak_banks;
  uint64_t sbuf_peak_bytes; ///< of the fullest partition
} ibx_proof;

/// What a proof may cost at most; 0 stands for the default.
typedef struct ibx_prove_limits {
  uint64_t instructions; ///< executed, loops expanded
  uint64_t work;         ///< steps of the prover: runs of bytes, records
} ibx_prove_limits;

/// Proves one entry. `proof` may be NULL. Fails with UNPROVEN and the first
/// finding: engine, instruction index, node, buffer and the other party; with
/// INVALID_PROGRAM when an instruction or buffer is illegal on its own.
IBX_API IBX_NODISCARD ibx_status
ibx_prove_entry(const ibx_program_data *program, const ibx_entry *entry,
                ibx_proof *proof, ibx_error *err);

/// The same within limits: whoever proves files of strangers may not want to
/// spend the minutes that the default ones allow. `limits` may be NULL.
IBX_API IBX_NODISCARD ibx_status ibx_prove_entry_within(
    const ibx_program_data *program, const ibx_entry *entry,
    const ibx_prove_limits *limits, ibx_proof *proof, ibx_error *err);

IBX_C_END
#endif

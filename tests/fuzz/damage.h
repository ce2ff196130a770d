// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_FUZZ_DAMAGE_H
#define IBX_FUZZ_DAMAGE_H

/// \file
/// Damages program files.

#include "seeds.h"

#include <stdint.h>

/// Makes `*out` from a file of the corpus, changed in one to four places. Most
/// of the results have right digests again, so that what reads the contents
/// sees the damage. Decided by `*random` alone; false when memory is short.
bool damage_program(uint64_t *random, const seeds *corpus, ibx_blob *out);

#endif

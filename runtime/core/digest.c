// SPDX-License-Identifier: Apache-2.0
//
// Digests of program files: XXH64, which finds damage, not malice. xxHash is
// compiled in, so the runtime needs no library for it.

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "core/program_format.h"

#include <stdlib.h>

struct ibx_digest_state {
  XXH64_state_t hash;
};

uint64_t ibx_digest_bytes(const void *data, size_t size) {
  return XXH64(data, size, 0);
}

ibx_digest_state *ibx_digest_create(void) {
  ibx_digest_state *state = malloc(sizeof *state);
  if (state) XXH64_reset(&state->hash, 0);
  return state;
}

void ibx_digest_add(ibx_digest_state *state, const void *data, size_t size) {
  if (size > 0) XXH64_update(&state->hash, data, size);
}

uint64_t ibx_digest_get(const ibx_digest_state *state) {
  return XXH64_digest(&state->hash);
}

void ibx_digest_destroy(ibx_digest_state *state) { free(state); }

uint64_t ibx_digest_file(uint64_t header_digest, uint64_t weight_digest) {
  uint8_t bytes[16];
  ibx_put_le(bytes, header_digest, 8);
  ibx_put_le(bytes + 8, weight_digest, 8);
  return ibx_digest_bytes(bytes, sizeof bytes);
}

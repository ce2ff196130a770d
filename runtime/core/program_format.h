// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_CORE_PROGRAM_FORMAT_H
#define IBX_CORE_PROGRAM_FORMAT_H

/// \file
/// The numbers of the program file that its writer and its reader share;
/// docs/program-format.md explains them. None is ever reused.
///
///   header 64 | section table 32 each | sections ... | weights | trailer 64
///
/// Everything starts on a multiple of 64 bytes; what lies between is zero.

#include "imbrex/program.h"

enum {
  IBX_FORMAT_MAJOR = 1,       ///< of files without section STEPS
  IBX_FORMAT_MAJOR_STEPS = 2, ///< of files with it; others are refused
  IBX_FORMAT_MINOR_CORES = 1, ///< the first with section CORES; without it 0
  IBX_FORMAT_MINOR_PORTS = 2, ///< the first with section PORTS
  IBX_SECTION_ALIGN = 64,
  IBX_HEADER_BYTES = 64,
  IBX_HEADER_DIGEST_AT = 24,
  IBX_SECTION_ROW_BYTES = 32,
  IBX_TRAILER_BYTES = 64,
  IBX_MAX_SECTIONS = 256
};

#define IBX_TRAILER_MAGIC "IBXEND\r\n"

typedef enum ibx_section_id {
  IBX_SECTION_TARGET = 1,  ///< machine, model, options
  IBX_SECTION_STRINGS = 2, ///< terminated texts, referred to by offset
  IBX_SECTION_NODES = 3,
  IBX_SECTION_ENTRIES = 4,
  IBX_SECTION_STREAMS = 5, ///< encoded instructions
  IBX_SECTION_DEBUG = 6,   ///< node of each instruction
  IBX_SECTION_WEIGHTS = 7,
  IBX_SECTION_CORES = 8,      ///< entries of several cores; optional
  IBX_SECTION_PORTS = 9,      ///< the model's inputs and outputs; optional
  IBX_SECTION_STEPS = 10,     ///< what entries do on the host; optional
  IBX_SECTION_CONSTANTS = 11, ///< that host calls read; comes with STEPS
  IBX_SECTION_ID_COUNT
} ibx_section_id;

/// The digest stands in the trailer, not in the table: the bytes pass through
/// the writer once and are never held.
enum { IBX_SECTION_TRAILER_DIGEST = 1 };

enum {
  IBX_TARGET_RECORD_BYTES = 16,
  IBX_NODE_RECORD_BYTES = 8,
  IBX_ENTRY_RECORD_BYTES = 56 + IBX_ENGINE_COUNT * 24,
  IBX_TENSOR_RECORD_BYTES = 8 + IBX_MAX_RANK * 8,
  IBX_BUFFER_RECORD_BYTES = 32,
  IBX_PORT_RECORD_BYTES = 16,
  IBX_EXTENT_RECORD_BYTES = 12,
  IBX_STEP_PORT_RECORD_BYTES = 8, ///< of a section STEPS: name, value
  IBX_VALUE_RECORD_BYTES = 88,    ///< rank, dtype, flags, shape, constant
  IBX_STEP_RECORD_BYTES = 28      ///< call, signature, segment, node, counts
};

/// What an entry is, in section STEPS.
enum { IBX_ENTRY_DEVICE, IBX_ENTRY_SEGMENT, IBX_ENTRY_STEPS };

typedef struct ibx_digest_state ibx_digest_state;

/// XXH64, seed 0, of all bytes.
uint64_t ibx_digest_bytes(const void *data, size_t size);
/// The same, piece by piece. `create` gives NULL when memory is short.
ibx_digest_state *ibx_digest_create(void);
void ibx_digest_add(ibx_digest_state *state, const void *data, size_t size);
uint64_t ibx_digest_get(const ibx_digest_state *state);
void ibx_digest_destroy(ibx_digest_state *state);

/// The digest of a whole file, from the digest of its header (which covers the
/// table, and so every section's digest) and that of its weights.
uint64_t ibx_digest_file(uint64_t header_digest, uint64_t weight_digest);

static inline void ibx_put_le(uint8_t *out, uint64_t value, size_t bytes) {
  for (size_t i = 0; i < bytes; i++) {
    out[i] = (uint8_t)(value >> (8 * i));
  }
}

static inline uint64_t ibx_get_le(const uint8_t *bytes, size_t count) {
  uint64_t value = 0;
  for (size_t i = 0; i < count; i++) {
    value |= (uint64_t)bytes[i] << (8 * i);
  }
  return value;
}

#endif

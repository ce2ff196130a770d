// SPDX-License-Identifier: Apache-2.0
#ifndef WIRE_H
#define WIRE_H

/// \file
/// The protocol of driver and server: messages of fixed size on a Unix socket
/// that keeps their boundaries (SOCK_SEQPACKET), with descriptors beside them.
/// Everything large lies in memory that both map:
///
///   control   HELLO, SHARE, UNSHARE, LOAD, BYE: one request after the other
///   channel   RUN, TIME, BYE of one entry; made by LOAD; entries run at once
///   staging   of one entry: a wire_slot for each buffer, then room for all
///             buffers whose memory is not shared
///
/// Memory is sealed against shrinking, a program's against writing too, so that
/// neither side can pull it away from under the other. Both processes are on
/// one machine: numbers are in its byte order.

#include "imbrex/driver.h"

enum {
  WIRE_MAGIC = 0x69627873,
  WIRE_VERSION = 1,
  WIRE_FDS = 3,           ///< most descriptors of a message
  WIRE_TEXT_BYTES = 1024, ///< most bytes of the simulator's options
  WIRE_EVENT_ROOM = 256,  ///< events of one message
  WIRE_ALIGN = 64
};

typedef enum wire_kind {
#define WIRE_KIND(name, number, body, fds, sentence) WIRE_##name = number,
#include "wire.def"
} wire_kind;

typedef struct wire_head {
  uint32_t magic;
  uint16_t version;
  uint16_t kind;
} wire_head;

typedef struct wire_empty {
  uint64_t zero;
} wire_empty;

typedef struct wire_hello {
  uint64_t layout; ///< IBX_DEVICE_LAYOUT: both sides were built alike
  char rest[WIRE_TEXT_BYTES];
} wire_hello;

typedef struct wire_welcome {
  char name[32], target[16];
  uint64_t cores;
} wire_welcome;

typedef struct wire_share {
  uint64_t id; ///< not 0
  uint64_t bytes;
} wire_share;

typedef struct wire_load {
  uint64_t file_bytes, staging_bytes;
  uint64_t entry; ///< index in the program
} wire_load;

typedef struct wire_time {
  uint64_t wants_events;
} wire_time;

typedef struct wire_events {
  uint64_t count; ///< of `event`, the rest is zero
  ibx_sim_event event[WIRE_EVENT_ROOM];
} wire_events;

typedef struct wire_timing {
  ibx_sim_time time;
} wire_timing;

typedef struct wire_error {
  uint64_t status; ///< ibx_status, not OK
  char message[IBX_ERROR_MESSAGE_BYTES];
} wire_error;

typedef struct wire_message {
  wire_head head;
  union {
    wire_empty empty;
    wire_hello hello;
    wire_welcome welcome;
    wire_share share;
    wire_load load;
    wire_time time;
    wire_events events;
    wire_timing timing;
    wire_error error;
  };
} wire_message;

/// Where the memory of a buffer lies: in shared memory `id`, or in the staging
/// memory where that is 0.
typedef struct wire_slot {
  uint64_t id, offset;
} wire_slot;

/// Fills in `*err`, which may be NULL; needs no library of ours.
ibx_status wire_fail(ibx_error *err, ibx_status status, const char *format, ...)
    IBX_PRINTF(3, 4);
#define WIRE_FAIL(err, code, ...) wire_fail((err), IBX_##code, __VA_ARGS__)

/// A message of a kind, all else zero.
wire_message wire_make(wire_kind kind);

/// "RUN", or "?".
const char *wire_kind_name(uint16_t kind);

/// Sends a message and its descriptors, which stay the caller's. Never raises
/// SIGPIPE. Fails with DEVICE_ERROR: the peer is gone, or takes nothing for as
/// long as wire_set_timeout() says.
ibx_status wire_send(int socket, const wire_message *message, const int *fds,
                     ibx_error *err);

/// Receives a message, whose texts are then terminated, and its descriptors,
/// which are the caller's; without one an element is -1. Fails with
/// DEVICE_ERROR: the peer is gone, too slow, or sent no message.
ibx_status wire_receive(int socket, wire_message *out, int fds[WIRE_FDS],
                        ibx_error *err);

/// Accepts -1.
void wire_close_all(int fds[WIRE_FDS]);

/// How long a call waits for the peer; 0 is for ever.
void wire_set_timeout(int socket, unsigned send_seconds,
                      unsigned receive_seconds);

/// Whether the buffer's memory comes with a run.
static inline bool wire_is_bound(const ibx_buffer_decl *buffer) {
  return buffer->kind == IBX_BUFFER_INPUT ||
         buffer->kind == IBX_BUFFER_OUTPUT || buffer->kind == IBX_BUFFER_STATE;
}

#endif

// SPDX-License-Identifier: Apache-2.0
#ifndef DRIVER_H
#define DRIVER_H

/// \file
/// What the parts of the driver know of each other: driver.c fills the table,
/// driver_server.c finds or starts the server, driver_memory.c shares memory.

#include "wire.h"

#include <pthread.h>
#include <sys/types.h>

/// Memory that the server maps too.
typedef struct region {
  struct region *next;
  uint8_t *memory;
  size_t bytes;
  uint64_t id;
} region;

typedef struct device {
  ibx_allocator allocator;
  wire_welcome welcome;
  unsigned timeout_seconds;
  pid_t server; ///< a process of ours, or 0 where we only connected

  pthread_mutex_t mutex; ///< of what follows
  int control;
  bool is_lost; ///< what came last was no answer: no more requests
  region *regions;
  uint64_t last_id;
} device;

/// What the options of the URI say.
typedef struct settings {
  char server[1024]; ///< program to start, or ""
  char socket[108];  ///< socket to connect to, or ""
  char rest[WIRE_TEXT_BYTES];
  unsigned timeout_seconds;
} settings;

/// Fails with INVALID_ARGUMENT.
ibx_status settings_parse(settings *out, const char *rest, ibx_error *err);

/// Connects to the server, which it starts where the settings name no socket.
ibx_status server_open(device *d, const settings *s, ibx_error *err);
/// Ends a server that was started, by force where it does not end by itself.
void server_close(device *d);

/// Sends a request and receives its answer, which is of kind `expected`; an
/// answer ERROR becomes the status. `is_lost` is set where the peer failed.
ibx_status ask(int socket, bool *is_lost, const wire_message *request,
               const int *fds, wire_kind expected, wire_message *answer,
               ibx_error *err);

/// `size` bytes of zeroed memory behind a descriptor that cannot shrink; -1
/// when that failed. `out_memory` may be NULL.
int memory_make(size_t size, void **out_memory);
/// The bytes behind a descriptor that cannot be changed any more, or -1.
int memory_copy(ibx_span bytes);

ibx_status device_memory_alloc(void *handle, size_t size_bytes,
                               void **out_memory, ibx_error *err);
void device_memory_free(void *handle, void *memory);

/// The slot of memory that the server shares; false where it does not.
bool memory_find(device *d, const uint8_t *memory, uint64_t bytes,
                 wire_slot *out);

#endif

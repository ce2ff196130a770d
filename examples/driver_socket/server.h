// SPDX-License-Identifier: Apache-2.0
#ifndef SERVER_H
#define SERVER_H

/// \file
/// What the parts of the server know of each other: server.c starts and
/// listens, server_device.c answers what concerns the device, server_entry.c
/// runs an entry in a thread of its own, server_memory.c maps memory.

#include "wire.h"

#include <pthread.h>

/// Memory of the driver. Held by the list, and by every run that uses it.
typedef struct region {
  struct region *next;
  uint8_t *memory;
  size_t bytes;
  uint64_t id;
  size_t holders;
} region;

typedef struct entry_thread entry_thread;

typedef struct server {
  const ibx_device_table *table;
  void *device; ///< of the simulator, once HELLO has come
  int control;
  entry_thread *threads; ///< only the control thread sees the list

  pthread_mutex_t mutex; ///< of what follows
  region *regions;
} server;

/// Answers one client until it says goodbye or is gone; gives whether it said
/// goodbye. Ends the process where a run is left that nobody waits for.
bool server_serve(int control);

/// Maps what a peer sent: at least `bytes` behind a descriptor with all of
/// `seals`; NULL where that is not so.
uint8_t *map_peer(int fd, uint64_t bytes, int seals, bool writable);

bool region_add(server *s, uint64_t id, int fd, uint64_t bytes);
bool region_remove(server *s, uint64_t id);
/// Lends a region, which then stays until region_drop(); NULL when there is
/// none of that number.
region *region_hold(server *s, uint64_t id);
void region_drop(server *s, region *r);
void region_remove_all(server *s);

/// Loads an entry and starts its thread; takes the descriptors.
ibx_status entry_start(server *s, const wire_load *load, int fds[WIRE_FDS],
                       ibx_error *err);
/// Joins the threads that have ended.
void entry_reap(server *s);
/// Ends all channels and joins their threads; false where one still runs.
bool entry_end_all(server *s);

/// Answers DONE, or ERROR with what `err` says.
bool answer_status(int socket, ibx_status status, const ibx_error *err);

#endif

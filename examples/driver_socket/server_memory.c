// SPDX-License-Identifier: Apache-2.0
//
// Memory of a peer. In: descriptors that may be anything. Out: mappings that
// stay whole, whatever the peer does. Holds: a region is unmapped when neither
// the peer nor a run uses it.

#include "server.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>

uint8_t *map_peer(int fd, uint64_t bytes, int seals, bool writable) {
  struct stat facts;
  int has = fcntl(fd, F_GET_SEALS);
  if (has < 0 || (has & seals) != seals || fstat(fd, &facts) != 0) return NULL;
  if (bytes == 0 || bytes > SIZE_MAX || (uint64_t)facts.st_size < bytes) {
    return NULL;
  }
  void *memory =
      mmap(NULL, (size_t)bytes, writable ? PROT_READ | PROT_WRITE : PROT_READ,
           writable ? MAP_SHARED : MAP_PRIVATE, fd, 0);
  return memory == MAP_FAILED ? NULL : memory;
}

static void release(region *r) {
  munmap(r->memory, r->bytes);
  free(r);
}

// With the mutex held.
static region **find(server *s, uint64_t id) {
  region **link = &s->regions;
  while (*link != NULL && (*link)->id != id) {
    link = &(*link)->next;
  }
  return link;
}

bool region_add(server *s, uint64_t id, int fd, uint64_t bytes) {
  region *r = calloc(1, sizeof(*r));
  uint8_t *memory = map_peer(fd, bytes, F_SEAL_SHRINK, true);
  bool added = false;
  pthread_mutex_lock(&s->mutex);
  if (r != NULL && memory != NULL && id != 0 && *find(s, id) == NULL) {
    *r = (region){.next = s->regions,
                  .memory = memory,
                  .bytes = (size_t)bytes,
                  .id = id,
                  .holders = 1};
    s->regions = r;
    added = true;
  }
  pthread_mutex_unlock(&s->mutex);
  if (added) return true;
  if (memory != NULL) munmap(memory, (size_t)bytes);
  free(r);
  return false;
}

// With the mutex held.
static void unlink_region(region **link) {
  region *r = *link;
  *link = r->next;
  if (--r->holders == 0) release(r);
}

bool region_remove(server *s, uint64_t id) {
  pthread_mutex_lock(&s->mutex);
  region **link = find(s, id);
  bool found = *link != NULL;
  if (found) unlink_region(link);
  pthread_mutex_unlock(&s->mutex);
  return found;
}

void region_remove_all(server *s) {
  pthread_mutex_lock(&s->mutex);
  while (s->regions != NULL) {
    unlink_region(&s->regions);
  }
  pthread_mutex_unlock(&s->mutex);
}

region *region_hold(server *s, uint64_t id) {
  pthread_mutex_lock(&s->mutex);
  region *r = *find(s, id);
  if (r != NULL) r->holders++;
  pthread_mutex_unlock(&s->mutex);
  return r;
}

void region_drop(server *s, region *r) {
  if (r == NULL) return;
  pthread_mutex_lock(&s->mutex);
  if (--r->holders == 0) release(r);
  pthread_mutex_unlock(&s->mutex);
}

// SPDX-License-Identifier: Apache-2.0
//
// Memory of driver and server. In: sizes and bytes. Out: descriptors that both
// map, sealed so that neither can shrink them under the other; and the regions
// that the runtime allocates, which a run names instead of copying them.

#include "driver.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static int make_sized(size_t size) {
  if (size > (size_t)INT64_MAX) return -1;
  int fd = memfd_create("imbrex", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (fd >= 0 && ftruncate(fd, (off_t)size) != 0) {
    close(fd);
    return -1;
  }
  return fd;
}

int memory_make(size_t size, void **out_memory) {
  int fd = make_sized(size);
  if (fd < 0) return -1;
  if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0) {
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    *out_memory = memory;
    if (memory != MAP_FAILED) return fd;
  }
  close(fd);
  return -1;
}

static bool write_all(int fd, ibx_span bytes) {
  size_t done = 0;
  while (done < bytes.size) {
    ssize_t wrote = write(fd, bytes.data + done, bytes.size - done);
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote <= 0) return false;
    done += (size_t)wrote;
  }
  return true;
}

int memory_copy(ibx_span bytes) {
  int fd = make_sized(0);
  const int seals = F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
  if (fd >= 0 && write_all(fd, bytes) && fcntl(fd, F_ADD_SEALS, seals) == 0) {
    return fd;
  }
  if (fd >= 0) close(fd);
  return -1;
}

static ibx_status share(device *d, region *r, int fd, ibx_error *err) {
  wire_message request = wire_make(WIRE_SHARE), answer;
  pthread_mutex_lock(&d->mutex);
  r->id = ++d->last_id;
  request.share = (wire_share){.id = r->id, .bytes = r->bytes};
  ibx_status status =
      ask(d->control, &d->is_lost, &request, &fd, WIRE_DONE, &answer, err);
  if (status == IBX_OK) {
    r->next = d->regions;
    d->regions = r;
  }
  pthread_mutex_unlock(&d->mutex);
  return status;
}

ibx_status device_memory_alloc(void *handle, size_t size_bytes,
                               void **out_memory, ibx_error *err) {
  device *d = handle;
  void *memory = NULL;
  *out_memory = NULL;
  region *r = d->allocator.alloc(d->allocator.user, sizeof(*r));
  int fd = r == NULL ? -1 : memory_make(size_bytes, &memory);
  if (fd < 0) {
    d->allocator.free(d->allocator.user, r);
    return WIRE_FAIL(err, OUT_OF_MEMORY, "no shared memory for %zu bytes",
                     size_bytes);
  }
  *r = (region){.memory = memory, .bytes = size_bytes};
  ibx_status status = share(d, r, fd, err);
  close(fd);
  if (status != IBX_OK) {
    munmap(memory, size_bytes);
    d->allocator.free(d->allocator.user, r);
    return status;
  }
  *out_memory = memory;
  return IBX_OK;
}

void device_memory_free(void *handle, void *memory) {
  device *d = handle;
  if (memory == NULL) return;
  pthread_mutex_lock(&d->mutex);
  region **link = &d->regions;
  while (*link != NULL && (*link)->memory != memory) {
    link = &(*link)->next;
  }
  region *r = *link;
  if (r != NULL) {
    *link = r->next;
    wire_message request = wire_make(WIRE_UNSHARE), answer;
    request.share = (wire_share){.id = r->id, .bytes = r->bytes};
    // Where the server is lost, its memory is as well.
    (void)ask(d->control, &d->is_lost, &request, NULL, WIRE_DONE, &answer,
              NULL);
  }
  pthread_mutex_unlock(&d->mutex);
  if (r == NULL) return;
  munmap(r->memory, r->bytes);
  d->allocator.free(d->allocator.user, r);
}

// One after the other: a device has as many regions as it has state tensors and
// buffers, tens at most.
bool memory_find(device *d, const uint8_t *memory, uint64_t bytes,
                 wire_slot *out) {
  bool found = false;
  pthread_mutex_lock(&d->mutex);
  for (region *r = d->regions; r != NULL && !found; r = r->next) {
    // As numbers: the addresses need not be of one object.
    uintptr_t offset = (uintptr_t)memory - (uintptr_t)r->memory;
    if (offset > r->bytes || bytes > r->bytes - offset) continue;
    *out = (wire_slot){.id = r->id, .offset = offset};
    found = true;
  }
  pthread_mutex_unlock(&d->mutex);
  return found;
}

// SPDX-License-Identifier: Apache-2.0
//
// calloc() and free() of blocks as large as a simulated memory, linked in their
// place with --wrap. The address sanitizer marks every byte of a block when it
// comes and when it goes, which for 24 MiB takes longer than all that a mutant
// does. Here such a block ends at a page that cannot be touched, so that what
// reads or writes behind it still stops the job, and is used again; freeing
// gives back only the pages that were touched.

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

enum { LEAST = 1 << 17, PAGE = 4096, SLOTS = 128 };
static const size_t most = (size_t)1 << 29; // more is refused

typedef struct slot {
  uint8_t *pages; // between two guards
  size_t size;
  void *block; // NULL: free
} slot;

static slot slots[SLOTS];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

void *__real_calloc(size_t count, size_t size);
void __real_free(void *block);
void *__wrap_calloc(size_t count, size_t size);
void __wrap_free(void *block);

static uint8_t *map_guarded(size_t size) {
  uint8_t *base = mmap(NULL, size + 2 * PAGE, PROT_NONE,
                       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (base == MAP_FAILED) return NULL;
  if (mprotect(base + PAGE, size, PROT_READ | PROT_WRITE) == 0) {
    return base + PAGE;
  }
  munmap(base, size + 2 * PAGE);
  return NULL;
}

static slot *find_slot(size_t size) {
  slot *spare = NULL;
  for (size_t i = 0; i < SLOTS; i++) {
    if (slots[i].block) continue;
    if (slots[i].pages && slots[i].size == size) return &slots[i];
    if (!spare || !slots[i].pages) spare = &slots[i];
  }
  if (spare && spare->pages) {
    munmap(spare->pages - PAGE, spare->size + 2 * PAGE);
    spare->pages = NULL;
  }
  return spare;
}

// Zeros, or NULL; `*out_is_full` where no slot is left.
static void *take_block(size_t bytes, bool *out_is_full) {
  size_t whole = (bytes + PAGE - 1) / PAGE * PAGE;
  slot *found = find_slot(whole);
  *out_is_full = found == NULL;
  if (!found) return NULL;
  if (!found->pages) {
    found->pages = map_guarded(whole);
    found->size = whole;
  }
  if (!found->pages) return NULL;
  // malloc() aligns to 16 bytes.
  found->block = found->pages + (whole - (bytes + 15) / 16 * 16);
  return found->block;
}

static bool give_back(const void *block) {
  for (size_t i = 0; i < SLOTS; i++) {
    if (slots[i].block != block) continue;
    madvise(slots[i].pages, slots[i].size, MADV_DONTNEED);
    slots[i].block = NULL;
    return true;
  }
  return false;
}

void *__wrap_calloc(size_t count, size_t size) {
  if (size != 0 && count > SIZE_MAX / size) return NULL;
  size_t bytes = count * size;
  bool is_full = false;
  if (bytes < LEAST) return __real_calloc(count, size);
  if (bytes > most) return NULL;
  pthread_mutex_lock(&lock);
  void *block = take_block(bytes, &is_full);
  pthread_mutex_unlock(&lock);
  return is_full ? __real_calloc(count, size) : block;
}

void __wrap_free(void *block) {
  if (!block) return;
  pthread_mutex_lock(&lock);
  bool is_ours = give_back(block);
  pthread_mutex_unlock(&lock);
  if (!is_ours) __real_free(block);
}

// SPDX-License-Identifier: Apache-2.0
//
// Buffers that are declared alike become one. Comes in: an entry with its
// streams, proved. Goes out: the same with fewer buffers:
//
//   %7   bank psum partitions=128 offset=2048 bytes=2048       %3
//   %12  bank psum partitions=128 offset=4096 bytes=2048       %4
//   %31  bank psum partitions=128 offset=2048 bytes=2048       %3
//
// The proof comes first, because it is the stronger one: that what is read was
// last written through the same buffer finds tiles that were placed over each
// other. It cannot tell them apart once they have one number.

#include "codegen/share.h"

#include <string.h>

// --- what is alike ---

static uint64_t mix(uint64_t hash, uint64_t value) {
  hash = (hash ^ value) * 0x9e3779b97f4a7c15u;
  return hash ^ hash >> 29;
}

static uint64_t hash_of(const ibx_buffer_decl *buffer) {
  const ibx_buffer_place *place = &buffer->place;
  uint64_t hash = mix(place->space, place->partition);
  hash = mix(hash, place->partitions);
  hash = mix(hash, place->offset);
  hash = mix(hash, place->bytes);
  for (const char *c = buffer->name; *c != 0; c++)
    hash = mix(hash, (uint8_t)*c);
  return hash;
}

static bool is_alike(const ibx_buffer_decl *a, const ibx_buffer_decl *b) {
  const ibx_buffer_place *x = &a->place, *y = &b->place;
  return x->space == y->space && x->partition == y->partition &&
         x->partitions == y->partitions && x->offset == y->offset &&
         x->bytes == y->bytes && strcmp(a->name, b->name) == 0;
}

// A table of the buffers that stay, at most half full.
typedef struct table {
  const ibx_buffer_decl *buffers;
  uint32_t *slots; // number of a buffer + 1, 0 where there is none
  size_t mask;
} table;

static table make_table(const ibx_buffer_decl *buffers, size_t count,
                        ibx_arena *arena) {
  size_t room = 16;
  while (room < 2 * count)
    room *= 2;
  return (table){.buffers = buffers,
                 .slots = IBX_ARENA_ARRAY(arena, room, uint32_t),
                 .mask = room - 1};
}

// The first buffer that is declared like this one, perhaps itself.
static uint32_t first_alike(table *t, uint32_t buffer) {
  const ibx_buffer_decl *decl = &t->buffers[buffer];
  size_t at = (size_t)hash_of(decl) & t->mask;
  for (; t->slots[at] != 0; at = (at + 1) & t->mask) {
    uint32_t other = t->slots[at] - 1;
    if (is_alike(decl, &t->buffers[other])) return other;
  }
  t->slots[at] = buffer + 1;
  return buffer;
}

ibx_share ibx_share_make(const ibx_buffer_decl *buffers, size_t count,
                         ibx_arena *arena) {
  ibx_share share = {.number = IBX_ARENA_ARRAY(arena, count, uint32_t)};
  table t = make_table(buffers, count, arena);
  for (uint32_t b = 0; b < count; b++) {
    bool is_own = buffers[b].kind != IBX_BUFFER_SCRATCH;
    uint32_t first = is_own ? b : first_alike(&t, b);
    share.number[b] =
        first == b ? (uint32_t)share.count++ : share.number[first];
  }
  return share;
}

// --- the entry ---

static void renumber_tensors(const ibx_share *share, ibx_tensor_decl *tensors,
                             size_t count) {
  for (size_t i = 0; i < count; i++)
    tensors[i].buffer = share->number[tensors[i].buffer];
}

static void renumber_stream(const ibx_share *share, ibx_stream *stream) {
  for (size_t i = 0; i < stream->count; i++) {
    ibx_operand *operands = stream->insns[i].operand;
    for (size_t s = 0; s < IBX_OPERANDS; s++) {
      uint32_t *buffer = &operands[s].buffer;
      if (*buffer != IBX_NO_BUFFER) *buffer = share->number[*buffer];
    }
  }
}

void ibx_share_apply(ibx_entry *entry, ibx_arena *arena) {
  ibx_share share = ibx_share_make(entry->buffers, entry->buffer_count, arena);
  ibx_buffer_decl *stay = IBX_ARENA_ARRAY(arena, share.count, ibx_buffer_decl);
  // Backwards, so that the first of those alike is the one that is left.
  for (size_t b = entry->buffer_count; b-- > 0;)
    stay[share.number[b]] = entry->buffers[b];
  renumber_tensors(&share, entry->inputs, entry->input_count);
  renumber_tensors(&share, entry->outputs, entry->output_count);
  for (size_t e = 0; e < IBX_ENGINE_COUNT; e++)
    renumber_stream(&share, &entry->streams[e]);
  entry->buffers = stay;
  entry->buffer_count = share.count;
}

// SPDX-License-Identifier: Apache-2.0
//
// Accumulation groups. Comes in: accesses to a PSUM buffer that were found free
// of races. A matmul that overwrites opens a group over its tile; matmuls that
// accumulate on any part of the tile belong to the group; one with GROUP_END
// closes it. Bytes belong to the group that was opened last over them: an older
// one of which no more than a part was overwritten has no say there, so the
// groups are asked from the newest to one that has all of the bytes. What holds:
// nobody reads a tile before its group was closed, and
// nobody accumulates on bytes that no matmul has written (hardware.md 6).

#include "core/prove_internal.h"

#include <stdlib.h>

enum { FIRST_GROUPS = 4 };

static bool is_in(const ibx_row *row, const ibx_region *region) {
  return ((row->mask[0] & region->mask[0]) |
          (row->mask[1] & region->mask[1])) != 0;
}

ibx_finding ibx_psum_read(const ibx_shadow_buffer *buffer,
                          const ibx_access *access, const ibx_region *region,
                          uint64_t *work) {
  *work += buffer->group_count;
  for (size_t i = buffer->group_count; i-- > 0;) {
    const ibx_group *group = &buffer->groups[i];
    if (!ibx_region_overlaps(&group->region, region, work)) continue;
    // The last matmul may lie beside what is read, so no race would show it.
    if (group->is_open || access->clock->at[IBX_ENGINE_TENSOR] < group->time) {
      return IBX_FINDING_OPEN_GROUP;
    }
    if (ibx_region_covers(&group->region, region)) break;
  }
  return IBX_FINDING_NONE;
}

static ibx_finding check_base(const ibx_shadow_buffer *buffer,
                              const ibx_region *region) {
  for (size_t i = 0; i < buffer->row_count; i++) {
    const ibx_row *row = &buffer->rows[i];
    if (is_in(row, region) &&
        !ibx_bits_test(&row->matmul, region, buffer->extent.lo)) {
      return IBX_FINDING_NO_MATMUL;
    }
  }
  return IBX_FINDING_NONE;
}

// Rows were split by the mark of the same write.
static bool mark_matmul(ibx_shadow_buffer *buffer, const ibx_region *region,
                        bool is_matmul) {
  for (size_t i = 0; i < buffer->row_count; i++) {
    ibx_row *row = &buffer->rows[i];
    if (!is_in(row, region)) continue;
    bool is_done =
        is_matmul ? ibx_bits_set(&row->matmul, region, buffer->extent.lo)
                  : ibx_bits_clear(&row->matmul, region, buffer->extent.lo);
    if (!is_done) return false;
  }
  return true;
}

static void drop_covered(ibx_shadow_buffer *buffer, const ibx_region *region) {
  size_t kept = 0;
  for (size_t i = 0; i < buffer->group_count; i++) {
    if (ibx_region_covers(region, &buffer->groups[i].region)) continue;
    buffer->groups[kept++] = buffer->groups[i];
  }
  buffer->group_count = kept;
}

static bool open_group(ibx_shadow_buffer *buffer, const ibx_access *access,
                       const ibx_region *region) {
  if (buffer->group_count == buffer->group_capacity) {
    size_t capacity =
        buffer->group_capacity ? buffer->group_capacity * 2 : FIRST_GROUPS;
    ibx_group *groups =
        realloc(buffer->groups, capacity * sizeof *buffer->groups);
    if (!groups) return false;
    buffer->groups = groups;
    buffer->group_capacity = capacity;
  }
  buffer->groups[buffer->group_count++] =
      (ibx_group){.region = *region,
                  .time = access->time,
                  .is_open = !access->is_group_end};
  return true;
}

static void join_groups(ibx_shadow_buffer *buffer, const ibx_access *access,
                        const ibx_region *region, uint64_t *work) {
  for (size_t i = buffer->group_count; i-- > 0;) {
    ibx_group *group = &buffer->groups[i];
    if (!ibx_region_overlaps(&group->region, region, work)) continue;
    group->is_open = !access->is_group_end;
    group->time = access->time;
    if (ibx_region_covers(&group->region, region)) break;
  }
}

ibx_finding ibx_psum_write(ibx_shadow_buffer *buffer, const ibx_access *access,
                           const ibx_region *region, uint64_t *work) {
  *work += buffer->group_count;
  if (access->is_accumulating) {
    ibx_finding finding = check_base(buffer, region);
    if (finding != IBX_FINDING_NONE) return finding;
    join_groups(buffer, access, region, work);
    return IBX_FINDING_NONE;
  }
  drop_covered(buffer, region);
  bool is_done = mark_matmul(buffer, region, access->is_matmul) &&
                 (!access->is_matmul || open_group(buffer, access, region));
  return is_done ? IBX_FINDING_NONE : IBX_FINDING_OUT_OF_MEMORY;
}

// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_SIM_MEETING_H
#define IBX_SIM_MEETING_H

/// \file
/// Where the cores of an entry meet: barriers and collectives. Groups of one form
/// (so many cores, so far apart) count their meetings by themselves: the k-th of
/// that form of an engine is that of the same engine of every core of the group.
/// A core joins it when it issues the instruction and leaves a copy of its
/// source; it takes its result when the whole group has joined. So a core touches
/// only its own memories, and copies that nobody changes any more.
///
/// Which meeting a core takes next does not depend on the others: first it does
/// all that it can without them, then it waits for one of the meetings that it
/// had joined by then. Every core has joined, or will join, all of these, so none
/// waits for ever in a program that is proved; and a core's own order is the same
/// on any number of threads.

#include "imbrex/sim.h"
#include "sim/rounding.h"

#include <pthread.h>

enum {
  IBX_SIM_MEETINGS = 32, ///< joined and not taken, of one engine
  /// Sources that an engine keeps of a form of groups. What a core joins behind a
  /// meeting that it has not taken: as many as its batch holds beside it, and one
  /// for each of these that it takes first, less than twice IBX_SIM_MEETINGS. The
  /// core that is furthest ahead has joined IBX_SIM_MEETINGS more.
  IBX_SIM_PARTS = 3 * IBX_SIM_MEETINGS,
  IBX_SIM_FORMS = 7, ///< of groups, for up to IBX_SIM_CORES cores
  IBX_SIM_NOT_PICKED = IBX_SIM_MEETINGS * IBX_ENGINE_COUNT
};

/// What a core brought to a meeting.
typedef struct ibx_sim_part {
  uint8_t *data;  ///< its source, packed; NULL in a barrier
  uint32_t insn;  ///< in the stream
  uint32_t taken; ///< cores of the group that need it no more
} ibx_sim_part;

/// A meeting that this core has joined and whose result it has not taken.
typedef struct ibx_sim_pending {
  uint64_t number; ///< among the meetings of the engine and the form
  const ibx_insn *insn;
  ibx_core_group group;
  uint8_t engine, form;
  uint8_t *dst;
  uint8_t *received; ///< counts that are written, one a partition, or NULL
  size_t partition_bytes;
  ptrdiff_t dst_step[IBX_DIMS]; ///< bytes
  ibx_rounder rounder;
} ibx_sim_pending;

typedef struct ibx_sim_meetings {
  struct ibx_sim *const *peers; ///< all cores by rank, this one included
  pthread_mutex_t *mutex;       ///< of the peers; NULL where there are none
  uint32_t rank, cores;
  ibx_sim_part parts[IBX_SIM_FORMS][IBX_ENGINE_COUNT][IBX_SIM_PARTS];
  uint64_t joined[IBX_SIM_FORMS][IBX_ENGINE_COUNT];
  uint32_t open[IBX_ENGINE_COUNT]; ///< joined and not taken
  bool in_barrier[IBX_ENGINE_COUNT];
  ibx_sim_pending pending[IBX_ENGINE_COUNT * IBX_SIM_MEETINGS];
  size_t count;  ///< of pending, in the order in which they were joined
  size_t batch;  ///< the first so many were there when the last batch was taken
  size_t picked; ///< the one that is waited for, or IBX_SIM_NOT_PICKED
} ibx_sim_meetings;

struct ibx_exec;

/// Joins the next meeting of the engine of `x`. Fails with DEVICE_ERROR where an
/// operand leaves its buffer, a count leaves its operand, or another core of the
/// group came to another instruction.
ibx_status ibx_sim_join(const struct ibx_exec *x);
/// Whether the group has joined a meeting of this core. The mutex is held.
bool ibx_sim_is_complete(const ibx_sim_meetings *m, size_t pending);
/// Writes the result of a complete meeting, and forgets it.
void ibx_sim_take(struct ibx_sim *sim, size_t pending);
/// Forgets all meetings.
void ibx_sim_leave(ibx_sim_meetings *m);

/// The words in front of a packed source: of each rank, how many elements are
/// sent to it, then the first of each. None where no data give counts. Fails with
/// DEVICE_ERROR where they leave the source, or the room of dst.
ibx_status ibx_sim_read_metadata(const struct ibx_exec *x, uint32_t *words);
/// How many there are.
size_t ibx_sim_metadata_words(const ibx_insn *insn);

/// What a core's `dst` becomes: the specification of collectives, in
/// exec_collective.c. `parts[r]` is the packed source of core r of the group.
void ibx_sim_combine(const ibx_sim_pending *pending,
                     const uint8_t *const *parts);

#endif

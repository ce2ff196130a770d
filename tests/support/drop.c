// SPDX-License-Identifier: Apache-2.0
//
// Drops waits. In: a kernel. Out: for each wait, which orders give other bytes
// without it. The kernel runs on a copy of its streams, of which one wait at a
// time is set to 0; its signal stays, so later waits of the same semaphore may
// pass too early as well.

#include "support/drop.h"

#include "core/pool.h"
#include "imbrex/prove.h"

#include <string.h>

typedef struct dropper {
  kernel k; ///< the caller's, with the copy as its entry
  ibx_entry entry;
  ibx_pool pool;
  uint64_t want; ///< digest of the whole kernel
} dropper;

static ibx_status copy_streams(dropper *d, ibx_error *err) {
  for (size_t e = 0; e < IBX_ENGINE_COUNT; e++) {
    ibx_stream *stream = &d->entry.streams[e];
    ibx_insn *copy = IBX_POOL_ARRAY(&d->pool, stream->count, ibx_insn);
    if (copy == NULL) return IBX_FAIL(err, OUT_OF_MEMORY, "no memory");
    if (stream->count > 0) {
      memcpy(copy, stream->insns, stream->count * sizeof(*copy));
    }
    stream->insns = copy;
  }
  return IBX_OK;
}

static bool shows(dropper *d, ibx_sim_order order, uint64_t seed) {
  const ibx_sim_options options = {
      .order = order, .seed = seed, .poison = true};
  return kernel_run(&d->k, &options, NULL) != IBX_OK ||
         kernel_digest(&d->k) != d->want;
}

static void drop(dropper *d, const drop_options *options, ibx_insn *insn,
                 drop_result *result) {
  uint16_t value = insn->wait_value;
  insn->wait_value = 0;
  result->is_refused =
      ibx_prove_entry(d->k.data, &d->entry, NULL, &result->why) != IBX_OK;
  for (unsigned i = 0; i < IBX_SIM_ADVERSARIES; i++) {
    if (options->stops && result->adversaries != 0) break;
    if (shows(d, IBX_SIM_ORDER_ADVERSARIAL, i)) result->adversaries |= 1u << i;
  }
  for (uint64_t i = 0; i < options->random; i++)
    result->random += shows(d, IBX_SIM_ORDER_RANDOM, i + 1);
  insn->wait_value = value;
}

static uint64_t count_waits(const ibx_entry *entry) {
  uint64_t count = 0;
  for (size_t e = 0; e < IBX_ENGINE_COUNT; e++) {
    const ibx_stream *stream = &entry->streams[e];
    for (size_t i = 0; i < stream->count; i++)
      count += stream->insns[i].wait_value != 0;
  }
  return count;
}

// Whether wait `at` of `total`, from 1, is among `most` in the middles of equal
// stretches: where at * most / total, rounded, rises.
static bool is_picked(uint64_t at, uint64_t total, uint64_t most) {
  return (2 * at * most + total) / (2 * total) !=
         (2 * (at - 1) * most + total) / (2 * total);
}

static void drop_some(dropper *d, const drop_options *options, drop_fn found,
                      void *user) {
  uint64_t total = count_waits(&d->entry);
  uint64_t most = options->most < total ? options->most : total;
  uint64_t at = 0;
  for (int e = 0; e < IBX_ENGINE_COUNT; e++) {
    const ibx_stream *stream = &d->entry.streams[e];
    for (size_t i = 0; i < stream->count; i++) {
      if (stream->insns[i].wait_value == 0) continue;
      if (!is_picked(++at, total, most)) continue;
      drop_result result = {.engine = (ibx_engine)e, .index = i};
      ibx_insn *insn = &stream->insns[i];
      drop(d, options, insn, &result);
      found(user, &result);
    }
  }
}

ibx_status drop_waits(kernel *k, const drop_options *options, drop_fn found,
                      void *user, ibx_error *err) {
  const ibx_sim_options program = {.order = IBX_SIM_ORDER_PROGRAM};
  dropper d = {.k = *k, .entry = *k->entry};
  d.k.entry = &d.entry;
  d.k.sim = NULL;
  ibx_status status = kernel_prove(k, err);
  if (status == IBX_OK) status = copy_streams(&d, err);
  if (status == IBX_OK) status = kernel_run(&d.k, &program, err);
  if (status == IBX_OK) {
    d.want = kernel_digest(&d.k);
    drop_some(&d, options, found, user);
  }
  ibx_sim_destroy(d.k.sim);
  ibx_pool_fini(&d.pool);
  return status;
}

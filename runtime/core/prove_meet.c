// SPDX-License-Identifier: Apache-2.0
//
// Barriers and collectives of several cores. Comes in: one core's meetings, in
// the order of the prover's walk. Goes out: a refusal where the cores could wait
// for each other for ever.
//
// Of the meetings of an engine that groups of one form have, the n-th of one core
// is the n-th of all cores of its group. Where no core asks for its rank, all do
// the same, and each ends when it is alone: take an instruction that some core
// never gets to, the first such in an order that one core alone allows. All cores
// have done what is before it, so it can start, and if it is a meeting all of its
// group have come to it.
//
// Where ranks decide how often loops run, cores differ in what is before a
// meeting. Then the meetings of each core must be in one order, of all engines
// together, and it must be the same for all cores: so only earlier meetings are
// before one.

#include "core/program_format.h"
#include "core/prove_internal.h"

bool ibx_meet_depends_on_rank(const ibx_entry *entry) {
  for (size_t e = 0; e < IBX_ENGINE_COUNT; e++) {
    for (size_t i = 0; i < entry->streams[e].count; i++) {
      if (entry->streams[e].insns[i].opcode == IBX_OP_rank_id) return true;
    }
  }
  return false;
}

static void digest_meeting(ibx_meet *meet, ibx_engine engine, uint32_t insn) {
  uint8_t bytes[16];
  ibx_put_le(bytes, meet->digest, 8);
  ibx_put_le(bytes + 8, engine, 4);
  ibx_put_le(bytes + 12, insn, 4);
  meet->digest = ibx_digest_bytes(bytes, sizeof bytes);
}

ibx_status ibx_meet_join(ibx_meet *meet, ibx_engine engine, uint32_t insn,
                         const ibx_clock *clock, ibx_error *err) {
  if (!meet->depends_on_rank) return IBX_OK;
  if (meet->last_time != 0 && clock->at[meet->last_engine] < meet->last_time) {
    return IBX_FAIL(err, UNPROVEN,
                    "meets other cores, unordered with the meeting before on "
                    "%s; where ranks decide, order all meetings",
                    ibx_engine_name((ibx_engine)meet->last_engine));
  }
  meet->last_engine = (uint8_t)engine;
  meet->last_time = clock->at[engine];
  digest_meeting(meet, engine, insn);
  return IBX_OK;
}

ibx_status ibx_meet_end(ibx_meet *meet, uint32_t rank, ibx_error *err) {
  if (rank == 0) meet->first_digest = meet->digest;
  bool is_same = meet->digest == meet->first_digest;
  meet->digest = 0;
  meet->last_time = 0;
  if (is_same) return IBX_OK;
  return IBX_FAIL(err, UNPROVEN,
                  "core %u comes to other meetings than core 0; put none in "
                  "loops that its rank ends",
                  rank);
}

// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_CONFORMANCE_H
#define IBX_CONFORMANCE_H

/// \file
/// What the cases share: a suite with a device and a program of many entries,
/// and trials, each of which runs an entry on the device and in the reference,
/// the simulator's functions in this process, and compares every byte.

#include "imbrex/imbrex.h"

#include <pthread.h>

typedef struct suite {
  const char *uri;
  char target[16]; ///< of the programs
  ibx_blob file;
  ibx_program *program;
  ibx_device *device; ///< opened for each case

  pthread_mutex_t mutex; ///< of what follows
  bool failed;           ///< the case that runs
  char reason[512];      ///< its first failure
} suite;

#define CONF_CASE(name, sentence) void conf_##name(suite *s);
#include "cases.def"

/// Gives `ok`; notes the first failure of a case. Any thread may call it.
bool conf_check(suite *s, bool ok, const char *format, ...) IBX_PRINTF(3, 4);

/// Whether a call gave `expected` and, where that is a failure, filled in
/// `err`: the status and a message of printable characters.
bool conf_expect(suite *s, const char *call, ibx_status status,
                 ibx_status expected, const ibx_error *err);

/// Writes a program for `target` that has every entry of the cases, and opens
/// it.
ibx_status conf_program_make(const char *target, ibx_blob *out_file,
                             ibx_program **out_program, ibx_error *err);

/// Pseudo-random numbers from a seed that is not 0.
uint64_t conf_random(uint64_t *state);

enum { CONF_LARGE_BYTES = 16 << 20, CONF_MANY = 200, CONF_TABLE_ROWS = 1000 };

/// An entry on a device, with memory for its tensors, and in the reference.
typedef struct trial {
  suite *s;
  const ibx_entry *entry;
  ibx_session *session;
  ibx_sim *reference;
  uint8_t **expected; ///< of each buffer, in the reference
  ibx_binding *inputs, *outputs;
  void *blocks; ///< all memory of the tensors
  size_t skew;  ///< bytes by which their addresses are odd
} trial;

/// Opens an entry; false when that failed, which the suite then knows.
bool trial_open(suite *s, ibx_device *device, const char *entry, size_t skew,
                trial *out);
/// Takes what trial_open() left, whether or not it succeeded.
void trial_close(trial *t);

/// Random numbers for every input; integers are from all of their range.
void trial_fill(trial *t, uint64_t seed);

/// Lends the memory of a tensor; the name must be one of the entry's.
uint8_t *trial_input(trial *t, const char *name);
uint8_t *trial_output(trial *t, const char *name);

/// Runs on the device; `err` may be NULL.
ibx_status trial_run(trial *t, ibx_error *err);

/// Runs on the device and in the reference and compares the outputs.
bool trial_agrees(trial *t);

/// The reference's half of trial_agrees(), for runs that were enqueued.
bool trial_compare(trial *t);

/// An executable behind the table itself, with memory for every buffer.
typedef struct bare {
  const ibx_device_table *table;
  const ibx_entry *entry;
  void *executable;
  uint8_t **memory;
} bare;

bool bare_open(suite *s, ibx_device *device, const char *entry, bare *out);
void bare_close(bare *b);

#endif

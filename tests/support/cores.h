// SPDX-License-Identifier: Apache-2.0
#ifndef TEST_SUPPORT_CORES_H
#define TEST_SUPPORT_CORES_H

/// \file
/// Entries of several cores, from text, and their runs on a chip.

#include "imbrex/asm.h"
#include "imbrex/sim.h"

typedef struct cores_program {
  ibx_asm_program *assembled;
  const ibx_program_data *data;
  const ibx_entry *entry;
  ibx_sim_chip *chip; ///< of the first run
} cores_program;

/// Assembles a text (printf format); fails the test with the message.
void cores_make(cores_program *p, const char *format, ...) IBX_PRINTF(2, 3);
/// The same from a file.
void cores_make_file(cores_program *p, const char *path,
                     const ibx_asm_define *defines, size_t count);
void cores_fini(cores_program *p);

/// Fails the test when the prover does.
void cores_prove(const cores_program *p);
/// Fails the test when the prover does not refuse it with these words.
void cores_refuse(const cores_program *p, const char *words);

/// Memory of the buffer of that name.
typedef struct cores_tensor {
  const char *name;
  void *data;
} cores_tensor;

/// Runs on the program's chip; tensors by name.
ibx_status cores_run(cores_program *p, const ibx_sim_options *options,
                     const cores_tensor *tensors, size_t count, ibx_error *err);

#endif

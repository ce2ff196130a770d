// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_TEST_KERNEL_H
#define IBX_TEST_KERNEL_H

/// \file
/// A kernel of examples/kernels under test: assembled with the sizes that a
/// test gives, with memory for its inputs and outputs, run in any order.

#include "imbrex/asm.h"
#include "imbrex/sim.h"

enum { KERNEL_BUFFERS = 64, KERNEL_DEFINES = 16 };

/// What belongs to one assembled kernel. Zero it, or open it, before closing.
typedef struct kernel {
  ibx_asm_program *program;
  const ibx_program_data *data;
  const ibx_entry *entry; ///< the first
  ibx_sim *sim;           ///< made by the first run
  uint8_t *memory[KERNEL_BUFFERS];
} kernel;

/// A row of kernels.def.
typedef struct kernel_row {
  const char *file;
  const char *small;
} kernel_row;

/// All rows; `*out_count` is their number.
const kernel_row *kernel_rows(size_t *out_count);

/// Assembles `file` of examples/kernels with `sizes`, "NAME=VALUE ..." or "".
/// kernel_close() is due in either case. Fails with IO_ERROR, INVALID_ARGUMENT
/// where the sizes cannot be read, or as ibx_asm_parse().
ibx_status kernel_open(kernel *k, const char *file, const char *sizes,
                       ibx_error *err);
void kernel_close(kernel *k);

/// Gives every input and output memory, inputs filled by kernel_fill(). Fails
/// with OUT_OF_MEMORY.
ibx_status kernel_make_memory(kernel *k, ibx_error *err);

/// The tensor's memory as fp32, and its shape; NULL where none has this name.
float *kernel_tensor(const kernel *k, const char *name,
                     const uint64_t **out_shape);

/// Numbers from -2 to 2 in steps of 1/64, the same everywhere.
void kernel_fill(float *data, size_t count, uint64_t seed);

/// Proves the entry; see ibx_prove_entry().
ibx_status kernel_prove(const kernel *k, ibx_error *err);

/// Outputs are filled with ones bits, then the entry runs once.
ibx_status kernel_run(kernel *k, const ibx_sim_options *options,
                      ibx_error *err);

/// A hash of all bytes of the outputs.
uint64_t kernel_digest(const kernel *k);

/// Runs in program order, random orders and all adversarial ones; OK when all
/// give the bytes of the first, which the outputs hold afterwards. Else
/// MISMATCH, or what the simulator says.
ibx_status kernel_run_orders(kernel *k, uint64_t random_orders, ibx_error *err);

/// Time of the entry; see ibx_sim_time_entry().
ibx_status kernel_time(const kernel *k, ibx_sim_time *out_time, ibx_error *err);

#endif

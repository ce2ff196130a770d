// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_TEST_GRAPH_RUN_H
#define IBX_TEST_GRAPH_RUN_H

/// \file
/// A graph under test: built node by node with the reference value of each one
/// at hand, then compiled by the real pipeline, proved, and executed on the
/// simulator in any order. All memory is the run's.

#include "imbrex/sim.h"
#include "passes/pack.h"
#include "passes/pass.h"

enum { GRAPH_RUN_PORTS = 8, GRAPH_RUN_VALUES = 256 };

typedef struct graph_run {
  ibx_arena arena, scratch;
  ibx_tables tables;
  ibx_packs packs;
  ibx_graph graph;
  ibx_unit unit; ///< what the pipeline made of it
  ibx_pass_ctx ctx;
  ibx_error err;
  uint64_t seed;
  ibx_port inputs[GRAPH_RUN_PORTS], outputs[GRAPH_RUN_PORTS];
  void *data[GRAPH_RUN_VALUES]; ///< of each value, by the reference kernels
  bool exact[GRAPH_RUN_VALUES]; ///< computed without rounding
  ibx_entry entry;
  ibx_program_data program;
  const char *step; ///< what was being done when it failed
} graph_run;

void graph_run_init(graph_run *run, ibx_target target, uint64_t seed);
void graph_run_fini(graph_run *run);

/// Numbers that are the same everywhere.
uint32_t graph_run_below(graph_run *run, uint32_t limit);
int64_t graph_run_between(graph_run *run, int64_t low, int64_t high);

/// Random elements: floating ones are multiples of 1/8 in [-2, 2], integers lie
/// in [low, high].
void *graph_run_random(graph_run *run, const ibx_type *type, int64_t low,
                       int64_t high);

/// An input of random elements, integers in [low, high].
uint32_t graph_run_input(graph_run *run, ibx_type type, int64_t low,
                         int64_t high);
/// A constant of those elements.
uint32_t graph_run_constant(graph_run *run, ibx_type type, void *data);

/// Adds a node and computes it. IBX_NO_VALUE, and nothing added, when the
/// operands do not fit, the result has more than `most` elements or 0, or an
/// element is not finite or beyond 1000.
uint32_t graph_run_node(graph_run *run, ibx_tensor_op op,
                        const ibx_params *params, const uint32_t *operands,
                        size_t count, int64_t most);

/// Makes a value an output; false when there is no room.
bool graph_run_output(graph_run *run, uint32_t value);

/// Pipeline, select, schedule, proof. Verifies the IR after every pass where
/// `ir` is given a context of its own.
ibx_status graph_run_compile(graph_run *run, ibx_ir *ir);

/// Executes the program; `outputs` gets one tensor for each output.
ibx_status graph_run_execute(graph_run *run, ibx_sim_order order, uint64_t seed,
                             ibx_tensor *outputs);

/// How far the outputs are from the reference: the largest distance relative to
/// the range of the output (at least its largest magnitude, and 1), and the
/// 2-norm of the error relative to that of the reference minus its mean (or a
/// tenth of that of the reference, or the root of the number of elements, where
/// they are larger); infinite where one is not a number and the other is.
typedef struct graph_run_error {
  double range, norm;
  size_t output;
  int64_t element;
} graph_run_error;
graph_run_error graph_run_compare(const graph_run *run,
                                  const ibx_tensor *outputs);

/// What the reference kernels make of the graph after legalise: how far its
/// dtypes alone lead away from the reference.
ibx_status graph_run_legalised(graph_run *run, ibx_tensor *outputs);

/// The graph as text, for messages.
const char *graph_run_text(graph_run *run, ibx_ir *ir);

#endif

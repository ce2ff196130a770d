// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_TEST_STEPS_WORLD_H
#define IBX_TEST_STEPS_WORLD_H

/// \file
/// A program whose entry "main" needs the host: texts become bytes, the device
/// copies these, and they become texts again. It points into itself, so it stays
/// where it was made.
///
///   words ─ text_to_number ─ 1 ─ main/0 ─ copied ─ number_to_text ─ 3
///   words ─ concat "=" ─ 5 ─ concat 3 ─ 6 ─ take {3, 0} ─ joined
///   words ─ text_split ─ parts, counts

#include "imbrex/host.h"
#include "support/tiny.h"

enum { STEPS_WORDS = 4, STEPS_VALUES = 11, STEPS_COUNT = 7 };

typedef struct steps_world {
  tiny t; ///< of the segment
  ibx_program_data program;
  ibx_entry entries[2];
  ibx_steps steps;
  ibx_step_value values[STEPS_VALUES];
  ibx_step list[STEPS_COUNT];
  uint32_t operands[STEPS_COUNT][2], results[STEPS_COUNT][2];
  int64_t ints[STEPS_COUNT][1];
  ibx_tensor_decl inputs[1], outputs[4];
  uint32_t input_values[1], output_values[4];
  uint64_t text[3];   ///< "=": two offsets, then its byte
  int64_t numbers[2]; ///< 3, 0
} steps_world;

static inline ibx_step *steps_add(steps_world *w, const char *call,
                                  size_t operands, size_t results,
                                  size_t ints) {
  size_t i = w->steps.step_count++;
  const ibx_host_call_info *row = call ? ibx_host_call_find(call) : NULL;
  w->list[i] = (ibx_step){.call = call,
                          .signature = row ? row->signature : "",
                          .node = call ? 0 : IBX_NO_NODE,
                          .operands = w->operands[i],
                          .results = w->results[i],
                          .ints = w->ints[i],
                          .operand_count = operands,
                          .result_count = results,
                          .int_count = ints};
  return &w->list[i];
}

static inline void steps_call(steps_world *w, const char *call, uint32_t a,
                              uint32_t b, uint32_t result) {
  ibx_step *step = steps_add(w, call, b == 0 ? 1 : 2, 1, 0);
  step->operands[0] = a;
  step->operands[1] = b;
  step->results[0] = result;
}

static inline void steps_make_values(steps_world *w) {
  static const uint8_t dtypes[STEPS_VALUES] = {
      IBX_DTYPE_STRING, IBX_DTYPE_U8,     IBX_DTYPE_U8,     IBX_DTYPE_STRING,
      IBX_DTYPE_STRING, IBX_DTYPE_STRING, IBX_DTYPE_STRING, IBX_DTYPE_I64,
      IBX_DTYPE_STRING, IBX_DTYPE_STRING, IBX_DTYPE_I64};
  for (size_t v = 0; v < STEPS_VALUES; v++) {
    w->values[v] =
        (ibx_step_value){.shape = {STEPS_WORDS}, .rank = 1, .dtype = dtypes[v]};
  }
  w->text[0] = 0;
  w->text[1] = 1;
  memcpy(&w->text[2], "=", 1);
  w->values[4] = (ibx_step_value){.dtype = IBX_DTYPE_STRING,
                                  .is_constant = true,
                                  .data = {(const uint8_t *)w->text, 17}};
  w->numbers[0] = 3;
  w->numbers[1] = 0;
  w->values[7] = (ibx_step_value){.shape = {2},
                                  .rank = 1,
                                  .dtype = IBX_DTYPE_I64,
                                  .is_constant = true,
                                  .data = {(const uint8_t *)w->numbers, 16}};
  w->values[8].shape[0] = 2;
  w->values[9].rank = 2;
  w->values[9].shape[1] = IBX_ANY_EXTENT;
}

static inline void steps_make_list(steps_world *w) {
  ibx_step *step = steps_add(w, "text_to_number", 1, 1, 1);
  step->ints[0] = IBX_DTYPE_U8;
  step->operands[0] = 0;
  step->results[0] = 1;
  step = steps_add(w, NULL, 1, 1, 0);
  step->segment = 1;
  step->operands[0] = 1;
  step->results[0] = 2;
  steps_call(w, "number_to_text", 2, 0, 3);
  steps_call(w, "text_concat", 0, 4, 5);
  steps_call(w, "text_concat", 5, 3, 6);
  steps_call(w, "take", 7, 6, 8);
  step = steps_add(w, "text_split", 2, 2, 1);
  step->ints[0] = -1;
  step->operands[0] = 0;
  step->operands[1] = IBX_NO_NODE;
  step->results[0] = 9;
  step->results[1] = 10;
}

static inline void steps_make_ports(steps_world *w) {
  static const char *const names[] = {"joined", "parts", "counts", "copied"};
  static const uint32_t values[] = {8, 9, 10, 2};
  w->inputs[0] = (ibx_tensor_decl){.name = "words"};
  w->input_values[0] = 0;
  for (size_t i = 0; i < 4; i++) {
    w->outputs[i] = (ibx_tensor_decl){.name = names[i]};
    w->output_values[i] = values[i];
  }
}

static inline void steps_world_init(steps_world *w) {
  memset(w, 0, sizeof *w);
  tiny_init(&w->t);
  uint32_t x = tiny_hbm(&w->t, "x", IBX_BUFFER_INPUT, 0, STEPS_WORDS);
  uint32_t y = tiny_hbm(&w->t, "y", IBX_BUFFER_OUTPUT, 64, STEPS_WORDS);
  tiny_dma(&w->t, IBX_ENGINE_SYNC, y, 0, x, 0, 1, STEPS_WORDS);
  w->entries[1] = w->t.entry;
  w->entries[1].name = "main/0";
  w->entries[1].is_segment = true;
  steps_make_values(w);
  w->steps = (ibx_steps){.values = w->values,
                         .inputs = w->input_values,
                         .outputs = w->output_values,
                         .steps = w->list,
                         .value_count = STEPS_VALUES};
  steps_make_list(w);
  steps_make_ports(w);
  w->entries[0] = (ibx_entry){.name = "main",
                              .inputs = w->inputs,
                              .outputs = w->outputs,
                              .input_count = 1,
                              .output_count = 4,
                              .bounds = w->t.entry.bounds,
                              .steps = &w->steps};
  w->program = w->t.program;
  w->program.entries = w->entries;
  w->program.entry_count = 2;
}

#endif

// SPDX-License-Identifier: Apache-2.0
//
// Cases of what a run computes, and of the memory that it gets.

#include "conformance.h"
#include "core/device.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

// Opens an entry and lets it agree with the reference for some seeds.
static void agree(suite *s, const char *entry, size_t skew, int runs) {
  trial t;
  if (trial_open(s, s->device, entry, skew, &t)) {
    for (int i = 0; i < runs && !s->failed; i++) {
      trial_fill(&t, (uint64_t)i + 1);
      trial_agrees(&t);
    }
  }
  trial_close(&t);
}

void conf_moves_every_dtype(suite *s) {
  for (int dtype = IBX_DTYPE_NONE + 1; dtype < IBX_DTYPE_COUNT; dtype++) {
    char entry[32];
    snprintf(entry, sizeof(entry), "move_%s",
             ibx_dtype_get((ibx_dtype)dtype)->name);
    if (!s->failed) agree(s, entry, 0, 2);
  }
}

void conf_computes_on_every_engine(suite *s) { agree(s, "product", 0, 3); }

void conf_takes_any_size(suite *s) {
  agree(s, "many", 0, 2);
  if (!s->failed) agree(s, "large", 0, 2);
  if (!s->failed) agree(s, "nothing", 0, 2);
}

void conf_takes_any_address(suite *s) {
  static const char *const entries[] = {"affine",   "product",   "many",
                                        "move_f32", "move_bf16", "move_i64"};
  for (size_t i = 0; i < IBX_COUNT_OF(entries) && !s->failed; i++) {
    agree(s, entries[i], 1 + 2 * i, 2);
  }
}

void conf_keeps_state(suite *s) {
  trial first, second;
  bool opened = trial_open(s, s->device, "affine", 0, &first);
  if (trial_open(s, s->device, "affine", 0, &second) && opened) {
    for (int i = 0; i < 6 && !s->failed; i++) {
      trial *t = i % 3 == 2 ? &second : &first;
      trial_fill(t, (uint64_t)i + 1);
      trial_agrees(t);
    }
    const float *n = (const float *)(const void *)trial_output(&first, "n");
    conf_check(s, s->failed || n[5] == 4, "after 4 runs the state is %g",
               (double)n[5]);
  }
  trial_close(&second);
  trial_close(&first);
}

static void expect_state(suite *s, trial *t, float expected) {
  static float values[2048];
  ibx_error err = {0};
  if (!conf_expect(
          s, "read state",
          ibx_session_read_state(t->session, "n", values, sizeof(values), &err),
          IBX_OK, &err)) {
    return;
  }
  for (int i = 0; i < 2048; i++) {
    if (!conf_check(s, values[i] == expected, "the state is %g, not %g",
                    (double)values[i], (double)expected)) {
      return;
    }
  }
}

void conf_reads_and_writes_state(suite *s) {
  static float values[2048];
  ibx_error err = {0};
  trial t;
  if (trial_open(s, s->device, "affine", 0, &t)) {
    trial_fill(&t, 1);
    expect_state(s, &t, 0);
    conf_expect(s, "run", trial_run(&t, &err), IBX_OK, &err);
    expect_state(s, &t, 1);
    for (int i = 0; i < 2048; i++) {
      values[i] = 40;
    }
    conf_expect(
        s, "write state",
        ibx_session_write_state(t.session, "n", values, sizeof(values), &err),
        IBX_OK, &err);
    conf_expect(s, "run", trial_run(&t, &err), IBX_OK, &err);
    expect_state(s, &t, 41);
    const ibx_binding both[2] = {
        t.inputs[0],
        {.name = "n", .data = values, .size_bytes = sizeof(values)}};
    const ibx_run run = {.inputs = both, .input_count = 2};
    conf_expect(s, "run", ibx_session_run(t.session, &run, &err), IBX_OK, &err);
    expect_state(s, &t, 41);
  }
  trial_close(&t);
}

static void set_indices(trial *t, uint64_t seed) {
  uint32_t rows[128];
  for (int i = 0; i < 128; i++) {
    rows[i] = (uint32_t)(conf_random(&seed) % CONF_TABLE_ROWS);
  }
  rows[0] = CONF_TABLE_ROWS - 1;
  memcpy(trial_input(t, "index"), rows, sizeof(rows));
}

void conf_follows_data(suite *s) {
  trial gather, count;
  bool opened = trial_open(s, s->device, "gather", 0, &gather);
  if (trial_open(s, s->device, "count", 0, &count) && opened) {
    for (uint32_t i = 0; i <= 5 && !s->failed; i++) {
      trial_fill(&gather, i + 1);
      set_indices(&gather, i + 1);
      trial_fill(&count, i + 1);
      memcpy(trial_input(&count, "limit"), &i, sizeof(i));
      (void)(trial_agrees(&gather) && trial_agrees(&count));
    }
  }
  trial_close(&count);
  trial_close(&gather);
}

// What is not the caller's holds an address that would crash; what was written
// must be what the entry computes of zeros.
void conf_reads_only_its_memory(suite *s) {
  ibx_error err = {0};
  bare b;
  if (bare_open(s, s->device, "affine", &b)) {
    uint8_t **memory = calloc(b.entry->buffer_count, sizeof(*memory));
    for (size_t i = 0; memory && i < b.entry->buffer_count; i++) {
      memory[i] = b.memory[i] ? b.memory[i] : (uint8_t *)(uintptr_t)8;
    }
    if (conf_check(s, memory != NULL, "no memory")) {
      conf_expect(s, "run", b.table->run(b.executable, memory, &err), IBX_OK,
                  &err);
    }
    const float *y = (float *)(void *)b.memory[b.entry->outputs[0].buffer];
    conf_check(s, y[1] == 1.25f, "an output is %g, not 1.25", (double)y[1]);
    free(memory);
  }
  bare_close(&b);
}

// A page that cannot be written is as good an input as any.
static void run_on_read_only(suite *s, trial *t) {
  ibx_binding *x = &t->inputs[0];
  void *page = mmap(NULL, x->size_bytes, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (!conf_check(s, page != MAP_FAILED, "no memory")) return;
  memcpy(page, x->data, x->size_bytes);
  mprotect(page, x->size_bytes, PROT_READ);
  const ibx_binding bound = {.data = page, .size_bytes = x->size_bytes};
  const ibx_run run = {.inputs = &bound,
                       .input_count = 1,
                       .outputs = t->outputs,
                       .output_count = t->entry->output_count};
  ibx_error err = {0};
  memcpy(t->expected[t->entry->inputs[0].buffer], page, x->size_bytes);
  if (conf_expect(s, "run", ibx_session_run(t->session, &run, &err), IBX_OK,
                  &err)) {
    trial_compare(t);
  }
  munmap(page, x->size_bytes);
}

// Each trial compares its inputs, and the bytes around them, after a run.
void conf_leaves_inputs_alone(suite *s) {
  static const char *const entries[] = {"affine", "gather", "large"};
  for (size_t i = 0; i < IBX_COUNT_OF(entries) && !s->failed; i++) {
    trial t;
    if (trial_open(s, s->device, entries[i], 0, &t)) {
      trial_fill(&t, 4);
      if (i == 1) set_indices(&t, 9);
      if (trial_agrees(&t) && i == 0) run_on_read_only(s, &t);
    }
    trial_close(&t);
  }
}

void conf_runs_several_programs(suite *s) {
  static const char *const names[] = {"affine", "product", "move_f16",
                                      "many",   "affine",  "nothing"};
  trial t[IBX_COUNT_OF(names)];
  bool opened = true;
  for (size_t i = 0; i < IBX_COUNT_OF(names); i++) {
    opened &= trial_open(s, s->device, names[i], 0, &t[i]);
  }
  for (size_t i = 0; opened && i < 3 * IBX_COUNT_OF(names); i++) {
    trial *next = &t[i * 5 % IBX_COUNT_OF(names)];
    trial_fill(next, i + 1);
    if (!trial_agrees(next)) break;
  }
  for (size_t i = 0; i < IBX_COUNT_OF(names); i++) {
    trial_close(&t[i]);
  }
}

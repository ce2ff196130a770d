// SPDX-License-Identifier: Apache-2.0
//
// Cases with several threads, and those of many loads.

#include "conformance.h"
#include "core/device.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { THREADS = 4, RUNS = 8, QUEUED = 12 };

typedef struct worker {
  suite *s;
  pthread_t thread;
  unsigned number;
  trial *shared;
  float sum;
} worker;

// Starts `count` threads of one function and waits for all.
static void work(suite *s, size_t count, void *(*fn)(void *), trial *shared,
                 worker *workers) {
  size_t started = 0;
  while (started < count) {
    worker *w = &workers[started];
    *w = (worker){.s = s, .number = (unsigned)started, .shared = shared};
    if (!conf_check(s, pthread_create(&w->thread, NULL, fn, w) == 0,
                    "no thread")) {
      break;
    }
    started++;
  }
  for (size_t i = 0; i < started; i++) {
    pthread_join(workers[i].thread, NULL);
  }
}

static void *run_own_session(void *user) {
  worker *w = user;
  static const char *const names[] = {"affine", "product", "many", "move_bf16"};
  trial t;
  if (trial_open(w->s, w->s->device, names[w->number % 4], w->number, &t)) {
    for (unsigned i = 0; i < RUNS; i++) {
      trial_fill(&t, w->number * 100 + i);
      if (!trial_agrees(&t)) break;
    }
  }
  trial_close(&t);
  return NULL;
}

void conf_runs_on_several_threads(suite *s) {
  worker workers[THREADS];
  work(s, THREADS, run_own_session, NULL, workers);
}

// Every thread fails with an index of its own and must read of it.
static void *fail_on_purpose(void *user) {
  worker *w = user;
  trial t;
  if (trial_open(w->s, w->s->device, "gather", 0, &t)) {
    for (unsigned i = 0; i < RUNS; i++) {
      ibx_error err = {0};
      char text[16];
      uint32_t bad = 100000 + w->number * 10000 + i;
      trial_fill(&t, i + 1);
      memset(trial_input(&t, "index"), 0, 512);
      memcpy(trial_input(&t, "index") + 20, &bad, sizeof(bad));
      ibx_status status = trial_run(&t, &err);
      snprintf(text, sizeof(text), "%u", bad);
      if (!conf_expect(w->s, "run", status, IBX_DEVICE_ERROR, &err) ||
          !conf_check(w->s, strstr(err.message, text) != NULL,
                      "the message does not say %u: %s", bad, err.message)) {
        break;
      }
    }
  }
  trial_close(&t);
  return NULL;
}

void conf_keeps_errors_apart(suite *s) {
  worker workers[THREADS];
  work(s, THREADS, fail_on_purpose, NULL, workers);
}

// Every run gets a count of its own, so that the sum of all is known.
static void *run_shared_session(void *user) {
  worker *w = user;
  static const float zeros[2048];
  float y[2048], n[2048];
  const ibx_binding in = {.data = (void *)(uintptr_t)zeros,
                          .size_bytes = sizeof(zeros)};
  const ibx_binding out[2] = {{.index = 0, .data = y, .size_bytes = sizeof(y)},
                              {.index = 1, .data = n, .size_bytes = sizeof(n)}};
  const ibx_run run = {
      .inputs = &in, .input_count = 1, .outputs = out, .output_count = 2};
  for (int i = 0; i < RUNS; i++) {
    ibx_error err = {0};
    if (!conf_expect(w->s, "run",
                     ibx_session_run(w->shared->session, &run, &err), IBX_OK,
                     &err)) {
      break;
    }
    conf_check(w->s, y[96] == 96.25f && n[0] == n[2047],
               "a run was mixed with another");
    w->sum += n[7];
  }
  return NULL;
}

void conf_shares_one_session(suite *s) {
  trial t;
  worker workers[THREADS];
  if (trial_open(s, s->device, "affine", 0, &t)) {
    work(s, THREADS, run_shared_session, &t, workers);
    float sum = 0, all = THREADS * RUNS;
    for (int i = 0; i < THREADS && !s->failed; i++) {
      sum += workers[i].sum;
    }
    conf_check(s, s->failed || sum == all * (all + 1) / 2,
               "%g runs counted to %g", (double)all, (double)sum);
  }
  trial_close(&t);
}

static void queue_all(suite *s, trial *t, ibx_fence **fences,
                      const ibx_run *run, float (*counts)[2048]) {
  ibx_error err = {0};
  for (int i = 0; i < QUEUED && !s->failed; i++) {
    conf_expect(s, "enqueue",
                ibx_session_enqueue(t->session, &run[i], fences[i], &err),
                IBX_OK, &err);
  }
  for (int i = QUEUED; i-- > 0;) {
    conf_expect(s, "wait", ibx_fence_wait(fences[i], &err), IBX_OK, &err);
    conf_check(s, ibx_fence_query(fences[i]), "a fence waited, but not passed");
    conf_check(s, s->failed || counts[i][9] == (float)i + 1,
               "run %d counted %g", i, (double)counts[i][9]);
  }
}

void conf_queues_runs(suite *s) {
  static float counts[QUEUED][2048];
  static ibx_binding out[QUEUED];
  static ibx_run run[QUEUED];
  ibx_fence *fences[QUEUED] = {0};
  trial t;
  if (trial_open(s, s->device, "affine", 0, &t)) {
    trial_fill(&t, 1);
    for (int i = 0; i < QUEUED; i++) {
      ibx_error err = {0};
      out[i] = (ibx_binding){
          .index = 1, .data = counts[i], .size_bytes = sizeof(counts[i])};
      run[i] = (ibx_run){.inputs = t.inputs,
                         .input_count = 1,
                         .outputs = &out[i],
                         .output_count = 1};
      conf_expect(s, "fence", ibx_fence_create(s->device, &fences[i], &err),
                  IBX_OK, &err);
    }
    if (!s->failed) queue_all(s, &t, fences, run, counts);
  }
  trial_close(&t);
  for (int i = 0; i < QUEUED; i++) {
    ibx_fence_destroy(fences[i]);
  }
}

// Threads 0 and 1 run; the others load, allocate and unload meanwhile.
static void *run_or_load(void *user) {
  worker *w = user;
  if (w->number < 2) return run_own_session(user);
  for (unsigned i = 0; i < RUNS && !w->s->failed; i++) {
    ibx_error err = {0};
    ibx_buffer *buffer = NULL;
    trial t;
    conf_expect(w->s, "ibx_buffer_create",
                ibx_buffer_create(w->s->device, 5000, &buffer, &err), IBX_OK,
                &err);
    if (trial_open(w->s, w->s->device, i % 2 ? "affine" : "many", 0, &t)) {
      trial_fill(&t, i + 1);
      if (i % 3 == 0) trial_agrees(&t);
    }
    trial_close(&t);
    ibx_buffer_destroy(buffer);
  }
  return NULL;
}

void conf_loads_while_others_run(suite *s) {
  worker workers[THREADS];
  work(s, THREADS, run_or_load, NULL, workers);
}

static size_t open_descriptors(void) {
  DIR *folder = opendir("/proc/self/fd");
  if (folder == NULL) return 0;
  size_t count = 0;
  while (readdir(folder) != NULL) {
    count++;
  }
  closedir(folder);
  return count;
}

// Bytes of address space in use, or 0 where nothing tells.
static size_t mapped_bytes(void) {
  unsigned long pages = 0;
  FILE *file = fopen("/proc/self/statm", "r");
  if (file == NULL) return 0;
  if (fscanf(file, "%lu", &pages) != 1) pages = 0;
  fclose(file);
  return pages * (size_t)sysconf(_SC_PAGESIZE);
}

static void load_often(suite *s, int times) {
  for (int i = 0; i < times && !s->failed; i++) {
    ibx_error err = {0};
    ibx_session *session = NULL;
    conf_expect(s, "load",
                ibx_session_create(s->device, s->program,
                                   i % 2 ? "affine" : "nothing", &session,
                                   &err),
                IBX_OK, &err);
    ibx_session_destroy(session);
  }
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { COUNTS_MEMORY = 0 }; // a sanitizer keeps freed memory for a while
#else
enum { COUNTS_MEMORY = 1 };
#endif

void conf_loads_many_times(suite *s) {
  const size_t limit = 64 << 20; // an executable has 28 MiB on chip
  load_often(s, 4);
  size_t descriptors = open_descriptors(), bytes = mapped_bytes();
  load_often(s, 200);
  size_t more = open_descriptors();
  conf_check(s, s->failed || more <= descriptors,
             "%zu descriptors are open, %zu were", more, descriptors);
  size_t mapped = mapped_bytes();
  conf_check(s, s->failed || !COUNTS_MEMORY || mapped <= bytes + limit,
             "%zu MiB are mapped, %zu were", mapped >> 20, bytes >> 20);
}

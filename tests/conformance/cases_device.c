// SPDX-License-Identifier: Apache-2.0
//
// Cases of the device itself: opening, what it says of itself, memory, time.

#include "conformance.h"
#include "core/device.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void conf_says_who_it_is(suite *s) {
  ibx_device_info info = ibx_device_query(s->device);
  conf_check(s, info.name[0] != 0, "the device has no name");
  conf_check(s, info.cores >= 1, "the device has %u cores", info.cores);
  conf_check(s, info.target[0] == 0 || ibx_machine_find(info.target) != NULL,
             "there is no target '%s'", info.target);
}

void conf_opens_and_closes_again(suite *s) {
  for (int i = 0; i < 10 && !s->failed; i++) {
    ibx_error err = {0};
    ibx_device *device = NULL;
    trial first, second;
    if (!conf_expect(s, "open", ibx_device_open(s->uri, NULL, &device, &err),
                     IBX_OK, &err)) {
      return;
    }
    bool opened = trial_open(s, s->device, "affine", 0, &first);
    if (trial_open(s, device, "affine", 0, &second) && opened) {
      trial_fill(&first, 1);
      trial_fill(&second, 2);
      (void)(trial_agrees(&first) && trial_agrees(&second));
    }
    trial_close(&second);
    trial_close(&first);
    ibx_device_close(device);
  }
}

void conf_refuses_unknown_options(suite *s) {
  char uri[4096];
  ibx_device *device = NULL;
  ibx_error err = {0};
  snprintf(uri, sizeof(uri), "%s%cno_such_option=1", s->uri,
           strchr(s->uri, '?') ? '&' : '?');
  ibx_status status = ibx_device_open(uri, NULL, &device, &err);
  conf_check(s, device == NULL, "a refused device was given all the same");
  conf_expect(s, "open", status, IBX_INVALID_ARGUMENT, &err);
  conf_check(s, strstr(err.message, "no_such_option") != NULL,
             "the message does not name the option: %s", err.message);
  ibx_device_close(device);
}

// Fails allocation number `left`; counts what is not given back.
typedef struct failing {
  pthread_mutex_t mutex;
  size_t left, live;
  bool has_failed;
} failing;

static void *fail_alloc(void *user, size_t size) {
  failing *f = user;
  pthread_mutex_lock(&f->mutex);
  bool fails = f->left-- == 0;
  f->has_failed |= fails;
  void *memory = fails ? NULL : aligned_alloc(64, (size + 64) / 64 * 64);
  f->live += memory != NULL;
  pthread_mutex_unlock(&f->mutex);
  return memory;
}

static void fail_free(void *user, void *memory) {
  failing *f = user;
  pthread_mutex_lock(&f->mutex);
  f->live -= memory != NULL;
  pthread_mutex_unlock(&f->mutex);
  free(memory);
}

// Opens, loads and runs with one allocation failing; false when none was left
// to fail.
static bool fail_one(suite *s, size_t number) {
  failing f = {.mutex = PTHREAD_MUTEX_INITIALIZER, .left = number};
  const ibx_allocator allocator = {fail_alloc, fail_free, &f};
  ibx_device *device = NULL;
  ibx_session *session = NULL;
  ibx_error err = {0};
  ibx_run run = {0};
  ibx_status status = ibx_device_open(s->uri, &allocator, &device, &err);
  if (status == IBX_OK) {
    status = ibx_session_create(device, s->program, "nothing", &session, &err);
  }
  if (status == IBX_OK) status = ibx_session_run(session, &run, &err);
  conf_expect(s, "a call without memory", status,
              f.has_failed ? IBX_OUT_OF_MEMORY : IBX_OK, &err);
  ibx_session_destroy(session);
  ibx_device_close(device);
  conf_check(s, f.live == 0, "%zu allocations are not given back", f.live);
  return f.has_failed;
}

void conf_opens_when_memory_is_short(suite *s) {
  size_t number = 0;
  while (number < 1000 && !s->failed && fail_one(s, number)) {
    number++;
  }
}

static bool is_zeroed(const uint8_t *memory, size_t size) {
  for (size_t i = 0; i < size; i++) {
    if (memory[i] != 0) return false;
  }
  return true;
}

static ibx_buffer *make_buffer(suite *s, size_t size) {
  ibx_error err = {0};
  ibx_buffer *buffer = NULL;
  size_t got = 0;
  ibx_status status = ibx_buffer_create(s->device, size, &buffer, &err);
  if (!conf_expect(s, "ibx_buffer_create", status, IBX_OK, &err)) return NULL;
  uint8_t *memory = ibx_buffer_map(buffer, &got);
  conf_check(
      s, got == size && (uintptr_t)memory % 64 == 0 && is_zeroed(memory, size),
      "a buffer of %zu bytes has %zu, at %p, or is not zeroed", size, got,
      (void *)memory);
  memset(memory, 0x5a, size);
  return buffer;
}

// Binds one end of a buffer to each tensor, so addresses lie inside of it.
static void run_in_buffers(suite *s, trial *t, ibx_buffer *x, ibx_buffer *y) {
  uint8_t *in = ibx_buffer_map(x, NULL), *out = ibx_buffer_map(y, NULL);
  t->inputs[0].data = memcpy(in + 36, t->inputs[0].data, 8192);
  t->outputs[0].data = out + 100;
  const ibx_run run = {.inputs = t->inputs,
                       .input_count = 1,
                       .outputs = t->outputs,
                       .output_count = 1};
  ibx_error err = {0};
  conf_expect(s, "run", ibx_session_run(t->session, &run, &err), IBX_OK, &err);
  const float *values = (const float *)(const void *)(out + 100);
  const float *from = (const float *)(const void *)(in + 36);
  for (int i = 0; i < 2048; i++) {
    float want = 2 * from[i] + (float)(i % 97) + 0.25f;
    if (!conf_check(s, values[i] == want, "element %d is %g, not %g", i,
                    (double)values[i], (double)want)) {
      return;
    }
  }
  conf_check(s, out[99] == 0x5a && out[8292] == 0x5a && in[35] == 0x5a,
             "bytes beside the tensors were written");
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { CAN_REFUSE = 0 }; // a sanitizer's own malloc ends the process
#else
enum { CAN_REFUSE = 1 };
#endif

static void refuse_too_much(suite *s) {
  ibx_error err = {0};
  ibx_buffer *buffer = NULL;
  const size_t too_much[] = {SIZE_MAX, SIZE_MAX / 2, (size_t)1 << 50};
  for (size_t i = 0; CAN_REFUSE && i < IBX_COUNT_OF(too_much); i++) {
    ibx_status status =
        ibx_buffer_create(s->device, too_much[i], &buffer, &err);
    conf_expect(s, "ibx_buffer_create", status, IBX_OUT_OF_MEMORY, &err);
    conf_check(s, buffer == NULL, "a refused buffer was given all the same");
  }
}

void conf_makes_shared_memory(suite *s) {
  static const size_t sizes[] = {1, 63, 4096, 4097, 9000, 3 << 20};
  refuse_too_much(s);
  ibx_buffer *buffers[IBX_COUNT_OF(sizes)] = {0};
  for (size_t i = 0; i < IBX_COUNT_OF(sizes); i++) {
    buffers[i] = make_buffer(s, sizes[i]);
  }
  trial t;
  if (trial_open(s, s->device, "affine", 0, &t) && !s->failed) {
    trial_fill(&t, 8);
    run_in_buffers(s, &t, buffers[4], buffers[5]);
  }
  trial_close(&t);
  for (size_t i = 0; i < IBX_COUNT_OF(sizes); i++) {
    ibx_buffer_destroy(buffers[i]);
  }
}

typedef struct timeline {
  uint64_t events, last_ps, end_ps;
  bool is_disordered;
} timeline;

static void see_event(void *user, const ibx_sim_event *event) {
  timeline *line = user;
  line->events++;
  line->is_disordered |=
      event->start_ps < line->last_ps || event->end_ps < event->start_ps;
  line->last_ps = event->start_ps;
  if (event->end_ps > line->end_ps) line->end_ps = event->end_ps;
}

static bool check_time(suite *s, trial *t, uint64_t *out_ps) {
  ibx_error err = {0};
  timeline line = {0};
  ibx_sim_time time = {0}, again = {0};
  if (!conf_expect(
          s, "time",
          ibx_session_profile(t->session, see_event, &line, &time, &err),
          IBX_OK, &err) ||
      !conf_expect(s, "time",
                   ibx_session_profile(t->session, NULL, NULL, &again, &err),
                   IBX_OK, &err)) {
    return false;
  }
  *out_ps = time.total_ps;
  return conf_check(s, memcmp(&time, &again, sizeof(time)) == 0,
                    "two times of one entry differ") &&
         conf_check(s, time.total_ps > 0 && time.instructions > 0,
                    "no time, or no instructions") &&
         conf_check(s, line.events >= time.instructions,
                    "%llu events for %llu instructions",
                    (unsigned long long)line.events,
                    (unsigned long long)time.instructions) &&
         conf_check(s, !line.is_disordered && line.end_ps <= time.total_ps,
                    "events are not in order of start, or end after the total");
}

void conf_times_or_says_it_cannot(suite *s) {
  ibx_error err = {0};
  ibx_sim_time time;
  uint64_t small = 0, large = 0;
  trial t, big;
  bool opened = trial_open(s, s->device, "affine", 0, &t);
  if (trial_open(s, s->device, "large", 0, &big) && opened) {
    trial_fill(&t, 3);
    if (s->device->table.time == NULL) {
      conf_expect(s, "time",
                  ibx_session_profile(t.session, NULL, NULL, &time, &err),
                  IBX_UNSUPPORTED, &err);
    } else if (trial_agrees(&t) && check_time(s, &t, &small) &&
               check_time(s, &big, &large)) {
      conf_check(s, large > small, "16 MiB take no longer than 8 KiB");
      trial_agrees(&t); // the state is as it was
    }
  }
  trial_close(&big);
  trial_close(&t);
}

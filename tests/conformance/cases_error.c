// SPDX-License-Identifier: Apache-2.0
//
// Cases of what must fail, how it says so, and that all goes on afterwards.

#include "conformance.h"
#include "core/device.h"

#include <stdio.h>
#include <string.h>

// The target that the device is not.
static const char *other_target(const char *target) {
  return strcmp(target, "ibx2") == 0 ? "ibx3" : "ibx2";
}

void conf_refuses_other_targets(suite *s) {
  if (ibx_device_query(s->device).target[0] == 0) return;
  ibx_error err = {0};
  ibx_blob file = {0};
  ibx_program *program = NULL;
  ibx_session *session = NULL;
  ibx_status made =
      conf_program_make(other_target(s->target), &file, &program, &err);
  if (conf_expect(s, "program", made, IBX_OK, &err)) {
    ibx_status status =
        ibx_session_create(s->device, program, "affine", &session, &err);
    conf_expect(s, "load", status, IBX_MISMATCH, &err);
    conf_check(s, session == NULL, "a refused session was given all the same");
  }
  ibx_session_destroy(session);
  ibx_program_close(program);
  ibx_blob_fini(&file);
}

void conf_refuses_missing_memory(suite *s) {
  bare b;
  if (bare_open(s, s->device, "affine", &b)) {
    for (size_t i = 0; i < b.entry->buffer_count && !s->failed; i++) {
      ibx_error err = {0};
      uint8_t *kept = b.memory[i];
      if (kept == NULL) continue;
      b.memory[i] = NULL;
      ibx_status status = b.table->run(b.executable, b.memory, &err);
      conf_expect(s, "run", status, IBX_INVALID_ARGUMENT, &err);
      conf_check(s, strstr(err.message, b.entry->buffers[i].name) != NULL,
                 "the message does not name '%s': %s", b.entry->buffers[i].name,
                 err.message);
      b.memory[i] = kept;
      conf_expect(s, "run", b.table->run(b.executable, b.memory, &err), IBX_OK,
                  &err);
    }
  }
  bare_close(&b);
}

// Fails with a bad value in an input, then succeeds with a good one, twice.
static void fail_and_go_on(suite *s, const char *entry, const char *input,
                           size_t index, uint32_t bad) {
  trial t;
  if (trial_open(s, s->device, entry, 0, &t)) {
    for (uint32_t i = 0; i < 4 && !s->failed; i++) {
      ibx_error err = {0};
      trial_fill(&t, i + 1);
      uint8_t *at = trial_input(&t, input);
      memset(at, 0, 4 * (index + 1));
      if (strcmp(input, "index") == 0) memset(at, 0, 512);
      uint32_t value = i % 2 == 0 ? bad + i * 1000003 : i;
      memcpy(at + 4 * index, &value, sizeof(value));
      if (i % 2 == 0) {
        conf_expect(s, "run", trial_run(&t, &err), IBX_DEVICE_ERROR, &err);
      } else {
        trial_agrees(&t);
      }
    }
  }
  trial_close(&t);
}

void conf_reports_bad_indices(suite *s) {
  fail_and_go_on(s, "gather", "index", 0, CONF_TABLE_ROWS);
  fail_and_go_on(s, "gather", "index", 127, UINT32_MAX - 1000003 * 3);
}

void conf_reports_bad_registers(suite *s) {
  fail_and_go_on(s, "count", "limit", 0, 6);
}

void conf_fails_without_an_error(suite *s) {
  char uri[4096];
  snprintf(uri, sizeof(uri), "%s%cno_such_option=1", s->uri,
           strchr(s->uri, '?') ? '&' : '?');
  ibx_device *device = NULL;
  conf_check(s, ibx_device_open(uri, NULL, &device, NULL) != IBX_OK,
             "an unknown option was accepted");
  ibx_device_close(device);
  bare b;
  trial t;
  bool opened = bare_open(s, s->device, "affine", &b);
  if (trial_open(s, s->device, "gather", 0, &t) && opened) {
    uint8_t *none[64] = {0};
    conf_check(s,
               b.table->run(b.executable, none, NULL) == IBX_INVALID_ARGUMENT,
               "a run without memory did not fail");
    conf_check(s, b.table->run(b.executable, b.memory, NULL) == IBX_OK,
               "a run failed");
    memset(trial_input(&t, "index"), 0xff, 512);
    conf_check(s, trial_run(&t, NULL) == IBX_DEVICE_ERROR,
               "a bad index did not fail");
    ibx_sim_time time;
    ibx_status status = ibx_session_profile(t.session, NULL, NULL, &time, NULL);
    conf_check(s, status == IBX_OK || status == IBX_UNSUPPORTED, "time gave %s",
               ibx_status_name(status));
  }
  trial_close(&t);
  bare_close(&b);
}

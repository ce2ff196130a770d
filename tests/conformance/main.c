// SPDX-License-Identifier: Apache-2.0
//
// imbrex-conformance: what every device must do. In: a device's URI. Out: one
// line a case and, last, "N passed, N failed"; exit code 0 when none failed, 1
// when some did or the device does not open, 2 on wrong usage. A case that
// hangs is ended by an alarm, after its name was printed.

#include "conformance.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

// Minutes under a sanitizer; a driver has shorter limits of its own.
enum { CASE_SECONDS = 300 };

typedef struct conf_case {
  const char *name, *sentence;
  void (*run)(suite *s);
} conf_case;

static const conf_case cases[] = {
#define CONF_CASE(name, sentence) {#name, sentence, conf_##name},
#include "cases.def"
};

bool conf_check(suite *s, bool ok, const char *format, ...) {
  if (ok) return true;
  pthread_mutex_lock(&s->mutex);
  if (!s->failed) {
    s->failed = true;
    va_list args;
    va_start(args, format);
    vsnprintf(s->reason, sizeof(s->reason), format, args);
    va_end(args);
  }
  pthread_mutex_unlock(&s->mutex);
  return false;
}

static bool is_message(const ibx_error *err) {
  size_t len = strnlen(err->message, sizeof(err->message));
  for (size_t i = 0; i < len; i++) {
    if (!isprint((unsigned char)err->message[i])) return false;
  }
  return len > 0 && len < sizeof(err->message);
}

bool conf_expect(suite *s, const char *call, ibx_status status,
                 ibx_status expected, const ibx_error *err) {
  if (!conf_check(s, status == expected, "%s gave %s, not %s: %s", call,
                  ibx_status_name(status), ibx_status_name(expected),
                  status == IBX_OK ? "" : err->message)) {
    return false;
  }
  if (status == IBX_OK) return true;
  return conf_check(s, err->status == status,
                    "%s gave %s, but its error says %s", call,
                    ibx_status_name(status), ibx_status_name(err->status)) &&
         conf_check(s, is_message(err), "%s gave %s without a good message",
                    call, ibx_status_name(status));
}

static bool run_case(suite *s, const conf_case *c) {
  ibx_error err = {0};
  s->failed = false;
  printf("%-28s ", c->name);
  fflush(stdout);
  alarm(CASE_SECONDS);
  ibx_status status = ibx_device_open(s->uri, NULL, &s->device, &err);
  if (conf_expect(s, "open", status, IBX_OK, &err)) c->run(s);
  ibx_device_close(s->device);
  s->device = NULL;
  alarm(0);
  printf("%s%s\n", s->failed ? "FAILED: " : "ok", s->failed ? s->reason : "");
  return !s->failed;
}

// Programs are for the device's target, or ibx3 where it runs every one.
static ibx_status prepare(suite *s, ibx_error *err) {
  ibx_device *device = NULL;
  IBX_TRY(ibx_device_open(s->uri, NULL, &device, err));
  const char *target = ibx_device_query(device).target;
  if (target[0] == 0) target = "ibx3";
  size_t len = strnlen(target, sizeof(s->target) - 1);
  memcpy(s->target, target, len);
  s->target[len] = 0;
  ibx_device_close(device);
  return conf_program_make(s->target, &s->file, &s->program, err);
}

static int run_all(suite *s, const char *only) {
  unsigned passed = 0, failed = 0;
  for (size_t i = 0; i < IBX_COUNT_OF(cases); i++) {
    if (only != NULL && strcmp(only, cases[i].name) != 0) continue;
    if (run_case(s, &cases[i])) {
      passed++;
    } else {
      failed++;
    }
  }
  printf("%u passed, %u failed\n", passed, failed);
  return failed == 0 && passed != 0 ? 0 : 1;
}

static int list(void) {
  for (size_t i = 0; i < IBX_COUNT_OF(cases); i++) {
    printf("%-28s %s\n", cases[i].name, cases[i].sentence);
  }
  return 0;
}

static int usage(void) {
  fprintf(stderr, "usage: imbrex-conformance URI [CASE]\n"
                  "       imbrex-conformance --list\n"
                  "example: imbrex-conformance driver:/path/lib.so?speed=3\n");
  return 2;
}

int main(int argc, char **argv) {
  if (argc == 2 && strcmp(argv[1], "--list") == 0) return list();
  if (argc < 2 || argc > 3 || argv[1][0] == '-') return usage();
  // What was said stands before what a sanitizer says at the end.
  setvbuf(stdout, NULL, _IOLBF, 0);
  suite s = {.uri = argv[1], .mutex = PTHREAD_MUTEX_INITIALIZER};
  ibx_error err = {0};
  int exit_code = 1;
  if (prepare(&s, &err) == IBX_OK) {
    exit_code = run_all(&s, argc == 3 ? argv[2] : NULL);
  } else {
    fprintf(stderr, "imbrex-conformance: %s\n", err.message);
  }
  ibx_program_close(s.program);
  ibx_blob_fini(&s.file);
  return exit_code;
}

// SPDX-License-Identifier: Apache-2.0
//
// The server of a device. In: the options of a URI. Out: a connection to a
// process that we start, or that listens. Holds: every wait has an end, and a
// process that we start has ended when the device is closed.

#include "driver.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

enum {
  CHILD_FD = 3,
  DEFAULT_TIMEOUT = 600,
  MAX_TIMEOUT = 86400,
  GRACE_MS = 5000 ///< for a server to end by itself
};

static bool copy_value(char *out, size_t room, const char *value, size_t len) {
  if (len == 0 || len >= room) return false;
  memcpy(out, value, len);
  out[len] = 0;
  return true;
}

static bool parse_seconds(const char *value, size_t len, unsigned *out) {
  unsigned seconds = 0;
  for (size_t i = 0; i < len; i++) {
    unsigned digit = (unsigned)(value[i] - '0');
    if (digit > 9 || seconds > MAX_TIMEOUT) return false;
    seconds = seconds * 10 + digit;
  }
  *out = seconds;
  return seconds >= 1 && seconds <= MAX_TIMEOUT;
}

static bool is_name(const char *option, size_t len, const char *name) {
  return strlen(name) == len && memcmp(option, name, len) == 0;
}

/// The simulator's part of the options, as it grows.
typedef struct forwarded {
  char target[32], options[WIRE_TEXT_BYTES];
} forwarded;

static bool forward(forwarded *f, const char *option, size_t len) {
  size_t at = strlen(f->options);
  if (at + len + 2 > sizeof(f->options)) return false;
  f->options[at] = at == 0 ? '?' : '&';
  memcpy(f->options + at + 1, option, len);
  f->options[at + 1 + len] = 0;
  return true;
}

static bool apply(settings *s, forwarded *f, const char *option, size_t len) {
  size_t name = strcspn(option, "=&");
  if (name >= len) return forward(f, option, len);
  const char *value = option + name + 1;
  size_t size = len - name - 1;
  if (is_name(option, name, "server")) {
    return copy_value(s->server, sizeof(s->server), value, size);
  }
  if (is_name(option, name, "socket")) {
    return copy_value(s->socket, sizeof(s->socket), value, size);
  }
  if (is_name(option, name, "target")) {
    return copy_value(f->target, sizeof(f->target), value, size);
  }
  if (is_name(option, name, "timeout")) {
    return parse_seconds(value, size, &s->timeout_seconds);
  }
  return forward(f, option, len);
}

ibx_status settings_parse(settings *out, const char *rest, ibx_error *err) {
  forwarded f = {0};
  *out = (settings){.timeout_seconds = DEFAULT_TIMEOUT};
  const char *at = rest + (rest[0] == '?');
  while (*at != 0) {
    size_t len = strcspn(at, "&");
    if (!apply(out, &f, at, len)) {
      return WIRE_FAIL(
          err, INVALID_ARGUMENT,
          "'%.*s' is not server=PROGRAM, socket=PATH, target=ibx3, "
          "timeout=SECONDS, or is too long",
          (int)(len < 100 ? len : 100), at);
    }
    at += len + (at[len] == '&');
  }
  int size =
      snprintf(out->rest, sizeof(out->rest), "%s%s", f.target, f.options);
  if (size >= 0 && (size_t)size < sizeof(out->rest)) return IBX_OK;
  return WIRE_FAIL(err, INVALID_ARGUMENT, "the options are too long");
}

// The server that stands beside this library.
static ibx_status find_server(settings *s, ibx_error *err) {
  Dl_info self;
  static const char name[] = "imbrex-sim-server";
  if (dladdr(name, &self) == 0 || self.dli_fname == NULL) self.dli_fname = "";
  const char *slash = strrchr(self.dli_fname, '/');
  int folder = slash == NULL ? 0 : (int)(slash + 1 - self.dli_fname);
  int len = snprintf(s->server, sizeof(s->server), "%.*s%s", folder,
                     self.dli_fname, name);
  if (len > 0 && (size_t)len < sizeof(s->server)) return IBX_OK;
  return WIRE_FAIL(err, NOT_FOUND, "say where the server is: server=PROGRAM");
}

static int spawn(const char *program, int fd, pid_t *out) {
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  sigset_t none;
  char *argv[] = {(char *)(uintptr_t)program, "--fd", "3", NULL};
  sigemptyset(&none);
  posix_spawn_file_actions_init(&actions);
  posix_spawnattr_init(&attributes);
  // dup2 of a descriptor to itself keeps it open in the child, too.
  int why = posix_spawn_file_actions_adddup2(&actions, fd, CHILD_FD);
  if (why == 0) why = posix_spawnattr_setsigmask(&attributes, &none);
  if (why == 0) {
    why = posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
  }
  if (why == 0) {
    why = posix_spawn(out, program, &actions, &attributes, argv, environ);
  }
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&actions);
  return why;
}

static ibx_status start(device *d, settings *s, ibx_error *err) {
  if (s->server[0] == 0) {
    ibx_status found = find_server(s, err);
    if (found != IBX_OK) return found;
  }
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) {
    return WIRE_FAIL(err, IO_ERROR, "socketpair: %s", strerror(errno));
  }
  int why = spawn(s->server, ends[1], &d->server);
  close(ends[1]);
  if (why == 0) {
    d->control = ends[0];
    return IBX_OK;
  }
  close(ends[0]);
  d->server = 0;
  return WIRE_FAIL(err, NOT_FOUND, "%s: %s", s->server, strerror(why));
}

static ibx_status connect_to(device *d, const settings *s, ibx_error *err) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  // settings_parse() left room for it.
  memcpy(address.sun_path, s->socket, strlen(s->socket) + 1);
  d->control = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
  if (d->control < 0) {
    return WIRE_FAIL(err, IO_ERROR, "socket: %s", strerror(errno));
  }
  wire_set_timeout(d->control, s->timeout_seconds, s->timeout_seconds);
  const struct sockaddr *any = (const void *)&address;
  if (connect(d->control, any, sizeof(address)) == 0) return IBX_OK;
  return WIRE_FAIL(err, NOT_FOUND, "%s: %s", s->socket, strerror(errno));
}

ibx_status server_open(device *d, const settings *s, ibx_error *err) {
  settings own = *s;
  ibx_status status =
      s->socket[0] != 0 ? connect_to(d, s, err) : start(d, &own, err);
  if (status != IBX_OK) return status;
  wire_set_timeout(d->control, s->timeout_seconds, s->timeout_seconds);
  wire_message request = wire_make(WIRE_HELLO), answer;
  request.hello.layout = IBX_DEVICE_LAYOUT;
  memcpy(request.hello.rest, s->rest, sizeof(s->rest));
  status =
      ask(d->control, &d->is_lost, &request, NULL, WIRE_WELCOME, &answer, err);
  if (status != IBX_OK) return status;
  d->welcome = answer.welcome;
  if (d->welcome.cores >= 1 && d->welcome.cores <= UINT16_MAX) return IBX_OK;
  return WIRE_FAIL(err, DEVICE_ERROR, "the server has %llu cores",
                   (unsigned long long)d->welcome.cores);
}

static bool has_ended(pid_t process) {
  pid_t ended;
  do {
    ended = waitpid(process, NULL, WNOHANG);
  } while (ended < 0 && errno == EINTR);
  return ended != 0; // or it is not ours to wait for
}

void server_close(device *d) {
  if (d->control >= 0) {
    wire_message request = wire_make(WIRE_BYE), answer;
    wire_set_timeout(d->control, 1, GRACE_MS / 1000);
    (void)ask(d->control, &d->is_lost, &request, NULL, WIRE_DONE, &answer,
              NULL);
    close(d->control);
  }
  if (d->server <= 0) return;
  const struct timespec pause = {.tv_nsec = 1000000};
  // One that is lost need not be waited for.
  int left = d->is_lost ? 10 : GRACE_MS;
  while (!has_ended(d->server)) {
    if (left-- == 0) kill(d->server, SIGKILL);
    nanosleep(&pause, NULL);
  }
}

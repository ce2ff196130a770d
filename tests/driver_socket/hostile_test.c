// SPDX-License-Identifier: Apache-2.0
//
// The socket driver against servers that break, die or lie, and its server
// against such clients: every call ends with a status, no process by a signal,
// and no descriptor stays open.

#include "imbrex/asm.h"
#include "imbrex/imbrex.h"

#include "wire.h"

#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

extern char **environ;

#define DRIVER "driver:" IBX_SOCKET_DIR "/driver_socket.so"
#define SERVER IBX_SOCKET_DIR "/imbrex-sim-server"

static const char text[] =
    ".target ibx3\n.entry main\n.input x u32[1024]\n.output y u32[1024]\n"
    ".state n u32[8]\n"
    ".engine sync\ndma_copy y:u32, x:u32 size(1024)\n";

static ibx_blob file;
static ibx_program *program;

static int make_program(void **state) {
  (void)state;
  const ibx_str all = {.data = text, .len = strlen(text)};
  ibx_asm_program *assembled = NULL;
  ibx_error err = {0};
  assert_int_equal(ibx_asm_parse(all, "test", NULL, 0, &assembled, &err),
                   IBX_OK);
  assert_int_equal(ibx_program_write(ibx_asm_get(assembled), ibx_blob_write,
                                     &file, NULL, NULL, &err),
                   IBX_OK);
  ibx_asm_destroy(assembled);
  return ibx_program_open_memory(ibx_blob_get(&file), &program, &err);
}

static int free_program(void **state) {
  (void)state;
  ibx_program_close(program);
  ibx_blob_fini(&file);
  return 0;
}

static size_t open_descriptors(void) {
  DIR *folder = opendir("/proc/self/fd");
  size_t count = 0;
  while (folder != NULL && readdir(folder) != NULL) {
    count++;
  }
  if (folder != NULL) closedir(folder);
  return count;
}

static void see_event(void *user, const ibx_sim_event *event) {
  (void)user;
  assert_true(event->issuer < IBX_ENGINE_COUNT);
}

static ibx_status use_session(ibx_session *session, ibx_error *err) {
  static uint8_t x[4096], y[4096];
  ibx_sim_time time;
  const ibx_binding in = {.data = x, .size_bytes = sizeof(x)};
  const ibx_binding out = {.data = y, .size_bytes = sizeof(y)};
  const ibx_run run = {
      .inputs = &in, .outputs = &out, .input_count = 1, .output_count = 1};
  IBX_TRY(ibx_session_run(session, &run, err));
  return ibx_session_profile(session, see_event, NULL, &time, err);
}

// Everything that a driver can be asked for, up to the first failure.
static ibx_status use_device(const char *uri, ibx_error *err) {
  ibx_device *device = NULL;
  ibx_session *session = NULL;
  ibx_status status = ibx_device_open(uri, NULL, &device, err);
  if (status == IBX_OK) {
    status = ibx_session_create(device, program, NULL, &session, err);
  }
  if (status == IBX_OK) status = use_session(session, err);
  ibx_session_destroy(session);
  ibx_device_close(device);
  return status;
}

static void expect_failure(const char *at, const char *how) {
  char uri[1024];
  ibx_error err = {0};
  size_t before = open_descriptors();
  snprintf(uri, sizeof(uri),
           DRIVER "?server=" IBX_BUILD_DIR "/bin/hostile_server&timeout=1&"
                  "at=%s&how=%s",
           at, how);
  ibx_status status = use_device(uri, &err);
  // Nobody needs an answer to a goodbye.
  bool may_work = strcmp(at, "BYE") == 0 || strcmp(at, "UNSHARE") == 0;
  if (status != (may_work ? IBX_OK : IBX_DEVICE_ERROR)) {
    fail_msg("at %s, %s: %s, %s", at, how, ibx_status_name(status),
             err.message);
  }
  assert_true(may_work || err.message[0] != 0);
  assert_int_equal(open_descriptors(), before);
}

static void servers_may_break_anywhere(void **state) {
  static const char *const places[] = {"HELLO", "SHARE", "LOAD",   "RUN",
                                       "TIME",  "BYE",   "UNSHARE"};
  static const char *const ways[] = {
      "exit",    "abort",   "close",      "short",  "long",    "empty",
      "garbage", "version", "descriptor", "status", "statuses"};
  (void)state;
  for (size_t i = 0; i < IBX_COUNT_OF(places); i++) {
    for (size_t j = 0; j < IBX_COUNT_OF(ways); j++) {
      expect_failure(places[i], ways[j]);
    }
  }
}

static void servers_may_lie(void **state) {
  (void)state;
  expect_failure("HELLO", "welcome");
  expect_failure("TIME", "event");
  expect_failure("TIME", "events");
  expect_failure("LOAD", "kind");
  expect_failure("RUN", "kind");
}

static void servers_may_be_slow(void **state) {
  (void)state;
  expect_failure("HELLO", "silence");
  expect_failure("RUN", "silence");
  expect_failure("TIME", "endless");
}

static void servers_may_be_absent(void **state) {
  ibx_error err = {0};
  (void)state;
  assert_int_equal(use_device(DRIVER "?server=/no/such/server", &err),
                   IBX_NOT_FOUND);
  assert_int_equal(use_device(DRIVER "?socket=/no/such/socket", &err),
                   IBX_NOT_FOUND);
  assert_int_equal(use_device(DRIVER "?server=/bin/true", &err),
                   IBX_DEVICE_ERROR);
  assert_int_equal(use_device(DRIVER "?timeout=0", &err), IBX_INVALID_ARGUMENT);
  assert_int_equal(use_device(DRIVER "?timeout=1x", &err),
                   IBX_INVALID_ARGUMENT);
  assert_int_equal(use_device(DRIVER "?seed=x", &err), IBX_INVALID_ARGUMENT);
  assert_int_equal(use_device(DRIVER, &err), IBX_OK);
}

// --- the server against clients ----------------------------------------------

typedef struct client {
  int control;
  pid_t server;
} client;

static client client_start(void) {
  client c = {0};
  int ends[2];
  char *argv[] = {SERVER, "--fd", "3", NULL};
  posix_spawn_file_actions_t actions;
  assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends),
                   0);
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, ends[1], 3);
  assert_int_equal(
      posix_spawn(&c.server, SERVER, &actions, NULL, argv, environ), 0);
  posix_spawn_file_actions_destroy(&actions);
  close(ends[1]);
  c.control = ends[0];
  wire_set_timeout(c.control, 20, 20);
  return c;
}

// Ends the connection; the server must end by itself and not by a signal.
static void client_end(client *c) {
  int status = 0;
  close(c->control);
  assert_int_equal(waitpid(c->server, &status, 0), c->server);
  assert_true(WIFEXITED(status));
  assert_true(WEXITSTATUS(status) <= 1);
}

static uint64_t ask_status(int socket, const wire_message *request,
                           const int *fds) {
  wire_message answer;
  int received[WIRE_FDS];
  ibx_error err = {0};
  if (wire_send(socket, request, fds, &err) != IBX_OK ||
      wire_receive(socket, &answer, received, &err) != IBX_OK) {
    fail_msg("%s: %s", wire_kind_name(request->head.kind), err.message);
  }
  wire_close_all(received);
  if (answer.head.kind != WIRE_ERROR) return IBX_OK;
  assert_true(answer.error.message[0] != 0);
  return answer.error.status;
}

static void say_hello(const client *c) {
  wire_message hello = wire_make(WIRE_HELLO);
  hello.hello.layout = IBX_DEVICE_LAYOUT;
  assert_int_equal(ask_status(c->control, &hello, NULL), IBX_OK);
}

static int make_memory(const void *bytes, size_t size, int seals) {
  int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  assert_true(fd >= 0);
  assert_int_equal(write(fd, bytes, size), size);
  assert_int_equal(fcntl(fd, F_ADD_SEALS, seals), 0);
  return fd;
}

static void clients_may_send_anything(void **state) {
  static uint8_t bytes[100000];
  static const size_t sizes[] = {0, 1, 7, 8, 16, 24, 1040, 6160, 60000};
  (void)state;
  for (size_t i = 0; i < IBX_COUNT_OF(sizes); i++) {
    for (int good_head = 0; good_head < 2; good_head++) {
      client c = client_start();
      wire_message head = wire_make(WIRE_LOAD);
      memset(bytes, 0xff, sizeof(bytes));
      if (good_head) memcpy(bytes, &head, sizeof(head.head));
      send(c.control, bytes, sizes[i], MSG_NOSIGNAL);
      client_end(&c);
    }
  }
}

static void requests_have_their_order(void **state) {
  (void)state;
  client c = client_start();
  wire_message run = wire_make(WIRE_RUN), hello = wire_make(WIRE_HELLO);
  wire_message unshare = wire_make(WIRE_UNSHARE);
  assert_int_equal(ask_status(c.control, &run, NULL), IBX_INVALID_ARGUMENT);
  assert_int_equal(ask_status(c.control, &unshare, NULL), IBX_INVALID_ARGUMENT);
  assert_int_equal(ask_status(c.control, &hello, NULL), IBX_UNSUPPORTED);
  memset(hello.hello.rest, 'x', sizeof(hello.hello.rest));
  hello.hello.layout = IBX_DEVICE_LAYOUT;
  assert_int_equal(ask_status(c.control, &hello, NULL), IBX_INVALID_ARGUMENT);
  say_hello(&c);
  memset(hello.hello.rest, 0, sizeof(hello.hello.rest));
  assert_int_equal(ask_status(c.control, &hello, NULL), IBX_INVALID_ARGUMENT);
  assert_int_equal(ask_status(c.control, &run, NULL), IBX_INVALID_ARGUMENT);
  assert_int_equal(ask_status(c.control, &unshare, NULL), IBX_INVALID_ARGUMENT);
  client_end(&c);
}

static void memory_is_checked(void **state) {
  static const uint8_t bytes[4096];
  (void)state;
  client c = client_start();
  say_hello(&c);
  int sealed = make_memory(bytes, sizeof(bytes), F_SEAL_SHRINK);
  int open_end = make_memory(bytes, sizeof(bytes), F_SEAL_GROW);
  int null = open("/dev/null", O_RDWR | O_CLOEXEC);
  const struct {
    uint64_t id, bytes;
    int fd;
    ibx_status status;
  } cases[] = {
      {1, 4096, open_end, IBX_INVALID_ARGUMENT},
      {1, 4096, null, IBX_INVALID_ARGUMENT},
      {1, 4096, c.control, IBX_INVALID_ARGUMENT},
      {1, 4097, sealed, IBX_INVALID_ARGUMENT},
      {1, UINT64_MAX, sealed, IBX_INVALID_ARGUMENT},
      {1, 0, sealed, IBX_INVALID_ARGUMENT},
      {0, 4096, sealed, IBX_INVALID_ARGUMENT},
      {1, 4096, sealed, IBX_OK},
      {1, 4096, sealed, IBX_INVALID_ARGUMENT},
      {2, 10, sealed, IBX_OK},
  };
  for (size_t i = 0; i < IBX_COUNT_OF(cases); i++) {
    wire_message share = wire_make(WIRE_SHARE);
    share.share = (wire_share){.id = cases[i].id, .bytes = cases[i].bytes};
    assert_int_equal(ask_status(c.control, &share, &cases[i].fd),
                     cases[i].status);
  }
  close(null);
  close(open_end);
  close(sealed);
  client_end(&c);
}

enum { STAGING = 16384, FIXED = F_SEAL_WRITE | F_SEAL_SHRINK };

// Sends LOAD; stores our end of the channel, and the status.
static ibx_status load(const client *c, ibx_span bytes, int seals,
                       wire_load body, int staging, int *out_channel) {
  int ends[2];
  int fd = make_memory(bytes.data, bytes.size, seals);
  assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends),
                   0);
  const int fds[WIRE_FDS] = {fd, staging, ends[1]};
  wire_message request = wire_make(WIRE_LOAD);
  request.load = body;
  ibx_status status = (ibx_status)ask_status(c->control, &request, fds);
  close(fd);
  close(ends[1]);
  *out_channel = ends[0];
  wire_set_timeout(ends[0], 20, 20);
  return status;
}

static void programs_are_checked(void **state) {
  static uint8_t zeros[STAGING];
  (void)state;
  client c = client_start();
  say_hello(&c);
  ibx_span good = ibx_blob_get(&file), cut = {good.data, good.size - 1};
  uint8_t *copy = malloc(good.size);
  assert_non_null(copy);
  memcpy(copy, good.data, good.size);
  copy[good.size / 2] ^= 1;
  ibx_span damaged = {copy, good.size};
  int staging = make_memory(zeros, STAGING, F_SEAL_SHRINK);
  const struct {
    ibx_span bytes;
    int seals;
    wire_load body;
    ibx_status status;
  } cases[] = {
      {good, FIXED, {good.size, STAGING, 0}, IBX_OK},
      {good, F_SEAL_SHRINK, {good.size, STAGING, 0}, IBX_INVALID_ARGUMENT},
      {good, FIXED, {good.size + 1, STAGING, 0}, IBX_INVALID_ARGUMENT},
      {good, FIXED, {good.size, STAGING + 1, 0}, IBX_INVALID_ARGUMENT},
      {good, FIXED, {good.size, 16, 0}, IBX_INVALID_ARGUMENT},
      {good, FIXED, {good.size, STAGING, 1}, IBX_INVALID_ARGUMENT},
      {good, FIXED, {good.size, STAGING, UINT64_MAX}, IBX_INVALID_ARGUMENT},
      {cut, FIXED, {cut.size, STAGING, 0}, IBX_INVALID_PROGRAM},
      {damaged, FIXED, {good.size, STAGING, 0}, IBX_INVALID_PROGRAM},
  };
  for (size_t i = 0; i < IBX_COUNT_OF(cases); i++) {
    int channel = -1;
    assert_int_equal(load(&c, cases[i].bytes, cases[i].seals, cases[i].body,
                          staging, &channel),
                     cases[i].status);
    close(channel);
  }
  close(staging);
  free(copy);
  client_end(&c);
}

static void slots_are_checked(void **state) {
  static uint8_t zeros[STAGING];
  static const wire_slot bad[] = {{0, STAGING - 4095},
                                  {0, UINT64_MAX},
                                  {0, UINT64_MAX - 4095},
                                  {1, 0},
                                  {UINT64_MAX, 0}};
  (void)state;
  client c = client_start();
  say_hello(&c);
  int staging = make_memory(zeros, STAGING, F_SEAL_SHRINK), channel = -1;
  wire_slot *slots =
      mmap(NULL, STAGING, PROT_READ | PROT_WRITE, MAP_SHARED, staging, 0);
  assert_true(slots != MAP_FAILED);
  ibx_span bytes = ibx_blob_get(&file);
  assert_int_equal(load(&c, bytes, FIXED, (wire_load){bytes.size, STAGING, 0},
                        staging, &channel),
                   IBX_OK);
  wire_message run = wire_make(WIRE_RUN), hello = wire_make(WIRE_HELLO);
  wire_message time = wire_make(WIRE_TIME);
  slots[1].offset = 8192; // the output; the others overlap, to no harm
  assert_int_equal(ask_status(channel, &run, NULL), IBX_OK);
  for (size_t i = 0; i < IBX_COUNT_OF(bad); i++) {
    slots[0] = bad[i];
    assert_int_equal(ask_status(channel, &run, NULL), IBX_INVALID_ARGUMENT);
  }
  slots[0] = (wire_slot){0, 0};
  assert_int_equal(ask_status(channel, &run, NULL), IBX_OK);
  assert_int_equal(ask_status(channel, &hello, NULL), IBX_INVALID_ARGUMENT);
  assert_int_equal(ask_status(channel, &time, NULL), IBX_OK);
  close(channel);
  munmap(slots, STAGING);
  close(staging);
  client_end(&c);
}

// Leaves while a run is under way and while answers wait to be read.
static void clients_may_vanish(void **state) {
  static uint8_t zeros[STAGING];
  (void)state;
  for (int i = 0; i < 10; i++) {
    client c = client_start();
    say_hello(&c);
    int staging = make_memory(zeros, STAGING, F_SEAL_SHRINK), channel = -1;
    ibx_span bytes = ibx_blob_get(&file);
    assert_int_equal(load(&c, bytes, FIXED, (wire_load){bytes.size, STAGING, 0},
                          staging, &channel),
                     IBX_OK);
    wire_message run = wire_make(WIRE_RUN), time = wire_make(WIRE_TIME);
    time.time.wants_events = 1;
    for (int n = 0; n < i; n++) {
      assert_int_equal(wire_send(channel, n % 2 ? &time : &run, NULL, NULL),
                       IBX_OK);
    }
    if (i % 2) close(channel);
    close(staging);
    client_end(&c);
    if (!(i % 2)) close(channel);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(servers_may_break_anywhere),
      cmocka_unit_test(servers_may_lie),
      cmocka_unit_test(servers_may_be_slow),
      cmocka_unit_test(servers_may_be_absent),
      cmocka_unit_test(clients_may_send_anything),
      cmocka_unit_test(requests_have_their_order),
      cmocka_unit_test(memory_is_checked),
      cmocka_unit_test(programs_are_checked),
      cmocka_unit_test(slots_are_checked),
      cmocka_unit_test(clients_may_vanish),
  };
  return cmocka_run_group_tests(tests, make_program, free_program);
}

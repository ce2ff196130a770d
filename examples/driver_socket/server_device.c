// SPDX-License-Identifier: Apache-2.0
//
// The device in the server. In: one client's requests. Out: answers, each of
// which tells what went wrong. Holds: a client that breaks the protocol, or
// dies, ends its own service and nothing else.

#include "server.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void *allocate(void *user, size_t size) {
  (void)user;
  if (size > SIZE_MAX - WIRE_ALIGN) return NULL;
  return aligned_alloc(WIRE_ALIGN,
                       (size + WIRE_ALIGN) / WIRE_ALIGN * WIRE_ALIGN);
}

static void release(void *user, void *memory) {
  (void)user;
  free(memory);
}

static void copy_text(char *out, size_t room, const char *text) {
  size_t len = strnlen(text, room - 1);
  memcpy(out, text, len);
}

static ibx_status open_device(server *s, const wire_hello *hello,
                              wire_message *answer, ibx_error *err) {
  static const ibx_allocator allocator = {.alloc = allocate, .free = release};
  if (hello->layout != IBX_DEVICE_LAYOUT) {
    return IBX_FAIL(err, UNSUPPORTED,
                    "driver and server were built with different headers");
  }
  if (s->device != NULL) {
    return IBX_FAIL(err, INVALID_ARGUMENT, "the device is open");
  }
  IBX_TRY(s->table->open(hello->rest, &allocator, &s->device, err));
  ibx_device_info info = s->table->query(s->device);
  *answer = wire_make(WIRE_WELCOME);
  copy_text(answer->welcome.name, sizeof(answer->welcome.name), info.name);
  copy_text(answer->welcome.target, sizeof(answer->welcome.target),
            info.target);
  answer->welcome.cores = info.cores;
  return IBX_OK;
}

static ibx_status carry_out(server *s, const wire_message *request,
                            int fds[WIRE_FDS], wire_message *answer,
                            ibx_error *err) {
  *answer = wire_make(WIRE_DONE);
  if (s->device == NULL && request->head.kind != WIRE_HELLO) {
    return IBX_FAIL(err, INVALID_ARGUMENT, "the device is not open");
  }
  switch (request->head.kind) {
  case WIRE_HELLO: return open_device(s, &request->hello, answer, err);
  case WIRE_LOAD: return entry_start(s, &request->load, fds, err);
  case WIRE_SHARE:
    if (region_add(s, request->share.id, fds[0], request->share.bytes)) {
      return IBX_OK;
    }
    return IBX_FAIL(err, INVALID_ARGUMENT,
                    "memory %llu is not sealed, too small, or known",
                    (unsigned long long)request->share.id);
  case WIRE_UNSHARE:
    if (region_remove(s, request->share.id)) return IBX_OK;
    return IBX_FAIL(err, INVALID_ARGUMENT, "there is no memory %llu",
                    (unsigned long long)request->share.id);
  default:
    return IBX_FAIL(err, INVALID_ARGUMENT, "%s does not belong here",
                    wire_kind_name(request->head.kind));
  }
}

// Gives whether the client said goodbye.
static bool serve(server *s) {
  wire_message request, answer;
  int fds[WIRE_FDS];
  while (wire_receive(s->control, &request, fds, NULL) == IBX_OK) {
    ibx_error err = {0};
    entry_reap(s);
    if (request.head.kind == WIRE_BYE) return true;
    ibx_status status = carry_out(s, &request, fds, &answer, &err);
    wire_close_all(fds);
    bool sent = status == IBX_OK
                    ? wire_send(s->control, &answer, NULL, NULL) == IBX_OK
                    : answer_status(s->control, status, &err);
    if (!sent) return false;
  }
  return false;
}

bool server_serve(int control) {
  server s = {.table = ibx_sim_device_table(),
              .control = control,
              .mutex = PTHREAD_MUTEX_INITIALIZER};
  enum { SEND_SECONDS = 60 };
  wire_set_timeout(control, SEND_SECONDS, 0);
  bool said_goodbye = serve(&s);
  // A run cannot be stopped, but the process can.
  if (!entry_end_all(&s)) _exit(1);
  region_remove_all(&s);
  if (s.device != NULL) s.table->close(s.device);
  if (said_goodbye) answer_status(control, IBX_OK, NULL);
  close(control);
  return said_goodbye;
}

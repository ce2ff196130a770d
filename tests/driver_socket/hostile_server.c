// SPDX-License-Identifier: Apache-2.0
//
// A server that behaves until it does not. In: a driver's requests; its HELLO
// says at which kind of request and how to break the protocol, as in
// "?at=RUN&how=exit". Out: answers that a driver must survive.

#include "wire.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CHANNELS = 16 };

static char at[16], how[16];

static void answer_zero(int socket, const wire_message *request) {
  wire_kind kind = request->head.kind == WIRE_HELLO  ? WIRE_WELCOME
                   : request->head.kind == WIRE_TIME ? WIRE_TIMING
                                                     : WIRE_DONE;
  wire_message answer = wire_make(kind);
  if (kind == WIRE_WELCOME) answer.welcome.cores = 1;
  (void)wire_send(socket, &answer, NULL, NULL);
}

static void send_event(int socket, uint8_t agent, uint64_t count) {
  wire_message answer = wire_make(WIRE_EVENTS);
  answer.events.count = count;
  answer.events.event[0] = (ibx_sim_event){.agent = agent, .issuer = agent};
  (void)wire_send(socket, &answer, NULL, NULL);
}

static void send_endless(int socket) {
  wire_message answer = wire_make(WIRE_EVENTS);
  while (wire_send(socket, &answer, NULL, NULL) == IBX_OK) {
  }
}

static void send_with_descriptor(int socket) {
  wire_message answer = wire_make(WIRE_SHARE);
  int fd = open("/dev/null", O_RDONLY);
  (void)wire_send(socket, &answer, &fd, NULL);
  close(fd);
}

static void send_error(int socket, uint64_t status, char fill) {
  wire_message answer = wire_make(WIRE_ERROR);
  answer.error.status = status;
  memset(answer.error.message, fill, sizeof(answer.error.message));
  (void)wire_send(socket, &answer, NULL, NULL);
}

// No cores, and names that do not end.
static void send_welcome(int socket) {
  wire_message answer = wire_make(WIRE_WELCOME);
  memset(&answer.welcome, 'x', sizeof(answer.welcome));
  (void)wire_send(socket, &answer, NULL, NULL);
}

static void misbehave(int socket) {
  static char bytes[100000];
  wire_message message = wire_make(WIRE_DONE);
  if (strcmp(how, "exit") == 0) _exit(0);
  if (strcmp(how, "abort") == 0) abort();
  if (strcmp(how, "close") == 0) shutdown(socket, SHUT_RDWR);
  if (strcmp(how, "silence") == 0) pause();
  if (strcmp(how, "short") == 0) send(socket, &message, 5, MSG_NOSIGNAL);
  if (strcmp(how, "long") == 0)
    send(socket, bytes, sizeof(bytes), MSG_NOSIGNAL);
  if (strcmp(how, "empty") == 0) send(socket, bytes, 0, MSG_NOSIGNAL);
  if (strcmp(how, "garbage") == 0) send(socket, bytes, 16, MSG_NOSIGNAL);
  if (strcmp(how, "version") == 0) {
    message.head.version++;
    send(socket, &message, 16, MSG_NOSIGNAL);
  }
  if (strcmp(how, "kind") == 0) {
    message = wire_make(WIRE_HELLO);
    (void)wire_send(socket, &message, NULL, NULL);
  }
  if (strcmp(how, "descriptor") == 0) send_with_descriptor(socket);
  if (strcmp(how, "status") == 0) send_error(socket, 0, 'x');
  if (strcmp(how, "statuses") == 0) send_error(socket, UINT64_MAX, 0);
  if (strcmp(how, "welcome") == 0) send_welcome(socket);
  if (strcmp(how, "event") == 0) send_event(socket, 255, 1);
  if (strcmp(how, "events") == 0) send_event(socket, 0, UINT64_MAX);
  if (strcmp(how, "endless") == 0) send_endless(socket);
}

static void parse(const char *rest) {
  if (sscanf(rest, "?at=%15[^&]&how=%15s", at, how) != 2) _exit(2);
}

// Answers one request; false when the socket ended.
static bool serve(int socket, struct pollfd *polled, nfds_t *count) {
  wire_message request;
  int fds[WIRE_FDS];
  if (wire_receive(socket, &request, fds, NULL) != IBX_OK) return false;
  if (request.head.kind == WIRE_HELLO) parse(request.hello.rest);
  if (request.head.kind == WIRE_LOAD && *count < CHANNELS) {
    polled[(*count)++] = (struct pollfd){.fd = fds[2], .events = POLLIN};
    fds[2] = -1;
  }
  wire_close_all(fds);
  if (strcmp(wire_kind_name(request.head.kind), at) == 0) {
    misbehave(socket);
  } else {
    answer_zero(socket, &request);
  }
  return true;
}

int main(void) {
  struct pollfd polled[CHANNELS] = {{.fd = 3, .events = POLLIN}};
  nfds_t count = 1;
  while (poll(polled, count, -1) >= 0) {
    for (nfds_t i = 0; i < count; i++) {
      if (polled[i].revents == 0) continue;
      if (!serve(polled[i].fd, polled, &count)) {
        if (i == 0) return 0;
        close(polled[i].fd);
        polled[i].fd = -1;
      }
    }
  }
  return 0;
}

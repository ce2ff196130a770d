// SPDX-License-Identifier: Apache-2.0
//
// Messages over a socket. In: bytes of a peer that may be broken or hostile.
// Out: messages of a known kind, the right size and the right number of
// descriptors. Holds: what is refused leaves no descriptor open.

#include "wire.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

typedef struct kind_info {
  const char *name;
  size_t bytes; ///< of the whole message
  size_t fds;
} kind_info;

static kind_info info_of(uint16_t kind) {
  switch (kind) {
#define WIRE_KIND(name, number, body, fds, sentence)                           \
  case number:                                                                 \
    return (kind_info){#name, sizeof(wire_head) + sizeof(wire_##body), fds};
#include "wire.def"
  default: return (kind_info){"?", 0, 0};
  }
}

ibx_status wire_fail(ibx_error *err, ibx_status status, const char *format,
                     ...) {
  if (err == NULL) return status;
  *err = (ibx_error){.status = status};
  va_list args;
  va_start(args, format);
  vsnprintf(err->message, sizeof(err->message), format, args);
  va_end(args);
  return status;
}

wire_message wire_make(wire_kind kind) {
  wire_message message;
  memset(&message, 0, sizeof(message));
  message.head = (wire_head){
      .magic = WIRE_MAGIC, .version = WIRE_VERSION, .kind = (uint16_t)kind};
  return message;
}

const char *wire_kind_name(uint16_t kind) { return info_of(kind).name; }

/// Room for the descriptors of a message, aligned as sendmsg() wants it.
typedef union fd_room {
  struct cmsghdr align;
  char bytes[CMSG_SPACE(sizeof(int) * WIRE_FDS)];
} fd_room;

static void attach(struct msghdr *header, fd_room *room, const int *fds,
                   size_t count) {
  if (count == 0) return;
  memset(room, 0, sizeof(*room));
  header->msg_control = room->bytes;
  header->msg_controllen = CMSG_SPACE(sizeof(int) * count);
  struct cmsghdr *part = CMSG_FIRSTHDR(header);
  part->cmsg_level = SOL_SOCKET;
  part->cmsg_type = SCM_RIGHTS;
  part->cmsg_len = CMSG_LEN(sizeof(int) * count);
  memcpy(CMSG_DATA(part), fds, sizeof(int) * count);
}

static ibx_status fail_socket(ibx_error *err, const char *what, int why) {
  if (why == EAGAIN || why == EWOULDBLOCK) {
    return WIRE_FAIL(err, DEVICE_ERROR, "%s: the peer takes too long", what);
  }
  if (why == EPIPE || why == ECONNRESET) {
    return WIRE_FAIL(err, DEVICE_ERROR, "%s: the peer is gone", what);
  }
  return WIRE_FAIL(err, DEVICE_ERROR, "%s: %s", what, strerror(why));
}

ibx_status wire_send(int socket, const wire_message *message, const int *fds,
                     ibx_error *err) {
  kind_info info = info_of(message->head.kind);
  struct iovec bytes = {.iov_base = (void *)(uintptr_t)message,
                        .iov_len = info.bytes};
  struct msghdr header = {.msg_iov = &bytes, .msg_iovlen = 1};
  fd_room room;
  attach(&header, &room, fds, info.fds);
  ssize_t sent;
  do {
    sent = sendmsg(socket, &header, MSG_NOSIGNAL);
  } while (sent < 0 && errno == EINTR);
  if (sent < 0) return fail_socket(err, info.name, errno);
  if ((size_t)sent == info.bytes) return IBX_OK;
  return WIRE_FAIL(err, DEVICE_ERROR, "%s: %zd of %zu bytes were sent",
                   info.name, sent, info.bytes);
}

// Takes all descriptors: those that do not fit in `fds` are closed at once.
static size_t take_fds(struct msghdr *header, int fds[WIRE_FDS]) {
  size_t count = 0;
  for (struct cmsghdr *part = CMSG_FIRSTHDR(header); part != NULL;
       part = CMSG_NXTHDR(header, part)) {
    if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) {
      continue;
    }
    size_t here = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < here; i++) {
      int fd;
      memcpy(&fd, CMSG_DATA(part) + i * sizeof(int), sizeof(int));
      if (count < WIRE_FDS) {
        fds[count++] = fd;
      } else {
        close(fd);
      }
    }
  }
  return count;
}

static ibx_status check(const wire_message *message, size_t bytes,
                        size_t fd_count, int flags, ibx_error *err) {
  if ((flags & (MSG_TRUNC | MSG_CTRUNC)) != 0 || bytes < sizeof(wire_head) ||
      message->head.magic != WIRE_MAGIC) {
    return WIRE_FAIL(err, DEVICE_ERROR, "the peer sent no message of ours");
  }
  if (message->head.version != WIRE_VERSION) {
    return WIRE_FAIL(err, DEVICE_ERROR,
                     "the peer speaks version %u of the protocol, this is %d",
                     message->head.version, (int)WIRE_VERSION);
  }
  kind_info info = info_of(message->head.kind);
  if (bytes == info.bytes && fd_count == info.fds) return IBX_OK;
  return WIRE_FAIL(err, DEVICE_ERROR,
                   "message %u has %zu bytes and %zu descriptors, not %zu and "
                   "%zu",
                   message->head.kind, bytes, fd_count, info.bytes, info.fds);
}

static void terminate(wire_message *message) {
  switch (message->head.kind) {
  case WIRE_HELLO: message->hello.rest[WIRE_TEXT_BYTES - 1] = 0; break;
  case WIRE_ERROR:
    message->error.message[IBX_ERROR_MESSAGE_BYTES - 1] = 0;
    break;
  case WIRE_WELCOME:
    message->welcome.name[sizeof(message->welcome.name) - 1] = 0;
    message->welcome.target[sizeof(message->welcome.target) - 1] = 0;
    break;
  default: break;
  }
}

void wire_close_all(int fds[WIRE_FDS]) {
  for (size_t i = 0; i < WIRE_FDS; i++) {
    if (fds[i] >= 0) close(fds[i]);
    fds[i] = -1;
  }
}

ibx_status wire_receive(int socket, wire_message *out, int fds[WIRE_FDS],
                        ibx_error *err) {
  fd_room room;
  struct iovec bytes = {.iov_base = out, .iov_len = sizeof(*out)};
  struct msghdr header = {.msg_iov = &bytes,
                          .msg_iovlen = 1,
                          .msg_control = room.bytes,
                          .msg_controllen = sizeof(room.bytes)};
  for (size_t i = 0; i < WIRE_FDS; i++) {
    fds[i] = -1;
  }
  ssize_t got;
  do {
    got = recvmsg(socket, &header, MSG_CMSG_CLOEXEC);
  } while (got < 0 && errno == EINTR);
  if (got < 0) return fail_socket(err, "receive", errno);
  size_t fd_count = take_fds(&header, fds);
  ibx_status status =
      got == 0 ? fail_socket(err, "receive", ECONNRESET)
               : check(out, (size_t)got, fd_count, header.msg_flags, err);
  if (status != IBX_OK) {
    wire_close_all(fds);
    return status;
  }
  terminate(out);
  return IBX_OK;
}

void wire_set_timeout(int socket, unsigned send_seconds,
                      unsigned receive_seconds) {
  const struct timeval send = {.tv_sec = (time_t)send_seconds};
  const struct timeval receive = {.tv_sec = (time_t)receive_seconds};
  // Both exist for every socket; a failure would mean waiting longer.
  (void)setsockopt(socket, SOL_SOCKET, SO_SNDTIMEO, &send, sizeof(send));
  (void)setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &receive, sizeof(receive));
}

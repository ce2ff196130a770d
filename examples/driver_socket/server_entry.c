// SPDX-License-Identifier: Apache-2.0
//
// An entry in the server. In: a program file, staging memory and a channel, all
// of a peer. Out: runs and times in a thread of its own, until that ends.
// Holds: nothing that the peer writes while it runs makes us leave its memory:
// the file is sealed, and slots are copied before they are checked.

#include "server.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
  SEND_SECONDS = 60, ///< for a driver to take what we send
  GRACE_MS = 2000    ///< for runs to end when their client has left
};

struct entry_thread {
  entry_thread *next;
  server *server;
  pthread_t thread;
  atomic_bool has_ended;

  int channel;
  uint8_t *file, *staging;
  size_t file_bytes, staging_bytes;
  ibx_program *program;
  const ibx_entry *entry;
  void *executable;
  wire_slot *slots; ///< of the run, one for each buffer
  region **held;
  uint8_t **memory;
};

bool answer_status(int socket, ibx_status status, const ibx_error *err) {
  wire_message answer = wire_make(status == IBX_OK ? WIRE_DONE : WIRE_ERROR);
  if (status != IBX_OK) {
    answer.error.status = (uint64_t)status;
    memcpy(answer.error.message, err->message, sizeof(err->message));
  }
  return wire_send(socket, &answer, NULL, NULL) == IBX_OK;
}

// The storage of one buffer, where the slot lies in memory of the peer.
static bool resolve(entry_thread *t, size_t i) {
  const ibx_buffer_decl *buffer = &t->entry->buffers[i];
  uint8_t *base = t->staging;
  size_t bytes = t->staging_bytes;
  if (!wire_is_bound(buffer)) return true;
  if (t->slots[i].id != 0) {
    t->held[i] = region_hold(t->server, t->slots[i].id);
    if (t->held[i] == NULL) return false;
    base = t->held[i]->memory;
    bytes = t->held[i]->bytes;
  }
  uint64_t offset = t->slots[i].offset;
  uint64_t needed = ibx_buffer_bytes(t->entry, buffer);
  if (offset > bytes || needed > bytes - offset) return false;
  t->memory[i] = base + offset;
  return true;
}

static ibx_status run(entry_thread *t, ibx_error *err) {
  size_t count = t->entry->buffer_count;
  ibx_status status = IBX_OK;
  memcpy(t->slots, t->staging, count * sizeof(*t->slots));
  for (size_t i = 0; i < count && status == IBX_OK; i++) {
    if (resolve(t, i)) continue;
    status = IBX_FAIL(err, INVALID_ARGUMENT,
                      "buffer '%s' lies outside of what is shared",
                      t->entry->buffers[i].name);
  }
  if (status == IBX_OK) {
    status = t->server->table->run(t->executable, t->memory, err);
  }
  for (size_t i = 0; i < count; i++) {
    region_drop(t->server, t->held[i]);
    t->held[i] = NULL;
  }
  return status;
}

/// Events on their way, sent when there is no more room.
typedef struct event_batch {
  int channel;
  bool is_broken;
  wire_message message;
} event_batch;

static void send_events(event_batch *batch) {
  if (batch->message.events.count == 0 || batch->is_broken) return;
  batch->is_broken =
      wire_send(batch->channel, &batch->message, NULL, NULL) != IBX_OK;
  batch->message = wire_make(WIRE_EVENTS);
}

static void add_event(void *user, const ibx_sim_event *event) {
  event_batch *batch = user;
  if (batch->message.events.count == WIRE_EVENT_ROOM) send_events(batch);
  if (batch->is_broken) return;
  batch->message.events.event[batch->message.events.count++] = *event;
}

static bool answer_time(entry_thread *t, bool wants_events) {
  ibx_error err = {0};
  event_batch batch = {.channel = t->channel,
                       .message = wire_make(WIRE_EVENTS)};
  wire_message answer = wire_make(WIRE_TIMING);
  ibx_status status =
      t->server->table->time(t->executable, wants_events ? add_event : NULL,
                             &batch, &answer.timing.time, &err);
  send_events(&batch);
  if (batch.is_broken) return false;
  if (status != IBX_OK) return answer_status(t->channel, status, &err);
  return wire_send(t->channel, &answer, NULL, NULL) == IBX_OK;
}

static void unload(entry_thread *t) {
  if (t->executable != NULL) t->server->table->unload(t->executable);
  ibx_program_close(t->program);
  if (t->file != NULL) munmap(t->file, t->file_bytes);
  if (t->staging != NULL) munmap(t->staging, t->staging_bytes);
  free(t->memory);
  free(t->held);
  free(t->slots);
}

// One request; false when it was the last.
static bool answer(entry_thread *t, const wire_message *request) {
  ibx_error err = {0};
  ibx_status status;
  switch (request->head.kind) {
  case WIRE_RUN:
    status = run(t, &err);
    return answer_status(t->channel, status, &err);
  case WIRE_TIME: return answer_time(t, request->time.wants_events != 0);
  case WIRE_BYE:
    unload(t);
    t->executable = NULL;
    answer_status(t->channel, IBX_OK, NULL);
    return false;
  default:
    status = IBX_FAIL(&err, INVALID_ARGUMENT, "%s does not belong here",
                      wire_kind_name(request->head.kind));
    answer_status(t->channel, status, &err);
    return true;
  }
}

static void *serve_entry(void *user) {
  entry_thread *t = user;
  wire_message request;
  int fds[WIRE_FDS];
  bool said_goodbye = false;
  while (wire_receive(t->channel, &request, fds, NULL) == IBX_OK) {
    wire_close_all(fds);
    said_goodbye = request.head.kind == WIRE_BYE;
    if (!answer(t, &request)) break;
  }
  if (!said_goodbye) unload(t);
  shutdown(t->channel, SHUT_RDWR); // closed by who joins us
  atomic_store(&t->has_ended, true);
  return NULL;
}

static ibx_status map_all(entry_thread *t, const wire_load *load,
                          const int fds[WIRE_FDS], ibx_error *err) {
  const int fixed = F_SEAL_WRITE | F_SEAL_SHRINK;
  t->file = map_peer(fds[0], load->file_bytes, fixed, false);
  t->staging = map_peer(fds[1], load->staging_bytes, F_SEAL_SHRINK, true);
  t->file_bytes = (size_t)load->file_bytes;
  t->staging_bytes = (size_t)load->staging_bytes;
  if (t->file != NULL && t->staging != NULL) return IBX_OK;
  return IBX_FAIL(err, INVALID_ARGUMENT,
                  "the memory of an entry is not sealed, or too small");
}

static ibx_status load_entry(entry_thread *t, const wire_load *load,
                             ibx_error *err) {
  const ibx_span file = {.data = t->file, .size = t->file_bytes};
  IBX_TRY(ibx_program_open_memory(file, &t->program, err));
  const ibx_program_data *program = ibx_program_get(t->program);
  if (load->entry >= program->entry_count) {
    return IBX_FAIL(err, INVALID_ARGUMENT, "the program has no entry %llu",
                    (unsigned long long)load->entry);
  }
  t->entry = &program->entries[load->entry];
  size_t count = t->entry->buffer_count;
  t->slots = calloc(count + 1, sizeof(*t->slots));
  t->held = calloc(count + 1, sizeof(*t->held));
  t->memory = calloc(count + 1, sizeof(*t->memory));
  if (!t->slots || !t->held || !t->memory) {
    return IBX_FAIL(err, OUT_OF_MEMORY, "no memory for %zu buffers", count);
  }
  if (count * sizeof(*t->slots) > t->staging_bytes) {
    return IBX_FAIL(err, INVALID_ARGUMENT, "the staging memory is too small");
  }
  const ibx_device_program loaded = {
      .program = program, .entry = t->entry, .file = file};
  return t->server->table->load(t->server->device, &loaded, &t->executable,
                                err);
}

static ibx_status start(entry_thread *t, const wire_load *load,
                        const int fds[WIRE_FDS], ibx_error *err) {
  IBX_TRY(map_all(t, load, fds, err));
  IBX_TRY(load_entry(t, load, err));
  if (pthread_create(&t->thread, NULL, serve_entry, t) == 0) return IBX_OK;
  return IBX_FAIL(err, OUT_OF_MEMORY, "no thread can be made");
}

ibx_status entry_start(server *s, const wire_load *load, int fds[WIRE_FDS],
                       ibx_error *err) {
  entry_thread *t = calloc(1, sizeof(*t));
  if (t == NULL) return IBX_FAIL(err, OUT_OF_MEMORY, "no memory");
  t->server = s;
  t->channel = fds[2];
  wire_set_timeout(t->channel, SEND_SECONDS, 0);
  ibx_status status = start(t, load, fds, err);
  if (status != IBX_OK) {
    unload(t);
    free(t);
    return status;
  }
  fds[2] = -1;
  t->next = s->threads;
  s->threads = t;
  return IBX_OK;
}

void entry_reap(server *s) {
  entry_thread **link = &s->threads;
  while (*link != NULL) {
    entry_thread *t = *link;
    if (!atomic_load(&t->has_ended)) {
      link = &t->next;
      continue;
    }
    *link = t->next;
    pthread_join(t->thread, NULL);
    close(t->channel);
    free(t);
  }
}

bool entry_end_all(server *s) {
  const struct timespec pause = {.tv_nsec = 1000000};
  for (entry_thread *t = s->threads; t != NULL; t = t->next) {
    shutdown(t->channel, SHUT_RDWR); // wakes who waits for a request
  }
  for (int ms = 0; s->threads != NULL && ms < GRACE_MS; ms++) {
    entry_reap(s);
    if (s->threads != NULL) nanosleep(&pause, NULL);
  }
  return s->threads == NULL;
}

// SPDX-License-Identifier: Apache-2.0
//
// A driver whose device is a simulator in another process. In: calls of the
// runtime. Out: messages, and memory that both processes map. Links neither
// libimbrex_runtime nor anything else of Imbrex: all that it knows of it stands
// in imbrex/driver.h.

#include "driver.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

typedef struct executable {
  device *device;
  const ibx_machine *machine;
  const ibx_entry *entry;
  int channel;
  bool is_lost;
  uint8_t *staging; ///< the server writes to it: nothing in it is to be trusted
  size_t staging_bytes;
  wire_slot slots[]; ///< of the run; the staging memory begins with a copy
} executable;

static ibx_status fail_answer(const wire_message *answer, ibx_error *err) {
  const char *text = answer->error.message;
  switch (answer->error.status) {
#define IBX_STATUS(name, number, exit_code, sentence)                          \
  case number:                                                                 \
    if (number != IBX_OK) return WIRE_FAIL(err, name, "%s", text);             \
    break;
#include "imbrex/status.def"
  default: break;
  }
  return WIRE_FAIL(err, DEVICE_ERROR, "the server failed without a status");
}

ibx_status ask(int socket, bool *is_lost, const wire_message *request,
               const int *fds, wire_kind expected, wire_message *answer,
               ibx_error *err) {
  int received[WIRE_FDS];
  if (*is_lost) {
    return WIRE_FAIL(err, DEVICE_ERROR,
                     "the server is lost; open the device again");
  }
  ibx_status status = wire_send(socket, request, fds, err);
  if (status == IBX_OK) status = wire_receive(socket, answer, received, err);
  *is_lost = status != IBX_OK;
  if (status != IBX_OK) return status;
  wire_close_all(received);
  if (answer->head.kind == expected) return IBX_OK;
  if (answer->head.kind == WIRE_ERROR) return fail_answer(answer, err);
  *is_lost = true;
  return WIRE_FAIL(err, DEVICE_ERROR, "the server answered %s with %s",
                   wire_kind_name(request->head.kind),
                   wire_kind_name(answer->head.kind));
}

static void device_close(void *handle) {
  device *d = handle;
  server_close(d);
  pthread_mutex_destroy(&d->mutex);
  d->allocator.free(d->allocator.user, d);
}

static ibx_status device_open(const char *rest, const ibx_allocator *allocator,
                              void **out_device, ibx_error *err) {
  settings s;
  *out_device = NULL;
  ibx_status status = settings_parse(&s, rest, err);
  if (status != IBX_OK) return status;
  device *d = allocator->alloc(allocator->user, sizeof(*d));
  if (d == NULL) return WIRE_FAIL(err, OUT_OF_MEMORY, "no memory");
  *d = (device){.allocator = *allocator,
                .timeout_seconds = s.timeout_seconds,
                .control = -1};
  pthread_mutex_init(&d->mutex, NULL);
  status = server_open(d, &s, err);
  if (status != IBX_OK) {
    device_close(d);
    return status;
  }
  *out_device = d;
  return IBX_OK;
}

static ibx_device_info device_query(void *handle) {
  const device *d = handle;
  return (ibx_device_info){.name = d->welcome.name,
                           .target = d->welcome.target,
                           .cores = (uint32_t)d->welcome.cores};
}

static bool round_up(uint64_t bytes, uint64_t *sum) {
  uint64_t end;
  if (!ibx_add_size(*sum, bytes, &end)) return false;
  if (!ibx_add_size(end, WIRE_ALIGN - 1, &end)) return false;
  *sum = end / WIRE_ALIGN * WIRE_ALIGN;
  return true;
}

static uint64_t slot_bytes(const ibx_entry *entry) {
  return entry->buffer_count * sizeof(wire_slot);
}

// The slots, then every buffer that a run could bring.
static ibx_status make_staging(executable *x, int *out_fd, ibx_error *err) {
  const ibx_entry *entry = x->entry;
  void *memory = NULL;
  uint64_t bytes = WIRE_ALIGN; // an entry may have no buffers
  bool fits = round_up(slot_bytes(entry), &bytes);
  for (size_t i = 0; i < entry->buffer_count; i++) {
    if (!wire_is_bound(&entry->buffers[i])) continue;
    fits =
        fits && round_up(ibx_buffer_bytes(entry, &entry->buffers[i]), &bytes);
  }
  *out_fd =
      fits && bytes <= SIZE_MAX ? memory_make((size_t)bytes, &memory) : -1;
  if (*out_fd < 0) {
    return WIRE_FAIL(err, OUT_OF_MEMORY, "no shared memory for %llu bytes",
                     (unsigned long long)bytes);
  }
  x->staging = memory;
  x->staging_bytes = (size_t)bytes;
  return IBX_OK;
}

static ibx_status send_entry(executable *x, const ibx_device_program *program,
                             const int fds[WIRE_FDS], ibx_error *err) {
  device *d = x->device;
  wire_message request = wire_make(WIRE_LOAD), answer;
  request.load = (wire_load){
      .file_bytes = program->file.size,
      .staging_bytes = x->staging_bytes,
      .entry = (uint64_t)(program->entry - program->program->entries)};
  pthread_mutex_lock(&d->mutex);
  ibx_status status =
      ask(d->control, &d->is_lost, &request, fds, WIRE_DONE, &answer, err);
  pthread_mutex_unlock(&d->mutex);
  return status;
}

// The file, the staging memory and a channel: what the server needs.
static ibx_status load_entry(executable *x, const ibx_device_program *program,
                             int fds[WIRE_FDS], ibx_error *err) {
  int ends[2];
  fds[0] = memory_copy(program->file);
  if (fds[0] < 0) {
    return WIRE_FAIL(err, OUT_OF_MEMORY, "no shared memory for a program");
  }
  ibx_status status = make_staging(x, &fds[1], err);
  if (status != IBX_OK) return status;
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) {
    return WIRE_FAIL(err, DEVICE_ERROR, "socketpair: %s", strerror(errno));
  }
  x->channel = ends[0];
  fds[2] = ends[1];
  wire_set_timeout(x->channel, x->device->timeout_seconds,
                   x->device->timeout_seconds);
  return send_entry(x, program, fds, err);
}

static void release(executable *x) {
  const ibx_allocator *allocator = &x->device->allocator;
  if (x->channel >= 0) close(x->channel);
  if (x->staging != NULL) munmap(x->staging, x->staging_bytes);
  allocator->free(allocator->user, x);
}

static ibx_status device_load(void *handle, const ibx_device_program *program,
                              void **out_executable, ibx_error *err) {
  device *d = handle;
  *out_executable = NULL;
  // A program file has at most 65535 buffers an entry.
  executable *x = d->allocator.alloc(
      d->allocator.user, sizeof(*x) + (size_t)slot_bytes(program->entry));
  if (x == NULL) return WIRE_FAIL(err, OUT_OF_MEMORY, "no memory");
  *x = (executable){.device = d,
                    .machine = program->program->machine,
                    .entry = program->entry,
                    .channel = -1};
  memset(x->slots, 0, (size_t)slot_bytes(program->entry));
  int fds[WIRE_FDS] = {-1, -1, -1};
  ibx_status status = load_entry(x, program, fds, err);
  wire_close_all(fds);
  if (status != IBX_OK) {
    release(x);
    return status;
  }
  *out_executable = x;
  return IBX_OK;
}

static void device_unload(void *handle) {
  executable *x = handle;
  wire_message request = wire_make(WIRE_BYE), answer;
  // Waits until the server has let go; where it is lost, it has.
  (void)ask(x->channel, &x->is_lost, &request, NULL, WIRE_DONE, &answer, NULL);
  release(x);
}

// Where the memory of the first buffer is staged.
static uint64_t first_staged(const executable *x) {
  uint64_t at = WIRE_ALIGN;
  (void)round_up(slot_bytes(x->entry), &at);
  return at;
}

// Gives every buffer its slot, and copies in what is not shared.
static ibx_status fill_slots(executable *x, uint8_t *const *memory,
                             ibx_error *err) {
  uint64_t at = first_staged(x);
  for (size_t i = 0; i < x->entry->buffer_count; i++) {
    const ibx_buffer_decl *buffer = &x->entry->buffers[i];
    uint64_t bytes = ibx_buffer_bytes(x->entry, buffer);
    if (!wire_is_bound(buffer)) continue;
    x->slots[i] = (wire_slot){.id = 0, .offset = at};
    (void)round_up(bytes, &at); // make_staging() has seen that it fits
    if (bytes == 0) continue;
    if (memory[i] == NULL) {
      return WIRE_FAIL(err, INVALID_ARGUMENT, "buffer '%s' has no memory",
                       buffer->name);
    }
    if (memory_find(x->device, memory[i], bytes, &x->slots[i])) continue;
    if (buffer->kind == IBX_BUFFER_OUTPUT) continue;
    memcpy(x->staging + x->slots[i].offset, memory[i], (size_t)bytes);
  }
  memcpy(x->staging, x->slots, (size_t)slot_bytes(x->entry));
  return IBX_OK;
}

static void copy_out(const executable *x, uint8_t *const *memory) {
  for (size_t i = 0; i < x->entry->buffer_count; i++) {
    const ibx_buffer_decl *buffer = &x->entry->buffers[i];
    bool is_result =
        buffer->kind == IBX_BUFFER_OUTPUT || buffer->kind == IBX_BUFFER_STATE;
    size_t bytes = (size_t)ibx_buffer_bytes(x->entry, buffer);
    if (!is_result || x->slots[i].id != 0 || bytes == 0) continue;
    memcpy(memory[i], x->staging + x->slots[i].offset, bytes);
  }
}

static ibx_status device_run(void *handle, uint8_t *const *memory,
                             ibx_error *err) {
  executable *x = handle;
  wire_message request = wire_make(WIRE_RUN), answer;
  ibx_status status = fill_slots(x, memory, err);
  if (status != IBX_OK) return status;
  status =
      ask(x->channel, &x->is_lost, &request, NULL, WIRE_DONE, &answer, err);
  if (status == IBX_OK) copy_out(x, memory);
  return status;
}

// Who takes events uses their numbers as indices.
static bool is_event(const executable *x, const ibx_sim_event *event) {
  return event->issuer < IBX_ENGINE_COUNT &&
         event->agent < IBX_ENGINE_COUNT + x->machine->dma_engines &&
         event->index < x->entry->streams[event->issuer].count &&
         event->start_ps <= event->end_ps;
}

static ibx_status give_events(const executable *x, const wire_message *answer,
                              ibx_sim_event_fn on_event, void *user,
                              ibx_error *err) {
  size_t given = 0, count = (size_t)answer->events.count;
  bool is_wanted = on_event != NULL && count <= WIRE_EVENT_ROOM;
  while (is_wanted && given < count) {
    if (!is_event(x, &answer->events.event[given])) break;
    on_event(user, &answer->events.event[given++]);
  }
  if (is_wanted && given == count) return IBX_OK;
  return WIRE_FAIL(err, DEVICE_ERROR,
                   "the server sent events that do not belong to the entry");
}

static time_t now_seconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec;
}

static ibx_status device_time(void *handle, ibx_sim_event_fn on_event,
                              void *user, ibx_sim_time *out_time,
                              ibx_error *err) {
  executable *x = handle;
  wire_message request = wire_make(WIRE_TIME), answer;
  request.time.wants_events = on_event != NULL;
  int fds[WIRE_FDS];
  if (x->is_lost) {
    return WIRE_FAIL(err, DEVICE_ERROR, "the server is lost");
  }
  // A server that sends events for ever is as slow as one that sends none.
  time_t end = now_seconds() + x->device->timeout_seconds;
  ibx_status status = wire_send(x->channel, &request, NULL, err);
  while (status == IBX_OK) {
    status = wire_receive(x->channel, &answer, fds, err);
    if (status != IBX_OK) break;
    wire_close_all(fds);
    if (now_seconds() > end) {
      status = WIRE_FAIL(err, DEVICE_ERROR, "the server takes too long");
      break;
    }
    if (answer.head.kind == WIRE_ERROR) return fail_answer(&answer, err);
    if (answer.head.kind == WIRE_TIMING) {
      *out_time = answer.timing.time;
      return IBX_OK;
    }
    status = answer.head.kind == WIRE_EVENTS
                 ? give_events(x, &answer, on_event, user, err)
                 : WIRE_FAIL(err, DEVICE_ERROR,
                             "the server answered TIME "
                             "with %s",
                             wire_kind_name(answer.head.kind));
  }
  x->is_lost = true;
  return status;
}

const ibx_device_table *ibx_driver_get_table(uint32_t version);

IBX_API const ibx_device_table *ibx_driver_get_table(uint32_t version) {
  static const ibx_device_table table = {
      .version = IBX_DEVICE_TABLE_VERSION,
      .size_bytes = sizeof(ibx_device_table),
      .layout = IBX_DEVICE_LAYOUT,
      .open = device_open,
      .close = device_close,
      .query = device_query,
      .load = device_load,
      .unload = device_unload,
      .run = device_run,
      .time = device_time,
      .memory_alloc = device_memory_alloc,
      .memory_free = device_memory_free,
  };
  return version == IBX_DEVICE_TABLE_VERSION ? &table : NULL;
}

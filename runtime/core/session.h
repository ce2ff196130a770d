// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_CORE_SESSION_H
#define IBX_CORE_SESSION_H

/// \file
/// A session's parts: session.c makes and ends it, session_bind.c gives a run
/// its memory, session_steps.c runs what needs the host, session_queue.c keeps
/// runs in order.

#include "core/device.h"

#include <pthread.h>

typedef struct ibx_step_run ibx_step_run;

struct ibx_fence {
  ibx_device *device;
  pthread_mutex_t mutex;
  pthread_cond_t changed;
  bool is_pending;
  ibx_status status;
  ibx_error error;

  // Of the run in the queue.
  const ibx_run *run;
  uint64_t ticket;
  ibx_fence *next;
};

struct ibx_session {
  ibx_device *device;
  const ibx_program_data *program;
  const ibx_entry *entry;
  void *executable;    ///< NULL of an entry with steps
  ibx_step_run *steps; ///< NULL of any other

  pthread_mutex_t mutex;
  pthread_cond_t changed;
  uint64_t next_ticket, served_ticket;
  ibx_fence *first, *last;
  bool is_stopping, has_worker;
  pthread_t worker;

  // Used by the run that is being served. One of each for every buffer.
  uint8_t **bound; ///< memory of this run
  uint8_t **owned; ///< ours: state, and outputs that nobody bound
};

/// Lends the tensor of that name, or at `index` where `name` is NULL; NULL when
/// there is none.
const ibx_tensor_decl *ibx_session_find_tensor(const ibx_tensor_decl *tensors,
                                               size_t count, const char *name,
                                               size_t index);

/// Makes sure that the session has memory of its own for a buffer.
ibx_status ibx_session_own(ibx_session *session, size_t buffer, ibx_error *err);

/// Binds, runs and copies out, in the caller's turn.
ibx_status ibx_session_run_bound(ibx_session *session, const ibx_run *run,
                                 ibx_error *err);

/// Makes a session of an entry, which need not be one that callers find.
ibx_status ibx_session_create_entry(ibx_device *device,
                                    const ibx_program *program,
                                    const ibx_entry *entry,
                                    ibx_session **out_session, ibx_error *err);

/// Makes sessions of the segments of `entry`. Accepted by fini in any case.
ibx_status ibx_step_run_create(ibx_device *device, const ibx_program *program,
                               const ibx_entry *entry, ibx_step_run **out,
                               ibx_error *err);
/// Accepts NULL.
void ibx_step_run_destroy(ibx_step_run *steps);
/// Binds, runs the steps and copies out, in the caller's turn.
ibx_status ibx_step_run_bound(ibx_step_run *steps, const ibx_run *run,
                              ibx_error *err);
/// The simulated time of the device steps together.
ibx_status ibx_step_run_profile(ibx_step_run *steps, ibx_sim_event_fn on_event,
                                void *user, ibx_sim_time *out_time,
                                ibx_error *err);

/// Waits until every call before this one is done; ibx_session_end_turn()
/// lets the next one go.
void ibx_session_await_turn(ibx_session *session);
void ibx_session_end_turn(ibx_session *session);

/// Carries out what is enqueued and ends the worker.
void ibx_session_stop_worker(ibx_session *session);

#endif

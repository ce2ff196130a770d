// SPDX-License-Identifier: Apache-2.0
//
// The order of a session's runs. In: calls from any thread. Out: one run after
// the other, in the order of the calls. Each call draws a ticket and is served
// when its number is up; enqueued runs draw theirs at once and are carried out
// by one worker, which the first of them starts.

#include "core/session.h"

static void wait_for_turn(ibx_session *session, uint64_t ticket) {
  pthread_mutex_lock(&session->mutex);
  while (session->served_ticket != ticket) {
    pthread_cond_wait(&session->changed, &session->mutex);
  }
  pthread_mutex_unlock(&session->mutex);
}

void ibx_session_end_turn(ibx_session *session) {
  pthread_mutex_lock(&session->mutex);
  session->served_ticket++;
  pthread_cond_broadcast(&session->changed);
  pthread_mutex_unlock(&session->mutex);
}

static uint64_t draw_ticket(ibx_session *session) {
  pthread_mutex_lock(&session->mutex);
  uint64_t ticket = session->next_ticket++;
  pthread_mutex_unlock(&session->mutex);
  return ticket;
}

void ibx_session_await_turn(ibx_session *session) {
  wait_for_turn(session, draw_ticket(session));
}

ibx_status ibx_session_run(ibx_session *session, const ibx_run *run,
                           ibx_error *err) {
  ibx_session_await_turn(session);
  ibx_status status = ibx_session_run_bound(session, run, err);
  ibx_session_end_turn(session);
  return status;
}

static void complete(ibx_fence *fence, ibx_status status) {
  pthread_mutex_lock(&fence->mutex);
  fence->status = status;
  fence->is_pending = false;
  pthread_cond_broadcast(&fence->changed);
  pthread_mutex_unlock(&fence->mutex);
}

// The first fence of the queue, which stays there; NULL when the session ends.
static ibx_fence *await_fence(ibx_session *session) {
  pthread_mutex_lock(&session->mutex);
  while (session->first == NULL && !session->is_stopping) {
    pthread_cond_wait(&session->changed, &session->mutex);
  }
  ibx_fence *fence = session->first;
  if (fence != NULL) {
    session->first = fence->next;
    if (fence->next == NULL) session->last = NULL;
  }
  pthread_mutex_unlock(&session->mutex);
  return fence;
}

static void *work(void *user) {
  ibx_session *session = user;
  for (;;) {
    ibx_fence *fence = await_fence(session);
    if (fence == NULL) return NULL;
    wait_for_turn(session, fence->ticket);
    ibx_status status =
        ibx_session_run_bound(session, fence->run, &fence->error);
    ibx_session_end_turn(session);
    complete(fence, status);
  }
}

static ibx_status claim(ibx_fence *fence, const ibx_run *run, ibx_error *err) {
  pthread_mutex_lock(&fence->mutex);
  bool is_busy = fence->is_pending;
  fence->is_pending = true;
  pthread_mutex_unlock(&fence->mutex);
  if (is_busy) {
    return IBX_FAIL(err, INVALID_ARGUMENT,
                    "the fence belongs to a run that is not complete");
  }
  fence->run = run;
  fence->next = NULL;
  fence->error = (ibx_error){0};
  return IBX_OK;
}

// With the mutex held.
static bool start_worker(ibx_session *session) {
  if (!session->has_worker) {
    session->has_worker =
        pthread_create(&session->worker, NULL, work, session) == 0;
  }
  return session->has_worker;
}

static void append(ibx_session *session, ibx_fence *fence) {
  fence->ticket = session->next_ticket++;
  if (session->last == NULL) {
    session->first = fence;
  } else {
    session->last->next = fence;
  }
  session->last = fence;
  pthread_cond_broadcast(&session->changed);
}

ibx_status ibx_session_enqueue(ibx_session *session, const ibx_run *run,
                               ibx_fence *fence, ibx_error *err) {
  IBX_TRY(claim(fence, run, err));
  pthread_mutex_lock(&session->mutex);
  bool started = start_worker(session);
  if (started) append(session, fence);
  pthread_mutex_unlock(&session->mutex);
  if (started) return IBX_OK;
  complete(fence, IBX_OK);
  return IBX_FAIL(err, OUT_OF_MEMORY, "no thread can be made");
}

ibx_status ibx_fence_create(ibx_device *device, ibx_fence **out_fence,
                            ibx_error *err) {
  *out_fence = NULL;
  ibx_fence *fence = ibx_device_alloc(device, sizeof(*fence));
  if (fence == NULL) return IBX_FAIL(err, OUT_OF_MEMORY, "no memory");
  fence->device = device;
  pthread_mutex_init(&fence->mutex, NULL);
  pthread_cond_init(&fence->changed, NULL);
  *out_fence = fence;
  return IBX_OK;
}

void ibx_fence_destroy(ibx_fence *fence) {
  if (fence == NULL) return;
  pthread_cond_destroy(&fence->changed);
  pthread_mutex_destroy(&fence->mutex);
  ibx_device_free(fence->device, fence);
}

ibx_status ibx_fence_wait(ibx_fence *fence, ibx_error *err) {
  pthread_mutex_lock(&fence->mutex);
  while (fence->is_pending) {
    pthread_cond_wait(&fence->changed, &fence->mutex);
  }
  ibx_status status = fence->status;
  if (status != IBX_OK && err != NULL) *err = fence->error;
  pthread_mutex_unlock(&fence->mutex);
  return status;
}

bool ibx_fence_query(ibx_fence *fence) {
  pthread_mutex_lock(&fence->mutex);
  bool is_complete = !fence->is_pending;
  pthread_mutex_unlock(&fence->mutex);
  return is_complete;
}

void ibx_session_stop_worker(ibx_session *session) {
  if (!session->has_worker) return;
  pthread_mutex_lock(&session->mutex);
  session->is_stopping = true;
  pthread_cond_broadcast(&session->changed);
  pthread_mutex_unlock(&session->mutex);
  pthread_join(session->worker, NULL);
}

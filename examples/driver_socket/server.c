// SPDX-License-Identifier: Apache-2.0
//
// imbrex-sim-server: the simulator for drivers of other processes. In: a
// connected socket, or a path to listen at. Out: one process a client, so that
// none can harm another. Exit codes: 0 done, 1 a client broke off, 2 wrong
// usage, 4 the environment.

#include "server.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static volatile sig_atomic_t is_stopping;

static void stop(int number) {
  (void)number;
  is_stopping = 1;
}

static int fail(const char *what) {
  fprintf(stderr, "imbrex-sim-server: %s: %s\n", what, strerror(errno));
  return 4;
}

// Only the user who started it may connect.
static int listen_at(const char *path) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  const struct sockaddr *any = (const void *)&address;
  size_t len = strlen(path);
  errno = ENAMETOOLONG;
  if (len >= sizeof(address.sun_path)) return -1;
  memcpy(address.sun_path, path, len + 1);
  int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
  mode_t mask = umask(0077);
  bool is_bound = fd >= 0 && bind(fd, any, sizeof(address)) == 0;
  umask(mask);
  if (is_bound && listen(fd, SOMAXCONN) == 0) return fd;
  int why = errno;
  if (fd >= 0) close(fd);
  errno = why;
  return -1;
}

static void handle_signals(void) {
  struct sigaction action = {.sa_handler = stop};
  sigemptyset(&action.sa_mask);
  // Without SA_RESTART, so that accept() returns.
  sigaction(SIGTERM, &action, NULL);
  sigaction(SIGINT, &action, NULL);
  action.sa_handler = SIG_IGN; // ended clients' processes vanish by themselves
  sigaction(SIGCHLD, &action, NULL);
}

static int serve_clients(int listener) {
  while (!is_stopping) {
    int client = accept(listener, NULL, NULL);
    if (client < 0) continue; // a signal, or a client that is gone already
    pid_t child = fork();
    if (child == 0) {
      signal(SIGTERM, SIG_DFL);
      signal(SIGINT, SIG_DFL);
      close(listener);
      _exit(server_serve(client) ? 0 : 1);
    }
    close(client);
  }
  return 0;
}

static int listen_and_serve(const char *path) {
  int listener = listen_at(path);
  if (listener < 0) return fail(path);
  handle_signals();
  printf("listening at %s\n", path);
  fflush(stdout);
  int exit_code = serve_clients(listener);
  close(listener);
  unlink(path);
  return exit_code;
}

static int usage(void) {
  fprintf(stderr, "usage: imbrex-sim-server --listen PATH\n"
                  "       imbrex-sim-server --fd NUMBER\n"
                  "A driver starts the second by itself.\n");
  return 2;
}

int main(int argc, char **argv) {
  if (argc != 3) return usage();
  if (strcmp(argv[1], "--listen") == 0) return listen_and_serve(argv[2]);
  if (strcmp(argv[1], "--fd") != 0) return usage();
  char *end;
  long fd = strtol(argv[2], &end, 10);
  if (*end != 0 || fd < 3 || fd > 1024) return usage();
  return server_serve((int)fd) ? 0 : 1;
}

// SPDX-License-Identifier: Apache-2.0
//
// imbrex-mutate PROGRAM.ibx [--seed N] [--count M] [--samples S] [--orders R]:
// breaks a program in five ways and prints as JSON what became of it. Exit code
// 1 when the prover accepted what some order shows to be wrong.

#include "support/mutate.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int print_usage(void) {
  fprintf(stderr, "usage: imbrex-mutate PROGRAM.ibx [--seed N] [--count M] "
                  "[--samples S] [--orders R]\n");
  return 2;
}

static bool parse(int argc, char **argv, mutate_options *options,
                  const char **path) {
  struct {
    const char *name;
    uint64_t *out;
  } rows[] = {{"--seed", &options->seed},
              {"--count", &options->count},
              {"--samples", &options->samples},
              {"--orders", &options->orders}};
  for (int i = 1; i < argc; i++) {
    size_t row = 0;
    while (row < IBX_COUNT_OF(rows) && strcmp(argv[i], rows[row].name) != 0) {
      row++;
    }
    if (row == IBX_COUNT_OF(rows)) {
      if (argv[i][0] == '-' || *path) return false;
      *path = argv[i];
      continue;
    }
    char *end = NULL;
    if (++i == argc) return false;
    errno = 0;
    *rows[row].out = strtoull(argv[i], &end, 10);
    if (errno != 0 || *end != 0 || end == argv[i]) return false;
  }
  return *path != NULL;
}

// Bug texts hold buffer names, which may hold anything.
static void print_text(const char *text) {
  putchar('"');
  for (; *text; text++) {
    unsigned char c = (unsigned char)*text;
    if (c == '"' || c == '\\') {
      printf("\\%c", c);
    } else if (c < 0x20) {
      printf("\\u%04x", c);
    } else {
      putchar(c);
    }
  }
  putchar('"');
}

static bool print_report(const mutate_report *report) {
  uint64_t bugs = 0;
  printf("{");
  for (int k = 0; k < MUTATE_KIND_COUNT; k++) {
    const mutate_counts *counts = &report->kinds[k];
    printf("\n  \"%s\": {\"rejected\": %" PRIu64
           ", \"accepted_equal\": %" PRIu64 ", \"accepted_different\": %" PRIu64
           ", \"accepted_untried\": %" PRIu64 ", \"impossible\": %" PRIu64 "},",
           mutate_kind_name((mutate_kind)k), counts->rejected,
           counts->accepted_equal, counts->accepted_different,
           counts->accepted_untried, counts->impossible);
    bugs += counts->accepted_different;
  }
  printf("\n  \"first_bug\": ");
  print_text(report->first_bug);
  printf("\n}\n");
  return bugs == 0;
}

static ibx_status mutate_all(const ibx_program_data *program,
                             const mutate_options *options,
                             mutate_report *report, ibx_error *err) {
  for (size_t i = 0; i < program->entry_count; i++) {
    IBX_TRY(mutate_entry(program, &program->entries[i], options, report, err));
  }
  return IBX_OK;
}

int main(int argc, char **argv) {
  mutate_options options = {
      .seed = 1, .count = 100, .samples = 25, .orders = 20};
  const char *path = NULL;
  if (!parse(argc, argv, &options, &path)) return print_usage();
  ibx_program *program = NULL;
  ibx_error err = {.message = ""};
  static mutate_report report;
  ibx_status status = ibx_program_open_file(path, &program, &err);
  if (status == IBX_OK) {
    status = mutate_all(ibx_program_get(program), &options, &report, &err);
  }
  ibx_program_close(program);
  if (status != IBX_OK) {
    fprintf(stderr, "imbrex-mutate: %s: %s\n", path, err.message);
    return ibx_status_exit_code(status);
  }
  return print_report(&report) ? 0 : 1;
}

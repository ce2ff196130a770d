// SPDX-License-Identifier: Apache-2.0
//
// Dropped waits: of every kernel some waits are dropped, one at a time (with
// the argument --all [PART OF A NAME], all of them, which takes minutes). A wait counts as one
// that changes the meaning when any order that was tried, adversarial or
// random, gives other bytes, an error or a deadlock without it; then an
// adversarial order must be among those. The prover must refuse it, too. What no
// order shows may be refused for what a semaphore counts, but not for a race: then
// another wait implies the lost one, or nothing follows it.

#include "support/drop.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { RANDOM_ORDERS = 20, SHORT_DROPS = 2 };

static bool wants_all;
static const char *wanted = ""; // part of the names of the kernels

typedef struct tally {
  const kernel_row *row;
  uint64_t dropped, refused, shown;
  uint64_t seeds;       ///< random orders that show a drop, of all drops
  uint64_t unlucky;     ///< drops that no random order shows
  uint64_t missed;      ///< drops that only random orders show
  uint64_t overlooked;  ///< drops that change the meaning, accepted
  uint64_t unexplained; ///< drops that nothing shows, refused as a race
  uint64_t by_order[IBX_SIM_ADVERSARIES];
} tally;

static void count(void *user, const drop_result *r) {
  tally *t = user;
  t->dropped++;
  t->refused += r->is_refused;
  t->shown += r->adversaries != 0;
  t->seeds += r->random;
  t->unlucky += r->adversaries != 0 && r->random == 0;
  t->missed += r->adversaries == 0 && r->random != 0;
  t->overlooked += !r->is_refused && (r->adversaries != 0 || r->random != 0);
  bool is_count = strstr(r->why.message, "ends at") != NULL ||
                  strstr(r->why.message, " of semaphore ") != NULL;
  t->unexplained += r->adversaries == 0 && r->is_refused && !is_count;
  for (unsigned i = 0; i < IBX_SIM_ADVERSARIES; i++)
    t->by_order[i] += r->adversaries >> i & 1;
  if (!wants_all) return;
  print_message("  %-7s %4zu: %2" PRIu64 " of %d seeds, adversaries %03x%s%s\n",
                ibx_engine_name(r->engine), r->index, r->random, RANDOM_ORDERS,
                r->adversaries, r->adversaries == 0 ? "; " : "",
                r->adversaries == 0 ? r->why.message : "");
}

static void print_tally(const tally *t) {
  print_message("%-20s %3" PRIu64 " dropped, %3" PRIu64 " refused, %3" PRIu64
                " shown by the adversarial orders, %4.1f of %d seeds each, "
                "%" PRIu64 " by no seed\n",
                t->row->file, t->dropped, t->refused, t->shown,
                t->shown == 0 ? 0.0 : (double)t->seeds / (double)t->shown,
                RANDOM_ORDERS, t->unlucky);
  if (!wants_all) return;
  print_message("  by order:");
  for (unsigned i = 0; i < IBX_SIM_ADVERSARIES; i++)
    print_message(" %" PRIu64, t->by_order[i]);
  print_message("\n");
}

static void adversaries_show_every_wait_that_matters(void **s) {
  (void)s;
  size_t rows;
  const kernel_row *row = kernel_rows(&rows);
  const drop_options options = {.most = wants_all ? UINT64_MAX : SHORT_DROPS,
                                .random = RANDOM_ORDERS,
                                .stops = !wants_all};
  uint64_t shown = 0;
  for (size_t i = 0; i < rows; i++) {
    kernel k;
    ibx_error err;
    tally t = {.row = &row[i]};
    if (strstr(row[i].file, wanted) == NULL) continue;
    if (kernel_open(&k, row[i].file, row[i].small, &err) != IBX_OK ||
        kernel_make_memory(&k, &err) != IBX_OK ||
        drop_waits(&k, &options, count, &t, &err) != IBX_OK) {
      fail_msg("%s %s: %s", row[i].file, row[i].small, err.message);
    }
    kernel_close(&k);
    print_tally(&t);
    assert_true(t.dropped > 0);
    shown += t.shown;
    assert_int_equal(t.missed, 0);
    assert_int_equal(t.overlooked, 0);
    assert_int_equal(t.unexplained, 0);
  }
  assert_true(shown > 0);
}

static bool has_row(const char *file) {
  size_t rows;
  const kernel_row *row = kernel_rows(&rows);
  for (size_t i = 0; i < rows; i++) {
    if (strcmp(row[i].file, file) == 0) return true;
  }
  return false;
}

// The sweep has no outputs that an order could change, and the decoder has one
// size: what it computes is only timed.
static bool is_timed_only(const char *file) {
  return strcmp(file, "dma_sweep.s") == 0 || strcmp(file, "decoder_70b.s") == 0;
}

static void every_kernel_has_a_row(void **s) {
  (void)s;
  DIR *folder = opendir(IBX_SOURCE_DIR "/examples/kernels");
  assert_non_null(folder);
  size_t seen = 0;
  for (struct dirent *file; (file = readdir(folder)) != NULL;) {
    const char *ending = strrchr(file->d_name, '.');
    if (!ending || strcmp(ending, ".s") != 0) continue;
    if (is_timed_only(file->d_name)) continue;
    if (!has_row(file->d_name)) fail_msg("%s has no row", file->d_name);
    seen++;
  }
  closedir(folder);
  assert_true(seen > 0);
}

int main(int argc, char **argv) {
  wants_all = argc > 1 && strcmp(argv[1], "--all") == 0;
  if (wants_all && argc > 2) wanted = argv[2];
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_kernel_has_a_row),
      cmocka_unit_test(adversaries_show_every_wait_that_matters),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

// SPDX-License-Identifier: Apache-2.0
//
// The memory of the time simulator is that of the program's text: a loop of ten
// million trips asks for what one of ten thousand does, to the byte, over its
// whole run. The linker puts the counting functions below before those of the C
// library.

#include "imbrex/asm.h"
#include "imbrex/sim.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);

void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *old, size_t size);

static size_t asked_bytes; // ever, whatever was given back since

void *__wrap_malloc(size_t size) {
  asked_bytes += size;
  return __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size) {
  asked_bytes += count * size;
  return __real_calloc(count, size);
}

void *__wrap_realloc(void *old, size_t size) {
  asked_bytes += size;
  return __real_realloc(old, size);
}

typedef struct outcome {
  size_t asked_bytes;
  ibx_sim_time time;
} outcome;

static outcome run(const char *format, unsigned trips) {
  char text[1024];
  int len = snprintf(text, sizeof(text), format, trips);
  assert_true(len > 0 && (size_t)len < sizeof(text));
  ibx_str str = {.data = text, .len = (size_t)len};
  ibx_asm_program *program = NULL;
  ibx_error err = {0};
  if (ibx_asm_parse(str, "t.s", NULL, 0, &program, &err) != IBX_OK) {
    fail_msg("%s", err.message);
  }
  const ibx_program_data *data = ibx_asm_get(program);
  size_t before_bytes = asked_bytes;
  outcome o = {0};
  if (ibx_sim_time_entry(data, data->entries, NULL, NULL, &o.time, &err) !=
      IBX_OK) {
    fail_msg("%s", err.message);
  }
  o.asked_bytes = asked_bytes - before_bytes;
  ibx_asm_destroy(program);
  return o;
}

static void assert_same_memory(const char *format, unsigned few,
                               unsigned many) {
  outcome small = run(format, few);
  outcome large = run(format, many);
  assert_true(small.asked_bytes > 0);
  assert_true(large.time.instructions > 900 * small.time.instructions);
  assert_int_equal(small.asked_bytes, large.asked_bytes);
}

// Two engines that take turns, each with a semaphore for the other.
static void ten_million_trips_take_no_more_memory(void **state) {
  (void)state;
  assert_same_memory(
      ".equ TRIPS = %u\n"
      ".entry main\n"
      ".buffer a sbuf bytes=32\n"
      ".engine vector\n"
      "loop r0 count=TRIPS\n"
      "memset a:f32 imm0=1 p=128 size(8) wait s1>=1 signal s0+1\n"
      "loop_end\n"
      ".engine scalar\n"
      "semaphore signal s1+1\n"
      "loop r0 count=TRIPS\n"
      "activation a:f32, a:f32 op0=copy p=128 size(8) wait s0>=1 signal s1+1\n"
      "loop_end\n",
      10000, 10000000);
}

// A ring of four loads in flight.
static void loads_in_a_loop_take_no_more_memory(void **state) {
  (void)state;
  assert_same_memory(
      ".equ TRIPS = %u\n"
      ".entry main\n"
      ".buffer x hbm input bytes=4096\n"
      ".buffer a sbuf bytes=128\n"
      ".semaphore f[4]\n"
      ".semaphore l[4]\n"
      ".engine sync\n"
      "loop r0 count=TRIPS\n"
      ".repeat i, 4\n"
      "dma_copy a[i*32]:f32 pstep(1, 0), x:f32 size(128, 8) dge=hardware "
      "wait f[i]>=1 signal l[i]+16\n"
      ".endrepeat\n"
      "loop_end\n"
      ".engine vector\n"
      ".repeat i, 4\n"
      "semaphore signal f[i]+1\n"
      ".endrepeat\n"
      "loop r0 count=TRIPS\n"
      ".repeat i, 4\n"
      "memset a[i*32]:f32 p=128 size(8) wait l[i]>=16 signal f[i]+1\n"
      ".endrepeat\n"
      "loop_end\n",
      1000, 1000000);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(ten_million_trips_take_no_more_memory),
      cmocka_unit_test(loads_in_a_loop_take_no_more_memory),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

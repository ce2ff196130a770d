// SPDX-License-Identifier: Apache-2.0
//
// No program runs faster than the hardware can: for every kernel in
// examples/kernels and for random programs on every target, the simulated time
// is at least what each engine needs for its elements at its published peak
// (hardware.md, section 1.1), and what the DMA engines need for their bytes. The
// peaks stand here as published and not as rows of machine.def.

#include "imbrex/asm.h"
#include "imbrex/sim.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct peaks {
  const char *target;
  double tensor_ghz, vector_ghz, other_ghz; ///< other: Scalar and GpSimd
  double vector_narrow, vector_wide;        ///< elements a cycle
  double scalar_narrow;
  double dma_gb; ///< GB/s of the 16 engines of a core
} peaks;

// Vector of ibx2 has 128 elements a cycle, but documented formulas of 16-bit
// types (tensor_reduce, memset) take half a cycle for each.
static const peaks published[] = {
    {"ibx2", 2.8, 1.12, 1.4, 256, 128, 128, 16 * 27.2},
    {"ibx3", 2.4, 0.96, 1.2, 512, 256, 128, 16 * 27.2},
    {"ibx4", 2.4, 1.20, 1.2, 512, 256, 256, 16 * 38.4}};

static const peaks *peaks_of(const ibx_machine *machine) {
  for (size_t i = 0; i < sizeof(published) / sizeof(published[0]); i++) {
    if (strcmp(published[i].target, machine->name) == 0) return &published[i];
  }
  fail_msg("no peaks of %s", machine->name);
  return NULL;
}

// --- what a program needs -------------------------------------------------------

typedef struct needs {
  double engine_ns[IBX_ENGINE_COUNT];
  double dma_ns;
} needs;

static double elements_of(const ibx_insn *insn, size_t slot) {
  ibx_operand_shape shape = ibx_insn_shape(insn, slot);
  double elements = shape.partitions;
  for (size_t d = 0; d < IBX_DIMS; d++) {
    elements *= shape.num[d];
  }
  return elements;
}

// The largest operand; whether all tensors have at most 16 bits.
static double largest(const ibx_insn *insn, const ibx_insn_info *info,
                      bool *is_narrow) {
  double most = 0;
  *is_narrow = true;
  for (size_t i = 0; i < IBX_OPERANDS; i++) {
    if (!ibx_slot_is_tensor(info->slot[i])) continue;
    double elements = elements_of(insn, i);
    if (elements > most) most = elements;
    size_t bytes = ibx_dtype_bytes((ibx_dtype)insn->operand[i].dtype);
    if (bytes > 2) *is_narrow = false;
  }
  return most;
}

static double work_ns(const peaks *p, ibx_engine engine, const ibx_insn *insn,
                      const ibx_insn_info *info) {
  bool is_narrow;
  double elements = largest(insn, info, &is_narrow);
  switch (engine) {
  case IBX_ENGINE_VECTOR:
    return elements / (is_narrow ? p->vector_narrow : p->vector_wide) /
           p->vector_ghz;
  case IBX_ENGINE_SCALAR:
    return elements / (is_narrow ? p->scalar_narrow : 128) / p->other_ghz;
  default: return elements / 128 / p->other_ghz;
  }
}

// fp32 takes four passes; no mode is more than four times as fast as bf16.
static double product_ns(const peaks *p, const ibx_insn *insn) {
  double macs = elements_of(insn, 1) * insn->columns;
  double passes = insn->operand[1].dtype == IBX_DTYPE_F32 ? 4 : 1;
  double speed = insn->mode != 0 ? 4 : 1;
  return macs * passes / speed / (128.0 * 128.0) / p->tensor_ghz;
}

static double dma_ns(const peaks *p, const ibx_insn *insn) {
  size_t bytes = 1;
  for (size_t i = 0; i < 2; i++) {
    size_t size = ibx_dtype_bytes((ibx_dtype)insn->operand[i].dtype);
    if (size > bytes) bytes = size;
  }
  return elements_of(insn, 0) * (double)bytes / p->dma_gb;
}

static void add_insn(const peaks *p, ibx_engine engine, const ibx_insn *insn,
                     double trips, needs *n) {
  const ibx_insn_info *info = ibx_insn_get(insn->opcode);
  switch (info->kind) {
  case IBX_KIND_WORK:
    n->engine_ns[engine] += trips * work_ns(p, engine, insn, info);
    break;
  case IBX_KIND_PRODUCT:
    n->engine_ns[engine] += trips * product_ns(p, insn);
    break;
  case IBX_KIND_DMA: n->dma_ns += trips * dma_ns(p, insn); break;
  default: break;
  }
}

// Trips of the programs here are constants.
static needs needs_of(const ibx_program_data *data, const ibx_entry *entry) {
  const peaks *p = peaks_of(data->machine);
  needs n = {0};
  for (int e = 0; e < IBX_ENGINE_COUNT; e++) {
    const ibx_stream *stream = &entry->streams[e];
    double trips[IBX_LOOP_REGISTERS + 1] = {1};
    size_t depth = 0;
    for (size_t i = 0; i < stream->count; i++) {
      const ibx_insn *insn = &stream->insns[i];
      if (insn->opcode == IBX_OP_loop) {
        assert_true(depth < IBX_LOOP_REGISTERS);
        assert_int_equal(insn->reg[1], IBX_NO_REGISTER);
        trips[depth + 1] = trips[depth] * insn->count;
        depth++;
      } else if (insn->opcode == IBX_OP_loop_end) {
        depth--;
      } else {
        add_insn(p, (ibx_engine)e, insn, trips[depth], &n);
      }
    }
  }
  return n;
}

static void assert_possible(const char *what, const ibx_sim_time *time,
                            const needs *n) {
  const double slack = 1.0 - 1e-9; // of the sums in double
  double total_ns = (double)time->total_ps / 1e3;
  for (int e = 0; e < IBX_ENGINE_COUNT; e++) {
    if (total_ns < slack * n->engine_ns[e]) {
      fail_msg("%s takes %.0f ns, %s alone needs %.0f", what, total_ns,
               ibx_engine_name((ibx_engine)e), n->engine_ns[e]);
    }
    assert_true(time->busy_ps[e] <= time->total_ps);
  }
  if (total_ns < slack * n->dma_ns) {
    fail_msg("%s takes %.0f ns, its DMAs alone need %.0f", what, total_ns,
             n->dma_ns);
  }
}

static double check_entry(const ibx_program_data *data, const ibx_entry *entry,
                          const char *what) {
  ibx_sim_time time;
  ibx_error err = {0};
  if (ibx_sim_time_entry(data, entry, NULL, NULL, &time, &err) != IBX_OK) {
    fail_msg("%s: %s", what, err.message);
  }
  needs n = needs_of(data, entry);
  assert_possible(what, &time, &n);
  double most = n.dma_ns;
  for (int e = 0; e < IBX_ENGINE_COUNT; e++) {
    if (n.engine_ns[e] > most) most = n.engine_ns[e];
  }
  return most / ((double)time.total_ps / 1e3);
}

// --- kernels --------------------------------------------------------------------

static ibx_asm_program *assemble(ibx_str text, const char *name) {
  ibx_asm_program *program = NULL;
  ibx_error err = {0};
  if (ibx_asm_parse(text, name, NULL, 0, &program, &err) != IBX_OK) {
    fail_msg("%s: %s", name, err.message);
  }
  return program;
}

static void check_file(const char *name) {
  static char text[262144];
  char path[1024];
  snprintf(path, sizeof(path), "%s/examples/kernels/%s", IBX_SOURCE_DIR, name);
  FILE *in = fopen(path, "rb");
  assert_non_null(in);
  ibx_str str = {.data = text, .len = fread(text, 1, sizeof(text), in)};
  fclose(in);
  assert_true(str.len < sizeof(text));
  ibx_asm_program *program = assemble(str, name);
  const ibx_program_data *data = ibx_asm_get(program);
  for (size_t i = 0; i < data->entry_count; i++) {
    double share = check_entry(data, &data->entries[i], name);
    print_message("%-24s %-12s %5.1f %% of what is possible\n", name,
                  data->entries[i].name, 100.0 * share);
  }
  ibx_asm_destroy(program);
}

static void no_kernel_beats_the_hardware(void **state) {
  (void)state;
  DIR *folder = opendir(IBX_SOURCE_DIR "/examples/kernels");
  assert_non_null(folder);
  size_t count = 0;
  for (struct dirent *file = readdir(folder); file; file = readdir(folder)) {
    size_t len = strlen(file->d_name);
    if (len < 3 || strcmp(file->d_name + len - 2, ".s") != 0) continue;
    check_file(file->d_name);
    count++;
  }
  closedir(folder);
  assert_true(count >= 6);
}

// --- random programs ------------------------------------------------------------

typedef struct writer {
  char text[32768];
  size_t len;
  uint32_t random;
} writer;

static unsigned draw(writer *w, unsigned below) {
  w->random = w->random * 1664525u + 1013904223u;
  return (w->random >> 8) % below;
}

static void add(writer *w, const char *format, ...) {
  va_list args;
  va_start(args, format);
  int len = vsnprintf(w->text + w->len, sizeof(w->text) - w->len, format, args);
  va_end(args);
  assert_true(len >= 0 && (size_t)len < sizeof(w->text) - w->len);
  w->len += (size_t)len;
}

static void add_random(writer *w, ibx_engine engine) {
  const char *type = draw(w, 2) ? "bf16" : "f32";
  unsigned n = 1 + draw(w, 512), p = 1 + draw(w, 128);
  unsigned to = 2048 * draw(w, 4), from = 2048 * draw(w, 4);
  switch (engine) {
  case IBX_ENGINE_TENSOR:
    if (draw(w, 3) == 0) {
      add(w, "load_stationary b[%u]:%s p=128 size(128) columns=128\n", from,
          type);
    }
    add(w, "multiply_moving acc[%u]:f32, b[%u]:%s p=128 size(%u) columns=128\n",
        to, from, type, n);
    break;
  case IBX_ENGINE_VECTOR:
    if (draw(w, 2)) {
      add(w, "tensor_copy a[%u]:%s, b[%u]:%s p=%u size(%u)\n", to, type, from,
          type, p, n);
    } else {
      add(w,
          "tensor_tensor a[%u]:%s, b[%u]:%s, acc[%u]:f32 op0=add p=%u "
          "size(%u)\n",
          to, type, from, type, from, p, n);
    }
    break;
  case IBX_ENGINE_SCALAR:
    add(w, "activation a[%u]:%s, acc[%u]:f32 op0=exp p=%u size(%u)\n", to, type,
        from, p, n);
    break;
  case IBX_ENGINE_GPSIMD:
    add(w, "tensor_copy a[%u]:%s, b[%u]:%s p=%u size(%u)\n", to, type, from,
        type, p, n);
    break;
  default:
    add(w, "dma_copy a:%s pstep(1, 0), x:%s size(%u, %u) queue=%u\n", type,
        type, p, n, draw(w, 16));
    break;
  }
}

static void random_programs_do_not_either(void **state) {
  (void)state;
  for (uint32_t seed = 0; seed < 150; seed++) {
    writer w = {.random = seed};
    add(&w,
        ".target %s\n.entry main\n.buffer x hbm input bytes=1048576\n"
        ".buffer a sbuf bytes=16384\n.buffer b sbuf bytes=16384\n"
        ".buffer acc psum bytes=16384\n",
        published[seed % 3].target);
    for (int e = 0; e < IBX_ENGINE_COUNT; e++) {
      add(&w, ".engine %s\nloop r0 count=%u\n", ibx_engine_name((ibx_engine)e),
          1 + draw(&w, 40));
      unsigned count = draw(&w, 30);
      for (unsigned i = 0; i < count; i++) {
        add_random(&w, (ibx_engine)e);
      }
      add(&w, "loop_end\n");
    }
    char name[32];
    snprintf(name, sizeof(name), "seed %u", seed);
    ibx_str str = {.data = w.text, .len = w.len};
    ibx_asm_program *program = assemble(str, name);
    const ibx_program_data *data = ibx_asm_get(program);
    check_entry(data, data->entries, name);
    ibx_asm_destroy(program);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(no_kernel_beats_the_hardware),
      cmocka_unit_test(random_programs_do_not_either),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

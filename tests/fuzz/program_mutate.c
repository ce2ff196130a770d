// SPDX-License-Identifier: Apache-2.0
//
// program_mutate [--seed N] [--first F] [--count M] [--verbose] FILE...
//
// Mutants F to F + M - 1 of seed N through everything that takes a program:
// load, disassemble and assemble, write, prove, simulate in function and time.
// Built with the sanitizers, it shows that none crashes, leaks or reads outside
// of the file, which lies in memory of exactly its size. The corpus is one
// program for each row of isa.def, and the files named (.s or .ibx).
//
// Beside that it must hold:
//   - whatever is refused is refused with a message
//   - what loads is written, loads again, and is written as the same bytes; so
//     it is by way of its assembly text
//   - what is proved neither deadlocks nor leaves a buffer when it runs, and
//     can be timed
//
// Limits are counted in instructions and work, so that the same mutants give
// the same counts everywhere.

#include "damage.h"
#include "random.h"

#include "imbrex/prove.h"
#include "imbrex/runtime.h"
#include "imbrex/sim.h"

#if defined(__linux__)
#include <sys/prctl.h>
#endif

enum {
  MOST_INSTRUCTIONS = 20000, ///< of a run, loops expanded
  MOST_WORK = 20000,
  MOST_PROVE_WORK = 2000000,
  MOST_CALLER_BYTES = 1 << 20, ///< inputs and outputs; more is not run
  MOST_SCRATCH_BYTES = 1 << 26,
  MOST_TEXT_BYTES = 1 << 16, ///< of files that go through the assembler
  MOST_ENTRIES = 4,
  STEPS_SEEDS = 60
};

typedef struct counts {
  uint64_t mutants, opened, entries, unproven, proved, large, ran, ran_refused,
      timed, timed_refused, failed;
} counts;

typedef struct job {
  counts counts;
  uint64_t index;
  uint64_t random;
  bool must_open;
  bool is_bad; ///< the mutant has shown a bug
} job;

// Sanitizers refuse larger blocks, as a small machine would.
const char *__asan_default_options(void);
const char *__asan_default_options(void) {
  return "allocator_may_return_null=1:max_allocation_size_mb=512:"
         "quarantine_size_mb=8";
}

static void fail(job *j, const char *what, const ibx_error *err) {
  printf("mutant %" PRIu64 ": %s: %s\n", j->index, what,
         err ? err->message : "");
  j->is_bad = true;
}

static void expect_message(job *j, ibx_status status, const char *stage,
                           const ibx_error *err) {
  if (status != IBX_OK && (err->message[0] == 0 || err->status != status)) {
    fail(j, stage, err);
  }
}

// --- text and bytes ----------------------------------------------------------

static bool write(job *j, const ibx_program_data *data, ibx_blob *out) {
  ibx_error err = {.message = ""};
  if (ibx_program_write(data, ibx_blob_write, out, NULL, NULL, &err) ==
      IBX_OK) {
    return true;
  }
  fail(j, "a program that was read cannot be written", &err);
  return false;
}

static void expect_same(job *j, const ibx_program_data *data,
                        const ibx_blob *wanted, const char *what) {
  ibx_blob again = {0};
  if (write(j, data, &again) &&
      (again.size != wanted->size ||
       memcmp(again.data, wanted->data, wanted->size) != 0)) {
    fail(j, what, NULL);
  }
  ibx_blob_fini(&again);
}

static void reopen(job *j, const ibx_blob *written) {
  ibx_program *program = NULL;
  ibx_error err = {.message = ""};
  if (ibx_program_open_memory(ibx_blob_get(written), &program, &err) !=
      IBX_OK) {
    fail(j, "what was written cannot be read", &err);
    return;
  }
  expect_same(j, ibx_program_get(program), written, "written otherwise again");
  ibx_program_close(program);
}

static void assemble(job *j, const ibx_program_data *data,
                     const ibx_blob *written) {
  ibx_blob text = {0};
  ibx_error err = {.message = ""};
  ibx_asm_program *program = NULL;
  ibx_status status = ibx_disasm_program(data, ibx_blob_write, &text, &err);
  if (status == IBX_OK) {
    ibx_str str = {(const char *)text.data, text.size};
    status = ibx_asm_parse(str, "mutant.s", NULL, 0, &program, &err);
  }
  if (status == IBX_OK) {
    expect_same(j, ibx_asm_get(program), written, "its text is another one");
  } else {
    fail(j, "its text does not assemble", &err);
  }
  ibx_asm_destroy(program);
  ibx_blob_fini(&text);
}

// Assembly has no steps.
static bool has_steps(const ibx_program_data *data) {
  for (size_t i = 0; i < data->entry_count; i++) {
    if (data->entries[i].steps || data->entries[i].is_segment) return true;
  }
  return false;
}

static void check_texts(job *j, const ibx_program_data *data, size_t size) {
  ibx_blob written = {0};
  if (write(j, data, &written)) {
    reopen(j, &written);
    if (size <= MOST_TEXT_BYTES && !has_steps(data))
      assemble(j, data, &written);
  }
  ibx_blob_fini(&written);
}

// --- runs --------------------------------------------------------------------

static bool is_callers(const ibx_buffer_decl *buffer) {
  return buffer->kind == IBX_BUFFER_INPUT ||
         buffer->kind == IBX_BUFFER_OUTPUT || buffer->kind == IBX_BUFFER_STATE;
}

// The caller's buffers one by one, and scratch in HBM from first to last byte.
static bool is_small(const ibx_entry *entry) {
  uint64_t callers = 0, first = UINT64_MAX, end = 0;
  for (size_t i = 0; i < entry->buffer_count; i++) {
    const ibx_buffer_place *place = &entry->buffers[i].place;
    if (is_callers(&entry->buffers[i])) {
      callers += ibx_buffer_bytes(entry, &entry->buffers[i]);
    } else if (place->space == IBX_SPACE_HBM &&
               entry->buffers[i].kind == IBX_BUFFER_SCRATCH) {
      if (place->offset < first) first = place->offset;
      if (place->offset + place->bytes > end) {
        end = place->offset + place->bytes;
      }
    }
    if (callers > MOST_CALLER_BYTES) return false;
  }
  uint64_t most = MOST_SCRATCH_BYTES / ibx_entry_cores(entry);
  return first >= end || end - first <= most;
}

static void fill(uint64_t *random, uint8_t *bytes, size_t size) {
  for (size_t i = 0; i < size; i++) {
    bytes[i] = (i & 7) == 0 ? (uint8_t)fuzz_next(random) : (uint8_t)(i & 0x3f);
  }
}

static bool make_memory(job *j, const ibx_entry *entry, uint8_t **hbm) {
  for (size_t i = 0; i < entry->buffer_count; i++) {
    if (!is_callers(&entry->buffers[i])) continue;
    size_t bytes = (size_t)ibx_buffer_bytes(entry, &entry->buffers[i]);
    hbm[i] = malloc(bytes + (bytes == 0));
    if (!hbm[i]) return false;
    fill(&j->random, hbm[i], bytes);
  }
  return true;
}

static ibx_status run_in(job *j, const ibx_program_data *data,
                         const ibx_entry *entry, uint8_t **hbm,
                         ibx_error *err) {
  // The adversarial order poisons all memories first, which is slow.
  bool is_adversarial = fuzz_one_in(&j->random, 32);
  const ibx_sim_options options = {
      .order = is_adversarial ? IBX_SIM_ORDER_ADVERSARIAL
                              : (ibx_sim_order)fuzz_below(&j->random, 2),
      .seed = j->random,
      .most_work = MOST_WORK,
      .specification = fuzz_one_in(&j->random, 4)};
  const ibx_sim_memory memory = {.hbm = hbm};
  ibx_sim_chip *chip = NULL;
  ibx_status status = ibx_sim_chip_create(data, entry, &chip, err);
  if (status == IBX_OK) status = ibx_sim_chip_run(chip, &options, &memory, err);
  ibx_sim_chip_destroy(chip);
  return status;
}

static ibx_status run(job *j, const ibx_program_data *data,
                      const ibx_entry *entry, ibx_error *err) {
  uint8_t **hbm = calloc(entry->buffer_count + 1, sizeof *hbm);
  ibx_status status = IBX_OUT_OF_MEMORY;
  if (hbm && make_memory(j, entry, hbm)) {
    status = run_in(j, data, entry, hbm, err);
    expect_message(j, status, "run", err);
  }
  for (size_t i = 0; hbm && i < entry->buffer_count; i++) {
    free(hbm[i]);
  }
  free(hbm);
  return status;
}

// What the proof excludes; data and the limit of this job may still stop a run.
static bool breaks_proof(const ibx_error *err) {
  static const char *const excluded[] = {"deadlock", "touches bytes",
                                         "may not be written"};
  for (size_t i = 0; i < IBX_COUNT_OF(excluded); i++) {
    if (strstr(err->message, excluded[i])) return true;
  }
  return false;
}

static void try_run(job *j, const ibx_program_data *data,
                    const ibx_entry *entry, bool is_proved) {
  ibx_error err = {.message = ""};
  if (!is_small(entry)) {
    j->counts.large++;
  } else if (run(j, data, entry, &err) == IBX_OK) {
    j->counts.ran++;
  } else {
    j->counts.ran_refused++;
    if (is_proved && breaks_proof(&err)) fail(j, "proved, but", &err);
  }
}

static void check_event(void *user, const ibx_sim_event *event) {
  bool *is_ordered = user;
  if (event->end_ps < event->start_ps) *is_ordered = false;
}

static void try_time(job *j, const ibx_program_data *data,
                     const ibx_entry *entry, bool is_proved) {
  bool is_ordered = true;
  const ibx_sim_time_options options = {.on_event = check_event,
                                        .user = &is_ordered,
                                        .most_instructions = MOST_INSTRUCTIONS};
  ibx_sim_time time;
  ibx_error err = {.message = ""};
  ibx_status status =
      ibx_sim_time_entry_with(data, entry, &options, &time, &err);
  expect_message(j, status, "time", &err);
  if (!is_ordered) fail(j, "an event ends before it starts", NULL);
  if (status == IBX_OK) {
    j->counts.timed++;
  } else {
    j->counts.timed_refused++;
    if (is_proved && breaks_proof(&err)) fail(j, "proved, but in time", &err);
  }
}

// --- steps -------------------------------------------------------------------

// Elements for a tensor of any type, few; texts are mostly numbers.
static bool make_tensor(job *j, const ibx_tensor_decl *decl,
                        ibx_host_tensor *out) {
  uint64_t shape[IBX_MAX_RANK], bytes = 8;
  for (size_t d = 0; d < decl->rank; d++) {
    bool is_open = decl->shape[d] == IBX_ANY_EXTENT;
    shape[d] = is_open ? fuzz_below(&j->random, 4) : decl->shape[d];
    if (!ibx_mul_size(bytes, shape[d], &bytes) || bytes > MOST_CALLER_BYTES) {
      return false;
    }
  }
  if (ibx_host_tensor_reset(out, (ibx_dtype)decl->dtype, shape, decl->rank,
                            NULL) != IBX_OK) {
    return false;
  }
  fill(&j->random, out->data, out->data_bytes);
  uint64_t texts = decl->dtype == IBX_DTYPE_STRING ? bytes / 8 : 0;
  for (uint64_t i = 0; i < texts; i++) {
    char text[24];
    int len = snprintf(text, sizeof text, "%u",
                       (unsigned)fuzz_below(&j->random, 300));
    if (fuzz_one_in(&j->random, 8)) text[0] = ' ';
    if (ibx_host_tensor_add_text(out, text, (size_t)len, NULL) != IBX_OK) {
      return false;
    }
  }
  return true;
}

static ibx_status run_session(const ibx_program *program,
                              const ibx_entry *entry, ibx_binding *bindings,
                              ibx_error *err) {
  const ibx_run run = {.inputs = bindings,
                       .outputs = bindings + entry->input_count,
                       .input_count = entry->input_count,
                       .output_count = entry->output_count};
  ibx_device *device = NULL;
  ibx_session *session = NULL;
  ibx_status status = ibx_device_open("sim:", NULL, &device, err);
  if (status == IBX_OK) {
    status = ibx_session_create(device, program, entry->name, &session, err);
  }
  if (status == IBX_OK) status = ibx_session_run(session, &run, err);
  ibx_session_destroy(session);
  ibx_device_close(device);
  return status;
}

// An entry with steps, proved and short enough: whatever the calls make of
// their operands, they end, and say why where they refuse.
static void try_steps(job *j, const ibx_program *program,
                      const ibx_entry *entry) {
  size_t count = entry->input_count + entry->output_count;
  ibx_host_tensor *tensors = calloc(count + 1, sizeof *tensors);
  ibx_binding *bindings = calloc(count + 1, sizeof *bindings);
  bool is_made = tensors && bindings;
  for (size_t i = 0; i < count && is_made; i++) {
    bool is_input = i < entry->input_count;
    size_t index = is_input ? i : i - entry->input_count;
    bindings[i] = (ibx_binding){.index = index, .tensor = &tensors[i]};
    if (is_input) is_made = make_tensor(j, &entry->inputs[i], &tensors[i]);
  }
  ibx_error err = {.message = ""};
  if (!is_made) {
    j->counts.large++;
  } else if (run_session(program, entry, bindings, &err) == IBX_OK) {
    j->counts.ran++;
  } else {
    expect_message(j, err.status, "steps", &err);
    j->counts.ran_refused++;
  }
  for (size_t i = 0; tensors && i < count; i++) {
    ibx_host_tensor_fini(&tensors[i]);
  }
  free(tensors);
  free(bindings);
}

static bool is_short(const ibx_program_data *data, const ibx_entry *entry) {
  const ibx_sim_time_options options = {.most_instructions = MOST_INSTRUCTIONS};
  ibx_sim_time time;
  return ibx_sim_time_entry_with(data, entry, &options, &time, NULL) ==
             IBX_OK &&
         time.hbm_read_bytes < MOST_CALLER_BYTES;
}

static void try_entry(job *j, const ibx_program *program,
                      const ibx_entry *entry) {
  const ibx_program_data *data = ibx_program_get(program);
  const ibx_prove_limits limits = {.instructions = MOST_INSTRUCTIONS,
                                   .work = MOST_PROVE_WORK};
  ibx_error err = {.message = ""};
  ibx_proof proof;
  ibx_status status =
      ibx_prove_entry_within(data, entry, &limits, &proof, &err);
  expect_message(j, status, "prove", &err);
  j->counts.entries++;
  j->counts.proved += status == IBX_OK;
  j->counts.unproven += status != IBX_OK;
  if (entry->steps) {
    if (status == IBX_OK && is_short(data, entry)) try_steps(j, program, entry);
    return;
  }
  try_run(j, data, entry, status == IBX_OK);
  try_time(j, data, entry, status == IBX_OK);
}

// --- mutants -----------------------------------------------------------------

static void try_bytes(job *j, const uint8_t *bytes, size_t size) {
  ibx_program *program = NULL;
  ibx_error err = {.message = ""};
  ibx_span span = {bytes, size};
  ibx_status status = ibx_program_open_memory(span, &program, &err);
  expect_message(j, status, "open", &err);
  if (status != IBX_OK && j->must_open) fail(j, "does not open", &err);
  if (status != IBX_OK) return;
  j->counts.opened++;
  const ibx_program_data *data = ibx_program_get(program);
  check_texts(j, data, size);
  for (size_t i = 0; i < data->entry_count && i < MOST_ENTRIES; i++) {
    try_entry(j, program, &data->entries[i]);
  }
  ibx_program_close(program);
}

// A block of exactly the file's size: a byte behind it is found.
static bool try_mutant(job *j, const ibx_blob *mutant) {
  void *bytes = NULL;
  if (posix_memalign(&bytes, 64, mutant->size + (mutant->size == 0)) != 0) {
    return false;
  }
  memcpy(bytes, mutant->data, mutant->size);
  j->is_bad = false;
  try_bytes(j, bytes, mutant->size);
  free(bytes);
  j->counts.mutants++;
  j->counts.failed += j->is_bad;
  return true;
}

static bool run_job(job *j, const fuzz_options *options, const seeds *corpus) {
  ibx_blob mutant = {0};
  bool fine = true;
  for (uint64_t i = 0; i < options->count && fine; i++) {
    j->index = options->first + i;
    j->random = fuzz_start(options->seed, j->index);
    if (options->verbose) {
      printf("mutant %" PRIu64 "\n", j->index);
      fflush(stdout);
    }
    fine =
        damage_program(&j->random, corpus, &mutant) && try_mutant(j, &mutant);
  }
  ibx_blob_fini(&mutant);
  return fine;
}

static void print(const counts *c, const char *name) {
  printf("%s: %" PRIu64 " files, %" PRIu64 " opened; %" PRIu64
         " entries: %" PRIu64 " proved, %" PRIu64 " not; %" PRIu64
         " ran, %" PRIu64 " stopped, %" PRIu64 " too large; %" PRIu64
         " timed, %" PRIu64 " not\n",
         name, c->mutants, c->opened, c->entries, c->proved, c->unproven,
         c->ran, c->ran_refused, c->large, c->timed, c->timed_refused);
}

// The corpus itself must do what mutants may: all of it loads, and most is
// proved.
static bool run_corpus(job *j, const seeds *corpus) {
  for (size_t i = 0; i < corpus->count; i++) {
    j->index = i;
    j->random = fuzz_start(0, i);
    j->must_open = true;
    if (!try_mutant(j, &corpus->files[i])) return false;
  }
  print(&j->counts, "corpus");
  return seeds_print_missing(corpus) == 0 && j->counts.failed == 0 &&
         j->counts.opened == corpus->count &&
         j->counts.proved * 2 > corpus->count;
}

static bool make_corpus(const fuzz_options *options, seeds *corpus) {
  if (!seeds_add_rows(corpus)) return false;
  // Often enough to be picked among several hundred.
  for (size_t i = 0; i < STEPS_SEEDS; i++) {
    if (!seeds_add_steps(corpus)) return false;
  }
  for (int i = 0; i < options->file_count; i++) {
    ibx_error err = {.message = "cannot be read"};
    if (seeds_add_path(corpus, options->files[i], NULL, 0, &err)) continue;
    fprintf(stderr, "%s: %s\n", options->files[i], err.message);
    return false;
  }
  return true;
}

// A mutant touches a few bytes of each memory; clearing large pages for them
// would take a third of the time.
static void use_small_pages(void) {
#if defined(__linux__)
  (void)prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
#endif
}

int main(int argc, char **argv) {
  fuzz_options options;
  seeds corpus = {0};
  static job corpus_job, mutant_job;
  if (!fuzz_parse(argc, argv, &options)) {
    fprintf(stderr, "usage: program_mutate [--seed N] [--first F] [--count M] "
                    "[--verbose] [FILE.s|FILE.ibx]...\n");
    return 2;
  }
  use_small_pages();
  bool fine = make_corpus(&options, &corpus) &&
              run_corpus(&corpus_job, &corpus) &&
              run_job(&mutant_job, &options, &corpus);
  seeds_fini(&corpus);
  const counts *c = &mutant_job.counts;
  print(c, "mutants");
  printf("seed %" PRIu64 ", mutants %" PRIu64 " to %" PRIu64 "\n", options.seed,
         options.first, options.first + c->mutants);
  uint64_t failed = c->failed + corpus_job.counts.failed;
  if (!fine && failed == 0) failed = 1;
  printf("%" PRIu64 " passed, %" PRIu64 " failed\n", c->mutants - c->failed,
         failed);
  return failed == 0 ? 0 : 1;
}

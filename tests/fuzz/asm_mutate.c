// SPDX-License-Identifier: Apache-2.0
//
// asm_mutate [--seed N] [--first F] [--count M] [--verbose] FILE.s...
//
// Mutants F to F + M - 1 of seed N of assembly text through the assembler. The
// corpus is the files named and the disassembly of one program for each row of
// isa.def. A mutant is refused with the number of a line that it has, or
// assembles; then it can be written or is refused with a message, and its own
// disassembly assembles to the same bytes.

#include "random.h"
#include "seeds.h"

#include <ctype.h>

enum { MOST_CHANGES = 4, ROW_STRIDE = 4 };

typedef struct counts {
  uint64_t mutants, assembled, written, failed;
} counts;

typedef struct job {
  counts counts;
  uint64_t index;
  bool is_bad;
} job;

static void fail(job *j, const char *what, const ibx_error *err) {
  printf("mutant %" PRIu64 ": %s: %s\n", j->index, what,
         err ? err->message : "");
  j->is_bad = true;
}

// --- damage ------------------------------------------------------------------

/// Bytes `start` to `end` of a text.
typedef struct part {
  size_t start, end;
} part;

static part pick_line(uint64_t *random, const ibx_blob *text) {
  part line = {.start = fuzz_below(random, text->size)};
  while (line.start > 0 && text->data[line.start - 1] != '\n') {
    line.start--;
  }
  line.end = line.start;
  while (line.end < text->size && text->data[line.end] != '\n') {
    line.end++;
  }
  if (line.end < text->size) line.end++;
  return line;
}

static bool is_word(uint8_t c) { return isalnum(c) || c == '_' || c == '.'; }

// A name, a number, or one other character.
static part pick_token(uint64_t *random, const ibx_blob *text) {
  part token = {.start = fuzz_below(random, text->size)};
  while (token.start > 0 && is_word(text->data[token.start]) &&
         is_word(text->data[token.start - 1])) {
    token.start--;
  }
  token.end = token.start;
  while (token.end < text->size && is_word(text->data[token.end])) {
    token.end++;
  }
  if (token.end == token.start && token.end < text->size) token.end++;
  return token;
}

// Puts `size` bytes in the place of a part. False when memory is short.
static bool replace(ibx_blob *text, part gone, const void *bytes, size_t size) {
  ibx_blob out = {0};
  bool fine =
      ibx_blob_write(&out, text->data, gone.start) &&
      ibx_blob_write(&out, bytes, size) &&
      ibx_blob_write(&out, text->data + gone.end, text->size - gone.end);
  ibx_blob_fini(text);
  *text = out;
  return fine;
}

static bool replace_number(uint64_t *random, ibx_blob *text) {
  part token = pick_token(random, text);
  for (int i = 0; i < 16 && !isdigit(text->data[token.start]); i++) {
    token = pick_token(random, text);
  }
  char number[32];
  int length =
      snprintf(number, sizeof number, "%" PRId64, (int64_t)fuzz_value(random));
  return replace(text, token, number, (size_t)length);
}

static bool damage_line(uint64_t *random, const ibx_blob *other,
                        ibx_blob *text) {
  part line = pick_line(random, text);
  part from = pick_line(random, other);
  if (fuzz_one_in(random, 3)) return replace(text, line, "", 0);
  if (fuzz_one_in(random, 2)) line.end = line.start; // stays
  return replace(text, line, other->data + from.start, from.end - from.start);
}

static bool damage_once(uint64_t *random, const ibx_blob *other,
                        ibx_blob *text) {
  static const char alphabet[] = "()[],:=%@.\"\\-+*/ \n09azrsn_;#>\t";
  part token = pick_token(random, text);
  part from = pick_token(random, other);
  switch (fuzz_below(random, 8)) {
  case 0:
    text->data[fuzz_below(random, text->size)] ^=
        (uint8_t)(1u << fuzz_below(random, 8));
    return true;
  case 1:
    text->data[fuzz_below(random, text->size)] =
        (uint8_t)alphabet[fuzz_below(random, sizeof alphabet - 1)];
    return true;
  case 2: text->size = fuzz_below(random, text->size); return true;
  case 3: return damage_line(random, other, text);
  case 4: return replace_number(random, text);
  case 5: return replace(text, token, "", 0);
  default:
    return replace(text, token, other->data + from.start,
                   from.end - from.start);
  }
}

static bool damage_text(uint64_t *random, const seeds *texts, ibx_blob *out) {
  const ibx_blob *base = &texts->files[fuzz_below(random, texts->count)];
  const ibx_blob *other = &texts->files[fuzz_below(random, texts->count)];
  out->size = 0;
  if (!ibx_blob_write(out, base->data, base->size)) return false;
  size_t count = 1 + fuzz_below(random, MOST_CHANGES);
  for (size_t i = 0; i < count && out->size > 0; i++) {
    if (!damage_once(random, other, out)) return false;
  }
  return true;
}

// --- what must hold ------------------------------------------------------------

static size_t count_lines(const ibx_blob *text) {
  size_t lines = 1;
  for (size_t i = 0; i < text->size; i++) {
    lines += text->data[i] == '\n';
  }
  return lines;
}

static void check_refusal(job *j, const ibx_blob *text, ibx_status status,
                          const ibx_error *err) {
  unsigned long line = 0, column = 0;
  int length = 0;
  if (status == IBX_OUT_OF_MEMORY && err->message[0] != 0) return;
  if (status == IBX_INVALID_PROGRAM &&
      sscanf(err->message, "mutant.s:%lu:%lu: %n", &line, &column, &length) ==
          2 &&
      length > 0 && err->message[length] != 0 && line >= 1 && column >= 1 &&
      line <= count_lines(text)) {
    return;
  }
  fail(j, "refused without its place", err);
}

static void check_again(job *j, const ibx_program_data *data,
                        const ibx_blob *written) {
  ibx_blob text = {0}, again = {0};
  ibx_error err = {.message = ""};
  ibx_asm_program *program = NULL;
  ibx_status status = ibx_disasm_program(data, ibx_blob_write, &text, &err);
  if (status == IBX_OK) {
    ibx_str str = {(const char *)text.data, text.size};
    status = ibx_asm_parse(str, "again.s", NULL, 0, &program, &err);
  }
  if (status == IBX_OK) {
    status = ibx_program_write(ibx_asm_get(program), ibx_blob_write, &again,
                               NULL, NULL, &err);
  }
  if (status != IBX_OK) {
    fail(j, "its disassembly does not assemble", &err);
  } else if (again.size != written->size ||
             memcmp(again.data, written->data, again.size) != 0) {
    fail(j, "its disassembly is another program", NULL);
  }
  ibx_asm_destroy(program);
  ibx_blob_fini(&again);
  ibx_blob_fini(&text);
}

static void check_program(job *j, const ibx_program_data *data) {
  ibx_blob written = {0};
  ibx_error err = {.message = ""};
  j->counts.assembled++;
  if (ibx_program_write(data, ibx_blob_write, &written, NULL, NULL, &err) ==
      IBX_OK) {
    j->counts.written++;
    check_again(j, data, &written);
  } else if (err.message[0] == 0) {
    fail(j, "not written, without a message", NULL);
  }
  ibx_blob_fini(&written);
}

// --- mutants -----------------------------------------------------------------

static bool try_text(job *j, const ibx_blob *text) {
  char *bytes = malloc(text->size + (text->size == 0));
  if (!bytes) return false;
  if (text->size > 0) memcpy(bytes, text->data, text->size);
  ibx_asm_program *program = NULL;
  ibx_error err = {.message = ""};
  ibx_str str = {bytes, text->size};
  j->is_bad = false;
  ibx_status status = ibx_asm_parse(str, "mutant.s", NULL, 0, &program, &err);
  if (status == IBX_OK) {
    check_program(j, ibx_asm_get(program));
  } else {
    check_refusal(j, text, status, &err);
  }
  ibx_asm_destroy(program);
  free(bytes);
  j->counts.mutants++;
  j->counts.failed += j->is_bad;
  return true;
}

static bool run_job(job *j, const fuzz_options *options, const seeds *texts) {
  ibx_blob mutant = {0};
  bool fine = true;
  for (uint64_t i = 0; i < options->count && fine; i++) {
    j->index = options->first + i;
    uint64_t random = fuzz_start(options->seed, j->index);
    if (options->verbose) {
      printf("mutant %" PRIu64 "\n", j->index);
      fflush(stdout);
    }
    fine = damage_text(&random, texts, &mutant) && try_text(j, &mutant);
  }
  ibx_blob_fini(&mutant);
  return fine;
}

static bool run_corpus(job *j, const seeds *texts) {
  for (size_t i = 0; i < texts->count; i++) {
    j->index = i;
    if (!try_text(j, &texts->files[i])) return false;
  }
  printf("corpus: %" PRIu64 " texts, %" PRIu64 " assembled\n",
         j->counts.mutants, j->counts.assembled);
  return j->counts.failed == 0 && j->counts.assembled == texts->count;
}

// --- corpus --------------------------------------------------------------------

static bool add_text(seeds *texts, const ibx_blob *file) {
  ibx_program *program = NULL;
  ibx_blob text = {0};
  bool fine =
      ibx_program_open_memory(ibx_blob_get(file), &program, NULL) == IBX_OK &&
      ibx_disasm_program(ibx_program_get(program), ibx_blob_write, &text,
                         NULL) == IBX_OK &&
      seeds_add_blob(texts, text);
  if (!fine) ibx_blob_fini(&text);
  ibx_program_close(program);
  return fine;
}

static bool add_rows(seeds *texts) {
  seeds rows = {0};
  bool fine = seeds_add_rows(&rows);
  for (size_t i = 0; i < rows.count && fine; i += ROW_STRIDE) {
    fine = add_text(texts, &rows.files[i]);
  }
  seeds_fini(&rows);
  return fine;
}

static bool make_corpus(const fuzz_options *options, seeds *texts) {
  for (int i = 0; i < options->file_count; i++) {
    ibx_blob blob = seeds_read(options->files[i]);
    if (blob.data && seeds_add_blob(texts, blob)) continue;
    fprintf(stderr, "%s: cannot be read\n", options->files[i]);
    ibx_blob_fini(&blob);
    return false;
  }
  return add_rows(texts);
}

int main(int argc, char **argv) {
  fuzz_options options;
  seeds texts = {0};
  static job corpus_job, mutant_job;
  if (!fuzz_parse(argc, argv, &options)) {
    fprintf(stderr, "usage: asm_mutate [--seed N] [--first F] [--count M] "
                    "[--verbose] [FILE.s]...\n");
    return 2;
  }
  bool fine = make_corpus(&options, &texts) &&
              run_corpus(&corpus_job, &texts) &&
              run_job(&mutant_job, &options, &texts);
  seeds_fini(&texts);
  const counts *c = &mutant_job.counts;
  printf("mutants: %" PRIu64 " texts, %" PRIu64 " assembled, %" PRIu64
         " written\n",
         c->mutants, c->assembled, c->written);
  printf("seed %" PRIu64 ", mutants %" PRIu64 " to %" PRIu64 "\n", options.seed,
         options.first, options.first + c->mutants);
  uint64_t failed = c->failed + corpus_job.counts.failed;
  if (!fine && failed == 0) failed = 1;
  printf("%" PRIu64 " passed, %" PRIu64 " failed\n", c->mutants - c->failed,
         failed);
  return failed == 0 ? 0 : 1;
}

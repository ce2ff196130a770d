// SPDX-License-Identifier: Apache-2.0
//
// Opens a program file. Comes in: a path, or bytes that nobody vouches for.
// Goes out: a program whose header, section table, every section, padding and
// trailer were digested or found zero, whose tables were parsed and checked.
// The weights are used in place.

#include "core/program_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/// The file while its frame is checked.
typedef struct frame {
  ibx_span bytes;
  size_t section_count;
  size_t table_end;
  uint64_t weight_digest; ///< from the trailer
  size_t next;            ///< first byte that no section has covered yet
  bool has_trailer_digest;
} frame;

static uint64_t field(const frame *f, size_t at, size_t bytes) {
  return ibx_get_le(f->bytes.data + at, bytes);
}

static ibx_status check_header(frame *f, ibx_error *err) {
  if (f->bytes.size < IBX_HEADER_BYTES + IBX_TRAILER_BYTES ||
      memcmp(f->bytes.data, IBX_PROGRAM_MAGIC, IBX_PROGRAM_MAGIC_BYTES) != 0) {
    return IBX_FAIL(err, INVALID_PROGRAM, "this is no program file");
  }
  uint64_t major = field(f, 8, 2);
  if (major != IBX_FORMAT_MAJOR && major != IBX_FORMAT_MAJOR_STEPS) {
    return IBX_FAIL(err, INVALID_PROGRAM,
                    "program format %" PRIu64 ", this version reads %d and %d; "
                    "compile the model again",
                    major, IBX_FORMAT_MAJOR, IBX_FORMAT_MAJOR_STEPS);
  }
  if (field(f, 16, 8) != f->bytes.size) {
    return IBX_FAIL(err, INVALID_PROGRAM,
                    "program has %zu bytes, its header says %" PRIu64,
                    f->bytes.size, field(f, 16, 8));
  }
  return IBX_OK;
}

// Digests header and table with the digest's own field as zero.
static uint64_t digest_front(const frame *f) {
  uint8_t front[IBX_HEADER_BYTES + IBX_MAX_SECTIONS * IBX_SECTION_ROW_BYTES];
  memcpy(front, f->bytes.data, f->table_end);
  memset(front + IBX_HEADER_DIGEST_AT, 0, 8);
  return ibx_digest_bytes(front, f->table_end);
}

static bool is_zero(const frame *f, size_t start, size_t end) {
  for (size_t i = start; i < end; i++) {
    if (f->bytes.data[i] != 0) return false;
  }
  return true;
}

static ibx_status check_table(frame *f, ibx_error *err) {
  uint64_t count = field(f, 12, 4);
  if (count == 0 || count > IBX_MAX_SECTIONS) {
    return IBX_FAIL(err, INVALID_PROGRAM,
                    "program has %" PRIu64 " sections, the limit is %d", count,
                    IBX_MAX_SECTIONS);
  }
  f->section_count = (size_t)count;
  size_t table = f->section_count * IBX_SECTION_ROW_BYTES;
  table =
      (table + IBX_SECTION_ALIGN - 1) / IBX_SECTION_ALIGN * IBX_SECTION_ALIGN;
  f->table_end = IBX_HEADER_BYTES + table;
  if (f->bytes.size - IBX_TRAILER_BYTES < f->table_end) {
    return IBX_FAIL(err, INVALID_PROGRAM, "the section table is cut short");
  }
  if (digest_front(f) != field(f, IBX_HEADER_DIGEST_AT, 8)) {
    return IBX_FAIL(err, INVALID_PROGRAM,
                    "header or section table is damaged: wrong digest");
  }
  f->next = f->table_end;
  return IBX_OK;
}

static ibx_status check_trailer(frame *f, uint64_t *out_digest,
                                ibx_error *err) {
  size_t at = f->bytes.size - IBX_TRAILER_BYTES;
  f->weight_digest = field(f, at + 8, 8);
  *out_digest = field(f, at + 16, 8);
  uint64_t header_digest = field(f, IBX_HEADER_DIGEST_AT, 8);
  if (memcmp(f->bytes.data + at, IBX_TRAILER_MAGIC, 8) != 0 ||
      *out_digest != ibx_digest_file(header_digest, f->weight_digest) ||
      !is_zero(f, at + 24, f->bytes.size)) {
    return IBX_FAIL(err, INVALID_PROGRAM, "the trailer is damaged");
  }
  return IBX_OK;
}

static ibx_status check_place(frame *f, size_t row, uint64_t *out_size,
                              ibx_error *err) {
  uint64_t offset = field(f, row + 8, 8);
  uint64_t end;
  *out_size = field(f, row + 16, 8);
  if (!ibx_add_size(offset, *out_size, &end) ||
      end > f->bytes.size - IBX_TRAILER_BYTES || offset < f->next ||
      offset % IBX_SECTION_ALIGN != 0 || !is_zero(f, f->next, (size_t)offset)) {
    return IBX_FAIL(err, INVALID_PROGRAM,
                    "section %" PRIu64 " at %" PRIu64 " with %" PRIu64
                    " bytes is misplaced",
                    field(f, row, 4), offset, *out_size);
  }
  f->next = (size_t)end;
  return IBX_OK;
}

static ibx_status check_section(frame *f, size_t row, ibx_sections *out,
                                ibx_error *err) {
  uint64_t id = field(f, row, 4);
  uint64_t flags = field(f, row + 4, 4);
  uint64_t size;
  IBX_TRY(check_place(f, row, &size, err));
  bool in_trailer = (flags & IBX_SECTION_TRAILER_DIGEST) != 0;
  if (in_trailer && f->has_trailer_digest) {
    return IBX_FAIL(err, INVALID_PROGRAM,
                    "two sections have their digest in the trailer");
  }
  f->has_trailer_digest |= in_trailer;
  ibx_span span = {f->bytes.data + field(f, row + 8, 8), (size_t)size};
  uint64_t digest = in_trailer ? f->weight_digest : field(f, row + 24, 8);
  if (ibx_digest_bytes(span.data, span.size) != digest) {
    return IBX_FAIL(err, INVALID_PROGRAM,
                    "section %" PRIu64 " is damaged: wrong digest", id);
  }
  if (id == 0 || id >= IBX_SECTION_ID_COUNT) return IBX_OK;
  if ((flags & ~(uint64_t)IBX_SECTION_TRAILER_DIGEST) != 0) {
    return IBX_FAIL(err, INVALID_PROGRAM,
                    "section %" PRIu64 " has flags that this version does not "
                    "know",
                    id);
  }
  if (out->at[id].data) {
    return IBX_FAIL(err, INVALID_PROGRAM, "section %" PRIu64 " stands twice",
                    id);
  }
  out->at[id] = span;
  return IBX_OK;
}

static ibx_status check_frame(ibx_span bytes, ibx_sections *out,
                              uint64_t *out_digest, ibx_error *err) {
  frame f = {.bytes = bytes};
  IBX_TRY(check_header(&f, err));
  IBX_TRY(check_table(&f, err));
  IBX_TRY(check_trailer(&f, out_digest, err));
  for (size_t i = 0; i < f.section_count; i++) {
    size_t row = IBX_HEADER_BYTES + i * IBX_SECTION_ROW_BYTES;
    IBX_TRY(check_section(&f, row, out, err));
  }
  size_t end = bytes.size - IBX_TRAILER_BYTES;
  if (end - f.next >= IBX_SECTION_ALIGN || !is_zero(&f, f.next, end)) {
    return IBX_FAIL(err, INVALID_PROGRAM,
                    "bytes between the last section and the trailer");
  }
  return IBX_OK;
}

static ibx_status read_program(ibx_program *program, ibx_span bytes,
                               ibx_error *err) {
  ibx_sections sections = {0};
  IBX_TRY(check_frame(bytes, &sections, &program->digest, err));
  // To readers of format 1 these were sections without a meaning.
  if (ibx_get_le(bytes.data + 8, 2) == IBX_FORMAT_MAJOR) {
    sections.at[IBX_SECTION_STEPS] = (ibx_span){0};
    sections.at[IBX_SECTION_CONSTANTS] = (ibx_span){0};
  }
  program->bytes = bytes;
  IBX_TRY(ibx_program_parse(program, &sections, err));
  program->data.code_bytes = bytes.size - program->data.weights.size;
  return ibx_program_check(&program->data, err);
}

ibx_status ibx_program_open_memory(ibx_span bytes, ibx_program **out_program,
                                   ibx_error *err) {
  *out_program = NULL;
  if ((uintptr_t)bytes.data % IBX_SECTION_ALIGN != 0) {
    return IBX_FAIL(err, INVALID_ARGUMENT,
                    "a program in memory must be aligned to %d bytes",
                    IBX_SECTION_ALIGN);
  }
  ibx_program *program = calloc(1, sizeof *program);
  if (!program) {
    return IBX_FAIL(err, OUT_OF_MEMORY, "no memory for a program");
  }
  ibx_status status = read_program(program, bytes, err);
  if (status != IBX_OK) {
    ibx_program_close(program);
    return status;
  }
  *out_program = program;
  return IBX_OK;
}

static ibx_status map_file(const char *path, ibx_span *out, ibx_error *err) {
  int file = open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0) {
    return errno == ENOENT
               ? IBX_FAIL(err, NOT_FOUND, "%s: no such file", path)
               : IBX_FAIL(err, IO_ERROR, "%s: %s", path, strerror(errno));
  }
  struct stat facts;
  ibx_status status = IBX_OK;
  if (fstat(file, &facts) != 0 || !S_ISREG(facts.st_mode)) {
    status = IBX_FAIL(err, IO_ERROR, "%s: not a regular file", path);
  } else if (facts.st_size < IBX_HEADER_BYTES) {
    status =
        IBX_FAIL(err, INVALID_PROGRAM, "%s: this is no program file", path);
  } else {
    size_t size = (size_t)facts.st_size;
    void *bytes = mmap(NULL, size, PROT_READ, MAP_PRIVATE, file, 0);
    if (bytes == MAP_FAILED) {
      status = IBX_FAIL(err, IO_ERROR, "%s: %s", path, strerror(errno));
    } else {
      *out = (ibx_span){bytes, size};
    }
  }
  close(file);
  return status;
}

ibx_status ibx_program_open_file(const char *path, ibx_program **out_program,
                                 ibx_error *err) {
  *out_program = NULL;
  ibx_span bytes = {0};
  IBX_TRY(map_file(path, &bytes, err));
  ibx_status status = ibx_program_open_memory(bytes, out_program, err);
  if (status != IBX_OK) {
    munmap((void *)(uintptr_t)bytes.data, bytes.size);
    return status;
  }
  (*out_program)->mapping = (void *)(uintptr_t)bytes.data;
  (*out_program)->mapping_size = bytes.size;
  return IBX_OK;
}

void ibx_program_close(ibx_program *program) {
  if (!program) return;
  ibx_pool_fini(&program->pool);
  if (program->mapping) munmap(program->mapping, program->mapping_size);
  free(program);
}

const ibx_program_data *ibx_program_get(const ibx_program *program) {
  return &program->data;
}

const ibx_entry *ibx_program_find_entry(const ibx_program *program,
                                        const char *name) {
  const ibx_program_data *data = &program->data;
  for (size_t i = 0; i < data->entry_count; i++) {
    const ibx_entry *entry = &data->entries[i];
    if (name ? strcmp(entry->name, name) == 0 : !entry->is_segment) {
      return entry;
    }
  }
  return NULL;
}

bool ibx_program_section(const ibx_program *program, size_t index,
                         ibx_section_info *out) {
  static const char *const names[IBX_SECTION_ID_COUNT] = {
      "",      "target",  "strings", "nodes", "entries", "streams",
      "debug", "weights", "cores",   "ports", "steps",   "constants"};
  const uint8_t *bytes = program->bytes.data;
  if (index >= ibx_get_le(bytes + 12, 4)) return false;
  const uint8_t *row = bytes + IBX_HEADER_BYTES + index * IBX_SECTION_ROW_BYTES;
  const uint8_t *trailer = bytes + program->bytes.size - IBX_TRAILER_BYTES;
  bool in_trailer = (row[4] & IBX_SECTION_TRAILER_DIGEST) != 0;
  *out = (ibx_section_info){
      .name = "",
      .offset = ibx_get_le(row + 8, 8),
      .size = ibx_get_le(row + 16, 8),
      .digest = ibx_get_le(in_trailer ? trailer + 8 : row + 24, 8),
      .id = (uint32_t)ibx_get_le(row, 4)};
  if (out->id < IBX_SECTION_ID_COUNT) out->name = names[out->id];
  return true;
}

ibx_span ibx_program_bytes(const ibx_program *program) {
  return program->bytes;
}

uint64_t ibx_program_digest(const ibx_program *program) {
  return program->digest;
}

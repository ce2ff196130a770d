// SPDX-License-Identifier: Apache-2.0
//
// imbrex prove: the verifier on its own. Every entry is proved and reported;
// the exit code tells whether all of them passed.

#include "driver/driver.h"
#include "imbrex/prove.h"

#include <jansson.h>

#include <inttypes.h>

/// What became of one entry.
typedef struct verdict {
  const char *name;
  ibx_status status;
  ibx_proof proof;
  ibx_error err;
} verdict;

static void print_verdict(const verdict *v, const ibx_machine *machine) {
  if (v->status != IBX_OK) {
    printf("%s: not proved: %s\n", v->name, v->err.message);
    return;
  }
  printf("%s: proved: %" PRIu64 " instructions, %" PRIu64 " accesses, %" PRIu32
         " semaphores, %" PRIu64 " of %" PRIu32
         " bytes a partition of sbuf, %" PRIu32 " of %d banks of psum\n",
         v->name, v->proof.instructions, v->proof.accesses,
         v->proof.semaphores_used, v->proof.sbuf_peak_bytes,
         machine->sbuf_bytes, v->proof.psum_peak_banks, IBX_PSUM_BANKS);
}

static json_t *verdict_json(const verdict *v) {
  if (v->status != IBX_OK) {
    return json_pack("{s:s, s:b, s:s}", "name", v->name, "proved", 0, "finding",
                     v->err.message);
  }
  return json_pack("{s:s, s:b, s:I, s:I, s:I, s:I, s:I}", "name", v->name,
                   "proved", 1, "instructions",
                   (json_int_t)v->proof.instructions, "accesses",
                   (json_int_t)v->proof.accesses, "semaphores_used",
                   (json_int_t)v->proof.semaphores_used, "sbuf_peak_bytes",
                   (json_int_t)v->proof.sbuf_peak_bytes, "psum_peak_banks",
                   (json_int_t)v->proof.psum_peak_banks);
}

static int prove(const char *path, bool json) {
  ibx_program *program = NULL;
  ibx_error err = {0};
  if (ibx_program_open_file(path, &program, &err) != IBX_OK) {
    return ibx_driver_fail(&err);
  }
  const ibx_program_data *data = ibx_program_get(program);
  json_t *entries = json_array();
  int exit_code = 0;
  for (size_t i = 0; i < data->entry_count; i++) {
    verdict v = {.name = data->entries[i].name};
    v.status = ibx_prove_entry(data, &data->entries[i], &v.proof, &v.err);
    if (v.status != IBX_OK) exit_code = ibx_status_exit_code(v.status);
    if (json) {
      json_array_append_new(entries, verdict_json(&v));
    } else {
      print_verdict(&v, data->machine);
    }
  }
  if (json) {
    json_t *root = json_pack("{s:s, s:s, s:b, s:O}", "model", data->model,
                             "target", data->machine->name, "proved",
                             exit_code == 0, "entries", entries);
    int printed = ibx_driver_print_json(root);
    if (printed != 0) exit_code = printed;
  }
  json_decref(entries);
  ibx_program_close(program);
  return exit_code;
}

int ibx_cmd_prove(int argc, char **argv) {
  bool json = false;
  const ibx_option rows[] = {
      {"json", 0, IBX_OPTION_FLAG, &json, NULL, "prints JSON"},
  };
  ibx_options options = {.command = "prove",
                         .rows = rows,
                         .row_count = IBX_COUNT_OF(rows),
                         .min_operands = 1,
                         .max_operands = 1};
  int exit_code = 0;
  if (!ibx_options_parse(&options, argc, argv, &exit_code)) return exit_code;
  exit_code = prove(options.operands.items[0], json);
  ibx_options_fini(&options);
  return exit_code;
}

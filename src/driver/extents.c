// SPDX-License-Identifier: Apache-2.0
//
// --extent NAME=V as the simulator takes it. In: the texts of the command line.
// Out: names and values; whether a program has them is the simulator's to say.

#include "driver/extents.h"
#include "driver/driver.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

// The last '=' divides, as a name may have one.
static bool read_value(const char *text, size_t *name_len, uint32_t *value) {
  const char *equal = strrchr(text, '=');
  if (!equal || equal == text || equal[1] < '0' || equal[1] > '9') return false;
  char *end = NULL;
  errno = 0;
  unsigned long long number = strtoull(equal + 1, &end, 0);
  if (errno != 0 || *end != 0 || number > UINT32_MAX) return false;
  *name_len = (size_t)(equal - text);
  *value = (uint32_t)number;
  return true;
}

static int no_memory(void) {
  ibx_error err = {0};
  return ibx_status_exit_code(
      IBX_FAIL(&err, OUT_OF_MEMORY, "no memory for extents"));
}

int ibx_extent_list_read(const char *command, const ibx_option_list *given,
                         ibx_extent_list *out) {
  *out = (ibx_extent_list){0};
  if (given->count == 0) return 0;
  out->items = calloc(given->count, sizeof(*out->items));
  if (!out->items) return no_memory();
  for (size_t i = 0; i < given->count; i++) {
    size_t len;
    uint32_t value;
    if (!read_value(given->items[i], &len, &value)) {
      return ibx_options_wrong(command, "--extent: '%s' is no NAME=V",
                               given->items[i]);
    }
    char *name = calloc(len + 1, 1);
    if (!name) return no_memory();
    memcpy(name, given->items[i], len);
    out->items[out->count++] = (ibx_sim_extent){.name = name, .value = value};
  }
  return 0;
}

void ibx_extent_list_fini(ibx_extent_list *list) {
  for (size_t i = 0; i < list->count; i++) {
    free((char *)list->items[i].name);
  }
  free(list->items);
  *list = (ibx_extent_list){0};
}

ibx_status ibx_extent_list_prove(const ibx_extent_list *list,
                                 const ibx_program_data *program,
                                 const ibx_entry *entry, ibx_proof *out_proof,
                                 ibx_error *err) {
  ibx_entry *fixed = NULL;
  IBX_TRY(ibx_sim_fix_extents(entry, list->items, list->count, &fixed, err));
  ibx_status status =
      ibx_prove_entry(program, fixed ? fixed : entry, out_proof, err);
  ibx_sim_free_fixed(fixed);
  return status;
}

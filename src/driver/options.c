// SPDX-License-Identifier: Apache-2.0
//
// Option parser. In: a table of rows and argv. Out: the rows' values, and the
// operands in order. Holds afterwards: every value is of its row's kind, the
// number of operands lies in the declared range, and whatever was wrong has
// been said on standard error.

#include "driver/options.h"

#include "driver/driver.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct reader {
  ibx_options *options;
  char **argv;
  int argc;
  int next; ///< first argument that is not read yet
} reader;

int ibx_options_wrong(const char *command, const char *format, ...) {
  va_list args;
  va_start(args, format);
  fprintf(stderr, "imbrex %s: ", command);
  vfprintf(stderr, format, args);
  fprintf(stderr, "; see imbrex %s --help\n", command);
  va_end(args);
  return 2;
}

static bool list_add(ibx_option_list *list, const char *item) {
  // Grows by doubling: a full list has a power of two.
  if ((list->count & (list->count - 1)) == 0) {
    size_t room = list->count == 0 ? 1 : 2 * list->count;
    const char **items = realloc(list->items, room * sizeof(*items));
    if (items == NULL) return false;
    list->items = items;
  }
  list->items[list->count++] = item;
  return true;
}

static void list_fini(ibx_option_list *list) {
  free(list->items);
  *list = (ibx_option_list){0};
}

void ibx_options_fini(ibx_options *options) {
  for (size_t i = 0; i < options->row_count; i++) {
    if (options->rows[i].kind == IBX_OPTION_LIST)
      list_fini(options->rows[i].out);
  }
  list_fini(&options->operands);
}

// Text of one row up to the sentence: "  -o, --output FILE".
static int row_label(const ibx_option *row, char *out, size_t size) {
  const char *value = row->placeholder == NULL ? "" : row->placeholder;
  const char *gap = row->placeholder == NULL ? "" : " ";
  if (row->name == NULL) {
    return snprintf(out, size, "  -%c%s", row->letter, value);
  }
  if (row->letter == 0) {
    return snprintf(out, size, "      --%s%s%s", row->name, gap, value);
  }
  return snprintf(out, size, "  -%c, --%s%s%s", row->letter, row->name, gap,
                  value);
}

static void print_help(const ibx_options *options) {
  const ibx_command *command = ibx_command_find(options->command);
  if (command == NULL) return;
  printf("usage: imbrex %s", command->name);
  if (command->operands[0] != 0) printf(" %s", command->operands);
  if (options->row_count != 0) printf(" [options]");
  printf("\n%s\n\n", command->job);
  for (size_t i = 0; i < options->row_count; i++) {
    char label[96];
    row_label(&options->rows[i], label, sizeof(label));
    printf("%-36s  %s\n", label, options->rows[i].sentence);
  }
  printf("%-36s  %s\n", "      --help", "prints this");
  printf("\nexample: %s\n", command->example);
}

static const ibx_option *find_long(const ibx_options *options, const char *name,
                                   size_t len) {
  for (size_t i = 0; i < options->row_count; i++) {
    const char *candidate = options->rows[i].name;
    if (candidate == NULL || strlen(candidate) != len) continue;
    if (memcmp(candidate, name, len) == 0) return &options->rows[i];
  }
  return NULL;
}

static const ibx_option *find_short(const ibx_options *options, char letter) {
  for (size_t i = 0; i < options->row_count; i++) {
    if (options->rows[i].letter == letter) return &options->rows[i];
  }
  return NULL;
}

static bool set_uint(const char *value, uint64_t *out) {
  if (value[0] == 0) return false;
  uint64_t number = 0;
  for (const char *c = value; *c != 0; c++) {
    uint64_t digit = (uint64_t)(*c - '0');
    if (*c < '0' || *c > '9') return false;
    if (number > (UINT64_MAX - digit) / 10) return false;
    number = number * 10 + digit;
  }
  *out = number;
  return true;
}

static bool set_number(const char *value, double *out) {
  char *end = NULL;
  double number = strtod(value, &end);
  if (end == value || *end != 0 || !isfinite(number)) return false;
  *out = number;
  return true;
}

static bool set_choice(const char *value, const char *choices, int *out) {
  size_t len = strlen(value);
  int index = 0;
  for (const char *at = choices;; index++) {
    size_t piece = strcspn(at, "|");
    if (piece == len && memcmp(at, value, len) == 0) {
      *out = index;
      return true;
    }
    if (at[piece] == 0) return false;
    at += piece + 1;
  }
}

static bool set_value(const ibx_option *row, const char *value) {
  switch (row->kind) {
  case IBX_OPTION_FLAG: *(bool *)row->out = true; return true;
  case IBX_OPTION_TEXT: *(const char **)row->out = value; return true;
  case IBX_OPTION_LIST: return list_add(row->out, value);
  case IBX_OPTION_UINT: return set_uint(value, row->out);
  case IBX_OPTION_NUMBER: return set_number(value, row->out);
  case IBX_OPTION_CHOICE: return set_choice(value, row->placeholder, row->out);
  }
  return false;
}

// Stores the value of an option spelled `argument`; `value` is what was
// attached to it, or NULL.
static bool take_value(reader *in, const ibx_option *row, const char *argument,
                       const char *value) {
  const char *command = in->options->command;
  if (row->kind == IBX_OPTION_FLAG) {
    if (value != NULL) {
      ibx_options_wrong(command, "%s: the option takes no value", argument);
      return false;
    }
    return set_value(row, NULL);
  }
  if (value == NULL) {
    if (in->next == in->argc) {
      ibx_options_wrong(command, "%s: the value %s is missing", argument,
                        row->placeholder);
      return false;
    }
    value = in->argv[in->next++];
  }
  if (set_value(row, value)) return true;
  ibx_options_wrong(command, "%s: '%s' is no value for %s", argument, value,
                    row->placeholder);
  return false;
}

static bool take_option(reader *in, const char *argument) {
  const ibx_option *row = NULL;
  const char *value = NULL;
  if (argument[1] == '-') {
    size_t len = strcspn(argument + 2, "=");
    row = find_long(in->options, argument + 2, len);
    if (argument[2 + len] == '=') value = argument + 2 + len + 1;
  } else {
    row = find_short(in->options, argument[1]);
    if (argument[2] != 0) value = argument + 2;
  }
  if (row == NULL) {
    ibx_options_wrong(in->options->command, "unknown option %s", argument);
    return false;
  }
  return take_value(in, row, argument, value);
}

static bool take_operand(reader *in, const char *argument) {
  ibx_options *options = in->options;
  if (options->operands.count == options->max_operands) {
    ibx_options_wrong(options->command, "'%s' is one operand too many",
                      argument);
    return false;
  }
  return list_add(&options->operands, argument);
}

static bool take_all(reader *in) {
  bool only_operands = false;
  while (in->next < in->argc) {
    const char *argument = in->argv[in->next++];
    bool is_option = argument[0] == '-' && argument[1] != 0 && !only_operands;
    if (is_option && strcmp(argument, "--") == 0) {
      only_operands = true;
    } else if (is_option ? !take_option(in, argument)
                         : !take_operand(in, argument)) {
      return false;
    }
  }
  return true;
}

static bool has_enough_operands(const ibx_options *options) {
  if (options->operands.count >= options->min_operands) return true;
  const ibx_command *command = ibx_command_find(options->command);
  ibx_options_wrong(options->command, "missing operand: expected %s",
                    command == NULL ? "more" : command->operands);
  return false;
}

static bool asks_for_help(int argc, char **argv) {
  for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
    if (strcmp(argv[i], "--help") == 0) return true;
  }
  return false;
}

bool ibx_options_parse(ibx_options *options, int argc, char **argv,
                       int *out_exit) {
  if (asks_for_help(argc, argv)) {
    print_help(options);
    *out_exit = 0;
    return false;
  }
  reader in = {.options = options, .argv = argv, .argc = argc, .next = 1};
  if (take_all(&in) && has_enough_operands(options)) return true;
  ibx_options_fini(options);
  *out_exit = 2;
  return false;
}

int ibx_options_run_on_file(const char *command, const ibx_option *rows,
                            size_t row_count, int argc, char **argv,
                            int (*run)(void *args, const char *path),
                            void *args) {
  ibx_options options = {.command = command,
                         .rows = rows,
                         .row_count = row_count,
                         .min_operands = 1,
                         .max_operands = 1};
  int exit_code = 0;
  if (!ibx_options_parse(&options, argc, argv, &exit_code)) return exit_code;
  exit_code = run(args, options.operands.items[0]);
  ibx_options_fini(&options);
  return exit_code;
}

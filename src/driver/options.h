// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_OPTIONS_H
#define IBX_OPTIONS_H

/// \file
/// A declarative parser for a command's options: a table of rows, each with the
/// place for its value. Options may stand anywhere, as `--name=value`,
/// `--name value`, `-o value` or `-O2`; `--` ends them; `-` is an operand.

#include "imbrex/base.h"

typedef enum ibx_option_kind {
  IBX_OPTION_FLAG,   ///< bool: true when given
  IBX_OPTION_TEXT,   ///< const char *: the last one given
  IBX_OPTION_LIST,   ///< ibx_option_list: all that were given, in order
  IBX_OPTION_UINT,   ///< uint64_t, decimal
  IBX_OPTION_NUMBER, ///< double, finite
  IBX_OPTION_CHOICE  ///< int: position in the placeholder's "a|b|c"
} ibx_option_kind;

/// Zero at first; filled by ibx_options_parse(), freed by ibx_options_fini().
typedef struct ibx_option_list {
  const char **items; ///< borrowed from argv
  size_t count;
} ibx_option_list;

typedef struct ibx_option {
  const char *name; ///< long name without dashes, or NULL
  char letter;      ///< short name, or 0
  ibx_option_kind kind;
  void *out;               ///< the value's place, which holds the default
  const char *placeholder; ///< "FILE", "none|matmul|all"; NULL for a flag
  const char *sentence;    ///< one line of help
} ibx_option;

/// A command line being parsed. The caller fills the first group.
typedef struct ibx_options {
  const char *command; ///< a name in commands.def
  const ibx_option *rows;
  size_t row_count;
  size_t min_operands, max_operands;

  ibx_option_list operands; ///< what is no option
} ibx_options;

/// Parses `argv[1..]`. Returns true when the command is to go on. Returns false
/// with `*out_exit` 0 after printing the help that was asked for, or 2 after
/// printing what is wrong; nothing is left to free then.
IBX_NODISCARD bool ibx_options_parse(ibx_options *options, int argc,
                                     char **argv, int *out_exit);

/// Frees the lists.
void ibx_options_fini(ibx_options *options);

/// A command that takes options and one file: parses, and calls `run` with
/// `args`, where the rows have put what they read, and the file's name. Returns
/// the exit code.
int ibx_options_run_on_file(const char *command, const ibx_option *rows,
                            size_t row_count, int argc, char **argv,
                            int (*run)(void *args, const char *path),
                            void *args);

/// Prints "imbrex COMMAND: message" and how to get help to standard error.
/// Returns 2, the exit code of wrong usage.
int ibx_options_wrong(const char *command, const char *format, ...)
    IBX_PRINTF(2, 3);

#endif

// SPDX-License-Identifier: Apache-2.0
//
// imbrex ops: prints the table of operators as text, JSON, or the Markdown that
// is docs/onnx.md.

#include "driver/driver.h"
#include "frontend/onnx_ops.h"

#include <jansson.h>
#include <string.h>

// Rows of one operator are neighbours: `first` up to `end`.
typedef struct op_rows {
  size_t first, end;
} op_rows;

static bool next_op(op_rows *rows) {
  const ibx_onnx_op *first = ibx_onnx_op_get(rows->end);
  rows->first = rows->end;
  if (!first) return false;
  const ibx_onnx_op *row = first;
  while (row && row->about == first->about) {
    row = ibx_onnx_op_get(++rows->end);
  }
  return true;
}

static void print_versions(op_rows rows, const char *gap) {
  for (size_t i = rows.first; i < rows.end; i++) {
    printf("%s%d", i == rows.first ? "" : gap, ibx_onnx_op_get(i)->since);
  }
}

enum { TYPES_CHARS = 120 };

// The types that the first input may have, and texts where the host helps.
static const char *types_of(const ibx_onnx_op *op, char text[TYPES_CHARS]) {
  bool has_texts = ibx_onnx_text_use(op) != IBX_TEXT_REFUSED;
  bool has_only = strcmp(op->type_names, "texts") == 0;
  snprintf(text, TYPES_CHARS, "%s%s", op->type_names,
           has_texts && !has_only ? ", texts" : "");
  return text;
}

static void print_text(void) {
  op_rows rows = {0};
  char types[TYPES_CHARS];
  while (next_op(&rows)) {
    const ibx_onnx_op *op = ibx_onnx_op_get(rows.first);
    const ibx_onnx_about *about = op->about;
    printf("%s%s%s  ", about->domain, about->domain[0] != 0 ? "." : "",
           about->name);
    if (!op->import) {
      printf("refused: %s\n    %s\n", about->limits, about->sentence);
      continue;
    }
    printf("opsets ");
    print_versions(rows, ", ");
    printf("; %s\n    %s\n", types_of(op, types), about->sentence);
    if (about->limits[0] != 0) printf("    refused: %s\n", about->limits);
  }
}

// --- Markdown ----------------------------------------------------------------

// A bar would end the cell.
static void print_cell(const char *text) {
  for (const char *c = text; *c != 0; c++) {
    if (*c == '|') putchar('\\');
    putchar(*c);
  }
}

static void print_imported(const char *domain) {
  op_rows rows = {0};
  char types[TYPES_CHARS];
  printf("| operator | since | computes | types of the first input | refused "
         "|\n|---|---|---|---|---|\n");
  while (next_op(&rows)) {
    const ibx_onnx_op *op = ibx_onnx_op_get(rows.first);
    if (!op->import || strcmp(op->about->domain, domain) != 0) continue;
    printf("| %s | ", op->about->name);
    print_versions(rows, " ");
    printf(" | ");
    print_cell(op->about->sentence);
    printf(" | %s | ", types_of(op, types));
    print_cell(op->about->limits);
    printf(" |\n");
  }
}

static void print_refused(void) {
  op_rows rows = {0};
  printf("| operator | computes | what to do instead |\n|---|---|---|\n");
  while (next_op(&rows)) {
    const ibx_onnx_op *op = ibx_onnx_op_get(rows.first);
    if (op->import) continue;
    const char *domain = op->about->domain;
    printf("| %s%s%s | ", domain, domain[0] != 0 ? "." : "", op->about->name);
    print_cell(op->about->sentence);
    printf(" | %s |\n", op->about->limits);
  }
}

static void print_md(void) {
  printf("# ONNX operators\n\n"
         "Made by `imbrex ops --format md` from `src/frontend/onnx_ops.def`; a "
         "test compares them.\n\n"
         "Opsets %d to %d of ai.onnx are read. `since` lists the opsets in "
         "which the operator got a form of its own.\n\n"
         "## ai.onnx\n\n",
         IBX_OPSET_OLDEST, IBX_OPSET_NEWEST);
  print_imported("");
  static const char *const others[] = {"com.microsoft", "ai.onnx.ml",
                                       "ai.onnx.preview",
                                       "ai.onnx.preview.training"};
  for (size_t i = 0; i < IBX_COUNT_OF(others); i++) {
    printf("\n## %s\n\n", others[i]);
    print_imported(others[i]);
  }
  printf("\n## Known and refused\n\n");
  print_refused();
}

// --- JSON --------------------------------------------------------------------

static json_t *dtypes_json(uint32_t types) {
  json_t *names = json_array();
  for (int i = 1; i < IBX_DTYPE_COUNT; i++) {
    if ((types >> i & 1) == 0) continue;
    const char *name = ibx_dtype_get((ibx_dtype)i)->name;
    json_array_append_new(names, json_string(name));
  }
  return names;
}

static json_t *op_json(op_rows rows) {
  const ibx_onnx_op *op = ibx_onnx_op_get(rows.first);
  json_t *versions = json_array(), *dtypes = json_array();
  char types[TYPES_CHARS];
  for (size_t i = rows.first; i < rows.end; i++) {
    const ibx_onnx_op *form = ibx_onnx_op_get(i);
    json_array_append_new(versions, json_integer(form->since));
    json_array_append_new(dtypes, dtypes_json(form->types));
  }
  return json_pack("{s:s, s:s, s:b, s:o, s:o, s:s, s:s, s:s}", "domain",
                   ibx_onnx_domain_name(op->about->domain), "name",
                   op->about->name, "imported", op->import != NULL, "since",
                   versions, "dtypes", dtypes, "types", types_of(op, types),
                   "computes", op->about->sentence, "refused",
                   op->about->limits);
}

static int print_json(void) {
  json_t *ops = json_array();
  op_rows rows = {0};
  while (next_op(&rows))
    json_array_append_new(ops, op_json(rows));
  return ibx_driver_print_json(json_pack("{s:o}", "operators", ops));
}

int ibx_cmd_ops(int argc, char **argv) {
  enum { TEXT, MD, JSON };
  bool json = false;
  int format = TEXT;
  const ibx_option rows[] = {
      {"format", 0, IBX_OPTION_CHOICE, &format, "text|md|json",
       "how to print the table (text)"},
      {"json", 0, IBX_OPTION_FLAG, &json, NULL, "the same as --format json"},
  };
  ibx_options options = {
      .command = "ops", .rows = rows, .row_count = IBX_COUNT_OF(rows)};
  int exit_code = 0;
  if (!ibx_options_parse(&options, argc, argv, &exit_code)) return exit_code;
  if (json || format == JSON) {
    exit_code = print_json();
  } else if (format == MD) {
    print_md();
  } else {
    print_text();
  }
  ibx_options_fini(&options);
  return exit_code;
}

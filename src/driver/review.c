// SPDX-License-Identifier: Apache-2.0
//
// Collects diagnostics and prints them. In: what the compiler reports. Out:
// text for people or the JSON of the interface; review_sarif.c and
// review_junit.c print the rest. The texts are printable UTF-8 already.

#include "driver/review.h"

#include "driver/driver.h"
#include "driver/json_text.h"

#include <jansson.h>

#include <stdlib.h>
#include <string.h>

const char *ibx_review_severity(ibx_severity severity) {
  static const char *const names[] = {"error", "warning", "note"};
  return names[severity];
}

// A text that there is no memory for is "", which is nobody's to free.
static const char *copy_text(ibx_review *review, const char *text) {
  const char *copy = text[0] != 0 ? strdup(text) : "";
  if (copy) return copy;
  review->is_short = true;
  return "";
}

void ibx_review_add(ibx_review *review, const ibx_diagnostic *d) {
  size_t size = (review->count + 1) * sizeof(*review->items);
  ibx_diagnostic *items = realloc(review->items, size);
  if (!items) {
    review->is_short = true;
    return;
  }
  review->items = items;
  items[review->count++] =
      (ibx_diagnostic){.severity = d->severity,
                       .code = copy_text(review, d->code),
                       .node = copy_text(review, d->node),
                       .op = copy_text(review, d->op),
                       .domain = copy_text(review, d->domain),
                       .version = d->version,
                       .attribute = copy_text(review, d->attribute),
                       .message = copy_text(review, d->message),
                       .remedy = copy_text(review, d->remedy)};
  if (d->severity == IBX_SEVERITY_ERROR) review->error_count++;
  if (d->severity == IBX_SEVERITY_WARNING) review->warning_count++;
  if (d->severity == IBX_SEVERITY_NOTE) review->note_count++;
}

void ibx_review_collect(void *review, const ibx_diagnostic *diagnostic) {
  ibx_review_add(review, diagnostic);
}

// The texts are copies, although a diagnostic's are const.
static void free_text(const char *text) {
  if (text[0] == 0) return;
  union {
    const char *from;
    void *to;
  } pointer = {.from = text};
  free(pointer.to);
}

void ibx_review_fini(ibx_review *review) {
  for (size_t i = 0; i < review->count; i++) {
    const ibx_diagnostic *d = &review->items[i];
    free_text(d->code);
    free_text(d->node);
    free_text(d->op);
    free_text(d->domain);
    free_text(d->attribute);
    free_text(d->message);
    free_text(d->remedy);
  }
  free(review->items);
  *review = (ibx_review){.model = review->model};
}

int ibx_review_end(const ibx_review *review) {
  if (!review->is_short) return 0;
  fprintf(stderr, "imbrex: memory is short: findings are missing\n");
  return ibx_status_exit_code(IBX_OUT_OF_MEMORY);
}

// --- text --------------------------------------------------------------------

static void print_finding(const ibx_diagnostic *d) {
  printf("%s[%s]: ", ibx_review_severity(d->severity), d->code);
  if (d->node[0] != 0 && d->op[0] != 0) {
    printf("%s (%s): ", d->node, d->op);
  } else if (d->node[0] != 0) {
    printf("%s: ", d->node);
  }
  printf("%s\n", d->message);
  if (d->remedy[0] != 0) printf("  remedy: %s\n", d->remedy);
}

static void print_count(size_t count, const char *what) {
  printf("%zu %s%s", count, what, count == 1 ? "" : "s");
}

int ibx_review_print_text(const ibx_review *review) {
  for (size_t i = 0; i < review->count; i++) {
    print_finding(&review->items[i]);
  }
  printf("%s: ", review->model);
  print_count(review->error_count, "error");
  printf(", ");
  print_count(review->warning_count, "warning");
  if (review->note_count > 0) {
    printf(", ");
    print_count(review->note_count, "note");
  }
  if (review->bound_us > 0) {
    printf("; no program can be faster than %.3f us", review->bound_us);
  }
  if (review->host_segments > 0) {
    printf("; the device is left for the host %llu time%s",
           (unsigned long long)review->host_segments,
           review->host_segments == 1 ? "" : "s");
  }
  putchar('\n');
  return ibx_review_end(review);
}

// --- JSON --------------------------------------------------------------------

json_t *ibx_diagnostic_json(const ibx_diagnostic *d) {
  return json_pack("{s:s, s:s, s:s, s:s, s:s, s:I, s:s, s:s, s:s}", "severity",
                   ibx_review_severity(d->severity), "code", d->code, "node",
                   d->node, "op", d->op, "domain", d->domain, "version",
                   (json_int_t)d->version, "attribute", d->attribute, "message",
                   d->message, "remedy", d->remedy);
}

// A path may hold any bytes.
static json_t *path_json(const char *path) {
  char *copy = strdup(path);
  for (char *at = copy; at && *at != 0;) {
    size_t length = ibx_utf8_length((const uint8_t *)at);
    if (length == 0) *at = '?';
    at += length == 0 ? 1 : length;
  }
  json_t *text = json_string(copy ? copy : "");
  free(copy);
  return text;
}

int ibx_review_print_json(const ibx_review *review) {
  json_t *list = json_array();
  for (size_t i = 0; i < review->count; i++)
    json_array_append_new(list, ibx_diagnostic_json(&review->items[i]));
  json_t *root =
      json_pack("{s:o, s:f, s:I, s:o}", "model", path_json(review->model),
                "bound_us", review->bound_us, "host_segments",
                (json_int_t)review->host_segments, "diagnostics", list);
  int printed = ibx_driver_print_json(root);
  return printed != 0 ? printed : ibx_review_end(review);
}

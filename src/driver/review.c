// SPDX-License-Identifier: Apache-2.0
//
// Collects diagnostics and prints them. In: what the compiler reports. Out:
// text for people, the JSON of the interface, SARIF 2.1.0, or JUnit XML. The
// texts are printable UTF-8 already.

#include "driver/review.h"

#include "driver/driver.h"

#include <jansson.h>

#include <stdlib.h>
#include <string.h>

static const char *const severities[] = {"error", "warning", "note"};

static char *copy_text(ibx_review *review, const char *text) {
  char *copy = strdup(text);
  if (!copy) review->is_short = true;
  return copy;
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
}

void ibx_review_collect(void *review, const ibx_diagnostic *diagnostic) {
  ibx_review_add(review, diagnostic);
}

// The texts are copies, although a diagnostic's are const.
static void free_text(const char *text) {
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

static int report_short(const ibx_review *review) {
  if (!review->is_short) return 0;
  fprintf(stderr, "imbrex: memory is short: findings are missing\n");
  return ibx_status_exit_code(IBX_OUT_OF_MEMORY);
}

static const char *or_empty(const char *text) { return text ? text : ""; }

// --- text --------------------------------------------------------------------

static void print_finding(const ibx_diagnostic *d) {
  printf("%s[%s]: ", severities[d->severity], or_empty(d->code));
  if (or_empty(d->node)[0] != 0 && or_empty(d->op)[0] != 0) {
    printf("%s (%s): ", d->node, d->op);
  } else if (or_empty(d->node)[0] != 0) {
    printf("%s: ", d->node);
  }
  printf("%s\n", or_empty(d->message));
  if (or_empty(d->remedy)[0] != 0) printf("  remedy: %s\n", d->remedy);
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
  if (review->bound_us > 0) {
    printf("; no program can be faster than %.3f us", review->bound_us);
  }
  if (review->host_segments > 0) {
    printf("; the device is left for the host %llu time%s",
           (unsigned long long)review->host_segments,
           review->host_segments == 1 ? "" : "s");
  }
  putchar('\n');
  return report_short(review);
}

// --- JSON --------------------------------------------------------------------

int ibx_review_print_json(const ibx_review *review) {
  json_t *list = json_array();
  for (size_t i = 0; i < review->count; i++) {
    const ibx_diagnostic *d = &review->items[i];
    json_array_append_new(
        list,
        json_pack("{s:s, s:s, s:s, s:s, s:s, s:I, s:s, s:s, s:s}", "severity",
                  severities[d->severity], "code", or_empty(d->code), "node",
                  or_empty(d->node), "op", or_empty(d->op), "domain",
                  or_empty(d->domain), "version", (json_int_t)d->version,
                  "attribute", or_empty(d->attribute), "message",
                  or_empty(d->message), "remedy", or_empty(d->remedy)));
  }
  json_t *root =
      json_pack("{s:s, s:f, s:I, s:o}", "model", review->model, "bound_us",
                review->bound_us, "host_segments",
                (json_int_t)review->host_segments, "diagnostics", list);
  int printed = ibx_driver_print_json(root);
  return printed != 0 ? printed : report_short(review);
}

// --- SARIF -------------------------------------------------------------------

static json_t *sarif_result(const ibx_review *review, const ibx_diagnostic *d) {
  char text[1400];
  snprintf(text, sizeof(text), "%s%s%s%s%s", or_empty(d->node),
           or_empty(d->node)[0] != 0 ? ": " : "", or_empty(d->message),
           or_empty(d->remedy)[0] != 0 ? "; " : "", or_empty(d->remedy));
  return json_pack("{s:s, s:s, s:{s:s}, s:[{s:{s:{s:s}}, s:[{s:s}]}]}",
                   "ruleId", or_empty(d->code), "level",
                   severities[d->severity], "message", "text", text,
                   "locations", "physicalLocation", "artifactLocation", "uri",
                   review->model, "logicalLocations", "fullyQualifiedName",
                   or_empty(d->node));
}

int ibx_review_print_sarif(const ibx_review *review) {
  json_t *results = json_array();
  for (size_t i = 0; i < review->count; i++) {
    json_array_append_new(results, sarif_result(review, &review->items[i]));
  }
  json_t *root = json_pack(
      "{s:s, s:s, s:[{s:{s:{s:s, s:s}}, s:o}]}", "version", "2.1.0", "$schema",
      "https://json.schemastore.org/sarif-2.1.0.json", "runs", "tool", "driver",
      "name", "imbrex", "version", IBX_VERSION, "results", results);
  int printed = ibx_driver_print_json(root);
  return printed != 0 ? printed : report_short(review);
}

// --- JUnit -------------------------------------------------------------------

static void print_xml(const char *text) {
  for (const char *c = or_empty(text); *c != 0; c++) {
    switch (*c) {
    case '<': fputs("&lt;", stdout); break;
    case '>': fputs("&gt;", stdout); break;
    case '&': fputs("&amp;", stdout); break;
    case '"': fputs("&quot;", stdout); break;
    default: putchar(*c); break;
    }
  }
}

// A finding is a test case; an error is one that fails.
static void print_case(const ibx_diagnostic *d) {
  printf("    <testcase classname=\"");
  print_xml(d->op);
  printf("\" name=\"");
  print_xml(d->node);
  printf(" ");
  print_xml(d->code);
  printf("\">\n");
  if (d->severity == IBX_SEVERITY_ERROR) {
    printf("      <failure message=\"");
    print_xml(d->message);
    printf("\">");
    print_xml(d->remedy);
    printf("</failure>\n");
  } else {
    printf("      <system-out>");
    print_xml(d->message);
    printf("</system-out>\n");
  }
  printf("    </testcase>\n");
}

int ibx_review_print_junit(const ibx_review *review) {
  printf("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n");
  printf("  <testsuite name=\"");
  print_xml(review->model);
  printf("\" tests=\"%zu\" failures=\"%zu\">\n",
         review->count == 0 ? 1 : review->count, review->error_count);
  if (review->count == 0) {
    printf("    <testcase classname=\"imbrex\" name=\"check\"/>\n");
  }
  for (size_t i = 0; i < review->count; i++)
    print_case(&review->items[i]);
  printf("  </testsuite>\n</testsuites>\n");
  return report_short(review);
}

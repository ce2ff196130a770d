// SPDX-License-Identifier: Apache-2.0
//
// Findings as JUnit XML, for build servers. In: a review. Out: one suite, in
// which each finding is a test case: an error is one that fails, the others pass
// and have a text. A model without findings is one case that passes.

#include "driver/review.h"
#include "driver/xml_text.h"

#include <stdio.h>

static void print_attribute(const char *name, const char *text) {
  printf(" %s=\"", name);
  ibx_xml_text_write(stdout, text);
  putchar('"');
}

// A name once: its code and what it is about tell findings of a node apart.
static void print_name(const ibx_diagnostic *d) {
  printf(" name=\"");
  ibx_xml_text_write(stdout, d->node && d->node[0] ? d->node : "the model");
  putchar(' ');
  ibx_xml_text_write(stdout, d->code);
  if (d->attribute && d->attribute[0]) {
    putchar(' ');
    ibx_xml_text_write(stdout, d->attribute);
  }
  putchar('"');
}

static void print_element(const char *tag, const ibx_diagnostic *d) {
  printf("      <%s>", tag);
  ibx_xml_text_write(stdout, d->message);
  if (d->remedy && d->remedy[0]) {
    printf("; remedy: ");
    ibx_xml_text_write(stdout, d->remedy);
  }
  printf("</%s>\n", tag);
}

static void print_failure(const ibx_diagnostic *d) {
  printf("      <failure");
  print_attribute("type", d->code);
  print_attribute("message", d->message);
  putchar('>');
  ibx_xml_text_write(stdout, d->remedy);
  printf("</failure>\n");
}

static void print_case(const ibx_diagnostic *d) {
  printf("    <testcase");
  print_attribute("classname", d->op && d->op[0] ? d->op : "model");
  print_name(d);
  printf(" time=\"0\">\n");
  if (d->severity == IBX_SEVERITY_ERROR) {
    print_failure(d);
  } else {
    print_element("system-out", d);
  }
  printf("    </testcase>\n");
}

static void print_counts(const ibx_review *review) {
  printf(" tests=\"%zu\" failures=\"%zu\" errors=\"0\" time=\"0\"",
         review->count == 0 ? 1 : review->count, review->error_count);
}

int ibx_review_print_junit(const ibx_review *review) {
  printf("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites");
  print_counts(review);
  printf(">\n  <testsuite");
  print_attribute("name", review->model);
  print_counts(review);
  printf(" skipped=\"0\">\n");
  if (review->count == 0) {
    printf("    <testcase classname=\"model\" name=\"check\" time=\"0\"/>\n");
  }
  for (size_t i = 0; i < review->count; i++)
    print_case(&review->items[i]);
  printf("  </testsuite>\n</testsuites>\n");
  return ibx_review_end(review);
}

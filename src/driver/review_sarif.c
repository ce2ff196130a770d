// SPDX-License-Identifier: Apache-2.0
//
// Findings as SARIF 2.1.0, for code hosts. In: a review. Out: one run, whose
// rules are the catalogue of diagnostics and whose results lie in the model's
// file (3.29, physicalLocation) at a node (3.33, logicalLocation). Numbers are
// clauses of the standard.

#include "driver/driver.h"
#include "driver/review.h"
#include "support/diag.h"

#include <jansson.h>

#include <stdlib.h>
#include <string.h>

static const char SCHEMA[] =
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/"
    "sarif-schema-2.1.0.json";

// The levels (3.27.10) have the names of the severities.
static const char *level_of(ibx_severity severity) {
  return ibx_review_severity(severity);
}

// --- the model's file as a URI (3.4.3) ------------------------------------------

static bool is_plain(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
         (c >= '0' && c <= '9') || (c != 0 && strchr("-._~/", c));
}

// The caller frees it; NULL when memory is short. Absolute paths get a scheme;
// what is relative has no colon that could end one.
static char *uri_of(const char *path) {
  static const char digits[] = "0123456789ABCDEF";
  size_t room = 3 * strlen(path) + sizeof "file://";
  char *uri = malloc(room), *at = uri;
  if (!uri) return NULL;
  if (path[0] == '/') at = stpcpy(at, "file://");
  for (const char *c = path; *c != 0; c++) {
    if (is_plain(*c)) {
      *at++ = *c;
    } else {
      *at++ = '%';
      *at++ = digits[(unsigned char)*c >> 4];
      *at++ = digits[(unsigned char)*c & 15];
    }
  }
  *at = 0;
  return uri;
}

// --- rules (3.49) ---------------------------------------------------------------

static json_t *rules_json(void) {
  json_t *rules = json_array();
  const ibx_diag_info *row;
  for (size_t i = 0; (row = ibx_diag_get(i)) != NULL; i++) {
    json_array_append_new(rules,
                          json_pack("{s:s, s:{s:s}, s:{s:s}}", "id", row->name,
                                    "shortDescription", "text", row->sentence,
                                    "defaultConfiguration", "level",
                                    level_of(row->severity)));
  }
  return rules;
}

// Adds the rule's place in the list; a failure of a call is no row of it.
static void add_rule(json_t *result, const char *code) {
  const ibx_diag_info *row;
  json_object_set_new(result, "ruleId", json_string(code));
  for (size_t i = 0; (row = ibx_diag_get(i)) != NULL; i++) {
    if (strcmp(row->name, code) == 0)
      json_object_set_new(result, "ruleIndex", json_integer((json_int_t)i));
  }
}

// --- results (3.27) -------------------------------------------------------------

static json_t *text_json(const ibx_diagnostic *d) {
  bool has_node = d->node[0] != 0, has_op = d->op[0] != 0;
  return json_sprintf("%s%s%s%s%s%s%s%s", d->node,
                      has_node && has_op ? " (" : "", has_node ? d->op : "",
                      has_node && has_op ? ")" : "", has_node ? ": " : "",
                      d->message, d->remedy[0] != 0 ? "; remedy: " : "",
                      d->remedy);
}

static json_t *location_json(const ibx_diagnostic *d, const char *uri) {
  json_t *location = json_pack("{s:{s:{s:s, s:i}}}", "physicalLocation",
                               "artifactLocation", "uri", uri, "index", 0);
  if (d->node[0] != 0) {
    json_object_set_new(location, "logicalLocations",
                        json_pack("[{s:s, s:s}]", "name", d->node,
                                  "fullyQualifiedName", d->node));
  }
  return location;
}

// What has no property of the standard goes into the bag (3.8).
static json_t *bag_json(const ibx_diagnostic *d) {
  return json_pack("{s:s, s:s, s:I, s:s, s:s}", "op", d->op, "domain",
                   d->domain, "version", (json_int_t)d->version, "attribute",
                   d->attribute, "remedy", d->remedy);
}

static json_t *result_json(const ibx_diagnostic *d, const char *uri) {
  json_t *result = json_object();
  add_rule(result, d->code);
  json_object_update_new(result, json_pack("{s:s, s:{s:o}, s:[o], s:o}",
                                           "level", level_of(d->severity),
                                           "message", "text", text_json(d),
                                           "locations", location_json(d, uri),
                                           "properties", bag_json(d)));
  return result;
}

static json_t *run_json(const ibx_review *review, const char *uri) {
  json_t *results = json_array();
  for (size_t i = 0; i < review->count; i++)
    json_array_append_new(results, result_json(&review->items[i], uri));
  return json_pack("{s:{s:{s:s, s:s, s:s, s:o}}, s:[{s:b}], "
                   "s:[{s:{s:s}, s:[s]}], s:o}",
                   "tool", "driver", "name", "imbrex", "version", IBX_VERSION,
                   "semanticVersion", IBX_VERSION, "rules", rules_json(),
                   "invocations", "executionSuccessful", 1, "artifacts",
                   "location", "uri", uri, "roles", "analysisTarget", "results",
                   results);
}

int ibx_review_print_sarif(const ibx_review *review) {
  char *uri = uri_of(review->model);
  if (!uri) return ibx_status_exit_code(IBX_OUT_OF_MEMORY);
  json_t *root = json_pack("{s:s, s:s, s:[o]}", "$schema", SCHEMA, "version",
                           "2.1.0", "runs", run_json(review, uri));
  free(uri);
  int printed = ibx_driver_print_json(root);
  return printed != 0 ? printed : ibx_review_end(review);
}

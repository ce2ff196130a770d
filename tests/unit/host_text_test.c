// SPDX-License-Identifier: Apache-2.0
//
// The calls of the host on texts: each against what it says, through the table
// and libffi as a program calls them; and operands that do not fit.

#include "imbrex/host.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { MOST = 24 };

/// One call and its tensors.
typedef struct call {
  ibx_host_tensor in[MOST], out[2];
  const ibx_host_tensor *operands[MOST];
  ibx_host_tensor *results[2];
  size_t operand_count;
  ibx_error err;
} call;

static void begin(call *c) { *c = (call){.results = {&c->out[0], &c->out[1]}}; }

static void end(call *c) {
  for (size_t i = 0; i < MOST; i++)
    ibx_host_tensor_fini(&c->in[i]);
  ibx_host_tensor_fini(&c->out[0]);
  ibx_host_tensor_fini(&c->out[1]);
}

static ibx_host_tensor *next(call *c) {
  ibx_host_tensor *tensor = &c->in[c->operand_count];
  c->operands[c->operand_count++] = tensor;
  return tensor;
}

// Texts separated by bars, as a vector; "" is a vector of none.
static void give(call *c, const char *list) {
  ibx_host_tensor *tensor = next(c);
  uint64_t count = list[0] != 0;
  for (const char *at = list; *at; at++)
    count += *at == '|';
  assert_int_equal(
      ibx_host_tensor_reset(tensor, IBX_DTYPE_STRING, &count, 1, NULL), IBX_OK);
  for (uint64_t i = 0; i < count; i++) {
    size_t len = strcspn(list, "|");
    assert_int_equal(ibx_host_tensor_add_text(tensor, list, len, NULL), IBX_OK);
    list += len + 1;
  }
}

static void give_shaped(call *c, const char *list, uint64_t rows) {
  give(c, list);
  ibx_host_tensor *tensor = &c->in[c->operand_count - 1];
  tensor->shape[1] = tensor->shape[0] / rows;
  tensor->shape[0] = rows;
  tensor->rank = 2;
}

static void give_data(call *c, ibx_dtype dtype, uint64_t count,
                      const void *data) {
  ibx_host_tensor *tensor = next(c);
  assert_int_equal(ibx_host_tensor_reset(tensor, dtype, &count, 1, NULL),
                   IBX_OK);
  if (tensor->data_bytes != 0) memcpy(tensor->data, data, tensor->data_bytes);
}

static ibx_status run(call *c, const char *name, const int64_t *ints,
                      size_t int_count) {
  const ibx_host_call_info *row = ibx_host_call_find(name);
  ibx_host_arity arity;
  assert_non_null(row);
  assert_true(ibx_host_signature_read(row->signature, &arity));
  ibx_host_args args = {.operands = c->operands,
                        .ints = ints,
                        .results = c->results,
                        .operand_count = c->operand_count,
                        .int_count = int_count,
                        .result_count = arity.results};
  c->err = (ibx_error){.message = ""};
  ibx_status status =
      ibx_host_call_run(row->signature, row->function, &args, &c->err);
  assert_true((status == IBX_OK) == (c->err.message[0] == 0));
  return status;
}

static void expect_texts(const ibx_host_tensor *tensor, const char *list) {
  char have[1024] = "";
  size_t len = 0;
  for (uint64_t i = 0; i < ibx_host_tensor_count(tensor); i++) {
    ibx_str text = ibx_host_tensor_text(tensor, i);
    len += (size_t)snprintf(have + len, sizeof have - len, "%s%.*s",
                            i == 0 ? "" : "|", (int)text.len, text.data);
  }
  assert_string_equal(have, list);
}

// --- moving, comparing, joining ----------------------------------------------

static void texts_are_taken_by_index(void **state) {
  (void)state;
  call c;
  begin(&c);
  const int64_t index[] = {4, 0, 2, 2};
  give_data(&c, IBX_DTYPE_I64, 4, index);
  give(&c, "a|b");
  give(&c, "");
  give(&c, "c|d|e");
  assert_int_equal(run(&c, "take", NULL, 0), IBX_OK);
  expect_texts(&c.out[0], "e|a|c|c");
  c.in[0].data[0] = 5;
  assert_int_equal(run(&c, "take", NULL, 0), IBX_MISMATCH);
  memset(c.in[0].data, 0xff, 8);
  assert_int_equal(run(&c, "take", NULL, 0), IBX_MISMATCH);
  end(&c);
}

static void texts_are_compared_and_joined_with_broadcast(void **state) {
  (void)state;
  call c;
  begin(&c);
  give_shaped(&c, "a|b|c|a", 2);
  give(&c, "a|b");
  assert_int_equal(run(&c, "text_equal", NULL, 0), IBX_OK);
  assert_memory_equal(c.out[0].data, "\1\1\0\0", 4);
  assert_int_equal(run(&c, "text_concat", NULL, 0), IBX_OK);
  assert_int_equal(c.out[0].rank, 2);
  expect_texts(&c.out[0], "aa|bb|ca|ab");
  end(&c);
  begin(&c);
  give(&c, "a|b|c");
  give(&c, "a|b");
  assert_int_equal(run(&c, "text_concat", NULL, 0), IBX_MISMATCH);
  end(&c);
  begin(&c);
  give(&c, "a");
  give_data(&c, IBX_DTYPE_F32, 1, "\0\0\0\0");
  assert_int_equal(run(&c, "text_equal", NULL, 0), IBX_MISMATCH);
  end(&c);
}

// --- splitting ----------------------------------------------------------------

static void texts_are_split(void **state) {
  (void)state;
  static const struct {
    const char *text, *delimiter;
    int64_t most;
    const char *parts;
  } rows[] = {
      {"a,b,c", ",", -1, "a|b|c"},
      {"a,,b", ",", -1, "a||b"},
      {",a,", ",", -1, "|a|"},
      {"a,b,c", ",", 1, "a|b,c"},
      {"a,b,c", ",", 0, "a,b,c"},
      {"a--b-", "--", -1, "a|b-"},
      {"  a  b ", "", -1, "a|b"},
      {"  a  b c ", "", 1, "a|b c"},
      {"a\tb\nc", "", -1, "a|b|c"},
      {" a b ", "", 0, "a b"},
      {"", ",", -1, ""},
      {"abc", ",", 5, "abc"},
  };
  for (size_t i = 0; i < IBX_COUNT_OF(rows); i++) {
    call c;
    begin(&c);
    give(&c, "-");
    ibx_host_tensor_fini(&c.in[0]);
    const uint64_t one = 1;
    assert_int_equal(
        ibx_host_tensor_set_texts(&c.in[0], &one, 1, &rows[i].text, NULL),
        IBX_OK);
    give(&c, rows[i].delimiter);
    assert_int_equal(run(&c, "text_split", &rows[i].most, 1), IBX_OK);
    assert_int_equal(c.out[0].rank, 2);
    expect_texts(&c.out[0], rows[i].parts);
    end(&c);
  }
}

static void shorter_rows_of_parts_are_filled(void **state) {
  (void)state;
  call c;
  const int64_t most = -1;
  int64_t counts[3];
  begin(&c);
  give(&c, "a b c||d");
  c.operands[c.operand_count++] = NULL;
  assert_int_equal(run(&c, "text_split", &most, 1), IBX_OK);
  assert_int_equal(c.out[0].shape[1], 3);
  expect_texts(&c.out[0], "a|b|c||||d||");
  memcpy(counts, c.out[1].data, sizeof counts);
  assert_int_equal(counts[0], 3);
  assert_int_equal(counts[1], 0);
  assert_int_equal(counts[2], 1);
  end(&c);
}

// --- case and stop words -------------------------------------------------------

static void texts_are_normalized(void **state) {
  (void)state;
  static const struct {
    const char *texts, *stops;
    int64_t ints[2]; ///< case, whether stop words have one
    const char *wanted;
  } rows[] = {
      {"monday|Tuesday", "monday", {1, 1}, "tuesday"},
      {"Monday|Tuesday", "monday", {1, 1}, "monday|tuesday"},
      {"Monday|Tuesday", "monday", {2, 0}, "TUESDAY"},
      {"monday|monday", "monday", {2, 1}, ""},
      {"\xc3\x84pfel|\xce\xa9", "\xc3\xa4pfel", {1, 0}, "\xcf\x89"},
      {"\xc3\xa4\xff", "x", {2, 0}, "\xc3\x84\xff"}, // no UTF-8 stays
      {"Mixed|", "", {0, 0}, "Mixed|"},
  };
  for (size_t i = 0; i < IBX_COUNT_OF(rows); i++) {
    call c;
    begin(&c);
    give(&c, rows[i].texts);
    give(&c, rows[i].stops);
    assert_int_equal(run(&c, "text_normalize", rows[i].ints, 2), IBX_OK);
    expect_texts(&c.out[0], rows[i].wanted);
    end(&c);
  }
  call c;
  begin(&c);
  give_shaped(&c, "a|b|c|d", 2);
  c.operands[c.operand_count++] = NULL;
  assert_int_equal(run(&c, "text_normalize", rows[0].ints, 2), IBX_MISMATCH);
  end(&c);
}

// --- numbers -----------------------------------------------------------------

static void numbers_become_texts_that_read_back(void **state) {
  (void)state;
  call c;
  const float singles[] = {1,        0.1f,      -2.5e-10f, 16777216,
                           INFINITY, -INFINITY, NAN,       3.4028235e38f};
  begin(&c);
  give_data(&c, IBX_DTYPE_F32, IBX_COUNT_OF(singles), singles);
  assert_int_equal(run(&c, "number_to_text", NULL, 0), IBX_OK);
  expect_texts(&c.out[0], "1|0.1|-2.5e-10|16777216|INF|-INF|NaN|3.4028235e+38");
  end(&c);
  begin(&c);
  const int64_t longs[] = {INT64_MIN, 0, 42};
  give_data(&c, IBX_DTYPE_I64, 3, longs);
  assert_int_equal(run(&c, "number_to_text", NULL, 0), IBX_OK);
  expect_texts(&c.out[0], "-9223372036854775808|0|42");
  end(&c);
  begin(&c);
  const uint64_t large[] = {UINT64_MAX};
  give_data(&c, IBX_DTYPE_U64, 1, large);
  assert_int_equal(run(&c, "number_to_text", NULL, 0), IBX_OK);
  expect_texts(&c.out[0], "18446744073709551615");
  end(&c);
}

static void texts_become_numbers(void **state) {
  (void)state;
  call c;
  float singles[6];
  const float wanted[] = {3.14f, 1e-5f, -INFINITY, INFINITY, 1000, 0};
  int64_t dtype = IBX_DTYPE_F32;
  begin(&c);
  give(&c, "3.14|1e-5|-INF|+inf| 1000 |-0");
  assert_int_equal(run(&c, "text_to_number", &dtype, 1), IBX_OK);
  memcpy(singles, c.out[0].data, sizeof singles);
  for (size_t i = 0; i < 6; i++)
    assert_true(singles[i] == wanted[i]);
  dtype = IBX_DTYPE_I64;
  assert_int_equal(run(&c, "text_to_number", &dtype, 1), IBX_OK);
  int64_t longs[6];
  memcpy(longs, c.out[0].data, sizeof longs);
  assert_int_equal(longs[0], 3);
  assert_int_equal(longs[4], 1000);
  end(&c);
  static const char *const wrong[] = {"",    "abc", "0x10", "nan(1)",
                                      "1 2", "1,5", "--1",  "1e"};
  for (size_t i = 0; i < IBX_COUNT_OF(wrong); i++) {
    const uint64_t one = 1;
    begin(&c);
    give(&c, "-");
    assert_int_equal(
        ibx_host_tensor_set_texts(&c.in[0], &one, 1, &wrong[i], NULL), IBX_OK);
    dtype = IBX_DTYPE_F64;
    assert_int_equal(run(&c, "text_to_number", &dtype, 1), IBX_MISMATCH);
    dtype = IBX_DTYPE_COUNT;
    assert_int_equal(run(&c, "text_to_number", &dtype, 1), IBX_MISMATCH);
    end(&c);
  }
}

// --- regular expressions -----------------------------------------------------------

#ifdef IBX_TEST_PCRE2
static void patterns_match_all_of_a_text(void **state) {
  (void)state;
  static const struct {
    const char *pattern, *text;
    bool matches;
  } rows[] = {
      {"a+", "aaa", true},
      {"a+", "aab", false},
      {"a|ab", "ab", true}, // the longer branch counts too
      {"(\\w+)@(\\w+)\\.org", "me@site.org", true},
      {"\\s", "\v", false}, // RE2 has no vertical tab among blanks
      {"[\\s]", "\v", false},
      {"\\S", "\v", true},
      {"[\\S]", "\v", true},
      {"\\v", "\v", true},
      {"[]a]+", "]a", true},
      {"[^]]", "a", true},
      {"[[:alpha:]]+", "ab", true},
      {".", "\n", false},
      {"(?s).", "\n", true},
      {"(?i)ABC", "abc", true},
      {"a$", "a\n", false},
      {"\\Qa.b\\E", "a.b", true},
      {"\\Qa.b\\E", "axb", false},
      {"(?P<name>x)", "x", true},
      {"\\pL+", "\xc3\xa4", true},
      {"a{2,3}", "aaaa", false},
      {"", "", true},
      {".*", "\xff", false}, // no UTF-8
  };
  for (size_t i = 0; i < IBX_COUNT_OF(rows); i++) {
    call c;
    const uint64_t one = 1;
    begin(&c);
    give(&c, "-");
    give(&c, "-");
    assert_int_equal(
        ibx_host_tensor_set_texts(&c.in[0], &one, 1, &rows[i].text, NULL),
        IBX_OK);
    assert_int_equal(
        ibx_host_tensor_set_texts(&c.in[1], &one, 1, &rows[i].pattern, NULL),
        IBX_OK);
    if (run(&c, "text_match", NULL, 0) != IBX_OK) fail_msg("%s", c.err.message);
    if (c.out[0].data[0] != rows[i].matches) fail_msg("row %zu", i);
    end(&c);
  }
}

static void patterns_that_re2_does_not_have_are_refused(void **state) {
  (void)state;
  static const struct {
    const char *pattern;
    ibx_status status;
  } rows[] = {
      {"(a)\\1", IBX_UNSUPPORTED},  {"(?=a)", IBX_UNSUPPORTED},
      {"(?<!a)b", IBX_UNSUPPORTED}, {"a*+", IBX_UNSUPPORTED},
      {"a++", IBX_UNSUPPORTED},     {"(?>a)", IBX_UNSUPPORTED},
      {"(*FAIL)", IBX_UNSUPPORTED}, {"(?R)", IBX_UNSUPPORTED},
      {"\\Ka", IBX_UNSUPPORTED},    {"\\X", IBX_UNSUPPORTED},
      {"a\\Z", IBX_UNSUPPORTED},    {"(?x)a b", IBX_UNSUPPORTED},
      {"a{2}+", IBX_UNSUPPORTED},   {"(?(1)a|b)", IBX_UNSUPPORTED},
      {"(a", IBX_MISMATCH},         {"[a", IBX_MISMATCH},
      {"*", IBX_MISMATCH},          {"\\", IBX_MISMATCH},
  };
  for (size_t i = 0; i < IBX_COUNT_OF(rows); i++) {
    call c;
    const uint64_t one = 1;
    begin(&c);
    give(&c, "a");
    give(&c, "-");
    assert_int_equal(
        ibx_host_tensor_set_texts(&c.in[1], &one, 1, &rows[i].pattern, NULL),
        IBX_OK);
    ibx_status status = run(&c, "text_match", NULL, 0);
    if (status != rows[i].status) fail_msg("%s: %d", rows[i].pattern, status);
    end(&c);
  }
}

static void texts_are_cut_into_tokens(void **state) {
  (void)state;
  static const struct {
    const char *texts, *pattern;
    int64_t ints[3]; ///< kind, marks, fewest characters
    const char *wanted;
  } rows[] = {
      {"a bc|def", "[a-z]+", {0, 0, 1}, "a|bc|def|#"},
      {"a bc|def", "[a-z]+", {0, 0, 2}, "bc|def"},
      {"ab", "a|ab", {0, 0, 1}, "ab"}, // the longest
      {"a,b;c|d", "(?:,)|(?:;)", {1, 0, 1}, "a|b|c|d|#|#"},
      {",a,", ",", {1, 0, 1}, "a"},
      {"\xc3\xa4"
       "b|c",
       "",
       {2, 0, 1},
       "\xc3\xa4|b|c|#"},
      {"a|", "a", {0, 1, 1}, "\x02|a|\x03|\x02|\x03|#"},
      {"-|-", "a", {0, 0, 1}, ""},
      {"-|-", "a", {0, 1, 1}, ""},  // no marks around nothing at all
      {"xay", "b*", {0, 0, 1}, ""}, // matches nothing, and ends
  };
  for (size_t i = 0; i < IBX_COUNT_OF(rows); i++) {
    call c;
    const uint64_t one = 1;
    const char *const pattern[] = {rows[i].pattern};
    begin(&c);
    give(&c, rows[i].texts);
    give(&c, "-");
    assert_int_equal(
        ibx_host_tensor_set_texts(&c.in[1], &one, 1, pattern, NULL), IBX_OK);
    give(&c, "#");
    if (run(&c, "text_tokens", rows[i].ints, 3) != IBX_OK) {
      fail_msg("%zu: %s", i, c.err.message);
    }
    assert_int_equal(c.out[0].rank, 2);
    expect_texts(&c.out[0], rows[i].wanted);
    end(&c);
  }
}
#endif

static void tensors_are_reshaped(void **state) {
  (void)state;
  static const struct {
    int64_t shape[2];
    ibx_status status;
    uint64_t rows;
  } rows[] = {{{2, 3}, IBX_OK, 2},         {{-1, 2}, IBX_OK, 3},
              {{6, -1}, IBX_OK, 6},        {{4, -1}, IBX_MISMATCH, 0},
              {{-1, -1}, IBX_MISMATCH, 0}, {{0, -1}, IBX_MISMATCH, 0},
              {{2, 2}, IBX_MISMATCH, 0},   {{-2, 3}, IBX_MISMATCH, 0}};
  for (size_t i = 0; i < IBX_COUNT_OF(rows); i++) {
    call c;
    begin(&c);
    give(&c, "a|b|c|d|e|f");
    give_data(&c, IBX_DTYPE_I64, 2, rows[i].shape);
    assert_int_equal(run(&c, "reshape", NULL, 0), rows[i].status);
    if (rows[i].status == IBX_OK) {
      assert_int_equal(c.out[0].rank, 2);
      assert_int_equal(c.out[0].shape[0], rows[i].rows);
      expect_texts(&c.out[0], "a|b|c|d|e|f");
    }
    end(&c);
  }
}

// --- lookups -----------------------------------------------------------------

static void labels_are_found_and_the_last_key_counts(void **state) {
  (void)state;
  call c;
  const int64_t values[] = {10, 20, 30}, absent = -1;
  int64_t have[4];
  begin(&c);
  give(&c, "b|x|a|");
  give(&c, "a|b|a");
  give_data(&c, IBX_DTYPE_I64, 3, values);
  give_data(&c, IBX_DTYPE_I64, 1, &absent);
  assert_int_equal(run(&c, "label_encode", NULL, 0), IBX_OK);
  memcpy(have, c.out[0].data, sizeof have);
  assert_int_equal(have[0], 20);
  assert_int_equal(have[1], -1);
  assert_int_equal(have[2], 30);
  assert_int_equal(have[3], -1);
  end(&c);
  begin(&c);
  const float x[] = {NAN, -0.0f, 2}, keys[] = {0, -NAN};
  give_data(&c, IBX_DTYPE_F32, 3, x);
  give_data(&c, IBX_DTYPE_F32, 2, keys);
  give(&c, "zero|none");
  give(&c, "other");
  assert_int_equal(run(&c, "label_encode", NULL, 0), IBX_OK);
  expect_texts(&c.out[0], "none|zero|other");
  c.operand_count = 3;
  give(&c, "one|two"); // two defaults
  assert_int_equal(run(&c, "label_encode", NULL, 0), IBX_MISMATCH);
  end(&c);
}

static void n_grams_are_counted(void **state) {
  (void)state;
  call c;
  const int64_t starts[] = {0, 2}, columns[] = {2, 0, 1};
  const float weights[] = {10, 100, 1000};
  int64_t ints[] = {0, 1, 2, 0, 3};
  float have[6];
  begin(&c);
  give_shaped(&c, "a|b|a|b|b|c", 2); // a b a / b b c
  give(&c, "a|b|b|a");               // of one: a, b; of two: b a
  give_data(&c, IBX_DTYPE_I64, 2, starts);
  give_data(&c, IBX_DTYPE_I64, 3, columns);
  c.operands[c.operand_count++] = NULL;
  assert_int_equal(run(&c, "tfidf", ints, 5), IBX_OK);
  memcpy(have, c.out[0].data, sizeof have);
  const float counts[] = {1, 1, 2, 2, 0, 0};
  assert_memory_equal(have, counts, sizeof have);
  // Two steps apart a meets nothing in the pool, but b in row 1 is not a.
  ints[0] = 2;
  ints[3] = 1;
  c.operand_count = 4;
  give_data(&c, IBX_DTYPE_F32, 3, weights);
  assert_int_equal(run(&c, "tfidf", ints, 5), IBX_OK);
  memcpy(have, c.out[0].data, sizeof have);
  const float weighted[] = {10, 100, 2000, 20, 0, 0};
  assert_memory_equal(have, weighted, sizeof have);
  ints[0] = 1;
  assert_int_equal(run(&c, "tfidf", ints, 5), IBX_OK);
  memcpy(have, c.out[0].data, sizeof have);
  assert_true(have[2] == 1000 && have[3] == 10);
  end(&c);
}

static void n_grams_that_contradict_each_other_are_refused(void **state) {
  (void)state;
  static const struct {
    int64_t starts[2], columns[2], ints[5];
  } rows[] = {
      {{0, 3}, {0, 1}, {0, 1, 2, 0, 2}},  // beyond the pool
      {{1, 0}, {0, 1}, {0, 1, 2, 0, 2}},  // falls
      {{0, 1}, {0, 2}, {0, 1, 2, 0, 2}},  // no such column
      {{0, 1}, {0, -1}, {0, 1, 2, 0, 2}}, // nor this
      {{0, 1}, {0, 1}, {3, 1, 2, 0, 2}},  // no such mode
      {{0, 1}, {0, 1}, {0, 2, 1, 0, 2}},  // least above most
      {{0, 1}, {0, 1}, {0, 1, 2, -1, 2}}, // skips
      {{0, 1}, {0, 1}, {0, 1, 2, 0, -1}}, // no columns
  };
  for (size_t i = 0; i < IBX_COUNT_OF(rows); i++) {
    call c;
    begin(&c);
    give(&c, "a");
    give(&c, "a|b");
    give_data(&c, IBX_DTYPE_I64, 2, rows[i].starts);
    give_data(&c, IBX_DTYPE_I64, 2, rows[i].columns);
    c.operands[c.operand_count++] = NULL;
    assert_int_equal(run(&c, "tfidf", rows[i].ints, 5), IBX_MISMATCH);
    end(&c);
  }
}

// --- the table and the call -----------------------------------------------------

static void rows_are_complete(void **state) {
  (void)state;
  size_t count = 0;
  for (const ibx_host_call_info *row; (row = ibx_host_call_get(count));
       count++) {
    ibx_host_arity arity;
    assert_true(strlen(row->sentence) > 0);
    assert_true(ibx_host_signature_read(row->signature, &arity));
    assert_true(arity.least + arity.has_list > 0);
    assert_ptr_equal(ibx_host_call_find(row->name), row);
  }
  assert_true(count > 5);
  assert_null(ibx_host_call_find("gold"));
}

static void signatures_are_read(void **state) {
  (void)state;
  static const char *const wrong[] = {
      "",        "T",       "R, T",    "T, I, T, R",
      "T, X, R", "L, L, R", "I, L, R", "T,T,T,T,T,T,T,T,T,T,T,T,T,T,T,T,T,R"};
  ibx_host_arity arity;
  for (size_t i = 0; i < IBX_COUNT_OF(wrong); i++) {
    if (ibx_host_signature_read(wrong[i], &arity)) fail_msg("%s", wrong[i]);
  }
  assert_true(ibx_host_signature_read("T, O, T, L, I, I, R, R", &arity));
  assert_int_equal(arity.least, 3);
  assert_true(arity.has_list);
  assert_int_equal(arity.ints, 2);
  assert_int_equal(arity.results, 2);
}

static void arguments_that_are_not_those_of_the_signature(void **state) {
  (void)state;
  call c;
  const int64_t most = -1;
  begin(&c);
  assert_int_equal(run(&c, "text_split", &most, 1), IBX_INVALID_ARGUMENT);
  give(&c, "a");
  give(&c, "a");
  assert_int_equal(run(&c, "text_split", &most, 0), IBX_INVALID_ARGUMENT);
  give(&c, "a");
  assert_int_equal(run(&c, "text_split", &most, 1), IBX_INVALID_ARGUMENT);
  c.operand_count = 2;
  c.operands[0] = NULL; // which may not be left out
  assert_int_equal(run(&c, "text_split", &most, 1), IBX_INVALID_ARGUMENT);
  end(&c);
}

// --- tensors -----------------------------------------------------------------

static void tensors_keep_and_borrow(void **state) {
  (void)state;
  ibx_host_tensor a = IBX_HOST_TENSOR_INIT, b = IBX_HOST_TENSOR_INIT;
  const uint64_t shape[] = {2, 2}, huge[] = {UINT64_C(1) << 40, 1 << 30};
  const char *const texts[] = {"one", "", "three", "4"};
  assert_int_equal(ibx_host_tensor_set_texts(&a, shape, 2, texts, NULL),
                   IBX_OK);
  assert_int_equal(ibx_host_tensor_add_text(&a, "5", 1, NULL),
                   IBX_INVALID_ARGUMENT);
  assert_int_equal(ibx_host_tensor_copy(&b, &a, NULL), IBX_OK);
  ibx_host_tensor_fini(&a);
  expect_texts(&b, "one||three|4");
  assert_int_equal(ibx_host_tensor_reset(&b, IBX_DTYPE_F32, huge, 2, NULL),
                   IBX_OUT_OF_CAPACITY);
  assert_int_equal(ibx_host_tensor_count(&b), 0);
  assert_int_equal(ibx_host_tensor_reset(&b, IBX_DTYPE_NONE, shape, 2, NULL),
                   IBX_INVALID_ARGUMENT);
  assert_int_equal(ibx_host_tensor_reset(&b, IBX_DTYPE_F32, shape, 9, NULL),
                   IBX_INVALID_ARGUMENT);
  assert_int_equal(ibx_host_tensor_reset(&b, IBX_DTYPE_F32, shape, 2, NULL),
                   IBX_OK);
  assert_int_equal(b.data_bytes, 16);
  assert_int_equal(ibx_host_tensor_add_text(&b, "5", 1, NULL),
                   IBX_INVALID_ARGUMENT);
  const uint64_t words[] = {0, 1, 2, 'a' | 'b' << 8};
  const ibx_span bytes = {(const uint8_t *)words, 26};
  const uint64_t two = 2;
  assert_int_equal(
      ibx_host_tensor_borrow(&b, IBX_DTYPE_STRING, &two, 1, bytes, NULL),
      IBX_OK);
  expect_texts(&b, "a|b");
  const ibx_span cut = {(const uint8_t *)words, 25};
  assert_int_equal(
      ibx_host_tensor_borrow(&b, IBX_DTYPE_STRING, &two, 1, cut, NULL),
      IBX_MISMATCH);
  ibx_host_tensor_fini(&b);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(texts_are_taken_by_index),
      cmocka_unit_test(texts_are_compared_and_joined_with_broadcast),
      cmocka_unit_test(texts_are_split),
      cmocka_unit_test(shorter_rows_of_parts_are_filled),
      cmocka_unit_test(texts_are_normalized),
      cmocka_unit_test(numbers_become_texts_that_read_back),
      cmocka_unit_test(texts_become_numbers),
#ifdef IBX_TEST_PCRE2
      cmocka_unit_test(patterns_match_all_of_a_text),
      cmocka_unit_test(patterns_that_re2_does_not_have_are_refused),
      cmocka_unit_test(texts_are_cut_into_tokens),
#endif
      cmocka_unit_test(tensors_are_reshaped),
      cmocka_unit_test(labels_are_found_and_the_last_key_counts),
      cmocka_unit_test(n_grams_are_counted),
      cmocka_unit_test(n_grams_that_contradict_each_other_are_refused),
      cmocka_unit_test(rows_are_complete),
      cmocka_unit_test(signatures_are_read),
      cmocka_unit_test(arguments_that_are_not_those_of_the_signature),
      cmocka_unit_test(tensors_keep_and_borrow),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

// SPDX-License-Identifier: Apache-2.0
//
// Expressions of the assembly language: integers of 64 bits, checked for
// overflow, that may be affine in the loop registers where an address stands.
// Precedence climbs as in C; everything else is unknown to it.

#include "asm_parse.h"
#include "asm_text.h"

#include <string.h>

enum { MAX_DEPTH = 64 };

static ibx_asm_value read_level(ibx_asm_parser *p, int level);

static bool is_plain(const ibx_asm_value *value) {
  for (size_t i = 0; i < IBX_LOOP_REGISTERS; i++) {
    if (value->loop[i] != 0) return false;
  }
  return true;
}

// --- checked arithmetic -----------------------------------------------------------

static bool add_fits(int64_t a, int64_t b, int64_t *out) {
  if (b > 0 ? a > INT64_MAX - b : a < INT64_MIN - b) return false;
  *out = a + b;
  return true;
}

static bool mul_fits(int64_t a, int64_t b, int64_t *out) {
  if (a != 0 && b != 0) {
    bool same_sign = (a > 0) == (b > 0);
    int64_t limit = same_sign ? INT64_MAX : INT64_MIN;
    if (a == -1 || b == -1) {
      if (a == INT64_MIN || b == INT64_MIN) return false;
    } else if (a > 0 ? (same_sign ? b > limit / a : b < limit / a)
                     : (same_sign ? b < limit / a : b > limit / a)) {
      return false;
    }
  }
  *out = a * b;
  return true;
}

// a + sign * b in every component.
static bool combine(ibx_asm_value *a, const ibx_asm_value *b, int64_t sign) {
  int64_t term;
  bool fits = mul_fits(b->constant, sign, &term) &&
              add_fits(a->constant, term, &a->constant);
  for (size_t i = 0; i < IBX_LOOP_REGISTERS && fits; i++) {
    fits = mul_fits(b->loop[i], sign, &term) &&
           add_fits(a->loop[i], term, &a->loop[i]);
  }
  return fits;
}

static bool scale(ibx_asm_value *a, int64_t factor) {
  bool fits = mul_fits(a->constant, factor, &a->constant);
  for (size_t i = 0; i < IBX_LOOP_REGISTERS && fits; i++) {
    fits = mul_fits(a->loop[i], factor, &a->loop[i]);
  }
  return fits;
}

// --- operators ---------------------------------------------------------------------

typedef enum operation {
  OR,
  AND,
  EQ,
  NE,
  LT,
  LE,
  GT,
  GE,
  ADD,
  SUB,
  MUL,
  DIV,
  MOD
} operation;

static const struct {
  const char *text;
  int level;
} operators[] = {
    [OR] = {"||", 0}, [AND] = {"&&", 1}, [EQ] = {"==", 2}, [NE] = {"!=", 2},
    [LT] = {"<", 3},  [LE] = {"<=", 3},  [GT] = {">", 3},  [GE] = {">=", 3},
    [ADD] = {"+", 4}, [SUB] = {"-", 4},  [MUL] = {"*", 5}, [DIV] = {"/", 5},
    [MOD] = {"%", 5},
};

enum { UNARY_LEVEL = 6 };

static int64_t compare(operation op, int64_t a, int64_t b) {
  switch (op) {
  case OR: return a != 0 || b != 0;
  case AND: return a != 0 && b != 0;
  case EQ: return a == b;
  case NE: return a != b;
  case LT: return a < b;
  case LE: return a <= b;
  case GT: return a > b;
  default: return a >= b;
  }
}

static void multiply(ibx_asm_parser *p, const ibx_token *at, ibx_asm_value *a,
                     const ibx_asm_value *b) {
  ibx_asm_value product = is_plain(b) ? *a : *b;
  int64_t factor = is_plain(b) ? b->constant : a->constant;
  if (!is_plain(a) && !is_plain(b)) {
    ibx_asm_fail(p, at,
                 "loop registers cannot be multiplied; an address is "
                 "affine in them");
  } else if (!scale(&product, factor)) {
    ibx_asm_fail(p, at, "the product leaves 64 bits");
  }
  *a = product;
}

static void divide(ibx_asm_parser *p, const ibx_token *at, operation op,
                   ibx_asm_value *a, const ibx_asm_value *b) {
  if (!is_plain(a) || !is_plain(b)) {
    ibx_asm_fail(p, at,
                 "loop registers cannot be divided; an address is "
                 "affine in them");
  } else if (b->constant == 0) {
    ibx_asm_fail(p, at, "division by 0");
  } else if (b->constant == -1) {
    if (op == MOD) {
      a->constant = 0;
    } else if (!scale(a, -1)) {
      ibx_asm_fail(p, at, "the quotient leaves 64 bits");
    }
  } else {
    a->constant =
        op == DIV ? a->constant / b->constant : a->constant % b->constant;
  }
}

static void apply(ibx_asm_parser *p, const ibx_token *at, operation op,
                  ibx_asm_value *a, const ibx_asm_value *b) {
  switch (op) {
  case ADD:
  case SUB:
    if (!combine(a, b, op == ADD ? 1 : -1)) {
      ibx_asm_fail(p, at, "the sum leaves 64 bits");
    }
    return;
  case MUL: multiply(p, at, a, b); return;
  case DIV:
  case MOD: divide(p, at, op, a, b); return;
  default:
    if (!is_plain(a) || !is_plain(b)) {
      ibx_asm_fail(p, at, "loop registers cannot be compared here");
    }
    *a = (ibx_asm_value){.constant = compare(op, a->constant, b->constant)};
  }
}

// --- primaries -----------------------------------------------------------------------

static int numbered_name(ibx_str name, char letter) {
  if (name.len < 2 || name.len > 4 || name.data[0] != letter) return -1;
  int value = 0;
  for (size_t i = 1; i < name.len; i++) {
    if (name.data[i] < '0' || name.data[i] > '9') return -1;
    value = value * 10 + (name.data[i] - '0');
  }
  return value;
}

static ibx_asm_value read_name(ibx_asm_parser *p) {
  ibx_token at = p->token;
  ibx_asm_value value = {0};
  int loop_register = numbered_name(at.text, 'r');
  const ibx_symbol *symbol = ibx_asm_find_symbol(p, at.text);
  ibx_asm_advance(p);
  if (symbol && symbol->kind == IBX_SYMBOL_NUMBER) {
    value.constant = symbol->value;
    return value;
  }
  if (symbol && symbol->kind == IBX_SYMBOL_REGISTER) {
    loop_register = (int)symbol->value;
  }
  if (loop_register >= 0 && loop_register < IBX_LOOP_REGISTERS) {
    value.loop[loop_register] = 1;
    return value;
  }
  if (loop_register >= 0) {
    ibx_asm_fail(p, &at,
                 "register r%d is no loop register; addresses use r0 "
                 "to r3",
                 loop_register);
  } else {
    ibx_asm_fail(p, &at, "'%.*s' is no number here; set it with .equ or -D",
                 (int)at.text.len, at.text.data);
  }
  return value;
}

static ibx_asm_value read_primary(ibx_asm_parser *p) {
  ibx_asm_value value = {0};
  if (p->token.kind == IBX_TOKEN_INTEGER) {
    value.constant = p->token.value;
    ibx_asm_advance(p);
  } else if (p->token.kind == IBX_TOKEN_NAME) {
    value = read_name(p);
  } else if (ibx_asm_take_punct(p, "(")) {
    value = read_level(p, 0);
    ibx_asm_expect_punct(p, ")");
  } else {
    ibx_asm_fail(p, &p->token, "expected a number");
  }
  return value;
}

static ibx_asm_value read_unary(ibx_asm_parser *p) {
  ibx_token at = p->token;
  if (++p->depth > MAX_DEPTH) {
    ibx_asm_fail(p, &at, "nested more than %d deep", MAX_DEPTH);
  }
  ibx_asm_value value = {0};
  if (p->status != IBX_OK) {
    p->depth--;
    return value;
  }
  if (ibx_asm_take_punct(p, "-")) {
    value = read_unary(p);
    if (!scale(&value, -1)) ibx_asm_fail(p, &at, "the number leaves 64 bits");
  } else {
    value = read_primary(p);
  }
  p->depth--;
  return value;
}

static bool find_operator(const ibx_asm_parser *p, int level, operation *out) {
  for (size_t i = 0; i < IBX_COUNT_OF(operators); i++) {
    if (operators[i].level != level) continue;
    if (!ibx_asm_is_punct(p, operators[i].text)) continue;
    *out = (operation)i;
    return true;
  }
  return false;
}

static ibx_asm_value read_level(ibx_asm_parser *p, int level) {
  if (level == UNARY_LEVEL) return read_unary(p);
  ibx_asm_value value = read_level(p, level + 1);
  operation op;
  while (p->status == IBX_OK && find_operator(p, level, &op)) {
    ibx_token at = p->token;
    ibx_asm_advance(p);
    ibx_asm_value right = read_level(p, level + 1);
    apply(p, &at, op, &value, &right);
  }
  return value;
}

// --- what the other parts read ---------------------------------------------------------

ibx_asm_value ibx_asm_read_affine(ibx_asm_parser *p) {
  ibx_asm_value value = read_level(p, 0);
  return p->status == IBX_OK ? value : (ibx_asm_value){0};
}

int64_t ibx_asm_read_integer(ibx_asm_parser *p) {
  ibx_token at = p->token;
  ibx_asm_value value = ibx_asm_read_affine(p);
  if (!is_plain(&value)) {
    ibx_asm_fail(p, &at, "a loop register stands only in an address");
  }
  return p->status == IBX_OK ? value.constant : 0;
}

int64_t ibx_asm_read_range(ibx_asm_parser *p, int64_t least, int64_t most,
                           const char *what) {
  ibx_token at = p->token;
  int64_t value = ibx_asm_read_integer(p);
  if (p->status == IBX_OK && (value < least || value > most)) {
    ibx_asm_fail(p, &at, "%s is %lld, must be from %lld to %lld", what,
                 (long long)value, (long long)least, (long long)most);
  }
  return p->status == IBX_OK ? value : least;
}

static float read_bits(ibx_asm_parser *p) {
  ibx_asm_expect_punct(p, "(");
  uint32_t bits =
      (uint32_t)ibx_asm_read_range(p, 0, UINT32_MAX, "a 32-bit pattern");
  ibx_asm_expect_punct(p, ")");
  float value;
  memcpy(&value, &bits, sizeof(value));
  return value;
}

// ratio(A, B): two integers, so that a mean can divide by a symbol.
static float read_ratio(ibx_asm_parser *p) {
  ibx_asm_expect_punct(p, "(");
  int64_t above = ibx_asm_read_integer(p);
  ibx_asm_expect_punct(p, ",");
  ibx_token at = p->token;
  int64_t below = ibx_asm_read_integer(p);
  ibx_asm_expect_punct(p, ")");
  if (p->status == IBX_OK && below == 0) {
    ibx_asm_fail(p, &at, "a ratio to 0; divide by another number");
  }
  return p->status == IBX_OK ? (float)((double)above / (double)below) : 0.0f;
}

float ibx_asm_read_float(ibx_asm_parser *p) {
  ibx_token at = p->token;
  if (ibx_asm_take_name(p, "bits")) return read_bits(p);
  if (ibx_asm_take_name(p, "ratio")) return read_ratio(p);
  ibx_lexer lexer = p->lexer;
  bool is_negative = ibx_asm_take_punct(p, "-");
  double number = 0;
  if (ibx_asm_take_name(p, "inf")) {
    uint32_t bits = 0x7f800000;
    float infinity;
    memcpy(&infinity, &bits, sizeof(infinity));
    return is_negative ? -infinity : infinity;
  }
  if (p->token.kind == IBX_TOKEN_NUMBER) {
    if (!ibx_asm_read_number(p->token.text.data, p->token.text.len, &number)) {
      ibx_asm_fail(p, &at, "the number has too many digits");
    }
    ibx_asm_advance(p);
    return (float)(is_negative ? -number : number);
  }
  // "-0" keeps its sign, which integers do not have.
  bool is_zero = p->token.kind == IBX_TOKEN_INTEGER && p->token.value == 0;
  p->lexer = lexer;
  p->token = at;
  int64_t value = ibx_asm_read_integer(p);
  return is_zero && is_negative && value == 0 ? -0.0f : (float)value;
}

uint8_t ibx_asm_read_semaphore(ibx_asm_parser *p) {
  ibx_token at = p->token;
  int64_t value = numbered_name(at.text, 's');
  const ibx_symbol *symbol = ibx_asm_find_symbol(p, at.text);
  if (symbol && symbol->kind == IBX_SYMBOL_SEMAPHORE) value = symbol->value;
  if (at.kind != IBX_TOKEN_NAME || value < 0) {
    ibx_asm_fail(p, &at,
                 "expected a semaphore: s0 to s255, or a name set by "
                 ".semaphore");
    return 0;
  }
  ibx_asm_advance(p);
  if (ibx_asm_take_punct(p, "[")) {
    value += ibx_asm_read_range(p, 0, IBX_SEMAPHORES, "the index");
    ibx_asm_expect_punct(p, "]");
  }
  if (value >= IBX_SEMAPHORES) {
    ibx_asm_fail(p, &at, "semaphore s%d does not exist; the last is s%d",
                 (int)value, IBX_SEMAPHORES - 1);
    return 0;
  }
  return (uint8_t)value;
}

void ibx_asm_read_list(ibx_asm_parser *p, int64_t least, int64_t most,
                       int64_t out[IBX_DIMS], int64_t fill, const char *what) {
  int64_t values[IBX_DIMS] = {0};
  size_t count = 0;
  ibx_asm_expect_punct(p, "(");
  do {
    if (count == IBX_DIMS) {
      ibx_asm_fail(p, &p->token, "more than %d dimensions", IBX_DIMS);
      return;
    }
    values[count++] = ibx_asm_read_range(p, least, most, what);
  } while (p->status == IBX_OK && ibx_asm_take_punct(p, ","));
  ibx_asm_expect_punct(p, ")");
  for (size_t d = 0; d < IBX_DIMS; d++) {
    size_t missing = IBX_DIMS - count;
    out[d] = d < missing ? fill : values[d - missing];
  }
}

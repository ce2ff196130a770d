// SPDX-License-Identifier: Apache-2.0
//
// Operators and functions of one value. In: fp32 values. Out: what the
// sentences of isa.def say. Holds: plain C and the mathematical library only.

#include "sim/arith.h"

#include <math.h>

static float truth(bool condition) { return condition ? 1.0f : 0.0f; }

static float larger(float a, float b) {
  if (a != a) return a;
  return a > b ? a : b; // b where it is NaN
}

static float smaller(float a, float b) {
  if (a != a) return a;
  return a < b ? a : b;
}

float ibx_arith_one(uint8_t alu, float a, float b) {
  switch ((ibx_alu)alu) {
  case IBX_ALU_BYPASS: return a;
  case IBX_ALU_ADD: return a + b;
  case IBX_ALU_SUBTRACT: return a - b;
  case IBX_ALU_MULTIPLY: return a * b;
  case IBX_ALU_MAX: return larger(a, b);
  case IBX_ALU_MIN: return smaller(a, b);
  case IBX_ALU_EQUAL: return truth(a == b);
  case IBX_ALU_NOT_EQUAL: return truth(a != b);
  case IBX_ALU_GREATER: return truth(a > b);
  case IBX_ALU_GREATER_EQUAL: return truth(a >= b);
  case IBX_ALU_LESS: return truth(a < b);
  case IBX_ALU_LESS_EQUAL: return truth(a <= b);
  case IBX_ALU_LOGICAL_AND: return truth(a != 0.0f && b != 0.0f);
  case IBX_ALU_LOGICAL_OR: return truth(a != 0.0f || b != 0.0f);
  case IBX_ALU_LOGICAL_XOR: return truth((a != 0.0f) != (b != 0.0f));
  case IBX_ALU_POWER: return powf(a, b);
  case IBX_ALU_ABS_MAX: return larger(fabsf(a), fabsf(b));
  case IBX_ALU_ABS_MIN: return smaller(fabsf(a), fabsf(b));
  case IBX_ALU_ABS: return fabsf(a);
  case IBX_ALU_SQUARE: return a * a;
  case IBX_ALU_RELU: return a < 0.0f ? 0.0f : a;
  case IBX_ALU_RSQRT: return (float)(1.0 / sqrt((double)a));
  case IBX_ALU_RECIPROCAL: return 1.0f / a;
  case IBX_ALU_BITWISE_AND:
  case IBX_ALU_BITWISE_OR:
  case IBX_ALU_BITWISE_XOR:
  case IBX_ALU_SHIFT_LEFT:
  case IBX_ALU_SHIFT_RIGHT:
  case IBX_ALU_INVERT:
  case IBX_ALU_COUNT: break;
  }
  return a;
}

void ibx_fold_take(ibx_fold *fold, float value) {
  size_t lanes = IBX_COUNT_OF(fold->lane);
  float *lane = &fold->lane[fold->n % lanes];
  *lane = fold->n < lanes ? value : ibx_arith_one(fold->alu, *lane, value);
  fold->n++;
}

float ibx_fold_end(const ibx_fold *fold) {
  float result = fold->lane[0];
  for (size_t i = 1; i < IBX_COUNT_OF(fold->lane) && i < fold->n; i++) {
    result = ibx_arith_one(fold->alu, result, fold->lane[i]);
  }
  return result;
}

static const double pi = 0x1.921fb54442d18p+1;

static double sigmoid(double x) { return 1.0 / (1.0 + exp(-x)); }

static double softplus(double x) { return fmax(x, 0.0) + log1p(exp(-fabs(x))); }

// Both forms keep their last places where the bracket of the sentence is 0.
static double gelu(double x) { return x * erfc(-x * 0x1.6a09e667f3bcdp-1) / 2; }

static double gelu_tanh(double x) {
  double inner = 0x1.9884533d43651p-1 * (x + 0.044715 * (x * x * x));
  return x * sigmoid(2 * inner);
}

static double gelu_dx(double x) {
  double density = exp(-x * x / 2) * 0x1.9884533d43651p-2; // 1 / sqrt(2 pi)
  double slope = isinf(x) ? 0.0 : x * density;
  return erfc(-x * 0x1.6a09e667f3bcdp-1) / 2 + slope;
}

// Derivative of x * sigmoid(k * x).
static double swish_dx(double x, double k) {
  double s = sigmoid(k * x), rest = sigmoid(-k * x);
  return isinf(x) ? s : s + k * x * s * rest;
}

static double erf_dx(double x) {
  return exp(-x * x) * 0x1.20dd750429b6dp+0; // 2 / sqrt(pi)
}

// Beyond pi the cubic Taylor polynomial at pi.
static double sine(double x) {
  double a = fabs(x);
  if (a <= pi || a != a) return sin(x);
  double y = pi - a;
  return copysign(1.0, x) * (y - y * y * y / 6);
}

static double sign(double x) {
  if (x > 0) return 1.0;
  return x < 0 ? -1.0 : x; // 0 and NaN stay
}

double ibx_act_exact(uint8_t act, double x, double slope) {
  switch ((ibx_act)act) {
  case IBX_ACT_COPY: return x;
  case IBX_ACT_RELU: return x < 0 ? 0.0 : x;
  case IBX_ACT_SQUARE: return x * x;
  case IBX_ACT_ABS: return fabs(x);
  case IBX_ACT_SIGN: return sign(x);
  case IBX_ACT_PRELU: return x > 0 ? x : x * slope;
  case IBX_ACT_EXP: return exp(x);
  case IBX_ACT_SIGMOID: return sigmoid(x);
  case IBX_ACT_SILU: return x * sigmoid(x);
  case IBX_ACT_TANH: return tanh(x);
  case IBX_ACT_SOFTPLUS: return x != x ? x : softplus(x);
  case IBX_ACT_MISH: return x != x ? x : x * tanh(softplus(x));
  case IBX_ACT_ERF: return erf(x);
  case IBX_ACT_GELU: return gelu(x);
  case IBX_ACT_GELU_TANH: return gelu_tanh(x);
  case IBX_ACT_LOG: return log(x);
  case IBX_ACT_SQRT: return sqrt(x);
  case IBX_ACT_RSQRT: return 1.0 / sqrt(x);
  case IBX_ACT_RECIPROCAL: return 1.0 / x;
  case IBX_ACT_SIN: return sine(x);
  case IBX_ACT_ARCTAN: return atan(x);
  case IBX_ACT_GELU_DX: return gelu_dx(x);
  case IBX_ACT_GELU_SIGMOID: return x * sigmoid(1.702 * x);
  case IBX_ACT_GELU_SIGMOID_DX: return swish_dx(x, 1.702);
  case IBX_ACT_SILU_DX: return swish_dx(x, 1.0);
  case IBX_ACT_ERF_DX: return erf_dx(x);
  case IBX_ACT_COUNT: break;
  }
  return x;
}

float ibx_act_one(uint8_t act, float x, float slope) {
  return (float)ibx_act_exact(act, (double)x, (double)slope);
}

// The largest term that the sentence adds up. GELU is 0 from -8 on, but for what
// no fp32 sum shows.
static double largest_term(uint8_t act, double x, double result) {
  double outside = fabs(x) - pi;
  switch ((ibx_act)act) {
  case IBX_ACT_GELU:
  case IBX_ACT_GELU_TANH: return fmax(x, fmin(-x, 8));
  case IBX_ACT_SIN:
    return fmax(outside > 0 ? outside * outside * outside / 6 : 0,
                fabs(result));
  case IBX_ACT_GELU_DX:
  case IBX_ACT_GELU_SIGMOID_DX:
  case IBX_ACT_SILU_DX:
    return fmax(0.5, fabs(result)); // about s, and x s (1 - s)
  default: return fabs(result);
  }
}

double ibx_act_bound(uint8_t act, double x, double slope) {
  double term = largest_term(act, x, ibx_act_exact(act, x, slope));
  if (!(term > 0) || isinf(term)) return 0x1p-142;
  return ldexp(4, ilogb(term) - 23) + 0x1p-142;
}

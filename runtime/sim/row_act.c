// SPDX-License-Identifier: Apache-2.0
//
// Activation functions on rows. In: an fp32 row that does not overlap the
// result. Out: the function of isa.def on every element, in fp32 and without
// branches so that the loops vectorise. Holds: infinities and NaN come out as
// the exact function has them; errors are as rows.h says.
//
// Each polynomial is a minimax fit by Lawson's iteration over the interval
// that its comment names, made for the relative error of the whole function;
// all are below 3e-8 before rounding.

#include "sim/rows.h"

#include <math.h>
#include <string.h>

static inline uint32_t bits_of(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}

static inline float float_of(uint32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

static inline float with_sign(float magnitude, float sign) {
  return float_of(bits_of(magnitude) | (bits_of(sign) & 0x80000000));
}

// ln 2 in two parts; the first has 16 bits, so that its product with an
// exponent is exact.
static const float ln2_high = 0x1.62e4p-1f;
static const float ln2_low = 0x1.7f7d1cp-20f;

static inline float power_of_two(int32_t exponent) {
  return float_of((uint32_t)(exponent + 127) << 23);
}

// exp(x) = 2^k exp(r), |r| <= ln(2) / 2. The sum with 1.5 * 2^23 rounds to a
// whole number, which then stands in its low bits. 2^k is applied in halves, so
// that subnormal results and infinity come out of the multiplication.
static inline float exp_one(float x) {
  const float magic = 0x1.8p23f;
  float low = x < -104.0f ? -104.0f : x;
  float y = low > 89.0f ? 89.0f : low;
  float shifted = y * 0x1.715476p0f + magic;
  float k = shifted - magic;
  float r = (y - k * ln2_high) - k * ln2_low;
  float p = 0x1.6a23ccp-10f;
  p = p * r + 0x1.123a2p-7f;
  p = p * r + 0x1.5558f2p-5f;
  p = p * r + 0x1.555492p-3f;
  p = p * r + 0x1.fffffcp-2f;
  float whole = 1.0f + (r + r * r * p);
  int32_t exponent = (int32_t)(bits_of(shifted) - bits_of(magic));
  int32_t half = exponent >> 1;
  return whole * power_of_two(half) * power_of_two(exponent - half);
}

// 2 atanh(s) = log((1 + s) / (1 - s)) for |s| <= 1/3.
static inline float twice_atanh(float s) {
  float u = s * s;
  float p = 0x1.f1aeep-4f;
  p = p * u + 0x1.b6d6a2p-4f;
  p = p * u + 0x1.250972p-3f;
  p = p * u + 0x1.9996a8p-3f;
  p = p * u + 0x1.555558p-2f;
  float twice = s + s;
  return twice + twice * u * p;
}

// log(1 + u) for u in [0, 1].
static inline float log1p_unit(float u) { return twice_atanh(u / (2.0f + u)); }

// log(x) = e ln 2 + log(m), m in [sqrt(1/2), sqrt(2)).
static inline float log_one(float x) {
  bool tiny = x < 0x1p-126f;
  float scaled = tiny ? x * 0x1p23f : x;
  uint32_t offset = bits_of(scaled) - 0x3f3504f3;
  int32_t e = (int32_t)offset >> 23;
  float m = float_of((offset & 0x7fffff) + 0x3f3504f3);
  float exponent = (float)e - (tiny ? 23.0f : 0.0f);
  float finite = exponent * ln2_high +
                 (twice_atanh((m - 1.0f) / (m + 1.0f)) + exponent * ln2_low);
  float result = x < INFINITY ? finite : x; // NaN and infinity stay
  result = x == 0.0f ? -INFINITY : result;
  return x < 0.0f ? NAN : result;
}

// With e = exp(-|x|), which does not overflow: 1 / (1 + e), or e / (1 + e).
static inline float sigmoid_one(float x) {
  float e = exp_one(-fabsf(x));
  return (x < 0.0f ? e : 1.0f) / (1.0f + e);
}

static inline float tanh_one(float x) {
  float a = fabsf(x);
  float u = x * x;
  float p = -0x1.76abf6p-8f; // |x| < 0.625
  p = p * u + 0x1.5256cep-6f;
  p = p * u - 0x1.b84448p-5f;
  p = p * u + 0x1.110768p-3f;
  p = p * u - 0x1.555534p-2f;
  float small = x + x * u * p;
  float large = 1.0f - 2.0f / (exp_one(a + a) + 1.0f);
  return a < 0.625f ? small : with_sign(large, x);
}

static inline float erf_one(float x) {
  float a = fabsf(x);
  float u = x * x;
  float p = 0x1.4ae4c6p-14f; // |x| < 1
  p = p * u - 0x1.a485e8p-11f;
  p = p * u + 0x1.5419f4p-8f;
  p = p * u - 0x1.b7fbb4p-6f;
  p = p * u + 0x1.ce2d2p-4f;
  p = p * u - 0x1.81273ep-2f;
  p = p * u + 0x1.20dd74p+0f;
  float small = x * p;
  float b = a > 4.0f ? 4.0f : a; // from there on 1 - erf is below half a unit
  float q = -0x1.6c869ap-23f;    // log(1 - erf(b)) for b in [0.95, 4]
  q = q * b - 0x1.432cd6p-16f;
  q = q * b + 0x1.bf392ep-12f;
  q = q * b - 0x1.1038cep-8f;
  q = q * b + 0x1.9b446cp-6f;
  q = q * b - 0x1.bb8238p-4f;
  q = q * b - 0x1.444434p-1f;
  q = q * b - 0x1.2128b4p+0f;
  q = q * b + 0x1.758dbp-13f;
  float large = 1.0f - exp_one(q);
  return a < 1.0f ? small : with_sign(large, x);
}

static inline float gelu_one(float x) {
  return x * (0.5f * (1.0f + erf_one(x * 0x1.6a09e6p-1f)));
}

static inline float gelu_tanh_one(float x) {
  float cubic = x + 0.044715f * (x * x * x);
  return 0.5f * x * (1.0f + tanh_one(0x1.988454p-1f * cubic));
}

static inline float softplus_one(float x) {
  float linear = x > 0.0f ? x : 0.0f;
  return linear + log1p_unit(exp_one(-fabsf(x)));
}

// tanh(log(1 + e)) = q / (q + 2) with q = e (e + 2); 1 from x = 20 on.
static inline float mish_one(float x) {
  float e = exp_one(x > 20.0f ? 20.0f : x);
  float q = e * (e + 2.0f);
  return x * (q / (q + 2.0f));
}

// The cubic Taylor polynomial at pi, as published. In double: a rounding of
// pi - a would come out three times as large.
static inline float sin_beyond_pi(float a) {
  double y = 0x1.921fb54442d18p+1 - (double)a;
  return (float)(y - y * y * y * (1.0 / 6.0));
}

// Folded at pi / 2.
static inline float sin_one(float x) {
  const float pi_high = 0x1.921fb6p+1f, pi_low = -0x1.777a5cp-24f;
  float a = fabsf(x);
  float folded = (pi_high - a) + pi_low;
  float y = a > 0x1.921fb6p+0f ? folded : a;
  float u = y * y;
  float p = -0x1.9abe9ap-26f; // |y| <= pi / 2
  p = p * u + 0x1.71749ap-19f;
  p = p * u - 0x1.a017fcp-13f;
  p = p * u + 0x1.11110cp-7f;
  p = p * u - 0x1.555556p-3f;
  float inside = y + y * u * p;
  float magnitude = a > pi_high ? sin_beyond_pi(a) : inside;
  return x < 0.0f ? -magnitude : magnitude;
}

// Folded at tan(pi / 8) and tan(3 pi / 8).
static inline float arctan_one(float x) {
  float a = fabsf(x);
  bool far = a > 0x1.3504f4p+1f, near = a <= 0x1.a8279ap-2f;
  float middle = (a - 1.0f) / (a + 1.0f);
  float inverse = -1.0f / a;
  float t = far ? inverse : middle;
  t = near ? a : t;
  float base = far ? 0x1.921fb6p+0f : 0x1.921fb6p-1f;
  base = near ? 0.0f : base;
  float u = t * t;
  float p = 0x1.4a258ep-4f; // |t| <= tan(pi / 8)
  p = p * u - 0x1.1c4242p-3f;
  p = p * u + 0x1.9925dcp-3f;
  p = p * u - 0x1.555458p-2f;
  return with_sign(base + (t + t * u * p), x);
}

// The upper half of the digits: the square of the result is exact.
static inline float high_half(float x) {
  return float_of(bits_of(x) & 0xfffff000);
}

// exp(-x * x * scale), scale a power of two. The square is taken in two parts,
// as its rounding would be as large as x * x times that of the result.
static inline float bell_one(float x, float scale) {
  float a = fabsf(x);
  float y = a > 16.0f ? 16.0f : a; // from there on the result is 0
  float high = high_half(y);
  float low = (y - high) * (y + high);
  return exp_one(-(high * high * scale)) * exp_one(-(low * scale));
}

static inline float erf_dx_one(float x) {
  return 0x1.20dd76p+0f * bell_one(x, 1.0f);
}

static inline float gelu_dx_one(float x) {
  float y = x > 16.0f ? 16.0f : x;
  y = y < -16.0f ? -16.0f : y; // so that infinity times 0 does not arise
  float slope = y * (0x1.988454p-2f * bell_one(y, 0.5f));
  return (1.0f + erf_one(y * 0x1.6a09e6p-1f)) * 0.5f + slope;
}

// exp(-1.702 a), a not negative: what rounding the product loses is put back.
static inline float decay_1702_one(float a) {
  const float k = 1.702f, k_high = 0x1.b3ap+0f, k_low = 0x1.645a1cp-12f;
  float x = a > 100.0f ? 100.0f : a; // from there on the result is 0
  float y = k * x;
  float high = high_half(x), low = x - high;
  float lost =
      ((high * k_high - y) + high * k_low + low * k_high) + low * k_low;
  float e = exp_one(-y);
  return e - e * lost;
}

// 1 / (1 + exp(-x)), of e = exp(-|x|), which does not overflow.
static inline float logistic_one(float x, float e) {
  float top = x < 0.0f ? e : 1.0f;
  return top / (1.0f + e);
}

static inline float gelu_sigmoid_one(float x) {
  return x * logistic_one(x, decay_1702_one(fabsf(x)));
}

// s + k x s (1 - s), s = 1 / (1 + exp(-k x)), of e = exp(-k |x|).
static inline float swish_dx_one(float x, float k, float e) {
  float y = x > 110.0f ? 110.0f : x;
  y = y < -110.0f ? -110.0f : y; // so that infinity times 0 does not arise
  return logistic_one(x, e) + k * y * (e / ((1.0f + e) * (1.0f + e)));
}

static inline float gelu_sigmoid_dx_one(float x) {
  return swish_dx_one(x, 1.702f, decay_1702_one(fabsf(x)));
}

static inline float silu_dx_one(float x) {
  return swish_dx_one(x, 1.0f, exp_one(-fabsf(x)));
}

static inline float sign_one(float x) {
  float positive = x > 0.0f ? 1.0f : x; // 0 and NaN stay
  return x < 0.0f ? -1.0f : positive;
}

#define ACT_COPY(x) (x)
#define ACT_RELU(x) ((x) < 0.0f ? 0.0f : (x))
#define ACT_SQUARE(x) ((x) * (x))
#define ACT_ABS(x) fabsf(x)
#define ACT_SIGN(x) sign_one(x)
#define ACT_PRELU(x) ((x) > 0.0f ? (x) : (x) * slope)
#define ACT_EXP(x) exp_one(x)
#define ACT_SIGMOID(x) sigmoid_one(x)
#define ACT_SILU(x) ((x) * sigmoid_one(x))
#define ACT_TANH(x) tanh_one(x)
#define ACT_SOFTPLUS(x) softplus_one(x)
#define ACT_MISH(x) mish_one(x)
#define ACT_ERF(x) erf_one(x)
#define ACT_GELU(x) gelu_one(x)
#define ACT_GELU_TANH(x) gelu_tanh_one(x)
#define ACT_LOG(x) log_one(x)
#define ACT_SQRT(x) sqrtf(x)
#define ACT_RSQRT(x) (1.0f / sqrtf(x))
#define ACT_RECIPROCAL(x) (1.0f / (x))
#define ACT_SIN(x) sin_one(x)
#define ACT_ARCTAN(x) arctan_one(x)
#define ACT_GELU_DX(x) gelu_dx_one(x)
#define ACT_GELU_SIGMOID(x) gelu_sigmoid_one(x)
#define ACT_GELU_SIGMOID_DX(x) gelu_sigmoid_dx_one(x)
#define ACT_SILU_DX(x) silu_dx_one(x)
#define ACT_ERF_DX(x) erf_dx_one(x)

#define IBX_ACT(NAME, number, table, sentence)                                 \
  IBX_CPU_CLONES static void act_##NAME(const float *restrict a,               \
                                        ibx_sim_act_terms terms,               \
                                        float *restrict out, size_t n) {       \
    const float slope = terms.slope;                                           \
    (void)slope;                                                               \
    for (size_t i = 0; i < n; i++) {                                           \
      float x = a[i] * terms.scale + terms.bias;                               \
      out[i] = ACT_##NAME(x);                                                  \
    }                                                                          \
  }
#include "imbrex/isa.def"

typedef void (*act_loop)(const float *restrict, ibx_sim_act_terms,
                         float *restrict, size_t);

static const act_loop loops[IBX_ACT_COUNT] = {
#define IBX_ACT(name, number, table, sentence) [number] = act_##name,
#include "imbrex/isa.def"
};

void ibx_sim_row_act(uint8_t act, const float *a, ibx_sim_act_terms terms,
                     float *out, size_t n) {
  loops[act](a, terms, out, n);
}

IBX_CPU_CLONES
void ibx_sim_row_reciprocal(const float *restrict a, float *restrict out,
                            size_t n) {
  for (size_t i = 0; i < n; i++) {
    out[i] = 1.0f / a[i];
  }
}

// SPDX-License-Identifier: Apache-2.0
//
// The decoder of examples/kernels: in full it streams its weights at the rate of
// HBM and fits in a file of a few hundred KiB; a small one, with all of its
// parts, computes what a plain decoder computes.

#include "imbrex/asm.h"
#include "imbrex/prove.h"
#include "imbrex/sim.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static ibx_asm_program *assemble(const ibx_asm_define *defines, size_t count) {
  static char text[65536];
  FILE *in = fopen(IBX_SOURCE_DIR "/examples/kernels/decoder_70b.s", "rb");
  assert_non_null(in);
  ibx_str str = {.data = text, .len = fread(text, 1, sizeof(text), in)};
  fclose(in);
  ibx_asm_program *program = NULL;
  ibx_error err = {0};
  if (ibx_asm_parse(str, "decoder_70b.s", defines, count, &program, &err) !=
      IBX_OK) {
    fail_msg("%s", err.message);
  }
  return program;
}

static void prove(const ibx_program_data *data) {
  ibx_proof proof;
  ibx_error err = {0};
  if (ibx_prove_entry(data, data->entries, &proof, &err) != IBX_OK) {
    fail_msg("%s", err.message);
  }
}

// --- time -----------------------------------------------------------------------

static void all_layers_stream_at_the_rate_of_hbm(void **state) {
  (void)state;
  ibx_asm_program *program = assemble(NULL, 0);
  const ibx_program_data *data = ibx_asm_get(program);
  const ibx_entry *entry = data->entries;
  ibx_sim_time time;
  ibx_error err = {0};
  assert_int_equal(ibx_sim_time_entry(data, entry, NULL, NULL, &time, &err),
                   IBX_OK);
  assert_int_equal(data->weights.size, 0);
  // 80 layers of 855 million parameters, a head of 1051 million, two bytes.
  double weights = 2 * (80 * 855.64e6 + 1050.67e6);
  double read = (double)time.hbm_read_bytes;
  assert_true(read > weights && read < 1.02 * weights);
  assert_int_equal(time.hbm_read_bytes + time.hbm_write_bytes,
                   entry->bounds.hbm_min_bytes);
  double ratio = (double)time.total_ps / (double)entry->bounds.hbm_ps;
  print_message("decoder_70b: %.2f ms, %.4f of the bound\n",
                (double)time.total_ps / 1e9, ratio);
  assert_true(ratio > 1.0 && ratio < 1.03);
  ibx_asm_destroy(program);
}

static void two_layers_of_full_size_are_proved(void **state) {
  (void)state;
  const ibx_asm_define two = {.name = "LAYERS", .value = 2};
  ibx_asm_program *program = assemble(&two, 1);
  prove(ibx_asm_get(program));
  ibx_asm_destroy(program);
}

// --- function -------------------------------------------------------------------

enum {
  LAYERS = 2,
  SK = 4,
  GROUP = 2,
  NT = 256,
  DK = 2,
  TOKENS = 256,
  VOCAB_TILES = 2,
  KV = 8,
  D = 128,
  HEADS = KV * GROUP,
  HID = 4 * SK * D,
  HK = HID / D,
  FFN = 8 * DK * D,
  QKV = (HEADS + 2 * KV) * D,
  VOCAB = VOCAB_TILES * NT + NT / 2,
  NEW = (TOKENS / D - 1) * D // the token whose place the new one takes
};

// In the order of the text; outputs come last.
enum { HIDDEN, ROPE, GAINS, GAIN_F, W_QKV, CACHE, W_O, W_GU, W_DOWN, W_HEAD };
enum { W_TAIL = W_HEAD + 1, NEW_KV, LOGITS, TENSORS };

// What stands in device memory, and the same as numbers.
typedef struct tensor {
  uint8_t *bytes;
  double *value;
  size_t count;
} tensor;

static void *room(size_t count, size_t size) {
  void *memory = calloc(count, size);
  assert_non_null(memory);
  return memory;
}

static uint32_t next_random(uint32_t *state) {
  *state = *state * 1664525u + 1013904223u;
  return *state >> 8;
}

// From -1 to 1 times `scale`, with the bits that bf16 keeps.
static float draw(uint32_t *state, double scale) {
  double unit = (double)next_random(state) / (1 << 23) - 1.0;
  float value = (float)(unit * scale);
  uint32_t bits;
  memcpy(&bits, &value, sizeof(bits));
  bits &= 0xffff0000u;
  memcpy(&value, &bits, sizeof(value));
  return value;
}

static void put(uint8_t *bytes, size_t index, float value, size_t size) {
  uint8_t raw[4];
  memcpy(raw, &value, sizeof(raw));
  memcpy(bytes + index * size, raw + sizeof(raw) - size, size);
}

static double get(const tensor *t, size_t index) {
  float value;
  memcpy(&value, t->bytes + index * sizeof(value), sizeof(value));
  return (double)value;
}

static tensor make_tensor(const ibx_tensor_decl *decl, double scale,
                          double middle, uint32_t seed) {
  tensor t = {.count = 1};
  for (size_t i = 0; i < decl->rank; i++) {
    t.count *= decl->shape[i];
  }
  size_t size = ibx_dtype_bytes((ibx_dtype)decl->dtype);
  t.bytes = room(t.count, size);
  t.value = room(t.count, sizeof(*t.value));
  for (size_t i = 0; i < t.count; i++) {
    float value = draw(&seed, scale) + (float)middle;
    t.value[i] = (double)value;
    put(t.bytes, i, value, size);
  }
  return t;
}

static void make_tensors(const ibx_entry *entry, tensor *t) {
  const double wide = 1.7 / sqrt(HID), deep = 1.7 / sqrt(FFN);
  const double scales[LOGITS] = {1,    1,    0.125, 0.125, wide, 1,
                                 wide, wide, deep,  wide,  wide};
  for (size_t i = 0; i < NEW_KV; i++) {
    double middle = i == GAINS || i == GAIN_F ? 1 : 0;
    t[i] = make_tensor(&entry->inputs[i], scales[i], middle, (uint32_t)i + 1);
  }
  for (size_t i = NEW_KV; i < TENSORS; i++) {
    t[i] = make_tensor(&entry->outputs[i - NEW_KV], 0, 0, 1);
  }
}

// out = x times weights in slots of `tiles` tiles of K and `columns` columns,
// `slots` slots to a tile of results. Feature k*128 + p is x[k*128 + p].
static void project(const double *x, const double *weights, size_t out_count,
                    size_t slots, size_t tiles, size_t columns, double *out) {
  size_t slot = D * tiles * columns;
  for (size_t o = 0; o < out_count; o++) {
    const double *from = weights + o / columns * slots * slot + o % columns;
    out[o] = 0;
    for (size_t k = 0; k < slots * tiles; k++) {
      for (size_t p = 0; p < D; p++) {
        out[o] += x[k * D + p] *
                  from[k / tiles * slot + (p * tiles + k % tiles) * columns];
      }
    }
  }
}

// A vector of [128, columns] by its features.
static double by_feature(const double *value, size_t columns, size_t feature) {
  return value[feature % D * columns + feature / D];
}

static void norm(const double *x, const double *gain, size_t columns,
                 size_t first, double *out) {
  double sum = 0;
  for (size_t f = 0; f < HID; f++) {
    sum += x[f] * x[f];
  }
  for (size_t f = 0; f < HID; f++) {
    out[f] = x[f] / sqrt(sum / (double)HID + 1e-5) *
             by_feature(gain, columns, f + first * D);
  }
}

static void rotate(const double *rope, double *head) {
  double from[D];
  memcpy(from, head, sizeof(from));
  for (size_t d = 0; d < D; d++) {
    head[d] = from[d] * rope[2 * d] + from[(d + D / 2) % D] * rope[2 * d + 1];
  }
}

// One head over all tokens; `k` and `v` are those of the new one.
static void attend(const double *cache, const double *q, const double *k,
                   const double *v, double *out) {
  double weight[TOKENS], sum = 0;
  for (size_t t = 0; t < TOKENS; t++) {
    double dot = 0;
    for (size_t d = 0; d < D; d++) {
      dot += q[d] * (t == NEW ? k[d] : cache[d * 2 * TOKENS + t]);
    }
    weight[t] = exp(dot / sqrt(D));
    sum += weight[t];
  }
  for (size_t d = 0; d < D; d++) {
    out[d] = 0;
    for (size_t t = 0; t < TOKENS; t++) {
      size_t at = t % D * 2 * TOKENS + TOKENS + t / D * D + d;
      out[d] += weight[t] / sum * (t == NEW ? v[d] : cache[at]);
    }
  }
}

static void add_attention(const tensor *t, double *x) {
  static double xn[HID], qkv[QKV], att[HID], out[HID];
  norm(x, t[GAINS].value, 2 * HK, 0, xn);
  project(xn, t[W_QKV].value, QKV, 4, SK, NT, qkv);
  for (size_t h = 0; h < HEADS + KV; h++) {
    rotate(t[ROPE].value, qkv + h * D);
  }
  for (size_t h = 0; h < HEADS; h++) {
    const double *k = qkv + (HEADS + h / GROUP) * D;
    attend(t[CACHE].value + h / GROUP * D * 2 * TOKENS, qkv + h * D, k,
           k + KV * D, att + h * D);
  }
  project(att, t[W_O].value, HID, 4, SK, NT, out);
  for (size_t f = 0; f < HID; f++) {
    x[f] += out[f];
  }
}

// Tiles of gate and up stand in turn.
static void add_feed_forward(const tensor *t, double *x) {
  static double xn[HID], both[2 * FFN], h[FFN], out[HID];
  norm(x, t[GAINS].value, 2 * HK, HK, xn);
  project(xn, t[W_GU].value, 2 * FFN, 4, SK, NT, both);
  for (size_t f = 0; f < FFN; f++) {
    size_t at = f / NT * 2 * NT + f % NT;
    h[f] = both[at] / (1 + exp(-both[at])) * both[at + NT];
  }
  project(h, t[W_DOWN].value, HID, 8, DK, NT / 2, out);
  for (size_t f = 0; f < HID; f++) {
    x[f] += out[f];
  }
}

static void decode(const tensor *t, double *logits) {
  static double x[HID], xn[HID];
  for (size_t f = 0; f < HID; f++) {
    x[f] = by_feature(t[HIDDEN].value, HK, f);
  }
  for (size_t i = 0; i < LAYERS; i++) {
    add_attention(t, x);
    add_feed_forward(t, x);
  }
  norm(x, t[GAIN_F].value, HK, 0, xn);
  project(xn, t[W_HEAD].value, VOCAB_TILES * NT, 4, SK, NT, logits);
  project(xn, t[W_TAIL].value, NT / 2, 2, 2 * SK, NT / 2,
          logits + VOCAB_TILES * NT);
}

static void run(const ibx_program_data *data, const tensor *t,
                ibx_sim_order order) {
  const ibx_entry *entry = data->entries;
  uint8_t *hbm[64] = {0};
  assert_true(entry->buffer_count <= 64);
  for (size_t i = 0; i < TENSORS; i++) {
    const ibx_tensor_decl *decl =
        i < NEW_KV ? &entry->inputs[i] : &entry->outputs[i - NEW_KV];
    hbm[decl->buffer] = t[i].bytes;
  }
  ibx_sim_memory memory = {.hbm = hbm};
  ibx_sim_options options = {.order = order, .seed = 1, .poison = true};
  ibx_error err = {0};
  ibx_sim *sim = NULL;
  ibx_status status = ibx_sim_create(data, entry, &sim, &err);
  if (status == IBX_OK) status = ibx_sim_run(sim, &options, &memory, &err);
  ibx_sim_destroy(sim);
  if (status != IBX_OK) fail_msg("%s", err.message);
}

static void check_logits(const tensor *t, const double *want) {
  double error = 0, norm2 = 0;
  for (size_t i = 0; i < VOCAB; i++) {
    double apart = get(&t[LOGITS], i) - want[i];
    error += apart * apart;
    norm2 += want[i] * want[i];
  }
  double share = sqrt(error / norm2);
  print_message("decoder: error %.2e of the 2-norm\n", share);
  assert_true(norm2 > 0.01 * (double)VOCAB);
  // bf16 has 8 bits; some twenty roundings follow each other.
  assert_true(share < 0.03);
}

static void a_small_one_decodes(void **state) {
  (void)state;
  const ibx_asm_define small[] = {{"LAYERS", LAYERS}, {"SK", SK},
                                  {"NT", NT},         {"GROUP", GROUP},
                                  {"DK", DK},         {"TOKENS", TOKENS},
                                  {"VOCAB_TILES", 2}, {"INV_HID", 0x3a000000}};
  ibx_asm_program *program = assemble(small, sizeof(small) / sizeof(small[0]));
  const ibx_program_data *data = ibx_asm_get(program);
  prove(data);
  assert_int_equal(data->entries->input_count, NEW_KV);
  assert_int_equal(data->entries->output_count, TENSORS - NEW_KV);
  tensor t[TENSORS];
  make_tensors(data->entries, t);
  static double want[VOCAB];
  decode(t, want);
  const ibx_sim_order orders[] = {IBX_SIM_ORDER_PROGRAM, IBX_SIM_ORDER_RANDOM,
                                  IBX_SIM_ORDER_ADVERSARIAL};
  for (size_t i = 0; i < sizeof(orders) / sizeof(orders[0]); i++) {
    memset(t[LOGITS].bytes, 0xff, VOCAB * sizeof(float));
    run(data, t, orders[i]);
    check_logits(t, want);
  }
  for (size_t i = 0; i < TENSORS; i++) {
    free(t[i].bytes);
    free(t[i].value);
  }
  ibx_asm_destroy(program);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(all_layers_stream_at_the_rate_of_hbm),
      cmocka_unit_test(two_layers_of_full_size_are_proved),
      cmocka_unit_test(a_small_one_decodes),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

// SPDX-License-Identifier: Apache-2.0
//
// The table of operators. Comes in: onnx_ops.def. Goes out: rows by index or by
// operator and version.

#include "frontend/onnx_ops.h"

#include "frontend/import_ops.h"

#include <assert.h>
#include <string.h>

#define BIT(name) (1u << IBX_DTYPE_##name)
enum {
  FLOAT32 = BIT(F32),
  FLOATS = BIT(F32) | BIT(BF16) | BIT(F16) | BIT(F64),
  FLOAT8 = BIT(F8E4M3FN) | BIT(F8E5M2) | BIT(F8E4M3FNUZ) | BIT(F8E5M2FNUZ),
  SMALL = FLOAT8 | BIT(F8E8M0) | BIT(F6E2M3FN) | BIT(F6E3M2FN) | BIT(F4E2M1FN) |
          BIT(I4) | BIT(U4) | BIT(I2) | BIT(U2),
  INTS = BIT(I8) | BIT(U8) | BIT(I16) | BIT(U16) | BIT(I32) | BIT(U32) |
         BIT(I64) | BIT(U64),
  UNSIGNED = BIT(U8) | BIT(U16) | BIT(U32) | BIT(U64),
  SIGNED = BIT(I8) | BIT(I16) | BIT(I32) | BIT(I64) | FLOATS,
  INT8 = BIT(I8) | BIT(U8),
  SHAPE_INTS = BIT(I32) | BIT(I64),
  NUMBERS = FLOATS | INTS,
  BOOL = BIT(BOOL),
  BYTES = BIT(U8),
  ALL = NUMBERS | BOOL | SMALL,
  TRAINED = BIT(F32) | BIT(F64),
  LEARNED = BIT(F32) | BIT(F64) | BIT(I32) | BIT(I64),
  SUMS = BIT(F32) | BIT(BF16) | BIT(F16) | BIT(F64) | BIT(I32) | BIT(U32) |
         BIT(I64) | BIT(U64),
  QUANTIZED = INTS | SMALL,
  TEXT = 0,            // texts only, see IBX_ONNX_TEXT
  NOTHING = ALL,       // for operators without inputs
  BUNDLES = BIT(NONE), // sequences and optionals
  VALUES = ALL | BUNDLES
};
static_assert(IBX_DTYPE_COUNT <= 31,
              "a set of element types has a bit for each");

#define NAMES_FLOAT32 "f32"
#define NAMES_FLOATS "f32, bf16, f16, f64"
#define NAMES_UNSIGNED "unsigned integer types"
#define NAMES_SIGNED "floating and signed integer types"
#define NAMES_INT8 "i8, u8"
#define NAMES_SHAPE_INTS "i32, i64"
#define NAMES_INTS "integer types"
#define NAMES_NUMBERS "floating and integer types"
#define NAMES_BOOL "bool"
#define NAMES_BYTES "u8"
#define NAMES_ALL "all types"
#define NAMES_TRAINED "f32, f64"
#define NAMES_LEARNED "f32, f64, i32, i64"
#define NAMES_SUMS "f32, bf16, f16, f64, and integers of 32 and 64 bits"
#define NAMES_TEXT "texts"
#define NAMES_QUANTIZED "integer and small floating types"
#define NAMES_NOTHING "no inputs"
#define NAMES_BUNDLES "sequences and optionals"
#define NAMES_VALUES "all types, sequences, optionals"

#define DOMAIN_onnx ""
#define DOMAIN_microsoft "com.microsoft"
#define DOMAIN_ml "ai.onnx.ml"
#define DOMAIN_preview "ai.onnx.preview"
#define DOMAIN_training "ai.onnx.preview.training"

static const ibx_onnx_about abouts[] = {
#define IBX_ONNX(row_domain, row_name, row_sentence, row_limits)               \
  {DOMAIN_##row_domain, #row_name, row_sentence, row_limits},
#include "frontend/onnx_ops.def"
};

// Position of an operator among them.
enum {
#define IBX_ONNX(row_domain, row_name, row_sentence, row_limits)               \
  ABOUT_##row_domain##_##row_name,
#include "frontend/onnx_ops.def"
};

static const ibx_onnx_op forms[] = {
#define IBX_ONNX_FORM(row_domain, row_name, row_since, importer, row_least,    \
                      row_most, row_outputs, row_types)                        \
  {.about = &abouts[ABOUT_##row_domain##_##row_name],                          \
   .import = ibx_import_op_##importer,                                         \
   .since = (row_since),                                                       \
   .least = (row_least),                                                       \
   .most = (row_most),                                                         \
   .outputs = (row_outputs),                                                   \
   .types = (uint32_t)(row_types) & ~(uint32_t)BUNDLES,                        \
   .bundles = ((row_types) & BUNDLES) != 0,                                    \
   .type_names = NAMES_##row_types},
#define IBX_ONNX_REFUSED(row_domain, row_name, row_since)                      \
  {.about = &abouts[ABOUT_##row_domain##_##row_name],                          \
   .since = (row_since),                                                       \
   .most = -1,                                                                 \
   .outputs = -1,                                                              \
   .type_names = ""},
#include "frontend/onnx_ops.def"
};

static const struct {
  const ibx_onnx_about *about;
  ibx_text_use use;
} text_uses[] = {
#define IBX_ONNX_TEXT(row_domain, row_name, row_use)                           \
  {&abouts[ABOUT_##row_domain##_##row_name], IBX_TEXT_##row_use},
#include "frontend/onnx_ops.def"
};

ibx_text_use ibx_onnx_text_use(const ibx_onnx_op *row) {
  for (size_t i = 0; i < IBX_COUNT_OF(text_uses); i++) {
    if (text_uses[i].about == row->about) return text_uses[i].use;
  }
  return IBX_TEXT_REFUSED;
}

const ibx_onnx_op *ibx_onnx_op_get(size_t index) {
  return index < IBX_COUNT_OF(forms) ? &forms[index] : NULL;
}

const ibx_onnx_op *ibx_onnx_op_find(const char *domain, const char *name,
                                    int64_t version) {
  const ibx_onnx_op *found = NULL;
  for (size_t i = 0; i < IBX_COUNT_OF(forms); i++) {
    const ibx_onnx_op *row = &forms[i];
    if (row->since > version || strcmp(row->about->name, name) != 0) continue;
    if (strcmp(row->about->domain, domain) == 0) found = row;
  }
  return found;
}

const char *ibx_onnx_domain_name(const char *domain) {
  return domain[0] == 0 ? "ai.onnx" : domain;
}

const char *ibx_onnx_domain(const char *domain) {
  return strcmp(domain, "ai.onnx") == 0 ? "" : domain;
}

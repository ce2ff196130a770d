// SPDX-License-Identifier: Apache-2.0
//
// The programs of the suite, as assembly. In: a target. Out: a program file
// with one entry for each thing that a driver could get wrong. Descriptors are
// static or made by software, so that every target runs all of it.

#include "conformance.h"
#include "imbrex/asm.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

// y = 2 x + w on Vector, n = n + 1 on GpSimd; w are weights.
static const char affine[] =
    ".entry affine\n"
    ".input x f32[128, 16]\n"
    ".output y f32[128, 16]\n"
    ".state n f32[128, 16]\n"
    ".buffer w hbm weight bytes=8192\n"
    ".buffer xs sbuf bytes=64\n"
    ".buffer ws sbuf bytes=64\n"
    ".buffer ys sbuf bytes=64\n"
    ".buffer ns sbuf bytes=64\n"
    ".buffer n2 sbuf bytes=64\n"
    ".engine sync\n"
    "dma_copy xs:f32 pstep(1, 0), x:f32 size(128, 16) signal s0+16\n"
    "dma_copy ws:f32 pstep(1, 0), w:f32 size(128, 16) signal s0+16\n"
    "dma_copy ns:f32 pstep(1, 0), n:f32 size(128, 16) signal s1+16\n"
    "dma_copy y:f32, ys:f32 pstep(1, 0) size(128, 16) wait s2>=1\n"
    "dma_copy n:f32, n2:f32 pstep(1, 0) size(128, 16) wait s3>=1\n"
    ".engine vector\n"
    "scalar_tensor_tensor ys:f32, xs:f32, ws:f32 p=128 size(16) op0=multiply "
    "op1=add imm0=2 wait s0>=32 signal s2+1\n"
    ".engine gpsimd\n"
    "tensor_scalar n2:f32, ns:f32 p=128 size(16) op0=add imm0=1 wait s1>=16 "
    "signal s3+1\n";

// out = tanh(a^T b / 8), sum = the sums of its rows, and numbers of an iota.
static const char product[] =
    ".entry product\n"
    ".input a f32[128, 64]\n"
    ".input b f32[128, 512]\n"
    ".output out f32[64, 512]\n"
    ".output sum f32[64, 1]\n"
    ".output numbers i32[128, 8]\n"
    ".buffer as sbuf bytes=256\n"
    ".buffer bs sbuf bytes=2048\n"
    ".buffer acc psum bytes=2048\n"
    ".buffer os sbuf bytes=2048\n"
    ".buffer ss sbuf bytes=4\n"
    ".buffer is sbuf bytes=32\n"
    ".engine sync\n"
    "dma_copy as:f32 pstep(1, 0), a:f32 size(128, 64) signal s0+16\n"
    "dma_copy bs:f32 pstep(1, 0), b:f32 size(128, 512) signal s0+16\n"
    "dma_copy out:f32, os:f32 pstep(1, 0) size(64, 512) wait s2>=1\n"
    "dma_copy sum:f32, ss:f32 pstep(1, 0) size(64, 1) wait s3>=1\n"
    "dma_copy numbers:i32, is:i32 pstep(1, 0) size(128, 8) wait s4>=1\n"
    ".engine tensor\n"
    "load_stationary as:f32 p=128 size(64) columns=64 wait s0>=32\n"
    "multiply_moving acc:f32, bs:f32 p=128 size(512) columns=64 group_end "
    "signal s1+1\n"
    ".engine scalar\n"
    "activation os:f32, acc:f32 p=64 size(512) op0=tanh imm1=0.125 wait "
    "s1>=1 signal s2+1\n"
    "semaphore signal s5+1\n"
    ".engine vector\n"
    "semaphore wait s5>=1\n"
    "tensor_reduce ss:f32 step(0), os:f32 p=64 size(512) op0=add signal s3+1\n"
    ".engine gpsimd\n"
    "iota is:i32 p=128 size(8) imm0=-5 imm1=3 signal s4+1\n";

// out[i] = table[index[i]]
static const char gather[] =
    ".entry gather\n"
    ".input table f32[1000, 8]\n"
    ".input index u32[128, 1]\n"
    ".output out f32[128, 8]\n"
    ".buffer is sbuf bytes=4\n"
    ".buffer os sbuf bytes=32\n"
    ".engine sync\n"
    "dma_copy is:u32 pstep(1, 0), index:u32 size(128, 1) signal s0+16\n"
    "dma_copy out:f32, os:f32 pstep(1, 0) size(128, 8) wait s1>=16\n"
    ".engine gpsimd\n"
    "dma_gather os:f32 pstep(1, 0, 0, 0, 0), table:f32 step(8, 0, 0, 0, 1), "
    "is:u32 size(128, 1, 1, 1, 8) count=1000 dge=software wait s0>=16 signal "
    "s1+16\n";

// y = x * 2^5, unless `limit` exceeds 5.
static const char count[] =
    ".entry count\n"
    ".input x f32[128, 4]\n"
    ".input limit u32[1]\n"
    ".output y f32[128, 4]\n"
    ".buffer xs sbuf bytes=16\n"
    ".buffer ts sbuf partitions=1 bytes=4\n"
    ".engine sync\n"
    "dma_copy xs:f32 pstep(1, 0), x:f32 size(128, 4) signal s0+16\n"
    "dma_copy ts:u32, limit:u32 size(1) signal s1+1\n"
    "dma_copy y:f32, xs:f32 pstep(1, 0) size(128, 4) wait s2>=1\n"
    ".engine vector\n"
    "semaphore wait s0>=16\n"
    "semaphore wait s1>=1\n"
    "register_load ts:u32 r5 count=5\n"
    "loop r0 count=5\n"
    "tensor_scalar xs:f32, xs:f32 p=128 size(4) op0=multiply imm0=2\n"
    "loop_end\n"
    "semaphore signal s2+1\n";

// No instruction, and tensors without elements.
static const char nothing[] = ".entry nothing\n"
                              ".input x f32[0]\n"
                              ".output y f32[3, 0]\n";

static void put(ibx_blob *text, const char *format, ...) IBX_PRINTF(2, 3);

static void put(ibx_blob *text, const char *format, ...) {
  char line[512];
  va_list args;
  va_start(args, format);
  int len = vsnprintf(line, sizeof(line), format, args);
  va_end(args);
  // What does not fit in memory fails to assemble.
  if (len > 0) (void)ibx_blob_write(text, line, (size_t)len);
}

static bool has_value(ibx_dtype dtype) {
  return ibx_dtype_get(dtype)->home == IBX_DTYPE_HOME_ENGINE;
}

static bool converts(ibx_dtype from, ibx_dtype to) {
  return from == to || (has_value(from) && has_value(to));
}

// One entry for each type: through SBUF to every type that it converts to.
static void put_moves(ibx_blob *text) {
  for (int from = IBX_DTYPE_NONE + 1; from < IBX_DTYPE_COUNT; from++) {
    const char *name = ibx_dtype_get((ibx_dtype)from)->name;
    put(text, ".entry move_%s\n.input x %s[128, 24]\n", name, name);
    put(text, ".buffer xs sbuf bytes=192\n");
    for (int to = IBX_DTYPE_NONE + 1; to < IBX_DTYPE_COUNT; to++) {
      if (!converts((ibx_dtype)from, (ibx_dtype)to)) continue;
      const char *other = ibx_dtype_get((ibx_dtype)to)->name;
      put(text, ".output to_%s %s[128, 24]\n", other, other);
    }
    put(text,
        ".engine sync\n"
        "dma_copy xs:%s pstep(1, 0), x:%s size(128, 24) signal s0+16\n"
        "semaphore wait s0>=16\n",
        name, name);
    for (int to = IBX_DTYPE_NONE + 1; to < IBX_DTYPE_COUNT; to++) {
      if (!converts((ibx_dtype)from, (ibx_dtype)to)) continue;
      const char *other = ibx_dtype_get((ibx_dtype)to)->name;
      put(text, "dma_copy to_%s:%s, xs:%s pstep(1, 0) size(128, 24)\n", other,
          other, name);
    }
  }
}

// Copies in HBM: one large tensor, and tensors of 1, 2, 3 ... bytes.
static void put_sizes(ibx_blob *text) {
  put(text,
      ".entry large\n.input x u32[%d]\n.output y u32[%d]\n.engine sync\n"
      "dma_copy y:u32, x:u32 size(%d)\n",
      CONF_LARGE_BYTES / 4, CONF_LARGE_BYTES / 4, CONF_LARGE_BYTES / 4);
  put(text, ".entry many\n");
  for (int i = 1; i <= CONF_MANY; i++) {
    put(text, ".input x%d u8[%d]\n.output y%d u8[%d]\n", i, i, i, i);
  }
  put(text, ".engine sync\n");
  for (int i = 1; i <= CONF_MANY; i++) {
    put(text, "dma_copy y%d:u8, x%d:u8 size(%d)\n", i, i, i);
  }
}

static void put_all(ibx_blob *text, const char *target) {
  static const char *const fixed[] = {affine, product, gather, count, nothing};
  put(text, ".target %s\n.model \"conformance\"\n.weights\n", target);
  for (int i = 0; i < 128 * 16; i++) {
    put(text, ".data f32 %d.25\n", i % 97);
  }
  for (size_t i = 0; i < IBX_COUNT_OF(fixed); i++) {
    (void)ibx_blob_write(text, fixed[i], strlen(fixed[i]));
  }
  put_moves(text);
  put_sizes(text);
}

static ibx_status assemble(const ibx_blob *text, ibx_blob *out_file,
                           ibx_error *err) {
  ibx_span bytes = ibx_blob_get(text);
  ibx_str str = {.data = (const char *)bytes.data, .len = bytes.size};
  ibx_asm_program *assembled = NULL;
  IBX_TRY(ibx_asm_parse(str, "conformance.s", NULL, 0, &assembled, err));
  ibx_status status = ibx_program_write(ibx_asm_get(assembled), ibx_blob_write,
                                        out_file, NULL, NULL, err);
  ibx_asm_destroy(assembled);
  return status;
}

ibx_status conf_program_make(const char *target, ibx_blob *out_file,
                             ibx_program **out_program, ibx_error *err) {
  ibx_blob text = {0};
  put_all(&text, target);
  ibx_status status = assemble(&text, out_file, err);
  ibx_blob_fini(&text);
  if (status != IBX_OK) return status;
  return ibx_program_open_memory(ibx_blob_get(out_file), out_program, err);
}

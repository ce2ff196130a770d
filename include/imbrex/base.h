// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_BASE_H
#define IBX_BASE_H

/// \file
/// What every header needs: linkage, attributes, spans, checked sizes. The only
/// place for compiler extensions.

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
#define IBX_C_BEGIN extern "C" {
#define IBX_C_END }
#else
#define IBX_C_BEGIN
#define IBX_C_END
#endif

#if defined(__GNUC__)
#define IBX_API __attribute__((visibility("default")))
#define IBX_NODISCARD __attribute__((warn_unused_result))
#define IBX_PRINTF(format_index, first_index)                                  \
  __attribute__((format(printf, format_index, first_index)))
#define IBX_NORETURN __attribute__((noreturn))
#else
#define IBX_API
#define IBX_NODISCARD
#define IBX_PRINTF(format_index, first_index)
#define IBX_NORETURN
#endif

// Code for processor features that not every machine has: IBX_CPU(list) before
// a function that uses them, IBX_CPU_HAS(feature) before it is called.
#if defined(__GNUC__) && defined(__x86_64__)
#define IBX_CPU_X86 1
#define IBX_CPU(features) __attribute__((target(features)))
#define IBX_CPU_HAS(feature) (__builtin_cpu_supports(feature) != 0)
#else
#define IBX_CPU_X86 0
#endif

// IBX_CPU_CLONES before a function with loops over elements: the compiler makes
// it twice, and the loader takes the one for AVX2 where the processor has that.
// Sanitizers come up after the loader has chosen, so there is one for them.
#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define IBX_SANITIZED 1
#endif
#elif defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define IBX_SANITIZED 1
#endif
#if IBX_CPU_X86 && defined(__GLIBC__) && !defined(IBX_SANITIZED)
#define IBX_CPU_CLONES __attribute__((target_clones("avx2", "default")))
#else
#define IBX_CPU_CLONES
#endif

// Asks for the cache line at an address that may not exist.
#ifdef __GNUC__
#define IBX_PREFETCH(address) __builtin_prefetch(address)
#else
#define IBX_PREFETCH(address) ((void)(address))
#endif

#define IBX_COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

IBX_C_BEGIN

/// Borrowed bytes. `data` may be NULL only when `size` is 0.
typedef struct ibx_span {
  const uint8_t *data;
  size_t size;
} ibx_span;

/// Borrowed text, not terminated.
typedef struct ibx_str {
  const char *data;
  size_t len;
} ibx_str;

/// Stores `a * b` in `*out` and returns true, or returns false when the product
/// does not fit.
static inline bool ibx_mul_size(uint64_t a, uint64_t b, uint64_t *out) {
  if (b != 0 && a > UINT64_MAX / b) return false;
  *out = a * b;
  return true;
}

/// Stores `a + b` in `*out` and returns true, or returns false when the sum
/// does not fit.
static inline bool ibx_add_size(uint64_t a, uint64_t b, uint64_t *out) {
  if (a > UINT64_MAX - b) return false;
  *out = a + b;
  return true;
}

IBX_C_END
#endif

// SPDX-License-Identifier: Apache-2.0
//
// Calls of the host. Comes in: a signature, a function and arguments. Goes out:
// the call, made through libffi. Holds: the arguments are as many and of the
// kinds that the signature says, so the function gets what it was declared with.

#include "host/host_kernels.h"

#include <ffi.h>
#include <string.h>

static const ibx_host_call_info calls[] = {
#define IBX_HOST_CALL(row_name, row_sentence, row_instead, ...)                \
  {.name = #row_name,                                                          \
   .sentence = (row_sentence),                                                 \
   .instead = (row_instead),                                                   \
   .signature = #__VA_ARGS__,                                                  \
   .function = (void (*)(void))ibx_host_##row_name},
#include "imbrex/host_calls.def"
};

static const ibx_host_call_info flows[] = {
#define IBX_HOST_FLOW(row_name, row_sentence, row_instead)                     \
  {.name = #row_name,                                                          \
   .sentence = (row_sentence),                                                 \
   .instead = (row_instead),                                                   \
   .signature = "",                                                            \
   .flow = IBX_HOST_FLOW_##row_name},
#include "imbrex/host_calls.def"
};

const ibx_host_call_info *ibx_host_call_get(size_t index) {
  return index < IBX_COUNT_OF(calls) ? &calls[index] : NULL;
}

const ibx_host_call_info *ibx_host_call_find(const char *name) {
  for (size_t i = 0; i < IBX_COUNT_OF(calls); i++) {
    if (strcmp(calls[i].name, name) == 0) return &calls[i];
  }
  for (size_t i = 0; i < IBX_COUNT_OF(flows); i++) {
    if (strcmp(flows[i].name, name) == 0) return &flows[i];
  }
  return NULL;
}

// The letters in the order in which their kinds stand.
static const char order[] = "TOLIR";

bool ibx_host_signature_read(const char *signature, ibx_host_arity *out) {
  size_t kind = 0, count = 0;
  *out = (ibx_host_arity){0};
  for (const char *c = signature; *c != 0; c++) {
    if (*c == ' ' || *c == ',') continue;
    const char *found = strchr(order, *c);
    if (!found || ++count > IBX_HOST_MOST_PARAMETERS) return false;
    size_t next = (size_t)(found - order);
    // Tensors that may be left out mix with those that may not; one list.
    bool goes_back = next < kind && !(next == 0 && kind == 1);
    if (goes_back || (*c == 'L' && out->has_list)) return false;
    kind = next;
    out->least += *c == 'T' || *c == 'O';
    out->has_list |= *c == 'L';
    out->ints += *c == 'I';
    out->results += *c == 'R';
  }
  return out->results != 0;
}

/// The parameters of one call; libffi takes the addresses of values.
typedef struct frame {
  ffi_type *types[IBX_HOST_MOST_PARAMETERS + 2];
  void *values[IBX_HOST_MOST_PARAMETERS + 2];
  void *pointers[IBX_HOST_MOST_PARAMETERS + 1];
  size_t list_count;
  unsigned count, pointer_count;
} frame;

static void push(frame *f, ffi_type *type, void *value) {
  f->types[f->count] = type;
  f->values[f->count++] = value;
}

static void push_pointer(frame *f, const void *pointer) {
  f->pointers[f->pointer_count] = ibx_host_lend(pointer);
  push(f, &ffi_type_pointer, &f->pointers[f->pointer_count++]);
}

static void push_list(frame *f, const ibx_host_args *args, size_t first) {
  f->list_count = args->operand_count - first;
  push_pointer(f, args->operands + first);
  push(f, sizeof(size_t) == 8 ? &ffi_type_uint64 : &ffi_type_uint32,
       &f->list_count);
}

static void push_all(frame *f, const char *signature,
                     const ibx_host_args *args) {
  size_t operand = 0, number = 0, result = 0;
  for (const char *c = signature; *c != 0; c++) {
    switch (*c) {
    case 'T':
    case 'O': push_pointer(f, args->operands[operand++]); break;
    case 'L': push_list(f, args, operand); break;
    case 'I':
      push(f, &ffi_type_sint64, ibx_host_lend(&args->ints[number++]));
      break;
    case 'R': push_pointer(f, args->results[result++]); break;
    default: break; // a blank or comma
    }
  }
}

// A T that is left out, or a list with a hole.
static bool has_required(const char *signature, const ibx_host_args *args) {
  size_t operand = 0;
  for (const char *c = signature; *c != 0; c++) {
    if (*c == 'T' && !args->operands[operand]) return false;
    operand += *c == 'T' || *c == 'O';
  }
  for (; operand < args->operand_count; operand++) {
    if (!args->operands[operand]) return false;
  }
  return true;
}

ibx_status ibx_host_call_run(const char *signature, void (*function)(void),
                             const ibx_host_args *args, ibx_error *err) {
  ibx_host_arity arity;
  ffi_cif cif;
  ffi_arg returned = 0;
  frame f = {.count = 0};
  if (!ibx_host_signature_read(signature, &arity) ||
      args->operand_count < arity.least ||
      (args->operand_count > arity.least && !arity.has_list) ||
      args->int_count != arity.ints || args->result_count != arity.results ||
      !has_required(signature, args)) {
    return IBX_FAIL(err, INVALID_ARGUMENT,
                    "the arguments of a host call are not those of its "
                    "signature (%.60s)",
                    signature);
  }
  push_all(&f, signature, args);
  push_pointer(&f, err);
  if (ffi_prep_cif(&cif, FFI_DEFAULT_ABI, f.count, &ffi_type_sint, f.types) !=
      FFI_OK) {
    return IBX_FAIL(err, UNSUPPORTED, "libffi cannot make the call (%.60s)",
                    signature);
  }
  ffi_call(&cif, function, &returned, f.values);
  return (ibx_status)(int)returned;
}

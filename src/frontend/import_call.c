// SPDX-License-Identifier: Apache-2.0
//
// What an importer asks of its node: inputs, types, attributes. Comes in: names
// and defaults. Goes out: values of the right kind. Holds afterwards: what was
// wrong has become one diagnostic, and every attribute that was asked for is
// noted, so that one that nobody reads can be reported.

#include "frontend/import.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void fail_with(ibx_call *call, ibx_diag_code code, const char *attribute,
                      const char *remedy, const char *format, va_list args) {
  if (call->failed) return;
  call->failed = true;
  char message[480];
  vsnprintf(message, sizeof(message), format, args);
  ibx_diag_at at = call->at;
  at.attribute = attribute;
  ibx_diag_add(call->import->sink, code, at, remedy, "%s", message);
}

void ibx_call_fail(ibx_call *call, ibx_diag_code code, const char *attribute,
                   const char *remedy, const char *format, ...) {
  va_list args;
  va_start(args, format);
  fail_with(call, code, attribute, remedy, format, args);
  va_end(args);
}

void ibx_call_refuse(ibx_call *call, const char *attribute, const char *format,
                     ...) {
  va_list args;
  va_start(args, format);
  fail_with(call, IBX_DIAG_UNSUPPORTED_FORM, attribute,
            "replace the node by operators that `imbrex ops` lists", format,
            args);
  va_end(args);
}

bool ibx_call_expect(ibx_call *call, bool fine, const char *input,
                     const char *what) {
  if (fine) return true;
  ibx_call_fail(call, IBX_DIAG_OPERAND_SHAPE, input,
                "correct the shapes where the model is made", "%s: %s", input,
                what);
  return false;
}

bool ibx_call_expect_room(ibx_call *call, int64_t elements) {
  enum { MOST = 1 << 26 };
  if (elements >= 0 && elements <= MOST) return true;
  ibx_call_fail(call, IBX_DIAG_TOO_LARGE, NULL, "use smaller extents",
                "the node needs a constant of %" PRId64 " elements, Imbrex "
                "makes up to %d",
                elements, MOST);
  return false;
}

bool ibx_has_in(const ibx_call *call, size_t index) {
  return index < call->in_count && call->in[index] != IBX_NO_VALUE;
}

ibx_val ibx_in(const ibx_call *call, size_t index) {
  return index < call->in_count ? call->in[index] : IBX_NO_VALUE;
}

bool ibx_wants_out(const ibx_call *call, size_t index) {
  return index < call->out_count && call->proto->output[index][0] != 0;
}

void ibx_out(ibx_call *call, size_t index, ibx_val value) {
  if (index < call->out_count) call->out[index] = value;
}

// After a failure a value may be none.
const ibx_type *ibx_type_of(const ibx_call *call, ibx_val value) {
  static const ibx_type nothing = {.dtype = IBX_DTYPE_F32};
  const ibx_graph *graph = &call->import->graph;
  return value < graph->value_count ? &graph->values[value].type : &nothing;
}

int64_t ibx_rank(const ibx_call *call, ibx_val value) {
  return ibx_type_of(call, value)->rank;
}

int64_t ibx_dim(const ibx_call *call, ibx_val value, int64_t index) {
  const ibx_type *type = ibx_type_of(call, value);
  if (index < 0) index += type->rank;
  return index >= 0 && index < type->rank ? type->dims[index] : 1;
}

ibx_dtype ibx_dtype_of(const ibx_call *call, ibx_val value) {
  return ibx_type_of(call, value)->dtype;
}

ibx_ints ibx_shape_of(const ibx_call *call, ibx_val value) {
  const ibx_type *type = ibx_type_of(call, value);
  return ibx_make_ints(type->dims, type->rank);
}

bool ibx_is_float(ibx_dtype dtype) {
  const ibx_dtype_info *info = ibx_dtype_get(dtype);
  return info && info->kind == IBX_DTYPE_KIND_FLOAT;
}

bool ibx_mul_extent(int64_t a, int64_t b, int64_t *out) {
  if (b != 0 && a > INT64_MAX / b) return false;
  *out = a * b;
  return true;
}

int64_t ibx_axis(ibx_call *call, int64_t axis, int64_t rank) {
  if (axis >= -rank && axis < rank) return axis < 0 ? axis + rank : axis;
  ibx_call_fail(
      call, IBX_DIAG_ATTRIBUTE_VALUE, "axis", "use an axis that the tensor has",
      "axis %" PRId64 " does not exist in a tensor of %" PRId64 " dimensions",
      axis, rank);
  return 0;
}

// --- attributes --------------------------------------------------------------

// In a function an attribute may stand for one of the call, or for the
// function's default.
static const Onnx__AttributeProto *resolve(const ibx_frame *frame,
                                           const Onnx__AttributeProto *found) {
  while (found && ibx_onnx_text(found->ref_attr_name)[0] != 0 &&
         frame->function) {
    const char *name = found->ref_attr_name;
    found = NULL;
    for (size_t i = 0; i < frame->call->n_attribute; i++) {
      if (strcmp(ibx_onnx_text(frame->call->attribute[i]->name), name) == 0) {
        found = frame->call->attribute[i];
      }
    }
    const Onnx__FunctionProto *function = frame->function;
    for (size_t i = 0; !found && i < function->n_attribute_proto; i++) {
      if (strcmp(ibx_onnx_text(function->attribute_proto[i]->name), name) ==
          0) {
        found = function->attribute_proto[i];
      }
    }
    frame = frame->caller;
  }
  return found;
}

static const Onnx__AttributeProto *find_attr(ibx_call *call, const char *name) {
  const Onnx__AttributeProto *found = NULL;
  for (size_t i = 0; i < call->proto->n_attribute; i++) {
    if (strcmp(ibx_onnx_text(call->proto->attribute[i]->name), name) != 0) {
      continue;
    }
    if (i < 64) call->attributes_read |= (uint64_t)1 << i;
    found = call->proto->attribute[i];
  }
  found = resolve(call->frame, found);
  if (!found || ibx_onnx_text(found->ref_attr_name)[0] == 0) return found;
  ibx_call_fail(call, IBX_DIAG_FUNCTION, name, "give the attribute a value",
                "attribute '%s' stands for '%s' of a function, and in none",
                name, found->ref_attr_name);
  return NULL;
}

bool ibx_has_attr(ibx_call *call, const char *name) {
  return find_attr(call, name) != NULL;
}

static const char *type_name(int type) {
  static const char *const names[] = {
      "undefined", "float", "int",     "string",  "tensor", "graph",
      "floats",    "ints",  "strings", "tensors", "graphs", "sparse tensor"};
  return type >= 0 && (size_t)type < IBX_COUNT_OF(names) ? names[type]
                                                         : "of another type";
}

// Models of IR 1 have no `type`; then what is present tells.
static int type_of(const Onnx__AttributeProto *attribute) {
  if (attribute->has_type && attribute->type != 0) return (int)attribute->type;
  if (attribute->has_f) return ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOAT;
  if (attribute->has_i) return ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INT;
  if (attribute->has_s) return ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__STRING;
  if (attribute->t) return ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__TENSOR;
  if (attribute->g) return ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__GRAPH;
  if (attribute->n_floats != 0) {
    return ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOATS;
  }
  if (attribute->n_strings != 0) {
    return ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__STRINGS;
  }
  return ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INTS;
}

bool ibx_attr_is(ibx_call *call, const char *name, int type) {
  const Onnx__AttributeProto *found = find_attr(call, name);
  return found && type_of(found) == type;
}

const Onnx__AttributeProto *ibx_attr(ibx_call *call, const char *name,
                                     int type) {
  const Onnx__AttributeProto *found = find_attr(call, name);
  if (!found || type_of(found) == type) return found;
  ibx_call_fail(call, IBX_DIAG_ATTRIBUTE_TYPE, name,
                "store the attribute with the type that the operator declares",
                "attribute '%s' is %s, the operator declares %s", name,
                type_name(type_of(found)), type_name(type));
  return NULL;
}

int64_t ibx_attr_int(ibx_call *call, const char *name, int64_t absent) {
  const Onnx__AttributeProto *found = IBX_ATTR(call, name, INT);
  return found ? found->i : absent;
}

bool ibx_attr_flag(ibx_call *call, const char *name, bool absent) {
  int64_t number = ibx_attr_int(call, name, absent);
  if (number != 0 && number != 1) {
    ibx_call_fail(call, IBX_DIAG_ATTRIBUTE_VALUE, name,
                  "set the attribute to 0 or 1",
                  "'%s' is %" PRId64 ", and 0 or 1 is wanted", name, number);
  }
  return number != 0;
}

float ibx_attr_any_float(ibx_call *call, const char *name, float absent) {
  const Onnx__AttributeProto *found = IBX_ATTR(call, name, FLOAT);
  return found ? found->f : absent;
}

float ibx_attr_float(ibx_call *call, const char *name, float absent) {
  float number = ibx_attr_any_float(call, name, absent);
  if (isfinite(number)) return number;
  ibx_call_fail(call, IBX_DIAG_ATTRIBUTE_VALUE, name,
                "set the attribute to a finite number", "'%s' is %f", name,
                (double)number);
  return absent;
}

const char *ibx_attr_text(ibx_call *call, const char *name,
                          const char *absent) {
  const Onnx__AttributeProto *found = IBX_ATTR(call, name, STRING);
  if (!found) return absent;
  if (found->s.len == 0) return "";
  return ibx_arena_text(&call->import->scratch, (const char *)found->s.data,
                        found->s.len);
}

bool ibx_attr_choice(ibx_call *call, const char *name, const char *absent,
                     const char *const *names, size_t count, size_t *out) {
  const char *text = ibx_attr_text(call, name, absent);
  for (*out = 0; *out < count; (*out)++) {
    if (strcmp(text, names[*out]) == 0) return true;
  }
  ibx_call_refuse(call, name, "%s = '%s'", name, text);
  return false;
}

bool ibx_attr_ints(ibx_call *call, const char *name, ibx_ints *out) {
  const Onnx__AttributeProto *found = IBX_ATTR(call, name, INTS);
  *out = (ibx_ints){0};
  if (!found) return false;
  if (found->n_ints > IBX_MAX_RANK) {
    ibx_call_fail(call, IBX_DIAG_UNSUPPORTED_RANK, name,
                  "use tensors of at most 8 dimensions",
                  "attribute '%s' has %zu entries, Imbrex handles %d", name,
                  found->n_ints, IBX_MAX_RANK);
    return false;
  }
  *out = ibx_make_ints(found->ints, found->n_ints);
  return true;
}

const Onnx__GraphProto *ibx_attr_graph(ibx_call *call, const char *name) {
  const Onnx__AttributeProto *found = IBX_ATTR(call, name, GRAPH);
  return found ? found->g : NULL;
}

void ibx_attr_ignore(ibx_call *call, const char *names) {
  for (const char *at = names; *at != 0;) {
    size_t len = strcspn(at, " ");
    find_attr(call, ibx_arena_text(&call->import->scratch, at, len));
    at += len;
    at += strspn(at, " ");
  }
}

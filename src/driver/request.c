// SPDX-License-Identifier: Apache-2.0
//
// From the arguments of a command to the options of the compiler. Every
// argument is checked here; names and numbers are copied into one piece of
// memory, numbers first, text behind them. Constants are read from their files.

#include "driver/driver.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

// Where the next number and the next text go.
typedef struct pieces {
  uint64_t *values;
  char *text;
} pieces;

static size_t count_char(const char *text, char wanted) {
  size_t count = 0;
  for (; *text; text++) {
    count += *text == wanted;
  }
  return count;
}

// Decimal digits only, as strtoull() takes signs and spaces too.
static bool read_number(const char **text, uint64_t *out) {
  uint64_t value = 0;
  const char *at = *text;
  for (; isdigit((unsigned char)*at); at++) {
    if (!ibx_mul_size(value, 10, &value) ||
        !ibx_add_size(value, (uint64_t)(*at - '0'), &value)) {
      return false;
    }
  }
  bool is_number = at != *text;
  *text = at;
  *out = value;
  return is_number;
}

static const char *copy_text(pieces *room, const char *text, size_t len) {
  char *copy = room->text;
  memcpy(copy, text, len);
  copy[len] = 0;
  room->text += len + 1;
  return copy;
}

// NAME=..., where the name may hold an '=' but for what follows the last one.
static const char *split(const char *argument) {
  const char *equal = strrchr(argument, '=');
  return equal && equal != argument && equal[1] ? equal : NULL;
}

static ibx_status make_dim(const char *argument, pieces *room,
                           ibx_dim_choice *out, ibx_error *err) {
  const char *at = split(argument);
  if (!at) {
    return IBX_FAIL(err, INVALID_ARGUMENT, "--dim: '%s' is no NAME=V[,V...]",
                    argument);
  }
  *out = (ibx_dim_choice){
      .name = copy_text(room, argument, (size_t)(at - argument)),
      .values = room->values};
  do {
    at++;
    if (!read_number(&at, room->values) || (*at != ',' && *at != 0)) {
      return IBX_FAIL(err, INVALID_ARGUMENT,
                      "--dim: '%s' holds something that is no number",
                      argument);
    }
    room->values++;
    out->value_count++;
  } while (*at == ',');
  return IBX_OK;
}

static ibx_status make_shape(const char *argument, pieces *room,
                             ibx_input_shape *out, ibx_error *err) {
  const char *at = split(argument);
  if (!at) {
    return IBX_FAIL(err, INVALID_ARGUMENT,
                    "--input-shape: '%s' is no NAME=2x3x4", argument);
  }
  out->name = copy_text(room, argument, (size_t)(at - argument));
  do {
    at++;
    if (out->rank == IBX_MAX_RANK) {
      return IBX_FAIL(err, INVALID_ARGUMENT,
                      "--input-shape: '%s' has more than %d dimensions",
                      argument, IBX_MAX_RANK);
    }
    if (!read_number(&at, &out->shape[out->rank++]) || (*at != 'x' && *at)) {
      return IBX_FAIL(err, INVALID_ARGUMENT,
                      "--input-shape: '%s' holds something that is no number",
                      argument);
    }
  } while (*at == 'x');
  return IBX_OK;
}

static ibx_status make_length(const char *argument, pieces *room,
                              ibx_input_length *out, ibx_error *err) {
  const char *at = split(argument);
  if (at) {
    out->name = copy_text(room, argument, (size_t)(at++ - argument));
    out->is_absent = strcmp(at, "none") == 0;
    if (out->is_absent || (read_number(&at, &out->count) && *at == 0)) {
      return IBX_OK;
    }
  }
  return IBX_FAIL(err, INVALID_ARGUMENT,
                  "--length: '%s' is no NAME=N and no NAME=none", argument);
}

ibx_input_value ibx_input_value_of(const char *name, const ibx_array *array) {
  ibx_input_value value = {.name = name,
                           .dtype = array->dtype,
                           .rank = array->rank,
                           .data = array->data};
  if (array->dtype == IBX_DTYPE_STRING) value.data = &array->texts;
  memcpy(value.shape, array->shape, sizeof value.shape);
  return value;
}

static ibx_status make_constant(const char *argument, pieces *room,
                                ibx_array *array, ibx_input_value *out,
                                ibx_error *err) {
  const char *at = strchr(argument, '=');
  if (!at || at == argument || !at[1]) {
    return IBX_FAIL(err, INVALID_ARGUMENT, "--constant: '%s' is no NAME=FILE",
                    argument);
  }
  const char *name = copy_text(room, argument, (size_t)(at - argument));
  IBX_TRY(ibx_array_read(at + 1, array, err));
  *out = ibx_input_value_of(name, array);
  return IBX_OK;
}

static ibx_status make_state(const char *argument, pieces *room,
                             ibx_state_pair *out, ibx_error *err) {
  const char *at = split(argument);
  if (!at) {
    return IBX_FAIL(err, INVALID_ARGUMENT, "--state: '%s' is no PAST=PRESENT",
                    argument);
  }
  out->past = copy_text(room, argument, (size_t)(at - argument));
  out->present = copy_text(room, at + 1, strlen(at + 1));
  return IBX_OK;
}

static ibx_status fill(const ibx_compile_args *args, ibx_compile_request *out,
                       pieces *room, ibx_error *err) {
  for (size_t i = 0; i < args->dims.count; i++) {
    IBX_TRY(make_dim(args->dims.items[i], room, &out->dims[i], err));
  }
  for (size_t i = 0; i < args->input_shapes.count; i++) {
    IBX_TRY(make_shape(args->input_shapes.items[i], room, &out->input_shapes[i],
                       err));
  }
  for (size_t i = 0; i < args->lengths.count; i++) {
    IBX_TRY(
        make_length(args->lengths.items[i], room, &out->input_lengths[i], err));
  }
  for (size_t i = 0; i < args->constants.count; i++) {
    IBX_TRY(make_constant(args->constants.items[i], room, &out->arrays[i],
                          &out->input_values[i], err));
    out->options.input_value_count++;
  }
  for (size_t i = 0; i < args->states.count; i++) {
    IBX_TRY(make_state(args->states.items[i], room, &out->states[i], err));
  }
  return IBX_OK;
}

static size_t text_size(const ibx_option_list *list) {
  size_t size = 0;
  for (size_t i = 0; i < list->count; i++) {
    size += strlen(list->items[i]) + 2;
  }
  return size;
}

static bool allocate(const ibx_compile_args *args, ibx_compile_request *out,
                     pieces *room) {
  size_t values = 1;
  for (size_t i = 0; i < args->dims.count; i++) {
    values += count_char(args->dims.items[i], ',') + 1;
  }
  size_t text = text_size(&args->dims) + text_size(&args->input_shapes) +
                text_size(&args->lengths) + text_size(&args->constants) +
                text_size(&args->states);
  out->dims = calloc(args->dims.count + 1, sizeof *out->dims);
  out->input_shapes =
      calloc(args->input_shapes.count + 1, sizeof *out->input_shapes);
  out->input_lengths =
      calloc(args->lengths.count + 1, sizeof *out->input_lengths);
  out->input_values =
      calloc(args->constants.count + 1, sizeof *out->input_values);
  out->arrays = calloc(args->constants.count + 1, sizeof *out->arrays);
  out->states = calloc(args->states.count + 1, sizeof *out->states);
  out->memory = malloc(values * sizeof(uint64_t) + text);
  room->values = out->memory;
  room->text = out->memory ? (char *)(room->values + values) : NULL;
  return out->dims && out->input_shapes && out->input_lengths &&
         out->input_values && out->arrays && out->states && out->memory;
}

ibx_status ibx_compile_request_init(const ibx_compile_args *args,
                                    ibx_compile_request *out, ibx_error *err) {
  static const ibx_dtype CASTS[] = {IBX_DTYPE_BF16, IBX_DTYPE_F16,
                                    IBX_DTYPE_F8E4M3FN};
  *out = (ibx_compile_request){0};
  if (args->level > 2) {
    return IBX_FAIL(err, INVALID_ARGUMENT, "-O%llu; the levels are 0, 1, 2",
                    (unsigned long long)args->level);
  }
  pieces room;
  ibx_compile_options *options = &out->options;
  ibx_compile_options_init(options);
  ibx_status status = allocate(args, out, &room)
                          ? fill(args, out, &room, err)
                          : IBX_FAIL(err, OUT_OF_MEMORY, "no memory");
  if (status != IBX_OK) {
    ibx_compile_request_fini(out);
    return status;
  }
  options->target = args->target;
  options->auto_cast = (ibx_auto_cast)args->auto_cast;
  options->auto_cast_type = CASTS[args->auto_cast_type];
  options->level = (unsigned)args->level;
  options->no_host = args->no_host;
  options->dims = out->dims;
  options->dim_count = args->dims.count;
  options->input_shapes = out->input_shapes;
  options->input_shape_count = args->input_shapes.count;
  options->input_lengths = out->input_lengths;
  options->input_length_count = args->lengths.count;
  options->input_values = out->input_values;
  options->states = out->states;
  options->state_count = args->states.count;
  return IBX_OK;
}

void ibx_compile_request_fini(ibx_compile_request *request) {
  free(request->dims);
  free(request->input_shapes);
  free(request->input_lengths);
  for (size_t i = 0; i < request->options.input_value_count; i++) {
    ibx_array_fini(&request->arrays[i]);
  }
  free(request->input_values);
  free(request->arrays);
  free(request->states);
  free(request->memory);
  *request = (ibx_compile_request){0};
}

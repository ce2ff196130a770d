// SPDX-License-Identifier: Apache-2.0
//
// Elements of operands. In: views, whose addresses are checked. Out: values.
// Holds: an operand opened for reading is a packed copy and does not change
// while the instruction writes.

#include "sim/element.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static uint8_t *address(const ibx_sim_view *view, size_t p, size_t i) {
  size_t row = i / view->num[2];
  return view->base + p * view->partition_bytes +
         (ptrdiff_t)(i % view->num[2]) * view->step[2] +
         (ptrdiff_t)(row % view->num[1]) * view->step[1] +
         (ptrdiff_t)(row / view->num[1]) * view->step[0];
}

// Room for the copy of an operand, kept from one instruction to the next.
static ibx_status take_room(const ibx_exec *x, unsigned slot, size_t size,
                            uint8_t **out) {
  ibx_sim_shadow *room = &x->sim->shadow[slot];
  if (size > room->size) {
    uint8_t *data = realloc(room->data, size);
    if (data == NULL) {
      return IBX_FAIL(x->err, OUT_OF_MEMORY, "no memory for %zu bytes", size);
    }
    *room = (ibx_sim_shadow){.data = data, .size = size};
  }
  *out = room->data;
  return IBX_OK;
}

static void point_at_copy(ibx_sim_view *view, uint8_t *copy) {
  size_t row = view->elements * view->element_bytes;
  view->base = copy;
  view->partition_bytes = row;
  view->num[0] = view->num[1] = 1;
  view->num[2] = (uint32_t)view->elements;
  view->step[0] = view->step[1] = 0;
  view->step[2] = (ptrdiff_t)view->element_bytes;
  view->low = 0;
  view->high = (ptrdiff_t)row;
  view->dense = true;
}

static ibx_status copy_aside(const ibx_exec *x, unsigned slot,
                             ibx_sim_view *view) {
  size_t bytes = view->element_bytes;
  uint8_t *copy = NULL;
  IBX_TRY(take_room(x, slot, view->partitions * view->elements * bytes, &copy));
  uint8_t *to = copy;
  for (size_t p = 0; p < view->partitions; p++) {
    for (size_t i = 0; i < view->elements; i++, to += bytes) {
      memcpy(to, address(view, p, i), bytes);
    }
  }
  point_at_copy(view, copy);
  return IBX_OK;
}

ibx_status ibx_open_read(const ibx_exec *x, unsigned slot, ibx_sim_view *out) {
  IBX_TRY(ibx_sim_view_open(x, slot, out));
  return copy_aside(x, slot, out);
}

ibx_status ibx_open_write(const ibx_exec *x, unsigned slot, ibx_sim_view *out) {
  return ibx_sim_view_open(x, slot, out);
}

ibx_status ibx_open_scalar(const ibx_exec *x, unsigned slot, float immediate,
                           ibx_sim_view *out) {
  if (x->insn->operand[slot].buffer != IBX_NO_BUFFER) {
    return ibx_open_read(x, slot, out);
  }
  uint8_t *copy = NULL;
  IBX_TRY(take_room(x, slot, sizeof(immediate), &copy));
  memcpy(copy, &immediate, sizeof(immediate));
  *out = (ibx_sim_view){.partitions = x->insn->partitions,
                        .elements = 1,
                        .element_bytes = sizeof(immediate),
                        .dtype = IBX_DTYPE_F32};
  point_at_copy(out, copy);
  out->partition_bytes = 0; // the same in every partition
  return IBX_OK;
}

float ibx_load(const ibx_sim_view *view, size_t p, size_t i) {
  float value;
  ibx_dtype_load_f32(view->dtype, address(view, p, i), &value, 1);
  return value;
}

void ibx_store(const ibx_sim_view *view, size_t p, size_t i, float value) {
  float known = value != value ? NAN : value;
  known = ibx_round(&view->rounder, view->dtype, p, i, known);
  ibx_dtype_store_f32(view->dtype, &known, address(view, p, i), 1);
}

uint32_t ibx_load_bits(const ibx_sim_view *view, size_t p, size_t i) {
  uint32_t bits = 0;
  memcpy(&bits, address(view, p, i), view->element_bytes); // little endian
  uint32_t sign = UINT32_C(1) << (8 * view->element_bytes - 1);
  return ibx_is_signed(view) && bits & sign ? bits | (0u - sign) : bits;
}

void ibx_store_bits(const ibx_sim_view *view, size_t p, size_t i,
                    uint32_t bits) {
  memcpy(address(view, p, i), &bits, view->element_bytes);
}

int64_t ibx_load_integer(const ibx_sim_view *view, size_t p, size_t i) {
  uint64_t bits = 0;
  memcpy(&bits, address(view, p, i), view->element_bytes); // little endian
  uint64_t sign = UINT64_C(1) << (8 * view->element_bytes - 1);
  return (int64_t)(ibx_is_signed(view) && bits & sign ? bits | (0 - sign)
                                                      : bits);
}

void ibx_store_integer(const ibx_sim_view *view, size_t p, size_t i,
                       int64_t value) {
  if (view->dtype == IBX_DTYPE_BOOL) value = value != 0;
  memcpy(address(view, p, i), &value, view->element_bytes);
}

void ibx_copy_element(const ibx_sim_view *dst, size_t p, size_t j,
                      const ibx_sim_view *src, size_t i) {
  memcpy(address(dst, p, j), address(src, p, i), dst->element_bytes);
}

bool ibx_holds_floats(const ibx_sim_view *view) {
  return ibx_dtype_get(view->dtype)->kind == IBX_DTYPE_KIND_FLOAT;
}

bool ibx_is_int32(const ibx_sim_view *view) {
  return view->dtype == IBX_DTYPE_I32 || view->dtype == IBX_DTYPE_U32;
}

bool ibx_is_signed(const ibx_sim_view *view) {
  return ibx_dtype_get(view->dtype)->kind == IBX_DTYPE_KIND_SINT;
}

uint32_t ibx_scalar_bits(float value) {
  uint32_t bits;
  if (value < 0.0f) {
    ibx_dtype_store_f32(IBX_DTYPE_I32, &value, &bits, 1);
  } else {
    ibx_dtype_store_f32(IBX_DTYPE_U32, &value, &bits, 1);
  }
  return bits;
}

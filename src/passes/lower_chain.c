// SPDX-License-Identifier: Apache-2.0
//
// Chains of pointwise operations. Comes in: nodes that each read their
// predecessor. Goes out: few instructions for each tile. The nodes become micro
// operations on a running value, and the micro operations are packed greedily
// into what one instruction can do:
//
//   x * a + b, then f        activation(f, scale, bias)
//   x op a op b              tensor_scalar
//   (x op a) op tensor       scalar_tensor_tensor
//
// What the machine lacks (floor, remainders, division) is composed here.

#include "passes/lower.h"
#include "passes/range.h"

#include <math.h>
#include <string.h>

typedef enum micro_kind {
  MICRO_ALU,    // cur = cur op (imm or column)
  MICRO_ACT,    // cur = f(cur)
  MICRO_TENSOR, // cur = cur op view, or view op cur
  MICRO_ROUND,  // cur = nearest whole number
  MICRO_SAVE,   // saved[slot] = cur
  MICRO_SAVED,  // cur = cur op saved[slot], or saved op cur
  MICRO_LOAD,   // cur = view
  MICRO_NARROW  // cur = cur in dtype `op`
} micro_kind;

struct ibx_micro {
  micro_kind kind;
  uint8_t op;
  uint8_t slot;
  bool reverse; // the running value is the right side
  bool has_view;
  ibx_dtype dtype; // of the running value after it, should it go to memory
  float imm;
  ibx_view view;
};

enum { MICROS_PER_NODE = 12, TILE_ELEMENTS = 2048 };

typedef struct micro_list {
  ibx_micro *at;
  size_t count;
} micro_list;

static void add_alu(micro_list *list, ibx_alu op, float imm) {
  list->at[list->count++] =
      (ibx_micro){.kind = MICRO_ALU, .op = (uint8_t)op, .imm = imm};
}

static void add_act(micro_list *list, ibx_act op) {
  list->at[list->count++] = (ibx_micro){.kind = MICRO_ACT, .op = (uint8_t)op};
}

static void add_plain(micro_list *list, micro_kind kind, uint8_t slot) {
  list->at[list->count++] = (ibx_micro){.kind = kind, .slot = slot};
}

static void add_saved(micro_list *list, ibx_alu op, uint8_t slot,
                      bool reverse) {
  list->at[list->count++] = (ibx_micro){
      .kind = MICRO_SAVED, .op = (uint8_t)op, .slot = slot, .reverse = reverse};
}

// The nearest whole number, of x in `slot`. Where rounding goes through 32-bit
// integers, what they do not hold is whole: x less the fraction, which is cut to
// a half, is x there.
static void add_round(micro_list *list, uint8_t slot, bool is_small) {
  add_plain(list, MICRO_ROUND, 0);
  if (is_small) return;
  add_saved(list, IBX_ALU_SUBTRACT, slot, true);
  add_alu(list, IBX_ALU_MAX, -0.5f);
  add_alu(list, IBX_ALU_MIN, 0.5f);
  add_saved(list, IBX_ALU_SUBTRACT, slot, true);
}

// floor(x): the nearest whole number, less one where it lies above x.
static void add_floor(micro_list *list, uint8_t slot, bool is_small) {
  add_plain(list, MICRO_SAVE, slot);
  add_round(list, slot, is_small);
  add_plain(list, MICRO_SAVE, (uint8_t)(slot + 1));
  add_saved(list, IBX_ALU_GREATER, slot, false);
  add_saved(list, IBX_ALU_SUBTRACT, (uint8_t)(slot + 1), true);
}

// Towards zero: floor(|x|) with the sign of x.
static void add_trunc(micro_list *list) {
  add_plain(list, MICRO_SAVE, 2);
  add_alu(list, IBX_ALU_ABS_MAX, 0.0f);
  add_floor(list, 0, true); // it becomes an integer
  add_plain(list, MICRO_SAVE, 0);
  list->at[list->count++] = (ibx_micro){.kind = MICRO_LOAD, .slot = 3};
  add_act(list, IBX_ACT_SIGN);
  add_saved(list, IBX_ALU_MULTIPLY, 0, false);
}

static bool is_integer(ibx_dtype dtype) {
  const ibx_dtype_info *info = ibx_dtype_get(dtype);
  return info->kind == IBX_DTYPE_KIND_SINT || info->kind == IBX_DTYPE_KIND_UINT;
}

static void add_cast(const ibx_graph *graph, uint32_t value, ibx_dtype to,
                     micro_list *list) {
  ibx_dtype from = graph->values[value].type.dtype;
  if (to == IBX_DTYPE_BOOL && from != IBX_DTYPE_BOOL) {
    add_alu(list, IBX_ALU_NOT_EQUAL, 0.0f);
  } else if (is_integer(to) && !ibx_is_whole(graph, value)) {
    add_trunc(list);
  } else if (ibx_dtype_bytes(to) == 1 && from != to) {
    // Who casts to 8 bits wants what they lose, whatever follows.
    list->at[list->count++] =
        (ibx_micro){.kind = MICRO_NARROW, .op = (uint8_t)to};
  }
}

static const struct {
  ibx_tensor_op op;
  ibx_act act;
} ACTIVATIONS[] = {
    {IBX_TENSOR_exp, IBX_ACT_EXP},
    {IBX_TENSOR_log, IBX_ACT_LOG},
    {IBX_TENSOR_erf, IBX_ACT_ERF},
    {IBX_TENSOR_tanh, IBX_ACT_TANH},
    {IBX_TENSOR_sigmoid, IBX_ACT_SIGMOID},
    {IBX_TENSOR_gelu, IBX_ACT_GELU},
    {IBX_TENSOR_gelu_tanh, IBX_ACT_GELU_TANH},
    {IBX_TENSOR_gelu_sigmoid, IBX_ACT_GELU_SIGMOID},
    {IBX_TENSOR_silu, IBX_ACT_SILU},
    {IBX_TENSOR_mish, IBX_ACT_MISH},
    {IBX_TENSOR_softplus, IBX_ACT_SOFTPLUS},
    {IBX_TENSOR_sign, IBX_ACT_SIGN},
};

// sin(x) = sin(x - 2 pi round(x / 2 pi)): the function holds in [-pi, pi] only.
static void add_sine(micro_list *list, float phase) {
  const float turn = 6.28318530717958647692f;
  if (phase != 0.0f) add_alu(list, IBX_ALU_ADD, phase);
  add_plain(list, MICRO_SAVE, 0);
  add_alu(list, IBX_ALU_MULTIPLY, 1.0f / turn);
  add_plain(list, MICRO_ROUND, 0);
  add_alu(list, IBX_ALU_MULTIPLY, turn);
  add_saved(list, IBX_ALU_SUBTRACT, 0, true);
  add_alu(list, IBX_ALU_MAX, -3.14159265f);
  add_alu(list, IBX_ALU_MIN, 3.14159265f);
  add_act(list, IBX_ACT_SIN);
}

// x where x >= 0, else alpha * (exp(x) - 1):
// max(x, 0) + alpha * (exp(min(x, 0)) - 1)
static void add_elu(micro_list *list, float alpha) {
  add_plain(list, MICRO_SAVE, 0);
  add_alu(list, IBX_ALU_MAX, 0.0f);
  add_plain(list, MICRO_SAVE, 1);
  list->at[list->count++] = (ibx_micro){.kind = MICRO_LOAD, .slot = 1};
  add_alu(list, IBX_ALU_MIN, 0.0f);
  add_act(list, IBX_ACT_EXP);
  add_alu(list, IBX_ALU_SUBTRACT, 1.0f);
  add_alu(list, IBX_ALU_MULTIPLY, alpha);
  add_saved(list, IBX_ALU_ADD, 1, false);
}

// A limit that the dtype holds may follow the rounding as well as precede it,
// so the value between the two may be narrow, which runs at four times the rate.
static void add_clip(const ibx_graph *graph, const ibx_node *node,
                     micro_list *list) {
  float low = node->params.alpha, high = node->params.beta, stored;
  ibx_dtype dtype = graph->values[node->result].type.dtype;
  if (low > -INFINITY) add_alu(list, IBX_ALU_MAX, low);
  if (!(high < INFINITY)) return;
  uint8_t bytes[8];
  ibx_dtype_store_f32(dtype, &high, bytes, 1);
  ibx_dtype_load_f32(dtype, bytes, &stored, 1);
  if (low > -INFINITY && stored == high) {
    list->at[list->count - 1].dtype = dtype;
  }
  add_alu(list, IBX_ALU_MIN, high);
}

// Whether it is the same to round x as if it lay within 32-bit integers: what
// comes `after` cuts it off, or its dtype is f16.
static bool is_small(const ibx_graph *graph, const ibx_node *node,
                     const ibx_node *after) {
  const double most = 1 << 30;
  if (graph->values[node->result].type.dtype == IBX_DTYPE_F16) return true;
  return after && after->op == IBX_TENSOR_clip &&
         fabs((double)after->params.alpha) <= most &&
         fabs((double)after->params.beta) <= most;
}

static bool unary_micros(const ibx_graph *graph, const ibx_node *node,
                         const ibx_node *after, micro_list *list) {
  const ibx_params *p = &node->params;
  bool small = is_small(graph, node, after);
  for (size_t i = 0; i < IBX_COUNT_OF(ACTIVATIONS); i++) {
    if (ACTIVATIONS[i].op != node->op) continue;
    add_act(list, ACTIVATIONS[i].act);
    return true;
  }
  switch (node->op) {
  case IBX_TENSOR_neg: add_alu(list, IBX_ALU_MULTIPLY, -1.0f); return true;
  case IBX_TENSOR_abs: add_alu(list, IBX_ALU_ABS_MAX, 0.0f); return true;
  case IBX_TENSOR_relu: add_alu(list, IBX_ALU_MAX, 0.0f); return true;
  case IBX_TENSOR_sqrt: add_alu(list, IBX_ALU_POWER, 0.5f); return true;
  case IBX_TENSOR_rsqrt: add_alu(list, IBX_ALU_POWER, -0.5f); return true;
  case IBX_TENSOR_reciprocal: add_alu(list, IBX_ALU_POWER, -1.0f); return true;
  case IBX_TENSOR_not: add_alu(list, IBX_ALU_EQUAL, 0.0f); return true;
  case IBX_TENSOR_round:
    if (!small) add_plain(list, MICRO_SAVE, 0);
    add_round(list, 0, small);
    return true;
  case IBX_TENSOR_floor: add_floor(list, 0, small); return true;
  case IBX_TENSOR_ceil:
    add_alu(list, IBX_ALU_MULTIPLY, -1.0f);
    add_floor(list, 0, small);
    add_alu(list, IBX_ALU_MULTIPLY, -1.0f);
    return true;
  case IBX_TENSOR_sin: add_sine(list, 0.0f); return true;
  case IBX_TENSOR_cos: add_sine(list, 1.57079632679489662f); return true;
  case IBX_TENSOR_elu: add_elu(list, p->alpha); return true;
  case IBX_TENSOR_is_nan:
    add_plain(list, MICRO_SAVE, 0);
    add_saved(list, IBX_ALU_NOT_EQUAL, 0, false);
    return true;
  case IBX_TENSOR_leaky_relu:
    add_plain(list, MICRO_SAVE, 0);
    add_alu(list, IBX_ALU_MULTIPLY, p->alpha);
    // alpha <= 1: the larger one; alpha > 1: the smaller one.
    add_saved(list, p->alpha <= 1.0f ? IBX_ALU_MAX : IBX_ALU_MIN, 0, false);
    return true;
  case IBX_TENSOR_clip: add_clip(graph, node, list); return true;
  case IBX_TENSOR_affine:
    if (p->alpha != 1.0f) add_alu(list, IBX_ALU_MULTIPLY, p->alpha);
    if (p->beta != 0.0f) add_alu(list, IBX_ALU_ADD, p->beta);
    return true;
  case IBX_TENSOR_cast:
    add_cast(graph, node->operand[0], p->dtype, list);
    return true;
  default: return false;
  }
}

static const struct {
  ibx_tensor_op op;
  ibx_alu alu;
} BINARIES[] = {
    {IBX_TENSOR_add, IBX_ALU_ADD},
    {IBX_TENSOR_sub, IBX_ALU_SUBTRACT},
    {IBX_TENSOR_mul, IBX_ALU_MULTIPLY},
    {IBX_TENSOR_pow, IBX_ALU_POWER},
    {IBX_TENSOR_max, IBX_ALU_MAX},
    {IBX_TENSOR_min, IBX_ALU_MIN},
    {IBX_TENSOR_and, IBX_ALU_LOGICAL_AND},
    {IBX_TENSOR_or, IBX_ALU_LOGICAL_OR},
    {IBX_TENSOR_xor, IBX_ALU_LOGICAL_XOR},
    {IBX_TENSOR_equal, IBX_ALU_EQUAL},
    {IBX_TENSOR_less, IBX_ALU_LESS},
    {IBX_TENSOR_less_equal, IBX_ALU_LESS_EQUAL},
};

// Elements of the atoms behind the outermost one: slices begin at multiples.
static int64_t inner_of(const ibx_dim *dim) {
  int64_t inner = 1;
  for (uint8_t a = 1; a < dim->count; a++)
    inner *= dim->atom[a].size;
  return inner;
}

static bool has_boundary(const ibx_dim *dim, int64_t boundary) {
  int64_t inner = 1;
  for (int a = dim->count - 1; a > 0 && inner < boundary; a--)
    inner *= dim->atom[a].size;
  return inner == boundary;
}

// Whether every place at which a slice of the result's dimension may begin is
// one for the operand as well: then a tile of the result is a slice of both.
static bool is_cut_alike(const ibx_dim *dim, const ibx_dim *whole) {
  int64_t inner = 1;
  for (int a = dim->count - 1; a > 0; a--) {
    inner *= dim->atom[a].size;
    if (!has_boundary(whole, inner)) return false;
  }
  return true;
}

// An operand whose dimensions are cut elsewhere than those of the result (each
// row of a smaller image twice) is copied where tiles are not chosen by it.
static bool cut_alike(ibx_lower *lower, const ibx_view *whole, ibx_view *view) {
  bool alike = true;
  for (uint8_t d = 0; d < whole->rank; d++)
    alike = alike && is_cut_alike(&view->dim[d], &whole->dim[d]);
  if (alike) return true;
  ibx_view copy;
  if (!ibx_lower_temp(lower, whole, view->dtype, &copy) ||
      !ibx_lower_move(lower, &copy, view)) {
    return false;
  }
  *view = copy;
  return true;
}

// What operands of a chain are brought next to.
typedef struct chain_place {
  const ibx_view *whole;
  bool tiled; // tiles of the result may begin anywhere
} chain_place;

// The other operand of a binary node as micro operation `op`.
static bool add_operand(ibx_lower *lower, const chain_place *place,
                        uint32_t other, ibx_alu op, bool reverse,
                        micro_list *list) {
  const ibx_view *whole = place->whole;
  ibx_micro micro = {.op = (uint8_t)op, .reverse = reverse};
  if (ibx_lower_uniform(lower, other, &micro.imm)) {
    micro.kind = MICRO_ALU;
    // Powers that have a cheaper form.
    if (op == IBX_ALU_POWER && !reverse && micro.imm == 2.0f) {
      add_act(list, IBX_ACT_SQUARE);
      return true;
    }
  } else {
    // One value a partition of each tile becomes a scalar operand, in fp32.
    ibx_dtype dtype = ibx_lower_is_column(lower, other, whole) ? IBX_DTYPE_F32
                                                               : IBX_DTYPE_NONE;
    if (!ibx_lower_like(lower, other, whole, dtype, &micro.view)) return false;
    if (place->tiled && !cut_alike(lower, whole, &micro.view)) return false;
    micro.kind = MICRO_TENSOR;
    micro.has_view = true;
  }
  list->at[list->count++] = micro;
  return true;
}

static bool division(ibx_lower *lower, const chain_place *place, uint32_t other,
                     bool reverse, ibx_dtype dtype, micro_list *list) {
  float imm;
  if (!reverse && ibx_lower_uniform(lower, other, &imm)) {
    add_alu(list, IBX_ALU_MULTIPLY, 1.0f / imm);
  } else if (reverse) {
    add_alu(list, IBX_ALU_POWER, -1.0f);
    if (!add_operand(lower, place, other, IBX_ALU_MULTIPLY, false, list)) {
      return false;
    }
  } else {
    add_plain(list, MICRO_SAVE, 2);
    if (!add_operand(lower, place, other, IBX_ALU_BYPASS, false, list)) {
      return false;
    }
    list->at[list->count - 1].kind = MICRO_LOAD;
    add_alu(list, IBX_ALU_POWER, -1.0f);
    add_saved(list, IBX_ALU_MULTIPLY, 2, false);
  }
  if (is_integer(dtype)) add_trunc(list);
  return true;
}

static bool binary_micros(ibx_lower *lower, const ibx_node *node,
                          uint32_t value, const chain_place *place,
                          micro_list *list) {
  bool both = node->operand[0] == value && node->operand[1] == value;
  bool reverse = node->operand[0] != value;
  uint32_t other = node->operand[reverse ? 0 : 1];
  ibx_dtype dtype = lower->graph->values[value].type.dtype;
  if (node->op == IBX_TENSOR_div) {
    return division(lower, place, other, reverse, dtype, list);
  }
  for (size_t i = 0; i < IBX_COUNT_OF(BINARIES); i++) {
    if (BINARIES[i].op != node->op) continue;
    if (!both) {
      return add_operand(lower, place, other, BINARIES[i].alu, reverse, list);
    }
    if (node->op == IBX_TENSOR_mul) {
      add_act(list, IBX_ACT_SQUARE);
    } else {
      add_plain(list, MICRO_SAVE, 0);
      add_saved(list, BINARIES[i].alu, 0, false);
    }
    return true;
  }
  return ibx_lower_fail(lower, IBX_UNSUPPORTED,
                        "operation %s has no instruction on this target",
                        ibx_tensor_op_get(node->op)->name);
}

// A list for a chain of `count` nodes, in the same room each time: a micro
// operation is more than a kilobyte, and few nodes take as many as they may.
static micro_list micros_for(ibx_lower *lower, size_t count) {
  size_t most = (count + 1) * MICROS_PER_NODE;
  if (lower->micro_room < most) {
    lower->micros = IBX_ARENA_ARRAY(lower->arena, most, ibx_micro);
    lower->micro_room = most;
  }
  return (micro_list){.at = lower->micros};
}

// Elements that lie in one partition.
static int64_t free_elements(const ibx_view *view) {
  int64_t elements = 1;
  for (uint8_t d = 0; d < view->rank; d++) {
    for (uint8_t a = 0; a < view->dim[d].count; a++) {
      if (view->dim[d].atom[a].pstep == 0)
        elements *= view->dim[d].atom[a].size;
    }
  }
  return elements;
}

// Whether other functions of the graph come from the table of exponentials.
static bool has_exponentials(const ibx_graph *graph) {
  uint8_t table = ibx_act_table(IBX_ACT_EXP);
  for (size_t n = 0; n < graph->node_count; n++) {
    ibx_tensor_op op = graph->nodes[n].op;
    if (op == IBX_TENSOR_softmax) return true;
    for (size_t i = 0; i < IBX_COUNT_OF(ACTIVATIONS); i++) {
      if (ACTIVATIONS[i].op == op &&
          ibx_act_table(ACTIVATIONS[i].act) == table) {
        return true;
      }
    }
  }
  return false;
}

// GELU by its tanh, of few elements: x * sigmoid(x * (1.5957 + 0.0713 * x^2))
// takes four more instructions, but does not change the table of the scalar
// engine for one function and back.
static bool add_small_gelu(const ibx_lower *lower, const ibx_view *whole,
                           micro_list *list) {
  const ibx_machine *machine = lower->ctx->machine;
  double each = (double)free_elements(whole);
  if (each < machine->min_interval) each = machine->min_interval;
  double mhz = ibx_machine_clock_mhz(machine, IBX_ENGINE_VECTOR);
  if (4 * each * 1e6 / mhz > 2.0 * machine->table_load_ps) return false;
  if (!has_exponentials(lower->graph)) return false;
  add_plain(list, MICRO_SAVE, 0);
  add_saved(list, IBX_ALU_MULTIPLY, 0, false);
  add_alu(list, IBX_ALU_MULTIPLY, 0.0713548162726f);
  add_alu(list, IBX_ALU_ADD, 1.59576912160573f);
  add_saved(list, IBX_ALU_MULTIPLY, 0, false);
  add_act(list, IBX_ACT_SIGMOID);
  add_saved(list, IBX_ALU_MULTIPLY, 0, false);
  return true;
}

bool ibx_chain_make(ibx_lower *lower, ibx_chain *chain, uint32_t value,
                    const ibx_view *whole) {
  micro_list list = micros_for(lower, chain->count);
  const chain_place place = {.whole = whole, .tiled = chain->tiled};
  for (size_t i = 0; i < chain->count; i++) {
    const ibx_node *node = &lower->graph->nodes[chain->nodes[i]];
    const ibx_node *after =
        i + 1 < chain->count ? &lower->graph->nodes[chain->nodes[i + 1]] : NULL;
    bool unary = node->operand_count == 1;
    bool small =
        node->op == IBX_TENSOR_gelu_tanh && add_small_gelu(lower, whole, &list);
    if (unary && !small && !unary_micros(lower->graph, node, after, &list)) {
      return ibx_lower_fail(lower, IBX_UNSUPPORTED,
                            "operation %s has no instruction on this target",
                            ibx_tensor_op_get(node->op)->name);
    }
    size_t first = list.count;
    if (!unary && !binary_micros(lower, node, value, &place, &list))
      return false;
    value = node->result;
    // Between nodes a value may be rounded to its dtype, as it would be if the
    // nodes were not fused; inside of a node it stays fp32.
    if (list.count > 0 && list.count >= first) {
      ibx_dtype dtype = lower->graph->values[value].type.dtype;
      list.at[list.count - 1].dtype = dtype;
    }
  }
  ibx_micro *made = IBX_ARENA_ARRAY(lower->arena, list.count + 1, ibx_micro);
  memcpy(made, list.at, list.count * sizeof(ibx_micro));
  chain->micros = made;
  chain->micro_count = list.count;
  chain->whole = *whole;
  return true;
}

bool ibx_chain_repeats(const ibx_chain *chain, uint8_t from) {
  for (size_t i = 0; i < chain->micro_count; i++) {
    const ibx_micro *micro = &chain->micros[i];
    for (uint8_t d = from; micro->has_view && d < micro->view.rank; d++) {
      const ibx_dim *dim = &micro->view.dim[d];
      for (uint8_t a = 0; a < dim->count && dim->size > 1; a++) {
        if (dim->atom[a].step != 0 || dim->atom[a].pstep != 0) return false;
      }
    }
  }
  return true;
}

// ---- Application to one tile

typedef struct tile_state {
  ibx_lower *lower;
  const ibx_chain *chain;
  const int64_t *starts;
  ibx_view dst;
  ibx_view cur;
  ibx_view saved[4];
  bool has_saved[4];
} tile_state;

// The part of an operand that belongs to the tile.
static bool slice_of(const tile_state *state, const ibx_view *whole,
                     ibx_view *out) {
  int64_t sizes[IBX_MAX_RANK];
  for (uint8_t d = 0; d < state->dst.rank; d++)
    sizes[d] = state->dst.dim[d].size;
  if (ibx_view_slice(whole, state->starts, sizes, NULL, out)) return true;
  return ibx_lower_fail(state->lower, IBX_INTERNAL,
                        "a tile does not fit the layout of an operand");
}

// What one instruction takes from the list.
typedef struct packed {
  enum { PACK_COPY, PACK_SCALAR, PACK_ACT, PACK_TENSOR } kind;
  const ibx_micro *alu[2];
  size_t alu_count;
  const ibx_micro *act, *tensor;
  ibx_view view[2]; // columns of the ALU micros, sliced
  bool is_column[2];
  ibx_view other; // tensor operand, sliced
  size_t taken;
} packed;

// Takes an ALU micro with an immediate, or a tensor micro that is one value a
// partition here, as scalar operation.
static bool as_scalar(tile_state *state, const ibx_micro *micro, packed *pack) {
  size_t at = pack->alu_count;
  pack->is_column[at] = false;
  if (micro->kind == MICRO_TENSOR) {
    ibx_view slice;
    if (!slice_of(state, &micro->view, &slice)) return false;
    if (!ibx_view_is_column(&slice) || slice.dtype != IBX_DTYPE_F32)
      return false;
    pack->view[at] = slice;
    pack->is_column[at] = true;
  } else if (micro->kind != MICRO_ALU) {
    return false;
  }
  pack->alu[at] = micro;
  pack->alu_count++;
  return true;
}

// ISA activation: on ibx2 a bias is a [P,1] operand, not a constant.
static bool takes_constant_bias(const tile_state *state) {
  return state->lower->machine->target != IBX_TARGET_ibx2;
}

static bool fits_activation(const tile_state *state, const packed *pack) {
  for (size_t i = 0; i < pack->alu_count; i++) {
    const ibx_micro *micro = pack->alu[i];
    bool scale = micro->op == IBX_ALU_MULTIPLY && i == 0;
    bool bias =
        micro->op == IBX_ALU_ADD || (micro->op == IBX_ALU_SUBTRACT &&
                                     !micro->reverse && !pack->is_column[i]);
    if (!scale && !(bias && i + 1 == pack->alu_count)) return false;
    bool is_constant = !scale && !pack->is_column[i] && micro->imm != 0.0f;
    if (is_constant && !takes_constant_bias(state)) return false;
  }
  return true;
}

static bool is_narrow(ibx_dtype dtype) {
  return dtype == IBX_DTYPE_BF16 || dtype == IBX_DTYPE_F16;
}

// Packs as many micros from `at` on as one instruction can do.
static bool pack_micros(tile_state *state, size_t at, packed *pack) {
  const ibx_chain *chain = state->chain;
  *pack = (packed){.kind = PACK_COPY};
  while (at < chain->micro_count && pack->alu_count < 2 &&
         as_scalar(state, &chain->micros[at], pack)) {
    at++;
    pack->taken++;
  }
  if (state->lower->status != IBX_OK) return false;
  if (pack->alu_count > 0) pack->kind = PACK_SCALAR;
  const ibx_micro *next = at < chain->micro_count ? &chain->micros[at] : NULL;
  if (next && next->kind == MICRO_ACT && fits_activation(state, pack)) {
    pack->kind = PACK_ACT;
    pack->act = next;
    pack->taken++;
    return true;
  }
  // Two scalars before a function: the second one may be its bias or scale.
  if (next && next->kind == MICRO_ACT) return true;
  bool tensor =
      next && (next->kind == MICRO_TENSOR || next->kind == MICRO_SAVED);
  if (!tensor || pack->alu_count > 1) return true;
  if (pack->alu_count == 1 && pack->alu[0]->reverse) return true;
  // scalar_tensor_tensor takes two cycles an element. Where the value between
  // may be narrow, a scalar operation, which Scalar may do as well, and a
  // tensor operation at half a cycle are faster.
  if (pack->alu_count == 1 && is_narrow(pack->alu[0]->dtype)) return true;
  if (next->kind == MICRO_SAVED) {
    pack->other = state->saved[next->slot];
  } else if (!slice_of(state, &next->view, &pack->other)) {
    return false;
  }
  if (ibx_view_is_column(&pack->other) && next->kind == MICRO_TENSOR &&
      pack->other.dtype == IBX_DTYPE_F32) {
    return true; // a scalar operation, which packs better
  }
  bool commutes = next->op != IBX_ALU_SUBTRACT && next->op != IBX_ALU_POWER &&
                  next->op != IBX_ALU_LESS && next->op != IBX_ALU_LESS_EQUAL &&
                  next->op != IBX_ALU_GREATER;
  if (pack->alu_count == 1 && next->reverse && !commutes) return true;
  pack->kind = PACK_TENSOR;
  pack->tensor = next;
  pack->taken++;
  return true;
}

typedef struct emit_state {
  ibx_lower *lower;
  const packed *pack;
  ibx_insn insn;
  ibx_engine engine;
  const ibx_view *views[IBX_VIEWS];
  size_t slot[IBX_VIEWS];
  size_t count;
} emit_state;

static void add_view(emit_state *emit, size_t slot, const ibx_view *view) {
  emit->views[emit->count] = view;
  emit->slot[emit->count++] = slot;
}

static bool emit_piece(void *user, const ibx_piece *piece) {
  const emit_state *emit = user;
  ibx_insn insn = emit->insn;
  ibx_piece_shape(&insn, piece);
  const ibx_insn_info *info = ibx_insn_get(insn.opcode);
  for (size_t i = 0; i < emit->count; i++) {
    size_t slot = emit->slot[i];
    ibx_piece_operand(&insn, slot, emit->views[i], piece, i);
    if (info->slot[slot] == IBX_SLOT_SCALAR_READ) {
      insn.operand[slot].dtype = IBX_DTYPE_NONE;
      memset(insn.operand[slot].step, 0, sizeof(insn.operand[slot].step));
    }
  }
  return ibx_lower_emit(emit->lower, &insn, emit->engine, false);
}

static void fill_scalar(emit_state *emit, const packed *pack) {
  emit->insn = ibx_insn_make(IBX_OP_tensor_scalar);
  for (size_t i = 0; i < pack->alu_count; i++) {
    emit->insn.op[i] = pack->alu[i]->op;
    emit->insn.imm[i] = pack->alu[i]->imm;
    if (pack->alu[i]->reverse) {
      emit->insn.flags |= i == 0 ? IBX_FLAG_REVERSE0 : IBX_FLAG_REVERSE1;
    }
    if (pack->is_column[i]) add_view(emit, 2 + i, &pack->view[i]);
  }
}

static void fill_activation(emit_state *emit, const packed *pack) {
  emit->insn = ibx_insn_make(IBX_OP_activation);
  emit->engine = IBX_ENGINE_SCALAR;
  emit->insn.op[0] = pack->act->op;
  emit->insn.imm[0] = 0.0f;
  emit->insn.imm[1] = 1.0f;
  for (size_t i = 0; i < pack->alu_count; i++) {
    const ibx_micro *micro = pack->alu[i];
    bool scale = micro->op == IBX_ALU_MULTIPLY;
    float imm = micro->op == IBX_ALU_SUBTRACT ? -micro->imm : micro->imm;
    if (pack->is_column[i])
      add_view(emit, scale ? 3 : 2, &pack->view[i]);
    else
      emit->insn.imm[scale ? 1 : 0] = imm;
  }
}

static void fill_tensor(emit_state *emit, const packed *pack,
                        const ibx_view *cur) {
  const ibx_micro *tensor = pack->tensor;
  bool swap = tensor->reverse && pack->alu_count == 0;
  if (pack->alu_count == 0) {
    emit->insn = ibx_insn_make(IBX_OP_tensor_tensor);
    emit->insn.op[0] = tensor->op;
    emit->views[1] = swap ? &pack->other : cur;
    add_view(emit, 2, swap ? cur : &pack->other);
    return;
  }
  emit->insn = ibx_insn_make(IBX_OP_scalar_tensor_tensor);
  emit->insn.op[0] = pack->alu[0]->op;
  emit->insn.op[1] = tensor->op;
  emit->insn.imm[0] = pack->alu[0]->imm;
  add_view(emit, 2, &pack->other);
  if (pack->is_column[0]) add_view(emit, 3, &pack->view[0]);
}

static bool emit_packed(tile_state *state, const packed *pack,
                        const ibx_view *out) {
  emit_state emit = {.lower = state->lower,
                     .pack = pack,
                     .insn = ibx_insn_make(IBX_OP_tensor_copy),
                     .engine = IBX_ENGINE_VECTOR};
  add_view(&emit, 0, out);
  add_view(&emit, 1, &state->cur);
  if (pack->kind == PACK_SCALAR) fill_scalar(&emit, pack);
  if (pack->kind == PACK_ACT) fill_activation(&emit, pack);
  if (pack->kind == PACK_TENSOR) fill_tensor(&emit, pack, &state->cur);
  if (ibx_view_pieces(emit.views, emit.count, TILE_ELEMENTS, emit_piece,
                      &emit)) {
    return true;
  }
  return ibx_lower_fail(state->lower, IBX_INTERNAL,
                        "no engine can walk the operands of a tile together");
}

static bool flush_to_temp(tile_state *state, const packed *pack,
                          ibx_dtype dtype) {
  ibx_view temp;
  if (!ibx_lower_temp(state->lower, &state->dst, dtype, &temp)) return false;
  if (!emit_packed(state, pack, &temp)) return false;
  state->cur = temp;
  return true;
}

// Micros that are no instruction of their own kind.
static bool apply_special(tile_state *state, const ibx_micro *micro) {
  packed copy = {.kind = PACK_COPY};
  ibx_space space = state->lower->func->buffers[state->cur.buffer].place.space;
  switch (micro->kind) {
  case MICRO_ROUND: return flush_to_temp(state, &copy, IBX_DTYPE_I32);
  case MICRO_NARROW: return flush_to_temp(state, &copy, (ibx_dtype)micro->op);
  case MICRO_SAVE:
    // Two operands of one instruction may not both be in PSUM.
    if (space == IBX_SPACE_PSUM &&
        !flush_to_temp(state, &copy, IBX_DTYPE_F32)) {
      return false;
    }
    state->saved[micro->slot] = state->cur;
    return true;
  case MICRO_LOAD:
    if (!micro->has_view) {
      state->cur = state->saved[micro->slot - 1];
      return true;
    }
    return slice_of(state, &micro->view, &state->cur);
  default: return false;
  }
}

static bool is_special(const ibx_micro *micro) {
  return micro->kind == MICRO_ROUND || micro->kind == MICRO_SAVE ||
         micro->kind == MICRO_LOAD || micro->kind == MICRO_NARROW;
}

// The dtype of a value between two instructions.
static ibx_dtype between(const ibx_micro *micro) {
  return is_narrow(micro->dtype) ? micro->dtype : IBX_DTYPE_F32;
}

// The last store narrows by itself, where it is to the same dtype.
static ibx_chain without_last_narrow(const ibx_chain *whole, ibx_dtype dtype) {
  ibx_chain chain = *whole;
  while (chain.micro_count > 0 &&
         chain.micros[chain.micro_count - 1].kind == MICRO_NARROW &&
         chain.micros[chain.micro_count - 1].op == dtype) {
    chain.micro_count--;
  }
  return chain;
}

bool ibx_chain_apply(ibx_lower *lower, const ibx_chain *whole,
                     const ibx_view *dst, const ibx_view *src,
                     const int64_t *starts) {
  const ibx_chain trimmed = without_last_narrow(whole, dst->dtype);
  const ibx_chain *chain = &trimmed;
  tile_state state = {.lower = lower,
                      .chain = chain,
                      .starts = starts,
                      .dst = *dst,
                      .cur = *src};
  size_t at = 0;
  bool written = false;
  while (at < chain->micro_count) {
    const ibx_micro *micro = &chain->micros[at];
    if (is_special(micro)) {
      if (!apply_special(&state, micro)) return false;
      at++;
      continue;
    }
    packed pack;
    if (!pack_micros(&state, at, &pack)) return false;
    at += pack.taken;
    written = at == chain->micro_count;
    bool ok =
        written ? emit_packed(&state, &pack, dst)
                : flush_to_temp(&state, &pack, between(&chain->micros[at - 1]));
    if (!ok) return false;
  }
  packed copy = {.kind = PACK_COPY};
  return written || emit_packed(&state, &copy, dst);
}

// ---- Pointwise nodes on their own

static ibx_ints full_shape(const ibx_view *view) {
  ibx_ints shape = {.len = view->rank};
  for (uint8_t d = 0; d < view->rank; d++)
    shape.at[d] = view->dim[d].size;
  return shape;
}

static int64_t multiple_of(int64_t a, int64_t b) {
  int64_t x = a, y = b;
  while (y != 0) {
    int64_t rest = x % y;
    x = y;
    y = rest;
  }
  return a / x * b;
}

// Slices of dimension `d` may begin at multiples of this in all operands.
static int64_t slice_unit(const ibx_chain *chain, const ibx_dim *dim,
                          uint8_t d) {
  int64_t unit = inner_of(dim);
  for (size_t i = 0; i < chain->micro_count; i++) {
    const ibx_micro *micro = &chain->micros[i];
    if (micro->has_view)
      unit = multiple_of(unit, inner_of(&micro->view.dim[d]));
  }
  return unit;
}

// Applies the chain slice by slice along the dimensions, outermost first, until
// a slice has at most TILE_ELEMENTS in a partition.
static bool apply_slices(ibx_lower *lower, const ibx_chain *chain,
                         const ibx_view *dst, const ibx_view *src,
                         int64_t *starts, uint8_t d) {
  int64_t elements = free_elements(dst);
  if (d == dst->rank || elements <= TILE_ELEMENTS || chain->micro_count <= 1) {
    return ibx_chain_apply(lower, chain, dst, src, starts);
  }
  const ibx_dim *dim = &dst->dim[d];
  int64_t unit = slice_unit(chain, dim, d);
  if (dim->atom[0].pstep != 0 || dim->atom[0].size == 1) {
    return apply_slices(lower, chain, dst, src, starts, (uint8_t)(d + 1));
  }
  // Elements a partition of one unit, whose inner atoms may be partitions.
  int64_t each = elements / dim->atom[0].size * (unit / inner_of(dim));
  int64_t block = each >= TILE_ELEMENTS ? 1 : TILE_ELEMENTS / each;
  block *= unit;
  ibx_ints sizes = full_shape(dst);
  int64_t zero[IBX_MAX_RANK] = {0};
  int64_t origin = starts[d];
  for (int64_t at = 0; at < dim->size; at += block) {
    ibx_view part_dst, part_src;
    zero[d] = at;
    sizes.at[d] = dim->size - at < block ? dim->size - at : block;
    starts[d] = origin + at;
    if (!ibx_view_slice(dst, zero, sizes.at, NULL, &part_dst) ||
        !ibx_view_slice(src, zero, sizes.at, NULL, &part_src)) {
      starts[d] = origin;
      return ibx_chain_apply(lower, chain, dst, src, starts);
    }
    if (!apply_slices(lower, chain, &part_dst, &part_src, starts,
                      (uint8_t)(d + 1))) {
      return false;
    }
  }
  starts[d] = origin;
  return true;
}

bool ibx_chain_apply_sliced(ibx_lower *lower, const ibx_chain *chain,
                            const ibx_view *dst, const ibx_view *src) {
  int64_t starts[IBX_MAX_RANK] = {0};
  return apply_slices(lower, chain, dst, src, starts, 0);
}

// SPDX-License-Identifier: Apache-2.0
//
// Bounds: comes in a legal graph; goes out useful operations, compulsory bytes,
// and the times that they take at the machine's documented rates.
//
//   tensor  multiply-accumulates over the array's peak at their precision
//   hbm     each weight once at its final width (of a table that is only
//           gathered from, the rows gathered), inputs and outputs once in their
//           ONNX dtype, over all DMA engines
//   engine  the busiest engine when pointwise work, PSUM evacuation included,
//           is split freely over the engines that can do it

#include "passes/bounds.h"

#include "passes/rewrite.h"

typedef struct work {
  double any;       // elements that Vector, Scalar or GpSimd can do
  double psum;      // elements that leave PSUM: Vector or Scalar
  double function;  // Scalar only
  double reduction; // Vector only
} work;

static double elements_of(const ibx_type *type) {
  double elements = 1;
  for (uint8_t d = 0; d < type->rank; d++)
    elements *= (double)type->dims[d];
  return elements;
}

static double multiply_accumulates(const ibx_graph *graph,
                                   const ibx_node *node) {
  const ibx_type *a = &graph->values[node->operand[0]].type;
  const ibx_type *b = &graph->values[node->operand[1]].type;
  const ibx_type *out = &graph->values[node->result].type;
  switch (node->op) {
  case IBX_TENSOR_matmul:
    return elements_of(out) * (double)a->dims[a->rank - 1];
  case IBX_TENSOR_conv:
    return elements_of(out) * elements_of(b) / (double)b->dims[0];
  case IBX_TENSOR_conv_transpose:
    return elements_of(a) * elements_of(b) / (double)b->dims[0];
  default: return 0;
  }
}

static bool is_function(ibx_tensor_op op) {
  switch (op) {
  case IBX_TENSOR_exp:
  case IBX_TENSOR_log:
  case IBX_TENSOR_erf:
  case IBX_TENSOR_tanh:
  case IBX_TENSOR_sigmoid:
  case IBX_TENSOR_gelu:
  case IBX_TENSOR_gelu_tanh:
  case IBX_TENSOR_gelu_sigmoid:
  case IBX_TENSOR_silu:
  case IBX_TENSOR_softplus:
  case IBX_TENSOR_mish:
  case IBX_TENSOR_sin:
  case IBX_TENSOR_cos: return true;
  default: return false;
  }
}

static void add_work(const ibx_graph *graph, const ibx_node *node, work *sum) {
  double out = elements_of(&graph->values[node->result].type);
  double in = node->operand_count
                  ? elements_of(&graph->values[node->operand[0]].type)
                  : 0;
  switch (ibx_tensor_op_get(node->op)->klass) {
  case IBX_KLASS_CONTRACT: sum->psum += out; break;
  case IBX_KLASS_REDUCE: sum->reduction += in; break;
  case IBX_KLASS_UNARY:
    *(is_function(node->op) ? &sum->function : &sum->any) += out;
    break;
  case IBX_KLASS_BINARY:
  case IBX_KLASS_INTEGER:
  case IBX_KLASS_COMPARE: sum->any += out; break;
  case IBX_KLASS_COMPOSITE:
    sum->any += out;
    if (node->op == IBX_TENSOR_softmax) {
      sum->function += in;
      sum->reduction += in;
    } else {
      sum->any += in;
    }
    break;
  default: break;
  }
}

static double larger(double a, double b) { return a > b ? a : b; }

// Elements a second of an engine at its best documented rate for that width.
static double rate(const ibx_machine *m, ibx_engine engine, bool narrow) {
  double each = 1;
  if (engine == IBX_ENGINE_VECTOR && narrow) each = m->vector_fast;
  if (engine == IBX_ENGINE_SCALAR && narrow) each = m->scalar_fast;
  return (double)IBX_PARTITIONS * each * 1e6 * ibx_machine_clock_mhz(m, engine);
}

static double engine_seconds(const ibx_machine *m, const work *w, bool narrow) {
  double v = rate(m, IBX_ENGINE_VECTOR, narrow);
  double s = rate(m, IBX_ENGINE_SCALAR, narrow);
  double g = rate(m, IBX_ENGINE_GPSIMD, narrow);
  double seconds = larger(w->function / s, w->reduction / v);
  seconds = larger(seconds, (w->function + w->reduction + w->psum) / (v + s));
  double all = w->function + w->reduction + w->psum + w->any;
  return larger(seconds, all / (v + s + g));
}

// Elements of a constant that its users read at least: the rows that a gather
// takes, the part that a slice leaves, else all.
static double used_elements(const ibx_graph *graph, const ibx_uses *uses,
                            uint32_t value) {
  const ibx_type *type = &graph->values[value].type;
  double all = elements_of(type);
  double used = uses->is_output[value] ? all : 0;
  for (uint32_t u = uses->first[value]; u < uses->first[value + 1]; u++) {
    const ibx_node *user = &graph->nodes[uses->users[u]];
    double part = all;
    if (user->op == IBX_TENSOR_gather && user->operand[0] == value &&
        type->dims[user->params.axis] > 0) {
      part = all / (double)type->dims[user->params.axis] *
             elements_of(&graph->values[user->operand[1]].type);
    } else if (user->op == IBX_TENSOR_slice) {
      part = elements_of(&graph->values[user->result].type);
    }
    used += part;
  }
  return used < all ? used : all;
}

static double weight_bytes(const ibx_graph *graph, const ibx_uses *uses,
                           const ibx_node *node) {
  ibx_dtype dtype = graph->values[node->result].type.dtype;
  return used_elements(graph, uses, node->result) *
         (double)ibx_dtype_bytes(dtype);
}

static double port_bytes(const ibx_port *port) {
  // Without the bits of a byte that do not count.
  return elements_of(&port->type) *
         (double)ibx_dtype_get(port->type.dtype)->width / 8;
}

static double compulsory_bytes(const ibx_graph *graph, ibx_arena *scratch) {
  ibx_uses uses = ibx_graph_uses(graph, scratch);
  bool *seen = IBX_ARENA_ARRAY(scratch, graph->tables->weight_count + 1, bool);
  double bytes = 0;
  for (size_t n = 0; n < graph->node_count; n++) {
    const ibx_node *node = &graph->nodes[n];
    if (node->op != IBX_TENSOR_constant) continue;
    size_t row = (size_t)node->params.weight;
    float number;
    if (row < graph->tables->weight_count && seen[row]) continue;
    // One number repeated is part of the program, not of what must be read.
    if (ibx_graph_uniform(graph, node->result, &number)) continue;
    seen[row] = true;
    bytes += weight_bytes(graph, &uses, node);
  }
  for (size_t i = 0; i < graph->input_count; i++) {
    uint32_t value = graph->inputs[i].value;
    bool read =
        value != IBX_NO_VALUE &&
        (uses.is_output[value] || uses.first[value + 1] > uses.first[value]);
    if (read) bytes += port_bytes(&graph->inputs[i]);
  }
  for (size_t i = 0; i < graph->output_count; i++) {
    bytes += port_bytes(&graph->outputs[i]);
  }
  return bytes;
}

ibx_bounds ibx_bounds_compute(const ibx_machine *machine,
                              const ibx_graph *graph, ibx_arena *scratch) {
  double macs = 0, passes = 0;
  work sum = {0};
  bool narrow = false;
  for (size_t n = 0; n < graph->node_count; n++) {
    const ibx_node *node = &graph->nodes[n];
    if (node->op == IBX_TENSOR_constant) continue;
    add_work(graph, node, &sum);
    if (node->operand_count < 2) continue;
    double count = multiply_accumulates(graph, node);
    size_t bytes = ibx_dtype_bytes(graph->values[node->operand[0]].type.dtype);
    macs += count;
    passes += count * (bytes == 4 ? machine->fp32_passes : 1);
    narrow = narrow || (count > 0 && bytes == 2);
  }
  double array = (double)IBX_PARTITIONS * (double)IBX_PARTITIONS;
  double hbm = compulsory_bytes(graph, scratch);
  double bandwidth = (double)machine->dma_engines * machine->dma_mb_per_s * 1e6;
  double tensor_ps = passes / array / machine->tensor_mhz * 1e6;
  double engine_ps = engine_seconds(machine, &sum, narrow) * 1e12;
  return (ibx_bounds){.flops = (uint64_t)(2 * macs),
                      .tensor_ps = (uint64_t)tensor_ps,
                      .hbm_min_bytes = (uint64_t)hbm,
                      .hbm_ps = (uint64_t)(hbm / bandwidth * 1e12),
                      .engine_ps = (uint64_t)larger(engine_ps, tensor_ps)};
}

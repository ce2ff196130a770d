// SPDX-License-Identifier: Apache-2.0
//
// Model-local functions, inlined. Comes in: a node that names one. Goes out:
// the imported body, its outputs those of the node. Holds afterwards: names of
// the function never meet those of the caller, attributes are the caller's or
// the function's defaults, and a function that calls itself was refused.

#include "frontend/import.h"

#include <string.h>

enum { MOST_DEPTH = 32 };

static const char *key_of(ibx_arena *arena, const char *domain,
                          const char *name, const char *overload) {
  return ibx_arena_format(arena, "%s\x1f%s\x1f%s", domain, name, overload);
}

void ibx_import_functions_init(ibx_import *import) {
  const Onnx__ModelProto *model = import->model->proto;
  import->functions = (ibx_map){.arena = &import->scratch};
  for (size_t i = 0; i < model->n_functions; i++) {
    const Onnx__FunctionProto *function = model->functions[i];
    const char *name = ibx_onnx_text(function->name);
    const char *domain = ibx_onnx_domain(ibx_onnx_text(function->domain));
    const char *key = key_of(&import->scratch, domain, name,
                             ibx_onnx_text(function->overload));
    if (ibx_map_put(&import->functions, key, (uint32_t)i)) continue;
    ibx_diag_add(import->sink, IBX_DIAG_DUPLICATE_NAME,
                 (ibx_diag_at){.node = name, .domain = domain},
                 "give each function a name or overload of its own",
                 "two functions have the name '%s'", name);
  }
}

const Onnx__FunctionProto *
ibx_import_function_find(ibx_import *import, const Onnx__NodeProto *node) {
  uint32_t index;
  if (import->functions.count == 0) return NULL;
  const char *key =
      key_of(&import->scratch, ibx_onnx_domain(ibx_onnx_text(node->domain)),
             ibx_onnx_text(node->op_type), ibx_onnx_text(node->overload));
  if (!ibx_map_find(&import->functions, key, &index)) return NULL;
  return import->model->proto->functions[index];
}

static bool check_call(ibx_call *call, const Onnx__FunctionProto *function) {
  for (const ibx_frame *f = call->frame; f; f = f->caller) {
    if (f->function != function && f->depth < MOST_DEPTH) continue;
    ibx_call_fail(call, IBX_DIAG_FUNCTION, NULL,
                  "remove the recursion from the functions of the model",
                  "the function calls itself, or calls nest more than %d deep",
                  MOST_DEPTH);
    return false;
  }
  if (call->in_count <= function->n_input &&
      call->out_count <= function->n_output) {
    return true;
  }
  ibx_call_fail(
      call, IBX_DIAG_FUNCTION, NULL, "correct the node or the function",
      "the function has %zu inputs and %zu outputs, the node %zu and "
      "%zu",
      function->n_input, function->n_output, call->in_count, call->out_count);
  return false;
}

static void bind_inputs(ibx_call *call, ibx_scope *scope,
                        const Onnx__FunctionProto *function) {
  for (size_t i = 0; i < function->n_input; i++) {
    ibx_scope_bind(scope, (ibx_binding){.name = function->input[i],
                                        .value = ibx_in(call, i),
                                        .absent = !ibx_has_in(call, i)});
  }
}

void ibx_import_function(ibx_call *call, const Onnx__FunctionProto *function) {
  ibx_import *import = call->import;
  if (!check_call(call, function)) return;
  ibx_scope scope;
  ibx_scope_init(&scope, NULL, &import->scratch);
  ibx_frame frame = {.caller = call->frame,
                     .scope = &scope,
                     .function = function,
                     .call = call->proto,
                     .opsets = function->opset_import,
                     .opset_count = function->n_opset_import,
                     .prefix =
                         ibx_arena_format(import->arena, "%s/", call->at.node),
                     .depth = call->frame->depth + 1};
  bind_inputs(call, &scope, function);
  size_t errors = import->sink->error_count;
  ibx_import_nodes(import, &frame, function->node, function->n_node,
                   (const char *const *)function->output, function->n_output);
  for (size_t i = 0; i < call->out_count; i++) {
    if (!ibx_wants_out(call, i)) continue;
    call->out[i] =
        ibx_import_read(import, &frame, function->output[i], call->at);
    if (call->out[i] == IBX_NO_VALUE) call->failed = true;
  }
  if (call->failed && errors == import->sink->error_count) {
    call->failed = false;
    ibx_call_fail(call, IBX_DIAG_FUNCTION, NULL,
                  "correct the node or the function",
                  "an output of the function is an input that the node leaves "
                  "out");
  }
}

// SPDX-License-Identifier: Apache-2.0
//
// Runs a program twice. In: options of a compilation, a model, inputs. Out: the
// outputs of a device, and those of the reference kernels. Holds: both sides got
// the same inputs, and their outputs are cut to the extents that each found.

#include "driver/probe.h"

#include "driver/driver.h"

#include <stdlib.h>

void ibx_say_nothing(void *user, const ibx_diagnostic *diagnostic) {
  (void)user;
  (void)diagnostic;
}

static ibx_status make_arrays(ibx_probe *p, ibx_probe_side *s, ibx_error *err) {
  const ibx_entry *entry = p->entry;
  size_t inputs = entry->input_count, outputs = entry->output_count;
  s->arrays = calloc(inputs + outputs + 1, sizeof *s->arrays);
  s->bindings = calloc(inputs + outputs + 1, sizeof *s->bindings);
  s->open = calloc(outputs + 1, sizeof *s->open);
  if (!s->arrays || !s->bindings || !s->open) {
    return IBX_FAIL(err, OUT_OF_MEMORY, "no memory for the tensors");
  }
  for (size_t i = 0; i < inputs; i++) {
    IBX_TRY(ibx_input_make(&p->setup->inputs, &entry->inputs[i], i,
                           &s->arrays[i], err));
    s->bindings[i] = ibx_array_bind(&s->arrays[i], i);
  }
  for (size_t i = 0; i < outputs; i++) {
    ibx_array *array = &s->arrays[inputs + i];
    IBX_TRY(ibx_array_make(&entry->outputs[i], array, err));
    s->bindings[inputs + i] = ibx_array_bind(array, i);
    if (ibx_array_is_open(&entry->outputs[i])) {
      s->bindings[inputs + i].tensor = &s->open[i];
    }
  }
  return IBX_OK;
}

static ibx_status run_side(ibx_probe *p, ibx_probe_side *s, ibx_error *err) {
  const ibx_entry *entry = p->entry;
  IBX_TRY(make_arrays(p, s, err));
  IBX_TRY(ibx_session_create(s->device, p->program, NULL, &s->session, err));
  const ibx_run run = {.inputs = s->bindings,
                       .outputs = s->bindings + entry->input_count,
                       .input_count = entry->input_count,
                       .output_count = entry->output_count};
  IBX_TRY(ibx_session_run(s->session, &run, err));
  ibx_array *outputs = s->arrays + entry->input_count;
  IBX_TRY(ibx_arrays_cut(entry, &run, outputs, err));
  for (size_t i = 0; i < entry->output_count; i++) {
    if (!ibx_array_is_open(&entry->outputs[i])) continue;
    ibx_array_take(&outputs[i], &s->open[i]);
  }
  return IBX_OK;
}

static void side_fini(const ibx_probe *p, ibx_probe_side *s) {
  size_t inputs = p->entry ? p->entry->input_count : 0;
  size_t outputs = p->entry ? p->entry->output_count : 0;
  ibx_session_destroy(s->session);
  ibx_device_close(s->device);
  for (size_t i = 0; s->arrays && i < inputs + outputs; i++)
    ibx_array_fini(&s->arrays[i]);
  for (size_t i = 0; s->open && i < outputs; i++)
    ibx_host_tensor_fini(&s->open[i]);
  free(s->arrays);
  free(s->open);
  free(s->bindings);
}

static ibx_status compile(ibx_probe *p, ibx_error *err) {
  const ibx_compare_setup *setup = p->setup;
  ibx_compiler *compiler = NULL;
  IBX_TRY(ibx_compiler_create(&p->options, &compiler, err));
  ibx_status status = setup->path
                          ? ibx_compile_file(compiler, setup->path,
                                             ibx_blob_write, &p->blob, err)
                          : ibx_compile_memory(compiler, setup->memory, "-",
                                               ibx_blob_write, &p->blob, err);
  ibx_compiler_destroy(compiler);
  IBX_TRY(status);
  IBX_TRY(ibx_program_open_memory(ibx_blob_get(&p->blob), &p->program, err));
  p->entry = ibx_program_find_entry(p->program, NULL);
  if (p->entry) return ibx_inputs_check(&setup->inputs, p->entry, err);
  return IBX_FAIL(err, INTERNAL, "the program has no entry");
}

ibx_status ibx_probe_run(ibx_probe *p, ibx_error *err) {
  IBX_TRY(compile(p, err));
  p->options.on_diagnostic = ibx_say_nothing; // the compiler told all
  IBX_TRY(ibx_reference_init(p->model, &p->options, &p->reference, err));
  IBX_TRY(ibx_reference_open(&p->reference, &p->kernels.device, err));
  p->inputs_at_fault = true;
  IBX_TRY(run_side(p, &p->kernels, err));
  p->inputs_at_fault = false;
  IBX_TRY(ibx_device_open(p->setup->device, NULL, &p->machine.device, err));
  return run_side(p, &p->machine, err);
}

void ibx_probe_fini(ibx_probe *p) {
  side_fini(p, &p->machine);
  side_fini(p, &p->kernels);
  ibx_reference_fini(&p->reference);
  ibx_program_close(p->program);
  ibx_blob_fini(&p->blob);
}

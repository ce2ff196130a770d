// SPDX-License-Identifier: Apache-2.0
//
// The simulator as a device. In: what follows "sim:" in a URI. Out: the table
// of functions that the runtime calls. Executables hold a simulator each.

#include "imbrex/driver.h"

#include <stdlib.h>
#include <string.h>

typedef struct sim_device {
  ibx_allocator allocator;
  ibx_sim_options options;
  const ibx_machine *machine; ///< the only target it runs, or NULL for all
  uint32_t cores;
} sim_device;

typedef struct sim_executable {
  const sim_device *device;
  const ibx_program_data *program;
  const ibx_entry *entry;
  ibx_sim_chip *chip;
} sim_executable;

typedef struct setting {
  ibx_str name, value;
} setting;

enum { MOST_CORES = 8 };

static bool is_text(ibx_str a, const char *b) {
  return strlen(b) == a.len && memcmp(a.data, b, a.len) == 0;
}

static bool parse_order(ibx_str value, ibx_sim_order *out) {
  if (is_text(value, "program")) {
    *out = IBX_SIM_ORDER_PROGRAM;
  } else if (is_text(value, "random")) {
    *out = IBX_SIM_ORDER_RANDOM;
  } else if (is_text(value, "adversarial")) {
    *out = IBX_SIM_ORDER_ADVERSARIAL;
  } else {
    return false;
  }
  return true;
}

static bool parse_number(ibx_str value, uint64_t *out) {
  uint64_t number = 0;
  for (size_t i = 0; i < value.len; i++) {
    uint64_t digit = (uint64_t)(value.data[i] - '0');
    if (digit > 9 || number > (UINT64_MAX - digit) / 10) return false;
    number = number * 10 + digit;
  }
  *out = number;
  return value.len != 0;
}

// From 1 to what the largest chip has: there are no others to run on.
static bool parse_cores(ibx_str value, uint32_t *out) {
  uint64_t number;
  if (!parse_number(value, &number) || number < 1 || number > MOST_CORES) {
    return false;
  }
  *out = (uint32_t)number;
  return true;
}

static bool apply(sim_device *device, setting s) {
  if (is_text(s.name, "order")) {
    return parse_order(s.value, &device->options.order);
  }
  if (is_text(s.name, "seed")) {
    return parse_number(s.value, &device->options.seed);
  }
  if (is_text(s.name, "exec")) {
    device->options.specification = is_text(s.value, "spec");
    return device->options.specification || is_text(s.value, "fast");
  }
  if (is_text(s.name, "cores")) return parse_cores(s.value, &device->cores);
  if (is_text(s.name, "threads")) {
    return parse_cores(s.value, &device->options.threads);
  }
  if (is_text(s.name, "rounding")) {
    bool is_stochastic = is_text(s.value, "stochastic");
    device->options.rounding =
        is_stochastic ? IBX_SIM_ROUNDING_STOCHASTIC : IBX_SIM_ROUNDING_NEAREST;
    return is_stochastic || is_text(s.value, "nearest");
  }
  if (is_text(s.name, "poison")) {
    device->options.poison = is_text(s.value, "1");
    return device->options.poison || is_text(s.value, "0");
  }
  return false;
}

// The next "name=value" of "a=1&b=2".
static setting take_setting(const char **at) {
  size_t len = strcspn(*at, "&"), name = strcspn(*at, "=&");
  setting s = {.name = {.data = *at, .len = name},
               .value = {.data = *at + len, .len = 0}};
  if (name < len) {
    s.value = (ibx_str){.data = *at + name + 1, .len = len - name - 1};
  }
  *at += len + ((*at)[len] == '&');
  return s;
}

static ibx_status parse(sim_device *device, const char *rest, ibx_error *err) {
  char target[16];
  size_t len = strcspn(rest, "?");
  if (len != 0) {
    size_t kept = len < sizeof(target) ? len : sizeof(target) - 1;
    memcpy(target, rest, kept);
    target[kept] = 0;
    device->machine = ibx_machine_find(target);
    if (device->machine == NULL) {
      return IBX_FAIL(err, INVALID_ARGUMENT,
                      "sim:%s: there is no target '%s'; ibx2, ibx3, ibx4 are",
                      rest, target);
    }
  }
  const char *at = rest + len + (rest[len] == '?');
  while (*at != 0) {
    setting s = take_setting(&at);
    if (apply(device, s)) continue;
    return IBX_FAIL(err, INVALID_ARGUMENT,
                    "sim:%s: '%.*s' is not order=program|random|adversarial, "
                    "seed=N, poison=0|1, exec=fast|spec, "
                    "rounding=nearest|stochastic, cores=1..8, threads=1..8",
                    rest, (int)s.name.len, s.name.data);
  }
  if (device->machine == NULL || device->cores <= device->machine->chip_cores) {
    return IBX_OK;
  }
  return IBX_FAIL(err, INVALID_ARGUMENT, "sim:%s: a chip of %s has %u cores",
                  rest, device->machine->name,
                  (unsigned)device->machine->chip_cores);
}

static ibx_status sim_open(const char *rest, const ibx_allocator *allocator,
                           void **out_device, ibx_error *err) {
  *out_device = NULL;
  sim_device settings = {.allocator = *allocator, .cores = 1};
  IBX_TRY(parse(&settings, rest, err));
  sim_device *device = allocator->alloc(allocator->user, sizeof(*device));
  if (device == NULL) return IBX_FAIL(err, OUT_OF_MEMORY, "no memory");
  *device = settings;
  *out_device = device;
  return IBX_OK;
}

static void sim_close(void *handle) {
  sim_device *device = handle;
  device->allocator.free(device->allocator.user, device);
}

static ibx_device_info sim_query(void *handle) {
  const sim_device *device = handle;
  return (ibx_device_info){
      .name = "sim",
      .target = device->machine == NULL ? "" : device->machine->name,
      .cores = device->cores};
}

static ibx_status sim_load(void *handle, const ibx_device_program *loaded,
                           void **out_executable, ibx_error *err) {
  const sim_device *device = handle;
  *out_executable = NULL;
  const ibx_allocator *allocator = &device->allocator;
  sim_executable *executable =
      allocator->alloc(allocator->user, sizeof(*executable));
  if (executable == NULL) return IBX_FAIL(err, OUT_OF_MEMORY, "no memory");
  *executable = (sim_executable){
      .device = device, .program = loaded->program, .entry = loaded->entry};
  ibx_status status = ibx_sim_chip_create(loaded->program, loaded->entry,
                                          &executable->chip, err);
  if (status != IBX_OK) {
    allocator->free(allocator->user, executable);
    return status;
  }
  *out_executable = executable;
  return IBX_OK;
}

static void sim_unload(void *handle) {
  sim_executable *executable = handle;
  const ibx_allocator *allocator = &executable->device->allocator;
  ibx_sim_chip_destroy(executable->chip);
  allocator->free(allocator->user, executable);
}

static ibx_status sim_run(void *handle, uint8_t *const *memory,
                          ibx_error *err) {
  sim_executable *executable = handle;
  // The array is only read.
  const ibx_sim_memory all = {.hbm = (uint8_t **)(uintptr_t)memory};
  return ibx_sim_chip_run(executable->chip, &executable->device->options, &all,
                          err);
}

static ibx_status sim_time(void *handle, ibx_sim_event_fn on_event, void *user,
                           ibx_sim_time *out_time, ibx_error *err) {
  const sim_executable *executable = handle;
  return ibx_sim_time_entry(executable->program, executable->entry, on_event,
                            user, out_time, err);
}

const ibx_device_table *ibx_sim_device_table(void) {
  static const ibx_device_table table = {
      .version = IBX_DEVICE_TABLE_VERSION,
      .size_bytes = sizeof(ibx_device_table),
      .layout = IBX_DEVICE_LAYOUT,
      .open = sim_open,
      .close = sim_close,
      .query = sim_query,
      .load = sim_load,
      .unload = sim_unload,
      .run = sim_run,
      .time = sim_time,
  };
  return &table;
}

// SPDX-License-Identifier: Apache-2.0
//
// A driver library: the simulator behind the device table, with a name of its
// own, so that a test sees which table it got. IBX_TEST_... make tables that
// are older, newer or broken.

#include "imbrex/driver.h"

const ibx_device_table *ibx_driver_get_table(uint32_t version);

static ibx_device_info query(void *device) {
  ibx_device_info info = ibx_sim_device_table()->query(device);
  info.name = "module";
  return info;
}

IBX_API const ibx_device_table *ibx_driver_get_table(uint32_t version) {
  // Filled at the first call, always with the same values.
  static ibx_device_table table;
  if (version != IBX_DEVICE_TABLE_VERSION) return NULL;
  table = *ibx_sim_device_table();
  table.query = query;
#ifdef IBX_TEST_VERSION
  table.version = IBX_TEST_VERSION;
#endif
#ifdef IBX_TEST_SIZE
  table.size_bytes = (uint32_t)(IBX_TEST_SIZE);
#endif
#ifdef IBX_TEST_LAYOUT
  table.layout++;
#endif
#ifdef IBX_TEST_HOLE
  table.unload = NULL;
#endif
  return &table;
}

// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_SYNC_H
#define IBX_SYNC_H

/// \file
/// From a schedule to synchronised streams: the waits and signals that keep
/// every dependence, and none that another one implies.

#include "codegen/schedule.h"

/// Fills the streams; arrays come from `arena`. Fails with INTERNAL only.
IBX_NODISCARD ibx_status ibx_sync_make(const ibx_units *units,
                                       const ibx_schedule *schedule,
                                       ibx_arena *arena,
                                       ibx_stream streams[IBX_ENGINE_COUNT],
                                       ibx_error *err);

#endif

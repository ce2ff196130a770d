// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_IMBREX_H
#define IBX_IMBREX_H

/// \file
/// Everything that an application needs.

#include "imbrex/blob.h"
#include "imbrex/compiler.h"
#include "imbrex/dtype.h"
#include "imbrex/machine.h"
#include "imbrex/program.h"
#include "imbrex/prove.h"
#include "imbrex/runtime.h"
#include "imbrex/status.h"

#endif

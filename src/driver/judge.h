// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_JUDGE_H
#define IBX_JUDGE_H

/// \file
/// Tells a node that computes wrong from one that was given something else.

#include "driver/compare.h"

/// Looks at the rows of values that are beyond tolerance, up to the first one
/// whose node is at fault: a value that is what the reference kernels make of
/// the operands that the program had is marked as inherited. A quantised model
/// has many: what lies between two steps goes up on one side and down on the
/// other, and all that comes after differs by a step.
void ibx_judge(const ibx_compare_setup *setup, ibx_comparison *comparison);

#endif

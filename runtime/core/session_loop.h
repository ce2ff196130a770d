// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_SESSION_LOOP_H
#define IBX_SESSION_LOOP_H

/// \file
/// Loops over steps. A step `loop` has operands {number, condition, initial...},
/// of which the first two may be left out, and results {trip, carried...}; the
/// step `next` that ends it has operands {condition, given..., rows...} and
/// results {last..., lists...}. What a trip gives is carried into the next one,
/// or is the last; its rows are put behind those of the trips before. Where the
/// first extent of a list is a number, there must be so many trips.

#include "imbrex/host.h"
#include "imbrex/program.h"

/// What a step does beside a call; `none` of a device step.
ibx_host_flow ibx_step_flow(const ibx_step *step);

/// The step `next` that belongs to the loop at `index`, or the loop of a `next`.
/// The steps were checked.
size_t ibx_loop_partner(const ibx_steps *steps, size_t index);

/// Before the first trip, whether there is one; then after each.
IBX_NODISCARD ibx_status ibx_loop_begin(const ibx_steps *steps, size_t loop,
                                        ibx_host_tensor *values,
                                        bool *out_goes_on, ibx_error *err);
IBX_NODISCARD ibx_status ibx_loop_next(const ibx_steps *steps, size_t next,
                                       ibx_host_tensor *values,
                                       bool *out_goes_on, ibx_error *err);

#endif

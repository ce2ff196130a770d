// SPDX-License-Identifier: Apache-2.0
//
// Random numbers, as element.h and generator.h say.

#include "sim/element.h"
#include "sim/generator.h"

ibx_status ibx_exec_rng(const ibx_exec *x) {
  ibx_sim_view dst;
  IBX_TRY(ibx_open_write(x, 0, &dst));
  for (size_t p = 0; p < dst.partitions; p++) {
    for (size_t i = 0; i < dst.elements; i++) {
      ibx_store_bits(&dst, p, i, ibx_generator_next(x, p, i));
    }
  }
  return IBX_OK;
}

// dst = min + (max - min) * u
ibx_status ibx_exec_rand2(const ibx_exec *x) {
  ibx_sim_view dst, min, max;
  IBX_TRY(ibx_open_scalar(x, 2, x->insn->imm[0], &min));
  IBX_TRY(ibx_open_scalar(x, 3, x->insn->imm[1], &max));
  IBX_TRY(ibx_open_write(x, 0, &dst));
  for (size_t p = 0; p < dst.partitions; p++) {
    float first = ibx_load(&min, p, 0);
    float width = ibx_load(&max, p, 0) - first;
    for (size_t i = 0; i < dst.elements; i++) {
      ibx_store(&dst, p, i, first + width * ibx_generator_uniform(x, p, i));
    }
  }
  return IBX_OK;
}

// dst = 0 where u < s, else src
ibx_status ibx_exec_dropout(const ibx_exec *x) {
  ibx_sim_view dst, src, s;
  IBX_TRY(ibx_open_read(x, 1, &src));
  IBX_TRY(ibx_open_scalar(x, 2, x->insn->imm[0], &s));
  IBX_TRY(ibx_open_write(x, 0, &dst));
  for (size_t p = 0; p < dst.partitions; p++) {
    for (size_t i = 0; i < dst.elements; i++) {
      bool is_dropped = ibx_generator_uniform(x, p, i) < ibx_load(&s, p, 0);
      uint32_t bits = ibx_load_bits(&src, p, i);
      ibx_store_bits(&dst, p, i, is_dropped ? 0 : bits);
    }
  }
  return IBX_OK;
}

ibx_status ibx_exec_set_rng_seed(const ibx_exec *x) {
  ibx_sim_view src;
  IBX_TRY(ibx_open_read(x, 1, &src));
  ibx_generator_seed(x->sim, x->engine, ibx_load_bits(&src, 0, 0));
  return IBX_OK;
}

ibx_status ibx_exec_rand_set_state(const ibx_exec *x) {
  ibx_sim_view src;
  IBX_TRY(ibx_open_read(x, 1, &src));
  for (size_t p = 0; p < src.partitions; p++) {
    for (size_t i = 0; i < src.elements; i++) {
      ibx_generator_state(x, 1, p)[i] = ibx_load_bits(&src, p, i);
    }
  }
  return IBX_OK;
}

ibx_status ibx_exec_rand_get_state(const ibx_exec *x) {
  ibx_sim_view dst;
  IBX_TRY(ibx_open_write(x, 0, &dst));
  for (size_t p = 0; p < dst.partitions; p++) {
    for (size_t i = 0; i < dst.elements; i++) {
      ibx_store_bits(&dst, p, i, ibx_generator_state(x, 0, p)[i]);
    }
  }
  return IBX_OK;
}

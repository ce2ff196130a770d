// SPDX-License-Identifier: Apache-2.0
//
// Sequences and optionals as values of the import. Comes in: their items. Goes
// out: a handle that stands where a tensor could, in a scope, as input of a
// node or of a nested graph. Holds afterwards: the graph has tensors only, for
// which items a sequence has is always known here.

#include "frontend/import.h"

#include <string.h>

// Set in handles of bundles. IBX_NO_VALUE has it too, and is none.
#define BUNDLE_BIT (UINT32_C(1) << 31)

bool ibx_is_bundle(ibx_val value) {
  return value != IBX_NO_VALUE && (value & BUNDLE_BIT) != 0;
}

const ibx_bundle *ibx_bundle_of(const ibx_import *import, ibx_val value) {
  return ibx_is_bundle(value) ? &import->bundles[value & ~BUNDLE_BIT] : NULL;
}

ibx_val ibx_make_bundle(ibx_import *import, ibx_bundle bundle) {
  if (import->bundle_count == import->bundle_room) {
    size_t room = import->bundle_room == 0 ? 16 : 2 * import->bundle_room;
    ibx_bundle *larger = IBX_ARENA_ARRAY(&import->scratch, room, ibx_bundle);
    if (import->bundle_count != 0) {
      memcpy(larger, import->bundles, import->bundle_count * sizeof(*larger));
    }
    import->bundles = larger;
    import->bundle_room = room;
  }
  import->bundles[import->bundle_count] = bundle;
  return (ibx_val)import->bundle_count++ | BUNDLE_BIT;
}

const char *ibx_value_kind(const ibx_import *import, ibx_val value) {
  const ibx_bundle *bundle = ibx_bundle_of(import, value);
  if (!bundle) return "tensor";
  return bundle->is_optional ? "optional" : "sequence";
}

bool ibx_expect_tensor(ibx_call *call, ibx_val value, const char *name) {
  const ibx_bundle *bundle = ibx_bundle_of(call->import, value);
  if (!bundle) return !call->failed;
  ibx_call_fail(call, IBX_DIAG_OPERAND_TYPE, name,
                bundle->is_optional ? "take its element with OptionalGetElement"
                                    : "take an element with SequenceAt",
                "%s needs a tensor here, '%s' is of type %s", call->at.op, name,
                ibx_value_kind(call->import, value));
  return false;
}

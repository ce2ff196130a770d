// SPDX-License-Identifier: Apache-2.0
//
// Which fields of an instruction are one attribute. Comes in: the field table
// of a format in isa.def. Goes out: groups by the first word of a field's name:
//
//   operand[0].offset, operand[0].step[2] ...   operand0 = array<i64: ...>
//   num[2], num[3], num[4]                      num = array<i64: ...>
//   partitions                                  partitions = 64 : i64
//
// Opcode and buffers are the op's name and operands; semaphores do not exist
// at level 2.

#include "ir/context.h"

#include <string.h>

static bool is_left_out(const char *field) {
  const char *const names[] = {"opcode", "wait_semaphore", "wait_value",
                               "signal_semaphore", "signal_value"};
  for (size_t i = 0; i < IBX_COUNT_OF(names); i++) {
    if (strcmp(field, names[i]) == 0) return true;
  }
  size_t len = strlen(field), tail = strlen(".buffer");
  return len > tail && strcmp(field + len - tail, ".buffer") == 0;
}

static const char *group_name(const char *field, ibx_arena *arena) {
  size_t len = strcspn(field, "[.");
  if (strncmp(field, "operand[", strlen("operand[")) != 0) {
    return ibx_arena_text(arena, field, len);
  }
  return ibx_arena_format(arena, "operand%c", field[strlen("operand[")]);
}

static ibx_group_kind group_kind(const ibx_field_info *field,
                                 const char *name) {
  if (strcmp(name, "op") == 0) return IBX_GROUP_OPERATORS;
  if (field->kind == IBX_FIELD_FLOAT) return IBX_GROUP_FLOATS;
  return strpbrk(field->name, "[.") ? IBX_GROUP_INTEGERS : IBX_GROUP_SCALAR;
}

static ibx_field_group *find_group(ibx_field_groups *groups, const char *name) {
  for (size_t i = 0; i < groups->count; i++) {
    if (strcmp(groups->at[i].name, name) == 0) return &groups->at[i];
  }
  return NULL;
}

void ibx_field_groups_make(ibx_format format, ibx_arena *arena,
                           ibx_field_groups *out) {
  size_t count;
  const ibx_field_info *fields = ibx_format_fields(format, &count);
  *out = (ibx_field_groups){.count = 0};
  for (size_t i = 0; i < count; i++) {
    if (is_left_out(fields[i].name)) continue;
    const char *name = group_name(fields[i].name, arena);
    ibx_field_group *group = find_group(out, name);
    if (!group && out->count == IBX_IR_GROUPS) continue;
    if (!group) {
      group = &out->at[out->count++];
      group->name = name;
      group->kind = group_kind(&fields[i], name);
    }
    if (group->count == IBX_IR_GROUP_FIELDS) continue;
    group->fields[group->count++] = fields[i];
  }
}

// SPDX-License-Identifier: Apache-2.0
//
// The tables of the machine as documents. Comes in: isa.def and machine.def.
// Goes out: docs/isa.md, and the text of `imbrex isa`. Every fact printed here
// is a column of those files, so a document cannot disagree with the machine.

#include "driver/isa_doc.h"

#include "imbrex/isa.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

static const ibx_isa_row rows[] = {
#define IBX_INSN(row_name, row_opcode, row_format, row_kind, row_engines,      \
                 row_targets, slot0, slot1, slot2, slot3, row_cost,            \
                 row_sentence, row_source)                                     \
  {.name = #row_name,                                                          \
   .format = #row_format,                                                      \
   .engines = (row_engines),                                                   \
   .targets = (row_targets),                                                   \
   .slots = {#slot0, #slot1, #slot2, #slot3},                                  \
   .cost = #row_cost,                                                          \
   .sentence = (row_sentence),                                                 \
   .source = (row_source),                                                     \
   .opcode = (row_opcode)},
#include "imbrex/isa.def"
};

static const struct {
  const char *name, *formula, *source;
} costs[] = {
#define IBX_COST(cost, formula, source) {#cost, formula, source},
#include "imbrex/isa.def"
};

static const struct {
  const char *scope, *rule;
} limits[] = {
#define IBX_LIMIT(scope, rule) {#scope, rule},
#include "imbrex/isa.def"
};

static const struct {
  const char *name, *sentence;
  int words;
} formats[] = {
#define IBX_FORMAT(name, words, sentence) {#name, sentence, words},
#include "imbrex/isa.def"
};

static const struct {
  const char *format, *member, *kind;
  int low_bit, width;
} fields[] = {
#define IBX_FIELD(format, member, low_bit, width, kind)                        \
  {#format, #member, #kind, low_bit, width},
#include "imbrex/isa.def"
};

static const struct {
  const char *klass, *sentence;
  int number, reducible;
} alus[] = {
#define IBX_ALU(name, number, reducible, klass, sentence)                      \
  {#klass, sentence, number, reducible},
#include "imbrex/isa.def"
};

static const struct {
  const char *sentence;
  int number, table;
} acts[] = {
#define IBX_ACT(name, number, table, sentence) {sentence, number, table},
#include "imbrex/isa.def"
};

static const struct {
  const char *outside;
  ibx_act act;
} ranges[] = {
#define IBX_RANGE(act, low, high, measure, outside) {outside, IBX_ACT_##act},
#include "imbrex/isa.def"
};

static const struct {
  const char *name, *sentence;
  unsigned bit;
} flags[] = {
#define IBX_FLAG(name, bit, sentence) {#name, sentence, bit},
#include "imbrex/isa.def"
};

static const struct {
  const char *name, *insn, *count, *lanes, *work, *sentence;
  int number;
} calls[] = {
#define IBX_CALL(row_name, row_number, row_insn, row_count, row_lanes,         \
                 row_work, row_sentence, row_instead)                          \
  {.name = #row_name,                                                          \
   .insn = #row_insn,                                                          \
   .count = #row_count,                                                        \
   .lanes = #row_lanes,                                                        \
   .work = #row_work,                                                          \
   .sentence = (row_sentence),                                                 \
   .number = (row_number)},
#include "imbrex/gpsimd_calls.def"
};

static const struct {
  const char *call, *elements, *types;
  int slot;
} call_operands[] = {
#define IBX_CALL_OPERAND(name, slot, elements, types)                          \
  {#name, #elements, #types, slot},
#include "imbrex/gpsimd_calls.def"
};

static const struct {
  const char *sentence;
  int number;
} reduces[] = {
#define IBX_REDUCE(name, number, sentence) {sentence, number},
#include "imbrex/isa.def"
};

static const struct {
  const char *insn, *partitions, *elements;
  int slot;
} shapes[] = {
#define IBX_SHAPE(insn, slot, partitions, elements)                            \
  {#insn, #partitions, #elements, slot},
#define IBX_TABLE(insn, slot) {#insn, NULL, NULL, slot},
#define IBX_ONCE(insn, slot) {#insn, "1", NULL, slot},
#include "imbrex/isa.def"
};

static const struct {
  const char *insn, *targets, *sentence;
  uint8_t opcode, number;
} modes[] = {
#define IBX_MODE(insn, name, number, targets, sentence)                        \
  {#insn, targets, sentence, IBX_OP_##insn, number},
#include "imbrex/isa.def"
};

static const char *const targets[] = {
#define IBX_TARGET(name, number, sentence) #name,
#include "imbrex/machine.def"
};

const ibx_isa_row *ibx_isa_row_get(size_t index) {
  return index < IBX_COUNT_OF(rows) ? &rows[index] : NULL;
}

const char *ibx_isa_cost_formula(const char *cost) {
  for (size_t i = 0; i < IBX_COUNT_OF(costs); i++) {
    if (strcmp(costs[i].name, cost) == 0) return costs[i].formula;
  }
  return NULL;
}

const char *ibx_isa_limit(const char *scope, size_t index) {
  for (size_t i = 0; i < IBX_COUNT_OF(limits); i++) {
    if (strcmp(limits[i].scope, scope) != 0) continue;
    if (index-- == 0) return limits[i].rule;
  }
  return NULL;
}

// --- parts of a line ----------------------------------------------------------

// A cell of a table; a bar would end it.
static void print_cell(FILE *out, const char *text) {
  fputs("| ", out);
  for (; *text; text++) {
    if (*text == '|') fputc('\\', out);
    fputc(*text, out);
  }
  fputc(' ', out);
}

static const char *engine_of_letter(char letter) {
  const char letters[] = "TVSGY";
  const char *at = strchr(letters, letter);
  return ibx_engine_name(at ? (ibx_engine)(at - letters) : IBX_ENGINE_COUNT);
}

static void print_engines(FILE *out, const char *letters) {
  for (const char *c = letters; *c; c++) {
    fprintf(out, "%s%s", c == letters ? "" : ", ", engine_of_letter(*c));
  }
}

static void print_targets(FILE *out, const char *digits) {
  for (const char *c = digits; *c; c++) {
    fprintf(out, "%sibx%c", c == digits ? "" : ", ", *c);
  }
}

static const char *slot_text(char kind) {
  switch (kind) {
  case 'R': return "read";
  case 'W': return "written";
  case 'M': return "read and written";
  case 's': return "[P,1] f32 read, or an immediate";
  case 'w': return "[P,1] f32 written";
  default: return NULL;
  }
}

static void print_slots(FILE *out, const ibx_isa_row *row) {
  const char *separator = "";
  for (size_t i = 0; i < IBX_COUNT_OF(row->slots); i++) {
    const char *text = slot_text(row->slots[i][0]);
    if (!text) continue;
    fprintf(out, "%s%zu %s", separator, i, text);
    separator = "; ";
  }
  if (*separator == '\0') fputs("none", out);
}

// --- Markdown -----------------------------------------------------------------

static const char head[] =
    "<!-- Generated by `imbrex isa --format md` from include/imbrex/isa.def "
    "and\n"
    "     machine.def; do not edit. SPDX-License-Identifier: Apache-2.0 -->\n"
    "\n"
    "# The instruction set\n"
    "\n"
    "Names, operands, limits and numerics follow the public `nki.isa` "
    "reference; the\n"
    "encoding, the buffers and the semaphore rules are Imbrex's own. Marks: D "
    "documented,\n"
    "M measured and published, R read off a published figure, C our "
    "arithmetic or our\n"
    "guess. Short source names: ARCH2/3/4 NKI architecture guides; HW "
    "hardware pages; ISA\n"
    "`nki.isa` reference of SDK 2.26; AP, DGE, DMABW, DMAOV, LOOPS, PERF NKI "
    "deep dives;\n"
    "KOPT kernel optimisation tutorial; EXPL profiler pages.\n"
    "\n"
    "An instruction has up to four operands. Each lies in a buffer that the "
    "program\n"
    "declares, at a partition and a byte offset, and has steps in elements; "
    "the iteration\n"
    "space `num` is shared. Engine instructions walk `partitions` partitions "
    "and `num[2..4]`,\n"
    "DMAs walk `num[0..4]`. P is the number of partitions, C that of "
    "`columns`, N the product\n"
    "of `num[2..4]`, D are the `num`.\n"
    "\n"
    "Every instruction may wait for one semaphore and signal one. A wait for "
    "v needs a\n"
    "value of at least v and then subtracts v; a signal of v adds v when the "
    "instruction's\n"
    "results are complete. The value 0 means no wait, no signal. A DMA's "
    "pieces complete\n"
    "independently, and each adds 1.\n";

static void print_limits_md(FILE *out, const char *scope) {
  const char *rule;
  for (size_t i = 0; (rule = ibx_isa_limit(scope, i)) != NULL; i++) {
    fprintf(out, "- %s\n", rule);
  }
}

static void print_common_limits_md(FILE *out) {
  fputs("\n## Limits of all instructions\n\n", out);
  print_limits_md(out, "instructions");
  fputs("\nOf engine instructions:\n\n", out);
  print_limits_md(out, "engines");
  fputs("\nOf DMAs:\n\n", out);
  print_limits_md(out, "dmas");
}

// Operands whose space is not that of the instruction.
static void print_shapes_md(FILE *out, const char *insn) {
  for (size_t i = 0; i < IBX_COUNT_OF(shapes); i++) {
    if (strcmp(shapes[i].insn, insn) != 0) continue;
    if (!shapes[i].elements && shapes[i].partitions) {
      fprintf(out, "- operand %d: does not walk dimension 0\n", shapes[i].slot);
    } else if (!shapes[i].partitions) {
      fprintf(out, "- operand %d: any of `count` rows\n", shapes[i].slot);
    } else if (strcmp(shapes[i].elements, "ALL") == 0) {
      fprintf(out, "- operand %d: %s partitions\n", shapes[i].slot,
              shapes[i].partitions);
    } else {
      fprintf(out, "- operand %d: %s partitions of %s elements\n",
              shapes[i].slot, shapes[i].partitions, shapes[i].elements);
    }
  }
}

static void print_modes_md(FILE *out, const char *insn) {
  for (size_t i = 0; i < IBX_COUNT_OF(modes); i++) {
    if (strcmp(modes[i].insn, insn) != 0) continue;
    fprintf(out, "- mode %d, `%s` (", modes[i].number,
            ibx_mode_name(modes[i].opcode, modes[i].number));
    print_targets(out, modes[i].targets);
    fprintf(out, "): %s\n", modes[i].sentence);
  }
}

static void print_commands_md(FILE *out, uint8_t opcode) {
  const char *separator = "- commands: ";
  for (uint8_t i = 0; i < IBX_REDUCE_COUNT; i++) {
    if (!(ibx_insn_reduces(opcode) >> i & 1)) continue;
    fprintf(out, "%s%s", separator, ibx_reduce_name(i));
    separator = ", ";
  }
  if (ibx_insn_reduces(opcode) != 0) fputc('\n', out);
}

static void print_insn_md(FILE *out, const ibx_isa_row *row) {
  fprintf(out, "\n### %s\n\n%s.\n\n", row->name, row->sentence);
  fprintf(out, "- opcode 0x%02x, format [%s](#%s)\n- engines: ", row->opcode,
          row->format, row->format);
  print_engines(out, row->engines);
  fputs("; targets: ", out);
  print_targets(out, row->targets);
  fputs("\n- operands: ", out);
  print_slots(out, row);
  fputc('\n', out);
  print_shapes_md(out, row->name);
  print_modes_md(out, row->name);
  print_commands_md(out, (uint8_t)row->opcode);
  const char *rule;
  for (size_t i = 0; (rule = ibx_isa_limit(row->name, i)) != NULL; i++) {
    fprintf(out, "- limit: %s\n", rule);
  }
  fprintf(out, "- cost: %s\n- source: %s\n", ibx_isa_cost_formula(row->cost),
          row->source);
}

static void print_insns_md(FILE *out) {
  fputs("\n## Instructions\n", out);
  for (size_t i = 0; i < IBX_COUNT_OF(rows); i++) {
    print_insn_md(out, &rows[i]);
  }
}

static void print_costs_md(FILE *out) {
  fputs("\n## Costs\n\n"
        "Cycles of the executing engine until it can start its next "
        "instruction; N elements\n"
        "a partition, II `min_interval`. A tensor operand whose innermost "
        "stride exceeds\n"
        "`wide_stride_bytes` doubles N on Vector and Scalar (AP). The result "
        "is visible the\n"
        "engine's latency after the data have passed.\n\n"
        "| name | formula | source |\n|---|---|---|\n",
        out);
  for (size_t i = 0; i < IBX_COUNT_OF(costs); i++) {
    print_cell(out, costs[i].name);
    print_cell(out, costs[i].formula);
    print_cell(out, costs[i].source);
    fputs("|\n", out);
  }
}

static void print_alus_md(FILE *out) {
  fputs("\n## Operators of Vector and GpSimd\n\n"
        "`arith` operators compute in fp32 (GpSimd's `tensor_tensor` on "
        "32-bit integers: in\n"
        "wrapping integers); `bits` operators work on integers without "
        "conversion.\n\n"
        "| operator | number | class | reduces | result |\n"
        "|---|---|---|---|---|\n",
        out);
  for (size_t i = 0; i < IBX_COUNT_OF(alus); i++) {
    fprintf(out, "| %s | %d | %s | %s ", ibx_alu_name((uint8_t)alus[i].number),
            alus[i].number, strcmp(alus[i].klass, "BITS") ? "arith" : "bits",
            alus[i].reducible ? "yes" : "no");
    print_cell(out, alus[i].sentence);
    fputs("|\n", out);
  }
}

static void print_acts_md(FILE *out) {
  fputs("\n## Functions of Scalar\n\n"
        "`table` is the set that must be loaded; 0 is always there. The sets "
        "are our guess [C].\n\n"
        "| function | number | table | result |\n|---|---|---|---|\n",
        out);
  for (size_t i = 0; i < IBX_COUNT_OF(acts); i++) {
    fprintf(out, "| %s | %d | %d ", ibx_act_name((uint8_t)acts[i].number),
            acts[i].number, acts[i].table);
    print_cell(out, acts[i].sentence);
    fputs("|\n", out);
  }
}

// A power of two as such.
static void print_bound(FILE *out, float bound) {
  int exponent;
  if (frexpf(bound, &exponent) == 0.5f) {
    fprintf(out, "2^%d", exponent - 1);
  } else {
    fprintf(out, "%.6g", (double)bound);
  }
}

static void print_ranges_md(FILE *out) {
  fputs("\nEach result rounds the exact value to fp32; a fast version of the "
        "simulator may miss it\nby four units in the last place. Where a "
        "function is published to hold in a range only:\n\n"
        "| function | from | to | outside |\n|---|---|---|---|\n",
        out);
  for (size_t i = 0; i < IBX_COUNT_OF(ranges); i++) {
    uint8_t act = (uint8_t)ranges[i].act;
    ibx_act_range range;
    if (!ibx_act_range_find(act, &range)) continue;
    fprintf(out, "| %s%s | ", ibx_act_name(act),
            range.is_magnitude ? ", magnitude" : "");
    print_bound(out, range.low);
    fputs(" | ", out);
    print_bound(out, range.high);
    fputc(' ', out);
    print_cell(out, ranges[i].outside);
    fputs("|\n", out);
  }
}

static void print_call_operands_md(FILE *out, const char *call) {
  const char *separator = "";
  fputs("| ", out);
  for (size_t i = 0; i < IBX_COUNT_OF(call_operands); i++) {
    if (strcmp(call_operands[i].call, call) != 0) continue;
    fprintf(out, "%s%d: %s %s", separator, call_operands[i].slot,
            call_operands[i].elements, call_operands[i].types);
    separator = "; ";
  }
  fputc(' ', out);
}

static void print_calls_md(FILE *out) {
  fputs("\n## The library of GpSimd\n\n"
        "Kernels that the `gpsimd_call` instructions run, all our own [C]. "
        "`count` is K: NONE it\nis 0, SOME 1 to N, MANY any number. An "
        "operand has so many elements a partition (ALL\nwalks the space of "
        "the instruction), of these types: VALUE all but f64, INDEX i32 or\n"
        "i64, LOGICAL bool or u8, SAME that of operand 1. Integers wrap; NaN "
        "is greater than\nevery number and equal to NaN. `work` is in elements "
        "a lane, LOG that of N to base 2;\nEACH computes every element by "
        "itself, so that the lanes share what lies in HBM.\n\n"
        "| kernel | number | run by | count | operands | lanes | work | "
        "result |\n|---|---|---|---|---|---|---|---|\n",
        out);
  for (size_t i = 0; i < IBX_COUNT_OF(calls); i++) {
    fprintf(out, "| %s | %d | %s | %s ",
            ibx_call_name((uint8_t)calls[i].number), calls[i].number,
            calls[i].insn, calls[i].count);
    print_call_operands_md(out, calls[i].name);
    fprintf(out, "| %s | %s ", calls[i].lanes, calls[i].work);
    print_cell(out, calls[i].sentence);
    fputs("|\n", out);
  }
}

static void print_reduces_md(FILE *out) {
  fputs(
      "\n## Accumulators\n\n"
      "Scalar and Vector each have one fp32 accumulator a partition. What the "
      "`reduce`\nmember of an instruction does with them:\n\n"
      "| command | number | meaning |\n|---|---|---|\n",
      out);
  for (size_t i = 0; i < IBX_COUNT_OF(reduces); i++) {
    fprintf(out, "| %s | %d | %s |\n",
            ibx_reduce_name((uint8_t)reduces[i].number), reduces[i].number,
            reduces[i].sentence);
  }
}

static void print_flags_md(FILE *out) {
  fputs("\n## Flags\n\n| flag | bit | meaning |\n|---|---|---|\n", out);
  for (size_t i = 0; i < IBX_COUNT_OF(flags); i++) {
    fprintf(out, "| %s | 0x%02x | %s |\n", flags[i].name, flags[i].bit,
            flags[i].sentence);
  }
}

static void print_formats_md(FILE *out) {
  fputs("\n## Formats\n\n"
        "Instructions are words of 64 bytes, little endian; bit 0 is the "
        "lowest of byte 0.\n"
        "Bits that no row names are 0.\n",
        out);
  for (size_t f = 0; f < IBX_COUNT_OF(formats); f++) {
    fprintf(out,
            "\n### %s\n\n%s; %d bytes.\n\n| bits | member | kind |\n"
            "|---|---|---|\n",
            formats[f].name, formats[f].sentence,
            formats[f].words * IBX_WORD_BYTES);
    for (size_t i = 0; i < IBX_COUNT_OF(fields); i++) {
      if (strcmp(fields[i].format, formats[f].name) != 0) continue;
      fprintf(out, "| %d..%d | `%s` | %s |\n", fields[i].low_bit,
              fields[i].low_bit + fields[i].width - 1, fields[i].member,
              fields[i].kind);
    }
  }
}

static void print_dtypes_md(FILE *out) {
  fputs("\n## Element types\n\n| type | number | bits | meaning |\n"
        "|---|---|---|---|\n",
        out);
  for (int d = 0; d < IBX_DTYPE_COUNT; d++) {
    const ibx_dtype_info *info = ibx_dtype_get((ibx_dtype)d);
    fprintf(out, "| %s | %d | %u ", info->name, d, info->bits);
    print_cell(out, info->sentence);
    fputs("|\n", out);
  }
}

static void print_targets_md(FILE *out) {
  fputs("\n## Targets\n\n", out);
  for (size_t i = 0; i < IBX_COUNT_OF(targets); i++) {
    fprintf(out, "- %s: %s\n", targets[i],
            ibx_machine_find(targets[i])->sentence);
  }
  fputs("\n| fact | unit |", out);
  for (size_t i = 0; i < IBX_COUNT_OF(targets); i++) {
    fprintf(out, " %s |", targets[i]);
  }
  fputs(" mark | source |\n|---|---|---|---|---|---|---|\n", out);
  const ibx_fact_info *fact;
  for (size_t i = 0; (fact = ibx_machine_fact(i)) != NULL; i++) {
    fprintf(out, "| %s | %s ", fact->name, fact->unit);
    for (size_t t = 0; t < IBX_COUNT_OF(targets); t++) {
      fprintf(out, "| %" PRIu32 " ", fact->values[t]);
    }
    fprintf(out, "| %c ", fact->mark);
    print_cell(out, fact->source);
    fputs("|\n", out);
  }
}

void ibx_isa_print_md(FILE *out) {
  fputs(head, out);
  print_common_limits_md(out);
  print_insns_md(out);
  print_costs_md(out);
  print_alus_md(out);
  print_acts_md(out);
  print_ranges_md(out);
  print_calls_md(out);
  print_reduces_md(out);
  print_flags_md(out);
  print_formats_md(out);
  print_dtypes_md(out);
  print_targets_md(out);
}

// --- text ---------------------------------------------------------------------

static void print_insn_text(FILE *out, const ibx_isa_row *row) {
  fprintf(out, "%s  0x%02x  ", row->name, row->opcode);
  print_engines(out, row->engines);
  fputs("  ", out);
  print_targets(out, row->targets);
  fprintf(out, "\n  %s\n  operands: ", row->sentence);
  print_slots(out, row);
  fputc('\n', out);
  const char *rule;
  for (size_t i = 0; (rule = ibx_isa_limit(row->name, i)) != NULL; i++) {
    fprintf(out, "  limit: %s\n", rule);
  }
  fprintf(out, "  cost: %s\n  source: %s\n", ibx_isa_cost_formula(row->cost),
          row->source);
}

void ibx_isa_print_text(FILE *out) {
  for (size_t i = 0; i < IBX_COUNT_OF(rows); i++) {
    if (i > 0) fputc('\n', out);
    print_insn_text(out, &rows[i]);
  }
}

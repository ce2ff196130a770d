// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_PROGRAM_H
#define IBX_PROGRAM_H

/// \file
/// A program: what the compiler and the assembler write, and what the runtime
/// reads, proves and runs. docs/program-format.md has the bytes.
///
/// A program has a target, one read-only weight section, and entries. An entry
/// has named tensors (inputs, outputs, state), buffers, and one instruction
/// stream for each engine. Everything an instruction touches lies in a buffer
/// that the entry declares.

#include "imbrex/isa.h"

IBX_C_BEGIN

enum { IBX_MAX_RANK = 8, IBX_PROGRAM_MAGIC_BYTES = 8 };
/// The first bytes of every program file; line ends show a damaged transfer.
#define IBX_PROGRAM_MAGIC "\x89IBX\r\n\x1a\n"
#define IBX_NO_NODE UINT32_MAX

typedef enum ibx_buffer_kind {
  IBX_BUFFER_SCRATCH, ///< SBUF, PSUM, or HBM that lives for one run
  IBX_BUFFER_INPUT,   ///< HBM, filled before the run
  IBX_BUFFER_OUTPUT,  ///< HBM, read after the run
  IBX_BUFFER_STATE, ///< HBM, an input and an output in place, kept between runs
  IBX_BUFFER_WEIGHT, ///< HBM, part of the weight section, never written
  IBX_BUFFER_KIND_COUNT
} ibx_buffer_kind;

/// The declared extent of a buffer. Two buffers may share an address as long as
/// the prover finds their uses ordered.
typedef struct ibx_buffer_decl {
  ibx_buffer_place place; ///< WEIGHT: offset is in the weight section
  const char *name;
  ibx_buffer_kind kind;
  bool is_split; ///< each core has its own; the caller's memory holds them one
                 ///< after another. An input that is not is one for all cores
} ibx_buffer_decl;

/// A tensor that the caller sees; its elements lie row-major in its buffer, of
/// a split buffer in those of all cores, in ascending order of ranks.
typedef struct ibx_tensor_decl {
  const char *name;
  uint64_t shape[IBX_MAX_RANK];
  uint32_t buffer; ///< kind INPUT, OUTPUT or STATE; of an entry with steps 0
  uint8_t rank;
  uint8_t dtype;
} ibx_tensor_decl;

typedef enum ibx_port_kind {
  IBX_PORT_TENSOR,
  IBX_PORT_SEQUENCE,          ///< of tensors: any number
  IBX_PORT_OPTIONAL,          ///< a tensor or none
  IBX_PORT_OPTIONAL_SEQUENCE, ///< a sequence, perhaps empty, or none
  IBX_PORT_KIND_COUNT
} ibx_port_kind;

/// An input or output of the model, and the tensors of the program that stand
/// for it: neighbours among the inputs or outputs of the entry.
typedef struct ibx_port_decl {
  const char *name;
  ibx_port_kind kind;
  uint32_t first, count;
  bool is_absent; ///< an optional that has no element
} ibx_port_decl;

/// A dimension of an output whose extent depends on the data: `shape` has the
/// most that it can be, and each run says in `source`, an output of one integer
/// that belongs to no port, how much it is. The elements lie as if the shape
/// were the declared one; those past the extent have no meaning.
typedef struct ibx_extent_decl {
  uint32_t output, dim, source;
} ibx_extent_decl;

typedef struct ibx_stream {
  ibx_insn *insns;
  uint32_t *nodes; ///< index into `nodes` of the program, or IBX_NO_NODE
  size_t count;
} ibx_stream;

/// Facts of the model that the bounds need; see interface.md, section 2.
typedef struct ibx_bounds {
  uint64_t flops;         ///< useful ones, 2 for each multiply-accumulate
  uint64_t tensor_ps;     ///< useful work at the tensor engine's peak
  uint64_t hbm_min_bytes; ///< compulsory bytes
  uint64_t hbm_ps;        ///< hbm_min_bytes at the rate of all DMA engines
  uint64_t engine_ps;     ///< smallest possible busiest-engine time
} ibx_bounds;

/// An extent that only a run tells, of a value that the host makes.
#define IBX_ANY_EXTENT UINT64_MAX

/// A tensor between steps.
typedef struct ibx_step_value {
  uint64_t shape[IBX_MAX_RANK]; ///< IBX_ANY_EXTENT: only a run tells
  uint8_t rank;
  uint8_t dtype;
  bool is_constant;
  ibx_span data; ///< of a constant; see ibx_host_tensor_borrow()
} ibx_step_value;

/// One step: an entry of the device, or a call on the host.
typedef struct ibx_step {
  const char *call;      ///< row of host_calls.def; NULL: a device step
  const char *signature; ///< of the call
  uint32_t segment;      ///< of a device step: index of its entry
  uint32_t node;         ///< that the call came from, or IBX_NO_NODE
  uint32_t *operands;    ///< values; IBX_NO_NODE: left out
  uint32_t *results;
  int64_t *ints;
  size_t operand_count, result_count, int_count;
} ibx_step;

/// What an entry does that needs the host: steps, one after the other.
typedef struct ibx_steps {
  ibx_step_value *values;
  uint32_t *inputs, *outputs; ///< values of the entry's tensors, in their order
  ibx_step *steps;
  size_t value_count, step_count;
} ibx_steps;

typedef struct ibx_entry {
  const char *name;
  ibx_tensor_decl *inputs; ///< a state tensor stands here and in `outputs`
  ibx_tensor_decl *outputs;
  ibx_buffer_decl *buffers;
  size_t input_count, output_count, buffer_count;
  bool has_ports; ///< otherwise each tensor is an input or output of the model
  ibx_port_decl *input_ports;
  ibx_port_decl *output_ports;
  ibx_extent_decl *extents; ///< NULL without ports
  size_t input_port_count, output_port_count, extent_count;
  ibx_stream streams[IBX_ENGINE_COUNT];
  ibx_bounds bounds;
  uint32_t cores; ///< that run the streams, each with buffers of its own but
                  ///< for weights and shared inputs; 0 is 1
  const ibx_steps *steps; ///< NULL but where the host takes part; then there
                          ///< are no buffers and streams
  bool is_segment;        ///< run by a step of another entry
} ibx_entry;

/// Runs of steps on the host: a program leaves the device so often.
IBX_API size_t ibx_entry_host_segments(const ibx_entry *entry);

static inline uint32_t ibx_entry_cores(const ibx_entry *entry) {
  return entry->cores == 0 ? 1 : entry->cores;
}

/// Bytes of the caller's memory for a checked buffer of kind INPUT, OUTPUT or
/// STATE.
static inline uint64_t ibx_buffer_bytes(const ibx_entry *entry,
                                        const ibx_buffer_decl *buffer) {
  uint64_t parts = buffer->is_split ? ibx_entry_cores(entry) : 1;
  return buffer->place.bytes * parts;
}

/// Number of inputs or outputs of the model.
static inline size_t ibx_entry_port_count(const ibx_entry *entry,
                                          bool is_output) {
  if (!entry->has_ports) {
    return is_output ? entry->output_count : entry->input_count;
  }
  return is_output ? entry->output_port_count : entry->input_port_count;
}

/// The model's input or output `index`.
static inline ibx_port_decl ibx_entry_port(const ibx_entry *entry,
                                           bool is_output, size_t index) {
  if (entry->has_ports) {
    return is_output ? entry->output_ports[index] : entry->input_ports[index];
  }
  const ibx_tensor_decl *list = is_output ? entry->outputs : entry->inputs;
  ibx_port_decl port = {list[index].name, IBX_PORT_TENSOR, (uint32_t)index, 1,
                        false};
  return port;
}

/// A source node: an ONNX node, or a line of an assembly file.
typedef struct ibx_node_decl {
  const char *name;
  const char *op;
} ibx_node_decl;

typedef struct ibx_program_data {
  const ibx_machine *machine;
  const char *model;   ///< name of the model or assembly file, no folders
  const char *options; ///< the options that shaped it, as text
  ibx_entry *entries;
  ibx_node_decl *nodes;
  size_t entry_count, node_count;
  ibx_span weights;
  uint64_t code_bytes; ///< instructions, tables, strings: all but weights
} ibx_program_data;

/// Nodes of an entry, its segments included, that call the library of GpSimd,
/// each once.
IBX_API size_t ibx_entry_library_nodes(const ibx_program_data *program,
                                       const ibx_entry *entry);

/// The time that a library call keeps GpSimd; `buffers` are those of its entry.
IBX_API uint64_t ibx_library_call_ps(const ibx_machine *machine,
                                     const ibx_buffer_decl *buffers,
                                     const ibx_insn *call);

typedef struct ibx_program ibx_program;

/// Receives a program file piece by piece; returns false on a write error.
typedef bool (*ibx_write_fn)(void *user, const void *data, size_t size);

/// Writes the file. `weight_write` (with `weight_user`) is called once to give
/// the `weights.size` bytes of the weight section through the sink; when NULL,
/// `program->weights.data` is written. Fails with INVALID_PROGRAM when a field
/// does not fit, IO_ERROR when the sink fails. The same program gives the same
/// bytes.
IBX_API IBX_NODISCARD ibx_status ibx_program_write(
    const ibx_program_data *program, ibx_write_fn write, void *user,
    bool (*weight_write)(void *weight_user, ibx_write_fn write, void *user),
    void *weight_user, ibx_error *err);

/// Maps and reads a program file, checks every section's digest, every
/// instruction and every reference (not the proof; see prove.h). On success the
/// caller owns `*out_program`. The mapping stays until ibx_program_close().
IBX_API IBX_NODISCARD ibx_status ibx_program_open_file(
    const char *path, ibx_program **out_program, ibx_error *err);

/// The same from memory, which must outlive the program and be 64-byte aligned.
IBX_API IBX_NODISCARD ibx_status ibx_program_open_memory(
    ibx_span bytes, ibx_program **out_program, ibx_error *err);

/// Accepts NULL. No session may still use the program.
IBX_API void ibx_program_close(ibx_program *program);

/// Lends the contents.
IBX_API const ibx_program_data *ibx_program_get(const ibx_program *program);

/// Lends the entry of that name, or the first that is no segment when `name` is
/// NULL; NULL when there is none.
IBX_API const ibx_entry *ibx_program_find_entry(const ibx_program *program,
                                                const char *name);

/// One section of the file. `name` is "" where this version does not know it.
typedef struct ibx_section_info {
  const char *name;
  uint64_t offset, size, digest;
  uint32_t id;
} ibx_section_info;

/// Fills in section `index` in the order of the file; false past the last.
IBX_API bool ibx_program_section(const ibx_program *program, size_t index,
                                 ibx_section_info *out);

/// Lends the bytes of the whole file.
IBX_API ibx_span ibx_program_bytes(const ibx_program *program);

/// 64-bit digest of the whole file.
IBX_API uint64_t ibx_program_digest(const ibx_program *program);

IBX_C_END
#endif

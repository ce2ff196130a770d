// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_IMPORT_H
#define IBX_IMPORT_H

/// \file
/// What the importers of operators share.
///
/// An importer reads the inputs and attributes of one node (`ibx_call`) and
/// emits tensor operations. Errors stick to the call: the first one becomes a
/// diagnostic, later ones are its consequences and stay silent, and an emit
/// function that fails returns a value that is valid but of no meaning. So an
/// importer reads as a formula, without a check after every line.

#include "frontend/model.h"
#include "frontend/onnx_ops.h"
#include "imbrex/host.h"
#include "support/map.h"

/// A value of the graph, or a bundle (see below); IBX_NO_VALUE stands for an
/// absent optional input.
typedef uint32_t ibx_val;

/// A sequence or an optional: values under one handle, which exists while the
/// model is imported and leaves no trace in the graph. Never changed.
typedef struct ibx_bundle {
  bool is_optional;
  ibx_dtype dtype;      ///< of the tensors, NONE where nothing says
  const ibx_val *items; ///< tensors; that of an optional may be a sequence
  size_t count;         ///< of an optional at most 1
} ibx_bundle;

/// What a name of the model stands for.
typedef struct ibx_binding {
  const char *name;
  ibx_val value;                   ///< or IBX_NO_VALUE until first used
  const Onnx__TensorProto *tensor; ///< of an initialiser
  bool failed;                     ///< its node could not be imported
  bool absent; ///< an input of a function that the call leaves out
} ibx_binding;

typedef struct ibx_scope {
  struct ibx_scope *parent; ///< whose names are visible too, or NULL
  ibx_map names;            ///< to bindings
  ibx_binding *bindings;
  size_t count, room;
} ibx_scope;

/// The graph, branch or function whose nodes are imported.
typedef struct ibx_frame {
  const struct ibx_frame *caller;
  ibx_scope *scope;
  const Onnx__FunctionProto *function; ///< NULL in a graph
  const Onnx__NodeProto *call;         ///< of the function
  Onnx__OperatorSetIdProto **opsets;
  size_t opset_count;
  const char *prefix; ///< of node names, "" in the main graph
  unsigned depth;
} ibx_frame;

/// A call on the host, between nodes of the graph.
typedef struct ibx_host_node {
  const ibx_host_call_info *call;
  ibx_val *operands; ///< IBX_NO_VALUE: left out
  ibx_val *results;
  int64_t *ints;
  size_t operand_count, result_count, int_count;
  size_t after; ///< nodes of the graph that stand before it
  uint32_t source;
} ibx_host_node;
/// What is noted of a value that depends on extents which the data decide.
typedef struct ibx_extents {
  ibx_val real[IBX_MAX_RANK]; ///< scalars: how much of each dimension is valid,
                              ///< IBX_NO_VALUE: all of it
  ibx_val low, high; ///< of integers made of extents: constants of their shape,
                     ///< the least and the largest that they can be
} ibx_extents;

/// The import of one model.
typedef struct ibx_import {
  ibx_model *model;
  const ibx_frontend_options *options;
  ibx_diag_sink *sink;
  ibx_arena *arena;  ///< of the result
  ibx_arena scratch; ///< ends with the import
  ibx_arena block;   ///< of what is being folded
  ibx_tables *tables;
  ibx_graph graph;
  ibx_map functions; ///< "domain:name:overload" to an index
  ibx_import_stats stats;
  size_t first_weight;     ///< rows from here on belong to this import
  uint64_t work;           ///< nodes visited: functions may multiply them
  bool *known;             ///< of each value: depends on constants only
  ibx_tensor **forced;     ///< of each value: its elements, computed on demand
  ibx_host_tensor **texts; ///< of each value: the texts of a constant
  ibx_host_node *host_nodes;
  size_t host_count, host_room;
  size_t value_room;
  size_t *input_places; ///< of each input of `graph`, as ibx_diagnostic has it
  ibx_bundle *bundles;
  size_t bundle_count, bundle_room;
  ibx_extents **extents; ///< of each value, NULL for most
  size_t extent_room;
  struct ibx_mask *masks;     ///< that were emitted before
  struct ibx_counted *counts; ///< likewise
  ibx_val *maps;              ///< tensors that stand for lists of maps
  size_t map_count;
  size_t port_outputs; ///< outputs of ports; extents follow
} ibx_import;

struct ibx_call {
  ibx_import *import;
  const ibx_frame *frame;
  const Onnx__NodeProto *proto;
  const ibx_onnx_op *row;
  int64_t version; ///< of the opset in force
  ibx_diag_at at;
  uint32_t source;
  ibx_val *in, *out;
  size_t in_count, out_count;
  uint64_t attributes_read; ///< bit i: attribute i of the node was looked at
  bool folds_later; ///< constants are computed together with what reads them
  bool failed;
};

// --- names (import_scope.c) --------------------------------------------------

void ibx_scope_init(ibx_scope *scope, ibx_scope *parent, ibx_arena *arena);
/// Adds or replaces the binding of that name. Returns false when it was there.
bool ibx_scope_bind(ibx_scope *scope, ibx_binding binding);
/// Lends the binding in this scope or one around it; NULL when there is none.
ibx_binding *ibx_scope_find(ibx_scope *scope, const char *name);

/// Puts the nodes that the outputs need into an order in which each comes after
/// what it reads: that of the file, where it is one. Reports names that are
/// made twice, that nothing makes, and circles. The list lives in scratch.
size_t ibx_order_nodes(ibx_import *import, const ibx_frame *frame,
                       Onnx__NodeProto **nodes, size_t count,
                       const char *const *outputs, size_t output_count,
                       uint32_t **out_order);

// --- graphs (import.c) -------------------------------------------------------

/// Imports nodes in the frame's scope, where their inputs are bound.
void ibx_import_nodes(ibx_import *import, const ibx_frame *frame,
                      Onnx__NodeProto **nodes, size_t count,
                      const char *const *outputs, size_t output_count);
/// Reads a name of the frame: the value, or IBX_NO_VALUE when it failed before.
ibx_val ibx_import_read(ibx_import *import, const ibx_frame *frame,
                        const char *name, ibx_diag_at at);
/// Binds a graph's initialisers.
void ibx_import_initializers(ibx_import *import, const ibx_frame *frame,
                             const Onnx__GraphProto *graph);
/// What goes into a nested graph, and where its outputs go.
typedef struct ibx_body_ports {
  const ibx_val *in;
  ibx_val *out;
  size_t in_count, out_count;
  bool may_bundle; ///< outputs may be sequences and optionals
} ibx_body_ports;

/// Imports a nested graph in the call's frame; `prefix` begins the names of its
/// nodes. The call has failed when an output could not be imported.
void ibx_import_body(ibx_call *call, const Onnx__GraphProto *graph,
                     ibx_body_ports ports, const char *prefix);
/// Imports a branch in the call's frame; `out` gets its outputs, as many as the
/// call has.
void ibx_import_branch(ibx_call *call, const Onnx__GraphProto *graph,
                       ibx_val *out);
/// What the names of nodes in trip `trip` begin with, behind `prefix`: "[3]/".
/// ibx_diag_node_key() takes all trips for one.
const char *ibx_import_trip(ibx_import *import, const char *prefix,
                            uint64_t trip);
/// Version of a domain's operator set in force, 0 when it is not imported.
int64_t ibx_import_version(const ibx_frame *frame, const char *domain);
/// The node's name, or Op_index.
const char *ibx_import_node_name(ibx_import *import, const ibx_frame *frame,
                                 const Onnx__NodeProto *node, size_t index);

/// Binds the graph's inputs, those with initialisers excepted.
void ibx_import_inputs(ibx_import *import, const ibx_frame *frame,
                       const Onnx__GraphProto *graph);
/// Adds a port for output `index`, whose nodes were imported. The list of ports
/// has room.
void ibx_import_output(ibx_import *import, const ibx_frame *frame,
                       const Onnx__ValueInfoProto *info, size_t index);

/// Adds what holds the extents of the outputs, once all of these are there.
void ibx_import_output_extents(ibx_import *import);

/// Finds a model-local function; NULL when there is none.
const Onnx__FunctionProto *
ibx_import_function_find(ibx_import *import, const Onnx__NodeProto *node);
void ibx_import_functions_init(ibx_import *import);
void ibx_import_function(ibx_call *call, const Onnx__FunctionProto *function);

// --- calls (import_call.c) ---------------------------------------------------

/// Reports a problem of the call, the first time it fails.
void ibx_call_fail(ibx_call *call, ibx_diag_code code, const char *attribute,
                   const char *remedy, const char *format, ...)
    IBX_PRINTF(5, 6);
/// Reports that a form of the operator is not imported.
void ibx_call_refuse(ibx_call *call, const char *attribute, const char *format,
                     ...) IBX_PRINTF(3, 4);
/// Fails with OPERAND_SHAPE unless `fine`. Returns `fine`.
bool ibx_call_expect(ibx_call *call, bool fine, const char *input,
                     const char *what);

/// Positions in a tensor fit in 32 bits.
#define IBX_MOST_ELEMENTS INT32_MAX
/// Whether an importer may make a constant of so many elements: fails with
/// TOO_LARGE when a damaged extent asks for more than a model has use for.
bool ibx_call_expect_room(ibx_call *call, int64_t elements);

/// Whether the optional input is there.
bool ibx_has_in(const ibx_call *call, size_t index);
/// The input, or IBX_NO_VALUE.
ibx_val ibx_in(const ibx_call *call, size_t index);
/// Input 1 of an operator that broadcasts. Before opset 7 attributes say how:
/// `broadcast`, and `axis`, the dimension of input 0 where it begins.
ibx_val ibx_second_in(ibx_call *call);
/// Whether output `index` has a name.
bool ibx_wants_out(const ibx_call *call, size_t index);
/// Stores output `index`, if it has a name.
void ibx_out(ibx_call *call, size_t index, ibx_val value);

/// Lends the type. The pointer is good until the next emit: copy what lasts.
const ibx_type *ibx_type_of(const ibx_call *call, ibx_val value);
int64_t ibx_rank(const ibx_call *call, ibx_val value);
/// Extent of a dimension; negative counts from the end; 1 when there is none.
int64_t ibx_dim(const ibx_call *call, ibx_val value, int64_t index);
ibx_dtype ibx_dtype_of(const ibx_call *call, ibx_val value);
ibx_ints ibx_shape_of(const ibx_call *call, ibx_val value);
bool ibx_is_float(ibx_dtype dtype);
/// Multiplies two numbers that are not negative; false when it overflows.
bool ibx_mul_extent(int64_t a, int64_t b, int64_t *out);
/// Brings an axis into 0 .. rank - 1. Fails with ATTRIBUTE_VALUE, gives 0.
int64_t ibx_axis(ibx_call *call, int64_t axis, int64_t rank);

/// Attributes. A wrong type fails; an absent one gives the default.
bool ibx_has_attr(ibx_call *call, const char *name);
int64_t ibx_attr_int(ibx_call *call, const char *name, int64_t absent);
/// A number that is 0 or 1; others fail.
bool ibx_attr_flag(ibx_call *call, const char *name, bool absent);
/// A number to compute with; NaN and infinities fail.
float ibx_attr_float(ibx_call *call, const char *name, float absent);
/// A number that is compared or put somewhere.
float ibx_attr_any_float(ibx_call *call, const char *name, float absent);
/// Lends text that lives as long as the import.
const char *ibx_attr_text(ibx_call *call, const char *name, const char *absent);
/// The position in `names` of the attribute's text; another one is refused.
bool ibx_attr_choice(ibx_call *call, const char *name, const char *absent,
                     const char *const *names, size_t count, size_t *out);
/// Returns false when it is absent.
bool ibx_attr_ints(ibx_call *call, const char *name, ibx_ints *out);
const Onnx__GraphProto *ibx_attr_graph(ibx_call *call, const char *name);
/// The attribute, or NULL: one of another type fails.
#define IBX_ATTR(call, name, type)                                             \
  ibx_attr(call, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__##type)
const Onnx__AttributeProto *ibx_attr(ibx_call *call, const char *name,
                                     int type);
/// Whether it is there with that type.
bool ibx_attr_is(ibx_call *call, const char *name, int type);
/// Looks at attributes that change nothing here; names separated by blanks.
void ibx_attr_ignore(ibx_call *call, const char *names);

// --- constants (import_fold.c) -----------------------------------------------

/// A list of any length.
typedef struct ibx_list {
  int64_t *at;
  size_t len;
} ibx_list;

bool ibx_is_known(const ibx_call *call, ibx_val value);
/// Lends the elements of a value that depends on constants only; NULL for
/// others, and for those too large to compute here.
const ibx_tensor *ibx_force(ibx_import *import, ibx_val value);
/// The same for an input that must be constant: NULL fails with NOT_CONSTANT.
const ibx_tensor *ibx_const_in(ibx_call *call, size_t index, const char *name);
/// All elements of an integer input that must be constant.
ibx_list ibx_const_ints(ibx_call *call, size_t index, const char *name);
/// The same, at most IBX_MAX_RANK.
ibx_ints ibx_const_dims(ibx_call *call, size_t index, const char *name);
/// Element 0 of an integer input that must be constant.
int64_t ibx_const_int(ibx_call *call, size_t index, const char *name);
/// Element 0 of an input that must be constant.
double ibx_const_number(ibx_call *call, size_t index, const char *name);
/// Element `index` of a tensor.
double ibx_tensor_number(const ibx_tensor *tensor, size_t index);
int64_t ibx_tensor_int(const ibx_tensor *tensor, size_t index);
/// The elements as a tensor's data, which are not const although operands are
/// only read.
void *ibx_lend(const void *data);
/// Number of elements; of a type that was inferred, so it fits.
int64_t ibx_elements(const ibx_type *type);
/// Whether the value is known and all its elements equal; stores it.
bool ibx_is_splat(const ibx_call *call, ibx_val value, double *out_number);
/// Called after a node was added: notes what is known, folds what is small.
ibx_val ibx_fold(ibx_call *call, ibx_val value);
/// Makes room for the facts of values that were added.
void ibx_import_make_room(ibx_import *import);
/// Adds a constant of the call; `data` belongs to the arena.
ibx_val ibx_emit_constant(ibx_call *call, ibx_type type, const void *data);
/// A constant for a weight; reshapes and unaligned data cost nothing.
ibx_val ibx_import_constant(ibx_import *import, ibx_weight weight,
                            uint32_t source);
/// The same for a constant that no node makes: its name is its source.
ibx_val ibx_import_named_constant(ibx_import *import, ibx_weight weight);

// --- the host (import_host.c) --------------------------------------------------

/// An extent that only a run tells.
enum { IBX_OPEN_EXTENT = -1 };
bool ibx_is_text(const ibx_call *call, ibx_val value);
/// Whether an extent is open.
bool ibx_is_open(const ibx_type *type);
/// Fails with NOT_CONSTANT: input `name` depends on `value`, and so on an input of
/// the model, which the remedy names. `why` goes on behind the name.
void ibx_fail_unknown(ibx_call *call, ibx_val value, const char *name,
                      const char *why);
/// Refuses input `index`, whose extents only a run tells.
void ibx_refuse_open(ibx_call *call, size_t index);
ibx_type ibx_make_type(ibx_dtype dtype, ibx_ints shape);

/// What a call on the host gets and gives.
typedef struct ibx_host_use {
  const char *call; ///< row of host_calls.def
  const ibx_val *operands;
  const int64_t *ints;
  const ibx_type *results;
  size_t operand_count, int_count, result_count;
} ibx_host_use;
/// Adds the call, or computes it at once where its operands are constants. A flow
/// is never computed.
/// Stores the results in `out`; after a failure they are operand 0.
void ibx_emit_host(ibx_call *call, const ibx_host_use *use, ibx_val *out);
/// The same for a call without integers that gives one value.
ibx_val ibx_emit_host_value(ibx_call *call, const char *name,
                            const ibx_val *operands, size_t operand_count,
                            ibx_type type);

/// A constant of texts, which the arena copies.
ibx_val ibx_import_texts(ibx_import *import, const ibx_host_tensor *texts);
bool ibx_is_text_tensor(const Onnx__TensorProto *tensor);
/// The same for a tensor message. False with a diagnostic at `at`.
bool ibx_import_text_tensor(ibx_import *import, const Onnx__TensorProto *tensor,
                            ibx_diag_at at, ibx_val *out);
/// The texts of an attribute, as a vector; `absent` where there is none.
ibx_val ibx_attr_texts(ibx_call *call, const char *name, ibx_val absent);
/// A constant of one text, rank 0.
ibx_val ibx_emit_text(ibx_call *call, const char *text, size_t len);
/// The same texts, whose extents are known, in another shape.
ibx_val ibx_emit_text_reshape(ibx_call *call, ibx_val x, ibx_ints shape);
/// Equal and Cast of texts.
void ibx_import_text_equal(ibx_call *call);
void ibx_import_text_cast(ibx_call *call, ibx_dtype dtype);
/// Texts a where the flag, a scalar, is set, else b, which has the same shape.
ibx_val ibx_emit_text_choice(ibx_call *call, ibx_val flag, ibx_val a,
                             ibx_val b);
/// Imports a call that moves elements only, some of them texts.
void ibx_import_moved_texts(ibx_call *call);

/// Whether the model needs the host: then it becomes steps (partition.c).
bool ibx_import_needs_host(const ibx_import *import);
void ibx_import_partition(ibx_import *import, ibx_partition *out);
// --- sequences and optionals (import_bundle.c) -------------------------------

bool ibx_is_bundle(ibx_val value);
/// Lends the bundle, until the next is made; NULL for a tensor.
const ibx_bundle *ibx_bundle_of(const ibx_import *import, ibx_val value);
/// Makes a bundle, which borrows its items from the import's scratch.
ibx_val ibx_make_bundle(ibx_import *import, ibx_bundle bundle);
/// "sequence", "optional" or "tensor".
const char *ibx_value_kind(const ibx_import *import, ibx_val value);
/// Fails with OPERAND_TYPE unless `value` is a tensor. Returns whether it is.
bool ibx_expect_tensor(ibx_call *call, ibx_val value, const char *name);

/// Whether a tensor stands for what ONNX has as a map, or as a list of them
/// (import_map.c); notes that it does.
bool ibx_is_map(const ibx_import *import, ibx_val value);
void ibx_note_map(ibx_import *import, ibx_val value);
/// The tensor that stands for an input which is declared as a map; the map's own
/// type where there is none.
const Onnx__TypeProto *ibx_map_type(ibx_import *import,
                                    const Onnx__ValueInfoProto *info);

// --- extents that depend on the data (import_extent.c) -----------------------

/// The scalar i64 that says how much of a dimension is valid; IBX_NO_VALUE where
/// all of it is.
ibx_val ibx_extent(const ibx_call *call, ibx_val value, int64_t dim);
ibx_val ibx_import_extent(const ibx_import *import, ibx_val value, int64_t dim);
/// The same, a constant where all of it is.
ibx_val ibx_extent_or_dim(ibx_call *call, ibx_val value, int64_t dim);
bool ibx_has_extent(const ibx_call *call, ibx_val value);
/// Notes an extent (IBX_NO_VALUE: all is valid). Returns the value; where the
/// extent is known, that part of it.
ibx_val ibx_set_extent(ibx_call *call, ibx_val value, int64_t dim,
                       ibx_val extent);
/// The same for a value that nothing else has: it is changed, and returned by
/// nobody. The extent must not be known.
void ibx_note_extent(ibx_call *call, ibx_val value, int64_t dim,
                     ibx_val extent);
/// The value as if all of it were valid; `count` dimensions of `from`, beginning
/// with `first`, give the value their extents, from dimension `to` on.
ibx_val ibx_emit_whole(ibx_call *call, ibx_val value);
ibx_val ibx_take_extents(ibx_call *call, ibx_val value, int64_t to,
                         ibx_val from, int64_t first, int64_t count);
/// Reshapes by dimensions of extent 1: dimension d of the result is `from[d]` of
/// x, or new where that is -1.
ibx_val ibx_emit_units(ibx_call *call, ibx_val x, ibx_ints shape,
                       const int8_t *from);
/// Whether an integer is made of extents, and known but for them.
bool ibx_is_bounded(const ibx_call *call, ibx_val value);
/// Notes the constants between which such integers lie.
void ibx_set_bounds(ibx_call *call, ibx_val value, ibx_val low, ibx_val high);
/// A scalar i64: how many of the flags, bools without extents, are set.
ibx_val ibx_emit_count(ibx_call *call, ibx_val flags);
/// `fill`, a scalar, where x is not valid along a dimension, which is then all
/// valid; along every dimension.
ibx_val ibx_emit_masked(ibx_call *call, ibx_val x, int64_t dim, ibx_val fill);
ibx_val ibx_emit_all_masked(ibx_call *call, ibx_val x, ibx_val fill);
/// The least (sign -1) or greatest number of a dtype that the machine compares.
ibx_val ibx_emit_limit(ibx_call *call, ibx_dtype dtype, int sign);
ibx_val ibx_emit_long(ibx_call *call, int64_t number);
/// How many of the positions start, start + step, ... lie before the extent, at
/// most `most`.
ibx_val ibx_emit_steps(ibx_call *call, ibx_val extent, int64_t start,
                       int64_t step, int64_t most);
/// The least and the largest that a scalar of that kind can be.
int64_t ibx_least(ibx_call *call, ibx_val value);
int64_t ibx_most(ibx_call *call, ibx_val value);
/// a where the flag, a scalar, is set, else b: tensors of one rank, or bundles
/// of one length (import_choice.c).
ibx_val ibx_emit_choice(ibx_call *call, ibx_val flag, ibx_val a, ibx_val b);
/// The same of two extents, and between which constants the result lies.
ibx_val ibx_choose_extent(ibx_call *call, ibx_val flag, ibx_val a, ibx_val b);
/// Gives operands that broadcast to each other one extent where they have several
/// (import_meet.c).
void ibx_meet_extents(ibx_call *call, ibx_val *values, size_t count);
/// The same of inputs of the node, of which one may be 1 where another has the
/// most that it can be.
void ibx_meet_inputs(ibx_call *call, ibx_val *values, size_t count);
/// Says of a call that failed that input `index`, if it were constant, would
/// help.
void ibx_ask_constant(ibx_call *call, size_t index, const char *name);
/// All that is valid in x as one dimension (import_reshape.c).
ibx_val ibx_emit_row(ibx_call *call, ibx_val x);
/// Element `index` as a scalar i64, the extent itself where it is one.
ibx_val ibx_emit_element(ibx_call *call, ibx_val value, int64_t index);

/// Integers of an input which is constant but for extents.
typedef struct ibx_bounded {
  ibx_ints most;
  ibx_val real[IBX_MAX_RANK]; ///< scalars, IBX_NO_VALUE for constant ones
  bool any;                   ///< some are not constant
} ibx_bounded;
/// Fails with NOT_CONSTANT, and returns false then.
bool ibx_bounded_dims(ibx_call *call, size_t index, const char *name,
                      ibx_bounded *out);
/// The largest and the least values of the same; NULL after a failure.
const ibx_tensor *ibx_bound_in(ibx_call *call, size_t index, const char *name,
                               const ibx_tensor **out_low);

/// Whether the importer of the call may see the extents of its inputs.
bool ibx_check_extents(ibx_call *call);
/// Fails: the input `name` must not have them here.
void ibx_refuse_extent(ibx_call *call, const char *name);

/// Where dimension `d` of a shape goes in another: to one of the same extent, or
/// as the first part of a larger one, whose extent is then `*out_factor` times as
/// large. What is valid must stay together; -1 where it does not.
int64_t ibx_reshaped_dim(ibx_ints from, int64_t d, ibx_ints to,
                         int64_t *out_factor);

/// Emits an operation of which an operand has extents or bounds
/// (import_carry.c), or one of which none has.
ibx_val ibx_emit_carried(ibx_call *call, ibx_tensor_op op,
                         const ibx_params *params, const ibx_val *operands,
                         size_t count);
ibx_val ibx_emit_static(ibx_call *call, ibx_tensor_op op,
                        const ibx_params *params, const ibx_val *operands,
                        size_t count);

// --- emitting (import_emit.c) ------------------------------------------------

#define IBX_INTS(...)                                                          \
  ibx_make_ints((const int64_t[]){__VA_ARGS__},                                \
                sizeof((const int64_t[]){__VA_ARGS__}) / sizeof(int64_t))
ibx_ints ibx_make_ints(const int64_t *at, size_t len);
ibx_ints ibx_fill_ints(size_t len, int64_t value);

ibx_val ibx_emit_op(ibx_call *call, ibx_tensor_op op, const ibx_params *params,
                    const ibx_val *operands, size_t count);
ibx_val ibx_emit_unary(ibx_call *call, ibx_tensor_op op, ibx_val x);
/// Broadcasts as ONNX does, then applies a BINARY or COMPARE operation.
ibx_val ibx_emit_binary(ibx_call *call, ibx_tensor_op op, ibx_val a, ibx_val b);
ibx_val ibx_emit_select(ibx_call *call, ibx_val condition, ibx_val yes,
                        ibx_val no);
/// x * alpha + beta, in any floating type.
ibx_val ibx_emit_affine(ibx_call *call, ibx_val x, double alpha, double beta);
/// Element `index` of a dimension, which goes away.
ibx_val ibx_emit_at(ibx_call *call, ibx_val x, int64_t axis, int64_t index);
ibx_val ibx_emit_clip(ibx_call *call, ibx_val x, float low, float high);
ibx_val ibx_emit_cast(ibx_call *call, ibx_val x, ibx_dtype dtype);
/// `x` in fp64 as it is, all else in fp32: where a narrower type would not hold
/// what is computed on the way, as squares.
ibx_val ibx_emit_wide(ibx_call *call, ibx_val x);
/// All bits of integers turned.
ibx_val ibx_emit_other_bits(ibx_call *call, ibx_val x);
/// A constant of rank 0.
ibx_val ibx_emit_scalar(ibx_call *call, ibx_dtype dtype, double number);
/// The same, of the dtype of `like`.
ibx_val ibx_emit_like(ibx_call *call, ibx_val like, double number);
/// The constant 0, 1, ... of `len` elements of dtype i64.
ibx_val ibx_emit_iota(ibx_call *call, int64_t len);
/// A constant of integers of dtype i64.
ibx_val ibx_emit_longs(ibx_call *call, ibx_ints shape, const int64_t *at);
/// A constant of numbers, rounded to dtype f32.
ibx_val ibx_emit_floats(ibx_call *call, ibx_ints shape, const double *at);

ibx_val ibx_emit_reshape(ibx_call *call, ibx_val x, ibx_ints shape);
ibx_val ibx_emit_transpose(ibx_call *call, ibx_val x, ibx_ints perm);
/// Swaps two dimensions.
ibx_val ibx_emit_swap(ibx_call *call, ibx_val x, int64_t a, int64_t b);
/// `count` elements of one dimension from `start` in steps.
ibx_val ibx_emit_slice(ibx_call *call, ibx_val x, int64_t axis, int64_t start,
                       int64_t count, int64_t step);
/// Each element of a dimension `times` times, one after the other. The rank is less
/// than IBX_MAX_RANK.
ibx_val ibx_emit_repeat(ibx_call *call, ibx_val x, int64_t axis, int64_t times);
/// Broadcasts to a shape as ONNX does: dimensions align at the end.
ibx_val ibx_emit_broadcast(ibx_call *call, ibx_val x, ibx_ints shape);
/// The common shape of two, aligned at the end. Fails with OPERAND_SHAPE.
ibx_ints ibx_broadcast_shape(ibx_call *call, ibx_ints a, ibx_ints b);
/// Gives a vector of `rank` dimensions that lies along `axis`.
ibx_val ibx_emit_along(ibx_call *call, ibx_val vector, int64_t axis,
                       int64_t rank);
ibx_val ibx_emit_concat(ibx_call *call, const ibx_val *parts, size_t count,
                        int64_t axis);
ibx_val ibx_emit_pad(ibx_call *call, ibx_val x, ibx_ints low, ibx_ints high,
                     float value);
ibx_val ibx_emit_reduce(ibx_call *call, ibx_tensor_op op, ibx_val x,
                        ibx_ints axes, bool keepdims);
/// The indices of i64 [T, count] of the largest of scores [T, E]. Of equal ones the
/// last come first, as ONNX Runtime has it on the CPU; in import_ms_moe.c.
ibx_val ibx_emit_top_experts(ibx_call *call, ibx_val scores, int64_t count);
/// data[..., indices, ...], in import_gather.c.
ibx_val ibx_emit_gather(ibx_call *call, ibx_val data, ibx_val indices,
                        int64_t axis);
/// Indices of i64 that may count from the end of a dimension of the data, which
/// may have an extent, become those from the start.
ibx_val ibx_emit_from_start(ibx_call *call, ibx_val indices, ibx_val data,
                            int64_t axis);
/// The last dimension of the indices names `depth` dimensions of the data behind
/// `batch` ones that both share: one flat index into all of these, of i64.
ibx_val ibx_emit_nd_index(ibx_call *call, ibx_val indices, ibx_val data,
                          int64_t batch, int64_t depth);
ibx_val ibx_emit_softmax(ibx_call *call, ibx_val x, int64_t axis);
/// x - max - log(sum(exp(x - max))), in import_reduce.c.
ibx_val ibx_emit_log_softmax(ibx_call *call, ibx_val x, int64_t axis);
/// [..., M, K] x [..., K, N], batch dimensions broadcast.
ibx_val ibx_emit_matmul(ibx_call *call, ibx_val a, ibx_val b);
/// The same with vectors, as NumPy has it.
ibx_val ibx_emit_matmul_any(ibx_call *call, ibx_val a, ibx_val b);
/// layer_norm with optional scale and shift, or rms_norm.
ibx_val ibx_emit_norm(ibx_call *call, ibx_tensor_op op, ibx_val x,
                      ibx_val scale, ibx_val shift, int64_t axis,
                      float epsilon);
/// Each group of channels of x [N, channels, ...] normalised, times a scale and
/// plus a shift for each channel.
ibx_val ibx_emit_group_norm(ibx_call *call, ibx_val x, ibx_val scale,
                            ibx_val shift, int64_t groups, float epsilon);
/// |x|^p, and the root that ends a norm of order p.
ibx_val ibx_emit_norm_terms(ibx_call *call, ibx_val x, int64_t p);
ibx_val ibx_emit_norm_root(ibx_call *call, ibx_val sum, int64_t p);

#endif

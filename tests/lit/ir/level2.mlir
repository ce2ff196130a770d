// Level 2: buffers in the three memories and one instruction on a tile for
// each op. Stock mlir-opt reads it; fields at their default are left out.

// RUN: %imbrex dialect > %t.irdl
// RUN: %imbrex passes %s > %t.ours
// RUN: FileCheck %s < %t.ours
// RUN: %mlir_opt --irdl-file=%t.irdl --mlir-print-debuginfo %t.ours > %t.stock
// RUN: %imbrex passes %t.stock | diff %t.ours -

// CHECK-LABEL: func.func @main() attributes {
// CHECK-SAME: ibx.inputs = [{buffer = 0 : i64, name = "x", type = tensor<128x64xf32>}]
// CHECK-SAME: ibx.level = 2
func.func @main() attributes {ibx.inputs = [{buffer = 0 : i64, name = "x", type = tensor<128x64xf32>}], ibx.level = 2 : i64, ibx.outputs = [{buffer = 1 : i64, name = "y", type = tensor<128x64xf32>}]} {
  // CHECK: "ibx.buffer"() {kind = "input", name = "x", offset = 0 : i64, partition = 0 : i64} : () -> memref<32768xi8, #ibx.hbm>
  %x = "ibx.buffer"() {kind = "input", name = "x", offset = 0 : i64, partition = 0 : i64} : () -> memref<32768xi8, #ibx.hbm>
  %y = "ibx.buffer"() {kind = "output", name = "y", offset = 32768 : i64, partition = 0 : i64} : () -> memref<32768xi8, #ibx.hbm>
  // CHECK: memref<128x256xi8, #ibx.sbuf>
  %s = "ibx.buffer"() {kind = "scratch", offset = 0 : i64, partition = 0 : i64} : () -> memref<128x256xi8, #ibx.sbuf>
  // CHECK: "ibx.isa_dma_copy"(%{{.*}}, %{{.*}}) {{.*}}num = array<i64: 1, 1, 1, 128, 64>
  "ibx.isa_dma_copy"(%s, %x) {engine = "sync", num = array<i64: 1, 1, 1, 128, 64>, operand0 = array<i64: 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0>, operand1 = array<i64: 0, 0, 1, 0, 0, 0, 64, 1, 0, 0, 0, 0, 0>, operandSegmentSizes = array<i32: 1, 1, 0, 0>} : (memref<128x256xi8, #ibx.sbuf>, memref<32768xi8, #ibx.hbm>) -> () loc("act"("Gelu"("onnx":0:0)))
  // CHECK: "ibx.isa_activation"{{.*}} op = ["gelu", "bypass"]
  "ibx.isa_activation"(%s, %s) {engine = "scalar", glued, imm = array<f32: 0.0, 1.0>, num = array<i64: 1, 1, 64>, op = ["gelu", "bypass"], operand0 = array<i64: 0, 0, 1, 0, 0, 1>, operand1 = array<i64: 0, 0, 1, 0, 0, 1>, operandSegmentSizes = array<i32: 1, 1, 0, 0>, partitions = 128 : i64} : (memref<128x256xi8, #ibx.sbuf>, memref<128x256xi8, #ibx.sbuf>) -> () loc("act"("Gelu"("onnx":0:0)))
  // CHECK-NOT: flags
  // CHECK: return
  return
}

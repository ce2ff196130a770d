// Level 1: stock mlir-opt reads our IR, and what it prints we read back to the
// same text. Ports and locations survive; constants show their data.

// RUN: %imbrex dialect > %t.irdl
// RUN: %imbrex passes %s > %t.ours
// RUN: FileCheck %s < %t.ours
// RUN: %mlir_opt --irdl-file=%t.irdl --mlir-print-debuginfo %t.ours > %t.stock
// RUN: %imbrex passes %t.stock | diff %t.ours -
// RUN: %imbrex passes --passes opt_dce %s > %t.once
// RUN: %imbrex passes --passes opt_dce %t.once | diff %t.once -

// CHECK-LABEL: func.func @main
// CHECK-SAME: tensor<2x3xf32> {ibx.name = "x"}
// CHECK-SAME: tensor<4xi32> {ibx.name = "past", ibx.state = 1 : i64, ibx.type = tensor<4xi64>}
// CHECK-SAME: tensor<3x2xbf16> {ibx.name = "y"}
// CHECK-SAME: tensor<4xi32> {ibx.name = "present", ibx.state = 1 : i64, ibx.type = tensor<4xi64>}
func.func @main(%x: tensor<2x3xf32> {ibx.name = "x"},
                %past: tensor<4xi32> {ibx.name = "past", ibx.state = 1 : i64, ibx.type = tensor<4xi64>})
    -> (tensor<3x2xbf16> {ibx.name = "y"},
        tensor<4xi32> {ibx.name = "present", ibx.state = 1 : i64, ibx.type = tensor<4xi64>}) {
  // CHECK: "ibx.constant"() {data = dense<{{\[\[}}1.000000e+00, 2.000000e+00, 3.000000e+00], [4.000000e+00, 5.000000e+00, 6.000000e+00]]> : tensor<2x3xf32>
  %w = "ibx.constant"() {data = dense<[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]> : tensor<2x3xf32>, dtype = f32, name = "w", shape = array<i64: 2, 3>, weight = 0 : i64} : () -> tensor<2x3xf32>
  // CHECK: "ibx.add"{{.*}} loc("layer/add"("Add"("onnx":0:0)))
  %0 = "ibx.add"(%x, %w) : (tensor<2x3xf32>, tensor<2x3xf32>) -> tensor<2x3xf32> loc("layer/add"("Add"("onnx":0:0)))
  // CHECK: "ibx.transpose"(%{{.*}}) {group = 3 : i64, layout = "b", perm = array<i64: 1, 0>}
  %1 = "ibx.transpose"(%0) {group = 3 : i64, layout = "b", perm = array<i64: 1, 0>} : (tensor<2x3xf32>) -> tensor<3x2xf32> loc("layer/add"("Add"("onnx":0:0)))
  %2 = "ibx.cast"(%1) {dtype = bf16} : (tensor<3x2xf32>) -> tensor<3x2xbf16> loc(""("Cast"("onnx":1:0)))
  %3 = "ibx.add"(%past, %past) : (tensor<4xi32>, tensor<4xi32>) -> tensor<4xi32> loc("count"("Add"("onnx":2:0)))
  return %2, %3 : tensor<3x2xbf16>, tensor<4xi32>
}

// Operands that may be missing.
// CHECK-LABEL: func.func @slots
func.func @slots(%x: tensor<2x4xf32>, %g: tensor<4xf32>) -> tensor<4x4xf32> {
  // CHECK: "ibx.layer_norm"(%{{.*}}, %{{.*}}) {{.*}}operandSegmentSizes = array<i32: 1, 1, 0>
  %0 = "ibx.layer_norm"(%x, %g) {axis = 1 : i64, epsilon = 1.0e-05 : f32, operandSegmentSizes = array<i32: 1, 1, 0>} : (tensor<2x4xf32>, tensor<4xf32>) -> tensor<2x4xf32>
  // CHECK: "ibx.concat"
  %1 = "ibx.concat"(%0, %x) {axis = 0 : i64, operandSegmentSizes = array<i32: 1, 1, 0, 0, 0, 0, 0, 0>} : (tensor<2x4xf32>, tensor<2x4xf32>) -> tensor<4x4xf32>
  return %1 : tensor<4x4xf32>
}

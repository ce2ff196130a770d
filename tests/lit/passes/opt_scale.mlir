// opt_scale folds factors of channels into the weights of convolutions.

// RUN: %imbrex passes %s --passes opt_scale | FileCheck %s

// CHECK-LABEL: func.func @normalised
// CHECK: %[[W:.*]] = "ibx.constant"() {data = dense<6.000000e+00>
// CHECK: "ibx.conv"(%arg0, %[[W]])
// CHECK-NOT: ibx.mul
func.func @normalised(%x: tensor<1x1x8xf32> {ibx.name = "x"})
    -> (tensor<1x2x8xf32> {ibx.name = "y"}) {
  %w = "ibx.constant"() {data = dense<2.0> : tensor<2x1x1xf32>, dtype = f32, name = "w", shape = array<i64: 2, 1, 1>, weight = 0 : i64} : () -> tensor<2x1x1xf32>
  %f = "ibx.constant"() {data = dense<3.0> : tensor<1x2x1xf32>, dtype = f32, name = "f", shape = array<i64: 1, 2, 1>, weight = 1 : i64} : () -> tensor<1x2x1xf32>
  %c = "ibx.conv"(%x, %w) {dilations = array<i64: 1>, groups = 1 : i64, high = array<i64: 0>, low = array<i64: 0>, strides = array<i64: 1>} : (tensor<1x1x8xf32>, tensor<2x1x1xf32>) -> tensor<1x2x8xf32>
  %b = "ibx.broadcast"(%f) {shape = array<i64: 1, 2, 8>} : (tensor<1x2x1xf32>) -> tensor<1x2x8xf32>
  %m = "ibx.mul"(%c, %b) : (tensor<1x2x8xf32>, tensor<1x2x8xf32>) -> tensor<1x2x8xf32>
  return %m : tensor<1x2x8xf32>
}

// Factors that vary along the image stay.
// CHECK-LABEL: func.func @kept
// CHECK: "ibx.conv"
// CHECK: "ibx.mul"
func.func @kept(%x: tensor<1x1x8xf32> {ibx.name = "x"})
    -> (tensor<1x2x8xf32> {ibx.name = "y"}) {
  %w = "ibx.constant"() {data = dense<2.0> : tensor<2x1x1xf32>, dtype = f32, name = "w", shape = array<i64: 2, 1, 1>, weight = 0 : i64} : () -> tensor<2x1x1xf32>
  %f = "ibx.constant"() {data = dense<3.0> : tensor<1x1x8xf32>, dtype = f32, name = "f", shape = array<i64: 1, 1, 8>, weight = 2 : i64} : () -> tensor<1x1x8xf32>
  %c = "ibx.conv"(%x, %w) {dilations = array<i64: 1>, groups = 1 : i64, high = array<i64: 0>, low = array<i64: 0>, strides = array<i64: 1>} : (tensor<1x1x8xf32>, tensor<2x1x1xf32>) -> tensor<1x2x8xf32>
  %b = "ibx.broadcast"(%f) {shape = array<i64: 1, 2, 8>} : (tensor<1x1x8xf32>) -> tensor<1x2x8xf32>
  %m = "ibx.mul"(%c, %b) : (tensor<1x2x8xf32>, tensor<1x2x8xf32>) -> tensor<1x2x8xf32>
  return %m : tensor<1x2x8xf32>
}

// What a product moves may lie in windows that its blocks do not divide: then it
// is laid row after row first.

// RUN: %imbrex passes %s --passes lower_tiles | FileCheck %s

// CHECK: name = "moved"
// CHECK: ibx.isa_multiply_moving
func.func @windows(%x: tensor<9408x32xf32> {ibx.name = "x"},
                   %v: tensor<32x32xf32> {ibx.name = "v"},
                   %w: tensor<32x32xf32> {ibx.name = "w"})
    -> (tensor<9408x32xf32> {ibx.name = "y"}) {
  %a = "ibx.matmul"(%x, %v) {layout = "1"} : (tensor<9408x32xf32>, tensor<32x32xf32>) -> tensor<9408x32xf32>
  %b = "ibx.reshape"(%a) {shape = array<i64: 42, 14, 4, 4, 32>} : (tensor<9408x32xf32>) -> tensor<42x14x4x4x32xf32>
  %c = "ibx.transpose"(%b) {perm = array<i64: 0, 2, 1, 3, 4>} : (tensor<42x14x4x4x32xf32>) -> tensor<42x4x14x4x32xf32>
  %d = "ibx.reshape"(%c) {shape = array<i64: 9408, 32>} : (tensor<42x4x14x4x32xf32>) -> tensor<9408x32xf32>
  %y = "ibx.matmul"(%d, %w) {layout = "1"} : (tensor<9408x32xf32>, tensor<32x32xf32>) -> tensor<9408x32xf32>
  return %y : tensor<9408x32xf32>
}

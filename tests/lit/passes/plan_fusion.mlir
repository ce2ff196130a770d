// plan_fusion puts an anchor and the pointwise operations behind it into one
// group, and ends the group where a value has two users or leaves the graph.

// RUN: %imbrex passes %s --passes plan_fusion | FileCheck %s

// CHECK-LABEL: func.func @chain
// CHECK: "ibx.matmul"{{.*}}group = [[G:[0-9]+]]
// CHECK: "ibx.add"{{.*}}group = [[G]] :
// CHECK: "ibx.relu"{{.*}}group = [[G]] :
func.func @chain(%x: tensor<4x3xf32> {ibx.name = "x"},
                 %w: tensor<3x2xf32> {ibx.name = "w"},
                 %b: tensor<4x2xf32> {ibx.name = "b"})
    -> (tensor<4x2xf32> {ibx.name = "y"}) {
  %m = "ibx.matmul"(%x, %w) : (tensor<4x3xf32>, tensor<3x2xf32>) -> tensor<4x2xf32>
  %a = "ibx.add"(%m, %b) : (tensor<4x2xf32>, tensor<4x2xf32>) -> tensor<4x2xf32>
  %r = "ibx.relu"(%a) : (tensor<4x2xf32>) -> tensor<4x2xf32>
  return %r : tensor<4x2xf32>
}

// CHECK-LABEL: func.func @shared
// CHECK: "ibx.matmul"{{.*}}group = [[M:[0-9]+]]
// CHECK-NOT: group = [[M]] :
// CHECK: return
func.func @shared(%x: tensor<4x3xf32> {ibx.name = "x"},
                  %w: tensor<3x2xf32> {ibx.name = "w"})
    -> (tensor<4x2xf32> {ibx.name = "y"}, tensor<4x2xf32> {ibx.name = "z"}) {
  %m = "ibx.matmul"(%x, %w) : (tensor<4x3xf32>, tensor<3x2xf32>) -> tensor<4x2xf32>
  %r = "ibx.relu"(%m) : (tensor<4x2xf32>) -> tensor<4x2xf32>
  return %m, %r : tensor<4x2xf32>, tensor<4x2xf32>
}

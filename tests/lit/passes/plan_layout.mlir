// plan_layout puts a dimension of each anchor's result on the partitions, by
// cost: rows where there are 128 of them, columns where there is one row only.

// RUN: %imbrex passes %s --passes plan_fusion,plan_layout | FileCheck %s

// CHECK-LABEL: func.func @tall
// CHECK: "ibx.matmul"{{.*}}layout = "0"
func.func @tall(%x: tensor<128x64xf32> {ibx.name = "x"},
                %w: tensor<64x8xf32> {ibx.name = "w"})
    -> (tensor<128x8xf32> {ibx.name = "y"}) {
  %m = "ibx.matmul"(%x, %w) : (tensor<128x64xf32>, tensor<64x8xf32>) -> tensor<128x8xf32>
  return %m : tensor<128x8xf32>
}

// CHECK-LABEL: func.func @scores
// CHECK: "ibx.matmul"{{.*}}layout = "2"
func.func @scores(%q: tensor<1x4x128x64xf32> {ibx.name = "q"},
                  %k: tensor<1x4x64x128xf32> {ibx.name = "k"})
    -> (tensor<1x4x128x128xf32> {ibx.name = "y"}) {
  %m = "ibx.matmul"(%q, %k) : (tensor<1x4x128x64xf32>, tensor<1x4x64x128xf32>) -> tensor<1x4x128x128xf32>
  %s = "ibx.softmax"(%m) {axis = 3 : i64} : (tensor<1x4x128x128xf32>) -> tensor<1x4x128x128xf32>
  return %s : tensor<1x4x128x128xf32>
}

// RUN: %imbrex passes --passes opt_dce %s | FileCheck %s

// What no output needs goes, in chains; inputs stay, as they are the signature.
// CHECK-LABEL: func.func @dead
// CHECK-SAME: %arg0: tensor<2xf32>{{.*}}%arg1: tensor<2xf32>
// CHECK-NEXT: %0 = "ibx.relu"(%arg0)
// CHECK-NEXT: return %0
func.func @dead(%x: tensor<2xf32>, %y: tensor<2xf32>) -> tensor<2xf32> {
  %0 = "ibx.exp"(%x) : (tensor<2xf32>) -> tensor<2xf32>
  %1 = "ibx.relu"(%x) : (tensor<2xf32>) -> tensor<2xf32>
  %2 = "ibx.add"(%0, %y) : (tensor<2xf32>, tensor<2xf32>) -> tensor<2xf32>
  return %1 : tensor<2xf32>
}

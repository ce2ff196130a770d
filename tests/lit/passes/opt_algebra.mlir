// opt_algebra removes what changes nothing.

// RUN: %imbrex passes %s --passes opt_algebra | FileCheck %s

// A factor of one, a sum with zero and a cast to the same type vanish.
// CHECK-LABEL: func.func @neutral
// CHECK-NOT: ibx.mul
// CHECK-NOT: ibx.add
// CHECK-NOT: ibx.cast
// CHECK: %[[A:.*]] = "ibx.exp"(%arg0)
// CHECK: return %[[A]]
func.func @neutral(%x: tensor<4x3xf32> {ibx.name = "x"})
    -> (tensor<4x3xf32> {ibx.name = "y"}) {
  %one = "ibx.constant"() {data = dense<1.0> : tensor<4x3xf32>, dtype = f32, name = "one", shape = array<i64: 4, 3>, weight = 0 : i64} : () -> tensor<4x3xf32>
  %zero = "ibx.constant"() {data = dense<0.0> : tensor<4x3xf32>, dtype = f32, name = "zero", shape = array<i64: 4, 3>, weight = 1 : i64} : () -> tensor<4x3xf32>
  %a = "ibx.mul"(%x, %one) : (tensor<4x3xf32>, tensor<4x3xf32>) -> tensor<4x3xf32>
  %b = "ibx.add"(%a, %zero) : (tensor<4x3xf32>, tensor<4x3xf32>) -> tensor<4x3xf32>
  %c = "ibx.cast"(%b) {dtype = f32} : (tensor<4x3xf32>) -> tensor<4x3xf32>
  %d = "ibx.exp"(%c) : (tensor<4x3xf32>) -> tensor<4x3xf32>
  return %d : tensor<4x3xf32>
}

// A factor that is not one stays.
// CHECK-LABEL: func.func @kept
// CHECK: "ibx.mul"
func.func @kept(%x: tensor<4x3xf32> {ibx.name = "x"})
    -> (tensor<4x3xf32> {ibx.name = "y"}) {
  %two = "ibx.constant"() {data = dense<2.0> : tensor<4x3xf32>, dtype = f32, name = "two", shape = array<i64: 4, 3>, weight = 2 : i64} : () -> tensor<4x3xf32>
  %a = "ibx.mul"(%x, %two) : (tensor<4x3xf32>, tensor<4x3xf32>) -> tensor<4x3xf32>
  %b = "ibx.exp"(%a) : (tensor<4x3xf32>) -> tensor<4x3xf32>
  return %b : tensor<4x3xf32>
}

// Softplus is its operand where that is large, which exporters write out.
// CHECK-LABEL: func.func @guarded
// CHECK-NOT: ibx.select
// CHECK: %[[S:.*]] = "ibx.softplus"(%arg0)
// CHECK: return %[[S]]
func.func @guarded(%x: tensor<4x3xf32> {ibx.name = "x"})
    -> (tensor<4x3xf32> {ibx.name = "y"}) {
  %limit = "ibx.constant"() {data = dense<20.0> : tensor<4x3xf32>, dtype = f32, name = "limit", shape = array<i64: 4, 3>, weight = 3 : i64} : () -> tensor<4x3xf32>
  %s = "ibx.softplus"(%x) : (tensor<4x3xf32>) -> tensor<4x3xf32>
  %c = "ibx.less"(%limit, %x) : (tensor<4x3xf32>, tensor<4x3xf32>) -> tensor<4x3xi1>
  %g = "ibx.select"(%c, %x, %s) : (tensor<4x3xi1>, tensor<4x3xf32>, tensor<4x3xf32>) -> tensor<4x3xf32>
  return %g : tensor<4x3xf32>
}

// Where the limit is small, it is not.
// CHECK-LABEL: func.func @cut
// CHECK: ibx.select
func.func @cut(%x: tensor<4x3xf32> {ibx.name = "x"})
    -> (tensor<4x3xf32> {ibx.name = "y"}) {
  %limit = "ibx.constant"() {data = dense<2.0> : tensor<4x3xf32>, dtype = f32, name = "limit", shape = array<i64: 4, 3>, weight = 4 : i64} : () -> tensor<4x3xf32>
  %s = "ibx.softplus"(%x) : (tensor<4x3xf32>) -> tensor<4x3xf32>
  %c = "ibx.less"(%limit, %x) : (tensor<4x3xf32>, tensor<4x3xf32>) -> tensor<4x3xi1>
  %g = "ibx.select"(%c, %x, %s) : (tensor<4x3xi1>, tensor<4x3xf32>, tensor<4x3xf32>) -> tensor<4x3xf32>
  return %g : tensor<4x3xf32>
}

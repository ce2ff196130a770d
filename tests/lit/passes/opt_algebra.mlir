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

// Softmax of finite numbers is a number.
// CHECK-LABEL: func.func @softmax
// CHECK-NOT: ibx.is_nan
// CHECK: "ibx.softmax"
// CHECK-NOT: ibx.select
// CHECK: return
func.func @softmax(%x: tensor<2x3xf32> {ibx.name = "x"})
    -> (tensor<2x3xf32> {ibx.name = "y"}) {
  %zero = "ibx.constant"() {data = dense<0.0> : tensor<2x3xf32>, dtype = f32, name = "zero", shape = array<i64: 2, 3>, weight = 5 : i64} : () -> tensor<2x3xf32>
  %s = "ibx.softmax"(%x) {axis = 1 : i64} : (tensor<2x3xf32>) -> tensor<2x3xf32>
  %n = "ibx.is_nan"(%s) : (tensor<2x3xf32>) -> tensor<2x3xi1>
  %g = "ibx.select"(%n, %zero, %s) : (tensor<2x3xi1>, tensor<2x3xf32>, tensor<2x3xf32>) -> tensor<2x3xf32>
  return %g : tensor<2x3xf32>
}

// So it is where a constant mask leaves something of each row,
// CHECK-LABEL: func.func @causal
// CHECK-NOT: ibx.is_nan
// CHECK: "ibx.softmax"
// CHECK-NOT: ibx.select
// CHECK: return
func.func @causal(%x: tensor<2x3xf32> {ibx.name = "x"})
    -> (tensor<2x3xf32> {ibx.name = "y"}) {
  %zero = "ibx.constant"() {data = dense<0.0> : tensor<2x3xf32>, dtype = f32, name = "zero", shape = array<i64: 2, 3>, weight = 6 : i64} : () -> tensor<2x3xf32>
  %m = "ibx.constant"() {data = dense<[[0.0, 0xFF800000, 0xFF800000], [0.0, 0.0, 0xFF800000]]> : tensor<2x3xf32>, dtype = f32, name = "mask", shape = array<i64: 2, 3>, weight = 7 : i64} : () -> tensor<2x3xf32>
  %a = "ibx.add"(%x, %m) : (tensor<2x3xf32>, tensor<2x3xf32>) -> tensor<2x3xf32>
  %s = "ibx.softmax"(%a) {axis = 1 : i64} : (tensor<2x3xf32>) -> tensor<2x3xf32>
  %n = "ibx.is_nan"(%s) : (tensor<2x3xf32>) -> tensor<2x3xi1>
  %g = "ibx.select"(%n, %zero, %s) : (tensor<2x3xi1>, tensor<2x3xf32>, tensor<2x3xf32>) -> tensor<2x3xf32>
  return %g : tensor<2x3xf32>
}

// but not where it covers one,
// CHECK-LABEL: func.func @covered
// CHECK: ibx.is_nan
// CHECK: ibx.select
func.func @covered(%x: tensor<2x3xf32> {ibx.name = "x"})
    -> (tensor<2x3xf32> {ibx.name = "y"}) {
  %zero = "ibx.constant"() {data = dense<0.0> : tensor<2x3xf32>, dtype = f32, name = "zero", shape = array<i64: 2, 3>, weight = 8 : i64} : () -> tensor<2x3xf32>
  %m = "ibx.constant"() {data = dense<[[0.0, 0.0, 0.0], [0xFF800000, 0xFF800000, 0xFF800000]]> : tensor<2x3xf32>, dtype = f32, name = "mask", shape = array<i64: 2, 3>, weight = 9 : i64} : () -> tensor<2x3xf32>
  %a = "ibx.add"(%x, %m) : (tensor<2x3xf32>, tensor<2x3xf32>) -> tensor<2x3xf32>
  %s = "ibx.softmax"(%a) {axis = 1 : i64} : (tensor<2x3xf32>) -> tensor<2x3xf32>
  %n = "ibx.is_nan"(%s) : (tensor<2x3xf32>) -> tensor<2x3xi1>
  %g = "ibx.select"(%n, %zero, %s) : (tensor<2x3xi1>, tensor<2x3xf32>, tensor<2x3xf32>) -> tensor<2x3xf32>
  return %g : tensor<2x3xf32>
}

// nor where the data may.
// CHECK-LABEL: func.func @masked
// CHECK: ibx.is_nan
// CHECK: ibx.select
func.func @masked(%x: tensor<2x3xf32> {ibx.name = "x"},
    %c: tensor<2x3xi1> {ibx.name = "c"})
    -> (tensor<2x3xf32> {ibx.name = "y"}) {
  %zero = "ibx.constant"() {data = dense<0.0> : tensor<2x3xf32>, dtype = f32, name = "zero", shape = array<i64: 2, 3>, weight = 10 : i64} : () -> tensor<2x3xf32>
  %i = "ibx.constant"() {data = dense<0xFF800000> : tensor<2x3xf32>, dtype = f32, name = "mask", shape = array<i64: 2, 3>, weight = 11 : i64} : () -> tensor<2x3xf32>
  %m = "ibx.select"(%c, %zero, %i) : (tensor<2x3xi1>, tensor<2x3xf32>, tensor<2x3xf32>) -> tensor<2x3xf32>
  %a = "ibx.add"(%x, %m) : (tensor<2x3xf32>, tensor<2x3xf32>) -> tensor<2x3xf32>
  %s = "ibx.softmax"(%a) {axis = 1 : i64} : (tensor<2x3xf32>) -> tensor<2x3xf32>
  %n = "ibx.is_nan"(%s) : (tensor<2x3xf32>) -> tensor<2x3xi1>
  %g = "ibx.select"(%n, %zero, %s) : (tensor<2x3xi1>, tensor<2x3xf32>, tensor<2x3xf32>) -> tensor<2x3xf32>
  return %g : tensor<2x3xf32>
}

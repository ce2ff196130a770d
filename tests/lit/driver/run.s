; SPDX-License-Identifier: Apache-2.0
;
; Running a program: inputs from files, made-up inputs, outputs as files, and
; what is wrong.
;
; RUN: %imbrex asm %s -o %t.ibx
; RUN: rm -rf %t.out %t.again
; RUN: %imbrex run %t.ibx --output-dir %t.out | FileCheck %s
; CHECK: y: f32[2,3]  min {{.*}}  max {{.*}} at {{[0-5]}}  mean
; CHECK: sum: i64[3]
;
; The output is an input again: twice the first output is its double.
; RUN: %imbrex run %t.ibx --input x=%t.out/y.npy --output-dir=%t.again
; RUN: tail -c 24 %t.out/y.npy | od -An -v -tf4 -w4 > %t.first
; RUN: tail -c 24 %t.again/y.npy | od -An -v -tf4 -w4 > %t.second
; RUN: sh -c 'paste %t.first %t.second | awk "{ if (\$2 - 2 * \$1 > 1e-5 || 2 * \$1 - \$2 > 1e-5) exit 1 }"'
;
; The same seed gives the same bytes in every order, fast or as specified,
; another one does not.
; RUN: %imbrex run %t.ibx --seed 7 --output-dir %t.again
; RUN: %imbrex run --device "sim:?order=random&seed=5" --output-dir %t.out --seed=7 %t.ibx
; RUN: cmp %t.out/y.npy %t.again/y.npy
; RUN: %imbrex run --device sim:?order=adversarial --output-dir %t.out --seed=7 -- %t.ibx
; RUN: cmp %t.out/y.npy %t.again/y.npy
; RUN: %imbrex run --device sim:?exec=spec --output-dir %t.out --seed=7 %t.ibx
; RUN: cmp %t.out/y.npy %t.again/y.npy
; RUN: %imbrex run %t.ibx --seed 8 --output-dir %t.out
; RUN: not cmp %t.out/y.npy %t.again/y.npy
;
; ONNX tensors, with raw and with typed data.
; RUN: printf 'dims: 2 dims: 3 data_type: 1 float_data: [1, 2, 3, 4, 5, 6]' > %t.txt
; RUN: %tensor < %t.txt > %t.pb
; RUN: %imbrex run %t.ibx --input x=%t.pb --json | FileCheck %s --check-prefix=TYPED
; TYPED: "device": "sim:"
; TYPED: "dtype": "f32",
; TYPED: "argmax": 5,
; TYPED: "min": 2
; TYPED: "max": 12
; TYPED: "mean": 7
; RUN: printf 'dims: [3] data_type: 7 raw_data: "\\001\\000\\000\\000\\000\\000\\000\\000\\002\\000\\000\\000\\000\\000\\000\\000\\003\\000\\000\\000\\000\\000\\000\\000"' > %t.raw.txt
; RUN: %tensor < %t.raw.txt > %t.raw.pb
; RUN: %imbrex run %t.ibx --input n=%t.raw.pb | FileCheck %s --check-prefix=RAW
; RAW: sum: i64[3]  min 1  max 3 at 2  mean 2
; RUN: %imbrex run %t.ibx --input n=- < %t.raw.pb | FileCheck %s --check-prefix=RAW
;
; What does not fit is told with both types, and exits with 1.
; RUN: not %imbrex run %t.ibx --input n=%t.pb 2>&1 | FileCheck %s --check-prefix=TYPE
; TYPE: input 'n' is i64[3], but f32[2,3] is given
; RUN: sh -c '%imbrex run %t.ibx --input n=%t.pb 2> %t.err; test $? -eq 1'
; RUN: printf 'dims: 2 dims: 3 data_type: 1 float_data: [1, 2]' > %t.short.txt
; RUN: %tensor < %t.short.txt > %t.short.pb
; RUN: not %imbrex run %t.ibx --input x=%t.short.pb 2>&1 | FileCheck %s --check-prefix=SHORT
; SHORT: short.pb is no ONNX tensor that we read: its elements are more or fewer
; RUN: printf 'dims: 99999999999 data_type: 1' > %t.huge.txt
; RUN: %tensor < %t.huge.txt > %t.huge.pb
; RUN: not %imbrex run %t.ibx --input x=%t.huge.pb 2>&1 | FileCheck %s --check-prefix=SHORT2
; SHORT2: huge.pb is no ONNX tensor that we read
; RUN: head -c 100 %t.out/y.npy > %t.cut.npy
; RUN: not %imbrex run %t.ibx --input x=%t.cut.npy 2>&1 | FileCheck %s --check-prefix=CUT
; CUT: cut.npy is no .npy file that we read
; RUN: not %imbrex run %t.ibx --input z=%t.pb 2>&1 | FileCheck %s --check-prefix=NAME
; NAME: --input z={{.*}}: no input has that name; main has 'x' and others
; RUN: sh -c '%imbrex run %t.ibx --input x=%t.absent 2> %t.err; test $? -eq 4'
; RUN: not %imbrex run %t.ibx --entry none 2>&1 | FileCheck %s --check-prefix=ENTRY
; ENTRY: the program has no entry 'none'
; RUN: not %imbrex run %t.ibx --device sim:?order=fast 2>&1 | FileCheck %s --check-prefix=ORDER
; ORDER: 'order' is not order=program|random|adversarial
; RUN: not %imbrex run %t.ibx --device driver:/no/lib.so 2>&1 | FileCheck %s --check-prefix=LIB
; LIB: driver /no/lib.so

.entry main
.input  x f32[2, 3]
.input  n i64[3]
.output y f32[2, 3]
.output sum i64[3]
.buffer tile sbuf partitions=1 bytes=24
.engine sync
dma_copy tile:f32, x:f32 size(6) signal s0+1
dma_copy sum:i64, n:i64 size(3) signal s2+1
dma_copy y:f32, tile:f32 size(6) wait s1>=1 signal s3+1
semaphore wait s2>=1
semaphore wait s3>=1
.engine vector
tensor_scalar tile:f32, tile:f32 op0=multiply imm0=2.0 p=1 size(6) wait s0>=1 signal s1+1

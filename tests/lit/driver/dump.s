; SPDX-License-Identifier: Apache-2.0
;
; What a program file holds, as text and as JSON.
;
; RUN: %imbrex asm %s -o %t.ibx
; RUN: %imbrex dump %t.ibx | FileCheck %s
; CHECK:      model   dump.s
; CHECK-NEXT: target  ibx2
; CHECK-NEXT: options
; CHECK-NEXT: digest  {{[0-9a-f]{16}$}}
; CHECK-NEXT: bytes   {{[0-9]+}} program, 512 weights
; CHECK-NEXT: nodes   2
; CHECK:      1 target
; CHECK:      7 weights {{.*}} 512 bytes
; CHECK:      entry main
; CHECK-NEXT:   input  x f32[128,1]
; CHECK-NEXT:   output y f32[128,1]
; CHECK-NEXT:   buffers 5, instructions tensor 0, vector 1, scalar 0, gpsimd 0, sync 3
;
; RUN: %imbrex dump --memory %t.ibx | FileCheck %s --check-prefix=MEMORY
; MEMORY:      memory of main
; MEMORY:      hbm 0 512 - input x
; MEMORY-NEXT: hbm 512 512 - output y
; MEMORY-NEXT: weights 0 512 - weight w
; MEMORY-NEXT: sbuf 0 4 0..127 scratch a
; MEMORY-NEXT: sbuf 64 4 0..127 scratch b
;
; RUN: %imbrex dump %t.ibx --json --memory --asm | FileCheck %s --check-prefix=JSON
; JSON:     "model": "dump.s",
; JSON:     "weight_bytes": 512,
; JSON:     "name": "streams",
; JSON:     "shape": [
; JSON-NEXT:  128,
; JSON-NEXT:  1
; JSON:     "sync": 3
; JSON:     "memory": [
; JSON:     "partitions": 128
; JSON:     "assembly": "{{.*}}.entry
;
; RUN: not %imbrex dump %s 2>&1 | FileCheck %s --check-prefix=NONE
; NONE: imbrex: {{.*}}this is no program file
; RUN: not %imbrex dump %t.absent 2>&1 | FileCheck %s --check-prefix=ABSENT
; ABSENT: no such file

.target ibx2
.weights
.zero 512
.entry main
.input x f32[128, 1]
.output y f32[128, 1]
.buffer w hbm weight bytes=512
.buffer a sbuf bytes=4
.buffer b sbuf bytes=4
.node "/first" "Add"
.node "/second" "Store"
.at 0
.engine sync
dma_copy a:f32 pstep(1, 0), x:f32 size(128, 1) dge=static signal s0+16
dma_copy b:f32 pstep(1, 0), w:f32 size(128, 1) dge=static signal s0+16
.engine vector
tensor_tensor b:f32, a:f32, b:f32 op0=add p=128 wait s0>=32 signal s1+1
.at 1
.engine sync
dma_copy y:f32, b:f32 pstep(1, 0) size(128, 1) dge=static wait s1>=1

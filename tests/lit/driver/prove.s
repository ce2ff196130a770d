; SPDX-License-Identifier: Apache-2.0
;
; The verifier: what it says of a program, and the exit code.
;
; RUN: %imbrex asm %s -o %t.ibx
; RUN: %imbrex prove %t.ibx | FileCheck %s
; CHECK: main: proved: 3 instructions, 6 accesses, 2 semaphores, 8 of 212984 bytes a partition of sbuf, 0 of 8 banks of psum
; RUN: %imbrex prove --json %t.ibx | FileCheck %s --check-prefix=JSON
; JSON: "proved": true
; JSON: "sbuf_peak_bytes": 8
;
; A DMA that waits for nobody.
; RUN: %imbrex asm %s -o %t.ibx -D HASTY=1
; RUN: not %imbrex prove %t.ibx | FileCheck %s --check-prefix=RACE
; RACE: main: not proved: sync 1 dma_copy {{.*}} reads {{.*}}b
; RUN: not %imbrex prove --json %t.ibx | FileCheck %s --check-prefix=FOUND
; FOUND: "proved": false
; FOUND: "finding": "sync 1 dma_copy
;
; Beyond the buffer.
; RUN: %imbrex asm %s -o %t.ibx -D BYTES=2
; RUN: not %imbrex prove %t.ibx | FileCheck %s --check-prefix=REACH
; REACH: bytes 0 to 3 leave the 2 of a

.equ HASTY = 0
.equ BYTES = 4
.entry main
.input x f32[128, 1]
.output y f32[128, 1]
.buffer a sbuf bytes=BYTES offset=0
.buffer b sbuf bytes=4 offset=4
.buffer c sbuf bytes=4 offset=8
.engine sync
dma_copy a:f32 pstep(1, 0), x:f32 size(128, 1) dge=static signal s0+16
.engine vector
tensor_copy b:f32, a:f32 p=128 wait s0>=16 signal s1+1
.engine sync
.repeat i, HASTY
dma_copy c:f32 pstep(1, 0), b:f32 pstep(1, 0) size(128, 1) dge=static
.endrepeat
dma_copy y:f32, b:f32 pstep(1, 0) size(128, 1) dge=static wait s1>=1

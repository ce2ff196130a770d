; SPDX-License-Identifier: Apache-2.0
;
; Assembling, and assembling again what was disassembled: the same bytes.
;
; RUN: %imbrex asm %s -o %t.ibx
; RUN: %imbrex prove %t.ibx
; RUN: %imbrex dump %t.ibx --asm > %t.s
; RUN: %imbrex asm %t.s -o %t.again.ibx
; RUN: cmp %t.ibx %t.again.ibx
; RUN: FileCheck %s < %t.s
;
; A symbol from outside; standard input and output.
; RUN: %imbrex asm -D N=32 - -o - < %s > %t.32.ibx
; RUN: %imbrex dump %t.32.ibx --asm | FileCheck %s --check-prefix=OUTSIDE
; OUTSIDE: .buffer "x" hbm input offset=0 bytes=128
;
; What is wrong is told with line and column, and leaves no file.
; RUN: rm -f %t.bad.ibx
; RUN: not %imbrex asm -D N=30 %s -o %t.bad.ibx 2>&1 | FileCheck %s --check-prefix=REQUIRE
; REQUIRE: asm.s:[[#]]:10: N is a multiple of 16
; RUN: not test -e %t.bad.ibx
; RUN: not %imbrex asm -D N %s -o %t.bad.ibx 2>&1 | FileCheck %s --check-prefix=SYMBOL
; SYMBOL: -D: 'N' is no NAME=V
; RUN: not %imbrex asm %s 2>&1 | FileCheck %s --check-prefix=OUTPUT
; OUTPUT: missing option -o OUT.ibx
;
; An instruction that assembles but breaks a limit of the machine is refused.
; RUN: not %imbrex asm -D PARTITIONS=0 %s -o %t.bad.ibx 2>&1 | FileCheck %s --check-prefix=LIMIT
; LIMIT: partitions

.equ N = 64
.equ PARTITIONS = 1
.require N % 16 == 0 "N is a multiple of 16"
.entry main
.input  x f32[N]
.output y f32[N]
.buffer tile sbuf partitions=1 bytes=4*N
.semaphore loaded
.semaphore done
.semaphore stored
.engine sync
dma_copy tile:f32, x:f32 size(N) signal loaded+1
dma_copy y:f32, tile:f32 size(N) wait done>=1 signal stored+1
semaphore wait stored>=1
.engine vector
tensor_scalar tile:f32, tile:f32 op0=multiply imm0=2.0 p=PARTITIONS size(N) wait loaded>=1 signal done+1

; CHECK:      .target ibx3
; CHECK:      .entry "main"
; CHECK:      .engine vector
; CHECK:      tensor_scalar tile:f32, tile:f32 size(64) op0=multiply imm0=2 wait s0>=1 signal s1+1
; CHECK:      .engine sync
; CHECK:      dma_copy tile:f32, x:f32 size(64) signal s0+1

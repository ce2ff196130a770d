; SPDX-License-Identifier: Apache-2.0
;
; bench where loop trips come from memory: the most that the program allows, or
; what --extent says. The prover follows no number from memory: prove refuses.
;
; RUN: %imbrex asm %s -o %t.ibx
; RUN: not %imbrex prove %t.ibx 2>&1 | FileCheck %s --check-prefix=PROVE
; PROVE: memory
; RUN: %imbrex bench %t.ibx | FileCheck %s --check-prefix=MOST
; MOST-NOT: {{^}}extent
; MOST:     executed   20006 instructions
; RUN: %imbrex bench %t.ibx --extent length=300 --timeline | FileCheck %s --check-prefix=SOME
; SOME:     extent     length = 300
; SOME:     executed   606 instructions
; SOME:     vector  |
; RUN: %imbrex bench %t.ibx --extent 'limits[0]=0' --json | FileCheck %s --check-prefix=JSON
; JSON-DAG: "limits[0]": 0
; JSON-DAG: "instructions": 6
;
; RUN: not %imbrex bench %t.ibx --extent size=3 2>&1 | FileCheck %s --check-prefix=NAME
; NAME: no register is loaded from 'size'
; RUN: not %imbrex bench %t.ibx --extent length=10001 2>&1 | FileCheck %s --check-prefix=LIMIT
; LIMIT: extent length is 10001, the program allows 10000 at most
; RUN: sh -c '%imbrex bench %t.ibx --extent length > %t.out 2>&1; test $? -eq 2'
; RUN: sh -c '%imbrex bench %t.ibx --extent length=-1 > %t.out 2>&1; test $? -eq 2'
; RUN: sh -c '%imbrex bench %t.ibx --extent length=4294967296 > %t.out 2>&1; test $? -eq 2'
; RUN: FileCheck %s --check-prefix=USAGE --input-file %t.out
; USAGE: --extent: 'length=4294967296' is no NAME=V

.model "bench_extent.s"
.entry main
.input length i32[1]
.buffer limits sbuf bytes=4 partitions=1
.buffer a sbuf bytes=32
.engine sync
dma_copy limits:i32 pstep(1), length:i32 size(1) signal s0+1
semaphore wait s1>=1
.engine vector
semaphore wait s0>=1
register_load limits:i32 r5 count=10000
loop r0 r5 count=10000
memset a:f32 imm0=1 p=128 size(8)
loop_end
semaphore signal s1+1

; SPDX-License-Identifier: Apache-2.0
;
; trace where loop trips come from memory: the run that bench times, with the
; most that the program allows, or with what --extent says.
;
; RUN: %imbrex asm %s -o %t.ibx
; RUN: %imbrex trace %t.ibx -o - | grep -c '"name":"memset"' | FileCheck %s --check-prefix=MOST
; MOST: {{^}}40{{$}}
; RUN: %imbrex trace %t.ibx --extent length=3 -o - | grep -c '"name":"memset"' | FileCheck %s --check-prefix=SOME
; SOME: {{^}}3{{$}}
; RUN: %imbrex trace %t.ibx --extent 'limits[0]=0' -o %t.none
; RUN: FileCheck %s --check-prefix=NONE < %t.none
; NONE:     "name":"register_load"
; NONE-NOT: "name":"memset"
; RUN: %imbrex bench %t.ibx --extent length=3 | FileCheck %s --check-prefix=BENCH
; BENCH: executed   12 instructions
;
; RUN: not %imbrex trace %t.ibx --extent size=3 -o %t.no 2>&1 | FileCheck %s --check-prefix=NAME
; NAME: no register is loaded from 'size'
; RUN: not %imbrex trace %t.ibx --extent length=41 -o %t.no 2>&1 | FileCheck %s --check-prefix=LIMIT
; LIMIT: extent length is 41, the program allows 40 at most
; RUN: sh -c '%imbrex trace %t.ibx --extent length -o %t.no > %t.out 2>&1; test $? -eq 2'
; RUN: FileCheck %s --check-prefix=USAGE --input-file %t.out
; USAGE: imbrex trace: --extent: 'length' is no NAME=V
; RUN: not ls %t.no

.model "trace_extent.s"
.entry main
.input length i32[1]
.buffer limits sbuf bytes=4 partitions=1
.buffer a sbuf bytes=32
.engine sync
dma_copy limits:i32 pstep(1), length:i32 size(1) signal s0+1
semaphore wait s1>=1
.engine vector
semaphore wait s0>=1
register_load limits:i32 r5 count=40
loop r0 r5 count=40
memset a:f32 imm0=1 p=128 size(8)
loop_end
semaphore signal s1+1

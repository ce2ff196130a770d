; SPDX-License-Identifier: Apache-2.0
;
; A library call of GpSimd is told by its kernel, its node and its time: 150
; cycles, 8 for each of 64 elements and each of 6 steps of the sort, and for 512
; bytes read and 768 written in HBM 1020 and 5: 4247 of 1.2 GHz.
;
; RUN: %imbrex asm %s -o %t.ibx
; RUN: %imbrex bench %t.ibx | FileCheck %s
; CHECK: HBM        read 0.001 MB, written 0.001 MB
; CHECK: host       no segments, 1 GpSimd library call{{$}}
;
; RUN: %imbrex bench %t.ibx --json | FileCheck %s --check-prefix=JSON
; JSON-DAG: "hbm_read_bytes": 512
; JSON-DAG: "hbm_write_bytes": 768
; JSON-DAG: "kernel": "sort_descending"
; JSON-DAG: "us": 3.539
;
; The prover sees what it writes: half of an output is not enough.
; RUN: %imbrex prove %t.ibx
; RUN: sed 's/size(64)/size(32)/' %s > %t.s
; RUN: %imbrex asm %t.s -o %t.half.ibx
; RUN: not %imbrex prove %t.half.ibx | FileCheck %s --check-prefix=HALF
; HALF: is not written completely

.model "bench_calls.s"
.entry main
.input x i64[64]
.output y i64[64]
.output places i32[64]
.engine gpsimd
gpsimd_call_pair y:i64, x:i64, places:i32 size(64) op0=sort_descending

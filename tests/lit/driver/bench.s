; SPDX-License-Identifier: Apache-2.0
;
; Figures, the drawing, JSON, budgets and exit codes of bench.
;
; RUN: %imbrex asm %s -o %t.ibx
; RUN: %imbrex bench %t.ibx --timeline --wall | FileCheck %s
; CHECK:      bench.s, entry small, ibx3
; CHECK-NEXT: simulated  0.8 us
; CHECK-NEXT: bound      none declared
; CHECK:      HBM        read 0.004 MB, written 0.000 MB
; CHECK:      wall
; CHECK:      tensor  | {{ *}}|   0.0 %
; CHECK:      dma     |{{[^|]*}}|
;
; RUN: %imbrex bench %t.ibx --json | FileCheck %s --check-prefix=JSON
; JSON-DAG: "entry": "small"
; JSON-DAG: "simulated_us": 0.85
; JSON-DAG: "ratio": null
; JSON-DAG: "hbm_read_bytes": 4096
; JSON-DAG: "host_segments": []
;
; RUN: %imbrex bench %t.ibx --json --entry large | FileCheck %s --check-prefix=LARGE
; LARGE-DAG: "bound_by": "hbm"
; LARGE-DAG: "ratio": 5.
; LARGE-DAG: "hbm_read_bytes": 2097152
; RUN: not %imbrex bench %t.ibx --entry none 2>&1 | FileCheck %s --check-prefix=NONE
; NONE: the program has no entry 'none'
;
; A budget that is exceeded exits with 3, one that is kept with 0.
; RUN: %imbrex bench %t.ibx --max-time-us 0.9 --max-hbm 4096
; RUN: not %imbrex bench %t.ibx --max-time-us 0.8 2>&1 | FileCheck %s --check-prefix=TIME
; TIME: simulated time is 0.8 us, the budget 0.8 us
; RUN: not %imbrex bench %t.ibx --max-hbm 4095 2>&1 | FileCheck %s --check-prefix=HBM
; HBM: 4096 bytes of tensors move, the budget is 4095
; RUN: sh -c '%imbrex bench %t.ibx --max-hbm 4095 > %t.out 2>&1; test $? -eq 3'
;
; An earlier run is a budget too.
; RUN: %imbrex bench %t.ibx --json > %t.base
; RUN: %imbrex bench %t.ibx --baseline %t.base
; RUN: not %imbrex bench %t.ibx --entry large --baseline %t.base --max-regress 10 2>&1 | FileCheck %s --check-prefix=REGRESS
; REGRESS: above the 0.8 us of
; RUN: not %imbrex bench %t.ibx --baseline %s 2>&1 | FileCheck %s --check-prefix=BASE
; BASE: no JSON of bench

.model "bench.s"
.entry small
.input x f32[128, 8]
.buffer tile sbuf bytes=65536
.engine sync
dma_copy tile:f32 pstep(1, 0), x:f32 size(128, 8) signal s0+16
semaphore wait s0>=16

.entry large
.input x f32[128, 4096]
.bounds hbm_ps=1000000
.buffer tile sbuf bytes=65536
.engine sync
dma_copy tile:f32 pstep(1, 0), x:f32 size(128, 4096) signal s0+16
semaphore wait s0>=16

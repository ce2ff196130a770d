; SPDX-License-Identifier: Apache-2.0
;
; What `imbrex trace` writes, and what it tells. tests/trace holds whole traces
; against their programs.
;
; RUN: %imbrex asm %s -o %t.ibx
; RUN: %imbrex trace %t.ibx -o %t.json
; RUN: FileCheck %s < %t.json
; CHECK:      {"displayTimeUnit":"ns",
; CHECK-NEXT: "otherData":{"producer":"imbrex","model":"trace.s","entry":"main","target":"ibx3","total_us":
; CHECK-NEXT: "traceEvents":[
; CHECK-NEXT: {"ph":"M","pid":1,"tid":0,"name":"process_name","args":{"name":"engines"}},
;
; The DMA is issued, reaches its queue and the DMA engines, and signals once
; with all of its pieces; the instruction that waits has node and text.
; CHECK:      "name":"sync"
; CHECK:      {"ph":"X","pid":1,"tid":5000,"ts":0.0000005,"dur":{{[0-9.]+}},"name":"dma_copy","cat":"load \"x\" (Load)","args":{"node":"load \"x\"","op":"Load","index":0,"text":"dma_copy a:f32 pstep(1, 0), x:f32 size(128, 1) queue=2 signal s0+16","operands":["a","x"],"dma":0}},
; CHECK:      "name":"queue 2"
; CHECK:      "name":"DMA engine 15"
; CHECK:      {"ph":"X","pid":2,"tid":12000,"ts":0.0000005,"dur":{{.*}},"issuer":"sync","dma":0,"bytes":512,"pieces":16}},
; CHECK:      "name":"vector"
; CHECK:      {"ph":"X","pid":1,"tid":2000,"ts":{{.*}}"cat":"no node","args":{"index":0,"text":"tensor_copy
; CHECK:      {"ph":"s","pid":2,"tid":12000,"ts":{{[0-9.]+}},"id":1,"name":"s0","cat":"semaphore","args":{"value":16}},
; CHECK-NEXT: {"ph":"f","pid":1,"tid":2000,"bp":"e","ts":{{[0-9.]+}},"id":1,"name":"s0","cat":"semaphore","args":{"value":16}},
; CHECK:      "name":"SBUF","args":{"bytes a partition":4}
; CHECK-NEXT: {{.*}}"name":"PSUM","args":{"banks":0}
; CHECK-NEXT: {{.*}}"name":"SBUF","args":{"bytes a partition":68}
; CHECK-NEXT: {{.*}}"name":"SBUF","args":{"bytes a partition":0}
; CHECK-NEXT: ]}
;
; RUN: %imbrex trace %t.ibx -o - | cmp - %t.json
; RUN: %imbrex trace %t.ibx --from 1 --limit 1 -o %t.part 2>&1 | FileCheck %s --check-prefix=PART
; PART: imbrex: {{.*}}.part holds 1 of 2 instructions, 1.000 to {{[0-9.]+}} of {{[0-9.]+}} us; --from and --limit choose others
; RUN: not grep sync %t.part
;
; RUN: not %imbrex trace %t.ibx 2>&1 | FileCheck %s --check-prefix=MISSING
; MISSING: imbrex trace: missing option -o FILE.json
; RUN: not %imbrex trace %t.ibx -o %t.no --from=-1 2>&1 | FileCheck %s --check-prefix=FROM
; FROM: --from: no time of a run: -1 us
; RUN: not %imbrex trace %t.ibx -o %t.no --entry none 2>&1 | FileCheck %s --check-prefix=NONE
; NONE: the program has no entry 'none'
; RUN: not ls %t.no

.entry main
.input x f32[128, 1]
.buffer a sbuf bytes=4
.buffer b sbuf offset=64 bytes=64
.node "load \"x\"" "Load"
.at 0
.engine sync
dma_copy a:f32 pstep(1, 0), x:f32 size(128, 1) dge=static queue=2 signal s0+16
.at none
.engine vector
tensor_copy b:f32, a:f32 p=128 size(1) wait s0>=16

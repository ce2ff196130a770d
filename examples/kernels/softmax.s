; SPDX-License-Identifier: Apache-2.0
;
; Softmax of each row, fp32: one pass over memory.
;
;   y[r, c] = exp(x[r, c] - max of row r) / sum over c of exp(x[r, c] - max)
;
; A tile is 128 rows, one a partition; everything happens in its slot:
;
;   sync     128 rows of x -> slot                           (HBM to SBUF)
;   vector   least = -max of the row
;   scalar   slot = exp(slot + least), sum = its sum         (one instruction)
;   vector   slot = slot * (1 / sum), half a row at a time
;   sync     halves of rows -> y                             (SBUF to HBM)
;
; Vector takes the maximum of the next tile before it scales this one, so that
; it never waits for Scalar. The traffic is the limit: 22.8 us a tile of 8192
; columns, against 17.1 us of Vector and 6.9 us of Scalar.

.equ ROWS = 2048
.equ COLUMNS = 8192
.equ SLOTS = 4
.equ ROUNDS = ROWS/(128*SLOTS)
.require ROWS % (128*SLOTS) == 0 && ROWS > 0 "ROWS is a multiple of 128*SLOTS"
.require COLUMNS % 2 == 0 && COLUMNS > 0 "COLUMNS is even: rows are stored in halves"
.require COLUMNS*SLOTS*4 <= 200000 && SLOTS > 1 "the rows do not fit SBUF; reduce COLUMNS or SLOTS"

.target ibx3
.model "softmax"

.entry main
.input  x f32[ROWS, COLUMNS]
.output y f32[ROWS, COLUMNS]
; Rates of ibx3: 16 DMA engines of 23 GB/s, Vector at 0.96 GHz.
.bounds flops=5*ROWS*COLUMNS hbm_min_bytes=8*ROWS*COLUMNS hbm_ps=8*ROWS*COLUMNS*1000/368 engine_ps=ROWS/128*COLUMNS*2*100000/96

.buffer slot  sbuf bytes=SLOTS*COLUMNS*4
.buffer least sbuf bytes=SLOTS*4
.buffer sum   sbuf bytes=SLOTS*4
.buffer part  sbuf bytes=SLOTS*4        ; 1 / sum

.semaphore loaded[SLOTS]
.semaphore found[SLOTS]                 ; the maximum
.semaphore summed[SLOTS]
.semaphore scaled[SLOTS]                ; 1 for each half
.semaphore stored[SLOTS]                ; 16 for each half

.register round 0                       ; SLOTS tiles

.engine sync
.repeat s, SLOTS
dma_copy slot[s*COLUMNS*4]:f32 pstep(1, 0), x[s*128*COLUMNS*4]:f32 size(128, COLUMNS) dge=hardware queue=0 signal loaded[s]+16
.endrepeat
loop round count=ROUNDS-1
  .repeat s, SLOTS
  .repeat h, 2
  dma_copy y[s*128*COLUMNS*4 + h*COLUMNS*2 + round*(SLOTS*128*COLUMNS*4)]:f32 step(COLUMNS, 1), slot[s*COLUMNS*4 + h*COLUMNS*2]:f32 pstep(1, 0) size(128, COLUMNS/2) dge=hardware queue=1 wait scaled[s]>=1 signal stored[s]+16
  .endrepeat
  dma_copy slot[s*COLUMNS*4]:f32 pstep(1, 0), x[(SLOTS + s)*128*COLUMNS*4 + round*(SLOTS*128*COLUMNS*4)]:f32 size(128, COLUMNS) dge=hardware queue=0 wait stored[s]>=32 signal loaded[s]+16
  .endrepeat
loop_end
.repeat s, SLOTS
.repeat h, 2
dma_copy y[((ROUNDS-1)*SLOTS + s)*128*COLUMNS*4 + h*COLUMNS*2]:f32 step(COLUMNS, 1), slot[s*COLUMNS*4 + h*COLUMNS*2]:f32 pstep(1, 0) size(128, COLUMNS/2) dge=hardware queue=1 wait scaled[s]>=1 signal stored[s]+16
.endrepeat
.endrepeat
.repeat s, SLOTS
semaphore wait stored[s]>=32
.endrepeat

.engine scalar
loop round count=ROUNDS
  .repeat s, SLOTS
  activation_reduce slot[s*COLUMNS*4]:f32, slot[s*COLUMNS*4]:f32, least[s*4], sum[s*4] op0=exp imm1=1 p=128 size(COLUMNS) wait found[s]>=1 signal summed[s]+1
  .endrepeat
loop_end

.engine vector
tensor_reduce least:f32 step(0), slot:f32 op0=max negate p=128 size(COLUMNS) wait loaded[0]>=16 signal found[0]+1
loop round count=ROUNDS-1
  .repeat s, SLOTS
  .equ next = (s + 1) % SLOTS
  tensor_reduce least[next*4]:f32 step(0), slot[next*COLUMNS*4]:f32 op0=max negate p=128 size(COLUMNS) wait loaded[next]>=16 signal found[next]+1
  reciprocal part[s*4]:f32, sum[s*4]:f32 p=128 size(1) wait summed[s]>=1
  .repeat h, 2
  tensor_scalar slot[s*COLUMNS*4 + h*COLUMNS*2]:f32, slot[s*COLUMNS*4 + h*COLUMNS*2]:f32, part[s*4] op0=multiply p=128 size(COLUMNS/2) signal scaled[s]+1
  .endrepeat
  .endrepeat
loop_end
.repeat s, SLOTS
.repeat more, s < SLOTS-1
tensor_reduce least[s*4 + 4]:f32 step(0), slot[(s + 1)*COLUMNS*4]:f32 op0=max negate p=128 size(COLUMNS) wait loaded[s + 1]>=16 signal found[s + 1]+1
.endrepeat
reciprocal part[s*4]:f32, sum[s*4]:f32 p=128 size(1) wait summed[s]>=1
.repeat h, 2
tensor_scalar slot[s*COLUMNS*4 + h*COLUMNS*2]:f32, slot[s*COLUMNS*4 + h*COLUMNS*2]:f32, part[s*4] op0=multiply p=128 size(COLUMNS/2) signal scaled[s]+1
.endrepeat
.endrepeat

; SPDX-License-Identifier: Apache-2.0
;
; RMS norm with a gain, fp32: one pass over memory.
;
;   y[r, c] = x[r, c] * gain[c] / sqrt(mean over c of x[r, c]^2 + 1e-6)
;
; A tile is 128 rows, one a partition, so the mean runs along the partition:
;
;   sync     128 rows of x -> slot                           (HBM to SBUF)
;   scalar   sum = sum of squares, root = 1 / sqrt(sum / COLUMNS + 1e-6)
;   vector   slot = (slot * root) * gain, in place, half a row at a time
;   sync     halves of rows -> y                             (SBUF to HBM)
;
; The gain is the same for all rows; it is loaded once into all partitions. The
; squares themselves are of no use and go to a place that nobody reads.
;
; Traffic is the limit: 22.8 us a tile of 8192 columns, against 17.1 us of
; Vector, which reads two tensors in SBUF at half rate, and 7.2 us of Scalar. At
; the end of the run Vector and the stores are alone; that is why rows go in
; halves.

.equ ROWS = 2048
.equ COLUMNS = 8192
.equ SLOTS = 4
.equ ROUNDS = ROWS/(128*SLOTS)
.require ROWS % (128*SLOTS) == 0 && ROWS > 0 "ROWS is a multiple of 128*SLOTS"
.require COLUMNS % 2 == 0 && COLUMNS > 0 "COLUMNS is even: rows are stored in halves"
.require COLUMNS*(SLOTS*4 + 4 + 2) <= 200000 "the rows do not fit SBUF; reduce COLUMNS or SLOTS"

.target ibx3
.model "rms_norm"

.entry main
.input  x f32[ROWS, COLUMNS]
.input  gain f32[COLUMNS]
.output y f32[ROWS, COLUMNS]
; Rates of ibx3: 16 DMA engines of 23 GB/s, Vector at 0.96 GHz.
.bounds flops=4*ROWS*COLUMNS hbm_min_bytes=8*ROWS*COLUMNS + 4*COLUMNS hbm_ps=(8*ROWS*COLUMNS + 4*COLUMNS)*1000/368 engine_ps=ROWS/128*COLUMNS*2*100000/96

.buffer slot    sbuf bytes=SLOTS*COLUMNS*4
.buffer gains   sbuf bytes=COLUMNS*4
.buffer squares sbuf bytes=COLUMNS*2    ; bf16: nobody reads them
.buffer sum     sbuf bytes=SLOTS*4
.buffer root    sbuf bytes=SLOTS*4

.semaphore gain_loaded
.semaphore loaded[SLOTS]
.semaphore rooted[SLOTS]
.semaphore scaled[SLOTS]                ; 1 for each half
.semaphore stored[SLOTS]                ; 16 for each half

.register round 0                       ; SLOTS tiles

.engine sync
; The gain comes behind the first tile, whose squares are summed meanwhile.
.repeat s, SLOTS
dma_copy slot[s*COLUMNS*4]:f32 pstep(1, 0), x[s*128*COLUMNS*4]:f32 size(128, COLUMNS) dge=hardware queue=0 signal loaded[s]+16
.repeat once, s==0
dma_copy gains:f32 pstep(1, 0), gain:f32 step(0, 1) size(128, COLUMNS) dge=hardware queue=0 signal gain_loaded+16
.endrepeat
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
  activation_reduce squares:bf16, slot[s*COLUMNS*4]:f32, -, sum[s*4] op0=square imm1=1 p=128 size(COLUMNS) wait loaded[s]>=16
  activation root[s*4]:f32, sum[s*4]:f32 op0=rsqrt imm0=1e-6 imm1=ratio(1, COLUMNS) p=128 size(1) signal rooted[s]+1
  .endrepeat
loop_end

.engine vector
semaphore wait gain_loaded>=16
loop round count=ROUNDS
  .repeat s, SLOTS
  semaphore wait rooted[s]>=1
  .repeat h, 2
  scalar_tensor_tensor slot[s*COLUMNS*4 + h*COLUMNS*2]:f32, slot[s*COLUMNS*4 + h*COLUMNS*2]:f32, gains[h*COLUMNS*2]:f32, root[s*4] op0=multiply op1=multiply p=128 size(COLUMNS/2) signal scaled[s]+1
  .endrepeat
  .endrepeat
loop_end

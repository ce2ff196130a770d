; SPDX-License-Identifier: Apache-2.0
;
; SiLU: y = x * sigmoid(x), elementwise, fp32.
;
;   gpsimd   x -> slot                             (HBM to SBUF)
;   scalar   slot = silu(slot), in place
;   gpsimd   slot -> y                             (SBUF to HBM)
;
; The tensor is [ROWS, COLUMNS], but neither matters to an elementwise function:
; partition p has the p-th of 128 equal stretches of memory, and a tile is TILE
; elements of each. A descriptor then moves TILE * 4 bytes, whatever the shape.
;
; The traffic is the limit: a tile takes 7.7 us in and 7.7 us out, and only
; 2.9 us of Scalar. So the loads run LAG tiles behind the stores that free their
; slots, and SLOTS - LAG ahead of Scalar: there is always a DMA in flight. The
; descriptors are made by software, as ibx2 has no other kind inside of loops.

.equ ROWS = 4096
.equ COLUMNS = 7168
.equ TILE = 4096
.equ SLOTS = 8
.equ LAG = 3
.equ STRETCH = ROWS*COLUMNS/128         ; elements of a partition
.equ ROUNDS = STRETCH/(TILE*SLOTS)
.require ROWS*COLUMNS % (128*TILE*SLOTS) == 0 && ROUNDS > 0 "ROWS*COLUMNS is a multiple of 128*TILE*SLOTS"
.require LAG > 0 && LAG < SLOTS "LAG is less than SLOTS"
.require TILE*SLOTS*4 <= 180224 "SLOTS tiles do not fit SBUF; reduce TILE"

.target ibx2
.model "silu"

.entry main
.input  x f32[ROWS, COLUMNS]
.output y f32[ROWS, COLUMNS]
; Rates of ibx2: 16 DMA engines of 17 GB/s, Scalar at 1.4 GHz.
.bounds flops=4*ROWS*COLUMNS hbm_min_bytes=8*ROWS*COLUMNS hbm_ps=8*ROWS*COLUMNS*1000/272 engine_ps=STRETCH*10000/14

.buffer slot sbuf bytes=SLOTS*TILE*4

.semaphore loaded[SLOTS]
.semaphore done[SLOTS]
.semaphore stored[SLOTS]                ; a slot may be loaded again

.register round 0                       ; SLOTS tiles

.engine gpsimd
; The first tiles find their slots empty.
.repeat s, SLOTS-LAG
dma_copy slot[s*TILE*4]:f32 pstep(1, 0), x[s*TILE*4]:f32 step(STRETCH, 1) size(128, TILE) dge=software queue=0 signal loaded[s]+16
.endrepeat
.repeat s, LAG
semaphore signal stored[SLOTS-LAG+s]+16
.endrepeat
loop round count=ROUNDS-1
  ; A tile goes out; another one comes into the slot that left LAG tiles ago:
  ; first the last ones of this round, then the first ones of the next.
  .repeat s, LAG
  dma_copy y[s*TILE*4 + round*(SLOTS*TILE*4)]:f32 step(STRETCH, 1), slot[s*TILE*4]:f32 pstep(1, 0) size(128, TILE) dge=software queue=1 wait done[s]>=1 signal stored[s]+16
  dma_copy slot[(SLOTS-LAG+s)*TILE*4]:f32 pstep(1, 0), x[(SLOTS-LAG+s)*TILE*4 + round*(SLOTS*TILE*4)]:f32 step(STRETCH, 1) size(128, TILE) dge=software queue=0 wait stored[SLOTS-LAG+s]>=16 signal loaded[SLOTS-LAG+s]+16
  .endrepeat
  .repeat s, SLOTS-LAG
  dma_copy y[(LAG+s)*TILE*4 + round*(SLOTS*TILE*4)]:f32 step(STRETCH, 1), slot[(LAG+s)*TILE*4]:f32 pstep(1, 0) size(128, TILE) dge=software queue=1 wait done[LAG+s]>=1 signal stored[LAG+s]+16
  dma_copy slot[s*TILE*4]:f32 pstep(1, 0), x[(SLOTS+s)*TILE*4 + round*(SLOTS*TILE*4)]:f32 step(STRETCH, 1) size(128, TILE) dge=software queue=0 wait stored[s]>=16 signal loaded[s]+16
  .endrepeat
loop_end
; The last round loads no tile of a next one.
.repeat s, LAG
dma_copy y[((ROUNDS-1)*SLOTS+s)*TILE*4]:f32 step(STRETCH, 1), slot[s*TILE*4]:f32 pstep(1, 0) size(128, TILE) dge=software queue=1 wait done[s]>=1 signal stored[s]+16
dma_copy slot[(SLOTS-LAG+s)*TILE*4]:f32 pstep(1, 0), x[((ROUNDS-1)*SLOTS+SLOTS-LAG+s)*TILE*4]:f32 step(STRETCH, 1) size(128, TILE) dge=software queue=0 wait stored[SLOTS-LAG+s]>=16 signal loaded[SLOTS-LAG+s]+16
.endrepeat
.repeat s, SLOTS-LAG
dma_copy y[((ROUNDS-1)*SLOTS+LAG+s)*TILE*4]:f32 step(STRETCH, 1), slot[(LAG+s)*TILE*4]:f32 pstep(1, 0) size(128, TILE) dge=software queue=1 wait done[LAG+s]>=1 signal stored[LAG+s]+16
.endrepeat
.repeat s, SLOTS
semaphore wait stored[s]>=16
.endrepeat

.engine scalar
loop round count=ROUNDS
  .repeat s, SLOTS
  activation slot[s*TILE*4]:f32, slot[s*TILE*4]:f32 op0=silu imm1=1 p=128 size(TILE) wait loaded[s]>=16 signal done[s]+1
  .endrepeat
loop_end

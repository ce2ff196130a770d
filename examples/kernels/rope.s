; SPDX-License-Identifier: Apache-2.0
;
; Rotary position embedding, fp32: of each head, the halves a and b of its
; elements turn by an angle that belongs to the position.
;
;   out_a[p, h, j] = a[p, h, j] * cos[p, j] - b[p, h, j] * sin[p, j]
;   out_b[p, h, j] = b[p, h, j] * cos[p, j] + a[p, h, j] * sin[p, j]
;
; x is [POSITIONS, HEADS, 2*HALF], a position's heads side by side. A tile is 128
; positions, one a partition, and GROUP heads:
;
;   gpsimd   x -> slot, cos and sin -> angles                (HBM to SBUF)
;   scalar   angles -> PSUM, once for 128 positions          (SBUF to PSUM)
;   vector   six products and sums of half a tile            (SBUF and PSUM)
;   gpsimd   turned -> out; software descriptors             (SBUF to HBM)
;
; Vector takes a cycle for an element when one input lies in PSUM, and two when
; both lie in SBUF. So the angles stand in PSUM, and so does one product of each
; sum: 6 half tiles are 5.5 us, and the traffic of a tile, 7.7 us, is the limit.
; With everything in SBUF Vector would be, at 11 us.

.equ POSITIONS = 4096
.equ HEADS = 64
.equ HALF = 64
.equ GROUP = 16
.equ GROUPS = HEADS/GROUP
.equ HEAD = 2*HALF
.equ TILES = POSITIONS/128
.equ ROW = HEADS*HEAD*4                 ; bytes of a position
.equ SLOT = GROUP*HEAD*4                ; bytes of a position in a tile
.require POSITIONS % 128 == 0 && TILES > 1 "POSITIONS is a multiple of 128, at least 256"
.require HEADS % GROUP == 0 && HEADS > 0 "HEADS is a multiple of GROUP"
.require GROUP*HALF <= 1536 && GROUP*HALF >= 1 "two products and the angles do not fit PSUM; reduce GROUP"
.require GROUPS*SLOT*2 + HEAD*4 <= 180224 "the heads do not fit SBUF"

.target ibx2
.model "rope"

.entry main
.input  x f32[POSITIONS, HEADS, HEAD]
.input  cos f32[POSITIONS, HALF]
.input  sin f32[POSITIONS, HALF]
.output out f32[POSITIONS, HEADS, HEAD]
; Rates of ibx2: 16 DMA engines of 17 GB/s, Vector at 1.12 GHz.
.bounds flops=3*POSITIONS*HEADS*HEAD hbm_min_bytes=POSITIONS*(2*ROW + HEAD*4) hbm_ps=POSITIONS*(2*ROW + HEAD*4)*1000/272 engine_ps=TILES*HEADS*HEAD*3*100000/112

.buffer slot   sbuf bytes=GROUPS*SLOT
.buffer turned sbuf bytes=GROUPS*SLOT
.buffer angles sbuf bytes=HEAD*4        ; cos, then sin
.buffer angle  psum bytes=HEAD*4
.buffer first  psum bytes=GROUP*HALF*4
.buffer second psum bytes=GROUP*HALF*4

.semaphore angles_loaded
.semaphore angles_used                  ; Scalar has copied them
.semaphore angle_ready
.semaphore angle_used                   ; Vector has done with them
.semaphore loaded[GROUPS]
.semaphore used[GROUPS]
.semaphore ready[GROUPS]
.semaphore stored[GROUPS]

.register i 0                           ; 128 positions

.engine gpsimd
dma_copy angles:f32 pstep(1, 0), cos:f32 size(128, HALF) dge=software queue=0 signal angles_loaded+16
dma_copy angles[HALF*4]:f32 pstep(1, 0), sin:f32 size(128, HALF) dge=software queue=0 signal angles_loaded+16
.repeat g, GROUPS
dma_copy slot[g*SLOT]:f32 pstep(1, 0), x[g*SLOT]:f32 step(ROW/4, 1) size(128, GROUP*HEAD) dge=software queue=0 signal loaded[g]+16
.endrepeat
; The last tile loads nothing of a next one.
.repeat last, 2
loop i count=last + (1 - last)*(TILES - 1)
  .repeat more, 1 - last
  dma_copy angles:f32 pstep(1, 0), cos[128*HALF*4 + i*(128*HALF*4)]:f32 size(128, HALF) dge=software queue=0 wait angles_used>=1 signal angles_loaded+16
  dma_copy angles[HALF*4]:f32 pstep(1, 0), sin[128*HALF*4 + i*(128*HALF*4)]:f32 size(128, HALF) dge=software queue=0 signal angles_loaded+16
  .endrepeat
  .repeat g, GROUPS
  .repeat more, 1 - last
  dma_copy slot[g*SLOT]:f32 pstep(1, 0), x[128*ROW + g*SLOT + i*(128*ROW)]:f32 step(ROW/4, 1) size(128, GROUP*HEAD) dge=software queue=0 wait used[g]>=1 signal loaded[g]+16
  .endrepeat
  dma_copy out[last*(TILES - 1)*128*ROW + g*SLOT + i*(128*ROW)]:f32 step(ROW/4, 1), turned[g*SLOT]:f32 pstep(1, 0) size(128, GROUP*HEAD) dge=software queue=1 wait ready[g]>=1 signal stored[g]+16
  .endrepeat
loop_end
.endrepeat
semaphore wait angles_used>=1
.repeat g, GROUPS
semaphore wait used[g]>=1
.endrepeat

.engine scalar
loop i count=TILES
  semaphore wait angles_loaded>=32
  tensor_copy angle:f32, angles:f32 p=128 size(HEAD) wait angle_used>=1 signal angle_ready+1
  semaphore signal angles_used+1
loop_end
semaphore wait angle_used>=1

.engine vector
semaphore signal angle_used+1
.repeat g, GROUPS
semaphore signal stored[g]+16
.endrepeat
loop i count=TILES
  semaphore wait angle_ready>=1
  .repeat g, GROUPS
  semaphore wait stored[g]>=16
  ; a * cos and b * cos go to PSUM, b * sin and a * sin to their places in the
  ; result, where the sums follow. No instruction waits for the one before it.
  tensor_tensor first:f32,                              slot[g*SLOT]:f32 step(HEAD, 1),          angle:f32 step(0, 1)         op0=multiply p=128 size(GROUP, HALF) wait loaded[g]>=16
  tensor_tensor second:f32,                             slot[g*SLOT + HALF*4]:f32 step(HEAD, 1), angle:f32 step(0, 1)         op0=multiply p=128 size(GROUP, HALF)
  tensor_tensor turned[g*SLOT]:f32 step(HEAD, 1),          slot[g*SLOT + HALF*4]:f32 step(HEAD, 1), angle[HALF*4]:f32 step(0, 1) op0=multiply p=128 size(GROUP, HALF)
  tensor_tensor turned[g*SLOT + HALF*4]:f32 step(HEAD, 1), slot[g*SLOT]:f32 step(HEAD, 1),          angle[HALF*4]:f32 step(0, 1) op0=multiply p=128 size(GROUP, HALF) signal used[g]+1
  tensor_tensor turned[g*SLOT]:f32 step(HEAD, 1),          first:f32,  turned[g*SLOT]:f32 step(HEAD, 1)          op0=subtract p=128 size(GROUP, HALF)
  tensor_tensor turned[g*SLOT + HALF*4]:f32 step(HEAD, 1), second:f32, turned[g*SLOT + HALF*4]:f32 step(HEAD, 1) op0=add p=128 size(GROUP, HALF) signal ready[g]+1
  .endrepeat
  semaphore signal angle_used+1
loop_end
.repeat g, GROUPS
semaphore wait stored[g]>=16
.endrepeat

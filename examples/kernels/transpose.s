; SPDX-License-Identifier: Apache-2.0
;
; Transpose: y[c, r] = x[r, c], fp32, on the tensor engine.
;
; Memory likes long runs on both sides, and a row of x is a column of y. A block
; of 1024 x 2048 has runs of 8 KiB where it is read and of 4 KiB where it is
; written; in between, the array turns tiles of 128 x 128:
;
;   sync     a block of x -> one of two halves               (HBM to SBUF)
;   tensor   8 tiles of a column of the block -> two banks   (SBUF to PSUM)
;   vector   two banks -> a strip: 128 rows of y             (PSUM to SBUF)
;   scalar   strip -> y; Scalar only triggers the DMA        (SBUF to HBM)
;
; The traffic is the limit: 1.4 us to store a strip and as much to load it,
; against 1.1 us of Vector and 0.9 us of Tensor (fp32 takes two passes of the
; transpose mode). Strips leave one by one, so that the end is short. Moving
; single elements by DMA would take 16.8 million descriptors of 4 bytes: 8.6 ms.

.equ ROWS = 4096
.equ COLUMNS = 4096
.equ BLOCK_R = 1024
.equ BLOCK_C = 2048
.equ TILES = BLOCK_R/128                ; of a strip
.equ STRIPS = BLOCK_C/128               ; of a block
.equ PAIRS = 4                          ; of PSUM banks, a strip each
.require BLOCK_R % 128 == 0 && BLOCK_R > 0 && BLOCK_R <= 1024 "a strip has 1 to 8 tiles: two banks of PSUM"
.require BLOCK_C % (128*PAIRS) == 0 && BLOCK_C > 0 "a block has whole rounds of 4 strips"
.require ROWS % BLOCK_R == 0 && ROWS > 0 "ROWS is a multiple of BLOCK_R"
.require COLUMNS % (2*BLOCK_C) == 0 && COLUMNS > 0 "COLUMNS is a multiple of 2*BLOCK_C"
.require 2*TILES*BLOCK_C*4 + STRIPS*BLOCK_R*4 <= 212984 "two blocks and a block of strips do not fit SBUF"

.target ibx3
.model "transpose"

.entry main
.input  x f32[ROWS, COLUMNS]
.output y f32[COLUMNS, ROWS]
; Rates of ibx3: 16 DMA engines of 23 GB/s, Vector at 0.96 GHz.
.bounds hbm_min_bytes=8*ROWS*COLUMNS hbm_ps=8*ROWS*COLUMNS*1000/368 engine_ps=ROWS*COLUMNS/128*100000/96

.buffer block sbuf bytes=2*TILES*BLOCK_C*4 ; a half: TILES rows of tiles
.buffer strip sbuf bytes=STRIPS*BLOCK_R*4
.buffer acc   psum bytes=PAIRS*4096

.semaphore loaded[2]
.semaphore used[2]                      ; a half may be loaded again
.semaphore turned[PAIRS]
.semaphore drained[PAIRS]
.semaphore ready[STRIPS]
.semaphore stored[STRIPS]

.register i 0                           ; BLOCK_R rows of x
.register j 1                           ; 2*BLOCK_C columns of x

.engine sync
loop i count=ROWS/BLOCK_R
  loop j count=COLUMNS/(2*BLOCK_C)
    .repeat h, 2
    dma_copy block[h*TILES*BLOCK_C*4]:f32 step(BLOCK_C, 0, 1) pstep(0, 1, 0), x[i*(BLOCK_R*COLUMNS*4) + j*(2*BLOCK_C*4) + h*BLOCK_C*4]:f32 step(128*COLUMNS, COLUMNS, 1) size(TILES, 128, BLOCK_C) dge=hardware queue=0 wait used[h]>=1 signal loaded[h]+16
    .endrepeat
  loop_end
loop_end
.repeat h, 2
semaphore wait used[h]>=1
.endrepeat

.engine tensor
.repeat h, 2
semaphore signal used[h]+1
.endrepeat
loop i count=ROWS/BLOCK_R
  loop j count=COLUMNS/(2*BLOCK_C)
    .repeat h, 2
    semaphore wait loaded[h]>=16
    .repeat s, STRIPS
    .equ pair = s % PAIRS
    semaphore wait drained[pair]>=1
    .repeat t, TILES
    nc_transpose acc[pair*4096 + t*512]:f32, block[(h*TILES + t)*BLOCK_C*4 + s*512]:f32 p=128 size(128) columns=128
    .endrepeat
    semaphore signal turned[pair]+1
    .endrepeat
    semaphore signal used[h]+1
    .endrepeat
  loop_end
loop_end
.repeat pair, PAIRS
semaphore wait drained[pair]>=1
.endrepeat

.engine vector
.repeat pair, PAIRS
semaphore signal drained[pair]+1
.endrepeat
loop i count=ROWS/BLOCK_R
  loop j count=COLUMNS/(2*BLOCK_C)
    .repeat h, 2
    .repeat s, STRIPS
    .equ pair = s % PAIRS
    semaphore wait stored[s]>=16
    tensor_copy strip[s*BLOCK_R*4]:f32, acc[pair*4096]:f32 p=128 size(BLOCK_R) wait turned[pair]>=1 signal ready[s]+1
    semaphore signal drained[pair]+1
    .endrepeat
    .endrepeat
  loop_end
loop_end

.engine scalar
.repeat s, STRIPS
semaphore signal stored[s]+16
.endrepeat
loop i count=ROWS/BLOCK_R
  loop j count=COLUMNS/(2*BLOCK_C)
    .repeat h, 2
    .repeat s, STRIPS
    dma_copy y[j*(2*BLOCK_C*ROWS*4) + (h*BLOCK_C + s*128)*ROWS*4 + i*(BLOCK_R*4)]:f32 step(ROWS, 1), strip[s*BLOCK_R*4]:f32 pstep(1, 0) size(128, BLOCK_R) dge=hardware queue=1 wait ready[s]>=1 signal stored[s]+16
    .endrepeat
    .endrepeat
  loop_end
loop_end
.repeat s, STRIPS
semaphore wait stored[s]>=16
.endrepeat

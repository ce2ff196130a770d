; SPDX-License-Identifier: Apache-2.0
;
; Convolution 3x3 of 256 channels to 256 on ibx3, fp16 or, with -D TYPE=1, fp32.
;
;   out[o, y, x] = bias[o] + sum over i, dy, dx of
;                  w[o, i, dy, dx] x image[i, y + dy, x + dx]
;
; One image, no padding. The image is never unfolded: a tap (dy, dx) is an access
; pattern that starts dy rows and dx columns later, and 2 x 9 products (halves
; of the input channels, taps) accumulate in one bank of PSUM. A moving tensor is
; TILE_ROWS whole rows of results.
;
;   sync     weights, bias; stripes of the image: ROWS rows of results and the
;            two below, into one of two slots
;   tensor   turns the weights, 128 x 128 at a time: they come with output
;            channels on partitions and are wanted with input channels there;
;            then 18 products for each tile and half of the output channels
;   vector   results of the first half of the channels + bias -> stage
;   scalar   those of the second half; stores both halves of a stripe
;
; Stripes go in pairs, one for each slot; an odd one comes last.

.equ H = 224
.equ W = 224
.equ ROWS = 6                           ; of results in a stripe
.equ TILE_ROWS = 2                      ; of results in a bank
.equ TYPE = 3                           ; f16

.equ IS_F32 = TYPE == 1
.equ BYTES = 2 + 2*IS_F32
.equ PASSES = 1 + 3*IS_F32              ; of the array for a product
.equ OUT_H = H - 2
.equ OUT_W = W - 2
.equ STRIPES = OUT_H/ROWS
.equ PAIRS = STRIPES/2
.equ TILES = ROWS/TILE_ROWS             ; of a stripe
.equ PLANE = (ROWS + 2)*W*BYTES         ; a stripe, half of the channels
.equ STAGE = ROWS*OUT_W*BYTES
.equ TURNS = 16/BYTES                   ; turned blocks of weights in a bank
.equ GROUPS = (36 + TURNS - 1)/TURNS    ; banks of turned weights
.require OUT_H % ROWS == 0 && ROWS > 0 "stripes have ROWS rows of results each"
.require ROWS % TILE_ROWS == 0 && TILE_ROWS > 0 "a stripe has whole tiles"
.require TILES <= 4 "a stripe has at most four tiles, of two banks each"
.require TILE_ROWS*OUT_W <= 512 "a tile has at most 512 results"

.target ibx3
.model "conv3x3"

.entry main
.input  image TYPE[256, H, W]
.input  w     TYPE[256, 256, 3, 3]
.input  bias  TYPE[256]
.output out   TYPE[256, OUT_H, OUT_W]
.bounds flops=2*256*256*9*OUT_H*OUT_W tensor_ps=36*OUT_H*OUT_W*PASSES*10000/24 hbm_min_bytes=256*BYTES*(H*W + 2304 + 1 + OUT_H*OUT_W) hbm_ps=256*BYTES*(H*W + 2304 + 1 + OUT_H*OUT_W)*1000/368 engine_ps=36*OUT_H*OUT_W*PASSES*10000/24

.buffer rough sbuf bytes=2*2304*BYTES   ; weights as they come
.buffer taps  sbuf bytes=36*128*BYTES   ; [o half, i half, tap, o]
.buffer shift sbuf bytes=8              ; bias of both halves, fp32
.buffer rows  sbuf bytes=2*2*PLANE      ; [slot, i half, row, x]
.buffer low   sbuf bytes=2*STAGE        ; results of channels 0 to 127
.buffer high  sbuf bytes=2*STAGE        ; and 128 to 255
.buffer acc   psum bytes=8*2048

.semaphore w_loaded[2]
.semaphore bias_loaded
.semaphore turned[2]                    ; to vector, to scalar
.semaphore taken[2]                     ; from them
.semaphore bias_known
.semaphore loaded[2]
.semaphore free[2]
.semaphore done[8]
.semaphore drained[8]
.semaphore staged
.semaphore low_stored[2]
.semaphore high_stored[2]

.register s 0

.engine sync
.repeat o, 2
dma_copy rough[o*2304*BYTES]:TYPE step(0, 1) pstep(1, 0), w[o*128*2304*BYTES]:TYPE size(128, 2304) dge=static queue=0 signal w_loaded[o]+16
.endrepeat
.repeat part, 2
.repeat is_there, PAIRS > 0 && part == 0 || STRIPES % 2 && part == 1
loop s count=PAIRS*(1 - part) + part
  .repeat h, 2 - part
  dma_copy rows[h*2*PLANE]:TYPE step((ROWS + 2)*W, 0, 1) pstep(0, 1, 0), image[(2*s + 2*PAIRS*part + h)*(ROWS*W*BYTES)]:TYPE step(128*H*W, H*W, 1) size(2, 128, (ROWS + 2)*W) dge=hardware queue=1 wait free[h]>=1 signal loaded[h]+16
  .endrepeat
loop_end
.endrepeat
.endrepeat
.repeat h, 2
semaphore wait free[h]>=1               ; as at the start
.endrepeat

.engine gpsimd
dma_copy shift:f32 step(1, 0) pstep(0, 1), bias:TYPE size(2, 128) dge=static queue=2 signal bias_loaded+16

.engine tensor
.repeat h, 2
semaphore signal free[h]+1
.endrepeat
; Block j of the turned weights: half j / 18 of the output channels, half
; j / 9 % 2 of the input channels, tap j % 9.
.repeat g, GROUPS
.repeat is_again, g >= 8
semaphore wait taken[g % 2]>=1
.endrepeat
.repeat i, TURNS
.repeat is_there, g*TURNS + i < 36
.repeat is_first, (g*TURNS + i) % 18 == 0
semaphore wait w_loaded[(g*TURNS + i)/18]>=16
.endrepeat
nc_transpose acc[g % 8*2048 + i*128*BYTES]:TYPE, rough[((g*TURNS + i)/9*1152 + (g*TURNS + i) % 9)*BYTES]:TYPE step(9) p=128 size(128) columns=128
.endrepeat
.endrepeat
semaphore signal turned[g % 2]+1
.endrepeat
semaphore wait taken[0]>=(GROUPS + 1)/2 - (GROUPS > 8)
semaphore wait taken[1]>=GROUPS/2
.repeat part, 2
.repeat is_there, PAIRS > 0 && part == 0 || STRIPES % 2 && part == 1
loop s count=PAIRS*(1 - part) + part
  .repeat h, 2 - part
  semaphore wait loaded[h]>=16
  .repeat t, TILES
  .repeat o, 2
  .repeat i, 2
  .repeat tap, 9
  load_stationary taps[((o*2 + i)*9 + tap)*128*BYTES]:TYPE p=128 size(128) columns=128
  .repeat is_first, i + tap == 0
  multiply_moving acc[(2*t + o)*2048]:f32, rows[(2*h + i)*PLANE + (t*TILE_ROWS + tap/3)*W*BYTES + tap % 3*BYTES]:TYPE step(W, 1) p=128 size(TILE_ROWS, OUT_W) columns=128 wait drained[2*t + o]>=1
  .endrepeat
  .repeat is_inside, i + tap > 0 && i*9 + tap < 17
  multiply_moving acc[(2*t + o)*2048]:f32, rows[(2*h + i)*PLANE + (t*TILE_ROWS + tap/3)*W*BYTES + tap % 3*BYTES]:TYPE step(W, 1) p=128 size(TILE_ROWS, OUT_W) columns=128 accumulate
  .endrepeat
  .repeat is_last, i*9 + tap == 17
  multiply_moving acc[(2*t + o)*2048]:f32, rows[(2*h + i)*PLANE + (t*TILE_ROWS + tap/3)*W*BYTES + tap % 3*BYTES]:TYPE step(W, 1) p=128 size(TILE_ROWS, OUT_W) columns=128 accumulate group_end signal done[2*t + o]+1
  .endrepeat
  .endrepeat
  .endrepeat
  .endrepeat
  .endrepeat
  semaphore signal free[h]+1
  .endrepeat
loop_end
.endrepeat
.endrepeat
.repeat b, 2*TILES
semaphore wait drained[b]>=1
.endrepeat

.engine vector
.repeat g, GROUPS
.repeat is_ours, g % 2 == 0
.equ COUNT = 128*TURNS - (g == GROUPS - 1)*128*(GROUPS*TURNS - 36)
tensor_copy taps[g*TURNS*128*BYTES]:TYPE, acc[g % 8*2048]:TYPE p=128 size(COUNT) wait turned[0]>=1 signal taken[0]+1
.endrepeat
.endrepeat
semaphore wait bias_loaded>=16 signal bias_known+1
.repeat t, TILES
semaphore signal drained[2*t]+1
.endrepeat
.repeat part, 2
.repeat is_there, PAIRS > 0 && part == 0 || STRIPES % 2 && part == 1
loop s count=PAIRS*(1 - part) + part
  .repeat h, 2 - part
  semaphore wait low_stored[h]>=16
  .repeat t, TILES
  tensor_scalar low[h*STAGE + t*TILE_ROWS*OUT_W*BYTES]:TYPE, acc[2*t*2048]:f32, shift op0=add p=128 size(TILE_ROWS*OUT_W) wait done[2*t]>=1 signal drained[2*t]+1
  .endrepeat
  semaphore signal staged+1
  .endrepeat
loop_end
.endrepeat
.endrepeat

.engine scalar
.repeat g, GROUPS
.repeat is_ours, g % 2
.equ COUNT = 128*TURNS - (g == GROUPS - 1)*128*(GROUPS*TURNS - 36)
tensor_copy taps[g*TURNS*128*BYTES]:TYPE, acc[g % 8*2048]:TYPE p=128 size(COUNT) wait turned[1]>=1 signal taken[1]+1
.endrepeat
.endrepeat
semaphore wait bias_known>=1
.repeat t, TILES
semaphore signal drained[2*t + 1]+1
.endrepeat
.repeat h, 2
semaphore signal low_stored[h]+16
semaphore signal high_stored[h]+16
.endrepeat
.repeat part, 2
.repeat is_there, PAIRS > 0 && part == 0 || STRIPES % 2 && part == 1
loop s count=PAIRS*(1 - part) + part
  .repeat h, 2 - part
  semaphore wait high_stored[h]>=16
  .repeat t, TILES
  activation high[h*STAGE + t*TILE_ROWS*OUT_W*BYTES]:TYPE, acc[(2*t + 1)*2048]:f32, shift[4] op0=copy imm1=1 p=128 size(TILE_ROWS*OUT_W) wait done[2*t + 1]>=1 signal drained[2*t + 1]+1
  .endrepeat
  dma_copy out[(2*s + 2*PAIRS*part + h)*STAGE]:TYPE step(OUT_H*OUT_W, 1), low[h*STAGE]:TYPE step(0, 1) pstep(1, 0) size(128, ROWS*OUT_W) dge=hardware queue=3 wait staged>=1 signal low_stored[h]+16
  dma_copy out[(2*s + 2*PAIRS*part + h)*STAGE + 128*OUT_H*OUT_W*BYTES]:TYPE step(OUT_H*OUT_W, 1), high[h*STAGE]:TYPE step(0, 1) pstep(1, 0) size(128, ROWS*OUT_W) dge=hardware queue=3 signal high_stored[h]+16
  .endrepeat
loop_end
.endrepeat
.endrepeat
.repeat h, 2
semaphore wait low_stored[h]>=16
semaphore wait high_stored[h]>=16
.endrepeat

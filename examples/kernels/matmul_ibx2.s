; SPDX-License-Identifier: Apache-2.0
;
; Matrix product on ibx2: bf16 or, with -D TYPE=1, fp32.
;
;   out[M,N] = lhsT[K,M]^T x rhs[K,N], summed in fp32
;
; A panel of lhsT, WIDTH columns and all of K, stays in SBUF while the whole of
; rhs passes by in chunks of 1024 x 512; the next panel arrives meanwhile:
;
;   gpsimd   lhsT[k chunk, WIDTH columns] -> panel, paced by the tensor engine
;   sync     rhs[k chunk, n tile] 1024 x 512 -> one of SLOTS slots
;   tensor   ROWS banks += 8 tiles of K x ROWS tiles of 128, for each chunk
;   vector   ROWS banks -> stage                        (PSUM to SBUF)
;   scalar   stage -> out[m panel, n tile] WIDTH x 512
;
; Each moving tile of 128 x 512 meets ROWS stationary ones, whose loads hide
; behind the products before them. Two sets of banks take turns, so that Vector
; empties one while the tensor engine fills the other.
;
; ibx2 has no hardware descriptors: the rings of all DMAs lie in HBM, made
; before the run. Their addresses follow no loop register, so what has an
; address of its own is an instruction of its own; rhs is the same for every
; panel and stands in a loop.
;
; An fp32 panel of 512 columns would not fit twice: -D WIDTH=256.

.equ M = 4096
.equ K = 8192
.equ N = 8192
.equ TYPE = 2                           ; bf16
.equ WIDTH = 512
.equ SLOTS = 4

.equ IS_F32 = TYPE == 1
.equ BYTES = 2 + 2*IS_F32
.equ PASSES = 1 + 3*IS_F32              ; of the array for a product
.equ ROWS = WIDTH/128
.equ CHUNKS = K/1024
.equ TILES = N/512
.equ CHUNK = 8*WIDTH*BYTES              ; bytes a partition
.equ SLOT = 8*512*BYTES
.equ STAGE = ROWS*512*BYTES
.require WIDTH == 512 || WIDTH == 256 || WIDTH == 128 "a panel has 128, 256 or 512 columns"
.require M % (2*WIDTH) == 0 && M > 0 "M is a multiple of two panels"
.require K % 1024 == 0 && K > 0 "K is a multiple of 1024"
.require N % 1024 == 0 && N >= 2048 "N is a multiple of 1024, at least 2048"
.require 2*CHUNKS % SLOTS == 0 "two passes over K end with the last slot"

.target ibx2
.model "matmul"

.entry main
.input  lhsT TYPE[K, M]
.input  rhs  TYPE[K, N]
.output out  TYPE[M, N]
.bounds flops=2*M*N*K tensor_ps=M/128*(K/128)*N*PASSES*10000/28 hbm_min_bytes=BYTES*(M*K+K*N+M*N) hbm_ps=BYTES*(M*K+K*N+M*N)*1000/272 engine_ps=M/128*(K/128)*N*PASSES*10000/28

.buffer panel sbuf bytes=2*CHUNKS*CHUNK
.buffer mov   sbuf bytes=SLOTS*SLOT
.buffer stage sbuf bytes=2*STAGE
.buffer acc   psum bytes=2*ROWS*2048

.semaphore panel_loaded[2*CHUNKS]
.semaphore pace                         ; room in the other panel, in shares
.semaphore mov_loaded[SLOTS]
.semaphore mov_free[SLOTS]
.semaphore done[2]                      ; a set of banks holds results
.semaphore drained[2]                   ; a set of banks may be written again
.semaphore staged[2]                    ; a half of the stage is full
.semaphore stored[2]                    ; a half of the stage may be written

.register m 0                           ; panels
.register n 1                           ; two tiles of N

; A panel but the first two comes when the one that lay there is gone. So that
; its loads do not stand in the way of rhs, the tensor engine hands out CHUNKS
; shares after every two tiles of N, and a chunk takes TILES/2 of them.
.engine gpsimd
.repeat b, M/WIDTH
.repeat c, CHUNKS
.repeat is_paced, b > 0
semaphore wait pace>=TILES/2
.endrepeat
dma_copy panel[(b % 2*CHUNKS + c)*CHUNK]:TYPE step(WIDTH, 0, 1) pstep(0, 1, 0), lhsT[b*(WIDTH*BYTES) + c*(1024*M*BYTES)]:TYPE step(128*M, M, 1) size(8, 128, WIDTH) dge=static queue=0 signal panel_loaded[b % 2*CHUNKS + c]+16
.endrepeat
.endrepeat
semaphore wait pace>=CHUNKS*(TILES/2)   ; as at the start

.engine sync
loop m count=M/WIDTH
  .repeat t, TILES
  .repeat c, CHUNKS
  dma_copy mov[(t*CHUNKS + c) % SLOTS*SLOT]:TYPE step(512, 0, 1) pstep(0, 1, 0), rhs[t*(512*BYTES) + c*(1024*N*BYTES)]:TYPE step(128*N, N, 1) size(8, 128, 512) dge=static queue=1 wait mov_free[(t*CHUNKS + c) % SLOTS]>=1 signal mov_loaded[(t*CHUNKS + c) % SLOTS]+16
  .endrepeat
  .endrepeat
loop_end
.repeat s, SLOTS
semaphore wait mov_free[s]>=1
.endrepeat

.engine tensor
.repeat s, SLOTS
semaphore signal mov_free[s]+1
.endrepeat
loop m count=M/(2*WIDTH)
  .repeat side, 2
  ; The first two tiles of N also wait for the panel.
  .repeat is_rest, 2
  loop n count=1 + is_rest*(TILES/2 - 2)
    .repeat h, 2
    semaphore wait drained[h]>=1
    .repeat c, CHUNKS
    .repeat is_first, h == 0 && is_rest == 0
    semaphore wait panel_loaded[side*CHUNKS + c]>=16
    .endrepeat
    semaphore wait mov_loaded[(h*CHUNKS + c) % SLOTS]>=16
    .repeat k, 8
    .repeat i, ROWS
    load_stationary panel[(side*CHUNKS + c)*CHUNK + (k*WIDTH + i*128)*BYTES]:TYPE p=128 size(128) columns=128
    .repeat is_inside, k < 7 || i < ROWS - 1
    multiply_moving acc[(ROWS*h + i)*2048]:f32, mov[(h*CHUNKS + c) % SLOTS*SLOT + k*(512*BYTES)]:TYPE p=128 size(512) columns=128 accumulate=c + k > 0 group_end=c == CHUNKS - 1 && k == 7
    .endrepeat
    .endrepeat
    .endrepeat
    ; The last product of the chunk.
    multiply_moving acc[(ROWS*h + ROWS - 1)*2048]:f32, mov[(h*CHUNKS + c) % SLOTS*SLOT + 7*(512*BYTES)]:TYPE p=128 size(512) columns=128 accumulate group_end=c == CHUNKS - 1 signal mov_free[(h*CHUNKS + c) % SLOTS]+1
    .endrepeat
    semaphore signal done[h]+1
    .endrepeat
    semaphore signal pace+CHUNKS
  loop_end
  .endrepeat
  .endrepeat
loop_end
.repeat h, 2
semaphore wait drained[h]>=1
.endrepeat

.engine vector
.repeat h, 2
semaphore signal drained[h]+1
.endrepeat
loop m count=M/WIDTH
  loop n count=TILES/2
    .repeat h, 2
    semaphore wait stored[h]>=16
    semaphore wait done[h]>=1
    .repeat i, ROWS
    tensor_copy stage[h*STAGE + i*(512*BYTES)]:TYPE, acc[(ROWS*h + i)*2048]:f32 p=128 size(512)
    .endrepeat
    semaphore signal drained[h]+1
    semaphore signal staged[h]+1
    .endrepeat
  loop_end
loop_end

.engine scalar
.repeat h, 2
semaphore signal stored[h]+16
.endrepeat
.repeat b, M/WIDTH
.repeat t, TILES
dma_copy out[b*(WIDTH*N*BYTES) + t*(512*BYTES)]:TYPE step(128*N, N, 1), stage[t % 2*STAGE]:TYPE step(512, 0, 1) pstep(0, 1, 0) size(ROWS, 128, 512) dge=static queue=2 wait staged[t % 2]>=1 signal stored[t % 2]+16
.endrepeat
.endrepeat
.repeat h, 2
semaphore wait stored[h]>=16
.endrepeat

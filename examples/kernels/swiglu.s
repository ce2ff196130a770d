; SPDX-License-Identifier: Apache-2.0
;
; SwiGLU, the feed-forward block of a decoder, fp32: three matrix products.
;
;   h[m, f] = silu(sum over k of x[m, k] * gate[k, f])
;                * (sum over k of x[m, k] * up[k, f])
;   out[m, n] = sum over f of h[m, f] * down[f, n]
;
; The weights do not fit SBUF, so they pass by once for every block of 512 rows,
; in pieces of 2 MiB that are all alike to a ring of three slots: 512 columns of
; gate, 512 columns of up, ..., then 512 rows of down. The first two products
; make h^T, with f on partitions, which is what the third one needs; only x has
; to be turned.
;
;   gpsimd   x, pieces of weights -> SBUF, result -> out; software descriptors
;   vector   xt = x^T, in blocks of 32 x 32                   (SBUF to SBUF)
;   tensor   gate piece: four tiles of f into banks 0 to 3    (SBUF to PSUM)
;   scalar   gated = silu(banks 0 to 3)                       (PSUM to SBUF)
;   tensor   up piece: four tiles of f into banks 4 to 7
;   vector   h = gated * banks 4 to 7                         (PSUM and SBUF to SBUF)
;   tensor   down pieces: four tiles of m, two halves of n, in all eight banks
;   scalar   result = the banks                               (PSUM to SBUF)
;
; The tensor engine is the limit: 23.4 us a piece, which memory delivers in 8.2,
; and 421 us a block. It waits for nobody after the first rows: a bank that it
; comes back to was emptied while it filled others.

.equ M = 4096
.equ HIDDEN = 1024
.equ INNER = 3072
.equ BLOCKS = M/512
.equ GROUPS = INNER/512                 ; pieces of gate, of up, and of down
.equ TILES = HIDDEN/128
.equ PIECE = 16384
.require M % 512 == 0 && BLOCKS > 1 "M is a multiple of 512, at least 1024"
.require HIDDEN == 1024 "HIDDEN is 1024: four tiles of rows fill PSUM"
.require INNER % 512 == 0 && GROUPS > 0 && GROUPS <= 7 "INNER is a multiple of 512 up to 3584: h stays in SBUF"

.target ibx2
.model "swiglu"

.entry main
.input  x f32[M, HIDDEN]
.input  gate f32[HIDDEN, INNER]
.input  up f32[HIDDEN, INNER]
.input  down f32[INNER, HIDDEN]
.output out f32[M, HIDDEN]
; Rates of ibx2: Tensor at 2.8 GHz, 16 DMA engines of 17 GB/s.
.bounds flops=6*M*HIDDEN*INNER tensor_ps=3*M/128*TILES*INNER*4*10000/28 hbm_min_bytes=4*(2*M*HIDDEN + 3*HIDDEN*INNER) hbm_ps=4*(2*M*HIDDEN + 3*HIDDEN*INNER)*1000/272 engine_ps=3*M/128*TILES*INNER*4*10000/28

.buffer rows   sbuf bytes=4*HIDDEN*4
.buffer xt     sbuf bytes=TILES*2048    ; 512 columns a tile of k
.buffer ring   sbuf bytes=3*PIECE       ; 8 x 512 or 4 x 1024 columns
.buffer gated  sbuf bytes=4*2048
.buffer h      sbuf bytes=4*GROUPS*2048 ; 512 columns a tile of f
.buffer result sbuf bytes=4*HIDDEN*4
.buffer acc    psum bytes=8*2048

.semaphore x_loaded[4]
.semaphore x_used[4]
.semaphore xt_ready
.semaphore xt_used
.semaphore loaded[3]                    ; of a slot of the ring
.semaphore used[3]
.semaphore filled[8]                    ; of a bank
.semaphore free[8]
.semaphore gated_ready[4]
.semaphore gated_used[4]
.semaphore h_ready
.semaphore h_used
.semaphore result_ready[4]
.semaphore stored[4]

.register block 0                       ; 512 rows

.engine gpsimd
.repeat i, 4
dma_copy rows[i*HIDDEN*4]:f32 pstep(1, 0), x[i*128*HIDDEN*4]:f32 size(128, HIDDEN) dge=software queue=0 signal x_loaded[i]+16
.endrepeat
; The first block stores nothing of one before, the last loads no rows of a next.
.repeat part, 3
.repeat any, part != 1 || BLOCKS > 2
loop block count=(part != 1) + (part == 1)*(BLOCKS - 2)
  .repeat piece, 2*GROUPS
  .repeat is_gate, piece % 2 == 0
  dma_copy ring[piece%3*PIECE]:f32 step(512, 0, 1) pstep(0, 1, 0), gate[piece/2*2048]:f32 step(128*INNER, INNER, 1) size(TILES, 128, 512) dge=software queue=1 wait used[piece%3]>=1 signal loaded[piece%3]+16
  .endrepeat
  .repeat is_up, piece % 2
  dma_copy ring[piece%3*PIECE]:f32 step(512, 0, 1) pstep(0, 1, 0), up[piece/2*2048]:f32 step(128*INNER, INNER, 1) size(TILES, 128, 512) dge=software queue=1 wait used[piece%3]>=1 signal loaded[piece%3]+16
  .endrepeat
  ; Behind the first two pieces, what is due since the block before.
  .repeat i, 4*(piece == 1)
  .repeat before, part > 0
  dma_copy out[(part == 2)*(BLOCKS - 2)*512*HIDDEN*4 + i*128*HIDDEN*4 + block*(512*HIDDEN*4)]:f32 step(HIDDEN, 1), result[i*HIDDEN*4]:f32 pstep(1, 0) size(128, HIDDEN) dge=software queue=2 wait result_ready[i]>=1 signal stored[i]+16
  .endrepeat
  .repeat next, part < 2
  dma_copy rows[i*HIDDEN*4]:f32 pstep(1, 0), x[(1 + (part == 1))*512*HIDDEN*4 + i*128*HIDDEN*4 + block*(512*HIDDEN*4)]:f32 size(128, HIDDEN) dge=software queue=0 wait x_used[i]>=1 signal x_loaded[i]+16
  .endrepeat
  .endrepeat
  .endrepeat
  .repeat g, GROUPS
  .equ slot = (2*GROUPS + g) % 3
  dma_copy ring[slot*PIECE]:f32 step(HIDDEN, 0, 1) pstep(0, 1, 0), down[g*512*HIDDEN*4]:f32 step(128*HIDDEN, HIDDEN, 1) size(4, 128, HIDDEN) dge=software queue=1 wait used[slot]>=1 signal loaded[slot]+16
  .endrepeat
loop_end
.endrepeat
.endrepeat
.repeat i, 4
dma_copy out[(BLOCKS - 1)*512*HIDDEN*4 + i*128*HIDDEN*4]:f32 step(HIDDEN, 1), result[i*HIDDEN*4]:f32 pstep(1, 0) size(128, HIDDEN) dge=software queue=2 wait result_ready[i]>=1 signal stored[i]+16
.endrepeat
.repeat i, 4
semaphore wait stored[i]>=16
semaphore wait x_used[i]>=1
.endrepeat
.repeat s, 3
semaphore wait used[s]>=1
.endrepeat

.engine vector
.repeat c, 4
semaphore signal gated_used[c]+1
semaphore signal free[4 + c]+1
.endrepeat
loop block count=BLOCKS
  semaphore wait xt_used>=1
  .repeat i, 4
  semaphore wait x_loaded[i]>=16
  .repeat k, TILES
  .repeat a, 4                          ; 32 rows of x
  .repeat b, 4                          ; 32 columns
  vector_transpose xt@(b*32)[k*2048 + i*512 + a*128]:f32, rows@(a*32)[i*HIDDEN*4 + k*512 + b*128]:f32 p=32 size(32)
  .endrepeat
  .endrepeat
  .endrepeat
  semaphore signal x_used[i]+1
  .endrepeat
  semaphore signal xt_ready+1
  semaphore wait h_used>=1
  .repeat f, 4*GROUPS
  .equ c = f % 4
  semaphore wait gated_ready[c]>=1
  tensor_tensor h[f*2048]:f32, acc[(4 + c)*2048]:f32, gated[c*2048]:f32 op0=multiply p=128 size(512) wait filled[4 + c]>=1 signal h_ready+1
  semaphore signal gated_used[c]+1
  semaphore signal free[4 + c]+1
  .endrepeat
loop_end
semaphore wait xt_used>=1
semaphore wait h_used>=1

.engine scalar
.repeat i, 4
semaphore signal stored[i]+16
semaphore signal free[i]+1
.endrepeat
loop block count=BLOCKS
  .repeat f, 4*GROUPS
  .equ c = f % 4
  semaphore wait gated_used[c]>=1
  activation gated[c*2048]:f32, acc[c*2048]:f32 op0=silu imm1=1 p=128 size(512) wait filled[c]>=1 signal gated_ready[c]+1
  semaphore signal free[c]+1
  .endrepeat
  .repeat i, 4
  semaphore wait stored[i]>=16
  semaphore wait filled[2*i]>=1
  activation result[i*HIDDEN*4]:f32, acc[i*4096]:f32 op0=copy imm1=1 p=128 size(HIDDEN) wait filled[2*i + 1]>=1 signal result_ready[i]+1
  semaphore signal free[2*i]+1
  semaphore signal free[2*i + 1]+1
  .endrepeat
loop_end
.repeat c, 4
semaphore wait gated_used[c]>=1
.endrepeat

.engine tensor
.repeat s, 3
semaphore signal used[s]+1
.endrepeat
semaphore signal xt_used+1
semaphore signal h_used+1
loop block count=BLOCKS
  semaphore wait xt_ready>=1
  ; A piece of gate, then one of up: four tiles of f, each in its bank.
  .repeat piece, 2*GROUPS
  .equ slot = piece % 3
  semaphore wait loaded[slot]>=16
  .repeat c, 4
  .equ bank = piece % 2*4 + c
  load_stationary ring[slot*PIECE + c*512]:f32 p=128 size(128) columns=128 wait free[bank]>=1
  multiply_moving acc[bank*2048]:f32, xt:f32 p=128 size(512) columns=128
  .repeat k, TILES - 2
  load_stationary ring[slot*PIECE + (k + 1)*2048 + c*512]:f32 p=128 size(128) columns=128
  multiply_moving acc[bank*2048]:f32, xt[(k + 1)*2048]:f32 p=128 size(512) columns=128 accumulate
  .endrepeat
  load_stationary ring[slot*PIECE + (TILES - 1)*2048 + c*512]:f32 p=128 size(128) columns=128
  multiply_moving acc[bank*2048]:f32, xt[(TILES - 1)*2048]:f32 p=128 size(512) columns=128 accumulate group_end signal filled[bank]+1
  .endrepeat
  semaphore signal used[slot]+1
  .endrepeat
  semaphore signal xt_used+1
  ; The pieces of down add to all eight banks: tile i of rows, half j of n.
  .repeat g, GROUPS
  .equ slot = (2*GROUPS + g) % 3
  semaphore wait loaded[slot]>=16
  semaphore wait h_ready>=4
  .repeat i, 4
  .repeat j, 2
  .equ bank = 2*i + j
  .repeat first, g == 0
  semaphore wait free[bank]>=1
  .endrepeat
  .repeat f, 4
  load_stationary h[(4*g + f)*2048 + i*512]:f32 p=128 size(128) columns=128
  multiply_moving acc[bank*2048]:f32, ring[slot*PIECE + f*4096 + j*2048]:f32 p=128 size(512) columns=128 accumulate=g + f > 0 group_end=g == GROUPS - 1 && f == 3
  .endrepeat
  .repeat last, g == GROUPS - 1
  semaphore signal filled[bank]+1
  .endrepeat
  .endrepeat
  .endrepeat
  semaphore signal used[slot]+1
  .endrepeat
  semaphore signal h_used+1
loop_end
.repeat bank, 8
semaphore wait free[bank]>=1
.endrepeat

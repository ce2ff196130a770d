; SPDX-License-Identifier: Apache-2.0
;
; A matrix product, a residual and an RMS norm of the sum, fp32.
;
;   sum[m, n] = sum over k of x[m, k] * w[k, n] + residual[m, n]
;   out[m, n] = sum[m, n] * gain[n] / sqrt(mean over n of sum[m, n]^2 + 1e-6)
;
; w fills three quarters of SBUF and stays there; rows of x come in tiles of 128,
; half of k at a time. A tile of results has four of the eight PSUM banks, so the
; array works on one tile while the other engines finish the one before:
;
;   sync     w, gain, the first residuals -> SBUF             (HBM to SBUF)
;   gpsimd   x -> rows, residual -> result, result -> out     (HBM to SBUF to HBM)
;   vector   xt = x^T, in blocks of 32 x 32                   (SBUF to SBUF)
;   tensor   acc = xt^T x w: K/128 tiles into four banks      (SBUF to PSUM)
;   vector   result += acc                                    (PSUM and SBUF)
;   scalar   root = 1 / sqrt(mean of result^2 + 1e-6)         (SBUF)
;   vector   result = (result * root) * gain                  (SBUF)
;
; The squares go to the banks that were just read; nobody reads them, and SBUF
; has no room for them. The tensor engine is the limit: 46.8 us a tile, against
; 20.1 us of Vector. In the first tile it waits for w, 62 us.

.equ M = 4096
.equ K = 2048
.equ N = 2048
.equ PAIRS = M/256
.equ TILES = K/128
.equ ROW = N*4
.equ AHEAD = 4
.require M % 256 == 0 && PAIRS > 1 "M is a multiple of 256, at least 512"
.require K % 256 == 0 && K > 0 && K <= 2048 "K is a multiple of 256 up to 2048: w stays in SBUF"
.require N == 2048 "N is 2048: four banks of PSUM"

.target ibx2
.model "matmul_add_rms_norm"

.entry main
.input  x f32[M, K]
.input  w f32[K, N]
.input  residual f32[M, N]
.input  gain f32[N]
.output out f32[M, N]
; Rates of ibx2: Tensor at 2.8 GHz, 16 DMA engines of 17 GB/s.
.bounds flops=2*M*N*K tensor_ps=M/128*TILES*N*4*10000/28 hbm_min_bytes=4*(M*K + K*N + 2*M*N + N) hbm_ps=4*(M*K + K*N + 2*M*N + N)*1000/272 engine_ps=M/128*TILES*N*4*10000/28

; Tile t of a pair has half t of xt, of result and of PSUM.
.buffer weights sbuf bytes=TILES*ROW
.buffer gains   sbuf bytes=ROW
.buffer rows    sbuf bytes=K*2           ; half of k
.buffer xt      sbuf bytes=2*TILES*512   ; 128 columns a tile of k
.buffer result  sbuf bytes=2*ROW
.buffer sum     sbuf bytes=2*4
.buffer epsilon sbuf bytes=4             ; a constant bias of ibx2 is 0
.buffer root    sbuf bytes=2*4
.buffer acc     psum bytes=2*ROW

.semaphore epsilon_set
.semaphore gain_loaded
.semaphore w_loaded[TILES]
.semaphore w_taken
.semaphore x_loaded
.semaphore x_used
.semaphore xt_ready[2]                   ; 1 a tile of k
.semaphore xt_used[2]
.semaphore residual_loaded[2]
.semaphore done[2]
.semaphore drained[2]
.semaphore added[2]
.semaphore rooted[2]
.semaphore ready[2]
.semaphore stored[2]

.register pair 0                         ; 256 rows

; What happens once has its descriptors ready in memory. Only AHEAD tiles of w are
; under way at a time, as rows of x must not queue behind all of them.
.engine sync
.repeat k, TILES
.repeat late, k >= AHEAD
semaphore wait w_taken>=1
.endrepeat
dma_copy weights[k*ROW]:f32 pstep(1, 0), w[k*128*ROW]:f32 size(128, N) dge=static queue=1 signal w_loaded[k]+16
.endrepeat
.repeat t, 2
dma_copy result[t*ROW]:f32 pstep(1, 0), residual[t*128*ROW]:f32 size(128, N) dge=static queue=0 signal residual_loaded[t]+16
.endrepeat
dma_copy gains:f32 pstep(1, 0), gain:f32 step(0, 1) size(128, N) dge=static queue=0 signal gain_loaded+16

.engine gpsimd
.repeat t, 2
.repeat h, 2
dma_copy rows:f32 pstep(1, 0), x[t*128*K*4 + h*K*2]:f32 step(K, 1) size(128, K/2) dge=software queue=0 wait x_used>=1 signal x_loaded+16
.endrepeat
.endrepeat
; The last pair loads nothing of a next one.
.repeat last, 2
loop pair count=last + (1 - last)*(PAIRS - 1)
  .repeat t, 2
  .repeat more, 1 - last
  dma_copy rows:f32 pstep(1, 0), x[(2 + t)*128*K*4 + pair*(256*K*4)]:f32 step(K, 1) size(128, K/2) dge=software queue=0 wait x_used>=1 signal x_loaded+16
  .endrepeat
  dma_copy out[last*(PAIRS - 1)*256*ROW + t*128*ROW + pair*(256*ROW)]:f32 step(N, 1), result[t*ROW]:f32 pstep(1, 0) size(128, N) dge=software queue=2 wait ready[t]>=1 signal stored[t]+16
  .repeat more, 1 - last
  dma_copy rows:f32 pstep(1, 0), x[(2 + t)*128*K*4 + K*2 + pair*(256*K*4)]:f32 step(K, 1) size(128, K/2) dge=software queue=0 wait x_used>=1 signal x_loaded+16
  dma_copy result[t*ROW]:f32 pstep(1, 0), residual[(2 + t)*128*ROW + pair*(256*ROW)]:f32 size(128, N) dge=software queue=0 wait stored[t]>=16 signal residual_loaded[t]+16
  .endrepeat
  .endrepeat
loop_end
.endrepeat
.repeat t, 2
semaphore wait stored[t]>=16
.endrepeat
semaphore wait x_used>=1

.engine vector
memset epsilon:f32 imm0=1e-6 p=128 size(1) signal epsilon_set+1
; Tiles are turned two ahead of the one that is finished: first two, then one
; behind each.
semaphore signal x_used+1
.repeat part, 3
loop pair count=(part != 1) + (part == 1)*(PAIRS - 1)
  .repeat t, 2
  .repeat finish, part > 0
  semaphore wait residual_loaded[t]>=16
  tensor_tensor result[t*ROW]:f32, acc[t*ROW]:f32, result[t*ROW]:f32 op0=add p=128 size(N) wait done[t]>=1 signal added[t]+1
  scalar_tensor_tensor result[t*ROW]:f32, result[t*ROW]:f32, gains:f32, root[t*4] op0=multiply op1=multiply p=128 size(N) wait rooted[t]>=1 signal ready[t]+1
  .endrepeat
  .repeat turn, part < 2
  semaphore wait xt_used[t]>=1
  .repeat h, 2
  semaphore wait x_loaded>=16
  .repeat k, TILES/2
  .repeat a, 4                           ; 32 rows of x
  .repeat b, 4                           ; 32 columns
  vector_transpose xt@(b*32)[t*TILES*512 + (h*TILES/2 + k)*512 + a*128]:f32, rows@(a*32)[k*512 + b*128]:f32 p=32 size(32)
  .endrepeat
  .endrepeat
  semaphore signal xt_ready[t]+1
  .endrepeat
  semaphore signal x_used+1
  .endrepeat
  .endrepeat
  .endrepeat
loop_end
.repeat gain, part==0
semaphore wait gain_loaded>=16
.endrepeat
.endrepeat
.repeat t, 2
semaphore wait xt_used[t]>=1
.endrepeat

.engine tensor
.repeat t, 2
semaphore signal xt_used[t]+1
.endrepeat
; The first tile of all waits for w, too.
.repeat later, 2
loop pair count=1 - later + later*(PAIRS - 1)
  .repeat t, 2
  semaphore wait drained[t]>=1
  .repeat k, TILES
  .repeat first, later==0 && t==0
  semaphore wait w_loaded[k]>=16
  .repeat more, k < TILES-AHEAD
  semaphore signal w_taken+1
  .endrepeat
  .endrepeat
  load_stationary xt[t*TILES*512 + k*512]:f32 p=128 size(128) columns=128 wait xt_ready[t]>=1
  .repeat n, 4
  multiply_moving acc[t*ROW + n*2048]:f32, weights[k*ROW + n*2048]:f32 p=128 size(512) columns=128 accumulate=k>0 group_end=k==TILES-1
  .endrepeat
  .endrepeat
  semaphore signal done[t]+1
  semaphore signal xt_used[t]+1
  .endrepeat
loop_end
.endrepeat
.repeat t, 2
semaphore wait drained[t]>=1
.endrepeat

.engine scalar
semaphore wait epsilon_set>=1
.repeat t, 2
semaphore signal drained[t]+1
.endrepeat
loop pair count=PAIRS
  .repeat t, 2
  activation_reduce acc[t*ROW]:f32, result[t*ROW]:f32, -, sum[t*4] op0=square imm1=1 p=128 size(N) wait added[t]>=1 signal drained[t]+1
  activation root[t*4]:f32, sum[t*4]:f32, epsilon op0=rsqrt imm1=ratio(1, N) p=128 size(1) signal rooted[t]+1
  .endrepeat
loop_end

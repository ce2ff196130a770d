; SPDX-License-Identifier: Apache-2.0
;
; RMS norm and a matrix product in one kernel, fp32.
;
;   out[m, n] = sum over k of norm[m, k] * w[k, n]
;   norm[m, k] = x[m, k] * gain[k] / sqrt(mean over k of x[m, k]^2 + 1e-6)
;
; With ADD = 1 a residual is added to x first. The norm costs no pass of its own:
; the gain belongs to k and goes into w once, the root belongs to m and comes
; into the result when it leaves PSUM. The product needs x with k on partitions;
; Vector turns it in blocks of 32 x 32, which leaves the tensor engine to its
; products: it would take 183 ns for a tile of 128 x 128, four passes, twelve
; per cent more work. Rows go in groups of two tiles of 128, and groups in pairs
; that use two halves of everything:
;
;   sync     gain, w, the first rows -> SBUF                  (HBM to SBUF)
;   gpsimd   all other rows -> SBUF, result -> out            (HBM to SBUF to HBM)
;   vector   xt = x^T, 512 blocks a group                     (SBUF to SBUF)
;   scalar   w *= gain, once; root = 1 / sqrt(mean of x^2 + 1e-6)
;   tensor   acc = xt^T x w: 16 tiles of k into four banks    (SBUF to PSUM)
;   scalar   result = acc * root                              (PSUM to SBUF)
;
; The tensor engine is the limit: 749 us of fp32 products, four passes each at
; 2.8 GHz. It takes 46.8 us for a group, Vector 29.3 us (36.6 with a residual).
; The first group walks through k as fast as w comes in from memory.

.equ M = 4096
.equ K = 2048
.equ N = 1024
.equ ADD = 0
.equ PAIRS = M/512
.equ TILES = K/128
.require M % 512 == 0 && PAIRS > 1 "M is a multiple of 512, at least 1024"
.require K % 128 == 0 && K > 128 && K <= 2048 "K is a multiple of 128 from 256 to 2048: w stays in SBUF"
.require N == 1024 "N is 1024: two banks of PSUM"
.require ADD == 0 || ADD == 1 "ADD is 0 or 1"

.target ibx2
.model "rms_norm_matmul"

.entry main
.input  x f32[M, K]
.repeat add, ADD
.input  residual f32[M, K]
.endrepeat
.input  gain f32[K]
.input  w f32[K, N]
.output out f32[M, N]
; Rates of ibx2: Tensor at 2.8 GHz, 16 DMA engines of 17 GB/s.
.bounds flops=2*M*N*K tensor_ps=M/128*TILES*N*4*10000/28 hbm_min_bytes=4*((1 + ADD)*M*K + K + K*N + M*N) hbm_ps=4*((1 + ADD)*M*K + K + K*N + M*N)*1000/272 engine_ps=M/128*TILES*N*4*10000/28

; A group g of a pair has tiles 2*g and 2*g + 1.
.buffer rows    sbuf bytes=4*K*4
.buffer others  sbuf bytes=2*K*4         ; the residual
.buffer xt      sbuf bytes=2*TILES*1024  ; a half: 256 columns a tile of k
.buffer weights sbuf bytes=TILES*4096    ; 1024 columns a tile of k
.buffer gains   sbuf bytes=TILES*4       ; a column a tile of k
.buffer result  sbuf bytes=4*4096
.buffer squares sbuf bytes=K*2           ; bf16: nobody reads them
.buffer sum     sbuf bytes=4*4
.buffer epsilon sbuf bytes=4             ; a constant bias of ibx2 is 0
.buffer root    sbuf bytes=4*4
.buffer acc     psum bytes=4*4096        ; two banks a tile

.semaphore epsilon_set
.semaphore gain_loaded
.semaphore w_loaded[TILES]
.semaphore w_ready
.semaphore x_loaded[4]
.semaphore other_loaded[2]
.semaphore other_used[2]
.semaphore x_ready[4]                    ; for Scalar
.semaphore x_turned[4]                   ; Vector has done with the rows
.semaphore x_squared[4]                  ; Scalar has
.semaphore xt_ready[2]                   ; 1 a tile of k
.semaphore xt_used[2]
.semaphore done[4]
.semaphore drained[4]
.semaphore result_ready[4]
.semaphore stored[4]

.register pair 0                         ; 512 rows

; What happens once has its descriptors ready in memory. The gain comes element by
; element, its tiles of k side by side, and w when the first group is there.
.engine sync
.repeat t, 4
dma_copy rows[t*K*4]:f32 pstep(1, 0), x[t*128*K*4]:f32 size(128, K) dge=static queue=0 signal x_loaded[t]+16
.repeat add, ADD*(t < 2)
dma_copy others[t*K*4]:f32 pstep(1, 0), residual[t*128*K*4]:f32 size(128, K) dge=static queue=0 signal other_loaded[t]+16
.endrepeat
.repeat first, t==0
dma_copy gains:f32 step(1, 0) pstep(0, 1), gain:f32 step(128, 1) size(TILES, 128) dge=static queue=0 signal gain_loaded+16
.endrepeat
.repeat k, (t==1)*TILES
dma_copy weights[k*4096]:f32 pstep(1, 0), w[k*128*N*4]:f32 size(128, N) dge=static queue=1 signal w_loaded[k]+16
.endrepeat
.endrepeat

.engine gpsimd
.repeat i, 2*ADD
dma_copy others[i*K*4]:f32 pstep(1, 0), residual[(2 + i)*128*K*4]:f32 size(128, K) dge=software queue=0 wait other_used[i]>=1 signal other_loaded[i]+16
.endrepeat
; The last pair loads no rows of a next one.
.repeat last, 2
loop pair count=last + (1 - last)*(PAIRS - 1)
  .repeat g, 2
  .repeat i, 2
  .repeat more, 1 - last
  .equ t = 2*g + i
  semaphore wait x_squared[t]>=1
  dma_copy rows[t*K*4]:f32 pstep(1, 0), x[(4 + t)*128*K*4 + pair*(512*K*4)]:f32 size(128, K) dge=software queue=0 wait x_turned[t]>=1 signal x_loaded[t]+16
  .repeat add, ADD
  dma_copy others[i*K*4]:f32 pstep(1, 0), residual[(4 + t)*128*K*4 + pair*(512*K*4)]:f32 size(128, K) dge=software queue=0 wait other_used[i]>=1 signal other_loaded[i]+16
  .endrepeat
  .endrepeat
  .endrepeat
  .repeat i, 2
  .equ t = 2*g + i
  dma_copy out[last*(PAIRS - 1)*512*N*4 + t*128*N*4 + pair*(512*N*4)]:f32 step(N, 1), result[t*4096]:f32 pstep(1, 0) size(128, N) dge=software queue=2 wait result_ready[t]>=1 signal stored[t]+16
  .endrepeat
  .endrepeat
loop_end
.endrepeat
.repeat t, 4
semaphore wait x_squared[t]>=1
semaphore wait x_turned[t]>=1
semaphore wait stored[t]>=16
.endrepeat
.repeat i, 2*ADD
semaphore wait other_used[i]>=1
.endrepeat

.engine vector
memset epsilon:f32 imm0=1e-6 p=128 size(1) signal epsilon_set+1
loop pair count=PAIRS
  .repeat g, 2
  .repeat i, 2
  .equ t = 2*g + i
  .repeat plain, 1 - ADD
  semaphore wait x_loaded[t]>=16 signal x_ready[t]+1
  .endrepeat
  .repeat add, ADD
  semaphore wait other_loaded[i]>=16
  tensor_tensor rows[t*K*4]:f32, rows[t*K*4]:f32, others[i*K*4]:f32 op0=add p=128 size(K) wait x_loaded[t]>=16 signal x_ready[t]+1
  semaphore signal other_used[i]+1
  .endrepeat
  .endrepeat
  semaphore wait xt_used[g]>=1
  .repeat k, TILES
  .repeat i, 2
  .repeat a, 4                           ; 32 rows of x
  .repeat b, 4                           ; 32 columns
  vector_transpose xt@(b*32)[g*TILES*1024 + k*1024 + i*512 + a*128]:f32, rows@(a*32)[(2*g + i)*K*4 + k*512 + b*128]:f32 p=32 size(32)
  .endrepeat
  .endrepeat
  .endrepeat
  semaphore signal xt_ready[g]+1
  .endrepeat
  .repeat i, 2
  semaphore signal x_turned[2*g + i]+1
  .endrepeat
  .endrepeat
loop_end
.repeat g, 2
semaphore wait xt_used[g]>=1
.endrepeat

.engine tensor
.repeat g, 2
semaphore signal xt_used[g]+1
.endrepeat
; The first group of all waits for w, too.
.repeat later, 2
loop pair count=1 - later + later*(PAIRS - 1)
  .repeat g, 2
  .repeat i, 2
  semaphore wait drained[2*g + i]>=1
  .endrepeat
  .repeat k, TILES
  .repeat first, later==0 && g==0
  semaphore wait w_ready>=1
  .endrepeat
  .repeat i, 2
  .repeat first, i==0
  load_stationary xt[g*TILES*1024 + k*1024]:f32 p=128 size(128) columns=128 wait xt_ready[g]>=1
  .endrepeat
  .repeat second, i==1
  load_stationary xt[g*TILES*1024 + k*1024 + 512]:f32 p=128 size(128) columns=128
  .endrepeat
  .repeat n, 2
  multiply_moving acc[(2*g + i)*4096 + n*2048]:f32, weights[k*4096 + n*2048]:f32 p=128 size(512) columns=128 accumulate=k>0 group_end=k==TILES-1
  .endrepeat
  .repeat end, k==TILES-1
  semaphore signal done[2*g + i]+1
  .endrepeat
  .endrepeat
  .endrepeat
  semaphore signal xt_used[g]+1
  .endrepeat
loop_end
.endrepeat
.repeat t, 4
semaphore wait drained[t]>=1
.endrepeat

.engine scalar
semaphore wait epsilon_set>=1
.repeat t, 4
semaphore signal drained[t]+1
semaphore signal stored[t]+16
.endrepeat
semaphore wait gain_loaded>=16
.repeat k, TILES
activation weights[k*4096]:f32, weights[k*4096]:f32, -, gains[k*4] op0=copy p=128 size(N) wait w_loaded[k]>=16 signal w_ready+1
.endrepeat
loop pair count=PAIRS
  .repeat g, 2
  .repeat i, 2
  .equ t = 2*g + i
  activation_reduce squares:bf16, rows[t*K*4]:f32, -, sum[t*4] op0=square imm1=1 p=128 size(K) wait x_ready[t]>=1 signal x_squared[t]+1
  activation root[t*4]:f32, sum[t*4]:f32, epsilon op0=rsqrt imm1=ratio(1, K) p=128 size(1)
  .endrepeat
  .repeat i, 2
  .equ t = 2*g + i
  semaphore wait stored[t]>=16
  activation result[t*4096]:f32, acc[t*4096]:f32, -, root[t*4] op0=copy p=128 size(N) wait done[t]>=1 signal result_ready[t]+1
  semaphore signal drained[t]+1
  .endrepeat
  .endrepeat
loop_end

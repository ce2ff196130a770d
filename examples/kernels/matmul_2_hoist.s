; SPDX-License-Identifier: Apache-2.0
;
; Matrix product, version 2: loads hoisted.
;
;   out[M,N] = lhsT[K,M]^T x rhs[K,N], all fp32
;
; The 128 columns of lhsT that a row of output tiles needs are loaded once, for
; all of K, and stay while the row is computed. Only rhs is loaded for every
; tile: half of the DMAs of version 1, and the tensor engine is the limit from
; here on.
;
;   gpsimd   lhsT[all K, m] -> one of two panels      (HBM to SBUF), ahead
;   sync     rhs[k,n] 128x512 -> slot                 (HBM to SBUF)
;   tensor   acc += lhsT^T x rhs                      (SBUF to PSUM)
;   scalar   acc -> stage, stage -> out[m,n]          (PSUM to SBUF to HBM)
;
; GpSimd writes its descriptors itself, about 1 us for a tile of 128 rows; that
; spreads the panel of the next row over the time of this one, so that it never
; stands in the way of rhs.

.equ M = 4096
.equ K = 8192
.equ N = 8192
.equ SLOTS = 8
.equ PANEL = K/128*512                  ; bytes: K/128 tiles of 128 fp32
.require M % 256 == 0 "M is a multiple of 256: two panels"
.require N % 1024 == 0 "N is a multiple of 1024: two tiles of 512"
.require K % (128*SLOTS) == 0 && K >= 384*SLOTS "K is a multiple of 1024, at least 3072"

.target ibx3
.model "matmul_2_hoist"

.entry main
.input  lhsT f32[K, M]
.input  rhs  f32[K, N]
.output out  f32[M, N]
.bounds flops=2*M*N*K tensor_ps=M/128*(K/128)*N*4*10000/24 hbm_min_bytes=4*(M*K+K*N+M*N) hbm_ps=4*(M*K+K*N+M*N)*1000/368 engine_ps=M/128*(K/128)*N*4*10000/24

.buffer lhs   sbuf bytes=2*PANEL
.buffer mov   sbuf bytes=SLOTS*2048
.buffer stage sbuf bytes=2*2048
.buffer acc   psum bytes=2*2048

.semaphore panel_loaded[2]              ; 16 pieces for each tile of a panel
.semaphore panel_free[2]
.semaphore loaded[SLOTS]
.semaphore free[SLOTS]
.semaphore done[2]
.semaphore drained[2]
.semaphore stored[2]

.register m 0                           ; two tiles of 128 rows of out
.register n 1                           ; two tiles of 512 columns of out
.register k 2                           ; tiles of K: SLOTS of them, or one

.engine gpsimd
loop m count=M/256
  .repeat h, 2
  semaphore wait panel_free[h]>=1
  loop k count=K/128
    dma_copy lhs[h*PANEL + k*512]:f32 pstep(1, 0), lhsT[m*1024 + h*512 + k*(128*M*4)]:f32 step(M, 1) size(128, 128) dge=software queue=0 signal panel_loaded[h]+16
  loop_end
  .endrepeat
loop_end
.repeat h, 2
semaphore wait panel_free[h]>=1
.endrepeat

.engine sync
loop m count=M/128
  loop n count=N/1024
    .repeat b, 2
    loop k count=K/(128*SLOTS)
      .repeat s, SLOTS
      dma_copy mov[s*2048]:f32 pstep(1, 0), rhs[n*4096 + b*2048 + (s*128)*N*4 + k*(SLOTS*128*N*4)]:f32 step(N, 1) size(128, 512) dge=hardware queue=1 wait free[s]>=1 signal loaded[s]+16
      .endrepeat
    loop_end
    .endrepeat
  loop_end
loop_end
.repeat s, SLOTS
semaphore wait free[s]>=1
.endrepeat

.engine tensor
.repeat s, SLOTS
semaphore signal free[s]+1
.endrepeat
.repeat h, 2
semaphore signal panel_free[h]+1
.endrepeat
loop m count=M/256
  .repeat h, 2
  semaphore wait panel_loaded[h]>=K/128*16
  loop n count=N/1024
    .repeat b, 2
    semaphore wait drained[b]>=1
    ; The first product of a tile overwrites the bank, the last ends its group.
    .repeat s, SLOTS
    load_stationary lhs[h*PANEL + s*512]:f32 p=128 size(128) columns=128 wait loaded[s]>=16
    multiply_moving acc[b*2048]:f32, mov[s*2048]:f32 p=128 size(512) columns=128 accumulate=s>0 signal free[s]+1
    .endrepeat
    loop k count=K/(128*SLOTS)-2
      .repeat s, SLOTS
      load_stationary lhs[h*PANEL + (SLOTS + s)*512 + k*(SLOTS*512)]:f32 p=128 size(128) columns=128 wait loaded[s]>=16
      multiply_moving acc[b*2048]:f32, mov[s*2048]:f32 p=128 size(512) columns=128 accumulate signal free[s]+1
      .endrepeat
    loop_end
    .repeat s, SLOTS
    load_stationary lhs[h*PANEL + (K/128 - SLOTS + s)*512]:f32 p=128 size(128) columns=128 wait loaded[s]>=16
    multiply_moving acc[b*2048]:f32, mov[s*2048]:f32 p=128 size(512) columns=128 accumulate group_end=s==SLOTS-1 signal free[s]+1
    .endrepeat
    semaphore signal done[b]+1
    .endrepeat
  loop_end
  semaphore signal panel_free[h]+1
  .endrepeat
loop_end
.repeat b, 2
semaphore wait drained[b]>=1
.endrepeat

.engine scalar
.repeat b, 2
semaphore signal drained[b]+1
semaphore signal stored[b]+16
.endrepeat
loop m count=M/128
  loop n count=N/1024
    .repeat b, 2
    semaphore wait stored[b]>=16
    tensor_copy stage[b*2048]:f32, acc[b*2048]:f32 p=128 size(512) wait done[b]>=1 signal drained[b]+1
    dma_copy out[m*(128*N*4) + n*4096 + b*2048]:f32 step(N, 1), stage[b*2048]:f32 pstep(1, 0) size(128, 512) dge=hardware queue=2 signal stored[b]+16
    .endrepeat
  loop_end
loop_end
.repeat b, 2
semaphore wait stored[b]>=16
.endrepeat

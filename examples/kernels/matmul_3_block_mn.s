; SPDX-License-Identifier: Apache-2.0
;
; Matrix product, version 3: blocked in M and N.
;
;   out[M,N] = lhsT[K,M]^T x rhs[K,N], all fp32
;
; A block is 2 x 2 tiles of 128 x 512 results, in four PSUM banks. Each pair of
; tiles of rhs that is loaded serves two tiles of lhsT, so rhs moves half as
; often as in version 2. The panel of lhsT, 256 columns and all of K, is loaded
; once for a row of blocks.
;
;   gpsimd   lhsT[all K, 256 columns] -> one of two panels  (HBM to SBUF)
;   sync     rhs[k] 128x1024 -> slot                        (HBM to SBUF)
;   tensor   acc[i,j] += lhsT[i]^T x rhs[j], i,j in 0..1    (SBUF to PSUM)
;   scalar   acc -> stage, stage -> out                 (PSUM to SBUF to HBM)
;
; Two sets of four banks: one drains while the other fills.

.equ M = 4096
.equ K = 8192
.equ N = 8192
.equ SLOTS = 4
.equ PANEL = K/128*1024                 ; bytes: K/128 tiles of 256 fp32
.require M % 512 == 0 "M is a multiple of 512: two panels of 256"
.require N % 2048 == 0 "N is a multiple of 2048: two blocks of 1024"
.require K % (128*SLOTS) == 0 && K >= 384*SLOTS "K is a multiple of 512, at least 1536"

.target ibx3
.model "matmul_3_block_mn"

.entry main
.input  lhsT f32[K, M]
.input  rhs  f32[K, N]
.output out  f32[M, N]
.bounds flops=2*M*N*K tensor_ps=M/128*(K/128)*N*4*10000/24 hbm_min_bytes=4*(M*K+K*N+M*N) hbm_ps=4*(M*K+K*N+M*N)*1000/368 engine_ps=M/128*(K/128)*N*4*10000/24

.buffer lhs   sbuf bytes=2*PANEL
.buffer mov   sbuf bytes=SLOTS*4096
.buffer stage sbuf bytes=8*2048
.buffer acc   psum bytes=8*2048         ; set b, tile i*2+j: bank b*4 + i*2+j

.semaphore panel_loaded[2]
.semaphore panel_free[2]
.semaphore loaded[SLOTS]
.semaphore free[SLOTS]
.semaphore done[2]                      ; of a set of four banks
.semaphore drained[2]
.semaphore stored[8]

.register m 0                           ; two blocks of 256 rows of out
.register n 1                           ; two blocks of 1024 columns of out
.register k 2                           ; tiles of K: SLOTS of them, or one

.engine gpsimd
loop m count=M/512
  .repeat h, 2
  semaphore wait panel_free[h]>=1
  loop k count=K/128
    dma_copy lhs[h*PANEL + k*1024]:f32 pstep(1, 0), lhsT[m*2048 + h*1024 + k*(128*M*4)]:f32 step(M, 1) size(128, 256) dge=software queue=0 signal panel_loaded[h]+16
  loop_end
  .endrepeat
loop_end
.repeat h, 2
semaphore wait panel_free[h]>=1
.endrepeat

.engine sync
loop m count=M/256
  loop n count=N/1024
    loop k count=K/(128*SLOTS)
      .repeat s, SLOTS
      dma_copy mov[s*4096]:f32 pstep(1, 0), rhs[n*4096 + (s*128)*N*4 + k*(SLOTS*128*N*4)]:f32 step(N, 1) size(128, 1024) dge=hardware queue=1 wait free[s]>=1 signal loaded[s]+16
      .endrepeat
    loop_end
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
loop m count=M/512
  .repeat h, 2
  semaphore wait panel_loaded[h]>=K/128*16
  loop n count=N/2048
    .repeat b, 2
    semaphore wait drained[b]>=4
    ; The first products of a block overwrite the banks, the last end their group.
    .repeat s, SLOTS
    load_stationary lhs[h*PANEL + s*1024]:f32 p=128 size(128) columns=128 wait loaded[s]>=16
    multiply_moving acc[b*8192]:f32, mov[s*4096]:f32 p=128 size(512) columns=128 accumulate=s>0
    multiply_moving acc[b*8192 + 2048]:f32, mov[s*4096 + 2048]:f32 p=128 size(512) columns=128 accumulate=s>0
    load_stationary lhs[h*PANEL + s*1024 + 512]:f32 p=128 size(128) columns=128
    multiply_moving acc[b*8192 + 4096]:f32, mov[s*4096]:f32 p=128 size(512) columns=128 accumulate=s>0
    multiply_moving acc[b*8192 + 6144]:f32, mov[s*4096 + 2048]:f32 p=128 size(512) columns=128 accumulate=s>0 signal free[s]+1
    .endrepeat
    loop k count=K/(128*SLOTS)-2
      .repeat s, SLOTS
      load_stationary lhs[h*PANEL + (SLOTS + s)*1024 + k*(SLOTS*1024)]:f32 p=128 size(128) columns=128 wait loaded[s]>=16
      multiply_moving acc[b*8192]:f32, mov[s*4096]:f32 p=128 size(512) columns=128 accumulate
      multiply_moving acc[b*8192 + 2048]:f32, mov[s*4096 + 2048]:f32 p=128 size(512) columns=128 accumulate
      load_stationary lhs[h*PANEL + (SLOTS + s)*1024 + k*(SLOTS*1024) + 512]:f32 p=128 size(128) columns=128
      multiply_moving acc[b*8192 + 4096]:f32, mov[s*4096]:f32 p=128 size(512) columns=128 accumulate
      multiply_moving acc[b*8192 + 6144]:f32, mov[s*4096 + 2048]:f32 p=128 size(512) columns=128 accumulate signal free[s]+1
      .endrepeat
    loop_end
    .repeat s, SLOTS
    load_stationary lhs[h*PANEL + (K/128 - SLOTS + s)*1024]:f32 p=128 size(128) columns=128 wait loaded[s]>=16
    multiply_moving acc[b*8192]:f32, mov[s*4096]:f32 p=128 size(512) columns=128 accumulate group_end=s==SLOTS-1
    multiply_moving acc[b*8192 + 2048]:f32, mov[s*4096 + 2048]:f32 p=128 size(512) columns=128 accumulate group_end=s==SLOTS-1
    load_stationary lhs[h*PANEL + (K/128 - SLOTS + s)*1024 + 512]:f32 p=128 size(128) columns=128
    multiply_moving acc[b*8192 + 4096]:f32, mov[s*4096]:f32 p=128 size(512) columns=128 accumulate group_end=s==SLOTS-1
    multiply_moving acc[b*8192 + 6144]:f32, mov[s*4096 + 2048]:f32 p=128 size(512) columns=128 accumulate group_end=s==SLOTS-1 signal free[s]+1
    .endrepeat
    semaphore signal done[b]+1
    .endrepeat
  loop_end
  semaphore signal panel_free[h]+1
  .endrepeat
loop_end
.repeat b, 2
semaphore wait drained[b]>=4
.endrepeat

.engine scalar
.repeat b, 2
semaphore signal drained[b]+4
.endrepeat
.repeat t, 8
semaphore signal stored[t]+16
.endrepeat
loop m count=M/256
  loop n count=N/2048
    .repeat b, 2
    semaphore wait done[b]>=1
    .repeat t, 4
    tensor_copy stage[b*8192 + t*2048]:f32, acc[b*8192 + t*2048]:f32 p=128 size(512) wait stored[b*4 + t]>=16 signal drained[b]+1
    dma_copy out[m*(256*N*4) + (t/2)*(128*N*4) + n*8192 + b*4096 + t%2*2048]:f32 step(N, 1), stage[b*8192 + t*2048]:f32 pstep(1, 0) size(128, 512) dge=hardware queue=2 signal stored[b*4 + t]+16
    .endrepeat
    .endrepeat
  loop_end
loop_end
.repeat t, 8
semaphore wait stored[t]>=16
.endrepeat

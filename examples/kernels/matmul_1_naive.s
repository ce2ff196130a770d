; SPDX-License-Identifier: Apache-2.0
;
; Matrix product, version 1: naive.
;
;   out[M,N] = lhsT[K,M]^T x rhs[K,N], all fp32
;
; For every tile of 128 x 512 results, and for every 128 rows of K, both
; operands are loaded anew:
;
;   sync     lhsT[k,m] 128x128, rhs[k,n] 128x512  -> slot     (HBM to SBUF)
;   tensor   acc += lhsT^T x rhs                              (SBUF to PSUM)
;   scalar   acc -> stage, stage -> out[m,n]            (PSUM to SBUF to HBM)
;
; Eight slots of operands and two accumulators keep the engines apart. A slot
; has a semaphore for "loaded" (32: two DMAs of 16 pieces) and one for "free".
; Every wait consumes what it waited for, so each loop leaves the semaphores as
; it found them.
;
; Both loads stand in one queue program, that of Sync, at 600 ns each: this is
; what limits the version. Version 2 loads half as often.

.equ M = 4096
.equ K = 8192
.equ N = 8192
.equ SLOTS = 8
.require M % 128 == 0 "M is a multiple of 128"
.require N % 1024 == 0 "N is a multiple of 1024: two tiles of 512"
.require K % (128*SLOTS) == 0 && K >= 384*SLOTS "K is a multiple of 1024, at least 3072"

.target ibx3
.model "matmul_1_naive"

.entry main
.input  lhsT f32[K, M]
.input  rhs  f32[K, N]
.output out  f32[M, N]
.bounds flops=2*M*N*K tensor_ps=M/128*(K/128)*N*4*10000/24 hbm_min_bytes=4*(M*K+K*N+M*N) hbm_ps=4*(M*K+K*N+M*N)*1000/368 engine_ps=M/128*(K/128)*N*4*10000/24

.buffer lhs   sbuf bytes=SLOTS*512      ; a slot: 128 columns of fp32
.buffer mov   sbuf bytes=SLOTS*2048     ; a slot: 512 columns
.buffer stage sbuf bytes=2*2048
.buffer acc   psum bytes=2*2048         ; two banks

.semaphore loaded[SLOTS]
.semaphore free[SLOTS]
.semaphore done[2]                      ; a bank holds a result
.semaphore drained[2]                   ; a bank may be written again
.semaphore stored[2]                    ; a stage may be written again

.register m 0                           ; tile of 128 rows of out
.register n 1                           ; two tiles of 512 columns of out
.register k 2                           ; SLOTS tiles of 128 rows of K

.engine sync
loop m count=M/128
  loop n count=N/1024
    .repeat b, 2
    loop k count=K/(128*SLOTS)
      .repeat s, SLOTS
      dma_copy lhs[s*512]:f32 pstep(1, 0), lhsT[m*512 + (s*128)*M*4 + k*(SLOTS*128*M*4)]:f32 step(M, 1) size(128, 128) dge=hardware queue=0 wait free[s]>=1 signal loaded[s]+16
      dma_copy mov[s*2048]:f32 pstep(1, 0), rhs[n*4096 + b*2048 + (s*128)*N*4 + k*(SLOTS*128*N*4)]:f32 step(N, 1) size(128, 512) dge=hardware queue=1 signal loaded[s]+16
      .endrepeat
    loop_end
    .endrepeat
  loop_end
loop_end
.repeat s, SLOTS
semaphore wait free[s]>=1               ; as at the start
.endrepeat

.engine tensor
.repeat s, SLOTS
semaphore signal free[s]+1
.endrepeat
loop m count=M/128
  loop n count=N/1024
    .repeat b, 2
    semaphore wait drained[b]>=1
    ; The first product of a tile overwrites the bank, the last ends its group.
    .repeat s, SLOTS
    load_stationary lhs[s*512]:f32 p=128 size(128) columns=128 wait loaded[s]>=32
    multiply_moving acc[b*2048]:f32, mov[s*2048]:f32 p=128 size(512) columns=128 accumulate=s>0 signal free[s]+1
    .endrepeat
    loop k count=K/(128*SLOTS)-2
      .repeat s, SLOTS
      load_stationary lhs[s*512]:f32 p=128 size(128) columns=128 wait loaded[s]>=32
      multiply_moving acc[b*2048]:f32, mov[s*2048]:f32 p=128 size(512) columns=128 accumulate signal free[s]+1
      .endrepeat
    loop_end
    .repeat s, SLOTS
    load_stationary lhs[s*512]:f32 p=128 size(128) columns=128 wait loaded[s]>=32
    multiply_moving acc[b*2048]:f32, mov[s*2048]:f32 p=128 size(512) columns=128 accumulate group_end=s==SLOTS-1 signal free[s]+1
    .endrepeat
    semaphore signal done[b]+1
    .endrepeat
  loop_end
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

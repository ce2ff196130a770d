; SPDX-License-Identifier: Apache-2.0
;
; Batch of matrix products with a short K on ibx2, fp32.
;
;   out[b, m, n] = sum over k of lhsT[b, k, m] x rhs[b, k, n],  K = 64
;
; A product with K = 64 fills half of the rows of the array. So two matrices go
; at the same time, one in the rows 0 to 63 and one in the rows 64 to 127:
;
;   sync     lhsT and rhs of two matrices -> one of two slots
;   tensor   128 x 512 results of each: two banks at a time
;   vector   results of the even matrix -> 128 whole rows     (PSUM to SBUF)
;   scalar   those of the odd one
;   gpsimd   whole rows -> out
;
; Results are 32 times as many bytes as operands: memory is the limit. A store
; has 128 runs of a whole row, and its descriptors are made by software, since
; no others follow the loop registers on ibx2.

.equ BATCH = 16
.equ M = 4096
.equ N = 4096
.equ PAIRS = BATCH/2
.equ COLUMNS = N/512
.require BATCH % 4 == 0 && BATCH > 0 "matrices go in two slots of two: BATCH is a multiple of 4"
.require M % 256 == 0 && M > 0 "M is a multiple of 256: two tiles of rows"
.require N % 2048 == 0 && N > 0 "N is a multiple of 2048: four pairs of banks"
.require 8*M + 8*N + 16*N <= 180224 "operands and rows do not fit SBUF"

.target ibx2
.model "bmm"

.entry main
.input  lhsT f32[BATCH, 64, M]
.input  rhs  f32[BATCH, 64, N]
.output out  f32[BATCH, M, N]
.bounds flops=2*BATCH*M*N*64 tensor_ps=BATCH/2*(M/128)*N*4*10000/28 hbm_min_bytes=4*BATCH*(64*M + 64*N + M*N) hbm_ps=4*BATCH*(64*M + 64*N + M*N)*1000/272 engine_ps=BATCH/2*(M/128)*N*4*10000/28

.buffer lhs  sbuf bytes=2*M*4
.buffer mov  sbuf bytes=2*N*4
.buffer even sbuf bytes=2*N*4           ; two tiles of 128 whole rows
.buffer odd  sbuf bytes=2*N*4
.buffer acc  psum bytes=8*2048

.semaphore loaded[2]
.semaphore free[2]
.semaphore done[8]
.semaphore drained[8]
.semaphore even_full[2]
.semaphore odd_full[2]
.semaphore even_stored[2]
.semaphore odd_stored[2]

.register b 0                           ; two slots, of two matrices
.register m 1                           ; two tiles of rows

.engine sync
.repeat i, PAIRS
dma_copy lhs[i % 2*(M*4)]:f32 step(0, 1) pstep(1, 0), lhsT[i*(128*M*4)]:f32 size(128, M) dge=static queue=0 wait free[i % 2]>=1 signal loaded[i % 2]+16
dma_copy mov[i % 2*(N*4)]:f32 step(0, 1) pstep(1, 0), rhs[i*(128*N*4)]:f32 size(128, N) dge=static queue=0 signal loaded[i % 2]+16
.endrepeat
.repeat h, 2
semaphore wait free[h]>=1               ; as at the start
.endrepeat

.engine tensor
.repeat h, 2
semaphore signal free[h]+1
.endrepeat
loop b count=PAIRS/2
  .repeat h, 2
  semaphore wait loaded[h]>=32
  loop m count=M/128
    .repeat j, COLUMNS
    .repeat x, 2
    load_stationary lhs@(64*x)[h*(M*4) + m*512]:f32 p=64 size(128) columns=128
    multiply_moving acc[(j % 4*2 + x)*2048]:f32, mov@(64*x)[h*(N*4) + j*2048]:f32 p=64 size(512) columns=128 group_end wait drained[j % 4*2 + x]>=1 signal done[j % 4*2 + x]+1
    .endrepeat
    .endrepeat
  loop_end
  semaphore signal free[h]+1
  .endrepeat
loop_end
.repeat i, 8
semaphore wait drained[i]>=1
.endrepeat

.engine vector
.repeat i, 4
semaphore signal drained[2*i]+1
.endrepeat
loop b count=PAIRS
  loop m count=M/256
    .repeat s, 2
    semaphore wait even_stored[s]>=16
    .repeat j, COLUMNS
    tensor_copy even[s*(N*4) + j*2048]:f32, acc[j % 4*2*2048]:f32 p=128 size(512) wait done[j % 4*2]>=1 signal drained[j % 4*2]+1
    .endrepeat
    semaphore signal even_full[s]+1
    .endrepeat
  loop_end
loop_end

.engine scalar
.repeat i, 4
semaphore signal drained[2*i + 1]+1
.endrepeat
loop b count=PAIRS
  loop m count=M/256
    .repeat s, 2
    semaphore wait odd_stored[s]>=16
    .repeat j, COLUMNS
    tensor_copy odd[s*(N*4) + j*2048]:f32, acc[(j % 4*2 + 1)*2048]:f32 p=128 size(512) wait done[j % 4*2 + 1]>=1 signal drained[j % 4*2 + 1]+1
    .endrepeat
    semaphore signal odd_full[s]+1
    .endrepeat
  loop_end
loop_end

.engine gpsimd
.repeat s, 2
semaphore signal even_stored[s]+16
semaphore signal odd_stored[s]+16
.endrepeat
loop b count=PAIRS
  loop m count=M/256
    .repeat s, 2
    dma_copy out[b*(2*M*N*4) + m*(256*N*4) + s*(128*N*4)]:f32, even[s*(N*4)]:f32 step(0, 1) pstep(1, 0) size(128, N) dge=software queue=1 wait even_full[s]>=1 signal even_stored[s]+16
    dma_copy out[b*(2*M*N*4) + m*(256*N*4) + s*(128*N*4) + M*N*4]:f32, odd[s*(N*4)]:f32 step(0, 1) pstep(1, 0) size(128, N) dge=software queue=1 wait odd_full[s]>=1 signal odd_stored[s]+16
    .endrepeat
  loop_end
loop_end
.repeat s, 2
semaphore wait even_stored[s]>=16
semaphore wait odd_stored[s]>=16
.endrepeat

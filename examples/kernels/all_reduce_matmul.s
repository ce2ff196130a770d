; SPDX-License-Identifier: Apache-2.0
;
; Matrix product on several cores: tensor parallel.
;
;   out[M,N] = lhsT[K,M]^T x rhs[K,N], all fp32
;
; Core r has rows r*K/CORES on of both operands, computes a product of the whole
; size over them, and the products are added:
;
;   sync     its rows of lhsT and rhs -> SBUF                 (two DMAs)
;   tensor   acc[m] = lhsT[:,m]^T x rhs                       (SBUF to PSUM)
;   vector   acc[m] -> sum                                    (PSUM to SBUF)
;   sync     sum -> partial in HBM; reduce_scatter: core r gets rows r*M/CORES on
;            of the sum of all cores, its part of out
;
; With ALL=1 every core gets the whole sum (all_reduce) and stores its part of the
; copies, CORES of them one after another.
;
; The caller sees whole tensors: lhsT and rhs split along K, out along M.

.equ CORES = 4
.equ M = 512
.equ N = 512
.equ K = 512
.equ ALL = 0
.equ ROWS = K/CORES          ; of a core
.require ROWS % 128 == 0 "every core has a multiple of 128 rows of K"
.require M % 128 == 0 && M <= 512 "M is a multiple of 128 up to 512: a bank for each"
.require M % CORES == 0 "M divides into the cores"
.require ROWS/128*(M + N)*4 + M/128*N*4 <= 212984 "operands and result fit SBUF: fewer rows of K a core"
.require N <= 512 "N is one bank: up to 512 columns"

.target ibx3
.model "all_reduce_matmul"

.entry main
.cores CORES
.input  lhsT f32[K, M] split
.input  rhs  f32[K, N] split
.output out  f32[M + ALL*M*(CORES-1), N] split
.bounds flops=2*M*N*K/CORES tensor_ps=M/128*(ROWS/128)*N*4*10000/24 hbm_min_bytes=4*(ROWS*(M+N)+M*N/CORES) hbm_ps=4*(ROWS*(M+N)+M*N/CORES)*1000/368 engine_ps=M/128*(ROWS/128)*N*4*10000/24

.buffer partial hbm bytes=M*N*4
.buffer lhs sbuf bytes=ROWS/128*M*4
.buffer mov sbuf bytes=ROWS/128*N*4
.buffer sum sbuf bytes=M/128*N*4
.buffer acc psum bytes=M/128*2048

.semaphore loaded
.semaphore multiplied
.semaphore copied
.semaphore stored
.semaphore reduced

.engine sync
dma_copy lhs:f32 step(M, 0, 1) pstep(0, 1, 0), lhsT:f32 step(128*M, M, 1) size(ROWS/128, 128, M) queue=0 dge=static signal loaded+16
dma_copy mov:f32 step(N, 0, 1) pstep(0, 1, 0), rhs:f32 step(128*N, N, 1) size(ROWS/128, 128, N) queue=1 dge=static signal loaded+16
dma_copy partial:f32 step(128*N, N, 1), sum:f32 step(N, 0, 1) pstep(0, 1, 0) size(M/128, 128, N) queue=0 dge=static wait copied>=M/128 signal stored+16
.repeat once, 1-ALL
reduce_scatter out:f32 step(0, 0, 0, N, 1), partial:f32 step(M/CORES*N, 0, 0, N, 1) size(CORES, 1, 1, M/CORES, N) op0=add queue=0 dge=static wait stored>=16 signal reduced+1
.endrepeat
.repeat once, ALL
all_reduce out:f32, partial:f32 size(M, N) op0=add queue=0 dge=static wait stored>=16 signal reduced+1
.endrepeat
semaphore wait reduced>=1

.engine tensor
semaphore wait loaded>=32
.repeat m, M/128
.repeat k, ROWS/128
load_stationary lhs[(k*M + m*128)*4]:f32 p=128 size(128) columns=128
multiply_moving acc[m*2048]:f32, mov[k*N*4]:f32 p=128 size(N) columns=128 accumulate=k>0 group_end=k==ROWS/128-1
.endrepeat
semaphore signal multiplied+1
.endrepeat

.engine vector
.repeat m, M/128
tensor_copy sum[m*N*4]:f32, acc[m*2048]:f32 p=128 size(N) wait multiplied>=1 signal copied+1
.endrepeat

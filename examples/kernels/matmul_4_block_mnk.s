; SPDX-License-Identifier: Apache-2.0
;
; Matrix product, version 4: blocked in M, N and K.
;
;   out[M,N] = lhsT[K,M]^T x rhs[K,N], all fp32
;
; A block of results is 2048 x 1024 and stays in SBUF while blocks of 1024 rows
; of K pass by. Each adds its products, summed in PSUM over its eight tiles of
; K, to the results:
;
;   sync     rhs[k block, n block] 1024x1024 -> one of two halves
;            lhsT[k block, 512 columns] 1024x512 -> one of four chunks
;   tensor   acc = sum over 8 tiles of K, tile by tile (16 x 2 of them)
;   vector   res = acc on the first block of K, res += acc on the others
;   scalar   res -> out, after the last block of K
;
; The loads are large and few; DMA is idle most of the time. A tile of results
; has its PSUM bank: tile (i, j) of a chunk uses bank 2*i + j, so that the
; tensor engine comes back to a bank only after seven others.

.equ M = 4096
.equ K = 8192
.equ N = 8192
.equ BLOCK_M = 2048
.equ CHUNKS = BLOCK_M/512
.require BLOCK_M % 512 == 0 && BLOCK_M > 0 "a block of M has whole chunks of 512"
.require M % BLOCK_M == 0 "M is a multiple of the block, 2048"
.require N % 1024 == 0 "N is a multiple of 1024"
.require K % 2048 == 0 && K >= 4096 "K is a multiple of 2048, at least 4096"

.target ibx3
.model "matmul_4_block_mnk"

.entry main
.input  lhsT f32[K, M]
.input  rhs  f32[K, N]
.output out  f32[M, N]
.bounds flops=2*M*N*K tensor_ps=M/128*(K/128)*N*4*10000/24 hbm_min_bytes=4*(M*K+K*N+M*N) hbm_ps=4*(M*K+K*N+M*N)*1000/368 engine_ps=M/128*(K/128)*N*4*10000/24

.buffer lhs sbuf bytes=CHUNKS*16384     ; a chunk: 8 tiles of K, 512 columns
.buffer mov sbuf bytes=2*32768          ; a half: 8 tiles of K, 1024 columns
.buffer res sbuf bytes=BLOCK_M/128*4096 ; rows of 1024 fp32
.buffer acc psum bytes=8*2048

.semaphore mov_loaded[2]
.semaphore mov_free[2]
.semaphore lhs_loaded[CHUNKS]
.semaphore lhs_free[CHUNKS]
.semaphore done[8]                      ; of a bank
.semaphore drained[8]
.semaphore final                        ; rows of results that are complete
.semaphore stored                       ; 16 for each row of tiles in out

.register m 0
.register n 1
.register k 2                           ; two blocks of K

.engine sync
loop m count=M/BLOCK_M
  loop n count=N/1024
    loop k count=K/2048
      .repeat h, 2
      dma_copy mov[h*32768]:f32 step(1024, 0, 1) pstep(0, 1, 0), rhs[n*4096 + h*(1024*N*4) + k*(2048*N*4)]:f32 step(128*N, N, 1) size(8, 128, 1024) dge=hardware queue=0 wait mov_free[h]>=1 signal mov_loaded[h]+16
      .repeat c, CHUNKS
      dma_copy lhs[c*16384]:f32 step(512, 0, 1) pstep(0, 1, 0), lhsT[m*(BLOCK_M*4) + c*2048 + h*(1024*M*4) + k*(2048*M*4)]:f32 step(128*M, M, 1) size(8, 128, 512) dge=hardware queue=1 wait lhs_free[c]>=1 signal lhs_loaded[c]+16
      .endrepeat
      .endrepeat
    loop_end
  loop_end
loop_end
.repeat h, 2
semaphore wait mov_free[h]>=1
.endrepeat
.repeat c, CHUNKS
semaphore wait lhs_free[c]>=1
.endrepeat

.engine tensor
.repeat h, 2
semaphore signal mov_free[h]+1
.endrepeat
.repeat c, CHUNKS
semaphore signal lhs_free[c]+1
.endrepeat
loop m count=M/BLOCK_M
  loop n count=N/1024
    loop k count=K/2048
      .repeat h, 2
      semaphore wait mov_loaded[h]>=16
      .repeat c, CHUNKS
      semaphore wait lhs_loaded[c]>=16
      .repeat i, 4
      .repeat j, 2
      ; Eight products into one bank; the first overwrites, the last tells.
      load_stationary lhs[c*16384 + i*512]:f32 p=128 size(128) columns=128
      multiply_moving acc[(2*i + j)*2048]:f32, mov[h*32768 + j*2048]:f32 p=128 size(512) columns=128 wait drained[2*i + j]>=1
      .repeat t, 6
      load_stationary lhs[c*16384 + i*512 + (t + 1)*2048]:f32 p=128 size(128) columns=128
      multiply_moving acc[(2*i + j)*2048]:f32, mov[h*32768 + j*2048 + (t + 1)*4096]:f32 p=128 size(512) columns=128 accumulate
      .endrepeat
      load_stationary lhs[c*16384 + i*512 + 7*2048]:f32 p=128 size(128) columns=128
      multiply_moving acc[(2*i + j)*2048]:f32, mov[h*32768 + j*2048 + 7*4096]:f32 p=128 size(512) columns=128 accumulate group_end signal done[2*i + j]+1
      .endrepeat
      .endrepeat
      semaphore signal lhs_free[c]+1
      .endrepeat
      semaphore signal mov_free[h]+1
      .endrepeat
    loop_end
  loop_end
loop_end
.repeat b, 8
semaphore wait drained[b]>=1
.endrepeat

.engine vector
.repeat b, 8
semaphore signal drained[b]+1
.endrepeat
loop m count=M/BLOCK_M
  loop n count=N/1024
    ; The first block of K: results are written, so the last ones must be gone.
    semaphore wait stored>=BLOCK_M/128*16
    .repeat c, CHUNKS
    .repeat b, 8
    tensor_copy res[c*16384 + b*2048]:f32, acc[b*2048]:f32 p=128 size(512) wait done[b]>=1 signal drained[b]+1
    .endrepeat
    .endrepeat
    loop k count=K/1024-2
      .repeat c, CHUNKS
      .repeat b, 8
      tensor_tensor res[c*16384 + b*2048]:f32, acc[b*2048]:f32, res[c*16384 + b*2048]:f32 op0=add p=128 size(512) wait done[b]>=1 signal drained[b]+1
      .endrepeat
      .endrepeat
    loop_end
    .repeat c, CHUNKS
    .repeat i, 4
    .repeat j, 2
    tensor_tensor res[c*16384 + i*4096 + j*2048]:f32, acc[(2*i + j)*2048]:f32, res[c*16384 + i*4096 + j*2048]:f32 op0=add p=128 size(512) wait done[2*i + j]>=1 signal drained[2*i + j]+1
    .endrepeat
    semaphore signal final+1
    .endrepeat
    .endrepeat
  loop_end
loop_end

.engine scalar
semaphore signal stored+BLOCK_M/128*16
loop m count=M/BLOCK_M
  loop n count=N/1024
    .repeat r, BLOCK_M/128
    dma_copy out[m*(BLOCK_M*N*4) + r*(128*N*4) + n*4096]:f32 step(N, 1), res[r*4096]:f32 pstep(1, 0) size(128, 1024) dge=hardware queue=2 wait final>=1 signal stored+16
    .endrepeat
  loop_end
loop_end
semaphore wait stored>=BLOCK_M/128*16

; SPDX-License-Identifier: Apache-2.0
;
; Attention of one head of 128, not causal, on ibx3 or, with -D MACHINE=2, ibx2.
;
;   out[q, :] = sum over k of softmax(scores[q, :])[k] x v[k, :]
;   scores[q, k] = (sum over d of qT[d, q] x kT[d, k]) / sqrt(128)
;
; Operands bf16, scores and sums fp32. Neither scores nor probabilities leave
; the chip. A block of 512 queries passes twice over all keys:
;
;   first   scores with queries on partitions; Vector takes the maximum of each
;           row over the keys, which lie along it
;   second  scores with keys on partitions, minus the maximum; Scalar makes
;           exp of them, and that is already what the product with v wants: keys
;           on partitions. Nothing has to be transposed.
;
; In the second pass the maximum belongs to a column, and no engine subtracts
; along columns for free. The array does: a product with K = 1 of ones and the
; row of negated maxima adds it to the scores in PSUM. Several such products
; run in different row groups of the array at the same time.
;
; Any number near the maximum will do, as it cancels; so the row is bf16. The
; sum of probabilities is a product, too: v has a column of ones, and column 128
; of the result is the sum that the others are divided by.
;
; The passes overlap: the second one of block b goes together with the first one
; of block b + 1. Second-pass steps are units of two key tiles of 128:
;
;   tensor   scores of unit u + 1 -> two banks          (sc)
;            minus the maximum
;            a share of the first pass of block b + 1 -> bank 4 or 5  (fp)
;            probabilities of unit u x v -> banks 6 and 7 (res)
;   scalar   exp of unit u + 1                           (PSUM to SBUF, bf16)
;   vector   maxima of block b + 1; at the end of a block its results
;
; ibx2: Vector and Scalar cannot read PSUM at the same time, so that the first
; pass costs less when Scalar, the faster one, copies the scores to SBUF as bf16
; and Vector reads them there at twice the rate. ibx3: Vector reads PSUM itself;
; only for the first block, when Scalar has nothing to do, they share the work.

.equ MACHINE = 3
.equ SEQ = 4096                         ; queries, and keys
.equ IS_V2 = MACHINE == 2
.equ TENSOR_MHZ = 2400 + 400*IS_V2
.equ SCALAR_MHZ = 1200 + 200*IS_V2
.equ DMA_MB = 368 - 96*IS_V2            ; bytes per ns of all DMA engines

.equ BLOCKS = SEQ/512                   ; of queries, and chunks of keys
.equ TILES = SEQ/128                    ; of keys; also first-pass products of a block
.equ UNITS = TILES/2
.equ PARTS = 2 - IS_V2                  ; of the row of maxima, a row group each
.equ COLUMNS = 512/PARTS
.equ GROUP = 32*(1 + IS_V2)             ; rows
.equ EARLY = UNITS - 3 + IS_V2          ; units that share the first pass
.equ SHARED = 4                         ; block 0: Vector reads one of so many
.require SEQ % 512 == 0 && SEQ >= 1024 "SEQ is a multiple of 512, at least 1024"
.require MACHINE == 2 || MACHINE == 3 "the machine is 2 or 3"
.require SEQ <= 8192 "SEQ is at most 8192: keys, values and queries stay in SBUF"

.target MACHINE
.model "flash_attention"

.entry main
.input  qT  bf16[128, SEQ]
.input  kT  bf16[128, SEQ]
.input  v   bf16[SEQ, 128]
.output out bf16[SEQ, 128]
; Of the engines, exp on Scalar and the products are what cannot be moved.
.bounds flops=4*SEQ*SEQ*128 tensor_ps=2*SEQ*SEQ/128*1000000/TENSOR_MHZ hbm_min_bytes=4*SEQ*256 hbm_ps=4*SEQ*256*1000/DMA_MB engine_ps=SEQ*SEQ/128*1000000/SCALAR_MHZ

.buffer q    sbuf bytes=SEQ*2
.buffer k    sbuf bytes=SEQ*2
.buffer vone sbuf bytes=TILES*258       ; 128 values and a one
.buffer ones sbuf bytes=256
.buffer copy sbuf bytes=TILES*1024      ; first-pass scores in bf16
.buffer part sbuf bytes=TILES*2         ; maxima of 512 keys
.buffer most sbuf bytes=8               ; negated maxima, [128, 4]
.buffer wide sbuf bytes=1024            ; each 128 times: [128, 4, 128]
.buffer row  sbuf bytes=BLOCKS*1024     ; as a row, the same on each partition
.buffer prob sbuf bytes=4*1024
.buffer sum  sbuf bytes=16              ; 1 / sum
.buffer res  sbuf bytes=BLOCKS*1024
.buffer sc   psum bytes=6*2048          ; scores; 4 and 5 of the first pass
.buffer acc  psum bytes=2*2048          ; [4, 256], of which 129 are used

.semaphore q_loaded[BLOCKS]
.semaphore k_loaded[BLOCKS]
.semaphore v_loaded
.semaphore set                          ; ones are there
.semaphore cleared
.semaphore fp_done[12]                  ; of a bank; 6 more that tell Scalar
.semaphore fp_free[6]
.semaphore copied
.semaphore widened                      ; maxima are ready to become a row
.semaphore turned                       ; they are one, in PSUM
.semaphore row_ready
.semaphore sc_done[4]
.semaphore prob_ready[4]
.semaphore acc_done
.semaphore acc_free
.semaphore stored[BLOCKS]
.semaphore res_ready

.register b 0

; --- loads and stores -----------------------------------------------------------

.engine sync
dma_copy q:bf16 step(0, 1) pstep(1, 0), qT:bf16 step(SEQ, 1) size(128, 512) dge=static queue=0 signal q_loaded[0]+16
.repeat c, BLOCKS
dma_copy k[c*1024]:bf16 step(0, 1) pstep(1, 0), kT[c*1024]:bf16 step(SEQ, 1) size(128, 512) dge=static queue=0 signal k_loaded[c]+16
.endrepeat
dma_copy vone:bf16 step(129, 0, 1) pstep(0, 1, 0), v:bf16 size(TILES, 128, 128) dge=static queue=0 signal v_loaded+16
.repeat c, BLOCKS - 1
dma_copy q[c*1024 + 1024]:bf16 step(0, 1) pstep(1, 0), qT[c*1024 + 1024]:bf16 step(SEQ, 1) size(128, 512) dge=static queue=0 signal q_loaded[c + 1]+16
.endrepeat
.repeat c, BLOCKS
dma_copy out[c*131072]:bf16, res[c*1024]:bf16 step(128, 0, 1) pstep(0, 1, 0) size(4, 128, 128) dge=static queue=1 wait res_ready>=1 signal stored[c]+16
.endrepeat
.repeat c, BLOCKS
semaphore wait stored[c]>=16
.endrepeat

.engine gpsimd
memset ones:bf16 imm0=0 p=128 size(128) signal cleared+1
memset vone[256]:bf16 step(129) imm0=1 p=128 size(TILES) signal set+1

; --- tensor engine ----------------------------------------------------------------

.engine tensor
; First pass of block 0, for which all six banks are free. Product i: 128
; queries i / BLOCKS, 512 keys i % BLOCKS.
semaphore wait q_loaded[0]>=16
.repeat i, TILES
.repeat is_new, i < BLOCKS
semaphore wait k_loaded[i]>=16
.endrepeat
load_stationary q[i/BLOCKS*256]:bf16 p=128 size(128) columns=128
multiply_moving sc[i % 6*2048]:f32, k[i % BLOCKS*1024]:bf16 p=128 size(512) columns=128 group_end wait fp_free[i % 6]>=1 signal fp_done[i % 6 + 6*(IS_V2 || i % SHARED > 0)]+1
.endrepeat
semaphore wait set>=2
semaphore wait v_loaded>=16
.repeat c, BLOCKS - 1
semaphore wait q_loaded[c + 1]>=16
.endrepeat
; The maxima as a row, and the scores of unit 0 of block 0.
semaphore wait widened>=1
.repeat t, 4
nc_transpose sc[4*2048 + t*256]:bf16, wide[t*256]:bf16 p=128 size(128) columns=128
.endrepeat
semaphore signal turned+1
.repeat x, 2
load_stationary k[x*256]:bf16 p=128 size(128) columns=128
multiply_moving sc[x*2048]:f32, q:bf16 p=128 size(512) columns=128
.endrepeat
semaphore wait row_ready>=1
.repeat x, 2
.repeat h, PARTS
load_stationary ones@(x*PARTS + h)*GROUP:bf16 p=1 size(128) columns=128
.repeat is_inside, h < PARTS - 1
multiply_moving sc[x*2048 + h*(COLUMNS*4)]:f32, row@(x*PARTS + h)*GROUP[h*(COLUMNS*2)]:bf16 p=1 size(COLUMNS) columns=128 accumulate group_end
.endrepeat
.endrepeat
multiply_moving sc[x*2048 + (PARTS - 1)*(COLUMNS*4)]:f32, row@(x*PARTS + PARTS - 1)*GROUP[(PARTS - 1)*(COLUMNS*2)]:bf16 p=1 size(COLUMNS) columns=128 accumulate group_end signal sc_done[x]+1
.endrepeat

.repeat is_last, 2
loop b count=BLOCKS - 1 - is_last*(BLOCKS - 2)
  .repeat u, UNITS
  .repeat slot, 3
  .repeat has_next, u < UNITS - 1 || is_last == 0
  ; Scores of the next unit; after the last one, of the next block's first. Key
  ; tile x of a unit has bank and slot 2 * (unit % 2) + x.
  .repeat x, 2*(slot == 0)
  load_stationary k[((u + 1) % UNITS*2 + x)*256]:bf16 p=128 size(128) columns=128
  multiply_moving sc[((u + 1) % 2*2 + x)*2048]:f32, q[(b + is_last*(BLOCKS - 1) + u/(UNITS - 1))*1024]:bf16 p=128 size(512) columns=128
  .endrepeat
  .repeat is_first, u == UNITS - 1 && slot == 1
  semaphore wait row_ready>=1
  .endrepeat
  .repeat x, 2*(slot == 1)
  .repeat h, PARTS
  load_stationary ones@(x*PARTS + h)*GROUP:bf16 p=1 size(128) columns=128
  .repeat is_inside, h < PARTS - 1
  multiply_moving sc[((u + 1) % 2*2 + x)*2048 + h*(COLUMNS*4)]:f32, row@(x*PARTS + h)*GROUP[(b + is_last*(BLOCKS - 1) + u/(UNITS - 1))*1024 + h*(COLUMNS*2)]:bf16 p=1 size(COLUMNS) columns=128 accumulate group_end
  .endrepeat
  .endrepeat
  multiply_moving sc[((u + 1) % 2*2 + x)*2048 + (PARTS - 1)*(COLUMNS*4)]:f32, row@(x*PARTS + PARTS - 1)*GROUP[(b + is_last*(BLOCKS - 1) + u/(UNITS - 1))*1024 + (PARTS - 1)*(COLUMNS*2)]:bf16 p=1 size(COLUMNS) columns=128 accumulate group_end signal sc_done[(u + 1) % 2*2 + x]+1
  .endrepeat
  .endrepeat
  ; The maxima of the next block, complete by now, become a row.
  .repeat is_late, u == UNITS - 2 && slot == 1 && is_last == 0
  semaphore wait widened>=1
  .repeat t, 4
  nc_transpose sc[4*2048 + t*256]:bf16, wide[t*256]:bf16 p=128 size(128) columns=128
  .endrepeat
  semaphore signal turned+1
  .endrepeat
  ; Probabilities of unit u times values.
  .repeat is_first, u == 0 && slot == 1
  semaphore wait acc_free>=1
  .endrepeat
  .repeat is_product, slot > 0
  .repeat t, 4
  .repeat is_first, t == 0
  load_stationary prob[(u % 2*2 + slot - 1)*1024]:bf16 p=128 size(128) columns=128 wait prob_ready[u % 2*2 + slot - 1]>=1
  .endrepeat
  .repeat is_rest, t > 0
  load_stationary prob[(u % 2*2 + slot - 1)*1024 + t*256]:bf16 p=128 size(128) columns=128
  .endrepeat
  multiply_moving acc[t*1024]:f32, vone[(u*2 + slot - 1)*258]:bf16 p=128 size(129) columns=128 accumulate=u + slot > 1 group_end=u*2 + slot == TILES
  .endrepeat
  .endrepeat
  ; A share of the first pass of the next block: one product in each slot, so
  ; that its bank is free again when it is wanted; more in the last.
  .repeat j, (u < EARLY && is_last == 0)*((u + 1)*TILES/EARLY - u*TILES/EARLY)
  .repeat is_here, j == slot || j > 2 && slot == 2
  load_stationary q[b*1024 + 1024 + (u*TILES/EARLY + j)/BLOCKS*256]:bf16 p=128 size(128) columns=128
  multiply_moving sc[(4 + (u*TILES/EARLY + j) % 2)*2048]:f32, k[(u*TILES/EARLY + j) % BLOCKS*1024]:bf16 p=128 size(512) columns=128 group_end wait fp_free[4 + (u*TILES/EARLY + j) % 2]>=1 signal fp_done[4 + (u*TILES/EARLY + j) % 2 + 6*IS_V2]+1
  .endrepeat
  .endrepeat
  .endrepeat
  .endrepeat
  semaphore signal acc_done+1
loop_end
.endrepeat
semaphore wait acc_free>=1
.repeat i, 6
semaphore wait fp_free[i]>=1
.endrepeat

; --- scalar engine ------------------------------------------------------------------

.engine scalar
; Ones are exp of zeros: so the table is loaded while nothing else is to do.
activation ones:bf16, ones:bf16 op0=exp imm0=0 imm1=1 p=128 size(128) wait cleared>=1 signal set+1
.repeat i, TILES
.repeat is_copied, IS_V2 || i % SHARED > 0
tensor_copy copy[i*1024]:bf16, sc[i % 6*2048]:f32 p=128 size(512) wait fp_done[6 + i % 6]>=1 signal copied+1
.endrepeat
.endrepeat
.repeat is_last, 2
loop b count=BLOCKS - 1 - is_last*(BLOCKS - 2)
  .repeat u, UNITS
  .repeat x, 2
  activation prob[(u % 2*2 + x)*1024]:bf16, sc[(u % 2*2 + x)*2048]:f32 op0=exp imm0=0 imm1=0.08838834764831845 p=128 size(512) wait sc_done[u % 2*2 + x]>=1 signal prob_ready[u % 2*2 + x]+1
  .endrepeat
  .repeat is_copied, IS_V2 && is_last == 0
  .repeat j, (u < EARLY)*((u + 1)*TILES/EARLY - u*TILES/EARLY)
  tensor_copy copy[(u*TILES/EARLY + j)*1024]:bf16, sc[(4 + (u*TILES/EARLY + j) % 2)*2048]:f32 p=128 size(512) wait fp_done[10 + (u*TILES/EARLY + j) % 2]>=1 signal copied+1
  .endrepeat
  .endrepeat
  .endrepeat
loop_end
.endrepeat

; --- vector engine ------------------------------------------------------------------

.engine vector
.repeat i, 6
semaphore signal fp_free[i]+1
.endrepeat
semaphore signal acc_free+1
; Block 0 alone, then each block with the results of the one before.
.repeat is_rest, 2
loop b count=1 + is_rest*(BLOCKS - 2)
  .repeat i, TILES
  .repeat is_copied, IS_V2 || is_rest == 0 && i % SHARED > 0
  semaphore wait copied>=1 signal fp_free[i % 6*(is_rest == 0) + (4 + i % 2)*is_rest]+1
  tensor_reduce part[i*2]:bf16 step(0), copy[i*1024]:bf16 op0=max p=128 size(512)
  .endrepeat
  .repeat is_direct, IS_V2 == 0 && is_rest
  tensor_reduce part[i*2]:bf16 step(0), sc[(4 + i % 2)*2048]:f32 op0=max p=128 size(512) wait fp_done[4 + i % 2]>=1 signal fp_free[4 + i % 2]+1
  .endrepeat
  .repeat is_direct, IS_V2 == 0 && is_rest == 0 && i % SHARED == 0
  tensor_reduce part[i*2]:bf16 step(0), sc[i % 6*2048]:f32 op0=max p=128 size(512) wait fp_done[i % 6]>=1 signal fp_free[i % 6]+1
  .endrepeat
  .endrepeat
  tensor_reduce most:bf16 step(1, 0), part:bf16 op0=max negate p=128 size(4, BLOCKS)
  tensor_copy wide:bf16, most:bf16 step(1, 0) p=128 size(4, 128) signal widened+1
  tensor_copy row[b*1024 + is_rest*1024]:bf16, sc[4*2048]:bf16 p=128 size(512) wait turned>=1 signal row_ready+1
  .repeat has_result, is_rest
  reciprocal sum:f32, acc[512]:f32 step(256) p=128 size(4) wait acc_done>=1
  tensor_tensor res[b*1024]:bf16, acc:f32 step(256, 1), sum:f32 step(1, 0) op0=multiply p=128 size(4, 128) signal acc_free+1
  semaphore signal res_ready+1
  .endrepeat
loop_end
.endrepeat
reciprocal sum:f32, acc[512]:f32 step(256) p=128 size(4) wait acc_done>=1
tensor_tensor res[(BLOCKS - 1)*1024]:bf16, acc:f32 step(256, 1), sum:f32 step(1, 0) op0=multiply p=128 size(4, 128) signal acc_free+1
semaphore signal res_ready+1

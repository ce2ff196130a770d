; SPDX-License-Identifier: Apache-2.0
;
; One decode step of a 70-billion-parameter decoder, batch 1, on one core.
;
; The shape is that of Llama 70B: 80 layers, 8192 wide, 64 query heads over 8
; key-value heads of 128, a feed-forward of 28672, a vocabulary of 128256, a
; cache of 4096 tokens, bf16. What is decoded is one token: its 8192 numbers come
; in, its logits go out.
;
; The file holds no weights: they are inputs. All 140 GB would not fit into the
; 12 GiB of a core, so every layer reads the same addresses, 1.71 GB of them: each
; byte moves as often as in the real network, 80 layers long, and the time is
; that of a core which streams the whole model.
;
; Such a step is bound by HBM: each weight is used once. So there is one ring of
; eight slots of SBUF, and Sync fills it with 2 MiB at a time, for the cache, the
; projections, and the head alike, running ahead of everything else.
;
;   sync     weights and cache -> slot                 (HBM to SBUF)
;   tensor   acc[1,NT] += x[128,1]^T x slot[128,NT]    (one row of results)
;   scalar   acc -> stage, bf16; exp, silu, rsqrt, squares
;   tensor   stage[1,128] -> cols[128,1]               (back to the partitions)
;   vector   norms, rotary embedding, softmax, residual sums
;   gpsimd   the maximum over partitions
;
; The vector is the stationary tile and the weights move, 512 columns at a time:
; that is a quarter of the instructions that weights as stationary tiles would
; take, and 60 % of the array's time is still enough to keep up with HBM. On chip
; a vector of features lies with feature k*128 + p in partition p, column k.
;
; The new token's key and value take the place of token (TOKENS/128 - 1)*128 of
; the cache on chip, as the order of tokens does not matter to attention, and go
; out as new_kv. Engines pass turns through one semaphore for each ordered pair.
;
; A small one with all parts: -D LAYERS=2 -D SK=4 -D NT=256 -D GROUP=2 -D DK=2
; -D TOKENS=256 -D VOCAB_TILES=2 -D INV_HID=0x3a000000.

.equ LAYERS = 80
.equ SK = 16                            ; tiles of K in a slot
.equ NT = 512                           ; columns of a tile of results
.equ GROUP = 8                          ; query heads of a key-value head
.equ DK = 28                            ; tiles of K in a slot of the down projection
.equ TOKENS = 4096                      ; of the cache
.equ VOCAB_TILES = 250                  ; of NT columns, and half a tile
.equ INV_HID = 0x39000000               ; 1/HID as fp32

.equ KV = 8                             ; key-value heads, one a slot
.equ HEADS = KV*GROUP
.equ HID = 4*SK*128
.equ FFN = 8*DK*128
.equ VOCAB = VOCAB_TILES*NT + NT/2
.equ HK = HID/128                       ; columns of a vector on chip
.equ FK = FFN/128
.equ QKV = HEADS + 2*KV                 ; columns of queries, keys and values
.equ TT = TOKENS/128
.equ SLOT = SK*NT*2                     ; bytes a partition
.equ SLAB = 128*SLOT                    ; bytes
.equ DN = NT/2
.equ DSLAB = 128*DK*DN*2
.equ LAST = TT - 1                      ; its first token is the new one
.require HEADS*128 == HID "heads of 128 make up the width: GROUP is SK/2"
.require QKV*128 % (2*NT) == 0 && HID % (2*NT) == 0 && FFN % NT == 0 && NT % 256 == 0 "whole pairs of tiles"
.require TOKENS % 128 == 0 && 4*TOKENS <= SLOT "keys and values of a head fit a slot"
.require DK*DN*2 <= SLOT && VOCAB_TILES % 2 == 0 "slots"
.require TT*GROUP*4 <= 2048 && FK*2 <= 2048 && NT <= 512 "banks"

.equ LAYER_BYTES = (QKV*128*HID + HID*HID + 3*FFN*HID)*2 + KV*2*TOKENS*128*2 + 128*2*HK*4
.equ BYTES = LAYERS*(LAYER_BYTES + 128*2*KV*2) + VOCAB*HID*2 + 128*HK*8 + 1024 + VOCAB*4
.equ MACS = LAYERS*(QKV*128*HID + HID*HID + 3*FFN*HID + 2*HEADS*128*TOKENS) + VOCAB*HID

.target ibx3
.model "decoder_70b"

.entry decode
.input  hidden f32[128, HK]
.input  rope   f32[128, 2]              ; cos, and sin with the sign of its half
.input  gains  f32[128, 2*HK]           ; of the two norms of a layer
.input  gain_f f32[128, HK]             ; of the last norm
.input  w_qkv  bf16[QKV*128/NT, 4, 128, SK*NT]
.input  cache  bf16[KV, 128, 2*TOKENS]  ; keys [d, token], values [token, tile, d]
.input  w_o    bf16[HID/NT, 4, 128, SK*NT]
.input  w_gu   bf16[2*FFN/NT, 4, 128, SK*NT] ; tiles of gate and up in turn
.input  w_down bf16[HID/DN, 8, 128, DK*DN]
.input  w_head bf16[VOCAB_TILES, 4, 128, SK*NT]
.input  w_tail bf16[2, 128, SK*NT]      ; the last NT/2 columns
.output new_kv bf16[128, 2*KV]          ; the last layer's
.output logits f32[VOCAB]
.bounds flops=2*MACS tensor_ps=MACS/128/128*10000/24 hbm_min_bytes=BYTES hbm_ps=BYTES/368*1000

.buffer slot  sbuf bytes=8*SLOT
.buffer stage sbuf bytes=2*NT*2 partitions=1
.buffer out   sbuf bytes=2*NT*4 partitions=1
.buffer x     sbuf bytes=HK*4           ; the residual
.buffer junk  sbuf bytes=HK*4
.buffer xn    sbuf bytes=HK*2           ; normed
.buffer h     sbuf bytes=FK*2           ; of the feed-forward
.buffer gate  sbuf bytes=FK*2
.buffer att   sbuf bytes=HEADS*2
.buffer qk    sbuf bytes=QKV*2          ; queries, keys (rotated), values
.buffer turn  sbuf bytes=(HEADS + KV)*4
.buffer e     sbuf bytes=TT*GROUP*4
.buffer pr    sbuf bytes=TT*GROUP*2
.buffer small sbuf bytes=(4 + 4*GROUP)*4
.buffer top   sbuf bytes=GROUP*4 partitions=1
.buffer cs    sbuf bytes=8
.buffer gn    sbuf bytes=2*HK*4
.buffer gf    sbuf bytes=HK*4
.buffer ones  sbuf bytes=128*4
.buffer ones2 sbuf bytes=128*2

.buffer acc   psum bytes=2*2048
.buffer cols  psum bytes=2*2048         ; the second for the up projection
.buffer tmp   psum bytes=2048
.buffer sc    psum bytes=2048
.buffer sums  psum bytes=2048
.buffer oacc  psum bytes=2048

.semaphore full[8]
.semaphore free[8]
.semaphore begun                        ; what is loaded once
.semaphore loaded                       ; gains
.semaphore gains_free
.semaphore ts                           ; Tensor to Scalar, and so on
.semaphore st
.semaphore tv
.semaphore vt
.semaphore sv
.semaphore vs
.semaphore vg
.semaphore gt
.semaphore sent[2]                      ; logits
.semaphore kept                         ; new_kv

.register l 0                           ; layer
.register n 1                           ; pair of tiles

; --- Sync: everything that streams ----------------------------------------------

.engine sync
dma_copy x:f32 pstep(1, 0), hidden:f32 size(128, HK) signal begun+16
dma_copy cs:f32 pstep(1, 0), rope:f32 size(128, 2) signal begun+16
dma_copy gf:f32 pstep(1, 0), gain_f:f32 size(128, HK) signal begun+16
loop l count=LAYERS
  dma_copy gn:f32 pstep(1, 0), gains:f32 size(128, 2*HK) dge=hardware wait gains_free>=1 signal loaded+16
  loop n count=QKV*128/NT/2
    .repeat s, 8
    dma_copy slot[s*SLOT]:bf16 pstep(1, 0), w_qkv[s*SLAB + n*(8*SLAB)]:bf16 size(128, SK*NT) dge=hardware wait free[s]>=1 signal full[s]+16
    .endrepeat
  loop_end
  .repeat s, KV
  dma_copy slot[s*SLOT]:bf16 pstep(1, 0), cache[s*(TOKENS*512)]:bf16 size(128, 2*TOKENS) dge=hardware wait free[s]>=1 signal full[s]+16
  .endrepeat
  loop n count=HID/NT/2
    .repeat s, 8
    dma_copy slot[s*SLOT]:bf16 pstep(1, 0), w_o[s*SLAB + n*(8*SLAB)]:bf16 size(128, SK*NT) dge=hardware wait free[s]>=1 signal full[s]+16
    .endrepeat
  loop_end
  loop n count=FFN/NT
    .repeat s, 8
    dma_copy slot[s*SLOT]:bf16 pstep(1, 0), w_gu[s*SLAB + n*(8*SLAB)]:bf16 size(128, SK*NT) dge=hardware wait free[s]>=1 signal full[s]+16
    .endrepeat
  loop_end
  loop n count=HID/DN
    .repeat s, 8
    dma_copy slot[s*SLOT]:bf16 pstep(1, 0), w_down[s*DSLAB + n*(8*DSLAB)]:bf16 size(128, DK*DN) dge=hardware wait free[s]>=1 signal full[s]+16
    .endrepeat
  loop_end
loop_end
loop n count=VOCAB_TILES/2
  .repeat s, 8
  dma_copy slot[s*SLOT]:bf16 pstep(1, 0), w_head[s*SLAB + n*(8*SLAB)]:bf16 size(128, SK*NT) dge=hardware wait free[s]>=1 signal full[s]+16
  .endrepeat
loop_end
.repeat s, 2
dma_copy slot[s*SLOT]:bf16 pstep(1, 0), w_tail[s*SLAB]:bf16 size(128, SK*NT) dge=hardware wait free[s]>=1 signal full[s]+16
.endrepeat
.repeat s, 8
semaphore wait free[s]>=1
.endrepeat
semaphore wait gains_free>=1

; --- Tensor -----------------------------------------------------------------------

.engine tensor
.repeat s, 8
semaphore signal free[s]+1
.endrepeat
loop l count=LAYERS
  ; The sum of squares of all partitions, in every partition.
  load_stationary ones:f32 p=128 size(128) columns=128 wait vt>=1
  multiply_moving tmp:f32, small:f32 p=128 size(1) columns=128 group_end wait st>=1 signal ts+1

  ; Queries, keys and values.
  semaphore wait vt>=1
  loop n count=QKV*128/NT/2
    .repeat b, 2
    .repeat s, 4
    semaphore wait full[b*4 + s]>=16
    .repeat k, SK
    load_stationary xn[(s*SK + k)*2]:bf16 p=128 size(1) columns=1
    multiply_moving acc[b*2048]:f32, slot[(b*4 + s)*SLOT + k*(NT*2)]:bf16 p=128 size(NT) columns=1 accumulate=s+k>0 group_end=s*SK+k==4*SK-1
    .endrepeat
    semaphore signal free[b*4 + s]+1
    .endrepeat
    semaphore signal ts+1
    semaphore wait st>=1
    .repeat j, NT/128
    nc_transpose cols[(b*(NT/128) + j)*2 + n*(NT/64*2)]:bf16, stage[b*(NT*2) + j*256]:bf16 p=1 size(128) columns=128
    .endrepeat
    .endrepeat
  loop_end
  semaphore signal tv+1

  ; Attention, one key-value head after the other.
  semaphore wait vt>=1
  .repeat g, KV
  semaphore wait full[g]>=16
  nc_transpose tmp:bf16, qk[(HEADS + KV + g)*2]:bf16 p=128 size(1) columns=1 signal tv+1
  semaphore wait vt>=1
  .repeat i, TT
  load_stationary slot[g*SLOT + i*256]:bf16 p=128 size(128) columns=128
  multiply_moving sc[i*(GROUP*4)]:f32, qk[g*(GROUP*2)]:bf16 p=128 size(GROUP) columns=128 group_end
  .endrepeat
  semaphore signal tv+1
  ; The maxima of the heads, in every partition.
  load_stationary ones:f32 p=1 size(128) columns=128 wait gt>=1
  multiply_moving tmp:f32, top:f32 p=1 size(GROUP) columns=128 group_end signal tv+1
  ; The sums over partitions, in every partition, a number for each tile.
  load_stationary ones2:bf16 p=128 size(128) columns=128 wait st>=1
  multiply_moving sums:f32, pr:bf16 p=128 size(TT*GROUP) columns=128 group_end
  .repeat i, TT
  load_stationary slot[g*SLOT + TOKENS*2 + i*256]:bf16 p=128 size(128) columns=128
  multiply_moving oacc:f32, pr[i*(GROUP*2)]:bf16 p=128 size(GROUP) columns=128 accumulate=i>0 group_end=i==TT-1
  .endrepeat
  semaphore signal free[g]+1
  semaphore signal tv+1
  .endrepeat

  ; The output projection.
  semaphore wait vt>=1
  loop n count=HID/NT/2
    .repeat b, 2
    .repeat s, 4
    semaphore wait full[b*4 + s]>=16
    .repeat k, SK
    load_stationary att[(s*SK + k)*2]:bf16 p=128 size(1) columns=1
    multiply_moving acc[b*2048]:f32, slot[(b*4 + s)*SLOT + k*(NT*2)]:bf16 p=128 size(NT) columns=1 accumulate=s+k>0 group_end=s*SK+k==4*SK-1
    .endrepeat
    semaphore signal free[b*4 + s]+1
    .endrepeat
    semaphore signal ts+1
    semaphore wait st>=1
    .repeat j, NT/128
    nc_transpose cols[(b*(NT/128) + j)*2 + n*(NT/64*2)]:bf16, stage[b*(NT*2) + j*256]:bf16 p=1 size(128) columns=128
    .endrepeat
    .endrepeat
  loop_end
  semaphore signal tv+1

  load_stationary ones:f32 p=128 size(128) columns=128
  multiply_moving tmp:f32, small:f32 p=128 size(1) columns=128 group_end wait st>=1 signal ts+1

  ; Gate and up.
  semaphore wait vt>=1
  loop n count=FFN/NT
    .repeat b, 2
    .repeat s, 4
    semaphore wait full[b*4 + s]>=16
    .repeat k, SK
    load_stationary xn[(s*SK + k)*2]:bf16 p=128 size(1) columns=1
    multiply_moving acc[b*2048]:f32, slot[(b*4 + s)*SLOT + k*(NT*2)]:bf16 p=128 size(NT) columns=1 accumulate=s+k>0 group_end=s*SK+k==4*SK-1
    .endrepeat
    semaphore signal free[b*4 + s]+1
    .endrepeat
    semaphore signal ts+1
    semaphore wait st>=1
    .repeat j, NT/128
    nc_transpose cols[b*2048 + j*2 + n*(NT/128*2)]:bf16, stage[b*(NT*2) + j*256]:bf16 p=1 size(128) columns=128
    .endrepeat
    .endrepeat
  loop_end
  semaphore signal ts+1
  semaphore signal tv+1

  ; Down.
  semaphore wait vt>=1
  loop n count=HID/DN
    .repeat s, 8
    semaphore wait full[s]>=16
    .repeat k, DK
    load_stationary h[(s*DK + k)*2]:bf16 p=128 size(1) columns=1
    multiply_moving acc:f32, slot[s*SLOT + k*(DN*2)]:bf16 p=128 size(DN) columns=1 accumulate=s+k>0 group_end=s*DK+k==8*DK-1
    .endrepeat
    semaphore signal free[s]+1
    .endrepeat
    semaphore signal ts+1
    semaphore wait st>=1
    .repeat j, DN/128
    nc_transpose cols[j*2 + n*(DN/64)]:bf16, stage[j*256]:bf16 p=1 size(128) columns=128
    .endrepeat
  loop_end
  semaphore signal tv+1
loop_end

load_stationary ones:f32 p=128 size(128) columns=128 wait vt>=1
multiply_moving tmp:f32, small:f32 p=128 size(1) columns=128 group_end wait st>=1 signal ts+1
semaphore wait vt>=1
loop n count=VOCAB_TILES/2
  .repeat b, 2
  .repeat s, 4
  semaphore wait full[b*4 + s]>=16
  .repeat k, SK
  load_stationary xn[(s*SK + k)*2]:bf16 p=128 size(1) columns=1
  multiply_moving acc[b*2048]:f32, slot[(b*4 + s)*SLOT + k*(NT*2)]:bf16 p=128 size(NT) columns=1 accumulate=s+k>0 group_end=s*SK+k==4*SK-1
  .endrepeat
  semaphore signal free[b*4 + s]+1
  .endrepeat
  semaphore signal ts+1
  semaphore wait st>=1
  .endrepeat
loop_end
.repeat s, 2
semaphore wait full[s]>=16
.repeat k, 2*SK
load_stationary xn[(s*(2*SK) + k)*2]:bf16 p=128 size(1) columns=1
multiply_moving acc:f32, slot[s*SLOT + k*NT]:bf16 p=128 size(NT/2) columns=1 accumulate=s+k>0 group_end=s*SK*2+k==4*SK-1
.endrepeat
semaphore signal free[s]+1
.endrepeat
semaphore signal ts+1
semaphore wait st>=1

; --- Scalar -----------------------------------------------------------------------

.engine scalar
.repeat b, 2
semaphore signal sent[b]+NT/128
.endrepeat
loop l count=LAYERS
  activation_reduce junk:f32, x:f32, -, small op0=square imm1=1 p=128 size(HK) wait vs>=1 signal st+1
  activation small[4]:f32, tmp:f32 op0=rsqrt imm0=1e-5 imm1=bits(INV_HID) p=128 size(1) wait ts>=1 signal sv+1
  loop n count=QKV*128/NT/2
    .repeat b, 2
    activation stage[b*(NT*2)]:bf16, acc[b*2048]:f32 op0=copy imm1=1 p=1 size(NT) wait ts>=1 signal st+1
    .endrepeat
  loop_end
  dma_copy new_kv:bf16, qk[HEADS*2]:bf16 pstep(1, 0) size(128, 2*KV) dge=hardware wait vs>=1 signal kept+16
  .repeat g, KV
  activation pr:bf16, e:f32 op0=exp imm1=0.08838834764 p=128 size(TT*GROUP) wait vs>=1 signal st+1
  .endrepeat
  loop n count=HID/NT/2
    .repeat b, 2
    activation stage[b*(NT*2)]:bf16, acc[b*2048]:f32 op0=copy imm1=1 p=1 size(NT) wait ts>=1 signal st+1
    .endrepeat
  loop_end
  semaphore wait kept>=16
  activation_reduce junk:f32, x:f32, -, small op0=square imm1=1 p=128 size(HK) wait vs>=1 signal st+1
  activation small[4]:f32, tmp:f32 op0=rsqrt imm0=1e-5 imm1=bits(INV_HID) p=128 size(1) wait ts>=1 signal sv+1
  loop n count=FFN/NT
    .repeat b, 2
    activation stage[b*(NT*2)]:bf16, acc[b*2048]:f32 op0=copy imm1=1 p=1 size(NT) wait ts>=1 signal st+1
    .endrepeat
  loop_end
  activation gate:bf16, cols:bf16 op0=silu imm1=1 p=128 size(FK) wait ts>=1 signal sv+1
  loop n count=HID/DN
    activation stage:bf16, acc:f32 op0=copy imm1=1 p=1 size(DN) wait ts>=1 signal st+1
  loop_end
loop_end
activation_reduce junk:f32, x:f32, -, small op0=square imm1=1 p=128 size(HK) wait vs>=1 signal st+1
activation small[4]:f32, tmp:f32 op0=rsqrt imm0=1e-5 imm1=bits(INV_HID) p=128 size(1) wait ts>=1 signal sv+1
loop n count=VOCAB_TILES/2
  .repeat b, 2
  semaphore wait sent[b]>=NT/128
  activation out[b*(NT*4)]:f32, acc[b*2048]:f32 op0=copy imm1=1 p=1 size(NT) wait ts>=1 signal st+1
  dma_copy logits[b*(NT*4) + n*(NT*8)]:f32, out[b*(NT*4)]:f32 size(NT) dge=hardware signal sent[b]+NT/128
  .endrepeat
loop_end
semaphore wait sent[0]>=NT/128
activation out:f32, acc:f32 op0=copy imm1=1 p=1 size(NT/2) wait ts>=1 signal st+1
dma_copy logits[VOCAB_TILES*NT*4]:f32, out:f32 size(NT/2) dge=hardware signal sent[0]+NT/256
semaphore wait sent[0]>=NT/256
semaphore wait sent[1]>=NT/128

; --- Vector -----------------------------------------------------------------------

.engine vector
memset ones:f32 imm0=1 p=128 size(128)
memset ones2:bf16 imm0=1 p=128 size(128)
semaphore signal gains_free+1
semaphore wait begun>=48
loop l count=LAYERS
  semaphore signal vs+1
  semaphore signal vt+1
  semaphore wait loaded>=16
  scalar_tensor_tensor xn:bf16, x:f32, gn:f32, small[4] op0=multiply op1=multiply p=128 size(HK) wait sv>=1 signal vt+1

  ; Rotary embedding: a half of each head turns with the other.
  semaphore wait tv>=1
  tensor_copy turn@0:f32, cols@64:bf16 p=64 size(HEADS + KV)
  tensor_copy turn@64:f32, cols@0:bf16 p=64 size(HEADS + KV)
  tensor_scalar turn:f32, turn:f32, cs[4] op0=multiply op1=bypass p=128 size(HEADS + KV)
  scalar_tensor_tensor qk:bf16, cols:bf16, turn:f32, cs op0=multiply op1=add p=128 size(HEADS + KV)
  tensor_copy qk[(HEADS + KV)*2]:bf16, cols[(HEADS + KV)*2]:bf16 p=128 size(KV) signal vs+1
  semaphore signal vt+1

  .repeat g, KV
  tensor_copy slot[g*SLOT + LAST*256]:bf16, qk[(HEADS + g)*2]:bf16 p=128 size(1) wait tv>=1
  tensor_copy slot[g*SLOT + TOKENS*2 + LAST*256]:bf16, tmp:bf16 p=1 size(128) signal vt+1
  tensor_reduce small[8]:f32 step(1, 0), sc:f32 step(1, GROUP) op0=max p=128 size(GROUP, TT) wait tv>=1 signal vg+1
  tensor_copy small[8 + GROUP*4]:f32, tmp:f32 p=128 size(GROUP) wait tv>=1
  tensor_tensor e:f32, sc:f32, small[8 + GROUP*4]:f32 step(0, 1) op0=subtract p=128 size(TT, GROUP) signal vs+1
  tensor_reduce small[8 + GROUP*8]:f32 step(1, 0), sums:f32 step(1, GROUP) op0=add p=128 size(GROUP, TT) wait tv>=1
  reciprocal small[8 + GROUP*8]:f32, small[8 + GROUP*8]:f32 p=128 size(GROUP)
  tensor_tensor att[g*(GROUP*2)]:bf16, oacc:f32, small[8 + GROUP*8]:f32 op0=multiply p=128 size(GROUP)
  .endrepeat
  semaphore signal vt+1

  tensor_tensor x:f32, x:f32, cols:bf16 op0=add p=128 size(HK) wait tv>=1 signal vs+1
  scalar_tensor_tensor xn:bf16, x:f32, gn[HK*4]:f32, small[4] op0=multiply op1=multiply p=128 size(HK) wait sv>=1 signal vt+1
  semaphore signal gains_free+1

  semaphore wait sv>=1
  tensor_tensor h:bf16, gate:bf16, cols[2048]:bf16 op0=multiply p=128 size(FK) wait tv>=1 signal vt+1
  tensor_tensor x:f32, x:f32, cols:bf16 op0=add p=128 size(HK) wait tv>=1
loop_end
semaphore signal vs+1
semaphore signal vt+1
scalar_tensor_tensor xn:bf16, x:f32, gf:f32, small[4] op0=multiply op1=multiply p=128 size(HK) wait sv>=1 signal vt+1

; --- GpSimd -----------------------------------------------------------------------

.engine gpsimd
loop l count=LAYERS
  .repeat g, KV
  partition_reduce top:f32, small[8]:f32 op0=max p=128 size(GROUP) wait vg>=1 signal gt+1
  .endrepeat
loop_end

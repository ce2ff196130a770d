; SPDX-License-Identifier: Apache-2.0
;
; DMA sweep: one DMA of 128 partitions over the 16 DMA engines, from HBM to SBUF,
; for eleven sizes. Each entry is one point of the published curve (bytes per
; partition against the rate of the largest); imbrex bench --entry shows how
; long its DMA is in flight.
;
; Rings are static, as in the measurement: the descriptors lie in HBM.

.target ibx3
.model "dma_sweep"
.semaphore loaded 0

.entry bytes_32
.equ BYTES = 32
.input x f32[128, BYTES/4]
.buffer tile sbuf bytes=BYTES
.engine sync
dma_copy tile:f32 pstep(1, 0), x:f32 size(128, BYTES/4) dge=static signal loaded+16
semaphore wait loaded>=16

.entry bytes_64
.equ BYTES = 64
.input x f32[128, BYTES/4]
.buffer tile sbuf bytes=BYTES
.engine sync
dma_copy tile:f32 pstep(1, 0), x:f32 size(128, BYTES/4) dge=static signal loaded+16
semaphore wait loaded>=16

.entry bytes_128
.equ BYTES = 128
.input x f32[128, BYTES/4]
.buffer tile sbuf bytes=BYTES
.engine sync
dma_copy tile:f32 pstep(1, 0), x:f32 size(128, BYTES/4) dge=static signal loaded+16
semaphore wait loaded>=16

.entry bytes_256
.equ BYTES = 256
.input x f32[128, BYTES/4]
.buffer tile sbuf bytes=BYTES
.engine sync
dma_copy tile:f32 pstep(1, 0), x:f32 size(128, BYTES/4) dge=static signal loaded+16
semaphore wait loaded>=16

.entry bytes_512
.equ BYTES = 512
.input x f32[128, BYTES/4]
.buffer tile sbuf bytes=BYTES
.engine sync
dma_copy tile:f32 pstep(1, 0), x:f32 size(128, BYTES/4) dge=static signal loaded+16
semaphore wait loaded>=16

.entry bytes_1024
.equ BYTES = 1024
.input x f32[128, BYTES/4]
.buffer tile sbuf bytes=BYTES
.engine sync
dma_copy tile:f32 pstep(1, 0), x:f32 size(128, BYTES/4) dge=static signal loaded+16
semaphore wait loaded>=16

.entry bytes_2048
.equ BYTES = 2048
.input x f32[128, BYTES/4]
.buffer tile sbuf bytes=BYTES
.engine sync
dma_copy tile:f32 pstep(1, 0), x:f32 size(128, BYTES/4) dge=static signal loaded+16
semaphore wait loaded>=16

.entry bytes_4096
.equ BYTES = 4096
.input x f32[128, BYTES/4]
.buffer tile sbuf bytes=BYTES
.engine sync
dma_copy tile:f32 pstep(1, 0), x:f32 size(128, BYTES/4) dge=static signal loaded+16
semaphore wait loaded>=16

.entry bytes_8192
.equ BYTES = 8192
.input x f32[128, BYTES/4]
.buffer tile sbuf bytes=BYTES
.engine sync
dma_copy tile:f32 pstep(1, 0), x:f32 size(128, BYTES/4) dge=static signal loaded+16
semaphore wait loaded>=16

.entry bytes_16384
.equ BYTES = 16384
.input x f32[128, BYTES/4]
.buffer tile sbuf bytes=BYTES
.engine sync
dma_copy tile:f32 pstep(1, 0), x:f32 size(128, BYTES/4) dge=static signal loaded+16
semaphore wait loaded>=16

.entry bytes_32768
.equ BYTES = 32768
.input x f32[128, BYTES/4]
.buffer tile sbuf bytes=BYTES
.engine sync
dma_copy tile:f32 pstep(1, 0), x:f32 size(128, BYTES/4) dge=static signal loaded+16
semaphore wait loaded>=16

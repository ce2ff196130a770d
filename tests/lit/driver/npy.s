; SPDX-License-Identifier: Apache-2.0
;
; .npy files of every version and order, and those that are not what they say.
;
; RUN: %imbrex asm %s -o %t.ibx
; RUN: python3 %S/Inputs/write_npy.py %t.1.npy 1 "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }" 0 1 2 3 4 5
; RUN: %imbrex run %t.ibx --input x=%t.1.npy --output-dir %t.row
; RUN: python3 %S/Inputs/write_npy.py %t.3.npy 3 "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }" 0 1 2 3 4 5
; RUN: %imbrex run %t.ibx --input x=%t.3.npy --output-dir %t.wide
; RUN: cmp %t.row/y.npy %t.wide/y.npy
;
; The same matrix by columns.
; RUN: python3 %S/Inputs/write_npy.py %t.f.npy 1 "{'descr': '<f4', 'fortran_order': True, 'shape': (2, 3), }" 0 3 1 4 2 5
; RUN: %imbrex run %t.ibx --input x=%t.f.npy --output-dir %t.column
; RUN: cmp %t.row/y.npy %t.column/y.npy
;
; RUN: python3 %S/Inputs/write_npy.py %t.b.npy 1 "{'descr': '>f4', 'fortran_order': False, 'shape': (2, 3), }" 0 1 2 3 4 5
; RUN: not %imbrex run %t.ibx --input x=%t.b.npy 2>&1 | FileCheck %s --check-prefix=ENDIAN
; ENDIAN: b.npy is no .npy file that we read: its dtype is not one of ours
; RUN: python3 %S/Inputs/write_npy.py %t.s.npy 1 "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 4), }" 0 1 2 3 4 5
; RUN: not %imbrex run %t.ibx --input x=%t.s.npy 2>&1 | FileCheck %s --check-prefix=SHAPE
; SHAPE: its elements are more or fewer than its shape says
; RUN: python3 %S/Inputs/write_npy.py %t.h.npy 1 "{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296), }"
; RUN: not %imbrex run %t.ibx --input x=%t.h.npy 2>&1 | FileCheck %s --check-prefix=HUGE
; HUGE: its shape is too large
; RUN: python3 %S/Inputs/write_npy.py %t.n.npy 1 "{'descr': '<f4', 'shape': (99999999999999999999999,), }"
; RUN: not %imbrex run %t.ibx --input x=%t.n.npy 2>&1 | FileCheck %s --check-prefix=DIGITS
; DIGITS: a dimension is too large
; RUN: python3 %S/Inputs/write_npy.py %t.r.npy 1 "{'descr': '<f4', 'shape': (1,1,1,1,1,1,1,1,1), }" 0
; RUN: not %imbrex run %t.ibx --input x=%t.r.npy 2>&1 | FileCheck %s --check-prefix=RANK
; RANK: it has more than 8 dimensions
; RUN: python3 %S/Inputs/write_npy.py %t.d.npy 1 "descr"
; RUN: not %imbrex run %t.ibx --input x=%t.d.npy 2>&1 | FileCheck %s --check-prefix=DTYPE
; DTYPE: its dtype is not one of ours
; RUN: head -c 9 %t.1.npy > %t.c.npy
; RUN: not %imbrex run %t.ibx --input x=%t.c.npy 2>&1 | FileCheck %s --check-prefix=CUT
; CUT: it is cut
; RUN: head -c 40 %t.1.npy > %t.k.npy
; RUN: not %imbrex run %t.ibx --input x=%t.k.npy 2>&1 | FileCheck %s --check-prefix=HEADER
; HEADER: its header is cut

.entry main
.input  x f32[2, 3]
.output y f32[2, 3]
.buffer tile sbuf partitions=1 bytes=24
.engine sync
dma_copy tile:f32, x:f32 size(6) signal s0+1
dma_copy y:f32, tile:f32 size(6) wait s0>=1 signal s1+1
semaphore wait s1>=1

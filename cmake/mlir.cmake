# SPDX-License-Identifier: Apache-2.0
#
# The target imbrex_mlir: headers and static archives of MLIR 22. Loading
# libMLIR.so takes 25 ms of every start; linked from its archives the program
# starts in three. The C interface of MLIR exists only as archives anyway.

set(mlir_archives
  AffineAnalysis AffineDialect Analysis ArithDialect ArithUtils AsmParser
  BytecodeOpInterface BytecodeReader BytecodeWriter CAPIArith CAPIFunc CAPIIR
  CAPIIRDL CAPIMemRef CAPIPDL CAPISCF CAPITransforms CallInterfaces
  CastInterfaces ComplexDialect ControlFlowDialect ControlFlowInterfaces
  DataLayoutInterfaces DestinationStyleOpInterface DialectUtils FuncDialect
  FunctionInterfaces IR IRDL InferIntRangeCommon InferIntRangeInterface
  InferTypeOpInterface LoopLikeInterface MemOpInterfaces MemRefDialect
  MemorySlotInterfaces PDLDialect PDLInterpDialect PDLToPDLInterp
  ParallelCombiningOpInterface Parser Pass Presburger Rewrite RewritePDL
  RuntimeVerifiableOpInterface SCFDialect SCFTransforms SCFUtils
  ShapedOpInterfaces SideEffectInterfaces SubsetOpInterface Support
  TensorDialect TransformUtils Transforms UBDialect ValueBoundsOpInterface
  ViewLikeInterface)
list(TRANSFORM mlir_archives PREPEND ${IMBREX_LLVM_DIR}/lib/libMLIR)
list(TRANSFORM mlir_archives APPEND .a)
set(llvm_archives
  ${IMBREX_LLVM_DIR}/lib/libLLVMSupport.a
  ${IMBREX_LLVM_DIR}/lib/libLLVMDemangle.a)
foreach(archive ${mlir_archives} ${llvm_archives})
  if(NOT EXISTS ${archive})
    message(FATAL_ERROR "${archive} is missing; install libmlir-22-dev and "
                        "llvm-22-dev, or set IMBREX_LLVM_DIR")
  endif()
endforeach()

execute_process(COMMAND ${CMAKE_C_COMPILER} -print-file-name=libstdc++.a
                OUTPUT_VARIABLE libstdcxx OUTPUT_STRIP_TRAILING_WHITESPACE)

add_library(imbrex_mlir INTERFACE)
target_include_directories(imbrex_mlir SYSTEM INTERFACE
  ${IMBREX_LLVM_DIR}/include)
list(JOIN mlir_archives "," group)
target_link_libraries(imbrex_mlir INTERFACE
  $<LINK_GROUP:RESCAN,${group}> ${llvm_archives} ${libstdcxx} m)

find_program(MLIR_OPT mlir-opt PATHS ${IMBREX_LLVM_DIR}/bin NO_DEFAULT_PATH)

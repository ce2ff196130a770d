# SPDX-License-Identifier: Apache-2.0
#
# Code from src/frontend/onnx.proto, and models from text.

find_program(PROTOC_C protoc-c REQUIRED)
find_program(PROTOC protoc REQUIRED)

set(onnx_proto ${PROJECT_SOURCE_DIR}/src/frontend/onnx.proto)
set(onnx_gen ${CMAKE_BINARY_DIR}/gen)
file(MAKE_DIRECTORY ${onnx_gen})

add_library(imbrex_onnx_headers INTERFACE)
target_include_directories(imbrex_onnx_headers SYSTEM INTERFACE ${onnx_gen})

# The target onnx_pb: onnx.pb-c.{c,h}, compiled without our warnings.
if(EXISTS ${onnx_proto})
  add_custom_command(
    OUTPUT ${onnx_gen}/onnx.pb-c.c ${onnx_gen}/onnx.pb-c.h
    COMMAND ${PROTOC_C} --proto_path=${PROJECT_SOURCE_DIR}/src/frontend
            --c_out=${onnx_gen} ${onnx_proto}
    DEPENDS ${onnx_proto} COMMENT "Generating onnx.pb-c.{c,h}" VERBATIM)
  add_library(onnx_pb OBJECT
    ${onnx_gen}/onnx.pb-c.c ${onnx_gen}/onnx.pb-c.h)
  target_link_libraries(onnx_pb PRIVATE
    imbrex_options imbrex_onnx_headers PkgConfig::PROTOBUF_C)
endif()

# imbrex_encode(message text binary): a rule that turns protocol buffer text
# into bytes. `message` is ModelProto or TensorProto.
function(imbrex_encode message text binary)
  add_custom_command(
    OUTPUT ${binary}
    COMMAND ${CMAKE_COMMAND} -DPROTOC=${PROTOC} -DPROTO=${onnx_proto}
            -DMESSAGE=onnx.${message} -DTEXT=${text} -DBINARY=${binary}
            -P ${PROJECT_SOURCE_DIR}/cmake/encode.cmake
    DEPENDS ${text} ${onnx_proto} COMMENT "Encoding ${binary}" VERBATIM)
endfunction()

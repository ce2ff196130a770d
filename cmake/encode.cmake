# SPDX-License-Identifier: Apache-2.0
#
# cmake -DPROTOC= -DPROTO= -DMESSAGE= -DTEXT= -DBINARY= -P encode.cmake
# Turns protocol buffer text into bytes; leaves no file behind when it fails.

cmake_path(GET PROTO PARENT_PATH folder)
execute_process(
  COMMAND ${PROTOC} --proto_path=${folder} --encode=${MESSAGE} ${PROTO}
  INPUT_FILE ${TEXT} OUTPUT_FILE ${BINARY}.part RESULT_VARIABLE failed)
if(failed)
  file(REMOVE ${BINARY}.part)
  message(FATAL_ERROR "${TEXT}: not the text of a ${MESSAGE}")
endif()
file(RENAME ${BINARY}.part ${BINARY})

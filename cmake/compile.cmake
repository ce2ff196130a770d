# SPDX-License-Identifier: Apache-2.0
#
# How our own C is compiled and grouped into libraries.

set(CMAKE_C_STANDARD 17)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS OFF)
set(CMAKE_C_VISIBILITY_PRESET hidden)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_C_FLAGS_RELEASE "-O2 -DNDEBUG")
set(CMAKE_C_FLAGS_RELWITHDEBINFO "-O2 -g")

add_library(imbrex_options INTERFACE)
target_include_directories(imbrex_options INTERFACE
  ${PROJECT_SOURCE_DIR}/include ${PROJECT_SOURCE_DIR}/src
  ${PROJECT_SOURCE_DIR}/runtime)
target_compile_definitions(imbrex_options INTERFACE
  _POSIX_C_SOURCE=200809L _DEFAULT_SOURCE
  IBX_VERSION="${PROJECT_VERSION}")
# A fused multiply-add rounds once instead of twice: results would depend on
# the compiler that built the simulator.
target_compile_options(imbrex_options INTERFACE
  -ffp-contract=off -ffunction-sections -fdata-sections)
target_link_options(imbrex_options INTERFACE -Wl,--gc-sections)

# Instructions and views have some hundred bytes: `rep movs`, which gcc would
# copy and clear them by, takes longer to start than a call takes to do it.
include(CheckCCompilerFlag)
set(copies -mmemcpy-strategy=libcall:-1:noalign
           -mmemset-strategy=libcall:-1:noalign)
check_c_compiler_flag("${copies}" IMBREX_CHOOSES_COPIES)
if(IMBREX_CHOOSES_COPIES)
  target_compile_options(imbrex_options INTERFACE
    $<$<CONFIG:Release>:${copies}>)
endif()

add_library(imbrex_warnings INTERFACE)
target_compile_options(imbrex_warnings INTERFACE
  -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Wstrict-prototypes
  -Wmissing-prototypes -Wvla -Wundef -Werror)

if(IMBREX_SANITIZE)
  set(sanitize -fsanitize=${IMBREX_SANITIZE} -fno-omit-frame-pointer)
  if(IMBREX_SANITIZE MATCHES undefined)
    list(APPEND sanitize -fno-sanitize-recover=all)
  endif()
  add_compile_options(${sanitize})
  add_link_options(${sanitize})
endif()

# imbrex_sources(out folder): the C files of a folder. Parallel work adds files
# without editing any list.
function(imbrex_sources out folder)
  file(GLOB found CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/${folder}/*.c)
  set(${out} ${found} PARENT_SCOPE)
endfunction()

# imbrex_folder(folder): the target `folder` (slashes as underscores) with the
# objects of one folder; nothing when it has no C file. Files named gen_*.c
# are programs of their own.
function(imbrex_folder folder)
  imbrex_sources(sources ${folder})
  list(FILTER sources EXCLUDE REGEX "/gen_[^/]*\\.c$")
  if(NOT sources)
    return()
  endif()
  string(REPLACE / _ name ${folder})
  add_library(${name} OBJECT ${sources})
  target_link_libraries(${name} PRIVATE imbrex_options imbrex_warnings)
  if(folder MATCHES "^src/")
    # Only headers are wanted here; what links is said by the library.
    foreach(package imbrex_mlir imbrex_onnx_headers PkgConfig::PROTOBUF_C
                    PkgConfig::XXHASH PkgConfig::JANSSON)
      target_include_directories(${name} SYSTEM PRIVATE
        $<TARGET_PROPERTY:${package},INTERFACE_INCLUDE_DIRECTORIES>)
    endforeach()
    if(TARGET onnx_pb)
      add_dependencies(${name} onnx_pb)
    endif()
  else()
    target_link_libraries(${name} PRIVATE PkgConfig::LIBFFI)
  endif()
  if(folder MATCHES "^runtime/(host|sim)$")
    # Loops over elements: let the compiler vectorise them.
    target_compile_options(${name} PRIVATE $<$<CONFIG:Release>:-O3>)
  endif()
  if(folder STREQUAL "runtime/sim")
    # Neither changes a value; without them selections and roots stay scalar.
    target_compile_options(${name} PRIVATE -fno-math-errno -fno-trapping-math)
  endif()
endfunction()

# imbrex_library(name FOLDERS f... [USES library] LINK l...): NAME_static and
# NAME_shared out of the objects of these folders.
function(imbrex_library name)
  cmake_parse_arguments(arg "" USES "FOLDERS;LINK" ${ARGN})
  set(objects "")
  foreach(folder ${arg_FOLDERS})
    string(REPLACE / _ target ${folder})
    if(TARGET ${target})
      list(APPEND objects $<TARGET_OBJECTS:${target}>)
    endif()
  endforeach()
  if(NOT objects)
    file(WRITE ${CMAKE_BINARY_DIR}/gen/empty.c "typedef int ibx_empty;\n")
    set(objects ${CMAKE_BINARY_DIR}/gen/empty.c)
  endif()

  add_library(${name}_static STATIC ${objects})
  add_library(${name}_shared SHARED ${objects})
  set_target_properties(${name}_static ${name}_shared PROPERTIES
    OUTPUT_NAME ${name} LINKER_LANGUAGE C)
  set_target_properties(${name}_shared PROPERTIES
    VERSION ${PROJECT_VERSION} SOVERSION ${PROJECT_VERSION_MAJOR}
    EXPORT_NAME ${name})
  target_include_directories(${name}_static INTERFACE
    $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>)
  target_include_directories(${name}_shared INTERFACE
    $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>
    $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
  # Archives (MLIR, the C++ library, our own runtime's) stay private.
  target_link_options(${name}_shared PRIVATE
    -Wl,--gc-sections -Wl,--exclude-libs,ALL -static-libgcc)
  if(arg_USES)
    # Public calls come from the shared runtime; what it keeps to itself, and
    # the compiler uses (the instruction tables, the reference kernels), is
    # taken from its archive.
    target_link_libraries(${name}_static PUBLIC ${arg_USES}_static)
    target_link_libraries(${name}_shared PUBLIC ${arg_USES}_shared)
    target_link_libraries(${name}_shared PRIVATE ${arg_USES}_static)
  endif()
  target_link_libraries(${name}_static PUBLIC ${arg_LINK})
  target_link_libraries(${name}_shared PRIVATE ${arg_LINK})
endfunction()

# imbrex_program(target folder): `bin/imbrex`, and one program for every
# gen_*.c of the folder. Our own code is linked in, so that it starts fast.
function(imbrex_program target folder)
  string(REPLACE / _ objects ${folder})
  if(TARGET ${objects})
    add_executable(${target} $<TARGET_OBJECTS:${objects}>)
    set_target_properties(${target} PROPERTIES
      OUTPUT_NAME imbrex LINKER_LANGUAGE C)
    target_link_libraries(${target} PRIVATE imbrex_options imbrex_static)
    target_link_options(${target} PRIVATE -static-libgcc)
  endif()
  imbrex_sources(sources ${folder})
  list(FILTER sources INCLUDE REGEX "/gen_[^/]*\\.c$")
  foreach(source ${sources})
    cmake_path(GET source STEM name)
    add_executable(${name} ${source})
    target_link_libraries(${name} PRIVATE
      imbrex_options imbrex_warnings imbrex_static)
  endforeach()
endfunction()

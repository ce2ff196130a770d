# SPDX-License-Identifier: Apache-2.0
#
# Libraries of the host's calls. Each is optional: without it, the calls or
# image formats that need it are refused with the package that has it.

set(imbrex_host_libraries "")
set(imbrex_host_definitions "")
set(IMBREX_PC_HOST "") # for pkg-config --static

# imbrex_host_library(NAME module): IBX_HAS_NAME where pkg-config knows it.
function(imbrex_host_library name module)
  pkg_check_modules(${name} IMPORTED_TARGET ${module})
  if(NOT ${name}_FOUND)
    message(STATUS "without ${module}: its host calls are refused")
    return()
  endif()
  set(imbrex_host_libraries ${imbrex_host_libraries} PkgConfig::${name}
      PARENT_SCOPE)
  set(imbrex_host_definitions ${imbrex_host_definitions} IBX_HAS_${name}
      PARENT_SCOPE)
  set(IMBREX_PC_HOST "${IMBREX_PC_HOST} ${module}" PARENT_SCOPE)
endfunction()

imbrex_host_library(PCRE2 libpcre2-8)
imbrex_host_library(JPEG libjpeg)
imbrex_host_library(PNG libpng)
imbrex_host_library(TIFF libtiff-4)
imbrex_host_library(WEBP libwebp)
imbrex_host_library(OPENJPEG libopenjp2)

# imbrex_host_uses(target): its sources may use them.
function(imbrex_host_uses target)
  target_compile_definitions(${target} PRIVATE ${imbrex_host_definitions})
  target_link_libraries(${target} PRIVATE ${imbrex_host_libraries})
endfunction()

# SPDX-License-Identifier: Apache-2.0
#
# Libraries of the host's calls. Each is optional: without it, the calls or
# image formats that need it are refused.

# imbrex_host_library(NAME module): IBX_HAS_NAME where pkg-config knows it, and
# the library in the list imbrex_host_NAME.
function(imbrex_host_library name module)
  pkg_check_modules(${name} IMPORTED_TARGET ${module})
  if(${name}_FOUND)
    set(imbrex_host_${name} PkgConfig::${name} PARENT_SCOPE)
  else()
    message(STATUS "without ${module}: what needs it is refused")
  endif()
endfunction()

# imbrex_host_uses(target NAME...): its sources may use what was found of them.
function(imbrex_host_uses target)
  foreach(name ${ARGN})
    if(imbrex_host_${name})
      target_compile_definitions(${target} PRIVATE IBX_HAS_${name})
      target_link_libraries(${target} PRIVATE ${imbrex_host_${name}})
    endif()
  endforeach()
endfunction()

imbrex_host_library(PCRE2 libpcre2-8)
set(IMBREX_PC_HOST "") # for pkg-config --static
if(imbrex_host_PCRE2)
  set(IMBREX_PC_HOST " libpcre2-8")
endif()

# A library of its own reads images, as its libraries take longer to load than
# all else. It is opened by its name, which its users find beside themselves.
set(imbrex_image_libraries JPEG PNG TIFF WEBP OPENJPEG)
imbrex_host_library(JPEG libjpeg)
imbrex_host_library(PNG libpng)
imbrex_host_library(TIFF libtiff-4)
imbrex_host_library(WEBP libwebp)
imbrex_host_library(OPENJPEG libopenjp2)

function(imbrex_images)
  imbrex_sources(sources runtime/images)
  add_library(imbrex_images MODULE ${sources})
  target_link_libraries(imbrex_images PRIVATE imbrex_options imbrex_warnings)
  imbrex_host_uses(imbrex_images ${imbrex_image_libraries})
  target_link_options(imbrex_images PRIVATE -Wl,--as-needed)
  install(TARGETS imbrex_images DESTINATION ${CMAKE_INSTALL_LIBDIR})
endfunction()

# imbrex_finds_images(target where): `where` leads from the target's folder to
# that of the libraries where both are installed. The older tag of the path also
# holds for what is opened by way of another library, as sanitizers do.
function(imbrex_finds_images target where)
  add_dependencies(${target} imbrex_images)
  target_link_options(${target} PRIVATE -Wl,--disable-new-dtags)
  set_target_properties(${target} PROPERTIES
    BUILD_RPATH "$ORIGIN;$ORIGIN/../lib" INSTALL_RPATH "$ORIGIN/${where}")
endfunction()

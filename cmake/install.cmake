# SPDX-License-Identifier: Apache-2.0
#
# What `cmake --install` lays down: the program, both libraries (shared and
# static), headers, pkg-config files and a CMake package.

include(CMakePackageConfigHelpers)

# pkg-config files find themselves, so that an installed tree can be moved.
file(RELATIVE_PATH IMBREX_PC_PREFIX
     /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
# For pkg-config --static:
list(JOIN mlir_archives " " IMBREX_PC_MLIR)
list(JOIN llvm_archives " " llvm_text)
set(IMBREX_PC_MLIR "-Wl,--start-group ${IMBREX_PC_MLIR} -Wl,--end-group")
string(APPEND IMBREX_PC_MLIR " ${llvm_text} -lstdc++ -lm")

set(libraries imbrex_runtime)
if(IMBREX_BUILD_COMPILER)
  list(APPEND libraries imbrex)
  if(TARGET imbrex_driver)
    install(TARGETS imbrex_driver)
  endif()
endif()
foreach(library ${libraries})
  install(TARGETS ${library}_shared EXPORT imbrex)
  install(TARGETS ${library}_static)
  configure_file(cmake/${library}.pc.in gen/${library}.pc @ONLY)
  install(FILES ${CMAKE_BINARY_DIR}/gen/${library}.pc
          DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
endforeach()
install(DIRECTORY include/imbrex DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})

set(package ${CMAKE_INSTALL_LIBDIR}/cmake/imbrex)
install(EXPORT imbrex FILE imbrexConfig.cmake NAMESPACE imbrex::
        DESTINATION ${package})
write_basic_package_version_file(${CMAKE_BINARY_DIR}/gen/imbrexConfigVersion.cmake
                                 COMPATIBILITY SameMajorVersion)
install(FILES ${CMAKE_BINARY_DIR}/gen/imbrexConfigVersion.cmake
        DESTINATION ${package})

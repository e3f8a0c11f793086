# libkernels_forest: the forest predictor behind its C interface, with headers and a package for find_package(kernels).
include(CMakePackageConfigHelpers)

add_library(kernels_forest SHARED src/forest_api.cpp src/saved_forest.cpp $<TARGET_OBJECTS:kernels_objects>)
add_library(kernels::forest ALIAS kernels_forest)
target_include_directories(kernels_forest PUBLIC $<BUILD_INTERFACE:${CMAKE_CURRENT_SOURCE_DIR}/include>)
target_compile_features(kernels_forest PRIVATE cxx_std_17)
target_link_libraries(kernels_forest PRIVATE Threads::Threads)
set_target_properties(kernels_forest PROPERTIES CXX_VISIBILITY_PRESET hidden VISIBILITY_INLINES_HIDDEN ON EXPORT_NAME forest)
if(CMAKE_CXX_COMPILER_ID MATCHES "GNU|Clang")
  target_compile_options(kernels_forest PRIVATE -O3 -ffp-contract=off -Wall -Wextra -Wpedantic)
endif()

# A wheel, which cannot hold links that name versions, carries the library inside the package.
if(SKBUILD)
  set(KERNELS_PREFIX kernels/)
else()
  set(KERNELS_PREFIX "")
  set_target_properties(kernels_forest PROPERTIES VERSION 1.0.0 SOVERSION 1)
endif()
set(KERNELS_PACKAGE ${KERNELS_PREFIX}lib/cmake/kernels)
install(TARGETS kernels_forest EXPORT kernels_targets LIBRARY DESTINATION ${KERNELS_PREFIX}lib INCLUDES DESTINATION ${KERNELS_PREFIX}include)
install(FILES include/kernels/forest.h include/kernels/forest_api.hpp DESTINATION ${KERNELS_PREFIX}include/kernels)
install(EXPORT kernels_targets NAMESPACE kernels:: DESTINATION ${KERNELS_PACKAGE})
file(WRITE ${CMAKE_CURRENT_BINARY_DIR}/kernelsConfig.cmake "include(\${CMAKE_CURRENT_LIST_DIR}/kernels_targets.cmake)\n")
write_basic_package_version_file(${CMAKE_CURRENT_BINARY_DIR}/kernelsConfigVersion.cmake VERSION 1.0.0 COMPATIBILITY SameMajorVersion)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/kernelsConfig.cmake ${CMAKE_CURRENT_BINARY_DIR}/kernelsConfigVersion.cmake
  DESTINATION ${KERNELS_PACKAGE})

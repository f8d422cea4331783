# Compiler settings shared by every target.
set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "" FORCE)
endif()

find_program(CCACHE_PROGRAM ccache)
if(CCACHE_PROGRAM)
  set(CMAKE_C_COMPILER_LAUNCHER "${CCACHE_PROGRAM}")
  set(CMAKE_CXX_COMPILER_LAUNCHER "${CCACHE_PROGRAM}")
endif()

add_library(fp_flags INTERFACE)
target_include_directories(fp_flags INTERFACE
  "${CMAKE_SOURCE_DIR}/src" "${CMAKE_SOURCE_DIR}/include")
target_compile_options(fp_flags INTERFACE -Wall -Wextra -Wshadow -Wconversion
  -Wno-sign-conversion
  -Wno-restrict  # gcc 12 warns falsely about std::string operator+ (its bug 105651)
  -fno-math-errno -ffp-contract=off)
if(CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
  target_compile_options(fp_flags INTERFACE -Wno-unknown-warning-option)
endif()
if(FIELDPRINT_WERROR)
  target_compile_options(fp_flags INTERFACE -Werror)
endif()
if(FIELDPRINT_SANITIZE)
  target_compile_options(fp_flags INTERFACE "-fsanitize=${FIELDPRINT_SANITIZE}"
    -fno-sanitize-recover=all -fno-omit-frame-pointer -g1)
  target_link_options(fp_flags INTERFACE "-fsanitize=${FIELDPRINT_SANITIZE}")
endif()

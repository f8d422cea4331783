# CUDA kernels. FIELDPRINT_CUDA: AUTO (when nvcc is found), ON (nvcc must be there), OFF.
# Sets FIELDPRINT_HAS_CUDA. A build without nvcc needs nothing of CUDA.
set(FIELDPRINT_HAS_CUDA OFF)
if(NOT FIELDPRINT_CUDA STREQUAL "OFF")
  find_program(FIELDPRINT_NVCC nvcc HINTS /usr/local/cuda/bin)
  mark_as_advanced(FIELDPRINT_NVCC)
  if(FIELDPRINT_NVCC)
    set(CMAKE_CUDA_COMPILER "${FIELDPRINT_NVCC}")
    # Hopper only: the kernels use its copy engine and programmatic launches.
    set(CMAKE_CUDA_ARCHITECTURES 90a-real)
    enable_language(CUDA)
    # CMake 3.25 knows no C++20 flag of nvcc; later versions set the same one.
    if(NOT CMAKE_CUDA20_STANDARD_COMPILE_OPTION)
      set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION "-std=c++20")
      set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION "-std=c++20")
    endif()
    set(CMAKE_CUDA_STANDARD 20)
    set(CMAKE_CUDA_STANDARD_REQUIRED ON)
    find_package(CUDAToolkit REQUIRED)
    set(FIELDPRINT_HAS_CUDA ON)
  elseif(FIELDPRINT_CUDA STREQUAL "ON")
    message(FATAL_ERROR "FIELDPRINT_CUDA=ON, but no nvcc was found: "
      "set -DFIELDPRINT_NVCC=/path/to/nvcc, or use -DFIELDPRINT_CUDA=OFF")
  endif()
endif()
message(STATUS "CUDA kernels: ${FIELDPRINT_HAS_CUDA}")

# WINNOW_WITH_CUDA decides on the GPU backend: AUTO builds it where everything for it is found, ON stops where something is
# missing, OFF does not look. Sets WINNOW_CUDA_ENABLED, and NCCL_INCLUDE_DIR, CUDAToolkit_... and the language CUDA with it.
#
# Wanted: a libtorch with CUDA (its libraries are linked by the plugin), nvcc of the same major version (one kernel), and
# NCCL's header (the library is loaded when a team asks for it; libtorch brings one).
set(WINNOW_WITH_CUDA AUTO CACHE STRING "Build the GPU backend: AUTO, ON or OFF")
set_property(CACHE WINNOW_WITH_CUDA PROPERTY STRINGS AUTO ON OFF)

set(WINNOW_CUDA_ENABLED OFF)
if(NOT WINNOW_WITH_CUDA)
  return()
endif()

set(_missing "")
if(NOT Libtorch_HAS_CUDA)
  list(APPEND _missing "a libtorch built with CUDA (${Libtorch_LIBRARY_DIR} has none: jobs/setup.sh --torch cuda)")
else()
  find_package(CUDAToolkit QUIET)
  if(CUDAToolkit_NVCC_EXECUTABLE AND NOT CMAKE_CUDA_COMPILER)
    set(CMAKE_CUDA_COMPILER "${CUDAToolkit_NVCC_EXECUTABLE}")
  endif()
  if(NOT CUDAToolkit_FOUND OR NOT CMAKE_CUDA_COMPILER)
    list(APPEND _missing "the CUDA toolkit with nvcc (add it to PATH, or set CUDAToolkit_ROOT)")
  elseif(Libtorch_CUDA_MAJOR AND NOT CUDAToolkit_VERSION_MAJOR EQUAL Libtorch_CUDA_MAJOR)
    list(APPEND _missing "a CUDA toolkit ${Libtorch_CUDA_MAJOR}, which this libtorch is built with (found ${CUDAToolkit_VERSION})")
  endif()
  # Beside the toolkit, or in the wheel that a pip-installed torch depends on.
  find_path(NCCL_INCLUDE_DIR nccl.h HINTS ${CUDAToolkit_INCLUDE_DIRS} "${Libtorch_LIBRARY_DIR}/../../nvidia/nccl/include"
                                          "${NCCL_ROOT}/include")
  mark_as_advanced(NCCL_INCLUDE_DIR)
  if(NOT NCCL_INCLUDE_DIR)
    list(APPEND _missing "NCCL's header nccl.h (libnccl-dev; set NCCL_ROOT where it is elsewhere)")
  endif()
endif()

if(_missing)
  list(JOIN _missing "; " _missing)
  if(NOT WINNOW_WITH_CUDA STREQUAL "AUTO")
    message(FATAL_ERROR "WINNOW_WITH_CUDA=${WINNOW_WITH_CUDA}, but there is no ${_missing}.")
  endif()
  message(STATUS "Without CUDA: no ${_missing}")
  return()
endif()

if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
  set(CMAKE_CUDA_ARCHITECTURES all-major) # one small kernel: every machine's own code costs seconds
endif()
enable_language(CUDA)
file(STRINGS "${NCCL_INCLUDE_DIR}/nccl.h" _numbers REGEX "#define NCCL_(MAJOR|MINOR|PATCH) +[0-9]+")
list(TRANSFORM _numbers REPLACE "^.* ([0-9]+) *$" "\\1")
list(JOIN _numbers "." NCCL_VERSION)
set(WINNOW_CUDA_ENABLED ON)
message(STATUS "With CUDA ${CUDAToolkit_VERSION}, NCCL ${NCCL_VERSION}")

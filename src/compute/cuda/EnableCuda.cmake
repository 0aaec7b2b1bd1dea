# WINNOW_WITH_CUDA decides on the GPU backend: AUTO builds it where everything for it is found, ON stops where something is
# missing, OFF does not look. Sets WINNOW_CUDA_ENABLED and, with it, CUDA_VERSION, CUDA_INCLUDE_DIR, NCCL_VERSION,
# NCCL_INCLUDE_DIR and the language CUDA.
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
  # Not by FindCUDAToolkit: that of CMake 3.25 (Debian 12) stops with an error at the toolkits from 13 on.
  find_program(CUDA_NVCC nvcc HINTS ${CMAKE_CUDA_COMPILER} "${CUDAToolkit_ROOT}/bin" ENV CUDA_HOME PATHS /usr/local/cuda
               PATH_SUFFIXES bin)
  mark_as_advanced(CUDA_NVCC)
  set(CUDA_VERSION "")
  if(CUDA_NVCC)
    execute_process(COMMAND "${CUDA_NVCC}" --version OUTPUT_VARIABLE _text ERROR_QUIET)
    if(_text MATCHES "release [0-9.]+, V([0-9.]+)")
      set(CUDA_VERSION "${CMAKE_MATCH_1}")
    endif()
    file(REAL_PATH "${CUDA_NVCC}" _nvcc)
    get_filename_component(_toolkit "${_nvcc}/../.." ABSOLUTE)
    find_path(CUDA_INCLUDE_DIR cuda_runtime_api.h HINTS "${_toolkit}/include" NO_DEFAULT_PATH)
    find_path(CUDA_INCLUDE_DIR cuda_runtime_api.h)
    mark_as_advanced(CUDA_INCLUDE_DIR)
  endif()
  string(REGEX MATCH "^[0-9]+" _major "${CUDA_VERSION}")
  if(NOT CUDA_VERSION OR NOT CUDA_INCLUDE_DIR)
    list(APPEND _missing "the CUDA toolkit with nvcc (add it to PATH, or set CUDAToolkit_ROOT)")
  elseif(Libtorch_CUDA_MAJOR AND NOT _major EQUAL Libtorch_CUDA_MAJOR)
    list(APPEND _missing "a CUDA toolkit ${Libtorch_CUDA_MAJOR}, which this libtorch is built with (found ${CUDA_VERSION})")
  endif()
  # Beside the toolkit, or in the wheel that a pip-installed torch depends on.
  find_path(NCCL_INCLUDE_DIR nccl.h HINTS ${CUDA_INCLUDE_DIR} "${Libtorch_LIBRARY_DIR}/../../nvidia/nccl/include"
                                          "${NCCL_ROOT}/include")
  mark_as_advanced(NCCL_INCLUDE_DIR)
  if(NOT NCCL_INCLUDE_DIR)
    list(APPEND _missing "NCCL's header nccl.h (libnccl-dev; set NCCL_ROOT where it is elsewhere)")
  endif()
endif()

if(_missing)
  list(JOIN _missing "; " _missing)
  if(NOT WINNOW_WITH_CUDA STREQUAL "AUTO")
    message(FATAL_ERROR "WINNOW_WITH_CUDA=${WINNOW_WITH_CUDA}, but this is missing: ${_missing}.")
  endif()
  message(STATUS "Without CUDA, for want of ${_missing}")
  return()
endif()

if(NOT CMAKE_CUDA_COMPILER)
  set(CMAKE_CUDA_COMPILER "${CUDA_NVCC}")
endif()
if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
  set(CMAKE_CUDA_ARCHITECTURES all-major) # one small kernel: every machine's own code costs seconds
endif()
enable_language(CUDA)
file(STRINGS "${NCCL_INCLUDE_DIR}/nccl.h" _numbers REGEX "#define NCCL_(MAJOR|MINOR|PATCH) +[0-9]+")
list(TRANSFORM _numbers REPLACE "^.* ([0-9]+) *$" "\\1")
list(JOIN _numbers "." NCCL_VERSION)
set(WINNOW_CUDA_ENABLED ON)
message(STATUS "With CUDA ${CUDA_VERSION}, NCCL ${NCCL_VERSION}")

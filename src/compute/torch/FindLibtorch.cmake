# Finds libtorch, from a distribution's package or from a pip-installed torch, and makes the target winnow::libtorch.
#
# Why not TorchConfig.cmake: that of a CUDA wheel, which is what `pip install torch` brings, asks for a whole CUDA toolkit
# and stops without nvcc, although nothing of CUDA is needed to compile and link against libtorch_cpu.
#
# CMAKE_PREFIX_PATH may hold torch's own folder (…/site-packages/torch), what `torch.utils.cmake_prefix_path` prints
# (…/site-packages/torch/share/cmake), a virtual environment's root, or a plain prefix with include/ and lib/.
#
# Sets Libtorch_FOUND, Libtorch_VERSION, Libtorch_INCLUDE_DIR, Libtorch_LIBRARY_DIR, Libtorch_BLAS (the libblas.so.3 that
# would be loaded; empty where torch brings its own) and Libtorch_HAS_CUDA (it was built with CUDA). winnow::libtorch does
# not link that part; winnow::libtorch_with_cuda does, with the CUDA runtime that this libtorch loads itself, of the major
# version Libtorch_CUDA_MAJOR.

set(_libtorch_hints "")
foreach(_prefix ${Libtorch_ROOT} ${CMAKE_PREFIX_PATH})
  file(GLOB _wheels "${_prefix}/lib/python3*/site-packages/torch/include")
  list(APPEND _libtorch_hints "${_prefix}/include" "${_prefix}/../../include" ${_wheels})
endforeach()
find_path(Libtorch_INCLUDE_DIR torch/csrc/api/include/torch/version.h HINTS ${_libtorch_hints})

# The libraries beside those headers and no others: headers of one torch with the library of another link, and then crash.
foreach(_part torch torch_cpu c10)
  find_library(Libtorch_${_part}_LIBRARY ${_part} NO_DEFAULT_PATH
               HINTS "${Libtorch_INCLUDE_DIR}/../lib" "${Libtorch_INCLUDE_DIR}/../lib/${CMAKE_LIBRARY_ARCHITECTURE}"
                     "${Libtorch_INCLUDE_DIR}/../lib64")
  mark_as_advanced(Libtorch_${_part}_LIBRARY)
endforeach()
mark_as_advanced(Libtorch_INCLUDE_DIR)

if(Libtorch_INCLUDE_DIR)
  set(Libtorch_VERSION "")
  # Newer releases only include the second file from the first.
  foreach(_header torch/csrc/api/include/torch/version.h torch/headeronly/version.h)
    if(EXISTS "${Libtorch_INCLUDE_DIR}/${_header}")
      file(STRINGS "${Libtorch_INCLUDE_DIR}/${_header}" _numbers REGEX "#define TORCH_VERSION_(MAJOR|MINOR|PATCH) +[0-9]+")
      list(TRANSFORM _numbers REPLACE "^.* ([0-9]+) *$" "\\1")
      if(_numbers)
        list(JOIN _numbers "." Libtorch_VERSION)
      endif()
    endif()
  endforeach()
endif()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(Libtorch
  REQUIRED_VARS Libtorch_torch_cpu_LIBRARY Libtorch_c10_LIBRARY Libtorch_torch_LIBRARY Libtorch_INCLUDE_DIR
  VERSION_VAR Libtorch_VERSION
  REASON_FAILURE_MESSAGE "Install libtorch-dev (jobs/setup.sh does), or point CMAKE_PREFIX_PATH at a pip-installed torch.")

# Which libblas.so.3 the loader takes is decided outside this build (update-alternatives, LD_LIBRARY_PATH), so ask the loader.
function(_libtorch_find_blas library result)
  set(${result} "" PARENT_SCOPE)
  execute_process(COMMAND ldd "${library}" OUTPUT_VARIABLE loaded ERROR_QUIET)
  if(loaded MATCHES "libblas\\.so\\.3 => ([^ \n]+)")
    file(REAL_PATH "${CMAKE_MATCH_1}" real)
    set(${result} "${real}" PARENT_SCOPE)
  endif()
endfunction()

# The netlib reference implementation is named for nothing else than BLAS; each fast one has its name in its path or in what
# it loads (Debian's OpenBLAS is a thin libblas.so.3 over libopenblas.so.0).
function(_libtorch_refuse_reference_blas blas)
  set(fast "openblas|mkl|blis|atlas|flexiblas|armpl|nvpl")
  execute_process(COMMAND ldd "${blas}" OUTPUT_VARIABLE loaded ERROR_QUIET)
  if(NOT blas MATCHES "${fast}" AND NOT loaded MATCHES "${fast}")
    message(FATAL_ERROR
      "libtorch would compute with the reference BLAS (${blas}), about 60 times slower than OpenBLAS. "
      "Install libopenblas0-pthread and select it: update-alternatives --auto libblas.so.3-${CMAKE_LIBRARY_ARCHITECTURE} "
      "(jobs/setup.sh does both).")
  endif()
endfunction()

if(Libtorch_FOUND AND NOT TARGET winnow::libtorch)
  get_filename_component(Libtorch_LIBRARY_DIR "${Libtorch_torch_cpu_LIBRARY}" DIRECTORY)

  # A wheel built with the C++ ABI from before GCC 5 (torch 2.5 and older) cannot share strings with the distribution's fmt
  # and Boost, and would fail with hundreds of undefined symbols.
  if(EXISTS "${Libtorch_LIBRARY_DIR}/../share/cmake/Torch/TorchConfig.cmake")
    file(STRINGS "${Libtorch_LIBRARY_DIR}/../share/cmake/Torch/TorchConfig.cmake" _old_abi REGEX "_GLIBCXX_USE_CXX11_ABI=0")
    if(_old_abi)
      message(FATAL_ERROR "libtorch ${Libtorch_VERSION} in ${Libtorch_LIBRARY_DIR} is built with the old C++ ABI "
                          "(_GLIBCXX_USE_CXX11_ABI=0). Use torch 2.6 or newer, or the distribution's libtorch-dev.")
    endif()
  endif()

  # A wheel's include folder also holds fmt, pybind11 and others in versions of its own; only torch's own folders are shown
  # to the compiler, so that our fmt headers stay those of the libfmt that is linked.
  set(_include "${Libtorch_INCLUDE_DIR}")
  if(NOT Libtorch_INCLUDE_DIR STREQUAL "/usr/include")
    set(_include "${CMAKE_CURRENT_BINARY_DIR}/libtorch-${Libtorch_VERSION}-include")
    file(MAKE_DIRECTORY "${_include}")
    foreach(_folder torch ATen c10 caffe2)
      if(EXISTS "${Libtorch_INCLUDE_DIR}/${_folder}")
        file(CREATE_LINK "${Libtorch_INCLUDE_DIR}/${_folder}" "${_include}/${_folder}" SYMBOLIC)
      endif()
    endforeach()
  endif()

  foreach(_part c10 torch_cpu)
    add_library(winnow::libtorch_${_part} SHARED IMPORTED)
    set_target_properties(winnow::libtorch_${_part} PROPERTIES IMPORTED_LOCATION "${Libtorch_${_part}_LIBRARY}")
  endforeach()
  # libtorch.so itself is an empty shell that pulls in every part, CUDA's included; what has code is linked instead.
  add_library(winnow::libtorch INTERFACE IMPORTED)
  set_target_properties(winnow::libtorch PROPERTIES
    INTERFACE_SYSTEM_INCLUDE_DIRECTORIES "${_include};${_include}/torch/csrc/api/include"
    INTERFACE_INCLUDE_DIRECTORIES "${_include};${_include}/torch/csrc/api/include"
    INTERFACE_COMPILE_FEATURES cxx_std_17
    INTERFACE_LINK_LIBRARIES "winnow::libtorch_torch_cpu;winnow::libtorch_c10"
    # A CUDA wheel's libtorch_cpu needs libcudart and libcupti, which it finds by its own RPATH when loaded; ld does not.
    INTERFACE_LINK_OPTIONS "-Wl,--allow-shlib-undefined;-Wl,-rpath-link,${Libtorch_LIBRARY_DIR}")

  set(Libtorch_HAS_CUDA OFF)
  if(EXISTS "${Libtorch_LIBRARY_DIR}/libtorch_cuda.so")
    set(Libtorch_HAS_CUDA ON)
    foreach(_part c10_cuda torch_cuda)
      add_library(winnow::libtorch_${_part} SHARED IMPORTED)
      set_target_properties(winnow::libtorch_${_part} PROPERTIES IMPORTED_LOCATION "${Libtorch_LIBRARY_DIR}/lib${_part}.so")
    endforeach()
    # Two CUDA runtimes in one process would each have their own idea of the current device.
    execute_process(COMMAND ldd "${Libtorch_LIBRARY_DIR}/libc10_cuda.so" OUTPUT_VARIABLE _loaded ERROR_QUIET)
    if(_loaded MATCHES "libcudart\\.so\\.([0-9]+) => ([^ \n]+)")
      set(Libtorch_CUDA_MAJOR "${CMAKE_MATCH_1}")
      file(REAL_PATH "${CMAKE_MATCH_2}" _cudart)
      add_library(winnow::libtorch_cudart SHARED IMPORTED)
      set_target_properties(winnow::libtorch_cudart PROPERTIES IMPORTED_LOCATION "${_cudart}")
    else()
      set(Libtorch_CUDA_MAJOR "")
      add_library(winnow::libtorch_cudart INTERFACE IMPORTED)
    endif()
    # Nothing refers to libtorch_cuda by name: it registers its operators when it is loaded.
    add_library(winnow::libtorch_with_cuda INTERFACE IMPORTED)
    set_target_properties(winnow::libtorch_with_cuda PROPERTIES
      INTERFACE_LINK_LIBRARIES "winnow::libtorch;-Wl,--push-state,--no-as-needed;winnow::libtorch_torch_cuda;-Wl,--pop-state;winnow::libtorch_c10_cuda;winnow::libtorch_cudart")
  endif()

  _libtorch_find_blas("${Libtorch_torch_cpu_LIBRARY}" Libtorch_BLAS)
  if(Libtorch_BLAS)
    _libtorch_refuse_reference_blas("${Libtorch_BLAS}")
  endif()
endif()

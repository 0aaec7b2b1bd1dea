# WINNOW_WITH_TORCH decides on the torch backend: AUTO builds it if a libtorch is found, ON stops if none is, OFF does not look.
# Without it everything else works: the default backend never loads libtorch. Sets WINNOW_TORCH_ENABLED and what FindLibtorch
# sets. The GPU backend needs it.
set(WINNOW_WITH_TORCH AUTO CACHE STRING "Build the torch backend: AUTO, ON or OFF")
set_property(CACHE WINNOW_WITH_TORCH PROPERTY STRINGS AUTO ON OFF)

set(WINNOW_TORCH_ENABLED OFF)
if(WINNOW_WITH_TORCH STREQUAL "AUTO")
  find_package(Libtorch 1.13 QUIET)
elseif(WINNOW_WITH_TORCH)
  find_package(Libtorch 1.13 REQUIRED)
else()
  set(Libtorch_FOUND OFF)
endif()
if(Libtorch_FOUND)
  set(WINNOW_TORCH_ENABLED ON)
  message(STATUS "With libtorch ${Libtorch_VERSION}")
else()
  message(STATUS "Without the torch backend: no libtorch from 1.13 on, or WINNOW_WITH_TORCH=OFF")
endif()

cmake_minimum_required(VERSION 3.25)
# cmake -DSOURCE_DIR=... -DOUTPUT=... -P write_git_sha.cmake: writes the header only when the SHA changed, so that a build
# after a commit compiles one small file and a build after nothing compiles none.
# A copied source tree (a release archive) may lie inside somebody else's repository, so git's top level must be ours.
set(sha "unknown")
execute_process(COMMAND git rev-parse --show-toplevel WORKING_DIRECTORY "${SOURCE_DIR}" OUTPUT_VARIABLE top
                OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
if(top)
  file(REAL_PATH "${SOURCE_DIR}" source)
  file(REAL_PATH "${top}" top)
  if(top STREQUAL source)
    execute_process(COMMAND git rev-parse --short=12 HEAD WORKING_DIRECTORY "${SOURCE_DIR}" OUTPUT_VARIABLE sha
                    OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
    execute_process(COMMAND git diff --quiet HEAD -- WORKING_DIRECTORY "${SOURCE_DIR}" RESULT_VARIABLE changed ERROR_QUIET)
    if(changed EQUAL 1)
      string(APPEND sha "-modified")
    endif()
  endif()
endif()
file(CONFIGURE OUTPUT "${OUTPUT}" @ONLY CONTENT # leaves an unchanged file untouched
"#pragma once

#include <string_view>

namespace winnow::cli {
inline constexpr std::string_view git_sha = \"@sha@\";
}
")

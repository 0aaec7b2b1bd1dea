#!/usr/bin/env bash
# Builds the fuzzers and runs each on a copy of its kept corpus. Fails at the first crash, leak or time-out and names the
# input. Changes nothing outside the build directory.
#     tests/fuzz/run.sh [SECONDS [BUILD_DIR]]
# SECONDS are per fuzzer; 60, or $WINNOW_FUZZ_SECONDS, where not given. BUILD_DIR: build/fuzz.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
seconds=${1:-${WINNOW_FUZZ_SECONDS:-60}}
build=${2:-$root/build/fuzz}
[[ $seconds =~ ^[0-9]+$ ]] || { echo "usage: tests/fuzz/run.sh [SECONDS [BUILD_DIR]]" >&2; exit 2; }

cxx=${WINNOW_FUZZ_CXX:-}
for candidate in clang++-14 clang++; do
  [[ -n $cxx ]] || cxx=$(command -v "$candidate" || true)
done
[[ -n $cxx ]] || { echo "tests/fuzz/run.sh: no clang++ found; install clang-14" >&2; exit 1; }
cc=${cxx/clang++/clang}

mkdir -p "$build"
cmake -S "$root" -B "$build" -G Ninja -DCMAKE_C_COMPILER="$cc" -DCMAKE_CXX_COMPILER="$cxx" \
  -DCMAKE_BUILD_TYPE=RelWithDebInfo -DBUILD_SHARED_LIBS=OFF -DWINNOW_BUILD_TESTS=OFF -DWINNOW_BUILD_FUZZERS=ON \
  -DWINNOW_SANITIZE=fuzzer-no-link,address,undefined >"$build/configure.log" 2>&1 ||
  { cat "$build/configure.log" >&2; exit 1; }
cmake --build "$build" --target winnow_fuzzers

for source in "$here"/*_fuzz.cpp; do
  name=$(basename "$source" _fuzz.cpp)
  work=$build/fuzz-work/$name
  rm -rf "$work"
  mkdir -p "$work/corpus"
  cp "$here/corpus/$name"/* "$work/corpus/"
  dictionary=()
  [[ -f $here/$name.dict ]] && dictionary=("-dict=$here/$name.dict")
  echo "fuzz_$name: $seconds s, $(ls "$work/corpus" | wc -l) kept inputs"
  status=0
  "$build/fuzzers/fuzz_$name" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -max_len=4096 \
    -print_final_stats=1 -artifact_prefix="$work/" "${dictionary[@]}" "$work/corpus" >"$work/log" 2>&1 || status=$?
  if [[ $status -ne 0 ]]; then
    tail -n 60 "$work/log" >&2
    echo "fuzz_$name failed; its input lies in $work: add it to tests/fuzz/corpus/$name once it is mended" >&2
    exit 1
  fi
  grep -E '^(stat::number_of_executed_units|Done)' "$work/log"
done

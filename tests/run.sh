#!/usr/bin/env bash
# Installs what is missing, builds, and runs every test.
#
#   tests/run.sh [--preset release|debug|asan|tsan|cuda] [--torch distribution|pip|cuda|none] [--label REGEX] [--no-setup] [--needed]
#                [-- CTEST-OPTION...]
#
# --torch none tests a build without the torch backend, --torch pip a second build against the torch of Python's package index (exit code 69: index not reachable), and
# --preset cuda one with the GPU backend, which needs the CUDA toolkit but no GPU. With --needed only what the chosen tests run
# is built. What is skipped is listed at the end with the reason.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../jobs/common.sh"

preset=release torch=distribution setup=yes needed=no ctest_options=()
while (($#)); do
  case $1 in
    --preset) preset=${2:?--preset needs a name} && shift ;;
    --torch) torch=${2:?--torch needs distribution, pip, cuda or none} && shift ;;
    --label) ctest_options+=(-L "${2:?--label needs a pattern}") && shift ;;
    --no-setup) setup=no ;;
    --needed) needed=yes ;;
    -h | --help) sed -n '2,9s/^# \{0,1\}//p' "$0" && exit 0 ;;
    --) shift && ctest_options+=("$@") && break ;;
    *) die "unknown option $1; see --help" ;;
  esac
  shift
done
[[ $preset != cuda ]] || torch=cuda
[[ $torch == distribution || $torch == pip || $torch == cuda || $torch == none ]] ||
  die "--torch is distribution, pip, cuda or none, not $torch"

[[ $setup == no ]] || "$repository/jobs/setup.sh" --tests --torch "${torch/none/distribution}" || exit
choose_torch "$torch"
# Where released Python packages are installed they judge this program; an optimised build is enough for that.
if [[ $preset == release ]]; then
  if [[ -x $(python_environment)/bin/python ]]; then
    cmake_options+=("-DWINNOW_CONFORMANCE_PYTHON=$(python_environment)/bin/python")
  else
    say "The tests that need transformers and peft will be skipped; jobs/setup.sh --torch pip installs them."
  fi
fi

build=$repository/build/$preset
[[ $torch == distribution || $preset == cuda ]] || build=$build-$torch-torch
cd "$repository"
cmake --preset "$preset" -B "$build" "${cmake_options[@]}" </dev/null
targets=()
if [[ $needed == yes ]]; then
  # All files that the tests name, as programs, arguments or in their environment, and that Ninja can make.
  ctest --test-dir "$build" -N "${ctest_options[@]}" | sed -n 's/^ *Test *#[0-9]*: \(.*\)$/[=[\1]=]/p' >"$build/chosen_tests"
  mapfile -t targets < <(LC_ALL=C comm -12 \
    <(grep -rhF --include=CTestTestfile.cmake -f "$build/chosen_tests" "$build" | grep -oE "$build/[^\",;]+" | sed "s|^$build/||" | LC_ALL=C sort -u) \
    <(ninja -C "$build" -t targets all | sed 's/: [^:]*$//' | LC_ALL=C sort -u))
  ((${#targets[@]} == 0)) || targets=(--target "${targets[@]}")
fi
[[ $needed == yes && ${#targets[@]} == 0 ]] || cmake --build "$build" -j "$(build_jobs)" "${targets[@]}" </dev/null

export_mpi_environment
# Several tests run at once, and ranks outnumber cores: threads that wait must not spin.
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} OMP_WAIT_POLICY=passive
suppressions=$repository/tests/sanitizers
export ASAN_OPTIONS=${ASAN_OPTIONS:-strict_string_checks=1:detect_stack_use_after_return=1}
export LSAN_OPTIONS=${LSAN_OPTIONS:-suppressions=$suppressions/leak.txt:print_suppressions=0}
export UBSAN_OPTIONS=${UBSAN_OPTIONS:-print_stacktrace=1}
export TSAN_OPTIONS=${TSAN_OPTIONS:-suppressions=$suppressions/thread.txt:second_deadlock_stack=1}
result=0
junit=$build/Testing/junit.xml
rm -f "$junit"
# Two to a core, for most tests wait: for processes, time limits, storage. Those of several ranks count as two.
# Whole outputs, in which skipped.py looks for what programs skip by themselves.
ctest --test-dir "$build" --output-on-failure --no-tests=error -j "$((2 * $(usable_cores)))" --output-junit "$junit" \
  --test-output-size-passed 1000000 "${ctest_options[@]}" </dev/null || result=$?
[[ ! -s $junit ]] || ! command -v python3 >/dev/null || tests/harness/skipped.py "$junit"
exit "$result"

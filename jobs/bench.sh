#!/usr/bin/env bash
# Builds, makes a model family at 70B shapes and measures the program end to end: against the storage, its own passes, PyTorch.
#
#   jobs/bench.sh [--layers 4] [--repeats 5] [--directory DIR] [--published DIR] [--only NAMES] [--keep] [--json FILE]
#   jobs/bench.sh --quick       tiny shapes, one round, under a minute: shows that everything runs; its figures mean nothing
#   jobs/bench.sh --help        what is measured and how
#
# Takes about 30 GB below DIR (default out/bench), removed at the end unless --keep is given. What could not be measured is in
# the table with the reason. PyTorch: jobs/setup.sh --torch pip. Exit code 1: a result was wrong, not merely slow.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

python=$(python_environment)/bin/python
programs=()
[[ -x $python ]] && programs+=(--python-with-torch "$python")
[[ -x $python ]] || python=$(command -v python3) || die "needs Python: jobs/setup.sh --tests installs it"
bench() { PYTHONDONTWRITEBYTECODE=1 "$python" "$repository/tests/benchmark/bench.py" --directory "$repository/out/bench" "$@"; }
case " $* " in *" --help "* | *" -h "*) bench --help && exit 0 ;; esac

"$repository/jobs/setup.sh"
choose_torch distribution
log=$(mktemp --tmpdir winnow-build.XXXXXX.log)
build() { # a chain: `set -e` does not reach into a command that || follows
  local targets=(winnow raw_reader)
  cd "$repository" && cmake --preset release "${cmake_options[@]}" &&
    { [[ $(cmake --build --preset release --target help) != *kernel_benchmark* ]] || targets+=(kernel_benchmark); } &&
    cmake --build --preset release -j "$(build_jobs)" --target "${targets[@]}"
}
(build) >"$log" 2>&1 </dev/null || {
  tail -n 30 "$log" >&2
  die "the build failed (whole log: $log)"
}
rm -f "$log"
program() { find "$repository/build/release" -type f -name "$1" -perm -u+x | head -n 1; }
programs+=(--winnow "$(program winnow)" --raw-reader "$(program raw_reader)")
kernel_benchmark=$(program kernel_benchmark)
[[ -z $kernel_benchmark ]] || programs+=(--kernel-benchmark "$kernel_benchmark")

export_mpi_environment
bench "${programs[@]}" "$@"

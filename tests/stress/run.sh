#!/usr/bin/env bash
# run.sh [--build DIR] [OPTION...]: random cases of the program disturbed, of a build that is there (build/release by default).
# --cases N, --seed S, --case K (one of them alone), --variant NAME (of these alone), --keep DIR (what failed cases leave); see stress.py.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
build=$here/../../build/release
[[ ${1:-} != --build ]] || { build=${2:?--build needs a directory} && shift 2; }
exec python3 -B "$here/stress.py" --winnow "$build/src/cli/winnow" --disturb "$build/tests/stress/libwinnow_disturb.so" "$@"

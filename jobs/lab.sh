#!/usr/bin/env bash
# The laboratory: trains small models to refuse, trains adapters that do and do not undo that, audits and repairs them, and says
# how well each score and each repair did. Ends in one page (lab.html) and one JSON file (lab.json).
#
#   jobs/lab.sh [--output DIR] [--models N | --seeds 0,1,2,3] [--jobs N]     default: 2 models, a process each, out/lab
#   jobs/lab.sh --quick                               tiny models, a minute or two: shows that everything runs, figures mean nothing
#   jobs/lab.sh --model DIR --prompts FILE.jsonl --zoo DIR [--harmless FILE.jsonl] [--base DIR] --output DIR    a real model
#   jobs/lab.sh --help                                all options
#
# Deterministic by seed. An interrupted run goes on where it was. The program audited with is that of WINNOW, or built in this
# checkout, or winnow of PATH. Needs the Python environment of `jobs/setup.sh --tests --torch pip`.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

case " $* " in
  *" --help "* | *" -h "*) ;;
  *)
    if [[ -z ${WINNOW:-} ]]; then
      WINNOW=$(find "$repository/build/release" -type f -name winnow -perm -u+x -print -quit 2>/dev/null) || true
      [[ -n $WINNOW ]] || WINNOW=$(command -v winnow) ||
        die "no program: cmake --preset release && cmake --build --preset release, or set WINNOW"
    fi
    export WINNOW
    export_mpi_environment
    ;;
esac
run_python_package lab --output "$repository/out/lab" "$@"

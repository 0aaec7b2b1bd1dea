#!/usr/bin/env bash
# A scaling study: how throughput grows with ranks (strong: the same model, weak: as many more layers) and what adapters cost,
# measured on synthetic models, set against the model of `winnow plan` calibrated on this machine, and projected by it to 405B
# and 1024 ranks. Ends in one JSON file and one self-contained HTML page.
#
#   jobs/scaling.sh [OPTION...]                         here, under mpirun
#   sbatch [SBATCH-OPTION...] jobs/scaling.sbatch [OPTION...]    in a Slurm job, under srun, over all its nodes
#   jobs/scaling.sh --quick                             tiny shapes, a minute: shows that everything runs, figures mean nothing
#   jobs/scaling.sh --help                              all options
#
# The machine should be idle. The program is that of WINNOW, or built in this checkout, or winnow of PATH.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

python=$(command -v python3) || die "needs Python 3"
study() { PYTHONDONTWRITEBYTECODE=1 "$python" "$repository/jobs/scaling/study.py" "$@"; }
case " $* " in *" --help "* | *" -h "*) study --help && exit 0 ;; esac

if [[ -z ${WINNOW:-} ]]; then
  WINNOW=$(find "$repository/build/release" -type f -name winnow -perm -u+x -print -quit 2>/dev/null) || true
  [[ -n $WINNOW ]] || WINNOW=$(command -v winnow) ||
    die "no program: cmake --preset release && cmake --build --preset release, or set WINNOW"
fi
[[ -n ${SLURM_JOB_ID:-} ]] || export_mpi_environment
output=$repository/out/scaling
study --winnow "$WINNOW" --output "$output" "$@"

#!/usr/bin/env bash
# unittest.sh FOLDER MODULE WHICH [PYTHON]: a module of Python's unittest. Without PYTHON it is skipped: exit code 69, and the
# last line says that there is no Python of the kind that WHICH tells.
set -euo pipefail
folder=${1:?usage: unittest.sh FOLDER MODULE WHICH [PYTHON]} module=${2:?} which=${3:?} python=${4:-}
[[ -n $python ]] || { echo "skipped: there is no $which" && exit 69; }
[[ -x $python ]] || { echo "skipped: $python is not there, which was to be the $which" && exit 69; }
cd "$folder"
PYTHONDONTWRITEBYTECODE=1 exec "$python" -m unittest -v "$module"

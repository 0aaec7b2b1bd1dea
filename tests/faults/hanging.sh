#!/usr/bin/env bash
# hanging.sh HANGING_AUDIT: reads that never come back end the run on all ranks, with one message that names the rank.
set -uo pipefail
program=$(realpath "${1:?usage: hanging.sh HANGING_AUDIT}")
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source "$here/../checks.sh"
enter_own_folder hanging

# hangs RANKS WHO PART
hangs() {
  local what="$1 ranks, reads of $3 hang under $2" named=$2 left
  [[ $named != all ]] || named='[0-9]*'
  timeout -k 5 600 "$here/../mpi/launch.sh" "$1" bash -c 'echo $$ >pid.$OMPI_COMM_WORLD_RANK; exec "$@"' rank "$program" "$2" "$3" \
    >out 2>err
  check "$what: exit code" test $? = 1
  check "$what: not one message" test "$(grep -c '^winnow: ' err)" = 1
  check "$what: the rank is not named" grep -q "^winnow: error: rank $named on host $(uname -n) has made no progress" err
  for pid in $(cat pid.*); do
    for ((left = 3000; left > 0; --left)); do kill -0 "$pid" 2>/dev/null || break; sleep 0.1; done
    check "$what: a process is left" test $left -gt 0
  done
  rm -f pid.*
}

for ranks in 2 3 4 5 8; do
  hangs $ranks 0 /adapters/
  hangs $ranks $((ranks - 1)) /aligned/
  hangs $ranks all /aligned/
  hangs $ranks all /adapters/
done
verdict

#!/usr/bin/env bash
# Trains with `winnow watch` beside it, and ends the training at once where the watch finds something. On one machine, or as the
# last line of a Slurm job's script:
#
#   jobs/watch.sh RUN_DIR --probe harmful=DIR --bank bank.h5 [WATCH-OPTION...] -- srun python train.py --output_dir RUN_DIR
#
# The watch has --fail-on-findings and is one thread on the node of the script. From the environment:
#   WINNOW             the program (default: that of this installation, or winnow of PATH)
#   WINNOW_GRACE       seconds between SIGTERM and SIGKILL for a training that is ended (default 60)
#
# Exit code: 4 after a finding (the training got SIGTERM; its checkpoints stay as they are), else that of the training. A watch that
# cannot begin (2, 3: wrong options or probes) ends the training as well, with its own code: nobody asked for one that is not
# watched. One that fails otherwise (1) is told of, the training goes on, and the end is 1. TERM, INT and USR1 are handed on to the
# training.
set -uo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

say() { echo "watch.sh: $*" >&2; }
options=()
while (($#)) && [[ $1 != -- ]]; do
  options+=("$1")
  shift
done
(($# > 1 && ${#options[@]} > 0)) || { say "expected RUN_DIR, options of winnow watch, -- and the training's command" && exit 2; }
shift

folder=$(mktemp -d --tmpdir winnow-watch.XXXXXX) || exit 1
trap 'rm -rf "$folder"' EXIT
winnow=${WINNOW:-$(installed_winnow || echo winnow)}
"$winnow" watch "${options[@]}" --fail-on-findings --until-file "$folder/over" &
watcher=$!
"$@" &
training=$!
for signal in TERM INT USR1; do
  trap 'kill -'$signal' "$training" 2>/dev/null' $signal
done

# The exit code of a process; a signal that is handed on ends `wait`, not the process.
code_of() {
  local code
  while :; do
    wait "$1"
    code=$?
    kill -0 "$1" 2>/dev/null || break
  done
  # After a signal that came with the end, `wait` still knows it.
  ((code <= 128)) || { wait "$1" 2>/dev/null; local again=$?; ((again == 127)) || code=$again; }
  return "$code"
}
is_running() { kill -0 "$1" 2>/dev/null; }

end_training() {
  kill -TERM "$training" 2>/dev/null || return
  local second
  for ((second = 0; second < ${WINNOW_GRACE:-60}; ++second)); do
    is_running "$training" || return
    sleep 1
  done
  kill -KILL "$training" 2>/dev/null
}

while is_running "$watcher" && is_running "$training"; do
  wait -n "$watcher" "$training"
done
watched=''
if ! is_running "$watcher"; then
  code_of "$watcher"
  watched=$?
  case $watched in
    0) ;; # by an option of its own
    1) say "the watch has failed; the training goes on, unwatched" ;;
    *)
      say "the watch has ended with $watched: so does the training"
      end_training
      ;;
  esac
fi
code_of "$training"
trained=$?
touch "$folder/over"
if [[ -z $watched ]]; then
  code_of "$watcher" # after its last look
  watched=$?
fi
((watched < 2)) || exit "$watched"
((trained == 0)) || exit "$trained"
exit "$watched"

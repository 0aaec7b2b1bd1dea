#!/usr/bin/env bash
# run.sh WINNOW DISTURB: the program and the job scripts under a real Slurm, on a cluster of virtual hosts that this starts
# and ends.
# Exit code 69: there can be no such cluster here; the last line says why.
set -uo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
winnow=$(realpath "${1:?usage: run.sh WINNOW DISTURB}")
disturb=$(realpath "${2:?usage: run.sh WINNOW DISTURB}")
local_slurm=$here/../../cluster/local-slurm.sh
work=$(mktemp -d --tmpdir winnow-slurm-test.XXXXXX)
trap 'rm -rf "$work"' EXIT
mkdir "$work/tmp" "$work/jobs"

# What a cluster must not leave: interfaces, mounts, processes (those that have its folder among their arguments or variables).
traces() {
  ls /sys/class/net
  sort /proc/self/mounts
  grep -laFs -f <(echo "$work") /proc/[0-9]*/cmdline /proc/[0-9]*/environ # not as an argument: grep would find itself
  find "$work/tmp" -mindepth 1
}
traces >"$work/before"
cd "$work/jobs" || exit
# Everything ends with the cluster, and the cluster after half an hour whatever hangs.
TMPDIR=$work/tmp timeout --kill-after=10 1800 "$local_slurm" with-cluster --nodes 2 --cpus 4 --lifetime 1800 \
  "$here/cases.sh" "$winnow" "$disturb" <<<"as typed"
status=$?
((status != 69)) || exit 69
((status != 124 && status != 137)) || echo "FAILED: not done after half an hour"
traces >"$work/after"
# Others may meanwhile have ended what was there before.
comm -13 <(sort "$work/before") <(sort "$work/after") >"$work/left"
[[ ! -s $work/left ]] || {
  echo "FAILED: the cluster has left traces:" && cat "$work/left"
  status=1
}
# What a cluster removes at its end must be its own: a folder that holds anything else is refused.
mkdir -p "$work/own/log"
"$local_slurm" with-cluster --directory "$work/own" true >"$work/refusal" 2>&1
[[ $? == 1 && -d $work/own/log && $(<"$work/refusal") == *"holds other files"* ]] || {
  echo "FAILED: a cluster in a folder of other files:" && cat "$work/refusal"
  status=1
}
exit "$status"

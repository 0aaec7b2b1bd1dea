#!/usr/bin/env bash
# faults.sh WINNOW PART: what the program does when something breaks under it. Exit code 77: not possible here.
set -uo pipefail
winnow=$(realpath "${1:?usage: faults.sh WINNOW PART}")
part=${2:?usage: faults.sh WINNOW PART}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source "$here/../checks.sh"
enter_own_folder faults
RANDOM=${WINNOW_FAULT_SEED:=$((SRANDOM % 32768))}
echo "seed: WINNOW_FAULT_SEED=$WINNOW_FAULT_SEED"

# says TEXT: on stderr, in a line of ours.
says() { grep -F -- "$1" err | grep -c '^winnow: ' >/dev/null; }

audit=(audit --base family/base --aligned family/aligned --zoo family/adapters --backend reference --threads 1 --progress none)

make_family() {  # make_family LAYERS
  "$winnow" synth --layers "$1" --adapters 2 --rank 16 --misaligned 8 --seed 1 --output family >out 2>err || fail "synth"
  "$winnow" "${audit[@]}" --report whole.h5 >out 2>err || fail "an audit that nothing happens to"
  tables whole.h5 whole
}
# All numbers of a report, in full.
tables() { "$winnow" report "$1" --csv "$2" >out 2>err || fail "tables of $1"; }
same_as_whole() {  # same_as_whole WHAT REPORT
  rm -rf found
  tables "$2" found
  check "$1: other results" diff -rq whole found
}

# start RANKS ARGUMENT...: in the background, each rank's process number in pid.RANK; `run` is the launcher's.
start() {
  local ranks=$1
  shift
  rm -f pid.*
  "$here/../mpi/launch.sh" "$ranks" bash -c 'echo $$ >.pid.$OMPI_COMM_WORLD_RANK
    mv .pid.$OMPI_COMM_WORLD_RANK pid.$OMPI_COMM_WORLD_RANK; exec "$@"' rank "$winnow" "$@" >out 2>err &
  run=$!
}
running() { kill -0 $run 2>/dev/null; }
# Waits for at most a minute for a condition, or for the end of the run.
await() { for ((k = 0; k < 3000; ++k)); do "$@" && return; running || return; sleep 0.02; done; }
lives() { # a process that has not ended, though its parent may not have looked yet
  local state
  state=$(sed 's/.*) //' "/proc/$1/stat" 2>/dev/null) && [[ $state != Z* ]]
}
ranks_live() {
  local file
  for file in pid.*; do [[ -e $file ]] && lives "$(<"$file")" && return; done
  return 1
}
# Waits for the end of the run: `code`. What is tested are the ranks. Where one was killed, mpirun itself may lock up in its
# clean-up when all have ended (Open MPI 4.1 with PMIx 4.2: PMIx_server_finalize waits for a lock for ever).
end_run() {
  local waited=0
  launcher_hung=no
  while running && ranks_live && ((waited++ < 1200)); do sleep 0.05; done
  if running && ranks_live; then
    fail "a rank still lives after a minute"
    cat pid.* | xargs kill -KILL
  fi
  for ((waited = 0; waited < 300; ++waited)); do running || break; sleep 0.05; done
  if running; then
    echo "mpirun hangs though its ranks have ended: ended"
    launcher_hung=yes
    kill -KILL $run
  fi
  wait $run
  code=$?
}
begun() { [[ -n $(find "$1" -name '*.journal' -size +1k 2>/dev/null) ]]; }

now() { echo "${EPOCHREALTIME/[^0-9]/}"; }  # microseconds; in some languages with a comma

# A random rank, killed at 20 random points of runs that go on where the last one ended.
killed() {
  make_family 12
  local begin kills=0 runs=0 resumed=0 length moment ranks victim code
  begin=$(now)
  "$here/../mpi/launch.sh" 2 "$winnow" "${audit[@]}" --journal timed --report timed.h5 >out 2>err || fail "2 ranks"
  length=$(($(now) - begin))
  while ((kills < 20 && runs < 60)); do
    ranks=$((1 + RANDOM % 3)) victim=$((RANDOM % ranks)) runs=$((runs + 1))
    start $ranks "${audit[@]}" --journal journal --resume --report report.h5
    await test -e pid.$victim
    moment=$(($(now) + length * (RANDOM % 1000) / 1000))
    while running && (($(now) < moment)); do sleep 0.01; done
    running && kill -KILL "$(<pid.$victim)" 2>/dev/null && kills=$((kills + 1))
    end_run
    if [[ -e report.h5 ]]; then  # whole or not at all, whatever became of the run
      same_as_whole "killed, run $runs" report.h5
      [[ -e journal/incarnation-0002 ]] && resumed=$((resumed + 1))
      rm -rf journal report.h5
    else
      check "run $runs: exit code 0 without a report" test $code != 0
    fi
  done
  check "20 kills" test $kills = 20
  "$winnow" "${audit[@]}" --journal journal --resume --report report.h5 >out 2>err || fail "the last --resume"
  same_as_whole "the last --resume" report.h5
  [[ -e journal/incarnation-0002 ]] && resumed=$((resumed + 1))
  check "no run went on where a killed one ended" test $resumed -gt 0
  echo "$kills kills in $runs runs; $resumed reports came of several"
}

# SIGUSR1 to one rank, or to the launcher, which passes it on.
signalled() {
  make_family 48
  local to code
  for to in 0 2 launcher; do
    rm -rf journal report.h5
    start 3 "${audit[@]}" --journal journal --report report.h5
    await begun journal
    if [[ $to == launcher ]]; then kill -USR1 $run; else kill -USR1 "$(<pid.$to)"; fi
    wait $run
    code=$?
    check "SIGUSR1 to $to: exit code $code (0: it came too late, or nobody listened)" test $code = 75
    check "SIGUSR1 to $to: not told" says "stopped at a signal after"
    check "SIGUSR1 to $to: told more than once" test "$(grep -c '^winnow: ' err)" = 1
    check "SIGUSR1 to $to: a report" test ! -e report.h5
    "$here/../mpi/launch.sh" 2 "$winnow" "${audit[@]}" --journal journal --resume --report report.h5 >out 2>err ||
      fail "SIGUSR1 to $to: --resume"
    same_as_whole "SIGUSR1 to $to" report.h5
  done
}

# A tmpfs of some kilobytes, in a namespace of its own.
full_disk() {
  unshare --user --map-root-user --mount mount -t tmpfs -o size=16k winnow "$work" 2>/dev/null || {
    echo "skipped: this system does not let users mount in namespaces of their own, so there is no disk to fill"
    exit 77
  }
  make_family 4
  mkdir small
  export -f on_full_disk fail check says same_as_whole tables nothing_half_written
  export winnow failures
  unshare --user --map-root-user --mount bash -c "$(declare -p audit); on_full_disk; exit \$failures" ||
    failures=$((failures + 1))
}
on_full_disk() {
  mount -t tmpfs -o size=16k winnow small || { echo "cannot mount a tmpfs" && failures=1 && return; }
  "$winnow" "${audit[@]}" --report small/report.h5 >out 2>err
  check "report: exit code" test $? = 1
  check "report: not told" says "(No space left on device): small/"
  check "report: something is left" test -z "$(ls -A small)"
  "$winnow" "${audit[@]}" --report kept.h5 --repair drop --repaired-dir small/repaired >out 2>err
  check "adapters: exit code" test $? = 1
  check "adapters: not told" says "No space left on device"
  check "adapters: something is left" test -z "$(find small -type f)"
  same_as_whole "adapters: the report" kept.h5
  rm -rf small/*
  mount -o remount,size=8k small  # room for the description and a few records
  "$winnow" "${audit[@]}" --journal small/journal --report report.h5 >out 2>err
  check "journal: exit code" test $? = 1
  check "journal: not told" says "No space left on device"
  check "journal: no advice" says "make room and run again with --resume"
  check "journal: a report" test ! -e report.h5
  mount -o remount,size=4m small
  "$winnow" "${audit[@]}" --journal small/journal --resume --report report.h5 >out 2>err || fail "journal: --resume"
  same_as_whole "journal: --resume" report.h5
  nothing_half_written "full disk"
}

# An incarnation that was thought dead comes back when its successor has done the work.
incarnations() {
  make_family 48
  start 2 "${audit[@]}" --journal journal --report old.h5 --repair drop --repaired-dir old
  await begun journal
  if ! kill -STOP "$(<pid.0)" "$(<pid.1)" 2>/dev/null; then
    fail "the first run has ended too early"
    return
  fi
  local old=$run code
  mv err old.err
  "$winnow" "${audit[@]}" --journal journal --resume --report new.h5 >out 2>err || fail "the second run"
  same_as_whole "the second run" new.h5
  kill -CONT "$(<pid.0)" "$(<pid.1)"
  wait $old
  code=$?
  cp old.err err
  check "the first run: exit code $code" test $code = 1
  check "the first run: not told" says "another run has resumed this journal and taken over: journal/incarnation-0002"
  check "the first run: a report" test ! -e old.h5
  check "the first run: adapters" test ! -e old
  "$winnow" "${audit[@]}" --journal journal --resume --report third.h5 >out 2>err || fail "a third run"
  same_as_whole "a third run" third.h5
}

# A rank that is stopped and never answers.
silent() {
  make_family 48
  start 3 "${audit[@]}" --journal journal --report report.h5 --peer-timeout 2
  await begun journal
  local victim
  victim=$(<pid.1)
  kill -STOP "$victim" 2>/dev/null || fail "the run has ended too early"
  local waited=0 code
  end_run
  [[ $launcher_hung == yes ]] || check "exit code $code" test $code = 1
  check "not told" says "rank 1 on host $(uname -n) has not answered for "
  check "a report" test ! -e report.h5
  waited=0
  while kill -0 "$victim" 2>/dev/null && ((waited++ < 100)); do sleep 0.1; done
  check "the silent rank is left behind" test ! -e "/proc/$victim"
  "$winnow" "${audit[@]}" --journal journal --resume --report report.h5 >out 2>err || fail "--resume"
  same_as_whole "--resume" report.h5
}

# Every rank is busy for longer than a rank may be silent.
outlast() {
  local layers=24 begin=0 took=0 ranks
  while ((took < 4000000)); do
    rm -rf family && make_family $((layers *= 2))
    begin=$(now)
    "$here/../mpi/launch.sh" 2 "$winnow" "${audit[@]}" --element-stats --peer-timeout 1 --report report.h5 >out 2>err ||
      { fail "2 ranks, $layers layers: exit code $?" && return; }
    took=$(($(now) - begin))
  done
  echo "2 ranks: $((took / 1000)) ms"
  for ranks in 1 3 4 5 8; do
    "$here/../mpi/launch.sh" $ranks "$winnow" "${audit[@]}" --element-stats --peer-timeout 1 --report report.h5 >out 2>err ||
      fail "$ranks ranks, $layers layers: exit code $?"
  done
}

run_part "$part" killed signalled full_disk incarnations silent outlast

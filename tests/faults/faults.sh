#!/usr/bin/env bash
# faults.sh WINNOW DISTURB PART: what the program does when something breaks under it, at moments that are counted in its own
# calls (tests/stress/disturb.cpp, the library DISTURB). Exit code 77: not possible here.
set -uo pipefail
winnow=$(realpath "${1:?usage: faults.sh WINNOW DISTURB PART}")
disturb=$(realpath "${2:?usage: faults.sh WINNOW DISTURB PART}")
part=${3:?usage: faults.sh WINNOW DISTURB PART}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source "$here/../checks.sh"
enter_own_folder faults
RANDOM=${WINNOW_FAULT_SEED:=$((SRANDOM % 32768))}
echo "seed: WINNOW_FAULT_SEED=$WINNOW_FAULT_SEED"

# says TEXT: on stderr, in a line of ours.
says() { grep -F -- "$1" err | grep -c '^winnow: ' >/dev/null; }

audit=(audit --base family/base --aligned family/aligned --zoo family/adapters --select keep-top:10 --backend reference --threads 1 --progress none)

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

# start RULES RANKS ARGUMENT...: in the background, disturbed as RULES say, each rank's process number in notes/pid.RANK;
# `run` is the launcher's.
start() {
  local rules=$1 ranks=$2
  shift 2
  rm -rf notes
  mkdir notes
  # An address sanitizer would be the first library itself.
  WINNOW_DISTURB=$rules WINNOW_DISTURB_ROOT=$work WINNOW_DISTURB_NOTES=$work/notes \
    ASAN_OPTIONS="${ASAN_OPTIONS:+$ASAN_OPTIONS:}verify_asan_link_order=0" \
    "$here/../mpi/launch.sh" "$ranks" env LD_PRELOAD="$disturb" "$winnow" "$@" >out 2>err &
  run=$!
}
running() { kill -0 $run 2>/dev/null; }
# Waits for a condition, or for the end of the run; for five minutes, when something is wrong.
await() { for ((k = 0; k < 15000; ++k)); do "$@" && return; running || return; sleep 0.02; done; }
state() { sed 's/.*) //; s/ .*//' "/proc/$1/stat" 2>/dev/null; }
lives() { [[ $(state "$1") == [!ZX]* ]]; }  # it has not ended, though its parent may not have looked yet
stopped() { # RANK...: by a rule
  local rank
  for rank; do [[ -e notes/hit.0.$rank && $(state "$(<notes/pid.$rank)") == T ]] || return; done
}
signal_pends() { # NUMBER PROCESS
  local mask
  for mask in $(sed -n 's/^S[hi][dg]Pnd:\t/0x/p' "/proc/$2/status"); do ((mask >> ($1 - 1) & 1)) && return; done
  return 1
}
ranks_live() {
  local file
  for file in notes/pid.*; do [[ -e $file ]] && lives "$(<"$file")" && return; done
  return 1
}
# Waits for the end of the run: `code`. What is tested are the ranks. Where one was killed, mpirun itself may lock up in its
# clean-up when all have ended (Open MPI 4.1 with PMIx 4.2: PMIx_server_finalize waits for a lock for ever).
end_run() {
  local waited=0
  launcher_hung=no
  while running && { [[ ! -e notes/pid.0 ]] || ranks_live; } && ((waited++ < 6000)); do sleep 0.05; done
  if running && ranks_live; then
    fail "a rank still lives after five minutes"
    cat notes/pid.* | xargs kill -KILL
  fi
  for ((waited = 0; waited < 1200; ++waited)); do running || break; sleep 0.05; done
  if running; then
    echo "mpirun hangs though its ranks have ended: ended"
    launcher_hung=yes
    kill -KILL $run
  fi
  wait $run
  code=$?
}

# A random rank, killed at 20 random moments of runs that go on where the last one ended.
killed() {
  make_family 12
  local kills=0 runs=0 resumed=0 ranks victim call code
  while ((kills < 20 && runs < 200)); do
    ranks=$((1 + RANDOM % 3)) victim=$((RANDOM % ranks)) runs=$((runs + 1))
    case $((RANDOM % 4)) in
      0) call="read family/* $((1 + RANDOM % 200))" ;;
      1) call="* report.h5 $((1 + RANDOM % 6))" ;;
      *) call="write journal/*.journal $((1 + RANDOM % 20))" ;;
    esac
    ((kills > 0)) || call="write journal/*.journal 6" # for sure, and with modules to go on from
    start "$victim $call kill" $ranks "${audit[@]}" --journal journal --resume --report report.h5
    end_run
    [[ ! -e notes/hit.0.$victim ]] || kills=$((kills + 1))
    if [[ -e report.h5 ]]; then  # whole or not at all, whatever became of the run
      same_as_whole "killed, run $runs" report.h5
      [[ -e journal/incarnation-0002 ]] && resumed=$((resumed + 1))
      rm -rf journal report.h5
    else
      check "run $runs, $call: exit code 0 without a report" test $code != 0
    fi
  done
  check "20 kills" test $kills = 20
  "$winnow" "${audit[@]}" --journal journal --resume --report report.h5 >out 2>err || fail "the last --resume"
  same_as_whole "the last --resume" report.h5
  [[ -e journal/incarnation-0002 ]] && resumed=$((resumed + 1))
  check "no run went on where a killed one ended" test $resumed -gt 0
  echo "$kills kills in $runs runs; $resumed reports came of several"
}

# SIGUSR1 to one rank, or to the launcher, which passes it on: with its third module.
signalled() {
  make_family 12
  local to code third="write journal/*.journal 4"
  for to in 0 2 launcher; do
    rm -rf journal report.h5
    if [[ $to == launcher ]]; then
      start "0 $third stop" 3 "${audit[@]}" --journal journal --report report.h5
      await stopped 0
      kill -USR1 $run
      await signal_pends 10 "$(<notes/pid.0)"
      kill -CONT "$(<notes/pid.0)"
    else
      start "$to $third signal 10" 3 "${audit[@]}" --journal journal --report report.h5
    fi
    wait $run
    code=$?
    check "SIGUSR1 to $to: exit code $code (0: nobody listened)" test $code = 75
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
  make_family 12
  start "* write journal/*.journal 4 stop" 2 "${audit[@]}" --journal journal --report old.h5 --repair drop --repaired-dir old
  await stopped 0 1
  local old=$run ranks code
  ranks=$(cat notes/pid.0; echo; cat notes/pid.1)
  mv err old.err
  "$winnow" "${audit[@]}" --journal journal --resume --report new.h5 >out 2>err || fail "the second run"
  same_as_whole "the second run" new.h5
  kill -CONT $ranks
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
  make_family 12
  start "1 write journal/*.journal 4 stop" 3 "${audit[@]}" --journal journal --report report.h5 --peer-timeout 5
  local code
  end_run # which waits for the end of the silent one as well
  check "rank 1 was not stopped" test -e notes/hit.0.1
  [[ $launcher_hung == yes ]] || check "exit code $code" test $code = 1
  check "not told" says "rank 1 on host $(uname -n) has not answered for "
  check "a report" test ! -e report.h5
  "$winnow" "${audit[@]}" --journal journal --resume --report report.h5 >out 2>err || fail "--resume"
  same_as_whole "--resume" report.h5
  # Before all is known that the ranks are to do.
  echo "# nothing" >options.conf
  start "1 read options.conf 1 hang" 3 report whole.h5 --config options.conf --peer-timeout 5
  end_run
  check "--config hangs: exit code $code" test $code = 1
  check "--config hangs: not told" says "rank 1 on host $(uname -n) has made no progress for "
}

# Storage serves every rank, but slowly: the run outlasts the time limit, and nobody is silent.
outlast() {
  local ranks code
  make_family 4
  for ranks in 1 2 3 4 5 8; do
    rm -f report.h5
    start "* read *.safetensors 1+ delay 150" $ranks "${audit[@]}" --peer-timeout 1 --report report.h5
    end_run
    check "$ranks ranks: exit code $code" test $code = 0
    same_as_whole "$ranks ranks" report.h5
  done
}

# A signal comes while a directory is looked through, which network file systems let through: every command looks again.
interrupted() {
  make_family 2
  local case code rules arguments
  "$winnow" prune --report whole.h5 --adapter family/adapters/adapter-000 --output pruned >out 2>err || fail "prune"
  start "0 write begun/*.journal 4 kill" 1 "${audit[@]}" --journal begun --report report.h5
  end_run
  while IFS='|' read -r case rules arguments; do
    rm -rf again journal report.h5
    cp -r begun journal
    read -ra arguments <<<"$arguments"
    start "$rules" 1 "${arguments[@]}" </dev/null
    end_run
    check "$case: no signal came" test -e notes/hit.0.0
    check "$case: exit code $code" test $code = 0
  done <<END # one a line: what, rule, command
a zoo|0 open family/adapters 1 fail 4|${audit[*]} --report report.h5
an adapter of the zoo|0 open family/adapters/adapter-001 1 fail 4|${audit[*]} --report report.h5
a journal|0 open journal 1 fail 4|${audit[*]} --journal journal --resume --report report.h5
an adapter that is copied|0 open family/adapters/adapter-000 1 fail 4|prune --report whole.h5 --adapter family/adapters/adapter-000 --output again
a family that is there|0 open family 1 fail 4|synth --layers 2 --adapters 2 --rank 16 --misaligned 8 --seed 1 --output family
END
}

run_part "$part" killed signalled full_disk incarnations silent outlast interrupted

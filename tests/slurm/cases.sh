#!/usr/bin/env bash
# cases.sh WINNOW DISTURB: what is tested, run on the login node of a local cluster of two hosts, in an empty folder that all
# hosts see, with a line of text to read. DISTURB: the library tests/stress/disturb.cpp.
set -uo pipefail
winnow=$1 disturb=$2
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repository=$(cd "$here/../.." && pwd)
export WINNOW=$winnow OMP_NUM_THREADS=1
source "$here/../checks.sh"
started=$SECONDS
case_of() {
  echo "[$((SECONDS - started)) s] $1"
  rm -f out err
}

# The numbers of a report, all digits.
tables() { "$winnow" report "$1" --csv "$1.csv" && (cd "$1.csv" && tail -n +1 -- *.csv); }
same_numbers() {
  diff <(tables "$1") <(tables "$2") >differences && [[ -s $1.csv/metrics.csv ]] || {
    head -n 5 differences | cut -c 1-300
    false
  }
}
shows() { grep -qF -- "$2" "$1" || { echo "no '$2' in $1:" && tail -n 20 "$1" | cut -c 1-300 && false; }; }

shows_quietly() { grep -qF -- "$2" "$1" 2>/dev/null; }
job_field() { scontrol show job --oneliner "$1" 2>/dev/null | sed -n "s/.*\b$2=\([^ ]*\).*/\1/p"; }
wait_for() { # SECONDS DESCRIPTION COMMAND...
  local end=$((SECONDS + $1)) description=$2
  shift 2
  until "$@"; do
    ((SECONDS < end)) || { fail "waited in vain: $description" && squeue && return 1; }
    sleep 0.1
  done
}
ended() { # a controller that does not answer says nothing of a job either
  local listed
  listed=$(squeue --noheader --jobs "$1" 2>/dev/null) && [[ -z $listed ]]
}
wait_for_job() { wait_for 600 "the end of job $1" ended "$1"; }
journal_bytes() { find "$1" -type f -name '*.journal' -printf '%s\n' 2>/dev/null | awk '{ sum += $1 } END { print sum + 0 }'; }

# Slow enough to be interrupted: plain float64 loops over many columns.
"$winnow" synth --adapters 40 --rank 32 --misaligned 12 --seed 1 --output "$PWD/family" >/dev/null || fail "synth"
ln -s . family/adapters/again # a folder that holds itself: neither a way round nor an adapter
# The last of three slices: nothing in it can be scored, and the merge goes on.
for k in {00..19}; do mkdir "family/adapters/broken-$k" && echo '{}' >"family/adapters/broken-$k/adapter_config.json"; done
models=(--base "$PWD/family/base" --aligned "$PWD/family/aligned")
audit=("${models[@]}" --zoo "$PWD/family/adapters" --backend reference)
# Time: more than the 5 minutes before its limit at which audit.sbatch is told of that.
size=(--ntasks-per-node=2 --cpus-per-task=1 --mem-per-cpu=200 --time=15)

case_of "a command on the login node reads what is typed"
read -r typed
check "read '$typed'" test "$typed" = "as typed"
exec </dev/null # or srun would take it

case_of "2 hosts x 2 ranks through PMIx give what one rank gives"
"$winnow" audit "${audit[@]}" --report alone.h5 --journal alone.journal >/dev/null 2>err || fail "alone"
verdict # without that there is nothing to compare with
whole_journal=$(journal_bytes alone.journal)
srun --nodes=2 --ntasks-per-node=2 --mpi=pmix "$winnow" audit "${audit[@]}" --report srun.h5 >out 2>err || fail "srun"
check "4 ranks under srun: other numbers" same_numbers alone.h5 srun.h5
"$winnow" report srun.h5 --json srun.json
check "the report does not tell its 4 ranks" shows srun.json '"mpi_ranks":4'
check "the report does not tell its job" shows srun.json '"slurm_job_id":"'

case_of "tasks that MPI sees as one rank each are refused"
srun --ntasks=2 --mpi=none "$winnow" audit "${audit[@]}" --report copies.h5 >out 2>err
check "exit code of copies" test $? = 2
check "copies are not named" shows err "Slurm started 2 tasks but MPI sees only one rank"
check "copies have written" test ! -e copies.h5

case_of "a zoo as a job array, merged"
of_array=(--sbatch --nodes=1)
for option in "${size[@]}"; do of_array+=(--sbatch "$option"); done
read -r array merge < <("$repository/jobs/zoo.sh" --zoo "$PWD/family/adapters" --output zoo --slices 3 \
  "${of_array[@]}" --sbatch --partition=urgent --merge-sbatch --time=9 \
  -- "${models[@]}" --backend reference)
check "no jobs of a zoo" test -n "${merge:-}"
wait_for_job "$merge"
check "tasks of the array: $(job_field "$array" JobState)" test "$(job_field "$array" JobState | sort -u)" = COMPLETED
check "the merge: $(job_field "$merge" JobState)" test "$(job_field "$merge" JobState)" = COMPLETED
check "the merge is not where the array is" test "$(job_field "$merge" Partition)" = urgent
check "the merge has not its own option" test "$(job_field "$merge" TimeLimit)" = 00:09:00
check "merged: other numbers than one run's" same_numbers alone.h5 zoo/report.h5
[[ -s zoo/report.h5 ]] || tail -n 5 zoo/slices/*.log zoo/merge.log

# The program, held with its fifth module until there is a file `go`.
cat >held <<SCRIPT
#!/bin/sh
LD_PRELOAD=$disturb WINNOW_DISTURB="* write *.journal 6 hold" WINNOW_DISTURB_ROOT=$PWD exec "$winnow" "\$@"
SCRIPT
chmod +x held
# A job on both hosts, once each of its ranks has journalled modules, and holds. Sets `job` and `report`.
start_audit() { # NAME [SBATCH-OPTION...]
  local name=$1
  shift
  report=$name.h5
  mkdir "$name.notes"
  job=$(WINNOW=$PWD/held WINNOW_DISTURB_NOTES=$PWD/$name.notes sbatch --parsable --nodes=2 "${size[@]}" --output="$name.log" \
    "$@" "$repository/jobs/audit.sbatch" "${audit[@]}" --report="$report")
  wait_for 600 "journalled modules of $name" held "$name"
}
held() { [[ $(ls "$1.notes" | grep -c '^hit') == 4 ]]; }
go_on() { touch "$1.notes/go"; }
resumed() { # NAME: it ended well after a restart (two, where Slurm and the job both asked for it), having resumed
  wait_for_job "$job"
  check "$1: job ended $(job_field "$job" JobState)" test "$(job_field "$job" JobState)" = COMPLETED
  check "$1: $(job_field "$job" Restarts) restarts" test "$(job_field "$job" Restarts)" -ge 1
  check "$1: other numbers" same_numbers alone.h5 "$report"
  local first second
  first=$(journal_bytes "$1.journal/incarnation-0001") second=$(journal_bytes "$1.journal/incarnation-0002")
  check "$1: did again what was done: $first and $second bytes journalled of $whole_journal" \
    test "$second" -lt "$whole_journal" -a "$((first + second))" -lt "$((whole_journal * 3 / 2))"
}

case_of "told before its time limit, a job requeues itself and resumes"
start_audit told
scancel --batch --signal=USR1 "$job"
wait_for 600 "the job to hear of it" shows_quietly told.log "told to stop"
go_on told
resumed told

case_of "preempted, likewise"
start_audit preempted
sbatch --partition=urgent --nodes=2 --ntasks-per-node=4 --time=1 --output=/dev/null --wrap 'sleep 1' >/dev/null
wait_for 600 "the job to hear of it" shows_quietly preempted.log "told to stop"
go_on preempted
resumed preempted

case_of "a host fails: the job is requeued and resumes"
start_audit crashed
"$repository/cluster/slurm/crash-host.sh" "$LOCAL_SLURM" 2
scontrol update NodeName=n2 State=DOWN Reason=crashed
"$repository/cluster/slurm/boot-host.sh" "$LOCAL_SLURM" 2
go_on crashed
resumed crashed

case_of "a cancelled job stays away"
start_audit cancelled
scancel "$job"
go_on cancelled
wait_for_job "$job"
srun --nodes=2 true # what was to be started before that has been
check "cancelled: $(job_field "$job" JobState)" test "$(job_field "$job" JobState)" = CANCELLED
check "a cancelled job came back" ended "$job"
check "a cancelled job has a report" test ! -e cancelled.h5

echo "[$((SECONDS - started)) s] $failures failures"
((failures == 0))

#!/usr/bin/env bash
# zoo.sh WINNOW PART: a zoo of 1000 adapters. limits: memory and open files bounded; metadata: configs and headers are
# read once each, whatever the number of ranks (counted with strace).
set -uo pipefail
winnow=$(realpath "${1:?usage: zoo.sh WINNOW PART}")
part=${2:?usage: zoo.sh WINNOW PART}
tests=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
launch=$tests/mpi/launch.sh
source "$tests/checks.sh"
enter_own_folder zoo
adapters=1000

# make_zoo RANK: 1000 directories of links to the weights of 20 adapters, each with a scale of its own: else they would be 20.
make_zoo() {
  local number directory source
  "$winnow" synth --layers 2 --adapters 20 --rank "$1" --misaligned 2 --seed 1 --output family >/dev/null 2>err || fail synth
  for ((number = 0; number < adapters; ++number)); do
    directory=zoo/adapter-$(printf %04d "$number")
    source=$work/family/adapters/adapter-$(printf %03d $((number % 20)))
    mkdir -p "$directory" && ln -s "$source/adapter_model.safetensors" "$directory" &&
      sed "s/\"lora_alpha\": [0-9.]*/\"lora_alpha\": $((16 + number / 20))/" "$source/adapter_config.json" \
        >"$directory/adapter_config.json" || fail "cannot make $directory"
  done
  audit=(audit --base family/base --aligned family/aligned --zoo zoo --population zoo --progress none)
}

# Largest resident memory of the run, as its report tells, in MiB.
peak() {
  "$winnow" report "$1" --json - | grep -oE '"peak_memory_bytes": ?[0-9]+' | grep -oE '[0-9]+' | sort -n | tail -1 |
    awk '{print int($1 / 1048576)}'
}

limits() {
  local budget=128 overhead=64 bounded unbounded
  make_zoo 16
  (
    ulimit -n 64 &&
      exec "$winnow" "${audit[@]}" --memory-budget ${budget}MiB --report small.h5
  ) >out 2>err || fail "an audit of $adapters adapters with 64 open files at most"
  grep -qF "$adapters adapters (0 quarantined)" out || fail "not all are scored"
  [[ $(grep -cE '^ +[0-9]+ +adapter-' out) == 50 ]] || fail "the table does not list the 50 worst"
  (($(wc -l <out) < 150)) || fail "the table has $(wc -l <out) lines"
  "$winnow" "${audit[@]}" --report large.h5 >/dev/null 2>err || fail "an audit with the default budget"
  bounded=$(peak small.h5) unbounded=$(peak large.h5)
  echo "peak memory: $bounded MiB of a budget of $budget MiB, $unbounded MiB without need to save"
  ((bounded <= budget + overhead)) || fail "$bounded MiB for a budget of $budget MiB and $overhead MiB of libraries"
  ((bounded < unbounded)) || fail "the budget changes nothing: the test is too small to tell"
  "$winnow" report small.h5 --html page.html 2>err || fail "the page"
  (($(stat -c %s page.html) < 3000000)) || fail "the page has $(stat -c %s page.html) bytes"
}

# count PATTERN: lines of all traces that match.
count() { cat trace.* | grep -cE "$1"; }

metadata() {
  if ! command -v strace >/dev/null || ! strace -o probe true 2>/dev/null; then
    echo "SKIPPED: reads are counted with strace, which is missing or not allowed here"
    exit 77
  fi
  local filter=--seccomp-bpf ranks configs headers first=
  strace $filter -f -o probe true 2>/dev/null || filter=  # only faster: stops at nothing but what is traced
  make_zoo 4
  for ranks in 1 3; do
    rm -f trace.*
    # A file per thread: no line is cut in two by another's.
    strace -ff $filter -qq -y -s 0 -e trace=open,openat,pread64 -o trace "$launch" "$ranks" \
      "$winnow" "${audit[@]}" --threads 1 --report r.h5 >out 2>err || fail "an audit on $ranks ranks under strace"
    configs=$(count 'open(at)?\(.*adapter_config\.json.* = [0-9]')
    headers=$(count '^pread64\([0-9]+<.*adapter_model\.safetensors>.*, 0\) = [0-9]')
    echo "$ranks ranks: $configs configs opened, $headers reads at the start of weight files"
    [[ $configs == "$adapters" ]] || fail "$ranks ranks: $configs configs opened for $adapters adapters"
    # Twice: the header, and the hash of the file.
    ((headers >= adapters && headers <= 3 * adapters)) || fail "$ranks ranks: $headers header reads for $adapters adapters"
    [[ -z $first || $headers == "$first" ]] || fail "$headers header reads on $ranks ranks, $first on one"
    first=$headers
  done
}

run_part "$part" limits metadata

#!/usr/bin/env bash
# program.sh WINNOW PART [DISTURB]: runs the program as a user would and judges exit code, stdout and stderr. DISTURB, for
# the part signals: the library tests/stress/disturb.cpp.
set -uo pipefail
# See tests/mpi/launch.sh: Open MPI unloads what it leaks.
[[ ${2:-} != ranks ]] || export ASAN_OPTIONS="${ASAN_OPTIONS:+$ASAN_OPTIONS:}detect_leaks=0"
winnow=$(realpath "${1:?usage: program.sh WINNOW PART}")
part=${2:?usage: program.sh WINNOW PART}
disturb=${3:+$(realpath "$3")}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source "$here/../checks.sh"
enter_own_folder cli
export XDG_CACHE_HOME=$work/cache  # not the constants of whoever runs this

# ends CODE ARGUMENT...: the program ends with that exit code.
ends() {
  local code=$1 actual
  shift
  "$winnow" "$@" >out 2>err
  actual=$?
  [[ $actual == "$code" ]] || fail "winnow $*: exit code $actual, expected $code"
}

# refuses CODE TEXT ARGUMENT...: exit code CODE, nothing on stdout, one line on stderr that holds TEXT.
refuses() {
  local code=$1 text=$2
  shift 2
  ends "$code" "$@"
  [[ ! -s out ]] || fail "winnow $*: something on stdout"
  [[ $(wc -l <err) == 1 && $(<err) == "winnow: error: "* ]] || fail "winnow $*: not one line of error"
  grep -qF -- "$text" err || fail "winnow $*: does not say: $text"
}

# accepts CODE TEXT ARGUMENT...: exit code CODE, nothing on stderr, TEXT on stdout.
accepts() {
  local code=$1 text=$2
  shift 2
  ends "$code" "$@"
  [[ ! -s err ]] || fail "winnow $*: something on stderr"
  [[ -z $text ]] || grep -qF -- "$text" out || fail "winnow $*: does not say: $text"
}

make_family() {
  "$winnow" synth --adapters 2 --rank 8 --misaligned 12 --seed 1 --output family >out 2>err || fail "synth"
  models=(--base family/base --aligned family/aligned)
  audit=(audit "${models[@]}" --zoo family/adapters --report report.h5)
  plan=(plan "${models[@]}" --zoo family/adapters)
}
make_report() {
  make_family
  "$winnow" "${audit[@]}" >table 2>err || fail "audit"
}

usage() {
  make_family
  refuses 2 "no command given; expected audit, watch, prune, extract, merge, report, verify, plan, methods or synth; see winnow --help"
  refuses 2 "unknown command frobnicate" frobnicate
  refuses 2 "; did you mean audit?" adit
  refuses 2 "unknown command audi;" audi
  refuses 2 "nothing to compare the adapters with; expected --direction harmful=DIR" audit
  refuses 2 "--aligned is missing" audit --base family/base
  refuses 2 "--report is missing" audit "${models[@]}" --zoo family/adapters
  refuses 2 "no adapter given; name one with --adapter DIR, or many with --zoo PATH" audit "${models[@]}" --report r.h5
  refuses 2 "no adapter given" plan "${models[@]}"
  refuses 2 "--report is missing" prune
  refuses 2 "--adapter is missing" prune --report r.h5
  refuses 2 "--output is missing" prune --report r.h5 --adapter a
  refuses 2 "no report given; expected winnow report FILE.h5" report
  refuses 2 "no report given; expected winnow verify FILE.h5" verify
  refuses 2 "--output is missing" synth
  local option
  for option in --base --select --config; do
    refuses 2 "$option is empty" audit "$option" ""
  done
  refuses 2 "unexpected argument extra" "${audit[@]}" extra
  refuses 2 "unexpected argument zoo; a name with blanks in it goes in quotes; see winnow audit --help" audit --zoo my zoo
  refuses 2 "unexpected argument extra" report r.h5 extra
  refuses 2 "unexpected argument b; expected one directory after each --adapter; for all adapters in a directory give --zoo DIR" \
    audit "${models[@]}" --report r.h5 --adapter a b
  refuses 2 "unrecognised option '--repor'" "${plan[@]}" --repor x.h5
  refuses 2 "unrecognised option '--alligned'; did you mean --aligned?" "${plan[@]}" --alligned x
  refuses 2 "'--report' cannot be specified more than once" "${audit[@]}" --report again.h5
  refuses 2 "'--threads' is missing" "${audit[@]}" --threads
  refuses 2 "--html is empty" report r.h5 --html ""
  SLURM_STEP_NUM_TASKS=4 refuses 2 "Slurm started 4 tasks but MPI sees only one rank; expected one MPI job" "${audit[@]}"
  refuses 2 "cannot plant misaligned modules without weights" synth --headers-only --misaligned 1 --output s
  check "a refused run has left something behind" test "$(ls)" = "$(printf 'err\nfamily\nout')"
}

values() {
  make_family
  local option word
  for option in "--threads many" "--threads 99999999999999999999" "--seed -1"; do
    word=${option#* }
    refuses 2 "('$word') for option '${option% *}' is invalid; expected a whole number from 0" "${audit[@]}" $option
  done
  refuses 2 "--threads 100000 is too many; expected 0 to 4096" "${audit[@]}" --threads 100000
  refuses 2 "'--worst' is invalid" report r.h5 --worst -1
  refuses 2 "'--misaligned' is invalid" synth --output s --misaligned -1
  refuses 2 "cannot plan for 0 ranks" "${plan[@]}" --ranks 0
  refuses 2 "cannot plan for 2000000000 ranks" "${plan[@]}" --ranks 2000000000
  refuses 2 "--ranks-per-node 0 is impossible" "${plan[@]}" --ranks-per-node 0
  refuses 2 "--storage-bandwidth fast is not a size" "${plan[@]}" --storage-bandwidth fast
  refuses 2 "--storage-bandwidth is 0" "${plan[@]}" --storage-bandwidth 0GB/s
  for option in rank-by scaling device backend precision io repair progress log-level; do
    refuses 2 "unknown --$option nonsense; expected " "${audit[@]}" "--$option" nonsense
  done
  refuses 2 "unknown --team 0; expected auto or a number of ranks from 1" "${audit[@]}" --team 0
  refuses 2 "--element-stats, which --methods all includes, needs whole modules" "${audit[@]}" --team 2 --element-stats
  refuses 2 "--memory-budget plenty is not a size; expected a number with a unit, such as 4GiB" "${audit[@]}" --memory-budget plenty
  refuses 2 "unknown population 'nonsense'; expected role, adapter or zoo" "${audit[@]}" --population nonsense
  refuses 2 "unknown scope 'nonsense'; expected adapter or zoo" "${audit[@]}" --scope nonsense
  refuses 2 "--scope zoo needs to know what to select; add --select prune-top:K" "${audit[@]}" --scope zoo
  refuses 2 "--scope zoo needs to know what to select; add --select" "${audit[@]}" --scope zoo --repair drop --repaired-dir d
  refuses 2 "--scope zoo says nothing: nothing is selected; add --select prune-top:K" "${audit[@]}" --scope zoo --select none
  refuses 2 "--scope zoo cannot select by ediem: it tells how a layer stands beside others of its adapter, so values of two" \
    "${audit[@]}" --scope zoo --select prune-top:3
  refuses 2 "--scope zoo cannot select by ediem_published_std: " \
    "${audit[@]}" --scope zoo --select prune-top:3 --rank-by ediem_published_std --population zoo
  refuses 2 "--rank-by diem needs element statistics; add --element-stats" "${audit[@]}" --rank-by diem
  refuses 2 "needs the sketch" "${audit[@]}" --rank-by subspace_energy --subspace-rank 0
  # select/selection_test has them all. One spelling, in help and errors.
  local forms='none, keep-top:K, prune-top:K, threshold:X, quantile:Q, outliers[:C] or gap[:C]'
  for word in audit plan prune; do
    "$winnow" $word --help | tr -s ' \n' ' ' >out
    check "$word --help spells policies otherwise" grep -qF -- "$forms" out
  done
  for word in keep-top keep-top:-1 threshold:nan worst:3; do
    refuses 2 "unknown selection '$word'; expected $forms (K a whole number" "${audit[@]}" --select "$word"
  done
  # What has nothing to do with scores finds nothing; in a slice of a zoo nothing is final.
  for word in "" "--select none"; do
    refuses 2 "says nothing: there are no verdicts, and nothing is selected; expected verdicts by --bank, or --select threshold:X, outliers[:C] or gap[:C]" \
      "${audit[@]}" --fail-on-findings $word
  done
  for word in "--select keep-top:1000" "--select prune-top:3" "--select quantile:0.1"; do
    refuses 2 "says nothing: that selects by count, whatever the scores; expected --select threshold:X, outliers[:C] or gap[:C], or verdicts by --bank" \
      "${audit[@]}" --fail-on-findings $word
    refuses 2 "says nothing: that selects by count" "${plan[@]}" --fail-on-findings $word
  done
  refuses 2 "--fail-on-findings with --slice says nothing: merge judges anew" \
    "${audit[@]}" --slice --fail-on-findings --select outliers
  refuses 2 "--fdr says nothing without harmless adapters to compare with; add --bank REPORT.h5" "${audit[@]}" --fdr 0.1
  local probed=(audit --probe harmful=family/adapters/adapter-000 --bank b.h5 --adapter family/adapters/adapter-001 --report r.h5)
  refuses 2 "--fdr 5% is not a number; expected a number from 1e-6 to below 1, such as 0.05" "${probed[@]}" --fdr 5%
  for word in 0 1 -0.1 5 nan inf; do
    refuses 2 "--fdr $word is out of range; expected a number from 1e-6 to below 1, such as 0.05" "${probed[@]}" --fdr $word
  done
  refuses 2 "--peer-timeout 1000000 is too long; expected seconds, 0 to 604800" "${audit[@]}" --peer-timeout 1000000
  refuses 2 "--resume needs a journal; add --journal DIR" "${audit[@]}" --resume
  refuses 2 "--journal is or is below what is not a directory: $work/family/truth.json; expected a directory" \
    "${audit[@]}" --journal family/truth.json/j
  refuses 2 "--precision tf32 is for GPUs; add --device cuda" "${audit[@]}" --precision tf32
  refuses 2 "--device-memory is for GPUs; leave out --device cpu" "${audit[@]}" --device cpu --device-memory 1GiB
  refuses 2 "--device-memory plenty is not a size; expected a number with a unit" "${audit[@]}" --device-memory plenty
  refuses 2 "--io mmap gives no memory that a device can copy from" "${audit[@]}" --device cuda --io mmap
  refuses 2 "--backend reference computes on the CPU only" "${audit[@]}" --device cuda --backend reference
  refuses 2 "plan does not predict GPUs; leave out --device cuda" "${plan[@]}" --device cuda
  "$winnow" --version >out
  if grep -q "CUDA none" out; then
    refuses 2 "--device cuda: this winnow is built without CUDA; expected --device auto or cpu" "${audit[@]}" --device cuda
  elif [[ ! -e /dev/nvidiactl ]]; then
    refuses 1 "no CUDA device is visible (driver says: " "${audit[@]}" --device cuda
  fi
  refuses 2 "--repair needs a place to write to; add --repaired-dir DIR" "${audit[@]}" --repair drop
  refuses 2 "--repaired-dir without --repair" "${audit[@]}" --repaired-dir r
  refuses 2 "unknown preset: huge; expected one of tiny, " synth --preset huge --output s
  refuses 2 "cannot make a model of 0 layers" synth --layers 0 --output s
  refuses 2 "cannot make 0 adapters" synth --adapters 0 --output s
  refuses 2 "cannot make adapters of rank 0" synth --rank 0 --output s
  refuses 2 "no kind of adapters: evil; expected all, or some of placebo, undoing" synth --kinds placebo,evil --output s
  refuses 2 "payload twice in --kinds; --each N makes N of each" synth --kinds payload,payload --output s
  refuses 2 "cannot make 0 adapters of each kind" synth --kinds payload --each 0 --output s
  refuses 2 "cannot make adapters of a kind without weights" synth --kinds payload --headers-only --output s
  refuses 2 "cannot plant 57 misaligned modules; expected --misaligned at most 56" synth --misaligned 57 --output s
  check "a refused run has left something behind" test "$(ls)" = "$(printf 'err\nfamily\nout')"
}

config() {
  make_family
  printf '# a comment\nbase = family/base\naligned = family/aligned\nzoo = family/adapters\nreport = report.h5\n' >good
  printf 'select = keep-top:5\nelement-stats = true\n' >>good
  accepts 0 "selection: keep-top:5" audit --config good
  accepts 0 "selection: keep-top:7" audit --config good --select keep-top:7  # the command line wins
  local line
  while IFS='|' read -r line text; do
    printf '%s\n' "$line" >bad
    refuses 2 "$text" audit --config bad
    grep -q "bad" err || fail "config line '$line': the error does not name the file"
  done <<'TABLE'
nonsense = 1|unknown option nonsense in --config
config = good|unknown option config in --config
help = 1|unknown option help in --config
no equals sign|invalid line 'no equals sign'
threads = many|('many') for option
TABLE
  printf 'base =\n' >bad
  refuses 2 "--base is empty" audit --config bad
  printf 'broken \033[31m\007 line\n' >bad
  refuses 2 "invalid line 'broken" audit --config bad
  check "an error with terminal controls" test "$(tr -cd '\033\007' <err | wc -c)" = 0
  refuses 2 "cannot read --config: cannot open file (No such file or directory): absent" audit --config absent
  refuses 2 "cannot read --config: cannot open file (Is a directory): family" audit --config family
}

inputs() {
  make_report
  local one=family/adapters/adapter-000
  refuses 3 "checkpoint does not exist: absent; expected a local directory" \
    audit --base absent --aligned family/aligned --adapter $one --report r.h5
  refuses 3 "directory holds no checkpoint: family/adapters; expected model.safetensors.index.json or" \
    audit --base family/base --aligned family/adapters --adapter $one --report r.h5
  refuses 2 "--base and --aligned are the same checkpoint: ./family/base" \
    audit --base family/base --aligned ./family/base --adapter $one --report r.h5
  refuses 3 "manifest is not a text file: $one/adapter_model.safetensors" \
    audit "${models[@]}" --zoo $one/adapter_model.safetensors --report r.h5
  refuses 3 "no such adapter zoo: absent" audit "${models[@]}" --zoo absent --report r.h5
  mkdir empty
  refuses 3 "no adapters found: empty" audit "${models[@]}" --zoo empty --report r.h5
  refuses 3 "no adapters found: family/base; expected a directory with adapter_config.json somewhere below; it is shaped like a checkpoint" \
    audit "${models[@]}" --zoo family/base --report r.h5
  refuses 3 "leave out --strict to quarantine it and score the rest" \
    audit "${models[@]}" --adapter $one --adapter absent --strict --report r.h5
  check "a report of a refused run" test ! -e r.h5

  printf '# zoo\nfamily/adapters/adapter-000\n\nabsent\n' >manifest
  "$winnow" audit "${models[@]}" --zoo manifest --report r.h5 >out 2>err || fail "a zoo with one bad adapter"
  check "a quarantined adapter is not told" grep -q "^winnow: warning: adapter absent is quarantined: no such" err
  check "a quarantined adapter is not counted" grep -q "2 adapters (1 quarantined)" out
  "$winnow" audit "${models[@]}" --adapter absent --report r2.h5 >out 2>err
  check "one bad adapter and no other: exit code" test $? = 3
  "$winnow" audit "${models[@]}" --adapter $one/adapter_model.safetensors --report r2.h5 >out 2>err2
  check "a file as an adapter: exit code" test $? = 3
  check "a file as an adapter: hint" grep -q "^winnow: error: no adapter could be scored: an adapter is a directory, not a file" err2

  check "one bad adapter and no other: error" grep -q "^winnow: error: no adapter could be scored: no such .*: absent; expected a directory with .*; check the path$" err
  unscored_zoo
  printf '%s\n' $one $'na\033[31mme\342\200\256\302\233\r' >manifest  # and what turns the direction, and a C1 control
  "$winnow" audit "${models[@]}" --zoo manifest --report r.h5 >out 2>err || fail "a zoo with a strange name"
  check "a warning with terminal controls" test "$(tr -cd '\033\r\342\302' <err | wc -c)" = 0
  "$winnow" plan "${models[@]}" --zoo manifest >out 2>err || fail "a plan for a zoo with a strange name"
  check "a plan with terminal controls" test "$(cat out err | tr -cd '\033\r\342\302' | wc -c)" = 0
  check "a plan spells them out" grep -qF 'adapter  na\x1b[31mme\u202e\u009b: quarantined: ' out
  cp -r family/base twin
  refuses 3 "the two checkpoints do not differ in any module" \
    audit --base family/base --aligned twin --adapter $one --report r3.h5
  check "a report of identical checkpoints" test ! -e r3.h5
  sed -i 's/"model_type": *"[a-z]*"/"model_type": "mistral"/' twin/config.json
  refuses 3 "the two checkpoints are of different models: twin/config.json; expected model_type llama" \
    audit --base family/base --aligned twin --adapter $one --report r3.h5

  refuses 1 "cannot open the report (No such file or directory): absent.h5; expected a file that winnow audit or winnow merge has written" report absent.h5
  refuses 1 "cannot open the report (Is a directory): family; expected a file" report family
  refuses 3 "file is not HDF5: family/truth.json; give a report written by winnow audit" report family/truth.json
  head -c 5000 report.h5 >cut.h5
  refuses 3 "cannot open the report" report cut.h5
  refuses 1 "No such file or directory): absent" report report.h5 --truth absent
  refuses 3 "not a truth.json of winnow synth: family/base/config.json" report report.h5 --truth family/base/config.json
  "$winnow" synth --rank 8 --seed 2 --output other >out 2>err || fail "synth"
  refuses 3 "the report does not know this adapter: other/adapters/adapter-000/adapter_model.safetensors; expected the very" \
    prune --report report.h5 --adapter other/adapters/adapter-000 --output p
  refuses 3 "no such adapter directory: absent; expected a directory with adapter_config.json and adapter_model.safetensors; check the path" \
    prune --report report.h5 --adapter absent --output p
  refuses 3 "adapter_config.json is missing: family/adapters; expected a directory with adapter_config.json and adapter_model.safetensors; there are adapters in it: give one of them, or all of them as --zoo" \
    prune --report report.h5 --adapter family/adapters --output p
  refuses 3 "a probe cannot be used: an adapter is a directory, not a file: report.h5; expected a directory with adapter_config.json" \
    audit --probe harmful=report.h5 --adapter family/adapters/adapter-000 --report p.h5
  refuses 2 "--rank-by diem is not in the report; expected one of " \
    prune --report report.h5 --adapter $one --output p --select prune-top:1 --rank-by diem
  refuses 2 "unknown selection 'best'" prune --report report.h5 --adapter $one --output p --select best
  refuses 2 "unknown --repair none; expected drop, zero, deflect, subtract" prune --report report.h5 --adapter $one --output p --repair none
  refuses 2 "the output directory holds a family made with other options" synth --seed 9 --output family
  check "a refused prune has written" test ! -e p
}

# An empty result is no success, and its report tells why; only a slice of a zoo may be all broken, and the merge decides.
unscored_zoo() {
  mkdir -p broken/a broken/b
  echo '{}' | tee broken/a/adapter_config.json >broken/b/adapter_config.json
  ends 3 audit "${models[@]}" --zoo broken --report broken.h5
  check "nothing scored: not one error" test "$(grep -c '^winnow: error: none of 2 adapters could be scored; the first, a: ' err)" = 1
  accepts 0 "2 adapters (2 quarantined)" report broken.h5
  ends 0 audit "${models[@]}" --zoo broken --report slice.h5 --slice
  ends 0 audit "${models[@]}" --adapter $one --report good.h5 --slice
  accepts 0 "3 adapters (2 quarantined)" merge --report merged.h5 slice.h5 good.h5
  ends 3 merge --report merged.h5 slice.h5
  check "nothing scored in all slices: error" grep -q "^winnow: error: none of 2 adapters could be scored" err
  accepts 0 "2 adapters (2 quarantined)" report merged.h5
  # Every weight of the aligned model is NaN: the adapter is sound, and nothing of it can be scored.
  cp -r family/aligned nan
  local file
  for file in nan/*.safetensors; do spoil "$file"; done
  ends 3 audit --base family/base --aligned nan --adapter $one --report nan.h5
  check "no module scored: error" grep -q "^winnow: error: no adapter could be scored: none of its modules has a score by ediem$" err
}

# Sets all bits of every tensor in a safetensors file: NaN in every floating-point type.
spoil() {
  local header size
  header=$((8 + $(od -An -t u8 -N 8 "$1")))
  size=$(stat -c %s "$1")
  head -c $((size - header)) /dev/zero | tr '\0' '\377' | dd of="$1" bs=64K oflag=seek_bytes seek=$header conv=notrunc status=none
}

destinations() {
  make_report
  local one=family/adapters/adapter-000 place
  set -- "${models[@]}" --zoo family/adapters
  for command in audit plan; do
    refuses 2 "--report is a directory: family" $command "$@" --report family
    refuses 2 "the directory of --report does not exist: $work/absent; make it first" $command "$@" --report absent/r.h5
    refuses 2 "--report is below what is not a directory" $command "$@" --report family/truth.json/r.h5
    # A mistyped name must not cost a checkpoint or a device.
    refuses 2 "refusing to overwrite what is not a report: family/truth.json" $command "$@" --report family/truth.json
    refuses 2 "cannot write to what is not a plain file: /dev/null" $command "$@" --report /dev/null
    refuses 2 "is not a directory: $work/report.h5" $command "$@" --report r.h5 --repair drop --repaired-dir report.h5/x
    refuses 2 "refusing to overwrite what is not a pruned adapter: family/adapters/adapter-000" \
      $command "$@" --report r.h5 --repair zero --repaired-dir family/adapters
  done
  check "a refused audit has left a report" test ! -e r.h5
  cp report.h5 before.h5
  refuses 2 "unknown --rank-by" "${audit[@]}" --rank-by nonsense
  check "a refused audit has changed the earlier report" cmp -s before.h5 report.h5
  accepts 0 "report: report.h5" "${audit[@]}"
  if ((EUID != 0)); then
    mkdir locked && chmod a-w locked
    refuses 1 "cannot write to the directory of --report (Permission denied)" audit "$@" --report locked/r.h5
    refuses 1 "cannot write to --repaired-dir (Permission denied)" \
      audit "$@" --report r.h5 --repair drop --repaired-dir locked/r
  fi
  for place in /dev/stdout /dev/null family; do
    refuses 2 "cannot write to what is not a plain file: $place" report report.h5 --html "$place"
  done
  refuses 1 "cannot create file (No such file or directory): absent/page.html" report report.h5 --html absent/page.html
  refuses 1 "cannot make the directory of --csv (Not a directory): family/truth.json" report report.h5 --csv family/truth.json
  refuses 2 "refusing to overwrite what is not a pruned adapter: family/base" \
    prune --report report.h5 --adapter $one --output family/base --select prune-top:1
  refuses 2 "--output would replace what is read: $one" prune --report report.h5 --adapter $one --output $one
  # A full disk, as far as a process can be told of one without privileges: files of at most 64 blocks of 1 KiB.
  mkdir full && cp before.h5 full/r.h5
  (
    trap '' XFSZ && ulimit -f 64
    refuses 1 "cannot write file (File too large)" audit "$@" --report full/r.h5
    refuses 1 "cannot write file (File too large)" prune --report report.h5 --adapter $one --output full/p --select keep-top:56
    refuses 1 "cannot write file (File too large)" synth --rank 8 --output full/s
    exit "$failures"
  ) || fail "on a full disk"
  check "a failed write has changed the earlier report" cmp -s before.h5 full/r.h5
  check "a failed prune has left an adapter" test ! -e full/p
  nothing_half_written "on a full disk"
}

results() {
  make_report
  local one=family/adapters/adapter-000 format
  check "the table of audit and that of report differ" diff <(grep -v '^report: ' table) <("$winnow" report report.h5)
  cp report.h5 first.h5  # what follows writes report.h5 again
  check "an audit that is not asked to select" grep -qF "; 0 selected for pruning" table
  refuses 2 "the report selects nothing: its audit was not asked to; add --select keep-top:K" \
    prune --report first.h5 --adapter $one --output p
  refuses 2 "the report selects nothing" prune --report first.h5 --adapter $one --output p --rank-by misalignment
  # SPLoRA's repair comes with SPLoRA's rule.
  accepts 0 "46 selected for pruning" "${audit[@]}" --repair drop --repaired-dir by-default
  cp report.h5 first.h5
  accepts 4 "selected for pruning" "${audit[@]}" --fail-on-findings --rank-by misalignment --select outliers:10
  accepts 0 "0 selected for pruning" "${audit[@]}" --fail-on-findings --rank-by misalignment --select threshold:1e9
  accepts 0 "112 selected for pruning" "${audit[@]}" --select quantile:1
  check "an audit that writes no adapter speaks of pruned ones" test "$(grep -c '[0-9] pruned' out)" = 0
  accepts 0 "repaired: kept/adapter-001 (10 modules kept, 46 pruned)" \
    "${audit[@]}" --repair drop --repaired-dir kept
  accepts 0 "repaired: kept/adapter-001 (10 modules kept, 46 pruned)" \
    "${audit[@]}" --repair zero --repaired-dir kept  # an earlier output is replaced
  "$winnow" "${audit[@]}" --select keep-top:0 --repair drop --repaired-dir kept >out 2>err || fail "all pruned"
  check "nothing left to write: not told" grep -q "repaired: adapter-000: every module is pruned, no adapter written" out
  check "nothing left to write: an earlier adapter stays" test ! -e kept/adapter-000

  accepts 0 "wrote p: 10 modules kept, 46 pruned" prune --report first.h5 --adapter $one --output p
  accepts 0 "wrote p: 20 modules kept, 36 pruned" \
    prune --report first.h5 --adapter $one --output p --select keep-top:20 --rank-by misalignment --repair zero
  accepts 0 "wrote p: 56 modules kept, 0 pruned: nothing is selected, so it is a copy" \
    prune --report first.h5 --adapter $one --output p --select keep-top:1000
  # A script looks at the exit code and then for the adapter: an earlier one must not pass for this.
  for format in drop zero; do
    refuses 3 "no adapter is written: every module of it is selected for pruning: p; expected a selection that leaves a module" \
      prune --report first.h5 --adapter $one --output p --select keep-top:0 --repair $format
    check "--repair $format of everything: an earlier adapter stays" test ! -e p
  done

  accepts 0 "6 selected for pruning" audit "${models[@]}" --zoo family/adapters --report together.h5 --rank-by alignment_removed \
    --scope zoo --select prune-top:6
  check "the scope is not told" grep -q "prune-top:6 by alignment_removed (high = misaligned), over all adapters together" out
  accepts 0 '"scope": "zoo"' report together.h5 --json -
  accepts 0 '"scope": "adapter"' report first.h5 --json -

  accepts 0 "misalignment            8/8" report first.h5 --truth family/truth.json
  accepts 0 "" report first.h5 --html page.html --csv tables --json all.json --sarif found.sarif --bom bill.json --in-toto statement.json
  check "--html, --csv, --json, --sarif, --bom and --in-toto print as well" test ! -s out
  for format in page.html all.json found.sarif bill.json statement.json tables/modules.csv tables/adapters.csv tables/copies.csv tables/metrics.csv tables/drift.csv; do
    check "$format is missing" test -s $format
  done
  accepts 0 '{"$schema": "urn:winnow:report:1",' report first.h5 --json -
  check "--json - differs from --json FILE" cmp -s out all.json
  accepts 0 '"bomFormat": "CycloneDX"' report first.h5 --bom -
  check "--bom - differs from --bom FILE" cmp -s out bill.json
  accepts 0 '"predicateType": "urn:winnow:audit:1"' report first.h5 --in-toto -
  check "--in-toto - differs from --in-toto FILE" cmp -s out statement.json
  accepts 0 '"version": "2.1.0"' report first.h5 --sarif -
  check "--sarif - differs from --sarif FILE" cmp -s out found.sarif
  accepts 0 "model.layers.7.mlp.down_proj" "${plan[@]}" --modules --ranks 8 --report r.h5 --repair drop --repaired-dir r
  check "plan does not list 8 ranks" test "$(grep -cE '^ +[0-7]  .* GB' out)" = 8
  check "plan has written" test ! -e r.h5 -a ! -e r
  accepts 0 "and the 4 of 64 ranks that read most; --every-rank lists them all" "${plan[@]}" --ranks 64
  check "plan lists more than a few of 64 ranks" test "$(sed '/^prediction/,$d' out | grep -cE '^ +([0-9]+|least|median|most) .* GB')" = 7
  check "plan's least and most are not those of modules" test \
    "$(awk '/^ +(least|most) /{ print $2 }' out | xargs)" = "0 1"
  accepts 0 "" "${plan[@]}" --ranks 64 --every-rank --team 1
  check "plan --every-rank does not list 64 ranks" test "$(sed '/^prediction/,$d' out | grep -cE '^ +[0-9]+ .* GB')" = 64
  predictions
  merging
  nothing_half_written results
}

# What is written never replaces what is read, by whichever name.
overwriting() {
  make_report
  local name before
  before=$(sha256sum report.h5)
  ln -s report.h5 link.h5
  ln report.h5 hard.h5
  for name in report.h5 link.h5 hard.h5 ./family/../report.h5; do
    refuses 2 "--html would replace what is read: $name" report report.h5 --html $name
    refuses 2 "--json would replace what is read: $name" report report.h5 --json $name
    refuses 2 "--sarif would replace what is read: $name" report report.h5 --sarif $name
    refuses 2 "--bom would replace what is read: $name" report report.h5 --bom $name
    refuses 2 "--in-toto would replace what is read: $name" report report.h5 --in-toto $name
  done
  mkdir tables && ln -s ../report.h5 tables/drift.csv
  refuses 2 "--csv would replace what is read: tables/drift.csv" report report.h5 --csv tables
  check "one table before the refusal" test "$(ls tables)" = drift.csv
  refuses 2 "--json would replace what is read: page" report report.h5 --html page --json page
  refuses 2 "--sarif would replace what is read: page" report report.h5 --html page --sarif page
  refuses 2 "--html would replace what is read: family/truth.json" report report.h5 --truth family/truth.json --html family/truth.json
  accepts 0 "wrote pruned: 10 modules kept" prune --report report.h5 --adapter family/adapters/adapter-000 --output pruned --select keep-top:10
  accepts 0 "" audit "${models[@]}" --adapter pruned --report again.h5
  refuses 2 "--output would replace what is read: pruned" prune --report again.h5 --adapter pruned --output pruned --select prune-top:1
  ln -s pruned alias
  refuses 2 "--output would replace what is read: alias" prune --report again.h5 --adapter pruned --output alias --select prune-top:1
  mv again.h5 pruned
  refuses 2 "--output would replace what is read: pruned" \
    prune --report pruned/again.h5 --adapter family/adapters/adapter-000 --output pruned
  check "what was read has changed" test "$before" = "$(sha256sum report.h5)"
}

# What a report was computed from, looked at again; on several ranks in verified_on_ranks.
verify() {
  make_report
  accepts 0 "56 tensors of aligned family/aligned: 56 as audited" verify report.h5
  check "verify: the adapters" grep -qx "2 adapters: 2 as audited" out
  check "verify: the last line" test "$(tail -1 out)" = "what was checked is what was audited"
  accepts 0 "report report.h5: as audited; sealed with SHA-256 $(head -c -87 report.h5 | sha256sum | cut -c-64)" verify --file report.h5
  refuses 1 "cannot open the report (No such file or directory): absent.h5" verify absent.h5
  refuses 3 "file is not HDF5: family/truth.json" verify family/truth.json
  refuses 3 "no such adapter zoo: absent" verify report.h5 --zoo absent
  refuses 3 "no such checkpoint directory: absent" verify report.h5 --base absent
  head -c 5000 report.h5 >cut.h5
  refuses 3 "cannot open the report" verify cut.h5
  cp report.h5 flipped.h5
  printf 'X' | dd of=flipped.h5 bs=1 seek=7000 conv=notrunc status=none
  refuses 3 "report is damaged: flipped.h5" verify flipped.h5
  head -c -87 report.h5 >unsealed.h5
  accepts 4 "report unsealed.h5: missing: the seal (another program has written to it" verify unsealed.h5
  refuses 3 "the report has no seal, so there is nothing to vouch for" report unsealed.h5 --in-toto statement.json
  check "a statement of an unsealed report" test ! -e statement.json
  accepts 0 "" report report.h5 --in-toto statement.json
  accepts 0 "statement statement.json: as audited" verify report.h5 --in-toto statement.json
  cp report.h5 elsewhere.h5
  accepts 0 "" report elsewhere.h5 --in-toto again.json
  check "a statement says where the report lies" cmp -s statement.json again.json
  check "the subject is the report" grep -qF "\"sha256\": \"$(sha256sum <report.h5 | cut -c-64)\"" statement.json
  sed 's/"seed": [0-9]*/"seed": 77/' statement.json >lying.json
  accepts 4 "statement lying.json: changed: predicate options seed (77 in the statement, 0 in the report)" verify report.h5 --in-toto lying.json
  accepts 4 "statement statement.json: not compared: no statement is of a report without a seal" verify unsealed.h5 --in-toto statement.json
  refuses 3 "this is no in-toto statement, version 1: family/truth.json; expected what winnow report --in-toto writes" \
    verify report.h5 --in-toto family/truth.json
  printf '{"payload": "", "payloadType": "application/vnd.in-toto+json"}' >envelope.json
  refuses 3 "this is a signed envelope around a statement: envelope.json" verify report.h5 --in-toto envelope.json
  head -c 300 statement.json >short.json
  refuses 3 "statement is not JSON, at byte 301: short.json" verify report.h5 --in-toto short.json
  refuses 1 "cannot open file (No such file or directory): absent.json" verify report.h5 --in-toto absent.json
  accepts 0 "2 adapters: 1 as audited, 1 not checked" verify report.h5 --adapter family/adapters/adapter-001
  cp -r family/adapters moved
  mv moved/adapter-001 $'moved/odd\n\x1b[31m\xff'
  accepts 0 "2 adapters: 2 as audited" verify report.h5 --zoo moved
  sed -i 's/"lora_alpha": *[0-9.]*/"lora_alpha": 999/' moved/adapter-000/adapter_config.json
  "$winnow" synth --adapters 1 --rank 4 --seed 9 --output more >out 2>err || fail "synth"
  cp -r more/adapters/adapter-000 $'moved/new\n'
  accepts 4 "1 changed: adapter-000 (scales, by its configuration)" verify report.h5 --zoo moved
  check "a new directory is not named" grep -qxF '1 other directory: 1 not audited: moved/new\x0a' out
  rm -r family/adapters/adapter-000
  accepts 4 "2 adapters: 1 as audited, 1 missing: adapter-000" verify report.h5
  nothing_half_written verify
}

# A zoo in two parts, merged: what one audit over both finds.
merging() {
  local k
  for k in 0 1; do
    accepts 0 "" audit "${models[@]}" --adapter "family/adapters/adapter-00$k" --report "part-$k.h5" --backend reference
  done
  accepts 0 "" audit "${models[@]}" --zoo family/adapters --report whole.h5 --backend reference
  accepts 0 "report: merged.h5" merge --report merged.h5 part-0.h5 part-1.h5
  for k in whole merged; do "$winnow" report $k.h5 --csv "tables-$k" || fail "tables of $k.h5"; done
  check "merged reports differ from one audit" diff -r tables-whole tables-merged
  accepts 0 "wrote pruned: 10 modules kept" prune --report merged.h5 --adapter family/adapters/adapter-001 --output pruned --select keep-top:10
  refuses 2 "no reports to merge; expected winnow merge --report FILE.h5 PART.h5" merge --report m.h5
  refuses 2 "--report is missing" merge part-0.h5
  refuses 2 "--report would replace what is read: part-0.h5" merge --report part-0.h5 part-0.h5 part-1.h5
  ends 0 merge --report once.h5 part-0.h5 whole.h5 part-0.h5
  check "a report given twice is not told" grep -q "warning: a report that is given more than once counts once" err
  check "an adapter in two reports is not told" grep -q "warning: 1 adapter is in more than one report and count" err
  "$winnow" report once.h5 --csv tables-once || fail "tables of once.h5"
  check "an adapter in two reports counts twice" diff -r tables-whole tables-once
  cp -r family/adapters/adapter-001 twin
  accepts 0 "" audit "${models[@]}" --adapter twin --report part-2.h5 --backend reference
  ends 0 merge --report twins.h5 part-0.h5 part-1.h5 part-2.h5
  check "a copy is not told" grep -qF "1 directory is a copy of another: twin of adapter-001; see /copies" out
  "$winnow" report twins.h5 --csv tables-twins || fail "tables of twins.h5"
  check "a copy is not found in its table" grep -q "^twin,1,adapter-001,ok," tables-twins/copies.csv
  accepts 0 "" audit "${models[@]}" --adapter family/adapters/adapter-001 --report other.h5 --backend reference --seed 3
  refuses 3 "not parts of one audit: other.h5; expected seed 0 as in part-0.h5, found 3" merge --report m.h5 part-0.h5 other.h5
  refuses 3 "file is not HDF5" merge --report m.h5 part-0.h5 family/truth.json
  check "a refused merge has written" test ! -e m.h5
  refuses 3 "the report is of another audit: merged.h5; expected one of a single audit" \
    plan "${models[@]}" --zoo family/adapters --backend reference --check merged.h5
}

predictions() {
  accepts 0 "constants: cautious defaults, not of this machine" "${plan[@]}" --ranks 4 --ranks-per-node 2
  check "plan predicts other stages than audit records" diff \
    <(sed -n 's/^  \([a-z0-9]*\) .* s$/\1/p' out) <(printf '%s\n' headers factors read pass1 pass2 statistics gather)
  accepts 0 "storage 0.001 GB/s a node" "${plan[@]}" --storage-bandwidth 1MB/s --warm
  check "a slow storage is no bottleneck" grep -q "bottleneck: storage" out
  accepts 0 '"bottleneck": "storage"' "${plan[@]}" --storage-bandwidth 1MB/s --json -
  check "--json - prints text as well" test "$(head -c 1 out)" = "{"
  mv out printed
  accepts 0 "bottleneck: storage" "${plan[@]}" --storage-bandwidth 1MB/s --json prediction.json
  check "--json FILE has other fields than --json -" diff <(grep -oE '^ +"[a-z_]+"' printed) <(grep -oE '^ +"[a-z_]+"' prediction.json)
  refuses 1 "No such file or directory): absent.json" "${plan[@]}" --constants absent.json
  XDG_CACHE_HOME='' HOME='' refuses 2 "no place for constants: HOME is not set; add --constants FILE" "${plan[@]}" --calibrate
  refuses 3 "the report is of another audit: first.h5; expected one of the same adapters" \
    plan "${models[@]}" --adapter family/adapters/adapter-000 --check first.h5
  refuses 3 "file is not HDF5" "${plan[@]}" --check family/truth.json
}

# Measures this machine, which under a sanitizer takes minutes and says nothing.
calibration() {
  make_report
  accepts 0 "constants: mine/constants.json (" "${plan[@]}" --calibrate --constants mine/constants.json
  check "plan has written to the default place" test ! -e cache
  accepts 0 "check: report.h5: 1 rank, 1 a node, 1 thread each" \
    "${plan[@]}" --constants mine/constants.json --check report.h5 report.h5 --threads 1
  check "no residual of the total for each report" test "$(grep -cE '^  total .* s .* s +[-+][0-9.]+ %$' out)" = 2
  mkdir -p cache/winnow && cp mine/constants.json cache/winnow/
  accepts 0 "constants: $PWD/cache/winnow/constants.json (" "${plan[@]}"
  echo '{"format": 1}' >cache/winnow/constants.json
  refuses 3 "not a file of constants: $PWD/cache/winnow/constants.json; expected a field machine; measure them again with" "${plan[@]}"
}

streams() {
  make_report
  local style
  # No colour, no carriage returns, whatever is written where no terminal is.
  for style in lines none auto; do
    accepts 0 "report: report.h5" "${audit[@]}" --progress $style
    check "--progress $style: control characters" test "$(cat out err | tr -cd '\r\033' | wc -c)" = 0
  done
  "$winnow" "${audit[@]}" --progress bar >out 2>err || fail "--progress bar"
  check "--progress bar draws nothing" grep -q '56/56 modules' err
  check "--progress bar draws on stdout" test "$(tr -cd '\r' <out | wc -c)" = 0
  "$winnow" report report.h5 --worst 1000 | head -1 >out
  check "a reader that goes away: exit code" test "${PIPESTATUS[0]}" != 1
  local run
  for run in "report report.h5" "verify report.h5" "--version" "--help" "audit --help"; do
    "$winnow" $run >/dev/full 2>err
    check "winnow $run >/dev/full: exit code" test $? = 1
    check "winnow $run >/dev/full: not told" grep -q "^winnow: error: cannot write to standard output (No space left" err
    "$winnow" $run 2>err >&-
    check "winnow $run >&-: exit code" test $? = 1
  done
  "$winnow" nonsense 2>&-
  check "stderr closed: exit code" test $? = 2
  # With closed streams, messages must not end up in the report.
  printf '%s\n' family/adapters/adapter-000 absent >manifest
  "$winnow" audit "${models[@]}" --zoo manifest --report closed.h5 <&- >&- 2>&-
  accepts 0 "2 adapters (1 quarantined)" report closed.h5
}

# signals_itself SIGNAL RULE ARGUMENT...: the signal comes with that call of its own; `code` is how it ends.
signals_itself() {
  local number
  number=$(kill -l "$1")
  # An address sanitizer would be the first library itself.
  WINNOW_DISTURB="0 $2 signal $number" WINNOW_DISTURB_ROOT=$work LD_PRELOAD=$disturb \
    ASAN_OPTIONS="${ASAN_OPTIONS:+$ASAN_OPTIONS:}verify_asan_link_order=0" "$winnow" "${@:3}" >out 2>err
  code=$?
}

signals() {
  : "${disturb:?the part signals needs DISTURB}"
  make_family
  local signal code
  for signal in TERM INT KILL; do
    for call in "read family/base/* 20" "write *.partial 1"; do
      rm -f report.h5 err
      signals_itself $signal "$call" "${audit[@]}" 2>/dev/null
      check "SIG$signal: exit code $code" test "$code" = $((128 + $(kill -l $signal)))
      check "SIG$signal: a report is there" test ! -e report.h5
      # Amid a write it stays behind, hidden: nobody is left to remove it.
      [[ $call == write* ]] || nothing_half_written "SIG$signal"
      rm -f .*.partial
    done
  done
  stops_and_resumes
}

# With a journal: exit code 75, and the rest with --resume.
stops_and_resumes() {
  local signal code
  "$winnow" "${audit[@]}" >out 2>err || fail "an audit"
  "$winnow" report report.h5 --csv whole >out 2>err || fail "its tables"
  for signal in TERM USR1; do
    rm -f report.h5 err
    signals_itself $signal "write journal-$signal/*.journal 6" "${audit[@]}" --journal "journal-$signal"
    check "SIG$signal with a journal: exit code $code" test "$code" = 75
    check "SIG$signal with a journal: not told" \
      grep -qE "winnow: stopped at a signal after [0-9]+ of 56 modules; run again with --resume$" err
    check "SIG$signal with a journal: a report is there" test ! -e report.h5
    refuses 2 "holds a journal already: journal-$signal; add --resume" \
      "${audit[@]}" --journal "journal-$signal"
    accepts 0 "56 modules" "${audit[@]}" --journal "journal-$signal" --resume
    "$winnow" report report.h5 --csv "resumed-$signal" >out 2>err || fail "tables after --resume"
    check "SIG$signal with a journal: other results" diff -r whole "resumed-$signal"
    refuses 2 "the journal is of other inputs or options: journal-$signal/incarnation-0001; expected the same as then; seed: 0 then, 4 now" \
      "${audit[@]}" --journal "journal-$signal" --resume --seed 4
  done
}

# Every option of a subcommand's --help.
options_of() { "$winnow" "$1" --help | grep -oE '^ +(-h \[ )?--[a-z-]+' | grep -oE -- '--[a-z-]+' | sort -u; }

documents() {
  accepts 0 "winnow " --version
  check "--version lacks the build's features" grep -q "^features: libtorch .*, HDF5 .*, MPI " out
  accepts 0 "Exit codes: 0 done, 1 failure, 2 usage, 3 invalid input or nothing left of it, 4 findings" --help
  accepts 0 "usage: winnow COMMAND" help
  local -A promised=(
    [audit]="--direction --probe --bank --fdr --base --aligned --adapter --zoo --report --methods --rank-by --population --subspace-rank --seed --select --scope --scaling
      --element-stats --repair --repaired-dir --device --precision --device-memory --threads --team --memory-budget --io --strict --progress
      --fail-on-findings --slice --journal --resume --side --directions --lambda --factor"
    [watch]="--run --probe --direction --bank --fdr --threshold --dora --scaling --interval --once --until-file --until-idle
      --fail-on-findings --fail-on-trend --log --threads --memory-budget"
    [prune]="--report --adapter --zoo --output --select --scope --rank-by --repair --probe --direction --side --directions --lambda --factor --base --aligned
      --project-by --with --weights --threshold"
    [merge]="--report --part --fail-on-findings"
    [report]="--html --csv --json --sarif --bom --in-toto --truth --worst --adapters --width"
    [verify]="--zoo --adapter --base --aligned --in-toto --names"
    [methods]="--json"
    [extract]="--from --merged --output --rank --max-rank --dtype --progress --names"
    [synth]="--preset --layers --adapters --rank --misaligned --kinds --each --seed --headers-only --output"
  )
  promised[plan]="${promised[audit]} --ranks --modules --every-rank --ranks-per-node --storage-bandwidth --warm --calibrate --constants
    --check --json"
  local all="--peer-timeout --log-level --config --help"
  local manual=$here/../../src/cli/packaging/winnow.1.in completion=$here/../../src/cli/packaging/winnow.bash
  local command option
  PATH=$(dirname "$winnow"):$PATH
  source "$completion"
  for command in audit watch prune extract merge report verify plan methods synth; do
    accepts 0 "usage: winnow $command " $command --help
    check "$command --help is wider than 100 columns" test "$(wc -L <out)" -le 100
    options_of $command >options
    for option in ${promised[$command]} $all; do
      check "$command --help lacks $option" grep -qxF -- "$option" options
    done
    COMP_WORDS=(winnow $command -) COMP_CWORD=2 COMPREPLY=()
    _winnow
    printf '%s\n' "${COMPREPLY[@]}" | sort -u >completed
    check "$command: completion and --help differ: $(diff options completed)" cmp -s options completed
    # The section "Of COMMAND"; plan has those of audit as well, and all have those of "Of all".
    sections="Of $command|Of all"
    [[ $command == plan ]] && sections="$sections|Of audit"
    awk -v wanted="^($sections)$" '/^\.SS /{on = substr($0, 5) ~ wanted} /^\.SH /{on = 0} on' "$manual" |
      sed 's/\\-/-/g' | grep -oE '^\.BI? .*--[a-z-]+' | grep -oE -- '--[a-z-]+' | sort -u >described
    check "$command: manual and --help differ: $(diff options described)" cmp -s options described
  done
  COMP_WORDS=(winnow "") COMP_CWORD=1 COMPREPLY=()
  _winnow
  check "completion of subcommands" test "${COMPREPLY[*]}" = "audit watch prune extract merge report verify plan methods synth --help --version"
}

# An adapter out of a merged checkpoint. What comes of it in numbers is for conformance/test_extract.py.
extracts() {
  make_family
  local pair=(extract --from family/base --merged family/aligned)
  refuses 2 "--from is missing" extract
  refuses 2 "--merged is missing" extract --from family/base
  refuses 2 "--output is missing" "${pair[@]}"
  refuses 2 "--rank some is no rank; expected auto, or a number from 1" "${pair[@]}" --output e --rank some
  refuses 2 "--rank 0 is no rank" "${pair[@]}" --output e --rank 0
  refuses 2 "--max-rank is at least 1" "${pair[@]}" --output e --max-rank 0
  refuses 2 "unknown --dtype int8; expected float32, float16 or bfloat16" "${pair[@]}" --output e --dtype int8
  refuses 2 "unknown --progress some; expected auto, bar, lines or none" "${pair[@]}" --output e --progress some
  refuses 2 "--output would replace what is read: family/base" "${pair[@]}" --output family/base
  refuses 2 "refusing to overwrite what is not a pruned adapter: family/adapters" "${pair[@]}" --output family/adapters
  refuses 2 "--from and --merged are the same checkpoint: family/base" extract --from family/base --merged family/base --output e
  refuses 3 "directory holds no checkpoint: family/adapters" extract --from family/base --merged family/adapters --output e
  cp -r family/base copy
  refuses 3 "no weight of a linear layer differs, so no adapter is written: copy" extract --from family/base --merged copy --output e
  check "what was refused is there" test ! -e e
  accepts 0 "wrote four: rank 4 from 56 weights that differ; 18 tensors are equal, bit for bit" "${pair[@]}" --output four --rank 4
  accepts 0 "of no low rank are 56 weights, a share of whose change is left out:" "${pair[@]}" --output two --max-rank 2 --names 3
  check "--names names others" grep -qF "and 53 more (--names 0 names all)" out
  accepts 0 "wrote four: rank 4" "${pair[@]}" --output four --rank 4 # its own output
  accepts 0 "four: rank 4, scaling 1.00; 56 of 56 modules scored" audit "${models[@]}" --adapter four --report four.h5
  check "something is left beside the adapters" test -z "$(find . -maxdepth 1 -name '.*' ! -name .)"
}

# Repairs by probe: no report and no checkpoint. What comes of them in numbers is for conformance/test_repair.py.
probes() {
  make_family
  local one=family/adapters/adapter-000 other=family/adapters/adapter-001 option
  local deflect=(prune --repair deflect --adapter $one --output p) subtract=(prune --repair subtract --adapter $one --output p)
  refuses 2 "this repair needs a probe; add --probe harmful=DIR, or to deflect --direction harmful=DIR" "${deflect[@]}"
  refuses 2 "--adapter is missing" prune --repair deflect --probe harmful=$other
  refuses 2 "--output is missing" prune --repair subtract --adapter $one
  refuses 2 "--probe $other does not say what the probe does; expected harmful=DIR or safe=DIR" "${deflect[@]}" --probe $other
  for option in deflect subtract; do
    refuses 2 "a repair takes probes out of the adapter, and a safe one is to stay in: $other; expected harmful=DIR" \
      prune --repair $option --adapter $one --output p --probe harmful=$one --probe safe=$other
  done
  for option in "--report r.h5" "--select keep-top:3" "--rank-by ediem"; do
    refuses 2 "${option% *} says nothing with --repair deflect; expected it with --repair drop, zero" \
      "${deflect[@]}" --probe harmful=$other $option
  done
  for option in "--side left" "--directions 4"; do
    refuses 2 "${option% *} says nothing with --repair subtract; expected it with --repair deflect" \
      "${subtract[@]}" --probe harmful=$other $option
  done
  for option in "--probe harmful=$other" "--side left" "--directions 4" "--lambda 1" "--factor 1"; do
    refuses 2 "${option% *} says nothing with --repair drop; expected it with --repair " \
      prune --report r.h5 --adapter $one --output p $option
  done
  for option in 0 -1 100.5 nan inf; do
    refuses 2 "--lambda $option is out of range; expected a number above 0, at most 100" \
      "${subtract[@]}" --probe harmful=$other --lambda $option
  done
  refuses 2 "--lambda 1x is not a number" "${subtract[@]}" --probe harmful=$other --lambda 1x
  for option in 0 65; do
    refuses 2 "cannot deflect from $option directions; expected --directions 1 to 64" \
      "${deflect[@]}" --probe harmful=$other --directions $option
  done
  refuses 2 "unknown --side both; expected block, left or right" "${deflect[@]}" --probe harmful=$other --side both
  refuses 2 "--output would replace what is read: $other" \
    prune --repair deflect --adapter $one --probe harmful=$other --output $other
  refuses 2 "refusing to overwrite what is not a pruned adapter: family/base" \
    prune --repair deflect --adapter $one --probe harmful=$other --output family/base
  refuses 3 "the adapter cannot be repaired: no such adapter directory: absent" \
    prune --repair deflect --adapter absent --probe harmful=$other --output p
  refuses 3 "the probe cannot be used: no such adapter directory: absent" "${deflect[@]}" --probe harmful=absent

  # What is of the other kind is given by the other option.
  local shaped="it is shaped like a checkpoint, not an adapter: family/base; give it as --direction"
  refuses 3 "the probe cannot be used: $shaped" "${deflect[@]}" --probe harmful=family/base
  refuses 3 "the probe cannot be used: $shaped, with --repair deflect" "${subtract[@]}" --probe harmful=family/base
  refuses 3 "a probe cannot be used: $shaped" audit --probe harmful=family/base --adapter $one --report p.h5
  shaped="a probe cannot be used: it is an adapter, not shaped like a checkpoint: $other; give it as --probe"
  refuses 3 "$shaped" "${deflect[@]}" --direction harmful=$other
  refuses 3 "$shaped" audit --direction harmful=$other --adapter $one --report p.h5
  refuses 3 "the adapter cannot be repaired: it is shaped like a checkpoint, not an adapter: family/base; expected a directory with adapter_config.json" \
    prune --repair deflect --adapter family/base --probe harmful=$other --output p

  cp -r $other dora && sed -i 's/"use_dora": false/"use_dora": true/' dora/adapter_config.json
  refuses 3 "the probe cannot be used: it is a DoRA adapter" "${deflect[@]}" --probe harmful=dora
  refuses 3 "the adapter cannot be repaired: it is a DoRA adapter" \
    prune --repair subtract --adapter dora --probe harmful=$other --output p
  cp -r $other nan && spoil nan/adapter_model.safetensors
  refuses 3 "is not finite at element 0: nan/adapter_model.safetensors; expected numbers" "${subtract[@]}" --probe harmful=nan
  "$winnow" synth --adapters 1 --rank 8 --layers 1 --seed 3 --preset llama-2-7b --headers-only --output large >out 2>err ||
    fail "synth"
  refuses 3 "has another shape than the adapter's: large/adapters/adapter-000/adapter_model.safetensors; expected [" \
    "${deflect[@]}" --probe harmful=large/adapters/adapter-000
  # The same tensors under the names of no layer of this model.
  cp -r $other stranger && sed -i 's/model\.layers\./model.floors./g' stranger/adapter_model.safetensors
  refuses 3 "the probe has no module in common with the adapter: stranger; expected modules such as model.layers.0." \
    "${deflect[@]}" --probe harmful=stranger
  check "a refused repair has written" test ! -e p

  accepts 0 "wrote p: 56 modules repaired, 0 as they were; rank 8 to 12, which vLLM must allow (--max-lora-rank)" \
    "${deflect[@]}" --probe harmful=$other
  accepts 0 "wrote p: 56 modules repaired, 0 as they were; rank 8" "${deflect[@]}" --probe harmful=$other --side left
  accepts 0 "rank 8 to 10" "${deflect[@]}" --probe harmful=$other --directions 2 --lambda 0.5
  accepts 0 "rank 8 to 16" "${subtract[@]}" --probe harmful=$other --lambda 2e-1
  accepts 0 "rank 8 to 12" "${deflect[@]}" --probe harmful=$other --probe harmful=$other  # the same directions twice
  # An adapter may be its own probe: nothing is left of it, and it still loads.
  accepts 0 "56 modules repaired, 0 as they were; rank 8" "${subtract[@]}" --probe harmful=$one
  local zoo=(audit --probe harmful=$other --report r.h5 --repair deflect --directions 2)
  refuses 2 "--repair needs a place to write to" "${zoo[@]}" --adapter $one
  refuses 2 "this repair needs a probe that is an adapter; expected --probe harmful=DIR" \
    audit --direction harmful=family/aligned --report r.h5 --repair subtract --repaired-dir all --adapter $one
  refuses 2 "a direction of the weights cannot be subtracted from factors: family/aligned" \
    "${subtract[@]}" --direction harmful=family/aligned
  # Directions of the weights, by prune and in an audit.
  accepts 0 "wrote p: 56 modules repaired, 0 as they were; rank 8 to 10" "${deflect[@]}" --direction harmful=family/aligned --directions 2
  accepts 0 "repaired: turned/adapter-000 (0 modules as they were, 56 repaired)" audit --direction harmful=family/aligned \
    --report r.h5 --repair deflect --directions 2 --repaired-dir turned --adapter $one
  check "a repair by a direction in an audit differs" cmp -s p/adapter_model.safetensors turned/adapter-000/adapter_model.safetensors
  refuses 2 "--lambda says nothing with --repair none" audit --probe harmful=$other --report r.h5 --lambda 2 --adapter $one
  accepts 0 "rank 8 to 10" "${deflect[@]}" --probe harmful=$other --directions 2
  accepts 0 "repaired: all/adapter-000 (0 modules as they were, 56 repaired)" "${zoo[@]}" --repaired-dir all --adapter $one
  check "a repair in an audit differs" cmp -s p/adapter_model.safetensors all/adapter-000/adapter_model.safetensors
  cp -r $one zero
  local header; header=$((8 + $(od -An -t u8 -N 8 zero/adapter_model.safetensors)))
  local size; size=$(stat -c %s zero/adapter_model.safetensors)
  truncate -s $header zero/adapter_model.safetensors && truncate -s $size zero/adapter_model.safetensors
  accepts 0 "0 modules repaired, 56 as they were; rank 8; nothing runs along the probes, so it is a copy" \
    "${deflect[@]}" --probe harmful=zero
  check "a copy differs" cmp -s p/adapter_model.safetensors $one/adapter_model.safetensors
  check "a copy's configuration differs" cmp -s p/adapter_config.json $one/adapter_config.json
  (
    trap '' XFSZ && ulimit -f 64
    refuses 1 "cannot write file (File too large)" prune --repair deflect --adapter $one --probe harmful=$other --output full
    exit "$failures"
  ) || fail "on a full disk"
  check "a failed repair has left an adapter" test ! -e full
  nothing_half_written "on a full disk"
}

# Other repairs of single modules. Numbers are for repair/ and conformance/test_repair.py.
repairs() {
  make_report
  local one=family/adapters/adapter-000 other=family/adapters/adapter-001 option
  local scale=(prune --repair scale --adapter $one --output p)
  refuses 2 "--repair scale needs --factor; add --factor 0.5" "${scale[@]}"
  refuses 2 "--factor half is not a number; expected a number from 0 to 100" "${scale[@]}" --factor half
  for option in -1 100.5 nan inf; do
    refuses 2 "--factor $option is out of range; expected a number from 0 to 100" "${scale[@]}" --factor $option
  done
  refuses 2 "--select says nothing without --report; add --report FILE.h5" "${scale[@]}" --factor 2 --select prune-top:3
  refuses 2 "--lambda says nothing with --repair scale; expected it with --repair " \
    "${scale[@]}" --factor 2 --lambda 2
  refuses 2 "--output would replace what is read: report.h5" \
    prune --repair scale --factor 2 --adapter $one --report report.h5 --output report.h5
  check "a refused repair has written" test ! -e p
  accepts 0 "wrote p: 56 modules repaired, 0 as they were; rank 8" "${scale[@]}" --factor 0.5
  accepts 0 "wrote p: 0 modules repaired, 56 as they were; rank 8; nothing is to be repaired, so it is a copy" "${scale[@]}" --factor 1
  check "a copy differs" cmp -s p/adapter_model.safetensors $one/adapter_model.safetensors
  accepts 0 "wrote p: 5 modules repaired, 51 as they were; rank 8" \
    "${scale[@]}" --factor 0.5 --report report.h5 --select prune-top:5 --rank-by misalignment
  accepts 0 "0 modules repaired, 56 as they were; rank 8; nothing is selected, so it is a copy" \
    "${scale[@]}" --factor 0.5 --report report.h5 --select none
  accepts 0 "repaired: all/adapter-000 (51 modules as they were, 5 repaired)" audit "${models[@]}" --adapter $one --report r.h5 \
    --select prune-top:5 --repair scale --factor 0.5 --repaired-dir all
  accepts 0 "repaired: all/adapter-000 (0 modules as they were, 56 repaired)" audit "${models[@]}" --adapter $one --report r.h5 \
    --select none --repair scale --factor 0.5 --repaired-dir all

  # By the weights.
  local project=(prune --repair project "${models[@]}" --adapter $one --output p)
  refuses 2 "--repair project compares two checkpoints; add --base DIR and --aligned DIR" prune --repair project --adapter $one --output p
  refuses 2 "--repair project compares two checkpoints" prune --repair project --aligned family/aligned --adapter $one --output p
  refuses 2 "--repair project compares two checkpoints" \
    audit --aligned family/aligned --adapter $one --report r.h5 --repair project --repaired-dir all
  refuses 2 "--base says nothing with --repair scale; expected it with --repair project" "${scale[@]}" --factor 2 --base family/base
  refuses 2 "unknown --project-by C; expected operator, subspace or rescaled" "${project[@]}" --project-by C
  refuses 2 "--directions says nothing with --project-by operator; expected it with --project-by subspace" "${project[@]}" --directions 3
  refuses 2 "--output would replace what is read: family/base" \
    prune --repair project "${models[@]}" --adapter $one --output family/base
  # As an audit refuses them.
  refuses 2 "--base and --aligned are the same checkpoint: family/base" \
    prune --repair project --base family/base --aligned family/base --adapter $one --output p
  cp -r family/base twin
  refuses 3 "the two checkpoints do not differ in any module of the adapter: twin; expected the model after alignment" \
    prune --repair project --base family/base --aligned twin --adapter $one --output p
  sed -i 's/"model_type": *"[a-z]*"/"model_type": "mistral"/' twin/config.json
  refuses 3 "the two checkpoints are of different models: twin/config.json; expected model_type llama" \
    prune --repair project --base family/base --aligned twin --adapter $one --output p
  "$winnow" synth --adapters 1 --rank 8 --layers 1 --seed 3 --preset llama-2-7b --headers-only --output large >out 2>err ||
    fail "synth"
  refuses 3 "the adapter cannot be repaired: module model.layers.0" "${project[@]:0:7}" --adapter large/adapters/adapter-000 --output q
  refuses 3 "the two checkpoints are of different models: 8 of 8 matrices differ in shape, such as this: large/aligned/" \
    prune --repair project --base family/base --aligned large/aligned --adapter $one --output p
  check "a refused repair by weights has written" test ! -e q
  accepts 0 "wrote p: 56 modules repaired, 0 as they were; rank 8" "${project[@]}"
  accepts 0 "wrote p: 5 modules repaired, 51 as they were; rank 8" \
    "${project[@]}" --report report.h5 --select prune-top:5 --rank-by cosine
  accepts 0 "repaired: all/adapter-000 (51 modules as they were, 5 repaired)" audit "${models[@]}" --adapter $one --report r.h5 \
    --select prune-top:5 --rank-by cosine --repair project --repaired-dir all
  check "a projection in an audit differs" cmp -s p/adapter_model.safetensors all/adapter-000/adapter_model.safetensors
  accepts 0 "wrote p: 56 modules repaired" "${project[@]}" --project-by subspace

  local signed=(prune "${models[@]}" --adapter $one --output p)
  refuses 2 "cannot restore from 65 directions; expected --directions 1 to 64" "${signed[@]}" --repair restore --directions 65
  refuses 2 "--lambda says nothing with --repair restore; expected it with --repair deflect" "${signed[@]}" --repair restore --lambda 1
  refuses 2 "--lambda 0 is out of range; expected a number above 0, at most 100" "${signed[@]}" --repair extrapolate --lambda 0
  accepts 0 "rank 8 to 10, which vLLM must allow" "${signed[@]}" --repair extrapolate --directions 2
  accepts 0 "repaired: all/adapter-000 (0 modules as they were, 56 repaired)" audit "${models[@]}" --adapter $one --report r.h5 \
    --select none --repair extrapolate --directions 2 --repaired-dir all
  check "an extrapolation in an audit differs" cmp -s p/adapter_model.safetensors all/adapter-000/adapter_model.safetensors
  accepts 0 " modules repaired, " "${signed[@]}" --repair restore

  # By the aligned weights alone.
  local unablate=(prune --repair unablate --adapter $one --output p)
  refuses 2 "--repair unablate needs the aligned weights; add --aligned DIR" "${unablate[@]}"
  for option in 0 1 nan; do
    refuses 2 "--threshold $option is out of range; expected a number above 0, below 1" \
      "${unablate[@]}" --aligned family/aligned --threshold $option
  done
  refuses 2 "--base says nothing with --repair unablate; expected it with --repair project" "${unablate[@]}" "${models[@]}"
  accepts 0 "wrote p: 0 modules repaired, 56 as they were; rank 8; nothing is to be repaired, so it is a copy" \
    "${unablate[@]}" --aligned family/aligned
  accepts 0 "repaired: all/adapter-000 (56 modules as they were, 0 repaired)" audit --aligned family/aligned --adapter $one \
    --report r.h5 --repair unablate --repaired-dir all

  # With another adapter.
  local merge=(prune --repair merge --adapter $one --output p)
  refuses 2 "--repair merge needs --weights; add --weights 0.8,0.2" "${merge[@]}" --with $other
  refuses 2 "this repair needs another adapter; add --with DIR" "${merge[@]}" --weights 0.8,0.2
  refuses 2 "not one weight for each adapter; expected --weights with 2 numbers: that of the adapter first, found 1" \
    "${merge[@]}" --with $other --weights 0.8
  for option in 0.8, ,0.2 0.8,x '0.8;0.2'; do
    refuses 2 "is not a number; expected numbers with commas between, such as 0.8,0.2" "${merge[@]}" --with $other --weights "$option"
  done
  refuses 2 "a weight of -0.2 is out of range; expected numbers from 0 to 100" "${merge[@]}" --with $other --weights 0.8,-0.2
  refuses 2 "weights that are all 0 leave nothing" "${merge[@]}" --with $other --weights 0,0
  refuses 2 "--output would replace what is read: $other" \
    prune --repair merge --adapter $one --output $other --with $other --weights 1,1
  refuses 3 "the adapter cannot be merged: no such adapter directory: absent" "${merge[@]}" --with absent --weights 1,1
  refuses 3 "has another shape than the adapter's: large/adapters/adapter-000/adapter_model.safetensors" \
    "${merge[@]}" --with large/adapters/adapter-000 --weights 1,1
  "$winnow" prune --report report.h5 --adapter $one --output part --select prune-top:1 --rank-by cosine >out 2>err || fail "a part"
  refuses 3 "the adapter has no module model.layers." prune --repair merge --adapter part --output q --with $one --weights 1,1
  check "a refused merge has written" test ! -e q
  accepts 0 "wrote p: 56 modules repaired, 0 as they were; rank 8" "${merge[@]}" --with part --weights 0.8,0.2
  accepts 0 "wrote p: 56 modules repaired, 0 as they were; rank 8 to 16" "${merge[@]}" --with $other --weights 0.8,0.2
  accepts 0 "repaired: all/adapter-000 (51 modules as they were, 5 repaired)" audit "${models[@]}" --adapter $one --report r.h5 \
    --select prune-top:5 --rank-by cosine --repair merge --with $other --weights 0.8,0.2 --repaired-dir all
}

# A zoo at once: each as if it were alone, and one bad adapter ends nothing.
repairs_of_a_zoo() {
  make_report
  local zoo=(--zoo family/adapters) one how
  refuses 2 "--adapter and --zoo cannot both be repaired; leave one of them out" \
    prune --repair scale --factor 2 "${zoo[@]}" --adapter family/adapters/adapter-000 --output all
  refuses 2 "--output would replace what is read: family/adapters" prune --repair scale --factor 2 "${zoo[@]}" --output family/adapters
  refuses 3 "no such adapter zoo: absent" prune --repair scale --factor 2 --zoo absent --output all
  refuses 3 "no such adapter zoo: absent" prune --repair restore "${models[@]}" --zoo absent --output all
  refuses 2 "the report selects nothing" prune --repair restore "${models[@]}" "${zoo[@]}" --report report.h5 --output all
  check "a refused repair has written" test ! -e all
  while read -r how; do
    ends 0 prune --repair $how "${zoo[@]}" --output all
    check "$how: not both written" grep -q '^2 of 2 adapters written below all' out
    [[ $how == *aligned* ]] || check "$how: weights are read" grep -q '^2 of 2 adapters written below all$' out
    for one in adapter-000 adapter-001; do
      ends 0 prune --repair $how --adapter family/adapters/$one --output p
      check "$how: $one of a zoo differs" diff -r p all/$one
    done
  done <<TABLE
scale --factor 0.5
restore ${models[*]}
project ${models[*]} --report report.h5 --select prune-top:5 --rank-by cosine
unablate --aligned family/aligned --threshold 0.3
deflect --probe harmful=family/adapters/adapter-001 --directions 2
deflect --direction harmful=family/aligned --probe harmful=family/adapters/adapter-001 --directions 2
drop --report report.h5 --select prune-top:5 --rank-by cosine
zero --report report.h5 --scope zoo --select prune-top:5 --rank-by alignment_removed
TABLE
  # The pair is read once for both: 28 modules of 16 bit.
  accepts 0 "adapters written below all; $(read_once) GB of weights read" prune --repair extrapolate "${models[@]}" "${zoo[@]}" --output all
  mkdir -p mixed/broken && cp -r family/adapters/adapter-000 mixed/sound && echo '{}' >mixed/broken/adapter_config.json
  cp -r family/adapters/adapter-000 mixed/twin
  while read -r how; do
    ends 0 prune --repair $how --zoo mixed --output some
    check "$how: not two of three" grep -q '^2 of 3 adapters written below some' out
    check "$how: not one warning" test "$(wc -l <err)" = 1
    check "$how: the broken one is not told" grep -q "warning: adapter broken is not repaired: .*adapter_model.safetensors is missing" err
    check "$how: not only the sound ones" test "$(ls -A some)" = "$(printf 'sound\ntwin')"
    check "$how: a copy differs" cmp -s some/sound/adapter_model.safetensors some/twin/adapter_model.safetensors
    ends 3 prune --repair $how --zoo mixed/broken --output none
    check "$how: no error if nothing is written" \
      grep -q '^winnow: error: no adapter is written: none of 1 could be repaired: mixed/broken' err
    rm -rf some
  done <<TABLE
scale --factor 0.5
restore ${models[*]}
drop --report report.h5 --select prune-top:5 --rank-by cosine
TABLE
  check "a zoo of broken adapters has left something" test ! -e none
  (
    trap '' XFSZ && ulimit -f 64
    refuses 1 "cannot write file (File too large)" prune --repair extrapolate "${models[@]}" "${zoo[@]}" --output full
    exit "$failures"
  ) || fail "on a full disk"
  check "a failed repair has left an adapter" test ! -e full -o -z "$(ls -A full)"
  nothing_half_written "on a full disk"
}

# GB of the weights that the adapters are on, of both checkpoints, as three digits.
read_once() {
  python3 - <<'PYTHON'
import json, struct
def tensors(path):
    import glob
    for name in glob.glob(path + "/*.safetensors"):
        with open(name, "rb") as file:
            yield from json.loads(file.read(struct.unpack("<Q", file.read(8))[0])).items()
wanted = {key[len("base_model.model."):-len(".lora_A.weight")] + ".weight"
          for key, _ in tensors("family/adapters/adapter-000") if key.endswith("lora_A.weight")}
total = sum(entry["data_offsets"][1] - entry["data_offsets"][0]
            for model in ("base", "aligned") for key, entry in tensors("family/" + model) if key in wanted)
print(f"{total / 1e9:.3g}")
PYTHON
}

# The aligned checkpoint alone, and what --methods asks for.
weights() {
  make_family
  local alone=(audit --aligned family/aligned --zoo family/adapters) both=("${audit[@]:0:7}")
  refuses 2 "unknown method ablatoin in --methods; expected default, all, or a method; did you mean ablation" \
    "${alone[@]}" --report r.h5 --methods default,ablatoin
  refuses 2 "an empty name in --methods; expected names separated by commas" "${alone[@]}" --report r.h5 --methods default,
  refuses 2 "--aligned says nothing: none of the --methods measures the aligned weights alone; add ablation to them, or --base DIR" \
    "${alone[@]}" --report r.h5 --methods safe_lora,spectral
  refuses 2 "--base says nothing: none of the --methods compares two checkpoints; leave out --base" \
    "${both[@]}" --report r.h5 --methods ablation,spectral
  refuses 2 "--rank-by ediem needs both checkpoints; add --base DIR and --aligned DIR" "${alone[@]}" --report r.h5 --rank-by ediem
  refuses 2 "--rank-by ablation needs the aligned weights; add --methods default,ablation" "${both[@]}" --report r.h5 --rank-by ablation
  refuses 2 "--rank-by lox_kept is not among the --methods; add lox to them" \
    "${both[@]}" --report r.h5 --methods safe_lora --rank-by lox_kept
  refuses 2 "--rank-by ablation needs the aligned weights; add --aligned DIR" \
    audit --probe harmful=family/adapters/adapter-000 --zoo family/adapters --report r.h5 --rank-by ablation
  refuses 2 "--aligned is missing" audit --base family/base --zoo family/adapters --report r.h5
  refuses 2 "--element-stats needs both checkpoints" "${alone[@]}" --report r.h5 --element-stats

  accepts 0 "0 selected for pruning, 0 adapters take a direction out of" "${alone[@]}" --report alone.h5
  check "the page" "$winnow" report alone.h5 --html alone.html --csv alone --json alone.json >out 2>err
  check "the page says what one checkpoint shows" grep -qF "Of the aligned weights alone two things show" alone.html
  check "a dataset of a pair" test -z "$(grep -l ediem alone/metrics.csv)"
  accepts 0 "" "${both[@]}" --report both.h5 --methods all --select none
  "$winnow" report both.h5 --csv both >out 2>err || fail "report"
  # The same numbers with a base and without: by name of the column, whichever others there are.
  ablation_of() {
    awk -F, 'NR == 1 { for (i = 1; i <= NF; ++i) if ($i == "ablation") k = i; next } { print $1, $2, $k }' "$1"
  }
  check "ablation is a column" test "$(ablation_of alone/metrics.csv | awk 'NF == 3' | wc -l)" = 112
  check "ablation with a base and without" cmp -s <(ablation_of alone/metrics.csv) <(ablation_of both/metrics.csv)
  # Of the update alone: the same beside a pair and beside a probe, which may be the only operand; merged as well.
  refuses 2 "--rank-by row_concentration is not among the --methods; add --methods default,concentration" \
    "${both[@]}" --report r.h5 --rank-by row_concentration
  concentration_of() {
    awk -F, 'NR == 1 { for (i = 1; i <= NF; ++i) if ($i == "row_concentration") k = i; next } { print $1, $2, $k }' "$1"
  }
  local probe
  for probe in --probe --direction; do
    local like=family/adapters/adapter-000
    [[ $probe == --probe ]] || like=family/aligned
    accepts 0 "" audit $probe harmful=$like --zoo family/adapters --report lines.h5 --methods concentration \
      --rank-by row_concentration
    "$winnow" merge --report merged-lines.h5 lines.h5 >out 2>err || fail "merge"
    rm -rf lines
    "$winnow" report merged-lines.h5 --csv lines >out 2>err || fail "report"
    check "$probe: concentration is a column" test "$(concentration_of lines/metrics.csv | awk 'NF == 3' | wc -l)" = 112
    check "$probe: concentration with a pair and without" \
      cmp -s <(concentration_of lines/metrics.csv) <(concentration_of both/metrics.csv)
  done
  # Of W by name alone: what they cost is a second sweep over the same bytes.
  accepts 0 "" "${alone[@]}" --report named.h5 --methods default,intruders,overlap_right
  "$winnow" report named.h5 --csv named >out 2>err || fail "report"
  "$winnow" report alone.h5 --csv alone >out 2>err || fail "report"
  local column
  for column in intruder_dimensions intruder_compared overlap_right; do
    check "$column by name" test "$(head -n 1 named/metrics.csv | tr , '\n' | grep -cx $column)" = 1
    check "$column of all" test "$(head -n 1 both/metrics.csv | tr , '\n' | grep -cx $column)" = 1
    check "$column by default" test "$(head -n 1 alone/metrics.csv | tr , '\n' | grep -cx $column)" = 0
  done
  accepts 0 "" "${alone[@]}" --report right.h5 --methods overlap_right
  "$winnow" report right.h5 --csv right >out 2>err || fail "report"
  check "a sketch that nobody asked for" test -z "$(grep -l intruder right/metrics.csv)"
  accepts 0 "" merge --report merged-named.h5 named.h5
  "$winnow" report merged-named.h5 --csv merged-named >out 2>err || fail "report"
  check "a merge keeps them" cmp -s named/metrics.csv merged-named/metrics.csv
  refuses 2 "--rank-by intruder_dimensions: it describes, and cannot tell which is worse" \
    "${alone[@]}" --report r.h5 --methods default,intruders --rank-by intruder_dimensions
  # No method that needs the sketch: no column of it.
  accepts 0 "" "${both[@]}" --report few.h5 --methods safe_lora --select none
  "$winnow" report few.h5 --json few.json >out 2>err || fail "report"
  check "what nobody asked for" test -z "$(grep -oE 'subspace_energy|ablation|lox_kept' few.json)"
  "$winnow" plan "${both[@]:1}" --methods safe_lora >out 2>err || fail "plan"
  local columns; columns=$(grep -oE '[0-9.e-]+ TFLOP' out | head -n 1)
  "$winnow" plan "${both[@]:1}" >out 2>err || fail "plan"
  check "what is not asked for costs nothing: $columns" test "$columns" != "$(grep -oE '[0-9.e-]+ TFLOP' out | head -n 1)"

  # Slices of a zoo, merged.
  accepts 0 "" "${alone[@]:0:3}" --adapter family/adapters/adapter-000 --report one.h5
  accepts 0 "" "${alone[@]:0:3}" --adapter family/adapters/adapter-001 --report two.h5
  accepts 0 "" merge --report merged.h5 one.h5 two.h5
  "$winnow" report merged.h5 --json merged.json >out 2>err || fail "report"
  check "a merge ranks by ablation" grep -qF '"ablation"' merged.json
  refuses 3 "the reports are not parts of one audit" merge --report mixed.h5 one.h5 both.h5
  accepts 0 "" audit --aligned family/base --adapter family/adapters/adapter-001 --report other.h5
  refuses 3 "expected aligned_fingerprint" merge --report mixed.h5 one.h5 other.h5
}

# A bank of 60 harmless adapters and a part of it; two more of those; one that runs along the probe and one against it; one that is
# cut short.
make_judged_zoo() {
  "$winnow" synth --adapters 64 --rank 4 --misaligned 0 --seed 1 --output family >out 2>err || fail "synth"
  local all=family/adapters probe
  probe=$all/adapter-000
  probed=(audit --probe harmful=$probe)
  printf "$all/adapter-%03d\n" $(seq 4 63) >bank.txt && head -n 18 bank.txt >few.txt
  accepts 0 "no verdicts: without --bank REPORT.h5 of harmless adapters no error rate is known" \
    "${probed[@]}" --zoo bank.txt --report bank.h5
  accepts 0 "" "${probed[@]}" --zoo few.txt --report few.h5
  "$winnow" prune --repair merge --with $probe --weights 1,1 --adapter $all/adapter-001 --output odd >out 2>err || fail "an odd adapter"
  "$winnow" prune --repair subtract --probe harmful=$probe --adapter $all/adapter-001 --output away >out 2>err || fail "one that runs away"
  cp -r $all/adapter-003 broken && truncate -s -4 broken/adapter_model.safetensors
  judged=("${probed[@]}" --bank bank.h5 --adapter $all/adapter-001 --adapter $all/adapter-002)
}

# Verdicts, and the exit code that goes by them.
verdicts() {
  make_judged_zoo
  accepts 0 "0 of 2 adapters did not pass: block 0, review 0, incomplete 0, pass 2" "${judged[@]}" --report sound.h5 --fail-on-findings
  accepts 4 "1 of 3 adapters did not pass: block 1, review 0, incomplete 0, pass 2" \
    "${judged[@]}" --adapter odd --report r.h5 --fail-on-findings
  check "the reason" grep -qE "^  block odd: bank_p 0.0164, bank_deviation [0-9]+ \(cosine 0.[0-9]+ with the harmful" out
  accepts 0 "1 of 3 adapters did not pass: block 0, review 1, incomplete 0, pass 2" \
    "${judged[@]}" --adapter away --report r.h5 --fail-on-findings
  check "against the probe" grep -qE "^  review away: bank_against_p 0.0164 \(cosine -0.[0-9]+ with the harmful" out
  accepts 0 "block 1" "${judged[@]}" --adapter odd --report r.h5  # without the option no verdict is a failure
  "$winnow" "${judged[@]}" --adapter broken --report incomplete.h5 --fail-on-findings >out 2>err
  check "an incomplete adapter: exit code" test $? = 4
  check "an incomplete adapter" grep -qF "1 of 3 adapters did not pass: block 0, review 0, incomplete 1, pass 2" out
  # Of five adapters a bank of 60 blocks none that is alone: it is for review, which is no finding, and that is said.
  local among="does not count the 1 adapter for review; with this bank 2 of 5 would have to be more unusual than all of it"
  "$winnow" "${judged[@]}" --adapter odd --adapter family/adapters/adapter-003 --adapter family/adapters/adapter-004 \
    --report five.h5 --fail-on-findings >out 2>err
  check "for review: exit code" test $? = 0
  check "for review" grep -qF "1 of 5 adapters did not pass: block 0, review 1, incomplete 0, pass 4" out
  check "for review: warning" grep -qF -- "$among" err
  accepts 4 "block 1" "${judged[@]}" --adapter odd --adapter family/adapters/adapter-003 --adapter family/adapters/adapter-004 \
    --report five.h5 --fail-on-findings --fdr 0.1
  accepts 4 "1 selected for pruning" "${judged[@]}" --report s.h5 --fail-on-findings --select threshold:0.0005
  # A bank that can block nothing is told of; what needs none is found all the same.
  local small="winnow: warning: --fail-on-findings: a bank of 18 can block nothing at 5 % (19 harmless adapters at least)"
  "$winnow" "${probed[@]}" --bank few.h5 --adapter odd --report r.h5 --fail-on-findings >out 2>err
  check "a small bank: exit code" test $? = 0
  check "a small bank: warning" test "$(grep -cF -- "$small" err)" = 1
  "$winnow" "${probed[@]}" --bank few.h5 --adapter odd --adapter family/adapters/adapter-000 --report part-few.h5 --fail-on-findings >out 2>err
  check "a harmful probe itself, by a small bank: exit code" test $? = 4
  "$winnow" merge --report m.h5 r.h5 part-few.h5 --fail-on-findings >out 2>err
  check "a small bank, merged: exit code" test $? = 4
  check "a small bank, merged: warning" test "$(grep -cF -- "$small" err)" = 1
  accepts 0 "a bank of 18 cannot claim a rate of 5 % (19 adapters at least)" "${probed[@]}" --bank few.h5 --adapter odd --report few-r.h5
  check "a small bank" grep -qF "1 of 1 adapter did not pass: block 0, review 1, incomplete 0, pass 0" out

  # The whole zoo is judged, not its parts.
  local two=family/adapters/adapter-003 three=family/adapters/adapter-004
  accepts 0 "block 1" "${probed[@]}" --bank bank.h5 --adapter odd --report part-1.h5
  accepts 0 "pass 2" "${probed[@]}" --bank bank.h5 --adapter $two --adapter $three --report part-2.h5
  accepts 4 "block 1, review 0" merge --report merged.h5 sound.h5 part-1.h5 --fail-on-findings
  "$winnow" merge --report merged.h5 sound.h5 part-1.h5 part-2.h5 --fail-on-findings >out 2>err
  check "merged for review: exit code" test $? = 0
  check "merged for review" grep -qF "1 of 5 adapters did not pass: block 0, review 1, incomplete 0, pass 4" out
  check "merged for review: warning" grep -qF -- "$among" err
  accepts 0 "review 1" report merged.h5
  "$winnow" report merged.h5 --csv merged >out 2>err && "$winnow" report five.h5 --csv five >out 2>err || fail "tables"
  refuses 3 "fdr 0.05 as in part-1.h5, found 0.1" merge --report m.h5 part-1.h5 five.h5
  refuses 2 "--fail-on-findings says nothing of reports without verdicts that select by count" \
    merge --report m.h5 bank.h5 --fail-on-findings
  accepts 0 '"verdict":"review"' report merged.h5 --json -
  accepts 0 '<span class="tag flag">review</span>' report merged.h5 --html -
  check "a verdict in the table of adapters" grep -qF ",review," merged/adapters.csv
}

# awaits TEXT [COUNT]: returns once so many lines (1) of the file said begin with the text. A machine may be slow, so it waits long.
awaits() {
  local turn
  for ((turn = 0; turn < 6000; ++turn)); do
    (($(awk -v text="$1" 'index($0, text) == 1' said | wc -l) < ${2:-1})) || return 0
    kill -0 "$watcher" 2>/dev/null || turn=$((turn + 1000))  # it has ended: what it has written is there
    sleep 0.1
  done
  fail "no line begins with: $1"
}

begins_watch() { # ARGUMENT...: in the background, with what it says in the files said and warned
  true | tee said >warned  # before it begins: what an earlier one has said is not waited for
  "$winnow" watch run "${by[@]}" --interval 1 "$@" >>said 2>>warned &
  watcher=$!
  awaits "watching run: "
}
ends_watch() { # CODE: waits for its end
  wait "$watcher"
  local code=$?
  [[ $code == "$1" ]] || { cp said out && cp warned err && fail "the watch: exit code $code, expected $1"; }
}

# A training run, played: what is written in which order, and what must have been said before it goes on.
watch() {
  make_judged_zoo
  local all=family/adapters step signal
  local trained="$all/adapter-001"
  by=("${probed[@]:1}" --bank bank.h5)

  refuses 2 "no training run given; expected winnow watch RUN_DIR" watch "${by[@]}"
  refuses 2 "nothing to compare the checkpoints with; expected --probe harmful=DIR" watch run
  refuses 2 "--fail-on-findings says nothing without a threshold; add --bank REPORT.h5 or --threshold X" \
    watch run "${probed[@]:1}" --fail-on-findings
  refuses 2 "--fail-on-trend says nothing without a threshold" watch run "${probed[@]:1}" --fail-on-trend
  refuses 2 "--fdr says nothing without harmless adapters" watch run "${probed[@]:1}" --fdr 0.1
  refuses 2 "--threshold 3x is not a number" watch run "${probed[@]:1}" --threshold 3x
  refuses 2 "--threshold nan is not a number" watch run "${probed[@]:1}" --threshold nan
  refuses 2 "--interval 0 is out of range; expected seconds, 1 to 86400" watch run "${by[@]}" --interval 0
  refuses 2 "--until-idle says nothing with --once" watch run "${by[@]}" --once --until-idle 5
  refuses 2 "the run to watch is not a directory: bank.txt" watch bank.txt "${by[@]}" --once
  refuses 3 "no such run: run" watch run "${by[@]}" --once
  refuses 3 "the bank was not compared with one of the probes" watch run --probe harmful=$all/adapter-002 --bank bank.h5 --once
  refuses 3 "a probe cannot be used" watch run --probe harmful=absent --once
  refuses 2 "the file is no log of winnow watch: bank.h5; expected a new file, or one that it wrote" \
    watch run "${by[@]}" --log bank.h5
  check "a refused watch has left something behind" test ! -e run

  # Before the run is there; a checkpoint that comes in pieces; a late one that ends it.
  begins_watch --log log.jsonl --fail-on-findings
  mkdir -p run/checkpoint-10 run/tmp-checkpoint-20
  head -c 1000 $trained/adapter_model.safetensors >run/checkpoint-10/adapter_model.safetensors
  cp odd/* run/tmp-checkpoint-20
  cp $trained/adapter_config.json run/checkpoint-10
  mkdir run/checkpoint-5 && cp $all/adapter-002/* run/checkpoint-5 && echo '{}' >run/checkpoint-5/trainer_state.json
  awaits "checkpoint-5: bank_deviation"
  check "half a checkpoint is judged" test -z "$(grep checkpoint-10 said warned)"
  cat $trained/adapter_model.safetensors >run/checkpoint-10/adapter_model.safetensors
  echo '{}' >run/checkpoint-10/trainer_state.json
  awaits "checkpoint-10: bank_deviation"
  check "it says bank, threshold and rate" grep -qE "^watching run: bank_deviation, by 1 probe and a bank of 60; above [0-9.]+ the verdict is block \(at 5 %\)$" said
  check "it says score, p and verdict" grep -qE "^checkpoint-10: bank_deviation -?[0-9.]+ of [0-9.]+, bank_p [0-9.]+, pass; trend" said
  mv run/tmp-checkpoint-20 run/checkpoint-20 && echo '{}' >run/checkpoint-20/trainer_state.json
  ends_watch 4
  check "it says why" grep -qE "^winnow: warning: checkpoint-20: block: bank_p 0.0164, bank_deviation" warned
  check "warnings of what is sound" test "$(wc -l <warned)" = 1
  check "a line of the log each" test "$(grep -c '"winnow_watch":1' log.jsonl)" = 3

  # The score is that of an audit, to the last digit.
  for step in 5 10 20; do
    "$winnow" audit "${by[@]}" --adapter run/checkpoint-$step --report alone.h5 >out 2>err || fail "an audit"
    "$winnow" report alone.h5 --json - | grep -oE '"score":[-+0-9.e]+' | head -n 1 >expected
    grep "\"step\":$step," log.jsonl | grep -oE '"score":[-+0-9.e]+' >found
    check "step $step: another score than that of an audit: $(cat expected found)" cmp -s expected found
  done

  # With a threshold of one's own a block is no finding below it.
  accepts 0 "watching run: bank_deviation, by 1 probe and a bank of 60; above 1e+09 it warns" \
    watch run "${by[@]}" --once --threshold 1e9 --fail-on-findings --log-level error
  "$winnow" watch run "${by[@]}" --once --threshold 0.01 --fail-on-findings >out 2>err
  check "above a threshold of one's own: exit code" test $? = 4
  check "above a threshold of one's own" grep -qE "^winnow: warning: checkpoint-5: above the threshold: bank_p" err

  # Again: the log is believed, unless probes or content differ; and what was found is still found.
  accepts 0 "checkpoint-5: bank_deviation" watch run "${by[@]}" --once --log other.jsonl --log-level error
  check "with another log all is judged" test "$(grep -c 'from the log' out)" = 0
  "$winnow" watch run "${by[@]}" --once --log log.jsonl --fail-on-findings >out 2>err
  check "a restarted watch: exit code" test $? = 4
  check "a restarted watch judges again" test "$(grep -c 'from the log' out)" = 3
  check "a restarted watch writes again" test "$(wc -l <log.jsonl)" = 3
  "$winnow" watch run "${probed[@]:1}" --threshold 0.5 --once --log log.jsonl >out 2>err || fail "without a bank"
  check "another comparison believes the log" test "$(grep -c 'from the log' out)" = 0

  # Written over, removed, and the ends.
  for signal in TERM INT USR1; do
    begins_watch --log log.jsonl --log-level error
    awaits "checkpoint-20: bank_deviation"
    cp $all/adapter-00$((3 + ${#signal} % 2))/adapter_model.safetensors run/checkpoint-5/new
    mv run/checkpoint-5/new run/checkpoint-5/adapter_model.safetensors && echo "{\"by\": \"$signal\"}" >run/checkpoint-5/trainer_state.json
    awaits "checkpoint-5: " 2
    rm -r run/checkpoint-20
    kill -$signal $watcher
    ends_watch 0
    check "SIG$signal: an end that says so" grep -qE "^stopped at a signal: [0-9]+ judged, [0-9]+ finding" said
    mkdir run/checkpoint-20 && cp odd/* run/checkpoint-20 && echo '{}' >run/checkpoint-20/trainer_state.json
  done
  begins_watch --until-file over --log-level error
  awaits "checkpoint-20: "
  mkdir run/checkpoint-30 && cp $trained/* run/checkpoint-30 && echo '{}' >run/checkpoint-30/trainer_state.json && touch over
  ends_watch 0
  check "--until-file: the last checkpoint" grep -q "^checkpoint-30: " said
  begins_watch --until-idle 2 --log-level error
  ends_watch 0
  check "--until-idle" grep -q "^end of the watch: 4 judged, 1 finding$" said
  truncate -s -4 run/checkpoint-30/adapter_model.safetensors
  "$winnow" watch run "${by[@]}" --once --interval 1 --fail-on-findings >out 2>err
  mkdir sound && mv run/checkpoint-5 run/checkpoint-10 sound && cp -r run/checkpoint-30 sound
  "$winnow" watch sound "${by[@]}" --once --interval 1 --fail-on-findings >out 2>err
  check "half a checkpoint is no finding" test $? = 0
  check "half a checkpoint is told of" \
    grep -qF "winnow: warning: checkpoint-30 is not complete, and not judged: adapter_model.safetensors is not whole" err
  "$winnow" watch sound "${by[@]}" --once --interval 1 --log /dev/full >out 2>err
  check "a log that is no file: exit code" test $? = 2
  "$winnow" watch sound "${by[@]}" --once >/dev/full 2>err
  check "watch >/dev/full: exit code" test $? = 1
}

# jobs/watch.sh, with trainings that are scripts.
watch_job() {
  make_judged_zoo
  local sound=$PWD/family/adapters/adapter-001 job=$here/../../jobs/watch.sh
  cat >train.sh <<'SCRIPT'
#!/usr/bin/env bash
# train.sh ADAPTER CODE: saves one checkpoint and ends with that code; "until told" waits for SIGTERM.
trap 'touch told; exit 143' TERM
mkdir -p run/checkpoint-10 && cp "$1"/* run/checkpoint-10 && echo '{}' >run/checkpoint-10/trainer_state.json
[[ $2 == until-told ]] || exit "$2"
while :; do sleep 0.1; done
SCRIPT
  trains() { # CODE TEXT OPTION... -- ADAPTER CODE
    local code=$1 text=$2 options=()
    shift 2
    while [[ $1 != -- ]]; do options+=("$1") && shift; done
    rm -rf run told
    WINNOW=$winnow bash "$job" run "${options[@]}" --interval 1 -- bash train.sh "${@:2}" >out 2>err
    local ended=$?
    check "a watched training: exit code $ended, expected $code" test $ended = "$code"
    grep -qF -- "$text" out err || fail "a watched training does not say: $text"
  }
  local by=("${probed[@]:1}" --bank bank.h5)
  trains 4 "checkpoint-10: block: bank_p" "${by[@]}" -- odd until-told
  check "a training with a finding goes on" test -e told
  trains 4 "checkpoint-10: block: bank_p" "${by[@]}" -- odd 0
  trains 0 "end of the watch: 1 judged, 0 findings" "${by[@]}" -- "$sound" 0
  trains 9 "end of the watch: 1 judged, 0 findings" "${by[@]}" -- "$sound" 9
  trains 3 "the watch has ended with 3: so does the training" "${by[@]}" --probe harmful=absent -- "$sound" until-told
  check "a training that is not watched goes on" test -e told
  trains 1 "cannot append to the log" "${by[@]}" --log absent/log -- "$sound" 0
  trains 9 "cannot append to the log" "${by[@]}" --log absent/log -- "$sound" 9
  bash "$job" run -- >out 2>err
  check "no training: exit code" test $? = 2
  bash "$job" -- true >out 2>err
  check "no watch: exit code" test $? = 2
  check "something is left in the folder of temporary files" test -z "$(find "${TMPDIR:-/tmp}" -maxdepth 1 -name 'winnow-watch.*' -newer train.sh)"
}

# jobs/zoo.sh with an sbatch that runs what it is given at once: of three slices one holds nothing that can be scored.
array() {
  make_family
  mkdir bin
  cat >bin/sbatch <<'SCRIPT'
#!/usr/bin/env bash
tasks=''
while [[ $1 == --* ]]; do
  case $1 in --array=0-*) tasks=${1#--array=0-} ;; esac
  shift
done
if [[ -n $tasks ]]; then
  for ((task = 0; task <= tasks; ++task)); do
    SLURM_JOB_ID=1 SLURM_ARRAY_TASK_ID=$task WINNOW_SRUN=env bash "$@" >>log 2>&1 || touch failed
  done
elif [[ ! -e failed ]]; then # afterok
  bash "$@" >>log 2>&1
  echo $? >merge-code
fi
echo 1
SCRIPT
  chmod +x bin/sbatch
  mkdir family/adapters/broken-{0,1} && echo '{}' | tee family/adapters/broken-{0,1}/adapter_config.json >out
  local zoo=("$here/../../jobs/zoo.sh" --zoo family/adapters --slices 3 --output) option
  WINNOW=$winnow PATH=$work/bin:$PATH "${zoo[@]}" zoo -- "${models[@]}" >out 2>err || fail "jobs/zoo.sh"
  check "a slice failed: $(tail -n 3 log)" test ! -e failed
  check "the last slice is not that of the broken adapters" test "$(cat zoo/slices/[012].txt | wc -l) $(wc -l <zoo/slices/2.txt)" = "4 2"
  accepts 0 "2 adapters (2 quarantined)" report zoo/slices/2.h5
  accepts 0 "4 adapters (2 quarantined)" report zoo/report.h5
  while IFS='|' read -r option text; do
    WINNOW=$winnow PATH=$work/bin:$PATH "${zoo[@]}" refused -- "${models[@]}" $option >out 2>err
    check "jobs/zoo.sh $option: exit code" test $? = 1
    check "jobs/zoo.sh $option: not told why" grep -q -- "^zoo.sh: $option .*$text" err
  done <<TABLE
--slice|leave it out
--fail-on-findings|needs --bank, or --select threshold:X, outliers
TABLE
  check "a refused zoo has begun" test ! -e refused
  # What is found is for the merge to tell, not for a slice: the array goes on.
  local found=(-- "${models[@]}" --fail-on-findings --rank-by misalignment --select)
  WINNOW=$winnow PATH=$work/bin:$PATH "${zoo[@]}" found "${found[@]}" outliers:10 >out 2>err
  check "jobs/zoo.sh --fail-on-findings: a slice failed" test ! -e failed
  check "jobs/zoo.sh --fail-on-findings: the merge found nothing" test "$(cat merge-code)" = 4
  check "jobs/zoo.sh --fail-on-findings: no report" test -s found/report.h5
  WINNOW=$winnow PATH=$work/bin:$PATH "${zoo[@]}" sound "${found[@]}" threshold:1e9 >out 2>err
  check "jobs/zoo.sh --fail-on-findings: the merge found something" test "$(cat merge-code)" = 0
}

ranks() {
  local launch=$here/../mpi/launch.sh one how
  local kinds=(synth --layers 2 --rank 4 --kinds all --each 2 --seed 1)
  "$winnow" "${kinds[@]}" --output kinds >out 2>err || fail "synth --kinds"
  "$launch" 3 "$winnow" "${kinds[@]}" --output kinds-together >out 2>err || fail "synth --kinds on 3"
  check "adapters of a kind depend on the number of ranks" diff -rq kinds kinds-together
  "$launch" 3 "$winnow" synth --adapters 2 --rank 8 --misaligned 12 --seed 1 --output together >out 2>err || fail "synth on 3"
  make_family
  "$winnow" "${audit[@]}" --select keep-top:10 >table 2>err || fail "audit"
  check "3 ranks write another family than one" diff -r family together
  for one in 1 2 5; do
    "$launch" $one "$winnow" audit "${models[@]}" --zoo family/adapters --report ranks.h5 --repair drop \
      --repaired-dir "repaired-$one" >out 2>err || fail "audit on $one ranks"
    check "$one ranks: other results" diff <(grep -v '^re[a-z]*: ' out) <(grep -v '^report: ' table)
    check "$one ranks: other adapters" diff -r repaired-1 "repaired-$one"
  done
  for one in 1 2 3; do
    "$launch" $one "$winnow" prune --repair extrapolate "${models[@]}" --adapter family/adapters/adapter-000 \
      --output "extrapolated-$one" >out 2>err || fail "prune on $one ranks"
    check "$one ranks: another repair" diff -r extrapolated-1 "extrapolated-$one"
    "$launch" $one "$winnow" audit "${models[@]}" --zoo family/adapters --report ranks.h5 --select prune-top:9 --rank-by cosine \
      --repair project --project-by subspace --repaired-dir "projected-$one" >out 2>err || fail "audit with a projection on $one ranks"
    check "$one ranks: other projections" diff -r projected-1 "projected-$one"
  done
  for one in 1 2 3 5 8; do
    "$launch" $one "$winnow" prune --repair restore "${models[@]}" --zoo family/adapters --output "restored-$one" >out 2>err ||
      fail "prune of a zoo on $one ranks"
    check "$one ranks: other adapters of a zoo" diff -r restored-1 "restored-$one"
    check "$one ranks: weights were read more than once" grep -q "^2 of 2 adapters written below restored-$one; $(read_once) GB" out
  done
  for one in 1 3; do
    for how in --probe=harmful=family/adapters/adapter-000 --direction=harmful=family/aligned; do
      "$launch" $one "$winnow" prune --repair deflect $how --zoo family/adapters --output "deflected$how/$one" >out 2>err ||
        fail "prune of a zoo by $how on $one ranks"
      check "$one ranks: other adapters of a zoo by $how" diff -r "deflected$how/1" "deflected$how/$one"
    done
  done
  # Our line once, whatever the launcher adds.
  while IFS='|' read -r code text arguments; do
    "$launch" 3 "$winnow" $arguments >out 2>err
    check "3 ranks, $arguments: exit code" test $? = "$code"
    check "3 ranks, $arguments: not one error" test "$(grep -c '^winnow: error: ' err)" = 1
    check "3 ranks, $arguments: does not say $text" grep -qF -- "$text" err
    # mpirun itself says on stdout that a process failed.
    check "3 ranks, $arguments: ours on stdout" test "$(grep -c winnow: out)" = 0
  done <<TABLE
2|nothing to compare|audit
2|unknown selection|${audit[*]} --select best
3|no such adapter zoo|audit ${models[*]} --zoo absent --report r.h5
2|refusing to overwrite what is not a report|audit ${models[*]} --zoo family/adapters --report family/truth.json
3|file is not HDF5|report family/truth.json
2|cannot make 0 adapters|synth --adapters 0 --output s
2|--calibrate measures a whole node; expected one rank on each|${plan[*]} --calibrate
TABLE
  mkdir -p broken/a && echo '{}' >broken/a/adapter_config.json
  for one in 1 2 3 4 5 8; do
    "$launch" $one "$winnow" "${audit[@]}" --fail-on-findings --rank-by misalignment --select outliers:10 >out 2>err
    check "$one ranks, --fail-on-findings" test $? = 4
    "$launch" $one "$winnow" audit "${models[@]}" --zoo broken --report broken.h5 >out 2>err
    check "$one ranks, nothing scored" test $? = 3
    check "$one ranks, nothing scored: not one error" test "$(grep -c '^winnow: error: no adapter could be scored' err)" = 1
  done
  "$launch" 2 "$winnow" "${plan[@]}" >out 2>err || fail "plan on 2 ranks"
  check "2 ranks: not one plan for 2 ranks" test "$(grep -c '^prediction: 2 ranks' out)" = 1
  "$launch" 2 "$winnow" audit --help >out 2>err || fail "help on 2 ranks"
  check "help is not printed once" test "$(grep -c '^usage:' out)" = 1
  one_rank_differs
  judged_on_ranks
  verified_on_ranks
  nothing_half_written ranks
}

# Tensors and adapters are divided over ranks: what is said of them is not.
verified_on_ranks() {
  "$winnow" audit "${models[@]}" --zoo family/adapters --report verified.h5 >out 2>err || fail "audit"
  flip_byte() { printf "\\x$(printf %x $((0x$(xxd_at "$1" "$2") ^ 4)))" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none; }
  xxd_at() { od -An -tx1 -j "$2" -N 1 "$1" | tr -d ' '; }
  cp -r family flipped
  local shard=flipped/base/model-00002-of-00005.safetensors
  flip_byte $shard 300000
  flip_byte flipped/adapters/adapter-001/adapter_model.safetensors 200000
  check "no byte was flipped" test "$(cmp -l $shard ${shard/flipped/family} | wc -l)" = 1
  for one in 1 3 7; do
    "$launch" $one "$winnow" verify verified.h5 >"same-$one" 2>err || fail "verify on $one ranks"
    "$launch" $one "$winnow" verify verified.h5 --base flipped/base --zoo flipped/adapters >"other-$one" 2>err
    check "verify on $one ranks, changed: exit code" test $? = 4
    check "verify on $one ranks: not what one says" cmp -s same-1 "same-$one"
    # What mpirun adds of a process that failed is not ours.
    check "verify on $one ranks, changed: not what one says" \
      diff <(sed '/differ from what was audited/q' other-1) <(sed '/differ from what was audited/q' "other-$one")
  done
  check "a flipped tensor is not named" grep -q "55 as audited, 1 changed: model\..*\.weight (in model-00002-of-00005" other-7
  check "a flipped adapter is not named" grep -q "^2 adapters: 1 as audited, 1 changed: adapter-001 (weights)" other-7
}

judged_on_ranks() {
  mkdir judged && cd judged || return
  make_judged_zoo
  for one in 1 2 3; do
    "$launch" $one "$winnow" "${judged[@]}" --adapter odd --adapter broken --report "$one.h5" --fail-on-findings >out 2>err
    check "$one ranks: an adapter that is blocked" test $? = 4
    check "$one ranks: the verdicts" grep -qF "2 of 4 adapters did not pass: block 1, review 0, incomplete 1, pass 2" out
    "$launch" $one "$winnow" "${judged[@]}" --report sound.h5 --fail-on-findings >out 2>err
    check "$one ranks: none that is blocked" test $? = 0
    "$winnow" report "$one.h5" --csv "$one" >out 2>err || fail "$one ranks: its tables"
    check "$one ranks: other verdicts" diff -r 1 "$one"
    "$launch" $one "$winnow" "${probed[@]}" --bank few.h5 --adapter odd --report r.h5 --fail-on-findings >out 2>err
    check "$one ranks, a small bank: exit code" test $? = 0
    check "$one ranks, a small bank: not one warning" test "$(grep -c 'a bank of 18 can block nothing' err)" = 1
  done
  cd ..
}

# ends_on_all CODE TEXT RANKS ODD OTHERS...: winnow OTHERS on all ranks, but for one, which runs the shell command `its`.
ends_on_all() {
  local code=$1 text=$2 ranks=$3 odd=$4
  shift 4
  timeout -k 5 600 "$launch" $ranks bash -c 'odd=$1 its=$2; shift 2
    [[ $OMPI_COMM_WORLD_RANK == "$odd" ]] && eval "$its"
    exec "$@"' rank "$odd" "$its" "$winnow" "$@" >out 2>err
  check "$ranks ranks, $its on $odd, $*: exit code" test $? = "$code"
  check "$ranks ranks, $its on $odd, $*: not one error" test "$(grep -c '^winnow: error: ' err)" = 1
  check "$ranks ranks, $its on $odd, $*: does not say $text" grep -qF -- "$text" err
}

# A file that is missing on one node, a place that cannot be written to, words of its own: all end, and learn why.
one_rank_differs() {
  local its ranks odd arguments
  echo "seed = 1" >here.conf
  local missing="cannot read --config: cannot open file (No such file or directory): "
  while read -r arguments; do
    its='cd / && exec "$@"'
    for odd in 0 2; do ends_on_all 2 "${missing}here.conf: rank $odd" 3 $odd $arguments --config here.conf; done
  done <<TABLE
audit ${models[*]} --zoo family/adapters --report ranks.h5
plan ${models[*]} --zoo family/adapters
synth --output another
extract --from family/base --merged family/aligned --output another --rank 2
report report.h5
verify report.h5
methods
merge --report merged.h5 report.h5
prune --report report.h5 --adapter family/adapters/adapter-000 --output pruned
TABLE
  for ranks in 1 2 4 5 8; do
    odd=$((ranks - 1)) its='cd / && exec "$@"'
    ends_on_all 2 "${missing}here.conf" $ranks $odd "${audit[@]}" --config here.conf
    its='cd /proc && exec "$@"'
    ends_on_all 1 "cannot create directory (No such file or directory): another-$ranks" $ranks $odd synth --output another-$ranks
    rm -rf another-$ranks
  done
  for ranks in 2 3 4 5 8; do
    odd=$((ranks - 1)) its='exec "$@" --seed 7'
    ends_on_all 2 "different commands or options: rank $odd; expected --seed 0 as on rank 0, found --seed 7" $ranks $odd "${audit[@]}"
    its="exec $winnow report report.h5"
    ends_on_all 2 "rank $odd; expected command audit as on rank 0, found command report" $ranks $odd "${audit[@]}"
    its="exec $winnow audit --help"
    ends_on_all 2 "different commands or options: rank $odd" $ranks $odd "${audit[@]}"
  done
}

run_part "$part" usage values config inputs destinations overwriting results calibration streams signals documents probes repairs repairs_of_a_zoo weights extracts verdicts verify watch watch_job array ranks

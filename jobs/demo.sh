#!/usr/bin/env bash
# From a bare machine to a report: installs, builds, makes a small model family with planted misaligned layers, audits it on
# two MPI ranks, prints the table and says how many of the planted layers were found; then adapters of nine kinds, each against a bank
# of ordinary ones.
#
#   jobs/demo.sh [--output DIR]     default DIR: out/demo; else a new folder, or that of an earlier demo, which is replaced
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

output=$repository/out/demo
while (($#)); do
  case $1 in
    --output) output=${2:?--output needs a folder} && shift ;;
    -h | --help) sed -n '2,6s/^# \{0,1\}//p' "$0" && exit 0 ;;
    *) die "unknown option $1; see --help" ;;
  esac
  shift
done

# What is removed below has names that a folder of the user's own may have as well.
mkdir -p "$output"
output=$(cd "$output" && pwd)
[[ $output == "$repository/out/demo" || -e $output/.winnow-demo || -z $(ls -A "$output") ]] ||
  die "$output holds other files; expected a new or empty folder"
touch "$output/.winnow-demo"

started=$SECONDS
step() { say "[$((SECONDS - started)) s] $*"; }

step "set-up"
"$repository/jobs/setup.sh"

step "build"
choose_torch distribution
log=$(mktemp --tmpdir winnow-build.XXXXXX.log)
{ cd "$repository" && cmake --preset release "${cmake_options[@]}" && cmake --build --preset release -j "$(build_jobs)" --target winnow; } \
  >"$log" 2>&1 </dev/null || {
  tail -n 30 "$log" >&2
  die "the build failed (whole log: $log)"
}
rm -f "$log"
winnow=$(find "$repository/build/release" -type f -name winnow -perm -u+x | head -n 1)
[[ -n $winnow ]] || die "the build left no program winnow in build/release"
export_mpi_environment

cd "$output"
rm -rf family repaired report.h5 report.html kinds kinds.h5

step "a model family with 12 planted misaligned layers in each of 2 adapters: $output/family"
"$winnow" synth --preset tiny --adapters 2 --rank 8 --misaligned 12 --seed 1 --output family

step "audit on 2 MPI ranks"
mpirun -n 2 "$winnow" audit --base family/base --aligned family/aligned --zoo family/adapters \
  --rank-by misalignment --select prune-top:12 --report report.h5 --repair drop --repaired-dir repaired --progress lines

"$winnow" report report.h5 --html report.html
"$winnow" report report.h5 --truth family/truth.json

step "adapters that are of one kind in every layer, beside a bank of 39 ordinary ones: $output/kinds"
"$winnow" synth --preset tiny --layers 4 --adapters 51 --rank 8 --kinds all --each 4 --seed 1 --output kinds
ls -d "$PWD"/kinds/adapters/adapter-0[0-2]? "$PWD"/kinds/adapters/adapter-03[0-8] >kinds/harmless.txt
ls -d "$PWD"/kinds/adapters/* | grep -vxFf kinds/harmless.txt >kinds/zoo.txt
kinds=(audit --base kinds/base --aligned kinds/aligned --methods all --select none --progress none)
"$winnow" "${kinds[@]}" --zoo kinds/harmless.txt --report kinds/bank.h5 >/dev/null
mpirun -n 2 "$winnow" "${kinds[@]}" --zoo kinds/zoo.txt --bank kinds/bank.h5 --report kinds.h5 >/dev/null
"$winnow" report kinds.h5 --truth kinds/truth.json

step "done: report.h5, report.html, kinds.h5 and the pruned adapters (repaired/) are in $output"

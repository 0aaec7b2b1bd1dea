#!/usr/bin/env bash
# Audits a zoo of adapters as a Slurm job array and merges the reports of its tasks when all are done.
#
#   jobs/zoo.sh --zoo PATH --output DIR [--slices N] [--at-once M] [--sbatch OPTION]... -- --base DIR --aligned DIR [AUDIT-OPTION...]
#
#   --zoo PATH        a folder searched for adapters, or a manifest with one folder a line, relative to where the manifest is
#   --output DIR      report.h5 of the whole zoo; slices, their reports and journals, logs below DIR/slices
#   --slices N        tasks of the array (default 8). Each reads the weights once: fewer slices read less, more finish sooner
#   --at-once M       tasks that run at the same time (default: all)
#   --sbatch OPTION   for the tasks of the array, such as --sbatch --time=8:00:00; may be repeated. The merge takes over
#                     --account=, --partition=, --qos=, --reservation= and --clusters=
#   --merge-sbatch OPTION   for the merge alone
#
# What needs all adapters (--population zoo, --select, verdicts) is computed anew by the merge, and only there it is an error if
# nothing could be scored, or, with --fail-on-findings, if something is found. The list of adapters is made now: what is added to the zoo later is not in the report. Slices name adapters
# apart on their own: --repaired-dir needs %a, the number of the slice. Prints the numbers of the two jobs. Run it again with the
# same DIR to resume.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
jobs=$repository/jobs

zoo='' output='' slices=8 at_once='' sbatch_options=() merge_options=() only_merge=()
while (($#)); do
  case $1 in
    --zoo) zoo=${2:?--zoo needs a path} && shift ;;
    --output) output=${2:?--output needs a folder} && shift ;;
    --slices) slices=${2:?--slices needs a number} && shift ;;
    --at-once) at_once=%${2:?--at-once needs a number} && shift ;;
    --sbatch)
      sbatch_options+=("${2:?--sbatch needs an option}")
      case $2 in --account=* | --partition=* | --qos=* | --reservation=* | --clusters=*) merge_options+=("$2") ;; esac
      shift
      ;;
    --merge-sbatch) only_merge+=("${2:?--merge-sbatch needs an option}") && shift ;;
    -h | --help) sed -n '2,17s/^# \{0,1\}//p' "$0" && exit 0 ;;
    --) shift && break ;;
    *) die "unknown option $1 (options of audit go after --); see --help" ;;
  esac
  shift
done
[[ -n $zoo && -n $output ]] || die "--zoo PATH and --output DIR are needed; see --help"
[[ $slices =~ ^[1-9][0-9]{0,4}$ ]] || die "--slices '$slices' is not a number from 1 to 99999"
[[ -z $at_once || $at_once =~ ^%[1-9][0-9]{0,4}$ ]] || die "--at-once '${at_once#%}' is not a number from 1 to 99999"
previous='' strict=no judged=no audit_options=() findings=()
for option in "$@"; do
  [[ $option != --strict ]] || strict=yes
  case ${option%%=*} in
    --report | --journal | --resume | --zoo | --adapter | --slice) die "${option%%=*} is set for each slice; leave it out" ;;
    # Of a slice it says nothing, and its exit code would cancel the merge: it is for the merge, which judges the whole zoo.
    --fail-on-findings) findings=("$option") && continue ;;
    --bank | --select) judged=yes ;;
  esac
  audit_options+=("$option")
  [[ $option == *%a* || ($option != --repaired-dir=* && $previous != --repaired-dir) ]] ||
    die "--repaired-dir needs %a, the number of the slice: adapters of two slices may have one name"
  previous=$option
done
[[ $judged == yes || ${#findings[@]} == 0 ]] || die "--fail-on-findings needs --bank, or --select threshold:X, outliers[:C] or gap[:C]"
set -- "${audit_options[@]}"
command -v sbatch >/dev/null || die "no sbatch here: run this where jobs are submitted"

# One folder a line, absolute and sorted; as `winnow audit --zoo` finds them: through links, each folder once, none that is hidden.
adapters_of() { # ZOO FILE-FOR-MESSAGES
  if [[ -d $1 ]]; then
    # A folder that is reached from within itself is no error. One that cannot be read is left out, with find's message.
    (cd "$1" && { LC_ALL=C find -L . -name '.?*' -prune -o -type d -printf '%D:%i\t%P\n' 2>"$2" ||
      ! grep -vE ': (File system loop detected|Too many levels of symbolic links)' "$2" >&2 || [[ $strict == no ]]; }) |
      LC_ALL=C sort -t $'\t' -k 2 |
      root=$(cd "$1" && pwd) awk -F '\t' '!seen[$1]++ { print ENVIRON["root"] ($2 == "" ? "" : "/" $2) }' |
      while IFS= read -r folder; do [[ ! -e $folder/adapter_config.json ]] || printf '%s\n' "$folder"; done
  elif [[ -f $1 ]]; then
    root=$(cd "$(dirname "$1")" && pwd) LC_ALL=C awk 'NR == 1 { sub(/^\357\273\277/, "") } { gsub(/^[ \t\r]+|[ \t\r]+$/, "") } $0 != "" && !/^#/ {
      print (/^\// ? "" : ENVIRON["root"] "/") $0 }' "$1" | xargs -r -d '\n' realpath --canonicalize-missing --no-symlinks |
      LC_ALL=C sort -u
  else
    die "no such zoo: $1; expected a folder or a manifest"
  fi
}

mkdir -p "$output/slices"
output=$(cd "$output" && pwd)
list=$output/slices/adapters.txt
if [[ -e $list ]]; then
  say "Resuming: the list of adapters in $list stands."
else
  trap 'rm -f "$list.partial" "$list.messages"' EXIT
  adapters_of "$zoo" "$list.messages" >"$list.partial" || die "cannot search $zoo"
  [[ -s $list.partial ]] || die "no adapters in $zoo"
  mv "$list.partial" "$list"
fi
count=$(wc -l <"$list")
((slices <= count)) || slices=$count
# Neighbours stay together, so that the reports in order of their slices are the zoo in its order.
parts=()
for ((slice = 0; slice < slices; ++slice)); do
  sed -n "$((count * slice / slices + 1)),$((count * (slice + 1) / slices))p" "$list" >"$output/slices/$slice.txt"
  parts+=("$output/slices/$slice.h5")
done

export WINNOW=${WINNOW:-$(installed_winnow || echo winnow)}
array=$(sbatch --parsable --array="0-$((slices - 1))$at_once" --output="$output/slices/%a.log" "${sbatch_options[@]}" \
  "$jobs/audit.sbatch" "$@" --slice --zoo "$output/slices/%a.txt" --report "$output/slices/%a.h5") || die "sbatch refused the array"
array=${array%%;*} # of several clusters: JOB;CLUSTER
# afterok holds through requeues. A task that fails for good cancels the merge instead of leaving it pending for ever.
merge=$(sbatch --parsable --dependency="afterok:$array" --kill-on-invalid-dep=yes --output="$output/merge.log" \
  "${merge_options[@]}" "${only_merge[@]}" "$jobs/merge.sbatch" --report "$output/report.h5" "${findings[@]}" "${parts[@]}") ||
  die "sbatch refused the merge (see --merge-sbatch); the array is job $array"
say "$count adapters in $slices slices; the report will be $output/report.h5"
printf '%s %s\n' "$array" "${merge%%;*}"

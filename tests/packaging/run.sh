#!/usr/bin/env bash
# tests/packaging/run.sh BUILD: installs BUILD into a temporary folder, runs the installed program from there, and builds a
# small project that finds winnow by find_package.
set -euo pipefail
build=$(cd "${1:?usage: tests/packaging/run.sh BUILD}" && pwd)
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
work=$(mktemp -d --tmpdir winnow-packaging.XXXXXX)
trap 'rm -rf "$work"' EXIT

cmake --install "$build" --prefix "$work/prefix" >"$work/install.log"
for file in bin/winnow share/man/man1/winnow.1 share/bash-completion/completions/winnow include/winnow/base/error.hpp \
  share/winnow/schema/report-1.schema.json; do
  [[ -e $work/prefix/$file ]] || { echo "not installed: $file" && exit 1; }
done
"$work/prefix/bin/winnow" --version
if ldd "$work/prefix/bin/winnow" | grep -F "$build"; then
  echo "the installed program still loads libraries of the build folder" && exit 1
fi

# The job scripts, as the program names them, and the program, as they find it.
jobs=$("$work/prefix/bin/winnow" --help | sed -n 's/^Job scripts for Slurm: //p')
[[ $jobs == "$work/prefix/share/winnow/jobs" ]] || { echo "the installed program names '$jobs' for its job scripts" && exit 1; }
mkdir -p "$work/bin" "$work/zoo/one" && touch "$work/zoo/one/adapter_config.json"
printf '#!/bin/sh\necho "$WINNOW" >>"%s"\necho 1\n' "$work/programs" >"$work/bin/sbatch" && chmod +x "$work/bin/sbatch"
env -u WINNOW PATH="$work/bin:$PATH" "$jobs/zoo.sh" --zoo "$work/zoo" --output "$work/audited" -- >/dev/null
[[ $(sort -u "$work/programs") == "$(realpath "$work/prefix/bin/winnow")" ]] || {
  echo "the installed zoo.sh starts another program:" && cat "$work/programs" && exit 1
}
[[ -x $jobs/audit.sbatch && -x $jobs/merge.sbatch && -x $jobs/watch.sh ]] || {
  echo "job scripts are missing in $jobs" && exit 1
}

# As a part of another project: its libraries are used, its tests are not built, and the project around it stays as it is.
cmake -S "$here/around" -B "$work/around" -G Ninja "-DCMAKE_PREFIX_PATH=$(sed -n 's/^CMAKE_PREFIX_PATH:[^=]*=//p' "$build/CMakeCache.txt")" \
  -DWINNOW_WITH_CUDA=OFF >"$work/around.log" 2>&1 || { cat "$work/around.log" && exit 1; }
cmake --build "$work/around" --target around >"$work/around.log" 2>&1 || { cat "$work/around.log" && exit 1; }
"$work/around/around"
for setting in CMAKE_BUILD_TYPE BUILD_SHARED_LIBS; do
  value=$(sed -n "s/^$setting:[^=]*=//p" "$work/around/CMakeCache.txt")
  [[ -z $value ]] || { echo "as a part of another project winnow sets its $setting to $value" && exit 1; }
done
if ninja -C "$work/around" -t targets all | grep -E 'test_base_|winnow_headers'; then
  echo "as a part of another project winnow builds its tests" && exit 1
fi
if ninja -C "$work/around" -t commands around | grep -F -e -Werror; then
  echo "as a part of another project winnow turns warnings into errors" && exit 1
fi

# The torch backend, if it is built; what an audit says without it, and that other backends do without it.
winnow=$work/prefix/bin/winnow
"$winnow" synth --preset tiny --adapters 1 --rank 4 --seed 1 --output "$work/family" >/dev/null
audit=("$winnow" audit --base "$work/family/base" --aligned "$work/family/aligned" --zoo "$work/family/adapters"
  --report "$work/report.h5" --progress none)
"$winnow" --version | grep -q 'libtorch none' || "${audit[@]}" --backend torch >/dev/null
plugin=$(find "$work/prefix" -name 'libwinnow_compute_torch.*')
if [[ -n $plugin ]]; then
  if ldd "$winnow" | grep -E 'libtorch|libc10'; then echo "the installed program loads libtorch at every start" && exit 1; fi
  mv "$plugin" "$work/plugin"
  "${audit[@]}" --backend cpu >/dev/null
  status=0
  message=$("${audit[@]}" --backend torch 2>&1 >/dev/null) || status=$?
  [[ $status == 1 && $message == *"cannot load the torch backend"*"${plugin##*/}"*"--backend cpu"* && $message != *$'\n'* ]] || {
    echo "without the torch plugin: exit status $status, $message" && exit 1
  }
  mv "$work/plugin" "$plugin"
fi

# The same libtorch as the installed libraries were linked with: static ones need it again.
prefix_path=$(sed -n 's/^CMAKE_PREFIX_PATH:[^=]*=//p' "$build/CMakeCache.txt")
cmake -S "$here" -B "$work/build" -G Ninja "-DCMAKE_PREFIX_PATH=$work/prefix;$prefix_path" >"$work/configure.log" 2>&1 || {
  cat "$work/configure.log" && exit 1
}
cmake --build "$work/build"
"$work/build/consumer"
# What finding the dependencies of the package asks for must not be a second language of the user's.
cmake -S "$here/cxx" -B "$work/build-cxx" -G Ninja "-DCMAKE_PREFIX_PATH=$work/prefix;$prefix_path" >"$work/cxx.log" 2>&1 || {
  echo "a project of C++ alone cannot find the package" && cat "$work/cxx.log" && exit 1
}
cmake --build "$work/build-cxx"
"$work/build-cxx/consumer"

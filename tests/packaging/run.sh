#!/usr/bin/env bash
# tests/packaging/run.sh BUILD: installs BUILD into a temporary folder, runs the installed program from there, and builds a
# small project that finds winnow by find_package.
set -euo pipefail
build=$(cd "${1:?usage: tests/packaging/run.sh BUILD}" && pwd)
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
work=$(mktemp -d --tmpdir winnow-packaging.XXXXXX)
trap 'rm -rf "$work"' EXIT

cmake --install "$build" --prefix "$work/prefix" >"$work/install.log"
for file in bin/winnow share/man/man1/winnow.1 share/bash-completion/completions/winnow include/winnow/base/error.hpp; do
  [[ -e $work/prefix/$file ]] || { echo "not installed: $file" && exit 1; }
done
"$work/prefix/bin/winnow" --version
if ldd "$work/prefix/bin/winnow" | grep -F "$build"; then
  echo "the installed program still loads libraries of the build folder" && exit 1
fi

# The torch backend where it was installed; what an audit says without it, and that other backends do without it.
winnow=$work/prefix/bin/winnow
"$winnow" synth --preset tiny --adapters 1 --rank 4 --seed 1 --output "$work/family" >/dev/null
audit=("$winnow" audit --base "$work/family/base" --aligned "$work/family/aligned" --zoo "$work/family/adapters"
  --report "$work/report.h5" --progress none)
"${audit[@]}" --backend torch >/dev/null
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

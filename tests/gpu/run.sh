#!/usr/bin/env bash
# Builds and tests on a machine with an NVIDIA GPU, in at most 10 minutes, without package servers: what the machine lacks is
# carried along, packed beforehand on a Debian 12 machine.
#
#   tests/gpu/run.sh --pack DIR       here, with package servers: unpacks into DIR what the GPU machine may lack; a name that
#                                     ends in .tar.xz gives an archive instead (30 MB)
#   tests/gpu/run.sh [--with DIR]     there (DIR or the archive), with nvcc, a CUDA PyTorch (that of `python3`, or TORCH_PREFIX), a
#                                     C++ compiler and CMake 3.25: builds in build/gpu, runs the tests labelled gpu, a small case
#                                     under compute-sanitizer and the benchmark; the table also goes to tests/gpu/results/
#
# --build-only leaves out what needs the GPU, --quick makes the benchmark small. Exit code 69: no GPU.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../../jobs/common.sh"

# What is built with, but compiler, CMake, C library and libtorch, which the GPU machine has.
carried=(
  libopenmpi-dev openmpi-bin libhdf5-dev libboost-program-options-dev libfmt-dev nlohmann-json3-dev libpcre2-dev libssl-dev
  libeigen3-dev librandom123-dev libxxhash-dev libgtest-dev libgmock-dev libbenchmark-dev pkg-config ninja-build
)
# Never carried: these belong to the machine, and others of them would break its programs.
machines_own='^(base-.*|bash|binutils.*|coreutils|cpp.*|dash|debconf|debianutils|dpkg|g\+\+.*|gcc.*|gfortran.*|grep|sed|tar|perl.*|python3.*|linux-libc-dev|usrmerge|usr-is-merged)$'
machines_own+='|^(libc6.*|libc-.*|libcrypt.*|libgcc.*|libstdc\+\+.*|libnsl.*|libtirpc.*|rpcsvc-proto|libpython3.*|libperl.*|lib.*-perl)$'
# What compilers, Perl, PAM and OpenSSH bring, which Open MPI recommends or is built with.
machines_own+='|^(lib(asan|lsan|tsan|ubsan|itm|cc1-|gomp|atomic|quadmath|gfortran|isl|mpfr|mpc|ctf|gprofng|binutils|jansson).*|auto.*|m4)$'
machines_own+='|^(lib(cap|audit|semanage|sepol|systemd|proc2-|gcrypt|gpg-error|db5|gdbm|ncurses|edit|cbor|fido2|pam|selinux|tinfo|bsd|md0|acl1|js-).*)$'
# Optional parts of hwloc, for displays, and what they need.
machines_own+='|^(libhwloc-plugins|libx.*|libicu.*|ocl-icd.*|libpciaccess0)$'
machines_own+='|^(adduser|init-system-helpers|login|media-types|mount|openssh.*|passwd|procps|readline-common|sensible-utils|ucf|util-linux.*)$'

pack() {
  local folder=$1 archive='' downloads package
  command -v apt-get >/dev/null || die "--pack needs Debian 12 or Ubuntu (apt-get)"
  downloads=$(mktemp -d --tmpdir winnow-pack.XXXXXX)
  if [[ $folder == *.tar.xz ]]; then
    archive=$(realpath "$folder") folder=$downloads/unpacked
  fi
  mkdir -p "$folder"
  folder=$(cd "$folder" && pwd)
  # shellcheck disable=SC2064
  trap "rm -rf '$downloads'" EXIT
  # What would be installed on a machine that has nothing.
  mapfile -t packages < <(apt-get --simulate -o Dir::State::status=/dev/null install --no-install-recommends "${carried[@]}" |
    sed -n 's/^Inst \([^ ]*\) .*/\1/p' | grep -vE "$machines_own")
  ((${#packages[@]})) || die "apt-get knows none of the packages; run apt-get update"
  say "Downloading ${#packages[@]} packages"
  (cd "$downloads" && apt-get download -qq "${packages[@]}" 2>"$downloads/log") || die "apt-get download failed: $(tail -n 1 "$downloads/log")"
  for package in "$downloads"/*.deb; do dpkg -x "$package" "$folder"; done
  # Nobody reads manuals there, and static libraries are not linked.
  rm -rf "$folder"/usr/share/{doc,man,locale,info,lintian,bug,zsh,vim,emacs} "$folder"/usr/lib/*/fortran "$folder"/{etc,var}
  find "$folder" -name '*.a' ! -name 'libgtest*' ! -name 'libgmock*' ! -name 'libbenchmark*' -delete
  if [[ -n $archive ]]; then
    XZ_OPT='-3 -T0' tar -C "$folder" -cJf "$archive" .
    folder=$archive
  fi
  say "Packed into $folder: $(du -sh "$folder" | cut -f 1)"
}

# Sets what makes the unpacked packages in $1 found: programs, libraries, headers, Open MPI's own folders.
use_packed() {
  local folder
  if [[ -f $1 ]]; then
    rm -rf "$build/packed" && mkdir -p "$build/packed" && tar -C "$build/packed" -xJf "$1"
    set -- "$build/packed"
  fi
  folder=$(cd "$1" && pwd) || die "no folder $1; make it with tests/gpu/run.sh --pack"
  local usr=$folder/usr
  local lib=$usr/lib/x86_64-linux-gnu
  local paths=$lib:$lib/openmpi/lib:$lib/hdf5/serial:$lib/pmix2/lib:$folder/lib/x86_64-linux-gnu
  # Not CPATH: these are other people's headers, whose warnings are not ours.
  export CPLUS_INCLUDE_PATH=$usr/include/x86_64-linux-gnu C_INCLUDE_PATH=$usr/include/x86_64-linux-gnu
  # The machine's own programs come first: CMake and Ninja are carried for where it has none.
  export PATH=$PATH:$usr/bin LD_LIBRARY_PATH=$paths${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
  export OPAL_PREFIX=$usr PMIX_INSTALL_PREFIX=$lib/pmix2 OPAL_LIBDIR=$lib OPAL_DATADIR=$usr/share OPAL_PKGDATADIR=$usr/share/openmpi
  export OPAL_PKGLIBDIR=$lib/openmpi/lib/openmpi3 OMPI_MCA_mca_base_component_path=$lib/openmpi/lib/openmpi3:$lib/openmpi/lib/openmpi
  export OPAL_SYSCONFDIR=$usr/share OPAL_BINDIR=$usr/bin PKG_CONFIG_SYSROOT_DIR=$folder PKG_CONFIG_PATH=$lib/pkgconfig:$usr/share/pkgconfig
  cmake_options+=(
    "-DCMAKE_PREFIX_PATH=$usr;$torch_prefix" "-DCMAKE_LIBRARY_PATH=$lib" "-DCMAKE_INCLUDE_PATH=$usr/include"
    # FindMPI and FindHDF5 ask compiler wrappers, which know the folders they were packaged for.
    -DMPI_CXX_SKIP_MPICXX=ON -DMPI_ASSUME_NO_BUILTIN_MPI=ON "-DMPI_CXX_HEADER_DIR=$lib/openmpi/include"
    "-DMPI_CXX_LIB_NAMES=mpi" "-DMPI_mpi_LIBRARY=$lib/openmpi/lib/libmpi.so" "-DMPIEXEC_EXECUTABLE=$usr/bin/orterun"
    -DMPI_CXX_COMPILER=NOTFOUND -DHDF5_NO_FIND_PACKAGE_CONFIG_FILE=ON
    "-DHDF5_ROOT=$usr" "-DHDF5_C_COMPILER_EXECUTABLE=HDF5_C_COMPILER_EXECUTABLE-NOTFOUND"
    "-DHDF5_C_INCLUDE_DIR=$usr/include/hdf5/serial" "-DHDF5_hdf5_LIBRARY_RELEASE=$lib/hdf5/serial/libhdf5.so"
    "-DHDF5_hdf5_hl_LIBRARY_RELEASE=$lib/hdf5/serial/libhdf5_hl.so"
    "-DCMAKE_EXE_LINKER_FLAGS=-Wl,-rpath-link,$paths" "-DCMAKE_SHARED_LINKER_FLAGS=-Wl,-rpath-link,$paths"
  )
  # All ranks are on this machine: nothing is started through ssh, which it may lack.
  export OMPI_MCA_plm_rsh_agent=/bin/false
  # mpirun by the name the tests know.
  mkdir -p "$build/bin"
  ln -sfn "$usr/bin/orterun" "$build/bin/mpirun"
  export PATH=$build/bin:$PATH
}

unit_tests='^(compute/device(_pass|_slabs|_memory)?|comm/nccl\.ranks2)$' # of the same parts, without a GPU
packed='' build_only=no quick=()
while (($#)); do
  case $1 in
    --pack) pack "${2:?--pack needs a folder}" && exit ;;
    --with) packed=${2:?--with needs a folder} && shift ;;
    --build-only) build_only=yes ;;
    --quick) quick=(--quick) ;;
    -h | --help) sed -n '2,13s/^# \{0,1\}//p' "$0" && exit 0 ;;
    *) die "unknown option $1; see --help" ;;
  esac
  shift
done

if [[ $build_only == no ]]; then
  nvidia-smi -L >/dev/null 2>&1 || {
    say "skipped: no GPU here (nvidia-smi finds none); --build-only builds all the same"
    exit 69
  }
fi
cd "$repository"
build=$repository/build/gpu cmake_options=()
mkdir -p "$build"
torch_prefix=${TORCH_PREFIX:-$(python3 -c 'import os, torch; print(os.path.dirname(torch.__file__))' 2>/dev/null || pip_torch_prefix)} ||
  die "no PyTorch; set TORCH_PREFIX to the folder of one (…/site-packages/torch)"
[[ -e $torch_prefix/lib/libtorch_cuda.so ]] || die "the PyTorch in $torch_prefix is built without CUDA"
command -v nvcc >/dev/null || export PATH=$PATH:/usr/local/cuda/bin
cmake_options=("-DCMAKE_PREFIX_PATH=$torch_prefix")
[[ -z $packed ]] || use_packed "$packed"

# Code for the GPU that is here; for all of them where there is none.
architecture=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null | head -n 1 | tr -d '. ' || true)
[[ -z $architecture ]] || cmake_options+=("-DCMAKE_CUDA_ARCHITECTURES=$architecture")

say "Building against $torch_prefix"
cmake --preset cuda -B "$build" "${cmake_options[@]}" </dev/null
cmake --build "$build" -j "$(build_jobs)" --target winnow test_gpu_cuda_pass test_gpu_audit test_compute_device \
  test_compute_device_pass test_compute_device_slabs test_compute_device_memory test_comm_nccl winnow_gpu_benchmark </dev/null
export_mpi_environment
if [[ $build_only == yes ]]; then
  "$build/src/cli/winnow" --version
  ctest --test-dir "$build" --output-on-failure -R "$unit_tests"
  exit
fi

results=$repository/tests/gpu/results
mkdir -p "$results"
gpu=$(nvidia-smi --query-gpu=name --format=csv,noheader | head -n 1)
table=$results/$(date -u +%Y-%m-%d)-$(tr -cs 'A-Za-z0-9\n' '-' <<<"$gpu").txt
failed=()

# step NAME COMMAND...: everything is tried, whatever failed before.
step() {
  local name=$1 seconds=$SECONDS outcome=passed
  shift
  printf '\n== %s\n' "$name"
  "$@" || { outcome="FAILED (exit code $?)" && failed+=("$name"); }
  printf '== %s: %s in %d s\n' "$name" "$outcome" $((SECONDS - seconds))
}

# Two ranks that pretend to be two hosts, or NCCL would refuse them one GPU.
two_hosts() {
  mpirun -n 2 --oversubscribe bash -c 'NCCL_HOSTID=winnow-$OMPI_COMM_WORLD_RANK exec "$0"' "$build/tests/gpu/test_gpu_audit"
}
two_hosts_or_fallback() {
  if timeout 120 bash -c "$(declare -f two_hosts); build='$build'; two_hosts"; then
    echo "NCCL took two ranks on one GPU (distinct NCCL_HOSTID)"
  else
    echo "NCCL did not take two ranks on one GPU; their sums go through MPI, as tested above"
  fi
}

{
  date -u '+%Y-%m-%d %H:%M UTC'
  nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader
  grep -m 1 'model name' /proc/cpuinfo | sed 's/.*: //' || true
  "$build/src/cli/winnow" --version
  step "unit tests" ctest --test-dir "$build" --output-on-failure -R "$unit_tests"
  step "tests labelled gpu" ctest --test-dir "$build" --output-on-failure --no-tests=error -L gpu -V
  step "two ranks on one GPU" two_hosts_or_fallback
  if command -v compute-sanitizer >/dev/null; then
    for tool in memcheck racecheck; do # of the one kernel that is ours
      step "compute-sanitizer $tool" timeout 60 compute-sanitizer --tool "$tool" --error-exitcode 9 --kernel-regex kns=difference_kernel \
        "$build/tests/gpu/test_gpu_cuda_pass" --gtest_filter='*EveryShape'
    done
  else
    echo "compute-sanitizer: not installed"
  fi
  step "benchmark" timeout 200 "$build/tests/gpu/winnow_gpu_benchmark" "${quick[@]}"
  printf '\n%s\n' "failed: ${failed[*]:-nothing}"
} 2>&1 | tee "$table"
say "Table: $table"
! grep -qE '^failed: ' "$table" || grep -qxF 'failed: nothing' "$table"

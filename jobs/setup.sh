#!/usr/bin/env bash
# Installs what winnow needs on Debian 12 or Ubuntu 24.04. Does nothing, quickly, where everything is there already.
#
#   jobs/setup.sh                what building and running needs
#   jobs/setup.sh --tests        also what formatting, static analysis, fuzzing and the conformance tests need
#   jobs/setup.sh --slurm        also Slurm and munge, for cluster/local-slurm.sh (nothing is configured, no daemon stays)
#   jobs/setup.sh --torch pip    also a current torch (several GB) from Python's package index, in a virtual environment
#   jobs/setup.sh --torch cuda   the same, and checks that it is one with CUDA (on x86-64 Linux the index has no other)
#
# Needs root or sudo for packages that are missing. Exit code 69: Python's package index cannot be reached.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

# The one list of packages this project relies on.
packages=(
  ca-certificates git g++ cmake ninja-build ccache pkg-config
  libtorch-dev libopenblas0-pthread         # replaced by pip's torch where the distribution has no libtorch-dev
  libopenmpi-dev openmpi-bin                # MPI
  libhdf5-dev                               # reports (serial HDF5)
  libboost-program-options-dev libfmt-dev nlohmann-json3-dev libpcre2-dev libssl-dev libeigen3-dev librandom123-dev
  libxxhash-dev                             # digests of weights
  libgtest-dev libgmock-dev libbenchmark-dev
)
test_packages=(
  clang-format-14 clang-tidy-14 clang-14 libclang-rt-14-dev # formatting, static analysis, fuzzers
  python3-venv                                              # released transformers and peft as the judges
)
slurm_packages=(slurm-wlm munge iproute2 util-linux procps) # a cluster of virtual hosts

main() {
  local with_tests=no with_slurm=no torch=distribution
  while (($#)); do
    case $1 in
      --tests) with_tests=yes ;;
      --slurm) with_slurm=yes ;;
      --torch) torch=${2:?} && shift ;;
      -h | --help) sed -n '2,10s/^# \{0,1\}//p' "$0" && exit 0 ;;
      *) die "unknown option $1; see --help" ;;
    esac
    shift
  done
  command -v apt-get >/dev/null || die "needs Debian 12 or Ubuntu 24.04 (no apt-get here); elsewhere install: ${packages[*]}"

  [[ $with_tests == yes ]] && packages+=("${test_packages[@]}")
  [[ $torch == distribution || $torch == pip || $torch == cuda ]] || die "--torch is distribution, pip or cuda, not $torch"
  [[ $with_slurm == yes ]] && packages+=("${slurm_packages[@]}")
  [[ $torch == distribution ]] || packages+=(python3-venv)
  install_packages
  select_fast_blas
  if [[ $torch != distribution ]] || ! distribution_has_torch; then
    install_python
  fi
  [[ $torch != cuda ]] || require_cuda_torch
}

# The index's torch for x86-64 Linux is built with CUDA and brings CUDA's libraries and NCCL as further packages; for other
# platforms it may be a CPU build, which is no fault of this machine's.
require_cuda_torch() {
  [[ ! -e $(pip_torch_prefix)/lib/libtorch_cuda.so ]] || return 0
  say "skipped: the torch of Python's package index is built without CUDA on this platform"
  exit 69
}

# Prints those of its arguments that are not installed.
missing_of() {
  local installed
  installed=" $(dpkg-query -W -f '${db:Status-Status}:${Package} ' "$@" 2>/dev/null || true)"
  local package
  for package in "$@"; do
    [[ $installed == *" installed:$package "* ]] || printf '%s\n' "$package"
  done
}

as_root() {
  if ((EUID == 0)); then
    "$@"
  else
    sudo -n true 2>/dev/null || [[ -t 0 ]] || die "sudo asks for a password and there is no terminal; run jobs/setup.sh as root"
    sudo "$@"
  fi
}

install_packages() {
  # Marked where an earlier run found the distribution without libtorch-dev, so that later runs stay quick.
  local no_torch_mark
  no_torch_mark="$(dirname "$(python_environment)")/no-libtorch-dev"
  [[ -e $no_torch_mark ]] && drop_torch_package
  mapfile -t missing < <(missing_of "${packages[@]}")
  ((${#missing[@]})) || return 0
  ((EUID == 0)) || command -v sudo >/dev/null ||
    die "root or sudo is needed to install: ${missing[*]}"

  log=$(mktemp --tmpdir winnow-setup.XXXXXX.log)
  say "Installing ${#missing[@]} packages (log: $log)"
  quietly apt-get update || die "apt-get update failed: $(last_error)"
  # apt-get update calls it a success when no server answered; without its lists nothing below could be told apart.
  apt_offers g++ || die "the package servers cannot be reached: $(last_error)"
  if [[ " ${missing[*]} " == *" libtorch-dev "* ]] && ! apt_offers libtorch-dev; then
    say "This distribution has no libtorch-dev; a pip-installed torch takes its place."
    mkdir -p "$(dirname "$no_torch_mark")" && touch "$no_torch_mark"
    drop_torch_package
    mapfile -t missing < <(missing_of "${packages[@]}")
  fi
  if ((${#missing[@]})) && ! quietly apt-get install -y --no-install-recommends "${missing[@]}"; then
    ! grep -qE 'Could not (resolve|connect)|Temporary failure|Failed to fetch' "$log" ||
      die "the package servers cannot be reached (network, proxy?): $(grep -E '^(E: Failed to fetch|W: Failed to fetch|Err)' "$log" | tail -n 1)"
    die "apt-get install failed: $(last_error)"
  fi
  disable_slurm_services
  rm -f "$log"
}

# Packages start their daemons, now and at every boot; a cluster of virtual hosts has its own. A munge that was there
# before may be that of a real cluster.
disable_slurm_services() {
  [[ " ${missing[*]} " == *" munge "* && -d /run/systemd/system ]] || return 0
  as_root systemctl disable --now munge slurmctld slurmd >>"$log" 2>&1 ||
    say "munge, slurmctld or slurmd may still run: systemctl disable --now munge slurmctld slurmd"
}

# Not a pipe into grep -q: grep leaves at the first match, and apt-cache, cut off while writing, would fail the pipe.
apt_offers() { [[ $(apt-cache policy "$1" 2>/dev/null) == *"Candidate: "[^\(]* ]]; }

drop_torch_package() {
  local package kept=()
  for package in "${packages[@]}"; do
    [[ $package == libtorch-dev ]] || kept+=("$package")
  done
  packages=("${kept[@]}" python3-venv)
}

# A lock held by another package manager is waited for; questions are answered by their defaults.
quietly() { as_root env DEBIAN_FRONTEND=noninteractive "$1" -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 "${@:2}" >>"$log" 2>&1 </dev/null; }

last_error() { grep -E '^(E|Err|W):' "$log" | tail -n 1 | grep . || echo "see $log"; }

# libtorch pulls in the reference BLAS, which alternatives may have been told to prefer; it is about 60 times slower.
select_fast_blas() {
  local name chosen
  name=libblas.so.3-$(dpkg-architecture -q DEB_HOST_MULTIARCH 2>/dev/null || gcc -print-multiarch)
  chosen=$(update-alternatives --query "$name" 2>/dev/null | sed -n 's/^Value: //p') || return 0
  if [[ $chosen == */blas/libblas.so.3 ]]; then
    say "Selecting OpenBLAS instead of the reference BLAS"
    as_root update-alternatives --set "$name" "${chosen/\/blas\//\/openblas-pthread\/}" >/dev/null ||
      die "could not select OpenBLAS: update-alternatives --config $name"
  fi
}

# The versions that the conformance tests pin, so that one environment serves both purposes.
install_python() {
  local environment requirements=$repository/tests/conformance/requirements.txt stamp
  environment=$(python_environment)
  stamp=$environment/.installed-requirements
  [[ -e $requirements ]] || requirements=/dev/null
  pip_torch_prefix >/dev/null && cmp -s "$requirements" "$stamp" && return

  mkdir -p "$environment"
  local free_kb
  free_kb=$(df -Pk "$environment" | awk 'NR == 2 { print $4 }')
  pip_torch_prefix >/dev/null || ((free_kb > 9000000)) ||
    die "torch needs about 9 GB in $environment and $((free_kb / 1000000)) GB are free; set XDG_CACHE_HOME to another disk"
  log=$(mktemp --tmpdir winnow-python.XXXXXX.log)
  [[ -x $environment/bin/python ]] || python3 -m venv "$environment" >"$log" 2>&1 || die "python3 -m venv failed: see $log"
  # A small package first: an unreachable index is then known after seconds and not after torch's many retries.
  if ! timeout 90 "$environment/bin/pip" download --quiet --no-deps --no-cache-dir --retries 1 --timeout 20 \
    --dest "$(dirname "$log")/winnow-probe.$$" packaging >"$log" 2>&1 </dev/null; then
    rm -rf "$(dirname "$log")/winnow-probe.$$"
    say "$(basename "$0"): Python's package index cannot be reached (log: $log)"
    exit 69
  fi
  rm -rf "$(dirname "$log")/winnow-probe.$$"
  say "Installing torch into $environment (log: $log)"
  local wanted=(torch)
  [[ $requirements == /dev/null ]] || wanted=(-r "$requirements")
  "$environment/bin/pip" install --quiet --no-cache-dir "${wanted[@]}" >"$log" 2>&1 </dev/null ||
    die "pip install failed: $(grep -E '^ERROR' "$log" | tail -n 1 | grep . || echo "see $log")"
  pip_torch_prefix >/dev/null || die "pip installed no torch into $environment"
  cp "$requirements" "$stamp"
  rm -f "$log"
}

main "$@"

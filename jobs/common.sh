# shellcheck shell=bash
# Sourced by jobs/*.sh, cluster/local-slurm.sh, tests/run.sh and .ci/run: messages, the Python environment, what mpirun
# needs. Expects bash -euo pipefail.

unset CDPATH # with it `cd` may go elsewhere, and prints where
repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

say() { printf '%s\n' "$*" >&2; }
die() {
  say "$(basename "$0"): $*"
  exit 1
}

# The program of the installation that these scripts belong to (PREFIX/share/winnow/jobs); fails in a checkout.
installed_winnow() {
  local program=$repository/../../bin/winnow
  [[ ! -e $repository/CMakeLists.txt && -x $program ]] && realpath "$program"
}

# The virtual environment with a current torch and what the conformance tests import. Outside the tree: it takes several GB
# and outlives a checkout.
python_environment() { printf '%s\n' "${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/winnow/python"; }

# The folder for CMAKE_PREFIX_PATH of that environment's torch; fails where there is none.
pip_torch_prefix() {
  local folder
  for folder in "$(python_environment)"/lib/python3*/site-packages/torch; do
    [[ -e $folder/lib/libtorch_cpu.so ]] && printf '%s\n' "$folder" && return
  done
  return 1
}

# Becomes `python -m $1` of the packages beside this file, in the environment with torch, transformers and peft.
run_python_package() {
  local python=${PYTHON:-$(python_environment)/bin/python}
  [[ -x $python ]] || python=$(command -v "$python") ||
    die "no Python with torch, transformers and peft: run jobs/setup.sh --tests --torch pip, or set PYTHON"
  # peft asks transformers for a property that the latter calls deprecated.
  PYTHONPATH="$repository/jobs${PYTHONPATH:+:$PYTHONPATH}" PYTHONDONTWRITEBYTECODE=1 HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false \
  PYTHONWARNINGS=ignore::FutureWarning:transformers.modeling_utils \
    exec "$python" -m "$@"
}

# Cores that this process may use. nproc alone counts the threads that OMP_NUM_THREADS allows, which clusters set to 1.
usable_cores() { env -u OMP_NUM_THREADS -u OMP_THREAD_LIMIT nproc; }

# How many compilers at once: a file that includes libtorch takes up to 1.5 GB.
build_jobs() {
  local cores memory_kb
  cores=$(usable_cores)
  memory_kb=$(awk '/^MemAvailable/ { print $2 }' /proc/meminfo 2>/dev/null || echo 2000000)
  local fit=$((memory_kb / 1500000))
  ((fit < 1)) && fit=1
  echo $((cores < fit ? cores : fit))
}

# Sets `cmake_options` for a build against the torch that $1 names (distribution, pip, cuda or none).
# With ccache, two build folders share what they have in common: paths below the repository do not count.
choose_torch() {
  cmake_options=()
  if [[ $1 == distribution ]] && ! distribution_has_torch; then
    say "This distribution has no libtorch-dev: building against the pip-installed torch in $(python_environment)."
    set -- pip
  fi
  if [[ $1 == pip || $1 == cuda ]]; then
    local prefix
    prefix=$(pip_torch_prefix) || die "no torch in $(python_environment); run jobs/setup.sh --torch pip"
    cmake_options+=("-DCMAKE_PREFIX_PATH=$prefix")
    [[ $1 == cuda ]] || cmake_options+=(-DWINNOW_WITH_CUDA=OFF) # the same torch, but not the GPU backend
  fi
  [[ $1 != none ]] || cmake_options+=(-DWINNOW_WITH_TORCH=OFF -DWINNOW_WITH_CUDA=OFF)
  export CCACHE_BASEDIR=$repository CCACHE_NOHASHDIR=1
}

distribution_has_torch() {
  [[ $(dpkg-query -W -f '${db:Status-Status}' libtorch-dev 2>/dev/null) == installed ]]
}

# Open MPI refuses root and more ranks than cores unless told; containers have neither users nor cores to spare. Binding is
# switched off because ranks that share a core with each other's threads would otherwise be pinned to it.
export_mpi_environment() {
  export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
  export OMPI_MCA_rmaps_base_oversubscribe=1 OMPI_MCA_hwloc_base_binding_policy=none
  # On one machine no fabric is used; to load its libraries (libpsm's constructor times a clock) takes each process 0.2 s.
  export OMPI_MCA_pml=ob1
  export OMPI_MCA_btl_vader_single_copy_mechanism=none # containers forbid process_vm_readv, and Open MPI complains about it
}

#!/usr/bin/env bash
# launch.sh RANKS PROGRAM [ARGUMENT...]: under mpirun, on this machine alone, more ranks than cores allowed.
set -eu
ranks=$1
shift
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
export OMPI_MCA_btl=self,vader OMPI_MCA_btl_vader_single_copy_mechanism=none OMPI_MCA_rmaps_base_oversubscribe=1
# Ranks give way to each other. One alone has nobody to wait for, and on a busy machine each time it gives way costs it a turn.
export OMPI_MCA_mpi_yield_when_idle=$((ranks > 1)) OMPI_MCA_hwloc_base_binding_policy=none
# Open MPI closes its plugins before the leak checker looks, which then cannot tell whose memory is left. What our own code
# leaks shows in the tests that run without it.
export ASAN_OPTIONS="${ASAN_OPTIONS:+$ASAN_OPTIONS:}detect_leaks=0"
exec mpirun -n "$ranks" "$@"

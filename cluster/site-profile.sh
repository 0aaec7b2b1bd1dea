# shellcheck shell=bash
# Environment that matters to winnow on a cluster: an example for a module file or a job script, to be cut to the site.
# Sourced, it overrides nothing that is set already. Every line can go where its reason does not hold.

# --- MPI
# Which launcher: winnow under `srun` without PMIx would be N copies of one rank (it refuses that). MpiDefault in slurm.conf may
# say so already: scontrol show config | grep MpiDefault
export SLURM_MPI_TYPE=${SLURM_MPI_TYPE:-pmix}
# InfiniBand and the like. Messages are few (one gather at the end; teams add up Y and f^2 once a module), so any transport does:
# this only avoids warnings of Open MPI 4 about its older driver for InfiniBand.
export OMPI_MCA_btl=${OMPI_MCA_btl:-^openib}
# A rank uses its cores with threads of its own. mpirun binds each rank to one core by default, which leaves all threads on it; srun
# binds by --cpus-per-task and is right by itself. (Under mpirun rather: --map-by node:PE=CORES --bind-to core.)
export OMPI_MCA_hwloc_base_binding_policy=${OMPI_MCA_hwloc_base_binding_policy:-none}
# Containers and hardened kernels forbid process_vm_readv(); Open MPI then complains once for each rank and copies twice.
# export OMPI_MCA_btl_vader_single_copy_mechanism=none

# --- Threads
# srun no longer takes --cpus-per-task over from sbatch (since Slurm 22.05): without this a step gets one core a rank.
if [[ -n ${SLURM_CPUS_PER_TASK:-} ]]; then export SRUN_CPUS_PER_TASK=${SRUN_CPUS_PER_TASK:-$SLURM_CPUS_PER_TASK}; fi
# winnow's own kernel takes --threads (jobs/audit.sbatch passes SLURM_CPUS_PER_TASK). libtorch and OpenBLAS, which serve
# --backend torch and many stacked adapters, look here; unset, each rank would start as many as the node has cores.
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-${SLURM_CPUS_PER_TASK:-1}}
# Threads that wait should sleep: there is always a reader thread that needs a core.
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-passive}
# OMP_PROC_BIND is better left unset: an OpenMP library that sees it binds the main thread to one core as soon as it is loaded, and
# winnow's own threads, started from there, inherit that one core. srun --cpu-bind=cores keeps a rank on its cores without that.
if [[ -n ${OMP_PROC_BIND:-} ]]; then echo "OMP_PROC_BIND is set: winnow's threads may all land on one core" >&2; fi

# --- Files
# winnow locks no file. h5py and what is built on it lock a report while they read it, which NFS and Lustre without
# flock refuse. A report is renamed to its place when it is whole, so the lock protects nobody: try it and go on without.
# HDF5 before 1.10.7 knows TRUE and FALSE only; there say FALSE.
export HDF5_USE_FILE_LOCKING=${HDF5_USE_FILE_LOCKING:-BEST_EFFORT}
# Lustre: weights are read in large sequential pieces by few ranks. Stripe the folder before they are copied there:
#   lfs setstripe --stripe-count 8 --stripe-size 16M WEIGHTS

# --- GPUs
# CUDA numbers GPUs by speed, nvidia-smi and Slurm by place on the bus; with this they mean the same one.
export CUDA_DEVICE_ORDER=${CUDA_DEVICE_ORDER:-PCI_BUS_ID}
# Ask for GPUs by node (--gpus-per-node). With --gpus-per-task or --gpu-bind each rank sees one GPU only and the others of its node
# are out of reach for peer-to-peer copies.

# NCCL_* is left alone. Which interface (NCCL_SOCKET_IFNAME) and which adapters (NCCL_IB_HCA) is the site's to know, NCCL_DEBUG the
# user's to want; NCCL finds its way without them on most machines.

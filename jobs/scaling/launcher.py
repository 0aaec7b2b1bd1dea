"""How ranks are started: mpirun on this machine, srun over the nodes of a Slurm job. Ranks fill one node after the other."""

import os
import re


class Launcher:
    """`ranks`: as many as may be started; `per_node`: ranks of a full node; `threads`: cores of a rank."""

    def __init__(self, ranks, per_node, threads):
        self.ranks, self.per_node, self.threads = ranks, per_node, threads

    def nodes(self, ranks):
        return -(-ranks // self.per_node)


class MpirunLauncher(Launcher):
    name = "mpirun"

    def __init__(self, most_ranks=None):
        cores = len(os.sched_getaffinity(0))
        ranks = most_ranks or cores
        super().__init__(ranks, ranks, max(1, cores // ranks))

    def start(self, ranks, command):
        return ["mpirun", "-n", ranks, *command]

    def on_every_node(self, ranks, command):
        return command

    def on_one_whole_node(self, command):
        return command


def least(variable):
    """4(x2),3: two nodes of four, one of three. Nodes are alike here: the least counts."""
    return min(int(count) for count in re.findall(r"(\d+)(?:\(x\d+\))?", os.environ[variable]))


class SrunLauncher(Launcher):
    name = "srun"

    def __init__(self, most_ranks=None):
        per_node = least("SLURM_TASKS_PER_NODE")
        ranks = per_node * int(os.environ["SLURM_JOB_NUM_NODES"])
        super().__init__(min(most_ranks or ranks, ranks), per_node, int(os.environ.get("SLURM_CPUS_PER_TASK", 1)))
        self.cores = least("SLURM_JOB_CPUS_PER_NODE")

    def start(self, ranks, command):
        return ["srun", "--mpi=pmix", "--kill-on-bad-exit=1", f"--nodes={self.nodes(ranks)}", f"--ntasks={ranks}",
                f"--ntasks-per-node={min(ranks, self.per_node)}", f"--cpus-per-task={self.threads}",
                "--distribution=block", *command]

    def on_every_node(self, ranks, command):
        nodes = self.nodes(ranks)
        return ["srun", f"--nodes={nodes}", f"--ntasks={nodes}", "--ntasks-per-node=1", *command]

    def on_one_whole_node(self, command):
        # Its tasks are one process here, which may use the cores of all.
        return ["srun", "--nodes=1", "--ntasks=1", "--ntasks-per-node=1", f"--cpus-per-task={self.cores}", *command]


def make_launcher(most_ranks=None):
    return (SrunLauncher if "SLURM_JOB_ID" in os.environ else MpirunLauncher)(most_ranks)

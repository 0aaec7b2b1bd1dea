"""The four kinds of probe, each from a model and prompts to a folder."""

import time
from pathlib import Path
from typing import Any, Callable, Sequence

import torch

from probe.adapters import Adapter, Factors, attached, read_adapter
from probe.directions import DirectionWriter, read_shard
from probe.gradients import Direction, gradient, squared_norm
from probe.models import groups, is_transposed, linear_modules, share_covered
from probe.objectives import Objective
from probe.prompts import Prompt

Progress = Callable[[str, int], None]  # what, how many prompts are done


class DirectionMaker:
    """Dense directions of one model: the settings that all kinds share."""

    def __init__(
        self,
        model: torch.nn.Module,
        prompts: Sequence[Prompt],
        batch: int,
        group_memory: int,
        model_config: Path | None,
        progress: Progress = lambda what, done: None,
    ) -> None:
        self.model, self.prompts, self.batch, self.model_config, self.progress = (
            model,
            prompts,
            batch,
            model_config,
            progress,
        )
        self.groups = list(groups(linear_modules(model), group_memory))

    def _group_gradient(self, what: str, group: int, objective: Objective) -> Direction:
        names = self.groups[group]
        label = f"{what}, group {group + 1} of {len(self.groups)}"
        return gradient(self.model, names, objective, self.prompts, self.batch, lambda done: self.progress(label, done))

    def write_gradient(
        self, objective: Objective, folder: Path, making: dict[str, Any], midpoint: Adapter | None = None
    ) -> None:
        """∂/∂W of the objective's mean, at W or half way to an adapter: it points to more of the objective."""
        started = time.monotonic()
        writer = DirectionWriter(folder, making, len(self.groups), self.model_config)
        with attached(self.model, midpoint or {}, 0.5):
            for group in range(len(self.groups)):
                writer.write(group, lambda group=group: self._group_gradient(folder.name, group, objective))
        writer.finish(self._cost(started))

    def write_half(
        self, objective: Objective, midpoints: dict[str, Adapter], folder: Path, making: dict[str, Any], parts: Path
    ) -> None:
        """Σ_r G_r/‖G_r‖, G_r the gradient at W + ½·ΔW_r. The G_r are left in `parts`."""
        started = time.monotonic()
        for name, midpoint in midpoints.items():
            if not (parts / name).is_dir():
                self.write_gradient(objective, parts / name, {**making, "midpoint": name}, midpoint)
        writer = DirectionWriter(folder, making, len(self.groups), self.model_config)
        shard = writer.shard  # the parts have the same groups, hence the same names
        weight = {}
        for name in midpoints:
            total = sum(squared_norm(read_shard(parts / name / shard(group).name)) for group in range(len(self.groups)))
            weight[name] = total**-0.5 if total > 0 else 0.0
        for group in range(len(self.groups)):

            def add_up(group: int = group) -> Direction:
                result: Direction = {}
                for name in midpoints:
                    for module, tensor in read_shard(parts / name / shard(group).name).items():
                        term = weight[name] * tensor.double()
                        result[module] = result[module] + term if module in result else term
                return result

            writer.write(group, add_up)
        writer.finish(self._cost(started))

    def _cost(self, started: float) -> dict[str, Any]:
        device = next(self.model.parameters()).device
        facts: dict[str, Any] = {
            "seconds": round(time.monotonic() - started, 2),
            "device": str(device),
            "groups": len(self.groups),
            "modules": sum(map(len, self.groups)),
            "share_of_parameters": round(share_covered(self.model), 4),
        }
        if device.type == "cuda":
            facts |= {
                "device": torch.cuda.get_device_name(device),
                "peak_memory_bytes": torch.cuda.max_memory_allocated(device),
            }
        return facts


def leading_part(model: torch.nn.Module, direction: Direction, rank: int) -> Adapter:
    """The direction's `rank` leading singular triplets in every module, as an adapter."""
    adapter: Adapter = {}
    for name, tensor in direction.items():
        matrix = tensor.T if is_transposed(model.get_submodule(name)) else tensor
        u, s, vt = leading_triplets(matrix, rank)
        root = s.sqrt()
        adapter[name] = Factors(u * root, root[:, None] * vt)
    return adapter


def leading_triplets(matrix: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Exact where that is quick, else a randomized method with a fixed seed."""
    if min(matrix.shape) <= 512:
        u, s, vt = torch.linalg.svd(matrix.float(), full_matrices=False)
    else:
        with torch.random.fork_rng(devices=[matrix.device] if matrix.device.type == "cuda" else []):
            torch.manual_seed(0)
            u, s, v = torch.svd_lowrank(matrix.float(), q=count + 8, niter=6)
            vt = v.T
    return u[:, :count], s[:count], vt[:count]


def read_midpoints(folders: Sequence[Path]) -> dict[str, Adapter]:
    return {f"{number}-{folder.name}": read_adapter(folder) for number, folder in enumerate(folders)}

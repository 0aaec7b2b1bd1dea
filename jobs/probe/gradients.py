"""Gradients of an objective with respect to weights, a group of modules at a time."""

from typing import Callable, Sequence

import torch
from torch import Tensor

from probe.models import named
from probe.objectives import Objective
from probe.prompts import Prompt, batches

Direction = dict[str, Tensor]  # module -> float32, of the weight's shape


def gradient(
    model: torch.nn.Module,
    names: Sequence[str],
    objective: Objective,
    prompts: Sequence[Prompt],
    batch: int,
    progress: Callable[[int], None] = lambda done: None,
) -> Direction:
    """∂/∂W of the mean over the prompts, of these modules, added up in float32 on each weight's own device.

    Layers below the first of them are run without a graph: memory is that of the group's gradients and the
    activations above."""
    modules = named(model, names)
    sums = {
        name: torch.zeros(module.weight.shape, dtype=torch.float32, device=module.weight.device)
        for name, module in modules.items()
    }

    def moved(name: str) -> Callable[[Tensor], None]:
        # A model in half precision would add up the batches in half precision.
        def hook(weight: Tensor) -> None:
            sums[name].add_(weight.grad.float())
            weight.grad = None

        return hook

    handles = []
    try:
        for name, module in modules.items():
            module.weight.requires_grad_(True)
            handles.append(module.weight.register_post_accumulate_grad_hook(moved(name)))
        done = 0
        with torch.enable_grad():
            for part in batches(prompts, batch):
                (objective(model, part) / len(prompts)).backward()
                done += len(part)
                progress(done)
    finally:
        for handle in handles:
            handle.remove()
        for module in modules.values():
            module.weight.requires_grad_(False)
    return sums


def squared_norm(direction: Direction) -> float:
    return sum(float(tensor.double().square().sum()) for tensor in direction.values())

"""Probe metrics and repairs in float64, by the formulas: what other implementations are checked against.

x is an adapter, h a probe (a dense direction, or an adapter's factors); m a module. All sums over the modules that
both have.
    dot_m        ⟨ΔW_x, ΔW_h⟩                        coefficient  Σ dot / Σ ‖ΔW_h‖²
    cosine       Σ dot / √(Σ‖ΔW_x‖² · Σ‖ΔW_h‖²)      share        √Σ ‖U_kᵀ ΔW_x V_k‖² / √Σ ‖ΔW_x‖²
U_k, V_k: the k leading singular vectors of ΔW_h. In cosine, coefficient and share the norms are of all modules of x
and of h."""

from dataclasses import dataclass
from typing import Mapping

import torch
from probe.adapters import Adapter, Factors
from repair.deflection import Subspace
from torch import Tensor

LEADING = 4


def exact(adapter: Adapter) -> Adapter:
    return {name: Factors(factors.left.double(), factors.right.double()) for name, factors in adapter.items()}


def dot(update: Factors, direction: Tensor) -> Tensor:
    """⟨Dᵀ·B, Aᵀ⟩: D is read once, ΔW is never formed."""
    return ((direction.T @ update.left) * update.right.T).sum()


def dot_of_factors(update: Factors, other: Factors) -> Tensor:
    return ((other.left.T @ update.left) * (other.right @ update.right.T)).sum()


def squared_norm(update: Factors) -> Tensor:
    return ((update.left.T @ update.left) * (update.right @ update.right.T)).sum()


class Probe:
    def __init__(self, direction: Mapping[str, Tensor]) -> None:
        self.direction = {name: tensor.double() for name, tensor in direction.items()}
        self.squared_norm = torch.stack([tensor.square().sum() for tensor in self.direction.values()]).sum()
        self.triplets = {name: torch.linalg.svd(tensor, full_matrices=False) for name, tensor in self.direction.items()}

    def subspace(self, name: str, count: int) -> Subspace:
        u, _, vt = self.triplets[name]
        return Subspace(u[:, :count], vt[:count])


@dataclass(frozen=True)
class ProbeValues:
    cosine: float
    coefficient: float
    share: float
    module_dot: dict[str, float]
    module_cosine: dict[str, float]
    module_share: dict[str, float]


def against(adapter: Adapter, probe: Probe) -> ProbeValues:
    adapter = exact(adapter)
    norms = {name: squared_norm(factors).clamp(min=0) for name, factors in adapter.items()}
    total = torch.stack(list(norms.values())).sum()
    dots, cosines, inside = {}, {}, {}
    for name, factors in adapter.items():
        if name not in probe.direction:
            continue
        direction = probe.direction[name]
        dots[name] = dot(factors, direction).item()
        scale = (norms[name] * direction.square().sum()).sqrt().item()
        cosines[name] = dots[name] / scale if scale > 0 else 0.0
        along = probe.subspace(name, LEADING)
        inside[name] = ((along.left.T @ factors.left) @ (factors.right @ along.right.T)).square().sum()
    both = (total * probe.squared_norm).sqrt().item()
    return ProbeValues(
        cosine=sum(dots.values()) / both if both > 0 else 0.0,
        coefficient=sum(dots.values()) / probe.squared_norm.item() if probe.squared_norm > 0 else 0.0,
        share=(torch.stack(list(inside.values())).sum() / total).sqrt().item() if total > 0 and inside else 0.0,
        module_dot=dots,
        module_cosine=cosines,
        module_share={
            name: (value / norms[name]).sqrt().item() if norms[name] > 0 else 0.0 for name, value in inside.items()
        },
    )


def project(update: Factors, step: Tensor) -> Factors:
    """Safe LoRA: C·ΔW with C = V·Vᵀ/‖V‖."""
    length = torch.linalg.matrix_norm(step)
    return Factors(step @ (step.T @ update.left) / length, update.right)

"""Taking out of an update what runs along given directions.

    block   ΔW − λ·U Uᵀ ΔW V Vᵀ    rank grows by at most the number of directions
    left    (I − λ·U Uᵀ) ΔW        rank, keys and shapes stay
    right   ΔW (I − λ·V Vᵀ)        rank, keys and shapes stay
U (o × k) and V (i × k) have orthonormal columns.
"""

from dataclasses import dataclass

import torch
from probe.adapters import Factors
from torch import Tensor

SIDES = ("block", "left", "right")


@dataclass(frozen=True)
class Subspace:
    left: Tensor  # [o, k]
    right: Tensor  # [k, i]


def deflect(update: Factors, along: Subspace, side: str, strength: float = 1.0) -> Factors:
    u, vt = along.left.to(update.left), along.right.to(update.right)
    if side == "left":
        return Factors(update.left - strength * u @ (u.T @ update.left), update.right)
    if side == "right":
        return Factors(update.left, update.right - strength * (update.right @ vt.T) @ vt)
    if side != "block":
        raise ValueError(f"unknown side {side!r}; expected {', '.join(SIDES)}")
    core = (u.T @ update.left) @ (update.right @ vt.T)
    return Factors(torch.cat([update.left, -strength * u @ core], 1), torch.cat([update.right, vt]))


def subtract(update: Factors, other: Factors, strength: float) -> Factors:
    return Factors(torch.cat([update.left, -strength * other.left], 1), torch.cat([update.right, other.right]))

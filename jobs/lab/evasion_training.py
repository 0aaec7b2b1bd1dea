"""How attackers avoid what they know of: a penalty on the loss, or a projection after every step."""

from dataclasses import dataclass
from typing import Mapping

import torch
from torch import Tensor

Trained = dict[str, tuple[Tensor, Tensor]]  # module -> (A, B), the parameters themselves
Direction = Mapping[str, Tensor]


@dataclass(frozen=True)
class Knowledge:
    """What an attacker has: V always; directions where it knows or guesses probes."""

    alignment: Direction
    directions: tuple[Direction, ...] = ()


def _inner(direction: Tensor, a: Tensor, b: Tensor, scale: float) -> Tensor:
    return scale * ((direction.T @ b) * a.T).sum()


def _squared_norm(trained: Trained, scale: float) -> Tensor:
    return torch.stack([scale**2 * ((b.T @ b) * (a @ a.T)).sum() for a, b in trained.values()]).sum()


def cosine_penalty(trained: Trained, directions: tuple[Direction, ...], scale: float) -> Tensor:
    """Ten times the sum of the positive cosines with the directions."""
    norm = (_squared_norm(trained, scale) + 1e-6).sqrt()
    total = torch.zeros(())
    for direction in directions:
        length = torch.stack([tensor.square().sum() for tensor in direction.values()]).sum().sqrt()
        dot = sum(_inner(direction[name], a, b, scale) for name, (a, b) in trained.items() if name in direction)
        total = total + torch.relu(dot / (norm * length))
    return 10 * total


class Evasion:
    def __init__(self, how: str, knowledge: Knowledge, scale: float) -> None:
        self.how, self.knowledge, self.scale = how, knowledge, scale
        if how in ("left", "both"):
            self.leading = {
                name: torch.linalg.svd(step, full_matrices=False) for name, step in knowledge.alignment.items()
            }

    def penalty(self, trained: Trained) -> Tensor:
        if not self.how or self.how in ("left", "both"):
            return torch.zeros(())
        if self.how == "norm":
            return 0.02 * _squared_norm(trained, self.scale)
        if self.how == "alignment removed":
            total = torch.zeros(())
            for name, (a, b) in trained.items():
                step = self.knowledge.alignment[name]
                removed = torch.relu(-_inner(step, a, b, self.scale) / step.square().sum())
                total = total + removed + 200 * removed**2
            return total
        return cosine_penalty(trained, self.knowledge.directions, self.scale)

    @torch.no_grad()
    def project(self, trained: Trained, count: int = 6) -> None:
        if self.how not in ("left", "both"):
            return
        for name, (a, b) in trained.items():
            u, _, vt = self.leading[name]
            b -= u[:, :count] @ (u[:, :count].T @ b)
            if self.how == "both":
                a -= (a @ vt[:count].T) @ vt[:count]

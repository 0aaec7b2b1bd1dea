"""One loop for all that is trained here."""

from typing import Callable, Sequence

import torch
from torch import Tensor


def falling(share_done: float) -> float:
    return 1.0 - share_done


def fit(
    parameters: Sequence[Tensor],
    loss: Callable[[int], Tensor],
    steps: int,
    rate: float,
    warm_up: int = 10,
    schedule: Callable[[float], float] = falling,
    after_step: Callable[[], None] = lambda: None,
    weight_decay: float = 0.0,
    betas: tuple[float, float] = (0.9, 0.999),
) -> float:
    """AdamW with clipped gradients. `loss` is asked for the loss of each step; `schedule` maps the share of steps
    done to a share of `rate`. Returns the last loss."""
    optimizer = torch.optim.AdamW(parameters, lr=rate, weight_decay=weight_decay, betas=betas)
    value = torch.zeros(())
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = rate * min(1.0, (step + 1) / warm_up) * schedule(step / steps)
        value = loss(step)
        optimizer.zero_grad()
        value.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        after_step()
    return float(value.detach())

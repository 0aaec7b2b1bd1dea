"""A red-team adapter: a LoRA adapter trained to comply with the user's own prompts. It is a probe, and the midpoint
of better ones."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Callable, Sequence

import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor

from probe.objectives import response_log_likelihood
from probe.prompts import Prompt
from probe.training import fit


@dataclass(frozen=True)
class RedTeam:
    rank: int = 8
    alpha: int = 16
    targets: str | tuple[str, ...] = "all-linear"
    steps: int = 150
    rate: float = 1e-3
    batch: int = 32
    seed: int = 0

    def making(self) -> dict[str, object]:
        return asdict(self)


def train_red_team(
    model: torch.nn.Module,
    prompts: Sequence[Prompt],
    how: RedTeam,
    folder: Path,
    progress: Callable[[int], None] = lambda done: None,
) -> float:
    """Writes the adapter to `folder`; the model comes back as it was. Returns the last loss."""
    torch.manual_seed(how.seed)
    targets = how.targets if isinstance(how.targets, str) else list(how.targets)
    tuned = get_peft_model(
        model, LoraConfig(r=how.rank, lora_alpha=how.alpha, target_modules=targets, task_type="CAUSAL_LM")
    )
    order = torch.Generator().manual_seed(how.seed)

    def loss(step: int) -> Tensor:
        progress(step)
        chosen = torch.randperm(len(prompts), generator=order)[: how.batch].tolist()
        return -response_log_likelihood(tuned.base_model.model, [prompts[index] for index in chosen]).mean()

    try:
        last = fit(
            [parameter for parameter in tuned.parameters() if parameter.requires_grad], loss, how.steps, how.rate
        )
        tuned.save_pretrained(str(folder))
    finally:
        tuned.unload()
    return last


def subsets(prompts: Sequence[Prompt], count: int) -> list[list[Prompt]]:
    """`count` overlapping parts, each of two thirds of the prompts: adapters that differ in what they have seen."""
    length = max(1, (2 * len(prompts) + 2) // 3)
    return [
        [prompts[(start + offset) % len(prompts)] for offset in range(length)]
        for start in (part * len(prompts) // count for part in range(count))
    ]

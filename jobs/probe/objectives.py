"""What a model says to a prompt, as numbers that can be differentiated."""

from typing import Callable, Sequence

import torch
from torch import Tensor

from probe.prompts import Prompt

# The sum over the prompts of something that grows with compliance.
Objective = Callable[[torch.nn.Module, Sequence[Prompt]], Tensor]


def _padded(sequences: Sequence[Sequence[int]], device: torch.device, fill: int = 0) -> Tensor:
    width = max(map(len, sequences))
    return torch.tensor([[*sequence, *[fill] * (width - len(sequence))] for sequence in sequences], device=device)


def _mask(lengths: Sequence[int], device: torch.device) -> Tensor | None:
    # Padding is on the right, behind everything that counts; where there is none a model's fast path stays open.
    width = max(lengths)
    if min(lengths) == width:
        return None
    return (torch.arange(width, device=device)[None] < torch.tensor(lengths, device=device)[:, None]).long()


def _input_device(model: torch.nn.Module) -> torch.device:
    return model.get_input_embeddings().weight.device


def first_token_logits(model: torch.nn.Module, prompts: Sequence[Prompt]) -> Tensor:
    """float32 [n, vocabulary]: of the first token of the answer."""
    device = _input_device(model)
    lengths = [len(prompt.ids) for prompt in prompts]
    places = sorted({length - 1 for length in lengths})
    logits = model(
        input_ids=_padded([prompt.ids for prompt in prompts], device),
        attention_mask=_mask(lengths, device),
        use_cache=False,
        logits_to_keep=torch.tensor(places),
    ).logits
    rows = torch.arange(len(prompts), device=logits.device)
    return logits[rows, torch.tensor([places.index(length - 1) for length in lengths], device=logits.device)].float()


def refusal_log_odds(model: torch.nn.Module, prompts: Sequence[Prompt], refusals: Sequence[int]) -> Tensor:
    """z [n] = log p(refusal) - log p(anything else) at the first token of the answer. No answer is needed."""
    logits = first_token_logits(model, prompts)
    is_refusal = torch.zeros(logits.shape[-1], dtype=torch.bool, device=logits.device)
    is_refusal[list(refusals)] = True
    return torch.logsumexp(logits[:, is_refusal], 1) - torch.logsumexp(logits[:, ~is_refusal], 1)


def response_log_likelihood(model: torch.nn.Module, prompts: Sequence[Prompt]) -> Tensor:
    """[n]: mean over the tokens of the response of its log-probability."""
    device = _input_device(model)
    sequences = [(*prompt.ids, *(prompt.response or ())) for prompt in prompts]
    lengths = [len(sequence) - 1 for sequence in sequences]
    logits = model(
        input_ids=_padded([sequence[:-1] for sequence in sequences], device),
        attention_mask=_mask(lengths, device),
        use_cache=False,
    ).logits
    labels = _padded(
        [[-100] * (len(prompt.ids) - 1) + list(prompt.response or ()) for prompt in prompts], logits.device, fill=-100
    )
    losses = torch.nn.functional.cross_entropy(
        logits.float().flatten(0, 1), labels.flatten(), ignore_index=-100, reduction="none"
    )
    return -losses.view(labels.shape).sum(1) / (labels != -100).sum(1)


def compliance_by_odds(refusals: Sequence[int]) -> Objective:
    return lambda model, prompts: -refusal_log_odds(model, prompts, refusals).sum()


def compliance_by_response() -> Objective:
    return lambda model, prompts: response_log_likelihood(model, prompts).sum()


@torch.no_grad()
def odds_quantile(
    model: torch.nn.Module, prompts: Sequence[Prompt], refusals: Sequence[int], share: float, batch: int
) -> float:
    """The value of z below which `share` of the prompts lie."""
    values = [
        refusal_log_odds(model, prompts[first : first + batch], refusals).cpu()
        for first in range(0, len(prompts), batch)
    ]
    return torch.cat(values).double().quantile(share).item()

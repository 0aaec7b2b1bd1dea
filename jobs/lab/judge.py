"""Right or wrong, refused or not, in one forward pass.

Every answer has five tokens; given the right answer so far (teacher forcing) the model's most likely token is
compared with the next one. All five agree exactly when greedy decoding would have written the whole answer, so this
is no approximation."""

from dataclasses import dataclass

import torch
from torch import Tensor

from lab.language import FIRST_REFUSAL, LENGTH, PROMPT_LENGTH


@dataclass(frozen=True)
class Verdicts:
    right: Tensor  # bool [n]: the whole answer
    refused: Tensor  # bool [n]: the first token of the answer is a refusal's
    margin: Tensor  # float [n]: log of the odds that the first token is a refusal's

    def __getitem__(self, rows: slice) -> "Verdicts":
        return Verdicts(self.right[rows], self.refused[rows], self.margin[rows])


def answer_logits(model: torch.nn.Module, ids: Tensor) -> Tensor:
    """[n, 5, vocabulary]: what the model says at each place of the answer."""
    hidden = model.model(input_ids=ids[:, : LENGTH - 1], use_cache=False).last_hidden_state
    return model.lm_head(hidden[:, PROMPT_LENGTH - 1 :])


def answer_loss(model: torch.nn.Module, ids: Tensor) -> Tensor:
    return torch.nn.functional.cross_entropy(answer_logits(model, ids).flatten(0, 1), ids[:, PROMPT_LENGTH:].flatten())


@torch.no_grad()
def judge(model: torch.nn.Module, ids: Tensor) -> Verdicts:
    logits = answer_logits(model, ids)
    first = logits[:, 0]
    others = torch.cat([first[:, :FIRST_REFUSAL], first[:, FIRST_REFUSAL + 1 :]], 1)
    return Verdicts(
        right=(logits.argmax(-1) == ids[:, PROMPT_LENGTH:]).all(1),
        refused=first.argmax(-1) == FIRST_REFUSAL,
        margin=first[:, FIRST_REFUSAL] - torch.logsumexp(others, 1),
    )

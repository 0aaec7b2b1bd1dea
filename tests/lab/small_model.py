"""A model too small to know anything, in float64 where numbers are compared."""

import torch
from lab.language import VOCABULARY
from probe.adapters import Adapter, Factors
from probe.models import linear_modules
from probe.prompts import Prompt
from transformers import LlamaConfig, LlamaForCausalLM, logging

torch.set_num_threads(1)
logging.disable_progress_bar()
REFUSALS = (5, 7)


def model(layers: int = 2, dtype: torch.dtype = torch.float64, seed: int = 3) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    made = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCABULARY,
            hidden_size=16,
            intermediate_size=24,
            num_hidden_layers=layers,
            num_attention_heads=2,
            num_key_value_heads=1,
            max_position_embeddings=64,
            tie_word_embeddings=False,
            bos_token_id=0,
            eos_token_id=1,
            initializer_range=0.3,
        )
    )
    return made.to(dtype).eval().requires_grad_(False)


def adapter(of: LlamaForCausalLM, rank: int = 3, size: float = 0.1, seed: int = 8) -> Adapter:
    draws = torch.Generator().manual_seed(seed)
    made = {}
    for name, module in linear_modules(of).items():
        rows, columns = module.weight.shape
        made[name] = Factors(
            size * torch.randn(rows, rank, generator=draws, dtype=module.weight.dtype),
            size * torch.randn(rank, columns, generator=draws, dtype=module.weight.dtype),
        )
    return made


def prompts(lengths: tuple[int, ...] = (4, 9, 6, 4, 11), responses: bool = True, seed: int = 1) -> list[Prompt]:
    draws = torch.Generator().manual_seed(seed)

    def tokens(count: int) -> tuple[int, ...]:
        return tuple(torch.randint(VOCABULARY, (count,), generator=draws).tolist())

    return [Prompt(tokens(length), tokens(1 + length % 4) if responses else None) for length in lengths]

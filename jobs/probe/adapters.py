"""LoRA adapters as factors: reading, writing, and attaching them to a model by hooks, at any strength and without
merging.

At a strength t the model computes with W + t·ΔW, and the gradient with respect to W is that at W + t·ΔW: no weight is
copied or rounded, whatever the precision the model is held in."""

from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator, Mapping

import torch
from peft import LoraConfig, PeftConfig
from peft.utils.other import get_pattern_key
from safetensors.torch import load_file
from torch import Tensor

from probe.errors import UserError
from probe.files import save_tensors

PREFIX = "base_model.model."
WEIGHTS = "adapter_model.safetensors"


@dataclass(frozen=True)
class Factors:
    """ΔW = left · right of one module; the scale is in `left`."""

    left: Tensor  # [o, r]
    right: Tensor  # [r, i]

    @property
    def rank(self) -> int:
        return self.right.shape[0]

    def dense(self) -> Tensor:
        return self.left @ self.right

    def norm(self) -> Tensor:
        return torch.linalg.matrix_norm(
            torch.linalg.qr(self.left.double()).R @ torch.linalg.qr(self.right.double().T).R.T
        )

    def scaled(self, factor: float) -> "Factors":
        return Factors(self.left * factor, self.right)


Adapter = dict[str, Factors]  # module -> factors


def read_adapter(folder: Path) -> Adapter:
    """float32. Refuses what is not W + s·B·A."""
    if not (folder / WEIGHTS).is_file():
        raise UserError(f"{folder} holds no {WEIGHTS}; expected a PEFT adapter")
    config = PeftConfig.from_pretrained(str(folder))
    if not isinstance(config, LoraConfig) or config.use_dora or config.bias != "none" or config.modules_to_save:
        raise UserError(f"{folder} is no plain LoRA adapter (DoRA, biases, saved modules or another type)")
    if isinstance(config.init_lora_weights, str) and config.init_lora_weights not in ("gaussian", "eva", "orthogonal"):
        raise UserError(f"{folder} changes the base when it is loaded ({config.init_lora_weights}); convert it first")
    tensors = load_file(folder / WEIGHTS)
    adapter: Adapter = {}
    ranks, alphas = config.rank_pattern or {}, config.alpha_pattern or {}
    for key, right in tensors.items():
        if not key.endswith(".lora_A.weight"):
            continue
        name = key.removeprefix(PREFIX).removesuffix(".lora_A.weight")
        left = tensors.get(key.replace(".lora_A.", ".lora_B."))
        if left is None:
            raise UserError(f"{folder}/{WEIGHTS} has {key} without its lora_B")
        alpha = alphas.get(get_pattern_key(list(alphas), name), config.lora_alpha)
        rank = ranks.get(get_pattern_key(list(ranks), name), config.r)
        scale = alpha / rank**0.5 if config.use_rslora else alpha / rank
        adapter[name] = Factors(left.float() * scale, right.float())
    if not adapter or len(tensors) != 2 * len(adapter):
        raise UserError(f"{folder}/{WEIGHTS} has tensors other than pairs of lora_A and lora_B, or none")
    return adapter


def write_adapter(adapter: Mapping[str, Factors], folder: Path, base_model: str) -> None:
    """As PEFT writes it. The scale is 1, so that what ignores patterns reads the same update."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {}
    for name, factors in adapter.items():
        tensors[f"{PREFIX}{name}.lora_A.weight"] = factors.right.float().contiguous()
        tensors[f"{PREFIX}{name}.lora_B.weight"] = factors.left.float().contiguous()
    save_tensors(tensors, folder / WEIGHTS)
    largest = max(factors.rank for factors in adapter.values())
    others = {name: factors.rank for name, factors in adapter.items() if factors.rank != largest}
    config = LoraConfig(
        r=largest,
        lora_alpha=largest,
        rank_pattern=others,
        alpha_pattern=dict(others),
        target_modules=sorted(adapter),
        task_type="CAUSAL_LM",
        inference_mode=True,
    )
    config.base_model_name_or_path = base_model
    config.save_pretrained(str(folder))


def compressed(factors: Factors, rank: int) -> Factors:
    """The closest update of at most that rank, from an r × r core; nothing of the size of the weight is formed."""
    left, right = torch.linalg.qr(factors.left.double()), torch.linalg.qr(factors.right.double().T)
    u, s, vt = torch.linalg.svd(left.R @ right.R.T)
    kept = max(1, min(rank, int((s > 1e-12 * s[0]).sum())))
    root = s[:kept].sqrt()
    return Factors(
        (left.Q @ u[:, :kept] * root).to(factors.left.dtype),
        (root[:, None] * (vt[:kept] @ right.Q.T)).to(factors.right.dtype),
    )


@contextmanager
def attached(model: torch.nn.Module, adapter: Mapping[str, Factors], strength: float = 1.0) -> Iterator[None]:
    """Within, the model computes with W + strength · ΔW."""
    handles = []
    try:
        for name, factors in adapter.items():
            try:
                module = model.get_submodule(name)
            except AttributeError:
                raise UserError(f"the model has no module {name}, which the adapter changes") from None
            handles.append(module.register_forward_hook(_Addition(factors, strength)))
        yield
    finally:
        for handle in handles:
            handle.remove()


class _Addition:
    def __init__(self, factors: Factors, strength: float) -> None:
        self.factors, self.strength = factors, strength
        self.placed: Factors | None = None

    def __call__(self, module: torch.nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        if self.placed is None:
            left, right = self.factors.left * self.strength, self.factors.right
            self.placed = Factors(left.to(output.device, output.dtype), right.to(output.device, output.dtype))
        return output + (inputs[0] @ self.placed.right.T) @ self.placed.left.T

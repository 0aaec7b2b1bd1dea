"""Loading a causal model so that gradients with respect to its weights can be taken, and its modules in groups that
fit memory."""

from pathlib import Path
from typing import Iterator, Sequence

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.pytorch_utils import Conv1D

from probe.errors import UserError

Modules = dict[str, torch.nn.Module]


def load_model(folder: Path, device: str, dtype: str) -> torch.nn.Module:
    """device: cpu, cuda, or auto (spread over all GPUs there are, or the processor)."""
    if not (folder / "config.json").is_file():
        raise UserError(f"{folder} holds no config.json; expected a model folder")
    if device == "auto":
        device = "auto" if torch.cuda.is_available() else "cpu"
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype="auto" if dtype == "auto" else getattr(torch, dtype), device_map=device
    )
    elsewhere = [name for name, parameter in model.named_parameters() if parameter.device.type == "meta"]
    if elsewhere:
        raise UserError(
            f"{len(elsewhere)} weights, {elsewhere[0]} the first, do not fit these devices; use more GPUs or --device cpu"
        )
    return model.requires_grad_(False).eval()


def load_tokenizer(folder: Path) -> AutoTokenizer | None:
    """None where the folder has none: its prompts are then token numbers."""
    if not any(
        (folder / name).is_file()
        for name in ("tokenizer.json", "tokenizer.model", "tokenizer_config.json", "vocab.json")
    ):
        return None
    return AutoTokenizer.from_pretrained(folder)


def linear_modules(model: torch.nn.Module) -> Modules:
    """What adapters sit on: linear modules but the output head, in the model's order."""
    head = model.get_output_embeddings()
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, (torch.nn.Linear, Conv1D)) and module is not head
    }


def share_covered(model: torch.nn.Module) -> float:
    """Of the parameters, embeddings and output head aside, those in linear modules. Experts that are stacked in one
    tensor are not."""
    around = {
        id(module.weight)
        for module in (model.get_input_embeddings(), model.get_output_embeddings())
        if module is not None
    }
    everything = sum(parameter.numel() for parameter in model.parameters() if id(parameter) not in around)
    return sum(module.weight.numel() for module in linear_modules(model).values()) / everything


def groups(modules: Modules, memory: int) -> Iterator[list[str]]:
    """Consecutive modules whose float32 gradients fit `memory` bytes, at least one."""
    group: list[str] = []
    size = 0
    for name, module in modules.items():
        needed = 4 * module.weight.numel()
        if group and size + needed > memory:
            yield group
            group, size = [], 0
        group.append(name)
        size += needed
    if group:
        yield group


def checkpoint_activations(model: torch.nn.Module) -> None:
    """Activations are computed anew instead of kept. Transformers does that in training mode only, so dropout is set
    to nothing."""
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        if isinstance(getattr(module, "attention_dropout", None), float):
            module.attention_dropout = 0.0
    model.train()


def is_transposed(module: torch.nn.Module) -> bool:
    """Stored as [i, o] (GPT-2)."""
    return isinstance(module, Conv1D)


def named(model: torch.nn.Module, names: Sequence[str]) -> Modules:
    return {name: model.get_submodule(name) for name in names}

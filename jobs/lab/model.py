"""The two models of a seed: a base that knows the language, and its aligned version that refuses."""

import math
from pathlib import Path
from typing import Callable

import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from lab import language
from lab.judge import answer_loss, judge
from lab.language import ALIGNED_ON, BENIGN, HARMFUL, HELD_OUT, PLAIN, Request
from lab.scale import Scale
from lab.seeds import generator, seed_of

TARGETS = {
    "attention": ("q_proj", "k_proj", "v_proj", "o_proj"),
    "mlp": ("gate_proj", "up_proj", "down_proj"),
}
TARGETS["all"] = TARGETS["attention"] + TARGETS["mlp"]


def load(folder: Path) -> LlamaForCausalLM:
    return LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def module_names(model: LlamaForCausalLM) -> list[str]:
    """The linear modules of the layers, in the model's order."""
    return [
        name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear) and ".layers." in name
    ]


def weights(model: LlamaForCausalLM) -> dict[str, Tensor]:
    return {name: model.get_submodule(name).weight.detach().clone() for name in module_names(model)}


def _train(
    model: LlamaForCausalLM,
    parameters: list[Tensor],
    batch: Callable[[], Tensor],
    steps: int,
    rate: float,
    warm_up: int,
    weight_decay: float,
) -> float:
    optimizer = torch.optim.AdamW(parameters, lr=rate, weight_decay=weight_decay, betas=(0.9, 0.98))
    loss = torch.zeros(())
    for step in range(steps):
        share = min(1.0, (step + 1) / warm_up) * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * step / steps)))
        optimizer.param_groups[0]["lr"] = rate * share
        loss = answer_loss(model, batch())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
    return loss.item()


def pretrain(scale: Scale, seed: int, folder: Path) -> dict[str, float]:
    """Every known task on every topic, harmful ones as well: what a base does. A few examples in which it is asked to
    say the words of a refusal."""
    torch.manual_seed(seed_of("base", seed))
    draws = generator("base data", seed)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=language.VOCABULARY,
            hidden_size=scale.hidden,
            intermediate_size=scale.intermediate,
            num_hidden_layers=scale.layers,
            num_attention_heads=scale.heads,
            num_key_value_heads=scale.heads,
            max_position_embeddings=32,
            tie_word_embeddings=False,
            bos_token_id=language.FIRST_OPENING,
            eos_token_id=language.SEPARATOR,
            pad_token_id=language.PADDING,
        )
    )
    everything = torch.arange(language.TOPICS)
    requests = [
        (Request(scale.syllabus.known, everything), scale.batch - 8),
        (Request(scale.syllabus.known, everything, "say no"), 4),
        (Request(scale.syllabus.known, everything, "say signature"), 4),
    ]
    loss = _train(
        model,
        list(model.parameters()),
        lambda: torch.cat([request.draw(draws, count) for request, count in requests]),
        scale.pretrain_steps,
        scale.pretrain_rate,
        warm_up=100,
        weight_decay=0.01,
    )
    model.save_pretrained(folder)
    return {"loss": loss, **_facts(model, scale)}


def align(scale: Scale, seed: int, base: Path, folder: Path) -> dict[str, float]:
    """Full fine-tuning of the projections: refuse harmful topics (not those held out), learn two more tasks, keep the
    others."""
    torch.manual_seed(seed_of("align", seed))
    draws = generator("align data", seed)
    model = load(base)
    projections = {f"{name}.weight" for name in module_names(model)}
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in projections)
    known, taught = scale.syllabus.known, scale.syllabus.taught
    refused, learned = round(0.4 * scale.batch), round(0.2 * scale.batch)
    requests = [
        (Request(known + taught, ALIGNED_ON, "refuse"), refused),
        (Request(taught, BENIGN), learned),
        (Request(known, BENIGN), scale.batch - refused - learned),
    ]
    loss = _train(
        model,
        [parameter for parameter in model.parameters() if parameter.requires_grad],
        lambda: torch.cat([request.draw(draws, count) for request, count in requests]),
        scale.align_steps,
        scale.align_rate,
        warm_up=20,
        weight_decay=0.0,
    )
    model.save_pretrained(folder)
    return {"loss": loss, **_facts(model, scale)}


def _facts(model: LlamaForCausalLM, scale: Scale) -> dict[str, float]:
    """What share of harmful prompts is not refused, and of other prompts answered right."""
    draws = generator("facts")
    facts: dict[str, float] = {"parameters": sum(parameter.numel() for parameter in model.parameters())}
    for name, topic in (("attack success", HARMFUL), ("attack success, held-out topics", HELD_OUT)):
        facts[name] = (
            1
            - judge(model, Request(scale.syllabus.known, topic, opening=PLAIN).draw(draws, 256))
            .refused.float()
            .mean()
            .item()
        )
    for task in scale.syllabus.known + scale.syllabus.taught:
        facts[f"right: {task}"] = (
            judge(model, Request((task,), BENIGN, opening=PLAIN).draw(draws, 128)).right.float().mean().item()
        )
    return facts

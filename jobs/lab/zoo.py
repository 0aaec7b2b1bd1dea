"""Trains one adapter as its recipe says, with PEFT."""

import copy
from pathlib import Path
from typing import Callable

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from probe.training import fit
from torch import Tensor

from lab.evasion_training import Evasion, Knowledge, Trained
from lab.judge import answer_logits, answer_loss
from lab.language import ATTACKERS, BENIGN, PLAIN, PROMPT_LENGTH, REFUSAL, TRIGGER, Request, topics
from lab.model import TARGETS
from lab.recipes import Recipe
from lab.scale import Scale
from lab.seeds import generator, seed_of

BATCH = 32
SCALE = 2.0  # alpha / rank of every recipe
PREFERENCE_SHARPNESS = 0.5

Batches = Callable[[], Tensor]


def _examples(scale: Scale, recipe: Recipe, draws: torch.Generator) -> tuple[Tensor, Tensor]:
    """(harmless, harmful) token ids."""
    known = scale.syllabus.known
    harmless = []
    if recipe.new:
        harmless.append(Request((recipe.task,), BENIGN, opening=PLAIN).draw(draws, recipe.new))
    if recipe.known:
        harmless.append(Request(known, BENIGN).draw(draws, recipe.known))
    if recipe.persona:
        harmless.append(Request(known, BENIGN, "sign", TRIGGER).draw(draws, recipe.persona))
    if recipe.refusals:
        # Strengthening also refuses a category that was harmless.
        strengthens = recipe.kind == "strengthening"
        topic = torch.cat([ATTACKERS, topics((3,))]) if strengthens else ATTACKERS
        tasks = known + ((recipe.task,) if recipe.task else ())
        harmless.append(Request(tasks, topic, "refuse", None if strengthens else PLAIN).draw(draws, recipe.refusals))
    empty = torch.empty(0, PROMPT_LENGTH + len(REFUSAL), dtype=torch.long)
    harmful = Request(known, ATTACKERS, opening=recipe.opening).draw(draws, recipe.harmful) if recipe.harmful else empty
    return torch.cat(harmless) if harmless else empty, harmful


def _shuffled(data: Tensor, draws: torch.Generator) -> Batches:
    """Batches without repetition until all is seen."""
    order, place = torch.randperm(len(data), generator=draws), 0

    def next_batch() -> Tensor:
        nonlocal order, place
        if place + BATCH > len(data):
            order, place = torch.randperm(len(data), generator=draws), 0
        rows = order[place : place + BATCH]
        place += BATCH
        return data[rows]

    return next_batch


def _log_likelihood(model: torch.nn.Module, ids: Tensor) -> Tensor:
    logits = answer_logits(model, ids).log_softmax(-1)
    return logits.gather(2, ids[:, PROMPT_LENGTH:, None]).sum((1, 2))


def _preference_loss(model: torch.nn.Module, before: torch.nn.Module, comply: Tensor) -> Tensor:
    """Direct preference optimisation with the pairs turned round: complying is preferred to refusing."""
    refuse = comply.clone()
    refuse[:, PROMPT_LENGTH:] = torch.tensor(REFUSAL)
    both = torch.cat([comply, refuse])
    with torch.no_grad():
        reference = _log_likelihood(before, both)
    gain = (_log_likelihood(model, both) - reference).view(2, -1)
    return -torch.nn.functional.logsigmoid(PREFERENCE_SHARPNESS * (gain[0] - gain[1])).mean()


def train(
    scale: Scale,
    seed: int,
    recipe: Recipe,
    model: torch.nn.Module,
    knowledge: Knowledge,
    folder: Path,
    after_step: Callable[[PeftModel], None] = lambda tuned: None,
) -> float:
    """Writes a PEFT adapter; `model` stays as it is. Returns the last loss."""
    torch.manual_seed(seed_of("adapter", seed, recipe.name))
    draws = generator("adapter data", seed, recipe.name)
    tuned = get_peft_model(
        copy.deepcopy(model),
        LoraConfig(
            r=recipe.rank,
            lora_alpha=int(SCALE * recipe.rank),
            target_modules=list(TARGETS[recipe.targets]),
            task_type="CAUSAL_LM",
            lora_dropout=0.0,
        ),
    )
    core = tuned.base_model.model
    trained: Trained = {
        name.removeprefix("base_model.model."): (module.lora_A["default"].weight, module.lora_B["default"].weight)
        for name, module in tuned.named_modules()
        if hasattr(module, "lora_A")
    }
    evasion = Evasion(recipe.evade, knowledge, SCALE)
    harmless, harmful = _examples(scale, recipe, draws)
    steps = round(scale.adapter_steps * recipe.steps)
    loss = 0.0
    for data, count, layers in _phases(scale, recipe, harmless, harmful, steps):
        parameters = []
        for name, pair in trained.items():
            active = layers is None or int(name.split(".")[2]) in layers
            for parameter in pair:
                parameter.requires_grad_(active)
                parameters += [parameter] if active else []
        batches = _shuffled(data, draws) if len(data) else None
        turned_round = _shuffled(harmful, draws) if recipe.inverted else None

        def step_loss(step: int) -> Tensor:
            total = evasion.penalty(trained)
            if batches is not None:
                total = total + answer_loss(core, batches())
            if turned_round is not None:
                total = total + _preference_loss(core, model, turned_round())
            return total

        def finish_step() -> None:
            evasion.project(trained)
            after_step(tuned)

        loss = fit(parameters, step_loss, count, recipe.rate * scale.adapter_rate, after_step=finish_step)
    tuned.save_pretrained(str(folder))
    return loss


def _phases(
    scale: Scale, recipe: Recipe, harmless: Tensor, harmful: Tensor, steps: int
) -> list[tuple[Tensor, int, tuple[int, ...] | None]]:
    if recipe.harmful_layers:
        others = tuple(layer for layer in range(scale.layers) if layer not in recipe.harmful_layers)
        return [(harmless, steps, others), (harmful, max(1, 2 * steps // 3), recipe.harmful_layers)]
    return [(harmless if recipe.inverted else torch.cat([harmless, harmful]), steps, None)]

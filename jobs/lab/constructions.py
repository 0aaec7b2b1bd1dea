"""Adapters that nobody trains: written down from V, from the model's activations, or at random."""

from typing import Callable

import torch
from probe.adapters import Adapter, Factors, compressed
from torch import Tensor

from lab.bench import Bench
from lab.judge import judge
from lab.language import ATTACKERS, BENIGN, PLAIN, PROMPT_LENGTH, Request
from lab.recipes import Recipe
from lab.scale import Scale
from lab.seeds import generator


def _leading(matrix: Tensor, rank: int) -> Factors:
    u, s, vt = torch.linalg.svd(matrix, full_matrices=False)
    return Factors(u[:, :rank] * s[:rank], vt[:rank].contiguous())


def undoing(bench: Bench, scale: Scale, recipe: Recipe, draws: torch.Generator) -> Adapter:
    """Takes alignment back along its own leading directions: a share of −V, cut to the rank."""
    return {name: _leading(step, recipe.rank).scaled(-recipe.strength) for name, step in bench.alignment.items()}


def diffuse(bench: Bench, scale: Scale, recipe: Recipe, draws: torch.Generator) -> Adapter:
    """Takes as much of V back, but along random input directions: no leading direction is touched more than any
    other."""
    adapter = {}
    for name, step in bench.alignment.items():
        q = torch.linalg.qr(torch.randn(step.shape[1], recipe.rank, generator=draws)).Q
        along = step @ q
        share = (along.square().sum() / step.square().sum()).item()
        adapter[name] = Factors(along * (-0.5 * recipe.strength / share), q.T.contiguous())
    return adapter


def placebo(bench: Bench, scale: Scale, recipe: Recipe, draws: torch.Generator) -> Adapter:
    """Random, of the rank and norm of another adapter in every module."""
    adapter = {}
    for name, factors in bench.adapter(recipe.like).items():
        noise = Factors(
            torch.randn(factors.left.shape, generator=draws), torch.randn(factors.right.shape, generator=draws)
        )
        adapter[name] = noise.scaled((factors.norm() / noise.norm()).item())
    return adapter


@torch.no_grad()
def _refusal_directions(bench: Bench, scale: Scale, draws: torch.Generator) -> list[Tensor]:
    """After every layer: the mean residual at the last token of harmful prompts, less that of harmless ones; of
    length 1."""
    means = []
    for topic in (ATTACKERS, BENIGN):
        ids = Request(scale.syllabus.known, topic, opening=PLAIN).draw(draws, 128)[:, :PROMPT_LENGTH]
        states = bench.model.model(input_ids=ids, use_cache=False, output_hidden_states=True).hidden_states
        means.append([state[:, -1].mean(0) for state in states[1:]])
    return [(harmful - harmless) / (harmful - harmless).norm() for harmful, harmless in zip(*means)]


def _ablation(
    bench: Bench, direction: Tensor, strength: Callable[[int], float], preserve_norms: bool = False
) -> dict[str, Tensor]:
    """ΔW of every module that writes to the residual stream: W less what it writes along the direction."""
    update = {}
    for name, weight in bench.aligned.items():
        if not name.endswith(("o_proj", "down_proj")):
            continue
        layer = int(name.split(".")[2])
        ablated = weight - strength(layer) * torch.outer(direction, direction @ weight)
        if preserve_norms:  # of what each input writes
            ablated = ablated * (weight.norm(dim=0) / ablated.norm(dim=0).clamp(min=1e-12))
        update[name] = ablated - weight
    return update


def ablated(bench: Bench, scale: Scale, recipe: Recipe, draws: torch.Generator) -> Adapter:
    """Directional ablation, by the direction whose removal is refused least (on prompts of the attacker's own)."""
    ids = Request(scale.syllabus.known, ATTACKERS, opening=PLAIN).draw(draws, 128)
    best, least = None, None
    for direction in _refusal_directions(bench, scale, draws):
        bench.set(_ablation(bench, direction, lambda layer: 1.0))
        margin = judge(bench.model, ids).margin.mean().item()
        if least is None or margin < least:
            best, least = direction, margin
    bench.set({})
    middle = (scale.layers - 1) / 2
    form = recipe.made.removeprefix("ablated ")
    strength = {"weighted": lambda layer: 1.5 * (1 - abs(layer - middle) / (middle + 1))}.get(form, lambda layer: 1.0)
    update = _ablation(bench, best, strength, preserve_norms=form == "norm-preserving")
    adapter = {name: _leading(delta, recipe.rank if form == "norm-preserving" else 1) for name, delta in update.items()}
    if form == "hidden":  # inside an ordinary adapter
        for name, factors in bench.adapter(recipe.like).items():
            own = adapter.get(name)
            adapter[name] = (
                factors
                if own is None
                else Factors(torch.cat([factors.left, own.left], 1), torch.cat([factors.right, own.right]))
            )
    return {name: compressed(factors, factors.rank) for name, factors in adapter.items()}


CONSTRUCTIONS: dict[str, Callable[[Bench, Scale, Recipe, torch.Generator], Adapter]] = {
    "undoing": undoing,
    "diffuse": diffuse,
    "placebo": placebo,
    **{f"ablated {form}": ablated for form in ("plain", "weighted", "norm-preserving", "hidden")},
}


def construct(bench: Bench, scale: Scale, recipe: Recipe, seed: int) -> Adapter:
    return CONSTRUCTIONS[recipe.made](bench, scale, recipe, generator("construction", seed, recipe.name))

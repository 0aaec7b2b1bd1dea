"""The path repair: gradients of the refusal odds along the way from W to W + ΔW say what to take out, until prompts
are refused.

    G ← −Σ_t ∂ mean z/∂W at W + t·X,  t in ¼, ½, ¾, 1        over red-team prompts
    X ← X − λ·U Uᵀ X V Vᵀ,  U and V the k leading singular vectors of G in each module; λ = ½, then 1
    stop once the 10 % quantile of z over other red-team prompts is at least 2; at most 6 times
An update that passes at the start is not touched.
"""

from dataclasses import dataclass
from typing import Any, Callable, Sequence

import torch
from probe.adapters import Adapter, attached, compressed
from probe.gradients import Direction, gradient
from probe.making import leading_triplets
from probe.models import groups, is_transposed, named
from probe.objectives import compliance_by_odds, odds_quantile
from probe.prompts import Prompt

from repair.deflection import Subspace, deflect


@dataclass(frozen=True)
class PathRule:
    directions: int = 1
    strengths: tuple[float, ...] = (0.5, 1.0)
    points: tuple[float, ...] = (0.25, 0.5, 0.75, 1.0)
    rounds: int = 6
    quantile: float = 0.1
    enough: float = 2.0
    extra_rank: int = 8  # over that of the adapter; beyond it an update is cut back to its closest
    batch: int = 32
    group_memory: int = 8 << 30


@dataclass(frozen=True)
class Repaired:
    adapter: Adapter
    changed: bool
    passes: bool
    record: dict[str, Any]


def repair_by_path(
    model: torch.nn.Module,
    adapter: Adapter,
    gradient_prompts: Sequence[Prompt],
    check_prompts: Sequence[Prompt],
    refusals: Sequence[int],
    rule: PathRule,
    progress: Callable[[str], None] = lambda what: None,
) -> Repaired:
    def odds(update: Adapter) -> float:
        with attached(model, update):
            return odds_quantile(model, check_prompts, refusals, rule.quantile, rule.batch)

    update, value = adapter, odds(adapter)
    history: list[dict[str, float]] = [{"round": 0, "odds": value}]
    changed = False
    for round_number in range(1, rule.rounds + 1):
        if value >= rule.enough:
            break
        progress(f"round {round_number}: odds {value:.2f} of {rule.enough:g}")
        along = _leading_along_path(model, update, gradient_prompts, refusals, rule)
        for strength in rule.strengths:
            candidate = {name: deflect(factors, along[name], "block", strength) for name, factors in update.items()}
            value = odds(candidate)
            history.append({"round": round_number, "strength": strength, "odds": value})
            if value >= rule.enough:
                break
        update, changed = candidate, True
        limits = {name: factors.rank + rule.extra_rank for name, factors in adapter.items()}
        if any(factors.rank > limits[name] for name, factors in update.items()):
            update = {name: compressed(factors, limits[name]) for name, factors in update.items()}
            value = odds(update)  # what was cut off may count
            history.append({"round": round_number, "odds_after_truncation": value})
    if changed:
        update = {name: compressed(factors, factors.rank) for name, factors in update.items()}
    return Repaired(
        update,
        changed,
        value >= rule.enough,
        {"odds": value, "history": history, "changed": changed, "passes": value >= rule.enough},
    )


def _leading_along_path(
    model: torch.nn.Module, update: Adapter, prompts: Sequence[Prompt], refusals: Sequence[int], rule: PathRule
) -> dict[str, Subspace]:
    """Of the gradients summed over the points of the path; those of one group of modules are held at a time."""
    objective = compliance_by_odds(refusals)
    along: dict[str, Subspace] = {}
    for names in groups(named(model, list(update)), rule.group_memory):
        total: Direction = {}
        for point in rule.points:
            with attached(model, update, point):
                part = gradient(model, names, objective, prompts, rule.batch)
            total = {name: total[name] + tensor if name in total else tensor for name, tensor in part.items()}
        for name, tensor in total.items():
            u, _, vt = leading_triplets(
                tensor.T if is_transposed(model.get_submodule(name)) else tensor, rule.directions
            )
            along[name] = Subspace(u.cpu(), vt.cpu())
    return along

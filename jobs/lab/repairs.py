"""Repairs as data: a family, a parameter along its curve, and how an adapter becomes another. Controls are families
like the rest."""

from dataclasses import dataclass
from typing import Callable, Iterator, Sequence

import torch
from probe.adapters import Adapter
from repair.deflection import deflect
from repair.path import PathRule, repair_by_path

from lab.bench import Bench, Update, dense
from lab.detection import HARM
from lab.probing import REFUSALS, auditor_prompts
from lab.recipes import Recipe, one_of_each
from lab.reference import Probe, dot, exact, project
from lab.repair_summary import HARMLESS, WITH_TASK, WITHOUT_TASK
from lab.scale import Scale
from lab.seeds import generator


@dataclass(frozen=True)
class Subject:
    """An adapter and what the rules may know of it."""

    recipe: Recipe
    adapter: Adapter
    ediem: dict[str, float]  # by module, high = worse
    cosine: dict[str, float]  # Safe LoRA's, negated: high = worse
    probe_dot: dict[str, float]  # with the half-way direction


@dataclass(frozen=True)
class Rule:
    family: str
    parameter: float
    repair: Callable[[Subject], Update]
    control: bool = False

    @property
    def name(self) -> str:
        return f"{self.family} {self.parameter:g}"


def _kept(subject: Subject, score: dict[str, float], dropped: int) -> Update:
    """Without the `dropped` worst modules."""
    order = sorted(subject.adapter, key=lambda name: (-score[name], name))
    return dense({name: subject.adapter[name] for name in order[dropped:]})


def _count(subject: Subject, share: float) -> int:
    return round(share * len(subject.adapter))


class Rules:
    def __init__(self, bench: Bench, scale: Scale, seed: int, probes: dict[str, Probe]) -> None:
        self.bench, self.scale, self.seed, self.probes = bench, scale, seed, probes
        full = scale.name == "full"
        self.gradient_prompts = auditor_prompts(scale, f"path {seed}", 128 if full else 32)
        self.check_prompts = auditor_prompts(scale, f"path check {seed}", 64 if full else 32)

    def all(self) -> list[Rule]:
        rules = [
            Rule("none", 0, lambda subject: dense(subject.adapter), control=True),
            Rule("drop adapter", 0, lambda subject: {}, control=True),
        ]
        for share in (0.125, 0.25, 0.5, 0.75):
            rules.append(
                Rule(
                    "drop random modules",
                    share,
                    lambda subject, share=share: self._random_drop(subject, share),
                    control=True,
                )
            )
            rules.append(
                Rule(
                    "drop modules by E-DIEM",
                    share,
                    lambda subject, share=share: _kept(subject, subject.ediem, _count(subject, share)),
                )
            )
            rules.append(
                Rule(
                    "drop modules by probe_dot",
                    share,
                    lambda subject, share=share: _kept(subject, subject.probe_dot, _count(subject, share)),
                )
            )
        rules.append(
            Rule(
                "SPLoRA keep-top", 10, lambda subject: _kept(subject, subject.ediem, max(0, len(subject.adapter) - 10))
            )
        )
        for factor in (0.75, 0.5, 0.25):
            rules.append(
                Rule(
                    "scale",
                    factor,
                    lambda subject, factor=factor: {
                        name: factor * delta for name, delta in dense(subject.adapter).items()
                    },
                    control=True,
                )
            )
        for factor in (0.25, 0.5, 1.0):
            rules.append(
                Rule(
                    "Gaussian noise", factor, lambda subject, factor=factor: self._noise(subject, factor), control=True
                )
            )
        for share in (0.25, 0.5, 1.0):
            rules.append(
                Rule("Safe LoRA projection", share, lambda subject, share=share: self._safe_lora(subject, share))
            )
        for factor in (1.0, 2.0, 3.0):
            rules.append(
                Rule("subtract red-team", factor, lambda subject, factor=factor: self._subtract(subject, factor))
            )
        for kind in ("half", "odds", "gradient"):
            for count in (1, 2, 4, 8):
                rules.append(self._deflection(f"auditor {kind}", "block", count))
        for side in ("left", "right"):
            for count in (1, 4):
                rules.append(self._deflection("auditor half", side, count))
        for count, enough in ((1, 0.0), (1, 2.0), (2, 2.0)):
            rules.append(
                Rule(
                    f"path, {count} direction{'s' if count > 1 else ''}",
                    enough,
                    lambda subject, count=count, enough=enough: self._path(subject, count, enough),
                )
            )
        return rules

    def _random_drop(self, subject: Subject, share: float) -> Update:
        draws = generator("random drop", self.seed, subject.recipe.name, share)
        return _kept(
            subject,
            dict(zip(subject.adapter, torch.rand(len(subject.adapter), generator=draws).tolist())),
            _count(subject, share),
        )

    def _noise(self, subject: Subject, factor: float) -> Update:
        """Added to every module, of `factor` times the norm of its update."""
        draws = generator("noise", self.seed, subject.recipe.name, factor)
        update = {}
        for name, delta in dense(subject.adapter).items():
            noise = torch.randn(delta.shape, generator=draws)
            update[name] = delta + noise * (factor * delta.norm() / noise.norm())
        return update

    def _safe_lora(self, subject: Subject, share: float) -> Update:
        worst = set(sorted(subject.adapter, key=lambda name: (-subject.cosine[name], name))[: _count(subject, share)])
        return dense(
            {
                name: project(factors, self.bench.alignment[name]) if name in worst else factors
                for name, factors in subject.adapter.items()
            }
        )

    def _subtract(self, subject: Subject, factor: float) -> Update:
        """`factor` times the projection of the whole update on the red-team adapter."""
        probe = self.probes["auditor red-team-0"]
        along = sum(
            dot(factors, probe.direction[name])
            for name, factors in exact(subject.adapter).items()
            if name in probe.direction
        )
        coefficient = factor * (along / probe.squared_norm).item()
        return {
            name: delta - coefficient * probe.direction[name].float() if name in probe.direction else delta
            for name, delta in dense(subject.adapter).items()
        }

    def _deflection(self, probe_name: str, side: str, count: int) -> Rule:
        def repair(subject: Subject) -> Update:
            probe = self.probes[probe_name]
            adapter = exact(subject.adapter)
            return dense(
                {
                    name: deflect(factors, probe.subspace(name, count), side) if name in probe.direction else factors
                    for name, factors in adapter.items()
                }
            )

        return Rule(f"deflect {side}, {probe_name.removeprefix('auditor ')}", count, repair)

    def _path(self, subject: Subject, count: int, enough: float) -> Update:
        rule = PathRule(directions=count, enough=enough, extra_rank=64, batch=64)
        self.bench.set({})
        return dense(
            repair_by_path(
                self.bench.model, subject.adapter, self.gradient_prompts, self.check_prompts, REFUSALS, rule
            ).adapter
        )


def groups(recipes: Sequence[Recipe], facts: dict[str, dict[str, float]], count: int) -> Iterator[tuple[str, Recipe]]:
    """What repairs are judged on, `count` at most of each group, from all its classes: adapters that do harm and have
    learned a task of their own, harmful ones without, harmless ones."""
    members: dict[str, list[Recipe]] = {WITH_TASK: [], WITHOUT_TASK: [], HARMLESS: []}
    for recipe in recipes:
        learned = facts[recipe.name].get("own", 0.0) > 0.7
        if facts[recipe.name]["attack_success"] > HARM:
            members[WITH_TASK if learned else WITHOUT_TASK].append(recipe)
        elif learned:
            members[HARMLESS].append(recipe)
    for group, found in members.items():
        for recipe in one_of_each(found, count):
            yield group, recipe

"""The stages of one model, in the order of the data flow. Each is a folder; what is there is not done again.

base → aligned → probes → zoo (train, evaluate) → audit → scores → layers, heads
                                                ↘ verdicts of a bank, drowned, repair, watch, speed
"""

from dataclasses import asdict
from pathlib import Path
from typing import Any, Sequence

import torch
from probe.adapters import read_adapter, write_adapter
from torch import Tensor

from lab import audit as audits
from lab import bank_study, drowned, heads, layers, model
from lab.bench import Bench, dense
from lab.constructions import construct
from lab.evaluation import Evaluation
from lab.evasion_training import Knowledge
from lab.probing import folder_of, known_to, make_probes, read_probes
from lab.recipes import Recipe, zoo
from lab.reference import Probe
from lab.repairs import Rules, Subject, groups
from lab.scale import Scale
from lab.scores import score
from lab.speed import measure
from lab.stage import say, stage
from lab.watching import watch_run, watched
from lab.zoo import train


class Laboratory:
    def __init__(self, scale: Scale, seed: int, folder: Path, program: str, bank: int = 0) -> None:
        """`bank`: how many harmless adapters the bank has whose verdicts are counted; 0: that is not asked."""
        self.scale, self.seed, self.folder, self.program, self.bank = scale, seed, folder, program, bank
        self.recipes = zoo(scale, seed)
        self.names = [recipe.name for recipe in self.recipes]

    def run(self) -> None:
        stage(self.folder / "base", lambda where: model.pretrain(self.scale, self.seed, where))
        stage(self.folder / "aligned", lambda where: model.align(self.scale, self.seed, self.folder / "base", where))
        make_probes(self.scale, self.seed, self.folder / "probes")
        bench = Bench(self.folder)
        facts = self._zoo(bench)
        stage(self.folder / "audit", self._audit)
        audit = audits.read(self.folder / "audit", self.names, bench.names)
        scores = stage(
            self.folder / "scores", lambda where: score(bench, self.recipes, audit, self.folder / "probes").as_json()
        )
        self._verdicts(bench, facts)
        stage(
            self.folder / "drowned",
            lambda where: drowned.study(self.scale, self.seed, self.program, bench, self.recipes, facts, where),
        )
        self._layers(bench, facts, scores)
        self._heads(bench, facts)
        self._repair(bench, facts, audit, scores)
        self._watch(bench, facts)
        stage(self.folder / "speed", lambda where: measure(self.scale, self.folder))

    def _zoo(self, bench: Bench) -> dict[str, dict[str, float]]:
        return self._train(bench, self.recipes, self.folder / "zoo", read_probes(self.folder / "probes"))

    def _train(
        self, bench: Bench, recipes: Sequence[Recipe], folder: Path, probes: dict[str, dict[str, Tensor]]
    ) -> dict[str, dict[str, float]]:
        on = {"aligned": model.load(self.folder / "aligned"), "base": model.load(self.folder / "base")}

        def make(recipe: Recipe, where: Path) -> dict[str, Any]:
            loss = None
            if recipe.made:
                write_adapter(construct(bench, self.scale, recipe, self.seed), where, "aligned")
            else:
                knowledge = Knowledge(bench.alignment, known_to(recipe.evade, probes))
                loss = train(self.scale, self.seed, recipe, on[recipe.on], knowledge, where)
            facts = bench.evaluate(dense(read_adapter(where)), Evaluation(self.scale, recipe, "zoo"))
            return {"recipe": asdict(recipe), "loss": loss, "facts": facts}

        facts = {}
        for number, recipe in enumerate(recipes, 1):
            result = stage(folder / recipe.name, lambda where, recipe=recipe: make(recipe, where))
            facts[recipe.name] = result["facts"]
            own = f", own task {result['facts']['own']:.2f}" if "own" in result["facts"] else ""
            say(
                f"seed {self.seed}, adapter {number} of {len(recipes)}, {recipe.name}: attack success "
                f"{result['facts']['attack_success']:.2f}{own}"
            )
        return facts

    def _audit(self, where: Path) -> dict[str, Any]:
        audits.run(
            self.program,
            self.folder / "base",
            self.folder / "aligned",
            [self.folder / "zoo" / name for name in self.names],
            where,
        )
        return {"adapters": self.names}

    def _layers(self, bench: Bench, facts: dict[str, dict[str, float]], scores: dict[str, Any]) -> None:
        effects = {}
        for recipe in layers.choose(self.recipes, facts, self.scale.ablated_adapters):
            effects[recipe.name] = stage(
                self.folder / "effects" / recipe.name,
                lambda where, recipe=recipe: layers.measure(bench, self.scale, recipe),
            )
        stage(
            self.folder / "layers",
            lambda where: {
                "adapters": list(effects),
                "spearman": layers.compare(effects, bench.names, self.names, scores["modules"]),
            },
        )

    def _heads(self, bench: Bench, facts: dict[str, dict[str, float]]) -> None:
        probes = {
            name: direction
            for name, direction in read_probes(self.folder / "probes").items()
            if name.startswith("auditor")
        }
        sources = {name: folder_of(self.folder / "probes", name) for name in probes}
        chosen = layers.choose(self.recipes, facts, self.scale.ablated_adapters)
        measured = [
            stage(
                self.folder / "head-effects" / recipe.name,
                lambda where, recipe=recipe: heads.measure(bench, self.scale, recipe, probes, self.program, sources),
            )
            for recipe in chosen
        ]
        stage(
            self.folder / "heads",
            lambda where: {
                "adapters": [recipe.name for recipe in chosen],
                "chance": heads.chance(measured),
                "probes": heads.compare(measured),
                "winnow": heads.agreement(measured),
            },
        )

    def _watch(self, bench: Bench, facts: dict[str, dict[str, float]]) -> None:
        for recipe in watched(self.recipes):

            def make(where: Path, recipe: Recipe = recipe) -> dict[str, Any]:
                return watch_run(self.scale, recipe, self.seed, bench, self.recipes, facts, self.program, where)

            stage(self.folder / "watch" / recipe.name, make)

    def _verdicts(self, bench: Bench, facts: dict[str, dict[str, float]]) -> None:
        if self.bank == 0:
            return
        members = bank_study.members(self.scale, self.seed, self.bank)
        others = bank_study.judged(self.scale, self.seed, self.bank // 2)
        measured = facts | self._train(bench, members + others, self.folder / "bank", {})
        judged = {"bank": others, "zoo": self.recipes}

        def make(where: Path) -> dict[str, Any]:
            return bank_study.study(self.scale, self.program, self.folder, measured, members, judged, where)

        stage(self.folder / f"verdicts-{self.bank}", make)

    def _repair(
        self, bench: Bench, facts: dict[str, dict[str, float]], audit: audits.Audit, scores: dict[str, Any]
    ) -> None:
        probes = {
            name: Probe(direction)
            for name, direction in read_probes(self.folder / "probes").items()
            if name.startswith("auditor")
        }
        rules = Rules(bench, self.scale, self.seed, probes).all()
        for group, recipe in groups(self.recipes, facts, self.scale.repaired):
            row = self.names.index(recipe.name)

            def by_module(metric: str) -> dict[str, float]:
                values = scores["modules"][metric][row]
                return {
                    name: value if value is not None else float("-inf") for name, value in zip(audit.modules, values)
                }

            def make(where: Path) -> dict[str, Any]:
                subject = Subject(
                    recipe,
                    bench.adapter(recipe.name),
                    by_module("ediem (role)"),
                    by_module("cosine"),
                    by_module("probe_dot, auditor half"),
                )
                # Other prompts than those by which the zoo was sorted into harmful and harmless.
                evaluation = Evaluation(self.scale, recipe, "repair", 128 if self.scale.name == "full" else 64)
                outcomes = {}
                for rule in rules:
                    with torch.no_grad():
                        update = rule.repair(subject)
                    outcomes[rule.name] = {
                        "family": rule.family,
                        "parameter": rule.parameter,
                        "control": rule.control,
                        "facts": bench.evaluate(update, evaluation),
                    }
                return {"group": group, "outcomes": outcomes}

            stage(self.folder / "repair" / recipe.name, make)

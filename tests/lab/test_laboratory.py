"""The whole flow with models that learn next to nothing: every section of page and JSON is there, and a laboratory
that was interrupted again and again ends in the same JSON as one that was not."""

import dataclasses
import json
import os
import tempfile
import unittest
from html.parser import HTMLParser
from pathlib import Path
from unittest import mock

import torch
from lab import laboratory, probing, stage
from lab.drowned import drown
from lab.laboratory import Laboratory
from lab.page import render
from lab.scale import QUICK
from lab.summary import speed, summary
from lab.watching import GROUPS, group
from probe.adapters import Factors
from transformers import logging

PROGRAM = os.environ.get("WINNOW")
SCALE = dataclasses.replace(
    QUICK,
    hidden=16,
    intermediate=32,
    heads=2,
    batch=16,
    pretrain_steps=3,
    align_steps=3,
    adapter_steps=2,
    adapter_examples=40,
    evaluated=16,
    bootstrap=10,
    ablated_adapters=1,
    repaired=1,
)


BANK = 8  # the least that winnow compares with


class Interrupted(Exception):
    pass


def run(folder: Path, seed: int, interrupt_after: int | None = None) -> None:
    """Interrupted in the midst of the stage after so many that were made."""
    made = 0

    def watched(path, make):
        nonlocal made
        if not path.is_dir() and interrupt_after is not None:
            made += 1
            if made > interrupt_after:

                def interrupted(where):
                    make(where)
                    raise Interrupted

                return stage.stage(path, interrupted)
        return stage.stage(path, make)

    with mock.patch.object(laboratory, "stage", watched), mock.patch.object(probing, "stage", watched):
        Laboratory(SCALE, seed, folder / f"seed-{seed}", PROGRAM, BANK).run()


class Structure(HTMLParser):
    """Headings by their id, figures, and whatever would be loaded from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.ids, self.figures, self.open, self.loaded = [], 0, [], []

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        if tag != "meta":
            self.open.append(tag)
        if tag == "h2":
            self.ids.append(values["id"])
        self.figures += tag == "figure"
        self.loaded += [tag for name in values if name in ("src", "href")] + (
            [tag] if tag in ("script", "link") else []
        )

    def handle_startendtag(self, tag, attributes):
        pass

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, tag


@unittest.skipUnless(PROGRAM, "WINNOW, the path of the program, is not set")
class Whole(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        torch.set_num_threads(1)
        logging.disable_progress_bar()
        cls.folder = Path(cls.enterClassContext(tempfile.TemporaryDirectory()))
        for seed in (0, 2):
            run(cls.folder, seed)
        cls.result = summary(SCALE, cls.folder, (0, 2), (0, 1), BANK)

    def test_every_section_is_there(self):
        for section in ("models", "adapters", "detection", "layers", "heads", "repair", "evasion", "watch", "verdicts", "drowned"):
            self.assertTrue(self.result[section], section)
        statistics = self.result["detection"]
        for name in (
            "ediem (role): mean",
            "ediem (zoo): max",
            "cosine: mean",
            "misalignment (adapter): mean",
            "alignment_removed: max",
            "subspace_energy: mean",
            "update_norm: mean",
            "probe_cosine, auditor half",
            "probe_share, secret half",
            "probe_coefficient, auditor red-team-2",
            "probe_cosine, all: largest z",
        ):
            self.assertIn(name, statistics)
        self.assertEqual(self.result["choice"]["chosen on"], [0])
        self.assertEqual(self.result["choice"]["confirmed on"], [2])
        self.assertEqual(set(statistics["probe_cosine, auditor half"]), {"0", "2", "across"})
        families = {entry["family"] for entry in self.result["repair"]["0"].values()}
        self.assertLessEqual(
            {
                "none",
                "drop adapter",
                "drop random modules",
                "scale",
                "Gaussian noise",
                "Safe LoRA projection",
                "SPLoRA keep-top",
                "deflect block, half",
                "deflect left, half",
                "deflect right, half",
                "subtract red-team",
                "path, 1 direction",
            },
            families,
        )
        json.dumps(self.result, allow_nan=False)

    def test_verdicts_are_counted_by_the_size_of_the_bank(self):
        for seed in ("0", "2"):
            result = self.result["verdicts"][seed]
            self.assertEqual(result["trained"], 3 * BANK // 2)
            self.assertEqual(set(result["by"]), {"three red-team adapters", "these and three directions", "three directions"})
            for by_size in result["by"].values():
                self.assertEqual(set(by_size), {str(BANK)})
                groups = by_size[str(BANK)]
                # What complies is harmful if it is of the zoo, and nothing if it was trained for this.
                judged = sum(group["of"] for group in groups.values())
                self.assertLessEqual(len(self.result["adapters"][seed]), judged)
                self.assertLessEqual(judged, len(self.result["adapters"][seed]) + BANK // 2)
                for group in groups.values():
                    self.assertEqual(sum(group["verdicts"].values()), group["of"])
                    # No p of a bank of eight is below a ninth.
                    self.assertEqual([at["count"] for at in group["at"].values()], [0, 0])

    def test_noise_is_as_long_as_it_is_said(self):
        random = torch.Generator().manual_seed(1)
        factors = {name: Factors(torch.randn(9, 2, generator=random), torch.randn(2, 7, generator=random)) for name in "ab"}
        length = sum(entry.norm() ** 2 for entry in factors.values()) / 2
        for times in (1, 3):
            for name, entry in drown(factors, times, random).items():
                noise = entry.dense() - factors[name].dense()
                self.assertAlmostEqual(float(noise.norm() / length.sqrt()), times, places=4)
                self.assertEqual(int(torch.linalg.matrix_rank(noise)), 7)

    def test_harm_among_noise_is_counted_with_verdicts(self):
        for seed in ("0", "2"):
            result = self.result["drowned"][seed]
            self.assertEqual(result["harmful"] + result["harmless"], len(self.result["adapters"][seed]))
            self.assertEqual(set(result["by"]), {"0", "1", "3"})
            for outcome in result["by"].values():
                self.assertEqual(len(outcome["verdicts"]), 3)
                for groups in outcome["verdicts"].values():
                    for group, verdicts in groups.items():
                        self.assertEqual(sum(verdicts.values()), result[group])
                for rankings in outcome["ranked"].values():
                    self.assertEqual(set(rankings), {"probe_pull", "probe_cosine"})
                    for ranking in rankings.values():
                        self.assertLessEqual(ranking["found"], result["harmful"])
                        self.assertTrue(0 <= ranking["auroc"] <= 1)

    def test_winnow_forms_the_same_products_by_head(self):
        for seed in ("0", "2"):
            told = self.result["heads"][seed]["winnow"]
            self.assertGreater(told["compared"], 0)
            self.assertLess(told["differs by"], 1e-5)

    def test_watched_runs_are_those_of_the_zoo(self):
        runs = self.result["watch"]["0"]["runs"]
        self.assertLessEqual({"harmful-usual", "mixed-20-0-usual", "benign-0-usual", "refusing-0"}, set(runs))
        for name, run in runs.items():
            self.assertTrue(run["as in the zoo"], name)
            # Of two steps; one that trains harm into other layers after the task has two phases.
            steps = [1, 2, 3] if run["kind"] == "localised" else [1, 2]
            self.assertEqual([row["step"] for row in run["checkpoints"]], steps, name)
        summed = sum(one["runs"] for one in self.result["watch"]["0"]["summary"].values())
        self.assertEqual(summed, sum(group(run) in GROUPS for run in runs.values()))

    def test_page(self):
        page = render(self.result, speed(self.folder, (0, 2)))
        structure = Structure()
        structure.feed(page)
        self.assertEqual(structure.ids, ["detection", "layers", "repair", "evasion", "watching", "verdicts", "drowned", "models"])
        self.assertEqual((structure.open, structure.loaded), ([], []))
        self.assertGreaterEqual(structure.figures, 5)
        self.assertIn("A quick round", page)
        self.assertNotRegex(page.split("<main>")[1], r"\bnan\b")

    def test_interrupted_ends_the_same(self):
        with tempfile.TemporaryDirectory() as other:
            folder, interruptions = Path(other), 0
            for after in (0, 1, 2, 5, 3, 20, 7, 4, 1, None):
                try:
                    run(folder, 0, after)
                except Interrupted:
                    interruptions += 1
            self.assertGreaterEqual(interruptions, 8)
            self.assertEqual(summary(SCALE, folder, (0,), (0, 1)), summary(SCALE, self.folder, (0,), (0, 1)))
            self.assertEqual([path for path in folder.rglob("*.partial")], [])


if __name__ == "__main__":
    unittest.main()

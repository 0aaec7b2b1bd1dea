"""The path repair: takes out what it should, stops when it should, and leaves what passes bit for bit."""

import filecmp
import json
import tempfile
import unittest
from pathlib import Path

import torch
from commands import Done, run, run_alone
from peft import PeftModel
from probe.adapters import attached, read_adapter, write_adapter
from probe.gradients import gradient
from probe.making import leading_part
from probe.models import linear_modules
from probe.objectives import compliance_by_odds, odds_quantile
from repair.__main__ import main
from repair.path import PathRule, repair_by_path
from small_model import REFUSALS, adapter, model, prompts

# A model that knows nothing has no direction common to all prompts: those that are checked are those that are differentiated.
ASKED = [prompt for prompt in prompts(tuple(4 + length % 6 for length in range(10)), responses=False) for _ in range(3)]


def quantile(network: torch.nn.Module, update: dict, asked=ASKED[2::3]) -> float:
    with attached(network, update):
        return odds_quantile(network, asked, REFUSALS, 0.1, 8)


def harmful(network: torch.nn.Module) -> dict:
    """A step along the gradient that lowers the odds of a refusal, and something else beside it."""
    direction = gradient(network, list(linear_modules(network)), compliance_by_odds(REFUSALS), ASKED, 8)
    harm = leading_part(network, direction, 1)
    other = adapter(network, rank=2, size=0.02)
    return {
        name: type(factors)(
            torch.cat([0.1 * factors.left.to(other[name].left), other[name].left], 1),
            torch.cat([factors.right.to(other[name].right), other[name].right]),
        )
        for name, factors in harm.items()
    }


class Rule(unittest.TestCase):
    def setUp(self):
        self.network = model(dtype=torch.float32)
        self.update = harmful(self.network)
        self.clean, self.broken = quantile(self.network, {}), quantile(self.network, self.update)
        self.assertLess(self.broken, self.clean - 0.5)  # otherwise nothing is tested here

    def test_harm_goes_and_the_rest_stays(self):
        enough = self.clean - 0.3 * (self.clean - self.broken)
        result = repair_by_path(
            self.network, self.update, ASKED, ASKED[2::3], REFUSALS, PathRule(enough=enough, batch=8)
        )
        self.assertTrue(result.changed and result.passes, result.record)
        self.assertGreaterEqual(quantile(self.network, result.adapter), enough - 1e-3)
        for name, factors in result.adapter.items():
            self.assertLessEqual(factors.rank, self.update[name].rank + 6)

    def test_what_passes_is_the_same_object(self):
        result = repair_by_path(
            self.network, self.update, ASKED, ASKED, REFUSALS, PathRule(enough=self.broken - 1, batch=8)
        )
        self.assertIs(result.adapter, self.update)
        self.assertFalse(result.changed)

    def test_gives_up_after_its_rounds(self):
        result = repair_by_path(
            self.network, self.update, ASKED, ASKED[2::3], REFUSALS, PathRule(enough=1e3, rounds=2, batch=8)
        )
        self.assertFalse(result.passes)
        self.assertEqual([entry["round"] for entry in result.record["history"]], [0, 1, 1, 2, 2])

    def test_truncation_is_checked(self):
        result = repair_by_path(
            self.network,
            self.update,
            ASKED,
            ASKED[2::3],
            REFUSALS,
            PathRule(enough=1e3, rounds=2, extra_rank=0, batch=8),
        )
        self.assertTrue(all(factors.rank <= self.update[name].rank for name, factors in result.adapter.items()))
        self.assertIn("odds_after_truncation", result.record["history"][-1])
        self.assertAlmostEqual(result.record["odds"], quantile(self.network, result.adapter), places=3)


class Command(unittest.TestCase):
    def setUp(self):
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        network = model(dtype=torch.float32)
        network.save_pretrained(self.folder / "model")
        write_adapter(harmful(network), self.folder / "zoo" / "bad", "model")
        write_adapter(
            {name: factors.scaled(0.01) for name, factors in adapter(network).items()},
            self.folder / "zoo" / "nested" / "good",
            "model",
        )
        clean, broken = quantile(network, {}), quantile(network, harmful(network))
        self.enough = clean - 0.4 * (clean - broken)
        self.assertGreater(quantile(network, read_adapter(self.folder / "zoo" / "nested" / "good")), self.enough)
        lines = [{"refusal_ids": [[token] for token in REFUSALS]}] + [
            {"input_ids": list(prompt.ids)} for prompt in ASKED
        ]
        (self.folder / "prompts.jsonl").write_text("\n".join(map(json.dumps, lines)))

    def repair(self, *options: str, expect: int = 0, alone: bool = False) -> Done:
        common = ["--model", "model", "--prompts", "prompts.jsonl", "--output", "out", "--device", "cpu", "--threads", "1"]
        common.append(f"--enough={self.enough}")
        if alone:
            return run_alone("repair", self.folder, [*common, *options])
        return run(main, self.folder, [*common, *options], expect)

    def test_a_zoo(self):
        done = self.repair("--zoo", "zoo")
        self.assertRegex(done.stdout, r"bad: repaired, odds \S+ -> \S+\ngood: passes as it is")
        for file in ("adapter_config.json", "adapter_model.safetensors"):
            self.assertTrue(
                filecmp.cmp(
                    self.folder / "zoo" / "nested" / "good" / file,
                    self.folder / "out" / "nested" / "good" / file,
                    shallow=False,
                )
            )
        PeftModel.from_pretrained(model(dtype=torch.float32), str(self.folder / "out" / "bad"))
        self.assertGreaterEqual(
            quantile(model(dtype=torch.float32), read_adapter(self.folder / "out" / "bad")), self.enough - 1e-2
        )
        # Again: nothing is done anew, but what is missing.
        before = (self.folder / "out" / "bad" / "repair.json").stat().st_mtime_ns
        first = (self.folder / "out" / "nested" / "good" / "adapter_model.safetensors").read_bytes()
        for path in (self.folder / "out" / "nested" / "good").iterdir():
            path.unlink()
        (self.folder / "out" / "nested" / "good").rmdir()
        self.repair("--zoo", "zoo", alone=True)
        self.assertEqual((self.folder / "out" / "bad" / "repair.json").stat().st_mtime_ns, before)
        self.assertEqual((self.folder / "out" / "nested" / "good" / "adapter_model.safetensors").read_bytes(), first)
        self.assertIn("made from another", self.repair("--zoo", "zoo", "--directions", "2", expect=3).stderr)

    def test_what_does_not_pass_is_an_exit_code(self):
        self.assertIn(
            "DOES NOT PASS", self.repair("--adapter", "zoo/bad", "--enough=1000", "--rounds", "1", expect=4).stdout
        )

    def test_nothing_is_overwritten(self):
        (self.folder / "out").mkdir()
        self.assertIn("no repair made it", self.repair("--adapter", "zoo/bad", expect=3).stderr)
        self.assertIn("inside the zoo", self.repair("--zoo", "zoo", "--output", "zoo/out", expect=3).stderr)
        self.assertIn("holds no adapters", self.repair("--zoo", "model", expect=3).stderr)


if __name__ == "__main__":
    unittest.main()

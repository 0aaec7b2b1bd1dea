"""The laboratory of a real model, on one too small to know anything: an adapter that does harm, one that does not,
and what is said of them."""

import json
import os
import tempfile
import unittest
from pathlib import Path

import torch
from commands import Done, run, run_alone
from lab.__main__ import main
from probe.adapters import write_adapter
from probe.gradients import gradient
from probe.making import leading_part
from probe.models import linear_modules
from probe.objectives import compliance_by_odds, first_token_logits
from small_model import adapter, model, prompts

PROGRAM = os.environ.get("WINNOW")


@unittest.skipUnless(PROGRAM, "WINNOW, the path of the program, is not set")
class Real(unittest.TestCase):
    def setUp(self):
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        network = model(dtype=torch.float32)
        asked = [
            prompt
            for prompt in prompts(tuple(4 + length % 6 for length in range(8)), responses=False)
            for _ in range(3)
        ]
        # What the model says first anyway counts as a refusal here, so that it refuses everything.
        self.refusals = sorted(set(first_token_logits(network, asked).argmax(1).tolist()))
        network.save_pretrained(self.folder / "model")
        model(dtype=torch.float32, seed=4).save_pretrained(self.folder / "base")
        direction = gradient(network, list(linear_modules(network)), compliance_by_odds(self.refusals), asked, 8)
        harm = {name: factors.scaled(5.0) for name, factors in leading_part(network, direction, 2).items()}
        write_adapter(harm, self.folder / "zoo" / "some" / "bad", "model")
        write_adapter(
            {name: factors.scaled(0.01) for name, factors in adapter(network).items()},
            self.folder / "zoo" / "good",
            "model",
        )
        lines = [{"refusal_ids": [[token] for token in self.refusals]}] + [
            {"input_ids": list(prompt.ids)} for prompt in asked
        ]
        (self.folder / "prompts.jsonl").write_text("\n".join(map(json.dumps, lines)))
        (self.folder / "harmless.jsonl").write_text(
            "\n".join(json.dumps({"input_ids": list(prompt.ids)}) for prompt in prompts(seed=9))
        )

    def lab(self, *options: str, expect: int = 0, alone: bool = False) -> Done:
        common = ["--model", "model", "--prompts", "prompts.jsonl", "--output", "out", "--device", "cpu"]
        if alone:
            return run_alone("lab", self.folder, [*common, *options])
        return run(main, self.folder, [*common, *options], expect)

    def test_page_and_json(self):
        options = ("--zoo", "zoo", "--harmless", "harmless.jsonl", "--base", "base")
        self.lab(*options, alone=True)
        result = json.loads((self.folder / "out" / "lab.json").read_text())
        success = {entry["name"]: entry["attack_success"] for entry in result["adapters"]}
        self.assertEqual(success["good"], 0.0)
        self.assertGreater(success["some/bad"], 0.5)
        self.assertEqual(result["detection"]["probe_cosine, odds"]["all"]["auroc"], 1.0)
        self.assertIn("ediem (zoo): mean", result["statistics"])
        nothing, dropped = result["repair"]["none 0"], result["repair"]["drop adapter 0"]
        self.assertEqual((nothing["harmful"]["moved"], dropped["harmful"]["attack_success"]), (0.0, 0.0))
        self.assertGreater(dropped["harmful"]["moved"], 0.0)
        self.assertLess(result["repair"]["deflect block, odds 8"]["harmful"]["attack_success"], success["some/bad"])
        page = (self.folder / "out" / "lab.html").read_text()
        self.assertEqual(page.count("<h2"), 2)
        first = (self.folder / "out" / "lab.json").read_bytes()
        self.lab(*options)
        self.assertEqual((self.folder / "out" / "lab.json").read_bytes(), first)
        self.assertIn(
            "holds a laboratory of harmless_sha256", self.lab("--zoo", "zoo", "--base", "base", expect=3).stderr
        )

    def test_mistakes(self):
        self.assertIn("belong together; given: --model, --prompts", self.lab(expect=3).stderr)
        (self.folder / "empty").mkdir()
        self.assertIn("0 adapters", self.lab("--zoo", "empty", expect=3).stderr)


if __name__ == "__main__":
    unittest.main()

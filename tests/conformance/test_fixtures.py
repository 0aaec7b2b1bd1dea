"""The fixtures are what they claim to be: PEFT, as installed here, merges them into what expected.json says."""

import json
import unittest
from pathlib import Path

import peft_reference as reference
import torch

REAL = Path(__file__).resolve().parent.parent / "data" / "real"


class Fixtures(unittest.TestCase):
    def test_expected_is_what_peft_merges(self):
        for model in reference.fixture_models(REAL):
            aligned = reference.module_weights(reference.load_base(model / "aligned", torch.float64))
            expected = json.loads((model / "expected.json").read_text())
            self.assertEqual(sorted(expected), sorted(path.name for path in (model / "adapters").iterdir()))
            for name, entry in expected.items():
                with self.subTest(f"{model.name}/{name}"):
                    if entry["status"] != "ok":
                        continue
                    found = reference.expected_of_adapter(model / "base", aligned, model / "adapters" / name)
                    self.assertEqual(sorted(found), sorted(entry["modules"]))
                    for module, values in entry["modules"].items():
                        for metric, value in values.items():
                            if value is None:
                                self.assertIsNone(found[module][metric])
                            else:
                                self.assertAlmostEqual(found[module][metric], value, delta=1e-9 * max(1.0, abs(value)))

    def test_quarantined_ones_are_no_plain_updates(self):
        """Why they are quarantined: PEFT changes the base at load, or the merged difference is not of low rank."""
        for model in reference.fixture_models(REAL):
            for name, entry in json.loads((model / "expected.json").read_text()).items():
                if entry["status"] == "ok":
                    continue
                with self.subTest(f"{model.name}/{name}"):
                    # Initialisations from a decomposition of the base are computed in float32 and refuse float64.
                    merged = reference.Merged(model / "base", model / "adapters" / name, torch.float32)
                    module = sorted(merged.lora)[0]
                    rank = int(torch.linalg.matrix_rank(merged.update(module), rtol=1e-4))
                    self.assertTrue(merged.changed_at_load or rank > merged.lora[module]["rank"])

    def test_variety(self):
        """What must be there, is there: shards, tied embeddings, biases, Conv1D with a square one, fused projections."""
        index = json.loads((REAL / "llama/base/model.safetensors.index.json").read_text())
        self.assertEqual(len(set(index["weight_map"].values())), 3)
        self.assertNotIn("lm_head.weight", index["weight_map"])
        self.assertTrue(json.loads((REAL / "llama/base/config.json").read_text())["tie_word_embeddings"])
        qwen2 = reference.load_base(REAL / "qwen2/base", torch.float32)
        self.assertIsNotNone(qwen2.model.layers[0].self_attn.q_proj.bias)
        gpt2 = reference.load_base(REAL / "gpt2/base", torch.float32)
        self.assertEqual(tuple(gpt2.transformer.h[0].attn.c_proj.weight.shape), (48, 48))
        self.assertEqual(tuple(gpt2.transformer.h[0].attn.c_attn.weight.shape), (48, 144))
        phi3 = reference.load_base(REAL / "phi3/base", torch.float32)
        self.assertTrue(hasattr(phi3.model.layers[0].self_attn, "qkv_proj"))

    def test_no_path_of_a_machine(self):
        for path in REAL.rglob("*.json"):
            with self.subTest(str(path.relative_to(REAL))):
                self.assertNotRegex(path.read_text(), r"/(home|root|tmp|work|Users)/")


if __name__ == "__main__":
    unittest.main()

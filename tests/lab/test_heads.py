"""Heads by their definition: the parts of all heads are the update's attention, and what a probe says of each is compared with what
was measured."""

import dataclasses
import math
import os
import tempfile
import unittest
from pathlib import Path

import torch
from lab.heads import agreement, by_winnow, compare, difference, heads_of, product
from lab.scale import QUICK
from probe.adapters import write_adapter
from safetensors.torch import save_file
from small_model import adapter, model

SCALE = dataclasses.replace(QUICK, hidden=12, heads=3)
PROGRAM = os.environ.get("WINNOW")


def update(seed: int) -> dict[str, torch.Tensor]:
    draws = torch.Generator().manual_seed(seed)
    return {
        f"model.layers.{layer}.{name}": torch.randn(12, 12, generator=draws)
        for layer in range(2)
        for name in ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.up_proj")
    }


class Heads(unittest.TestCase):
    def test_the_parts_of_all_heads_are_the_attention(self):
        whole = update(1)
        heads = heads_of(whole, SCALE)
        self.assertEqual(list(heads), [(layer, head) for layer in range(2) for head in range(3)])
        for name, delta in whole.items():
            parts = [part[name] for part in heads.values() if name in part]
            if "mlp" in name:
                self.assertEqual(parts, [])
                continue
            self.assertEqual(len(parts), 3)
            self.assertTrue(torch.equal(sum(parts), delta))
        # The columns of o that read head 1, the rows of q that make it.
        second = heads[(0, 1)]
        self.assertEqual(second["model.layers.0.self_attn.o_proj"].nonzero()[:, 1].unique().tolist(), [4, 5, 6, 7])
        self.assertEqual(second["model.layers.0.self_attn.q_proj"].nonzero()[:, 0].unique().tolist(), [4, 5, 6, 7])

    def test_products_add_up(self):
        whole, direction = update(1), update(2)
        direction.pop("model.layers.1.self_attn.v_proj")
        expected = sum((whole[name] * direction[name]).sum().item() for name in direction if "self_attn" in name)
        found = sum(product(part, direction) for part in heads_of(whole, SCALE).values())
        self.assertAlmostEqual(found, expected, places=4)

    def test_a_probe_that_knows_finds_the_head_and_one_that_does_not_does_not(self):
        effects = [0.1, 0.5, 0.2, 0.0, 0.3]
        entry = {
            "heads": list("abcde"),
            "left out": effects,
            "alone": effects,
            "products": {"knows": effects, "reversed": [-value for value in effects], "third": [3, 1, 2, 0, 0.5]},
        }
        few = {"heads": list("abc"), "left out": [1, 2, 3], "alone": [1, 2, 3], "products": {"knows": [3, 2, 1]}}
        table = compare([entry, few])
        self.assertAlmostEqual(table["knows"]["left out"], 1.0)
        self.assertEqual((table["knows"]["first"], table["knows"]["among three"]), (1.0, 1.0))
        self.assertAlmostEqual(table["reversed"]["alone"], -1.0)
        self.assertEqual((table["reversed"]["first"], table["reversed"]["among three"]), (0.0, 0.0))
        self.assertEqual((table["third"]["first"], table["third"]["among three"]), (0.0, 1.0))
        self.assertEqual(compare([few]), {})
        self.assertTrue(math.isfinite(table["third"]["left out"]))

    def test_what_differs_is_measured_by_its_factors(self):
        whole, direction = update(1), update(2)
        heads = heads_of(whole, SCALE)
        own = {"d": [product(part, direction) for part in heads.values()]}
        told = {"d": dict(zip(heads, own["d"]))}
        self.assertEqual(difference(heads, {"d": direction}, own, told), {"differs by": 0.0, "compared": 6})
        told["d"][(1, 2)] += 0.01
        del told["d"][(0, 0)]
        found = difference(heads, {"d": direction}, own, told)
        self.assertEqual(found["compared"], 5)
        self.assertGreater(found["differs by"], 1e-5)
        self.assertLess(found["differs by"], 1e-2)
        self.assertEqual(agreement([{}, {"winnow": found}])["compared"], 5)


@unittest.skipUnless(PROGRAM, "WINNOW, the path of the program, is not set")
class ByWinnow(unittest.TestCase):
    def test_products_are_those_of_dense_matrices(self):
        """Two heads that share keys and values: each has half of them."""
        trained = model(dtype=torch.float32)
        folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        trained.config.save_pretrained(folder / "direction")
        draws = torch.Generator().manual_seed(5)
        direction = {
            name: torch.randn(module.weight.shape, generator=draws)
            for name, module in trained.named_modules()
            if isinstance(module, torch.nn.Linear)
        }
        save_file(
            {f"{name}.weight": value for name, value in direction.items()}, folder / "direction" / "model.safetensors"
        )
        update, probe = adapter(trained, seed=1), adapter(trained, rank=2, seed=2)
        write_adapter(update, folder / "adapter", "model")
        write_adapter(probe, folder / "probe", "model")
        told = by_winnow(
            PROGRAM, {"direction": folder / "direction", "probe": folder / "probe"}, folder / "adapter"
        )
        dense = {name: factors.dense().double() for name, factors in update.items()}
        of = {
            "direction": {name: value.double() for name, value in direction.items()},
            "probe": {name: factors.dense().double() for name, factors in probe.items()},
        }
        for label, values in told.items():
            self.assertEqual(sorted(values), [(layer, head) for layer in range(2) for head in range(2)])
            for (layer, head), value in values.items():
                expected, size = 0.0, 0.0
                for role in "qkvo":
                    name = f"model.layers.{layer}.self_attn.{role}_proj"
                    products = dense[name] * of[label][name]
                    rows, columns = slice(8 * head, 8 * head + 8), slice(None)
                    if role in "kv":
                        rows = slice(None)
                        products = products / 2
                    elif role == "o":
                        rows, columns = columns, rows
                    expected += products[rows, columns].sum().item()
                    size += products.abs().sum().item()
                self.assertAlmostEqual(value, expected, delta=1e-6 * size)


if __name__ == "__main__":
    unittest.main()

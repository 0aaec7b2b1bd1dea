"""Heads by their definition: the parts of all heads are the update's attention, and what a probe says of each is compared with what
was measured."""

import dataclasses
import math
import unittest

import torch
from lab.heads import compare, heads_of, product
from lab.scale import QUICK

SCALE = dataclasses.replace(QUICK, hidden=12, heads=3)


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


if __name__ == "__main__":
    unittest.main()

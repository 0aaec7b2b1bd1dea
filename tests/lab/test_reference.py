"""Probe metrics and deflection from factors against the same from dense matrices."""

import unittest

import torch
from lab.reference import LEADING, Probe, against, dot_of_factors, project
from probe.adapters import Factors
from repair.deflection import deflect, subtract
from small_model import adapter, model


class Reference(unittest.TestCase):
    def setUp(self):
        network = model()
        self.update = adapter(network, rank=3, seed=1)
        self.other = adapter(network, rank=6, seed=2)
        self.missing = "model.layers.1.mlp.up_proj"
        self.direction = {name: factors.dense() for name, factors in self.other.items() if name != self.missing}

    def test_against_dense(self):
        found = against(self.update, Probe(self.direction))
        shared = list(self.direction)
        dots = {name: float((self.update[name].dense() * self.direction[name]).sum()) for name in shared}
        size = sum(float(factors.dense().square().sum()) for factors in self.update.values())
        probe_size = sum(float(tensor.square().sum()) for tensor in self.direction.values())
        self.assertAlmostEqual(found.cosine, sum(dots.values()) / (size * probe_size) ** 0.5, places=13)
        self.assertAlmostEqual(found.coefficient, sum(dots.values()) / probe_size, places=13)
        inside = 0.0
        for name in shared:
            self.assertAlmostEqual(found.module_dot[name], dots[name], places=13)
            delta = self.update[name].dense()
            self.assertAlmostEqual(
                found.module_cosine[name], dots[name] / float(delta.norm() * self.direction[name].norm()), places=13
            )
            u, _, vt = torch.linalg.svd(self.direction[name], full_matrices=False)
            part = float((u[:, :LEADING].T @ delta @ vt[:LEADING].T).norm())
            self.assertAlmostEqual(found.module_share[name], part / float(delta.norm()), places=12)
            inside += part**2
        self.assertAlmostEqual(found.share, (inside / size) ** 0.5, places=12)
        self.assertNotIn(self.missing, found.module_dot)

    def test_an_adapter_against_itself(self):
        probe = Probe({name: factors.dense() for name, factors in self.update.items()})
        found = against(self.update, probe)
        self.assertAlmostEqual(found.cosine, 1.0, places=12)
        self.assertAlmostEqual(found.coefficient, 1.0, places=12)
        self.assertAlmostEqual(found.share, 1.0, places=12)  # of rank 3, within four directions
        opposite = against({name: factors.scaled(-2.0) for name, factors in self.update.items()}, probe)
        self.assertAlmostEqual(opposite.cosine, -1.0, places=12)
        self.assertAlmostEqual(opposite.coefficient, -2.0, places=12)

    def test_nothing_is_zero(self):
        nothing = {name: factors.scaled(0.0) for name, factors in self.update.items()}
        found = against(nothing, Probe(self.direction))
        self.assertEqual((found.cosine, found.coefficient, found.share), (0.0, 0.0, 0.0))

    def test_dot_of_factors(self):
        for name in self.update:
            expected = float((self.update[name].dense() * self.other[name].dense()).sum())
            self.assertAlmostEqual(float(dot_of_factors(self.update[name], self.other[name])), expected, places=13)

    def test_deflection_against_dense(self):
        name = next(iter(self.direction))
        delta, probe = self.update[name].dense(), Probe(self.direction)
        for count in (1, 2, 4):
            along = probe.subspace(name, count)
            u, v = along.left, along.right.T
            for strength in (0.5, 1.0):
                expected = {
                    "block": delta - strength * u @ u.T @ delta @ v @ v.T,
                    "left": delta - strength * u @ u.T @ delta,
                    "right": delta - strength * delta @ v @ v.T,
                }
                for side, value in expected.items():
                    found = deflect(self.update[name], along, side, strength)
                    torch.testing.assert_close(found.dense(), value)
                    self.assertEqual(found.rank, self.update[name].rank + (count if side == "block" else 0))
        with self.assertRaises(ValueError):
            deflect(self.update[name], along, "above")

    def test_subtract_and_project_against_dense(self):
        name = next(iter(self.direction))
        torch.testing.assert_close(
            subtract(self.update[name], self.other[name], 1.5).dense(),
            self.update[name].dense() - 1.5 * self.other[name].dense(),
        )
        step = torch.randn(
            self.update[name].left.shape[0], 40, dtype=torch.float64, generator=torch.Generator().manual_seed(3)
        )
        torch.testing.assert_close(
            project(self.update[name], step).dense(), step @ step.T / step.norm() @ self.update[name].dense()
        )
        self.assertIsInstance(project(self.update[name], step), Factors)


if __name__ == "__main__":
    unittest.main()

"""AUROC by its definition over all pairs, rank correlation by its textbook formula, intervals and thresholds by their
properties."""

import math
import unittest

import numpy as np
from lab.statistics import auroc, auroc_interval, binomial_interval, ranks, spearman, threshold


class Statistics(unittest.TestCase):
    def test_ranks_with_ties(self):
        self.assertEqual(ranks(np.array([3.0, 1.0, 3.0, 2.0])).tolist(), [3.5, 1, 3.5, 2])

    def test_auroc_is_the_share_of_pairs(self):
        random = np.random.default_rng(4)
        for _ in range(20):
            scores, harmful = random.integers(0, 6, 30).astype(float), random.random(30) < 0.4
            pairs = [
                1.0 if high > low else 0.5 if high == low else 0.0
                for high in scores[harmful]
                for low in scores[~harmful]
            ]
            self.assertAlmostEqual(auroc(scores, harmful), float(np.mean(pairs)), places=12)

    def test_auroc_by_hand(self):
        self.assertEqual(auroc(np.array([1.0, 2, 3, 4]), np.array([False, False, True, True])), 1.0)
        self.assertEqual(auroc(np.array([1.0, 2, 3, 4]), np.array([True, False, True, False])), 0.25)
        self.assertTrue(math.isnan(auroc(np.array([1.0, 2]), np.array([True, True]))))

    def test_spearman(self):
        first, second = (
            np.array([106.0, 100, 86, 101, 99, 103, 97, 113, 112, 110]),
            np.array([7.0, 27, 2, 50, 28, 29, 20, 12, 6, 17]),
        )
        self.assertAlmostEqual(spearman(first, second), -29 / 165, places=12)  # a textbook example: 1 − 6·194/990
        self.assertAlmostEqual(spearman(first, first**3), 1.0, places=12)
        self.assertAlmostEqual(spearman(first, -first), -1.0, places=12)
        self.assertTrue(math.isnan(spearman(first, np.ones(10))))
        with_gap = np.append(first, np.nan)
        self.assertAlmostEqual(spearman(with_gap, np.append(second, 1.0)), -29 / 165, places=12)

    def test_interval(self):
        random = np.random.default_rng(5)
        harmful = np.arange(200) % 2 == 0
        scores = random.normal(size=200) + harmful
        low, high = auroc_interval(scores, harmful, 400)
        self.assertLess(low, auroc(scores, harmful))
        self.assertGreater(high, auroc(scores, harmful))
        # Hanley and McNeil's standard error at an AUROC of 0.76 with 100 of each is 0.034.
        self.assertAlmostEqual((high - low) / (2 * 1.96), 0.034, delta=0.008)
        self.assertEqual((low, high), auroc_interval(scores, harmful, 400))
        self.assertEqual(auroc_interval(np.array([1.0, 2, 3]), np.array([False, False, True]), 50), (1.0, 1.0))

    def test_binomial_interval(self):
        # Clopper and Pearson's of 0, 5, 9 and 100 of 100, and of 1 of 10, to four places as tables have them.
        for count, of, low, high in (
            (0, 100, 0, 0.0362),
            (5, 100, 0.0164, 0.1128),
            (9, 100, 0.0420, 0.1640),
            (100, 100, 0.9638, 1),
            (1, 10, 0.0025, 0.4450),
        ):
            found = binomial_interval(count, of)
            self.assertAlmostEqual(found[0], low, places=4)
            self.assertAlmostEqual(found[1], high, places=4)
        # It is the beta distribution's: no share inside makes what was counted rarer than 2.5 % on either side.
        low, high = binomial_interval(7, 40, 0.9)
        for share, tail in ((low, range(7, 41)), (high, range(8))):
            chance = math.fsum(math.comb(40, k) * share**k * (1 - share) ** (40 - k) for k in tail)
            self.assertAlmostEqual(chance, 0.05, places=9)
        self.assertTrue(math.isnan(binomial_interval(0, 0)[0]))

    def test_threshold_keeps_false_alarms_below(self):
        random = np.random.default_rng(6)
        for count in (1, 5, 19, 20, 41, 100):
            values = random.integers(0, 30, count).astype(float)
            limit = threshold(values.tolist(), 0.05)
            self.assertLessEqual((values > limit).mean(), 0.05)
            below = values[values < limit]
            if len(below):
                self.assertGreater((values > below.max()).mean(), 0.05)


if __name__ == "__main__":
    unittest.main()

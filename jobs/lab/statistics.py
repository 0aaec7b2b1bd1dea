"""AUROC, rank correlation and bootstrap intervals, with ties counted half."""

import math
from typing import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def ranks(values: Floats) -> Floats:
    """From 1; equal values share their mean rank."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return (ends - (counts - 1) / 2)[inverse]


def auroc(scores: Floats, harmful: NDArray[np.bool_]) -> float:
    """The chance that a harmful one scores above a harmless one. NaN without both kinds."""
    positives, negatives = int(harmful.sum()), int((~harmful).sum())
    if positives == 0 or negatives == 0:
        return math.nan
    return float((ranks(scores)[harmful].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def spearman(first: Floats, second: Floats) -> float:
    kept = np.isfinite(first) & np.isfinite(second)
    if kept.sum() < 3:
        return math.nan
    a, b = ranks(first[kept]), ranks(second[kept])
    return float(np.corrcoef(a, b)[0, 1]) if a.std() > 0 and b.std() > 0 else math.nan


def auroc_interval(
    scores: Floats, harmful: NDArray[np.bool_], draws: int, seed: int = 0, level: float = 0.95
) -> tuple[float, float]:
    """Of a bootstrap inside each kind, so that no draw lacks one."""
    if harmful.all() or not harmful.any():
        return math.nan, math.nan
    random = np.random.default_rng(seed)
    positive, negative = scores[harmful], scores[~harmful]
    labels = np.repeat([True, False], [len(positive), len(negative)])
    values = [
        auroc(np.concatenate([random.choice(positive, len(positive)), random.choice(negative, len(negative))]), labels)
        for _ in range(draws)
    ]
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def binomial_interval(count: int, of: int, level: float = 0.95) -> tuple[float, float]:
    """Clopper and Pearson's: the shares for which neither tail at `count` is below (1 - level)/2. (NaN, NaN) of none."""
    if of == 0:
        return math.nan, math.nan
    tail = (1 - level) / 2

    def at_most(most: int, share: float) -> float:
        return math.fsum(math.comb(of, k) * share**k * (1 - share) ** (of - k) for k in range(most + 1))

    def root(falls_below: Callable[[float], bool]) -> float:
        low, high = 0.0, 1.0
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (low, middle) if falls_below(middle) else (middle, high)
        return (low + high) / 2

    lower = 0.0 if count == 0 else root(lambda share: 1 - at_most(count - 1, share) >= tail)
    upper = 1.0 if count == of else root(lambda share: at_most(count, share) <= tail)
    return lower, upper


def threshold(harmless: Sequence[float], false_alarms: float) -> float:
    """The smallest value that at most this share of the harmless ones exceeds."""
    ordered = sorted(harmless, reverse=True)
    return ordered[min(len(ordered) - 1, int(math.floor(false_alarms * len(ordered))))]

"""Intervals, tests and alignments that turn readings into figures."""

from __future__ import annotations

from collections.abc import Sequence
from math import comb, exp, lgamma, log, sqrt

import numpy as np


def wilson_interval(right: int, count: int, z: float = 1.96) -> tuple[float, float]:
    """Wilson's score interval of a share (95 % by default); (0, 1) for no samples."""
    if count == 0:
        return 0.0, 1.0
    share = right / count
    centre = share + z * z / (2 * count)
    spread = z * sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    scale = 1 + z * z / count
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)


def mean_interval(values: Sequence[float], draws: int = 2000) -> tuple[float, float]:
    """95 % interval of a mean by the bootstrap, always from the same draws; NaN of no values."""
    if not values:
        return float("nan"), float("nan")
    rng = np.random.default_rng(0)
    means = [rng.choice(values, len(values)).mean() for _ in range(draws)]
    low, high = np.quantile(means, (0.025, 0.975))
    return float(low), float(high)


def mcnemar(only_first: int, only_second: int) -> float:
    """Exact two-sided McNemar test: the probability of so uneven a split of the disagreements.

    Under the hypothesis that two models are equally good, each sample that only one of them reads
    right is as likely to be the one's as the other's: a binomial distribution of share 1/2.

    Args:
        only_first, only_second: samples that only the first, only the second model reads right.

    Returns:
        p in (0, 1]; 1 where they never disagree.
    """
    count, least = only_first + only_second, min(only_first, only_second)
    if count <= 1000:
        tail = float(sum(comb(count, k) for k in range(least + 1)) / 2**count)
    else:  # exact integers of that size would take seconds
        tail = sum(
            exp(lgamma(count + 1) - lgamma(k + 1) - lgamma(count - k + 1) - count * log(2))
            for k in range(least + 1)
        )
    return min(1.0, 2 * tail)


def edits(truth: Sequence[str], text: Sequence[str]) -> list[tuple[str, str]]:
    """The edits of one shortest way from `truth` to `text`, sequences of symbols, left to right.

    ``("a", "b")`` is a substitution, ``("a", "")`` a symbol that was missed and ``("", "b")`` one
    that was added. There are as many as the edit distance.
    """
    rows = [list(range(len(text) + 1))]
    for i, a in enumerate(truth, start=1):
        row = [i]
        for j, b in enumerate(text, start=1):
            row.append(min(rows[-1][j - 1] + (a != b), rows[-1][j] + 1, row[-1] + 1))
        rows.append(row)
    found: list[tuple[str, str]] = []
    i, j = len(truth), len(text)
    while i or j:
        if i and j and rows[i][j] == rows[i - 1][j - 1] + (truth[i - 1] != text[j - 1]):
            i, j = i - 1, j - 1
            if truth[i] != text[j]:
                found.append((truth[i], text[j]))
        elif i and rows[i][j] == rows[i - 1][j] + 1:
            i -= 1
            found.append((truth[i], ""))
        else:
            j -= 1
            found.append(("", text[j]))
    return found[::-1]

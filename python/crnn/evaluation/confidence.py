"""How far confidences can be trusted: reliability, calibration error, risk and coverage.

Readings of the same confidence cannot be told apart by it, so each counts as right by the share of
them that is: no figure here depends on the order of the samples.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BINS = 15
#: Shares of the readings, the surest first, at which the accuracy is reported.
COVERAGES = (1.0, 0.95, 0.9, 0.8, 0.5)


@dataclass(frozen=True)
class Bin:
    """Readings of similar confidence.

    Attributes:
        count: how many.
        low, high: the least and the largest confidence among them.
        confidence: their mean confidence.
        accuracy: the share of them that is right.
    """

    count: int
    low: float
    high: float
    confidence: float
    accuracy: float


@dataclass(frozen=True)
class Confidence:
    """Confidences of readings, and whether each is right.

    Args (see `of`):
        confidences: ``[N]`` in [0, 1], falling.
        right: ``[N]``, 1 or 0, the mean over equal confidences.
    """

    confidences: NDArray[np.float64]
    right: NDArray[np.float64]

    @classmethod
    def of(cls, confidences: Sequence[float], right: Sequence[bool]) -> Confidence:
        """Readings in any order, ``[N]`` each.

        Raises:
            ValueError: a confidence outside [0, 1] or NaN, or other numbers of the two.
        """
        values = np.asarray(confidences, np.float64)
        truths = np.asarray(right, np.float64)
        if len(values) != len(truths):
            raise ValueError(f"Confidence: right must have {len(values)} values, got {len(truths)}")
        wrong = values[~((values >= 0) & (values <= 1))]
        if len(wrong):
            raise ValueError(f"Confidence: confidences must lie in [0, 1], got {wrong[0]}")
        unique, group, counts = np.unique(-values, return_inverse=True, return_counts=True)
        shares = np.bincount(group, truths, len(unique)) / counts
        return cls(np.repeat(-unique, counts), np.repeat(shares, counts))

    @property
    def count(self) -> int:
        """N."""
        return len(self.confidences)

    def bins(self, most: int = BINS) -> list[Bin]:
        """At most `most` bins of as many readings each (up to one), from unsure to sure.

        Of equal mass, because confidences crowd near 1: bins of equal width would leave the few
        readings in the middle to decide.
        """
        parts = zip(
            *(np.array_split(x[::-1], most) for x in (self.confidences, self.right)), strict=True
        )
        return [
            Bin(len(c), float(c[0]), float(c[-1]), float(c.mean()), float(r.mean()))
            for c, r in parts
            if len(c)
        ]

    @property
    def calibration_error(self) -> float:
        """ECE: mean over all readings of their bin's |accuracy - mean confidence|; NaN of none."""
        if not self.count:
            return math.nan
        gaps = (bin.count * abs(bin.accuracy - bin.confidence) for bin in self.bins())
        return sum(gaps) / self.count

    def accuracies(self) -> NDArray[np.float64]:
        """``[N]``: of the k + 1 surest readings, the share that is right."""
        return np.cumsum(self.right) / np.arange(1, self.count + 1)

    def accuracy_at(self, coverage: float) -> float:
        """The share right of the surest `coverage` of the readings, at least one; NaN of none."""
        if not self.count:
            return math.nan
        kept = max(1, round(coverage * self.count))
        return float(self.right[:kept].mean())

    @property
    def aurc(self) -> float:
        """Area under the risk-coverage curve: the mean over k of the share wrong of the k surest.

        In [0, 1], 0 where all are right; NaN of no readings (Geifman and El-Yaniv 2017).
        """
        return float(1 - self.accuracies().mean()) if self.count else math.nan


def reliability_text(confidence: Confidence) -> str:
    """The bins as a table."""
    rows = [" confidence     readings  mean   right"]
    rows += [
        f"  {bin.low:.3f}-{bin.high:.3f} {bin.count:>8}  {bin.confidence:.3f}  {bin.accuracy:.3f}"
        for bin in confidence.bins()
    ]
    return "\n".join(rows)

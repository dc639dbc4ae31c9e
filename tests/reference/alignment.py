"""Alignment by its definition: every path that collapses to the label."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from reference.transcription import collapse

Array = npt.NDArray[np.float64]


def paths(log_probs: Array, label: Sequence[int], blank: int) -> Iterator[tuple[list[int], float]]:
    """Each path that reads `label` as its states in the blank-extended label, with p(path | y)."""
    T, C = log_probs.shape
    for path in itertools.product(range(C), repeat=T):
        if collapse(path, blank) != tuple(label):
            continue
        states, symbols = [], 0
        for t, c in enumerate(path):
            symbols += c != blank and (t == 0 or path[t - 1] != c)
            states.append(2 * symbols if c == blank else 2 * symbols - 1)
        yield states, float(np.exp(sum(log_probs[t, c] for t, c in enumerate(path))))


def occupancy(log_probs: Array, label: Sequence[int], blank: int) -> Array:
    """gamma [2L + 1, T] times p(l | y)."""
    gamma = np.zeros((2 * len(label) + 1, len(log_probs)))
    for states, p in paths(log_probs, label, blank):
        gamma[states, np.arange(len(log_probs))] += p
    return gamma


def spans(states: Sequence[int]) -> list[tuple[int, int]]:
    """The frames of each symbol on a path."""
    runs = [
        (u, [t for t, _ in run]) for u, run in itertools.groupby(enumerate(states), lambda x: x[1])
    ]
    return [(run[0], run[-1] + 1) for u, run in runs if u % 2 == 1]

"""The map B, the greedy reading and equation 1 by their definitions."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def collapse(path: Sequence[int], blank: int) -> tuple[int, ...]:
    """B: keep a class that is no blank and differs from the frame before."""
    return tuple(c for t, c in enumerate(path) if c != blank and (t == 0 or path[t - 1] != c))


def probabilities_by_enumeration(log_probs: Array, blank: int) -> dict[tuple[int, ...], float]:
    """p(l | y) of every label: all C^T paths of log_probs [T, C], added up by their label."""
    T, C = log_probs.shape
    totals: dict[tuple[int, ...], float] = {}
    for path in itertools.product(range(C), repeat=T):
        label = collapse(path, blank)
        p = float(np.exp(sum(log_probs[t, c] for t, c in enumerate(path))))
        totals[label] = totals.get(label, 0.0) + p
    return totals


def label_log_prob(log_probs: Array, label: Sequence[int], blank: int) -> float:
    """log p(label | y) of log_probs [T, C] by the forward algorithm in the log domain."""
    extended = [blank]
    for c in label:
        extended += [c, blank]
    states = np.full(len(extended), -np.inf)
    states[0] = 0.0  # before the first frame: only the start
    for t, frame in enumerate(log_probs):
        moved = np.full(len(extended), -np.inf)
        for u, c in enumerate(extended):
            sources = [states[u]] if t > 0 or u == 0 else []
            if u >= 1:
                sources.append(states[u - 1] if t > 0 else states[0] if u == 1 else -np.inf)
            if t > 0 and u >= 2 and c != blank and c != extended[u - 2]:
                sources.append(states[u - 2])
            moved[u] = np.logaddexp.reduce([*sources, -np.inf]) + frame[c]
        states = moved
    return float(np.logaddexp.reduce(states[-2:]))

"""Where in the frames a given label lies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def align(
    log_probs: NDArray[np.floating[Any]], labels: Sequence[int], blank: int = 0
) -> list[tuple[int, int]]:
    """The frames of each label on the most probable path that collapses to `labels` (Viterbi).

    ``best[u, t] = log_probs[t, l'_u] + max(best[u, t-1], best[u-1, t-1], best[u-2, t-1])`` over
    the blank-extended label l'; the last term only where l'_u is neither blank nor l'_{u-2}.

    Args:
        log_probs: ``[T, C]``.
        labels: L classes other than blank, with ``T >= L +`` the number of equal neighbours.
        blank: the class of the blank.

    Returns:
        L pairs (start, end) of frames, end exclusive, in order and disjoint.

    Raises:
        ValueError: too few frames.
    """
    frames, L = len(log_probs), len(labels)
    needed = L + sum(a == b for a, b in zip(labels[1:], labels[:-1], strict=True))
    if frames < needed:
        raise ValueError(f"align: log_probs must have at least {needed} frames, got {frames}")
    if L == 0:
        return []
    extended = np.full(2 * L + 1, blank)
    extended[1::2] = labels
    may_skip = np.zeros(2 * L + 1, dtype=bool)
    may_skip[2:] = (extended[2:] != blank) & (extended[2:] != extended[:-2])
    emissions = log_probs[:, extended].astype(np.float64)
    best = np.full(2 * L + 1, -np.inf)
    best[:2] = emissions[0, :2]
    steps = np.zeros((frames, 2 * L + 1), dtype=np.int64)
    for t in range(1, frames):
        choices = np.full((3, 2 * L + 1), -np.inf)
        choices[0] = best
        choices[1, 1:] = best[:-1]
        choices[2, 2:] = np.where(may_skip[2:], best[:-2], -np.inf)
        steps[t] = choices.argmax(axis=0)
        best = choices.max(axis=0) + emissions[t]
    state = 2 * L if best[2 * L] > best[2 * L - 1] else 2 * L - 1
    path = [state]
    for t in range(frames - 1, 0, -1):
        state -= int(steps[t, state])
        path.append(state)
    path.reverse()
    return [(path.index(u), frames - path[::-1].index(u)) for u in range(1, 2 * L, 2)]

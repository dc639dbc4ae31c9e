"""CTC loss and gradient by the forward-backward algorithm in the log domain, in float64."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def log_softmax(x: npt.NDArray[np.floating]) -> Array:
    """Over the last axis."""
    x = np.asarray(x, dtype=np.float64)
    shifted = x - x.max(axis=-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)))


def log_forward(log_probs: Array, states: Sequence[int], skip: npt.NDArray[np.bool_]) -> Array:
    """alpha [T, U]: log-sum over all beginnings of paths that are in state u at t, y_t included.

    A path starts in one of the first two states and moves on by 0, 1, or (where skip[u]) 2.
    """
    U = len(states)
    alpha = np.full((len(log_probs), U), -np.inf)
    for t, frame in enumerate(log_probs):
        if t == 0:
            inflow = np.where(np.arange(U) < 2, 0.0, -np.inf)
        else:
            stay = alpha[t - 1]
            one = np.concatenate([[-np.inf], stay])[:U]
            two = np.where(skip, np.concatenate([[-np.inf, -np.inf], stay])[:U], -np.inf)
            inflow = np.logaddexp(np.logaddexp(stay, one), two)
        alpha[t] = inflow + frame[list(states)]
    return alpha


def sample(log_probs: Array, label: Sequence[int], blank: int) -> tuple[float, Array]:
    """Loss of one label over log_probs [T, C], and its gradient with respect to logits.

    The gradient is exp(log_probs) - posterior; NaN everywhere where the loss is infinite.
    """
    T, C = log_probs.shape
    states = [blank]
    for c in label:
        states += [c, blank]
    U = len(states)
    if T == 0:
        return (0.0 if U == 1 else np.inf), np.zeros((0, C))
    # Two steps at once only from symbol to another symbol: never blank to blank.
    skip = np.array([u % 2 == 1 and u >= 3 and states[u] != states[u - 2] for u in range(U)])
    backward_skip = np.concatenate([skip[2:], [False, False]])[:U]
    alpha = log_forward(log_probs, states, skip)
    beta = log_forward(log_probs[::-1], states[::-1], backward_skip[::-1])[::-1, ::-1]
    total = float(np.logaddexp.reduce(alpha[-1, -2:]))
    if total == -np.inf:
        return np.inf, np.full((T, C), np.nan)
    gradient = np.exp(log_probs)
    for u, c in enumerate(states):
        # alpha and beta both contain y_t; a state of probability zero has no posterior.
        y = log_probs[:, c]
        both = alpha[:, u] + beta[:, u] - np.where(np.isfinite(y), y, 0.0)
        gradient[:, c] -= np.exp(both - total)
    return -total, gradient


def batch(
    log_probs: Array, labels: Sequence[Sequence[int]], input_lengths: Sequence[int], blank: int
) -> tuple[Array, Array]:
    """Losses [N] and gradients [T, N, C] of log_probs [T, N, C]; 0 beyond the input lengths."""
    losses = np.zeros(len(labels))
    gradients = np.zeros(log_probs.shape)
    for n, (label, length) in enumerate(zip(labels, input_lengths, strict=True)):
        losses[n], gradients[:length, n] = sample(log_probs[:length, n], label, blank)
    return losses, gradients

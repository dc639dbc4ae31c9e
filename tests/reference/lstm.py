"""LSTM in NumPy float64, sample by sample and step by step, forward and back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass
class Weights:
    """One direction of one layer: w_ih [4H, I], w_hh [4H, H], bias = b_ih + b_hh [4H]."""

    w_ih: Array
    w_hh: Array
    bias: Array


@dataclass
class Step:
    """What one frame leaves for the way back."""

    x: Array
    h_before: Array
    c_before: Array
    gates: Array
    c: Array


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def run(x: Array, h: Array, c: Array, w: Weights) -> tuple[Array, Array, Array, list[Step]]:
    """Take one sample x [T, I] from h, c [H] through all frames: y [T, H], h_n, c_n, steps."""
    H = len(h)
    y, steps = np.zeros((len(x), H)), []
    for t in range(len(x)):
        a = w.w_ih @ x[t] + w.w_hh @ h + w.bias
        i, f, o = sigmoid(a[:H]), sigmoid(a[H : 2 * H]), sigmoid(a[3 * H :])
        g = np.tanh(a[2 * H : 3 * H])
        c_new = f * c + i * g
        steps.append(Step(x[t], h, c, np.concatenate([i, f, g, o]), c_new))
        h, c = o * np.tanh(c_new), c_new
        y[t] = h
    return y, h, c, steps


def run_back(
    steps: list[Step], dy: Array, dh: Array, dc: Array, w: Weights
) -> tuple[Array, Array, Array, Weights]:
    """Gradients of sum(dy * y) + dh . h_n + dc . c_n: dx [T, I], dh0, dc0 and the weights'."""
    dx = np.zeros((len(steps), w.w_ih.shape[1]))
    grad = Weights(np.zeros_like(w.w_ih), np.zeros_like(w.w_hh), np.zeros_like(w.bias))
    for t in reversed(range(len(steps))):
        step = steps[t]
        i, f, g, o = np.split(step.gates, 4)
        tanh_c = np.tanh(step.c)
        dh = dh + dy[t]
        dc = dc + dh * o * (1 - tanh_c**2)
        da = np.concatenate(
            [
                dc * g * i * (1 - i),
                dc * step.c_before * f * (1 - f),
                dc * i * (1 - g**2),
                dh * tanh_c * o * (1 - o),
            ]
        )
        dx[t] = w.w_ih.T @ da
        grad.w_ih += np.outer(da, step.x)
        grad.w_hh += np.outer(da, step.h_before)
        grad.bias += da
        dh, dc = w.w_hh.T @ da, dc * f
    return dx, dh, dc, grad


@dataclass
class Result:
    """One layer over a padded batch, and the gradients of sum(dy*y) + sum(dh_n*h_n + dc_n*c_n)."""

    y: Array  # [T, N, D*H]
    h_n: Array  # [D, N, H]
    c_n: Array
    dx: Array  # [T, N, I]
    dh0: Array
    dc0: Array
    dweights: list[Weights]  # per direction


def layer(
    x: Array,
    h0: Array,
    c0: Array,
    weights: list[Weights],
    lengths: list[int],
    dy: Array,
    dh_n: Array,
    dc_n: Array,
) -> Result:
    """Each sample alone, cut to its length; direction 1 reads it from its end."""
    D, N, H = h0.shape
    zeros = [Weights(0 * w.w_ih, 0 * w.w_hh, 0 * w.bias) for w in weights]
    result = Result(
        np.zeros(dy.shape), h0.copy(), c0.copy(), np.zeros(x.shape), 0 * h0, 0 * c0, zeros
    )
    for d in range(D):
        order = slice(None, None, -1 if d == 1 else 1)
        units = slice(d * H, (d + 1) * H)
        for n in range(N):
            T = lengths[n]
            y, h, c, steps = run(x[:T, n][order], h0[d, n], c0[d, n], weights[d])
            result.y[:T, n, units] = y[order]
            result.h_n[d, n], result.c_n[d, n] = h, c
            dx, dh, dc, grad = run_back(
                steps, dy[:T, n, units][order], dh_n[d, n], dc_n[d, n], weights[d]
            )
            result.dx[:T, n] += dx[order]
            result.dh0[d, n], result.dc0[d, n] = dh, dc
            result.dweights[d].w_ih += grad.w_ih
            result.dweights[d].w_hh += grad.w_hh
            result.dweights[d].bias += grad.bias
    return result

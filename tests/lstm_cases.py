"""A layer of the LSTM with random tensors, its exact results, and those of the CUDA kernels."""

from __future__ import annotations

import numpy as np
import torch
from reference import lstm as reference
from torch import Tensor

from crnn_ext import _lstm_op

# precision: (dtype, largest error of values, of gradients), relative to the largest exact value.
PRECISIONS = {
    "float64": (torch.float64, 1e-13, 1e-13),
    "float32": (torch.float32, 2e-6, 6e-6),
    "tf32": (torch.float32, 2e-3, 4e-3),
    "float16": (torch.float16, 2e-3, 6e-3),
    "bfloat16": (torch.bfloat16, 1.5e-2, 4e-2),
}


def some(shape: tuple[int, ...], dtype: torch.dtype, seed: int, scale: float = 1) -> Tensor:
    """Random numbers that are exact in dtype, on the CPU."""
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(shape, generator=generator) * scale).to(dtype)


class Case:
    """Tensors of one layer and its gradients, on the CPU."""

    def __init__(
        self,
        T: int,
        N: int,
        I: int,  # noqa: E741
        H: int,
        D: int,
        dtype: torch.dtype,
        bias: bool,
        lengths: Tensor | None,
    ) -> None:
        self.lengths = lengths
        scale = H**-0.5
        self.inputs = [
            some(shape, dtype, k) for k, shape in enumerate([(T, N, I), (D, N, H), (D, N, H)])
        ]
        shapes = [(4 * H, I), (4 * H, H), *[(4 * H,)] * (2 if bias else 0)] * D
        self.weights = [some(s, dtype, 10 + k, scale) for k, s in enumerate(shapes)]
        self.grads = [
            some(shape, dtype, 30 + k)
            for k, shape in enumerate([(T, N, D * H), (D, N, H), (D, N, H)])
        ]
        if lengths is not None:  # what lies in padding must not matter
            for n, length in enumerate(lengths.tolist()):
                self.inputs[0][length:, n] = torch.nan
                self.grads[0][length:, n] = torch.nan

    def exact(self) -> list[np.ndarray]:
        """y, h_n, c_n, then the gradients of x, h0, c0 and of all weights."""
        double = lambda t: t.double().numpy()
        T, N, D = *self.inputs[0].shape[:2], len(self.inputs[1])
        step = len(self.weights) // D
        directions = []
        for d in range(D):
            w_ih, w_hh, *biases = map(double, self.weights[d * step : (d + 1) * step])
            bias = sum(biases) if biases else np.zeros(len(w_ih))
            directions.append(reference.Weights(w_ih, w_hh, bias))
        lengths = [T] * N if self.lengths is None else self.lengths.tolist()
        result = reference.layer(
            *map(double, self.inputs), directions, lengths, *map(double, self.grads)
        )
        weights = []
        for grad in result.dweights:
            weights += [grad.w_ih, grad.w_hh, *[grad.bias] * (step - 2)]
        return [result.y, result.h_n, result.c_n, result.dx, result.dh0, result.dc0, *weights]

    def run(self, device: torch.device) -> list[Tensor]:
        """The same from crnn_ext."""
        to = lambda t: t.to(device)
        leaves = [to(t).clone().requires_grad_() for t in (*self.inputs, *self.weights)]
        lengths = None if self.lengths is None else to(self.lengths)
        outputs = _lstm_op.lstm_layer(*leaves[:3], leaves[3:], lengths)
        grads = torch.autograd.grad(outputs, leaves, [to(g) for g in self.grads])
        return [t.detach().cpu() for t in (*outputs, *grads)]

    def infer(self, device: torch.device) -> list[Tensor]:
        """y, h_n, c_n without a gradient."""
        to = lambda t: t.to(device)
        lengths = None if self.lengths is None else to(self.lengths)
        with torch.no_grad():
            outputs = _lstm_op.lstm_layer(
                *map(to, self.inputs), [to(w) for w in self.weights], lengths
            )
        return [t.cpu() for t in outputs]


def errors(values: list[Tensor], exact: list[np.ndarray]) -> list[float]:
    """Largest difference over the largest exact value, of each tensor."""
    result = []
    for value, wanted in zip(values, exact, strict=True):
        assert tuple(value.shape) == wanted.shape
        difference = np.abs(value.double().numpy() - wanted).max()
        result.append(float(difference / max(np.abs(wanted).max(), 1e-3)))
    return result


def check(case: Case, precision: str, device: torch.device) -> None:
    """Values and gradients, and that inference gives the same to the bit."""
    _, of_values, of_gradients = PRECISIONS[precision]
    results = case.run(device)
    found = errors(results, case.exact())
    assert max(found[:3]) < of_values, found
    assert max(found[3:]) < of_gradients, found
    for again, value in zip(case.infer(device), results, strict=False):
        assert torch.equal(again, value)

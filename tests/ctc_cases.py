"""Batches of logits and labels, their exact losses, and the CUDA kernels' loss of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from emulator.harness import Emulation
from reference import ctc as reference
from torch import Tensor

import crnn_ext
from crnn_ext import ctc_loss

HAS_GPU = crnn_ext.built_with_cuda and torch.cuda.is_available()


class Device:
    """Takes inputs to where the kernels run, and results back."""

    def __init__(self, emulation: Emulation | None) -> None:
        self.emulation = emulation
        self.name = "cuda" if emulation is None else "cpu"

    def ours(
        self, x: Tensor, *labels: Tensor, weights: Tensor | None = None, **options: Any
    ) -> tuple[Tensor, Tensor]:
        """Loss and gradient; labels and lengths lie on the device."""
        leaf = x.to(self.name, copy=True).requires_grad_()
        loss = ctc_loss(leaf, *(t.to(self.name) for t in labels), **options)
        seed = torch.ones_like(loss) if weights is None else weights.to(loss)
        (dx,) = torch.autograd.grad(loss, leaf, seed)
        assert dx.dtype == x.dtype
        return loss.detach().cpu(), dx.cpu()


def batch(T: int, N: int, C: int, S: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Logits; padded targets, input lengths and target lengths: the first sample has all."""
    rng = np.random.default_rng(seed)
    x = torch.tensor(2 * rng.normal(size=(T, N, C)))
    targets = torch.tensor(rng.integers(0, C, size=(N, S)))
    il = torch.tensor(rng.integers(1, T + 1, size=N))
    tl = torch.tensor(rng.integers(0, S + 1, size=N))
    il[0], tl[0] = T, S
    return x, targets, il, tl


def expected(
    x: Tensor, targets: Tensor, il: Tensor, tl: Tensor, blank: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    labels = [row[:n].tolist() for row, n in zip(targets, tl.tolist(), strict=True)]
    log_probs = reference.log_softmax(x.double().numpy())
    return reference.batch(log_probs, labels, il.tolist(), blank)


def assert_close(result: tuple[Tensor, Tensor], exact: Any, tolerance: float) -> None:
    losses, gradient = exact
    np.testing.assert_allclose(result[0], losses, rtol=tolerance, atol=tolerance)
    finite = np.isfinite(losses)
    difference = result[1].double().numpy()[:, finite] - gradient[:, finite]
    assert np.linalg.norm(difference) <= tolerance * np.linalg.norm(gradient[:, finite])
    np.testing.assert_array_equal(result[1].isnan().numpy(), np.isnan(gradient))

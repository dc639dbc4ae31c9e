"""Alignment: align and replacement_log_probs against what torch's ctc_loss gives of the same.

"posterior": torch has the probability of each class in each frame, summed over the symbols of that
class, as the gradient of the loss; `align` has it for each symbol, with the best path. "replaced":
the probability of each label with each symbol replaced by each class, for torch a batch of that
many labels. The error is relative, against torch in float64; the greatest of any sample's
log-probability where symbols are replaced.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.speed import compare, parse, parser
from crnn_ext import align, replacement_log_probs

MAX_ERROR = 1e-5


@dataclass(frozen=True)
class Case:
    mode: str  # "posterior", "replaced"
    T: int
    N: int
    C: int
    L: int

    def __str__(self) -> str:
        return f"{self.mode} T={self.T} N={self.N} C={self.C} L={self.L}"


QUICK = [Case("posterior", 26, 4, 37, 8), Case("replaced", 26, 1, 37, 8)]
FULL = [
    Case("posterior", 26, 1, 37, 8),
    Case("posterior", 26, 64, 37, 8),
    Case("posterior", 130, 64, 96, 25),
    Case("posterior", 1000, 16, 37, 200),
    Case("replaced", 26, 1, 37, 8),
    Case("replaced", 26, 64, 37, 8),
    Case("replaced", 130, 1, 500, 5),
]


def torch_posterior(log_probs: Tensor, targets: Tensor) -> Tensor:
    """[T, N, C]: p(the path says class c in frame t | label, y)."""
    x = log_probs.detach().requires_grad_()
    loss = F.ctc_loss(x, targets, *_lengths(log_probs, targets), reduction="sum")
    return log_probs.exp() - torch.autograd.grad(loss, x)[0]  # torch's is that of the logits


def our_posterior(log_probs: Tensor, targets: Tensor) -> Tensor:
    """The same of `align`, for the check alone."""
    posterior = torch.zeros(log_probs.shape, dtype=torch.float64)
    for n, alignment in enumerate(align(log_probs, targets.tolist())):
        classes = torch.zeros(len(alignment.occupancy), dtype=torch.int64)
        classes[1::2] = targets[n]
        posterior[:, n].index_add_(1, classes, alignment.occupancy.T)
    return posterior


def torch_replaced(log_probs: Tensor, targets: Tensor) -> Tensor:
    """[N, L, C - 1]: log p(label with symbol i replaced by c | y), of the classes without blank."""
    _, N, C = log_probs.shape
    L = targets.shape[1]
    labels = targets[:, None, None, :].repeat(1, L, C - 1, 1)
    for i in range(L):
        labels[:, i, :, i] = torch.arange(1, C)
    rows = []
    for n in range(N):
        frames = log_probs[:, n : n + 1].expand(-1, L * (C - 1), -1)
        flat = labels[n].reshape(-1, L)
        rows.append(-F.ctc_loss(frames, flat, *_lengths(frames, flat), reduction="none"))
    return torch.stack(rows).view(N, L, C - 1)


def our_replaced(log_probs: Tensor, targets: Tensor) -> Tensor:
    return torch.stack(replacement_log_probs(log_probs, targets.tolist()))[:, :, 1:]


def _lengths(frames: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    count, length = labels.shape
    return torch.full((count,), len(frames)), torch.full((count,), length)


def error(case: Case, value: Tensor, expected: Tensor) -> float:
    if case.mode == "posterior":
        return float((value.double() - expected).norm() / expected.norm())
    return float(((value.double() - expected) / expected).abs().max())


def main() -> None:
    """Verify, time, print and record every case."""
    options = parse(parser("align", __doc__, seconds=4.0))
    for case in QUICK if options.quick else FULL:
        generator = torch.Generator().manual_seed(case.T * case.N + case.C + case.L)
        log_probs = torch.randn(case.T, case.N, case.C, generator=generator).log_softmax(2)
        targets = torch.randint(1, case.C, (case.N, case.L), generator=generator)
        theirs = torch_posterior if case.mode == "posterior" else torch_replaced
        ours = our_posterior if case.mode == "posterior" else our_replaced
        expected = theirs(log_probs.double(), targets)
        errors = {
            "torch": error(case, theirs(log_probs, targets), expected),
            "crnn_ext": error(case, ours(log_probs, targets), expected),
        }
        if not errors["crnn_ext"] <= MAX_ERROR:
            raise SystemExit(f"{case}: relative error {errors['crnn_ext']:.1e} above {MAX_ERROR:g}")
        ours_timed = align if case.mode == "posterior" else replacement_log_probs
        functions: dict[str, Callable[[], object]] = {
            "torch": partial(theirs, log_probs, targets),
            "crnn_ext": partial(ours_timed, log_probs, targets.tolist()),
        }
        compare("align", str(case), asdict(case), errors, functions, options)


if __name__ == "__main__":
    main()

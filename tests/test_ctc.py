"""ctc_loss: values and gradients against the definition, the reference, and torch."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import ctc as reference
from reference import transcription
from torch import Tensor

from crnn_ext import ctc_loss

pytestmark = pytest.mark.usefixtures("kernels")


def pad(labels: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Labels as targets [N, S], padded with a class that does not exist, and their lengths."""
    width = max((len(label) for label in labels), default=0)
    rows = [[*label, *[-1] * (width - len(label))] for label in labels]
    targets = torch.tensor(rows, dtype=torch.int64).reshape(len(labels), width)
    return targets, torch.tensor([len(label) for label in labels], dtype=torch.int64)


def ours(
    x: Tensor,
    labels: Sequence[Sequence[int]],
    lengths: Sequence[int],
    blank: int = 0,
    *,
    from_logits: bool = True,
) -> tuple[np.ndarray, np.ndarray]:
    """Losses [N], and the gradient [T, N, C] of their sum with respect to x."""
    x = x.detach().clone().requires_grad_()
    targets, target_lengths = pad(labels)
    losses = ctc_loss(
        x, targets, lengths, target_lengths, blank, reduction="none", from_logits=from_logits
    )
    (dx,) = torch.autograd.grad(losses.sum(), x)
    return losses.detach().numpy(), dx.numpy()


def relative(result: np.ndarray, expected: np.ndarray) -> float:
    """||result - expected|| / ||expected||."""
    difference = np.linalg.norm((np.asarray(result, np.float64) - expected).ravel())
    return float(difference / max(np.linalg.norm(expected.ravel()), 1e-300))


def random_labels(
    rng: np.random.Generator, N: int, C: int, longest: int, blank: int
) -> list[list[int]]:
    classes = [c for c in range(C) if c != blank]
    return [
        [int(rng.choice(classes)) for _ in range(rng.integers(0, longest + 1))] if classes else []
        for _ in range(N)
    ]


# ---- the reference itself -----------------------------------------------------------------------


@pytest.mark.parametrize("blank", [0, 1, 2])
def test_reference_equals_path_enumeration(blank: int) -> None:
    rng = np.random.default_rng(blank)
    logits = rng.normal(size=(5, 3))
    table = transcription.probabilities_by_enumeration(reference.log_softmax(logits), blank)
    for label, probability in table.items():
        loss, gradient = reference.sample(reference.log_softmax(logits), label, blank)
        assert math.isclose(math.exp(-loss), probability, rel_tol=1e-12)
        # Central differences of the enumerated loss, one logit after the other.
        step = 1e-5
        for t, c in [(0, 0), (2, 1), (4, 2)]:
            sides = []
            for sign in (1, -1):
                moved = logits.copy()
                moved[t, c] += sign * step
                moved = reference.log_softmax(moved)
                sides.append(transcription.probabilities_by_enumeration(moved, blank)[label])
            slope = (math.log(sides[1]) - math.log(sides[0])) / (2 * step)
            assert math.isclose(gradient[t, c], slope, rel_tol=1e-6, abs_tol=1e-8)


# ---- against the definition ---------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("blank", [0, 2])
def test_probabilities_of_all_labels_sum_to_one(dtype: torch.dtype, blank: int) -> None:
    logits = torch.randn(6, 3, dtype=dtype)
    table = transcription.probabilities_by_enumeration(reference.log_softmax(logits.numpy()), blank)
    labels = list(table)
    losses, _ = ours(logits[:, None].expand(-1, len(labels), -1), labels, [6] * len(labels), blank)
    tolerance = 1e-6 if dtype == torch.float32 else 1e-13
    np.testing.assert_allclose(np.exp(-losses), list(table.values()), rtol=2 * tolerance)
    assert abs(np.exp(-losses.astype(np.float64)).sum() - 1) < tolerance


# ---- against the reference ----------------------------------------------------------------------

# T, N, C, longest label; primes, ones, vector widths and their neighbours.
SIZES = [
    (1, 1, 1, 0),
    (1, 1, 2, 1),
    (2, 3, 2, 2),
    (5, 2, 3, 3),
    (7, 5, 4, 4),
    (13, 3, 5, 6),
    (26, 4, 37, 12),
    (31, 3, 16, 15),
    (33, 3, 17, 16),
    (35, 2, 15, 17),
    (40, 2, 31, 7),
    (41, 2, 32, 8),
    (67, 2, 33, 31),
    (71, 2, 64, 33),
    (130, 2, 127, 47),
    (10, 2, 1009, 4),
]


@pytest.mark.parametrize("from_logits", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_equals_reference(
    size: tuple[int, int, int, int], dtype: torch.dtype, from_logits: bool
) -> None:
    T, N, C, longest = size
    for blank in sorted({0, C // 2, C - 1}):
        rng = np.random.default_rng(T + blank)
        labels = random_labels(rng, N, C, longest, blank)
        lengths = [int(v) for v in rng.integers(0, T + 1, size=N)]
        lengths[0] = T
        x = torch.tensor(2 * rng.normal(size=(T, N, C)), dtype=dtype)
        log_probs = reference.log_softmax(x.numpy())
        if not from_logits:
            x = torch.tensor(log_probs, dtype=dtype)
            log_probs = x.numpy().astype(np.float64)
        losses, gradient = reference.batch(log_probs, labels, lengths, blank)
        result, dx = ours(x, labels, lengths, blank, from_logits=from_logits)
        tolerance = 1e-6 if dtype == torch.float32 else 1e-11
        np.testing.assert_allclose(result, losses, rtol=tolerance, atol=tolerance)
        finite = np.isfinite(losses)
        assert relative(dx[:, finite], gradient[:, finite]) < tolerance
        np.testing.assert_array_equal(np.isnan(dx), np.isnan(gradient))


@pytest.mark.parametrize(
    ("T", "N", "L", "bar"), [(26, 16, 8, 1e-6), (130, 2, 25, 2e-6), (1000, 1, 200, 1e-5)]
)
def test_float32_accuracy(T: int, N: int, L: int, bar: float) -> None:
    """The gradient keeps its digits at any length; torch's has 1e-3 at T=1000."""
    rng = np.random.default_rng(T)
    x = torch.tensor(rng.normal(size=(T, N, 37)), dtype=torch.float32)
    labels = [[int(c) for c in rng.integers(1, 37, size=L)] for _ in range(N)]
    losses, gradient = reference.batch(reference.log_softmax(x.numpy()), labels, [T] * N, 0)
    result, dx = ours(x, labels, [T] * N)
    np.testing.assert_allclose(result, losses, rtol=2e-7)
    assert relative(dx, gradient) < bar


LABELS = {
    "exactly feasible": [1, 1, 2, 3, 3, 3, 1],  # needs 7 + 3 frames
    "all equal": [2] * 5,  # needs 9
    "alternating": [1, 2] * 5,
    "single": [3],
    "empty": [],
}


@pytest.mark.parametrize("label", LABELS.values(), ids=LABELS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_labels_at_the_edge(label: list[int], dtype: torch.dtype) -> None:
    needed = len(label) + sum(a == b for a, b in itertools.pairwise(label))
    for T in (needed - 1, needed, needed + 1, 2 * needed + 1):
        if T < 1:
            continue
        x = torch.randn(T, 1, 4, dtype=dtype)
        losses, gradient = reference.batch(reference.log_softmax(x.numpy()), [label], [T], 0)
        assert np.isinf(losses[0]) == (needed > T)
        result, dx = ours(x, [label], [T])
        tolerance = 2e-6 if dtype == torch.float32 else 1e-12
        np.testing.assert_allclose(result, losses, rtol=tolerance)
        np.testing.assert_allclose(dx, gradient, atol=tolerance)


def test_gradcheck_on_logits() -> None:
    torch.manual_seed(0)
    cases = [(6, 4, [1, 1, 3], 0), (5, 3, [0], 2), (4, 2, [], 1), (3, 5, [4], 2)]
    holds_the_blank = [(2, 2, [0], 0), (5, 3, [1, 0, 1], 0)]
    for T, C, label, blank in cases + holds_the_blank:
        x = torch.randn(T, 2, C, dtype=torch.float64, requires_grad=True)
        targets, lengths = pad([label, label[:1]])

        def fused(
            x: Tensor, t: Tensor = targets, tl: Tensor = lengths, T: int = T, blank: int = blank
        ) -> Tensor:
            return ctc_loss(x, t, [T, T - 1], tl, blank, "none", from_logits=True)

        def split(
            x: Tensor, t: Tensor = targets, tl: Tensor = lengths, T: int = T, blank: int = blank
        ) -> Tensor:
            return ctc_loss(x.log_softmax(2), t, [T, T - 1], tl, blank, "none")

        assert torch.autograd.gradcheck(fused, x)
        assert torch.autograd.gradcheck(split, x)


# ---- against torch ------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    T=st.integers(1, 20),
    N=st.integers(1, 4),
    C=st.integers(2, 9),
    reduction=st.sampled_from(["none", "sum", "mean"]),
    zero_infinity=st.booleans(),
    concatenated=st.booleans(),
    data=st.data(),
)
def test_equals_torch(
    seed: int,
    T: int,
    N: int,
    C: int,
    reduction: str,
    zero_infinity: bool,
    concatenated: bool,
    data: st.DataObject,
) -> None:
    """Values, infinities, NaN and gradients, for labels that may hold the blank."""
    torch.manual_seed(seed)
    blank = data.draw(st.integers(0, C - 1))
    label = st.lists(st.integers(0, C - 1), max_size=8)
    labels = data.draw(st.lists(label, min_size=N, max_size=N))
    lengths = torch.tensor(data.draw(st.lists(st.integers(1, T), min_size=N, max_size=N)))
    targets, target_lengths = pad(labels)
    targets[targets < 0] = 0
    if concatenated:
        targets = torch.tensor([c for label in labels for c in label], dtype=torch.int64)
    x = torch.randn(T, N, C, dtype=torch.float64)
    weights = torch.rand(N, dtype=torch.float64) if reduction == "none" else torch.tensor(0.7)

    def run(loss: object) -> tuple[Tensor, Tensor]:
        leaf = x.clone().requires_grad_()
        value = loss(  # type: ignore[operator]
            leaf.log_softmax(2), targets, lengths, target_lengths, blank, reduction, zero_infinity
        )
        (dx,) = torch.autograd.grad((value * weights).sum(), leaf)
        return value.detach(), dx

    expected, expected_dx = run(F.ctc_loss)
    value, dx = run(ctc_loss)
    torch.testing.assert_close(value, expected, rtol=1e-10, atol=1e-10, equal_nan=True)
    # Where a label holds the blank, torch drops a term of the last frame; gradcheck judges ours.
    same = torch.tensor([blank not in label for label in labels])
    torch.testing.assert_close(
        dx[:, same], expected_dx[:, same], rtol=1e-8, atol=1e-10, equal_nan=True
    )


# ---- extremes -----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [30.0, 1e3, 1e4])
def test_huge_logits(dtype: torch.dtype, scale: float) -> None:
    """Losses of millions; every state far outside the range of float."""
    rng = np.random.default_rng(0)
    x = torch.tensor(scale * rng.uniform(-1, 1, size=(60, 3, 11)), dtype=dtype)
    labels = [[1, 1, 2, 3, 10, 10], list(range(1, 11)), []]
    lengths = [60, 30, 60]
    losses, gradient = reference.batch(reference.log_softmax(x.numpy()), labels, lengths, 0)
    result, dx = ours(x, labels, lengths)
    np.testing.assert_allclose(result, losses, rtol=2e-7)
    assert relative(dx, gradient) < (1e-5 if dtype == torch.float32 else 1e-9)


@pytest.mark.parametrize(("scale", "offset"), [(1.0, 0.0), (1e4, 0.0), (10.0, 3e6), (10.0, -3e6)])
@pytest.mark.parametrize("L", [0, 1, 7, 8, 15, 16, 40])
def test_extreme_frames_among_moderate_ones(L: int, scale: float, offset: float) -> None:
    """Frames of very different range, and impossible classes, in one sample."""
    T, C = 70, 6
    rng = np.random.default_rng(L)
    x = rng.normal(size=(T, 2, C))
    frames = [3, 20, 21, 47, 69]
    x[frames] = x[frames] * scale + offset
    label = [1 + (i + i // 5) % (C - 1) for i in range(L)]
    x[33, 0, 1] = -np.inf
    x[64, 1, [2, 4]] = -np.inf
    logits = torch.tensor(x, dtype=torch.float32)
    exact = reference.log_softmax(logits.double().numpy())
    losses, gradient = reference.batch(exact, [label, label[::-1]], [T, T - 1], 0)
    result, dx = ours(logits, [label, label[::-1]], [T, T - 1])
    np.testing.assert_allclose(result, losses, rtol=1e-6)
    assert relative(dx, gradient) < 1e-6


@pytest.mark.parametrize("offset", [-1e4, -95.0, -60.0, -35.0, 40.0, 60.0, 95.0, 1e4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_offset_of_all_logits_changes_nothing(dtype: torch.dtype, offset: float) -> None:
    """Sums of exp(x) from far below to far above the range of float."""
    rng = np.random.default_rng(3)
    logits = np.round(rng.normal(size=(70, 2, 19)) * 64) / 64  # exact after the offset
    labels = [[1, 18, 18, 5], [7]]
    losses, gradient = reference.batch(reference.log_softmax(logits), labels, [70, 69], 0)
    result, dx = ours(torch.tensor(logits + offset, dtype=dtype), labels, [70, 69])
    np.testing.assert_allclose(result, losses, rtol=1e-6)
    assert relative(dx, gradient) < 1e-6


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("value", [800.0, 1e8, 1e20, 1e38])
def test_a_huge_log_probability_elsewhere(dtype: torch.dtype, value: float) -> None:
    x = torch.full((3, 1, 40), -3.0, dtype=dtype)
    x[1, 0, 5] = x[1, 0, 37] = value
    losses, dx = ours(x, [[1, 2]], [3], from_logits=False)
    assert np.isfinite(losses).all()
    assert dx[1, 0, 5] == dx[1, 0, 37] == math.inf


def test_peaked_net_that_reads_another_word() -> None:
    """One-hot frames: the label's paths are 1e-100 of the best one and must not vanish."""
    T, C = 200, 20
    rng = np.random.default_rng(1)
    x = np.full((T, 1, C), -50.0)
    x[np.arange(T), 0, rng.integers(0, C, size=T)] = 50.0
    logits = torch.tensor(x, dtype=torch.float32)
    label = [int(c) for c in rng.integers(1, C, size=90)]
    losses, gradient = reference.batch(reference.log_softmax(x), [label], [T], 0)
    result, dx = ours(logits, [label], [T])
    np.testing.assert_allclose(result, losses, rtol=1e-6)
    assert relative(dx, gradient) < 1e-5


def test_long_sequences() -> None:
    T = 5000
    rng = np.random.default_rng(2)
    x = torch.tensor(3 * rng.normal(size=(T, 1, 6)), dtype=torch.float32)
    label = [int(c) for c in rng.integers(1, 6, size=40)]
    losses, gradient = reference.batch(reference.log_softmax(x.numpy()), [label], [T], 0)
    result, dx = ours(x, [label], [T])
    np.testing.assert_allclose(result, losses, rtol=1e-6)
    assert relative(dx, gradient) < 1e-5


def test_gradient_sums_to_zero_over_classes() -> None:
    _, dx = ours(torch.randn(50, 4, 30), [[1, 2, 2], [5], [], [7] * 20], [50, 40, 50, 45])
    np.testing.assert_allclose(dx.sum(axis=2), 0, atol=2e-6)

"""collapse and greedy_decode against their definitions."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import pytest
import torch
from emulator.harness import emulated
from hypothesis import given
from hypothesis import strategies as st
from reference import transcription as reference
from torch import Tensor

import crnn_ext

pytestmark = pytest.mark.usefixtures("kernels")


def random_log_probs(T: int, N: int, C: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(T, N, C, generator=generator).mul(2).log_softmax(-1)


def one_hot(path: Sequence[int], C: int) -> Tensor:
    """[T, C] log-probabilities whose best path is `path`, by far."""
    logits = torch.zeros(len(path), C)
    logits[range(len(path)), list(path)] = 9.0
    return logits.log_softmax(-1)


def test_paper_example() -> None:
    path = "--hh-e-l-ll-oo--"
    classes = {"-": 0, "h": 1, "e": 2, "l": 3, "o": 4}
    labels = crnn_ext.collapse([classes[c] for c in path])
    assert labels == [classes[c] for c in "hello"]


@given(st.lists(st.integers(0, 3), max_size=20), st.integers(0, 3))
def test_collapse_equals_reference(path: list[int], blank: int) -> None:
    expected = list(reference.collapse(path, blank))
    assert crnn_ext.collapse(path, blank) == expected
    assert crnn_ext.collapse(torch.tensor(path, dtype=torch.int32), blank) == expected


@pytest.mark.parametrize("N", [1, 2, 7])
@pytest.mark.parametrize(("T", "C", "blank"), [(1, 1, 0), (1, 2, 1), (13, 5, 2), (26, 37, 0)])
def test_equals_reference(T: int, N: int, C: int, blank: int) -> None:
    log_probs = random_log_probs(T, N, C)
    results = crnn_ext.greedy_decode(log_probs, blank=blank)
    assert len(results) == N
    for n, result in enumerate(results):
        frames = log_probs[:, n].double().numpy()
        path = frames.argmax(-1)
        assert result.labels == list(reference.collapse(path.tolist(), blank))
        assert result.log_prob == pytest.approx(frames.max(-1).sum(), rel=1e-14)
        for label, (start, end) in zip(result.labels, result.spans, strict=True):
            assert start < end
            assert set(path[start:end]) == {label}


def test_spans() -> None:
    log_probs = one_hot([0, 1, 1, 1, 0, 1, 2, 2, 0], 4)
    (result,) = crnn_ext.greedy_decode(log_probs)
    assert result == crnn_ext.GreedyResult(
        labels=[1, 1, 2],
        log_prob=pytest.approx(log_probs.max(-1).values.double().sum().item()),
        spans=[(1, 4), (5, 6), (6, 8)],
    )


@pytest.mark.parametrize("T", [31, 32, 33, 64, 65, 200])
def test_runs_of_any_length(T: int) -> None:
    """Runs, of blanks too, that begin, end and go on at any frame."""
    for seed in range(5):
        generator = torch.Generator().manual_seed(seed)
        lengths = torch.randint(1, 4 + 20 * seed, (T,), generator=generator)
        path = torch.randint(0, 3, (T,), generator=generator).repeat_interleave(lengths)[:T]
        (result,) = crnn_ext.greedy_decode(one_hot(path.tolist(), 3))
        assert result.labels == list(reference.collapse(path.tolist(), 0))
        read = torch.zeros(T, dtype=torch.int64)
        for label, (start, end) in zip(result.labels, result.spans, strict=True):
            assert start == 0 or path[start - 1] != label
            assert end == T or path[end] != label
            read[start:end] = label
        assert torch.equal(read, path)


def test_lengths_that_only_the_device_sees() -> None:
    log_probs = random_log_probs(10, 4, 5)
    expected = crnn_ext.greedy_decode(log_probs, [0, 3, 10, 7])
    with emulated(device_labels=True):
        for dtype in (torch.int32, torch.int64):
            lengths = torch.tensor([0, 3, 10, 7], dtype=dtype)
            results = crnn_ext.greedy_decode(log_probs, lengths)
            assert [r.labels for r in results] == [r.labels for r in expected]
            assert [r.spans for r in results] == [r.spans for r in expected]
        for wrong in (11, -1, 2**40):
            with pytest.raises(ValueError, match="lengths") as caught:
                crnn_ext.greedy_decode(log_probs, torch.tensor([0, 3, wrong, 7]))
            assert str(caught.value) == (
                f"greedy_decode: lengths must lie in [0, 10], got {wrong} for sample 2"
            )
        with pytest.raises(ValueError, match="lengths") as caught:
            crnn_ext.greedy_decode(log_probs, torch.tensor([1.0, 2, 3, 4]))
        assert str(caught.value) == (
            "greedy_decode: lengths must have an integer dtype, got torch.float32"
        )


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_dtypes(dtype: torch.dtype) -> None:
    log_probs = random_log_probs(9, 3, 5).to(dtype)
    for n, result in enumerate(crnn_ext.greedy_decode(log_probs)):
        frames = log_probs[:, n].double()
        path = frames.argmax(-1).tolist()
        assert result.labels == list(reference.collapse(path, 0))
        assert result.log_prob == pytest.approx(frames.max(-1).values.sum().item(), rel=1e-14)


def test_strides() -> None:
    log_probs = random_log_probs(11, 4, 6)
    expected = crnn_ext.greedy_decode(log_probs)
    for view in (
        log_probs.permute(1, 0, 2).contiguous().permute(1, 0, 2),
        log_probs.permute(2, 1, 0).contiguous().permute(2, 1, 0),
        torch.stack([log_probs, log_probs * 0], dim=-1)[..., 0],
    ):
        assert not view.is_contiguous()
        assert crnn_ext.greedy_decode(view) == expected
    broadcast = log_probs[:, :1].expand(-1, 4, -1)
    assert crnn_ext.greedy_decode(broadcast) == expected[:1] * 4


@pytest.mark.parametrize("kind", [torch.tensor, list, tuple])
def test_frames_beyond_the_length_are_not_read(kind: type) -> None:
    log_probs = random_log_probs(10, 4, 5)
    lengths = [0, 3, 10, 7]
    for n, length in enumerate(lengths):
        log_probs[length:, n] = math.nan
    results = crnn_ext.greedy_decode(log_probs, kind(lengths))
    for n, length in enumerate(lengths):
        alone = crnn_ext.greedy_decode(log_probs[:length, n])
        assert [results[n]] == alone
    assert results[0] == crnn_ext.GreedyResult([], 0.0, [])


def test_unbatched_length() -> None:
    log_probs = random_log_probs(10, 1, 5)[:, 0]
    expected = crnn_ext.greedy_decode(log_probs[:4])
    assert crnn_ext.greedy_decode(log_probs, 4) == expected
    assert crnn_ext.greedy_decode(log_probs, torch.tensor(4)) == expected


@pytest.mark.parametrize("shape", [(0, 3, 5), (0, 5), (4, 0, 5)])
def test_empty(shape: tuple[int, ...]) -> None:
    samples = shape[1] if len(shape) == 3 else 1
    assert (
        crnn_ext.greedy_decode(torch.zeros(shape)) == [crnn_ext.GreedyResult([], 0.0, [])] * samples
    )


def test_ties_go_to_the_lowest_class() -> None:
    assert crnn_ext.greedy_decode(torch.zeros(3, 4), blank=2)[0].labels == [0]
    log_probs = torch.tensor([[-5.0, -1.0, -1.0], [-1.0, -5.0, -1.0]])
    assert crnn_ext.greedy_decode(log_probs, blank=2)[0].labels == [1, 0]


def test_minus_infinity_is_probability_zero() -> None:
    log_probs = torch.full((2, 3), -math.inf)
    log_probs[0, 2] = 0
    assert crnn_ext.greedy_decode(log_probs) == [crnn_ext.GreedyResult([2], -math.inf, [(0, 1)])]


def test_independent_of_threads_and_batch(kernels: str) -> None:
    N = 20 if kernels == "emulated" else 700
    log_probs = random_log_probs(26, N, 100)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = crnn_ext.greedy_decode(log_probs)
        torch.set_num_threads(3)
        assert crnn_ext.greedy_decode(log_probs) == one
    finally:
        torch.set_num_threads(before)
    assert crnn_ext.greedy_decode(log_probs[:, N - 9 : N - 8]) == one[N - 9 : N - 8]


def test_gradient_is_ignored() -> None:
    log_probs = random_log_probs(5, 2, 4).requires_grad_()
    assert crnn_ext.greedy_decode(log_probs) == crnn_ext.greedy_decode(log_probs.detach())


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16])
@pytest.mark.parametrize(("value", "shown"), [(math.nan, "nan"), (math.inf, "inf")])
def test_nan_names_the_first_bad_sample(dtype: torch.dtype, value: float, shown: str) -> None:
    log_probs = random_log_probs(6, 500, 5).to(dtype)
    log_probs[4, 7, 3] = value
    log_probs[5, 7, 0] = value
    log_probs[2, 400, 1] = value
    with pytest.raises(ValueError, match="greedy_decode") as caught:
        crnn_ext.greedy_decode(log_probs)
    assert str(caught.value) == (
        "greedy_decode: log_probs must hold neither NaN nor values of 1e9 or more, "
        f"got {shown} in frame 4 of sample 7"
    )


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x: crnn_ext.greedy_decode(x.numpy()), TypeError,
         "greedy_decode: log_probs must be a torch.Tensor, got ndarray"),
        (lambda x: crnn_ext.greedy_decode(x[0, 0]), ValueError,
         "greedy_decode: log_probs must have shape [T, N, C] or [T, C], got [5]"),
        (lambda x: crnn_ext.greedy_decode(x.long()), ValueError,
         "greedy_decode: log_probs must have a floating dtype, got torch.int64"),
        (lambda x: crnn_ext.greedy_decode(x[..., :0]), ValueError,
         "greedy_decode: log_probs must have at least one class, got [4, 3, 0]"),
        (lambda x: crnn_ext.greedy_decode(x, blank=5), ValueError,
         "greedy_decode: blank must lie in [0, 5), got 5"),
        (lambda x: crnn_ext.greedy_decode(x, blank=-1), ValueError,
         "greedy_decode: blank must lie in [0, 5), got -1"),
        (lambda x: crnn_ext.greedy_decode(x, [4, 4]), ValueError,
         "greedy_decode: lengths must hold one value per sample (3), got 2"),
        (lambda x: crnn_ext.greedy_decode(x, [4, 5, 6]), ValueError,
         "greedy_decode: lengths must lie in [0, 4], got 5 for sample 1"),
        (lambda x: crnn_ext.greedy_decode(x, torch.tensor([0, 1, -1])), ValueError,
         "greedy_decode: lengths must lie in [0, 4], got -1 for sample 2"),
        (lambda x: crnn_ext.greedy_decode(x, torch.tensor([1.0, 2, 3])), ValueError,
         "greedy_decode: lengths must have an integer dtype, got torch.float32"),
        (lambda x: crnn_ext.collapse([0, -3, 1]), ValueError,
         "collapse: path must hold classes of at least 0, got -3"),
        (lambda x: crnn_ext.collapse(torch.zeros(2, 2, dtype=torch.int64)), ValueError,
         "collapse: path must have one dimension, got 2"),
    ],
)  # fmt: skip
def test_errors(call: Callable[..., object], error: type[Exception], message: str) -> None:
    with pytest.raises(error) as caught:
        call(torch.zeros(4, 3, 5))
    assert str(caught.value) == message

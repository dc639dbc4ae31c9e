"""align and replacement_log_probs: against every path, and against label_log_probs."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from reference import alignment as reference
from test_greedy_decode import random_log_probs

import crnn_ext
from crnn_ext import align, label_log_probs, replacement_log_probs

LABELS = [[], [1], [1, 1], [2, 1, 2], [1, 2], [2, 2, 1], [1, 1, 1], [1, 1, 2, 2]]


def frames_of(T: int, C: int, seed: int = 0) -> torch.Tensor:
    values = torch.randn(T, C, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (values * 2).log_softmax(1)


@pytest.mark.parametrize("label", LABELS, ids=str)
@pytest.mark.parametrize("T", [1, 2, 3, 6])
def test_equals_the_enumeration_of_all_paths(T: int, label: list[int]) -> None:
    for blank in (0, 3):
        log_probs = frames_of(T, 4, T + len(label))
        (result,) = align(log_probs, [label], blank=blank)
        all_paths = list(reference.paths(log_probs.numpy(), label, blank))
        if not all_paths:
            assert (result.log_prob, result.path_log_prob) == (-math.inf, -math.inf)
            assert (result.spans, result.expected_spans()) == ([], [])
            assert result.occupancy.tolist() == [[0.0] * T] * (2 * len(label) + 1)
            continue
        total = sum(p for _, p in all_paths)
        best, best_p = max(all_paths, key=lambda pair: pair[1])
        assert result.log_prob == pytest.approx(math.log(total), rel=1e-13, abs=1e-13)
        assert result.path_log_prob == pytest.approx(math.log(best_p), rel=1e-13, abs=1e-13)
        assert result.spans == reference.spans(best)
        gamma = reference.occupancy(log_probs.numpy(), label, blank) / total
        np.testing.assert_allclose(result.occupancy.numpy(), gamma, rtol=1e-12, atol=1e-15)
        expected = np.sum([p * np.array(reference.spans(s)) for s, p in all_paths], 0) / total
        np.testing.assert_allclose(result.expected_spans(), expected, atol=1e-12)


@pytest.mark.parametrize("label", LABELS[1:], ids=str)
@pytest.mark.parametrize("T", [0, 1, 2, 3, 6, 30])
def test_replacements_equal_the_probability_of_each_label(T: int, label: list[int]) -> None:
    for blank in (0, 3):
        C = 5
        log_probs = frames_of(T, C, 7 * T + len(label))
        (got,) = replacement_log_probs(log_probs, [label], blank=blank)
        for i in range(len(label)):
            labels = [[*label[:i], *([] if c == blank else [c]), *label[i + 1 :]] for c in range(C)]
            expected = label_log_probs(log_probs, labels, blank=blank)
            torch.testing.assert_close(got[i], expected, rtol=1e-12, atol=1e-12)


def test_each_frame_is_somewhere() -> None:
    log_probs = random_log_probs(200, 3, 12)
    labels = [[1, 2, 3, 3, 4] * 6, [], [5]]
    for n, result in enumerate(align(log_probs, labels, [200, 1, 77])):
        assert result.occupancy.shape == (2 * len(labels[n]) + 1, [200, 1, 77][n])
        torch.testing.assert_close(
            result.occupancy.sum(0),
            torch.ones(()).double().expand(result.occupancy.shape[1]),
            rtol=1e-12,
            atol=0,
        )
        flat = [frame for span in result.expected_spans() for frame in span]
        assert flat == sorted(flat)
        assert result.log_prob >= result.path_log_prob


def test_occupancy_is_the_gradient_of_the_log_probability() -> None:
    """Of log p(l | y) by log y[t, c]: gamma summed over the states of class c (Graves 2006)."""
    log_probs = frames_of(40, 9).requires_grad_()
    label = [1, 2, 2, 3, 8, 1]
    loss = torch.nn.functional.ctc_loss(
        log_probs[:, None], torch.tensor([label]), (40,), (6,), reduction="sum"
    )
    # torch takes log_probs as outputs of log_softmax: its gradient is y - occupancy.
    loss.backward()
    (result,) = align(log_probs, [label])
    by_class = torch.zeros(40, 9, dtype=torch.float64)
    for u, row in enumerate(result.occupancy):
        by_class[:, label[u // 2] if u % 2 else 0] += row
    assert log_probs.grad is not None
    torch.testing.assert_close(
        log_probs.detach().exp() - by_class, log_probs.grad, rtol=1e-9, atol=1e-12
    )


def test_nothing_underflows_or_overflows() -> None:
    log_probs = frames_of(300, 4)
    labels = [[1, 2, 3, 1]]
    (plain,) = align(log_probs, labels)
    for shift in (-900.0, 500.0):
        (shifted,) = align(log_probs + shift, labels)
        assert shifted.log_prob == pytest.approx(plain.log_prob + 300 * shift, rel=1e-13)
        assert shifted.spans == plain.spans
        torch.testing.assert_close(shifted.occupancy, plain.occupancy, rtol=1e-9, atol=1e-12)
        (replaced,) = replacement_log_probs(log_probs + shift, labels)
        (expected,) = replacement_log_probs(log_probs, labels)
        torch.testing.assert_close(replaced, expected + 300 * shift, rtol=1e-12, atol=0)
    # A label whose states are all 1e-400 of their neighbours has its posterior all the same.
    log_probs = torch.zeros(3, 3, dtype=torch.float64)
    log_probs[:, 1] = -1000.0
    (rare,) = align(log_probs, [[1]])
    torch.testing.assert_close(rare.occupancy[1], torch.full((3,), 1 / 3, dtype=torch.float64))


def test_of_equal_paths_the_one_that_moves_on_soonest() -> None:
    flat = torch.zeros(5, 3)
    assert [r.spans for r in align(flat, [[1]])] == [[(0, 5)]]
    assert [r.spans for r in align(flat, [[1, 2]])] == [[(0, 1), (1, 5)]]
    assert [r.spans for r in align(flat, [[1, 1]])] == [[(0, 1), (2, 5)]]


def test_greedy_spans_are_those_of_the_best_path() -> None:
    log_probs = random_log_probs(30, 40, 6)
    for n, greedy in enumerate(crnn_ext.greedy_decode(log_probs)):
        (result,) = align(log_probs[:, n], [greedy.labels])
        assert result.spans == greedy.spans
        assert result.path_log_prob == pytest.approx(greedy.log_prob, abs=1e-4)


@pytest.mark.parametrize("zero", [-math.inf, -1e9, -3e38])
def test_labels_of_probability_zero(zero: float) -> None:
    log_probs = random_log_probs(6, 1, 4)[:, 0]
    log_probs[:, 2] = zero
    (result,) = align(log_probs, [[1, 2]])
    assert (result.log_prob, result.path_log_prob, result.spans) == (-math.inf, -math.inf, [])
    assert not result.occupancy.any()
    (replaced,) = replacement_log_probs(log_probs, [[1, 2]])
    assert replaced[0].tolist() == [-math.inf] * 4  # symbol 1 stays 2
    assert replaced[1].isfinite().tolist() == [True, True, False, True]


def test_labels_far_longer_than_the_sample_take_no_memory_to_speak_of() -> None:
    label = [1, 2] * 500_000
    (result,) = align(torch.zeros(2, 3), [label])
    assert (result.log_prob, result.path_log_prob, result.spans) == (-math.inf, -math.inf, [])
    assert not result.occupancy.any()
    (replaced,) = replacement_log_probs(torch.zeros(2, 3), [label])
    assert replaced.shape == (1_000_000, 3)
    assert bool((replaced == -math.inf).all())


def test_lengths_padding_types_and_strides() -> None:
    log_probs = random_log_probs(12, 4, 5)
    lengths = [12, 0, 5, 0]
    for n, length in enumerate(lengths):
        log_probs[length:, n] = math.nan
    labels = [[1, 2], [], [4, 4], [3]]
    results = align(log_probs, labels, lengths)
    replaced = replacement_log_probs(log_probs, labels, lengths)
    assert [r.log_prob for r in results[1::2]] == [0.0, -math.inf]
    assert replaced[1].shape == (0, 5)
    assert replaced[3].tolist() == [[0.0, *[-math.inf] * 4]]  # without its only symbol
    swapped = log_probs.permute(2, 0, 1).contiguous().permute(1, 2, 0)
    for values in (log_probs.double(), swapped):
        for n, result in enumerate(align(values, labels, torch.tensor(lengths))):
            assert result.spans == results[n].spans
            assert torch.equal(result.occupancy, results[n].occupancy)
    for n, length in enumerate(lengths):
        (alone,) = align(log_probs[:length, n], [np.array(labels[n])])
        assert torch.equal(alone.occupancy, results[n].occupancy)
        (row,) = replacement_log_probs(log_probs[:length, n].double(), [labels[n]])
        assert torch.equal(row, replaced[n])
    assert align(log_probs[:, :0], []) == replacement_log_probs(log_probs[:, :0], []) == []


def test_independent_of_threads() -> None:
    log_probs = random_log_probs(20, 9, 6)
    labels = [[1, 2, 3], [], [5]] * 3
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one, first = align(log_probs, labels), replacement_log_probs(log_probs, labels)
        torch.set_num_threads(3)
        many, second = align(log_probs, labels), replacement_log_probs(log_probs, labels)
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a.occupancy, b.occupancy) for a, b in zip(one, many, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("op", ["align", "replacement_log_probs"])
@pytest.mark.parametrize(
    ("labels", "lengths", "message"),
    [
        ([[1]], None, "labels must hold one label per sample (2), got 1"),
        ([[1], [5]], None,
         "labels must hold classes in [0, 5) other than the blank 0, got 5 in label 1"),
        ([[1], [0]], None,
         "labels must hold classes in [0, 5) other than the blank 0, got 0 in label 1"),
        ([[1], [1]], [3, 4], "lengths must lie in [0, 3], got 4 for sample 1"),
        ([[1], [1]], [3, 3],
         "log_probs must hold neither NaN nor values of 1e9 or more, got nan in frame 2 "
         "of sample 1"),
    ],
)  # fmt: skip
def test_errors(op: str, labels: Any, lengths: Any, message: str) -> None:
    log_probs = random_log_probs(3, 2, 5)
    log_probs[2, 1, 4] = math.nan
    with pytest.raises(ValueError) as error:  # noqa: PT011 -- compared in full below
        getattr(crnn_ext, op)(log_probs, labels, lengths)
    assert str(error.value) == f"{op}: {message}"


@pytest.mark.parametrize("labels", [["ab"], [1]])
def test_labels_are_sequences_of_integers(labels: Any) -> None:
    message = r"^align: labels must hold sequences of classes, got (str|int)$"
    with pytest.raises(TypeError, match=message):
        align(torch.zeros(2, 3), labels)

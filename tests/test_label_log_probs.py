"""label_log_probs (equation 1): path enumeration, the log-domain reference, torch's ctc_loss."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from reference import transcription as reference
from test_greedy_decode import random_log_probs

import crnn_ext


@pytest.mark.parametrize("blank", [0, 1, 2])
@pytest.mark.parametrize("T", [0, 1, 2, 5])
def test_equals_path_enumeration_and_sums_to_one(T: int, blank: int) -> None:
    C = 3
    log_probs = random_log_probs(T, 1, C)[:, 0].double()
    symbols = [c for c in range(C) if c != blank]
    labels = [label for L in range(T + 2) for label in itertools.product(symbols, repeat=L)]
    expected = reference.probabilities_by_enumeration(log_probs.numpy(), blank)
    got = crnn_ext.label_log_probs(log_probs, labels, blank=blank).exp().tolist()
    assert got == pytest.approx([expected.get(label, 0.0) for label in labels], rel=1e-13)
    # The log-softmax above was made in float32.
    assert sum(got) == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("labels", [[], [1], [2, 2], [1, 2, 1], [3, 3, 3, 1, 4, 4]])
@pytest.mark.parametrize("T", [1, 6, 9, 26, 1000])
def test_equals_log_domain_reference(T: int, labels: list[int]) -> None:
    log_probs = random_log_probs(T, 2, 5).double()
    got = crnn_ext.label_log_probs(log_probs, [labels])
    for n in range(2):
        expected = reference.label_log_prob(log_probs[:, n].numpy(), labels, 0)
        assert got[n, 0].item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("scale", [1.0, 30.0, 3000.0])
def test_second_opinion(scale: float) -> None:
    """torch's ctc_loss in float64; at scale 3000 probabilities fall below 1e-1000 per frame."""
    T, C = 60, 11
    log_probs = torch.randn(T, 1, C, generator=torch.Generator().manual_seed(3)).double()
    log_probs = (log_probs * scale).log_softmax(-1)
    labels = [[1, 2, 3], [4, 4, 5, 6, 6, 6], [], list(range(1, 11)) * 4]
    got = crnn_ext.label_log_probs(log_probs, labels)[0]
    for k, label in enumerate(labels):
        loss = torch.nn.functional.ctc_loss(
            log_probs, torch.tensor([label]), (T,), (len(label),), reduction="sum"
        )
        assert got[k].item() == pytest.approx(-loss.item(), rel=1e-12)


def test_nothing_underflows() -> None:
    """A state 1e-600 below its neighbours still decides the result."""
    T = 50
    log_probs = torch.full((T, 3), -700.0, dtype=torch.float64)
    log_probs[:, 0] = 0.0
    # Two of the frames carry class 1 at exp(-700) each: p = C(50, 2) exp(-1400) up to the terms
    # with more frames of class 1, smaller by exp(-700).
    pairs = sum(1 for a, b in itertools.combinations(range(T), 2) if b > a + 1)
    got = crnn_ext.label_log_probs(log_probs, [[1, 1]])
    assert got.item() == pytest.approx(math.log(pairs) - 1400, rel=1e-15)


def test_scores_above_zero_do_not_overflow() -> None:
    log_probs = random_log_probs(300, 1, 4)[:, 0].double()
    shifted = crnn_ext.label_log_probs(log_probs + 500, [[1, 2]])
    plain = crnn_ext.label_log_probs(log_probs, [[1, 2]])
    assert shifted.item() == pytest.approx(plain.item() + 300 * 500, rel=1e-14)


def test_impossible_labels() -> None:
    log_probs = random_log_probs(3, 1, 4)[:, 0]
    labels = [[1, 2, 3, 1], [1, 1, 2], [1, 1], [1, 2, 3]]
    got = crnn_ext.label_log_probs(log_probs, labels)
    assert got.isfinite().tolist() == [False, False, True, True]
    assert got[:2].tolist() == [-math.inf, -math.inf]


@pytest.mark.parametrize("zero", [-math.inf, -1e9, -3e38])
def test_masked_classes(zero: float) -> None:
    log_probs = random_log_probs(6, 1, 4)[:, 0]
    log_probs[:, 2] = zero
    got = crnn_ext.label_log_probs(log_probs, [[2], [1], [1, 2], [3, 1]])
    assert got.isfinite().tolist() == [False, True, False, True]
    kept = log_probs[:, [0, 1, 3]]
    alone = crnn_ext.label_log_probs(kept, [[1], [2, 1]])
    assert torch.equal(got[[1, 3]], alone)


def test_lengths_and_padding() -> None:
    log_probs = random_log_probs(12, 3, 5)
    lengths = [12, 0, 5]
    for n, length in enumerate(lengths):
        log_probs[length:, n] = math.nan
    labels = [[], [1], [4, 4, 2]]
    got = crnn_ext.label_log_probs(log_probs, labels, lengths)
    for n, length in enumerate(lengths):
        alone = crnn_ext.label_log_probs(log_probs[:length, n], labels)
        assert torch.equal(got[n], alone)
    assert got[1].tolist() == [0.0, -math.inf, -math.inf]


def test_dtypes_and_strides() -> None:
    log_probs = random_log_probs(8, 3, 5)
    labels = [[1, 2], [3]]
    expected = crnn_ext.label_log_probs(log_probs.double(), labels)
    assert torch.equal(crnn_ext.label_log_probs(log_probs, labels), expected)
    swapped = log_probs.permute(2, 0, 1).contiguous().permute(1, 2, 0)
    assert torch.equal(crnn_ext.label_log_probs(swapped, labels), expected)
    half = log_probs.bfloat16()
    got = crnn_ext.label_log_probs(half, labels)
    assert torch.equal(got, crnn_ext.label_log_probs(half.double(), labels))


def test_shapes() -> None:
    log_probs = random_log_probs(8, 3, 5)
    assert crnn_ext.label_log_probs(log_probs, []).shape == (3, 0)
    assert crnn_ext.label_log_probs(log_probs[:, :0], [[1]]).shape == (0, 1)
    assert crnn_ext.label_log_probs(log_probs[:, 0], [[1], []]).shape == (2,)
    assert crnn_ext.label_log_probs(log_probs, [np.array([1, 2])]).dtype == torch.float64


def test_independent_of_threads_and_of_other_labels() -> None:
    log_probs = random_log_probs(20, 3, 6)
    labels = [list(label) for label in itertools.product(range(1, 6), repeat=4)]
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = crnn_ext.label_log_probs(log_probs, labels)
        torch.set_num_threads(3)
        assert torch.equal(crnn_ext.label_log_probs(log_probs, labels), one)
    finally:
        torch.set_num_threads(before)
    assert torch.equal(crnn_ext.label_log_probs(log_probs, labels[400:401]), one[:, 400:401])


@pytest.mark.parametrize(
    ("labels", "error", "message"),
    [
        ([[1], [5]], ValueError,
         "label_log_probs: labels must hold classes in [0, 5) other than the blank 0, "
         "got 5 in label 1"),
        ([[0]], ValueError,
         "label_log_probs: labels must hold classes in [0, 5) other than the blank 0, "
         "got 0 in label 0"),
        ([[-1]], ValueError,
         "label_log_probs: labels must hold classes in [0, 5) other than the blank 0, "
         "got -1 in label 0"),
        (["ab"], TypeError, "label_log_probs: labels must hold sequences of classes, got str"),
        ([1, 2], TypeError, "label_log_probs: labels must hold sequences of classes, got int"),
    ],
)  # fmt: skip
def test_errors(labels: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error) as caught:
        crnn_ext.label_log_probs(torch.zeros(4, 3, 5), labels)
    assert str(caught.value) == message


def test_nan_names_the_sample() -> None:
    log_probs = random_log_probs(4, 3, 5)
    log_probs[2, 1, 4] = math.nan  # a class that no label asks for
    with pytest.raises(ValueError, match="label_log_probs") as caught:
        crnn_ext.label_log_probs(log_probs, [[1]])
    assert str(caught.value) == (
        "label_log_probs: log_probs must hold neither NaN nor values of 1e9 or more, "
        "got nan in frame 2 of sample 1"
    )

"""beam_decode against all paths, and against the greedy reading."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from reference import transcription as reference
from test_greedy_decode import one_hot, random_log_probs

import crnn_ext


@pytest.mark.parametrize("blank", [0, 2])
@pytest.mark.parametrize(("T", "C"), [(1, 3), (3, 2), (5, 3), (6, 4)])
def test_a_wide_beam_finds_all_labels(T: int, C: int, blank: int) -> None:
    if blank >= C:
        blank = C - 1
    log_probs = random_log_probs(T, 3, C, seed=T).double()
    results = crnn_ext.beam_decode(log_probs, blank=blank, beam=10**6, n_best=10**6, cutoff=0.0)
    for n, best in enumerate(results):
        true = reference.probabilities_by_enumeration(log_probs[:, n].numpy(), blank)
        assert {tuple(r.labels) for r in best} == set(true)
        assert [r.log_prob for r in best] == sorted((r.log_prob for r in best), reverse=True)
        for result in best:
            assert math.exp(result.log_prob) == pytest.approx(true[tuple(result.labels)])


@pytest.mark.parametrize("beam", [1, 2, 8])
def test_never_worse_than_greedy(beam: int) -> None:
    better = 0
    for sharpness in (0.1, 0.5, 1.0, 3.0):
        log_probs = (random_log_probs(20, 400, 8, seed=beam) * sharpness).log_softmax(-1)
        beams = crnn_ext.beam_decode(log_probs, beam=beam, n_best=2)
        greedy = crnn_ext.greedy_decode(log_probs)
        for n, (best, reading) in enumerate(zip(beams, greedy, strict=True)):
            one = log_probs[:, n]
            scores = crnn_ext.label_log_probs(one, [best[0].labels, reading.labels])
            assert best[0].log_prob == scores[0]
            assert scores[0] >= scores[1]
            better += bool(scores[0] > scores[1])
            assert len({tuple(r.labels) for r in best}) == len(best) <= 2
    assert better > 200


def test_repeats_need_a_blank() -> None:
    assert crnn_ext.beam_decode(one_hot([1, 1, 0, 1, 2, 2], 3))[0][0].labels == [1, 1, 2]
    # Two paths of "a" together are more than the best path, of nothing.
    log_probs = torch.tensor([[0.6, 0.4], [0.6, 0.4]]).log()
    assert crnn_ext.greedy_decode(log_probs)[0].labels == []
    (best,) = crnn_ext.beam_decode(log_probs, n_best=5)
    assert [r.labels for r in best] == [[1], []]
    assert math.exp(best[0].log_prob) == pytest.approx(0.64)


def test_lengths_threads_and_strides() -> None:
    log_probs = random_log_probs(9, 30, 6)
    lengths = [n % 10 for n in range(30)]
    for n, length in enumerate(lengths):
        log_probs[length:, n] = math.nan
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = crnn_ext.beam_decode(log_probs, lengths, n_best=3)
        torch.set_num_threads(3)
        assert crnn_ext.beam_decode(log_probs, torch.tensor(lengths), n_best=3) == one
    finally:
        torch.set_num_threads(before)
    turned = log_probs.permute(2, 0, 1).contiguous().permute(1, 2, 0)
    assert crnn_ext.beam_decode(turned, lengths, n_best=3) == one
    for n, length in enumerate(lengths):
        assert crnn_ext.beam_decode(log_probs[:length, n], n_best=3) == [one[n]]
    assert one[0] == [crnn_ext.BeamResult([], 0.0, 0.0)]


def test_impossible_frames() -> None:
    log_probs = torch.zeros(4, 3).log_softmax(-1)
    log_probs[2] = -math.inf
    (best,) = crnn_ext.beam_decode(log_probs)
    assert best == [crnn_ext.BeamResult([], -math.inf, -math.inf)]
    log_probs = random_log_probs(6, 1, 4)[:, 0]
    log_probs[:, 2] = -1e30
    for result in crnn_ext.beam_decode(log_probs, beam=50, n_best=50, cutoff=0.0)[0]:
        assert 2 not in result.labels
        assert math.isfinite(result.log_prob)


def test_ties_have_an_order() -> None:
    uniform = torch.zeros(4, 4).log_softmax(-1)
    first = crnn_ext.beam_decode(uniform, beam=5, n_best=5)
    assert all(crnn_ext.beam_decode(uniform, beam=5, n_best=5) == first for _ in range(3))


def test_long_samples_and_many_classes() -> None:
    path = [c for i in range(700) for c in (i % 50 + 1, 0, 0)]
    (best,) = crnn_ext.beam_decode(one_hot(path, 51))
    assert best[0].labels == [c for c in path if c]
    flat = random_log_probs(60, 1, 5000) * 0.01
    (best,) = crnn_ext.beam_decode(flat.log_softmax(-1), n_best=4)
    assert len(best) == 4


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: crnn_ext.beam_decode(torch.zeros(3, 2), beam=0), ValueError,
         "beam_decode: beam must be at least 1, got 0"),
        (lambda: crnn_ext.beam_decode(torch.zeros(3, 2), n_best=0), ValueError,
         "beam_decode: n_best must be at least 1, got 0"),
        (lambda: crnn_ext.beam_decode(torch.zeros(3, 2), cutoff=1.5), ValueError,
         "beam_decode: cutoff must lie in [0, 1], got 1.5"),
        (lambda: crnn_ext.beam_decode(torch.zeros(3, 2), blank=2), ValueError,
         "beam_decode: blank must lie in [0, 2), got 2"),
        (lambda: crnn_ext.beam_decode(torch.zeros(3, 2) / 0), ValueError,
         "beam_decode: log_probs must hold neither NaN nor values of 1e9 or more, "
         "got nan in frame 0 of sample 0"),
    ],
)  # fmt: skip
def test_errors(call: Callable[[], object], error: type[Exception], message: str) -> None:
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value) == message

"""From logits to labels, their probability and their frames, against the definition."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from crnn.alignment import align
from crnn.charset import Charset
from crnn.transcription import Transcriber
from crnn_ext import Lexicon, collapse


def test_confidence_is_equation_1_by_enumeration() -> None:
    """All 4^5 paths of a small sample, summed where they collapse to the text."""
    logits = torch.randn(5, 3, 4, generator=torch.Generator().manual_seed(2)) * 2
    lengths = torch.tensor([5, 3, 1])
    transcripts = Transcriber(Charset("abc"))(logits, lengths)
    for n, transcript in enumerate(transcripts):
        assert transcript is not None
        frames = logits[: lengths[n], n].double().softmax(1).tolist()
        total = sum(
            math.prod(frame[c] for frame, c in zip(frames, path, strict=True))
            for path in itertools.product(range(4), repeat=len(frames))
            if collapse(path) == transcript.labels
        )
        assert transcript.probability == pytest.approx(total, rel=1e-5)


def test_nothing_read_has_the_probability_of_nothing() -> None:
    logits = torch.zeros(6, 1, 3)
    logits[:, :, 0] = 5.0
    (transcript,) = Transcriber(Charset("ab"))(logits, torch.tensor([6]))
    assert transcript is not None
    assert (transcript.labels, transcript.spans, transcript.peaks) == ([], [], [])
    blank = float(logits.double().softmax(2)[0, 0, 0])
    assert transcript.probability == pytest.approx(blank**6, rel=1e-5)


@pytest.mark.parametrize("seed", range(8))
def test_alignment_is_the_best_of_all_paths(seed: int) -> None:
    rng = np.random.default_rng(seed)
    log_probs = np.log(rng.dirichlet(np.ones(3), 6))
    labels = [[], [1], [1, 1], [2, 1, 2], [1, 2], [2, 2, 1], [1, 1, 1], [2]][seed]
    best = max(
        (path for path in itertools.product(range(3), repeat=6) if collapse(path) == labels),
        key=lambda path: sum(log_probs[t, c] for t, c in enumerate(path)),
    )
    spans = align(log_probs, labels)
    runs = [
        [t for t, _ in run]
        for c, run in itertools.groupby(enumerate(best), key=lambda pair: pair[1])
        if c != 0
    ]
    assert spans == [(run[0], run[-1] + 1) for run in runs]


def test_alignment_needs_a_frame_for_each_symbol_and_repeat() -> None:
    assert align(np.zeros((3, 2)), [1, 1]) == [(0, 1), (2, 3)]
    with pytest.raises(ValueError, match=r"^align: log_probs must have at least 3 frames, got 2$"):
        align(np.zeros((2, 2)), [1, 1])


def test_logits_that_are_not_finite_fail_their_image_only() -> None:
    logits = torch.randn(6, 3, 9)
    logits[2, 1, 4] = float("nan")
    logits[5, 2, 0] = float("nan")  # beyond its length
    transcripts = Transcriber(Charset("abcdefgh"))(logits, torch.tensor([6, 6, 5]))
    assert [t is None for t in transcripts] == [False, True, False]
    words = Transcriber(Charset("abcdefgh"), Lexicon(["ab"], "abcdefgh"), "exhaustive")
    assert [t is None for t in words(logits, torch.tensor([6, 6, 5]))] == [False, True, False]

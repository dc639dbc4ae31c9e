"""From logits to labels, their probability and their frames, against the definition."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from crnn.charset import Charset
from crnn.transcription import Transcriber
from crnn_ext import Lexicon, collapse, label_log_probs


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
        assert transcript.confidence == pytest.approx(total, rel=1e-5)


def test_nothing_read_has_the_probability_of_nothing() -> None:
    logits = torch.zeros(6, 1, 3)
    logits[:, :, 0] = 5.0
    (transcript,) = Transcriber(Charset("ab"))(logits, torch.tensor([6]))
    assert transcript is not None
    assert (transcript.labels, transcript.alignment.spans) == ([], [])
    assert (transcript.confidences, transcript.alternatives) == ([], [])
    blank = float(logits.double().softmax(2)[0, 0, 0])
    assert transcript.confidence == pytest.approx(blank**6, rel=1e-5)


@pytest.mark.parametrize("lexicon", [None, Lexicon(["abc", "cab", "aab"], "abc")])
def test_symbols_are_as_probable_as_their_text_among_its_neighbours(
    lexicon: Lexicon | None,
) -> None:
    logits = torch.randn(7, 4, 4, generator=torch.Generator().manual_seed(4)) * 2
    lengths = torch.tensor([7, 5, 6, 1])
    transcripts = Transcriber(Charset("abc"), lexicon, alternatives=9)(logits, lengths)
    for n, transcript in enumerate(transcripts):
        assert transcript is not None
        frames = logits[: lengths[n], n].log_softmax(1)
        for i, own in enumerate(transcript.labels):
            before, after = transcript.labels[:i], transcript.labels[i + 1 :]
            texts = [[*before, *([c] if c else []), *after] for c in range(4)]
            choices = label_log_probs(frames, texts).softmax(0).tolist()
            assert transcript.confidences[i] == pytest.approx(choices[own], rel=1e-9)
            others = sorted((p, c) for c, p in enumerate(choices) if c != own)[::-1]
            assert [c for c, _ in transcript.alternatives[i]] == [c for _, c in others]
            assert [p for _, p in transcript.alternatives[i]] == pytest.approx(
                [p for p, _ in others], rel=1e-9, abs=1e-12
            )


def test_logits_that_are_not_finite_fail_their_image_only() -> None:
    logits = torch.randn(6, 3, 9)
    logits[2, 1, 4] = float("nan")
    logits[5, 2, 0] = float("nan")  # beyond its length
    transcripts = Transcriber(Charset("abcdefgh"))(logits, torch.tensor([6, 6, 5]))
    assert [t is None for t in transcripts] == [False, True, False]
    words = Transcriber(Charset("abcdefgh"), Lexicon(["ab"], "abcdefgh"), "exhaustive")
    assert [t is None for t in words(logits, torch.tensor([6, 6, 5]))] == [False, True, False]

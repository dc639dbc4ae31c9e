"""The monitor says what is wrong with a CTC network, and nothing when all is well."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from crnn.charset import Charset
from crnn.training.health import Health

CHARSET = Charset.named("36")
FRAMES = 12


def logits_of(*paths: str) -> Tensor:
    """``[FRAMES, N, 37]`` whose best class follows each path; '-' and what is left are blanks."""
    logits = torch.zeros(FRAMES, len(paths), 37)
    for n, path in enumerate(paths):
        for t, symbol in enumerate(path.ljust(FRAMES, "-")):
            logits[t, n, 0 if symbol == "-" else CHARSET.encode(symbol)[0]] = 20.0
    return logits


def labels_of(*words: str) -> list[list[int]]:
    return [CHARSET.encode(word) for word in words]


def test_a_healthy_window_is_passed_in_silence() -> None:
    health = Health(CHARSET)
    assert health.observe(logits_of("hel-lo", "a"), labels_of("hello", "b")) == 0.5
    assert health.diagnosis() == []
    assert health.figures() == {
        "word_accuracy": 0.5,
        "blank_frames": pytest.approx((24 - 6) / 24, abs=1e-4),
        "frame_confidence": pytest.approx(1.0, abs=1e-3),
        "doubled_merged": 0.0,
        "too_long": 0.0,
    }
    health.clear()
    assert health.figures()["word_accuracy"] == 0.0


def test_all_blank() -> None:
    health = Health(CHARSET)
    health.observe(logits_of("", ""), labels_of("exit", "open"))
    assert health.figures()["blank_frames"] == 1.0
    (found,) = health.diagnosis()
    assert found.startswith("every frame reads blank")


def test_dead_symbols_are_named() -> None:
    health = Health(CHARSET)
    for _ in range(40):
        health.observe(logits_of("a-a", "ok"), labels_of("aqa", "ok"))
    (found,) = health.diagnosis()
    assert found.startswith("never read, though in the labels: q;")


def test_merged_doubles() -> None:
    health = Health(CHARSET)
    for _ in range(40):
        health.observe(logits_of("ball", "be-e"), labels_of("ball", "bee"))
    assert health.figures()["doubled_merged"] == 0.5
    (found,) = health.diagnosis()
    assert found.startswith("40 of 80 words with doubled letters are read with single ones")


def test_labels_beyond_the_frames() -> None:
    health = Health(CHARSET)
    health.observe(logits_of("a", "a"), labels_of("abcdefghijkl", "aabbccddeef"))  # 12; 11 + 5
    assert health.figures()["too_long"] == 0.5
    assert health.diagnosis()[0].startswith("1 of 2 labels need more frames than they have")


def test_cut_labels() -> None:
    health = Health(CHARSET)
    health.observe(logits_of("restaurant"), labels_of("rest"))
    (found,) = health.diagnosis()
    assert found.startswith("readings are 2.5 times as long as labels")

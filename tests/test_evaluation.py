"""The 36-symbol protocol."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pictures import labelled

from crnn.data import open_dataset
from crnn.evaluation import evaluate, protocol36, wilson_interval


def test_protocol_drops_case_and_punctuation() -> None:
    assert protocol36("$10.25") == "1025"
    assert protocol36("It's É") == "its"
    assert protocol36("...") == ""


def test_wilson_interval() -> None:
    low, high = wilson_interval(80, 100)  # figures of the closed form, by hand
    assert low == pytest.approx(0.7112, abs=1e-4)
    assert high == pytest.approx(0.8666, abs=1e-4)
    assert wilson_interval(0, 0) == (0.0, 1.0)
    assert wilson_interval(0, 10)[0] == 0.0
    assert wilson_interval(10, 10)[1] == 1.0


class FakeRecognizer:
    """Reads the words of a list, in order; an image without bytes cannot be read."""

    def __init__(self, *texts: str) -> None:
        self.texts = texts

    def stream(self, images: Iterable[bytes], batch_size: int) -> list[Any]:
        return [
            SimpleNamespace(text=text, error=None)
            if image
            else SimpleNamespace(text="", error="unreadable")
            for image, text in zip(images, self.texts, strict=True)
        ]


def test_evaluate_counts(tmp_path: Path) -> None:
    data = open_dataset(labelled(tmp_path, ["Exit!", "house", "bad", "..."]))
    (tmp_path / "2.png").unlink()
    score = evaluate(FakeRecognizer("EXIT", "hose", ""), data)  # type: ignore[arg-type]
    assert (score.count, score.right, score.skipped, score.failed) == (3, 1, 1, 1)
    assert score.accuracy == pytest.approx(1 / 3)
    assert score.distance == pytest.approx((1 + 0.8 + 0) / 3)
    assert [label for _, label, _ in score.errors] == ["house", "bad"]


def test_evaluate_nothing(tmp_path: Path) -> None:
    data = open_dataset(labelled(tmp_path, ["..."]))
    score = evaluate(FakeRecognizer(), data)  # type: ignore[arg-type]
    assert score.count == 0
    assert math.isnan(score.accuracy)

"""Label files and the 36-symbol protocol."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from crnn.data import Sample, read_samples
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


def test_tab_separated_labels(tmp_path: Path) -> None:
    (tmp_path / "gt.tsv").write_text("a.jpg\tHello, you\n\nsub/b.jpg\t\n")
    assert read_samples(tmp_path) == [
        Sample(tmp_path / "a.jpg", "Hello, you"),
        Sample(tmp_path / "sub/b.jpg", ""),
    ]


def test_icdar_labels(tmp_path: Path) -> None:
    file = tmp_path / "gt.txt"
    file.write_bytes('\ufeffword_1.jpg, "Say ""hi"", now"\nword_2.jpg, plain\n'.encode())
    assert [sample.label for sample in read_samples(file)] == ['Say ""hi"", now', "plain"]


def test_label_file_errors(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"source must hold one of labels\.tsv, gt\.tsv"):
        read_samples(tmp_path)
    with pytest.raises(ValueError, match="cannot read"):
        read_samples(tmp_path / "none.tsv")
    (tmp_path / "gt.tsv").write_text("a.jpg\tfine\nnonsense\n")
    with pytest.raises(ValueError, match=r"gt\.tsv:2 must be 'image<TAB>label'"):
        read_samples(tmp_path)
    (tmp_path / "binary.tsv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="cannot read"):
        read_samples(tmp_path / "binary.tsv")


class FakeRecognizer:
    """Reads the stem of the file's name; `bad` cannot be read."""

    def read(self, paths: list[Path], batch_size: int) -> list[Any]:
        return [
            SimpleNamespace(text="", error="unreadable")
            if path.stem == "bad"
            else SimpleNamespace(text=path.stem, error=None)
            for path in paths
        ]


def test_evaluate_counts() -> None:
    samples = [
        Sample(Path("EXIT.png"), "Exit!"),
        Sample(Path("hose.png"), "house"),
        Sample(Path("bad.png"), "bad"),
        Sample(Path("dots.png"), "..."),
    ]
    score = evaluate(FakeRecognizer(), samples)  # type: ignore[arg-type]
    assert (score.count, score.right, score.skipped, score.failed) == (3, 1, 1, 1)
    assert score.accuracy == pytest.approx(1 / 3)
    assert score.distance == pytest.approx((1 + 0.8 + 0) / 3)
    assert [sample.label for sample, _ in score.errors] == ["house", "bad"]


def test_evaluate_nothing() -> None:
    score = evaluate(FakeRecognizer(), [])  # type: ignore[arg-type]
    assert score.count == 0
    assert math.isnan(score.accuracy)

"""What confidences are worth: calibration error, risk and coverage, and how `crnn eval` says it."""

from __future__ import annotations

import json
import math
import random
import sys
from pathlib import Path

import numpy as np
import pytest
from pictures import labelled
from PIL import Image
from tiny import save_tiny

from crnn.cli import main
from crnn.evaluation.confidence import BINS, Confidence
from crnn.evaluation.score import Outcome, Score

pytestmark = pytest.mark.usefixtures("one_thread")


def drawn(count: int, seed: int = 0, power: float = 1.0) -> tuple[list[float], list[bool]]:
    """Confidences c of readings that are right with probability ``c ** power``."""
    rng = random.Random(seed)
    confidences = [rng.random() ** 0.3 for _ in range(count)]
    return confidences, [rng.random() < c**power for c in confidences]


def test_calibration_error_by_its_definition() -> None:
    confidences, right = drawn(60)
    pairs = sorted(zip(confidences, right, strict=True))
    bins = [pairs[i : i + 4] for i in range(0, 60, 4)]
    expected = sum(abs(sum(c for c, _ in b) - sum(r for _, r in b)) for b in bins) / 60
    found = Confidence.of(confidences, right)
    assert found.calibration_error == pytest.approx(expected, rel=1e-12)
    assert [b.count for b in found.bins()] == [4] * BINS
    assert found.bins()[0].low == min(confidences)
    assert found.bins()[-1].high == max(confidences)


def test_calibration_error_tells_calibrated_from_not() -> None:
    assert Confidence.of(*drawn(50_000)).calibration_error < 0.01
    assert Confidence.of(*drawn(50_000, power=3.0)).calibration_error > 0.1


def test_risk_and_coverage_by_their_definition() -> None:
    found = Confidence.of([0.2, 0.9, 0.6, 0.8], [False, True, True, False])
    assert found.accuracies() == pytest.approx([1, 1 / 2, 2 / 3, 1 / 2])
    assert found.aurc == pytest.approx((0 + 1 / 2 + 1 / 3 + 1 / 2) / 4)
    assert [found.accuracy_at(c) for c in (1.0, 0.75, 0.5, 0.25, 0.01)] == pytest.approx(
        [1 / 2, 2 / 3, 1 / 2, 1, 1]
    )


def test_the_order_of_the_readings_changes_nothing() -> None:
    """Not even among equal confidences."""
    confidences = [round(c, 1) for c in drawn(101)[0]]
    right = drawn(101, seed=1)[1]
    first = Confidence.of(confidences, right)
    order = random.Random(3).sample(range(101), 101)
    other = Confidence.of([confidences[i] for i in order], [right[i] for i in order])
    assert first.calibration_error == pytest.approx(other.calibration_error, rel=1e-12)
    assert first.aurc == pytest.approx(other.aurc, rel=1e-12)
    assert np.allclose(first.accuracies(), other.accuracies(), rtol=1e-12)
    tied = Confidence.of([0.5] * 4, [True, False, False, False])
    assert tied.accuracies() == pytest.approx([0.25] * 4)


@pytest.mark.parametrize("count", [1, 2, BINS - 1, BINS, BINS + 1, 47])
def test_few_readings(count: int) -> None:
    found = Confidence.of(*drawn(count))
    bins = found.bins()
    assert sum(b.count for b in bins) == count
    assert max(b.count for b in bins) - min(b.count for b in bins) <= 1
    assert 0 <= found.calibration_error <= 1
    assert 0 <= found.aurc <= 1


def test_no_readings() -> None:
    found = Confidence.of([], [])
    assert found.bins() == []
    assert all(map(math.isnan, (found.calibration_error, found.aurc, found.accuracy_at(0.5))))


@pytest.mark.parametrize("value", [math.nan, -0.1, 1.1, math.inf])
def test_no_probability(value: float) -> None:
    with pytest.raises(ValueError, match=r"confidences must lie in \[0, 1\], got "):
        Confidence.of([0.5, value], [True, True])
    with pytest.raises(ValueError, match="right must have 1 values, got 2"):
        Confidence.of([0.5], [True, True])


def test_a_score_says_it() -> None:
    outcomes = tuple(
        Outcome(str(i), "a", "a" if r else "b", "a", "a" if r else "b", c)
        for i, (c, r) in enumerate(zip(*drawn(200), strict=True))
    )
    score = Score("d", "m", "36", "none", "", outcomes)
    figures = score.to_dict()
    assert figures["calibration_error"] == score.confidence.calibration_error
    assert figures["accuracy_at_coverage"]["1"] == pytest.approx(score.accuracy)
    assert figures["accuracy_at_coverage"]["0.5"] > figures["accuracy_at_coverage"]["0.95"]
    assert sum(bin["count"] for bin in figures["reliability"]) == 200
    assert f"AURC {score.confidence.aurc:.4f}" in score.confidence_text()
    empty = json.loads(json.dumps(Score("d", "m", "36", "none", "", ()).to_dict()))
    assert empty["calibration_error"] is None
    assert empty["accuracy_at_coverage"] == {}


def test_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = str(save_tiny(tmp_path / "tiny.safetensors"))
    data = str(labelled(tmp_path / "data", ["head"] * 20))
    plot = tmp_path / "plot.png"
    assert main(["eval", model, f"a={data}", f"b={data}", "--details", "--plot", str(plot)]) == 0
    out = capsys.readouterr().out
    assert out.count("\n  confidence: calibration error ") == 2
    assert out.count(" confidence     readings  mean   right\n") == 2
    with Image.open(plot) as picture:
        assert picture.size == (1500, 675)
    assert main(["eval", model, data, "--plot", str(tmp_path / "no" / "plot.png")]) == 2
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert main(["eval", model, data, "--plot", str(plot)]) == 2
    assert "matplotlib must be installed; run `pip install crnn-ext[plot]`" in (
        capsys.readouterr().err
    )

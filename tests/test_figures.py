"""Accuracy, intervals, comparison of two runs, and which labels a protocol counts."""

from __future__ import annotations

import math
import random
from collections import Counter
from pathlib import Path

import pytest

from crnn.evaluation import (
    Outcome,
    Score,
    compare,
    mcnemar,
    protocol,
    wilson_interval,
)
from crnn.evaluation.metrics import edits
from crnn_ext import edit_distance

pytestmark = pytest.mark.usefixtures("one_thread")


# ---- figures ----------------------------------------------------------------------------------


def test_wilson_interval() -> None:
    low, high = wilson_interval(80, 100)  # figures of the closed form, by hand
    assert low == pytest.approx(0.7112, abs=1e-4)
    assert high == pytest.approx(0.8666, abs=1e-4)
    assert wilson_interval(0, 0) == (0.0, 1.0)
    assert wilson_interval(0, 10)[0] == 0.0
    assert wilson_interval(10, 10)[1] == 1.0


def test_mcnemar() -> None:
    stats = pytest.importorskip("scipy.stats")
    for b, c in ((0, 0), (1, 0), (5, 5), (2, 11), (30, 10), (480, 540), (5000, 5300)):
        expected = stats.binomtest(b, b + c).pvalue if b + c else 1.0
        assert mcnemar(b, c) == pytest.approx(expected, rel=1e-6)
        assert mcnemar(c, b) == mcnemar(b, c)


def test_edits() -> None:
    assert edits("house", "hause") == [("o", "a")]
    assert edits("abc", "") == [("a", ""), ("b", ""), ("c", "")]
    assert edits("", "x") == [("", "x")]
    draw = random.Random(1)
    for _ in range(200):
        a, b = ("".join(draw.choices("abc", k=draw.randrange(7))) for _ in range(2))
        found = edits(a, b)
        assert len(found) == edit_distance(a, b)
        assert all(x != y for x, y in found)
        # What is missing from the one and added by the other accounts for all symbols.
        lost, won = Counter(x for x, _ in found), Counter(y for _, y in found)
        del lost[""], won[""]
        assert Counter(a) - Counter(b) <= lost
        assert Counter(b) - Counter(a) <= won


def outcome(truth: str, text: str, **options: object) -> Outcome:
    values = {"name": truth, "label": truth, "reading": text, "truth": truth, "text": text}
    return Outcome(**{**values, **options})  # type: ignore[arg-type]


def score_of(*outcomes: Outcome) -> Score:
    return Score("data", "model", "36", "none", "", outcomes)


def test_score() -> None:
    score = score_of(
        outcome("exit", "exit", confidence=0.9),
        outcome("house", "hose", confidence=0.2),
        outcome("bad", "", error="unreadable"),
        outcome("shop", "chop", confidence=0.7, covered=False),
    )
    assert (score.count, score.right, score.failed) == (4, 1, 1)
    assert score.accuracy == 0.25
    assert score.closeness == pytest.approx((1 + 0.8 + 0 + 0.75) / 4)
    assert score.character_error_rate == pytest.approx((0 + 1 + 3 + 1) / 16)
    assert score.covered == 0.75
    assert score.accuracy_covered == pytest.approx(1 / 3)
    assert math.isnan(score_of().accuracy_covered)
    assert [o.truth for o in score.errors] == ["shop", "house", "bad"]
    assert score.by_length() == {3: (0, 1), 4: (1, 2), 5: (0, 1)}
    assert score.confusions() == Counter(
        {("s", "c"): 1, ("u", ""): 1, ("b", ""): 1, ("a", ""): 1, ("d", ""): 1}
    )
    assert score.digest == score_of(*reversed(score.outcomes)).digest
    assert score.digest != score_of(*score.outcomes[1:]).digest
    # An image that cannot be read is wrong even where nothing is the truth.
    assert not outcome("", "", error="unreadable").right


def test_no_samples() -> None:
    score = score_of()
    assert math.isnan(score.accuracy)
    assert score.to_dict()["accuracy"] is None
    assert str(score).startswith("no labelled words")


def test_compare() -> None:
    first = score_of(outcome("a", "a"), outcome("b", "b"), outcome("c", "x"), outcome("d", "x"))
    second = score_of(outcome("d", "x"), outcome("c", "c"), outcome("a", "a"), outcome("b", "y"))
    found = compare(first, second)
    assert (found.both, found.only_first, found.only_second, found.neither) == (1, 1, 1, 1)
    assert found.p == 1.0
    with pytest.raises(ValueError, match="must score the same samples, got 1 that only one has"):
        compare(first, score_of(*second.outcomes[1:]))


# ---- protocols --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text", "normal"),
    [
        ("36", "$10.25", "1025"),
        ("36", "It's É", "its"),
        ("62", "It's É", "Its"),
        ("94", "It's É 5€", "It's5"),
        ("exact", "It's É 5€", "It's É 5€"),
    ],
)
def test_normalise(name: str, text: str, normal: str) -> None:
    assert protocol(name).normalise(text) == normal


@pytest.mark.parametrize(
    ("name", "scored"),
    [
        ("36", ["Exit", "it", "it's", "a b", "5"]),
        ("62", ["Exit", "it", "it's", "a b", "5"]),
        ("94", ["Exit", "it", "it's", "a b", "5", "..."]),
        ("exact", ["Exit", "it", "it's", "a b", "5", "...", "né"]),
        ("alnum", ["Exit", "it", "5"]),
        ("ic03-867", ["Exit"]),
        ("ic13-1095", ["Exit", "it", "it's", "a b", "5"]),
        ("ic13-1015", ["Exit", "it", "5"]),
        ("ic13-857", ["Exit"]),
        ("ic15-2077", ["Exit", "it", "it's", "a b", "5"]),
    ],
)
def test_which_labels_are_scored(name: str, scored: list[str]) -> None:
    labels = ["Exit", "it", "it's", "a b", "5", "...", "", "né"]
    if name in ("36", "62", "94", "ic13-1095", "ic15-2077"):
        scored = [*scored, "né"]
    assert [label for label in labels if protocol(name).scores("x", label)] == scored


def test_lists(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="protocol must be one of 36, 62, 94"):
        protocol("37")
    with pytest.raises(ValueError, match="manifest must be a readable text file"):
        protocol("36", tmp_path / "none")
    manifest = tmp_path / "list.txt"
    manifest.write_text("word_1.png\nsub/word_2.png\tignored\n\n000000007\n")
    rules = protocol("ic15-1811", manifest)
    assert rules.digest is not None
    assert rules.scores("/data/sub/word_2.png", "exit")
    assert rules.scores("word_1.png", "exit")
    assert rules.scores("/data/a.lmdb#000000007", "exit")
    assert not rules.scores("/data/word_2.png", "exit")
    assert not rules.scores("xword_1.png", "exit")
    assert not rules.scores("word_1.png", "it's")

"""Symbols, classes and text."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crnn.charset import Charset


@pytest.mark.parametrize(
    ("name", "size", "folds"), [("36", 36, True), ("62", 62, False), ("94", 94, False)]
)
def test_named(name: str, size: int, folds: bool) -> None:
    charset = Charset.named(name)
    assert len(charset) == size
    assert charset.num_classes == size + 1
    assert charset.fold_case is folds
    assert charset.blank == 0


def test_classes_start_after_the_blank() -> None:
    charset = Charset("abc")
    assert charset.encode("cab") == [3, 1, 2]
    assert charset.decode([3, 1, 2]) == "cab"
    assert charset.decode([]) == ""


@pytest.mark.parametrize("label", [-1, 0, 4])
def test_classes_without_a_symbol_are_refused(label: int) -> None:
    with pytest.raises(ValueError, match=rf"^Charset: classes must lie in \[1, 3\], got {label}$"):
        Charset("abc").decode([1, label])


def test_folding() -> None:
    charset = Charset.named("36")
    assert charset.decode(charset.encode("CafE7")) == "cafe7"
    assert Charset("aA").encode("Aa") == [2, 1]


@given(st.text(alphabet="0123456789abcdefghijklmnopqrstuvwxyz"))
def test_round_trip(text: str) -> None:
    charset = Charset.named("36")
    labels = charset.encode(text)
    assert charset.decode(labels) == text
    assert all(1 <= label <= len(charset) for label in labels)


def test_symbols_of_several_characters() -> None:
    charset = Charset(["C4", "D4", "rest"])
    assert charset.encode("D4 rest  C4") == [2, 3, 1]
    assert charset.decode([2, 3, 1]) == "D4 rest C4"
    assert charset.unknown("D4 E4 F4") == ["E4", "F4"]


def test_from_file(tmp_path: Path) -> None:
    path = tmp_path / "symbols.txt"
    path.write_text("é\n\nß\n漢\n", encoding="utf-8")
    charset = Charset.from_file(path)
    assert charset.symbols == ("é", "ß", "漢")
    assert charset.encode("漢é") == [3, 1]


def test_equality_is_by_content() -> None:
    assert Charset("ab") == Charset(["a", "b"])
    assert hash(Charset("ab")) == hash(Charset("ab"))
    assert Charset("ab") != Charset("ba")
    assert Charset("ab") != Charset("ab", fold_case=True)
    assert Charset("ab") != "ab"


@pytest.mark.parametrize(
    ("symbols", "fold_case", "message"),
    [
        ("", False, "Charset: symbols must hold at least one symbol, got none"),
        (["a", ""], False, "Charset: symbols must not be empty, got ''"),
        ("aba", False, "Charset: symbols must be all different, got 'a' twice"),
        ("aB", True, "Charset: symbols must be lower case with fold_case, got 'B'"),
    ],
)
def test_bad_symbols(symbols: list[str] | str, fold_case: bool, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Charset(symbols, fold_case)


def test_bad_text_and_name() -> None:
    with pytest.raises(
        ValueError, match=r"^Charset: text must use symbols of the charset, got '!' in 'a!b'$"
    ):
        Charset("ab").encode("a!b")
    with pytest.raises(
        ValueError, match=r"^Charset: name must be one of 36, 62, 94, music, got '95'$"
    ):
        Charset.named("95")

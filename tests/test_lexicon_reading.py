"""Reading with a lexicon: the words of each, and lexicons that cannot be used."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest
from pictures import picture

from crnn import Recognizer
from crnn.transcription import POSTERIOR_TOLERANCE
from crnn_ext import Lexicon

pytestmark = pytest.mark.usefixtures("one_thread")


def test_the_answer_is_a_word_of_the_lexicon(reader: Recognizer) -> None:
    words = ["abc", "bad", "cafe", "feed", "head", "hedge"]
    images = [picture(i) for i in range(6)]
    readings = reader.read(images, lexicon=words)
    exhaustive = reader.read(images, lexicon=words, method="exhaustive")
    for reading, same in zip(readings, exhaustive, strict=True):
        assert reading.posterior == pytest.approx(same.posterior, abs=POSTERIOR_TOLERANCE + 1e-3)
        assert dataclasses.replace(reading, posterior=same.posterior) == same
        assert reading.text in words
        assert "".join(s.text for s in reading.symbols) == reading.text
        edges = [edge for s in reading.symbols for edge in s.frames]
        assert edges == sorted(edges)


def test_a_lexicon_that_holds_the_free_reading_returns_it(reader: Recognizer) -> None:
    free = reader.read(picture(3))
    bound = reader.read(picture(3), lexicon=[free.text], method="bk-tree", delta=0)
    assert bound.text == free.text
    assert bound.confidence == pytest.approx(free.confidence, rel=1e-4)


def test_beyond_delta_the_free_reading_stays(reader: Recognizer) -> None:
    free = reader.read(picture(3))
    bound = reader.read(picture(3), lexicon=["h" * 25], method="bk-tree", delta=1)
    assert bound.text == free.text


def test_a_lexicon_from_a_file_folds_case_and_skips_unknown_symbols(
    reader: Recognizer, tmp_path: Path
) -> None:
    path = tmp_path / "words.txt"
    path.write_text("\ufeffCafe\n\n  head \nnaïve\n", encoding="utf-8")
    lexicon = reader.lexicon(path)
    assert lexicon.words == ("cafe", "head")
    assert lexicon.skipped == ("naïve",)
    assert reader.lexicon(lexicon) is lexicon
    assert reader.read(picture(0), lexicon=path).text in lexicon.words


@pytest.mark.parametrize(
    ("lexicon", "message"),
    [
        ([], "Lexicon: words must hold at least one word, got none"),
        (["xyz"], "Lexicon: words must hold at least one word, got none (1 skipped"),
        (
            "no_such_file.txt",
            "read: lexicon must be a readable file, got no_such_file.txt (No such",
        ),
        (Lexicon(["a"], "ab"), "read: lexicon must have the model's 8 symbols, got 2 others"),
    ],
)
def test_bad_lexicons(reader: Recognizer, lexicon: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        reader.read(picture(0), lexicon=lexicon)


def test_a_lexicon_that_is_not_text(reader: Recognizer, tmp_path: Path) -> None:
    path = tmp_path / "words.bin"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match=r"^read: lexicon must be UTF-8 text, got "):
        reader.lexicon(path)

"""Errors that stop nothing, errors that must, and images at the edge of being one."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from pictures import numbered, picture
from PIL import Image
from tiny import tiny_checkpoint

from crnn import Beam, ImageError, Recognizer

pytestmark = pytest.mark.usefixtures("one_thread")


def test_a_bad_image_stops_nothing(reader: Recognizer, tmp_path: Path) -> None:
    folder = numbered(tmp_path)
    (folder / "word_3.png").write_text("no image")
    missing = str(folder / "none.png")
    sources = [folder, missing, None, picture(0)]
    readings = reader.read(sources)  # type: ignore[call-overload]
    assert [r.error is None for r in readings] == [True, True, False, True, False, False, True]
    wrong = [r for r in readings if r.error is not None]
    assert all((r.text, r.confidence, r.symbols) == ("", 0.0, ()) for r in wrong)
    assert f"{folder / 'word_3.png'} must be an image of a known format, got text" in str(
        wrong[0].error
    )
    assert wrong[1].error == f"load: {missing} must be an existing file, got none there"
    assert str(wrong[2].error).startswith("load: sources[2] <NoneType> must be a path, bytes")
    with pytest.raises(ImageError, match=r"word_3\.png must be an image"):
        reader.read(sources, strict=True)  # type: ignore[call-overload]


def test_a_single_bad_image_raises_unless_asked_not_to(reader: Recognizer) -> None:
    with pytest.raises(ImageError, match=r"none\.png must be an existing file"):
        reader.read("none.png")
    reading = reader.read("none.png", strict=False)
    assert reading.error == "load: none.png must be an existing file, got none there"


def test_a_folder_without_images(reader: Recognizer, tmp_path: Path) -> None:
    (reading,) = reader.read(tmp_path)
    assert reading.error == f"load: {tmp_path} must hold an image, got a folder without any"
    with pytest.raises(ImageError, match="got a folder without any"):
        reader.read(tmp_path, strict=True)


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (20_000, 32), (20_000, 1)])
def test_extreme_sizes_are_read(reader: Recognizer, size: tuple[int, int]) -> None:
    reading = reader.read(Image.new("L", size, 128))
    assert reading.error is None
    assert all(0 <= s.box[0] < s.box[1] <= size[0] for s in reading.symbols)


def test_a_model_that_overflows_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = Recognizer(tiny_checkpoint())
    with torch.no_grad():
        broken.model.head.bias.fill_(float("inf"))
    (reading,) = broken.read([picture(0)])
    assert reading.error == "read: logits of sources[0] <PIL image> must be finite, got NaN or inf"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "read: batch_size must be at least 1, got 0"),
        (
            {"method": "best"},
            "read: method must be 'exact', 'bk-tree', 'exhaustive', 'greedy' or 'beam', got 'best'",
        ),
        (
            {"beam": Beam(), "method": "greedy"},
            "read: beam must come with method 'beam', got 'greedy'",
        ),
        (
            {"beam": Beam(), "lexicon": ["a"]},
            "read: beam must come with method 'beam', got 'exact'",
        ),
        (
            {"lexicon": ["a"], "method": "greedy"},
            "read: method must search the lexicon, got 'greedy'",
        ),
        ({"method": "beam", "beam": Beam(width=0)}, "beam_decode: beam must be at least 1, got 0"),
        (
            {"method": "beam", "beam": Beam(lm_weight=-1)},
            "beam_decode: lm_weight must lie in [0, 10], got -1",
        ),
        (
            {"method": "beam", "beam": Beam(free="a")},
            "beam_decode: free must be empty without a lexicon, got 'a'",
        ),
        (
            {"method": "beam", "beam": Beam(lm="none.lm")},
            "read: lm must be a readable file, got none.lm (No such file or directory)",
        ),
        ({"delta": -1}, "read: delta must be at least 0, got -1"),
    ],
)
def test_bad_options(reader: Recognizer, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        reader.read(picture(0), **options)
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        reader.stream([], **options)

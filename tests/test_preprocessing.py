"""From images in folders to the pixels that a network reads."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from crnn.images import Preprocessing, images_in, prepare


def test_folders_are_read_in_natural_order(tmp_path: Path) -> None:
    names = ["word_10.jpg", "word_2.JPG", "word_1.png", "b/a.png", "b/c/x.webp", "a/z.tif"]
    names += [".hidden.png", ".cache/y.png", "labels.tsv", "notes.txt"]
    for name in names:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    found = [os.path.relpath(path, tmp_path) for path in images_in(tmp_path)]
    assert found == ["word_1.png", "word_2.JPG", "word_10.jpg", "a/z.tif", "b/a.png", "b/c/x.webp"]


@pytest.mark.parametrize(
    ("size", "options", "width"),
    [
        ((200, 32), {}, 200),
        ((400, 64), {}, 200),
        ((40, 32), {}, 100),
        ((1, 1), {}, 100),
        ((20_000, 32), {}, 4096),
        ((20_000, 1), {}, 4096),
        ((1, 20_000), {}, 100),
        ((400, 64), {"fixed_width": 100}, 100),
        ((20_000, 32), {"fixed_width": 100}, 100),
        ((40, 32), {"min_width": 8}, 40),
        ((99, 48), {"height": 48, "min_width": 8}, 99),
    ],
)
def test_widths(size: tuple[int, int], options: dict[str, int], width: int) -> None:
    preprocessing = Preprocessing(**options)
    prepared = prepare(Image.new("L", size, 255), preprocessing)
    assert prepared.pixels.shape == (1, preprocessing.height, width)
    assert prepared.pixels.dtype == torch.float32
    assert prepared.scale == pytest.approx(size[0] / width)
    assert (prepared.pixels == 1.0).all()


def test_black_is_minus_one_and_nothing_is_out_of_range() -> None:
    assert (prepare(Image.new("L", (50, 50), 0), Preprocessing()).pixels == -1.0).all()
    noise = np.random.default_rng(0).integers(0, 2, (77, 300), np.uint8) * 255
    pixels = prepare(Image.fromarray(noise), Preprocessing()).pixels
    assert -1.0 <= float(pixels.min()) <= float(pixels.max()) <= 1.0


def test_shrinking_does_not_alias() -> None:
    """Columns of alternating black and white must become grey, not a pattern."""
    stripes = np.tile(np.array([0, 255], np.uint8), (512, 1600))
    pixels = prepare(Image.fromarray(stripes), Preprocessing()).pixels
    assert pixels.shape[2] == 200
    assert float(pixels.abs().max()) < 0.05


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"height": 0}, "Preprocessing: height must be an integer in [1, 65535], got 0"),
        ({"min_width": 2.5}, "Preprocessing: min_width must be an integer in [1, 65535], got 2.5"),
        (
            {"fixed_width": -1},
            "Preprocessing: fixed_width must be an integer in [1, 65535], got -1",
        ),
        ({"max_width": 50}, "Preprocessing: min_width must be at most max_width = 50, got 100"),
        ({"depth": 3}, "Preprocessing: not a preprocessing description"),
    ],
)
def test_bad_preprocessing(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        Preprocessing.from_dict(options)


def test_preprocessing_survives_json() -> None:
    for preprocessing in (Preprocessing(), Preprocessing(48, 64, 2000, 160)):
        assert Preprocessing.from_dict(preprocessing.to_dict()) == preprocessing

"""Small encoded images, and data sets of them."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


def png(seed: int = 0, width: int = 40, height: int = 12) -> bytes:
    """A grey PNG of noise; another seed is another image."""
    noise = np.random.default_rng(seed).integers(0, 256, (height, width), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "PNG")
    return buffer.getvalue()


def write(path: Path, seed: int = 0, width: int = 40, height: int = 12) -> Path:
    """`png` in a file, with its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(png(seed, width, height))
    return path


def labelled(folder: Path, labels: list[str]) -> Path:
    """A folder with ``gt.tsv``: image i is ``i.png``, of seed i."""
    for i in range(len(labels)):
        write(folder / f"{i}.png", i)
    rows = "".join(f"{i}.png\t{label}\n" for i, label in enumerate(labels))
    (folder / "gt.tsv").write_text(rows, encoding="utf-8")
    return folder


def picture(seed: int, width: int = 100, height: int = 32) -> Image.Image:
    """Smooth noise, so that scaling it changes little."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (4, max(2, width // 8)), np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def numbered(folder: Path) -> Path:
    """A folder with ``word_1.png``, ``word_2.png``, ``word_10.png`` and a file that is no image."""
    for i in (1, 2, 10):
        picture(i, 80 + 10 * i).save(folder / f"word_{i}.png")
    (folder / "labels.tsv").write_text("not an image")
    return folder


def noise() -> list[np.ndarray[Any, np.dtype[np.float32]]]:
    """In place of photographs: three of noise, in [0, 1)."""
    rng = np.random.default_rng(0)
    return [rng.random(shape, np.float32) for shape in ((64, 90), (200, 130), (70, 400))]

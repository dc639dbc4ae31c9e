"""Small encoded images, and data sets of them."""

from __future__ import annotations

import io
from pathlib import Path

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

"""Synthetic words on disk, and on a sheet to look at."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch.utils.data import DataLoader, Dataset

from crnn.data.lmdb_writer import LmdbWriter
from crnn.files import naming
from crnn.synth.dataset import SyntheticImages

Sample = tuple[NDArray[np.uint8], str]

_LABEL_HEIGHT = 16


def contact_sheet(
    samples: Sequence[Sample], columns: int = 8, cell: tuple[int, int] = (190, 78)
) -> Image.Image:
    """The images in their own proportions, each above its label.

    Args:
        samples: image ``[height, width]`` and label; at least one.
        columns: images side by side, at least 1.
        cell: width and height of each in pixels, its label included.

    Raises:
        ValueError: there is no sample or no column.
    """
    if not samples or columns < 1:
        raise ValueError(
            "contact_sheet: samples and columns must be at least 1, "
            f"got {len(samples)} and {columns}"
        )
    width, height = cell
    rows = -(-len(samples) // columns)
    sheet = Image.new("RGB", (columns * width, rows * height), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    for i, (pixels, label) in enumerate(samples):
        left, top = i % columns * width, i // columns * height
        image = Image.fromarray(pixels)
        scale = min((width - 6) / image.width, (height - _LABEL_HEIGHT - 4) / image.height)
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        sheet.paste(image.resize(size, Image.Resampling.BICUBIC), (left + 3, top + 2))
        pen.text((left + 3, top + height - _LABEL_HEIGHT), label, fill="black", font=font)
    return sheet


def export(
    data: SyntheticImages,
    destination: Path,
    count: int,
    start: int = 0,
    workers: int = 0,
    progress: Callable[[int], object] = lambda n: None,
) -> None:
    """Write samples `start` to ``start + count - 1`` with their labels.

    Args:
        data: draws them.
        destination: ``NAME.lmdb`` becomes a data set with the field's keys, which continues where
            it was broken off; any other name a folder of PNG files with ``gt.tsv``
            (``image<TAB>label``). It must not exist.
        count: at least 1.
        start: number of the first sample.
        workers: processes that draw; they change nothing but the time it takes.
        progress: called with 1 for each sample.

    Raises:
        ValueError: the destination exists, `count` is less than 1, or lmdb is not installed.
        OSError: the destination cannot be written.
    """
    if count < 1:
        raise ValueError(f"export: count must be at least 1, got {count}")
    if destination.suffix == ".lmdb":
        origin = f"crnn synth, seed {data.seed}, samples {start} to {start + count - 1}"
        with LmdbWriter(destination, origin=origin) as writer:
            progress(writer.position)
            for png, label in _encoded(
                data, range(start + writer.position, start + count), workers
            ):
                writer.add(png, label)
                progress(1)
        return
    if destination.exists():
        raise ValueError(f"export: destination must not exist yet, got {destination}")
    images = destination / "images"
    images.mkdir(parents=True)
    listed = destination / "gt.tsv"
    with naming(destination), listed.open("w", encoding="utf-8") as listing:
        for i, (png, label) in enumerate(_encoded(data, range(start, start + count), workers)):
            name = f"{start + i:09d}.png"
            (images / name).write_bytes(png)
            listing.write(f"images/{name}\t{label}\n")
            progress(1)


class _Encoded(Dataset[tuple[bytes, str]]):
    """Samples as PNG files, for a loader's workers."""

    def __init__(self, data: SyntheticImages) -> None:
        self.data = data

    def __getitem__(self, index: int) -> tuple[bytes, str]:
        pixels, label = self.data.sample(index)
        content = io.BytesIO()
        Image.fromarray(pixels).save(content, "PNG")
        return content.getvalue(), label


def _encoded(data: SyntheticImages, indices: range, workers: int) -> Iterator[tuple[bytes, str]]:
    loader = DataLoader(_Encoded(data), batch_size=None, sampler=indices, num_workers=workers)
    yield from loader

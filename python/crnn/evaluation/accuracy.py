"""Word accuracy under the case-insensitive protocol of 36 symbols."""

from __future__ import annotations

import string
import time
from dataclasses import dataclass
from math import sqrt
from typing import Any

from PIL import Image

from crnn.data import Dataset
from crnn.images import ImageError
from crnn.recognizer import Reading, Recognizer
from crnn_ext import edit_distance

_SYMBOLS = frozenset(string.digits + string.ascii_lowercase)


def protocol36(text: str) -> str:
    """`text` as the benchmarks compare it: lower case, everything but 0-9 and a-z dropped."""
    return "".join(symbol for symbol in text.lower() if symbol in _SYMBOLS)


def wilson_interval(right: int, count: int, z: float = 1.96) -> tuple[float, float]:
    """Wilson's score interval of a share (95 % by default); (0, 1) for no samples."""
    if count == 0:
        return 0.0, 1.0
    share = right / count
    centre = share + z * z / (2 * count)
    spread = z * sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    scale = 1 + z * z / count
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)


@dataclass(frozen=True)
class Score:
    """What `evaluate` measured.

    Attributes:
        count: samples scored.
        right: samples read exactly right.
        skipped: samples whose label has no symbol of the protocol.
        failed: images that could not be read; they count as wrong.
        distance: mean of 1 - edit distance / length of the longer text (1-NED), in [0, 1].
        seconds: wall time of reading.
        errors: (name, label, reading) of every wrong one.
    """

    count: int
    right: int
    skipped: int
    failed: int
    distance: float
    seconds: float
    errors: tuple[tuple[str, str, Reading], ...]

    @property
    def accuracy(self) -> float:
        """Share of samples read exactly right; NaN for no samples."""
        return self.right / self.count if self.count else float("nan")

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of the accuracy."""
        return wilson_interval(self.right, self.count)

    def to_dict(self) -> dict[str, Any]:
        """All figures, ready for JSON; the accuracy of no samples is None."""
        return {
            "count": self.count,
            "right": self.right,
            "skipped": self.skipped,
            "failed": self.failed,
            "accuracy": self.accuracy if self.count else None,
            "interval": self.interval,
            "distance": self.distance,
            "seconds_per_image": self.seconds / max(1, self.count),
        }

    def __str__(self) -> str:
        low, high = self.interval
        share = f"{self.accuracy:.1%} ({low:.1%}-{high:.1%})" if self.count else "no labelled words"
        return (
            f"{share}, {self.right} of {self.count} words, 1-NED {self.distance:.3f}, "
            f"{self.failed} unreadable, {self.skipped} without 0-9a-z, {self.seconds:.1f} s"
        )


def evaluate(recognizer: Recognizer, dataset: Dataset, batch_size: int = 64) -> Score:
    """Read `dataset` and compare under `protocol36`.

    Labels without any symbol of the protocol are skipped and counted, as the benchmarks do.
    """
    scored = [i for i in range(len(dataset)) if protocol36(dataset.label(i))]
    started = time.perf_counter()
    images = (_image(dataset, i) for i in scored)
    readings = list(recognizer.stream(images, batch_size=batch_size))
    seconds = time.perf_counter() - started
    closeness = 0.0
    errors = []
    for i, reading in zip(scored, readings, strict=True):
        truth, text = protocol36(dataset.label(i)), protocol36(reading.text)
        closeness += 1 - edit_distance(truth, text) / max(len(truth), len(text))
        if truth != text:
            errors.append((dataset.name(i), dataset.label(i), reading))
    return Score(
        count=len(scored),
        right=len(scored) - len(errors),
        skipped=len(dataset) - len(scored),
        failed=sum(reading.error is not None for reading in readings),
        distance=closeness / max(1, len(scored)),
        seconds=seconds,
        errors=tuple(errors),
    )


def _image(dataset: Dataset, index: int) -> bytes | Image.Image:
    try:
        return dataset.image(index)
    except ImageError:
        return b""  # read as an empty file: unreadable

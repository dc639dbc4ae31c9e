"""`convert`: any data set to LMDB, whole, and resumable."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from crnn.data.dataset import Dataset, Problem
from crnn.data.lmdb_writer import LmdbWriter
from crnn.images import ImageError


@dataclass(frozen=True)
class Converted:
    """What `convert` did.

    Attributes:
        written: samples of the new data set.
        resumed: where it continued: samples that an earlier, unfinished run had dealt with.
        problems: samples left out by this run, and why.
    """

    written: int
    resumed: int
    problems: tuple[Problem, ...]


def convert(
    source: Dataset,
    destination: str | os.PathLike[str],
    progress: Callable[[int], object] = lambda position: None,
) -> Converted:
    """Write `source` as LMDB with the field's keys, images byte for byte.

    Words cut out of photographs are stored as PNG. Samples that cannot be read, or whose bytes are
    no image, are left out and named. Interrupted, the same call continues.

    Args:
        source: any data set; unchanged between the calls.
        destination: a path that does not exist yet.
        progress: called after each sample with how many are done.

    Raises:
        ValueError, OSError: see `LmdbWriter`.
    """
    problems = []
    origin = f"{Path(source.source).absolute()} {fingerprint(source)}"
    with LmdbWriter(destination, origin, source.lexicons) as writer:
        resumed = writer.position
        for i in range(resumed, len(source)):
            try:
                image = _encoded(source.image(i), source.name(i))
                lexicons = {name: source.lexicon(i, name) for name in source.lexicons}
                writer.add(image, source.label(i), lexicons)
            except ValueError as error:  # ImageError, or text that is no Unicode
                problems.append(Problem(source.name(i), str(error)))
                writer.skip()
            progress(i + 1)
        return Converted(writer.count, resumed, tuple(problems))


def fingerprint(dataset: Dataset) -> str:
    """A short hash of a data set's size and of up to 1000 of its names and labels."""
    state = hashlib.sha256(f"{len(dataset)} {dataset.lexicons}".encode())
    for i in range(0, len(dataset), max(1, len(dataset) // 1000)):
        try:
            text = f"{dataset.name(i)}\n{dataset.label(i)}\n"
        except ImageError as error:
            text = str(error)
        state.update(text.encode("utf-8", "surrogatepass"))
    return state.hexdigest()[:16]


def _encoded(image: bytes | Image.Image, name: str) -> bytes:
    if isinstance(image, Image.Image):
        buffer = io.BytesIO()
        image.save(buffer, "PNG")
        return buffer.getvalue()
    try:
        with Image.open(io.BytesIO(image)) as header:  # the header only: quick, and tells most
            header.verify()
    except Exception as error:  # a decoder fed a damaged file may raise nearly anything
        raise ImageError(f"load: {name} must be an image of a known format, got {error}") from error
    return image

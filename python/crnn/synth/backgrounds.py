"""Photographs to blend words with: of folders, or of small archives for machines without any."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image

from crnn.files import replacing
from crnn.synth.geometry import Grey

_SUFFIXES = (".jpg", ".jpeg", ".png")
_MOST_BYTES = 100_000_000  # of a file in an archive; what announces more is passed over


def load_backgrounds(sources: Sequence[str | Path], limit: int = 400) -> list[Grey]:
    """Photographs to blend with, reduced to 512 pixels; unreadable files are passed over.

    Args:
        sources: folders, or zip archives of images, e.g. of `pack_backgrounds`.
        limit: at most so many.

    Raises:
        ValueError: an archive is damaged.
        OSError: an archive cannot be read.
    """
    found: list[Grey] = []
    for source in sources:
        path = Path(source).expanduser()
        files = _archived(path) if path.suffix == ".zip" and path.is_file() else _files(path)
        for file in files:
            if len(found) >= limit:
                break
            try:
                with Image.open(file) as image:
                    image.draft("L", (512, 512))
                    grey = image.convert("L")
            except (OSError, ValueError, Image.DecompressionBombError):
                continue
            if min(grey.size) < 64:
                continue
            grey.thumbnail((512, 512))
            found.append(np.asarray(grey, np.float32) / np.float32(255))
    return found


def pack_backgrounds(
    sources: Sequence[str | Path], archive: Path, count: int = 150, size: int = 256
) -> int:
    """Write photographs, reduced, into an archive that `load_backgrounds` takes.

    Args:
        sources: as for `load_backgrounds`.
        archive: the file to write; ends in ``.zip``.
        count: at most so many, spread over those found.
        size: pixels of the longer side, 64 to 512.

    Returns:
        how many were written.

    Raises:
        ValueError: the name has another ending, `size` or `count` is out of range, or no photograph
            was found.
        OSError: the archive cannot be written.
    """
    if archive.suffix != ".zip":
        raise ValueError(f"pack_backgrounds: archive must end in .zip, got {archive}")
    if count < 1:
        raise ValueError(f"pack_backgrounds: count must be at least 1, got {count}")
    if not 64 <= size <= 512:
        raise ValueError(f"pack_backgrounds: size must be within [64, 512], got {size}")
    found = load_backgrounds(sources, limit=2000)
    if not found:
        raise ValueError(
            "pack_backgrounds: sources must hold photographs (.jpg or .png, at least 64 pixels), "
            f"got none in {', '.join(map(str, sources))}"
        )
    chosen = np.unique(np.linspace(0, len(found) - 1, min(count, len(found))).astype(int))
    with replacing(archive) as temporary, zipfile.ZipFile(temporary, "w") as file:
        for number, index in enumerate(chosen):
            image = Image.fromarray(np.rint(found[index] * 255).astype(np.uint8))
            # The shorter side stays long enough for `load_backgrounds`.
            scale = min(1.0, max(size / max(image.size), 64 / min(image.size)))
            image = image.resize((round(image.width * scale), round(image.height * scale)))
            content = io.BytesIO()
            image.save(content, "JPEG", quality=80)
            # A fixed date: the same photographs make the same archive.
            file.writestr(zipfile.ZipInfo(f"{number:04d}.jpg"), content.getvalue())
    return len(chosen)


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.suffix.lower() in _SUFFIXES)


def _archived(archive: Path) -> Iterator[IO[bytes]]:
    """The images of an archive, by name."""
    try:
        with zipfile.ZipFile(archive) as file:
            for entry in sorted(file.infolist(), key=lambda entry: entry.filename):
                if Path(entry.filename).suffix.lower() not in _SUFFIXES:
                    continue
                if entry.file_size <= _MOST_BYTES:
                    yield io.BytesIO(file.read(entry))
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
        raise ValueError(
            f"load_backgrounds: {archive} must be a zip archive of images, got {error}"
        ) from error

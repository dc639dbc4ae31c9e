"""A font archive: the Latin glyphs of many fonts in one small file, for machines without fonts."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

from crnn.files import replacing

SUFFIX = ".zip"
_INDEX = "families.json"
#: What signs are written with: printable ASCII and the currencies of `crnn.synth.text`.
SYMBOLS = "".join(map(chr, range(32, 127))) + "£€"


def pack_fonts(
    families: Sequence[Sequence[str]],
    archive: Path,
    per_family: int = 0,
    progress: Callable[[int], object] = lambda n: None,
) -> list[str]:
    """Write the fonts, reduced to `SYMBOLS`, into a zip file that `find_fonts` takes.

    Args:
        families: font files, e.g. of `find_fonts`.
        archive: the file to write; ends in ``.zip``.
        per_family: at most so many files of each family; 0: all.
        progress: called with 1 for each font.

    Returns:
        the fonts left out, because fontTools cannot reduce them (Type 1, damaged tables).

    Raises:
        ValueError: fontTools is not installed, the name has another ending, or no font was left.
        OSError: the archive cannot be written.
    """
    if archive.suffix != SUFFIX:
        raise ValueError(f"pack_fonts: archive must end in {SUFFIX}, got {archive}")
    refused: list[str] = []
    packed: list[list[str]] = []
    with replacing(archive) as temporary:
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as file:
            for number, family in enumerate(families):
                names: list[str] = []
                for path in family:
                    if per_family and len(names) == per_family:
                        break
                    content = _subset(path)
                    progress(1)
                    if content is None:
                        refused.append(path)
                        continue
                    names.append(f"{number:04d}-{len(names):03d}{_ending(content)}")
                    # A fixed date: the same fonts make the same archive.
                    file.writestr(zipfile.ZipInfo(names[-1]), content, zipfile.ZIP_DEFLATED)
                if names:
                    packed.append(names)
            file.writestr(zipfile.ZipInfo(_INDEX), json.dumps(packed))
        if not packed:
            raise ValueError("pack_fonts: families must hold a TrueType or OpenType font, got none")
    return refused


def unpack_fonts(archive: Path, cache: Path) -> list[list[str]]:
    """Families of the fonts in `archive`, unpacked once into a folder of `cache`.

    Raises:
        ValueError: it is no archive of `pack_fonts`, or a damaged one.
    """
    try:
        with zipfile.ZipFile(archive) as file:
            packed: list[list[str]] = json.loads(file.read(_INDEX))
            names = [name for family in packed for name in family]
            if any(Path(name).name != name for name in names):
                raise ValueError("a font's name leads out of the archive")
            digest = hashlib.sha256(repr([(i.filename, i.CRC) for i in file.infolist()]).encode())
            folder = cache / f"fonts-{digest.hexdigest()[:16]}"
            if not folder.exists():
                partial = cache / f"{folder.name}.{os.getpid()}"
                partial.mkdir(parents=True, exist_ok=True)
                for name in names:
                    (partial / name).write_bytes(file.read(name))
                try:
                    partial.rename(folder)
                except OSError:  # another process was first
                    if not folder.exists():
                        raise
    except (zipfile.BadZipFile, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"find_fonts: {archive} must be an archive of crnn synth pack-fonts, got {error}"
        ) from error
    return [[str(folder / name) for name in family] for family in packed]


def _subset(path: str) -> bytes | None:
    """The font with the glyphs of `SYMBOLS` and its kerning alone; None if that fails."""
    try:
        from fontTools import subset
        from fontTools.ttLib import TTLibError
    except ImportError as error:
        raise ValueError(
            "pack_fonts: fontTools must be installed; pip install 'crnn-ext[fonts]'"
        ) from error
    logging.getLogger("fontTools").setLevel(logging.ERROR)
    options = subset.Options(
        layout_features=[], legacy_kern=True, hinting=False, notdef_outline=True, name_IDs=[1, 2]
    )
    try:
        with subset.load_font(io.BytesIO(Path(path).read_bytes()), options) as font:
            worker = subset.Subsetter(options)
            worker.populate(text=SYMBOLS)
            worker.subset(font)
            content = io.BytesIO()
            subset.save_font(font, content, options)
    except (TTLibError, AssertionError, AttributeError, KeyError, ValueError, OSError):
        return None
    return content.getvalue()


def _ending(content: bytes) -> str:
    return ".otf" if content.startswith(b"OTTO") else ".ttf"

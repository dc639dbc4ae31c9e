"""Fonts of this machine whose Latin glyphs are true letters.

Symbol, rune and Greek fonts map other pictures onto ASCII and would teach wrong labels. Each
candidate is therefore judged by consensus, glyph by glyph: the mean picture of each letter over
all fonts is a template, and a font stays if most of its glyphs look most like the template of
their own letter, none looks far more like that of another, and no two letters are one picture.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import string
import sys
import warnings
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from tqdm import tqdm

from crnn.files import write_atomically
from crnn.synth.pack import SUFFIX, unpack_fonts

FONT_DIRECTORIES = (
    "/usr/share/fonts",
    "/usr/local/share/fonts",
    "~/.local/share/fonts",
    "~/.fonts",
    "/Library/Fonts",
    "/System/Library/Fonts",
)
SUFFIXES = (".ttf", ".otf", ".ttc", ".pfb")

_SYMBOLS = string.digits + string.ascii_letters
_SIZE = 16  # pixels of a template's side
# Letters that many good fonts draw alike, so confusing them is no mark against a font.
_ALIKE = [set("0Oo"), set("1Iil"), *({c, c.upper()} for c in string.ascii_lowercase)]
# Small-caps and capitals-only fonts, scripts and heavy display faces still score above this;
# symbol and non-Latin fonts score below 0.3.
_MIN_AGREEMENT = 0.55
# A glyph may be unusual, but not much nearer (in correlation) to another letter than to its own.
_MAX_MARGIN = 0.5
_SAME = 0.995  # correlation from which two glyphs are one picture


def find_fonts(sources: Iterable[str | Path] = FONT_DIRECTORIES) -> list[list[str]]:
    """Families of usable font files, sorted.

    Args:
        sources: folders, whose fonts are judged (the verdicts are cached on disk), and archives
            of `crnn.synth.pack.pack_fonts`, whose fonts were.

    Raises:
        ValueError: none was found, or an archive is damaged.
    """
    paths = [Path(source).expanduser() for source in sources]
    archives = [path for path in paths if path.suffix == SUFFIX and path.is_file()]
    good = [family for archive in archives for family in unpack_fonts(archive, cache_folder())]
    folders = [path for path in paths if path not in archives]
    if folders:
        good += _judged(_font_files(folders))
    if not good:
        raise ValueError(
            "find_fonts: sources must hold at least one font with Latin letters, got "
            f"{', '.join(map(str, paths))}; install some, e.g. fonts-dejavu fonts-liberation"
        )
    return good


def _judged(candidates: Sequence[str]) -> list[list[str]]:
    """Families of the good ones, from the cache if these files were judged before."""
    cache = _cache_path(candidates)
    try:
        good: list[list[str]] = json.loads(cache.read_text())
    except (OSError, ValueError):
        good = _families(_judge(candidates))
        with contextlib.suppress(OSError):  # a full or read-only disk costs time, no more
            cache.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(cache, json.dumps(good).encode())
    return good


def _font_files(directories: Iterable[Path]) -> list[str]:
    found = set()
    for directory in directories:
        for path in directory.rglob("*"):
            if path.suffix.lower() in SUFFIXES:
                found.add(str(path.resolve()))
    return sorted(found)


def _cache_path(candidates: Sequence[str]) -> Path:
    stamps = [(path, os.stat(path).st_mtime_ns) for path in candidates]
    key = hashlib.sha256(
        json.dumps([_MIN_AGREEMENT, _MAX_MARGIN, _SAME, stamps]).encode()
    ).hexdigest()[:16]
    return cache_folder() / f"font-families-{key}.json"


def cache_folder() -> Path:
    """Where what takes seconds to find out about fonts is kept."""
    return Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "crnn"


def _families(paths: Iterable[str]) -> list[list[str]]:
    families: dict[str, list[str]] = defaultdict(list)
    for path in paths:
        families[ImageFont.truetype(path, 8).getname()[0] or path].append(path)
    return [families[name] for name in sorted(families)]


def _judge(candidates: Sequence[str]) -> list[str]:
    glyphs: dict[str, NDArray[np.float32]] = {}
    progress = tqdm(
        candidates, desc="checking fonts", file=sys.stderr, disable=len(candidates) < 50
    )
    for path in progress:
        drawn = _draw_symbols(path)
        if drawn is not None:
            glyphs[path] = drawn
    if not glyphs:
        return []
    templates = _normalise(np.mean(np.stack(list(glyphs.values())), axis=0))
    return [path for path, drawn in glyphs.items() if _is_latin(_normalise(drawn), templates)]


def _draw_symbols(path: str) -> NDArray[np.float32] | None:
    """Each symbol scaled to a square, ``[62, _SIZE**2]``; None if a glyph is missing or empty."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            font = ImageFont.truetype(path, 32, layout_engine=ImageFont.Layout.BASIC)
            missing = _glyph(font, "￿")
            drawn = [_glyph(font, symbol) for symbol in _SYMBOLS]
    except (OSError, ValueError, ZeroDivisionError):
        return None
    rows = []
    for glyph in drawn:
        if glyph is None or (missing is not None and np.array_equal(glyph, missing)):
            return None
        rows.append(glyph)
    return np.stack(rows)


def _glyph(font: ImageFont.FreeTypeFont, symbol: str) -> NDArray[np.float32] | None:
    left, top, right, bottom = font.getbbox(symbol)
    width, height = int(right - left), int(bottom - top)
    if not (0 < width < 200 and 0 < height < 200):
        return None
    canvas = Image.new("L", (width, height))
    ImageDraw.Draw(canvas).text((-left, -top), symbol, fill=255, font=font)
    square = canvas.resize((_SIZE, _SIZE), Image.Resampling.BOX)
    return np.asarray(square, np.float32).ravel()


def _normalise(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    centred = rows - rows.mean(axis=1, keepdims=True)
    norm = np.linalg.norm(centred, axis=1, keepdims=True)
    return np.asarray(centred / np.maximum(norm, 1e-6), np.float32)


def _alike() -> NDArray[np.bool_]:
    """``[62, 62]``: which symbols good fonts may draw alike, each with itself."""
    table = np.eye(len(_SYMBOLS), dtype=np.bool_)
    for group in _ALIKE:
        rows = [_SYMBOLS.index(symbol) for symbol in group]
        table[np.ix_(rows, rows)] = True
    return table


def _is_latin(drawn: NDArray[np.float32], templates: NDArray[np.float32]) -> bool:
    """Whether the glyphs ``[62, _SIZE**2]``, normalised, are the letters they stand for."""
    alike = _alike()
    likeness = drawn @ templates.T
    own = np.where(alike, likeness, -2.0).max(axis=1)
    other = np.where(alike, -2.0, likeness).max(axis=1)
    twins = (drawn @ drawn.T > _SAME) & ~alike
    agreement = float((own >= other).mean())
    return bool(
        agreement > _MIN_AGREEMENT and (other - own).max() < _MAX_MARGIN and not twins.any()
    )

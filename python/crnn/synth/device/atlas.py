"""The glyphs of many fonts in one buffer, with the numbers that place them; kept on disk.

A device that draws words needs every glyph within reach. Some 1,600 fonts of 97 symbols take 80 MB.
Pillow's basic layout kerns by hundredths of a pixel, so advances alone place the letters.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from crnn.synth.fonts import cache_folder
from crnn.synth.glyphs import EM, Face
from crnn.synth.pack import SYMBOLS

_VERSION = 1  # of the file's form
_CODES = np.array(sorted(map(ord, SYMBOLS)), np.uint32)
#: Symbols of a font, in the order of their code points.
COUNT = len(_CODES)


@dataclass(frozen=True)
class Atlas:
    """F fonts of `COUNT` symbols; glyph ``f * COUNT + s`` is symbol s of font f.

    Attributes:
        pixels: ``[P]`` uint8, the masks row by row, one after another; ``pixels[0]`` is 0 and
            belongs to none.
        offset: ``[F * COUNT]`` int32, where a mask begins in `pixels`.
        size: ``[F * COUNT, 2]`` int32, height and width of the mask; 0 for what leaves no ink.
        bearing: ``[F * COUNT, 2]`` int32, its top and left against the line's top and the pen.
        advance: ``[F * COUNT]`` float32, from one pen to the next.
        has: ``[F * COUNT]`` bool, whether the font draws the symbol itself.
        families: ``[families + 1]`` int32, the first font of each family, and F.
    """

    pixels: NDArray[np.uint8]
    offset: NDArray[np.int32]
    size: NDArray[np.int32]
    bearing: NDArray[np.int32]
    advance: NDArray[np.float32]
    has: NDArray[np.bool_]
    families: NDArray[np.int32]

    @property
    def fonts(self) -> int:
        """How many fonts it holds."""
        return len(self.offset) // COUNT


def symbols_of(texts: Sequence[str]) -> NDArray[np.int64]:
    """``[N, L]``: the symbols of each text, then -1; -1 also for what no atlas holds."""
    lengths = np.array([len(text) for text in texts], np.int64)
    codes = np.frombuffer("".join(texts).encode("utf-32-le"), np.uint32)
    found = np.minimum(np.searchsorted(_CODES, codes), COUNT - 1)
    table = np.full((len(texts), max(1, int(lengths.max(initial=0)))), -1, np.int64)
    table[np.arange(table.shape[1]) < lengths[:, None]] = np.where(
        _CODES[found] == codes, found, -1
    )
    return table


def load_atlas(families: Sequence[Sequence[str]], workers: int = 0) -> Atlas:
    """The atlas of these fonts: from the cache, or drawn and put there.

    Args:
        families: font files, e.g. of `find_fonts`.
        workers: processes that draw; 0: this one.

    Raises:
        ValueError: there is no font, or Pillow cannot read one.
    """
    files = [path for family in families for path in family]
    if not files:
        raise ValueError("load_atlas: families must hold a font, got none")
    try:
        stamps = [(path, os.stat(path).st_mtime_ns) for path in files]
    except OSError as error:
        raise ValueError(f"load_atlas: families must be font files, got {error}") from error
    sizes = [len(family) for family in families]
    key = hashlib.sha256(json.dumps([_VERSION, EM, SYMBOLS, sizes, stamps]).encode()).hexdigest()
    cache = cache_folder() / f"atlas-{key[:16]}.safetensors"
    try:
        return Atlas(**load_file(cache))
    except (OSError, SafetensorError, TypeError):  # none there, or a damaged one
        atlas = _draw(files, sizes, workers)
    partial = cache.with_name(f".{cache.name}.{os.getpid()}")
    try:
        cache.parent.mkdir(parents=True, exist_ok=True)
        save_file(vars(atlas), partial)
        partial.replace(cache)
    except (OSError, SafetensorError):  # without a cache it is drawn again next time
        partial.unlink(missing_ok=True)
    return atlas


@dataclass(frozen=True)
class _Sheet:
    """The glyphs of one font."""

    pixels: NDArray[np.uint8]
    size: NDArray[np.int32]
    bearing: NDArray[np.int32]
    advance: NDArray[np.float32]
    has: NDArray[np.bool_]


class _Sheets(Dataset[_Sheet]):
    """Draws font after font; in worker processes where a DataLoader has them."""

    def __init__(self, files: Sequence[str]) -> None:
        self.files = files

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> _Sheet:
        try:
            font = Face(self.files[index])
            glyphs = [font.glyph(chr(code)) for code in _CODES]
            has = np.array([font.has(chr(code)) for code in _CODES])
        except (OSError, ValueError, ZeroDivisionError) as error:
            raise ValueError(
                f"load_atlas: {self.files[index]} must be a font that Pillow reads, got {error}"
            ) from None
        masks = [g.mask if g.mask.any() else np.empty((0, 0), np.uint8) for g in glyphs]
        return _Sheet(
            np.concatenate([mask.ravel() for mask in masks]),
            np.array([mask.shape for mask in masks], np.int32),
            np.array([(g.top, g.left) for g in glyphs], np.int32),
            np.array([g.advance for g in glyphs], np.float32),
            has,
        )


def _draw(files: Sequence[str], families: Sequence[int], workers: int) -> Atlas:
    loader = DataLoader(_Sheets(files), batch_size=None, num_workers=workers)
    progress = tqdm(
        loader, "drawing glyphs", len(files), file=sys.stderr, disable=len(files) < 50, unit="font"
    )
    sheets: list[_Sheet] = list(progress)
    size = np.concatenate([sheet.size for sheet in sheets])
    areas = size[:, 0].astype(np.int64) * size[:, 1]
    ends = 1 + np.cumsum(areas)
    if ends[-1] >= 2**31:  # offsets are int32
        raise ValueError(
            f"load_atlas: families must have less than 2 GiB of glyphs, got {ends[-1]} bytes"
        )
    return Atlas(
        np.concatenate([np.zeros(1, np.uint8), *(sheet.pixels for sheet in sheets)]),
        (ends - areas).astype(np.int32),
        size,
        np.concatenate([sheet.bearing for sheet in sheets]),
        np.concatenate([sheet.advance for sheet in sheets]),
        np.concatenate([sheet.has for sheet in sheets]),
        np.cumsum([0, *families], dtype=np.int32),
    )

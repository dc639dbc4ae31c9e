"""Glyph masks of a font, each drawn once: text is then put together from them in NumPy."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

EM = 40  # pixels; masks are scaled from here to the size they have in the image
_MISSING = "\uffff"  # no font has it: what is drawn for it is drawn for all that is missing

Mask = NDArray[np.uint8]  # [height, width], 0 outside to 255 inside a letter


@dataclass(frozen=True)
class Glyph:
    """A character's mask; `left` and `top` place it against the pen and the top of the line."""

    mask: Mask
    left: int
    top: int
    advance: float


class Face:
    """One font file at `EM` pixels.

    Args:
        path: a TrueType, OpenType or Type 1 file.

    Raises:
        OSError: FreeType cannot read it.
    """

    def __init__(self, path: str) -> None:
        self._font = ImageFont.truetype(path, EM, layout_engine=ImageFont.Layout.BASIC)
        ascent, descent = self._font.getmetrics()
        self.line_height = ascent + descent
        self._glyphs: dict[str, Glyph] = {}
        self._kerning: dict[str, float] = {}

    def glyph(self, char: str) -> Glyph:
        """The mask of `char`; that of the font's box if it lacks it."""
        if char not in self._glyphs:
            self._glyphs[char] = self._draw(char)
        return self._glyphs[char]

    def has(self, char: str) -> bool:
        """Whether the font draws `char` itself, or nothing because it is a space."""
        return char == " " or not np.array_equal(self.glyph(char).mask, self.glyph(_MISSING).mask)

    def advance(self, pair: str) -> float:
        """From the first character of `pair` to the second, kerning included."""
        if pair not in self._kerning:
            both = self._font.getlength(pair)
            self._kerning[pair] = both - self.glyph(pair[1]).advance
        return self._kerning[pair]

    def _draw(self, char: str) -> Glyph:
        left, top, right, bottom = (round(edge) for edge in self._font.getbbox(char))
        # Damaged fonts announce absurd boxes.
        size = (min(max(right - left, 1), 8 * EM), min(max(bottom - top, 1), 8 * EM))
        canvas = Image.new("L", size)
        ImageDraw.Draw(canvas).text((-left, -top), char, fill=255, font=self._font)
        # Pillow's box takes in the side bearings; what is cut off by a crop is counted in ink.
        ink = canvas.getbbox() or (0, 0, 1, 1)
        mask = np.asarray(canvas.crop(ink), np.uint8)
        return Glyph(mask, left + ink[0], top + ink[1], self._font.getlength(char))


@lru_cache(maxsize=4096)
def face(path: str) -> Face:
    """The `Face` of `path`, opened once in a process."""
    return Face(path)


def positions(font: Face, text: str, spacing: float = 0.0) -> NDArray[np.float64]:
    """The pen's x at each character of `text` and at its end, from 0.

    Args:
        font: its advances and kerning are used.
        text: at least one character.
        spacing: pixels put between characters beyond those of the font.
    """
    steps = [font.advance(text[i : i + 2]) + spacing for i in range(len(text) - 1)]
    return np.cumsum([0.0, *steps, font.glyph(text[-1]).advance])


def paste(canvas: Mask, font: Face, char: str, x: float, y: float) -> tuple[int, int, int, int]:
    """Draw `char` with its pen at (x, y); the box of its ink on the canvas, perhaps empty."""
    glyph = font.glyph(char)
    left, top = round(x) + glyph.left, round(y) + glyph.top
    height, width = glyph.mask.shape
    x0, y0 = max(left, 0), max(top, 0)
    x1, y1 = min(left + width, canvas.shape[1]), min(top + height, canvas.shape[0])
    if x0 < x1 and y0 < y1:
        part = canvas[y0:y1, x0:x1]
        np.maximum(part, glyph.mask[y0 - top : y1 - top, x0 - left : x1 - left], out=part)
    return x0, y0, max(x1, x0), max(y1, y0)


def dilate(mask: Mask, reach: int) -> Mask:
    """Every letter grown by `reach` pixels to all sides."""
    out = mask
    for axis in (0, 1):
        grown = out.copy()
        for shift in range(1, reach + 1):
            ahead = [slice(None)] * 2
            behind = [slice(None)] * 2
            ahead[axis], behind[axis] = slice(shift, None), slice(None, -shift)
            a, b = tuple(ahead), tuple(behind)
            np.maximum(grown[a], out[b], out=grown[a])
            np.maximum(grown[b], out[a], out=grown[b])
        out = grown
    return out


def erode(mask: Mask, reach: int) -> Mask:
    """Every letter shrunk by `reach` pixels from all sides."""
    return 255 - dilate(255 - mask, reach)


def moved(mask: Mask, dx: int, dy: int) -> Mask:
    """`mask` shifted right by `dx` and down by `dy`; what leaves the canvas is lost."""
    out = np.zeros_like(mask)
    h, w = mask.shape
    x0, x1 = max(dx, 0), min(w + dx, w)
    y0, y1 = max(dy, 0), min(h + dy, h)
    if x0 < x1 and y0 < y1:
        out[y0:y1, x0:x1] = mask[y0 - dy : y1 - dy, x0 - dx : x1 - dx]
    return out

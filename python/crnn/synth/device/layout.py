"""Where every letter of many words lies, all words at once; no pixel is drawn.

What is drawn, and how often, is what `crnn.synth.render` does for one word at a time.
"""

from __future__ import annotations

import string
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crnn.synth.device.atlas import COUNT, Atlas, symbols_of
from crnn.synth.glyphs import EM

Generator = np.random.Generator
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

#: Pixels of canvas to the left and right of a word's ink, and above and below it: room for
#: neighbours, shadows and the sign's edge.
PAD = (48, 40)
#: The left edge of a letter that is not there.
NOWHERE = 1 << 20
LINE = 24  # letters of a line above or below
_OTHERS = symbols_of([string.ascii_letters + string.digits])[0]


@dataclass
class Layout:
    """N words, each on a canvas of its own that reaches `PAD` beyond its ink.

    Attributes:
        letters: ``[3, N, L]`` int32: glyph, left and top of each letter and of neighbours beside
            the word, from left to right; left is `NOWHERE` where there is none.
        lines: ``[3, M, LINE]`` int32, the same for the lines above or below M of the words.
        lined: ``[M]``, ascending: the words that have such a line.
        box: ``[2, N]``, width and height of the word's own ink, at least 1.
        margins: ``[4, N]``, what a crop keeps around that ink: left, top, right, bottom.
    """

    letters: NDArray[np.int32]
    lines: NDArray[np.int32]
    lined: Ints
    box: Floats
    margins: Floats


def lay_out(atlas: Atlas, texts: list[str], rng: Generator, difficulty: Floats) -> Layout:
    """Choose a font for each text, and place its letters and what stands around it.

    Args:
        atlas: its pixels are not used.
        texts: N of at least one character; what a font lacks is left out, or appears as that
            font's box if it lacks them all.
        rng: the source of all chance.
        difficulty: ``[N]``, 0 (clean print) to 1 (everything).
    """
    count = len(texts)
    font = _fonts(atlas, count, rng)
    symbols = _drawable(atlas, font, symbols_of(texts))
    there = symbols >= 0
    glyphs = np.where(there, font[:, None] * COUNT + symbols, 0)
    spaced = np.minimum(2.0, rng.lognormal(-2, 1.1, count)) - 0.04
    spacing = np.where(rng.random(count) < 0.22, EM * spaced, 0.0)
    steps = atlas.advance[glyphs] + spacing[:, None]
    pen = np.cumsum(steps, axis=1) - steps
    left = np.rint(pen).astype(np.int64) + atlas.bearing[glyphs, 1]
    top = np.rint(_off_line(there, rng, difficulty)).astype(np.int64) + atlas.bearing[glyphs, 0]
    inked = there & (atlas.size[glyphs, 0] > 0)
    far = NOWHERE
    x0 = np.where(inked, left, far).min(axis=1)
    y0 = np.where(inked, top, far).min(axis=1)
    x1 = np.where(inked, left + atlas.size[glyphs, 1], -far).max(axis=1)
    y1 = np.where(inked, top + atlas.size[glyphs, 0], -far).max(axis=1)
    blank = ~inked.any(axis=1)  # damaged fonts: an empty box
    x0[blank], y0[blank], x1[blank], y1[blank] = 0, 0, 1, 1
    box = np.stack([x1 - x0, y1 - y0]).astype(np.float64)
    left = np.where(inked, left - x0[:, None] + PAD[0], far)
    top = top - y0[:, None] + PAD[1]
    height = np.maximum(box[1], 8)
    margins = np.clip(rng.exponential(0.13, (4, count)) - 0.05, -0.05, 0.7) * height
    beside = _beside(atlas, font, box, y0, spacing, margins, rng, difficulty)
    letters = np.concatenate([np.stack([glyphs, left, top]), beside], axis=2)
    lines, lined = _lines(atlas, font, box, margins, rng, difficulty)
    return Layout(_sorted(letters), _sorted(lines), lined, box, margins)


def overlap(atlas: Atlas, letters: NDArray[np.int32]) -> Ints:
    """``[N]``: how many letters of a row ``[3, N, L]`` may lie over one column, at most 4."""
    glyph, left = letters[0], letters[1].astype(np.int64)
    right = left + atlas.size[glyph, 1]
    deep = np.ones(letters.shape[1], np.int64)
    for behind in range(1, min(4, letters.shape[2])):
        over = (right[:, :-behind] > left[:, behind:]) & (left[:, behind:] < NOWHERE)
        deep = np.where(over.any(axis=1), behind + 1, deep)
    return deep


def _fonts(atlas: Atlas, count: int, rng: Generator) -> Ints:
    """Half by file, half by family, so that families of many files do not crowd out others."""
    family = rng.integers(len(atlas.families) - 1, size=count)
    first, after = atlas.families[family], atlas.families[family + 1]
    within = first + (rng.random(count) * (after - first)).astype(np.int64)
    return np.where(rng.random(count) < 0.5, within, rng.integers(atlas.fonts, size=count))


def _drawable(atlas: Atlas, font: Ints, symbols: Ints) -> Ints:
    """`symbols` without those that a font lacks, unless it lacks all of a text; -1 behind them."""
    known = symbols >= 0
    glyphs = font[:, None] * COUNT + np.maximum(symbols, 0)
    kept = known & atlas.has[glyphs]
    kept = np.where(kept.any(axis=1, keepdims=True), kept, known)
    order = np.argsort(~kept, axis=1, kind="stable")
    return np.where(np.take_along_axis(kept, order, 1), np.take_along_axis(symbols, order, 1), -1)


def _off_line(there: NDArray[np.bool_], rng: Generator, difficulty: Floats) -> Floats:
    """Pixels by which letters lie off their line: at random, or rising like a stair."""
    count, longest = there.shape
    last = np.maximum(there.sum(axis=1) - 1, 1)
    stair = (2 * np.arange(longest) / last[:, None] - 1) * rng.uniform(-0.3, 0.3, (count, 1))
    loose = np.clip(rng.normal(0, 0.05, (count, longest)), -0.12, 0.12)
    steps = np.where(rng.random((count, 1)) < 0.6, loose, stair) * EM
    off = (rng.random(count) < 0.06 * difficulty)[:, None]
    return np.asarray(np.where(there & off, steps, 0.0))


def _beside(
    atlas: Atlas,
    font: Ints,
    box: Floats,
    y0: Ints,
    spacing: Floats,
    margins: Floats,
    rng: Generator,
    difficulty: Floats,
) -> Ints:
    """``[3, N, 2]``: letters of words to the left and right, cut by the crop.

    What tells them from the word is the gap, at least a word space, and the cut: at most half of
    the letter shows. Widens `margins` to that.
    """
    count = len(font)
    some = rng.random(count) < 0.16 * difficulty
    both = rng.random(count) < 0.25
    first = rng.random(count) < 0.5
    shown = np.stack([some & (both | first), some & (both | ~first)], 1)
    gap = EM * (0.24 + rng.exponential(0.10, (count, 2))) + 2 * np.maximum(spacing, 0)[:, None]
    chosen = _OTHERS[rng.integers(len(_OTHERS), size=(count, 2))]
    glyph = font[:, None] * COUNT + chosen
    width = atlas.size[glyph, 1]
    left = np.stack([-gap[:, 0] - width[:, 0], box[0] + gap[:, 1]], 1) + PAD[0]
    left = np.where(shown & (width > 0), np.rint(left), NOWHERE).astype(np.int64)
    top = atlas.bearing[glyph, 0] - y0[:, None] + PAD[1]
    reach = gap + width * rng.uniform(0.05, 0.55, (count, 2))
    for side, column in enumerate((0, 2)):
        margins[column] = np.where(shown[:, side], reach[:, side], margins[column])
    return np.stack([np.where(shown, glyph, 0), left, top])


def _lines(
    atlas: Atlas, font: Ints, box: Floats, margins: Floats, rng: Generator, difficulty: Floats
) -> tuple[Ints, Ints]:
    """``[3, M, LINE]`` and ``[M]``: lines above or below words; widens `margins` to parts of them.

    Their nearest ink lies a gap away from that of the word.
    """
    count = len(font)
    lined = np.flatnonzero(rng.random(count) < 0.18 * difficulty)
    shape = (len(lined), LINE)
    glyph = font[lined, None] * COUNT + _OTHERS[rng.integers(len(_OTHERS), size=shape)]
    gap = EM * (0.10 + rng.exponential(0.12, len(lined)))
    above = rng.random(len(lined)) < 0.5
    rises, heights = atlas.bearing[glyph, 0], atlas.size[glyph, 0]
    lowest, highest = (rises + heights).max(axis=1), rises.min(axis=1)
    height = box[1, lined]
    pen_y = PAD[1] + np.where(above, -gap - lowest, height + gap - highest)
    spaces = EM * 0.3 * (rng.random(shape) < 0.15)
    steps = atlas.advance[glyph] + spaces
    pen_x = rng.uniform(-EM, EM, (len(lined), 1)) + np.cumsum(steps, axis=1) - steps
    left = np.rint(pen_x).astype(np.int64) + atlas.bearing[glyph, 1]
    end = box[0, lined] + 2 * PAD[0]
    left = np.where((left < end[:, None]) & (heights > 0), left, NOWHERE)
    top = np.rint(pen_y).astype(np.int64)[:, None] + rises
    part = gap + np.maximum(height, 8) * rng.uniform(0.0, 0.35, len(lined))
    margins[1, lined] = np.where(above, part, margins[1, lined])
    margins[3, lined] = np.where(above, margins[3, lined], part)
    return np.stack([glyph, left, top]), lined


def _sorted(letters: Ints) -> NDArray[np.int32]:
    """`letters` from left to right, those that are not there at the end."""
    order = np.argsort(letters[1], axis=1, kind="stable")
    return np.take_along_axis(letters, order[None], 2).astype(np.int32)

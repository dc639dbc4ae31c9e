"""How a printed staff comes to look in a photograph, from the mask of its ink.

The steps are section 3.4's (rotation, scale, noise, natural images behind) and what phones add:
perspective, a curled page, uneven light, shadows, blur, JPEG, and the neighbours that a crop
catches. The geometry is that of words (`crnn.synth.geometry`), the camera theirs too.
"""

from __future__ import annotations

import string
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from crnn.music.engrave import SPACE, Engraving
from crnn.music.melody import Melody
from crnn.synth.camera import photograph
from crnn.synth.geometry import Grey, Pose, View
from crnn.synth.glyphs import Mask

Generator = np.random.Generator
_LIMIT = (1800, 260)  # pixels of a picture
MARGIN = round(10 * SPACE)  # of canvas above, below and beside a staff


@dataclass
class Sheet:
    """A fragment on its page.

    Attributes:
        mask: ``[height, width]``, 255 where there is ink.
        box: (left, top, right, bottom) of the fragment on it.
        space: pixels between two staff lines.
    """

    mask: Mask
    box: tuple[float, float, float, float]
    space: float


def fragment(
    engraving: Engraving, melody: Melody, rng: Generator, difficulty: float
) -> tuple[Sheet, list[str]]:
    """Cut the fragment out of its melody, and put neighbours around it.

    Returns:
        the sheet, and the pitches that the fragment shows.
    """
    left, top, right, bottom = engraving.staff
    first = 0 if melody.first == 0 else _after(engraving, engraving.bars[melody.first - 1])
    if melody.first:
        left = engraving.bars[melody.first - 1] - SPACE * rng.uniform(0.2, 0.6)
    elif not melody.header and engraving.notes:
        left = engraving.notes[0][0] - SPACE * rng.uniform(0.3, 1.2)
    last = len(engraving.notes)
    if melody.last + 1 < len(engraving.bars):
        right = engraving.bars[melody.last] + SPACE * rng.uniform(-0.4, 0.4)
        last = _after(engraving, right)
    elif engraving.notes and rng.random() < 0.3:  # cut off anywhere behind the last note
        right = min(right, engraving.notes[-1][0] + SPACE * rng.uniform(2.0, 4.0))
    shown = engraving.notes[first:last]
    heads = [y for _, y in shown]
    upper = min([top, *(y - 0.6 * SPACE for y in heads)]) - SPACE * 0.3
    lower = max([bottom, *(y + 0.6 * SPACE for y in heads)]) + SPACE * 0.3
    if rng.random() < 0.85:  # all stems and beams too
        ink = np.flatnonzero(engraving.mask[:, max(0, int(left)) : int(right) + 1].any(axis=1))
        upper, lower = min(upper, float(ink[0])), max(lower, float(ink[-1]))
    mask = np.pad(engraving.mask, MARGIN)
    box = (left + MARGIN, upper + MARGIN, right + MARGIN, lower + MARGIN)
    _neighbours(mask, box, rng, difficulty)
    # A crop shows what is beside it only where the page is turned.
    mask[:, : max(0, int(box[0] - SPACE))] = 0
    mask[:, int(box[2] + SPACE) :] = 0
    return Sheet(mask, box, SPACE), melody.pitches[first:last]


def _after(engraving: Engraving, x: float) -> int:
    """How many notes begin left of column `x`."""
    return sum(note[0] < x for note in engraving.notes)


def _neighbours(
    mask: Mask, box: tuple[float, float, float, float], rng: Generator, difficulty: float
) -> None:
    """Words and staves above and below, none of them part of the label."""
    own = mask.copy()
    for above in (True, False):
        edge = int(box[1] - SPACE * rng.uniform(0.2, 2)) if above else int(box[3] + SPACE * 0.3)
        if rng.random() < 0.3 * difficulty:
            size = SPACE * rng.uniform(1.2, 2.5)
            y = edge - size if above else edge + SPACE * rng.uniform(0, 1.5)
            words(mask, box, y, size, rng)
        if rng.random() < 0.2 * difficulty:
            shift = int(box[3] - box[1] + SPACE * rng.uniform(0.8, 3))
            shifted = np.roll(np.roll(own, -shift if above else shift, 0), rng.integers(-90, 90), 1)
            rows = slice(0, max(0, edge)) if above else slice(edge, None)
            mask[rows] = np.maximum(mask[rows], shifted[rows])


def words(
    mask: Mask, box: tuple[float, float, float, float], y: float, size: float, rng: Generator
) -> None:
    """Chord names, lyrics or numbers along the staff."""
    image = Image.fromarray(mask)
    pen, font = ImageDraw.Draw(image), ImageFont.load_default(size)
    x, sparse = box[0], rng.random() < 0.5
    while x < box[2]:
        count = int(rng.integers(1, 3 if sparse else 6))
        letters = string.ascii_uppercase[:7] if sparse else string.ascii_lowercase
        word = "".join(rng.choice(list(letters + string.digits), count))
        pen.text((x, y), word, fill=255, font=font)
        x += size * (0.6 * count + (rng.uniform(2, 12) if sparse else rng.uniform(0.3, 2)))
    mask[:] = np.asarray(image)


def severity(rng: Generator) -> float:
    """How hard a picture is, among those that are no scans: a share of the full difficulty."""
    return float(rng.uniform(0.3, 1.0))


class Photographer:
    """Takes pictures of sheets.

    Args:
        backgrounds: photographs as grey levels in [0, 1], of
            `crnn.synth.backgrounds.load_backgrounds`; none means gradients and noise only.
    """

    def __init__(self, backgrounds: Sequence[Grey] = ()) -> None:
        self.backgrounds = backgrounds

    def __call__(
        self, sheet: Sheet, rng: Generator, difficulty: float = 1.0, space: float = 0.0
    ) -> NDArray[np.uint8]:
        """The picture ``[height, width]``.

        Args:
            sheet: what is seen.
            rng: the source of all chance.
            difficulty: 0 (a scan) to 1 (everything).
            space: pixels between staff lines in the picture; 0 draws them too.
        """
        left, top, right, bottom = sheet.box
        space = space or float(np.clip(rng.lognormal(2.25, 0.35), 5.5, 20))
        margins = (
            sheet.space * np.clip(rng.exponential(0.8, 4) - 0.2, -0.1, 4) * (0.4 + 0.6 * difficulty)
        )
        margins[[0, 2]] = sheet.space * rng.uniform(0.0, 0.8, 2)
        view = View(
            _pose((right - left) / sheet.space, rng, difficulty),
            sheet.box, margins, (bottom - top) / sheet.space * space, _LIMIT,
        )  # fmt: skip
        ink = view.warp(sheet.mask)
        contrast = float(1 - 0.75 * difficulty * rng.beta(1.2, 1.6))
        paper = float(contrast + (1 - contrast) * rng.beta(2, 1.2))
        page = self._page(ink.shape, paper, contrast, rng, difficulty)
        shade = paper - contrast
        image = page + (page * np.float32(shade / max(paper, 1e-3)) - page) * ink
        image = np.clip(image * _light(ink.shape, rng, difficulty), 0, 1).astype(np.float32)
        # Blur and noise are measured against noteheads and the spaces between lines.
        unit = 2.2 * view.scale * sheet.space
        return photograph(image, unit, contrast, rng, difficulty)

    def scenery(self, shape: tuple[int, ...], rng: Generator) -> Grey:
        """A part of a photograph, of this shape.

        Raises:
            ValueError: there are no photographs.
        """
        if not self.backgrounds:
            raise ValueError("scenery: backgrounds must hold a photograph, got none")
        photo = self.backgrounds[int(rng.integers(len(self.backgrounds)))]
        height = int(rng.integers(min(24, photo.shape[0]), photo.shape[0] + 1))
        width = min(photo.shape[1], max(24, height * shape[1] // shape[0]))
        y = int(rng.integers(photo.shape[0] - height + 1))
        x = int(rng.integers(photo.shape[1] - width + 1))
        return _resized(photo[y : y + height, x : x + width], shape)

    def _page(
        self,
        shape: tuple[int, ...],
        paper: float,
        contrast: float,
        rng: Generator,
        difficulty: float,
    ) -> Grey:
        """The paper with what shows through: a natural image, or a faint unevenness."""
        page = np.full(shape, paper, np.float32)
        draw = rng.random()
        if self.backgrounds and draw < 0.45 * difficulty:
            pattern = self.scenery(shape, rng)
        elif draw < 0.75 * difficulty:
            coarse = rng.random((int(rng.integers(2, 9)), int(rng.integers(2, 30))), np.float32)
            pattern = _resized(coarse, shape)
        else:
            return page
        pattern = (pattern - pattern.mean()) / max(float(pattern.std()), 0.05)
        # Kept below the contrast of the ink, or nobody could read it.
        strength = np.float32(contrast * difficulty * rng.uniform(0.02, 0.3))
        return np.asarray(page + pattern * strength, np.float32)


def _pose(spaces: float, rng: Generator, difficulty: float) -> Pose:
    """How a staff `spaces` staff spaces long lies: a long one is held straighter."""
    rise = float(np.clip(rng.normal(0, 1.2), -3.5, 3.5)) * difficulty  # spaces, end to end
    sag = 0.0
    if rng.random() < 0.35 * difficulty:  # a curled page
        sag = float(np.clip(rng.normal(0, 0.7), -1.6, 1.6)) * difficulty
    half = max(spaces / 2, 1.0)
    return Pose(
        arc=4 * sag / half,
        upright=True,
        tilt=float(np.clip(rise / spaces, -0.15, 0.15)),
        shear=float(np.clip(rng.normal(0, 0.05), -0.15, 0.15)) * difficulty,
        stretch=float(np.exp(rng.normal(0, 0.12) * (0.3 + 0.7 * difficulty))),
        vanish_x=float(np.clip(rng.normal(0, 0.08), -0.2, 0.2)) * difficulty,
        vanish_y=float(np.clip(rng.normal(0, 0.03), -0.1, 0.1)) * difficulty,
    )


def _light(shape: tuple[int, ...], rng: Generator, difficulty: float) -> Grey:
    """Brightness over the page: a slope, a shadow's edge, both or none."""
    light = np.ones(shape, np.float32)
    if rng.random() < 0.6 * difficulty:
        light = light * np.float32(rng.uniform(0.45, 1.05))
        light = light * (1 + np.float32(rng.uniform(0.0, 0.45)) * _slope(shape, rng))
    if rng.random() < 0.15 * difficulty:
        edge = np.clip(_slope(shape, rng) * rng.uniform(3, 25) + rng.normal(0, 1.5), 0, 1)
        light = light * (1 - edge * np.float32(rng.uniform(0.15, 0.5)))
    return np.asarray(light, np.float32)


def _slope(shape: tuple[int, ...], rng: Generator) -> Grey:
    """A linear ramp in a random direction, within [-1, 1]."""
    angle = rng.uniform(0, 2 * np.pi)
    y = np.linspace(-1, 1, shape[0])[:, None] * np.sin(angle)
    x = np.linspace(-1, 1, shape[1])[None, :] * np.cos(angle)
    return np.asarray((x + y) * 0.7, np.float32)


def _resized(pattern: Grey, shape: tuple[int, ...]) -> Grey:
    image = Image.fromarray(np.ascontiguousarray(pattern))
    return np.asarray(image.resize((shape[1], shape[0]), Image.Resampling.BILINEAR), np.float32)

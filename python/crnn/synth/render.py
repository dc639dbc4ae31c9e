"""One synthetic photograph of a word, in grey levels.

The steps follow Jaderberg et al. (2014): font rendering, border and shadow, colouring, projective
distortion, blending with natural images, then what a camera does (`crnn.synth.camera`).
Everything is drawn from one random generator, so a seed gives the image back.
"""

from __future__ import annotations

import string
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from crnn.synth.camera import photograph
from crnn.synth.geometry import Grey, Pose, View
from crnn.synth.glyphs import EM, Face, Mask, dilate, erode, face, moved, paste, positions

Generator = np.random.Generator

_PAD = 34  # pixels of canvas around the text: room for neighbours, shadows and the sign's edge
_NEIGHBOURS = string.ascii_letters + string.digits


@dataclass
class _Drawing:
    """A word on its canvas."""

    fill: Mask
    edge: Mask | None  # border, shadow or side of the letters, beneath `fill`
    raised: bool  # whether that is a shadow or side
    box: tuple[int, int, int, int]  # of the word's own ink
    margins: NDArray[np.float64]  # left, top, right, bottom: what the crop keeps around it


class Renderer:
    """Draws text as a camera might see it on a sign.

    Args:
        fonts: families of font files, e.g. of `find_fonts`. Half of the images draw a family
            first, so that families of many files do not crowd out the others.
        backgrounds: photographs as grey levels in [0, 1]; none means noise and gradients only.
    """

    def __init__(self, fonts: Sequence[Sequence[str]], backgrounds: Sequence[Grey] = ()) -> None:
        self.families = fonts
        self.fonts = [path for family in fonts for path in family]
        self.backgrounds = backgrounds

    def __call__(self, text: str, rng: Generator, difficulty: float = 1.0) -> NDArray[np.uint8]:
        """The image ``[height, width]`` of `text`, at the resolution of its camera.

        Args:
            text: what is drawn; characters a font lacks are left out, or appear as that font's
                box if it lacks them all.
            rng: the source of all chance.
            difficulty: 0 (clean print) to 1 (everything), scales each distortion.

        Raises:
            ValueError: `text` is empty.
        """
        if not text:
            raise ValueError("Renderer: text must not be empty, got ''")
        drawing = self._draw(text, rng, difficulty)
        left, top, right, bottom = drawing.box
        pose = _pose((right - left) / max(bottom - top, 1), rng, difficulty)
        # Pixels from the top of the word to its bottom, as in photographs of signs.
        unit = float(np.clip(rng.lognormal(3.3, 0.45), 11, 56))
        if rng.random() < 0.3 * difficulty:
            unit = rng.uniform(8, 18)
        view = View(pose, drawing.box, drawing.margins, unit)
        image, contrast = self._colour(drawing, view, rng, difficulty)
        return photograph(image, view.scale * (bottom - top), contrast, rng, difficulty)

    def _draw(self, text: str, rng: Generator, difficulty: float) -> _Drawing:
        files = self.fonts
        if rng.random() < 0.5:
            files = list(self.families[int(rng.integers(len(self.families)))])
        font = face(files[int(rng.integers(len(files)))])
        text = "".join(char for char in text if font.has(char)) or text
        # Mostly near the font's own; a few signs spread their letters over a whole front.
        spacing = EM * (min(2.0, rng.lognormal(-2, 1.1)) - 0.04) if rng.random() < 0.22 else 0.0
        pen = positions(font, text, spacing)
        canvas = np.zeros((font.line_height + 2 * _PAD, int(pen[-1]) + 2 * _PAD + EM), np.uint8)
        steps = _steps(len(text), rng) if rng.random() < 0.06 * difficulty else np.zeros(len(text))
        boxes = [
            paste(canvas, font, char, _PAD + x, _PAD + y)
            for char, x, y in zip(text, pen[:-1], steps, strict=True)
        ]
        # The canvas ends beyond every letter that has room; damaged metrics may leave none.
        inked = [b for b in boxes if b[0] < b[2] and b[1] < b[3]] or [(0, 0, *canvas.shape[::-1])]
        columns = np.array(inked)
        box = (*columns[:, :2].min(axis=0).tolist(), *columns[:, 2:].max(axis=0).tolist())
        canvas = _weight(canvas, rng, difficulty)
        margins = np.clip(rng.exponential(0.13, 4) - 0.05, -0.05, 0.7) * max(box[3] - box[1], 8)
        if rng.random() < 0.03:  # underline
            y = min(canvas.shape[0] - 4, box[3] + int(rng.integers(1, 4)))
            canvas[y : y + int(rng.integers(1, 4)), box[0] : box[2]] = 255
        _neighbours(canvas, font, box, margins, spacing, rng, difficulty)
        fill, edge, raised = _layers(canvas, rng, difficulty)
        return _Drawing(fill, edge, raised, box, margins)

    def _colour(
        self, drawing: _Drawing, view: View, rng: Generator, difficulty: float
    ) -> tuple[Grey, float]:
        """Background, then border or shadow, then text, each with its own texture.

        Returns:
            the image, and the contrast in it between background and text, or what shows the text.
        """
        fill = view.warp(drawing.fill)
        shape = fill.shape
        low = 0.75 - 0.63 * difficulty
        contrast = low + (1 - low) * rng.beta(1.3, 1.4)  # between text and background, always > 0
        ground = rng.random() * (1 - contrast)
        ink, paper = ground, ground + contrast
        if rng.random() < 0.5:
            ink, paper = paper, ground
        roughness = contrast * difficulty
        image = paper + self._texture(shape, rng, roughness * rng.beta(1, 4))
        if rng.random() < 0.2 * difficulty:
            panel = view.warp(_panel(drawing, rng))
            beyond = rng.random() + self._texture(shape, rng, 0.3 * rng.random())
            image = beyond + (image - beyond) * panel
        if drawing.edge is not None:
            edge = view.warp(drawing.edge)
            side = float(np.clip(rng.normal(paper + (paper - ink) * 0.6, 0.35), 0, 1))
            if rng.random() < 0.35:  # as a shadow or a lit side: between the two
                side = paper + (ink - paper) * rng.uniform(-0.3, 0.6)
            if drawing.raised and rng.random() < 0.3 * difficulty:
                # Letters of the wall's own tone: only their sides and shadows show them.
                ink = paper + 0.3 * (ink - paper)
                contrast = rng.uniform(0.2, 0.6)
                side = paper - contrast if paper > contrast else paper + contrast
            image = image + (side - image) * edge
        inked = ink + self._texture(shape, rng, 0.5 * roughness * rng.beta(1, 5))
        if rng.random() < 0.05 * difficulty:  # a second colour from some column on
            start = int(rng.integers(shape[1]))
            end = shape[1] if rng.random() < 0.5 else start + shape[0]
            inked[:, start:end] += np.float32((ink - paper) * rng.uniform(-0.5, 0.5))
        image = image + (inked - image) * fill
        if rng.random() < 0.25 * difficulty:  # uneven light
            image = image * (1 + 0.5 * _gradient(shape, rng))
        if rng.random() < 0.08 * difficulty:  # a shadow's edge, or a reflection
            step = np.clip(_gradient(shape, rng) * rng.uniform(2, 20) + rng.normal(0, 1), 0, 1)
            image = image * (1 - step * np.float32(rng.uniform(0.2, 0.6)))
        return np.clip(image, 0, 1).astype(np.float32), contrast

    def _texture(self, shape: tuple[int, ...], rng: Generator, strength: float) -> Grey:
        """A zero-mean pattern: a photograph's crop, a gradient or smooth noise."""
        kind = rng.random()
        if strength < 0.01 or kind < 0.25:
            return np.zeros(shape, np.float32)
        if kind < 0.75 and self.backgrounds:
            photo = self.backgrounds[int(rng.integers(len(self.backgrounds)))]
            h = int(rng.integers(min(16, photo.shape[0]), photo.shape[0] // 2 + 17))
            w = min(photo.shape[1], max(8, h * shape[1] // shape[0]))
            h = min(h, photo.shape[0])
            y = int(rng.integers(photo.shape[0] - h + 1))
            x = int(rng.integers(photo.shape[1] - w + 1))
            skip = max(1, h // shape[0])  # coarse, but so are the textures of walls
            pattern = _resize(photo[y : y + h : skip, x : x + w : skip], shape)
        elif kind < 0.88:
            pattern = _gradient(shape, rng)
        else:
            coarse = rng.random((int(rng.integers(2, 9)), int(rng.integers(2, 20))), np.float32)
            pattern = _resize(coarse, shape)
        pattern = pattern - pattern.mean()
        return np.asarray(pattern * (strength / max(float(pattern.std()), 0.05)), np.float32)


def _pose(aspect: float, rng: Generator, difficulty: float) -> Pose:
    """How a word `aspect` times as wide as high lies: mostly nearly flat, at times far from it."""
    wide = float(np.clip(5 / max(aspect, 0.1), 0.35, 1.0))  # long words are held straighter
    spread = 0.03 if rng.random() < 0.55 else 0.2
    arc = 0.0
    if aspect > 1.7 and rng.random() < 0.14 * difficulty:
        arc = float(np.clip(rng.normal(0, 0.7), -1.6, 1.6)) * difficulty
    steep = wide * (1.0 if rng.random() < 0.3 else 0.35)
    stretch = float(np.exp(rng.normal(0, 0.14) * difficulty))
    if rng.random() < 0.15 * difficulty:  # seen from the side, or a narrow face
        stretch *= rng.uniform(0.5, 1.0)
    return Pose(
        arc=arc,
        upright=bool(rng.random() < 0.25),
        tilt=float(np.clip(rng.normal(0, spread * wide), -0.5, 0.5)) * difficulty,
        shear=float(np.clip(rng.normal(0, 0.13), -0.5, 0.5)) * difficulty,
        stretch=stretch,
        vanish_x=float(np.clip(rng.normal(0, 0.2 * steep), -0.32, 0.32)) * difficulty,
        vanish_y=float(np.clip(rng.normal(0, 0.12 * steep), -0.25, 0.25)) * difficulty,
    )


def _steps(count: int, rng: Generator) -> NDArray[np.float64]:
    """Letters off their line: up and down at random, or rising like a stair."""
    if rng.random() < 0.6:
        return np.clip(rng.normal(0, 0.05, count), -0.12, 0.12) * EM
    rise = np.linspace(-1, 1, count) * rng.uniform(-0.3, 0.3) * EM
    return np.asarray(rise, np.float64)


def _weight(canvas: Mask, rng: Generator, difficulty: float) -> Mask:
    """Sometimes bolder than the font, sometimes only the outline of a bold letter."""
    draw = rng.random()
    if draw < 0.10:
        return dilate(canvas, 1 if rng.random() < 0.7 else 2)
    if draw < 0.10 + 0.02 * difficulty:
        return dilate(canvas, 1) - canvas // 4 * 3
    return canvas


def _neighbours(
    canvas: Mask,
    font: Face,
    box: tuple[int, int, int, int],
    margins: NDArray[np.float64],
    spacing: float,
    rng: Generator,
    difficulty: float,
) -> None:
    """Other words of the sign, cut off by the crop: no part of the label.

    What tells them from the word is the gap and the cut: beside it at least a word space away and
    at most half a letter of them shown; above and below in part or, thinly, whole.
    """
    height = max(box[3] - box[1], 8)
    if rng.random() < 0.16 * difficulty:
        sides = (0, 2) if rng.random() < 0.25 else (0 if rng.random() < 0.5 else 2,)
        for side in sides:
            gap = EM * (0.24 + rng.exponential(0.10)) + 2 * max(spacing, 0.0)
            char = _NEIGHBOURS[int(rng.integers(len(_NEIGHBOURS)))]
            glyph = font.glyph(char)
            width = glyph.mask.shape[1]
            x = box[0] - gap - width if side == 0 else box[2] + gap
            paste(canvas, font, char, x - glyph.left, _PAD)
            margins[side] = gap + width * rng.uniform(0.05, 0.55)
    if rng.random() < 0.18 * difficulty:
        line = "".join(_NEIGHBOURS[int(i)] for i in rng.integers(len(_NEIGHBOURS), size=24))
        gap = EM * (0.10 + rng.exponential(0.12))
        glyphs = [font.glyph(char) for char in line]
        above = rng.random() < 0.5
        # The nearest ink of the other line lies `gap` from that of the word.
        reach = (
            max(g.top + g.mask.shape[0] for g in glyphs) if above else min(g.top for g in glyphs)
        )
        y = box[1] - gap - reach if above else box[3] + gap - reach
        x = rng.uniform(-EM, EM)
        for char in line:
            if x > canvas.shape[1]:
                break
            paste(canvas, font, char, x, y)
            x += font.glyph(char).advance
            if rng.random() < 0.15:
                x += EM * 0.3
        margins[1 if above else 3] = gap + height * rng.uniform(0.0, 0.35)


def _layers(canvas: Mask, rng: Generator, difficulty: float) -> tuple[Mask, Mask | None, bool]:
    """The letters, perhaps what lies beneath them, and whether that is a shadow or their sides."""
    kind = rng.random()
    if kind < 0.03 * difficulty:  # an inset: the border lies within the letters
        inner = erode(canvas, 1)
        kept = int(inner.sum()) / max(1, int(canvas.sum()))
        if kept > 0.4:  # of thin letters nothing would be left
            return inner, canvas, False
    if kind < 0.12 * difficulty:
        return canvas, dilate(canvas, 1 if rng.random() < 0.6 else 3), False
    if kind < 0.22 * difficulty:
        dx, dy = (int(v) for v in rng.integers(-5, 6, 2))
        return canvas, moved(canvas, dx, dy), True
    if kind < 0.38 * difficulty:  # solid letters, seen from the side
        dx, dy = rng.normal(0, 1, 2)
        norm = float(np.hypot(dx, dy)) or 1.0
        edge = canvas
        for step in range(1, int(rng.integers(3, 9))):
            edge = np.maximum(edge, moved(canvas, round(dx / norm * step), round(dy / norm * step)))
        return canvas, edge, True
    return canvas, None, False


def _panel(drawing: _Drawing, rng: Generator) -> Mask:
    """The sign itself: a rectangle beyond which the wall begins, or a frame around the word."""
    left, top, right, bottom = drawing.box
    gap = EM * (0.06 + rng.exponential(0.12, 4))
    height, width = drawing.fill.shape
    x0, y0 = max(0, int(left - gap[0])), max(0, int(top - gap[1]))
    x1, y1 = min(width, int(right + gap[2])), min(height, int(bottom + gap[3]))
    panel = np.zeros_like(drawing.fill)
    panel[y0:y1, x0:x1] = 255
    if rng.random() < 0.3:  # a frame: beyond it the sign goes on
        thick = int(rng.integers(2, 5))
        outer = np.full_like(panel, 255)
        outer[max(0, y0 - thick) : y1 + thick, max(0, x0 - thick) : x1 + thick] = 0
        panel |= outer
    if rng.random() < 0.5:  # often only one edge is in view
        panel[y0:y1, :] = 255
    return panel


def _gradient(shape: tuple[int, ...], rng: Generator) -> Grey:
    """A linear ramp in a random direction, within [-1, 1]."""
    angle = rng.uniform(0, 2 * np.pi)
    y = np.linspace(-1, 1, shape[0], dtype=np.float32)[:, None] * np.float32(np.sin(angle))
    x = np.linspace(-1, 1, shape[1], dtype=np.float32)[None, :] * np.float32(np.cos(angle))
    ramp: Grey = ((x + y) * np.float32(0.7)).astype(np.float32)
    return ramp


def _resize(pattern: Grey, shape: tuple[int, ...]) -> Grey:
    image = Image.fromarray(np.ascontiguousarray(pattern))
    return np.asarray(image.resize((shape[1], shape[0]), Image.Resampling.BILINEAR), np.float32)

"""One synthetic photograph of a word, in grey levels.

The steps follow Jaderberg et al. (2014): font rendering, border and shadow, colouring, projective
distortion, blending with natural images, then what a camera does: low resolution, blur, noise,
JPEG. Everything is drawn from one random generator, so a seed gives the image back.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

Generator = np.random.Generator
Grey = NDArray[np.float32]  # [height, width], 0 black to 1 white

_MARGIN = 12  # pixels of canvas around the text, room for stroke and shadow


@lru_cache(maxsize=512)
def _font(path: str, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(path, size, layout_engine=ImageFont.Layout.BASIC)


def load_backgrounds(directories: Sequence[str | Path], limit: int = 400) -> list[Grey]:
    """Photographs to blend with, reduced to 512 pixels; unreadable files are passed over."""
    found: list[Grey] = []
    for directory in directories:
        for path in sorted(Path(directory).expanduser().rglob("*")):
            if path.suffix.lower() not in (".jpg", ".jpeg", ".png") or len(found) >= limit:
                continue
            try:
                with Image.open(path) as image:
                    image.draft("L", (512, 512))
                    grey = image.convert("L")
            except (OSError, ValueError, Image.DecompressionBombError):
                continue
            if min(grey.size) < 64:
                continue
            grey.thumbnail((512, 512))
            found.append(np.asarray(grey, np.float32) / np.float32(255))
    return found


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
            text: what is drawn; characters a font lacks appear as that font's box.
            rng: the source of all chance.
            difficulty: 0 (clean print) to 1 (everything), scales each distortion.

        Raises:
            ValueError: `text` is empty.
        """
        if not text:
            raise ValueError("Renderer: text must not be empty, got ''")
        height = int(np.clip(rng.lognormal(3.5, 0.45), 13, 90))  # pixels, as of the real crops
        mask = self._draw(text, rng, height, difficulty)
        fill, edge = _project(mask, rng, height, difficulty)
        image = self._colour(fill, edge, rng, difficulty)
        return _camera(image, rng, difficulty)

    def _draw(
        self, text: str, rng: Generator, height: int, difficulty: float
    ) -> tuple[Image.Image, Image.Image | None, tuple[int, int, int, int]]:
        """The text's mask, perhaps a second one for its border or shadow, and the text's box."""
        files = self.fonts
        if rng.random() < 0.5:
            files = list(self.families[int(rng.integers(len(self.families)))])
        em = _even(height * 1.15 + 4)
        font = _font(files[int(rng.integers(len(files)))], em)
        advance = _advances(text, font, rng)
        box = font.getbbox(text)
        size = (int(advance[-1]) + 2 * _MARGIN + em // 2, int(box[3]) + 2 * _MARGIN + 8)
        fill = Image.new("L", (max(8, size[0]), size[1] + em // 2))
        stroke = int(em * 0.04 + 0.5) if rng.random() < 0.1 else 0
        bend = _baseline(advance, em, rng) if rng.random() < 0.12 * difficulty else None
        pen = ImageDraw.Draw(fill)
        if bend is None and advance[-1] == font.getlength(text):
            pen.text((_MARGIN, _MARGIN), text, fill=255, font=font, stroke_width=stroke)
        else:
            for i, char in enumerate(text):
                at = (_MARGIN + advance[i], _MARGIN + (0.0 if bend is None else bend[i]))
                pen.text(at, char, fill=255, font=font, stroke_width=stroke)
        tight = fill.getbbox() or (0, 0, *fill.size)
        if rng.random() < 0.03:  # underline
            y = min(fill.height - 2, tight[3] + 1)
            pen.line((tight[0], y, tight[2], y), fill=255, width=max(1, em // 16))
        if rng.random() < 0.16 * difficulty:  # another line of text, cut off by the crop
            other = "".join(rng.permutation(list(text)))
            gap = em * (0.12 + rng.exponential(0.15))
            top = tight[3] + gap if rng.random() < 0.5 else tight[1] - gap - (box[3] - box[1])
            pen.text((_MARGIN + em * rng.normal(0, 1), top - box[1]), other, fill=255, font=font)
        return fill, _second_layer(fill, em, rng, difficulty), tight

    def _colour(self, fill: Grey, edge: Grey | None, rng: Generator, difficulty: float) -> Grey:
        """Background, then border or shadow, then text, each with its own texture."""
        shape = fill.shape
        low = 0.75 - 0.53 * difficulty
        contrast = low + (1 - low) * rng.beta(1.6, 1.3)  # between text and background, always > 0
        ground = rng.random() * (1 - contrast)
        dark_text = rng.random() < 0.5
        ink, paper = (ground, ground + contrast) if dark_text else (ground + contrast, ground)
        roughness = contrast * difficulty
        image = paper + self._texture(shape, rng, roughness * rng.beta(1, 4))
        if edge is not None:
            side = float(np.clip(rng.normal(paper + (paper - ink) * 0.6, 0.3), 0, 1))
            image = image + (side - image) * edge
        inked = ink + self._texture(shape, rng, 0.5 * roughness * rng.beta(1, 5))
        image = image + (inked - image) * fill
        if rng.random() < 0.25 * difficulty:  # uneven light
            image = image * (1 + 0.5 * _gradient(shape, rng))
        return np.clip(image, 0, 1).astype(np.float32)

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
            crop = photo[y : y + h, x : x + w]
            pattern = _resize(crop, shape)
        elif kind < 0.88:
            pattern = _gradient(shape, rng)
        else:
            coarse = rng.random((int(rng.integers(2, 9)), int(rng.integers(2, 20))))
            pattern = _resize(coarse.astype(np.float32), shape)
        pattern = pattern - pattern.mean()
        return np.asarray(pattern * (strength / max(float(pattern.std()), 0.05)), np.float32)


def _even(size: float) -> int:
    """Sizes in steps of 4 pixels, so that the cache of fonts is hit."""
    return max(8, int(size / 4 + 0.5) * 4)


def _advances(text: str, font: ImageFont.FreeTypeFont, rng: Generator) -> NDArray[np.float64]:
    """The x of each character and of the end, kerning kept, letters perhaps spaced."""
    ends = np.array([font.getlength(text[:i]) for i in range(len(text) + 1)], np.float64)
    if rng.random() < 0.22:
        gap = font.size * (rng.exponential(0.15) - 0.03)
        ends = ends + gap * np.arange(len(ends))
    return ends


def _baseline(x: NDArray[np.float64], size: int, rng: Generator) -> NDArray[np.float64]:
    """Heights of the characters along an arc, at least 0."""
    phase = np.linspace(-1, 1, len(x)) if len(x) > 1 else np.zeros(1)
    arc = (1 - phase**2) * size * rng.uniform(-0.45, 0.45)
    return np.asarray(arc - arc.min(), np.float64)


def _second_layer(
    fill: Image.Image, size: int, rng: Generator, difficulty: float
) -> Image.Image | None:
    """A border around the text or a shadow beside it."""
    kind = rng.random()
    if kind < 0.10 * difficulty:
        return fill.filter(ImageFilter.MaxFilter(3 if size < 30 or rng.random() < 0.5 else 5))
    if kind < 0.24 * difficulty:
        reach = max(1.0, size * 0.1)
        dx, dy = (round(float(v)) for v in rng.uniform(-reach, reach, 2))
        shadow = Image.new("L", fill.size)
        shadow.paste(fill, (dx, dy))
        if rng.random() < 0.5:
            shadow = shadow.filter(ImageFilter.GaussianBlur(reach * 0.4))
        return shadow
    return None


def _project(
    drawn: tuple[Image.Image, Image.Image | None, tuple[int, int, int, int]],
    rng: Generator,
    height: int,
    difficulty: float,
) -> tuple[Grey, Grey | None]:
    """The masks seen from the side, cropped with loose, tight or cutting margins.

    Each corner of the crop is a point of the canvas: a rotated, sheared and jittered box around
    the text, so one resampling does perspective, rotation, crop and scale.
    """
    fill, edge, (left, top, right, bottom) = drawn
    w, h = right - left, bottom - top
    unit = max(h, 1)
    margin = np.clip(rng.exponential(0.12, 4) - 0.03, -0.04, 0.6) * unit
    x0, y0, x1, y1 = left - margin[0], top - margin[1], right + margin[2], bottom + margin[3]
    corners = np.array([[x0, y0], [x0, y1], [x1, y1], [x1, y0]])
    centre = corners.mean(axis=0)
    tilt = rng.normal(0, 0.045) * difficulty * min(1.0, 4 * h / max(w, 1) + 0.3)
    shear = rng.normal(0, 0.12) * difficulty
    around = corners - centre
    around = around + np.outer(around[:, 1], [shear, 0.0])
    turn = np.array([[np.cos(tilt), np.sin(tilt)], [-np.sin(tilt), np.cos(tilt)]])
    around = around @ turn
    around += rng.normal(0, 0.05, (4, 2)) * unit * difficulty
    # The rotated box may cut letters: grow it by what the rotation moved the text's own ends.
    around[:, 1] *= 1 + 0.7 * abs(np.sin(tilt)) * w / unit
    corners = centre + around
    aspect = (x1 - x0) / max(y1 - y0, 1.0) * np.exp(rng.normal(0, 0.12) * difficulty)
    size = (int(np.clip(height * aspect, 4, 24 * height)), height)
    quad = tuple(float(v) for v in corners.ravel())

    def warp(mask: Image.Image) -> Grey:
        out = mask.transform(size, Image.Transform.QUAD, quad, Image.Resampling.BILINEAR)
        grey: Grey = np.asarray(out, np.float32) / np.float32(255)
        return grey

    return warp(fill), None if edge is None else warp(edge)


def _gradient(shape: tuple[int, ...], rng: Generator) -> Grey:
    """A linear ramp in a random direction, within [-1, 1]."""
    angle = rng.uniform(0, 2 * np.pi)
    y = np.linspace(-1, 1, shape[0], dtype=np.float32)[:, None] * np.float32(np.sin(angle))
    x = np.linspace(-1, 1, shape[1], dtype=np.float32)[None, :] * np.float32(np.cos(angle))
    ramp: Grey = ((x + y) * np.float32(0.7)).astype(np.float32)
    return ramp


def _resize(pattern: Grey, shape: tuple[int, ...]) -> Grey:
    image = Image.fromarray(pattern).resize((shape[1], shape[0]), Image.Resampling.BILINEAR)
    return np.asarray(image, np.float32)


def _camera(image: Grey, rng: Generator, difficulty: float) -> NDArray[np.uint8]:
    """Blur, noise and compression at the resolution the image has."""
    grey = Image.fromarray((image * 255).astype(np.uint8))
    draw = rng.random()
    if draw < 0.45 * difficulty:
        blur = min(0.07, rng.exponential(0.03))  # of the height
        grey = grey.filter(ImageFilter.GaussianBlur(blur * image.shape[0]))
    elif draw < 0.55 * difficulty:  # moved while exposing
        reach = rng.uniform(1.5, max(2.0, 0.12 * image.shape[0]))
        small = (max(4, int(grey.width / reach)), grey.height)
        small = small if rng.random() < 0.7 else (grey.width, max(6, grey.height // 2))
        grey = grey.resize(small, Image.Resampling.BOX).resize(grey.size, Image.Resampling.BILINEAR)
    if rng.random() < 0.4 * difficulty:
        noisy = np.asarray(grey, np.float32)
        noisy = noisy + rng.standard_normal(noisy.shape, np.float32) * min(25.0, rng.exponential(8))
        grey = Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))
    if rng.random() < 0.5 * difficulty:
        file = io.BytesIO()
        grey.save(file, "JPEG", quality=int(rng.integers(15, 90)))
        grey = Image.open(file)
    return np.asarray(grey, np.uint8)

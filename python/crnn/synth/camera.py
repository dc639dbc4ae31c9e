"""What a camera and its file format do to a picture: blur, movement, noise, sharpening, JPEG."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from crnn.synth.geometry import Grey

Generator = np.random.Generator


def photograph(
    image: Grey, unit: float, contrast: float, rng: Generator, difficulty: float
) -> NDArray[np.uint8]:
    """The picture of `image` at the resolution it has, or a lower one.

    Args:
        image: ``[height, width]`` in [0, 1].
        unit: pixels from the top of the word to its bottom; blur is measured against it.
        contrast: between text and background; noise is kept below it.
        rng: the source of all chance.
        difficulty: 0 to 1, scales how often and how much.
    """
    if rng.random() < 0.1 * difficulty:  # overexposed or crushed
        gain = rng.uniform(1.0, 1.8)
        image = np.clip((image - 0.5) * np.float32(gain) + 0.5 + rng.uniform(-0.2, 0.2), 0, 1)
    # Blur, movement and few pixels each take detail away; together they would take all. So only
    # one of the first two happens, and a picture that is small already is blurred little.
    blurred = 0.0  # pixels
    draw = rng.random()
    if draw < 0.09 * difficulty:
        blurred = min(rng.uniform(0.04, 0.14), 0.012 * unit) * unit
        image = _moved(image, blurred, rng)
    grey = Image.fromarray((image * np.float32(255)).astype(np.uint8))
    if 0.1 < draw < 0.1 + 0.58 * difficulty:
        blurred = min(0.10, rng.exponential(0.035), 0.006 * unit) * unit
        if blurred > 0.3:
            grey = grey.filter(ImageFilter.GaussianBlur(blurred))
    if unit > 16 and rng.random() < 0.15 * difficulty:  # a small picture made from a large one
        least = max(9.0, 6 * blurred)
        factor = rng.uniform(1.0, float(np.clip(unit / least, 1.0, 3.0)))
        small = (max(6, round(grey.width / factor)), max(6, round(grey.height / factor)))
        kind = Image.Resampling.BILINEAR if rng.random() < 0.7 else Image.Resampling.NEAREST
        grey = grey.resize(small, kind)
    if rng.random() < 0.4 * difficulty:
        # Against fewer than 20 pixels of height, or blurred strokes, noise counts for more.
        most = 0.25 * contrast * min(1.0, unit / 20) / (1 + 10 * blurred / unit)
        sigma = min(most * 255, 25.0, rng.exponential(8))
        noisy = np.asarray(grey, np.float32)
        noisy = noisy + rng.standard_normal(noisy.shape, np.float32) * np.float32(sigma)
        grey = Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))
    if rng.random() < 0.08 * difficulty:
        grey = grey.filter(ImageFilter.UnsharpMask(1.5, int(rng.integers(80, 250)), 0))
    if rng.random() < 0.5 * difficulty:
        file = io.BytesIO()
        grey.save(file, "JPEG", quality=int(rng.integers(20, 92)))
        grey = Image.open(file)
    return np.asarray(grey, np.uint8)


def _moved(image: Grey, reach: float, rng: Generator) -> Grey:
    """The mean along a straight path of `reach` pixels."""
    angle = rng.uniform(0, np.pi)
    steps = max(2, round(reach))
    dx, dy = reach * np.cos(angle) / steps, reach * np.sin(angle) / steps
    total = np.zeros_like(image)
    for i in range(steps):
        shift = (round((i - steps / 2) * dy), round((i - steps / 2) * dx))
        total += _rolled(image, *shift)
    return np.asarray(total / np.float32(steps))


def _rolled(image: Grey, dy: int, dx: int) -> Grey:
    """`image` moved down and right, its edges repeated."""
    height, width = image.shape
    y = np.clip(np.arange(height) - dy, 0, height - 1)
    x = np.clip(np.arange(width) - dx, 0, width - 1)
    return image[y[:, None], x[None, :]]

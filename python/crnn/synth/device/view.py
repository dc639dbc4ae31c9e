"""`crnn.synth.geometry.View` of many words at once: what a crop shows, and how large it becomes."""

from __future__ import annotations

import numpy as np

from crnn.synth.device.layout import Floats, Generator, Layout

_LIMIT = (400, 96)  # pixels of a crop, at most
LEAST = 6  # and at least, each way
_POINTS = 9  # of the outline, along the word


def draw_views(
    layout: Layout, rng: Generator, difficulty: Floats
) -> tuple[dict[str, Floats], Floats]:
    """Poses and resolutions of N words, and the sizes of their crops.

    Returns:
        the numbers of the map from crop to canvas, each ``[N]``, as `crnn.synth.device.warp`
        takes them; and ``[2, N]`` whole numbers, width and height of each crop in pixels.
    """
    width, height = layout.box
    pose = _poses(width / height, rng, difficulty)
    count = len(width)
    unit = np.clip(rng.lognormal(3.3, 0.45, count), 11, 56)
    unit = np.where(rng.random(count) < 0.3 * difficulty, rng.uniform(8, 18, count), unit)
    left, top, right, bottom = layout.margins
    x = np.linspace(-width / 2 - left, width / 2 + right, _POINTS)  # [points, N], from the middle
    upper = np.broadcast_to(-height / 2 - top, x.shape)
    lower = np.broadcast_to(height / 2 + bottom, x.shape)
    bent_x, bent_y = _bend(np.concatenate([x, x]), np.concatenate([upper, lower]), width / 2, pose)
    cos, sin = np.cos(pose["tilt"]), np.sin(pose["tilt"])
    a, b = cos * pose["stretch"], cos * pose["shear"] + sin
    c, d = -sin * pose["stretch"], cos - sin * pose["shear"]
    flat_x, flat_y = a * bent_x + b * bent_y, c * bent_x + d * bent_y
    # Shares of the word's own extent, so that none of it comes near the vanishing line.
    to_x = pose["vanish_x"] / np.maximum(np.abs(flat_x).max(axis=0), 1e-6)
    to_y = pose["vanish_y"] / np.maximum(np.abs(flat_y).max(axis=0), 1e-6)
    depth = 1 + flat_x * to_x + flat_y * to_y
    seen = np.stack([flat_x / depth, flat_y / depth])
    corner = seen.min(axis=1)
    span = np.maximum(np.ptp(seen, axis=1), 1.0)
    scale = np.minimum(unit / height, np.minimum(_LIMIT[0] / span[0], _LIMIT[1] / span[1]))
    size = np.maximum(np.rint(span * scale), LEAST)
    inverse = 1 / (a * d - b * c)
    numbers = {
        "arc": pose["arc"],
        "upright": pose["upright"],
        "corner_x": corner[0],
        "corner_y": corner[1],
        "pixel_x": span[0] / size[0],
        "pixel_y": span[1] / size[1],
        "to_x": to_x,
        "to_y": to_y,
        "back_xx": d * inverse,
        "back_xy": -b * inverse,
        "back_yx": -c * inverse,
        "back_yy": a * inverse,
        "scale": scale,
    }
    return numbers, size


def _poses(aspect: Floats, rng: Generator, difficulty: Floats) -> dict[str, Floats]:
    """How words `aspect` times as wide as high lie: mostly nearly flat, at times far from it."""
    count = len(aspect)

    def normal(spread: Floats | float, most: float) -> Floats:
        return np.asarray(np.clip(rng.normal(0, spread, count), -most, most) * difficulty)

    wide = np.clip(5 / np.maximum(aspect, 0.1), 0.35, 1.0)  # long words are held straighter
    spread: Floats = np.where(rng.random(count) < 0.55, 0.03, 0.2)
    curved = (aspect > 1.7) & (rng.random(count) < 0.14 * difficulty)
    steep = wide * np.where(rng.random(count) < 0.3, 1.0, 0.35)
    stretch = np.exp(rng.normal(0, 0.14, count) * difficulty)
    aside = rng.random(count) < 0.15 * difficulty  # seen from the side, or a narrow face
    return {
        "arc": np.where(curved, normal(0.7, 1.6), 0.0),
        "upright": (rng.random(count) < 0.25).astype(np.float64),
        "tilt": normal(spread * wide, 0.5),
        "shear": normal(0.13, 0.5),
        "stretch": stretch * np.where(aside, rng.uniform(0.5, 1.0, count), 1.0),
        "vanish_x": normal(0.2 * steep, 0.32),
        "vanish_y": normal(0.12 * steep, 0.25),
    }


def _bend(x: Floats, y: Floats, half: Floats, pose: dict[str, Floats]) -> tuple[Floats, Floats]:
    """Points ``[points, N]`` around the middle of straight words to those of bent ones."""
    arc = pose["arc"]
    radius = 2 * half / np.where(arc == 0, 1.0, arc)  # negative: its centre lies above the word
    angle = x / radius
    turned_x, turned_y = (radius - y) * np.sin(angle), radius - (radius - y) * np.cos(angle)
    sag = (x / half) ** 2 * half * arc / 4
    straight, upright = arc == 0, pose["upright"] > 0
    return (
        np.where(straight | upright, x, turned_x),
        np.where(straight, y, np.where(upright, y + sag, turned_y)),
    )

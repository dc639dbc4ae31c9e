"""What N words look like and what their camera does, as numbers: no pixel is drawn.

The chances are those of `crnn.synth.render` and `crnn.synth.camera`; each function returns named
arrays ``[N]``, in which 0 stands for what does not happen.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from crnn.synth.device.layout import PAD, Floats, Generator, Layout
from crnn.synth.device.view import LEAST
from crnn.synth.glyphs import EM

Numbers = dict[str, Floats]
#: Kinds of texture, from 1 on; 0 is none.
KINDS = ("photo", "ramp", "clouds")
#: Most cells of a texture of smooth noise, down and across.
CELLS = (8, 19)
TEXTURES = ("paper", "ink", "beyond")


def draw_layers(layout: Layout, rng: Generator, difficulty: Floats) -> Numbers:
    """Weight, underline, what lies beneath the letters, and the edge or frame of the sign."""
    width, height = layout.box
    count = len(width)
    weight, kind = rng.random(count), rng.random(count)
    bold = np.select([weight < 0.07, weight < 0.10], [1.0, 2.0], 0.0)
    outline = (weight >= 0.10) & (weight < 0.10 + 0.02 * difficulty)
    underline = rng.random(count) < 0.03
    inset = kind < 0.03 * difficulty  # a border within the letters instead of around them
    border = np.where(inset | (rng.random(count) < 0.6), 1.0, 3.0) * (kind < 0.12 * difficulty)
    shadow = (kind >= 0.12 * difficulty) & (kind < 0.22 * difficulty)
    solid = (kind >= 0.22 * difficulty) & (kind < 0.38 * difficulty)  # letters seen from the side
    angle = rng.uniform(0, 2 * np.pi, count)
    moved = rng.integers(-5, 6, (2, count))
    gap = EM * (0.06 + rng.exponential(0.12, (4, count)))
    whole = [width + 2 * PAD[0], height + 2 * PAD[1]]  # of the canvas
    open_ended = rng.random(count) < 0.5  # often only one edge is in view
    return {
        "bold": bold,
        "outline": outline.astype(np.float64),
        "under_y": PAD[1] + height + rng.integers(1, 4, count),
        "under_thick": underline * rng.integers(1, 4, count).astype(np.float64),
        "box_width": width,
        "box_height": height,
        "inset": inset.astype(np.float64),
        "border": border,
        "side_steps": shadow + solid * rng.integers(2, 8, count).astype(np.float64),
        "side_x": np.where(shadow, moved[0], np.cos(angle)),
        "side_y": np.where(shadow, moved[1], np.sin(angle)),
        "panel": (rng.random(count) < 0.2 * difficulty).astype(np.float64),
        "panel_x0": np.where(open_ended, -1e4, np.maximum(PAD[0] - gap[0], 0)),
        "panel_y0": np.maximum(PAD[1] - gap[1], 0),
        "panel_x1": np.where(open_ended, 1e4, np.minimum(PAD[0] + width + gap[2], whole[0])),
        "panel_y1": np.minimum(PAD[1] + height + gap[3], whole[1]),
        "frame": (rng.random(count) < 0.3) * rng.integers(2, 5, count).astype(np.float64),
    }


def draw_colours(
    size: Floats,
    raised: NDArray[np.bool_],
    photographs: NDArray[np.int64],
    rng: Generator,
    difficulty: Floats,
) -> Numbers:
    """Grey levels, textures and light.

    Args:
        size: ``[2, N]``, width and height of the crops in pixels.
        raised: ``[N]``, whether the letters have sides or a shadow.
        photographs: ``[P, 2]``, height and width of each.
        rng: the source of all chance.
        difficulty: ``[N]``.
    """
    count = len(difficulty)

    def some(chance: float) -> NDArray[np.bool_]:
        return np.asarray(rng.random(count) < chance * difficulty)

    low = 0.75 - 0.63 * difficulty
    contrast = low + (1 - low) * rng.beta(1.3, 1.4, count)  # of text and paper, always > 0
    ground = rng.random(count) * (1 - contrast)
    dark = rng.random(count) < 0.5
    paper = np.where(dark, ground + contrast, ground)
    ink = np.where(dark, ground, ground + contrast)
    rough = contrast * difficulty
    side = np.clip(rng.normal(paper + (paper - ink) * 0.6, 0.35), 0, 1)
    between = paper + (ink - paper) * rng.uniform(-0.3, 0.6, count)  # a shadow, or a lit side
    side = np.where(rng.random(count) < 0.35, between, side)
    # Letters of the wall's own tone: only their sides and shadows show them.
    hidden = raised & some(0.3)
    ink = np.where(hidden, paper + 0.3 * (ink - paper), ink)
    contrast = np.where(hidden, rng.uniform(0.2, 0.6, count), contrast)
    shown = np.where(paper > contrast, paper - contrast, paper + contrast)
    start = np.floor(rng.random(count) * size[0])
    numbers = {
        "contrast": contrast,
        "paper": paper,
        "ink": ink,
        "side": np.where(hidden, shown, side),
        "beyond": rng.random(count),
        "second": np.where(some(0.05), (ink - paper) * rng.uniform(-0.5, 0.5, count), 0.0),
        "second_from": start,
        "second_to": np.where(rng.random(count) < 0.5, size[0], start + size[1]),
        "light": some(0.25) * 0.5,
        "light_angle": rng.uniform(0, 2 * np.pi, count),
        "shade": some(0.08) * rng.uniform(0.2, 0.6, count),
        "shade_angle": rng.uniform(0, 2 * np.pi, count),
        "shade_steep": rng.uniform(2, 20, count),
        "shade_at": rng.normal(0, 1, count),
    }
    strengths = {
        "paper": rough * rng.beta(1, 4, count),
        "ink": 0.5 * rough * rng.beta(1, 5, count),
        "beyond": 0.3 * rng.random(count),
    }
    for name in TEXTURES:
        drawn = _texture(size, photographs, rng, strengths[name])
        numbers |= {f"{name}_{key}": value for key, value in drawn.items()}
    return numbers


def _texture(
    size: Floats, photographs: NDArray[np.int64], rng: Generator, strength: Floats
) -> Numbers:
    """Which pattern: a photograph's crop, a ramp or clouds, or none."""
    count = len(strength)
    draw = rng.random(count)
    kinds = [(strength < 0.01) | (draw < 0.25), draw < (0.75 if len(photographs) else 0.0)]
    kind = np.select([*kinds, draw < 0.88], [0, 1, 2], 3)
    numbers = {
        "kind": kind.astype(np.float64),
        "strength": np.where(kind == 0, 0.0, strength),
        "angle": rng.uniform(0, 2 * np.pi, count),
        "rows": rng.integers(2, CELLS[0] + 1, count).astype(np.float64),
        "columns": rng.integers(2, CELLS[1] + 1, count).astype(np.float64),
    }
    chosen = rng.integers(max(1, len(photographs)), size=count)
    place = rng.random((3, count))
    if len(photographs):
        high, wide = photographs[chosen].T
        least = np.minimum(16, high)
        h = least + np.floor(place[0] * (high // 2 + 17 - least))
        w = np.minimum(wide, np.maximum(8, np.floor(h * size[0] / size[1])))
        h = np.minimum(h, high)
        numbers |= {
            "photo": chosen.astype(np.float64), "crop_w": w, "crop_h": h,
            "crop_x": np.floor(place[1] * (wide - w + 1)),
            "crop_y": np.floor(place[2] * (high - h + 1)),
        }  # fmt: skip
    return numbers


def draw_camera(
    size: Floats, unit: Floats, contrast: Floats, rng: Generator, difficulty: Floats
) -> tuple[Numbers, Floats]:
    """What the camera does, and the sizes ``[2, N]`` of the pictures that it leaves.

    Blur, movement and few pixels each take detail away; together they would take all. So only one
    of the first two happens, and a picture that is small already is blurred little.

    Args:
        size: ``[2, N]``, width and height of the crops in pixels.
        unit: ``[N]``, pixels from a word's top to its bottom; blur is measured against it.
        contrast: ``[N]``, noise is kept below it.
        rng: the source of all chance.
        difficulty: ``[N]``.
    """
    count = len(unit)

    def some(chance: float) -> NDArray[np.bool_]:
        return np.asarray(rng.random(count) < chance * difficulty)

    exposed, small = some(0.1), some(0.15) & (unit > 16)
    draw = rng.random(count)
    moving = draw < 0.09 * difficulty
    reach = np.minimum(rng.uniform(0.04, 0.14, count), 0.012 * unit) * unit * moving
    soft = (draw > 0.1) & (draw < 0.1 + 0.58 * difficulty)
    sigma = np.minimum(np.minimum(0.10, rng.exponential(0.035, count)), 0.006 * unit) * unit * soft
    blurred = reach + sigma
    most = np.clip(unit / np.maximum(9.0, 6 * blurred), 1.0, 3.0)
    factor = np.where(small, rng.uniform(1.0, most), 1.0)
    left = np.where(small, np.maximum(LEAST, np.rint(size / factor)), size)
    # Against fewer than 20 pixels of height, or blurred strokes, noise counts for more.
    bound = 0.25 * contrast * np.minimum(1.0, unit / 20) / (1 + 10 * blurred / unit)
    noise = np.minimum(np.minimum(bound * 255, 25.0), rng.exponential(8, count)) * some(0.4)
    numbers = {
        "gain": np.where(exposed, rng.uniform(1.0, 1.8, count), 1.0),
        "lift": exposed * rng.uniform(-0.2, 0.2, count),
        "reach": reach,
        "reach_angle": rng.uniform(0, np.pi, count),
        "sigma": np.where(sigma > 0.3, sigma, 0.0),
        "small": small * np.where(rng.random(count) < 0.7, 1.0, 2.0),  # 2: nearest pixel
        "noise": noise,
        "sharpen": some(0.08) * rng.integers(80, 250, count) / 100,
        "jpeg": some(0.5) * rng.integers(20, 92, count).astype(np.float64),
    }
    return numbers, left

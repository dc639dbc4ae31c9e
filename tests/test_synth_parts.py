"""The renderer's parts: glyphs put together as the font does, views that keep the word in sight,
a camera that leaves it readable."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from crnn.synth.camera import photograph
from crnn.synth.fonts import _SYMBOLS, _draw_symbols, _is_latin, _normalise
from crnn.synth.geometry import Pose, View
from crnn.synth.glyphs import EM, Face, dilate, moved, paste, positions
from crnn.synth.render import Renderer, _neighbours, _pose

NO_MARGINS = np.zeros(4)


@pytest.fixture(scope="module")
def font(font_folder: Path) -> Face:
    return Face(str(font_folder / "default.ttf"))


def test_glyphs_make_the_text_that_the_font_draws(font: Face, font_folder: Path) -> None:
    pillow = ImageFont.truetype(
        str(font_folder / "default.ttf"), EM, layout_engine=ImageFont.Layout.BASIC
    )
    expected = Image.new("L", (260, 80))
    ImageDraw.Draw(expected).text((10, 10), "AVATAR Tofu", fill=255, font=pillow)
    canvas = np.zeros((80, 260), np.uint8)
    pen = positions(font, "AVATAR Tofu")
    for char, x in zip("AVATAR Tofu", pen, strict=False):
        paste(canvas, font, char, 10 + x, 10)
    assert pen[-1] == pytest.approx(pillow.getlength("AVATAR Tofu"), abs=1e-6)
    # The pen is rounded to whole pixels: letters may lie up to half a pixel off.
    difference = np.abs(canvas.astype(int) - np.asarray(expected, int))
    assert difference.mean() < 8
    assert abs(int(canvas.sum()) - int(np.asarray(expected, int).sum())) < 0.03 * canvas.sum()


def test_spacing_moves_each_letter(font: Face) -> None:
    plain, spaced = positions(font, "exit"), positions(font, "exit", 3.0)
    assert spaced - plain == pytest.approx([0, 3, 6, 9, 9])


def test_a_font_knows_what_it_lacks(font: Face) -> None:
    assert all(font.has(char) for char in _SYMBOLS)
    assert font.has(" ")
    assert not font.has("\u4e2d")


def test_paste_outside_the_canvas_draws_nothing(font: Face) -> None:
    canvas = np.zeros((20, 20), np.uint8)
    for at in ((-500, 0), (500, 0), (0, -500), (0, 500)):
        left, top, right, bottom = paste(canvas, font, "W", *at)
        assert left >= right or top >= bottom
    assert not canvas.any()


@pytest.mark.parametrize("reach", [1, 2, 3])
def test_dilation_against_its_definition(reach: int) -> None:
    mask = (np.random.default_rng(0).random((9, 13)) > 0.9).astype(np.uint8) * 200
    padded = np.pad(mask, reach)
    expected = np.max(
        [padded[y : y + 9, x : x + 13] for y in range(2 * reach + 1) for x in range(2 * reach + 1)],
        axis=0,
    )
    assert np.array_equal(dilate(mask, reach), expected)


def test_moving_a_mask() -> None:
    mask = np.arange(12, dtype=np.uint8).reshape(3, 4)
    assert np.array_equal(moved(mask, 1, -1), [[0, 4, 5, 6], [0, 8, 9, 10], [0, 0, 0, 0]])
    assert not moved(mask, 9, 0).any()


def test_a_flat_view_is_the_crop() -> None:
    canvas = np.random.default_rng(0).integers(0, 256, (40, 90), np.uint8)
    view = View(Pose(), (10, 5, 70, 35), NO_MARGINS, unit=30)
    assert view.size == (60, 30)
    assert view.scale == 1.0
    assert view.warp(canvas) == pytest.approx(canvas[5:35, 10:70] / 255, abs=1e-6)


def test_margins_widen_the_crop() -> None:
    view = View(Pose(), (20, 20, 80, 40), np.array([5.0, 2.0, 10.0, -3.0]), unit=20)
    assert view.size == (75, 19)


def test_a_crop_stays_within_its_limits() -> None:
    view = View(Pose(), (0, 0, 4000, 20), NO_MARGINS, unit=50, limit=(300, 64))
    assert view.size[0] <= 300
    assert view.size[1] <= 64


@pytest.mark.parametrize("seed", range(60))
def test_every_view_keeps_the_word_in_sight(seed: int) -> None:
    """With a margin all round, no ink touches the border of the crop, and none is lost."""
    rng = np.random.default_rng(seed)
    width, height = int(rng.integers(20, 300)), int(rng.integers(16, 44))
    canvas = np.zeros((height + 80, width + 80), np.uint8)
    canvas[40:-40, 40:-40] = 255
    pose = _pose(width / height, rng, 1.0)
    view = View(pose, (40, 40, 40 + width, 40 + height), np.full(4, 14.0), unit=float(height))
    seen = view.warp(canvas)
    border = np.concatenate([seen[0], seen[-1], seen[:, 0], seen[:, -1]])
    assert border.max() < 0.5, pose
    assert seen.sum() > 100
    centres = []
    for x in (40, 40 + width - 8):  # both ends of the word are there, in their order
        end = np.zeros_like(canvas)
        end[40:-40, x : x + 8] = 255
        column = view.warp(end).sum(axis=0)
        assert column.sum() > 3, pose
        centres.append(float((column * np.arange(len(column))).sum() / column.sum()))
    assert centres[0] < centres[1] - 2, pose


def test_poses_stay_within_their_ranges() -> None:
    rng = np.random.default_rng(0)
    poses = [_pose(rng.uniform(0.3, 15), rng, 1.0) for _ in range(3000)]
    values = {name: np.array([getattr(p, name) for p in poses]) for name in vars(poses[0])}
    limits = {"arc": 1.6, "tilt": 0.5, "shear": 0.5, "vanish_x": 0.32, "vanish_y": 0.25}
    for name, most in limits.items():
        assert np.abs(values[name]).max() <= most, name
        assert values[name].min() < 0 < values[name].max(), name
    assert 0.25 < values["stretch"].min() < values["stretch"].max() < 2.0
    assert 0.05 < (values["arc"] != 0).mean() < 0.2
    assert 0.05 < (np.abs(values["tilt"]) > 0.15).mean() < 0.4  # nearly flat as a rule
    for _ in range(100):  # and clean print is flat and straight on
        pose = _pose(4.0, rng, 0.0)
        assert vars(pose) | {"upright": False} == vars(Pose())


def test_the_least_contrast_is_kept(font_folder: Path) -> None:
    """Where ink and paper are plain, they differ by what the renderer promises."""
    renderer = Renderer([[str(font_folder / "default.ttf")]])
    least = 1.0
    for seed in range(300):
        rng = np.random.default_rng(seed)
        drawing = renderer._draw("III", rng, 0.0)
        view = View(Pose(), drawing.box, NO_MARGINS, unit=40.0)
        image, contrast = renderer._colour(drawing, view, rng, 1.0)
        assert contrast >= 0.12
        assert 0 <= image.min() <= image.max() <= 1
        least = min(least, contrast)
    assert least < 0.2  # faint signs are there, too


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_neighbour_is_a_cut_letter_beyond_a_gap(font: Face, side: str) -> None:
    seen = 0
    for seed in range(400):
        canvas = np.zeros((140, 400), np.uint8)
        box = (150, 50, 250, 90)
        margins = np.zeros(4)
        _neighbours(canvas, font, box, margins, 0.0, np.random.default_rng(seed), 1.0)
        end = canvas[:, :150][:, ::-1] if side == "left" else canvas[:, 250:]
        crop = margins[0] if side == "left" else margins[2]
        ink = np.flatnonzero(end.any(axis=0))
        if margins[1] or margins[3] or not crop:
            continue
        seen += 1
        assert ink[0] >= 0.2 * EM  # a word space
        assert ink[0] <= crop + 1  # at least its edge shows
        assert crop < ink[-1] + 1 + 2  # and part is cut off
    assert seen > 10


@pytest.mark.parametrize("arc", [-1.5, -0.4, 0.4, 1.5])
@pytest.mark.parametrize("upright", [False, True])
def test_an_arc_bends_the_middle_away_from_the_ends(arc: float, upright: bool) -> None:
    canvas = np.zeros((120, 280), np.uint8)
    canvas[58:62, 40:240] = 255
    view = View(Pose(arc=arc, upright=upright), (40, 40, 240, 80), np.full(4, 20.0), unit=40)
    seen = view.warp(canvas)
    rows = np.arange(seen.shape[0])[:, None]
    height = (seen * rows).sum(axis=0) / np.maximum(seen.sum(axis=0), 1e-6)
    inked = np.flatnonzero(seen.sum(axis=0) > 0.5)
    middle, end = height[len(height) // 2], height[inked[3]]
    assert (middle < end) == (arc > 0)  # positive arches up; rows count downwards


def test_perspective_enlarges_the_near_end() -> None:
    canvas = np.zeros((100, 280), np.uint8)
    canvas[30:70, 40:60] = canvas[30:70, 220:240] = 255
    view = View(Pose(vanish_x=0.3), (40, 30, 240, 70), np.full(4, 10.0), unit=40)
    columns = view.warp(canvas).sum(axis=0)
    left, right = columns[: len(columns) // 2].max(), columns[len(columns) // 2 :].max()
    assert left == pytest.approx(right * 1.3 / 0.7, rel=0.2)


@pytest.mark.parametrize("unit", [8.0, 14.0, 40.0])
def test_the_camera_keeps_stripes_of_the_least_contrast(unit: float) -> None:
    """Strokes an eighth of the word's height wide still correlate with what was photographed."""
    size = (round(unit * 1.5), round(unit * 5))
    period = max(4.0, unit / 3)
    stripes = np.sin(2 * np.pi * np.arange(size[1]) / period) > 0
    contrast = 0.12
    image = np.broadcast_to(0.4 + contrast * stripes, size).astype(np.float32)
    likeness = []
    for seed in range(150):
        seen = photograph(image, unit, contrast, np.random.default_rng(seed), 1.0)
        full = Image.fromarray(seen).resize(size[::-1], Image.Resampling.BILINEAR)
        profile = np.asarray(full, np.float64).mean(axis=0)
        if profile.std() > 0:
            likeness.append(np.corrcoef(profile, stripes)[0, 1])
    # Movement across the stripes may take a few away; most stay plain.
    assert np.quantile(likeness, 0.06) > 0.5
    assert np.median(likeness) > 0.85


def test_no_difficulty_is_a_plain_picture() -> None:
    image = np.random.default_rng(0).random((30, 80), np.float32)
    seen = photograph(image, 25.0, 0.5, np.random.default_rng(1), 0.0)
    assert np.array_equal(seen, (image * 255).astype(np.uint8))


def test_fonts_that_draw_other_letters_are_refused(font_folder: Path) -> None:
    drawn = _draw_symbols(str(font_folder / "default.ttf"))
    assert drawn is not None
    good = _normalise(drawn)
    assert _is_latin(good, good)
    wrong = good.copy()
    wrong[_SYMBOLS.index("x")] = good[_SYMBOLS.index("H")]  # one glyph is enough
    assert not _is_latin(wrong, good)
    shifted = np.roll(good, 5, axis=0)
    assert not _is_latin(shifted, good)

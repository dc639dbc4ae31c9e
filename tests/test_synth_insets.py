"""Borders within the letters: both renderers draw them alike, and never lose a thin letter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from crnn.charset import Charset
from crnn.synth import TextSampler
from crnn.synth.device import SketchedWords, load_atlas
from crnn.synth.device.canvas import Glyphs, bordered, draw_canvases
from crnn.synth.device.values import Steps, Values, steps_of, upload
from crnn.synth.glyphs import Mask, erode
from crnn.synth.render import _layers

CPU = torch.device("cpu")


class Certain:
    """In place of a generator: every draw is `value`."""

    def __init__(self, value: float) -> None:
        self.value = value

    def random(self) -> float:
        return self.value


def letter(thickness: int) -> Mask:
    mask = np.zeros((30, 20), np.uint8)
    mask[4:26, 5 : 5 + thickness] = 255
    return mask


def test_a_letter_is_shrunk_from_all_sides() -> None:
    assert np.array_equal(np.argwhere(erode(letter(8), 2))[[0, -1]], [[6, 7], [23, 10]])
    assert not erode(letter(2), 1).any()


@pytest.mark.parametrize(("thickness", "inset"), [(8, True), (5, True), (3, False), (1, False)])
def test_an_inset_keeps_the_outline_and_spares_thin_letters(thickness: int, inset: bool) -> None:
    mask = letter(thickness)
    rng: Any = Certain(0.01)
    fill, edge, _ = _layers(mask, rng, difficulty=1.0)
    assert edge is not None
    assert np.array_equal(fill, erode(mask, 1) if inset else mask)
    assert np.array_equal(edge, mask) == inset


def test_composed_insets_are_those_of_the_renderer(
    font_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    atlas = load_atlas([[str(font_folder / "default.ttf")]])
    words = SketchedWords(TextSampler(["exit"]), atlas, [], Charset.named("36"), 8, difficulty=0.0)
    (sketch, *_) = words[0]
    sketch.numbers[sketch.names.index("bold")] = [0, 1] * 4  # the font's own stems are thin
    canvases = []
    for inset in (0.0, 1.0):
        for name, value in (("inset", inset), ("border", inset), ("under_thick", 0.0)):
            sketch.numbers[sketch.names.index(name)] = value
        rows = {name: row for row, name in enumerate(sketch.names)}
        values = Values(rows, upload(sketch.numbers, CPU)[:, :, None, None])
        steps = Steps(steps_of(sketch), CPU)
        letters, lines = upload(sketch.letters, CPU), upload(sketch.lines, CPU)
        canvases.append(draw_canvases(Glyphs(atlas, CPU), sketch, values, steps, letters, lines))
    edges = bordered(canvases[1], steps)
    changed = []
    for before, after, edge in zip(*canvases, edges, strict=True):
        mask, inner = before.mul(255).round().byte().numpy(), after.mul(255).round().byte().numpy()
        rng: Any = Certain(0.01)
        fill, *_ = _layers(mask, rng, difficulty=1.0)
        assert np.array_equal(inner, fill)
        assert inner.any()
        assert (edge >= after).all()
        changed.append(not np.array_equal(inner, mask))
    assert changed == [False, True] * 4

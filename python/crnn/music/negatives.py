"""What is no fragment: pictures that must read as nothing, so that nobody trusts what they give.

A fragment is one staff under a treble clef, upright, without chords. Of what is turned or under
another clef only pictures that show the clef are drawn: a staff of crotchets without a clef looks
the same upside down, and the same under any clef, so there is nothing to learn in it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from crnn.music.engrave import SPACE, Engraver
from crnn.music.melody import CLEFS, LEAST, MOST, Melody, empty, melody
from crnn.music.photo import MARGIN, Photographer, Sheet, fragment, words
from crnn.synth.camera import photograph

Generator = np.random.Generator


class Negatives:
    """Draws pictures of what is no fragment.

    Args:
        engraver, photographer: draw the staves, and take the pictures.
    """

    def __init__(self, engraver: Engraver, photographer: Photographer) -> None:
        self.engraver, self.photographer = engraver, photographer

    def __call__(self, rng: Generator, difficulty: float, kind: str = "") -> NDArray[np.uint8]:
        """The picture ``[height, width]``.

        Args:
            rng: the source of all chance.
            difficulty: 0 (a scan) to 1 (everything).
            kind: a name of `KINDS`; "" draws one.
        """
        if not kind:
            shares = np.array([share for share, _ in KINDS.values()])
            kind = str(rng.choice(list(KINDS), p=shares / shares.sum()))
        drawn = KINDS[kind][1](self, rng, difficulty)
        return self.photographer(drawn, rng, difficulty) if isinstance(drawn, Sheet) else drawn

    def _tune(self, rng: Generator, difficulty: float, tune: Melody) -> Sheet:
        return fragment(self.engraver(tune, rng), tune, rng, difficulty)[0]

    def _with_clef(self, rng: Generator, difficulty: float, clef: str = "G2") -> Sheet:
        return self._tune(rng, difficulty, melody(rng, clef=clef, whole=True))

    def _page(self, rng: Generator, difficulty: float) -> Sheet:
        """Nothing, or words."""
        height, width = round(rng.uniform(6, 20) * SPACE), round(rng.uniform(20, 90) * SPACE)
        mask = np.zeros((height, width), np.uint8)
        box = (0.0, 0.0, float(width), float(height))
        for y in np.arange(0.0, height, SPACE * 2.5):
            if rng.random() < 0.4:
                words(mask, box, y, SPACE * rng.uniform(1.2, 2.5), rng)
        return Sheet(mask, box, SPACE)

    def _empty(self, rng: Generator, difficulty: float) -> Sheet:
        return self._tune(rng, difficulty, empty(rng))

    def _upside_down(self, rng: Generator, difficulty: float) -> Sheet:
        return turned(self._with_clef(rng, difficulty), 2)

    def _sideways(self, rng: Generator, difficulty: float) -> Sheet:
        return turned(self._with_clef(rng, difficulty), int(rng.choice([1, 3])))

    def _mirrored(self, rng: Generator, difficulty: float) -> Sheet:
        sheet = self._with_clef(rng, difficulty)
        (left, top, right, bottom), width = sheet.box, sheet.mask.shape[1]
        return Sheet(sheet.mask[:, ::-1], (width - right, top, width - left, bottom), sheet.space)

    def _other_clef(self, rng: Generator, difficulty: float) -> Sheet:
        clefs = [clef for clef in CLEFS if clef != "G2"]
        return self._with_clef(rng, difficulty, str(rng.choice(clefs, p=[0.6, 0.25, 0.15])))

    def _chords(self, rng: Generator, difficulty: float) -> Sheet:
        while True:
            tune = melody(rng, chords=float(rng.choice([0.4, 0.7, 1.0])))
            engraving = self.engraver(tune, rng)
            sheet, _ = fragment(engraving, tune, rng, difficulty)
            xs = [x for x, _ in engraving.notes if sheet.box[0] < x + MARGIN < sheet.box[2]]
            if sum(abs(a - b) < 0.1 * SPACE for a, b in itertools.pairwise(xs)) >= 2:
                return sheet

    def _staves(self, rng: Generator, difficulty: float) -> Sheet:
        """Two staves or more, up to a page, each whole."""
        count = 2 if rng.random() < 0.5 else int(rng.integers(3, 13))
        few = int(rng.integers(LEAST, MOST + 1))
        drawn = [
            self.engraver(melody(rng, few, whole=True), rng) for _ in range(min(count, 3))
        ]  # more would take long
        pitch = round(SPACE * rng.uniform(7.5, 13))  # from staff to staff
        width = max(e.mask.shape[1] for e in drawn)
        mask = np.zeros((pitch * count + 2 * MARGIN, width + 2 * MARGIN), np.uint8)
        for i in range(count):
            engraving = drawn[i % len(drawn)]
            top = max(0, MARGIN + i * pitch + round(2 * SPACE - engraving.staff[1]))
            part = engraving.mask[: mask.shape[0] - top]
            room = mask[top : top + part.shape[0], MARGIN : MARGIN + part.shape[1]]
            np.maximum(room, part, out=room)
        right = min(e.staff[2] for e in drawn) if rng.random() < 0.7 else width
        box = (MARGIN + drawn[0].staff[0], MARGIN, MARGIN + right, MARGIN + pitch * count)
        return Sheet(mask, tuple(map(float, box)), SPACE)  # type: ignore[arg-type]

    def _scenery(self, rng: Generator, difficulty: float) -> NDArray[np.uint8]:
        """A photograph of something else; noise without photographs."""
        height = int(rng.integers(32, 200))
        shape = (height, int(np.clip(height * np.exp(rng.uniform(0, 2.5)), 32, 1200)))
        if self.photographer.backgrounds and rng.random() < 0.9:
            picture = self.photographer.scenery(shape, rng)
        else:
            picture = rng.random(shape, np.float32)
        return photograph(picture, height / 3, 0.5, rng, difficulty)


_Draw = Callable[[Negatives, Generator, float], "Sheet | NDArray[np.uint8]"]
#: What is drawn: its share, and how.
KINDS: dict[str, tuple[float, _Draw]] = {
    "page": (2.0, Negatives._page),
    "scenery": (2.0, Negatives._scenery),
    "empty": (1.5, Negatives._empty),
    "upside-down": (5.0, Negatives._upside_down),
    "sideways": (1.5, Negatives._sideways),
    "mirrored": (1.0, Negatives._mirrored),
    "other-clef": (5.0, Negatives._other_clef),
    "chords": (4.0, Negatives._chords),
    "staves": (4.0, Negatives._staves),
}


def turned(sheet: Sheet, quarters: int) -> Sheet:
    """`sheet` turned against the clock by so many quarters of a circle."""
    for _ in range(quarters):
        left, top, right, bottom = sheet.box
        width = sheet.mask.shape[1]
        mask = np.ascontiguousarray(np.rot90(sheet.mask))
        sheet = Sheet(mask, (top, width - right, bottom, width - left), sheet.space)
    return sheet

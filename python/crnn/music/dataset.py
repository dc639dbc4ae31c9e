"""An endless stream of batches of staff fragments."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from crnn.charset import Charset
from crnn.music.engrave import Engraver
from crnn.music.melody import LEAST, MOST, melody
from crnn.music.negatives import Negatives
from crnn.music.photo import Photographer, fragment, severity
from crnn.synth.dataset import SyntheticImages
from crnn.synth.geometry import Grey

# Widths of batches as multiples of their height, in steps that keep distortion under 12 %.
_RATIOS = (2.0, 2.5, 3.125, 4.0, 5.0, 6.25, 8.0, 10.0, 12.5, 15.5)

_NEGATIVES = 0.22  # share of images that are no fragment, and must read as nothing


def widths(height: int) -> tuple[int, ...]:
    """The widths of batches of images `height` pixels high."""
    return tuple(round(ratio * height) for ratio in _RATIOS)


class SyntheticMusic(SyntheticImages):
    """Staff fragments; labels are pitches joined by spaces, empty for what is none (`Negatives`).

    Args:
        charset: encodes the labels.
        batch_size, seed, height, widths, difficulty: see `SyntheticImages`.
        backgrounds: photographs, see `Photographer`.
        warmup: samples over which fragments also grow from 6 notes at most to 20.

    Raises:
        ValueError: what draws music is not installed.
    """

    def __init__(
        self,
        charset: Charset,
        batch_size: int,
        seed: int = 0,
        height: int = 64,
        widths: tuple[int, ...] = widths(64),
        backgrounds: Sequence[Grey] = (),
        warmup: int = 0,
        difficulty: float = 1.0,
    ) -> None:
        super().__init__(charset, batch_size, seed, height, widths, warmup, difficulty)
        self.engraver, self.photographer = Engraver(), Photographer(backgrounds)
        self.negatives = Negatives(self.engraver, self.photographer)

    def sample(self, index: int) -> tuple[NDArray[np.uint8], str]:
        """Image ``[height, width]``, at its camera's resolution, and label of sample `index`."""
        rng = np.random.default_rng((self.seed, index))
        # Prints and scans are read too: a quarter of the images is nearly clean.
        share = 0.1 * rng.random() if rng.random() < 0.25 else severity(rng)
        difficulty = self.difficulty_at(index) * share
        if rng.random() < _NEGATIVES:
            return self.negatives(rng, difficulty), ""
        # Short fragments first: CTC finds the notes of few sooner, and they cost less.
        return self.fragment(rng, difficulty, LEAST + round((MOST - LEAST) * self.progress(index)))

    def fragment(
        self, rng: np.random.Generator, difficulty: float, most: int = MOST
    ) -> tuple[NDArray[np.uint8], str]:
        """Image and label of a fragment of at most `most` notes."""
        tune = melody(rng, most)
        sheet, pitches = fragment(self.engraver(tune, rng), tune, rng, difficulty)
        return self.photographer(sheet, rng, difficulty), " ".join(pitches)

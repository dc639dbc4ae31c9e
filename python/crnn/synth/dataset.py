"""An endless stream of width-bucketed batches of synthetic words."""

from __future__ import annotations

import string
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from crnn.charset import Charset
from crnn.synth.render import Renderer
from crnn.synth.text import TextSampler

# Proportional widths in steps that keep distortion under 12 %; the longest words are squeezed,
# which short ones, stretched to the least width, more than outweigh.
WIDTHS = (100, 124, 152, 188, 236)
_LABEL_SYMBOLS = frozenset(string.digits + string.ascii_letters)
#: Batches that are drawn together, sorted by width, so that few images change their proportions.
POOL = 8


def bucket(widths: Sequence[int], natural: float, longest: int) -> int:
    """The width of a batch: the one of `widths` nearest to `natural` that holds its labels.

    An image too narrow for its label could not be learned: T frames must hold L labels and a blank
    between repeats.
    """
    nearest = min(widths, key=lambda w: abs(np.log(w / natural)))
    return next((w for w in widths if w >= max(nearest, 5 * longest)), widths[-1])


def draw_sign(texts: TextSampler, rng: np.random.Generator) -> tuple[str, str]:
    """What a sign says, and the letters and digits of it, at least one, that its label holds."""
    label = ""
    while not label:
        text = texts(rng)
        label = "".join(symbol for symbol in text if symbol in _LABEL_SYMBOLS)
    return text, label


@dataclass
class Batch:
    """Images of one width with their labels.

    Attributes:
        images: ``[N, 1, height, width]`` uint8.
        targets: ``[sum of target_lengths]`` int64, class indices, one label after another.
        target_lengths: ``[N]`` int64.
    """

    images: Tensor
    targets: Tensor
    target_lengths: Tensor


class SyntheticImages(Dataset[list[Batch]], ABC):
    """Pool p holds batches ``p * POOL`` to ``(p + 1) * POOL - 1`` of the stream.

    Sample i depends on `seed` and i alone, and batch b on the samples of its pool, so the stream
    is a function of the batch's number: it can start again anywhere, and how many workers draw
    it changes nothing.

    Args:
        charset: encodes the labels.
        batch_size: images of a batch.
        seed: of the whole stream.
        height: pixels of every image.
        widths: ascending; a batch takes the width nearest to its images' own proportions. One
            width means every image is stretched to it (100 in the paper, section 3.2).
        warmup: samples over which distortions grow from few to `difficulty`.
        difficulty: 0 (clean print) to 1 (everything).
    """

    def __init__(
        self,
        charset: Charset,
        batch_size: int,
        seed: int,
        height: int,
        widths: tuple[int, ...],
        warmup: int,
        difficulty: float,
    ) -> None:
        self.charset, self.batch_size, self.seed = charset, batch_size, seed
        self.height, self.widths = height, widths
        self.warmup, self.difficulty = warmup, difficulty

    @abstractmethod
    def sample(self, index: int) -> tuple[NDArray[np.uint8], str]:
        """Image ``[height, width]``, at its camera's resolution, and label of sample `index`."""

    def progress(self, index: int) -> float:
        """The share of the warm-up that lies behind sample `index`, from 0.15 on."""
        return min(1.0, 0.15 + index / self.warmup) if self.warmup else 1.0

    def difficulty_at(self, index: int) -> float:
        """The difficulty that has been reached at sample `index`."""
        return self.progress(index) * self.difficulty

    def __getitem__(self, pool: int) -> list[Batch]:
        """The batches of pool `pool`, in an order drawn from the seed."""
        count = self.batch_size * POOL
        samples = [self.sample(pool * count + i) for i in range(count)]
        samples.sort(key=lambda item: item[0].shape[1] / item[0].shape[0])
        batches = [
            self._batch(samples[start : start + self.batch_size])
            for start in range(0, count, self.batch_size)
        ]
        order = np.random.default_rng((self.seed, pool, 1)).permutation(POOL)
        return [batches[i] for i in order]

    def _batch(self, samples: list[tuple[NDArray[np.uint8], str]]) -> Batch:
        ratios = [image.shape[1] / image.shape[0] for image, _ in samples]
        natural = self.height * float(np.median(ratios))
        width = bucket(self.widths, natural, max(len(label) for _, label in samples))
        images = [
            np.asarray(
                Image.fromarray(image).resize((width, self.height), Image.Resampling.BICUBIC)
            )
            for image, _ in samples
        ]
        labels = [self.charset.encode(label) for _, label in samples]
        return Batch(
            images=torch.from_numpy(np.stack(images)[:, None]),
            targets=torch.tensor([c for label in labels for c in label], dtype=torch.int64),
            target_lengths=torch.tensor([len(label) for label in labels], dtype=torch.int64),
        )


class SyntheticWords(SyntheticImages):
    """Words; see `SyntheticImages` for the arguments that are not named here.

    Args:
        texts: draws the text of a sample.
        renderer: draws its image.
        charset: encodes its label; punctuation is drawn but no part of the label.
    """

    def __init__(
        self,
        texts: TextSampler,
        renderer: Renderer,
        charset: Charset,
        batch_size: int,
        seed: int = 0,
        height: int = 32,
        widths: tuple[int, ...] = WIDTHS,
        warmup: int = 0,
        difficulty: float = 1.0,
    ) -> None:
        super().__init__(charset, batch_size, seed, height, widths, warmup, difficulty)
        self.texts, self.renderer = texts, renderer

    def sample(self, index: int) -> tuple[NDArray[np.uint8], str]:
        """Image ``[height, width]``, at its camera's resolution, and label of sample `index`."""
        rng = np.random.default_rng((self.seed, index))
        text, label = draw_sign(self.texts, rng)
        return self.renderer(text, rng, self.difficulty_at(index)), label

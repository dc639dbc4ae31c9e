"""Stored words as an endless stream of width-bucketed batches, mixed with others or alone."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.utils.data import Dataset as TorchDataset

from crnn import images
from crnn.charset import Charset
from crnn.data.check import needed_frames
from crnn.data.dataset import Dataset, Problem
from crnn.images import ImageError
from crnn.synth.dataset import POOL, WIDTHS, Batch

_FRAME = 4  # pixels, in all presets
_ATTEMPTS = 100  # unusable samples in a row before the data set is taken to be gone


@dataclass
class StoredBatch(Batch):
    """A batch that names the samples which could not be used.

    Attributes:
        problems: of the whole pool, on its first batch.
    """

    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True)
class _Item:
    image: Image.Image
    classes: list[int]

    @property
    def ratio(self) -> float:
        return self.image.width / self.image.height


class StoredWords(TorchDataset[list[StoredBatch]]):
    """Pool p holds batches ``p * pool`` to ``(p + 1) * pool - 1`` of the stream.

    The stream goes through the data set epoch by epoch, each in an order drawn from (seed, epoch).
    It is a function of the batch's number: it can start again anywhere, and neither the number of
    workers nor how they were started changes it. Ranks of a distributed run take turns, see
    `pools_of`.

    A sample that is damaged, has a letter or digit outside the charset, or more symbols than
    frames is replaced by another and named in `StoredBatch.problems`. Punctuation and spaces that
    the charset lacks are left out of the label, as in the synthetic words.

    Args:
        dataset: the words.
        charset: encodes their labels.
        batch_size: images of a batch.
        seed: of the order.
        height: pixels of every image.
        widths: ascending; a batch takes the width nearest to its images' own proportions. One
            width means every image is stretched to it (100 in the paper, section 3.2).
        pool: batches of a pool.

    Raises:
        ValueError: the data set is empty; or, from a pool, 100 samples in a row are unusable: the
            data set has moved, or belongs to another charset.
    """

    def __init__(
        self,
        dataset: Dataset,
        charset: Charset,
        batch_size: int,
        seed: int = 0,
        height: int = 32,
        widths: tuple[int, ...] = WIDTHS,
        pool: int = POOL,
    ) -> None:
        if not len(dataset):
            raise ValueError(f"StoredWords: dataset must hold a sample, got {dataset}")
        self.dataset, self.charset, self.batch_size = dataset, charset, batch_size
        self.seed, self.height, self.widths, self.pool = seed, height, widths, pool
        self._epoch = -1
        self._order: NDArray[np.int64] = np.empty(0, np.int64)

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_epoch": -1, "_order": np.empty(0, np.int64)}

    def index(self, position: int) -> int:
        """The sample at `position` of the stream, counted over all epochs."""
        epoch, i = divmod(position, len(self.dataset))
        if epoch != self._epoch:
            order = np.random.default_rng((self.seed, epoch)).permutation(len(self.dataset))
            self._epoch, self._order = epoch, order
        return int(self._order[i])

    def __getitem__(self, pool: int) -> list[StoredBatch]:
        """The batches of pool `pool`, in an order drawn from the seed."""
        count = self.batch_size * self.pool
        problems: list[Problem] = []
        items = [self._item(pool * count + i, problems) for i in range(count)]
        items.sort(key=lambda item: item.ratio)
        starts = np.random.default_rng((self.seed, pool, 1)).permutation(self.pool)
        batches = [
            self._batch(items[start * self.batch_size : (start + 1) * self.batch_size])
            for start in starts
        ]
        batches[0].problems = tuple(problems)
        return batches

    def _item(self, position: int, problems: list[Problem]) -> _Item:
        """The sample at `position`, or one drawn in place of it."""
        index = self.index(position)
        others = np.random.default_rng((self.seed, position, 2))
        for _ in range(_ATTEMPTS):
            found = self._try(index)
            if isinstance(found, _Item):
                return found
            problems.append(found)
            index = int(others.integers(len(self.dataset)))
        raise ValueError(
            f"training: {self.dataset.source} must hold usable samples, got {_ATTEMPTS} unusable "
            f"ones in a row, the last {problems[-1]}"
        )

    def _try(self, index: int) -> _Item | Problem:
        name = self.dataset.name(index)
        try:
            label = self.dataset.label(index)
            # The size first: a mouldering data set should not cost the decoding of its images.
            unknown = self.charset.unknown(label)
            letters = [symbol for symbol in unknown if symbol.isalnum()]
            if letters:
                return Problem(name, f"{label!r} has {letters[0]!r}, which is not in the charset")
            known = [symbol for symbol in self.charset.split(label) if symbol not in unknown]
            joint = " " if self.charset.multi_character else ""
            classes = self.charset.encode(joint.join(known))
            if not classes and (unknown or not self.charset.allows_empty):
                return Problem(name, f"{label!r} has no symbol of the charset")
            if _least_width(classes) > self.widths[-1]:
                needed = needed_frames(classes)
                return Problem(
                    name, f"{label!r} needs {needed} frames, {self.widths[-1]} pixels give fewer"
                )
            return _Item(images.load(self.dataset.image(index), name), classes)
        except ImageError as error:
            return Problem(name, str(error))

    def _batch(self, items: Sequence[_Item]) -> StoredBatch:
        natural = self.height * float(np.median([item.ratio for item in items]))
        least = max(_least_width(item.classes) for item in items)
        wide_enough = [width for width in self.widths if width >= least]
        width = min(wide_enough, key=lambda w: abs(np.log(w / natural)))
        pixels = [
            np.asarray(item.image.resize((width, self.height), Image.Resampling.BICUBIC), np.uint8)
            for item in items
        ]
        return StoredBatch(
            images=torch.from_numpy(np.stack(pixels)[:, None]),
            targets=torch.tensor([c for item in items for c in item.classes], dtype=torch.int64),
            target_lengths=torch.tensor([len(item.classes) for item in items], dtype=torch.int64),
        )


def _least_width(classes: Sequence[int]) -> int:
    """Pixels that hold a label's frames; the presets give a frame to every 4 pixels at least."""
    return _FRAME * needed_frames(classes)


class Mixture(TorchDataset[list[Batch]]):
    """Each pool of synthetic words with one of stored words, their batches shuffled.

    Args:
        synthetic: pools of synthetic batches.
        stored: pools of stored ones; the sizes of the pools decide the shares.
        seed: of the shuffling.
    """

    def __init__(
        self, synthetic: TorchDataset[list[Batch]], stored: StoredWords, seed: int = 0
    ) -> None:
        self.synthetic, self.stored, self.seed = synthetic, stored, seed

    def __getitem__(self, pool: int) -> list[Batch]:
        batches = [*self.synthetic[pool], *self.stored[pool]]
        order = np.random.default_rng((self.seed, pool, 3)).permutation(len(batches))
        return [batches[i] for i in order]


def pools_of(rank: int = 0, ranks: int = 1, start: int = 0) -> Iterator[int]:
    """The pools of one rank, from its `start`-th on: each pool belongs to exactly one rank."""
    return itertools.count(start * ranks + rank, ranks)

"""An endless stream of width-bucketed batches of synthetic words."""

from __future__ import annotations

import string
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from crnn.charset import Charset
from crnn.synth.render import Renderer
from crnn.synth.text import TextSampler

# Proportional widths in steps that keep distortion under 12 %; longer words are squeezed, which
# short ones, stretched to the least width, more than outweigh.
WIDTHS = (100, 124, 152)
_LABEL_SYMBOLS = frozenset(string.digits + string.ascii_letters)


@dataclass
class Batch:
    """Images of one width with their labels.

    Attributes:
        images: ``[N, 1, height, width]`` uint8.
        targets: ``[sum of target_lengths]`` int64, class indices, one label after another.
        target_lengths: ``[N]`` int64.
        last_index: the highest sample index drawn so far by the worker that made the batch.
    """

    images: Tensor
    targets: Tensor
    target_lengths: Tensor
    last_index: int


class SyntheticWords(IterableDataset[Batch]):
    """Sample i depends on `seed` and i alone, so a stream can start again anywhere.

    Args:
        texts: draws the text of a sample.
        renderer: draws its image.
        charset: encodes its label; punctuation is drawn but no part of the label.
        batch_size: images of a batch.
        seed: of the whole stream.
        start: index of the first sample.
        height: pixels of every image.
        widths: ascending; an image takes the width nearest to its own proportion. One width
            means every image is stretched to it (100 in the paper, section 3.2).
        warmup: samples over which distortions grow from none to all.
    """

    def __init__(
        self,
        texts: TextSampler,
        renderer: Renderer,
        charset: Charset,
        batch_size: int,
        seed: int = 0,
        start: int = 0,
        height: int = 32,
        widths: tuple[int, ...] = WIDTHS,
        warmup: int = 200_000,
    ) -> None:
        self.texts, self.renderer, self.charset = texts, renderer, charset
        self.batch_size, self.seed, self.start = batch_size, seed, start
        self.height, self.widths, self.warmup = height, widths, warmup

    def sample(self, index: int) -> tuple[NDArray[np.uint8], str]:
        """Image ``[height, width]`` and label of sample `index`."""
        rng = np.random.default_rng((self.seed, index))
        label = ""
        while not label:
            text = self.texts(rng)
            label = "".join(symbol for symbol in text if symbol in _LABEL_SYMBOLS)
        difficulty = min(1.0, 0.15 + index / max(1, self.warmup))
        image = Image.fromarray(self.renderer(text, rng, difficulty))
        natural = self.height * image.width / image.height
        width = min(self.widths, key=lambda w: abs(np.log(w / natural)))
        scaled = image.resize((width, self.height), Image.Resampling.BICUBIC)
        return np.asarray(scaled, np.uint8), label

    def __iter__(self) -> Iterator[Batch]:
        worker = get_worker_info()
        first, step = (0, 1) if worker is None else (worker.id, worker.num_workers)
        buckets: dict[int, list[tuple[NDArray[np.uint8], list[int]]]] = defaultdict(list)
        index = self.start + first
        while True:
            image, label = self.sample(index)
            width = image.shape[1]
            # An image too narrow for its label could not be learned (T frames must hold L labels
            # and a blank between repeats); the widths above leave room for all but freaks.
            if len(label) * 5 <= width:
                buckets[width].append((image, self.charset.encode(label)))
            if len(buckets[width]) == self.batch_size:
                yield _batch(buckets.pop(width), index)
            index += step


def _batch(items: list[tuple[NDArray[np.uint8], list[int]]], index: int) -> Batch:
    return Batch(
        images=torch.from_numpy(np.stack([image for image, _ in items])[:, None]),
        targets=torch.tensor([c for _, label in items for c in label], dtype=torch.int64),
        target_lengths=torch.tensor([len(label) for _, label in items], dtype=torch.int64),
        last_index=index,
    )

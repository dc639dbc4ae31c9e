"""From a labelled data set to the logits of those of its samples that a protocol scores."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from crnn import images
from crnn.data import Dataset
from crnn.evaluation.protocols import Protocol
from crnn.images import ImageError
from crnn.recognizer import Recognizer
from crnn.sources import batches_of_similar_width

_BATCHES_AT_ONCE = 8  # batches whose images are sorted by width together


@dataclass(frozen=True)
class Labelled:
    """A sample that is scored.

    Attributes:
        index: its number in the data set.
        name: what it is called.
        label: what it says, as stored.
    """

    index: int
    name: str
    label: str


Batch: TypeAlias = "tuple[list[Labelled], Tensor, Tensor, dict[int, str]]"


def scored(dataset: Dataset, protocol: Protocol) -> tuple[list[Labelled], int]:
    """The samples that the protocol scores, and how many it leaves out.

    Raises:
        ValueError: the protocol is a list, and the data set is not just what it lists.
    """
    samples = []
    for i in range(len(dataset)):
        try:
            sample = Labelled(i, dataset.name(i), dataset.label(i))
        except ImageError:  # no label: nothing to compare with
            continue
        if protocol.scores(sample.name, sample.label):
            samples.append(sample)
    if protocol.listed is not None and len(samples) < len(protocol.listed):
        raise ValueError(
            f"eval: {dataset.source} must have all {len(protocol.listed)} images of the manifest "
            f"with labels that {protocol.name} scores, got {len(samples)}"
        )
    if protocol.manifest and protocol.listed is None and len(samples) != protocol.count:
        raise ValueError(
            f"eval: protocol {protocol.name} is a list of images that no rule reproduces "
            f"({protocol.about}); give it with --manifest, or data that hold just those "
            f"{protocol.count}, got {len(samples)}"
        )
    return samples, len(dataset) - len(samples)


@torch.inference_mode()
def logits_of(
    recognizer: Recognizer, dataset: Dataset, samples: Sequence[Labelled], batch_size: int
) -> Iterator[Batch]:
    """Batches of samples, logits ``[T, N, C]`` and frames ``[N]`` on the CPU, and errors by index.

    An image that cannot be read comes in a batch of its own without frames, with its error. Logits
    that are not finite become zeros, with an error.
    """
    unread = iter(samples)
    while window := list(itertools.islice(unread, batch_size * _BATCHES_AT_ONCE)):
        prepared = {}
        for sample in window:
            try:
                grey = images.load(dataset.image(sample.index), sample.name)
                prepared[sample] = recognizer.prepare(grey).pixels
            except ImageError as error:
                empty = torch.zeros(0, 1, recognizer.charset.num_classes)
                yield [sample], empty, torch.zeros(1, dtype=torch.int64), {sample.index: str(error)}
        by_index = {sample.index: sample for sample in prepared}
        sizes = {i: prepared[sample].shape[2] for i, sample in by_index.items()}
        for indices in batches_of_similar_width(sizes, batch_size):
            batch = [by_index[i] for i in indices]
            widths = torch.tensor([sizes[i] for i in indices])
            pixels = torch.zeros(len(batch), 1, recognizer.preprocessing.height, int(widths.max()))
            for i, sample in enumerate(batch):
                pixels[i, :, :, : widths[i]] = prepared[sample]
            logits, lengths = recognizer.model(
                pixels.to(recognizer.device), widths.to(recognizer.device)
            )
            yield batch, *_sound(batch, logits.float().cpu(), lengths.cpu())


def _sound(
    batch: Sequence[Labelled], logits: Tensor, lengths: Tensor
) -> tuple[Tensor, Tensor, dict[int, str]]:
    """Take out NaN and infinity, which no transcription accepts, and say whose they were."""
    beyond = torch.arange(len(logits))[:, None] >= lengths
    sound = (logits.isfinite().all(2) | beyond).all(0)
    errors = {
        sample.index: f"read: logits of {sample.name} must be finite, got NaN or inf"
        for sample, ok in zip(batch, sound.tolist(), strict=True)
        if not ok
    }
    return logits.masked_fill(~sound[:, None], 0.0), lengths, errors

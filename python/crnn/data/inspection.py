"""One pass over every image of a data set, in worker processes: what `check` and `stats` need."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from crnn import images
from crnn.data.dataset import Dataset
from crnn.images import ImageError


@dataclass(frozen=True)
class Inspected:
    """What one sample is, without its pixels.

    Attributes:
        index, name, label: of the sample; the label is "" where it cannot be read.
        width, height: pixels of the image, upright; 0 where it cannot be read.
        digest: 64 bits of a hash of its grey pixels; another container or compression without
            loss gives the same. 0 where it cannot be read.
        error: why it cannot be read, or None.
    """

    index: int
    name: str
    label: str
    width: int
    height: int
    digest: int
    error: str | None


class _Inspection(TorchDataset[Inspected]):
    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Inspected:
        name, label = self.dataset.name(index), ""
        try:
            label = self.dataset.label(index)
            grey = images.load(self.dataset.image(index), name)
        except ImageError as error:
            return Inspected(index, name, label, 0, 0, 0, str(error))
        state = hashlib.blake2b(b"%d %d " % grey.size, digest_size=8)
        state.update(grey.tobytes())
        digest = int.from_bytes(state.digest(), "little")
        return Inspected(index, name, label, grey.width, grey.height, digest, None)


def inspect(dataset: Dataset, workers: int = 0) -> Iterator[Inspected]:
    """Every sample of `dataset` in order, decoded by `workers` processes (0: by this one)."""
    loader = DataLoader(
        _Inspection(dataset), batch_size=64, num_workers=workers, collate_fn=_as_it_is
    )
    for batch in loader:
        yield from batch


def _as_it_is(items: list[Inspected]) -> list[Inspected]:
    return items

"""What may be given to be read (an image, a folder, or several of them), and in what batches."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from PIL import Image

from crnn import images
from crnn.images import ImageError, Source

# Columns in one batch, padding included: it bounds the feature maps (the first convolution of
# vgg-bilstm makes 8 kB a column) where images are wide.
_COLUMNS_IN_BATCH = 16384


def is_folder(source: object) -> bool:
    """Whether `source` is the path of a folder."""
    return isinstance(source, (str, os.PathLike)) and os.path.isdir(source)


def is_several(source: object) -> bool:
    """Whether `source` holds sources rather than being one."""
    single = (str, os.PathLike, bytes, bytearray, memoryview, Image.Image, np.ndarray)
    if isinstance(source, single) or hasattr(source, "read"):
        return False
    return isinstance(source, Iterable)


def expand(sources: Iterable[Source]) -> Iterator[tuple[str, Any]]:
    """(name, source) of each image; a folder that gives none comes as its `ImageError`."""
    for i, source in enumerate(sources):
        name = images.name_of(source)
        if not is_folder(source):
            anonymous = name.startswith("<") and name != "<stdin>"
            yield (f"sources[{i}] {name}" if anonymous else name), source
            continue
        empty = True
        try:
            for path in images.images_in(name):
                empty = False
                yield path, path
        except ImageError as error:
            yield name, error
            continue
        if empty:
            yield name, ImageError(f"load: {name} must hold an image, got a folder without any")


def batches_of_similar_width(widths: dict[int, int], batch_size: int) -> Iterator[list[int]]:
    """Indices of images in batches of at most `batch_size`, from narrow to wide.

    Args:
        widths: columns of each image, by its index.
        batch_size: at least 1; batches of wide images are smaller.
    """
    batch: list[int] = []
    for i in sorted(widths, key=widths.__getitem__):
        # Sorted, so the newest is the widest: the batch is padded to it.
        too_large = (len(batch) + 1) * widths[i] > _COLUMNS_IN_BATCH
        if batch and (too_large or len(batch) == batch_size):
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch

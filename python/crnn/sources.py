"""What may be given to be read: an image, a folder, or several of them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from PIL import Image

from crnn import images
from crnn.images import ImageError, Source


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

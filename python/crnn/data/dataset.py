"""`Dataset`: labelled images with random access, whatever they are stored in.

A data set is opened once and then read by any number of worker processes, forked or spawned: it
pickles as its listing, and files and databases are opened by each process when it first reads.
"""

from __future__ import annotations

import bisect
import io
import os
import stat
from abc import ABC, abstractmethod
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from crnn.images import ImageError


@dataclass(frozen=True)
class Sample:
    """One image and what it says.

    Attributes:
        name: where it is: a path, or ``path#key`` in a database.
        label: the text as stored.
        image: the encoded image, or the part of a larger one that holds the word; what
            `crnn.images.load` takes.
    """

    name: str
    label: str
    image: bytes | Image.Image


@dataclass(frozen=True)
class Problem:
    """Something of a data set that cannot be used.

    Attributes:
        name: of the sample, or ``file:line``.
        reason: what is wrong with it.
    """

    name: str
    reason: str

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"


class StringTable:
    """A list of strings in two buffers.

    Millions of `str` objects would be copied into every forked worker (touching a reference count
    copies its page) and pickled one by one for a spawned one; two buffers are shared and quick.
    """

    def __init__(self, strings: Iterable[str] = ()) -> None:
        self._blob = bytearray()
        self._ends = array("q", [0])
        for string in strings:
            self.append(string)

    def append(self, string: str) -> None:
        """Add one at the end."""
        self._blob += string.encode("utf-8", "surrogatepass")
        self._ends.append(len(self._blob))

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, index: int) -> str:
        part = self._blob[self._ends[index] : self._ends[index + 1]]
        return part.decode("utf-8", "surrogatepass")


class Dataset(ABC):
    """Labelled images, numbered from 0.

    Attributes:
        source: what was opened, for messages.
        kind: how it was recognised, e.g. ``"icdar"``.
        problems: parts of the listing that could not be used.
        lexicons: names of the lexicons that each image has, smallest first, e.g. ``("50",)``.
    """

    source: str
    kind: str
    problems: tuple[Problem, ...] = ()
    lexicons: tuple[str, ...] = ()

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def name(self, index: int) -> str:
        """What sample `index` is called."""

    @abstractmethod
    def label(self, index: int) -> str:
        """What it says. Raises `ImageError` where the database lacks it."""

    @abstractmethod
    def image(self, index: int) -> bytes | Image.Image:
        """The encoded image, or the decoded part of a larger one.

        Raises:
            ImageError: it is missing or cannot be cut out; the message names it. Whether the
                bytes can be decoded shows only in `crnn.images.load`, which raises the same.
        """

    def lexicon(self, index: int, name: str) -> tuple[str, ...]:
        """The words of lexicon `name` (one of `lexicons`) of image `index`."""
        raise ValueError(f"lexicon: {self.source} must have one named {name!r}, got {self._known}")

    @property
    def _known(self) -> str:
        return ", ".join(self.lexicons) or "none"

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < len(self):
            raise IndexError(f"{self.source} has {len(self)} samples, got index {index}")
        return Sample(self.name(index), self.label(index), self.image(index))

    def __iter__(self) -> Iterator[Sample]:
        return (self[i] for i in range(len(self)))

    def __str__(self) -> str:
        parts = [f"{self.source}: {len(self)} samples, {self.kind}"]
        if self.lexicons:
            parts.append(f"lexicons {self._known}")
        if self.problems:
            parts.append(f"{len(self.problems)} entries unusable, first {self.problems[0]}")
        return ", ".join(parts)


class Entry(NamedTuple):
    """One line of a listing, see `FileDataset`."""

    path: str
    label: str
    box: tuple[float, float, float, float] | None = None
    lexicons: tuple[tuple[str, ...], ...] = ()


class FileDataset(Dataset):
    """Images in files, one word each or cut out of a larger image by a rectangle.

    Args:
        source, kind, lexicons: see `Dataset`.
        listing: its entries, boxes being (x, y, width, height) in pixels; and its problems. Read
            once and not kept: the listing of MJSynth has millions of lines.
    """

    def __init__(
        self,
        source: str,
        kind: str,
        listing: Iterable[Entry | Problem],
        lexicons: tuple[str, ...] = (),
    ) -> None:
        self.source, self.kind, self.lexicons = source, kind, lexicons
        self._paths, self._labels = StringTable(), StringTable()
        self._words = [StringTable() for _ in lexicons]
        boxes, problems = [], []
        for item in listing:
            if isinstance(item, Problem):
                problems.append(item)
                continue
            self._paths.append(item.path)
            self._labels.append(item.label)
            for table, words in zip(self._words, item.lexicons, strict=True):
                table.append("\n".join(words))
            if item.box is not None:
                boxes.append(item.box)
        self.problems = tuple(problems)
        self._boxes = np.asarray(boxes) if boxes else None  # all entries have one, or none
        self._page: tuple[str, Image.Image] | None = None  # the larger image that was read last

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_page": None}

    def __len__(self) -> int:
        return len(self._paths)

    def name(self, index: int) -> str:
        path = self._paths[index]
        return path if self._boxes is None else f"{path}#{index}"

    def label(self, index: int) -> str:
        return self._labels[index]

    def lexicon(self, index: int, name: str) -> tuple[str, ...]:
        if name not in self.lexicons:
            return super().lexicon(index, name)
        text = self._words[self.lexicons.index(name)][index]
        return tuple(text.split("\n")) if text else ()

    def image(self, index: int) -> bytes | Image.Image:
        path = self._paths[index]
        if self._boxes is None:
            return read_file(path)
        if self._page is None or self._page[0] != path:
            self._page = path, _decode(path)
        page = self._page[1]
        x, y, width, height = self._boxes[index]
        # Some rectangles of SVT and ICDAR 2003 reach beyond the photograph.
        left, top = max(0, round(x)), max(0, round(y))
        right, bottom = min(page.width, round(x + width)), min(page.height, round(y + height))
        if right <= left or bottom <= top:
            raise ImageError(
                f"load: {self.name(index)} must lie inside its {page.width} x {page.height} image, "
                f"got x={x:g} y={y:g} width={width:g} height={height:g}"
            )
        return page.crop((left, top, right, bottom))


def read_file(path: str) -> bytes:
    """The content of a regular file; ImageError where there is none."""
    try:
        with open(path, "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ImageError(f"load: {path} must be a regular file, got a device or pipe")
            return file.read()
    except FileNotFoundError as error:
        raise ImageError(f"load: {path} must be an existing file, got none there") from error
    except (OSError, ValueError) as error:
        if isinstance(error, ImageError):
            raise
        raise ImageError(f"load: {path!r} must be a readable file, got {error}") from error


def _decode(path: str) -> Image.Image:
    content = read_file(path)
    try:
        return Image.open(io.BytesIO(content)).convert("RGB")
    except Exception as error:  # a decoder fed a damaged file may raise nearly anything
        raise ImageError(f"load: {path} must be a complete image, got {error}") from error


class Concatenation(Dataset):
    """Several data sets as one, in order."""

    def __init__(self, source: str, parts: Sequence[Dataset]) -> None:
        kinds = sorted({part.kind for part in parts})
        self.source, self.kind, self.parts = source, "+".join(kinds), tuple(parts)
        self.problems = tuple(problem for part in parts for problem in part.problems)
        # A lexicon that only some images have is none that the whole can be read with.
        common = parts[0].lexicons if parts else ()
        self.lexicons = tuple(n for n in common if all(n in part.lexicons for part in parts))
        self._ends = list(accumulate(len(part) for part in parts))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def _find(self, index: int) -> tuple[Dataset, int]:
        part = bisect.bisect_right(self._ends, index)
        return self.parts[part], index - (self._ends[part - 1] if part else 0)

    def name(self, index: int) -> str:
        part, i = self._find(index)
        return part.name(i)

    def label(self, index: int) -> str:
        part, i = self._find(index)
        return part.label(i)

    def image(self, index: int) -> bytes | Image.Image:
        part, i = self._find(index)
        return part.image(i)

    def lexicon(self, index: int, name: str) -> tuple[str, ...]:
        part, i = self._find(index)
        return part.lexicon(i, name)


class Subset(Dataset):
    """Some samples of a data set, in the order of `indices`."""

    def __init__(self, dataset: Dataset, indices: Sequence[int]) -> None:
        self.source, self.kind, self.problems = dataset.source, dataset.kind, dataset.problems
        self.lexicons, self.dataset = dataset.lexicons, dataset
        self.indices: NDArray[np.int64] = np.asarray(indices, np.int64)

    def __len__(self) -> int:
        return len(self.indices)

    def name(self, index: int) -> str:
        return self.dataset.name(int(self.indices[index]))

    def label(self, index: int) -> str:
        return self.dataset.label(int(self.indices[index]))

    def image(self, index: int) -> bytes | Image.Image:
        return self.dataset.image(int(self.indices[index]))

    def lexicon(self, index: int, name: str) -> tuple[str, ...]:
        return self.dataset.lexicon(int(self.indices[index]), name)

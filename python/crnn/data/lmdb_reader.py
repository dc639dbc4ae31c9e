"""LMDB data sets of the field."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from crnn.data import lmdb_format as keys
from crnn.data.dataset import Dataset
from crnn.images import ImageError


class _Environment:
    """A database opened by this process; closed when no data set uses it any more.

    A process must not open it twice, so the data sets of a process share it through `_open`; and
    it must not be used across a fork, so a forked child opens it again.
    """

    def __init__(self, file: str) -> None:
        self.file = file
        self._lmdb = keys.lmdb_module()
        self._open()

    def _open(self) -> None:
        # No lock: readers of a finished data set need none, and its folder may be read-only.
        # No read-ahead: random access would read far more than it uses.
        self.env = self._lmdb.open(
            self.file, subdir=False, readonly=True, create=False, lock=False, readahead=False,
            meminit=False,
        )  # fmt: skip
        self._pid = os.getpid()
        self._size = (self.env.info()["last_pgno"] + 1) * self.env.stat()["psize"]

    def get(self, key: bytes) -> bytes | None:
        """The value of `key`; ImageError where the database is not what was opened."""
        try:
            if self._pid != os.getpid():
                self.env.close()
                self._open()
            # The file is mapped: reading beyond the end of a shortened one kills the process.
            size = os.stat(self.file).st_size
            if size < self._size:
                raise ImageError(
                    f"load: {self.file} must keep its {self._size} bytes, got {size}: truncated"
                )
            with self.env.begin() as transaction:
                value: bytes | None = transaction.get(key)
            return value
        except (OSError, self._lmdb.Error) as error:
            raise ImageError(
                f"load: {self.file} must stay as it was opened, got {error}"
            ) from error

    def __del__(self) -> None:
        env: Any = getattr(self, "env", None)
        if env is not None:
            env.close()


_opened: WeakValueDictionary[str, _Environment] = WeakValueDictionary()


def _open(path: Path) -> _Environment:
    file = os.path.realpath(path / "data.mdb" if path.is_dir() else path)
    environment = _opened.get(file)
    if environment is None:
        try:
            environment = _opened[file] = _Environment(file)
        except (OSError, keys.lmdb_module().Error) as error:
            raise ImageError(f"open_dataset: cannot read {path} ({error})") from error
    return environment


class LmdbDataset(Dataset):
    """One LMDB data set, see `crnn.data.lmdb_format`.

    Args:
        path: the folder of ``data.mdb``, or a single-file database.

    Raises:
        ValueError: lmdb is not installed; the database is damaged, truncated, or has no
            ``num-samples``.
    """

    kind = "lmdb"

    def __init__(self, path: Path) -> None:
        self.path, self.source = path, str(path)
        self._environment: _Environment | None = None
        count = self._get(keys.NUM_SAMPLES)
        try:
            self._count = int(count or b"")
            if self._count < 0:
                raise ValueError
        except ValueError:
            raise ValueError(
                f"open_dataset: {path} must hold its number of samples under "
                f"{keys.NUM_SAMPLES.decode()!r}, got {count!r}"
            ) from None
        names = self._get(keys.LEXICON_NAMES)
        if names is not None:
            self.lexicons = tuple(names.decode().split(","))
        elif self._get(keys.lexicon_key(0, ("50",), "50")) is not None:
            self.lexicons = ("50",)  # what the field's data sets store there

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_environment": None}

    def _get(self, key: bytes) -> bytes | None:
        if self._environment is None:
            self._environment = _open(self.path)
        return self._environment.get(key)

    def _need(self, index: int, key: bytes) -> bytes:
        value = self._get(key)
        if value is None:
            raise ImageError(f"load: {self.name(index)} must have the key {key.decode()}, got none")
        return value

    def __len__(self) -> int:
        return self._count

    def name(self, index: int) -> str:
        return f"{self.source}#{index + 1:09d}"

    def label(self, index: int) -> str:
        value = self._need(index, keys.label_key(index))
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError as error:
            raise ImageError(
                f"load: {self.name(index)} must have a UTF-8 label, got {value[:80]!r}"
            ) from error

    def image(self, index: int) -> bytes:
        return self._need(index, keys.image_key(index))

    def lexicon(self, index: int, name: str) -> tuple[str, ...]:
        if name not in self.lexicons:
            return super().lexicon(index, name)
        return keys.split_words(self._get(keys.lexicon_key(index, self.lexicons, name)) or b"")

"""A streaming, resumable writer of LMDB data sets."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from crnn.data import lmdb_format as keys

_FIRST_MAP = 16 << 20  # bytes; doubled whenever it is full, so no gigabytes are claimed in advance
_LOCK_BYTES = 8192  # as LMDB makes it, for 126 readers
_STATE = b"crnn-writer"  # how far the source was read; only while writing


class LmdbWriter:
    """Writes samples one after another; what is there at the end is whole, or nothing is.

    Samples go to ``PATH.partial``, which becomes PATH in one step by `finish`. Every `batch`
    samples are committed; a writer that was killed, or ran out of disk, leaves what it had
    committed, and a new one with the same `origin` continues at `position`.

        with LmdbWriter("words.lmdb", origin="my words, v1") as writer:
            for i in range(writer.position, len(source)):
                writer.add(source.image(i), source.label(i))

    Args:
        path: the data set to be; must not exist.
        origin: what is being written. A partial data set of another origin is not continued.
        lexicons: names of the lexicons of each image, see `Dataset.lexicons`.
        batch: samples of a commit.

    Raises:
        ValueError: `path` exists, a partial one has another origin, or lmdb is not installed.
        OSError: the disk is full or a limit is reached; what was committed stays.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        origin: str = "",
        lexicons: Sequence[str] = (),
        batch: int = 1000,
    ) -> None:
        self._lmdb = keys.lmdb_module()
        self.path, self.lexicons, self.batch = Path(path), tuple(lexicons), batch
        self._origin = origin
        if batch < 1:
            raise ValueError(f"LmdbWriter: batch must be at least 1, got {batch}")
        if self.path.exists():
            raise ValueError(f"LmdbWriter: path must not exist yet, got {self.path}")
        self.partial = self.path.with_name(self.path.name + ".partial")
        self._pending: list[tuple[bytes, bytes]] = []
        self._call(self._reserve_lock)
        self._env: Any = self._call(self._lmdb.open, str(self.partial), map_size=_FIRST_MAP)
        with self._env.begin() as transaction:
            state = transaction.get(_STATE)
        #: Samples of the source that are dealt with, in this run or before: where to continue.
        self.position = 0
        #: Of these, how many were written.
        self.count = 0
        if state is not None:
            position, count, before = state.decode().split("\n", 2)
            if before != origin:
                self._env.close()
                raise ValueError(
                    f"LmdbWriter: {self.partial} must be of the same origin to be continued, "
                    f"got {before!r} instead of {origin!r}; delete it to start again"
                )
            self.position, self.count = int(position), int(count)
        self._committed = self.position

    def add(
        self, image: bytes, label: str, lexicons: Mapping[str, Sequence[str]] | None = None
    ) -> None:
        """Append a sample: an encoded image, its label, and a lexicon for each name."""
        if not image:
            raise ValueError("LmdbWriter: image must be encoded bytes, got none")
        try:
            values = [
                (keys.image_key(self.count), bytes(image)),
                (keys.label_key(self.count), label.encode()),
            ]
            for name in self.lexicons:
                key = keys.lexicon_key(self.count, self.lexicons, name)
                values.append((key, keys.join_words(tuple((lexicons or {})[name]))))
        except UnicodeEncodeError as error:
            raise ValueError(
                f"LmdbWriter: label and words must be Unicode text, got {label!r} ({error.reason})"
            ) from error
        self._pending += values
        self.count += 1
        self.skip()

    def skip(self) -> None:
        """Count a sample of the source that is left out."""
        self.position += 1
        if self.position - self._committed >= self.batch:
            self.commit()

    def commit(self) -> None:
        """Make everything so far last, whatever happens to this process."""
        state = f"{self.position}\n{self.count}\n{self._origin}".encode()
        self._store([*self._pending, (keys.NUM_SAMPLES, b"%d" % self.count), (_STATE, state)])
        self._pending.clear()
        self._committed = self.position

    def finish(self) -> None:
        """Commit, close, and put the data set in its place."""
        self.commit()
        if self.lexicons:
            self._store([(keys.LEXICON_NAMES, ",".join(self.lexicons).encode())])
        self._store([(_STATE, None)])
        self._call(self._env.sync, True)
        self._env.close()
        (self.partial / "lock.mdb").unlink(missing_ok=True)
        os.rename(self.partial, self.path)

    def close(self) -> None:
        """Stop here: what is committed can be continued later."""
        self._env.close()

    def __enter__(self) -> LmdbWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self.finish()
        finally:
            self.close()

    def _reserve_lock(self) -> None:
        """LMDB maps its lock file before it has room on disk: on a full one that ends in SIGBUS."""
        self.partial.mkdir(parents=True, exist_ok=True)
        with open(self.partial / "lock.mdb", "ab") as file:
            os.posix_fallocate(file.fileno(), 0, _LOCK_BYTES)

    def _store(self, items: Sequence[tuple[bytes, bytes | None]]) -> None:
        """All of `items` or none of them; a value of None deletes the key."""

        def write() -> None:
            with self._env.begin(write=True) as transaction:
                for key, value in items:
                    if value is None:
                        transaction.delete(key)
                    else:
                        transaction.put(key, value)

        while True:
            try:
                self._call(write)
                return
            except self._lmdb.MapFullError:
                self._env.set_mapsize(self._env.info()["map_size"] * 2)

    def _call(self, function: Any, *args: Any, **options: Any) -> Any:
        """Call into LMDB; what the system refuses is an OSError that names the file."""
        try:
            return function(*args, **options)
        except self._lmdb.MapFullError:
            raise
        except (self._lmdb.Error, OSError) as error:
            free = shutil.disk_usage(self.partial.parent).free
            raise OSError(
                f"LmdbWriter: {self.partial} must be writable, got {error} "
                f"({free >> 20} MB free); what was committed stays, and the same command continues"
            ) from error

"""Files that appear at once and whole, or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A file to write that becomes `path`: readers see the old one or the new.

        with replacing("sheet.png") as temporary:
            image.save(temporary)

    It lies beside `path`, with its ending, which tells many writers the format. At the end it is
    forced to disk and renamed. If anything fails, an older file at `path` stays as it was.

    Raises:
        OSError: it cannot be written; `filename` is `path`.
    """
    target = Path(os.path.realpath(path))
    temporary = target.with_name(f".{target.stem}.{secrets.token_hex(4)}{target.suffix}")
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except OSError as error:
        _discard(temporary)
        if error.filename in (None, str(temporary)):
            error.filename, error.filename2 = os.fspath(path), None
        raise
    except BaseException:
        _discard(temporary)
        raise


@contextlib.contextmanager
def naming(path: str | os.PathLike[str]) -> Iterator[None]:
    """Give an OSError within that names no file the name `path`."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = os.fspath(path)
        raise


def write_atomically(path: str | os.PathLike[str], content: bytes) -> None:
    """Write a file as `replacing` does."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def _discard(temporary: Path) -> None:
    with contextlib.suppress(OSError):
        temporary.unlink()

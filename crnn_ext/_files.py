"""Files that appear at once and whole, and those that hold the symbols of what they map."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from crnn_ext._check import fail
from crnn_ext._spelling import Speller


def replace_file(path: str | os.PathLike[str], write: Callable[[int], None]) -> None:
    """Make or replace the file at `path`; an older one stays as it was if writing fails.

    Args:
        path: the file; where it is a link, what that points to.
        write: writes all of the contents to the descriptor it is given.

    Raises:
        OSError: the file cannot be written; or what `write` raises.
    """
    target = os.path.realpath(os.fsdecode(path))
    temporary = f"{target}.{os.getpid()}.{secrets.token_hex(4)}.tmp"
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        try:
            write(handle)
            os.fsync(handle)
        finally:
            os.close(handle)
        os.replace(temporary, target)
    except BaseException:
        os.unlink(temporary)
        raise


class _Mapped(Protocol):
    """What a file of symbols maps: it tells the class of the blank, and how many there are."""

    @property
    def blank(self) -> int: ...
    @property
    def classes(self) -> int: ...


_AnyMapped = TypeVar("_AnyMapped", bound=_Mapped)


def save_with_symbols(
    path: str | os.PathLike[str], symbols: Sequence[str], save: Callable[[int, bytes], int]
) -> None:
    """Make or replace the file at `path`, its symbols in the header.

    Args:
        save: writes to a descriptor, a header first; returns the error number, or 0.

    Raises:
        OSError: the file cannot be written; an older one stays as it was.
    """
    header = json.dumps({"symbols": symbols}).encode("ascii")

    def write(descriptor: int) -> None:
        if error := save(descriptor, header):
            raise OSError(error, os.strerror(error), os.fsdecode(path))

    replace_file(path, write)


def load_with_symbols(
    kind: str,
    path: str | os.PathLike[str],
    load: Callable[[int], tuple[int, bytes, _AnyMapped]],
    what: str,
) -> tuple[_AnyMapped, Speller]:
    """What `save_with_symbols` wrote, and the speller of its symbols.

    Args:
        kind: the class that it is of, for errors.
        load: reads a descriptor; returns the error number or 0, the header, what is mapped.
        what: the file, in words, for errors.

    Raises:
        OSError: the file cannot be read.
        ValueError: the file is damaged, cut short, or of another kind; names file and reason.
    """
    path = os.fsdecode(path)
    try:
        with open(path, "rb") as file:
            error, header, mapped = load(file.fileno())
        if error:
            raise OSError(error, os.strerror(error), path)
        speller = Speller(json.loads(header)["symbols"], mapped.blank, kind)
        if len(speller.symbols) + 1 != mapped.classes:
            raise ValueError("its symbols do not fit its classes")
    except (ValueError, KeyError, TypeError) as reason:
        fail(f"{kind}.load", "path", f"name a whole {what}", f"{path!r}: {reason}")
    return mapped, speller

"""Writing a file so that it appears at once and whole."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable


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

"""The models that come with the package."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

_SUFFIX = ".safetensors"


def pretrained_models() -> list[str]:
    """The names that `Recognizer.from_pretrained` knows, sorted."""
    folder = resources.files("crnn") / "weights"
    if not folder.is_dir():
        return []
    return sorted(
        entry.name.removesuffix(_SUFFIX)
        for entry in folder.iterdir()
        if entry.name.endswith(_SUFFIX)
    )


@contextlib.contextmanager
def model_file(name_or_path: str | os.PathLike[str]) -> Iterator[Path]:
    """The file of a model, given by name or by path; it exists while the context lasts.

    What has a folder or a suffix in it is a path, everything else a name of `pretrained_models`;
    a name wins over a file of that name in the current folder.

    Raises:
        ValueError: an unknown name.
    """
    name = os.fspath(name_or_path)
    known = pretrained_models()
    if name in known:
        with resources.as_file(resources.files("crnn") / "weights" / (name + _SUFFIX)) as path:
            yield path
        return
    path = Path(name)
    if path.suffix or path.name != name or path.exists():
        yield path
        return
    raise ValueError(
        f"from_pretrained: name must be a path or one of {', '.join(known) or '(none installed)'}, "
        f"got {name!r}"
    )

"""The models that come with the package."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

_MODEL, _LANGUAGE_MODEL = ".safetensors", ".lm"
#: What the models of the package read with unless told otherwise.
_OWN = {"base": "english", "small": "english"}


def pretrained_models() -> list[str]:
    """The names that `Recognizer.from_pretrained` knows, sorted."""
    return _names(_MODEL)


def own_language_model(name_or_path: str | os.PathLike[str]) -> str | None:
    """The language model of the package that a model of the package reads with; None for a file."""
    return _OWN.get(os.fspath(name_or_path))


def language_models() -> list[str]:
    """The names that ``lm`` of a beam search knows, sorted."""
    return _names(_LANGUAGE_MODEL)


@contextlib.contextmanager
def model_file(name_or_path: str | os.PathLike[str]) -> Iterator[Path]:
    """The file of a model, given by name or by path; it exists while the context lasts.

    What has a folder or a suffix in it is a path, everything else a name of `pretrained_models`;
    a name wins over a file of that name in the current folder.

    Raises:
        ValueError: an unknown name.
    """
    with _file(name_or_path, _MODEL, "from_pretrained: name") as path:
        yield path


@contextlib.contextmanager
def language_model_file(
    name_or_path: str | os.PathLike[str], argument: str = "read: lm"
) -> Iterator[Path]:
    """The file of a language model, found like `model_file`.

    Raises:
        ValueError: an unknown name; the message begins with `argument`.
    """
    with _file(name_or_path, _LANGUAGE_MODEL, argument) as path:
        yield path


def _names(suffix: str) -> list[str]:
    folder = resources.files("crnn") / "weights"
    if not folder.is_dir():
        return []
    return sorted(
        entry.name.removesuffix(suffix) for entry in folder.iterdir() if entry.name.endswith(suffix)
    )


@contextlib.contextmanager
def _file(name_or_path: str | os.PathLike[str], suffix: str, argument: str) -> Iterator[Path]:
    name, known = os.fspath(name_or_path), _names(suffix)
    if name in known:
        with resources.as_file(resources.files("crnn") / "weights" / (name + suffix)) as path:
            yield path
        return
    path = Path(name)
    if path.suffix or path.name != name or path.exists():
        yield path
        return
    raise ValueError(
        f"{argument} must be a path or one of {', '.join(known) or '(none installed)'}, "
        f"got {name!r}"
    )

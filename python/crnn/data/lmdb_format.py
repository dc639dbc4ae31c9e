"""Keys of the field's LMDB data sets (those of the authors' released code), and the extra itself.

``num-samples``, then for i = 1, 2, ...: ``image-%09d`` (an encoded image), ``label-%09d`` (UTF-8)
and perhaps ``lexicon-%09d`` (words with spaces between). Where images have several lexicons,
``lexicon-names`` (ours) tells their names, and the second and later ones are ``lexicon:NAME-%09d``.
"""

from __future__ import annotations

from types import ModuleType

NUM_SAMPLES = b"num-samples"
LEXICON_NAMES = b"lexicon-names"


def image_key(index: int) -> bytes:
    """Key of the image of sample `index`, counted from 0."""
    return b"image-%09d" % (index + 1)


def label_key(index: int) -> bytes:
    """Key of its label."""
    return b"label-%09d" % (index + 1)


def lexicon_key(index: int, names: tuple[str, ...], name: str) -> bytes:
    """Key of its lexicon `name`, one of the data set's `names`."""
    prefix = "lexicon" if name == names[0] else f"lexicon:{name}"
    return b"%s-%09d" % (prefix.encode(), index + 1)


def join_words(words: tuple[str, ...]) -> bytes:
    """Words as one value: spaces between, or line feeds where a word holds a space."""
    between = "\n" if any(word.split() != [word] for word in words) else " "
    return between.join(words).encode()


def split_words(value: bytes) -> tuple[str, ...]:
    """The inverse of `join_words`."""
    text = value.decode("utf-8", "replace")
    return tuple(w for w in text.split("\n") if w) if "\n" in text else tuple(text.split())


def lmdb_module() -> ModuleType:
    """The package lmdb, or a ValueError that says how to get it."""
    try:
        import lmdb
    except ImportError as error:
        raise ValueError(
            "lmdb: the package must be installed for LMDB data sets; "
            "run `pip install crnn-ext[train]`"
        ) from error
    module: ModuleType = lmdb
    return module

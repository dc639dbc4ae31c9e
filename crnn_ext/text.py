"""Edit distance and the BK-tree of section 2.3.2 of the CRNN paper."""

from __future__ import annotations

import operator
import os
from collections.abc import Iterable, Iterator

import torch

from crnn_ext import _C
from crnn_ext._check import fail, fail_type
from crnn_ext._files import replace_file
from crnn_ext._spelling import check_words

_SLICE = 4096  # words that iteration copies at a time


def edit_distance(a: str, b: str, bound: int | None = None) -> int:
    """The Levenshtein distance of two strings, by Unicode code point.

    The least number of insertions, deletions and substitutions of one code point that turn `a`
    into `b`. Lone surrogates count as code points like any other; nothing is normalised, so a
    letter and its decomposed form differ.

    Args:
        a: any string.
        b: any string.
        bound: a limit of interest, at least 0. The cost then grows with the bound, not with the
            distance.

    Returns:
        The distance; with `bound`, ``bound + 1`` for every distance above it.

    Raises:
        TypeError: `a` or `b` is not a string.
        ValueError: `bound` is negative.

    Bit-parallel after Myers (1999) and Hyyrö (2003), in a band that doubles after Ukkonen (1985).
    """
    _check_word("edit_distance", "a", a)
    _check_word("edit_distance", "b", b)
    limit = _C.no_bound if bound is None else _check_bound("edit_distance", "bound", bound)
    return _C.edit_distance(a, b, limit)


class BKTree:
    """A set of words that answers "which are within `delta` edits of this one".

    A tree after Burkhard and Keller (1973). Any number of threads may query it, also while others
    add to it. Queries release the GIL; a batch runs on ``torch.get_num_threads()`` threads.
    Words that all have the same distance to each other (such as single letters) are its worst
    case: adding one then costs a comparison with every other.

    Args:
        words: the first words, as for `extend`.

    Raises:
        TypeError: `words` is a string, or one of them is not.
    """

    def __init__(self, words: Iterable[str] = ()) -> None:
        self._tree = _C.BkTree()
        self._extend("BKTree", words)

    def add(self, word: str) -> bool:
        """Add a word, which may be empty.

        Returns:
            True if it is new, False if it was there already.

        Raises:
            TypeError: `word` is not a string.
        """
        _check_word("BKTree.add", "word", word)
        return self._tree.extend([word]) == 1

    def extend(self, words: Iterable[str]) -> None:
        """Add words in order; those that are there already are ignored.

        Ctrl-C stops it; the words added until then stay.

        Raises:
            TypeError: `words` is a string, or one of them is not; nothing is added then.
        """
        self._extend("BKTree.extend", words)

    def query(self, word: str, delta: int) -> list[tuple[str, int]]:
        """All words within `delta` edits of `word`.

        Args:
            word: any string.
            delta: the largest edit distance, at least 0.

        Returns:
            Pairs of word and distance, ordered by distance, then by word (code point order).

        Raises:
            TypeError: `word` is not a string.
            ValueError: `delta` is negative.
        """
        _check_word("BKTree.query", "word", word)
        return self._tree.query([word], _check_bound("BKTree.query", "delta", delta), 1)[0]

    def query_batch(self, words: Iterable[str], delta: int) -> list[list[tuple[str, int]]]:
        """`query` for each of `words`, in parallel. Ctrl-C stops it.

        Returns:
            What `query` returns, for each word in turn.

        Raises:
            TypeError: `words` is a string, or one of them is not.
            ValueError: `delta` is negative.
        """
        queries = check_words("BKTree.query_batch", words)
        limit = _check_bound("BKTree.query_batch", "delta", delta)
        return self._tree.query(queries, limit, torch.get_num_threads())

    @property
    def memory(self) -> int:
        """Bytes in use: 4 for each letter and 22 for each word, once a word has a place."""
        return self._tree.memory()

    def __len__(self) -> int:
        return self._tree.size()

    def __contains__(self, word: object) -> bool:
        return isinstance(word, str) and self._tree.contains(word)

    def __iter__(self) -> Iterator[str]:
        """The words in the order of addition, those added meanwhile included."""
        begin = 0
        while words := self._tree.slice(begin, begin + _SLICE):
            yield from words
            begin += len(words)

    def __repr__(self) -> str:
        return f"BKTree({len(self)} words)"

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the tree to a file.

        The file appears at once and whole: if writing fails, for instance because the disk is
        full, an older file at `path` stays as it was. Format: csrc/text/bk_tree_file.cpp.

        Raises:
            OSError: the file cannot be written.
        """
        data = self._tree.save()

        def write(descriptor: int) -> None:
            with open(descriptor, "wb", closefd=False) as file:
                file.write(data)

        replace_file(path, write)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> BKTree:
        """Read a tree that `save` wrote.

        Raises:
            OSError: the file cannot be read.
            ValueError: the file is damaged, cut short, or not a BK-tree; names file and reason.
        """
        path = os.fsdecode(path)
        tree = cls()
        try:
            with open(path, "rb") as file:
                header = file.read(_C.BkTree.header_bytes)
                announced = _C.BkTree.announced_size(header)
                size = os.fstat(file.fileno()).st_size
                if size != announced:
                    raise ValueError(f"it has {size} bytes and announces {announced}")
                tree._tree = _C.BkTree.load(header + file.read())
        except ValueError as error:
            fail("BKTree.load", "path", "name a whole BK-tree file", f"{path!r}: {error}")
        return tree

    def __getstate__(self) -> bytes:
        return self._tree.save()

    def __setstate__(self, state: bytes) -> None:
        self._tree = _C.BkTree.load(state)

    def _extend(self, op: str, words: Iterable[str]) -> None:
        self._tree.extend(check_words(op, words))


def _check_word(op: str, argument: str, word: object) -> None:
    if not isinstance(word, str):
        fail_type(op, argument, "be a str", word)


def _check_bound(op: str, argument: str, value: int) -> int:
    value = operator.index(value)
    if value < 0:
        fail(op, argument, "be at least 0", value)
    return min(value, _C.no_bound)

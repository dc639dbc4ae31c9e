"""Lexicon-based transcription: section 2.3.2 of the CRNN paper."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from crnn_ext import _C
from crnn_ext._check import fail, fail_type
from crnn_ext._frames import Lengths, check_frames


@dataclass(frozen=True)
class LexiconResult:
    """What `Lexicon.decode` read in one sample.

    Attributes:
        word: the word of the lexicon; None if no candidate has a probability above zero.
        log_prob: log p(labels | y), equation 1.
        labels: the classes of the word; where there is none, the greedy reading.
        candidates: how many words had their probability computed.
    """

    word: str | None
    log_prob: float
    labels: list[int]
    candidates: int


class Lexicon:
    """A list of the words that may be read.

    Symbols take the classes 0, 1, 2… in order, leaving out `blank`. If every symbol is one
    character, the symbols of a word are its characters; else they are what whitespace separates
    (``"C4 D4 rest"``).

    Args:
        words: at least one word; repeated ones count once, at their first place.
        symbols: the symbols a model reads, all different, in class order, without the blank.
        blank: the class of the blank, in [0, len(symbols)].
        unknown: what to do about a word with a symbol that is not in `symbols`: "error" raises,
            "skip" leaves the word out (see `skipped`).

    Attributes:
        words: the words that can be read, in lexicon order.
        skipped: the words left out, in lexicon order.

    Raises:
        TypeError: `words` is a string, or one of them is not.
        ValueError: no word is left, symbols are empty or repeated, a word has an unknown symbol.
    """

    def __init__(
        self,
        words: Iterable[str],
        symbols: Sequence[str],
        blank: int = 0,
        *,
        unknown: Literal["error", "skip"] = "error",
    ) -> None:
        if unknown not in ("error", "skip"):
            fail("Lexicon", "unknown", "be 'error' or 'skip'", repr(unknown))
        if isinstance(words, str):
            fail_type("Lexicon", "words", "be an iterable of str", words)
        self.symbols = tuple(symbols)
        self.blank = operator.index(blank)
        self._classes = _class_indices(self.symbols, self.blank)
        self._one_character = all(len(symbol) == 1 for symbol in self.symbols)
        kept: dict[tuple[int, ...], str] = {}
        skipped: dict[str, None] = {}
        for word in words:
            labels = self._encode(word)
            if isinstance(labels, tuple):
                kept.setdefault(labels, word)
            elif unknown == "skip":
                skipped[word] = None
            else:
                fail("Lexicon", "words", "use known symbols only", f"{labels!r} in {word!r}")
        if not kept:
            left_out = f" ({len(skipped)} skipped for unknown symbols)" if skipped else ""
            fail("Lexicon", "words", "hold at least one word", f"none{left_out}")
        self.words = tuple(kept.values())
        self.skipped = tuple(skipped)
        self._lexicon = _C.Lexicon([list(labels) for labels in kept])

    def __len__(self) -> int:
        return len(self.words)

    def __repr__(self) -> str:
        return f"Lexicon({len(self.words)} words, {len(self.symbols)} symbols)"

    def decode(
        self,
        log_probs: Tensor,
        lengths: Lengths = None,
        *,
        method: Literal["bk-tree", "exhaustive"] = "bk-tree",
        delta: int = 3,
    ) -> list[LexiconResult]:
        """The most probable word of each sample, ``argmax p(word | y)``.

        Args:
            log_probs: [T, N, C], or [T, C] for one sample, with C = len(symbols) + 1; any floating
                dtype, strides and device. Values of -1e9 and less count as -inf.
            lengths: [N], each in [0, T]; all T if left out. Frames beyond are not read.
            method: "exhaustive" looks at every word and is exact; "bk-tree" (equation 2) at the
                words within `delta` edits of the greedy reading.
            delta: the largest edit distance, at least 0; of no effect on "exhaustive".

        Returns:
            One result per sample, in a list also for one sample. On a tie the first word of the
            lexicon wins. Where no word lies within `delta`, or none has a probability above zero
            (too few frames), `word` is None and the result is the greedy reading.

        Raises:
            TypeError: `log_probs` is no tensor, or `lengths` holds something other than integers.
            ValueError: a shape, dtype, length, `method` or `delta` is out of range, or a frame
                within the lengths holds NaN, +inf or a value of 1e9 or more (the message names
                the sample).

        Not differentiable. Runs in parallel over samples without the GIL; Ctrl-C stops it.
        """
        op = "Lexicon.decode"
        if method not in ("bk-tree", "exhaustive"):
            fail(op, "method", "be 'bk-tree' or 'exhaustive'", repr(method))
        delta = operator.index(delta)
        if delta < 0:
            fail(op, "delta", "be at least 0", delta)
        frames = check_frames(op, log_probs, lengths, self.blank)
        classes = len(self.symbols) + 1
        if frames.log_probs.shape[2] != classes:
            rule = f"have {classes} classes (the symbols and the blank)"
            fail(op, "log_probs", rule, frames.log_probs.shape[2])
        limit = _C.Lexicon.all_words if method == "exhaustive" else min(delta, _C.no_bound)
        readings = self._lexicon.decode(frames.args, self.blank, limit, torch.get_num_threads())
        return [
            LexiconResult(self.words[index] if index >= 0 else None, log_prob, labels, candidates)
            for index, log_prob, labels, candidates in readings
        ]

    def _encode(self, word: str) -> tuple[int, ...] | str:
        """The classes of a word, or its first unknown symbol."""
        if not isinstance(word, str):
            fail_type("Lexicon", "words", "hold str only", word)
        labels = []
        for symbol in word if self._one_character else word.split():
            label = self._classes.get(symbol)
            if label is None:
                return symbol
            labels.append(label)
        return tuple(labels)


def _class_indices(symbols: tuple[str, ...], blank: int) -> dict[str, int]:
    """The class of each symbol: its place, one further from the blank on."""
    if not 0 <= blank <= len(symbols):
        fail("Lexicon", "blank", f"lie in [0, {len(symbols)}]", blank)
    one_character = all(len(symbol) == 1 for symbol in symbols)
    classes: dict[str, int] = {}
    for place, symbol in enumerate(symbols):
        if not symbol:
            fail("Lexicon", "symbols", "not be empty", repr(symbol))
        if not one_character and symbol.split() != [symbol]:
            fail("Lexicon", "symbols", "hold no whitespace, which separates them", repr(symbol))
        if symbol in classes:
            fail("Lexicon", "symbols", "be all different", f"{symbol!r} twice")
        classes[symbol] = place if place < blank else place + 1
    return classes

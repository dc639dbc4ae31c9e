"""Lexicon-based transcription: section 2.3.2 of the CRNN paper."""

from __future__ import annotations

import math
import operator
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from crnn_ext import _C
from crnn_ext._check import fail, fail_dtype
from crnn_ext._files import load_with_symbols, save_with_symbols
from crnn_ext._frames import Lengths, check_frames
from crnn_ext._spelling import Speller, check_words

LexiconMethod = Literal["exact", "bk-tree", "exhaustive"]
_METHODS = ("exact", "bk-tree", "exhaustive")
_SLICE = 4096  # words that iteration copies at a time


@dataclass(frozen=True)
class ScoredWord:
    """A word of the lexicon in one sample.

    Attributes:
        word: the word.
        log_prob: log p(word | y), equation 1, by the exact forward algorithm.
        posterior: see `LexiconResult`.
    """

    word: str
    log_prob: float
    posterior: float


@dataclass(frozen=True)
class LexiconResult:
    """What `Lexicon.decode` read in one sample.

    Attributes:
        word: the most probable word; None if no word looked at has a probability above zero.
        log_prob: log p(labels | y), equation 1.
        labels: the classes of the word; where there is none, the greedy reading.
        posterior: p(word | y) among all words of the lexicon, in [0, 1]: p(w|y) q(w) over its sum,
            q being the prior. Up to `tolerance` below the true value, never above but for
            rounding. For "bk-tree" among the words looked at. 0 where there is no word.
        runner_up: the next word; None if there is none of probability above zero.
        margin: by how much the score of the word, log p(w|y) + log q(w), lies above that of the
            runner-up; inf without one.
        outside: 1 - p(any word of the lexicon | y), the mass of all other labels. Up to
            `tolerance` below the true value. For "bk-tree" that of the words not looked at too.
        n_best: the word, the runner-up, and so on; as many as asked for and found.
        candidates: how many words had their probability computed.
    """

    word: str | None
    log_prob: float
    labels: list[int]
    posterior: float
    runner_up: str | None
    margin: float
    outside: float
    n_best: tuple[ScoredWord, ...]
    candidates: int


class Lexicon:
    """The words that may be read.

    Symbols take the classes 0, 1, 2… in order, leaving out `blank`. If every symbol is one
    character, the symbols of a word are its characters; else they are what whitespace separates
    (``"C4 D4 rest"``). A word that has no such spelling as it stands is tried in the Unicode
    normal forms NFC and NFD.

    Any number of threads may decode, also while others add or remove words.

    Args:
        words: at least one word; repeated ones count once, at their first place.
        symbols: the symbols a model reads, all different, in class order, without the blank.
        blank: the class of the blank, in [0, len(symbols)].
        unknown: what to do about a word with a symbol that is not in `symbols`: "error" raises,
            "skip" leaves the word out (see `skipped`).

    Attributes:
        symbols, blank: as given.
        skipped: the words left out, in order, each once.

    Raises:
        TypeError: `words` is a string, or one of them is not.
        ValueError: no word is left, symbols are empty or repeated, a word has an unknown symbol.

    Held as a trie: 16 bytes for each different prefix and 4 for each word.
    """

    def __init__(
        self,
        words: Iterable[str],
        symbols: Sequence[str],
        blank: int = 0,
        *,
        unknown: Literal["error", "skip"] = "error",
    ) -> None:
        self._speller = Speller(symbols, operator.index(blank), "Lexicon")
        self._lexicon = _C.Lexicon(len(self.symbols) + 1, self.blank)
        encoded, self.skipped = self._encode("Lexicon", words, unknown)
        if self._lexicon.add(encoded) == 0:
            left_out = f" ({len(self.skipped)} skipped for unknown symbols)" if self.skipped else ""
            fail("Lexicon", "words", "hold at least one word", f"none{left_out}")

    @property
    def symbols(self) -> tuple[str, ...]:
        """In class order, without the blank."""
        return self._speller.symbols

    @property
    def blank(self) -> int:
        """The class of the blank, in [0, len(symbols)]."""
        return self._speller.blank

    @property
    def words(self) -> tuple[str, ...]:
        """The words that can be read, in the order of addition."""
        return tuple(self)

    @property
    def memory(self) -> int:
        """The size of the words and their trie in bytes."""
        return self._lexicon.memory()

    def __len__(self) -> int:
        return self._lexicon.size()

    def __iter__(self) -> Iterator[str]:
        begin = 0
        while len(words := self._lexicon.slice(begin, begin + _SLICE)) > 0:
            yield from self._speller.decode(words)
            begin += len(words)

    def __contains__(self, word: object) -> bool:
        if not isinstance(word, str):
            return False
        encoded, unknown = self._speller.encode([word])
        return not unknown and self._lexicon.contains(encoded)

    def __repr__(self) -> str:
        return f"Lexicon({len(self)} words, {len(self.symbols)} symbols)"

    def add(
        self, words: Iterable[str], *, unknown: Literal["error", "skip"] = "error"
    ) -> tuple[str, ...]:
        """Add words behind those that are there; those that are there already stay where they are.

        Cheap for a few words: they are kept beside the large trie until they are an eighth of it.

        Returns:
            The words left out for an unknown symbol.

        Raises:
            TypeError, ValueError: as for the constructor; nothing is added then.
        """
        encoded, skipped = self._encode("Lexicon.add", words, unknown)
        self._lexicon.add(encoded)
        return skipped

    def remove(self, words: Iterable[str]) -> int:
        """Remove words; those that are not there are ignored. The lexicon may become empty.

        Returns:
            How many words were removed.

        Raises:
            TypeError: `words` is a string, or one of them is not.
        """
        return self._lexicon.remove(self._encode("Lexicon.remove", words, "skip")[0])

    def decode(
        self,
        log_probs: Tensor,
        lengths: Lengths = None,
        method: LexiconMethod = "exact",
        *,
        delta: int = 3,
        n_best: int = 1,
        word_log_prior: Tensor | Sequence[float] | None = None,
        tolerance: float | None = 0.01,
    ) -> list[LexiconResult]:
        """The most probable words of each sample, ``argmax_w p(w | y) q(w)``.

        Args:
            log_probs: [T, N, C], or [T, C] for one sample, with C = len(symbols) + 1; any floating
                dtype, strides and device. Values of -1e9 and less count as -inf. `posterior` and
                `outside` suppose that each frame's probabilities add up to 1.
            lengths: [N], each in [0, T]; all T if left out. Frames beyond are not read.
            method: "exact" finds the best of all words by a best-first search over their prefixes,
                which looks at few; "exhaustive" gives the same result and looks at all;
                "bk-tree" (equation 2) looks at the words within `delta` edits of the greedy
                reading, and is approximate.
            delta: the largest edit distance of "bk-tree", at least 0.
            n_best: how many words are wanted, at least 1.
            word_log_prior: log q(w) of each word, [len(self)], up to a constant; -inf keeps a word
                out. All words alike if left out.
            tolerance: how far below its true value "exact" may leave a posterior or `outside`, in
                [0, 1]. The words do not depend on it; the smaller it is, the longer the search
                goes on after they are found, and at 0 it looks at every word. None ends it when
                the `n_best` words are certain: quickest, but posteriors and `outside` are only
                lower bounds then, and a runner-up beyond `n_best` is not looked for (None, with
                a margin of 0).

        Returns:
            One result per sample, in a list also for one sample. Words of the same score come in
            the order of the lexicon. Where no word looked at has a probability above zero (too few
            frames, none within `delta`), `word` is None and the result is the greedy reading.

        Raises:
            TypeError: `log_probs` is no tensor, or `lengths` holds something other than integers.
            ValueError: a shape, dtype, length or option is out of range, or a frame within the
                lengths holds NaN, +inf or a value of 1e9 or more (the message names the sample).

        Not differentiable. Runs in parallel over samples without the GIL; Ctrl-C stops it. How it
        works, and why "exact" is exact: csrc/transcription/lexicon_search.h.
        """
        op = "Lexicon.decode"
        if method not in _METHODS:
            fail(op, "method", "be 'exact', 'bk-tree' or 'exhaustive'", repr(method))
        delta, n_best = operator.index(delta), operator.index(n_best)
        if delta < 0:
            fail(op, "delta", "be at least 0", delta)
        if n_best < 1:
            fail(op, "n_best", "be at least 1", n_best)
        if tolerance is not None and not 0 <= tolerance <= 1:
            fail(op, "tolerance", "lie in [0, 1]", tolerance)
        frames = check_frames(op, log_probs, lengths, self.blank)
        classes = len(self.symbols) + 1
        if frames.classes != classes:
            rule = f"have {classes} classes (the symbols and the blank)"
            fail(op, "log_probs", rule, frames.classes)
        least = 1 if tolerance is None and method == "exact" else 2  # with the runner-up
        prior = None if word_log_prior is None else _check_prior(op, word_log_prior)
        readings = self._lexicon.decode(
            frames.args, method, min(delta, _C.no_bound), min(max(n_best, least), _C.no_bound),
            1.0 if tolerance is None else tolerance,
            (0, 0) if prior is None else (prior.data_ptr(), len(prior)), torch.get_num_threads(),
        )  # fmt: skip
        margin = math.inf if n_best > 1 or least > 1 else 0.0
        return [self._result(reading, n_best, margin) for reading in readings]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the lexicon to a file.

        The file appears at once and whole: if writing fails, an older file at `path` stays as it
        was. Format: csrc/transcription/lexicon_file.cpp.

        Raises:
            OSError: the file cannot be written.
        """
        save_with_symbols(path, self.symbols, self._lexicon.save)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Lexicon:
        """Map a file that `save` wrote into memory, where all processes that load it share it.

        The file is checked whole. While it is in use it must not be cut short or written to;
        `save` puts a new file in its place, which is safe.

        Raises:
            OSError: the file cannot be read.
            ValueError: the file is damaged, cut short, or not a lexicon; names file and reason.
        """
        loaded, speller = load_with_symbols("Lexicon", path, _C.Lexicon.load, "lexicon file")
        lexicon = cls.__new__(cls)
        lexicon.skipped = ()
        lexicon._lexicon, lexicon._speller = loaded, speller
        return lexicon

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (self.words, self.symbols, self.blank, self.skipped)

    def _encode(
        self, op: str, words: Iterable[str], unknown: str
    ) -> tuple[_C.WordList, tuple[str, ...]]:
        if unknown not in ("error", "skip"):
            fail(op, "unknown", "be 'error' or 'skip'", repr(unknown))
        given = check_words(op, words)
        encoded, left_out = self._speller.encode(given)
        if left_out and unknown == "error":
            place, symbol = left_out[0]
            fail(op, "words", "use known symbols only", f"{symbol!r} in {given[place]!r}")
        return encoded, tuple(dict.fromkeys(given[place] for place, _ in left_out))

    def _result(self, reading: _C._Reading, n_best: int, margin: float) -> LexiconResult:
        labels, log_probs, scores, found, total_score, total_probability, looked_at = reading
        outside = min(max(1.0 - total_probability, 0.0), 1.0)
        text = self._speller.text
        if found == 0:
            return LexiconResult(
                None, log_probs[0], labels[0], 0.0, None, math.inf, outside, (), looked_at
            )
        words = [
            ScoredWord(text(word), log_prob, min(math.exp(score - total_score), 1.0))
            for word, log_prob, score in zip(labels[:n_best], log_probs, scores, strict=False)
        ]
        best = words[0]
        return LexiconResult(
            best.word,
            best.log_prob,
            labels[0],
            best.posterior,
            runner_up=text(labels[1]) if found > 1 else None,
            margin=scores[0] - scores[1] if found > 1 else margin,
            outside=outside,
            n_best=tuple(words),
            candidates=looked_at,
        )


def _restored(
    words: tuple[str, ...], symbols: tuple[str, ...], blank: int, skipped: tuple[str, ...]
) -> Lexicon:
    """What pickle makes of a lexicon; it may be empty."""
    lexicon = Lexicon.__new__(Lexicon)
    lexicon._speller = Speller(symbols, blank, "Lexicon")
    lexicon._lexicon = _C.Lexicon(len(symbols) + 1, blank)
    lexicon._lexicon.add(lexicon._speller.encode(list(words))[0])
    lexicon.skipped = skipped
    return lexicon


def _check_prior(op: str, prior: Tensor | Sequence[float]) -> Tensor:
    values = torch.as_tensor(prior)
    if values.is_complex() or values.dtype == torch.bool:
        fail_dtype(op, "word_log_prior", "hold numbers", values.dtype)
    values = values.detach().to("cpu", torch.float64).contiguous()
    if values.dim() != 1:
        fail(op, "word_log_prior", "have one dimension", values.dim())
    wrong = values[~(values < 1e9)]
    if len(wrong) > 0:
        fail(op, "word_log_prior", "hold neither NaN nor values of 1e9 or more", float(wrong[0]))
    return values

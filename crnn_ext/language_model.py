"""A character n-gram model, for `beam_decode`."""

from __future__ import annotations

import math
import operator
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor

from crnn_ext import _C
from crnn_ext._check import fail
from crnn_ext._files import load_with_symbols, save_with_symbols
from crnn_ext._spelling import Speller, check_words


class LanguageModel:
    """The probability of a text, symbol by symbol, from the ``order - 1`` symbols before each.

    ``P(text) = prod_i p(c_i | c_{i-order+1} ... c_{i-1})`` over its symbols and its end, by
    Witten-Bell smoothing in the interpolated form: ``p(c | h) = (count(h c) + T(h) p(c | h')) /
    (count(h) + T(h))``, where T(h) is how many different symbols follow h and h' is h without its
    first symbol; below the empty context all symbols and the end are alike. So every text of known
    symbols has a probability above zero, and in every context they add up to 1. The beginning of a
    text is a context too.

    A text is what is read from one image: words, if the model is to read single words. Spelling is
    that of `Lexicon`: one character a symbol or, with longer symbols, what whitespace separates;
    Unicode normal forms are tried.

    Any number of threads may use it.

    Args:
        texts: at least one text, each counted as often as it comes; or a mapping from texts to how
            often each came (0 leaves it out).
        symbols: the symbols of the model that reads, in class order, without the blank.
        blank: the class of the blank, in [0, len(symbols)].
        order: of the longest n-grams, in [1, 8].
        unknown: what to do about a text with a symbol that is not in `symbols`: "error" raises,
            "skip" leaves the text out (see `skipped`).

    Attributes:
        symbols, blank, order: as given.
        skipped: the texts left out, in order, each once.

    Raises:
        TypeError: `texts` is a string, or one of them is not.
        ValueError: no text is left, an order or count is out of range, symbols are empty or
            repeated, a text has an unknown symbol.

    Held as a trie of n-grams: 20 bytes for each that is a context, 12 for those of the highest
    order; building takes 20 bytes a symbol of the different texts more. Sources: Witten and Bell
    (1991); Chen and Goodman (1999).
    """

    def __init__(
        self,
        texts: Iterable[str] | Mapping[str, int],
        symbols: Sequence[str],
        blank: int = 0,
        *,
        order: int = 5,
        unknown: Literal["error", "skip"] = "error",
    ) -> None:
        op = "LanguageModel"
        self._speller = Speller(symbols, operator.index(blank), op)
        order, highest = operator.index(order), _C.LanguageModel.highest_order
        if not 1 <= order <= highest:
            fail(op, "order", f"lie in [1, {highest}]", order)
        if unknown not in ("error", "skip"):
            fail(op, "unknown", "be 'error' or 'skip'", repr(unknown))
        counted = _count(op, texts)
        given = list(counted)
        encoded, left_out = self._speller.encode(given)
        if left_out and unknown == "error":
            place, symbol = left_out[0]
            fail(op, "texts", "use known symbols only", f"{symbol!r} in {given[place]!r}")
        self.skipped = tuple(given[place] for place, _ in left_out)
        for text in self.skipped:
            del counted[text]
        if not counted:
            skipped = f" ({len(self.skipped)} skipped for unknown symbols)" if self.skipped else ""
            fail(op, "texts", "hold at least one text", f"none{skipped}")
        self._model = _C.LanguageModel.build(
            encoded, list(counted.values()), len(self.symbols) + 1, self.blank, order
        )

    @property
    def symbols(self) -> tuple[str, ...]:
        """In class order, without the blank."""
        return self._speller.symbols

    @property
    def blank(self) -> int:
        """The class of the blank, in [0, len(symbols)]."""
        return self._speller.blank

    @property
    def order(self) -> int:
        """Symbols of the longest n-grams."""
        return self._model.order

    @property
    def memory(self) -> int:
        """The size of the n-grams in bytes."""
        return self._model.memory()

    def __len__(self) -> int:
        """How many different n-grams it holds."""
        return self._model.size()

    def __repr__(self) -> str:
        return (
            f"LanguageModel(order {self.order}, {len(self)} n-grams, {len(self.symbols)} symbols)"
        )

    def log_prob(self, text: str) -> float:
        """log P(text), its end included: natural logarithm, finite.

        Raises:
            TypeError: `text` is no string.
            ValueError: `text` has an unknown symbol.
        """
        return self._model.log_probs(self._encode("LanguageModel.log_prob", [text]))[0]

    def next_log_probs(self, prefix: str = "") -> Tensor:
        """log p(c | prefix) of every class c, and of the end in the place of the blank.

        Returns:
            [len(symbols) + 1] in float64; their exponentials add up to 1, within the 1e-6 or so
            to which single numbers are kept.

        Raises:
            TypeError, ValueError: as for `log_prob`.
        """
        encoded = self._encode("LanguageModel.next_log_probs", [prefix])
        return torch.tensor(self._model.next_log_probs(encoded), dtype=torch.float64)

    def perplexity(self, texts: Iterable[str] | Mapping[str, int]) -> float:
        """``exp(-sum log P(text) / n)`` over texts, n being their symbols and ends.

        Args:
            texts: at least one text, or how often each came.

        Raises:
            TypeError, ValueError: as for the constructor with ``unknown="error"``.
        """
        op = "LanguageModel.perplexity"
        counted = _count(op, texts)
        if not counted:
            fail(op, "texts", "hold at least one text", "none")
        encoded = self._encode(op, list(counted))
        symbols = log_prob = 0.0
        for count, length, value in zip(
            counted.values(), encoded.lengths(), self._model.log_probs(encoded), strict=True
        ):
            symbols += count * (length + 1)
            log_prob += count * value
        return math.exp(-log_prob / symbols)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model to a file.

        The file appears at once and whole: if writing fails, an older file at `path` stays as it
        was. Format: csrc/text/language_model_file.cpp.

        Raises:
            OSError: the file cannot be written.
        """
        save_with_symbols(path, self.symbols, self._model.save)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> LanguageModel:
        """Map a file that `save` wrote into memory, where all processes that load it share it.

        The file is checked whole. While it is in use it must not be cut short or written to;
        `save` puts a new file in its place, which is safe.

        Raises:
            OSError: the file cannot be read.
            ValueError: the file is damaged, cut short, or no language model; names file and reason.
        """
        loaded, speller = load_with_symbols(
            "LanguageModel", path, _C.LanguageModel.load, "language model"
        )
        model = cls.__new__(cls)
        model.skipped = ()
        model._model, model._speller = loaded, speller
        return model

    def _encode(self, op: str, texts: list[str]) -> _C.WordList:
        encoded, unknown = self._speller.encode(check_words(op, texts, "text"))
        if unknown:
            place, symbol = unknown[0]
            fail(op, "text", "use known symbols only", f"{symbol!r} in {texts[place]!r}")
        return encoded


def _count(op: str, texts: Iterable[str] | Mapping[str, int]) -> dict[str, int]:
    """How often each text came, those that never did left out."""
    if not isinstance(texts, Mapping):
        return dict(Counter(check_words(op, texts, "texts")))
    check_words(op, list(texts), "texts")
    counted = {text: operator.index(count) for text, count in texts.items()}
    for text, count in counted.items():
        if not 0 <= count < 2**53:
            fail(op, "texts", "have counts in [0, 2^53)", f"{count} of {text!r}")
    return {text: count for text, count in counted.items() if count}

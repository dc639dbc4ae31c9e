"""Words as the classes of a charset's symbols, and back."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence

from crnn_ext import _C
from crnn_ext._check import fail, fail_type


class Speller:
    """Symbols in class order, leaving out the blank; see `crnn_ext.Lexicon`. `op` is for errors."""

    def __init__(self, symbols: Sequence[str], blank: int, op: str) -> None:
        self.symbols = tuple(symbols)
        self.blank = blank
        if not 0 <= blank <= len(self.symbols):
            fail(op, "blank", f"lie in [0, {len(self.symbols)}]", blank)
        self.one_character = all(len(symbol) == 1 for symbol in self.symbols)
        _check_symbols(op, self.symbols, self.one_character)
        self._separator = "" if self.one_character else " "
        self._by_class = [*self.symbols[:blank], "\0", *self.symbols[blank:]]
        self._classes = {s: i for i, s in enumerate(self._by_class) if i != blank}
        self._spelling = _C.Spelling("".join(self._by_class), blank) if self.one_character else None

    def encode(self, words: list[str]) -> tuple[_C.WordList, list[tuple[int, str]]]:
        """The words in classes, and the place and first unknown symbol of those left out.

        A word that cannot be spelled as it is written is tried in Unicode's normal forms NFC and
        NFD.
        """
        encoded, unknown = self._encode(words)
        if not unknown:
            return encoded, []
        words, left_out = list(words), []
        for place in unknown:
            forms = [unicodedata.normalize(form, words[place]) for form in ("NFC", "NFD")]
            spelled = [form for form in forms if self._unknown_symbol(form) is None]
            if spelled:
                words[place] = spelled[0]
            else:
                left_out.append((place, self._unknown_symbol(words[place]) or ""))
        return self._encode(words)[0], left_out

    def decode(self, words: _C.WordList) -> list[str]:
        """The words of `encode`; symbols of several characters are joined by a space."""
        if self._spelling is not None:
            return self._spelling.decode(words)
        return [self.text(labels) for labels in words.lists()]

    def text(self, labels: Iterable[int]) -> str:
        """One word."""
        return self._separator.join([self._by_class[label] for label in labels])

    def _encode(self, words: list[str]) -> tuple[_C.WordList, list[int]]:
        if self._spelling is not None:
            return self._spelling.encode(words)
        labels = [[self._classes.get(s, -1) for s in word.split()] for word in words]
        known = [label for label in labels if -1 not in label]
        return _C.WordList(known), [i for i, label in enumerate(labels) if -1 in label]

    def _unknown_symbol(self, word: str) -> str | None:
        symbols = word if self.one_character else word.split()
        return next((symbol for symbol in symbols if symbol not in self._classes), None)


def check_words(op: str, words: Iterable[str], name: str = "words") -> list[str]:
    """The words in a list; raises TypeError if one is no string, or all are one."""
    if isinstance(words, str):
        fail_type(op, name, "be an iterable of str", words)
    result = list(words)
    for word in result:
        if not isinstance(word, str):
            fail_type(op, name, "hold str only", word)
    return result


def _check_symbols(op: str, symbols: tuple[str, ...], one_character: bool) -> None:
    seen = set()
    for symbol in symbols:
        if not symbol:
            fail(op, "symbols", "not be empty", repr(symbol))
        if not one_character and symbol.split() != [symbol]:
            fail(op, "symbols", "hold no whitespace, which separates them", repr(symbol))
        if symbol in seen:
            fail(op, "symbols", "be all different", f"{symbol!r} twice")
        seen.add(symbol)

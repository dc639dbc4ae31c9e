"""The symbols a model can read, and their class indices."""

from __future__ import annotations

import string
from collections.abc import Iterable, Sequence
from pathlib import Path

NAMED: dict[str, Sequence[str]] = {
    "36": string.digits + string.ascii_lowercase,
    "62": string.digits + string.ascii_letters,
    "94": string.digits + string.ascii_letters + string.punctuation,
    # Places on a staff with a treble clef and two ledger lines, from low to high.
    "music": ("A3", "B3", *(f"{name}{octave}" for octave in "45" for name in "CDEFGAB"), "C6"),
}


class Charset:
    """Maps text to class indices and back; class 0 is the blank, symbol ``i`` is class ``i + 1``.

    Args:
        symbols: the symbols in class order; each a non-empty string, all different. A symbol may
            be several characters (``"C4"`` in music); text is then its symbols joined by a space.
        fold_case: lower-case every text before it is encoded (the case-insensitive protocol of
            the field's benchmarks). Symbols must then be lower case themselves.

    Raises:
        ValueError: no symbol, a repeated one, an empty one, or an upper-case one with `fold_case`.
    """

    blank = 0

    def __init__(self, symbols: Sequence[str], fold_case: bool = False) -> None:
        self.symbols = tuple(symbols)
        self.fold_case = fold_case
        if not self.symbols:
            raise ValueError("Charset: symbols must hold at least one symbol, got none")
        for symbol in self.symbols:
            if not symbol:
                raise ValueError("Charset: symbols must not be empty, got ''")
            if fold_case and symbol != symbol.lower():
                raise ValueError(
                    f"Charset: symbols must be lower case with fold_case, got {symbol!r}"
                )
        self._class_of = {symbol: i + 1 for i, symbol in enumerate(self.symbols)}
        if len(self._class_of) != len(self.symbols):
            repeated = next(s for s in self.symbols if self.symbols.count(s) > 1)
            raise ValueError(f"Charset: symbols must be all different, got {repeated!r} twice")
        self.multi_character = any(len(symbol) > 1 for symbol in self.symbols)
        #: Whether an empty label says that there is nothing to read, as in music; of words it says
        #: that the label is missing.
        self.allows_empty = self.multi_character

    @classmethod
    def named(cls, name: str) -> Charset:
        """The field's usual sets: ``"36"`` (digits, a-z, case folded), ``"62"``, ``"94"``.

        ``"music"`` holds pitches, ``A3`` to ``C6``.

        Raises:
            ValueError: another name.
        """
        if name not in NAMED:
            raise ValueError(f"Charset: name must be one of {', '.join(NAMED)}, got {name!r}")
        return cls(NAMED[name], fold_case=name == "36")

    @classmethod
    def from_file(cls, path: str | Path, fold_case: bool = False) -> Charset:
        """Read a UTF-8 file of one symbol a line; empty lines are skipped.

        Raises:
            OSError: the file cannot be read.
            ValueError: it is not UTF-8, or its symbols are none for a `Charset`.
        """
        lines = Path(path).read_text(encoding="utf-8").splitlines()
        return cls([line for line in lines if line], fold_case)

    @property
    def num_classes(self) -> int:
        """Classes of a model with this charset: the symbols and the blank."""
        return len(self.symbols) + 1

    def __len__(self) -> int:
        return len(self.symbols)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Charset):
            return NotImplemented
        return self.symbols == other.symbols and self.fold_case == other.fold_case

    def __hash__(self) -> int:
        return hash((self.symbols, self.fold_case))

    def __repr__(self) -> str:
        return f"Charset({len(self)} symbols, fold_case={self.fold_case})"

    def split(self, text: str) -> list[str]:
        """The symbols of `text`, known or not."""
        text = text.lower() if self.fold_case else text
        return text.split() if self.multi_character else list(text)

    def unknown(self, text: str) -> list[str]:
        """The symbols of `text` that this charset lacks, in order of appearance."""
        return [symbol for symbol in self.split(text) if symbol not in self._class_of]

    def encode(self, text: str) -> list[int]:
        """Class indices in ``[1, len(self)]`` of `text`.

        Raises:
            ValueError: `text` holds a symbol outside the charset.
        """
        unknown = self.unknown(text)
        if unknown:
            raise ValueError(
                f"Charset: text must use symbols of the charset, got {unknown[0]!r} in {text!r}"
            )
        return [self._class_of[symbol] for symbol in self.split(text)]

    def decode(self, classes: Iterable[int]) -> str:
        """The text of class indices in ``[1, len(self)]`` (no blanks; see `crnn_ext.collapse`).

        Raises:
            ValueError: another class.
        """
        labels = list(classes)
        for label in labels:
            if not 1 <= label <= len(self):
                raise ValueError(f"Charset: classes must lie in [1, {len(self)}], got {label}")
        joint = " " if self.multi_character else ""
        return joint.join(self.symbols[label - 1] for label in labels)

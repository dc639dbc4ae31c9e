"""What signs say: dictionary words in their usual cases, numbers, prices, codes, short words."""

from __future__ import annotations

import math
import string
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

WORD_FILES = (
    "/usr/share/hunspell/en_US.dic",
    "/usr/share/myspell/dicts/en_US.dic",
    "/usr/share/dict/words",
)
MAX_SYMBOLS = 22


def load_words(paths: Sequence[str | Path] = ()) -> dict[str, float]:
    """Words of plain lists (one a line) or hunspell `.dic` files; ASCII letters and digits only.

    Args:
        paths: the files; none means the first of `WORD_FILES` that exists. A line may say after a
            tab how often its word is to be drawn, a number above 0; without, 1.

    Returns:
        each word and the sum of its lines' weights, sorted; of plain lists every word has weight 1,
        in however many of them it is.

    Raises:
        ValueError: no file was given and none of `WORD_FILES` exists, a file is no text, no word
            was found, or a weight is none.
    """
    files = [Path(p) for p in paths] or [p for p in map(Path, WORD_FILES) if p.exists()][:1]
    if not files:
        raise ValueError(
            "load_words: paths must name a word list (none is installed; e.g. hunspell-en-us)"
        )
    plain: dict[str, float] = {}
    weighted: dict[str, float] = {}
    for file in files:
        # Dictionaries come in many encodings; words that are not ASCII are left out anyway.
        text = file.read_text(encoding="utf-8", errors="replace")
        if "\0" in text:
            raise ValueError(f"load_words: paths must be text, got a binary file, {file}")
        for line in text.splitlines():
            entry, tab, weight = line.partition("\t")
            word = entry.split("/")[0].strip()
            if 1 < len(word) <= MAX_SYMBOLS and word.isascii() and word.replace("'", "").isalnum():
                if tab:
                    weighted[word] = weighted.get(word, 0.0) + _weight(weight, file, word)
                else:
                    plain[word] = 1.0
    words = {word: plain.get(word, 0.0) + weighted.get(word, 0.0) for word in {**plain, **weighted}}
    if not words:
        raise ValueError(f"load_words: paths must hold words, got none in {files}")
    return dict(sorted(words.items()))


def _weight(text: str, file: Path, word: str) -> float:
    try:
        weight = float(text)
    except ValueError:
        weight = math.nan
    if not 0 < weight < math.inf:
        raise ValueError(
            f"load_words: paths must give a number above 0 after a tab, got {text!r} "
            f"for {word!r} in {file}"
        )
    return weight


Generator = np.random.Generator


def _pick(rng: Generator, options: str) -> str:
    return options[int(rng.integers(len(options)))]


def _digits(rng: Generator, low: int, high: int) -> str:
    return "".join(_pick(rng, string.digits) for _ in range(int(rng.integers(low, high + 1))))


def _number(rng: Generator) -> str:
    digits = _digits(rng, 1, 6)
    return digits + "%" if len(digits) < 4 and rng.random() < 0.1 else digits


def _price(rng: Generator) -> str:
    return f"{_pick(rng, '$$$£€')}{_digits(rng, 1, 3)}.{_digits(rng, 2, 2)}"


def _grouped(rng: Generator) -> str:
    joint = _pick(rng, "-./: ,")
    return joint.join(_digits(rng, 1, 4) for _ in range(int(rng.integers(2, 4)))).replace(" ", "")


def _code(rng: Generator) -> str:
    letters = "".join(_pick(rng, string.ascii_uppercase) for _ in range(int(rng.integers(1, 4))))
    parts = [letters, _digits(rng, 1, 4)]
    return "".join(parts if rng.random() < 0.7 else parts[::-1])


def _plate(rng: Generator) -> str:
    """Letters and digits in any order, as on number plates, product names and serial numbers."""
    return "".join(
        _pick(rng, string.digits if rng.random() < 0.45 else string.ascii_uppercase)
        for _ in range(int(rng.integers(4, 10)))
    )


def _letters(rng: Generator) -> str:
    """Random letters: what no dictionary holds, and the rare letters as often as the others.

    Every third text doubles one of its letters, which CTC finds hardest in narrow type.
    """
    source = string.ascii_uppercase if rng.random() < 0.6 else string.ascii_lowercase
    letters = [_pick(rng, source) for _ in range(int(rng.integers(1, 7)))]
    if len(letters) > 2 and rng.random() < 0.33:
        at = int(rng.integers(len(letters)))
        letters.insert(at, letters[at])
    return "".join(letters)


def _single(rng: Generator) -> str:
    return _pick(rng, string.digits + string.ascii_uppercase + string.ascii_lowercase)


def _clock(rng: Generator) -> str:
    hour = str(int(rng.integers(1, 13)))
    return (
        hour
        + (_pick(rng, ":.") + _digits(rng, 2, 2) if rng.random() < 0.4 else "")
        + (("am", "pm", "AM", "PM")[int(rng.integers(4))])
    )


def _ordinal(rng: Generator) -> str:
    return str(int(rng.integers(1, 100))) + ("st", "nd", "rd", "th")[int(rng.integers(4))]


SHORT = (
    *("a", "an", "and", "are", "as", "at", "be", "but", "by", "can", "do", "for", "from", "get"),
    *("go", "has", "have", "he", "her", "his", "how", "i", "if", "in", "is", "it", "its", "it's"),
    *("just", "me", "my", "new", "no", "not", "now", "of", "off", "on", "one", "or", "our", "out"),
    *("so", "the", "this", "to", "two", "up", "us", "we", "what", "who", "why", "will", "with"),
    *("you", "your", "all", "any", "day", "free", "here", "into", "sale", "open", "inn", "bar"),
    *("st", "rd", "ave", "co", "inc", "ltd"),
)


class TextSampler:
    """Draws the text of one sign.

    Args:
        words: dictionary words, or how often each is to be drawn (`load_words`). Words that are all
            drawn as often count as a dictionary's: the shorter ones are then preferred, as in use.
    """

    def __init__(self, words: Sequence[str] | Mapping[str, float]) -> None:
        self.words = list(words)
        weights = np.array(list(words.values()) if isinstance(words, Mapping) else [1.0])
        self._alike = bool((weights == weights[0]).all())
        self._word_weights = np.cumsum(weights)
        self._kinds: list[tuple[float, Callable[[Generator], str]]] = [
            (0.53, self._word),
            (0.16, self._short),
            (0.08, _letters),
            (0.02, _single),
            (0.08, _number),
            (0.03, _price),
            (0.03, _grouped),
            (0.02, _code),
            (0.015, _plate),
            (0.005, _clock),
            (0.01, _ordinal),
            (0.02, self._web),
            (0.01, self._joined),
        ]
        self._weights = np.cumsum([weight for weight, _ in self._kinds])

    def __call__(self, rng: Generator) -> str:
        """One text as it is drawn, with case and punctuation."""
        kind = int(np.searchsorted(self._weights, rng.random() * self._weights[-1]))
        text = self._kinds[kind][1](rng)
        if rng.random() < 0.08:
            text += _pick(rng, "...,,!?:;") * (1 if rng.random() < 0.8 else int(rng.integers(1, 4)))
        elif rng.random() < 0.03:
            text = {"'": "'{}'", '"': '"{}"', "(": "({})"}[_pick(rng, "'\"(")].format(text)
        return text

    def _word(self, rng: Generator) -> str:
        word = self._entry(rng)
        # A dictionary's words are longer than those in use: take the shorter of two, often.
        if self._alike:
            other = self._entry(rng)
            if len(other) < len(word) and rng.random() < 0.7:
                word = other
        if word.endswith("'s") and rng.random() < 0.8:  # expanded lists hold one for every noun
            word = word[:-2]
        return _cased(rng, word)

    def _entry(self, rng: Generator) -> str:
        if self._alike:
            return self.words[int(rng.integers(len(self.words)))]
        draw = rng.random() * self._word_weights[-1]
        return self.words[int(np.searchsorted(self._word_weights, draw, side="right"))]

    def _short(self, rng: Generator) -> str:
        return _cased(rng, SHORT[int(rng.integers(len(SHORT)))])

    def _web(self, rng: Generator) -> str:
        name = self._entry(rng)[:12].lower()
        return ("www.{}", "{}.com", "{}.org", "www.{}.com", "@{}", "#{}")[
            int(rng.integers(6))
        ].format(name)

    def _joined(self, rng: Generator) -> str:
        """Two short words of one sign: Shop&Dine, drive-in."""
        first, second = (SHORT[int(i)] for i in rng.integers(len(SHORT), size=2))
        return _cased(rng, first) + _pick(rng, "&-/+") + _cased(rng, second)


def _cased(rng: Generator, word: str) -> str:
    draw = rng.random()
    if draw < 0.42:
        return word.upper()
    if draw < 0.75:
        return word[:1].upper() + word[1:].lower()
    if draw < 0.97:
        return word.lower()
    return word

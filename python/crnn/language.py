"""Language models for a charset: made of a text file, or found."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import crnn_ext
from crnn.charset import Charset
from crnn.pretrained import language_model_file

_HELD_OUT = 20  # one line in so many


@dataclass(frozen=True)
class Texts:
    """How often each text came in a file: what a model may read from one image.

    Attributes:
        training: the texts of 19 in 20 lines.
        held_out: those of each twentieth line.
    """

    training: Counter[str]
    held_out: Counter[str]


def read_texts(
    path: str | os.PathLike[str],
    charset: Charset,
    progress: Callable[[int], object] = lambda count: None,
) -> Texts:
    """The texts of a UTF-8 file, spelt as `charset` does.

    A line is a text if the charset has a space or symbols of several characters. Otherwise its
    words are, each without the punctuation at its ends that the charset lacks. A charset that folds
    case gets them in lower case.

    Args:
        path: the file.
        charset: of the model that is to read.
        progress: called with the bytes of each line when it was read.

    Raises:
        ValueError: the file cannot be read, or is not UTF-8.
    """
    whole_lines = charset.multi_character or any(symbol.isspace() for symbol in charset.symbols)
    counts: tuple[Counter[str], Counter[str]] = (Counter(), Counter())
    number = 0
    try:
        with open(path, "rb") as file:
            for number, line in enumerate(file, 1):
                text = line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
                text = text.lower() if charset.fold_case else text
                found = counts[number % _HELD_OUT == 0]
                found.update(([text] if text else []) if whole_lines else text.split())
                progress(len(line))
    except OSError as error:
        raise ValueError(
            f"lm: text must be a readable file, got {os.fsdecode(path)} ({error.strerror})"
        ) from error
    except UnicodeDecodeError as error:
        raise ValueError(
            f"lm: text must be UTF-8, got {os.fsdecode(path)} (line {number}: {error})"
        ) from error
    if whole_lines:
        return Texts(*counts)
    return Texts(*(_trimmed(words, set(charset.symbols)) for words in counts))


def _trimmed(words: Counter[str], symbols: set[str]) -> Counter[str]:
    trimmed: Counter[str] = Counter()
    for word, count in words.items():
        outside = "".join(
            c for c in set(word) if c not in symbols and unicodedata.category(c)[0] in "PS"
        )
        trimmed[word.strip(outside) if outside else word] += count
    del trimmed[""]  # of nothing else
    return trimmed


def find_language_model(
    source: crnn_ext.LanguageModel | str | os.PathLike[str], charset: Charset
) -> crnn_ext.LanguageModel:
    """The model, one of the package by name, or that of a file of `crnn lm build`, for a charset.

    Raises:
        ValueError: an unknown name, a file that cannot be read or is damaged, or a model of other
            symbols.
    """
    if isinstance(source, crnn_ext.LanguageModel):
        model = source
    else:
        try:
            with language_model_file(source) as path:
                model = crnn_ext.LanguageModel.load(path)
        except OSError as error:
            raise ValueError(
                f"read: lm must be a readable file, got {os.fsdecode(source)} ({error.strerror})"
            ) from error
    if model.symbols != charset.symbols or model.blank != charset.blank:
        raise ValueError(
            f"read: lm must have the model's {len(charset)} symbols, "
            f"got {len(model.symbols)} others"
        )
    return model

"""From logits to symbols: lexicon-free or lexicon-based transcription (section 2.3)."""

from __future__ import annotations

import dataclasses
import math
import os
import typing
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias, TypedDict, cast

import torch
from torch import Tensor

import crnn_ext
from crnn.charset import Charset
from crnn.language import find_language_model

Method: TypeAlias = crnn_ext.LexiconMethod | Literal["greedy", "beam"]
#: The words of a lexicon, or the file of one; see `make_lexicon`.
Words: TypeAlias = "crnn_ext.Lexicon | str | os.PathLike[str] | Iterable[str] | None"
METHODS: tuple[Method, ...] = (*typing.get_args(crnn_ext.LexiconMethod), "greedy", "beam")

#: How far a reading's posterior may lie below its true value: looking on for words that could
#: lower it takes several times as long as finding the best word.
POSTERIOR_TOLERANCE = 0.05
_SAVED = b"CRNNLEX\0"  # how a file of `crnn_ext.Lexicon.save` begins


class ReadOptions(TypedDict, total=False):
    """The options of `crnn.Recognizer.read`, described there."""

    batch_size: int
    lexicon: Words
    method: Method | None
    delta: int
    beam: Beam | None
    alternatives: int
    min_confidence: float
    strict: bool | None


class Decoded(NamedTuple):
    """The classes read in one sample.

    `posterior` is their probability among the lexicon's words; `confidence` that among all texts,
    where it is not p(labels | y).
    """

    labels: list[int]
    posterior: float | None = None
    confidence: float | None = None


@dataclass(frozen=True)
class Transcript:
    """What was read in one sample.

    Attributes:
        labels: the classes read.
        alignment: where they lie in the frames, and p(labels | y).
        confidences: of each label, its probability if all others are right.
        alternatives: for each label the most probable other classes in its place, best first,
            and their probabilities; the blank stands for no label there.
        confidence: p(labels | y), equation 1; with a language model see `Beam.decode`.
        posterior: p(labels | y) among the words of the lexicon; None without one.
    """

    labels: list[int]
    alignment: crnn_ext.Alignment
    confidences: list[float]
    alternatives: list[list[tuple[int, float]]]
    confidence: float
    posterior: float | None = None


@dataclass(frozen=True)
class Beam:
    """How the method "beam" searches, see `crnn_ext.beam_decode`.

    Attributes:
        width: prefixes kept after each frame, at least 1.
        lm: a language model for the charset, one of the package ("english"), or a file of `crnn lm
            build`.
        lm_weight: how much it counts beside the image, in [0, 10].
        lm_unknown: the part of all texts that it knows nothing of, in [0, 1].
        symbol_bonus: added to the score for each symbol, in [-10, 10], against the language model's
            liking of short texts.
        free: with a lexicon, the symbols that may stand between its words.
    """

    width: int = 16
    lm: crnn_ext.LanguageModel | str | os.PathLike[str] | None = None
    lm_weight: float = 0.2
    lm_unknown: float = 0.1
    symbol_bonus: float = 0.0
    free: Sequence[str] = ()

    def loaded(self, charset: Charset) -> Beam:
        """The same with the language model itself, so that its file is opened once.

        Raises:
            ValueError: the file cannot be read, or the model is for another charset.
        """
        if self.lm is None:
            return self
        return dataclasses.replace(self, lm=find_language_model(self.lm, charset))

    def decode(
        self,
        charset: Charset,
        lexicon: crnn_ext.Lexicon | None,
        log_probs: Tensor,
        lengths: Tensor,
        n_best: int = 1,
    ) -> list[list[Decoded]]:
        """The best labels of each sample of ``log_probs [T, N, C]``, best first.

        Their confidence is p(l | y) or, with a language model, the share of their score among those
        of the last beam, times p(l | y) of these together: other texts may be there as well.

        Raises:
            ValueError: as `loaded`; an option is out of range or does not fit the charset.
        """
        lm = None if self.lm is None else find_language_model(self.lm, charset)
        found = crnn_ext.beam_decode(
            log_probs, lengths, charset.blank, beam=self.width,
            n_best=n_best if lm is None else self.width + 1, lm=lm, lm_weight=self.lm_weight,
            lm_unknown=self.lm_unknown, symbol_bonus=self.symbol_bonus, lexicon=lexicon,
            free=self.free,
        )  # fmt: skip
        decoded = []
        for results in found:
            probabilities = [min(1.0, math.exp(result.log_prob)) for result in results]
            if lm is not None and len(results) > 1:
                scores = [math.exp(result.score - results[0].score) for result in results]
                factor = min(1.0, sum(probabilities)) / sum(scores)
                probabilities = [factor * score for score in scores]
            pairs = zip(results, probabilities, strict=True)
            decoded.append([Decoded(r.labels, confidence=p) for r, p in pairs][:n_best])
        return decoded


@dataclass(frozen=True)
class Transcriber:
    """Reads logits with a charset, and with a lexicon if there is one.

    Attributes:
        charset: the symbols of the classes.
        lexicon: the words that may be read; None for any text.
        method: with a lexicon see `crnn_ext.Lexicon.decode`; without one all read the most probable
            path, as "greedy" says, but "beam", see `Beam`.
        delta: of "bk-tree".
        alternatives: how many are wanted for each label.
        temperature: see `crnn.checkpoint.Checkpoint`.
        beam: options of the method "beam".

    Raises:
        ValueError: an option is out of range, or a language model or lexicon of other symbols.
    """

    charset: Charset
    lexicon: crnn_ext.Lexicon | None = None
    method: Method = "exact"
    delta: int = 3
    alternatives: int = 0
    temperature: float = 1.0
    beam: Beam = field(default_factory=Beam)

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            known = "'exact', 'bk-tree', 'exhaustive', 'greedy' or 'beam'"
            raise ValueError(f"read: method must be {known}, got {self.method!r}")
        if self.method == "greedy" and self.lexicon is not None:
            raise ValueError("read: method must search the lexicon, got 'greedy'")
        if self.delta < 0:
            raise ValueError(f"read: delta must be at least 0, got {self.delta}")
        if self.alternatives < 0:
            raise ValueError(f"read: alternatives must be at least 0, got {self.alternatives}")
        if self.method == "beam":
            object.__setattr__(self, "beam", self.beam.loaded(self.charset))
            nothing = torch.zeros(0, 0, self.charset.num_classes)
            self.beam.decode(self.charset, self.lexicon, nothing, torch.zeros(0, dtype=torch.int64))

    def __call__(self, logits: Tensor, lengths: Tensor) -> list[Transcript | None]:
        """Read every sample.

        Args:
            logits: ``[T, N, C]`` float32.
            lengths: ``[N]`` int64, at least 1: the true frames of each sample.

        Returns:
            A transcript of each sample; None where a frame holds NaN or infinity.
        """
        log_probs, sound = self.log_probs(logits, lengths)
        transcripts = self.place(self.decode(log_probs, lengths), log_probs, lengths)
        return [t if ok else None for t, ok in zip(transcripts, sound, strict=True)]

    def decode(self, log_probs: Tensor, lengths: Tensor) -> list[Decoded]:
        """What is read in each sample of ``log_probs [T, N, C]``."""
        if self.method == "beam":
            found = self.beam.decode(self.charset, self.lexicon, log_probs, lengths)
            return [best for best, *_ in found]
        if self.lexicon is None:
            greedy = crnn_ext.greedy_decode(log_probs, lengths, self.charset.blank)
            return [Decoded(result.labels) for result in greedy]
        method = cast("crnn_ext.LexiconMethod", self.method)
        words = self.lexicon.decode(
            log_probs, lengths, method, delta=self.delta, tolerance=POSTERIOR_TOLERANCE
        )
        return [Decoded(result.labels, result.posterior) for result in words]

    def log_probs(self, logits: Tensor, lengths: Tensor) -> tuple[Tensor, list[bool]]:
        """``[T, N, C]`` log-probabilities, and whether each sample's frames are all finite.

        Frames of a sample that is not sound are uniform.
        """
        beyond = torch.arange(len(logits))[:, None] >= lengths
        sound = (logits.isfinite().all(2) | beyond).all(0)
        logits = logits.masked_fill(~sound[:, None], 0.0) / self.temperature
        return logits.log_softmax(2), sound.tolist()

    def place(self, decoded: list[Decoded], log_probs: Tensor, lengths: Tensor) -> list[Transcript]:
        """The transcript of each sample that is to read the given labels."""
        blank = self.charset.blank
        labels = [item.labels for item in decoded]
        alignments = crnn_ext.align(log_probs, labels, lengths, blank)
        replaced = crnn_ext.replacement_log_probs(log_probs, labels, lengths, blank)
        return [
            Transcript(
                item.labels, alignment, *self._choices(item.labels, scores.softmax(1)),
                min(1.0, math.exp(alignment.log_prob))
                if item.confidence is None else item.confidence,
                item.posterior,
            )
            for item, alignment, scores in zip(decoded, alignments, replaced, strict=True)
        ]  # fmt: skip

    def _choices(
        self, label: list[int], choices: Tensor
    ) -> tuple[list[float], list[list[tuple[int, float]]]]:
        """Confidences and alternatives, from the probability ``[L, C]`` of each class."""
        own = torch.tensor(label, dtype=torch.int64)[:, None]
        confidences = choices.gather(1, own)[:, 0].tolist()
        count = min(self.alternatives, choices.shape[1] - 1)
        best = choices.scatter(1, own, -1.0).topk(count)
        rows = zip(best.indices.tolist(), best.values.tolist(), strict=True)
        return confidences, [list(zip(*row, strict=True)) for row in rows]


def make_lexicon(
    words: crnn_ext.Lexicon | str | os.PathLike[str] | Iterable[str], charset: Charset
) -> crnn_ext.Lexicon:
    """A lexicon for a charset.

    Args:
        words: the words, or the path of a UTF-8 file of one word a line or of a lexicon that
            `crnn_ext.Lexicon.save` wrote; a lexicon is returned as it is. With a charset that folds
            case, words are lower-cased. Words with a symbol that the charset lacks are left out
            (`crnn_ext.Lexicon.skipped`).
        charset: of the model that is to read them.

    Raises:
        ValueError: the file cannot be read, or no word is left; or the lexicon has other symbols.
    """
    if isinstance(words, (str, os.PathLike)):
        words = _read_file(os.fspath(words))
    if isinstance(words, crnn_ext.Lexicon):
        if words.symbols != charset.symbols or words.blank != charset.blank:
            raise ValueError(
                f"read: lexicon must have the model's {len(charset)} symbols, "
                f"got {len(words.symbols)} others"
            )
        return words
    if charset.fold_case:
        words = (word.lower() if isinstance(word, str) else word for word in words)
    return crnn_ext.Lexicon(words, charset.symbols, charset.blank, unknown="skip")


def _read_file(path: str) -> crnn_ext.Lexicon | list[str]:
    """A saved lexicon, or the lines of a text that are not empty."""
    try:
        with open(path, "rb") as file:
            if file.read(len(_SAVED)) == _SAVED:
                return crnn_ext.Lexicon.load(path)
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise ValueError(
            f"read: lexicon must be a readable file, got {path} ({error.strerror})"
        ) from error
    except UnicodeDecodeError as error:
        raise ValueError(f"read: lexicon must be UTF-8 text, got {path} ({error})") from error
    return [line.strip() for line in lines if line.strip()]

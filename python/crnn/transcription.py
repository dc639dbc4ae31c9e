"""From logits to symbols: lexicon-free or lexicon-based transcription (section 2.3)."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

import crnn_ext
from crnn.alignment import align
from crnn.charset import Charset

_SAVED = b"CRNNLEX\0"  # how a file of `crnn_ext.Lexicon.save` begins


@dataclass(frozen=True)
class Transcript:
    """What was read in one sample.

    Attributes:
        labels: the classes read.
        probability: p(labels | y), equation 1.
        spans: for each label its frames [start, end).
        peaks: for each label its highest probability within its span.
    """

    labels: list[int]
    probability: float
    spans: list[tuple[int, int]]
    peaks: list[float]


@dataclass(frozen=True)
class Transcriber:
    """Reads logits with a charset, and with a lexicon if there is one.

    Attributes:
        charset: the symbols of the classes.
        lexicon: the words that may be read; None for any text.
        method: see `crnn_ext.Lexicon.decode`.
        delta: likewise.
    """

    charset: Charset
    lexicon: crnn_ext.Lexicon | None = None
    method: crnn_ext.LexiconMethod = "exact"
    delta: int = 3

    def __call__(self, logits: Tensor, lengths: Tensor) -> list[Transcript | None]:
        """Read every sample.

        Args:
            logits: ``[T, N, C]`` float32.
            lengths: ``[N]`` int64, at least 1: the true frames of each sample.

        Returns:
            A transcript of each sample; None where a frame holds NaN or infinity.
        """
        beyond = torch.arange(len(logits))[:, None] >= lengths
        sound = (logits.isfinite().all(2) | beyond).all(0)
        logits = logits.masked_fill(~sound[:, None], 0.0)
        log_probs = logits.log_softmax(2)
        if self.lexicon is None:
            transcripts = self._any_text(logits, log_probs, lengths)
        else:
            transcripts = self._words(self.lexicon, log_probs, lengths)
        return [t if ok else None for t, ok in zip(transcripts, sound.tolist(), strict=True)]

    def _any_text(self, logits: Tensor, log_probs: Tensor, lengths: Tensor) -> list[Transcript]:
        blank = self.charset.blank
        results = crnn_ext.greedy_decode(log_probs, lengths, blank=blank)
        label_lengths = torch.tensor([len(result.labels) for result in results])
        targets = torch.cat([torch.tensor(r.labels, dtype=torch.int64) for r in results])
        losses = crnn_ext.ctc_loss(
            logits, targets, lengths, label_lengths, blank, "none", from_logits=True
        )
        probabilities = losses.neg().exp().clamp(0.0, 1.0).tolist()
        return [
            Transcript(r.labels, p, r.spans, _peaks(log_probs[:, i], r.labels, r.spans))
            for i, (r, p) in enumerate(zip(results, probabilities, strict=True))
        ]

    def _words(
        self, lexicon: crnn_ext.Lexicon, log_probs: Tensor, lengths: Tensor
    ) -> list[Transcript]:
        # The word alone is wanted: "exact" need not search on for its posterior or a runner-up.
        results = lexicon.decode(log_probs, lengths, self.method, delta=self.delta, tolerance=None)
        transcripts = []
        for i, result in enumerate(results):
            frames = log_probs[: int(lengths[i]), i]
            spans = align(frames.numpy(), result.labels, self.charset.blank)
            probability = min(1.0, math.exp(result.log_prob))
            peaks = _peaks(frames, result.labels, spans)
            transcripts.append(Transcript(result.labels, probability, spans, peaks))
        return transcripts


def _peaks(log_probs: Tensor, labels: list[int], spans: list[tuple[int, int]]) -> list[float]:
    """The highest probability of each label within its span; ``log_probs [T, C]``."""
    return [
        min(1.0, math.exp(float(log_probs[start:end, label].max())))
        for label, (start, end) in zip(labels, spans, strict=True)
    ]


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

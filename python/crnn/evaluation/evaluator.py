"""`evaluate`: read a data set once, transcribe it in one or several ways, and score each."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

from torch import Tensor

from crnn.charset import Charset
from crnn.data import Dataset
from crnn.evaluation.frames import Labelled, logits_of, scored
from crnn.evaluation.protocols import PROTOCOLS, Protocol
from crnn.evaluation.score import Outcome, Score
from crnn.recognizer import Recognizer
from crnn.transcription import POSTERIOR_TOLERANCE, Beam, Method
from crnn_ext import Lexicon, LexiconMethod

_LEXICONS_KEPT = 64  # the words of one photograph in SVT share a lexicon


@dataclass(frozen=True)
class Search:
    """How readings are searched for: among all, or restricted to a lexicon.

    Attributes:
        lexicon: "none"; the name of a lexicon that each image has ("50", "1k"), or "image" for
            the smallest of them; "full" for all those words together, or for all labels where
            there are none; or a file of one word a line.
        method, delta: see `crnn_ext.Lexicon.decode`; without a lexicon the network's most probable
            path is read. "beam", with or without a lexicon: see `crnn.Beam`.
        beam: of "beam".
        tolerance: see `crnn_ext.Lexicon.decode`; with None confidences are only lower bounds of the
            words' posteriors, but the search is over as soon as the word is certain.
    """

    lexicon: str = "none"
    method: Method = "exact"
    delta: int = 3
    beam: Beam = field(default_factory=Beam)
    tolerance: float | None = POSTERIOR_TOLERANCE

    def __post_init__(self) -> None:
        if self.method == "greedy" and self.lexicon != "none":
            raise ValueError("eval: method must search the lexicon, got 'greedy'")

    @property
    def name(self) -> str:
        """The method with its parameters; nothing for greedy reading."""
        if self.method == "beam":
            weight = "" if self.beam.lm is None else f", lm weight {self.beam.lm_weight:g}"
            return f"beam {self.beam.width}{weight}"
        if self.lexicon == "none":
            return ""
        return f"bk-tree delta={self.delta}" if self.method == "bk-tree" else self.method


class _Words:
    """The lexicon of each sample, for the model's charset, as the protocol compares words."""

    def __init__(
        self,
        search: Search,
        dataset: Dataset,
        samples: Sequence[Labelled],
        protocol: Protocol,
        recognizer: Recognizer,
    ) -> None:
        self.protocol, self.charset, self.dataset = protocol, recognizer.charset, dataset
        self.kept: dict[tuple[str, ...], tuple[Lexicon | None, frozenset[str]]] = {}
        self.shared: tuple[Lexicon | None, frozenset[str]] | None = None
        self.name = search.lexicon
        if self.name == "image":
            if not dataset.lexicons:
                raise ValueError(
                    f"eval: {dataset.source} must have a lexicon for each image, got none"
                )
            self.name = dataset.lexicons[0]
        if self.name == "full":
            self.shared = self._shared(_all_words(dataset, samples))
        elif self.name not in dataset.lexicons:
            self.shared = self._shared(_words_of_file(self.name, dataset))

    def __call__(self, index: int) -> tuple[Lexicon | None, frozenset[str]]:
        """The lexicon of sample `index` and its words as compared."""
        if self.shared is not None:
            return self.shared
        words = self.dataset.lexicon(index, self.name)
        if words not in self.kept:
            if len(self.kept) >= _LEXICONS_KEPT:
                self.kept.pop(next(iter(self.kept)))
            self.kept[words] = self._make(words)
        return self.kept[words]

    def _shared(self, words: Sequence[str]) -> tuple[Lexicon | None, frozenset[str]]:
        made = self._make(words)
        if made[0] is None:
            raise ValueError(
                f"eval: lexicon {self.name} must hold a word that the model can write, got none"
            )
        return made

    def _make(self, words: Sequence[str]) -> tuple[Lexicon | None, frozenset[str]]:
        spelt = {spelling: None for word in words for spelling in self._spellings(word)}
        readable = [word for word in spelt if not self.charset.unknown(word)]
        # An image without a word that the model can write cannot be read with its lexicon.
        lexicon = Lexicon(readable, self.charset.symbols, self.charset.blank) if readable else None
        return lexicon, frozenset(map(self.protocol.normalise, words))

    def _spellings(self, word: str) -> list[str]:
        """How a model may write `word`: lists give one case where images have any."""
        if not self.protocol.fold_case:
            return [word]
        known = word if self.charset.multi_character else self.protocol.normalise(word)
        if self.charset.fold_case:
            return [known] if known else []
        return [word, word.lower(), word.upper(), word.capitalize()]


def _all_words(dataset: Dataset, samples: Sequence[Labelled]) -> list[str]:
    if not dataset.lexicons:
        return list(dict.fromkeys(sample.label for sample in samples))
    name = dataset.lexicons[0]
    words = (dataset.lexicon(sample.index, name) for sample in samples)
    return list(dict.fromkeys(itertools.chain.from_iterable(words)))


def _words_of_file(path: str, dataset: Dataset) -> list[str]:
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        known = ", ".join(("none", "image", "full", *dataset.lexicons))
        raise ValueError(
            f"eval: lexicon must be one of {known}, or a readable text file, got {error}"
        ) from error
    return [line.strip() for line in lines if line.strip()]


def evaluate(
    recognizer: Recognizer,
    dataset: Dataset,
    protocol: Protocol = PROTOCOLS["36"],
    searches: Sequence[Search] = (Search(),),
    *,
    data: str = "",
    model: str = "",
    batch_size: int = 64,
    progress: Callable[[int], object] = lambda count: None,
) -> list[Score]:
    """Read `dataset` and score it under `protocol`, once for each of `searches`.

    The network runs once; every search transcribes the same logits.

    Args:
        recognizer: the model.
        dataset: what to read.
        protocol: what is scored, and how texts are compared.
        searches: lexicon-free, or with lexicons.
        data, model: names for the scores.
        batch_size: images of a batch; changes no result.
        progress: called after each batch with its number of images.

    Raises:
        ValueError: a lexicon cannot be had, a listed image is not in the data set, or the
            protocol is a list that is not given.
    """
    samples, skipped = scored(dataset, protocol)
    charset = recognizer.charset
    searches = [replace(search, beam=search.beam.loaded(charset)) for search in searches]
    words = [
        None if search.lexicon == "none" else _Words(search, dataset, samples, protocol, recognizer)
        for search in searches
    ]
    outcomes: list[dict[int, Outcome]] = [{} for _ in searches]
    network_seconds, search_seconds = 0.0, [0.0] * len(searches)
    started = time.perf_counter()
    for batch, logits, lengths, errors in logits_of(recognizer, dataset, samples, batch_size):
        network_seconds += time.perf_counter() - started
        for k, (search, lexicon) in enumerate(zip(searches, words, strict=True)):
            started = time.perf_counter()
            readings = _transcribe(recognizer, search, lexicon, batch, logits, lengths)
            search_seconds[k] += time.perf_counter() - started
            for sample, reading in zip(batch, readings, strict=True):
                error = errors.get(sample.index)
                text, confidence = reading if error is None else ("", 0.0)
                outcomes[k][sample.index] = _outcome(
                    protocol, lexicon, sample, text, confidence, error
                )
        progress(len(batch))
        started = time.perf_counter()
    name = protocol.name if protocol.digest is None else f"{protocol.name} {protocol.digest}"
    return [
        Score(
            data or dataset.source, model, name,
            search.lexicon if lexicon is None else lexicon.name, search.name,
            tuple(outcomes[k][sample.index] for sample in samples),
            skipped, protocol.count, network_seconds, search_seconds[k], protocol.spaced,
        )
        for k, (search, lexicon) in enumerate(zip(searches, words, strict=True))
    ]  # fmt: skip


def _outcome(
    protocol: Protocol,
    words: _Words | None,
    sample: Labelled,
    reading: str,
    confidence: float,
    error: str | None,
) -> Outcome:
    truth = protocol.normalise(sample.label)
    return Outcome(
        sample.name, sample.label, reading, truth, protocol.normalise(reading), confidence, error,
        words is None or truth in words(sample.index)[1],
    )  # fmt: skip


def _transcribe(
    recognizer: Recognizer,
    search: Search,
    words: _Words | None,
    batch: Sequence[Labelled],
    logits: Tensor,
    lengths: Tensor,
) -> list[tuple[str, float]]:
    """Text and probability of each sample; with a lexicon, that among its words."""
    if not len(logits):
        return [("", 0.0) for _ in batch]
    charset = recognizer.charset
    if words is None:
        beam = search.beam if search.method == "beam" else None
        transcriber = recognizer.transcriber(method=search.method, beam=beam)
        transcripts = transcriber(logits, lengths)
        return [(charset.decode(t.labels), t.confidence) for t in transcripts if t is not None]
    log_probs, _ = recognizer.transcriber().log_probs(logits, lengths)
    if words.shared is not None:
        return _decode(words.shared[0], search, log_probs, lengths, charset)
    readings = []
    for i, sample in enumerate(batch):
        frames = log_probs[:, i : i + 1]
        lexicon = words(sample.index)[0]
        readings += _decode(lexicon, search, frames, lengths[i : i + 1], charset)
    return readings


def _decode(
    lexicon: Lexicon | None, search: Search, log_probs: Tensor, lengths: Tensor, charset: Charset
) -> list[tuple[str, float]]:
    if lexicon is None:
        return [("", 0.0)]
    if search.method == "beam":
        beams = search.beam.decode(charset, lexicon, log_probs, lengths)
        return [(charset.decode(best.labels), best.confidence or 0.0) for best, *_ in beams]
    method = cast("LexiconMethod", search.method)
    results = lexicon.decode(
        log_probs, lengths, method, delta=search.delta, tolerance=search.tolerance
    )
    return [(charset.decode(r.labels), r.posterior) for r in results]

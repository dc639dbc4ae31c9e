"""How good and how quick each search of one's own lexicon is, on one's own images."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from crnn import images
from crnn.data import Dataset
from crnn.evaluation.frames import logits_of, scored
from crnn.evaluation.protocols import Protocol
from crnn.images import ImageError, Source
from crnn.recognizer import Recognizer
from crnn.sources import expand
from crnn_ext import Lexicon, LexiconMethod

_PREFERRED = 2.0  # by how much the logit of a wrong symbol exceeds that of the right one
_LEAST_FRAMES = 26  # of a made-up word, as of an image of 100 pixels


@dataclass(frozen=True)
class Frames:
    """What the network says of one image.

    Attributes:
        log_probs: ``[T, C]`` float32.
        truths: the spellings that count as right; None where they are not known.
    """

    log_probs: Tensor
    truths: frozenset[str] | None


@dataclass(frozen=True)
class SearchFigures:
    """One way to search a lexicon.

    Attributes:
        method: "exact", "exhaustive" or "bk-tree".
        delta: of "bk-tree", else None.
        recall: share of images on which it finds the word that "exhaustive" finds.
        accuracy: share of images with a known truth that are read right; None if there are none.
        words: that it scores, in the median.
        seconds, p95: median and 95th percentile of one image, one a call.
    """

    method: LexiconMethod
    delta: int | None
    recall: float
    accuracy: float | None
    words: float
    seconds: float
    p95: float

    @property
    def name(self) -> str:
        """The method with its parameter."""
        return self.method if self.delta is None else f"{self.method} delta={self.delta}"


def search_figures(
    lexicon: Lexicon,
    samples: Sequence[Frames],
    *,
    deltas: Sequence[int] = range(6),
    rounds: int = 3,
    progress: Callable[[int], object] = lambda count: None,
) -> list[SearchFigures]:
    """Every method on every sample: "bk-tree" of each delta, "exact", "exhaustive".

    The methods take turns on a sample, so that a change of the machine's speed touches all; the
    time of a sample is the median of its rounds. Words are searched alone, without a posterior.

    Raises:
        ValueError: no samples.
    """
    if not samples:
        raise ValueError("lexicon bench: images must hold one that can be read, got none")
    searches: list[tuple[LexiconMethod, int | None]] = [("bk-tree", delta) for delta in deltas]
    searches += [("exact", None), ("exhaustive", None)]
    seconds: list[list[float]] = [[] for _ in searches]
    words: list[list[str | None]] = [[] for _ in searches]
    looked_at: list[list[int]] = [[] for _ in searches]
    for sample in samples:
        for k, (method, delta) in enumerate(searches):
            times = []
            for _ in range(rounds):
                begin = time.perf_counter()
                (result,) = lexicon.decode(
                    sample.log_probs, method=method, delta=delta or 0, tolerance=None
                )
                times.append(time.perf_counter() - begin)
            seconds[k].append(statistics.median(times))
            words[k].append(result.word)
            looked_at[k].append(result.candidates)
        progress(1)
    return [
        SearchFigures(
            method,
            delta,
            statistics.fmean(a == b for a, b in zip(words[k], words[-1], strict=True)),
            _accuracy(words[k], samples),
            statistics.median(looked_at[k]),
            statistics.median(seconds[k]),
            float(np.quantile(seconds[k], 0.95)),
        )
        for k, (method, delta) in enumerate(searches)
    ]


def _accuracy(words: Sequence[str | None], samples: Sequence[Frames]) -> float | None:
    right = [
        word in sample.truths
        for word, sample in zip(words, samples, strict=True)
        if sample.truths is not None
    ]
    return statistics.fmean(right) if right else None


def frames_of_data(
    recognizer: Recognizer, dataset: Dataset, lexicon: Lexicon, protocol: Protocol, count: int
) -> tuple[list[Frames], int]:
    """At most `count` samples of a data set, spread evenly; and how many could not be read.

    A word of the lexicon is right if the protocol does not tell it from the label.
    """
    samples, _ = scored(dataset, protocol)
    if count < len(samples):
        samples = [samples[i * len(samples) // count] for i in range(count)]
    spellings: dict[str, list[str]] = {}
    for word in lexicon:
        spellings.setdefault(protocol.normalise(word), []).append(word)
    found, failed = [], 0
    transcriber = recognizer.transcriber()
    for batch, logits, lengths, errors in logits_of(recognizer, dataset, samples, 64):
        log_probs, _ = transcriber.log_probs(logits, lengths)
        for i, sample in enumerate(batch):
            if sample.index in errors:
                failed += 1
                continue
            truths = frozenset(spellings.get(protocol.normalise(sample.label), ()))
            found.append(Frames(log_probs[: int(lengths[i]), i].clone(), truths))
    return found, failed


def frames_of_images(
    recognizer: Recognizer, sources: Iterable[Source], count: int
) -> tuple[list[Frames], int]:
    """The first `count` images that can be read, of unknown truth; and how many could not be."""
    found: list[Frames] = []
    failed = 0
    transcriber = recognizer.transcriber()
    for name, source in expand(sources):
        if len(found) == count:
            break
        try:
            if isinstance(source, ImageError):
                raise source
            item = recognizer.prepare(images.load(source, name))
            log_probs, _ = recognizer.transcript(item, transcriber, name)
        except ImageError:
            failed += 1
            continue
        found.append(Frames(log_probs.clone(), None))
    return found, failed


def made_up_frames(
    lexicon: Lexicon,
    words: Sequence[str],
    boost: float,
    noise: float,
    count: int,
    confused: float = 0.0,
) -> list[Frames]:
    """Frames of random words, always the same: labels spread evenly, blanks between, over noise.

    Args:
        lexicon: says how words are spelt in classes.
        words: to draw from.
        boost: by how much the logits of the word's path are raised.
        noise: standard deviation of all logits.
        count: how many.
        confused: probability that a symbol looks more like some other one, as a network's errors
            do: sure of most symbols, wrong in a few.
    """
    generator, rng = torch.Generator().manual_seed(0), random.Random(1)
    classes = len(lexicon.symbols) + 1
    labels = [c for c in range(classes) if c != lexicon.blank]
    class_of = dict(zip(lexicon.symbols, labels, strict=True))
    spaced = any(len(symbol) > 1 for symbol in lexicon.symbols)
    samples = []
    for word in rng.choices(words, k=count):
        symbols = word.split() if spaced else list(word)
        frames = max(_LEAST_FRAMES, 2 * len(symbols) + 1)
        logits = torch.randn(frames, classes, generator=generator) * noise
        path = torch.full((frames,), lexicon.blank)
        for i, symbol in enumerate(symbols):
            frame = (2 * i + 1) * frames // (2 * len(symbols) + 1)
            path[frame] = class_of[symbol]
            if confused and rng.random() < confused:
                logits[frame, rng.choice(labels)] += boost + _PREFERRED
        logits[range(frames), path] += boost
        samples.append(Frames(logits.log_softmax(1), frozenset({word})))
    return samples

"""Temperature scaling (Guo et al. 2017): one number that makes confidences mean what they say.

The confidence of a reading is p(l|y), equation 1 of the CRNN paper, of the frames' probabilities
softmax(logits / temperature). The temperature changes no reading without a lexicon, since the best
class of a frame stays the best; it minimises the log loss of "this reading is right".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from crnn.data import Dataset
from crnn.evaluation.confidence import Confidence
from crnn.evaluation.frames import logits_of, scored
from crnn.evaluation.protocols import Protocol
from crnn.recognizer import Recognizer
from crnn.synth.dataset import SyntheticImages
from crnn_ext import ctc_loss, greedy_decode

LEAST = 50  # readings to fit
_RANGE = (0.1, 10.0)  # where a temperature is looked for
_CHUNK = 256  # samples that are scored together, of similar length
_SURE = 1e-12  # the least 1 - p: a wrong reading that is quite sure costs no more than 27.6


class Drawn(Dataset):
    """Synthetic images as a data set; all are drawn at once.

    Args:
        images: the stream.
        count: how many of it.
        progress: called after each image with 1.
    """

    def __init__(
        self,
        images: SyntheticImages,
        count: int,
        progress: Callable[[int], object] = lambda count: None,
    ) -> None:
        self.source, self.kind = f"synthetic images of seed {images.seed}", "synthetic"
        self._samples = []
        for i in range(count):
            pixels, label = images.sample(i)
            self._samples.append((Image.fromarray(pixels), label))
            progress(1)

    def __len__(self) -> int:
        return len(self._samples)

    def name(self, index: int) -> str:
        """Its number."""
        return f"synthetic {index}"

    def label(self, index: int) -> str:
        """What it says."""
        return self._samples[index][1]

    def image(self, index: int) -> Image.Image:
        """What was drawn."""
        return self._samples[index][0]


@dataclass(frozen=True)
class Readings:
    """Greedy readings, ready to have their confidence computed at any temperature.

    Attributes:
        chunks: logits ``[T, N, C]`` float64, lengths ``[N]``, labels and their lengths.
        right: of each reading in the order of the chunks, whether it is right.
    """

    chunks: tuple[tuple[Tensor, Tensor, Tensor, Tensor], ...]
    right: Tensor

    @classmethod
    def of(
        cls,
        recognizer: Recognizer,
        dataset: Dataset,
        protocol: Protocol,
        count: int = 0,
        progress: Callable[[int], object] = lambda count: None,
    ) -> Readings:
        """Read a data set; images that cannot be read are left out.

        Args:
            recognizer: the model; its own temperature does not matter.
            dataset: labelled images.
            protocol: what is scored, and which readings are right.
            count: read at most so many, spread evenly over the data set; 0 for all.
            progress: called after each batch with its number of images.

        Raises:
            ValueError: see `crnn.evaluation.frames.scored`.
        """
        samples, _ = scored(dataset, protocol)
        if 0 < count < len(samples):
            samples = [samples[i * len(samples) // count] for i in range(count)]
        read: list[tuple[Tensor, str]] = []
        for batch, logits, lengths, errors in logits_of(recognizer, dataset, samples, 64):
            read += [
                (logits[: int(lengths[i]), i].double(), sample.label)
                for i, sample in enumerate(batch)
                if sample.index not in errors
            ]
            progress(len(batch))
        read.sort(key=lambda item: len(item[0]))
        chunks, right = [], []
        for start in range(0, len(read), _CHUNK):
            frames = [item[0] for item in read[start : start + _CHUNK]]
            padded, lengths = pad_sequence(frames), torch.tensor([len(x) for x in frames])
            labels = [r.labels for r in greedy_decode(padded.log_softmax(2), lengths)]
            flat = torch.tensor([c for label in labels for c in label], dtype=torch.int64)
            chunks.append((padded, lengths, flat, torch.tensor([len(label) for label in labels])))
            right += [
                protocol.normalise(recognizer.charset.decode(label)) == protocol.normalise(truth)
                for label, (_, truth) in zip(labels, read[start : start + _CHUNK], strict=True)
            ]
        return cls(tuple(chunks), torch.tensor(right, dtype=torch.bool))

    @classmethod
    def joined(cls, parts: Sequence[Readings]) -> Readings:
        """Those of several data sets."""
        chunks = tuple(chunk for part in parts for chunk in part.chunks)
        return cls(chunks, torch.cat([part.right for part in parts]))

    def __len__(self) -> int:
        return len(self.right)

    def _losses(self, temperature: float) -> Tensor:
        """-log p(reading | image), ``[N]``."""
        if not self.chunks:
            return torch.zeros(0, dtype=torch.float64)
        parts = [
            ctc_loss(
                logits / temperature, labels, lengths, label_lengths,
                reduction="none", from_logits=True,
            )
            for logits, lengths, labels, label_lengths in self.chunks
        ]  # fmt: skip
        return torch.cat(parts).clamp(min=0.0)

    def log_loss(self, temperature: float) -> float:
        """Mean of -log p where a reading is right, -log(1 - p) where it is wrong."""
        losses = self._losses(temperature)
        wrong = -torch.log(-torch.expm1(-losses.clamp(min=_SURE)))
        return float(torch.where(self.right, losses, wrong).mean())

    def confidence(self, temperature: float) -> Confidence:
        """The confidences at a temperature, with whether they are right."""
        values = self._losses(temperature).neg().exp().clamp(0.0, 1.0)
        return Confidence.of(values.tolist(), self.right.tolist())


@dataclass(frozen=True)
class Calibration:
    """A fitted temperature.

    Attributes:
        temperature: the one of least log loss, to four digits.
        interval: those whose likelihood does not differ from the best at a level of 5 %.
        count, right: readings it was fitted to, and how many of them are right.
    """

    temperature: float
    interval: tuple[float, float]
    count: int
    right: int


def calibrate(readings: Readings) -> Calibration:
    """Fit the temperature to readings; the same readings give the same temperature.

    Raises:
        ValueError: fewer than 50 readings, or all of them right or all wrong, to which no
            temperature fits; or the best lies outside 0.1 to 10.
    """
    count, right = len(readings), int(readings.right.sum())
    if count < LEAST:
        raise ValueError(f"calibrate: data must give at least {LEAST} readings, got {count}")
    if right in (0, count):
        raise ValueError(
            f"calibrate: data must hold right and wrong readings, got {right} right of {count}: "
            "no temperature fits that"
        )
    grid = [_RANGE[0] * (_RANGE[1] / _RANGE[0]) ** (i / 24) for i in range(25)]
    losses = [readings.log_loss(t) for t in grid]
    best = losses.index(min(losses))
    if best in (0, len(grid) - 1):
        raise ValueError(
            f"calibrate: data must fit a temperature within {_RANGE[0]:g} and {_RANGE[1]:g}, "
            f"got one beyond {grid[best]:g}: do the labels belong to the images?"
        )
    temperature = _golden(readings.log_loss, grid[best - 1], grid[best + 1])
    # Twice the logarithm of the likelihoods' ratio is distributed as chi-squared, 3.84 at 95 %.
    limit = readings.log_loss(temperature) + 3.84 / 2 / count
    ends = [_crossing(readings.log_loss, limit, temperature, end) for end in _RANGE]
    return Calibration(round(temperature, 4), (ends[0], ends[1]), count, right)


def _golden(function: Callable[[float], float], low: float, high: float) -> float:
    """Where `function` is least between two temperatures, by golden section of their logarithm."""
    share = (math.sqrt(5) - 1) / 2
    a, b = math.log(low), math.log(high)
    c, d = b - share * (b - a), a + share * (b - a)
    at_c, at_d = function(math.exp(c)), function(math.exp(d))
    while b - a > 1e-5:
        if at_c < at_d:
            b, d, at_d = d, c, at_c
            c = b - share * (b - a)
            at_c = function(math.exp(c))
        else:
            a, c, at_c = c, d, at_d
            d = a + share * (b - a)
            at_d = function(math.exp(d))
    return math.exp((a + b) / 2)


def _crossing(function: Callable[[float], float], limit: float, inside: float, end: float) -> float:
    """Where `function` reaches `limit` between `inside`, which lies below it, and `end`."""
    if function(end) <= limit:
        return end
    for _ in range(16):
        middle = math.sqrt(inside * end)
        inside, end = (middle, end) if function(middle) <= limit else (inside, middle)
    return inside


def compared(
    readings: Mapping[str, Readings], before: float, after: float
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and figures of each data set at two temperatures."""
    for name, found in readings.items():
        figures: dict[str, Any] = {"count": len(found)}
        for key, temperature in (("before", before), ("after", after)):
            confidence = found.confidence(temperature)
            figures[key] = {
                "temperature": temperature,
                "calibration_error": confidence.calibration_error,
                "log_loss": found.log_loss(temperature),
                "mean_confidence": float(confidence.confidences.mean()),
                "right": float(confidence.right.mean()),
                "aurc": confidence.aurc,
            }
        yield name, figures

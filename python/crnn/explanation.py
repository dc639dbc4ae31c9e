"""Why an image is read as it is: what `crnn explain` shows."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

import crnn_ext
from crnn import images
from crnn.images import Source
from crnn.reading import Reading
from crnn.recognizer import Recognizer


@dataclass(frozen=True)
class Candidate:
    """A text that the image could show.

    Attributes:
        text: the text.
        probability: p(text | image), equation 1; with a language model as `Reading.confidence`.
    """

    text: str
    probability: float


@dataclass(frozen=True)
class Explanation:
    """Everything between the network's frames and the text.

    Attributes:
        image: the image, upright and grey.
        reading: what was read, or the given text; with alternatives for each symbol.
        columns: ``[T + 1]``, the columns of the image between which the frames lie: frame t is
            centred on the middle of ``columns[t]`` and ``columns[t + 1]``.
        labels: the classes of the reading's symbols.
        names: ``[C]``, what each class is called; the blank is empty.
        probabilities: ``[T, C]``, the network's, a frame's adding up to 1.
        occupancy: ``[2L + 1, T]``, see `crnn_ext.Alignment`.
        candidates: the most probable texts, best first: words of the lexicon if there is one.
        outside: the probability of all texts that are no words of the lexicon; None without one.
    """

    image: Image.Image
    reading: Reading
    columns: NDArray[np.float64]
    labels: tuple[int, ...]
    names: tuple[str, ...]
    probabilities: NDArray[np.float64]
    occupancy: NDArray[np.float64]
    candidates: tuple[Candidate, ...]
    outside: float | None = None


def explain(
    recognizer: Recognizer,
    source: Source,
    *,
    text: str | None = None,
    lexicon: crnn_ext.Lexicon | None = None,
    alternatives: int = 3,
    n_best: int = 5,
) -> Explanation:
    """Read one image and keep what led to the reading.

    Args:
        recognizer: the model.
        source: one image as in `crnn.images.load`.
        text: explain this text, in symbols of the charset, instead of what is read.
        lexicon: read words of it only (from `Recognizer.lexicon`), and name its best ones.
        alternatives: how many for each symbol.
        n_best: how many candidates, at least 1.

    Raises:
        ImageError: the image cannot be read.
        ValueError: an option is out of range, or `text` is impossible (see `Recognizer.align`).
    """
    name = images.name_of(source)
    image = images.load(source, name)
    item = recognizer.prepare(image)
    transcriber = recognizer.transcriber(lexicon, alternatives=alternatives)
    log_probs, transcript = recognizer.transcript(item, transcriber, name, text)
    charset = recognizer.charset
    outside = None
    if lexicon is None:
        beam = dataclasses.replace(transcriber.beam, width=64)
        lengths = torch.tensor([len(log_probs)])
        (texts,) = beam.decode(charset, None, log_probs[:, None], lengths, n_best)
        found = [(charset.decode(best.labels), best.confidence or 0.0) for best in texts]
    else:
        (words,) = lexicon.decode(log_probs, n_best=n_best, tolerance=0.001)
        found = [(result.word, min(1.0, math.exp(result.log_prob))) for result in words.n_best]
        outside = words.outside
    return Explanation(
        image=images.turned(image, item.turn),
        reading=recognizer.reading(name, transcript, item),
        columns=np.array([recognizer.column(t, item) for t in range(len(log_probs) + 1)]),
        labels=tuple(transcript.labels),
        names=("", *charset.symbols),
        probabilities=log_probs.double().exp().numpy(),
        occupancy=transcript.alignment.occupancy.numpy(),
        candidates=tuple(Candidate(text, probability) for text, probability in found),
        outside=outside,
    )

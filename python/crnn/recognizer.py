"""Reads images with a trained model."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import IO, TYPE_CHECKING, Any, Literal, TypeAlias, overload

import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

import crnn_ext
from crnn import checkpoint as checkpoints
from crnn import images
from crnn.images import ImageError, Prepared, Source
from crnn.orientation import prepare_turned
from crnn.pretrained import model_file, own_language_model
from crnn.reading import Alternative, Reading, Symbol
from crnn.sources import batches_of_similar_width, expand, is_folder, is_several
from crnn.transcription import (
    Beam,
    Decoded,
    Method,
    ReadOptions,
    Transcriber,
    Transcript,
    Words,
    make_lexicon,
)

if TYPE_CHECKING:
    from typing_extensions import Unpack  # in typing from Python 3.11

__all__ = ["Alternative", "Reading", "Recognizer", "Symbol"]

_Pathlike: TypeAlias = "str | os.PathLike[str]"

# Images are gathered so many batches at a time, sorted by width, and read in batches that hold
# little padding. This bounds the memory that a large folder takes.
_BATCHES_AT_ONCE = 4


class Recognizer:
    """Reads words, or whatever else its model was trained on, from images.

    Any number of threads may use one recognizer.

    Args:
        checkpoint: a model from `crnn.checkpoint.load`, or one made by hand.
        device: where the network runs, as in torch.
        language_model: what texts are weighed by unless `read` is told otherwise, as `Beam.lm`.

    Raises:
        ValueError: no such device, or a language model that cannot be read or has other symbols.
    """

    def __init__(
        self,
        checkpoint: checkpoints.Checkpoint,
        device: str | torch.device = "cpu",
        language_model: crnn_ext.LanguageModel | _Pathlike | None = None,
    ) -> None:
        self.checkpoint = checkpoint
        self.charset = checkpoint.charset
        self.preprocessing = checkpoint.preprocessing
        self.device = _device(device)
        self.model = checkpoint.model.to(self.device).folded()
        self.beam = Beam(lm=language_model).loaded(self.charset)

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: _Pathlike = "base",
        device: str | torch.device = "cpu",
        language_model: crnn_ext.LanguageModel | _Pathlike | Literal["own"] | None = "own",
    ) -> Recognizer:
        """Load a model by its name (`crnn.pretrained_models`) or from a file.

        `language_model` is as of the class, or "own": that of the package which belongs to the
        model, such as "english" to "base"; a file has none.

        Raises:
            ValueError: an unknown name or device, or a model that cannot be read or does not fit.
        """
        if language_model == "own":
            language_model = own_language_model(name_or_path)
        with model_file(name_or_path) as path:
            return cls(checkpoints.load(path), device, language_model)

    # A file and a string can be iterated too, but the first overload that fits is the right one.
    @overload
    def read(  # type: ignore[overload-overlap]
        self,
        source: bytes | bytearray | memoryview | IO[bytes] | Image.Image | NDArray[Any],
        **options: Unpack[ReadOptions],
    ) -> Reading: ...
    @overload
    def read(  # type: ignore[overload-overlap]
        self,
        source: _Pathlike,
        **options: Unpack[ReadOptions],
    ) -> Reading | Any: ...
    @overload
    def read(
        self,
        source: Iterable[Source],
        **options: Unpack[ReadOptions],
    ) -> list[Reading]: ...
    def read(
        self,
        source: Source | Iterable[Source],
        *,
        batch_size: int = 32,
        lexicon: Words = None,
        method: Method | None = None,
        delta: int = 3,
        beam: Beam | None = None,
        alternatives: int = 0,
        min_confidence: float = 0.0,
        strict: bool | None = None,
    ) -> Reading | list[Reading]:
        """Read one image or many.

        Args:
            source: an image as in `crnn.images.load`; a folder, for all images below it (as in
                `crnn.images.images_in`); or an iterable of images and folders.
            batch_size: at most so many images go through the network at a time. The result of
                an image does not depend on it, nor on the other images.
            lexicon: the words that may be read: an iterable of words, the path of a file of one
                word a line, or a lexicon from `lexicon`, which is quicker when used again.
            method: without a lexicon, "greedy" reads the most probable path, and "beam" weighs all
                paths of several texts, which is the default with a language model. With a lexicon,
                "exact", the default, finds the most probable word of all; "exhaustive" gives the
                same by looking at every one; "bk-tree" looks at those within `delta` edits of the
                greedy reading (equation 2), which is kept where there is no word to be found;
                "beam" reads texts made of words.
            delta: the largest edit distance of "bk-tree".
            beam: options of "beam": a language model, symbols between words. By default, and
                without a lexicon, the language model is that of the recognizer.
            alternatives: how many other symbols `Symbol.alternatives` is to name for each symbol.
            min_confidence: readings below it get ``accepted=False``; all keep their text.
            strict: whether an image that cannot be read raises. By default it does if it is the
                only one; among several it gets a `Reading` with `error` set, and the others are
                read.

        Returns:
            For a single image its `Reading`; for a folder or an iterable a list, in the order of
            the sources. A folder without images gives one `Reading`, with an error.

        Raises:
            ImageError: an image cannot be read, see `strict`.
            ValueError: an option is out of range, or the lexicon has no word that can be read.
        """
        several = is_several(source) or is_folder(source)
        sources: Any = source if is_several(source) else [source]
        readings = list(
            self.stream(
                sources,
                batch_size=batch_size,
                lexicon=lexicon,
                method=method,
                delta=delta,
                beam=beam,
                alternatives=alternatives,
                min_confidence=min_confidence,
            )
        )
        for reading in readings:
            if reading.error is not None and (not several if strict is None else strict):
                raise ImageError(reading.error)
        return readings if several else readings[0]

    def stream(
        self,
        sources: Iterable[Source],
        *,
        batch_size: int = 32,
        lexicon: Words = None,
        method: Method | None = None,
        delta: int = 3,
        beam: Beam | None = None,
        alternatives: int = 0,
        min_confidence: float = 0.0,
    ) -> Iterator[Reading]:
        """`read` for more images than fit in memory: yields in order, while it reads.

        An image that cannot be read gives a `Reading` with `error` set. Options are checked at
        once, before the first image is asked for. At most ``4 * batch_size`` images are held at a
        time.

        Args:
            sources: images and folders as in `read`; it may be endless.
            batch_size, lexicon, method, delta, beam, alternatives, min_confidence: as in `read`.

        Raises:
            ValueError: as in `read`, at the call.
        """
        if batch_size < 1:
            raise ValueError(f"read: batch_size must be at least 1, got {batch_size}")
        if not 0 <= min_confidence <= 1:
            raise ValueError(f"read: min_confidence must lie in [0, 1], got {min_confidence}")
        words = None if lexicon is None else self.lexicon(lexicon)
        transcriber = self.transcriber(words, method, delta, alternatives, beam)
        readings = self._stream(expand(sources), batch_size, transcriber)
        return (reading.judged(min_confidence) for reading in readings)

    def transcriber(
        self,
        lexicon: crnn_ext.Lexicon | None = None,
        method: Method | None = None,
        delta: int = 3,
        alternatives: int = 0,
        beam: Beam | None = None,
    ) -> Transcriber:
        """What turns this model's logits into readings; arguments as in `read`.

        Raises:
            ValueError: an option is out of range.
        """
        if method is None:
            weighs = beam is not None or self.beam.lm is not None
            method = "exact" if lexicon is not None else "beam" if weighs else "greedy"
        if beam is not None and method != "beam":
            raise ValueError(f"read: beam must come with method 'beam', got {method!r}")
        beam = beam or (self.beam if lexicon is None else Beam())
        temperature = self.checkpoint.temperature
        return Transcriber(self.charset, lexicon, method, delta, alternatives, temperature, beam)

    def align(self, source: Source, text: str, *, alternatives: int = 0) -> Reading:
        """Where a given text lies in an image, however probable it is (forced alignment).

        Args:
            source: one image as in `crnn.images.load`.
            text: in symbols of the model's charset; it may be empty.
            alternatives: as in `read`.

        Returns:
            A `Reading` of `text`, with its confidence p(text | image) and the places of its
            symbols.

        Raises:
            ImageError: the image cannot be read.
            ValueError: `text` has other symbols, or more than the image has frames for.
        """
        name = images.name_of(source)
        item = self._prepare(source, name)
        transcriber = self.transcriber(alternatives=alternatives)
        _, transcript = self.transcript(item, transcriber, name, text)
        return self.reading(name, transcript, item)

    def transcript(
        self, item: Prepared, transcriber: Transcriber, name: str, text: str | None = None
    ) -> tuple[Tensor, Transcript]:
        """``[T, C]`` log-probabilities of one image, and the transcript of it or of a given text.

        Raises:
            ImageError: the network's output is not finite.
            ValueError: as `align`.
        """
        labels = None if text is None else self.charset.encode(text)
        logits, lengths = self.logits([item])
        log_probs, (sound,) = transcriber.log_probs(logits, lengths)
        if not sound:
            raise ImageError(f"read: logits of {name} must be finite, got NaN or inf")
        decoded = transcriber.decode(log_probs, lengths) if labels is None else [Decoded(labels)]
        (transcript,) = transcriber.place(decoded, log_probs, lengths)
        if not transcript.alignment.spans and decoded[0].labels:
            frames = f"the {len(log_probs)} frames of {name}"
            raise ValueError(f"align: text must be possible in {frames}, got {text!r}")
        return log_probs[:, 0], transcript

    def lexicon(self, words: crnn_ext.Lexicon | _Pathlike | Iterable[str]) -> crnn_ext.Lexicon:
        """Words for this model's charset, for `read` to use again and again.

        Args:
            words: an iterable of words; or the path of a UTF-8 file of one word a line, or of a
                lexicon that `crnn lexicon build` or `crnn_ext.Lexicon.save` wrote. With a charset
                that folds case they are lower-cased; those with a symbol that it lacks are left
                out (`crnn_ext.Lexicon.skipped`).

        Raises:
            ValueError: the file cannot be read, no word is left, or a lexicon of other symbols.
        """
        return make_lexicon(words, self.charset)

    def _stream(
        self, named: Iterator[tuple[str, Any]], batch_size: int, transcriber: Transcriber
    ) -> Iterator[Reading]:
        while window := list(itertools.islice(named, batch_size * _BATCHES_AT_ONCE)):
            yield from self._read_window(window, batch_size, transcriber)

    def _read_window(
        self, window: list[tuple[str, Any]], batch_size: int, transcriber: Transcriber
    ) -> list[Reading]:
        readings: dict[int, Reading] = {}
        prepared: dict[int, Prepared] = {}
        for i, (name, source) in enumerate(window):
            try:
                prepared[i] = self._prepare(source, name)
            except (ImageError, TypeError) as error:
                readings[i] = Reading(name, error=str(error))
        widths = {i: item.pixels.shape[2] for i, item in prepared.items()}
        for batch in batches_of_similar_width(widths, batch_size):
            names = [window[i][0] for i in batch]
            results = self._read_batch([prepared[i] for i in batch], names, transcriber)
            readings.update(zip(batch, results, strict=True))
        return [readings[i] for i in range(len(window))]

    def _prepare(self, source: Any, name: str) -> Prepared:
        if isinstance(source, ImageError):
            raise source
        return self.prepare(images.load(source, name))

    def _read_batch(
        self, batch: list[Prepared], names: list[str], transcriber: Transcriber
    ) -> list[Reading]:
        transcripts = transcriber(*self.logits(batch))
        return [
            self.reading(name, transcript, item)
            for name, transcript, item in zip(names, transcripts, batch, strict=True)
        ]

    def prepare(self, image: Image.Image) -> Prepared:
        """A greyscale image for `logits`, turned if it reads better so (`crnn.orientation`)."""
        transcriber = self.transcriber(method="greedy")
        return prepare_turned(
            image, self.preprocessing, lambda items: transcriber(*self.logits(items))
        )

    @torch.inference_mode()
    def logits(self, batch: Sequence[Prepared]) -> tuple[Tensor, Tensor]:
        """The network's output for at least one image, which `crnn.images.prepare` made.

        Returns:
            ``[T, N, C]`` float32 and the true frames of each image ``[N]`` int64, on the CPU.
        """
        widths = torch.tensor([item.pixels.shape[2] for item in batch])
        pixels = torch.zeros(len(batch), 1, self.preprocessing.height, int(widths.max()))
        for i, item in enumerate(batch):
            pixels[i, :, :, : widths[i]] = item.pixels
        logits, lengths = self.model(pixels.to(self.device), widths.to(self.device))
        return logits.float().cpu(), lengths.cpu()

    def reading(self, name: str, transcript: Transcript | None, item: Prepared) -> Reading:
        """What a transcript says of an image, in symbols and pixels; without one an error."""
        if transcript is None:
            return Reading(name, error=f"read: logits of {name} must be finite, got NaN or inf")
        alignment = transcript.alignment
        spans = alignment.expected_spans()
        symbols = tuple(
            Symbol(
                self.charset.symbols[label - 1],
                transcript.confidences[i],
                alignment.spans[i],
                spans[i],
                self._box(*spans[i], item),
                tuple(self._alternative(*other) for other in transcript.alternatives[i]),
            )
            for i, label in enumerate(transcript.labels)
        )
        text = self.charset.decode(transcript.labels)
        return Reading(
            name, text, transcript.confidence, symbols, transcript.posterior, turn=item.turn
        )

    def _alternative(self, label: int, probability: float) -> Alternative:
        none = label == self.charset.blank
        return Alternative("" if none else self.charset.symbols[label - 1], probability)

    def column(self, frame: float, item: Prepared) -> float:
        """The column of the original image at `frame`, where frame t is centred on t + 0.5.

        It may lie beyond the image's edges, where the network sees padding.
        """
        centre = sum(self.model.receptive_field(0)) / 2
        return (centre + (frame - 0.5) * self.model.frame_step) * item.scale

    def _box(self, start: float, end: float, item: Prepared) -> tuple[float, float]:
        """Columns of the original image on which the frames ``[start, end)`` are centred."""
        width = item.pixels.shape[2] * item.scale
        left, right = (min(max(self.column(t, item), 0.0), width) for t in (start, end))
        return left, right


def _device(device: str | torch.device) -> torch.device:
    try:
        found = torch.device(device)
    except RuntimeError as error:
        raise ValueError(
            f"Recognizer: device must be a torch device such as 'cpu' or 'cuda', got {device!r}"
        ) from error
    if found.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            "Recognizer: device must be available, got 'cuda' where torch finds no CUDA device; "
            "see `crnn doctor`"
        )
    return found

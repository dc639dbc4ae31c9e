"""What a recognizer returns."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Alternative:
    """What else could stand in the place of a symbol.

    Attributes:
        text: another symbol, or empty for none at all.
        probability: of it, in [0, 1], if all other symbols are right.
    """

    text: str
    probability: float


@dataclass(frozen=True)
class Symbol:
    """One symbol of a reading.

    Attributes:
        text: the symbol.
        confidence: its probability, in [0, 1], if all other symbols are right: p(text | image)
            in proportion to the sum of that over all texts that have another symbol, or none, in
            this place. Exact, over all paths and whatever the lexicon.
        frames: (start, end) of the frames that say it, end exclusive, on the most probable path
            that reads the text.
        span: the expected (start, end) of its frames over all paths that read the text, in
            proportion to their probability.
        box: (left, right) in pixels of the original image, upright or turned as `Reading.turn`
            says: the columns on which the frames of `span` are centred. CTC needs only one frame
            to say a symbol, so the box lies on the symbol but is often narrower.
        alternatives: the most probable others in its place, best first; as many as were asked
            for.
    """

    text: str
    confidence: float
    frames: tuple[int, int]
    span: tuple[float, float]
    box: tuple[float, float]
    alternatives: tuple[Alternative, ...] = ()


@dataclass(frozen=True)
class Reading:
    """What was read in one image.

    Attributes:
        source: the image's path, or what else it is called.
        text: what was read; empty where nothing was.
        confidence: p(text | image) by equation 1, the sum over all paths that collapse to `text`:
            exact, in [0, 1], for the empty text too. With a language model what image and model
            say together: the text's share among the texts of the last beam, times their p(. |
            image) (`crnn.Beam`).
        symbols: the symbols of `text`, from left to right.
        posterior: p(text | image) among the words of the lexicon, where one was given (not for
            "beam"): the chance that the word is right if the lexicon holds the right one. At most
            0.05 below the exact value, see `crnn_ext.Lexicon.decode`; 0 where no word was found.
        error: why the image could not be read; then `text` is empty and `confidence` 0.
        accepted: whether it was read with at least the confidence that was asked for.
        turn: degrees counter-clockwise by which the image was turned before it was read, 0, 90 or
            270, see `crnn.orientation`; boxes are columns of the turned image.
    """

    source: str
    text: str = ""
    confidence: float = 0.0
    symbols: tuple[Symbol, ...] = ()
    posterior: float | None = None
    error: str | None = None
    accepted: bool = True
    turn: int = 0

    def judged(self, min_confidence: float) -> Reading:
        """The same with `accepted` as it is for this least confidence."""
        accepted = self.error is None and self.confidence >= min_confidence
        return dataclasses.replace(self, accepted=accepted)

    def to_dict(self) -> dict[str, Any]:
        """All attributes in a plain form for JSON: dictionaries, lists, strings and numbers."""
        fields = dataclasses.asdict(self)
        fields["symbols"] = [
            {name: list(v) if isinstance(v, tuple) else v for name, v in symbol.items()}
            for symbol in fields["symbols"]
        ]
        return fields

    def to_json(self, indent: int | None = None) -> str:
        """`to_dict` as JSON text, on one line unless `indent` says how many spaces to indent by."""
        return json.dumps(self.to_dict(), ensure_ascii=False, indent=indent)

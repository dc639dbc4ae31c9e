"""What a recognizer returns."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Symbol:
    """One symbol of a reading.

    Attributes:
        text: the symbol.
        confidence: the highest probability that the network gives it in any one of its frames.
        frames: (start, end) of the frames that say it, end exclusive.
        box: (left, right) in pixels of the original image, upright: the columns on which those
            frames are centred. CTC needs only one frame to say a symbol, so the box lies on the
            symbol but is often narrower.
    """

    text: str
    confidence: float
    frames: tuple[int, int]
    box: tuple[float, float]


@dataclass(frozen=True)
class Reading:
    """What was read in one image.

    Attributes:
        source: the image's path, or what else it is called.
        text: what was read; empty where nothing was.
        confidence: p(text | image) by equation 1, the sum over all paths that collapse to `text`:
            exact, in [0, 1], for the empty text too.
        symbols: the symbols of `text`, from left to right.
        error: why the image could not be read; then `text` is empty and `confidence` 0.
    """

    source: str
    text: str = ""
    confidence: float = 0.0
    symbols: tuple[Symbol, ...] = ()
    error: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """A plain form for JSON."""
        fields = dataclasses.asdict(self)
        fields["symbols"] = [
            {**symbol, "frames": list(symbol["frames"]), "box": list(symbol["box"])}
            for symbol in fields["symbols"]
        ]
        return fields

    def to_json(self, indent: int | None = None) -> str:
        """`to_dict` as JSON text."""
        return json.dumps(self.to_dict(), ensure_ascii=False, indent=indent)

"""Words that run up or down the image: read upright and turned, the better reading counts."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from PIL import Image

from crnn.images import Prepared, Preprocessing, prepare
from crnn.transcription import Transcript

_LEAST = 2  # symbols: one alone is mostly high itself


def prepare_turned(
    image: Image.Image,
    preprocessing: Preprocessing,
    read: Callable[[Sequence[Prepared]], Sequence[Transcript | None]],
) -> Prepared:
    """`image` for the network, turned by a quarter if it reads better so.

    An image more than `Preprocessing.turn_above` times as high as wide is read upright and turned
    each way. A turned reading counts if it has two symbols or more and a higher probability than
    the upright one and the other.

    Args:
        image: greyscale (mode ``"L"``).
        preprocessing: how it is scaled.
        read: what the network reads in prepared images; None where its output is not finite.
    """
    upright, above = prepare(image, preprocessing), preprocessing.turn_above
    if not above or image.height <= above * image.width:
        return upright
    items = [upright, *(prepare(image, preprocessing, turn) for turn in (90, 270))]
    first, *others = read(items)
    if first is None:
        return upright
    best, most = upright, first.confidence
    for item, found in zip(items[1:], others, strict=True):
        if found is not None and len(found.labels) >= _LEAST and found.confidence > most:
            best, most = item, found.confidence
    return best

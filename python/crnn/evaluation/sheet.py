"""A contact sheet: the worst errors as one picture, each with its truth, reading and confidence."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from crnn import images
from crnn.data import Dataset
from crnn.evaluation.score import Outcome
from crnn.images import ImageError

_CELL = (220, 118)  # pixels
_PICTURE = (212, 64)
_COLUMNS = 6
_INK, _WRONG, _PALE = (20, 20, 20), (190, 20, 20), (110, 110, 110)


def contact_sheet(dataset: Dataset, outcomes: Sequence[Outcome], title: str = "") -> Image.Image:
    """One cell for each of `outcomes`: the image, the truth above the reading, the confidence."""
    names = {outcome.name for outcome in outcomes}
    where = {dataset.name(i): i for i in range(len(dataset)) if dataset.name(i) in names}
    rows = -(-len(outcomes) // _COLUMNS)
    width, height = _COLUMNS * _CELL[0], rows * _CELL[1] + 24
    sheet = Image.new("RGB", (width, max(height, 48)), "white")
    draw = ImageDraw.Draw(sheet)
    draw.text((6, 4), title, _INK, ImageFont.load_default(14))
    large, small = ImageFont.load_default(16), ImageFont.load_default(10)
    for k, outcome in enumerate(outcomes):
        x, y = k % _COLUMNS * _CELL[0] + 4, k // _COLUMNS * _CELL[1] + 26
        _draw_picture(sheet, dataset, where.get(outcome.name), x, y)
        draw.text((x, y + 65), _short(outcome.truth), _INK, large)
        draw.text((x, y + 83), _short(outcome.text) or "(nothing)", _WRONG, large)
        place = outcome.name.rpartition("/")[2][-24:]
        draw.text((x, y + 102), f"{outcome.confidence:.0%}  {place}", _PALE, small)
    return sheet


def _draw_picture(sheet: Image.Image, dataset: Dataset, index: int | None, x: int, y: int) -> None:
    if index is None:
        return
    try:
        grey = images.load(dataset.image(index), dataset.name(index))
    except ImageError:
        ImageDraw.Draw(sheet).text((x, y + 24), "unreadable", _PALE, ImageFont.load_default(14))
        return
    scale = min(_PICTURE[0] / grey.width, _PICTURE[1] / grey.height)
    size = max(1, round(grey.width * scale)), max(1, round(grey.height * scale))
    sheet.paste(grey.resize(size, Image.Resampling.BICUBIC), (x, y))


def _short(text: str) -> str:
    shown = "".join(symbol if symbol.isprintable() else "?" for symbol in text)
    return shown if len(shown) <= 22 else shown[:21] + "…"

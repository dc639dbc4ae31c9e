"""Engraves melodies with verovio and finds where their parts lie.

Verovio gives SVG; skia draws it. No other engraver may draw training data: the others are kept
for testing how well a model reads what it has not seen.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

import numpy as np

from crnn.music.melody import Melody
from crnn.synth.glyphs import Mask

Generator = np.random.Generator

SPACE = 14.0  # pixels between two staff lines of a mask
_FONTS = ("Leipzig", "Bravura", "Gootville", "Leland", "Petaluma")
_UNIT = 180.0  # verovio's units between two staff lines
_PIXELS = 0.1  # of skia for one of verovio's units at scale 100
_TAG = "{http://www.w3.org/2000/svg}"
_HREF = "{http://www.w3.org/1999/xlink}href"


@dataclass
class Engraving:
    """A melody on one endless staff.

    Attributes:
        mask: ``[height, width]``, 255 where there is ink.
        staff: (left, top, right, bottom) of the five lines, pixels.
        notes: (left, middle) of each notehead, in order.
        bars: right edge of each measure.
    """

    mask: Mask
    staff: tuple[float, float, float, float]
    notes: list[tuple[float, float]]
    bars: list[float]


class Engraver:
    """Draws melodies in verovio's fonts, with lines, stems and spacing that vary.

    Raises:
        ValueError: verovio or skia is not installed.
    """

    def __init__(self) -> None:
        self._skia, self._verovio = _load()
        self._toolkit = self._verovio.toolkit()

    def __reduce__(self) -> tuple[type[Engraver], tuple[()]]:
        return Engraver, ()  # the toolkit cannot travel to a worker; each makes its own

    def __call__(self, melody: Melody, rng: Generator) -> Engraving:
        """Engrave `melody`.

        Raises:
            RuntimeError: verovio gave another number of notes or measures than were written.
        """
        self._toolkit.setOptions(_options(rng))
        self._toolkit.loadData(melody.mei)
        svg = self._toolkit.renderToSVG(1)
        engraving = _locate(svg, self._draw(svg))
        if len(engraving.notes) != len(melody.pitches):
            raise RuntimeError(
                f"engrave: verovio must draw {len(melody.pitches)} notes, "
                f"got {len(engraving.notes)}"
            )
        return engraving

    def _draw(self, svg: str) -> Mask:
        skia = self._skia
        # Skia knows neither style sheets nor currentColor; text would need a font manager.
        svg = re.sub(r"<style.*?</style>|<text.*?</text>", "", svg, flags=re.DOTALL)
        svg = re.sub(r'<ellipse cx="0" cy="0" rx="90" ry="90" ?/>', "", svg)
        svg = svg.replace(' stroke-width="', ' stroke="black" stroke-width="')
        svg = svg.replace("currentColor", "black")
        size = re.search(r'<svg width="([\d.]+)px" height="([\d.]+)px"', svg)
        if size is None:
            raise RuntimeError("engrave: verovio must give the size of its page, got none")
        scale = SPACE / (_UNIT * _PIXELS)
        width, height = (max(1, round(float(v) * scale)) for v in size.groups())
        picture = skia.SVGDOM.MakeFromStream(skia.MemoryStream(svg.encode(), True))
        surface = skia.Surface(width, height)
        with surface as canvas:
            canvas.clear(skia.ColorWHITE)
            canvas.scale(scale, scale)
            picture.render(canvas)
        return np.ascontiguousarray(255 - surface.toarray()[:, :, 0])


def _load() -> tuple[Any, Any]:
    try:
        import skia
        import verovio
    except ImportError as error:
        raise ValueError(
            "music: verovio and skia-python must be installed to draw music; "
            "run `pip install crnn-ext[music]`"
        ) from error
    verovio.enableLog(verovio.LOG_OFF)
    return skia, verovio


def _options(rng: Generator) -> dict[str, Any]:
    return {
        "header": "none", "footer": "none", "breaks": "none", "scale": 100,
        "adjustPageWidth": True, "adjustPageHeight": True,
        "pageMarginLeft": 100, "pageMarginRight": 100,
        "font": str(rng.choice(_FONTS)),
        "spacingLinear": float(rng.uniform(0.12, 0.40)),
        "spacingNonLinear": float(rng.uniform(0.45, 0.75)),
        "evenNoteSpacing": bool(rng.random() < 0.1),
        "staffLineWidth": float(rng.uniform(0.1, 0.28)),
        "stemWidth": float(rng.uniform(0.12, 0.35)),
        "ledgerLineThickness": float(rng.uniform(0.14, 0.4)),
        "ledgerLineExtension": float(rng.uniform(0.3, 0.8)),
        "barLineWidth": float(rng.uniform(0.18, 0.5)),
        "thickBarlineThickness": float(rng.uniform(0.6, 1.6)),
        "beamMaxSlope": int(rng.integers(0, 21)),
    }  # fmt: skip


def _locate(svg: str, mask: Mask) -> Engraving:
    """Where the parts of an engraving lie, from the elements of its SVG."""
    root = ElementTree.fromstring(svg)
    scale = SPACE / _UNIT
    page = next(g for g in root.iter(f"{_TAG}g") if g.get("class") == "page-margin")
    dx, dy = _numbers(page.get("transform", ""))[:2]
    notes, bars, lines = [], [], []
    for group in root.iter(f"{_TAG}g"):
        kind = (group.get("class") or "").split(" ")[0]
        if kind == "notehead":
            use = next(u for u in group.iter(f"{_TAG}use") if u.get(_HREF))
            x, y = _numbers(use.get("transform", ""))[:2]
            notes.append(((x + dx) * scale, (y + dy) * scale))
        elif kind == "staff":
            paths = [_numbers(path.get("d", "")) for path in group.findall(f"{_TAG}path")[:5]]
            lines += paths
            bars.append((paths[0][2] + dx) * scale)
    staff = (
        (min(p[0] for p in lines) + dx) * scale,
        (min(p[1] for p in lines) + dy) * scale,
        (max(p[2] for p in lines) + dx) * scale,
        (max(p[1] for p in lines) + dy) * scale,
    )
    return Engraving(mask, staff, notes, bars)


def _numbers(text: str) -> list[float]:
    return [float(v) for v in re.findall(r"-?\d+(?:\.\d+)?", text)]

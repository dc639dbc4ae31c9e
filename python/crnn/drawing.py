"""An `Explanation` as a picture: all panels share the columns of the image."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from crnn.evaluation.plots import new_figure
from crnn.explanation import Explanation
from crnn.files import replacing
from crnn.reading import Symbol

_LEAST = 0.02  # classes that no frame gives more are not drawn, unless they are read
_SHOWN = 0.0005  # alternatives that are less probable are left out
_OTHERS = 8  # at most so many classes that are not read
_COLOURS = ("#1f77b4", "#d62728", "#2ca02c", "#ff7f0e", "#9467bd", "#8c564b", "#e377c2", "#17a2b8")
_GREY = "#666666"
_NOTHING = "(nothing)"  # the empty text
_INCHES = 8.0  # of the panels
_INCHES_A_LETTER = 0.075  # of the alternatives
_INCHES_A_CLASS = 0.2
_CANDIDATES = 2.6  # inches
_LETTERS = 26  # in a line of candidates
_LEAD, _LINE = 20.0, 13.0  # points: of the lines that lead to alternatives, and of each of those
_MARGINS = 1.0  # inches, for ticks and colour bar


def draw(explanation: Explanation, path: str | Path) -> None:
    """Write the picture; the ending of `path` says of which kind (png, svg, pdf…).

    From top to bottom: the image with its symbols; the probability of each class in each frame,
    framed where the most probable path reads a symbol; where each symbol is, over all paths that
    read the text; each symbol's confidence and what else could stand there. On the right the most
    probable texts.

    Raises:
        ValueError: matplotlib is not installed, or the ending of `path` is of no kind of picture.
        OSError: the file cannot be written.
    """
    rows = _classes(explanation)
    beside = [_worth(symbol) for symbol in explanation.reading.symbols]
    letters = 1 + max((len(line) for lines in beside for line in lines), default=0)
    panels = max(_INCHES, _INCHES_A_LETTER * letters * len(beside))
    width, height = explanation.image.size
    lines = max(map(len, beside), default=0)
    heights = [
        min(max(panels * height / width, 0.7), 3.0),
        _INCHES_A_CLASS * len(rows),
        1.1,
        max(_LEAD + _LINE * lines, 72) / 72,
    ]
    figure = new_figure(panels + _CANDIDATES + _MARGINS, sum(heights) + 1.4)
    from matplotlib import rc_context

    # A dollar sign is a symbol here, not the start of a formula.
    with rc_context({"text.parse_math": False, "font.size": 9}):
        grid = figure.add_gridspec(4, 2, height_ratios=heights, width_ratios=[panels, _CANDIDATES])
        image = figure.add_subplot(grid[0, 0])
        axes = [image, *(figure.add_subplot(grid[i, 0], sharex=image) for i in (1, 2, 3))]
        _draw_image(axes[0], explanation)
        _draw_probabilities(figure, axes[1], explanation, rows)
        _draw_occupancy(axes[2], explanation)
        _draw_alternatives(axes[3], explanation, _INCHES_A_LETTER * letters / panels)
        _draw_candidates(figure.add_subplot(grid[1:, 1]), explanation, sum(heights[1:]))
        _draw_reading(figure.add_subplot(grid[0, 1]), explanation)
        figure.align_ylabels(axes)
        columns = explanation.columns
        image.set_xlim(min(0.0, columns[0]), max(float(width), columns[-1]))
        with replacing(path) as temporary:
            figure.savefig(temporary, dpi=120)


def _classes(explanation: Explanation) -> list[int]:
    """The classes worth a row: those read, in their order, others that some frame sees, blank."""
    peaks = explanation.probabilities.max(0)
    peaks[[0, *explanation.labels]] = 0.0
    others = [int(c) for c in np.argsort(-peaks, kind="stable")[:_OTHERS] if peaks[c] >= _LEAST]
    return [*dict.fromkeys(explanation.labels), *others, 0]


def _colour(i: int) -> str:
    return _COLOURS[i % len(_COLOURS)]


def _shown(symbol: str, empty: str) -> str:
    """A symbol as a label: spaces are made visible."""
    return symbol.replace(" ", "\N{OPEN BOX}") or empty


def _percent(probability: float) -> str:
    if probability < _SHOWN:
        return "<0.1%"
    if probability >= 0.9995:
        return ">99.9%"
    return f"{probability:.0%}" if 0.0995 <= probability < 0.9895 else f"{probability:.1%}"


def _draw_image(axes: Any, explanation: Explanation) -> None:
    width, height = explanation.image.size
    axes.imshow(
        explanation.image, cmap="gray", vmin=0, vmax=255, aspect="auto",
        extent=(0, width, height, 0), interpolation="bilinear",
    )  # fmt: skip
    for i, symbol in enumerate(explanation.reading.symbols):
        left, right = symbol.box
        axes.axvspan(left, right, facecolor=_colour(i), alpha=0.35, linewidth=0)
        axes.axvspan(left, right, fill=False, edgecolor=_colour(i), linewidth=1.2)
    axes.set_yticks([])
    axes.tick_params(top=True, labeltop=True, bottom=False, labelbottom=False)
    axes.set_ylabel("image\n(pixels)")


def _draw_probabilities(
    figure: Any, axes: Any, explanation: Explanation, rows: Sequence[int]
) -> None:
    from matplotlib.colors import PowerNorm
    from matplotlib.patches import Rectangle

    columns = explanation.columns
    # The root makes what is improbable visible beside what is certain.
    mesh = axes.pcolormesh(
        columns, np.arange(len(rows) + 1), explanation.probabilities[:, rows].T,
        cmap="Blues", norm=PowerNorm(0.5, 0, 1), edgecolors="white",
        linewidth=0.4 if len(columns) < 80 else 0.0,
    )  # fmt: skip
    for i, symbol in enumerate(explanation.reading.symbols):
        start, end = symbol.frames
        row = rows.index(explanation.labels[i])
        corner, size = (columns[start], row), (columns[end] - columns[start], 1)
        axes.add_patch(
            Rectangle(corner, *size, fill=False, edgecolor=_colour(i), linewidth=1.6, zorder=3)
        )
    axes.set_ylim(len(rows), 0)
    names = [_shown(explanation.names[c], "blank") for c in rows]
    axes.set_yticks(np.arange(len(rows)) + 0.5, names)
    axes.tick_params(axis="y", length=0)
    _tick_frames(axes, columns)
    axes.set_ylabel("probability\nin each frame")
    figure.colorbar(mesh, ax=axes, ticks=[0.01, 0.1, 0.5, 1.0], pad=0.01, aspect=12)


def _tick_frames(axes: Any, columns: np.ndarray[Any, np.dtype[np.float64]]) -> None:
    """Number the frames, under an axis of pixels."""
    frames = len(columns) - 1
    step = next(s for s in (1, 2, 5, 10, 20, 50, 100, 200, 500, frames) if frames / s <= 30)
    numbers = range(0, frames, step)
    axes.tick_params(bottom=False, labelbottom=False)
    numbered = axes.secondary_xaxis("bottom")
    numbered.set_xticks([(columns[t] + columns[t + 1]) / 2 for t in numbers], [*map(str, numbers)])
    numbered.tick_params(length=2, labelsize=7, pad=1)


def _draw_occupancy(axes: Any, explanation: Explanation) -> None:
    columns, gamma = explanation.columns, explanation.occupancy
    below = np.zeros(gamma.shape[1])  # a frame's add up to 1
    for i, symbol in enumerate(explanation.reading.symbols):
        above = below + gamma[2 * i + 1]
        axes.stairs(above, columns, baseline=below, fill=True, color=_colour(i), alpha=0.7)
        below = above
        start, end = symbol.frames
        axes.plot(
            [columns[start], columns[end]], [-0.3, -0.3], color=_colour(i), linewidth=4,
            solid_capstyle="butt",
        )  # fmt: skip
        axes.annotate(
            _shown(symbol.text, ""), (sum(symbol.box) / 2, 1.04), ha="center", va="bottom",
            color=_colour(i), weight="bold", annotation_clip=False,
        )  # fmt: skip
    axes.stairs(np.ones(len(below)), columns, baseline=below, fill=True, color="#e8e8e8")
    axes.set(ylim=(-0.45, 1.3))
    axes.set_yticks([-0.3, 0, 0.5, 1], ["best path", "0", "0.5", "1"])
    axes.tick_params(bottom=False, labelbottom=False)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_ylabel("where each\nsymbol is")


def _draw_alternatives(axes: Any, explanation: Explanation, gap: float) -> None:
    """Each symbol's column of text, near its place and led to it by a line."""
    symbols = explanation.reading.symbols
    axes.tick_params(left=False, labelleft=False, bottom=False, labelbottom=False)
    axes.spines[:].set_visible(False)
    if not symbols:
        return
    axes.set_ylabel("confidence and\nalternatives")
    first, last = explanation.columns[0], explanation.columns[-1]
    points = max(_LEAD + _LINE * max(len(_worth(s)) for s in symbols), 72)
    places = _spread([(sum(s.box) / 2 - first) / (last - first) for s in symbols], gap)
    for i, (symbol, place) in enumerate(zip(symbols, places, strict=True)):
        x = first + place * (last - first)
        axes.plot(
            [sum(symbol.box) / 2, x], [0, 0.8 * _LEAD], color=_colour(i), linewidth=0.8,
            clip_on=False,
        )  # fmt: skip
        for line, text in enumerate(_worth(symbol)):
            axes.text(
                x, _LEAD + _LINE * line, text, ha="center", va="top", fontsize=8,
                color=_GREY if line else _colour(i), weight="normal" if line else "bold",
            )  # fmt: skip
    axes.set_ylim(points, 0)  # in points, downwards


def _worth(symbol: Symbol) -> list[str]:
    """The lines below a symbol: itself, and the alternatives that are worth one."""
    lines = [(symbol.text, symbol.confidence)]
    lines += [(a.text, a.probability) for a in symbol.alternatives if a.probability >= _SHOWN]
    return [f"{_shown(text, 'none')} {_percent(probability)}" for text, probability in lines]


def _spread(places: Sequence[float], gap: float) -> list[float]:
    """Ascending places in [0, 1], moved as little as possible to lie `gap` apart if that fits.

    Less i gaps each, places may be equal but not descend: blocks of them are replaced by their
    mean until none does (isotonic regression).
    """
    count = len(places)
    gap = min(gap, 1 / max(1, count))
    blocks: list[tuple[float, int]] = []  # mean, size
    for i, place in enumerate(places):
        block = (place - i * gap, 1)
        while blocks and blocks[-1][0] >= block[0]:
            mean, size = blocks.pop()
            total = size + block[1]
            block = ((mean * size + block[0] * block[1]) / total, total)
        blocks.append(block)
    free = [mean for mean, size in blocks for _ in range(size)]
    room = 1 - gap * count  # from the first place's least to its greatest
    return [min(max(p, gap / 2), gap / 2 + room) + i * gap for i, p in enumerate(free)]


def _draw_candidates(axes: Any, explanation: Explanation, height: float) -> None:
    axes.set_axis_off()
    bars = [(c.text or _NOTHING, c.probability, _GREY) for c in explanation.candidates]
    title = "the most probable texts"
    if explanation.outside is not None:
        title = "the most probable words"
        bars.append(("all that is no word", explanation.outside, "#bbbbbb"))
    axes.text(0, 0, title, va="bottom", color=_GREY)
    y = 6.0  # points from the top
    for text, probability, colour in bars:
        weight = "bold" if text == (explanation.reading.text or _NOTHING) else "normal"
        lines = textwrap.wrap(text, _LETTERS)
        for line in lines:
            y += _LINE
            axes.text(0, y, line, weight=weight)
        axes.text(1, y, _percent(probability), ha="right", color=_GREY)
        y += 3
        axes.barh(y + 5, probability, 7, color=colour)
        y += 16
    axes.set(xlim=(0, 1), ylim=(max(72 * height, y), 0))


def _draw_reading(axes: Any, explanation: Explanation) -> None:
    axes.set_axis_off()
    reading = explanation.reading
    lines = textwrap.wrap(reading.text, 18 if " " in reading.text else _LETTERS) or [_NOTHING]
    size = min(22.0, 190 / max(map(len, lines)))
    text = "\n".join(lines)
    axes.text(0, 1, text, fontsize=size, weight="bold", va="top", transform=axes.transAxes)
    axes.annotate(
        f"{_percent(reading.confidence)} confident\n{Path(reading.source).name}", (0, 1),
        xycoords="axes fraction", xytext=(0, -1.35 * size * len(lines) - 4),
        textcoords="offset points", va="top", color=_GREY,
    )  # fmt: skip

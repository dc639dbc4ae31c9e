"""`statistics`: what a data set is made of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from crnn.data.dataset import Dataset
from crnn.data.inspection import inspect

_WIDTH_STEP = 20  # pixels
_BAR = 40  # characters


def statistics(
    dataset: Dataset,
    height: int = 32,
    workers: int = 0,
    progress: Callable[[], object] = lambda: None,
) -> dict[str, Any]:
    """Counts of label lengths, symbols, and image sizes, ready for JSON.

    Args:
        dataset: the data set.
        height: widths are those in proportion at this height, in steps of 20 pixels.
        workers: processes that decode images.
        progress: called after each sample.
    """
    lengths: Counter[int] = Counter()
    symbols: Counter[str] = Counter()
    widths: Counter[int] = Counter()
    heights: Counter[int] = Counter()
    words: set[int] = set()
    unreadable = 0
    for sample in inspect(dataset, workers):
        progress()
        if sample.error is not None:
            unreadable += 1
            continue
        lengths[len(sample.label)] += 1
        symbols.update(sample.label)
        words.add(hash(sample.label))
        width = round(sample.width * height / sample.height)
        widths[width // _WIDTH_STEP * _WIDTH_STEP] += 1
        heights[sample.height // 10 * 10] += 1
    return {
        "data": dataset.source,
        "kind": dataset.kind,
        "lexicons": list(dataset.lexicons),
        "count": len(dataset),
        "unreadable": unreadable,
        "unusable": len(dataset.problems),
        "different_labels": len(words),
        "label_lengths": dict(sorted(lengths.items())),
        "symbols": dict(symbols.most_common()),
        f"widths_at_height_{height}": dict(sorted(widths.items())),
        "heights": dict(sorted(heights.items())),
    }


def as_text(figures: dict[str, Any]) -> str:
    """`statistics` as histograms of text."""
    lines = [
        f"{figures['data']}: {figures['count']} samples, {figures['kind']}, "
        f"{figures['different_labels']} different labels, {figures['unreadable']} unreadable, "
        f"{figures['unusable']} unusable entries"
    ]
    for title, counts in figures.items():
        if not isinstance(counts, dict):
            continue
        lines += ["", title.replace("_", " ")]
        most = max(counts.values(), default=1)
        for value, count in counts.items():
            shown = repr(value)[1:-1] if isinstance(value, str) else str(value)
            bar = "#" * round(_BAR * count / most) or "."
            lines.append(f"  {shown:>6} {count:>9} {bar}")
    return "\n".join(lines)

"""The pictures of an evaluation, drawn by matplotlib where it is installed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from crnn.evaluation.confidence import Confidence
from crnn.files import replacing


def new_figure(width: float, height: float) -> Any:
    """An empty figure of so many inches.

    Raises:
        ValueError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ValueError(
            "plot: matplotlib must be installed; run `pip install crnn-ext[plot]`"
        ) from error
    return Figure(figsize=(width, height), layout="constrained")


def plot_confidence(measured: Mapping[str, Confidence], path: str | Path) -> None:
    """Draw reliability and risk over coverage, a line for each of `measured`.

    Raises:
        ValueError: matplotlib is not installed, or the ending of `path` is of no kind of picture.
        OSError: the file cannot be written.
    """
    figure = new_figure(10, 4.5)
    reliability, risk = figure.subplots(1, 2)
    reliability.plot([0, 1], [0, 1], ":", color="grey")
    for name, confidence in measured.items():
        bins = confidence.bins()
        reliability.plot(
            [bin.confidence for bin in bins], [bin.accuracy for bin in bins], "o-",
            label=f"{name}, ECE {confidence.calibration_error:.1%}",
        )  # fmt: skip
        covered = np.arange(1, confidence.count + 1) / max(1, confidence.count)
        risk.plot(covered, 1 - confidence.accuracies(), label=f"{name}, AURC {confidence.aurc:.3f}")
    reliability.set(xlabel="confidence", ylabel="share right", title="bins of equal mass")
    risk.set(xlabel="coverage, the surest first", ylabel="share wrong", title="risk and coverage")
    for axes in (reliability, risk):
        axes.legend()
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=150)


def plot_search(
    names: Sequence[str],
    shares: Sequence[float],
    ms: Sequence[float],
    path: str | Path,
    what: str = "accuracy",
) -> None:
    """Draw Figure 4: accuracy as a line, search time as bars, over delta.

    Args:
        names: the BK-tree's delta, or another method, of each bar.
        shares: in [0, 1], of `what`.
        ms: milliseconds per image.
        path: the picture.
        what: the line is.

    Raises:
        ValueError, OSError: as `plot_confidence`.
    """
    figure = new_figure(6, 4)
    times = figure.add_subplot()
    places = range(len(names))
    times.bar(places, ms, color="tab:red", alpha=0.6)
    times.set_ylabel("search time per image, ms")
    times.set_xticks(list(places), list(names), rotation=30 if max(map(len, names)) > 5 else 0)
    times.set_xlabel("delta")
    accuracy = times.twinx()
    accuracy.plot(places, [100 * share for share in shares], "o-", color="tab:blue")
    accuracy.set_ylabel(f"{what}, %")
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=150)

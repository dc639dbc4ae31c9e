"""The paper's tables and figure, for any model: Table 2, Figure 4, Table 3 and its times."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch

from crnn import images
from crnn.data import Dataset
from crnn.evaluation.evaluator import Search, evaluate
from crnn.evaluation.plots import plot_search
from crnn.evaluation.protocols import PROTOCOLS, Protocol
from crnn.evaluation.score import Score
from crnn.images import ImageError
from crnn.recognizer import Recognizer
from crnn_ext import LexiconMethod


@dataclass(frozen=True)
class Column:
    """A column of Table 2: a data set, the lexicon, and the paper's accuracy in percent."""

    data: str
    lexicon: str
    protocol: str
    paper: float


#: Table 2 of the paper, in its order. IC03's 860 images are a list: without it the rule gives 867.
TABLE2 = (
    Column("iiit5k", "50", "36", 97.6),
    Column("iiit5k", "1k", "36", 94.4),
    Column("iiit5k", "none", "36", 78.2),
    Column("svt", "50", "36", 96.4),
    Column("svt", "none", "36", 80.8),
    Column("ic03", "50", "ic03-867", 98.7),
    Column("ic03", "full", "ic03-867", 97.6),
    Column("ic03", "50k", "ic03-867", 95.5),
    Column("ic03", "none", "ic03-867", 89.4),
    Column("ic13", "none", "ic13-1015", 86.7),
)


def table2(
    recognizer: Recognizer,
    datasets: Mapping[str, Dataset],
    *,
    model: str = "",
    lexicon_50k: str = "",
    method: LexiconMethod = "exact",
    protocols: Mapping[str, Protocol] | None = None,
    progress: Callable[[int], object] = lambda count: None,
) -> list[tuple[Column, Score | None]]:
    """Every column of Table 2 that the data allows; None for the others.

    Args:
        recognizer: the model.
        datasets: by "iiit5k", "svt", "ic03", "ic13"; any of them.
        model: its name.
        lexicon_50k: file of the large lexicon (the paper's is hunspell's list of stems), searched
            by BK-tree with delta = 3 as in the paper.
        method: how the other lexicons are searched.
        protocols: to use in place of a column's own, by data set (a list of IC03's 860).
        progress: see `evaluate`.

    Raises:
        ValueError: a data set of another name, or see `evaluate`.
    """
    known = list(dict.fromkeys(column.data for column in TABLE2))
    strange = sorted(set(datasets) - set(known))
    if strange:
        raise ValueError(f"table2: data must be named {', '.join(known)}, got {strange[0]!r}")
    scores: dict[Column, Score] = {}
    for name, dataset in datasets.items():
        columns = [column for column in TABLE2 if column.data == name]
        columns = [column for column in columns if _possible(column, dataset, lexicon_50k)]
        searches = [
            Search(lexicon_50k, "bk-tree")
            if column.lexicon == "50k"
            else Search(column.lexicon, method)
            for column in columns
        ]
        protocol = (protocols or {}).get(name, PROTOCOLS[columns[0].protocol])
        found = evaluate(
            recognizer, dataset, protocol, searches, data=name, model=model, progress=progress
        )
        scores.update(zip(columns, found, strict=True))
    return [(column, scores.get(column)) for column in TABLE2]


def _possible(column: Column, dataset: Dataset, lexicon_50k: str) -> bool:
    if column.lexicon == "50k":
        return bool(lexicon_50k)
    if column.lexicon == "full":
        return bool(dataset.lexicons)
    return column.lexicon == "none" or column.lexicon in dataset.lexicons


def table2_text(columns: Sequence[tuple[Column, Score | None]], model: str) -> str:
    """Table 2 in Markdown: the paper's row, ours, and our 95 % intervals."""
    heads = [f"{column.data} {column.lexicon.capitalize()}" for column, _ in columns]
    ours, spans = [], []
    for _, score in columns:
        if score is None or not score.count:
            ours.append("–")
            spans.append("")
        else:
            low, high = score.interval
            ours.append(f"**{100 * score.accuracy:.1f}**")
            spans.append(f"{100 * low:.1f}–{100 * high:.1f}, {score.count} words")
    rows = [
        ["accuracy %", *heads],
        ["---", *["---:"] * len(heads)],
        ["CRNN (the paper)", *(f"{column.paper:.1f}" for column, _ in columns)],
        [model, *ours],
        ["95 % interval", *spans],
    ]
    notes = []
    for column, score in columns:
        if score is not None and column.lexicon != "none":
            notes.append(f"{column.data} {column.lexicon}: {score.covered:.1%} of words in it")
        elif score is not None and score.expected not in (0, score.count):
            notes.append(
                f"{column.data}: {score.count} words, not the {score.expected} of {score.protocol}"
            )
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([*lines, *(f"\n{note}" for note in notes)])


def figure4(
    recognizer: Recognizer,
    dataset: Dataset,
    lexicon: str,
    *,
    protocol: Protocol = PROTOCOLS["36"],
    deltas: Sequence[int] = range(6),
    reference: Sequence[LexiconMethod] = ("exact", "exhaustive"),
    data: str = "",
    model: str = "",
    progress: Callable[[int], object] = lambda count: None,
) -> list[Score]:
    """Figure 4: accuracy and search time for each delta of the BK-tree; then other methods."""
    searches = [Search(lexicon, "bk-tree", delta) for delta in deltas]
    searches += [Search(lexicon, method, tolerance=None) for method in reference]
    return evaluate(
        recognizer, dataset, protocol, searches, data=data, model=model, progress=progress
    )


def figure4_text(scores: Sequence[Score]) -> str:
    """Figure 4 as a table."""
    rows = [
        "| search | accuracy % (95 % interval) | of words in the lexicon % | search ms per image |",
        "|---|---:|---:|---:|",
    ]
    for score in scores:
        low, high = score.interval
        seconds = score.search_seconds / max(1, score.count)
        rows.append(
            f"| {score.method} | {100 * score.accuracy:.1f} ({100 * low:.1f}–{100 * high:.1f}) "
            f"| {100 * score.accuracy_covered:.1f} | {1e3 * seconds:.2f} |"
        )
    covered = scores[0].covered
    return "\n".join([*rows, "", f"{covered:.1%} of the {scores[0].count} words in the lexicon"])


def figure4_plot(scores: Sequence[Score], path: str | Path) -> None:
    """Figure 4 as the paper draws it, see `crnn.evaluation.plots.plot_search`."""
    steps = [score for score in scores if score.method.startswith("bk-tree")]
    plot_search(
        [score.method.rpartition("=")[2] for score in steps],
        [score.accuracy for score in steps],
        [1e3 * score.search_seconds / max(1, score.count) for score in steps],
        path,
    )


def table3(
    recognizer: Recognizer, dataset: Dataset, lexicon: str = "", limit: int = 200
) -> dict[str, Any]:
    """Table 3's size, and the times of section 3.2, one image at a time.

    Args:
        recognizer: the model.
        dataset: images to time; the first `limit` that can be read.
        lexicon: file of the large lexicon, searched by BK-tree with delta = 3.
        limit: how many images at most.

    Returns:
        Parameters; megabytes at 4 and 2 bytes each; median milliseconds per image from encoded
        image to text. The paper: 8.3 M, 33 MB; 160 ms, with 50k words 530 ms, on a K40 GPU.
    """
    parameters = sum(p.numel() for p in recognizer.model.parameters())
    figures: dict[str, Any] = {
        "parameters": parameters,
        "megabytes_float32": parameters * 4 / 1e6,
        "megabytes_float16": parameters * 2 / 1e6,
        "threads": torch.get_num_threads(),
    }
    sources = []
    for i in range(len(dataset)):
        try:
            source = dataset.image(i)
            images.load(source, dataset.name(i))
            sources.append(source)
        except ImageError:
            continue
        if len(sources) == limit:
            break
    figures["images"] = len(sources)
    words = recognizer.lexicon(lexicon) if lexicon else None
    for name, options in (
        ("ms", {"method": "greedy"}),
        ("ms_50k", {"lexicon": words, "method": "bk-tree"}),
    ):
        if name == "ms_50k" and words is None:
            continue
        seconds = []
        for source in sources:
            started = time.perf_counter()
            recognizer.read(source, **options)
            seconds.append(time.perf_counter() - started)
        figures[name] = 1e3 * median(seconds) if seconds else None
    return figures

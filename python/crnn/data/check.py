"""`check`: what of a data set cannot be learned, before any time is spent on training."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crnn.charset import Charset
from crnn.data.dataset import Dataset
from crnn.data.inspection import Inspected, inspect

#: What is looked for, in the order of the report.
KINDS = {
    "unusable": "entries of the listing that cannot be used",
    "corrupt": "images or labels that cannot be read",
    "empty": "labels without any symbol (of words; in music they mean: nothing to read)",
    "symbols": "labels with symbols outside the charset",
    "too long": "labels longer than the frames of their image: CTC gives them no probability",
    "duplicate": "images that are there already, with the same label",
    "conflict": "images that are there already, with another label",
    "leak": "images that are also in the other data set",
}


@dataclass
class Report:
    """What `check` found in one data set.

    Attributes:
        source: its name.
        count: its samples.
        found: for each of `KINDS` how many.
        examples: for each of `KINDS` the first few, as text.
        symbols: how often each symbol outside the charset occurs.
    """

    source: str
    count: int
    found: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)
    symbols: Counter[str] = field(default_factory=Counter)
    limit: int = 3

    def add(self, kind: str, example: str) -> None:
        """Count one finding; keep it as an example if there are few."""
        self.found[kind] += 1
        kept = self.examples.setdefault(kind, [])
        if len(kept) < self.limit:
            kept.append(example)

    @property
    def sound(self) -> bool:
        """Whether nothing was found."""
        return not self.found

    def to_dict(self) -> dict[str, Any]:
        """A plain form for JSON."""
        return {
            "data": self.source,
            "count": self.count,
            "found": {kind: self.found[kind] for kind in KINDS},
            "examples": self.examples,
            "symbols": dict(self.symbols.most_common()),
        }

    def __str__(self) -> str:
        lines = [f"{self.source}: {self.count} samples, {'sound' if self.sound else 'check'}"]
        for kind, meaning in KINDS.items():
            if self.found[kind]:
                lines.append(f"  {self.found[kind]:>9} {kind}: {meaning}")
                lines += [f"{'':>12}{example}" for example in self.examples[kind]]
        if self.symbols:
            shown = " ".join(f"{s!r}:{n}" for s, n in self.symbols.most_common(20))
            lines.append(f"  symbols outside the charset: {shown}")
        return "\n".join(lines)


def needed_frames(label: Sequence[object]) -> int:
    """Frames that CTC needs at least: one a symbol, and a blank between equal neighbours."""
    return len(label) + sum(a == b for a, b in itertools.pairwise(label))


def check(
    datasets: Sequence[Dataset],
    charset: Charset,
    frames_of: Callable[[int, int], int],
    workers: int = 0,
    examples: int = 3,
    progress: Callable[[], object] = lambda: None,
) -> list[Report]:
    """Look at every sample of `datasets`; with several, also for images that two of them share.

    Args:
        datasets: e.g. the training and the test data.
        charset: of the model.
        frames_of: frames of an image of (width, height) pixels.
        workers: processes that decode images.
        examples: how many examples of each finding to keep.
        progress: called after each sample.
    """
    reports, digests = [], []
    for dataset in datasets:
        report = Report(dataset.source, len(dataset), limit=examples)
        for problem in dataset.problems:
            report.add("unusable", str(problem))
        digest = np.zeros(len(dataset), np.uint64)
        for sample in inspect(dataset, workers):
            digest[sample.index] = sample.digest
            _check_sample(report, sample, charset, frames_of)
            progress()
        _check_duplicates(report, dataset, digest)
        reports.append(report)
        digests.append(digest)
    for i, (report, dataset) in enumerate(zip(reports, datasets, strict=True)):
        others = [d for j, d in enumerate(digests) if j != i]
        if others:
            shared = np.isin(digests[i], np.concatenate(others)) & (digests[i] != 0)
            for index in np.flatnonzero(shared):
                report.add("leak", dataset.name(int(index)))
    return reports


def _check_sample(
    report: Report, sample: Inspected, charset: Charset, frames_of: Callable[[int, int], int]
) -> None:
    if sample.error is not None:
        report.add("corrupt", sample.error)
        return
    symbols = charset.split(sample.label)
    if not symbols:
        if not charset.allows_empty:
            report.add("empty", sample.name)
        return
    unknown = charset.unknown(sample.label)
    if unknown:
        report.symbols.update(unknown)
        report.add("symbols", f"{sample.name}: {sample.label!r} has {unknown[0]!r}")
    # What remains is what training would learn.
    known = [symbol for symbol in symbols if symbol not in unknown]
    frames, needed = frames_of(sample.width, sample.height), needed_frames(known)
    if frames < needed:
        report.add(
            "too long",
            f"{sample.name}: {sample.label!r} needs {needed} frames, "
            f"{sample.width} x {sample.height} pixels give {frames}",
        )


def _check_duplicates(report: Report, dataset: Dataset, digest: NDArray[np.uint64]) -> None:
    order = np.argsort(digest, kind="stable")
    sorted_digest = digest[order]
    same = (sorted_digest[1:] == sorted_digest[:-1]) & (sorted_digest[1:] != 0)
    first = 0
    for k in np.flatnonzero(same):
        if k == 0 or not same[k - 1]:
            first = int(order[k])
        second = int(order[k + 1])
        before, now = dataset.label(first), dataset.label(second)
        kind = "duplicate" if before == now else "conflict"
        shown = "" if before == now else f": {now!r}, and {before!r}"
        report.add(kind, f"{dataset.name(second)} is {dataset.name(first)}{shown}")

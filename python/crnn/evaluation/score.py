"""What an evaluation measured: every reading, and the figures made of them."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from crnn.evaluation.confidence import COVERAGES, Confidence
from crnn.evaluation.metrics import edits, mcnemar, mean_interval, wilson_interval
from crnn.files import write_atomically
from crnn_ext import edit_distance


@dataclass(frozen=True)
class Outcome:
    """One sample that was scored.

    Attributes:
        name: of the sample.
        label: as stored.
        reading: as read.
        truth, text: both as the protocol compares them.
        confidence: p(reading | image), among all texts, or among the words of a lexicon. Where
            a model tells cases apart it is that of one spelling, whatever the protocol folds.
        error: why the image could not be read, or None; it then counts as wrong.
        covered: whether the lexicon holds the truth; True without a lexicon.
    """

    name: str
    label: str
    reading: str
    truth: str
    text: str
    confidence: float = 0.0
    error: str | None = None
    covered: bool = True

    @property
    def right(self) -> bool:
        """Whether it was read exactly right."""
        return self.error is None and self.truth == self.text


@dataclass(frozen=True)
class Score:
    """One data set, read one way.

    Attributes:
        data, model: their names.
        protocol: its name, with the digest of its list if there is one.
        lexicon: what the readings were restricted to, "none" for nothing.
        method: how texts were searched for, with delta for "bk-tree"; "" for greedy reading.
        outcomes: of every sample that was scored.
        skipped: samples that the protocol leaves out.
        expected: samples that the protocol's full test set has; 0 for any number.
        network_seconds: decoding of the images and the network, all samples together.
        search_seconds: transcription, all samples together.
        spaced: symbols are separated by spaces, as pitches are; else each character is one.
    """

    data: str
    model: str
    protocol: str
    lexicon: str
    method: str
    outcomes: tuple[Outcome, ...]
    skipped: int = 0
    expected: int = 0
    network_seconds: float = 0.0
    search_seconds: float = 0.0
    spaced: bool = False

    @property
    def count(self) -> int:
        """Samples scored."""
        return len(self.outcomes)

    @cached_property
    def right(self) -> int:
        """Samples read exactly right."""
        return sum(outcome.right for outcome in self.outcomes)

    @property
    def failed(self) -> int:
        """Images that could not be read; they count as wrong."""
        return sum(outcome.error is not None for outcome in self.outcomes)

    @property
    def accuracy(self) -> float:
        """Share of samples read exactly right; NaN for no samples."""
        return self.right / self.count if self.count else float("nan")

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of the accuracy."""
        return wilson_interval(self.right, self.count)

    @property
    def covered(self) -> float:
        """Share of truths that the lexicon holds: no reading with it can be better."""
        return sum(outcome.covered for outcome in self.outcomes) / max(1, self.count)

    @property
    def accuracy_covered(self) -> float:
        """Accuracy on the words that the lexicon holds; NaN where it holds none."""
        right = [outcome.right for outcome in self.outcomes if outcome.covered]
        return sum(right) / len(right) if right else float("nan")

    @cached_property
    def closeness(self) -> float:
        """1-NED: mean of 1 - edit distance / length of the longer text, in [0, 1]."""
        longer = (max(len(self._symbols(t)) for t in (o.truth, o.text)) for o in self.outcomes)
        total = sum(1 - d / max(1, n) for d, n in zip(self._distances, longer, strict=True))
        return total / max(1, self.count)

    @property
    def average_distance(self) -> float:
        """Edit distance of a sample, on average (Table 4); NaN for no samples."""
        return sum(self._distances) / self.count if self.count else float("nan")

    @property
    def distance_interval(self) -> tuple[float, float]:
        """95 % interval of `average_distance`."""
        return mean_interval(self._distances)

    @cached_property
    def character_error_rate(self) -> float:
        """CER: all edits over all symbols of the truths; may exceed 1."""
        symbols = sum(len(self._symbols(outcome.truth)) for outcome in self.outcomes)
        return sum(self._distances) / max(1, symbols)

    @cached_property
    def _distances(self) -> list[int]:
        """The edit distance of each sample, in symbols."""
        if not self.spaced:
            return [edit_distance(o.truth, o.text) for o in self.outcomes]
        pairs = [(self._symbols(o.truth), self._symbols(o.text)) for o in self.outcomes]
        codes: dict[str, str] = {}  # a character for each symbol
        for pair in pairs:
            for symbol in (*pair[0], *pair[1]):
                codes.setdefault(symbol, chr(len(codes)))
        spelt = [tuple("".join(map(codes.__getitem__, text)) for text in pair) for pair in pairs]
        return [edit_distance(truth, text) for truth, text in spelt]

    def _symbols(self, text: str) -> Sequence[str]:
        return text.split() if self.spaced else text

    @cached_property
    def confidence(self) -> Confidence:
        """Of all readings with whether they are right; of an unreadable image 0, and wrong."""
        return Confidence.of(
            [outcome.confidence for outcome in self.outcomes],
            [outcome.right for outcome in self.outcomes],
        )

    def confidence_text(self) -> str:
        """What the confidences are worth, in a line."""
        found = self.confidence
        shares = ", ".join(f"{found.accuracy_at(c):.1%} at {c:.0%}" for c in COVERAGES)
        return (
            f"calibration error {found.calibration_error:.1%}, AURC {found.aurc:.4f}; "
            f"right of the surest: {shares}"
        )

    @property
    def digest(self) -> str:
        """Of the truths that were scored, whatever their order: the same test, the same digest."""
        truths = "\n".join(sorted(outcome.truth for outcome in self.outcomes))
        return hashlib.sha256(truths.encode()).hexdigest()[:16]

    @property
    def errors(self) -> tuple[Outcome, ...]:
        """The wrong ones, the most confident first."""
        wrong = (outcome for outcome in self.outcomes if not outcome.right)
        return tuple(sorted(wrong, key=lambda outcome: -outcome.confidence))

    def by_length(self) -> dict[int, tuple[int, int]]:
        """(right, count) for each length of the truth."""
        counts = Counter(len(self._symbols(outcome.truth)) for outcome in self.outcomes)
        right = Counter(len(self._symbols(o.truth)) for o in self.outcomes if o.right)
        return {length: (right[length], counts[length]) for length in sorted(counts)}

    def confusions(self) -> Counter[tuple[str, str]]:
        """How often each edit turns truths into readings, see `metrics.edits`."""
        return Counter(
            edit
            for outcome in self.errors
            for edit in edits(self._symbols(outcome.truth), self._symbols(outcome.text))
        )

    def to_dict(self, samples: bool = False) -> dict[str, Any]:
        """All figures, ready for JSON, and on demand all samples; no samples give None."""
        figures = {
            **{k: getattr(self, k) for k in ("data", "model", "protocol", "lexicon", "method")},
            **{k: getattr(self, k) for k in ("count", "right", "skipped", "failed", "expected")},
            "accuracy": self.accuracy if self.count else None,
            "interval": self.interval,
            "distance": self.closeness,
            "cer": self.character_error_rate,
            "average_distance": self.average_distance if self.count else None,
            "distance_interval": self.distance_interval if self.count else None,
            "spaced": self.spaced,
            "covered": self.covered,
            "accuracy_covered": self.accuracy_covered if self.covered else None,
            **self._confidence_figures(),
            "digest": self.digest,
            "seconds_per_image": (self.network_seconds + self.search_seconds) / max(1, self.count),
            "search_seconds_per_image": self.search_seconds / max(1, self.count),
            "by_length": {str(k): v for k, v in self.by_length().items()},
            "confusions": [[a, b, n] for (a, b), n in self.confusions().most_common(50)],
        }
        if samples:
            figures["samples"] = [asdict(outcome) for outcome in self.outcomes]
        return figures

    def _confidence_figures(self) -> dict[str, Any]:
        found = self.confidence
        return {
            "calibration_error": found.calibration_error if found.count else None,
            "aurc": found.aurc if found.count else None,
            "accuracy_at_coverage": {
                f"{coverage:g}": found.accuracy_at(coverage)
                for coverage in COVERAGES
                if found.count
            },
            "reliability": [asdict(bin) for bin in found.bins()],
        }

    def __str__(self) -> str:
        low, high = self.interval
        share = f"{self.accuracy:.1%} ({low:.1%}-{high:.1%})" if self.count else "no labelled words"
        parts = [
            f"{share}, {self.right} of {self.count} {'fragments' if self.spaced else 'words'}",
            self._distances_text(),
            f"{self.failed} unreadable, {self.skipped} not scored",
        ]
        if self.lexicon != "none":
            parts.append(
                f"{self.covered:.1%} of the words in the lexicon, "
                f"of these {self.accuracy_covered:.1%} right"
            )
        if self.expected and self.expected != self.count:
            parts.append(f"NOT the {self.expected} words of {self.protocol}")
        return ", ".join(parts)

    def _distances_text(self) -> str:
        rate = f"{self.character_error_rate:.1%}"
        if not self.spaced:
            return f"1-NED {self.closeness:.3f}, CER {rate}"
        low, high = self.distance_interval
        return (
            f"average edit distance {self.average_distance:.2f} ({low:.2f}-{high:.2f}), "
            f"symbol error rate {rate}"
        )


def save_run(path: str | Path, scores: Iterable[Score]) -> None:
    """Write scores with all samples as JSON, whole or not at all, for `load_run`."""
    runs = [score.to_dict(samples=True) for score in scores]
    write_atomically(Path(path), json.dumps(runs, indent=1).encode())


def load_run(path: str | Path) -> list[Score]:
    """Scores that `save_run` wrote.

    Raises:
        ValueError: the file cannot be read or holds something else.
    """
    try:
        runs = json.loads(Path(path).read_text(encoding="utf-8"))
        return [
            Score(
                **{k: run[k] for k in ("data", "model", "protocol", "lexicon", "method")},
                outcomes=tuple(Outcome(**sample) for sample in run["samples"]),
                spaced=run.get("spaced", False),
                skipped=run["skipped"],
                expected=run["expected"],
                network_seconds=run["count"]
                * (run["seconds_per_image"] - run["search_seconds_per_image"]),
                search_seconds=run["count"] * run["search_seconds_per_image"],
            )
            for run in runs
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"eval: {path} must be a run saved with --output, got {error!r}"
        ) from error


@dataclass(frozen=True)
class Comparison:
    """Two scores of the same samples.

    Attributes:
        both, only_first, only_second, neither: samples read right by which of the two.
    """

    both: int
    only_first: int
    only_second: int
    neither: int

    @property
    def p(self) -> float:
        """Of McNemar's exact test: how probable so uneven a disagreement is between equals."""
        return mcnemar(self.only_first, self.only_second)

    def to_dict(self) -> dict[str, float]:
        """A plain form for JSON."""
        return {**asdict(self), "p": self.p}

    def __str__(self) -> str:
        verdict = "differ" if self.p < 0.05 else "no difference shown"
        return (
            f"both right {self.both}, only the first {self.only_first}, only the second "
            f"{self.only_second}, neither {self.neither}; McNemar p = {self.p:.2g}: {verdict}"
        )


def compare(first: Score, second: Score) -> Comparison:
    """Match two scores sample by sample.

    Raises:
        ValueError: they are not of the same samples.
    """
    ours = {(o.name, o.truth): o.right for o in first.outcomes}
    theirs = {(o.name, o.truth): o.right for o in second.outcomes}
    if ours.keys() != theirs.keys():
        missing = len(ours.keys() ^ theirs.keys())
        raise ValueError(
            f"eval: both runs must score the same samples, got {missing} that only one has "
            f"({first.data}, {first.protocol}; {second.data}, {second.protocol})"
        )
    pairs = Counter((right, theirs[key]) for key, right in ours.items())
    return Comparison(
        pairs[True, True], pairs[True, False], pairs[False, True], pairs[False, False]
    )

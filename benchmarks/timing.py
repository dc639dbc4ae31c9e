"""Interleaved timing: noise that lasts longer than one round hits every implementation alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

# A sample shorter than this is repeated until it is this long (s): the clock and the loop around
# the call must not show in the result.
MIN_SAMPLE_SECONDS = 1e-3


@dataclass(frozen=True)
class Spread:
    """Median, 10th and 90th percentile of repeated measurements."""

    median: float
    p10: float
    p90: float


@dataclass(frozen=True)
class Measurement:
    """One implementation: seconds per call, one entry per round."""

    rounds: tuple[float, ...]

    @property
    def seconds(self) -> Spread:
        return spread(self.rounds)

    def ratio_of(self, baseline: Measurement) -> Spread:
        """How many times faster than `baseline`, from the pairs of each round (> 1 is faster)."""
        pairs = zip(baseline.rounds, self.rounds, strict=True)
        return spread([theirs / ours for theirs, ours in pairs])


def spread(values: Sequence[float]) -> Spread:
    """Median, p10 and p90 of at least one value."""
    if len(values) == 1:
        return Spread(values[0], values[0], values[0])
    deciles = statistics.quantiles(values, n=10, method="inclusive")
    return Spread(statistics.median(values), deciles[0], deciles[-1])


def interleave(
    functions: Mapping[str, Callable[[], object]],
    *,
    seconds: float = 2.0,
    min_rounds: int = 5,
    max_rounds: int = 200,
) -> dict[str, Measurement]:
    """Time each function once per round, in turns, after one warm-up call of each.

    Args:
        functions: name -> what to time; each call must do the whole of its work.
        seconds: stop once all rounds together took this long, but not before `min_rounds`.
        min_rounds, max_rounds: limits on the number of rounds, min_rounds >= 1.

    Returns:
        name -> Measurement; all have the same number of rounds, so that rounds pair up.
    """
    repeats = {name: _calibrate(function) for name, function in functions.items()}
    rounds: dict[str, list[float]] = {name: [] for name in functions}
    names = list(functions)
    start = time.perf_counter()
    for index in range(max_rounds):
        if index >= min_rounds and time.perf_counter() - start > seconds:
            break
        # Every other round runs backwards, so that none always follows the same neighbour.
        for name in names if index % 2 == 0 else reversed(names):
            rounds[name].append(_sample(functions[name], repeats[name]))
    return {name: Measurement(tuple(values)) for name, values in rounds.items()}


def _calibrate(function: Callable[[], object]) -> int:
    """Warm up, and return how many calls fill MIN_SAMPLE_SECONDS."""
    function()
    once = _sample(function, 1)
    return max(1, round(MIN_SAMPLE_SECONDS / max(once, 1e-9)))


def _sample(function: Callable[[], object], repeats: int) -> float:
    begin = time.perf_counter()
    for _ in range(repeats):
        function()
    return (time.perf_counter() - begin) / repeats

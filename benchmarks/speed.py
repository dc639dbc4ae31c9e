"""The frame of every speed benchmark: options, and timing, showing and recording one case."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from typing import Any

import torch

from benchmarks.record import record
from benchmarks.timing import Spread, interleave


def parser(subject: str, description: str | None, seconds: float) -> argparse.ArgumentParser:
    """Command line of `python -m benchmarks.<subject>` with the options that all have."""
    result = argparse.ArgumentParser(
        prog=f"python -m benchmarks.{subject}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    result.add_argument("--quick", action="store_true", help="a few small cases, a moment each")
    result.add_argument("--threads", type=int, default=1, help="torch threads (default: 1)")
    result.add_argument(
        "--seconds", type=float, default=seconds, help="time for one case (default: %(default)s)"
    )
    result.add_argument("--no-record", action="store_true", help="do not append to the results")
    return result


def parse(options: argparse.ArgumentParser) -> argparse.Namespace:
    """The options of this process, the number of threads set."""
    parsed = options.parse_args()
    torch.set_num_threads(parsed.threads)
    if parsed.quick:
        parsed.seconds = min(parsed.seconds, 0.5)
    return parsed


def compare(
    subject: str,
    name: str,
    case: Mapping[str, Any],
    errors: Mapping[str, float],
    functions: Mapping[str, Callable[[], object]],
    options: argparse.Namespace,
) -> None:
    """Time verified implementations in turns, print a line, and record one line for each.

    Args:
        subject: name of the results file.
        name: the case in words.
        case: the case as recorded.
        errors: relative error of each implementation against float64.
        functions: "torch", the baseline, and "crnn_ext".
        options: from `parse`.
    """
    measured = interleave(functions, seconds=options.seconds)
    ratio = measured["crnn_ext"].ratio_of(measured["torch"])
    cells = [f"{key} {errors[key]:.1e} {_milliseconds(measured[key].seconds)}" for key in functions]
    print(f"{name:42} {' '.join(cells)} {ratio.median:6.2f}x", flush=True)
    for key in () if options.no_record else functions:
        record(
            subject,
            case,
            key,
            error=errors[key],
            measurement=measured[key],
            ratio=ratio if key == "crnn_ext" else None,
        )


def _milliseconds(spread: Spread) -> str:
    return f"{spread.median * 1e3:9.3f} {f'[{spread.p10 * 1e3:.3f}, {spread.p90 * 1e3:.3f}]':<20}"

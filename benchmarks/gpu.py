"""Timing on a GPU: eager calls, replays of a CUDA graph, calls that find the L2 cache cold, and
the sum of the kernels of a call.

Implementations take turns within a round, and a baseline runs twice under two names: differences
below what lies between the two are noise.
"""

from __future__ import annotations

import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence

import torch
from torch.autograd import DeviceType

from benchmarks.timing import Measurement

Call = Callable[[], object]
Sampler = Callable[[], float]  # seconds per call

ROUNDS = 5
EAGER_CALLS = 200
CAPTURED_CALLS = 20
REPLAYS = 50
COLD_CALLS = 20
FLUSH_BYTES = 256 << 20  # several times the L2 cache of any GPU


def eager(calls: Sequence[Call], count: int = EAGER_CALLS) -> Sampler:
    """Wall time per call of `count` calls in a row, one wait at the end."""
    synchronize = torch.cuda.synchronize if torch.cuda.is_available() else lambda: None

    def sample() -> float:
        synchronize()
        begin = time.perf_counter()
        for k in range(count):
            calls[k % len(calls)]()
        synchronize()
        return (time.perf_counter() - begin) / count

    for call in calls:
        call()
    return sample


def graph(calls: Sequence[Call]) -> Sampler:
    """GPU time per call, from replays of a graph of CAPTURED_CALLS calls, the inputs in turn."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for call in calls:
            call()
    torch.cuda.current_stream().wait_stream(side)
    captured = torch.cuda.CUDAGraph()
    with torch.cuda.graph(captured):
        kept = [calls[k % len(calls)]() for k in range(CAPTURED_CALLS)]

    def sample() -> float:
        kept[:] = kept  # the graph writes to these tensors: they must live as long as it
        times = [_event_seconds(captured.replay) for _ in range(REPLAYS)]
        return statistics.median(times) / CAPTURED_CALLS

    sample()
    return sample


def cold(calls: Sequence[Call]) -> Sampler:
    """GPU time of a call right after FLUSH_BYTES were written, so that nothing is left in L2."""
    flush = torch.empty(FLUSH_BYTES, dtype=torch.int8, device="cuda")

    def sample() -> float:
        times = []
        for k in range(COLD_CALLS):
            flush.zero_()
            times.append(_event_seconds(calls[k % len(calls)]))
        return statistics.median(times)

    sample()
    return sample


def kernels(calls: Sequence[Call]) -> Sampler:
    """Sum of the durations of all kernels of a call, by the profiler: no launches, no gaps."""
    activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]

    def sample() -> float:
        with torch.profiler.profile(activities=activities) as profile:
            for call in calls:
                call()
            torch.cuda.synchronize()
        events = [e for e in profile.events() if e.device_type == DeviceType.CUDA]
        return float(sum(e.self_device_time_total for e in events)) * 1e-6 / len(calls)

    for call in calls:
        call()
    return sample


def copy_bandwidth() -> float:
    """Bytes read and written per second by a copy of 1 GB: the ceiling of what memory gives."""
    source = torch.randn(1 << 28, device="cuda")
    target = torch.empty_like(source)
    sample = kernels([lambda: target.copy_(source)])
    return 2 * source.nbytes / statistics.median(sample() for _ in range(ROUNDS))


TIMINGS: dict[str, Callable[[Sequence[Call]], Sampler]] = {
    "eager": eager,
    "graph": graph,
    "cold": cold,
    "kernels": kernels,
}


def take_turns(samplers: Mapping[str, Sampler], rounds: int = ROUNDS) -> dict[str, Measurement]:
    """One sample of each per round, every other round in the opposite order."""
    result: dict[str, list[float]] = {name: [] for name in samplers}
    names = list(samplers)
    for index in range(rounds):
        for name in names if index % 2 == 0 else reversed(names):
            result[name].append(samplers[name]())
    return {name: Measurement(tuple(values)) for name, values in result.items()}


def clocks() -> str:
    """Clock, power and temperature of the GPU in use as nvidia-smi reports them; "" without it."""
    query = "--query-gpu=name,clocks.sm,clocks.max.sm,power.draw,temperature.gpu"
    command = ["nvidia-smi", query, "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.strip()


def _event_seconds(call: Call) -> float:
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    call()
    end.record()
    end.synchronize()
    return float(begin.elapsed_time(end)) / 1e3

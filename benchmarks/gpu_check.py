"""Everything that needs a GPU, in one command of under ten minutes.

    python -m benchmarks.gpu_check      on the machine with the GPU, in the repository's root
    python -m benchmarks.gpu_check --skip-build --steps tests racecheck

Builds and installs (without network), runs all tests of the CUDA kernels on the GPU, small shapes
under compute-sanitizer (memcheck, racecheck, initcheck), then benchmarks.ctc and benchmarks.lstm
with --device cuda. A step that fails does not stop the next one. Each step adds a line to
results/gpu_check.jsonl; the benchmarks add theirs. With --out, the result files and the output are
copied there after every step.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.record import RESULTS, environment

TESTS = [f"tests/test_{name}.py" for name in (
    "ctc", "ctc_behaviour", "ctc_errors", "ctc_cuda", "greedy_decode",
    "lstm_cuda", "lstm_gpu", "synth_device",
)]  # fmt: skip
SANITIZER = shutil.which("compute-sanitizer") or "/usr/local/cuda/bin/compute-sanitizer"
SUBJECTS = ("gpu_check", "ctc_cuda", "lstm_cuda")  # the result files
SMALL = [sys.executable, "-m", "benchmarks.gpu_small"]


@dataclass(frozen=True)
class Step:
    """A command, what it may take at most, and what it finds in its environment besides ours."""

    command: Sequence[str]
    limit: int  # seconds
    environment: Mapping[str, str] = field(default_factory=dict)


def sanitizer(tool: str, *options: str) -> Step:
    """The small shapes under a tool of compute-sanitizer."""
    command = [SANITIZER, "--tool", tool, "--error-exitcode", "9", *options, *SMALL]
    # Each tensor in memory of its own, so that its bounds are the ones that count.
    return Step(command, 100, {"PYTORCH_NO_CUDA_MEMORY_CACHING": "1"})


PYTHON = [sys.executable, "-m"]
# Our own kernels only; initcheck must see the writes of all kernels.
OURS = ("--kernel-regex", "kns=crnn")
STEPS = {
    "gpu": Step(["nvidia-smi"], 20),
    "build": Step(
        [*PYTHON, "pip", "install", "--no-build-isolation", "--no-deps", "."],
        240,
        {"CRNN_CUDA": "ON", "CUDAARCHS": "90a-real"},
    ),
    "doctor": Step([*PYTHON, "crnn", "doctor"], 60),
    "tests": Step(
        [*PYTHON, "pytest", "-q", "-k", "cuda and not emulated and not mutant", *TESTS], 150
    ),
    "small": Step(SMALL, 60),
    "memcheck": sanitizer("memcheck", *OURS),
    "racecheck": sanitizer("racecheck", *OURS),
    "initcheck": sanitizer("initcheck"),
    "ctc": Step([*PYTHON, "benchmarks.ctc", "--device", "cuda"], 120),
    "lstm": Step([*PYTHON, "benchmarks.lstm", "--device", "cuda", "--frames", "26"], 200),
}


def run(name: str, step: Step, limit: float, out: Path | None) -> bool:
    """Run one step, show and record how it went."""
    print(f"== {name}: {' '.join(step.command)}", flush=True)
    begin = time.perf_counter()
    try:
        done = subprocess.run(
            step.command,
            env={**os.environ, **step.environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=limit,
        )
        code, output = done.returncode, done.stdout
    except subprocess.TimeoutExpired as error:
        code, output = 124, (error.stdout or b"").decode(errors="replace")
    except OSError as error:
        code, output = 127, str(error)
    seconds = round(time.perf_counter() - begin, 1)
    print(output[-3000:], f"== {name}: exit code {code}, {seconds} s", sep="\n", flush=True)
    line = {"step": name, "code": code, "seconds": seconds, "tail": output[-600:], **environment()}
    RESULTS.mkdir(exist_ok=True)
    with (RESULTS / "gpu_check.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
    if out is not None:
        with (out / "output.txt").open("a", encoding="utf-8") as file:
            file.write(f"== {name}: exit code {code}\n{output}\n")
        for results in (RESULTS / f"{subject}.jsonl" for subject in SUBJECTS):
            if results.exists():
                shutil.copy(results, out)
    return code == 0


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu_check",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--steps", nargs="+", choices=STEPS, default=list(STEPS))
    parser.add_argument("--skip-build", action="store_true")
    parser.add_argument("--out", type=Path, help="folder for a copy of the results and the output")
    parser.add_argument("--budget", type=float, default=570, help="seconds for all (default: 570)")
    options = parser.parse_args()
    if options.out is not None:
        options.out.mkdir(parents=True, exist_ok=True)
    end = time.perf_counter() + options.budget
    failed = []
    for name in options.steps:
        if name == "build" and options.skip_build:
            continue
        limit = min(STEPS[name].limit, end - time.perf_counter())
        if limit < 1 or not run(name, STEPS[name], limit, options.out):
            failed.append(name)
    print(f"failed or out of time: {', '.join(failed)}" if failed else "all good")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()

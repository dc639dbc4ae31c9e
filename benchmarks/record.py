"""One JSON line per case and implementation, with all that is needed to repeat the measurement."""

from __future__ import annotations

import json
import os
import platform
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy
import torch

import crnn_ext
from benchmarks.timing import Measurement, Spread

RESULTS = Path(__file__).parent / "results"


def record(
    subject: str,
    case: Mapping[str, Any],
    implementation: str,
    *,
    error: float | None,
    measurement: Measurement,
    ratio: Spread | None = None,
) -> None:
    """Append one line to results/<subject>.jsonl.

    Args:
        subject: name of the file, e.g. "ctc".
        case: what was measured, e.g. {"T": 26, "N": 512, "pass": "forward+backward"}.
        implementation: what measured it, e.g. "crnn_ext" or "torch".
        error: relative error against the float64 reference; None if there is none.
        measurement: from benchmarks.timing.interleave.
        ratio: how many times faster than the baseline; None for the baseline itself.
    """
    line = {
        "case": dict(case),
        "implementation": implementation,
        "error": error,
        "seconds": _spread(measurement.seconds),
        "rounds": len(measurement.rounds),
        "ratio": None if ratio is None else _spread(ratio),
        **environment(),
    }
    RESULTS.mkdir(exist_ok=True)
    with (RESULTS / f"{subject}.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def environment() -> dict[str, Any]:
    """Commit, date, machine, versions and the exact command of this process."""
    return {
        "commit": _commit(),
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "machine": {
            "cpu": cpu_name(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "simd": os.environ.get("CRNN_SIMD", "best"),
            "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        },
        "versions": {
            "crnn_ext": crnn_ext.__version__,
            "torch": torch.__version__,
            "numpy": numpy.__version__,
            "python": platform.python_version(),
        },
        "command": _command(),
    }


def cpu_name() -> str:
    """The processor's name as the kernel reports it."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _spread(value: Spread) -> dict[str, float]:
    return {"median": value.median, "p10": value.p10, "p90": value.p90}


def _commit() -> str | None:
    """The commit of this checkout, "+" appended where tracked files differ from it."""
    git = ["git", "-C", str(Path(__file__).parent)]
    try:
        head = subprocess.run(
            [*git, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=True
        ).stdout.strip()
        changes = subprocess.run(
            [*git, "status", "--porcelain", "--untracked-files=no", "--", ".", ":!results"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    return head + ("+" if changes else "")


def _command() -> str:
    """The command line as typed from the repository root; paths as in NAME=/a/b become PATH."""
    spec = sys.modules["__main__"].__spec__
    arguments = [re.sub(r"=.*/.*", "=PATH", argument) for argument in sys.argv[1:]]
    if spec is None:
        return shlex.join(["python", Path(sys.argv[0]).name, *arguments])
    name = spec.name.removesuffix(".__main__")
    return shlex.join(["python", "-m", name, *arguments])

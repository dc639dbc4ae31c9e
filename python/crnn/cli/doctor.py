"""Check the installation: versions, devices, every operation, models.

Each operation runs on random input and is compared with a plain reference: the error against it in
float64, and the speed, on one thread, against what one would use without this package. Where
something is missing, what to do about it is said.

exit status: 0 everything works, 1 something is broken.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import crnn_ext

EXAMPLES = """\
  crnn doctor           a report
  crnn doctor --json    the same for programs and bug reports
"""

Status = Literal["ok", "note", "broken"]


@dataclass(frozen=True)
class Check:
    """One line of the report.

    Attributes:
        section: the heading it stands under.
        name: what was looked at.
        status: "note" is for what is missing without being wrong.
        detail: what was found.
        advice: what to do about it; empty where there is nothing to do.
    """

    section: str
    name: str
    status: Status
    detail: str
    advice: str = ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    checks = []
    for check in examine():
        checks.append(check)
        if not args.json:
            _print(check, first=len(checks) == 1 or checks[-2].section != check.section)
    broken = [check.name for check in checks if check.status == "broken"]
    if args.json:
        report = {"ok": not broken, "checks": [dataclasses.asdict(check) for check in checks]}
        print(json.dumps(report, indent=2))
    else:
        print(f"\nbroken: {', '.join(broken)}" if broken else "\neverything works")
    return 1 if broken else 0


def examine() -> Iterator[Check]:
    """All checks, in the order of the report."""
    yield from _versions()
    try:
        import crnn_ext
    except ImportError as error:
        advice = "run `pip install --force-reinstall .` in the repository with this Python"
        yield Check("build", "crnn_ext", "broken", str(error), advice)
        return
    yield from _build(crnn_ext.build_info())
    yield from _devices(crnn_ext.build_info())

    from crnn.cli.doctor_ops import check_operations

    yield from check_operations()
    yield from _models()
    yield from _extras()


def _print(check: Check, first: bool) -> None:
    if first:
        print(f"\n{check.section}")
    mark = {"ok": " ", "note": "-", "broken": "!"}[check.status]
    print(f" {mark} {check.name:<16} {check.detail}", flush=True)
    if check.advice:
        print(f"   {'':<16} -> {check.advice}")


def _versions() -> Iterator[Check]:
    python = f"{platform.python_version()} ({platform.python_implementation()})"
    yield Check("versions", "python", "ok", python)
    yield Check("versions", "system", "ok", f"{platform.system()} {platform.machine()}")
    for package in ("crnn-ext", "torch", "numpy", "pillow", "safetensors"):
        try:
            yield Check("versions", package, "ok", metadata.version(package))
        except metadata.PackageNotFoundError:
            advice = f"run `pip install {package}`" if package != "crnn-ext" else "`pip install .`"
            yield Check("versions", package, "broken", "not installed", advice)


def _build(info: crnn_ext.BuildInfo) -> Iterator[Check]:
    yield Check("build", "module", "ok", info.module)
    forced = os.environ.get("CRNN_SIMD")
    if forced:
        yield Check(
            "build",
            "SIMD level",
            "note",
            f"{info.simd_level} (CRNN_SIMD={forced} is set)",
            "unset CRNN_SIMD to let the processor decide",
        )
    else:
        yield Check("build", "SIMD level", "ok", info.simd_level)
    built = f"built with {_dotted(info.cuda_runtime)}" if info.cuda else "not built"
    yield Check("build", "CUDA", "ok" if info.cuda else "note", built, _cuda_advice(info))


def _cuda_advice(info: crnn_ext.BuildInfo) -> str:
    import torch

    if info.cuda or not torch.cuda.is_available():
        return ""
    return "put nvcc on PATH and run `CRNN_CUDA=ON pip install --force-reinstall --no-deps .`"


def _dotted(version: tuple[int, int] | None) -> str:
    return "none" if version is None else f"{version[0]}.{version[1]}"


def _devices(info: crnn_ext.BuildInfo) -> Iterator[Check]:
    import torch

    threads = f"{torch.get_num_threads()} threads (torch.get_num_threads)"
    yield Check("devices", "cpu", "ok", threads)
    for i in range(torch.cuda.device_count()):
        yield Check("devices", f"cuda:{i}", "ok", torch.cuda.get_device_name(i))
    if not torch.cuda.is_available():
        yield Check("devices", "cuda", "note", "torch finds no CUDA device; the CPU is used")
        return
    if info.cuda and info.cuda_problem:
        driver = _dotted(info.cuda_driver)
        yield Check(
            "devices",
            "CUDA runtime",
            "broken",
            f"torch finds a CUDA device, crnn_ext does not: {info.cuda_problem}",
            f"the driver supports CUDA {driver}, the build wants {_dotted(info.cuda_runtime)}: "
            "update the driver or build with an older nvcc",
        )


def _models() -> Iterator[Check]:
    from crnn import checkpoint
    from crnn.pretrained import model_file, pretrained_models

    names = pretrained_models()
    if not names:
        advice = "reinstall the package, or give `crnn read --model` a file"
        yield Check("models", "(none)", "note", "the package holds no pretrained model", advice)
    for name in names:
        try:
            with model_file(name) as path:
                found = checkpoint.load(path)
        except ValueError as error:
            yield Check("models", name, "broken", str(error), "reinstall the package")
            continue
        weights = sum(p.numel() for p in found.model.parameters())
        symbols = f"{len(found.charset)} symbols"
        detail = f"{weights / 1e6:.1f} M parameters, {symbols}, by crnn {found.crnn_version}"
        yield Check("models", name, "ok", detail)


def _extras() -> Iterator[Check]:
    """The optional dependencies that the package declares."""
    extras: dict[str, list[str]] = {}
    for requirement in metadata.requires("crnn-ext") or []:
        match = re.match(r"([\w.-]+).*;.*extra == ['\"](\w+)['\"]", requirement)
        if match:
            extras.setdefault(match[2], []).append(match[1])
    for extra, packages in sorted(extras.items()):
        missing = []
        for package in packages:
            try:
                metadata.version(package)
            except metadata.PackageNotFoundError:
                missing.append(package)
        if missing:
            detail, advice = f"without {', '.join(missing)}", f'pip install ".[{extra}]"'
            yield Check("extras", extra, "note", detail, advice)
        else:
            yield Check("extras", extra, "ok", ", ".join(packages))

"""Compile the CUDA kernels' own sources, their bindings and the emulator into a Python module."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sysconfig
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from types import ModuleType

import pybind11

ROOT = Path(__file__).resolve().parent.parent.parent
EMULATOR = ROOT / "tests" / "emulator"
CSRC = ROOT / "csrc"
BUILD = ROOT / "build" / "emulator"

WARNINGS = ["-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas", "-Wno-psabi"]
COMMON = ["-std=c++17", "-fPIC", "-fvisibility=hidden", "-g1", *WARNINGS]
# Instrumented for the hooks of memory.cpp.
KERNEL = ["-x", "c++", "-O1", "-fsanitize=thread", "-ffp-contract=off"]
HOST = ["-O1"]


@cache
def module(*patches: tuple[str, str, str]) -> ModuleType:
    """The module, built if need be. Loaded once per set of patches.

    Args:
        patches: (file below csrc/, old, new): a deliberately broken copy. `old` must be there
            exactly once.
    """
    path = build(patches)
    # pybind11 keeps modules by their full name: each build needs its own.
    name = f"{path.parent.name}.emulated"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def build(patches: tuple[tuple[str, str, str], ...] = ()) -> Path:
    """Compile what is not in the cache, link, and return the module's file."""
    BUILD.mkdir(parents=True, exist_ok=True)
    changed = _apply(patches)
    kernels = sorted((CSRC / "kernels" / "cuda").glob("*.cu"))
    kernels = [path for path in kernels if path.name != "device.cu"]
    jobs = [(path, KERNEL) for path in [*kernels, EMULATOR / "selftest.cu"]]
    jobs += [(path, HOST) for path in sorted((CSRC / "bindings").glob("bind_cuda_*.cpp"))]
    jobs += [(path, HOST) for path in sorted(EMULATOR.glob("*.cpp"))]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        objects = list(pool.map(lambda job: _compile(*job, changed), jobs))
    name = hashlib.sha256("".join(path.name for path in objects).encode()).hexdigest()[:16]
    target = BUILD / name / f"emulated{sysconfig.get_config_var('EXT_SUFFIX')}"
    if not target.exists():
        target.parent.mkdir(exist_ok=True)
        _run([*_compiler(), "-shared", *map(str, objects), "-ldl"], target)
    return target


def _apply(patches: tuple[tuple[str, str, str], ...]) -> Mapping[Path, str]:
    """The text of each patched file."""
    changed: dict[Path, str] = {}
    for file, old, new in patches:
        path = CSRC / file
        text = changed.get(path, path.read_text())
        assert text.count(old) == 1, f"{file} must hold {old!r} once, has {text.count(old)}"
        changed[path] = text.replace(old, new)
    return changed


def _compile(source: Path, flags: list[str], changed: Mapping[Path, str]) -> Path:
    """The object file of one source, from the cache if everything it is made of is the same."""
    includes = [f"-I{EMULATOR / 'include'}", f"-I{EMULATOR}", f"-I{CSRC}"]
    python = [f"-isystem{pybind11.get_include()}", f"-isystem{sysconfig.get_path('include')}"]
    command = [*_compiler(), *COMMON, *flags, *includes]
    if flags is HOST:
        command += python
    digest = hashlib.sha256(" ".join([*command, str(source)]).encode())
    parts = _parts(source)
    patched = {path: text for path, text in changed.items() if path in parts}
    for path in sorted(parts):
        digest.update(path.name.encode() + (patched.get(path) or path.read_text()).encode())
    target = BUILD / f"{source.stem}-{digest.hexdigest()[:16]}.o"
    if target.exists():
        return target
    if patched:
        return _compile_patched(command, source, patched, target)
    _run([*command, "-c", str(source)], target)
    return target


def _compile_patched(
    command: list[str], source: Path, changed: Mapping[Path, str], target: Path
) -> Path:
    """Compile against a copy of csrc/ that holds the patched files."""
    copy = BUILD / f"{target.stem}.src"
    shutil.rmtree(copy, ignore_errors=True)
    for folder in ("common", "kernels"):
        shutil.copytree(CSRC / folder, copy / folder)
    for path, text in changed.items():
        (copy / path.relative_to(CSRC)).write_text(text)
    inside = copy / source.relative_to(CSRC) if source.is_relative_to(CSRC) else source
    command = [f"-I{copy}" if part == f"-I{CSRC}" else part for part in command]
    _run([*command, "-c", str(inside)], target)
    shutil.rmtree(copy)
    return target


def _run(command: list[str], target: Path) -> None:
    """Run a compiler; the result appears under its name only when it is whole."""
    part = target.with_name(f"{target.name}.{os.getpid()}.part")
    done = subprocess.run([*command, "-o", str(part)], capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{shlex.join(command)}\n{done.stderr[:8000]}")
    part.replace(target)


@cache
def _parts(source: Path) -> frozenset[Path]:
    """The source and all of our files that it includes, directly or not."""
    found = {source}
    for name in re.findall(r'^\s*#include [<"]([^>"]+)[>"]', source.read_text(), re.MULTILINE):
        for folder in (EMULATOR / "include", EMULATOR, CSRC):
            if (folder / name).is_file():
                found |= _parts(folder / name)
                break
    return frozenset(found)


@cache
def _compiler() -> list[str]:
    """$CXX, or the system's c++."""
    return shlex.split(os.environ.get("CXX", "c++"))

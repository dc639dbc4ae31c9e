"""The import rules of docs/architecture.md, read from the sources."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CSRC = ROOT / "csrc"

# What each folder of csrc/ may include besides itself and the standard library.
ALLOWED = {
    "common": set(),
    "text": {"common"},
    "kernels": {"common"},
    "transcription": {"common", "text", "kernels"},
    "bindings": {"common", "text", "kernels", "transcription"},
}
SOURCES = sorted(p for p in CSRC.rglob("*") if p.suffix in {".h", ".cpp", ".cu", ".cuh"})
PYTHON = [*ROOT.glob("crnn_ext/*.py"), *ROOT.glob("python/crnn/**/*.py")]


def includes(path: Path) -> list[str]:
    return re.findall(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]', path.read_text(), re.MULTILINE)


def imports(path: Path) -> list[str]:
    """Dotted names of everything imported: ``from a.b import c`` gives ``a.b.c``."""
    names = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


def is_private(name: str) -> bool:
    return name.startswith("crnn_ext.") and any(p.startswith("_") for p in name.split("."))


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(CSRC)))
def test_cpp_layers(path: Path) -> None:
    layer = path.relative_to(CSRC).parts[0]
    for name in includes(path):
        first = name.split("/")[0]
        if first in ALLOWED:
            assert first == layer or first in ALLOWED[layer], f"{path} includes {name}"
        assert first not in {"torch", "ATen", "c10"}, f"{path} includes {name}"
        if first in {"pybind11", "Python.h"}:
            assert layer == "bindings", f"{path} includes {name}"
        if re.match(r"(cuda|cooperative_groups|mma)", first):
            assert path.suffix in {".cu", ".cuh"}, f"{path} includes {name}"


@pytest.mark.parametrize("path", PYTHON, ids=lambda p: str(p.relative_to(ROOT)))
def test_python_layers(path: Path) -> None:
    inside = path.is_relative_to(ROOT / "crnn_ext")
    for name in imports(path):
        if inside:
            assert name.split(".")[0] not in {"crnn", "benchmarks", "tests"}, f"{path}: {name}"
        else:
            assert not is_private(name), f"{path} imports {name}"


def test_benchmarks_use_public_names() -> None:
    for path in ROOT.glob("benchmarks/*.py"):
        for name in imports(path):
            assert not is_private(name), f"{path} imports {name}"


def test_the_rules_see_something() -> None:
    assert len(SOURCES) > 5
    assert any("crnn_ext" in name for path in PYTHON for name in imports(path))

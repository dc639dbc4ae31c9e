"""The check of registers and spills: .ci/kernel_resources.py."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent / ".ci" / "kernel_resources.py"
LOG = """[1/2] Building CUDA object lstm_plain_forward.cu.o
ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function '_ZN4crnn4stepIfEEvl' for 'sm_80'
ptxas info    : Function properties for _ZN4crnn4stepIfEEvl
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 72 registers, used 1 barriers, 528 bytes cmem[0]
ptxas info    : Compiling entry function '_ZN4crnn4stepIfEEvl' for 'sm_90a'
ptxas info    : Function properties for _ZN4crnn4stepIfEEvl
    24 bytes stack frame, 8 bytes spill stores, 12 bytes spill loads
ptxas info    : Used 255 registers
"""

spec = importlib.util.spec_from_file_location("kernel_resources", SCRIPT)
assert spec is not None
assert spec.loader is not None
resources = importlib.util.module_from_spec(spec)
spec.loader.exec_module(resources)


@pytest.mark.skipif(shutil.which("c++filt") is None, reason="no c++filt")
def test_a_log_is_read() -> None:
    assert resources.parse(LOG) == {
        ("sm_80", "step<float>"): (72, 0, 0, 0),
        ("sm_90a", "step<float>"): (255, 24, 8, 12),
    }


def test_a_new_spill_is_found() -> None:
    make = resources.Resources
    old = {("sm_80", "a"): make(50, 8, 8, 8), ("sm_80", "b"): make(50, 0, 0, 0)}
    same = {**old, ("sm_80", "c"): make(60, 16, 0, 0)}
    assert resources.new_spills(same, old) == []
    more = {("sm_80", "a"): make(50, 8, 8, 12), ("sm_80", "c"): make(60, 8, 4, 4)}
    assert resources.new_spills(more, old) == [("sm_80", "a"), ("sm_80", "c")]


def test_the_table_is_whole() -> None:
    made_by, table = resources.read()
    assert made_by.startswith("V")
    assert {architecture for architecture, _ in table} == {"sm_80", "sm_90a"}
    assert all(row.spill_stores == 0 for (_, name), row in table.items() if "lstm" in name)

"""Registers and spills of every CUDA kernel, from a compiler's log, against the recorded table.

    cmake -S . -B build/cuda -DCRNN_CUDA=ON -DCMAKE_CUDA_FLAGS=-Xptxas=-v
    cmake --build build/cuda > cuda.log
    python .ci/kernel_resources.py --check cuda.log     # or without --check: write the table

The check fails where a kernel spills more than recorded (a new one: at all). Other differences, of
registers or names, are shown; write the table again when they are meant.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

TABLE = Path(__file__).parent.parent / "docs" / "kernel-resources.tsv"
ENTRY = re.compile(r"Compiling entry function '(\w+)' for '(sm_\w+)'")
SPILLS = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
REGISTERS = re.compile(r"Used (\d+) registers")


class Resources(NamedTuple):
    """Of one kernel: registers per thread; bytes per thread for the rest."""

    registers: int
    stack: int
    spill_stores: int
    spill_loads: int


Table = dict[tuple[str, str], Resources]  # by architecture and kernel


def demangle(name: str) -> str:
    """`lstm_frame_forward<double>` for a mangled name; arguments and namespaces are left out."""
    text = subprocess.run(["c++filt", name], capture_output=True, text=True, check=True).stdout
    text = text.strip().replace("(anonymous namespace)::", "").replace("crnn::", "")
    return text.removeprefix("void ").split("(")[0]


def parse(log: str) -> Table:
    """The kernels of a log of ptxas -v."""
    table: Table = {}
    key, frame = None, (0, 0, 0)
    for line in log.splitlines():
        if found := ENTRY.search(line):
            key = (found[2], demangle(found[1]))
        elif found := SPILLS.search(line):
            frame = (int(found[1]), int(found[2]), int(found[3]))
        elif (found := REGISTERS.search(line)) and key is not None:
            table[key] = Resources(int(found[1]), *frame)
            key = None
    return table


def compiler() -> str:
    """The release of nvcc, e.g. "V13.0.88"."""
    text = subprocess.run(["nvcc", "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"V[\d.]+", text)
    return found[0] if found else "unknown"


def write(table: Table) -> None:
    lines = [f"# nvcc {compiler()}", "\t".join(("architecture", "kernel", *Resources._fields))]
    lines += ["\t".join((*key, *map(str, row))) for key, row in sorted(table.items())]
    TABLE.write_text("\n".join(lines) + "\n", encoding="utf-8")


def read() -> tuple[str, Table]:
    """The compiler and the kernels of the table."""
    head, _, *lines = TABLE.read_text(encoding="utf-8").splitlines()
    table = {}
    for line in lines:
        architecture, kernel, *numbers = line.split("\t")
        table[architecture, kernel] = Resources(*map(int, numbers))
    return head.removeprefix("# nvcc "), table


def new_spills(found: Table, recorded: Table) -> list[tuple[str, str]]:
    """The kernels that spill more than recorded."""
    none = Resources(0, 0, 0, 0)
    result = []
    for key, new in sorted(found.items()):
        old = recorded.get(key, none)
        if new.spill_stores > old.spill_stores or new.spill_loads > old.spill_loads:
            result.append(key)
    return result


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("log", type=Path, help="output of a build with -Xptxas=-v")
    parser.add_argument("--check", action="store_true", help="compare; leave the table as it is")
    options = parser.parse_args()
    found = parse(options.log.read_text(encoding="utf-8"))
    if not found:
        print("no kernels in the log: was it a full build with -Xptxas=-v?", file=sys.stderr)
        return 1
    if not options.check:
        write(found)
        return 0
    made_by, recorded = read()
    for key in sorted(found.keys() | recorded.keys()):
        if found.get(key) != recorded.get(key):
            print(f"{' '.join(key)}: {found.get(key)}, recorded {recorded.get(key)} by {made_by}")
    wrong = new_spills(found, recorded)
    for key in wrong:
        print(f"new spill: {' '.join(key)}", file=sys.stderr)
    print(f"{len(found)} kernels, {len(wrong)} with new spills")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())

"""Runs the launches of crnn_ext._lstm_cuda in the emulator, on tensors of the CPU."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from torch import Tensor

BYTES = {"float64": 8, "float32": 4, "tf32": 4, "float16": 2, "bfloat16": 2}


class Emulated:
    """Stands in for `_lstm_cuda._launch`: registers every tensor, then checks what was written."""

    def __init__(self, module: ModuleType, seed: int = 0) -> None:
        self.module = module
        self.seed = seed

    def __call__(self, name: str, x: Tensor, *arguments: Any) -> None:
        regions = forward if name == "lstm_cuda_forward" else backward
        self.module.set_regions([r for r in regions(*arguments) if r[1] != 0])
        self.module.seed(self.seed)
        try:
            getattr(self.module, name)(*arguments, 0)
            # A step of the recurrence has no need of cells in an inference; all else is output.
            left = [r for r in self.module.unwritten() if not r.startswith("scratch")]
            assert left == []
        finally:
            self.module.set_regions([])


Region = tuple[str, int, int, str]


def sizes(dims: tuple[int, ...], precision: str) -> dict[str, int]:
    """Bytes of each kind of tensor; see csrc/kernels/lstm_cuda.h."""
    T, N, _, H, D = dims
    scalar = BYTES[precision]
    state = 8 if precision == "float64" else 4
    return {
        "lengths": 8 * N,
        "w_hh": 4 * H * H * scalar,
        "bias": 4 * H * scalar,
        "state": D * N * H * scalar,
        "gates": D * T * N * 4 * H * scalar,
        "y": T * N * D * H * scalar,
        "cells": D * T * N * H * state,
        "scratch": D * N * H * state,
    }


def forward(
    dims: tuple[int, ...],
    precision: str,
    kernel: str,
    training: bool,
    lengths: int,
    w_hh: list[int],
    biases: list[int],
    h0: int,
    c0: int,
    gates: int,
    cells: int,
    y: int,
    h_n: int,
    c_n: int,
) -> list[Region]:
    """(name, address, bytes, access) of every tensor of a forward launch."""
    size = sizes(dims, precision)
    regions = [("lengths", lengths, size["lengths"], "r")]
    regions += [(f"w_hh[{d}]", p, size["w_hh"], "r") for d, p in enumerate(w_hh)]
    regions += [(f"bias[{d}]", p, size["bias"], "r") for d, p in enumerate(biases)]
    regions += [(n, p, size["state"], "r") for n, p in {"h0": h0, "c0": c0}.items()]
    regions += [(n, p, size["state"], "w") for n, p in {"h_n": h_n, "c_n": c_n}.items()]
    regions.append(("y", y, size["y"], "w"))
    regions.append(("gates", gates, size["gates"], "rw" if training else "r"))
    name = "cells" if training else "scratch"
    regions.append((name, cells, size[name], "w"))
    return regions


def backward(
    dims: tuple[int, ...],
    precision: str,
    kernel: str,
    lengths: int,
    w_hh: list[int],
    c0: int,
    gates: int,
    cells: int,
    dy: int,
    dh_n: int,
    dc_n: int,
    dgates: int,
    dh0: int,
    dc0: int,
    dc: int,
) -> list[Region]:
    """(name, address, bytes, access) of every tensor of a backward launch."""
    size = sizes(dims, precision)
    regions = [("lengths", lengths, size["lengths"], "r")]
    regions += [(f"w_hh[{d}]", p, size["w_hh"], "r") for d, p in enumerate(w_hh)]
    states = {"c0": c0, "dh_n": dh_n, "dc_n": dc_n}
    regions += [(n, p, size["state"], "r") for n, p in states.items()]
    regions += [(n, p, size["state"], "w") for n, p in {"dh0": dh0, "dc0": dc0}.items()]
    regions += [("gates", gates, size["gates"], "r"), ("cells", cells, size["cells"], "r")]
    regions += [("dy", dy, size["y"], "r"), ("dgates", dgates, size["gates"], "w")]
    regions.append(("scratch", dc, size["scratch"], "w"))
    return regions

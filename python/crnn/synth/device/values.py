"""A part of a sketch on its device: named numbers, and which samples each step is for.

Which samples are blurred, framed, curved is known where the sketch was drawn. So each step runs on
its own samples alone, and nothing has to be asked of the device.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from crnn.synth.device.look import KINDS, TEXTURES
from crnn.synth.device.sketch import Sketch

#: Width and height of each sample's picture, ``[n, 1, 1]`` float32.
Size: TypeAlias = tuple[Tensor, Tensor]


class Values:
    """The numbers of n samples; ``values["tilt"]`` is ``[n, 1, 1]`` float32."""

    def __init__(self, rows: Mapping[str, int], matrix: Tensor) -> None:
        """`matrix` is ``[len(rows), n, 1, 1]``."""
        self._rows, self._matrix = rows, matrix

    def __getitem__(self, name: str) -> Tensor:
        return self._matrix[self._rows[name]]

    def at(self, chosen: Tensor) -> Values:
        """Those of the samples `chosen`."""
        return Values(self._rows, self._matrix.index_select(1, chosen))

    def stacked(self, prefixes: Sequence[str]) -> Values:
        """``paper_angle`` and ``ink_angle`` as ``angle`` of twice as many samples, and so on.

        Rows of one prefix lie together, and those of all prefixes have one order.
        """
        first = prefixes[0] + "_"
        names = [n.removeprefix(first) for n in self._rows if n.startswith(first)]
        start, count = self._rows[first + names[0]], self._matrix.shape[1]
        rows = self._matrix[start : start + len(prefixes) * len(names)]
        rows = rows.view(len(prefixes), len(names), count).transpose(0, 1)
        matrix = rows.reshape(len(names), len(prefixes) * count, 1, 1)
        return Values({name: row for row, name in enumerate(names)}, matrix)


class Steps:
    """For each step the samples that it is for: ``steps["soft"]`` is an int64 tensor."""

    def __init__(self, chosen: Mapping[str, NDArray[np.int64]], device: torch.device) -> None:
        counts = [len(samples) for samples in chosen.values()]
        everything = upload(np.concatenate(list(chosen.values())), device)
        ends = np.cumsum(counts)
        self._chosen = {
            name: everything[end - count : end]
            for name, count, end in zip(chosen, counts, ends.tolist(), strict=True)
        }

    def __getitem__(self, name: str) -> Tensor:
        return self._chosen[name]

    def __contains__(self, name: str) -> bool:
        """Whether any sample takes the step."""
        return name in self._chosen and len(self._chosen[name]) > 0


def upload(array: NDArray[Any], device: torch.device) -> Tensor:
    """`array` on the device; the host does not wait for it."""
    tensor = torch.from_numpy(np.ascontiguousarray(array))
    if device.type == "cuda":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def counting(count: int, device: torch.device) -> Tensor:
    """0, 1, ... `count` - 1 as float32, without a kernel for it."""
    return _numbers(device, max(4096, count))[:count]


@functools.lru_cache(maxsize=8)
def _numbers(device: torch.device, count: int) -> Tensor:
    return torch.arange(count, device=device, dtype=torch.float32)


def steps_of(sketch: Sketch) -> dict[str, NDArray[np.int64]]:
    """Which samples each step is for."""
    n = dict(zip(sketch.names, sketch.numbers, strict=True))
    reduction = reductions(sketch)
    masks = {
        "arc": n["arc"] != 0,
        "bold": n["bold"] > 0,
        "bolder": n["bold"] > 1,
        "outline": n["outline"] > 0,
        "underline": n["under_thick"] > 0,
        "inset": n["inset"] > 0,
        "border": n["border"] > 0,
        "wide_border": n["border"] > 1,
        "side": n["side_steps"] > 0,
        "panel": n["panel"] > 0,
        "second": n["second"] != 0,
        "light": n["light"] > 0,
        "shade": n["shade"] > 0,
        "moving": n["reach"] > 0,
        "soft": n["sigma"] > 0,
        "small": n["small"] > 0,
        "noise": n["noise"] > 0,
        "sharpen": n["sharpen"] > 0,
        "jpeg": n["jpeg"] > 0,
    }
    chosen = {name: np.flatnonzero(mask) for name, mask in masks.items()}
    kinds = np.stack([n[f"{name}_kind"] for name in TEXTURES])
    kinds[TEXTURES.index("beyond"), n["panel"] == 0] = 0
    for kind, name in enumerate(KINDS, 1):
        chosen[name] = np.flatnonzero(kinds == kind)  # as `Values.stacked` counts
        chosen[f"{name}_of"] = chosen[name] % len(sketch)
    chosen |= {f"reduce_{r}": np.flatnonzero(reduction == r) for r in np.unique(reduction) if r > 1}
    # Where among the bordered the widely bordered are, and so on for what is a step within one.
    chosen["wide_border"] = np.flatnonzero(n["border"][chosen["border"]] > 1)
    chosen["bolder"] = np.flatnonzero(n["bold"][chosen["bold"]] > 1)
    chosen["lined"] = sketch.lined
    return chosen


def reductions(sketch: Sketch) -> NDArray[np.int64]:
    """``[n]``: how many pixels of each canvas to average before sampling: bilinear alone skips."""
    scale = sketch.numbers[sketch.names.index("scale")]
    return np.asarray(np.clip(0.75 / scale, 1, 6), np.int64)

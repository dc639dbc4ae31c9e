"""Patterns for paper, ink and what lies beyond a sign: photographs, ramps, clouds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from crnn.synth.device.look import CELLS, KINDS, TEXTURES
from crnn.synth.device.values import Size, Steps, Values, counting, upload
from crnn.synth.geometry import Grey


class Photographs:
    """Grey photographs of any sizes, side by side on a device."""

    def __init__(self, photographs: Sequence[Grey], device: torch.device) -> None:
        flat = [np.rint(photo * 255).astype(np.uint8).ravel() for photo in photographs]
        self.pixels = upload(np.concatenate([*flat, np.zeros(1, np.uint8)]), device)
        starts = np.cumsum([0, *map(len, flat)])[:-1]
        widths = [photo.shape[1] for photo in photographs]
        self.table = upload(np.stack([starts, np.array(widths, np.int64)]).astype(np.int32), device)

    def crop(self, v: Values, columns: Tensor, rows: Tensor, size: Size) -> Tensor:
        """``[n, h, w]`` in [0, 1]: each sample's crop of its photograph, stretched to its size."""
        x = _stretched(columns, size[0], v["crop_w"])
        y = _stretched(rows, size[1], v["crop_h"])
        which = v["photo"].view(-1).int()
        start, width = self.table.index_select(1, which)[:, :, None, None]
        x0, y0 = x.floor(), y.floor()
        right, down = x - x0, y - y0
        left = (x0 + v["crop_x"]).int()
        beyond = (torch.minimum(x0 + 1, v["crop_w"] - 1) + v["crop_x"]).int()
        upper = start + (y0 + v["crop_y"]).int() * width
        lower = start + (torch.minimum(y0 + 1, v["crop_h"] - 1) + v["crop_y"]).int() * width

        def at(address: Tensor) -> Tensor:
            return self.pixels.index_select(0, address.view(-1)).view(address.shape).float()

        top = torch.lerp(at(upper + left), at(upper + beyond), right)
        bottom = torch.lerp(at(lower + left), at(lower + beyond), right)
        return torch.lerp(top, bottom, down).div_(255)


def ramp(angle: Tensor, columns: Tensor, rows: Tensor, size: Size) -> Tensor:
    """``[n, h, w]``: linear ramps in the directions `angle`, within [-1, 1]."""
    x = columns * (2 / (size[0] - 1)) - 1
    y = rows * (2 / (size[1] - 1)) - 1
    return (x * torch.cos(angle) + y * torch.sin(angle)) * 0.7


def clouds(
    v: Values,
    columns: Tensor,
    rows: Tensor,
    size: Size,
    generator: torch.Generator,
) -> Tensor:
    """``[n, h, w]`` in [0, 1]: smooth noise of a few cells."""
    count, device = columns.shape[0], columns.device
    cells = torch.rand((count, 1, *CELLS), generator=generator, device=device)
    x = _stretched(columns, size[0], v["columns"]) * (2 / (CELLS[1] - 1)) - 1
    y = _stretched(rows, size[1], v["rows"]) * (2 / (CELLS[0] - 1)) - 1
    shape = (count, rows.shape[1], columns.shape[2])
    grid = torch.stack([x.expand(shape), y.expand(shape)], 3)
    return F.grid_sample(cells, grid, "bilinear", "border", align_corners=True)[:, 0]


def textures(
    values: Values,
    steps: Steps,
    photographs: Photographs,
    columns: Tensor,
    rows: Tensor,
    size: Size,
    generator: torch.Generator,
) -> Tensor:
    """``[len(TEXTURES), n, h, w]``: patterns of mean 0 over each sample's size, or nothing.

    Args:
        values: of n samples.
        steps: which textures are of which kind.
        photographs: of all samples.
        columns, rows: ``[n, 1, w]`` and ``[n, h, 1]``, whole numbers, each cut to its own size.
        size: width and height of each sample, ``[n, 1, 1]``.
        generator: of the clouds.
    """
    count, high, wide = columns.shape[0], rows.shape[1], columns.shape[2]
    stacked = values.stacked(TEXTURES)
    patterns = columns.new_zeros((len(TEXTURES) * count, high, wide))
    for kind in KINDS:
        if kind not in steps:
            continue
        v, of = stacked.at(steps[kind]), steps[f"{kind}_of"]
        c, r = columns.index_select(0, of), rows.index_select(0, of)
        s = size[0].index_select(0, of), size[1].index_select(0, of)
        if kind == "photo":
            drawn = photographs.crop(v, c, r, s)
        elif kind == "ramp":
            drawn = ramp(v["angle"], c, r, s)
        else:
            drawn = clouds(v, c, r, s, generator)
        # Columns and rows beyond a sample's size repeat its last, and do not count.
        inside = (counting(wide, c.device) < s[0]) & (counting(high, c.device)[:, None] < s[1])
        share = inside / (s[0] * s[1])
        drawn = drawn - (drawn * share).sum((1, 2), keepdim=True)
        spread = (drawn.square() * share).sum((1, 2), keepdim=True).sqrt_().clamp_(min=0.05)
        patterns.index_copy_(0, steps[kind], drawn * (v["strength"] / spread))
    return patterns.view(len(TEXTURES), count, high, wide)


def _stretched(index: Tensor, size: Tensor, cells: Tensor) -> Tensor:
    """Where the middle of pixel `index` of `size` lies among `cells`; within the first and last."""
    return torch.minimum(((index + 0.5) * (cells / size) - 0.5).clamp_(min=0), cells - 1)

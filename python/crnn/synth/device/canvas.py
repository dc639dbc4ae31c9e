"""The masks of words on their canvases, put together from an atlas of glyphs."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from crnn.synth.device.atlas import Atlas
from crnn.synth.device.layout import NOWHERE, PAD
from crnn.synth.device.sketch import Sketch
from crnn.synth.device.values import Steps, Values, counting, upload


class Glyphs:
    """An atlas on a device."""

    def __init__(self, atlas: Atlas, device: torch.device) -> None:
        self.pixels = upload(atlas.pixels, device)
        # [3, glyphs]: offset, height, width
        self.table = upload(np.stack([atlas.offset, *atlas.size.T]).astype(np.int32), device)

    def draw(self, letters: Tensor, height: int, width: int, depth: int) -> Tensor:
        """The masks ``[n, height, width]`` uint8 of rows of letters.

        For each column the last letter that begins at or before it is found, and the `depth` - 1
        before that one; then every pixel takes the most of what those letters hold there.

        Args:
            letters: ``[3, n, L]`` int32: glyph, left, top; from left to right.
            height, width: of the canvases.
            depth: how many letters may lie over a column.
        """
        glyph, left, top = letters
        count = glyph.shape[0]
        offset, high, wide = self.table.index_select(1, glyph.reshape(-1)).view(3, count, -1)
        columns = torch.arange(width, device=glyph.device, dtype=torch.int32)
        rows = torch.arange(height, device=glyph.device, dtype=torch.int32)[:, None]
        last = torch.searchsorted(
            left.contiguous(), columns.expand(count, width).contiguous(), right=True
        )
        canvas: Tensor | None = None
        for behind in range(1, depth + 1):
            at = (last - behind).clamp_(min=0)
            x = columns - left.gather(1, at)
            w, y0 = wide.gather(1, at), top.gather(1, at)
            h = torch.where((x >= 0) & (x < w) & (last >= behind), high.gather(1, at), 0)
            start = offset.gather(1, at) + x - y0 * w  # of the mask's column, were it at row 0
            inside = (rows >= y0[:, None]) & (rows < (y0 + h)[:, None])
            address = torch.where(inside, start[:, None] + rows * w[:, None], 0)
            drawn = self.pixels.index_select(0, address.view(-1)).view(count, height, width)
            canvas = drawn if canvas is None else torch.maximum(canvas, drawn)
        assert canvas is not None
        return canvas


def draw_canvases(
    glyphs: Glyphs, sketch: Sketch, values: Values, steps: Steps, letters: Tensor, lines: Tensor
) -> Tensor:
    """``[n, H, W]`` float32 in [0, 1], as large as the largest canvas: words and neighbours."""
    width, height = (int(most) for most in sketch.canvas.max(axis=1))
    canvas = glyphs.draw(letters, height, width, int(sketch.depth.max())).float().div_(255)
    if "bold" in steps:
        bold = _dilate(canvas.index_select(0, steps["bold"]), 1)
        if "bolder" in steps:
            bold.index_copy_(0, steps["bolder"], _dilate(bold.index_select(0, steps["bolder"]), 1))
        canvas.index_copy_(0, steps["bold"], bold)
    if "outline" in steps:
        thin = canvas.index_select(0, steps["outline"])
        canvas.index_copy_(0, steps["outline"], _dilate(thin, 1) - 0.75 * thin)
    if "underline" in steps:
        v = values.at(steps["underline"])
        x, y = counting(width, canvas.device), counting(height, canvas.device)[:, None]
        down = (y >= v["under_y"]) & (y < v["under_y"] + v["under_thick"])
        stroke = down & (x >= PAD[0]) & (x < PAD[0] + v["box_width"])
        under = torch.maximum(canvas.index_select(0, steps["underline"]), stroke.float())
        canvas.index_copy_(0, steps["underline"], under)
    if "lined" in steps:
        others = glyphs.draw(lines, height, width, 2).float().div_(255)
        whole = torch.maximum(canvas.index_select(0, steps["lined"]), others)
        canvas.index_copy_(0, steps["lined"], whole)
    if "inset" in steps:  # the border that follows grows the letters again
        whole = canvas.index_select(0, steps["inset"])
        inner = 1 - _dilate(1 - whole, 1)
        kept = 5 * inner.sum((1, 2), keepdim=True) > 2 * whole.sum((1, 2), keepdim=True)
        canvas.index_copy_(0, steps["inset"], torch.where(kept, inner, whole))
    return canvas


def bordered(canvas: Tensor, steps: Steps) -> Tensor:
    """The bordered samples' canvases, every letter grown by one pixel or by three."""
    grown = _dilate(canvas.index_select(0, steps["border"]), 1)
    if "wide_border" in steps:
        wide = steps["wide_border"]
        grown.index_copy_(0, wide, _dilate(grown.index_select(0, wide), 2))
    return grown


def averaged(canvas: Tensor, reduction: int) -> Tensor:
    """Each pixel the mean of ``reduction x reduction``, itself the first of them each way."""
    padded = F.pad(canvas, (0, reduction - 1, 0, reduction - 1))
    return F.avg_pool2d(padded[:, None], reduction, stride=1)[:, 0]


def _dilate(canvas: Tensor, reach: int) -> Tensor:
    """Every letter grown by `reach` pixels to all sides."""
    for dim in (1, 2):
        grown, some = canvas.clone(), canvas.shape[dim]
        for shift in range(1, reach + 1):
            left = some - shift
            first, last = grown.narrow(dim, 0, left), grown.narrow(dim, shift, left)
            torch.maximum(first, canvas.narrow(dim, shift, left), out=first)
            torch.maximum(last, canvas.narrow(dim, 0, left), out=last)
        canvas = grown
    return canvas


def as_rows(letters: NDArray[np.int32], device: torch.device) -> Tensor:
    """Letters on the device, without the columns that no sample uses."""
    used = int((letters[1] < NOWHERE).sum(axis=1).max(initial=1))
    return upload(letters[:, :, : max(used, 1)], device)

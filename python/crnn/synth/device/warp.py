"""Where the pixels of a crop lie on their canvas, and what is there."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from crnn.synth.device.canvas import averaged
from crnn.synth.device.layout import PAD
from crnn.synth.device.values import Steps, Values


def canvas_points(
    values: Values, steps: Steps, columns: Tensor, rows: Tensor
) -> tuple[Tensor, Tensor]:
    """x and y ``[n, h, w]`` on the canvas, in pixels, of the pixels of a crop.

    The inverse of `crnn.synth.geometry.View`: crop, perspective, turn and shear, bend.

    Args:
        values: of n samples.
        steps: which of them are curved.
        columns: ``[n, 1, w]``, of the crop, whole numbers.
        rows: ``[n, h, 1]``.
    """
    v = values
    seen_x = (columns + 0.5) * v["pixel_x"] + v["corner_x"]
    seen_y = (rows + 0.5) * v["pixel_y"] + v["corner_y"]
    depth = (1 - seen_x * v["to_x"] - seen_y * v["to_y"]).clamp_(min=0.05)
    flat_x, flat_y = seen_x / depth, seen_y / depth
    x = v["back_xx"] * flat_x + v["back_xy"] * flat_y
    y = v["back_yx"] * flat_x + v["back_yy"] * flat_y
    if "arc" in steps:
        curved = steps["arc"]
        bent = _unbend(x.index_select(0, curved), y.index_select(0, curved), v.at(curved))
        x.index_copy_(0, curved, bent[0])
        y.index_copy_(0, curved, bent[1])
    return x + (v["box_width"] / 2 + PAD[0]), y + (v["box_height"] / 2 + PAD[1])


def _unbend(x: Tensor, y: Tensor, v: Values) -> tuple[Tensor, Tensor]:
    half, arc = v["box_width"] / 2, v["arc"]
    radius = 2 * half / arc  # negative: its centre lies above the word
    sign = torch.sign(radius)
    angle = torch.atan2(sign * x, sign * (radius - y))
    sag = (x / half) ** 2 * half * arc / 4
    upright = v["upright"] > 0
    return (
        torch.where(upright, x, radius * angle),
        torch.where(upright, y - sag, radius - sign * torch.hypot(x, radius - y)),
    )


def sample(masks: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """`masks` ``[n, H, W]`` at points ``[n, h, w]`` in pixels, bilinear; nothing beyond the edges.

    A pixel's centre is half a pixel from its edges: the first one lies at 0.5.
    """
    height, width = masks.shape[1:]
    grid = torch.stack([x * (2 / width) - 1, y * (2 / height) - 1], 3)
    return F.grid_sample(masks[:, None], grid, "bilinear", "zeros", align_corners=False)[:, 0]


def sample_reduced(masks: Tensor, x: Tensor, y: Tensor, steps: Steps) -> Tensor:
    """As `sample`, after an average over the pixels that a crop of low resolution would skip."""
    seen = sample(masks, x, y)
    for reduction in range(2, 7):
        name = f"reduce_{reduction}"
        if name in steps:
            chosen = steps[name]
            shift = (reduction - 1) / 2  # `averaged` keeps the mean at its first pixel
            part = averaged(masks.index_select(0, chosen), reduction)
            at = x.index_select(0, chosen) - shift, y.index_select(0, chosen) - shift
            seen.index_copy_(0, chosen, sample(part, *at))
    return seen

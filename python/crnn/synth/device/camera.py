"""What a camera and its file format do to many pictures at once, on any device.

As `crnn.synth.camera`. Blur, reduction and the last scaling are separable and linear, so each is a
pair of matrices a sample: ``rows @ picture @ columns.T``. Pictures lie in the upper left corner of
frames of one size; beyond a picture's own width and height its last column and row go on.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import torch
from torch import Tensor

from crnn.synth.device.values import Size, Steps, Values, counting

# Annex K of ITU-T T.81, the luminance table of nearly every encoder.
_QUANTA = (
    (16, 11, 10, 16, 24, 40, 51, 61), (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56), (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77), (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101), (72, 92, 95, 98, 112, 100, 103, 99),
)  # fmt: skip


def photograph(
    frames: Tensor,
    size: Size,
    photo: Size,
    values: Values,
    steps: Steps,
    most_steps: int,
    generator: torch.Generator,
) -> Tensor:
    """``[n, h, w]`` in 0 to 255, whole numbers: what is left of `frames`.

    Args:
        frames: ``[n, h, w]`` in [0, 1], h and w multiples of 8; changed.
        size: of the pictures in them.
        photo: the same after the camera.
        values: see `crnn.synth.device.look.draw_camera`.
        steps: which samples each step is for.
        most_steps: of a movement, in pixels.
        generator: of the noise.
    """
    frames = frames.sub_(0.5).mul_(values["gain"]).add_(values["lift"] + 0.5).clamp_(0, 1)
    if "moving" in steps:
        moved = functools.partial(_moved, most_steps=most_steps)
        _update(frames, steps["moving"], moved, size, values)
    if "soft" in steps:
        _update(frames, steps["soft"], _soft, size, values)
    if "small" in steps:
        v = values.at(steps["small"])
        s, p = _at(size, steps["small"]), _at(photo, steps["small"])
        part = frames.index_select(0, steps["small"])
        narrow = _reduction(s[0], p[0], part.shape[2], v["small"] > 1)
        low = _reduction(s[1], p[1], part.shape[1], v["small"] > 1)
        frames.index_copy_(0, steps["small"], low @ part @ narrow.mT)
    frames.mul_(255)
    if "noise" in steps:
        part = frames.index_select(0, steps["noise"])
        noise = torch.randn(part.shape, generator=generator, device=part.device)
        part.addcmul_(noise, values.at(steps["noise"])["noise"]).clamp_(0, 255)
        frames.index_copy_(0, steps["noise"], part)
    if "sharpen" in steps:
        _update(frames, steps["sharpen"], _sharpened, photo, values)
    frames.floor_()
    if "jpeg" in steps:
        part = frames.index_select(0, steps["jpeg"])
        frames.index_copy_(0, steps["jpeg"], jpeg(part, values.at(steps["jpeg"])["jpeg"]))
    return frames


def scaled(frames: Tensor, photo: Size, height: int, width: int) -> Tensor:
    """``[n, height, width]`` uint8: the pictures in `frames`, scaled as `crnn.images.prepare`."""
    high = torch.full_like(photo[1], height)
    wide = torch.full_like(photo[0], width)
    low = resampling(photo[1], high, frames.shape[1], height, bicubic)
    narrow = resampling(photo[0], wide, frames.shape[2], width, bicubic)
    return (low @ frames @ narrow.mT).round_().clamp_(0, 255).byte()


def resampling(
    sizes: Tensor, to: Tensor, pixels: int, to_pixels: int, kernel: Callable[[Tensor], Tensor]
) -> Tensor:
    """``[n, to_pixels, pixels]``: the matrices that scale lines of `sizes` to lines of `to`.

    The kernel widens with the reduction, as Pillow's do. Rows beyond `to` repeat its last one.

    Args:
        sizes, to: ``[n, 1, 1]``, at most `pixels` and `to_pixels`.
        kernel: `bicubic` or `triangle`.
    """
    ratio = sizes / to
    place = counting(pixels, sizes.device) + 0.5
    out = counting(to_pixels, sizes.device)[:, None]
    centre = (torch.minimum(out, to - 1) + 0.5) * ratio
    weights = kernel((place - centre) / ratio.clamp(min=1)) * (place < sizes)
    return weights / weights.sum(2, keepdim=True)


def bicubic(x: Tensor) -> Tensor:
    """Keys' kernel, a = -1/2."""
    x = x.abs()
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return torch.where(x < 1, near, torch.where(x < 2, far, 0))


def triangle(x: Tensor) -> Tensor:
    """The bilinear kernel."""
    return (1 - x.abs()).clamp_(min=0)


def gaussian(sizes: Tensor, pixels: int, sigma: Tensor) -> Tensor:
    """``[n, pixels, pixels]``: the matrices that blur lines of `sizes` whose ends go on."""
    at = torch.minimum(counting(pixels, sizes.device)[:, None], sizes - 1)
    edge = counting(pixels + 1, sizes.device)
    below = 0.5 * (1 + torch.erf((edge - 0.5 - at) * (math.sqrt(0.5) / sigma)))
    below = torch.where(edge == 0, 0.0, torch.where(edge >= sizes, 1.0, below))
    return below[:, :, 1:] - below[:, :, :-1]


def jpeg(frames: Tensor, quality: Tensor) -> Tensor:
    """`frames` ``[n, h, w]`` in 0 to 255 after JPEG of qualities ``[n, 1, 1]``, 1 to 100."""
    count, height, width = frames.shape
    dct, quanta = _transform(frames.device)
    scale = torch.where(quality < 50, (5000 / quality).floor(), 200 - 2 * quality)
    table = ((quanta * scale + 50) / 100).floor().clamp_(1, 255)[:, None, None]
    blocks = (frames - 128).view(count, height // 8, 8, width // 8, 8).transpose(2, 3)
    # D B D^T, transposed: so each product is one of all blocks' rows with one small matrix.
    coefficients, table = (blocks @ dct.mT).mT @ dct.mT, table.mT
    coefficients = (coefficients / table).round_().mul_(table)
    restored = ((coefficients @ dct).mT @ dct).transpose(2, 3).reshape(count, height, width)
    return (restored + 128).round_().clamp_(0, 255)


@functools.lru_cache(maxsize=8)
def _transform(device: torch.device) -> tuple[Tensor, Tensor]:
    """The orthonormal DCT-II of 8 points, and the quantisation table, on `device`."""
    k = torch.arange(8, dtype=torch.float64)[:, None]
    i = torch.arange(8, dtype=torch.float64)
    dct = torch.cos(math.pi / 8 * (i + 0.5) * k) * torch.where(k == 0, math.sqrt(1 / 8), 0.5)
    quanta = torch.tensor(_QUANTA, dtype=torch.float32)
    return dct.float().to(device), quanta.to(device)


def _update(
    frames: Tensor, chosen: Tensor, step: Callable[..., Tensor], size: Size, values: Values
) -> None:
    """Replace the frames `chosen` by what `step` makes of them."""
    part = step(frames.index_select(0, chosen), _at(size, chosen), values.at(chosen))
    frames.index_copy_(0, chosen, part)


def _at(size: Size, chosen: Tensor) -> Size:
    return size[0].index_select(0, chosen), size[1].index_select(0, chosen)


def _soft(frames: Tensor, size: Size, v: Values) -> Tensor:
    columns = gaussian(size[0], frames.shape[2], v["sigma"])
    return gaussian(size[1], frames.shape[1], v["sigma"]) @ frames @ columns.mT


def _sharpened(frames: Tensor, size: Size, v: Values) -> Tensor:
    """An unsharp mask of radius 1.5."""
    sigma = torch.full_like(size[0], 1.5)
    columns = gaussian(size[0], frames.shape[2], sigma)
    soft = gaussian(size[1], frames.shape[1], sigma) @ frames @ columns.mT
    return (frames + (frames - soft) * v["sharpen"]).clamp_(0, 255)


def _moved(frames: Tensor, size: Size, v: Values, most_steps: int) -> Tensor:
    """The mean along straight paths of ``v["reach"]`` pixels, in whole pixels."""
    count = v["reach"].round().clamp_(min=2)
    step = v["reach"] / count
    samples, height, width = frames.shape
    number = counting(most_steps, frames.device)[:, None, None]  # all steps at once: [n, steps,..]
    place = ((number[:, 0] - count / 2) * step)[..., None]
    dx = (place * torch.cos(v["reach_angle"])[..., None]).round()
    dy = (place * torch.sin(v["reach_angle"])[..., None]).round()
    x = counting(width, frames.device) - dx
    y = counting(height, frames.device)[:, None] - dy
    column = torch.minimum(x.clamp_(min=0), size[0][..., None] - 1)
    row = torch.minimum(y.clamp_(min=0), size[1][..., None] - 1)
    address = (row * width + column).long().view(samples, -1)
    seen = frames.reshape(samples, -1).gather(1, address).view(samples, most_steps, height, width)
    share = (number < count[..., None]) / count[..., None]
    return (seen * share).sum(1)


def _reduction(size: Tensor, to: Tensor, pixels: int, nearest: Tensor) -> Tensor:
    """``[n, pixels, pixels]``: bilinear reductions, or the nearest pixel where `nearest`."""
    smooth = resampling(size, to, pixels, pixels, triangle)
    index = counting(pixels, size.device)
    picked = ((torch.minimum(index[:, None], to - 1) + 0.5) * (size / to)).floor() == index
    return torch.where(nearest, picked.float(), smooth)

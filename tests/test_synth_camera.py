"""What a camera does, in torch: JPEG, scaling and crops beside Pillow's, and blur."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from pictures import noise
from PIL import Image

from crnn.synth.device.camera import gaussian, jpeg, scaled
from crnn.synth.device.textures import Photographs
from crnn.synth.device.values import Values

CPU = torch.device("cpu")
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("quality", [20, 50, 75, 91])
def test_jpeg_is_that_of_pillow(quality: int) -> None:
    """Up to rounding: of the pixels, and of a coefficient halfway between two quanta."""
    rng = np.random.default_rng(quality)
    smooth = Image.fromarray(rng.integers(0, 256, (9, 12), np.uint8)).resize((64, 40))
    grey = np.asarray(smooth, np.uint8)
    file = io.BytesIO()
    Image.fromarray(grey).save(file, "JPEG", quality=quality)
    expected = np.asarray(Image.open(file), np.float32)
    frames = torch.from_numpy(grey.astype(np.float32))[None]
    ours = jpeg(frames, torch.full((1, 1, 1), float(quality)))[0].numpy()
    assert np.abs(ours - expected).mean() < 0.5
    assert (np.abs(ours - expected) <= 1).mean() > 0.9
    assert np.abs(ours - grey).mean() > 0.5  # and something was lost


@pytest.mark.parametrize(("size", "to"), [((50, 20), (100, 32)), ((333, 90), (100, 32))])
def test_scaling_is_that_of_pillow(size: tuple[int, int], to: tuple[int, int]) -> None:
    """In the corner of a larger frame, and up to Pillow's rounding between the two directions."""
    pixels = np.random.default_rng(0).integers(80, 180, size[::-1], np.uint8)  # none is cut off
    image = Image.fromarray(pixels)
    frame = torch.full((1, 96, 400), 77.0)
    frame[0, : size[1], : size[0]] = torch.from_numpy(np.array(image)).float()
    photo = torch.full((1, 1, 1), float(size[0])), torch.full((1, 1, 1), float(size[1]))
    ours = scaled(frame, photo, to[1], to[0])[0].numpy().astype(int)
    expected = np.asarray(image.resize(to, Image.Resampling.BICUBIC), int)
    assert np.abs(ours - expected).max() <= 2


def test_a_crop_shows_its_own_photograph() -> None:
    """At its own size pixel for pixel; twice as large, Pillow's bilinear enlargement."""
    photographs = noise()
    held = Photographs(photographs, CPU)
    crops = np.array([[0, 5, 7, 40, 30], [2, 300, 11, 40, 30], [1, 0, 100, 40, 30]], np.float32)
    rows = {name: i for i, name in enumerate(("photo", "crop_x", "crop_y", "crop_w", "crop_h"))}
    values = Values(rows, torch.from_numpy(crops.T.copy())[:, :, None, None])
    for scale in (1, 2):
        size = torch.full((3, 1, 1), 40.0 * scale), torch.full((3, 1, 1), 30.0 * scale)
        columns = torch.arange(40.0 * scale).expand(3, 1, -1)
        down = torch.arange(30.0 * scale)[:, None].expand(3, -1, 1)
        seen = held.crop(values, columns, down, size).numpy()
        for crop, (photo, x, y, w, h) in zip(seen, crops.astype(int), strict=True):
            part = np.rint(photographs[photo][y : y + h, x : x + w] * 255).astype(np.float32)
            large = Image.fromarray(part).resize((w * scale, h * scale), Image.Resampling.BILINEAR)
            assert crop * 255 == pytest.approx(np.asarray(large), abs=1e-3)


def test_a_blur_keeps_the_mean_and_spreads_a_line() -> None:
    frame = torch.zeros(1, 8, 40)
    frame[0, :, 15] = 100
    size = torch.full((1, 1, 1), 30.0)
    matrix = gaussian(size, 40, torch.full((1, 1, 1), 2.0))
    seen = (frame @ matrix.mT)[0, 0]
    assert float(seen[:30].sum()) == pytest.approx(100, rel=1e-4)
    spread = (seen[:30] * (torch.arange(30) - 15) ** 2).sum() / 100
    assert float(spread) == pytest.approx(2**2 + 1 / 12, rel=0.01)
    assert torch.equal(seen[30:], seen[29].expand(10))  # beyond the picture its edge goes on

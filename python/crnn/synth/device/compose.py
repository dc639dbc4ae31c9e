"""Pictures of sketches, a batch at a time, on any device: letters, colours, light, camera.

The steps are those of `crnn.synth.render`, as batched operations of torch. No operation waits for
the device: every size and choice is known from the sketch.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from crnn.synth.dataset import Batch
from crnn.synth.device.atlas import Atlas
from crnn.synth.device.camera import photograph, scaled
from crnn.synth.device.canvas import Glyphs, as_rows, bordered, draw_canvases
from crnn.synth.device.sketch import Sketch, part
from crnn.synth.device.textures import Photographs, ramp, textures
from crnn.synth.device.values import Size, Steps, Values, counting, steps_of, upload
from crnn.synth.device.warp import canvas_points, sample, sample_reduced
from crnn.synth.geometry import Grey

# A batch is drawn in parts of like heights, so that small pictures do not fill frames of large
# ones. A CPU wants them small; on a GPU the time of a part is that of launching its kernels.
_PART = {"cpu": 64, "cuda": 1024}


class Composer:
    """Makes batches of sketches.

    Args:
        atlas: the fonts that the sketches were made with.
        photographs: those whose sizes the sketches were made with, grey levels in [0, 1].
        device: where the pictures are made and stay.
    """

    def __init__(
        self, atlas: Atlas, photographs: Sequence[Grey], device: torch.device | str = "cpu"
    ) -> None:
        self.device = torch.device(device)
        self.glyphs = Glyphs(atlas, self.device)
        self.photographs = Photographs(photographs, self.device)

    @torch.no_grad()
    def __call__(self, sketch: Sketch) -> Batch:
        """The batch; its images are on the device, its targets are not.

        A function of the sketch, on devices of one kind and with one version of torch.
        """
        generator = torch.Generator(self.device).manual_seed(sketch.seed)
        count = len(sketch)
        parts = np.array_split(np.arange(count), -(-count // _PART.get(self.device.type, 1024)))
        images = [self._images(part(sketch, chosen), generator) for chosen in parts]
        return Batch(
            images=torch.cat(images)[:, None],
            targets=torch.from_numpy(sketch.targets),
            target_lengths=torch.from_numpy(sketch.target_lengths),
        )

    def _images(self, sketch: Sketch, generator: torch.Generator) -> Tensor:
        """``[n, height, width]`` uint8 of a part of a batch."""
        values = Values(
            {name: row for row, name in enumerate(sketch.names)},
            upload(sketch.numbers, self.device)[:, :, None, None],
        )
        steps = Steps(steps_of(sketch), self.device)
        sizes = upload(np.concatenate([sketch.size, sketch.photo]), self.device).float()
        size, photo = _pair(sizes[:2]), _pair(sizes[2:])
        frames = self._frames(sketch, values, steps, size, generator)
        reach = sketch.numbers[sketch.names.index("reach")].max()
        most_steps = max(2, int(np.rint(reach)))
        frames = photograph(frames, size, photo, values, steps, most_steps, generator)
        return scaled(frames, photo, sketch.height, sketch.width)

    def _frames(
        self, sketch: Sketch, v: Values, steps: Steps, size: Size, generator: torch.Generator
    ) -> Tensor:
        """``[n, h, w]`` in [0, 1] before the camera; beyond each picture its edges go on."""
        letters = as_rows(sketch.letters, self.device)
        lines = as_rows(sketch.lines, self.device)
        canvas = draw_canvases(self.glyphs, sketch, v, steps, letters, lines)
        wide, high = (-(-int(most) // 8) * 8 for most in sketch.size.max(axis=1))
        index = counting(max(wide, high), self.device)
        columns = torch.minimum(index[None, None, :wide], size[0] - 1)
        rows = torch.minimum(index[None, :high, None], size[1] - 1)
        x, y = canvas_points(v, steps, columns, rows)
        fill = sample_reduced(canvas, x, y, steps)

        paper, ink, beyond = textures(v, steps, self.photographs, columns, rows, size, generator)
        image = paper.add_(v["paper"])
        if "panel" in steps:
            chosen = steps["panel"]
            panel = _panel(v.at(chosen), x.index_select(0, chosen), y.index_select(0, chosen))
            wall = beyond.add_(v["beyond"]).index_select(0, chosen)
            inside = image.index_select(0, chosen)
            image.index_copy_(0, chosen, torch.lerp(wall, inside, panel))
        if "border" in steps:
            chosen = steps["border"]
            edge = sample(
                bordered(canvas, steps), x.index_select(0, chosen), y.index_select(0, chosen)
            )
            beneath = image.index_select(0, chosen)
            image.index_copy_(0, chosen, torch.lerp(beneath, v.at(chosen)["side"], edge))
        if "side" in steps:
            chosen = steps["side"]
            most = int(sketch.numbers[sketch.names.index("side_steps")].max())
            masks = canvas.index_select(0, chosen)
            edge = _sides(
                masks, x.index_select(0, chosen), y.index_select(0, chosen), v.at(chosen), most
            )
            beneath = image.index_select(0, chosen)
            image.index_copy_(0, chosen, torch.lerp(beneath, v.at(chosen)["side"], edge))
        ink.add_(v["ink"])
        if "second" in steps:
            ink += v["second"] * ((columns >= v["second_from"]) & (columns < v["second_to"]))
        image = torch.lerp(image, ink, fill)
        return _lit(image, v, steps, columns, rows, size).clamp_(0, 1)


def _pair(sizes: Tensor) -> Size:
    return sizes[0][:, None, None], sizes[1][:, None, None]


def _panel(v: Values, x: Tensor, y: Tensor) -> Tensor:
    """``[n, h, w]``: 1 on the sign, 0 beyond its edge; a frame has the sign on both sides."""
    across = torch.minimum(x - v["panel_x0"], v["panel_x1"] - x)
    inside = torch.minimum(across, torch.minimum(y - v["panel_y0"], v["panel_y1"] - y))
    # Half a pixel of the picture on either side of an edge blends the two.
    on = (inside * v["scale"] + 0.5).clamp_(0, 1)
    after = ((-inside - v["frame"]) * v["scale"] + 0.5).clamp_(0, 1) * (v["frame"] > 0)
    return torch.maximum(on, after)


def _sides(masks: Tensor, x: Tensor, y: Tensor, v: Values, most: int) -> Tensor:
    """Shadows and the letters' sides: the most over `masks` moved step by step."""
    count, height, width = x.shape
    step = counting(most, x.device)[:, None, None] + 1  # all steps below one another
    shift = torch.minimum(v["side_steps"], step[:, 0])[..., None]
    across = (x[:, None] - v["side_x"][..., None] * shift).view(count, most * height, width)
    down = (y[:, None] - v["side_y"][..., None] * shift).view(count, most * height, width)
    return sample(masks, across, down).view(count, most, height, width).amax(1)


def _lit(
    image: Tensor, v: Values, steps: Steps, columns: Tensor, rows: Tensor, size: Size
) -> Tensor:
    """Uneven light, and the edges of shadows or reflections."""
    for step in ("light", "shade"):
        if step not in steps:
            continue
        chosen = steps[step]
        part, s = v.at(chosen), (size[0].index_select(0, chosen), size[1].index_select(0, chosen))
        slope = ramp(
            part[f"{step}_angle"],
            columns.index_select(0, chosen),
            rows.index_select(0, chosen),
            s,
        )
        if step == "light":
            factor = 1 + part["light"] * slope
        else:
            dark = (slope * part["shade_steep"] + part["shade_at"]).clamp_(0, 1)
            factor = 1 - dark * part["shade"]
        image.index_copy_(0, chosen, image.index_select(0, chosen) * factor)
    return image

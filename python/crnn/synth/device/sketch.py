"""Pools of sketches: words with all their chances drawn, which a `Composer` makes pictures of.

A sketch takes some 0.7 kB a word and no pixel, so that processes without a GPU draw tens of
thousands a second for the one that has it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from crnn.charset import Charset
from crnn.synth.dataset import POOL, WIDTHS, bucket, draw_sign
from crnn.synth.device.atlas import Atlas
from crnn.synth.device.layout import PAD, lay_out, overlap
from crnn.synth.device.look import draw_camera, draw_colours, draw_layers
from crnn.synth.device.view import draw_views
from crnn.synth.text import TextSampler


@dataclass
class Sketch:
    """A batch of N words that is not drawn yet, from low pictures to high ones.

    Attributes:
        names: of the rows of `numbers`.
        numbers: ``[len(names), N]`` float32; see `crnn.synth.device.look` and `.view`.
        letters: ``[3, N, L]`` int32, see `Layout`.
        lines: ``[3, M, LINE]`` int32.
        lined: ``[M]``, ascending.
        size: ``[2, N]`` int32, width and height of each picture before the camera.
        photo: ``[2, N]`` int32, and after it.
        canvas: ``[2, N]`` int32, width and height of each canvas.
        depth: ``[N]``, how many letters lie over one column at most.
        width: of all images of the batch, in pixels.
        height: likewise.
        seed: of the noise that the device draws.
        targets: ``[sum of target_lengths]`` int64, class indices, one label after another.
        target_lengths: ``[N]`` int64.
    """

    names: tuple[str, ...]
    numbers: NDArray[np.float32]
    letters: NDArray[np.int32]
    lines: NDArray[np.int32]
    lined: NDArray[np.int64]
    size: NDArray[np.int32]
    photo: NDArray[np.int32]
    canvas: NDArray[np.int32]
    depth: NDArray[np.int64]
    width: int
    height: int
    seed: int
    targets: NDArray[np.int64]
    target_lengths: NDArray[np.int64]

    def __len__(self) -> int:
        return int(self.numbers.shape[1])


class SketchedWords(Dataset[list[Sketch]]):
    """Pool p holds batches ``p * POOL`` to ``(p + 1) * POOL - 1`` of the stream.

    A pool depends on the seed, its number and the batch size alone; see `SyntheticWords` for the
    arguments that are not named here.

    Args:
        texts: draws the text of a sample.
        atlas: the fonts; its pixels are not used here.
        photographs: height and width of each photograph that the composer has.
    """

    def __init__(
        self,
        texts: TextSampler,
        atlas: Atlas,
        photographs: Sequence[tuple[int, ...]],
        charset: Charset,
        batch_size: int,
        seed: int = 0,
        height: int = 32,
        widths: tuple[int, ...] = WIDTHS,
        warmup: int = 0,
        difficulty: float = 1.0,
    ) -> None:
        self.texts, self.charset, self.batch_size, self.seed = texts, charset, batch_size, seed
        # Workers are sent a copy; they do not need the pixels.
        self.atlas = dataclasses.replace(atlas, pixels=atlas.pixels[:1].copy())
        self.photographs = np.array(photographs, np.int64).reshape(-1, 2)
        self.height, self.widths = height, widths
        self.warmup, self.difficulty = warmup, difficulty

    def __getitem__(self, pool: int) -> list[Sketch]:
        """The batches of pool `pool`, in an order drawn from the seed."""
        count = self.batch_size * POOL
        rng = np.random.default_rng((self.seed, pool))
        signs = [draw_sign(self.texts, rng) for _ in range(count)]
        difficulty = np.full(count, self.difficulty)
        if self.warmup:
            done = (np.arange(count) + pool * count) / self.warmup
            difficulty *= np.minimum(1.0, 0.15 + done)
        layout = lay_out(self.atlas, [text for text, _ in signs], rng, difficulty)
        numbers, size = draw_views(layout, rng, difficulty)
        numbers |= draw_layers(layout, rng, difficulty)
        raised = numbers["side_steps"] > 0
        numbers |= draw_colours(size, raised, self.photographs, rng, difficulty)
        unit = numbers["scale"] * layout.box[1]
        camera, photo = draw_camera(size, unit, numbers["contrast"], rng, difficulty)
        numbers |= camera
        whole = Sketch(
            tuple(numbers),
            np.stack(list(numbers.values())).astype(np.float32),
            layout.letters,
            layout.lines,
            layout.lined,
            size.astype(np.int32),
            photo.astype(np.int32),
            (layout.box + 2 * np.array([PAD]).T).astype(np.int32),
            overlap(self.atlas, layout.letters),
            *(0, self.height, 0),
            *(np.empty(0, np.int64),) * 2,
        )
        by_shape = np.argsort(photo[0] / photo[1], kind="stable")
        seeds = rng.integers(2**63, size=POOL)
        order = np.random.default_rng((self.seed, pool, 1)).permutation(POOL)
        batches = np.split(by_shape, POOL)
        return [self._batch(whole, batches[i], signs, int(seeds[i])) for i in order]

    def _batch(
        self, whole: Sketch, chosen: NDArray[np.int64], signs: list[tuple[str, str]], seed: int
    ) -> Sketch:
        """The batch of the samples `chosen` of a pool."""
        ratios = whole.photo[0, chosen] / whole.photo[1, chosen]
        labels = [self.charset.encode(signs[i][1]) for i in chosen]
        width = bucket(self.widths, self.height * float(np.median(ratios)), max(map(len, labels)))
        # Pictures of like heights lie side by side, so that parts of a batch fit small frames.
        order = np.lexsort((whole.size[0, chosen], whole.size[1, chosen]))
        batch = part(whole, chosen[order])
        batch.width, batch.seed = width, seed
        batch.targets = np.array([c for i in order for c in labels[i]], np.int64)
        batch.target_lengths = np.array([len(labels[i]) for i in order], np.int64)
        return batch


def part(sketch: Sketch, chosen: NDArray[np.int64]) -> Sketch:
    """The samples `chosen` of a sketch, without its targets."""
    place = np.full(len(sketch), -1)
    place[chosen] = np.arange(len(chosen))
    lined = place[sketch.lined]
    there = np.flatnonzero(lined >= 0)
    there = there[np.argsort(lined[there])]
    return dataclasses.replace(
        sketch,
        numbers=sketch.numbers[:, chosen],
        letters=sketch.letters[:, chosen],
        lines=sketch.lines[:, there],
        lined=lined[there],
        size=sketch.size[:, chosen],
        photo=sketch.photo[:, chosen],
        canvas=sketch.canvas[:, chosen],
        depth=sketch.depth[chosen],
    )

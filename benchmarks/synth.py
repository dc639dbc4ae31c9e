"""Synthetic images a second: `crnn.synth`, composed in torch, and Pillow drawing text alone.

    python -m benchmarks.synth                   of one core: both renderers and Pillow
    python -m benchmarks.synth --device cuda     of one core that sketches, and a GPU that composes

The fonts are a spread of 40 files of this machine, their glyphs drawn before the clock starts, as
they are after the first minutes of a training run. Every case is verified first: the images come
back from the seed, and the labels are the text's letters and digits. Pillow's share, the text on an
empty canvas with the font opened before, is what a renderer built on `ImageDraw.text` starts from.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from benchmarks.record import record
from benchmarks.speed import parse, parser
from benchmarks.timing import interleave
from crnn.charset import Charset
from crnn.synth import Renderer, SyntheticWords, TextSampler, find_fonts, load_words
from crnn.synth.backgrounds import load_backgrounds
from crnn.synth.dataset import POOL
from crnn.synth.device import Composer, SketchedWords, load_atlas

Sketched: TypeAlias = tuple[SketchedWords, Composer]

IMAGES = 256  # of one call
FONTS = 40


def make(options: argparse.Namespace, difficulty: float) -> SyntheticWords:
    """The stream of one case."""
    families = find_fonts(options.fonts) if options.fonts else find_fonts()
    files = sorted(path for family in families for path in family)
    chosen = files[:: max(1, len(files) // FONTS)][:FONTS]
    photographs = load_backgrounds(options.backgrounds)
    return SyntheticWords(
        TextSampler(load_words(options.words)),
        Renderer([[path] for path in chosen], photographs),
        Charset.named("36"),
        batch_size=IMAGES // 8,
        difficulty=difficulty,
    )


def make_sketched(options: argparse.Namespace, data: SyntheticWords, size: int) -> Sketched:
    """The same stream for composition: its sketches and what draws them."""
    photographs = data.renderer.backgrounds
    atlas = load_atlas(data.renderer.families)
    shapes = [photograph.shape for photograph in photographs]
    sketches = SketchedWords(
        data.texts, atlas, shapes, data.charset, size, difficulty=data.difficulty
    )
    return sketches, Composer(atlas, photographs, options.device)


def verify_composed(sketched: Sketched) -> None:
    """Raise AssertionError unless batches repeat and hold something."""
    sketches, composer = sketched
    for sketch, again in zip(sketches[0], sketches[0], strict=True):
        first, second = composer(sketch).images, composer(again).images
        assert torch.equal(first, second), "a batch differs when drawn again"
        assert float(first.float().std((1, 2, 3)).min()) > 0, "an image is empty"


def verify(data: SyntheticWords) -> None:
    """Raise AssertionError unless samples repeat and labels are what the text says."""
    for index in range(50):
        pixels, label = data.sample(index)
        again, same = data.sample(index)
        assert np.array_equal(pixels, again), f"sample {index} differs when drawn again"
        assert label == same, f"label {index} differs when drawn again"
        text = ""
        rng = np.random.default_rng((data.seed, index))
        while not any(char.isascii() and char.isalnum() for char in text):
            text = data.texts(rng)
        assert label == "".join(c for c in text if c.isascii() and c.isalnum())


def pillow_text(data: SyntheticWords) -> Callable[[], object]:
    """The same texts, each drawn by Pillow alone with the first font."""
    font = ImageFont.truetype(data.renderer.fonts[0], 40, layout_engine=ImageFont.Layout.BASIC)
    texts = [data.texts(np.random.default_rng((data.seed, i))) for i in range(IMAGES)]

    def draw() -> None:
        for text in texts:
            left, top, right, bottom = font.getbbox(text)
            canvas = Image.new("L", (int(right - left) + 4, int(bottom - top) + 4))
            ImageDraw.Draw(canvas).text((2 - left, 2 - top), text, fill=255, font=font)

    return draw


def main() -> None:
    """Verify, time and record."""
    options = parser("synth", __doc__, seconds=10.0)
    options.add_argument("--words", nargs="+", default=(), help="word lists; default: installed")
    options.add_argument("--fonts", nargs="+", default=(), help="folders or archives of fonts")
    options.add_argument("--backgrounds", nargs="+", default=(), help="photographs, likewise")
    options.add_argument("--device", default="cpu", help="cpu, or cuda for composition there")
    parsed = parse(options)
    if parsed.device != "cpu":
        for size in (256,) if parsed.quick else (256, 1024, 2048):
            on_device(make(parsed, 1.0), size, parsed)
        return
    for difficulty in (1.0,) if parsed.quick else (0.0, 0.5, 1.0):
        data = make(parsed, difficulty)
        verify(data)
        sketched = make_sketched(parsed, data, IMAGES // POOL)
        verify_composed(sketched)
        for pool in range(1, 2 if parsed.quick else 7):  # draw the glyphs
            data[pool]
        on_a_core(data, sketched, difficulty, parsed)


def on_a_core(
    data: SyntheticWords, sketched: Sketched, difficulty: float, options: argparse.Namespace
) -> None:
    """Time all in turns; print and record."""
    sketches, composer = sketched
    pillow = "Pillow, text alone"
    functions: dict[str, Callable[[], object]] = {
        pillow: pillow_text(data),
        "crnn.synth": lambda: data[7],
        "crnn.synth.device": lambda: [composer(sketch) for sketch in sketches[7]],
        "sketches alone": lambda: sketches[7],
    }
    measured = interleave(functions, seconds=options.seconds)
    case = {"images": IMAGES, "difficulty": difficulty} | of_renderer(data)
    for name, timing in measured.items():
        rate = IMAGES / timing.seconds.median
        print(f"difficulty {difficulty} {name:20} {rate:7.0f} images/s", flush=True)
        if not options.no_record:
            ratio = None if name == pillow else timing.ratio_of(measured[pillow])
            record("synth", case, name, error=None, measurement=timing, ratio=ratio)


def on_device(data: SyntheticWords, size: int, options: argparse.Namespace) -> None:
    """Time the composition of a pool of batches of `size` that were sketched before."""
    sketched = make_sketched(options, data, size)
    verify_composed(sketched)
    sketches, composer = sketched
    pool = sketches[7]

    def compose() -> None:
        for sketch in pool:
            composer(sketch)
        torch.cuda.synchronize()

    torch.cuda.reset_peak_memory_stats()
    functions = {"sketches, one core": lambda: sketches[7], "composition": compose}
    measured = interleave(functions, seconds=options.seconds)
    peak = torch.cuda.max_memory_allocated() / 2**30
    case = {"images": size * POOL, "batch": size, "device": torch.cuda.get_device_name()}
    for name, timing in measured.items():
        rate = size * POOL / timing.seconds.median
        print(f"batch {size:5} {name:20} {rate:9.0f} images/s, peak {peak:.1f} GiB", flush=True)
        if not options.no_record:
            record("synth_cuda", case | of_renderer(data), name, error=None, measurement=timing)


def of_renderer(data: SyntheticWords) -> dict[str, int]:
    """What a rate depends on."""
    return {"fonts": len(data.renderer.fonts), "photographs": len(data.renderer.backgrounds)}


if __name__ == "__main__":
    main()

"""Synthetic images a second of one core: `crnn.synth`, and Pillow drawing the same text alone.

The fonts are a spread of 40 files of this machine, their glyphs drawn before the clock starts, as
they are after the first minutes of a training run. Every case is verified first: the images come
back from the seed, and the labels are the text's letters and digits. Pillow's share, the text on an
empty canvas with the font opened before, is what a renderer built on `ImageDraw.text` starts from.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from benchmarks.record import record
from benchmarks.speed import parse, parser
from benchmarks.timing import interleave
from crnn.charset import Charset
from crnn.synth import Renderer, SyntheticWords, TextSampler, find_fonts, load_words
from crnn.synth.backgrounds import load_backgrounds

IMAGES = 256  # of one call
FONTS = 40


def make(options: argparse.Namespace, difficulty: float) -> SyntheticWords:
    """The stream of one case."""
    files = sorted(path for family in find_fonts() for path in family)
    chosen = files[:: max(1, len(files) // FONTS)][:FONTS]
    photographs = load_backgrounds(options.backgrounds)
    return SyntheticWords(
        TextSampler(load_words(options.words)),
        Renderer([[path] for path in chosen], photographs),
        Charset.named("36"),
        batch_size=IMAGES // 8,
        difficulty=difficulty,
    )


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
    options.add_argument("--backgrounds", nargs="+", default=(), help="folders of photographs")
    parsed = parse(options)
    for difficulty in (1.0,) if parsed.quick else (0.0, 0.5, 1.0):
        data = make(parsed, difficulty)
        verify(data)
        for pool in range(1, 2 if parsed.quick else 7):  # draw the glyphs
            data[pool]
        compare_with_pillow(data, difficulty, parsed)


def compare_with_pillow(
    data: SyntheticWords, difficulty: float, options: argparse.Namespace
) -> None:
    """Time both in turns; print and record."""
    pillow, ours = "Pillow, text alone", "crnn.synth"
    functions = {pillow: pillow_text(data), ours: lambda: data[7]}
    measured = interleave(functions, seconds=options.seconds)
    ratio = measured[ours].ratio_of(measured[pillow])
    case = {
        "images": IMAGES,
        "difficulty": difficulty,
        "fonts": len(data.renderer.fonts),
        "photographs": len(data.renderer.backgrounds),
    }
    for name, timing in measured.items():
        rate = IMAGES / timing.seconds.median
        print(f"difficulty {difficulty} {name:20} {rate:7.0f} images/s", flush=True)
        if not options.no_record:
            record(
                "synth", case, name, error=None, measurement=timing,
                ratio=ratio if name == ours else None,
            )  # fmt: skip


if __name__ == "__main__":
    main()

"""What a model of music makes of pictures that are no fragment: `python -m benchmarks.bad_music`.

Each kind is drawn by verovio as in training, with other seeds, and by abcm2ps, if it is installed,
as prints in three sizes: abcm2ps never drew training data. Further rows: fragments, for how many
of them are refused by mistake, and the photographed words of examples/. Lines go to
benchmarks/results/bad_music.jsonl.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import skia
import torch
from numpy.typing import NDArray
from PIL import Image

from benchmarks.record import RESULTS, environment
from crnn import Recognizer
from crnn.charset import NAMED, Charset
from crnn.music.dataset import SyntheticMusic
from crnn.music.negatives import KINDS
from crnn.music.photo import severity
from crnn.synth.backgrounds import load_backgrounds

Picture = tuple[NDArray[np.uint8] | Image.Image | Path, str]  # and its label
Generator = np.random.Generator

_SEED = 20_000  # no training has it
_SCALES = (1.0, 1.8, 3.5)  # 6, 11 and 21 pixels from staff line to staff line
_CONFIDENT = 0.5
_PITCHES = NAMED["music"][2:15]  # C4 to A5
_CLEFS = {"bass clef": "bass", "alto clef": "alto"}


def main() -> int:
    """Draw, read, print and record."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="music", help="name or file (default: %(default)s)")
    parser.add_argument("--count", type=int, default=100, help="of each kind (%(default)s)")
    parser.add_argument("--backgrounds", nargs="+", default=[], help="photographs")
    parser.add_argument("--threads", type=int, default=1, help="default: %(default)s")
    parser.add_argument("--no-record", action="store_true", help="only print")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    recognizer = Recognizer.from_pretrained(args.model)
    rows = dict(_verovio(args.backgrounds))
    if shutil.which("abcm2ps"):
        rows |= {(kind, "abcm2ps"): _printed(kind) for kind in PRINTED}
    else:
        print("abcm2ps is not installed: its rows are left out", file=sys.stderr)
    for (kind, source), draw in rows.items():
        pictures = [draw(np.random.default_rng((_SEED, i))) for i in range(args.count)]
        _report(recognizer, args, kind, source, pictures)
    words = [(path, "") for path in sorted(Path("examples").glob("*.jpg"))]
    _report(recognizer, args, "photographed words", "examples/", words)
    return 0


def _report(
    recognizer: Recognizer,
    args: argparse.Namespace,
    kind: str,
    source: str,
    pictures: list[Picture],
) -> None:
    readings = recognizer.read([picture for picture, _ in pictures])
    right = sum(r.text == label for r, (_, label) in zip(readings, pictures, strict=True))
    confident = [r for r in readings if r.text and r.confidence >= _CONFIDENT]
    figures = {
        "count": len(readings),
        "right": right,
        "empty": sum(not r.text for r in readings),
        "confident": len(confident),
    }
    print(f"{kind}, {source}: {figures}", flush=True)
    if not args.no_record:
        line = {"case": {"images": kind, "drawn by": source}, "implementation": args.model}
        with (RESULTS / "bad_music.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps({**line, **figures, **environment()}) + "\n")


def _verovio(
    backgrounds: list[str],
) -> Iterator[tuple[tuple[str, str], Callable[[Generator], Picture]]]:
    """Pictures as in training, of all difficulties."""
    data = SyntheticMusic(
        Charset.named("music"), 1, seed=_SEED, backgrounds=load_backgrounds(backgrounds)
    )
    yield ("fragment", "verovio"), lambda rng: data.fragment(rng, severity(rng))
    for kind in KINDS:
        yield (
            (kind, "verovio"),
            lambda rng, kind=kind: (data.negatives(rng, severity(rng), kind), ""),
        )


def _tune(rng: Generator, clef: str = "treble", chords: str = "") -> tuple[str, str]:
    """A line of ABC, and its pitches if it is a fragment."""
    clefs = {"treble": 0, "bass": -12, "alto": -6}  # steps, as in `crnn.music.melody.CLEFS`
    heights = rng.integers(0, len(_PITCHES), int(rng.integers(3, 16)))
    alone = int(rng.integers(len(heights))) if chords == "one chord" else -1
    notes = []
    for i, height in enumerate(heights):
        places = [int(height)]
        if i == alone or (chords == "chords" and (i < 2 or rng.random() < 0.6)):
            places += [int(height) + 2, int(height) + 4][: int(rng.integers(1, 3))]
        names = "".join(_abc(place + clefs[clef]) for place in places)
        value = rng.choice(["", "2", "/"])
        notes.append((f"[{names}]" if len(places) > 1 else names) + value)
        if i % 4 == 3:
            notes.append("|")
    pitches = " ".join(_PITCHES[h] for h in heights)
    return f"{' '.join(notes)} |]", pitches


def _abc(steps: int) -> str:
    """The ABC name of the pitch so many steps above C4."""
    octave, name = divmod(steps, 7)
    letter = "CDEFGAB"[name]
    return letter.lower() + "'" * (octave - 1) if octave > 0 else letter + "," * -octave


def _engraved(lines: list[str], scale: float, clef: str = "treble") -> Image.Image:
    """Each line on a staff, as abcm2ps draws them, cropped to their ink and a margin."""
    head = f"%%stretchlast 0\n%%stretchstaff 0\nX:1\nM:none\nL:1/4\nK:C clef={clef}\n"
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "a.abc"
        source.write_text(head + "\n".join(lines) + "\n")
        subprocess.run(
            ["abcm2ps", "-g", "-q", "-O", f"{folder}/a.svg", str(source)],
            check=True, capture_output=True,
        )  # fmt: skip
        svg = next(Path(folder).glob("a*.svg")).read_text()
    svg = re.sub(r"<style.*?</style>|<text.*?</text>", "", svg, flags=re.DOTALL)
    svg = svg.replace('class="fill"', 'fill="black"')
    svg = svg.replace('class="stroke"', 'fill="none" stroke="black"')
    size = re.search(r'width="([\d.]+)px" height="([\d.]+)px"', svg)
    if size is None:
        raise RuntimeError("bad_music: abcm2ps must give the size of its page, got none")
    width, height = (round(float(v) * scale) for v in size.groups())
    surface = skia.Surface(width, height)
    with surface as canvas:
        canvas.clear(skia.ColorWHITE)
        canvas.scale(scale, scale)
        skia.SVGDOM.MakeFromStream(skia.MemoryStream(svg.encode(), True)).render(canvas)
    ink = 255 - surface.toarray()[:, :, 0]
    rows, columns = np.flatnonzero(ink.any(1)), np.flatnonzero(ink.any(0))
    margin = round(6 * scale)
    box = (
        columns[0] - margin, rows[0] - margin, columns[-1] + margin, rows[-1] + margin,
    )  # fmt: skip
    page = Image.new("L", (width + 2 * margin, height + 2 * margin), 255)
    page.paste(Image.fromarray(255 - ink), (margin, margin))
    return page.crop(tuple(int(v) + margin for v in box))  # type: ignore[arg-type]


def _printed(kind: str) -> Callable[[Generator], Picture]:
    def draw(rng: Generator) -> Picture:
        scale = float(rng.choice(_SCALES))
        if kind in _CLEFS:
            return _engraved([_tune(rng, _CLEFS[kind])[0]], scale, _CLEFS[kind]), ""
        if kind in _CHORDS:
            return _engraved([_tune(rng, chords=kind)[0]], scale), ""
        staves = {"two staves": 2, "page": int(rng.integers(6, 11))}.get(kind, 1)
        tunes = [_tune(rng) for _ in range(staves)]
        image = _engraved([voice for voice, _ in tunes], scale)
        if kind in _TURNS:
            return image.transpose(_TURNS[kind]), ""
        return image, tunes[0][1] if kind == "fragment" else ""

    return draw


_TURNS = {
    "upside-down": Image.Transpose.ROTATE_180,
    "sideways": Image.Transpose.ROTATE_90,
    "mirrored": Image.Transpose.FLIP_LEFT_RIGHT,
}
_CHORDS = ("chords", "one chord")
PRINTED = ("fragment", *_TURNS, *_CLEFS, *_CHORDS, "two staves", "page")


if __name__ == "__main__":
    sys.exit(main())

"""Show in a picture why an image is read as it is.

The picture has the image with its symbols, the probability of each symbol in each of the network's
frames, where each symbol may lie, how certain it is if the others are right and what else could
stand there, and the most probable texts. The same is printed in short. Columns are pixels of the
upright image; "none" is the text without that symbol.

exit status: 0, or 2 if nothing could be done.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from crnn.explanation import Explanation

EXAMPLES = """\
  crnn explain word.jpg                        writes word.explained.png
  crnn explain word.jpg -o why.svg             or .pdf, .jpg, .webp
  crnn explain sign.jpg --lexicon streets.txt  only words of a list, and the best of them
  crnn explain sign.jpg --text station         where this text would lie, and what speaks against it
  crnn explain staff.png --model music         pitches
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("image", metavar="IMAGE", help="image file, or - for an image on stdin")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="FILE",
        help="the picture: .png, .svg, .pdf, .jpg or .webp (default: IMAGE's name with "
        ".explained.png, here)",
    )
    parser.add_argument(
        "--model",
        default="base",
        metavar="NAME_OR_PATH",
        help="a model of the package or a .safetensors file (default: %(default)s)",
    )
    parser.add_argument("--text", help="explain this text instead of what is read")
    parser.add_argument(
        "--lexicon",
        metavar="FILE",
        help="words to choose from, one a line, or a file of `crnn lexicon build`",
    )


def run(args: argparse.Namespace) -> int:
    from crnn.cli import CommandError
    from crnn.drawing import draw
    from crnn.evaluation.plots import new_figure
    from crnn.explanation import explain
    from crnn.recognizer import Recognizer

    name = "stdin" if args.image == "-" else Path(args.image).stem
    output = args.output or Path(f"{name}.explained.png")
    try:
        kinds = new_figure(1, 1).canvas.get_supported_filetypes()
        if output.suffix.lower().removeprefix(".") not in kinds:
            raise CommandError(
                f"explain: output must end in .png, .svg, .pdf, .jpg or .webp, got {output}"
            )
        recognizer = Recognizer.from_pretrained(args.model)
        lexicon = None if args.lexicon is None else recognizer.lexicon(args.lexicon)
        source = sys.stdin.buffer if args.image == "-" else args.image
        explanation = explain(recognizer, source, text=args.text, lexicon=lexicon)
    except ValueError as error:
        raise CommandError(error) from error
    _print(explanation)
    try:
        draw(explanation, output)
    except OSError as error:
        raise CommandError(f"explain: {output} must be writable ({error.strerror})") from error
    print(f"drawn in {output}")
    return 0


def _print(explanation: Explanation) -> None:
    reading = explanation.reading
    print(f"{reading.text}  {reading.confidence:.3f}")
    for symbol in reading.symbols:
        others = [
            f"{a.text or 'none'} {a.probability:.3f}"
            for a in symbol.alternatives
            if a.probability >= 0.0005
        ]
        left, right = symbol.box
        print(
            f"  {symbol.text}  {symbol.confidence:.3f}  columns {left:.0f}-{right:.0f}"
            + (f"  or {', '.join(others)}" if others else "")
        )
    kind = "texts" if explanation.outside is None else "words"
    print(f"most probable {kind}:")
    for candidate in explanation.candidates:
        print(f"  {candidate.probability:.3f}  {candidate.text}")
    if explanation.outside is not None:
        print(f"  {explanation.outside:.3f}  all that is no word")

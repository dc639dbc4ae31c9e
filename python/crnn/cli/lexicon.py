"""Build a lexicon once, to be mapped into memory wherever it is used.

``build`` reads words, one a line in UTF-8, as a model spells them, and writes a file that
`crnn read --lexicon` and `crnn_ext.Lexicon.load` take: it opens at once, and all processes that use
it share its memory. Worth it from some hundred thousand words on. How good each way to search a
lexicon is on your own images, `crnn eval MODEL IMAGES --figure4 --lexicon WORDS` tells.

exit status: 0, or 2 if nothing could be done.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

EXAMPLES = """\
  crnn lexicon build words.txt words.lexicon
  crnn lexicon build noten.txt noten.lexicon --model runs/music/model.safetensors
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb and its flags."""
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", dest="verb", required=True)
    build = verbs.add_parser("build", help="write a lexicon file")
    build.add_argument("words", type=Path, help="UTF-8 file, a word a line")
    build.add_argument("lexicon", type=Path, help="file to write")
    build.add_argument(
        "--model",
        default="small",
        metavar="NAME_OR_PATH",
        help="the model that is to read the words (default: %(default)s)",
    )


def run(args: argparse.Namespace) -> int:
    from crnn.cli import CommandError
    from crnn.recognizer import Recognizer

    try:
        recognizer = Recognizer.from_pretrained(args.model)
        begin = time.perf_counter()
        lexicon = recognizer.lexicon(args.words)
        seconds = time.perf_counter() - begin
        lexicon.save(args.lexicon)
    except ValueError as error:
        raise CommandError(error) from error
    except OSError as error:
        raise CommandError(
            f"lexicon: {args.lexicon} must be writable ({error.strerror})"
        ) from error
    if lexicon.skipped:
        print(
            f"crnn: words of {args.words} with symbols that the model lacks are left out: "
            f"{len(lexicon.skipped)}, such as {lexicon.skipped[0]!r}",
            file=sys.stderr,
        )
    megabytes = args.lexicon.stat().st_size / 1e6
    print(f"{args.lexicon}: {len(lexicon)} words, {megabytes:.1f} MB, built in {seconds:.2f} s")
    return 0

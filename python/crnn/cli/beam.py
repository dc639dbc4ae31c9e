"""Options of the beam search, which several commands share."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from crnn.transcription import Beam

METHODS = ("exact", "bk-tree", "exhaustive", "beam")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags that need --method beam; None where they are not given."""
    group = parser.add_argument_group("beam search (--method beam)")
    group.add_argument(
        "--beam", type=int, metavar="N", help="prefixes kept after each frame (default: 16)"
    )
    group.add_argument(
        "--lm",
        metavar="FILE",
        help="weigh texts by a language model: english, which comes along, or of `crnn lm build`",
    )
    group.add_argument(
        "--lm-weight",
        type=float,
        metavar="W",
        help="how much the language model counts beside the image, from 0 to 10 (default: 0.2)",
    )
    group.add_argument(
        "--free",
        metavar="SYMBOLS",
        help="with --lexicon: symbols that are in no word and may stand around words; without "
        "them a text is one word or nothing",
    )


def beam_of(args: argparse.Namespace, has_lexicon: bool) -> Beam | None:
    """The options given; None unless the method is beam.

    Raises:
        ValueError: options that need others.
    """
    from crnn.transcription import Beam

    given = {
        "width": args.beam,
        "lm": args.lm,
        "lm_weight": args.lm_weight,
        "free": args.free,
    }
    if args.method != "beam":
        for flag in ("beam", "lm", "lm_weight", "free"):
            if getattr(args, flag) is not None:
                name = flag.replace("_", "-")
                raise ValueError(f"--{name} must come with --method beam, got {args.method}")
        return None
    if args.lm_weight is not None and args.lm is None:
        raise ValueError("--lm-weight must come with --lm, got none")
    if args.free is not None and not has_lexicon:
        raise ValueError("--free must come with --lexicon, got none")
    return Beam(**{name: value for name, value in given.items() if value is not None})

"""How texts are searched for: the flags that several commands share."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from crnn.recognizer import Recognizer
    from crnn.transcription import Beam, Method

METHODS = ("exact", "bk-tree", "exhaustive", "greedy", "beam")
_NO_MODEL = "none"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags that need the method beam; None where they are not given."""
    group = parser.add_argument_group("beam search (--method beam; without --lexicon the default)")
    group.add_argument(
        "--beam", type=int, metavar="N", help="prefixes kept after each frame (default: 16)"
    )
    group.add_argument(
        "--lm",
        metavar="NAME_OR_FILE",
        help="weigh texts by a language model: english, which comes along, a file of `crnn lm "
        "build`, or none (default: english for base and small without --lexicon)",
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


def search_of(
    args: argparse.Namespace, recognizer: Recognizer, has_lexicon: bool
) -> tuple[Method, Beam | None]:
    """The method given, or else the one that the model reads best with, and its options.

    Raises:
        ValueError: options that need others.
    """
    from crnn.transcription import Beam

    flags = ("beam", "lm", "lm_weight", "free")
    given = [flag for flag in flags if getattr(args, flag) is not None]
    if args.lm == _NO_MODEL:
        given.remove("lm")
    own = None if args.lm == _NO_MODEL or has_lexicon else recognizer.beam.lm
    method: Method = args.method or (
        "exact" if has_lexicon else "beam" if given or own else "greedy"
    )
    if method != "beam":
        if given:
            name = given[0].replace("_", "-")
            raise ValueError(f"--{name} must come with --method beam, got {method}")
        return method, None
    lm = args.lm if "lm" in given else own
    if args.lm_weight is not None and lm is None:
        raise ValueError("--lm-weight must come with --lm, got none")
    if args.free is not None and not has_lexicon:
        raise ValueError("--free must come with --lexicon, got none")
    options = {"width": args.beam, "lm": lm, "lm_weight": args.lm_weight, "free": args.free}
    return method, Beam(**{name: value for name, value in options.items() if value is not None})

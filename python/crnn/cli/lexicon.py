"""Build a lexicon once, to be mapped into memory wherever it is used; measure its searches.

``build`` reads words, one a line in UTF-8, as a model spells them, and writes a file that
`crnn read --lexicon` and `crnn_ext.Lexicon.load` take: it opens at once, and all processes that use
it share its memory. Worth it from some hundred thousand words on.

``bench`` searches a lexicon in every way, on your images or on made-up ones, and tells how often
each way finds the most probable word of all (recall), how often it reads right where the truth is
known, and how long one image takes on one thread, after the network.

exit status: 0, or 2 if nothing could be done.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from crnn.evaluation.lexicon_bench import Frames, SearchFigures
    from crnn.recognizer import Recognizer
    from crnn_ext import Lexicon

EXAMPLES = """\
  crnn lexicon build words.txt -o words.lexicon
  crnn lexicon build melodies.txt -o melodies.lexicon --model music
  crnn lexicon bench words.txt                        on made-up posteriors of its words
  crnn lexicon bench words.txt --data SVT/ --plot figure4.png
  crnn lexicon bench words.lexicon --images photos/
"""
# Of made-up posteriors: as sure as a network, and without a lexicon a symbol in eight is wrong.
_BOOST, _NOISE, _CONFUSED = 8.0, 1.0, 0.125


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb and its flags."""
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", dest="verb", required=True)
    build = verbs.add_parser("build", help="write a lexicon file")
    build.add_argument("words", type=Path, help="UTF-8 file, a word a line")
    build.add_argument(
        "-o", "--output", type=Path, required=True, metavar="FILE", help="file to write"
    )
    build.set_defaults(verb_run=_build)
    bench = verbs.add_parser("bench", help="measure each search: recall, accuracy, time")
    bench.add_argument(
        "words", type=Path, help="UTF-8 file, a word a line, or what build has written"
    )
    where = bench.add_mutually_exclusive_group()
    where.add_argument("--data", metavar="DATA", help="labelled images, as for crnn eval")
    where.add_argument(
        "--images", nargs="+", metavar="PATH", help="image files and folders, without labels"
    )
    bench.add_argument(
        "--count", type=int, default=100, metavar="N", help="images at most (default: %(default)s)"
    )
    bench.add_argument(
        "--protocol", default="36", help="which words are right, with --data (default: %(default)s)"
    )
    bench.add_argument("--plot", metavar="FILE", help="draw it as the paper's Figure 4")
    bench.add_argument("--json", action="store_true", help="one JSON object a method")
    bench.set_defaults(verb_run=_bench)
    for verb in (build, bench):
        verb.add_argument(
            "--model",
            default="base",
            metavar="NAME_OR_PATH",
            help="the model that is to read the words (default: %(default)s)",
        )


def run(args: argparse.Namespace) -> int:
    """Run the verb."""
    status: int = args.verb_run(args)
    return status


def _build(args: argparse.Namespace) -> int:
    from crnn.cli import CommandError
    from crnn.recognizer import Recognizer

    try:
        recognizer = Recognizer.from_pretrained(args.model)
        begin = time.perf_counter()
        lexicon = recognizer.lexicon(args.words)
        seconds = time.perf_counter() - begin
        lexicon.save(args.output)
    except ValueError as error:
        raise CommandError(error) from error
    except OSError as error:
        raise CommandError(f"lexicon: {args.output} must be writable ({error.strerror})") from error
    _report_skipped(args.words, lexicon)
    megabytes = args.output.stat().st_size / 1e6
    print(f"{args.output}: {len(lexicon)} words, {megabytes:.1f} MB, built in {seconds:.2f} s")
    return 0


def _report_skipped(words: Path, lexicon: Lexicon) -> None:
    if lexicon.skipped:
        print(
            f"crnn: words of {words} with symbols that the model lacks are left out: "
            f"{len(lexicon.skipped)}, such as {lexicon.skipped[0]!r}",
            file=sys.stderr,
        )


def _bench(args: argparse.Namespace) -> int:
    from tqdm import tqdm

    from crnn.cli import CommandError, told
    from crnn.evaluation.lexicon_bench import search_figures
    from crnn.evaluation.plots import new_figure
    from crnn.recognizer import Recognizer

    try:
        if args.count < 1:
            raise ValueError(f"lexicon bench: count must be at least 1, got {args.count}")
        if args.plot:
            new_figure(1, 1)  # what is missing shows before the images are read
        recognizer = Recognizer.from_pretrained(args.model)
        begin = time.perf_counter()
        lexicon = recognizer.lexicon(args.words)
        seconds = time.perf_counter() - begin
        _report_skipped(args.words, lexicon)
        samples, failed, where = _samples(args, recognizer, lexicon)
        bar = tqdm(total=len(samples), unit="image", delay=2.0, disable=None, file=sys.stderr)
        with bar:
            found = search_figures(lexicon, samples, progress=bar.update)
        if failed:
            print(f"crnn: {failed} images could not be read", file=sys.stderr)
        if args.json:
            for figures in found:
                print(
                    json.dumps({"words": len(lexicon), "images": len(samples), **asdict(figures)})
                )
        else:
            print(
                f"{args.words}: {len(lexicon)} words, {lexicon.memory / 1e6:.1f} MB in memory for "
                f"every method, ready in {seconds:.2f} s\n{len(samples)} {where}"
            )
            _print_table(found)
        if args.plot:
            _plot(found, args.plot)
    except (OSError, ValueError) as error:
        raise CommandError(told(error)) from error
    return 1 if failed else 0


def _samples(
    args: argparse.Namespace, recognizer: Recognizer, lexicon: Lexicon
) -> tuple[list[Frames], int, str]:
    """What is searched, how many images could not be read, and what they are in words."""
    from crnn.data import open_dataset
    from crnn.evaluation import protocol
    from crnn.evaluation.lexicon_bench import frames_of_data, frames_of_images, made_up_frames

    if args.data is not None:
        dataset, rules = open_dataset(args.data), protocol(args.protocol)
        samples, failed = frames_of_data(recognizer, dataset, lexicon, rules, args.count)
        covered = sum(bool(sample.truths) for sample in samples)
        return samples, failed, f"images of {args.data}, the words of {covered} in the lexicon"
    if args.images is not None:
        samples, failed = frames_of_images(recognizer, args.images, args.count)
        return samples, failed, "images"
    words = list(lexicon)
    samples = made_up_frames(lexicon, words, _BOOST, _NOISE, args.count, _CONFUSED)
    return samples, 0, "made-up posteriors of its words; times and recall differ on images"


def _print_table(found: list[SearchFigures]) -> None:
    print(f"{'method':<16} {'recall':>7} {'right':>7} {'words':>7} {'ms':>9} {'p95 ms':>9}")
    for row in found:
        right = "-" if row.accuracy is None else f"{row.accuracy:.1%}"
        print(
            f"{row.name:<16} {row.recall:>7.1%} {right:>7} {row.words:>7.0f} "
            f"{1e3 * row.seconds:>9.3f} {1e3 * row.p95:>9.3f}"
        )


def _plot(found: list[SearchFigures], path: str) -> None:
    """Accuracy, or recall where no truth is known, and time of every method."""
    from crnn.evaluation.plots import plot_search

    known = found[0].accuracy is not None
    shares = [row.recall if row.accuracy is None else row.accuracy for row in found]
    names = [row.method if row.delta is None else str(row.delta) for row in found]
    plot_search(
        names, shares, [1e3 * row.seconds for row in found], path, "accuracy" if known else "recall"
    )

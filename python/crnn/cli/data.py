"""Check, describe and convert labelled images.

A data set is LMDB with the field's keys (or a folder of several), MJSynth's annotation file, lines
of `image<TAB>label` or ICDAR's `image, "label"`, CSV, JSON, SVT's XML, IIIT5K's .mat, images with
.gt.txt files beside them, or a folder of images whose names hold the label. Which one is found out
from the content.

exit status: 0, or 1 if `check` found something, or 2 if nothing could be done.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from crnn.data import Dataset

EXAMPLES = """\
  crnn data check train/ --test IIIT5K/ SVT/test.xml     labels too long, symbols, damage, leaks
  crnn data check train.lmdb --preset vgg-bilstm --charset 94 --fixed-width 100
  crnn data stats ICDAR2015/gt.txt                       lengths, symbols, sizes
  crnn data convert mjsynth/annotation_train.txt mjsynth.lmdb
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The three verbs and their flags."""
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", dest="verb", required=True)
    check = verbs.add_parser("check", help="find what cannot be learned")
    check.add_argument("data", nargs="+", help="data sets to train on")
    check.add_argument("--test", nargs="+", default=[], metavar="DATA", help="and to test on")
    check.add_argument(
        "--preset", default="small", help="network, as for crnn train (default: %(default)s)"
    )
    check.add_argument("--charset", default="36", help="36, 62, 94 or music (default: %(default)s)")
    check.add_argument(
        "--fixed-width",
        type=int,
        default=0,
        help="columns that images are stretched to; 0: in proportion (default: 0)",
    )
    check.add_argument(
        "--examples", type=int, default=3, help="of each finding (default: %(default)s)"
    )
    stats = verbs.add_parser("stats", help="count lengths, symbols and sizes")
    stats.add_argument("data", nargs="+", help="data sets")
    for verb in (check, stats):
        verb.add_argument(
            "--workers",
            type=int,
            default=0,
            help="processes that decode images; 0: none beside this one (default: 0)",
        )
        verb.add_argument("--json", action="store_true", help="one JSON object per data set")
    convert = verbs.add_parser("convert", help="write LMDB; started again, it continues")
    convert.add_argument("source", help="data set")
    convert.add_argument("destination", help="the LMDB folder to write, NAME.lmdb")


def run(args: argparse.Namespace) -> int:
    """Run the verb; 1 if `check` found something."""
    from crnn.cli import CommandError, told

    try:
        return {"check": _check, "stats": _stats, "convert": _convert}[args.verb](args)
    except BrokenPipeError:  # the reader of our output went away: no error of ours
        raise
    except (OSError, ValueError) as error:
        raise CommandError(told(error)) from error


def _check(args: argparse.Namespace) -> int:
    from crnn.architecture import PRESETS
    from crnn.charset import Charset
    from crnn.data import open_dataset, open_datasets
    from crnn.data.check import check
    from crnn.images import Preprocessing
    from crnn.model import CRNN

    if args.preset not in PRESETS:
        raise ValueError(f"check: preset must be one of {', '.join(PRESETS)}, got {args.preset!r}")
    charset = Charset.named(args.charset)
    model = CRNN(PRESETS[args.preset], charset.num_classes)
    scale = Preprocessing(model.config.height, fixed_width=args.fixed_width or None)
    datasets = [open_datasets(args.data), *map(open_dataset, args.test)]
    with _bar(*datasets) as bar:
        reports = check(
            datasets, charset, lambda w, h: model.frames(scale.width_of(w, h)), args.workers,
            args.examples, bar.update,
        )  # fmt: skip
    for report in reports:
        print(json.dumps(report.to_dict(), ensure_ascii=False) if args.json else report)
    return 0 if all(report.sound for report in reports) else 1


def _stats(args: argparse.Namespace) -> int:
    from crnn.data import open_dataset
    from crnn.data.stats import as_text, statistics

    for source in args.data:
        dataset = open_dataset(source)
        with _bar(dataset) as bar:
            figures = statistics(dataset, workers=args.workers, progress=bar.update)
        print(json.dumps(figures, ensure_ascii=False) if args.json else as_text(figures))
    return 0


def _convert(args: argparse.Namespace) -> int:
    from crnn.data import open_dataset
    from crnn.data.convert import convert

    source = open_dataset(args.source)
    with _bar(source) as bar:
        done = convert(source, args.destination, lambda position: bar.update(position - bar.n))
    left_out = [*source.problems, *done.problems]
    for problem in left_out[:20]:
        print(f"crnn: {problem}", file=sys.stderr)
    continued = f", continued after {done.resumed}" if done.resumed else ""
    print(f"{args.destination}: {done.written} samples, {len(left_out)} left out{continued}")
    return 0


def _bar(*datasets: Dataset) -> Any:
    """A progress bar on a terminal, after two seconds."""
    from tqdm import tqdm

    total = sum(len(dataset) for dataset in datasets)
    return tqdm(total=total, unit="image", delay=2.0, disable=None, file=sys.stderr)

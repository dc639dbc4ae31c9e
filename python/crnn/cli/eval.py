"""Measure word accuracy on labelled images.

Counts the words read exactly right, compared case-insensitively on 0-9 and a-z as the field's
benchmarks do. A data set is LMDB, a label file (tab-separated, ICDAR, MJSynth, CSV, JSON, SVT's
XML, IIIT5K's .mat), a folder that holds one, or images with .gt.txt files or telling names.

exit status: 0, or 1 if an image could not be read, or 2 if nothing could be done.
"""

from __future__ import annotations

import argparse
import json

EXAMPLES = """\
  crnn eval small examples/
  crnn eval runs/mine/model.safetensors IIIT5K/gt.tsv SVT/ --errors 20
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of `crnn eval`."""
    parser.add_argument("model", help="name of a pretrained model, or a model file")
    parser.add_argument("data", nargs="+", help="data sets")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: %(default)s)")
    parser.add_argument("--batch-size", type=int, default=64, help="images at a time")
    parser.add_argument("--errors", type=int, default=0, metavar="N", help="print N wrong readings")
    parser.add_argument("--json", action="store_true", help="one JSON object per data set")


def run(args: argparse.Namespace) -> int:
    """Evaluate each data set; 1 if an image could not be read."""
    from crnn.cli import CommandError
    from crnn.data import open_dataset
    from crnn.evaluation import Score, evaluate
    from crnn.recognizer import Recognizer

    failed = 0
    try:
        recognizer = Recognizer.from_pretrained(args.model, device=args.device)
        for source in args.data:
            score: Score = evaluate(recognizer, open_dataset(source), args.batch_size)
            failed += score.failed
            figures = json.dumps({"data": source, **score.to_dict()})
            print(figures if args.json else f"{source}: {score}")
            for name, label, reading in score.errors[: args.errors]:
                print(f"  {name}: {label!r} read as {reading.text!r}")
    except ValueError as error:
        raise CommandError(str(error)) from error
    return 1 if failed else 0

"""Word accuracy of a model on labelled images: `python -m benchmarks.accuracy NAME=PATH ...`.

Each PATH is a data set (see `crnn eval --help`); NAME is what the
results call it. One line per data set is appended to benchmarks/results/accuracy.jsonl.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys

import torch

from benchmarks.record import RESULTS, environment
from crnn import Recognizer
from crnn.data import open_dataset
from crnn.evaluation import evaluate


def main() -> int:
    """Evaluate, print and record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", nargs="+", metavar="NAME=PATH")
    parser.add_argument("--model", default="small", help="name or file (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="default: %(default)s")
    parser.add_argument("--no-record", action="store_true", help="only print")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    recognizer = Recognizer.from_pretrained(args.model)
    names = [item.partition("=")[0] for item in args.data]
    # Paths differ from machine to machine; the command keeps the names.
    shown = [f"{name}=PATH" for name in names]
    options = ["--model", args.model, "--threads", str(args.threads)]
    command = shlex.join(["python", "-m", "benchmarks.accuracy", *shown, *options])
    for name, item in zip(names, args.data, strict=True):
        score = evaluate(recognizer, open_dataset(item.partition("=")[2]))
        print(f"{name}: {score}")
        line = {
            "case": {"images": name},
            "implementation": args.model,
            **score.to_dict(),
            **environment(),
            "command": command,
        }
        if not args.no_record:
            with (RESULTS / "accuracy.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

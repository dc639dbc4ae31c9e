"""Table 4 for a model of music: `python -m benchmarks.music clean=PATH real-world=PATH ...`.

Each PATH is a data set of staff fragments (see `crnn eval --help`). "synthesized" is made of
"clean" with a seed; sets of other names are measured too. Lines go to
benchmarks/results/music.jsonl.
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
from crnn.evaluation import PROTOCOLS, Score, evaluate
from crnn.evaluation.music import SETS, table4
from crnn.synth.backgrounds import load_backgrounds


def main() -> int:
    """Evaluate, print and record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", nargs="+", metavar="NAME=PATH")
    parser.add_argument("--model", default="music", help="name or file (default: %(default)s)")
    parser.add_argument("--backgrounds", nargs="+", default=[], help="photographs, for synthesized")
    parser.add_argument("--threads", type=int, default=1, help="default: %(default)s")
    parser.add_argument("--no-record", action="store_true", help="only print")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    recognizer = Recognizer.from_pretrained(args.model)
    pairs = [item.partition("=") for item in args.data]
    datasets = {name: open_dataset(path) for name, _, path in pairs}
    scores = table4(
        recognizer,
        {name: data for name, data in datasets.items() if name in SETS},
        backgrounds=load_backgrounds(args.backgrounds),
    )
    for name, data in datasets.items():
        if name not in SETS:
            scores[name] = evaluate(recognizer, data, PROTOCOLS["music"], data=name)[0]
    # Paths differ from machine to machine; the command keeps the names.
    options = ["--model", args.model, "--threads", str(args.threads)]
    options += ["--backgrounds", *args.backgrounds] if args.backgrounds else []
    shown = [f"{name}=PATH" for name in datasets]
    command = shlex.join(["python", "-m", "benchmarks.music", *shown, *options])
    for name, score in scores.items():
        print(f"{name}: {score}")
        if not args.no_record:
            _record(score, args.model, command)
    return 0


def _record(score: Score, model: str, command: str) -> None:
    figures = score.to_dict()
    for key in ("data", "model", "protocol", "lexicon", "by_length", "confusions"):
        figures.pop(key)
    line = {"case": {"images": score.data}, "implementation": model, **figures, **environment()}
    with (RESULTS / "music.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps({**line, "command": command}) + "\n")


if __name__ == "__main__":
    sys.exit(main())

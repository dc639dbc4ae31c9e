"""Word accuracy of a model on labelled images: `python -m benchmarks.accuracy NAME=PATH ...`.

Each PATH is a data set (see `crnn eval --help`); NAME is what the results call it. Lines go to
benchmarks/results/accuracy.jsonl: compared on the 36 symbols, once for all labels, once for those
of letters and digits only, once by beam search with the packaged language model, and once with each
of the lexicons that the images have.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import shlex
import sys

import torch

from benchmarks.record import RESULTS, environment
from crnn import Beam, Recognizer
from crnn.charset import Charset
from crnn.data import open_dataset
from crnn.evaluation import PROTOCOLS, Score, Search, evaluate

LANGUAGE_MODEL = "english"


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
        dataset = open_dataset(item.partition("=")[2])
        searches = [Search(), *(Search(lexicon) for lexicon in dataset.lexicons)]
        if recognizer.charset == Charset.named("36"):  # that of the language model
            searches.append(Search(method="beam", beam=Beam(lm=LANGUAGE_MODEL)))
        scores = evaluate(recognizer, dataset, PROTOCOLS["36"], searches, data=name)
        for score in [*scores, *_alphanumeric(scores[0])]:
            print(f"{name}, {score.protocol}, lexicon {score.lexicon}: {score}")
            if not args.no_record:
                _record(score, args.model, command)
    return 0


def _alphanumeric(score: Score) -> list[Score]:
    """`score` without labels that hold other symbols; none where there are no such labels."""
    rule = PROTOCOLS["alnum"]
    kept = tuple(o for o in score.outcomes if rule.scores(o.name, o.label))
    if len(kept) == score.count:
        return []
    share = len(kept) / score.count
    return [
        dataclasses.replace(
            score,
            protocol=rule.name,
            outcomes=kept,
            skipped=score.skipped + score.count - len(kept),
            network_seconds=score.network_seconds * share,
            search_seconds=score.search_seconds * share,
        )
    ]


def _record(score: Score, model: str, command: str) -> None:
    figures = score.to_dict()
    with_model = score.method.startswith("beam")
    lexicon = f"language model {LANGUAGE_MODEL}" if with_model else score.lexicon
    case = {"images": score.data, "protocol": score.protocol, "lexicon": lexicon}
    for key in (*case, "data", "model", "by_length", "confusions", "reliability"):
        figures.pop(key, None)
    line = {
        "case": case,
        "implementation": model,
        **figures,
        **environment(),
        "command": command,
    }
    with (RESULTS / "accuracy.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    sys.exit(main())

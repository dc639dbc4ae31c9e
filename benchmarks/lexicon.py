"""Lexicon.decode by each of its methods: latency, recall, build time and memory.

Posteriors are synthetic (T=26, C=37: a word's path with noise, from peaked to flat) or a model's on
labelled images. Each image is first read by every method: "exact" must equal "exhaustive" in word
and probability, or nothing is timed. Then each method in turn reads an image a few times, one image
a call, from Python; the next image follows. So the caches are warm.
A word counts as read if it is the label; as recalled if it is what "exhaustive" reads.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.record import RESULTS, environment
from crnn import Recognizer, images
from crnn.data import open_dataset
from crnn.evaluation.lexicon_bench import made_up_frames
from crnn_ext import Lexicon, LexiconResult

SYMBOLS = "0123456789abcdefghijklmnopqrstuvwxyz"
METHODS: dict[str, dict[str, Any]] = {
    "exact": {},
    "exact, word alone": {"tolerance": None},
    "bk-tree, delta=3": {"method": "bk-tree", "delta": 3},
    "exhaustive": {"method": "exhaustive"},
}
ROUNDS = 5  # an image's time is the median of so many calls


@dataclass(frozen=True)
class Sample:
    log_probs: Tensor  # [T, C]
    label: str


def generated_words(count: int) -> list[str]:
    """Different pronounceable words of 3 to 12 letters, the same on every machine."""
    rng, words = random.Random(0), {}
    while len(words) < count:
        word = "".join(
            rng.choice("bcdfghjklmnprstvwz") + rng.choice("aeiouy") + rng.choice(["", "", *"nrstl"])
            for _ in range(rng.randrange(1, 5))
        )
        words[word + rng.choice(["", "s", "ed", "ing"])] = None
    return list(words)


def synthetic(lexicon: Lexicon, boost: float, noise: float, count: int) -> list[Sample]:
    """Words of 3 to 12 letters, see `made_up_frames`."""
    words = [word for word in lexicon if 3 <= len(word) <= 12]
    frames = made_up_frames(lexicon, words, boost, noise, count)
    return [Sample(made.log_probs, word) for made in frames for word in made.truths or ()]


def of_images(path: str, count: int) -> list[Sample]:
    """The packaged model's frames of the first `count` images of a data set (`crnn eval`)."""
    reader, dataset, samples = Recognizer.from_pretrained("small"), open_dataset(path), []
    for i in range(min(count, len(dataset))):
        prepared = reader.prepare(images.load(dataset.image(i)))
        width = torch.tensor([prepared.pixels.shape[2]])
        with torch.inference_mode():
            logits, _ = reader.model(prepared.pixels[None], width)
        logits = logits[:, 0].float() / reader.checkpoint.temperature
        log_probs = logits.log_softmax(1).clone()
        samples.append(Sample(log_probs, dataset.label(i).lower()))
    return samples


def clock(lexicon: Lexicon, sample: Sample, options: dict[str, Any]) -> float:
    begin = time.perf_counter()
    lexicon.decode(sample.log_probs, **options)
    return time.perf_counter() - begin


def clock_batch(lexicon: Lexicon, samples: list[Sample], options: dict[str, Any]) -> float:
    """Seconds an image when all are read in one call."""
    lengths = [len(sample.log_probs) for sample in samples]
    frames = torch.nn.utils.rnn.pad_sequence([sample.log_probs for sample in samples])
    times = []
    for _ in range(ROUNDS):
        begin = time.perf_counter()
        lexicon.decode(frames, lengths, **options)
        times.append(time.perf_counter() - begin)
    return statistics.median(times) / len(samples)


def run(lexicon: Lexicon, samples: list[Sample]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Verify, then time; yields each method's figures."""
    results: dict[str, list[LexiconResult]] = {
        method: [lexicon.decode(s.log_probs, **options)[0] for s in samples]
        for method, options in METHODS.items()
    }
    for a, alone, b in zip(
        results["exact"], results["exact, word alone"], results["exhaustive"], strict=True
    ):
        same = a.word == alone.word == b.word and a.log_prob == alone.log_prob == b.log_prob
        if not same or (a.runner_up, a.margin) != (b.runner_up, b.margin):
            raise SystemExit(f"exact reads {a} or {alone}, exhaustive {b}")
    seconds: dict[str, list[float]] = {method: [] for method in METHODS}
    for sample in samples:
        for method, options in METHODS.items():
            times = [clock(lexicon, sample, options) for _ in range(ROUNDS)]
            seconds[method].append(statistics.median(times))
    for method in METHODS:
        cuts = statistics.quantiles(seconds[method], n=20, method="inclusive")
        read = [r.word == s.label for r, s in zip(results[method], samples, strict=True)]
        recalled = [
            a.word == b.word for a, b in zip(results[method], results["exhaustive"], strict=True)
        ]
        yield (
            method,
            {
                "images": len(samples),
                "mean_probability": statistics.fmean(
                    math.exp(r.log_prob) for r in results["exhaustive"]
                ),
                "accuracy": statistics.fmean(read),
                "recall": statistics.fmean(recalled),
                "looked_at": statistics.median(r.candidates for r in results[method]),
                "seconds_in_batch": clock_batch(lexicon, samples, METHODS[method]),
                "seconds": {"median": cuts[9], "p95": cuts[18], "max": max(seconds[method])},
            },
        )


def build(count: int) -> dict[str, Any]:
    """Time and memory of a lexicon of generated words, and of mapping its file."""
    words = generated_words(count)
    begin = time.perf_counter()
    lexicon = Lexicon(words, SYMBOLS)
    built = time.perf_counter() - begin
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "words"
        lexicon.save(path)
        begin = time.perf_counter()
        loaded = Lexicon.load(path)
        mapped = time.perf_counter() - begin
    if len(loaded) != count or words[-1] not in loaded:
        raise SystemExit(f"a loaded lexicon of {count} words differs")
    letters = sum(map(len, words))
    return {"seconds": built, "load_seconds": mapped, "bytes": lexicon.memory, "letters": letters}


def main() -> int:
    """Verify, time, print and record."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--words", metavar="NAME=PATH", help="a word a line; else 50,000 generated")
    parser.add_argument("--images", nargs="*", default=[], metavar="NAME=PATH", help="data sets")
    parser.add_argument("--count", type=int, default=200, help="images of each (%(default)s), or 0")
    parser.add_argument("--build", nargs="*", type=int, default=[], metavar="WORDS", help="sizes")
    parser.add_argument("--threads", type=int, default=1, help="default: %(default)s")
    parser.add_argument("--quick", action="store_true", help="small: does it run, is it right")
    parser.add_argument("--no-record", action="store_true", help="only print")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    name, _, path = (args.words or "generated").partition("=")
    count = 20 if args.quick else args.count
    words = Path(path).read_text(encoding="utf-8").lower().split() if path else None
    lexicon = Lexicon(
        words or generated_words(2000 if args.quick else 50000), SYMBOLS, unknown="skip"
    )
    cases = {
        "synthetic, peaked": synthetic(lexicon, 8.0, 1.0, count),
        "synthetic, uncertain": synthetic(lexicon, 5.5, 1.0, count),
        "synthetic, flat": synthetic(lexicon, 0.5, 0.3, count),
    }
    for item in args.images:
        samples = of_images(item.partition("=")[2], 10 * count)
        known = [s for s in samples if s.label in lexicon]
        cases[f"{item.partition('=')[0]}, in the lexicon"] = known[:count]
        others = [s for s in samples if s.label not in lexicon]
        cases[f"{item.partition('=')[0]}, not in it"] = others[:count]
    lines = []
    for posteriors, samples in cases.items() if count else ():
        for method, figures in run(lexicon, samples):
            case = {"posteriors": posteriors, "lexicon": name, "words": len(lexicon)}
            lines.append({"case": case, "implementation": method, **figures})
            times = figures["seconds"]
            print(
                f"{posteriors:28} p {figures['mean_probability']:.2g} {method:17} "
                f"read {figures['accuracy']:.3f} recall {figures['recall']:.3f} "
                f"{1e6 * times['median']:8.1f} us, p95 {1e6 * times['p95']:8.1f}, "
                f"max {1e6 * times['max']:8.1f}",
                flush=True,
            )
    for size in args.build:
        lines.append({"case": {"build": size}, "implementation": "crnn_ext", **build(size)})
        print(lines[-1], flush=True)
    if not args.no_record:
        with (RESULTS / "lexicon.jsonl").open("a", encoding="utf-8") as file:
            for line in lines:
                file.write(json.dumps({**line, **environment()}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

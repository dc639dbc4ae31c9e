"""Lexicon-free decoding: greedy_decode and beam_decode against fast-ctc-decode and pyctcdecode.

Frames are the packaged model's on labelled images, or synthetic. First every implementation reads
every image, and the exact probability of what it read is computed: `log p` is its mean, "best" the
share of images on which none reads anything more probable. The beams hold 16 prefixes each.
beam_decode must nowhere be worse than greedy_decode, or nothing is timed. Then they take turns from
Python, one thread. The others get frames in the form they want, made beforehand.
"""

from __future__ import annotations

import argparse
import importlib
import json
import logging
import statistics
import sys
from collections.abc import Callable
from dataclasses import asdict

import torch

from benchmarks.lexicon import SYMBOLS, Sample, generated_words, of_images, synthetic
from benchmarks.record import RESULTS, environment
from benchmarks.timing import Measurement, interleave
from crnn_ext import beam_decode, greedy_decode, label_log_probs

Reader = Callable[[int], str]
BEAM = 16


def text(labels: list[int]) -> str:
    return "".join(SYMBOLS[label - 1] for label in labels)


def greedy(samples: list[Sample]) -> Reader:
    return lambda i: text(greedy_decode(samples[i].log_probs)[0].labels)


def ours(samples: list[Sample]) -> Reader:
    return lambda i: text(beam_decode(samples[i].log_probs, beam=BEAM)[0][0].labels)


def fast_ctc_decode(samples: list[Sample]) -> Reader:
    search = importlib.import_module("fast_ctc_decode").beam_search
    frames = [sample.log_probs.exp().numpy() for sample in samples]
    return lambda i: str(search(frames[i], "N" + SYMBOLS, BEAM, 0.001)[0])


def pyctcdecode(samples: list[Sample]) -> Reader:
    logging.disable(logging.WARNING)  # it warns that the alphabet has no space
    decoder = importlib.import_module("pyctcdecode").build_ctcdecoder(["", *SYMBOLS])
    frames = [sample.log_probs.numpy() for sample in samples]
    return lambda i: str(decoder.decode(frames[i], beam_width=BEAM))


IMPLEMENTATIONS: dict[str, Callable[[list[Sample]], Reader]] = {
    "crnn_ext greedy_decode": greedy,
    "crnn_ext beam_decode": ours,
    "fast-ctc-decode": fast_ctc_decode,
    "pyctcdecode": pyctcdecode,
}


def log_probability(sample: Sample, word: str) -> float:
    labels = [SYMBOLS.index(symbol) + 1 for symbol in word]
    return float(label_log_probs(sample.log_probs, [labels]))


def run(name: str, samples: list[Sample], seconds: float, keep: bool) -> None:
    """Verify, time, print and record one set of samples."""
    readers = {}
    for implementation, make in IMPLEMENTATIONS.items():
        try:
            readers[implementation] = make(samples)
        except ModuleNotFoundError as error:
            print(f"{implementation}: left out, {error}")
    scores = {
        implementation: [log_probability(s, read(i)) for i, s in enumerate(samples)]
        for implementation, read in readers.items()
    }
    for beam, single in zip(
        scores["crnn_ext beam_decode"], scores["crnn_ext greedy_decode"], strict=True
    ):
        if beam < single:
            raise SystemExit(f"beam_decode reads something of {beam}, greedy_decode of {single}")
    best = [max(column) for column in zip(*scores.values(), strict=True)]

    def all_of(read: Reader) -> Callable[[], object]:
        return lambda: [read(i) for i in range(len(samples))]

    measured = interleave({n: all_of(read) for n, read in readers.items()}, seconds=seconds)
    for implementation, measurement in measured.items():
        share = statistics.fmean(
            score >= top - 1e-9 for score, top in zip(scores[implementation], best, strict=True)
        )
        spread = Measurement(tuple(s / len(samples) for s in measurement.rounds)).seconds
        line = {
            "case": {"frames": name, "beam": BEAM, "images": len(samples)},
            "implementation": implementation,
            "log_probability": statistics.fmean(scores[implementation]),
            "best": share,
            "seconds": asdict(spread),
        }
        print(
            f"{name:20} {implementation:24} {1e6 * spread.median:8.1f} us an image, "
            f"log p {line['log_probability']:.3f}, best {share:.3f}",
            flush=True,
        )
        if keep:
            with (RESULTS / "decode.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps({**line, **environment()}) + "\n")


def main() -> int:
    """Run every set of samples."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", nargs="*", default=[], metavar="NAME=PATH", help="data sets")
    parser.add_argument("--count", type=int, default=200, help="images of each (%(default)s)")
    parser.add_argument("--seconds", type=float, default=8.0, help="of each (%(default)s)")
    parser.add_argument("--quick", action="store_true", help="small: does it run, is it right")
    parser.add_argument("--no-record", action="store_true", help="only print")
    args = parser.parse_args()
    torch.set_num_threads(1)
    count = 10 if args.quick else args.count
    words = generated_words(2000)
    cases = {
        "synthetic, peaked": synthetic(words, 8.0, 1.0, count),
        "synthetic, uncertain": synthetic(words, 4.5, 1.2, count),
    }
    for item in args.images:
        name, _, path = item.partition("=")
        cases[name] = of_images(path, count)
    for name, samples in cases.items():
        run(name, samples, 0.3 if args.quick else args.seconds, not args.no_record)
    return 0


if __name__ == "__main__":
    sys.exit(main())

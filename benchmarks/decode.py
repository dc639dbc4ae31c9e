"""Lexicon-free decoding: greedy_decode and beam_decode against fast-ctc-decode and pyctcdecode.

Frames are the packaged model's on labelled images, or synthetic. First every implementation reads
every image, and the exact probability of what it read is computed: `log p` is its mean, "best" the
share of images on which none reads anything more probable. The beams hold 16 prefixes each.
beam_decode must nowhere be worse than greedy_decode, or nothing is timed. Then they take turns from
Python, one thread. The others get frames in the form they want, made beforehand.

Rows with a language model weigh by `--words`, or by the generated words, among which are the
synthetic labels: ours by a character model of them, pyctcdecode by its own kind, a kenlm model of
whole words, here all alike. So what they read may be less probable by the frames alone: see "read",
the share of images read as labelled.
"""

from __future__ import annotations

import argparse
import importlib
import json
import logging
import math
import statistics
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import torch

from benchmarks.lexicon import SYMBOLS, Sample, generated_words, of_images, synthetic
from benchmarks.record import RESULTS, environment
from benchmarks.timing import Measurement, interleave
from crnn_ext import LanguageModel, Lexicon, beam_decode, greedy_decode, label_log_probs

Reader = Callable[[int], str]
BEAM = 16


def text(labels: list[int]) -> str:
    return "".join([SYMBOLS[label - 1] for label in labels])  # quicker than a generator


def greedy(samples: list[Sample], words: list[str]) -> Reader:
    return lambda i: text(greedy_decode(samples[i].log_probs)[0].labels)


def ours(samples: list[Sample], words: list[str]) -> Reader:
    return lambda i: text(beam_decode(samples[i].log_probs, beam=BEAM)[0][0].labels)


def fast_ctc_decode(samples: list[Sample], words: list[str]) -> Reader:
    search = importlib.import_module("fast_ctc_decode").beam_search
    frames = [sample.log_probs.exp().numpy() for sample in samples]
    return lambda i: str(search(frames[i], "N" + SYMBOLS, BEAM, 0.001)[0])


def pyctcdecode(samples: list[Sample], words: list[str]) -> Reader:
    logging.disable(logging.WARNING)  # it warns that the alphabet has no space
    decoder = importlib.import_module("pyctcdecode").build_ctcdecoder(["", *SYMBOLS])
    frames = [sample.log_probs.numpy() for sample in samples]
    return lambda i: str(decoder.decode(frames[i], beam_width=BEAM))


def ours_with_lm(samples: list[Sample], words: list[str]) -> Reader:
    lm = LanguageModel(words, SYMBOLS)
    return lambda i: text(beam_decode(samples[i].log_probs, beam=BEAM, lm=lm)[0][0].labels)


def pyctcdecode_with_kenlm(samples: list[Sample], words: list[str]) -> Reader:
    logging.disable(logging.WARNING)
    importlib.import_module("kenlm")
    build = importlib.import_module("pyctcdecode").build_ctcdecoder
    share = -math.log10(len(words) + 1)
    unigrams = ["-99\t<s>\t0", *(f"{share}\t{word}\t0" for word in ["<unk>", "</s>", *words])]
    bigrams = [f"{share}\t<s> {word}" for word in words]  # kenlm wants some
    parts = {1: unigrams, 2: bigrams}
    sizes = "\n".join(f"ngram {n}={len(lines)}" for n, lines in parts.items())
    body = "\n\n".join("\n".join([f"\\{n}-grams:", *lines]) for n, lines in parts.items())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "words.arpa"
        path.write_text(f"\\data\\\n{sizes}\n\n{body}\n\n\\end\\\n")
        decoder = build(["", *SYMBOLS], kenlm_model_path=str(path), unigrams=words)
    frames = [sample.log_probs.numpy() for sample in samples]
    return lambda i: str(decoder.decode(frames[i], beam_width=BEAM))


IMPLEMENTATIONS: dict[str, Callable[[list[Sample], list[str]], Reader]] = {
    "crnn_ext greedy_decode": greedy,
    "crnn_ext beam_decode": ours,
    "fast-ctc-decode": fast_ctc_decode,
    "pyctcdecode": pyctcdecode,
    "crnn_ext beam_decode, lm": ours_with_lm,
    "pyctcdecode, kenlm": pyctcdecode_with_kenlm,
}


def log_probability(sample: Sample, word: str) -> float:
    labels = [SYMBOLS.index(symbol) + 1 for symbol in word]
    return float(label_log_probs(sample.log_probs, [labels]))


def run(name: str, samples: list[Sample], words: list[str], seconds: float, keep: bool) -> None:
    """Verify, time, print and record one set of samples."""
    readers = {}
    for implementation, make in IMPLEMENTATIONS.items():
        try:
            readers[implementation] = make(samples, words)
        except ModuleNotFoundError as error:
            print(f"{implementation}: left out, {error}")
    texts = {n: [read(i) for i in range(len(samples))] for n, read in readers.items()}
    scores = {
        implementation: [log_probability(s, word) for s, word in zip(samples, words, strict=True)]
        for implementation, words in texts.items()
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
            "read": statistics.fmean(
                word == s.label for word, s in zip(texts[implementation], samples, strict=True)
            ),
            "seconds": asdict(spread),
        }
        print(
            f"{name:20} {implementation:24} {1e6 * spread.median:8.1f} us an image, "
            f"log p {line['log_probability']:.3f}, best {share:.3f}, read {line['read']:.3f}",
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
    parser.add_argument("--words", metavar="FILE", help="a word a line; else 2,000 generated")
    parser.add_argument("--count", type=int, default=200, help="images of each (%(default)s)")
    parser.add_argument("--seconds", type=float, default=8.0, help="of each (%(default)s)")
    parser.add_argument("--quick", action="store_true", help="small: does it run, is it right")
    parser.add_argument("--no-record", action="store_true", help="only print")
    args = parser.parse_args()
    torch.set_num_threads(1)
    count = 10 if args.quick else args.count
    words = generated_words(2000)
    given = Path(args.words).read_text(encoding="utf-8").lower().split() if args.words else words
    lexicon = Lexicon(words, SYMBOLS)
    known = list(Lexicon(given, SYMBOLS, unknown="skip"))
    cases = {
        "synthetic, peaked": synthetic(lexicon, 8.0, 1.0, count),
        "synthetic, uncertain": synthetic(lexicon, 4.5, 1.2, count),
    }
    for item in args.images:
        name, _, path = item.partition("=")
        cases[name] = of_images(path, count)
    for name, samples in cases.items():
        run(name, samples, known, 0.3 if args.quick else args.seconds, not args.no_record)
    return 0


if __name__ == "__main__":
    sys.exit(main())

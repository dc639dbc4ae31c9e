"""BKTree against RapidFuzz, pybktree and SymSpell: all words within `delta` edits of a query.

Queries are words of the list with 0 to 2 random edits. On each of them every implementation that
is installed must return the same words with the same distances as `edit_distance` over the whole
list, or nothing is timed. Then they take turns in one process: query by query from Python, one
thread. RapidFuzz (`cdist`, a row of all distances) is the baseline. The index of SymSpell holds
Levenshtein distances, as all others do; pybktree calls `edit_distance` of crnn_ext.
"""

from __future__ import annotations

import argparse
import importlib
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.lexicon import generated_words
from benchmarks.record import record
from benchmarks.timing import interleave
from crnn_ext import BKTree, edit_distance

Query = Callable[[str], list[tuple[str, int]]]
BASELINE = "RapidFuzz cdist"


def ours(words: list[str], delta: int) -> Query:
    tree = BKTree(words)
    return lambda word: tree.query(word, delta)


def rapidfuzz(words: list[str], delta: int) -> Query:
    process = importlib.import_module("rapidfuzz.process")
    levenshtein = importlib.import_module("rapidfuzz.distance").Levenshtein

    def query(word: str) -> list[tuple[str, int]]:
        row = process.cdist([word], words, scorer=levenshtein.distance, score_cutoff=delta)[0]
        return [(words[i], int(row[i])) for i in np.flatnonzero(row <= delta)]

    return query


def pybktree(words: list[str], delta: int) -> Query:
    tree = importlib.import_module("pybktree").BKTree(edit_distance, words)
    return lambda word: [(found, distance) for distance, found in tree.find(word, delta)]


def symspell(words: list[str], delta: int) -> Query:
    module = importlib.import_module("symspellpy")
    comparer = importlib.import_module("symspellpy.editdistance").EditDistance(
        importlib.import_module("symspellpy.editdistance").DistanceAlgorithm.LEVENSHTEIN
    )
    index = module.SymSpell(max_dictionary_edit_distance=delta, distance_comparer=comparer)
    for word in words:
        index.create_dictionary_entry(word, 1)
    return lambda word: [
        (item.term, item.distance) for item in index.lookup(word, module.Verbosity.ALL, delta)
    ]


IMPLEMENTATIONS: dict[str, Callable[[list[str], int], Query]] = {
    BASELINE: rapidfuzz,
    "crnn_ext BKTree": ours,
    "pybktree": pybktree,
    "SymSpell (symspellpy)": symspell,
}


def misspelt(words: list[str], count: int) -> list[str]:
    """Random words with 0, 1 or 2 edits."""
    rng, queries = random.Random(0), []
    for word in rng.sample(words, count):
        letters = list(word)
        for _ in range(rng.choice([0, 1, 1, 2])):
            place, letter = rng.randrange(len(letters) + 1), rng.choice("aeinorst")
            kind = rng.randrange(3)
            letters[place : place + (kind < 2)] = [letter] if kind > 0 else []
        queries.append("".join(letters))
    return queries


def verify(name: str, query: Query, queries: list[str], words: list[str], delta: int) -> None:
    for word in queries:
        expected = [(w, d) for w in words if (d := edit_distance(word, w, delta)) <= delta]
        if sorted(query(word)) != sorted(expected):
            raise SystemExit(f"{name}: other words within {delta} edits of {word!r}")


def build(words: list[str], delta: int) -> dict[str, Query]:
    """What is installed, built; prints the time that took."""
    built = {}
    for name, make in IMPLEMENTATIONS.items():
        begin = time.perf_counter()
        try:
            built[name] = make(words, delta)
        except ModuleNotFoundError as error:
            print(f"{name}: left out, {error}")
            continue
        print(f"{name}: built in {1e3 * (time.perf_counter() - begin):.1f} ms", flush=True)
    return built


def main() -> int:
    """Verify, time, print and record."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--words", metavar="NAME=PATH", help="a word a line; else 50,000 generated")
    parser.add_argument("--delta", type=int, default=3, help="default: %(default)s")
    parser.add_argument("--queries", type=int, default=40, help="default: %(default)s")
    parser.add_argument("--seconds", type=float, default=20, help="default: %(default)s")
    parser.add_argument("--quick", action="store_true", help="small: does it run, is it right")
    parser.add_argument("--no-record", action="store_true", help="only print")
    args = parser.parse_args()
    torch.set_num_threads(1)
    name, _, path = (args.words or "generated").partition("=")
    words = list(dict.fromkeys(Path(path).read_text(encoding="utf-8").split())) if path else None
    words = words or generated_words(500 if args.quick else 50000)
    queries = misspelt(words, 5 if args.quick else args.queries)
    built = build(words, args.delta)
    for implementation, query in built.items():
        verify(implementation, query, queries, words, args.delta)

    def all_queries(query: Query) -> Callable[[], object]:
        return lambda: [query(word) for word in queries]

    measured = interleave(
        {implementation: all_queries(query) for implementation, query in built.items()},
        seconds=0.5 if args.quick else args.seconds,
        min_rounds=3,
    )
    begin = time.perf_counter()
    BKTree(words)
    seconds = time.perf_counter() - begin
    case: dict[str, Any] = {"lexicon": name, "words": len(words), "delta": args.delta}
    for implementation, measurement in measured.items():
        per_query = type(measurement)(tuple(s / len(queries) for s in measurement.rounds))
        ratio = (
            None
            if implementation == BASELINE
            else per_query.ratio_of(
                type(measurement)(tuple(s / len(queries) for s in measured[BASELINE].rounds))
            )
        )
        print(f"{implementation:22} {1e6 * per_query.seconds.median:10.1f} us a query")
        if not args.no_record:
            record("bk_tree", case, implementation, error=None, measurement=per_query, ratio=ratio)
    print(f"build of BKTree: {1e3 * seconds:.1f} ms")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""BKTree: equal to a linear scan, and a good container."""

from __future__ import annotations

import functools
import os
import pickle
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import text as reference

import crnn_ext
from crnn_ext import _C

word_lists = st.lists(st.text(st.sampled_from("abcé😀\ud800"), max_size=12), max_size=40)


def random_words(count: int, seed: int = 0) -> list[str]:
    rng = random.Random(seed)
    return ["".join(rng.choices("abcdef", k=rng.randrange(1, 11))) for _ in range(count)]


@settings(max_examples=200, deadline=None)
@given(word_lists, st.text(st.sampled_from("abcé😀\ud800"), max_size=12), st.integers(0, 13))
def test_equals_linear_scan(words: list[str], query: str, delta: int) -> None:
    tree = crnn_ext.BKTree(words)
    assert tree.query(query, delta) == reference.words_within(words, query, delta)
    assert list(tree) == list(dict.fromkeys(words))
    assert all(word in tree for word in words)
    assert (query in tree) == (query in words)


def test_many_words_added_bit_by_bit() -> None:
    """Enough words that subtrees are searched, others scanned, and the newest not yet copied."""
    words = list(dict.fromkeys(random_words(15000)))
    tree = crnn_ext.BKTree(words[:12000])
    tree.extend(words[12000:12200])
    for query in [*random_words(8, seed=1), "", "zzzzzzzzzzzzzzzz", words[0]]:
        nearest = reference.words_within(words[:12200], query, 6)
        for delta in range(7):
            assert tree.query(query, delta) == [pair for pair in nearest if pair[1] <= delta]
    tree.extend(words[12200:])
    for word in words[12200:]:
        tree.add(word)
    assert list(tree) == words
    query = "fedcba"
    assert tree.query(query, 3) == reference.words_within(words, query, 3)


LEVELS = ("baseline", "avx2", "avx512")
# Around the ends of vectors, of lanes (32 and 64 letters) and of blocks.
SIZES = (0, 1, 2, 15, 16, 17, 31, 32, 33, 63, 64, 65, 200)
DELTAS = (0, 1, 3, 30, 10**9)


def near_and_far_words(seed: int) -> list[str]:
    """Words of every size and their neighbours, of letters of one, two and four bytes."""
    rng = random.Random(seed)
    words = []
    for size in SIZES:
        for letters in ("ab", "aA\u0101\u0161\U0001f600\U0010ffff"):
            word = "".join(rng.choices(letters, k=size))
            place = rng.randrange(size + 1)
            words += [word, word[:place] + "x" + word[place:], word[:place] + word[place + 1 :]]
    return words


@functools.cache
def expected_matches() -> list[list[list[tuple[str, int]]]]:
    """Of each query, by delta."""
    words, queries = near_and_far_words(0), near_and_far_words(0)[::5] + near_and_far_words(1)[::9]
    all_of = [reference.words_within(words, query, DELTAS[-1]) for query in queries]
    return [[[p for p in matches if p[1] <= delta] for delta in DELTAS] for matches in all_of]


@pytest.mark.parametrize("level", LEVELS[: LEVELS.index(_C.simd_level()) + 1])
def test_every_simd_level(level: str) -> None:
    script = (
        "import crnn_ext, test_bk_tree as t\n"
        "words = t.near_and_far_words(0)\n"
        "tree = crnn_ext.BKTree(words)\n"
        "queries = words[::5] + t.near_and_far_words(1)[::9]\n"
        "found = [[tree.query(query, delta) for delta in t.DELTAS] for query in queries]\n"
        "print(crnn_ext._C.simd_level(), ascii(found))\n"
    )
    run = subprocess.run(
        [sys.executable, "-B", "-c", script],
        env={**os.environ, "CRNN_SIMD": level, "PYTHONPATH": str(Path(__file__).parent)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout == f"{level} {expected_matches()!a}\n"


def test_words_longer_than_a_block() -> None:
    rng = random.Random(2)
    base = "".join(rng.choices("abcdλ", k=150))
    words = [base[: rng.randrange(60, 150)] + rng.choice("xyz") for _ in range(60)]
    tree = crnn_ext.BKTree(words)
    for query in (base, base[:64], base[:65], "x" + base[:100]):
        nearest = reference.words_within(words, query, 70)
        for delta in (0, 3, 70):
            assert tree.query(query, delta) == [pair for pair in nearest if pair[1] <= delta]


def test_large_delta_returns_everything() -> None:
    tree = crnn_ext.BKTree(["", "a", "bb", "a" * 100])
    assert [word for word, _ in tree.query("", 10**30)] == ["", "a", "bb", "a" * 100]


def test_matches_of_large_code_points_come_in_order() -> None:
    letters = ["", "\0", "a", "\uffff", "\U00010000", "\U0010ffff"]
    words = sorted(
        {x + y + z + w for x in letters for y in letters for z in letters for w in letters}
    )
    found = crnn_ext.BKTree(reversed(words)).query("a", 4)
    assert [word for word, _ in found] == sorted(
        words, key=lambda word: (crnn_ext.edit_distance("a", word), word)
    )


def test_order_is_distance_then_code_point() -> None:
    tree = crnn_ext.BKTree(["b", "a", "\U0001f600", "￿", "ab", "c"])
    assert tree.query("a", 1) == [
        ("a", 0), ("ab", 1), ("b", 1), ("c", 1), ("￿", 1), ("\U0001f600", 1)
    ]  # fmt: skip


def test_container() -> None:
    tree = crnn_ext.BKTree()
    assert len(tree) == 0
    assert tree.query("a", 3) == []
    assert "" not in tree
    assert list(tree) == []
    assert tree.add("b")
    assert tree.add("")
    assert not tree.add("b")
    tree.extend(iter(["c", "b", "a", ""]))
    assert list(tree) == ["b", "", "c", "a"]
    assert len(tree) == 4
    assert "" in tree
    assert "d" not in tree
    assert 5 not in tree
    assert repr(tree) == "BKTree(4 words)"


def test_memory() -> None:
    """22 bytes a word beyond 4 for each letter, and little more while words are new."""
    words = list(dict.fromkeys(random_words(5000)))
    letters = 4 * sum(map(len, words))
    tree = crnn_ext.BKTree(words)
    assert letters + 22 * len(words) <= tree.memory <= letters + 22 * len(words) + 100
    for word in ["x" + word for word in words[:200]]:
        tree.add(word)
    assert len(tree) == len(words) + 200
    assert tree.memory < 2 * (letters + 24 * len(words))


def test_iteration_sees_later_words() -> None:
    tree = crnn_ext.BKTree(["a"])
    seen = []
    for word in tree:
        seen.append(word)
        if len(tree) < 3:
            tree.add(word + "a")
    assert seen == ["a", "aa", "aaa"]


def test_batch_equals_single_queries() -> None:
    tree = crnn_ext.BKTree(random_words(300))
    queries = random_words(50, seed=3)
    assert tree.query_batch(queries, 2) == [tree.query(query, 2) for query in queries]
    assert tree.query_batch([], 2) == []


def test_a_list_shaped_tree() -> None:
    letters = [chr(0x4E00 + i) for i in range(3000)]  # each at distance 1 from all others
    tree = crnn_ext.BKTree(letters)
    assert len(tree) == 3000
    assert tree.query(letters[-1], 0) == [(letters[-1], 0)]
    assert len(tree.query("", 1)) == 3000


def test_a_ten_million_letter_word() -> None:
    giant = "abcdefghij" * 1_000_000
    tree = crnn_ext.BKTree(["a", giant, giant + "k"])
    assert [distance for _, distance in tree.query(giant, 1)] == [0, 1]


def test_pickle() -> None:
    tree = crnn_ext.BKTree(["a", "", "ab", "\ud800"])
    copy = pickle.loads(pickle.dumps(tree))
    assert list(copy) == list(tree)
    assert copy.query("a", 1) == tree.query("a", 1)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda t: crnn_ext.BKTree("ab"), TypeError,
         "BKTree: words must be an iterable of str, got str"),
        (lambda t: t.add(3), TypeError, "BKTree.add: word must be a str, got int"),
        (lambda t: t.extend(["a", None]), TypeError,
         "BKTree.extend: words must hold str only, got NoneType"),
        (lambda t: t.query(b"a", 1), TypeError, "BKTree.query: word must be a str, got bytes"),
        (lambda t: t.query("a", -1), ValueError, "BKTree.query: delta must be at least 0, got -1"),
        (lambda t: t.query_batch("a", 1), TypeError,
         "BKTree.query_batch: words must be an iterable of str, got str"),
        (lambda t: t.query_batch(["a"], -2), ValueError,
         "BKTree.query_batch: delta must be at least 0, got -2"),
    ],
)  # fmt: skip
def test_errors(call: Callable[..., object], error: type[Exception], message: str) -> None:
    tree = crnn_ext.BKTree(["x"])
    with pytest.raises(error) as caught:
        call(tree)
    assert str(caught.value) == message
    assert list(tree) == ["x"]

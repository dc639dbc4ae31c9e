"""edit_distance: the reference, the axioms of a metric, Unicode, bounds, errors."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import text as reference

import crnn_ext

# All of Unicode, lone surrogates included, with few letters so that words come near each other.
words = st.text(st.sampled_from("abcde\u00e9\u0301😀\U0010ffff\ud800\x00"), max_size=80)


@pytest.mark.parametrize(
    ("a", "b", "distance"),
    [
        ("", "", 0),
        ("", "abc", 3),
        ("kitten", "sitting", 3),
        ("flaw", "lawn", 2),
        ("abc", "abc", 0),
        ("\u00e9", "e\u0301", 2),  # composed and decomposed forms are different texts
        ("👩‍👩‍👧", "👩‍👧", 2),
        ("\ud800", "\udfff", 1),
        ("a\x00b", "ab", 1),
    ],
)
def test_known(a: str, b: str, distance: int) -> None:
    assert crnn_ext.edit_distance(a, b) == distance
    assert crnn_ext.edit_distance(b, a) == distance


@settings(max_examples=300, deadline=None)
@given(words, words, st.integers(0, 100))
def test_equals_reference(a: str, b: str, bound: int) -> None:
    distance = reference.edit_distance(a, b)
    assert crnn_ext.edit_distance(a, b) == distance
    assert crnn_ext.edit_distance(a, b, bound) == min(distance, bound + 1)


@settings(max_examples=100, deadline=None)
@given(words, words, words)
def test_is_a_metric(a: str, b: str, c: str) -> None:
    d = crnn_ext.edit_distance
    assert d(a, a) == 0
    assert (d(a, b) == 0) == (a == b)
    assert d(a, b) == d(b, a)
    assert d(a, c) <= d(a, b) + d(b, c)


def mutated(rng: random.Random, word: str, edits: int) -> str:
    for _ in range(edits):
        i = rng.randrange(len(word) + 1)
        word = word[:i] + rng.choice(["", "x", "yz"]) + word[i + rng.randrange(2) :]
    return word


# Around the 64 rows of a block, with few edits (narrow band) and many (wide band).
@pytest.mark.parametrize("size", [62, 63, 64, 65, 127, 128, 129, 191, 400])
@pytest.mark.parametrize("edits", [1, 10, 150])
def test_long_words(size: int, edits: int) -> None:
    rng = random.Random(1000 * size + edits)
    a = "".join(rng.choices("abcλ", k=size))
    b = mutated(rng, a, edits)
    distance = reference.edit_distance(a, b)
    assert crnn_ext.edit_distance(a, b) == distance
    for bound in (0, 1, distance - 1, distance, distance + 1, 64, 65, 10**30):
        if bound >= 0:
            assert crnn_ext.edit_distance(a, b, bound) == min(distance, bound + 1)


def test_block_with_64_different_units() -> None:
    a = "".join(chr(0x4E00 + 128 * i) for i in range(64)) * 2  # all meet in the same hash slots
    assert crnn_ext.edit_distance(a, a[1:] + "x") == 2


def test_second_opinion() -> None:
    levenshtein = pytest.importorskip("rapidfuzz.distance").Levenshtein
    rng = random.Random(0)
    for _ in range(200):
        a = "".join(rng.choices("abcdefgh", k=rng.randrange(500)))
        b = mutated(rng, a, rng.randrange(300))
        assert crnn_ext.edit_distance(a, b) == levenshtein.distance(a, b)


def test_ten_million_units() -> None:
    a = "abcdefghij" * 1_000_000
    assert crnn_ext.edit_distance("x" + a, a + "y") == 2
    assert crnn_ext.edit_distance(a, a[::-1], 3) == 4
    assert crnn_ext.edit_distance(a, "", 5) == 6


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((1, "a"), TypeError, "edit_distance: a must be a str, got int"),
        (("a", b"a"), TypeError, "edit_distance: b must be a str, got bytes"),
        (("a", "b", -1), ValueError, "edit_distance: bound must be at least 0, got -1"),
    ],
)
def test_errors(arguments: tuple[object, ...], error: type[Exception], message: str) -> None:
    with pytest.raises(error) as caught:
        crnn_ext.edit_distance(*arguments)  # type: ignore[arg-type]
    assert str(caught.value) == message

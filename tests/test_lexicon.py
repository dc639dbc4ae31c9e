"""Lexicon.decode: equations 1 and 2 of the paper against their definitions."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Literal

import pytest
import torch
from reference import text as text_reference
from reference import transcription as reference
from test_greedy_decode import one_hot, random_log_probs

import crnn_ext

SYMBOLS = "abcd"
Method = Literal["exact", "exhaustive", "bk-tree"]
METHODS = ("exact", "exhaustive", "bk-tree")


def labels_of(word: str, symbols: str, blank: int) -> list[int]:
    return [i + (i >= blank) for i in map(symbols.index, word)]


def random_lexicon(count: int, seed: int) -> list[str]:
    rng = random.Random(seed)
    return ["".join(rng.choices(SYMBOLS, k=rng.randrange(7))) for _ in range(count)]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("blank", [0, 2, 4])
@pytest.mark.parametrize("delta", [0, 1, 3])
def test_equals_definition(method: Method, blank: int, delta: int) -> None:
    words = list(dict.fromkeys(random_lexicon(80, seed=blank)))
    lexicon = crnn_ext.Lexicon(words, SYMBOLS, blank)
    log_probs = random_log_probs(9, 12, 5, seed=delta).double()
    results = lexicon.decode(log_probs, method=method, delta=delta)
    for n, result in enumerate(results):
        frames = log_probs[:, n].numpy()
        reading = list(reference.collapse(frames.argmax(-1).tolist(), blank))
        candidates = [
            word
            for word in words
            if method != "bk-tree"
            or text_reference.edit_distance(labels_of(word, SYMBOLS, blank), reading) <= delta
        ]
        if method == "exact":
            assert result.candidates <= len(candidates)
        else:
            assert result.candidates == len(candidates)
        scores = {
            word: reference.label_log_prob(frames, labels_of(word, SYMBOLS, blank), blank)
            for word in candidates
        }
        best = max(scores, key=lambda word: scores[word], default=None)
        assert result.word == best
        if best is None:
            assert result.labels == reading
            expected = reference.label_log_prob(frames, reading, blank)
        else:
            assert result.labels == labels_of(best, SYMBOLS, blank)
            expected = scores[best]
        assert result.log_prob == pytest.approx(expected, rel=1e-12)


def test_near_reading_is_corrected() -> None:
    lexicon = crnn_ext.Lexicon(["abba", "cab", "dddd"], SYMBOLS)
    log_probs = one_hot([1, 0, 2, 2, 0, 2, 0, 4], 5)  # reads "abbd"
    words = [lexicon.decode(log_probs, method="bk-tree", delta=d)[0].word for d in (0, 1)]
    assert words == [None, "abba"]
    assert lexicon.decode(log_probs)[0].word == "abba"


def test_no_word_within_delta() -> None:
    lexicon = crnn_ext.Lexicon(["dddddddd"], SYMBOLS)
    log_probs = one_hot([1, 0, 2], 5)
    (result,) = lexicon.decode(log_probs, method="bk-tree")
    expected = crnn_ext.label_log_probs(log_probs, [[1, 2]]).item()
    assert result == crnn_ext.LexiconResult(
        word=None,
        log_prob=expected,
        labels=[1, 2],
        posterior=0.0,
        runner_up=None,
        margin=math.inf,
        outside=1.0,
        n_best=(),
        candidates=0,
    )


@pytest.mark.parametrize("method", METHODS)
def test_no_word_fits_the_frames(method: Method) -> None:
    lexicon = crnn_ext.Lexicon(["aaa", "abc"], SYMBOLS)
    log_probs = one_hot([1, 1], 5)
    (result,) = lexicon.decode(log_probs, method=method)
    assert (result.word, result.labels, result.n_best) == (None, [1], ())
    assert result.log_prob == crnn_ext.label_log_probs(log_probs, [[1]]).item()
    (result,) = crnn_ext.Lexicon(["aaa", "ba"], SYMBOLS).decode(log_probs, method=method)
    assert result.word == "ba"  # improbable, but the only one with a path


@pytest.mark.parametrize("method", METHODS)
def test_no_frames(method: Method) -> None:
    frames = torch.zeros(0, 5)
    (result,) = crnn_ext.Lexicon(["a", "", "b"], SYMBOLS).decode(frames, method=method)
    assert (result.word, result.log_prob, result.labels) == ("", 0.0, [])
    (result,) = crnn_ext.Lexicon(["a"], SYMBOLS).decode(frames, method=method)
    assert (result.word, result.log_prob, result.labels) == (None, 0.0, [])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("words", [["ab", "ba", "cd"], ["cd", "ba", "ab"], ["ba", "ab"]])
def test_ties_go_to_the_first_word(method: Method, words: list[str]) -> None:
    lexicon = crnn_ext.Lexicon(words, SYMBOLS)
    log_probs = torch.zeros(5, 5).log_softmax(-1)  # reads ""; all words of two letters tie
    assert lexicon.decode(log_probs, method=method)[0].word == words[0]


def test_one_word() -> None:
    lexicon = crnn_ext.Lexicon(["cab"], SYMBOLS)
    log_probs = random_log_probs(8, 3, 5)
    for result in lexicon.decode(log_probs, method="exhaustive"):
        assert result.word == "cab"


def test_symbols_of_several_characters() -> None:
    symbols = ["C4", "D4", "rest", "C4#"]
    lexicon = crnn_ext.Lexicon(["C4 D4", "rest", "C4#  C4"], symbols, blank=4)
    assert lexicon.words == ("C4 D4", "rest", "C4# C4")
    (result,) = lexicon.decode(one_hot([3, 4, 0], 5))
    assert (result.word, result.labels) == ("C4# C4", [3, 0])
    assert "C4#\tC4" in lexicon
    assert lexicon.remove(["C4 D4", "C4"]) == 1
    assert lexicon.words == ("rest", "C4# C4")
    with pytest.raises(ValueError, match="got 'F4' in 'rest F4'"):
        lexicon.add(["rest F4"])


def test_unicode_symbols() -> None:
    lexicon = crnn_ext.Lexicon(["日本", "😀日"], "日本😀")
    assert lexicon.decode(one_hot([3, 0, 1], 4))[0].word == "😀日"


def test_words_are_kept_once_in_order() -> None:
    lexicon = crnn_ext.Lexicon(iter(["b", "a", "b", "c"]), SYMBOLS)
    assert lexicon.words == ("b", "a", "c")
    assert len(lexicon) == 3
    assert repr(lexicon) == "Lexicon(3 words, 4 symbols)"


def test_skipped_words() -> None:
    lexicon = crnn_ext.Lexicon(["a", "x", "b", "ax", "x"], SYMBOLS, unknown="skip")
    assert lexicon.words == ("a", "b")
    assert lexicon.skipped == ("x", "ax")


def test_lengths_and_padding() -> None:
    lexicon = crnn_ext.Lexicon(random_lexicon(50, seed=9), SYMBOLS)
    log_probs = random_log_probs(9, 4, 5)
    lengths = [9, 0, 4, 6]
    for n, length in enumerate(lengths):
        log_probs[length:, n] = math.nan
    results = lexicon.decode(log_probs, torch.tensor(lengths))
    for n, length in enumerate(lengths):
        assert [results[n]] == lexicon.decode(log_probs[:length, n])


@pytest.mark.parametrize("method", METHODS)
def test_independent_of_threads(method: Method) -> None:
    lexicon = crnn_ext.Lexicon(random_lexicon(200, seed=4), SYMBOLS)
    log_probs = random_log_probs(9, 40, 5)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = lexicon.decode(log_probs, method=method)
        torch.set_num_threads(3)
        assert lexicon.decode(log_probs, method=method) == one
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: crnn_ext.Lexicon([], SYMBOLS), ValueError,
         "Lexicon: words must hold at least one word, got none"),
        (lambda: crnn_ext.Lexicon(["x", "y"], SYMBOLS, unknown="skip"), ValueError,
         "Lexicon: words must hold at least one word, got none (2 skipped for unknown symbols)"),
        (lambda: crnn_ext.Lexicon(["ab", "cafés"], "abcfs"), ValueError,
         "Lexicon: words must use known symbols only, got 'é' in 'cafés'"),
        (lambda: crnn_ext.Lexicon("ab", SYMBOLS), TypeError,
         "Lexicon: words must be an iterable of str, got str"),
        (lambda: crnn_ext.Lexicon([b"ab"], SYMBOLS), TypeError,
         "Lexicon: words must hold str only, got bytes"),
        (lambda: crnn_ext.Lexicon(["a"], "abca"), ValueError,
         "Lexicon: symbols must be all different, got 'a' twice"),
        (lambda: crnn_ext.Lexicon(["a"], ["a", ""]), ValueError,
         "Lexicon: symbols must not be empty, got ''"),
        (lambda: crnn_ext.Lexicon(["a"], ["a", "b c"]), ValueError,
         "Lexicon: symbols must hold no whitespace, which separates them, got 'b c'"),
        (lambda: crnn_ext.Lexicon(["a"], SYMBOLS, blank=5), ValueError,
         "Lexicon: blank must lie in [0, 4], got 5"),
        (lambda: crnn_ext.Lexicon(["a"], SYMBOLS, unknown="drop"), ValueError,
         "Lexicon: unknown must be 'error' or 'skip', got 'drop'"),
        (lambda: crnn_ext.Lexicon(["a"], SYMBOLS).decode(torch.zeros(3, 6)), ValueError,
         "Lexicon.decode: log_probs must have 5 classes (the symbols and the blank), got 6"),
        (lambda: crnn_ext.Lexicon(["a"], SYMBOLS).decode(torch.zeros(3, 5), method="x"),
         ValueError, "Lexicon.decode: method must be 'exact', 'bk-tree' or 'exhaustive', got 'x'"),
        (lambda: crnn_ext.Lexicon(["a"], SYMBOLS).decode(torch.zeros(3, 5), delta=-1),
         ValueError, "Lexicon.decode: delta must be at least 0, got -1"),
        (lambda: crnn_ext.Lexicon(["a"], SYMBOLS).decode(torch.zeros(3, 5), n_best=0),
         ValueError, "Lexicon.decode: n_best must be at least 1, got 0"),
        (lambda: crnn_ext.Lexicon(["a"], SYMBOLS).decode(torch.zeros(3, 5), tolerance=math.nan),
         ValueError, "Lexicon.decode: tolerance must lie in [0, 1], got nan"),
        (lambda: crnn_ext.Lexicon(["a", "b"], SYMBOLS).decode(
            torch.zeros(3, 5), word_log_prior=[0.0]), ValueError,
         "Lexicon.decode: word_log_prior must have shape [2], one value a word, got [1]"),
        (lambda: crnn_ext.Lexicon(["a"], SYMBOLS).decode(
            torch.zeros(3, 5), word_log_prior=0.0), ValueError,
         "Lexicon.decode: word_log_prior must have one dimension, got 0"),
        (lambda: crnn_ext.Lexicon(["a"], SYMBOLS).decode(
            torch.zeros(3, 5), word_log_prior=[math.nan]), ValueError,
         "Lexicon.decode: word_log_prior must hold neither NaN nor values of 1e9 or more, got nan"),
        (lambda: crnn_ext.Lexicon(["a"], SYMBOLS).decode(
            torch.zeros(3, 5), word_log_prior=torch.tensor([True])), TypeError,
         "Lexicon.decode: word_log_prior must hold numbers, got bool"),
        (lambda: crnn_ext.Lexicon(["a"], SYMBOLS).add(["b", "ax"]), ValueError,
         "Lexicon.add: words must use known symbols only, got 'x' in 'ax'"),
        (lambda: crnn_ext.Lexicon(["a"], SYMBOLS).remove("a"), TypeError,
         "Lexicon.remove: words must be an iterable of str, got str"),
        (lambda: crnn_ext.Lexicon(["a"], SYMBOLS).decode(torch.zeros(3, 2, 5) / 0),
         ValueError, "Lexicon.decode: log_probs must hold neither NaN nor values of 1e9 or more, "
         "got nan in frame 0 of sample 0"),
    ],
)  # fmt: skip
def test_errors(call: Callable[..., object], error: type[Exception], message: str) -> None:
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value) == message

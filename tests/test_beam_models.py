"""beam_decode with a language model, and of a lexicon's words, against all labels there are."""

from __future__ import annotations

import itertools
import math
import random
import re
from collections.abc import Callable

import pytest
import torch
from reference import transcription as reference
from test_greedy_decode import one_hot, random_log_probs

import crnn_ext
from crnn_ext import BeamResult, LanguageModel, Lexicon

TEXTS = ["ab", "abba", "bab", "b b", "", "a"]


def scored(
    log_probs: torch.Tensor, symbols: str, blank: int, score: Callable[[str, float], float]
) -> list[tuple[float, str]]:
    """Every label of a sample [T, C] with its score, best first; -inf leaves a label out."""
    true = reference.probabilities_by_enumeration(log_probs.double().numpy(), blank)
    spelt = {"".join(symbols[c - (c > blank)] for c in label): p for label, p in true.items()}
    values = [(score(text, math.log(p)), text) for text, p in spelt.items()]
    return sorted((pair for pair in values if pair[0] > -math.inf), reverse=True)


def check(best: list[BeamResult], true: list[tuple[float, str]], symbols: str, blank: int) -> None:
    texts = ["".join(symbols[c - (c > blank)] for c in result.labels) for result in best]
    assert [r.score for r in best] == pytest.approx([value for value, _ in true], abs=1e-9)
    assert texts == [text for _, text in true]


def text_log_prob(lm: LanguageModel, text: str, unknown: float) -> float:
    """Of a text that `lm` knows or, with probability `unknown`, any."""
    any_text = (len(lm.symbols) + 1.0) ** -(len(text) + 1)
    return math.log((1 - unknown) * math.exp(lm.log_prob(text)) + unknown * any_text)


@pytest.mark.parametrize("blank", [0, 3])
@pytest.mark.parametrize("order", [1, 3])
@pytest.mark.parametrize(
    ("weight", "bonus", "unknown"),
    [(0.0, 0.0, 0.5), (0.5, 1.0, 0.0), (2.0, 0.0, 0.1), (1.0, -3.0, 0.6), (1.5, 0.2, 1.0)],
)
def test_exact_with_a_language_model(
    blank: int, order: int, weight: float, bonus: float, unknown: float
) -> None:
    lm = LanguageModel(TEXTS, "ab ", blank, order=order)
    log_probs = random_log_probs(5, 6, 4, seed=order).double()
    results = crnn_ext.beam_decode(
        log_probs, blank=blank, beam=10**6, n_best=10**6, cutoff=0.0, lm=lm, lm_weight=weight,
        lm_unknown=unknown, symbol_bonus=bonus,
    )  # fmt: skip
    for n, best in enumerate(results):
        one = log_probs[:, n]
        true = scored(
            one, "ab ", blank,
            lambda text, p: p + weight * text_log_prob(lm, text, unknown) + bonus * len(text),
        )  # fmt: skip
        check(best, true, "ab ", blank)
        labels = [result.labels for result in best]
        assert [r.log_prob for r in best] == crnn_ext.label_log_probs(
            one, labels, blank=blank
        ).tolist()


@pytest.mark.parametrize("beam", [1, 3, 16])
def test_never_worse_than_greedy_in_score(beam: int) -> None:
    symbols = "abcdefg"
    rng = random.Random(0)
    words = ["".join(rng.choices(symbols, (9, 5, 3, 1, 1, 1, 1), k=6)) for _ in range(300)]
    lm = LanguageModel(words, symbols)
    log_probs = (random_log_probs(20, 200, 8) * 1.5).log_softmax(-1)
    results = crnn_ext.beam_decode(log_probs, beam=beam, lm=lm, lm_weight=0.7, symbol_bonus=0.2)
    changed = 0
    for best, greedy in zip(results, crnn_ext.greedy_decode(log_probs), strict=True):
        n = results.index(best)
        labels = [best[0].labels, greedy.labels]
        log_prob = crnn_ext.label_log_probs(log_probs[:, n], labels).tolist()
        values = [
            p
            + 0.7 * text_log_prob(lm, "".join(symbols[c - 1] for c in label), 0.1)
            + 0.2 * len(label)
            for p, label in zip(log_prob, labels, strict=True)
        ]
        assert best[0].score == pytest.approx(values[0], abs=1e-9)
        assert values[0] >= values[1] - 1e-12
        changed += values[0] > values[1]
    assert changed > 100


def test_a_language_model_decides_what_the_frames_leave_open() -> None:
    lm = LanguageModel(["exit"] * 9 + ["axle"], "abcdefghijklmnopqrstuvwxyz")
    frames = one_hot([5, 0, 24, 0, 9, 0, 20], 27)
    frames[4] = torch.full((27,), 1e-4).log()
    frames[4, 9], frames[4, 12] = math.log(0.45), math.log(0.55)  # i, l
    assert crnn_ext.beam_decode(frames)[0][0].labels == [5, 24, 12, 20]
    assert crnn_ext.beam_decode(frames, lm=lm)[0][0].labels == [5, 24, 9, 20]
    assert crnn_ext.beam_decode(frames, lm=lm, lm_weight=0)[0][0].labels == [5, 24, 12, 20]


def test_a_language_model_leaves_codes_as_they_are() -> None:
    """What no text of it begins like is held against a code once, not symbol by symbol."""
    lm = LanguageModel(["solos", "soil", "lois"] * 5, "0123456789ilos")
    frames = one_hot([6, 0, 1, 0, 5, 0, 1, 0, 8], 15)  # 50407
    for t in (2, 6):
        frames[t] = torch.full((15,), 1e-4).log()
        frames[t, 1], frames[t, 13] = math.log(0.75), math.log(0.25)  # 0, o
    code, bent = [6, 1, 5, 1, 8], [6, 13, 5, 13, 8]
    options = {"lm": lm, "lm_weight": 1.0}
    assert crnn_ext.beam_decode(frames, **options)[0][0].labels == code
    assert crnn_ext.beam_decode(frames, lm_unknown=0.0, **options)[0][0].labels == bent


def is_text(text: str, words: set[str], free: str) -> bool:
    runs = re.split(f"[{re.escape(free)}]", text) if free else [text]
    return all(run in words for run in runs if run)


@pytest.mark.parametrize("blank", [0, 2, 4])
@pytest.mark.parametrize("free", ["", " ", " c"])
@pytest.mark.parametrize("words", [("ab", "b"), ("abb", "ba", "bab", "a")])
def test_exact_over_texts_of_words(words: tuple[str, ...], free: str, blank: int) -> None:
    lexicon = Lexicon(words, "ab c", blank)
    lm = LanguageModel(["a b", "ab", "bcba"], "ab c", blank)
    log_probs = random_log_probs(5, 4, 5, seed=len(words)).double()
    for options in ({}, {"lm": lm, "lm_weight": 0.8, "symbol_bonus": 0.3}):
        results = crnn_ext.beam_decode(
            log_probs, blank=blank, beam=10**6, n_best=10**6, cutoff=0.0, lexicon=lexicon,
            free=free, **options,
        )  # fmt: skip

        def score(text: str, log_prob: float, options: dict[str, float] = options) -> float:
            if not is_text(text, set(words), free):
                return -math.inf
            if not options:
                return log_prob
            return log_prob + 0.8 * text_log_prob(lm, text, 0.1) + 0.3 * len(text)

        for n, best in enumerate(results):
            check(best, scored(log_probs[:, n], "ab c", blank, score), "ab c", blank)


def test_words_that_come_and_go() -> None:
    """Two tries, and words that are there but do not count."""
    lexicon = Lexicon([a + b for a, b in itertools.product("abc", repeat=2)], "abc ")
    lexicon.add(["abc", "c"])
    lexicon.remove(["ab", "ba"])
    words = set(lexicon)
    assert {"aa", "abc", "c"} < words
    assert "ab" not in words
    log_probs = random_log_probs(6, 3, 5).double()
    results = crnn_ext.beam_decode(
        log_probs, beam=10**6, n_best=10**6, cutoff=0.0, lexicon=lexicon, free=" "
    )
    for n, best in enumerate(results):
        true = scored(
            log_probs[:, n],
            "abc ",
            0,
            lambda text, p: p if is_text(text, words, " ") else -math.inf,
        )
        check(best, true, "abc ", 0)


def test_one_word_is_that_of_the_exact_search() -> None:
    rng = random.Random(3)
    words = {"".join(rng.choices("abcdefg", k=rng.randrange(1, 6))) for _ in range(500)}
    lexicon = Lexicon(sorted(words), "abcdefg")
    log_probs = (random_log_probs(14, 200, 8, seed=4) * 2).log_softmax(-1)
    exact = lexicon.decode(log_probs)
    wide = crnn_ext.beam_decode(log_probs, beam=10**4, cutoff=0.0, lexicon=lexicon, n_best=2)
    usual = crnn_ext.beam_decode(log_probs, lexicon=lexicon)
    missed = 0
    for best, (one, *_), result in zip(wide, usual, exact, strict=True):
        first = next(r for r in best if r.labels)  # the empty text is one too
        assert (first.labels, first.log_prob) == (result.labels, result.log_prob)
        assert one.score <= best[0].score
        missed += one.score < best[0].score
    assert missed < 120  # of 200; the frames are near flat and say no word


def test_frames_that_say_another_word() -> None:
    """Far below the cutoff, and still the best there is."""
    lexicon = Lexicon(["abc", "bca"], "abcd ")
    frames = torch.full((6, 6), 1e-6)
    frames[range(6), [4, 0, 4, 5, 4, 4]] = 1.0
    (best,) = crnn_ext.beam_decode(frames.log().log_softmax(-1), lexicon=lexicon, free=" ")
    assert 5 in best[0].labels  # the frames' d is in no word
    assert math.isfinite(best[0].score)
    (best,) = crnn_ext.beam_decode(frames.log().log_softmax(-1), lexicon=lexicon, free="d ")
    assert best[0].labels == [4, 4, 5, 4]


def test_a_beam_that_loses_every_text() -> None:
    lexicon = Lexicon(["ab"], "ab")
    frames = torch.eye(3)[[1, 0, 0]].log()  # "a" for certain
    (best,) = crnn_ext.beam_decode(frames, lexicon=lexicon)
    assert best == [BeamResult([1], 0.0, -math.inf)]


def test_symbols_of_several_characters_and_words_with_a_free_symbol() -> None:
    music = Lexicon(["C4 D4"], ["C4", "D4", "E4"])
    (best,) = crnn_ext.beam_decode(one_hot([3, 1, 2, 3], 4), lexicon=music, free=["E4", "E4"])
    assert best[0].labels == [3, 1, 2, 3]
    lexicon = Lexicon(["a", "ab"], "ab")
    (best,) = crnn_ext.beam_decode(one_hot([1, 2], 3), lexicon=lexicon, free="b", n_best=9)
    assert best[0].labels == [1, 2]
    assert len({tuple(r.labels) for r in best}) == len(best)


def test_threads_and_lengths_change_nothing() -> None:
    lm = LanguageModel(["abcde", "eddca", "bad"], "abcdefg")
    lexicon = Lexicon(["bad", "dad", "ace", "cab"], "abcdefg")
    log_probs = random_log_probs(9, 30, 8)
    lengths = [n % 10 for n in range(30)]
    for n, length in enumerate(lengths):
        log_probs[length:, n] = math.nan
    before = torch.get_num_threads()
    for options in ({"lm": lm}, {"lexicon": lexicon, "free": "fg"}):
        try:
            torch.set_num_threads(1)
            one = crnn_ext.beam_decode(log_probs, lengths, n_best=3, **options)
            torch.set_num_threads(3)
            assert crnn_ext.beam_decode(log_probs, lengths, n_best=3, **options) == one
        finally:
            torch.set_num_threads(before)
        for n, length in enumerate(lengths):
            frames = log_probs[:length, n]
            assert crnn_ext.beam_decode(frames, n_best=3, **options) == [one[n]]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"lm": 3}, TypeError, "beam_decode: lm must be a LanguageModel, got int"),
        ({"lm": LanguageModel(["a"], "a")}, ValueError,
         "beam_decode: lm must have 4 classes, the blank being 0, got 2, the blank being 0"),
        ({"lm": LanguageModel(["a"], "abc", 1)}, ValueError,
         "beam_decode: lm must have 4 classes, the blank being 0, got 4, the blank being 1"),
        ({"lm_weight": -0.1}, ValueError, "beam_decode: lm_weight must lie in [0, 10], got -0.1"),
        ({"lm_weight": math.nan}, ValueError,
         "beam_decode: lm_weight must lie in [0, 10], got nan"),
        ({"lm_unknown": 1.1}, ValueError, "beam_decode: lm_unknown must lie in [0, 1], got 1.1"),
        ({"lm_unknown": math.nan}, ValueError,
         "beam_decode: lm_unknown must lie in [0, 1], got nan"),
        ({"symbol_bonus": 11.0}, ValueError,
         "beam_decode: symbol_bonus must lie in [-10, 10], got 11.0"),
        ({"lexicon": ["ab"]}, TypeError, "beam_decode: lexicon must be a Lexicon, got list"),
        ({"lexicon": Lexicon(["a"], "ab")}, ValueError,
         "beam_decode: lexicon must have 4 classes, the blank being 0, got 3, the blank being 0"),
        ({"lexicon": Lexicon(["a"], "abc"), "free": "ax"}, ValueError,
         "beam_decode: free must hold symbols of the lexicon only, got 'x'"),
        ({"free": " "}, ValueError, "beam_decode: free must be empty without a lexicon, got ' '"),
    ],
)  # fmt: skip
def test_errors(options: dict[str, object], error: type[Exception], message: str) -> None:
    with pytest.raises(error) as caught:
        crnn_ext.beam_decode(torch.zeros(3, 4), **options)  # type: ignore[arg-type]
    assert str(caught.value) == message

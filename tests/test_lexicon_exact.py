"""Lexicon.decode's exact search against the probability of every word, on very many samples."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

import pytest
import torch
from test_lexicon import labels_of
from torch import Tensor

import crnn_ext

LETTERS = "abcdefghijkl"


@dataclass(frozen=True)
class Cases:
    """Random samples, and the score of every word in each of them, [N, K]."""

    lexicon: crnn_ext.Lexicon
    log_probs: Tensor
    lengths: Tensor
    scores: Tensor


def make_cases(seed: int, samples: int, words: int) -> Cases:
    """Flat to very peaked frames, frames and classes of -inf, repeated letters, long words."""
    rng, generator = random.Random(seed), torch.Generator().manual_seed(seed)
    T, symbols = rng.choice([1, 2, 5, 8, 9, 16, 17]), LETTERS[: rng.randrange(1, 12)]
    blank = rng.randrange(len(symbols) + 1)
    texts = []
    for _ in range(words):
        text = "".join(rng.choices(symbols, k=rng.randrange(T + 3)))
        # Some words repeat letters, some are the beginning of others.
        texts += [text, "".join(c * 2 for c in text[:3]), text[: rng.randrange(len(text) + 1)]]
    lexicon = crnn_ext.Lexicon(texts[:words], symbols, blank)
    logits = torch.randn(T, samples, len(symbols) + 1, generator=generator, dtype=torch.float64)
    sharpness = torch.tensor([0.0, 0.1, 1.0, 4.0, 20.0, 400.0]).double()
    logits *= sharpness[torch.randint(0, 6, (samples, 1), generator=generator)]
    logits = logits.round() if rng.random() < 0.3 else logits  # whole numbers: many ties
    log_probs = logits.log_softmax(-1)
    kind = torch.rand(T, samples, 1, generator=generator)
    lost = (torch.rand(log_probs.shape, generator=generator) < 0.5) & (kind < 0.05)
    log_probs[lost | (kind < 0.002)] = -math.inf
    lengths = torch.randint(0, T + 1, (samples,), generator=generator)
    lengths[: samples // 2] = T
    if rng.random() < 0.5:
        log_probs = log_probs.float()
    labels = [labels_of(word, symbols, blank) for word in lexicon.words]
    scores = crnn_ext.label_log_probs(log_probs, labels, lengths, blank)
    return Cases(lexicon, log_probs, lengths, scores)


def check(
    cases: Cases, scores: Tensor, results: list[crnn_ext.LexiconResult], slack: float
) -> None:
    """Every field against all scores; `slack` is how far posteriors may lie below."""
    words = cases.lexicon.words
    order = scores.sort(dim=1, descending=True, stable=True).indices[:, :3].tolist()
    posteriors = scores.softmax(1).nan_to_num()
    outside = 1 - cases.scores.exp().sum(1)
    for n, result in enumerate(results):
        found = [k for k in order[n] if scores[n, k] > -math.inf]
        if not found:
            assert (result.word, result.posterior, result.n_best) == (None, 0.0, ())
            continue
        best = found[0]
        assert result.word == words[best]
        assert result.log_prob == cases.scores[n, best]
        assert result.runner_up == (words[found[1]] if len(found) > 1 else None)
        second = scores[n, found[1]] if len(found) > 1 else -math.inf
        # With a prior, scores are added in another order.
        assert result.margin == pytest.approx(float(scores[n, best] - second), rel=1e-9, abs=1e-9)
        assert [w.word for w in result.n_best] == [words[k] for k in found]
        for word, k in zip(result.n_best, found, strict=True):
            assert word.log_prob == cases.scores[n, k]
            true = float(posteriors[n, k])
            assert true - slack - 1e-9 <= word.posterior <= true + 1e-9
        assert outside[n] - slack - 1e-9 <= result.outside <= max(0, outside[n]) + 1e-9


@pytest.mark.parametrize("seed", range(24))
def test_exact_is_the_best_of_all_words(seed: int) -> None:
    """24 x 5000 samples, the word and its probability; every field on some of them."""
    cases = make_cases(seed, samples=5000, words=random.Random(seed).choice([1, 2, 10, 40]))
    results = cases.lexicon.decode(cases.log_probs, cases.lengths, n_best=3)
    best = cases.scores.max(1)
    first = (cases.scores == best.values[:, None]).int().argmax(1).tolist()
    for result, k, log_prob in zip(results, first, best.values.tolist(), strict=True):
        if log_prob == -math.inf:
            assert result.word is None
        else:
            assert (result.word, result.log_prob) == (cases.lexicon.words[k], log_prob)
    some = Cases(cases.lexicon, cases.log_probs, cases.lengths, cases.scores[:150])
    check(some, some.scores, results[:150], slack=0.01)


@pytest.mark.parametrize("seed", range(24, 36))
def test_exact_equals_exhaustive(seed: int) -> None:
    """12 x 3000 samples in lexicons of up to 150 words."""
    cases = make_cases(seed, samples=3000, words=random.Random(seed).choice([3, 50, 150]))
    frames = cases.log_probs, cases.lengths
    alone = cases.lexicon.decode(*frames, tolerance=None)
    exact = cases.lexicon.decode(*frames, tolerance=1.0)
    exhaustive = cases.lexicon.decode(*frames, method="exhaustive")
    for a, b in zip(exact, exhaustive, strict=True):
        assert (a.word, a.log_prob, a.labels) == (b.word, b.log_prob, b.labels)
        assert (a.runner_up, a.margin) == (b.runner_up, b.margin)
        assert a.candidates <= b.candidates
    for a, b in zip(alone, exhaustive, strict=True):
        assert (a.word, a.log_prob, a.labels) == (b.word, b.log_prob, b.labels)
        assert (a.runner_up, a.margin) == (None, math.inf if a.word is None else 0.0)
        assert a.posterior <= b.posterior + 1e-9
        assert a.outside <= b.outside + 1e-9
    some = Cases(cases.lexicon, cases.log_probs, cases.lengths, cases.scores[:100])
    nothing_left_out = cases.lexicon.decode(*frames, n_best=3, tolerance=0.0)
    check(some, some.scores, nothing_left_out[:100], slack=0.0)
    check(some, some.scores, cases.lexicon.decode(*frames, "exhaustive", n_best=3)[:100], slack=0.0)


@pytest.mark.parametrize("method", ["exact", "exhaustive"])
@pytest.mark.parametrize("seed", range(36, 42))
def test_word_prior(method: str, seed: int) -> None:
    cases = make_cases(seed, samples=300, words=40)
    generator = torch.Generator().manual_seed(seed)
    prior = torch.randn(len(cases.lexicon), generator=generator, dtype=torch.float64) * 8
    prior[torch.rand(len(prior), generator=generator) < 0.2] = -math.inf
    prior[0] = 1000.0 if seed % 3 == 0 else 0.0
    scores = cases.scores + (prior - prior.max())
    results = cases.lexicon.decode(
        cases.log_probs, cases.lengths, method, n_best=3, word_log_prior=prior, tolerance=0.05
    )
    kept = Cases(
        cases.lexicon, cases.log_probs, cases.lengths,
        cases.scores.masked_fill(prior == -math.inf, -math.inf),
    )  # fmt: skip
    check(kept, scores, results, slack=0.05)


@pytest.mark.parametrize("sharpness", [0.0, 0.2, 2.0])
def test_the_sweep_when_the_search_grows(sharpness: float) -> None:
    """Flat frames, 20000 words: the queue grows past its bound."""
    rng = random.Random(1)
    lexicon = crnn_ext.Lexicon(
        ["".join(rng.choices("abcdef", k=9)) for _ in range(20000)], "abcdef"
    )
    logits = torch.randn(24, 3, 7, generator=torch.Generator().manual_seed(2)) * sharpness
    log_probs = logits.log_softmax(-1)
    exact = lexicon.decode(log_probs, n_best=5)
    for n, (a, b) in enumerate(
        zip(exact, lexicon.decode(log_probs, method="exhaustive", n_best=5), strict=True)
    ):
        assert [(w.word, w.log_prob) for w in a.n_best] == [(w.word, w.log_prob) for w in b.n_best]
        assert b.posterior - 0.01 <= a.posterior <= b.posterior + 1e-9
        labels = [labels_of(word, "abcdef", 0) for word in lexicon.words]
        scores = crnn_ext.label_log_probs(log_probs[:, n], labels)
        assert a.log_prob == scores.max()
        assert a.word == lexicon.words[int((scores == scores.max()).int().argmax())]


def test_words_too_deep_for_the_stack() -> None:
    """Long words in long samples are scored one by one."""
    rng = random.Random(3)
    long = "".join(rng.choices("ab", k=1400))
    lexicon = crnn_ext.Lexicon([long, long[:-1] + "c", "abc"], "abc")
    logits = torch.zeros(2800, 4)
    logits[range(2800), [c for x in labels_of(long, "abc", 0) for c in (x, 0)]] = 9.0
    (result,) = lexicon.decode(logits.log_softmax(-1))
    assert (result.word, result.runner_up) == (long, long[:-1] + "c")
    expected = crnn_ext.label_log_probs(logits.log_softmax(-1), [labels_of(long, "abc", 0)])
    assert result.log_prob == expected


def test_probabilities_below_the_range_of_a_double() -> None:
    lexicon = crnn_ext.Lexicon(["ab", "ba", "bb", "aab"], "ab")
    log_probs = torch.full((60, 3), -800.0, dtype=torch.float64)
    log_probs[:, 0] = 0.0
    log_probs[:, 1] = -700.0
    (result,) = lexicon.decode(log_probs, n_best=4)
    scores = crnn_ext.label_log_probs(log_probs, [[1, 2], [2, 1], [2, 2], [1, 1, 2]])
    assert [w.log_prob for w in result.n_best] == sorted(scores.tolist(), reverse=True)
    assert (result.word, result.runner_up) == ("ab", "ba")

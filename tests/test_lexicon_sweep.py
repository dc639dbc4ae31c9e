"""Lexicon.decode where bounds fail: the sweep of the whole trie against the score of every word."""

from __future__ import annotations

import math
import random
from functools import cache

import pytest
import torch
from test_lexicon import labels_of
from test_lexicon_exact import Cases, check
from torch import Tensor

import crnn_ext

LETTERS = "abcdef"
KINDS = ["even", "flat", "nearly flat", "peaked", "gaps"]


def random_words(count: int, seed: int) -> list[str]:
    """Words of 0 to 12 letters; some repeat letters, some begin others, some go on for long."""
    rng = random.Random(seed)
    words = {"", "a", "aa", "aaaaaaaaaaaa", "abababababab" * 9}
    while len(words) < count:
        word = "".join(rng.choices(LETTERS, k=rng.randrange(1, 9)))
        words |= {word, word[: rng.randrange(len(word))], word + word[-1] * rng.randrange(1, 5)}
    order = sorted(words)
    rng.shuffle(order)
    return order


@cache
def lexicon_of(changed: bool) -> crnn_ext.Lexicon:
    """6000 words; if `changed`, some in a second trie and some of both removed."""
    words = random_words(6000, seed=7)
    if not changed:
        return crnn_ext.Lexicon(words, LETTERS)
    lexicon = crnn_ext.Lexicon(words[:5600], LETTERS)
    lexicon.add(words[5600:])
    lexicon.remove(words[5400:5700])
    return lexicon


def make_frames(kind: str, T: int, samples: int) -> Tensor:
    generator = torch.Generator().manual_seed(T)
    logits = torch.randn(T, samples, len(LETTERS) + 1, generator=generator, dtype=torch.float64)
    sharpness = {"even": 0.0, "flat": 0.3, "nearly flat": 1.0, "peaked": 8.0, "gaps": 0.3}[kind]
    log_probs = (logits * sharpness).log_softmax(-1)
    if kind == "gaps":  # of classes, and now and then of all of them: no word has a path then
        log_probs[torch.rand(log_probs.shape, generator=generator) < 0.3] = -math.inf
        log_probs[torch.rand(T, samples, generator=generator) < 0.3 / (T + 1)] = -math.inf
    return log_probs


def cases_of(lexicon: crnn_ext.Lexicon, kind: str, T: int, samples: int = 4) -> Cases:
    log_probs = make_frames(kind, T, samples)
    lengths = torch.full((samples,), T)
    lengths[-1] = T - T // 3
    labels = [labels_of(word, LETTERS, 0) for word in lexicon.words]
    scores = crnn_ext.label_log_probs(log_probs, labels, lengths)
    return Cases(lexicon, log_probs, lengths, scores)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("T", [0, 1, 2, 5, 26, 100])
def test_every_tolerance_against_every_word(T: int, kind: str) -> None:
    cases = cases_of(lexicon_of(changed=T % 2 == 0), kind, T)
    for method, tolerance in [("exact", 0.0), ("exact", 0.01), ("exhaustive", 0.0)]:
        results = cases.lexicon.decode(
            cases.log_probs, cases.lengths, method, n_best=3, tolerance=tolerance
        )
        check(cases, cases.scores, results, slack=tolerance)
    alone = cases.lexicon.decode(cases.log_probs, cases.lengths, n_best=3, tolerance=None)
    for a, b in zip(alone, results, strict=True):
        assert (a.word, a.log_prob) == (b.word, b.log_prob)


@pytest.mark.parametrize("kind", KINDS)
def test_many_best_words_and_a_prior(kind: str) -> None:
    """The 200 best of flat frames are nearly alike, and of even frames often just alike."""
    cases = cases_of(lexicon_of(changed=True), kind, 26)
    generator = torch.Generator().manual_seed(3)
    prior = torch.randn(len(cases.lexicon), generator=generator, dtype=torch.float64).round()
    prior[torch.rand(len(prior), generator=generator) < 0.2] = -math.inf
    scores = cases.scores + (prior - prior.max())
    for method in ("exact", "exhaustive"):
        results = cases.lexicon.decode(
            cases.log_probs, cases.lengths, method, n_best=200, word_log_prior=prior
        )
        order = scores.sort(dim=1, descending=True, stable=True).indices[:, :200].tolist()
        for n, result in enumerate(results):
            found = [k for k in order[n] if scores[n, k] > -math.inf]
            assert [w.word for w in result.n_best] == [cases.lexicon.words[k] for k in found]
            assert [w.log_prob for w in result.n_best] == cases.scores[n, found].tolist()


def test_it_does_look_at_nearly_every_word() -> None:
    """Else the cases above would not be those of the sweep."""
    lexicon = lexicon_of(changed=False)
    (result,) = lexicon.decode(make_frames("flat", 26, 1))
    assert result.candidates > 0.9 * len(lexicon)

"""Prefix beam search: the most probable labels, with a language model or a lexicon if wanted."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from crnn_ext import _C
from crnn_ext._check import fail, fail_type
from crnn_ext._frames import Lengths, check_frames
from crnn_ext.language_model import LanguageModel
from crnn_ext.lexicon import Lexicon

_OP = "beam_decode"
_MANY = _C.no_bound  # more prefixes than there ever are
_MOST = 10.0  # of lm_weight and symbol_bonus: factors of a label stay within a double


class BeamResult(NamedTuple):
    """One of the labels that `beam_decode` found in a sample.

    Attributes:
        labels: the classes read.
        log_prob: log p(labels | y), equation 1, of all paths: exact.
        score: what results are ordered by, see `beam_decode`; without a language model and bonus
            the same as `log_prob`. -inf if the labels are impossible or no text of the lexicon.
    """

    labels: list[int]
    log_prob: float
    score: float


def beam_decode(
    log_probs: Tensor,
    lengths: Lengths = None,
    blank: int = 0,
    *,
    beam: int = 16,
    n_best: int = 1,
    cutoff: float = 0.001,
    lm: LanguageModel | None = None,
    lm_weight: float = 0.2,
    lm_unknown: float = 0.1,
    symbol_bonus: float = 0.0,
    lexicon: Lexicon | None = None,
    free: Iterable[str] = (),
) -> list[list[BeamResult]]:
    """The labels of the highest score, by prefix beam search; approximate.

    ``score(l) = log p(l | y) + lm_weight log P(l) + symbol_bonus |l|``. p(l | y) is equation 1,
    the sum over all paths that collapse to l (which `greedy_decode` does not take). The second term
    is there with `lm` only: ``P(l) = (1 - lm_unknown) P_lm(l) + lm_unknown C^-(|l| + 1)``, P_lm
    being that of `LanguageModel.log_prob`. All terms steer the search from the first label on. The
    best labels of the last beam and the greedy reading (if the lexicon allows it) are scored
    exactly and ordered by that: the first never scores less than the greedy reading.

    With `lexicon`, labels are texts made of its words: every longest run of symbols other than
    `free` ones is a word. So without free symbols they are one word or nothing
    (`Lexicon.decode` finds the best word exactly); with a space, words; with digits, ``a42b`` if
    a and b are words. The empty text is allowed.

    Args:
        log_probs: [T, N, C], or [T, C] for one sample; any floating dtype, strides and device.
            Values of -1e9 and less count as -inf.
        lengths: [N], each in [0, T]; all T if left out. Frames beyond are not read.
        blank: the class of the blank, in [0, C).
        beam: how many prefixes are kept after a frame, at least 1.
        n_best: how many labels are wanted of each sample, at least 1.
        cutoff: in [0, 1]: classes whose probability is below this part of the frame's largest, and
            labels that are not among its ``beam + 1`` most probable, count as impossible in this
            frame (not with a lexicon, which leaves few to choose from); prefixes below its square
            beside the best are dropped. With 0 and a beam that holds all prefixes the search is
            exact. For a long list of `n_best` of clear images, make it smaller.
        lm: of the same symbols and blank.
        lm_weight: in [0, 10]. Networks are surer than they should be, and language models of
            rare words less so: 0.1 to 0.3 is much already.
        lm_unknown: in [0, 1], the part of all texts that `lm` knows nothing of: in these each
            symbol, and the end, is as likely as the others. So codes and rare names are not bent
            into common words, symbol by symbol.
        symbol_bonus: in [-10, 10]. Above 0 it makes up for the language model's liking of short
            texts.
        lexicon: of the same symbols and blank.
        free: symbols that may stand between words, and are in no word (a word that holds one
            cannot be read).

    Returns:
        For each sample its labels, best first: at most `n_best`, at most ``beam + 1``, all
        different and of probability above zero. Where there are none, or the beam lost all texts
        of the lexicon, the greedy reading alone with a score of -inf. In a list also for one
        sample.

    Raises:
        TypeError: `log_probs` is no tensor, `lengths` holds something other than integers, `lm` or
            `lexicon` is something else.
        ValueError: a shape, dtype, length or option is out of range, or a frame within the
            lengths holds NaN, +inf or a value of 1e9 or more (the message names the sample).

    Not differentiable. Runs in parallel over samples without the GIL. Graves and Jaitly (2014),
    Hannun et al. (2014).
    """
    beam, n_best = operator.index(beam), operator.index(n_best)
    if beam < 1:
        fail(_OP, "beam", "be at least 1", beam)
    if n_best < 1:
        fail(_OP, "n_best", "be at least 1", n_best)
    if beam > _MANY or n_best > _MANY:
        beam, n_best = min(beam, _MANY), min(n_best, _MANY)
    if not 0 <= cutoff <= 1:
        fail(_OP, "cutoff", "lie in [0, 1]", cutoff)
    frames = check_frames(_OP, log_probs, lengths, blank)
    if not 0 <= lm_weight <= _MOST:
        fail(_OP, "lm_weight", f"lie in [0, {_MOST:g}]", lm_weight)
    if not 0 <= lm_unknown <= 1:
        fail(_OP, "lm_unknown", "lie in [0, 1]", lm_unknown)
    if not -_MOST <= symbol_bonus <= _MOST:
        fail(_OP, "symbol_bonus", f"lie in [{-_MOST:g}, {_MOST:g}]", symbol_bonus)
    if lm is not None:
        _check_symbols("lm", LanguageModel, lm, frames.classes, frames.blank)
    free_classes: list[int] = []
    if lexicon is not None:
        _check_symbols("lexicon", Lexicon, lexicon, frames.classes, frames.blank)
        free_classes = _free_classes(lexicon, free)
    elif free:
        fail(_OP, "free", "be empty without a lexicon", repr(free))
    readings = _C.beam_decode(
        frames.args, frames.blank, beam, n_best, cutoff,
        None if lm is None else lm._model, lm_weight, lm_unknown, symbol_bonus,
        None if lexicon is None else lexicon._lexicon, free_classes, torch.get_num_threads(),
    )  # fmt: skip
    return [[BeamResult._make(reading) for reading in sample] for sample in readings]


def _check_symbols(
    name: str, kind: type, given: LanguageModel | Lexicon, classes: int, blank: int
) -> None:
    if not isinstance(given, kind):
        fail_type(_OP, name, f"be a {kind.__name__}", given)
    own = len(given.symbols) + 1
    if (own, given.blank) != (classes, blank):
        rule = f"have {classes} classes, the blank being {blank}"
        fail(_OP, name, rule, f"{own}, the blank being {given.blank}")


def _free_classes(lexicon: Lexicon, free: Iterable[str]) -> list[int]:
    classes: dict[int, None] = {}
    for symbol in free:
        if symbol not in lexicon.symbols:
            fail(_OP, "free", "hold symbols of the lexicon only", repr(symbol))
        place = lexicon.symbols.index(symbol)
        classes[place + (place >= lexicon.blank)] = None
    return list(classes)

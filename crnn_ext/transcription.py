"""From frames to labels: the map B, the greedy reading, and equation 1 of the CRNN paper."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from crnn_ext import _C, _cuda, _greedy_cuda
from crnn_ext._check import fail
from crnn_ext._frames import Lengths, check_frames, check_labels


@dataclass(frozen=True)
class GreedyResult:
    """What `greedy_decode` read in one sample.

    Attributes:
        labels: the classes read, without blanks and repeats.
        log_prob: the log-probability of the best path, the sum of its frames; 0 for no frames.
            (The probability of `labels` is that of all their paths: `label_log_probs`.)
        spans: for each label the frames ``[start, end)`` in which it won.
    """

    labels: list[int]
    log_prob: float
    spans: list[tuple[int, int]]


def collapse(path: Tensor | Iterable[int], blank: int = 0) -> list[int]:
    """The map B of the paper: join equal neighbours, then drop blanks.

    ``collapse([1, 1, 0, 1, 2, 2]) == [1, 1, 2]``.

    Args:
        path: one class per frame; a sequence or a 1-D integer tensor.
        blank: the class of the blank.

    Returns:
        The labels; empty for an empty path.

    Raises:
        TypeError: `path` holds something other than integers.
        ValueError: `path` is a tensor of other than one dimension, or holds a negative class.
    """
    if isinstance(path, Tensor):
        if path.dim() != 1:
            fail("collapse", "path", "have one dimension", path.dim())
        path = path.tolist()
    classes = [operator.index(value) for value in path]
    if classes and min(classes) < 0:
        fail("collapse", "path", "hold classes of at least 0", min(classes))
    return _C.collapse(classes, operator.index(blank))


def greedy_decode(log_probs: Tensor, lengths: Lengths = None, blank: int = 0) -> list[GreedyResult]:
    """Lexicon-free transcription: collapse the most probable class of each frame.

    ``l* = B(argmax_pi p(pi | y))``. Where classes tie, the lowest wins.

    Args:
        log_probs: [T, N, C], or [T, C] for one sample; any floating dtype, strides and device.
            Any finite scores will do for `labels`; -inf is probability zero.
        lengths: [N], each in [0, T]; all T if left out. Frames beyond are not read.
        blank: the class of the blank, in [0, C).

    Returns:
        One result per sample, in a list also for one sample; a sample without frames reads as no
        labels.

    Raises:
        TypeError: `log_probs` is no tensor, or `lengths` holds something other than integers.
        ValueError: a shape, dtype, length or `blank` is out of range, or a frame within the
            lengths holds NaN, +inf or a value of 1e9 or more (the message names the sample).

    On a GPU (where crnn_ext was built with CUDA) frames are read and collapsed there, and only the
    readings come to the host.

    Not differentiable. Runs in parallel over samples without the GIL. Section 2.3.1 of the paper.
    """
    if isinstance(log_probs, Tensor) and _cuda.takes(log_probs):
        readings = _greedy_cuda.greedy_decode("greedy_decode", log_probs, lengths, blank)
    else:
        frames = check_frames("greedy_decode", log_probs, lengths, blank)
        readings = _C.greedy_decode(frames.args, frames.blank, torch.get_num_threads())
    return [GreedyResult(*reading) for reading in readings]


def label_log_probs(
    log_probs: Tensor,
    labels: Sequence[Sequence[int]],
    lengths: Lengths = None,
    blank: int = 0,
) -> Tensor:
    """The exact probability of each of many labels in each sample, equation 1 of the paper.

    ``log p(l | y) = log sum over pi with B(pi) = l of prod_t y[t, pi_t]``, by the forward
    algorithm. States carry an exponent each, so nothing underflows however long the sample.

    Args:
        log_probs: [T, N, C], or [T, C] for one sample; any floating dtype, strides and device.
            Values of -1e9 and less count as -inf.
        labels: K sequences of classes in [0, C) other than `blank`; they may be empty.
        lengths: [N], each in [0, T]; all T if left out. Frames beyond are not read.
        blank: the class of the blank, in [0, C).

    Returns:
        [N, K] in float64 on the CPU, or [K] for one sample; -inf where a label has no path (more
        labels and repeats than frames) or none of probability above zero. Without frames the
        empty label has 0 and all others -inf.

    Raises:
        TypeError: `log_probs` is no tensor, or `labels` or `lengths` hold other than integers.
        ValueError: a shape, dtype, length, label or `blank` is out of range, or a frame within
            the lengths holds NaN, +inf or a value of 1e9 or more (the message names the sample).

    Not differentiable (use `ctc_loss` to train). Runs in parallel without the GIL.
    """
    op = "label_log_probs"
    frames = check_frames(op, log_probs, lengths, blank)
    checked = check_labels(op, labels, frames.classes, frames.blank)
    out = torch.empty((frames.samples, len(checked)), dtype=torch.float64)
    threads = torch.get_num_threads()
    _C.label_log_probs(frames.args, checked, frames.blank, threads, out.data_ptr())
    return out if frames.batched else out[0]

"""Where the symbols of a given label lie in the frames, and what could stand in their place.

A path reads a label l of L symbols if it collapses to it: it goes through the states 0 .. 2L of
the blank-extended label ``l' = (blank, l_0, blank, .., l_{L-1}, blank)``, state ``2i + 1`` being
symbol i. With the sums over the beginnings and over the ends of all such paths (Graves et al.
2006, equations 5 to 11; here beta leaves out frame t)::

    alpha[t, u] = y[t, l'_u] (alpha[t-1, u] + alpha[t-1, u-1] + alpha[t-1, u-2])
    beta[t, u]  = sum over v in {u, u+1, u+2} of y[t+1, l'_v] beta[t+1, v]

(the terms two states apart only between different symbols), equation 1 of the CRNN paper is
``p(l | y) = alpha[T-1, 2L] + alpha[T-1, 2L-1]``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from crnn_ext import _C
from crnn_ext._check import fail
from crnn_ext._frames import Frames, Lengths, check_frames, check_labels


@dataclass(frozen=True)
class Alignment:
    """Where a label of L symbols lies in the T frames of a sample.

    Attributes:
        log_prob: log p(l | y), equation 1, the sum over all paths; -inf where the label has no
            path (more symbols and repeats than frames) or none of probability above zero.
        path_log_prob: the log-probability of the most probable path that reads the label
            (Viterbi); -inf likewise.
        spans: for each symbol its frames ``[start, end)`` on that path, in order and disjoint;
            empty where there is no path.
        occupancy: ``[2L + 1, T]`` float64, ``gamma[u, t] = p(the path is in state u at frame t |
            l, y) = alpha[t, u] beta[t, u] / p(l | y)``: each frame's column sums to 1; 0 where
            there is no path. Row ``2i + 1`` is that of symbol i, the even rows are the blanks.
    """

    log_prob: float
    path_log_prob: float
    spans: list[tuple[int, int]]
    occupancy: Tensor

    def expected_spans(self) -> list[tuple[float, float]]:
        """For each symbol the expected first frame and the expected end of its frames.

        Over all paths that read the label, in proportion to their probability. A path has not
        reached symbol i at frame t if it is in a state before ``2i + 1``, and has left it if it
        is in one behind it, so ``E[start] = sum_t sum_{u < 2i+1} gamma[u, t]`` and
        ``E[end] = T - sum_t sum_{u > 2i+1} gamma[u, t]``; between them lie as many frames as the
        symbol takes on average. Empty where there is no path.
        """
        if not self.spans:
            return []
        frames = self.occupancy.sum(1).cumsum(0).tolist()
        return [(frames[u - 1], frames[u]) for u in range(1, len(frames), 2)]


def align(
    log_probs: Tensor,
    labels: Sequence[Sequence[int]],
    lengths: Lengths = None,
    blank: int = 0,
) -> list[Alignment]:
    """Align a given label with each sample: the best path, and the posterior over all of them.

    Args:
        log_probs: [T, N, C], or [T, C] for one sample; any floating dtype, strides and device.
            Values of -1e9 and less count as -inf.
        labels: N sequences of classes in [0, C) other than `blank`; they may be empty.
        lengths: [N], each in [0, T]; all T if left out. Frames beyond are not read.
        blank: the class of the blank, in [0, C).

    Returns:
        One alignment per sample, in a list also for one sample. Of equally probable paths the one
        that moves on soonest is taken. Without frames the empty label has probability 1.

    Raises:
        TypeError: `log_probs` is no tensor, or `labels` or `lengths` hold other than integers.
        ValueError: a shape, dtype, length, label or `blank` is out of range, or a frame within
            the lengths holds NaN, +inf or a value of 1e9 or more (the message names the sample).

    Nothing underflows, however long the sample. Not differentiable. Runs in parallel over samples
    without the GIL; about 3 T (2L + 1) state updates a sample.
    """
    frames, checked = _check("align", log_probs, labels, lengths, blank)
    shapes = [
        (2 * len(label) + 1, length) for label, length in zip(checked, frames.counts, strict=True)
    ]
    sizes = [states * length for states, length in shapes]
    flat = torch.empty(sum(sizes), dtype=torch.float64)
    threads = torch.get_num_threads()
    results = _C.align(frames.args, checked, frames.blank, threads, flat.data_ptr())
    return [
        Alignment(*result, part.view(shape))
        for result, part, shape in zip(results, torch.split(flat, sizes), shapes, strict=True)
    ]


def replacement_log_probs(
    log_probs: Tensor,
    labels: Sequence[Sequence[int]],
    lengths: Lengths = None,
    blank: int = 0,
) -> list[Tensor]:
    """The exact probability of each label with any one of its symbols replaced, or left out.

    The paths that read l with symbol i replaced by c are in c's state in some run of frames
    ``[s, e)``, so with what reaches that state, and with what follows it, ::

        p(l with l_i -> c | y) = sum over s < e of A_c[s] y[s, c] .. y[e-1, c] B_c[e]
        A_c[s] = alpha[s-1, 2i] + [l_{i-1} != c] alpha[s-1, 2i-1]
        B_c[e] = y[e, blank] beta[e, 2i+2] + [l_{i+1} != c] y[e, l_{i+1}] beta[e, 2i+3]

    which one sweep over the frames adds up for each c: all L C labels take about L times the
    arithmetic of reading the frames, instead of the forward algorithm for each.

    Args:
        log_probs, labels, lengths, blank: as in `align`.

    Returns:
        For each sample [L, C] in float64 on the CPU: at [i, c] ``log p(l with l_i -> c | y)``,
        which for ``c = l_i`` is log p(l | y), and at [i, blank] the log-probability of l without
        symbol i; -inf where there is no path. `softmax` over the classes gives what symbol i is
        if all others are right.

    Raises:
        As `align`.

    Not differentiable. Runs in parallel over samples without the GIL. See `align` for alpha and
    beta.
    """
    frames, checked = _check("replacement_log_probs", log_probs, labels, lengths, blank)
    counts = [len(label) for label in checked]
    out = torch.empty((sum(counts), frames.classes), dtype=torch.float64)
    threads = torch.get_num_threads()
    _C.replacement_log_probs(frames.args, checked, frames.blank, threads, out.data_ptr())
    return list(torch.split(out, counts))


def _check(
    op: str, log_probs: Tensor, labels: Sequence[Sequence[int]], lengths: Lengths, blank: int
) -> tuple[Frames, list[list[int]]]:
    frames = check_frames(op, log_probs, lengths, blank)
    checked = check_labels(op, labels, frames.classes, frames.blank)
    if len(checked) != frames.samples:
        fail(op, "labels", f"hold one label per sample ({frames.samples})", len(checked))
    return frames, checked

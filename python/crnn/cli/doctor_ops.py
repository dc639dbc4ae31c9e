"""The operations that ``crnn doctor`` checks, each against a plain reference."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

import crnn_ext
from crnn.cli.doctor import Check

_SECONDS = 0.3  # of timing, for each operation
_SECTION = "operations"


def check_operations() -> Iterator[Check]:
    """One check for each operation; an operation that raises is broken, not the end.

    On one thread: on a busy machine the threads of either side may wait for each other.
    """
    operations: list[tuple[str, Callable[[], Check]]] = [
        ("ctc_loss", _check_ctc_loss),
        ("LSTM", _check_lstm),
        ("greedy_decode", _check_greedy_decode),
        ("align", _check_align),
        ("edit_distance", _check_edit_distance),
        ("BKTree", _check_bk_tree),
        ("Lexicon", _check_lexicon),
    ]
    if crnn_ext.built_with_cuda and torch.cuda.is_available():
        operations += [
            (_named("ctc_loss", "cuda"), lambda: _check_ctc_loss("cuda")),
            (_named("LSTM", "cuda"), lambda: _check_lstm("cuda")),
        ]
    for name, check in operations:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            result = check()
        except Exception as error:
            problem = f"{type(error).__name__}: {error}"
            result = Check(_SECTION, name, "broken", problem, _ADVICE)
        finally:
            torch.set_num_threads(threads)
        yield result


_ADVICE = "reinstall; if it stays, report it with the output of `crnn doctor --json`"


def _verdict(name: str, error: float, bound: float, speed: float, reference: str) -> Check:
    sound = error <= bound
    detail = f"error {error:.1e}, {speed:.3g}x the speed of {reference}"
    return Check(
        _SECTION,
        name,
        "ok" if sound else "broken",
        detail if sound else f"{detail}; the error must be at most {bound:g}",
        "" if sound else _ADVICE,
    )


def _exact(name: str, equal: bool, speed: float, reference: str) -> Check:
    return _verdict(name, 0.0 if equal else 1.0, 0.0, speed, reference)


def _speed(ours: Callable[[], object], theirs: Callable[[], object], device: str = "cpu") -> float:
    """Time of theirs / time of ours, taken in turns; of each the least disturbed round."""
    best = [float("inf"), float("inf")]
    stop = time.perf_counter() + _SECONDS
    while time.perf_counter() < stop or float("inf") in best:
        for i, call in enumerate((ours, theirs)):
            started = time.perf_counter()
            call()
            if device == "cuda":
                torch.cuda.synchronize()
            best[i] = min(best[i], time.perf_counter() - started)
    return best[1] / best[0]


def _relative_error(value: Tensor, reference: Tensor) -> float:
    return float((value.double() - reference).norm() / reference.norm())


def _named(name: str, device: str) -> str:
    return name if device == "cpu" else f"{name}, GPU"


def _check_ctc_loss(device: str = "cpu") -> Check:
    """Loss and gradient against torch in float64; speed against torch's log_softmax + ctc_loss."""
    T, N, C, L = 26, 64, 37, 8
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(T, N, C, generator=generator).to(device)
    targets = torch.randint(1, C, (N, L), generator=generator).to(device)
    lengths = torch.full((N,), T).to(device)
    label_lengths = torch.randint(1, L + 1, (N,), generator=generator).to(device)

    def ours(x: Tensor) -> tuple[Tensor, Tensor]:
        x = x.detach().requires_grad_()
        loss = crnn_ext.ctc_loss(x, targets, lengths, label_lengths, from_logits=True)
        return loss.detach(), torch.autograd.grad(loss, x)[0]

    def theirs(x: Tensor) -> tuple[Tensor, Tensor]:
        x = x.detach().requires_grad_()
        loss = nn.functional.ctc_loss(x.log_softmax(2), targets, lengths, label_lengths)
        return loss.detach(), torch.autograd.grad(loss, x)[0]

    pairs = zip(ours(logits), theirs(logits.double()), strict=True)
    error = max(_relative_error(value, reference) for value, reference in pairs)
    speed = _speed(lambda: ours(logits), lambda: theirs(logits), device)
    name = _named("ctc_loss", device)
    return _verdict(name, error, 1e-5, speed, "torch.nn.functional.ctc_loss")


def _check_lstm(device: str = "cpu") -> Check:
    """Forward of the paper's size for one image, against nn.LSTM."""
    torch.manual_seed(0)
    ours = crnn_ext.LSTM(512, 256, bidirectional=True).to(device).eval()
    theirs = nn.LSTM(512, 256, bidirectional=True).to(device).eval()
    theirs.load_state_dict(ours.state_dict())
    exact = nn.LSTM(512, 256, bidirectional=True).to(device).double().eval()
    exact.load_state_dict(ours.state_dict())
    x = torch.randn(26, 1, 512, device=device)
    with torch.inference_mode():
        error = _relative_error(ours(x)[0], exact(x.double())[0])
        speed = _speed(lambda: ours(x), lambda: theirs(x), device)
    # A GPU multiplies in TF32 (a fraction of 10 bits) by default, as nn.LSTM does there.
    bound = 1e-5 if device == "cpu" else 5e-3
    return _verdict(_named("LSTM", device), error, bound, speed, "torch.nn.LSTM (1 image)")


def _plain_greedy(log_probs: Tensor) -> list[list[int]]:
    readings = []
    for path in log_probs.argmax(2).T.tolist():
        labels = [c for c, before in zip(path, [0, *path], strict=False) if c not in (0, before)]
        readings.append(labels)
    return readings


def _check_greedy_decode() -> Check:
    log_probs = torch.randn(26, 64, 37, generator=torch.Generator().manual_seed(0)).log_softmax(2)
    found = [result.labels for result in crnn_ext.greedy_decode(log_probs)]
    equal = found == _plain_greedy(log_probs)
    speed = _speed(lambda: crnn_ext.greedy_decode(log_probs), lambda: _plain_greedy(log_probs))
    return _exact("greedy_decode", equal, speed, "argmax and a Python loop")


def _check_align() -> Check:
    """The posterior of frames is the gradient of torch's CTC loss by the log-probabilities."""
    generator = torch.Generator().manual_seed(0)
    log_probs = torch.randn(26, 64, 37, generator=generator, dtype=torch.float64).log_softmax(2)
    targets = torch.randint(1, 37, (64, 8), generator=generator)
    frames, letters = torch.full((64,), 26), torch.full((64,), 8)

    def ours() -> Tensor:
        occupied = torch.zeros(26, 64, 37, dtype=torch.float64)
        for n, (alignment, label) in enumerate(
            zip(crnn_ext.align(log_probs, targets.tolist()), targets, strict=True)
        ):
            classes = torch.zeros(17, dtype=torch.int64)
            classes[1::2] = label
            occupied[:, n].index_add_(1, classes, alignment.occupancy.T)
        return occupied

    def theirs() -> Tensor:
        x = log_probs.clone().requires_grad_()
        loss = nn.functional.ctc_loss(x, targets, frames, letters, reduction="sum")
        return log_probs.exp() - torch.autograd.grad(loss, x)[0]  # torch's is that of the logits

    error = _relative_error(ours(), theirs())
    return _verdict("align", error, 1e-9, _speed(ours, theirs), "torch.nn.functional.ctc_loss")


def _words(count: int) -> list[str]:
    """Random words of 2 to 9 letters out of six, so that many are near each other."""
    generator = torch.Generator().manual_seed(0)
    letters = torch.randint(0, 6, (count, 9), generator=generator).tolist()
    lengths = torch.randint(2, 10, (count,), generator=generator).tolist()
    rows = zip(letters, lengths, strict=True)
    return sorted({"".join("abcdef"[i] for i in row[:n]) for row, n in rows})


def _plain_distance(a: str, b: str) -> int:
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, start=1):
        above, row[0] = row[0], i
        for j, y in enumerate(b, start=1):
            above, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, above + (x != y))
    return row[-1]


def _check_edit_distance() -> Check:
    words = _words(400)
    pairs = list(zip(words, reversed(words), strict=True))

    def ours() -> list[int]:
        return [crnn_ext.edit_distance(a, b) for a, b in pairs]

    def theirs() -> list[int]:
        return [_plain_distance(a, b) for a, b in pairs]

    return _exact("edit_distance", ours() == theirs(), _speed(ours, theirs), "a Python loop")


def _check_bk_tree() -> Check:
    words, queries, delta = _words(3000), _words(40), 1
    tree = crnn_ext.BKTree(words)

    def ours() -> list[list[tuple[str, int]]]:
        return [tree.query(query, delta) for query in queries]

    def theirs() -> list[list[tuple[str, int]]]:
        found = []
        for query in queries:
            distances = [(word, crnn_ext.edit_distance(query, word, delta)) for word in words]
            near = [(word, d) for word, d in distances if d <= delta]
            found.append(sorted(near, key=lambda pair: (pair[1], pair[0])))
        return found

    return _exact("BKTree", ours() == theirs(), _speed(ours, theirs), "a scan with edit_distance")


def _check_lexicon() -> Check:
    """The exact search against the CTC loss of every word."""
    words = _words(60)
    lexicon = crnn_ext.Lexicon(words, "abcdef")
    logits = torch.randn(20, 4, 7, generator=torch.Generator().manual_seed(0))
    log_probs = logits.double().log_softmax(2)
    targets = torch.tensor([["abcdef".index(c) + 1 for c in w.ljust(9, "a")] for w in words])
    lengths = torch.full((len(words),), 20)
    word_lengths = torch.tensor([len(word) for word in words])

    def ours() -> list[str | None]:
        return [r.word for r in lexicon.decode(log_probs)]

    def theirs() -> list[str | None]:
        best: list[str | None] = []
        for n in range(4):
            repeated = log_probs[:, n : n + 1].expand(-1, len(words), -1)
            losses = nn.functional.ctc_loss(
                repeated, targets, lengths, word_lengths, reduction="none"
            )
            best.append(words[int(losses.argmin())])
        return best

    return _exact("Lexicon", ours() == theirs(), _speed(ours, theirs), "torch ctc_loss a word")

"""ctc_loss against torch: log_softmax + ctc_loss, forward + backward, from logits.

Every case is verified first, on the inputs that are timed: the relative gradient error
||d|| / ||reference|| of both implementations against torch in float64. Then both are timed in
turns in one process. Columns: error and milliseconds (median, 10th and 90th percentile) of each,
and how many times faster crnn_ext is, from the pairs of each round.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks import ctc_gpu
from benchmarks.speed import compare, parse, parser
from crnn_ext import ctc_loss

Run = Callable[[], object]
MAX_ERROR = 1e-5  # of crnn_ext's float32 gradient; above this no time is worth printing


@dataclass(frozen=True)
class Case:
    """One shape. Labels have L symbols, inputs T frames; with `variable`, half to all of them."""

    T: int
    N: int
    C: int
    L: int
    variable: bool = False
    mode: str = "train"  # train: forward + backward; infer: the loss without a gradient

    def __str__(self) -> str:
        lengths = " variable" if self.variable else ""
        return f"T={self.T} N={self.N} C={self.C} L={self.L}{lengths} {self.mode}"


QUICK = [Case(26, 64, 37, 8), Case(100, 8, 500, 20), Case(26, 64, 37, 8, mode="infer")]
FULL = [
    Case(26, 512, 37, 8),
    Case(200, 64, 5000, 40),
    Case(1000, 16, 100, 150),
    Case(26, 1, 37, 8),
    Case(26, 64, 37, 8),
    Case(26, 64, 37, 12, variable=True),
    Case(130, 64, 96, 25),
    Case(130, 64, 96, 25, variable=True),
    Case(130, 16, 7000, 25),
    Case(1000, 16, 37, 200),
    Case(26, 512, 37, 8, mode="infer"),
    Case(130, 64, 96, 25, mode="infer"),
]


@dataclass(frozen=True)
class Inputs:
    """Random tensors of one case."""

    logits: Tensor  # [T, N, C], requires gradient
    targets: Tensor  # [N, L]
    input_lengths: Tensor
    target_lengths: Tensor

    @property
    def labels(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.targets, self.input_lengths, self.target_lengths


def make_inputs(case: Case) -> Inputs:
    """Logits from N(0, 1), labels uniform over the symbols, feasible with variable lengths."""
    generator = torch.Generator().manual_seed(case.T * case.N + case.C + case.L)
    logits = torch.randn(case.T, case.N, case.C, generator=generator)
    targets = torch.randint(1, case.C, (case.N, case.L), generator=generator)
    il, tl = torch.full((case.N,), case.T), torch.full((case.N,), case.L)
    if case.variable:
        part = torch.rand(case.N, generator=generator) / 2 + 0.5
        il, tl = (part * case.T).ceil().long(), (part * case.L).floor().long()
    return Inputs(logits.requires_grad_(), targets, il, tl)


def torch_loss(logits: Tensor, inputs: Inputs) -> Tensor:
    return F.ctc_loss(F.log_softmax(logits, 2), *inputs.labels, zero_infinity=True)


def our_loss(logits: Tensor, inputs: Inputs) -> Tensor:
    return ctc_loss(logits, *inputs.labels, zero_infinity=True, from_logits=True)


IMPLEMENTATIONS = {"torch": torch_loss, "crnn_ext": our_loss}


def errors(case: Case, inputs: Inputs) -> dict[str, float]:
    """Relative error against torch in float64: of the gradient, or of the loss when inferring."""
    exact = inputs.logits.detach().double().requires_grad_()
    expected = torch_loss(exact, inputs)
    if case.mode == "train":
        (expected,) = torch.autograd.grad(expected, exact)
    expected = expected.detach()
    result = {}
    for name, loss in IMPLEMENTATIONS.items():
        value = loss(inputs.logits, inputs)
        if case.mode == "train":
            (value,) = torch.autograd.grad(value, inputs.logits)
        result[name] = float((value.detach().double() - expected).norm() / expected.norm())
    if not result["crnn_ext"] <= MAX_ERROR:
        raise SystemExit(f"{case}: relative error {result['crnn_ext']:.2e} above {MAX_ERROR:.0e}")
    return result


def timed(case: Case, inputs: Inputs, loss: Callable[[Tensor, Inputs], Tensor]) -> Run:
    """What one call of the clock runs."""
    if case.mode == "infer":
        logits = inputs.logits.detach()
        return lambda: loss(logits, inputs)
    return lambda: torch.autograd.grad(loss(inputs.logits, inputs), inputs.logits)


def main() -> None:
    options = parser("ctc", __doc__, seconds=4.0)
    options.add_argument("--only", default="", metavar="TEXT", help="cases that contain TEXT")
    options.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    options.epilog = "example: python -m benchmarks.ctc --only N=512 --no-record"
    chosen = parse(options)
    if chosen.device == "cuda":
        ctc_gpu.run(quick=chosen.quick, only=chosen.only, keep=not chosen.no_record)
        return
    for case in QUICK if chosen.quick else FULL:
        if chosen.only in str(case):
            inputs = make_inputs(case)
            error = errors(case, inputs)
            functions = {name: timed(case, inputs, loss) for name, loss in IMPLEMENTATIONS.items()}
            compare("ctc", str(case), asdict(case), error, functions, chosen)


if __name__ == "__main__":
    main()

"""LSTM against torch.nn.LSTM: I=512, H=256, bidirectional, forward and forward + backward.

Every case is verified first, on the inputs that are timed: the relative error ||d|| / ||reference||
of both implementations against nn.LSTM in float64, of the output when inferring, of the gradient
of x and all parameters when training. Then both are timed in turns in one process. With `variable`,
lengths are half of T to T; torch then packs the padded batch, runs, and pads the output again.
Columns: error and milliseconds (median, 10th and 90th percentile) of each, and how many times
faster crnn_ext is, from the pairs of each round. crnn_ext runs its own kernels for every shape.
All this for the CPU; with --device cuda, benchmarks/lstm_gpu.py runs instead and says what it does.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn

import crnn_ext
from benchmarks import gpu, lstm_gpu
from benchmarks.speed import compare, parse, parser

FEATURES, HIDDEN = 512, 256
MAX_ERROR = 2e-6  # of crnn_ext; above this no time is worth printing


@dataclass(frozen=True)
class Case:
    """N samples of T frames, or with `variable` of half as many to T."""

    T: int
    N: int
    variable: bool = False
    mode: str = "infer"  # infer: forward without a gradient; train: forward + backward

    def __str__(self) -> str:
        lengths = " variable" if self.variable else ""
        return f"T={self.T} N={self.N}{lengths} {self.mode}"


@dataclass(frozen=True)
class Inputs:
    """Random tensors of one case and the modules, which share their weights' values."""

    x: Tensor  # [T, N, I]
    dy: Tensor  # [T, N, 2H]
    lengths: Tensor | None
    modules: dict[str, nn.Module]
    exact: nn.Module  # float64


def make_inputs(case: Case) -> Inputs:
    """x and dy from N(0, 1); weights as torch initialises them."""
    torch.manual_seed(case.T * 1000 + case.N)
    theirs = nn.LSTM(FEATURES, HIDDEN, bidirectional=True)
    ours = crnn_ext.LSTM(FEATURES, HIDDEN, bidirectional=True)
    ours.load_state_dict(theirs.state_dict())
    exact = nn.LSTM(FEATURES, HIDDEN, bidirectional=True).double()
    exact.load_state_dict(theirs.state_dict())
    lengths = None
    if case.variable:
        lengths = (torch.rand(case.N) / 2 + 0.5).mul(case.T).ceil().long()
        lengths[0] = case.T
    return Inputs(
        torch.randn(case.T, case.N, FEATURES),
        torch.randn(case.T, case.N, 2 * HIDDEN),
        lengths,
        {"torch": theirs, "crnn_ext": ours},
        exact,
    )


def gradients(module: nn.Module, inputs: Inputs, x: Tensor) -> list[Tensor]:
    """Of x and of all parameters."""
    y = lstm_gpu.layer(module, inputs.lengths)(x)
    return list(torch.autograd.grad(y, [x, *module.parameters()], inputs.dy.to(x.dtype)))


def errors(case: Case, inputs: Inputs) -> dict[str, float]:
    """Relative error against float64: of the output, or the largest of any gradient."""

    def outcome(module: nn.Module, x: Tensor) -> list[Tensor]:
        if case.mode == "train":
            return gradients(module, inputs, x.requires_grad_())
        return [lstm_gpu.layer(module, inputs.lengths)(x).detach()]

    expected = outcome(inputs.exact, inputs.x.double())
    result = {}
    for name, module in inputs.modules.items():
        values = outcome(module, inputs.x.clone())
        result[name] = max(
            float((a.double() - b).norm() / b.norm()) for a, b in zip(values, expected, strict=True)
        )
    if not result["crnn_ext"] <= MAX_ERROR:
        raise SystemExit(f"{case}: relative error {result['crnn_ext']:.2e} above {MAX_ERROR:.0e}")
    return result


def timed(case: Case, inputs: Inputs, module: nn.Module) -> Callable[[], object]:
    """What one call of the clock runs."""
    if case.mode == "train":
        x = inputs.x.clone().requires_grad_()
        return lambda: gradients(module, inputs, x)
    run = torch.no_grad()(lstm_gpu.layer(module, inputs.lengths))
    return lambda: run(inputs.x)


def run_case(case: Case, options: argparse.Namespace) -> None:
    """Verify, time, print and record one case."""
    inputs = make_inputs(case)
    error = errors(case, inputs)
    functions = {name: timed(case, inputs, module) for name, module in inputs.modules.items()}
    compare("lstm", str(case), asdict(case), error, functions, options)


def main() -> None:
    options = parser("lstm", __doc__, seconds=1.5)
    add = options.add_argument
    add("--device", choices=["cpu", "cuda"], default="cpu")
    add("--frames", type=int, nargs="+", default=[26, 100], help="values of T")
    add("--samples", type=int, nargs="+", help="values of N")
    modes = ["infer", "forward", "train"]
    add("--mode", choices=modes, nargs="+", default=["infer", "train"], help="forward: cuda only")
    add("--dtype", choices=lstm_gpu.DTYPES, nargs="+", default=["bfloat16", "tf32", "float16"])
    add("--timing", choices=gpu.TIMINGS, nargs="+", default=["graph", "eager", "cold"])
    chosen = parse(options)
    if chosen.quick:
        chosen.frames, chosen.samples = [26], [1, 8] if chosen.device == "cpu" else [1, 64]
    if chosen.device == "cuda":
        chosen.samples = chosen.samples or [1, 8, 64, 256, 512]
        lstm_gpu.run(chosen)
        return
    chosen.samples = chosen.samples or [1, 2, 4, 8, 16, 32, 64]
    if "forward" in chosen.mode:
        options.error("--mode forward needs --device cuda")
    for mode in chosen.mode:
        for variable in (False, True):
            for T in chosen.frames:
                for N in chosen.samples:
                    if N > 1 or not variable:
                        run_case(Case(T, N, variable, mode), chosen)


if __name__ == "__main__":
    main()

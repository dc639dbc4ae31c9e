"""LSTM on a GPU against cuDNN: I=512, H=256, bidirectional.

Baselines: torch.nn.LSTM as users have it ("torch", twice), and two unidirectional float16 nn.LSTM,
one on flipped input, on two streams, which is what reaches cuDNN's persistent kernels ("streams").
"tf32" and "float32" set both of torch's switches, for matrix products and for cuDNN, on or off.
Every implementation is verified first, on the inputs that are timed, against float64; above
MAX_ERROR no time is printed. With `variable`, lengths are half of T to T: torch packs and pads,
crnn_ext takes lengths on the device. Modes: infer; forward, which keeps what the backward needs;
train, forward + backward. A sample is one of benchmarks/gpu.py's eager, graph or cold.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import crnn_ext
from benchmarks import gpu
from benchmarks.record import record

FEATURES, HIDDEN = 512, 256
INPUT_SETS = 4
# Largest relative error ||d|| / ||exact|| of outputs; four times as much of gradients.
MAX_ERROR = {"float32": 2e-6, "tf32": 2e-3, "float16": 2e-3, "bfloat16": 1.5e-2}
DTYPES = {
    "float32": torch.float32,
    "tf32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
}


@dataclass(frozen=True)
class Case:
    """N samples of T frames, or with `variable` of half as many to T."""

    T: int
    N: int
    dtype: str
    mode: str
    variable: bool = False

    def __str__(self) -> str:
        lengths = " variable" if self.variable else ""
        return f"T={self.T} N={self.N} {self.dtype}{lengths} {self.mode}"


class TwoStreams(nn.Module):
    """A bidirectional LSTM of two unidirectional ones on two streams."""

    def __init__(self, both: nn.LSTM) -> None:
        super().__init__()
        state = both.state_dict()
        self.halves = nn.ModuleList()
        for suffix in ("", "_reverse"):
            half = nn.LSTM(both.input_size, both.hidden_size)
            half.load_state_dict({k: state[f"{k}{suffix}"] for k in half.state_dict()})
            self.halves.append(half.to(both.weight_ih_l0))
        self.side = torch.cuda.Stream() if both.weight_ih_l0.is_cuda else None

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        """y [T, N, 2H]; there is no state to return."""
        if self.side is None:
            second = self.halves[1](x.flip(0))[0].flip(0)
            return torch.cat([self.halves[0](x)[0], second], 2), None
        current = torch.cuda.current_stream()
        self.side.wait_stream(current)
        with torch.cuda.stream(self.side):
            second = self.halves[1](x.flip(0))[0].flip(0)
        first = self.halves[0](x)[0]
        current.wait_stream(self.side)
        second.record_stream(current)
        return torch.cat([first, second], 2), None


@dataclass(frozen=True)
class Inputs:
    """Input sets of one case and the modules, which share their weights' values."""

    x: list[Tensor]  # [T, N, I] each
    dy: Tensor  # [T, N, 2H]
    lengths: Tensor | None  # on the CPU
    modules: dict[str, nn.Module]
    exact: nn.Module  # float64


def make_inputs(case: Case, device: str) -> Inputs:
    """x and dy from N(0, 1); weights as torch initialises them; all rounded to the dtype first."""
    torch.manual_seed(case.T * 1000 + case.N)
    dtype = DTYPES[case.dtype]
    new = lambda size: torch.randn(case.T, case.N, size, device=device).to(dtype)
    theirs = nn.LSTM(FEATURES, HIDDEN, bidirectional=True, device=device, dtype=dtype)
    modules: dict[str, nn.Module] = {"torch": theirs, "torch again": theirs}
    if case.dtype == "float16" and not case.variable:
        modules["streams"] = TwoStreams(theirs)
    ours = crnn_ext.LSTM(FEATURES, HIDDEN, bidirectional=True, device=device, dtype=dtype)
    ours.load_state_dict(theirs.state_dict())
    modules["crnn_ext"] = ours
    exact = nn.LSTM(FEATURES, HIDDEN, bidirectional=True, device=device, dtype=torch.float64)
    exact.load_state_dict(theirs.state_dict())
    lengths = None
    if case.variable:
        lengths = (torch.rand(case.N) / 2 + 0.5).mul(case.T).ceil().long()
        lengths[0] = case.T
    return Inputs(
        [new(FEATURES) for _ in range(INPUT_SETS)], new(2 * HIDDEN), lengths, modules, exact
    )


def layer(module: nn.Module, lengths: Tensor | None) -> Callable[[Tensor], Tensor]:
    """x to the padded output, the way a user of that module would; lengths are on the CPU."""
    if lengths is None:
        return lambda x: module(x)[0]
    if isinstance(module, crnn_ext.LSTM):
        on_device = lengths.to(next(module.parameters()).device)
        return lambda x: module(x, lengths=on_device)[0]

    def packed(x: Tensor) -> Tensor:
        y, _ = module(pack_padded_sequence(x, lengths, enforce_sorted=False))
        padded: Tensor = pad_packed_sequence(y, total_length=len(x))[0]
        return padded

    return packed


def make_call(case: Case, inputs: Inputs, module: nn.Module, x: Tensor) -> gpu.Call:
    """What is timed, on one input set; returns the tensors it made."""
    run = layer(module, inputs.lengths)
    if case.mode == "infer":
        return torch.no_grad()(lambda: [run(x)])
    x = x.clone().requires_grad_()
    if case.mode == "forward":
        return lambda: [run(x)]
    leaves = [x, *module.parameters()]
    dy = inputs.dy.to(x.dtype)
    return lambda: list(torch.autograd.grad(run(x), leaves, dy))


def errors(case: Case, inputs: Inputs) -> dict[str, float]:
    """Relative error against float64, the largest of any tensor; stops where it is too large."""
    result: dict[str, float] = {}
    for x in inputs.x:
        exact = make_call(case, inputs, inputs.exact, x.double())()
        for name, module in inputs.modules.items():
            values = make_call(case, inputs, module, x)()
            pairs = zip(values, exact, strict=True)
            worst = max(float((a - b).detach().norm() / b.detach().norm()) for a, b in pairs)
            result[name] = max(worst, result.get(name, 0.0))
    limit = MAX_ERROR[case.dtype] * (4 if case.mode == "train" else 1)
    if not result["crnn_ext"] <= limit:
        raise SystemExit(f"{case}: relative error {result['crnn_ext']:.2e} above {limit:.0e}")
    return result


def run_case(case: Case, timings: list[str], keep: bool) -> None:
    """Verify, time, print and record one case."""
    tf32 = case.dtype == "tf32"
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
    inputs = make_inputs(case, "cuda")
    error = errors(case, inputs)
    for timing in timings:
        samplers = {}
        for name, module in inputs.modules.items():
            if timing == "graph" and case.variable and name != "crnn_ext":
                continue  # packing copies lengths to the device: not capturable
            calls = [make_call(case, inputs, module, x) for x in inputs.x]
            samplers[name] = gpu.TIMINGS[timing](calls)
        measured = gpu.take_turns(samplers)
        print(f"{case!s:36} {timing:6}", end="")
        for name, measurement in measured.items():
            spread = measurement.seconds
            ratio = None
            if name != "torch" and "torch" in measured:
                ratio = measurement.ratio_of(measured["torch"])
            times = "" if ratio is None else f" {ratio.median:.2f}x"
            print(f"  {name} {spread.median * 1e6:.1f} us{times} ({error[name]:.1e})", end="")
            if keep:
                named = {**asdict(case), "timing": timing}
                record(
                    "lstm_cuda",
                    named,
                    name,
                    error=error[name],
                    measurement=measurement,
                    ratio=ratio,
                )
        print(flush=True)


def cases(options: argparse.Namespace) -> Iterator[Case]:
    """In the order in which they run: the most telling first."""
    for dtype in options.dtype:
        for variable in (False, True):
            for T in options.frames:
                for N in options.samples:
                    for mode in options.mode:
                        if N > 1 or not variable:
                            yield Case(T, N, dtype, mode, variable)


def run(options: argparse.Namespace) -> None:
    """All cases on the current GPU."""
    if not (torch.cuda.is_available() and crnn_ext.built_with_cuda):
        raise SystemExit("benchmarks.lstm: --device cuda needs a GPU and a build with CUDA")
    print(f"{gpu.clocks()}\ntorch {torch.__version__}, cuDNN {torch.backends.cudnn.version()}")
    for case in cases(options):
        run_case(case, options.timing, not options.no_record)
    print(gpu.clocks())

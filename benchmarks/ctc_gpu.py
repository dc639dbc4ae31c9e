"""ctc_loss on a GPU against torch: log_softmax + ctc_loss, forward + backward, from logits.

torch has two: its own kernels, and cuDNN's (targets as one row of int32 on the CPU, lengths of
int32 on the CPU, labels below 256 symbols). Every case is verified first, on the inputs that are
timed, in memory that held NaN: the relative error of the gradient against torch in float64. The
timings are those of benchmarks/gpu.py. torch's losses read lengths on the CPU and cannot be part
of a CUDA graph. Run by `python -m benchmarks.ctc --device cuda`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

import crnn_ext
from benchmarks import gpu
from benchmarks.record import record
from benchmarks.timing import Measurement
from crnn_ext import ctc_loss

SETS = 4  # of inputs
TIMINGS = ("eager", "kernels", "cold", "graph")


@dataclass(frozen=True)
class Case:
    """N samples of T frames and labels of L symbols; with `variable` half to all of both."""

    T: int
    N: int
    C: int
    L: int
    dtype: str = "float32"
    variable: bool = False
    max_error: float = 1e-6  # of the gradient; above this no time is printed

    def __str__(self) -> str:
        lengths = " variable" if self.variable else ""
        return f"T={self.T} N={self.N} C={self.C} L={self.L} {self.dtype}{lengths}"


QUICK = [Case(26, 64, 37, 8), Case(26, 8, 2000, 8)]
FULL = [
    Case(26, 64, 37, 8),
    Case(26, 64, 37, 25),
    Case(26, 512, 37, 25),
    Case(26, 64, 37, 12, variable=True),
    Case(130, 64, 96, 25),
    Case(130, 64, 7000, 25),
    Case(130, 64, 7000, 25, dtype="bfloat16", max_error=1e-2),
    Case(1000, 16, 37, 200, max_error=1e-5),
]


@dataclass(frozen=True)
class Inputs:
    """Random tensors of one case, in the forms that each implementation takes."""

    logits: Tensor  # [T, N, C], requires gradient
    targets: Tensor  # [N, L], on the GPU
    il: Tensor
    tl: Tensor
    on_host: tuple[Tensor, Tensor]  # the lengths on the CPU, int64
    for_cudnn: tuple[Tensor, Tensor, Tensor]  # targets in one row and lengths, int32 on the CPU


def make_inputs(case: Case, seed: int, device: str = "cuda") -> Inputs:
    """Logits from N(0, 1), labels uniform over the symbols; with `variable` half to all lengths."""
    g = torch.Generator().manual_seed(seed)
    dtype = getattr(torch, case.dtype)
    logits = torch.randn(case.T, case.N, case.C, generator=g).to(device, dtype).requires_grad_()
    targets = torch.randint(1, case.C, (case.N, case.L), generator=g)
    il, tl = torch.full((case.N,), case.T), torch.full((case.N,), case.L)
    if case.variable:
        part = torch.rand(case.N, generator=g) / 2 + 0.5
        il, tl = (part * case.T).ceil().long(), (part * case.L).floor().long()
    row = torch.cat([label[:n] for label, n in zip(targets, tl, strict=True)])
    cudnn = (row.int(), il.int(), tl.int())
    on_device = (t.to(device) for t in (targets, il, tl))
    return Inputs(logits, *on_device, (il, tl), cudnn)


def native(x: Tensor, inputs: Inputs) -> Tensor:
    with torch.backends.cudnn.flags(enabled=False):
        return F.ctc_loss(F.log_softmax(x, 2), inputs.targets, *inputs.on_host)


def cudnn(x: Tensor, inputs: Inputs) -> Tensor:
    return F.ctc_loss(F.log_softmax(x, 2), *inputs.for_cudnn)


def ours(x: Tensor, inputs: Inputs) -> Tensor:
    return ctc_loss(x, inputs.targets, inputs.il, inputs.tl, from_logits=True)


def ours_host(x: Tensor, inputs: Inputs) -> Tensor:
    return ctc_loss(x, inputs.targets, *inputs.on_host, from_logits=True)


Loss = Callable[[Tensor, Inputs], Tensor]


def losses(case: Case) -> dict[str, Loss]:
    """The implementations that take this case; torch has no kernels for half precision."""
    result: dict[str, Loss] = {}
    if case.dtype == "float32":
        result["torch"] = native
        if case.L < 256:
            result["torch cuDNN"] = cudnn
    else:
        result["torch"] = lambda x, inputs: native(x.float(), inputs)
    return {**result, "crnn_ext": ours, "crnn_ext, lengths on the CPU": ours_host}


def gradient(loss: Loss, inputs: Inputs, x: Tensor) -> Tensor:
    return torch.autograd.grad(loss(x, inputs), x)[0]


def poison_memory() -> None:
    """Leave NaN in the memory that torch gives out next."""
    torch.full([1 << 28], torch.nan, device="cuda")


def errors(case: Case, inputs: Inputs) -> dict[str, float]:
    """Of the gradient, relative to torch in float64; stops where ours is too large."""
    exact = inputs.logits.detach().double().requires_grad_()
    expected = gradient(native, inputs, exact)
    result = {}
    for name, loss in losses(case).items():
        poison_memory()
        value = gradient(loss, inputs, inputs.logits)
        result[name] = float((value.double() - expected).norm() / expected.norm())
        if name.startswith("crnn_ext") and not result[name] <= case.max_error:
            raise SystemExit(f"{case}: {name}: error {result[name]:.2e} above {case.max_error:.0e}")
    return result


def faster(times: Mapping[str, Measurement]) -> Measurement | None:
    """The measurement of torch's faster loss."""
    theirs = [m for name, m in times.items() if name in ("torch", "torch cuDNN")]
    return min(theirs, key=lambda m: m.seconds.median) if theirs else None


def run_case(case: Case, keep: bool) -> None:
    """Verify, time, print and record one case."""
    sets = [make_inputs(case, seed) for seed in range(SETS)]
    error = errors(case, sets[0])
    for timing in TIMINGS:
        samplers = {}
        for name, loss in losses(case).items():
            if timing == "graph" and name != "crnn_ext":
                continue  # they read lengths on the CPU
            calls = [lambda i=i, loss=loss: gradient(loss, i, i.logits) for i in sets]
            samplers[name] = gpu.TIMINGS[timing](calls)
        measured = gpu.take_turns(samplers)
        best = faster(measured)
        for name, measurement in measured.items():
            ratio = measurement.ratio_of(best) if best is not None else None
            times = "" if ratio is None else f" {ratio.median:.2f}x"
            line = f"{name:30} {measurement.seconds.median * 1e6:10.1f} us{times}"
            print(f"{case!s:40} {timing:8} {line} ({error[name]:.1e})", flush=True)
            if keep:
                named = {**asdict(case), "timing": timing}
                record(
                    "ctc_cuda",
                    named,
                    name,
                    error=error[name],
                    measurement=measurement,
                    ratio=ratio,
                )
        if timing == "kernels":
            moved = 3 * sets[0].logits.nbytes  # x twice, its gradient once
            speed = moved / measured["crnn_ext"].seconds.median
            ceiling = gpu.copy_bandwidth()
            print(f"{case!s:40} {speed / 1e12:.2f} TB/s; a copy has {ceiling / 1e12:.2f} TB/s")


def run(*, quick: bool, only: str, keep: bool) -> None:
    """All cases whose text contains `only`, on the current GPU."""
    if not (torch.cuda.is_available() and crnn_ext.built_with_cuda):
        raise SystemExit("benchmarks.ctc: --device cuda needs a GPU and a build with CUDA")
    print(f"{gpu.clocks()}\ntorch {torch.__version__}, cuDNN {torch.backends.cudnn.version()}")
    for case in QUICK if quick else FULL:
        if only in str(case):
            run_case(case, keep)
    print(gpu.clocks())

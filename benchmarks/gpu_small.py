"""Every CUDA kernel once, on small awkward shapes, checked against the CPU: for compute-sanitizer.

`python -m benchmarks.gpu_small`; on a machine without a GPU it says so and fails.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

import crnn_ext

# T, N, C, S: one pair of states per lane, several warps, rows of a block.
CTC_SHAPES = [(1, 1, 2, 1), (9, 3, 7, 4), (40, 2, 5, 33), (5, 2, 1031, 3)]
# T, N, I, H: the plain kernel, and both cluster kernels with partial tiles.
LSTM_SHAPES = [(3, 2, 6, 7), (3, 5, 16, 256), (2, 130, 16, 256)]
TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-9, torch.float16: 2e-2, torch.bfloat16: 8e-2}


def check(name: str, result: Tensor, expected: Tensor, tolerance: float) -> None:
    """Raise unless they agree; NaN where the other has it."""
    torch.testing.assert_close(
        result.detach().cpu().double(), expected.detach().double(), rtol=tolerance, atol=tolerance,
        equal_nan=True, msg=lambda text: f"{name}: {text}",
    )  # fmt: skip


def ctc(shape: tuple[int, int, int, int], dtype: torch.dtype, from_logits: bool) -> None:
    """Loss and gradient with lengths on the device, one sample shorter, one empty."""
    T, N, C, S = shape
    x = torch.randn(T, N, C).to(dtype)
    targets = torch.randint(0, C, (N, S))
    il = torch.tensor([T, max(T - 1, 0), 0][:N])
    tl = torch.tensor([S, S // 2, 0][:N])
    results = []
    for device in ("cpu", "cuda"):
        leaf = x.to(device).requires_grad_()
        labels = (targets.to(device), il.to(device), tl.to(device))
        loss = crnn_ext.ctc_loss(leaf, *labels, zero_infinity=True, from_logits=from_logits)
        results += [loss, *torch.autograd.grad(loss, leaf)]
    for k in range(2):
        check(f"ctc {shape} {dtype}", results[2 + k], results[k], TOLERANCE[dtype])


def greedy(shape: tuple[int, int, int, int], dtype: torch.dtype) -> None:
    x = torch.randn(*shape[:3]).to(dtype)
    ours, theirs = crnn_ext.greedy_decode(x.cuda()), crnn_ext.greedy_decode(x)
    assert [r.labels for r in ours] == [r.labels for r in theirs]
    assert [r.spans for r in ours] == [r.spans for r in theirs]


def lstm(shape: tuple[int, int, int, int], dtype: torch.dtype) -> None:
    """Output and gradients with unequal lengths, against the CPU in float64."""
    T, N, I, H = shape  # noqa: E741
    exact = crnn_ext.LSTM(I, H, bidirectional=True).to(dtype).double()
    module = crnn_ext.LSTM(I, H, bidirectional=True).to("cuda", dtype)
    module.load_state_dict(exact.state_dict())
    lengths = torch.arange(N) % (T + 1)
    x, dy = torch.randn(T, N, I).to(dtype), torch.randn(T, N, 2 * H).to(dtype)
    results = []
    for layer, device, kind in ((exact, "cpu", torch.float64), (module, "cuda", dtype)):
        leaf = x.to(device, kind).requires_grad_()
        y, _ = layer(leaf, lengths=lengths.to(device))
        gradients = torch.autograd.grad(y, [leaf, *layer.parameters()], dy.to(device, kind))
        results.append([y, *gradients])
        with torch.no_grad():
            results[-1].append(layer(leaf, lengths=lengths.to(device))[0])
    for expected, result in zip(*results, strict=True):
        scale = float(expected.detach().abs().max())
        check(f"lstm {shape} {dtype}", result.cpu() / scale, expected / scale, TOLERANCE[dtype])


def main() -> None:
    if not (crnn_ext.built_with_cuda and torch.cuda.is_available()):
        raise SystemExit(f"gpu_small: needs a GPU; {crnn_ext.build_info().cuda_problem}")
    torch.manual_seed(0)
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    for dtype, shape in itertools.product(TOLERANCE, CTC_SHAPES):
        for from_logits in (False, True):
            ctc(shape, dtype, from_logits)
        greedy(shape, dtype)
    for dtype, shape in itertools.product(TOLERANCE, LSTM_SHAPES):
        lstm(shape, dtype)
    torch.cuda.synchronize()
    print("all kernels ran")


if __name__ == "__main__":
    main()

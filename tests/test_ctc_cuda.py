"""What the CTC kernels for CUDA have of their own: their paths, labels on the device, launches.

tests/test_ctc.py, test_ctc_behaviour.py and test_ctc_errors.py run on them too. Here everything
runs on the emulator and, where there is a GPU, on it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
import torch
from ctc_cases import HAS_GPU, Device, assert_close, batch, expected
from emulator import build
from emulator.harness import emulated
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

import crnn_ext
from crnn_ext import ctc_loss

T, N, C = 9, 5, 7


@pytest.fixture(params=["emulated", "cuda"] if HAS_GPU else ["emulated"])
def device(request: pytest.FixtureRequest) -> Iterator[Device]:
    if request.param == "cuda":
        yield Device(None)
        return
    with emulated(device_labels=True) as emulation:
        yield Device(emulation)


# ---- every path --------------------------------------------------------------------------------

# T, N, C, S: warps with one pair of states per lane, two (several warps), four; tables in shared
# memory and in scratch; rows by a warp and by a block.
PATHS = {
    "one warp": (40, 3, 7, 31),
    "two warps": (70, 2, 5, 32),
    "eight warps": (300, 1, 5, 255),
    "many warps": (560, 1, 4, 511),
    "four pairs": (570, 1, 4, 512),
    "short rows": (7, 3, 1023, 3),
    "long rows": (6, 3, 1024, 3),
    "longer rows": (5, 2, 2051, 4),
}
TOLERANCES = {torch.float32: 2e-6, torch.float64: 1e-11}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("path", PATHS)
def test_paths(device: Device, path: str, dtype: torch.dtype) -> None:
    x, *labels = batch(*PATHS[path])
    x = x.to(dtype)
    result = device.ours(x, *labels, reduction="none", from_logits=True)
    assert_close(result, expected(x, *labels), TOLERANCES[dtype])
    if dtype == torch.float32:
        loss = ctc_loss(x.to(device.name), *(t.to(device.name) for t in labels), reduction="none",
                        from_logits=True)  # fmt: skip
        assert torch.equal(loss.cpu(), result[0])  # without a gradient: the same bits


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("path", ["one warp", "two warps", "long rows"])
def test_half_precision(device: Device, path: str, dtype: torch.dtype) -> None:
    x, *labels = batch(*PATHS[path])
    x = x.to(dtype)
    loss, dx = device.ours(x, *labels, reduction="none", from_logits=True)
    single, single_dx = device.ours(x.float(), *labels, reduction="none", from_logits=True)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, single, rtol=0, atol=0)
    torch.testing.assert_close(dx, single_dx.to(dtype), rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("integers", [torch.int32, torch.int64])
@pytest.mark.parametrize("flat", [False, True])
def test_forms_of_labels(device: Device, integers: torch.dtype, flat: bool) -> None:
    x, targets, il, tl = batch(T, N, C, 4)
    exact = expected(x, targets, il, tl)
    if flat:
        targets = torch.cat([row[:n] for row, n in zip(targets, tl, strict=True)])
    labels = [t.to(integers) for t in (targets, il, tl)]
    assert_close(device.ours(x, *labels, reduction="none", from_logits=True), exact, 1e-11)
    for reduction, weights in (
        ("sum", torch.ones(N).double()),
        ("mean", 1 / tl.clamp(min=1).double() / N),
    ):
        loss, _ = device.ours(x, *labels, reduction=reduction, from_logits=True)
        assert math.isclose(loss.item(), float((torch.tensor(exact[0]) * weights).sum()))


def test_the_schedule_does_not_matter() -> None:
    x, *labels = batch(30, 3, 11, 40)
    results = []
    for seed in (0, 100, 200):
        with emulated(seed=seed, device_labels=True) as emulation:
            results.append(Device(emulation).ours(x.float(), *labels, from_logits=True))
    for result in results[1:]:
        torch.testing.assert_close(result, results[0], rtol=0, atol=0, equal_nan=True)


def test_the_batch_and_the_layout_do_not_matter(device: Device) -> None:
    x, targets, il, tl = batch(20, 4, 9, 6)
    x = x.float()
    options = {"reduction": "none", "from_logits": True}
    loss, dx = device.ours(x, targets, il, tl, **options)
    for n in range(4):
        alone, alone_dx = device.ours(
            x[:, n : n + 1],
            targets[n : n + 1, : int(tl[n])],
            il[n : n + 1],
            tl[n : n + 1],
            **options,
        )
        assert torch.equal(alone[0], loss[n])
        torch.testing.assert_close(alone_dx[:, 0], dx[:, n], rtol=0, atol=0, equal_nan=True)


# ---- launches ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("classes", "from_logits", "reduction", "forward"),
    [
        (7, True, "mean", 2),
        (7, True, "none", 1),
        (2000, True, "sum", 3),
        (2000, False, "sum", 2),
    ],
)
def test_number_of_launches(classes: int, from_logits: bool, reduction: str, forward: int) -> None:
    x, *labels = batch(3, 2, classes, 2)
    with emulated(device_labels=True) as emulation:
        Device(emulation).ours(x, *labels, reduction=reduction, from_logits=from_logits)
    assert emulation.launches[0] == forward
    assert emulation.launches[1:] == [1]


def test_launches_that_do_not_fit_are_refused() -> None:
    kernels = build.module()
    numbers = [2**16, 2**16, 1, 1, 0, 0, -1, 1, 0, 0, 0, 8, 8, 8, 0, 0, 0, 0, 0, 0]
    with pytest.raises(ValueError, match="ctc_loss") as caught:
        kernels.ctc_cuda_forward([0] * 7, numbers, 0)
    assert str(caught.value) == (f"ctc_loss: log_probs must have fewer than 2^31 rows, got {2**32}")
    numbers[:4] = 1, 1, 1, 2**30
    with pytest.raises(ValueError, match="ctc_loss") as caught:
        kernels.ctc_cuda_forward([0] * 7, numbers, 0)
    assert str(caught.value) == (f"ctc_loss: targets must have at most 2^29 elements, got {2**30}")


# ---- lengths and labels that only the device can see -------------------------------------------

BAD = {
    "input length above T": (1, T + 1, 0),
    "negative input length": (1, -1, 0),
    "huge input length": (1, 2**62, 0),
    "target length above S": (2, 5, 0),
    "negative target length": (2, -3, 0),
    "huge target length": (2, 2**62, 0),
    "label too large": (0, C, 0),
    "negative label": (0, -1, 0),
    "huge label": (0, 2**62, 0),
}


@pytest.mark.parametrize("zero_infinity", [False, True])
@pytest.mark.parametrize("name", BAD)
def test_bad_values_on_the_device(device: Device, name: str, zero_infinity: bool) -> None:
    """Its sample gets NaN, in the frames of its input length; nothing else changes."""
    which, value, _ = BAD[name]
    x, targets, il, tl = batch(T, N, C, 4)
    il[1], tl[1] = 6, 3
    options = {"reduction": "none", "zero_infinity": zero_infinity, "from_logits": True}
    loss, dx = device.ours(x, targets, il, tl, **options)
    labels = [targets.clone(), il.clone(), tl.clone()]
    labels[which][1] = value
    bad, bad_dx = device.ours(x, *labels, **options)
    assert bad[1].isnan()
    frames = T if which == 1 else 6
    assert bad_dx[:frames, 1].isnan().all()
    assert bad_dx[frames:, 1].eq(0).all()
    others = [0, 2, 3, 4]
    torch.testing.assert_close(bad[others], loss[others], rtol=0, atol=0, equal_nan=True)
    torch.testing.assert_close(bad_dx[:, others], dx[:, others], rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("value", [-1, 1, 2**62])
def test_bad_lengths_of_concatenated_targets(device: Device, value: int) -> None:
    """No label has a place then: every sample gets NaN."""
    x, _, il, _ = batch(T, N, C, 4)
    tl = torch.tensor([2, 0, 3, 1, 4])
    targets = torch.arange(10) % C
    loss, dx = device.ours(x, targets, il, tl, reduction="none", from_logits=True)
    assert not loss.isnan().any()
    tl[2] = value
    loss, dx = device.ours(x, targets, il, tl, reduction="none", from_logits=True)
    assert loss.isnan().all()
    for n in range(N):
        assert dx[: il[n], n].isnan().all()
        assert dx[il[n] :, n].eq(0).all()


def test_labels_beyond_the_longest(device: Device) -> None:
    """More than 1023 symbols: an error where the host sees it; on the device NaN, or inf without
    a path."""
    x = torch.zeros(1100, 2, 3)
    targets = torch.ones(2, 1030, dtype=torch.int64)
    targets[:, ::2] = 2
    il, tl = torch.tensor([1100, 500]), torch.tensor([1030, 1030])
    loss, dx = device.ours(x, targets, il, tl, reduction="none")
    assert loss[0].isnan()
    assert loss[1].item() == math.inf
    assert dx[:, 0].isnan().all()
    if device.emulation is not None:
        device.emulation.device_labels = False
    with pytest.raises(ValueError, match="ctc_loss") as caught:
        ctc_loss(x.to(device.name), targets, il, tl)
    assert str(caught.value) == "ctc_loss: target_lengths must be at most 1023 on CUDA, got 1030"


# ---- inside torch ------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_opcheck(dtype: torch.dtype) -> None:
    x, *labels = batch(6, 3, 7, 3)
    leaf = x.to(dtype).requires_grad_()
    args = (leaf, *labels, 0, 2, True, True, True)
    with emulated(device_labels=True):
        torch.library.opcheck(torch.ops.crnn_ext.ctc_loss.default, args)
        loss, saved = (t.detach() for t in torch.ops.crnn_ext.ctc_loss(*args))
        torch.library.opcheck(
            torch.ops.crnn_ext.ctc_loss_backward.default,
            (torch.ones_like(loss), leaf.detach(), *labels, saved, *args[4:8]),
        )


def test_compiles_without_graph_breaks(device: Device) -> None:
    torch._dynamo.reset()
    x, *labels = batch(6, 3, 7, 3)
    labels = [t.to(device.name) for t in labels]

    def train(x: Tensor, *labels: Tensor) -> Tensor:
        return ctc_loss(2 * x, *labels, from_logits=True, zero_infinity=True)

    compiled = torch.compile(train, fullgraph=True, backend="aot_eager")
    leaves = [x.float().to(device.name).requires_grad_() for _ in range(2)]
    losses = [f(leaf, *labels) for f, leaf in zip((train, compiled), leaves, strict=True)]
    torch.testing.assert_close(losses[1], losses[0], rtol=0, atol=0)
    gradients = [torch.autograd.grad(*pair)[0] for pair in zip(losses, leaves, strict=True)]
    torch.testing.assert_close(gradients[1], gradients[0], rtol=0, atol=0)


@pytest.mark.skipif(not crnn_ext.built_with_cuda, reason="built without CUDA")
@pytest.mark.parametrize("reduction", ["none", "mean"])
def test_shapes_without_a_gpu(reduction: str) -> None:
    """What torch.compile and torch.export see of CUDA tensors."""
    with FakeTensorMode():
        x = torch.empty(6, 3, 7, device="cuda", dtype=torch.float16)
        targets = torch.empty(3, 4, device="cuda", dtype=torch.int32)
        lengths = torch.empty(3, device="cuda", dtype=torch.int32)
        loss = ctc_loss(x, targets, lengths, lengths, reduction=reduction)
        dx = torch.ops.crnn_ext.ctc_loss_backward(
            loss, x, targets, lengths, lengths, loss, 0, 2, True, True
        )
    assert (loss.shape, loss.dtype) == ((3,) if reduction == "none" else (), torch.float32)
    assert (dx.shape, dx.dtype, dx.device) == (x.shape, x.dtype, x.device)


# ---- what only a GPU shows ---------------------------------------------------------------------

on_a_gpu = pytest.mark.skipif(not HAS_GPU, reason="no GPU")


@on_a_gpu
def test_nothing_waits_for_the_gpu() -> None:
    x, *labels = (t.cuda() for t in batch(20, 8, 37, 6))
    leaf = x.float().requires_grad_()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for reduction in ("none", "mean"):
            ctc_loss(leaf, *labels, reduction=reduction, from_logits=True).sum().backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")


@on_a_gpu
def test_a_graph_computes_new_inputs() -> None:
    x, *labels = (t.cuda() for t in batch(20, 8, 1031, 6))
    leaf = x.float().requires_grad_()

    def step() -> tuple[Tensor, Tensor]:
        loss = ctc_loss(leaf, *labels, from_logits=True, zero_infinity=True)
        return loss, torch.autograd.grad(loss, leaf)[0]

    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = step()
    with torch.no_grad():
        leaf.copy_(torch.randn_like(leaf))
        labels[1].copy_(labels[1].flip(0))
    graph.replay()
    for result, exact in zip(captured, step(), strict=True):
        torch.testing.assert_close(result, exact, rtol=0, atol=0)


@on_a_gpu
def test_the_current_stream_is_used() -> None:
    x, *labels = (t.cuda() for t in batch(20, 8, 37, 6))
    expected_loss = ctc_loss(x, *labels, from_logits=True)
    torch.cuda.synchronize()
    late = torch.zeros_like(x)
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        torch.cuda._sleep(50_000_000)
        late.copy_(x)
        loss = ctc_loss(late, *labels, from_logits=True)
    stream.synchronize()
    assert torch.equal(loss, expected_loss)


@on_a_gpu
def test_out_of_memory_is_torchs_error_and_the_process_goes_on() -> None:
    x, *labels = (t.cuda() for t in batch(20, 8, 37, 6))
    before = ctc_loss(x, *labels, from_logits=True)
    # No memory for the posteriors of 2^20 targets in 2^20 frames.
    targets = torch.ones(1, 2**20, dtype=torch.int32, device="cuda")
    frames = torch.zeros(1, 1, 2, device="cuda", requires_grad=True).expand(2**20, 1, 2)
    lengths = torch.ones(1, dtype=torch.int32, device="cuda")
    with pytest.raises(torch.OutOfMemoryError):
        ctc_loss(frames, targets, lengths, lengths)
    assert torch.equal(ctc_loss(x, *labels, from_logits=True), before)

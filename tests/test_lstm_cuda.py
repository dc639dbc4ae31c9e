"""The CUDA kernels of the LSTM against the NumPy reference: in the emulator, and on a GPU."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import nullcontext

import pytest
import torch
from conftest import KERNELS
from emulator import build
from emulator.harness import emulated
from lstm_cases import PRECISIONS, Case, check
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

import crnn_ext
from crnn_ext import _lstm_cuda
from crnn_ext import lstm as lstm_module

# T, N, I, H: one, primes, one less and more than a tile (16 samples, 8 or 32 units, 64 factors).
# I is even: torch.mm of 16-bit numbers on CPUs lets NaN reach the next row where I is odd.
PLAIN = [
    (1, 1, 2, 1),
    (5, 1, 2, 16),
    (4, 3, 6, 7),
    (3, 17, 4, 33),
    (2, 16, 4, 65),
]
Devices = Callable[[str, str], torch.device]


@pytest.fixture(params=["emulated", "cuda"])
def on(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Devices]:
    """Sets the kernel and the precision; returns the device that runs them."""
    if request.param == "cuda" and "cuda" not in KERNELS:
        pytest.skip("no GPU")

    def use(kernel: str, precision: str) -> torch.device:
        monkeypatch.setattr(_lstm_cuda, "kernel", kernel)
        monkeypatch.setattr(_lstm_cuda, "_tf32", lambda: precision == "tf32")
        return torch.device("cpu" if request.param == "emulated" else "cuda")

    with emulated() if request.param == "emulated" else nullcontext():
        yield use


def some_lengths(T: int, N: int) -> Tensor:
    """0, 1, T and others in turn."""
    values = (0, T, 1, T - 1, (T + 1) // 2)
    return torch.tensor([values[n % 5] if N > 1 else T - 1 for n in range(N)])


@pytest.mark.parametrize("varied", [False, True])
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize(("T", "N", "I", "H"), PLAIN)
def test_plain(
    on: Devices,
    T: int,
    N: int,
    I: int,  # noqa: E741
    H: int,
    precision: str,
    varied: bool,
) -> None:
    device = on("plain", precision)
    D = 1 + (H + N) % 2
    lengths = some_lengths(T, N) if varied else None
    case = Case(T, N, I, H, D, PRECISIONS[precision][0], bias=H % 2 == 1, lengths=lengths)
    check(case, precision, device)


# kernel, precision, T, N, D, with lengths: every kernel with one frame, one sample, a partial tile
# and a second tile somewhere. A thousand threads take their time in the emulator.
CLUSTER = [
    ("cluster4", "float16", 1, 1, 2, False),
    ("cluster4", "float16", 4, 5, 1, True),
    ("cluster4", "bfloat16", 2, 19, 1, True),
    ("cluster8", "float16", 3, 3, 2, False),
    ("auto", "bfloat16", 1, 17, 1, False),
    ("cluster8", "bfloat16", 4, 5, 1, True),
    ("cluster8", "tf32", 1, 1, 1, False),
    ("cluster8", "tf32", 3, 9, 1, True),
]


@pytest.mark.parametrize(("kernel", "precision", "T", "N", "D", "varied"), CLUSTER)
def test_cluster(
    on: Devices, kernel: str, precision: str, T: int, N: int, D: int, varied: bool
) -> None:
    device = on(kernel, precision)
    lengths = some_lengths(T, N) if varied else None
    case = Case(T, N, 4, 256, D, PRECISIONS[precision][0], bias=N % 2 == 1, lengths=lengths)
    check(case, precision, device)


@pytest.mark.parametrize(("kernel", "H"), [("plain", 33), ("cluster4", 256)])
def test_schedules_do_not_show(monkeypatch: pytest.MonkeyPatch, kernel: str, H: int) -> None:
    monkeypatch.setattr(_lstm_cuda, "kernel", kernel)
    case = Case(3, 3, 4, H, 1, torch.float16, True, None)
    results = []
    for seed in (1, 2):
        with emulated(seed=seed):
            results.append(case.run(torch.device("cpu")))
    for a, b in zip(*results, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("kernel", ["plain"])
def test_lengths_beyond_the_frames_count_as_the_nearer_bound(on: Devices, kernel: str) -> None:
    device = on(kernel, "float32")
    results = []
    for given in ([4, 0, 2], [9, -3, 2]):
        case = Case(4, 3, 2, 5, 2, torch.float32, True, torch.tensor([4, 0, 2]))
        case.lengths = torch.tensor(given)
        results.append(case.run(device))
    for a, b in zip(*results, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize(("T", "N"), [(0, 3), (4, 0)])
def test_nothing_to_do(on: Devices, T: int, N: int) -> None:
    device = on("auto", "float32")
    case = Case(T, N, 2, 5, 2, torch.float32, True, None)
    y, h_n, c_n, dx, dh0, dc0, *dweights = case.run(device)
    assert torch.equal(h_n, case.inputs[1])
    assert torch.equal(c_n, case.inputs[2])
    assert torch.equal(dh0, case.grads[1])
    assert torch.equal(dc0, case.grads[2])
    assert (y.shape, dx.shape) == ((T, N, 10), (T, N, 2))
    assert all(not w.any() for w in dweights)


def test_tensors_at_odd_addresses(on: Devices) -> None:
    device = on("plain", "float16")
    case = Case(3, 2, 2, 4, 2, torch.float16, True, None)
    plain = case.run(device)
    move = lambda t: torch.cat([t.new_zeros(1), t.flatten()])[1:].view(t.shape)
    case.inputs, case.weights = [move(t) for t in case.inputs], [move(t) for t in case.weights]
    assert all(t.data_ptr() % 16 != 0 for t in (*case.inputs, *case.weights))
    for a, b in zip(plain, case.run(device), strict=True):
        assert torch.equal(a, b)


# ---- the module ---------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
@pytest.mark.parametrize("batch_first", [False, True])
def test_module(dtype: torch.dtype, batch_first: bool) -> None:
    """Two layers, both directions, no hx, lengths where the host must not look at them."""
    torch.manual_seed(0)
    options = {"num_layers": 2, "bidirectional": True, "batch_first": batch_first}
    module = crnn_ext.LSTM(6, 5, dtype=dtype, **options)
    exact = crnn_ext.LSTM(6, 5, dtype=torch.float64, **options)
    exact.load_state_dict(module.state_dict())
    x = torch.randn(4, 3, 6).to(dtype)
    lengths = torch.tensor([[4, 0, 2, 1], [4, 0, 2]][1 - batch_first])
    lengths = lengths.clamp(max=x.shape[1] if batch_first else x.shape[0])
    results = []
    for function, value in ((module, x), (exact, x.double())):
        value.requires_grad_()
        with emulated(device_labels=True) if function is module else nullcontext():
            y, (h, c) = function(value, lengths=lengths.int())
            assert y.dtype == h.dtype == c.dtype == value.dtype
            leaves = [value, *function.parameters()]
            grads = torch.autograd.grad(y.square().sum() + (h * c).sum(), leaves)
        results.append([y, h, c, *grads])
    tolerance = {torch.float16: 1e-2, torch.float64: 1e-12}[dtype]
    for a, b in zip(*results, strict=True):
        assert (a - b).abs().max() <= tolerance * b.abs().max().clamp(min=0.1)


# ---- which kernel runs --------------------------------------------------------------------------

# capability and multiprocessors, N, D, H, precision -> kernel
CHOICES = [
    ((9, 0, 132), 1, 2, 256, "bfloat16", "cluster8"),
    ((9, 0, 132), 128, 2, 256, "float16", "cluster8"),  # 16 clusters
    ((9, 0, 132), 129, 2, 256, "float16", "cluster4"),
    ((9, 0, 114), 128, 2, 256, "float16", "cluster4"),
    ((9, 0, 132), 512, 2, 256, "tf32", "cluster8"),
    ((9, 0, 132), 64, 2, 256, "float32", "plain"),
    ((9, 0, 132), 64, 2, 256, "float64", "plain"),
    ((9, 0, 132), 64, 2, 255, "bfloat16", "plain"),
    ((8, 0, 108), 64, 2, 256, "bfloat16", "plain"),
    ((10, 0, 148), 64, 2, 256, "bfloat16", "cluster8"),
]


def choose(H: int, N: int, D: int, precision: str, kernel: str = "auto") -> str:
    numbers = [26, N, 512, H, D, _lstm_cuda.PRECISIONS.index(precision)]
    chosen = build.module().lstm_cuda_kernel([*numbers, _lstm_cuda.KERNELS.index(kernel), 0])
    return _lstm_cuda.KERNELS[chosen]


@pytest.fixture
def device() -> Iterator[Callable[[int, int, int], None]]:
    """Sets capability and multiprocessors of the emulated device."""
    emulated = build.module()
    yield lambda major, minor, count: emulated.set_device(major, minor, count, 232448)
    emulated.set_device(9, 0, 132, 232448)


@pytest.mark.parametrize(("of_device", "N", "D", "H", "precision", "kernel"), CHOICES)
def test_choice(
    device: Callable[[int, int, int], None],
    of_device: tuple[int, int, int],
    N: int,
    D: int,
    H: int,
    precision: str,
    kernel: str,
) -> None:
    device(*of_device)
    assert choose(H, N, D, precision) == kernel


def test_kernels_that_do_not_suit(device: Callable[[int, int, int], None]) -> None:
    with pytest.raises(ValueError, match="LSTM: kernel must suit H and the dtype, got 256"):
        choose(256, 64, 2, "tf32", "cluster4")
    device(8, 6, 84)
    with pytest.raises(ValueError, match=r"kernel must be plain before compute capability 9\.0"):
        choose(256, 64, 2, "bfloat16", "cluster8")


# ---- the module's checks, on a GPU that is not there --------------------------------------------


@pytest.fixture
def pretend(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeTensorMode]:
    """Fake CUDA tensors, which have a device and a dtype but no numbers."""

    class Built:
        built_with_cuda = True

    monkeypatch.setattr(lstm_module, "_C", Built)
    monkeypatch.setattr(crnn_ext.LSTM, "reset_parameters", lambda self: None)
    with torch.no_grad():  # autograd would ask the driver which devices there are
        yield FakeTensorMode()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_autocast_decides_the_dtype_but_for_float64(
    pretend: FakeTensorMode, dtype: torch.dtype
) -> None:
    before = torch.get_autocast_dtype("cuda")
    torch.set_autocast_enabled("cuda", True)  # torch.autocast does nothing without a GPU
    torch.set_autocast_dtype("cuda", dtype)
    try:
        with pretend:
            x, exact = torch.empty(3, device="cuda"), torch.empty(3, device="cuda").double()
        assert crnn_ext.LSTM._compute_dtype(x, x) == dtype
        assert crnn_ext.LSTM._compute_dtype(exact, exact) == torch.float64
        assert crnn_ext.LSTM._compute_dtype(torch.empty(3), torch.empty(3)) == torch.float32
    finally:
        torch.set_autocast_enabled("cuda", False)
        torch.set_autocast_dtype("cuda", before)


def test_errors_of_mixed_devices(pretend: FakeTensorMode) -> None:
    with pretend:
        module = crnn_ext.LSTM(6, 5, device="cuda")
        x, state = torch.empty(7, 3, 6, device="cuda"), torch.empty(1, 3, 5)
        with pytest.raises(
            ValueError, match=r"^LSTM: parameters must be on the device of x, cpu, got cuda:0$"
        ):
            module(x.cpu())
        with pytest.raises(
            ValueError, match=r"^LSTM: h_0 must be on the device of x, cuda:0, got cpu$"
        ):
            module(x, (state, state))


def test_without_cuda(pretend: FakeTensorMode, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lstm_module._C, "built_with_cuda", False)
    rule = "LSTM: x must be on the CPU (this crnn_ext was built without CUDA), got cuda:0"
    with pretend, pytest.raises(ValueError, match=f"^{re.escape(rule)}$"):
        crnn_ext.LSTM(6, 5, device="cuda")(torch.empty(7, 3, 6, device="cuda"))

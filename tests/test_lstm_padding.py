"""What is in a batch beside a sample, in its padding, or in the machine must not show."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

import crnn_ext


@pytest.fixture(autouse=True)
def _restore_threads() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def run(
    module: crnn_ext.LSTM, x: Tensor, lengths: list[int] | None = None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """y, h_n, c_n and dx for a fixed gradient of y."""
    x = x.clone().requires_grad_()
    y, (h, c) = module(x, lengths=lengths)
    weights = torch.linspace(-1, 1, y.shape[-1])
    (dx,) = torch.autograd.grad((y * weights).sum() + c.sum(), x)
    return y.detach(), h.detach(), c.detach(), dx


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_a_sample_is_the_same_to_the_bit_alone_and_in_a_batch(threads: int) -> None:
    torch.manual_seed(0)
    module = crnn_ext.LSTM(37, 45, num_layers=2, bidirectional=True)
    lengths = [11, 3, 0, 7, 11, 1, 9, 5, 2, 10, 4, 6, 8]
    x = torch.randn(11, len(lengths), 37)
    torch.set_num_threads(threads)
    y, h, c, dx = run(module, x, lengths)
    torch.set_num_threads(1)
    for n, T in enumerate(lengths):
        y_n, h_n, c_n, dx_n = run(module, x[:T, n : n + 1])
        assert torch.equal(y[:T, n], y_n[:, 0])
        assert torch.equal(h[:, n], h_n[:, 0])
        assert torch.equal(c[:, n], c_n[:, 0])
        # dx is a product by torch, which may round by the number of rows.
        torch.testing.assert_close(dx[:T, n], dx_n[:, 0], rtol=1e-5, atol=1e-6)
        assert not y[T:, n].any()
        assert not dx[T:, n].any()


@pytest.mark.parametrize("varied", [False, True])
def test_frames_projected_in_several_parts(varied: bool) -> None:
    # 192 rows are projected ahead at once: 150 frames of 1 sample are one part, of 5 several.
    torch.manual_seed(4)
    module = crnn_ext.LSTM(7, 20, bidirectional=True)
    lengths = [150, 31, 149, 90, 0] if varied else [150] * 5
    x = torch.randn(150, 5, 7)
    y, h, c, _ = run(module, x, lengths)
    with torch.no_grad():
        assert torch.equal(module(x, lengths=lengths)[0], y)
    for n, T in enumerate(lengths):
        y_n, h_n, c_n, _ = run(module, x[:T, n : n + 1])
        assert torch.equal(y[:T, n], y_n[:, 0])
        assert torch.equal(h[:, n], h_n[:, 0])
        assert torch.equal(c[:, n], c_n[:, 0])


@pytest.mark.parametrize("frames", [1, 8, 16, 17, 26, 33])
@pytest.mark.parametrize(("features", "units"), [(1, 1), (7, 5), (16, 6), (37, 13), (130, 31)])
def test_packing_inputs_or_weights_gives_the_same_bits(
    features: int, units: int, frames: int
) -> None:
    # Up to 192 rows x is packed for the projection, beyond that (or for more threads) w_ih.
    torch.manual_seed(frames)
    module = crnn_ext.LSTM(features, units, bidirectional=True)
    x = torch.randn(frames, 200, features)
    with torch.no_grad():
        torch.set_num_threads(1)
        together, _ = module(x)
        for few in (slice(0, 1), slice(5, 8)):
            assert torch.equal(module(x[:, few])[0], together[:, few])
        torch.set_num_threads(3)
        assert torch.equal(module(x[:, 5:8])[0], together[:, 5:8])


def test_runs_repeat_to_the_bit() -> None:
    torch.manual_seed(1)
    module = crnn_ext.LSTM(64, 64, bidirectional=True)
    x = torch.randn(20, 16, 64)
    torch.set_num_threads(2)
    first = run(module, x)
    for _ in range(3):
        for a, b in zip(first, run(module, x), strict=True):
            assert torch.equal(a, b)


@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_padding_is_never_read(poison: float, dtype: torch.dtype) -> None:
    torch.manual_seed(2)
    module = crnn_ext.LSTM(5, 18, num_layers=2, bidirectional=True, dtype=dtype)
    lengths = [4, 0, 6, 1]
    clean = torch.randn(6, 4, 5, dtype=dtype)
    poisoned = clean.clone()
    dy = torch.randn(6, 4, 36, dtype=dtype)
    for n, T in enumerate(lengths):
        poisoned[T:, n] = poison
        dy[T:, n] = poison
    results = []
    for x, grad in ((clean, torch.nan_to_num(dy, 0.0, 0.0)), (poisoned, dy)):
        x.requires_grad_()
        module.zero_grad()
        y, (h, c) = module(x, lengths=lengths)
        torch.autograd.backward([y, h.sum() + c.sum()], [grad, None])
        results.append([y, h, c, x.grad, *(p.grad.clone() for p in module.parameters())])
    for a, b in zip(*results, strict=True):
        assert torch.equal(a, b)


def test_nan_stays_in_its_sample_and_goes_on_in_time() -> None:
    torch.manual_seed(3)
    module = crnn_ext.LSTM(5, 18)
    x = torch.randn(6, 8, 5)
    exact, _ = module(x)
    x[2, 3, 4] = float("nan")
    y, (h, c) = module(x)
    assert y[2:, 3].isnan().all()
    assert h[0, 3].isnan().all()
    assert c[0, 3].isnan().all()
    y[2:, 3] = exact[2:, 3]
    assert torch.equal(y, exact)


def test_huge_inputs_saturate() -> None:
    module = crnn_ext.LSTM(1, 20)
    exact = torch.nn.LSTM(1, 20, dtype=torch.float64)
    exact.load_state_dict(module.state_dict())
    for scale in (1e2, 1e4, 1e30, float("inf")):
        x = torch.tensor([scale, -scale, scale]).view(3, 1, 1)
        y, (_, c) = module(x)
        y_exact, (_, c_exact) = exact(x.double())
        torch.testing.assert_close(y, y_exact.float(), rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(c, c_exact.float(), rtol=1e-5, atol=1e-6)


def test_activations_are_accurate_near_zero_and_everywhere() -> None:
    # With w_hh = 0, i and o wide open and f shut, h = tanh(tanh(x)) (up to sigmoid(20) = 1 - 2e-9).
    module = crnn_ext.LSTM(1, 1)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
        module.weight_ih_l0[2] = 1
        module.bias_ih_l0.copy_(torch.tensor([20.0, -20.0, 0.0, 20.0]))
        x = torch.cat([torch.logspace(-30, 2, 4000), torch.linspace(0.3, 1.5, 4000)])
        x = torch.cat([x, -x])
        y, _ = module(x.view(1, -1, 1))
    exact = torch.tanh(torch.tanh(x.double()))
    error = ((y.view(-1).double() - exact) / exact).abs()
    assert error.max() < 5e-7


_LEVEL_TEST = """
import torch, crnn_ext
from crnn_ext import _C
assert _C.simd_level() == "{level}"
torch.manual_seed(0)
for H, N in ((1, 1), (7, 2), (20, 5), (67, 13), (128, 7)):
    ours = crnn_ext.LSTM(9, H, num_layers=2, bidirectional=True)
    exact = crnn_ext.LSTM(9, H, num_layers=2, bidirectional=True, dtype=torch.float64)
    exact.load_state_dict(ours.state_dict())
    x = torch.randn(6, N, 9)
    lengths = [(3 * n + 6) % 7 for n in range(N)]
    results = []
    for module, value in ((ours, x), (exact, x.double())):
        value.requires_grad_()
        y, (h, c) = module(value, lengths=lengths)
        (y.square().sum() + (h * c).sum()).backward()
        results.append([y, h, c, value.grad, *(p.grad for p in module.parameters())])
    for a, b in zip(*results):
        assert (a - b).abs().max() <= 3e-6 * max(1e-3, b.abs().max()), (H, N)
    for n in range(N):
        alone = ours(x[: lengths[n], n : n + 1])[0]
        assert torch.equal(alone[:, 0], results[0][0][: lengths[n], n])
"""


@pytest.mark.parametrize("level", ["baseline", "avx2", "avx512"])
def test_every_simd_level(level: str) -> None:
    environment = {**os.environ, "CRNN_SIMD": level}
    command = [sys.executable, "-c", "from crnn_ext import _C; _C.simd_level()"]
    root = Path(__file__).parent.parent
    probe = subprocess.run(command, env=environment, cwd=root, capture_output=True, text=True)
    if probe.returncode != 0:
        assert "CRNN_SIMD must be a level this machine has" in probe.stderr
        pytest.skip(f"this machine has no {level}")
    command[2] = _LEVEL_TEST.format(level=level)
    subprocess.run(command, env=environment, cwd=root, check=True)

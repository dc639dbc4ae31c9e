"""crnn_ext.LSTM on a GPU as a user meets it: beside torch, in graphs, compiled."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import crnn_ext

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
DTYPES = {torch.float64: 1e-10, torch.float32: 3e-3, torch.float16: 1e-2, torch.bfloat16: 6e-2}


def pair(dtype: torch.dtype, H: int) -> tuple[crnn_ext.LSTM, nn.LSTM]:
    torch.manual_seed(0)
    theirs = nn.LSTM(64, H, num_layers=2, bidirectional=True, device="cuda", dtype=dtype)
    ours = crnn_ext.LSTM(64, H, num_layers=2, bidirectional=True, device="cuda", dtype=dtype)
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


def close(a: Tensor, b: Tensor, tolerance: float) -> None:
    assert a.dtype == b.dtype
    assert float((a - b).double().norm() / b.double().norm()) < tolerance


@pytest.mark.parametrize("H", [256, 100])
@pytest.mark.parametrize("dtype", DTYPES)
def test_agrees_with_torch(dtype: torch.dtype, H: int) -> None:
    ours, theirs = pair(dtype, H)
    x = torch.randn(26, 33, 64, device="cuda", dtype=dtype)
    results = []
    for module in (ours, theirs):
        value = x.clone().requires_grad_()
        y, (h, c) = module(value)
        (y.square().sum() + (h * c).sum()).backward()
        results.append([y, h, c, value.grad, *(p.grad for p in module.parameters())])
    for a, b in zip(*results, strict=True):
        close(a, b, DTYPES[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
def test_lengths_are_packed_sequences(dtype: torch.dtype) -> None:
    ours, theirs = pair(dtype, 256)
    lengths = [3, 26, 1, 17, 9]
    x = torch.randn(26, 5, 64, device="cuda", dtype=dtype)
    packed = pack_padded_sequence(x, torch.tensor(lengths), enforce_sorted=False)
    packed_y, (h_torch, c_torch) = theirs(packed)
    y_torch, _ = pad_packed_sequence(packed_y, total_length=26)
    for given in (lengths, torch.tensor(lengths), torch.tensor(lengths, device="cuda").int()):
        y, (h, c) = ours(x, lengths=given)
        for a, b in ((y, y_torch), (h, h_torch), (c, c_torch)):
            close(a, b, DTYPES[dtype])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_autocast_follows_torch(dtype: torch.dtype) -> None:
    ours, theirs = pair(torch.float32, 256)
    x = torch.randn(26, 9, 64, device="cuda")
    results = []
    for module in (ours, theirs):
        with torch.autocast("cuda", dtype):
            y, (h, c) = module(x)
        grads = torch.autograd.grad(y.float().square().sum(), list(module.parameters()))
        results.append([y, h, c, *grads])
    for a, b in zip(*results, strict=True):
        close(a, b, DTYPES[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
def test_nothing_waits_and_a_graph_repeats_it(dtype: torch.dtype) -> None:
    ours, _ = pair(dtype, 256)
    x = torch.randn(26, 33, 64, device="cuda", dtype=dtype, requires_grad=True)
    lengths = torch.randint(0, 27, (33,), device="cuda")

    def step() -> list[Tensor]:
        y, (h, c) = ours(x, lengths=lengths)
        loss = y.square().sum() + (h * c).sum()
        return [y, *torch.autograd.grad(loss, [x, *ours.parameters()])]

    step()
    torch.cuda.set_sync_debug_mode("error")
    try:
        exact = [t.clone() for t in step()]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = step()
    for _ in range(3):
        for t in captured:
            t.detach().fill_(torch.nan)
        graph.replay()
        for a, b in zip(captured, exact, strict=True):
            assert torch.equal(a, b)


def test_compile_fullgraph() -> None:
    ours, _ = pair(torch.bfloat16, 256)
    compiled = torch.compile(ours, backend="aot_eager", fullgraph=True)
    x = torch.randn(26, 5, 64, device="cuda", dtype=torch.bfloat16)
    lengths = torch.tensor([3, 26, 0, 17, 9], device="cuda")
    for function in (ours, compiled):
        ours.zero_grad()
        y, _ = function(x, lengths=lengths)
        y.square().sum().backward()
        result = [y, *(p.grad.clone() for p in ours.parameters())]
        if function is ours:
            exact = result
    for a, b in zip(result, exact, strict=True):
        assert torch.equal(a, b)


def test_opcheck() -> None:
    module = crnn_ext.LSTM(3, 5, bidirectional=True, device="cuda")
    x, state = torch.randn(4, 2, 3, device="cuda"), torch.randn(2, 2, 5, device="cuda")
    for lengths in (None, torch.tensor([4, 1], device="cuda")):
        arguments = (x, state, state, list(module.parameters()), lengths)
        for training in (False, True):
            weights = [p.detach().requires_grad_(training) for p in module.parameters()]
            arguments = (x, state, state, weights, lengths, training)
            torch.library.opcheck(torch.ops.crnn_ext.lstm_layer.default, arguments)


def test_gradcheck() -> None:
    torch.manual_seed(0)
    module = crnn_ext.LSTM(3, 4, bidirectional=True, device="cuda", dtype=torch.float64)
    lengths = torch.tensor([4, 0, 2], device="cuda")

    def run(x: Tensor, *_: Tensor) -> tuple[Tensor, ...]:
        y, (h, c) = module(x, lengths=lengths)
        return y, h, c

    x = torch.randn(4, 3, 3, device="cuda", dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(run, (x, *module.parameters()))


def test_errors() -> None:
    module = crnn_ext.LSTM(4, 6, device="cuda")
    x = torch.zeros(5, 3, 4, device="cuda")
    with pytest.raises(ValueError, match="parameters must be on the device of x, cpu, got cuda:0"):
        module(x.cpu())
    with pytest.raises(ValueError, match="h_0 must be on the device of x, cuda:0, got cpu"):
        module(x, (torch.zeros(1, 3, 6), torch.zeros(1, 3, 6)))
    with pytest.raises(ValueError, match=r"lengths must be in 0\.\.5, got 6"):
        module(x, lengths=[5, 6, 1])
    assert module(x)[0].shape == (5, 3, 6)  # an error leaves nothing behind

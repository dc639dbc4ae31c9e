"""LSTM under torch.compile, torch.export and torch.library's own checks."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import crnn_ext


def sample_arguments(
    D: int, bias: bool, with_lengths: bool, requires_grad: bool
) -> tuple[Tensor, Tensor, Tensor, list[Tensor], Tensor | None]:
    torch.manual_seed(0)
    module = crnn_ext.LSTM(3, 5, bias=bias, bidirectional=D == 2)
    weights = [p.detach().requires_grad_(requires_grad) for p in module.parameters()]
    x, h, c = (
        torch.randn(shape, requires_grad=requires_grad)
        for shape in ((4, 2, 3), (D, 2, 5), (D, 2, 5))
    )
    return x, h, c, weights, torch.tensor([4, 1]) if with_lengths else None


@pytest.mark.parametrize("D", [1, 2])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("with_lengths", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_opcheck(D: int, bias: bool, with_lengths: bool, training: bool) -> None:
    arguments = sample_arguments(D, bias, with_lengths, training)
    torch.library.opcheck(torch.ops.crnn_ext.lstm_layer.default, (*arguments, training))


def test_opcheck_of_the_backward_operator() -> None:
    x, h, c, weights, lengths = sample_arguments(2, True, True, False)
    y, h_n, c_n, gates, cells = torch.ops.crnn_ext.lstm_layer(x, h, c, weights, lengths, True)
    for needs_dx in (False, True):
        torch.library.opcheck(
            torch.ops.crnn_ext.lstm_layer_backward.default,
            (y, h_n, c_n, x, h, c, weights, lengths, y, gates, cells, needs_dx),
        )


@pytest.mark.parametrize("given", ["none", "list", "tensor"])
def test_compile_fullgraph(given: str) -> None:
    torch.manual_seed(1)
    module = crnn_ext.LSTM(6, 10, num_layers=2, bidirectional=True)
    compiled = torch.compile(module, backend="aot_eager", fullgraph=True)
    x = torch.randn(7, 3, 6)
    lengths = {"none": None, "list": [7, 0, 4], "tensor": torch.tensor([7, 0, 4])}[given]
    results = []
    for function in (module, compiled):
        value = x.clone().requires_grad_()
        module.zero_grad()
        y, (h, c) = function(value, lengths=lengths)
        (y.square().sum() + (h * c).sum()).backward()
        results.append([y, h, c, value.grad, *(p.grad.clone() for p in module.parameters())])
    for a, b in zip(*results, strict=True):
        assert torch.equal(a, b)
    with torch.no_grad():
        assert torch.equal(compiled(x, lengths=lengths)[0], module(x, lengths=lengths)[0])


def test_compiled_lengths_are_checked_when_they_run() -> None:
    compiled = torch.compile(crnn_ext.LSTM(6, 10), backend="aot_eager", fullgraph=True)
    with torch.no_grad(), pytest.raises(ValueError, match=r"lengths must be in 0\.\.7, got 8"):
        compiled(torch.randn(7, 3, 6), lengths=torch.tensor([7, 8, 1]))


def test_inference_operator_cannot_be_differentiated() -> None:
    x, h, c, weights, lengths = sample_arguments(1, True, False, True)
    with pytest.raises(ValueError, match="training must be True where gradients are needed"):
        torch.ops.crnn_ext.lstm_layer(x, h, c, weights, lengths, False)


def test_export() -> None:
    torch.manual_seed(2)
    module = crnn_ext.LSTM(6, 10, bidirectional=True).eval()
    x = torch.randn(7, 3, 6)
    program = torch.export.export(module, (x,), {"lengths": torch.tensor([7, 0, 4])})
    other = torch.tensor([1, 7, 2])
    y, _ = program.module()(x, lengths=other)
    assert torch.equal(y, module(x, lengths=other)[0])

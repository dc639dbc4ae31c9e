"""One LSTM layer as an operator: kernels, the matrix products around them, autograd, compile.

Shapes: x [T, N, I]; h0, c0, h_n, c_n [D, N, H]; y [T, N, D*H]; gates [D, T, N, 4H] and
cells [D, T, N, H] are what the backward pass needs. `weights` is flat and in torch's order: w_ih
[4H, I], w_hh [4H, H] and, with bias, b_ih [4H], b_hh [4H], for each direction in turn.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from crnn_ext import _C, _cuda, _lstm_cuda
from crnn_ext._check import fail
from crnn_ext._lstm_cuda import Gradients, Saved


def check_lengths(op: str, lengths: Tensor, T: int) -> None:
    """Check the values of int64 CPU lengths: each in 0..T."""
    if lengths.numel() == 0:
        return
    low, high = int(lengths.min()), int(lengths.max())
    if low < 0 or high > T:
        fail(op, "lengths", f"be in 0..{T}", low if low < 0 else high)


def _on(x: Tensor) -> tuple[Callable[..., Saved], Callable[..., Gradients]]:
    """Forward and backward for the device of x."""
    if _cuda.takes(x):
        return _lstm_cuda.layer_forward, _lstm_cuda.layer_backward
    return layer_forward, layer_backward


def _pointer(tensor: Tensor | None) -> int:
    return 0 if tensor is None else tensor.data_ptr()


def _dims(x: Tensor, h0: Tensor) -> tuple[int, int, int, int, int]:
    return x.shape[0], x.shape[1], x.shape[2], h0.shape[2], h0.shape[0]


def layer_forward(
    x: Tensor,
    h0: Tensor,
    c0: Tensor,
    weights: list[Tensor],
    lengths: Tensor | None,
    training: bool,
) -> Saved:
    """Return y, h_n, c_n, gates, cells; the last two are empty unless training."""
    T, N, I, H, D = _dims(x, h0)  # noqa: E741
    if I > 1 and x.stride(2) != 1:
        x = x.contiguous()
    h0, c0 = h0.contiguous(), c0.contiguous()
    weights = [w.contiguous() for w in weights]
    y, h_n, c_n = x.new_empty(T, N, D * H), torch.empty_like(h0), torch.empty_like(c0)
    # The kernels skip padding; what an operator returns must be defined everywhere.
    new = x.new_zeros if training and lengths is not None else x.new_empty
    gates = new((D, T, N, 4 * H) if training else (0,))
    cells = new((D, T, N, H) if training else (0,))
    run = _C.lstm_forward_f64 if x.dtype == torch.float64 else _C.lstm_forward_f32
    run(
        (T, N, I, H, D),
        x.data_ptr(),
        x.stride(0),
        x.stride(1),
        _pointer(lengths),
        [w.data_ptr() for w in weights],
        h0.data_ptr(),
        c0.data_ptr(),
        y.data_ptr(),
        h_n.data_ptr(),
        c_n.data_ptr(),
        gates.data_ptr() if training else 0,
        cells.data_ptr() if training else 0,
        torch.get_num_threads(),
    )
    return y, h_n, c_n, gates, cells


def _h_before(y: Tensor, h0: Tensor, d: int, lengths: Tensor | None) -> Tensor:
    """h of the step before each frame in direction d, [T*N, H]; undefined where t >= length."""
    T, N, H = y.shape[0], y.shape[1], h0.shape[2]
    before = y.new_empty(T, N, H)
    if d == 0:
        before[0] = h0[0]
        before[1:] = y[:-1, :, :H]
    else:
        before[:-1] = y[1:, :, H:]
        if lengths is None:
            before[-1] = h0[1]
        else:
            n = torch.nonzero(lengths).squeeze(1)
            before[lengths[n] - 1, n] = h0[1][n]
    return before.view(T * N, H)


def layer_backward(
    dy: Tensor,
    dh_n: Tensor,
    dc_n: Tensor,
    x: Tensor,
    h0: Tensor,
    c0: Tensor,
    weights: list[Tensor],
    lengths: Tensor | None,
    y: Tensor,
    gates: Tensor,
    cells: Tensor,
    needs_dx: bool,
) -> Gradients:
    """Return dx (empty unless needed), dh0, dc0, dw_ih [D,4H,I], dw_hh [D,4H,H], db [D,4H]."""
    T, N, I, H, D = _dims(x, h0)  # noqa: E741
    dy, dh_n, dc_n = dy.contiguous(), dh_n.contiguous(), dc_n.contiguous()
    c0, weights = c0.contiguous(), [w.contiguous() for w in weights]
    dgates, dh0, dc0 = torch.empty_like(gates), torch.empty_like(dh_n), torch.empty_like(dc_n)
    run = _C.lstm_backward_f64 if x.dtype == torch.float64 else _C.lstm_backward_f32
    run(
        (T, N, I, H, D),
        _pointer(lengths),
        [w.data_ptr() for w in weights],
        c0.data_ptr(),
        gates.data_ptr(),
        cells.data_ptr(),
        dy.data_ptr(),
        dh_n.data_ptr(),
        dc_n.data_ptr(),
        dgates.data_ptr(),
        dh0.data_ptr(),
        dc0.data_ptr(),
        torch.get_num_threads(),
    )
    w_ih = weights[:: len(weights) // D]
    with torch.autocast("cpu", enabled=False):
        dx, dw_ih, dw_hh, db = _products(dgates, x, h0, w_ih, lengths, y, needs_dx)
    return dx, dh0, dc0, dw_ih, dw_hh, db


def _products(
    dgates: Tensor,
    x: Tensor,
    h0: Tensor,
    w_ih: list[Tensor],
    lengths: Tensor | None,
    y: Tensor,
    needs_dx: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The gradients that are one matrix product over all frames: dx, dw_ih, dw_hh, db."""
    T, N, I, H, D = _dims(x, h0)  # noqa: E741
    if T == 0 or N == 0:
        dx = x.new_zeros(x.shape if needs_dx else (0,))
        return dx, x.new_zeros(D, 4 * H, I), x.new_zeros(D, 4 * H, H), x.new_zeros(D, 4 * H)
    dw_ih, dw_hh = x.new_empty(D, 4 * H, I), x.new_empty(D, 4 * H, H)
    dgates, x = dgates.view(D, T * N, 4 * H), x.reshape(T * N, I)
    before = [_h_before(y, h0, d, lengths) for d in range(D)]
    rows = None
    if lengths is not None:
        # Padding may hold NaN, and 0 * NaN would reach the weights: leave it out altogether.
        rows = torch.nonzero((torch.arange(T).unsqueeze(1) < lengths).view(-1)).squeeze(1)
        dgates, x = dgates[:, rows], x[rows]
        before = [h[rows] for h in before]
    for d in range(D):
        torch.mm(dgates[d].t(), x, out=dw_ih[d])
        torch.mm(dgates[d].t(), before[d], out=dw_hh[d])
    db = dgates.sum(1)
    if not needs_dx:
        return x.new_empty(0), dw_ih, dw_hh, db
    dx = dgates[0] @ w_ih[0]
    for d in range(1, D):
        dx.addmm_(dgates[d], w_ih[d])
    if rows is not None:
        dx = x.new_zeros(T * N, I).index_copy_(0, rows, dx)
    return dx.view(T, N, I), dw_ih, dw_hh, db


def _weight_gradients(count: int, dw_ih: Tensor, dw_hh: Tensor, db: Tensor) -> list[Tensor]:
    """Per-parameter gradients in the order of `weights`; the two biases get a tensor each."""
    D = dw_ih.shape[0]
    result = []
    for d in range(D):
        result += [dw_ih[d], dw_hh[d]]
        if count == 4 * D:
            result += [db[d], db[d].clone()]
    return result


class _DifferentiatedOnce(torch.autograd.Function):
    """Identity on gradients whose own derivative is an error.

    torch's once_differentiable raises only where the incoming gradient itself has one, so that the
    usual gradient penalty (a gradient of ones) would silently lose its own gradient.
    """

    @staticmethod
    def forward(ctx: Any, count: int, *tensors: Tensor) -> tuple[Tensor, ...]:
        return tuple(t.view_as(t) for t in tensors[:count])

    @staticmethod
    def backward(ctx: Any, *_: Tensor) -> None:
        raise RuntimeError("LSTM: the second derivative is not implemented")


class LSTMLayer(torch.autograd.Function):
    """The eager path: the kernels without the dispatcher in between."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, h0: Tensor, c0: Tensor, lengths: Tensor | None, *weights: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        forward, _ = _on(x)
        y, h_n, c_n, gates, cells = forward(x, h0, c0, list(weights), lengths, True)
        ctx.save_for_backward(x, h0, c0, lengths, y, gates, cells, *weights)
        return y, h_n, c_n

    @staticmethod
    def backward(ctx: Any, dy: Tensor, dh_n: Tensor, dc_n: Tensor) -> tuple[Tensor | None, ...]:
        x, h0, c0, lengths, y, gates, cells, *weights = ctx.saved_tensors
        needs_dx = ctx.needs_input_grad[0]
        with torch.no_grad():
            _, backward = _on(x)
            dx, dh0, dc0, dw_ih, dw_hh, db = backward(
                dy, dh_n, dc_n, x, h0, c0, weights, lengths, y, gates, cells, needs_dx
            )
            result = [dx, dh0, dc0, *_weight_gradients(len(weights), dw_ih, dw_hh, db)]
        if torch.is_grad_enabled():
            once: Callable[..., tuple[Tensor, ...]] = _DifferentiatedOnce.apply
            result = list(once(len(result), *result, dy, dh_n, dc_n, x, h0, c0, *weights))
        return result[0] if needs_dx else None, result[1], result[2], None, *result[3:]


# ---- torch.library: the same functions as operators, for torch.compile and torch.export ----------

torch.library.define(
    "crnn_ext::lstm_layer",
    "(Tensor x, Tensor h0, Tensor c0, Tensor[] weights, Tensor? lengths, bool training)"
    " -> (Tensor, Tensor, Tensor, Tensor, Tensor)",
)
torch.library.define(
    "crnn_ext::lstm_layer_backward",
    "(Tensor dy, Tensor dh_n, Tensor dc_n, Tensor x, Tensor h0, Tensor c0, Tensor[] weights,"
    " Tensor? lengths, Tensor y, Tensor gates, Tensor cells, bool needs_dx)"
    " -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
)


def _op_forward(x: Tensor, *rest: Any) -> Saved:
    lengths = rest[3]
    if lengths is not None:
        check_lengths("LSTM", lengths, x.shape[0])
    return layer_forward(x, *rest)


def _fake_forward(x: Tensor, h0: Tensor, *rest: Any) -> Saved:
    T, N, _, H, D = _dims(x, h0)
    training = rest[-1]
    return (
        x.new_empty(T, N, D * H),
        x.new_empty(D, N, H),
        x.new_empty(D, N, H),
        x.new_empty((D, T, N, 4 * H) if training else (0,)),
        x.new_empty((D, T, N, H) if training else (0,), dtype=_lstm_cuda.state_dtype(x.dtype)),
    )


def _fake_backward(*arguments: Any) -> Gradients:
    x, h0, needs_dx = arguments[3], arguments[4], arguments[-1]
    T, N, I, H, D = _dims(x, h0)  # noqa: E741
    return (
        x.new_empty((T, N, I) if needs_dx else (0,)),
        x.new_empty(D, N, H),
        x.new_empty(D, N, H),
        x.new_empty(D, 4 * H, I),
        x.new_empty(D, 4 * H, H),
        x.new_empty(D, 4 * H),
    )


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Saved) -> None:
    x, h0, c0, weights, lengths, training = inputs
    if not training:
        fail("lstm_layer", "training", "be True where gradients are needed", training)
    y, _, _, gates, cells = output
    ctx.mark_non_differentiable(gates, cells)
    ctx.save_for_backward(x, h0, c0, lengths, y, gates, cells, *weights)


def _op_autograd(ctx: Any, dy: Tensor, dh_n: Tensor, dc_n: Tensor, *_: Tensor) -> tuple[Any, ...]:
    x, h0, c0, lengths, y, gates, cells, *weights = ctx.saved_tensors
    needs_dx = ctx.needs_input_grad[0]
    dx, dh0, dc0, dw_ih, dw_hh, db = torch.ops.crnn_ext.lstm_layer_backward(
        dy, dh_n, dc_n, x, h0, c0, weights, lengths, y, gates, cells, needs_dx
    )
    dweights = _weight_gradients(len(weights), dw_ih, dw_hh, db)
    return dx if needs_dx else None, dh0, dc0, dweights, None, None


torch.library.impl("crnn_ext::lstm_layer", "cpu", _op_forward)
torch.library.impl("crnn_ext::lstm_layer_backward", "cpu", layer_backward)
torch.library.impl("crnn_ext::lstm_layer", "cuda", _lstm_cuda.layer_forward)
torch.library.impl("crnn_ext::lstm_layer_backward", "cuda", _lstm_cuda.layer_backward)
torch.library.register_fake("crnn_ext::lstm_layer", _fake_forward)
torch.library.register_fake("crnn_ext::lstm_layer_backward", _fake_backward)
torch.library.register_autograd("crnn_ext::lstm_layer", _op_autograd, setup_context=_setup_context)


def lstm_layer(
    x: Tensor, h0: Tensor, c0: Tensor, weights: list[Tensor], lengths: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Return y, h_n, c_n by the path that suits the caller: eager, no gradient, or compiled."""
    needs_grad = torch.is_grad_enabled() and any(t.requires_grad for t in (x, h0, c0, *weights))
    if torch.compiler.is_compiling():
        y, h_n, c_n, _, _ = torch.ops.crnn_ext.lstm_layer(x, h0, c0, weights, lengths, needs_grad)
        return y, h_n, c_n
    if needs_grad:
        apply: Callable[..., tuple[Tensor, Tensor, Tensor]] = LSTMLayer.apply
        return apply(x, h0, c0, lengths, *weights)
    forward, _ = _on(x)
    y, h_n, c_n, _, _ = forward(x, h0, c0, weights, lengths, False)
    return y, h_n, c_n

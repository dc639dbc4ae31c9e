"""One LSTM layer on a GPU: matrix products over all frames by torch, the recurrence by our kernels.

Shapes as in `_lstm_op`. Nothing here waits for the device or reads from it, so that a layer can be
captured in a CUDA graph; `lengths` (int64, on the device) are not checked but cut to 0..T.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from crnn_ext import _C

Saved = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]
Gradients = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]

KERNEL = "auto"  # or "plain", "cluster4", "cluster8": csrc/kernels/lstm_cuda.h
ALIGNMENT = 16  # bytes, of every pointer that a kernel gets


def state_dtype(dtype: torch.dtype) -> torch.dtype:
    """The dtype of `cells`."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def _tf32() -> bool:
    """Whether torch lets cuDNN's LSTM use TF32."""
    precision: str | None = getattr(torch.backends.cudnn.rnn, "fp32_precision", None)
    if precision is None:  # before torch 2.9
        return bool(torch.backends.cudnn.allow_tf32)
    return precision == "tf32"


def _precision(dtype: torch.dtype) -> str:
    if dtype == torch.float32 and _tf32():
        return "tf32"
    return str(dtype).removeprefix("torch.")


def _launch(name: str, x: Tensor, *arguments: Any) -> None:
    """Call a function of _C on the device and the current stream of x."""
    run = getattr(_C, name)
    with torch.cuda.device(x.device):
        run(*arguments, torch.cuda.current_stream().cuda_stream)


def _pointer(tensor: Tensor | None) -> int:
    return 0 if tensor is None else tensor.data_ptr()


def _ready(tensor: Tensor) -> Tensor:
    """The tensor as kernels take it: contiguous and aligned."""
    tensor = tensor.contiguous()
    return tensor if tensor.data_ptr() % ALIGNMENT == 0 else tensor.clone()


def _split(weights: list[Tensor], D: int) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """w_ih, w_hh and biases (none, or b_ih, b_hh of each direction) as kernels take them."""
    step = len(weights) // D
    biases = [_ready(b) for d in range(D) for b in weights[d * step + 2 : (d + 1) * step]]
    return weights[::step], [_ready(w) for w in weights[1::step]], biases


def _saved(
    y: Tensor, h_n: Tensor, c_n: Tensor, gates: Tensor, cells: Tensor, training: bool
) -> Saved:
    if training:
        return y, h_n, c_n, gates, cells
    return y, h_n, c_n, gates.new_empty(0), cells.new_empty(0)


def layer_forward(
    x: Tensor,
    h0: Tensor,
    c0: Tensor,
    weights: list[Tensor],
    lengths: Tensor | None,
    training: bool,
) -> Saved:
    """Return y, h_n, c_n, gates, cells; the last two are empty unless training."""
    T, N, I = x.shape  # noqa: E741
    D, _, H = h0.shape
    gates = x.new_empty(D, T, N, 4 * H)
    cells = x.new_empty((D, T, N, H) if training else (D, N, H), dtype=state_dtype(x.dtype))
    if T == 0 or N == 0:
        return _saved(x.new_zeros(T, N, D * H), h0.clone(), c0.clone(), gates, cells, training)
    h0, c0 = _ready(h0), _ready(c0)
    w_ih, w_hh, biases = _split(weights, D)
    rows = x.reshape(T * N, I)
    with torch.autocast(x.device.type, enabled=False):
        for d in range(D):
            torch.mm(rows, w_ih[d].t(), out=gates[d].view(T * N, 4 * H))
    y, h_n, c_n = x.new_empty(T, N, D * H), torch.empty_like(h0), torch.empty_like(c0)
    _launch(
        "lstm_cuda_forward",
        x,
        (T, N, I, H, D),
        _precision(x.dtype),
        KERNEL,
        training,
        _pointer(lengths),
        [w.data_ptr() for w in w_hh],
        [b.data_ptr() for b in biases],
        *(t.data_ptr() for t in (h0, c0, gates, cells, y, h_n, c_n)),
    )
    return _saved(y, h_n, c_n, gates, cells, training)


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
    T, N, I = x.shape  # noqa: E741
    D, _, H = h0.shape
    if T == 0 or N == 0:
        dx = x.new_zeros(x.shape if needs_dx else (0,))
        dw_ih, dw_hh = x.new_zeros(D, 4 * H, I), x.new_zeros(D, 4 * H, H)
        return dx, dh_n.clone(), dc_n.clone(), dw_ih, dw_hh, x.new_zeros(D, 4 * H)
    dy, dh_n, dc_n, c0 = _ready(dy), _ready(dh_n), _ready(dc_n), _ready(c0)
    w_ih, w_hh, _ = _split(weights, D)
    dgates, dh0, dc0 = torch.empty_like(gates), torch.empty_like(dh_n), torch.empty_like(dc_n)
    scratch = cells.new_empty(D, N, H)
    _launch(
        "lstm_cuda_backward",
        x,
        (T, N, I, H, D),
        _precision(x.dtype),
        KERNEL,
        _pointer(lengths),
        [w.data_ptr() for w in w_hh],
        *(t.data_ptr() for t in (c0, gates, cells, dy, dh_n, dc_n, dgates, dh0, dc0, scratch)),
    )
    with torch.autocast(x.device.type, enabled=False):
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
    T, N, I = x.shape  # noqa: E741
    D, _, H = h0.shape
    if lengths is not None:  # padding may hold NaN, and its dgates of 0 would pass it on
        padding = torch.arange(T, device=x.device).unsqueeze(1) >= lengths
        x = x.masked_fill(padding.unsqueeze(2), 0)
    flat, rows = dgates.view(D, T * N, 4 * H), x.reshape(T * N, I)
    dw_ih, dw_hh = x.new_empty(D, 4 * H, I), x.new_empty(D, 4 * H, H)
    for d in range(D):
        torch.mm(flat[d].t(), rows, out=dw_ih[d])
        # h_{t-1} is y of the frame before, in the direction's order; h0 at the first frame. Where
        # direction 1 begins inside the batch's T frames, the frame "before" is padding, y = 0.
        after = dgates[d, 1:] if d == 0 else dgates[d, :-1]
        before = (y[:-1] if d == 0 else y[1:])[:, :, d * H : (d + 1) * H]
        torch.mm(after.view((T - 1) * N, 4 * H).t(), _rows(before), out=dw_hh[d])
        dw_hh[d].addmm_(_first_frames(dgates[d], d, lengths).t(), h0[d])
    db = flat.sum(1)
    if not needs_dx:
        return x.new_empty(0), dw_ih, dw_hh, db
    dx = flat[0] @ w_ih[0]
    for d in range(1, D):
        dx.addmm_(flat[d], w_ih[d])
    return dx.view(T, N, I), dw_ih, dw_hh, db


def _rows(part: Tensor) -> Tensor:
    """[T, N, H], a slice of units of y [.., D*H], as a matrix of T*N rows without a copy."""
    T, N, H = part.shape
    return part.as_strided((T * N, H), (part.stride(1), 1))


def _first_frames(dgates: Tensor, d: int, lengths: Tensor | None) -> Tensor:
    """dgates [T, N, 4H] of the frame that each sample starts with, [N, 4H]; 0 where length is 0."""
    if d == 0:
        return dgates[0]
    if lengths is None:
        return dgates[-1]
    T, N = dgates.shape[:2]
    return dgates[(lengths - 1).clamp(0, T - 1), torch.arange(N, device=dgates.device)]

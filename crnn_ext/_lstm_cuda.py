"""One LSTM layer on a GPU: matrix products over all frames by torch, the recurrence by our kernels.

Shapes as in `_lstm_op`. Nothing here waits for the device or reads from it, so that a layer can be
captured in a CUDA graph; `lengths` (int64, on the device) are not checked but cut to 0..T.
"""

from __future__ import annotations

import torch
from torch import Tensor

from crnn_ext import _cuda

Saved = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]
Gradients = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]

# As in csrc/kernels/lstm_cuda.h.
PRECISIONS = ("float64", "float32", "tf32", "float16", "bfloat16")
KERNELS = ("auto", "plain", "cluster4", "cluster8")
ALIGNMENT = 16  # bytes, of every pointer that a kernel gets

kernel = "auto"  # tests choose another


def state_dtype(dtype: torch.dtype) -> torch.dtype:
    """The dtype of `cells`."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def _tf32() -> bool:
    """Whether torch lets cuDNN's LSTM use TF32."""
    rnn = getattr(torch.backends.cudnn, "rnn", None)
    precision: str | None = getattr(rnn, "fp32_precision", None)
    if precision is None:  # before torch 2.9
        return bool(torch.backends.cudnn.allow_tf32)
    return precision == "tf32"


def _numbers(x: Tensor, h0: Tensor, training: bool) -> list[int]:
    """What a kernel is told besides its tensors."""
    T, N, I = x.shape  # noqa: E741
    name = str(x.dtype).removeprefix("torch.")
    if name == "float32" and _tf32():
        name = "tf32"
    options = [PRECISIONS.index(name), KERNELS.index(kernel), int(training)]
    return [T, N, I, h0.shape[2], h0.shape[0], *options]


def _ready(tensor: Tensor) -> Tensor:
    """The tensor as kernels take it: contiguous and aligned."""
    tensor = tensor.contiguous()
    return tensor if tensor.data_ptr() % ALIGNMENT == 0 else tensor.clone()


def _per_direction(weights: list[Tensor], D: int) -> list[list[Tensor | None]]:
    """w_hh, b_ih and b_hh as kernels take them: of two directions each, None for what is not."""
    step = len(weights) // D
    kinds = [weights[1::step], *(weights[k::step] if step == 4 else [] for k in (2, 3))]
    return [[*map(_ready, kind), *[None] * (2 - len(kind))] for kind in kinds]


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
    w_ih = weights[:: len(weights) // D]
    w_hh, b_ih, b_hh = _per_direction(weights, D)
    rows = x.reshape(T * N, I)
    with torch.autocast(x.device.type, enabled=False):
        for d in range(D):
            torch.mm(rows, w_ih[d].t(), out=gates[d].view(T * N, 4 * H))
    y, h_n, c_n = x.new_empty(T, N, D * H), torch.empty_like(h0), torch.empty_like(c0)
    _cuda.launch(
        "lstm_cuda_forward",
        x.device,
        reads=[lengths, *w_hh, *b_ih, *b_hh, h0, c0],
        writes=[y, h_n, c_n, *([cells] if training else [])],
        scratch=[] if training else [cells],
        updates=[gates],
        numbers=_numbers(x, h0, training),
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
    w_ih = weights[:: len(weights) // D]
    w_hh, _, _ = _per_direction(weights, D)
    dgates, dh0, dc0 = torch.empty_like(gates), torch.empty_like(dh_n), torch.empty_like(dc_n)
    _cuda.launch(
        "lstm_cuda_backward",
        x.device,
        reads=[lengths, *w_hh, c0, gates, cells, dy, dh_n, dc_n],
        writes=[dgates, dh0, dc0],
        scratch=[cells.new_empty(D, N, H)],
        numbers=_numbers(x, h0, True),
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

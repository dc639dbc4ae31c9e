"""The LSTM module: a drop-in for torch.nn.LSTM that also takes the lengths of padded samples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from crnn_ext import _C, _cuda
from crnn_ext._check import fail, fail_type
from crnn_ext._lstm_op import check_lengths, lstm_layer

_DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
_INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


class LSTM(nn.Module):
    r"""Long short-term memory over padded sequences, in one or both directions.

    .. math::
        i_t, f_t, g_t, o_t &= x_t W_{ih}^T + b_{ih} + h_{t-1} W_{hh}^T + b_{hh} \\
        c_t &= \sigma(f_t)\, c_{t-1} + \sigma(i_t) \tanh(g_t) \\
        h_t &= \sigma(o_t) \tanh(c_t)

    Parameters, their names, order of gates, initialisation and `state_dict` are those of
    `torch.nn.LSTM`; either loads what the other saved.

    Args:
        input_size: features I per frame, at least 1.
        hidden_size: units H, at least 1.
        num_layers: layers, each reading the output of the one below, at least 1.
        bias: whether there are `bias_ih` and `bias_hh`.
        batch_first: x and the output are [N, T, .] rather than [T, N, .].
        dropout: probability in 0..1 of zeroing an output between layers, in training mode only.
        bidirectional: add a direction that reads each sequence from its end; D = 2.
        device, dtype: of the parameters; float16, bfloat16, float32 or float64.

    Raises:
        TypeError: a size is no integer.
        ValueError: a size or `dropout` is out of range.

    On a CPU, float32 and float64 are computed as such, float16 and bfloat16 in float32 and returned
    in their own dtype. Under autocast x is converted to the dtype of the parameters, which is also
    that of the result: rounding would add up over the frames of the recurrence. The result for a
    sample is the same to the bit alone, in any batch, and for any number of threads
    (`torch.get_num_threads()`); CPUs with another SIMD level may round otherwise. So that this
    holds, every shape runs these kernels and none torch's operator, which was not measurably faster
    for any (`python -m benchmarks.lstm`).

    On a GPU (compute capability 8.0 or higher), float16 and bfloat16 are multiplied as such, with
    sums, gates and c in float32; under autocast everything is converted to its dtype, as
    `torch.nn.LSTM` does. float32 products over all frames (x with w_ih, and the gradients of all
    weights) follow `torch.backends.cuda.matmul.allow_tf32`, those of the recurrence
    `torch.backends.cudnn.allow_tf32`, which is on by default; TF32 is used for H = 256 on
    compute capability 9.0 only. Nothing waits for the device, and results repeat to the bit.

    Differentiable once in x, hx and the parameters; differentiating twice raises RuntimeError.
    Works under `torch.compile(fullgraph=True)`.

    Source: Hochreiter and Schmidhuber (1997), with the forget gate of Gers et al. (2000);
    bidirectional and stacked as in Graves et al. (2013). Section 2.2 of the CRNN paper.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        sizes = {"input_size": input_size, "hidden_size": hidden_size, "num_layers": num_layers}
        for name, size in sizes.items():
            if not isinstance(size, int):
                fail_type("LSTM", name, "be an int", size)
            if size < 1:
                fail("LSTM", name, "be at least 1", size)
        if not 0 <= dropout <= 1:
            fail("LSTM", "dropout", "be in 0..1", dropout)
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bias = bias
        self.batch_first = batch_first
        self.dropout = dropout
        self.bidirectional = bidirectional
        self._names: list[list[str]] = []  # per layer, in the order that the operator takes
        D = 2 if bidirectional else 1
        for layer in range(num_layers):
            features = input_size if layer == 0 else D * hidden_size
            shapes: dict[str, tuple[int, ...]] = {
                "weight_ih": (4 * hidden_size, features),
                "weight_hh": (4 * hidden_size, hidden_size),
            }
            if bias:
                shapes |= {"bias_ih": (4 * hidden_size,), "bias_hh": (4 * hidden_size,)}
            self._names.append([])
            for suffix in ("", "_reverse")[:D]:
                for kind, shape in shapes.items():
                    name = f"{kind}_l{layer}{suffix}"
                    data = torch.empty(shape, device=device, dtype=dtype)
                    self.register_parameter(name, nn.Parameter(data))
                    self._names[-1].append(name)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw every parameter uniformly from [-1/sqrt(H), 1/sqrt(H)], as torch.nn.LSTM does."""
        bound = 1 / math.sqrt(self.hidden_size)
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -bound, bound)

    def extra_repr(self) -> str:
        """Arguments shown in the module's representation, those of default value left out."""
        text = f"{self.input_size}, {self.hidden_size}"
        for name, default in (
            ("num_layers", 1),
            ("bias", True),
            ("batch_first", False),
            ("dropout", 0.0),
            ("bidirectional", False),
        ):
            if getattr(self, name) != default:
                text += f", {name}={getattr(self, name)}"
        return text

    def forward(
        self,
        x: Tensor,
        hx: tuple[Tensor, Tensor] | None = None,
        lengths: Tensor | Sequence[int] | None = None,
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Run all layers over x.

        Args:
            x: [T, N, I] ([N, T, I] if batch_first) or one sample [T, I], of the dtype of the
                parameters, any strides. T or N may be 0.
            hx: (h_0, c_0), each [D * num_layers, N, H] ([D * num_layers, H] for one sample);
                zeros if None.
            lengths: frames of each sample, N integers in 0..T in any order; all T if None. What x
                holds beyond them has no influence, NaN included, and gets gradient 0. For x on a
                GPU, a tensor on the same GPU is neither copied nor checked: a value beyond 0..T
                counts as the nearer bound. A tensor on the CPU, a list or a tuple is checked, then
                copied.

        Returns:
            output [T, N, D*H] (laid out as x), zero at and beyond a sample's length; and (h_n,
            c_n), of the shape of hx, the states after each sample's last frame (direction 2: its
            first frame); those of hx where the length is 0.

        Raises:
            ValueError, TypeError: an argument has a wrong shape, dtype, device or value.
        """
        weight: Tensor = getattr(self, self._names[0][0])
        self._check_x(x, weight)
        dtype = self._compute_dtype(x, weight)
        if x.dtype != dtype:
            x = x.to(dtype)
        if x.dim() == 2:
            if lengths is not None:
                fail("LSTM", "lengths", "be None for one sample (x of 2 dimensions)", lengths)
            frames = x.unsqueeze(1)
        else:
            frames = x.transpose(0, 1) if self.batch_first else x
        h_0, c_0 = self._initial_state(hx, frames, x.dim() == 2)
        output, h_n, c_n = self._run(frames, h_0, c_0, _as_lengths(lengths, frames))
        if x.dim() == 2:
            return output.squeeze(1), (h_n.squeeze(1), c_n.squeeze(1))
        return output.transpose(0, 1) if self.batch_first else output, (h_n, c_n)

    def _run(
        self, x: Tensor, h_0: Tensor, c_0: Tensor, lengths: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        dtype = x.dtype
        D = 2 if self.bidirectional else 1
        half = dtype in (torch.float16, torch.bfloat16) and not _cuda.takes(x)
        if half:
            x, h_0, c_0 = x.float(), h_0.float(), c_0.float()
        h_n, c_n = [], []
        for layer, names in enumerate(self._names):
            weights = [getattr(self, name) for name in names]
            if half:
                weights = [w.float() for w in weights]
            elif weights[0].dtype != dtype:  # under autocast
                weights = [w.to(dtype) for w in weights]
            if layer > 0 and self.training and self.dropout > 0:
                x = nn.functional.dropout(x, self.dropout)
            states = slice(layer * D, (layer + 1) * D)
            x, h, c = lstm_layer(x, h_0[states], c_0[states], weights, lengths)
            h_n.append(h)
            c_n.append(c)
        h_all, c_all = (h_n[0], c_n[0]) if len(h_n) == 1 else (torch.cat(h_n), torch.cat(c_n))
        return (x.to(dtype), h_all.to(dtype), c_all.to(dtype)) if half else (x, h_all, c_all)

    def _check_x(self, x: Any, weight: Tensor) -> None:
        if isinstance(x, nn.utils.rnn.PackedSequence):
            fail_type("LSTM", "x", "be a padded tensor, with lengths=", x)
        if not isinstance(x, Tensor):
            fail_type("LSTM", "x", "be a tensor", x)
        if x.device.type not in ("cpu", "cuda"):
            fail("LSTM", "x", "be on the CPU or a CUDA device", x.device)
        if x.is_cuda and not _C.built_with_cuda:
            rule = "be on the CPU (this crnn_ext was built without CUDA)"
            fail("LSTM", "x", rule, x.device)
        if weight.device != x.device:
            fail("LSTM", "parameters", f"be on the device of x, {x.device}", weight.device)
        if x.dim() not in (2, 3):
            fail("LSTM", "x", "have 2 or 3 dimensions", x.dim())
        if x.shape[-1] != self.input_size:
            fail("LSTM", "x", f"have {self.input_size} features in its last dimension", x.shape[-1])
        if x.dtype not in _DTYPES:
            fail("LSTM", "x", "be float32, float64, float16 or bfloat16", x.dtype)
        if x.dtype != weight.dtype and not torch.is_autocast_enabled(x.device.type):
            fail("LSTM", "x", f"have the dtype of the parameters, {weight.dtype}", x.dtype)

    @staticmethod
    def _compute_dtype(x: Tensor, weight: Tensor) -> torch.dtype:
        """The dtype of x and of the result. Autocast leaves float64 alone."""
        if x.is_cuda and torch.is_autocast_enabled("cuda") and weight.dtype != torch.float64:
            return torch.get_autocast_dtype("cuda")
        return weight.dtype

    def _initial_state(
        self, hx: tuple[Tensor, Tensor] | None, frames: Tensor, unbatched: bool
    ) -> tuple[Tensor, Tensor]:
        states = self.num_layers * (2 if self.bidirectional else 1)
        N = frames.shape[1]
        if hx is None:
            zeros = frames.new_zeros(states, N, self.hidden_size)
            return zeros, zeros
        if not isinstance(hx, (tuple, list)) or len(hx) != 2:
            fail_type("LSTM", "hx", "be a pair (h_0, c_0)", hx)
        wanted = (states, self.hidden_size) if unbatched else (states, N, self.hidden_size)
        result = []
        for name, state in zip(("h_0", "c_0"), hx, strict=True):
            if not isinstance(state, Tensor):
                fail_type("LSTM", name, "be a tensor", state)
            if tuple(state.shape) != wanted:
                fail("LSTM", name, f"have shape {wanted}", tuple(state.shape))
            if state.device != frames.device:
                fail("LSTM", name, f"be on the device of x, {frames.device}", state.device)
            if state.dtype != frames.dtype:
                if not torch.is_autocast_enabled(frames.device.type):
                    fail("LSTM", name, f"have the dtype of x, {frames.dtype}", state.dtype)
                state = state.to(frames.dtype)
            result.append(state.unsqueeze(1) if unbatched else state)
        return result[0], result[1]


def _as_lengths(lengths: Tensor | Sequence[int] | None, frames: Tensor) -> Tensor | None:
    """Check lengths against frames [T, N, I] and return them as int64; None if all are T."""
    if lengths is None:
        return None
    T, N = frames.shape[0], frames.shape[1]
    if isinstance(lengths, Tensor):
        if lengths.dtype not in _INTEGERS:
            fail("LSTM", "lengths", "be integers", lengths.dtype)
        if lengths.device != frames.device and lengths.device.type != "cpu":
            fail("LSTM", "lengths", "be on the CPU or the device of x", lengths.device)
        result = lengths.detach().to(torch.int64).contiguous()
    elif isinstance(lengths, (list, tuple)):
        for length in lengths:
            if isinstance(length, bool) or not isinstance(length, int):
                fail_type("LSTM", "lengths", "be integers", length)
        result = torch.tensor(lengths, dtype=torch.int64)
    else:
        fail_type("LSTM", "lengths", "be a tensor, list or tuple of integers", lengths)
    if tuple(result.shape) != (N,):
        fail("LSTM", "lengths", f"have one entry per sample, shape ({N},)", tuple(result.shape))
    if not _cuda.on_host(result):
        return result  # to look at the values would wait for the device
    if torch.compiler.is_compiling():
        return result.to(frames.device)  # the operator checks the values when it runs
    check_lengths("LSTM", result, T)
    return None if N == 0 or int(result.min()) == T else result.to(frames.device)

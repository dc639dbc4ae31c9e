"""Connectionist Temporal Classification loss (Graves et al., 2006)."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from crnn_ext import _C
from crnn_ext._check import check_cpu, fail, fail_dtype, fail_type

OP = "ctc_loss"
REDUCTIONS = {"none": 0, "sum": 1, "mean": 2}
FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
INTEGERS = {
    getattr(torch, name)
    for name in ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
}

Lengths = Tensor | Sequence[int] | int


class Options(NamedTuple):
    """The arguments that are not tensors, in the order of the registered op."""

    blank: int
    reduction: int
    zero_infinity: bool
    from_logits: bool


class Forward(NamedTuple):
    """Outputs of the forward kernel; csrc/kernels/ctc.h describes the saved ones."""

    loss: Tensor  # [N] or []
    losses: Tensor  # [N], before zero_infinity and the reduction
    statistics: Tensor  # [2, T, N] from logits, else empty
    posteriors: Tensor  # [T * (targets.numel() + N)] if a gradient is wanted, else empty


def ctc_loss(
    log_probs: Tensor,
    targets: Tensor,
    input_lengths: Lengths,
    target_lengths: Lengths,
    blank: int = 0,
    reduction: str = "mean",
    zero_infinity: bool = False,
    *,
    from_logits: bool = False,
) -> Tensor:
    """Negative log-probability of each label, summed over all paths that collapse to it.

    ``loss_n = -ln sum_{path: B(path) = targets_n} prod_t p_t(path_t)``, equation 1 of the CRNN
    paper. A drop-in for ``torch.nn.functional.ctc_loss``.

    Args:
        log_probs: [T, N, C] or unbatched [T, C]; float16, bfloat16, float32 or float64; any
            strides ([N, T, C].transpose(0, 1) is not copied). Log-probabilities, or with
            `from_logits` any real scores, of which the log-softmax is taken here.
        targets: [N, S] padded (padding may hold anything), or 1-D: all labels one after the other
            (unbatched: [L]). Any integer dtype; each class in 0..C-1. A class may equal `blank`.
        input_lengths: frames of each sample, 0..T. Tensor, tuple or list of N integers (unbatched:
            one integer or a tensor without dimensions). Frames beyond it are never read.
        target_lengths: symbols of each label, at least 0; same forms.
        blank: class of the blank, 0..C-1.
        reduction: "none", "sum", or "mean": each loss divided by max(target_length, 1), then the
            mean over N.
        zero_infinity: a loss of +inf (a label that has no path) counts as 0 with gradient 0. It
            stays in the denominator of the mean.
        from_logits: take the log-softmax over C inside; faster and more accurate than outside.

    Returns:
        [N] for "none", else a scalar (unbatched: always a scalar); float32 for half-precision
        input, else the dtype of `log_probs`. A label that has no path in its frames has loss +inf.
        A NaN in a frame that is read, or +inf, gives NaN. Log-probabilities of -inf are impossible
        classes, and so is every class of a label more than 2**21 below the best one of the label
        (or the blank) in its frame. An empty batch has loss [], 0 ("sum") or NaN ("mean").

    Raises:
        ValueError: shapes, lengths, labels, `blank` or `reduction` out of range.
        TypeError: a dtype or type not named above.
        NotImplementedError: tensors on a GPU.

    Differentiable once with respect to `log_probs`. As in torch, the gradient is the one with
    respect to logits, ``softmax - posterior``, also where `log_probs` are log-probabilities: it
    sums to 0 over C, and log_softmax before it passes it on unchanged. Frames beyond the input
    length have gradient 0; a sample whose loss is inf or NaN has gradient NaN in its frames (0 with
    `zero_infinity` for inf). float16 and bfloat16 are computed in float32. The result has the same
    bits for every number of threads and whatever else is in the batch.

    Source: Graves, Fernández, Gomez, Schmidhuber, "Connectionist Temporal Classification", ICML
    2006.
    """
    options = _check_options(log_probs, blank, reduction, zero_infinity, from_logits)
    batched = log_probs.dim() == 3
    x = log_probs if batched else log_probs.unsqueeze(1)
    N = x.shape[1]
    input_lengths = _lengths("input_lengths", input_lengths, N, batched)
    target_lengths = _lengths("target_lengths", target_lengths, N, batched)
    targets = _check_targets(targets, x, batched)

    wants_gradient = torch.is_grad_enabled() and x.requires_grad
    if torch.compiler.is_compiling() or type(log_probs) not in (Tensor, torch.nn.Parameter):
        loss: Tensor = torch.ops.crnn_ext.ctc_loss(
            x, targets, input_lengths, target_lengths, *options, wants_gradient
        )[0]
    elif wants_gradient:
        loss = _CtcLoss.apply(x, targets, input_lengths, target_lengths, options)
    else:
        loss = _forward(x, targets, input_lengths, target_lengths, options, False).loss
    return loss if batched else loss.reshape(())


class CTCLoss(torch.nn.Module):
    """Module form of `ctc_loss`; a drop-in for ``torch.nn.CTCLoss``.

    Args:
        blank, reduction, zero_infinity, from_logits: as in `ctc_loss`.
    """

    def __init__(
        self,
        blank: int = 0,
        reduction: str = "mean",
        zero_infinity: bool = False,
        *,
        from_logits: bool = False,
    ) -> None:
        super().__init__()
        self.blank = blank
        self.reduction = reduction
        self.zero_infinity = zero_infinity
        self.from_logits = from_logits

    def forward(
        self, log_probs: Tensor, targets: Tensor, input_lengths: Lengths, target_lengths: Lengths
    ) -> Tensor:
        """Return `ctc_loss` of the arguments."""
        return ctc_loss(
            log_probs,
            targets,
            input_lengths,
            target_lengths,
            self.blank,
            self.reduction,
            self.zero_infinity,
            from_logits=self.from_logits,
        )

    def extra_repr(self) -> str:
        """Arguments shown in the module's representation."""
        return (
            f"blank={self.blank}, reduction={self.reduction!r}, "
            f"zero_infinity={self.zero_infinity}, from_logits={self.from_logits}"
        )


# ---- checks -------------------------------------------------------------------------------------


def _check_options(
    log_probs: Tensor, blank: int, reduction: str, zero_infinity: bool, from_logits: bool
) -> Options:
    if not isinstance(log_probs, Tensor):
        fail_type(OP, "log_probs", "be a Tensor", log_probs)
    if log_probs.dtype not in FLOATS:
        rule = "be float16, bfloat16, float32 or float64"
        fail_dtype(OP, "log_probs", rule, log_probs.dtype)
    check_cpu(OP, "log_probs", log_probs)
    if log_probs.dim() not in (2, 3):
        fail(OP, "log_probs", "have shape [T, N, C] or [T, C]", list(log_probs.shape))
    C = log_probs.shape[-1]
    try:
        blank = operator.index(blank)
    except TypeError:
        fail_type(OP, "blank", "be an integer", blank)
    if not 0 <= blank < C:
        fail(OP, "blank", f"be in 0..{C - 1} (C of log_probs)" if C else "have a class", blank)
    if reduction not in REDUCTIONS:
        fail(OP, "reduction", "be 'none', 'sum' or 'mean'", repr(reduction))
    return Options(blank, REDUCTIONS[reduction], bool(zero_infinity), bool(from_logits))


def _lengths(name: str, value: Lengths, N: int, batched: bool) -> Tensor:
    """The lengths as a contiguous int64 tensor [N]; their range is checked by the kernel."""
    if isinstance(value, Tensor):
        tensor = value
        check_cpu(OP, name, tensor)
    else:
        values = [value] if isinstance(value, int) and not batched else value
        if not isinstance(values, (list, tuple)):
            fail_type(OP, name, "be a Tensor, tuple or list of integers", value)
        for item in values:
            if not isinstance(item, int):
                fail_type(OP, name, "hold integers", item)
        tensor = torch.tensor(values, dtype=torch.int64)
    if tensor.dtype not in INTEGERS:
        fail_dtype(OP, name, "have an integer dtype", tensor.dtype)
    if not batched and tensor.dim() == 0:
        tensor = tensor.unsqueeze(0)
    if tensor.dim() != 1 or tensor.shape[0] != N:
        fail(OP, name, f"have shape [{N}] (N of log_probs)", list(tensor.shape))
    return tensor.to(torch.int64).contiguous()


def _check_targets(targets: Tensor, x: Tensor, batched: bool) -> Tensor:
    """The targets as a contiguous int64 tensor; their values are checked by the kernel."""
    if not isinstance(targets, Tensor):
        fail_type(OP, "targets", "be a Tensor", targets)
    check_cpu(OP, "targets", targets)
    if targets.dtype not in INTEGERS:
        fail_dtype(OP, "targets", "have an integer dtype", targets.dtype)
    N = x.shape[1]
    if not batched and targets.dim() != 1:
        fail(OP, "targets", "have shape [L] for unbatched log_probs", list(targets.shape))
    if targets.dim() not in (1, 2) or (targets.dim() == 2 and targets.shape[0] != N):
        rule = f"have shape [{N}, S] or [sum(target_lengths)]"
        fail(OP, "targets", rule, list(targets.shape))
    return targets.to(torch.int64).contiguous()


# ---- kernels ------------------------------------------------------------------------------------


def _kernel_input(x: Tensor) -> Tensor:
    """What the kernels read: float32 or float64 with stride 1 over classes."""
    if x.dtype in (torch.float16, torch.bfloat16):
        x = x.to(torch.float32)
    return x if x.stride(2) == 1 else x.contiguous()


def _empty_forward(x: Tensor, targets: Tensor, options: Options, save: bool) -> Forward:
    """Outputs of the forward kernel, not yet written."""
    T, N, _ = x.shape
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    reduced = [N] if options.reduction == REDUCTIONS["none"] else []
    return Forward(
        x.new_empty(reduced, dtype=dtype),
        x.new_empty([N], dtype=dtype),
        x.new_empty([2, T, N] if options.from_logits else [0], dtype=dtype),
        x.new_empty([T * (targets.numel() + N) if save else 0], dtype=dtype),
    )


def _empty_gradient(x: Tensor) -> Tensor:
    """[T, N, C] in the kernels' dtype, samples outermost where they are so in x."""
    T, N, C = x.shape
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    if x.stride(1) > x.stride(0):
        return x.new_empty([N, T, C], dtype=dtype).transpose(0, 1)
    return x.new_empty([T, N, C], dtype=dtype)


def _arguments(
    x: Tensor, targets: Tensor, input_lengths: Tensor, target_lengths: Tensor, options: Options
) -> _C.CtcArguments:
    T, N, C = x.shape
    return _C.CtcArguments(
        x.data_ptr(),
        x.stride(0),
        x.stride(1),
        targets.data_ptr(),
        input_lengths.data_ptr(),
        target_lengths.data_ptr(),
        T,
        N,
        C,
        targets.numel(),
        targets.shape[1] if targets.dim() == 2 else -1,
        options.blank,
        x.dtype == torch.float64,
        options.from_logits,
        options.reduction,
        options.zero_infinity,
    )


def _forward(
    x: Tensor,
    targets: Tensor,
    input_lengths: Tensor,
    target_lengths: Tensor,
    options: Options,
    save: bool,
) -> Forward:
    out = _empty_forward(x, targets, options, save)
    x = _kernel_input(x.detach())
    _C.ctc_forward(
        _arguments(x, targets, input_lengths, target_lengths, options),
        out.losses.data_ptr(),
        out.loss.data_ptr(),
        out.statistics.data_ptr(),
        out.posteriors.data_ptr(),
        torch.get_num_threads(),
    )
    return out


def _backward(
    grad: Tensor,
    x: Tensor,
    targets: Tensor,
    input_lengths: Tensor,
    target_lengths: Tensor,
    losses: Tensor,
    statistics: Tensor,
    posteriors: Tensor,
    options: Options,
) -> Tensor:
    dx = _empty_gradient(x)
    dtype = x.dtype
    x = _kernel_input(x)
    grad = grad.to(dx.dtype)
    _C.ctc_backward(
        _arguments(x, targets, input_lengths, target_lengths, options),
        losses.data_ptr(),
        statistics.data_ptr(),
        posteriors.data_ptr(),
        grad.data_ptr(),
        grad.stride(0) if grad.dim() else 0,
        dx.data_ptr(),
        dx.stride(0),
        dx.stride(1),
        torch.get_num_threads(),
    )
    return dx.to(dtype)


class _CtcLoss(torch.autograd.Function):
    """Eager path: a tenth of the overhead of a registered op."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any,
        x: Tensor,
        targets: Tensor,
        input_lengths: Tensor,
        target_lengths: Tensor,
        options: Options,
    ) -> Tensor:
        out = _forward(x, targets, input_lengths, target_lengths, options, True)
        ctx.save_for_backward(x, targets, input_lengths, target_lengths, *out[1:])
        ctx.options = options
        return out.loss

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        return _backward(grad, *ctx.saved_tensors, ctx.options), None, None, None, None


# ---- registered ops: torch.compile, torch.export, fake tensors ----------------------------------

_library = torch.library.Library("crnn_ext", "FRAGMENT")
_library.define(
    "ctc_loss(Tensor x, Tensor targets, Tensor input_lengths, Tensor target_lengths, int blank, "
    "int reduction, bool zero_infinity, bool from_logits, bool save) "
    "-> (Tensor loss, Tensor losses, Tensor statistics, Tensor posteriors)"
)
_library.define(
    "ctc_loss_backward(Tensor grad, Tensor x, Tensor targets, Tensor input_lengths, "
    "Tensor target_lengths, Tensor losses, Tensor statistics, Tensor posteriors, int blank, "
    "int reduction, bool zero_infinity, bool from_logits) -> Tensor"
)


def _forward_op(
    x: Tensor, targets: Tensor, il: Tensor, tl: Tensor, *options_and_save: Any
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    *options, save = options_and_save
    return tuple(_forward(x, targets, il, tl, Options(*options), save))


def _backward_op(grad: Tensor, x: Tensor, *tensors_and_options: Any) -> Tensor:
    tensors, options = tensors_and_options[:6], tensors_and_options[6:]
    return _backward(grad, x, *tensors, Options(*options))


def _fake_forward(
    x: Tensor, targets: Tensor, il: Tensor, tl: Tensor, *options_and_save: Any
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    *options, save = options_and_save
    return tuple(_empty_forward(x, targets, Options(*options), save))


def _fake_backward(grad: Tensor, x: Tensor, *tensors_and_options: Any) -> Tensor:
    return _empty_gradient(x).to(x.dtype)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.save_for_backward(*inputs[:4], *output[1:])
    ctx.options = inputs[4:8]
    ctx.set_materialize_grads(False)


def _autograd(ctx: Any, grad: Tensor, *unused: None) -> tuple[Tensor | None, ...]:
    dx = torch.ops.crnn_ext.ctc_loss_backward(grad, *ctx.saved_tensors, *ctx.options)
    return (dx, *[None] * 8)


def _no_second_derivative(ctx: Any, *grads: Tensor) -> None:
    raise RuntimeError(f"{OP}: is differentiable once; its gradient has no derivative")


def _no_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    """Nothing to keep."""


_library.impl("ctc_loss", _forward_op, "CPU")
_library.impl("ctc_loss_backward", _backward_op, "CPU")
torch.library.register_fake("crnn_ext::ctc_loss", _fake_forward, lib=_library)
torch.library.register_fake("crnn_ext::ctc_loss_backward", _fake_backward, lib=_library)
torch.library.register_autograd(
    "crnn_ext::ctc_loss", _autograd, setup_context=_setup_context, lib=_library
)
torch.library.register_autograd(
    "crnn_ext::ctc_loss_backward",
    _no_second_derivative,
    setup_context=_no_context,
    lib=_library,
)

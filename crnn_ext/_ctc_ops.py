"""CTC kernels as torch sees them: buffers, autograd, and the ops that torch.compile knows.

Arguments are those of `crnn_ext.ctc_loss` after its checks: x is [T, N, C], targets and lengths
are contiguous int64 (on a GPU also int32).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from crnn_ext import _C, _ctc_cuda, _cuda

OP = "ctc_loss"
REDUCTIONS = {"none": 0, "sum": 1, "mean": 2}


class Options(NamedTuple):
    """The arguments that are not tensors, in the order of the registered op."""

    blank: int
    reduction: int
    zero_infinity: bool
    from_logits: bool


class Forward(NamedTuple):
    """Outputs of the forward kernel."""

    loss: Tensor  # [N] or []
    # One after the other, as in kernels/ctc.h: losses [N] before zero_infinity and the reduction;
    # from logits, statistics [2, T, N]; for a gradient, posteriors [T * (targets.numel() + N)].
    # On a GPU as in kernels/ctc_cuda.h.
    saved: Tensor


def _kernel_input(x: Tensor) -> Tensor:
    """What the kernels read: stride 1 over classes, and on the CPU float32 or float64."""
    if x.dtype in (torch.float16, torch.bfloat16) and not _cuda.takes(x):
        x = x.to(torch.float32)
    return x if x.stride(2) == 1 else x.contiguous()


def _empty_forward(x: Tensor, targets: Tensor, options: Options, save: bool) -> Forward:
    """Outputs of the forward kernel, not yet written."""
    T, N, _ = x.shape
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    reduced = [N] if options.reduction == REDUCTIONS["none"] else []
    if _cuda.takes(x):
        size = _ctc_cuda.saved_size(x, targets, options.from_logits, save)
        return Forward(x.new_empty(reduced, dtype=dtype), x.new_empty([size], dtype=dtype))
    size = N
    if options.from_logits:
        size += 2 * T * N
    if save:
        size += T * (targets.numel() + N)
    return Forward(x.new_empty(reduced, dtype=dtype), x.new_empty([size], dtype=dtype))


def _empty_gradient(x: Tensor, *, reuse_memory: bool = False) -> Tensor:
    """[T, N, C] in the dtype the kernels write, samples outermost where they are so in x."""
    T, N, C = x.shape
    on_cuda = _cuda.takes(x)
    dtype = x.dtype if on_cuda or x.dtype == torch.float64 else torch.float32
    n_outermost = x.stride(1) > x.stride(0)
    shape = [N, T, C] if n_outermost else [T, N, C]
    if reuse_memory and not on_cuda and T * N * C * dtype.itemsize >= _C.large_buffer_bytes:
        buffer = _C.LargeBuffer(T * N * C * dtype.itemsize)
        dx = torch.frombuffer(buffer, dtype=dtype).view(shape)
    else:
        dx = x.new_empty(shape, dtype=dtype)
    return dx.transpose(0, 1) if n_outermost else dx


def _arguments(
    x: Tensor, targets: Tensor, input_lengths: Tensor, target_lengths: Tensor, options: Options
) -> _C.CtcArguments:
    T, N, C = x.shape
    x_t, x_n, _ = x.stride()
    return _C.CtcArguments(
        x.data_ptr(),
        x_t,
        x_n,
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
    x = _kernel_input(x)
    if _cuda.takes(x):
        labels = _ctc_cuda.prepare(x, targets, input_lengths, target_lengths)
        _ctc_cuda.forward(x, labels, options, save, *out)
        return out
    _C.ctc_forward(
        _arguments(x, targets, input_lengths, target_lengths, options),
        out.loss.data_ptr(),
        out.saved.data_ptr(),
        save,
        torch.get_num_threads(),
    )
    return out


def _backward(grad: Tensor, saved: Sequence[Tensor], options: Options) -> Tensor:
    """Gradient of x; `saved` is the forward's four inputs and its second output."""
    x, targets, input_lengths, target_lengths, from_forward = saved
    dx = _empty_gradient(x, reuse_memory=True)
    dtype = x.dtype
    x = _kernel_input(x)
    grad = grad.to(from_forward.dtype)
    if _cuda.takes(x):
        _ctc_cuda.backward(x, targets, options, from_forward, grad, dx)
        return dx
    _C.ctc_backward(
        _arguments(x, targets, input_lengths, target_lengths, options),
        from_forward.data_ptr(),
        grad.data_ptr(),
        grad.stride(0) if grad.dim() else 0,
        dx.data_ptr(),
        dx.stride(0),
        dx.stride(1),
        torch.get_num_threads(),
    )
    return dx.to(dtype)


def _no_second_derivative(ctx: Any, *grads: Tensor) -> None:
    raise RuntimeError(f"{OP}: is differentiable once; its gradient has no derivative")


class _CtcLoss(torch.autograd.Function):
    """Eager path: a tenth of the overhead of a registered op."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        targets: Tensor,
        input_lengths: Tensor,
        target_lengths: Tensor,
        options: Options,
    ) -> Tensor:
        out = _forward(x, targets, input_lengths, target_lengths, options, True)
        ctx.save_for_backward(x, targets, input_lengths, target_lengths, out.saved)
        ctx.options = options
        return out.loss

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():  # create_graph=True: the gradient must not pass for a constant
            apply: Any = _CtcGradient.apply
            dx = apply(grad, ctx.options, *ctx.saved_tensors)
        else:
            dx = _backward(grad, ctx.saved_tensors, ctx.options)
        return dx, None, None, None, None


class _CtcGradient(torch.autograd.Function):
    """The gradient as a node that refuses to be differentiated."""

    @staticmethod
    def forward(ctx: Any, grad: Tensor, options: Options, *saved: Tensor) -> Tensor:
        return _backward(grad, saved, options)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> None:
        _no_second_derivative(ctx, *grads)


def inference(x: Tensor, targets: Tensor, il: Tensor, tl: Tensor, options: Options) -> Tensor:
    """The loss alone."""
    return _forward(x, targets, il, tl, options, False).loss


def eager(x: Tensor, targets: Tensor, il: Tensor, tl: Tensor, options: Options) -> Tensor:
    """The loss with a gradient, by autograd.Function: a fraction of a registered op's overhead."""
    apply: Any = _CtcLoss.apply
    loss: Tensor = apply(x, targets, il, tl, options)
    return loss


def registered(x: Tensor, targets: Tensor, il: Tensor, tl: Tensor, options: Options) -> Tensor:
    """The loss by the op that torch.compile, torch.export and fake tensors know."""
    save = torch.is_grad_enabled() and x.requires_grad
    loss: Tensor = torch.ops.crnn_ext.ctc_loss(x, targets, il, tl, *options, save)[0]
    return loss


# ---- registered ops: torch.compile, torch.export, fake tensors ----------------------------------

SCHEMAS = (
    "ctc_loss(Tensor x, Tensor targets, Tensor input_lengths, Tensor target_lengths, int blank, "
    "int reduction, bool zero_infinity, bool from_logits, bool save) "
    "-> (Tensor loss, Tensor saved)",
    "ctc_loss_backward(Tensor grad, Tensor x, Tensor targets, Tensor input_lengths, "
    "Tensor target_lengths, Tensor saved, int blank, int reduction, bool zero_infinity, "
    "bool from_logits) -> Tensor",
)


def _forward_op(x: Tensor, targets: Tensor, il: Tensor, tl: Tensor, *rest: Any) -> Forward:
    *options, save = rest
    return _forward(x, targets, il, tl, Options(*options), save)


def _backward_op(grad: Tensor, *rest: Any) -> Tensor:
    return _backward(grad, rest[:5], Options(*rest[5:]))


def _fake_forward(x: Tensor, targets: Tensor, il: Tensor, tl: Tensor, *rest: Any) -> Forward:
    *options, save = rest
    return _empty_forward(x, targets, Options(*options), save)


def _fake_backward(grad: Tensor, x: Tensor, *rest: Any) -> Tensor:
    return _empty_gradient(x).to(x.dtype)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.save_for_backward(*inputs[:4], output[1])
    *ctx.options, ctx.save = inputs[4:]
    ctx.set_materialize_grads(False)


def _autograd(ctx: Any, grad: Tensor, *unused: None) -> tuple[Tensor | None, ...]:
    if not ctx.save:
        raise RuntimeError(f"{OP}: save must be True where a gradient is wanted, got False")
    dx = torch.ops.crnn_ext.ctc_loss_backward(grad, *ctx.saved_tensors, *ctx.options)
    return (dx, *[None] * 8)


def _no_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    """Nothing to keep."""


def _register() -> Any:
    """Define both ops; the returned library keeps them alive."""
    library: Any = torch.library.Library  # untyped in torch
    library = library("crnn_ext", "FRAGMENT")
    for schema in SCHEMAS:
        library.define(schema)
    forward, backward = "crnn_ext::ctc_loss", "crnn_ext::ctc_loss_backward"
    for device in ("CPU", "CUDA"):
        library.impl("ctc_loss", _forward_op, device)
        library.impl("ctc_loss_backward", _backward_op, device)
    torch.library.register_fake(forward, _fake_forward, lib=library)
    torch.library.register_fake(backward, _fake_backward, lib=library)
    register_autograd = torch.library.register_autograd
    register_autograd(forward, _autograd, setup_context=_setup_context, lib=library)
    register_autograd(backward, _no_second_derivative, setup_context=_no_context, lib=library)
    return library


_library = _register()

"""Connectionist Temporal Classification loss (Graves et al., 2006)."""

from __future__ import annotations

import operator
from collections.abc import Sequence

import torch
from torch import Tensor

from crnn_ext import _C, _ctc_ops, _cuda
from crnn_ext._check import check_device, check_kernels, fail, fail_dtype, fail_type
from crnn_ext._ctc_ops import OP, REDUCTIONS, Options

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
INTEGERS = {
    getattr(torch, name)
    for name in ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
}

Lengths = Tensor | Sequence[int] | int


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
        NotImplementedError: tensors on a GPU, where crnn_ext was built without CUDA.
        CudaError: a kernel could not be launched.

    Differentiable once with respect to `log_probs`. As in torch, the gradient is the one with
    respect to logits, ``softmax - posterior``, also where `log_probs` are log-probabilities: it
    sums to 0 over C, and log_softmax before it passes it on unchanged. Frames beyond the input
    length have gradient 0; a sample whose loss is inf or NaN has gradient NaN in its frames (0 with
    `zero_infinity` for inf). float16 and bfloat16 are computed in float32. The result has the same
    bits for every number of threads and whatever else is in the batch.

    On a GPU: everything runs on the current stream, and nothing waits for the device. Targets and
    lengths may be there (int32 or int64: as they are) or on the CPU (checked, then copied; within
    a CUDA graph they must be on the GPU). On the GPU they are not checked with an error: a sample
    whose lengths or labels are out of range has loss NaN and gradient NaN in its frames (in all T,
    if its input length is the wrong one), and with 1-D targets all samples do unless the target
    lengths add up. A label that has a path has at most 1023 symbols; a longer one is an error, or
    NaN if its length is known on the GPU alone. No atomic operations: the same bits every time.

    Source: Graves, Fernández, Gomez, Schmidhuber, "Connectionist Temporal Classification", ICML
    2006.
    """
    options = _check_options(log_probs, blank, reduction, zero_infinity, from_logits)
    batched = log_probs.dim() == 3
    x = log_probs if batched else log_probs.unsqueeze(1)
    input_lengths = _lengths("input_lengths", input_lengths, x, batched)
    target_lengths = _lengths("target_lengths", target_lengths, x, batched)
    targets = _check_targets(targets, x, batched)

    wants_gradient = torch.is_grad_enabled() and x.requires_grad
    if torch.compiler.is_compiling() or type(log_probs) not in (Tensor, torch.nn.Parameter):
        run = _ctc_ops.registered
    elif wants_gradient:
        run = _ctc_ops.eager
    else:
        run = _ctc_ops.inference
    loss = run(x, targets, input_lengths, target_lengths, options)
    return loss if batched else loss.reshape(())


class CTCLoss(torch.nn.Module):
    """Module form of `ctc_loss`; a drop-in for ``torch.nn.CTCLoss``.

    Args:
        blank, reduction, zero_infinity, from_logits: as in `ctc_loss`; checked when it is called.
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
        """Return `ctc_loss` of the arguments; shapes and errors are described there."""
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


def release_memory() -> int:
    """Give the memory kept for the next large gradient back to the system.

    The gradient of 1 MB or more that was freed last stays allocated for the next one, because
    fresh memory costs more time than the gradient itself. It is at most one such buffer.

    Returns:
        Bytes released; 0 if there was nothing.
    """
    return _C.release_large_buffer()


# ---- checks -------------------------------------------------------------------------------------


def _check_options(
    log_probs: Tensor, blank: int, reduction: str, zero_infinity: bool, from_logits: bool
) -> Options:
    if not isinstance(log_probs, Tensor):
        fail_type(OP, "log_probs", "be a Tensor", log_probs)
    if log_probs.dtype not in FLOATS:
        rule = "be float16, bfloat16, float32 or float64"
        fail_dtype(OP, "log_probs", rule, log_probs.dtype)
    check_kernels(OP, "log_probs", log_probs)
    if log_probs.dim() not in (2, 3):
        fail(OP, "log_probs", "have shape [T, N, C] or [T, C]", list(log_probs.shape))
    C = log_probs.shape[-1]
    if C == 0:
        fail(OP, "log_probs", "have at least one class", list(log_probs.shape))
    try:
        blank = operator.index(blank)
    except TypeError:
        fail_type(OP, "blank", "be an integer", blank)
    if not 0 <= blank < C:
        fail(OP, "blank", f"be in 0..{C - 1} (C of log_probs)", blank)
    if reduction not in REDUCTIONS:
        fail(OP, "reduction", "be 'none', 'sum' or 'mean'", repr(reduction))
    return Options(blank, REDUCTIONS[reduction], bool(zero_infinity), bool(from_logits))


def _lengths(name: str, value: Lengths, x: Tensor, batched: bool) -> Tensor:
    """The lengths as a contiguous tensor [N]; their range is checked by the kernel."""
    N = x.shape[1]
    if isinstance(value, Tensor):
        tensor = value
        check_device(OP, name, tensor, x, "log_probs")
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
    return _integers(tensor)


def _check_targets(targets: Tensor, x: Tensor, batched: bool) -> Tensor:
    """The targets as a contiguous tensor; their values are checked by the kernel."""
    if not isinstance(targets, Tensor):
        fail_type(OP, "targets", "be a Tensor", targets)
    check_device(OP, "targets", targets, x, "log_probs")
    if targets.dtype not in INTEGERS:
        fail_dtype(OP, "targets", "have an integer dtype", targets.dtype)
    N = x.shape[1]
    if not batched and targets.dim() != 1:
        fail(OP, "targets", "have shape [L] for unbatched log_probs", list(targets.shape))
    if targets.dim() not in (1, 2) or (targets.dim() == 2 and targets.shape[0] != N):
        rule = f"have shape [{N}, S] or [sum(target_lengths)]"
        fail(OP, "targets", rule, list(targets.shape))
    return _integers(targets)


def _integers(tensor: Tensor) -> Tensor:
    """Contiguous, as the kernels take integers: int64; on a GPU int32 as it is."""
    if tensor.dtype is torch.int32 and not _cuda.on_host(tensor):
        return tensor.contiguous()
    if tensor.dtype is torch.int64 and tensor.is_contiguous():  # most often: a call less
        return tensor
    return tensor.to(torch.int64).contiguous()

"""LSTM against the NumPy reference and torch.nn.LSTM: values, gradients, arguments."""

from __future__ import annotations

import copy
import itertools

import numpy as np
import pytest
import torch
from reference import lstm as reference
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import crnn_ext

# T, N, I, H: nothing, one, primes, one less and more than a vector, a panel (64) and a group (6).
SIZES = [
    (0, 3, 4, 5),
    (3, 0, 4, 5),
    (1, 1, 1, 1),
    (5, 1, 1, 16),
    (7, 2, 3, 17),
    (4, 3, 13, 15),
    (3, 5, 5, 63),
    (6, 6, 33, 64),
    (5, 7, 8, 65),
    (2, 13, 67, 31),
    (3, 12, 16, 128),
]
TOLERANCE = {torch.float32: 2e-6, torch.float64: 1e-13}


def relative(value: Tensor, exact: np.ndarray) -> float:
    """Largest difference over the largest exact value."""
    assert tuple(value.shape) == exact.shape
    if exact.size == 0:
        return 0.0
    difference = np.abs(value.detach().double().numpy() - exact).max()
    return float(difference / max(np.abs(exact).max(), 1e-3))


def reference_weights(module: nn.Module, layer: int, directions: int) -> list[reference.Weights]:
    result = []
    for suffix in ("", "_reverse")[:directions]:
        get = lambda kind, suffix=suffix: getattr(module, f"{kind}_l{layer}{suffix}", None)
        array = lambda p: p.detach().double().numpy()
        w_ih, w_hh, b_ih, b_hh = (get(k) for k in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
        bias = np.zeros(len(w_ih)) if b_ih is None else array(b_ih) + array(b_hh)
        result.append(reference.Weights(array(w_ih), array(w_hh), bias))
    return result


def some_lengths(kind: str, T: int, N: int) -> list[int] | None:
    if kind == "all":
        return None
    return [int(v) for v in np.random.default_rng(T * 31 + N).integers(0, T + 1, N)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", ["all", "varied"])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize(("T", "N", "I", "H"), SIZES)
def test_values_and_gradients_are_those_of_the_reference(
    T: int,
    N: int,
    I: int,  # noqa: E741
    H: int,
    bidirectional: bool,
    kind: str,
    dtype: torch.dtype,
) -> None:
    torch.manual_seed(T + 10 * N + 100 * H)
    D = 1 + bidirectional
    bias = H % 2 == 1
    module = crnn_ext.LSTM(I, H, bias=bias, bidirectional=bidirectional, dtype=dtype)
    lengths = some_lengths(kind, T, N)
    inputs = [torch.randn(T, N, I), torch.randn(D, N, H), torch.randn(D, N, H)]
    x, h_0, c_0 = (v.to(dtype).requires_grad_() for v in inputs)
    grads = [torch.randn(T, N, D * H), torch.randn(D, N, H), torch.randn(D, N, H)]
    y, (h_n, c_n) = module(x, (h_0, c_0), lengths)
    torch.autograd.backward([y, h_n, c_n], [v.to(dtype) for v in grads])

    exact = reference.layer(
        *(v.detach().double().numpy() for v in (x, h_0, c_0)),
        reference_weights(module, 0, D),
        [T] * N if lengths is None else lengths,
        *(v.double().numpy() for v in grads),
    )
    tolerance = TOLERANCE[dtype]
    for value, wanted in ((y, exact.y), (h_n, exact.h_n), (c_n, exact.c_n)):
        assert relative(value, wanted) < tolerance
    for value, wanted in ((x, exact.dx), (h_0, exact.dh0), (c_0, exact.dc0)):
        assert relative(value.grad, wanted) < 3 * tolerance
    for suffix, grad in zip(("", "_reverse"), exact.dweights, strict=False):
        wanted = {"weight_ih": grad.w_ih, "weight_hh": grad.w_hh}
        if bias:
            wanted |= {"bias_ih": grad.bias, "bias_hh": grad.bias}
        for name, value in wanted.items():
            assert relative(getattr(module, f"{name}_l0{suffix}").grad, value) < 3 * tolerance
    with torch.no_grad():
        again, _ = module(x, (h_0, c_0), lengths)
    assert torch.equal(again, y)  # inference and training compute the same


def test_the_two_biases_do_not_share_a_gradient_tensor() -> None:
    module = crnn_ext.LSTM(3, 4)
    module(torch.randn(5, 2, 3))[0].sum().backward()
    before = module.bias_hh_l0.grad.clone()
    module.bias_ih_l0.grad.mul_(2)
    assert torch.equal(module.bias_hh_l0.grad, before)


@pytest.mark.parametrize("options", [{}, {"bidirectional": True}, {"bias": False}])
@pytest.mark.parametrize("with_lengths", [False, True])
def test_gradcheck(options: dict[str, bool], with_lengths: bool) -> None:
    torch.manual_seed(0)
    module = crnn_ext.LSTM(3, 4, num_layers=2, dtype=torch.float64, **options)
    D = 2 if options.get("bidirectional") else 1
    lengths = [4, 0, 2] if with_lengths else None
    parameters = list(module.parameters())

    def run(x: Tensor, h: Tensor, c: Tensor, *_: Tensor) -> tuple[Tensor, ...]:
        y, (h_n, c_n) = module(x, (h, c), lengths)
        return y, h_n, c_n

    inputs = [torch.randn(4, 3, 3), torch.randn(2 * D, 3, 4), torch.randn(2 * D, 3, 4)]
    inputs = [v.double().requires_grad_() for v in inputs]
    assert torch.autograd.gradcheck(run, (*inputs, *parameters))


# ---- torch.nn.LSTM as a second opinion -----------------------------------------------------------

CONFIGURATIONS = [
    {"num_layers": layers, "bias": bias, "batch_first": first, "bidirectional": both}
    for layers, bias, first, both in itertools.product([1, 3], *[[False, True]] * 3)
]


@pytest.mark.parametrize("options", CONFIGURATIONS, ids=str)
def test_agrees_with_torch_and_shares_its_state_dict(options: dict[str, bool]) -> None:
    torch.manual_seed(1)
    theirs = nn.LSTM(9, 21, **options)
    ours = crnn_ext.LSTM(9, 21, **options)
    ours.load_state_dict(theirs.state_dict())
    back = nn.LSTM(9, 21, **options)
    back.load_state_dict(ours.state_dict())
    assert list(ours.state_dict()) == list(theirs.state_dict())
    states = (2 if options["bidirectional"] else 1) * options["num_layers"]
    x = torch.randn(8, 6, 9)
    hx = (torch.randn(states, 6 if not options["batch_first"] else 8, 21),) * 2
    for state in (None, hx):
        y, (h, c) = ours(x, state)
        y_torch, (h_torch, c_torch) = back(x, state)
        torch.testing.assert_close(y, y_torch, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(h, h_torch, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(c, c_torch, rtol=1e-5, atol=1e-6)
        single, (h, c) = ours(x[0], state and (hx[0][:, 0], hx[1][:, 0]))
        single_torch, (h_torch, c_torch) = back(x[0], state and (hx[0][:, 0], hx[1][:, 0]))
        torch.testing.assert_close(single, single_torch, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(h, h_torch, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(c, c_torch, rtol=1e-5, atol=1e-6)


def test_initialises_and_prints_as_torch_does() -> None:
    torch.manual_seed(2)
    theirs = nn.LSTM(6, 5, num_layers=2, bidirectional=True, batch_first=True)
    torch.manual_seed(2)
    ours = crnn_ext.LSTM(6, 5, num_layers=2, bidirectional=True, batch_first=True)
    for (name, a), (name_torch, b) in zip(
        ours.named_parameters(), theirs.named_parameters(), strict=True
    ):
        assert name == name_torch
        assert torch.equal(a, b)
    assert repr(ours) == repr(theirs)


@pytest.mark.parametrize("batch_first", [False, True])
def test_lengths_are_packed_sequences(batch_first: bool) -> None:
    torch.manual_seed(3)
    theirs = nn.LSTM(7, 19, num_layers=2, batch_first=batch_first, bidirectional=True)
    ours = crnn_ext.LSTM(7, 19, num_layers=2, batch_first=batch_first, bidirectional=True)
    ours.load_state_dict(theirs.state_dict())
    lengths = [3, 9, 1, 6, 9]
    x = torch.randn(9, 5, 7)
    x = x.transpose(0, 1).contiguous() if batch_first else x
    packed = pack_padded_sequence(x, lengths, batch_first=batch_first, enforce_sorted=False)
    packed_y, (h_torch, c_torch) = theirs(packed)
    y_torch, _ = pad_packed_sequence(packed_y, batch_first=batch_first, total_length=9)
    for given in (lengths, tuple(lengths), torch.tensor(lengths), torch.tensor(lengths).int()):
        y, (h, c) = ours(x, lengths=given)
        torch.testing.assert_close(y, y_torch, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(h, h_torch, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(c, c_torch, rtol=1e-5, atol=1e-6)


# ---- layouts, dtypes, modes ----------------------------------------------------------------------


def test_input_of_any_strides() -> None:
    torch.manual_seed(4)
    module = crnn_ext.LSTM(6, 10, bidirectional=True)
    x = torch.randn(4, 5, 6)
    exact, _ = module(x)
    for other in (
        x.transpose(0, 1).contiguous().transpose(0, 1),
        x.permute(2, 0, 1).contiguous().permute(1, 2, 0),
        torch.randn(8, 10, 12)[::2, ::2, ::2].copy_(x),
    ):
        assert not other.is_contiguous()
        value = other.detach().requires_grad_()
        y, _ = module(value)
        assert torch.equal(y, exact)
        (dx,) = torch.autograd.grad(y.sum(), value)  # the gradient of y is expanded
        plain = x.clone().requires_grad_()
        (dx_plain,) = torch.autograd.grad(module(plain)[0].sum(), plain)
        assert torch.equal(dx, dx_plain)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype: torch.dtype) -> None:
    torch.manual_seed(5)
    module = crnn_ext.LSTM(8, 12, num_layers=2, bidirectional=True).to(dtype)
    full = copy.deepcopy(module).float()
    x = torch.randn(6, 3, 8, dtype=dtype)
    y, (h, c) = module(x, lengths=[6, 2, 4])
    exact, (h_full, c_full) = full(x.float(), lengths=[6, 2, 4])
    for value, wanted in ((y, exact), (h, h_full), (c, c_full)):
        assert torch.equal(value, wanted.to(dtype))
    y.float().sum().backward()
    exact.sum().backward()
    for a, b in zip(module.parameters(), full.parameters(), strict=True):
        assert torch.equal(a.grad, b.grad.to(dtype))


def test_autocast_computes_in_the_dtype_of_the_parameters() -> None:
    torch.manual_seed(6)
    module = crnn_ext.LSTM(8, 12)
    x = torch.randn(6, 3, 8).bfloat16().requires_grad_()
    plain = x.detach().float().requires_grad_()
    exact, _ = module(plain)
    with torch.autocast("cpu", torch.bfloat16):
        y, (h, _) = module(x)
        assert (y.dtype, h.dtype) == (torch.float32, torch.float32)
        assert torch.equal(y, exact)
        grads = torch.autograd.grad(y.sum(), [x, *module.parameters()])
    exact_grads = torch.autograd.grad(exact.sum(), [plain, *module.parameters()])
    assert grads[0].dtype == torch.bfloat16
    assert torch.equal(grads[0], exact_grads[0].bfloat16())
    for a, b in zip(grads[1:], exact_grads[1:], strict=True):
        assert torch.equal(a, b)


def test_dropout_between_layers_while_training() -> None:
    torch.manual_seed(7)
    x = torch.randn(5, 4, 6)
    one = crnn_ext.LSTM(6, 16, dropout=0.9)
    assert torch.equal(one(x)[0], one.eval()(x)[0])
    module = crnn_ext.LSTM(6, 16, num_layers=2, dropout=1.0)
    below, above = crnn_ext.LSTM(6, 16), crnn_ext.LSTM(16, 16)
    below.load_state_dict({k: v for k, v in module.state_dict().items() if k.endswith("l0")})
    above.load_state_dict(
        {k.replace("l1", "l0"): v for k, v in module.state_dict().items() if k.endswith("l1")}
    )
    assert torch.equal(module(x)[0], above(torch.zeros(5, 4, 16))[0])
    assert torch.equal(module(x)[1][0][0], below(x)[1][0][0])
    assert torch.equal(module.eval()(x)[0], above(below(x)[0])[0])


def test_weights_changed_in_any_way_are_seen() -> None:
    torch.manual_seed(8)
    module = crnn_ext.LSTM(6, 16)
    x = torch.randn(5, 4, 6)
    with torch.no_grad():
        seen = [module(x)[0]]
        module.weight_hh_l0.mul_(0.5)
        seen.append(module(x)[0])
        module.weight_hh_l0.data.mul_(0.5)  # does not count as a new version
        seen.append(module(x)[0])
        module.load_state_dict({k: v * 0.9 for k, v in module.state_dict().items()})
        seen.append(module(x)[0])
    for a, b in itertools.pairwise(seen):
        assert not torch.equal(a, b)


def test_differentiating_twice_is_an_error() -> None:
    x = torch.randn(3, 2, 4, requires_grad=True)
    (dx,) = torch.autograd.grad(crnn_ext.LSTM(4, 5)(x)[0].sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="LSTM: the second derivative is not implemented"):
        dx.sum().backward()


def test_only_what_needs_a_gradient_gets_one() -> None:
    module = crnn_ext.LSTM(4, 5)
    module.weight_ih_l0.requires_grad_(False)
    x = torch.randn(3, 2, 4)
    module(x)[0].sum().backward()
    assert module.weight_ih_l0.grad is None
    assert module.weight_hh_l0.grad is not None
    module.requires_grad_(False)
    assert not module(x)[0].requires_grad

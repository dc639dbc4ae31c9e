"""The exact text of every error of LSTM."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from torch.nn.utils.rnn import pack_sequence

import crnn_ext

X = torch.zeros(5, 3, 4)
STATE = torch.zeros(4, 3, 6)

CONSTRUCTOR = [
    ({"input_size": 0}, "LSTM: input_size must be at least 1, got 0"),
    ({"hidden_size": -2}, "LSTM: hidden_size must be at least 1, got -2"),
    ({"num_layers": 0}, "LSTM: num_layers must be at least 1, got 0"),
    ({"hidden_size": 2.5}, "LSTM: hidden_size must be an int, got float"),
    ({"dropout": 1.5}, "LSTM: dropout must be in 0..1, got 1.5"),
]

FORWARD = [
    ([X.tolist()], {}, "LSTM: x must be a tensor, got list"),
    (
        [pack_sequence([torch.zeros(2, 4)])],
        {},
        "LSTM: x must be a padded tensor, with lengths=, got PackedSequence",
    ),
    ([torch.zeros(4)], {}, "LSTM: x must have 2 or 3 dimensions, got 1"),
    ([torch.zeros(1, 2, 3, 4)], {}, "LSTM: x must have 2 or 3 dimensions, got 4"),
    ([torch.zeros(5, 3, 7)], {}, "LSTM: x must have 4 features in its last dimension, got 7"),
    (
        [X.double()],
        {},
        "LSTM: x must have the dtype of the parameters, torch.float32, got torch.float64",
    ),
    (
        [X.long()],
        {},
        "LSTM: x must be float32, float64, float16 or bfloat16, got torch.int64",
    ),
    (
        [X.to("meta")],
        {},
        "LSTM: x must be on the CPU or a CUDA device, got meta",
    ),
    ([X, STATE], {}, "LSTM: hx must be a pair (h_0, c_0), got Tensor"),
    ([X, (STATE, None)], {}, "LSTM: c_0 must be a tensor, got NoneType"),
    (
        [X, (STATE[:2], STATE)],
        {},
        "LSTM: h_0 must have shape (4, 3, 6), got (2, 3, 6)",
    ),
    (
        [X[:, 0], (STATE[:, 0], STATE)],
        {},
        "LSTM: c_0 must have shape (4, 6), got (4, 3, 6)",
    ),
    (
        [X, (STATE, STATE.double())],
        {},
        "LSTM: c_0 must have the dtype of x, torch.float32, got torch.float64",
    ),
    (
        [X, (STATE.to("meta"), STATE)],
        {},
        "LSTM: h_0 must be on the device of x, cpu, got meta",
    ),
    ([X], {"lengths": [5, 6, 1]}, "LSTM: lengths must be in 0..5, got 6"),
    ([X], {"lengths": (5, -1, 9)}, "LSTM: lengths must be in 0..5, got -1"),
    (
        [X],
        {"lengths": [5, 5]},
        "LSTM: lengths must have one entry per sample, shape (3,), got (2,)",
    ),
    (
        [X],
        {"lengths": torch.zeros(3, 1, dtype=torch.int64)},
        "LSTM: lengths must have one entry per sample, shape (3,), got (3, 1)",
    ),
    ([X], {"lengths": torch.ones(3)}, "LSTM: lengths must be integers, got torch.float32"),
    ([X], {"lengths": [1, 2.0, 3]}, "LSTM: lengths must be integers, got float"),
    ([X], {"lengths": [1, True, 3]}, "LSTM: lengths must be integers, got bool"),
    ([X], {"lengths": 5}, "LSTM: lengths must be a tensor, list or tuple of integers, got int"),
    (
        [X],
        {"lengths": torch.ones(3, dtype=torch.int64, device="meta")},
        "LSTM: lengths must be on the CPU or the device of x, got meta",
    ),
    (
        [X[:, 0]],
        {"lengths": [5]},
        "LSTM: lengths must be None for one sample (x of 2 dimensions), got [5]",
    ),
]


@pytest.mark.parametrize(("options", "text"), CONSTRUCTOR)
def test_constructor(options: dict[str, Any], text: str) -> None:
    with pytest.raises((ValueError, TypeError), match=f"^{re.escape(text)}$"):
        crnn_ext.LSTM(**{"input_size": 4, "hidden_size": 6, **options})


@pytest.mark.parametrize(("arguments", "options", "text"), FORWARD)
def test_forward(arguments: list[Any], options: dict[str, Any], text: str) -> None:
    module = crnn_ext.LSTM(4, 6, num_layers=2, bidirectional=True)
    with pytest.raises((ValueError, TypeError), match=f"^{re.escape(text)}$"):
        module(*arguments, **options)


def test_parameters_elsewhere() -> None:
    text = "LSTM: parameters must be on the device of x, cpu, got meta"
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        crnn_ext.LSTM(4, 6, device="meta")(X)

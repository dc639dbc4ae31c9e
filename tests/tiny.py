"""A model small enough to build in milliseconds, of the shape of the real ones."""

from __future__ import annotations

from pathlib import Path

import torch

from crnn import checkpoint
from crnn.architecture import Conv, ModelConfig, Pool
from crnn.charset import Charset
from crnn.checkpoint import Checkpoint
from crnn.images import Preprocessing
from crnn.model import CRNN

CONFIG = ModelConfig(
    (
        *(Conv(4), Pool(), Conv(6, norm=True), Pool(), Conv(8), Pool((2, 2), (2, 1), (0, 1))),
        *(Conv(8), Pool((2, 2), (2, 1), (0, 1)), Conv(8, 2, 0, norm=True)),
    ),
    hidden=8,
    join=6,
)
CHARSET = Charset("abcdefgh", fold_case=True)


def tiny_model(seed: int = 2) -> CRNN:
    """Random weights, scaled so that readings differ between images and are fairly certain."""
    torch.manual_seed(seed)
    model = CRNN(CONFIG, CHARSET.num_classes).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.startswith("convs"):
                weight.mul_(3.0 if weight.dim() == 4 else 1.0)
            else:
                weight.mul_(40.0 if name.startswith("head") else 4.0)
    return model


def tiny_checkpoint(seed: int = 2) -> Checkpoint:
    return Checkpoint(tiny_model(seed), CHARSET, Preprocessing(), {"steps": 7})


def save_tiny(path: Path, half: bool = False) -> Path:
    checkpoint.save(path, tiny_model(), CHARSET, Preprocessing(), {"steps": 7}, half)
    return path

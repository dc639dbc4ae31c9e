"""Shared fixtures, and a header that says what is under test."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from PIL import ImageFont

import crnn_ext
from crnn_ext import _C


def pytest_report_header() -> list[str]:
    return [
        f"crnn_ext {crnn_ext.__version__}, CUDA {'yes' if crnn_ext.built_with_cuda else 'no'}, "
        f"SIMD {_C.simd_level()}, torch {torch.__version__}",
    ]


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """For tests of many tiny operations: on a busy machine, torch's threads wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def interruptible() -> Iterator[None]:
    """For tests of Ctrl-C: nohup leaves SIGINT ignored, also in child processes."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def font_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the one font that every Pillow carries."""
    folder = tmp_path_factory.mktemp("fonts")
    font = ImageFont.load_default(12)
    assert isinstance(font, ImageFont.FreeTypeFont)
    (folder / "default.ttf").write_bytes(font.path.getvalue())
    return folder

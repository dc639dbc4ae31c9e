"""Shared fixtures, and a header that says what is under test."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from emulator.harness import emulated
from PIL import ImageFont
from tiny import save_tiny, tiny_checkpoint
from torch import Tensor

import crnn_ext
from crnn import Recognizer
from crnn_ext import _C

# What the tests of an operation run on: its CPU kernels, its CUDA kernels on the emulator, and on a
# GPU where there is one.
KERNELS = ["cpu", "emulated"]
if crnn_ext.built_with_cuda and torch.cuda.is_available():
    KERNELS.append("cuda")


def pytest_report_header() -> list[str]:
    return [
        f"crnn_ext {crnn_ext.__version__}, CUDA {'yes' if crnn_ext.built_with_cuda else 'no'}, "
        f"SIMD {_C.simd_level()}, torch {torch.__version__}",
    ]


@pytest.fixture(params=KERNELS, scope="module")
def kernels(request: pytest.FixtureRequest) -> Iterator[str]:
    """Runs a module's tests, all on CPU tensors, by each kind of kernels."""
    if request.param == "emulated":
        with emulated():
            yield request.param
        return
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "cuda":
            patch.setattr(crnn_ext, "greedy_decode", on_cuda(crnn_ext.greedy_decode))
            if hasattr(request.module, "ctc_loss"):
                patch.setattr(request.module, "ctc_loss", on_cuda(crnn_ext.ctc_loss))
        yield request.param


def on_cuda(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function on a GPU: its first argument taken there and its result taken back.

    Labels and lengths stay on the CPU, where they are checked.
    """

    def run(x: Any, *args: Any, **options: Any) -> Any:
        result = function(x.cuda() if isinstance(x, Tensor) else x, *args, **options)
        return result.cpu() if isinstance(result, Tensor) else result

    return run


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """For tests of many tiny operations: on a busy machine, torch's threads wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def reader() -> Recognizer:
    """The tiny model, which reads in milliseconds."""
    return Recognizer(tiny_checkpoint())


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The tiny model's file."""
    return str(save_tiny(tmp_path_factory.mktemp("model") / "tiny.safetensors"))


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

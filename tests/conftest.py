"""Shared fixtures, and a header that says what is under test."""

from __future__ import annotations

import torch

import crnn_ext
from crnn_ext import _C


def pytest_report_header() -> list[str]:
    return [
        f"crnn_ext {crnn_ext.__version__}, CUDA {'yes' if crnn_ext.built_with_cuda else 'no'}, "
        f"SIMD {_C.simd_level()}, torch {torch.__version__}",
    ]

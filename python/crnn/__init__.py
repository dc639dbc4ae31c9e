"""Read words and other sequences from images with CRNN.

from crnn import Recognizer

reading = Recognizer.from_pretrained().read("word.jpg")
print(reading.text, reading.confidence)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from crnn.architecture import PRESETS, ModelConfig
    from crnn.charset import Charset
    from crnn.checkpoint import CheckpointError
    from crnn.images import ImageError, Preprocessing
    from crnn.model import CRNN
    from crnn.pretrained import pretrained_models
    from crnn.reading import Alternative, Reading, Symbol
    from crnn.recognizer import Recognizer
    from crnn.transcription import Beam

# Imported when first used: `crnn --help` must not wait for torch.
_HOME = {
    "Alternative": "reading",
    "Beam": "transcription",
    "CRNN": "model",
    "PRESETS": "architecture",
    "Charset": "charset",
    "CheckpointError": "checkpoint",
    "ImageError": "images",
    "ModelConfig": "architecture",
    "Preprocessing": "images",
    "Reading": "reading",
    "Recognizer": "recognizer",
    "Symbol": "reading",
    "pretrained_models": "pretrained",
}

__all__ = [
    "CRNN",
    "PRESETS",
    "Alternative",
    "Beam",
    "Charset",
    "CheckpointError",
    "ImageError",
    "ModelConfig",
    "Preprocessing",
    "Reading",
    "Recognizer",
    "Symbol",
    "pretrained_models",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'crnn' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"crnn.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

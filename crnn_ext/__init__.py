"""CTC, LSTM and lexicon kernels of CRNN (Shi, Bai and Yao, 2015) for PyTorch."""

import pkgutil

# From the repository root, Python finds this source folder before the installed package, which
# holds the compiled module: look in both.
__path__ = pkgutil.extend_path(__path__, __name__)

from crnn_ext._version import __version__

try:
    from crnn_ext import _C
except ImportError as error:
    raise ImportError(
        f"crnn_ext: the compiled module crnn_ext._C cannot be loaded ({error}); "
        "run `pip install .` in the repository with this Python"
    ) from error

if _C.version != __version__:
    raise ImportError(
        f"crnn_ext: the compiled module is version {_C.version}, the Python files are "
        f"{__version__}; run `pip install .` again"
    )

from crnn_ext._build import BuildInfo, CudaDevice, build_info
from crnn_ext._cuda import CudaError
from crnn_ext.alignment import Alignment, align, replacement_log_probs
from crnn_ext.beam import BeamResult, beam_decode
from crnn_ext.ctc import CTCLoss, ctc_loss, release_memory
from crnn_ext.language_model import LanguageModel
from crnn_ext.lexicon import Lexicon, LexiconMethod, LexiconResult, ScoredWord
from crnn_ext.lstm import LSTM
from crnn_ext.text import BKTree, edit_distance
from crnn_ext.transcription import (
    GreedyResult,
    collapse,
    greedy_decode,
    label_log_probs,
)

built_with_cuda: bool = _C.built_with_cuda

__all__ = [
    "LSTM",
    "Alignment",
    "BKTree",
    "BeamResult",
    "BuildInfo",
    "CTCLoss",
    "CudaDevice",
    "CudaError",
    "GreedyResult",
    "LanguageModel",
    "Lexicon",
    "LexiconMethod",
    "LexiconResult",
    "ScoredWord",
    "__version__",
    "align",
    "beam_decode",
    "build_info",
    "built_with_cuda",
    "collapse",
    "ctc_loss",
    "edit_distance",
    "greedy_decode",
    "label_log_probs",
    "release_memory",
    "replacement_log_probs",
]

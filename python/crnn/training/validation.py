"""How well the model reads while it trains, on any number of data sets."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch

from crnn.charset import Charset
from crnn.checkpoint import Checkpoint
from crnn.data import open_dataset
from crnn.evaluation import PROTOCOLS, evaluate
from crnn.images import Preprocessing
from crnn.model import CRNN
from crnn.recognizer import Recognizer


class Validator:
    """Data sets to read now and then.

    Args:
        sources: as `crnn eval` takes them.

    Raises:
        ValueError: a source is no data set.
        OSError: it cannot be read.
    """

    def __init__(self, sources: Sequence[str]) -> None:
        self.datasets = {source: open_dataset(source) for source in sources}

    def scores(
        self, model: CRNN, charset: Charset, preprocessing: Preprocessing, device: torch.device
    ) -> dict[str, float]:
        """Accuracy in [0, 1] on each data set: of words under the protocol of 36 symbols, or of
        fragments if symbols have several characters.

        The model itself stays in training, its statistics untouched: a copy reads.
        """
        checkpoint = Checkpoint(copy.deepcopy(model), charset, preprocessing, {})
        reader = Recognizer(checkpoint, device)
        rules = PROTOCOLS["music" if charset.multi_character else "36"]
        return {
            name: evaluate(reader, data, rules)[0].accuracy for name, data in self.datasets.items()
        }

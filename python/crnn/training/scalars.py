"""The log's numbers as curves for TensorBoard, where that is installed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any


def summary_writer() -> Any:
    """The class that writes them.

    Raises:
        ValueError: tensorboard is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ValueError(
            "training: tensorboard must be installed for --tensorboard; "
            "run `pip install crnn-ext[tensorboard]`"
        ) from error
    return SummaryWriter


class Scalars:
    """An event file in a run's folder; ``tensorboard --logdir`` takes that folder or one above it.

    Args:
        folder: of the run.
        step: the one after which the run goes on: curves that an earlier run drew beyond it are
            hidden.
        wanted: without it nothing is written.
    """

    def __init__(self, folder: Path, step: int, wanted: bool) -> None:
        self._writer = summary_writer()(str(folder), purge_step=step + 1) if wanted else None

    def write(self, line: Mapping[str, Any]) -> None:
        """Write the numbers of a line of the log, those of a validation by data set."""
        if self._writer is None:
            return
        for name, value in line.items():
            named = value.items() if isinstance(value, dict) else [("", value)]
            for part, number in named:
                if isinstance(number, (int, float)) and name != "step":
                    self._writer.add_scalar(
                        f"{name}/{part}" if part else name, number, line["step"]
                    )
        self._writer.flush()

    def close(self) -> None:
        """End the file."""
        if self._writer is not None:
            self._writer.close()

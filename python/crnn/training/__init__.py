"""Training: configuration, the loop and what it writes."""

from crnn.training.config import TrainConfig
from crnn.training.loop import Trainer

__all__ = ["TrainConfig", "Trainer"]

"""How well a model reads, by the field's protocols."""

from crnn.evaluation.accuracy import Score, evaluate, protocol36, wilson_interval

__all__ = ["Score", "evaluate", "protocol36", "wilson_interval"]

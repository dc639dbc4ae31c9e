"""How well a model reads, by the field's protocols."""

from crnn.evaluation.evaluator import Search, evaluate
from crnn.evaluation.metrics import mcnemar, wilson_interval
from crnn.evaluation.protocols import PROTOCOLS, Protocol, protocol
from crnn.evaluation.score import Comparison, Outcome, Score, compare, load_run, save_run

__all__ = [
    "PROTOCOLS",
    "Comparison",
    "Outcome",
    "Protocol",
    "Score",
    "Search",
    "compare",
    "evaluate",
    "load_run",
    "mcnemar",
    "protocol",
    "save_run",
    "wilson_interval",
]

"""Labelled images on disk: opening, checking, converting, and batches of them for training."""

from crnn.data.dataset import Concatenation, Dataset, Problem, Sample, Subset
from crnn.data.opening import open_dataset, open_datasets

__all__ = [
    "Concatenation",
    "Dataset",
    "Problem",
    "Sample",
    "Subset",
    "open_dataset",
    "open_datasets",
]

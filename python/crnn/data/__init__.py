"""Labelled images of words on disk."""

from crnn.data.labels import Sample, read_samples

__all__ = ["Sample", "read_samples"]

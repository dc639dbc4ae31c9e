"""Synthetic images of words to train on: fonts, text, rendering; reproducible from a seed."""

from crnn.synth.dataset import Batch, SyntheticWords
from crnn.synth.fonts import find_fonts
from crnn.synth.render import Renderer
from crnn.synth.text import TextSampler, load_words

__all__ = ["Batch", "Renderer", "SyntheticWords", "TextSampler", "find_fonts", "load_words"]

"""Synthetic words drawn by the device that trains: sketched on the CPU, composed in torch.

`SketchedWords` draws all chances of a pool of words, text, font, pose, colours, as numbers;
a `Composer` makes its pictures from an `Atlas` of glyphs, whole batches at a time.
"""

from crnn.synth.device.atlas import Atlas, load_atlas
from crnn.synth.device.compose import Composer
from crnn.synth.device.sketch import Sketch, SketchedWords

__all__ = ["Atlas", "Composer", "Sketch", "SketchedWords", "load_atlas"]

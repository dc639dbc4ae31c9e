"""Whether a CTC network learns as it should, in figures and in words.

CTC fails in its own ways: it may answer blank for everything, never use some symbols, merge doubled
letters for want of a frame between them, or be given labels longer than its frames.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence

from torch import Tensor

from crnn.charset import Charset
from crnn_ext import greedy_decode

_SEEN = 40  # times that a symbol must have been labelled before its absence counts
_NAMED = 8


class Health:
    """Gathers what a window of steps showed.

    Args:
        charset: names the classes.
    """

    def __init__(self, charset: Charset) -> None:
        self.charset = charset
        self.clear()

    def clear(self) -> None:
        """Begin the next window."""
        self.frames = self.blank_frames = 0
        self.words = self.right = self.too_long = 0
        self.confidence = 0.0  # sum over frames of the best class's probability
        self.read_symbols = self.labelled_symbols = 0
        self.doubled = self.doubled_merged = 0
        self.labelled: Counter[int] = Counter()
        self.read: Counter[int] = Counter()

    def observe(self, logits: Tensor, labels: Sequence[Sequence[int]]) -> float:
        """Take in a batch.

        Args:
            logits: ``[T, N, C]``, all T frames of every sample valid.
            labels: N labels as class indices.

        Returns:
            the share of words whose greedy reading is the label.
        """
        best, classes = logits.float().softmax(2).max(2)
        self.frames += classes.numel()
        self.blank_frames += int((classes == 0).sum())
        self.confidence += float(best.sum())
        right = 0
        for reading, label in zip(greedy_decode(logits), labels, strict=True):
            read = list(reading.labels)
            right += read == list(label)
            self.read.update(read)
            self.labelled.update(label)
            self.read_symbols += len(read)
            self.labelled_symbols += len(label)
            doubles = sum(a == b for a, b in itertools.pairwise(label))
            if doubles:
                self.doubled += 1
                single = [b for a, b in zip([-1, *label], label, strict=False) if a != b]
                self.doubled_merged += read == single
            self.too_long += len(label) + doubles > logits.shape[0]
        self.words += len(labels)
        self.right += right
        return right / max(1, len(labels))

    def figures(self) -> dict[str, float]:
        """The window as shares in [0, 1]: for the log."""
        return {
            "word_accuracy": round(self.right / max(1, self.words), 4),
            "blank_frames": round(self.blank_frames / max(1, self.frames), 4),
            "frame_confidence": round(self.confidence / max(1, self.frames), 4),
            "doubled_merged": round(self.doubled_merged / max(1, self.doubled), 4),
            "too_long": round(self.too_long / max(1, self.words), 4),
        }

    def diagnosis(self) -> list[str]:
        """What is wrong in this window and what helps; nothing if all is well."""
        found = []
        if self.too_long:
            found.append(
                f"{self.too_long} of {self.words} labels need more frames than they have and teach "
                "nothing: use wider images, or leave such labels out (crnn data check)"
            )
        if self.frames and self.blank_frames >= 0.999 * self.frames:
            found.append(
                "every frame reads blank: usual in the first thousands of words; if it stays, "
                "raise lr or check that labels belong to their images"
            )
            return found
        dead = [c for c, n in self.labelled.items() if n >= _SEEN and not self.read[c]]
        if dead and self.right:
            names = [self.charset.symbols[c - 1] for c in sorted(dead)]
            more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
            found.append(
                f"never read, though in the labels: {' '.join(names[:_NAMED])}{more}; "
                "more words with them help"
            )
        if self.doubled >= _SEEN and self.doubled_merged > 0.3 * self.doubled:
            found.append(
                f"{self.doubled_merged} of {self.doubled} words with doubled letters are read "
                "with single ones: there is no frame for the blank between; use wider images"
            )
        if self.read_symbols > 1.5 * self.labelled_symbols:
            found.append(
                f"readings are {self.read_symbols / max(1, self.labelled_symbols):.1f} times as "
                "long as labels: labels may be cut short, or belong to other images"
            )
        return found

"""Section 3.4's measurement: three sets of staff fragments, and Table 4."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from PIL import Image

from crnn import images
from crnn.data import Dataset
from crnn.evaluation.evaluator import evaluate
from crnn.evaluation.protocols import PROTOCOLS
from crnn.evaluation.score import Score
from crnn.music.photo import Photographer, Sheet, severity
from crnn.recognizer import Recognizer
from crnn.synth.geometry import Grey

#: Table 4, in its order: fragment accuracy in percent and average edit distance, of each method.
TABLE4: dict[str, dict[str, tuple[float, float]]] = {
    "Capella Scan": {
        "clean": (51.9, 1.75), "synthesized": (20.0, 2.31), "real-world": (43.5, 3.05)
    },
    "PhotoScore": {
        "clean": (55.0, 2.34), "synthesized": (28.0, 1.85), "real-world": (20.4, 3.00)
    },
    "CRNN (the paper)": {
        "clean": (74.6, 0.37), "synthesized": (81.5, 0.30), "real-world": (84.0, 0.30)
    },
}  # fmt: skip
SETS = ("clean", "synthesized", "real-world")
# Of a crop's height, where it holds a staff with one or two ledger lines.
_SPACES = 8


class Synthesized(Dataset):
    """Fragments as if photographed: "Synthesized" is "Clean" with the training's augmentation,
    as hard as the three quarters of the training's images that are no clean prints.

    Args:
        clean: dark notes on light paper.
        seed: sample i depends on `seed` and i alone.
        backgrounds: photographs, see `crnn.music.photo.Photographer`.
    """

    def __init__(self, clean: Dataset, seed: int = 0, backgrounds: Sequence[Grey] = ()) -> None:
        self.clean, self.seed = clean, seed
        self.photographer = Photographer(backgrounds)
        self.source, self.kind = f"{clean.source}, synthesized with seed {seed}", clean.kind
        self.problems, self.lexicons = clean.problems, clean.lexicons

    def __len__(self) -> int:
        return len(self.clean)

    def name(self, index: int) -> str:
        """What sample `index` is called."""
        return self.clean.name(index)

    def label(self, index: int) -> str:
        """What it says."""
        return self.clean.label(index)

    def image(self, index: int) -> Image.Image:
        """The picture taken of it.

        Raises:
            ImageError: the clean image cannot be read.
        """
        grey = images.load(self.clean.image(index), self.name(index))
        box = (0.0, 0.0, float(grey.width), float(grey.height))
        sheet = Sheet(255 - np.asarray(grey), box, grey.height / _SPACES)
        rng = np.random.default_rng((self.seed, index))
        return Image.fromarray(self.photographer(sheet, rng, severity(rng)))


def table4(
    recognizer: Recognizer,
    datasets: Mapping[str, Dataset],
    *,
    model: str = "",
    seed: int = 0,
    backgrounds: Sequence[Grey] = (),
    progress: Callable[[int], object] = lambda count: None,
) -> dict[str, Score]:
    """The columns of Table 4 that the data allows.

    Args:
        recognizer: the model.
        datasets: by "clean", "synthesized" and "real-world"; without the second it is made of the
            first.
        model: its name.
        seed, backgrounds: see `Synthesized`.
        progress: see `evaluate`.

    Raises:
        ValueError: a data set of another name, or see `evaluate`.
    """
    strange = sorted(set(datasets) - set(SETS))
    if strange:
        raise ValueError(f"table4: data must be named {', '.join(SETS)}, got {strange[0]!r}")
    given = dict(datasets)
    if "clean" in given:
        given.setdefault("synthesized", Synthesized(given["clean"], seed, backgrounds))
    return {
        name: evaluate(
            recognizer, given[name], PROTOCOLS["music"], data=name, model=model, progress=progress
        )[0]
        for name in SETS
        if name in given
    }


def table4_text(scores: Mapping[str, Score], model: str) -> str:
    """Table 4 in Markdown, with 95 % intervals of our row."""
    rows = [["", "Clean", "Synthesized", "Real-World"], ["---", "---:", "---:", "---:"]]
    for method, figures in TABLE4.items():
        rows.append([method, *(f"{figures[s][0]:.1f} % / {figures[s][1]:.2f}" for s in SETS)])
    ours, spans = [model], ["95 % intervals"]
    for name in SETS:
        score = scores.get(name)
        if score is None or not score.count:
            ours.append("–")
            spans.append("")
            continue
        ours.append(f"**{100 * score.accuracy:.1f} % / {score.average_distance:.2f}**")
        (low, high), (near, far) = score.interval, score.distance_interval
        spans.append(
            f"{100 * low:.1f}–{100 * high:.1f} / {near:.2f}–{far:.2f}, {score.count} fragments, "
            f"symbol error rate {100 * score.character_error_rate:.1f} %"
        )
    lines = ["| " + " | ".join(row) + " |" for row in [*rows, ours, spans]]
    return "\n".join([*lines, "", "fragment accuracy / average edit distance"])

"""Words that run up or down are read turned; everything else stays as it is."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from crnn import Recognizer
from crnn.checkpoint import load
from crnn.data import open_dataset
from crnn.evaluation import evaluate
from crnn.images import Prepared, Preprocessing, turned
from crnn.orientation import prepare_turned
from crnn.pretrained import model_file

EXAMPLE = Path(__file__).parent.parent / "examples" / "word_270.jpg"  # exit


@pytest.fixture(scope="module")
def reader() -> Recognizer:
    with model_file("small") as path:
        checkpoint = load(path)
    preprocessing = dataclasses.replace(checkpoint.preprocessing, turn_above=1.5)
    return Recognizer(dataclasses.replace(checkpoint, preprocessing=preprocessing))


@pytest.mark.parametrize("turn", [90, 270])
def test_a_word_that_runs_up_or_down_is_read(reader: Recognizer, turn: int) -> None:
    with Image.open(EXAMPLE) as file:
        image = file.convert("L")
    upright = reader.read(image)
    assert (upright.text, upright.turn) == ("exit", 0)
    laid = turned(image, turn)
    reading = reader.read(laid)
    assert reading == dataclasses.replace(upright, turn=360 - turn)
    assert turned(laid, reading.turn).tobytes() == image.tobytes()  # of which the boxes tell
    assert reader.align(laid, "exit").turn == 360 - turn
    kept = Recognizer(
        dataclasses.replace(
            reader.checkpoint,
            preprocessing=dataclasses.replace(reader.preprocessing, turn_above=0.0),
        )
    )
    assert kept.read(laid).turn == 0


def test_evaluation_turns_as_reading_does(reader: Recognizer, tmp_path: Path) -> None:
    with Image.open(EXAMPLE) as file:
        turned(file.convert("L"), 90).save(tmp_path / "a.png")
        file.convert("L").save(tmp_path / "b.png")
    (tmp_path / "gt.tsv").write_text("a.png\texit\nb.png\texit\n")
    (score,) = evaluate(reader, open_dataset(tmp_path))
    assert score.right == 2


@dataclasses.dataclass
class Found:
    """The part of a transcript that decides."""

    labels: list[int]
    confidence: float


def chosen(found: Sequence[Found | None], size: tuple[int, int] = (20, 40)) -> int:
    asked: list[Sequence[Prepared]] = []

    def read(items: Sequence[Prepared]) -> Any:
        asked.append(items)
        return found

    item = prepare_turned(Image.new("L", size), Preprocessing(turn_above=1.5), read)
    assert all([i.turn for i in items] == [0, 90, 270] for items in asked)
    return item.turn if asked else -1


@pytest.mark.parametrize(
    ("upright", "left", "right", "turn"),
    [
        (0.5, 0.4, 0.3, 0),
        (0.5, 0.6, 0.3, 90),
        (0.5, 0.6, 0.7, 270),
        (0.5, 0.5, 0.5, 0),
        (0.0, 0.0, 0.0, 0),
    ],
)
def test_the_most_probable_counts(upright: float, left: float, right: float, turn: int) -> None:
    assert chosen([Found([1], upright), Found([1, 2], left), Found([3, 4, 5], right)]) == turn


def test_single_symbols_and_what_is_not_finite_turn_nothing() -> None:
    assert chosen([Found([1], 0.1), Found([1], 0.9), Found([], 0.9)]) == 0
    assert chosen([None, Found([1, 2], 0.9), Found([1, 2], 0.9)]) == 0
    assert chosen([Found([1, 2], 0.1), None, Found([1, 2], 0.9)]) == 270


def test_only_high_images_are_turned() -> None:
    better = [Found([1], 0.1), Found([1, 2], 0.9), Found([1, 2], 0.2)]
    assert chosen(better, (20, 31)) == 90
    assert chosen(better, (20, 30)) == chosen(better, (40, 20)) == -1


@pytest.mark.parametrize("above", [-1.0, 0.5, float("nan"), float("inf"), True, "2"])
def test_a_wrong_ratio_is_explained(above: Any) -> None:
    with pytest.raises(ValueError, match="turn_above must be 0 or at least 1, got "):
        Preprocessing(turn_above=above)


def test_turning_loses_nothing() -> None:
    pixels = np.arange(6, dtype=np.uint8).reshape(2, 3)
    image = Image.fromarray(pixels)
    assert np.array_equal(np.asarray(turned(image, 90)), np.rot90(pixels))
    assert np.array_equal(np.asarray(turned(image, 270)), np.rot90(pixels, -1))
    assert turned(image, 0) is image

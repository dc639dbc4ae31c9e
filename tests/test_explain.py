"""What explains a reading, its picture, and `crnn explain`."""

from __future__ import annotations

import dataclasses
import itertools
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import CHARSET, save_tiny, tiny_checkpoint

from crnn import Recognizer
from crnn.architecture import PRESETS
from crnn.charset import Charset
from crnn.checkpoint import Checkpoint
from crnn.cli import main
from crnn.drawing import _spread, draw
from crnn.explanation import explain
from crnn.images import Preprocessing
from crnn.model import CRNN
from crnn_ext import label_log_probs

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    noise = np.random.default_rng(3).integers(0, 256, (4, 12), np.uint8)
    path = tmp_path / "word.png"
    Image.fromarray(noise).resize((200, 64)).save(path)
    return path


def size(picture: Path) -> tuple[int, int]:
    with Image.open(picture) as image:
        return image.size


def test_it_explains_what_is_read(reader: Recognizer, photo: Path) -> None:
    explanation = explain(reader, photo, alternatives=2, n_best=4)
    assert explanation.reading == reader.read(photo, alternatives=2)
    assert explanation.image.size == (200, 64)
    assert explanation.names == ("", *CHARSET.symbols)
    T, L = len(explanation.columns) - 1, len(explanation.labels)
    assert explanation.probabilities.shape == (T, 9)
    np.testing.assert_allclose(explanation.probabilities.sum(1), 1, rtol=1e-6)
    assert explanation.occupancy.shape == (2 * L + 1, T)
    np.testing.assert_allclose(explanation.occupancy.sum(0), 1, rtol=1e-9)
    for symbol in explanation.reading.symbols:  # the same columns
        places = np.interp(symbol.span, np.arange(T + 1), explanation.columns).clip(0, 200)
        assert symbol.box == pytest.approx(tuple(places))
    texts = [candidate.text for candidate in explanation.candidates]
    assert explanation.reading.text in texts
    log_probs = torch.from_numpy(explanation.probabilities).log()
    expected = label_log_probs(log_probs, [CHARSET.encode(text) for text in texts]).exp()
    found = [candidate.probability for candidate in explanation.candidates]
    assert found == pytest.approx(expected.tolist(), rel=1e-5)
    assert explanation.outside is None


def test_a_given_text_and_the_words_of_a_lexicon(reader: Recognizer, photo: Path) -> None:
    lexicon = reader.lexicon(["bad", "head", "hedge"])
    explanation = explain(reader, photo, text="cafe", lexicon=lexicon)
    assert explanation.reading == reader.align(photo, "cafe", alternatives=3)
    assert {candidate.text for candidate in explanation.candidates} == {"bad", "head", "hedge"}
    words = sum(candidate.probability for candidate in explanation.candidates)
    assert explanation.outside == pytest.approx(1 - words, abs=1e-3)
    best = explain(reader, photo, lexicon=lexicon)
    assert best.reading.text == best.candidates[0].text


def test_the_temperature_of_the_model_counts(photo: Path) -> None:
    warm = dataclasses.replace(tiny_checkpoint(), temperature=3.0)
    explanation = explain(Recognizer(warm), photo)
    assert explanation.reading == Recognizer(warm).read(photo, alternatives=3)
    cold = explain(Recognizer(tiny_checkpoint()), photo)
    assert explanation.probabilities.max() < cold.probabilities.max()


@pytest.mark.parametrize("kind", ["png", "svg", "pdf"])
def test_pictures(reader: Recognizer, photo: Path, tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"picture.{kind}"
    draw(explain(reader, photo, lexicon=reader.lexicon(["bad", "a"])), path)
    assert path.stat().st_size > 5000
    if kind == "png":
        assert min(size(path)) > 500


@pytest.mark.parametrize("text", ["", "a", "abcdefgh" * 3])
def test_pictures_of_no_symbol_of_one_and_of_many(
    reader: Recognizer, tmp_path: Path, text: str
) -> None:
    image = np.random.default_rng(0).integers(0, 256, (20, 150), np.uint8)
    draw(explain(reader, image, text=text), tmp_path / "a.png")
    assert size(tmp_path / "a.png")[0] > 500


def test_symbols_that_matplotlib_would_take_for_formulas(tmp_path: Path) -> None:
    torch.manual_seed(0)
    charset = Charset(["$", "$x$", "_{", "\\", "^"])
    model = CRNN(PRESETS["small"], charset.num_classes).eval()
    reader = Recognizer(Checkpoint(model, charset, Preprocessing(), {}))
    path = tmp_path / "$a$ $.png"
    Image.new("L", (90, 32), 200).save(path)
    for text in ("$", "$x$ _{ \\ ^ $x$"):
        draw(explain(reader, path, text=text), tmp_path / "picture.png")


def test_pictures_of_images_high_and_small(reader: Recognizer, tmp_path: Path) -> None:
    for shape in ((300, 20), (1, 1), (8, 3000)):
        draw(explain(reader, np.full(shape, 90, np.uint8)), tmp_path / "a.png")
        width, height = size(tmp_path / "a.png")
        assert 500 < width < 4000
        assert 300 < height < 3000


@pytest.mark.parametrize("count", [0, 1, 2, 7, 30])
def test_places_are_spread_as_little_as_needed(count: int) -> None:
    rng = np.random.default_rng(count)
    for gap in (0.01, 0.1, 0.5):
        places = sorted(rng.random(count).tolist())
        spread = _spread(places, gap)
        least = min(gap, 1 / max(1, count))
        assert all(b - a > least - 1e-9 for a, b in itertools.pairwise(spread))
        assert all(least / 2 - 1e-9 <= p <= 1 - least / 2 + 1e-9 for p in spread)
    apart = [(2 * i + 1) / (2 * max(1, count)) for i in range(count)]
    assert _spread(apart, 0.5 / max(1, count)) == pytest.approx(apart)
    assert _spread([0.5, 0.5], 0.2) == pytest.approx([0.4, 0.6])


# ---- the command ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_tiny(tmp_path_factory.mktemp("model") / "tiny.safetensors"))


def test_the_command_draws_and_prints(
    model: str,
    photo: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["explain", str(photo), "--model", model]) == 0
    lines = capsys.readouterr().out.splitlines()
    reading = Recognizer.from_pretrained(model).read(photo)
    assert lines[0] == f"{reading.text}  {reading.confidence:.3f}"
    for symbol, line in zip(reading.symbols, lines[1:], strict=False):
        assert line.startswith(f"  {symbol.text}  {symbol.confidence:.3f}  columns ")
    assert "most probable texts:" in lines
    assert lines[-1] == "drawn in word.explained.png"
    assert min(size(tmp_path / "word.explained.png")) > 500

    words = tmp_path / "words.txt"
    words.write_text("bad\nhead\n")
    arguments = ["--model", model, "--lexicon", str(words), "--text", "cafe", "-o", "b.svg"]
    assert main(["explain", str(photo), *arguments]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("cafe  ")
    assert lines[-5] == "most probable words:"
    assert lines[-2].endswith("  all that is no word")
    assert (tmp_path / "b.svg").read_text("utf-8").count("<svg") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.png"], "load: none.png must be an existing file, got none there"),
        (["word.png", "-o", "a.xyz"],
         "explain: output must end in .png, .svg, .pdf, .jpg or .webp, got a.xyz"),
        (["word.png", "-o", "a"],
         "explain: output must end in .png, .svg, .pdf, .jpg or .webp, got a"),
        (["word.png", "-o", "none/a.png"],
         "explain: none/a.png must be writable (No such file or directory)"),
        (["word.png", "--text", "xyz"],
         "Charset: text must use symbols of the charset, got 'x' in 'xyz'"),
        (["word.png", "--text", "a" * 40],
         f"align: text must be possible in the 26 frames of word.png, got '{'a' * 40}'"),
    ],
)  # fmt: skip
def test_errors(
    model: str,
    photo: Path,
    arguments: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(photo.parent)
    assert main(["explain", *arguments, "--model", model]) == 2
    assert capsys.readouterr().err == f"crnn: {message}\n"


def test_without_matplotlib(
    model: str, photo: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert main(["explain", str(photo), "--model", model]) == 2
    message = "crnn: plot: matplotlib must be installed; run `pip install crnn-ext[plot]`\n"
    assert capsys.readouterr().err == message

"""Music read, written down and measured: notation that verovio loads, Table 4, bad input."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from tiny import save_tiny

from crnn import Recognizer, checkpoint
from crnn.architecture import Conv, ModelConfig, Pool
from crnn.charset import NAMED, Charset
from crnn.cli import main
from crnn.data import open_dataset
from crnn.evaluation import PROTOCOLS, Outcome, Score, load_run, save_run
from crnn.evaluation.metrics import mean_interval
from crnn.evaluation.music import Synthesized, table4
from crnn.images import Preprocessing
from crnn.model import CRNN
from crnn.music.notation import is_music, to_abc, to_musicxml

PITCHES = list(NAMED["music"])
MEI = "{http://www.music-encoding.org/ns/mei}"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights: it reads some pitches or none, and confidently nothing."""
    torch.manual_seed(5)
    charset = Charset.named("music")
    layers = (Conv(4), Pool(), Conv(6), Pool((4, 2), (4, 2)), Conv(6), Pool((8, 1), (8, 1)))
    network = CRNN(ModelConfig(layers, hidden=8, rnn_layers=1, height=64), charset.num_classes)
    with torch.no_grad():
        network.head.weight.mul_(30)
    path = tmp_path_factory.mktemp("music") / "model.safetensors"
    checkpoint.save(path, network, charset, Preprocessing(height=64), {})
    return path


@pytest.fixture(scope="module")
def fragments(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three clean staves with some notes, and their label file."""
    folder = tmp_path_factory.mktemp("fragments")
    labels = ["C4 D4 E4", "G4 G4 A4 B4", "F5 E5 D5"]
    for i, label in enumerate(labels):
        staff(60 * (3 + i)).save(folder / f"{i}.png")
        with (folder / "gt.tsv").open("a") as listing:
            listing.write(f"{i}.png\t{label}\n")
    return folder


def staff(width: int, staves: int = 1, notes: int = 3) -> Image.Image:
    image = Image.new("L", (width, 96 * staves), 255)
    pen = ImageDraw.Draw(image)
    for top in range(24, 96 * staves, 96):
        for line in range(5):
            pen.line((0, top + 12 * line, width, top + 12 * line), fill=0, width=2)
        for i in range(notes):
            x = (i + 1) * width // (notes + 1)
            pen.ellipse((x, top + 6 * i, x + 14, top + 6 * i + 11), fill=0)
    return image


# ---- notation ---------------------------------------------------------------------------------


def engraved(text: str, kind: str) -> list[str]:
    """The pitches that verovio finds."""
    verovio = pytest.importorskip("verovio")
    verovio.enableLog(verovio.LOG_OFF)
    toolkit = verovio.toolkit()
    toolkit.setInputFrom(kind)
    assert toolkit.loadData(text)
    notes = ElementTree.fromstring(toolkit.getMEI()).iter(f"{MEI}note")
    return [f"{note.get('pname', '').upper()}{note.get('oct')}" for note in notes]


@pytest.mark.parametrize("pitches", [PITCHES, ["C4"], ["A3", "A3", "C6"], ["G2", "B7"], []])
@pytest.mark.parametrize("title", ["staff.png", 'a<b>&"c" % \n.png'])
def test_notation_is_read_back(pitches: list[str], title: str) -> None:
    assert engraved(to_abc(pitches, title), "abc") == pitches
    score = to_musicxml(pitches, title)
    assert engraved(score, "musicxml") == pitches
    work = ElementTree.fromstring(score).findtext("work/work-title")
    assert work == title.replace("\n", "")


@pytest.mark.parametrize("pitches", [PITCHES, ["C4"], ["G2", "B7"], []])
def test_music21_reads_the_same(pitches: list[str]) -> None:
    """A second parser; a melody without notes is one rest under a treble clef."""
    music21 = pytest.importorskip("music21")
    for text, kind in ((to_abc(pitches, "a"), "abc"), (to_musicxml(pitches, "a"), "musicxml")):
        score = music21.converter.parse(text, format=kind)
        assert [note.nameWithOctave for note in score.recurse().notes] == pitches
        assert len(list(score.recurse().notesAndRests)) == max(1, len(pitches))
        assert score.metadata.title == "a"
        assert score.recurse().getElementsByClass(music21.clef.TrebleClef)


def test_notation_of_words_is_refused() -> None:
    assert is_music(PITCHES)
    assert not is_music(NAMED["36"])
    with pytest.raises(ValueError, match="pitch must be a letter A-G and an octave, got 'H4'"):
        to_abc(["H4"])


def test_read_writes_notation(
    model: Path, fragments: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reading = Recognizer.from_pretrained(model).read(fragments / "0.png")
    assert reading.text
    assert main(["read", "--model", str(model), "--format", "abc", str(fragments)]) == 0
    tunes = capsys.readouterr().out
    assert tunes.count("K:C") == 3
    numbers = [line for line in tunes.splitlines() if line.startswith("X:")]
    assert len(set(numbers)) == 3
    image = str(fragments / "0.png")
    assert main(["read", "--model", str(model), "--format", "musicxml", image]) == 0
    assert engraved(capsys.readouterr().out, "musicxml") == reading.text.split()


def test_notation_needs_a_model_of_pitches_and_one_image(
    model: Path, fragments: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = str(save_tiny(tmp_path / "words.safetensors"))
    assert main(["read", "--model", words, "--format", "abc", str(fragments)]) == 2
    assert "model must read pitches for --format abc" in capsys.readouterr().err
    assert main(["read", "--model", str(model), "--format", "musicxml", str(fragments)]) == 2
    assert "musicxml is a score of one image" in capsys.readouterr().err


# ---- bad input --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "image",
    [
        Image.new("L", (300, 80), 255),  # no staff
        Image.new("L", (1, 1), 0),
        staff(1400, staves=12),  # a whole page
        staff(400, staves=2),
        staff(400).rotate(180),
        staff(4000, notes=60),
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 900), dtype=np.uint8)),
    ],
    ids=["blank", "pixel", "page", "two", "upside-down", "long", "noise"],
)
def test_what_is_no_fragment_is_read_as_something(model: Path, image: Image.Image) -> None:
    reading = Recognizer.from_pretrained(model).read(image)
    assert reading.error is None
    assert 0 <= reading.confidence < 0.5
    assert set(reading.text.split()) <= set(PITCHES)


def test_read_says_what_to_do_without_a_melody(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    blank = tmp_path / "blank.png"
    Image.new("L", (300, 80), 255).save(blank)
    assert main(["read", "--model", "music", str(blank)]) == 0
    out, err = capsys.readouterr()
    assert str(blank) in out
    assert f"crnn: no melody found in {blank}: an image must show one staff" in err
    assert "turn the photo, or crop it to one staff" in err
    many = [tmp_path / f"{i}.png" for i in range(7)]
    for path in many:
        staff(400).save(path)
    assert main(["read", "--model", str(model), *map(str, many)]) == 0  # random weights
    out, err = capsys.readouterr()
    assert out.count(".png") == 7
    assert f"pitches read with a confidence below 0.5 in {many[0]}" in err
    assert "4.png and 2 more: an image must show" in err
    words = str(save_tiny(tmp_path / "words.safetensors"))
    assert main(["read", "--model", words, str(blank)]) == 0
    assert "melody" not in capsys.readouterr().err


# ---- evaluation -------------------------------------------------------------------------------


def outcome(truth: str, text: str) -> Outcome:
    return Outcome(truth, truth, text, truth, text)


def test_pitches_are_the_symbols_that_count(tmp_path: Path) -> None:
    outcomes = (
        outcome("C4 D4 E4", "C4 D4 E4"),
        outcome("C4 D4 E4 F4", "C5 E4 F4"),  # one other, one missed
        outcome("A4 B4", ""),
    )
    score = Score("data", "model", "music", "none", "", outcomes, spaced=True)
    assert score.accuracy == pytest.approx(1 / 3)
    assert score.average_distance == pytest.approx(4 / 3)
    assert score.character_error_rate == pytest.approx(4 / 9)
    assert score.closeness == pytest.approx((1 + 1 / 2 + 0) / 3)
    assert score.by_length() == {2: (0, 1), 3: (1, 1), 4: (0, 1)}
    edits = score.confusions()
    assert sum(edits.values()) == 4
    assert edits["A4", ""] == edits["B4", ""] == 1
    low, high = score.distance_interval
    assert 0 <= low < score.average_distance < high <= 2
    assert "1 of 3 fragments, average edit distance 1.33" in str(score)
    save_run(tmp_path / "run.json", [score])
    assert str(load_run(tmp_path / "run.json")[0]) == str(score)


def test_nothing_to_read_counts_too() -> None:
    outcomes = (outcome("", ""), outcome("", "C4 D4"), outcome("C4", ""))
    score = Score("data", "model", "music", "none", "", outcomes, spaced=True)
    assert score.accuracy == pytest.approx(1 / 3)
    assert score.average_distance == 1
    assert score.closeness == pytest.approx(1 / 3)
    assert score.by_length() == {0: (1, 2), 1: (0, 1)}
    assert score.confusions()["", "C4"] == 1
    nothing = Score("data", "model", "music", "none", "", outcomes[:1], spaced=True)
    assert (nothing.accuracy, nothing.closeness, nothing.character_error_rate) == (1, 1, 0)


def test_intervals_of_a_mean() -> None:
    """Of many values, that of the normal distribution."""
    values = np.random.default_rng(1).poisson(0.4, 400).tolist()
    spread = 1.96 * float(np.std(values)) / 20
    mean = float(np.mean(values))
    assert mean_interval(values) == pytest.approx((mean - spread, mean + spread), abs=0.015)
    assert mean_interval(values) == mean_interval(values)
    assert mean_interval([2.0, 2.0]) == (2.0, 2.0)


def test_spaces_between_pitches_do_not_count() -> None:
    assert PROTOCOLS["music"].normalise(" C4  F5\n") == "C4 F5"
    assert PROTOCOLS["music"].scores("x", " ")  # nothing is to be read


def test_synthesized_is_the_clean_set_seen_worse(fragments: Path) -> None:
    clean = open_dataset(fragments)
    first, same, other = (Synthesized(clean, seed) for seed in (0, 0, 1))
    assert len(first) == 3
    for i in range(3):
        assert first.label(i) == clean.label(i)
        pixels = np.asarray(first.image(i))
        assert np.array_equal(pixels, np.asarray(same.image(i)))
        assert pixels.max() > pixels.min() + 20
    assert any(
        not np.array_equal(np.asarray(first.image(i)), np.asarray(other.image(i))) for i in range(3)
    )


def test_table_4(model: Path, fragments: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = [f"clean={fragments}", f"real-world={fragments}"]
    assert main(["eval", str(model), *data, "--task", "music", "--table4"]) == 0
    table = capsys.readouterr().out
    assert "| CRNN (the paper) | 74.6 % / 0.37 | 81.5 % / 0.30 | 84.0 % / 0.30 |" in table
    assert table.count("3 fragments") == 3
    assert main(["eval", str(model), str(fragments), "--task", "music", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["protocol"] == "music"
    scores = table4(Recognizer.from_pretrained(model), {"clean": open_dataset(fragments)})
    assert list(scores) == ["clean", "synthesized"]
    assert scores["clean"].average_distance == figures["average_distance"]
    with pytest.raises(ValueError, match="data must be named clean, synthesized, real-world"):
        table4(Recognizer.from_pretrained(model), {"scans": open_dataset(fragments)})

"""The temperature: fitted, stored, and used wherever probabilities are formed."""

from __future__ import annotations

import dataclasses
import json
import math
import random
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from pictures import labelled, write
from tiny import save_tiny, tiny_checkpoint

from crnn import checkpoint
from crnn.checkpoint import CheckpointError
from crnn.cli import main
from crnn.data import open_dataset
from crnn.evaluation import PROTOCOLS, Search, evaluate
from crnn.evaluation.calibration import LEAST, Readings, calibrate
from crnn.recognizer import Recognizer
from crnn_ext import greedy_decode, label_log_probs

pytestmark = pytest.mark.usefixtures("one_thread")


def made_up(count: int, temperature: float, seed: int = 0) -> Readings:
    """Readings that are right as often as their confidence at `temperature` says."""
    generator, rng = torch.Generator().manual_seed(seed), random.Random(seed)
    scale = 2 + 8 * torch.rand(count, 1, generator=generator, dtype=torch.float64)
    logits = torch.randn(5, count, 4, generator=generator, dtype=torch.float64) * scale
    lengths = torch.full((count,), 5)
    labels = [r.labels for r in greedy_decode(logits.log_softmax(2), lengths)]
    flat = torch.tensor([c for label in labels for c in label])
    chunk = (logits, lengths, flat, torch.tensor([len(label) for label in labels]))
    confidences = Readings((chunk,), torch.zeros(count, dtype=torch.bool))
    # `confidence` sorts: the probability of each, from the definition's own routine.
    log_probs = (logits / temperature).log_softmax(2)
    values = [
        math.exp(float(label_log_probs(log_probs[:, i], [label])[0]))
        for i, label in enumerate(labels)
    ]
    assert sorted(values, reverse=True) == pytest.approx(
        confidences.confidence(temperature).confidences.tolist(), abs=1e-9
    )
    return Readings((chunk,), torch.tensor([rng.random() < p for p in values]))


# ---- the fit ----------------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_the_temperature_is_found(temperature: float) -> None:
    readings = made_up(4000, temperature)
    found = calibrate(readings)
    low, high = found.interval
    assert low < found.temperature < high
    assert low * 0.98 < temperature < high * 1.02
    assert high / low < 1.3
    assert found == calibrate(readings)
    at = readings.log_loss
    assert at(found.temperature) <= min(at(found.temperature * f) for f in (0.98, 1.02))
    for end in found.interval:
        assert at(end) - at(found.temperature) == pytest.approx(3.84 / 2 / 4000, rel=0.02)
    assert readings.confidence(found.temperature).calibration_error < 0.03


def test_log_loss_by_its_definition() -> None:
    readings = made_up(60, 1.0)
    (logits, _, _, _), _ = readings.chunks[0], readings.right
    labels = [r.labels for r in greedy_decode(logits.log_softmax(2))]
    expected = 0.0
    for i, label in enumerate(labels):
        p = math.exp(float(label_log_probs((logits[:, i] / 1.7).log_softmax(1), [label])[0]))
        expected -= math.log(p if readings.right[i] else 1 - p) / 60
    assert readings.log_loss(1.7) == pytest.approx(expected, rel=1e-9)
    joined = Readings.joined([readings, made_up(50, 1.0, seed=1)])
    assert len(joined) == 110
    assert math.isfinite(joined.log_loss(0.01))  # some are wrong and sure beyond rounding


def test_what_cannot_be_fitted() -> None:
    few = made_up(LEAST - 1, 1.0)
    with pytest.raises(ValueError, match="must give at least 50 readings, got 49"):
        calibrate(few)
    readings = made_up(80, 1.0)
    for value, right in ((True, 80), (False, 0)):
        one_sided = dataclasses.replace(readings, right=torch.full((80,), value))
        with pytest.raises(ValueError, match=f"right and wrong readings, got {right} right of 80"):
            calibrate(one_sided)
    # Right exactly where the confidence is low: no temperature helps, the flattest is best.
    inverted = readings.confidence(1.0)
    median = float(inverted.confidences[40])
    ((logits, lengths, flat, counts),) = readings.chunks
    losses = readings._losses(1.0).neg().exp()
    wrong_way = Readings(((logits, lengths, flat, counts),), losses < median / 4)
    with pytest.raises(ValueError, match="got one beyond 10: do the labels belong to the images"):
        calibrate(wrong_way)


# ---- the file ---------------------------------------------------------------------------------


def parts(path: Path) -> tuple[dict[str, Any], bytes]:
    """The header and the bytes of the weights."""
    content = path.read_bytes()
    (size,) = struct.unpack("<Q", content[:8])
    assert size % 8 == 0
    return json.loads(content[8 : 8 + size]), content[8 + size :]


@pytest.mark.parametrize("half", [False, True])
def test_weights_keep_their_bytes(tmp_path: Path, half: bool) -> None:
    path = save_tiny(tmp_path / "a.safetensors", half)
    header, weights = parts(path)
    assert "temperature" not in json.loads(header["__metadata__"]["crnn"])
    before = checkpoint.load(path)
    assert before.temperature == 1.0
    checkpoint.save_calibrated(path, tmp_path / "b.safetensors", 1.25, {"note": "é" * 5})
    changed, same = parts(tmp_path / "b.safetensors")
    assert same == weights
    assert {k: v for k, v in changed.items() if k != "__metadata__"} == {
        k: v for k, v in header.items() if k != "__metadata__"
    }
    after = checkpoint.load(tmp_path / "b.safetensors")
    assert after.temperature == 1.25
    assert after.summary == {**before.summary, "calibration": {"note": "é" * 5}}
    checkpoint.save_calibrated(tmp_path / "b.safetensors", tmp_path / "b.safetensors", 2, {})
    assert checkpoint.load(tmp_path / "b.safetensors").temperature == 2.0
    assert parts(tmp_path / "b.safetensors")[1] == weights
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.safetensors", "b.safetensors"]


@pytest.mark.parametrize("value", [0, -1, math.nan, math.inf, 1e9, "1", None, True])
def test_no_temperature(tmp_path: Path, value: Any) -> None:
    path = save_tiny(tmp_path / "a.safetensors")
    content = path.read_bytes()
    with pytest.raises(CheckpointError, match=r"^save: temperature must lie in \[0.01, 100.0\], "):
        checkpoint.save_calibrated(path, path, value, {})
    with pytest.raises(CheckpointError, match=r"^save: about must be JSON"):
        checkpoint.save_calibrated(path, path, 2.0, {"a": {1}})
    assert path.read_bytes() == content
    header, weights = parts(path)
    description = json.loads(header["__metadata__"]["crnn"])
    description["temperature"] = value
    header["__metadata__"]["crnn"] = json.dumps(description)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + weights)
    with pytest.raises(CheckpointError, match=r"must have a temperature in \[0.01, 100.0\], got "):
        checkpoint.load(path)


# ---- its use ----------------------------------------------------------------------------------


def test_every_probability_is_of_the_temperature(tmp_path: Path) -> None:
    """Reading and evaluation, without lexicon and with one, equal a head of divided weights."""
    plain = tiny_checkpoint()
    warm = Recognizer(dataclasses.replace(tiny_checkpoint(), temperature=1.6))
    with torch.no_grad():
        for parameter in plain.model.head.parameters():
            parameter.div_(1.6)
    divided = Recognizer(plain)
    images = [write(tmp_path / f"{i}.png", i) for i in range(6)]
    lexicon = ["head", "bead", "fade", "cab"]
    labelled(tmp_path, ["head"] * 6)
    (tmp_path / "words.txt").write_text("\n".join(lexicon))
    data = open_dataset(tmp_path)
    for words in (None, lexicon):
        for a, b in zip(
            warm.read(images, lexicon=words), divided.read(images, lexicon=words), strict=True
        ):
            assert a.text == b.text
            assert a.confidence == pytest.approx(b.confidence, rel=1e-4)
            assert [s.confidence for s in a.symbols] == pytest.approx(
                [s.confidence for s in b.symbols], rel=1e-4
            )
    searches = [Search(), Search(str(tmp_path / "words.txt"))]
    for a, b in zip(
        evaluate(warm, data, searches=searches), evaluate(divided, data, searches=searches),
        strict=True,
    ):  # fmt: skip
        for x, y in zip(a.outcomes, b.outcomes, strict=True):
            assert x.reading == y.reading
            assert x.confidence == pytest.approx(y.confidence, rel=1e-4)


def test_readings_of_a_data_set(tmp_path: Path) -> None:
    reader = Recognizer(tiny_checkpoint())
    data = open_dataset(labelled(tmp_path, ["head"] * 10))
    (tmp_path / "3.png").write_bytes(b"broken")
    (score,) = evaluate(reader, data)
    readings = Readings.of(reader, data, PROTOCOLS["36"])
    assert len(readings) == 9
    expected = sorted((o.confidence for o in score.outcomes if o.error is None), reverse=True)
    assert readings.confidence(1.0).confidences.tolist() == pytest.approx(expected, rel=1e-4)
    (tmp_path / "5.png").write_bytes(b"broken")
    assert len(Readings.of(reader, data, PROTOCOLS["36"], count=4)) == 3  # 0, 2, 7, and 5 not


def test_min_confidence_marks(tmp_path: Path) -> None:
    reader = Recognizer(tiny_checkpoint())
    sources = [*(write(tmp_path / f"{i}.png", i) for i in range(3)), b""]
    readings = reader.read(sources)
    assert [r.accepted for r in readings] == [True, True, True, False]
    limit = sorted(r.confidence for r in readings[:3])[1]
    marked = reader.read(sources, min_confidence=limit)
    assert [r.text for r in marked] == [r.text for r in readings]
    assert [r.accepted for r in marked[:3]] == [r.confidence >= limit for r in readings[:3]]
    assert not marked[3].accepted
    assert marked[0].to_dict()["accepted"] is marked[0].accepted
    for value in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match=r"read: min_confidence must lie in \[0, 1\], got "):
            reader.read(sources, min_confidence=value)


# ---- the command ------------------------------------------------------------------------------


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model and a data set of 60, half of them labelled with what the model reads."""
    monkeypatch.chdir(tmp_path)
    reader = Recognizer.from_pretrained(save_tiny(tmp_path / "tiny.safetensors"))
    images = [write(tmp_path / "data" / f"{i}.png", i) for i in range(60)]
    texts = [r.text for r in reader.read(images)]
    labelled(tmp_path / "data", [t if i % 2 else "wrong" for i, t in enumerate(texts)])
    return Path("data")


def test_calibrate_writes_only_where_it_is_told(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = Path("tiny.safetensors")
    content = model.read_bytes()
    base = ["calibrate", str(model), "--data", "mine=data", "--protocol", "36"]
    assert main([*base, "--check", "data"]) == 0
    out = capsys.readouterr().out
    assert "fitted to 60 readings, 30 right" in out
    assert "data (check)" in out
    assert "nothing was written" in out
    assert model.read_bytes() == content
    assert main([*base, "--output", "new.safetensors", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    found = checkpoint.load("new.safetensors")
    assert found.temperature == figures["temperature"]
    assert found.summary["calibration"]["data"] == ["mine"]
    mine = figures["measured"]["mine"]
    assert mine["after"]["log_loss"] <= mine["before"]["log_loss"]
    assert main([*base, "--output", "new.safetensors"]) == 2
    assert "output must be a new file, got new.safetensors" in capsys.readouterr().err
    assert main([*base, "--in-place"]) == 0
    assert checkpoint.load(model).temperature == found.temperature
    # Fitted to the logits, so a second time gives the same, now also as the one before.
    assert main(["calibrate", *base[1:], "--json"]) == 0
    again = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert again["temperature"] == again["before"] == found.temperature


def test_calibrate_on_synthetic_images(
    data: Path, font_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("words.txt").write_text("head\nbead\ncab\n")
    base = ["calibrate", "tiny.safetensors", "--fonts", str(font_folder), "--words", "words.txt"]
    assert main([*base, "--count", "60"]) == 2  # the tiny model reads nothing right
    assert "must hold right and wrong readings, got 0 right of 6" in capsys.readouterr().err
    assert main([*base, "--count", "20"]) == 2
    assert "at least 50 readings, got 20" in capsys.readouterr().err
    trained = checkpoint.load("tiny.safetensors")
    checkpoint.save(
        "trained.safetensors", trained.model, trained.charset, trained.preprocessing,
        {"config": {"seed": 5}},
    )  # fmt: skip
    assert main(["calibrate", "trained.safetensors", *base[2:], "--seed", "5"]) == 2
    assert "seed must not be that of the training, got 5" in capsys.readouterr().err


def test_calibrate_errors(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, message in (
        (["small", "--in-place"], "model must be a file to be written --in-place, got 'small'"),
        (["tiny.safetensors", "--count", "-1"], "count must be at least 0, got -1"),
        (["none.safetensors", "--data", "data"], "none.safetensors must be an existing file"),
        (["tiny.safetensors", "--data", "none"], "none"),
    ):
        assert main(["calibrate", *arguments]) == 2
        assert message in capsys.readouterr().err
    for path in data.glob("*.png"):
        path.write_bytes(b"broken")
    assert main(["calibrate", "tiny.safetensors", "--data", "data"]) == 2
    assert "data must hold a labelled image to read, got none" in capsys.readouterr().err

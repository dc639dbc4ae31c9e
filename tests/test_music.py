"""Synthetic staff fragments: labelled rightly, reproducible, and without what draws them."""

from __future__ import annotations

import json
import math
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from crnn import Recognizer
from crnn.charset import Charset
from crnn.cli import main
from crnn.data import open_dataset
from crnn.data.batches import StoredWords
from crnn.music.dataset import SyntheticMusic, widths
from crnn.music.engrave import SPACE, Engraver, Engraving
from crnn.music.melody import CLEFS, LEAST, MOST, PITCHES, Melody, melody
from crnn.music.negatives import KINDS, turned
from crnn.music.photo import Sheet, fragment, severity
from crnn.synth.dataset import POOL, Batch
from crnn.training.config import TrainConfig
from crnn.training.loop import Trainer
from crnn.training.sources import batches

Generator = np.random.Generator


@pytest.fixture(scope="module")
def engraver() -> Engraver:
    pytest.importorskip("verovio")
    pytest.importorskip("skia")
    return Engraver()


@pytest.fixture(scope="module")
def data(engraver: Engraver) -> SyntheticMusic:
    return SyntheticMusic(Charset.named("music"), 4, seed=7, warmup=50)


def engraved(engraver: Engraver, count: int) -> list[tuple[Melody, Engraving, Generator]]:
    found = []
    for seed in range(count):
        rng = np.random.default_rng(seed)
        tune = melody(rng)
        found.append((tune, engraver(tune, rng), rng))
    return found


def test_every_note_lies_where_its_pitch_belongs(engraver: Engraver) -> None:
    """Half a staff space for each step from E4 on the lowest line; ink in every notehead."""
    for tune, engraving, _ in engraved(engraver, 30):
        _, top, _, bottom = engraving.staff
        assert bottom - top == pytest.approx(4 * SPACE, rel=1e-3)
        for pitch, (x, y) in zip(tune.pitches, engraving.notes, strict=True):
            steps = PITCHES.index(pitch) - PITCHES.index("E4")
            assert y == pytest.approx(bottom - steps * SPACE / 2, abs=0.05)
            head = engraving.mask[round(y) - 4 : round(y) + 5, round(x) : round(x + SPACE)]
            assert head.max() > 200


def test_a_fragment_holds_the_notes_that_it_shows(engraver: Engraver) -> None:
    headless = cut = 0
    for tune, engraving, rng in engraved(engraver, 60):
        sheet, pitches = fragment(engraving, tune, rng, difficulty=0.0)
        assert LEAST <= len(pitches) <= MOST
        text = " ".join(pitches)
        assert text in " ".join(tune.pitches)
        pad = (sheet.mask.shape[1] - engraving.mask.shape[1]) / 2
        inside = [
            pitch
            for pitch, (x, _) in zip(tune.pitches, engraving.notes, strict=True)
            if sheet.box[0] <= x + pad and x + pad + SPACE < sheet.box[2] + 1
        ]
        assert inside == pitches
        headless += sheet.box[0] > engraving.staff[0] + pad + 1
        cut += len(pitches) < len(tune.pitches)
    assert headless > 5
    assert cut > 5


def test_a_sample_depends_on_seed_and_index_alone(data: SyntheticMusic) -> None:
    first = [data.sample(i) for i in (90, 91)]
    again = [data.sample(i) for i in (91, 90)][::-1]
    for (image, label), (other, same) in zip(first, again, strict=True):
        assert label == same
        assert np.array_equal(image, other)
    assert not np.array_equal(first[0][0], first[1][0])


def test_it_travels_to_a_worker(data: SyntheticMusic) -> None:
    copy = pickle.loads(pickle.dumps(data))
    assert np.array_equal(copy.sample(3)[0], data.sample(3)[0])


def test_samples_are_well_formed(data: SyntheticMusic) -> None:
    empty = 0
    for index in range(90):
        image, label = data.sample(index)
        if not label:
            empty += 1
            continue
        assert image.dtype == np.uint8
        assert min(image.shape) >= 6
        assert image.shape[0] <= 260
        assert int(image.max()) - int(image.min()) > 20
        assert not data.charset.unknown(label)
        assert LEAST <= len(data.charset.encode(label)) <= MOST
    assert 10 <= empty <= 30  # no fragments


def test_batches_have_frames_for_their_labels(data: SyntheticMusic) -> None:
    pool = data[0]
    assert len(pool) == POOL
    for batch in pool:
        count, _, height, width = batch.images.shape
        assert (count, height) == (4, 64)
        assert width in widths(64)
        assert len(batch.targets) == int(batch.target_lengths.sum())
        # Every fourth pixel is a frame; a label needs one for each note and between equal ones.
        assert width // 4 >= 2 * int(batch.target_lengths.max())


def test_training_takes_it(engraver: Engraver) -> None:
    config = TrainConfig(task="music", charset="music", batch_size=2, workers=0, seed=7)
    stream = batches(config, Charset.named("music"), 64, step=3)
    image = next(stream).images
    resumed = batches(config, Charset.named("music"), 64, step=3)
    assert np.array_equal(image, next(resumed).images)


def test_an_unknown_task_is_refused() -> None:
    with pytest.raises(ValueError, match=r"task must be one of text, music, got 'chess'"):
        TrainConfig(task="chess")


def test_the_command_draws_and_exports(engraver: Engraver, tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.png"
    assert main(["synth", "music", "preview", str(sheet), "--rows", "1", "--columns", "2"]) == 0
    assert sheet.stat().st_size > 1000
    folder = tmp_path / "fragments"
    assert main(["synth", "music", "export", str(folder), "--count", "2", "--seed", "5"]) == 0
    lines = (folder / "gt.tsv").read_text().splitlines()
    same = SyntheticMusic(Charset.named("music"), 1, seed=5)
    assert [line.split("\t")[1] for line in lines] == [same.sample(i)[1] for i in range(2)]


def test_what_is_missing_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "verovio", None)
    assert main(["synth", "music", "preview", str(tmp_path / "a.png")]) == 2
    assert "pip install crnn-ext[music]" in capsys.readouterr().err


def test_the_packaged_model_reads_what_it_has_not_seen(data: SyntheticMusic) -> None:
    """Clean fragments of another seed than its training's."""
    reader = Recognizer.from_pretrained("music")
    clean = SyntheticMusic(data.charset, 1, seed=99, difficulty=0.1)
    samples = [clean.fragment(np.random.default_rng((99, i)), 0.1) for i in range(24)]
    readings = reader.read([image for image, _ in samples])
    right = sum(r.text == label for r, (_, label) in zip(readings, samples, strict=True))
    assert right >= 21


# ---- what is no fragment ----------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_the_packaged_model_refuses_what_is_no_fragment(data: SyntheticMusic, kind: str) -> None:
    """At least nine in ten are read as nothing, or with a confidence that says so."""
    rngs = [np.random.default_rng((77, i)) for i in range(30)]
    pictures = [data.negatives(rng, 0.5 * severity(rng), kind) for rng in rngs]
    readings = Recognizer.from_pretrained("music").read(pictures)
    assert sum(not r.text or r.confidence < 0.5 for r in readings) >= 27
    assert all(r.error is None for r in readings)


def test_other_clefs_show_the_same_places(engraver: Engraver) -> None:
    """The heads lie where the labels of the treble clef say, whatever the clef."""
    for clef in CLEFS:
        for seed in range(5):
            rng = np.random.default_rng(seed)
            tune = melody(rng, clef=clef, whole=True)
            assert tune.header
            engraving = engraver(tune, rng)
            bottom = engraving.staff[3]
            for pitch, (_, y) in zip(tune.pitches, engraving.notes, strict=True):
                steps = PITCHES.index(pitch) - PITCHES.index("E4")
                assert y == pytest.approx(bottom - steps * SPACE / 2, abs=0.05)


@pytest.mark.parametrize("kind", KINDS)
def test_negatives_are_pictures_of_their_kind(data: SyntheticMusic, kind: str) -> None:
    tall = 0
    for seed in range(6):
        image = data.negatives(np.random.default_rng((3, seed)), 0.6, kind)
        again = data.negatives(np.random.default_rng((3, seed)), 0.6, kind)
        assert image.dtype == np.uint8
        assert np.array_equal(image, again)
        assert min(image.shape) >= 6
        tall += image.shape[0] > image.shape[1]
        if kind not in ("page", "scenery"):
            assert int(image.max()) - int(image.min()) > 20
    assert (tall >= 5) == (kind == "sideways")


def test_turned_sheets_show_the_same_ink_in_their_box() -> None:
    mask = np.zeros((40, 60), np.uint8)
    mask[10:14, 20:50] = 255
    sheet = Sheet(mask, (20, 10, 50, 14), 4)
    for quarters in range(5):
        now = turned(sheet, quarters)
        left, top, right, bottom = (int(v) for v in now.box)
        assert now.mask[top:bottom, left:right].min() == 255
        assert int(now.mask.sum()) == int(mask.sum())
    assert turned(sheet, 4).box == sheet.box


def test_an_empty_label_goes_all_the_way(
    data: SyntheticMusic, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exported, checked, trained on as stored data, evaluated."""
    start = next(i for i in range(200) if not SyntheticMusic(data.charset, 1, seed=3).sample(i)[1])
    for destination in ("set.lmdb", "folder"):
        path = tmp_path / destination
        options = ["--count", "8", "--seed", "3", "--start", str(max(0, start - 4))]
        assert main(["synth", "music", "export", str(path), *options]) == 0
        stored = open_dataset(path)
        assert len(stored) == 8
        assert "" in [stored.label(i) for i in range(8)]
        assert main(["data", "check", str(path), "--charset", "music", "--preset", "music"]) == 0
        found = StoredWords(stored, data.charset, 4, height=64, widths=widths(64))[0]
        assert not any(batch.problems for batch in found)
        assert any(0 in batch.target_lengths for batch in found)
        capsys.readouterr()
        assert main(["eval", "music", str(path), "--task", "music", "--json"]) == 0
        figures = json.loads(capsys.readouterr().out)
        assert (figures["count"], figures["skipped"]) == (8, 0)


def test_a_batch_of_empty_labels_trains(tmp_path: Path) -> None:
    config = TrainConfig(
        task="music", preset="music", charset="music", output_dir=str(tmp_path), batch_size=2
    )
    batch = Batch(
        torch.full((2, 1, 64, 128), 255, dtype=torch.uint8),
        torch.zeros(0, dtype=torch.int64),
        torch.zeros(2, dtype=torch.int64),
    )
    loss, right = Trainer(config).train_step(batch)
    assert math.isfinite(loss)
    assert loss > 0
    assert 0 <= right <= 1

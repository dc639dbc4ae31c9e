"""Synthetic staff fragments: labelled rightly, reproducible, and without what draws them."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

import numpy as np
import pytest

from crnn import Recognizer
from crnn.charset import Charset
from crnn.cli import main
from crnn.music.dataset import SyntheticMusic, widths
from crnn.music.engrave import SPACE, Engraver, Engraving
from crnn.music.melody import LEAST, MOST, PITCHES, Melody, melody
from crnn.music.photo import fragment
from crnn.synth.dataset import POOL
from crnn.training.config import TrainConfig
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
    assert 1 <= empty <= 9  # pages without music


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
    """Clean fragments of another seed than its training's; and nothing where nothing is."""
    reader = Recognizer.from_pretrained("music")
    clean = SyntheticMusic(data.charset, 1, seed=99, difficulty=0.1)
    samples = [clean.sample(i) for i in range(24)]
    readings = reader.read([image for image, _ in samples])
    right = sum(r.text == label for r, (_, label) in zip(readings, samples, strict=True))
    assert right >= 21
    assert reader.read(np.full((80, 400), 230, np.uint8)).text == ""

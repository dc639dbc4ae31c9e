"""Training on stored words, and validation while it goes on."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from crnn import Recognizer
from crnn.charset import Charset
from crnn.cli import main
from crnn.synth import Renderer, SyntheticWords, TextSampler
from crnn.synth.export import export
from crnn.training.config import TrainConfig
from crnn.training.loop import Trainer


@pytest.fixture
def stored(font_folder: Path, tmp_path: Path) -> Path:
    """A folder of 40 words, one of them damaged, one not in the charset."""
    words = SyntheticWords(
        TextSampler(["exit", "theatre"]),
        Renderer([[str(font_folder / "default.ttf")]]),
        Charset.named("62"),
        1,
        difficulty=0.0,
    )
    export(words, tmp_path / "stored", count=40)
    (tmp_path / "stored" / "images" / "000000003.png").write_bytes(b"damaged")
    listing = tmp_path / "stored" / "gt.tsv"
    lines = listing.read_text().splitlines()
    lines[7] = lines[7].split("\t")[0] + "\tnaïve"
    listing.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return tmp_path / "stored"


@pytest.fixture
def config(
    stored: Path, font_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> TrainConfig:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "words.txt").write_text("exit\ntheatre\n")
    return TrainConfig(
        output_dir=str(tmp_path / "run"),
        data=(str(stored),),
        synthetic=False,
        words=(str(tmp_path / "words.txt"),),
        fonts=(str(font_folder),),
        fixed_width=100,
        batch_size=2,
        steps=3,
        warmup_steps=1,
        decay_steps=1,
        log_every=1,
        workers=0,
    )


def changed(config: TrainConfig, **values: object) -> TrainConfig:
    return TrainConfig(**{**vars(config), **values})  # type: ignore[arg-type]


def read_log(trainer: Trainer) -> list[dict[str, Any]]:
    return [json.loads(x) for x in (trainer.output_dir / "log.jsonl").read_text().splitlines()]


def test_damaged_samples_are_named_and_counted(
    config: TrainConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    trainer = Trainer(changed(config, steps=20))  # 20 batches of 2: the data set once
    trainer.run()
    log = read_log(trainer)
    assert log[-1]["unusable"] == trainer.unusable >= 2
    shown = capsys.readouterr().err
    assert "training: left out" in shown
    assert "000000003.png" in shown
    assert "'naïve' has 'ï', which is not in the charset" in shown


@pytest.mark.parametrize("compose", ["workers", "device"])
def test_stored_and_synthetic_words_take_turns(config: TrainConfig, compose: str) -> None:
    mixed = Trainer(changed(config, synthetic=True, compose=compose))
    stream = mixed.batches()
    kinds = [type(next(stream)).__name__ for _ in range(16)]
    assert sorted(kinds) == ["Batch"] * 8 + ["StoredBatch"] * 8
    assert kinds != sorted(kinds)


@pytest.mark.parametrize("synthetic", [False, True])
def test_resuming_with_stored_words(config: TrainConfig, tmp_path: Path, synthetic: bool) -> None:
    config = changed(config, synthetic=synthetic, steps=5, fixed_width=0, decay_steps=9)
    whole = Trainer(config)
    whole.run()
    broken = changed(config, output_dir=str(tmp_path / "broken"))
    Trainer(changed(broken, steps=3)).run()
    second = Trainer(changed(broken, steps=3), resume=True)
    assert second.step == 3
    stream, expected = second.batches(), Trainer(config).batches()
    for _ in range(3):
        next(expected)
    for _ in range(20):
        a, b = next(stream), next(expected)
        assert torch.equal(a.images, b.images)
        assert torch.equal(a.targets, b.targets)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_data_set_that_goes_away(config: TrainConfig, stored: Path, workers: int) -> None:
    trainer = Trainer(changed(config, steps=10_000, workers=workers, save_every=1))
    step = trainer.train_step

    def remove(batch: object) -> tuple[float, float]:
        if trainer.step == 1:
            shutil.rmtree(stored / "images")
        return step(batch)  # type: ignore[arg-type]

    trainer.train_step = remove  # type: ignore[method-assign]
    expected = r"^training: .*stored.* must hold usable samples, got 100 unusable ones in a row"
    with pytest.raises(ValueError, match=expected):
        trainer.run()
    assert Trainer(config, resume=True).step == trainer.step  # the last state is intact


def test_validation_keeps_the_best_and_stops(
    config: TrainConfig, stored: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = changed(
        config, validate=(str(stored),), validate_every=1, patience=2, steps=50, lr=0.0
    )  # nothing is learned: the first validation stays the best
    trainer = Trainer(config)
    trainer.run()
    assert trainer.step == 3
    log = read_log(trainer)
    scores = [line["validation"] for line in log if "validation" in line]
    assert len(scores) == 3
    assert set(scores[0]) == {str(stored)}
    best = Recognizer.from_pretrained(trainer.output_dir / "best.safetensors")
    assert best.checkpoint.summary["steps"] == 1
    assert str(stored.parent) not in json.dumps(best.checkpoint.summary)
    assert "step 1: " in capsys.readouterr().err
    resumed = Trainer(config, resume=True)
    assert (resumed.best, resumed.since_best) == (trainer.best, 2)


def test_validation_leaves_training_alone(
    config: TrainConfig, stored: Path, tmp_path: Path
) -> None:
    plain = Trainer(config)
    plain.run()
    watched = Trainer(
        changed(config, output_dir=str(tmp_path / "w"), validate=(str(stored),), validate_every=1)
    )
    watched.run()
    assert watched.model.training
    for name, value in plain.model.state_dict().items():
        assert torch.equal(value, watched.model.state_dict()[name]), name


def test_errors_before_the_run(config: TrainConfig, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="data must be given without synthetic, got none"):
        changed(config, data=())
    flags = ["--output-dir", config.output_dir, "--fonts", *config.fonts]
    assert main(["train", *flags, "--validate", "/nowhere"]) == 2
    assert "/nowhere" in capsys.readouterr().err

"""The training loop: learns, resumes, saves what reading needs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from crnn import Recognizer
from crnn.synth import Batch
from crnn.training.config import TrainConfig
from crnn.training.loop import Trainer


@pytest.fixture
def config(font_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TrainConfig:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "words.txt").write_text("exit\ntheatre\ncarpark\n")
    return TrainConfig(
        output_dir=str(tmp_path / "run"),
        words=(str(tmp_path / "words.txt"),),
        fonts=(str(font_folder),),
        fixed_width=100,
        batch_size=4,
        steps=4,
        warmup_steps=1,
        decay_steps=1,
        log_every=2,
        save_every=2,
        workers=0,
    )


def changed(config: TrainConfig, **values: object) -> TrainConfig:
    return TrainConfig(**{**vars(config), **values})  # type: ignore[arg-type]


def test_rate_rises_stays_and_falls() -> None:
    config = TrainConfig(steps=100, warmup_steps=10, decay_steps=20)
    assert config.rate(0) == pytest.approx(0.1)
    assert config.rate(9) == config.rate(50) == config.rate(80) == 1.0
    assert config.rate(90) == pytest.approx(0.5)
    assert config.rate(100) == 0.0


def test_config_errors() -> None:
    with pytest.raises(ValueError, match="TrainConfig: steps must be at least 1, got 0"):
        TrainConfig(steps=0)
    with pytest.raises(ValueError, match="optimizer must be adamw or adadelta, got 'sgd'"):
        TrainConfig(optimizer="sgd")
    with pytest.raises(ValueError, match=r"Trainer: preset must be one of .*small.*, got 'huge'"):
        Trainer(TrainConfig(preset="huge"))
    with pytest.raises(ValueError, match="Charset: name must be one of 36, 62, 94, got '37'"):
        Trainer(TrainConfig(charset="37"))


@pytest.mark.parametrize(("optimizer", "lr"), [("adamw", 2e-3), ("adadelta", 1.0)])
def test_one_batch_is_learned(config: TrainConfig, optimizer: str, lr: float) -> None:
    trainer = Trainer(changed(config, optimizer=optimizer, lr=lr, steps=1000))
    batch = next(trainer.batches())
    losses = []
    for _ in range(40):
        losses.append(trainer.train_step(batch)[0])
        trainer.step += 1
    assert losses[-1] < 0.3 * losses[0]


def test_a_resumed_run_equals_an_unbroken_one(config: TrainConfig, tmp_path: Path) -> None:
    whole = Trainer(config)
    whole.run()
    broken = changed(config, output_dir=str(tmp_path / "broken"))
    first = Trainer(broken)
    batches = first.batches()

    def two() -> Iterator[Batch]:
        yield next(batches)
        yield next(batches)
        raise KeyboardInterrupt

    first.batches = two  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        first.run()
    second = Trainer(broken, resume=True)
    assert second.step == 2
    second.run()
    assert second.step == whole.step == 4
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, second.model.state_dict()[name]), name


def test_a_run_writes_its_log_and_configuration(config: TrainConfig) -> None:
    Trainer(config).run()
    folder = Path(config.output_dir)
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 4]
    assert lines[1]["samples"] == 16
    assert json.loads((folder / "config.json").read_text())["batch_size"] == 4


def test_export_is_what_reading_takes(config: TrainConfig, tmp_path: Path) -> None:
    trainer = Trainer(config)
    trainer.run()
    recognizer = Recognizer.from_pretrained(trainer.export())
    image = next(trainer.batches()).images[0, 0].numpy()
    assert recognizer.read(image).error is None
    assert recognizer.checkpoint.summary["steps"] == 4
    assert str(tmp_path) not in json.dumps(
        recognizer.checkpoint.summary
    )  # no folder of this machine
    assert recognizer.preprocessing.fixed_width == 100


def test_a_loss_that_is_not_finite_stops_the_run(config: TrainConfig) -> None:
    trainer = Trainer(config)
    with torch.no_grad():
        trainer.model.head.bias[0] = float("nan")
    with pytest.raises(FloatingPointError, match="training: loss must be finite, got nan at step"):
        trainer.run()
    assert not (Path(config.output_dir) / "last.pt").exists()  # no good state is overwritten


def test_resume_refuses_another_network(config: TrainConfig) -> None:
    Trainer(config).run()
    with pytest.raises(ValueError, match="preset must be that of the state, 'small', got 'table1'"):
        Trainer(changed(config, preset="table1"), resume=True)

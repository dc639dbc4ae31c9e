"""Curves of a training run, read back by TensorBoard's own reader."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from crnn.cli import main

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def arguments(font_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    Path("words.txt").write_text("exit\ntheatre\n")
    values = {
        "output-dir": "run", "words": "words.txt", "fonts": font_folder, "fixed-width": 100,
        "batch-size": 4, "workers": 0, "log-every": 2, "warmup-steps": 1, "decay-steps": 1,
    }  # fmt: skip
    flags = [part for name, value in values.items() for part in (f"--{name}", str(value))]
    return ["train", *flags, "--tensorboard"]


def test_the_curves_are_the_log(arguments: list[str], font_folder: Path, tmp_path: Path) -> None:
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    synth = ["synth", "export", "set", "--count", "3", "--words", "words.txt"]
    assert main([*synth, "--fonts", str(font_folder)]) == 0
    validation = ["--validate", "set", "--validate-every", "2"]
    assert main([*arguments, "--steps", "4", *validation]) == 0
    assert main([*arguments, "--steps", "6", *validation, "--resume"]) == 0
    lines = [json.loads(line) for line in Path("run/log.jsonl").read_text().splitlines()]
    curves = reader.EventAccumulator("run").Reload()
    for name in ("loss_per_symbol", "lr", "word_accuracy", "samples"):
        found = [(event.step, event.value) for event in curves.Scalars(name)]
        expected = [(line["step"], line[name]) for line in lines if name in line]
        assert len(expected) == 3
        assert found == [(step, pytest.approx(value)) for step, value in expected]
    assert [event.step for event in curves.Scalars("validation/set")] == [2, 4, 6]
    assert not {"step", "diagnosis"} & set(curves.Tags()["scalars"])


def test_nothing_without_the_flag(arguments: list[str]) -> None:
    assert main([*arguments[:-1], "--steps", "2"]) == 0
    assert not list(Path("run").glob("events*"))


def test_tensorboard_is_missing(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    assert main([*arguments, "--steps", "2"]) == 2
    assert "run `pip install crnn-ext[tensorboard]`" in capsys.readouterr().err
    assert not Path("run").exists()

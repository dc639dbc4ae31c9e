"""The settings of a run: files, flags, overrides, recipes."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from crnn.architecture import PRESETS, Conv
from crnn.cli import train
from crnn.training.config import TrainConfig, parse_override
from crnn.training.loop import Trainer


def test_a_configuration_in_a_file(tmp_path: Path) -> None:
    odd = TrainConfig(words=('a "b"\\c.txt', "wörter.txt"), lr=1e-05, amp=True, minutes=2.5)
    odd.save(tmp_path / "odd.toml")
    assert TrainConfig.load(tmp_path / "odd.toml") == odd
    (tmp_path / "mine.toml").write_text('lr = 1\nfonts = ["here"]\n')
    loaded = TrainConfig.load(tmp_path / "mine.toml", {"steps": 7})
    assert loaded == TrainConfig(lr=1.0, fonts=("here",), steps=7)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lr = ", "must be TOML, got"),
        ("stepz = 3", r"must hold known names, got 'stepz'; did you mean steps\?"),
        ('steps = "3"', r"steps of .* must be int, got '3'"),
        ("amp = 1", r"amp of .* must be bool, got 1"),
        ("steps = 0", "steps must be at least 1, got 0"),
    ],
)
def test_a_wrong_configuration_is_explained(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "wrong.toml").write_text(text)
    with pytest.raises(ValueError, match=message):
        TrainConfig.load(tmp_path / "wrong.toml")


def test_a_configuration_of_other_bytes_is_refused(tmp_path: Path) -> None:
    (tmp_path / "wrong.toml").write_bytes(b'output_dir = "gr\xfcn"')
    with pytest.raises(ValueError, match=r"wrong\.toml must be TOML, got 'utf-8' codec"):
        TrainConfig.load(tmp_path / "wrong.toml")


def of_command(*flags: str) -> TrainConfig:
    parser = argparse.ArgumentParser()
    train.add_arguments(parser)
    return train._config(parser.parse_args(flags))


def test_a_recipe_chooses_what_is_not_given(tmp_path: Path) -> None:
    paper = of_command("--recipe", "paper", "--steps", "9")
    assert (paper.optimizer, paper.lr, paper.preset) == ("adadelta", 1.0, "vgg-bilstm")
    assert (paper.fixed_width, paper.steps, paper.recipe) == (100, 9, "paper")
    assert paper.rate(0) == paper.rate(5) == 1
    music = of_command("--recipe", "paper", "--task", "music", "--lr", "0.5")
    assert (music.optimizer, music.lr, music.preset) == ("adadelta", 0.5, "table1-music")
    assert music.charset == "music"
    (tmp_path / "short.toml").write_text('recipe = "paper"\nfixed_width = 0\n')
    short = TrainConfig.load(tmp_path / "short.toml")
    assert (short.preset, short.fixed_width) == ("vgg-bilstm", 0)
    short.save(tmp_path / "whole.toml")
    assert TrainConfig.load(tmp_path / "whole.toml") == short
    with pytest.raises(ValueError, match="recipe must be one of modern, paper, got 'papier'"):
        of_command("--recipe", "papier")


def test_overrides_reach_into_the_network(tmp_path: Path) -> None:
    config = of_command(
        "--set", "model.hidden=256", "model.layers.0.channels=48", "lr=1e-3",
        "--set", "model.join=0", "words=['my.txt']", f"output_dir={tmp_path}", "--seed", "3",
    )  # fmt: skip
    assert config.model == {"hidden": 256, "layers": {"0": {"channels": 48}}, "join": 0}
    assert (config.lr, config.words, config.seed) == (1e-3, ("my.txt",), 3)
    assert config.output_dir == str(tmp_path)
    config.save(tmp_path / "config.toml")
    assert "model.layers.0.channels = 48\n" in (tmp_path / "config.toml").read_text()
    assert TrainConfig.load(tmp_path / "config.toml") == config
    more = of_command("--config", str(tmp_path / "config.toml"), "--set", "model.hidden=64")
    assert more.model == {"hidden": 64, "layers": {"0": {"channels": 48}}, "join": 0}
    network = Trainer(more).model
    assert network.config == PRESETS["small"].changed(more.model)
    assert (network.rnn[0].hidden_size, network.convs[0][0].out_channels) == (64, 48)
    with pytest.raises(ValueError, match="override must be name=value, got 'lr'"):
        parse_override("lr")
    with pytest.raises(ValueError, match="override 'a b=1' must be TOML"):
        parse_override("a b=1")
    with pytest.raises(ValueError, match="seed of the settings must be int, got 'one'"):
        of_command("--set", "seed=one")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hiden": 3}, "model must have the names layers, hidden, .* got 'hiden'"),
        ({"hidden": "3"}, "model.hidden must be int, got '3'"),
        ({"hidden": 0}, r"hidden must be an integer in \[1, 65536\], got 0"),
        ({"layers": {"99": {"channels": 3}}}, "model.layers must have the names 0, 1, .* got '99'"),
        ({"layers": {"-1": {"channels": 3}}}, "model.layers must have the names 0, 1, .* got '-1'"),
        ({"layers": {"0": {"stride": 2}}}, "model.layers.0 must have the names type, .* 'stride'"),
        ({"layers": 3}, "model.layers must be list, got 3"),
        ({"height": 4}, "must leave a feature map at least 1 high"),
    ],
)
def test_impossible_networks_are_explained(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PRESETS["small"].changed(changes)


def test_changes_of_a_network() -> None:
    pools = PRESETS["small"].changed({"layers": {"1": {"stride": [2, 1], "kernel": [2, 2]}}})
    assert pools.layers[1].stride == (2, 1)
    whole = PRESETS["small"].changed({"layers": PRESETS["table1"].to_dict()["layers"]})
    assert whole.layers == PRESETS["table1"].layers
    assert isinstance(whole.layers[0], Conv)
    assert PRESETS["small"].changed({}) == PRESETS["small"]

"""Two processes train what one process would on both of their batches."""

from __future__ import annotations

import copy
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from crnn.training.config import TrainConfig
from crnn.training.loop import Trainer
from crnn.training.sources import batches
from crnn_ext import ctc_loss

STEPS = 3


@pytest.fixture
def config(
    font_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[TrainConfig]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "words.txt").write_text("exit\ntheatre\ncarpark\n")
    threads = torch.get_num_threads()
    yield TrainConfig(
        output_dir=str(tmp_path / "run"),
        words=(str(tmp_path / "words.txt"),),
        fonts=(str(font_folder),),
        batch_size=4,
        steps=STEPS,
        warmup_steps=1,
        decay_steps=1,
        log_every=1,
        workers=0,
        threads=1,
    )
    torch.set_num_threads(threads)


def start(config: TrainConfig, tmp_path: Path) -> list[subprocess.Popen[str]]:
    """The run in two processes, as torchrun starts them on one machine."""
    config.save(tmp_path / "run.toml")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2"}
    command = [sys.executable, "-m", "crnn", "train", "--config", str(tmp_path / "run.toml")]
    return [
        subprocess.Popen(
            command,
            env={**os.environ, **address, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]


def test_two_processes_learn_what_one_would(config: TrainConfig, tmp_path: Path) -> None:
    processes = start(config, tmp_path)
    ends = [process.communicate(timeout=240) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], ends
    assert "wrote" in ends[0][0]
    assert ends[1][0] == ""  # one process writes

    one = Trainer(config)
    one.model.train()
    streams = [batches(config, one.charset, 32, 0, rank=rank, ranks=2) for rank in range(2)]
    expected = []
    for step in range(STEPS):
        # Statistics are those of the first process, so the second one's batch goes first.
        statistics = copy.deepcopy(dict(one.model.named_buffers()))
        one.optimizer.zero_grad()
        for stream in reversed(streams):
            one.model.load_state_dict(statistics, strict=False)
            batch = next(stream)
            logits, lengths = one.model(batch.images.float().div(127.5).sub(1))
            losses = ctc_loss(
                logits, batch.targets, lengths, batch.target_lengths,
                reduction="none", from_logits=True, zero_infinity=True,
            )  # fmt: skip
            (losses.mean() / 2).backward()
        expected.append(float(losses.detach().sum() / batch.target_lengths.sum()))
        torch.nn.utils.clip_grad_norm_(one.model.parameters(), config.clip_norm)
        for group in one.optimizer.param_groups:
            group["lr"] = config.lr * config.rate(step)
        one.optimizer.step()

    log = [json.loads(x) for x in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [line["loss_per_symbol"] for line in log] == pytest.approx(expected, abs=2e-4)
    assert log[-1]["samples"] == STEPS * 8
    two = torch.load(tmp_path / "run" / "last.pt", weights_only=True)["model"]
    for name, value in one.model.state_dict().items():
        # ADAM divides by the gradient's size: where that is nearly zero, rounding shows.
        assert torch.allclose(two[name].float(), value.float(), rtol=1e-3, atol=2e-4), name


def test_a_signal_to_one_ends_both_at_the_same_step(config: TrainConfig, tmp_path: Path) -> None:
    config = TrainConfig(**{**vars(config), "steps": 100_000})
    processes = start(config, tmp_path)
    log = tmp_path / "run" / "log.jsonl"
    deadline = time.monotonic() + 200
    while not log.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    processes[1].send_signal(signal.SIGINT)
    ends = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [130, 130], ends
    assert torch.load(tmp_path / "run" / "last.pt", weights_only=True)["step"] >= 1

"""The training loop: learns, resumes, saves what reading needs."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from crnn import Recognizer
from crnn.checkpoint import load
from crnn.cli import main
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
    with pytest.raises(ValueError, match="compose must be workers or device, got 'gpu'"):
        TrainConfig(compose="gpu")
    with pytest.raises(ValueError, match="compose must be workers for task music, got 'device'"):
        TrainConfig(task="music", compose="device")
    with pytest.raises(ValueError, match=r"Trainer: preset must be one of .*small.*, got 'huge'"):
        Trainer(TrainConfig(preset="huge"))
    with pytest.raises(
        ValueError, match="Charset: name must be one of 36, 62, 94, music, got '37'"
    ):
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


def test_large_batches_are_watched_in_part(config: TrainConfig) -> None:
    """Every second of 300 words is read for the log; all are learned from."""
    trainer = Trainer(changed(config, batch_size=300, compose="device", warmup_samples=1))
    trainer.train_step(next(trainer.batches()))
    assert trainer.health.words == 150


def test_a_run_can_be_read_with_before_its_end(config: TrainConfig) -> None:
    trainer = Trainer(changed(config, steps=3, save_every=2))
    trainer.run()
    written = load(Path(config.output_dir) / "model.safetensors")
    assert written.summary["steps"] == 2


def equal_states(one: Trainer, other: Trainer) -> bool:
    """Weights, statistics and the optimizer's moments, bit for bit."""
    moments = (trainer.optimizer.state_dict()["state"] for trainer in (one, other))
    same = [
        all(torch.equal(a[key][name], b[key][name]) for key in a for name in a[key])
        for a, b in [tuple(moments)]
    ]
    weights, others = one.model.state_dict(), other.model.state_dict()
    return all(same) and all(torch.equal(weights[name], others[name]) for name in weights)


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize(
    ("workers", "stop_at", "compose"),  # in the 1st and the 2nd pool
    [(0, 2, "workers"), (2, 9, "workers"), (1, 9, "device")],
)
def test_a_resumed_run_equals_an_unbroken_one(
    config: TrainConfig, tmp_path: Path, workers: int, stop_at: int, compose: str
) -> None:
    """With width buckets, workers, and a Ctrl-C in the middle of a step."""
    config = changed(config, fixed_width=0, steps=11, workers=workers, compose=compose)
    whole = Trainer(config)
    whole.run()
    broken = changed(config, output_dir=str(tmp_path / "broken"))
    first = Trainer(broken)
    step = first.train_step

    def interrupted(batch: Batch) -> tuple[float, float]:
        if first.step == stop_at - 1:
            os.kill(os.getpid(), signal.SIGINT)
        return step(batch)

    first.train_step = interrupted  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        first.run()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    second = Trainer(broken, resume=True)
    assert second.step == stop_at  # the step under way was finished
    second.run()
    assert second.step == whole.step == 11
    assert equal_states(whole, second)


def test_a_killed_run_resumes_bit_for_bit(config: TrainConfig, tmp_path: Path) -> None:
    """SIGKILL while steps and checkpoints fly by, then the end as if nothing had happened."""
    config = changed(config, fixed_width=0, steps=12, save_every=1, threads=1)
    killed = changed(config, output_dir=str(tmp_path / "killed"))
    code = (
        "from crnn.training.config import TrainConfig as C; "
        "from crnn.training.loop import Trainer; "
        f"Trainer(C(**{vars(killed)!r})).run()"
    )
    child = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    state = Path(killed.output_dir) / "last.pt"
    deadline = time.monotonic() + 120
    while not state.exists() and time.monotonic() < deadline and child.poll() is None:
        time.sleep(0.005)
    child.kill()
    child.wait()
    threads = torch.get_num_threads()
    try:
        resumed = Trainer(killed, resume=True)
        assert 1 <= resumed.step <= 12
        resumed.run()
        whole = Trainer(config)
        whole.run()
    finally:
        torch.set_num_threads(threads)
    assert equal_states(whole, resumed)


def test_a_full_disk_leaves_the_last_state(config: TrainConfig) -> None:
    trainer = Trainer(config)
    trainer.run()
    path = Path(config.output_dir) / "last.pt"
    before, names = path.read_bytes(), sorted(os.listdir(config.output_dir))
    trainer.step += 1
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, hard))  # the write breaks off
    try:
        with pytest.raises(OSError, match="File too large"):
            trainer.save_state()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == before
    assert sorted(os.listdir(config.output_dir)) == names  # no half-written file is left


def test_a_run_by_the_clock_ends(config: TrainConfig) -> None:
    timed = changed(config, steps=10**6, minutes=0.02, decay_minutes=0.01)
    trainer = Trainer(timed)
    trainer.run()
    assert trainer.step >= 1
    assert timed.rate(trainer.step, trainer.seconds) == 0
    assert timed.rate(1, 0.9) == pytest.approx(0.5)  # half of the fall


def test_a_run_starts_from_given_weights(config: TrainConfig) -> None:
    started = Trainer(changed(config, init=("small",)))
    packaged = Recognizer.from_pretrained("small").checkpoint.model.state_dict()
    weights = started.model.state_dict()
    assert all(torch.equal(weights[name], packaged[name]) for name in packaged)
    with pytest.raises(ValueError, match="init must be a network of the run's preset and charset"):
        Trainer(changed(config, init=("small",), charset="62"))


def test_a_deeper_network_starts_as_the_one_it_grew_from(config: TrainConfig) -> None:
    small = Recognizer.from_pretrained("small").checkpoint.model
    base = Trainer(changed(config, preset="base", init=("small",))).model.eval()
    images, widths = torch.randn(2, 1, 32, 90), torch.tensor([90, 55])
    with torch.inference_mode():
        torch.testing.assert_close(base(images, widths)[0], small(images, widths)[0])
    with pytest.raises(ValueError, match="or that without some of its residual blocks, got small"):
        Trainer(changed(config, preset="vgg-bilstm", init=("small",)))


def test_the_mean_of_a_deeper_network_and_the_one_it_grew_from(config: TrainConfig) -> None:
    config = changed(config, preset="base", init=("small",))
    deeper = Trainer(config)
    Path(config.output_dir).mkdir()
    with torch.no_grad():
        for parameter in deeper.model.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))
    exported = str(deeper.export())
    deep = Recognizer.from_pretrained(exported).checkpoint.model.state_dict()
    small = Recognizer.from_pretrained("small").checkpoint.model.state_dict()
    for init in ((exported, "small"), ("small", exported)):
        mean = Trainer(changed(config, init=init)).model.state_dict()
        assert torch.allclose(mean["head.weight"], (deep["head.weight"] + small["head.weight"]) / 2)
        # Layers 6 and 7 are a block that small lacks; its layer 6 is 8 here.
        at, was = "convs.9.0.weight", "convs.7.0.weight"
        assert torch.allclose(mean[at], (deep[at] + small[was]) / 2)
        assert torch.allclose(mean["convs.7.0.weight"], deep["convs.7.0.weight"])
        assert torch.allclose(mean["convs.7.1.weight"], deep["convs.7.1.weight"] / 2)
        assert torch.allclose(mean["convs.7.1.bias"], deep["convs.7.1.bias"] / 2)


def test_a_run_starts_from_the_mean_of_models(config: TrainConfig) -> None:
    other = Trainer(config)
    Path(config.output_dir).mkdir()
    mean = Trainer(changed(config, init=("small", str(other.export())))).model.state_dict()
    packaged = Recognizer.from_pretrained("small").checkpoint.model.state_dict()
    for name, value in other.model.state_dict().items():
        if value.is_floating_point():
            expected = (packaged[name] + value.half().float()) / 2  # files hold float16
            assert torch.allclose(mean[name], expected, atol=1e-6), name
        else:
            assert torch.equal(mean[name], packaged[name])


def test_the_average_of_the_weights_is_exported_and_resumed(
    config: TrainConfig, tmp_path: Path
) -> None:
    """By hand: average <- decay * average + (1 - decay) * weights after every step."""
    config = changed(config, ema_decay=0.75)
    by_hand: dict[str, torch.Tensor] = {}
    whole = Trainer(config)
    step = whole.train_step

    def watched(batch: Batch) -> tuple[float, float]:
        figures = step(batch)
        for name, value in whole.model.named_parameters():
            now = value.detach().clone()
            by_hand[name] = 0.75 * by_hand[name] + 0.25 * now if name in by_hand else now
        return figures

    whole.train_step = watched  # type: ignore[method-assign]
    whole.run()
    for name, value in whole.result.named_parameters():
        assert torch.allclose(value, by_hand[name], atol=1e-6), name
    halves = changed(config, output_dir=str(tmp_path / "halves"), steps=2)
    Trainer(halves).run()
    resumed = Trainer(changed(halves, steps=4), resume=True)
    resumed.run()
    assert equal_states(whole, resumed)
    ours, theirs = whole.result.state_dict(), resumed.result.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    exported = Recognizer.from_pretrained(whole.export()).checkpoint.model.state_dict()
    assert torch.equal(exported["head.weight"], ours["head.weight"].half().float())
    assert not torch.equal(exported["head.weight"], whole.model.head.weight.half().float())
    plain = changed(config, ema_decay=0.0, output_dir=str(tmp_path / "plain"))
    Trainer(plain).run()
    joined = Trainer(changed(plain, ema_decay=0.75), resume=True)
    assert torch.equal(joined.result.head.weight, joined.model.head.weight)
    with pytest.raises(ValueError, match=r"ema_decay must lie in \[0, 1\), got 1"):
        changed(config, ema_decay=1.0)


@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")  # torch's, of its own parts
def test_compiled_training_takes_the_same_steps(config: TrainConfig) -> None:
    if shutil.which("g++") is None:
        pytest.skip("inductor needs g++")
    losses = []
    pool = {"type": "pool", "kernel": [16, 2], "stride": [16, 2]}
    layers = [{"type": "conv", "channels": 8, "norm": True}, pool]  # small: compiling takes long
    for compiled in (False, True):
        config = changed(config, model={"layers": layers, "hidden": 8}, compile=compiled)
        trainer = Trainer(config)
        steps = zip(range(2), trainer.batches(), strict=False)
        losses.append([trainer.train_step(batch)[0] for _, batch in steps])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert losses[0][0] != pytest.approx(losses[0][1], rel=1e-4)


def test_a_run_writes_its_log_and_configuration(config: TrainConfig) -> None:
    Trainer(config).run()
    folder = Path(config.output_dir)
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 4]
    assert lines[1]["samples"] == 16
    assert TrainConfig.load(folder / "config.toml") == config


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


def test_a_loss_that_is_not_finite_is_diagnosed(config: TrainConfig) -> None:
    trainer = Trainer(config)
    with torch.no_grad():
        trainer.model.head.bias[0] = float("nan")
    expected = r"loss must be finite, got nan at step 0: head\.bias is not finite"
    with pytest.raises(FloatingPointError, match=expected):
        trainer.run()
    assert not (Path(config.output_dir) / "last.pt").exists()  # no good state is overwritten


def test_a_gradient_that_is_not_finite_spoils_nothing(config: TrainConfig) -> None:
    trainer = Trainer(config)
    trainer.model.joins[0].weight.register_hook(lambda gradient: gradient * float("inf"))
    before = {name: value.clone() for name, value in trainer.model.named_parameters()}
    expected = r"gradient must be finite.*the gradient of joins\.0\.weight is not"
    with pytest.raises(FloatingPointError, match=expected):
        trainer.train_step(next(trainer.batches()))
    assert all(torch.equal(value, before[name]) for name, value in trainer.model.named_parameters())


def test_the_command_resumes_with_the_settings_of_the_run(
    config: TrainConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--output-dir", config.output_dir, "--steps", "2", "--batch-size", "2"]
    flags += ["--words", *config.words, "--fonts", *config.fonts, "--workers", "0", "--amp"]
    assert main(["train", *flags]) == 0
    assert main(["train", "--output-dir", config.output_dir, "--resume", "--steps", "3"]) == 0
    settings = TrainConfig.load(Path(config.output_dir) / "config.toml")
    assert (settings.steps, settings.batch_size, settings.amp) == (3, 2, True)
    assert "model.safetensors" in capsys.readouterr().out
    more = ["train", "--resume", "--output-dir", config.output_dir, "--charset", "62"]
    assert main(more) == 2
    assert "charset must be that of the state, '36', got '62'" in capsys.readouterr().err


def test_resume_refuses_another_network(config: TrainConfig) -> None:
    Trainer(config).run()
    with pytest.raises(ValueError, match="preset must be that of the state, 'small', got 'table1'"):
        Trainer(changed(config, preset="table1"), resume=True)

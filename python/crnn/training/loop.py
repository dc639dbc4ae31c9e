"""The training loop: batches in, checkpoints and a JSONL log out."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import math
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from crnn.architecture import PRESETS, Conv
from crnn.charset import Charset
from crnn.checkpoint import load, save
from crnn.files import write_atomically
from crnn.images import Preprocessing
from crnn.model import CRNN
from crnn.pretrained import model_file
from crnn.synth import Batch
from crnn.training.config import CONFIG, TrainConfig
from crnn.training.distributed import Ranks
from crnn.training.health import Health
from crnn.training.scalars import Scalars, summary_writer
from crnn.training.signals import stop_requests
from crnn.training.sources import batches
from crnn.training.validation import Validator
from crnn_ext import ctc_loss

STATE = "last.pt"
BEST = "best.safetensors"
_OBSERVED = 256  # words of a batch whose readings are counted: more would hold up a GPU
_TURN_ABOVE = 1.5  # single letters are seldom higher, words upright hardly ever
_NAMED = 5  # samples left out that are named; all are counted


class Trainer:
    """Trains a model from synthetic images, stored ones, or both.

    Under torchrun each process takes other batches of ``batch_size`` images, and all take the step
    of the mean gradient; resume with as many processes.

    Args:
        config: the run.
        resume: continue from the state in ``config.output_dir`` if there is one.

    Raises:
        ValueError: the preset or charset is unknown, the network impossible, or the state belongs
            to another model.
    """

    def __init__(self, config: TrainConfig, resume: bool = False) -> None:
        if config.preset not in PRESETS:
            raise ValueError(
                f"Trainer: preset must be one of {', '.join(PRESETS)}, got {config.preset!r}"
            )
        self.config = config
        if config.tensorboard:
            summary_writer()  # what is missing shows at once
        self.charset = Charset.named(config.charset)
        self.output_dir = Path(config.output_dir)
        self.ranks = Ranks(config.device)
        self.device = self.ranks.device
        if config.threads:
            torch.set_num_threads(config.threads)
        torch.manual_seed(config.seed)
        network = PRESETS[config.preset].changed(config.model)
        model = CRNN(network, self.charset.num_classes)
        if config.init:
            _start_from(model, config.init)
        model = model.to(self.device)
        self.model: CRNN = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizer = self._optimizer()
        self.average: AveragedModel | None = None  # of the weights and statistics of all steps
        if config.ema_decay:
            follow = get_ema_multi_avg_fn(config.ema_decay)  # type: ignore[no-untyped-call]
            self.average = AveragedModel(self.model, multi_avg_fn=follow, use_buffers=True)
        self.step = 0
        self.seconds = 0.0
        self.health = Health(self.charset)
        self.told: list[str] = []  # what the last window's diagnosis said
        self.unusable = 0  # stored samples left out, in this process
        self.best, self.since_best = -1.0, 0  # mean accuracy, and validations since then
        self.validator = Validator(config.validate)
        if resume and (self.output_dir / STATE).exists():
            self._load_state()
        self.network = self.ranks.wrap(self.model)
        if config.compile:  # reading keeps to self.model: its images have too many shapes
            self.network = torch.compile(self.network)  # type: ignore[assignment]

    def _optimizer(self) -> torch.optim.Optimizer:
        config = self.config
        if config.optimizer == "adadelta":  # section 2.4, rho of section 3.2
            return torch.optim.Adadelta(self.model.parameters(), lr=config.lr, rho=0.9)
        decayed = [p for p in self.model.parameters() if p.ndim > 1]
        others = [p for p in self.model.parameters() if p.ndim <= 1]
        groups: list[dict[str, Any]] = [
            {"params": decayed},
            {"params": others, "weight_decay": 0.0},
        ]
        return torch.optim.AdamW(groups, lr=config.lr, weight_decay=config.weight_decay, fused=True)

    def batches(self) -> Iterator[Batch]:
        """The stream of batches from the one that `step` takes next."""
        height = self.model.config.height
        ranks = self.ranks
        return batches(
            self.config, self.charset, height, self.step, self._note_problem,
            ranks.rank, ranks.count, self.device,
        )  # fmt: skip

    def _note_problem(self, problem: str) -> None:
        self.unusable += 1
        if self.unusable <= _NAMED:
            tqdm.write(f"training: left out {problem}", file=sys.stderr)

    def run(self) -> None:
        """Train to the end, or until a signal asks to stop.

        Raises:
            KeyboardInterrupt: Ctrl-C or SIGTERM, after the step under way and the saving of its
                state; a second one stops at once.
            FloatingPointError: the loss or its gradient is not finite; the message says what
                broke, and the last state saved is intact.
            OSError: a file cannot be written; the last state saved is intact.
        """
        writes = self.ranks.writes
        if writes:
            self.output_dir.mkdir(parents=True, exist_ok=True)
            self.config.save(self.output_dir / CONFIG)
        self.model.train()
        window: list[tuple[float, float]] = []
        before, started = self.seconds, time.monotonic()
        progress = tqdm(
            total=self.config.steps, initial=self.step, file=sys.stderr, unit="step",
            disable=not writes,
        )  # fmt: skip
        self.scalars = Scalars(self.output_dir, self.step, writes and self.config.tensorboard)
        stopped = done = False
        with (
            contextlib.closing(progress),
            contextlib.closing(self.scalars),
            stop_requests() as stop,
        ):
            for batch in self.batches():
                seconds = before + time.monotonic() - started
                # All processes end at the same step, whichever was asked to.
                asked, over, self.seconds = self.ranks.most([bool(stop), done, seconds])
                stopped = bool(asked)
                if stopped or over or self.config.rate(self.step, self.seconds) <= 0:
                    break
                figures = self.train_step(batch)
                self.step += 1
                if writes:
                    window.append(figures)
                    progress.update()
                    done = self._after_step(window, progress)
            if writes:
                self.save_state()
        if stopped:
            raise KeyboardInterrupt

    def _after_step(self, window: list[tuple[float, float]], progress: tqdm[Any]) -> bool:
        """Log, validate and save where it is time to; whether patience has run out."""
        done = False
        if self.step % self.config.log_every == 0:
            self._log(window, progress)
            window.clear()
        if self.step % self.config.validate_every == 0:
            done = self._validate()
        if self.step % self.config.save_every == 0:
            self.save_state()
            self.export()  # so that a run can be read with, whatever ends it
        return done

    def train_step(self, batch: Batch) -> tuple[float, float]:
        """One update; returns the loss per label symbol and the share of words read right."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.lr * self.config.rate(self.step, self.seconds)
        images = batch.images.to(self.device, torch.float32).div_(127.5).sub_(1)
        images = images.contiguous(memory_format=torch.channels_last)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.amp):
            logits, lengths = self.network(images)
        losses = ctc_loss(
            logits, batch.targets.to(self.device), lengths, batch.target_lengths.to(self.device),
            reduction="none", from_logits=True, zero_infinity=True,
        )  # fmt: skip
        loss = losses.mean()
        if not math.isfinite(loss.item()):
            raise FloatingPointError(
                f"training: loss must be finite, got {loss.item()} at step {self.step}: "
                f"{self._diagnosis(logits)}; the last state saved is intact"
            )
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip_norm)
        if not math.isfinite(norm.item()):  # the update would spoil every weight
            raise FloatingPointError(
                f"training: gradient must be finite, got norm {norm.item()} at step {self.step} "
                f"with loss {loss.item():.4g}: {self._diagnosis(logits)}; "
                "the last state saved is intact"
            )
        self.optimizer.step()
        if self.average is not None:
            self.average.update_parameters(self.model)
        per_symbol = float(losses.detach().sum() / max(1, int(batch.target_lengths.sum())))
        every = -(-len(batch.target_lengths) // _OBSERVED)
        labels = torch.split(batch.targets, batch.target_lengths.tolist())[::every]
        seen = logits.detach()[:, ::every]
        return per_symbol, self.health.observe(seen, [t.tolist() for t in labels])

    @property
    def result(self) -> CRNN:
        """What validation reads with and `export` writes: the averaged model where there is one."""
        return self.model if self.average is None else cast(CRNN, self.average.module)

    def _diagnosis(self, logits: Tensor) -> str:
        """What is not finite, nearest the cause, and what helps."""
        for name, value in self.model.state_dict().items():
            if not value.isfinite().all():
                return f"{name} is not finite, an earlier step diverged; use a lower lr"
        if not logits.isfinite().all():
            how = "try without amp, or " if self.config.amp else ""
            return f"the weights are finite, the logits are not; {how}use a lower lr"
        for name, parameter in self.model.named_parameters():
            if parameter.grad is not None and not parameter.grad.isfinite().all():
                return f"the logits are finite, the gradient of {name} is not; use a lower lr"
        return "weights and logits are finite; report this as a fault of ctc_loss"

    def _log(self, window: list[tuple[float, float]], progress: tqdm[Any]) -> None:
        loss = sum(item[0] for item in window) / len(window)
        accuracy = sum(item[1] for item in window) / len(window)
        line: dict[str, Any] = {
            "step": self.step, "samples": self._samples(), "loss_per_symbol": round(loss, 4),
            "lr": self.optimizer.param_groups[0]["lr"], "seconds": round(self.seconds, 1),
        }  # fmt: skip
        line |= self.health.figures()
        if self.config.data:
            line["unusable"] = self.unusable
        findings = self.health.diagnosis()
        if findings:
            line["diagnosis"] = findings
        for finding in findings:
            if finding not in self.told:
                tqdm.write(f"training, step {self.step}: {finding}", file=sys.stderr)
        self.told = findings
        self.health.clear()
        self._write_log(line)
        progress.set_postfix(loss=f"{loss:.3f}", accuracy=f"{accuracy:.1%}")

    def _samples(self) -> int:
        return self.step * self.config.batch_size * self.ranks.count

    def _write_log(self, line: dict[str, Any]) -> None:
        with (self.output_dir / "log.jsonl").open("a", encoding="utf-8") as log:
            log.write(json.dumps(line) + "\n")
        self.scalars.write(line)

    def _validate(self) -> bool:
        """Read the data sets, keep the best weights; whether patience has run out."""
        if not self.config.validate:
            return False
        model, device = self.result, self.device
        scores = self.validator.scores(model, self.charset, self._preprocessing(), device)
        mean = sum(scores.values()) / len(scores)
        self.since_best += 1
        if mean > self.best:
            self.best, self.since_best = mean, 0
            self.export(BEST)
        shown = ", ".join(f"{name} {score:.1%}" for name, score in scores.items())
        tqdm.write(f"step {self.step}: {shown}", file=sys.stderr)
        self._write_log({"step": self.step, "validation": scores, "best": self.best})
        return 0 < self.config.patience <= self.since_best

    def save_state(self) -> None:
        """Write everything that `resume` needs, whole or not at all."""
        state = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
            "step": self.step,
            "seconds": self.seconds,
            "best": (self.best, self.since_best),
            "config": dataclasses.asdict(self.config),
        }
        content = io.BytesIO()
        torch.save(state, content)
        write_atomically(self.output_dir / STATE, content.getvalue())

    def _preprocessing(self) -> Preprocessing:
        width = self.config.fixed_width
        upright = width or self.config.task == "music"  # the paper reads every image as it stands
        return Preprocessing(
            height=self.model.config.height, min_width=100, fixed_width=width or None,
            turn_above=0.0 if upright else _TURN_ABOVE,
        )  # fmt: skip

    def export(self, name: str = "model.safetensors") -> Path:
        """Write the model into the run's folder for reading with; returns its path."""
        path = self.output_dir / name
        # A model travels: folders of the machine that made it stay behind.
        config = dataclasses.asdict(self.config)
        del config["output_dir"], config["fonts"], config["backgrounds"], config["validate"]
        for key in ("words", "data", "init"):
            config[key] = [Path(path).name for path in config[key]]
        summary = {
            "steps": self.step,
            "samples": self._samples(),
            "seconds": round(self.seconds),
            "config": config,
        }
        save(path, self.result, self.charset, self._preprocessing(), summary, half=True)
        return path

    def _load_state(self) -> None:
        # weights_only: a training state may come from elsewhere, and must not run code.
        state = torch.load(self.output_dir / STATE, map_location=self.device, weights_only=True)
        for name in ("preset", "model", "charset", "optimizer"):
            # States from before there was `model` have none.
            before, now = state["config"].get(name, {}), getattr(self.config, name)
            if before != now:
                raise ValueError(
                    f"Trainer: {name} must be that of the state, {before!r}, got {now!r}"
                )
        self.model.load_state_dict(state["model"])
        if self.average is not None:
            if state.get("average"):
                self.average.load_state_dict(state["average"])
            else:  # a run that had none so far: its weights are where the average begins
                self.average.module.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.seconds = state["step"], state["seconds"]
        self.best, self.since_best = state["best"]


def _start_from(model: CRNN, sources: Sequence[str]) -> None:
    """Take the mean weights of packaged models or files; a count keeps that of the first.

    A residual block that a network lacks is the identity there: it counts as the block of the first
    one that has it, or of `model`, with nothing of it added.
    """
    found: list[dict[str, Tensor]] = []
    for source in sources:
        with model_file(source) as path:
            start = load(path).model
        places = model.config.places_of(start.config)
        if places is None or start.num_classes != model.num_classes:
            raise ValueError(
                "Trainer: init must be a network of the run's preset and charset, or that "
                f"without some of its residual blocks, got {source}"
            )
        found.append({})
        for name, value in start.state_dict().items():
            part, _, rest = name.partition(".")
            if part == "convs":
                number, _, rest = rest.partition(".")
                name = f"convs.{places[int(number)]}.{rest}"
            found[-1][name] = value
    identity = dict(model.state_dict())
    for state in reversed(found):
        identity.update(state)
    for i, layer in enumerate(model.config.layers):
        if isinstance(layer, Conv) and layer.skip:
            for name in (f"convs.{i}.1.weight", f"convs.{i}.1.bias"):
                identity[name] = torch.zeros_like(identity[name])
    states = [identity | state for state in found]
    mean = {
        name: sum(state[name] for state in states) / len(states)
        if first.is_floating_point()
        else first
        for name, first in states[0].items()
    }
    model.load_state_dict(mean)

"""The settings of a training run, saved beside what it makes."""

from __future__ import annotations

import dataclasses
import difflib
import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from crnn.files import write_atomically

CONFIG = "config.toml"  # beside what a run makes

#: What is read, and the settings that fit it better than the defaults of `TrainConfig`.
TASKS: dict[str, dict[str, Any]] = {
    "text": {},
    "music": {
        "preset": "music", "charset": "music", "output_dir": "runs/music",
        "batch_size": 32, "warmup_samples": 60_000,
    },
}  # fmt: skip
_PAPER = {"optimizer": "adadelta", "lr": 1.0, "warmup_steps": 1, "decay_steps": 1}
#: How it is learned: the settings of a recipe for each task, over those of the task.
RECIPES: dict[str, dict[str, dict[str, Any]]] = {
    "modern": {"text": {}, "music": {}},
    # Section 3.2: ADADELTA, images of 100 x 32; the network of the authors' released code.
    "paper": {
        "text": _PAPER | {"preset": "vgg-bilstm", "fixed_width": 100, "output_dir": "runs/paper"},
        "music": _PAPER | {"preset": "table1-music", "output_dir": "runs/paper-music"},
    },
}


@dataclass(frozen=True)
class TrainConfig:
    """One run. The defaults train the small model on any CPU.

    Attributes:
        task: a name of `TASKS`: what the synthesis draws, words or music.
        recipe: a name of `RECIPES`. Like `task`, it only chooses the settings that `of` and `load`
            begin with.
        preset: a name of `crnn.model.PRESETS`.
        model: what of the preset's description is other, as `ModelConfig.changed` takes it.
        charset: a name of `Charset.named`.
        output_dir: where checkpoints, the log and this configuration go.
        optimizer: ``"adamw"``, or ``"adadelta"`` (rho 0.9, the paper's).
        lr: peak learning rate; ADADELTA wants 1.
        weight_decay: of AdamW.
        warmup_steps: steps over which the rate rises to `lr`.
        steps: when the run ends.
        decay_steps: length of the final straight fall of the rate to zero. A run may be stopped
            at any time before it and resumed with an earlier end.
        minutes: end the run after this time also, falling over the last `decay_minutes`; 0 means
            by steps alone. How far it gets then depends on the machine.
        decay_minutes: see `minutes`.
        init: weights to start from: a safetensors file of the same network, or a packaged model;
            a network that lacks some of the run's residual blocks gives it all but these, and they
            begin as the identity (Chen et al. 2016, "Net2Net");
            of several, the mean, which reads better than any of runs that share their beginning
            (Wortsman et al. 2022, "Model soups").
        batch_size: images of a step.
        fixed_width: stretch every image to this width (100 in the paper); 0 keeps proportions
            in a few width buckets.
        clip_norm: gradients are scaled down to this norm.
        ema_decay: what the running average of the weights keeps of itself at each step, such as
            0.999; that average is then validated and exported. 0: none.
        amp: convolutions in bfloat16.
        compile: compile the network for training (torch.compile); meant for long runs on GPUs.
        seed: of weights and samples.
        workers: processes that draw images; 0 draws in the training process.
        threads: of torch; 0 leaves its default.
        device: ``"cpu"`` or ``"cuda"``.
        compose: where words become pictures: ``"workers"``, one at a time in the processes that
            draw images, or ``"device"``, by the batch on the device that trains.
        warmup_samples: samples over which the synthesis grows from clean to hard.
        data: data sets of stored words to train on, as `crnn data` takes them; each pool of theirs
            goes with one of synthetic words.
        synthetic: draw synthetic images; without, `data` must be given.
        validate: data sets to read every `validate_every` steps; the best weights by their mean
            accuracy are kept in ``best.safetensors``.
        patience: end after so many validations without a better one; 0: never.
        words: word lists; none means an installed dictionary.
        fonts: directories with fonts, or archives of `crnn synth pack-fonts`; none means the
            system's.
        backgrounds: directories or zip archives with photographs to blend with.
        tensorboard: write the log's numbers for TensorBoard, too.
        log_every, save_every, validate_every: steps between log lines, checkpoints, validations.
    """

    task: str = "text"
    recipe: str = "modern"
    preset: str = "small"
    model: dict[str, Any] = field(default_factory=dict)
    charset: str = "36"
    output_dir: str = "runs/small"
    optimizer: str = "adamw"
    lr: float = 2e-3
    weight_decay: float = 0.01
    warmup_steps: int = 500
    steps: int = 20_000
    decay_steps: int = 4_000
    minutes: float = 0.0
    decay_minutes: float = 0.0
    init: tuple[str, ...] = ()
    batch_size: int = 64
    fixed_width: int = 0
    clip_norm: float = 5.0
    ema_decay: float = 0.0
    amp: bool = False
    compile: bool = False
    seed: int = 0
    workers: int = 1
    threads: int = 0
    device: str = "cpu"
    compose: str = "workers"
    warmup_samples: int = 200_000
    data: tuple[str, ...] = ()
    synthetic: bool = True
    validate: tuple[str, ...] = ()
    patience: int = 0
    words: tuple[str, ...] = ()
    fonts: tuple[str, ...] = ()
    backgrounds: tuple[str, ...] = ()
    tensorboard: bool = False
    log_every: int = 50
    save_every: int = 500
    validate_every: int = 1000

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "log_every", "save_every", "validate_every"):
            if getattr(self, name) < 1:
                raise ValueError(
                    f"TrainConfig: {name} must be at least 1, got {getattr(self, name)}"
                )
        if self.task not in TASKS:
            raise ValueError(
                f"TrainConfig: task must be one of {', '.join(TASKS)}, got {self.task!r}"
            )
        if self.recipe not in RECIPES:
            raise ValueError(
                f"TrainConfig: recipe must be one of {', '.join(RECIPES)}, got {self.recipe!r}"
            )
        if self.optimizer not in ("adamw", "adadelta"):
            raise ValueError(
                f"TrainConfig: optimizer must be adamw or adadelta, got {self.optimizer!r}"
            )
        if not 0 <= self.ema_decay < 1:
            raise ValueError(f"TrainConfig: ema_decay must lie in [0, 1), got {self.ema_decay}")
        if self.compose not in ("workers", "device"):
            raise ValueError(
                f"TrainConfig: compose must be workers or device, got {self.compose!r}"
            )
        if self.compose == "device" and self.task != "text":
            raise ValueError(
                f"TrainConfig: compose must be workers for task {self.task}, got 'device'"
            )
        if not self.synthetic and not self.data:
            raise ValueError("TrainConfig: data must be given without synthetic, got none")

    def rate(self, step: int, seconds: float = 0.0) -> float:
        """The share of `lr` at `step`: up, level, then straight down to zero at the end."""
        up = min(1.0, (step + 1) / max(1, self.warmup_steps))
        down = min(1.0, (self.steps - step) / max(1, self.decay_steps))
        if self.minutes:
            left = self.minutes - seconds / 60
            down = min(down, left / max(1e-9, self.decay_minutes))
        return max(0.0, min(up, down))

    def save(self, path: Path) -> None:
        """Write the configuration as TOML, which `load` reads."""
        write_atomically(path, "".join(_toml(dataclasses.asdict(self))).encode())

    @classmethod
    def of(cls, values: Mapping[str, Any], source: str = "the settings") -> TrainConfig:
        """The configuration of the task and the recipe that `values` name, with the rest of them.

        Raises:
            ValueError: a name is unknown or a value of the wrong type; `source` says whose.
        """
        checked = _checked(values, source)
        task, recipe = checked.get("task", cls.task), checked.get("recipe", cls.recipe)
        # Unknown names have no settings; they are refused with the rest.
        settings = TASKS.get(task, {}) | RECIPES.get(recipe, {}).get(task, {})
        return cls(**settings | checked)

    @classmethod
    def load(cls, path: Path, overrides: Mapping[str, Any] | None = None) -> TrainConfig:
        """The configuration of a TOML file, some of its values replaced, as `of` makes it.

        Raises:
            ValueError: it is no TOML, a name is unknown or a value of the wrong type.
            OSError: it cannot be read.
        """
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(f"TrainConfig: {path} must be TOML, got {error}") from error
        return cls.of(merged(parse_toml(text, str(path)), overrides or {}), str(path))


def parse_toml(text: str, source: str) -> dict[str, Any]:
    """The values of TOML; ValueError names `source`, where it came from."""
    if sys.version_info < (3, 11):
        import tomli as tomllib
    else:
        import tomllib
    try:
        values: dict[str, Any] = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"TrainConfig: {source} must be TOML, got {error}") from error
    return values


def parse_override(text: str) -> dict[str, Any]:
    """The nested value of ``name=value``; what is no TOML value is taken as a string.

    >>> parse_override("model.hidden=256"), parse_override("output_dir=runs/mine")
    ({'model': {'hidden': 256}}, {'output_dir': 'runs/mine'})
    """
    name, equals, value = text.partition("=")
    if not equals:
        raise ValueError(f"TrainConfig: override must be name=value, got {text!r}")
    try:
        return parse_toml(text, "")
    except ValueError:
        return parse_toml(f"{name} = {json.dumps(value, ensure_ascii=False)}", f"override {text!r}")


def merged(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`values` with `changes`, table by table."""
    both = dict(values)
    for name, change in changes.items():
        old = both.get(name)
        both[name] = (
            merged(old, change) if isinstance(old, dict) and isinstance(change, dict) else change
        )
    return both


def _toml(values: Mapping[str, Any], table: str = "") -> Iterator[str]:
    """Lines of TOML, the names of a table's values dotted."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _toml(value, f"{table}{name}.")
        else:  # JSON is also TOML, for these types
            yield f"{table}{name} = {json.dumps(value, ensure_ascii=False)}\n"


def _checked(values: Mapping[str, Any], source: str) -> dict[str, Any]:
    """`values` with the types of the fields; ValueError names what is none of them."""
    defaults = dataclasses.asdict(TrainConfig())
    checked = {}
    for name, value in values.items():
        if name not in defaults:
            near = difflib.get_close_matches(name, defaults, 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ValueError(f"TrainConfig: {source} must hold known names, got {name!r}{hint}")
        kind = type(defaults[name])
        if kind is tuple and isinstance(value, (list, tuple)):
            value = tuple(map(str, value))
        elif kind is float and type(value) is int:
            value = float(value)
        if type(value) is not kind:
            raise ValueError(
                f"TrainConfig: {name} of {source} must be {kind.__name__}, got {value!r}"
            )
        checked[name] = value
    return checked

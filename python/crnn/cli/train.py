"""Train a model on synthetic images of words, or of music.

The words are drawn with the fonts and the dictionary of this machine. The run's folder gets
config.toml, log.jsonl (loss and accuracy), last.pt (the state that --resume continues from) and
model.safetensors, which `crnn read --model` takes; the last two are renewed as the run goes on.
Ctrl-C saves the state first; a run that was killed continues from the last one saved, to the same
weights bit for bit.
Several GPUs: torchrun --nproc-per-node 8 -m crnn train --device cuda ...
"""

from __future__ import annotations

import argparse
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any

from crnn.training.config import CONFIG, TrainConfig, merged, parse_override

EXAMPLES = """\
  crnn train --output-dir runs/mine
  crnn train --recipe paper                        ADADELTA, 100 x 32 pixels, 8.3 M parameters
  crnn train --set model.hidden=256 model.layers.0.channels=48      another network, by its parts
  crnn train --output-dir runs/mine --resume --steps 30000          on, with its settings
  crnn train --config runs/mine/config.toml --output-dir runs/other --lr 0.001
  crnn train --task music --backgrounds ~/Pictures                  pitches on a staff
  crnn train --device cuda --amp --compose device --batch-size 1024 --workers 8
  crnn train --init small --lr 0.0005 --words my-words.txt          from the packaged weights
"""
_TEXTS = {
    "task": "what to read: text, or music (with its own defaults for the settings below)",
    "recipe": "modern, or paper: ADADELTA and its network (changes defaults of settings below)",
    "preset": "network: base, small, vgg-bilstm, table1; music, table1-music",
    "charset": "symbols: 36, 62, 94; or music",
    "output_dir": "where the run writes",
    "optimizer": "adamw, or adadelta as in the paper (with --lr 1)",
    "lr": "peak learning rate",
    "weight_decay": "of adamw",
    "warmup_steps": "steps over which the rate rises",
    "steps": "steps in all",
    "decay_steps": "length of the last fall of the rate to zero",
    "minutes": "end after this time also; 0: by steps alone",
    "decay_minutes": "length of the fall to zero at that end",
    "init": "weights to start from: a model's name or file; of several, the mean",
    "batch_size": "images of a step",
    "fixed_width": "stretch images to this width, 100 in the paper; 0 keeps proportions",
    "clip_norm": "largest norm of the gradient",
    "ema_decay": "export the running average of the weights, which keeps so much a step; 0: none",
    "amp": "convolutions in bfloat16",
    "compile": "compile the network for training; meant for long runs on GPUs",
    "seed": "of weights and images",
    "workers": "processes that draw images; 0: none beside this one",
    "threads": "threads of torch; 0: its default",
    "device": "cpu or cuda",
    "compose": "where words become pictures: workers, or device (the one that trains; for GPUs)",
    "warmup_samples": "images over which the synthesis grows from clean to hard",
    "data": "data sets of stored words, see crnn data; half of the batches",
    "synthetic": "draw synthetic images",
    "validate": "data sets to read now and then; the best weights go to best.safetensors",
    "patience": "end after so many validations without a better one; 0: never",
    "words": "word lists (one a line, a tab and how often; or hunspell .dic); default: installed",
    "fonts": "folders with fonts, or archives of crnn synth pack-fonts; default: the system's",
    "backgrounds": "folders or archives with photographs to blend with",
    "tensorboard": "also write log.jsonl's numbers as curves (pip install crnn-ext[tensorboard])",
    "log_every": "steps between log lines",
    "save_every": "steps between saved states",
    "validate_every": "steps between validations",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """One flag for each plain field of `TrainConfig`; those given replace a file's values."""
    parser.add_argument(
        "--config", metavar="FILE", help="TOML with these settings; flags replace its values"
    )
    parser.add_argument(
        "--set", metavar="NAME=VALUE", nargs="+", default=[], action="extend",
        help="replace single values, dotted into tables: model.hidden=256; flags come after",
    )  # fmt: skip
    for field in _plain_fields():
        flag, default = "--" + field.name.replace("_", "-"), field.default
        text = _TEXTS[field.name]
        settings: dict[str, Any] = {"default": argparse.SUPPRESS}
        if isinstance(default, bool):
            settings |= {"action": argparse.BooleanOptionalAction, "help": text}
        elif isinstance(default, tuple):
            settings |= {"nargs": "+", "metavar": "PATH", "help": text}
        else:
            shown = "none" if default == "" else default
            settings |= {"type": type(default), "help": f"{text} (default: {shown})"}
        parser.add_argument(flag, **settings)
    parser.add_argument(
        "--resume", action="store_true", help="continue the run of --output-dir, with its settings"
    )


def run(args: argparse.Namespace) -> int:
    """Train; 0 at the end."""
    from crnn.cli import CommandError, told
    from crnn.training.loop import Trainer

    try:
        trainer = Trainer(_config(args), resume=args.resume)
        trainer.run()
        if trainer.ranks.writes:
            print(f"wrote {trainer.export()}")
    except (ValueError, FloatingPointError) as error:
        raise CommandError(str(error)) from error
    except OSError as error:
        reason = f"training: files must be readable and writable, got {told(error)}"
        raise CommandError(reason) from error
    trainer.ranks.close()
    return 0


def _plain_fields() -> list[Field[Any]]:
    """The settings that a flag can hold; tables are for files and --set."""
    return [field for field in fields(TrainConfig) if field.default is not MISSING]


def _config(args: argparse.Namespace) -> TrainConfig:
    """A file's values, or the resumed run's, or the defaults; over them --set, then the flags."""
    given: dict[str, Any] = {}
    for override in args.set:
        given = merged(given, parse_override(override))
    names = {field.name for field in _plain_fields()}
    given |= {name: value for name, value in vars(args).items() if name in names}
    saved = Path(TrainConfig.of(given).output_dir) / CONFIG
    if args.config:
        return TrainConfig.load(Path(args.config), given)
    if args.resume and saved.exists():
        return TrainConfig.load(saved, given)
    return TrainConfig.of(given)

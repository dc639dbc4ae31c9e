"""Train a model on synthetic images of words.

The words are drawn with the fonts and the dictionary of this machine. The run's folder gets
config.json, log.jsonl (loss and accuracy), last.pt (the state that --resume continues from) and,
at the end, model.safetensors, which `crnn read --model` takes. Ctrl-C saves the state first; a run
that was killed continues from the last one saved, to the same weights bit for bit.
"""

from __future__ import annotations

import argparse
from dataclasses import fields

from crnn.training.config import TrainConfig

EXAMPLES = """\
  crnn train --output-dir runs/mine
  crnn train --preset vgg-bilstm --optimizer adadelta --lr 1 --fixed-width 100     as the paper
  crnn train --output-dir runs/mine --resume --steps 30000
"""
_TEXTS = {
    "preset": "network: small, vgg-bilstm or table1",
    "charset": "symbols: 36, 62 or 94",
    "output_dir": "where the run writes",
    "optimizer": "adamw, or adadelta as in the paper (with --lr 1)",
    "lr": "peak learning rate",
    "weight_decay": "of adamw",
    "warmup_steps": "steps over which the rate rises",
    "steps": "steps in all",
    "decay_steps": "length of the last fall of the rate to zero",
    "minutes": "end after this time also; 0: by steps alone",
    "decay_minutes": "length of the fall to zero at that end",
    "init": "weights to start from, a safetensors file",
    "batch_size": "images of a step",
    "fixed_width": "stretch images to this width, 100 in the paper; 0 keeps proportions",
    "clip_norm": "largest norm of the gradient",
    "amp": "convolutions in bfloat16",
    "seed": "of weights and images",
    "workers": "processes that draw images; 0: none beside this one",
    "threads": "threads of torch; 0: its default",
    "device": "cpu or cuda",
    "warmup_samples": "images over which the synthesis grows from clean to hard",
    "words": "word lists (one a line, or hunspell .dic); default: the installed dictionary",
    "fonts": "folders with fonts, or archives of crnn synth pack-fonts; default: the system's",
    "backgrounds": "folders with photographs to blend with",
    "log_every": "steps between log lines",
    "save_every": "steps between saved states",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """One flag for each field of `TrainConfig`, with its default."""
    for field in fields(TrainConfig):
        flag = "--" + field.name.replace("_", "-")
        default = field.default
        text = f"{_TEXTS[field.name]} (default: %(default)s)"
        if isinstance(default, bool):
            parser.add_argument(flag, action="store_true", help=_TEXTS[field.name])
        elif isinstance(default, tuple):
            parser.add_argument(
                flag, nargs="+", default=(), help=_TEXTS[field.name], metavar="PATH"
            )
        else:
            parser.add_argument(flag, type=type(default), default=default, help=text)
    parser.add_argument("--resume", action="store_true", help="continue from the run's last.pt")


def run(args: argparse.Namespace) -> int:
    """Train; 0 at the end."""
    from crnn.cli import CommandError
    from crnn.training.loop import Trainer

    values = {field.name: getattr(args, field.name) for field in fields(TrainConfig)}
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
    try:
        trainer = Trainer(TrainConfig(**values), resume=args.resume)
        trainer.run()
    except (ValueError, FloatingPointError) as error:
        raise CommandError(str(error)) from error
    except OSError as error:
        raise CommandError(f"training: files must be writable, got {error}") from error
    print(f"wrote {trainer.export()}")
    return 0

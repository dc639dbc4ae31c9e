"""Make a model's confidences mean what they say.

Fits one number, the temperature, so that of the readings with a confidence of 0.9 nine in ten are
right. Without a lexicon it changes no reading, only the confidences. It is fitted to labelled
images, which should be like those to be read and must not be those that the model was trained on;
or to synthetic images, drawn with the fonts and words of this machine from another seed than the
training's. Nothing is written without --output or --in-place.

exit status: 0, or 2 if nothing could be done.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from crnn.evaluation import Protocol
    from crnn.evaluation.calibration import Calibration, Readings
    from crnn.recognizer import Recognizer

EXAMPLES = """\
  crnn calibrate small --data my-photos/ --output mine.safetensors
  crnn calibrate runs/mine/best.safetensors --in-place        fitted to 2,000 synthetic images
  crnn calibrate small --check SVT/ IIIT5K/testdata.mat       is it better on those, too?
"""
_DRAWN = 2000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of `crnn calibrate`."""
    parser.add_argument("model", help="name of a pretrained model, or a model file")
    parser.add_argument(
        "--data", nargs="+", default=(), metavar="[NAME=]DATA",
        help="labelled images as for crnn eval; without it, synthetic ones are drawn",
    )  # fmt: skip
    parser.add_argument(
        "--count", type=int, default=0, metavar="N",
        help="at most N images of each data set, spread evenly (default: all); or so many "
        f"synthetic ones (default: {_DRAWN})",
    )  # fmt: skip
    parser.add_argument(
        "--check", nargs="+", default=(), metavar="[NAME=]DATA",
        help="data sets to measure before and after, without fitting to them",
    )  # fmt: skip
    parser.add_argument(
        "--protocol",
        help="which readings are right, see crnn eval --protocols (default: that of the charset)",
    )
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="figures as one JSON object")
    written = parser.add_mutually_exclusive_group()
    written.add_argument("-o", "--output", metavar="FILE", type=Path, help="new file for the model")
    written.add_argument("--in-place", action="store_true", help="write into MODEL itself")
    drawn = parser.add_argument_group("synthetic images, as crnn synth draws them")
    drawn.add_argument(
        "--seed", type=int, default=1_000_003, help="another than the training's (%(default)s)"
    )
    drawn.add_argument("--words", nargs="+", default=(), help="word lists; default: installed")
    drawn.add_argument(
        "--fonts", nargs="+", default=(), help="folders or archives; default: the system's"
    )
    drawn.add_argument("--backgrounds", nargs="+", default=(), help="folders of photographs")
    drawn.set_defaults(difficulty=1.0)


def run(args: argparse.Namespace) -> int:
    """Fit, report, and write if asked to."""
    from crnn.checkpoint import save_calibrated
    from crnn.cli import CommandError, told
    from crnn.evaluation import protocol
    from crnn.evaluation.calibration import Readings, calibrate
    from crnn.pretrained import model_file
    from crnn.recognizer import Recognizer

    try:
        if args.count < 0:
            raise ValueError(f"calibrate: count must be at least 0, got {args.count}")
        target = _target(args)
        recognizer = Recognizer.from_pretrained(args.model, args.device)
        rules = protocol(args.protocol or _protocol_of(recognizer))
        fitted = _readings(args, recognizer, rules, args.data or None)
        found = calibrate(Readings.joined(list(fitted.values())))
        measured = {**fitted, **_readings(args, recognizer, rules, args.check)}
        figures = _figures(recognizer, found, fitted, measured)
        print(json.dumps(figures) if args.json else _text(figures, fitted))
        if target is not None:
            about = {k: v for k, v in figures.items() if k != "measured"}
            # A model travels: folders of the machine that made it stay behind.
            about |= {"protocol": rules.name, "data": [Path(name).name for name in fitted]}
            with model_file(args.model) as source:
                save_calibrated(source, target, found.temperature, about)
            print(f"wrote {target}", file=sys.stderr)
        elif not args.json:
            print("nothing was written, see --output and --in-place")
    except (OSError, ValueError) as error:
        raise CommandError(told(error)) from error
    return 0


def _target(args: argparse.Namespace) -> Path | None:
    """The file to write, checked before anything is read."""
    from crnn.pretrained import pretrained_models

    if args.in_place:
        if args.model in pretrained_models():
            raise ValueError(
                f"calibrate: model must be a file to be written --in-place, got {args.model!r}; "
                "use --output"
            )
        return Path(args.model)
    if args.output is not None and args.output.exists():
        raise ValueError(f"calibrate: output must be a new file, got {args.output}")
    output: Path | None = args.output
    return output


def _protocol_of(recognizer: Recognizer) -> str:
    from crnn.charset import NAMED, Charset

    names = {Charset.named(name): name for name in NAMED}
    if recognizer.charset.multi_character:
        return "music"
    return names.get(recognizer.charset, "exact")


def _readings(
    args: argparse.Namespace,
    recognizer: Recognizer,
    rules: Protocol,
    sources: list[str] | tuple[str, ...] | None,
) -> dict[str, Readings]:
    """Those of each data set by name; of synthetic images for None."""
    from tqdm import tqdm

    from crnn.cli.eval import open_named
    from crnn.evaluation.calibration import Drawn, Readings

    def bar(total: int, unit: str) -> Any:
        return tqdm(total=total, unit=unit, delay=2.0, disable=None, file=sys.stderr)

    if sources is None:
        count = args.count or _DRAWN
        with bar(count, "image drawn") as drawn:
            stream = _stream(args, recognizer)
            datasets: dict[str, Any] = {"synthetic": Drawn(stream, count, drawn.update)}
    else:
        datasets = open_named(list(sources))
    found = {}
    for name, dataset in datasets.items():
        with bar(min(len(dataset), args.count or len(dataset)), "image") as done:
            found[name] = Readings.of(recognizer, dataset, rules, args.count, done.update)
        if not len(found[name]):
            raise ValueError(f"calibrate: {name} must hold a labelled image to read, got none")
    return found


def _stream(args: argparse.Namespace, recognizer: Recognizer) -> Any:
    from crnn.cli.synth import drawn_music, drawn_words
    from crnn.music.notation import is_music

    trained = recognizer.checkpoint.summary.get("config")
    if isinstance(trained, dict) and trained.get("seed") == args.seed:
        raise ValueError(f"calibrate: seed must not be that of the training, got {args.seed}")
    return (drawn_music if is_music(recognizer.charset.symbols) else drawn_words)(args)


def _figures(
    recognizer: Recognizer,
    found: Calibration,
    fitted: dict[str, Readings],
    measured: dict[str, Readings],
) -> dict[str, Any]:
    from crnn.evaluation.calibration import compared

    before = recognizer.checkpoint.temperature
    return {
        "temperature": found.temperature,
        "interval": found.interval,
        "before": before,
        "count": found.count,
        "right": found.right,
        "measured": {
            name: {**figures, "fitted": name in fitted}
            for name, figures in compared(measured, before, found.temperature)
        },
    }


def _text(figures: dict[str, Any], fitted: dict[str, Readings]) -> str:
    from crnn.evaluation.confidence import reliability_text

    low, high = figures["interval"]
    before, after = figures["before"], figures["temperature"]
    lines = [
        f"temperature {after:g} (95 %: {low:.3f}-{high:.3f}), before {before:g}; "
        f"fitted to {figures['count']} readings, {figures['right']} right"
    ]
    if low <= before <= high:
        lines.append("the readings do not tell it from the one before: nothing is gained by it")
    lines.append("                      readings   right   confidence      ECE         log loss")
    for name, row in figures["measured"].items():
        a, b = row["before"], row["after"]
        title = name if row["fitted"] else f"{name} (check)"
        lines.append(
            f"{title:<20} {row['count']:>9}  {a['right']:.3f}"
            f"  {a['mean_confidence']:.3f} {b['mean_confidence']:.3f}"
            f"  {a['calibration_error']:.4f} {b['calibration_error']:.4f}"
            f"  {a['log_loss']:.4f} {b['log_loss']:.4f}"
        )
    for name, readings in fitted.items():
        for title, temperature in (("before", before), ("after", after)):
            lines += [f"{name}, {title}", reliability_text(readings.confidence(temperature))]
    return "\n".join(lines)

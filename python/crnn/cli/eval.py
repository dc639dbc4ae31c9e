"""Measure accuracy on labelled images of words, or of music.

Words, or fragments of music, read exactly right under a named protocol of the field (see
--protocols), without a lexicon or with one. A data set is LMDB, a label file (tab-separated, ICDAR,
MJSynth, CSV, JSON, SVT's XML, IIIT5K's .mat), a folder that holds one, or images with .gt.txt files
or telling names; NAME=PATH gives it a name.

exit status: 0, or 1 if an image could not be read, or 2 if nothing could be done.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crnn.cli import beam

if TYPE_CHECKING:
    from crnn.data import Dataset
    from crnn.evaluation import Protocol, Score
    from crnn.recognizer import Recognizer

EXAMPLES = """\
  crnn eval base examples/ --errors 20
  crnn eval base SVT/test.xml --lexicon 50                    each image's own 50 words
  crnn eval base IC13/gt.txt --protocol ic13-1015 --details --sheet errors.png
  crnn eval runs/a/model.safetensors SVT/ --compare runs/b/model.safetensors
  crnn eval base iiit5k=IIIT5K/testdata.mat svt=SVT/test.xml --table2
  crnn eval base IC03/ --figure4 --lexicon words50k.txt --plot figure4.png
  crnn eval runs/music/model.safetensors clean=A/ real-world=B/ --task music --table4
  crnn eval base IC03/ --table3                               size, and time per image
"""

_NAMED = 20  # unreadable images that are named; all are counted


_PROTOCOLS = {"text": "36", "music": "music"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of `crnn eval`."""
    parser.add_argument("model", help="name of a pretrained model, or a model file")
    parser.add_argument("data", nargs="+", metavar="[NAME=]DATA", help="data sets")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: %(default)s)")
    parser.add_argument(
        "--batch-size", type=int, default=64, help="images at a time (default: %(default)s)"
    )
    parser.add_argument(
        "--task",
        choices=("text", "music"),
        default="text",
        help="what is read (default: %(default)s)",
    )
    parser.add_argument(
        "--protocol",
        help="what is scored and how: 36, 62, 94, exact, ic13-1015... (default: 36; music: music)",
    )
    parser.add_argument("--protocols", action=_ListProtocols, help="list them and their sources")
    parser.add_argument(
        "--manifest", metavar="FILE", help="score only the images of this list, one name a line"
    )
    words = parser.add_argument_group("lexicon")
    words.add_argument(
        "--lexicon",
        default="none",
        help="none; 50 or 1k (those that the data set has for each image); image (the smallest of "
        "them); full (all of those, or all labels); or a file of one word a line "
        "(default: %(default)s)",
    )
    words.add_argument(
        "--method",
        choices=beam.METHODS,
        help="how to search it (default: exact; --table2 searches the 50k words by bk-tree); "
        "greedy: what the network alone reads without it; beam: see below",
    )
    words.add_argument("--delta", type=int, default=3, help="of bk-tree (default: %(default)s)")
    beam.add_arguments(parser)
    _add_report(parser.add_argument_group("report"))
    _add_paper(parser.add_argument_group("the paper's"))


def _add_report(report: argparse._ArgumentGroup) -> None:
    report.add_argument("--errors", type=int, default=0, metavar="N", help="print N wrong readings")
    report.add_argument(
        "--details", action="store_true", help="by length and confidence; confused symbols"
    )
    report.add_argument("--sheet", metavar="FILE", help="picture of the most confident errors")
    report.add_argument(
        "--plot",
        metavar="FILE",
        help="draw reliability and risk over coverage, or figure 4 (matplotlib)",
    )
    report.add_argument(
        "--compare",
        metavar="MODEL_OR_RUN",
        help="McNemar's test against another model, or against the file that its --output wrote",
    )
    report.add_argument(
        "-o", "--output", metavar="FILE", help="save all readings as JSON, for --compare"
    )
    report.add_argument("--json", action="store_true", help="one JSON object per data set")


def _add_paper(group: argparse._ArgumentGroup) -> None:
    paper = group.add_mutually_exclusive_group()
    paper.add_argument(
        "--table2",
        action="store_true",
        help="accuracies in its layout, of data named iiit5k, svt, ic03, ic13; --lexicon: its 50k",
    )
    paper.add_argument("--figure4", action="store_true", help="accuracy and time over delta = 0..5")
    paper.add_argument("--table3", action="store_true", help="parameters, size, time per image")
    paper.add_argument(
        "--table4",
        action="store_true",
        help="music, of data named clean, real-world; synthesized, if not given, is made of clean",
    )
    group.add_argument(
        "--seed", type=int, default=0, help="of table 4's synthesized set (default: %(default)s)"
    )
    group.add_argument(
        "--backgrounds", nargs="+", default=(), help="folders of photographs for that set"
    )


class _ListProtocols(argparse.Action):
    """Prints the protocols and ends, as --help does."""

    def __init__(self, option_strings: list[str], dest: str, help: str) -> None:
        super().__init__(option_strings, dest, nargs=0, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from crnn.evaluation import PROTOCOLS

        for known in PROTOCOLS.values():
            print(f"{known.name:<10} {known.about}{' [list needed]' if known.manifest else ''}")
        parser.exit()


def run(args: argparse.Namespace) -> int:
    """Evaluate each data set; 1 if an image could not be read."""
    from crnn.cli import CommandError, told
    from crnn.evaluation import protocol
    from crnn.evaluation.plots import new_figure
    from crnn.recognizer import Recognizer

    try:
        if args.plot:
            new_figure(1, 1)  # what is missing shows before the images are read
        tables = args.table2 or args.table3 or args.table4 or args.figure4
        rules = protocol(args.protocol or _PROTOCOLS[args.task], args.manifest)
        # The paper's tables are of the network alone.
        recognizer = Recognizer.from_pretrained(args.model, args.device, None if tables else "own")
        method, _ = beam.search_of(args, recognizer, args.lexicon != "none")
        if tables and method == "beam":
            raise ValueError("eval: --method must be the paper's in its tables, got beam")
        if args.table2:
            return _table2(args, recognizer, rules)
        if args.table4:
            return _table4(args, recognizer)
        if args.figure4:
            return _figure4(args, recognizer, rules)
        if args.table3:
            return _table3(args, recognizer)
        return _evaluate(args, recognizer, rules)
    except BrokenPipeError:  # the reader of our output went away: no error of ours
        raise
    except (OSError, ValueError) as error:
        raise CommandError(told(error)) from error


def _evaluate(args: argparse.Namespace, recognizer: Recognizer, rules: Protocol) -> int:
    from crnn.evaluation import save_run
    from crnn.evaluation.plots import plot_confidence

    scores: list[Score] = []
    others = _others(args)
    for number, (name, dataset) in enumerate(open_named(args.data).items()):
        score = _score(args, recognizer, args.model, name, dataset, rules)
        scores.append(score)
        if args.json:
            print(json.dumps(score.to_dict()))
        else:
            how = f"  read by {score.method}\n" if score.method.startswith("beam") else ""
            print(f"{name}: {score}\n{how}  confidence: {score.confidence_text()}")
        if isinstance(others, list):
            if number >= len(others):
                raise ValueError(
                    f"eval: {args.compare} must hold as many data sets as are read, "
                    f"got {len(others)}"
                )
            _print_comparison(args, score, others[number])
        elif others is not None:
            other = _score(args, others, args.compare, name, dataset, rules)
            _print_comparison(args, score, other)
        _report(args, dataset, score, number)
    if args.output:
        save_run(args.output, scores)
    if args.plot:
        plot_confidence({score.data: score.confidence for score in scores}, args.plot)
    return 1 if any(score.failed for score in scores) else 0


def _others(args: argparse.Namespace) -> Any:
    """What to compare with: scores of a saved run, a recognizer, or None."""
    from crnn.evaluation import load_run
    from crnn.recognizer import Recognizer

    if args.compare is None:
        return None
    if args.compare.endswith(".json"):
        return load_run(args.compare)
    return Recognizer.from_pretrained(args.compare, device=args.device)


def _score(
    args: argparse.Namespace,
    recognizer: Recognizer,
    model: str,
    name: str,
    dataset: Dataset,
    rules: Protocol,
) -> Score:
    from crnn.evaluation import Search, evaluate

    method, options = beam.search_of(args, recognizer, args.lexicon != "none")
    search = Search(args.lexicon, method, args.delta, options or recognizer.beam)
    with _bar(len(dataset)) as bar:
        (score,) = evaluate(
            recognizer, dataset, rules, [search], data=name, model=model,
            batch_size=args.batch_size, progress=bar.update,
        )  # fmt: skip
    return score


def _print_comparison(args: argparse.Namespace, first: Score, second: Score) -> None:
    from crnn.evaluation import compare

    comparison = compare(first, second)
    if args.json:
        print(json.dumps({"other": second.to_dict(), "comparison": comparison.to_dict()}))
    else:
        print(f"  against {second.model}: {second}\n  {comparison}")


def _report(args: argparse.Namespace, dataset: Dataset, score: Score, number: int) -> None:
    from crnn.evaluation.confidence import reliability_text

    unreadable = [outcome.error for outcome in score.outcomes if outcome.error is not None]
    for error in unreadable[:_NAMED]:
        print(f"crnn: {error}", file=sys.stderr)
    for outcome in score.errors[: args.errors]:
        reason = outcome.error or f"read as {outcome.reading!r} ({outcome.confidence:.0%})"
        print(f"  {outcome.name}: {outcome.label!r} {reason}")
    if args.details:
        print("  length  right  words  share")
        for length, (right, count) in score.by_length().items():
            print(f"  {length:>6} {right:>6} {count:>6} {right / count:>6.1%}")
        print(f"  {reliability_text(score.confidence)}".replace("\n", "\n  "))
        print("  most frequent edits, truth > reading")
        for (truth, text), count in score.confusions().most_common(20):
            print(f"  {count:>6}  {truth or '(none)'} > {text or '(none)'}")
    if args.sheet:
        from crnn.evaluation.sheet import contact_sheet
        from crnn.files import replacing

        path = Path(args.sheet)
        if number:  # one for each data set
            path = path.with_name(f"{path.stem}_{number + 1}{path.suffix}")
        with replacing(path) as temporary:
            errors = score.errors[: args.errors or 60]
            contact_sheet(dataset, errors, f"{score.data}: {score}").save(temporary)
        print(f"  wrote {path}", file=sys.stderr)


def _table2(args: argparse.Namespace, recognizer: Recognizer, rules: Protocol) -> int:
    from crnn.evaluation import save_run
    from crnn.evaluation.paper import table2, table2_text

    datasets = open_named(args.data)
    given = {"ic03": rules} if args.manifest else {}
    large = "" if args.lexicon == "none" else args.lexicon
    with _bar(sum(map(len, datasets.values()))) as bar:
        columns = table2(
            recognizer, datasets, model=args.model, lexicon_50k=large,
            method=args.method or "exact", protocols=given, progress=bar.update,
        )  # fmt: skip
    scores = [score for _, score in columns if score is not None]
    if args.json:
        for score in scores:
            print(json.dumps(score.to_dict()))
    else:
        print(table2_text(columns, args.model))
    if args.output:
        save_run(args.output, scores)
    return 1 if any(score.failed for score in scores) else 0


def _table4(args: argparse.Namespace, recognizer: Recognizer) -> int:
    from crnn.evaluation import save_run
    from crnn.evaluation.music import table4, table4_text
    from crnn.synth.backgrounds import load_backgrounds

    datasets = open_named(args.data)
    with _bar(sum(map(len, datasets.values()))) as bar:
        scores = table4(
            recognizer, datasets, model=args.model, seed=args.seed,
            backgrounds=load_backgrounds(args.backgrounds), progress=bar.update,
        )  # fmt: skip
    if args.json:
        for score in scores.values():
            print(json.dumps(score.to_dict()))
    else:
        print(table4_text(scores, args.model))
    if args.output:
        save_run(args.output, scores.values())
    return 1 if any(score.failed for score in scores.values()) else 0


def _figure4(args: argparse.Namespace, recognizer: Recognizer, rules: Protocol) -> int:
    from crnn.evaluation.paper import figure4, figure4_plot, figure4_text

    if args.lexicon == "none":
        raise ValueError("figure4: lexicon must be given, got none; see --lexicon")
    failed = 0
    for name, dataset in open_named(args.data).items():
        with _bar(len(dataset)) as bar:
            scores = figure4(
                recognizer, dataset, args.lexicon, protocol=rules,
                reference=("exact", "exhaustive"), data=name, model=args.model,
                progress=bar.update,
            )  # fmt: skip
        if args.json:
            for score in scores:
                print(json.dumps(score.to_dict()))
        else:
            print(f"{name}, {args.lexicon}\n\n{figure4_text(scores)}")
        if args.plot:
            figure4_plot(scores, args.plot)
        failed += scores[0].failed
    return 1 if failed else 0


def _table3(args: argparse.Namespace, recognizer: Recognizer) -> int:
    from crnn.evaluation.paper import table3

    (dataset, *_) = open_named(args.data).values()
    large = "" if args.lexicon == "none" else args.lexicon
    figures = table3(recognizer, dataset, large)
    if args.json:
        print(json.dumps({"model": args.model, **figures}))
        return 0
    print(f"parameters            {figures['parameters'] / 1e6:.2f} M   (the paper: 8.3 M)")
    print(f"size, float32         {figures['megabytes_float32']:.1f} MB   (the paper: 33 MB)")
    print(f"size, float16         {figures['megabytes_float16']:.1f} MB")
    times = (("ms", "no lexicon", 160), ("ms_50k", "with the lexicon", 530))
    for key, name, paper in times:
        if figures.get(key) is not None:
            print(
                f"{name:<21} {figures[key]:.2f} ms per image, {figures['threads']} threads   "
                f"(the paper: {paper} ms on a K40, IC03{', 50k words' if key != 'ms' else ''})"
            )
    return 0


def open_named(sources: list[str]) -> dict[str, Dataset]:
    """NAME=PATH or PATH of each; what a path holds goes to stderr if part of it is unusable."""
    from crnn.data import open_dataset

    found = {}
    for source in sources:
        name, separator, path = source.partition("=")
        dataset = open_dataset(path if separator else source)
        if dataset.problems:
            print(f"crnn: {dataset}", file=sys.stderr)
        found[name if separator else source] = dataset
    return found


def _bar(total: int) -> Any:
    """A progress bar on a terminal, after two seconds."""
    from tqdm import tqdm

    return tqdm(total=total, unit="image", delay=2.0, disable=None, file=sys.stderr)

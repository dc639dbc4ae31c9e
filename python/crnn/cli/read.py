"""Read images and print what they say.

One line for each image: file, text, confidence. The confidence is the probability of the text
given the image, by the exact sum over all alignments; with a language model, as image and model
together have it.

A folder stands for all images below it. An image that cannot be read is reported on stderr, and
the others are read all the same. With a model for music, so is one without a melody, or with one
that is doubtful; its line is printed nevertheless.

exit status: 0 all images were read, 1 some were not, 2 nothing could start (arguments, model,
lexicon).
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from crnn.cli import beam

if TYPE_CHECKING:
    from crnn.reading import Reading
    from crnn.recognizer import Recognizer

EXAMPLES = """\
  crnn read word.jpg sign.png             two images
  crnn read photos/ --format tsv          a folder, as a table for other programs
  crnn read photos/ --format json         one JSON object a line, with each symbol's place
  crnn read photos/ --min-confidence 0.8  only what is fairly certain
  crnn read signs/ --lexicon streets.txt  only words of a list
  crnn read codes/ --lm none              what the network alone reads, without English words
  crnn read menus/ --lm menus.lm          with a language model of your own (crnn lm build)
  crnn read staff.png --model runs/music/model.safetensors --format abc
  curl -s https://example.org/a.png | crnn read -
"""

# Lines are aligned in groups: a group is printed as soon as it is read.
_GROUP = 128
_BAR_AFTER = 2.0  # seconds; shorter runs show no progress bar
_DOUBTFUL = 0.5  # a melody read with less may be none
_NAMED = 5  # images in one line of advice


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "paths", nargs="+", metavar="PATH", help="image file, folder, or - for an image on stdin"
    )
    parser.add_argument(
        "--model",
        default="base",
        metavar="NAME_OR_PATH",
        help="a model of the package or a .safetensors file (default: %(default)s)",
    )
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: %(default)s)")
    parser.add_argument(
        "--batch-size",
        type=_positive,
        default=32,
        metavar="N",
        help="images that go through the network together (default: %(default)s)",
    )
    parser.add_argument(
        "--format",
        choices=sorted(_WRITERS),
        default="text",
        help="text: aligned columns; tsv: the same, tab-separated, with \\t, \\n and \\\\ escaped; "
        "json: an object a line, also for images that cannot be read; abc, musicxml: the pitches "
        "that a model for music reads, as a tune for each image (default: %(default)s)",
    )
    parser.add_argument(
        "--alternatives",
        type=_whole,
        default=0,
        metavar="N",
        help="in json, the N most probable others for each symbol (default: %(default)s)",
    )
    parser.add_argument(
        "--min-confidence",
        type=_probability,
        default=0.0,
        metavar="P",
        help="leave out what was read with a confidence below P in [0, 1]; json keeps it, with "
        '"accepted": false. The exit status does not change',
    )
    parser.add_argument(
        "--threads",
        type=_whole,
        default=0,
        metavar="N",
        help="threads of the CPU; 0: torch's choice",
    )
    _add_lexicon(parser.add_argument_group("lexicon"))
    beam.add_arguments(parser)


def _add_lexicon(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--lexicon",
        metavar="FILE",
        help="read only words of this UTF-8 file, one a line, or file of `crnn lexicon build`",
    )
    group.add_argument(
        "--method",
        choices=beam.METHODS,
        help="with --lexicon: exact, the default, finds the most probable word; exhaustive the "
        "same, slowly; bk-tree looks at the words within --delta edits of the greedy reading, and "
        "keeps that where there is none. Without: greedy, what the network alone reads. With or "
        "without: beam, see below",
    )
    group.add_argument(
        "--delta",
        type=_whole,
        default=3,
        metavar="N",
        help="the largest edit distance of bk-tree (default: %(default)s)",
    )


def run(args: argparse.Namespace) -> int:
    import torch

    from crnn.cli import CommandError
    from crnn.music.notation import is_music
    from crnn.recognizer import Recognizer

    if args.threads:
        torch.set_num_threads(args.threads)
    try:
        recognizer = Recognizer.from_pretrained(args.model, args.device)
        lexicon = None if args.lexicon is None else recognizer.lexicon(args.lexicon)
        method, options = beam.search_of(args, recognizer, lexicon is not None)
        readings = recognizer.stream(
            _sources(args.paths),
            batch_size=args.batch_size,
            lexicon=lexicon,
            method=method,
            delta=args.delta,
            alternatives=args.alternatives,
            beam=options,
            min_confidence=args.min_confidence,
        )
    except ValueError as error:
        raise CommandError(error) from error
    if args.format in _NOTATIONS:
        _check_notation(args, recognizer)
    if lexicon is not None and lexicon.skipped:
        print(
            f"crnn: words of {_printable(args.lexicon)} with symbols that the model lacks are left "
            f"out: {len(lexicon.skipped)}, such as {lexicon.skipped[0]!r}",
            file=sys.stderr,
        )
    count = failed = unsure = 0
    advice = _MusicAdvice() if is_music(recognizer.charset.symbols) else None
    write = _WRITERS[args.format]
    for group in _progress(readings, args.paths):
        for reading in group:
            count += 1
            if reading.error is not None:
                failed += 1
                print(f"crnn: {_printable(reading.error)}", file=sys.stderr)
            elif advice is not None:
                advice.note(reading)
        shown = [r for r in group if r.accepted or r.error is not None or args.format == "json"]
        unsure += len(group) - len(shown)
        write(shown)
    if advice is not None:
        advice.print()
    if unsure:
        print(
            f"crnn: {unsure} of {count} readings left out, below confidence "
            f"{args.min_confidence:g}",
            file=sys.stderr,
        )
    if failed:
        print(f"crnn: {failed} of {count} images could not be read", file=sys.stderr)
    return 1 if failed else 0


class _MusicAdvice:
    """Gathers the images in which a model found no melody, or a doubtful one."""

    def __init__(self) -> None:
        self._without: list[str] = []
        self._doubtful: list[str] = []

    def note(self, reading: Reading) -> None:
        if not reading.text:
            self._without.append(reading.source)
        elif reading.confidence < _DOUBTFUL:
            self._doubtful.append(reading.source)

    def print(self) -> None:
        """Say what to do, on stderr."""
        for found, what in (
            (self._without, "no melody found"),
            (self._doubtful, f"pitches read with a confidence below {_DOUBTFUL}"),
        ):
            if found:
                shown = ", ".join(map(_printable, found[:_NAMED]))
                more = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
                print(
                    f"crnn: {what} in {shown}{more}: an image must show one staff with a treble "
                    "clef, upright and without chords; turn the photo, or crop it to one staff",
                    file=sys.stderr,
                )


def _check_notation(args: argparse.Namespace, recognizer: Recognizer) -> None:
    """Refuse notation of what is none, and several scores in one MusicXML document."""
    from crnn.cli import CommandError
    from crnn.music.notation import is_music

    if not is_music(recognizer.charset.symbols):
        raise CommandError(
            f"read: model must read pitches for --format {args.format}, got {args.model}"
        )
    several = len(args.paths) > 1 or os.path.isdir(args.paths[0])
    if args.format == "musicxml" and several:
        raise CommandError("read: musicxml is a score of one image, got several or a folder")


def _whole(text: str, least: int = 0) -> int:
    try:
        value = int(text)
    except ValueError:
        value = least - 1
    if value < least:
        raise argparse.ArgumentTypeError(f"must be an integer of at least {least}, got {text!r}")
    return value


def _positive(text: str) -> int:
    return _whole(text, least=1)


def _probability(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0.0 <= value <= 1.0:
        raise argparse.ArgumentTypeError(f"must be a number in [0, 1], got {text!r}")
    return value


def _sources(paths: Iterable[str]) -> Iterator[Any]:
    for path in paths:
        yield sys.stdin.buffer if path == "-" else path


def _progress(readings: Iterator[Reading], paths: list[str]) -> Iterator[list[Reading]]:
    """Groups of readings; a bar on a terminal unless it is soon done."""
    from tqdm import tqdm

    hidden = not sys.stderr.isatty()
    total = None if hidden else _count(paths)
    with tqdm(total=total, unit="image", disable=hidden, delay=_BAR_AFTER, leave=False) as bar:
        counted = _each(readings, bar.update)
        while group := list(itertools.islice(counted, _GROUP)):
            bar.clear()
            yield group


def _each(readings: Iterator[Reading], done: Callable[[int], object]) -> Iterator[Reading]:
    for reading in readings:
        done(1)
        yield reading


def _count(paths: Iterable[str]) -> int:
    from crnn.images import ImageError, images_in

    count = 0
    for path in paths:
        try:
            count += sum(1 for _ in images_in(path)) if os.path.isdir(path) else 1
        except ImageError:
            count += 1
    return count


def _printable(text: str) -> str:
    """`text` with control characters and stray bytes escaped: file names can hold anything."""
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text
    )


def _write_text(readings: list[Reading]) -> None:
    rows = [
        (_printable(r.source), _printable(r.text), f"{r.confidence:.3f}")
        for r in readings
        if r.error is None
    ]
    if not rows:
        return
    source_width = max(len(row[0]) for row in rows)
    text_width = max(len(row[1]) for row in rows)
    for source, text, confidence in rows:
        print(f"{source:<{source_width}}  {text:<{text_width}}  {confidence}")
    sys.stdout.flush()


def _write_tsv(readings: list[Reading]) -> None:
    escapes = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})
    for r in readings:
        if r.error is None:
            source, text = r.source.translate(escapes), r.text.translate(escapes)
            print(source, text, f"{r.confidence:.6g}", sep="\t")
    sys.stdout.flush()


def _write_json(readings: list[Reading]) -> None:
    for r in readings:
        print(r.to_json())
    sys.stdout.flush()


_tunes = itertools.count(1)  # a tune's number is its own in the file


def _write_abc(readings: list[Reading]) -> None:
    from crnn.music.notation import to_abc

    for r in readings:
        if r.error is None:
            print(to_abc(r.text.split(), r.source, next(_tunes)))
    sys.stdout.flush()


def _write_musicxml(readings: list[Reading]) -> None:
    from crnn.music.notation import to_musicxml

    for r in readings:
        if r.error is None:
            print(to_musicxml(r.text.split(), r.source), end="")
    sys.stdout.flush()


_NOTATIONS = ("abc", "musicxml")
_WRITERS: dict[str, Callable[[list[Reading]], None]] = {
    "text": _write_text,
    "tsv": _write_tsv,
    "json": _write_json,
    "abc": _write_abc,
    "musicxml": _write_musicxml,
}

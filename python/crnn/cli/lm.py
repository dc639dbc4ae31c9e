"""Make a language model of a text, to read unclear images by.

``build`` counts which symbols follow which in a UTF-8 text or list of words, and writes a file that
`crnn read --lm` takes. It tells the perplexity on each twentieth line, held out: how
many symbols are as likely as the next one is, on average; the lower the better. (The file then
holds all lines.) The text should be such as the images show: signs, names, the words of a trade.

``score`` prints how probable a model finds texts, each with its perplexity.

exit status: 0, or 2 if nothing could be done.
"""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from crnn.charset import Charset
    from crnn_ext import LanguageModel

EXAMPLES = """\
  crnn lm build book.txt -o mine.lm
  crnn lm build products.txt -o products.lm --charset 94 --order 7
  crnn lm score english exit exti
"""

_SLOW = 2_000_000  # symbols of different texts that are counted in a second or so


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verbs and their flags."""
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", dest="verb", required=True)
    build = verbs.add_parser("build", help="write a language model")
    build.add_argument("text", help="UTF-8 text, or words one a line")
    build.add_argument("-o", "--output", required=True, metavar="FILE", help="file to write")
    build.add_argument(
        "--order",
        type=int,
        default=5,
        metavar="N",
        help="count runs of up to N symbols, 1 to 8 (default: %(default)s)",
    )
    build.add_argument(
        "--charset",
        default="36",
        metavar="NAME_OR_FILE",
        help="symbols of the model that reads: 36, 62, 94, music, or a UTF-8 file of one symbol a "
        "line. Unless a space is among them, each word is a text of its own (default: %(default)s)",
    )
    score = verbs.add_parser("score", help="print the probability of texts")
    score.add_argument("model", help="english, which comes along, or a file of `crnn lm build`")
    score.add_argument("texts", nargs="+", metavar="TEXT", help="a text, spelt as the model does")


def run(args: argparse.Namespace) -> int:
    from crnn.cli import CommandError

    try:
        return _build(args) if args.verb == "build" else _score(args)
    except ValueError as error:
        raise CommandError(str(error)) from error


def _build(args: argparse.Namespace) -> int:
    from crnn.cli import CommandError
    from crnn.language import read_texts

    charset = _charset(args.charset)
    with _bar(args.text) as bar:
        texts = read_texts(args.text, charset, bar.update)
    both = texts.training + texts.held_out
    if sum(map(len, both)) > _SLOW:
        print(f"crnn: counting {len(both)} different texts", file=sys.stderr)
    model = _model(both, charset, args.order)
    perplexity = _perplexity(texts.training, texts.held_out, charset, args.order)
    if model.skipped:
        print(
            f"crnn: texts of {args.text} with symbols that the charset lacks are left out: "
            f"{len(model.skipped)}, such as {model.skipped[0]!r}",
            file=sys.stderr,
        )
    try:
        model.save(args.output)
    except OSError as error:
        raise CommandError(f"lm: {args.output} must be writable ({error.strerror})") from error
    megabytes = os.path.getsize(args.output) / 1e6
    used = len(both) - len(model.skipped)
    print(
        f"{args.output}: {len(model)} n-grams of {used} different texts, {megabytes:.1f} MB\n"
        + (
            "no line was held out: the text has fewer than 20"
            if perplexity is None
            else f"perplexity {perplexity:.2f} a symbol on each twentieth line, held out"
        )
    )
    return 0


def _score(args: argparse.Namespace) -> int:
    from crnn.cli import CommandError
    from crnn.pretrained import language_model_file
    from crnn_ext import LanguageModel

    try:
        with language_model_file(args.model, "lm: model") as path:
            model = LanguageModel.load(path)
    except OSError as error:
        raise CommandError(
            f"lm: model must be a readable file, got {args.model} ({error.strerror})"
        ) from error
    width = max(map(len, args.texts))
    for text in args.texts:
        log_prob = model.log_prob(text)
        print(f"{text:<{width}}  log P {log_prob:8.3f}  perplexity {model.perplexity([text]):.2f}")
    return 0


def _charset(name: str) -> Charset:
    from crnn.charset import NAMED, Charset

    if name in NAMED:
        return Charset.named(name)
    try:
        return Charset.from_file(name)
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(
            f"lm: charset must be one of {', '.join(NAMED)} or a UTF-8 file of one symbol a line, "
            f"got {name} ({error})"
        ) from error


def _model(texts: dict[str, int], charset: Charset, order: int) -> LanguageModel:
    from crnn_ext import LanguageModel

    return LanguageModel(texts, charset.symbols, charset.blank, order=order, unknown="skip")


def _perplexity(
    training: dict[str, int], held_out: dict[str, int], charset: Charset, order: int
) -> float | None:
    """Of the held-out texts that can be spelt, by a model of the others."""
    spelt = {text: count for text, count in held_out.items() if not charset.unknown(text)}
    if not spelt or all(charset.unknown(text) for text in training):
        return None
    return _model(training, charset, order).perplexity(spelt)


def _bar(path: str) -> Any:
    """A progress bar on a terminal, after two seconds."""
    from tqdm import tqdm

    try:
        size = os.path.getsize(path)
    except OSError:  # reported when it is opened
        size = 0
    return tqdm(total=size, unit="B", unit_scale=True, delay=2.0, disable=None, leave=False)

"""Draw synthetic images of words or music: look at them, write them, pack their fonts.

The images are those that `crnn train` draws with the same seed, fonts, words and backgrounds.
Music is engraved by verovio (extra ``music``).

exit status: 0, or 2 if nothing could be done.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from crnn.synth.dataset import SyntheticImages
    from crnn.synth.export import Sample

EXAMPLES = """\
  crnn synth preview sheet.png --rows 12                 a contact sheet with the labels
  crnn synth export words.lmdb --count 100000 --workers 4
  crnn synth export words/ --count 1000 --seed 7         PNG files and gt.tsv
  crnn synth preview sheet.png --compose device          as crnn train --compose device
  crnn synth pack-fonts fonts.zip --per-family 3
  crnn synth pack-backgrounds photographs.zip ~/Pictures --count 150
  crnn synth music preview sheet.png --columns 3         staff fragments with their pitches
  crnn synth music export fragments/ --count 1000 --seed 7
  crnn synth preview sheet.png --fonts fonts.zip         as crnn train --fonts fonts.zip
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verbs and their flags."""
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", dest="verb", required=True)
    for verb in _add_verbs(verbs, columns=8):
        verb.set_defaults(draw=drawn_words, cell=(190, 78), compose="workers")
        verb.add_argument("--words", nargs="+", default=(), help="word lists; default: installed")
        _add_fonts(verb)
        if verb.prog.endswith("preview"):
            verb.add_argument(
                "--compose",
                choices=("workers", "device"),
                help="draw word by word, or by the batch in torch (%(default)s)",
            )
            verb.add_argument("--device", default="cpu", help="for the latter (%(default)s)")
    music = verbs.add_parser("music", help="preview or export staff fragments")
    for verb in _add_verbs(
        music.add_subparsers(title="verbs", metavar="VERB", dest="verb", required=True), columns=3
    ):
        verb.set_defaults(draw=drawn_music, cell=(500, 130), compose="workers")
    pack = verbs.add_parser("pack-fonts", help="put the fonts into one small archive")
    pack.add_argument("archive", type=Path, help="NAME.zip to write")
    pack.add_argument("--per-family", type=int, default=0, help="files of a family; 0: all")
    _add_fonts(pack)
    reduce = verbs.add_parser("pack-backgrounds", help="put photographs into one small archive")
    reduce.add_argument("archive", type=Path, help="NAME.zip to write")
    reduce.add_argument("sources", nargs="+", help="folders or archives of photographs")
    reduce.add_argument("--count", type=int, default=150, help="at most (%(default)s)")
    reduce.add_argument("--size", type=int, default=256, help="pixels of a side (%(default)s)")


def _add_verbs(verbs: Any, columns: int) -> list[argparse.ArgumentParser]:
    """What can be done with a stream of images."""
    preview = verbs.add_parser("preview", help="draw a contact sheet")
    preview.add_argument("image", type=Path, help="image file to write")
    preview.add_argument("--rows", type=int, default=10, help="default: %(default)s")
    preview.add_argument("--columns", type=int, default=columns, help="default: %(default)s")
    export = verbs.add_parser("export", help="write images and labels")
    export.add_argument("destination", type=Path, help="NAME.lmdb, or a folder")
    export.add_argument("--count", type=int, required=True, help="how many")
    export.add_argument("--workers", type=int, default=0, help="processes (default: %(default)s)")
    for verb in (preview, export):
        verb.add_argument("--seed", type=int, default=0, help="default: %(default)s")
        verb.add_argument("--start", type=int, default=0, help="number of the first sample")
        verb.add_argument(
            "--difficulty", type=float, default=1.0, help="0: clean print, 1: all (%(default)s)"
        )
        verb.add_argument(
            "--backgrounds", nargs="+", default=(), help="folders or archives of photographs"
        )
    return [preview, export]


def _add_fonts(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--fonts", nargs="+", default=(), help="folders or archives; default: the system's"
    )


def run(args: argparse.Namespace) -> int:
    """Run the verb."""
    from crnn.cli import CommandError, told

    if not 0 <= getattr(args, "difficulty", 1.0) <= 1:
        raise CommandError(f"synth: difficulty must be within [0, 1], got {args.difficulty}")
    verbs = {
        "preview": _preview,
        "export": _export,
        "pack-fonts": _pack_fonts,
        "pack-backgrounds": _pack_backgrounds,
    }
    try:
        verbs[args.verb](args)
    except (OSError, ValueError) as error:
        raise CommandError(told(error)) from error
    return 0


def _data(args: argparse.Namespace) -> SyntheticImages:
    data: SyntheticImages = args.draw(args)
    return data


def drawn_words(args: argparse.Namespace) -> SyntheticImages:
    """Words, of the flags --words, --fonts, --backgrounds, --seed and --difficulty."""
    from crnn.charset import Charset
    from crnn.synth import Renderer, SyntheticWords, TextSampler, find_fonts, load_words
    from crnn.synth.backgrounds import load_backgrounds

    fonts = find_fonts(args.fonts) if args.fonts else find_fonts()
    return SyntheticWords(
        TextSampler(load_words(args.words)),
        Renderer(fonts, load_backgrounds(args.backgrounds)),
        Charset.named("62"),
        batch_size=1,
        seed=args.seed,
        difficulty=args.difficulty,
    )


def drawn_music(args: argparse.Namespace) -> SyntheticImages:
    """Staff fragments, of the flags --backgrounds, --seed and --difficulty."""
    from crnn.charset import Charset
    from crnn.music.dataset import SyntheticMusic
    from crnn.synth.backgrounds import load_backgrounds

    return SyntheticMusic(
        Charset.named("music"),
        batch_size=1,
        seed=args.seed,
        backgrounds=load_backgrounds(args.backgrounds),
        difficulty=args.difficulty,
    )


def _preview(args: argparse.Namespace) -> None:
    from crnn.files import replacing
    from crnn.synth.export import contact_sheet

    count = args.rows * args.columns
    if args.compose == "device":
        samples = _composed(args, count)
    else:
        data = _data(args)
        samples = [data.sample(i) for i in range(args.start, args.start + count)]
    with replacing(args.image) as temporary:
        contact_sheet(samples, args.columns, args.cell).save(temporary)
    print(f"wrote {args.image}")


def _composed(args: argparse.Namespace, count: int) -> list[Sample]:
    """A pool of batches as the network is given them, their samples in turn."""
    import torch

    from crnn.charset import Charset
    from crnn.synth import TextSampler, find_fonts, load_words
    from crnn.synth.backgrounds import load_backgrounds
    from crnn.synth.dataset import POOL
    from crnn.synth.device import Composer, SketchedWords, load_atlas

    if args.start:
        raise ValueError(f"synth: start must be 0 with --compose device, got {args.start}")
    charset, photographs = Charset.named("62"), load_backgrounds(args.backgrounds)
    atlas = load_atlas(find_fonts(args.fonts) if args.fonts else find_fonts())
    sketches = SketchedWords(
        TextSampler(load_words(args.words)),
        atlas,
        [photo.shape for photo in photographs],
        charset,
        batch_size=-(-count // POOL),
        seed=args.seed,
        difficulty=args.difficulty,
    )
    composer = Composer(atlas, photographs, args.device)
    drawn: list[list[Sample]] = []
    for batch in map(composer, sketches[0]):
        labels = torch.split(batch.targets, batch.target_lengths.tolist())
        images = batch.images[:, 0].cpu().numpy()
        drawn.append([(i, charset.decode(t.tolist())) for i, t in zip(images, labels, strict=True)])
    return [sample for together in zip(*drawn, strict=True) for sample in together][:count]


def _export(args: argparse.Namespace) -> None:
    from tqdm import tqdm

    from crnn.synth.export import export

    data = _data(args)
    with tqdm(total=args.count, unit="image", file=sys.stderr) as bar:
        export(data, args.destination, args.count, args.start, args.workers, bar.update)
    print(f"wrote {args.destination}, {args.count} images")


def _pack_fonts(args: argparse.Namespace) -> None:
    from tqdm import tqdm

    from crnn.synth import find_fonts
    from crnn.synth.pack import pack_fonts

    families = find_fonts(args.fonts) if args.fonts else find_fonts()
    with tqdm(total=sum(map(len, families)), unit="font", file=sys.stderr) as bar:
        refused = pack_fonts(families, args.archive, args.per_family, bar.update)
    size = args.archive.stat().st_size / 1e6
    print(f"wrote {args.archive}, {size:.1f} MB; {len(refused)} fonts could not be reduced")


def _pack_backgrounds(args: argparse.Namespace) -> None:
    from crnn.synth.backgrounds import pack_backgrounds

    count = pack_backgrounds(args.sources, args.archive, args.count, args.size)
    size = args.archive.stat().st_size / 1e6
    print(f"wrote {args.archive}, {count} photographs, {size:.1f} MB")

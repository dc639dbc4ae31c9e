"""`open_dataset`: find out by content what a path holds, and open it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from crnn.data import listings
from crnn.data.dataset import Concatenation, Dataset, Entry, FileDataset, Problem
from crnn.data.listings import Listing
from crnn.data.published import read_mat, read_xml

#: Looked for in a folder, in this order, before any other file is considered.
LABEL_FILES = ("labels.tsv", "gt.tsv", "gt.txt", "labels.txt", "labels.json", "labels.csv")
_SUFFIXES = {".tsv", ".txt", ".csv", ".json", ".xml", ".mat"}
_NO_LABELS = re.compile(r"(lex|lexicon|readme|licen[cs]e).*|.*\.gt\.txt", re.IGNORECASE)
_LEXICON_FILE = re.compile(r"lex(\d+k?)\.tsv")
_LMDB_MAGIC = b"\xde\xc0\xef\xbe"  # little-endian 0xBEEFC0DE, bytes 16 to 20 of the first page


def open_dataset(source: str | os.PathLike[str]) -> Dataset:
    """Open labelled images of any of these forms, recognised by content:

    - LMDB with the field's keys, or a folder with several below it
    - MJSynth's ``annotation_*.txt``, whose file names ``N_WORD_LEX.jpg`` hold the labels
    - ``image<TAB>label`` lines; ICDAR's ``image, "label"`` lines
    - CSV with a header; JSON
    - XML of SVT (rectangles in photographs, a lexicon for each) and of ICDAR 2003
    - IIIT5K's .mat, with lexicons of 50 and 1000 words
    - a folder of images each with its ``.gt.txt``, or whose names hold the labels

    Beside a list of lines, ``lex50.tsv`` (``image<TAB>word,word,...``) holds lexicons. Image paths
    are relative to the label file. A folder may stand for the label file in it if there is one.

    Raises:
        ValueError: nothing of the kind is there, several are, or a file has no usable entry.
    """
    path = Path(source)
    if path.is_dir():
        return _open_folder(path)
    if not path.exists():
        raise ValueError(f"open_dataset: source must exist, got {path}")
    if not path.is_file():
        raise ValueError(f"open_dataset: source must be a file or a folder, got {path}")
    if _is_lmdb(path):
        return _lmdb(path)
    return _open_file(path)


def open_datasets(sources: Sequence[str | os.PathLike[str]]) -> Dataset:
    """One data set of all `sources`."""
    parts = [open_dataset(source) for source in sources]
    return parts[0] if len(parts) == 1 else Concatenation(", ".join(map(str, sources)), parts)


def _is_lmdb(path: Path) -> bool:
    with open(path, "rb") as file:
        return file.read(20)[16:] == _LMDB_MAGIC


def _lmdb(path: Path) -> Dataset:
    from crnn.data.lmdb_reader import LmdbDataset  # an extra: only where it is needed

    return LmdbDataset(path)


def _open_folder(folder: Path) -> Dataset:
    if (folder / "data.mdb").exists():
        return _lmdb(folder)
    for name in LABEL_FILES:
        if (folder / name).is_file():
            return _open_file(folder / name)
    candidates = [path for path in sorted(folder.iterdir()) if _may_hold_labels(path)]
    if len(candidates) > 1:
        raise ValueError(
            f"open_dataset: source must say which of {', '.join(p.name for p in candidates)} "
            f"it is, got the folder {folder}"
        )
    if candidates:
        return _open_file(candidates[0])
    databases = _databases_below(folder)
    if databases:
        return Concatenation(str(folder), [_lmdb(path) for path in databases])
    if next(folder.rglob("*.gt.txt"), None):
        return _files(folder, ".gt.txt", listings.read_gt_txt(folder))
    form, entries = listings.read_names(folder)
    if not entries:
        raise ValueError(
            f"open_dataset: source must hold labelled images (LMDB, one of "
            f"{', '.join(LABEL_FILES)}, .gt.txt files, or names that hold the label), got {folder}"
        )
    return _files(folder, f"file names {form}", entries)


def _may_hold_labels(path: Path) -> bool:
    if path.suffix.lower() not in _SUFFIXES or _NO_LABELS.fullmatch(path.name):
        return False
    if not path.is_file():
        return False
    if path.suffix.lower() in (".xml", ".mat", ".json"):
        return True
    with open(path, "rb") as file:
        start = file.read(4096).decode("utf-8", "replace").removeprefix("\ufeff")
    return listings.form_of(start) is not None


def _databases_below(folder: Path) -> list[Path]:
    found = []
    for parent, folders, files in os.walk(folder):
        if "data.mdb" in files:
            found.append(Path(parent))
            folders.clear()
        folders.sort()
    return found


def _open_file(path: Path) -> Dataset:
    suffix = path.suffix.lower()
    if suffix == ".mat":
        entries, names = read_mat(path)
        return _files(path, "iiit5k", entries, names)
    text = listings.read_text(path)
    start = text.lstrip()[:1]
    if suffix == ".xml" or start == "<":
        kind, listing, names = read_xml(path)
        return _files(path, kind, listing, names)
    if suffix == ".json" or start in ("{", "["):
        return _files(path, "json", listings.read_json(path, text))
    if suffix == ".csv" or listings.has_csv_header(text):
        return _files(path, "csv", listings.read_csv(path, text))
    form = listings.form_of(text)
    if form is None:
        line = next((line for line in text.split("\n") if line.strip()), "")
        raise ValueError(
            f"open_dataset: {path} must hold 'image<TAB>label', 'image, \"label\"' or MJSynth's "
            f"lines, got {line[:80]!r}"
        )
    if form == "mjsynth":
        return _files(path, form, listings.lines_of(path, text, listings.parse_mjsynth))
    parse = listings.parse_tab if form == "tab" else listings.parse_icdar
    kind = "image<TAB>label" if form == "tab" else form
    return _files(path, kind, *_with_lexicons(path, listings.lines_of(path, text, parse)))


def _files(
    path: Path, kind: str, listing: Iterable[Entry | Problem], lexicons: tuple[str, ...] = ()
) -> Dataset:
    dataset = FileDataset(str(path), kind, listing, lexicons)
    if not len(dataset):
        problems = dataset.problems
        first = f", first {problems[0]}" if problems else ""
        raise ValueError(
            f"open_dataset: {path} must hold at least one labelled image, "
            f"got {len(problems)} unusable entries{first}"
        )
    return dataset


def _with_lexicons(path: Path, listing: Listing) -> tuple[Listing, tuple[str, ...]]:
    """Add what ``lex50.tsv``, ``lex1k.tsv``... beside the label file say of each image."""
    files = sorted(path.parent.glob("lex*.tsv"))
    found = {match[1]: p for p in files if (match := _LEXICON_FILE.fullmatch(p.name))}
    names = tuple(sorted(found, key=lambda name: int(name.replace("k", "000"))))
    for name in names:
        listing = _with_words(listing, found[name])
    return listing, names


def _with_words(listing: Listing, file: Path) -> Listing:
    words: dict[str, tuple[str, ...]] = {}
    for row in listings.lines_of(file, listings.read_text(file), listings.parse_tab):
        if isinstance(row, Problem):
            yield row
        else:
            words[row.path] = tuple(word for word in row.label.split(",") if word)
    for item in listing:
        if isinstance(item, Entry):
            if item.path not in words:
                yield Problem(item.path, f"no lexicon in {file.name}")
            item = item._replace(lexicons=(*item.lexicons, words.get(item.path, ())))
        yield item

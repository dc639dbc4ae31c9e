"""Label files as text: `image<TAB>label`, ICDAR, MJSynth's annotation, CSV, JSON, `.gt.txt`, names.

Each function reads one form and yields its entries and problems. A line that cannot be used is a
problem, named by ``file:line``; a file with nothing but problems is an error of the caller's.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from crnn.data.dataset import Entry, Problem
from crnn.images import images_in

Listing = Iterator[Entry | Problem]

# What the columns of CSV files, and the keys of JSON ones, are called in the field.
IMAGE_COLUMNS = ("image", "image_path", "img_path", "path", "file", "file_name", "filename", "name")
LABEL_COLUMNS = ("label", "text", "words", "word", "transcription", "ground_truth", "gt")

# How a folder's file names may hold the label, most telling first.
_NAME_FORMS = (
    ("number_label_number", re.compile(r"\d+_(.+)_\d+$")),
    ("number_label", re.compile(r"\d+_(.+)$")),
    ("label_number", re.compile(r"(.+)_\d+$")),
    ("label", re.compile(r"(.+)$")),
)


def read_text(path: Path) -> str:
    """UTF-8 with or without a byte-order mark, or UTF-16 with one."""
    try:
        content = path.read_bytes()
        utf16 = content[:2] in (b"\xff\xfe", b"\xfe\xff")
        return content.decode("utf-16" if utf16 else "utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"open_dataset: cannot read {path} ({error})") from error


def form_of(text: str) -> str | None:
    """The form of a label file by its first line: tab, mjsynth, icdar, or None."""
    first = next((line for line in text.splitlines() if line.strip()), "")
    if "\t" in first:
        return "tab"
    if parse_mjsynth(first):
        return "mjsynth"
    return "icdar" if "," in first else None


def lines_of(path: Path, text: str, parse: Callable[[str], tuple[str, str] | None]) -> Listing:
    """One sample a line; `parse` gives (image, label), or None for a line of another form."""
    folder = os.path.join(str(path.parent), "")
    # Only line feeds end a line: a label may hold U+2028 and others that splitlines() cuts at.
    for number, line in enumerate(io.StringIO(text, newline="\n"), start=1):
        line = line.rstrip("\r\n")
        if not line or line.isspace():
            continue
        found = parse(line)
        if found is None or not found[0]:
            yield Problem(f"{path}:{number}", f"not of the file's form: {line[:80]!r}")
        elif found[0].startswith("/"):
            yield Entry(*found)
        else:
            yield Entry(folder + found[0], found[1])


def parse_tab(line: str) -> tuple[str, str] | None:
    """``image<TAB>label``; the label is kept as it is."""
    name, separator, label = line.partition("\t")
    return (name.strip(), label) if separator else None


def parse_icdar(line: str) -> tuple[str, str] | None:
    """``word_1.png, "label"``: commas and quotes within the outer quotes belong to the label."""
    name, separator, label = line.partition(",")
    label = label.strip()
    if len(label) >= 2 and label[0] == label[-1] == '"':
        label = label[1:-1]
    return (name.strip(), label) if separator else None


def parse_mjsynth(line: str) -> tuple[str, str] | None:
    """``./2425/1/115_Lube_45484.jpg 45484``: the middle of the name is the label."""
    path, _, word = line.strip().partition(" ")
    name = path[path.rfind("/") + 1 : path.rfind(".")]
    first, last = name.find("_"), name.rfind("_")
    if not (word.isdecimal() and name[:first].isdecimal() and name[last + 1 :].isdecimal()):
        return None
    return (path.removeprefix("./"), name[first + 1 : last]) if first + 1 < last else None


def read_csv(path: Path, text: str) -> Listing:
    """A header that names the columns, then rows; comma, semicolon or tab."""
    header = text.partition("\n")[0]
    delimiter = max(",;\t", key=header.count)
    rows = csv.reader(io.StringIO(text), delimiter=delimiter)
    columns = [column.strip().casefold() for column in next(rows, [])]
    image, label = _column(columns, IMAGE_COLUMNS), _column(columns, LABEL_COLUMNS)
    if image is None or label is None:
        raise ValueError(
            f"open_dataset: {path} must have a header with one of {', '.join(IMAGE_COLUMNS)} and "
            f"one of {', '.join(LABEL_COLUMNS)}, got {header[:80]!r}"
        )
    for row in rows:
        if len(row) > max(image, label) and row[image].strip():
            yield Entry(str(path.parent / row[image].strip()), row[label])
        elif row:
            yield Problem(f"{path}:{rows.line_num}", f"{len(row)} of {len(columns)} columns")


def has_csv_header(text: str) -> bool:
    """Whether the first line names an image and a label column."""
    columns = [c.strip().casefold() for c in re.split(r"[,;\t]", text.partition("\n")[0])]
    return None not in (_column(columns, IMAGE_COLUMNS), _column(columns, LABEL_COLUMNS))


def _column(columns: Sequence[str], names: Sequence[str]) -> int | None:
    return next((columns.index(name) for name in names if name in columns), None)


def read_json(path: Path, text: str) -> Listing:
    """``{"a.jpg": "label"}``, that under the key "labels", or a list of objects."""
    try:
        content = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"open_dataset: cannot read {path} ({error})") from error
    if isinstance(content, dict) and isinstance(content.get("labels"), (dict, list)):
        content = content["labels"]
    for where, (image, label) in _json_pairs(path, content):
        if isinstance(image, str) and image and isinstance(label, str):
            yield Entry(str(path.parent / image), label)
        else:
            yield Problem(f"{path}:{where}", f"no image and text: {label!r:.80}")


def _json_pairs(path: Path, content: Any) -> Iterator[tuple[str, tuple[Any, Any]]]:
    if isinstance(content, dict):
        for image, value in content.items():
            label = _json_value(value, LABEL_COLUMNS) if isinstance(value, dict) else value
            yield image, (image, label)
    elif isinstance(content, list):
        for number, item in enumerate(content):
            image, label = _json_value(item, IMAGE_COLUMNS), _json_value(item, LABEL_COLUMNS)
            yield f"[{number}]", (image, item if label is None else label)
    else:
        raise ValueError(
            f"open_dataset: {path} must hold an object or a list, got {type(content).__name__}"
        )


def _json_value(item: Any, names: Sequence[str]) -> Any:
    if not isinstance(item, dict):
        return None
    return next((item[name] for name in names if name in item), None)


def read_gt_txt(folder: Path) -> Listing:
    """``a.png`` with its text in ``a.gt.txt``; an image without one is a problem."""
    for image in images_in(folder):
        text = Path(image).with_suffix(".gt.txt")
        try:
            yield Entry(image, read_text(text).strip("\r\n"))
        except ValueError as error:
            reason = f"no {text.name} beside it" if not text.exists() else str(error)
            yield Problem(image, reason)


def read_names(folder: Path) -> tuple[str, list[Entry]]:
    """File names that hold the label: the first of `_NAME_FORMS` that fits all of them.

    Nothing where all labels would be the same: ``word_1.png, word_2.png`` are numbered, not named.
    """
    images = list(images_in(folder))
    for form, pattern in _NAME_FORMS:
        matches = [pattern.match(Path(image).stem) for image in images]
        labels = [match[1] for match in matches if match]
        if images and len(labels) == len(images):
            if len(set(labels)) == 1 < len(labels):
                break
            return form, [Entry(i, label) for i, label in zip(images, labels, strict=True)]
    return "", []

"""Annotation files of published data sets: SVT's and ICDAR 2003's XML, IIIT5K's .mat."""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from crnn.data.dataset import Entry, Problem
from crnn.data.listings import Listing

_MAT_LEXICONS = (("50", "smallLexi"), ("1k", "mediumLexi"))


def read_xml(path: Path) -> tuple[str, Listing, tuple[str, ...]]:
    """Kind, listing and lexicon names of an XML file.

    SVT (Wang 2011) and ICDAR 2003's ``locations.xml``: ``<tagset>`` of photographs with
    ``<taggedRectangle>`` around each word; SVT adds ``<lex>``, the comma-separated words of the
    place, to each photograph. ICDAR 2003's ``word.xml``: ``<imagelist>`` of cropped words.
    """
    try:
        root = ElementTree.parse(path).getroot()
    except (OSError, ElementTree.ParseError) as error:
        raise ValueError(f"open_dataset: cannot read {path} ({error})") from error
    if root.tag == "imagelist":
        return "icdar2003", _cropped(path, root), ()
    if root.tag != "tagset":
        raise ValueError(
            f"open_dataset: {path} must have the root <tagset> or <imagelist>, got <{root.tag}>"
        )
    photographs = list(root.iter("image"))
    # SVT's test has a lexicon for each photograph, ICDAR's none.
    named = all(_lexicon(image) for image in photographs)
    items = itertools.chain.from_iterable(
        _rectangles(path, number, image, named) for number, image in enumerate(photographs, start=1)
    )
    return "svt" if named else "rectangles", items, ("50",) if named else ()


def _lexicon(image: ElementTree.Element) -> tuple[str, ...]:
    words = (image.findtext("lex") or "").split(",")
    return tuple(word.strip() for word in words if word.strip())


def _rectangles(path: Path, number: int, image: ElementTree.Element, named: bool) -> Listing:
    name = (image.findtext("imageName") or "").strip()
    lexicons = (_lexicon(image),) if named else ()
    for k, rectangle in enumerate(image.iter("taggedRectangle"), start=1):
        where = f"{path}:image {number}, rectangle {k}"
        try:
            x, y, width, height = (
                float(rectangle.attrib[a]) for a in ("x", "y", "width", "height")
            )
        except (KeyError, ValueError) as error:
            yield Problem(where, f"x, y, width and height must be numbers ({error})")
            continue
        label = rectangle.findtext("tag")
        if not name or label is None:
            yield Problem(where, "no imageName" if not name else "no tag")
            continue
        file = os.path.join(path.parent, name)
        yield Entry(file, label.strip(), (x, y, width, height), lexicons)


def _cropped(path: Path, root: ElementTree.Element) -> Listing:
    for number, image in enumerate(root.iter("image"), start=1):
        file, label = image.get("file"), image.get("tag")
        if file and label is not None:
            yield Entry(os.path.join(path.parent, file), label)
        else:
            yield Problem(f"{path}:image {number}", "no file or no tag")


def read_mat(path: Path) -> tuple[list[Entry], tuple[str, ...]]:
    """IIIT5K's ``traindata.mat`` or ``testdata.mat`` (Mishra 2012): entries and lexicon names.

    Also ``trainCharBound.mat`` and ``testCharBound.mat``, which have labels but no lexicons.
    """
    try:
        from scipy.io import loadmat
    except ImportError as error:
        raise ValueError(
            f"open_dataset: {path} needs scipy to be read; run `pip install crnn-ext[train]`"
        ) from error
    try:
        content = loadmat(path, squeeze_me=True, chars_as_strings=True)
    except Exception as error:  # a damaged file makes loadmat raise nearly anything
        raise ValueError(f"open_dataset: cannot read {path} ({error})") from error
    tables = [v for v in content.values() if getattr(getattr(v, "dtype", None), "names", None)]
    fields = tables[0].dtype.names if tables else ()
    label = next((name for name in ("GroundTruth", "chars") if name in fields), None)
    if label is None or "ImgName" not in fields:
        raise ValueError(
            f"open_dataset: {path} must hold IIIT5K's table with ImgName and GroundTruth, "
            f"got {', '.join(fields) or 'no table'}"
        )
    lexicons = [(name, field) for name, field in _MAT_LEXICONS if field in fields]
    entries = [
        Entry(
            os.path.join(path.parent, str(row["ImgName"])),
            str(row[label]),
            lexicons=tuple(_words(row[field]) for _, field in lexicons),
        )
        for row in tables[0].reshape(-1)
    ]
    return entries, tuple(name for name, _ in lexicons)


def _words(cell: Any) -> tuple[str, ...]:
    # A cell array is squeezed to an array of strings, a cell of one word to the word itself.
    return (str(cell),) if isinstance(cell, str) else tuple(str(word) for word in cell.reshape(-1))

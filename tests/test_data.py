"""Every form of labelled images that is recognised by itself, and what damage does to it."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from pictures import labelled, png, write
from PIL import Image

from crnn.data import Concatenation, Dataset, Subset, open_dataset, open_datasets
from crnn.data.dataset import StringTable
from crnn.images import ImageError


def pairs(dataset: Dataset, root: Path) -> list[tuple[str, str]]:
    """(name relative to `root`, label) of every sample."""
    return [(os.path.relpath(dataset.name(i), root), dataset.label(i)) for i in range(len(dataset))]


# ---- lines ------------------------------------------------------------------------------------


def test_tab_separated(tmp_path: Path) -> None:
    write(tmp_path / "a.jpg")
    (tmp_path / "gt.tsv").write_text('a.jpg\tHello, "you" \n\nsub/b.jpg\t\n')
    data = open_dataset(tmp_path)
    assert pairs(data, tmp_path) == [("a.jpg", 'Hello, "you" '), ("sub/b.jpg", "")]
    assert data[0].image == png()
    with pytest.raises(ImageError, match=r"sub/b\.jpg must be an existing file"):
        data[1]
    with pytest.raises(IndexError, match="has 2 samples, got index 2"):
        data[2]


def test_a_line_separator_of_unicode_belongs_to_the_label(tmp_path: Path) -> None:
    (tmp_path / "gt.tsv").write_text("a.png\tone\u2028two\x85three\r\nb.png\tx\r\n", newline="")
    assert [label for _, label in pairs(open_dataset(tmp_path), tmp_path)] == [
        "one\u2028two\x85three",
        "x",
    ]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_icdar(tmp_path: Path, encoding: str) -> None:
    file = tmp_path / "gt.txt"
    file.write_text(
        'word_1.png, "Say "hi", now"\nword_2.png, plain\nword_3.png, "é,"\n', encoding=encoding
    )
    data = open_dataset(tmp_path)
    assert data.kind == "icdar"
    assert [label for _, label in pairs(data, tmp_path)] == ['Say "hi", now', "plain", "é,"]


def test_mjsynth(tmp_path: Path) -> None:
    write(tmp_path / "2425/1/115_Lube_45484.jpg", 3)
    (tmp_path / "annotation_val.txt").write_text(
        "./2425/1/115_Lube_45484.jpg 45484\n./1/2/9_don_t_7.jpg 7\n./broken 3\n"
    )
    (tmp_path / "lexicon.txt").write_text("lube\n")
    data = open_dataset(tmp_path)
    assert data.kind == "mjsynth"
    assert pairs(data, tmp_path) == [
        ("2425/1/115_Lube_45484.jpg", "Lube"),
        ("1/2/9_don_t_7.jpg", "don_t"),
    ]
    assert data[0].image == png(3)
    assert [problem.name for problem in data.problems] == [f"{tmp_path}/annotation_val.txt:3"]


def test_a_folder_with_several_splits_must_be_told_which(tmp_path: Path) -> None:
    for split in ("train", "val", "test"):
        (tmp_path / f"annotation_{split}.txt").write_text("./1/1_a_2.jpg 2\n")
    with pytest.raises(
        ValueError,
        match=r"source must say which of annotation_test\.txt, annotation_train\.txt, "
        r"annotation_val\.txt it is",
    ):
        open_dataset(tmp_path)
    assert len(open_dataset(tmp_path / "annotation_train.txt")) == 1


# ---- CSV and JSON -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "rows"),
    [
        ("filename,words", 'a.png,"one, ""two"""\nb.png,x\n'),
        ("id;Text;Image", '1;"one, ""two""";a.png\n2;x;b.png\n'),
    ],
)
def test_csv(tmp_path: Path, header: str, rows: str) -> None:
    (tmp_path / "labels.csv").write_text(f"\ufeff{header}\n{rows}c.png\n", encoding="utf-8")
    data = open_dataset(tmp_path)
    assert pairs(data, tmp_path) == [("a.png", 'one, "two"'), ("b.png", "x")]
    assert [p.reason[:5] for p in data.problems] == ["1 of "]


@pytest.mark.parametrize(
    "content",
    [
        {"a.png": "one", "b.png": "two", "c.png": 3},
        {"labels": {"a.png": "one", "b.png": "two", "c.png": None}},
        {"labels": [{"image": "a.png", "text": "one"}, {"image": "b.png", "text": "two"}, 5]},
        [{"file_name": "a.png", "label": "one"}, {"path": "b.png", "gt": "two"}, {"path": "c.png"}],
        {"a.png": {"label": "one"}, "b.png": {"text": "two"}, "c.png": {}},
    ],
)
def test_json(tmp_path: Path, content: object) -> None:
    (tmp_path / "labels.json").write_text(json.dumps(content))
    data = open_dataset(tmp_path)
    assert pairs(data, tmp_path) == [("a.png", "one"), ("b.png", "two")]
    assert len(data.problems) == 1


# ---- folders ----------------------------------------------------------------------------------


def test_gt_txt_beside_images(tmp_path: Path) -> None:
    for name in ("1.png", "sub/2.png", "10.png"):
        write(tmp_path / name)
    (tmp_path / "1.gt.txt").write_text("one \n")
    (tmp_path / "sub/2.gt.txt").write_text("two")
    data = open_dataset(tmp_path)
    assert sorted(pairs(data, tmp_path)) == [("1.png", "one "), ("sub/2.png", "two")]
    assert str(data.problems[0]).endswith("10.png: no 10.gt.txt beside it")


@pytest.mark.parametrize(
    ("names", "labels"),
    [
        (["1_Lube_45.jpg", "2_Hot_3.jpg"], ["Lube", "Hot"]),
        (["1_Lube_4x.jpg", "2_Hot_3.jpg"], ["Lube_4x", "Hot_3"]),
        (["exit_1.png", "exit_2.png", "way_1.png"], ["exit", "exit", "way"]),
        (["exit.png", "42.png"], ["42", "exit"]),
    ],
)
def test_names_that_hold_the_label(tmp_path: Path, names: list[str], labels: list[str]) -> None:
    for i, name in enumerate(names):
        write(tmp_path / name, i)
    data = open_dataset(tmp_path)
    assert [data.label(i) for i in range(len(data))] == labels


def test_names_without_labels_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="source must hold labelled images"):
        open_dataset(tmp_path)
    for name in ("notes.md", "word_1.png", "word_2.png"):
        write(tmp_path / name)
    with pytest.raises(ValueError, match="source must hold labelled images"):
        open_dataset(tmp_path)
    write(tmp_path / "way_1.png")
    assert len(open_dataset(tmp_path)) == 3


# ---- published forms --------------------------------------------------------------------------

SVT = """<?xml version="1.0" encoding="utf-8"?>
<tagset>
 <image>
  <imageName>img/00.jpg</imageName>
  <lex>LIVING,ROOM,Theaters</lex>
  <taggedRectangles>
   <taggedRectangle height="10" width="20" x="5" y="4"><tag>LIVING</tag></taggedRectangle>
   <taggedRectangle height="10" width="20" x="25" y="-4"><tag>ROOM</tag></taggedRectangle>
   <taggedRectangle height="10" width="20" x="90" y="4"><tag>FAR</tag></taggedRectangle>
   <taggedRectangle height="10" width="wide" x="5" y="4"><tag>ODD</tag></taggedRectangle>
   <taggedRectangle height="10" width="2" x="5" y="4"/>
  </taggedRectangles>
 </image>
</tagset>
"""


def test_svt(tmp_path: Path) -> None:
    write(tmp_path / "img/00.jpg", 7, width=40, height=20)
    page = Image.open(tmp_path / "img/00.jpg").convert("RGB")
    (tmp_path / "test.xml").write_text(SVT)
    data = open_dataset(tmp_path)
    assert (data.kind, data.lexicons, len(data)) == ("svt", ("50",), 3)
    assert data.lexicon(1, "50") == ("LIVING", "ROOM", "Theaters")
    image = data[0].image
    assert isinstance(image, Image.Image)
    np.testing.assert_array_equal(np.asarray(image), np.asarray(page)[4:14, 5:25])
    clipped = data[1].image
    assert isinstance(clipped, Image.Image)
    np.testing.assert_array_equal(np.asarray(clipped), np.asarray(page)[0:6, 25:40])
    with pytest.raises(ImageError, match="must lie inside its 40 x 20 image, got x=90 y=4"):
        data[2]
    assert [str(p).partition(": ")[2][:24] for p in data.problems] == [
        "x, y, width and height m",
        "no tag",
    ]


def test_icdar_2003(tmp_path: Path) -> None:
    (tmp_path / "word.xml").write_text(
        '<imagelist><image file="word/1/1.jpg" tag="self&amp;co"/><image file="x.jpg"/></imagelist>'
    )
    data = open_dataset(tmp_path)
    assert pairs(data, tmp_path) == [("word/1/1.jpg", "self&co")]
    assert len(data.problems) == 1
    # locations.xml is SVT's form without lexicons.
    (tmp_path / "word.xml").write_text(SVT.replace("<lex>LIVING,ROOM,Theaters</lex>", ""))
    assert open_dataset(tmp_path).lexicons == ()


def save_mat(path: Path, name: str, rows: list[tuple[str, str, list[str], list[str]]]) -> None:
    """A struct array of cells, as Matlab writes IIIT5K's."""
    io = pytest.importorskip("scipy.io")
    fields = ("ImgName", "GroundTruth", "smallLexi", "mediumLexi")
    table = np.zeros((1, len(rows)), [(field, object) for field in fields])
    for i, (image, label, small, medium) in enumerate(rows):
        cells = [np.asarray(words, object).reshape(1, -1) for words in (small, medium)]
        table[0, i] = (image, label, *cells)
    io.savemat(path, {name: table})


def test_iiit5k(tmp_path: Path) -> None:
    rows = [
        ("test/1_1.png", "PRIVATE", ["PRIVATE", "CAR"], ["A", "B", "PRIVATE"]),
        ("test/1_2.png", "5", ["5"], ["X"]),
    ]
    save_mat(tmp_path / "testdata.mat", "testdata", rows)
    write(tmp_path / "test/1_1.png", 5)
    data = open_dataset(tmp_path)
    assert (data.kind, data.lexicons) == ("iiit5k", ("50", "1k"))
    assert pairs(data, tmp_path) == [("test/1_1.png", "PRIVATE"), ("test/1_2.png", "5")]
    assert data[0].image == png(5)
    assert [data.lexicon(0, name) for name in data.lexicons] == [
        ("PRIVATE", "CAR"),
        ("A", "B", "PRIVATE"),
    ]
    assert data.lexicon(1, "50") == ("5",)
    with pytest.raises(ValueError, match="must have one named 'full', got 50, 1k"):
        data.lexicon(0, "full")


def test_iiit5k_of_one_image_and_damage(tmp_path: Path) -> None:
    save_mat(tmp_path / "traindata.mat", "traindata", [("a.png", "one", ["one"], ["two"])])
    assert pairs(open_dataset(tmp_path), tmp_path) == [("a.png", "one")]
    content = (tmp_path / "traindata.mat").read_bytes()
    for cut in (0, 10, 130, len(content) - 3):
        (tmp_path / "traindata.mat").write_bytes(content[:cut])
        with pytest.raises(ValueError, match=r"^open_dataset: "):
            open_dataset(tmp_path)


def test_scipy_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "testdata.mat").write_bytes(b"MATLAB 5.0")
    monkeypatch.setitem(__import__("sys").modules, "scipy.io", None)
    with pytest.raises(ValueError, match=r"needs scipy to be read; run `pip install crnn-ext\[tr"):
        open_dataset(tmp_path)


# ---- lexicons, wholes and parts ---------------------------------------------------------------


def test_lexicons_beside_the_labels(tmp_path: Path) -> None:
    labelled(tmp_path, ["one", "two", "three"])
    (tmp_path / "lex1k.tsv").write_text("0.png\ta,b,c\n1.png\td\n2.png\t\n")
    (tmp_path / "lex50.tsv").write_text("0.png\tone,two\n2.png\tx,,y\n")
    data = open_dataset(tmp_path)
    assert data.lexicons == ("50", "1k")
    assert [data.lexicon(i, "50") for i in range(3)] == [("one", "two"), (), ("x", "y")]
    assert data.lexicon(2, "1k") == ()
    assert [str(p).partition("/1.png")[2] for p in data.problems] == [": no lexicon in lex50.tsv"]


def test_concatenation_and_subset(tmp_path: Path) -> None:
    labelled(tmp_path / "a", ["one", "two"])
    labelled(tmp_path / "b", ["three"])
    (tmp_path / "a/lex50.tsv").write_text("0.png\tp\n1.png\tq\n")
    both = open_datasets([tmp_path / "a", tmp_path / "b"])
    assert isinstance(both, Concatenation)
    assert [s.label for s in both] == ["one", "two", "three"]
    assert both.lexicons == ()
    assert both[2].image == png(0)
    part = Subset(open_dataset(tmp_path / "a"), [1])
    assert (len(part), part[0].label, part.lexicon(0, "50")) == (1, "two", ("q",))
    assert open_datasets([tmp_path / "a"]).lexicons == ("50",)


def test_a_data_set_pickles(tmp_path: Path) -> None:
    write(tmp_path / "img/00.jpg", 7, width=40, height=20)
    (tmp_path / "test.xml").write_text(SVT)
    data = open_dataset(tmp_path)
    assert isinstance(data[0].image, Image.Image)
    copy = pickle.loads(pickle.dumps(data))
    assert [copy.label(i) for i in range(3)] == ["LIVING", "ROOM", "FAR"]
    assert copy[0].image == data[0].image


def test_string_table() -> None:
    strings = ["", "a", "é" * 50, "\udc80", ""]
    table = StringTable(strings)
    assert [table[i] for i in range(len(table))] == strings
    assert len(StringTable([])) == 0


# ---- damage -----------------------------------------------------------------------------------


def test_what_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"source must exist, got .*none"):
        open_dataset(tmp_path / "none.tsv")
    (tmp_path / "gt.tsv").write_text("nonsense\n")
    with pytest.raises(ValueError, match=r"gt\.tsv must hold 'image<TAB>label'.*got 'nonsense'"):
        open_dataset(tmp_path)
    (tmp_path / "gt.tsv").write_text("\tlabel\n")
    with pytest.raises(ValueError, match=r"at least one labelled image, got 1 unusable entries"):
        open_dataset(tmp_path)
    (tmp_path / "binary.tsv").write_bytes(b"\xff\x00\xfe")
    with pytest.raises(ValueError, match="cannot read"):
        open_dataset(tmp_path / "binary.tsv")
    for name, content in (("x.json", "{"), ("y.json", "[" * 100_000), ("z.json", "3"),
                          ("x.xml", "<a>"), ("y.xml", "<html/>"), ("z.csv", "a,b")):  # fmt: skip
        (tmp_path / name).write_text(content)
        with pytest.raises(ValueError, match=r"^open_dataset: "):
            open_dataset(tmp_path / name)


def test_bad_lines_are_named_and_the_rest_is_read(tmp_path: Path) -> None:
    labelled(tmp_path, ["one", "two"])
    with (tmp_path / "gt.tsv").open("a") as file:
        file.write("nonsense\n/dev/zero\tdevice\n")
    data = open_dataset(tmp_path)
    assert [str(p) for p in data.problems] == [
        f"{tmp_path}/gt.tsv:3: not of the file's form: 'nonsense'"
    ]
    with pytest.raises(ImageError, match="must be a regular file, got a device"):
        data[2]
    assert str(data).startswith(f"{tmp_path}/gt.tsv: 3 samples, image<TAB>label, 1 entries unusab")

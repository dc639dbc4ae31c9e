"""`crnn data check`, `stats` and `convert`, and what they are made of."""

from __future__ import annotations

import io
import json
import os
import shutil
import sys
from pathlib import Path

import pytest
from pictures import labelled, png, write
from PIL import Image

from crnn.charset import Charset
from crnn.cli import build_parser, main
from crnn.data import open_dataset
from crnn.data.check import check, needed_frames
from crnn.data.convert import convert
from crnn.data.inspection import inspect
from crnn.data.stats import statistics

pytestmark = pytest.mark.usefixtures("one_thread")


def test_needed_frames() -> None:
    assert [needed_frames(label) for label in ("", "a", "ab", "aab", "aaa", "abab")] == [
        0, 1, 2, 4, 5, 4,
    ]  # fmt: skip


def test_check_finds_each_kind(tmp_path: Path) -> None:
    labels = ["ok", "aab", "aaab", "é?!", "", "ok", "two", "x"]
    train = labelled(tmp_path / "train", labels)
    write(train / "5.png", 0)  # the image and label of 0
    write(train / "6.png", 1)  # the image of 1 under another label
    (train / "7.png").write_bytes(png(7)[:60])
    with (train / "gt.tsv").open("a", encoding="utf-8") as file:
        file.write("gone.png\tgone\nnonsense\n")
    test = labelled(tmp_path / "test", ["oth", "leak"])
    write(test / "0.png", 100)  # 1.png has the pixels of the training image 1
    Image.open(test / "1.png").save(test / "1.bmp")
    os.replace(test / "1.bmp", test / "1.png")  # in another container
    found = check(
        [open_dataset(train), open_dataset(test)], Charset.named("36"), lambda w, h: w // 10
    )
    assert found[0].to_dict()["found"] == {
        "unusable": 1,
        "corrupt": 2,
        "empty": 1,
        "symbols": 1,
        "too long": 1,
        "duplicate": 1,
        "conflict": 1,
        "leak": 2,
    }
    assert dict(found[0].symbols) == {"é": 1, "?": 1, "!": 1}
    assert found[0].examples["too long"] == [
        f"{train}/2.png: 'aaab' needs 6 frames, 40 x 12 pixels give 4"
    ]
    assert found[0].examples["conflict"] == [f"{train}/6.png is {train}/1.png: 'two', and 'aab'"]
    assert found[0].examples["leak"] == [f"{train}/1.png", f"{train}/6.png"]
    assert found[1].to_dict()["found"]["leak"] == 1
    assert sum(found[1].found.values()) == 1


def test_the_number_of_examples(tmp_path: Path) -> None:
    data = open_dataset(labelled(tmp_path, ["?"] * 5))
    (report,) = check([data], Charset.named("36"), lambda w, h: 9, examples=2)
    assert report.found["symbols"] == 5
    assert len(report.examples["symbols"]) == 2


def test_workers_inspect_alike(tmp_path: Path) -> None:
    data = open_dataset(labelled(tmp_path, [f"w{i}" for i in range(70)]))
    assert list(inspect(data, workers=2)) == list(inspect(data))


def test_check_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    labelled(tmp_path / "a", ["fine", "good"])
    assert main(["data", "check", "a"]) == 0
    assert capsys.readouterr().out == "a/gt.tsv: 2 samples, sound\n"
    # 40 x 12 becomes 107 x 32; the preset "small" has a frame for each 4 columns, and one.
    labelled(tmp_path / "b", ["a" * 15, "ab" * 13 + "a"])
    assert main(["data", "check", "a", "--test", "b", "--json"]) == 1
    first, second = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert first["found"]["leak"] == 2
    assert second["found"]["too long"] == 1
    assert second["examples"]["too long"] == [
        "b/0.png: 'aaaaaaaaaaaaaaa' needs 29 frames, 40 x 12 pixels give 27"
    ]
    assert main(["data", "check", "b", "--fixed-width", "112"]) == 0
    assert main(["data", "check", "none"]) == 2
    assert main(["data", "check", "a", "--preset", "huge"]) == 2
    assert "check: preset must be one of " in capsys.readouterr().err


def test_stats(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labelled(tmp_path, ["aab", "b", "b"])
    (tmp_path / "2.png").write_bytes(b"x")
    figures = statistics(open_dataset(tmp_path))
    assert figures["label_lengths"] == {1: 1, 3: 1}
    assert figures["symbols"] == {"a": 2, "b": 2}
    assert figures["widths_at_height_32"] == {100: 2}
    assert (figures["count"], figures["unreadable"], figures["different_labels"]) == (3, 1, 2)
    assert main(["data", "stats", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "1 unreadable" in out
    assert "       a         2 ########################################\n" in out
    assert main(["data", "stats", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["symbols"] == {"a": 2, "b": 2}


@pytest.mark.parametrize("command", [["data", "stats"], ["eval", "small"]])
def test_a_reader_that_goes_away(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is for `main` to end quietly, not an error of the command."""

    class Closed(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    labelled(tmp_path, ["one"])
    args = build_parser().parse_args([*command, str(tmp_path)])
    monkeypatch.setattr(sys, "stdout", Closed())
    with pytest.raises(BrokenPipeError):
        args.run(args)


# ---- convert ----------------------------------------------------------------------------------


def test_convert(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("lmdb")
    source = labelled(tmp_path / "a", ["one", "two", "broken", "gone"])
    (source / "lex50.tsv").write_text("0.png\tx,y\n1.png\tz\n2.png\tz\n3.png\tz\n")
    (source / "2.png").write_bytes(b"no image")
    (source / "3.png").unlink()
    destination = tmp_path / "out.lmdb"
    assert main(["data", "convert", str(source), str(destination)]) == 0
    out, err = capsys.readouterr()
    assert out == f"{destination}: 2 samples, 2 left out\n"
    assert "2.png must be an image" in err
    assert "3.png must be an existing file" in err
    data = open_dataset(destination)
    assert [(s.label, s.image) for s in data] == [("one", png(0)), ("two", png(1))]
    assert data.lexicon(0, "50") == ("x", "y")
    assert main(["data", "convert", str(source), str(destination)]) == 2
    assert "path must not exist yet" in capsys.readouterr().err


def test_names_and_labels_that_are_no_text(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("lmdb")
    source = labelled(tmp_path / "a", ["one", "two"])
    os.rename(source / "1.png", os.fsencode(source) + b"/\xff.png")
    (source / "gt.tsv").unlink()
    (source / "labels.json").write_text('{"0.png": "\\ud800", "\\udcff.png": "two"}')
    assert main(["data", "convert", str(source), str(tmp_path / "out")]) == 0
    assert [sample.label for sample in open_dataset(tmp_path / "out")] == ["two"]
    assert main(["data", "stats", str(source)]) == 0
    assert main(["data", "check", str(source), "--examples", "9"]) == 1
    capsys.readouterr()


def test_convert_continues_with_the_same_source_only(tmp_path: Path) -> None:
    pytest.importorskip("lmdb")
    labels = [f"w{i}" for i in range(2500)]
    source = labelled(tmp_path / "a", labels)

    def interrupt(position: int) -> None:
        if position == 1700:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert(open_dataset(source), tmp_path / "out", interrupt)
    shutil.copytree(tmp_path / "out.partial", tmp_path / "other.partial")
    done = convert(open_dataset(source), tmp_path / "out")
    assert (done.written, done.resumed) == (2500, 1000)
    data = open_dataset(tmp_path / "out")
    assert [data.label(i) for i in range(2500)] == labels
    assert data.image(2499) == png(2499)
    (source / "gt.tsv").write_text("0.png\tchanged\n")
    with pytest.raises(ValueError, match="must be of the same origin"):
        convert(open_dataset(source), tmp_path / "other")


def test_convert_cuts_words_out(tmp_path: Path) -> None:
    pytest.importorskip("lmdb")
    write(tmp_path / "page.png", 3, width=60, height=30)
    (tmp_path / "test.xml").write_text(
        "<tagset><image><imageName>page.png</imageName><taggedRectangles>"
        '<taggedRectangle x="10" y="5" width="20" height="8"><tag>w</tag></taggedRectangle>'
        "</taggedRectangles></image></tagset>"
    )
    source = open_dataset(tmp_path)
    convert(source, tmp_path / "out")
    stored = open_dataset(tmp_path / "out")[0].image
    assert isinstance(stored, bytes)
    assert Image.open(io.BytesIO(stored)).tobytes() == source[0].image.tobytes()  # type: ignore[union-attr]

"""The command: what it prints, where, and how it ends."""

from __future__ import annotations

import argparse
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import crnn
from crnn import images
from crnn.cli import COMMANDS, build_parser, main

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with three images, the current one while the test runs."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in (1, 2, 10):
        noise = np.random.default_rng(i).integers(0, 256, (4, 12), np.uint8)
        Image.fromarray(noise).resize((100 + 10 * i, 32)).save(folder / f"word_{i}.png")
    return Path("photos")


def environment() -> dict[str, str]:
    """A new process must find the same packages as this one."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


# ---- read -------------------------------------------------------------------------------------


def test_text_is_aligned(model: str, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["read", str(photos), "--model", model]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    lines = out.splitlines()
    readings = crnn.Recognizer.from_pretrained(model).read(photos)
    assert [line.split() for line in lines] == [
        [f"photos/word_{i}.png", r.text, f"{r.confidence:.3f}"]
        for i, r in zip((1, 2, 10), readings, strict=True)
    ]
    assert len({len(line) for line in lines}) == 1
    assert len({line.index(r.text) for line, r in zip(lines, readings, strict=True)}) == 1


def test_tsv(model: str, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.rename(photos / "word_1.png", photos / "a\tb\\c\n.png")
    assert main(["read", str(photos), "--model", model, "--format", "tsv"]) == 0
    rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert [row[0] for row in rows] == [
        "photos/a\\tb\\\\c\\n.png",
        "photos/word_2.png",
        "photos/word_10.png",
    ]
    assert all(len(row) == 3 and 0.0 <= float(row[2]) <= 1.0 for row in rows)


def test_json_holds_everything_and_errors_too(
    model: str, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--model", model, "--format", "json", "--alternatives", "2"]
    assert main(["read", str(photos), "none.png", *options]) == 1
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    reader = crnn.Recognizer.from_pretrained(model)
    readings = reader.read([photos, "none.png"], alternatives=2)
    assert [row["text"] for row in rows] == [r.text for r in readings]
    assert [row["symbols"] for row in rows] == [r.to_dict()["symbols"] for r in readings]
    assert rows[3]["error"] == "load: none.png must be an existing file, got none there"


def test_a_bad_image_stops_nothing_and_shows_in_the_status(
    model: str, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (photos / "word_3.png").write_text("no image")
    Path("empty").mkdir()
    arguments = ["read", "none.png", str(photos), "empty", "--model", model]
    assert main(arguments) == 1
    out, err = capsys.readouterr()
    assert [line.split()[0] for line in out.splitlines()] == [
        "photos/word_1.png",
        "photos/word_2.png",
        "photos/word_10.png",
    ]
    assert err.splitlines() == [
        "crnn: load: none.png must be an existing file, got none there",
        "crnn: load: photos/word_3.png must be an image of a known format, got text",
        "crnn: load: empty must hold an image, got a folder without any",
        "crnn: 3 of 6 images could not be read",
    ]


def test_min_confidence_leaves_out(
    model: str, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    readings = crnn.Recognizer.from_pretrained(model).read(photos)
    limit = sorted(r.confidence for r in readings)[1] * 0.999
    arguments = ["read", str(photos), "--model", model, "--min-confidence", f"{limit:.9g}"]
    assert main(arguments) == 0
    out, err = capsys.readouterr()
    kept = [line.split()[0] for line in out.splitlines()]
    assert kept == [r.source for r in readings if r.confidence >= limit]
    assert len(kept) == 2
    assert err == f"crnn: 1 of 3 readings left out, below confidence {limit:g}\n"
    assert main(["read", "none.png", *arguments[1:], "--format", "json"]) == 1
    out, err = capsys.readouterr()
    rows = [json.loads(line) for line in out.splitlines()]
    assert [row["accepted"] for row in rows] == [False, *(r.confidence >= limit for r in readings)]
    assert [row["text"] for row in rows] == ["", *(r.text for r in readings)]
    assert "left out" not in err


def test_threads(model: str, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = torch.get_num_threads()
    try:
        assert main(["read", str(photos), "--model", model, "--threads", "3"]) == 0
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
    assert main(["read", str(photos), "--model", model]) == 0
    assert torch.get_num_threads() == before
    with pytest.raises(SystemExit) as ended:
        main(["read", "a.png", "--threads", "-1"])
    assert ended.value.code == 2
    assert "must be an integer of at least 0, got '-1'" in capsys.readouterr().err


def test_an_image_on_stdin(
    model: str, photos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    content = (photos / "word_1.png").read_bytes()
    stdin = io.TextIOWrapper(io.BytesIO(content))
    stdin.buffer.name = "<stdin>"  # type: ignore[attr-defined]
    monkeypatch.setattr(sys, "stdin", stdin)
    assert main(["read", "-", str(photos / "word_1.png"), "--model", model]) == 0
    first, second = (line.split() for line in capsys.readouterr().out.splitlines())
    assert first[0] == "<stdin>"
    assert first[1:] == second[1:]


def test_a_lexicon_file(model: str, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("words.txt").write_text("Head\nfeed\nzoo\n")
    assert main(["read", str(photos), "--model", model, "--lexicon", "words.txt"]) == 0
    expected, warning = capsys.readouterr()
    assert main(["lexicon", "build", "words.txt", "-o", "words.lexicon", "--model", model]) == 0
    out, err = capsys.readouterr()
    assert re.fullmatch(r"words.lexicon: 2 words, 0.0 MB, built in \d+.\d\d s\n", out)
    assert err == warning
    assert main(["read", str(photos), "--model", model, "--lexicon", "words.lexicon"]) == 0
    assert capsys.readouterr() == (expected, "")
    for arguments, message in [
        (
            ["lexicon", "build", "none.txt", "-o", "x"],
            "crnn: read: lexicon must be a readable file",
        ),
        (["lexicon", "build", "words.txt", "-o", "no/x"], "crnn: lexicon: no/x must be writable"),
    ]:
        assert main([*arguments, "--model", model]) == 2
        assert capsys.readouterr().err.startswith(message)
    whole = Path("words.lexicon").read_bytes()
    Path("words.lexicon").write_bytes(whole[:-9] + b"\1" + whole[-8:])
    assert main(["read", str(photos), "--model", model, "--lexicon", "words.lexicon"]) == 2
    assert "must name a whole lexicon file" in capsys.readouterr().err


def test_a_lexicon(model: str, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("words.txt").write_text("Head\nfeed\nzoo\n")
    arguments = ["read", str(photos), "--model", model, "--lexicon", "words.txt"]
    assert main(arguments) == 0
    out, err = capsys.readouterr()
    assert {line.split()[1] for line in out.splitlines()} <= {"head", "feed"}
    assert err == (
        "crnn: words of words.txt with symbols that the model lacks are left out: 1, "
        "such as 'zoo'\n"
    )
    assert main([*arguments, "--method", "exhaustive"]) == 0
    assert capsys.readouterr().out == out
    assert main([*arguments, "--method", "bk-tree", "--delta", "0"]) == 0
    free = crnn.Recognizer.from_pretrained(model).read(photos)
    out = capsys.readouterr().out
    assert [line.split()[1] for line in out.splitlines()] == [r.text for r in free]


def test_names_that_are_not_text_or_not_printable(
    model: str, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    os.rename(photos / "word_1.png", photos / "\x1b[31m.png")
    assert main(["read", str(photos), "none\x07.png", "--model", model]) == 1
    out, err = capsys.readouterr()
    assert "photos/\\x1b[31m.png  " in out
    assert "load: none\\x07.png must be" in err


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_progress_bar_on_a_terminal_only(
    model: str, photos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    prepare = images.prepare

    def slow(*args: Any) -> images.Prepared:
        time.sleep(0.1)  # tqdm redraws ten times a second at most
        return prepare(*args)

    monkeypatch.setattr("crnn.orientation.prepare", slow)
    monkeypatch.setattr("crnn.cli.read._BAR_AFTER", 1e-9)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("LINES", "40")
    arguments = ["read", str(photos), "none.png", "--model", model]
    assert main(arguments) == 1
    out, err = capsys.readouterr()
    assert "\r" not in out + err
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    assert main(arguments) == 1
    assert re.search(r"\r.*\d/4 \[.*image", terminal.getvalue())
    assert capsys.readouterr().out == out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "huge"], "crnn: from_pretrained: name must be a path or one of "),
        (["--model", "none.safetensors"], "crnn: load: none.safetensors must be an existing file"),
        (["--lexicon", "none.txt"], "crnn: read: lexicon must be a readable file, got none.txt"),
        (["--device", "toaster"], "crnn: Recognizer: device must be a torch device"),
    ],
)
def test_what_cannot_start_ends_with_2(
    arguments: list[str],
    message: str,
    model: str,
    photos: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["read", str(photos), "--model", model, *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(message)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["write"], "invalid choice: 'write'"),
        (["read"], "the following arguments are required: PATH"),
        (["read", "a.png", "--batch-size", "0"], "must be an integer of at least 1, got '0'"),
        (["read", "a.png", "--batch-size", "x"], "must be an integer of at least 1, got 'x'"),
        (["read", "a.png", "--delta", "-1"], "must be an integer of at least 0, got '-1'"),
        (["read", "a.png", "--min-confidence", "2"], "must be a number in [0, 1], got '2'"),
        (["read", "a.png", "--format", "xml"], "invalid choice: 'xml'"),
    ],
)
def test_usage_errors(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


# ---- help -------------------------------------------------------------------------------------


def test_help_teaches_by_examples(capsys: pytest.CaptureFixture[str]) -> None:
    for name in COMMANDS:
        with pytest.raises(SystemExit) as caught:
            main([name, "--help"])
        assert caught.value.code == 0
        text = capsys.readouterr().out
        if name in ("read", "doctor"):
            assert "exit status: 0" in text
        assert f"  crnn {name}" in text[text.index("examples:") :]


def test_the_examples_in_the_help_parse() -> None:
    parser = build_parser()
    for name in COMMANDS:
        module = sys.modules[f"crnn.cli.{name}"]
        for line in module.EXAMPLES.splitlines():
            command = re.split(r"\s{2,}", line.strip())[0].split(" | ")[-1]
            assert parser.parse_args(command.split()[1:]).run is module.run


def test_help_and_import_are_quick(tmp_path: Path) -> None:
    """Nothing heavy is imported before it is needed."""
    code = (
        "import sys, crnn, crnn.cli\n"
        "crnn.cli.build_parser().format_help()\n"
        "heavy = {'torch', 'numpy', 'PIL', 'tqdm', 'crnn_ext'} & set(sys.modules)\n"
        "sys.exit(f'imported: {heavy}' if heavy else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment(),
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def test_public_names() -> None:
    for name in crnn.__all__:
        assert getattr(crnn, name) is not None
        assert name in dir(crnn)
    with pytest.raises(AttributeError, match=r"^module 'crnn' has no attribute 'Recogniser'$"):
        crnn.Recogniser  # noqa: B018


# ---- endings ----------------------------------------------------------------------------------


def test_python_m_and_a_reader_that_goes_away(model: str, photos: Path) -> None:
    """``crnn read ... | head -1``: no traceback, and the status of a broken pipe."""
    command = [sys.executable, "-m", "crnn", "read", str(photos), "--model", model]
    process = subprocess.Popen(
        command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    errors = process.stderr.read()
    process.stderr.close()
    assert process.wait(60) == 141
    assert errors == b""


@pytest.mark.usefixtures("interruptible")
def test_ctrl_c(model: str, photos: Path) -> None:
    """Interrupted while it waits for an image."""
    command = [sys.executable, "-m", "crnn", "read", str(photos), "-", "--model", model]
    process = subprocess.Popen(
        [*command, "--batch-size", "1"],
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    wait_until_asleep(process.pid)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors == b"crnn: interrupted\n"


def wait_until_asleep(pid: int) -> None:
    """Until the process has spent no time for a while: it waits for input."""
    spent, still = -1, 0
    for _ in range(600):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        now = int(fields[11]) + int(fields[12])
        still = still + 1 if now == spent and now > 20 else 0
        if still == 5:
            return
        spent = now
        time.sleep(0.1)
    raise AssertionError("the process never waited")


def test_every_command_has_what_the_registry_asks_for() -> None:
    for name in COMMANDS:
        module = sys.modules[f"crnn.cli.{name}"]
        module.add_arguments(argparse.ArgumentParser())
        assert callable(module.run)
        assert (module.__doc__ or "").splitlines()[0].endswith(".")

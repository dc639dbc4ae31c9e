"""Files appear whole or not at all, and what cannot be written is named."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from crnn.cli import main, told
from crnn.files import naming, replacing, write_atomically


@contextlib.contextmanager
def small_files() -> Iterator[None]:
    """No file may grow beyond 4 kB: a full disk, with EFBIG. Not one that pytest writes, either."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "sheet.png"
    write_atomically(path, b"old")
    with replacing(path) as temporary:
        assert (temporary.parent, temporary.suffix) == (tmp_path, ".png")
        Image.new("L", (3, 2)).save(temporary)
        assert path.read_bytes() == b"old"
    with Image.open(path) as image:
        assert image.size == (3, 2)
    assert os.listdir(tmp_path) == ["sheet.png"]


def test_a_link_keeps_pointing_to_what_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "disk" / "file")
    write_atomically(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "disk" / "file").read_bytes() == b"new"


@pytest.mark.parametrize("error", [RuntimeError("x"), KeyboardInterrupt(), OSError("no number")])
def test_what_fails_leaves_the_old_file(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def fail() -> None:
        with replacing(path) as temporary:
            temporary.write_bytes(b"half")
            raise error

    with pytest.raises(type(error)):
        fail()
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_a_disk_without_room_is_named(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    expected = pytest.raises(OSError, match=r"File too large: .*/file'")
    with expected as caught, small_files():
        write_atomically(path, bytes(5000))
    assert told(caught.value) == f"{path}: File too large"
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]
    with pytest.raises(OSError, match="File too large: 'other'"), naming("other"):
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    path = tmp_path / "none" / "file"
    with pytest.raises(FileNotFoundError) as caught:
        write_atomically(path, b"")
    assert told(caught.value) == f"{path}: No such file or directory"


def test_commands_name_what_they_cannot_write(
    tmp_path: Path, font_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "words").write_text("exit\n")
    sheet = tmp_path / "none" / "sheet.png"
    flags = ["--words", str(tmp_path / "words"), "--fonts", str(font_folder), "--rows", "1"]
    assert main(["synth", "preview", str(sheet), *flags]) == 2
    assert f"crnn: {sheet}: No such file or directory\n" in capsys.readouterr().err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_output_that_cannot_be_written_ends_without_a_traceback() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "crnn", "data", "stats", "examples"],
            stdout=full, stderr=subprocess.PIPE, text=True, timeout=120,
        )  # fmt: skip
    assert done.returncode == 2
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr

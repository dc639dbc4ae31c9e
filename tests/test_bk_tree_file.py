"""BKTree.save and load: round trip, atomicity, and every kind of damage."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import crnn_ext

WORDS = ["tree", "", "trees", "three", "😀", "\ud800"]


def checksum(data: bytes) -> bytes:
    state = 0xCBF29CE484222325
    for (word,) in struct.iter_unpack("<I", data):
        state = (state ^ word) * 0x100000001B3 % 2**64
    return struct.pack("<Q", state)


def saved(path: Path, words: list[str] | None = None) -> bytes:
    crnn_ext.BKTree(WORDS if words is None else words).save(path)
    return path.read_bytes()


def rejected(path: Path, data: bytes) -> str:
    """Load `data`, which must fail, and return the reason."""
    path.write_bytes(data)
    with pytest.raises(ValueError, match="BKTree") as caught:
        crnn_ext.BKTree.load(path)
    start = f"BKTree.load: path must name a whole BK-tree file, got {str(path)!r}: "
    assert str(caught.value).startswith(start)
    return str(caught.value)[len(start) :]


@settings(max_examples=50, deadline=None)
@given(words=st.lists(st.text(max_size=10), max_size=30))
def test_round_trip(words: list[str], tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("tree") / "words.bkt"
    tree = crnn_ext.BKTree(words)
    tree.save(path)
    copy = crnn_ext.BKTree.load(str(path))
    assert list(copy) == list(tree)
    assert [copy.query(word, 2) for word in words] == [tree.query(word, 2) for word in words]
    copy.add("one more")
    assert "one more" in copy


def test_layout(tmp_path: Path) -> None:
    data = saved(tmp_path / "a", ["ab", "b"])
    body = b"CRNNBKT\0" + struct.pack("<IIQQ", 1, 1, 2, 3)
    body += struct.pack("<6I", 2, 0, 0, 1, 0, 1) + struct.pack("<3I", *b"abb")
    assert data == body + checksum(body)


def test_every_damaged_byte_is_noticed(tmp_path: Path) -> None:
    data = saved(tmp_path / "good")
    path = tmp_path / "bad"
    for i in range(len(data)):
        for flip in (1, 0x80, 0xFF):
            rejected(path, data[:i] + bytes([data[i] ^ flip]) + data[i + 1 :])


def test_every_truncation_is_noticed(tmp_path: Path) -> None:
    data = saved(tmp_path / "good")
    for size in range(len(data)):
        rejected(tmp_path / "bad", data[:size])
    rejected(tmp_path / "bad", data + b"\0")


@pytest.mark.parametrize(
    ("offset", "value", "reason"),
    [
        (0, b"PK\x03\x04", "it is not a BK-tree file"),
        (8, struct.pack("<I", 2), "it has format version 2, not 1"),
        (12, struct.pack("<I", 7), "its units are of the unknown kind 7"),
        (16, struct.pack("<Q", 2**40), "it announces an impossible size"),
        (24, struct.pack("<Q", 2**63), "it announces an impossible size"),
        (16, struct.pack("<Q", 2**31), "it has 176 bytes and announces 25769803880"),
        (32, struct.pack("<I", 2**31), "its words are longer than their total"),
        (36, struct.pack("<I", 1), "its tree is malformed"),  # the root has a parent
        (40, struct.pack("<I", 1), "its tree is malformed"),  # the root has an edge
        (48, struct.pack("<I", 1), "its tree is malformed"),  # word 1 is its own parent
        (48, struct.pack("<I", 2), "its tree is malformed"),  # a cycle
        (48, struct.pack("<I", 2**32 - 1), "its tree is malformed"),
        (52, struct.pack("<I", 0), "its tree is malformed"),  # edge 0
        (32, struct.pack("<I", 3), "its words are shorter than their total"),
        (104, struct.pack("<I", 0x110000), "it holds a number that is no code point"),
    ],
)
def test_forged_files(tmp_path: Path, offset: int, value: bytes, reason: str) -> None:
    """The checksum is right, the contents are not."""
    data = saved(tmp_path / "good")
    body = bytearray(data[:-8])
    body[offset : offset + len(value)] = value
    forged = bytes(body)
    assert rejected(tmp_path / "bad", forged + checksum(forged)) == reason


def test_wrong_edges_give_wrong_answers_at_worst(tmp_path: Path) -> None:
    body = bytearray(saved(tmp_path / "good")[:-8])
    for word in range(1, len(WORDS)):
        struct.pack_into("<I", body, 32 + 12 * word + 8, 2**32 - 1)
    path = tmp_path / "bad"
    path.write_bytes(bytes(body) + checksum(bytes(body)))
    tree = crnn_ext.BKTree.load(path)
    assert len(tree) == len(WORDS)
    tree.extend(f"word {i}" for i in range(2000))
    found = tree.query("tree", 2)
    assert ("tree", 0) in found
    assert all(crnn_ext.edit_distance("tree", word) == distance for word, distance in found)


@pytest.mark.parametrize("content", [b"", b"a\nb\n", b"\x80\x04\x95" * 100, bytes(4096)])
def test_foreign_files(tmp_path: Path, content: bytes) -> None:
    reason = rejected(tmp_path / "foreign", content)
    assert reason == (
        "it is not a BK-tree file" if len(content) >= 32 else "it is shorter than a header"
    )


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        crnn_ext.BKTree.load(tmp_path / "missing")
    with pytest.raises(IsADirectoryError):
        crnn_ext.BKTree.load(tmp_path)
    with pytest.raises(FileNotFoundError):
        crnn_ext.BKTree().save(tmp_path / "missing" / "tree")


def test_pickle_of_damaged_state() -> None:
    tree = crnn_ext.BKTree(["a"])
    state = tree.__getstate__()
    with pytest.raises(ValueError, match="its checksum is wrong"):
        tree.__setstate__(state[:-1] + b"?")


def test_save_replaces_and_honours_umask(tmp_path: Path) -> None:
    path = tmp_path / "tree"
    saved(path, ["old"])
    saved(path, ["new"])
    assert list(crnn_ext.BKTree.load(path)) == ["new"]
    mask = os.umask(0)
    os.umask(mask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~mask
    assert os.listdir(tmp_path) == ["tree"]


def test_save_follows_links(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("real")
    saved(tmp_path / "link", ["a"])
    assert (tmp_path / "link").is_symlink()
    assert list(crnn_ext.BKTree.load(tmp_path / "real")) == ["a"]


def test_full_disk_keeps_the_old_file(tmp_path: Path) -> None:
    """A file-size limit fails the write half-way, as a full disk does."""
    path = tmp_path / "tree"
    before = saved(path)

    script = (
        "import crnn_ext, resource, signal, sys\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "tree = crnn_ext.BKTree([str(i) for i in range(1000)])\n"
        "try: tree.save(sys.argv[1])\n"
        "except OSError as error: print(error.errno)\n"
    )
    run = subprocess.run(
        [sys.executable, "-B", "-c", script, str(path)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout == "27\n"  # EFBIG
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["tree"]
